"""Coefficients integrated out: against the joint density by brute force, in every law of the residuals."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from bayesfactor.components import factor_regression as fr

T, J, K = 11, 3, 4
PRECISION = np.array([30.0, 1.0, 0.5, 0.25])
penalties = pytest.mark.parametrize("penalty", [0.0, 2.5])
raggeds = pytest.mark.parametrize("ragged", [False, True])


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def months(seed: int = 1, *, ragged: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Regressors, returns and which are observed; the others are absurd."""
    rng = np.random.default_rng(seed)
    x = fr.design(rng.normal(size=(T, 2)), rng.normal(size=(T, 1)), intercept=True)
    returns = x @ rng.normal(size=(K, J)) + rng.normal(size=(T, J)) @ np.linalg.cholesky(0.5 + 0.5 * np.eye(J)).T
    observed = np.ones((T, J), bool)
    if ragged:
        observed[[0, 3, 4], [0, 1, 1]] = False
        returns[~observed] = 1e6
    return x, returns, observed


def sums_of(x, returns, observed, penalty, *, ragged=False) -> fr.Sums:
    return fr.sums(jnp.asarray(x), jnp.asarray(returns), jnp.asarray(observed), penalty, balanced=not ragged)


def inverse_penalised(n: int, penalty: float) -> np.ndarray:
    """Covariance of the residuals of one asset of unit variance."""
    return np.linalg.inv(np.eye(n) + penalty / n * np.ones((n, n)))


def log_density_given_variance(x, r, variance: float, penalty: float) -> float:
    """One asset, its coefficients out, from the dense covariance of its months."""
    covariance = inverse_penalised(len(r), penalty) + x @ np.diag(1 / PRECISION) @ x.T
    return float(stats.multivariate_normal(np.zeros(len(r)), variance * covariance).logpdf(r))


def integral_over_variance(log_density) -> float:
    """Log of the integral over ``sigma^2 ~ InverseGamma(2, 1)``, by quadrature in its log."""
    points = np.linspace(-7.0, 7.0, 2001)
    prior = stats.invgamma(fr.SHAPE, scale=1.0)
    values = np.array([log_density(np.exp(p)) + prior.logpdf(np.exp(p)) + p for p in points])
    return values.max() + float(np.log(np.trapezoid(np.exp(values - values.max()), points)))


@penalties
@raggeds
def test_evidence_by_asset_is_the_integral_of_the_joint_density(penalty, ragged):
    x, returns, observed = months(ragged=ragged)
    found = fr.log_evidence_by_asset(
        sums_of(x, returns, observed, penalty, ragged=ragged), jnp.asarray(PRECISION), penalty
    )
    for asset in range(J):
        seen = observed[:, asset]
        want = integral_over_variance(
            lambda v, seen=seen, asset=asset: log_density_given_variance(x[seen], returns[seen, asset], v, penalty)
        )
        assert float(found[asset]) == pytest.approx(want, abs=1e-8)


@penalties
@raggeds
def test_evidence_of_one_variance_is_the_integral_of_the_joint_density(penalty, ragged):
    x, returns, observed = months(ragged=ragged)
    found = fr.log_evidence_of_one_variance(
        sums_of(x, returns, observed, penalty, ragged=ragged), jnp.asarray(PRECISION), penalty
    )
    want = integral_over_variance(
        lambda v: sum(
            log_density_given_variance(x[observed[:, i]], returns[observed[:, i], i], v, penalty) for i in range(J)
        )
    )
    assert float(found) == pytest.approx(want, abs=1e-8)


def evidence_of_full_covariance(x, returns, penalty) -> float:
    observed = np.ones(returns.shape, bool)
    whitened = fr.Whitened(*map(jnp.asarray, fr.whitened(returns, penalty)))
    sums = sums_of(x, returns, observed, penalty)
    return float(fr.log_evidence_of_full_covariance(jnp.asarray(x), whitened, sums, jnp.asarray(PRECISION), penalty))


@penalties
def test_a_full_covariance_of_one_asset_is_its_variance(penalty):
    x, returns, observed = months()
    want = fr.log_evidence_by_asset(sums_of(x, returns, observed, penalty), jnp.asarray(PRECISION), penalty)
    for asset in range(J):
        found = evidence_of_full_covariance(x, returns[:, [asset]], penalty)
        assert found == pytest.approx(float(want[asset]), abs=1e-9)


