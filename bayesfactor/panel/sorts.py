"""Characteristic-sorted portfolios and the factors made of them, from a panel's own columns."""

from __future__ import annotations

import itertools
import math
import warnings as python_warnings
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from bayesfactor.errors import (
    AlignmentError,
    DataError,
    DataWarning,
    DuplicateKeyError,
    EmptyWindowError,
    first_three,
)
from bayesfactor.panel import preparation
from bayesfactor.panel.contract import cells_of
from bayesfactor.panel.market_value import market_values
from bayesfactor.panel.panel import Panel
from bayesfactor.panel.periods import Calendar, as_days, show, span

_CHOICES = {
    "weights": ("equal", "value"),
    "ties": ("lower", "upper"),
    "rebalance": ("period", "june"),
}
_JULY = 6  # of months counted from January
_MOST_PARTS = 1000
_EXCESS = {"units": "decimal per period, excess"}

Quantiles = int | Sequence[float]
Probabilities = tuple[Fraction, ...]


class _Rule(NamedTuple):
    """How portfolios are made: the arguments of `sort_portfolios`."""

    weights: str
    size_in: str | None
    conditional: bool
    breakpoints_on: xr.DataArray | str | int | None
    ties: str
    rebalance: str
    min_assets: int
    max_thin: float


def sort_portfolios(
    panel: Panel,
    by: str | Sequence[str],
    quantiles: Quantiles | Sequence[Quantiles],
    *,
    weights: str = "equal",
    size_in: str | None = None,
    conditional: bool = False,
    breakpoints_on: xr.DataArray | str | int | None = None,
    ties: str = "lower",
    rebalance: str = "period",
    min_assets: int = 1,
    max_thin: float = 0.05,
    holdings: bool = False,
) -> xr.Dataset:
    """Portfolios of assets sorted by one or two characteristics that are known before each period.

    Of the n assets that set breakpoints in a period, in ascending order x(1) <= ... <= x(n), the breakpoint at
    probability p is x(1 + floor((n - 1) p)) with `ties="lower"` and x(1 + ceil((n - 1) p)) with `ties="upper"`.
    An asset on a breakpoint belongs below it, or above it. Where all assets set breakpoints these are the
    portfolios of linearly interpolated quantiles. Only order counts, so raw and ranked panels give the same.

    r[p,t] = sum_i w[i,t] r[i,t] / sum_i w[i,t], over the members i of p whose return in t exists: the weight of
    the others, sum_i w[i,t], is `share_moved`.

    turnover[p,t] = 1/2 sum_i |w[i,t] - v[i,t]|, v[i,t] = h[i,t-1] (1 + r[i,t-1]) / sum_j h[j,t-1] (1 + r[j,t-1]),
    with h the weights of t - 1 of the members whose return existed; 1 is a complete exchange.

    Parameters
    ----------
    panel : Panel, raw or prepared. Z-scores can tie values that are closer than rounding.
    by : a characteristic, or two; "size" is the panel's `size` where no characteristic has that name.
    quantiles : number of portfolios (5), or probabilities of the breakpoints ((0.3, 0.7)); for two
        characteristics a pair of these: (2, (0.3, 0.7)).
    weights : "equal", or "value": in proportion to the panel's `size`, known before the period.
    size_in : what `size` holds, needed by value weights: "level" (market value, in any unit) or "log" (its logarithm).
    conditional : sort by the second characteristic within the portfolios of the first, not independently.
    breakpoints_on : the assets that set breakpoints. None: all. A text: those whose `group` it is, such as "NYSE".
        A number n: the n largest of the universe by `size`. Or a boolean array (time, asset), matched by label, of
        what was known before each period.
    ties : "lower" or "upper": the portfolio of an asset that is exactly on a breakpoint.
    rebalance : "period", or "june": monthly panels only, members are chosen for July with what is known at the end
        of June and kept until the next June while they are in the universe; value weights follow `size` each month.
    min_assets : a portfolio with fewer members is thin: its return is NaN.
    max_thin : share of periods with a thin portfolio above which the sort is refused.
    holdings : also give each asset's portfolio and weight.

    Returns
    -------
    Dataset over `time` and `portfolio`, labelled "bm:1" or "size:1 bm:3", where 1 is the lowest:
    `returns` (excess, decimal per period; NaN where thin, and where no member's return is known, as in the live
    period); `n_assets`; `share_moved`, NaN in the live period; `turnover`, NaN in the first period, after a gap and
    where nothing was held. By `characteristic`, `long_short` (time): highest less lowest, for two characteristics
    averaged over the portfolios of the other one. By `breakpoint`, labelled "bm:1|2", `breakpoints` (time), in the
    panel's units. `n_unplaced` (time): assets of the universe in no portfolio, for want of a characteristic or, with
    value weights, a size. `bin` (portfolio, characteristic) holds the numbers of the labels. With
    `holdings`, `member` (time, asset), the position in `portfolio` or -1, and `weight` (time, asset), summing to one
    by portfolio. From "june" the first period is the first July.

    Raises
    ------
    AlignmentError
        When a name in `by` or `breakpoints_on`, or a label, is not in the panel.
    UnitsError
        When `size_in` is not told, or contradicts the sizes.
    DataError
        When an argument is none of the above, sizes are not positive, or too many periods have thin portfolios.
    EmptyWindowError
        When "june" finds no July.
    """
    names, probabilities = _asked(by, quantiles)
    rule = _Rule(weights, size_in, conditional, breakpoints_on, ties, rebalance, min_assets, max_thin)
    result, odd = _sorted(panel, names, probabilities, rule)
    for message in odd:
        python_warnings.warn(message, DataWarning, stacklevel=2)
    return result if holdings else result.drop_vars(["member", "weight", "asset"])


