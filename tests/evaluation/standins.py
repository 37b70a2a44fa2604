"""Stand-ins whose draws and scores are chosen, so that the answer is known."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats

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


QUANTILES = np.array([0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99])
KIND = {
    "frequency": "monthly",
    "panel_fingerprint": "a" * 64,
    "units": "decimal per period",
    "log_base": "e",
    "likelihood_kind": "density",
}


@dataclass(frozen=True)
class StandIn:
    """What judging reads of Forecasts."""

    data: xr.Dataset
    windows: pd.DataFrame


def normal_forecasts(
    realised: np.ndarray,
    mean: np.ndarray | float = 0.0,
    sd: np.ndarray | float = 0.05,
    *,
    start: str = "2000-01-31",
    months_a_window: int = 12,
    name: str = "normal",
    **attrs: Any,
) -> StandIn:
    """Independent normal predictive distributions of returns (time, asset); NaN returns are not observed."""
    times = pd.date_range(start, periods=len(realised), freq="ME")
    assets = [f"a{i}" for i in range(realised.shape[1])]
    mean, sd = (np.broadcast_to(value, realised.shape).astype(float) for value in (mean, sd))
    z = (realised - mean) / sd
    crps = sd * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi))
    seen = np.isfinite(realised)
    log_density = np.where(seen, stats.norm.logpdf(z) - np.log(sd), 0.0).sum(axis=1)
    score = np.where(seen.any(axis=1), log_density, np.nan)
    quantiles = mean[..., None] + sd[..., None] * stats.norm.ppf(QUANTILES)
    window = np.arange(len(times)) // months_a_window
    digests = [hashlib.sha256(row.tobytes()).hexdigest()[:16] for row in seen]
    cells = ("time", "asset")
    data = xr.Dataset(
        {
            "mean": (cells, mean),
            "sd": (cells, sd),
            "quantiles": ((*cells, "quantile"), quantiles),
            "realised": (cells, realised),
            "pit": (cells, stats.norm.cdf(z)),
            "crps": (cells, crps),
            "score": ("time", score),
            "mcse": ("time", np.where(np.isnan(score), np.nan, 0.0)),
            "common_score": ("time", score),
        },
        {
            "time": times,
            "asset": assets,
            "quantile": QUANTILES,
            "window": ("time", window),
            "scored_assets": ("time", digests),
        },
        {**KIND, "name": name, **attrs},
    )
    return StandIn(data, windows_of(times, window))


def windows_of(times: pd.DatetimeIndex, window: np.ndarray) -> pd.DataFrame:
    """Expanding windows: all months before the test months, the last one left out (embargo)."""
    rows = []
    for one in np.unique(window):
        test = times[window == one]
        rows.append(
            {
                "train_first": times[0] - pd.DateOffset(years=10),
                "train_last": test[0] - pd.DateOffset(months=2),
                "validation_first": pd.NaT,
                "validation_last": pd.NaT,
                "test_first": test[0],
                "test_last": test[-1],
                "n_train": 120 + 12 * int(one),
                "status": "ok",
                "reasons": "",
                "chosen": "",
                "seconds": 1.0,
                "start": "cold",
            }
        )
    return pd.DataFrame(rows, index=pd.Index(np.unique(window), name="window"))