@penalties
def test_evidence_times_conditional_is_the_joint_density_with_full_covariance(penalty):
    """At any coefficients and covariance: ``p(R) p(C, Sigma | R) = p(R | C, Sigma) p(C | Sigma) p(Sigma)``."""
    x, returns, _ = months()
    rng = np.random.default_rng(7)
    sums = sums_of(x, returns, np.ones((T, J), bool), penalty)
    given = fr.conditional(fr.Sums(*(np.asarray(part)[None] for part in sums)), PRECISION)
    b, gram = np.asarray(sums.projection), np.asarray(sums.gram) + np.diag(PRECISION)
    row = inverse_penalised(T, penalty)
    square = returns.T @ np.linalg.inv(row) @ returns
    moments = square - b @ np.linalg.inv(gram) @ b.T
    np.testing.assert_allclose(np.diag(moments), given.squares[0], rtol=1e-10)
    evidence = evidence_of_full_covariance(x, returns, penalty)
    scale = fr.WISHART_SCALE * np.eye(J)
    for _ in range(3):
        covariance = stats.invwishart(J + 5, np.eye(J) * 4).rvs(random_state=rng)
        coefficients = rng.normal(size=(J, K))
        joint = (
            stats.matrix_normal(x @ coefficients.T, row, covariance).logpdf(returns)
            + stats.matrix_normal(np.zeros((K, J)), np.diag(1 / PRECISION), covariance).logpdf(coefficients.T)
            + stats.invwishart(J + fr.DEGREES, scale).logpdf(covariance)
        )
        root = given.root[0, 0]
        posterior = stats.invwishart(J + fr.DEGREES + T, scale + moments).logpdf(covariance) + stats.matrix_normal(
            given.mean[0].T, root @ root.T, covariance
        ).logpdf(coefficients.T)
        assert evidence + posterior == pytest.approx(joint, abs=1e-8)


@penalties
@raggeds
def test_evidence_times_conditional_is_the_joint_density_by_asset(penalty, ragged):
    x, returns, observed = months(ragged=ragged)
    rng = np.random.default_rng(8)
    sums = sums_of(x, returns, observed, penalty, ragged=ragged)
    evidence = fr.log_evidence_by_asset(sums, jnp.asarray(PRECISION), penalty)
    given = fr.conditional(fr.Sums(*(np.asarray(part)[None] for part in sums)), PRECISION)
    variances, coefficients = rng.uniform(0.5, 2.0, J), rng.normal(size=(J, K))
    law = fr.Independent(jnp.asarray(variances))
    joint = law.log_density(jnp.asarray(returns - x @ coefficients.T), jnp.asarray(observed), penalty)
    joint += fr.log_prior_of_coefficients(law, jnp.asarray(coefficients), jnp.asarray(PRECISION))
    joint += np.sum(stats.invgamma(fr.SHAPE, scale=1.0).logpdf(variances))
    posterior = 0.0
    for i in range(J):
        root = given.root[0, i if ragged else 0]
        shape = fr.SHAPE + 0.5 * observed[:, i].sum()
        posterior += stats.invgamma(shape, scale=1.0 + 0.5 * given.squares[0, i]).logpdf(variances[i])
        posterior += stats.multivariate_normal(given.mean[0, i], variances[i] * root @ root.T).logpdf(coefficients[i])
    assert float(jnp.sum(evidence)) + posterior == pytest.approx(float(joint), abs=1e-8)


@penalties
def test_evidence_of_residual_factors_is_that_of_the_dense_covariance(penalty):
    x, returns, observed = months()
    rng = np.random.default_rng(9)
    loadings, unique = rng.normal(size=(J, 2)), rng.uniform(0.5, 2.0, J)
    sigma = loadings @ loadings.T + np.diag(unique)
    row = inverse_penalised(T, penalty) + x @ np.diag(1 / PRECISION) @ x.T
    want = stats.matrix_normal(np.zeros((T, J)), row, sigma).logpdf(returns)
    law = fr.Structured(jnp.asarray(loadings), jnp.asarray(unique))
    sums = sums_of(x, returns, observed, penalty)
    found = fr.log_evidence_of_residual_factors(
        jnp.asarray(x), jnp.asarray(returns), sums, jnp.asarray(PRECISION), penalty, law
    )
    assert float(found) == pytest.approx(want, abs=1e-8)
    coefficients = rng.normal(size=(J, K))
    want = stats.matrix_normal(np.zeros((K, J)), np.diag(1 / PRECISION), sigma).logpdf(coefficients.T)
    found = fr.log_prior_of_coefficients(law, jnp.asarray(coefficients), jnp.asarray(PRECISION))
    assert float(found) == pytest.approx(want, abs=1e-8)


