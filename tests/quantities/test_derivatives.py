"""Sensitivities and interactions against slow loops of automatic differentiation over draws, months and stocks."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fits import LINEAR, NETWORK, each_draw, network_fit, panel, prior_fit
from scipy.stats import rankdata

import bayesfactor as bf
from bayesfactor.errors import AlignmentError, DataError, UnsupportedQuantityError

DEEP = bf.FundamentalFactorModel(hidden=(3, 2), noise="normal")
SOFTPLUS = bf.FundamentalFactorModel(hidden=(3,), activation="softplus", noise="normal")
RELU = bf.FundamentalFactorModel(hidden=(3,), activation="relu", noise="normal")
MODELS = pytest.mark.parametrize(
    "model", [LINEAR, NETWORK, DEEP, SOFTPLUS, RELU], ids=lambda m: f"{m.activation}{m.hidden}"
)
CURVED = pytest.mark.parametrize("model", [NETWORK, DEEP, SOFTPLUS], ids=lambda m: f"{m.activation}{m.hidden}")


@functools.cache
def slow(model, order):
    """Derivatives (draw, month, stock, ...) of one stock's response by autodiff, NaN outside the universe."""
    derivative = jax.grad if order == 1 else jax.hessian
    with jax.enable_x64(True):
        one = jax.jit(jax.vmap(derivative(lambda z, params: model.response(params, z[None])[0]), (0, None)))
        z = panel().data["characteristics"].values
        used = panel().data["in_universe"].values
        result = []
        for params in each_draw(prior_fit(model)):
            months = [np.asarray(one(jnp.nan_to_num(month), params)) for month in z]
            result.append(np.stack(months))
    values = np.stack(result)
    values[:, ~used] = np.nan
    return values


def averages(model, order, by):
    """Per draw: mean and root mean square over stocks, then (by="panel") over months with equal weights."""
    values = slow(model, order)
    axes = {"panel": (2, 1), "time": (2,), "asset": (1,)}[by]
    mean, square = values, values**2
    for axis in axes:
        mean, square = np.nanmean(mean, axis=axis), np.nanmean(square, axis=axis)
    return mean, square


def check_bands(found, draws, square, prob=0.9):
    lower, upper = np.quantile(draws, [(1 - prob) / 2, (1 + prob) / 2], axis=0)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-7, atol=1e-9)
    close(found["mean"], draws.mean(axis=0))
    close(found["sd"], draws.std(axis=0, ddof=1))
    close(found["lower"], lower)
    close(found["upper"], upper)
    close(found["prob_positive"], (draws > 0).mean(axis=0))
    close(found["panel_sd"], np.sqrt(np.maximum(square - draws**2, 0)).mean(axis=0), atol=1e-8)


def check_ranks(found, square, prob=0.9):
    ranks = rankdata(-np.sqrt(square), axis=-1)
    for name, level in (("rank_lower", (1 - prob) / 2), ("rank_median", 0.5), ("rank_upper", (1 + prob) / 2)):
        np.testing.assert_allclose(found[name], np.quantile(ranks, level, axis=0))


@MODELS
def test_sensitivities_are_the_average_gradient(model):
    found = bf.sensitivities(prior_fit(model), panel())
    draws, square = averages(model, 1, "panel")
    check_bands(found, draws, square)
    check_ranks(found, square)
    assert found.attrs["units"] == "decimal per period per unit of the prepared characteristic"
    assert found.attrs["status"] == "ok"


def test_months_count_equally_however_many_stocks_they_have():
    draws, _ = averages(NETWORK, 1, "panel")
    pooled = np.nanmean(slow(NETWORK, 1), axis=(1, 2))
    assert np.abs(draws - pooled).max() > 1e-6, "the panel must tell the two averages apart"
    np.testing.assert_allclose(
        bf.sensitivities(prior_fit(NETWORK), panel())["mean"], draws.mean(axis=0), rtol=1e-7, atol=1e-12
    )


@pytest.mark.parametrize("by", ["time", "asset"])
def test_sensitivities_by_group(by):
    found = bf.sensitivities(prior_fit(NETWORK), panel(), by=by, prob=0.8)
    draws, square = averages(NETWORK, 1, by)
    assert found["mean"].dims == (by, "characteristic")
    np.testing.assert_array_equal(found[by], panel().data[by])
    check_bands(found, draws, square, prob=0.8)
    for group in range(3):
        check_ranks(found.isel({by: group}), square[:, group], prob=0.8)


