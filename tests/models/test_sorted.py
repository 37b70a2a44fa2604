"""SortedFactorModel: what is integrated out, what is simulated, what is refused."""

from __future__ import annotations

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fits import with_data
from numpyro import handlers
from numpyro.infer.util import log_density
from scipy import stats

import bayesfactor as bf
from bayesfactor.components import factor_regression as fr
from bayesfactor.components.noise import Huber, Laplace
from bayesfactor.errors import DataError, UnsupportedQuantityError
from bayesfactor.inference.streaming import cast
from bayesfactor.models.sorted_data import typical_residual

ONE = {"n_factors": 1, "hidden": ()}
BY_ASSET = {**ONE, "residual_covariance": "by_asset"}
LAWS = {
    "by asset": BY_ASSET,
    "common": {**ONE, "residual_covariance": "common"},
    "factors": {**ONE, "residual_covariance": "factors", "residual_rank": 1},
    "full": ONE,
    "two factors, a network": {"n_factors": 2, "hidden": (3,)},
    "penalty": {**BY_ASSET, "alpha": False, "pricing_error_penalty": 2.5},
    "full, penalty": {**ONE, "alpha": False, "pricing_error_penalty": 2.5},
}


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@functools.cache
def economy(n_months: int = 40, n_portfolios: int = 4) -> bf.simulate.Economy:
    return bf.simulate.priced_economy(
        n_months=n_months, n_assets=15, n_characteristics=2, n_portfolios=n_portfolios, seed=5, n_factors=1, ragged=True
    )


@functools.cache
def ragged() -> bf.Panel:
    """The panel without some of the portfolios' returns."""
    panel = economy().panel
    returns = panel.data["portfolio_returns"].values.copy()
    returns[:3, 0] = returns[10, 1] = np.nan
    return with_data(panel, portfolio_returns=returns)


def data_of(model: bf.SortedFactorModel, panel: bf.Panel):
    return jax.tree.map(jnp.asarray, cast(model.data(panel.arrays()), True))


def prior_draw(model: bf.SortedFactorModel, data, seed: int = 0) -> dict:
    """All sites of `joint`, deterministic ones included."""
    sites = handlers.trace(handlers.seed(model.joint, jax.random.key(seed))).get_trace(data)
    return {name: site["value"] for name, site in sites.items() if site["type"] in ("sample", "deterministic")}


def sampled(program, data) -> list[str]:
    sites = handlers.trace(handlers.seed(program, jax.random.key(0))).get_trace(data)
    return [name for name, site in sites.items() if site["type"] == "sample" and not site["is_observed"]]


@pytest.mark.parametrize("law", LAWS)
def test_the_collapsed_program_is_the_joint_one_with_coefficients_integrated_out(law):
    """``p(joint) = p(collapsed) p(coefficients, residual law | rest)`` at draws of the prior."""
    model = bf.SortedFactorModel(**LAWS[law])
    panel = ragged() if model.covariance in ("by_asset", "common") else economy().panel
    data = data_of(model, panel)
    differences = []
    for seed in range(3):
        params = prior_draw(model, data, seed)
        joint, _ = log_density(model.joint, (data,), {}, {name: params[name] for name in sampled(model.joint, data)})
        own = {name: params[name] for name in sampled(model, data)}
        collapsed, _ = log_density(model, (data,), {}, own)
        differences.append(float(joint) - float(collapsed) - log_conditional(model, params, data))
    np.testing.assert_allclose(differences, 0.0, atol=1e-6)


