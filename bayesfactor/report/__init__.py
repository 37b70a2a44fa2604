"""A report that a client can open: one HTML file with the findings of several fits."""

from bayesfactor.report.findings import (
    Findings,
    different_training_data,
    gather,
    later_months,
    require_training_data,
    training_window,
)
from bayesfactor.report.fundamental import FundamentalFindings
from bayesfactor.report.html import write_report
from bayesfactor.report.sorted_factors import SortedFindings

__all__ = [
    "Findings",
    "FundamentalFindings",
    "SortedFindings",
    "different_training_data",
    "gather",
    "later_months",
    "require_training_data",
    "training_window",
    "write_report",
]
