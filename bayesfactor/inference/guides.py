r"""Gaussian guides over a vector of unconstrained parameters.

.. math::  x = \mu + s \odot (I + T)\, z \quad\text{or}\quad x = \mu + s \odot (z + F y), \qquad z, y \sim N(0, I)

with ``T`` strictly lower triangular (guide "full") or ``F`` of low rank (guide "low_rank"); neither is there in guide
"normal". A guide is a dict of arrays: `loc`, `log_scale`, and `lower` or `factor`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.linalg import solve_triangular

from bayesfactor.components.month import LOG_2PI
from bayesfactor.components.slopes import symmetric_inverse

GUIDES = ("normal", "low_rank", "full")
Guide = dict[str, Array]


def initial(kind: str, loc: Array, scale: float, rank: int) -> Guide:
    """A guide around `loc` (parameter,), as wide as `scale` in every direction."""
    guide = {"loc": loc, "log_scale": jnp.full_like(loc, np.log(scale))}
    size = loc.shape[0]
    if kind == "full":
        guide["lower"] = jnp.zeros((size, size), loc.dtype)
    if kind == "low_rank":
        # Some start is needed: at zero the gradient of the factor is zero on average. Its columns must differ.
        waves = jnp.cos(jnp.outer(jnp.arange(1, size + 1), jnp.arange(1, rank + 1)) * jnp.pi * (3 - 5**0.5))
        guide["factor"] = 0.1 / jnp.sqrt(rank) * waves.astype(loc.dtype)
    return guide


def n_normals(guide: Guide) -> int:
    """How many standard normals a draw takes."""
    return guide["loc"].shape[0] + (guide["factor"].shape[1] if "factor" in guide else 0)


def at(guide: Guide, normals: Array) -> Array:
    """The draw (parameter,) that standard normals (normal,) give."""
    size = guide["loc"].shape[0]
    inner = normals[:size]
    if "lower" in guide:
        inner = inner + jnp.tril(guide["lower"], -1) @ inner
    if "factor" in guide:
        inner = inner + guide["factor"] @ normals[size:]
    return guide["loc"] + jnp.exp(guide["log_scale"]) * inner


def entropy(guide: Guide) -> Array:
    """Entropy () in nats."""
    size = guide["loc"].shape[0]
    value = 0.5 * size * (1.0 + LOG_2PI) + jnp.sum(guide["log_scale"])
    if "factor" in guide:
        factor = guide["factor"]
        value = value + 0.5 * symmetric_inverse(jnp.eye(factor.shape[1], dtype=factor.dtype) + factor.T @ factor)[1]
    return value


def log_density(guide: Mapping[str, Any], points: np.ndarray) -> np.ndarray:
    """Log density (draw,) of points (draw, parameter), in float64 NumPy."""
    arrays = {name: np.asarray(value, float) for name, value in guide.items()}
    white = (np.asarray(points, float) - arrays["loc"]) * np.exp(-arrays["log_scale"])
    log_determinant = 2.0 * arrays["log_scale"].sum()
    square = np.sum(white**2, axis=-1)
    if "lower" in arrays:
        root = np.eye(white.shape[-1]) + np.tril(arrays["lower"], -1)
        square = np.sum(solve_triangular(root, white.T, lower=True, unit_diagonal=True) ** 2, axis=0)
    if "factor" in arrays:
        factor = arrays["factor"]
        capacitance = np.eye(factor.shape[1]) + factor.T @ factor
        seen = white @ factor
        square = square - np.sum(seen * np.linalg.solve(capacitance, seen.T).T, axis=-1)
        log_determinant += np.linalg.slogdet(capacitance)[1]
    return -0.5 * (square + log_determinant + white.shape[-1] * LOG_2PI)
