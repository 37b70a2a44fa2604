r"""Priors that models share: sample statements for the weights of a network and the correlation of a month's shocks.

Small correlation matrices have an LKJ prior. Large ones are diagonal plus low rank, as a factor model of the shocks:

.. math::  K_{kl} = \frac{f_k' f_l + 1_{k=l}}{\sqrt{(1 + f_k' f_k)(1 + f_l' f_l)}}, \qquad f_k \sim N(0, I).

The loadings have the size of the idiosyncratic part. The slopes of nearly collinear characteristics are correlated by
-.95 or so; with loadings half that size the data of two years do not get there, and the scales come out too small.
"""

from __future__ import annotations

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax import Array

from bayesfactor.components import correlation, networks

LKJ_LIMIT = 12  # shocks; above it the correlation is diagonal plus low rank
LKJ_CONCENTRATION = 2.0
RADIUS_SD = 0.1  # of the log length of a direction


class Direction(dist.Distribution):
    """A vector whose direction is uniform, of a length that is nearly ``sqrt(size)`` and means nothing.

    A standard normal vector has the same directions, but where data tell them well its free length makes a long thin
    cone of the posterior: three times as many steps of NUTS.
    """

    support = dist.constraints.real_vector

    def __init__(self, size: int, batch_shape: tuple[int, ...] = ()) -> None:
        super().__init__(batch_shape, (size,))

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws (*sample_shape, *batch_shape, size)."""
        normal_key, length_key = jax.random.split(key)
        shape = (*sample_shape, *self.batch_shape)
        normal = jax.random.normal(normal_key, (*shape, *self.event_shape))
        length = jnp.exp(RADIUS_SD * jax.random.normal(length_key, (*shape, 1)))
        size = self.event_shape[0]
        return normal / jnp.linalg.norm(normal, axis=-1, keepdims=True) * length * math.sqrt(size)

    def log_prob(self, value: Array) -> Array:
        """Log density of a vector (..., size): uniform on spheres, log-normal in the length."""
        size = self.event_shape[0]
        log_length = 0.5 * jnp.log(jnp.sum(value**2, axis=-1))
        log_sphere = math.log(2.0) + 0.5 * size * math.log(math.pi) - math.lgamma(0.5 * size)
        return dist.Normal(0.5 * math.log(size), RADIUS_SD).log_prob(log_length) - size * log_length - log_sphere


def sample_correlation_root(name: str, size: int, rank: int) -> Array:
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
    return correlation.low_rank_root(unique, jnp.sqrt(unique)[:, None] * factor)


def network_prior(prefix: str, network: eqx.Module, input_scale: Array | float) -> Any:
    """Prior by parameter name: ``W_l ~ N(0, tau_l^2 / fan_in)`` with ``tau_l`` half-normal, vectors ``N(0, 1)``.

    Parameters
    ----------
    prefix : of the sites of the scales.
    network : feature map without weights.
    input_scale : () or (characteristic,), of the first matrix.

    Returns
    -------
    Function of (name, shape) for ``random_eqx_module``.
    """
    matrices = [name for name, shape in networks.parameter_shapes(network).items() if len(shape) >= 2]
    overall = {
        name: numpyro.sample(f"{prefix}_scale_{layer}", dist.HalfNormal(1.0)) for layer, name in enumerate(matrices)
    }

    def prior(name: str, shape: tuple[int, ...]) -> dist.Distribution:
        if name not in overall:
            return dist.Normal(0.0, 1.0)
        deviation = overall[name] / math.sqrt(shape[-1])
        if name == matrices[0]:
            deviation = deviation * input_scale
        return dist.Normal(0.0, jnp.broadcast_to(deviation, shape)).to_event(len(shape))

    return prior
