"""What a panel says of itself: its fingerprint, its table by period, its text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr

from bayesfactor.panel.periods import show, span

if TYPE_CHECKING:
    from bayesfactor.panel.panel import Panel
    from bayesfactor.panel.store import PanelStore


def fingerprint(data: xr.Dataset, said: tuple[str, ...]) -> str:
    """SHA-256 (hex) over labels, dims, dtypes and values, and over the words `said` of the whole."""
    digest = hashlib.sha256("|".join(said).encode())
    for name in sorted(str(name) for name in data.variables):
        variable = data[name]
        kind = "text" if variable.dtype.kind in "OUT" else str(variable.dtype)
        digest.update(f"|{name}|{variable.dims}|{variable.shape}|{kind}|".encode())
        for part in _content(variable.values):
            digest.update(part)
    return digest.hexdigest()


def missing_cells(data: xr.Dataset) -> pd.DataFrame:
    """Cells of the universe that had no value, by period and characteristic; columns of indicators are left out."""
    continuous = data.kind.values == "continuous"
    pairs = zip(data.missing.values, data.in_universe.values, strict=True)
    counts = [absent[members].sum(axis=0)[continuous] for absent, members in pairs]
    names = data.indexes["characteristic"][continuous]
    return pd.DataFrame(np.array(counts), data.indexes["time"], names)


def filled(data: xr.Dataset) -> str:
    """How many cells preparation fills, and of which characteristics most, in words."""
    missing, cells = missing_cells(data).sum(), int(data.in_universe.sum())
    total = int(missing.sum())
    if total == 0:
        return "no cell missing"
    most = missing[missing > 0].sort_values(ascending=False, kind="stable")
    named = ", ".join(f"{name} {100 * count / cells:.2g}%" for name, count in most.iloc[:3].items())
    more = f" and {len(most) - 3} more" if len(most) > 3 else ""
    return f"{total:,} missing cells of {cells * len(missing):,} -> 0 ({named}{more})"


def describe(data: xr.Dataset) -> pd.DataFrame:
    """By period: assets, observed, coverage, missing cells, mean and sd of returns."""
    universe, observed = data.in_universe, data.observed & data.in_universe
    returns = data.returns.where(observed).to_pandas()
    by_characteristic = missing_cells(data)
    assets, missing = universe.sum("asset").to_series(), by_characteristic.sum(axis=1)
    return pd.DataFrame(
        {
            "assets": assets,
            "observed": observed.sum("asset").to_series(),
            "coverage": 1 - missing / (assets * by_characteristic.shape[1]),
            "missing": missing,
            "mean_return": returns.mean(axis=1),
            "sd_return": returns.std(axis=1),
        }
    )


def text(panel: Panel | PanelStore, n_assets: np.ndarray, n_observed: np.ndarray, n_labels: int) -> str:
    """A few lines for people, of assets in the universe and returns observed by period, and assets in all."""
    times, names, frequency = panel.times, panel.characteristics, panel.frequency
    waiting = [show(time, frequency) for time in times[n_observed == 0]]
    live = f"; without any yet: {', '.join(waiting[:3])}" if waiting else ""
    state = f"prepared ({panel.preparation})" if panel.prepared else "not prepared"
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    lines = [
        f"<{type(panel).__name__}: {frequency}, {span(times, frequency)}, {len(times)} periods, {state}>",
        f"  universe         {_counts(n_assets.min(), n_assets.max())} assets a period, {n_labels:,} in all",
        f"  returns          {n_observed.sum():,} observed{live}",
        f"  characteristics  {len(names)}: {shown}",
        *(f"  history          {line}" for line in panel.history),
        *(f"  warning          {line}" for line in panel.warnings),
    ]
    return "\n".join(lines)


def _counts(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _content(values: np.ndarray) -> Iterator[bytes]:
    """The bytes of an array, a period at a time so that no copy of it is in memory."""
    if values.dtype.kind in "OUT":
        yield "\x00".join(str(value) for value in values.ravel()).encode()
        return
    for part in np.atleast_1d(values):
        # one NaN, whatever its bits were
        yield (np.where(np.isnan(part), np.nan, part) if values.dtype.kind == "f" else part).tobytes()
