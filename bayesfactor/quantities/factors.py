"""Sorted factors: what they earn, what they hold, and which characteristics they are sorted on."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr

from bayesfactor.components import rank_weights
from bayesfactor.errors import DataError, DataWarning, UnsupportedQuantityError, first_three
from bayesfactor.inference import Fit
from bayesfactor.panel import Panel
from bayesfactor.quantities.alignment import Alignment, alignment_of
from bayesfactor.quantities.draws import (
    MEMORY_MIB,
    aligned_arrays,
    bands,
    blocks,
    check_choice,
    check_prob,
    labelled,
    over_draws,
)

PER_PERIOD = "decimal per period"


def factors(
    fit: Fit,
    panel: Panel,
    *,
    prob: float = 0.9,
    summary: str = "bands",
    cumulative: bool = False,
    memory_mib: float = MEMORY_MIB,
) -> xr.Dataset:
    """Posterior of what each deep factor earned in every month with returns, training months or later ones.

    Feng, Polson and Xu (2020), eq. 15-19. Draws are aligned (see `align`).

    Parameters
    ----------
    fit : of a `SortedFactorModel`.
    panel : prepared as the training panel was.
    prob : probability inside the equal-tailed band.
    summary : "bands", or "draws" for the draws themselves (chain, draw, time, factor).
    cumulative : the running sum over the panel's months with returns, not compounded. Its band is no sum of bands.
    memory_mib : bound on the working arrays.

    Returns
    -------
    Dataset over (`time`, `factor`), decimal per period (decimal where cumulative): `mean`, `sd`, `lower`, `upper`,
    `prob_positive`; and `share_moved`, the share of the legs' weight whose stocks had no return (posterior mean, the
    larger leg). With ``summary="draws"``: `factor_return`. The attribute `train_last` is the last period learned from.

    Raises
    ------
    AlignmentError
        When the panel's characteristics, preparation or frequency are not those of the fit.
    DataError
        When no month has an observed return.
    """
    require_sorted(fit)
    check_prob(prob)
    check_choice("summary", summary, ("bands", "draws"))
    alignment = alignment_of(fit)
    arrays = aligned_arrays(fit, panel)
    kept = np.asarray(arrays.observed).any(axis=1)
    if not kept.any():
        raise DataError("factors earn something in months with returns: this panel has none")
    by_slot = (arrays.characteristics, arrays.returns, arrays.in_universe, arrays.observed)
    rows: list[Any] = [*(np.asarray(leaf)[kept] for leaf in by_slot), _sizes(fit, arrays, kept)]

    def one_draw(params: Any, *months: Any) -> tuple[jax.Array, jax.Array]:
        def one_month(month: Any) -> tuple[jax.Array, jax.Array]:
            z, returns, universe, observed, size = month
            legs = fit.model.portfolio_weights(params, z, universe, size)
            realised = rank_weights.portfolio_returns(legs, returns, observed)
            return realised.returns, jnp.maximum(*realised.share_moved)

        return jax.lax.map(one_month, months)

    returns, moved = over_draws(
        _networks_of(fit), one_draw, *rows, bytes_per_draw=_bytes(fit, rows[0].shape), memory_mib=memory_mib
    )
    if (late := rank_weights.lost(np.asarray(moved).reshape(-1, *moved.shape[2:]))).any():
        months = first_three(str(month) for month in panel.times.values[kept][late].astype("datetime64[D]"))
        warnings.warn(
            f"more than {rank_weights.LOST:.0%} of a leg belonged to stocks without a return; what the others earned "
            f"stands for it, and 0 where there are none: so in {months}",
            DataWarning,
            stacklevel=2,
        )
    returns = _aligned(returns, alignment)
    returns = np.cumsum(returns, axis=2, dtype=float) if cumulative else returns
    moved = _aligned(moved, alignment._replace(sign=np.abs(alignment.sign)))
    coords = {"time": panel.times.values[kept], "factor": _names(fit)}
    dims = ["time", "factor"]
    if summary == "draws":
        variables = {"factor_return": (["chain", "draw", *dims], returns)}
        coords |= {"chain": np.arange(fit.shape[0]), "draw": np.arange(fit.shape[1])}
    else:
        parts = {**bands(returns, prob), "share_moved": moved.mean(axis=(0, 1))}
        variables = {name: (dims, value) for name, value in parts.items()}
    units, quantity = ("decimal", "cumulative factor return") if cumulative else (PER_PERIOD, "factor return")
    told = {"train_last": f"{fit.train_times[-1]:%Y-%m-%d}"}
    return labelled(fit, variables, coords, units=units, prob=prob, quantity=quantity, **told)


def portfolio_weights(fit: Fit, panel: Panel, *, prob: float = 0.9, memory_mib: float = MEMORY_MIB) -> xr.Dataset:
    """Posterior of the weight of every stock in every factor, live months included.

    Parameters
    ----------
    fit, panel, prob, memory_mib : as in `factors`. Bands need all draws of a month at once: months are taken a few at a
        time.

    Returns
    -------
    Dataset over (`time`, `asset`, `factor`): `mean`, `sd`, `lower`, `upper`, `prob_positive` of the weight, long less
    short, each leg summing to one; NaN outside the universe. And over (`time`, `factor`) `effective_long` and
    `effective_short`, the effective number of stocks in each leg (posterior mean of ``1 / sum w^2``).
    """
    check_prob(prob)

    def of_month(params: Any, z: Any, universe: Any, size: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
        legs = fit.model.portfolio_weights(params, z, universe, size)
        effective = [rank_weights.effective_number(leg) for leg in legs]
        return legs.net, effective[0], effective[1]

    def summarised(values: Any, alignment: Alignment) -> dict[str, np.ndarray]:
        net, *effective = values
        turned = [_aligned(part, alignment._replace(sign=np.abs(alignment.sign))) for part in effective]
        # A factor turned round holds what it sold.
        swapped = (alignment.sign < 0).reshape(*fit.shape, 1, -1)
        long, short = (np.where(swapped, *pair) for pair in (turned[::-1], turned))
        weights = bands(_aligned(net, alignment), prob)
        return weights | {"effective_long": long.mean(axis=(0, 1)), "effective_short": short.mean(axis=(0, 1))}

    return _by_stock(fit, panel, of_month, summarised, "portfolio weight", "share of the leg", prob, memory_mib)


def deep_characteristics(fit: Fit, panel: Panel, *, prob: float = 0.9, memory_mib: float = MEMORY_MIB) -> xr.Dataset:
    """Posterior of the deep characteristics that stocks are sorted on, standardised over the universe of the month.

    Feng, Polson and Xu (2020), eq. 11-13.

    Parameters
    ----------
    fit, panel, prob, memory_mib : as in `portfolio_weights`.

    Returns
    -------
    Dataset over (`time`, `asset`, `factor`), standard deviations of the month: `mean`, `sd`, `lower`, `upper`,
    `prob_positive`; NaN outside the universe.
    """
    check_prob(prob)

    def of_month(params: Any, z: Any, universe: Any, size: Any) -> tuple[jax.Array]:
        return (rank_weights.standardise(fit.model.deep_characteristics(params, z), universe),)

    def summarised(values: Any, alignment: Alignment) -> dict[str, np.ndarray]:
        return bands(_aligned(values[0], alignment), prob)

    return _by_stock(fit, panel, of_month, summarised, "deep characteristic", "sd of the month", prob, memory_mib)


def top_holdings(weights: xr.Dataset, when: Any, *, n: int = 10) -> pd.DataFrame:
    """The stocks that each factor holds and sells most in a month.

    Parameters
    ----------
    weights : of `portfolio_weights`.
    when : a period of it.
    n : stocks a leg at most; no stock is in both.

    Returns
    -------
    DataFrame indexed by factor, leg ("long": of positive mean weight; "short") and rank: asset, and the weight's mean,
    lower, upper. Columns `bands` and `likelihood_kind` say so where bands are uncalibrated, or a pseudo-likelihood's.
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise DataError(f"n must be a whole number of stocks, 1 or more: got {n!r}")
    try:
        month = weights.sel(time=when)
    except KeyError:
        raise DataError(
            f"holdings must be of a period of the weights, from {_day(weights, 0)} to {_day(weights, -1)}: found "
            f"{when!r}"
        ) from None
    if "time" in month.dims:
        if month.sizes["time"] != 1:
            raise DataError(f"holdings are of one period: {when!r} has {month.sizes['time']}")
        month = month.isel(time=0)
    rows = []
    for factor in month["factor"].values:
        mean = month["mean"].sel(factor=factor).dropna("asset")
        ordered = mean.sortby(mean)
        bought = ordered["asset"].values[ordered.values > 0][::-1]
        sold = ordered["asset"].values[ordered.values < 0]
        for leg, held in (("long", bought[:n]), ("short", sold[:n])):
            for rank, asset in enumerate(held, start=1):
                one = month.sel(factor=factor, asset=asset)
                values = {name: float(one[name]) for name in ("mean", "lower", "upper")}
                rows.append({"factor": factor, "leg": leg, "rank": rank, "asset": asset, **values})
    index = ["factor", "leg", "rank"]
    table = pd.DataFrame(rows, columns=[*index, "asset", "mean", "lower", "upper"]).set_index(index)
    said = {name: weights.attrs[name] for name in ("bands", "likelihood_kind") if name in weights.attrs}
    table.attrs = {name: weights.attrs.get(name) for name in ("units", "status", "prob")}
    table.attrs.update(said.items())
    return table.assign(**said)


