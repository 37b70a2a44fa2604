"""Comparison: the numbers, the verdict, every refusal and every warning."""

from __future__ import annotations

import itertools
import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats
from standins import fake_fit, month_totals

from bayesfactor.errors import AlignmentError, ComparisonError, ComparisonWarning, LookAheadError
from bayesfactor.evaluation import compare, compare_scores, difference_intervals
from bayesfactor.evaluation.standard_errors import errors_of_sum, half_width, se_of_sum

COLUMNS = ["elpd", "se", "elpd_diff", "diff_se", "prob_better", "weight", "warnings"]


def _three(months: int, seed: int = 1) -> dict[str, xr.DataArray]:
    """`good` beats `middle` by about 2 nats a month and `poor` by about 5."""
    rng = np.random.default_rng(seed)
    shock = rng.normal(-1500, 200, months)
    gains = {"poor": -5.0, "good": 0.0, "middle": -2.0}
    return {name: month_totals(shock + gain + rng.normal(0, 1, months)) for name, gain in gains.items()}


def _quietly(scores: dict[str, xr.DataArray]) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ComparisonWarning)
        return compare_scores(scores)


# --- numbers ----------------------------------------------------------------------------------------------


def test_table_is_what_it_says():
    scores = _three(120)
    table = compare_scores(scores)  # warnings are errors: none with 120 months and large differences
    assert list(table.index) == ["good", "middle", "poor"]
    assert table.index.name == "model"
    assert list(table.columns) == COLUMNS
    best = scores["good"].values
    for name, row in table.iterrows():
        values = scores[name].values
        assert row.elpd == pytest.approx(sum(values), rel=1e-13)
        assert row.se == pytest.approx(se_of_sum(errors_of_sum(values)), rel=1e-12)
        assert row.elpd_diff == pytest.approx(sum(values - best), abs=1e-8)
        assert row.diff_se == pytest.approx(se_of_sum(errors_of_sum(values - best)), abs=1e-9)
        assert row.warnings == ""
        if name != "good":
            cautious = max(stats.t.cdf(row.elpd_diff / error.se, error.df) for error in errors_of_sum(values - best))
            assert row.prob_better == pytest.approx(cautious, abs=1e-12)
    assert table.elpd_diff.iloc[0] == table.diff_se.iloc[0] == 0.0
    assert table.prob_better.iloc[0] == pytest.approx(1.0 - table.prob_better.iloc[1], abs=1e-12)
    assert table.weight.sum() == pytest.approx(1.0, abs=1e-12)
    assert table.weight.idxmax() == "good"
    errors = table.attrs.pop("diff_errors")
    assert list(errors) == ["good", "middle", "poor"]
    for name, found in errors.items():
        clustered, hac = errors_of_sum(scores[name].values - best)
        assert found["clustered"] == pytest.approx(clustered._asdict(), abs=1e-9)
        assert found["hac"] == pytest.approx(hac._asdict(), abs=1e-9)
    assert table.attrs == {
        "verdict": "good predicts better",
        "n_periods": 120,
        "n_months": 120,
        "sample": "120 months",
        "first_month": "2000-01-31",
        "last_month": "2009-12-31",
        "log_base": "e",
        "units": "nats",
    }


def test_joined_by_month_label_and_the_order_of_models_does_not_matter():
    scores = _three(120)
    rng = np.random.default_rng(2)
    expected = compare_scores(scores)
    for order in itertools.permutations(scores):
        shuffled = {name: scores[name].isel(time=rng.permutation(120)) for name in order}
        found = compare_scores(shuffled)
        pd.testing.assert_frame_equal(found, expected, check_exact=False, rtol=1e-9, atol=1e-9)
        assert found.attrs == expected.attrs


def test_common_shocks_of_months_cancel_in_the_difference():
    table = compare_scores(_three(120))
    assert table.se.min() > 100 * table.diff_se.max()


def test_twins_are_a_coin_toss():
    score = _three(120)["good"]
    table = _quietly({"a": score, "b": score.copy()})
    assert list(table.prob_better) == [0.5, 0.5]
    assert list(table.elpd_diff) == [0.0, 0.0]
    np.testing.assert_allclose(table.weight, [0.5, 0.5])


