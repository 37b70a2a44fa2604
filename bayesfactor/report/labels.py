"""Words that tables on a terminal and in a report share: labels of doubtful fits, statements about alphas."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


def status_label(result: xr.Dataset | pd.DataFrame | pd.Series) -> str:
    """``FAILED: bands not to be trusted`` for a result whose fit is not ``ok``; empty where it is.

    Bands of a guide that fails its check are called uncalibrated whatever the status, those of a pseudo-likelihood so.
    """
    status = str(result.attrs.get("status", "unknown"))
    uncalibrated = result.attrs.get("bands") == "uncalibrated"
    labels = []
    if status != "ok" or uncalibrated:
        labels.append(f"{status.upper()}: bands " + ("uncalibrated (k-hat)" if uncalibrated else "not to be trusted"))
    if result.attrs.get("likelihood_kind") == "pseudo-likelihood":
        labels.append("PSEUDO-LIKELIHOOD: bands may not cover")
    return "; ".join(labels)


def no_alpha_words(statement: pd.Series) -> list[str]:
    """What `no_alpha` says, in sentences."""
    period = {"monthly": "month", "weekly": "week", "daily": "day"}[statement.attrs["frequency"]]
    within = f"{100 * statement.attrs['within']:g}% a month"
    sentences = [f"P(all alphas within {within}): {probability(statement['prob_all_within'])}."]
    if np.isfinite(statement["distance"]):
        added = f"{statement['distance']:.3g}"
        sentences.append(f"They add {added} to the squared Sharpe ratio of a {period} (posterior mean).")
    beyond = "Share of draws nearer to their mean than no alpha at all is"
    if np.isfinite(statement["prob_beyond_zero"]):
        share = probability(statement["prob_beyond_zero"])
        sentences.append(f"{beyond}: {share} (near 1 when the data speak against it).")
    else:
        sentences.append(f"{beyond}: not given, it needs 20 draws an asset.")
    return sentences


def probability(value: float) -> str:
    """Two digits, and never a certainty."""
    if np.isnan(value):
        return "not given"
    return "< 0.01" if value < 0.01 else "> 0.99" if value > 0.99 else f"{value:.2f}"
