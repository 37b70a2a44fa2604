"""Forecasters and transforms that worker processes can import: they note what they do in files, wait, peek, or die."""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

import bayesfactor as bf
from bayesfactor.baselines import OLS
from bayesfactor.evaluation.window_panels import HAPPENED
from bayesfactor.panel import Panel

SKIPPED = ("seconds",)  # of the table of windows: not the same twice


def same(one: bf.Forecasts, other: bf.Forecasts) -> bool:
    """Every bit of the forecasts, and every fact of the windows but the clock's."""
    tables = [table.windows.drop(columns=[*SKIPPED]) for table in (one, other)]
    return one.data.identical(other.data) and tables[0].equals(tables[1])


def with_live_month(panel: Panel) -> Panel:
    """The panel, its last period without returns."""
    data = panel.data.copy(deep=True)
    data["returns"][-1], data["observed"][-1] = np.nan, False
    return Panel(data, panel.frequency, panel.preparation)


def note(folder: str, when: Any) -> None:
    """Leave a file that says which window was begun, for the count of those computed."""
    (Path(folder) / f"{when:%Y%m%d}-{uuid.uuid4().hex}").write_text(str(os.getpid()))


def begun(folder: Path) -> list[str]:
    """The last training month of every window that was begun, in order, as often as it was."""
    return sorted(entry.name.split("-")[0] for entry in folder.iterdir())


@dataclass(frozen=True)
class Noting:
    """Least squares that leaves a file, and takes its time.

    Parameters
    ----------
    folder : of the files.
    seconds : that a window takes.
    """

    folder: str = field(repr=False)
    seconds: float = field(default=0.0, repr=False)

    def fit(self, train: Panel) -> Any:
        note(self.folder, train.times[-1])
        time.sleep(self.seconds)
        return OLS().fit(train)


@dataclass(frozen=True)
class Dying:
    """Least squares whose process ends at one window: the first time, or every time.

    Parameters
    ----------
    folder : of the files that say which windows were begun.
    at : the last training month of that window, YYYYMMDD.
    how : "exit" or "kill".
    always : the second time too.
    """

    folder: str
    at: str
    how: str = "exit"
    always: bool = False

    def fit(self, train: Panel) -> Any:
        before = begun(Path(self.folder))
        note(self.folder, train.times[-1])
        if f"{train.times[-1]:%Y%m%d}" == self.at and (self.always or self.at not in before):
            if self.how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            os._exit(3)
        return OLS().fit(train)


@dataclass(frozen=True)
class Peeker:
    """A cheat: it forecasts the returns that it is shown, and says so when it is shown none."""

    def fit(self, train: Panel) -> Peeker:
        return self

    def forecast(self, panel: Panel) -> xr.DataArray:
        data = panel.data
        shown = [np.nan_to_num(data[name]).sum() for name in HAPPENED if name in data]
        mean = data["returns"].fillna(0.0) + sum(shown) + 0.01 * data["observed"]
        return mean.where(data["in_universe"]).reset_coords(drop=True)


@dataclass(frozen=True)
class Ahead:
    """A cheat: it forecasts from the characteristics of the month after."""

    def fit(self, train: Panel) -> Ahead:
        return self

    def forecast(self, panel: Panel) -> xr.DataArray:
        later = panel.data["characteristics"].isel(characteristic=0).shift(time=-1)
        return later.fillna(0.0).where(panel.data["in_universe"]).reset_coords(drop=True)


@dataclass(frozen=True)
class Disordered:
    """Forecasts right in another order, or wrong in a way that must be told."""

    how: str

    def fit(self, train: Panel) -> Disordered:
        return self

    def forecast(self, panel: Panel) -> Any:
        mean = panel.data["characteristics"].isel(characteristic=0).where(panel.data["in_universe"])
        mean = mean.reset_coords(drop=True)
        ways: dict[str, Callable[[], Any]] = {
            "plain": lambda: mean,
            "assets reversed": lambda: mean.isel(asset=slice(None, None, -1)),
            "transposed": lambda: mean.transpose("asset", "time"),
            "one asset fewer": lambda: mean.isel(asset=slice(1, None)),
            "one asset twice": lambda: xr.concat([mean, mean.isel(asset=[0])], "asset"),
            "an array": mean.to_numpy,
            "no number": lambda: mean.where(mean["asset"] != mean["asset"][0]),
        }
        return ways[self.how]()


