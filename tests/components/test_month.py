"""The law of a month against the joint Gaussian built by brute force, quadrature and moments."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from bayesfactor.components import month
from bayesfactor.components.noise import Huber, Laplace, Normal, StudentT

N, Q = 12, 3
NOISES = {"student_t": StudentT(5.0), "laplace": Laplace(), "huber": Huber(1.345)}


log_density = jax.jit(month.log_density)


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


def make_law(seed=0, n_shocks=Q, log_scale_sd=0.0, df=None, by_stock=False):
    rng = np.random.default_rng(seed)
    loadings = 0.05 * rng.standard_normal((N, n_shocks))
    root = np.linalg.cholesky(np.corrcoef(rng.standard_normal((n_shocks, 20)))) if n_shocks > 1 else np.eye(n_shocks)
    scale = rng.uniform(0.05, 0.15, N) if by_stock else 0.1
    return month.MonthLaw(
        jnp.asarray(0.01 * rng.standard_normal(N)),
        jnp.asarray(loadings),
        jnp.asarray(root),
        jnp.asarray(scale),
        log_scale_sd,
        Normal() if df is None else StudentT(jnp.asarray(df)),
    )


def at_once(function, *args):
    """The value, from one program: operation by operation, every one of them is compiled by itself."""
    return jax.jit(lambda: function(*args))()


def covariance(law, level=1.0):
    low_rank = np.asarray(law.loadings @ law.root)
    return low_rank @ low_rank.T + np.diag(np.broadcast_to(np.asarray(law.scale) * level, N) ** 2)


def sample_month(law, seed=1):
    returns = np.array(at_once(month.simulate, jax.random.key(seed), law))
    observed = np.random.default_rng(seed).random(N) < 0.7
    return returns, observed


def months_of(law, seed, n):
    """Simulated months (draw, stock)."""
    return at_once(jax.vmap(lambda key: month.simulate(key, law)), jax.random.split(jax.random.key(seed), n))


def brute_force(law, returns, observed, level=1.0):
    cov = covariance(law, level)[np.ix_(observed, observed)]
    return stats.multivariate_normal.logpdf(returns[observed], np.asarray(law.mean)[observed], cov)


@pytest.mark.parametrize("by_stock", [False, True])
@pytest.mark.parametrize("n_shocks", [0, 1, Q])
def test_log_density_is_the_multivariate_normal_on_ragged_months(by_stock, n_shocks):
    for seed in range(5):
        law = make_law(seed, n_shocks, by_stock=by_stock)
        returns, observed = sample_month(law, seed)
        assert log_density(law, returns, observed) == pytest.approx(brute_force(law, returns, observed), abs=1e-10)


def test_unobserved_stocks_have_no_influence():
    law = make_law()
    returns, observed = sample_month(law)
    spoiled = np.where(observed, returns, 1e6)
    assert log_density(law, spoiled, observed) == log_density(law, returns, observed)
    empty = np.zeros(N, bool)
    assert log_density(law, returns, empty) == pytest.approx(0.0, abs=1e-12)


def test_permuting_stocks_leaves_the_density():
    law = make_law(by_stock=True)
    returns, observed = sample_month(law)
    order = np.random.default_rng(3).permutation(N)
    moved = law._replace(mean=law.mean[order], loadings=law.loadings[order], scale=law.scale[order])
    assert log_density(moved, returns[order], observed[order]) == pytest.approx(
        float(log_density(law, returns, observed)), abs=1e-12
    )


def test_gradient_is_that_of_the_brute_force_density():
    law = make_law()
    returns, observed = sample_month(law)

    def dense(mean, loadings, root, scale):
        low_rank = loadings @ root
        cov = (low_rank @ low_rank.T + scale**2 * jnp.eye(N))[np.ix_(observed, observed)]
        return jax.scipy.stats.multivariate_normal.logpdf(returns[observed], mean[observed], cov)

    def ours(mean, loadings, root, scale):
        return month.log_density(month.MonthLaw(mean, loadings, root, scale), returns, observed)

    point = (law.mean, law.loadings, law.root, law.scale)
    gradients = (at_once(jax.grad(function, argnums=range(4)), *point) for function in (ours, dense))
    for got, want in zip(*gradients, strict=True):
        lower = np.tril(np.ones(got.shape)) if got.shape == (Q, Q) else 1.0
        np.testing.assert_allclose(got * lower, want * lower, atol=1e-8)


def test_a_shock_of_scale_zero_is_no_special_case():
    law = make_law()
    without = law._replace(loadings=law.loadings.at[:, 1].set(0.0))
    returns, observed = sample_month(law)
    assert log_density(without, returns, observed) == pytest.approx(brute_force(without, returns, observed), abs=1e-10)


def test_conditional_shocks_have_the_right_mean_and_covariance():
    law = make_law()
    returns, observed = sample_month(law)
    low_rank = np.asarray(law.loadings @ law.root)[observed]
    inverse = np.linalg.inv(covariance(law)[np.ix_(observed, observed)])
    mean = low_rank.T @ inverse @ (returns - np.asarray(law.mean))[observed]
    cov = np.eye(Q) - low_rank.T @ inverse @ low_rank
    got_mean, got_factor = at_once(month.conditional_shocks, law, returns, observed)
    np.testing.assert_allclose(got_mean, mean, atol=1e-10)
    np.testing.assert_allclose(got_factor @ got_factor.T, cov, atol=1e-10)
    draw = jax.vmap(lambda key: month.draw_conditional_shocks(key, law, returns, observed))
    draws = at_once(draw, jax.random.split(jax.random.key(5), 20_000))
    assert np.all(np.abs(draws.mean(axis=0) - mean) < 5 * np.sqrt(np.diag(cov) / 20_000))


def test_simulated_months_have_the_stated_mean_and_covariance():
    law = make_law()
    draws = months_of(law, 2, 50_000)
    cov = covariance(law)
    np.testing.assert_allclose(draws.mean(axis=0), law.mean, atol=5 * np.sqrt(np.diag(cov).max() / 50_000))
    spread = np.sqrt((np.outer(np.diag(cov), np.diag(cov)) + cov**2) / 50_000)
    assert np.all(np.abs(np.cov(draws.T) - cov) < 5 * spread)


@pytest.mark.parametrize("df", [None, 6.0])
def test_predictive_variance_is_that_of_simulated_months(df):
    law = make_law(log_scale_sd=0.3, df=df)
    draws = months_of(law, 4, 200_000)
    np.testing.assert_allclose(draws.var(axis=0), at_once(month.predictive_variance, law), rtol=0.05)


@pytest.mark.parametrize("log_scale_sd", [0.0, 0.05, 0.5])
def test_noise_level_is_integrated_out_exactly(log_scale_sd):
    law = make_law(log_scale_sd=log_scale_sd)
    returns, observed = sample_month(law)
    offset = brute_force(law, returns, observed)

    def integrand(x):
        level = np.exp(log_scale_sd * x)
        return np.exp(brute_force(law, returns, observed, level) - offset) * stats.norm.pdf(x)

    want = np.log(integrate.quad(integrand, -9, 9, epsabs=1e-13)[0]) + offset
    got = at_once(month.marginal_log_density, law, returns, observed, jax.random.key(0))
    assert got == pytest.approx(want, abs=1e-8)


def test_student_t_months_are_integrated_by_importance_sampling():
    law = make_law(n_shocks=1, log_scale_sd=0.3, df=4.0)
    returns, observed = sample_month(law)
    mean, loading = np.asarray(law.mean)[observed], np.asarray(law.loadings)[observed, 0]

    def integrand(u, x):
        terms = stats.t.logpdf(returns[observed], 4.0, mean + loading * u, 0.1 * np.exp(0.3 * x))
        return np.exp(terms.sum()) * stats.norm.pdf(u) * stats.norm.pdf(x)

    want = np.log(integrate.dblquad(integrand, -7, 7, -7, 7, epsabs=0, epsrel=1e-7)[0])
    density = jax.jit(lambda key: month.marginal_log_density(law, returns, observed, key, 1024))
    estimates = np.array([density(key) for key in jax.random.split(jax.random.key(7), 40)])
    error = estimates.std(ddof=1) / np.sqrt(len(estimates))
    assert estimates.std() < 0.05
    assert abs(estimates.mean() - want) < 4 * error + 1e-3


def test_student_t_with_many_degrees_of_freedom_is_the_normal_law():
    normal = make_law(log_scale_sd=0.2)
    heavy = normal._replace(noise=StudentT(jnp.asarray(1e6)))
    returns, observed = sample_month(normal)
    want = at_once(month.marginal_log_density, normal, returns, observed, jax.random.key(0))
    got = at_once(lambda: month.marginal_log_density(heavy, returns, observed, jax.random.key(0), 20_000))
    assert got == pytest.approx(float(want), abs=0.02)


@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)
def test_moments_of_simulated_months_are_those_of_the_noise(noise):
    law = make_law(log_scale_sd=0.2, by_stock=True)._replace(noise=noise)
    n = 100_000
    draws = np.asarray(months_of(law, 4, n))
    variance = np.asarray(at_once(month.predictive_variance, law))
    deviation = draws - np.asarray(law.mean)
    assert np.all(np.abs(deviation.mean(axis=0)) < 5 * np.sqrt(variance / n))
    error = np.sqrt((np.mean(deviation**4, axis=0) - variance**2) / n)
    assert np.all(np.abs(np.mean(deviation**2, axis=0) - variance) < 5 * error)


def on_a_grid(law, returns, observed, width=8.0, points=801):
    """Log density by the rectangle rule over two shocks, or over one shock and the noise level."""
    axis = jnp.linspace(-width, width, points)
    known_level = law.log_scale_sd == 0.0

    def joint(first, second):
        at = law if known_level else law._replace(scale=law.scale * jnp.exp(law.log_scale_sd * second))
        shocks = jnp.stack([first, second]) if known_level else first[None]
        prior = -0.5 * (first**2 + second**2) - month.LOG_2PI
        return month.log_density_given_shocks(at, shocks, returns, observed) + prior

    rows = jax.jit(lambda: jax.lax.map(lambda first: jax.vmap(lambda second: joint(first, second))(axis), axis))()
    return float(jax.scipy.special.logsumexp(rows) + 2 * jnp.log(axis[1] - axis[0]))


@pytest.mark.parametrize("law", [(2, 0.0), (1, 0.3)], ids=["two shocks", "shock and level"])
@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)
def test_any_noise_is_integrated_by_importance_sampling(noise, law):
    law = make_law(5, law[0], law[1])._replace(noise=noise)
    returns, observed = sample_month(law, 3)
    want = on_a_grid(law, returns, observed)
    draws, keys = 1024, jax.random.split(jax.random.key(7), 40)
    density = jax.jit(
        jax.vmap(lambda key: jnp.exp(month.marginal_log_density(law, returns, observed, key, draws) - want))
    )
    ratios = np.asarray(density(keys))
    assert abs(ratios.mean() - 1) < 4 * ratios.std(ddof=1) / np.sqrt(len(keys)) + 1e-4
    assert 1 / (1 + draws * ratios.var(ddof=1)) > 0.25, "effective share of the draws"


@pytest.mark.parametrize("noise", [StudentT(2.5), *NOISES.values()], ids=["heavier t", *NOISES])
def test_the_mode_is_found_where_shocks_are_many_times_the_noise(noise):
    law = make_law(2, 2)._replace(noise=noise, scale=jnp.asarray(0.002))
    returns = np.asarray(law.mean + law.loadings @ law.root @ jnp.array([2.5, -2.0]))
    returns = returns + 0.002 * np.asarray(noise.draw(jax.random.key(1), (N,), jnp.float64))
    observed = np.arange(N) != 4
    want = on_a_grid(law, returns, observed, 4.0, 1201)
    drawn = at_once(lambda: month.marginal_log_density(law, returns, observed, jax.random.key(0), 4096))
    assert drawn == pytest.approx(want, abs=0.1)
    assert at_once(month.log_density_by_laplace, law, returns, observed) == pytest.approx(want, abs=0.3)


def large_month(noise, seed, n_stocks=150):
    """A ragged month of about 130 stocks and three shocks."""
    rng = np.random.default_rng(seed)
    loadings = jnp.asarray(0.05 * np.column_stack([np.ones(n_stocks), rng.uniform(-1, 1, (n_stocks, 2))]))
    root = jnp.asarray(np.linalg.cholesky(np.corrcoef(rng.standard_normal((3, 10)))))
    law = month.MonthLaw(jnp.zeros(n_stocks), loadings, root, jnp.asarray(0.1), noise=noise)
    return law, month.simulate(jax.random.key(seed), law), jnp.asarray(rng.random(n_stocks) < 0.9)


@pytest.mark.parametrize("n_shocks", [0, 1, Q])
def test_laplace_s_method_is_exact_for_normal_noise(n_shocks):
    law = make_law(3, n_shocks, by_stock=True)
    returns, observed = sample_month(law)
    returns = np.where(observed, returns, 1e6)
    want = at_once(jax.grad(month.log_density), law, returns, observed)
    value, found = at_once(jax.value_and_grad(month.log_density_by_laplace), law, returns, observed)
    assert value == pytest.approx(brute_force(law, returns, observed), abs=1e-10)
    for name in ("mean", "loadings", "scale"):
        np.testing.assert_allclose(getattr(found, name), getattr(want, name), atol=1e-8, err_msg=name)
    np.testing.assert_allclose(np.tril(found.root), np.tril(want.root), atol=1e-8)


@pytest.mark.parametrize(
    ("name", "worst", "average"), [("student_t", 0.03, 0.02), ("huber", 0.06, 0.03), ("laplace", 0.3, 0.15)]
)
def test_error_of_laplace_s_method_in_a_month_of_130_stocks(name, worst, average):
    exact = jax.jit(lambda law, r, seen: month.marginal_log_density(law, r, seen, jax.random.key(1), 20_000))
    laplace = jax.jit(month.log_density_by_laplace)
    months = [large_month(NOISES[name], seed) for seed in range(10)]
    errors = np.array([laplace(*each) - exact(*each) for each in months])
    assert np.abs(errors).max() < worst
    assert abs(errors.mean()) < average
    if name == "laplace":
        assert (errors < 0.03).all(), "a lower bound"


@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)
def test_derivative_of_laplace_s_method_is_that_of_finite_differences(noise):
    law, returns, observed = large_month(noise, 3)
    directions = {
        "mean": (law.loadings[:, 1], 1e-4),
        "loadings": (law.loadings, 1e-4),
        "root": (jnp.tril(jnp.ones((3, 3))), 1e-4),
        "scale": (jnp.ones(()), 1e-6),
    }
    value = jax.jit(month.log_density_by_laplace)
    gradient = at_once(jax.grad(month.log_density_by_laplace), law, returns, observed)
    for name, (direction, step) in directions.items():
        ahead, behind = (law._replace(**{name: getattr(law, name) + sign * step * direction}) for sign in (1, -1))
        numerical = (value(ahead, returns, observed) - value(behind, returns, observed)) / (2 * step)
        assert jnp.sum(getattr(gradient, name) * direction) == pytest.approx(float(numerical), rel=1e-4, abs=1e-4), name
    if isinstance(noise, StudentT):
        ahead, behind = (law._replace(noise=StudentT(5.0 + sign * 1e-3)) for sign in (1, -1))
        numerical = (value(ahead, returns, observed) - value(behind, returns, observed)) / 2e-3
        assert gradient.noise.degrees_of_freedom == pytest.approx(float(numerical), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)
def test_laplace_s_method_calls_no_lapack(noise):
    law, returns, observed = large_month(noise, 0)
    laws, months = jax.tree.map(lambda leaf: jnp.stack([jnp.asarray(leaf)] * 2), (law, (returns, observed)))
    gradient = jax.jit(jax.vmap(jax.value_and_grad(lambda law, month_: month.log_density_by_laplace(law, *month_))))
    assert "lapack" not in gradient.lower(laws, months).as_text()


def test_an_indefinite_hessian_does_not_make_the_density_infinite():
    """Two stocks that want the shock in two places: between them the Student-t's Hessian changes its sign."""

    def seen_both(law, shock, returns):
        return month.log_density_given_shocks(law, shock[None], returns, jnp.ones(2, bool))

    loadings = jnp.ones((2, 1))
    value = jax.jit(jax.value_and_grad(month.log_density_by_laplace))
    on_line = jax.jit(jax.vmap(seen_both, in_axes=(None, 0, None)))
    found, want = [], []
    for distance in np.linspace(0.0, 8.0, 17):
        law = month.MonthLaw(jnp.zeros(2), loadings, jnp.eye(1), jnp.asarray(0.3), noise=StudentT(3.0))
        returns = jnp.array([-distance, distance]) / 2
        density, gradient = value(law, returns, jnp.ones(2, bool))
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient)), distance
        axis = jnp.linspace(-12, 12, 20_001)
        joint = on_line(law, axis, returns)
        found.append(density)
        want.append(
            jax.scipy.special.logsumexp(joint - 0.5 * axis**2 - 0.5 * month.LOG_2PI) + jnp.log(axis[1] - axis[0])
        )
    assert np.abs(np.array(found) - np.array(want)).max() < np.log(3), "one of two modes, at worst"