def log_conditional(model: bf.SortedFactorModel, params: dict, data) -> float:
    """Textbook density of the joint program's coefficients and residual law given its factors."""
    assets, regressors = (np.asarray(part) for part in model._regression(params, data))
    n_months, n_assets = assets.shape
    priced = np.ones(assets.shape, bool) if data.priced is None else np.asarray(data.priced)
    precision, penalty = np.diag(np.asarray(model._precision(data))), model.pricing_error_penalty
    coefficients = np.asarray(params["coefficient_base"])
    posterior = []
    for i in range(n_assets):
        seen = priced[:, i]
        m = np.eye(seen.sum()) + penalty / seen.sum()
        x, r = regressors[seen], assets[seen, i]
        covariance = np.linalg.inv(precision + x.T @ m @ x)
        mean = covariance @ x.T @ m @ r
        posterior.append((mean, covariance, r @ m @ r - mean @ np.linalg.inv(covariance) @ mean, seen.sum()))
    if model.covariance in ("by_asset", "common"):
        variances = np.broadcast_to(np.asarray(params["residual_variance_base"]), n_assets)
        total = sum(
            stats.multivariate_normal(mean, v * covariance).logpdf(c)
            for (mean, covariance, _, _), v, c in zip(posterior, variances, coefficients, strict=True)
        )
        groups = [range(n_assets)] if model.covariance == "common" else [[i] for i in range(n_assets)]
        for group in groups:
            square, count = (sum(posterior[i][k] for i in group) for k in (2, 3))
            total += stats.invgamma(2.0 + count / 2, scale=1.0 + square / 2).logpdf(variances[group[0]])
        return float(total)
    mean, covariance = np.stack([one[0] for one in posterior]), posterior[0][1]
    if model.covariance == "factors":
        loadings, unique = (np.asarray(params[f"residual_{name}_base"]) for name in ("loading", "unique"))
        sigma = loadings @ loadings.T + np.diag(unique)
        return float(stats.matrix_normal(mean.T, covariance, sigma).logpdf(coefficients.T))
    sigma = np.asarray(params["residual_covariance"]) / float(data.residual_scale) ** 2
    m = np.eye(n_months) + penalty / n_months
    b = assets.T @ m @ regressors
    moments = assets.T @ m @ assets - b @ covariance @ b.T
    total = stats.matrix_normal(mean.T, covariance, sigma).logpdf(coefficients.T)
    total += stats.invwishart(n_assets + 3 + n_months, 2 * np.eye(n_assets) + moments).logpdf(sigma)
    # The density of Bartlett's numbers is that of the covariance times this: prior over prior at the same point.
    squares, below = (np.asarray(params[f"residual_{name}_base"]) for name in ("diagonal", "below"))
    shape = 0.5 * (n_assets + 3 - np.arange(n_assets))
    own = stats.gamma(shape, scale=2.0).logpdf(squares).sum() + stats.norm.logpdf(below).sum()
    return float(total + own - stats.invwishart(n_assets + 3, 2 * np.eye(n_assets)).logpdf(sigma))


def test_exact_draws_are_those_of_nuts_on_the_joint_program():
    """The same weights: means and sds of alphas and loadings from `complete` against NumPyro on the joint program."""
    from numpyro.infer import MCMC, NUTS

    model, panel = bf.SortedFactorModel(**BY_ASSET), economy().panel
    data = data_of(model, panel)
    weight = jnp.asarray([[1.0, 0.4]])
    program = handlers.condition(model.joint, data={"sort_weight": weight})
    sampler = MCMC(NUTS(program), num_warmup=500, num_samples=3000, progress_bar=False)
    sampler.run(jax.random.key(1), data)
    found = sampler.get_samples()
    factors = np.asarray(model.factor_returns({"sort_weight": weight}, data))
    n = 20_000
    exact = model.complete(
        {"factor_return": np.repeat(factors[None], n, axis=0)},
        jax.tree.map(np.asarray, data),
        np.random.default_rng(2),
    )
    for name in ("alpha", "loading", "benchmark_loading", "residual_sd"):
        nuts, drawn = (np.asarray(part[name]) for part in (found, exact))
        error = nuts.std(axis=0) / math.sqrt(400)
        assert np.all(np.abs(nuts.mean(axis=0) - drawn.mean(axis=0)) < 5 * error), name
        np.testing.assert_allclose(nuts.std(axis=0), drawn.std(axis=0), rtol=0.12)


