"""Planted defects of sorted factors: each must fail an exactness check that the package itself passes.

The checks compute by another road: factors in NumPy, the density of an asset as a multivariate t (its variance and
coefficients integrated out), the full covariance through scipy's inverse Wishart, the rest by brute force.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import bayesfactor as bf
from bayesfactor.components import factor_law, rank_weights
from bayesfactor.components import factor_regression as regression
from bayesfactor.inference.streaming import cast
from bayesfactor.models.sorted import SortedFactorModel
from bayesfactor.quantities import alignment

WEIGHT = np.array([[1.0, 0.5], [-0.3, 1.2]])
N_ASSETS = 4
BY_ASSET = SortedFactorModel(n_factors=2, hidden=(), residual_covariance="by_asset")
PENALISED = SortedFactorModel(
    n_factors=2, hidden=(), residual_covariance="by_asset", alpha=False, pricing_error_penalty=2.5
)
FULL = SortedFactorModel(n_factors=2, hidden=())


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@functools.cache
def arrays() -> Any:
    """36 ragged months of 14 stocks, some returns missing, one benchmark and four portfolios."""
    panel = bf.simulate.priced_economy(
        n_months=36, n_assets=14, n_characteristics=2, n_portfolios=N_ASSETS, seed=2, ragged=True
    ).panel
    made = panel.arrays()
    lost = np.random.default_rng(3).random(made.observed.shape) < 0.1
    return made._replace(observed=made.observed & ~lost, returns=np.where(made.observed & ~lost, made.returns, 0.0))


def data_of(model: SortedFactorModel) -> Any:
    return jax.tree.map(jnp.asarray, cast(model.data(arrays(), residual_scale=0.02), True))


def factors_by_hand() -> np.ndarray:
    """Returns (time, factor) of the sorts, stock by stock."""
    a = arrays()
    result = np.zeros((len(a.returns), 2))
    for t in range(len(a.returns)):
        used, seen = a.in_universe[t], a.observed[t][a.in_universe[t]]
        for p in range(2):
            y = a.characteristics[t, used] @ WEIGHT[p]
            y = (y - y.mean()) / y.std()
            r = a.returns[t, used]
            long, short = (np.exp(-50 * np.exp(-5 * s) + 50 * np.exp(-5 * s.max())) for s in (y, -y))
            result[t, p] = (long * r)[seen].sum() / long[seen].sum() - (short * r)[seen].sum() / short[seen].sum()
    return result


def drawn(model: SortedFactorModel) -> tuple[Any, dict[str, Any]]:
    data = data_of(model)
    params = {"sort_weight": jnp.asarray(WEIGHT)}
    params["factor_return"] = model.factor_returns(params, data)
    return data, params


def regressors_by_hand(*, intercept: bool) -> tuple[np.ndarray, np.ndarray]:
    """Regressors in typical residuals, and their prior precision; alpha has sd 0.2% a month."""
    x = np.column_stack([factors_by_hand(), arrays().benchmarks]) / 0.02
    precision = np.ones(3)
    return (
        (np.column_stack([np.ones(len(x)), x]), np.append((0.02 / 0.002) ** 2, precision))
        if intercept
        else (x, precision)
    )


def close(found: Any, want: Any, tolerance: float = 1e-8) -> None:
    np.testing.assert_allclose(np.asarray(found), np.asarray(want), rtol=tolerance, atol=tolerance)


# ---------------------------------------------------------------------- checks


def factors() -> None:
    _, params = drawn(BY_ASSET)
    close(params["factor_return"], factors_by_hand(), 1e-9)


def density(model: SortedFactorModel) -> None:
    data, params = drawn(model)
    x, precision = regressors_by_hand(intercept=model.alpha)
    penalty = model.pricing_error_penalty
    months = np.linalg.inv(np.eye(len(x)) + penalty / len(x)) + x @ np.diag(1 / precision) @ x.T
    assets = arrays().portfolios / 0.02
    want = sum(stats.multivariate_t(np.zeros(len(x)), 0.5 * months, df=4).logpdf(assets[:, i]) for i in range(N_ASSETS))
    close(model.log_evidence(params, data), want)


def full_density() -> None:
    """The evidence is joint over posterior, at one point."""
    data, params = drawn(FULL)
    x, precision = regressors_by_hand(intercept=True)
    assets, n = arrays().portfolios / 0.02, len(arrays().portfolios)
    rng = np.random.default_rng(1)
    sigma, c = stats.invwishart(9, 4 * np.eye(N_ASSETS)).rvs(random_state=rng), rng.normal(size=(4, N_ASSETS))
    covariance = np.linalg.inv(np.diag(precision) + x.T @ x)
    mean = covariance @ x.T @ assets
    moments = assets.T @ assets - mean.T @ np.linalg.inv(covariance) @ mean
    prior = stats.invwishart(N_ASSETS + 3, 2 * np.eye(N_ASSETS)).logpdf(sigma)
    prior += stats.matrix_normal(np.zeros_like(c), np.diag(1 / precision), sigma).logpdf(c)
    likelihood = stats.matrix_normal(x @ c, np.eye(n), sigma).logpdf(assets)
    posterior = stats.invwishart(N_ASSETS + 3 + n, 2 * np.eye(N_ASSETS) + moments).logpdf(sigma)
    posterior += stats.matrix_normal(mean, covariance, sigma).logpdf(c)
    close(FULL.log_evidence(params, data), prior + likelihood - posterior)


def exact_draws() -> None:
    """Means and sds of alphas and loadings, decimal."""
    data, params = drawn(BY_ASSET)
    n = 4000
    factor_return = np.repeat(np.asarray(params["factor_return"])[None], n, axis=0)
    found = BY_ASSET.complete(
        {"factor_return": factor_return}, jax.tree.map(np.asarray, data), np.random.default_rng(0)
    )
    x, precision = regressors_by_hand(intercept=True)
    covariance = np.linalg.inv(np.diag(precision) + x.T @ x)
    for i in range(N_ASSETS):
        r = arrays().portfolios[:, i] / 0.02
        mean = covariance @ x.T @ r
        variance = (1 + 0.5 * (r @ r - mean @ np.linalg.inv(covariance) @ mean)) / (2 + len(r) / 2 - 1)
        units = np.array([0.02, 1.0, 1.0, 1.0])
        want, sd = mean * units, np.sqrt(variance * np.diag(covariance)) * units
        names = {"alpha": slice(0, 1), "loading": slice(1, 3), "benchmark_loading": slice(3, 4)}
        for name, part in names.items():
            own = found[name][:, i].reshape(n, -1)
            assert np.all(np.abs(own.mean(axis=0) - want[part]) < 5 * sd[part] / math.sqrt(n))
            close(own.std(axis=0), sd[part], 0.08)
        every = np.column_stack([found[name][:, i].reshape(n, -1) for name in names])
        close(np.corrcoef(every.T), covariance / np.sqrt(np.outer(np.diag(covariance), np.diag(covariance))), 0.08)
        assert abs(np.mean(found["residual_sd"][:, i] ** 2) / variance / 0.02**2 - 1) < 0.05


def aligned() -> None:
    rng = np.random.default_rng(4)
    reference = rng.normal(size=(30, 3))
    order, sign = rng.permutation(3), np.array([1.0, -1.0, -1.0])
    draws = (reference[:, order] * sign)[None]
    found_order, found_sign = alignment.signed_permutations(draws, reference)
    found = alignment.Alignment(found_order, found_sign, reference).apply(draws, -1)
    close(found[0], reference)


def law_of_factors() -> None:
    data, params = drawn(BY_ASSET)
    n = 4000
    given = {"factor_return": np.repeat(np.asarray(params["factor_return"])[None], n, axis=0)}
    found = BY_ASSET.complete(given, jax.tree.map(np.asarray, data), np.random.default_rng(0))
    every = np.column_stack([factors_by_hand(), arrays().benchmarks])
    months, kappa = len(every), 12 / 0.5**2
    want = months / (kappa + months) * every.mean(axis=0)
    error = found["factor_mean"].std(axis=0) / math.sqrt(n)
    assert np.all(np.abs(found["factor_mean"].mean(axis=0) - want) < 5 * error)
    centred = every - every.mean(axis=0)
    mean = every.mean(axis=0)
    moments = centred.T @ centred + kappa * months / (kappa + months) * np.outer(mean, mean)
    close(found["factor_covariance"].mean(axis=0) / (moments / (months - 4)), 1.0, 0.12)


CHECKS: dict[str, Callable[[], None]] = {
    "factors": factors,
    "density": lambda: density(BY_ASSET),
    "penalised density": lambda: density(PENALISED),
    "full density": full_density,
    "exact draws": exact_draws,
    "aligned": aligned,
    "law of factors": law_of_factors,
}

# ---------------------------------------------------------------------- defects


def around(owner: Any, name: str, mutant: Callable[..., Any]) -> Callable[[], tuple[Any, str, Any]]:
    """The function replaced by ``mutant(original, *arguments)``."""
    original = vars(owner)[name]
    return lambda: (
        owner,
        name,
        functools.partial(mutant, original) if not isinstance(owner, type) else _bound(original, mutant),
    )


def _bound(original: Any, mutant: Callable[..., Any]) -> Any:
    def method(self: Any, *arguments: Any, **named: Any) -> Any:
        return mutant(original, self, *arguments, **named)

    return method


def louder(original: Any, sums: Any, precision: Any, months: Any) -> Any:
    squares, log_ratio = original(sums, precision, months)
    return squares / 1.15**2, log_ratio


def month_omitted(original: Any, x: Any, returns: Any, observed: Any, penalty: Any, *, balanced: bool) -> Any:
    return original(x[..., 1:, :], returns[1:], observed[1:], penalty, balanced=balanced)


def penalty_without_average(original: Any, x: Any, returns: Any, observed: Any, penalty: Any, *, balanced: bool) -> Any:
    return original(x, returns, observed, 0.0, balanced=balanced)


def swapped(original: Any, self: Any, coefficients: Any, data: Any) -> Any:
    return original(self, coefficients[..., [0, 2, 1, 3]] if coefficients.shape[-1] == 4 else coefficients, data)


def scale_left(original: Any, self: Any, coefficients: Any, data: Any) -> Any:
    return original(self, coefficients, data) | {"alpha": coefficients[..., 0]}


def neighbouring(original: Any, self: Any, params: Any, data: Any) -> Any:
    return original(self, params, data._replace(characteristics=jnp.roll(data.characteristics, 1, axis=0)))


def annual(original: Any, self: Any, data: Any) -> Any:
    found = original(self, data)
    return jnp.concatenate([found[:1] / 144.0, found[1:]]) if self.alpha else found


def long_only(original: Any, weights: Any, returns: Any, observed: Any) -> Any:
    return original(weights._replace(short=jnp.ones_like(weights.short)), returns, observed)


def missing_as_zero(original: Any, weights: Any, returns: Any, observed: Any) -> Any:
    return original(weights, jnp.where(observed, returns, 0.0), jnp.ones_like(observed))


def whole_slots(original: Any, y: Any, universe: Any, form: str, size: Any = None) -> Any:
    return original(y, jnp.ones_like(universe), form, size)


def without_benchmark(original: Any, factors: Any, benchmarks: Any, *, intercept: bool) -> Any:
    return original(factors, benchmarks * 0, intercept=intercept)


def root_not_turned(original: Any, sums: Any, precision: Any) -> Any:
    given = original(sums, precision)
    return given._replace(root=np.swapaxes(given.root, -1, -2))


def unsigned(original: Any, factors: Any, reference: Any) -> Any:
    order, sign = original(factors, reference)
    return order, np.ones_like(sign)


def inverse_order(original: Any, factors: Any, reference: Any) -> Any:
    order, sign = original(factors, reference)
    return np.argsort(order, axis=1), sign


def prior_months_of_a_month(original: Any, factors: Any, prior_months: float, rng: Any) -> Any:
    return original(factors, prior_months / 12, rng)


def average_residual(original: Any, self: Any, params: Any, data: Any, rng: Any) -> Any:
    """Alpha as FPX's eq. 8: the mean of what the loadings leave."""
    found = dict(original(self, params, data, rng))
    every = np.concatenate(
        [
            params["factor_return"],
            np.broadcast_to(data.benchmarks, (len(params["factor_return"]), *data.benchmarks.shape)),
        ],
        axis=-1,
    )
    loading = np.concatenate([found["loading"], found["benchmark_loading"]], axis=-1)
    found["alpha"] = np.mean(data.assets - every @ np.swapaxes(loading, -1, -2), axis=1)
    return found