def factors(
    panel: Panel,
    *,
    value: str,
    profitability: str | None = None,
    investment: str | None = None,
    momentum: str | None = None,
    size: str = "size",
    size_in: str | None = None,
    breakpoints_on: xr.DataArray | str | int | None = None,
    ties: str = "lower",
    rebalance: str = "period",
    min_assets: int = 1,
    max_thin: float = 0.05,
) -> xr.Dataset:
    """Market, size, value, profitability, investment and momentum factors from the panel's own columns.

    Each characteristic is sorted with size, 2 x 3, independently, at the median of size and the 30% and 70% points of
    the characteristic, value-weighted. With S and B small and big, and 1 to 3 the thirds of the characteristic:
    SMB = mean(S1, S2, S3) - mean(B1, B2, B3), averaged over the sorts by value, profitability and investment;
    HML, RMW, UMD = mean(S3, B3) - mean(S1, B1); CMA = mean(S1, B1) - mean(S3, B3). MKT is the value-weighted excess
    return of all assets that have a size. Fama and French (1993; 2015, 2 x 3 factors); Factorization Asset Pricing
    (2022), section 4.1: six portfolios and 24 legs.

    Parameters
    ----------
    panel : Panel with `size`.
    value, profitability, investment, momentum : characteristics: book-to-market (high is value), profitability (high
        is robust), asset growth (high is aggressive), past return (high is up). What is not given is left out.
    size : the characteristic to sort on; the panel's `size`, which also makes the weights, unless another is named.
    size_in, breakpoints_on, ties, min_assets, max_thin : see `sort_portfolios`.
    rebalance : "period", or "june" for all sorts but momentum, which changes every month.

    Returns
    -------
    Dataset with `returns` (time, benchmark), excess, decimal per period, of MKT, SMB, HML, RMW, CMA, UMD;
    `legs` (time, portfolio), the excess returns of the six portfolios of each sort, with their `n_assets`,
    `share_moved` and `turnover`; `market_n_assets` and `market_share_moved` (time); and `n_unplaced`
    (time, characteristic), assets of the universe in none of that sort's portfolios. `returns.to_pandas()` and
    `legs.to_pandas()` are tables, one column each.

    Raises
    ------
    AlignmentError, DataError, EmptyWindowError, UnitsError
        As `sort_portfolios`.

    Notes
    -----
    It differs from the factors of Kenneth French's library in this: the assets are the panel's universe;
    characteristics are as old as the panel's reader was told, not of the fiscal year before; breakpoints are set by
    all assets unless `breakpoints_on` says otherwise, and only by those that have both characteristics and a size;
    members are chosen every period unless `rebalance="june"`; negative book equity must be removed beforehand;
    a missing return is spread over the portfolio, where French takes delisting returns.
    """
    roles = {"HML": value, "RMW": profitability, "CMA": investment, "UMD": momentum}
    given = {factor: name for factor, name in roles.items() if name is not None}
    if value is None or not all(isinstance(name, str) for name in (size, *given.values())):
        raise DataError(f"factors must name characteristics, that of `value` always: found {roles}, size {size!r}.")
    if len({size, *given.values()}) <= len(given):
        raise DataError(f"every factor must have a characteristic of its own, other than {size!r}: found {given}.")
    rule = _Rule("value", size_in, False, breakpoints_on, ties, rebalance, min_assets, max_thin)
    every_period = rule._replace(rebalance="period")
    market, odd = _sorted(panel, (), (), every_period)
    sorts: dict[str, xr.Dataset] = {}
    for factor, name in given.items():
        one = every_period if factor == "UMD" else rule
        sorts[factor], more = _sorted(panel, (size, name), (_parts(2), _parts((0.3, 0.7))), one)
        odd += more
    for message in odd:
        python_warnings.warn(message, DataWarning, stacklevel=2)

    small = [_spread(result, size) for factor, result in sorts.items() if factor != "UMD"]
    returns = {"MKT": market.returns.isel(portfolio=0, drop=True), "SMB": -sum(small[1:], start=small[0]) / len(small)}
    for factor, name in given.items():
        spread = _spread(sorts[factor], name)
        returns[factor] = -spread if factor == "CMA" else spread
    legs = [result[["returns", "n_assets", "share_moved", "turnover"]] for result in sorts.values()]
    result = xr.merge(
        [
            _stacked(returns, "benchmark").rename("returns"),
            xr.concat(legs, "portfolio", join="inner", combine_attrs="drop").rename(returns="legs"),
            _stacked({name: sorts[factor].n_unplaced for factor, name in given.items()}, "characteristic"),
            market.n_assets.isel(portfolio=0, drop=True).rename("market_n_assets"),
            market.share_moved.isel(portfolio=0, drop=True).rename("market_share_moved"),
        ],
        join="inner",
        combine_attrs="drop",
    )
    for variable in ("returns", "legs"):
        result[variable].attrs = _EXCESS
    return result.assign_attrs(_said((size, *given.values()), "the first with each other, 2 x 3", rule))