@pytest.mark.parametrize("law", ["by asset", "common", "full", "factors", "penalty"])
def test_density_and_simulation_of_assets_are_those_of_the_dense_covariance(law):
    model = bf.SortedFactorModel(**LAWS[law])
    arrays = economy().panel.arrays()
    data = data_of(model, economy().panel)
    params = prior_draw(model, data)
    mean = np.asarray(params["factor_return"] @ params["loading"].T + arrays.benchmarks @ params["benchmark_loading"].T)
    mean = mean + np.asarray(params["alpha"]) if model.alpha else mean
    n_months, n_assets = mean.shape
    if model.covariance == "full":
        sigma = np.asarray(params["residual_covariance"])
    elif model.covariance == "factors":
        loading = np.asarray(params["residual_loading"])
        sigma = loading @ loading.T + np.diag(params["residual_unique"])
    else:
        sigma = np.diag(np.broadcast_to(np.asarray(params["residual_sd"]) ** 2, n_assets))
    penalty = model.pricing_error_penalty
    row = np.eye(n_months) - penalty / (1 + penalty) / n_months
    want = stats.matrix_normal(mean, row, sigma).logpdf(arrays.portfolios)
    assert float(model.log_density_of_assets(params, arrays)) == pytest.approx(want, rel=1e-9)
    drawn = jax.vmap(lambda key: model.simulate_assets(params, arrays, key).portfolios)(
        jax.random.split(jax.random.key(3), 4000)
    )
    residuals = np.asarray(drawn) - mean
    found = np.einsum("stj,stk->jk", residuals, residuals) / residuals.shape[0] / np.trace(row)
    np.testing.assert_allclose(found, sigma, atol=0.03 * sigma.max())
    across = np.einsum("stj,suj->tu", residuals, residuals) / residuals.shape[0] / np.trace(sigma)
    np.testing.assert_allclose(across, row, atol=0.12)


def test_gaps_of_portfolios_are_left_out():
    model, panel = bf.SortedFactorModel(**BY_ASSET), ragged()
    data = data_of(model, panel)
    params = prior_draw(model, data)
    residuals = np.asarray(panel.arrays().portfolios - model._explained_by_factors(params, panel.arrays()))
    want = np.nansum(stats.norm(0, np.asarray(params["residual_sd"])).logpdf(residuals))
    assert float(model.log_density_of_assets(params, panel.arrays())) == pytest.approx(want, rel=1e-9)
    scaled = data._replace(assets=jnp.where(data.priced, data.assets, 1e6))
    own = {name: params[name] for name in sampled(model, data)}
    assert float(model.log_evidence(params | own, scaled)) == float(model.log_evidence(params | own, data))


def test_penalised_residuals_with_gaps_have_the_covariance_of_their_own_months():
    model = bf.SortedFactorModel(**LAWS["penalty"])
    arrays, penalty = ragged().arrays(), model.pricing_error_penalty
    params = prior_draw(model, data_of(model, ragged()))
    drawn = jax.vmap(lambda key: model.simulate_assets(params, arrays, key).portfolios)(
        jax.random.split(jax.random.key(3), 4000)
    )
    residuals = np.asarray(drawn) - np.asarray(model._explained_by_factors(params, arrays))
    for asset in (0, 1):
        own = residuals[:, np.isfinite(arrays.portfolios[:, asset]), asset]
        variance = float(params["residual_sd"][asset]) ** 2
        assert np.var(own.sum(axis=1)) == pytest.approx(own.shape[1] * variance / (1 + penalty), rel=0.1)


@pytest.mark.parametrize("noise", ["student_t", "laplace", "huber"])
def test_noise_that_is_not_normal_has_its_own_density(noise):
    model = bf.SortedFactorModel(**ONE, noise=noise)
    data = data_of(model, economy().panel)
    params = prior_draw(model, data)
    scale = np.asarray(params["residual_scale"])
    arrays = economy().panel.arrays()
    residuals = np.asarray(arrays.portfolios - model._explained_by_factors(params, arrays))
    sd = np.asarray(params["residual_sd"])
    drawn = jax.vmap(lambda key: model.simulate_assets(params, arrays, key).portfolios)(
        jax.random.split(jax.random.key(3), 2000)
    )
    spread = np.std(np.asarray(drawn - model._explained_by_factors(params, arrays)), axis=(0, 1))
    np.testing.assert_allclose(spread, sd, rtol=0.1)
    if noise == "student_t":
        want = stats.t(float(params["degrees_of_freedom"]), scale=scale).logpdf(residuals).sum()
    else:
        density = Laplace() if noise == "laplace" else Huber(model.huber_delta)
        want = float(jnp.sum(density.log_density(jnp.asarray(residuals), jnp.asarray(scale))))
    assert not model.collapses
    assert float(model.log_density_of_assets(params, arrays)) == pytest.approx(want, rel=1e-9)
    value, _ = log_density(model, (data,), {}, {name: params[name] for name in sampled(model.joint, data)})
    assert np.isfinite(float(value))


