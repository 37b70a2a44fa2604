"""The closed-form regression against least squares and numerical integration."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate

from bayesfactor.components import conjugate


def make_regression(prior_precision, seed=0, n=60, k=3):
    rng = np.random.default_rng(seed)
    x = np.column_stack([np.ones(n), rng.uniform(-1, 1, (n, k - 1))])
    r = x @ rng.normal(0, 0.02, k) + 0.1 * rng.standard_normal(n)
    regression = conjugate.Regression(n, x.T @ x, x.T @ r, r @ r, np.full(k, prior_precision), np.log(0.1), 0.5)
    return x, r, regression


def test_flat_prior_is_least_squares():
    x, r, regression = make_regression(0.0)
    want = np.linalg.lstsq(x, r, rcond=None)[0]
    for scale in (0.05, 0.1, 0.3):
        mean, cov = conjugate.posterior_given_scale(regression, scale)
        np.testing.assert_allclose(mean, want, atol=1e-10)
        np.testing.assert_allclose(cov, scale**2 * np.linalg.inv(x.T @ x), atol=1e-12)
    weights, _ = conjugate.draw_posterior(np.random.default_rng(1), regression, 1000)
    np.testing.assert_allclose(weights.mean(axis=0), want, atol=1e-10)


def test_marginal_of_the_scale_integrates_the_weights_out():
    x, r, regression = make_regression(400.0, k=1)
    points = np.log([0.08, 0.1, 0.13])

    def joint(w, point):
        scale = np.exp(point)
        log_likelihood = -len(r) * point - 0.5 * np.sum((r - x[:, 0] * w) ** 2) / scale**2
        return np.exp(log_likelihood - 150 - 0.5 * 400 * w**2 - 0.5 * ((point - np.log(0.1)) / 0.5) ** 2)

    want = [np.log(integrate.quad(joint, -0.3, 0.3, args=(point,), epsabs=0)[0]) for point in points]
    got = conjugate.log_marginal_of_scale(regression, points)
    np.testing.assert_allclose(np.diff(got), np.diff(want), atol=1e-7)


@pytest.mark.parametrize("precision", [0.0, 2500.0])
def test_draws_have_the_moments_of_the_posterior(precision):
    _, _, regression = make_regression(precision)
    n = 20_000
    weights, scale = conjugate.draw_posterior(np.random.default_rng(2), regression, n)
    grid = np.linspace(np.log(0.05), np.log(0.25), 2001)
    density = conjugate.log_marginal_of_scale(regression, grid)
    mass = np.exp(density - density.max())
    mass /= mass.sum()
    assert np.log(scale).mean() == pytest.approx(grid @ mass, abs=4 * np.log(scale).std() / np.sqrt(n))
    moments = [conjugate.posterior_given_scale(regression, s) for s in np.exp(grid[::20])]
    mass = mass[::20] / mass[::20].sum()
    mean = sum(m * p for (m, _), p in zip(moments, mass, strict=True))
    second = sum((c + np.outer(m, m)) * p for (m, c), p in zip(moments, mass, strict=True))
    deviation = np.sqrt(np.diag(second) - mean**2)
    np.testing.assert_allclose(weights.mean(axis=0), mean, atol=4 * deviation.max() / np.sqrt(n))
    np.testing.assert_allclose(weights.std(axis=0), deviation, rtol=0.03)