def test_intervals_of_differences_are_the_wider_student_t_ones():
    scores = _three(24)
    table = _quietly(scores)
    for prob in (0.5, 0.95):
        found = difference_intervals(table, prob)
        assert found.attrs == {"prob": prob, "units": "nats"}
        for name in ("middle", "poor"):
            difference = scores[name].values - scores["good"].values
            half = half_width(errors_of_sum(difference), prob)
            expected = difference.sum() + half * np.array([-1, 1])
            np.testing.assert_allclose(found.loc[name, ["lower", "upper"]].astype(float), expected, rtol=1e-9)
        assert list(found.loc["good"]) == [0.0, 0.0, 0.0]
    assert half_width(errors_of_sum(scores["poor"].values - scores["good"].values), 0.95) > 2.0 * table.diff_se["poor"]


def test_intervals_of_differences_where_there_are_none():
    assert difference_intervals(_quietly(_three(23)))[["lower", "upper"]].isna().all(axis=None)
    table = _quietly(_three(24))
    for prob in (0.0, 1.0, 95):
        with pytest.raises(ComparisonError, match=rf"prob must lie between 0 and 1: found {prob}"):
            difference_intervals(table, prob)
    table.attrs.clear()
    with pytest.raises(ComparisonError, match="must hold its errors in attrs"):
        difference_intervals(table)


# --- verdict ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("months", [3, 6, 23])
def test_under_24_months_inconclusive_and_no_probability(months):
    with pytest.warns(ComparisonWarning) as caught:
        table = compare_scores(_three(months))
    assert table.attrs["verdict"] == "INCONCLUSIVE"
    assert table.prob_better.isna().all()
    assert table[["elpd", "se", "elpd_diff", "diff_se", "weight"]].notna().all(axis=None)
    assert table.warnings.str.startswith(f"INCONCLUSIVE: {months} months, fewer than 24").all()
    assert "INCONCLUSIVE" in table.to_string()
    assert any(str(w.message).startswith("INCONCLUSIVE") for w in caught)


def test_24_months_are_enough_for_a_probability_and_not_for_silence():
    with pytest.warns(ComparisonWarning, match=r"24 months, fewer than 100 \(good, middle, poor\)"):
        table = compare_scores(_three(24))
    assert table.attrs["verdict"] == "good predicts better"
    assert table.prob_better.notna().all()
    assert "INCONCLUSIVE" not in table.to_string()


def test_warning_ends_at_100_months():
    assert (compare_scores(_three(100)).warnings == "").all()
    assert (_quietly(_three(99)).warnings == "99 months, fewer than 100").all()


def _relabelled(times: pd.DatetimeIndex, frequency: str) -> dict[str, xr.DataArray]:
    """Scores of ``_three``, of the periods `times`."""
    return {
        name: score.assign_coords(time=times).assign_attrs(frequency=frequency)
        for name, score in _three(len(times)).items()
    }


@pytest.mark.parametrize(
    ("times", "frequency", "sample"),
    [
        (pd.bdate_range("2020-01-22", periods=30), "daily", "30 days in 3 calendar months"),
        (pd.bdate_range("2020-01-01", "2021-11-30"), "daily", "500 days in 23 calendar months"),
        (pd.date_range("2020-01-03", periods=100, freq="W-FRI"), "weekly", "100 weeks in 23 calendar months"),
    ],
)
def test_days_and_weeks_are_counted_by_calendar_month(times, frequency, sample):
    table = _quietly(_relabelled(times, frequency))
    assert table.attrs["verdict"] == "INCONCLUSIVE"
    assert table.prob_better.isna().all()
    assert table.attrs["sample"] == sample
    assert table.warnings.str.startswith(f"INCONCLUSIVE: {sample}, fewer than 24").all()


