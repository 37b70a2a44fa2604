"""Readers of files in the layouts of the field. Each says what its source says about timing, and asks for the rest."""

from bayesfactor.panel.files import Limits, read_table
from bayesfactor.panel.readers.french import FrenchFile, FrenchTable, ken_french
from bayesfactor.panel.readers.macro import WELCH_GOYAL_LAGS, welch_goyal
from bayesfactor.panel.readers.stocks import GKX_CHARACTERISTICS, dixon_polson, gkx, jkp, open_asset_pricing

__all__ = [
    "GKX_CHARACTERISTICS",
    "WELCH_GOYAL_LAGS",
    "FrenchFile",
    "FrenchTable",
    "Limits",
    "dixon_polson",
    "gkx",
    "jkp",
    "ken_french",
    "open_asset_pricing",
    "read_table",
    "welch_goyal",
]
