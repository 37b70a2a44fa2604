"""When a fit may be believed: every limit at its boundary, and NaN never passes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from bayesfactor.inference import diagnostics
from bayesfactor.inference.diagnostics import diagnose_functions, verdict

NAN = float("nan")


def table(**changes):
    good = {"rhat": 1.0, "ess_bulk": 1000.0, "ess_tail": 1000.0, "n_elements": 1}
    return pd.DataFrame.from_dict({"other": good, "response": {**good, **changes}}, orient="index")


def statistics(n_diverging=0, energy=None):
    diverging = np.zeros((2, 500), bool)
    diverging.flat[:n_diverging] = True
    if energy is None:
        energy = np.random.default_rng(0).standard_normal((2, 500))
    return xr.Dataset({"diverging": (("chain", "draw"), diverging), "energy": (("chain", "draw"), energy)})


def test_good_diagnostics_are_ok():
    assert verdict(table(), statistics()) == ("ok", ())
    assert verdict(table(), None) == ("ok", ())


@pytest.mark.parametrize(
    ("column", "value", "status"),
    [
        ("rhat", 1.00999, "ok"),
        ("rhat", 1.01, "warn"),
        ("rhat", 1.1, "warn"),
        ("rhat", 1.10001, "failed"),
        ("rhat", NAN, "failed"),
        ("rhat", np.inf, "failed"),
        ("ess_bulk", 400.0, "ok"),
        ("ess_bulk", 399.9, "warn"),
        ("ess_bulk", 50.0, "warn"),
        ("ess_bulk", 49.9, "failed"),
        ("ess_bulk", NAN, "failed"),
        ("ess_tail", 400.0, "ok"),
        ("ess_tail", 399.9, "warn"),
        ("ess_tail", 49.9, "failed"),
        ("ess_tail", NAN, "failed"),
    ],
)
def test_limits_of_functions(column, value, status):
    found = verdict(table(**{column: value}), statistics())
    assert found.status == status
    assert len(found.reasons) == (status != "ok")
    assert all("of response is" in reason for reason in found.reasons)


@pytest.mark.parametrize(("count", "status"), [(0, "ok"), (1, "warn"), (50, "warn"), (51, "failed")])
def test_limits_of_divergences(count, status):
    found = verdict(table(), statistics(count))
    assert found.status == status
    assert found.reasons == () or f"{count} of 1,000 draws diverged" in found.reasons[0]


@pytest.mark.parametrize(("lowest", "status"), [(0.30001, "ok"), (0.3, "warn"), (0.01, "warn"), (NAN, "failed")])
def test_limits_of_bfmi(monkeypatch, lowest, status):
    monkeypatch.setattr(diagnostics.array_stats, "bfmi", lambda energy: np.array([1.0, lowest]), raising=False)
    found = verdict(table(), statistics())
    assert found.status == status
    assert found.reasons == () or "E-BFMI of chain 1" in found.reasons[0]


def test_energy_that_creeps_is_warned_of():
    rng = np.random.default_rng(1)
    creeping = np.stack([rng.standard_normal(500), np.cumsum(rng.standard_normal(500))])
    found = verdict(table(), statistics(energy=creeping))
    assert found.status == "warn"
    assert "E-BFMI of chain 1" in found.reasons[0]
    assert verdict(table(), statistics(energy=np.full((2, 500), NAN))).status == "failed"


def test_the_worst_status_wins_and_its_reason_comes_first():
    found = verdict(table(rhat=1.05, ess_bulk=10.0), statistics(3))
    assert found.status == "failed"
    assert len(found.reasons) == 3
    assert found.reasons[0].startswith("bulk effective sample size")


def test_functions_are_judged_by_their_worst_element():
    values = np.random.default_rng(2).standard_normal((4, 500, 3))
    good = diagnose_functions(xr.Dataset({"response": (("chain", "draw", "probe"), values)}))
    assert good.loc["response", "rhat"] < 1.01
    values[0, :, 1] += 3.0  # one chain elsewhere, in one element of three
    bad = diagnose_functions(xr.Dataset({"response": (("chain", "draw", "probe"), values)}))
    assert bad.loc["response", "rhat"] > 1.1
    assert bad.loc["response", "ess_bulk"] < 50
    assert verdict(bad, None).status == "failed"


@pytest.mark.parametrize("fault", ["nan", "inf"])
def test_draws_that_are_not_finite_fail(fault):
    values = np.random.default_rng(3).standard_normal((4, 500, 2))
    values[1, 7, 0] = float(fault)
    functions = xr.Dataset({"response": (("chain", "draw", "probe"), values)})
    with np.errstate(invalid="ignore"):
        assert verdict(diagnose_functions(functions), None).status == "failed"
