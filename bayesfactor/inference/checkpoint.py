"""Where a run was: one file from which the same call goes on and ends with the same bits.

Any inference that advances by chunks, each a function of a state, can use it: `Checkpoint.load` before the first chunk,
`Checkpoint.offer` after each. Nothing of how a posterior is computed is known here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr

from bayesfactor.errors import CorruptResultError, DataError
from bayesfactor.inference import storage
from bayesfactor.inference.sealed import remove_partial, require_folder, verify_sealed, write_sealed

# A checkpoint is written when the last one is older than both: this, and so many times what writing it took.
CHECKPOINT_SECONDS = 20.0
CHECKPOINT_COSTS = 10.0
FORMAT = 2  # 1 knew nothing of where chains begin
PACKAGES = ("bayesfactor", "jax", "jaxlib", "numpyro", "optax", "equinox", "numpy")
ZIP_SIGNATURE = b"PK\x03\x04"


class Saved(NamedTuple):
    """What a checkpoint holds.

    Attributes
    ----------
    done, total : how far the run was, and how far it went, as they were offered; equal when it was complete.
    state : pytree from which the run goes on, on the device.
    arrays : what the run had produced, on the host.
    """

    done: int
    total: int
    state: Any
    arrays: dict[str, np.ndarray]


class Checkpoint:
    """The checkpoint of one run at one path.

    Parameters
    ----------
    path : the file; it need not exist, its folder must.
    identity : everything the bits depend on, as JSON (see `identity`).
    unit : what `done` counts, for messages: "steps".

    Raises
    ------
    DataError
        If there is no such folder, or a folder at the path.
    """

    def __init__(self, path: str | Path, identity: dict[str, Any], *, unit: str) -> None:
        self.path = Path(path)
        self._identity = json.loads(json.dumps({"format": FORMAT, **identity}))
        self._unit = unit
        self._saved: tuple[int, int] | None = None
        self._written, self._cost = time.monotonic(), 0.0
        self._stop = threading.Event()
        require_folder(self.path)
        if self.path.is_dir():
            raise DataError(f"a checkpoint is a file, {self.path} is a folder: name a file in it")

    def load(self, like: Any) -> Saved | None:
        """What the file holds, or None when there is none.

        Parameters
        ----------
        like : pytree of arrays, or of their shapes (`jax.eval_shape`): the state as the program makes it.

        Raises
        ------
        DataError
            If the file is of another run; it names what differs.
        CorruptResultError
            If the file is truncated, changed by as much as one bit, or not a checkpoint.
        """
        remove_partial(self.path)
        if not self.path.exists():
            return None
        header, leaves, arrays = _read(self.path)
        self._compare(header["identity"])
        wanted, structure = jax.tree.flatten(like)
        if header["leaves"] != [_layout(leaf) for leaf in wanted]:
            raise DataError(
                f"the state in {self.path} must have the shapes of this program's state and has others: the model's "
                "code has changed since. Give another path, or delete the file."
            )
        state = [_on_device(leaf, key) for leaf, key in zip(leaves, header["keys"], strict=True)]
        self._saved = (header["done"], header["total"])
        return Saved(header["done"], header["total"], jax.tree.unflatten(structure, state), arrays)

    def offer(self, done: int, total: int, state: Any, arrays: Callable[[], dict[str, np.ndarray]]) -> None:
        """Save when it is time to, when the run is complete, and when the user has asked to stop.

        Call it between two chunks, before `state` is donated to the next.

        Parameters
        ----------
        done, total : how far the run is, and how far it goes.
        state : pytree from which the rest of the run follows.
        arrays : gives what has been produced so far; called only when it is to be saved.

        Raises
        ------
        KeyboardInterrupt
            After saving, when the user has asked to stop.
        OSError
            When the file cannot be written; the one before is still there.
        """
        stop = self._stop.is_set()
        due = time.monotonic() - self._written > max(CHECKPOINT_SECONDS, CHECKPOINT_COSTS * self._cost)
        if stop or due or done == total:
            began = time.monotonic()
            self._write(done, total, state, arrays())
            self._saved = (done, total)
            self._written = time.monotonic()
            self._cost = self._written - began
        if stop:
            raise KeyboardInterrupt

    def ask_to_stop(self) -> bool:
        """Have the next `offer` save and stop the run; False when no offer is to come."""
        if self._saved is not None and self._saved[0] == self._saved[1]:
            return False
        self._stop.set()
        sys.stderr.write("\nStopping after this chunk, to save it. Ctrl-C again stops at once.\n")
        return True

    @property
    def told(self) -> str:
        """One sentence: how much is saved."""
        if self._saved is None:
            return "stopped before anything was saved"
        done, total = self._saved
        return f"stopped: {done:,} of {total:,} {self._unit} are saved in {self.path}, the same call goes on from there"

    def _write(self, done: int, total: int, state: Any, arrays: dict[str, np.ndarray]) -> None:
        leaves = jax.tree.leaves(state)
        header = {
            "identity": self._identity,
            "done": done,
            "total": total,
            "leaves": [_layout(leaf) for leaf in leaves],
            "keys": [str(jax.random.key_impl(leaf)) if _is_key(leaf) else None for leaf in leaves],
            "arrays": list(arrays),
        }
        content = {f"leaf_{i}": np.asarray(jax.random.key_data(x) if _is_key(x) else x) for i, x in enumerate(leaves)}
        content |= {f"array_{i}": value for i, value in enumerate(arrays.values())}

        def write(partial: Path) -> None:
            with partial.open("wb") as file:
                np.savez(file, allow_pickle=False, header=np.asarray(json.dumps(header)), **content)

        write_sealed(self.path, write)

    def _compare(self, found: dict[str, Any]) -> None:
        """Refuse another run's file."""
        differing = differences(found, self._identity)
        if differing:
            raise DataError(
                f"the checkpoint {self.path} must be of the same run, and is of another: {'; '.join(differing)}. "
                "Give another path, or delete the file."
            )


