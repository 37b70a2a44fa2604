"""All definitions by name, as the computation uses them and as the documentation prints them."""

from __future__ import annotations

import pandas as pd

from bayesfactor.panel.characteristics.definitions import PriceDefinition, ReportDefinition
from bayesfactor.panel.characteristics.of_prices import PRICE_DEFINITIONS
from bayesfactor.panel.characteristics.of_reports import REPORT_DEFINITIONS

DEFINITIONS: dict[str, PriceDefinition | ReportDefinition] = {
    one.name: one for one in (*PRICE_DEFINITIONS, *REPORT_DEFINITIONS)
}


def describe() -> pd.DataFrame:
    """DEFINITIONS as a table.

    Returns
    -------
    DataFrame by `name`: `made_by` (the function), `formula`, `inputs`, `window`, `least` (days of every window, or
    quarterly reports), `units`, `source`.
    """
    rows = [
        {
            "name": one.name,
            "made_by": "from_prices" if isinstance(one, PriceDefinition) else "from_reports",
            "formula": one.formula,
            "inputs": ", ".join(one.inputs),
            "window": one.window,
            "least": one.least,
            "units": one.units,
            "source": one.source,
        }
        for one in DEFINITIONS.values()
    ]
    return pd.DataFrame(rows).set_index("name")
