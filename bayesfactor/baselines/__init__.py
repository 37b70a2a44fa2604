"""Other people's estimators behind fit and forecast: what a posterior must beat."""

from __future__ import annotations

from bayesfactor.baselines.interface import Baseline, Forecaster
from bayesfactor.baselines.linear import OLS, FamaMacBeth, LinearForecast, Ridge
from bayesfactor.baselines.means import HistoricalMean, HistoricalMeanForecast, Zero, ZeroForecast

__all__ = [
    "OLS",
    "Baseline",
    "FamaMacBeth",
    "Forecaster",
    "HistoricalMean",
    "HistoricalMeanForecast",
    "LinearForecast",
    "Ridge",
    "Zero",
    "ZeroForecast",
]
