"""Good inputs, small, made once for a process: faults spoil copies of them."""

from __future__ import annotations

import functools
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import bayesfactor as bf

N_MONTHS, N_ASSETS = 14, 6
TOLD: dict[str, Any] = {
    "time": "date",
    "asset": "asset",
    "returns": "ret",
    "returns_over": "row",
    "lag": 1,
    "units": "decimal",
    "excess": True,
    "characteristics": ["x", "y"],
}


def frame() -> pd.DataFrame:
    """84 rows, 2015-01 to 2016-02 by A0 to A5, one row each, dated by month end; row 7 is (2015-02, A1)."""
    rng = np.random.default_rng(20)
    months = pd.date_range("2015-01-31", periods=N_MONTHS, freq="ME", unit="ns")
    dates = np.repeat(months, N_ASSETS)
    n = len(dates)
    return pd.DataFrame(
        {
            "date": dates,
            "asset": [f"A{i}" for i in range(N_ASSETS)] * N_MONTHS,
            "ret": 0.05 * rng.standard_normal(n),
            "x": rng.standard_normal(n),
            "y": rng.standard_normal(n),
            "size": np.exp(rng.standard_normal(n)),
            "sector": ["tech", "energy", "tech"] * (n // 3),
            "filed": dates + pd.to_timedelta(20, unit="D"),
            "rf": 0.001,
        }
    )


def lacking() -> pd.DataFrame:
    """`frame` without the x of (2015-04, A2), which lands at 2015-05."""
    return frame().assign(x=lambda rows: rows["x"].where(rows.index != 20))


@functools.cache
def raw() -> bf.Panel:
    """What `lacking` holds, with size and group."""
    return bf.read_frame(lacking(), **TOLD, size="size", group="sector")


@functools.cache
def prepared() -> bf.Panel:
    """Ranked; 13 months with returns and the live one."""
    return raw().rank_normalise()


@functools.cache
def train() -> bf.Panel:
    """The first 8 months."""
    return prepared().split("2015-10")[0]


def later() -> bf.Panel:
    """The months after `train`."""
    return prepared().split("2015-10")[1]


LINEAR = bf.FundamentalFactorModel(hidden=(), noise="normal", pooling="full")
EXACT = bf.Exact(draws=4, chains=2)


def quietly(model: Any, panel: Any, inference: Any, **settings: Any) -> bf.Fit:
    """``bf.fit`` without warnings about its quality."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bf.errors.BayesFactorWarning)
        return bf.fit(model, panel, inference, **settings)


@functools.cache
def fit() -> bf.Fit:
    """The linear model on `train`, in closed form."""
    return quietly(LINEAR, train(), EXACT)


def written(write: Callable[[Path], object]) -> dict[str, bytes]:
    """Files that `write` leaves in a folder, by relative path."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "it")
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(Path(folder).rglob("*"))
            if path.is_file()
        }


@functools.cache
def saved_fit() -> bytes:
    """`fit`, as a file."""
    return written(fit().save)["it"]


@functools.cache
def store_files() -> dict[str, bytes]:
    """The first five months of `prepared` as a panel store, its files by path below ``it``."""
    return written(prepared().split("2015-07")[0].to_zarr)


def store(folder: Path) -> Path:
    """A fresh copy of the store in a folder."""
    for name, content in store_files().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder / "it"
