"""`choose_architecture`: what is left out, the one-standard-error rule, and which truth chooses which model."""

from __future__ import annotations

import functools
import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import bayesfactor as bf
from bayesfactor.errors import ComparisonError, ConvergenceWarning
from bayesfactor.evaluation import architecture

SVI = bf.SVI(steps=300, draws=50, restarts=2, polish=4)
TRUTHS = {
    "linear": {"slope_mean": 0.02, "slope_sd": 0.01},
    "interaction": {"slope_mean": 0.0, "slope_sd": 0.01, "interactions": {(0, 1): 0.15}},
}


@functools.cache
def economy(truth: str, n_months: int = 24, n_assets: int = 60) -> bf.Panel:
    return bf.simulate.economy(
        n_months=n_months, n_assets=n_assets, n_characteristics=2, seed=4, noise_sd=0.05, **TRUTHS[truth]
    ).panel


def models(pooling: str) -> dict[str, bf.FundamentalFactorModel]:
    given = {"noise": "normal", "pooling": pooling, "slope_sd": 0.05}
    return {
        "linear": bf.FundamentalFactorModel(hidden=(), **given),
        "network": bf.FundamentalFactorModel(hidden=(4,), **given),
    }


@pytest.mark.parametrize(("pooling", "size"), [("full", (24, 60)), ("none", (3, 300))])
def test_the_truth_chooses(pooling, size):
    # Fits this short fail often, which is told.
    warnings.simplefilter("ignore", ConvergenceWarning)
    linear = bf.choose_architecture(models(pooling), economy("linear", *size), SVI)
    row = linear.loc["linear"]
    assert row["difference"] >= -2 * row["difference_se"], linear.to_string()
    curved = bf.choose_architecture(models(pooling), economy("interaction", *size), SVI)
    assert curved.loc["network", "chosen"], curved.to_string()
    assert curved.loc["linear", "difference"] < -2 * curved.loc["linear", "difference_se"]
    for table in (linear, curved):
        assert list(table.index) == ["linear", "network"]
        assert table["chosen"].sum() == 1
        assert table["difference"].max() == 0
        assert set(table["status"]) <= {"ok", "warn", "failed"}
    assert linear.attrs["unit"] == ("month" if pooling == "full" else "stocks of a month")


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_every_month_is_left_out_once_and_never_trained_on(folds):
    panel = economy("linear")
    splits = list(architecture._month_folds(panel, folds, 0))
    out = [list(split.left_out.times) for split in splits]
    assert len(splits) == folds
    assert sorted(time for times in out for time in times) == list(panel.times)
    for split in splits:
        assert not split.train.times.isin(split.left_out.times).any()
        assert len(split.train.times) + len(split.left_out.times) == len(panel.times)
    other = [list(split.left_out.times) for split in architecture._month_folds(panel, folds, 1)]
    assert out != other


def test_every_stock_of_a_month_is_left_out_once():
    panel = economy("linear", 3, 300)
    splits = list(architecture._stock_folds(panel, 3, 0))
    seen = sum(split.left_out.data["observed"].values.astype(int) for split in splits)
    np.testing.assert_array_equal(seen, panel.data["observed"].values.astype(int))
    for split in splits:
        assert not (split.left_out.data["observed"] & split.train.data["observed"]).any()
        np.testing.assert_array_equal(split.train.data["in_universe"], panel.data["in_universe"])
        counts = split.left_out.data["observed"].sum("asset").values
        assert (counts == 100).all()


def standing_in(monkeypatch, scores, failed=()):
    """Every model's left-out months get the scores (month,) given for its name."""

    def score(model, split, inference, seed, by_stock):
        values = pd.Series(scores[model.name], index=economy("linear").times)
        status = "failed" if model.name in failed else "warn"
        return values[split.left_out.times], SimpleNamespace(status=status, reasons=(f"of {model.name}",))

    monkeypatch.setattr(architecture, "_score", score)
    return {name: SimpleNamespace(name=name) for name in scores}


@pytest.mark.parametrize(("gap", "chosen"), [(0.9, "simple"), (1.1, "rich")])
def test_the_simplest_within_one_standard_error_is_chosen(monkeypatch, gap, chosen):
    noise = np.random.default_rng(0).standard_normal(24)
    noise = (noise - noise.mean()) / noise.std(ddof=1) * np.sqrt(24)  # of standard error one
    base = np.random.default_rng(1).standard_normal(24) * 100  # shared by the models: does not enter differences
    given = standing_in(monkeypatch, {"simple": base, "rich": base + gap + noise})
    table = bf.choose_architecture(given, economy("linear"), SVI)
    assert table.index[table["chosen"]].tolist() == [chosen]
    assert table.loc["simple", "difference"] == pytest.approx(-gap)
    assert table.loc["simple", "difference_se"] == pytest.approx(1.0)
    assert table.loc["simple", "score"] == pytest.approx(base.mean())
    assert table.loc["simple", "se"] == pytest.approx(base.std(ddof=1) / np.sqrt(24))
    assert table["status"].tolist() == ["warn", "warn"]
    assert table.attrs["reasons"] == {"simple": ["of simple"], "rich": ["of rich"]}


def test_a_chosen_model_with_a_failed_fit_is_warned_of(monkeypatch):
    base = np.random.default_rng(1).standard_normal(24)
    given = standing_in(monkeypatch, {"good": base, "bad": base - 5}, failed=("bad",))
    assert bf.choose_architecture(given, economy("linear"), SVI).loc["good", "chosen"]  # without a warning
    given = standing_in(monkeypatch, {"good": base, "bad": base - 5}, failed=("good",))
    with pytest.warns(ConvergenceWarning, match=r"'good' has a fit that failed \(of good\)"):
        table = bf.choose_architecture(given, economy("linear"), SVI)
    assert table.loc["good", "status"] == "failed"


def test_scores_that_are_not_finite_are_refused(monkeypatch):
    given = standing_in(monkeypatch, {"one": np.full(24, np.nan)})
    with pytest.raises(ComparisonError, match="finite score: not so with 'one'"):
        bf.choose_architecture(given, economy("linear"), SVI)


def test_what_cannot_be_chosen_among_is_refused():
    panel = economy("linear")
    with pytest.raises(ComparisonError, match="found none"):
        bf.choose_architecture({}, panel, SVI)
    with pytest.raises(ComparisonError, match="at least 2 folds: got 1"):
        bf.choose_architecture(models("full"), panel, SVI, folds=1)
    with pytest.raises(ComparisonError, match=r"\['b'\] are of the first kind"):
        bf.choose_architecture({"a": models("full")["linear"], "b": models("none")["linear"]}, panel, SVI)
    with pytest.raises(ComparisonError, match="3 folds need at least 4 periods with returns: found 3"):
        bf.choose_architecture(models("full"), economy("linear", 3, 300), SVI)
    with pytest.raises(ComparisonError, match="31 folds need at least 62 observed stocks every month: found 60"):
        bf.choose_architecture(models("none"), panel, SVI, folds=31)
