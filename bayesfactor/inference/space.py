"""The parameters of a program as samplers and guides see them: unconstrained, by site, or as one vector."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from numpyro import handlers
from numpyro.infer.initialization import init_to_uniform
from numpyro.infer.util import constrain_fn, potential_energy, unconstrain_fn

from bayesfactor.components.batches import map_in_batches

START_CANDIDATES = 8
Program = Callable[[Any], None]
Point = dict[str, Array]


class Place(NamedTuple):
    """Where chains of an earlier run were in unconstrained space, by site; NaN where that is not known.

    Attributes
    ----------
    location : (chain, ...), or (data set, chain, ...).
    log_scale : log of how wide the posterior was around it, of the same shapes.
    """

    location: dict[str, Any]
    log_scale: dict[str, Any]


def layout(program: Program, data: Any) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of the unconstrained sites: traced, not compiled."""

    def prototype(data: Any) -> Any:
        seeded = handlers.substitute(handlers.seed(program, jax.random.key(0)), substitute_fn=init_to_uniform)
        sites = handlers.trace(seeded).get_trace(data)
        values = {
            name: site["value"] for name, site in sites.items() if site["type"] == "sample" and not site["is_observed"]
        }
        return unconstrain_fn(program, (data,), {}, values)

    shapes: dict[str, jax.ShapeDtypeStruct] = jax.eval_shape(prototype, data)
    return shapes


def size_of(sites: dict[str, Any]) -> int:
    """How many numbers a point has."""
    return sum(math.prod(site.shape) for site in sites.values())


def unflatten(vector: Array, sites: dict[str, Any]) -> Point:
    """A point from one vector, sites one after the other."""
    point, first = {}, 0
    for name, site in sites.items():
        size = math.prod(site.shape)
        point[name] = vector[first : first + size].reshape(site.shape).astype(site.dtype)
        first += size
    return point


def flatten(point: Point) -> Array:
    """The inverse of `unflatten`."""
    return jnp.concatenate([leaf.reshape(-1) for leaf in point.values()])


def potential(program: Program, data: Any, point: Point) -> Array:
    """Negative log of the joint density at an unconstrained point, the Jacobian included."""
    return potential_energy(program, (data,), {}, point)


def constrain(program: Program, points: Point, data: Any) -> Point:
    """Parameters and deterministic sites at points (draw, ...)."""
    return map_in_batches(partial(constrain_fn, program, (data,), {}, return_deterministic=True), points, 64)


def start_point(
    program: Program, rng_key: Array, data: Any, radius: float, known: Point | None = None
) -> tuple[Point, Array]:
    """The first usable of a few random starts, and whether there was one.

    Uniform within the radius; the weights of a network standard normal, as under their prior. Numbers of `known` that
    are not NaN are taken as they are.
    """
    sites = layout(program, data)

    def candidate(rng_key: Array) -> Point:
        # Two draws of random numbers for all sites together: drawing by site takes XLA far longer to compile.
        near_key, prior_key = jax.random.split(rng_key)
        near = jax.random.uniform(near_key, (size_of(sites),), minval=-1.0, maxval=1.0)
        prior = jax.random.normal(prior_key, near.shape)
        close, far = unflatten(radius * near, sites), unflatten(prior, sites)
        point = {name: far[name] if is_weight(name) else close[name] for name in sites}
        return point if known is None else {name: given_or(known[name], point[name]) for name in sites}

    points = jax.vmap(candidate)(jax.random.split(rng_key, START_CANDIDATES))
    usable = jnp.isfinite(jax.vmap(partial(potential, program, data))(points))
    return jax.tree.map(lambda leaf: leaf[jnp.argmax(usable)], points), jnp.any(usable)


def given_or(given: Array, otherwise: Array) -> Array:
    """`given`, and `otherwise` where that is NaN."""
    return jnp.where(jnp.isnan(given), otherwise, given)


def is_weight(site: str) -> bool:
    """Whether an unconstrained site holds weights or biases of a network."""
    return "weight" in site or "bias" in site
