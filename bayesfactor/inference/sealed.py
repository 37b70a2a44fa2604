"""Files that end with their own SHA-256 and appear under their name only when they are complete."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from bayesfactor.errors import CorruptResultError, DataError

MARK = b"bayesfactor:sha256:"
TRAILER = len(MARK) + 64
SUFFIX = ".partial"


def require_folder(path: Path) -> None:
    """Refuse a path whose folder does not exist."""
    if not path.parent.is_dir():
        raise DataError(f"the folder {path.parent} does not exist: make it, or save elsewhere")


def write_sealed(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file under a temporary name, put its digest behind it, and rename it to `path`.

    Raises
    ------
    DataError
        If the folder does not exist.
    OSError
        What writing raised, with `path`; what was at `path` before is still there, and nothing else.
    """
    require_folder(path)
    if path.is_dir():
        raise DataError(f"{path} is a folder: name a file in it")
    partial = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=_prefix(path), suffix=SUFFIX)
        os.close(handle)
        partial = Path(name)
        write(partial)
        with partial.open("r+b") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0, os.SEEK_END)
            file.write(MARK + digest.encode())
            file.flush()
            os.fsync(file.fileno())
        partial.chmod(0o644)
        partial.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)


def remove_partial(path: Path) -> None:
    """Delete what a process that was killed while writing `path` has left beside it."""
    for left in path.parent.iterdir():
        if left.name.startswith(_prefix(path)) and left.name.endswith(SUFFIX):
            left.unlink(missing_ok=True)


def verify_sealed(path: Path, *, what: str, writer: str, signature: bytes, remedy: str) -> None:
    """Check the digest at the end of a file against everything before it.

    Parameters
    ----------
    path : the file.
    what, writer : what it should be and what writes such files, for messages.
    signature : first bytes of an intact file.
    remedy : a sentence that ends the messages.

    Raises
    ------
    CorruptResultError
        If the file is missing, truncated, changed or foreign.
    """
    if not path.is_file():
        raise CorruptResultError(f"no {what} at {path}. Give the path of a file that {writer} wrote.")
    size = path.stat().st_size
    with path.open("rb") as file:
        first = file.read(len(signature))
        if size > TRAILER:
            file.seek(size - TRAILER)
        trailer = file.read(TRAILER)
        if not trailer.startswith(MARK):
            kind = f"cut off or was not written by {writer}" if first == signature else f"not a {what}"
            raise CorruptResultError(f"{path} is {kind}: it must end with its own SHA-256. {remedy}")
        file.seek(0)
        digest, left = hashlib.sha256(), size - TRAILER
        while left:
            block = file.read(min(left, 1 << 20))
            digest.update(block)
            left -= len(block)
    if digest.hexdigest().encode() != trailer[len(MARK) :]:
        raise CorruptResultError(
            f"{path} has changed since it was saved: its SHA-256 is not the one at its end. Usual causes: a damaged "
            f"disk or copy, or an edit. {remedy}"
        )


def _prefix(path: Path) -> str:
    return f".{path.name}."
