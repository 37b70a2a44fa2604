"""A panel for evaluation, and a likelihood whose draws are chosen (see standins.py)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

import bayesfactor as bf


@pytest.fixture(scope="session")
def economy_panel() -> bf.Panel:
    """A prepared panel of 60 months and ragged assets."""
    return bf.simulate.economy(n_months=60, n_assets=6, n_characteristics=2, seed=3, ragged=True).panel


@pytest.fixture
def chosen_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """``month_log_likelihood`` of a stand-in fit gives its `draws`."""

    def month_log_likelihood(fit: Any, panel: bf.Panel) -> xr.DataArray:
        draws = fit.draws if fit.draws.ndim == 3 else fit.draws[..., None]
        values = np.broadcast_to(draws, (*draws.shape[:2], len(panel.times)))
        return xr.DataArray(values, {"time": panel.times}, ("chain", "draw", "time"))

    monkeypatch.setattr("bayesfactor.quantities.month_log_likelihood", month_log_likelihood)
