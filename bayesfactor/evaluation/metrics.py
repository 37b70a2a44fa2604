"""Errors of forecasts of returns, against a named benchmark, and measures of what factors explain; joined by label.

Two questions with other numbers. ``predictive_r2``, ``l2``, ``linf`` ask how well month t was PREDICTED from what was
known before it. ``total_r2``, ``time_series_r2``, ``pricing_error``, ``cross_sectional_r2`` ask how well factors that
were realised in month t EXPLAIN that month, or its mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd
import xarray as xr

from bayesfactor.errors import (
    AlignmentError,
    DataError,
    DuplicateKeyError,
    EmptyWindowError,
    LookAheadError,
    first_three,
)
from bayesfactor.evaluation.explained import (
    Labelled,
    Sample,
    by_draw,
    labelled,
    measures_of,
    require_cross_section,
    require_known,
    sample,
)
from bayesfactor.evaluation.matching import (
    FEW_MONTHS,
    StoredForecasts,
    calendar_months,
    require_history,
    require_named,
    require_one_protocol,
)
from bayesfactor.evaluation.standard_errors import errors_of_sum, prob_positive_sum, se_of_sum

if TYPE_CHECKING:
    from bayesfactor.panel import Panel

Array = np.ndarray[Any, np.dtype[np.float64]]
Benchmark = Literal["zero", "historical_mean"]
ExplainBenchmark = Literal["zero", "market"]

__all__ = [
    "cross_sectional_r2",
    "historical_mean",
    "l2",
    "linf",
    "predictive_r2",
    "predictive_r2_by_month",
    "pricing_error",
    "r2_table",
    "realised_returns",
    "time_series_r2",
    "total_r2",
]


# --- arithmetic on arrays (time, asset); NaN marks a cell that does not count ---------------------


def _sum_of_squares(error: Array) -> Array:
    """Sum over each month's observed assets; an error is NaN where a stock does not count."""
    return np.nansum(error**2, axis=1)


def _one_minus_ratio(own: Array, reference: Array) -> Array:
    """``1 - own / reference``; NaN where the benchmark makes no error at all."""
    own, reference = np.asarray(own), np.asarray(reference)
    ratio = np.full(own.shape, np.nan)
    return 1.0 - np.divide(own, reference, out=ratio, where=reference > 0)


def _means_before(returns: Array) -> Array:
    """Mean of each asset over the rows strictly before each; without any, the pooled mean of those rows."""
    seen = np.isfinite(returns)
    total = np.cumsum(np.where(seen, returns, 0.0), axis=0)
    count = np.cumsum(seen, axis=0)
    before = np.vstack([np.zeros_like(total[:1]), total[:-1]])
    n_before = np.vstack([np.zeros_like(count[:1]), count[:-1]])
    pooled_sum, pooled_n = before.sum(axis=1), n_before.sum(axis=1)
    pooled = np.divide(pooled_sum, pooled_n, out=np.full(len(returns), np.nan), where=pooled_n > 0)
    own = np.broadcast_to(pooled[:, None], returns.shape).copy()
    return np.divide(before, n_before, out=own, where=n_before > 0)


# --- labels ---------------------------------------------------------------------------------------


def realised_returns(panel: Panel) -> xr.DataArray:
    """Returns that a forecast is judged on: stocks in the universe of the month whose return exists.

    Parameters
    ----------
    panel : Panel.

    Returns
    -------
    DataArray (time, asset): excess returns, decimal per period, NaN elsewhere.
    """
    counts = panel.data["in_universe"] & panel.data["observed"]
    return panel.data["returns"].where(counts).transpose("time", "asset").rename("realised_returns")


