"""Putting characteristics together: joins by label, and the universe of the most liquid."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd

from bayesfactor.errors import AlignmentError, DataError, DataWarning, first_three
from bayesfactor.panel.characteristics.columns import keyed_once

_KEYS = ["date", "asset"]
_NOT_BLANKED = (*_KEYS, "ret")


def combine(prices: pd.DataFrame, *others: pd.DataFrame) -> pd.DataFrame:
    """The rows of `prices` with the columns of the others beside them, joined by (date, asset) in any order.

    Parameters
    ----------
    prices, others : frames with `date` and `asset`, as `from_prices` and `from_reports` give them, one row for each
        (date, asset). Rows of the others that `prices` lacks are left out, with a warning; where an other lacks a row,
        its columns are missing.

    Returns
    -------
    DataFrame sorted by `date` and `asset`.

    Raises
    ------
    DataError
        When two frames have a column of one name.
    AlignmentError
        When no row of an other has the (date, asset) of one in `prices`.
    DuplicateKeyError
        When a frame has two rows for one (date, asset).
    """
    whole = _keyed(prices)
    for other in others:
        added = _keyed(other)
        shared = whole.columns.intersection(added.columns)
        if len(shared):
            raise DataError(
                f"frames must not share columns: both have {', '.join(map(str, shared))}. Drop or rename one."
            )
        absent = ~added.index.isin(whole.index)
        if absent.all():
            raise AlignmentError(
                "frames must have rows of one (date, asset): none match; prices have "
                f"{_first(whole.index)}, the other {_first(added.index)}. Usually dates of another kind (the last "
                "trading day for the last day of the month), or another kind of identifier."
            )
        if absent.any():
            warnings.warn(
                f"rows without prices are left out: {_first(added.index[absent])}.", DataWarning, stacklevel=2
            )
        whole = whole.join(added, how="left")
    return whole.sort_index().reset_index()


def most_liquid(frame: pd.DataFrame, n: int, *, by: str = "dolvol_12m") -> pd.DataFrame:
    """Keep characteristics of the `n` most liquid assets of each date only.

    Which these are is known at the date: `by` looks back from it. Rows stay, with their return: the return of a period
    belongs to the assets that were liquid before it. Other assets have no characteristic left, and `read_frame` takes
    none of them into its universe.

    Parameters
    ----------
    frame : as `from_prices` or `combine` gives it.
    n : assets a date; fewer where fewer have a value of `by`.
    by : column to rank by, the largest first; of equal ones the first label.

    Returns
    -------
    DataFrame like `frame`, sorted; `market_equity` counts as a characteristic.

    Raises
    ------
    DataError
        When `by` is no column of numbers, or `n` is not a positive whole number.
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise DataError(f"n must be a number of assets, 1 or more: found {n!r}.")
    table = _keyed(frame).sort_index().reset_index()
    if not isinstance(by, str) or by not in table.columns or by in _NOT_BLANKED:
        raise DataError(f"by must be a characteristic of the frame: found {by!r}, which is none of its columns.")
    if not pd.api.types.is_numeric_dtype(table[by]) or pd.api.types.is_bool_dtype(table[by]):
        raise DataError(f"by must be a column of numbers, which can be ranked: {by!r} is {table[by].dtype}.")
    position = table[by].groupby(table["date"]).rank(method="first", ascending=False)
    rest = [name for name in table.columns if name not in _NOT_BLANKED]
    table[rest] = table[rest].where(position <= n)
    return table


def _first(index: pd.Index) -> str:
    return first_three((date.date(), asset) for date, asset in index)


def _keyed(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with (date, asset) as its index, each once."""
    columns = keyed_once(frame)
    index = pd.MultiIndex.from_arrays(
        [columns.days.astype("datetime64[ns]"), columns.labels[columns.codes]], names=_KEYS
    )
    return columns.frame.drop(columns=_KEYS).set_axis(index, axis="index")
