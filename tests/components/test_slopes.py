"""The months' likelihood of the average slopes against dense multivariate normals, in float64."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from bayesfactor.components import slopes
from bayesfactor.components.slopes import SlopeLikelihood

COUNTS = (7, 1, 12, 0, 5)  # one stock, no stock at all, fewer stocks than features
SCALES = np.array([0.1, 0.05, 0.2, 0.1, 0.08])
PRIOR_SD = np.array([0.3, 0.05, 0.02, 0.5])
N_FEATURES = 4


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


def months(seed=0):
    """Designs (stock, feature) and returns (stock,) of ragged months."""
    rng = np.random.default_rng(seed)
    designs = [np.column_stack([np.ones(n), rng.uniform(-1, 1, (n, N_FEATURES - 1))]) for n in COUNTS]
    return designs, [0.1 * rng.standard_normal(n) for n in COUNTS]


def statistics(designs, returns):
    return tuple(
        jnp.asarray(part)
        for part in (
            np.array(COUNTS, float),
            np.stack([x.T @ x for x in designs]),
            np.stack([x.T @ r for x, r in zip(designs, returns, strict=True)]),
            np.array([r @ r for r in returns]),
        )
    )


def shocks(n_shocks, spread=(0.2, 0.1, 0.3, 0.05)):
    """Scales, and the lower root of a correlation matrix."""
    if n_shocks == 0:
        return np.zeros(0), np.zeros((0, 0))
    raw = np.random.default_rng(1).standard_normal((n_shocks, 2 * n_shocks))
    return np.array(spread[:n_shocks]), np.linalg.cholesky(np.corrcoef(raw))


def noise_covariance(x, scale, spread, root):
    """Covariance of a month's returns given the average slopes."""
    moved = x[:, : len(spread)] * spread @ root
    return moved @ moved.T + scale**2 * np.eye(len(x))


def dense(w, designs, returns, spread, root):
    total = 0.0
    for x, r, scale in zip(designs, returns, SCALES, strict=True):
        if len(r):
            total += stats.multivariate_normal.logpdf(r, x @ w, noise_covariance(x, scale, spread, root))
    return total


def at(likelihood, w):
    return float(likelihood.log_constant + likelihood.projection @ w - 0.5 * w @ likelihood.precision @ w)


def found_for(n_shocks, weight=1.0, **given):
    designs, returns = months()
    spread, root = shocks(n_shocks, **given)
    likelihood = jax.jit(slopes.of_months)(statistics(designs, returns), SCALES, spread, root, weight)
    return likelihood, designs, returns, spread, root


@pytest.mark.parametrize("n_shocks", [0, 2, 4])
def test_the_likelihood_of_the_slopes_is_the_dense_normal_s(n_shocks):
    likelihood, designs, returns, spread, root = found_for(n_shocks)
    for w in np.random.default_rng(2).normal(0, 0.3, (4, N_FEATURES)):
        assert at(likelihood, w) == pytest.approx(dense(w, designs, returns, spread, root), rel=1e-11)
    np.testing.assert_allclose(likelihood.precision, likelihood.precision.T, rtol=1e-9)


def test_one_month_alone():
    designs, returns = months()
    spread, root = shocks(4)
    one = tuple(part[2] for part in statistics(designs, returns))
    likelihood = jax.jit(slopes.of_month)(*one, SCALES[2], spread, np.linalg.inv(root))
    w = np.array([0.1, -0.2, 0.3, 0.05])
    want = stats.multivariate_normal.logpdf(
        returns[2], designs[2] @ w, noise_covariance(designs[2], SCALES[2], spread, root)
    )
    assert at(likelihood, w) == pytest.approx(want, rel=1e-11)


def test_indicators_do_not_move():
    """A shock of scale 0 is no shock: its row of the correlation does not matter either."""
    likelihood, designs, returns, _, root = found_for(4, spread=(0.2, 0.1, 0.0, 0.0))
    spread = np.array([0.2, 0.1])
    w = np.array([0.1, -0.2, 0.3, 0.05])
    assert at(likelihood, w) == pytest.approx(dense(w, designs, returns, spread, root[:2, :2]), rel=1e-11)


def test_months_are_weighted():
    once, three = found_for(2)[0], found_for(2, weight=3.0)[0]
    for one, weighted in zip(once, three, strict=True):
        np.testing.assert_allclose(weighted, 3.0 * one, rtol=1e-14)


@pytest.mark.parametrize("n_shocks", [0, 2, 4])
def test_the_evidence_is_the_normal_of_all_returns(n_shocks):
    likelihood, designs, returns, spread, root = found_for(n_shocks)
    x = np.vstack(designs)
    covariance = block_diagonal(designs, spread, root) + x * PRIOR_SD**2 @ x.T
    want = stats.multivariate_normal.logpdf(np.concatenate(returns), np.zeros(len(x)), covariance)
    assert float(slopes.log_evidence(likelihood, PRIOR_SD)) == pytest.approx(want, rel=1e-11)