def predictive_r2(
    forecast: xr.DataArray,
    realised: xr.DataArray,
    *,
    benchmark: Benchmark = "zero",
    historical_mean: xr.DataArray | None = None,
) -> xr.DataArray:
    """Predictive R2, pooled over all stock-months, against a named benchmark.

    1 - sum_it (r_it - forecast_it)^2 / sum_it (r_it - b_it)^2, with b = 0 (Gu, Kelly, Xiu) or b = the
    historical mean of the asset (Campbell, Thompson). The two differ by more than most forecasts are worth:
    never quote the number without its benchmark, which stands in ``attrs["benchmark"]``.

    Parameters
    ----------
    forecast : DataArray (time, asset), made before each month, decimal per period.
    realised : DataArray (time, asset), decimal per period; NaN where a stock does not count
        (``realised_returns``). Same months and assets as the forecast, in any order.
    benchmark : what the denominator forecasts.
    historical_mean : DataArray (time, asset), needed by ``benchmark="historical_mean"``
        (``metrics.historical_mean``).

    Returns
    -------
    DataArray without dims: a share of 1; NaN if the benchmark makes no error. attrs: metric, benchmark,
    units, n_months, n_stock_months, first_month, last_month.

    Raises
    ------
    AlignmentError
        If months or assets differ.
    DataError
        If a return that counts has no finite forecast, or a return is infinite.
    EmptyWindowError
        If no return is observed.
    """
    own, reference, count = _compared(forecast, realised, benchmark, historical_mean)
    value = _one_minus_ratio(own.sum(), reference.sum())
    return xr.DataArray(value, name="predictive_r2", attrs=_r2_attrs("predictive_r2", benchmark, count))


def predictive_r2_by_month(
    forecast: xr.DataArray,
    realised: xr.DataArray,
    *,
    benchmark: Benchmark = "zero",
    historical_mean: xr.DataArray | None = None,
) -> xr.DataArray:
    """Predictive R2 of each month: as ``predictive_r2``, with the two sums over the stocks of one month.

    The pooled figure is NOT the average of these: volatile months weigh more in it.

    Parameters
    ----------
    forecast, realised, benchmark, historical_mean : as in ``predictive_r2``.

    Returns
    -------
    DataArray (time): months with an observed return, in calendar order; a share of 1. attrs as
    ``predictive_r2``.

    Raises
    ------
    AlignmentError, DataError, EmptyWindowError
        As ``predictive_r2``.
    """
    name = "predictive_r2_by_month"
    own, reference, count = _compared(forecast, realised, benchmark, historical_mean)
    ratio = count.copy(data=_one_minus_ratio(own, reference)).rename(name)
    return ratio.assign_attrs(_r2_attrs(name, benchmark, count))


def r2_table(forecasts: Mapping[str, StoredForecasts], *, benchmark: str | None = None) -> pd.DataFrame:
    """Predictive R2 of stored forecasts against zero, and against one of the forecasters, with errors.

    With ``D_t = sum_i (r_it - b_it)^2 - (r_it - forecast_it)^2`` the gain of a month over a benchmark b,
    ``R2 = sum_t D_t / sum_it (r_it - b_it)^2``: ``predictive_r2`` exactly. Its error is that of the sum of D_t over
    months (Diebold and Mariano 1995; clustered or HAC, the larger) with the denominator as it is. What is judged is
    whether these forecasts, as they were made, came nearer: not whether the model's population would (Clark, West
    2007), which a forecast can fail only for the noise of its estimates.

    Parameters
    ----------
    forecasts : one or more Forecasts by name, of the same panel, windows, months and stocks.
    benchmark : name of the forecaster against whom the others are also measured, for example the historical mean.

    Returns
    -------
    DataFrame by `model`, in the order given: r2_zero, r2_zero_se, prob_zero; with a benchmark also r2_benchmark,
    r2_benchmark_se, prob_benchmark (NaN in its own row). Shares of 1; prob is the probability that the expected gain
    is positive, NaN under 24 calendar months. attrs: metric, benchmark, n_months, n_stock_months, first_month,
    last_month.

    Raises
    ------
    ComparisonError
        If panel, windows, months or stocks differ.
    DataError
        If the benchmark is none of the names, or an observed return lacks a finite forecast.
    EmptyWindowError
        If fewer than 3 calendar months have a return.
    """
    require_named(forecasts, at_least=1)
    require_one_protocol(forecasts)
    few = calendar_months(require_history(next(iter(forecasts.values())))) < FEW_MONTHS
    if benchmark is not None and benchmark not in forecasts:
        raise DataError(f"benchmark must be one of the forecasters, {', '.join(forecasts)}: found {benchmark!r}.")
    squares: dict[str, Array] = {}
    for name, one in forecasts.items():
        squares[name], zero, count = _compared(one.data["mean"], one.data["realised"], "zero", None)
    references = {"zero": zero} if benchmark is None else {"zero": zero, "benchmark": squares[benchmark]}
    rows = []
    for name in forecasts:
        row: dict[str, float] = {}
        for what, reference in references.items():
            itself = what == "benchmark" and name == benchmark
            gain, errors = reference - squares[name], errors_of_sum(reference - squares[name])
            row[f"r2_{what}"] = np.nan if itself else float(_one_minus_ratio(squares[name].sum(), reference.sum()))
            row[f"r2_{what}_se"] = np.nan if itself else se_of_sum(errors) / float(reference.sum())
            row[f"prob_{what}"] = np.nan if itself or few else prob_positive_sum(float(gain.sum()), errors)
        rows.append(row)
    table = pd.DataFrame(rows, index=pd.Index(list(forecasts), name="model"))
    table.attrs |= {"metric": "predictive_r2", "benchmark": benchmark or "zero"} | _window(count)
    return table