def differences(found: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    """In words, what two descriptions of a run do not agree on."""
    there, here = _flat(found), _flat(asked)
    return [
        f"{name} is {there.get(name, 'absent')} in the file, {here.get(name, 'absent')} was asked"
        for name in sorted(there.keys() | here.keys())
        if there.get(name) != here.get(name) or (name in there) != (name in here)
    ]


def identity(
    model: Any, inference: Any, *, seed: int, panel: str, precision: str, start: str = "cold"
) -> dict[str, Any]:
    """Everything that the bits of a run depend on.

    A user's own network enters by its shapes and structure, a user's own model by its class and fields: neither by its
    code.

    Parameters
    ----------
    model, inference : as given to `fit`.
    seed : of the run.
    panel : fingerprint of the training panel.
    precision : "float32" or "float64".
    start : "cold", or a digest of where chains begin.
    """
    return {
        "model": described(model),
        "inference": described(inference),
        "seed": seed,
        "panel": panel,
        "precision": precision,
        "start": start,
        "platform": jax.devices()[0].platform,
        "versions": {name: version(name) for name in PACKAGES},
    }


def described(instance: Any) -> dict[str, Any]:
    """Class and fields of a dataclass as JSON: what the bits of a run depend on.

    Raises
    ------
    DataError
        When it is no dataclass, or a field is an object that does not say what it holds.
    """
    if not dataclasses.is_dataclass(instance):
        raise DataError(
            f"checkpoint= must know everything that the bits depend on, and {type(instance).__name__} is no dataclass: "
            "make your model a frozen dataclass (see the page on writing one)"
        )
    settings = {**storage._settings(instance), "module": type(instance).__module__}
    if settings.get("network") is not None:
        settings["network"] = _structure(vars(instance)["network"])
    return json.loads(json.dumps(settings, default=content))


def content(value: Any) -> Any:
    """What a setting holds, as JSON: arrays and frames by a digest of all their numbers and labels, functions by code.

    Raises
    ------
    DataError
        For an object that is told from others by its address in memory alone.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(name): content(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [content(one) for one in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        if any(hasattr(leaf, "dtype") for leaf in jax.tree.leaves(value)):
            return {**_structure(value), "values": _digest(value)}
        return described(value)
    return _content_of_object(value)


def _content_of_object(value: Any) -> dict[str, Any]:
    """Of what is neither text, a number, a collection nor a dataclass."""
    if isinstance(value, pd.Series | pd.DataFrame | pd.Index | xr.DataArray | xr.Dataset):
        return {"class": type(value).__name__, "values": _digest_of_frame(value)}
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return {"class": type(value).__name__, "layout": _layout(value), "values": _digest(value)}
    if hasattr(value, "__code__"):
        return _content_of_function(value)
    if isinstance(value, set | frozenset):
        return {"set": sorted(json.dumps(content(one)) for one in value)}
    if re.search(r" at 0x[0-9a-f]+", repr(value)) and not callable(value):
        raise DataError(
            f"settings must say what they hold, and a {type(value).__name__} does not: give numbers, text, arrays, "
            "frames, functions or frozen dataclasses"
        )
    return {"class": type(value).__name__, "repr": re.sub(r" at 0x[0-9a-f]+", "", repr(value))}


def _content_of_function(function: Any) -> dict[str, Any]:
    """Name, code, defaults and what it closes over."""
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    held = [content(one) for one in (function.__defaults__, function.__kwdefaults__, cells)]
    code = hashlib.sha256(_text(function.__code__).encode()).hexdigest()
    return {"function": f"{function.__module__}.{function.__qualname__}", "code": code, "holds": held}


def _text(constant: Any) -> str:
    """Code, or a constant in it, as text without addresses in memory or the order of a set."""
    if hasattr(constant, "co_code"):
        return f"{constant.co_code!r} {constant.co_names} {[_text(one) for one in constant.co_consts]}"
    return repr(sorted(map(repr, constant))) if isinstance(constant, frozenset) else repr(constant)


def _digest_of_frame(value: Any) -> str:
    """Of numbers and labels."""
    if isinstance(value, xr.DataArray):
        value = value.to_dataset(name=value.name or "value")
    if isinstance(value, xr.Dataset):
        parts = {str(name): (one.dims, one.to_numpy()) for name, one in value.variables.items()}
    else:
        frame = value.to_frame() if not isinstance(value, pd.DataFrame) else value
        parts = {"columns": ((), np.array(frame.columns.astype(str)))}
        parts["rows"] = ((), pd.util.hash_pandas_object(frame, index=True).to_numpy())
        parts["dtypes"] = ((), np.array([str(dtype) for dtype in frame.dtypes]))
    digest = hashlib.sha256()
    for name in sorted(parts):
        dims, array = parts[name]
        plain = array.astype(str) if array.dtype.kind == "O" else np.ascontiguousarray(array)
        digest.update(f"{name} {dims} {plain.dtype} {plain.shape}".encode())
        digest.update(plain.tobytes())
    return digest.hexdigest()


def _structure(value: Any) -> dict[str, Any]:
    """Class, shapes and a digest of what is not an array; addresses in memory differ between processes."""
    leaves, tree = jax.tree.flatten(value)
    shapes = [_layout(leaf) if hasattr(leaf, "dtype") else None for leaf in leaves]
    # Weights are parameters of the model, whatever their values; arrays of whole numbers are part of the network.
    fixed = [leaf for leaf in leaves if hasattr(leaf, "dtype") and leaf.dtype.kind not in "fc"]
    said = [str(tree), *(_said(leaf) for leaf in leaves if not hasattr(leaf, "dtype")), *map(_digest, fixed)]
    said = [re.sub(r" at 0x[0-9a-f]+", "", text) for text in said]
    digest = hashlib.sha256("\n".join(said).encode()).hexdigest()
    return {"class": type(value).__name__, "leaves": shapes, "structure": digest}


def _said(leaf: Any) -> str:
    return json.dumps(_content_of_function(leaf)) if hasattr(leaf, "__code__") else repr(leaf)


def _digest(value: Any) -> str:
    arrays = (np.ascontiguousarray(leaf) for leaf in jax.tree.leaves(value) if hasattr(leaf, "dtype"))
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def _flat(nested: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Values as text, by dotted name."""
    flat: dict[str, str] = {}
    for name, value in nested.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: json.dumps(value)}
    return flat