@pytest.mark.parametrize("penalty", [0.0, 2.5])
def test_minibatches_of_the_joint_density_are_unbiased(penalty):
    """Averaged over all ordered minibatches of a short window; the penalty from two halves, not from one square."""
    arguments = {**BY_ASSET, "alpha": False, "pricing_error_penalty": penalty}
    panel = economy(n_months=6).panel
    model = bf.SortedFactorModel(**arguments)
    data = data_of(model, panel)
    params = prior_draw(model, data)
    own = {name: params[name] for name in sampled(model.joint, data)}
    whole = float(log_density(model.joint, (data,), {}, own)[0])
    density = jax.jit(lambda positions: log_density(model.joint, (data.batch(positions),), {}, own)[0])
    batches = np.array(list(itertools.permutations(range(6), 4)))
    values = np.asarray(jax.vmap(density)(jnp.asarray(batches)))
    assert values.mean() == pytest.approx(whole, rel=1e-9)
    assert values.std() > 0


def test_one_characteristic_in_equal_weights_is_the_plain_long_short_factor():
    panel = economy().panel
    arrays = one_characteristic(panel)
    model = bf.SortedFactorModel(n_factors=1, hidden=(), weights="equal", residual_covariance="by_asset")
    data = jax.tree.map(jnp.asarray, cast(model.data(arrays), True))
    for weight in (0.7, -2.0):
        found = np.asarray(model.factor_returns({"sort_weight": jnp.asarray([[weight]])}, data))[:, 0]
        for month in range(len(found)):
            used, seen = arrays.in_universe[month], arrays.observed[month]
            z = arrays.characteristics[month, :, 0]
            third = math.ceil(used.sum() / 3)
            order = np.sort(z[used])
            long, short = (z >= order[-third]) & seen & used, (z <= order[third - 1]) & seen & used
            want = arrays.returns[month, long].mean() - arrays.returns[month, short].mean()
            assert found[month] == pytest.approx(np.sign(weight) * want, abs=1e-12)


def one_characteristic(panel: bf.Panel):
    return panel.arrays()._replace(characteristics=panel.arrays().characteristics[..., :1])


def by_value(**more) -> bf.SortedFactorModel:
    return bf.SortedFactorModel(n_factors=1, hidden=(), weights="value", residual_covariance="by_asset", **more)


@pytest.mark.parametrize("size_in", ["level", "log"])
def test_weights_by_value_are_those_of_market_value_however_it_is_given(size_in):
    arrays = one_characteristic(economy().panel)
    log = np.random.default_rng(6).normal(14.0, 1.5, arrays.returns.shape)
    arrays = arrays._replace(size=np.where(arrays.in_universe, log if size_in == "log" else np.exp(log), np.nan))
    model = by_value(size_in=size_in)
    data = jax.tree.map(jnp.asarray, cast(model.data(arrays), True))
    found = np.asarray(model.factor_returns({"sort_weight": jnp.asarray([[1.0]])}, data))[:, 0]
    for month in range(len(found)):
        used, seen, z = arrays.in_universe[month], arrays.observed[month], arrays.characteristics[month, :, 0]
        third, order = math.ceil(used.sum() / 3), np.sort(z[used])
        legs = (z >= order[-third]) & seen & used, (z <= order[third - 1]) & seen & used
        long, short = (np.average(arrays.returns[month, leg], weights=np.exp(log[month, leg])) for leg in legs)
        assert found[month] == pytest.approx(long - short, abs=1e-12)


def test_logarithms_taken_for_market_values_are_refused():
    panel = bf.datasets.us_equities()
    arrays = one_characteristic(panel)
    with pytest.raises(bf.errors.UnitsError, match=r"the month at position 0 the largest is .* say size_in=\"log\""):
        by_value(size_in="level").sizes(arrays)
    assert np.nanmax(by_value(size_in="log").sizes(arrays)) == 1.0
    levels = arrays._replace(size=np.exp(arrays.size))
    with pytest.raises(bf.errors.UnitsError, match=r"found otherwise at .* first in the month at position"):
        by_value(size_in="log").sizes(levels)


@pytest.mark.parametrize(("frequency", "periods"), [("monthly", 12), ("weekly", 52), ("daily", 252)])
def test_the_prior_of_alpha_is_of_a_month_whatever_the_frequency(frequency, periods):
    model = bf.SortedFactorModel(**BY_ASSET, alpha_sd=0.002)
    arrays = economy().panel.arrays()._replace(periods_per_year=np.asarray(float(periods)))
    data = model.data(arrays)
    sd = float(data.residual_scale) / np.sqrt(float(np.asarray(model._precision(data))[0]))
    assert sd * periods / 12 == pytest.approx(0.002, rel=1e-12)


