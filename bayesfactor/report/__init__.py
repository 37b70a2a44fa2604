"""A report that a client can open: one HTML file with the findings of several fits."""

from bayesfactor.report.findings import Findings, gather, later_months, training_window
from bayesfactor.report.html import write_report

__all__ = ["Findings", "gather", "later_months", "training_window", "write_report"]