def _spread(result: xr.Dataset, name: str) -> xr.DataArray:
    return result.long_short.sel(characteristic=name, drop=True)


def _stacked(columns: dict[str, xr.DataArray], dim: str) -> xr.DataArray:
    """Series side by side, over the periods that all have."""
    stacked = xr.concat(list(columns.values()), dim, join="inner", combine_attrs="drop")
    return stacked.transpose("time", dim).assign_coords({dim: np.array(list(columns), dtype=str)})


# From a panel to portfolios


def _sorted(
    panel: Panel, names: tuple[str, ...], probabilities: tuple[Probabilities, ...], rule: _Rule
) -> tuple[xr.Dataset, tuple[str, ...]]:
    """The sort by any number of characteristics, with holdings, and in words what was odd."""
    _check(panel, rule)
    universe = panel.data.in_universe.values
    values = [_values(panel, name) for name in names]
    size = _market_value(panel, rule.size_in) if rule.weights == "value" else np.ones(universe.shape)
    weighable = universe & ~np.isnan(size)
    eligible = weighable & ~np.isnan([size, *values]).any(axis=0)
    reference = eligible & _breakpoint_setters(panel, rule.breakpoints_on)
    counts = [len(cuts) + 1 for cuts in probabilities]
    labels = _break_labels(names, counts, rule.conditional)

    formed = _formation(panel, rule.rebalance)
    member = np.full(universe.shape, -1)
    breaks = np.full((len(formed), len(labels)), np.nan)
    for t in np.unique(formed[formed >= 0]):
        who = eligible[t]
        columns = [column[t, who] for column in values]
        member[t, who], breaks[t] = _placed(columns, reference[t, who], probabilities, rule)
    kept = np.where(weighable & (formed >= 0)[:, None], member[formed], -1)
    first = int(np.argmax(formed >= 0))

    data = panel.data.isel(time=slice(first, None))
    result = _portfolios(data, panel.frequency, kept[first:], size[first:], math.prod(counts))
    bins = list(itertools.product(*(range(1, count + 1) for count in counts)))
    result = result.assign_coords(
        portfolio=[_label(names, numbers) for numbers in bins],
        characteristic=list(names),
        bin=(("portfolio", "characteristic"), np.reshape(bins, (len(bins), len(names))).astype(int)),
        breakpoint=np.array(labels, dtype=str),
    )
    thin = result.n_assets.values < rule.min_assets
    odd = _oddities(result, thin, panel.frequency, rule)
    result["returns"] = result.returns.where(~thin)
    result["long_short"] = (("time", "characteristic"), _spreads(result.returns.values, counts), _EXCESS)
    units = {"units": f"as in the panel ({panel.preparation})"}
    at = np.where((formed >= 0)[:, None], breaks[formed], np.nan)[first:]
    result["breakpoints"] = (("time", "breakpoint"), at, units)
    result["n_unplaced"] = ("time", (universe & (kept < 0)).sum(axis=1)[first:])
    return result.assign_attrs(_said(names, " x ".join(map(str, counts)), rule)), odd


