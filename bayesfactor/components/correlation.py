r"""Priors over the correlation of a month's shocks, and its Cholesky factor without a factorisation.

Small matrices have an LKJ prior. Large ones are diagonal plus low rank, as a factor model of the shocks:

.. math::  K_{kl} = \frac{f_k' f_l + 1_{k=l}}{\sqrt{(1 + f_k' f_k)(1 + f_l' f_l)}}, \qquad f_k \sim N(0, I).

The loadings have the size of the idiosyncratic part. The slopes of nearly collinear characteristics are correlated by
-.95 or so; with loadings half that size the data of two years do not get there, and the scales come out too small.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax import Array

LKJ_LIMIT = 12  # shocks; above it the correlation is diagonal plus low rank
LKJ_CONCENTRATION = 2.0


def sample_root(name: str, size: int, rank: int) -> Array:
    """Sample statements for a correlation matrix; its lower Cholesky factor (shock, shock) is returned.

    Parameters
    ----------
    name : prefix of the sites.
    size : number of shocks.
    rank : of the part beyond the diagonal, where there are more than `LKJ_LIMIT` shocks.
    """
    if size <= LKJ_LIMIT:
        return numpyro.sample(f"{name}_correlation", dist.LKJCholesky(size, concentration=LKJ_CONCENTRATION))
    factor = numpyro.sample(f"{name}_factor", dist.Normal(0.0, 1.0).expand([size, rank]).to_event(2))
    unique = 1.0 / (1.0 + jnp.sum(factor**2, axis=-1))
    return low_rank_root(unique, jnp.sqrt(unique)[:, None] * factor)


def low_rank_root(diagonal: Array, loadings: Array) -> Array:
    """Lower Cholesky factor (shock, shock) of ``diag(diagonal) + loadings loadings'``.

    Below its diagonal the factor has the rank of the loadings: one pass over the shocks finds it, with matrices no
    larger than that rank.

    Parameters
    ----------
    diagonal : (shock,) positive.
    loadings : (shock, rank).
    """

    def eliminate(left: Array, row: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        own, loading = row
        seen = left @ loading
        pivot = jnp.sqrt(own + loading @ seen)
        column = seen / pivot
        return left - column[:, None] * column, (pivot, column)

    identity = jnp.eye(loadings.shape[-1], dtype=loadings.dtype)
    _, (pivots, columns) = jax.lax.scan(eliminate, identity, (diagonal, loadings))
    return jnp.tril(loadings @ columns.T, -1) + jnp.diag(pivots)