def l2(forecast: xr.DataArray, realised: xr.DataArray) -> xr.DataArray:
    """Root mean squared forecast error over the observed stocks of each month.

    l2_t = sqrt( (1/N_t) sum_i (r_it - forecast_it)^2 ), N_t stocks with a return in month t: the L2 norm of
    the error divided by sqrt(N_t), so that months with more stocks are not larger. Dixon, Polson (2020),
    comparison by month.

    Parameters
    ----------
    forecast, realised : as in ``predictive_r2``.

    Returns
    -------
    DataArray (time): months with an observed return, decimal per period. attrs: metric, units, n_months, ...

    Raises
    ------
    AlignmentError, DataError, EmptyWindowError
        As ``predictive_r2``.
    """
    error = _errors(forecast, realised)
    return _by_month((error**2).mean("asset") ** 0.5, "l2", error.notnull().sum("asset"))


def linf(forecast: xr.DataArray, realised: xr.DataArray) -> xr.DataArray:
    """Largest absolute forecast error over the observed stocks of each month.

    linf_t = max_i |r_it - forecast_it|. Dixon, Polson (2020), comparison by month.

    Parameters
    ----------
    forecast, realised : as in ``predictive_r2``.

    Returns
    -------
    DataArray (time): months with an observed return, decimal per period. attrs: metric, units, n_months, ...

    Raises
    ------
    AlignmentError, DataError, EmptyWindowError
        As ``predictive_r2``.
    """
    error = _errors(forecast, realised)
    return _by_month(abs(error).max("asset"), "linf", error.notnull().sum("asset"))


def historical_mean(train: Panel, panel: Panel) -> xr.DataArray:
    """Mean excess return of each asset over all months strictly before t: the benchmark forecast of month t.

    History is ``train`` and the months of ``panel`` itself that come before t, so it expands through the
    test window. An asset without any return before t gets the mean over all earlier stock-months. Returns
    count when the stock was in the universe and its return exists (``realised_returns``), as in the
    likelihood.

    Parameters
    ----------
    train : Panel of the months before the window, of the same frequency; its assets may differ.
    panel : Panel whose months are forecast; shares no month with ``train``.

    Returns
    -------
    DataArray (time, asset): months and assets of ``panel``, decimal per period, no NaN.

    Raises
    ------
    AlignmentError
        If the frequencies differ.
    LookAheadError
        If a month of ``train`` is not before the first month of ``panel``.
    EmptyWindowError
        If no return at all is observed before the first month of ``panel``.
    """
    if train.frequency != panel.frequency:
        raise AlignmentError(
            f"train and panel must have one frequency: train is {train.frequency}, "
            f"panel is {panel.frequency}. Read both with the same frequency."
        )
    late = train.times[train.times >= panel.times.min()]
    if len(late):
        raise LookAheadError(
            f"train must end before the first month of panel, {_day(panel.times.min())}: it also holds "
            f"{first_three(map(_day, late))}. Usually the whole panel: "
            "pass the two parts of panel.split(when)."
        )
    history, window = realised_returns(train), realised_returns(panel)
    joined = xr.concat([history, window], dim="time", join="outer").sortby("time")
    means = joined.copy(data=_means_before(joined.to_numpy()))
    means = means.sel(time=window["time"], asset=window["asset"])
    empty = np.isnan(means.to_numpy()).any(axis=1)
    if empty.any():
        months = panel.times[empty]
        raise EmptyWindowError(
            f"a historical mean needs a return before each month: "
            f"none before {first_three(map(_day, months))}. train covers {_day(train.times.min())} to "
            f"{_day(train.times.max())}."
        )
    means.attrs = {"metric": "historical_mean", "units": "decimal per period", "uses": "months before t only"}
    return means.rename("historical_mean")


