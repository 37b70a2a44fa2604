"""Sums over the stocks of each month: all that a linear estimator needs of a panel. Which panel goes with which."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bayesfactor.errors import AlignmentError, DataError, EmptyWindowError, first_three
from bayesfactor.panel import Panel

Array = np.ndarray[Any, np.dtype[np.float64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]


class MonthSums(NamedTuple):
    """Sums over the observed stocks of each month that has any; ``X = [1, z]``, intercept first.

    Attributes
    ----------
    times : of the months.
    n_observed : (month,) ``n``.
    gram : (month, feature, feature) ``X'X``.
    projection : (month, feature) ``X'r``.
    square : (month,) ``r'r``.
    """

    times: pd.DatetimeIndex
    n_observed: Array
    gram: Array
    projection: Array
    square: Array

    @property
    def totals(self) -> MonthSums:
        """Sums over all months, as one month."""
        return MonthSums(self.times[-1:], *(leaf.sum(axis=0, keepdims=True) for leaf in self[1:]))

    def without_each(self) -> MonthSums:
        """For each month, the sums over all others."""
        return MonthSums(self.times, *(leaf.sum(axis=0) - leaf for leaf in self[1:]))


def month_sums(train: Panel) -> MonthSums:
    """Reduce a training window, cells that are ``observed & in_universe``, to sums by month.

    Raises
    ------
    DataError
        When `train` is no Panel, is not prepared, or holds returns whose squares overflow.
    EmptyWindowError
        When it has no return.
    """
    require_panel(train)
    if not train.prepared:
        raise DataError(
            "a linear baseline needs prepared characteristics, these are raw: call panel.rank_normalise() (or "
            ".standardise()) first."
        )
    z, returns = train.data["characteristics"].to_numpy(), train.data["returns"].to_numpy()
    sums = sums_by_month(train.times, z, returns, training_cells(train))
    overflow = sums.square > np.finfo(float).max / len(sums.times)
    if overflow.any():
        raise DataError(
            f"returns must be decimal per period: their squares overflow in "
            f"{first_three(f'{time:%Y-%m-%d}' for time in sums.times[overflow])}. Usually a code for missing taken for "
            "a return: make it NaN before reading."
        )
    return sums


def sums_by_month(times: pd.DatetimeIndex, z: Array, returns: Array, used: Mask) -> MonthSums:
    """Sums over the cells of each month that are used; months without any are left out.

    Parameters
    ----------
    times : (month,).
    z : (month, stock, characteristic), finite where used.
    returns : (month, stock), finite where used.
    used : (month, stock).
    """
    months = np.flatnonzero(used.any(axis=1))
    n_features = z.shape[-1] + 1
    count, square = np.zeros(len(months)), np.zeros(len(months))
    gram, projection = np.zeros((len(months), n_features, n_features)), np.zeros((len(months), n_features))
    for place, month in enumerate(months):
        stocks = np.flatnonzero(used[month])
        design, r = np.ones((len(stocks), n_features)), returns[month, stocks]
        design[:, 1:] = z[month, stocks]
        count[place], gram[place] = len(stocks), design.T @ design
        with np.errstate(over="ignore", invalid="ignore"):
            projection[place], square[place] = design.T @ r, r @ r
    return MonthSums(times[months], count, gram, projection, square)


def training_cells(train: Panel) -> Mask:
    """Cells (time, asset) that may teach: in the universe of the month, with a return.

    Raises
    ------
    EmptyWindowError
        When there is none.
    """
    used = train.data["observed"].to_numpy() & train.data["in_universe"].to_numpy()
    if not used.any():
        raise EmptyWindowError(
            f"a training window must have an observed return: none from {train.times[0]:%Y-%m-%d} to "
            f"{train.times[-1]:%Y-%m-%d}. Usually the live month alone, or returns blanked for a forecast."
        )
    return used


def require_panel(panel: Any) -> None:
    """Refuse what is no Panel.

    Raises
    ------
    DataError
        Saying what was found.
    """
    if not isinstance(panel, Panel):
        raise DataError(
            f"a baseline takes a Panel: found {type(panel).__name__}. Read a frame with read_frame(...), load a "
            "window of a store with store.load(...)."
        )


def require_frequency(panel: Panel, frequency: str) -> None:
    """Refuse a panel whose periods have another length.

    Raises
    ------
    AlignmentError
        Naming both.
    """
    if panel.frequency != frequency:
        raise AlignmentError(
            f"training and forecast periods must have one length: trained on {frequency} ones, this panel is "
            f"{panel.frequency}. Read both with the same frequency."
        )


def aligned(panel: Panel, characteristics: tuple[str, ...], preparation: str, frequency: str) -> Panel:
    """The panel with its characteristics in the order of training, by label.

    Raises
    ------
    AlignmentError
        When characteristics, preparation or frequency are not those of training.
    """
    require_panel(panel)
    require_frequency(panel, frequency)
    if panel.preparation != preparation:
        raise AlignmentError(
            f"trained on characteristics prepared by {preparation!r}, this panel's are {panel.preparation!r}: prepare "
            "it the same way."
        )
    if panel.characteristics == characteristics:
        return panel
    lacking = [name for name in characteristics if name not in panel.characteristics]
    extra = [name for name in panel.characteristics if name not in characteristics]
    if lacking or extra:
        raise AlignmentError(
            f"characteristics must be those of training: this panel lacks {first_three(lacking)}, has besides "
            f"{first_three(extra)}. Select the same ones with panel.sel(characteristic=...)."
        )
    return panel.sel(characteristic=list(characteristics))
