r"""Returns of stocks on factors with betas linear in characteristics, all betas integrated out or drawn exactly.

.. math::  r_{it} = x_{it}' B h_t + e_{it}, \qquad x_{it} = (1, z_{it}), \quad
           B_{kj} \sim N(0, p_{kj}^{-1}), \quad e_t \sim N(0, \sigma^2 M_t^{-1})

``h_t`` are the factors of a month, the same for all stocks, so that what the stocks have to say is their months' sums
``X_t'M_t X_t``, ``X_t'M_t r_t`` and ``r_t'M_t r_t``: once these are known, no cost depends on the number of stocks.
``M_t = I + (lambda / n_t) 1 1'`` is AZT's penalty on the average residual of a month, ``lambda_1``.
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
    gram : (month, feature, feature) ``X'MX``, the intercept first.
    projection : (month, feature) ``X'Mr``.
    square : (month,) ``r'Mr``.
    """

    count: Any
    gram: Any
    projection: Any
    square: Any


def stock_sums(characteristics: Floats, returns: Floats, observed: np.ndarray, penalty: float) -> StockSums:
    """Of characteristics (month, slot, characteristic) and returns (month, slot), on the host, once for all draws."""
    design = np.concatenate([np.ones((*observed.shape, 1)), np.asarray(characteristics, float)], axis=-1)
    design = np.where(observed[..., None], design, 0.0)
    seen = np.where(observed, returns, 0.0).astype(float)
    count = observed.sum(axis=1)
    share = penalty / np.maximum(count, 1)
    total, means = seen.sum(axis=1), design.sum(axis=1)
    return StockSums(
        count.astype(float),
        np.swapaxes(design, 1, 2) @ design + share[:, None, None] * means[:, :, None] * means[:, None, :],
        np.einsum("tnf,tn->tf", design, seen) + share[:, None] * means * total[:, None],
        np.sum(seen**2, axis=1) + share * total**2,
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


def log_evidence(factors: Array, sums: StockSums, precision: Array, variance: Array, penalty: float) -> Array:
    """Log density () of all returns given the factors, betas integrated out.

    Parameters
    ----------
    factors : (month, factor).
    sums : of the months, with the same penalty.
    precision : (coefficient,) of the betas' prior.
    variance : () of a residual.
    penalty : ``lambda_1``.
    """
    gram, projection = moments(factors, sums)
    root = jnp.sqrt(precision)  # in units of the prior, where the matrix is the identity and more
    scaled = gram / (variance * root[:, None] * root) + jnp.eye(len(precision), dtype=gram.dtype)
    seen = projection / (variance * root)
    inverse, log_determinant = symmetric_inverse(scaled)
    n_months = jnp.sum(sums.count > 0)
    constant = jnp.sum(sums.count) * (LOG_2PI + jnp.log(variance)) - n_months * jnp.log1p(penalty)
    return -0.5 * (constant + jnp.sum(sums.square) / variance + log_determinant - seen @ inverse @ seen)


def draw_betas(
    rng: np.random.Generator, factors: Floats, sums: StockSums, precision: Floats, variance: Floats
) -> Floats:
    """Exact draws (draw, factor, feature) of the betas given each draw's factors and residual variance.

    Parameters
    ----------
    rng : of these draws.
    factors : (draw, month, factor).
    sums, precision : as in `log_evidence`.
    variance : (draw,).
    """
    gram, projection = moments(factors, sums)
    size = len(precision)
    scaled = gram / variance[:, None, None] + precision * np.eye(size)
    lower = np.linalg.cholesky(scaled)
    half = np.linalg.solve(lower, (projection / variance[:, None])[..., None])
    drawn = np.linalg.solve(np.swapaxes(lower, -1, -2), half + rng.standard_normal((len(factors), size, 1)))
    betas: Any = np.reshape(drawn[..., 0], (len(factors), factors.shape[-1], -1))
    return betas
