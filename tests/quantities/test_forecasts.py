"""Expected returns and month densities against loops over draws, and against simulation from the month's law."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fits import LINEAR, NETWORK, each_draw, fit_of_draws, panel, prior_fit, stacked_prior_draws, train, with_data

import bayesfactor as bf
from bayesfactor.components import month
from bayesfactor.errors import DataError
from bayesfactor.quantities import month_log_likelihood

STUDENT_T = bf.FundamentalFactorModel(hidden=(3,), noise="student_t")


@pytest.mark.parametrize("model", [LINEAR, NETWORK, STUDENT_T], ids=["linear", "network", "student_t"])
def test_expected_returns_are_the_response_of_every_draw(model):
    fit = prior_fit(model)
    bands = bf.expected_returns(fit, panel(), prob=0.8)
    draws = bf.expected_returns(fit, panel(), summary="draws")["expected_return"].values.reshape(30, 24, 30)
    used = panel().data["in_universe"].values
    with jax.enable_x64(True):
        response = jax.jit(model.response)
        z = jnp.nan_to_num(panel().data["characteristics"].values.reshape(-1, 3))
        want = np.stack([np.asarray(response(params, z)) for params in each_draw(fit)]).reshape(draws.shape)
    want[:, ~used] = np.nan
    np.testing.assert_allclose(draws, want, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(bands["mean"], want.mean(axis=0), rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(bands["sd"], want.std(axis=0, ddof=1), rtol=1e-9)
    for name, level in (("lower", 0.1), ("upper", 0.9)):
        np.testing.assert_allclose(bands[name], np.quantile(want, level, axis=0), rtol=1e-9, atol=1e-14)


def test_there_is_a_number_for_every_stock_of_the_universe_and_no_other():
    found = bf.expected_returns(prior_fit(NETWORK), panel())
    used = panel().data["in_universe"].values
    for name in ("mean", "sd", "lower", "upper", "predictive_sd"):
        np.testing.assert_array_equal(np.isfinite(found[name].values), used, err_msg=name)
    assert found.attrs["units"] == "decimal per period, excess"


def test_the_live_month_has_a_forecast():
    live = panel().live
    assert list(live.times) == [panel().times[-1]]
    alone = bf.expected_returns(prior_fit(NETWORK), live)
    within = bf.expected_returns(prior_fit(NETWORK), panel()).sel(time=live.times)
    for name in within.data_vars:
        np.testing.assert_allclose(alone[name], within.sel(asset=alone["asset"])[name], rtol=1e-12)


def test_a_small_memory_bound_gives_the_same_forecasts():
    want = bf.expected_returns(prior_fit(NETWORK), panel())
    found = bf.expected_returns(prior_fit(NETWORK), panel(), memory_mib=0.05)
    for name in want.data_vars:
        np.testing.assert_allclose(found[name], want[name], rtol=1e-12)


def with_known_tails(model, df):
    draws = stacked_prior_draws(model, train(), 15)
    if "degrees_of_freedom" in draws:
        draws["degrees_of_freedom"] = np.full_like(draws["degrees_of_freedom"], df)
    return fit_of_draws(model, draws)


@pytest.mark.parametrize("model", [LINEAR, STUDENT_T], ids=["normal", "student_t"])
def test_predictive_sd_is_the_sd_of_simulated_months(model):
    fit = with_known_tails(model, 8.0)
    position, n_months = 4, 4000
    z = np.nan_to_num(panel().data["characteristics"].values[position])
    with jax.enable_x64(True):
        simulate = jax.jit(
            lambda params, keys: jax.vmap(lambda key: month.simulate(key, model.month_law(params, z)))(keys)
        )
        simulated = [
            np.asarray(simulate(params, jax.random.split(jax.random.key(number), n_months)))
            for number, params in enumerate(each_draw(fit))
        ]
    n_draws = len(simulated)
    # Variance between draws with n - 1, as everywhere in the package.
    within = np.mean([part.var(axis=0) for part in simulated], axis=0)
    between = np.mean(simulated, axis=1).var(axis=0) * n_draws / (n_draws - 1)
    used = panel().data["in_universe"].values[position]
    found = bf.expected_returns(fit, panel())["predictive_sd"].values[position]
    np.testing.assert_allclose(found[used], np.sqrt(within + between)[used], rtol=0.02)


@pytest.mark.parametrize("model", [LINEAR, NETWORK, STUDENT_T], ids=["linear", "network", "student_t"])
def test_month_densities_are_those_of_every_draw_and_month(model):
    fit, arrays = prior_fit(model), panel().arrays()
    found = month_log_likelihood(fit, panel(), seed=4)
    assert found.dims == ("chain", "draw", "time")
    assert list(found["time"].values) == list(panel().times[:23].values), "the live month has no density"
    with jax.enable_x64(True):
        one = jax.jit(
            lambda params, z, r, seen, key: month.marginal_log_density(model.month_law(params, z), r, seen, key)
        )
        for draw, params in enumerate(each_draw(fit)[::6]):
            for t in (0, 7, 22):
                day = int(panel().times.values[t].astype("datetime64[D]").astype(int))
                key = jax.random.fold_in(jax.random.fold_in(jax.random.key(4), 6 * draw), day)
                want = one(params, arrays.characteristics[t], arrays.returns[t], arrays.observed[t], key)
                value = found.values.reshape(30, 23)[6 * draw, t]
                assert value == pytest.approx(float(want), rel=1e-9)


def test_month_densities_do_not_depend_on_the_order_of_stocks():
    order = np.random.default_rng(1).permutation(30)
    shuffled = bf.Panel(panel().data.isel(asset=order), "monthly", "rank")
    for model in (NETWORK, STUDENT_T):
        found, want = (month_log_likelihood(prior_fit(model), part) for part in (shuffled, panel()))
        np.testing.assert_allclose(found, want, rtol=1e-9)


def test_a_stock_without_a_return_has_no_part_in_the_density():
    """Its characteristics, known or not, do not matter; another stock's return does."""
    t, lost = 3, int(np.flatnonzero(panel().data["observed"].values[3])[0])
    returns = panel().data["returns"].values.copy()
    returns[t, lost] = np.nan
    without = with_data(panel(), returns=returns)
    z = panel().data["characteristics"].values.copy()
    z[t, lost] = [0.9, -0.9, 0.9]
    moved = with_data(panel(), returns=returns, characteristics=z)
    found, want, full = (month_log_likelihood(prior_fit(NETWORK), part) for part in (moved, without, panel()))
    np.testing.assert_array_equal(found.values, want.values)
    assert (np.abs(full.values[..., t] - want.values[..., t]) > 1e-6).all()


def test_draws_beyond_the_memory_bound_are_refused_with_their_size():
    with pytest.raises(DataError, match=r"all draws of 24 periods and 30 assets need .* memory_mib is 0\.05"):
        bf.expected_returns(prior_fit(LINEAR), panel(), summary="draws", memory_mib=0.05)
