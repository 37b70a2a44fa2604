"""Sensitivities and interactions: how expected returns respond to characteristics and to pairs of them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from bayesfactor.errors import EmptyWindowError, UnsupportedQuantityError
from bayesfactor.inference import Fit
from bayesfactor.inference.by_month import is_by_month
from bayesfactor.panel import Panel, PanelArrays
from bayesfactor.quantities.draws import (
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
    rank_bands,
    require_room,
)

UNITS = "decimal per period per unit of the prepared characteristic"


def sensitivities(
    fit: Fit,
    panel: Panel,
    *,
    by: str = "panel",
    prob: float = 0.9,
    summary: str = "bands",
    memory_mib: float = MEMORY_MIB,
) -> xr.Dataset:
    """Posterior of the average sensitivity of expected returns to each characteristic.

    ``d E[r_t | z_t] / dz`` at the population slopes, averaged over the stocks of the universe and then over months
    with equal weights. Dixon and Polson (2020), eq. 7. With ``pooling="none"`` a month that was fitted takes its own
    parameters, and a later one those of the latest fitted month; the average over months is one over their fits.

    Parameters
    ----------
    fit : of a model with characteristics.
    panel : prepared panel whose universe is averaged over; months without returns count too.
    by : "panel" (one number a characteristic), "time" (one a month) or "asset" (average over the asset's months).
    prob : probability inside the equal-tailed band.
    summary : "bands", or "draws" for the draws themselves.
    memory_mib : bound on the working arrays, and on the result of summary="draws".

    Returns
    -------
    Dataset over `characteristic` (and `time` or `asset`), decimal per period per unit of the prepared
    characteristic: `mean`, `sd` (posterior uncertainty of the average), `lower`, `upper`; `panel_sd`, the dispersion
    of the sensitivity over stocks and months (posterior mean; figure 5 of the paper), which is not an uncertainty;
    `rank_lower`, `rank_median`, `rank_upper`, posterior interval of the rank by root mean square over the panel
    (1 is the strongest); `prob_positive`. With ``summary="draws"``: `sensitivity`, `panel_sd` and `rms` with leading
    dims (chain, draw).

    Raises
    ------
    AlignmentError
        When the panel's characteristics, preparation or frequency are not those of the fit.
    DataError
        When the draws asked for exceed `memory_mib`.
    EmptyWindowError
        With ``pooling="none"``, when a month of the panel is before the first fitted one.
    """
    _require(fit, "gradient_sums", "sensitivities")
    check_prob(prob)
    check_choice("by", by, ("panel", "time", "asset"))
    check_choice("summary", summary, ("bands", "draws"))
    arrays = aligned_arrays(fit, panel)
    rows, weights, labels, months = grouped_rows(arrays, panel, by)
    positions = _own_positions(fit, panel)[months]
    n_draws = fit.shape[0] * fit.shape[1]
    n_characteristics = rows.shape[-1]
    if summary == "draws" and by != "panel":
        groups = f"{len(rows):,} {'periods' if by == 'time' else 'assets'} and {n_characteristics} characteristics"
        require_room(fit, groups, 3 * len(rows) * n_characteristics, memory_mib)
    parts: list[dict[str, np.ndarray]] = []
    for block in blocks(len(rows), 3 * 8.0 * n_draws * n_characteristics, memory_mib):
        sums = _gradient_means(fit, rows[block], weights[block], positions[block], by == "panel", memory_mib)
        if by != "panel":
            sums = _moments(sums) if summary == "draws" else _summarise(_moments(sums), prob)
        parts.append(sums)
    names = list(fit.characteristics)
    coords: dict[str, Any] = {"characteristic": names}
    group_dims: list[str] = []
    if by == "panel":
        draws = _pooled(parts, len(rows))
        result = draws if summary == "draws" else _summarise(draws, prob)
    else:
        coords[by], group_dims = labels, [by]
        axis = 2 if summary == "draws" else 0
        result = {name: np.concatenate([part[name] for part in parts], axis=axis) for name in parts[0]}
    if summary == "draws":
        dims = ["chain", "draw", *group_dims, "characteristic"]
        coords |= {"chain": np.arange(fit.shape[0]), "draw": np.arange(fit.shape[1])}
    else:
        dims = [*group_dims, "characteristic"]
    variables = {name: (dims, values) for name, values in result.items()}
    return labelled(fit, variables, coords, units=UNITS, prob=prob, by=by, quantity="sensitivity")


def interactions(
    fit: Fit,
    panel: Panel,
    *,
    top: int | None = None,
    prob: float = 0.9,
    summary: str = "bands",
    memory_mib: float = MEMORY_MIB,
) -> xr.Dataset:
    """Posterior of the average interaction of every pair of characteristics.

    ``d^2 E[r_t | z_t] / dz_j dz_k`` at the population slopes, averaged like `sensitivities`. Dixon and Polson
    (2020), eq. 8, off the diagonal.

    Parameters
    ----------
    fit, panel, prob, summary, memory_mib : as in `sensitivities`.
    top : give only the strongest pairs, in order of their median rank.

    Returns
    -------
    Dataset over (`characteristic`, `characteristic_2`), symmetric and NaN on the diagonal; or with `top` over `pair`,
    with `characteristic` and `characteristic_2` as coordinates. Variables as in `sensitivities`; ranks are among
    pairs, by root mean square over the panel. With ``summary="draws"``: `interaction` and `rms` over
    (chain, draw, pair).

    Raises
    ------
    UnsupportedQuantityError
        For linear models and for activations without a second derivative.
    AlignmentError
        When the panel's characteristics, preparation or frequency are not those of the fit.
    """
    _require(fit, "hessian_sums", "interactions")
    check_prob(prob)
    check_choice("summary", summary, ("bands", "draws"))
    arrays = aligned_arrays(fit, panel)
    rows, weights, _, months = grouped_rows(arrays, panel, "panel")
    draws = _hessian_means(fit, rows, weights, _own_positions(fit, panel)[months], memory_mib)
    first, second = np.triu_indices(rows.shape[-1], k=1)
    names = np.array(fit.characteristics)
    values = draws["value"][..., first, second]
    rms = np.sqrt(np.maximum(draws["square"][..., first, second], 0.0))
    if not rms.any():
        raise UnsupportedQuantityError(
            "every second derivative is exactly zero: the network is piecewise linear (ReLU?) or has one input. Use a "
            "smooth activation such as tanh or softplus."
        )
    pairs = {
        "characteristic": ("pair", names[first]),
        "characteristic_2": ("pair", names[second]),
        "pair": [f"{a} x {b}" for a, b in zip(names[first], names[second], strict=True)],
    }
    attrs = {"units": UNITS + " squared", "prob": prob, "quantity": "interaction"}
    if summary == "draws":
        dims = ["chain", "draw", "pair"]
        coords = {**pairs, "chain": np.arange(fit.shape[0]), "draw": np.arange(fit.shape[1])}
        return labelled(fit, {"interaction": (dims, values), "rms": (dims, rms)}, coords, **attrs)
    panel_sd = np.sqrt(np.maximum(rms**2 - values**2, 0.0)).mean(axis=(0, 1))
    result = {**bands(values, prob), "panel_sd": panel_sd, **rank_bands(rms, prob)}
    by_pair = labelled(fit, {name: (["pair"], value) for name, value in result.items()}, pairs, **attrs)
    if top is not None:
        strength = np.sqrt((rms**2).mean(axis=(0, 1)))
        order = np.lexsort((-strength, result["rank_median"]))
        return by_pair.isel(pair=order[:top])
    square = {}
    for name, value in result.items():
        matrix = np.full((len(names), len(names)), np.nan)
        matrix[first, second] = matrix[second, first] = value
        square[name] = (["characteristic", "characteristic_2"], matrix)
    return labelled(fit, square, {"characteristic": names, "characteristic_2": names}, **attrs)


def _require(fit: Fit, function: str, quantity: str) -> None:
    """Refuse a model without expected returns of its own."""
    if isinstance(fit, Fit) and not hasattr(fit.model, function):
        raise UnsupportedQuantityError(
            f"{quantity} are derivatives of a stock's expected return, and {type(fit.model).__name__} has none: of its "
            "factors see importance, loadings and alphas"
        )


def _own_positions(fit: Fit, panel: Panel) -> np.ndarray:
    """Which fitted month's parameters each month takes, its own where it was fitted."""
    positions = latest_fitted(fit, panel.times, before=False)
    if (positions < 0).any():
        raise EmptyWindowError(
            f"with pooling='none' a month has the parameters of its own fit or of an earlier one: the first is of "
            f"{fit.train_times[0]:%Y-%m-%d}, and this panel begins {panel.times[0]:%Y-%m-%d}. Select the later months "
            "with panel.sel or panel.split."
        )
    return positions


def grouped_rows(arrays: PanelArrays, panel: Panel, by: str) -> tuple[np.ndarray, np.ndarray, Any, np.ndarray]:
    """Rows (group, row, characteristic), their weights (group, row) summing to one a group, and labels (group,).

    Last the position in the panel of each group's month (group,), or by asset of each row's (group, row).
    """
    used = np.asarray(arrays.in_universe)
    if by != "asset":
        count = used.sum(axis=1)
        kept = count > 0
        weights = used[kept] / count[kept, None]
        return np.asarray(arrays.characteristics)[kept], weights, panel.times.values[kept], np.flatnonzero(kept)
    month, slot = np.nonzero(used)
    asset = np.asarray(arrays.asset)[month, slot]
    order = np.argsort(asset, kind="stable")
    month, slot, asset = month[order], slot[order], asset[order]
    present, start, count = np.unique(asset, return_index=True, return_counts=True)
    position = np.arange(len(asset)) - np.repeat(start, count)
    group = np.repeat(np.arange(len(present)), count)
    rows = np.zeros((len(present), count.max(), arrays.characteristics.shape[-1]))
    weights = np.zeros(rows.shape[:2])
    rows[group, position] = np.asarray(arrays.characteristics)[month, slot]
    weights[group, position] = 1.0 / count[group]
    months = np.zeros(rows.shape[:2], int)
    months[group, position] = month
    return rows, weights, panel.data["asset"].values[present], months


def _gradient_means(
    fit: Fit, rows: np.ndarray, weights: np.ndarray, positions: np.ndarray, pooled: bool, memory_mib: float
) -> dict[str, np.ndarray]:
    """Weighted means of the sensitivity and of its square, (chain, draw, group, characteristic).

    With `pooled`, summed over groups: (chain, draw, characteristic). `positions` (group,), or (group, row) where the
    rows of a group are of different months.
    """
    width = max([rows.shape[-1], *getattr(fit.model, "hidden", ())])
    row_by_row = positions.ndim == 2 and is_by_month(fit.model)
    if row_by_row:
        width += sum(value[0, 0].size for value in fit.parameters().values())  # every row has its own parameters

    def one_draw(params: Any, *groups: jax.Array) -> Any:
        def one_group(group: Any) -> Any:
            rows, weights, position = group
            return fit.model.gradient_sums(at_month(fit.model, params, position), rows, weights)

        def one_by_one(group: Any) -> Any:
            by_row = jax.vmap(one_group)(jax.tree.map(lambda leaf: leaf[:, None], group[:2]) + group[2:])
            return jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), by_row)

        sums = jax.lax.map(one_by_one if row_by_row else one_group, groups)
        return jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), sums) if pooled else sums

    sums = over_draws(
        fit,
        one_draw,
        rows,
        weights,
        positions,
        bytes_per_draw=6 * 8.0 * rows.shape[1] * width,
        memory_mib=memory_mib / 4,
    )
    return {"value": sums.value, "square": sums.square}