def test_days_of_24_and_of_100_calendar_months():
    two_years = _quietly(_relabelled(pd.bdate_range("2020-01-01", "2021-12-31"), "daily"))
    assert two_years.attrs["verdict"] == "good predicts better"
    assert (two_years.warnings == "523 days in 24 calendar months, fewer than 100").all()
    weeks = pd.date_range("2010-01-01", "2018-04-30", freq="W-FRI")
    assert (compare_scores(_relabelled(weeks, "weekly")).warnings == "").all()


def test_many_days_of_two_calendar_months_are_refused():
    with pytest.raises(ComparisonError, match=r"found 30 days in 2 calendar months, 2020-01-01.*\(30 in all\)"):
        compare_scores(_relabelled(pd.bdate_range("2020-01-01", periods=30), "daily"))


def _pair(difference: float, noise: float, months: int = 120) -> dict[str, xr.DataArray]:
    """Two models whose difference sums to `difference` exactly, with spread `noise` a month."""
    rng = np.random.default_rng(7)
    spread = rng.normal(0, noise, months)
    base = rng.normal(-1500, 100, months)
    return {"a": month_totals(base + spread - spread.mean() + difference / months), "b": month_totals(base)}


def test_a_noisy_difference_is_no_clear_difference():
    table = compare_scores(_pair(20.0, 3.0))
    assert table.attrs["verdict"] == "no clear difference"
    assert 0.5 < table.prob_better["a"] < 0.975


def test_small_differences_are_warned_about_however_sure():
    with pytest.warns(ComparisonWarning, match=r"difference of 3\.9 nats, below 4 \(b\)"):
        table = compare_scores(_pair(3.9, 0.01))
    assert table.prob_better["a"] > 0.999
    assert table.attrs["verdict"] == "no clear difference"
    assert list(table.warnings) == ["", "difference of 3.9 nats, below 4"]
    assert compare_scores(_pair(4.1, 0.01)).attrs["verdict"] == "a predicts better"


def test_clear_means_clear_against_every_model():
    scores = _pair(40.0, 0.5)
    wild = np.random.default_rng(8).normal(0, 4.0, 120)
    scores["c"] = scores["a"] + month_totals(wild - wild.mean() - 60.0 / 120)
    table = compare_scores(scores)
    assert list(table.index) == ["a", "b", "c"]
    assert table.prob_better["b"] < 0.025 < table.prob_better["c"]
    assert table.attrs["verdict"] == "no clear difference"


# --- refusals of compare_scores ---------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_month_that_is_not_finite_is_refused_and_not_dropped(value):
    scores = _three(120)
    scores["middle"][[4, 30]] = value
    with pytest.raises(
        ComparisonError, match=r"none is dropped: not finite are middle: 2000-05-31, 2002-07-31 \(2 in all\)"
    ):
        compare_scores(scores)


def test_fewer_than_three_months_or_two_models():
    with pytest.raises(
        ComparisonError, match=r"at least 3 calendar months: found 2 months, 2000-01-31, 2000-02-29 \(2 in"
    ):
        compare_scores(_three(2))
    with pytest.raises(ComparisonError, match=r"at least 2 models by name: found \['good'\]"):
        compare_scores({"good": _three(120)["good"]})


def test_different_months_are_refused_by_name():
    scores = _three(120)
    scores["poor"] = scores["poor"][:-1]
    with pytest.raises(ComparisonError, match=r"lacking are poor: 2009-12-31 \(1 in all\)"):
        compare_scores(scores)
    shifted = {"a": _three(30)["good"], "b": month_totals(np.zeros(30), start="2000-02-29")}
    with pytest.raises(ComparisonError, match=r"a: 2002-07-31 \(1 in all\); b: 2000-01-31 \(1 in all\)"):
        compare_scores(shifted)


def test_repeated_months_and_things_that_are_no_month_series():
    good = _three(120)["good"]
    with pytest.raises(ComparisonError, match=r"'b' must have each month once: repeated 2000-01-31 \(1 in all\)"):
        compare_scores({"a": good, "b": xr.concat([good, good[:1]], "time")})
    with pytest.raises(ComparisonError, match=r"'b' must be a DataArray labelled by time.*found Dataset"):
        compare_scores({"a": good, "b": good.to_dataset(name="score")})
    with pytest.raises(ComparisonError, match=r"found dims \('time', 'asset'\)"):
        compare_scores({"a": good, "b": good.expand_dims(asset=2).transpose()})


