"""What factors explain of stocks whose betas are functions of characteristics, and how far off that is.

A month is explained given what its factors earned (AZT, eq. 1): of later months, and of stocks that were never learned
from, everything is known but the betas. Explained returns are arrays (draw, month, slot), decimal per month.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

import bayesfactor as bf
from bayesfactor.components import factor_regression as regression
from examples.common.draws import kept

HUBER = 1.345  # where Huber's loss turns linear, in robust sds of what the benchmark leaves


class Months(NamedTuple):
    """Stocks by month.

    Attributes
    ----------
    z : (month, slot, characteristic).
    returns : (month, slot), 0 where not seen.
    seen : (month, slot) bool.
    benchmarks : (month, benchmark), the market first.
    """

    z: np.ndarray
    returns: np.ndarray
    seen: np.ndarray
    benchmarks: np.ndarray

    @classmethod
    def of(cls, panel: bf.Panel) -> Months:
        """Of a panel with benchmarks, every month of which has returns."""
        arrays = panel.arrays()
        return cls(arrays.characteristics, arrays.returns, arrays.observed, arrays.benchmarks)


def by_networks(fit: bf.Fit, months: Months, deep: np.ndarray) -> np.ndarray:
    """``beta_d(z)' f + beta_b(z)' g`` of every draw kept; AZT, eq. 1.

    Parameters
    ----------
    fit : with loadings that are functions of characteristics.
    months : of any stocks.
    deep : (draw, month, factor) what the deep factors earned, as ``common.draws.factors_of`` and `flat` give it.
    """
    draws = bf.align(fit).parameters()
    thin = kept(fit)
    params = {
        name: values.reshape(*fit.shape, *values.shape[1:])[:, thin].reshape(-1, *values.shape[1:])
        for name, values in draws.items()
        if name.startswith(("loading", "benchmark_loading"))
    }

    def of_draw(given: Any) -> jax.Array:
        own, factors = given

        def of_month(month: Any) -> jax.Array:
            z, f, g = month
            beta, gamma = fit.model.stock_loadings(own, z)
            return beta @ f + gamma @ g

        return jax.lax.map(of_month, (months.z.astype(np.float32), factors, months.benchmarks.astype(np.float32)))

    explained = jax.jit(lambda *given: jax.lax.map(of_draw, given))
    return np.asarray(explained(params, deep.astype(np.float32)), float)


def linear_betas(
    months: Months, factors: np.ndarray, scale: float, loading_sd: float, rng: np.random.Generator
) -> np.ndarray:
    """One exact draw of betas (intercept and characteristics, factor), linear in characteristics, given the factors.

    The regression of all returns on ``f_k [1, z]``. Priors are as wide as those of a cell of one layer, but in
    proportion to the sd of the residuals, where a cell's are in units of the typical one; no ``lambda_1``.

    Parameters
    ----------
    months : learned from.
    factors : (month, factor).
    scale : typical residual sd, decimal per month, the units of the priors.
    loading_sd : of the cell.
    rng : of the draw.
    """
    rows = np.einsum("tf,tsk->tsfk", factors, _with_one(months.z))[months.seen]
    n_factors, n_slopes = factors.shape[1], months.z.shape[2]
    spread = loading_sd / math.sqrt(n_slopes / 3.0)
    precision = np.tile([loading_sd**-2.0, *[spread**-2.0] * n_slopes], n_factors)
    x = rows.reshape(len(rows), -1) / scale
    y = months.returns[months.seen][:, None] / scale
    sums = regression.sums(x[None], y, np.ones(y.shape, bool), 0.0, balanced=True)
    given = regression.conditional(sums, precision)
    variance = regression.draw_one_variance(rng, given, sums.n_months)
    drawn = regression.draw_coefficients(rng, given, variance[:, None])
    return drawn.reshape(n_factors, n_slopes + 1).T


def by_linear_betas(months: Months, factors: Sequence[np.ndarray], betas: Sequence[np.ndarray]) -> np.ndarray:
    """``beta(z)' f`` of every draw of factors (month, factor) and betas of `linear_betas`."""
    z = _with_one(months.z)
    return np.stack([((z @ beta) * f[:, None, :]).sum(axis=-1) for f, beta in zip(factors, betas, strict=True)])


def _with_one(z: np.ndarray) -> np.ndarray:
    return np.concatenate([np.ones((*z.shape[:-1], 1)), z], axis=-1)


class Errors(NamedTuple):
    """How far off explained returns are, for every leading dimension of them (...,).

    Attributes
    ----------
    total_r2 : AZT's: one less squared residuals over squared returns in excess of the market's.
    root_mean_square, mean_absolute : of residuals, decimal per month.
    huber : mean of Huber's loss, ``e^2 / 2`` near zero.
    of_months : root mean square of the average residual of a month, decimal: what lambda_1 weighs.
    squares : (..., month) sums of squared residuals.
    """

    total_r2: np.ndarray
    root_mean_square: np.ndarray
    mean_absolute: np.ndarray
    huber: np.ndarray
    of_months: np.ndarray
    squares: np.ndarray


def errors(months: Months, explained: np.ndarray, turn: float) -> Errors:
    """Of explained returns (..., month, slot).

    Parameters
    ----------
    turn : residual at which Huber's loss turns linear, decimal per month.
    """
    residuals = np.where(months.seen, months.returns - explained, 0.0)
    size = np.abs(residuals)
    count = months.seen.sum()
    squares = (residuals**2).sum(axis=-1)
    huber = np.where(size <= turn, 0.5 * residuals**2, turn * (size - 0.5 * turn))
    average = residuals.sum(axis=-1) / months.seen.sum(axis=-1)
    return Errors(
        1.0 - squares.sum(axis=-1) / market_squares(months),
        np.sqrt(squares.sum(axis=-1) / count),
        size.sum(axis=(-2, -1)) / count,
        huber.sum(axis=(-2, -1)) / count,
        np.sqrt((average**2).mean(axis=-1)),
        squares,
    )


def market_squares(months: Months) -> float:
    """Sum of squared returns in excess of the market's, the denominator of AZT's total R2."""
    return float(((months.returns - months.benchmarks[:, :1])[months.seen] ** 2).sum())


def turn_of(months: Months, explained: np.ndarray) -> float:
    """`HUBER` robust sds of what is left of returns (month, slot)."""
    left = np.abs(months.returns - explained)[months.seen]
    return HUBER * float(np.median(left)) / 0.6745
