"""The collapse check: it fires when a clear linear signal is lost, and never where there is none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import bayesfactor as bf
from bayesfactor.inference.collapse import CLEAR, KEPT, linear_signal, month_sums, share_kept
from bayesfactor.inference.collapse import of_collapse as _collapse
from bayesfactor.panel import PanelArrays

MONTHS, STOCKS, SIZE = 60, 40, 4
LINEAR = {
    pooling: bf.FundamentalFactorModel(hidden=(), noise="normal", pooling=pooling) for pooling in ("full", "partial")
}
SLOPES = np.array([0.03, -0.02, 0.0, 0.01])


def economy(seed, slopes=SLOPES, variation=0.0):
    """Ragged months of returns with sd 0.1; slopes move by month with sd `variation`."""
    rng = np.random.default_rng(seed)
    z = rng.uniform(-1, 1, (MONTHS, STOCKS, SIZE)).astype(np.float32)
    seen = rng.random((MONTHS, STOCKS)) < 0.9
    by_month = slopes + variation * rng.standard_normal((MONTHS, SIZE))
    r = np.einsum("tnk,tk->tn", z, by_month) + 0.05 * rng.standard_normal((MONTHS, 1))
    r = (r + 0.1 * rng.standard_normal(r.shape)).astype(np.float32)
    slot = np.broadcast_to(np.arange(STOCKS, dtype=np.int32), seen.shape)
    return PanelArrays(z, r, seen, seen, slot, np.ones(SIZE, np.float32), np.float32(0.1), np.float32(12))


def posterior(slopes, n_draws=50):
    """Draws around these slopes, as wide as a prior."""
    draws = np.concatenate([[0.0], slopes]) + 0.01 * np.random.default_rng(0).standard_normal((2, n_draws, SIZE + 1))
    return {"slope_mean": (draws - draws.mean(axis=(0, 1)) + np.concatenate([[0.0], slopes])).astype(np.float32)}


def test_pooled_slopes_are_those_of_a_regression_with_month_effects():
    arrays = economy(0)
    dummies = np.repeat(np.eye(MONTHS), STOCKS, axis=0)[arrays.observed.ravel()]
    x = np.column_stack([arrays.characteristics[arrays.observed], dummies]).astype(float)
    want = np.linalg.lstsq(x, arrays.returns[arrays.observed].astype(float), rcond=None)[0][:SIZE]
    np.testing.assert_allclose(linear_signal(month_sums(arrays), np.inf, by_month=False).slopes, want, rtol=1e-6)


def test_a_month_without_variation_tells_nothing():
    """`rank_normalise` sets a characteristic that is constant or missing for all to zero."""
    arrays = economy(0)
    still = arrays._replace(characteristics=np.where(np.arange(MONTHS)[:, None, None] == 7, 0, arrays.characteristics))
    without = PanelArrays(*(np.delete(leaf, 7, axis=0) if np.ndim(leaf) > 1 else leaf for leaf in arrays))
    found, want = (linear_signal(month_sums(some), 0.01, by_month=True) for some in (still, without))
    np.testing.assert_allclose(found.slopes, want.slopes, rtol=1e-9)
    assert found.p_value == pytest.approx(want.p_value)


@pytest.mark.parametrize(("by_month", "variation"), [(False, 0.0), (True, 0.0), (True, 0.05)])
def test_p_values_of_pure_noise_are_uniform(by_month, variation):
    """Slopes that only move by month are no signal to the test by month."""
    found = [
        linear_signal(month_sums(economy(seed, 0 * SLOPES, variation)), 0.01, by_month=by_month).p_value
        for seed in range(200)
    ]
    for level in (0.05, 0.2, 0.5):
        error = np.sqrt(level * (1 - level) / len(found))
        assert np.mean(np.array(found) < level) < level + 4 * error


def window(arrays: PanelArrays) -> Any:
    """What the check reads of a window."""
    return SimpleNamespace(
        panel=SimpleNamespace(periods_per_year=12),
        times=np.arange(len(arrays.returns)),
        n_observed=arrays.observed.sum(axis=1),
        constant=np.zeros(arrays.characteristics.shape[-1], bool),
        blocks=lambda: (arrays,),
    )


@pytest.mark.parametrize("pooling", ["full", "partial"])
def test_a_lost_signal_fails_and_a_kept_one_does_not(pooling):
    arrays = economy(1)
    lost = _collapse(LINEAR[pooling], window(arrays), posterior(0 * SLOPES))
    assert lost.status == "failed"
    assert "the guide has collapsed" in lost.reasons[0]
    assert "keeps 0% of it" in lost.reasons[0]
    assert _collapse(LINEAR[pooling], window(arrays), posterior(SLOPES)).status == "ok"
    assert _collapse(LINEAR[pooling], window(economy(1, 0 * SLOPES)), posterior(0 * SLOPES)).status == "ok"


def test_the_share_at_its_boundary():
    arrays = economy(2)
    signal = linear_signal(month_sums(arrays), LINEAR["full"].slope_sd, by_month=False)
    assert signal.p_value < CLEAR
    for share, status in ((KEPT - 0.01, "failed"), (KEPT + 0.01, "ok"), (-1.0, "failed")):
        assert _collapse(LINEAR["full"], window(arrays), posterior(share * signal.slopes)).status == status


def test_the_share_does_not_see_the_level_of_months():
    rng = np.random.default_rng(3)
    rows, month = rng.uniform(-1, 1, (300, SIZE)), np.repeat(np.arange(10), 30)
    signal = linear_signal(month_sums(economy(3)), 0.01, by_month=False)
    response = 0.7 * rows @ signal.slopes + rng.standard_normal(10)[month]
    assert share_kept(response, rows, month, signal) == pytest.approx(0.7, rel=1e-9)