def test_different_stocks_are_refused_with_their_months():
    good = _three(120)["good"].assign_coords(scored_assets=("time", [f"digest{t}" for t in range(120)]))
    other = good.copy()
    other["scored_assets"] = ("time", [f"digest{t}" if t != 5 else "other" for t in range(120)])
    with pytest.raises(ComparisonError, match=r"'a' and 'b' differ in 2000-06-30 \(1 in all\)"):
        compare_scores({"a": good, "b": other})
    with pytest.raises(ComparisonError, match=r"same stocks in every month.*\(120 in all\)"):
        compare_scores({"a": good, "b": good.drop_vars("scored_assets")})


@pytest.mark.parametrize("key", ["units", "log_base", "likelihood_kind", "frequency", "panel_fingerprint"])
def test_scores_of_different_kinds_are_refused(key):
    scores = _three(120)
    scores["good"].attrs[key] = "one"
    with pytest.raises(ComparisonError, match=rf"attribute '{key}' differs: poor: not stated; good: one; middle: not"):
        compare_scores(scores)


# --- compare: fits ----------------------------------------------------------------------------------------


@pytest.fixture
def parts(economy_panel):
    """Thirty months to train on, thirty to predict."""
    return economy_panel.split(economy_panel.times[30])


def _fits(train, **changes):
    """Two fits; `better` gains two nats a month; `changes` go to `worse`."""
    rng = np.random.default_rng(11)
    months = rng.normal(-40, 5, 30)
    better = months + rng.normal(0, 0.2, (2, 100, 1))
    worse = months - 2.0 + rng.normal(0, 0.5, 30) + rng.normal(0, 0.2, (2, 100, 1))
    return {"worse": fake_fit(train, draws=worse, **changes), "better": fake_fit(train, draws=better)}


