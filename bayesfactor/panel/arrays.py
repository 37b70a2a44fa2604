"""Packed arrays: what models compute on (a NamedTuple of arrays is a JAX pytree without importing JAX)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import xarray as xr

BY_SLOT = ("characteristics", "returns", "in_universe", "observed", "asset", "size")  # leaves (time, slot, ...)
BY_TIME = (*BY_SLOT, "benchmarks", "portfolios")


class PanelArrays(NamedTuple):
    """A panel packed by month: slot s of month t holds the s-th asset of that month's universe.

    The slot count is the largest universe of any month, so a ragged panel wastes little. Slots follow the
    order of `Panel.data.asset`; padding is zero, False and -1.
    """

    characteristics: np.ndarray  # (time, slot, characteristic), prepared
    returns: np.ndarray  # (time, slot), excess, decimal per period, 0 where not observed
    in_universe: np.ndarray  # (time, slot) bool: known before t
    observed: np.ndarray  # (time, slot) bool: in the universe and the return exists
    asset: np.ndarray  # (time, slot) int32: position in Panel.data.asset, -1 in padding
    varies: np.ndarray  # (characteristic,) 1 for continuous characteristics, 0 for indicators
    return_scale: np.ndarray  # () median over months of the cross-sectional sd of returns; NaN without returns
    periods_per_year: np.ndarray  # ()
    # None where the panel has none:
    size: Any = None  # (time, slot) market equity known before t, NaN where not
    benchmarks: Any = None  # (time, benchmark), excess, decimal per period, NaN where not known (live)
    portfolios: Any = None  # (time, portfolio), excess, decimal per period, NaN where missing


class Slots(NamedTuple):
    """Where every cell of the universe goes: `packed[month, slot] = values[month, asset]`."""

    month: np.ndarray
    slot: np.ndarray
    asset: np.ndarray
    shape: tuple[int, int]


def slots(in_universe: np.ndarray) -> Slots:
    """The slots of a universe (time, asset)."""
    month, asset = np.nonzero(in_universe)
    sizes = in_universe.sum(axis=1)
    slot = np.arange(month.size) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return Slots(month, slot, asset, (in_universe.shape[0], int(sizes.max(initial=0))))


def pack(data: xr.Dataset, periods_per_year: int, dtype: np.dtype) -> PanelArrays:
    """Pack the universe of each month into slots."""
    month, slot, asset, shape = slots(data.in_universe.values)
    characteristics = np.zeros((*shape, data.sizes["characteristic"]), dtype)
    returns = np.zeros(shape, dtype)
    occupied, observed = np.zeros(shape, bool), np.zeros(shape, bool)
    index = np.full(shape, -1, np.int32)

    for t, members in enumerate(data.in_universe.values):
        characteristics[t, : members.sum()] = data.characteristics.values[t, members]
    observed[month, slot] = data.observed.values[month, asset]
    returns[month, slot] = np.where(observed[month, slot], data.returns.values[month, asset], 0.0)
    occupied[month, slot] = True
    index[month, slot] = asset

    def by_time(name: str) -> np.ndarray | None:
        return data[name].values.astype(dtype) if name in data else None

    size = None
    if "size" in data:
        size = np.full(shape, np.nan, dtype)
        size[month, slot] = data["size"].values[month, asset]
    varies = (data.kind.values == "continuous").astype(dtype)
    scale = np.asarray(_cross_sectional_sd(returns, observed), dtype)
    return PanelArrays(
        characteristics,
        returns,
        occupied,
        observed,
        index,
        varies,
        scale,
        np.asarray(periods_per_year, dtype),
        size,
        by_time("benchmark_returns"),
        by_time("portfolio_returns"),
    )


def _cross_sectional_sd(returns: np.ndarray, observed: np.ndarray) -> float:
    """Median over months of the sd over the month's observed returns: one bad return does not move it."""
    count = observed.sum(axis=1)
    usable = count >= 2
    if not usable.any():
        return float("nan")
    count, seen = count[usable], observed[usable]
    mean = returns[usable].sum(axis=1) / count
    deviation = np.where(seen, returns[usable] - mean[:, None], 0.0)
    return float(np.median(np.sqrt((deviation**2).sum(axis=1) / (count - 1))))
