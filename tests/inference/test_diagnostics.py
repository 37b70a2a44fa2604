"""When a fit may be believed: every limit at its boundary, and NaN never passes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from bayesfactor.inference import diagnostics
from bayesfactor.inference.diagnostics import Verdict, diagnose_functions, of_guide, of_restarts, verdict, worst
from bayesfactor.inference.variational import pareto_khat

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


def test_chains_that_stand_still_apart_fail_without_a_warning_of_numpy():
    still = np.repeat([[1.0], [2.0]], 500, axis=1)
    found = diagnose_functions(xr.Dataset({"still": (("chain", "draw"), still)}))
    assert verdict(found, None).status == "failed"


@pytest.mark.parametrize("fault", ["nan", "inf"])
def test_draws_that_are_not_finite_fail(fault):
    values = np.random.default_rng(3).standard_normal((4, 500, 2))
    values[1, 7, 0] = float(fault)
    functions = xr.Dataset({"response": (("chain", "draw", "probe"), values)})
    with np.errstate(invalid="ignore"):
        assert verdict(diagnose_functions(functions), None).status == "failed"


# ------------------------------------------------------------------------------------------------------- guides


@pytest.mark.parametrize(
    ("khat", "status", "told"),
    [
        ([0.1, 0.69999], "ok", ""),
        ([0.1, 0.7], "warn", "k-hat of the guide is 0.70"),
        ([-0.3, np.inf], "warn", "k-hat of the guide is inf"),
        ([0.1, NAN, 0.9], "failed", "k-hat of the guide is nan"),
    ],
)
def test_limits_of_a_guide(khat, status, told):
    found = of_guide(np.array(khat))
    assert found.status == status
    assert found.reasons == () or told in found.reasons[0]


def test_the_worst_verdict_and_every_reason_count():
    ok, warn, failed = Verdict("ok", ()), Verdict("warn", ("a", "b")), Verdict("failed", ("c",))
    assert worst(ok, ok) == ("ok", ())
    assert worst(ok, warn) == ("warn", ("a", "b"))
    assert worst(warn, ok, failed, Verdict("warn", ("d",))) == ("failed", ("c", "a", "b", "d"))


@pytest.mark.parametrize("shape", [0.2, 0.5, 0.9])
def test_k_hat_is_of_the_ratios_and_not_of_their_inverses(shape):
    """Ratios ``u^-k`` have a tail of shape ``k``, their inverses none.

    Zhang and Stephens' estimator at 67 ratios in the tail: its prior takes it a tenth of the way to 0.5, its standard
    error is (1 + k) / sqrt(67).
    """
    log_weight = -shape * np.log(np.random.default_rng(0).random((40, 500)))
    found = pareto_khat(log_weight)
    assert abs(found.mean() - shape) < 0.1 * abs(shape - 0.5) + 0.01 + 5 * (1 + shape) / np.sqrt(67 * 40)
    assert (pareto_khat(-log_weight) < 0.2).all()


@pytest.mark.parametrize("bad", [NAN, np.inf, -np.inf])
def test_a_ratio_that_is_not_finite_is_no_pass(bad):
    log_weight = np.random.default_rng(0).standard_normal((3, 500))
    log_weight[1, 7] = bad
    found = pareto_khat(log_weight)
    assert np.isnan(found).tolist() == [False, True, False]
    assert of_guide(found).status == "failed"


@pytest.mark.parametrize(("gap", "status"), [(0.0, "ok"), (10.0, "ok"), (10.1, "warn")])
def test_restarts_far_apart_have_found_different_modes(gap, status):
    found = of_restarts(np.array([100.0, 100.0 + gap, 100.0]))
    assert found.status == status
    assert status == "ok" or "restart 1 is best" in found.reasons[0]
