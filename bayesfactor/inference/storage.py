"""Fits on disk: netCDF with a SHA-256 of every byte, written under a temporary name and then renamed.

HDF5's own checksums miss attributes, so the digest covers the whole file. It stands behind the netCDF content, where
readers of netCDF ignore it. Nothing is ever unpickled.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from bayesfactor.errors import CorruptResultError, DataError
from bayesfactor.inference.result import Fit
from bayesfactor.inference.settings import NUTS, Exact
from bayesfactor.models import FundamentalFactorModel

SCHEMA = 1
MARK = b"bayesfactor:sha256:"
TRAILER = len(MARK) + 64
# Only these are ever made from a file.
MODELS = {"FundamentalFactorModel": FundamentalFactorModel}
INFERENCE = {"NUTS": NUTS, "Exact": Exact}
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def save(fit: Fit, path: str | Path) -> Path:
    """Write `fit` to `path` (see `Fit.save`)."""
    path = Path(path)
    if not path.parent.is_dir():
        raise DataError(f"the folder {path.parent} does not exist: make it, or save elsewhere")
    tree = _plain(fit.tree)
    tree.attrs = {
        "bayesfactor_schema": SCHEMA,
        "model": json.dumps(_settings(fit.model)),
        "inference": json.dumps(_settings(fit.inference)),
        "status": fit.status,
        "reasons": json.dumps(fit.reasons),
        "provenance": json.dumps(fit.provenance),
    }
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    os.close(handle)
    partial = Path(name)
    try:
        tree.to_netcdf(partial, engine="h5netcdf")
        with partial.open("r+b") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0, os.SEEK_END)
            file.write(MARK + digest.encode())
            file.flush()
            os.fsync(file.fileno())
        partial.chmod(0o644)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def load(path: str | Path, *, network: Any = None) -> Fit:
    """Read a fit written by `Fit.save`.

    Parameters
    ----------
    path : the file.
    network : the equinox module of a model that was fitted with ``network=``; code is never stored in a file.

    Returns
    -------
    The `Fit`, its draws bit-identical to those saved.

    Raises
    ------
    CorruptResultError
        If the file is truncated, changed by as much as one bit, or not a saved fit.
    """
    path = Path(path)
    _verify(path)
    try:
        with xr.open_datatree(path, engine="h5netcdf") as opened:
            tree = opened.load()
        attrs = dict(tree.attrs)
        schema = int(attrs["bayesfactor_schema"])
        model, settings = json.loads(attrs["model"]), json.loads(attrs["inference"])
        status, reasons = str(attrs["status"]), tuple(json.loads(attrs["reasons"]))
        provenance = json.loads(attrs["provenance"])
    except (KeyError, ValueError, TypeError, OSError, RuntimeError) as error:
        raise CorruptResultError(f"{path} is not a saved bayesfactor fit: {error}") from error
    if schema > SCHEMA:
        raise CorruptResultError(
            f"{path} has schema {schema}, this version reads up to {SCHEMA}: it was written by a newer bayesfactor, "
            "upgrade to read it"
        )
    tree.attrs = {}
    return Fit(
        model=_rebuild(model, MODELS, network, path),
        inference=_rebuild(settings, INFERENCE, None, path),
        tree=tree,
        status=status,
        reasons=reasons,
        provenance=provenance,
    )


def _verify(path: Path) -> None:
    """Check the digest at the end of the file against everything before it."""
    if not path.is_file():
        raise CorruptResultError(f"no saved fit at {path}")
    size = path.stat().st_size
    with path.open("rb") as file:
        signature = file.read(len(HDF5_SIGNATURE))
        if size > TRAILER:
            file.seek(size - TRAILER)
        trailer = file.read(TRAILER)
        if not trailer.startswith(MARK):
            kind = "cut off or was not written by Fit.save" if signature == HDF5_SIGNATURE else "not a saved fit"
            raise CorruptResultError(f"{path} is {kind}: it must end with its own SHA-256. Fit again, or copy again.")
        file.seek(0)
        digest, left = hashlib.sha256(), size - TRAILER
        while left:
            block = file.read(min(left, 1 << 20))
            digest.update(block)
            left -= len(block)
    if digest.hexdigest().encode() != trailer[len(MARK) :]:
        raise CorruptResultError(
            f"{path} has changed since it was saved: its SHA-256 is not the one at its end. Usual causes: a damaged "
            "disk or copy, or an edit. Copy it again from a good source, or fit again."
        )


def _plain(tree: xr.DataTree) -> xr.DataTree:
    """The same tree with attributes that netCDF can hold and text coordinates as fixed-width strings."""
    groups = {}
    for path, node in tree.subtree_with_keys:
        dataset = node.to_dataset(inherit=False)
        dataset.attrs = {name: value for name, value in dataset.attrs.items() if isinstance(value, str | int | float)}
        groups["/" if path == "." else path] = dataset
    return xr.DataTree.from_dict(groups)


def _settings(instance: Any) -> dict[str, Any]:
    """Class name and fields as JSON; infinity as text, a user's network as a mark."""
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(instance):
        value = getattr(instance, field.name)
        if isinstance(value, float) and np.isinf(value):
            value = "inf"
        elif field.name == "network" and value is not None:
            value = "given by the user"
        fields[field.name] = value
    return {"class": type(instance).__name__, **fields}


def _rebuild(settings: dict[str, Any], known: dict[str, Any], network: Any, path: Path) -> Any:
    name = settings.pop("class")
    if name not in known:
        raise CorruptResultError(
            f"{path} holds a {name}, which this version of bayesfactor does not know. A fit of your own "
            "model keeps its draws: open them with xarray.open_datatree."
        )
    if settings.get("network") is not None:
        if network is None:
            raise DataError(
                f"{path} was fitted with your own network, and code is never stored in a file: "
                "pass the same module, load(path, network=...)"
            )
        settings["network"] = network
    values = {
        key: float("inf") if value == "inf" else tuple(value) if isinstance(value, list) else value
        for key, value in settings.items()
    }
    try:
        return known[name](**values)
    except (TypeError, ValueError) as error:
        raise CorruptResultError(f"{path} holds settings that {name} does not take: {error}") from error