@pytest.mark.parametrize("n_assets", [3, 4, 5, 10])
def test_the_typical_residual_of_few_assets_is_not_that_of_their_factors(n_assets):
    found = []
    for seed in range(60):
        rng = np.random.default_rng([n_assets, seed])
        market, hidden = rng.normal(size=(120, 1)), 3 * rng.normal(size=(120, 2))
        returns = market + hidden @ rng.normal(size=(2, n_assets)) + rng.normal(size=(120, n_assets))
        found.append(typical_residual(returns, np.ones(returns.shape, bool), market, 2))
    assert np.mean(found) == pytest.approx(1.0, abs=0.08)


def test_factors_are_what_their_weights_earn():
    model, panel = bf.SortedFactorModel(n_factors=2, hidden=(3,)), economy().panel
    arrays, data = panel.arrays(), data_of(bf.SortedFactorModel(n_factors=2, hidden=(3,)), economy().panel)
    params = prior_draw(model, data)
    for month in (0, 17):
        legs = model.portfolio_weights(params, data.characteristics[month], data.in_universe[month], None)
        net = np.asarray(legs.net)
        assert np.all(net[~arrays.in_universe[month]] == 0)
        seen = arrays.observed[month]
        want = [
            (np.asarray(legs.long)[seen, k] / np.asarray(legs.long)[seen, k].sum()) @ arrays.returns[month, seen]
            - (np.asarray(legs.short)[seen, k] / np.asarray(legs.short)[seen, k].sum()) @ arrays.returns[month, seen]
            for k in range(2)
        ]
        np.testing.assert_allclose(params["factor_return"][month], want, rtol=1e-9)


def test_stocks_are_priced_by_label_and_called_a_pseudo_likelihood():
    model = bf.SortedFactorModel(n_factors=1, hidden=(), test_assets="stocks")
    panel = economy().panel
    assert model.likelihood_kind == "pseudo-likelihood"
    data = model.data(panel.arrays())
    returns = panel.data["returns"].where(panel.data["observed"] & panel.data["in_universe"])
    found = np.where(data.priced, data.assets, np.nan)
    labels = model.coords(panel.data)["test_asset"]
    np.testing.assert_array_equal(found, returns.sel(asset=labels).values)
    lost = with_data(panel, returns=panel.data["returns"].where(panel.data["asset"] != labels[3]).values)
    fewer = model.coords(lost.data)["test_asset"]
    assert labels[3] not in fewer
    left = model.data(lost.arrays())
    want = lost.data["returns"].where(lost.data["observed"] & lost.data["in_universe"]).sel(asset=fewer)
    np.testing.assert_array_equal(np.where(left.priced, left.assets, np.nan), want.values)
    params = prior_draw(bf.SortedFactorModel(n_factors=1, hidden=(), test_assets="stocks"), data_of(model, panel))
    with pytest.raises(UnsupportedQuantityError, match="returns are on both sides"):
        model.simulate_assets(params, panel.arrays(), jax.random.key(0))


def test_loadings_that_are_networks_explain_each_stock_by_its_own_characteristics():
    model = bf.SortedFactorModel(
        n_factors=2, hidden=(3,), test_assets="stocks", loadings="network", benchmark_loadings="network",
        loading_hidden=(2,), alpha=False, residual_covariance="common",
    )  # fmt: skip
    panel = economy().panel
    data = data_of(model, panel)
    params = prior_draw(model, data)
    left, regressors = model._regression(params, data)
    assert regressors.shape[1] == 0
    arrays = panel.arrays()
    scale = float(data.residual_scale)
    for month, slot in ((0, 1), (20, 3)):
        z = jnp.asarray(arrays.characteristics[month, slot])[None]
        deep, benchmark = model.stock_loadings(params, z)
        explained = deep[0] @ params["factor_return"][month] + benchmark[0] @ arrays.benchmarks[month]
        asset = list(np.unique(arrays.asset[arrays.observed])).index(arrays.asset[month, slot])
        assert float(left[month, asset]) * scale == pytest.approx(
            float(arrays.returns[month, slot] - explained), abs=1e-12
        )
    law = fr.Independent(jnp.full(left.shape[1], params["residual_sd"] ** 2 / scale**2))
    value, _ = log_density(model.joint, (data,), {}, {name: params[name] for name in sampled(model.joint, data)})
    assert np.isfinite(float(value + law.log_density(left, data.priced)))


