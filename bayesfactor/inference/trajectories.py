"""Short Hamiltonian trajectories of many walkers, in coordinates where the target is close to a standard normal."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

TARGET = 0.8  # acceptance


def steps_of(size: int) -> int:
    """Leapfrog steps of a trajectory; their size shrinks with the number of dimensions to the power 1/4."""
    return max(4, math.ceil(1.6 * size**0.25))


def trajectories(
    log_density: Callable[[Array], Array], start: Array, rng_key: Array, n_adapted: int, n_kept: int
) -> tuple[Array, Array]:
    """Hamiltonian Monte Carlo; all walkers of a group adapt one step size to an acceptance of 0.8.

    Parameters
    ----------
    log_density : of one point (parameter,).
    start : (walker, parameter).
    rng_key : fixes everything.
    n_adapted : first trajectories, in which the step is adapted; thrown away.
    n_kept : the others, at a fixed step.

    Returns
    -------
    Points (kept, walker, parameter) and the mean acceptance () while they were made.
    """
    n_steps = steps_of(start.shape[-1])
    slope = jax.vmap(jax.value_and_grad(log_density))

    def trajectory(carry: Any, index: Array) -> Any:
        points, values, slopes, log_step = carry
        momentum_key, accept_key, jitter_key = jax.random.split(jax.random.fold_in(rng_key, index), 3)
        step = jnp.exp(log_step) * jax.random.uniform(jitter_key, dtype=start.dtype, minval=0.8, maxval=1.2)
        momentum = jax.random.normal(momentum_key, points.shape, points.dtype)

        def leapfrog(_: Any, state: Any) -> Any:
            points, momentum, _, slopes = state
            momentum = momentum + 0.5 * step * slopes
            points = points + step * momentum
            values, slopes = slope(points)
            return points, momentum + 0.5 * step * slopes, values, slopes

        ended = jax.lax.fori_loop(0, n_steps, leapfrog, (points, momentum, values, slopes))
        energy = values - 0.5 * jnp.sum(momentum**2, axis=-1)
        energy_after = ended[2] - 0.5 * jnp.sum(ended[1] ** 2, axis=-1)
        chance = jnp.exp(jnp.minimum(jnp.nan_to_num(energy_after - energy, nan=-jnp.inf), 0.0))
        take = jax.random.uniform(accept_key, chance.shape, chance.dtype) < chance

        def chosen(new: Array, old: Array) -> Array:
            return jnp.where(take.reshape(-1, *[1] * (new.ndim - 1)), new, old)

        points, values, slopes = chosen(ended[0], points), chosen(ended[2], values), chosen(ended[3], slopes)
        gain = jnp.where(index < n_adapted, 1.0 / (1.0 + 0.3 * index), 0.0)
        log_step = log_step + gain.astype(start.dtype) * (jnp.mean(chance) - TARGET)
        return (points, values, slopes, log_step), jnp.mean(chance)

    def kept_too(index: Array, carry: Any) -> Any:
        """One loop for both phases: the density's gradient is most of the program, and compiled once in it."""
        walkers, kept, accepted = carry
        walkers, chance = trajectory(walkers, index)
        place = jnp.maximum(index - n_adapted, 0)  # what is adapted in is written over
        return walkers, kept.at[place].set(walkers[0]), accepted.at[place].set(chance)

    first = (start, *slope(start), jnp.asarray(-0.25 * math.log(start.shape[-1]), start.dtype))
    room = jnp.zeros((n_kept, *start.shape), start.dtype), jnp.zeros(n_kept, start.dtype)
    _, points, accepted = jax.lax.fori_loop(0, n_adapted + n_kept, kept_too, (first, *room))
    return points, jnp.mean(accepted)
