"""Map functions of one draw over the posterior, and reduce draws to bands."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import rankdata

from bayesfactor.components.batches import map_in_batches
from bayesfactor.errors import AlignmentError, DataError, EmptyWindowError
from bayesfactor.inference import Fit
from bayesfactor.inference.by_month import is_by_month
from bayesfactor.inference.sampling import COMPILER
from bayesfactor.panel import Panel, PanelArrays

DRAW = "draw number"  # stands beside the parameters of a draw, for what needs its own random numbers
MEMORY_MIB = 512  # default bound on the working arrays of a quantity


def aligned_arrays(fit: Fit, panel: Panel) -> PanelArrays:
    """The panel's arrays, its characteristics in the order of the fit.

    Raises
    ------
    AlignmentError
        When the panel's characteristics, preparation or frequency are not those that the fit was trained on.
    """
    if not isinstance(fit, Fit):
        raise DataError(f"a quantity is asked of a fit: found {type(fit).__name__}. Load a saved one with load(path).")
    if not isinstance(panel, Panel):
        raise DataError(
            f"a quantity is asked over a Panel: found {type(panel).__name__}. Read a frame with read_frame, load a "
            "window of a store with store.load(...)."
        )
    if panel.preparation != fit.preparation:
        raise AlignmentError(
            f"the fit was trained on characteristics prepared by {fit.preparation!r}, this panel's are "
            f"{panel.preparation!r}: prepare it the same way"
        )
    if panel.frequency != fit.frequency:
        raise AlignmentError(
            f"the panel must have the frequency of the fit: the fit is {fit.frequency}, the panel is {panel.frequency}"
        )
    if panel.characteristics != fit.characteristics:
        missing = [name for name in fit.characteristics if name not in panel.characteristics]
        extra = [name for name in panel.characteristics if name not in fit.characteristics]
        if missing or extra:
            raise AlignmentError(
                f"the panel's characteristics must be those of the fit: missing {missing}, not known to the fit {extra}"
            )
        panel = panel.sel(characteristic=list(fit.characteristics))
    return panel.arrays()


def latest_fitted(fit: Fit, times: pd.DatetimeIndex, *, before: bool) -> np.ndarray:
    """Which fitted month's parameters each month (month,) takes, by position; -1 where there is none.

    The latest of those strictly before it, as for a forecast, or else its own where it was fitted. All zero for models
    whose months share one set of parameters.
    """
    if not is_by_month(fit.model):
        return np.zeros(len(times), int)
    return np.asarray(fit.train_times.searchsorted(times, side="left" if before else "right")) - 1


def padded_slots(*arrays: np.ndarray) -> list[np.ndarray]:
    """Arrays (time, slot, ...) with a round number of slots, so that panels of nearly one width share a program.

    At most a seventh is padding beyond 8 slots: the number is 4 to 7 times a power of two, or 8 or less.
    """
    n_slots = arrays[0].shape[1]
    step = 2 ** max(math.ceil(math.log2(max(n_slots, 1) / 7.0)), 0)
    more = -(-n_slots // step) * step - n_slots
    return [np.pad(array, [(0, 0), (0, more)] + [(0, 0)] * (array.ndim - 2)) for array in arrays]


def require_fitted(fit: Fit, positions: np.ndarray, times: pd.DatetimeIndex) -> None:
    """Refuse when no month of a panel has parameters.

    Raises
    ------
    EmptyWindowError
        Where all of `positions` are -1.
    """
    if (positions < 0).all():
        raise EmptyWindowError(
            f"pooling='none' takes the parameters of the latest month fitted before a month: the first is "
            f"{fit.train_times[0]:%Y-%m-%d}, and this panel ends {times[-1]:%Y-%m-%d}. Give later months."
        )


def at_month(model: Any, params: Any, position: Any) -> Any:
    """Parameters of the fitted month at a position; all of them, where months share one set."""
    return model.at(params, position) if is_by_month(model) else params


def is_double(fit: Fit) -> bool:
    """Whether the fit's draws were computed in float64."""
    return bool(fit.provenance["precision"] == "float64")


@lru_cache(maxsize=64)
def _made(make: Callable[..., Any], *of: Any) -> Any:
    return make(*of)


def shared(make: Callable[..., Any], *of: Any) -> Any:
    """``make(*of)``, and the same object for the same arguments where they can be hashed.

    What is compiled for a function is compiled once for all fits that share it: a walk has hundreds. A model that holds
    a user's network cannot be hashed and is compiled each time.
    """
    try:
        return _made(make, *of)
    except TypeError:
        return make(*of)


def _mapped(function: Callable[..., Any], batch: int, options: tuple[tuple[str, bool], ...] = ()) -> Any:
    mapped = partial(_over_batches, function, batch)
    return jax.jit(mapped, compiler_options=dict(options) or None)


def _over_batches(function: Callable[..., Any], batch: int, params: Any, given: Any) -> Any:
    return map_in_batches(lambda draw: function(draw, *given), params, batch)


