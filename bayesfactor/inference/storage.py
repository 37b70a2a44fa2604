"""Fits on disk: netCDF with a SHA-256 of every byte, written under a temporary name and then renamed.

HDF5's own checksums miss attributes, so the digest covers the whole file. It stands behind the netCDF content, where
readers of netCDF ignore it. Nothing is ever unpickled.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from bayesfactor.errors import CorruptResultError, DataError, first_three
from bayesfactor.inference.result import Fit
from bayesfactor.inference.sealed import verify_sealed, write_sealed
from bayesfactor.inference.settings import NUTS, SVI, Exact
from bayesfactor.models import FundamentalFactorModel, SortedFactorModel

SCHEMA = 1
# Only these are ever made from a file.
MODELS = {"FundamentalFactorModel": FundamentalFactorModel, "SortedFactorModel": SortedFactorModel}
INFERENCE = {"NUTS": NUTS, "SVI": SVI, "Exact": Exact}
STATUSES = ("ok", "warn", "failed")
GROUPS = ("posterior", "functions", "constant_data")
PROVENANCE = ("panel_fingerprint", "frequency", "preparation", "precision", "wall_seconds", "device")
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def save(fit: Fit, path: str | Path) -> Path:
    """Write `fit` to `path` (see `Fit.save`)."""
    path = Path(path)
    tree = _plain(fit.tree)
    tree.attrs = {
        "bayesfactor_schema": SCHEMA,
        "model": json.dumps(_settings(fit.model)),
        "inference": json.dumps(_settings(fit.inference)),
        "status": fit.status,
        "reasons": json.dumps(fit.reasons),
        "provenance": json.dumps(fit.provenance),
    }
    write_sealed(path, lambda partial: tree.to_netcdf(partial, engine="h5netcdf"))
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
    verify_sealed(
        path,
        what="saved fit",
        writer="Fit.save",
        signature=HDF5_SIGNATURE,
        remedy="Copy it again from a good source, or fit again.",
    )
    try:
        with xr.open_datatree(path, engine="h5netcdf") as opened:
            tree = opened.load()
        attrs = dict(tree.attrs)
        schema = int(attrs["bayesfactor_schema"])
        model, settings = dict(json.loads(attrs["model"])), dict(json.loads(attrs["inference"]))
        status, reasons = str(attrs["status"]), tuple(json.loads(attrs["reasons"]))
        provenance = dict(json.loads(attrs["provenance"]))
        _check_whole(tree, model, settings, status, provenance)
        if settings["class"] == "NUTS":  # of before it was a setting
            settings.setdefault("mass_matrix", "diagonal")
    except (KeyError, ValueError, TypeError, OSError, RuntimeError) as error:
        found = f"it has no {error}" if isinstance(error, KeyError) else error
        raise CorruptResultError(
            f"{path} is not a saved bayesfactor fit: {found}. Give a file that Fit.save wrote, as it wrote it."
        ) from error
    if schema > SCHEMA:
        raise CorruptResultError(
            f"{path} has schema {schema}, this version reads up to {SCHEMA}: it was written by a newer bayesfactor, "
            "upgrade to read it"
        )
    if network is not None and model.get("network") is None:
        raise DataError(f"{path} was not fitted with a network of your own: leave network= out")
    tree.attrs = {}
    return Fit(
        model=_rebuild(model, MODELS, network, path),
        inference=_rebuild(settings, INFERENCE, None, path),
        tree=tree,
        status=status,
        reasons=reasons,
        provenance=provenance,
    )


def _check_whole(
    tree: xr.DataTree, model: dict[str, Any], settings: dict[str, Any], status: str, provenance: dict[str, Any]
) -> None:
    """A `KeyError` or `ValueError` where a part that every fit has is not there."""
    held = {"groups": (GROUPS, tree.children), "provenance": (PROVENANCE, provenance)}
    held |= {"model": (("class",), model), "inference": (("class",), settings)}
    for part, (wanted, found) in held.items():
        lacking = [name for name in wanted if name not in found]
        if lacking:
            raise ValueError(f"its {part} must hold {', '.join(wanted)}, and {first_three(lacking)} is not there")
    for label in ("characteristic", "time"):
        if label not in tree["constant_data"].coords:
            raise KeyError(label)
    if status not in STATUSES:
        raise ValueError(f"its status must be one of {', '.join(STATUSES)}, and is {status!r}")


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
