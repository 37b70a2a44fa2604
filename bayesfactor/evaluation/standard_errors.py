"""Errors, probabilities and intervals of a sum or a mean over months.

Stocks of one month share its shocks, so the month is the unit of replication: the errors here come from the
spread of month totals, never from stock-months, whose intervals cover far less than they claim.

Two errors are computed, one right when months are independent and one when neighbouring months depend on each
other, and of the two the more cautious answer is given. Each error is itself estimated from T months, hence has
degrees of freedom, and probabilities are Student-t with them (docs/decisions/0012).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

Array = np.ndarray[Any, np.dtype[np.float64]]

HAC_BANDWIDTH = 1.3  # times the root of the number of months: Lazarus, Lewis, Stock, Watson (2018)


class SumError(NamedTuple):
    """Standard error of a sum over months, and the degrees of freedom with which it is known."""

    se: float
    df: float


def clustered_error(totals: Array) -> SumError:
    """Error of a sum of independent months: ``sd(totals) sqrt(T)``, sd with T - 1, which are its degrees of freedom."""
    return SumError(float(np.std(totals, ddof=1) * np.sqrt(len(totals))), float(len(totals) - 1))


def hac_error(totals: Array, lag: int | None = None) -> SumError:
    """Error of a sum of dependent months (Newey, West 1987), with the degrees of freedom that its lag leaves.

    With ``c_l = (1/T) sum_t e_t e_{t-l}`` of the centred totals in calendar order and ``w_l = 1 - l/(L+1)``, the
    variance is ``T (c_0 + 2 sum_{l=1}^L w_l c_l) / b``; never negative. A calendar gap counts as one step. The sum
    in brackets is ``e' W e / T``, W the Toeplitz matrix of the weights and e = M x, M centring. For independent
    normal months it has mean ``b`` times the variance of a month and the law of a chi-square with

        b = tr(W M) / T,    df = tr(W M)^2 / tr(W M W M)                  (Satterthwaite)

    to second order: b takes the bias of centring out, and df is T - 1 for L = 0 and near 1.5 T / (L + 1), the
    equivalent degrees of freedom of Lazarus, Lewis, Stock and Watson (2018), for large T. L is ``hac_lag(T)`` unless
    `lag` is given.
    """
    months = len(totals)
    lag = hac_lag(months) if lag is None else lag
    centred = totals - totals.mean()
    weights = _weights(lag)
    covariances = np.array([centred[step:] @ centred[: months - step] / months for step in range(len(weights))])
    long_run = covariances[0] + 2.0 * weights[1:] @ covariances[1:]
    share, df = _share_and_df(months, weights)
    return SumError(float(np.sqrt(max(long_run, 0.0) * months / share)), df)


def hac_lag(months: int) -> int:
    """Last lag L with a weight, ``ceil(1.3 sqrt(T)) - 1`` but at least 1 and below T (Lazarus and others 2018)."""
    return min(max(int(np.ceil(HAC_BANDWIDTH * np.sqrt(months))) - 1, 1), months - 1)


def hac_share_and_df(months: int, lag: int) -> tuple[float, float]:
    """``b`` and ``df`` of ``hac_error``: what centring leaves of the variance, and its degrees of freedom."""
    return _share_and_df(months, _weights(lag))


def _weights(lag: int) -> Array:
    """Bartlett weights of lags 0 to `lag`."""
    return 1.0 - np.arange(lag + 1) / (lag + 1)


def _share_and_df(months: int, weights: Array) -> tuple[float, float]:
    """``b`` and ``df`` of ``hac_error``, from sums over the bands of W."""
    lags = np.arange(len(weights))
    in_band = np.where(lags == 0, 1, 2) * (months - lags)
    to_lag = np.cumsum(weights) - weights[0]  # sum of the weights of lags 1 to each
    before = np.minimum(np.arange(months), lags[-1])
    rows = weights[0] + to_lag[before] + to_lag[before[::-1]]  # W 1
    mean = rows.sum() / months
    trace = months * weights[0] - mean
    squares = weights**2 @ in_band - 2.0 * rows @ rows / months + mean**2
    return float(trace / months), float(trace**2 / squares)


# --- what is reported: the more cautious of the two -------------------------------------------------


def errors_of_sum(totals: Array) -> tuple[SumError, SumError]:
    """``clustered_error`` and ``hac_error`` of totals in calendar order."""
    return clustered_error(totals), hac_error(totals)


def se_of_sum(errors: Iterable[SumError]) -> float:
    """The larger of the errors: the one that is reported."""
    return max(error.se for error in errors)


def half_width(errors: Iterable[SumError], prob: float) -> float:
    """Half the width of the interval of the sum that has probability `prob`: the widest of Student-t ones."""
    return max(float(stats.t.ppf(0.5 + prob / 2, error.df)) * error.se for error in errors)


def prob_positive_sum(total: float, errors: Iterable[SumError]) -> float:
    """Probability that the expected sum is positive: of Student-t ones the nearest to one half."""
    if total == 0.0:
        return 0.5
    tail = max(float(stats.t.sf(abs(total) / error.se, error.df)) if error.se > 0 else 0.0 for error in errors)
    return 1.0 - tail if total > 0 else tail


def share_interval(shares: Array, n_counted: int, prob: float) -> tuple[float, float]:
    """Interval of the expected share, from the share of each month.

    Clopper and Pearson's interval at the number of independent trials that would be as uncertain (Korn, Graubard
    1998): ``n = p (1 - p) / v^2`` with p the mean of the months and v its clustered error, here ``half_width``
    divided by T and by the normal quantile. So the interval stays in [0, 1] and is skew near its ends, where the
    symmetric one covers too rarely. Months that all have share 0 or all 1 count as T trials.

    Parameters
    ----------
    shares : (month,) in calendar order, each between 0 and 1.
    n_counted : stock-months behind them, the most that n can be.
    prob : probability inside.

    Returns
    -------
    Lower and upper end.
    """
    months, mean = len(shares), float(shares.mean())
    error = half_width(errors_of_sum(shares), prob) / months / float(stats.norm.ppf(0.5 + prob / 2))
    trials = min(mean * (1.0 - mean) / error**2, float(n_counted)) if error > 0 else float(min(months, n_counted))
    inside = trials * mean
    lower = float(stats.beta.ppf(0.5 - prob / 2, inside, trials - inside + 1.0)) if mean > 0 else 0.0
    upper = float(stats.beta.ppf(0.5 + prob / 2, inside + 1.0, trials - inside)) if mean < 1 else 1.0
    return lower, upper
