"""The density of a panel against brute force: joint Gaussians over the stocks of a month, sums of scipy's densities."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from fits import LINEAR, NETWORK, log_likelihood, panel, prior_draw, prior_draws, train
from numpyro.infer.util import log_density
from scipy import special, stats

import bayesfactor as bf
from bayesfactor.components import networks
from bayesfactor.models.training import MonthStatistics


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


def with_month_scales(params, arrays):
    """`log_likelihood` wants the months' noise levels; under full pooling they are one number."""
    months = np.full(len(arrays.returns), float(params["noise_level"]))
    return {"noise_scale": months, **params}


def design_of(model, params, z):
    """Intercept and features (stock, feature), in NumPy."""
    z = np.vstack([z, np.zeros(z.shape[1])])
    for layer in range(len(model.hidden)):
        weight, bias = (np.asarray(params[f"network.layers[{layer}].{part}"]) for part in ("weight", "bias"))
        z = np.tanh(z @ weight.T + bias)
    return np.column_stack([np.ones(len(z) - 1), z[:-1] - z[-1]])


def slope_covariance(params):
    root = np.asarray(params["slope_scale"])[:, None] * np.asarray(params["slope_correlation_root"])
    return root @ root.T


def brute_force(model, params, arrays):
    """Sum over months of the joint Gaussian log density of the month's observed returns."""
    total, scales = 0.0, np.asarray(params["noise_scale"])
    for z, returns, seen, scale in zip(arrays.characteristics, arrays.returns, arrays.observed, scales, strict=True):
        if not seen.any():
            continue
        x = design_of(model, params, z[seen])
        covariance = scale**2 * np.eye(seen.sum())
        if model.pooling == "partial":
            covariance = covariance + x @ slope_covariance(params) @ x.T
        mean = x @ np.asarray(params["slope_mean"])
        total += stats.multivariate_normal.logpdf(returns[seen], mean, covariance)
    return total


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("pooling", ["partial", "full"])
@pytest.mark.parametrize("hidden", [(), (3,)])
def test_normal_noise_is_the_multivariate_normal_of_every_ragged_month(hidden, pooling, seed):
    model = bf.FundamentalFactorModel(hidden=hidden, pooling=pooling, noise="normal")
    arrays = panel().arrays()
    params = with_month_scales(prior_draw(model, arrays, seed), arrays)
    assert len({int(count) for count in arrays.observed.sum(axis=1)}) > 5, "the panel must be ragged"
    want = brute_force(model, params, arrays)
    assert log_likelihood(model, params, model.data(arrays)) == pytest.approx(want, rel=1e-11)


@pytest.mark.parametrize("pooling", ["partial", "full"])
def test_sufficient_statistics_give_what_the_stocks_give(pooling):
    model = bf.FundamentalFactorModel(hidden=(), pooling=pooling, noise="normal")
    arrays = panel().arrays()
    statistics = model.data(arrays)
    assert isinstance(statistics.months, MonthStatistics)
    params = with_month_scales(prior_draw(model, arrays, 4), arrays)
    general = jax.jit(jax.value_and_grad(lambda slopes: model.log_likelihood(params | {"slope_mean": slopes}, arrays)))
    reduced = jax.jit(
        jax.value_and_grad(lambda slopes: model.log_likelihood(params | {"slope_mean": slopes}, statistics))
    )
    for of_stocks, of_sums in zip(general(params["slope_mean"]), reduced(params["slope_mean"]), strict=True):
        np.testing.assert_allclose(of_sums, of_stocks, rtol=1e-10)


