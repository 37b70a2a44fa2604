"""One small economy and the few fits that the tests share: compiling a sampler is what costs time.

Everything is made on first use and kept for the process. Fits of chosen draws need no sampler at all.
"""

from __future__ import annotations

import functools
import warnings
from typing import Any

import jax
import numpy as np
import xarray as xr
from numpyro import handlers

import bayesfactor as bf
from bayesfactor.errors import ConvergenceWarning

SETTINGS = bf.NUTS(warmup=200, draws=200, chains=2, precision="float64")
LINEAR = bf.FundamentalFactorModel(hidden=(), noise="normal")
NETWORK = bf.FundamentalFactorModel(hidden=(3,), activation="tanh", noise="normal")
N_TRAIN = 18


@functools.cache
def panel() -> bf.Panel:
    """24 ragged months of 30 assets and 3 characteristics; 3% of the returns and all of the last month's missing."""
    made = bf.simulate.economy(n_months=24, n_assets=30, n_characteristics=3, seed=11, ragged=True, missing=0.05).panel
    lost = np.random.default_rng(5).random(made.data["returns"].shape) < 0.03
    lost[-1] = True
    return with_data(made, returns=np.where(lost, np.nan, made.data["returns"].values))


@functools.cache
def train() -> bf.Panel:
    """The first 18 months."""
    return panel().split(panel().times[N_TRAIN])[0]


def with_data(source: bf.Panel, **values: np.ndarray) -> bf.Panel:
    """The panel with other values of some variables; what is observed follows from the returns."""
    data = source.data.drop_vars("observed")
    return bf.Panel(
        data.assign({name: (data[name].dims, value) for name, value in values.items()}),
        source.frequency,
        source.preparation,
    )


def fitted(model: Any, data: bf.Panel, settings: Any = SETTINGS, seed: int = 0) -> bf.Fit:
    """``bf.fit`` without the warning that so few draws deserve."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return bf.fit(model, data, settings, seed=seed)


@functools.cache
def linear_fit() -> bf.Fit:
    """Linear model, normal noise, partial pooling, on the training months."""
    return fitted(LINEAR, train())


@functools.cache
def network_fit() -> bf.Fit:
    """Three tanh units, normal noise, partial pooling, on the training months."""
    return fitted(NETWORK, train())


def _drawn(model: Any, data: Any, key: jax.Array) -> dict[str, jax.Array]:
    sites = handlers.trace(handlers.seed(model, key)).get_trace(data)
    return {
        name: site["value"]
        for name, site in sites.items()
        if site["type"] in ("sample", "deterministic") and name != "returns"
    }


# One program a model: compiled whole, it is found in the cache on disk the next time.
_prior_draws = jax.jit(jax.vmap(_drawn, in_axes=(None, None, 0)), static_argnums=0)
_log_likelihood = jax.jit(lambda model, params, data: model.log_likelihood(params, data), static_argnums=0)


def log_likelihood(model: Any, params: Any, data: Any) -> float:
    """``model.log_likelihood``, compiled once for each model and shape."""
    return float(_log_likelihood(model, params, data))


def prior_draws(model: Any, data: Any, seed: int, n_draws: int) -> dict[str, np.ndarray]:
    """Every parameter of the model at draws (draw, ...) from its prior, by name."""
    drawn = _prior_draws(model, data, jax.random.split(jax.random.key(seed), n_draws))
    return {name: np.asarray(value) for name, value in drawn.items()}


def prior_draw(model: Any, data: Any, seed: int) -> dict[str, np.ndarray]:
    """One draw from the prior."""
    return {name: value[seed] for name, value in prior_draws(model, data, 0, 8).items()}


def stacked_prior_draws(model: Any, source: bf.Panel, n_draws: int, chains: int = 2) -> dict[str, np.ndarray]:
    """Prior draws (chain, draw, ...) of what a fit keeps, float64."""
    with jax.enable_x64(True):
        draws = prior_draws(model, model.data(source.arrays()), 3, chains * n_draws)
    return {
        name: value.reshape(chains, n_draws, *value.shape[1:])
        for name, value in draws.items()
        if not model.is_internal(name)
    }


def fit_of_draws(model: Any, draws: dict[str, np.ndarray]) -> bf.Fit:
    """A fit on the training months whose posterior is `draws` (chain, draw, ...)."""
    labels = {"characteristic": list(train().characteristics), "time": train().times.values}
    posterior = xr.Dataset(
        {
            name: (["chain", "draw", *(f"{name}_dim_{axis}" for axis in range(value.ndim - 2))], value)
            for name, value in draws.items()
        }
    )
    groups = {"posterior": posterior, "functions": xr.Dataset(), "constant_data": xr.Dataset(coords=labels)}
    tree = xr.DataTree.from_dict(groups)
    return bf.Fit(
        model=model,
        inference=SETTINGS,
        tree=tree,
        status="ok",
        reasons=(),
        provenance={
            "precision": "float64",
            "panel_fingerprint": train().fingerprint,
            "frequency": train().frequency,
            "preparation": train().preparation,
            "wall_seconds": 0.0,
            "device": "cpu:cpu",
        },
    )


@functools.cache
def prior_fit(model: Any, n_draws: int = 15) -> bf.Fit:
    """A fit whose draws come from the prior: quantities must hold for any draws."""
    return fit_of_draws(model, stacked_prior_draws(model, train(), n_draws))


def each_draw(fit: bf.Fit) -> list[dict[str, np.ndarray]]:
    """Parameters of the draws one by one, chain after chain."""
    parameters = fit.parameters()
    n_draws = fit.shape[0] * fit.shape[1]
    return [{name: value[index] for name, value in parameters.items()} for index in range(n_draws)]