def _values(panel: Panel, name: str) -> np.ndarray:
    """A characteristic (time, asset), NaN where there was no value."""
    if name in panel.characteristics:
        k = panel.characteristics.index(name)
        return np.where(panel.data.missing.values[..., k], np.nan, panel.data.characteristics.values[..., k])
    if name == "size" and "size" in panel.data:
        return panel.data["size"].values
    raise AlignmentError(
        f"a sort must name characteristics of the panel, or its `size`: found {name!r}, it has "
        f"{first_three(panel.characteristics)}{', and size' if 'size' in panel.data else ', and no size'}."
    )


def _market_value(panel: Panel, size_in: str | None) -> np.ndarray:
    """Positive sizes (time, asset), up to a factor by period; NaN outside the universe and where there is none."""
    size = np.where(panel.data.in_universe.values, panel.data["size"].values, np.nan)
    labels = [panel.data.indexes["time"], panel.data.indexes["asset"]]
    return market_values(
        size,
        size_in,
        cells=lambda bad: cells_of(bad, labels, panel.frequency),
        period=lambda t: show(panel.times[t], panel.frequency),
    )


def _breakpoint_setters(panel: Panel, on: xr.DataArray | str | int | None) -> np.ndarray:
    """Which assets set breakpoints (time, asset)."""
    data = panel.data
    if on is None:
        return np.ones(data.in_universe.shape, bool)
    if isinstance(on, str):
        if "group" not in data:
            raise DataError(f"breakpoints_on={on!r} must be a `group`: the panel has none. Read it with group=....")
        setters = data.group.values == on
        if not setters.any():
            raise AlignmentError(f"breakpoints_on must be a group: no asset is in {on!r}; see panel.data.group.")
        return setters
    if isinstance(on, int | np.integer) and not isinstance(on, bool):
        if on < 1 or "size" not in data:
            raise DataError(f"breakpoints_on={on} must be the number of the largest assets of a panel with `size`.")
        return preparation.largest(data, int(on))
    if not isinstance(on, xr.DataArray) or on.dtype != bool or set(on.dims) != {"time", "asset"}:
        raise DataError(
            "breakpoints_on must be a group, a number of the largest assets, or a boolean DataArray (time, asset): "
            f"found {f'{on.dtype} over {on.dims}' if isinstance(on, xr.DataArray) else repr(on)}."
        )
    for dim in ("time", "asset"):
        labels = on.indexes[dim] if dim in on.indexes else pd.Index([])
        if labels.has_duplicates:
            raise DuplicateKeyError(
                f"labels of breakpoints_on must be unique: {dim} repeats {first_three(labels[labels.duplicated()])}."
            )
        lacking = data.indexes[dim].difference(labels)
        if len(lacking):
            raise AlignmentError(f"breakpoints_on must have every {dim} of the panel: it lacks {first_three(lacking)}.")
    return on.sel(time=data.time, asset=data.asset).transpose("time", "asset").values


