r"""The law of a month: the one density that every panel model shares.

Given one draw of the parameters, the returns of a month's ``N`` stocks are

.. math::  r = m + B A u + c\,\sigma \odot e, \qquad u \sim N(0, I_Q), \quad \log c \sim N(0, s^2),

with ``e`` from one of the densities of `noise`. ``u`` are the month's common shocks (what the slopes or factors did
that month), ``c`` the month's own noise level. For normal noise and known ``c`` this is
``N(m, L L' + D)`` with ``L = B A`` and ``D`` diagonal, and every function below costs ``O(N Q^2)``: the Woodbury
identity and the determinant lemma reduce the algebra to ``Q x Q``.

Ragged months are masks: a stock that is not observed has no influence at all on any result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import gammaln, logsumexp

from bayesfactor.components.noise import LOG_2PI, Laplace, Noise, Normal

QUADRATURE_NODES = 21
NEWTON_STEPS = 25
SCORING_STEPS = 10
SINGULAR_EXCESS = 0.1  # nats a shock, see log_density_by_laplace


class MonthLaw(NamedTuple):
    """Law of one month's returns at one draw of the parameters (see the module's formula).

    Attributes
    ----------
    mean : (stock,) expected return, decimal per period.
    loadings : (stock, shock) ``B``; zero columns mean no common shocks.
    root : (shock, shock) ``A``, lower triangular with positive diagonal, a root of the shocks' correlation. Scales
        belong into the loadings: then a shock of scale 0 is no special case.
    scale : () or (stock,) ``sigma``, scale of the idiosyncratic noise in a typical month, decimal per period.
    log_scale_sd : () ``s``, how much the noise level moves from month to month; 0 when the month's level is known.
    noise : density of ``e``.
    """

    mean: Array
    loadings: Array
    root: Array
    scale: Array
    log_scale_sd: Array | float = 0.0
    noise: Noise = Normal()


class Moments(NamedTuple):
    """What the Gaussian density needs of a month, each weighted by the noise precision.

    Attributes
    ----------
    n_observed : () number of observed stocks.
    log_scale : () sum of log sigma over them.
    gram : (shock, shock) ``B' D^-1 B``.
    projection : (shock,) ``B' D^-1 (r - m)``.
    square : () ``(r - m)' D^-1 (r - m)``.
    """

    n_observed: Array
    log_scale: Array
    gram: Array
    projection: Array
    square: Array


def _noise_scale(law: MonthLaw) -> Array:
    return jnp.broadcast_to(law.scale, law.mean.shape)


def _residual(law: MonthLaw, returns: Array, observed: Array) -> Array:
    return jnp.where(observed, returns - law.mean, 0.0)


def moments(law: MonthLaw, returns: Array, observed: Array) -> Moments:
    """Reduce one month to the sums over stocks that its Gaussian density needs.

    Parameters
    ----------
    law : law of the month.
    returns : (stock,) decimal; any finite number where not observed.
    observed : (stock,) bool.
    """
    scale = _noise_scale(law)
    whitened = jnp.where(observed, 1.0 / scale, 0.0)
    loadings = law.loadings * whitened[:, None]
    residual = _residual(law, returns, observed) * whitened
    return Moments(
        n_observed=jnp.sum(observed),
        log_scale=jnp.sum(jnp.where(observed, jnp.log(scale), 0.0)),
        gram=loadings.T @ loadings,
        projection=loadings.T @ residual,
        square=residual @ residual,
    )


@jax.custom_vjp
def gram_matrix(design: Array) -> Array:
    """``X X'`` (feature, feature) of a design (feature, stock); its derivative costs one product in place of two."""
    return design @ design.T


gram_matrix.defvjp(
    lambda design: (gram_matrix(design), design), lambda design, cotangent: ((cotangent + cotangent.T) @ design,)
)