def block_diagonal(designs, spread, root):
    covariance, first = np.zeros((sum(COUNTS), sum(COUNTS))), 0
    for x, scale in zip(designs, SCALES, strict=True):
        here = slice(first, first + len(x))
        covariance[here, here] = noise_covariance(x, scale, spread, root)
        first += len(x)
    return covariance


@pytest.mark.parametrize("flat", [[0], [0, 1, 2, 3]])
@pytest.mark.parametrize("n_shocks", [0, 4])
def test_the_evidence_under_a_flat_prior_is_the_integral(n_shocks, flat):
    """``log of the integral of N(r; X w, C) dw``: the restricted likelihood (Harville, 1974) with density one."""
    likelihood, designs, returns, spread, root = found_for(n_shocks)
    x, r = np.vstack(designs), np.concatenate(returns)
    known = np.setdiff1d(np.arange(N_FEATURES), flat)
    covariance = block_diagonal(designs, spread, root) + x[:, known] * PRIOR_SD[known] ** 2 @ x[:, known].T
    free, inverse = x[:, flat], np.linalg.inv(covariance)
    gram = free.T @ inverse @ free
    projected = free.T @ inverse @ r
    square = r @ inverse @ r - projected @ np.linalg.solve(gram, projected)
    log_determinant = np.linalg.slogdet(covariance)[1] + np.linalg.slogdet(gram)[1]
    want = -0.5 * ((len(r) - len(flat)) * np.log(2 * np.pi) + log_determinant + square)
    prior_sd = PRIOR_SD.copy()
    prior_sd[flat] = np.inf
    assert float(slopes.log_evidence(likelihood, prior_sd)) == pytest.approx(want, rel=1e-10)


def test_the_derivative_of_the_evidence():
    """In everything that a program differentiates: features, scales, spreads, root and prior."""
    designs, returns = months()
    count, gram, projection, square = statistics(designs, returns)
    spread, root = shocks(4)

    def evidence(given):
        moved = given["stretch"][:, None] * gram * given["stretch"], given["stretch"] * projection
        inner = slopes.of_months((count, *moved, square), given["scale"], given["spread"], given["root"], 1.0)
        return slopes.log_evidence(inner, given["prior_sd"])

    given = {
        "stretch": np.array([1.0, 0.8, 1.3, 0.9]),
        "scale": SCALES,
        "spread": spread,
        "root": root,
        "prior_sd": PRIOR_SD,
    }
    check_derivative(evidence, jax.tree.map(jnp.asarray, given))


def test_inverse_and_determinant_and_their_derivative():
    raw = np.random.default_rng(3).standard_normal((5, 8))
    matrix = raw @ raw.T
    inverse, log_determinant = jax.jit(slopes.symmetric_inverse)(matrix)
    np.testing.assert_allclose(inverse, np.linalg.inv(matrix), rtol=1e-10, atol=1e-12)
    assert float(log_determinant) == pytest.approx(np.linalg.slogdet(matrix)[1], rel=1e-12)
    weights = np.random.default_rng(4).standard_normal((5, 5))

    def both(raw):
        inverse, log_determinant = slopes.symmetric_inverse(raw @ raw.T)
        return jnp.sum(weights * inverse) + 0.7 * log_determinant

    check_derivative(both, jnp.asarray(raw))


def check_derivative(function, given):
    """Central differences along random directions; lower triangles stay lower triangles."""
    function = jax.jit(function)
    value, slope = function(given), jax.jit(jax.grad(function))(given)
    rng = np.random.default_rng(5)
    for name, leaf in given.items() if isinstance(given, dict) else [(None, given)]:
        way = rng.standard_normal(leaf.shape) * np.abs(leaf)
        ahead, behind = (leaf + step * way for step in (1e-5, -1e-5))
        if name is not None:
            ahead, behind, of_leaf = {**given, name: ahead}, {**given, name: behind}, slope[name]
        else:
            of_leaf = slope
        want = float(function(ahead) - function(behind)) / 2e-5
        # Rounding of the value over the step, with a condition number of 100; truncation is of the order 1e-10.
        tolerance = 100 * np.finfo(float).eps * abs(float(value)) / 1e-5 + 1e-7 * abs(want)
        assert float(jnp.sum(of_leaf * way)) == pytest.approx(want, abs=tolerance), name


def test_nothing_observed_says_nothing():
    zero = SlopeLikelihood(jnp.zeros((2, 2)), jnp.zeros(2), jnp.zeros(()))
    assert float(slopes.log_evidence(zero, jnp.array([0.1, 2.0]))) == pytest.approx(0.0, abs=1e-15)