def _read(path: Path) -> tuple[dict[str, Any], list[np.ndarray], dict[str, np.ndarray]]:
    """Header, state and arrays of an intact file."""
    verify_sealed(
        path,
        what="checkpoint",
        writer="fit(..., checkpoint=...)",
        signature=ZIP_SIGNATURE,
        remedy="Copy it again from a good source, or delete it to begin anew.",
    )
    try:
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise ValueError("it holds compressed data")
        with np.load(path, allow_pickle=False) as content:
            header = json.loads(str(content["header"]))
            leaves = [content[f"leaf_{i}"] for i in range(len(header["leaves"]))]
            arrays = {name: content[f"array_{i}"] for i, name in enumerate(header["arrays"])}
        _check_header(header, leaves)
    except (KeyError, ValueError, TypeError, AttributeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise CorruptResultError(
            f"{path} is not a checkpoint: {str(error).strip(chr(39))}. Give another path, or delete it to begin anew."
        ) from error
    return header, leaves, arrays


def _check_header(header: dict[str, Any], leaves: list[np.ndarray]) -> None:
    """A `ValueError` where the header is not what `Checkpoint` writes, or not of this state."""
    if not header.keys() >= {"identity", "done", "total", "keys"}:
        raise ValueError("its header lacks a part")
    done, total, keys = header["done"], header["total"], header["keys"]
    if not isinstance(header["identity"], dict):
        raise ValueError("its header does not say of which run it is")
    if not (isinstance(done, int) and isinstance(total, int) and 0 <= done <= total):
        raise ValueError(f"it says that {done!r} of {total!r} are done")
    for kind in set(keys) - {None}:
        jax.random.key(0, impl=kind)  # a ValueError where there is no such kind
    for leaf, key, layout in zip(leaves, keys, header["leaves"], strict=True):
        if key is None and _layout(leaf) != layout:
            raise ValueError(f"a part of its state is {_layout(leaf)}, its header says {layout}")


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _layout(leaf: Any) -> list[Any]:
    return [str(leaf.dtype), list(leaf.shape)]


def _on_device(leaf: np.ndarray, key: str | None) -> jax.Array:
    return jnp.asarray(leaf) if key is None else jax.random.wrap_key_data(jnp.asarray(leaf), impl=key)
