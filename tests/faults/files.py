"""Files that `read_frame` must not take as they are."""

from __future__ import annotations

import functools
import gzip
import io
import itertools
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bayesfactor.errors import CorruptResultError, DataError, DuplicateKeyError, UnsafeArchiveError
from bayesfactor.panel import read_frame

from . import made
from .fault import Call, Fault

TOLD = made.TOLD | {"size": "size"}
COLUMNS = ["date", "asset", "ret", "x", "y", "size"]


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def csv_text() -> str:
    return made.frame()[COLUMNS].to_csv(index=False, date_format="%Y-%m-%d")


def parquet_bytes(frame: pd.DataFrame | None = None) -> bytes:
    buffer = io.BytesIO()
    (made.frame()[COLUMNS] if frame is None else frame).to_parquet(buffer)
    return buffer.getvalue()


def file(
    name: str, to: str, content: Callable[[], bytes | str], gives: type[Exception], place: str, **told: Any
) -> Fault:
    """A file of that name with that content, read as told."""

    def make(folder: Path, _rng: np.random.Generator) -> Call:
        raw = content()
        path = folder / to
        path.write_bytes(raw.encode() if isinstance(raw, str) else raw)
        said = {key: value for key, value in (TOLD | told).items() if value is not ...}
        return functools.partial(read_frame, path, **said)

    return Fault(name, make, gives, place)


def lines(change: Callable[[list[str]], list[str]]) -> Callable[[], str]:
    """The CSV with its lines changed; the first is the header."""
    return lambda: "\n".join(change(csv_text().splitlines())) + "\n"


def line(number: int, change: Callable[[str], str]) -> Callable[[], str]:
    """The CSV with one line changed, by its number in the file (1 is the header)."""

    def changed(all_lines: list[str]) -> list[str]:
        return [change(one) if i + 1 == number else one for i, one in enumerate(all_lines)]

    return lines(changed)


