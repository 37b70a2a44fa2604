"""Coordinates in which a chain moves: around a mode that it finds, along the axes of the curvature there.

A sampler that scales every parameter by itself takes small steps where parameters trade against each other, as the
directions of sorts do. Its adaptation could learn how they do from draws, many more of them than there are parameters;
the second derivatives tell it at once. Scales along the axes are still adapted from draws.

Where a density has no mode, as that of a hierarchy whose parts are not in units of their scale, there is nothing to
find.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bayesfactor.inference import space

LIMIT = 400  # parameters, beyond which second derivatives and their matrix cost more than they save
MOST = 2000  # parameters that may be asked for: slopes, curvature and its axes are square matrices of every chain
SEARCH_STEPS = 400
LEARNING_RATE = 0.05  # of the first step; it falls to 0
FIRST_DECAY, SECOND_DECAY, TINY = 0.9, 0.99, 1e-8  # of Adam
PROBE = 0.01  # half the distance of the two slopes whose difference is a second derivative
START_RADII = (1.0, 0.5, 0.2, 0.0)  # the last is the mode itself
SPARE_NATS = 20.0
LEAST_CURVATURE = 0.04  # in units of priors, which are about 1 wide: no axis is taken to be wider than 5


class Frame(NamedTuple):
    """``point = location + root @ seen``; chains move in ``seen``.

    Attributes
    ----------
    location : (..., parameter).
    root : (..., parameter, parameter), whose square is about the posterior's covariance.
    """

    location: Any
    root: Any


class _Walk(NamedTuple):
    """Where the search is, the best place so far and the potential there, and Adam's moments."""

    here: Array
    best: Array
    least: Array
    first: Array
    second: Array


def search(program: space.Program, data: Any, point: space.Point) -> tuple[Array, Array]:
    """A mode near a point (parameter,), and the second derivatives of the potential there (parameter, parameter).

    The best place that Adam with a falling rate comes by: it need not arrive, since a chain begins around it, not at
    it. Second derivatives are differences of first ones, which need no other program.
    """
    sites = {name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for name, leaf in point.items()}
    height = jax.value_and_grad(lambda vector: space.potential(program, data, space.unflatten(vector, sites)))
    begin = space.flatten(point)
    size = begin.size

    # One scan, so that the gradient is compiled once: first the search, then probes ahead and behind along every axis.
    def step(walk: _Walk, count: Array) -> tuple[_Walk, Array]:
        probe = count - SEARCH_STEPS
        searching = probe < 0
        axis = jax.nn.one_hot(probe // 2, size, dtype=begin.dtype)  # 0 while searching
        here = jnp.where(searching, walk.here, walk.best + PROBE * axis * (1 - 2 * (probe % 2)))
        value, slope = height(here)
        usable = jnp.isfinite(value) & jnp.all(jnp.isfinite(slope))
        better = searching & usable & (value < walk.least)
        # From where nothing can be said the walk goes back to the best place, at rest.
        best, least = jnp.where(better, here, walk.best), jnp.where(better, value, walk.least)
        now = jnp.where(usable, slope, 0.0)
        first = jnp.where(usable, FIRST_DECAY * walk.first + (1 - FIRST_DECAY) * now, 0.0)
        second = SECOND_DECAY * walk.second + (1 - SECOND_DECAY) * now**2
        mean = first / (1 - FIRST_DECAY ** (count + 1))
        square = second / (1 - SECOND_DECAY ** (count + 1))
        rate = jnp.where(searching, LEARNING_RATE * (1 - count / SEARCH_STEPS), 0.0).astype(begin.dtype)
        onwards = jnp.where(usable, here, best) - rate * mean / (jnp.sqrt(square) + TINY)
        return _Walk(onwards, best, least, first, second), slope

    empty = jnp.zeros_like(begin)
    walk = _Walk(begin, begin, jnp.asarray(jnp.inf, begin.dtype), empty, empty)
    walk, slopes = jax.lax.scan(step, walk, jnp.arange(SEARCH_STEPS + 2 * size))
    ahead, behind = slopes[SEARCH_STEPS::2], slopes[SEARCH_STEPS + 1 :: 2]
    return walk.best, (ahead - behind) / (2 * PROBE)


def frame_of(location: np.ndarray, curvature: np.ndarray) -> Frame:
    """The axes of the curvature (..., parameter, parameter), each as wide as it says, on the host.

    Away from a mode curvature can be negative; its size tells the scale there too.
    """
    square = np.where(np.isfinite(curvature), curvature, 0.0).astype(np.float64)
    values, axes = np.linalg.eigh(0.5 * (square + np.swapaxes(square, -1, -2)))
    widths = 1.0 / np.sqrt(np.maximum(np.abs(values), LEAST_CURVATURE))
    return Frame(location, (axes * widths[..., None, :]).astype(location.dtype))


def start(potential: Any, rng_key: Array, frame: Frame) -> Array:
    """Where a chain begins (parameter,), in ``seen``: a draw as wide as the frame, nearer where that is improbable.

    Not at the mode: chains that agree must have come from different places. A draw of a normal posterior is half the
    number of parameters below its mode, in nats.
    """
    drawn = jax.random.normal(rng_key, frame.location.shape, frame.location.dtype)
    radii = jnp.asarray(START_RADII, drawn.dtype)
    heights = jax.vmap(lambda radius: potential(radius * drawn))(radii)
    usable = heights - heights[-1] < drawn.size + SPARE_NATS  # not so where it is not finite
    return jnp.where(jnp.any(usable), radii[jnp.argmax(usable)], 0.0) * drawn


def point_of(frame: Frame, seen: Array, sites: dict[str, Any]) -> space.Point:
    """A point by site, of one chain."""
    return space.unflatten(frame.location + frame.root @ seen, sites)