def _formation(panel: Panel, rebalance: str) -> np.ndarray:
    """For each period the one whose characteristics choose its members; -1 where the panel has not that one."""
    if rebalance == "period":
        return np.arange(len(panel.times))
    if panel.frequency != "monthly":
        raise DataError(f'rebalance="june" must have a monthly panel: this one is {panel.frequency}.')
    month = Calendar("monthly").ordinals(as_days(panel.times))
    july = month - (month - _JULY) % 12
    where = np.searchsorted(month, july)
    formed = np.where(month[np.minimum(where, month.size - 1)] == july, where, -1)
    if (formed < 0).all():
        raise EmptyWindowError(
            f'rebalance="june" must find a July, when members change: the panel runs {span(panel.times, "monthly")}.'
        )
    return formed


# One cross-section


def _placed(
    columns: list[np.ndarray], reference: np.ndarray, probabilities: tuple[Probabilities, ...], rule: _Rule
) -> tuple[np.ndarray, np.ndarray]:
    """Portfolio of each asset, the first characteristic varying slowest, and all breakpoints."""
    code, n_codes = np.zeros(reference.size, int), 1
    breaks: list[np.ndarray] = []
    for column, cuts in zip(columns, probabilities, strict=True):
        bins = np.full(code.shape, -1)
        together = [code == one for one in range(n_codes)] if rule.conditional else [np.ones(code.shape, bool)]
        for within in together:
            bins[within], at = _bins(column[within], reference[within], cuts, rule.ties)
            breaks.append(at)
        n_codes *= len(cuts) + 1
        code = np.where((code < 0) | (bins < 0), -1, code * (len(cuts) + 1) + bins)
    return code, np.concatenate([np.empty(0), *breaks])


def _bins(x: np.ndarray, reference: np.ndarray, cuts: Probabilities, ties: str) -> tuple[np.ndarray, np.ndarray]:
    """Bin of each value from 0 up, and breakpoints: order statistics of the reference, whole-number arithmetic."""
    ordered = np.sort(x[reference])
    if not ordered.size:
        return np.full(x.shape, -1), np.full(len(cuts), np.nan)
    lower = ties == "lower"
    places = [(ordered.size - 1) * p for p in cuts]
    breaks = ordered[[math.floor(place) if lower else math.ceil(place) for place in places]]
    return np.searchsorted(breaks, x, side="left" if lower else "right"), breaks


# What portfolios earn


def _portfolios(data: xr.Dataset, frequency: str, member: np.ndarray, size: np.ndarray, n: int) -> xr.Dataset:
    """Weights, returns, share moved and turnover of n portfolios, `member` (time, asset) from 0, -1 for none."""
    placed = member >= 0
    n_assets = _totals(member, placed, n).astype(int)
    weight = _shares(member, size, n)
    returns, seen = data.returns.values, data.observed.values & placed
    earned, invested = _totals(member, np.where(seen, weight * returns, 0.0), n), _totals(member, weight * seen, n)
    moved = _totals(member, weight * ~seen, n)
    known = (data.observed.values & data.in_universe.values).any(axis=1)
    live = np.cumsum(known[::-1])[::-1] == 0

    grown = np.where(seen, weight * (1 + returns), 0.0)
    worth = _totals(member, grown, n)
    drifted = _shares(member, grown, n)
    before, after = member[:-1], member[1:]
    stays = before == after
    traded = _totals(after, np.abs(weight[1:] - np.where(stays, drifted[:-1], 0.0)), n)
    sold = _totals(np.where(stays, -1, before), drifted[:-1], n)
    comparable = (n_assets[1:] > 0) & (worth[:-1] > 0) & _follows(data.indexes["time"], frequency)[:, None]
    turnover = np.full(n_assets.shape, np.nan)
    turnover[1:] = np.where(comparable, (traded + sold) / 2, np.nan)

    dims = ("time", "portfolio")
    return xr.Dataset(
        {
            "returns": (dims, earned / np.where(invested > 0, invested, np.nan), _EXCESS),
            "n_assets": (dims, n_assets),
            "share_moved": (
                dims,
                np.where((n_assets > 0) & ~live[:, None], moved, np.nan),
                {"units": "share of weight"},
            ),
            "turnover": (dims, turnover, {"units": "share of value, one way"}),
            "member": (("time", "asset"), member),
            "weight": (("time", "asset"), weight, {"units": "share of the portfolio"}),
        },
        {"time": data.indexes["time"], "asset": data.indexes["asset"]},
    )