def test_a_stocks_law_before_its_month_has_the_factors_integrated_out():
    model = bf.SortedFactorModel(
        n_factors=1, hidden=(), test_assets="stocks", loadings="network", benchmark_loadings="network",
        loading_hidden=(), alpha=False, residual_covariance="common",
    )  # fmt: skip
    data = data_of(model, economy().panel)
    params = prior_draw(model, data)
    drawn = model.complete(
        {name: np.asarray(value)[None] for name, value in params.items()},
        jax.tree.map(np.asarray, data),
        np.random.default_rng(0),
    )
    params |= {name: jnp.asarray(value[0]) for name, value in drawn.items()}
    z = data.characteristics[3]
    law = model.month_law(params, z)
    deep, benchmark = model.stock_loadings(params, z)
    loading = np.concatenate([deep, benchmark], axis=1)
    np.testing.assert_allclose(law.mean, loading @ np.asarray(params["factor_mean"]), rtol=1e-9)
    found = np.asarray(law.loadings @ law.root)
    np.testing.assert_allclose(
        found @ found.T, loading @ np.asarray(params["factor_covariance"]) @ loading.T, rtol=1e-8
    )
    with pytest.raises(UnsupportedQuantityError, match="loadings that are functions of characteristics"):
        bf.SortedFactorModel(**ONE).month_law(params, z)


def test_the_law_of_factors_has_its_textbook_moments():
    """Sharpe prior: the posterior mean of means is shrunk by ``periods / S^2`` months at zero."""
    model, panel = bf.SortedFactorModel(**BY_ASSET, factor_sharpe=0.5), economy().panel
    data = jax.tree.map(np.asarray, data_of(model, panel))
    factors = np.asarray(model.factor_returns({"sort_weight": jnp.asarray([[1.0, 0.4]])}, data))
    n = 20_000
    drawn = model.complete({"factor_return": np.repeat(factors[None], n, axis=0)}, data, np.random.default_rng(4))
    every = np.column_stack([factors, data.benchmarks])
    n_months, kappa = len(every), 12 / 0.5**2
    mean = every.mean(axis=0)
    moments = (every - mean).T @ (every - mean) + kappa * n_months / (kappa + n_months) * np.outer(mean, mean)
    error = drawn["factor_mean"].std(axis=0) / math.sqrt(n)
    assert np.all(np.abs(drawn["factor_mean"].mean(axis=0) - n_months / (kappa + n_months) * mean) < 5 * error)
    want = stats.invwishart(n_months, moments).mean()
    np.testing.assert_allclose(drawn["factor_covariance"].mean(axis=0), want, rtol=0.03, atol=0.03 * np.abs(want).max())
    root = drawn["factor_covariance_root"]
    np.testing.assert_allclose(root @ np.swapaxes(root, -1, -2), drawn["factor_covariance"], rtol=1e-8, atol=1e-15)


def test_directions_are_uniform_and_their_density_integrates_to_one():
    from bayesfactor.models.priors import Direction

    draws = np.asarray(Direction(3).sample(jax.random.key(0), (20_000,)))
    unit = draws / np.linalg.norm(draws, axis=1, keepdims=True)
    assert stats.kstest(unit[:, 0], stats.uniform(-1, 2).cdf).pvalue > 1e-3  # Archimedes, in three dimensions
    # E[1 / p(x)] over draws is the volume where p > 0: here of a shell, by importance against a wide normal.
    wide = stats.multivariate_normal(np.zeros(3), 2.0 * np.eye(3))
    proposed = wide.rvs(200_000, random_state=1)
    ratio = np.exp(np.asarray(Direction(3).log_prob(jnp.asarray(proposed))) - wide.logpdf(proposed))
    assert ratio.mean() == pytest.approx(1.0, abs=5 * ratio.std() / math.sqrt(len(ratio)))
    assert np.asarray(Direction(3).log_prob(jnp.asarray(draws[0]))) == pytest.approx(
        float(
            Direction(3).log_prob(jnp.asarray(draws[0] @ np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]))
        )
    )


