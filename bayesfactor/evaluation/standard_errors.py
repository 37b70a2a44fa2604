"""Standard errors of a sum over months.

Stocks of one month share its shocks, so the month is the unit of replication: the errors here come from the
spread of month totals, never from stock-months, whose intervals cover far less than they claim.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]


def clustered_se(totals: Array) -> float:
    """Standard error of a sum of independent months: ``sd(totals) * sqrt(T)``, sd with T - 1."""
    return float(np.std(totals, ddof=1) * np.sqrt(len(totals)))


def hac_se(totals: Array) -> float:
    """Standard error of a sum of dependent months (Newey, West 1987: Bartlett weights).

    The variance is ``T * (c_0 + 2 sum_{l=1}^L (1 - l/(L+1)) c_l) * T/(T-1)`` with ``c_l = (1/T) sum_t e_t
    e_{t-l}`` of the centred totals in calendar order; never negative. A calendar gap counts as one step.
    """
    months = len(totals)
    centred = totals - totals.mean()
    lag = hac_lag(months)
    covariances = np.array([centred[step:] @ centred[: months - step] / months for step in range(lag + 1)])
    bartlett = 1.0 - np.arange(lag + 1) / (lag + 1)
    long_run = covariances[0] + 2.0 * bartlett[1:] @ covariances[1:]
    return float(np.sqrt(max(long_run, 0.0) * months * months / (months - 1)))


def hac_lag(months: int) -> int:
    """Automatic lag ``floor(4 (T/100)^(2/9))``, at least 1 and below T (Newey, West 1994)."""
    return min(max(int(4.0 * (months / 100.0) ** (2.0 / 9.0)), 1), months - 1)


def se_of_sum(totals: Array) -> float:
    """The larger of ``clustered_se`` and ``hac_se``: what ``compare`` reports."""
    return max(clustered_se(totals), hac_se(totals))
