"""How well fits and stored forecasts predict: errors, log scores by month, calibration, and an honest comparison."""

from __future__ import annotations

from bayesfactor.evaluation import metrics, pricing
from bayesfactor.evaluation.architecture import choose_architecture
from bayesfactor.evaluation.calibration import compare_forecasts, forecast_calibration
from bayesfactor.evaluation.compare import compare, compare_scores, difference_intervals
from bayesfactor.evaluation.scores import month_scores

__all__ = [
    "choose_architecture",
    "compare",
    "compare_forecasts",
    "compare_scores",
    "difference_intervals",
    "forecast_calibration",
    "metrics",
    "month_scores",
    "pricing",
]
