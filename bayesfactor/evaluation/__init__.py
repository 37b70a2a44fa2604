"""How well fits predict: errors of forecasts, log scores by month, and an honest comparison."""

from __future__ import annotations

from bayesfactor.evaluation import metrics
from bayesfactor.evaluation.architecture import choose_architecture
from bayesfactor.evaluation.compare import compare, compare_scores
from bayesfactor.evaluation.scores import month_scores

__all__ = ["choose_architecture", "compare", "compare_scores", "metrics", "month_scores"]