def _hessian_means(
    fit: Fit, rows: np.ndarray, weights: np.ndarray, positions: np.ndarray, memory_mib: float
) -> dict[str, np.ndarray]:
    """Means over the panel of second derivatives and their squares, (chain, draw, characteristic, characteristic)."""
    n_groups, n_rows, n_characteristics = rows.shape
    width = max([n_characteristics, *getattr(fit.model, "hidden", ())])
    # Stocks are taken in blocks, so that the Hessians of a block and a draw fit.
    piece = int(np.clip(memory_mib * 2**20 / 8 / (4 * 8.0 * width**2), 1, n_rows))
    n_pieces = -(-n_rows // piece)
    padding = n_pieces * piece - n_rows
    rows = np.pad(rows, ((0, 0), (0, padding), (0, 0))).reshape(n_groups * n_pieces, piece, n_characteristics)
    weights = np.pad(weights, ((0, 0), (0, padding))).reshape(n_groups * n_pieces, piece) / n_groups
    positions = np.repeat(positions, n_pieces)

    def one_draw(params: Any, rows: jax.Array, weights: jax.Array, positions: jax.Array) -> Any:
        def of_group(rows: jax.Array, weights: jax.Array, position: jax.Array) -> Any:
            return fit.model.hessian_sums(at_month(fit.model, params, position), rows, weights)

        def add(total: Any, group: Any) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, total, of_group(*group)), None

        zero = jax.tree.map(
            lambda leaf: jnp.zeros(leaf.shape, leaf.dtype),
            jax.eval_shape(of_group, rows[0], weights[0], positions[0]),
        )
        return jax.lax.scan(add, zero, (rows, weights, positions))[0]

    sums = over_draws(
        fit, one_draw, rows, weights, positions, bytes_per_draw=4 * 8.0 * piece * width**2, memory_mib=memory_mib / 2
    )
    return {"value": sums.value, "square": sums.square}


def _pooled(parts: list[dict[str, np.ndarray]], n_groups: int) -> dict[str, np.ndarray]:
    """Equal-weighted mean over months of blocks that were summed over theirs."""
    totals = {name: np.sum([part[name] for part in parts], axis=0) / n_groups for name in ("value", "square")}
    return _moments(totals)


def _moments(sums: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    variance = np.maximum(sums["square"] - sums["value"] ** 2, 0.0)
    return {
        "sensitivity": sums["value"],
        "panel_sd": np.sqrt(variance),
        "rms": np.sqrt(np.maximum(sums["square"], 0.0)),
    }


def _summarise(draws: dict[str, np.ndarray], prob: float) -> dict[str, np.ndarray]:
    rms = draws["rms"]
    if rms.ndim == 3:
        ranks = rank_bands(rms, prob)
    else:
        by_group = [rank_bands(rms[:, :, group], prob) for group in range(rms.shape[2])]
        ranks = {name: np.stack([item[name] for item in by_group]) for name in by_group[0]}
    return {**bands(draws["sensitivity"], prob), "panel_sd": draws["panel_sd"].mean(axis=(0, 1)), **ranks}
