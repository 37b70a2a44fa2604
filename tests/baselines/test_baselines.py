"""Baselines: slow loops, scikit-learn, linearmodels; labels; nothing looks ahead; refusals at their boundary."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from linearmodels import FamaMacBeth as LinearmodelsFamaMacBeth
from sklearn.linear_model import LinearRegression
from sklearn.linear_model import Ridge as SklearnRidge

import bayesfactor as bf
from bayesfactor.baselines import OLS, Baseline, FamaMacBeth, Forecaster, HistoricalMean, Ridge, Zero
from bayesfactor.baselines.linear import PENALTIES, left_out_errors
from bayesfactor.baselines.statistics import month_sums
from bayesfactor.errors import AlignmentError, DataError, DataWarning, EmptyWindowError

LINEAR = (OLS(), Ridge(penalty=0.1), Ridge(), FamaMacBeth())
ALL = (Zero(), HistoricalMean(), *LINEAR)
ROUNDING = 1e-12  # of sums of some thousand decimal returns


def with_data(source: bf.Panel, **values: np.ndarray) -> bf.Panel:
    """The panel with other values of some variables; what is observed follows from the returns."""
    data = source.data.drop_vars("observed")
    changed = {name: (data[name].dims, value) for name, value in values.items()}
    return bf.Panel(data.assign(changed), source.frequency, source.preparation)


def made(seed: int = 1, n_assets: int = 25, n_characteristics: int = 3) -> bf.Panel:
    """36 ragged months, missing cells, returns missing here and there and throughout the last month."""
    panel = bf.simulate.economy(
        n_months=36, n_assets=n_assets, n_characteristics=n_characteristics, seed=seed, ragged=True, missing=0.1
    ).panel
    lost = np.random.default_rng(seed).random(panel.data["returns"].shape) < 0.05
    lost[-1] = True
    return with_data(panel, returns=np.where(lost, np.nan, panel.data["returns"].values))


@pytest.fixture(scope="module")
def parts() -> tuple[bf.Panel, bf.Panel]:
    """Training window and what comes after it, with some assets that the first part never observes."""
    panel = made()
    train, test = panel.split(panel.times[24])
    returns = train.data["returns"].values.copy()
    returns[:, :3] = np.nan  # three assets without history
    return with_data(train, returns=returns), test


def rows(panel: bf.Panel) -> tuple[np.ndarray, np.ndarray]:
    """Characteristics and returns of the stock-months that teach, by a slow loop."""
    z, r = [], []
    for time in panel.times:
        month = panel.data.sel(time=time)
        for asset in panel.data["asset"].values:
            cell = month.sel(asset=asset)
            if bool(cell["in_universe"]) and bool(cell["observed"]):
                z.append(cell["characteristics"].values)
                r.append(float(cell["returns"]))
    return np.array(z), np.array(r)


# ---------------------------------------------------------------------- against others


def test_ols_is_scikit_learn(parts):
    train, test = parts
    z, r = rows(train)
    theirs = LinearRegression().fit(z, r)
    ours = OLS().fit(train)
    np.testing.assert_allclose(ours.coefficients, [theirs.intercept_, *theirs.coef_], rtol=0, atol=ROUNDING)
    found = ours.forecast(test).values
    members = test.data["in_universe"].values
    want = theirs.predict(test.data["characteristics"].values[members])
    np.testing.assert_allclose(found[members], want, rtol=0, atol=ROUNDING)


def test_collinear_and_constant_characteristics_share_as_in_scikit_learn(parts):
    train, _ = parts
    values = train.data["characteristics"].values.copy()
    values[..., 1] = np.where(np.isnan(values[..., 0]), np.nan, -values[..., 0])
    values[..., 2] = np.where(np.isnan(values[..., 0]), np.nan, 0.0)
    twice = with_data(train, characteristics=values)
    z, r = rows(twice)
    theirs = LinearRegression().fit(z, r)
    slopes = OLS().fit(twice).coefficients.values
    np.testing.assert_allclose(slopes, [theirs.intercept_, *theirs.coef_], rtol=0, atol=1e-10)
    assert slopes[1] == pytest.approx(-slopes[2], abs=1e-12)
    assert slopes[3] == 0.0


@pytest.mark.parametrize("penalty", [0.0, 1e-3, 1 / 3, 50.0])
def test_ridge_is_scikit_learn_with_alpha_per_row(parts, penalty):
    train, _ = parts
    z, r = rows(train)
    theirs = SklearnRidge(alpha=penalty * len(r)).fit(z, r)
    ours = Ridge(penalty=penalty).fit(train)
    np.testing.assert_allclose(ours.coefficients, [theirs.intercept_, *theirs.coef_], rtol=0, atol=ROUNDING)
    assert ours.penalty == penalty


def test_the_penalty_is_chosen_by_leaving_whole_months_out(parts):
    train, _ = parts
    errors = np.zeros(len(PENALTIES))
    observed = train.times[(train.data["observed"] & train.data["in_universe"]).any("asset").values]
    for month in observed:
        others = train.sel(time=[time for time in train.times if time != month])
        z, r = rows(others)
        held_z, held_r = rows(train.sel(time=[month]))
        for place, penalty in enumerate(PENALTIES):
            fitted = SklearnRidge(alpha=penalty * len(r)).fit(z, r)
            errors[place] += np.sum((held_r - fitted.predict(held_z)) ** 2)
    np.testing.assert_allclose(left_out_errors(month_sums(train), PENALTIES), errors, rtol=1e-11)
    chosen = Ridge().fit(train)
    assert chosen.penalty == PENALTIES[np.argmin(errors)]
    np.testing.assert_array_equal(chosen.coefficients, Ridge(penalty=chosen.penalty).fit(train).coefficients)


def test_noise_is_shrunk_and_signal_is_not():
    common = {"n_months": 60, "n_assets": 60, "n_characteristics": 3, "seed": 4, "slope_sd": 0.0}
    noise = Ridge().fit(bf.simulate.economy(**common, slope_mean=0.0).panel)
    signal = Ridge().fit(bf.simulate.economy(**common, slope_mean=0.05).panel)
    assert noise.penalty > 1.0 > 1e-2 > signal.penalty


def test_fama_macbeth_is_linearmodels(parts):
    train, _ = parts
    used = (train.data["observed"] & train.data["in_universe"]).values
    time, asset = np.nonzero(used)
    index = pd.MultiIndex.from_arrays([train.data["asset"].values[asset], train.times[time]])
    z = pd.DataFrame(train.data["characteristics"].values[used], index, list(train.characteristics))
    z.insert(0, "intercept", 1.0)
    theirs = LinearmodelsFamaMacBeth(pd.Series(train.data["returns"].values[used], index, name="r"), z).fit()
    ours = FamaMacBeth().fit(train)
    assert list(ours.coefficients["feature"].values) == list(theirs.params.index)
    np.testing.assert_allclose(ours.coefficients, theirs.params, rtol=0, atol=ROUNDING)
    assert ours.n_months == len(theirs.all_params)


def test_months_without_a_regression_are_left_out_as_in_linearmodels(parts):
    train, _ = parts
    values, returns = (train.data[name].values.copy() for name in ("characteristics", "returns"))
    flat, few, twins = 2, 5, 7
    values[flat, ..., 1] = np.where(np.isnan(values[flat, ..., 1]), np.nan, 0.0)
    seen = np.flatnonzero(~np.isnan(returns[few]))
    returns[few, seen[3:]] = np.nan  # three stocks, four coefficients
    values[twins, ..., 2] = values[twins, ..., 0]
    changed = with_data(train, characteristics=values, returns=returns)
    with pytest.warns(DataWarning, match=r"2000-0\d-\d\d, .* \(3 in all\), of which 1 have too few stocks; constant"):
        fitted = FamaMacBeth().fit(changed)
    kept = [month for place, month in enumerate(train.times) if place not in (flat, few, twins)]
    assert fitted.n_months == len(kept)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        want = FamaMacBeth().fit(changed.sel(time=kept))
    np.testing.assert_array_equal(fitted.coefficients, want.coefficients)
    used = (changed.data["observed"] & changed.data["in_universe"]).values
    time, asset = np.nonzero(used)
    index = pd.MultiIndex.from_arrays([train.data["asset"].values[asset], train.times[time]])
    z = pd.DataFrame(values[used], index, list(train.characteristics)).assign(intercept=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = LinearmodelsFamaMacBeth(pd.Series(returns[used], index, name="r"), z).fit().params
    np.testing.assert_allclose(fitted.coefficients, theirs[fitted.coefficients["feature"].values], atol=ROUNDING)


def test_exactly_as_many_stocks_as_coefficients_are_enough():
    panel = bf.simulate.economy(n_months=1, n_assets=3, n_characteristics=2, seed=4).panel
    assert FamaMacBeth().fit(panel).forecast(panel).values == pytest.approx(panel.data["returns"].values, abs=1e-12)
    one_more = bf.simulate.economy(n_months=1, n_assets=3, n_characteristics=3, seed=4).panel
    with pytest.raises(DataError, match=r"at least 4 stocks .* No month is left"):
        FamaMacBeth().fit(one_more)


# ---------------------------------------------------------------------- means


def test_historical_means_are_slow_loops(parts):
    train, test = parts
    forecast = HistoricalMean().fit(train).forecast(test)
    everything = rows(train)[1].mean()
    for asset in test.data["asset"].values:
        cells = train.data.sel(asset=asset)
        own = cells["returns"].values[(cells["observed"] & cells["in_universe"]).values]
        want = own.mean() if len(own) else everything
        inside = test.data["in_universe"].sel(asset=asset).values
        column = forecast.sel(asset=asset).values
        assert np.isnan(column[~inside]).all()
        np.testing.assert_allclose(column[inside], want, rtol=0, atol=ROUNDING)


def test_the_historical_mean_is_that_of_the_metrics_in_the_first_month(parts):
    train, test = parts
    ours = HistoricalMean().fit(train).forecast(test).isel(time=0)
    theirs = bf.metrics.historical_mean(train, test).isel(time=0)
    inside = test.data["in_universe"].isel(time=0).values
    np.testing.assert_allclose(ours.values[inside], theirs.values[inside], rtol=0, atol=ROUNDING)


def test_an_asset_that_training_never_saw_has_the_pooled_mean(parts):
    train, test = parts
    fewer = train.sel(asset=train.data["asset"].values[5:])
    forecast = HistoricalMean().fit(fewer).forecast(test)
    unseen = forecast.isel(asset=slice(0, 5)).values
    assert np.unique(unseen[np.isfinite(unseen)]) == pytest.approx([rows(fewer)[1].mean()], abs=ROUNDING)


def test_zero_is_zero(parts):
    _, test = parts
    inside = test.data["in_universe"].values
    values = Zero().fit(parts[0]).forecast(test).values
    assert (values[inside] == 0).all()
    assert np.isnan(values[~inside]).all()


# ---------------------------------------------------------------------- the contract


@pytest.mark.parametrize("baseline", ALL, ids=repr)
def test_a_forecast_is_labelled_finite_in_the_universe_and_nan_outside_it(parts, baseline):
    train, test = parts
    assert isinstance(baseline, Baseline)
    fitted = baseline.fit(train)
    assert isinstance(fitted, Forecaster)
    forecast = fitted.forecast(test)
    assert forecast.dims == ("time", "asset")
    assert forecast.dtype == np.float64
    for dim in forecast.dims:
        np.testing.assert_array_equal(forecast[dim], test.data[dim])
    np.testing.assert_array_equal(np.isfinite(forecast), test.data["in_universe"])
    assert forecast.attrs["units"] == "decimal per period, excess"
    assert np.isfinite(forecast.sel(time=test.live.times)).any(), "the live month has a forecast"


@pytest.mark.parametrize("baseline", ALL, ids=repr)
def test_returns_after_training_are_never_read(baseline):
    panel = made(seed=5)
    train, test = panel.split(panel.times[20])
    returns = panel.data["returns"].values.copy()
    returns[20:] = np.random.default_rng(1).normal(0, 0.3, returns[20:].shape)
    changed_train, changed_test = with_data(panel, returns=returns).split(panel.times[20])
    blank = with_data(test, returns=np.full(test.data["returns"].shape, np.nan))
    forecast = baseline.fit(train).forecast(test)
    for other in (changed_test, blank):
        xr.testing.assert_identical(baseline.fit(changed_train).forecast(other), forecast)


@pytest.mark.parametrize("baseline", ALL, ids=repr)
def test_a_month_s_forecast_does_not_depend_on_which_other_months_are_asked(parts, baseline):
    train, test = parts
    fitted = baseline.fit(train)
    forecast = fitted.forecast(test)
    for first in range(3):
        one = test.sel(time=[test.times[first]])
        xr.testing.assert_identical(fitted.forecast(one), forecast.sel(time=[test.times[first]]))


@pytest.mark.parametrize("baseline", ALL, ids=repr)
def test_cells_outside_the_universe_do_not_teach(parts, baseline):
    train, test = parts
    outside = train.data["in_universe"].values.copy()
    outside[:, 8] = False  # its returns stay
    assert train.data["observed"].values[:, 8].any()
    narrowed = train.data.assign(in_universe=(("time", "asset"), outside)).drop_vars("observed")
    absent = narrowed["returns"].values.copy()
    absent[:, 8] = np.nan
    with_returns = bf.Panel(narrowed, "monthly", "rank")
    without = bf.Panel(narrowed.assign(returns=(("time", "asset"), absent)), "monthly", "rank")
    found, want = (baseline.fit(panel).forecast(test) for panel in (with_returns, without))
    xr.testing.assert_identical(found, want)


@pytest.mark.parametrize("baseline", ALL, ids=repr)
def test_order_does_not_matter(parts, baseline):
    train, test = parts
    want = baseline.fit(train).forecast(test)
    reverse = list(reversed(train.characteristics))
    np.testing.assert_array_equal(baseline.fit(train).forecast(test.sel(characteristic=reverse)), want)
    fitted = baseline.fit(train.sel(characteristic=reverse))
    np.testing.assert_allclose(fitted.forecast(test), want, rtol=0, atol=ROUNDING)
    order = np.random.default_rng(3).permutation(train.data.sizes["asset"])
    moved = bf.Panel(train.data.isel(asset=order), "monthly", "rank")
    np.testing.assert_allclose(baseline.fit(moved).forecast(test), want, rtol=0, atol=ROUNDING)
    other = bf.Panel(test.data.isel(asset=order), "monthly", "rank")
    xr.testing.assert_identical(baseline.fit(train).forecast(other).sel(asset=want["asset"]), want)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.sampled_from([0.01, 0.5, 3.0]))
def test_forecasts_scale_with_returns(seed, scale):
    panel = bf.simulate.economy(n_months=8, n_assets=12, n_characteristics=2, seed=seed, missing=0.1).panel
    scaled = with_data(panel, returns=scale * panel.data["returns"].values)
    for baseline in ALL:
        forecast = scale * baseline.fit(panel).forecast(panel)
        np.testing.assert_allclose(baseline.fit(scaled).forecast(scaled), forecast, rtol=1e-9, atol=1e-12 * scale)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), shift=st.floats(-0.05, 0.05))
def test_a_constant_added_to_returns_is_added_to_forecasts(seed, shift):
    panel = bf.simulate.economy(n_months=8, n_assets=12, n_characteristics=2, seed=seed, ragged=True).panel
    shifted = with_data(panel, returns=panel.data["returns"].values + shift)
    for baseline in (HistoricalMean(), OLS(), Ridge(penalty=0.2)):
        forecast = baseline.fit(panel).forecast(panel)
        np.testing.assert_allclose(baseline.fit(shifted).forecast(shifted), forecast + shift, rtol=0, atol=1e-12)


# ---------------------------------------------------------------------- refusals


@pytest.mark.parametrize("baseline", LINEAR, ids=repr)
def test_raw_characteristics_are_refused_by_the_missing_call(baseline):
    raw = bf.datasets.us_equities(prepared=False)
    with pytest.raises(DataError, match=r"call panel.rank_normalise\(\)"):
        baseline.fit(raw)


def test_means_need_no_preparation():
    raw = bf.datasets.us_equities(prepared=False)
    assert np.isfinite(HistoricalMean().fit(raw).forecast(raw.live)).any()


@pytest.mark.parametrize("baseline", ALL[1:], ids=repr)
def test_a_window_without_returns_is_refused(parts, baseline):
    with pytest.raises(EmptyWindowError, match=r"none from 2003-01-31 to 2003-01-31\. Usually the live month"):
        baseline.fit(parts[1].live)


@pytest.mark.parametrize("baseline", ALL, ids=repr)
def test_what_is_no_panel_is_refused(parts, baseline):
    with pytest.raises(DataError, match="takes a Panel: found Dataset"):
        baseline.fit(parts[0].data)
    with pytest.raises(DataError, match="takes a Panel: found DataArray"):
        baseline.fit(parts[0]).forecast(parts[1].data["returns"])


@pytest.mark.parametrize("baseline", LINEAR, ids=repr)
def test_other_characteristics_are_refused(parts, baseline):
    train, test = parts
    fitted = baseline.fit(train)
    with pytest.raises(AlignmentError, match=r"lacks x2 \(1 in all\)"):
        fitted.forecast(test.sel(characteristic=["x1", "x3"]))
    with pytest.raises(AlignmentError, match=r"has besides x3 \(1 in all\)"):
        baseline.fit(train.sel(characteristic=["x1", "x2"])).forecast(test)
    other = bf.Panel(test.data, "monthly", "standardise")
    with pytest.raises(AlignmentError, match="prepared by 'rank', this panel's are 'standardise'"):
        fitted.forecast(other)


@pytest.mark.parametrize("baseline", ALL[1:], ids=repr)
def test_another_frequency_is_refused(parts, baseline):
    weekly = bf.simulate.economy(n_months=3, n_assets=5, n_characteristics=3, seed=1, frequency="weekly").panel
    with pytest.raises(AlignmentError, match="trained on monthly ones, this panel is weekly"):
        baseline.fit(parts[0]).forecast(weekly)


def test_infinite_values_never_reach_a_baseline_and_squares_that_overflow_are_refused(parts):
    train, _ = parts
    returns = train.data["returns"].values.copy()
    cell = tuple(np.argwhere((train.data["observed"] & train.data["in_universe"]).values)[0])
    returns[cell] = np.inf
    with pytest.raises(DataError, match="finite"):
        with_data(train, returns=returns)
    returns[cell] = 1e160
    with np.errstate(over="ignore"):
        absurd = with_data(train, returns=returns)
    with pytest.raises(DataError, match=rf"squares overflow in {train.times[cell[0]]:%Y-%m-%d} \(1 in all\)"):
        OLS().fit(absurd)
    returns[cell] = 1e100
    assert np.isfinite(OLS().fit(with_data(train, returns=returns)).coefficients).all()


@pytest.mark.parametrize("penalty", [-1e-9, np.inf, np.nan, True, "0.1"])
def test_an_impossible_penalty_is_refused(penalty):
    with pytest.raises(DataError, match="penalty must be a finite number, 0 or more"):
        Ridge(penalty=penalty)


def test_one_month_chooses_no_penalty():
    panel = bf.simulate.economy(n_months=2, n_assets=10, n_characteristics=2, seed=1).panel
    one = panel.sel(time=[panel.times[0]])
    with pytest.raises(DataError, match=r"at least 2 training months .* only 2000-02-29"):
        Ridge().fit(one)
    assert Ridge(penalty=0.1).fit(one).n_months == 1
    assert Ridge().fit(panel).n_months == 2
