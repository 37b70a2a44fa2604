"""``pooling="none"``: every month is a fit of its own, and no forecast knows a later month."""

from __future__ import annotations

import functools
import math
import re
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from fits import fit_of_draws, fitted, panel, train, with_data

import bayesfactor as bf
from bayesfactor.errors import ConvergenceError, DataError, DataWarning, EmptyWindowError, UnsupportedQuantityError
from bayesfactor.inference.by_month import MONTH_STEPS, month_keys, settings_by_month
from bayesfactor.inference.diagnostics import of_guide, verdict_by_month
from bayesfactor.inference.variational import run_svi
from bayesfactor.quantities import month_log_likelihood

NONE = {"pooling": "none", "noise": "normal"}
LINEAR = bf.FundamentalFactorModel(hidden=(), **NONE)
FLAT = bf.FundamentalFactorModel(hidden=(), slope_sd=math.inf, **NONE)
NETWORK = bf.FundamentalFactorModel(hidden=(2,), **NONE)
SVI = bf.SVI(steps=300, draws=200, restarts=2, polish=8, precision="float64")
FEW = bf.SVI(steps=100, draws=50, restarts=2, polish=4, precision="float64")


@functools.cache
def linear_fit() -> bf.Fit:
    return fitted(LINEAR, train(), SVI)


@functools.cache
def gap_fit() -> bf.Fit:
    """Without the first and the ninth month."""
    return fitted(LINEAR, train().sel(time=train().times.delete([0, 8])), SVI)


@functools.cache
def network_fit() -> bf.Fit:
    return fitted(NETWORK, train(), FEW)


def posterior(fit: bf.Fit, name: str) -> np.ndarray:
    return fit.tree["posterior"][name].values


def ols(month: int) -> tuple[np.ndarray, np.ndarray]:
    """Slopes of a training month and their standard errors."""
    arrays = train().arrays()
    seen = arrays.observed[month]
    x = np.column_stack([np.ones(seen.sum()), arrays.characteristics[month, seen]])
    slopes, square, *_ = np.linalg.lstsq(x, arrays.returns[month, seen], rcond=None)
    return slopes, np.sqrt(square / (seen.sum() - x.shape[1]) * np.diag(np.linalg.inv(x.T @ x)))


@pytest.mark.parametrize("fit", [linear_fit, network_fit], ids=["linear", "network"])
def test_a_month_is_the_fully_pooled_model_of_that_month(fit):
    model, inference = fit().model, fit().inference
    key = month_keys(0, train().times)
    full = replace(model, pooling="full")
    for month in (0, 7):
        with jax.enable_x64(True):
            data = full.data(train().sel(time=train().times[[month]]).arrays())
            alone = run_svi(full, data, inference, key[month])
        for name in ("slope_mean", "noise_level"):
            found = posterior(fit(), name)[:, :, month]
            np.testing.assert_allclose(found, alone.posterior[name], rtol=1e-5, atol=1e-7, err_msg=name)
        np.testing.assert_allclose(fit().tree["guide"]["khat"].values[:, month], alone.guide["khat"], rtol=1e-4)


@pytest.mark.parametrize("inference", [SVI, bf.NUTS(warmup=200, draws=200, chains=2)], ids=["SVI", "NUTS"])
def test_a_flat_prior_gives_each_month_its_least_squares(inference):
    slopes = posterior(fitted(FLAT, train(), inference), "slope_mean")
    for month in range(len(train().times)):
        want, error = ols(month)
        mean, sd = slopes[:, :, month].mean(axis=(0, 1)), slopes[:, :, month].std(axis=(0, 1))
        assert (np.abs(mean - want) < 6 * error / np.sqrt(200)).all(), month
        assert (np.abs(np.log(sd / error)) < math.log(1.35)).all(), month


