r"""Regressions of test assets on factors, their coefficients integrated out or drawn exactly.

.. math::  R_{ti} = c_i' x_t + e_{ti}, \qquad c_i \mid \Sigma \sim N(0, \Sigma_{ii} P_0^{-1}), \quad
           E \sim MN(0, M^{-1}, \Sigma)

``x_t`` are an intercept (alpha, where it is a parameter) and the factors of the month. Four laws of ``Sigma``: one
variance for all assets, one for each (inverse gamma), a full matrix (inverse Wishart), or a matrix that is given, such
as residual factors plus a diagonal. Coefficients are scaled by the residuals of their asset, which makes all four
conjugate. ``M = I + (lambda / T_i) 1 1'`` is the pricing-error penalty of Feng, Polson and Xu (2020), eq. 9-13 and 20:
minus twice the log density is ``(sum e^2 + lambda sum_i T_i abar_i^2) / sigma^2``, and ``log |M| = log(1 + lambda)``.

Arrays may have leading dimensions (draws); those of NumPy give NumPy, those of JAX give JAX. Everything is in units of
a typical residual.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import gammaln, multigammaln
from numpy.typing import NDArray

from bayesfactor.components.slopes import symmetric_inverse

Floats = NDArray[np.float64]
LOG_2PI = math.log(2 * math.pi)
SHAPE = 2.0  # of the inverse gamma prior of a residual variance, whose mean is 1 in units of the typical one
DEGREES = 2.0 * SHAPE - 1.0  # beyond the number of assets, of the inverse Wishart: its diagonal is that inverse gamma
WISHART_SCALE = 2.0  # its diagonal scale


class Sums(NamedTuple):
    """What a density needs of the months.

    Attributes
    ----------
    gram : (..., coefficient, coefficient) ``X'MX`` where all assets have the same months, otherwise
        (..., asset, coefficient, coefficient).
    projection : (..., asset, coefficient) ``X'MR``.
    square : (asset,) ``R'MR``, its diagonal.
    n_months : (asset,) months with a return.
    """

    gram: Any
    projection: Any
    square: Any
    n_months: Any


def design(factors: Any, benchmarks: Any, *, intercept: bool) -> Any:
    """Regressors (..., time, coefficient): an intercept or none, then the factors, then the benchmarks."""
    xp = factors.__array_namespace__()
    benchmarks = xp.broadcast_to(benchmarks, (*factors.shape[:-1], benchmarks.shape[-1]))
    ones = xp.ones((*factors.shape[:-1], int(intercept)), dtype=factors.dtype)
    return xp.concat([ones, factors, benchmarks], axis=-1)


def sums(regressors: Any, returns: Any, observed: Any, penalty: float, *, balanced: bool) -> Sums:
    """Sums over months.

    Parameters
    ----------
    regressors : (..., time, coefficient).
    returns : (time, asset), any finite number where not observed.
    observed : (time, asset) bool.
    penalty : ``lambda``, 0 for none.
    balanced : whether every asset is observed in every month.
    """
    xp = regressors.__array_namespace__()
    seen = observed.astype(regressors.dtype)
    returns = xp.where(observed, returns, xp.zeros_like(returns)).astype(regressors.dtype)
    n_months = xp.sum(seen, axis=0)
    transposed = xp.swapaxes(regressors, -1, -2)
    projection = returns.T @ regressors
    square = xp.sum(returns**2, axis=0)
    if balanced:
        gram = transposed @ regressors
    else:
        products = regressors[..., :, None] * regressors[..., None, :]
        size = regressors.shape[-1]
        gram = seen.T @ products.reshape(*products.shape[:-2], size**2)
        gram = gram.reshape(*gram.shape[:-1], size, size)
    if penalty:
        share = penalty / xp.maximum(n_months, xp.ones_like(n_months))
        total, sum_returns = seen.T @ regressors, xp.sum(returns, axis=0)
        projection = projection + (share * sum_returns)[:, None] * total
        square = square + share * sum_returns**2
        if balanced:
            one = total[..., 0, :]
            gram = gram + share[0] * one[..., :, None] * one[..., None, :]
        else:
            gram = gram + share[:, None, None] * total[..., :, None] * total[..., None, :]
    return Sums(gram, projection, square, n_months)


# ---------------------------------------------------------------------- coefficients integrated out (JAX, one draw)


class Months(NamedTuple):
    """What `Sums` are of.

    Attributes
    ----------
    regressors : (time, coefficient).
    returns, observed : (time, asset).
    penalty : as in `sums`.
    """

    regressors: Array
    returns: Array
    observed: Array
    penalty: float


def unexplained(sums: Sums, precision: Array, months: Months | None = None) -> tuple[Array, Array]:
    """Shrunk sums of squared residuals (asset,), and ``log(|P_0| / |P_0 + X'MX|)`` (asset,).

    ``R'MR - b'(P_0 + X'MX)^-1 b``, in units of the typical residual squared.

    Parameters
    ----------
    sums : of one draw.
    precision : (coefficient,) diagonal of ``P_0``.
    months : that the sums are of. With them squares are summed over residuals, which float32 bears: as a difference of
        sums they lose their digits where factors explain nearly all, or nearly coincide.
    """
    n_assets = sums.projection.shape[0]
    if not precision.shape[0]:
        return sums.square, jnp.zeros_like(sums.square)
    matrix = sums.gram + jnp.diag(precision)
    if sums.gram.ndim == 2:
        inverse, log_determinant = symmetric_inverse(matrix)
        log_determinant = jnp.broadcast_to(log_determinant, (n_assets,))
        matrix, inverse = (jnp.broadcast_to(part, (n_assets, *part.shape)) for part in (matrix, inverse))
    else:
        inverse, log_determinant = jax.vmap(symmetric_inverse)(matrix)
    log_ratio = jnp.sum(jnp.log(precision)) - log_determinant
    solution = jnp.einsum("ikl,il->ik", inverse, sums.projection)
    if months is None:
        return sums.square - jnp.sum(sums.projection * solution, axis=-1), log_ratio
    left = sums.projection - jnp.einsum("ikl,il->ik", matrix, solution)
    solution = solution + jnp.einsum("ikl,il->ik", inverse, left)  # refined once
    seen = jnp.where(months.observed, months.returns - months.regressors @ solution.T, 0.0)
    squares = jnp.sum(seen**2, axis=0) + jnp.sum(precision * solution**2, axis=-1)
    if months.penalty:
        squares = squares + months.penalty / jnp.maximum(sums.n_months, 1) * jnp.sum(seen, axis=0) ** 2
    return squares, log_ratio


def log_evidence_by_asset(sums: Sums, precision: Array, penalty: float, months: Months | None = None) -> Array:
    """Log density (asset,) of every asset's returns, its coefficients and its variance integrated out.

    ``sigma_i^2 ~ InverseGamma(2, 1)`` in units of the typical residual variance.
    """
    squares, log_ratio = unexplained(sums, precision, months)
    half = 0.5 * sums.n_months
    return (
        0.5 * (log_ratio + jnp.log1p(penalty) * (sums.n_months > 0))
        - half * LOG_2PI
        + gammaln(SHAPE + half)
        - gammaln(SHAPE)
        - (SHAPE + half) * jnp.log1p(0.5 * squares)
    )


def log_evidence_of_one_variance(sums: Sums, precision: Array, penalty: float, months: Months | None = None) -> Array:
    """Log density () of all returns, one residual variance of all assets integrated out."""
    squares, log_ratio = unexplained(sums, precision, months)
    half = 0.5 * jnp.sum(sums.n_months)
    return (
        0.5 * jnp.sum(log_ratio + jnp.log1p(penalty) * (sums.n_months > 0))
        - half * LOG_2PI
        + gammaln(SHAPE + half)
        - gammaln(SHAPE)
        - (SHAPE + half) * jnp.log1p(0.5 * jnp.sum(squares))
    )


class Whitened(NamedTuple):
    """Returns whitened by their own second moments: what the inverse Wishart needs besides the factors.

    Attributes
    ----------
    returns : (time, asset) ``W = M^(1/2) R L^-T``, with ``L L' = A_0 = S_0 + R'MR``.
    spare : (asset, asset) a root of ``I - W'W``: ``L^-1 S_0^(1/2)``.
    log_determinant : () of ``A_0``.
    """

    returns: Any
    spare: Any
    log_determinant: Any


def whitened(returns: Floats, penalty: float) -> Whitened:
    """From balanced returns (time, asset), on the host, once for all draws."""
    n_assets = returns.shape[1]
    weighed = _weighed(returns, penalty)
    root = np.linalg.cholesky(WISHART_SCALE * np.eye(n_assets) + weighed.T @ weighed)
    inverse = np.linalg.inv(root)
    return Whitened(weighed @ inverse.T, math.sqrt(WISHART_SCALE) * inverse, 2.0 * np.sum(np.log(np.diag(root))))


def _weighed(columns: Any, penalty: float) -> Any:
    """``M^(1/2) X`` of X (time, column)."""
    return columns + (math.sqrt(1.0 + penalty) - 1.0) * columns.mean(axis=0) if penalty else columns


def log_evidence_of_full_covariance(
    regressors: Array, whitened: Whitened, sums: Sums, precision: Array, penalty: float
) -> Array:
    """Log density () of balanced returns, coefficients and a full residual covariance integrated out.

    The prior is ``Sigma ~ InverseWishart(n_assets + 3, 2 I)``. The determinant of the assets' residual moments is that
    of a matrix of coefficients: ``|A_0 - B'V^-1 B| = |A_0| |V - B A_0^-1 B'| / |V|`` with ``V = P_0 + X'MX``,
    ``B = X'MR``, so that a gradient costs no more than products with ``R``. Where assets explain the factors nearly
    entirely that difference is a small one of large numbers: it is a sum of squares, ``P_0 + E'E + F F'`` with ``E``
    what ``W`` leaves of ``M^(1/2) X`` and ``F = X'M^(1/2) W S``, ``S`` the root of ``I - W'W``.
    """
    n_months, n_assets = whitened.returns.shape
    weighed = _weighed(regressors, penalty)
    seen = weighed.T @ whitened.returns
    left = weighed - whitened.returns @ seen.T
    spare = seen @ whitened.spare
    _, log_prior_and_data = symmetric_inverse(sums.gram + jnp.diag(precision))
    _, log_left = symmetric_inverse(left.T @ left + spare @ spare.T + jnp.diag(precision))
    log_moments = whitened.log_determinant + log_left - log_prior_and_data
    degrees = n_assets + DEGREES
    return (
        0.5 * n_assets * (jnp.sum(jnp.log(precision)) - log_prior_and_data + jnp.log1p(penalty))
        - 0.5 * n_months * n_assets * jnp.log(jnp.pi)
        + multigammaln(0.5 * (degrees + n_months), n_assets)
        - multigammaln(0.5 * degrees, n_assets)
        + 0.5 * degrees * n_assets * jnp.log(WISHART_SCALE)
        - 0.5 * (degrees + n_months) * log_moments
    )


def log_evidence_of_residual_factors(
    regressors: Array, returns: Array, sums: Sums, precision: Array, penalty: float, law: Structured
) -> Array:
    """Log density () of balanced returns (time, asset) given the residuals' covariance, coefficients integrated out.

    ``R'MR - B'V^-1 B = E'ME + C'P_0 C`` with ``C`` the mean coefficients and ``E`` what they leave: squares, where the
    difference would be a small one of large numbers.
    """
    n_months, n_assets = returns.shape
    inverse, log_determinant = symmetric_inverse(sums.gram + jnp.diag(precision))
    inner, log_covariance = law.inner()
    scaled = law.loadings / law.unique[:, None]
    coefficients = sums.projection @ inverse  # (asset, coefficient)
    left = _weighed(returns, penalty) - _weighed(regressors, penalty) @ coefficients.T
    # tr Sigma^-1 (E'ME + C'P_0 C), Sigma^-1 by Woodbury.
    trace = jnp.sum((jnp.sum(left**2, axis=0) + coefficients**2 @ precision) / law.unique)
    shocks, shared = left @ scaled, coefficients.T @ scaled
    trace = trace - jnp.sum(inner * (shocks.T @ shocks + (shared.T * precision) @ shared))
    return (
        0.5 * n_assets * (jnp.sum(jnp.log(precision)) - log_determinant + jnp.log1p(penalty))
        - 0.5 * n_months * (n_assets * LOG_2PI + log_covariance)
        - 0.5 * trace
    )


# ---------------------------------------------------------------------- coefficients given (JAX, one draw)


class Independent(NamedTuple):
    """Residuals that are independent between assets.

    Attributes
    ----------
    variances : (asset,).
    """

    variances: Array

    def log_density(self, residuals: Array, observed: Array, penalty: float = 0.0) -> Array:
        """Log density () of residuals (time, asset), some of them not observed."""
        n_months = jnp.sum(observed, axis=0)
        seen = jnp.where(observed, residuals, 0.0)
        squares = jnp.sum(seen**2, axis=0)
        if penalty:
            squares = squares + penalty / jnp.maximum(n_months, 1) * jnp.sum(seen, axis=0) ** 2
        log_determinant = n_months * jnp.log(self.variances) - jnp.log1p(penalty) * (n_months > 0)
        return -0.5 * jnp.sum(n_months * LOG_2PI + log_determinant + squares / self.variances)

    def draw(self, rng_key: Array, n_months: int) -> Array:
        """Residuals (time, asset)."""
        normals = jax.random.normal(rng_key, (n_months, self.variances.shape[0]), self.variances.dtype)
        return normals * jnp.sqrt(self.variances)


class Correlated(NamedTuple):
    """Residuals with a full covariance between assets.

    Attributes
    ----------
    precision_root : (asset, asset) lower triangular, ``Sigma^-1 = root root'``.
    """

    precision_root: Array

    def log_density(self, residuals: Array, observed: Any = None, penalty: float = 0.0) -> Array:
        """Log density () of residuals (time, asset), all observed."""
        n_months, n_assets = residuals.shape
        whitened = residuals @ self.precision_root
        squares = jnp.sum(whitened**2)
        if penalty:
            squares = squares + penalty / n_months * jnp.sum(jnp.sum(whitened, axis=0) ** 2)
        log_determinant = -2.0 * n_months * jnp.sum(jnp.log(jnp.diagonal(self.precision_root)))
        return -0.5 * (n_months * n_assets * LOG_2PI + log_determinant - n_assets * jnp.log1p(penalty) + squares)

    def draw(self, rng_key: Array, n_months: int) -> Array:
        """Residuals (time, asset)."""
        normals = jax.random.normal(rng_key, (n_months, len(self.precision_root)), self.precision_root.dtype)
        return jax.scipy.linalg.solve_triangular(self.precision_root.T, normals.T, lower=False).T


class Covariance(NamedTuple):
    """The same, from the covariance itself; its density is computed without LAPACK (decision 9).

    Attributes
    ----------
    matrix : (asset, asset) ``Sigma``.
    """

    matrix: Array

    def log_density(self, residuals: Array, observed: Any = None, penalty: float = 0.0) -> Array:
        """Log density () of residuals (time, asset), all observed."""
        n_months, n_assets = residuals.shape
        inverse, log_determinant = symmetric_inverse(self.matrix)
        total = jnp.sum(residuals, axis=0)
        moments = residuals.T @ residuals + penalty / n_months * jnp.outer(total, total)
        constant = n_months * (n_assets * LOG_2PI + log_determinant) - n_assets * jnp.log1p(penalty)
        return -0.5 * (constant + jnp.sum(inverse * moments))

    def draw(self, rng_key: Array, n_months: int) -> Array:
        """Residuals (time, asset)."""
        normals = jax.random.normal(rng_key, (n_months, len(self.matrix)), self.matrix.dtype)
        return normals @ jnp.linalg.cholesky(self.matrix).T


class Structured(NamedTuple):
    """Residuals with factors of their own: ``Sigma = loadings loadings' + diag(unique)``.

    Attributes
    ----------
    loadings : (asset, residual factor).
    unique : (asset,) variances.
    """

    loadings: Array
    unique: Array

    def log_density(self, residuals: Array, observed: Any = None, penalty: float = 0.0) -> Array:
        """Log density () of residuals (time, asset), all observed."""
        n_months, n_assets = residuals.shape
        inner, log_determinant = self.inner()
        total = jnp.sum(residuals, axis=0)
        squares = jnp.sum(residuals**2, axis=0) + penalty / n_months * total**2
        shocks = residuals @ (self.loadings / self.unique[:, None])
        moments = shocks.T @ shocks
        moments = moments + penalty / n_months * jnp.outer(jnp.sum(shocks, axis=0), jnp.sum(shocks, axis=0))
        trace = jnp.sum(squares / self.unique) - jnp.sum(inner * moments)
        constant = n_assets * (LOG_2PI - jnp.log1p(penalty) / n_months) + log_determinant
        return -0.5 * (n_months * constant + trace)

    def draw(self, rng_key: Array, n_months: int) -> Array:
        """Residuals (time, asset)."""
        shared_key, own_key = jax.random.split(rng_key)
        shared = jax.random.normal(shared_key, (n_months, self.loadings.shape[1]), self.loadings.dtype)
        own = jax.random.normal(own_key, (n_months, self.loadings.shape[0]), self.loadings.dtype)
        return shared @ self.loadings.T + own * jnp.sqrt(self.unique)

    def inner(self) -> tuple[Array, Array]:
        """``(I + L'D^-1 L)^-1`` (residual factor, residual factor), and ``log |Sigma|``."""
        scaled = self.loadings / self.unique[:, None]
        size = self.loadings.shape[-1]
        inner, log_inner = symmetric_inverse(jnp.eye(size, dtype=self.loadings.dtype) + self.loadings.T @ scaled)
        return inner, jnp.sum(jnp.log(self.unique)) + log_inner


Residuals = Independent | Correlated | Covariance | Structured


def log_prior_of_coefficients(law: Residuals, coefficients: Array, precision: Array) -> Array:
    """Log density () of coefficients (asset, coefficient) given the residuals' law: ``c_k ~ N(0, Sigma / P_0k)``."""
    scaled = (coefficients * jnp.sqrt(precision)).T
    jacobian = 0.5 * coefficients.shape[0] * jnp.sum(jnp.log(precision))
    return law.log_density(scaled, jnp.ones(scaled.shape, bool)) + jacobian


# ---------------------------------------------------------------------- exact draws (NumPy, on the host, float64)


class Conditional(NamedTuple):
    """Posterior of coefficients given factors and ``Sigma``: ``N(mean_i, Sigma_ii root root')``, for every draw.

    Attributes
    ----------
    mean : (draw, asset, coefficient).
    root : (draw, 1, coefficient, coefficient) or (draw, asset, ...): ``root root' = (P_0 + X'MX)^-1``.
    squares : (draw, asset) shrunk sums of squared residuals.
    """

    mean: Floats
    root: Floats
    squares: Floats


def conditional(sums: Sums, precision: Floats) -> Conditional:
    """Of sums with a leading dimension of draws."""
    gram = sums.gram if sums.gram.ndim == 4 else sums.gram[:, None]
    matrix = gram + np.diag(precision)
    root = np.linalg.inv(np.linalg.cholesky(matrix))  # lower; (matrix)^-1 = root' root
    whitened = root @ sums.projection[..., None]
    mean = (np.swapaxes(root, -1, -2) @ whitened)[..., 0]
    return Conditional(mean, np.swapaxes(root, -1, -2), sums.square - np.sum(whitened[..., 0] ** 2, axis=-1))


def draw_variances(rng: np.random.Generator, given: Conditional, n_months: Floats) -> Floats:
    """``sigma_i^2`` (draw, asset), coefficients integrated out."""
    shape = SHAPE + 0.5 * n_months
    return np.asarray((1.0 + 0.5 * given.squares) / rng.gamma(np.broadcast_to(shape, given.squares.shape)))


def draw_one_variance(rng: np.random.Generator, given: Conditional, n_months: Floats) -> Floats:
    """``sigma^2`` (draw,) of all assets."""
    squares = given.squares.sum(axis=-1)
    return np.asarray((1.0 + 0.5 * squares) / rng.gamma(SHAPE + 0.5 * n_months.sum(), size=squares.shape))


def draw_covariances(rng: np.random.Generator, moments: Floats, n_months: int) -> Floats:
    """``Sigma`` (draw, asset, asset) given the assets' shrunk residual moments, coefficients integrated out.

    Inverse Wishart of ``n_assets + 3 + n_months`` degrees by Bartlett's decomposition.

    Parameters
    ----------
    moments : (draw, asset, asset) ``R'MR - B'V^-1 B``.
    n_months : number of months.
    """
    n_draws, n_assets, _ = moments.shape
    degrees = n_assets + DEGREES + n_months
    scale = np.linalg.cholesky(moments + WISHART_SCALE * np.eye(n_assets))
    triangle = np.tril(rng.standard_normal(moments.shape), -1)
    diagonal = np.sqrt(rng.chisquare(degrees - np.arange(n_assets), size=(n_draws, n_assets)))
    triangle[:, np.arange(n_assets), np.arange(n_assets)] = diagonal
    # W ~ Wishart(scale^-1) is (scale^-T A)(scale^-T A)': its inverse is root root' with root = scale A^-T.
    root = scale @ np.swapaxes(np.linalg.inv(triangle), -1, -2)
    return np.asarray(root @ np.swapaxes(root, -1, -2))


def draw_coefficients(rng: np.random.Generator, given: Conditional, covariance: Floats) -> Floats:
    """Coefficients (draw, asset, coefficient) given ``Sigma``.

    Parameters
    ----------
    covariance : variances (draw, asset), or ``Sigma`` (draw, asset, asset), which needs one Gram matrix for all assets.
    """
    normals = rng.standard_normal(given.mean.shape)
    if covariance.ndim == 2:
        normals = np.sqrt(covariance)[..., None] * normals
    else:
        normals = np.linalg.cholesky(covariance) @ normals
    return np.asarray(given.mean + (given.root @ normals[..., None])[..., 0])
