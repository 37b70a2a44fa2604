"""Figures of the labelled results; nothing is computed here beyond scaling to percent."""

from bayesfactor.plots.assets import plot_alphas, plot_loadings, plot_sharpe_ratios
from bayesfactor.plots.bands import (
    plot_forecast,
    plot_interactions,
    plot_ranks,
    plot_sensitivities,
    plot_sensitivities_over_time,
)
from bayesfactor.plots.calibration import plot_rank_ecdf
from bayesfactor.plots.factors import plot_factors, plot_holdings, plot_importance
from bayesfactor.plots.rank_weights import plot_rank_weights
from bayesfactor.plots.reliability import plot_reliability
from bayesfactor.plots.scores import plot_month_scores

__all__ = [
    "plot_alphas",
    "plot_factors",
    "plot_forecast",
    "plot_holdings",
    "plot_importance",
    "plot_interactions",
    "plot_loadings",
    "plot_month_scores",
    "plot_rank_ecdf",
    "plot_rank_weights",
    "plot_ranks",
    "plot_reliability",
    "plot_sensitivities",
    "plot_sensitivities_over_time",
    "plot_sharpe_ratios",
]