@pytest.mark.parametrize("model", [LINEAR, NETWORK], ids=["linear", "network"])
def test_a_month_s_law_simulates_the_density_that_is_fitted(model):
    """`month_law` (forecasts, scores) and `log_likelihood` (fits) are the same normal law."""
    arrays = panel().arrays()
    params = prior_draw(model, arrays, 5)
    law = model.month_law(params, arrays.characteristics[3])
    low_rank = np.asarray(law.loadings @ law.root)
    x = design_of(model, params, arrays.characteristics[3])
    np.testing.assert_allclose(low_rank @ low_rank.T, x @ slope_covariance(params) @ x.T, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(law.mean, x @ np.asarray(params["slope_mean"]), rtol=1e-10)
    assert law.scale == params["noise_level"]
    assert law.log_scale_sd == params["noise_variation"]


@pytest.mark.parametrize("hidden", [(), (3,)])
def test_student_t_given_the_shocks_is_a_sum_of_student_t_densities(hidden):
    model = bf.FundamentalFactorModel(hidden=hidden, noise="student_t")
    arrays = panel().arrays()
    params = prior_draw(model, arrays, 6)
    want = 0.0
    for month, seen in enumerate(arrays.observed):
        x = design_of(model, params, arrays.characteristics[month][seen])
        moved = np.asarray(params["slope_scale"]) * (
            np.asarray(params["slope_correlation_root"]) @ np.asarray(params["shock"][month])
        )
        mean = x @ (np.asarray(params["slope_mean"]) + moved)
        scale, df = float(params["noise_scale"][month]), float(params["degrees_of_freedom"])
        want += stats.t.logpdf(arrays.returns[month][seen], df, mean, scale).sum()
    assert log_likelihood(model, params, arrays) == pytest.approx(want, rel=1e-11)


@pytest.mark.parametrize("noise", ["laplace", "huber"])
@pytest.mark.parametrize("pooling", ["partial", "full"])
def test_noise_given_the_shocks_is_a_sum_of_its_densities(pooling, noise):
    model = bf.FundamentalFactorModel(hidden=(3,), noise=noise, pooling=pooling, huber_delta=1.1)
    arrays = panel().arrays()
    params = with_month_scales(prior_draw(model, arrays, 6), arrays)
    want = 0.0
    for month, seen in enumerate(arrays.observed):
        x = design_of(model, params, arrays.characteristics[month][seen])
        slopes = np.asarray(params["slope_mean"])
        if pooling == "partial":
            root = np.asarray(params["slope_scale"])[:, None] * np.asarray(params["slope_correlation_root"])
            slopes = slopes + root @ np.asarray(params["shock"][month])
        scale = float(params["noise_scale"][month])
        size = np.abs(arrays.returns[month][seen] - x @ slopes) / scale
        if noise == "laplace":
            want += stats.laplace.logpdf(size).sum() - len(size) * np.log(scale)
        else:
            normaliser = np.sqrt(2 * np.pi) * (2 * stats.norm.cdf(1.1) - 1) + 2 / 1.1 * np.exp(-(1.1**2) / 2)
            want -= special.huber(1.1, size).sum() + len(size) * np.log(scale * normaliser)
    assert log_likelihood(model, params, arrays) == pytest.approx(want, rel=1e-11)


@pytest.mark.parametrize(("noise", "sd"), [("laplace", np.sqrt(2)), ("huber", 1.2150), ("normal", 1), ("student_t", 1)])
def test_the_prior_of_the_noise_level_is_around_the_returns_sd(noise, sd):
    """Laplace and Huber: the noise's sd is; normal and Student-t: the scale is."""
    model = bf.FundamentalFactorModel(hidden=(), noise=noise)
    arrays = train().arrays()
    draw = prior_draw(model, arrays, 2)
    want = float(arrays.return_scale) * np.exp(float(draw["noise_relative"]))
    assert sd * float(draw["noise_level"]) == pytest.approx(want, rel=1e-4)


def log_lkj_cholesky(factor, concentration):
    """Density of the Cholesky factor of an LKJ correlation (Lewandowski, Kurowicka, Joe, 2009; Stan's manual)."""
    size = len(factor)
    powers = size - np.arange(2, size + 1) + 2 * concentration - 2
    orders = np.arange(1, size)
    normaliser = 0.5 * orders * np.log(np.pi)
    normaliser = normaliser + special.gammaln(concentration + 0.5 * (size - 1 - orders))
    normaliser = normaliser - special.gammaln(concentration + 0.5 * (size - 1))
    return powers @ np.log(np.diag(factor)[1:]) - normaliser.sum()


def test_the_program_is_its_priors_times_its_likelihood():
    arrays = train().arrays()
    data = LINEAR.data(arrays)
    draw = prior_draw(LINEAR, data, 7)
    sampled = {name: value for name, value in draw.items() if name in SAMPLED}
    assert set(sampled) == SAMPLED
    joint, _ = log_density(LINEAR, (data,), {}, sampled)

    relative, variation = float(draw["noise_relative"]), float(draw["noise_variation"])
    log_noise = np.log(np.asarray(draw["noise_scale"]) / arrays.return_scale)
    # Density of the months' log noise, and the Jacobian of the coordinates that it is sampled in.
    centring = np.asarray(data.noise_centring)
    of_noise = stats.norm.logpdf(log_noise, relative, variation) + (1 - centring) * np.log(variation)
    slopes = np.asarray(draw["slope_mean"]) / [0.02, 0.01, 0.01, 0.01]
    variations = np.asarray(draw["slope_scale"]) / [0.05, 0.02, 0.02, 0.02]
    root = np.asarray(draw["slope_correlation_root"])
    priors = (
        stats.norm.logpdf(slopes).sum()
        + np.sum(np.log(2) + stats.t.logpdf(variations, 4))
        + log_lkj_cholesky(root, 2.0)
        + stats.norm.logpdf(relative, 0, 0.5)
        + stats.halfnorm.logpdf(variation / 0.3)
        + of_noise.sum()
    )
    assert float(draw["noise_level"]) == pytest.approx(float(arrays.return_scale) * np.exp(relative))
    assert float(joint) == pytest.approx(priors + brute_force(LINEAR, draw, arrays), rel=1e-10)


SAMPLED = {
    "slope_mean_decentered",
    "slope_scale_relative",
    "slope_correlation",
    "noise_relative",
    "noise_variation_relative",
    "log_noise_base",
}


def test_the_network_s_priors_are_those_of_the_documentation():
    """W ~ N(0, tau^2 / fan_in), b ~ N(0, 1)."""
    model = bf.FundamentalFactorModel(hidden=(3, 2), noise="normal", pooling="full", slope_sd=0.01)
    arrays = train().arrays()
    draws = prior_draws(model, arrays, 0, 4000)
    for layer, fan_in in ((0, 3), (1, 3)):
        weight = draws[f"network.layers[{layer}].weight"] * np.sqrt(fan_in)
        standard = weight / draws[f"network_scale_{layer}"][:, None, None]
        assert standard.std() == pytest.approx(1.0, rel=0.03)
        assert draws[f"network.layers[{layer}].bias"].std() == pytest.approx(1.0, rel=0.03)
    last = 0.01 * np.sqrt(3 / 2) / networks.prior_gain("tanh", 2)
    np.testing.assert_allclose(draws["slope_mean"].std(axis=0), [0.02, last, last], rtol=0.05)


@pytest.mark.parametrize("hidden", [(), (8,), (8, 8)])
@pytest.mark.parametrize("activation", ["tanh", "softplus", "relu"])
def test_slope_sd_is_the_prior_root_mean_square_of_a_sensitivity(hidden, activation):
    model = bf.FundamentalFactorModel(hidden=hidden, activation=activation, noise="normal", slope_sd=0.01)
    arrays = train().arrays()
    draws = prior_draws(model, arrays, 1, 6000)
    z = np.random.default_rng(0).uniform(-1, 1, (20, 3))
    gradients = jax.jit(jax.vmap(lambda params: model.gradient(params, z)))(draws)
    assert np.sqrt(np.mean(np.asarray(gradients) ** 2)) == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize("frequency", ["weekly", "daily"])
def test_priors_are_stated_per_month_whatever_the_frequency(frequency):
    source = bf.simulate.economy(n_months=6, n_assets=12, n_characteristics=2, seed=1, frequency=frequency).panel
    arrays = source.arrays()
    model = bf.FundamentalFactorModel(hidden=(), noise="normal")
    draw = prior_draw(model, model.data(arrays), 0)
    months = 12 / source.periods_per_year
    np.testing.assert_allclose(
        draw["slope_mean"], np.asarray(draw["slope_mean_decentered"]) * [0.02, 0.01, 0.01] * months, rtol=1e-10
    )
    np.testing.assert_allclose(
        draw["slope_scale"],
        np.asarray(draw["slope_scale_relative"]) * np.array([0.05, 0.02, 0.02]) * np.sqrt(months),
        rtol=1e-10,
    )


def test_indicators_keep_one_slope():
    source = train()
    flags = source.data["characteristics"].values.copy()
    flags[..., 2] = np.where(np.isnan(flags[..., 2]), np.nan, flags[..., 2] > 0)
    data = source.data.assign(characteristics=(source.data["characteristics"].dims, flags))
    data = data.assign_coords(kind=("characteristic", ["continuous", "continuous", "indicator"]))
    arrays = bf.Panel(data, "monthly", "rank").arrays()
    scales = np.asarray(prior_draw(LINEAR, arrays, 0)["slope_scale"])
    assert scales[3] == 0
    assert (scales[:3] > 0).all()
    params = prior_draw(LINEAR, arrays, 0)
    assert log_likelihood(LINEAR, params, arrays) == pytest.approx(brute_force(LINEAR, params, arrays), rel=1e-11)


def test_many_slopes_have_a_low_rank_correlation():
    source = bf.simulate.economy(n_months=4, n_assets=40, n_characteristics=13, seed=2).panel
    arrays = source.arrays()
    params = prior_draw(LINEAR, arrays, 3)
    root = np.asarray(params["slope_correlation_root"])
    np.testing.assert_allclose(np.diag(root @ root.T), 1.0, rtol=1e-12)
    off = params["slope_factor"] @ params["slope_factor"].T
    deviation = np.sqrt(1 + np.diag(off))
    np.testing.assert_allclose((root @ root.T)[0, 1], off[0, 1] / deviation[0] / deviation[1], rtol=1e-10)
    assert log_likelihood(LINEAR, params, LINEAR.data(arrays)) == pytest.approx(
        brute_force(LINEAR, params, arrays), rel=1e-11
    )
