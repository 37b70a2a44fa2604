"""Errors of forecasts: slow loops, labels, benchmarks with their names."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import bayesfactor as bf
from bayesfactor.errors import (
    AlignmentError,
    BayesFactorError,
    DataError,
    DuplicateKeyError,
    EmptyWindowError,
    LookAheadError,
)
from bayesfactor.evaluation import metrics

MONTHS, ASSETS = 7, 5


def _array(values: np.ndarray) -> xr.DataArray:
    months = pd.date_range("2014-01-31", periods=len(values), freq="ME")
    assets = [f"a{i}" for i in range(values.shape[1])]
    return xr.DataArray(values, {"time": months, "asset": assets}, ("time", "asset"))


@pytest.fixture
def pair() -> tuple[xr.DataArray, xr.DataArray]:
    """A forecast and ragged realised returns; the last month has none."""
    rng = np.random.default_rng(1)
    realised = rng.normal(0, 0.1, (MONTHS, ASSETS))
    realised[rng.random(realised.shape) < 0.3] = np.nan
    realised[0, 0], realised[-1] = 0.05, np.nan
    return _array(rng.normal(0, 0.03, (MONTHS, ASSETS))), _array(realised)


def _loop_r2(forecast: xr.DataArray, realised: xr.DataArray, benchmark: xr.DataArray | None, months: list) -> float:
    own = other = 0.0
    for month in months:
        for asset in realised.asset.values:
            r = float(realised.sel(time=month, asset=asset))
            if not np.isnan(r):
                b = 0.0 if benchmark is None else float(benchmark.sel(time=month, asset=asset))
                own += (r - float(forecast.sel(time=month, asset=asset))) ** 2
                other += (r - b) ** 2
    return 1 - own / other


@pytest.mark.parametrize("benchmark", ["zero", "historical_mean"])
def test_predictive_r2_is_the_slow_loop(pair, benchmark):
    forecast, realised = pair
    mean = None if benchmark == "zero" else _array(np.random.default_rng(2).normal(0, 0.02, (MONTHS, ASSETS)))
    months = list(realised.time.values)
    found = metrics.predictive_r2(forecast, realised, benchmark=benchmark, historical_mean=mean)
    assert found.dims == ()
    assert float(found) == pytest.approx(_loop_r2(forecast, realised, mean, months), abs=1e-14)
    assert found.name == "predictive_r2"
    assert found.attrs["benchmark"] == benchmark
    assert found.attrs["n_months"] == MONTHS - 1
    assert found.attrs["n_stock_months"] == int(np.isfinite(realised).sum())
    assert (found.attrs["first_month"], found.attrs["last_month"]) == ("2014-01-31", "2014-06-30")
    by_month = metrics.predictive_r2_by_month(forecast, realised, benchmark=benchmark, historical_mean=mean)
    assert by_month.attrs["benchmark"] == benchmark
    expected = [_loop_r2(forecast, realised, mean, [month]) for month in months[:-1]]
    np.testing.assert_allclose(by_month, expected, rtol=0, atol=1e-13)
    assert list(by_month.time.values) == months[:-1]


def test_l2_and_linf_are_the_slow_loops(pair):
    forecast, realised = pair
    for metric, reduce in (
        (metrics.l2, lambda e: np.sqrt(sum(x * x for x in e) / len(e))),
        (metrics.linf, max),
    ):
        found = metric(forecast, realised)
        assert found.name == found.attrs["metric"] == metric.__name__
        assert found.attrs["units"] == "decimal per period"
        assert found.sizes == {"time": MONTHS - 1}
        for month in found.time.values:
            f, r = forecast.sel(time=month).values, realised.sel(time=month).values
            errors = [abs(f[i] - r[i]) for i in range(ASSETS) if not np.isnan(r[i])]
            assert float(found.sel(time=month)) == pytest.approx(reduce(errors), abs=1e-15)


def test_joined_by_label_never_by_position(pair):
    forecast, realised = pair
    rng = np.random.default_rng(3)
    shuffled = forecast.isel(time=rng.permutation(MONTHS), asset=rng.permutation(ASSETS)).transpose("asset", "time")
    for metric in (metrics.predictive_r2, metrics.predictive_r2_by_month, metrics.l2, metrics.linf):
        xr.testing.assert_identical(metric(shuffled, realised), metric(forecast, realised))
        backwards = metric(forecast, realised.isel(time=slice(None, None, -1)))
        xr.testing.assert_identical(backwards, metric(forecast, realised))


def test_benchmarks_as_forecasts_have_r2_zero_and_perfect_one(pair):
    forecast, realised = pair
    assert float(metrics.predictive_r2(xr.zeros_like(forecast), realised)) == 0.0
    own = metrics.predictive_r2(forecast, realised, benchmark="historical_mean", historical_mean=forecast)
    assert float(own) == 0.0
    assert float(metrics.predictive_r2(realised, realised)) == 1.0


def test_benchmark_without_error_gives_nan_not_infinity():
    zero = _array(np.zeros((2, 3)))
    assert np.isnan(float(metrics.predictive_r2(zero + 0.01, zero)))


def test_a_benchmark_must_be_named_and_complete(pair):
    forecast, realised = pair
    with pytest.raises(BayesFactorError, match=r'"zero" or "historical_mean": found \'mean\''):
        metrics.predictive_r2(forecast, realised, benchmark="mean")
    with pytest.raises(BayesFactorError, match="benchmark='historical_mean' without historical_mean"):
        metrics.predictive_r2(forecast, realised, benchmark="historical_mean")
    with pytest.raises(BayesFactorError, match="benchmark='zero' with historical_mean"):
        metrics.predictive_r2(forecast, realised, historical_mean=forecast)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.isel(time=slice(1, None)), r"'time': forecast lacks 2014-01-31 \(1 in all\)"),
        (lambda f: f.isel(asset=slice(0, 3)), r"'asset': forecast lacks a3, a4 \(2 in all\)"),
        (
            lambda f: f.assign_coords(asset=["a0", "a1", "a2", "a3", "zz"]),
            r"'asset': forecast lacks a4 \(1 in all\)",
        ),
        (lambda f: f.rename(asset="stock"), r"dims \(time, asset\): found dims \('time', 'stock'\)"),
        (lambda f: f.values, "found ndarray"),
        (lambda f: f.drop_vars("asset"), "must carry labels of dimension 'asset'"),
    ],
)
def test_other_labels_are_refused(pair, change, message):
    forecast, realised = pair
    for metric in (metrics.predictive_r2, metrics.l2, metrics.linf):
        with pytest.raises(AlignmentError, match=message):
            metric(change(forecast), realised)


def test_forecasts_of_more_months_are_refused_too(pair):
    forecast, realised = pair
    with pytest.raises(AlignmentError, match=r"'time': forecast also has 2014-07-31 \(1 in all\)"):
        metrics.l2(forecast, realised.isel(time=slice(0, -1)))


def test_historical_mean_with_other_labels_is_refused(pair):
    forecast, realised = pair
    with pytest.raises(AlignmentError, match="historical_mean and realised must have the same labels"):
        metrics.predictive_r2(
            forecast, realised, benchmark="historical_mean", historical_mean=forecast.isel(asset=[0, 1])
        )


def test_repeated_labels_are_refused(pair):
    forecast, realised = pair
    with pytest.raises(DuplicateKeyError, match=r"forecast must have each label of 'asset' once: repeated a1 \(1 in"):
        metrics.l2(forecast.assign_coords(asset=["a0", "a1", "a1", "a3", "a4"]), realised)


def test_a_return_without_forecast_is_not_dropped(pair):
    forecast, realised = pair
    forecast = forecast.copy()
    forecast.loc["2014-01-31", "a0"] = np.nan
    with pytest.raises(DataError, match=r"finite forecast: none at \(2014-01-31, a0\) \(1 in all\)"):
        metrics.predictive_r2(forecast, realised)
    forecast.loc["2014-01-31", "a0"] = 0.0
    forecast.loc["2014-07-31"] = np.nan  # no return there: no forecast is missed
    assert np.isfinite(metrics.predictive_r2(forecast, realised))


def test_infinite_and_absent_returns_are_refused(pair):
    forecast, realised = pair
    infinite = realised.copy()
    infinite.loc["2014-01-31", "a0"] = -np.inf
    with pytest.raises(DataError, match=r"infinite at \(2014-01-31, a0\)"):
        metrics.l2(forecast, infinite)
    with pytest.raises(EmptyWindowError, match="NaN everywhere"):
        metrics.linf(forecast, realised * np.nan)


# --- historical mean --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ragged() -> bf.Panel:
    """A panel with absent returns and with returns of stocks outside the universe."""
    economy = bf.simulate.economy(n_months=12, n_assets=8, n_characteristics=2, seed=5, ragged=True, missing=0.1)
    inside = np.random.default_rng(0).random((12, 8)) < 0.8
    panel = economy.panel.apply(lambda data: data.assign(in_universe=data.in_universe & inside), "smaller universe")
    assert 0 < int((panel.data.observed & panel.data.in_universe).sum()) < int(panel.data.observed.sum()) < 96
    return panel


def _loop_mean(panel: bf.Panel, month: np.datetime64, asset: str) -> float:
    data = panel.data
    own, everything = [], []
    for t in range(data.sizes["time"]):
        for i in range(data.sizes["asset"]):
            if data.time.values[t] < month and data.in_universe.values[t, i] and data.observed.values[t, i]:
                everything.append(data.returns.values[t, i])
                if data.asset.values[i] == asset:
                    own.append(data.returns.values[t, i])
    return float(np.mean(own or everything))


def test_historical_mean_is_the_slow_loop(ragged):
    train, test = ragged.split(ragged.times[5])
    found = metrics.historical_mean(train, test)
    assert found.dims == ("time", "asset")
    assert list(found.time.values) == list(test.data.time.values)
    for month in found.time.values:
        for asset in found.asset.values:
            assert float(found.sel(time=month, asset=asset)) == pytest.approx(
                _loop_mean(ragged, month, asset), abs=1e-14
            )


def test_asset_without_history_gets_the_pooled_mean(ragged):
    train, test = ragged.split(ragged.times[5])
    newcomer = str(train.data.asset.values[0])
    others = train.sel(asset=[str(a) for a in train.data.asset.values if a != newcomer])
    found = metrics.historical_mean(others, test)
    pooled = float(metrics.realised_returns(others).mean())
    assert float(found.isel(time=0).sel(asset=newcomer)) == pytest.approx(pooled, abs=1e-15)
    assert np.isfinite(found).all()


def test_historical_mean_knows_nothing_of_month_t_and_later(ragged):
    train, test = ragged.split(ragged.times[5])
    cut = test.times[3]
    changed = test.apply(
        lambda data: data.assign(returns=data.returns.where(data.time < np.datetime64(cut), data.returns * -3.0)),
        "later returns changed",
    )
    before, after = metrics.historical_mean(train, test), metrics.historical_mean(train, changed)
    np.testing.assert_array_equal(after.sel(time=slice(None, cut)), before.sel(time=slice(None, cut)))
    assert (after.isel(time=-1) != before.isel(time=-1)).any()


def test_historical_mean_refuses_overlap_and_no_history(ragged):
    train, test = ragged.split(ragged.times[5])
    with pytest.raises(
        LookAheadError, match=r"before the first month of panel, \d{4}-\d\d-\d\d: it also holds .*7 in all"
    ):
        metrics.historical_mean(ragged, test)
    silent = train.apply(
        lambda data: data.assign(returns=data.returns * np.nan, observed=data.observed & False), "no returns"
    )
    with pytest.raises(EmptyWindowError, match=rf"none before {test.times[0]:%Y-%m-%d} \(1 in all\)"):
        metrics.historical_mean(silent, test)


def test_historical_mean_refuses_another_frequency(ragged):
    weekly = bf.simulate.economy(n_months=6, n_assets=8, n_characteristics=2, seed=5, frequency="weekly").panel
    with pytest.raises(AlignmentError, match="train is weekly, panel is monthly"):
        metrics.historical_mean(weekly, ragged)


def test_realised_returns_are_those_of_the_universe(ragged):
    found = metrics.realised_returns(ragged)
    counts = (ragged.data.in_universe & ragged.data.observed).values
    np.testing.assert_array_equal(np.isfinite(found.values), counts)
    np.testing.assert_array_equal(found.values[counts], ragged.data.returns.values[counts])