def importance(
    fit: Fit, panel: Panel, *, prob: float = 0.9, summary: str = "bands", memory_mib: float = MEMORY_MIB
) -> xr.Dataset:
    """How much each characteristic moves the standardised deep characteristics: mean absolute gradient.

    ``mean over stocks and months of |d Y_p / d z_k|``, ``Y`` in standard deviations of its month (the gradient of a
    stock's own ``Y``, with the month's mean and sd held). After AZT's feature importance, which adds over factors too.

    Parameters
    ----------
    fit, panel, prob, memory_mib : as in `factors`.
    summary : "bands", or "draws" for (chain, draw, factor, characteristic).

    Returns
    -------
    Dataset over (`factor`, `characteristic`), sd of the month per unit of the prepared characteristic: `mean`, `sd`,
    `lower`, `upper`. With ``summary="draws"``: `importance`.
    """
    require_sorted(fit)
    check_prob(prob)
    check_choice("summary", summary, ("bands", "draws"))
    alignment = alignment_of(fit)
    arrays = aligned_arrays(fit, panel)
    universe = np.asarray(arrays.in_universe)
    weights = universe / np.maximum(universe.sum(axis=1, keepdims=True), 1)

    def one_draw(params: Any, z: Any, universe: Any, weights: Any) -> jax.Array:
        def one_month(month: Any) -> jax.Array:
            rows, inside, weight = month
            deep = fit.model.deep_characteristics(params, rows)
            mean = jnp.sum(weight[:, None] * jnp.where(inside[:, None], deep, 0.0), axis=0)
            centred = jnp.where(inside[:, None], deep - mean, 0.0)
            spread = jnp.sqrt(jnp.sum(weight[:, None] * centred**2, axis=0))
            gradient = jax.vmap(jax.jacrev(lambda row: fit.model.deep_characteristics(params, row[None])[0]))(rows)
            total = jnp.einsum("i,ipk->pk", weight, jnp.abs(gradient))
            return total / jnp.where(spread > 0, spread, jnp.inf)[:, None]

        return jnp.mean(jax.lax.map(one_month, (z, universe, weights)), axis=0)

    used = universe.any(axis=1)
    z = np.asarray(arrays.characteristics)
    width = 8.0 * z.shape[1] * z.shape[2] * (4 + fit.model.n_factors)
    values = over_draws(
        _networks_of(fit), one_draw, z[used], universe[used], weights[used], bytes_per_draw=width, memory_mib=memory_mib
    )
    flat = values.reshape(-1, *values.shape[2:])
    flat = alignment._replace(sign=np.abs(alignment.sign)).apply(flat, -2)
    values = flat.reshape(*fit.shape, *flat.shape[1:])
    coords: dict[str, Any] = {"factor": _names(fit), "characteristic": list(fit.characteristics)}
    dims = ["factor", "characteristic"]
    units = "sd of the month per unit of the prepared characteristic"
    if summary == "draws":
        coords |= {"chain": np.arange(fit.shape[0]), "draw": np.arange(fit.shape[1])}
        variables = {"importance": (["chain", "draw", *dims], values)}
    else:
        parts = bands(values, prob)
        variables = {name: (dims, parts[name]) for name in ("mean", "sd", "lower", "upper")}
    return labelled(fit, variables, coords, units=units, prob=prob, quantity="importance")


