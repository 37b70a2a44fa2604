"""Monthly predictors of Goyal and Welch, with the months one must wait before each is known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd

from bayesfactor.errors import DataError, first_three
from bayesfactor.panel.files import read_table, require_columns
from bayesfactor.panel.periods import Days, parse_dates, period_ends, show

_RAW = (
    "Index", "D12", "E12", "b/m", "tbl", "AAA", "BAA", "lty", "ntis", "Rfree", "infl", "ltr", "corpr", "svar",
    "CRSP_SPvw",
)  # fmt: skip
_DERIVED = (
    "dp",
    "dy",
    "ep",
    "de",
    "svar",
    "bm",
    "ntis",
    "tbl",
    "lty",
    "ltr",
    "tms",
    "dfy",
    "dfr",
    "infl",
    "rfree",
    "spvw",
)

WELCH_GOYAL_LAGS: Mapping[str, int] = MappingProxyType(dict.fromkeys(_DERIVED, 1) | {"infl": 2})
"""Age in months at which each column is known: `panel.join_macro(frame, lag=WELCH_GOYAL_LAGS)`.

Inflation is released in the following month, so Welch and Goyal (2008) wait one month more. All else they take as known
at the end of its month, and so do these lags. Earnings are interpolated between quarters and reported later than that:
say ``{**WELCH_GOYAL_LAGS, "ep": 6, "de": 6}`` where ep and de must have been public.
"""


def welch_goyal(path: str | Path | pd.DataFrame) -> pd.DataFrame:
    """Monthly predictors of Goyal and Welch, from the raw file or from one that holds the predictors.

    From the raw file (PredictorData, sheet Monthly, saved as CSV; thousands with commas) the predictors are computed as
    in Welch, Goyal (2008), section 1:

    dp = log D12 - log Index,  dy = log D12 - log Index of the month before,  ep = log E12 - log Index,
    de = log D12 - log E12,  bm = b/m,  tms = lty - tbl,  dfy = BAA - AAA,  dfr = corpr - ltr,

    svar, ntis, tbl, lty, ltr and infl as they are, rfree = Rfree, spvw = CRSP_SPvw. A logarithm of what is not
    positive is missing. The annual and quarterly sheets (yyyy, yyyyq) are not read.

    Parameters
    ----------
    path : CSV (or .csv.gz, ZIP, Parquet), or frame.

    Returns
    -------
    DataFrame (time, predictor), month ends, decimal (tbl, lty, tms, dfy annualised): every value DATED BY THE MONTH IT
    DESCRIBES, not by when it was known. `WELCH_GOYAL_LAGS` says how long to wait. Column rfree is the riskless rate
    over the month of its date, so that it may serve as `risk_free=` with decimal returns.

    Raises
    ------
    DataError
        Not the monthly file, a column absent, a cell that is no number, months that go back or are left out.
    """
    frame = path if isinstance(path, pd.DataFrame) else read_table(path)
    wanted = _RAW if "Index" in frame else _DERIVED
    date = "yyyymm" if wanted is _RAW else "date"
    require_columns(frame.columns, (date, *wanted), "the monthly file of Goyal and Welch")
    days = parse_dates(frame[date], date)
    time = pd.DatetimeIndex(period_ends(days, "monthly").astype("datetime64[ns]"), name="time")
    steps = np.diff(days.astype("datetime64[M]").astype(int))
    if (steps != 1).any():
        bad = np.flatnonzero(steps != 1)
        cells = [(show(days[row], "monthly"), show(days[row + 1], "monthly")) for row in bad]
        raise DataError(f"months must follow one another, each once: they do not at {first_three(cells)}.")
    values = pd.DataFrame({name: _numbers(frame[name], days) for name in wanted}, index=time)
    return _predictors(values) if wanted is _RAW else values


def _predictors(raw: pd.DataFrame) -> pd.DataFrame:
    log = {name: pd.Series(np.log(raw[name].where(raw[name] > 0)), raw.index) for name in ("Index", "D12", "E12")}
    return pd.DataFrame(
        {
            "dp": log["D12"] - log["Index"],
            "dy": log["D12"] - log["Index"].shift(),
            "ep": log["E12"] - log["Index"],
            "de": log["D12"] - log["E12"],
            "svar": raw["svar"],
            "bm": raw["b/m"],
            "ntis": raw["ntis"],
            "tbl": raw["tbl"],
            "lty": raw["lty"],
            "ltr": raw["ltr"],
            "tms": raw["lty"] - raw["tbl"],
            "dfy": raw["BAA"] - raw["AAA"],
            "dfr": raw["corpr"] - raw["ltr"],
            "infl": raw["infl"],
            "rfree": raw["Rfree"],
            "spvw": raw["CRSP_SPvw"],
        }
    )


def _numbers(column: pd.Series, days: Days) -> np.ndarray:
    """Numbers, also with commas between thousands."""
    if pd.api.types.is_numeric_dtype(column.dtype):
        read = column.astype(float)
    else:
        text = column.astype(object).where(column.notna())
        read = pd.to_numeric(
            text.map(lambda cell: cell.replace(",", "") if isinstance(cell, str) else cell), errors="coerce"
        )
        bad = (read.isna() & column.notna()).to_numpy()
        if bad.any():
            where = first_three((show(days[row], "monthly"), column.iloc[row]) for row in np.flatnonzero(bad))
            raise DataError(f"column {column.name!r} must be numbers: found {where}.")
    values = read.to_numpy(dtype=float)
    if np.isinf(values).any():
        where = first_three(show(days[row], "monthly") for row in np.flatnonzero(np.isinf(values)))
        raise DataError(f"column {column.name!r} must be finite: infinite at {where}.")
    return values