def _totals(member: np.ndarray, values: np.ndarray, n: int) -> np.ndarray:
    """Sums over the members of each portfolio (time, portfolio)."""
    t, i = np.nonzero(member >= 0)
    sums = np.bincount(t * n + member[t, i], values[t, i], minlength=len(member) * n)
    return sums.reshape(len(member), n)


def _shares(member: np.ndarray, values: np.ndarray, n: int) -> np.ndarray:
    """Each member's share of its portfolio's sum (time, asset); 0 outside, and where that sum is not above 0."""
    sums = np.take_along_axis(_totals(member, values, n), np.maximum(member, 0), axis=1)
    return np.divide(values, sums, out=np.zeros(values.shape), where=(member >= 0) & (sums > 0))


def _follows(times: pd.Index, frequency: str) -> np.ndarray:
    """Whether each period after the first comes right after the one before; days of trading always do."""
    if frequency == "daily":
        return np.ones(len(times) - 1, bool)
    return np.diff(Calendar(frequency).ordinals(as_days(pd.DatetimeIndex(times)))) == 1


def _spreads(returns: np.ndarray, counts: list[int]) -> np.ndarray:
    """Highest less lowest by each characteristic (time, characteristic), averaged over the bins of the others."""
    cube = returns.reshape(len(returns), *counts)
    spreads = np.empty((len(returns), len(counts)))
    for k in range(len(counts)):
        difference = np.take(cube, -1, axis=k + 1) - np.take(cube, 0, axis=k + 1)
        spreads[:, k] = difference.reshape(len(returns), -1).mean(axis=1)
    return spreads


# What is asked, and what is said


def _check(panel: Panel, rule: _Rule) -> None:
    if not isinstance(panel, Panel):
        raise DataError(f"a sort must be of a Panel: found {type(panel).__name__}. Load a store's window first.")
    for name, choices in _CHOICES.items():
        if getattr(rule, name) not in choices:
            raise DataError(f"{name} must be {' or '.join(map(repr, choices))}: found {getattr(rule, name)!r}.")
    if rule.weights == "value" and "size" not in panel.data:
        raise DataError("value weights must know `size`: the panel has none. Name its column: read_frame(size=...).")
    if isinstance(rule.min_assets, bool) or not isinstance(rule.min_assets, int | np.integer) or rule.min_assets < 1:
        raise DataError(f"min_assets must be a whole number from 1 up: found {rule.min_assets!r}.")
    if not isinstance(rule.conditional, bool | np.bool_):
        raise DataError(f"conditional must be True or False: found {rule.conditional!r}.")
    number = isinstance(rule.max_thin, int | float | np.number) and not isinstance(rule.max_thin, bool)
    if not number or not 0 <= rule.max_thin <= 1:
        raise DataError(f"max_thin must be a share of the periods, from 0 to 1: found {rule.max_thin!r}.")


