"""Expected returns, and how probable a month's returns were."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import xarray as xr

from bayesfactor.components.month import marginal_log_density, predictive_variance
from bayesfactor.inference import Fit
from bayesfactor.inference.settings import as_seed
from bayesfactor.panel import Panel
from bayesfactor.quantities.draws import (
    DRAW,
    MEMORY_MIB,
    aligned_arrays,
    at_month,
    bands,
    blocks,
    check_choice,
    check_prob,
    labelled,
    latest_fitted,
    over_draws,
    padded_slots,
    require_fitted,
    require_room,
    shared,
)


def expected_returns(
    fit: Fit, panel: Panel, *, prob: float = 0.9, summary: str = "bands", memory_mib: float = MEMORY_MIB
) -> xr.Dataset:
    """Posterior of each stock's expected excess return, given what was known before the month.

    ``E[r_t | before t]`` at the population slopes. Months without returns (the live forecast) are included. With
    ``pooling="none"`` a month takes the parameters of the latest fitted month before it, never its own, and is NaN
    where there is none.

    Parameters
    ----------
    fit : of a predictive model.
    panel : prepared panel.
    prob : probability inside the equal-tailed band.
    summary : "bands", or "draws" for the draws themselves (chain, draw, time, asset).
    memory_mib : bound on the working arrays, and on the result of summary="draws".

    Returns
    -------
    Dataset over (`time`, `asset`), decimal per period, NaN outside the universe: `mean`, `sd`, `lower`, `upper`,
    `prob_positive` of the EXPECTED return (what is uncertain is the parameters), and `predictive_sd`, the sd of the
    RETURN itself: parameters, the month's common shocks and the stock's own noise.

    Raises
    ------
    AlignmentError
        When the panel's characteristics, preparation or frequency are not those of the fit.
    DataError
        When the draws asked for exceed `memory_mib`.
    EmptyWindowError
        With ``pooling="none"``, when no month of the panel follows a fitted one.
    """
    check_prob(prob)
    check_choice("summary", summary, ("bands", "draws"))
    arrays = aligned_arrays(fit, panel)
    positions = latest_fitted(fit, panel.times, before=True)
    require_fitted(fit, positions, panel.times)
    shape = (len(panel.times), panel.data.sizes["asset"])
    used = np.asarray(arrays.in_universe)
    month, slot = np.nonzero(used)
    asset = np.asarray(arrays.asset)[month, slot]
    n_draws, n_slots = fit.shape[0] * fit.shape[1], used.shape[1]
    if summary == "draws":
        require_room(fit, f"{shape[0]} periods and {shape[1]:,} assets", shape[0] * shape[1], memory_mib)

    def one_draw(params: Any, z: jax.Array, positions: jax.Array) -> Any:
        def one_month(month: Any) -> tuple[jax.Array, jax.Array]:
            rows, position = month
            law = fit.model.month_law(at_month(fit.model, params, position), rows)
            return law.mean, predictive_variance(law)

        return jax.lax.map(one_month, (z, positions))

    width = max([arrays.characteristics.shape[-1], *getattr(fit.model, "hidden", ())]) + 2
    parts: list[dict[str, np.ndarray]] = []
    for block in blocks(shape[0], 4 * 8.0 * n_draws * n_slots, memory_mib):
        z = np.asarray(arrays.characteristics)[block]
        mean, variance = over_draws(
            fit,
            one_draw,
            z,
            positions[block],
            bytes_per_draw=4 * 8.0 * z.shape[0] * n_slots * width,
            memory_mib=memory_mib / 4,
        )
        if summary == "draws":
            parts.append({"expected_return": mean})
            continue
        part = bands(mean, prob)
        total = variance.mean(axis=(0, 1), dtype=np.float64) + part["sd"] ** 2
        parts.append({**part, "predictive_sd": np.sqrt(total)})
    axis = 2 if summary == "draws" else 0
    dims = ["time", "asset"]
    coords: dict[str, Any] = {"time": panel.times.values, "asset": panel.data["asset"].values}
    variables = {}
    for name in parts[0]:
        packed = np.concatenate([part[name] for part in parts], axis=axis)
        packed[(slice(None),) * axis + (positions < 0,)] = np.nan
        full = np.full((*packed.shape[:axis], *shape), np.nan)
        full[..., month, asset] = packed[..., month, slot]
        variables[name] = (["chain", "draw", *dims] if summary == "draws" else dims, full)
    if summary == "draws":
        coords |= {"chain": np.arange(fit.shape[0]), "draw": np.arange(fit.shape[1])}
    return labelled(fit, variables, coords, units="decimal per period, excess", prob=prob, quantity="expected return")


def month_log_likelihood(fit: Fit, panel: Panel, *, seed: int = 0, memory_mib: float = MEMORY_MIB) -> xr.DataArray:
    """Log density of every month's returns for every draw, the month's shocks and noise level integrated out.

    Parameters
    ----------
    fit : of a model with `month_law`.
    panel : prepared panel; months without an observed return are left out.
    seed : of the importance sampling under Student-t noise.
    memory_mib : bound on the working arrays.

    Returns
    -------
    DataArray (chain, draw, time): natural log of the joint density of the month's observed returns, decimal. With
    ``pooling="none"`` under the parameters of the latest fitted month before it; NaN where there is none.

    Raises
    ------
    EmptyWindowError
        With ``pooling="none"``, when no month of the panel follows a fitted one.
    """
    positions = latest_fitted(fit, panel.times, before=True)
    require_fitted(fit, positions, panel.times)
    return log_likelihood_at(fit, panel, positions, seed=seed, memory_mib=memory_mib)


def log_likelihood_at(
    fit: Fit, panel: Panel, positions: np.ndarray, *, seed: int = 0, memory_mib: float = MEMORY_MIB
) -> xr.DataArray:
    """`month_log_likelihood`, every month (time,) under the parameters of the fitted month at its position.

    The month's own parameters are no forecast: they are for returns of that month that were left out of the fit.
    """
    seed = as_seed(seed)
    arrays = aligned_arrays(fit, panel)
    kept = np.asarray(arrays.observed).any(axis=1)
    # A month's random numbers belong to its date: its score is the same in any slice of the panel.
    keys = panel.times.values[kept].astype("datetime64[D]").astype(np.int32)
    rows = padded_slots(*(np.asarray(part)[kept] for part in (arrays.characteristics, arrays.returns, arrays.observed)))
    values = over_draws(
        fit,
        shared(_month_densities, fit.model),
        *rows,
        keys,
        positions[kept],
        np.uint32(seed),
        bytes_per_draw=300 * 8.0 * rows[0].shape[1],
        memory_mib=memory_mib,
        reuse=True,
    )
    values = np.where(positions[kept] < 0, np.nan, values.astype(np.float64))
    return xr.DataArray(
        values,
        dims=["chain", "draw", "time"],
        coords={
            "chain": np.arange(fit.shape[0]),
            "draw": np.arange(fit.shape[1]),
            "time": panel.times.values[kept],
        },
        name="log_likelihood",
        attrs={"units": "nats per month, decimal returns", "marginal_over": "month shocks and noise level"},
    )


def _month_densities(model: Any) -> Callable[..., jax.Array]:
    """Log density of every month (month,) under one draw."""

    def one_draw(params: Any, *given: jax.Array) -> jax.Array:
        *months, seed = given
        draw_key = jax.random.fold_in(jax.random.key(seed), params[DRAW])  # errors must average out over draws

        def one_month(month: Any) -> jax.Array:
            z, r, seen, number, position = month
            key = jax.random.fold_in(draw_key, number)
            return marginal_log_density(model.month_law(at_month(model, params, position), z), r, seen, key)

        return jax.lax.map(one_month, tuple(months))

    return one_draw