def over_draws(
    fit: Fit,
    function: Callable[..., Any],
    *arguments: Any,
    bytes_per_draw: float,
    memory_mib: float,
    reuse: bool = False,
) -> Any:
    """``function(params, *arguments)`` for every draw, with leading dims (chain, draw); a pytree of arrays.

    Draws run in batches such that a batch's working arrays, `bytes_per_draw` each, stay under `memory_mib`. With
    `reuse` the function is one of `shared`, whose program is kept for the next call.
    """
    batch = int(np.clip(memory_mib * 2**20 / max(bytes_per_draw, 1.0), 1, 256))
    with jax.enable_x64(is_double(fit)), jax.default_matmul_precision("float32"):
        dtype = np.float64 if is_double(fit) else np.float32
        params = {name: jnp.asarray(value, dtype) for name, value in fit.parameters().items()}
        params[DRAW] = jnp.arange(fit.shape[0] * fit.shape[1])
        given = jax.tree.map(
            lambda leaf: jnp.asarray(leaf, dtype if np.asarray(leaf).dtype.kind == "f" else None), arguments
        )
        mapped = shared(_mapped, function, batch, tuple(COMPILER.items())) if reuse else _mapped(function, batch)
        result = jax.tree.map(np.asarray, mapped(params, given))
    return jax.tree.map(lambda leaf: leaf.reshape(*fit.shape, *leaf.shape[1:]), result)


def blocks(n_items: int, bytes_per_item: float, memory_mib: float) -> Iterator[slice]:
    """Slices of a dimension such that a block of items, all draws at once, stays under the bound.

    Raises
    ------
    DataError
        When a single item does not fit.
    """
    size = int(memory_mib * 2**20 / max(bytes_per_item, 1.0))
    if size < 1:
        raise DataError(
            f"one item needs {bytes_per_item / 2**20:,.0f} MiB and memory_mib is {memory_mib}: raise memory_mib, or "
            "use a fit with fewer draws"
        )
    for first in range(0, n_items, size):
        yield slice(first, min(first + size, n_items))


def require_room(fit: Fit, labels: str, n_numbers: int, memory_mib: float) -> None:
    """Refuse a result of ``summary="draws"`` that is larger than the bound.

    Parameters
    ----------
    labels : what there is a number for, in words.
    n_numbers : of one draw.

    Raises
    ------
    DataError
        With the size.
    """
    needed = 8.0 * fit.shape[0] * fit.shape[1] * n_numbers / 2**20
    if needed > memory_mib:
        raise DataError(
            f"all draws of {labels} need {needed:,.0f} MiB and memory_mib is {memory_mib:g}: select periods or assets "
            "with panel.sel, or raise memory_mib"
        )


def check_prob(prob: float) -> None:
    """Refuse a probability that is not strictly between 0 and 1."""
    if not isinstance(prob, int | float | np.number) or not 0 < prob < 1:
        raise DataError(f"prob is the probability inside the band, between 0 and 1: got {prob!r}")


def check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Refuse a value that is not one of the allowed words."""
    if value not in allowed:
        raise DataError(f"{name} must be one of {', '.join(map(repr, allowed))}: got {value!r}")


def bands(values: np.ndarray, prob: float) -> dict[str, np.ndarray]:
    """Mean, sd, equal-tailed bounds and P(> 0) over the first two dims (chain, draw)."""
    flat = values.reshape(-1, *values.shape[2:]).astype(np.float64)
    lower, upper = np.quantile(flat, [(1 - prob) / 2, (1 + prob) / 2], axis=0)
    return {
        "mean": flat.mean(axis=0),
        "sd": flat.std(axis=0, ddof=1),
        "lower": lower,
        "upper": upper,
        "prob_positive": (flat > 0).mean(axis=0),
    }


def rank_bands(strength: np.ndarray, prob: float) -> dict[str, np.ndarray]:
    """Posterior rank intervals over the last dim; 1 is the strongest.

    Parameters
    ----------
    strength : (chain, draw, item), non-negative.
    """
    flat = strength.reshape(-1, strength.shape[-1])
    ranks = rankdata(-flat, axis=-1, method="average")
    lower, median, upper = np.quantile(ranks, [(1 - prob) / 2, 0.5, (1 + prob) / 2], axis=0)
    return {"rank_lower": lower, "rank_median": median, "rank_upper": upper}


def labelled(
    fit: Fit, variables: dict[str, tuple[list[str], np.ndarray]], coords: dict[str, Any], **attrs: Any
) -> xr.Dataset:
    """Dataset with units and the fit's labels, so that a weak fit keeps them wherever it is shown."""
    attrs = {"model": str(fit.model), "frequency": fit.frequency, **attrs, **labels_of(fit)}
    return xr.Dataset(variables, coords=coords, attrs=attrs)


def labels_of(fit: Fit) -> dict[str, str]:
    """What a result says of its fit: `status`; `bands` and `likelihood_kind` where they are not what they should be."""
    labels = {"status": fit.status}
    if fit.uncalibrated:
        labels["bands"] = "uncalibrated"
    if getattr(fit.model, "likelihood_kind", "density") == "pseudo-likelihood":
        labels["likelihood_kind"] = "pseudo-likelihood"
    return labels
