r"""From deep characteristics of one month to long-short portfolios and what they earn.

With ``z`` a characteristic standardised over the month's universe, Feng, Polson and Xu (2020), eq. 19, hold

.. math::  w = \mathrm{softmax}(y^+) - \mathrm{softmax}(y^-), \qquad y^+ = \phi(z), \quad y^- = \phi(-z),

with :math:`\phi` increasing. Beside it stand the forms that depend on order only (their section 3.3).

Everything here is a function of what is known before the month but `portfolio_returns`, the only one that takes
`returns` and `observed`. A stock outside the universe has weight and derivative exactly 0, whatever its ``y``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bayesfactor.errors import DataError

STEEPNESS, RATE = 50.0, 5.0  # of Feng, Polson and Xu: y+ = -50 exp(-5 z)
ROUNDINGS = 4.0  # values this many units in the last place apart are equal


def _exponential(z: Array) -> Array:
    """``-50 exp(-5 z)``, without its overflow.

    The largest ``z`` of a universe is at least 0, its score at least -50. A stock below -1 then has a weight below
    ``exp(50 - 50 exp(5))``, which is 0 in float32 and in float64, as is its derivative: there ``z`` may as well be -1.
    """
    return -STEEPNESS * jnp.exp(-RATE * jnp.maximum(z, -1.0))


_SCORES: dict[str, Callable[[Array], Array]] = {"softmax": lambda z: z, "exponential": _exponential}
FORMS = (*_SCORES, "equal", "linear", "value")
DIFFERENTIABLE = tuple(_SCORES)
LOST = 0.5  # of a leg's weight, without a return: what the other half earned is hardly the leg's return


class Legs(NamedTuple):
    """The two sides of long-short portfolios.

    Attributes
    ----------
    long : what is held; weights (stock, factor), not negative, summing to one over stocks.
    short : what is sold, with a positive sign: its weights, too, are not negative and sum to one.
    """

    long: Array
    short: Array

    @property
    def net(self) -> Array:
        """Long less short."""
        return self.long - self.short


class Realised(NamedTuple):
    """What portfolios earned in a month.

    Attributes
    ----------
    returns : (factor,) long less short, decimal per period.
    share_moved : Legs of (factor,), the share of each leg's weight that belonged to stocks without a return; exactly 1
        where it is all of it.
    """

    returns: Array
    share_moved: Legs


def rank_weights(y: Array, universe: Array, form: str = "exponential", size: Array | None = None) -> Legs:
    r"""Weights of long-short portfolios of the stocks of one month, sorted by deep characteristics.

    With ``z`` the standardised ``y`` (see `standardise`), ``n`` the stocks of the universe and ``m = ceil(n / 3)``:

    - "softmax": ``long = softmax(z)``, ``short = softmax(-z)``; a stock is in both legs;
    - "exponential": ``long = softmax(-50 exp(-5 z))``, ``short = softmax(-50 exp(5 z))``; likewise;
    - "equal": equal weights on the top and on the bottom third;
    - "value": weights proportional to `size` on the same thirds;
    - "linear": ``long`` proportional to ``max(rank - mean rank, 0)``, ``short`` to ``max(mean rank - rank, 0)``
      (Frazzini and Pedersen, 2014).

    The last three depend on order only: their derivative in ``y`` is 0, so that a network below them learns nothing.
    They sort, which is slow beside the first two.

    In every form each leg sums to one; a rising affine map of ``y`` changes nothing and ``-y`` exchanges the legs;
    equal ``y`` have equal weights (in the form "value", equal ``y`` and equal `size`). The top third is all stocks
    whose ``y`` is at least the m-th largest, the bottom third all whose ``y`` is at most the m-th smallest, so that
    ties enter together and a third can hold more than ``m``; ranks of ties are averaged. These are the thirds of
    ``panel.sorts.sort_portfolios(..., 3)``: the highest with ``ties="upper"``, the lowest with ``ties="lower"``.

    Where all ``y`` are equal, as in a universe of one stock, both legs hold the universe by equal weights (by `size`
    in the form "value"): net weights and derivatives are 0. In an empty universe all weights are 0.

    Parameters
    ----------
    y : (stock, factor), finite in the universe: otherwise all weights of that factor are NaN there.
    universe : (stock,) bool, known before the month.
    form : one of `FORMS`.
    size : (stock,) market value known before the month, in any unit, for "value" only (others do not look at it).
        Stocks without a positive finite size are then treated as outside the universe.

    Returns
    -------
    Legs of (stock, factor), of the precision of ``y``.

    Raises
    ------
    DataError
        When `form` is unknown, or is "value" without `size`.
    """
    y = jnp.asarray(y)
    if form not in FORMS:
        raise DataError(f"form of the rank weights must be one of {', '.join(map(repr, FORMS))}: found {form!r}.")
    if form == "value" and size is None:
        raise DataError('rank weights of the form "value" must have size (stock,), market value before the month.')
    amounts = jnp.asarray(size, y.dtype) if form == "value" else jnp.ones(y.shape[0], y.dtype)

    def of_factor(y: Array) -> Legs:
        if form in _SCORES:
            return _by_score(y, universe, _SCORES[form])
        return _by_rank(y, universe) if form == "linear" else _by_thirds(y, universe, amounts)

    return _by_factor(of_factor, y)


def standardise(y: Array, universe: Array) -> Array:
    """Characteristics of mean 0 and standard deviation 1 (divisor n) over the universe of one month.

    Where the largest and the smallest value differ only by rounding (`ROUNDINGS` units in the last place) there is no
    dispersion: the result is 0, with derivative 0. Standardising does not feel an affine map, so values are brought
    near 0 and 1 first: the squares of very large or small ones would not be finite, or not there.

    Parameters
    ----------
    y : (stock, factor).
    universe : (stock,) bool.

    Returns
    -------
    (stock, factor); 0 outside the universe, and at most sqrt(n - 1) in absolute value.
    """
    return _by_factor(lambda y: _standardised(y, universe), jnp.asarray(y))


def _by_factor(function: Callable[..., Any], *columns: Array) -> Any:
    """A function of one factor's (stock,) mapped over (stock, factor); stocks in long rows are several times faster."""
    results = jax.vmap(function)(*(column.T for column in columns))
    return jax.tree.map(jnp.transpose, results)


