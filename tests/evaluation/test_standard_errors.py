"""Standard errors of a sum over months: formulas, and whether their intervals cover."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bayesfactor.evaluation.standard_errors import clustered_se, hac_lag, hac_se, se_of_sum

REPLICATIONS = 400


def _slow_hac(x: np.ndarray) -> float:
    n, lag = len(x), hac_lag(len(x))
    e = x - x.mean()
    total = sum(e[t] * e[t] for t in range(n)) / n
    for step in range(1, lag + 1):
        total += 2 * (1 - step / (lag + 1)) * sum(e[t] * e[t - step] for t in range(step, n)) / n
    return float(np.sqrt(n * total * n / (n - 1)))


@pytest.mark.parametrize("months", [3, 6, 24, 120])
def test_both_errors_are_the_slow_loops(months):
    x = np.random.default_rng(months).normal(2.0, 5.0, months)
    assert clustered_se(x) == pytest.approx(np.sqrt(months * sum((x - x.mean()) ** 2) / (months - 1)), rel=1e-13)
    assert hac_se(x) == pytest.approx(_slow_hac(x), rel=1e-12)
    assert se_of_sum(x) == max(clustered_se(x), hac_se(x))


def test_hac_lag_at_its_steps():
    assert [hac_lag(months) for months in (2, 3, 6, 24, 36, 100, 540)] == [1, 1, 2, 2, 3, 4, 5]


def test_hac_is_larger_under_persistence_and_smaller_under_reversal():
    persistent, reversing = np.repeat([1.0, -1.0] * 8, 6), np.tile([1.0, -1.0], 48)
    assert hac_se(persistent) > 1.5 * clustered_se(persistent)
    assert hac_se(reversing) < 0.7 * clustered_se(reversing)
    assert se_of_sum(reversing) == clustered_se(reversing)


def test_alternating_and_constant_months_give_no_negative_variance():
    assert hac_se(np.tile([1.0, -1.0], 2)) >= 0.0
    assert hac_se(np.ones(5)) == 0.0


def _covers(estimate: np.ndarray, error: np.ndarray, truth: float, df: int) -> float:
    return float(np.mean(np.abs(estimate - truth) <= stats.t.ppf(0.975, df) * error))


def test_month_interval_covers_and_stock_month_interval_does_not():
    """Differences d_it = m + u_t + e_it: u_t is the shock that all stocks of month t share."""
    rng, months, stocks, mean = np.random.default_rng(20), 60, 200, 0.01
    shock, noise = 0.05, 0.3
    totals, errors, naive = [], [], []
    for _ in range(REPLICATIONS):
        d = mean + rng.normal(0, shock, (months, 1)) + rng.normal(0, noise, (months, stocks))
        totals.append(d.sum())
        errors.append(se_of_sum(d.sum(axis=1)))
        naive.append(d.std(ddof=1) * np.sqrt(d.size))
    truth = mean * months * stocks
    assert 0.92 <= _covers(np.array(totals), np.array(errors), truth, months - 1) <= 0.98
    assert _covers(np.array(totals), np.array(naive), truth, months * stocks - 1) < 0.70


def test_dependent_months_need_hac():
    rng, months = np.random.default_rng(21), 120
    totals, errors, clustered = [], [], []
    for _ in range(REPLICATIONS):
        shocks = rng.normal(0, 1, months + 50)
        d = np.zeros(months + 50)
        for t in range(1, months + 50):
            d[t] = 0.5 * d[t - 1] + shocks[t]
        d = d[50:] + 0.3
        totals.append(d.sum())
        errors.append(se_of_sum(d))
        clustered.append(clustered_se(d))
    truth = 0.3 * months
    covered = _covers(np.array(totals), np.array(errors), truth, months - 1)
    assert covered >= 0.85
    assert covered > _covers(np.array(totals), np.array(clustered), truth, months - 1) + 0.05
