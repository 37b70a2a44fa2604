"""How numbers, tables and figures stand in a page."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.figure import Figure

PERIODS = {"monthly": "month", "weekly": "week", "daily": "day"}


def percent(value: float) -> str:
    """A decimal number in percent, with its sign."""
    return f"{100 * value:+.2f}"


def band(row: xr.Dataset) -> str:
    """Both ends of a band, in percent."""
    return f"{percent(row['lower'].item())} to {percent(row['upper'].item())}"


def excludes_zero(row: xr.Dataset) -> bool:
    """Whether the band of a row holds no zero."""
    return bool(row["lower"] > 0 or row["upper"] < 0)


def prob_words(result: xr.Dataset | pd.DataFrame) -> str:
    """``90%``."""
    return f"{100 * float(result.attrs['prob']):g}%"


def embedded(figure: Figure) -> str:
    """The figure as a data URI, so that the page needs no other file."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def comparison(table: pd.DataFrame | None, why_not: str, r2: Mapping[str, float] | None = None) -> dict[str, Any]:
    """A table of `compare` as the page's macro takes it, or why there is none."""
    if table is None:
        return {"rows": [], "why_not": why_not}
    verdict, sample = table.attrs["verdict"], table.attrs["sample"]
    inconclusive = verdict == "INCONCLUSIVE"
    rows = [
        {
            "model": model,
            "elpd": f"{row['elpd']:,.1f}",
            "diff": f"{row['elpd_diff']:,.1f}",
            "diff_se": f"{row['diff_se']:,.1f}",
            "prob": "not given" if np.isnan(row["prob_better"]) else f"{row['prob_better']:.2f}",
            "weight": f"{row['weight']:.2f}",
            "r2": "" if r2 is None else f"{100 * r2[str(model)]:+.2f}%",
            "warnings": row["warnings"],
        }
        for model, row in table.iterrows()
    ]
    return {
        "rows": rows,
        "with_r2": r2 is not None,
        "verdict": verdict,
        "inconclusive": inconclusive,
        "words": (
            f"{sample} cannot decide between models, whatever the numbers below look like. No probability is given."
            if inconclusive
            else f"Judged on {sample} that no model has seen."
        ),
        "span": f"{table.attrs['first_month']} to {table.attrs['last_month']}",
    }
