"""What stored forecasts must share before one may be judged against another.

A forecaster that learned from later months, or was scored on other stocks, is no better or worse than another:
it answered a different question. Everything is matched by label, and nothing is ever dropped to make it match.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import xarray as xr

from bayesfactor.errors import ComparisonError, EmptyWindowError, first_three

# Distinct calendar months, whatever the frequency: thirty days are thirty scores but two months of history.
MIN_MONTHS = 3  # fewer give no standard error worth the name: refused
FEW_MONTHS = 24  # fewer: INCONCLUSIVE, no probability
SOME_MONTHS = 100  # fewer: a warning
PERIODS = {"monthly": "months", "weekly": "weeks", "daily": "days"}
DATES = (
    "train_first",
    "train_last",
    "validation_first",
    "validation_last",
    "test_first",
    "test_last",
)
KNOWLEDGE = (*DATES, "n_train")  # of a window: what a forecaster learned from, and when it was asked
SAME_KIND = ("frequency", "panel_fingerprint", "units", "log_base")


class StoredForecasts(Protocol):
    """What judging reads of ``Forecasts``."""

    @property
    def data(self) -> xr.Dataset:
        """Forecasts, returns and scores by (time, asset)."""

    @property
    def windows(self) -> pd.DataFrame:
        """One row a window."""


def are_forecasts(thing: object) -> bool:
    """Whether a thing is stored forecasts and not, for example, a fit or a panel."""
    return isinstance(getattr(thing, "windows", None), pd.DataFrame)


def observed_months(forecasts: StoredForecasts) -> pd.DatetimeIndex:
    """Months with a return, in calendar order; the others are live: their returns have not happened yet."""
    realised = forecasts.data["realised"]
    seen = realised.notnull().any("asset").to_numpy()
    return pd.DatetimeIndex(realised.indexes["time"][seen]).sort_values()


def calendar_months(times: pd.DatetimeIndex) -> int:
    """Number of distinct calendar months that periods end in; for monthly data the number of periods."""
    return len(times.to_period("M").unique())


def sample_words(times: pd.DatetimeIndex, frequency: str | None) -> str:
    """How much was scored: ``6 months``, or ``30 days in 2 calendar months``."""
    months = calendar_months(times)
    if len(times) == months and frequency in (None, "monthly"):
        return f"{months} months"
    return f"{len(times)} {PERIODS.get(str(frequency), 'periods')} in {months} calendar months"


def require_history(forecasts: StoredForecasts) -> pd.DatetimeIndex:
    """``observed_months``, refused when they are too few for any error."""
    months = observed_months(forecasts)
    if calendar_months(months) < MIN_MONTHS:
        raise EmptyWindowError(
            f"judging forecasts needs returns in at least {MIN_MONTHS} calendar months: found "
            f"{sample_words(months, forecasts.data.attrs.get('frequency'))}. Forecast more months."
        )
    return months


def require_named(models: Mapping[str, Any], at_least: int = 2) -> None:
    """Refuse things without names, or too few to be compared."""
    if not isinstance(models, Mapping):
        raise ComparisonError(f"models to compare must have names, {{name: fit}}: found a {type(models).__name__}.")
    if len(models) < at_least:
        raise ComparisonError(
            f"a comparison needs at least {at_least} model{'s' * (at_least > 1)} by name: found {sorted(models)}."
        )


def require_forecasts(models: Mapping[str, Any]) -> None:
    """Refuse anything that is not stored forecasts, each by name."""
    other = {name: type(one).__name__ for name, one in models.items() if not are_forecasts(one)}
    if other:
        paths = any(isinstance(one, str | Path) for one in models.values())
        raise ComparisonError(
            f"stored forecasts are needed of every model: found {listed(other)}. "
            + ("Read the files first." if paths else "walk_forward makes them, of fits and of baselines alike.")
        )


def require_one_protocol(forecasts: Mapping[str, StoredForecasts]) -> None:
    """Refuse forecasts that were not made of one panel, in the same windows, for the same months and stocks.

    Raises
    ------
    ComparisonError
        If frequency, panel, units, windows (training, validation and test dates, number of training periods), the
        window that a month belongs to, months, live months or the stocks scored differ: the message names the first
        difference.
    """
    require_forecasts(forecasts)
    for key in SAME_KIND:
        found = {name: _shown(one.data.attrs.get(key, "not stated")) for name, one in forecasts.items()}
        if len(set(found.values())) > 1:
            raise ComparisonError(
                f"forecasts must be of one kind: {key} differs: {listed(found)}. A difference in data would be "
                "taken for a difference between models: forecast one panel with every model."
            )
    (name, first), *others = forecasts.items()
    for other, second in others:
        _require_same_windows(name, first.windows, other, second.windows)
    for one in forecasts.values():
        _require_unique(one)
    _require_same_months(
        "months", {name: pd.DatetimeIndex(one.data.indexes["time"]) for name, one in forecasts.items()}
    )
    _require_same_months("months with returns", {name: observed_months(one) for name, one in forecasts.items()})
    for other, second in others:
        _require_same_cells(name, first.data, other, second.data)


def _require_same_windows(name: str, first: pd.DataFrame, other: str, second: pd.DataFrame) -> None:
    """Say which window is the first to differ, and in what."""
    only = first.index.symmetric_difference(second.index)
    if len(only):
        raise ComparisonError(
            f"forecasts must be made in the same windows: {name!r} has {len(first)} and {other!r} {len(second)}, only "
            f"one of them has window {first_three(only)}. {_SAME_WINDOWS}"
        )
    for window in first.index:
        for column in KNOWLEDGE:
            ours, theirs = first.loc[window, column], second.loc[window, column]
            if not (ours == theirs or (pd.isna(ours) and pd.isna(theirs))):
                raise ComparisonError(
                    f"forecasts must be made in the same windows: {name!r} and {other!r} differ first in window "
                    f"{window}: {column} {_shown(ours)} against {_shown(theirs)}. One of them knew more when it "
                    f"forecast. {_SAME_WINDOWS}"
                )


_SAME_WINDOWS = "Run walk_forward with the same Windows (embargo and validation too) for every model."


def _require_unique(one: StoredForecasts) -> None:
    for dim in ("time", "asset"):
        labels = one.data.indexes[dim]
        if labels.has_duplicates:
            raise ComparisonError(
                f"forecasts must have each label of {dim!r} once: repeated "
                f"{first_three(map(_shown, labels[labels.duplicated()]))}."
            )


def _require_same_months(what: str, months: Mapping[str, pd.DatetimeIndex]) -> None:
    union = pd.DatetimeIndex([])
    for one in months.values():
        union = union.union(one)
    lacking = {
        name: first_three(map(day, union.difference(one))) for name, one in months.items() if len(one) < len(union)
    }
    if lacking:
        raise ComparisonError(
            f"forecasts must be of the same {what}: lacking are {listed(lacking)}. A comparison on the months "
            "they share would hide what is missing: forecast the same months of one panel with every model."
        )


def _require_same_cells(name: str, first: xr.Dataset, other: str, second: xr.Dataset) -> None:
    """Months agree by now, in any order: so must the window of each month and the stocks that were scored."""
    second = second.sel(time=first["time"])
    window = first.indexes["time"][first["window"].to_numpy() != second["window"].to_numpy()]
    if len(window):
        raise ComparisonError(
            f"each month must be forecast in the same window: {name!r} and {other!r} differ in "
            f"{first_three(map(day, window))}. {_SAME_WINDOWS}"
        )
    ours, theirs = xr.align(first["realised"].notnull(), second["realised"].notnull(), join="outer", fill_value=False)
    unlike = (ours != theirs).any("asset").sel(time=first["time"]).to_numpy()
    if "scored_assets" in first.coords and "scored_assets" in second.coords:
        unlike |= first["scored_assets"].to_numpy().astype(str) != second["scored_assets"].to_numpy().astype(str)
    if unlike.any():
        raise ComparisonError(
            f"forecasts must be of the same stocks in every month: {name!r} and {other!r} differ in "
            f"{first_three(map(day, first.indexes['time'][unlike]))}. Usually two universes: forecast one panel with "
            "every model."
        )


def listed(found: Mapping[str, str]) -> str:
    """Names with what was found for each."""
    return "; ".join(f"{name}: {value}" for name, value in found.items())


def day(when: Any) -> str:
    """A date as 2016-06-30."""
    return str(np.datetime64(when, "D"))


def worst_status(windows: pd.DataFrame) -> str:
    """Status of a whole walk: that of its worst window."""
    return str(max(windows["status"], key=("ok", "warn", "failed").index, default="ok"))


def status_note(windows: pd.DataFrame) -> str:
    """How many windows did not converge, and the first reason; empty when all are ``ok``."""
    doubtful = windows[windows["status"] != "ok"]
    if not len(doubtful):
        return ""
    counts = doubtful["status"].value_counts()
    how_many = " and ".join(f"{count} {status}" for status, count in counts.sort_index().items())
    reason = doubtful["reasons"].iloc[0] or "no reason recorded"
    return f"{how_many} of {len(windows)} windows, first window {doubtful.index[0]}: {reason}"


def _shown(value: object) -> str:
    """A date, a fingerprint or another value, short enough for a message."""
    if isinstance(value, pd.Timestamp | np.datetime64):
        return "none" if pd.isna(value) else day(value)
    text = "none" if value is pd.NaT else str(value)
    return text[:12] if len(text) == 64 else text
