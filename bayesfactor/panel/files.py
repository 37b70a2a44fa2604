"""Opening the files that users hold, safely: Parquet and CSV, plain, in gzip, or as a member of a ZIP.

What a file is, is told from its first bytes. Nothing is unpacked to disk, nothing is executed, no pickle is opened.
"""

from __future__ import annotations

import csv
import gzip
import io
import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

import numpy as np
import pandas as pd
from pyarrow import parquet

from bayesfactor.errors import (
    BayesFactorError,
    CorruptResultError,
    DataError,
    DuplicateKeyError,
    UnsafeArchiveError,
    first_three,
)

MISSING_TEXT = ["", "NA", "N/A", "#N/A", "NaN", "nan", "NULL", "null", "None"]
_ZIP, _GZIP, _PARQUET = b"PK\x03\x04", b"\x1f\x8b", b"PAR1"
_FOREIGN = {
    b"\x80\x02": "a Python pickle, which could run code when opened",
    b"\x80\x03": "a Python pickle, which could run code when opened",
    b"\x80\x04": "a Python pickle, which could run code when opened",
    b"\x80\x05": "a Python pickle, which could run code when opened",
    b"\x89HDF": "an HDF5 or netCDF file",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"\x28\xb5\x2f\xfd": "a zstandard archive",
    b"\xff\xfe": "text in UTF-16",
    b"\xfe\xff": "text in UTF-16",
    b"<!doctype": "a web page, perhaps in place of a download",
    b"<html": "a web page, perhaps in place of a download",
}
_HEAD = 512
_LONGEST_ROW = 2**20  # bytes
_ROWS_AT_A_TIME = 2**17
_ALWAYS_ALLOWED = 64 * 2**20  # bytes; no ratio is absurd below


@dataclass(frozen=True)
class Limits:
    """How far an archive may expand while it is read.

    Parameters
    ----------
    bytes : most bytes that may come out.
    ratio : most bytes that may come out for each byte of the archive, above the first 64 MiB. Files of numbers
        shrink 3 to 10 times, sparse ones 50 times; a bomb 1,000 times.
    """

    bytes: int = 16 * 2**30
    ratio: float = 200.0


@dataclass(frozen=True)
class Opened:
    """A file or archive member, open for reading."""

    name: str  # as messages name it: "file.zip/member.csv"
    stream: IO[bytes]
    is_parquet: bool
    is_packed: bool  # in a gzip or ZIP, which has a checksum


def read_table(
    path: str | Path,
    *,
    text: Sequence[str] = (),
    columns: Sequence[str] | None = None,
    member: str | None = None,
    limits: Limits | None = None,
) -> pd.DataFrame:
    """Frame from a Parquet or CSV file, plain, in gzip (.csv.gz), or in a ZIP.

    Parameters
    ----------
    path : file.
    text : columns with identifiers of a CSV, kept as text as they are written: no ticker "NA" is lost and no
        leading zero dropped.
    columns : columns to read; all, where not given.
    member : name inside a ZIP, where it has several data files.
    limits : how far an archive may expand; `Limits()` is 16 GiB and 200 times.

    Returns
    -------
    DataFrame with the columns of the file.

    Raises
    ------
    DataError, DuplicateKeyError
        The file is not a table, a column has no name or a repeated one.
    UnsafeArchiveError
        The archive holds paths that lead outside it, links, another archive, or expands absurdly.
    CorruptResultError
        The archive is truncated or damaged.
    """
    path = Path(path)
    limits = limits or Limits()
    with opened(path, member=member, limits=limits) as file:
        if file.is_parquet:
            with _told(file.name):
                source = io.BytesIO(file.stream.read()) if file.is_packed else path
                if columns is not None:
                    require_columns(parquet.read_schema(source).names, columns, file.name)
                return pd.read_parquet(source, columns=None if columns is None else list(columns))
        if ".csv" not in [suffix.lower() for suffix in PurePosixPath(file.name).suffixes[-2:]]:
            raise DataError(f"a panel is read from .parquet or .csv: found {file.name}. Otherwise give a DataFrame.")
        with _told(file.name):
            # with the first row, so that one longer than the header is an error and no column is taken for an index
            first = pd.read_csv(
                file.stream, header=None, nrows=2, dtype=str, keep_default_na=False, encoding="utf-8-sig"
            )
    names = [str(name) for name in first.iloc[0]]
    _check_names(names, columns, file.name)
    if not file.is_packed:
        _check_end(path, len(names))
    absent = {name: MISSING_TEXT for name in names if name not in text}
    with opened(path, member=member, limits=limits) as file, _told(file.name):
        options: dict[str, Any] = {
            "dtype": {name: str for name in text if name in names},
            "index_col": False,
            "keep_default_na": False,
            "na_values": absent,
            "encoding": "utf-8-sig",
        }
        rows = io.BufferedReader(_Rows(file.stream, len(names), file.name), 2**18)
        if columns is None:
            return pd.read_csv(rows, **options)
        with pd.read_csv(rows, chunksize=_ROWS_AT_A_TIME, **options) as chunks:  # usecols would allow long rows
            return pd.concat([chunk[list(columns)] for chunk in chunks], ignore_index=True)