# --- what factors of the same month explain -------------------------------------------------------


def total_r2(
    returns: Labelled,
    factors: Labelled,
    *,
    benchmark: ExplainBenchmark = "zero",
    market: Labelled | None = None,
    loadings: pd.DataFrame | xr.DataArray | None = None,
) -> xr.DataArray:
    """Total R2 of factors, pooled over all returns, against a named benchmark.

    1 - sum_it (r_it - beta_i'f_t)^2 / sum_it (r_it - b_t)^2, with b = 0 (Gu, Kelly, Xiu) or the market's excess return
    (Agarwal, Zouiten, Tulsian). The factors are those of the same month: nothing is predicted.

    Parameters
    ----------
    returns, factors, loadings : as in ``time_series_r2``.
    benchmark : what the denominator explains with.
    market : the market's excess return, (time) or of one column, for ``benchmark="market"``.

    Returns
    -------
    DataArray over the draws of factors and loadings, without dims where there are none: a share of 1.

    Raises
    ------
    DataError
        When the benchmark is none of the two, lacks the market or does not need it; else as ``time_series_r2``.
    AlignmentError, DuplicateKeyError, UnitsError
        As ``time_series_r2``.
    """
    if benchmark not in get_args(ExplainBenchmark) or (benchmark == "market") != (market is not None):
        raise DataError(
            'benchmark must be "zero", or "market" with market=, its excess returns: found '
            f"benchmark={benchmark!r} {'without' if market is None else 'with'} market."
        )
    data = sample(returns, factors, loadings)
    reference = np.zeros(len(data.times))
    if market is not None:
        reference = _market(market, data.times)
    denominator = np.nansum((data.returns - reference[:, None]) ** 2)
    own = by_draw(data, lambda fitted: {"squares": np.einsum("stn,stn->s", fitted.error, fitted.error)})["squares"]
    ratio = _one_minus_ratio(own, np.full(own.shape, denominator))
    return _explained(data, ratio, "total_r2", "share of 1", benchmark=benchmark)


def time_series_r2(
    returns: Labelled, factors: Labelled, *, loadings: pd.DataFrame | xr.DataArray | None = None
) -> xr.DataArray:
    """Time-series R2 of a factor model without intercept, pooled over assets.

    1 - sum_it (R_it - beta_i'f_t)^2 / sum_it (R_it - Rbar_i)^2                   Feng, Polson, Xu (2020), eq. 21

    The intercept counts as error, so that it can be negative. FPX estimate betas in their network; for given factors
    the default is least squares with an intercept, each asset over its own months, so that alpha is that of
    ``pricing.grs``. Where returns are missing, sums are over the returns that exist and Rbar_i is over them.

    Parameters
    ----------
    returns : excess, decimal per period: DataFrame (time, asset), or DataArray of `time` and one other dim; NaN is
        missing.
    factors : excess or zero-cost, decimal per period: DataFrame (time, factor), Series, or DataArray of `time` and one
        other dim, with `chain` and `draw` before them for draws. Joined by date on the periods both have.
    loadings : (asset, factor), with time, chain, draw if wanted; instead of least squares.

    Returns
    -------
    DataArray over the draws of factors and loadings, without dims where there are none: a share of 1. attrs: metric,
    units, loadings, n_periods, n_assets, n_returns, first_period, last_period. The spread over draws of factors alone
    is not that of alphas and betas, which are estimated anew for each draw.

    Raises
    ------
    AlignmentError
        When labels do not match, or no period is common.
    DuplicateKeyError
        When a label stands twice.
    UnitsError
        When returns or factors look like percent, or are said to be raw.
    DataError
        When a factor is missing, constant or collinear, an asset has fewer than P + 2 periods, or a value is infinite.
    """
    data = sample(returns, factors, loadings)
    return _explained(data, by_draw(data, lambda fitted: measures_of(data, fitted))["time_series_r2"], "time_series_r2")


