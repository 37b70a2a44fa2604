"""Months drawn from the prior look like months of stock returns."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro import handlers

import bayesfactor as bf
from bayesfactor.components import month
from bayesfactor.panel.contract import check_units

N_DRAWS = 200
MODELS = {
    "linear": {"hidden": (), "noise": "normal"},
    "network": {"hidden": (8,), "noise": "normal"},
    "laplace": {"hidden": (), "noise": "laplace"},
    "huber": {"hidden": (), "noise": "huber"},
}


@pytest.fixture(scope="module", params=MODELS.values(), ids=MODELS)
def prior_months(request):
    """Under the prior: returns and expected returns (draw, time, stock), average intercepts (draw,)."""
    model = bf.FundamentalFactorModel(**request.param)
    panel = bf.datasets.us_equities()
    arrays = panel.sel(time=panel.times[:4]).arrays()
    data = model.data(arrays)
    z = jnp.asarray(arrays.characteristics)

    def draw(key):
        prior_key, month_key = jax.random.split(key)
        sites = handlers.trace(handlers.seed(model, prior_key)).get_trace(data)
        params = {name: site["value"] for name, site in sites.items() if site["type"] in ("sample", "deterministic")}
        laws = jax.vmap(lambda rows: model.month_law(params, rows))(z)
        months = jax.vmap(month.simulate)(jax.random.split(month_key, len(z)), laws)
        return months, laws.mean, params["slope_mean"][0]

    return jax.tree.map(np.asarray, jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(0), N_DRAWS)))


def test_the_units_check_never_fires(prior_months):
    returns, _, _ = prior_months
    for draw in returns:
        check_units(draw, "returns")


def test_the_spread_of_stocks_is_plausible(prior_months):
    returns, mean, _ = prior_months
    spread = returns.std(axis=2).mean(axis=1)
    assert 0.05 < np.median(spread) < 0.25
    assert np.quantile(spread, 0.99) < 0.6
    share = mean.var(axis=2).mean(axis=1) / returns.var(axis=2).mean(axis=1)
    assert 0.001 < np.median(share) < 0.2, "expected returns explain a small part of a month"


def test_the_average_stock_has_a_plausible_sharpe_ratio(prior_months):
    returns, _, intercept = prior_months
    market = returns.mean(axis=2)
    sharpe = np.sqrt(12) * np.abs(intercept) / np.sqrt(np.mean(market.var(axis=1)))
    assert 0.1 < np.median(sharpe) < 2.0
