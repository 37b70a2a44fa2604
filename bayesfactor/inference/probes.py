"""A posterior's functions at some rows of the training panel: what is diagnosed in place of weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayesfactor.components.batches import map_in_batches
from bayesfactor.inference.streaming import Window

N_PROBES = 16


def probe_rows(window: Window) -> np.ndarray:
    """Rows (probe, characteristic) of the training panel, evenly spaced over its stock-months."""
    ends = np.cumsum(window.sizes)
    rows = np.linspace(0, ends[-1] - 1, N_PROBES).astype(int)
    months = np.searchsorted(ends, rows, side="right")
    slots = rows - (ends - window.sizes)[months]
    return np.stack([window.characteristics(month)[slot] for month, slot in zip(months, slots, strict=True)])


def functions_of(model: Any, posterior: dict[str, np.ndarray], probes: np.ndarray) -> dict[str, np.ndarray]:
    """The model's diagnosed functions for every draw, (chain, draw, ...)."""
    shape = next(iter(posterior.values())).shape[:2]
    flat = {name: jnp.asarray(value.reshape(-1, *value.shape[2:])) for name, value in posterior.items()}
    computed = mapped_over_draws(model, "functions", 64)(flat, jnp.asarray(probes))
    return {name: np.asarray(value).reshape(*shape, *value.shape[1:]) for name, value in computed.items()}


def mapped_over_draws(model: Any, name: str, batch_size: int) -> Callable[[Any, Any], Any]:
    """The model's function of that name, of (params, rows), over draws: compiled once for each model and shape."""
    try:
        return _cached(model, name, batch_size)
    except TypeError:  # a model that holds a user's network is not hashable
        return _mapped(model, name, batch_size)


def _mapped(model: Any, name: str, batch_size: int) -> Callable[[Any, Any], Any]:
    function = getattr(model, name)
    return jax.jit(lambda draws, rows: map_in_batches(lambda params: function(params, rows), draws, batch_size))


@lru_cache(maxsize=32)
def _cached(model: Any, name: str, batch_size: int) -> Callable[[Any, Any], Any]:
    return _mapped(model, name, batch_size)
