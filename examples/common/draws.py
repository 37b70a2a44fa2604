"""Draws of deep factors and bands of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

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
    """A control: the same cell, each draw's deep characteristics in directions that no return has chosen."""
    fit = outcome.fit
    posterior = fit.tree["posterior"].to_dataset()
    weights = posterior["sort_weight"]
    drawn = np.random.default_rng(1).standard_normal(weights.shape).astype(weights.dtype)
    tree = fit.tree.copy()
    tree["posterior"] = xr.DataTree(posterior.assign(sort_weight=weights.copy(data=drawn)))
    return outcome._replace(fit=replace(fit, tree=tree))


def band(name: str, draws: Any) -> dict[str, float]:
    """Mean and equal-tailed bounds over all draws, each under its name."""
    values = np.asarray(draws)
    lower, upper = np.quantile(values, [(1 - PROB) / 2, (1 + PROB) / 2])
    return {f"{name}_mean": float(values.mean()), f"{name}_lower": float(lower), f"{name}_upper": float(upper)}


def bounds(row: pd.Series, name: str, digits: int = 2) -> str:
    """The bounds that `band` has put into a row."""
    return f"[{row[f'{name}_lower']:.{digits}f}, {row[f'{name}_upper']:.{digits}f}]"