def pricing_error(
    returns: Labelled, factors: Labelled, *, loadings: pd.DataFrame | xr.DataArray | None = None
) -> xr.DataArray:
    """Mean squared alpha, ``(1/N) sum_i alpha_i^2``, alpha_i the mean of ``R_it - beta_i'f_t``; FPX eq. 22 and 8.

    Each asset's mean is over its own months and every asset has equal weight. Noise alone makes it positive: with least
    squares and no alpha its mean is that of the squared standard errors.

    Parameters
    ----------
    returns, factors, loadings : as in ``time_series_r2``.

    Returns
    -------
    DataArray over the draws, SQUARED decimal per period: 1e-6 is an alpha of 0.1% a month. attrs as ``time_series_r2``.

    Raises
    ------
    AlignmentError, DuplicateKeyError, UnitsError, DataError
        As ``time_series_r2``.
    """
    data = sample(returns, factors, loadings)
    return _explained(data, by_draw(data, lambda fitted: measures_of(data, fitted))["pricing_error"], "pricing_error")


def cross_sectional_r2(
    returns: Labelled, factors: Labelled, *, loadings: pd.DataFrame | xr.DataArray | None = None
) -> xr.DataArray:
    """R2 of the regression of mean returns on loadings, with an intercept, over assets.

    1 - Q/Q0, Q = min_l |X l - Rbar|^2, X = [1, beta], Q0 the same with X = 1                           FPX, eq. 23

    Premia are free, so that a factor may earn here what it does not earn in time. Collinear loadings are projected on
    what they span. Means and loadings of an asset are over its own months.

    Parameters
    ----------
    returns, factors : as in ``time_series_r2``.
    loadings : as there, but constant over time.

    Returns
    -------
    DataArray over the draws: a share of 1; NaN if all means are equal. attrs as ``time_series_r2``.

    Raises
    ------
    DataError
        When there are fewer than P + 2 assets, so that any means are explained, or loadings vary over time; else as
        ``time_series_r2``.
    AlignmentError, DuplicateKeyError, UnitsError
        As ``time_series_r2``.
    """
    data = sample(returns, factors, loadings)
    require_cross_section(data)
    result = by_draw(data, lambda fitted: measures_of(data, fitted))["cross_sectional_r2"]
    return _explained(data, result, "cross_sectional_r2")


def _market(market: Labelled, times: pd.DatetimeIndex) -> Array:
    """The market's returns on these periods."""
    array = labelled(market, "market", "market")
    if array.shape[1] != 1:
        raise AlignmentError(f"market must be one series: found {array.shape[1]} columns.")
    lacking = times.difference(array.indexes["time"])
    if len(lacking):
        raise AlignmentError(f"market must have every period that is used: lacks {first_three(map(_day, lacking))}.")
    array = array.sel(time=times)
    require_known(array, "market")
    return np.asarray(array.values[:, 0])


def _explained(data: Sample, values: Array, metric: str, units: str | None = None, **attrs: str) -> xr.DataArray:
    """One number a draw with the attributes of the metric."""
    units = units or ("squared decimal per period" if metric == "pricing_error" else "share of 1")
    array = data.array(values).rename(metric)
    return array.assign_attrs({"metric": metric, "units": units, **attrs, **data.attrs})


def _compared(
    forecast: xr.DataArray, realised: xr.DataArray, benchmark: Benchmark, mean: xr.DataArray | None
) -> tuple[Array, Array, xr.DataArray]:
    """Squared errors of forecast and benchmark, and the number of stocks, in months with a return."""
    if benchmark not in get_args(Benchmark):
        raise DataError(
            f'benchmark must be "zero" or "historical_mean": found {benchmark!r}. '
            "An R2 without a named benchmark has no meaning."
        )
    if (benchmark == "historical_mean") != (mean is not None):
        raise DataError(
            'historical_mean= belongs to benchmark="historical_mean", and only to it: '
            f"found benchmark={benchmark!r} {'without' if mean is None else 'with'} historical_mean. "
            "metrics.historical_mean(train, panel) makes it."
        )
    realised = _checked(realised)
    own = realised - _matched(forecast, realised, "forecast")
    reference = realised if mean is None else realised - _matched(mean, realised, "historical_mean")
    count = realised.notnull().sum("asset")
    seen = count.to_numpy() > 0
    return (
        _sum_of_squares(own.to_numpy()[seen]),
        _sum_of_squares(reference.to_numpy()[seen]),
        count.isel(time=seen),
    )


def _errors(forecast: xr.DataArray, realised: xr.DataArray) -> xr.DataArray:
    """``realised - forecast`` in months with a return; NaN where a stock does not count."""
    realised = _checked(realised)
    return (realised - _matched(forecast, realised, "forecast")).dropna("time", how="all")