def _asked(
    by: str | Sequence[str], quantiles: Quantiles | Sequence[Quantiles]
) -> tuple[tuple[str, ...], tuple[Probabilities, ...]]:
    """Characteristics, and the probabilities of their breakpoints."""
    if isinstance(by, str):
        return (by,), (_parts(quantiles),)
    names = tuple(by) if isinstance(by, Sequence | np.ndarray) else ()
    if not all(isinstance(name, str) for name in names) or len(names) not in (1, 2) or len(set(names)) < len(names):
        raise DataError(f"a sort must be by one characteristic, or by two different ones: found {by!r}.")
    if not isinstance(quantiles, Sequence | np.ndarray) or len(quantiles) != len(names):
        raise DataError(
            f"quantiles must be given for each of {names}, such as (2, (0.3, 0.7)) for two: found {quantiles!r}."
        )
    return names, tuple(_parts(one) for one in quantiles)


def _parts(quantiles: object) -> Probabilities:
    """Probabilities as exact fractions: 0.3 is 3/10, as it is written."""
    if isinstance(quantiles, int | np.integer) and not isinstance(quantiles, bool) and 1 < quantiles <= _MOST_PARTS:
        return tuple(Fraction(k, int(quantiles)) for k in range(1, int(quantiles)))
    given = list(quantiles) if isinstance(quantiles, Sequence | np.ndarray) else []
    if given and all(isinstance(one, float) and 0 < one < 1 for one in given) and given == sorted(set(given)):
        return tuple(Fraction(repr(float(one))) for one in given)
    raise DataError(
        f"quantiles must be a number of portfolios from 2 to {_MOST_PARTS:,}, or rising probabilities between 0 and 1, "
        f"such as (0.3, 0.7): found {quantiles!r}."
    )


def _label(names: Sequence[str], numbers: Sequence[int]) -> str:
    return " ".join(f"{name}:{number}" for name, number in zip(names, numbers, strict=True))


def _break_labels(names: tuple[str, ...], counts: list[int], conditional: bool) -> list[str]:
    """A label for every breakpoint: "bm:1|2" is between the first and second portfolio."""
    labels = []
    for k, (name, count) in enumerate(zip(names, counts, strict=True)):
        outer = itertools.product(*(range(1, one + 1) for one in counts[:k])) if conditional else [()]
        within = [_label(names[: len(numbers)], numbers) for numbers in outer]
        labels += [f"{one} {name}:{j}|{j + 1}".strip() for one in within for j in range(1, count)]
    return labels


def _oddities(result: xr.Dataset, thin: np.ndarray, frequency: str, rule: _Rule) -> tuple[str, ...]:
    """Refuse too many thin portfolios; otherwise name them, and those whose members' returns are all missing."""
    labels = [result.indexes["time"], result.indexes["portfolio"]]
    odd: tuple[str, ...] = ()
    if thin.any():
        share = float(thin.any(axis=1).mean())
        fewer = "no asset" if rule.min_assets == 1 else f"fewer than {rule.min_assets} assets"
        found = f"portfolios with {fewer} in {share:.0%} of the periods, at {cells_of(thin, labels, frequency)}"
        if share > rule.max_thin:
            raise DataError(
                f"portfolios must have {rule.min_assets} or more assets in all but {rule.max_thin:.0%} of the periods: "
                f"found {found}. Usually a "
                "characteristic that is missing in whole periods or has many ties, or more portfolios than the "
                "universe can fill. Take fewer or other quantiles, select periods with sel(), or accept their missing "
                "returns with max_thin=1."
            )
        odd += (f"returns are missing for {found}",)
    lost = ~thin & np.isnan(result.returns.values) & ~np.isnan(result.share_moved.values)
    if lost.any():
        odd += (f"returns are missing where no member's return is known, at {cells_of(lost, labels, frequency)}",)
    return odd


def _said(names: Sequence[str], shape: str, rule: _Rule) -> dict[str, str]:
    on = rule.breakpoints_on
    setters = {type(None): "all", str: f"group {on}"}.get(type(on), "a boolean array")
    if isinstance(on, int | np.integer):
        setters = f"the largest {on}"
    return {
        "sorted_by": ", ".join(names),
        "portfolios": shape + (", conditional" if rule.conditional else ""),
        "weights": rule.weights,
        "breakpoints_on": setters,
        "ties": rule.ties,
        "rebalance": rule.rebalance,
    }
