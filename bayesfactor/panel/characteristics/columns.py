"""Columns of a long frame by role: labels as codes, dates as days, numbers checked cell by cell."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterable
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd

from bayesfactor.errors import DataError, DataWarning, DuplicateKeyError, UnitsError, first_three
from bayesfactor.panel.periods import Days, parse_dates
from bayesfactor.panel.reading import Keys, as_labels, as_numbers, must_have

NOT_TOLD: Any = object()


class Columns:
    """A long frame whose rows have an asset and a date."""

    def __init__(self, frame: pd.DataFrame, time: str, asset: str, others: dict[str, str | None]) -> None:
        if not isinstance(frame, pd.DataFrame):
            raise DataError(f"rows must come in a DataFrame: found {type(frame).__name__}.")
        for role, name in {"time": time, "asset": asset, **others}.items():
            if not isinstance(name, Hashable) or (name is None and role in ("time", "asset", "available")):
                raise DataError(f"{role} must name a column: found {name!r}.")
        levels = [name for name in frame.index.names if name in {time, asset, *others.values()} - {None}]
        both = [name for name in levels if name in frame.columns]
        if both:
            raise DataError(f"a name must mean one thing: {both} is both an index level and a column. Drop one.")
        frame = frame.reset_index(level=levels) if levels else frame
        repeated = frame.columns[frame.columns.duplicated()]
        if len(repeated):
            raise DuplicateKeyError(f"column names must be unique: repeated {first_three(repeated)}.")
        for role, name in {"time": time, "asset": asset, **others}.items():
            if name is not None:
                must_have(frame, name, role)
        if frame.empty:
            raise DataError("characteristics need rows: the frame has none.")
        self.frame = frame
        self.days = _dates(frame[time], time)
        self.labels, self.codes = as_labels(frame[asset], asset, required=True)

    def keys(self, bad: np.ndarray) -> str:
        """First three (date, asset) of flagged rows, and the count."""
        return first_three((self.days[row], self.labels[self.codes[row]]) for row in np.flatnonzero(bad))

    def numbers(self, name: str) -> np.ndarray:
        """A column of finite numbers, NaN where missing."""
        return as_numbers(self.frame, name, Keys(self.days, self.labels, self.codes, "daily"))

    def refuse(self, bad: np.ndarray, must: str, cause: str) -> None:
        """A `DataError` that names the rows."""
        if bad.any():
            raise DataError(f"{must}: found otherwise at {self.keys(bad)}. {cause}")

    def warn(self, bad: np.ndarray, what: str) -> None:
        """A `DataWarning` that names the rows."""
        if bad.any():
            warnings.warn(f"{what}: {self.keys(bad)}.", DataWarning, stacklevel=5)


def keyed_once(frame: pd.DataFrame) -> Columns:
    """A frame with one row for each (date, asset).

    Raises
    ------
    DuplicateKeyError
        Naming the first rows that repeat one.
    """
    columns = Columns(frame, "date", "asset", {})
    again = pd.DataFrame({"asset": columns.codes, "date": columns.days}).duplicated().to_numpy()
    if again.any():
        raise DuplicateKeyError(f"each (date, asset) must have one row: repeated {columns.keys(again)}.")
    return columns


def told(value: Any, name: str, choices: tuple[str, ...], why: str, error: type[DataError | UnitsError]) -> Any:
    """One of the choices, which a user must make."""
    if value is NOT_TOLD or value not in choices:
        found = "nothing" if value is NOT_TOLD else repr(value)
        raise error(f"{name} must be told, one of {', '.join(map(repr, choices))}: found {found}. {why}")
    return value


def chosen(wanted: Any, possible: dict[str, tuple[str, ...]], given: set[str]) -> list[str]:
    """Names of definitions to compute: those asked for, or all whose inputs are given.

    Raises
    ------
    DataError
        When a name is unknown, or its inputs are not given, or nothing is left.
    """
    lacking = {name: [one for one in inputs if one not in given] for name, inputs in possible.items()}
    if wanted is None:
        names = [name for name, missing in lacking.items() if not missing]
        if not names:
            raise DataError(f"some characteristic must be computable: found inputs {sorted(given)} only.")
        return names
    if not isinstance(wanted, Iterable):
        raise DataError(f"characteristics must be a list of names: found {wanted!r}.")
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    for name in names:
        if not isinstance(name, str) or name not in possible:
            near = get_close_matches(str(name), possible, 3, 0.4)
            hint = f" Near: {', '.join(near)}." if near else ""
            raise DataError(f"characteristics must be names of DEFINITIONS: found {name!r}.{hint}")
        if lacking[name]:
            raise DataError(
                f"{name!r} needs {', '.join(possible[name])}: {', '.join(lacking[name])} cannot be had from the "
                f"columns given. See DEFINITIONS[{name!r}] and the inputs that each column gives."
            )
    if len(set(names)) < len(names) or not names:
        raise DataError(f"characteristics must be named once each: found {names}.")
    return names


def _dates(column: pd.Series, name: str) -> Days:
    """Days of the column; each distinct value is parsed once."""
    if pd.api.types.is_datetime64_any_dtype(column.dtype) or column.isna().any():
        return parse_dates(column, name)
    codes, distinct = pd.factorize(column)
    try:
        return parse_dates(pd.Series(distinct), name)[codes]
    except DataError:
        parse_dates(column, name)  # the same error, naming rows of the frame
        raise
