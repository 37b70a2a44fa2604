"""Panel stores on disk that are damaged, foreign or edited, and writes that must not happen."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

import bayesfactor as bf
from bayesfactor.errors import AlignmentError, CorruptResultError, DataError, EmptyWindowError

from . import made
from .fault import Call, Fault
from .files import Bomb

MONTH = r"2015-\d\d of the panel store .*it"
Spoil = Callable[[Path], object]


def read(path: Path) -> object:
    """Everything that a store holds."""
    return bf.open_panel(path).load()


def spoilt(name: str, spoil: Spoil, place: str, call: Callable[[Path], object] = read) -> Fault:
    """A good store, spoiled, then read."""

    def make(folder: Path, _rng: np.random.Generator) -> Call:
        path = made.store(folder)
        spoil(path)
        return functools.partial(call, path)

    return Fault(name, make, CorruptResultError, place)


def asked(name: str, call: Callable[[bf.PanelStore], object], gives: type[Exception], place: str) -> Fault:
    """A good store, asked for what it cannot give."""
    return Fault(name, lambda folder, _: functools.partial(call, bf.open_panel(made.store(folder))), gives, place)


def foreign(name: str, make: Callable[[Path], object], place: str) -> Fault:
    """A path ``it`` that is no store."""

    def of(folder: Path, _rng: np.random.Generator) -> Call:
        make(folder / "it")
        return functools.partial(read, folder / "it")

    return Fault(name, of, CorruptResultError, place)


def written(
    name: str, call: Callable[[Path], object], gives: type[Exception], place: str, before: Spoil | None = None
) -> Fault:
    """A write that must not happen, to a folder that holds a good store ``it``."""

    def make(folder: Path, _rng: np.random.Generator) -> Call:
        path = made.store(folder)
        if before is not None:
            before(path)
        return functools.partial(call, path)

    return Fault(name, make, gives, place)


def part(path: Path) -> Path:
    return next(path.glob("part-*"))


def chunk(path: Path, variable: str) -> Path:
    """The chunk of the fourth month, 2015-05."""
    return next(file for file in sorted((part(path) / variable / "c" / "3").rglob("*")) if file.is_file())


def flip(file: Path, place: float = 0.5) -> None:
    content = bytearray(file.read_bytes())
    content[int(place * (len(content) - 1))] ^= 1
    file.write_bytes(content)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-5])


def swap(path: Path) -> None:
    """The returns of 2015-05 in place of those of 2015-06."""
    there = part(path) / "returns" / "c" / "4" / "0"
    there.write_bytes(chunk(path, "returns").read_bytes())


def rewritten(path: Path) -> None:
    """Other returns through zarr itself, so that its own checksums are right."""
    array = zarr.open_array(part(path) / "returns", mode="r+")
    array[3] = 0.01 + array[3]


def edited(change: Callable[[dict[str, Any]], object], seal: bool = False) -> Spoil:
    """The manifest edited; sealed again with a right digest, or not."""

    def spoil(path: Path) -> None:
        file = path / "manifest.json"
        manifest = json.loads(file.read_text())
        change(manifest)
        if seal:
            manifest.pop("sha256")
            manifest["sha256"] = hashlib.sha256(_dump(manifest)).hexdigest()
        file.write_bytes(_dump(manifest))

    return spoil


def _dump(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def metadata(change: Callable[[dict[str, Any]], object]) -> Spoil:
    """The zarr.json of the returns, edited."""

    def spoil(path: Path) -> None:
        file = part(path) / "returns" / "zarr.json"
        described = json.loads(file.read_text())
        change(described)
        file.write_text(json.dumps(described))

    return spoil


def content(**new: Any) -> Spoil:
    return edited(lambda manifest: manifest["content"].update(new), seal=True)


def manifest_of(text: str | bytes) -> Spoil:
    return lambda path: (path / "manifest.json").write_bytes(text.encode() if isinstance(text, str) else text)


def folder_with(name: str, raw: bytes) -> Spoil:
    def make(path: Path) -> None:
        path.mkdir()
        (path / name).write_bytes(raw)

    return make


def foreign_zarr(path: Path) -> None:
    zarr.create_group(path).create_array("returns", shape=(3, 2), dtype="float64")[...] = 0.01


VARIABLES = ("asset", "characteristics", "returns", "missing", "size", "group")
FILES = [
    *[
        spoilt(f"{what} chunk of {name}", lambda path, name=name, how=how: how(chunk(path, name)), MONTH)
        for name in VARIABLES
        for what, how in (("flipped bit in a", flip), ("cut off", cut), ("missing", Path.unlink))
    ],
    spoilt("empty chunk", lambda path: chunk(path, "returns").write_bytes(b""), MONTH),
    spoilt(
        "pickle in place of a chunk",
        lambda path: chunk(path, "returns").write_bytes(pickle.dumps(Bomb(Path("exploded")))),
        MONTH,
    ),
    spoilt("chunks of two months exchanged", swap, "2015-06 of the panel store"),
    spoilt("values changed by zarr itself", rewritten, "2015-05 of the panel store"),
    spoilt(
        "zarr.json missing",
        lambda path: (part(path) / "returns" / "zarr.json").unlink(),
        r"part-\w+.*returns|returns.*zarr\.json",
    ),
    spoilt("zarr.json with another dtype", metadata(lambda d: d.update(data_type="int64")), r"zarr\.json .* part-"),
    spoilt(
        "zarr.json with a codec for objects",
        metadata(lambda d: d.update(codecs=[{"name": "numcodecs.pickle"}])),
        r"zarr\.json .* part-",
    ),
    spoilt("zarr.json with another fill value", metadata(lambda d: d.update(fill_value=0.0)), r"zarr\.json .* part-"),
    spoilt("zarr.json with another shape", metadata(lambda d: d.update(shape=[5, 60])), r"zarr\.json .* part-"),
    spoilt(
        "an array missing",
        lambda path: [file.unlink() for file in (part(path) / "group").rglob("*") if file.is_file()],
        r"part-\w+.*group|group.*zarr\.json",
    ),
    spoilt("the part renamed", lambda path: part(path).rename(path / "part-0"), "part-"),
    spoilt(
        "one month read from a damaged store",
        lambda path: flip(chunk(path, "returns")),
        "2015-05 of the panel store",
        lambda path: bf.open_panel(path).months([3]),
    ),
    spoilt(
        "a fit from a damaged store",
        lambda path: flip(chunk(path, "returns")),
        "2015-05 of the panel store",
        lambda path: bf.fit(made.LINEAR, bf.open_panel(path), made.EXACT),
    ),
]

MANIFESTS = [
    spoilt("manifest missing", lambda path: (path / "manifest.json").unlink(), r"it is not.*manifest\.json"),
    spoilt("manifest empty", manifest_of(""), r"manifest\.json"),
    spoilt("manifest that is text", manifest_of("a panel"), r"manifest\.json"),
    spoilt("manifest that is a list", manifest_of("[1, 2]"), r"manifest\.json"),
    spoilt("manifest nested a million deep", manifest_of("[" * 1_000_000), r"manifest\.json"),
    spoilt("manifest that is binary", manifest_of(b"\xff\xfe\x00"), r"manifest\.json"),
    spoilt(
        "manifest that is a pickle",
        lambda path: (path / "manifest.json").write_bytes(pickle.dumps(Bomb(Path("exploded")))),
        r"manifest\.json",
    ),
    *[
        spoilt(
            f"manifest cut off at {share:.0%}",
            lambda path, share=share: (path / "manifest.json").write_bytes(
                (path / "manifest.json").read_bytes()[: int(share * (path / "manifest.json").stat().st_size)]
            ),
            r"manifest\.json",
        )
        for share in (0.1, 0.5, 0.99)
    ],
    *[
        spoilt(
            f"manifest with a flipped bit at {share:.0%}",
            lambda path, share=share: flip(path / "manifest.json", share),
            r"manifest\.json",
        )
        for share in (0.02, 0.3, 0.6, 0.9)
    ],
    spoilt(
        "manifest with another frequency", edited(lambda m: m["content"].update(frequency="daily")), r"manifest\.json"
    ),
    spoilt("manifest with a line of history more", edited(lambda m: m["history"].append("mine")), r"manifest\.json"),
    spoilt(
        "manifest of another format, sealed", edited(lambda m: m.update(format="table"), seal=True), r"manifest\.json"
    ),
    spoilt("manifest of a newer version", edited(lambda m: m.update(schema=99), seal=True), "it has schema 99"),
    spoilt(
        "manifest with a schema in words, sealed",
        edited(lambda m: m.update(schema="one"), seal=True),
        r"manifest\.json",
    ),
    spoilt("manifest without parts, sealed", edited(lambda m: m.pop("parts"), seal=True), r"manifest\.json"),
    spoilt("manifest without content, sealed", edited(lambda m: m.pop("content"), seal=True), r"manifest\.json"),
    spoilt(
        "manifest without months, sealed", edited(lambda m: m["content"].pop("months"), seal=True), r"manifest\.json"
    ),
    spoilt("manifest of no months, sealed", content(months=[]), r"manifest\.json"),
    spoilt("manifest with months in words, sealed", content(months=["January"] * 5), r"manifest\.json"),
    spoilt(
        "manifest with too few months, sealed",
        edited(lambda m: m["content"]["months"].pop(), seal=True),
        r"manifest\.json",
    ),
    spoilt("manifest with an unknown frequency, sealed", content(frequency="hourly"), r"manifest\.json"),
    spoilt("manifest with an unknown dtype, sealed", content(dtype="object"), r"manifest\.json"),
    spoilt(
        "manifest with an unknown variable, sealed",
        content(variables=["returns", "characteristics", "alpha"]),
        r"manifest\.json",
    ),
    spoilt("manifest with fewer assets, sealed", content(assets=["A0"]), "manifest.json|panel store"),
    spoilt("manifest with kinds for one column, sealed", content(kinds=["continuous"]), r"manifest\.json"),
    spoilt(
        "part outside the store, sealed",
        edited(lambda m: m["parts"][0].update(folder="../../elsewhere"), seal=True),
        r"manifest\.json.*\.\./\.\./elsewhere",
    ),
    spoilt(
        "part at an absolute path, sealed",
        edited(lambda m: m["parts"][0].update(folder="/etc"), seal=True),
        r"manifest\.json.*/etc",
    ),
    spoilt(
        "part that is a number, sealed", edited(lambda m: m["parts"][0].update(folder=7), seal=True), r"manifest\.json"
    ),
]

FOREIGN = [
    foreign("no such folder", lambda path: None, "it is not a panel store"),
    foreign("an empty folder", Path.mkdir, "it is not a panel store"),
    foreign("a file", lambda path: path.write_bytes(b"PAR1"), "it is not a panel store"),
    foreign("a zarr group of somebody else", foreign_zarr, "it is not a panel store"),
    foreign(
        "a zarr store of xarray",
        lambda path: xr.Dataset({"returns": ("time", [0.1])}).to_zarr(path, consolidated=False),
        "it is not a panel store",
    ),
    foreign("a saved fit", lambda path: path.write_bytes(made.saved_fit()), "it is not a panel store"),
    foreign(
        "a pickled array in a folder",
        folder_with("manifest.json", pickle.dumps(Bomb(Path("exploded")))),
        r"manifest\.json",
    ),
]

ASKED = [
    asked("a window without data", lambda s: s.load("1990"), EmptyWindowError, "2015-02 to 2015-06"),
    asked("a window in words", lambda s: s.load("May"), DataError, "'May'"),
    asked("a month beyond the last", lambda s: s.months([5]), DataError, "0 to 4: found 5"),
    asked("a negative month", lambda s: s.months([-1]), DataError, "found -1"),
    asked("months by date", lambda s: s.months(["2015-05"]), DataError, "2015-05"),
    asked("months as fractions", lambda s: s.months([1.5]), DataError, "1.5"),
    asked("no months", lambda s: s.months([]), DataError, "0 to 4"),
    asked("months as a mask", lambda s: s.months(np.ones(5, bool)), DataError, "True"),
    asked("a minibatch larger than the store", lambda s: s.positions_at(0, 0, 99), DataError, "5 months.*found 99"),
    asked("a minibatch of nothing", lambda s: list(s.batches(0, 0, range(2))), DataError, "found 0"),
    asked("a minibatch of 2.5 months", lambda s: s.positions_at(0, 0, 2.5), DataError, "2.5"),
    asked("a negative seed", lambda s: s.positions_at(-1, 0, 2), DataError, "-1"),
    asked("a seed that is a fraction", lambda s: s.positions_at(0.5, 0, 2), DataError, "0.5"),
]

WRITES = [
    written("raw characteristics", lambda path: made.raw().to_zarr(path.parent / "new"), DataError, "rank_normalise"),
    written("a store that exists", lambda path: made.prepared().to_zarr(path), DataError, "it exists"),
    written(
        "a file that exists",
        lambda path: made.prepared().to_zarr(path / "manifest.json"),
        DataError,
        r"manifest\.json exists",
    ),
    written(
        "a folder that does not exist",
        lambda path: made.prepared().to_zarr(path.parent / "no" / "it"),
        DataError,
        "inputs/no",
    ),
    written(
        "another dtype",
        lambda path: made.prepared().to_zarr(path.parent / "new", dtype="int32"),
        DataError,
        "dtype.*int32",
    ),
    written(
        "no dtype at all",
        lambda path: made.prepared().to_zarr(path.parent / "new", dtype="double precision"),
        DataError,
        "dtype.*double precision",
    ),
    written(
        "append to nothing",
        lambda path: made.prepared().to_zarr(path.parent / "new", append=True),
        CorruptResultError,
        "new is not",
    ),
    written(
        "append months that are there",
        lambda path: made.prepared().to_zarr(path, append=True),
        DataError,
        "found 2015-02",
    ),
    written(
        "append other characteristics",
        lambda path: made.prepared().sel(characteristic="x").to_zarr(path, append=True),
        AlignmentError,
        r"\['x'\]",
    ),
    written(
        "append another preparation",
        lambda path: made.raw().standardise().to_zarr(path, append=True),
        AlignmentError,
        "standardise",
    ),
    written(
        "append another dtype",
        lambda path: made.prepared().to_zarr(path, append=True, dtype="float32"),
        AlignmentError,
        "float32",
    ),
    written(
        "append to a damaged manifest",
        lambda path: made.prepared().to_zarr(path, append=True),
        CorruptResultError,
        r"manifest\.json",
        lambda path: flip(path / "manifest.json"),
    ),
]

FAULTS = list(itertools.chain(FILES, MANIFESTS, FOREIGN, ASKED, WRITES))
