"""The collapsed program is the whole one with what it leaves out integrated out, at any draw."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from fits import panel, prior_draw
from numpyro import handlers
from numpyro.infer.util import log_density
from scipy import special, stats

import bayesfactor as bf
from bayesfactor.models.training import MonthStatistics, training_data


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


def sampled_by(program, data):
    sites = handlers.trace(handlers.seed(program, jax.random.key(0))).get_trace(data)
    return {name for name, site in sites.items() if site["type"] == "sample" and not site["is_observed"]}


MODELS = {
    "linear, partial": bf.FundamentalFactorModel(hidden=(), noise="normal"),
    "linear, full": bf.FundamentalFactorModel(hidden=(), noise="normal", pooling="full"),
    "network, partial": bf.FundamentalFactorModel(hidden=(3,), noise="normal"),
    "network, full": bf.FundamentalFactorModel(hidden=(3,), noise="normal", pooling="full"),
}


def identity_gap(model, data, seed):
    """``log p(rest, r) + log N(w; P^-1 b, P^-1) - log p(rest, w, r)`` and the size of its terms."""
    draw = prior_draw(model, data, seed)
    rest = {name: draw[name] for name in sampled_by(model.collapsed, data)}
    assert sampled_by(model, data) == {*rest, "slope_mean_decentered"}

    @jax.jit
    def both(rest, draw):
        whole = log_density(model, (data,), {}, rest | {"slope_mean_decentered": draw["slope_mean_decentered"]})[0]
        return log_density(model.collapsed, (data,), {}, rest)[0], whole, *model.slopes_given_rest(draw, data)

    collapsed, whole, precision, projection = (np.asarray(part) for part in both(rest, draw))
    given_rest = stats.multivariate_normal(np.linalg.solve(precision, projection), np.linalg.inv(precision))
    # The program samples the slopes in units of their prior sd.
    prior_sd = draw["slope_mean"] / draw["slope_mean_decentered"]
    return collapsed + given_rest.logpdf(draw["slope_mean"]) - whole + np.log(prior_sd).sum(), abs(whole)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", MODELS)
def test_collapsed_times_the_slopes_given_the_rest_is_the_whole_program(name, seed):
    model, arrays = MODELS[name], panel().arrays()
    gap, size = identity_gap(model, model.data(arrays), seed)
    assert abs(gap) < 1e-9 * size
    if isinstance(model.data(arrays).months, MonthStatistics):
        gap, size = identity_gap(model, training_data(arrays), seed)
        assert abs(gap) < 1e-9 * size


def test_slopes_forgotten_in_the_prior_would_be_noticed(monkeypatch):
    monkeypatch.setattr(bf.FundamentalFactorModel, "_slope_prior_sd", lambda *_: np.full(4, 0.02))
    model = bf.FundamentalFactorModel(hidden=(), noise="normal", pooling="full", slope_sd=0.011)
    right = bf.FundamentalFactorModel.slopes_given_rest
    monkeypatch.setattr(
        bf.FundamentalFactorModel,
        "slopes_given_rest",
        lambda self, params, data: (right(self, params, data)[0] - np.eye(4) * 0.02**-2, right(self, params, data)[1]),
    )
    gap, _ = identity_gap(model, model.data(panel().arrays()), 0)
    assert abs(gap) > 0.01


def student_by_importance(model, draw, arrays, n_draws=40_000):
    """Log density of every month, shocks drawn around those of normal noise, wider; and the error of each."""
    rng = np.random.default_rng(0)
    root = draw["slope_scale"][:, None] * draw["slope_correlation_root"]
    values, errors = [], []
    for z, r, seen, scale in zip(
        arrays.characteristics, arrays.returns, arrays.observed, draw["noise_scale"], strict=True
    ):
        if not seen.any():
            continue
        x = np.column_stack([np.ones(seen.sum()), z[seen]])
        loadings, residual = x @ root, r[seen] - x @ draw["slope_mean"]
        covariance = np.linalg.inv(np.eye(x.shape[1]) + loadings.T @ loadings / scale**2)
        proposal = stats.multivariate_t(covariance @ loadings.T @ residual / scale**2, 2 * covariance, df=8, seed=rng)
        shocks = proposal.rvs(n_draws)
        noise = stats.t.logpdf(residual - shocks @ loadings.T, draw["degrees_of_freedom"], 0, scale).sum(axis=1)
        log_weight = noise + stats.norm.logpdf(shocks).sum(axis=1) - proposal.logpdf(shocks)
        ratio = np.exp(log_weight - log_weight.max())
        values.append(special.logsumexp(log_weight) - np.log(n_draws))
        errors.append(ratio.std() / ratio.mean() / np.sqrt(n_draws))
    return np.array(values), np.array(errors)


@pytest.mark.parametrize("seed", [0, 1])
def test_student_t_is_close_to_importance_sampling(seed):
    """Laplace's method is off by the order of 1 / n a month: a hundredth of a nat with 30 stocks here."""
    model, arrays = bf.FundamentalFactorModel(hidden=(), noise="student_t"), panel().arrays()
    data = model.data(arrays)
    draw = prior_draw(model, arrays, seed)
    rest = {name: draw[name] for name in sampled_by(model.collapsed, data)}
    assert sampled_by(model, data) == {*rest, "shock"}
    of_months = jax.jit(lambda rest: log_density(model.collapsed, (data,), {}, rest)[0])(rest)
    without = jax.jit(lambda rest: log_density(model.collapsed, (data._replace(weight=0.0),), {}, rest)[0])(rest)
    want, errors = student_by_importance(model, draw, arrays)
    assert np.sqrt(np.sum(errors**2)) < 0.005 * len(want)
    assert abs(float(of_months - without) - want.sum()) < 0.02 * len(want)
