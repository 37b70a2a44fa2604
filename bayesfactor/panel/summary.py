"""What a panel says of itself: its fingerprint, its table by period, its text."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
import xarray as xr

from bayesfactor.panel.periods import show


def fingerprint(data: xr.Dataset, said: tuple[str, ...]) -> str:
    """SHA-256 (hex) over labels, dims, dtypes and values, and over the words `said` of the whole."""
    digest = hashlib.sha256("|".join(said).encode())
    for name in sorted(str(name) for name in data.variables):
        variable = data[name]
        kind = "text" if variable.dtype.kind in "OUT" else str(variable.dtype)
        digest.update(f"|{name}|{variable.dims}|{variable.shape}|{kind}|".encode())
        digest.update(_content(variable.values))
    return digest.hexdigest()


def describe(data: xr.Dataset) -> pd.DataFrame:
    """By period: assets, observed, coverage, mean and sd of returns."""
    universe, observed = data.in_universe, data.observed & data.in_universe
    returns = data.returns.where(observed).to_pandas()
    return pd.DataFrame(
        {
            "assets": universe.sum("asset").to_series(),
            "observed": observed.sum("asset").to_series(),
            "coverage": (~data.missing).where(universe).mean(["asset", "characteristic"]).to_series(),
            "mean_return": returns.mean(axis=1),
            "sd_return": returns.std(axis=1),
        }
    )


def text(data: xr.Dataset, frequency: str, preparation: str, history: tuple[str, ...], odd: tuple[str, ...]) -> str:
    """A few lines for people."""
    times, names = data.indexes["time"], [str(name) for name in data.indexes["characteristic"]]
    n_assets = data.in_universe.values.sum(axis=1)
    observed = data.observed.values & data.in_universe.values
    waiting = [show(time, frequency) for time in times[~observed.any(axis=1)]]
    live = f"; without any yet: {', '.join(waiting[:3])}" if waiting else ""
    state = "not prepared" if preparation == "raw" else f"prepared ({preparation})"
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    lines = [
        f"<Panel: {frequency}, {show(times[0], frequency)} to {show(times[-1], frequency)}, {len(times)} "
        f"periods, {state}>",
        f"  universe         {_span(n_assets.min(), n_assets.max())} assets a period, {data.sizes['asset']:,} in all",
        f"  returns          {observed.sum():,} observed{live}",
        f"  characteristics  {len(names)}: {shown}",
        *(f"  history          {line}" for line in history),
        *(f"  warning          {line}" for line in odd),
    ]
    return "\n".join(lines)


def _span(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _content(values: np.ndarray) -> bytes:
    if values.dtype.kind in "OUT":
        return "\x00".join(str(value) for value in values.ravel()).encode()
    if values.dtype.kind == "f":
        values = np.where(np.isnan(values), np.nan, values)  # one NaN, whatever its bits were
    return np.ascontiguousarray(values).tobytes()
