"""Correlation of the shocks: the low-rank root against a factorisation, and what its prior allows."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro import handlers

from bayesfactor.components import correlation
from bayesfactor.models import priors


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize(("size", "rank"), [(1, 1), (5, 1), (31, 3), (4, 6)])
def test_the_low_rank_root_is_the_cholesky_factor(size, rank):
    rng = np.random.default_rng(size)
    diagonal, loadings = rng.uniform(0.01, 2.0, size), 3.0 * rng.standard_normal((size, rank))
    matrix = np.diag(diagonal) + loadings @ loadings.T
    np.testing.assert_allclose(correlation.low_rank_root(diagonal, loadings), np.linalg.cholesky(matrix), atol=1e-12)


def test_its_gradient_is_that_of_the_factorisation():
    rng = np.random.default_rng(0)
    diagonal, loadings, weights = rng.uniform(0.5, 1, 6), rng.standard_normal((6, 2)), rng.standard_normal((6, 6))

    def ours(diagonal, loadings):
        return jnp.sum(weights * correlation.low_rank_root(diagonal, loadings))

    def lapack(diagonal, loadings):
        return jnp.sum(weights * jnp.linalg.cholesky(jnp.diag(diagonal) + loadings @ loadings.T))

    got = jax.grad(ours, argnums=(0, 1))(diagonal, loadings)
    want = jax.grad(lapack, argnums=(0, 1))(diagonal, loadings)
    for one, other in zip(got, want, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("size", [4, priors.LKJ_LIMIT, priors.LKJ_LIMIT + 1, 30])
def test_both_priors_are_of_correlation_matrices_and_allow_strong_ones(size):
    def draw(key):
        return handlers.seed(lambda: priors.sample_correlation_root("shock", size, 3), key)()

    roots = np.asarray(jax.vmap(draw)(jax.random.split(jax.random.key(0), 2000)))
    matrices = roots @ np.swapaxes(roots, 1, 2)
    np.testing.assert_allclose(np.diagonal(matrices, axis1=1, axis2=2), 1.0, rtol=1e-10)
    pair = matrices[:, 0, 1]
    assert np.abs(np.triu(roots, 1)).max() == 0
    assert abs(pair.mean()) < 0.05
    assert np.mean(np.abs(pair) > 0.5) > 0.02
    if size > priors.LKJ_LIMIT:
        assert np.mean(np.abs(pair) > 0.8) > 0.001, "slopes of collinear characteristics are strongly correlated"
