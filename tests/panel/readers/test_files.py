"""Opening files: one table however it is packed; archives that lie, damage and traps, each told and nothing written."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import pickle
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bayesfactor.errors import (
    BayesFactorError,
    CorruptResultError,
    DataError,
    DuplicateKeyError,
    UnsafeArchiveError,
)
from bayesfactor.panel import simulate
from bayesfactor.panel.readers import Limits, ken_french, read_table
from bayesfactor.panel.reading import read_frame

FRAME = pd.DataFrame({"date": ["2020-01-31", "2020-02-29"], "asset": ["NA", "007"], "x": [1.5, np.nan]})
CSV = FRAME.to_csv(index=False)


def zipped(path: Path, *members: tuple[str, bytes | str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def gzipped(path: Path, content: bytes | str) -> Path:
    path.write_bytes(gzip.compress(content.encode() if isinstance(content, str) else content))
    return path


def parquet() -> bytes:
    stream = io.BytesIO()
    FRAME.to_parquet(stream)
    return stream.getvalue()


def test_one_table_however_it_is_packed(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(CSV)
    (tmp_path / "bom.CSV").write_bytes(CSV.encode("utf-8-sig"))
    (tmp_path / "a.parquet").write_bytes(parquet())
    files = [
        tmp_path / "a.csv",
        tmp_path / "bom.CSV",
        tmp_path / "a.parquet",
        gzipped(tmp_path / "a.csv.gz", CSV),
        zipped(tmp_path / "a.zip", ("folder/a.csv", CSV), ("readme.txt", "words"), ("__MACOSX/._a.csv", "junk")),
        zipped(tmp_path / "b.zip", ("a.parquet", parquet())),
    ]
    for file in files:
        pd.testing.assert_frame_equal(read_table(file, text=("asset",)), FRAME, check_dtype=False)
        pd.testing.assert_frame_equal(
            read_table(str(file), columns=("x", "date")), FRAME[["date", "x"]], check_like=True
        )
    gzipped(tmp_path / "really_gzip.csv", CSV)
    files.append(tmp_path / "really_gzip.csv")
    pd.testing.assert_frame_equal(read_table(files[-1], text=("asset",)), FRAME)
    named = zipped(tmp_path / "two.zip", ("a.csv", CSV), ("b.csv", "y\n1\n"))
    assert read_table(named, member="b.csv")["y"].tolist() == [1]
    assert sorted(os.listdir(tmp_path)) == sorted([*(file.name for file in files), "two.zip"])


def test_a_panel_is_the_same_from_a_frame_and_from_an_archive(tmp_path: Path) -> None:
    frame = simulate.frame(n_months=8, n_assets=6, n_characteristics=2, seed=1)
    path = zipped(tmp_path / "panel.zip", ("panel.csv", frame.to_csv(index=False)))
    told = {"time": "date", "asset": "asset", "returns": "ret", "returns_over": "row", "lag": 1, "units": "decimal"}
    from_file, from_frame = (read_frame(one, **told, excess=True) for one in (path, frame))
    assert from_file.fingerprint == from_frame.fingerprint
    assert from_file.audit().cells_changed.sum() == 0


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def hostile(name: str, content: str = CSV) -> bytes:
    """A ZIP whose member has this name, which `writestr` might clean."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("x" * len(name), content)
    return stream.getvalue().replace(b"x" * len(name), name.encode())


@pytest.mark.parametrize(
    "name",
    [
        "../evil.csv",
        "a/../../evil.csv",
        "/etc/evil.csv",
        "C:\\evil.csv",
        "..\\evil.csv",
        "\\evil.csv",
        "a\x00evil.csv",
        "a\nevil.csv",
    ],
)
@pytest.mark.parametrize("reader", [read_table, ken_french])
def test_paths_that_lead_outside_are_refused(tmp_path: Path, reader: Callable, name: str) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    path = folder / "evil.zip"
    path.write_bytes(hostile(name))
    with pytest.raises(UnsafeArchiveError, match=r"evil\.zip: .*evil\.csv"):
        reader(path)
    assert [file.name for file in tmp_path.rglob("*")] == ["inner", "evil.zip"]


def test_links_and_repeated_names_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr("a.csv", CSV)
        archive.writestr(link("b.csv"), "/etc/passwd")
    with pytest.raises(UnsafeArchiveError, match=r"'b\.csv' is a link"):
        read_table(tmp_path / "link.zip")
    with zipfile.ZipFile(tmp_path / "twice.zip", "w") as archive:
        archive.writestr("a.csv", CSV)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.csv", CSV)
    with pytest.raises(UnsafeArchiveError, match="twice"):
        read_table(tmp_path / "twice.zip")


