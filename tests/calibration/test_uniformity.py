"""Bands of ranks: uniform ranks stay inside as often as promised, others leave them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bayesfactor.calibration.uniformity import (
    _null,
    coverage_interval,
    envelope,
    level_of_each,
    smallest_tail,
    uniformity,
)

RNG = np.random.default_rng(4)


def ranks_of(n: int, largest: int, *, factor: float = 1.0, shift: float = 0.0) -> np.ndarray:
    """Ranks of standard normal truths among draws of a posterior wrong by a factor or a shift."""
    truth, draws = RNG.standard_normal((n, 1)), RNG.standard_normal((n, largest))
    return np.sum(shift + factor * draws < truth, axis=1)


@pytest.mark.parametrize("alpha", [0.01, 0.1])
def test_uniform_ranks_are_rejected_as_often_as_promised(alpha: float) -> None:
    # The statistic is discrete: the size it attains is that of its simulated law, which has an error of its own.
    n, largest, studies = 60, 20, 3_000
    p = np.array([uniformity(RNG.integers(0, largest + 1, n), largest) for _ in range(studies)])
    null = _null(n, largest + 1)
    attained = np.mean((1 + np.searchsorted(null, null, side="right")) / (1 + len(null)) <= alpha)
    assert attained <= alpha
    error = np.sqrt(alpha * (1 - alpha) * (1 / studies + 1 / len(null)))
    assert abs(np.mean(p <= alpha) - attained) < 4.5 * error


def test_the_band_and_the_p_value_say_the_same() -> None:
    n, largest, alpha = 80, 25, 0.05
    lower, upper = envelope(n, largest, alpha)
    inside, p = [], []
    for factor in np.repeat([1.0, 0.8, 0.7], 100):
        ranks = ranks_of(n, largest, factor=factor)
        ecdf = np.mean(ranks[:, None] <= np.arange(largest), axis=0)
        inside.append(np.all((lower - 1e-12 <= ecdf) & (ecdf <= upper + 1e-12)))
        p.append(uniformity(ranks, largest))
    p, inside = np.array(p), np.array(inside)
    assert 30 < inside.sum() < 270
    apart = np.abs(p - alpha) > 2 / 20_000
    np.testing.assert_array_equal(inside[apart], (p >= alpha)[apart])


def test_the_statistic_is_the_smallest_binomial_tail() -> None:
    counts = np.array([3, 0, 5, 2])
    below = np.cumsum(counts)[:-1]
    tails = [
        min(stats.binom.cdf(k, 10, (i + 1) / 4), stats.binom.sf(k - 1, 10, (i + 1) / 4)) for i, k in enumerate(below)
    ]
    assert float(smallest_tail(counts, 10)) == pytest.approx(min(tails))


@pytest.mark.parametrize(("factor", "shift"), [(0.7, 0.0), (1.4, 0.0), (1.0, 0.4), (1.0, -0.4)])
def test_300_ranks_show_bands_too_narrow_too_wide_or_off(factor: float, shift: float) -> None:
    limit = level_of_each(0.01, 12)
    assert uniformity(ranks_of(300, 100, factor=factor, shift=shift), 100) < limit


def test_levels_and_coverage_intervals() -> None:
    assert 1 - (1 - level_of_each(0.01, 12)) ** 12 == pytest.approx(0.01)
    low, high = coverage_interval(300, 0.9)
    assert stats.binom.cdf(round(300 * high), 300, 0.9) - stats.binom.cdf(round(300 * low) - 1, 300, 0.9) >= 0.999
    assert (low, high) == (pytest.approx(252 / 300), pytest.approx(286 / 300))