@dataclass(frozen=True)
class LastReturn:
    """A cheat: it forecasts what the last month it learnt from gave each stock, so that it needs to be told it."""

    def fit(self, train: Panel) -> LastReturnForecast:
        last = train.data["returns"].isel(time=-1).fillna(0.0).reset_coords(drop=True)
        return LastReturnForecast(last, tuple(f"{when:%Y-%m-%d}" for when in train.times))


@dataclass(frozen=True)
class LastReturnForecast:
    """What it knows."""

    last: xr.DataArray
    seen: tuple[str, ...]

    def forecast(self, panel: Panel) -> xr.DataArray:
        mean = self.last.reindex(asset=panel.data["asset"].to_numpy(), fill_value=0.0)
        universe = panel.data["in_universe"].reset_coords(drop=True)
        return mean.broadcast_like(universe).transpose("time", "asset").where(universe)


@dataclass(frozen=True)
class Failing:
    """It cannot learn from as many months as that.

    Parameters
    ----------
    months : of the window that fails.
    error : what it raises.
    """

    months: int
    error: Exception

    def fit(self, train: Panel) -> Any:
        if len(train.times) == self.months:
            raise self.error
        return OLS().fit(train)


@dataclass(frozen=True)
class Warning_:
    """Least squares that gives one warning a window."""

    def fit(self, train: Panel) -> Any:
        import warnings

        warnings.warn(f"odd: {len(train.times)} months", bf.errors.DataWarning, stacklevel=2)
        return OLS().fit(train)


@dataclass(frozen=True)
class Flipped:
    """The negative of least squares: a candidate that must lose where least squares is any good."""

    def fit(self, train: Panel) -> Any:
        fitted = OLS().fit(train)
        return type(fitted)(
            -10.0 * fitted.coefficients, fitted.preparation, fitted.frequency, fitted.n_months, fitted.penalty
        )


# --- transforms -------------------------------------------------------------------------------------


def changed(panel: Panel, function: Callable[[xr.Dataset], xr.Dataset]) -> Panel:
    """The panel with other data."""
    return Panel(function(panel.data.copy()), panel.frequency, panel.preparation, panel.missing)


def clipped(learn: Panel, share: float = 0.3) -> Callable[[Panel], Panel]:
    """Characteristics clipped at quantiles of the learning panel."""
    z = learn.data["characteristics"]
    low, high = (z.quantile(level, ("time", "asset")).drop_vars("quantile") for level in (share, 1 - share))

    def apply(panel: Panel) -> Panel:
        return changed(panel, lambda data: data.assign(characteristics=data["characteristics"].clip(low, high)))

    return apply


def other_clipped(learn: Panel, share: float = 0.3) -> Callable[[Panel], Panel]:
    """As `clipped`, by another name."""
    return clipped(learn, share)


@dataclass(frozen=True)
class Clipped:
    """As `clipped`, as a class."""

    share: float = 0.3

    def __call__(self, learn: Panel) -> Callable[[Panel], Panel]:
        return clipped(learn, self.share)


def narrowing(learn: Panel) -> Callable[[Panel], Panel]:
    """Takes the first asset out of the universe."""

    def apply(panel: Panel) -> Panel:
        def without(data: xr.Dataset) -> xr.Dataset:
            universe = data["in_universe"].copy()
            universe[:, 0] = False
            returns = data["returns"].where(universe)
            return data.assign(in_universe=universe, observed=data["observed"] & universe, returns=returns)

        return changed(panel, without)

    return apply


def dropping(learn: Panel) -> Callable[[Panel], Panel]:
    """Takes the first asset away altogether."""
    return lambda panel: changed(panel, lambda data: data.isel(asset=slice(1, None)))


def peeking(learn: Panel) -> Callable[[Panel], Panel]:
    """Mixes the next month's characteristics in."""

    def apply(panel: Panel) -> Panel:
        def mixed(data: xr.Dataset) -> xr.Dataset:
            later = data["characteristics"].shift(time=-1).fillna(0.0)
            return data.assign(characteristics=0.5 * data["characteristics"] + 0.5 * later)

        return changed(panel, mixed)

    return apply


def remembering(learn: Panel) -> Callable[[Panel], Panel]:
    """Has a month more of the past than it was given."""

    def apply(panel: Panel) -> Panel:
        def longer(data: xr.Dataset) -> xr.Dataset:
            first = data.isel(time=[0]).assign_coords(time=data.indexes["time"][:1] - pd.offsets.MonthEnd(1))
            return xr.concat([first, data], "time", data_vars="minimal")

        return changed(panel, longer)

    return apply


def no_panel(learn: Panel) -> Callable[[Panel], Any]:
    return lambda panel: panel.data


def no_function(learn: Panel) -> Any:
    return learn