class ParquetColumns:
    """A Parquet file whose columns are read one at a time: the whole of it is never in memory.

    Raises
    ------
    DataError
        When opened or read, if the file is not sound Parquet.
    """

    def __init__(self, path: Path) -> None:
        self._name = path.name
        with _told(self._name):
            self._file = parquet.ParquetFile(path)

    def empty(self) -> pd.DataFrame:
        """The frame without its rows: names, dtypes and index levels."""
        return self._file.schema_arrow.empty_table().to_pandas()

    def __getitem__(self, name: str) -> pd.Series:
        with _told(f"column {name!r} of {self._name}"):
            frame = self._file.read(columns=[name]).select([name]).to_pandas()
        return pd.Series(frame.iloc[:, 0] if frame.shape[1] else frame.index, name=name)


@contextmanager
def opened(path: str | Path, *, member: str | None = None, limits: Limits | None = None) -> Iterator[Opened]:
    """Open a file, or what a gzip or ZIP holds, as a stream that refuses to expand beyond `limits`.

    Raises
    ------
    DataError, UnsafeArchiveError, CorruptResultError
        As `read_table` says, when opened or while it is read.
    """
    path = Path(path)
    limits = limits or Limits()
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise DataError(f"a panel is read from a file: {path} {what}. Give the path of a Parquet or CSV file.")
    with path.open("rb") as packed:
        magic = packed.read(4)
        packed.seek(0)
        name = path.name
        source: IO[bytes]
        if magic.startswith(_ZIP) or path.suffix.lower() == ".zip":
            archive = _open_zip(packed, name)
            chosen = _choose(archive, member, name)
            name = f"{name}/{chosen.filename}"
            source = _open_member(archive, chosen, name, limits)
        elif member is not None:
            raise DataError(f"member={member!r} names a part of a ZIP: {name} is none.")
        elif magic.startswith(_GZIP):
            source = cast(IO[bytes], gzip.GzipFile(fileobj=packed))
        else:
            source = packed
        stream = packed
        if source is not packed:
            stream = io.BufferedReader(_Bounded(source, name, path.stat().st_size, limits), 2**20)
        packed_up = source is not packed
        yield Opened(name, stream, _check_content(stream.peek(_HEAD)[:_HEAD], name, packed_up), packed_up)


