"""Correlation of a month's shocks: the Cholesky factor of a low-rank one, without a factorisation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array


def low_rank_root(diagonal: Array, loadings: Array) -> Array:
    """Lower Cholesky factor (shock, shock) of ``diag(diagonal) + loadings loadings'``.

    Below its diagonal the factor has the rank of the loadings: one pass over the shocks finds it, with matrices no
    larger than that rank (the factor is semiseparable: its columns are the loadings times what earlier shocks left).

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
