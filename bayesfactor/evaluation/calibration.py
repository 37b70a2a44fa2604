"""Whether the bands of forecasts are as wide as they say, and whose forecasts come nearer to the returns.

Read from stored forecasts alone. A month is one observation: its stocks share its shocks, so a month in which half
of them fall out of their bands is one bad month and not a hundred bad forecasts. Every number here is a mean over
months, each month a mean over its stocks, with errors from the spread of months (``standard_errors``).

A stock-month counts where its return is observed; there every forecast must be finite, and nothing is dropped to
make it so. Months without any return (the live one) are left out, and their number is stated.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import xarray as xr

from bayesfactor.errors import ComparisonWarning, DataError, first_three
from bayesfactor.evaluation.compare import CLEAR
from bayesfactor.evaluation.matching import (
    FEW_MONTHS,
    SOME_MONTHS,
    StoredForecasts,
    calendar_months,
    day,
    require_forecasts,
    require_history,
    require_named,
    require_one_protocol,
    sample_words,
    status_note,
    worst_status,
)
from bayesfactor.evaluation.standard_errors import (
    errors_of_sum,
    prob_positive_sum,
    se_of_sum,
    share_interval,
)

Array = np.ndarray[Any, np.dtype[np.float64]]
Loss = Literal["crps", "interval_score", "squared_error"]

LEVELS = (0.5, 0.8, 0.9, 0.95)
SIGNIFICANT = 0.05  # of the joint test of uniformity
ASPECTS = {  # of the PIT: what a positive and a negative mean say of the forecasts
    "location": ("too low", "too high"),
    "spread": ("too narrow", "too wide"),
    "skew": ("too thin in the upper tail", "too thin in the lower tail"),
    "tails": ("too thin in both tails", "too fat in both tails"),
}


def forecast_calibration(
    forecasts: StoredForecasts, levels: Sequence[float] = LEVELS, *, bins: int = 10, prob: float = 0.95
) -> xr.Dataset:
    """How the predictive distributions of stored forecasts compare with the returns that came.

    With ``u_it = F_it(r_it)``, the predictive cdf at the return (PIT), forecasts are calibrated if u is uniform.
    Stocks of a month share its shocks, so their u do not scatter evenly within a month even then; over months they
    do. Tested are the four lowest moments by which a distribution on [0, 1] can fail to be uniform (Neyman 1937:
    orthonormal Legendre polynomials in ``2 u - 1``, here each month's mean over stocks):

        location sqrt(3) x,  spread sqrt(5)/2 (3 x^2 - 1),  skew sqrt(7)/2 (5 x^3 - 3 x),
        tails (3/8) (35 x^4 - 30 x^2 + 3),      x = 2 u - 1

    each with expectation 0 and variance 1 under uniformity. A chi-square test of the histogram over stock-months
    would reject nearly every honest forecast. ``p_value`` in attrs is four times the smallest of the four (Bonferroni).

    Parameters
    ----------
    forecasts : Forecasts, as ``walk_forward`` makes them; decimal per period.
    levels : probabilities inside central intervals, whose ends must be among the stored quantiles.
    bins : bins of the histogram of u.
    prob : probability inside the intervals of shares and means given here.

    Returns
    -------
    Dataset over `level`, `time` (months with returns), `bin`, `aspect`:

    - coverage (level): mean over months of the share of stocks inside.
    - coverage_lower, coverage_upper (level): its interval (``share_interval``).
    - coverage_by_month (level, time).
    - pit_share (bin), pit_share_lower, pit_share_upper; pit_by_month (time, bin) shares, pit_mean (time).
    - deviation (aspect): mean of the moments above; deviation_se, deviation_p (two-sided; NaN under 24 months).
    - crps (), crps_se, crps_by_month (time): decimal per period, smaller is better.
    - interval_score (level), interval_score_se, interval_score_by_month: alike.
    - n_assets (time).

    Coordinates bin_lower, bin_upper (bin). attrs: verdict ("INCONCLUSIVE" under 24 calendar months; "not calibrated:
    too narrow" and the like, when p_value < .05; "no departure found"), p_value, prob, units, n_periods, n_months,
    n_stock_months, n_live_months, sample, first_month, last_month, frequency, name, status.

    Raises
    ------
    DataError
        If a level has no stored quantiles, or an observed return lacks a finite forecast.
    EmptyWindowError
        If fewer than 3 calendar months have a return.
    """
    require_forecasts({"forecasts": forecasts})
    _require_share("prob", prob)
    if bins < 2:
        raise DataError(f"a histogram needs at least 2 bins: found {bins}.")
    data, months = _observed(forecasts)
    counted = data["realised"].notnull()
    count = counted.sum("asset").to_numpy()
    realised = data["realised"].to_numpy()
    u = _finite(data, "pit")
    if np.nanmin(u) < 0.0 or np.nanmax(u) > 1.0:
        raise DataError(f"a PIT lies between 0 and 1: found {np.nanmin(u):.3g} to {np.nanmax(u):.3g}.")
    ends = [_interval(data, level) for level in levels]
    inside = [np.where(counted, (lower <= realised) & (realised <= upper), np.nan) for lower, upper in ends]
    shares = np.array([np.nanmean(one, axis=1) for one in inside]).reshape(len(ends), len(months))
    winkler = np.array([_interval_score(realised, *end, level) for end, level in zip(ends, levels, strict=True)])
    winkler = np.nanmean(winkler.reshape(len(ends), *realised.shape), axis=2)
    edges = np.linspace(0.0, 1.0, bins + 1)
    place = np.clip(np.floor(u * bins), 0, bins - 1)
    histogram = np.stack([np.nansum(place == one, axis=1) / count for one in range(bins)], axis=1)
    moments = np.stack([np.nanmean(one, axis=1) for one in _moments(u)])
    crps = np.nanmean(_finite(data, "crps"), axis=1)
    few = calendar_months(months) < FEW_MONTHS
    p_values = np.array([_two_sided(one) for one in moments])
    p_value = float(min(1.0, len(p_values) * p_values.min()))
    covered, in_bin = (
        np.array([share_interval(one, int(count.sum()), prob) for one in given]).reshape(-1, 2).T
        for given in (shares, histogram.T)
    )
    result = xr.Dataset(
        {
            "coverage": ("level", shares.mean(axis=1)),
            "coverage_lower": ("level", covered[0]),
            "coverage_upper": ("level", covered[1]),
            "coverage_by_month": (("level", "time"), shares),
            "pit_share": ("bin", histogram.mean(axis=0)),
            "pit_share_lower": ("bin", in_bin[0]),
            "pit_share_upper": ("bin", in_bin[1]),
            "pit_by_month": (("time", "bin"), histogram),
            "pit_mean": ("time", np.nanmean(u, axis=1)),
            "deviation": ("aspect", moments.mean(axis=1)),
            "deviation_se": ("aspect", [_se_of_mean(one) for one in moments]),
            "deviation_p": ("aspect", np.full(len(p_values), np.nan) if few else p_values),
            "crps": ((), crps.mean()),
            "crps_se": ((), _se_of_mean(crps)),
            "crps_by_month": ("time", crps),
            "interval_score": ("level", winkler.mean(axis=1)),
            "interval_score_se": ("level", [_se_of_mean(one) for one in winkler]),
            "interval_score_by_month": (("level", "time"), winkler),
            "n_assets": ("time", count),
        },
        coords={
            "level": list(levels),
            "time": months,
            "bin": np.arange(bins),
            "bin_lower": ("bin", edges[:-1]),
            "bin_upper": ("bin", edges[1:]),
            "aspect": list(ASPECTS),
        },
    )
    result.attrs = {
        "verdict": _verdict(moments.mean(axis=1), p_values, few=few),
        "p_value": np.nan if few else p_value,
        "prob": prob,
        "name": str(forecasts.data.attrs.get("name", "")),
        "status": worst_status(forecasts.windows),
        **_sample(forecasts, months, int(count.sum())),
    }
    return result


def compare_forecasts(
    forecasts: Mapping[str, StoredForecasts], *, loss: Loss = "crps", level: float = 0.9
) -> pd.DataFrame:
    """Compare stored forecasts by a loss of each stock-month, for forecasters with or without a density.

    With ``d_t`` the difference of two forecasters in a month, each the mean over the month's stocks, the mean of d_t
    is judged by its spread over months (Diebold and Mariano 1995, with the errors of ``compare_scores``).

    Parameters
    ----------
    forecasts : two or more Forecasts by name, of the same panel, windows, months and stocks.
    loss : "crps" (continuous ranked probability score of the whole distribution), "interval_score" (width of the
        central interval plus ``2 / (1 - level)`` times what falls outside; Gneiting, Raftery 2007, eq. 43) or
        "squared_error" of the mean.
    level : probability inside the interval of "interval_score".

    Returns
    -------
    DataFrame by `model`, smallest loss first: loss and se (mean over months and its error), loss_diff (loss minus the
    best model's, 0 for the best) and diff_se, prob_better (probability that the model predicts better than the best
    OTHER model; NaN under 24 calendar months), warnings. In decimal per period, squared for "squared_error". attrs:
    verdict, loss, level, units, n_periods, n_months, n_stock_months, n_live_months, sample, first_month, last_month.

    Raises
    ------
    ComparisonError
        If there are fewer than two, or panel, windows, months or stocks differ.
    DataError
        If the loss does not exist, its quantiles are not stored, or an observed return lacks a finite forecast.
    EmptyWindowError
        If fewer than 3 calendar months have a return.

    Warns
    -----
    ComparisonWarning
        For each text in the column `warnings`.
    """
    require_named(forecasts)
    require_one_protocol(forecasts)
    if loss not in get_args(Loss):
        raise DataError(f"loss must be one of {', '.join(get_args(Loss))}: found {loss!r}.")
    by_month, sample, months = {}, {}, pd.DatetimeIndex([])
    for name, one in forecasts.items():
        data, months = _observed(one)
        by_month[name] = np.nanmean(_losses(data, loss, level), axis=1)
        sample = _sample(one, months, int(data["realised"].notnull().sum()))
    names = sorted(by_month, key=lambda name: float(by_month[name].mean()))
    losses = np.column_stack([by_month[name] for name in names])
    differences = losses - losses[:, :1]
    few = calendar_months(months) < FEW_MONTHS
    better = [prob_positive_sum(float(-column.sum()), errors_of_sum(column)) for column in differences.T[1:]]
    table = pd.DataFrame(
        {
            "loss": losses.mean(axis=0),
            "se": [_se_of_mean(column) for column in losses.T],
            "loss_diff": differences.mean(axis=0),
            "diff_se": [_se_of_mean(column) for column in differences.T],
            "prob_better": np.nan if few else np.array([1.0 - better[0], *better]),
        },
        index=pd.Index(names, name="model"),
    )
    texts = _texts(table, calendar_months(months), sample["sample"], forecasts)
    table["warnings"] = ["; ".join(texts[name]) for name in names]
    clear = bool((table["prob_better"].iloc[1:] <= 1.0 - CLEAR).all())
    table.attrs |= sample
    table.attrs["verdict"] = (
        "INCONCLUSIVE" if few else f"{names[0]} predicts better" if clear else "no clear difference"
    )
    table.attrs["loss"] = loss
    if loss == "interval_score":
        table.attrs["level"] = level
    if loss == "squared_error":
        table.attrs["units"] = "squared decimal per period"
    for text in dict.fromkeys(text for lines in texts.values() for text in lines):
        about = ", ".join(name for name in names if text in texts[name])
        warnings.warn(f"{text} ({about})", ComparisonWarning, stacklevel=2)
    return table


# --- arithmetic -----------------------------------------------------------------------------------


def _moments(u: Array) -> list[Array]:
    """The orthonormal Legendre polynomials of degree 1 to 4 at ``2 u - 1``."""
    return [
        np.sqrt(2 * degree + 1) * np.polynomial.legendre.Legendre.basis(degree)(2 * u - 1)
        for degree in range(1, len(ASPECTS) + 1)
    ]


def _se_of_mean(months: Array) -> float:
    return se_of_sum(errors_of_sum(months)) / len(months)


def _two_sided(months: Array) -> float:
    """p-value of a mean of zero."""
    positive = prob_positive_sum(float(months.sum()), errors_of_sum(months))
    return 2.0 * min(positive, 1.0 - positive)


def _losses(data: xr.Dataset, loss: Loss, level: float) -> Array:
    """Loss (time, asset), NaN where no return is observed."""
    if loss == "crps":
        return _finite(data, "crps")
    realised = data["realised"].to_numpy()
    if loss == "squared_error":
        return (realised - _finite(data, "mean")) ** 2
    return _interval_score(realised, *_interval(data, level), level)


def _interval_score(realised: Array, lower: Array, upper: Array, level: float) -> Array:
    from scoringrules import interval_score  # late: slow to import

    return np.asarray(interval_score(realised, lower, upper, 1.0 - level))


def _verdict(deviation: Array, p_values: Array, *, few: bool) -> str:
    """What the test says, in words about the forecasts."""
    if few:
        return "INCONCLUSIVE"
    wrong = [
        words[0 if mean > 0 else 1]
        for words, mean, p in zip(ASPECTS.values(), deviation, p_values, strict=True)
        if len(p_values) * p < SIGNIFICANT
    ]
    return f"not calibrated: {', '.join(wrong)}" if wrong else "no departure found"


# --- what is read ---------------------------------------------------------------------------------


def _observed(forecasts: StoredForecasts) -> tuple[xr.Dataset, pd.DatetimeIndex]:
    """The data of months with a return, in calendar order."""
    months = require_history(forecasts)
    return forecasts.data.sel(time=months).transpose("time", "asset", ...), months


def _finite(data: xr.Dataset, name: str, values: xr.DataArray | None = None) -> Array:
    """A variable (time, asset) where returns are observed, NaN elsewhere; refused if it is not finite there."""
    chosen = (data[name] if values is None else values).where(data["realised"].notnull())
    found = np.asarray(chosen.transpose("time", "asset").to_numpy(), dtype=float)
    bad = np.argwhere(data["realised"].notnull().to_numpy() & ~np.isfinite(found))
    if len(bad):
        times, assets = data.indexes["time"], data.indexes["asset"]
        cells = [(day(times[row]), str(assets[column])) for row, column in bad]
        raise DataError(
            f"every observed return needs a finite {name}: none at {first_three(cells)}. Usually a window that failed: "
            "see forecasts.windows."
        )
    return found


def _interval(data: xr.Dataset, level: float) -> tuple[Array, Array]:
    """Ends of the central interval that is to hold `level`, from the stored quantiles."""
    _require_share("level", level)
    stored = data["quantile"].to_numpy()
    ends = []
    for wanted in (0.5 - level / 2, 0.5 + level / 2):
        near = int(np.abs(stored - wanted).argmin())
        if abs(stored[near] - wanted) > 1e-9:
            possible = sorted({round(float(abs(2 * q - 1)), 10) for q in stored if np.isclose(stored, 1 - q).any()})
            raise DataError(
                f"a central interval of {level:g} needs the quantile {wanted:g}: stored are "
                f"{', '.join(f'{q:g}' for q in stored)}. Possible levels: "
                f"{', '.join(f'{one:g}' for one in possible if one)}."
            )
        ends.append(_finite(data, "quantiles", data["quantiles"].isel(quantile=near)))
    lower, upper = ends
    if (lower > upper).any():
        row, column = np.argwhere(lower > upper)[0]
        raise DataError(
            f"quantiles must rise with their probability: the interval of {level:g} is upside down at "
            f"({day(data.indexes['time'][row])}, {data.indexes['asset'][column]})."
        )
    return lower, upper


def _require_share(name: str, value: float) -> None:
    if not 0.0 < value < 1.0:
        raise DataError(f"{name} must lie between 0 and 1: found {value!r}. 95% is {name}=0.95.")


def _sample(forecasts: StoredForecasts, months: pd.DatetimeIndex, n_stock_months: int) -> dict[str, Any]:
    frequency = str(forecasts.data.attrs.get("frequency", "monthly"))
    return {
        "units": "decimal per period",
        "frequency": frequency,
        "n_periods": len(months),
        "n_months": calendar_months(months),
        "n_stock_months": n_stock_months,
        "n_live_months": forecasts.data.sizes["time"] - len(months),
        "sample": sample_words(months, frequency),
        "first_month": day(months[0]),
        "last_month": day(months[-1]),
    }


def _texts(
    table: pd.DataFrame, months: int, sample: str, forecasts: Mapping[str, StoredForecasts]
) -> dict[str, list[str]]:
    """Warnings of each model."""
    general: list[str] = []
    if months < FEW_MONTHS:
        general = [f"INCONCLUSIVE: {sample}, fewer than {FEW_MONTHS}"]
    elif months < SOME_MONTHS:
        general = [f"{sample}, fewer than {SOME_MONTHS}"]
    notes = {name: status_note(one.windows) for name, one in forecasts.items()}
    return {str(name): [*general, *([notes[str(name)]] if notes[str(name)] else [])] for name in table.index}
