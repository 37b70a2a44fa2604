"""A report that a client can open: one HTML file with the findings of several fits."""

from bayesfactor.report.findings import (
    Findings,
    different_training_data,
    gather,
    later_months,
    require_training_data,
    training_window,
)
from bayesfactor.report.html import write_report

__all__ = [
    "Findings",
    "different_training_data",
    "gather",
    "later_months",
    "require_training_data",
    "training_window",
    "write_report",
]
