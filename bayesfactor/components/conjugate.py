r"""Bayesian linear regression with a common noise scale, exactly.

.. math::  r = X w + \sigma e, \quad w \sim N(0, P_0^{-1}), \quad \log\sigma \sim N(\mu, \tau^2).

Given ``sigma`` the weights are Gaussian; ``sigma`` itself is one number, integrated on a grid that is refined until
it resolves the posterior. ``P_0 = 0`` is the flat prior, whose posterior mean is ordinary least squares.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
GRID = 4001


class Regression(NamedTuple):
    """Sufficient statistics of a regression and its prior.

    Attributes
    ----------
    n_rows : number of rows.
    gram : (coefficient, coefficient) ``X'X``.
    projection : (coefficient,) ``X'r``.
    square : ``r'r``.
    prior_precision : (coefficient,) diagonal of ``P_0``, zero where the prior is flat.
    log_scale_mean, log_scale_sd : prior of log sigma.
    """

    n_rows: float
    gram: Floats
    projection: Floats
    square: float
    prior_precision: Floats
    log_scale_mean: float
    log_scale_sd: float


def posterior_given_scale(regression: Regression, scale: float) -> tuple[Floats, Floats]:
    """Mean (coefficient,) and covariance (coefficient, coefficient) of the weights given sigma.

    ``P = X'X / sigma^2 + P_0``, mean ``P^-1 X'r / sigma^2``, covariance ``P^-1``.
    """
    precision = regression.gram / scale**2 + np.diag(regression.prior_precision)
    covariance = np.linalg.inv(precision)
    covariance = 0.5 * (covariance + covariance.T)
    return np.asarray(np.linalg.solve(precision, regression.projection / scale**2), float), covariance


def log_marginal_of_scale(regression: Regression, log_scale: Floats) -> Floats:
    """Unnormalised log posterior density of log sigma (point,), weights integrated out."""
    proper = regression.prior_precision > 0
    values = np.empty_like(log_scale)
    for index, point in enumerate(log_scale):
        variance = np.exp(2 * point)
        precision = regression.gram / variance + np.diag(regression.prior_precision)
        mean = np.linalg.solve(precision, regression.projection / variance)
        explained = mean @ regression.projection / variance
        _, log_determinant = np.linalg.slogdet(precision)
        values[index] = -0.5 * (
            2 * regression.n_rows * point
            + regression.square / variance
            - explained
            + log_determinant
            - np.sum(np.log(regression.prior_precision[proper]))
            + ((point - regression.log_scale_mean) / regression.log_scale_sd) ** 2
        )
    return values


def _grid(regression: Regression) -> tuple[Floats, Floats]:
    """Points of log sigma and their posterior probabilities, narrowed until the mass fills the grid."""
    centre, width = regression.log_scale_mean, 8 * regression.log_scale_sd
    points = np.linspace(centre - width, centre + width, 401)
    for size in (401, 401, GRID):
        points = np.linspace(points[0], points[-1], size)
        density = log_marginal_of_scale(regression, points)
        density -= density.max()
        if size < GRID:
            held = np.flatnonzero(density > -40)
            points = points[[max(held[0] - 1, 0), min(held[-1] + 1, size - 1)]]
    mass = np.exp(density)
    return points, mass / mass.sum()


def draw_posterior(rng: np.random.Generator, regression: Regression, n_draws: int) -> tuple[Floats, Floats]:
    """Independent draws of the weights (draw, coefficient) and of sigma (draw,).

    Draws come in antithetic pairs: both share sigma and lie opposite each other around the conditional mean, so the
    average over draws has no Monte Carlo error from the weights (under a flat prior it is the least-squares estimate
    to rounding error).
    """
    points, mass = _grid(regression)
    pairs = (n_draws + 1) // 2
    levels = (np.arange(pairs) + rng.uniform(size=pairs)) / pairs  # stratified
    cumulative = np.cumsum(mass)
    scales = np.exp(np.interp(rng.permutation(levels), cumulative, points))
    weights = np.empty((2 * pairs, len(regression.projection)))
    for pair, scale in enumerate(scales):
        mean, covariance = posterior_given_scale(regression, scale)
        offset = np.linalg.cholesky(covariance) @ rng.standard_normal(len(mean))
        weights[2 * pair], weights[2 * pair + 1] = mean + offset, mean - offset
    return weights[:n_draws], np.repeat(scales, 2)[:n_draws]
