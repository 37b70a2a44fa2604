"""Map a function over many items in batches of one size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def map_in_batches(function: Callable[[Any], Any], items: Any, batch_size: int) -> Any:
    """``function`` of every item of a pytree, at most ``batch_size`` of them at once.

    Parameters
    ----------
    function : of one item, traceable.
    items : pytree of arrays (item, ...).
    batch_size : upper bound.

    Returns
    -------
    Pytree of arrays (item, ...).

    Notes
    -----
    The last batch is filled up with copies of the last item. ``jax.lax.map`` would run what is left over beside the
    loop, at the same time: two batched LAPACK calls at once can block JAX's thread pool for ever (decision 9).
    """
    n_items = jax.tree.leaves(items)[0].shape[0]
    n_batches = -(-n_items // batch_size)
    if n_batches == n_items:
        return jax.lax.map(function, items)  # as batches of one they would be copied first, all at once
    batch_size = -(-n_items // n_batches)  # of equal size: 16 items are two batches of 8, not 13 and 13

    def into_batches(leaf: Any) -> Any:
        filled = jnp.concatenate([leaf, jnp.repeat(leaf[-1:], n_batches * batch_size - n_items, axis=0)])
        return filled.reshape(n_batches, batch_size, *leaf.shape[1:])

    mapped = jax.lax.map(jax.vmap(function), jax.tree.map(into_batches, items))
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:n_items], mapped)
