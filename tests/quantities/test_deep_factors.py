"""Quantities of sorted factors, against brute force on the draws of one small fit."""

from __future__ import annotations

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from fits import fitted, with_data
from scipy import stats

import bayesfactor as bf
from bayesfactor.components import rank_weights
from bayesfactor.errors import AlignmentError, DataError, LookAheadError, UnsupportedQuantityError
from bayesfactor.evaluation import compare_scores
from bayesfactor.quantities.alignment import alignment_of
from bayesfactor.quantities.assets import prob_beyond_zero

N_TRAIN = 40
SETTINGS = bf.NUTS(warmup=100, draws=60, chains=2, max_tree_depth=6, precision="float64")
FULL = bf.SortedFactorModel(n_factors=2, hidden=())
SEPARATE = bf.SortedFactorModel(n_factors=2, hidden=(), residual_covariance="by_asset")


@functools.cache
def panel() -> bf.Panel:
    """48 ragged months of 20 stocks, one benchmark and five portfolios."""
    economy = bf.simulate.priced_economy(
        n_months=48, n_assets=20, n_characteristics=3, n_portfolios=5, seed=8, alpha=0.002, ragged=True
    )
    lost = np.random.default_rng(1).random(economy.panel.data["returns"].shape) < 0.05
    return with_data(economy.panel, returns=np.where(lost, np.nan, economy.panel.data["returns"].values))


def train() -> bf.Panel:
    return panel().sel(time=panel().times[:N_TRAIN])


def later() -> bf.Panel:
    return panel().sel(time=panel().times[N_TRAIN:])


@functools.cache
def full_fit() -> bf.Fit:
    return fitted(FULL, train(), SETTINGS, seed=1)


@functools.cache
def separate_fit() -> bf.Fit:
    return fitted(SEPARATE, train(), SETTINGS, seed=1)


def values(fit: bf.Fit, name: str) -> np.ndarray:
    return fit.tree["posterior"][name].values


def shuffled(fit: bf.Fit) -> bf.Fit:
    """The same posterior, every draw's factors in another order and turned round."""
    rng = np.random.default_rng(3)
    posterior = fit.tree["posterior"].to_dataset().copy(deep=True)
    axes = {"factor_return": 3, "sort_weight": 2, "loading": 3}
    for chain in range(fit.shape[0]):
        for draw in range(fit.shape[1]):
            order, sign = rng.permutation(2), rng.choice([-1.0, 1.0], 2)
            for name, axis in axes.items():
                one = np.take(posterior[name].values[chain, draw], order, axis=axis - 2)
                shape = [1] * one.ndim
                shape[axis - 2] = 2
                posterior[name].values[chain, draw] = one * sign.reshape(shape)
            every, signs = np.append(order, 2), np.append(sign, 1.0)
            posterior["factor_mean"].values[chain, draw] = posterior["factor_mean"].values[chain, draw][every] * signs
            covariance = posterior["factor_covariance"].values[chain, draw][every][:, every]
            posterior["factor_covariance"].values[chain, draw] = covariance * np.outer(signs, signs)
            root = np.linalg.cholesky(covariance * np.outer(signs, signs))
            posterior["factor_covariance_root"].values[chain, draw] = root
    tree = fit.tree.copy()
    tree["posterior"] = xr.DataTree(posterior)
    return bf.Fit(fit.model, fit.inference, tree, fit.status, fit.reasons, fit.provenance)


