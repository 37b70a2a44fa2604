"""Preparation by period within the universe: ranks, z-scores, universe filters."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr

from bayesfactor.errors import DataError, first_three
from bayesfactor.panel.periods import show


class Prepared(NamedTuple):
    """A dataset with prepared characteristics, and what was odd."""

    data: xr.Dataset
    warnings: tuple[str, ...]


def prepared(data: xr.Dataset, how: str, missing: str, frequency: str, refuse_empty: bool) -> Prepared:
    """Rank or standardise each period within its universe, fill missing cells with 0, keep the mask.

    `refuse_empty` raises where a characteristic carries nothing in any period; the audit, which sees a
    shorter sample, leaves it off.
    """
    raw, universe = data.characteristics.values, data.in_universe.values
    continuous = data.kind.values == "continuous"
    scale = {"rank": centred_ranks, "standardise": z_scores}[how]
    values = np.empty(raw.shape)
    flat = np.zeros((raw.shape[0], raw.shape[2]), bool)
    for t, members in enumerate(universe):
        block = raw[t, members]
        scaled = scale(block)
        scaled[:, ~continuous] = block[:, ~continuous]
        flat[t] = continuous & _is_flat(block)
        scaled[np.isnan(scaled) | flat[t]] = 0.0
        values[t, members] = scaled
        values[t, ~members] = np.nan

    warnings = _flat_warnings(data, flat, frequency, refuse_empty)
    absent = data.missing.values | ~universe[..., None]
    for fresh in (values, absent):
        fresh.setflags(write=False)  # nobody else holds them: the panel takes them as they are
    dims = ("time", "asset", "characteristic")
    data = data.assign(characteristics=(dims, values), missing=(dims, absent))
    return Prepared(_with_indicators(data) if missing == "indicator" else data, warnings)


def centred_ranks(block: np.ndarray) -> np.ndarray:
    """Average ranks of each column, mapped to [-1, 1]; NaN stays NaN.

    `2 (rank - 1) / (n - 1) - 1` over the n values that are there.
    """
    ranks = np.empty(block.T.shape)
    for column, placed in zip(np.array(block.T, order="C"), ranks, strict=True):
        absent = np.isnan(column)
        column[absent] = np.inf
        order = ascending(column)
        values = column[order]
        edges = np.concatenate(([0], np.flatnonzero(values[1:] != values[:-1]) + 1, [column.size]))  # of runs of ties
        twice = np.repeat(edges[:-1] + edges[1:] - 1, np.diff(edges))  # 2 (average rank - 1)
        placed[order] = twice / max(column.size - absent.sum() - 1, 1) - 1
        placed[absent] = np.nan
    return ranks.T


def ascending(values: np.ndarray) -> np.ndarray:
    """Positions that sort `values`, a vector of float64 without NaN: `argsort` at a fraction of its time.

    Floats of one sign sort like their bits. The last bits make room for the position, so that one sort of integers,
    which is fast, brings the order along. Should values have differed in those bits only, `argsort` decides.
    """
    places = np.int64((1 << values.size.bit_length()) - 1)
    bits = values.view(np.int64)
    keys = bits ^ ((bits >> 63) & np.iinfo(np.int64).max)  # of negative floats the larger has the smaller bits
    keys = (keys & ~places) | np.arange(values.size)
    keys.sort()
    order = keys & places
    in_order = values[order]
    return order if (in_order[1:] >= in_order[:-1]).all() else np.argsort(values)


def z_scores(block: np.ndarray) -> np.ndarray:
    """Columns less their mean over their sd (over n); NaN stays NaN."""
    absent = np.isnan(block)
    count = np.maximum((~absent).sum(axis=0), 1)
    centred = np.where(absent, 0.0, block - np.where(absent, 0.0, block).sum(axis=0) / count)
    spread = np.sqrt((centred**2).sum(axis=0) / count)
    return np.where(absent, np.nan, centred / np.where(spread > 0, spread, 1.0))


def largest(data: xr.Dataset, n: int) -> np.ndarray:
    """Universe (time, asset) narrowed to the n largest by size."""
    size = np.where(data.in_universe.values & ~np.isnan(data["size"].values), data["size"].values, -np.inf)
    order = np.argsort(-size, axis=1, kind="stable")
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.arange(size.shape[1])[None, :], axis=1)
    return (place < n) & np.isfinite(size)


def covered(data: xr.Dataset, share: float) -> np.ndarray:
    """Universe (time, asset) narrowed to the assets with this share of characteristics present."""
    return data.in_universe.values & ((~data.missing.values).mean(axis=2) >= share)


def _is_flat(block: np.ndarray) -> np.ndarray:
    """Columns that are constant or missing for all assets of a period; one asset alone is constant."""
    return ~(np.fmin.reduce(block, axis=0) < np.fmax.reduce(block, axis=0))


def _flat_warnings(data: xr.Dataset, flat: np.ndarray, frequency: str, refuse_empty: bool) -> tuple[str, ...]:
    names = [str(name) for name in data.characteristic.values]
    useless = [names[k] for k in np.flatnonzero(flat.all(axis=0))]
    if useless and refuse_empty:
        raise DataError(
            f"a characteristic must vary over assets in some period: constant or missing in every one is "
            f"{first_three(useless)}. Leave it out: name the others in characteristics=..., or select them "
            "with sel()."
        )
    months = data.time.values
    return tuple(
        f"{name} is constant or missing for all assets, and was set to 0, in "
        f"{first_three(show(time, frequency) for time in months[flat[:, k]])}"
        for k, name in enumerate(names)
        if flat[:, k].any()
    )


def _with_indicators(data: xr.Dataset) -> xr.Dataset:
    """Append a 0/1 column `<name>_missing` for every continuous characteristic."""
    names = [str(name) for name in data.indexes["characteristic"][data.kind.values == "continuous"]]
    labels = [f"{name}_missing" for name in names]
    taken = sorted(set(labels) & set(data.indexes["characteristic"]))
    if taken:
        raise DataError(f'missing="indicator" needs these names: {first_three(taken)} are in use. Rename them.')
    flags = data.missing.sel(characteristic=names).values
    universe = data.in_universe.values[..., None]
    added = xr.Dataset(
        {
            "characteristics": (("time", "asset", "characteristic"), np.where(universe, flags * 1.0, np.nan)),
            "missing": (("time", "asset", "characteristic"), np.broadcast_to(~universe, flags.shape)),
        },
        {
            "characteristic": labels,
            "time": data.time,
            "asset": data.asset,
            "kind": ("characteristic", ["indicator"] * len(labels)),
        },
    )
    both = xr.concat([data[["characteristics", "missing"]], added], "characteristic", join="exact")
    return data.drop_vars(["characteristics", "missing", "characteristic", "kind"]).merge(both, join="exact")
