r"""Are ranks uniform, is coverage what it claims: tests with simultaneous bands.

The ECDF of ``n`` ranks is compared with that of a uniform law at all points at once (Saeilynoja, Buerkner and Vehtari,
2022): the statistic is the smallest pointwise binomial tail, its law under uniformity is simulated.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

SIMULATIONS = 20_000
COVERAGE_LEVEL = 0.999


def smallest_tail(counts: NDArray[np.int64], n: int) -> NDArray[np.float64]:
    """Smallest pointwise binomial tail probability of the ECDF of ranks, over its points.

    Parameters
    ----------
    counts : (..., value) how many of the n ranks took each value.
    n : number of ranks.

    Returns
    -------
    (...) between 0 and 1/2 or a little more; small where the ECDF strays.
    """
    n_values = counts.shape[-1]
    below = np.cumsum(counts, axis=-1)[..., :-1]
    return np.asarray(_tails(n, n_values)[below, np.arange(n_values - 1)].min(axis=-1))


@lru_cache(maxsize=8)
def _tails(n: int, n_values: int) -> NDArray[np.float64]:
    """The smaller binomial tail (count 0 to n, point) of so many ranks at or below each point."""
    share = np.arange(1, n_values) / n_values
    k = np.arange(n + 1)[:, None]
    return np.minimum(stats.binom.cdf(k, n, share), stats.binom.sf(k - 1, n, share))


@lru_cache(maxsize=8)
def _null(n: int, n_values: int) -> NDArray[np.float64]:
    """`smallest_tail` of uniform ranks (simulation,), sorted."""
    counts = np.random.default_rng(0).multinomial(n, np.full(n_values, 1 / n_values), SIMULATIONS)
    return np.sort(smallest_tail(counts, n))


def uniformity(ranks: NDArray[np.int64], largest: int) -> float:
    """p-value of uniform ranks.

    Parameters
    ----------
    ranks : (fit,) from 0 to `largest`.
    largest : number of draws that the truth was ranked among.
    """
    counts = np.bincount(ranks, minlength=largest + 1)
    null = _null(len(ranks), largest + 1)
    observed = smallest_tail(counts, len(ranks))
    return float((1 + np.searchsorted(null, observed, side="right")) / (1 + len(null)))


def envelope(n: int, largest: int, alpha: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Simultaneous band of the ECDF of `n` uniform ranks: all of it is inside with probability ``1 - alpha``.

    Returns
    -------
    lower, upper : (point,) share of ranks at or below 0, 1, ..., largest - 1.
    """
    gamma = float(np.quantile(_null(n, largest + 1), alpha, method="lower"))
    share = np.arange(1, largest + 1) / (largest + 1)
    # Of the counts whose smaller tail is not below gamma, the smallest and the largest.
    inside = _tails(n, largest + 1) >= gamma
    lower = inside.argmax(axis=0)
    upper = n - inside[::-1].argmax(axis=0)
    none = ~inside.any(axis=0)  # only where n is tiny
    middle = np.round(n * share)
    return np.where(none, middle, lower) / n, np.where(none, middle, upper) / n


def level_of_each(family_wise: float, n_quantities: int) -> float:
    """Level of one test of so many (Sidak): ``1 - (1 - alpha)^(1/m)``."""
    return float(1 - (1 - family_wise) ** (1 / max(n_quantities, 1)))


def coverage_interval(n: int, prob: float, level: float = COVERAGE_LEVEL) -> tuple[float, float]:
    """Shares inside the band that a true coverage of `prob` gives with this probability (binomial)."""
    if not n:
        return 0.0, 1.0
    low, high = stats.binom.interval(level, n, prob)
    return float(low / n), float(high / n)