def test_draws_of_different_months_are_independent():
    """With the same random numbers in every month, averages over months would be far too uncertain."""
    slopes = posterior(linear_fit(), "slope_mean")[..., 1].reshape(400, -1)
    between = np.corrcoef(slopes.T)[np.triu_indices(slopes.shape[1], 1)]
    assert np.abs(between).max() < 0.25
    assert abs(between.mean()) < 0.02


@pytest.mark.parametrize("model", [LINEAR, NETWORK], ids=["linear", "network"])
def test_a_forecast_does_not_know_later_returns(model):
    first = {LINEAR: linear_fit, NETWORK: network_fit}[model]()
    returns = train().data["returns"].values.copy()
    returns[10:] *= np.random.default_rng(0).uniform(-2, 5, returns[10:].shape)
    changed = with_data(train(), returns=returns)
    second = fitted(model, changed, first.inference)
    for name in first.tree["posterior"].data_vars:
        np.testing.assert_array_equal(posterior(first, name)[:, :, :10], posterior(second, name)[:, :, :10])
    before, after = (
        bf.expected_returns(fit, data)["mean"].values for fit, data in ((first, train()), (second, changed))
    )
    np.testing.assert_array_equal(before[:11], after[:11])
    traded = train().data["in_universe"].values[11]
    assert (before[11, traded] != after[11, traded]).all()


def test_the_automatic_number_of_steps_is_a_number():
    """A stopping rule shared by the months would carry later months into earlier forecasts."""
    assert settings_by_month(bf.SVI()) == bf.SVI(steps=MONTH_STEPS)
    assert settings_by_month(SVI) == SVI


def test_permuting_months_permutes_results():
    order = np.random.default_rng(1).permutation(len(train().times))
    with jax.enable_x64(True):
        data, keys = LINEAR.data(train().arrays()), month_keys(0, train().times)
        draws = run_svi(LINEAR, jax.tree.map(lambda leaf: leaf[order], data), SVI, keys[order], many=True)
    want = np.moveaxis(posterior(linear_fit(), "slope_mean"), 2, 0)[order]
    np.testing.assert_allclose(draws.posterior["slope_mean"], want, rtol=1e-9, atol=1e-12)


def test_a_month_is_the_same_in_any_window():
    kept = np.delete(posterior(linear_fit(), "slope_mean"), [0, 8], axis=2)
    np.testing.assert_allclose(posterior(gap_fit(), "slope_mean"), kept, rtol=1e-9, atol=1e-12)


def test_each_month_has_its_own_prior_scale():
    arrays = train().arrays()
    scales = LINEAR.data(arrays).return_scale
    for month, scale in enumerate(scales):
        assert scale == pytest.approx(arrays.returns[month, arrays.observed[month]].std(ddof=1), rel=1e-12)
    one = LINEAR.data(train().sel(time=train().times[[3]]).arrays())
    assert one.return_scale[0] == pytest.approx(scales[3], rel=1e-12)


def test_a_month_is_forecast_from_the_latest_month_before_it():
    fit = linear_fit()
    slopes, gap = posterior(fit, "slope_mean"), posterior(gap_fit(), "slope_mean")
    forecast = bf.expected_returns(fit, panel())["mean"].values
    of_gap = bf.expected_returns(gap_fit(), panel())["mean"].values
    z, used = panel().data["characteristics"].values, panel().data["in_universe"].values

    def want(month, params):
        row = params.mean(axis=(0, 1))
        return row[0] + z[month, used[month]] @ row[1:]

    for month in range(1, len(panel().times)):  # the last months are after the training window, the very last is live
        np.testing.assert_allclose(forecast[month, used[month]], want(month, slopes[:, :, min(month, 18) - 1]), 1e-7)
    np.testing.assert_allclose(of_gap[9, used[9]], want(9, gap[:, :, 6]), 1e-7)
    np.testing.assert_allclose(of_gap[10, used[10]], want(10, gap[:, :, 7]), 1e-7)
    assert np.isnan(forecast[0]).all()
    assert np.isnan(forecast[~used]).all()


