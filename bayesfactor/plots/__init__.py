"""Figures of the labelled results; nothing is computed here beyond scaling to percent."""

from bayesfactor.plots.bands import (
    plot_forecast,
    plot_interactions,
    plot_ranks,
    plot_sensitivities,
    plot_sensitivities_over_time,
)
from bayesfactor.plots.calibration import plot_rank_ecdf
from bayesfactor.plots.rank_weights import plot_rank_weights
from bayesfactor.plots.reliability import plot_reliability
from bayesfactor.plots.scores import plot_month_scores

__all__ = [
    "plot_forecast",
    "plot_interactions",
    "plot_month_scores",
    "plot_rank_ecdf",
    "plot_rank_weights",
    "plot_ranks",
    "plot_reliability",
    "plot_sensitivities",
    "plot_sensitivities_over_time",
]