def test_alignment_undoes_any_order_and_signs():
    want = bf.align(full_fit())
    reference = xr.DataArray(alignment_of(full_fit()).reference, {"time": full_fit().train_times}, ("time", "factor"))
    found = bf.align(shuffled(full_fit()), reference)
    for name in ("factor_return", "sort_weight", "loading", "factor_mean", "factor_covariance"):
        np.testing.assert_allclose(values(found, name), values(want, name), rtol=1e-12, atol=1e-15)
    root = values(found, "factor_covariance_root")
    np.testing.assert_allclose(
        root @ np.swapaxes(root, -1, -2), values(found, "factor_covariance"), rtol=1e-9, atol=1e-15
    )
    np.testing.assert_array_equal(values(found, "alpha"), values(full_fit(), "alpha"))
    again = alignment_of(want)
    assert (again.sign == 1).all()
    assert (again.order == [0, 1]).all()
    consensus = alignment_of(shuffled(full_fit())).reference
    np.testing.assert_allclose(np.abs(np.corrcoef(consensus.T, reference.values.T)[:2, 2:]).max(axis=1), 1, atol=0.01)


def test_quantities_of_an_aligned_fit_keep_its_order():
    """A reference in another order and of other signs than the fit's own consensus."""
    own = alignment_of(full_fit()).reference
    reference = xr.DataArray(-own[:, ::-1], {"time": full_fit().train_times}, ("time", "factor"))
    fit = bf.align(full_fit(), reference)
    found = bf.factors(fit, train())["mean"].values
    np.testing.assert_allclose(found, values(fit, "factor_return").mean(axis=(0, 1)), rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(found, -bf.factors(full_fit(), train())["mean"].values[:, ::-1], rtol=1e-6, atol=1e-12)
    deep = {"priced_factor": ["deep_1", "deep_2"]}
    turned = -bf.loadings(full_fit())["mean"].sel(deep).values[:, ::-1]
    np.testing.assert_allclose(bf.loadings(fit)["mean"].sel(deep).values, turned, rtol=1e-6)


def test_alignment_changes_no_scale():
    aligned = bf.align(full_fit())
    square = np.sum(values(aligned, "factor_return") ** 2, axis=-1)
    np.testing.assert_allclose(square, np.sum(values(full_fit(), "factor_return") ** 2, axis=-1), rtol=1e-12)
    explained = values(aligned, "factor_return") @ np.swapaxes(values(aligned, "loading"), -1, -2)
    raw = values(full_fit(), "factor_return") @ np.swapaxes(values(full_fit(), "loading"), -1, -2)
    np.testing.assert_allclose(explained, raw, rtol=1e-9, atol=1e-12)


def test_a_reference_must_have_the_months_and_the_factors():
    reference = xr.DataArray(np.zeros((3, 2)), {"time": panel().times[:3]}, ("time", "factor"))
    with pytest.raises(AlignmentError, match="it lacks 37 of 40"):
        bf.align(full_fit(), reference)
    with pytest.raises(AlignmentError, match="the fit's 2 factors"):
        bf.align(full_fit(), reference[:, :1])
    broken = xr.DataArray(np.ones((N_TRAIN, 2)), {"time": train().times}, ("time", "factor"))
    broken[5, 0] = np.nan
    with pytest.raises(AlignmentError, match="finite in every month that the fit was trained on: not so in 2000-07-31"):
        bf.align(full_fit(), broken)


def test_factors_of_training_months_are_the_posterior_s():
    found = bf.factors(full_fit(), train())
    draws = values(bf.align(full_fit()), "factor_return")
    np.testing.assert_allclose(found["mean"], draws.mean(axis=(0, 1)), rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(found["upper"], np.quantile(draws, 0.95, axis=(0, 1)), rtol=1e-6, atol=1e-12)
    assert 0 < float(found["share_moved"].max()) < 1


def test_running_sums_have_bands_of_their_own():
    draws = bf.factors(full_fit(), panel(), summary="draws")["factor_return"].values.astype(float)
    found = bf.factors(full_fit(), panel(), cumulative=True, prob=0.8)
    summed = draws.cumsum(axis=2)
    np.testing.assert_allclose(found["mean"], summed.mean(axis=(0, 1)), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found["upper"], np.quantile(summed, 0.9, axis=(0, 1)), rtol=1e-9, atol=1e-12)
    assert found.attrs["units"] == "decimal"
    assert found.attrs["quantity"] == "cumulative factor return"
    assert found.attrs["train_last"] == f"{train().times[-1]:%Y-%m-%d}"
    of_draws = bf.factors(full_fit(), panel(), cumulative=True, summary="draws")["factor_return"]
    np.testing.assert_allclose(of_draws, summed, rtol=1e-9, atol=1e-12)


def test_a_pseudo_likelihood_is_said_wherever_a_density_is_not(tmp_path):
    density = full_fit()
    stocks = bf.SortedFactorModel(n_factors=2, hidden=(), test_assets="stocks", residual_covariance="by_asset")
    pseudo = bf.Fit(stocks, density.inference, density.tree, density.status, density.reasons, density.provenance)
    for fit, said in ((density, None), (pseudo, "pseudo-likelihood")):
        weights = bf.portfolio_weights(fit, later())
        held = bf.top_holdings(weights, later().times[0])
        ratios, joint = bf.sharpe_ratios(fit), bf.no_alpha(fit)
        for result in (bf.alphas(fit), bf.loadings(fit), bf.factors(fit, later()), weights, held, ratios, joint):
            assert result.attrs.get("likelihood_kind") == said
            assert result.attrs["status"] == fit.status
        table = pd.read_csv(bf.to_csv(bf.alphas(fit), tmp_path / "alphas.csv"))
        for labelled in (held, ratios, joint, table):
            assert ("likelihood_kind" in labelled) == (said is not None)
    assert held.attrs["prob"] == 0.9


def test_factors_and_weights_of_later_months_follow_from_the_network_alone():
    fit, arrays = full_fit(), later().arrays()
    draws = bf.factors(fit, later(), summary="draws")["factor_return"].values
    alignment = alignment_of(fit)
    chain, draw = 1, 7
    place = chain * fit.shape[1] + draw
    params = {"sort_weight": jnp.asarray(values(fit, "sort_weight")[chain, draw])}
    with jax.enable_x64(True):
        legs = FULL.portfolio_weights(
            params, jnp.asarray(arrays.characteristics[2], jnp.float64), jnp.asarray(arrays.in_universe[2]), None
        )
        long, short = (np.asarray(leg, float) for leg in legs)
    seen, returns = arrays.observed[2], arrays.returns[2]
    earned = [
        (long[seen, k] @ returns[seen]) / long[seen, k].sum() - (short[seen, k] @ returns[seen]) / short[seen, k].sum()
        for k in range(2)
    ]
    want = np.array(earned)[alignment.order[place]] * alignment.sign[place]
    np.testing.assert_allclose(draws[chain, draw, 2], want, rtol=1e-6)
    weights = bf.portfolio_weights(fit, later())
    used = later().data["in_universe"].values
    assert np.isnan(weights["mean"].values[~used]).all()
    np.testing.assert_allclose(np.nansum(weights["mean"], axis=1), 0, atol=1e-6)
    assert float(weights["effective_long"].min()) > 1
    assert float(weights["effective_long"].max()) <= used.sum(axis=1).max()
    top = bf.top_holdings(weights, later().times[2], n=3)
    best = weights["mean"].sel(time=later().times[2], factor="deep_1").to_series().dropna().sort_values()
    assert top.loc[("deep_1", "long", 1), "asset"] == best.index[-1]
    assert top.loc[("deep_1", "short", 1), "asset"] == best.index[0]
    every = bf.top_holdings(weights, later().times[2], n=100).loc["deep_1"]
    assert not every["asset"].duplicated().any(), "in one leg only"
    assert (every.loc["long", "mean"] > 0).all()
    assert (every.loc["short", "mean"] < 0).all()
    assert len(every) == (best != 0).sum()
    with pytest.raises(DataError, match="from 2003-06-30 to 2004-01-31: found '1999-01-31'"):
        bf.top_holdings(weights, "1999-01-31")
    with pytest.raises(DataError, match="n must be a whole number of stocks, 1 or more: got 0"):
        bf.top_holdings(weights, later().times[2], n=0)


def test_deep_characteristics_are_standardised_over_the_universe():
    found = bf.deep_characteristics(full_fit(), train())
    np.testing.assert_allclose(found["mean"].mean("asset"), 0, atol=1e-5)
    used = train().data["in_universe"].values
    assert np.isnan(found["mean"].values[~used]).all()
    assert float(np.nanmax(np.nanstd(found["mean"], axis=1))) <= 1 + 1e-5


def test_importance_of_a_linear_sort_is_its_weights_over_the_spread():
    draws = bf.importance(full_fit(), train(), summary="draws")["importance"].values
    arrays, alignment = train().arrays(), alignment_of(full_fit())
    weight = values(full_fit(), "sort_weight")[1, 7]
    spreads = [
        np.std(arrays.characteristics[t][arrays.in_universe[t]] @ weight.T, axis=0) for t in range(len(arrays.returns))
    ]
    want = np.mean([np.abs(weight) / spread[:, None] for spread in spreads], axis=0)
    order = alignment.order[full_fit().shape[1] + 7]
    np.testing.assert_allclose(draws[1, 7], want[order], rtol=1e-6)


def test_alphas_and_loadings_are_parameters_of_the_fit():
    alpha = bf.alphas(full_fit())
    draws = values(full_fit(), "alpha")
    np.testing.assert_allclose(alpha["mean"], draws.mean(axis=(0, 1)), rtol=1e-9)
    np.testing.assert_allclose(alpha["lower"], np.quantile(draws, 0.05, axis=(0, 1)), rtol=1e-9)
    loading = bf.loadings(full_fit())
    assert list(loading["priced_factor"].values) == ["deep_1", "deep_2", "MKT"]
    np.testing.assert_allclose(
        loading["mean"].sel(priced_factor="MKT"),
        values(full_fit(), "benchmark_loading").mean(axis=(0, 1))[:, 0],
        rtol=1e-9,
    )
    without = bf.SortedFactorModel(n_factors=2, hidden=(), alpha=False)
    with pytest.raises(UnsupportedQuantityError, match="alpha=False"):
        bf.alphas(fitted(without, train(), SETTINGS))


def test_assets_that_a_fit_has_not_seen_have_their_exact_conditional():
    """The fit's own portfolios, given again as unseen ones, have the posterior that they had."""
    fit = separate_fit()
    own, again = bf.alphas(fit), bf.alphas(fit, train())
    error = own["sd"] / np.sqrt(fit.shape[0] * fit.shape[1])
    assert float((np.abs(own["mean"] - again["mean"]) / error).max()) < 6
    np.testing.assert_allclose(again["sd"], own["sd"], rtol=0.35)
    np.testing.assert_allclose(bf.loadings(fit, train())["mean"], bf.loadings(fit)["mean"], atol=0.15)
    lifted = with_data(train(), portfolio_returns=train().data["portfolio_returns"].values + 0.05)
    raised = bf.alphas(fit, lifted)["mean"] - again["mean"]
    assert float(raised.min()) > 0  # what no factor of the fit earns is alpha, as far as its prior lets it


def test_joint_statements_about_alphas():
    told = bf.no_alpha(full_fit(), within=0.004)
    with pytest.raises(DataError, match=r"needs at least 100 draws: there are 20"):
        prob_beyond_zero(values(full_fit(), "alpha").reshape(-1, 5)[:20])
    draws = values(full_fit(), "alpha").reshape(-1, 5)
    assert told["prob_all_within"] == pytest.approx(np.mean(np.abs(draws).max(axis=1) < 0.004))
    sigma = values(full_fit(), "residual_covariance").reshape(-1, 5, 5)
    want = np.mean([a @ np.linalg.inv(s) @ a for a, s in zip(draws, sigma, strict=True)])
    assert told["distance"] == pytest.approx(want, rel=1e-6)
    assert 0 <= told["prob_beyond_zero"] <= 1
    assert np.isnan(bf.no_alpha(separate_fit())["distance"])
    for within in (0.0, -1.0, 10.0, float("nan")):
        with pytest.raises(DataError, match=r"within must be decimal per month, between 0 and 0\.5"):
            bf.no_alpha(full_fit(), within=within)
    weekly = replace(full_fit(), provenance=full_fit().provenance | {"periods_per_year": 52})
    a_week = np.mean(np.abs(draws).max(axis=1) < 0.004 * 12 / 52)
    assert bf.no_alpha(weekly, within=0.004)["prob_all_within"] == pytest.approx(a_week)


def test_sharpe_ratios_and_tangency_weights_are_those_of_the_draws():
    table = bf.sharpe_ratios(full_fit())
    fit = bf.align(full_fit())
    mean, covariance = values(fit, "factor_mean").reshape(-1, 3), values(fit, "factor_covariance").reshape(-1, 3, 3)
    best = [np.sqrt(12 * m @ np.linalg.inv(c) @ m) for m, c in zip(mean, covariance, strict=True)]
    market = np.abs(mean[:, 2]) / np.sqrt(covariance[:, 2, 2]) * np.sqrt(12)
    assert table.loc["all", "mean"] == pytest.approx(np.mean(best), rel=1e-6)
    assert table.loc["benchmarks", "mean"] == pytest.approx(market.mean(), rel=1e-6)
    assert table.loc["gain", "lower"] == pytest.approx(np.quantile(best - market, 0.05), rel=1e-5)
    assert table.loc["all", "prior_mean"] == pytest.approx(0.5 * stats.chi(3).mean(), rel=1e-9)
    # Turned to have earned a positive mean in 40 months, whatever the true one is.
    rng = np.random.default_rng(9)
    true = 0.5 * rng.standard_normal(400_000)
    turned = true * np.sign(true + np.sqrt(12 / N_TRAIN) * rng.standard_normal(400_000))
    assert table.loc["deep_1", "prior_mean"] == pytest.approx(turned.mean(), abs=0.003)
    assert table.loc["MKT", "prior_mean"] == 0
    assert table.loc["benchmarks", "prior_mean"] == pytest.approx(0.5 * stats.chi(1).mean(), rel=1e-9)
    prior = {"all": 0.5 * stats.chi(3).rvs(100_000, rng), "deep_1": turned[:100_000]}
    posterior = {"all": np.array(best), "deep_1": mean[:, 0] / np.sqrt(covariance[:, 0, 0]) * np.sqrt(12)}
    for name, drawn in prior.items():
        beyond = np.searchsorted(np.sort(drawn), posterior[name]).mean() / 100_000
        assert table.loc[name, "prob_beyond_prior"] == pytest.approx(beyond, abs=0.01)
    assert 0 < table.loc["gain", "prob_beyond_prior"] < 1
    turned = bf.align(full_fit(), -fit.tree["posterior"]["factor_return"].mean(("chain", "draw")))
    opposite = bf.sharpe_ratios(turned)
    assert opposite.loc["deep_1", "mean"] == pytest.approx(-table.loc["deep_1", "mean"], rel=1e-6)
    assert opposite.loc["deep_1", "prior_mean"] == 0  # of signs that are given
    assert bf.sharpe_ratios(bf.align(turned)).loc["deep_1", "prior_mean"] == 0
    weights = [np.linalg.solve(c, m) * np.sqrt(np.diag(c)) for m, c in zip(mean, covariance, strict=True)]
    weights = np.array([w / np.abs(w).sum() for w in weights])
    np.testing.assert_allclose(bf.tangency(full_fit())["mean"], weights.mean(axis=0), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("make", [full_fit, separate_fit])
def test_later_months_are_scored_given_their_factors(make):
    fit = make()
    scores = bf.pricing_scores(fit, later())
    factors = bf.factors(fit, later(), summary="draws")["factor_return"].values
    aligned = bf.align(fit)
    market, returns = later().data["benchmark_returns"].values[:, 0], later().data["portfolio_returns"].values
    densities = []
    for chain in range(2):
        for draw in range(fit.shape[1]):
            mean = values(fit, "alpha")[chain, draw] + factors[chain, draw] @ values(aligned, "loading")[chain, draw].T
            mean = mean + np.outer(market, values(fit, "benchmark_loading")[chain, draw][:, 0])
            sigma = (
                values(fit, "residual_covariance")[chain, draw]
                if fit.model.covariance == "full"
                else np.diag(values(fit, "residual_sd")[chain, draw] ** 2)
            )
            densities.append(stats.multivariate_normal(np.zeros(5), sigma).logpdf(returns - mean))
    want = np.log(np.mean(np.exp(densities), axis=0))
    np.testing.assert_allclose(scores["score"], want, rtol=1e-6)
    lost = later().data["portfolio_returns"].values.copy()
    lost[1, 2] = np.nan
    fewer = bf.pricing_scores(fit, with_data(later(), portfolio_returns=lost))
    assert fewer["n_assets"].values.tolist() == [5, 4, *[5] * 6]
    assert float(fewer["score"][0]) == pytest.approx(float(scores["score"][0]), rel=1e-12)
    with pytest.raises(LookAheadError, match="training month"):
        bf.pricing_scores(fit, train())


def test_later_months_are_scored_without_the_penalty_of_the_estimation():
    model = bf.SortedFactorModel(
        n_factors=2, hidden=(), residual_covariance="by_asset", alpha=False, pricing_error_penalty=3.0
    )
    fit = fitted(model, train(), SETTINGS, seed=1)
    plain = replace(fit, model=replace(model, pricing_error_penalty=0.0))
    np.testing.assert_array_equal(bf.pricing_scores(fit, later())["score"], bf.pricing_scores(plain, later())["score"])
    posterior = bf.align(fit).tree["posterior"]
    factors = bf.factors(fit, later(), summary="draws")["factor_return"].values
    market, returns = later().data["benchmark_returns"].values, later().data["portfolio_returns"].values
    explained = np.einsum("cdtk,cdik->cdti", factors, posterior["loading"].values)
    explained += np.einsum("tk,cdik->cdti", market, posterior["benchmark_loading"].values)
    density = stats.norm(explained, posterior["residual_sd"].values[:, :, None]).logpdf(returns).sum(axis=-1)
    want = np.log(np.mean(np.exp(density), axis=(0, 1)))
    np.testing.assert_allclose(bf.pricing_scores(fit, later())["score"], want, rtol=1e-6)


def test_unseen_portfolios_know_no_month_that_is_scored():
    fit = separate_fit()
    assert np.isfinite(bf.pricing_scores(fit, later(), unseen=train())["score"]).all()
    with pytest.raises(LookAheadError, match="unseen portfolios are priced in the fit's training months: found 2003"):
        bf.pricing_scores(fit, later(), unseen=panel())
    lost = train().data["portfolio_returns"].values.copy()
    lost[:, 1] = np.nan
    with pytest.raises(DataError, match="must have a return in some month: P2"):
        bf.alphas(fit, with_data(train(), portfolio_returns=lost))
    unknown = train().data["benchmark_returns"].values.copy()
    unknown[4, 0] = np.nan
    for quantity in (bf.alphas, bf.loadings):
        with pytest.raises(DataError, match=r"every benchmark must be known .*: not so in 2000-06-30"):
            quantity(fit, with_data(train(), benchmark_returns=unknown))


def test_a_leg_without_returns_is_told():
    panel = train()
    returns = panel.data["returns"].values.copy()
    z = panel.data["characteristics"].values @ np.array([1.0, 0.0, 0.0])
    returns[3, z[3] > np.nanmedian(z[3])] = np.nan
    model = bf.SortedFactorModel(n_factors=1, hidden=(), weights="equal", residual_covariance="by_asset")
    one = panel.sel(characteristic=["x1"])
    settings = bf.NUTS(warmup=20, draws=10, chains=2)
    fit = fitted(model, one, settings)
    assert not any("without a return" in reason for reason in fit.reasons)
    with pytest.warns(bf.errors.DataWarning, match=r"more than 50% of a leg belonged to stocks .* so in 2000-05-31"):
        bf.factors(fit, with_data(one, returns=returns))
    doubted = fitted(model, with_data(one, returns=returns), settings)
    reason = (
        "more than 50% of a leg belonged to stocks without a return, and the others, or 0, stand for it, in 2000-05-31"
    )
    assert any(why.startswith(reason) for why in doubted.reasons)


def test_a_leg_that_is_mostly_lost_on_average_over_draws_is_lost():
    moved = np.zeros((4, 3, 2))
    moved[:, 0] = [0.7, 0.1]
    moved[:2, 1, 0] = moved[2:, 1, 1] = 0.6  # whichever factor it is called
    moved[0, 2] = 1.0
    np.testing.assert_array_equal(rank_weights.lost(moved), [True, True, False])


def test_a_sorted_model_has_no_sensitivities():
    with pytest.raises(UnsupportedQuantityError, match="see importance, loadings and alphas"):
        bf.sensitivities(full_fit(), train())
    with pytest.raises(UnsupportedQuantityError, match="see importance, loadings and alphas"):
        bf.interactions(full_fit(), train())
    assert not bf.fits_together(FULL, train(), SETTINGS)


def test_models_that_price_the_same_portfolios_are_compared():
    scores = {
        name: bf.pricing_scores(fit, later())["score"] for name, fit in (("a", full_fit()), ("b", separate_fit()))
    }
    with pytest.warns(bf.errors.BayesFactorWarning):
        table = compare_scores(scores)
    assert set(table.index) == {"a", "b"}


def test_a_fit_survives_its_file_and_a_plain_one_is_refused(tmp_path):
    again = bf.load(full_fit().save(tmp_path / "fit.nc"))
    assert again.model == FULL
    posterior, kept = full_fit().tree["posterior"].to_dataset(), again.tree["posterior"].to_dataset()
    xr.testing.assert_equal(kept, posterior)
    assert {name: kept[name].attrs for name in kept} == {name: posterior[name].attrs for name in posterior}
    np.testing.assert_array_equal(bf.factors(again, later())["mean"], bf.factors(full_fit(), later())["mean"])
    with pytest.raises(DataError, match="this panel has none"):
        bf.factors(again, with_data(later(), returns=np.full(later().data["returns"].shape, np.nan)))


def test_variational_fits_have_the_same_quantities():
    """The default guide, and minibatches, in which every coefficient is a parameter."""
    guide = fitted(FULL, train(), bf.SVI(steps=300, draws=100, restarts=2, precision="float64"))
    assert bf.alphas(guide)["mean"].shape == (5,)
    difference = bf.alphas(guide)["mean"] - bf.alphas(full_fit())["mean"]
    assert float(np.abs(difference).max()) < 0.004
    model = bf.SortedFactorModel(n_factors=1, hidden=(), residual_covariance="by_asset")
    batch = fitted(model, train(), bf.SVI(steps=100, batch=8, draws=40, restarts=2))
    assert np.isfinite(bf.loadings(batch)["mean"]).all()


def test_stocks_are_priced_with_loadings_that_are_networks():
    model = bf.SortedFactorModel(
        n_factors=1, hidden=(), test_assets="stocks", loadings="network", benchmark_loadings="network",
        loading_hidden=(2,), alpha=False, residual_covariance="common",
    )  # fmt: skip
    fit = fitted(model, train(), bf.NUTS(warmup=50, draws=30, chains=2, max_tree_depth=5))
    assert fit.likelihood_kind == "pseudo-likelihood"
    assert bf.factors(fit, later())["mean"].shape == (8, 1)
    returns = bf.expected_returns(fit, later())
    assert np.isfinite(returns["mean"].values[later().data["in_universe"].values]).all()
    with pytest.raises(UnsupportedQuantityError, match="functions of characteristics"):
        bf.loadings(fit)