def zipped(**members: bytes | str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def bomb() -> str:
    """A CSV that is a header and 80 MB of zeros: a thousandth of it when packed."""
    return csv_text().splitlines()[0] + "\n" + "0" * 80_000_000


def linked() -> bytes:
    """A zip whose member is a symbolic link."""
    member = zipfile.ZipInfo("panel.csv")
    member.external_attr = 0o120777 << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(member, "/etc/passwd")
    return buffer.getvalue()


def flipped(raw: bytes) -> bytes:
    return raw[:500] + bytes([raw[500] ^ 1]) + raw[501:]


def torn(fraction: float) -> Callable[[], bytes]:
    def content() -> bytes:
        whole = parquet_bytes()
        return whole[: int(fraction * len(whole))]

    return content


def spoiled_page() -> bytes:
    """Parquet whose footer is whole and whose pages are zeros."""
    whole = parquet_bytes()
    return whole[:4] + b"\0" * (len(whole) // 3) + whole[4 + len(whole) // 3 :]


def repeated_parquet() -> bytes:
    table = pa.Table.from_pandas(made.frame()[COLUMNS], preserve_index=False)
    buffer = io.BytesIO()
    pq.write_table(table.append_column("x", table.column("y")), buffer)
    return buffer.getvalue()


def feather_bytes() -> bytes:
    buffer = io.BytesIO()
    made.frame()[COLUMNS].to_feather(buffer)
    return buffer.getvalue()


def given(name: str, make: Callable[[Path], object], gives: type[Exception], place: str) -> Fault:
    """A path that is no file to read."""
    return Fault(name, lambda folder, _: functools.partial(read_frame, make(folder), **TOLD), gives, place)


def folder_named(folder: Path) -> Path:
    (folder / "panel.parquet").mkdir()
    return folder / "panel.parquet"


def dangling(folder: Path) -> Path:
    (folder / "panel.csv").symlink_to(folder / "nowhere.csv")
    return folder / "panel.csv"


def bomb_in(folder: Path) -> Path:
    (folder / "panel.pkl").write_bytes(pickle.dumps(Bomb(folder / "exploded")))
    return folder / "panel.pkl"


def bomb_as(suffix: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / f"panel{suffix}"
        path.write_bytes(pickle.dumps(Bomb(folder / "exploded")))
        return path

    return make


def thousands(all_lines: list[str]) -> list[str]:
    return [
        ",".join(f'"{1000 + i:,}"' if i and k == 3 else cell for k, cell in enumerate(one.split(",")))
        for i, one in enumerate(all_lines)
    ]


PATHS = [
    given("no such file", lambda folder: folder / "absent.parquet", DataError, "absent.parquet"),
    given("no such file, as text", lambda folder: str(folder / "absent.csv"), DataError, "absent.csv"),
    given("a folder", folder_named, DataError, "panel.parquet"),
    given("a link to nothing", dangling, DataError, "panel.csv"),
    given("a pickle", bomb_in, DataError, "panel.pkl"),
    given("a pickle named .parquet", bomb_as(".parquet"), DataError, "panel.parquet"),
    given("a pickle named .csv", bomb_as(".csv"), DataError, "panel.csv"),
    given("a pickle named .csv.gz", bomb_as(".csv.gz"), DataError, "panel.csv.gz"),
    given("a pickle named .csv.zip", bomb_as(".csv.zip"), CorruptResultError, "panel.csv.zip"),
]

PARQUET = [
    file("Parquet with nothing in it", "panel.parquet", lambda: b"", DataError, "panel.parquet"),
    *[
        file(f"Parquet cut off at {share:.1%}", "panel.parquet", torn(share), DataError, "panel.parquet")
        for share in (0.001, 0.1, 0.5, 0.9, 0.999)
    ],
    file("Parquet with zeros in its pages", "panel.parquet", spoiled_page, DataError, "panel.parquet"),
    file("CSV named .parquet", "panel.parquet", csv_text, DataError, "panel.parquet"),
    file("Parquet with a column twice", "panel.parquet", repeated_parquet, DuplicateKeyError, "repeated x"),
    file(
        "Parquet without the column of dates",
        "panel.parquet",
        lambda: parquet_bytes(made.frame()[COLUMNS[1:]]),
        DataError,
        "time='date'",
    ),
    file(
        "Parquet with a nested column",
        "panel.parquet",
        lambda: parquet_bytes(made.frame()[COLUMNS].assign(x=[[0.1, 0.2]] * 84)),
        DataError,
        r"'x'.*\(2015-01, A0\)",
    ),
    file("Feather", "panel.feather", feather_bytes, DataError, "panel.feather"),
    file("spreadsheet", "panel.xlsx", lambda: zipped(**{"xl/workbook.xml": "<x/>"}), DataError, "panel.xlsx"),
    file("no suffix", "panel", csv_text, DataError, "found panel"),
]

CSV = [
    file("CSV with nothing in it", "panel.csv", lambda: "", DataError, "panel.csv"),
    file("CSV with a header only", "panel.csv", lambda: csv_text().splitlines()[0] + "\n", DataError, "panel.csv"),
    file("CSV without a header", "panel.csv", lines(lambda rows: rows[1:]), DataError, "time='date'"),
    file(
        "CSV with semicolons", "panel.csv", lambda: csv_text().replace(",", ";"), DataError, "time='date'.*date;asset"
    ),
    file("CSV with tabs", "panel.csv", lambda: csv_text().replace(",", "\t"), DataError, "time='date'"),
    file(
        "CSV with European decimals",
        "panel.csv",
        lambda: csv_text().replace(",", ";").replace(".", ","),
        DataError,
        "line 2",
    ),
    file(
        "CSV with unquoted decimal commas",
        "panel.csv",
        lines(lambda rows: [rows[0], *[one.replace("0.", "0,", 1) for one in rows[1:]]]),
        DataError,
        "line 2",
    ),
    file("CSV with one field too many in a line", "panel.csv", line(9, lambda one: one + ",1"), DataError, "line 9"),
    file(
        "CSV with one field too many in every line",
        "panel.csv",
        lines(lambda rows: [rows[0], *[one + ",1" for one in rows[1:]]]),
        DataError,
        "line 2",
    ),
    file(
        "CSV with a comma at the end of every line",
        "panel.csv",
        lines(lambda rows: [rows[0], *[one + "," for one in rows[1:]]]),
        DataError,
        "line 2",
    ),
    file(
        "CSV with a line that is too short",
        "panel.csv",
        line(9, lambda one: ",".join(one.split(",")[:-2])),
        DataError,
        "line 9",
    ),
    file("CSV cut off within a line", "panel.csv", lambda: csv_text()[:-60], DataError, "last line has 4 of 6"),
    file(
        "CSV with a copyright line at its end",
        "panel.csv",
        lambda: csv_text() + "Copyright 2025 Somebody\n",
        DataError,
        "line 86|row 84",
    ),
    file(
        "CSV with a title above the header",
        "panel.csv",
        lambda: "Prepared by somebody\n\n" + csv_text(),
        DataError,
        "time='date'|line",
    ),
    file(
        "CSV with a blank header cell",
        "panel.csv",
        line(1, lambda one: one.replace(",x,", ",,")),
        DataError,
        "column 4",
    ),
    file(
        "CSV with row numbers in front",
        "panel.csv",
        made.frame()[COLUMNS].to_csv,
        DataError,
        "column 1",
        characteristics=...,
    ),
    file(
        "CSV with a column twice",
        "panel.csv",
        line(1, lambda one: one.replace(",y,", ",x,")),
        DuplicateKeyError,
        "repeated x",
        characteristics=["x"],
    ),
    file("CSV with an open quote", "panel.csv", line(9, lambda one: one.replace("A", '"A', 1)), DataError, "panel.csv"),
    file(
        "CSV with two open quotes",
        "panel.csv",
        lines(lambda rows: [one.replace("A", '"A', 1) if i in (8, 12) else one for i, one in enumerate(rows)]),
        DataError,
        r"line|'asset'.*row",
    ),
    file("CSV in UTF-16", "panel.csv", lambda: csv_text().encode("utf-16"), DataError, "panel.csv"),
    file(
        "CSV in Latin-1",
        "panel.csv",
        lambda: csv_text().replace("A1", "Ä1").encode("latin-1"),
        DataError,
        "panel.csv.*position",
    ),
    file(
        "CSV with NUL bytes",
        "panel.csv",
        line(9, lambda one: one.replace("A", "A\0", 1)),
        DataError,
        r"panel\.csv|'asset'.*row 7",
    ),
    file("CSV with thousands commas", "panel.csv", lines(thousands), DataError, r"'x'.*\(2015-01, A0\)"),
    file(
        "CSV with percent signs",
        "panel.csv",
        line(9, lambda one: one.replace(",0.", ",0.0%,0.", 1).replace("%,0.", "%0,", 1)),
        DataError,
        r"\(2015-02, A1\)|line 9",
    ),
    file(
        "CSV with NaN written as a dot",
        "panel.csv",
        line(9, lambda one: ",".join([*one.split(",")[:3], ".", *one.split(",")[4:]])),
        DataError,
        r"'x'.*\(2015-02, A1\)",
    ),
    file(
        "CSV with NaN written as -",
        "panel.csv",
        line(9, lambda one: ",".join([*one.split(",")[:3], "-", *one.split(",")[4:]])),
        DataError,
        r"'x'.*\(2015-02, A1\)",
    ),
    file(
        "CSV with a blank label", "panel.csv", line(9, lambda one: one.replace("A1", "")), DataError, "'asset'.*row 7"
    ),
    file(
        "CSV with padded labels",
        "panel.csv",
        line(9, lambda one: one.replace("A1", " A1")),
        DataError,
        "'asset'.*row 7",
    ),
    file(
        "CSV with a row twice", "panel.csv", lines(lambda rows: [*rows, rows[8]]), DuplicateKeyError, r"\(2015-02, A1\)"
    ),
    file(
        "CSV with the header again in the middle",
        "panel.csv",
        lines(lambda rows: [*rows[:20], rows[0], *rows[20:]]),
        DataError,
        r"'date'.*row 19",
    ),
    file(
        "CSV with an infinite return",
        "panel.csv",
        line(9, lambda one: ",".join([*one.split(",")[:2], "inf", *one.split(",")[3:]])),
        DataError,
        r"'ret'.*\(2015-02, A1\)",
    ),
    file(
        "CSV dated day/month/year",
        "panel.csv",
        lambda: made.frame()[COLUMNS].to_csv(index=False, date_format="%d/%m/%Y"),
        DataError,
        r"'date'.*\(row 0, '31/01/2015'\)",
    ),
    file(
        "gzip cut off",
        "panel.csv.gz",
        lambda: gzip.compress(csv_text().encode())[:-40],
        CorruptResultError,
        "panel.csv.gz",
    ),
    file(
        "gzip with a flipped bit",
        "panel.csv.gz",
        lambda: flipped(gzip.compress(csv_text().encode())),
        CorruptResultError,
        "panel.csv.gz",
    ),
]

ARCHIVES = [
    file("zip with nothing in it", "panel.csv.zip", zipped, DataError, "panel.csv.zip"),
    file(
        "zip cut off",
        "panel.csv.zip",
        lambda: zipped(**{"panel.csv": csv_text()})[:-30],
        CorruptResultError,
        "panel.csv.zip",
    ),
    file(
        "zip with two members",
        "panel.csv.zip",
        lambda: zipped(**{"a.csv": csv_text(), "b.csv": csv_text()}),
        DataError,
        "panel.csv.zip",
    ),
    file(
        "zip of a pickle",
        "panel.csv.zip",
        lambda: zipped(**{"panel.csv": pickle.dumps(Bomb(Path("exploded")))}),
        DataError,
        "panel.csv.zip",
    ),
    file(
        "zip with a flipped bit",
        "panel.csv.zip",
        lambda: flipped(zipped(**{"panel.csv": csv_text()})),
        CorruptResultError,
        "panel.csv.zip",
    ),
]

UNSAFE = [
    *[
        file(
            f"zip with a member {where}",
            "panel.csv.zip",
            lambda member=member: zipped(**{member: csv_text()}),
            UnsafeArchiveError,
            rf"panel\.csv\.zip.*{member}",
        )
        for where, member in {
            "that climbs out": "../../panel.csv",
            "that climbs out within": "a/../../panel.csv",
            "at an absolute path": "/tmp/panel.csv",
            "on another drive": "C:panel.csv",
        }.items()
    ],
    file("zip with a symbolic link", "panel.csv.zip", linked, UnsafeArchiveError, r"panel\.csv\.zip.*'panel\.csv'"),
    file(
        "zip in a zip",
        "panel.csv.zip",
        lambda: zipped(**{"panel.csv": zipped(**{"panel.csv": csv_text()})}),
        UnsafeArchiveError,
        r"panel\.csv\.zip/panel\.csv",
    ),
    file(
        "zip that unpacks to a thousand times its size",
        "panel.csv.zip",
        lambda: zipped(**{"panel.csv": bomb()}),
        UnsafeArchiveError,
        r"panel\.csv\.zip/panel\.csv",
    ),
    file(
        "gzip that unpacks to a thousand times its size",
        "panel.csv.gz",
        lambda: gzip.compress(bomb().encode()),
        UnsafeArchiveError,
        r"panel\.csv\.gz",
    ),
]

FAULTS = list(itertools.chain(PATHS, PARQUET, CSV, ARCHIVES, UNSAFE))