def _standardised(y: Array, universe: Array) -> Array:
    y, count = jnp.where(universe, y, 0.0), _count(universe, y.dtype)
    fixed = jax.lax.stop_gradient(y)
    top = jnp.max(fixed, where=universe, initial=-jnp.inf)
    bottom = jnp.min(fixed, where=universe, initial=jnp.inf)
    half = top / 2 - bottom / 2
    rounding = jnp.finfo(y.dtype).eps * jnp.maximum(jnp.abs(top), jnp.abs(bottom))
    flat = (2 * half <= ROUNDINGS * rounding) & (top < jnp.inf) & (bottom > -jnp.inf)  # also of an empty universe
    near = (y - jnp.sum(fixed) / count) / jnp.where(flat, 1.0, half)  # from the mean, but for rounding
    unit = jnp.where(universe & ~flat, near, 0.0)

    centred = unit - jnp.sum(unit) / count
    variance = jnp.sum(centred**2, where=universe) / count  # at least 2 / n: the ends are 2 apart
    return jnp.where(universe, centred / jnp.sqrt(jnp.where(flat, 1.0, variance)), 0.0)


def _count(universe: Array, dtype: Any) -> Array:
    return jnp.maximum(jnp.sum(universe), 1).astype(dtype)


def _by_score(y: Array, universe: Array, score: Callable[[Array], Array]) -> Legs:
    z = _standardised(y, universe)
    return Legs(_softmax(score(z), universe), _softmax(score(-z), universe))


def _softmax(score: Array, universe: Array) -> Array:
    """Softmax over the universe; outside it the score is that of ``z = 0``, which no maximum is below."""
    top = jax.lax.stop_gradient(jnp.max(score))
    return _shares(jnp.where(universe, jnp.exp(score - top), 0.0), universe)


def _shares(amounts: Array, universe: Array) -> Array:
    """Amounts, not negative, over their sum; equal over the universe where all are 0."""
    total = jnp.sum(amounts)
    nothing = total <= 0.0
    equal = 1.0 / _count(universe, amounts.dtype)
    return jnp.where(universe, jnp.where(nothing, equal, amounts / jnp.where(nothing, 1.0, total)), 0.0)