def _day(weights: xr.Dataset, position: int) -> str:
    return f"{pd.Timestamp(weights['time'].values[position]):%Y-%m-%d}"


def require_sorted(fit: Fit) -> None:
    """Refuse a model that sorts no stocks.

    Raises
    ------
    UnsupportedQuantityError
        Naming the model.
    """
    if not hasattr(fit.model, "portfolio_weights"):
        raise UnsupportedQuantityError(
            f"this is about factors that are sorted from characteristics, and {type(fit.model).__name__} has none: "
            "fit a SortedFactorModel"
        )


def _by_stock(
    fit: Fit,
    panel: Panel,
    of_month: Callable[..., Any],
    summarised: Callable[[Any, Alignment], dict[str, np.ndarray]],
    quantity: str,
    units: str,
    prob: float,
    memory_mib: float,
) -> xr.Dataset:
    """Summaries over draws of what every stock of every month has, months a few at a time."""
    require_sorted(fit)
    alignment = alignment_of(fit)
    arrays = aligned_arrays(fit, panel)
    used = np.asarray(arrays.in_universe)
    kept = used.any(axis=1)
    z, sizes = np.asarray(arrays.characteristics)[kept], _sizes(fit, arrays, kept)
    n_months, n_slots = used[kept].shape
    n_draws, n_factors = fit.shape[0] * fit.shape[1], fit.model.n_factors

    def one_draw(params: Any, *months: Any) -> Any:
        return jax.lax.map(lambda month: of_month(params, *month), months)

    parts: list[dict[str, np.ndarray]] = []
    for block in blocks(n_months, 4 * 8.0 * n_draws * n_slots * n_factors, memory_mib):
        rows = (z[block], used[kept][block], None if sizes is None else sizes[block])
        values = over_draws(
            _networks_of(fit), one_draw, *rows, bytes_per_draw=_bytes(fit, rows[0].shape), memory_mib=memory_mib / 4
        )
        parts.append(summarised(values, alignment))
    month, slot = np.nonzero(used[kept])
    asset = np.asarray(arrays.asset)[kept][month, slot]
    variables: dict[str, tuple[list[str], np.ndarray]] = {}
    for name in parts[0]:
        packed = np.concatenate([part[name] for part in parts])
        if packed.ndim == 2:
            variables[name] = (["time", "factor"], packed)
            continue
        full = np.full((n_months, panel.data.sizes["asset"], n_factors), np.nan)
        full[month, asset] = packed[month, slot]
        variables[name] = (["time", "asset", "factor"], full)
    coords = {"time": panel.times.values[kept], "asset": panel.data["asset"].values, "factor": _names(fit)}
    return labelled(fit, variables, coords, units=units, prob=prob, quantity=quantity)


