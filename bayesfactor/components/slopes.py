r"""What the months say about the average slopes, with the slopes' monthly shocks integrated out (normal noise).

As a function of the average slopes ``w`` the likelihood of a month is Gaussian,

.. math::  \log p(r_t \mid w) = c_t + b_t' w - \tfrac12 w' A_t w,

so that the months' sums are all there is to know, and ``w`` can be integrated out of a posterior or drawn exactly
given everything else.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from bayesfactor.components.month import LOG_2PI, _gaussian_integral, inverse_of_lower, log_gaussian_integral


class SlopeLikelihood(NamedTuple):
    """``log_constant + projection' w - w' precision w / 2``.

    Attributes
    ----------
    precision : (feature, feature) ``A``.
    projection : (feature,) ``b``.
    log_constant : () ``c``.
    """

    precision: Array
    projection: Array
    log_constant: Array


def of_month(
    count: Array, gram: Array, projection: Array, square: Array, scale: Array, spread: Array, inverse_root: Array
) -> SlopeLikelihood:
    """Likelihood of the average slopes from one month's sufficient statistics.

    With ``E = diag(spread)``, ``K`` the shocks' correlation and ``M = K^-1 + E X'X E / sigma^2`` (Woodbury):
    ``A = X'X / sigma^2 - (X'X E / sigma^2) M^-1 (E X'X / sigma^2)``, and alike for ``b`` and ``c``.

    Parameters
    ----------
    count, gram, projection, square : ``n``, ``X'X`` (feature, feature), ``X'r`` (feature,) and ``r'r`` of the month.
    scale : () ``sigma``, decimal per period.
    spread : (shock,) scales of the slopes' shocks; shocks belong to the first features.
    inverse_root : (shock, shock) inverse of the lower Cholesky factor of ``K``.
    """
    weight = 1.0 / scale**2
    constant = count * (LOG_2PI + 2.0 * jnp.log(scale)) + weight * square
    if inverse_root.shape[-1] == 0:
        return SlopeLikelihood(weight * gram, weight * projection, -0.5 * constant)
    n_shocks = spread.shape[-1]
    moved = weight * spread[:, None] * gram[:n_shocks]  # (shock, feature)
    seen = weight * spread * projection[:n_shocks]
    precision = inverse_root.T @ inverse_root + moved[:, :n_shocks] * spread
    covariance, log_determinant = symmetric_inverse(precision)
    log_determinant = log_determinant - 2.0 * jnp.sum(jnp.log(jnp.diagonal(inverse_root)))
    explained = covariance @ seen
    return SlopeLikelihood(
        precision=weight * gram - moved.T @ covariance @ moved,
        projection=weight * projection - moved.T @ explained,
        log_constant=-0.5 * (constant + log_determinant - seen @ explained),
    )


def of_months(
    statistics: tuple[Array, ...], scale: Array, spread: Array, root: Array, weight: Array
) -> SlopeLikelihood:
    """Sum of `of_month` over months.

    Parameters
    ----------
    statistics : count (month,), gram (month, feature, feature), projection (month, feature), square (month,).
    scale : (month,).
    spread, root : (shock,) and (shock, shock) of the slopes' shocks, the same for all months.
    weight : () months that each one stands for.
    """
    inverse_root = inverse_of_lower(root) if root.shape[-1] else root
    count, gram, projection, square = statistics
    axes = (0, 0, 0, 0, 0, None, None)
    by_month = jax.vmap(of_month, in_axes=axes)(count, gram, projection, square, scale, spread, inverse_root)
    return SlopeLikelihood(*(weight * jnp.sum(leaf, axis=0) for leaf in by_month))


def log_evidence(likelihood: SlopeLikelihood, prior_sd: Array) -> Array:
    """Log density () of the months with the average slopes integrated out over ``N(0, diag(prior_sd^2))``.

    Where `prior_sd` is infinite the prior is flat with density one.
    """
    flat = jnp.isinf(prior_sd)
    unit = jnp.where(flat, 1.0, prior_sd)
    precision = unit[:, None] * likelihood.precision * unit + jnp.diag(jnp.where(flat, 0.0, 1.0))
    constant = jnp.sum(jnp.where(flat, 0.5 * LOG_2PI, 0.0))
    return likelihood.log_constant + constant + log_gaussian_integral(precision, unit * likelihood.projection)


@jax.custom_vjp
def symmetric_inverse(matrix: Array) -> tuple[Array, Array]:
    """Inverse and log determinant of a symmetric positive definite matrix, without LAPACK (decision 9)."""
    half_log, (inverse, _) = _gaussian_integral(matrix, jnp.zeros_like(matrix[0]))
    return inverse, -2.0 * half_log


def _symmetric_inverse_forward(matrix: Array) -> tuple[tuple[Array, Array], Array]:
    inverse, log_determinant = symmetric_inverse(matrix)
    return (inverse, log_determinant), inverse


def _symmetric_inverse_backward(inverse: Array, cotangents: tuple[Array, Array]) -> tuple[Array]:
    of_inverse, of_log_determinant = cotangents
    return (of_log_determinant * inverse - inverse @ of_inverse @ inverse,)


symmetric_inverse.defvjp(_symmetric_inverse_forward, _symmetric_inverse_backward)