@pytest.mark.parametrize("kind", ["full", "factors"])
def test_float32_is_enough_where_factors_explain_nearly_everything(kind):
    """R2 above .999: the density's differences between near sets of factors, which is what a sampler goes by."""
    rng = np.random.default_rng(2)
    n_months, n_assets, penalty = 372, 25, 0.0
    factors = rng.normal(size=(n_months, 2))
    returns = 30 * factors @ rng.normal(size=(2, n_assets)) + rng.normal(size=(n_months, n_assets))
    moved = rng.normal(size=factors.shape)
    precision = np.array([30.0, 1.0, 1.0])
    observed = np.ones(returns.shape, bool)
    whitened = fr.whitened(returns, penalty)
    law = fr.Structured(0.5 * rng.normal(size=(n_assets, 1)), np.ones(n_assets))

    def density(step: float, dtype: type) -> float:
        cast = functools.partial(jax.tree.map, lambda leaf: jnp.asarray(leaf, dtype))
        x = cast(np.column_stack([np.ones(n_months), 30 * factors + step * moved]))
        own = cast(returns)
        sums = fr.sums(x, own, jnp.asarray(observed), penalty, balanced=True)
        if kind == "full":
            return float(fr.log_evidence_of_full_covariance(x, cast(whitened), sums, cast(precision), penalty))
        return float(fr.log_evidence_of_residual_factors(x, own, sums, cast(precision), penalty, cast(law)))

    steps = np.linspace(0, 0.05, 12)
    error = [density(step, jnp.float32) - density(step, jnp.float64) for step in steps]
    assert np.std(error) < 0.05


@penalties
@raggeds
def test_minus_twice_the_log_density_is_the_penalised_sum_of_squares(penalty, ragged):
    """Feng, Polson and Xu (2020), eq. 20, times the number of returns; to 1e-10 of its size."""
    x, returns, observed = months(ragged=ragged)
    differences = []
    for seed in range(2):
        coefficients = np.random.default_rng(seed).normal(size=(J, K))
        residuals = np.where(observed, returns - x @ coefficients.T, 0.0)
        count = observed.sum(axis=0)
        loss = np.sum(residuals**2) + penalty * np.sum(count * (residuals.sum(axis=0) / count) ** 2)
        law = fr.Independent(jnp.full(J, 0.7))
        found = law.log_density(jnp.asarray(returns - x @ coefficients.T), jnp.asarray(observed), penalty)
        differences.append(-2 * 0.7 * float(found) - loss)
        size = loss
    assert abs(differences[0] - differences[1]) < 1e-10 * size
    constant = 0.7 * (observed.sum() * np.log(2 * np.pi * 0.7) - J * np.log1p(penalty))
    assert differences[0] == pytest.approx(constant, abs=1e-10 * size)


def test_penalised_residuals_have_the_implied_covariance():
    penalty, variance = 2.5, 0.7
    rng = np.random.default_rng(3)
    covariance = variance * inverse_penalised(T, penalty)
    np.testing.assert_allclose(covariance, variance * (np.eye(T) - penalty / (1 + penalty) / T), atol=1e-12)
    drawn = rng.multivariate_normal(np.zeros(T), covariance, size=20_000)
    law = fr.Independent(jnp.full(20_000, variance))
    density = law.log_density(jnp.asarray(drawn.T), jnp.ones((T, 20_000), bool), penalty) / 20_000
    want = -0.5 * (T * np.log(2 * np.pi) + np.linalg.slogdet(covariance)[1] + T)
    assert float(density) == pytest.approx(want, abs=5 * np.sqrt(T / 2 / 20_000))


@penalties
def test_residuals_have_their_dense_density(penalty):
    rng = np.random.default_rng(4)
    residuals = rng.normal(size=(T, J))
    root = np.tril(rng.normal(size=(J, J))) + 2 * np.eye(J)
    loadings, unique = rng.normal(size=(J, 2)), rng.uniform(0.5, 2.0, J)
    laws = [
        (fr.Correlated(jnp.asarray(root)), np.linalg.inv(root @ root.T)),
        (fr.Structured(jnp.asarray(loadings), jnp.asarray(unique)), loadings @ loadings.T + np.diag(unique)),
        (fr.Independent(jnp.asarray(unique)), np.diag(unique)),
        (fr.Covariance(jnp.linalg.inv(jnp.asarray(root @ root.T))), np.linalg.inv(root @ root.T)),
    ]
    for law, sigma in laws:
        want = stats.matrix_normal(np.zeros((T, J)), inverse_penalised(T, penalty), sigma).logpdf(residuals)
        found = law.log_density(jnp.asarray(residuals), jnp.ones((T, J), bool), penalty)
        assert float(found) == pytest.approx(want, abs=1e-9)
        drawn = np.asarray(law.draw(jax.random.key(1), 20_000))
        np.testing.assert_allclose(np.cov(drawn.T), sigma, atol=0.06 * np.abs(sigma).max())