def _checked(realised: xr.DataArray) -> xr.DataArray:
    """Realised returns as (time, asset), in calendar order, finite or NaN, not all NaN."""
    realised = _two_dims(realised, "realised").sortby("time")
    cells = _cells(realised, np.isinf(realised.to_numpy()))
    if cells:
        raise DataError(f"realised returns must be finite or NaN: infinite at {first_three(cells)}.")
    if not realised.notnull().any():
        raise EmptyWindowError(
            "an error needs at least one observed return: realised is NaN everywhere. "
            "Usually the live month, whose returns have not happened yet."
        )
    return realised


def _matched(forecast: xr.DataArray, realised: xr.DataArray, name: str) -> xr.DataArray:
    """Forecasts in the order of `realised`, by label; every return that counts must have one."""
    forecast = _two_dims(forecast, name)
    for dim in ("time", "asset"):
        ours, theirs = forecast.indexes[dim], realised.indexes[dim]
        absent, extra = theirs.difference(ours), ours.difference(theirs)
        if len(absent) or len(extra):
            labels = first_three(map(_label, absent if len(absent) else extra))
            what = f"lacks {labels}" if len(absent) else f"also has {labels}"
            raise AlignmentError(
                f"{name} and realised must have the same labels of dimension {dim!r}: {name} {what}. "
                "Usually two different windows or universes: select the same months and assets from both."
            )
    forecast = forecast.sel(time=realised["time"], asset=realised["asset"])
    counts = realised.notnull().to_numpy()
    cells = _cells(realised, counts & ~np.isfinite(forecast.to_numpy()))
    if cells:
        raise DataError(
            f"every realised return that counts needs a finite {name}: none at {first_three(cells)}. "
            "Usually a stock with a return outside the universe of the month: pass "
            "metrics.realised_returns(panel) as realised."
        )
    return forecast


def _two_dims(values: xr.DataArray, name: str) -> xr.DataArray:
    """The array as (time, asset) with unique labels."""
    if not isinstance(values, xr.DataArray) or set(values.dims) != {"time", "asset"}:
        found = f"dims {values.dims}" if isinstance(values, xr.DataArray) else type(values).__name__
        raise AlignmentError(
            f"{name} must be a DataArray with dims (time, asset): found {found}. "
            'Forecasts of a fit are expected_returns(fit, panel)["mean"].'
        )
    for dim in ("time", "asset"):
        if dim not in values.indexes:
            raise AlignmentError(f"{name} must carry labels of dimension {dim!r}, by which it is joined.")
        repeated = values.indexes[dim][values.indexes[dim].duplicated()]
        if len(repeated):
            raise DuplicateKeyError(
                f"{name} must have each label of {dim!r} once: repeated {first_three(map(_label, repeated))}."
            )
    return values.transpose("time", "asset")


def _cells(values: xr.DataArray, where: np.ndarray[Any, np.dtype[np.bool_]]) -> list[tuple[str, str]]:
    """Labels (time, asset) of the marked cells."""
    times, assets = values.indexes["time"], values.indexes["asset"]
    return [(_day(times[row]), str(assets[column])) for row, column in np.argwhere(where)]


def _by_month(values: xr.DataArray, metric: str, count: xr.DataArray) -> xr.DataArray:
    """One number a month with the attributes of the metric."""
    values.attrs = {"metric": metric, "units": "decimal per period", **_window(count)}
    return values.rename(metric)


def _r2_attrs(metric: str, benchmark: Benchmark, count: xr.DataArray) -> dict[str, Any]:
    """Attributes of a predictive R2."""
    return {"metric": metric, "benchmark": benchmark, "units": "share of 1", **_window(count)}


def _window(count: xr.DataArray) -> dict[str, Any]:
    """Which months and how many stock-months a metric was computed on."""
    months = count.indexes["time"]
    return {
        "n_months": len(months),
        "n_stock_months": int(count.sum()),
        "first_month": _day(months.min()),
        "last_month": _day(months.max()),
    }


def _day(when: Any) -> str:
    """A date as 2016-06-30."""
    return str(np.datetime64(when, "D"))


def _label(value: Any) -> str:
    """A label of either dimension as text."""
    return _day(value) if hasattr(value, "year") else str(value)