def test_the_first_month_alone_has_no_forecast_and_the_error_says_why():
    first = train().sel(time=train().times[[0]])
    with pytest.raises(EmptyWindowError, match=r"latest month fitted before a month: the first is 2000-02-29"):
        bf.expected_returns(linear_fit(), first)
    with pytest.raises(EmptyWindowError, match="the first is 2000-02-29"):
        month_log_likelihood(linear_fit(), first)
    with pytest.raises(EmptyWindowError, match="the first is of 2000-03-31"):
        bf.sensitivities(gap_fit(), train())


def test_draws_of_forecasts_are_those_of_the_bands():
    fit = linear_fit()
    draws = bf.expected_returns(fit, train(), summary="draws")["expected_return"]
    assert draws.dims == ("chain", "draw", "time", "asset")
    assert np.isnan(draws[:, :, 0]).all()
    mean = bf.expected_returns(fit, train())["mean"]
    np.testing.assert_allclose(draws.mean(["chain", "draw"]), mean, rtol=1e-9, atol=1e-15)


def test_later_months_are_scored_by_the_last_fitted_one():
    last = {name: posterior(network_fit(), name)[:, :, -1] for name in network_fit().tree["posterior"].data_vars}
    full = fit_of_draws(replace(NETWORK, pooling="full"), last)
    later = panel().sel(time=panel().times[18:])
    found = month_log_likelihood(network_fit(), later)
    np.testing.assert_allclose(found.values, month_log_likelihood(full, later).values, rtol=1e-8)
    scores = bf.month_scores(network_fit(), later)
    assert np.isfinite(scores["score"]).all()
    assert np.isnan(month_log_likelihood(network_fit(), train()).values[:, :, 0]).all()


def test_sensitivities_of_a_fitted_month_are_its_own():
    fit = linear_fit()
    slopes = posterior(fit, "slope_mean")[..., 1:]
    by_time = bf.sensitivities(fit, panel(), by="time")["mean"].values
    np.testing.assert_allclose(by_time[:18], slopes.mean(axis=(0, 1)), rtol=1e-7)
    np.testing.assert_allclose(by_time[18:], np.broadcast_to(slopes[:, :, 17].mean(axis=(0, 1)), (6, 3)), rtol=1e-7)
    draws = bf.sensitivities(fit, train(), summary="draws")["sensitivity"].values
    np.testing.assert_allclose(draws, slopes.mean(axis=2), rtol=1e-7)
    by_asset = bf.sensitivities(fit, train(), by="asset")
    used = train().data["in_universe"].values
    for asset, name in enumerate(train().data["asset"].values):
        if used[:, asset].any():
            want = slopes[:, :, used[:, asset]].mean(axis=(0, 1, 2))
            np.testing.assert_allclose(by_asset["mean"].sel(asset=name), want, rtol=1e-7)


def test_derivatives_of_a_network_are_those_of_each_months_network():
    fit, source = network_fit(), train()
    arrays = source.arrays()
    monthly, squares, total = [], [], {}
    derivatives = jax.jit(
        lambda params, z: (
            NETWORK.gradient(params, z),
            jax.vmap(jax.hessian(lambda row: NETWORK.response(params, row[None])[0]))(z),
        )
    )
    for month in range(len(source.times)):
        used = arrays.in_universe[month]
        one = {name: posterior(fit, name)[1, 4, month] for name in fit.tree["posterior"].data_vars}
        with jax.enable_x64(True):
            gradient, hessian = (np.asarray(part)[used] for part in derivatives(one, arrays.characteristics[month]))
        monthly.append(gradient.mean(axis=0))
        squares.append(hessian.mean(axis=0))
        for asset, row in zip(arrays.asset[month][arrays.in_universe[month]], gradient, strict=True):
            total.setdefault(int(asset), []).append(row)
    by_time = bf.sensitivities(fit, source, by="time", summary="draws")["sensitivity"].values[1, 4]
    np.testing.assert_allclose(by_time, monthly, rtol=1e-6, atol=1e-12)
    by_asset = bf.sensitivities(fit, source, by="asset", summary="draws")["sensitivity"].values[1, 4]
    np.testing.assert_allclose(by_asset, [np.mean(total[asset], axis=0) for asset in sorted(total)], 1e-6, 1e-12)
    pairs = bf.interactions(fit, source, summary="draws")["interaction"].values[1, 4]
    np.testing.assert_allclose(pairs, np.mean(squares, axis=0)[np.triu_indices(3, 1)], rtol=1e-6, atol=1e-12)