def _by_rank(y: Array, universe: Array) -> Legs:
    y = jax.lax.stop_gradient(y)
    ordered = _ordered(y, universe)
    # Twice the distance of the rank, averaged over ties, from the mean rank: whole numbers.
    ranks = jnp.searchsorted(ordered, y, side="left") + jnp.searchsorted(ordered, y, side="right") - jnp.sum(universe)
    above = jnp.where(universe, ranks, 0).astype(y.dtype)
    legs = Legs(_shares(jnp.maximum(above, 0.0), universe), _shares(jnp.maximum(-above, 0.0), universe))
    return _unless_broken(legs, y, universe)


def _by_thirds(y: Array, universe: Array, amounts: Array) -> Legs:
    """Weights in proportion to `amounts` (stock,) on the top and on the bottom third."""
    y, amounts = jax.lax.stop_gradient((y, amounts))
    universe = universe & (amounts > 0.0) & jnp.isfinite(amounts)
    ordered = _ordered(y, universe)
    last = jnp.maximum(jnp.sum(universe) - 1, 0)
    third = last // 3  # the m-th from either end is so many places away from it
    low, high = ordered[third], ordered[last - third]
    legs = Legs(*(_shares(jnp.where(universe & held, amounts, 0.0), universe) for held in (y >= high, y <= low)))
    return _unless_broken(legs, y, universe)


def _ordered(y: Array, universe: Array) -> Array:
    """The values in the universe in ascending order, then infinities."""
    return jnp.sort(jnp.where(universe, y, jnp.inf))


def _unless_broken(legs: Legs, y: Array, universe: Array) -> Legs:
    """NaN over a universe in which a ``y`` is not finite: comparisons pass over that in silence."""
    broken = universe & jnp.any(universe & ~jnp.isfinite(y))
    return Legs(*(jnp.where(broken, jnp.nan, leg) for leg in legs))


def portfolio_returns(weights: Legs, returns: Array, observed: Array) -> Realised:
    r"""What long-short portfolios earned in one month.

    .. math::  f = \frac{\sum_i l_i o_i r_i}{\sum_i l_i o_i} - \frac{\sum_i s_i o_i r_i}{\sum_i s_i o_i}

    with ``l`` and ``s`` the legs and ``o`` 1 where the return exists: the weight of a stock without a return goes to
    the leg's other stocks in proportion, as in ``panel.sorts``.

    A leg of which no stock has a return, or that has no stock, earns 0 with `share_moved` 1: no number at all, to be
    refused by the caller (as is a month without returns, the live one).

    Parameters
    ----------
    weights : Legs of (stock, factor).
    returns : (stock,) decimal per period; anything where not observed.
    observed : (stock,) bool, known after the month.
    """
    returns = jnp.where(observed, returns, 0.0)
    (long, long_moved), (short, short_moved) = (
        _by_factor(lambda leg: _leg_return(leg, returns, observed), leg) for leg in weights
    )
    return Realised(long - short, Legs(long_moved, short_moved))


def _leg_return(leg: Array, returns: Array, observed: Array) -> tuple[Array, Array]:
    """What one leg earned, and the share of its weight that moved."""
    held = jnp.sum(leg, where=observed)
    lost = held <= jnp.finfo(leg.dtype).tiny
    # Sums, not matrix products, which accelerators round. What is left of a leg can be 1e-30: it is brought to 1
    # first, so that its square, of which the derivative of a ratio is made, does not vanish.
    kept = jnp.where(observed & ~lost, leg / jax.lax.stop_gradient(jnp.where(lost, 1.0, held)), 0.0)
    earned = jnp.sum(kept * returns) / jnp.where(lost, 1.0, jnp.sum(kept))
    return earned, jnp.where(lost, 1.0, jnp.sum(leg, where=~observed))


def lost(moved: np.ndarray) -> np.ndarray:
    """Months (month,) in which a leg is mostly of stocks without a return.

    Parameters
    ----------
    moved : (draw, month, factor) share of the weight that moved, the larger leg.

    Returns
    -------
    Where the leg that lost most has lost more than `LOST`, on average over draws: factors have no order.
    """
    return np.asarray(moved.max(axis=-1).mean(axis=0) > LOST)


def effective_number(leg: Array) -> Array:
    """How many stocks of equal weight are as concentrated as a leg: ``1 / sum w^2``.

    Parameters
    ----------
    leg : (stock, factor) weights that sum to one, or 0.

    Returns
    -------
    (factor,); 0 for a leg without stocks.
    """
    square = jnp.sum(leg**2, axis=0)
    empty = square <= 0.0
    return jnp.where(empty, 0.0, 1.0 / jnp.where(empty, 1.0, square))