@pytest.mark.parametrize("pack", ["zip", "gz"])
def test_bombs_stop_while_they_are_read(tmp_path: Path, pack: str) -> None:
    """128 MiB of blanks and zeros in some 100 KiB: refused by the ratio after 64 MiB, whatever the header says."""
    zeros = b"x\n" + (b" " * 1022 + b"0\n") * 2**17
    path = (
        zipped(tmp_path / "bomb.zip", ("a.csv", zeros)) if pack == "zip" else gzipped(tmp_path / "bomb.csv.gz", zeros)
    )
    assert path.stat().st_size < 400_000
    with pytest.raises(UnsafeArchiveError, match=r"must not expand beyond \d\d,\d{3},\d{3} bytes: it does"):
        read_table(path)
    with pytest.raises(UnsafeArchiveError, match="beyond 1,000"):
        read_table(path, limits=Limits(bytes=1000))
    assert len(read_table(path, limits=Limits(ratio=2000))) == 2**17


def test_a_header_that_claims_too_much_or_too_little(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", ("a.csv", CSV))
    content, size = path.read_bytes(), struct.pack("<L", len(CSV))
    assert content.count(size) == 2
    path.write_bytes(content.replace(size, struct.pack("<L", 2**31)))
    with pytest.raises(UnsafeArchiveError, match="claims 2,147,483,648"):
        read_table(path, limits=Limits(bytes=2**20))
    path.write_bytes(content.replace(size, struct.pack("<L", 20)))
    with pytest.raises(CorruptResultError, match=r"a\.zip/a\.csv"):
        read_table(path)


def test_an_archive_inside_an_archive_is_refused(tmp_path: Path) -> None:
    inner = zipped(tmp_path / "inner.zip", ("a.csv", CSV)).read_bytes()
    for name in ("inner.zip", "disguised.csv"):
        with pytest.raises(UnsafeArchiveError, match=rf"{name} is an archive inside an archive"):
            read_table(zipped(tmp_path / "outer.zip", (name, inner)))
    with pytest.raises(UnsafeArchiveError, match="inside an archive"):
        read_table(gzipped(tmp_path / "a.csv.gz", gzip.compress(CSV.encode())))


def test_which_member_must_be_plain(tmp_path: Path) -> None:
    several = zipped(tmp_path / "two.zip", ("a.csv", CSV), ("b.csv", CSV))
    with pytest.raises(DataError, match=r"member= must name it.*a\.csv, b\.csv"):
        read_table(several)
    with pytest.raises(DataError, match=r"no member 'c\.csv'.*Near: (a|b)\.csv"):
        read_table(several, member="c.csv")
    with pytest.raises(DataError, match="none"):
        read_table(zipped(tmp_path / "empty.zip"))
    with pytest.raises(DataError, match="names a part of a ZIP"):
        read_table(gzipped(tmp_path / "a.csv.gz", CSV), member="a.csv")


def test_an_encrypted_member_is_named(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", ("a.csv", CSV))
    content = bytearray(path.read_bytes())
    content[6] |= 1  # flag of the local header
    content[content.index(b"PK\x01\x02") + 8] |= 1  # and of the central one
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.zip/a\.csv is encrypted"):
        read_table(path)


@pytest.mark.parametrize("pack", ["zip", "gz"])
def test_a_truncated_archive_is_never_read_in_part(tmp_path: Path, pack: str) -> None:
    rng = np.random.default_rng(0)
    text = pd.DataFrame({"x": rng.standard_normal(3000)}).to_csv(index=False)
    path = zipped(tmp_path / "a.zip", ("a.csv", text)) if pack == "zip" else gzipped(tmp_path / "a.csv.gz", text)
    content = path.read_bytes()
    for cut in [4, 10, *range(50, len(content), len(content) // 25), len(content) - 1]:
        path.write_bytes(content[:cut])
        with pytest.raises(CorruptResultError, match="truncated or damaged"):
            read_table(path)


@pytest.mark.parametrize("pack", ["zip", "gz"])
def test_flipped_bits_are_never_silent(tmp_path: Path, pack: str) -> None:
    """What comes through has the checksum of the original, or an error says why it does not."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"x": rng.standard_normal(400)})
    text = frame.to_csv(index=False)
    path = zipped(tmp_path / "a.zip", ("a.csv", text)) if pack == "zip" else gzipped(tmp_path / "a.csv.gz", text)
    content = path.read_bytes()
    refused = 0
    for position in rng.integers(0, len(content), 150):
        damaged = bytearray(content)
        damaged[position] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            found = read_table(path)
        except BayesFactorError:
            refused += 1
        else:
            pd.testing.assert_frame_equal(found, frame)
    assert refused > 100


class Planted:
    """Would leave a file behind if anybody opened the pickle."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.target,))


@pytest.mark.parametrize("protocol", [0, 2, 3, 4, 5])
@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.pkl"])
def test_a_pickle_is_never_opened(tmp_path: Path, protocol: int, name: str) -> None:
    payload = pickle.dumps(Planted(tmp_path / "ran"), protocol)
    (tmp_path / name).write_bytes(payload)
    for path in (
        tmp_path / name,
        zipped(tmp_path / "a.zip", (name, payload)),
        gzipped(tmp_path / f"{name}.gz", payload),
    ):
        try:
            found = read_table(path)  # protocol 0 is text: a table of nonsense, never run
        except BayesFactorError:
            continue
        assert protocol == 0
        assert isinstance(found, pd.DataFrame)
    assert not (tmp_path / "ran").exists()


FOREIGN = {
    "an HDF5": b"\x89HDF\r\n\x1a\n",
    "Excel": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    "bzip2": b"BZh91AY&SY",
    "xz": b"\xfd7zXZ\x00",
    "7z": b"7z\xbc\xaf\x27\x1c",
    "zstandard": b"\x28\xb5\x2f\xfd",
    "UTF-16": CSV.encode("utf-16"),
    "web page": b"<!DOCTYPE html><html>404</html>",
    "binary file": b"date,x\n\x00\x01",
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_is_no_table_is_told_by_name(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a.csv").write_bytes(FOREIGN[kind])
    with pytest.raises(DataError, match=rf"a\.csv must be Parquet or CSV text.*{kind}"):
        read_table(tmp_path / "a.csv")


def test_a_workbook_is_an_archive_without_a_table(tmp_path: Path) -> None:
    path = zipped(tmp_path / "book.xlsx", ("xl/workbook.xml", "<x/>"), ("xl/sheet1.xml", "<x/>"))
    with pytest.raises(DataError, match="one data file"):
        read_table(path)


BROKEN = {
    "": "cannot read",
    "a,b,a\n1,2,3\n": "repeated a",
    ",a\n0,1\n": "none in column 1",
    "a,b\n1,2,3\n4,5,6\n": "line 2, saw 3.*first column without name",
    "a,b\n1,2,3\n4,5\n": "line 2, saw 3",
    "a,b\n1,2,\n3,4,\n": "line 2, saw 3.*at the end of rows",
    "a,b\n1,2\n3": "1 of 2 cells, '3'",
    "a,b\n1,2\n34\n5,6\n": "line 3: a row must have 2 cells as the header: found 1",
    "a,b\n1,2\n3,4,5\n": "line 3, saw 3",
    'a,b\n1,"2\n': "cannot read",
}


@pytest.mark.parametrize("text", BROKEN)
def test_broken_tables(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError, match=BROKEN[text]) as caught:
        read_table(tmp_path / "a.csv")
    assert isinstance(caught.value, DuplicateKeyError) == ("repeated" in BROKEN[text])
    if "line" in BROKEN[text]:
        with pytest.raises(DataError, match=BROKEN[text]):
            read_table(tmp_path / "a.csv", columns=("a",))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("row", [1, 2, 30_000, 59_999, 60_000])
def test_a_short_row_is_named_wherever_it_is(tmp_path: Path, row: int, end: str) -> None:
    """Lines cross the blocks in which the file is read; blank lines are no rows."""
    lines = [f"{i},0.125,{i % 7}" for i in range(60_000)]
    path = tmp_path / "a.csv"
    path.write_bytes(("a,b,c" + end + end.join(lines) + end + end).encode())
    whole = read_table(path)
    assert whole["a"].tolist() == list(range(60_000))
    lines[row - 1] = "77,8"
    path.write_bytes(("a,b,c" + end + end.join(lines) + end).encode())
    with pytest.raises(DataError, match=rf"a\.csv, line {row + 1}: a row must have 3 cells as the header: found 2"):
        read_table(path)


def test_commas_within_quotes_are_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('a,b\n"1,5",x\n"2",y\n')
    assert read_table(tmp_path / "a.csv")["a"].tolist() == ["1,5", "2"]


def test_other_wrong_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_table(tmp_path / "nothing.csv")
    with pytest.raises(DataError, match=r"does not exist|is a folder"):
        read_table(tmp_path)
    (tmp_path / "a.csv").write_bytes("größe\n1\n".encode("latin-1"))
    with pytest.raises(DataError, match="Save it as UTF-8"):
        read_table(tmp_path / "a.csv")
    (tmp_path / "a.txt").write_text(CSV)
    with pytest.raises(DataError, match=r"\.parquet or \.csv"):
        read_table(tmp_path / "a.txt")
    (tmp_path / "a.parquet").write_bytes(parquet()[:-20])
    with pytest.raises(DataError, match=r"cannot read a\.parquet"):
        read_table(tmp_path / "a.parquet")
    (tmp_path / "b.csv").write_text(CSV)
    (tmp_path / "b.parquet").write_bytes(parquet())
    for name in ("b.csv", "b.parquet"):
        with pytest.raises(DataError, match=rf"{name} must have the columns Asset.*Near 'Asset' is 'asset'"):
            read_table(tmp_path / name, columns=("date", "Asset"))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(zlib.compress)),
    kind=st.sampled_from(["csv", "csv.gz", "zip", "parquet"]),
)
def test_any_bytes_give_a_frame_or_our_own_error(tmp_path: Path, content: bytes, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    magic = {"csv": b"", "csv.gz": b"\x1f\x8b\x08", "zip": b"PK\x03\x04", "parquet": b"PAR1"}[kind]
    path.write_bytes(magic + content)
    for reader in (read_table, ken_french):
        with contextlib.suppress(BayesFactorError):
            reader(path)