def test_the_bound_is_of_one_network():
    relu = bf.FundamentalFactorModel(hidden=(2,), activation="relu", **NONE)
    draws = {name: posterior(network_fit(), name) for name in network_fit().tree["posterior"].data_vars}
    with pytest.raises(UnsupportedQuantityError, match="is of one network, and pooling='none' has one a month"):
        bf.sensitivity_bound(fit_of_draws(relu, draws), train())


def test_posterior_and_guide_are_labelled_and_survive_a_file(tmp_path):
    fit = network_fit()
    again = bf.load(fit.save(tmp_path / "fit.nc"))
    tree = again.tree
    assert tree["posterior"]["slope_mean"].dims == ("chain", "draw", "time", "feature")
    assert tree["posterior"]["network.layers[0].weight"].dims[:3] == ("chain", "draw", "time")
    assert tree["guide"]["khat"].dims == ("chain", "time")
    assert list(tree["guide"]["time"].values) == list(train().times.values)
    assert again.model == NETWORK
    for name, values in fit.tree["posterior"].data_vars.items():
        np.testing.assert_array_equal(tree["posterior"][name].values, values.values)
    want = bf.expected_returns(fit, panel())
    xr.testing.assert_equal(bf.expected_returns(again, panel()), want)
    redrawn = bf.redraw(again, train(), seed=0)
    np.testing.assert_allclose(posterior(redrawn, "slope_mean"), posterior(fit, "slope_mean"), rtol=1e-6, atol=1e-9)


def test_summary_is_of_averages_over_months():
    table = linear_fit().summary()
    assert {"noise_level", "slope_mean[intercept]", "response[0]"} <= set(table.index)
    assert table.loc["noise_level", "mean"] == pytest.approx(posterior(linear_fit(), "noise_level").mean())


def test_a_checkpoint_gives_the_same_bits(tmp_path):
    path = tmp_path / "run"

    def once():
        with pytest.warns(bf.errors.ConvergenceWarning):
            return bf.fit(LINEAR, train(), SVI, checkpoint=path)

    first, second = once(), once()
    for fit in (first, second):
        np.testing.assert_array_equal(posterior(fit, "slope_mean"), posterior(linear_fit(), "slope_mean"))


def with_returns(month, values):
    """The training panel with its first observed returns of a month replaced, and the other ones of it missing."""
    returns = train().data["returns"].values.copy()
    seen = np.flatnonzero(~np.isnan(returns[month]))
    returns[month] = np.nan
    returns[month, seen[: len(values)]] = values
    return with_data(train(), returns=returns)


def test_small_months_rest_on_the_prior_and_are_named():
    with pytest.warns(DataWarning, match=r"than the model has parameters \(5\) rest on the prior: 2000-05-31 \(1 in"):
        fit = fitted(LINEAR, with_returns(3, [0.01, -0.02]), SVI)
    sd = posterior(fit, "slope_mean").std(axis=(0, 1))
    np.testing.assert_allclose(sd[3, 1:], LINEAR.slope_sd, rtol=0.15)


