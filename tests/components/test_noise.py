"""Densities of the noise against SciPy, quadrature, their limits and their own draws."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from bayesfactor.components.noise import Huber, Laplace, Normal, StudentT

NOISES = {
    "normal": Normal(),
    "student_t": StudentT(5.0),
    "laplace": Laplace(),
    "huber": Huber(1.345),
    "narrow huber": Huber(0.4),
}
POINTS = np.array([-30.0, -2.0, -1.345, -0.3, 0.0, 0.1, 1.0, 1.4, 8.0])


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


@pytest.fixture(params=NOISES)
def noise(request):
    return NOISES[request.param]


# Gauss-Legendre between the points where a density or an event has a kink; a Student-t has far tails.
CUTS = (-2.0, -0.5, 0.2, 1.0, 1.5, 3.0)
BREAKS = np.array([0.0, 0.2, 0.4, 0.5, 1.0, 1.345, 1.5, 2.0, 3.0, 8.0, 20.0, 60.0, 300.0, 3000.0])
NODES, WEIGHTS = np.polynomial.legendre.leggauss(60)
HALF = (BREAKS[:-1, None] + BREAKS[1:, None] + np.diff(BREAKS)[:, None] * NODES).ravel() / 2
X = np.concatenate([-HALF, HALF])
MEASURE = np.tile((np.diff(BREAKS)[:, None] * WEIGHTS / 2).ravel(), 2)


def expectation(noise, values):
    """Of the values of a function at `X`."""
    return MEASURE @ (values * np.exp(noise.log_density(X, 1.0)))


def score(noise):
    """Derivative of the log density about the location, elementwise."""
    return jax.vmap(jax.grad(lambda x: -noise.log_density(x, 1.0)))


def test_density_integrates_to_one(noise):
    assert expectation(noise, np.ones_like(X)) == pytest.approx(1.0, abs=1e-9)


def test_variance_is_that_of_the_density(noise):
    # Beyond 3000 a Student-t with five degrees of freedom has 1e-9 of its variance.
    assert expectation(noise, X**2) == pytest.approx(float(noise.variance), rel=1e-7)


def test_information_is_the_variance_of_the_score(noise):
    slope = np.asarray(score(noise)(X))
    assert expectation(noise, slope**2) == pytest.approx(float(noise.location_information), rel=1e-9)
    assert expectation(noise, (X * slope - 1) ** 2) == pytest.approx(float(noise.log_scale_information), rel=1e-9)


def test_curvature_is_the_second_derivative_or_its_expectation(noise):
    if not isinstance(noise, Laplace):
        bend = jax.vmap(jax.grad(lambda x: score(noise)(x[None])[0]))(X)
        np.testing.assert_allclose(noise.curvature(X), bend, atol=1e-12)
    mean = expectation(noise, np.asarray(noise.curvature(X)))
    assert mean == pytest.approx(float(noise.location_information), rel=1e-9)


@pytest.mark.parametrize("scale", [0.07, 1.0, 3.0])
def test_densities_are_scipy_s(scale):
    for name, reference in (("normal", stats.norm), ("student_t", stats.t(5.0)), ("laplace", stats.laplace)):
        want = reference.logpdf(POINTS / scale) - np.log(scale)
        np.testing.assert_allclose(NOISES[name].log_density(POINTS, scale), want, rtol=1e-12, err_msg=name)


def test_huber_is_normal_when_wide_and_laplace_when_narrow():
    np.testing.assert_allclose(
        Huber(40.0).log_density(POINTS, 0.9), Normal().log_density(POINTS, 0.9), rtol=1e-12, atol=1e-12
    )
    delta, scale = 1e-6, 0.7  # Laplace with scale s / delta
    np.testing.assert_allclose(
        Huber(delta).log_density(POINTS, scale * delta), Laplace().log_density(POINTS, scale), atol=1e-5
    )


def test_draws_follow_the_density(noise):
    draws = np.asarray(noise.draw(jax.random.key(3), (200_000,), jnp.float64))
    n = len(draws)
    for cut in CUTS:
        below = expectation(noise, cut > X)
        assert abs(np.mean(draws < cut) - below) < 5 * np.sqrt(below * (1 - below) / n), cut
    fourth = np.mean(draws**4)
    assert abs(draws.mean()) < 5 * np.sqrt(noise.variance / n)
    assert abs(draws.var() - noise.variance) < 5 * np.sqrt((fourth - noise.variance**2) / n)
