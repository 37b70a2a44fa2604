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
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax import Array

from bayesfactor.components import correlation, networks

LKJ_LIMIT = 12  # shocks; above it the correlation is diagonal plus low rank
LKJ_CONCENTRATION = 2.0


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