def log_density_of_moments(moments: Moments, root: Array) -> Array:
    """Gaussian log density of a month from its moments: ``log N(r; m, B A A' B' + D)``.

    Woodbury and the determinant lemma with ``K = A A'`` and ``M = K^-1 + B' D^-1 B``:
    ``(L L' + D)^-1 = D^-1 - D^-1 B M^-1 B' D^-1`` and ``|L L' + D| = |K| |M| |D|``.
    """
    constant = moments.n_observed * LOG_2PI + 2.0 * moments.log_scale + moments.square
    if root.shape[-1] == 0:
        return -0.5 * constant
    # K = A A' is the same for every month: only one factorisation a month is left, of K^-1 + B' D^-1 B.
    inverse_root = inverse_of_lower(root)
    precision = inverse_root.T @ inverse_root + moments.gram
    log_determinant = jnp.sum(jnp.log(jnp.diagonal(root)))
    return log_gaussian_integral(precision, moments.projection) - log_determinant - 0.5 * constant


@jax.custom_vjp
def inverse_of_lower(root: Array) -> Array:
    """Inverse (shock, shock) of a lower triangular matrix, by forward substitution."""
    root = jnp.asarray(root)
    identity = jnp.eye(root.shape[-1], dtype=root.dtype)

    def substitute(index: Array, inverse: Array) -> Array:
        row = root[index]  # zero from the diagonal on in the rows of the inverse that are not there yet
        return inverse.at[index].set((identity[index] - row @ inverse) / row[index])

    return jax.lax.fori_loop(0, root.shape[-1], substitute, jnp.zeros_like(root))


def _inverse_of_lower_forward(root: Array) -> tuple[Array, Array]:
    inverse = inverse_of_lower(root)
    return inverse, inverse


def _inverse_of_lower_backward(inverse: Array, cotangent: Array) -> tuple[Array]:
    return (-jnp.tril(inverse.T @ cotangent @ inverse.T),)


inverse_of_lower.defvjp(_inverse_of_lower_forward, _inverse_of_lower_backward)


@jax.custom_vjp
def log_gaussian_integral(precision: Array, projection: Array) -> Array:
    """``log of the integral of exp(b'v - v'Mv/2) dv / (2 pi)^(Q/2)``: ``b' M^-1 b/2 - log|M|/2``.

    Its derivatives are the moments of ``v`` under that density (mean ``x = M^-1 b``, second moment
    ``M^-1 + x x'``): exact, and cheaper than differentiating through the factorisation.

    Parameters
    ----------
    precision : (shock, shock) ``M``, symmetric positive definite.
    projection : (shock,) ``b``.
    """
    return _gaussian_integral(precision, projection)[0]


