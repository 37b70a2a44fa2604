"""Panels of a window: what a forecaster may see of its test periods, and what judges it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayesfactor.errors import AlignmentError, DataError, LookAheadError, first_three
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
    """What is learnt from, and later periods without and with returns, after a transform that has learnt from it.

    Raises
    ------
    AlignmentError
        When the transform changes periods, assets or the universe.
    LookAheadError
        When what it makes of a period changes with the periods after it.
    """
    blank = blanked(later)
    if transform is not None:
        apply = transform(learn)
        learn, blank = _within(_applied(apply, learn), learn), _without_hindsight(apply, blank)
    return learn, blank, with_returns(blank, later)


def _without_hindsight(apply: Any, blank: Panel) -> Panel:
    """Later periods after a transform, which must make the same of a period whether or not the next ones are there."""
    made = blanked(_applied(apply, blank))  # what it may have put back is taken away again
    if not (made.times.equals(blank.times) and _labels(made) == _labels(blank)):
        raise AlignmentError("a transform must leave the test periods and their assets as they are: it changed them")
    n_periods = len(blank.times)
    for cut in sorted({n_periods // 2, n_periods - 1} - {0}):
        before = _applied(apply, first_periods(blank, cut))
        for name in ("characteristics", "in_universe", "size"):
            if name not in made.data:
                continue
            whole, alone = (
                one.data[name].isel(time=slice(cut)).transpose("time", "asset", ...) for one in (made, before)
            )
            alone = alone.reindex(asset=whole["asset"])
            if whole.dtype != bool:
                same = np.isclose(whole.to_numpy(), alone.to_numpy(), rtol=1e-9, atol=1e-12, equal_nan=True).all()
            else:
                same = np.array_equal(whole.to_numpy(), alone.to_numpy().astype(bool))
            if not same:
                raise LookAheadError(
                    f"a transform must make of each period what it would without the periods after it: its {name} of "
                    f"the {cut} periods to {blank.times[cut - 1]:%Y-%m-%d} are others when later ones are there. "
                    "Usually it shifts the wrong way, or scales by more than the training window."
                )
    return made


def _within(made: Panel, learn: Panel) -> Panel:
    """What a transform made of the training panel, which must hold no period, asset or return that was not there."""
    more = [*made.times.difference(learn.times), *sorted(set(_labels(made)) - set(_labels(learn)))]
    if more:
        raise AlignmentError(
            f"a transform must make the training panel of the training panel: it holds {first_three(map(str, more))}, "
            "which that has not"
        )
    where = {"time": made.data["time"], "asset": made.data["asset"]}
    for name in ("in_universe", "observed"):
        now, before = (
            one.transpose("time", "asset").to_numpy() for one in (made.data[name], learn.data[name].sel(where))
        )
        if (now & ~before).any():
            raise AlignmentError(f"a transform must not add to {name} of the training panel: it did")
    return made


def _labels(panel: Panel) -> list[str]:
    return [str(label) for label in panel.data["asset"].values]


def _applied(apply: Any, panel: Panel) -> Panel:
    if not callable(apply):
        raise DataError(f"a transform must give a function from Panel to Panel: it gave {type(apply).__name__}")
    changed = apply(panel)
    if not isinstance(changed, Panel):
        raise DataError(f"a transform must give a function from Panel to Panel: that gave {type(changed).__name__}")
    return changed


def first_periods(panel: Panel, count: int) -> Panel:
    """The first periods of a panel."""
    data = panel.data.isel(time=slice(count))
    return Panel(data, panel.frequency, panel.preparation, panel.missing)


def forecast_of(fitted: Any, blank: Panel) -> xr.DataArray:
    """What a baseline forecasts (time, asset), decimal; each period from the periods up to it.

    Raises
    ------
    AlignmentError
        When it gives no array over the panel's periods and assets; they are joined by label.
    DataError
        When a stock of the universe has no finite forecast.
    """
    last = []
    for count in range(1, len(blank.times) + 1):
        shown = first_periods(blank, count)
        made = fitted.forecast(shown)
        if not isinstance(made, xr.DataArray) or set(made.dims) != {"time", "asset"}:
            found = f"one over {made.dims}" if isinstance(made, xr.DataArray) else type(made).__name__
            raise AlignmentError(f"a baseline must forecast a DataArray over (time, asset): it gave {found}")
        made = made.transpose("time", "asset")
        for dim in ("time", "asset"):
            want, got = shown.data.indexes[dim], made.indexes.get(dim)
            if got is None or not got.is_unique or len(got) != len(want) or not want.isin(got).all():
                raise AlignmentError(
                    f"a baseline must forecast every {dim} of the panel it is given, once and no other: it was given "
                    f"{len(want)} and gave {0 if got is None else len(got)}, or others"
                )
        made = made.sel(time=shown.data["time"], asset=shown.data["asset"]).isel(time=-1)
        universe = shown.data["in_universe"].transpose("time", "asset").isel(time=-1).to_numpy()
        wrong = universe & ~np.isfinite(made.to_numpy().astype(float))
        if wrong.any():
            assets = shown.data["asset"].to_numpy()[wrong]
            raise DataError(
                f"a baseline must forecast every stock of the universe: no finite number for {first_three(assets)} in "
                f"{shown.times[-1]:%Y-%m-%d} ({wrong.sum()} of {universe.sum()})"
            )
        last.append(made.where(universe).reset_coords(drop=True))
    return xr.concat(last, pd.Index(blank.times, name="time")).transpose("time", "asset")


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
