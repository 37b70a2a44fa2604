"""Quantities as CSV: no cell that a spreadsheet would run, units and status in every row."""

from __future__ import annotations

import csv
import dataclasses

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from fits import NETWORK, panel, prior_fit

import bayesfactor as bf
from bayesfactor.errors import DataError
from bayesfactor.plots.style import doubts
from bayesfactor.report.labels import status_label

NAMES = ["=cmd|' /C calc'!A0", "+1+1", "-2-3", "@SUM(A1)", "\t=1", "\r=1", "value", "B/P-ratio"]


def test_text_that_a_spreadsheet_would_run_is_escaped(tmp_path):
    dataset = xr.Dataset(
        {"mean": ("characteristic", np.linspace(-1, 1, 8)), "=evil": ("characteristic", np.zeros(8))},
        {"characteristic": NAMES},
        {"units": "decimal", "status": "ok"},
    )
    path = bf.to_csv(dataset, tmp_path / "table.csv")
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    cells = [row[0] for row in rows[1:]]
    assert cells == [f"'{name}" for name in NAMES[:6]] + NAMES[6:]
    assert "'=evil" in rows[0]
    assert [float(row[1]) for row in rows[1:]] == pytest.approx(np.linspace(-1, 1, 8)), "numbers stay numbers"


def test_units_and_a_weak_fit_s_status_stand_in_every_row(tmp_path):
    fit = dataclasses.replace(prior_fit(NETWORK), status="warn", reasons=("chains too short",))
    table = bf.sensitivities(fit, panel())
    frame = pd.read_csv(bf.to_csv(table, tmp_path / "table.csv"))
    assert list(frame["characteristic"]) == ["x1", "x2", "x3"]
    assert set(frame["units"]) == {"decimal per period per unit of the prepared characteristic"}
    assert set(frame["status"]) == {"warn"}
    for name in table.data_vars:
        np.testing.assert_allclose(frame[name], table[name], rtol=1e-12)


def test_forecasts_are_one_row_a_stock_and_month_of_the_universe(tmp_path):
    forecasts = bf.expected_returns(prior_fit(NETWORK), panel())
    frame = pd.read_csv(bf.to_csv(forecasts, tmp_path / "forecasts.csv"), parse_dates=["time"])
    assert len(frame) == int(panel().data["in_universe"].sum())
    row = frame.iloc[100]
    assert row["mean"] == pytest.approx(float(forecasts["mean"].sel(time=row["time"], asset=row["asset"])))


RELU = bf.FundamentalFactorModel(hidden=(3,), activation="relu", noise="normal")


def with_khat(fit, *khat):
    """The fit with a guide of this k-hat beside its draws."""
    tree = fit.tree.copy()
    tree["guide"] = xr.DataTree(xr.Dataset({"khat": ("chain", np.array(khat))}))
    return dataclasses.replace(fit, tree=tree)


@pytest.mark.parametrize(
    ("khat", "labelled"), [((0.1, 0.69), False), ((0.1, 0.7), True), ((np.nan, 0.1), True), (None, False)]
)
def test_bands_of_a_bad_guide_are_called_uncalibrated_in_every_row(tmp_path, khat, labelled):
    def of(model):
        return prior_fit(model) if khat is None else with_khat(prior_fit(model), *khat)

    results = {
        "sensitivities": bf.sensitivities(of(NETWORK), panel()),
        "draws": bf.sensitivities(of(NETWORK), panel(), summary="draws"),
        "interactions": bf.interactions(of(NETWORK), panel()),
        "expected_returns": bf.expected_returns(of(NETWORK), panel()),
        "sensitivity_bound": bf.sensitivity_bound(of(RELU), panel()),
    }
    for name, result in results.items():
        frame = pd.read_csv(bf.to_csv(result, tmp_path / "table.csv"))
        assert ("bands" in frame) == labelled, name
        assert not labelled or set(frame["bands"]) == {"uncalibrated"}
        assert bool(status_label(result)) == labelled
        told = doubts({name: result})
        assert told == ([f"{name}: fit status OK, its bands are UNCALIBRATED"] if labelled else [])


def test_units_and_status_are_escaped_too(tmp_path):
    dataset = xr.Dataset(
        {"mean": ("characteristic", [0.1])}, {"characteristic": ["x"]}, {"units": "=1+1", "status": "@x"}
    )
    with bf.to_csv(dataset, tmp_path / "table.csv").open(newline="") as file:
        assert list(csv.reader(file))[1] == ["x", "0.1", "'=1+1", "'@x"]


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(DataError, match="Dataset of a quantity: found DataFrame"):
        bf.to_csv(pd.DataFrame({"x": [1]}), tmp_path / "table.csv")
    with pytest.raises(DataError, match="does not exist"):
        bf.to_csv(xr.Dataset({"mean": 0.1}), tmp_path / "none" / "table.csv")
    assert not list(tmp_path.iterdir())
