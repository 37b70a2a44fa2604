"""Forecasts that use no characteristic: zero, and each asset's historical mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from bayesfactor.baselines.statistics import require_frequency, require_panel, training_cells
from bayesfactor.panel import Panel

UNITS = "decimal per period, excess"


@dataclass(frozen=True)
class Zero:
    """Forecast zero excess return for every stock: the benchmark of Gu, Kelly and Xiu (2020)."""

    def fit(self, train: Panel) -> ZeroForecast:
        """There is nothing to learn: any Panel will do.

        Raises
        ------
        DataError
            When `train` is no Panel.
        """
        require_panel(train)
        return ZeroForecast()


@dataclass(frozen=True)
class ZeroForecast:
    """Zero for every stock."""

    def forecast(self, panel: Panel) -> xr.DataArray:
        """DataArray (time, asset): 0 in the universe, NaN outside it."""
        require_panel(panel)
        return in_universe(np.zeros(panel.data["returns"].shape), panel)


@dataclass(frozen=True)
class HistoricalMean:
    """Forecast each asset's own mean return over the training window.

    ``m_i = sum_t r_it / n_i`` over the ``n_i`` months in which asset i was in the universe and has a return. An asset
    without any gets the pooled mean, in which stock-months weigh equally, as in `metrics.historical_mean`. That one
    expands through the test window; this one stays as trained, and is the same in the first month after training.
    """

    def fit(self, train: Panel) -> HistoricalMeanForecast:
        """Means of the training window.

        Raises
        ------
        DataError
            When `train` is no Panel.
        EmptyWindowError
            When it has no return.
        """
        require_panel(train)
        used = training_cells(train)
        seen = np.where(used, train.data["returns"].to_numpy(), 0.0)
        count, pooled = used.sum(axis=0), float(seen.sum() / used.sum())
        own = np.divide(seen.sum(axis=0), count, out=np.full(len(count), pooled), where=count > 0)
        mean = xr.DataArray(own, {"asset": train.data["asset"].to_numpy()}, ("asset",), attrs={"units": UNITS})
        return HistoricalMeanForecast(mean, pooled, train.frequency)


@dataclass(frozen=True, eq=False)
class HistoricalMeanForecast:
    """The training window's means, decimal per period.

    Attributes
    ----------
    mean : DataArray (asset).
    pooled : of all stock-months, for assets that have no history.
    frequency : of the training window.
    """

    mean: xr.DataArray
    pooled: float
    frequency: str

    def forecast(self, panel: Panel) -> xr.DataArray:
        """DataArray (time, asset): each asset's mean in the universe, NaN outside it.

        Raises
        ------
        AlignmentError
            When the panel's frequency is not that of training.
        """
        require_panel(panel)
        require_frequency(panel, self.frequency)
        own = self.mean.reindex(asset=panel.data["asset"].to_numpy(), fill_value=self.pooled).to_numpy()
        return in_universe(np.broadcast_to(own, panel.data["returns"].shape), panel)


def in_universe(values: np.ndarray, panel: Panel) -> xr.DataArray:
    """A forecast: values (time, asset) in the panel's universe, NaN outside it."""
    values = np.where(panel.data["in_universe"].to_numpy(), values, np.nan)
    coords = {"time": panel.times.to_numpy(), "asset": panel.data["asset"].to_numpy()}
    return xr.DataArray(values, coords, ("time", "asset"), "forecast", {"units": UNITS})