def test_draws_have_the_moments_of_their_laws():
    x, returns, observed = months()
    n = 40_000
    rng = np.random.default_rng(5)
    sums = sums_of(x, returns, observed, 0.0)
    given = fr.conditional(fr.Sums(*(np.asarray(part)[None] for part in sums)), PRECISION)
    repeated = fr.Conditional(*(np.repeat(part, n, axis=0) for part in given))
    b = np.asarray(sums.projection)
    moments = returns.T @ returns - b @ np.linalg.inv(np.asarray(sums.gram) + np.diag(PRECISION)) @ b.T
    covariances = fr.draw_covariances(rng, np.repeat(moments[None], n, axis=0), T)
    law = stats.invwishart(J + fr.DEGREES + T, fr.WISHART_SCALE * np.eye(J) + moments)
    error = covariances.std(axis=0) / np.sqrt(n)
    assert np.all(np.abs(covariances.mean(axis=0) - law.mean()) < 5 * error)
    _, want = np.linalg.slogdet(law.rvs(n, random_state=6))
    _, found = np.linalg.slogdet(covariances)
    assert stats.ks_2samp(found, want).pvalue > 1e-3
    coefficients = fr.draw_coefficients(rng, repeated, covariances)
    root = given.root[0, 0]
    cross = np.cov(coefficients.reshape(n, -1), rowvar=False)
    np.testing.assert_allclose(cross, np.kron(law.mean(), root @ root.T), atol=0.06 * np.abs(cross).max())
    by_asset = fr.draw_variances(rng, repeated, np.asarray(sums.n_months))
    assert stats.ks_2samp(by_asset[:, 0], covariances[:, 0, 0]).pvalue > 1e-3  # the diagonal has the same law
    one = fr.draw_one_variance(rng, repeated, np.asarray(sums.n_months))
    shape = fr.SHAPE + 0.5 * T * J
    assert stats.kstest(one, stats.invgamma(shape, scale=1 + 0.5 * given.squares[0].sum()).cdf).pvalue > 1e-3


@penalties
@raggeds
def test_squares_over_residuals_are_the_difference_of_sums(penalty, ragged):
    x, returns, observed = months(ragged=ragged)
    sums = sums_of(x, returns, observed, penalty, ragged=ragged)
    of = fr.Months(*map(jnp.asarray, (x, returns, observed)), penalty)
    want, found = (fr.unexplained(sums, jnp.asarray(PRECISION), given)[0] for given in (None, of))
    np.testing.assert_allclose(found, want, rtol=1e-9)


def test_float32_bears_factors_that_nearly_coincide():
    """Correlation .9995 and an R2 of .999: density and gradient against float64."""
    rng = np.random.default_rng(12)
    n_months, n_assets = 240, 25
    common = rng.normal(size=(n_months, 1))
    factors = np.hstack([common, common + 0.03 * rng.normal(size=(n_months, 1))])
    returns = 30 * factors[:, :1] * rng.normal(size=(1, n_assets)) + rng.normal(size=(n_months, n_assets))
    observed = np.ones(returns.shape, bool)

    def evidence(x, dtype):
        arrays = [jnp.asarray(part, dtype) for part in (returns, np.array([20.0, 1.0, 1.0]))]
        regressors = fr.design(x, jnp.zeros((n_months, 0), dtype), intercept=True)
        sums = fr.sums(regressors, arrays[0], jnp.asarray(observed), 0.0, balanced=True)
        of = fr.Months(regressors, arrays[0], jnp.asarray(observed), 0.0)
        return jnp.sum(fr.log_evidence_by_asset(sums, arrays[1], 0.0, of))

    values, slopes = [], []
    for dtype in (jnp.float32, jnp.float64):
        value, slope = jax.value_and_grad(lambda x, dtype=dtype: evidence(x, dtype))(jnp.asarray(factors, dtype))
        values.append(float(value))
        slopes.append(np.asarray(slope, float))
    assert abs(values[0] - values[1]) < 0.2
    assert np.linalg.norm(slopes[0] - slopes[1]) < 0.02 * np.linalg.norm(slopes[1])
