"""What the model refuses, and its functions of one draw."""

from __future__ import annotations

import math

import equinox as eqx
import jax
import numpy as np
import pytest
from fits import LINEAR, NETWORK, fitted, panel, prior_draw, prior_fit, train, with_data

import bayesfactor as bf
from bayesfactor.errors import DataError, DataWarning, UnsupportedQuantityError
from bayesfactor.quantities import month_log_likelihood


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"activation": "sigmoid"}, "activation must be one of 'tanh', 'relu', 'softplus', 'identity': got 'sigmoid'"),
        ({"pooling": "all"}, "pooling must be one of 'partial', 'full', 'none': got 'all'"),
        ({"noise": "cauchy"}, "noise must be one of 'normal', 'student_t', 'laplace', 'huber': got 'cauchy'"),
        ({"huber_delta": 0.0}, "huber_delta must be positive and finite: got 0.0"),
        ({"input_prior": "lasso"}, "input_prior must be one of 'normal', 'ard', 'horseshoe': got 'lasso'"),
        ({"hidden": (8, 0)}, r"at least one unit: got hidden=\(8, 0\)"),
        ({"slope_sd": 0.0}, "prior scales must be positive: got {'slope_sd': 0.0}"),
        ({"slope_variation": -1.0}, "prior scales must be positive: got {'slope_variation': -1.0}"),
        ({"intercept_sd": math.nan}, "prior scales must be positive"),
        ({"intercept_variation": 0.0}, "prior scales must be positive"),
        ({"noise_variation": 0.0}, "prior scales must be positive"),
        ({"slope_sd": math.inf}, r"flat prior \(slope_sd=inf\) needs the linear model"),
        ({"hidden": (), "slope_sd": math.inf, "input_prior": "ard"}, "input_prior='normal'"),
        ({"network": eqx.nn.Identity()}, r"either network= or hidden=, not both: got hidden=\(8,\)"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(DataError, match=message):
        bf.FundamentalFactorModel(**arguments)


def test_a_feature_network_must_return_a_vector():
    model = bf.FundamentalFactorModel(hidden=(), network=eqx.nn.Lambda(lambda z: z.sum()))
    with pytest.raises(DataError, match=r"\(characteristic,\) to \(feature,\): it returns shape \(\)"):
        model.feature_names(("a", "b"))


def with_few_returns(months):
    """Only 3 observed stocks, one fewer than the linear model's slopes, in the first of the months."""
    returns = panel().data["returns"].values.copy()
    for month in range(months):
        seen = np.flatnonzero(~np.isnan(returns[month]))
        returns[month, seen[3:]] = np.nan
    return with_data(panel(), returns=returns).sel(time=slice(None, panel().times[22])).arrays()


def check(model, arrays):
    model.check(arrays.observed.sum(axis=1), arrays.varies.shape[0], panel().times)


def test_a_month_with_fewer_stocks_than_slopes_warns_and_names_it():
    with pytest.warns(DataWarning, match=r"as the model has slopes \(4\).*have fewer: 2000-02-29 \(1 in all"):
        check(LINEAR, with_few_returns(1))


def test_many_such_months_are_refused():
    with pytest.raises(DataError, match=r"9% of the months have fewer: 2000-02-29, 2000-03-31 \(2 in all"):
        check(LINEAR, with_few_returns(2))


def test_exactly_as_many_stocks_as_slopes_will_do():
    arrays = with_few_returns(0)
    few = np.zeros_like(arrays.observed)
    few[:, :4] = arrays.observed[:, :4]
    for month in range(len(few)):
        few[month] = False
        few[month, np.flatnonzero(arrays.observed[month])[:4]] = True
    check(LINEAR, arrays._replace(observed=few))  # warnings are errors here


def test_full_pooling_does_not_ask_for_large_months_and_networks_count_their_units():
    arrays = with_few_returns(2)
    with pytest.raises(DataError, match=r"slopes \(4\)"):
        check(NETWORK, arrays)
    check(bf.FundamentalFactorModel(hidden=(2,)), arrays)
    check(bf.FundamentalFactorModel(hidden=(), pooling="full"), arrays)


@pytest.mark.parametrize(
    "arguments",
    [
        {"hidden": (3,), "pooling": "full", "noise": "normal"},
        {"hidden": (), "pooling": "partial", "noise": "normal"},
        {"hidden": (), "pooling": "full", "noise": "student_t"},
        {"hidden": (), "pooling": "full", "noise": "normal", "input_prior": "ard"},
    ],
)
def test_only_the_conjugate_model_is_a_regression(arguments):
    model = bf.FundamentalFactorModel(**arguments)
    with pytest.raises(UnsupportedQuantityError, match=r"conjugate model.*Use NUTS"):
        bf.fit(model, panel(), bf.Exact())


@pytest.mark.parametrize("noise", ["normal", "student_t", "laplace", "huber"])
@pytest.mark.parametrize("pooling", ["partial", "full"])
def test_every_noise_gives_what_the_others_give(pooling, noise):
    model = bf.FundamentalFactorModel(hidden=(), pooling=pooling, noise=noise)
    fit = prior_fit(model)
    shocks = {"shock"} if pooling == "partial" and noise != "normal" else set()
    tails = {"degrees_of_freedom"} if noise == "student_t" else set()
    variation = {"slope_scale", "slope_correlation_root", "noise_variation", "noise_scale"}
    shared = {"slope_mean", "noise_level"} | (variation if pooling == "partial" else set())
    assert set(fit.tree["posterior"].data_vars) == shared | shocks | tails
    forecast = bf.expected_returns(fit, panel())
    assert (forecast["predictive_sd"].values[panel().data["in_universe"].values] > 0).all()
    assert np.isfinite(month_log_likelihood(fit, panel()).values).all()
    with pytest.raises(UnsupportedQuantityError, match="linear model has no interactions"):
        bf.interactions(fit, panel())


@pytest.mark.parametrize("noise", ["laplace", "huber"])
def test_a_sampled_fit_has_finite_diagnostics(noise):
    model = bf.FundamentalFactorModel(hidden=(), noise=noise)
    fit = fitted(model, train(), bf.NUTS(warmup=150, draws=100, chains=2, precision="float64"))
    table = fit.summary()
    assert len(table) > 5
    assert np.isfinite(table.select_dtypes("number")).all(axis=None), table


@pytest.mark.parametrize("input_prior", ["ard", "horseshoe"])
def test_input_scales_multiply_what_a_characteristic_contributes(input_prior):
    model = bf.FundamentalFactorModel(hidden=(3,), noise="normal", input_prior=input_prior)
    with jax.enable_x64(True):
        draw = prior_draw(model, model.data(panel().arrays()), 0)
    assert draw["input_scale"].shape == (3,)
    assert (draw["input_scale"] > 0).all()
    standard = draw["network.network.layers[0].weight_decentered"]
    want = standard * draw["network_scale_0"] / np.sqrt(3) * draw["input_scale"]
    np.testing.assert_allclose(draw["network.layers[0].weight"], want, rtol=1e-10)


def test_diagnosed_functions_do_not_depend_on_how_units_are_labelled():
    with jax.enable_x64(True):
        arrays = panel().arrays()
        draw = prior_draw(NETWORK, arrays, 2)
        swap = np.array([2, 0, 1])
        features = np.array([0, *(1 + swap)])
        root = draw["slope_scale"][:, None] * draw["slope_correlation_root"]
        covariance = (root @ root.T)[np.ix_(features, features)]
        scale = np.sqrt(np.diag(covariance))
        swapped = draw | {
            "network.layers[0].weight": draw["network.layers[0].weight"][swap],
            "network.layers[0].bias": draw["network.layers[0].bias"][swap],
            "slope_mean": draw["slope_mean"][features],
            "slope_scale": scale,
            "slope_correlation_root": np.linalg.cholesky(covariance / scale[:, None] / scale),
        }
        functions = jax.jit(NETWORK.functions)
        found, want = (functions(params, arrays.characteristics[0]) for params in (swapped, draw))
    assert set(want) == {"response", "sensitivity", "common_sd", "noise_level", "noise_variation"}
    for name, value in want.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-8, atol=1e-14, err_msg=name)