@pytest.mark.usefixtures("chosen_draws")
class TestFits:
    def test_holdout(self, parts):
        train, test = parts
        with pytest.warns(ComparisonWarning, match=r"30 months, fewer than 100 \(better, worse\)") as caught:
            table = compare(_fits(train), test)
        assert len(caught) == 1
        assert caught[0].filename == __file__
        assert list(table.index) == ["better", "worse"]
        assert table.attrs["verdict"] == "better predicts better"
        assert table.attrs["method"] == "holdout"
        assert table.attrs["n_months"] == 30
        assert table.attrs["units"].startswith("nats: joint log density")
        assert -80 < table.elpd_diff["worse"] < -45

    @pytest.mark.parametrize(
        ("method", "found"),
        [
            ("loo", "'loo', which does not exist, for fits"),
            ("kfold", "'kfold', which"),
            ("walk_forward", "'walk_forward' for fits"),
        ],
    )
    def test_other_methods_are_not_for_fits(self, parts, method, found):
        with pytest.raises(ComparisonError, match=rf"\"holdout\" for fits.*: found {found}"):
            compare(_fits(parts[0]), parts[1], method=method)

    def test_fits_need_later_months_and_have_no_common_score(self, parts):
        with pytest.raises(ComparisonError, match=r"which panel= must hold: found none.*panel.split"):
            compare(_fits(parts[0]))
        with pytest.raises(ComparisonError, match="stored in forecasts, a fit has none"):
            compare(_fits(parts[0]), parts[1], common=True)

    def test_one_fit_is_no_comparison(self, parts):
        with pytest.raises(ComparisonError, match="at least 2 models"):
            compare({"only": _fits(parts[0])["worse"]}, parts[1])

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            (
                {"panel_fingerprint": "f" * 64},
                r"fingerprint differs: worse: ffffffffffff; better: [0-9a-f]{12}",
            ),
            ({"frequency": "weekly"}, "frequency differs: worse: weekly; better: monthly"),
            ({"preparation": "standardise"}, "preparation differs: worse: standardise; better: rank"),
            ({"characteristics": ("x1",)}, "characteristics differs: worse: x1; better: x1, x2"),
            (
                {"train_times": pd.date_range("2000-02-29", periods=12, freq="ME")},
                r"training months differs: .*12 months",
            ),
        ],
    )
    def test_different_training_panels_are_refused(self, parts, changes, message):
        with pytest.raises(ComparisonError, match=f"must be trained on one panel: {message}"):
            compare(_fits(parts[0], **changes), parts[1])

    def test_a_pseudo_likelihood_is_no_density(self, parts):
        fits = _fits(parts[0], model=SimpleNamespace(likelihood_kind="pseudo-likelihood"))
        with pytest.raises(
            ComparisonError, match=r"densities of returns only: worse: pseudo-likelihood\..*predictive_r2"
        ):
            compare(fits, parts[1])

    def test_fits_that_price_portfolios_are_compared_by_how_they_price(self, parts):
        fits = _fits(parts[0], model=SimpleNamespace(likelihood_kind="density given stock returns"))
        with pytest.raises(ComparisonError, match=r"stocks' returns: worse: density given stock.*pricing_scores\(fit"):
            compare(fits, parts[1])

    def test_months_that_a_fit_has_seen(self, parts, economy_panel):
        with pytest.raises(LookAheadError, match=r"model 'worse': holdout months must be later.*\(30 in all\)"):
            compare(_fits(parts[0]), economy_panel)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda p: p.sel(characteristic=["x1"]), "characteristics .* trained with x1, x2, panel has x1"),
            (
                lambda p: SimpleNamespace(frequency="weekly", preparation="rank", characteristics=()),
                "frequency",
            ),
            (
                lambda p: SimpleNamespace(frequency="monthly", preparation="raw", characteristics=()),
                "preparation",
            ),
        ],
    )
    def test_a_panel_of_another_kind(self, parts, change, message):
        with pytest.raises(AlignmentError, match=f"the panel must have the {message}"):
            compare(_fits(parts[0]), change(parts[1]))

    @pytest.mark.parametrize(("draw", "value"), [(7, np.nan), (7, np.inf), (slice(None), -np.inf)])
    def test_a_month_that_is_not_finite(self, parts, draw, value):
        fits = _fits(parts[0])
        fits["worse"].draws[slice(None) if value == -np.inf else 1, draw, 2] = value
        month = f"{parts[1].times[2]:%Y-%m-%d}"
        with pytest.raises(ComparisonError, match=rf"not finite are worse: {month} \(1 in all\)"):
            compare(fits, parts[1])

    def test_two_months_are_too_few(self, parts, economy_panel):
        test = economy_panel.sel(time=slice(economy_panel.times[-2], None))
        fits = {name: fake_fit(parts[0]) for name in "ab"}
        with pytest.raises(ComparisonError, match="at least 3 calendar months"):
            compare(fits, test)

    def test_status_of_a_fit_stands_in_its_row(self, parts):
        fits = _fits(parts[0], status="warn", reasons=("R-hat of the log likelihood 1.04", "3 divergences"))
        text = "status 'warn': R-hat of the log likelihood 1.04, 3 divergences"
        with pytest.warns(ComparisonWarning) as caught:
            table = compare(fits, parts[1])
        assert f"{text} (worse)" in [str(w.message) for w in caught]
        assert text in table.warnings["worse"]
        assert "status" not in table.warnings["better"]

    @pytest.mark.parametrize(
        ("spread", "draws", "text"),
        [
            (3.0, 100, r"Monte Carlo error \d+\.\d nats in all, \d\.\d\d in one month: take more draws"),
            (0.2, 3, "Monte Carlo error of the score unknown: too few draws"),
        ],
    )
    def test_monte_carlo_error_stands_in_its_row(self, parts, spread, draws, text):
        fits = _fits(parts[0])
        fits["worse"].draws = -60 + np.random.default_rng(12).normal(0, spread, (2, draws))
        with pytest.warns(ComparisonWarning):
            table = compare(fits, parts[1])
        assert table.warnings.str.contains(text).to_dict() == {"better": False, "worse": True}