DEFECTS = {
    "sigma x 1.15": (around(regression, "unexplained", louder), "density"),
    "one month omitted": (around(regression, "sums", month_omitted), "density"),
    "average residuals not penalised": (around(regression, "sums", penalty_without_average), "penalised density"),
    "log determinant of the penalty dropped": (
        around(
            regression,
            "log_evidence_by_asset",
            lambda original, sums, precision, penalty, months: original(sums, precision, 0.0, months),
        ),
        "penalised density",
    ),
    "loadings in the wrong order": (around(SortedFactorModel, "_split", swapped), "exact draws"),
    "alpha in units of residuals": (around(SortedFactorModel, "_split", scale_left), "exact draws"),
    "characteristics of the month before": (around(SortedFactorModel, "factor_returns", neighbouring), "factors"),
    "prior of alpha a year's": (around(SortedFactorModel, "_precision", annual), "density"),
    "short leg of the average stock": (around(rank_weights, "portfolio_returns", long_only), "factors"),
    "missing returns are zeros": (around(rank_weights, "portfolio_returns", missing_as_zero), "factors"),
    "stocks outside the universe sorted": (around(rank_weights, "rank_weights", whole_slots), "factors"),
    "benchmark left out": (around(regression, "design", without_benchmark), "density"),
    "root of the conditional not turned": (around(regression, "conditional", root_not_turned), "exact draws"),
    "degrees of the inverse Wishart": (lambda: (regression, "DEGREES", 2.0), "full density"),
    "signs not aligned": (around(alignment, "signed_permutations", unsigned), "aligned"),
    "inverse permutation": (around(alignment, "signed_permutations", inverse_order), "aligned"),
    "annual Sharpe prior taken as monthly": (
        around(factor_law, "draw_law", prior_months_of_a_month),
        "law of factors",
    ),
    "average residual called alpha": (around(SortedFactorModel, "_completed", average_residual), "exact draws"),
}


@pytest.mark.parametrize("name", CHECKS)
def test_check_passes_on_the_package(name):
    CHECKS[name]()


@pytest.mark.parametrize("name", DEFECTS)
def test_planted_defect_is_caught(name, monkeypatch):
    make, check = DEFECTS[name]
    monkeypatch.setattr(*make())
    with pytest.raises(AssertionError):
        CHECKS[check]()
