"""Finished chunks of a study on disk: each one file with its own SHA-256, written whole or not at all."""

from __future__ import annotations

import ast
import hashlib
import json
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from bayesfactor.errors import CorruptResultError, DataError
from bayesfactor.inference.sealed import remove_partial, verify_sealed, write_sealed

ZIP_SIGNATURE = b"PK\x03\x04"
Chunk = dict[str, np.ndarray]


class ChunkStore:
    """The folder of one study: another model, inference, design, seed or code has another folder.

    Parameters
    ----------
    store : folder of all studies; made if it is not there.
    label : first words of the folder's name.
    identity : everything the ranks depend on, as JSON.
    """

    def __init__(self, store: str | Path, label: str, identity: dict[str, Any]) -> None:
        text = json.dumps(identity, sort_keys=True)
        self._digest = hashlib.sha256(text.encode()).hexdigest()
        if Path(store).is_file():
            raise DataError(f"store must be a folder: {store} is a file")
        self.folder = Path(store) / f"{label}-{self._digest[:12]}"
        self.folder.mkdir(parents=True, exist_ok=True)
        readable = self.folder / "study.json"  # for people: it is never read
        readable.write_text(json.dumps(identity, indent=1, sort_keys=True))

    def path(self, attempt: int, chunk: int) -> Path:
        """Where a chunk is kept."""
        return self.folder / f"attempt-{attempt}-chunk-{chunk:03d}.npz"

    def load(self, attempt: int, chunk: int) -> Chunk | None:
        """A finished chunk, or None.

        Raises
        ------
        CorruptResultError
            If the file is truncated, changed by as much as one bit, or not such a chunk.
        """
        path = self.path(attempt, chunk)
        remove_partial(path)
        if not path.exists():
            return None
        remedy = "Delete it, and the same call makes it again."
        verify_sealed(path, what="chunk of a study", writer="calibrate", signature=ZIP_SIGNATURE, remedy=remedy)
        try:
            with np.load(path, allow_pickle=False) as content:
                found = {name: content[name] for name in content.files}
            key = json.loads(str(found.pop("key")))
        except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise CorruptResultError(f"{path} is not a chunk of a study: {error}. {remedy}") from error
        if key != [self._digest, attempt, chunk]:
            raise CorruptResultError(
                f"{path} must be chunk {chunk} of attempt {attempt} of this study, and is of another: usually it was "
                f"moved or renamed. {remedy}"
            )
        return found

    def save(self, attempt: int, chunk: int, content: Chunk) -> None:
        """Keep a finished chunk."""
        key = json.dumps([self._digest, attempt, chunk])

        def write(partial: Path) -> None:
            with partial.open("wb") as file:
                np.savez(file, allow_pickle=False, key=np.asarray(key), **content)

        write_sealed(self.path(attempt, chunk), write)


def code_digest(modules: Iterable[Any]) -> str:
    """Digest of what modules do: comments, docstrings and layout do not count."""
    digest = hashlib.sha256()
    for module in modules:
        tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
                node.body = node.body[1:] or [ast.Pass()]
        digest.update(ast.dump(tree).encode())
    return digest.hexdigest()[:16]