def test_the_typical_residual_is_what_benchmarks_and_common_factors_leave():
    rng = np.random.default_rng(0)
    market, hidden = rng.normal(size=(400, 1)), rng.normal(size=(400, 2))
    returns = market @ rng.normal(size=(1, 12)) + hidden @ rng.normal(size=(2, 12)) + 0.1 * rng.normal(size=(400, 12))
    seen = rng.random(returns.shape) < 0.95
    found = typical_residual(np.where(seen, returns, 0.0), seen, market, 2)
    assert found == pytest.approx(0.1, rel=0.1)
    assert typical_residual(np.where(seen, returns, 0.0), seen, market, 1) > 0.3
    with pytest.raises(DataError, match="do not explain entirely"):
        typical_residual(market @ np.ones((1, 4)), np.ones((400, 4), bool), market, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_factors": 0}, "n_factors must be a whole number, 1 or more: got n_factors=0"),
        ({"n_factors": True}, "n_factors must be a whole number"),
        ({"hidden": "8"}, "hidden must be a tuple of whole numbers"),
        ({"loading_hidden": (0,)}, r"at least one unit: got loading_hidden=\(0,\)"),
        ({"weights": "rank"}, "weights must be one of 'softmax'"),
        ({"weights": "value", "size_in": "billions"}, "size_in must be one of None, 'level', 'log': got 'billions'"),
        ({"size_in": "log"}, "size_in='log' is for weights='value' only"),
        ({"test_assets": "funds"}, "test_assets must be one of 'portfolios', 'stocks'"),
        ({"alpha_sd": 0.0}, "positive and finite: got {'alpha_sd': 0.0}"),
        ({"pricing_error_penalty": 1.0}, "give alpha=False with it"),
        ({"pricing_error_penalty": -1.0, "alpha": False}, "penalties must be 0 or positive"),
        (
            {"pricing_error_penalty": 1.0, "cross_section_penalty": 1.0, "alpha": False},
            "give one penalty, not both",
        ),
        ({"cross_section_penalty": 1.0}, "needs residual_covariance='common'"),
        ({"noise": "huber", "residual_covariance": "full"}, "residual_covariance must be 'by_asset' or 'common'"),
        ({"noise": "huber", "pricing_error_penalty": 1.0, "alpha": False}, "penalties need noise='normal'"),
        ({"loadings": "network"}, "give test_assets='stocks' with them"),
        ({"test_assets": "stocks", "residual_covariance": "full"}, "use 'by_asset' or 'common'"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(arguments, message):
    with pytest.raises(DataError, match=message):
        bf.SortedFactorModel(**arguments)


def test_panels_that_do_not_suit_are_refused():
    panel = economy().panel
    model = bf.SortedFactorModel(**ONE)
    without = bf.simulate.economy(n_months=40, n_assets=15, n_characteristics=2, seed=5).panel
    with pytest.raises(DataError, match=r"this panel has none: add them with panel\.join_portfolios"):
        model.data(without.arrays())
    with pytest.raises(
        DataError, match=r"there in every month that is fitted: 2 of 4 are not, those at positions 0, 1"
    ):
        model.data(ragged().arrays())
    with pytest.raises(DataError, match=r"with 3 coefficients needs at least 31 months, and there are 20"):
        model.data(panel.sel(time=panel.times[:20]).arrays())
    with pytest.raises(DataError, match="needs sizes"):
        by_value(size_in="level").data(one_characteristic(panel)._replace(size=None))
    for hidden in ((), (3,)):
        with pytest.raises(DataError, match=r"weights='equal' depend on order alone.* there are hidden=.* and 2\. Use"):
            bf.SortedFactorModel(n_factors=1, hidden=hidden, weights="equal").data(panel.arrays())
    sized = one_characteristic(panel)._replace(size=np.ones(panel.arrays().returns.shape))
    with pytest.raises(bf.errors.UnitsError, match="value weights must know what `size` holds"):
        by_value().data(sized)
    with pytest.raises(DataError, match="three observed stocks or more to be sorted: not so in 2000-02-29"):
        model.check(np.array([2, 5]), 2, panel.times[:2])
    with pytest.raises(DataError, match=r"linear, and 3 of 2 characteristics cannot differ"):
        bf.SortedFactorModel(n_factors=3, hidden=()).data(panel.arrays())
    with pytest.raises(DataError, match=r"1 deep factors and 1 benchmarks need at least 4 months, and there are 3"):
        bf.SortedFactorModel(**BY_ASSET).data(panel.sel(time=panel.times[:3]).arrays())
