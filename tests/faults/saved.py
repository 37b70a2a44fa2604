"""Saved fits that are damaged, foreign or edited."""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import itertools
import json
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

import bayesfactor as bf
from bayesfactor.errors import CorruptResultError, DataError

from . import made
from .fault import Call, Fault
from .files import Bomb, zipped

SEAL = len(b"bayesfactor:sha256:") + 64


def sealed(content: bytes) -> bytes:
    """Content behind a right digest: what somebody who edits a file could do."""
    return content + b"bayesfactor:sha256:" + hashlib.sha256(content).hexdigest().encode()


def fit_file(
    name: str,
    change: Callable[[bytes], bytes],
    gives: type[Exception] = CorruptResultError,
    place: str = r"fit\.nc",
    **arguments: Any,
) -> Fault:
    """What `change` makes of the bytes of a good file, loaded."""

    def make(folder: Path, _rng: np.random.Generator) -> Call:
        path = folder / "fit.nc"
        path.write_bytes(change(made.saved_fit()))
        return functools.partial(bf.load, path, **arguments)

    return Fault(name, make, gives, place)


def at(name: str, make: Callable[[Path], Path], place: str) -> Fault:
    """A path that is no file."""
    return Fault(name, lambda folder, _: functools.partial(bf.load, make(folder)), CorruptResultError, place)


def cut(share: float) -> Callable[[bytes], bytes]:
    return lambda content: content[: int(share * len(content))]


def flip(share: float) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        place = int(share * (len(content) - 1))
        return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]

    return change


def edited(edit: Callable[[h5py.File], object]) -> Callable[[bytes], bytes]:
    """The netCDF edited by another program, and sealed again."""

    def change(content: bytes) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "it.nc"
            path.write_bytes(content[:-SEAL])
            with h5py.File(path, "r+") as file:
                edit(file)
            return sealed(path.read_bytes())

    return change


def attribute(name: str, value: Any) -> Callable[[bytes], bytes]:
    return edited(lambda file: file.attrs.__setitem__(name, value))


def without_attribute(name: str) -> Callable[[bytes], bytes]:
    return edited(lambda file: file.attrs.__delitem__(name))


def setting(which: str, change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    """The settings of the model or the inference, changed as JSON."""

    def edit(file: h5py.File) -> None:
        settings = json.loads(file.attrs[which])
        change(settings)
        file.attrs[which] = json.dumps(settings)

    return edited(edit)


def netcdf() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "it.nc"
        xr.Dataset({"ret": ("time", np.zeros(300))}).to_netcdf(path, engine="h5netcdf")
        return path.read_bytes()


def npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, slope_mean=np.zeros(3))
    return buffer.getvalue()


def named(folder: Path) -> Path:
    (folder / "fit.nc").mkdir()
    return folder / "fit.nc"


def older_model(settings: dict[str, Any]) -> None:
    settings["activation"] = "swish"


DAMAGED = [
    *[
        fit_file(f"cut off at {share:.1%}", cut(share))
        for share in (0.0, 0.0005, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999)
    ],
    *[
        fit_file(f"flipped bit at {share:.1%}", flip(share))
        for share in (0.0, 0.001, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 0.998, 1.0)
    ],
    fit_file("a byte more", lambda content: content + b"\0"),
    fit_file("two files in one", lambda content: content + content[:-1]),
    fit_file("its digest removed", lambda content: content[:-SEAL]),
    fit_file("its digest replaced by another's", lambda content: content[:-SEAL] + sealed(b"other")[-SEAL:]),
    fit_file("its digest zeros", lambda content: content[:-64] + b"0" * 64),
    fit_file("the first half twice", lambda content: content[: len(content) // 2] * 2),
    fit_file("zeros in the middle", lambda content: content[:9000] + bytes(512) + content[9512:]),
    fit_file("line ends changed by a transfer", lambda content: content.replace(b"\n", b"\r\n")),
    fit_file("compressed", gzip.compress),
]

FOREIGN = [
    at("no such file", lambda folder: folder / "none.nc", r"none\.nc"),
    at("a folder", named, r"fit\.nc"),
    fit_file("an empty file", lambda _: b""),
    fit_file("text", lambda _: b"date,asset,ret\n" * 100),
    fit_file("a pickle", lambda _: pickle.dumps(Bomb(Path("exploded")))),
    fit_file("a pickle behind a right digest", lambda _: sealed(pickle.dumps(Bomb(Path("exploded"))))),
    fit_file("a pickle behind the first bytes of HDF5", lambda c: sealed(c[:8] + pickle.dumps(Bomb(Path("exploded"))))),
    fit_file("an archive of arrays behind a right digest", lambda _: sealed(npz())),
    fit_file("a zip behind a right digest", lambda _: sealed(zipped(**{"../../fit.nc": "0"}))),
    fit_file("netCDF of somebody else", lambda _: netcdf()),
    fit_file("netCDF of somebody else behind a right digest", lambda _: sealed(netcdf())),
    fit_file("a panel store's manifest", lambda _: made.store_files()["it/manifest.json"]),
]

EDITED = [
    fit_file("a newer schema", attribute("bayesfactor_schema", 99), place="fit.nc has schema 99"),
    fit_file("a schema in words", attribute("bayesfactor_schema", "one")),
    fit_file("no schema", without_attribute("bayesfactor_schema")),
    *[
        fit_file(f"no {name}", without_attribute(name))
        for name in ("model", "inference", "status", "reasons", "provenance")
    ],
    fit_file("a model that is no JSON", attribute("model", "FundamentalFactorModel()")),
    fit_file("a model that is a list", attribute("model", "[1]")),
    fit_file("a model without a class", setting("model", lambda s: s.pop("class"))),
    fit_file(
        "a model of an unknown class",
        setting("model", lambda s: s.update({"class": "os.system"})),
        place=r"fit\.nc.*os\.system",
    ),
    fit_file(
        "a model with a setting more", setting("model", lambda s: s.update(dropout=0.1)), place=r"fit\.nc.*dropout"
    ),
    fit_file("a model with a setting of another version", setting("model", older_model), place=r"fit\.nc.*swish"),
    fit_file(
        "an inference of an unknown class",
        setting("inference", lambda s: s.update({"class": "HMC"})),
        place=r"fit\.nc.*HMC",
    ),
    fit_file(
        "an inference that cannot be", setting("inference", lambda s: s.update(draws=-1)), place=r"fit\.nc.*draws=-1"
    ),
    fit_file("a status of another word", attribute("status", "great"), place=r"fit\.nc.*'great'"),
    fit_file("reasons that are no list", attribute("reasons", "7")),
    fit_file("a provenance that is a list", attribute("provenance", "[]")),
    fit_file("a provenance without the panel", attribute("provenance", '{"frequency": "monthly"}')),
    fit_file("no posterior", edited(lambda file: file.__delitem__("posterior"))),
    fit_file("no training labels", edited(lambda file: file.__delitem__("constant_data"))),
    fit_file("no functions", edited(lambda file: file.__delitem__("functions"))),
    fit_file("a network for a model without", bytes, DataError, network=abs),
    fit_file(
        "a model with a network of one's own",
        setting("model", lambda s: s.update(network="given by the user")),
        DataError,
    ),
]

FAULTS = list(itertools.chain(DAMAGED, FOREIGN, EDITED))
