"""The embedded stocks and Ken French's files, as the studies take them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

import bayesfactor as bf


def us_equities() -> tuple[bf.Panel, pd.DataFrame]:
    """The embedded panel, raw, its months with returns; and MKT, SMB, HML (time, factor) of its own sorts."""
    raw = bf.datasets.us_equities(prepared=False)
    raw = raw.split(raw.times[-1])[0]  # the live month has no returns
    return raw, bf.sorts.factors(raw, value="bm", size_in="log").returns.to_pandas().dropna()


def french_panel(folder: Path, without: Sequence[str] = ()) -> bf.Panel:
    """Ken French's portfolios with characteristics, raw, but for the sorts of these prefixes."""
    frame = pd.read_parquet(folder / "panels" / "french_portfolios_panel_1963_2025.parquet")
    frame = frame[~frame["asset"].str.split("|").str[0].isin(without)]
    return bf.read_frame(
        frame,
        time="date",
        asset="asset",
        returns="xret_next",
        returns_over="next",
        lag=0,
        units="decimal",
        excess=True,
        exclude=["ret_next", "rf_next"],
    )


def french_factors(folder: Path, times: pd.DatetimeIndex) -> tuple[pd.DataFrame, pd.Series]:
    """The three factors (time, factor) and the bill (time,) in these months, decimal per month."""
    path = only(folder / "french_raw", "F-F_Research_Data_Factors__*.csv")
    table = bf.readers.ken_french(path)["monthly"]
    factors, riskless = table.factors(units="percent"), table.risk_free(units="percent")
    return factors.loc[factors.index.isin(times)], riskless


def only(folder: Path, pattern: str) -> Path:
    """The latest vintage of a file."""
    found = sorted(folder.glob(pattern))
    if not found:
        raise FileNotFoundError(f"{folder} must hold {pattern} of the Kenneth French data library")
    return found[-1]
