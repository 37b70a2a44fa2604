"""Characteristics from raw inputs: daily prices and volumes, and reports with filing dates, point in time."""

from bayesfactor.panel.characteristics.catalogue import DEFINITIONS, describe
from bayesfactor.panel.characteristics.frames import combine, most_liquid
from bayesfactor.panel.characteristics.of_reports import REPORT_ITEMS
from bayesfactor.panel.characteristics.prices import from_prices
from bayesfactor.panel.characteristics.reports import from_reports

__all__ = ["DEFINITIONS", "REPORT_ITEMS", "combine", "describe", "from_prices", "from_reports", "most_liquid"]