@pytest.mark.parametrize("by", ["panel", "time", "asset"])
def test_draws_are_those_that_the_bands_summarise(by):
    draws, square = averages(NETWORK, 1, by)
    found = bf.sensitivities(prior_fit(NETWORK), panel(), by=by, summary="draws")
    sensitivity = found["sensitivity"].values
    assert found["sensitivity"].dims[:2] == ("chain", "draw")
    np.testing.assert_allclose(sensitivity.reshape(draws.shape), draws, rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(found["rms"].values.reshape(square.shape), np.sqrt(square), rtol=1e-7)


@pytest.mark.parametrize("by", ["panel", "time", "asset"])
def test_a_small_memory_bound_gives_the_same_numbers(by):
    want = bf.sensitivities(prior_fit(NETWORK), panel(), by=by)
    found = bf.sensitivities(prior_fit(NETWORK), panel(), by=by, memory_mib=0.01)
    for name in want.data_vars:
        np.testing.assert_allclose(found[name], want[name], rtol=1e-9, atol=1e-10)


def test_an_impossible_memory_bound_is_refused():
    with pytest.raises(DataError, match="raise memory_mib"):
        bf.sensitivities(prior_fit(NETWORK), panel(), by="time", memory_mib=1e-6)


def test_a_linear_model_has_one_sensitivity_everywhere():
    found = bf.sensitivities(prior_fit(LINEAR), panel(), by="asset")
    slopes = prior_fit(LINEAR).parameters()["slope_mean"][:, 1:]
    np.testing.assert_allclose(found["mean"], np.broadcast_to(slopes.mean(axis=0), found["mean"].shape), rtol=1e-10)
    np.testing.assert_allclose(found["panel_sd"], 0.0, atol=1e-9)


@CURVED
def test_interactions_are_the_average_hessian(model):
    found = bf.interactions(prior_fit(model), panel())
    mean, square = averages(model, 2, "panel")
    first, second = np.triu_indices(3, 1)
    for part in (found, found.transpose("characteristic_2", "characteristic")):
        pairs = {name: part[name].values[first, second] for name in part.data_vars}
        check_bands(pairs, mean[:, first, second], square[:, first, second])
        check_ranks(pairs, square[:, first, second])
    assert np.isnan(np.diag(found["mean"])).all()
    assert found.attrs["units"].endswith("squared")


def test_interactions_in_small_pieces_and_as_draws():
    fit = prior_fit(DEEP)
    want = bf.interactions(fit, panel())
    found = bf.interactions(fit, panel(), memory_mib=0.02)
    for name in want.data_vars:
        np.testing.assert_allclose(found[name], want[name], rtol=1e-9, atol=1e-10)
    draws = bf.interactions(fit, panel(), summary="draws")
    mean, square = averages(DEEP, 2, "panel")
    first, second = np.triu_indices(3, 1)
    np.testing.assert_allclose(
        draws["interaction"].values.reshape(-1, 3), mean[:, first, second], rtol=1e-7, atol=1e-12
    )
    np.testing.assert_allclose(draws["rms"].values.reshape(-1, 3) ** 2, square[:, first, second], rtol=1e-7)


def test_top_orders_pairs_by_their_median_rank():
    fit = prior_fit(NETWORK)
    every = bf.interactions(fit, panel())
    top = bf.interactions(fit, panel(), top=3)
    ranks = top["rank_median"].values
    assert (np.diff(ranks) >= 0).all()
    for position in range(3):
        pair = top.isel(pair=position)
        a, b = str(pair["characteristic"].values), str(pair["characteristic_2"].values)
        assert str(pair["pair"].values) == f"{a} x {b}"
        cell = every.sel(characteristic=a, characteristic_2=b)
        for name in every.data_vars:
            assert float(pair[name]) == pytest.approx(float(cell[name]), rel=1e-12), name
    assert bf.interactions(fit, panel(), top=1).sizes["pair"] == 1
    assert str(bf.interactions(fit, panel(), top=1)["pair"].values[0]) == str(top["pair"].values[0])


def test_a_linear_model_has_no_interactions():
    with pytest.raises(UnsupportedQuantityError, match=r"linear model has no interactions.*hidden=\(8,\)"):
        bf.interactions(prior_fit(LINEAR), panel())


def test_interactions_of_a_relu_network_are_refused_and_the_remedy_named():
    with pytest.raises(UnsupportedQuantityError, match="tanh"):
        bf.interactions(prior_fit(RELU), panel())


def test_wrong_words_are_refused():
    fit = prior_fit(NETWORK)
    with pytest.raises(DataError, match="by must be one of 'panel', 'time', 'asset'"):
        bf.sensitivities(fit, panel(), by="month")
    with pytest.raises(DataError, match="summary must be one of 'bands', 'draws'"):
        bf.interactions(fit, panel(), summary="samples")
    for prob in (0.0, 1.0, 90, float("nan")):
        with pytest.raises(DataError, match="between 0 and 1"):
            bf.sensitivities(fit, panel(), prob=prob)


QUANTITIES = pytest.mark.parametrize(
    "quantity", [bf.sensitivities, bf.interactions, bf.expected_returns, bf.sensitivity_bound]
)


@QUANTITIES
def test_a_panel_with_other_characteristics_is_refused(quantity):
    with pytest.raises(AlignmentError, match=r"missing \['x3'\]"):
        quantity(network_fit(), panel().sel(characteristic=["x1", "x2"]))
    data = panel().data.assign_coords(characteristic=["x1", "x2", "momentum"])
    with pytest.raises(AlignmentError, match=r"missing \['x3'\], not known to the fit \['momentum'\]"):
        quantity(network_fit(), bf.Panel(data, "monthly", "rank"))


@QUANTITIES
def test_a_panel_prepared_otherwise_is_refused(quantity):
    with pytest.raises(AlignmentError, match="prepared by 'rank', this panel's are 'standardise'"):
        quantity(network_fit(), bf.Panel(panel().data, "monthly", "standardise"))


@QUANTITIES
def test_a_panel_of_another_frequency_is_refused(quantity):
    weekly = bf.simulate.economy(n_months=4, n_assets=8, n_characteristics=3, seed=1, frequency="weekly").panel
    with pytest.raises(AlignmentError, match="the fit is monthly, the panel is weekly"):
        quantity(network_fit(), weekly)


def test_draws_beyond_the_memory_bound_are_refused_with_their_size():
    with pytest.raises(DataError, match=r"all draws of 30 assets and 3 characteristics need .* memory_mib is 0\.01"):
        bf.sensitivities(prior_fit(NETWORK), panel(), by="asset", summary="draws", memory_mib=0.01)
