"""The predictive distribution of each stock's return, and where the return that came lies in it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from bayesfactor.components.month import MonthLaw, predictive_variance, simulate
from bayesfactor.errors import DataError
from bayesfactor.inference import Fit
from bayesfactor.inference.settings import as_integer, as_seed
from bayesfactor.panel import Panel
from bayesfactor.quantities.draws import (
    DRAW,
    MEMORY_MIB,
    aligned_arrays,
    at_month,
    blocks,
    labelled,
    latest_fitted,
    over_draws,
    padded_slots,
    require_fitted,
    shared,
)

LEVELS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99)
SIMULATED = 2000  # returns of every stock-month, at least: a 97.5% quantile has an error of 0.06 sd
UNITS = "decimal per period, excess"


def predictive_returns(
    fit: Fit,
    panel: Panel,
    *,
    realised: xr.DataArray | None = None,
    simulated: int = SIMULATED,
    seed: int = 0,
    memory_mib: float = MEMORY_MIB,
) -> xr.Dataset:
    """Posterior predictive distribution of each stock's return, given what was known before the month.

    ``p(r_ti | before t) = mean over draws of p(r_ti | draw)``, the month's shocks and noise level integrated out.
    Mean and sd are moments of the draws' laws; quantiles, PIT and CRPS come from simulated returns.

    Parameters
    ----------
    fit : of a model with `month_law`.
    panel : prepared; its returns are not looked at.
    realised : DataArray (time, asset) of returns that came, decimal, NaN where there is none; adds `pit` and `crps`.
    simulated : returns to simulate for each stock-month, at least; every draw has the same number of them.
    seed : of the simulation. The random numbers of a month depend on its date, not on the panel's other months.
    memory_mib : bound on the working arrays.

    Returns
    -------
    Dataset over (`time`, `asset`), NaN outside the universe: `mean`, `sd`, `quantiles` (..., quantile), decimal per
    period; and with `realised` `pit`, the predictive cdf at the return, and `crps`, the continuous ranked probability
    score (decimal per period, smaller is better), NaN where there is no return.

    Raises
    ------
    AlignmentError
        When the panel's characteristics, preparation or frequency are not those of the fit.
    EmptyWindowError
        With ``pooling="none"``, when no month of the panel follows a fitted one.
    """
    seed, simulated = as_seed(seed), as_integer("simulated", simulated)
    if simulated < 100:
        raise DataError(f"quantiles need at least 100 simulated returns: got simulated={simulated}")
    arrays = aligned_arrays(fit, panel)
    positions = latest_fitted(fit, panel.times, before=True)
    require_fitted(fit, positions, panel.times)
    n_draws = fit.shape[0] * fit.shape[1]
    repeats = -(-simulated // n_draws)

    (characteristics,) = padded_slots(np.asarray(arrays.characteristics))
    n_used, n_slots, width = arrays.in_universe.shape[1], characteristics.shape[1], characteristics.shape[2] + 8
    bytes_per_month = 8.0 * n_slots * n_draws * 4 * (repeats + 2)
    parts = []
    for block in blocks(len(panel.times), bytes_per_month, memory_mib):
        z = characteristics[block]
        made = over_draws(
            fit,
            shared(_simulated_months, fit.model, repeats),
            z,
            _days(panel)[block],
            positions[block],
            np.uint32(seed),
            bytes_per_draw=8.0 * len(z) * n_slots * (width + repeats),
            memory_mib=memory_mib / 4,
            reuse=True,
        )
        mean, variance, returns = (part[..., :n_used] for part in made)
        mean = mean.reshape(n_draws, *mean.shape[2:]).astype(float)
        total = variance.mean(axis=(0, 1), dtype=float) + mean.var(axis=0, ddof=1)
        ensemble = np.moveaxis(returns.reshape(n_draws, *returns.shape[2:]), 2, 1)  # (draw, repeat, time, slot)
        parts.append((mean.mean(axis=0), np.sqrt(total), ensemble.reshape(-1, *ensemble.shape[2:])))
    return _described(panel, arrays.asset, parts, realised, partial(labelled, fit), positions >= 0)


def _simulated_months(model: Any, repeats: int) -> Callable[..., Any]:
    """Mean, variance (month, slot) and simulated returns (month, repeat, slot) of months under one draw."""

    def one_draw(params: Any, z: jax.Array, days: jax.Array, positions: jax.Array, seed: jax.Array) -> Any:
        draw_key = jax.random.fold_in(jax.random.key(seed), params[DRAW])

        def one_month(month: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
            rows, day, position = month
            law = model.month_law(at_month(model, params, position), rows)
            keys = jax.random.split(jax.random.fold_in(draw_key, day), repeats)
            return law.mean, predictive_variance(law), jax.vmap(partial(simulate, law=law))(keys)

        return jax.lax.map(one_month, (z, days, positions))

    return one_draw


@partial(jax.jit, static_argnames="simulated")
def _returns_of_law(law: MonthLaw, key: jax.Array, day: jax.Array, simulated: int) -> tuple[jax.Array, jax.Array]:
    """Predictive sd (slot,) and simulated returns (draw, slot) of a month."""
    keys = jax.random.split(jax.random.fold_in(key, day), simulated)
    return jnp.sqrt(predictive_variance(law)), jax.vmap(partial(simulate, law=law))(keys)


def predictive_of_laws(
    law_of: Callable[[jax.Array, jax.Array], MonthLaw],
    mean: xr.DataArray,
    panel: Panel,
    *,
    realised: xr.DataArray | None = None,
    simulated: int = SIMULATED,
    seed: int = 0,
    memory_mib: float = MEMORY_MIB,
) -> xr.Dataset:
    """As `predictive_returns`, of forecasts `mean` (time, asset) with a law known up to its mean.

    Parameters
    ----------
    law_of : the law of a month from its mean (stock,) and characteristics (stock, characteristic).
    """
    arrays = panel.arrays()
    packed = _packed(mean.transpose("time", "asset").to_numpy(), np.asarray(arrays.asset))
    n_used = packed.shape[1]
    centre, z = padded_slots(np.nan_to_num(packed), np.asarray(arrays.characteristics))
    key, days = jax.random.key(as_seed(seed)), _days(panel)
    parts = []
    for block in blocks(len(panel.times), 8.0 * n_used * simulated * 4, memory_mib):
        with jax.enable_x64(True):
            # The law is an argument, a month at a time: one program serves all windows of a walk.
            made = [
                _returns_of_law(law_of(jnp.asarray(centre[month]), jnp.asarray(z[month])), key, days[month], simulated)
                for month in range(*block.indices(len(days)))
            ]
        sd, ensemble = (
            np.stack([np.asarray(month)[..., :n_used] for month in months]) for months in zip(*made, strict=True)
        )
        parts.append((packed[block], sd, np.moveaxis(ensemble, 1, 0)))

    def named(variables: Any, coords: Any, **attrs: Any) -> xr.Dataset:
        return xr.Dataset(variables, coords=coords, attrs=attrs)

    return _described(panel, arrays.asset, parts, realised, named, np.ones(len(panel.times), bool))


def _described(
    panel: Panel, asset: Any, parts: Any, realised: xr.DataArray | None, named: Callable[..., xr.Dataset], known: Any
) -> xr.Dataset:
    """Parts (mean, sd (time, slot), simulated returns (draw, time, slot)) of consecutive months as one Dataset."""
    asset = np.asarray(asset)
    shape = (len(panel.times), panel.data.sizes["asset"])
    came = np.full(asset.shape, np.nan)
    if realised is not None:
        matched = realised.transpose("time", "asset").sel(time=panel.data["time"], asset=panel.data["asset"])
        came = _packed(matched.to_numpy(), asset)
    columns: dict[str, list[np.ndarray]] = {"mean": [], "sd": [], "quantiles": [], "pit": [], "crps": []}
    first = 0
    for mean, sd, ensemble in parts:
        came_here = came[first : first + len(mean)]
        first += len(mean)
        for name, value in {"mean": mean, "sd": sd, **_summary(ensemble, came_here)}.items():
            columns[name].append(value)
    if realised is None:
        del columns["pit"], columns["crps"]
    month, slot = np.nonzero((asset >= 0) & known[:, None])
    variables: dict[str, Any] = {}
    for name, values in columns.items():
        packed = np.concatenate(values)
        full = np.full((*shape, *packed.shape[2:]), np.nan)
        full[month, asset[month, slot]] = packed[month, slot]
        variables[name] = (["time", "asset", "quantile"][: full.ndim], full)
    coords = {"time": panel.times.values, "asset": panel.data["asset"].values, "quantile": list(LEVELS)}
    return named(variables, coords, units=UNITS, quantity="predictive return")


def _summary(ensemble: np.ndarray, came: np.ndarray) -> dict[str, np.ndarray]:
    """Quantiles (time, slot, level) of simulated returns (draw, time, slot); PIT and CRPS of the returns that came."""
    import scoringrules  # late: slow to import

    ordered = np.sort(ensemble.astype(float, copy=False), axis=0)
    n = len(ordered)
    # Hazen's plotting positions, as those of the PIT below.
    quantiles = np.moveaxis(np.quantile(ordered, LEVELS, axis=0, method="hazen"), 0, -1)
    seen = np.isfinite(came)
    pit, crps = np.full(came.shape, np.nan), np.full(came.shape, np.nan)
    if seen.any():
        inside, value = np.moveaxis(ordered[:, seen], 0, -1), came[seen]
        below = np.sum(inside < value[:, None], axis=1)
        pit[seen] = (below + 0.5 * np.sum(inside == value[:, None], axis=1)) / n
        crps[seen] = scoringrules.crps_ensemble(value, inside, estimator="pwm", sorted_ensemble=True)
    return {"quantiles": quantiles, "pit": pit, "crps": crps}


def _packed(values: np.ndarray, asset: np.ndarray) -> np.ndarray:
    """Values (time, asset) by slot (time, slot), NaN in padding."""
    taken = np.take_along_axis(values, np.maximum(asset, 0), axis=1).astype(float)
    return np.where(asset >= 0, taken, np.nan)


def _days(panel: Panel) -> np.ndarray:
    """A whole number for each month that belongs to its date."""
    return panel.times.values.astype("datetime64[D]").astype(np.int32)