@pytest.mark.parametrize(
    ("model", "values", "message"),
    [
        (LINEAR, [0.01], "at least 2 observed stocks; not so in 2000-05-31"),
        (LINEAR, [0.01, 0.01, 0.01], "its returns must differ between stocks; not so in 2000-05-31"),
        (FLAT, [0.01, 0.02, 0.03], "a flat prior needs its slopes told apart; not so in 2000-05-31"),
    ],
)
def test_months_from_which_nothing_can_be_learnt_are_refused(model, values, message):
    with pytest.raises(DataError, match=message):
        bf.fit(model, with_returns(3, values), FEW)


def test_what_cannot_be_run_by_month_is_refused():
    with pytest.raises(DataError, match="there is no minibatch: got batch=4"):
        bf.fit(LINEAR, train(), bf.SVI(batch=4))
    with pytest.raises(DataError, match=r"SVI\(\) or NUTS\(\)"):
        bf.fit(LINEAR, train(), bf.Exact())
    with pytest.raises(DataError, match="the program is that of one month, and this panel has 18"):
        LINEAR(train().arrays())


def judged(rhat_bad=0, hopeless=0, nan=0, n_months=100):
    """Verdict on independent draws of so many months, some of them spoilt."""
    values = np.random.default_rng(0).standard_normal((4, 500, n_months, 3))
    values[0, :, :rhat_bad, 0] += 0.5
    values[0, :, :hopeless, 1] += 5.0
    values[1, 3, :nan, 2] = np.nan
    times = pd.date_range("2000-01-31", periods=n_months, freq="ME")
    data = xr.Dataset({"f": (["chain", "draw", "time", "k"], values)}, coords={"time": times})
    return verdict_by_month(data, None)


@pytest.mark.parametrize(
    ("spoilt", "status", "reason"),
    [
        ({}, "ok", ""),
        ({"rhat_bad": 5}, "ok", ""),
        ({"rhat_bad": 6}, "warn", r"6 of 100 months have an R-hat that is not below 1\.01; the worst first"),
        ({"hopeless": 1}, "warn", "1 of 100 months have an R-hat.*1 hopelessly so; the worst first: 2000-01-31"),
        ({"hopeless": 6}, "failed", "6 of 100 months have an R-hat.*6 hopelessly so"),
        ({"nan": 1}, "failed", "1 of 100 months have an R-hat.*1 one that cannot be computed"),
    ],
)
def test_the_verdict_goes_by_the_share_of_months(spoilt, status, reason):
    found = judged(**spoilt)
    assert found.status == status
    assert (not found.reasons) == (status == "ok")
    if reason:
        assert re.search(reason, found.reasons[0]), found.reasons[0]


@pytest.mark.parametrize(("bad", "status"), [(0, "ok"), (5, "ok"), (6, "not ok")])
@pytest.mark.parametrize("value", [0.7, np.nan])
def test_k_hat_is_judged_by_the_share_of_months(bad, status, value):
    khat = np.full((2, 100), 0.3)
    khat[1, :bad] = value
    not_ok = "failed" if np.isnan(value) else "warn"
    assert of_guide(khat).status == (not_ok if status == "not ok" else status)


@pytest.mark.parametrize("inference", [FEW, bf.NUTS(warmup=20, draws=4, chains=2)])
def test_a_month_that_cannot_start_is_named(inference):
    class Fragile(eqx.Module):
        weight: jax.Array = eqx.field(default_factory=lambda: jnp.ones(2))

        def __call__(self, z):
            return self.weight * jnp.where(jnp.max(jnp.abs(z)) > 8.0, jnp.nan, 1.0) * z[:2]

    third = train().times[2]
    z = train().data["characteristics"].copy()
    z[2, np.argmax(train().data["in_universe"].values[2]), 0] = 9.0
    spoiled = bf.Panel(train().data.assign(characteristics=z), train().frequency, "standardise")
    model = bf.FundamentalFactorModel(hidden=(), network=Fragile(), **NONE)
    with pytest.raises(ConvergenceError, match=rf"\({third:%Y-%m-%d}, (chain|restart) 0\)"):
        bf.fit(model, spoiled, inference, progress=False)
