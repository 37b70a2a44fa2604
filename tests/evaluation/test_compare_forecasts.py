"""Comparison of stored forecasts: labels, protocol, every refusal at its boundary, every warning."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from standins import StandIn, fake_fit, normal_forecasts

import bayesfactor as bf
from bayesfactor.errors import ComparisonError, ComparisonWarning, DataError, EmptyWindowError
from bayesfactor.evaluation import compare, compare_forecasts, compare_scores
from bayesfactor.evaluation.standard_errors import errors_of_sum, prob_positive_sum, se_of_sum

MONTHS, STOCKS = 121, 30  # the last month is live


def _returns(months: int = MONTHS, seed: int = 1, live: int = 1) -> np.ndarray:
    """Ragged returns with a common shock and a mean of 1% a month; the last months are live."""
    rng = np.random.default_rng(seed)
    returns = 0.01 + 0.02 * rng.standard_normal((months, 1)) + 0.05 * rng.standard_normal((months, STOCKS))
    returns[rng.random(returns.shape) < 0.2] = np.nan
    returns[months - live :] = np.nan
    return returns


def _pair(returns: np.ndarray | None = None, **attrs: Any) -> dict[str, StandIn]:
    """One forecaster knows the mean, the other does not; `attrs` are those of the second."""
    returns = _returns() if returns is None else returns
    return {
        "knows": normal_forecasts(returns, 0.01, 0.054),
        "zero": normal_forecasts(returns, 0.0, 0.054, **attrs),
    }


def _quietly(call: Callable[..., Any], *given: Any, **settings: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ComparisonWarning)
        return call(*given, **settings)


def _changed(forecasts: StandIn, change: Callable[[xr.Dataset], xr.Dataset]) -> StandIn:
    return replace(forecasts, data=change(forecasts.data))


def _in_windows(forecasts: StandIn, row: int, column: str, value: Any) -> StandIn:
    windows = forecasts.windows.copy()
    windows.loc[row, column] = value
    return replace(forecasts, windows=windows)


# --- numbers ----------------------------------------------------------------------------------------------


def test_stored_scores_are_compared_as_scores_and_the_live_month_is_left_out():
    pair = _pair()
    table = compare(pair, method="walk_forward")  # warnings are errors: none
    expected = compare_scores({name: one.data["score"][:-1] for name, one in pair.items()})
    pd.testing.assert_frame_equal(table, expected)
    assert list(table.index) == ["knows", "zero"]
    assert table.attrs["n_periods"] == table.attrs["n_months"] == MONTHS - 1
    assert table.attrs["last_month"] == "2009-12-31"
    found = {key: table.attrs[key] for key in ("method", "score", "n_windows", "n_live_months")}
    assert found == {"method": "walk_forward", "score": "own density", "n_windows": 11, "n_live_months": 1}
    assert table.attrs["units"].startswith("nats: joint log density")
    assert table.attrs["verdict"] in ("knows predicts better", "no clear difference")


def test_the_method_is_that_of_the_models_by_default():
    pair = _pair()
    assert compare(pair).equals(compare(pair, method="walk_forward"))


def test_months_and_stocks_are_matched_by_label():
    pair, rng = _pair(), np.random.default_rng(2)
    shuffled = _changed(pair["zero"], lambda d: d.isel(time=rng.permutation(MONTHS), asset=rng.permutation(STOCKS)))
    more = _changed(pair["zero"], lambda d: d.reindex(asset=[*d["asset"].values, "never listed"]))
    expected = compare(pair)
    for other in (shuffled, more):
        found = compare({"zero": other, "knows": pair["knows"]})
        pd.testing.assert_frame_equal(found, expected, check_exact=False, rtol=1e-9, atol=1e-9)
        assert found.attrs["first_month"] == expected.attrs["first_month"]
        for loss in ("crps", "squared_error"):
            one, two = (compare_forecasts({**pair, "zero": z}, loss=loss) for z in (other, pair["zero"]))
            pd.testing.assert_frame_equal(one, two, check_exact=False, rtol=1e-9, atol=1e-12)


def test_common_scores_are_those_of_the_means():
    pair = {name: _changed(one, lambda d: d.assign(common_score=2 * d["score"])) for name, one in _pair().items()}
    table = compare(pair, common=True)
    assert table.attrs["score"] == "common covariance"
    np.testing.assert_allclose(table["elpd"], 2 * compare(pair)["elpd"])
    # A pseudo-likelihood has no score of its own worth comparing, but its mean has one.
    pseudo = {**pair, "zero": _changed(pair["zero"], lambda d: d.assign_attrs(likelihood_kind="pseudo-likelihood"))}
    assert compare(pseudo, common=True).equals(table)
    with pytest.raises(ComparisonError, match=r"zero: pseudo-likelihood\. .*common=True.*compare_forecasts"):
        compare(pseudo)


def test_the_panel_may_be_named_and_must_be_the_one():
    pair = _pair()
    whole, other = (SimpleNamespace(fingerprint=one * 64) for one in "ab")
    assert compare(pair, whole, method="walk_forward").equals(compare(pair))
    with pytest.raises(ComparisonError, match=r"its fingerprint is b{12}, that of the forecasts a{12}\."):
        compare(pair, other)


# --- refusals ---------------------------------------------------------------------------------------------


def test_fits_and_forecasts_do_not_mix(economy_panel):
    mixed = {"fit": fake_fit(economy_panel), "zero": _pair()["zero"]}
    with pytest.raises(ComparisonError, match=r"found fit: fit; zero: forecasts\. .*run walk_forward for every model"):
        compare(mixed, economy_panel)
    with pytest.raises(ComparisonError, match="stored forecasts are needed of every model: found fit: SimpleNamespace"):
        compare_forecasts(mixed)
    with pytest.raises(ComparisonError, match=r"found a: str\. Read the files first"):
        compare_forecasts({"a": "forecasts.zarr", "zero": _pair()["zero"]})
    with pytest.raises(ComparisonError, match=r"found 'holdout' for forecasts"):
        compare(_pair(), method="holdout")
    with pytest.raises(ComparisonError, match="at least 2 models"):
        compare({"zero": _pair()["zero"]})
    with pytest.raises(ComparisonError, match="must have names"):
        compare_forecasts(list(_pair().values()))


@pytest.mark.parametrize("call", [compare, compare_forecasts, bf.metrics.r2_table])
@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("frequency", "weekly", "knows: monthly; zero: weekly"),
        ("panel_fingerprint", "b" * 64, "knows: aaaaaaaaaaaa; zero: bbbbbbbbbbbb"),
        ("units", "percent", "knows: decimal per period; zero: percent"),
        ("log_base", "2", "knows: e; zero: 2"),
    ],
)
def test_another_kind_is_refused(call, key, value, shown):
    with pytest.raises(ComparisonError, match=f"of one kind: {key} differs: {shown}"):
        call(_pair(**{key: value}))


@pytest.mark.parametrize("call", [compare, compare_forecasts, bf.metrics.r2_table])
@pytest.mark.parametrize(
    ("column", "value", "shown"),
    [
        ("train_first", "1980-01-31", "1990-01-31 against 1980-01-31"),
        ("train_last", "2003-01-31", "2002-11-30 against 2003-01-31"),  # one without the embargo
        ("validation_last", "2002-12-31", "none against 2002-12-31"),
        ("test_last", "2003-11-30", "2003-12-31 against 2003-11-30"),
        ("n_train", 155, "156 against 155"),
    ],
)
def test_another_window_is_refused_where_it_first_differs(call, column, value, shown):
    value = value if column == "n_train" else pd.Timestamp(value)
    pair = _pair()
    pair["zero"] = _in_windows(_in_windows(pair["zero"], 3, column, value), 7, column, value)
    with pytest.raises(ComparisonError, match=f"'knows' and 'zero' differ first in window 3: {column} {shown}"):
        call(pair)


def test_what_does_not_change_what_a_forecaster_knew_is_no_difference():
    pair = _pair()
    for column, value in (("chosen", "deep"), ("seconds", 99.0), ("start", "window 2")):
        pair["zero"] = _in_windows(pair["zero"], 3, column, value)
    compare(pair)


def test_a_window_that_only_one_has_and_months_in_other_windows():
    pair = _pair()
    short = replace(pair["zero"], windows=pair["zero"].windows.iloc[:-1])
    with pytest.raises(ComparisonError, match=r"'knows' has 11 and 'zero' 10, only one of them has window 10 \(1 in"):
        compare({**pair, "zero": short})
    moved = _changed(pair["zero"], lambda d: d.assign_coords(window=d["window"].where(d["window"] != 4, 5)))
    with pytest.raises(ComparisonError, match=r"same window: 'knows' and 'zero' differ in 2004-01-31.*\(12 in all\)"):
        compare({**pair, "zero": moved})


@pytest.mark.parametrize("call", [compare, compare_forecasts, bf.metrics.r2_table])
def test_other_months_are_refused_by_name(call):
    pair = _pair()
    short = _changed(pair["zero"], lambda d: d.isel(time=slice(1, None)))
    with pytest.raises(ComparisonError, match=r"of the same months: lacking are zero: 2000-01-31 \(1 in all\)"):
        call({**pair, "zero": short})


def test_another_live_month_is_refused():
    pair = _pair()
    live = _changed(pair["zero"], lambda d: d.assign(realised=d["realised"].where(d["time"] < d["time"][-2])))
    with pytest.raises(ComparisonError, match=r"same months with returns: lacking are zero: 2009-12-31 \(1 in all\)"):
        compare({**pair, "zero": live})


def test_other_stocks_are_refused_with_their_months():
    pair = _pair()

    def less(data: xr.Dataset) -> xr.Dataset:
        realised = data["realised"].copy()
        observed = np.flatnonzero(realised[5].notnull())
        realised[5, observed[0]] = np.nan
        return data.assign(realised=realised)

    with pytest.raises(ComparisonError, match=r"same stocks .*'knows' and 'zero' differ in 2000-06-30 \(1 in all\)"):
        compare({**pair, "zero": _changed(pair["zero"], less)})
    digests = _changed(pair["zero"], lambda d: d.assign_coords(scored_assets=("time", ["other"] * MONTHS)))
    with pytest.raises(ComparisonError, match=r"same stocks .*\(121 in all\)"):
        compare({**pair, "zero": digests})


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_a_month_without_a_finite_score_is_refused_and_not_dropped(value):
    pair = _pair()
    pair["zero"] = _changed(pair["zero"], lambda d: d.assign(score=d["score"].where(d["time"] != d["time"][7], value)))
    with pytest.raises(ComparisonError, match=r"not finite are zero: 2000-08-31 \(1 in all\)"):
        compare(pair)
    compare(pair, common=True)  # whose scores are all there


def test_repeated_labels_and_a_lost_score():
    pair = _pair()
    twice = _changed(pair["zero"], lambda d: d.isel(time=[*range(MONTHS), 0]))
    with pytest.raises(ComparisonError, match=r"each label of 'time' once: repeated 2000-01-31 \(1 in all\)"):
        compare({**pair, "zero": twice})
    with pytest.raises(ComparisonError, match="must hold 'common_score': those of 'zero' do not"):
        compare({**pair, "zero": _changed(pair["zero"], lambda d: d.drop_vars("common_score"))}, common=True)


def test_two_months_are_too_few_and_three_are_not():
    with pytest.raises(ComparisonError, match="at least 3 calendar months: found 2 months"):
        compare(_pair(_returns(3)))
    for call in (compare_forecasts, bf.metrics.r2_table):
        with pytest.raises(EmptyWindowError, match="at least 3 calendar months: found 2 months"):
            call(_pair(_returns(3)))
        assert len(_quietly(call, _pair(_returns(4)))) == 2
    assert _quietly(compare, _pair(_returns(4))).attrs["verdict"] == "INCONCLUSIVE"


# --- warnings ---------------------------------------------------------------------------------------------


def test_windows_that_did_not_converge_stand_in_the_row():
    pair = _pair()
    for window, status, reasons in ((2, "warn", "R-hat 1.04"), (5, "warn", ""), (6, "failed", "collapsed")):
        pair["zero"] = _in_windows(_in_windows(pair["zero"], window, "status", status), window, "reasons", reasons)
    text = "1 failed and 2 warn of 11 windows, first window 2: R-hat 1.04"
    for call in (compare, compare_forecasts):
        with pytest.warns(ComparisonWarning) as caught:
            table = call(pair)
        assert [str(w.message) for w in caught] == [f"{text} (zero)"]
        assert caught[0].filename == __file__
        assert table["warnings"].to_dict() == {"knows": "", "zero": text}


@pytest.mark.parametrize(
    ("mcse", "text"),
    [
        (0.19, r"Monte Carlo error 2\.1 nats in all \(7\.2 at most\), 0\.19 in one month"),
        (np.nan, "Monte Carlo error of the score unknown: too few draws"),
    ],
)
def test_monte_carlo_error_of_own_scores_stands_in_the_row(mcse, text):
    pair = _pair()
    pair["zero"] = _changed(pair["zero"], lambda d: d.assign(mcse=xr.full_like(d["score"], mcse)))
    with pytest.warns(ComparisonWarning, match=text):
        compare(pair)
    compare(pair, common=True)  # has none
    small = _changed(pair["zero"], lambda d: d.assign(mcse=xr.full_like(d["score"], 0.09)))
    compare({**pair, "zero": small})


def test_few_months_small_differences():
    with pytest.warns(ComparisonWarning) as caught:
        table = compare(_pair(_returns(25)))
    assert "24 months, fewer than 100 (knows, zero)" in {str(w.message) for w in caught}
    assert table["prob_better"].notna().all()
    with pytest.warns(ComparisonWarning, match="INCONCLUSIVE: 23 months, fewer than 24"):
        table = compare(_pair(_returns(24)))
    assert table["prob_better"].isna().all()
    twins = {"a": _pair()["zero"], "b": _pair()["zero"]}
    with pytest.warns(ComparisonWarning, match=r"difference of 0\.0 nats, below 4 \(b\)"):
        assert compare(twins).attrs["verdict"] == "no clear difference"


# --- losses -----------------------------------------------------------------------------------------------


def _monthly(loss: xr.DataArray) -> np.ndarray:
    return np.array([np.nanmean(month) for month in loss.values[:-1]])


@pytest.mark.parametrize("loss", ["crps", "squared_error", "interval_score"])
def test_losses_are_means_over_months_with_the_errors_of_months(loss):
    pair = _pair()

    def by_hand(one: StandIn) -> np.ndarray:
        data = one.data
        if loss == "crps":
            return _monthly(data["crps"])
        if loss == "squared_error":
            return _monthly((data["realised"] - data["mean"]) ** 2)
        low, high, r = data["quantiles"].sel(quantile=0.1), data["quantiles"].sel(quantile=0.9), data["realised"]
        outside = (low - r).clip(min=0) + (r - high).clip(min=0)
        return _monthly(high - low + 2 / 0.2 * outside)

    table = compare_forecasts(pair, loss=loss, level=0.8)
    difference = by_hand(pair["zero"]) - by_hand(pair["knows"])
    assert list(table.index) == ["knows", "zero"]
    assert list(table.columns) == ["loss", "se", "loss_diff", "diff_se", "prob_better", "warnings"]
    assert table["loss"]["zero"] == pytest.approx(by_hand(pair["zero"]).mean(), rel=1e-12)
    assert table["loss_diff"]["zero"] == pytest.approx(difference.mean(), rel=1e-9)
    errors = errors_of_sum(difference)
    assert table["diff_se"]["zero"] == pytest.approx(se_of_sum(errors) / (MONTHS - 1), rel=1e-9)
    assert table["prob_better"]["zero"] == pytest.approx(1 - prob_positive_sum(difference.sum(), errors), abs=1e-12)
    assert table["prob_better"]["knows"] == pytest.approx(prob_positive_sum(difference.sum(), errors), abs=1e-12)
    assert table.attrs["units"] == ("squared decimal per period" if loss == "squared_error" else "decimal per period")
    assert table.attrs["n_stock_months"] == int(pair["zero"].data["realised"].notnull().sum())
    assert table.attrs["n_live_months"] == 1


def test_losses_that_do_not_exist_or_are_not_there():
    pair = _pair()
    with pytest.raises(DataError, match="one of crps, interval_score, squared_error: found 'mse'"):
        compare_forecasts(pair, loss="mse")
    with pytest.raises(
        DataError, match=r"0\.85 needs the quantile 0\.075: .*Possible levels: 0\.5, 0\.8, 0\.9, 0\.95, 0"
    ):
        compare_forecasts(pair, loss="interval_score", level=0.85)
    bad = _changed(pair["zero"], lambda d: d.assign(crps=d["crps"].where(d["time"] != d["time"][3])))
    with pytest.raises(DataError, match=r"needs a finite crps: none at \(2000-04-30, a"):
        compare_forecasts({**pair, "zero": bad})
    table = _quietly(compare_forecasts, _pair(_returns(24)))
    assert table.attrs["verdict"] == "INCONCLUSIVE"
    assert table["prob_better"].isna().all()
    assert _quietly(compare_forecasts, _pair(_returns(25)))["prob_better"].notna().all()


# --- R2 ---------------------------------------------------------------------------------------------------


def test_metrics_take_stored_forecasts_as_they_are():
    data = _pair()["knows"].data
    bf.metrics.predictive_r2(data["mean"], data["realised"])
    bf.metrics.l2(data["mean"], data["realised"])
    assert bf.metrics.predictive_r2_by_month(data["mean"], data["realised"]).sizes["time"] == MONTHS - 1


def test_r2_table_is_predictive_r2_with_the_errors_of_months():
    returns = _returns()
    forecasts = {**_pair(returns), "history": normal_forecasts(returns, 0.006, 0.05)}
    table = bf.metrics.r2_table(forecasts, benchmark="history")
    assert list(table.index) == ["knows", "zero", "history"]
    for name, one in forecasts.items():
        data, history = one.data, forecasts["history"].data["mean"]
        zero = bf.metrics.predictive_r2(data["mean"], data["realised"])
        against = bf.metrics.predictive_r2(
            data["mean"], data["realised"], benchmark="historical_mean", historical_mean=history
        )
        assert table["r2_zero"][name] == pytest.approx(float(zero), abs=1e-14)
        if name == "history":
            assert table.loc[name, ["r2_benchmark", "r2_benchmark_se", "prob_benchmark"]].isna().all()
        else:
            assert table["r2_benchmark"][name] == pytest.approx(float(against), abs=1e-14)
    data = forecasts["knows"].data.isel(time=slice(0, -1))
    own, other = ((data["realised"] - mean) ** 2 for mean in (0.01, 0.006))
    gain = np.nansum(other - own, axis=1)
    assert table["r2_benchmark_se"]["knows"] == pytest.approx(
        se_of_sum(errors_of_sum(gain)) / float(other.sum()), rel=1e-9
    )
    assert table["prob_benchmark"]["knows"] == pytest.approx(
        prob_positive_sum(gain.sum(), errors_of_sum(gain)), abs=1e-9
    )
    assert table.attrs["benchmark"] == "history"
    assert table.attrs["n_months"] == MONTHS - 1


def test_r2_table_without_a_benchmark_and_with_one_that_is_not_there():
    table = bf.metrics.r2_table({"knows": _pair()["knows"]})
    assert list(table.columns) == ["r2_zero", "r2_zero_se", "prob_zero"]
    assert table.attrs["benchmark"] == "zero"
    with pytest.raises(DataError, match="one of the forecasters, knows, zero: found 'ols'"):
        bf.metrics.r2_table(_pair(), benchmark="ols")
    assert bf.metrics.r2_table(_pair(_returns(24)))["prob_zero"].isna().all()