@pytest.mark.parametrize("size", [1, 2, 9, 31])
def test_sweeps_and_substitution_are_the_factorisation(size):
    rng = np.random.default_rng(size)
    stocks = rng.standard_normal((40, size)) * 10.0 ** rng.uniform(-2, 2, size)  # badly scaled on purpose
    precision, projection = stocks.T @ stocks + np.eye(size), rng.standard_normal(size)
    integral = jax.value_and_grad(month.log_gaussian_integral, argnums=(0, 1))
    value, (by_precision, by_projection) = at_once(integral, precision, projection)
    inverse = np.linalg.inv(precision)
    mean = np.linalg.solve(precision, projection)
    assert value == pytest.approx(0.5 * projection @ mean - 0.5 * np.linalg.slogdet(precision)[1], rel=1e-10)
    np.testing.assert_allclose(by_projection, mean, rtol=1e-8, atol=1e-14)
    np.testing.assert_allclose(by_precision, -0.5 * (inverse + np.outer(mean, mean)), rtol=1e-8, atol=1e-14)
    root = jnp.linalg.cholesky(jnp.asarray(precision))
    np.testing.assert_allclose(at_once(month.inverse_of_lower, root) @ root, np.eye(size), atol=1e-9)
    weights = rng.standard_normal((size, size))
    ours = at_once(jax.grad(lambda root: jnp.sum(weights * month.inverse_of_lower(root))), root)
    lapack = at_once(jax.grad(lambda root: jnp.sum(weights * jnp.linalg.inv(jnp.tril(root)))), root)
    np.testing.assert_allclose(ours, lapack, rtol=1e-6, atol=1e-9)