def _gaussian_integral(precision: Array, projection: Array) -> tuple[Array, tuple[Array, Array]]:
    """The value, and what its derivatives need: ``M^-1`` and ``M^-1 b``.

    Symmetric sweeps of ``M`` bordered by ``b`` (Goodnight, 1979) give the inverse, the solution, the quadratic form
    and the pivots in one loop of elementwise operations. LAPACK is avoided on purpose: two batched calls at once can
    block JAX's thread pool for ever (decision 9).
    """
    size = precision.shape[-1]
    bordered = jnp.block([[precision, projection[:, None]], [projection[None, :], jnp.zeros((1, 1), precision.dtype)]])
    index = jnp.arange(size + 1)

    def sweep(pivot_index: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        matrix, log_determinant = carry
        row = matrix[pivot_index]
        pivot = row[pivot_index]
        scaled = row / pivot
        here = index == pivot_index
        swept = jnp.where(here, scaled[:, None], jnp.where(here[:, None], scaled, matrix - row[:, None] * scaled))
        swept = jnp.where(here & here[:, None], -1.0 / pivot, swept)
        return swept, log_determinant + jnp.log(pivot)

    start = (bordered, jnp.zeros((), precision.dtype))
    swept, log_determinant = jax.lax.fori_loop(0, size, sweep, start)
    return -0.5 * (swept[size, size] + log_determinant), (-swept[:size, :size], swept[:size, size])


def _gaussian_integral_backward(saved: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    covariance, mean = saved
    return -0.5 * cotangent * (covariance + mean[:, None] * mean), cotangent * mean


log_gaussian_integral.defvjp(_gaussian_integral, _gaussian_integral_backward)


def log_density(law: MonthLaw, returns: Array, observed: Array) -> Array:
    """Gaussian log density of one month at a known noise level (``log_scale_sd`` is not used).

    Parameters
    ----------
    law : law of the month, normal noise.
    returns : (stock,) decimal.
    observed : (stock,) bool.

    Returns
    -------
    () natural log of the joint density of the observed returns.
    """
    return log_density_of_moments(moments(law, returns, observed), law.root)


def conditional_shocks(law: MonthLaw, returns: Array, observed: Array) -> tuple[Array, Array]:
    """Mean and Cholesky factor of the covariance of the shocks given the month's returns (normal noise).

    ``u | r ~ N(C^-1 L' D^-1 (r - m), C^-1)``.

    Returns
    -------
    mean (shock,), factor (shock, shock) lower triangular.
    """
    month = moments(law, returns, observed)
    inner = jnp.eye(law.root.shape[-1]) + law.root.T @ month.gram @ law.root
    covariance = jnp.linalg.inv(inner)
    covariance = 0.5 * (covariance + covariance.T)
    return covariance @ (law.root.T @ month.projection), jnp.linalg.cholesky(covariance)


def draw_conditional_shocks(rng_key: Array, law: MonthLaw, returns: Array, observed: Array) -> Array:
    """One draw (shock,) of the month's shocks given its returns (normal noise)."""
    mean, factor = conditional_shocks(law, returns, observed)
    return mean + factor @ jax.random.normal(rng_key, mean.shape, mean.dtype)


def log_density_given_shocks(law: MonthLaw, shocks: Array, returns: Array, observed: Array) -> Array:
    """Log density of one month given its shocks (shock,), at a known noise level: stocks are independent."""
    scale = _noise_scale(law)
    residual = jnp.where(observed, returns - law.mean - law.loadings @ (law.root @ shocks), 0.0)
    return jnp.sum(jnp.where(observed, law.noise.log_density(residual, scale), 0.0))


def log_density_by_laplace(law: MonthLaw, returns: Array, observed: Array) -> Array:
    """Log density of one month at a known noise level, shocks integrated out by Laplace's method.

    With ``l(u)`` the log density of returns and shocks, ``u*`` its mode and ``M = -l''(u*)``:
    ``l(u*) + Q/2 log 2 pi - log|M|/2``. Exact for normal noise.

    An outlier of a Student-t subtracts from ``M``: where stocks are few it can be singular, the value infinite, or
    indefinite. The value stays within `SINGULAR_EXCESS` of that without the negative terms. Laplace noise has no
    curvature: ``M`` is Fisher's information, and ``l`` is averaged over ``N(u*, M^-1)`` with that normal's entropy
    added, a lower bound.

    The derivative in the law follows the mode by the implicit function theorem; the bound's is that at a fixed
    ``M``. No LAPACK (decision 9).

    Parameters
    ----------
    law : law of the month; `log_scale_sd` is not used.
    returns : (stock,) decimal.
    observed : (stock,) bool.

    Returns
    -------
    () natural log of the joint density of the observed returns.
    """
    n_shocks = law.root.shape[-1]
    if n_shocks == 0:
        return log_density_given_shocks(law, jnp.zeros(0, law.mean.dtype), returns, observed)

    def precision(law: MonthLaw, curvature: Array) -> Array:
        low_rank = law.loadings @ law.root
        weights = jnp.where(observed, curvature / _noise_scale(law) ** 2, 0.0)
        return jnp.eye(n_shocks, dtype=low_rank.dtype) + low_rank.T @ (weights[:, None] * low_rank)

    def curvature(law: MonthLaw, shocks: Array) -> Array:
        residual = returns - law.mean - law.loadings @ (law.root @ shocks)
        return law.noise.curvature(residual / _noise_scale(law))

    def joint(law: MonthLaw, shocks: Array) -> Array:
        return log_density_given_shocks(law, shocks, returns, observed) - 0.5 * shocks @ shocks

    score = jax.grad(joint, argnums=1)

    def mode_of(law: MonthLaw) -> tuple[Array, Array]:
        """The mode, and the inverse of the negative Hessian there."""
        # The expected curvature alone overshoots for ever where all residuals are small, the largest alone is slow.
        flat = jnp.zeros_like(law.mean)
        inverse = _inverse(precision(law, 0.5 * (law.noise.curvature(flat) + law.noise.location_information)))
        start = _shocks_of_normal_noise(law, returns, observed)
        shocks = jax.lax.fori_loop(0, SCORING_STEPS, lambda _, u: u + inverse @ score(law, u), start)
        shocks += _solve(precision(law, jnp.maximum(curvature(law, shocks), 0.0)), score(law, shocks))
        return shocks, _inverse(precision(law, curvature(law, shocks)))

    entropy = jnp.zeros((), law.mean.dtype)  # less that of Laplace's own normal
    if isinstance(law.noise, Laplace):
        low_rank = law.loadings @ law.root / _noise_scale(law)[:, None]
        covariance = _inverse(precision(law, jnp.ones_like(law.mean)))
        blur = jnp.sqrt(jnp.sum((low_rank @ covariance) * low_rank, axis=-1))
        law = law._replace(noise=Laplace(blur))
        entropy = 0.5 * (n_shocks - jnp.trace(covariance))

    mode, inverse = mode_of(jax.lax.stop_gradient(law))
    slope = score(law, mode)
    bend = curvature(law, mode + inverse @ slope)  # the same point, but one that moves with the law
    value = log_gaussian_integral(precision(law, bend), slope)
    regular = log_gaussian_integral(precision(law, jnp.maximum(bend, 0.0)), slope)
    limit = regular + SINGULAR_EXCESS * n_shocks
    return joint(law, mode) + entropy + jnp.where(value < limit, value, limit)  # NaN, if M is indefinite, is not below


def _shocks_of_normal_noise(law: MonthLaw, returns: Array, observed: Array) -> Array:
    """Mode (shock,) of the shocks if the noise were normal: from here a heavy-tailed density's own is near."""
    month = moments(law, returns, observed)
    gram = law.root.T @ month.gram @ law.root
    return _solve(jnp.eye(len(gram), dtype=gram.dtype) + gram, law.root.T @ month.projection)


def _inverse(matrix: Array) -> Array:
    return _gaussian_integral(matrix, jnp.zeros_like(matrix[0]))[1][0]


def _solve(matrix: Array, vector: Array) -> Array:
    return _gaussian_integral(matrix, vector)[1][1]


def simulate(rng_key: Array, law: MonthLaw) -> Array:
    """One draw (stock,) of a new month's returns, decimal: shocks, noise level and noise are all new."""
    shock_key, level_key, noise_key = jax.random.split(rng_key, 3)
    dtype = law.mean.dtype
    shocks = jax.random.normal(shock_key, law.root.shape[-1:], dtype)
    level = jnp.exp(law.log_scale_sd * jax.random.normal(level_key, (), dtype))
    noise = law.noise.draw(noise_key, law.mean.shape, dtype)
    return law.mean + law.loadings @ (law.root @ shocks) + level * _noise_scale(law) * noise


def predictive_variance(law: MonthLaw) -> Array:
    """Variance (stock,) of a new month's returns at one draw of the parameters, decimal squared.

    ``diag(L L') + sigma^2 exp(2 s^2) Var(e)``; the middle factor is the mean of ``c^2``.
    """
    common = jnp.sum((law.loadings @ law.root) ** 2, axis=-1)
    return common + _noise_scale(law) ** 2 * jnp.exp(2.0 * law.log_scale_sd**2) * law.noise.variance


def marginal_log_density(
    law: MonthLaw, returns: Array, observed: Array, rng_key: Array, importance_draws: int = 256
) -> Array:
    """Log density of a new month: shocks and the month's noise level integrated out.

    Normal noise: shocks in closed form, the noise level by adaptive Gauss-Hermite quadrature. Any other noise:
    both by importance sampling around their conditional mode (unbiased for the density; `rng_key` and
    `importance_draws` matter only then).

    Returns
    -------
    () natural log of the joint density of the observed returns, decimal.
    """
    if isinstance(law.noise, Normal):
        return _marginal_normal(law, returns, observed)
    return _marginal_by_importance(law, returns, observed, rng_key, importance_draws)


def _marginal_normal(law: MonthLaw, returns: Array, observed: Array) -> Array:
    month = moments(law, returns, observed)
    # In the eigenbasis of L' D^-1 L the density at noise level c costs Q operations.
    if law.root.shape[-1]:
        values, vectors = jnp.linalg.eigh(law.root.T @ month.gram @ law.root)
        values = jnp.maximum(values, 0.0)
        projection = vectors.T @ (law.root.T @ month.projection)
    else:
        values = projection = jnp.zeros(0, law.mean.dtype)

    def joint(x: Array) -> Array:
        log_level = law.log_scale_sd * x
        precision = jnp.exp(-2.0 * log_level)
        log_determinant = 2.0 * (month.log_scale + month.n_observed * log_level)
        log_determinant = log_determinant + jnp.sum(jnp.log1p(values * precision))
        explained = jnp.sum(projection**2 * precision**2 / (1.0 + values * precision))
        quadratic = month.square * precision - explained
        return -0.5 * (month.n_observed * LOG_2PI + log_determinant + quadratic) - 0.5 * (x**2 + LOG_2PI)

    mode, curvature = _mode_of_scalar(joint, law.mean.dtype)
    nodes, weights = np.polynomial.hermite.hermgauss(QUADRATURE_NODES)
    width = jnp.sqrt(2.0 / curvature)
    values_at_nodes = jax.vmap(joint)(mode + width * nodes)
    return logsumexp(values_at_nodes + nodes**2 + np.log(weights)) + jnp.log(width)


def _mode_of_scalar(function: Callable[[Array], Array], dtype: Any) -> tuple[Array, Array]:
    """Mode of a log density of one variable and its negative second derivative there."""
    slope, bend = jax.grad(function), jax.grad(jax.grad(function))

    def step(_: Any, x: Array) -> Array:
        # The curvature is at least the prior's half: away from the mode it can be negative.
        move = slope(x) / jnp.maximum(-bend(x), 0.5)
        return x + jnp.clip(move, -2.0, 2.0)

    mode = jax.lax.fori_loop(0, NEWTON_STEPS, step, jnp.zeros((), dtype))
    return mode, jnp.maximum(-bend(mode), 0.5)


def _marginal_by_importance(
    law: MonthLaw, returns: Array, observed: Array, rng_key: Array, importance_draws: int
) -> Array:
    n_shocks = law.root.shape[-1]
    low_rank = law.loadings @ law.root
    count = jnp.sum(observed)

    def at_level(x: Array) -> MonthLaw:
        return law._replace(scale=law.scale * jnp.exp(law.log_scale_sd * x))

    def joint(point: Array) -> Array:
        prior = -0.5 * (point @ point + (n_shocks + 1) * LOG_2PI)
        return log_density_given_shocks(at_level(point[-1]), point[:-1], returns, observed) + prior

    def information(point: Array) -> Array:
        """Fisher information of shocks and level plus their prior's; always positive definite."""
        weights = jnp.where(observed, 1.0 / _noise_scale(at_level(point[-1])) ** 2, 0.0)
        shocks = law.noise.location_information * low_rank.T @ (weights[:, None] * low_rank)
        level = law.noise.log_scale_information * count * law.log_scale_sd**2
        matrix = jnp.zeros((n_shocks + 1, n_shocks + 1)).at[:-1, :-1].set(shocks).at[-1, -1].set(level)
        return matrix + jnp.eye(n_shocks + 1)

    score = jax.grad(joint)

    def step(_: Any, point: Array) -> Array:
        return point + jnp.clip(jnp.linalg.solve(information(point), score(point)), -3.0, 3.0)

    start = jnp.append(_shocks_of_normal_noise(law, returns, observed), 0.0)
    mode = jax.lax.fori_loop(0, NEWTON_STEPS, step, start)
    factor = jnp.linalg.cholesky(information(mode))
    # Proposal: multivariate t with few degrees of freedom around the mode, tails heavier than the target's.
    tails = 7.0
    normal_key, chi_key = jax.random.split(rng_key)
    normal = jax.random.normal(normal_key, (importance_draws, n_shocks + 1), law.mean.dtype)
    mixing = jax.random.gamma(chi_key, tails / 2, (importance_draws,), law.mean.dtype) / (tails / 2)
    standard = normal / jnp.sqrt(mixing)[:, None]
    points = mode + solve_triangular(factor.T, standard.T, lower=False).T
    dimension = n_shocks + 1
    log_proposal = (
        gammaln((tails + dimension) / 2)
        - gammaln(tails / 2)
        - 0.5 * dimension * jnp.log(tails * jnp.pi)
        + jnp.sum(jnp.log(jnp.diagonal(factor)))
        - (tails + dimension) / 2 * jnp.log1p(jnp.sum(standard**2, axis=-1) / tails)
    )
    return logsumexp(jax.vmap(joint)(points) - log_proposal) - jnp.log(importance_draws)
