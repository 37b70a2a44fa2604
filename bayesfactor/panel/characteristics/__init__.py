"""Characteristics from raw inputs: daily prices and volumes, and reports with filing dates, point in time."""

from bayesfactor.panel.characteristics.definitions import Definition, PriceDefinition, ReportDefinition, Window
from bayesfactor.panel.characteristics.frames import combine, most_liquid
from bayesfactor.panel.characteristics.of_prices import PRICE_DEFINITIONS
from bayesfactor.panel.characteristics.of_reports import REPORT_DEFINITIONS, REPORT_ITEMS
from bayesfactor.panel.characteristics.prices import from_prices
from bayesfactor.panel.characteristics.reports import from_reports

DEFINITIONS: dict[str, Definition] = {one.name: one for one in (*PRICE_DEFINITIONS, *REPORT_DEFINITIONS)}

__all__ = [
    "DEFINITIONS",
    "REPORT_ITEMS",
    "Definition",
    "PriceDefinition",
    "ReportDefinition",
    "Window",
    "combine",
    "from_prices",
    "from_reports",
    "most_liquid",
]
