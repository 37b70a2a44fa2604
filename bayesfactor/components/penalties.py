"""What penalties on average residuals add to a log density where the laws of `factor_regression` do not have them.

`factor_regression` has the pricing-error penalty of whole windows; here are AZT's, across the assets of a month, and
the pricing-error penalty as a minibatch of months can know it.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array


def cross_section(penalty: float, variance: Array, residuals: Array, priced: Array) -> Array:
    """Added to a log density () by a penalty on the average residual of each month; AZT's second term.

    Parameters
    ----------
    penalty : ``lambda_1``.
    variance : () of the residuals, one for all.
    residuals, priced : (month, test asset), in the units of `variance`, and which exist.
    """
    count = jnp.sum(priced, axis=1)
    total = jnp.sum(jnp.where(priced, residuals, 0.0), axis=1)
    squares = penalty * total**2 / jnp.maximum(count, 1) / variance
    return 0.5 * jnp.sum(jnp.log1p(penalty) * (count > 0) - squares)


def pricing_error_of_halves(
    penalty: float, variances: Array, residuals: Array, priced: Array, weight: Array | float
) -> Array:
    """Added to a log density () by the pricing-error penalty, from a minibatch: averages of its two halves, multiplied.

    The square of one average (FPX, eq. 27 as published) is too large by its own variance. Months of a batch are drawn
    without replacement, which makes the product too small by the variance of a month over their number: added back.
    Unbiased for balanced panels; with gaps the averages are ratios.

    Parameters
    ----------
    penalty : ``lambda`` of FPX, eq. 20.
    variances : (test asset,) of the residuals, which are independent between assets.
    residuals, priced : (month, test asset) of two months or more in random order, and which exist.
    weight : months of the window that each month stands for.
    """
    half = residuals.shape[0] // 2
    seen = jnp.where(priced, residuals, 0.0)
    n_months = weight * jnp.sum(priced, axis=0)
    first, second = (
        jnp.sum(seen[part], axis=0) / jnp.maximum(jnp.sum(priced[part], axis=0), 1)
        for part in (slice(None, half), slice(half, None))
    )
    count = jnp.maximum(jnp.sum(priced, axis=0), 2)
    mean = jnp.sum(seen, axis=0) / count
    variance = jnp.sum(jnp.where(priced, (residuals - mean) ** 2, 0.0), axis=0) / (count - 1)
    square = first * second + variance / jnp.maximum(n_months, 1)
    return 0.5 * jnp.sum(jnp.log1p(penalty) - penalty * n_months * square / variances)
