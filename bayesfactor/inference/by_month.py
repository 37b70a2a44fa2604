"""Models that are fitted to every month by itself: each month is one data set of a program for many."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pandas as pd
from jax import Array

from bayesfactor.errors import DataError
from bayesfactor.inference.sampling import Draws
from bayesfactor.inference.settings import SVI, Exact, Inference

MONTH_STEPS = 1500  # of a month's guide


def is_by_month(model: Any) -> bool:
    """Whether every parameter of the model has a leading dimension `time`."""
    return bool(getattr(model, "by_month", False))


def settings_by_month(inference: Inference) -> Inference:
    """The settings that every month is run with.

    ``SVI(steps="auto")`` is a fixed number here: months advance side by side, and a common rule that stops when most
    have converged would have later months decide about the forecast from an earlier one.

    Raises
    ------
    DataError
        For minibatches of months, and for `Exact`.
    """
    if isinstance(inference, Exact):
        raise DataError("pooling='none' is fitted by SVI() or NUTS(): Exact() needs pooling='full'")
    if not isinstance(inference, SVI):
        return inference
    if inference.batch is not None:
        raise DataError(
            f"pooling='none' fits single months, of which there is no minibatch: got batch={inference.batch}"
        )
    return replace(inference, steps=MONTH_STEPS) if inference.steps == "auto" else inference


def month_keys(seed: int, times: pd.DatetimeIndex) -> Array:
    """A key (month,) that belongs to the month's date: its fit is the same in any window."""
    days = times.values.astype("datetime64[D]").astype(np.int32)
    return jax.vmap(lambda day: jax.random.fold_in(jax.random.key(seed), day))(days)


def labelled_inside(draws: Draws) -> Draws:
    """Draws (month, chain, draw, ...) as (chain, draw, month, ...), and the guide's as (chain, month, ...)."""

    def moved(arrays: dict[str, np.ndarray], place: int) -> dict[str, np.ndarray]:
        return {name: np.ascontiguousarray(np.moveaxis(value, 0, place)) for name, value in arrays.items()}

    guide = None if draws.guide is None else moved(draws.guide, 1)
    return Draws(moved(draws.posterior, 2), moved(draws.statistics, 2), guide)


def guide_outside(guide: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The guide's arrays (chain, month, ...) as the program takes them, (month, chain, ...)."""
    return {name: np.moveaxis(value, 1, 0) for name, value in guide.items()}
