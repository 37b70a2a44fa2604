"""Betas of stocks, linear in characteristics, integrated out: against dense matrices of every stock-month."""

from __future__ import annotations

import functools
import warnings
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from numpyro import handlers
from numpyro.infer.util import log_density
from scipy import stats

import bayesfactor as bf
from bayesfactor.components import beta_regression
from bayesfactor.inference import fit_many
from bayesfactor.inference.streaming import cast
from tests.fits import fitted, with_data

PENALTIES = (0.0, 1.5)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@functools.cache
def panel() -> bf.Panel:
    """12 ragged months of 10 stocks, one of which has no return in three of them."""
    made = bf.simulate.priced_economy(
        n_months=12, n_assets=10, n_characteristics=2, n_portfolios=3, seed=5, ragged=True
    ).panel
    returns = made.data["returns"].values.copy()
    returns[:3, 0] = np.nan
    return with_data(made, returns=returns)


def stocks(penalty: float, **more) -> bf.SortedFactorModel:
    return bf.SortedFactorModel(
        2, (), test_assets="stocks", loadings="network", benchmark_loadings="network", loading_hidden=(), alpha=False,
        residual_covariance="common", cross_section_penalty=penalty, loading_sd=0.7, **more,
    )  # fmt: skip


def at_prior(model, data, seed: int) -> dict:
    """All sites of `joint`, deterministic ones included."""
    sites = handlers.trace(handlers.seed(model.joint, jax.random.key(seed))).get_trace(data)
    return {name: site["value"] for name, site in sites.items() if site["type"] in ("sample", "deterministic")}


def value(program, data, params) -> float:
    sites = handlers.trace(handlers.seed(program, jax.random.key(0))).get_trace(data)
    own = [name for name, site in sites.items() if site["type"] == "sample" and not site["is_observed"]]
    return float(log_density(program, (data,), {}, {name: params[name] for name in own})[0])


def dense(model, data, params):
    """Design (stock-month, coefficient), returns and precision of residuals, in typical residuals; prior sds."""
    scale = float(data.residual_scale)
    factors = np.concatenate([params["factor_return"], data.benchmarks], axis=1) / scale
    rows, left, blocks = [], [], []
    for month, observed in enumerate(np.asarray(data.observed)):
        x = np.column_stack([np.ones(observed.sum()), np.asarray(data.characteristics)[month, observed]])
        rows.append(np.concatenate([f * x for f in factors[month]], axis=1))
        left.append(np.asarray(data.returns)[month, observed] / scale)
        n = observed.sum()
        blocks.append(np.eye(n) + model.cross_section_penalty / n)
    start = np.cumsum([0, *(len(block) for block in blocks)])
    whole = np.zeros((start[-1], start[-1]))
    for first, last, block in zip(start, start[1:], blocks, strict=False):
        whole[first:last, first:last] = block
    slope = model.loading_sd / np.sqrt(2 / 3)
    sd = np.tile([model.loading_sd, slope, slope], factors.shape[1])
    return np.concatenate(rows), np.concatenate(left), whole, sd


def conditional(model, data, params) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the betas given factors and variance."""
    x, r, m, sd = dense(model, data, params)
    variance = float(params["residual_variance_base"][0])
    covariance = np.linalg.inv(x.T @ m @ x / variance + np.diag(sd**-2.0))
    return covariance @ x.T @ m @ r / variance, covariance


def flat(params) -> np.ndarray:
    """Betas by factor, level and slopes, benchmarks last."""
    parts = [
        np.concatenate([np.asarray(params[f"{name}_level"])[..., None], np.asarray(params[f"{name}_map"])], axis=-1)
        for name in ("loading", "benchmark_loading")
    ]
    both = np.concatenate(parts, axis=-2)
    return both.reshape(*both.shape[:-2], -1)


def data_of(model):
    return jax.tree.map(jnp.asarray, cast(model.data(panel().arrays()), True))


@pytest.mark.parametrize("penalty", PENALTIES)
def test_the_program_is_the_joint_one_with_betas_integrated_out(penalty):
    model = stocks(penalty)
    assert model.integrates_betas
    data = data_of(model)
    for seed in range(3):
        params = at_prior(model, data, seed)
        mean, covariance = conditional(model, data, params)
        own = stats.multivariate_normal(mean, covariance).logpdf(flat(params))
        assert value(model.joint, data, params) == pytest.approx(value(model, data, params) + own, abs=1e-7)


def test_the_evidence_is_the_density_of_all_stock_months():
    model = stocks(0.0)
    data = data_of(model)
    params = at_prior(model, data, 4)
    x, r, _, sd = dense(model, data, params)
    variance = float(params["residual_variance_base"][0])
    want = stats.multivariate_normal(np.zeros(len(r)), variance * np.eye(len(r)) + x @ np.diag(sd**2) @ x.T).logpdf(r)
    assert float(model.log_evidence(params, data)) == pytest.approx(want, abs=1e-8)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_betas_are_drawn_from_their_exact_conditional(penalty):
    model = stocks(penalty)
    data = data_of(model)
    params = at_prior(model, data, 1)
    mean, covariance = conditional(model, data, params)
    n = 20_000
    names = ("factor_return", "residual_variance_base")
    repeated = {name: np.repeat(np.asarray(params[name])[None], n, axis=0) for name in names}
    drawn = flat(model.complete(repeated, jax.tree.map(np.asarray, data), np.random.default_rng(3)))
    sd = np.sqrt(np.diag(covariance))
    assert np.all(np.abs(drawn.mean(axis=0) - mean) < 5 * sd / np.sqrt(n))
    np.testing.assert_allclose(np.cov(drawn.T) / np.outer(sd, sd), covariance / np.outer(sd, sd), atol=0.04)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_float32_is_enough_where_characteristics_coincide(penalty):
    """The density's differences between near sets of factors, which is what a sampler goes by."""
    rng = np.random.default_rng(4)
    n_months, n_stocks = 120, 300
    z = rng.uniform(-1, 1, (n_months, n_stocks, 6))
    z[..., 4], z[..., 5] = z[..., 0], z[..., 1] + 0.01 * rng.normal(size=z.shape[:2])
    factors, moved = rng.normal(size=(2, n_months, 3))
    seen = rng.random(z.shape[:2]) < 0.9
    returns = np.einsum("tf,tnf->tn", factors, z[..., :3]) + rng.normal(size=z.shape[:2])
    sums = beta_regression.stock_sums(z, returns, seen, np.r_[1.0, np.full(6, 0.7)], penalty)

    def density(step: float, dtype: type) -> float:
        cast = [jnp.asarray(leaf, dtype) for leaf in (factors + step * moved, *sums)]
        own = beta_regression.StockSums(*cast[1:])
        return float(beta_regression.log_evidence(cast[0], own, jnp.asarray(1.0, dtype), penalty))

    error = [density(step, jnp.float32) - density(step, jnp.float64) for step in np.linspace(0, 0.02, 12)]
    assert np.std(error) < 0.05


