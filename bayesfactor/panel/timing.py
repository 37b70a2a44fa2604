"""The look-ahead audit: truncate the source, do everything again, compare bit by bit."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayesfactor.errors import DataError, DataWarning, EmptyWindowError, LookAheadError
from bayesfactor.panel.contract import DIMS, KNOWN_BEFORE, cells_of
from bayesfactor.panel.panel import Panel
from bayesfactor.panel.periods import Calendar, as_days, first_and_last_day, period_ends, show

_CUTS = 4


def audit(panel: Panel, cuts: Sequence[Any] | None = None) -> pd.DataFrame:
    """Compare the panel with itself made from truncated data (see `Panel.audit`)."""
    rows: list[tuple[pd.Timestamp, str, int, int]] = []
    for cut in _cuts(panel, cuts):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            again = panel._recipe.replayed(cut)  # type: ignore[union-attr]
        _same_columns(panel, again, cut)
        full, short = _aligned(panel.data, again.data, _horizon(panel, cut))
        for name in sorted(full.data_vars, key=lambda name: name != "in_universe"):  # the cause, not its effects
            rows.append(_compare(str(name), full, short, cut, panel.frequency))
    return pd.DataFrame(rows, columns=["cut", "variable", "cells_compared", "cells_changed"])


def _cuts(panel: Panel, cuts: Sequence[Any] | None) -> list[np.datetime64]:
    days = as_days(panel.times)
    if cuts is None:
        inner = max(days.size - 1, 1)
        return list(days[np.unique(np.linspace(0, inner - 1, _CUTS + 2).round().astype(int)[1:-1])])
    if isinstance(cuts, str):
        raise DataError(f"cuts must be a list of dates: found {cuts!r}. Give [{cuts!r}].")
    wanted = [period_ends(np.array([first_and_last_day(cut)[1]]), panel.frequency)[0] for cut in cuts]
    for cut in wanted:
        if cut not in days:
            raise EmptyWindowError(
                f"a cut must be a period of the panel: {show(cut, panel.frequency)} is not; {panel!r}."
            )
    return wanted


def _horizon(panel: Panel, cut: np.datetime64) -> np.datetime64:
    """The period after the cut: the last of which something is known."""
    if panel.frequency != "daily":
        calendar = Calendar(panel.frequency)
        return as_days(calendar.labels(calendar.ordinals(np.array([cut])) + 1))[0]
    days = as_days(panel.times)
    return days[min(int(np.searchsorted(days, cut, side="right")), days.size - 1)]


def _same_columns(panel: Panel, again: Panel, cut: np.datetime64) -> None:
    for what, one, other in (
        ("characteristics", panel.characteristics, again.characteristics),
        ("variables", sorted(map(str, panel.data)), sorted(map(str, again.data))),
    ):
        if one != other:
            raise LookAheadError(
                f"{what} must not depend on later data: cut at {show(cut, panel.frequency)} they are "
                f"{list(other)}, with "
                f"later data {list(one)}."
            )


def _aligned(full: xr.Dataset, short: xr.Dataset, horizon: np.datetime64) -> tuple[xr.Dataset, xr.Dataset]:
    """Both on the periods up to the horizon and all assets; what one lacks is not in its universe."""
    full, short = (one.sel(time=one.time.values <= horizon) for one in (full, short))
    labels = {dim: full.indexes[dim].union(short.indexes[dim]) for dim in ("time", "asset")}
    fill = {"in_universe": False, "observed": False, "missing": True, "group": ""}
    fills = {name: fill.get(str(name), np.nan) for name in full.data_vars}
    return full.reindex(labels, fill_value=fills), short.reindex(labels, fill_value=fills)


def _compare(
    name: str, full: xr.Dataset, short: xr.Dataset, cut: np.datetime64, frequency: str
) -> tuple[pd.Timestamp, str, int, int]:
    """Cells known at the cut, of assets that either sample has in its universe by then."""
    dims = DIMS[name]
    one, other = full[name].transpose(*dims).values, short[name].transpose(*dims).values
    changed = one != other
    if one.dtype.kind == "f":
        changed &= ~(np.isnan(one) & np.isnan(other))
    known = np.ones(one.shape, bool)
    if name not in KNOWN_BEFORE:
        known &= _along(full.time.values <= cut, dims, "time")
    if "asset" in dims and name != "in_universe":
        ever = full.in_universe.any("time").values & short.in_universe.any("time").values
        known &= _along(ever, dims, "asset")
    changed &= known
    if changed.any():
        cells = cells_of(changed, [full.indexes[dim] for dim in dims], frequency)
        when = show(cut, frequency)
        raise LookAheadError(
            f"nothing known at {when} may change with later data: {name} does, at {cells}. Usually a "
            "transform uses the whole "
            "sample (a mean, a sd, a full-history rank) or `observed`; use one period, or the past, only."
        )
    return pd.Timestamp(cut), name, int(known.sum()), int(changed.sum())


def _along(mask: np.ndarray, dims: tuple[str, ...], dim: str) -> np.ndarray:
    return mask.reshape([-1 if one == dim else 1 for one in dims])
