"""Stacking weights with known answers, at the size of real month totals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from bayesfactor.evaluation.stacking import stacking_weights


@pytest.mark.parametrize("level", [0.0, -1500.0, 900.0])
def test_models_that_each_own_some_months_get_their_share(level):
    """Where each month is possible under one model only, the optimum is the share of months."""
    scores = np.full((10, 2), level)
    scores[:7, 1] -= 800.0
    scores[7:, 0] -= 800.0
    np.testing.assert_allclose(stacking_weights(scores), [0.7, 0.3], atol=1e-6)


def test_month_sums_that_underflow_do_not_give_equal_weights():
    scores = np.column_stack([np.full(30, -1500.0), np.full(30, -1502.0)])
    assert np.exp(scores).max() == 0.0
    np.testing.assert_allclose(stacking_weights(scores), [1.0, 0.0], atol=1e-4)


def test_twins_share_equally_and_a_worse_third_gets_nothing():
    rng = np.random.default_rng(3)
    first = rng.normal(-1500, 30, 50)
    weights = stacking_weights(np.column_stack([first, first, first - 3.0]))
    np.testing.assert_allclose(weights, [0.5, 0.5, 0.0], atol=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_weights_are_the_constrained_optimum(seed):
    rng = np.random.default_rng(seed)
    scores = rng.normal(-1500, 50, (60, 1)) + rng.normal(0, 1.5, (60, 4))
    densities = np.exp(scores - scores.max(axis=1, keepdims=True))

    def loss(weights):
        return -np.mean(np.log(densities @ weights))

    best = minimize(
        loss,
        np.full(4, 0.25),
        bounds=[(1e-9, 1.0)] * 4,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1.0},
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    weights = stacking_weights(scores)
    assert weights.sum() == pytest.approx(1.0, abs=1e-12)
    assert (weights >= 0).all()
    assert loss(weights) <= best.fun + 2e-6
    np.testing.assert_allclose(weights, best.x, atol=5e-3)


def test_permuted_models_give_permuted_weights_and_month_levels_do_not_matter():
    rng = np.random.default_rng(9)
    scores = rng.normal(0, 1.5, (40, 3))
    order = [2, 0, 1]
    np.testing.assert_allclose(stacking_weights(scores[:, order]), stacking_weights(scores)[order], atol=1e-10)
    shifted = scores + rng.normal(-1500, 300, (40, 1))
    np.testing.assert_allclose(stacking_weights(shifted), stacking_weights(scores), atol=1e-8)
