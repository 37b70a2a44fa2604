"""Errors of a sum over months: formulas, and whether their intervals cover."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bayesfactor.evaluation.standard_errors import (
    SumError,
    clustered_error,
    errors_of_sum,
    hac_error,
    hac_lag,
    half_width,
    prob_positive_sum,
    se_of_sum,
    share_interval,
)
from benchmarks.intervals import (
    MONTHS,
    SETTINGS,
    Law,
    expected_log_density,
    expected_pointwise,
    laws,
    log_density,
    pointwise_log_density,
    share_study,
    study,
)


def _weights(months: int) -> np.ndarray:
    """W of ``hac_error`` as a whole matrix."""
    apart = np.abs(np.subtract.outer(np.arange(months), np.arange(months)))
    return np.maximum(1.0 - apart / (hac_lag(months) + 1), 0.0)


@pytest.mark.parametrize("months", [3, 4, 6, 24, 120])
def test_both_errors_are_the_whole_quadratic_forms(months):
    x = np.random.default_rng(months).normal(2.0, 5.0, months)
    e = x - x.mean()
    centring = np.eye(months) - 1.0 / months
    product = _weights(months) @ centring
    share, df = np.trace(product) / months, np.trace(product) ** 2 / np.trace(product @ product)
    clustered, hac = errors_of_sum(x)
    assert clustered.se == pytest.approx(np.sqrt(months * sum(e**2) / (months - 1)), rel=1e-13)
    assert clustered.df == months - 1
    assert hac.se == pytest.approx(np.sqrt(e @ _weights(months) @ e / share), rel=1e-12)
    assert hac.df == pytest.approx(df, rel=1e-10)
    assert se_of_sum([clustered, hac]) == max(clustered.se, hac.se)


def test_degrees_of_freedom_are_the_equivalent_ones_of_bartlett_weights_for_long_samples():
    for months, tolerance in ((540, 0.07), (5000, 0.03), (20_000, 0.015)):
        assert hac_error(np.arange(float(months))).df == pytest.approx(
            1.5 * months / (hac_lag(months) + 1), rel=tolerance
        )


def test_hac_lag_at_its_steps():
    assert [hac_lag(months) for months in (2, 3, 6, 24, 60, 120, 540)] == [1, 2, 3, 6, 10, 14, 30]


def test_the_error_of_independent_months_is_unbiased_and_its_spread_is_that_of_its_degrees_of_freedom():
    rng, months, replications = np.random.default_rng(3), 24, 20_000
    found = np.array([hac_error(x).se ** 2 for x in rng.standard_normal((replications, months))]) / months
    df = hac_error(np.arange(24.0)).df
    assert found.mean() == pytest.approx(1.0, abs=5 * np.sqrt(2 / df / replications))
    assert found.var() == pytest.approx(2 / df, rel=0.15)


def test_hac_is_larger_under_persistence_and_smaller_under_reversal():
    persistent, reversing = np.repeat([1.0, -1.0], 48), np.tile([1.0, -1.0], 48)
    assert hac_error(persistent).se > 1.5 * clustered_error(persistent).se
    assert hac_error(reversing).se < 0.7 * clustered_error(reversing).se
    assert se_of_sum(errors_of_sum(reversing)) == clustered_error(reversing).se


def test_alternating_and_constant_months_give_no_negative_variance():
    assert hac_error(np.tile([1.0, -1.0], 2)).se >= 0.0
    assert hac_error(np.ones(5)).se == 0.0


def test_the_more_cautious_of_two_probabilities_and_intervals():
    narrow_but_unsure, wide_but_sure = SumError(1.0, 2.0), SumError(1.5, 100.0)
    both = (narrow_but_unsure, wide_but_sure)
    assert half_width(both, 0.95) == pytest.approx(stats.t.ppf(0.975, 2.0))
    assert half_width(both, 0.50) == pytest.approx(1.5 * stats.t.ppf(0.75, 100.0))
    for total in (0.5, 3.0, 8.0):
        cautious = min(stats.t.cdf(total, 2.0), stats.t.cdf(total / 1.5, 100.0))
        assert prob_positive_sum(total, both) == pytest.approx(cautious, abs=1e-14)
        assert prob_positive_sum(-total, both) == pytest.approx(1 - cautious, abs=1e-14)
    assert prob_positive_sum(0.0, both) == 0.5


def test_interval_and_probability_say_the_same():
    for seed in range(20):
        x = np.random.default_rng(seed).normal(0.3, 1.0, 40)
        errors = errors_of_sum(x)
        prob = prob_positive_sum(float(x.sum()), errors)
        inside = 2 * abs(prob - 0.5)
        assert half_width(errors, inside) == pytest.approx(abs(x.sum()), rel=1e-9)


def test_months_without_any_spread_are_certain_and_a_sum_of_zero_is_a_coin_toss():
    assert prob_positive_sum(1.0, errors_of_sum(np.full(4, 0.25))) == 1.0
    assert prob_positive_sum(-1.0, errors_of_sum(np.full(4, -0.25))) == 0.0
    assert prob_positive_sum(0.0, errors_of_sum(np.zeros(4))) == 0.5


# --- coverage -----------------------------------------------------------------------------------------------
# The bounds are those of a coverage of exactly 92, 98 or 88%, one in ten thousand samples beyond them; a way that
# must fail is held to far below.


def _at_least(coverage: float, replications: int) -> float:
    return float(stats.binom.ppf(1e-4, replications, coverage)) / replications


def _at_most(coverage: float, replications: int) -> float:
    return float(stats.binom.ppf(1 - 1e-4, replications, coverage)) / replications


@pytest.mark.parametrize(("n_stocks", "replications", "naive"), [(200, 600, 0.6), (1000, 300, 0.4)])
@pytest.mark.parametrize("what", ["means", "shocks, volatile months"])
def test_intervals_of_score_differences_cover_with_common_shocks_and_pointwise_ones_do_not(
    n_stocks, replications, naive, what
):
    found = study(n_stocks, SETTINGS[what], (60,), replications, seed=20)
    covered = found["60, reported"]["coverage"]
    assert _at_least(0.92, replications) <= covered <= _at_most(0.98, replications)
    assert found["60, pointwise"]["coverage"] < naive


def test_intervals_cover_when_months_depend_on_each_other_and_clustered_ones_do_not():
    replications = 600
    found = study(200, SETTINGS["means, AR(0.5)"], (24, 120), replications, seed=21)
    for months in (24, 120):
        assert found[f"{months}, reported"]["coverage"] >= _at_least(0.88, replications)
        assert found[f"{months}, clustered alone"]["coverage"] < 0.82
        assert found[f"{months}, fewer lags, T - 1"]["coverage"] < found[f"{months}, reported"]["coverage"]
    assert max(MONTHS) == 240  # the page has them all


def test_the_scores_of_the_study_are_normal_log_densities_and_their_expectations_are_right():
    truth, other = laws(12, "shocks", seed=4)
    other = Law(other.mean + 0.01, other.loadings, 0.11)
    covariance = truth.loadings @ truth.loadings.T + truth.noise**2 * np.eye(12)
    own = other.loadings @ other.loadings.T + other.noise**2 * np.eye(12)
    r = np.random.default_rng(5).multivariate_normal(truth.mean, covariance, 200_000)
    exact = stats.multivariate_normal(other.mean, own).logpdf(r)
    np.testing.assert_allclose(log_density(other, r), exact, rtol=1e-10)
    assert exact.mean() == pytest.approx(expected_log_density(truth, other), abs=5 * exact.std() / np.sqrt(len(r)))
    points = pointwise_log_density(other, r).sum(axis=1)
    assert points.mean() == pytest.approx(expected_pointwise(truth, other), abs=5 * points.std() / np.sqrt(len(r)))


# --- shares -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95])
@pytest.mark.parametrize("months", [24, 120])
def test_intervals_of_shares_cover_with_common_shocks_and_iid_ones_do_not(level, months):
    replications = 800
    found = share_study(level, 0.3, months, replications, seed=30)
    assert _at_least(0.92, replications) <= found["reported"] <= _at_most(0.98, replications)
    assert found["pointwise"] < 0.6


def test_interval_of_a_share_is_clopper_and_pearsons_when_stocks_are_as_good_as_independent():
    shares = np.tile([0.88, 0.92], 30)  # alternating: less spread over months than 10 independent stocks have
    lower, upper = share_interval(shares, 600, 0.95)
    exact = stats.binomtest(540, 600).proportion_ci(0.95, "exact")
    assert (lower, upper) == pytest.approx((exact.low, exact.high), rel=1e-9)


@pytest.mark.parametrize(("share", "ends"), [(1.0, (0.025 ** (1 / 36), 1.0)), (0.0, (0.0, 1 - 0.025 ** (1 / 36)))])
def test_months_that_are_all_inside_or_all_outside_are_no_certainty(share, ends):
    assert share_interval(np.full(36, share), 36 * 50, 0.95) == pytest.approx(ends, rel=1e-9)
