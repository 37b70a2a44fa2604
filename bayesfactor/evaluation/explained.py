"""Returns of assets beside factors realised in the same periods: joined by label, regressed, for many draws at once.

The arithmetic that time-series measures and pricing tests share. Dims in shape comments: draw (all chains and draws in
one), time, asset, factor.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from threadpoolctl import threadpool_limits

from bayesfactor.errors import AlignmentError, DataError, DuplicateKeyError, UnitsError, first_three
from bayesfactor.panel.contract import check_units

Array = np.ndarray[Any, np.dtype[np.float64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]
Labelled = pd.DataFrame | pd.Series | xr.DataArray

DRAWS = ("chain", "draw")
COLLINEAR = 1e-10  # a direction with less than this share of a standardised variance is none
WORKING_BYTES = 2**27  # of a batch of draws
_ENOUGH_PERIODS = 12  # to tell how many there are in a year
_ODD_PER_YEAR = 1.6  # 365 days of a market that never closes are 1.45 times 252


# --- labels ---------------------------------------------------------------------------------------


def labelled(values: Labelled, name: str, default: str, *, draws: bool = False) -> xr.DataArray:
    """Returns as an array (chain, draw, time, item): dates ascending and unique, decimal, finite or NaN.

    Periods in which nothing is known (the live one) are left out.

    Parameters
    ----------
    values : DataFrame (time, item), Series (time), or DataArray with `time` and one other dim of any name.
    name : of the argument, for messages.
    default : name of the other dim, where a frame has none for its columns.
    draws : whether `chain` and `draw` may stand before.

    Raises
    ------
    AlignmentError
        When it is no such array, or its times are no dates.
    DuplicateKeyError
        When a label stands twice.
    DataError
        When a value is infinite or no number, or there is none.
    UnitsError
        When `attrs` say percent or raw, or the numbers look like percent.
    """
    array = _as_array(values, name, default)
    before = [dim for dim in DRAWS if dim in array.dims] if draws else []
    others = [dim for dim in array.dims if dim not in (*before, "time")]
    if "time" not in array.dims or len(others) != 1:
        more = ", with chain and draw before them for draws" if draws else ""
        raise AlignmentError(
            f"{name} must be over time and one other dim{more}: found dims {array.dims}. Give a frame with dates in "
            'its index and a column each, or a DataArray with dim "time".'
        )
    array = array.transpose(*before, "time", others[0])
    array = array.assign_coords(time=_dates(array, name))
    for dim in ("time", others[0]):
        if dim not in array.indexes:
            raise AlignmentError(f"{name} must carry labels of dimension {dim!r}, by which it is joined.")
        twice = array.indexes[dim][array.indexes[dim].duplicated()]
        if len(twice):
            raise DuplicateKeyError(
                f"{name} must have each label of {dim!r} once: repeated {first_three(map(label, twice))}."
            )
    array = array.sortby("time")
    infinite = np.isinf(array.values)
    if infinite.any():
        raise DataError(f"{name} must be finite or NaN: infinite at {cells(array, infinite)}.")
    array = array.isel(time=array.notnull().any([dim for dim in array.dims if dim != "time"]).values)
    if not array.size:
        raise DataError(f"{name} must hold at least one return: all are NaN, or there are none.")
    _check_decimal(array, values, name)
    return array


def _as_array(values: Labelled, name: str, default: str) -> xr.DataArray:
    if isinstance(values, pd.Series):
        values = values.to_frame(default if values.name is None else values.name)
    if isinstance(values, pd.DataFrame):
        if values.index.nlevels > 1 or values.columns.nlevels > 1:
            raise AlignmentError(f"{name} must be wide, a row each period and a column each: found a MultiIndex.")
        dim = default if values.columns.name in (None, "time") else values.columns.name
        values = xr.DataArray(values.to_numpy(), {"time": values.index, dim: values.columns}, ("time", dim))
    if not isinstance(values, xr.DataArray):
        raise AlignmentError(
            f"{name} must carry labels, as a DataFrame or DataArray does: found {type(values).__name__}."
        )
    if values.dtype.kind not in "fiu":
        raise DataError(f"{name} must hold numbers: found {values.dtype}.")
    return values.astype(np.float64)


def _dates(array: xr.DataArray, name: str) -> pd.DatetimeIndex:
    index = array.indexes.get("time")
    if isinstance(index, pd.PeriodIndex):
        index = index.to_timestamp(how="end").normalize()
    if not isinstance(index, pd.DatetimeIndex) or index.hasnans or index.tz is not None:
        found = getattr(index, "dtype", "no labels")
        raise AlignmentError(f"{name} must have dates along time, without time zone: found {found}.")
    return index.as_unit("ns")


def _check_decimal(array: xr.DataArray, values: Labelled, name: str) -> None:
    said = getattr(values, "attrs", {})
    if said.get("units") == "percent" or said.get("excess") is False:
        found = "percent" if said.get("units") == "percent" else "raw returns"
        raise UnitsError(
            f"{name} must be excess returns, decimal per period: attrs say {found}. Portfolios of the Ken French "
            f"library are raw: take the riskless rate off. If that was done already, clear what was said: "
            f"{name}.attrs = {{}}."
        )
    rows = array.values.reshape(-1, array.shape[-1])
    check_units(rows, name, max(round(per_year(array.indexes["time"])), 1))


def window(*arrays: tuple[str, xr.DataArray]) -> pd.DatetimeIndex:
    """The periods that all arrays have; within their span no array may lack one that another has.

    Raises
    ------
    AlignmentError
        When there is no common period, or a hole.
    """
    common = arrays[0][1].indexes["time"]
    for _, array in arrays[1:]:
        common = common.intersection(array.indexes["time"])
    if not len(common):
        spans = "; ".join(f"{name} {span(array.indexes['time'])}" for name, array in arrays)
        raise AlignmentError(
            f"{' and '.join(name for name, _ in arrays)} must have periods in common, by date: {spans}. Usually one is "
            "dated by the first and one by the last day of a month: date both alike."
        )
    for name, array in arrays:
        times = array.indexes["time"]
        alone = times[(times >= common[0]) & (times <= common[-1])].difference(common)
        if len(alone):
            raise AlignmentError(
                f"{' and '.join(other for other, _ in arrays)} must have the same periods from {label(common[0])} to "
                f"{label(common[-1])}: only {name} has {first_three(map(label, alone))}. Usually another frequency, or "
                "a period without any value: select periods that all have."
            )
    return common


def span(times: pd.DatetimeIndex) -> str:
    """First and last date."""
    return f"{label(times[0])} to {label(times[-1])}"


def label(value: Hashable) -> str:
    """A date as 2016-06-30, another label as text."""
    return str(np.datetime64(value, "D")) if isinstance(value, pd.Timestamp | np.datetime64) else str(value)  # type: ignore[call-overload]


def cells(array: xr.DataArray, where: Mask) -> str:
    """The labels of the marked cells, the first three."""
    names = [array.indexes.get(dim, pd.RangeIndex(array.sizes[dim])) for dim in array.dims]
    return first_three(tuple(label(names[axis][place]) for axis, place in enumerate(at)) for at in np.argwhere(where))


def per_year(times: pd.DatetimeIndex) -> float:
    """Periods in a year, by their dates; 12 where there are too few to tell."""
    days = (times[-1] - times[0]).days
    return (len(times) - 1) * 365.25 / days if len(times) > _ENOUGH_PERIODS and days else 12.0


def check_periods_per_year(told: float, times: pd.DatetimeIndex) -> None:
    """Refuse a number of periods in a year that contradicts the dates.

    Raises
    ------
    UnitsError
        When it is no positive number, or 1.6 times more or less than the dates say.
    """
    number = isinstance(told, int | float | np.number) and not isinstance(told, bool)
    if not number or not 0 < told < np.inf:
        raise UnitsError(f"periods_per_year must be a positive number, 12 for months: found {told!r}.")
    found = per_year(times)
    if len(times) > _ENOUGH_PERIODS and not 1 / _ODD_PER_YEAR < told / found < _ODD_PER_YEAR:
        raise UnitsError(
            f"periods_per_year must be that of the data: told {told:g}, and {span(times)} has {len(times)} periods, "
            f"{found:.3g} a year."
        )


# --- a sample: everything on one window -------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Sample:
    """Returns, factors and, if given, loadings on common periods.

    Attributes
    ----------
    times : (time,).
    assets : labels; `asset_dim` is the name of their dim.
    factor_names : labels; `factor_dim` likewise.
    returns : (time, asset), NaN where missing.
    factors : (draw, time, factor), finite.
    loadings : (draw, 1 or time, asset, factor), finite where a return is; None for least squares.
    draws : labels of chain and draw, empty without draws.
    """

    times: pd.DatetimeIndex
    assets: pd.Index
    asset_dim: str
    factor_names: pd.Index
    factor_dim: str
    returns: Array
    factors: Array
    loadings: Array | None
    draws: Mapping[str, pd.Index]

    @property
    def attrs(self) -> dict[str, Any]:
        """What was used."""
        return {
            "loadings": "least squares, with an intercept" if self.loadings is None else "given",
            "n_periods": len(self.times),
            "n_assets": len(self.assets),
            "n_returns": int(np.isfinite(self.returns).sum()),
            "first_period": label(self.times[0]),
            "last_period": label(self.times[-1]),
        }

    def array(self, values: Array, *dims: tuple[str, pd.Index]) -> xr.DataArray:
        """Values (draw, ...) labelled: (chain, draw, ...), or without these where there are no draws."""
        shape = tuple(len(index) for index in self.draws.values())
        coords = {**self.draws, **dict(dims)}
        return xr.DataArray(values.reshape((*shape, *values.shape[1:])), coords, tuple(coords))


def sample(
    returns: Labelled,
    factors: Labelled,
    loadings: pd.DataFrame | xr.DataArray | None = None,
    *,
    within: pd.DatetimeIndex | None = None,
) -> Sample:
    """Join returns, factors and loadings by label on the periods that returns and factors have.

    Raises
    ------
    AlignmentError, DuplicateKeyError, UnitsError
        See `labelled` and `window`; loadings must be of these assets and factors.
    DataError
        When a factor is missing in a common period, is constant, or is collinear with others.
    """
    left = labelled(returns, "returns", "asset")
    right = labelled(factors, "factors", "factor", draws=True)
    times = window(("returns", left), ("factors", right))
    if within is not None:
        times = times.intersection(within)
    left, right = left.sel(time=times), right.sel(time=times)
    if left.dims[-1] == right.dims[-1]:  # such as two frames of portfolios
        right = right.rename({right.dims[-1]: "factor" if left.dims[-1] != "factor" else "benchmark"})
    require_known(right, "factors")
    asset_dim, factor_dim = str(left.dims[-1]), str(right.dims[-1])
    draws = draws_of(right)
    values = right.values.reshape(-1, *right.shape[-2:])
    given = None
    if loadings is not None:
        given, more = _loadings(loadings, left, right)
        draws = common_draws(draws, more, "loadings and factors")
        n_draws = max(len(values), len(given))
        values = np.broadcast_to(values, (n_draws, *values.shape[1:]))
        given = np.broadcast_to(given, (n_draws, *given.shape[1:]))
    absent = ~np.isfinite(left.values).any(axis=0)
    if absent.any():
        raise DataError(
            f"every asset must have a return from {span(times)}: not so {first_three(left.indexes[asset_dim][absent])}."
        )
    return Sample(
        times,
        left.indexes[asset_dim],
        asset_dim,
        right.indexes[factor_dim],
        factor_dim,
        left.values,
        values,
        given,
        draws,
    )


def draws_of(array: xr.DataArray) -> dict[str, pd.Index]:
    """Labels of chain and draw, as far as the array has them."""
    return {dim: array.indexes.get(dim, pd.RangeIndex(array.sizes[dim])) for dim in DRAWS if dim in array.dims}


def common_draws(one: dict[str, pd.Index], other: dict[str, pd.Index], names: str) -> dict[str, pd.Index]:
    """The draws of both, or of the one that has any.

    Raises
    ------
    AlignmentError
        When both have draws, and others.
    """
    if one and other and not (one.keys() == other.keys() and all(one[dim].equals(other[dim]) for dim in one)):
        raise AlignmentError(f"{names} must have the same chains and draws: these differ.")
    return one or other


def require_known(array: xr.DataArray, name: str) -> None:
    """Refuse a missing value.

    Raises
    ------
    DataError
        Naming the first cells.
    """
    missing = np.isnan(array.values)
    if missing.any():
        raise DataError(
            f"{name} must be known in every period that is used: missing at {cells(array, missing)}. Select periods "
            "in which all are known."
        )


def over_assets(
    values: pd.DataFrame | xr.DataArray, returns: xr.DataArray, name: str, *, draws: bool = False
) -> xr.DataArray:
    """Loadings or characteristics as (chain, draw, time, asset, item), the assets in the order of the returns.

    Time is there where they vary, chain and draw where they are allowed and given.

    Raises
    ------
    AlignmentError
        When dims are others, or assets lack.
    DuplicateKeyError
        When a label stands twice.
    DataError
        When a value is infinite or no number.
    """
    asset = returns.dims[-1]
    if isinstance(values, pd.DataFrame):
        item = values.columns.name if values.columns.name not in (None, asset) else "factor"
        values = xr.DataArray(values.to_numpy(), {asset: values.index, item: values.columns}, (asset, item))
    dims = values.dims if isinstance(values, xr.DataArray) else ()
    before = [dim for dim in (*(DRAWS if draws else ()), "time") if dim in dims]
    others = [dim for dim in dims if dim not in (*before, asset)]
    if not isinstance(values, xr.DataArray) or asset not in dims or len(others) != 1:
        found = f"dims {dims}" if dims else type(values).__name__
        more = ", time, chain and draw" if draws else " and time"
        raise AlignmentError(
            f"{name} must be a frame or DataArray over {asset!r}, one other dim, and if wanted{more}: found {found}."
        )
    if values.dtype.kind not in "fiu":
        raise DataError(f"{name} must hold numbers: found {values.dtype}.")
    values = values.transpose(*before, asset, others[0]).astype(np.float64)
    for dim in (*[dim for dim in before if dim == "time"], asset, others[0]):
        if dim not in values.indexes:
            raise AlignmentError(f"{name} must carry labels of dimension {dim!r}, by which it is joined.")
        if values.indexes[dim].has_duplicates:
            twice = values.indexes[dim][values.indexes[dim].duplicated()]
            raise DuplicateKeyError(f"{name} must have each label of {dim!r} once: repeated {first_three(twice)}.")
    if "time" in before:
        values = values.assign_coords(time=_dates(values, name)).sortby("time")
    lacking = returns.indexes[asset].difference(values.indexes[asset])
    if len(lacking):
        raise AlignmentError(f"{name} must have every asset of returns: lacks {first_three(map(label, lacking))}.")
    values = values.sel({asset: returns.indexes[asset]})
    infinite = np.isinf(values.values)
    if infinite.any():
        raise DataError(f"{name} must be finite or NaN: infinite at {cells(values, infinite)}.")
    return values


def _loadings(
    loadings: pd.DataFrame | xr.DataArray, returns: xr.DataArray, factors: xr.DataArray
) -> tuple[Array, dict[str, pd.Index]]:
    """Loadings (draw, 1 or time, asset, factor) in the order of returns and factors, and the labels of draws."""
    array = over_assets(loadings, returns, "loadings", draws=True)
    item, factor = array.dims[-1], factors.indexes[factors.dims[-1]]
    lacking, extra = factor.difference(array.indexes[item]), array.indexes[item].difference(factor)
    if len(lacking) or len(extra):
        what = f"lack {first_three(map(label, lacking))}" if len(lacking) else f"also have {first_three(extra)}"
        raise AlignmentError(f"loadings and factors must be of the same factors: loadings {what}.")
    array = array.sel({item: factor})
    seen = returns.notnull().values
    used = seen.max(axis=0)[None, :, None]
    if "time" in array.dims:
        lacking = returns.indexes["time"].difference(array.indexes["time"])
        if len(lacking):
            raise AlignmentError(
                f"loadings must have every period of returns and factors: lack {first_three(map(label, lacking))}."
            )
        array, used = array.sel(time=returns.indexes["time"]), seen[..., None]
    values = array.values.reshape(-1, len(used), *array.shape[-2:])
    bad = np.flatnonzero((~np.isfinite(values) & used).any(axis=(0, 1, 3)))
    if bad.size:
        names = returns.indexes[returns.dims[-1]][bad]
        raise DataError(f"loadings must be known wherever there is a return: not so for {first_three(names)}.")
    return np.where(used, values, 0.0), draws_of(array)


# --- arithmetic -------------------------------------------------------------------------------------


class Fitted(NamedTuple):
    """A batch of draws of ``r_it = alpha_i + beta_i'f_t + e_it``.

    Attributes
    ----------
    beta : (draw, 1 or time, asset, factor).
    error : (draw, time, asset) ``r - beta'f``, alpha included; 0 where a return is missing.
    alpha : (draw, asset), the mean of `error` over the periods with a return (FPX eq. 8).
    to_alpha : (draw, time, asset) the c of ``alpha_hat_i = sum_t c_ti r_ti``, 0 where missing; None for given loadings.
    """

    beta: Array
    error: Array
    alpha: Array
    to_alpha: Array | None


def by_draw(data: Sample, reduce: Callable[[Fitted], dict[str, Array]], *, weights: bool = False) -> dict[str, Array]:
    """``reduce`` of the regressions of all draws, a batch of draws in memory at a time.

    Parameters
    ----------
    data : Sample.
    reduce : arrays (draw, ...) of a batch.
    weights : whether `to_alpha` is needed.

    Raises
    ------
    DataError
        When an asset has too few periods, or factors do not vary or are collinear over its periods.
    """
    seen = np.isfinite(data.returns)
    n_draws, n_times, n_factors = data.factors.shape
    patterns, place = np.unique(seen, axis=1, return_inverse=True)
    if data.loadings is None:
        _require_periods(data, seen)
    squares = (n_factors + 1) ** 2
    one = 8 * (n_times * (squares + 5 * seen.shape[1]) + 3 * squares * seen.shape[1])
    size = max(int(WORKING_BYTES // one), 1)
    parts = []
    with threadpool_limits(1, user_api="blas"):  # many small products: threads would wait for each other
        for first in range(0, n_draws, size):
            part = slice(first, first + size)
            factors = data.factors[part]
            if data.loadings is None:
                fitted = _least_squares(data, seen, patterns, place.ravel(), factors, first, weights)
            else:
                fitted = _residuals(data.returns, seen, factors, data.loadings[part])
            parts.append(reduce(fitted))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _require_periods(data: Sample, seen: Mask) -> None:
    needed = len(data.factor_names) + 2
    few = seen.sum(axis=0) < needed
    if few.any():
        counts = [(asset, f"{n} periods") for asset, n in zip(data.assets[few], seen.sum(axis=0)[few], strict=True)]
        raise DataError(
            f"a regression on {needed - 2} factors needs at least {needed} periods with a return: found "
            f"{first_three(counts)} from {span(data.times)}. Leave these assets out, or use a longer window."
        )


def _least_squares(
    data: Sample, seen: Mask, patterns: Mask, place: np.ndarray, factors: Array, first: int, weights: bool
) -> Fitted:
    """Least squares with an intercept, each asset over its own periods; factors standardised inside."""
    mean, sd = factors.mean(axis=1), factors.std(axis=1)  # (draw, factor)
    flat = sd <= 1e-12 * np.abs(factors).max(axis=1)
    if flat.any():
        raise DataError(
            f"factors must vary: constant from {span(data.times)} is {_named(data, flat.any(axis=0))}"
            f"{_draw(data, first, flat.any(axis=1))}. Leave it out."
        )
    z = np.concatenate([np.ones((*factors.shape[:2], 1)), (factors - mean[:, None]) / sd[:, None]], axis=-1)
    n_draws, n_times, n_terms = z.shape
    outer = (z[..., :, None] * z[..., None, :]).reshape(n_draws, n_times, -1)
    gram = np.swapaxes(np.swapaxes(outer, 1, 2) @ patterns.astype(float), 1, 2)
    gram = gram.reshape(n_draws, patterns.shape[1], n_terms, n_terms)  # (draw, pattern, term, term)
    _require_rank(data, gram, patterns, place, first)
    own = gram[:, place] if patterns.shape[1] > 1 else gram
    projection = np.swapaxes(np.swapaxes(z, 1, 2) @ np.where(seen, data.returns, 0.0), 1, 2)  # (draw, asset, term)
    beta = np.linalg.solve(own, projection[..., None])[..., 1:, 0] / sd[:, None]
    fitted = _residuals(data.returns, seen, factors, beta[:, None])
    if not weights:
        return fitted
    contrast = np.concatenate([np.ones((n_draws, 1)), -mean / sd], axis=1)  # alpha of the standardised coefficients
    contrast = np.broadcast_to(contrast[:, None, :, None], (*gram.shape[:3], 1))
    to_alpha = z @ np.swapaxes(np.linalg.solve(gram, contrast)[..., 0], 1, 2)  # (draw, time, pattern)
    return fitted._replace(to_alpha=np.where(seen, to_alpha[..., place], 0.0))


def _residuals(returns: Array, seen: Mask, factors: Array, beta: Array) -> Fitted:
    if beta.shape[1] == 1:
        explained = factors @ np.swapaxes(beta[:, 0], 1, 2)
    else:
        explained = np.einsum("stp,stnp->stn", factors, beta)
    error = np.subtract(np.where(seen, returns, 0.0), explained, out=explained)
    if not seen.all():
        error *= seen
    return Fitted(beta, error, error.sum(axis=1) / seen.sum(axis=0), None)


def _require_rank(data: Sample, gram: Array, patterns: Mask, place: np.ndarray, first: int) -> None:
    values, vectors = np.linalg.eigh(gram / patterns.sum(axis=0)[:, None, None])
    bad = values[..., 0] < COLLINEAR * values[..., -1]
    if bad.any():
        draw, pattern = np.argwhere(bad)[0]
        direction = np.abs(vectors[draw, pattern, 1:, 0])
        assets = data.assets[place == pattern]
        named = _named(data, direction > 0.1 * direction.max())
        where = "" if patterns.shape[1] == 1 else f" over the periods of {first_three(assets)}"
        raise DataError(
            f"factors must vary and not be collinear{where}: {named}{_draw(data, first, bad.any(axis=-1))} are. Leave "
            "one out."
        )


def _named(data: Sample, which: Mask) -> str:
    return first_three(data.factor_names[which])


def _draw(data: Sample, first: int, bad: Any) -> str:
    return f" in draw {first + int(np.argmax(bad))} of {len(data.factors)}" if data.draws else ""


def squared_ratio(factors: Array, names: Iterable[Hashable], times: pd.DatetimeIndex) -> Array:
    """The largest squared Sharpe ratio (draw,) of factors (draw, time, factor): ``m'S^-1 m`` per period, S over T.

    Raises
    ------
    DataError
        When factors are constant or collinear.
    """
    names = pd.Index(list(names))
    mean, sd = factors.mean(axis=1), factors.std(axis=1)
    flat = sd <= 1e-12 * np.abs(factors).max(axis=1)
    if flat.any():
        raise DataError(f"factors must vary: constant from {span(times)} is {first_three(names[flat.any(axis=0)])}.")
    z = (factors - mean[:, None]) / sd[:, None]
    with threadpool_limits(1, user_api="blas"):
        correlation = np.swapaxes(z, 1, 2) @ z / factors.shape[1]
    values, vectors = np.linalg.eigh(correlation)
    bad = values[:, 0] < COLLINEAR * values[:, -1]
    if bad.any():
        direction = np.abs(vectors[np.argmax(bad), :, 0])
        raise DataError(
            f"factors must not be collinear: {first_three(names[direction > 0.1 * direction.max()])} are from "
            f"{span(times)}. Leave one out."
        )
    ratio = mean / sd
    return np.einsum("sp,sp->s", ratio, np.linalg.solve(correlation, ratio[..., None])[..., 0])


# --- Feng, Polson, Xu (2020), eq. 21 to 23 ----------------------------------------------------------


def require_cross_section(data: Sample) -> None:
    """Refuse what eq. 23 has no meaning for.

    Raises
    ------
    DataError
        See ``cross_sectional_r2``.
    """
    n_assets, n_factors = data.returns.shape[1], data.factors.shape[-1]
    if n_assets < n_factors + 2:
        raise DataError(
            f"a cross-sectional R2 needs more assets than coefficients: found {n_assets} for {n_factors + 1} "
            "(intercept and factors), which explain any means. Give more test assets."
        )
    if data.loadings is not None and data.loadings.shape[1] > 1:
        raise DataError("a cross-sectional R2 needs constant loadings: these vary over time. Give their means.")


def measures_of(data: Sample, fitted: Fitted) -> dict[str, Array]:
    """FPX eq. 21 to 23 of a batch of draws; the third only where loadings are constant and assets enough."""
    mean = np.nanmean(data.returns, axis=0)
    squares = np.nansum((data.returns - mean) ** 2)
    own = np.einsum("stn,stn->s", fitted.error, fitted.error)
    found = {
        "time_series_r2": 1.0 - own / squares if squares > 0 else np.full(own.shape, np.nan),
        "pricing_error": (fitted.alpha**2).mean(axis=1),
    }
    n_assets, n_factors = fitted.beta.shape[-2:]
    if fitted.beta.shape[1] == 1 and n_assets > n_factors + 1:
        found["cross_sectional_r2"] = _share_spanned(fitted.beta[:, 0], mean)
    return found


def _share_spanned(beta: Array, mean: Array) -> Array:
    """Share of the variance of `mean` (asset,) in the span of the centred columns of beta (draw, asset, factor)."""
    centred = beta - beta.mean(axis=1, keepdims=True)
    scale = np.sqrt((centred**2).sum(axis=1, keepdims=True))
    level = np.sqrt((beta**2).sum(axis=1, keepdims=True))
    moves = scale > 1e-12 * level
    centred = np.where(moves, centred / np.where(moves, scale, 1.0), 0.0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    target = mean - mean.mean()
    inner = np.where(values > 1e-10, np.swapaxes(left, 1, 2) @ target, 0.0)
    total = target @ target
    none = total <= 1e-24 * (mean @ mean)
    return np.full(len(beta), np.nan) if none else (inner**2).sum(axis=1) / total