def _check_end(path: Path, width: int) -> None:
    """Refuse text that stops in the middle of its last row; archives have checksums for that."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _LONGEST_ROW))
        end = file.read()
    if end.endswith((b"\n", b"\r")):
        return
    last = end.splitlines()[-1].decode("utf-8", errors="replace")
    cells = len(next(csv.reader([last])))
    if cells < width:
        raise DataError(
            f"{path.name} must end with a whole row: its last line has {cells} of {width} cells, {last[:40]!r}. "
            "Usually the file is truncated. Download or write it again."
        )


def require_columns(names: Iterable[str], wanted: Sequence[str], what: str) -> None:
    """Refuse columns that lack one that is wanted; a near miss is named.

    Raises
    ------
    DataError
        With the columns that are absent and what there is in their place.
    """
    there = [str(name) for name in names]
    lacking = [name for name in wanted if name not in there]
    if not lacking:
        return
    folded = {name.lower(): name for name in there}
    hint = ""
    for name in lacking[:3]:
        near = get_close_matches(name.lower(), list(folded), 1, 0.6)
        if near:
            hint += f" Near {name!r} is {folded[near[0]]!r}: rename it if it is the same."
    raise DataError(
        f"{what} must have the columns {first_three(lacking)}: found {', '.join(there[:8])}"
        f"{', ...' if len(there) > 8 else ''} ({len(there)} in all).{hint}"
    )


class _Bounded(io.RawIOBase):
    """A stream out of an archive: damage is named, and so is more than an honest file would hold."""

    def __init__(self, source: IO[bytes], name: str, packed: int, limits: Limits) -> None:
        self._source, self._name, self._packed, self._limits = source, name, packed, limits
        self._seen = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._source.read(len(buffer))
        except (EOFError, zlib.error, zipfile.BadZipFile, gzip.BadGzipFile) as error:
            raise CorruptResultError(
                f"{self._name} is truncated or damaged after {self._seen:,} bytes: {error}. Download it again."
            ) from error
        self._seen += len(data)
        allowed = min(self._limits.bytes, max(_ALWAYS_ALLOWED, self._limits.ratio * self._packed))
        if self._seen > allowed:
            raise UnsafeArchiveError(
                f"{self._name} must not expand beyond {allowed:,.0f} bytes: it does (the archive has {self._packed:,}; "
                f"at most {self._limits.ratio:g} times that and {self._limits.bytes:,} are allowed). Usually it is not "
                "what it claims to be. If you trust it, pass larger limits=Limits(bytes=..., ratio=...) to read_table."
            )
        buffer[: len(data)] = data
        return len(data)


class _Rows(io.RawIOBase):
    """Text on its way to the parser, which would fill up a row that is too short with missing cells.

    Commas are counted line by line, as long as no quote says that a cell may hold one.
    """

    def __init__(self, source: IO[bytes], width: int, name: str) -> None:
        self._source, self._width, self._name = source, width, name
        self._line, self._commas, self._length, self._plain = 1, 0, 0, True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._source.read(len(buffer))
        self._plain = self._plain and b'"' not in data
        if self._plain:
            self._count(np.frombuffer(data, np.uint8))
        buffer[: len(data)] = data
        return len(data)

    def _count(self, text: np.ndarray) -> None:
        ends, commas = np.flatnonzero(text == ord("\n")), np.flatnonzero(text == ord(","))
        counts = np.diff(np.searchsorted(commas, ends), prepend=0)
        lengths = np.diff(ends, prepend=-1) - 1
        if ends.size:
            counts[0] += self._commas
            lengths[0] += self._length
            short = np.flatnonzero((counts < self._width - 1) & (lengths > 1))  # a carriage return alone is no row
            if short.size:
                raise DataError(
                    f"{self._name}, line {self._line + short[0]}: a row must have {self._width} cells as the header: "
                    f"found {counts[short[0]] + 1}. Usually the file was cut off, and perhaps continued."
                )
            self._line += ends.size
            self._commas, self._length = commas.size - int(np.searchsorted(commas, ends[-1])), text.size - ends[-1] - 1
        else:
            self._commas, self._length = self._commas + commas.size, self._length + text.size


def _open_zip(packed: IO[bytes], name: str) -> zipfile.ZipFile:
    try:
        archive = zipfile.ZipFile(packed)
    except (zipfile.BadZipFile, ValueError, EOFError) as error:
        raise CorruptResultError(f"{name} is truncated or damaged: {error}. Download it again.") from error
    seen: set[str] = set()
    for info in archive.infolist():
        reason = _unsafe(info)
        if info.filename in seen:
            reason = "appears twice, with perhaps different content"
        if reason:
            raise UnsafeArchiveError(
                f"{name}: every member must be a plain file inside the archive: {info.orig_filename!r} {reason}. "
                "Nothing was unpacked. Do not trust this archive."
            )
        seen.add(info.filename)
    return archive


def _unsafe(info: zipfile.ZipInfo) -> str:
    """Why a member could do harm if somebody unpacked it; empty where it could not."""
    path = info.orig_filename.replace("\\", "/")
    if path.startswith("/") or path[1:2] == ":":
        return "is an absolute path"
    if ".." in path.split("/"):
        return "leads outside the archive"
    if not path.isprintable():
        return "has control characters in its name"
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        return "is a link or a special file"
    return ""


def _choose(archive: zipfile.ZipFile, member: str | None, name: str) -> zipfile.ZipInfo:
    """The named member, or the only one that can hold a table."""
    files = {
        info.filename: info
        for info in archive.infolist()
        if not info.is_dir() and "__MACOSX" not in info.filename.split("/") and not _last(info).startswith(".")
    }
    if member is not None:
        if member not in files:
            near = get_close_matches(member, list(files), 3, 0.4)
            raise DataError(
                f"{name} has no member {member!r}: it holds {first_three(files)}."
                + (f" Near: {', '.join(near)}." if near else "")
            )
        return files[member]
    tables = [info for info in files.values() if Path(_last(info)).suffix.lower() in (".csv", ".parquet", ".pq")]
    candidates = tables or list(files.values())
    if len(candidates) != 1:
        raise DataError(
            f"{name} must hold one data file, or member= must name it: it holds "
            f"{first_three(files) if files else 'none'}."
        )
    return candidates[0]


def _last(info: zipfile.ZipInfo) -> str:
    return info.filename.rsplit("/", 1)[-1]


def _open_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, limits: Limits) -> IO[bytes]:
    if info.flag_bits & 0x41:
        raise DataError(f"{name} is encrypted. Unpack it yourself and give the file.")
    if info.file_size > limits.bytes:
        raise UnsafeArchiveError(
            f"{name} must not expand beyond {limits.bytes:,} bytes: it claims {info.file_size:,}. If you trust it, "
            "pass limits=Limits(bytes=...) to read_table."
        )
    try:
        return archive.open(info)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError) as error:
        raise CorruptResultError(f"{name} cannot be opened: {error}. Download it again.") from error


def _check_content(head: bytes, name: str, in_archive: bool) -> bool:
    """Whether it is Parquet; refuses what is neither Parquet nor text."""
    if head.startswith(_PARQUET):
        return True
    if in_archive and head.startswith((_ZIP, _GZIP)):
        raise UnsafeArchiveError(f"{name} is an archive inside an archive. Unpack the outer one yourself.")
    for magic, what in _FOREIGN.items():
        if head.lower().startswith(magic.lower()):
            raise DataError(f"{name} must be Parquet or CSV text: it is {what}. Save it as Parquet or CSV (UTF-8).")
    if b"\0" in head:
        raise DataError(f"{name} must be Parquet or CSV text: it is a binary file of another kind.")
    return False


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Errors of the libraries, with the file's name."""
    try:
        yield
    except BayesFactorError:
        raise
    except Exception as error:
        hint = ""
        if isinstance(error, UnicodeDecodeError):
            hint = " Save it as UTF-8."
        elif "Expected" in str(error):
            hint = " Usually a comma without quotes in a cell or at the end of rows, or a first column without name."
        raise DataError(f"cannot read {name}: {str(error).strip()}.{hint}") from error


def _check_names(names: list[str], columns: Sequence[str] | None, file: str) -> None:
    repeated = [name for position, name in enumerate(names) if name in names[:position]]
    if repeated:
        raise DuplicateKeyError(f"{file}: column names must be unique: repeated {first_three(repeated)}.")
    if columns is not None:
        require_columns(names, columns, file)
        return
    unnamed = [f"column {position + 1}" for position, name in enumerate(names) if not name.strip()]
    if unnamed:
        raise DataError(
            f"{file}: every column must have a name: none in {first_three(unnamed)}. Usually it is the row number of "
            "`to_csv`, which is no characteristic: write with index=False, or name the column in the file."
        )
