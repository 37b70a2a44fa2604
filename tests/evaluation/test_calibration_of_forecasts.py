"""Calibration of stored forecasts: known answers, clustered against iid, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scoringrules
import xarray as xr
from scipy import stats
from standins import QUANTILES, StandIn, normal_forecasts

import bayesfactor as bf
from bayesfactor.errors import ComparisonError, DataError, EmptyWindowError
from bayesfactor.evaluation.calibration import _moments
from bayesfactor.evaluation.standard_errors import errors_of_sum, se_of_sum

SD, CORRELATION = 0.05, 0.3


def _returns(months: int, stocks: int, seed: int, correlation: float = CORRELATION) -> np.ndarray:
    """Normal returns of sd 5% whose stocks share a shock in every month, a tenth of them unobserved."""
    rng = np.random.default_rng(seed)
    shock, own = rng.standard_normal((months, 1)), rng.standard_normal((months, stocks))
    returns = SD * (np.sqrt(correlation) * shock + np.sqrt(1 - correlation) * own)
    returns[rng.random(returns.shape) < 0.1] = np.nan
    return returns


def _changed(forecasts: StandIn, change: Callable[[xr.Dataset], xr.Dataset]) -> StandIn:
    return replace(forecasts, data=change(forecasts.data))


# --- known answers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mean", "sd", "verdict"),
    [
        (0.0, SD, "no departure found"),
        (0.0, 0.85 * SD, "not calibrated: too narrow"),
        (0.0, 1.15 * SD, "not calibrated: too wide"),
        (0.02, SD, "not calibrated: too high"),
        (-0.02, SD, "not calibrated: too low"),
    ],
)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_true_forecasts_pass_and_wrong_ones_are_named(mean, sd, verdict, seed):
    result = bf.forecast_calibration(normal_forecasts(_returns(240, 100, seed), mean, sd))
    assert result.attrs["verdict"].startswith(verdict)
    assert (result.attrs["p_value"] < 0.05) == (verdict != "no departure found")


def test_the_test_keeps_its_size_with_common_shocks_and_a_chi_square_of_stock_months_does_not():
    replications, months, stocks = 80, 60, 100
    clustered, naive = 0, 0
    for seed in range(replications):
        forecasts = normal_forecasts(_returns(months, stocks, 1000 + seed, correlation=0.5), 0.0, SD)
        result = bf.forecast_calibration(forecasts, levels=(0.9,))
        clustered += result.attrs["p_value"] < 0.05
        counts = np.histogram(forecasts.data["pit"], bins=10, range=(0, 1))[0]
        naive += stats.chisquare(counts).pvalue < 0.05
    assert clustered <= stats.binom.ppf(1 - 1e-4, replications, 0.05)
    assert naive > 0.9 * replications


def test_fat_tails_and_skewness_are_named():
    rng = np.random.default_rng(4)
    student = SD * rng.standard_t(3, (240, 100)) / np.sqrt(3)
    assert "too thin in both tails" in bf.forecast_calibration(normal_forecasts(student, 0.0, 0.62 * SD)).verdict
    skew = SD * (rng.standard_gamma(2.0, (240, 100)) - 2.0) / np.sqrt(2)
    assert "too thin in the upper tail" in bf.forecast_calibration(normal_forecasts(skew, 0.0, SD)).verdict
    assert "too thin in the lower tail" in bf.forecast_calibration(normal_forecasts(-skew, 0.0, SD)).verdict


def test_the_moments_are_orthonormal_under_uniformity():
    nodes, weights = np.polynomial.legendre.leggauss(12)
    values = np.array(_moments((nodes + 1) / 2))
    np.testing.assert_allclose(values @ (weights / 2), 0.0, atol=1e-14)
    np.testing.assert_allclose((values * weights / 2) @ values.T, np.eye(4), atol=1e-13)
    x = 2 * 0.9 - 1
    by_hand = [
        np.sqrt(3) * x,
        np.sqrt(5) / 2 * (3 * x**2 - 1),
        np.sqrt(7) / 2 * (5 * x**3 - 3 * x),
        3 / 8 * (35 * x**4 - 30 * x**2 + 3),
    ]
    np.testing.assert_allclose([float(one) for one in _moments(np.array(0.9))], by_hand, rtol=1e-13)


def test_every_number_is_the_slow_loop():
    returns = _returns(30, 12, 5)
    returns[-1] = np.nan
    forecasts = normal_forecasts(returns, 0.002, 0.045)
    result = bf.forecast_calibration(forecasts, levels=(0.5, 0.98), bins=4)
    data = forecasts.data
    for t, month in enumerate(result["time"].values):
        cells = [a for a in data["asset"].values if np.isfinite(data["realised"].sel(time=month, asset=a))]
        r = data["realised"].sel(time=month, asset=cells).values
        u = data["pit"].sel(time=month, asset=cells).values
        assert result["n_assets"][t] == len(cells)
        assert float(result["pit_mean"][t]) == pytest.approx(u.mean(), rel=1e-12)
        np.testing.assert_allclose(result["pit_by_month"][t], np.histogram(u, 4, (0, 1))[0] / len(cells))
        assert float(result["crps_by_month"][t]) == pytest.approx(
            scoringrules.crps_normal(r, 0.002, 0.045).mean(), rel=1e-9
        )
        for place, level in enumerate((0.5, 0.98)):
            end = stats.norm.ppf(0.5 + level / 2) * 0.045
            low, high = 0.002 - end, 0.002 + end
            inside = sum(low <= one <= high for one in r) / len(cells)
            assert float(result["coverage_by_month"][place, t]) == pytest.approx(inside, rel=1e-12)
            winkler = [high - low + 2 / (1 - level) * (max(low - x, 0) + max(x - high, 0)) for x in r]
            assert float(result["interval_score_by_month"][place, t]) == pytest.approx(np.mean(winkler), rel=1e-9)
    for name, by_month in (("crps", "crps_by_month"), ("interval_score", "interval_score_by_month")):
        np.testing.assert_allclose(result[name], result[by_month].mean("time"), rtol=1e-12)
    np.testing.assert_allclose(result["coverage"], result["coverage_by_month"].mean("time"), rtol=1e-12)
    np.testing.assert_allclose(result["pit_share"], result["pit_by_month"].mean("time"), rtol=1e-12)
    se = se_of_sum(errors_of_sum(result["crps_by_month"].values)) / 29
    assert float(result["crps_se"]) == pytest.approx(se, rel=1e-12)
    found = {key: result.attrs[key] for key in ("n_periods", "n_months", "n_live_months", "n_stock_months", "units")}
    assert found == {
        "n_periods": 29,
        "n_months": 29,
        "n_live_months": 1,
        "n_stock_months": int(np.isfinite(returns).sum()),
        "units": "decimal per period",
    }


def test_crps_of_normal_forecasts_is_the_closed_form_of_its_expectation():
    """A true forecast has expected CRPS sd / sqrt(pi)."""
    result = bf.forecast_calibration(normal_forecasts(_returns(600, 40, 6, correlation=0.0), 0.0, SD))
    assert float(result["crps"]) == pytest.approx(SD / np.sqrt(np.pi), abs=4 * float(result["crps_se"]))
    for level, score, error in zip(
        result["level"].values, result["interval_score"].values, result["interval_score_se"].values, strict=True
    ):
        end = stats.norm.ppf(0.5 + level / 2)
        outside = stats.norm.pdf(end) - end * stats.norm.sf(end)
        assert score == pytest.approx(SD * (2 * end + 4 / (1 - level) * outside), abs=4 * error)


def test_coverage_intervals_hold_the_level_of_true_forecasts_and_miss_that_of_narrow_ones():
    returns = _returns(240, 100, 7)
    true = bf.forecast_calibration(normal_forecasts(returns, 0.0, SD), prob=0.999)
    narrow = bf.forecast_calibration(normal_forecasts(returns, 0.0, 0.85 * SD), prob=0.999)
    level = true["level"]
    assert ((true["coverage_lower"] <= level) & (level <= true["coverage_upper"])).all()
    assert (narrow["coverage_upper"] < level).all()
    # The normal says by how much: P(|z| < .85 q).
    expected = 2 * stats.norm.cdf(0.85 * stats.norm.ppf(0.5 + level / 2)) - 1
    assert ((narrow["coverage_lower"] <= expected) & (expected <= narrow["coverage_upper"])).all()


def test_months_weigh_the_same_whatever_their_number_of_stocks():
    returns = _returns(40, 60, 8, correlation=0.0)
    returns[:20, 3:] = np.nan  # three stocks against sixty
    sd = np.where(np.arange(40)[:, None] < 20, 0.1 * SD, SD)
    result = bf.forecast_calibration(normal_forecasts(returns, 0.0, sd), levels=(0.9,))
    by_month = result["coverage_by_month"].values[0]
    assert float(result["coverage"][0]) == pytest.approx((by_month[:20].mean() + by_month[20:].mean()) / 2)
    assert float(result["coverage"][0]) < 0.65


def test_order_of_labels_does_not_matter():
    forecasts = normal_forecasts(_returns(60, 20, 9), 0.0, SD)
    rng = np.random.default_rng(10)
    shuffled = _changed(
        forecasts, lambda d: d.isel(time=rng.permutation(60), asset=rng.permutation(20)).transpose(..., "time")
    )
    xr.testing.assert_allclose(bf.forecast_calibration(shuffled), bf.forecast_calibration(forecasts), rtol=1e-12)


def test_without_levels_and_with_few_months():
    assert bf.forecast_calibration(normal_forecasts(_returns(24, 5, 11)), levels=()).sizes["level"] == 0
    result = bf.forecast_calibration(normal_forecasts(_returns(23, 5, 11), 0.5))
    assert result.attrs["verdict"] == "INCONCLUSIVE"
    assert np.isnan(result.attrs["p_value"])
    assert np.isnan(result["deviation_p"]).all()
    enough = bf.forecast_calibration(normal_forecasts(_returns(24, 5, 11), 0.5))
    assert enough.attrs["verdict"].startswith("not calibrated: too high")


def test_a_pit_of_one_falls_into_the_last_bin():
    forecasts = normal_forecasts(_returns(24, 5, 12), -50.0, SD)  # every return far above its forecast
    result = bf.forecast_calibration(forecasts)
    np.testing.assert_array_equal(result["pit_share"], [0] * 9 + [1])
    assert float(result["pit_share_lower"][-1]) == pytest.approx(0.025 ** (1 / 24))


def test_doubtful_windows_show_in_the_status():
    forecasts = normal_forecasts(_returns(24, 5, 13))
    assert bf.forecast_calibration(forecasts).attrs["status"] == "ok"
    windows = forecasts.windows.assign(status=["ok", "failed"])
    assert bf.forecast_calibration(replace(forecasts, windows=windows)).attrs["status"] == "failed"


# --- refusals ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pit", "crps", "quantiles"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_observed_return_without_a_finite_forecast_is_refused_and_not_dropped(name, value):
    returns = _returns(24, 5, 14)
    returns[2, 3], returns[2, 1] = 0.01, np.nan
    forecasts = normal_forecasts(returns)
    at = (forecasts.data["time"] == forecasts.data["time"][2]) & (forecasts.data["asset"] == "a3")
    spoilt = _changed(forecasts, lambda d: d.assign({name: d[name].where(~at, value)}))
    with pytest.raises(DataError, match=rf"needs a finite {name}: none at \(2000-03-31, a3\) \(1 in all\)"):
        bf.forecast_calibration(spoilt)
    unobserved = (forecasts.data["time"] == forecasts.data["time"][2]) & (forecasts.data["asset"] == "a1")
    bf.forecast_calibration(_changed(forecasts, lambda d: d.assign({name: d[name].where(~unobserved)})))


def test_levels_that_are_not_stored_and_settings_that_make_no_sense():
    forecasts = normal_forecasts(_returns(24, 5, 15))
    bf.forecast_calibration(forecasts, levels=(0.5, 0.8, 0.9, 0.95, 0.98))
    with pytest.raises(
        DataError, match=r"0\.7 needs the quantile 0\.15: stored are 0\.01, .*0\.5, 0\.8, 0\.9, 0\.95, 0\.98"
    ):
        bf.forecast_calibration(forecasts, levels=(0.5, 0.7))
    for level in (0.0, 1.0, 90):
        with pytest.raises(DataError, match="level must lie between 0 and 1"):
            bf.forecast_calibration(forecasts, levels=(level,))
    with pytest.raises(DataError, match="prob must lie between 0 and 1"):
        bf.forecast_calibration(forecasts, prob=95)
    with pytest.raises(DataError, match="at least 2 bins: found 1"):
        bf.forecast_calibration(forecasts, bins=1)
    with pytest.raises(ComparisonError, match=r"stored forecasts are needed.*found forecasts: Dataset"):
        bf.forecast_calibration(forecasts.data)


def test_quantiles_upside_down_and_a_pit_in_percent():
    forecasts = normal_forecasts(_returns(24, 5, 16))
    upside_down = _changed(forecasts, lambda d: d.assign_coords(quantile=1 - QUANTILES))
    with pytest.raises(DataError, match=r"interval of 0\.5 is upside down at \(2000-01-31, a"):
        bf.forecast_calibration(upside_down)
    percent = _changed(forecasts, lambda d: d.assign(pit=100 * d["pit"]))
    with pytest.raises(DataError, match="a PIT lies between 0 and 1: found"):
        bf.forecast_calibration(percent)


def test_two_months_are_too_few():
    with pytest.raises(EmptyWindowError, match="at least 3 calendar months: found 2 months"):
        bf.forecast_calibration(normal_forecasts(_returns(2, 5, 17)))
    returns = _returns(3, 5, 17)
    bf.forecast_calibration(normal_forecasts(returns))
    returns[1] = np.nan
    with pytest.raises(EmptyWindowError, match="found 2 months"):
        bf.forecast_calibration(normal_forecasts(returns))
    with pytest.raises(EmptyWindowError, match="found 0 months"):
        bf.forecast_calibration(normal_forecasts(np.full((5, 3), np.nan)))


def test_days_are_clusters_and_months_are_counted():
    forecasts = normal_forecasts(_returns(60, 5, 18), frequency="daily")
    daily = _changed(forecasts, lambda d: d.assign_coords(time=pd.bdate_range("2020-01-01", periods=60)))
    result = bf.forecast_calibration(daily)
    assert result.attrs["sample"] == "60 days in 3 calendar months"
    assert result.attrs["verdict"] == "INCONCLUSIVE"
    assert result.sizes["time"] == 60
