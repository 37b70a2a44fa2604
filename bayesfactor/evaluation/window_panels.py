"""Panels of a window: what a forecaster may see of its test periods, and what judges it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayesfactor.errors import AlignmentError, DataError
from bayesfactor.evaluation.windows import inside
from bayesfactor.panel import Panel

Transform = Callable[[Panel], Callable[[Panel], Panel]]

HAPPENED = ("returns", "benchmark_returns", "portfolio_returns")  # in a period, unknown before it


def blanked(panel: Panel) -> Panel:
    """The same periods with everything that happened in them taken away."""
    taken = {name: xr.full_like(panel.data[name], np.nan) for name in HAPPENED if name in panel.data}
    data = panel.data.assign(taken).assign(observed=xr.zeros_like(panel.data["observed"]))
    return Panel(data, panel.frequency, panel.preparation, panel.missing)


def with_returns(blank: Panel, test: Panel) -> Panel:
    """What a transform made of the blanked periods, with what happened in them put back."""
    given = {name: test.data[name] for name in (*HAPPENED, "observed") if name in test.data}
    universe = blank.data["in_universe"].transpose("time", "asset")
    before = test.data["in_universe"].transpose("time", "asset")
    if not universe.drop_attrs().reset_coords(drop=True).equals(before.drop_attrs().reset_coords(drop=True)):
        raise AlignmentError(
            "a transform must leave the universe and its labels as they are: it changed those of the test periods. "
            "Narrow the universe before the walk: panel.largest(n), panel.covered(share)."
        )
    return Panel(blank.data.assign(given), blank.frequency, blank.preparation, blank.missing)


def transformed(transform: Transform | None, learn: Panel, later: Panel) -> tuple[Panel, Panel, Panel]:
    """What is learnt from, and later periods without and with returns, after a transform that has learnt from it."""
    blank = blanked(later)
    if transform is not None:
        apply = transform(learn)
        learn, blank = _applied(apply, learn), _applied(apply, blank)
    return learn, blank, with_returns(blank, later)


def _applied(apply: Any, panel: Panel) -> Panel:
    if not callable(apply):
        raise DataError(f"a transform must give a function from Panel to Panel: it gave {type(apply).__name__}")
    changed = apply(panel)
    if not isinstance(changed, Panel):
        raise DataError(f"a transform must give a function from Panel to Panel: that gave {type(changed).__name__}")
    return changed


def slice_of(panel: Panel, part: tuple[pd.Timestamp, pd.Timestamp]) -> Panel:
    """The periods of a span."""
    data = panel.data.isel(time=inside(panel.times, part))
    return without_absent(Panel(data, panel.frequency, panel.preparation, panel.missing))


def returns_came(panel: Panel) -> np.ndarray:
    """Which periods (time,) have an observed return."""
    return np.asarray((panel.data["observed"] & panel.data["in_universe"]).any("asset"))


def without_absent(panel: Panel) -> Panel:
    """Without assets that are never in the universe: what a window gives must not depend on later listings."""
    ever = panel.data["in_universe"].any("time").to_numpy()
    if ever.all():
        return panel
    data = panel.data.isel(asset=ever)
    return Panel(data, panel.frequency, panel.preparation, panel.missing, panel.history, panel.warnings)
