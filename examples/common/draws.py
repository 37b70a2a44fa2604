"""Draws of deep factors and bands of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pandas as pd
import xarray as xr
from numpyro import handlers

import bayesfactor as bf

from .grid import Outcome

DRAWS = 200  # kept of each fit for tables
PROB = 0.9


def factors_of(fit: bf.Fit, panel: bf.Panel) -> xr.DataArray:
    """About `DRAWS` draws of the deep factors (chain, draw, time, factor) in the months of a panel."""
    return bf.factors(fit, panel, summary="draws")["factor_return"].isel(draw=kept(fit))


def kept(fit: bf.Fit) -> slice:
    """Which draws of every chain are kept: about `DRAWS` in all."""
    return slice(None, None, max(1, fit.shape[0] * fit.shape[1] // DRAWS))


def flat(draws: xr.DataArray) -> np.ndarray:
    """Draws as (sample, time, factor)."""
    values = draws.transpose("chain", "draw", "time", "factor").values
    return values.reshape(-1, *values.shape[2:])


def sorted_at_random(outcome: Outcome) -> Outcome:
    """A control: the same cell, each draw's sorts drawn from the prior, networks below them too."""
    fit = outcome.fit
    posterior = fit.tree["posterior"].to_dataset()
    sorts = [str(name) for name in posterior.data_vars if name == "sort_weight" or str(name).startswith("network.")]
    n_characteristics = len(fit.characteristics)

    def drawn(rng_key: Any) -> dict[str, Any]:
        program = handlers.seed(fit.model.sample_sorts, rng_key)
        sites = handlers.trace(program).get_trace(n_characteristics)
        return {name: sites[name]["value"] for name in sorts}

    n_chains, n_draws = fit.shape
    found = jax.vmap(drawn)(jax.random.split(jax.random.key(1), n_chains * n_draws))
    random = {name: posterior[name].copy(data=np.asarray(found[name]).reshape(posterior[name].shape)) for name in sorts}
    tree = fit.tree.copy()
    tree["posterior"] = xr.DataTree(posterior.assign(random))
    return outcome._replace(fit=replace(fit, tree=tree))


def band(name: str, draws: Any) -> dict[str, float]:
    """Mean and equal-tailed bounds over all draws, each under its name."""
    values = np.asarray(draws)
    lower, upper = np.quantile(values, [(1 - PROB) / 2, (1 + PROB) / 2])
    return {f"{name}_mean": float(values.mean()), f"{name}_lower": float(lower), f"{name}_upper": float(upper)}


def bounds(row: pd.Series, name: str, digits: int = 2) -> str:
    """The bounds that `band` has put into a row."""
    return f"[{row[f'{name}_lower']:.{digits}f}, {row[f'{name}_upper']:.{digits}f}]"
