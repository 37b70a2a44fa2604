"""Stand-ins whose draws and scores are chosen, so that the answer is known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

import bayesfactor as bf


def fake_fit(train: bf.Panel, **changes: Any) -> SimpleNamespace:
    """What evaluation reads of a Fit, with `draws`, the log likelihood (chain, draw) or (chain, draw, time) "
    "it gives."""
    fields = {
        "model": SimpleNamespace(likelihood_kind="density"),
        "status": "ok",
        "reasons": (),
        "characteristics": train.characteristics,
        "train_times": train.times,
        "panel_fingerprint": train.fingerprint,
        "frequency": train.frequency,
        "preparation": train.preparation,
        "draws": np.zeros((2, 50)),
    }
    return SimpleNamespace(**{**fields, **changes})


def month_totals(values: np.ndarray, start: str = "2000-01-31") -> xr.DataArray:
    """Scores labelled by month."""
    months = pd.date_range(start, periods=len(values), freq="ME")
    return xr.DataArray(np.asarray(values, dtype=float), {"time": months}, ("time",))