def test_minibatches_of_months_have_no_sums_of_all_months():
    assert stocks(0.0).data(panel().arrays()).batch(np.array([0, 4])).stock_sums is None


def test_an_empty_month_says_nothing():
    rng = np.random.default_rng(0)
    z, r = rng.normal(size=(4, 6, 2)), rng.normal(size=(4, 6))
    seen = rng.random((4, 6)) < 0.7
    seen[2] = False
    factors = rng.normal(size=(4, 1))
    kept = [0, 1, 3]
    some, all_of = (
        float(
            beta_regression.log_evidence(
                jnp.asarray(factors[months]),
                beta_regression.stock_sums(z[months], r[months], seen[months], np.ones(3), 2.0),
                jnp.asarray(0.8),
                2.0,
            )
        )
        for months in (kept, slice(None))
    )
    assert all_of == pytest.approx(some, abs=1e-12)


@pytest.mark.parametrize(
    "change",
    [{"loading_hidden": (2,)}, {"benchmark_loadings": "constant"}, {"noise": "laplace"}, {"alpha": True}],
)
def test_other_betas_stay_in_the_program(change):
    settings = {
        "n_factors": 2, "hidden": (), "test_assets": "stocks", "loadings": "network", "benchmark_loadings": "network",
        "loading_hidden": (), "alpha": False, "residual_covariance": "common",
    }  # fmt: skip
    assert bf.SortedFactorModel(**settings).integrates_betas
    assert not bf.SortedFactorModel(**settings | change).integrates_betas


FEW = bf.NUTS(warmup=20, draws=20, chains=2, max_tree_depth=4)


@pytest.mark.parametrize("inference", [FEW, bf.SVI(guide="normal", steps=100, restarts=2, draws=20, batch=4)], ids=repr)
def test_a_fit_has_the_betas_that_its_program_left_out(inference):
    fit = fitted(stocks(0.0), panel(), inference)
    posterior = fit.tree["posterior"]
    assert posterior["loading_map"].shape == (2, 20, 2, 2)
    assert posterior["benchmark_loading_level"].shape == (2, 20, 1)
    assert fit.likelihood_kind == "pseudo-likelihood"


def test_fits_side_by_side_have_the_betas_of_their_own_panels():
    model, later = stocks(0.0), with_data(panel(), returns=-panel().data["returns"].values)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bf.errors.ConvergenceWarning)
        together = fit_many(model, [panel(), later], FEW, seeds=[1, 2])
    level = [float(fit.tree["posterior"]["benchmark_loading_level"].mean()) for fit in together]
    assert level[0] > 0 > level[1]  # the second panel's returns are turned round, its market is not
    for fit, own, seed in zip(together, (panel(), later), (1, 2), strict=True):
        alone = fitted(model, own, FEW, seed=seed)
        assert fit.tree["posterior"]["loading_level"].shape == alone.tree["posterior"]["loading_level"].shape
        # The first draws are the same but for rounding.
        np.testing.assert_allclose(
            fit.tree["posterior"]["residual_sd"][:, 0], alone.tree["posterior"]["residual_sd"][:, 0], rtol=0.3
        )


def test_a_panel_without_benchmarks_has_betas_of_deep_factors_alone():
    bare = panel().data.drop_vars(["benchmark_returns", "benchmark"], errors="ignore")
    alone = bf.Panel(bare, panel().frequency, panel().preparation)
    fit = fitted(stocks(0.0), alone, FEW)
    assert "benchmark_loading_level" not in fit.tree["posterior"]
    assert fit.tree["posterior"]["loading_level"].shape == (2, 20, 2)


def test_a_guide_of_another_version_is_refused():
    fit = fitted(stocks(0.0), panel(), bf.SVI(guide="normal", steps=100, restarts=2, draws=20, polish=0))
    tree = fit.tree.copy()
    guide = tree["guide"].to_dataset() if "guide" in tree else None
    assert guide is not None, list(tree)
    longer = guide.pad(parameter=(0, 3), constant_values=0.0)
    tree["guide"] = xr.DataTree(longer)
    with pytest.raises(bf.errors.DataError, match="it was made by another version"):
        bf.redraw(replace(fit, tree=tree), panel())
