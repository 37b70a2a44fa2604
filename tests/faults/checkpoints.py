"""Checkpoints of other runs, damaged and foreign ones."""

from __future__ import annotations

import functools
import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import bayesfactor as bf
from bayesfactor.errors import CorruptResultError, DataError
from bayesfactor.inference.checkpoint import Checkpoint, identity

from . import made
from .fault import Call, Fault
from .files import Bomb, zipped
from .saved import SEAL, cut, flip, sealed

MODEL = bf.FundamentalFactorModel(hidden=(), noise="normal")
SETTINGS = bf.NUTS(warmup=20, draws=4, chains=2)


def state() -> dict[str, jax.Array]:
    """Where a run could be."""
    return {"key": jax.random.key(3), "position": jnp.zeros((2, 3)), "step": jnp.asarray(5)}


def run(path: Path, **other: Any) -> Checkpoint:
    """The checkpoint of a run of MODEL, or of one that is otherwise."""
    said = {"model": MODEL, "inference": SETTINGS, "seed": 0, "panel": made.train(), "precision": "float64"} | other
    said["panel"] = said["panel"].fingerprint
    return Checkpoint(path, identity(said.pop("model"), said.pop("inference"), **said), unit="draws")


@functools.cache
def checkpoint() -> bytes:
    """Of a run half way."""

    def write(path: Path) -> None:
        run(path).offer(5, 5, state(), lambda: {"slope_mean": np.zeros((2, 4, 3))})

    return made.written(write)["it"]


def resumed(
    name: str,
    change: Callable[[bytes], bytes],
    gives: type[Exception] = CorruptResultError,
    place: str = "run",
    **other: Any,
) -> Fault:
    """What `change` makes of a checkpoint, read by its run, or by another."""

    def make(folder: Path, _rng: np.random.Generator) -> Call:
        (folder / "run").write_bytes(change(checkpoint()))
        return lambda: run(folder / "run", **other).load(state())

    return Fault(name, make, gives, place)


def fitted(name: str, change: Callable[[bytes], bytes], gives: type[Exception], place: str) -> Fault:
    """The same through `fit`."""

    def make(folder: Path, _rng: np.random.Generator) -> Call:
        (folder / "run").write_bytes(change(checkpoint()))
        return functools.partial(bf.fit, MODEL, made.train(), SETTINGS, seed=7, checkpoint=folder / "run")

    return Fault(name, make, gives, place)


def another(name: str, place: str, **other: Any) -> Fault:
    return resumed(name, lambda content: content, DataError, f"run.*{place}", **other)


def opened(content: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(content[:-SEAL]), allow_pickle=False) as archive:
        return dict(archive)


def packed(save: Callable[..., None], **arrays: Any) -> bytes:
    buffer = io.BytesIO()
    save(buffer, **arrays)
    return sealed(buffer.getvalue())


def header(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    """The checkpoint with its header edited, and sealed again."""

    def edit(content: bytes) -> bytes:
        arrays = opened(content)
        told = json.loads(str(arrays.pop("header")))
        change(told)
        return packed(np.savez, header=np.asarray(json.dumps(told)), **arrays)

    return edit


def arrays(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    """The checkpoint with its arrays edited, and sealed again."""

    def edit(content: bytes) -> bytes:
        held = opened(content)
        change(held)
        return packed(np.savez, **held)

    return edit


def bomb(content: bytes) -> bytes:
    held = np.empty(1, object)
    held[0] = Bomb(Path("exploded"))
    return packed(np.savez, **opened(content) | {"leaf_0": held})


def there(name: str, make: Callable[[Path], Path], place: str) -> Fault:
    """A path that no checkpoint can have."""
    return Fault(
        name,
        lambda folder, _: functools.partial(bf.fit, MODEL, made.train(), SETTINGS, checkpoint=make(folder)),
        DataError,
        place,
    )


def folder_at(folder: Path) -> Path:
    (folder / "run").mkdir()
    return folder / "run"


FAULTS = [
    another("of another seed", "seed is 0 in the file, 7 was asked", seed=7),
    another("of another model", "pooling", model=made.LINEAR),
    another("of another prior", "slope_sd", model=bf.FundamentalFactorModel(hidden=(), noise="normal", slope_sd=0.05)),
    another(
        "of other settings", "inference.draws is 4 in the file, 8", inference=bf.NUTS(warmup=20, draws=8, chains=2)
    ),
    another("of another inference", "inference.class", inference=bf.SVI(steps=100, restarts=2, draws=4)),
    another("of another panel", "panel is", panel=made.later()),
    another("of another precision", "precision", precision="float32"),
    fitted(
        "of another seed, given to fit", lambda content: content, DataError, "run.*seed is 0 in the file, 7 was asked"
    ),
    fitted("cut off, given to fit", cut(0.7), CorruptResultError, "run"),
    *[resumed(f"cut off at {share:.1%}", cut(share)) for share in (0.0, 0.001, 0.1, 0.5, 0.9, 0.999)],
    *[resumed(f"flipped bit at {share:.1%}", flip(share)) for share in (0.0, 0.01, 0.3, 0.6, 0.9, 1.0)],
    resumed("a byte more", lambda content: content + b"\0"),
    resumed("its digest removed", lambda content: content[:-SEAL]),
    resumed("empty", lambda _: b""),
    resumed("text", lambda _: b"done 5 of 10\n" * 20),
    resumed("a saved fit", lambda _: made.saved_fit()),
    resumed("a pickle behind a right digest", lambda _: sealed(pickle.dumps(Bomb(Path("exploded"))))),
    resumed("a pickle inside the archive", bomb),
    resumed("a single array behind a right digest", lambda _: packed(np.save, arr=np.zeros(3))),
    resumed("an archive of somebody else", lambda _: packed(np.savez, a=np.zeros(3))),
    resumed("an archive that climbs out", lambda _: sealed(zipped(**{"../../leaf_0.npy": "0"}))),
    resumed(
        "an archive that unpacks to a thousand times its size",
        lambda _: packed(np.savez_compressed, header=np.zeros(10**6)),
    ),
    resumed("no header", arrays(lambda held: held.pop("header"))),
    resumed("a header that is a list", arrays(lambda held: held.update(header=np.asarray("[1]")))),
    resumed("a header without its run", header(lambda told: told.pop("identity"))),
    resumed("a header whose run is a word", header(lambda told: told.update(identity="mine"))),
    resumed("a header that counts in words", header(lambda told: told.update(done="all"))),
    resumed("more done than there is", header(lambda told: told.update(done=told["total"] + 1))),
    resumed("less than nothing done", header(lambda told: told.update(done=-1))),
    resumed("a part of the state missing", arrays(lambda held: held.pop("leaf_0"))),
    resumed("a part of the state of another shape", arrays(lambda held: held.update(leaf_1=np.zeros((7, 7))))),
    resumed("a key of another kind", header(lambda told: told.update(keys=["mine"] * len(told["keys"])))),
    resumed("draws missing", arrays(lambda held: held.pop("array_0"))),
    there("a folder", folder_at, "run is a folder"),
    there("in a folder that does not exist", lambda folder: folder / "none" / "run", "none"),
    Fault(
        "for Exact",
        lambda folder, _: functools.partial(bf.fit, made.LINEAR, made.train(), made.EXACT, checkpoint=folder / "run"),
        DataError,
        "checkpoint",
    ),
]
