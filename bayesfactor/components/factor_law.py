"""Mean and covariance of factors whose returns are known, drawn exactly from their posterior."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
RIDGE = 1e-10  # of the average variance: factors that coincide in a draw must not end a run


def draw_law(factors: Floats, prior_months: float, rng: np.random.Generator) -> dict[str, Floats]:
    """Draws of the mean and the covariance of normal factors, one given each draw of their returns.

    ``mean | Sigma ~ N(0, Sigma / prior_months)``, and Jeffreys' prior of ``Sigma``.

    Parameters
    ----------
    factors : (draw, time, factor), decimal per period.
    prior_months : periods of mean zero that the prior of the mean is worth: ``periods_per_year / S^2`` with ``S`` the
        prior sd of an annual Sharpe ratio.
    rng : of these draws.

    Returns
    -------
    `factor_mean` (draw, factor), `factor_covariance` (draw, factor, factor) and `factor_covariance_root`, its lower
    triangular root.
    """
    n_draws, n_time, size = factors.shape
    mean = factors.mean(axis=1)
    centred = factors - mean[:, None]
    moments = np.swapaxes(centred, 1, 2) @ centred
    moments += prior_months * n_time / (prior_months + n_time) * mean[:, :, None] * mean[:, None, :]
    moments = moments + RIDGE * np.trace(moments, axis1=1, axis2=2)[:, None, None] / size * np.eye(size)
    scale = np.linalg.cholesky(moments)
    triangle = np.tril(rng.standard_normal(moments.shape), -1)
    triangle[:, np.arange(size), np.arange(size)] = np.sqrt(
        rng.chisquare(n_time - np.arange(size), size=(n_draws, size))
    )
    root = scale @ np.swapaxes(np.linalg.inv(triangle), -1, -2)
    covariance = root @ np.swapaxes(root, -1, -2)
    lower = np.linalg.cholesky(covariance)
    normals = rng.standard_normal((n_draws, size, 1))
    drawn = n_time / (prior_months + n_time) * mean + (lower @ normals)[..., 0] / math.sqrt(prior_months + n_time)
    return {"factor_mean": drawn, "factor_covariance": covariance, "factor_covariance_root": lower}