def _networks_of(fit: Fit) -> Fit:
    """The fit with what portfolios depend on alone: a full residual covariance need not travel to the device."""
    posterior = fit.tree["posterior"].to_dataset()
    kept = [name for name in posterior.data_vars if name == "sort_weight" or str(name).startswith("network")]
    tree = fit.tree.copy()
    tree["posterior"] = xr.DataTree(posterior[kept])
    return Fit(fit.model, fit.inference, tree, fit.status, fit.reasons, fit.provenance)


def _aligned(values: np.ndarray, alignment: Alignment) -> np.ndarray:
    """Draws (chain, draw, ..., factor) in order."""
    flat = alignment.apply(values.reshape(-1, *values.shape[2:]), -1)
    return flat.reshape(values.shape)


def _names(fit: Fit) -> list[str]:
    return [f"deep_{index}" for index in range(1, fit.model.n_factors + 1)]


def _sizes(fit: Fit, arrays: Any, kept: Any) -> np.ndarray | None:
    size = fit.model.sizes(arrays)
    return None if size is None else size[kept]


def _bytes(fit: Fit, shape: tuple[int, ...]) -> float:
    """Working arrays of a draw: one month at a time."""
    width = max([shape[2], fit.model.n_factors * 4, *fit.model.hidden])
    return 4 * 8.0 * shape[1] * width + 8.0 * shape[0] * fit.model.n_factors
