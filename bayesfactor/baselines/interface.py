"""What a baseline is: two methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import xarray as xr

    from bayesfactor.panel import Panel


@runtime_checkable
class Forecaster(Protocol):
    """What a baseline has learnt."""

    def forecast(self, panel: Panel) -> xr.DataArray:
        """Expected excess returns of the panel's months, given what was known before each.

        Parameters
        ----------
        panel : months to forecast. Their returns are not to be read: a walk-forward blanks them.

        Returns
        -------
        DataArray (time, asset): months and assets of `panel`, decimal per period, finite in the universe of each
        month and NaN outside it.
        """
        ...


@runtime_checkable
class Baseline(Protocol):
    """An estimator of expected returns that a posterior must beat: settings only, nothing learnt.

    Anything with this method will do, a class of your own in a file of your own too. It need not inherit. Best is a
    frozen dataclass of settings, whose ``repr`` names the forecasts. Forecasts are scored with the month covariance of
    `common_law`, the same for all baselines, so that a baseline says nothing about uncertainty.
    """

    def fit(self, train: Panel) -> Forecaster:
        """Learn from a training window.

        Parameters
        ----------
        train : Panel; only cells that are ``observed & in_universe`` may teach.

        Returns
        -------
        An object with `forecast`.
        """
        ...
