"""The bound on the variance of sensitivities (Dixon and Polson, 2020, theorem 3.3.1) against loops over rows."""

from __future__ import annotations

import itertools

import jax
import numpy as np
import pytest
from fits import LINEAR, NETWORK, each_draw, fit_of_draws, panel, prior_fit

import bayesfactor as bf
from bayesfactor.components.networks import FeatureNetwork
from bayesfactor.errors import DataError, UnsupportedQuantityError

NAMES = ("panel_sd", "bound", "ratio", "n_regions")
EVERY_DRAW = 1 - 1e-12  # a band of this probability ends at the largest draw


def relu(*hidden):
    return bf.FundamentalFactorModel(hidden=hidden, activation="relu", noise="normal")


def fit_of_weights(layers, slopes):
    """A fit of a ReLU network; every array has leading dims (chain, draw).

    Parameters
    ----------
    layers : pairs of weight (..., width_l, width_{l-1}) and bias (..., width_l).
    slopes : (..., feature) last layer.
    """
    draws = {"slope_mean": np.concatenate([np.zeros((*slopes.shape[:2], 1)), slopes], axis=-1)}
    for index, (weight, bias) in enumerate(layers):
        draws |= {f"network.layers[{index}].weight": weight, f"network.layers[{index}].bias": bias}
    return fit_of_draws(relu(*(bias.shape[-1] for _, bias in layers)), draws)


def equal_draws(weight, bias, slopes):
    """A fit of two equal draws of a network with one hidden layer."""
    weight, bias, slopes = (np.stack([np.asarray(value, float)] * 2)[None] for value in (weight, bias, slopes))
    return fit_of_weights([(weight, bias)], slopes)


def random_fit(hidden, n_draws, seed, bias_shift=0.0):
    """Independent standard normal weights, and biases around a shift (unit,) of the first layer."""
    rng = np.random.default_rng(seed)
    layers = [
        (rng.normal(size=(1, n_draws, after, before)), rng.normal(size=(1, n_draws, after)))
        for before, after in itertools.pairwise((3, *hidden))
    ]
    layers[0] = (layers[0][0], layers[0][1] + bias_shift)
    return fit_of_weights(layers, rng.normal(size=(1, n_draws, hidden[-1])))


def slow(fit, source):
    """Per draw by a loop over the rows of the universe: the sd, its bound, their ratio and the number of regions."""
    used = source.data["in_universe"].values
    z = source.data["characteristics"].values
    n_months = np.count_nonzero(used.any(axis=1))
    result = {name: [] for name in NAMES}
    for params in each_draw(fit):
        share, value = {}, {}
        for month, stock in np.argwhere(used):
            inner, pattern, jacobian = z[month, stock], (), np.eye(3)
            for index in range(len(fit.model.hidden)):
                weight = params[f"network.layers[{index}].weight"]
                inner = weight @ inner + params[f"network.layers[{index}].bias"]
                active = inner > 0
                inner, jacobian, pattern = active * inner, active[:, None] * (weight @ jacobian), (*pattern, *active)
            value[pattern] = params["slope_mean"][1:] @ jacobian
            share[pattern] = share.get(pattern, 0.0) + 1 / used[month].sum() / n_months
        p, a = np.array([share[key] for key in value])[:, None], np.array(list(value.values()))
        sd, bound = np.sqrt((p * (a - (p * a).sum(axis=0)) ** 2).sum(axis=0)), np.sqrt((a**2).sum(axis=0) / 2)
        ratio = np.divide(sd, bound, out=np.zeros(3), where=bound > 0)
        for name, number in zip(NAMES, (sd, bound, ratio, len(value)), strict=True):
            result[name].append(number)
    return {name: np.array(values) for name, values in result.items()}


def even_panel():
    """4 months of 8 stocks: half the stocks of every month above the median in each characteristic, none at it."""
    made = bf.simulate.economy(n_months=4, n_assets=8, n_characteristics=3, seed=1).panel
    assert (np.count_nonzero(made.data["characteristics"].values > 0, axis=1) == 4).all()
    assert (np.count_nonzero(made.data["characteristics"].values < 0, axis=1) == 4).all()
    return made


FITS = {
    "prior": lambda: prior_fit(relu(3)),
    "deep": lambda: prior_fit(relu(3, 2)),
    "deeper": lambda: random_fit((3, 3, 2), 12, seed=1),
    # The units that vary fall into the second word of a pattern.
    "wide": lambda: random_fit((40,), 6, seed=2, bias_shift=np.where(np.arange(40) < 34, -100.0, 0.0)),
    # No unit is active at z = 0, the padding of small months, and no stock is near it.
    "hollow": lambda: equal_draws(np.concatenate([np.eye(3), -np.eye(3)]), np.full(6, -0.1), np.arange(1, 7)),
}


