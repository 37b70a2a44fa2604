r"""Returns of stocks on factors with betas linear in characteristics, all betas integrated out or drawn exactly.

.. math::  r_{it} = x_{it}' B h_t + e_{it}, \qquad x_{it} = (1, z_{it}), \quad
           B_{jk} \sim N(0, s_j^2), \quad e_t \sim N(0, \sigma^2 M_t^{-1})

``h_t`` are the factors of a month, the same for all stocks, so that what the stocks have to say is their months' sums
``X_t'M_t X_t``, ``X_t'M_t r_t`` and ``r_t'M_t r_t``: once these are known, no cost depends on the number of stocks.
``M_t = I + (lambda / n_t) 1 1'`` is AZT's penalty on the average residual of a month, ``lambda_1``.

Features are in units of their prior and turned to be uncorrelated over all stock-months: coefficients stay independent
standard normals, and characteristics that nearly coincide cost no digits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from bayesfactor.components.month import LOG_2PI
from bayesfactor.components.slopes import symmetric_inverse

Floats = NDArray[np.float64]


class StockSums(NamedTuple):
    """What months of stocks say about linear betas.

    Attributes
    ----------
    count : (month,) observed stocks.
    gram : (month, direction, direction) ``X'MX`` of the turned features.
    projection : (month, direction) ``X'Mr``.
    square : (month,) ``r'Mr``.
    basis : (feature, direction) which turns standard normal coefficients into betas; the intercept first.
    """

    count: Any
    gram: Any
    projection: Any
    square: Any
    basis: Any


def stock_sums(
    characteristics: Floats, returns: Floats, observed: np.ndarray, prior_sd: Floats, penalty: float
) -> StockSums:
    """Of all months, on the host, once for all draws.

    Parameters
    ----------
    characteristics, returns, observed : (month, slot, characteristic) and (month, slot).
    prior_sd : (feature,) of betas' intercept and slopes.
    penalty : ``lambda_1``.
    """
    months = [
        _of_month(*month, penalty) for month in zip(characteristics, np.asarray(returns, float), observed, strict=True)
    ]
    count, gram, projection, square = (np.stack(parts) for parts in zip(*months, strict=True))
    turned = np.linalg.eigh(prior_sd[:, None] * gram.sum(axis=0) * prior_sd)[1]
    basis = prior_sd[:, None] * turned
    return StockSums(count, basis.T @ gram @ basis, projection @ basis, square, basis)


def _of_month(
    characteristics: Floats, returns: Floats, observed: np.ndarray, penalty: float
) -> tuple[Floats, Floats, Floats, Floats]:
    """Count, ``X'MX``, ``X'Mr`` and ``r'Mr`` of one month."""
    design = np.column_stack([np.ones(observed.sum()), np.asarray(characteristics[observed], float)])
    seen = returns[observed]
    share = penalty / max(len(seen), 1)
    total, means = seen.sum(), design.sum(axis=0)
    return (
        np.asarray(float(len(seen))),
        design.T @ design + share * np.outer(means, means),
        design.T @ seen + share * means * total,
        np.asarray(seen @ seen + share * total**2),
    )


def moments(factors: Any, sums: StockSums) -> tuple[Any, Any]:
    """``sum_t h h' (x) X'MX`` (..., coefficient, coefficient) and ``sum_t h (x) X'Mr`` (..., coefficient).

    Parameters
    ----------
    factors : (..., month, factor).
    sums : of the months.

    Returns
    -------
    Coefficients are numbered by factor, then by feature.
    """
    xp = factors.__array_namespace__()
    n_factors, n_features = factors.shape[-1], sums.projection.shape[-1]
    pairs = factors[..., :, None] * factors[..., None, :]
    flat = xp.reshape(pairs, (*pairs.shape[:-2], n_factors**2))
    gram = xp.swapaxes(flat, -1, -2) @ xp.reshape(sums.gram, (-1, n_features**2))
    gram = xp.reshape(gram, (*gram.shape[:-2], n_factors, n_factors, n_features, n_features))
    size = n_factors * n_features
    gram = xp.reshape(xp.swapaxes(gram, -3, -2), (*gram.shape[:-4], size, size))
    projection = xp.swapaxes(factors, -1, -2) @ sums.projection
    return gram, xp.reshape(projection, (*projection.shape[:-2], size))


def log_evidence(factors: Array, sums: StockSums, variance: Array, penalty: float) -> Array:
    """Log density () of all returns given the factors, betas integrated out.

    Parameters
    ----------
    factors : (month, factor).
    sums : of the months, with the same penalty.
    variance : () of a residual.
    penalty : ``lambda_1``.
    """
    gram, projection = moments(factors, sums)
    precision = gram / variance + jnp.eye(len(gram), dtype=gram.dtype)
    size = jnp.sqrt(jnp.diagonal(precision))
    inverse, log_determinant = symmetric_inverse(precision / (size[:, None] * size))
    seen = projection / (variance * size)
    log_determinant = log_determinant + 2.0 * jnp.sum(jnp.log(size))
    n_months = jnp.sum(sums.count > 0)
    constant = jnp.sum(sums.count) * (LOG_2PI + jnp.log(variance)) - n_months * jnp.log1p(penalty)
    return -0.5 * (constant + jnp.sum(sums.square) / variance + log_determinant - seen @ inverse @ seen)


def draw_betas(rng: np.random.Generator, factors: Floats, sums: StockSums, variance: Floats) -> Floats:
    """Exact draws (draw, factor, feature) of the betas given each draw's factors and residual variance.

    Parameters
    ----------
    rng : of these draws.
    factors : (draw, month, factor).
    sums : as in `log_evidence`.
    variance : (draw,).
    """
    gram, projection = moments(factors, sums)
    size = projection.shape[-1]
    lower = np.linalg.cholesky(gram / variance[:, None, None] + np.eye(size))
    half = np.linalg.solve(lower, (projection / variance[:, None])[..., None])
    drawn = np.linalg.solve(np.swapaxes(lower, -1, -2), half + rng.standard_normal((len(factors), size, 1)))
    by_factor: Any = np.reshape(drawn[..., 0], (len(factors), factors.shape[-1], -1))
    return by_factor @ sums.basis.T