@pytest.mark.parametrize("made", FITS)
def test_bands_are_those_of_a_loop_over_rows(made):
    fit = FITS[made]()
    found, want = bf.sensitivity_bound(fit, panel(), prob=0.8), slow(fit, panel())
    assert want["n_regions"].max() > 2
    for name, draws in want.items():
        assert found[name].dims == (() if name == "n_regions" else ("characteristic",))
        np.testing.assert_allclose(found[name], draws.mean(axis=0), rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(found[f"{name}_lower"], np.quantile(draws, 0.1, axis=0), rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(found[f"{name}_upper"], np.quantile(draws, 0.9, axis=0), rtol=1e-7, atol=1e-9)
    assert found.attrs["units"] == "decimal per period per unit of the prepared characteristic"


@pytest.mark.parametrize("made", FITS)
def test_panel_sd_is_that_of_sensitivities(made):
    fit = FITS[made]()
    found = bf.sensitivity_bound(fit, panel())["panel_sd"]
    np.testing.assert_allclose(found, bf.sensitivities(fit, panel())["panel_sd"], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("hidden", [(1,), (2,), (6,), (4, 3), (3, 3, 2)])
@pytest.mark.parametrize("n_stocks", [2, 30])
def test_the_bound_holds_for_every_random_network(hidden, n_stocks):
    source = panel().sel(asset=list(panel().data["asset"].values[:n_stocks]))
    fit = random_fit(hidden, 200, seed=n_stocks)
    found = bf.sensitivity_bound(fit, source, prob=EVERY_DRAW)
    assert (found["ratio_upper"] <= 1 + 1e-9).all()
    assert (found["ratio_upper"] > 0.3).all(), "the bound must not be idle"


def test_two_even_regions_of_opposite_sensitivity_attain_the_bound():
    """relu(x) + relu(-x) = |x|: the sensitivity is 1 or -1, its variance 1, the bound (1 + 1) / 2."""
    found = bf.sensitivity_bound(equal_draws([[1, 0, 0], [-1, 0, 0]], [0, 0], [1, 1]), even_panel())
    np.testing.assert_allclose(found["panel_sd"], [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(found["bound"], [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(found["ratio"], [1, 0, 0], atol=1e-12)
    assert found["n_regions"] == 2


def test_products_of_weights_along_paths_do_not_bound_the_variance():
    """Twenty units relu(x): the sensitivity is 0 or 20, its variance 100; every path's product of weights is 1.

    Half the sum of squares is 200 over the regions' sensitivities, 10 over the paths, and 10.5 over the 1 + 20 regions
    that twenty hyperplanes make of a line, each given a path's product.
    """
    weight, slopes = np.tile([1.0, 0.0, 0.0], (20, 1)), np.ones(20)
    found = bf.sensitivity_bound(equal_draws(weight, np.zeros(20), slopes), even_panel()).sel(characteristic="x1")
    paths = slopes * weight[:, 0]
    variance = float(found["panel_sd"]) ** 2
    assert variance == pytest.approx(100)
    assert float(found["bound"]) ** 2 == pytest.approx(200)
    assert found["n_regions"] == 2
    assert variance > max(np.sum(paths**2), 21 * np.max(paths**2)) / 2


def test_a_small_memory_bound_gives_the_same_numbers():
    fit = prior_fit(relu(3, 2))
    want, found = (bf.sensitivity_bound(fit, panel(), memory_mib=mib) for mib in (512, 0.01))
    for name in want.data_vars:
        np.testing.assert_allclose(found[name], want[name], rtol=1e-9, atol=1e-10)


IDENTITY = bf.FundamentalFactorModel(hidden=(3,), activation="identity", noise="normal")


@pytest.mark.parametrize("model", [LINEAR, IDENTITY], ids=["linear", "identity"])
def test_a_linear_model_has_one_region_and_no_dispersion(model):
    fit = prior_fit(model)
    found = bf.sensitivity_bound(fit, panel())
    with jax.enable_x64(True):
        slopes = np.array([model.gradient(params, np.zeros((1, 3)))[0] for params in each_draw(fit)])
    np.testing.assert_allclose(found["bound"], np.abs(slopes).mean(axis=0) / np.sqrt(2), rtol=1e-9)
    for name, want in {"n_regions": 1, "panel_sd": 0, "ratio": 0}.items():
        for end in ("", "_lower", "_upper"):
            np.testing.assert_array_equal(found[name + end], want)


def test_where_no_unit_is_active_the_bound_is_zero_and_so_is_the_ratio():
    found = bf.sensitivity_bound(equal_draws(np.ones((2, 3)), [-100, -100], [1, 1]), panel())
    assert found["n_regions"] == 1
    for name in ("panel_sd", "bound", "ratio"):
        np.testing.assert_array_equal(found[name], 0.0)


def test_smooth_activations_are_refused_and_the_remedy_named():
    softplus = bf.FundamentalFactorModel(hidden=(3,), activation="softplus", noise="normal")
    for model in (NETWORK, softplus):
        with pytest.raises(UnsupportedQuantityError, match=rf"ReLU.*{model.activation}.*panel_sd of sensitivities"):
            bf.sensitivity_bound(prior_fit(model), panel())


def test_a_users_own_network_is_refused_and_the_reason_given():
    own = bf.FundamentalFactorModel(hidden=(), network=FeatureNetwork(3, (3,), "relu"), noise="normal")
    fit = fit_of_draws(own, {name: value.values for name, value in prior_fit(relu(3)).tree["posterior"].items()})
    assert float(bf.sensitivities(fit, panel())["panel_sd"].min()) > 0
    with pytest.raises(UnsupportedQuantityError, match="a network of your own does not tell"):
        bf.sensitivity_bound(fit, panel())


def test_a_probability_outside_zero_and_one_is_refused():
    with pytest.raises(DataError, match="between 0 and 1"):
        bf.sensitivity_bound(prior_fit(relu(3)), panel(), prob=90)
