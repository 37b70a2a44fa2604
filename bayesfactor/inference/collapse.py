"""Whether a posterior has lost a signal that the linear model sees: what mean-field guides do at low signal-to-noise.

Such a guide's best bound is near zero slopes times weights as wide as their prior. Predictions are then covered as well
as ever, since nearly all of a return is noise, and sensitivities are wrong: no predictive check sees it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from scipy import stats

from bayesfactor.inference.diagnostics import Verdict
from bayesfactor.inference.probes import mapped_over_draws
from bayesfactor.inference.streaming import Window
from bayesfactor.panel import PanelArrays

CLEAR = 1e-3  # p-value below which the linear signal is there
KEPT = 0.3  # share of it that a posterior mean must keep
N_ROWS, N_DRAWS = 5_000, 200  # of the training panel and of the posterior
Array = np.ndarray


class LinearSignal(NamedTuple):
    """Average slopes by generalised least squares.

    Attributes
    ----------
    slopes : (characteristic,) shrunk by the prior, decimal per period.
    p_value : of no slope at all.
    """

    slopes: Array
    p_value: float


class MonthSums(NamedTuple):
    """Sums over the observed stocks of each month, the averages of the month taken out.

    Attributes
    ----------
    n_stocks : (month,) observed stocks, at least 1.
    gram : (month, characteristic, characteristic) ``Z'Z``.
    projection : (month, characteristic) ``Z'r``.
    square : (month,) ``r'r``.
    """

    n_stocks: Array
    gram: Array
    projection: Array
    square: Array


def month_sums(arrays: PanelArrays) -> MonthSums:
    """All that `linear_signal` needs of some months."""
    z = np.where(arrays.observed[..., None], np.asarray(arrays.characteristics, float), 0.0)
    r = np.where(arrays.observed, np.asarray(arrays.returns, float), 0.0)
    count = np.maximum(arrays.observed.sum(axis=1), 1)
    z = np.where(arrays.observed[..., None], z - (z.sum(axis=1) / count[:, None])[:, None], 0.0)
    r = np.where(arrays.observed, r - (r.sum(axis=1) / count)[:, None], 0.0)
    return MonthSums(count, np.swapaxes(z, 1, 2) @ z, np.einsum("tnk,tn->tk", z, r), np.sum(r**2, axis=1))


def linear_signal(months: MonthSums, prior_sd: float, *, by_month: bool) -> LinearSignal:
    """Average slopes of the linear model, the average stock of each month taken out.

    Months are weighted by ``(S + s_t^2 (Z'Z)^-1)^-1`` with ``S`` the diagonal variance of slopes over months, which
    makes them Fama and MacBeth's with efficient weights; without `by_month` ``S`` is zero (pooled rows). The test is
    Wald's, with Hotelling's correction for the number of months; of slopes more than half as many as months, in the
    leading directions only.

    Parameters
    ----------
    months : all of the training panel.
    prior_sd : of an average slope, decimal per period; infinite for none.
    by_month : whether slopes vary by month.
    """
    count, gram, projection, square = months
    n_months, size = projection.shape
    identity = np.eye(size)
    if by_month:
        freedom = count - 1 - size
        varies = np.trace(gram, axis1=1, axis2=2) > 0  # in a month of constant characteristics there is nothing to see
        used = np.flatnonzero((freedom > 0) & varies)
        n_months = len(used)
        if n_months < 3:
            return LinearSignal(np.zeros(size), 1.0)
        # Month by month: of a long panel with many characteristics the matrices are what takes memory.
        by_time, own, noise = np.empty((n_months, size)), np.empty((n_months, size)), np.empty(n_months)
        for i, t in enumerate(used):
            inverse = np.linalg.inv(gram[t] + 1e-8 * np.trace(gram[t]) * identity)
            by_time[i] = inverse @ projection[t]
            noise[i] = max(square[t] - by_time[i] @ projection[t], 1e-12) / freedom[t]
            own[i] = noise[i] * np.diagonal(inverse)
        spread = np.maximum(by_time.var(axis=0, ddof=1) - own.mean(axis=0), 0.0)
        precision, target = np.zeros((size, size)), np.zeros(size)
        for i, t in enumerate(used):
            weight = np.linalg.inv(identity + gram[t] * spread / noise[i]) / noise[i]
            precision += weight @ gram[t]
            target += weight @ projection[t]
    else:
        precision, target = gram.sum(axis=0), projection.sum(axis=0)
        slopes = np.linalg.lstsq(precision, target, rcond=None)[0]
        rows = count.sum() - n_months - size
        noise_level = max(np.sum(square) - slopes @ target, 1e-12) / max(rows, 1)
        precision, target = precision / noise_level, target / noise_level
    # With few months, in the directions in which characteristics vary most: chosen without looking at returns.
    tested = size if not by_month else min(size, max(1, (n_months - 2) // 2))
    directions = np.linalg.eigh(gram.sum(axis=0))[1][:, size - tested :]
    within, seen = directions.T @ precision @ directions, directions.T @ target
    wald = float(seen @ np.linalg.lstsq(within, seen, rcond=None)[0])
    if by_month:
        left = n_months - tested
        p_value = float(stats.f.sf(wald * left / (tested * (n_months - 1)), tested, left))
    else:
        p_value = float(stats.chi2.sf(wald, size))
    ridge = precision + identity * (0.0 if np.isinf(prior_sd) else prior_sd**-2.0)
    return LinearSignal(np.linalg.lstsq(ridge, target, rcond=None)[0], p_value)


def share_kept(response: Array, rows: Array, month: Array, signal: LinearSignal) -> float:
    """Coefficient of the posterior mean response on the linear one, month averages taken out: 1 keeps it, 0 lost it.

    Parameters
    ----------
    response : (row,) posterior mean of expected returns.
    rows : (row, characteristic).
    month : (row,) which month each row is of.
    signal : of the linear model.
    """
    linear = rows @ signal.slopes

    def centred(values: Array) -> Array:
        total, count = np.bincount(month, values), np.maximum(np.bincount(month), 1)
        return np.asarray(values - (total / count)[month])

    linear, kept = centred(linear), centred(response)
    return float(linear @ kept / max(linear @ linear, np.finfo(float).tiny))


def of_collapse(model: Any, window: Window, posterior: dict[str, np.ndarray]) -> Verdict:
    """Status "failed" when the posterior has lost a signal that the linear model sees clearly."""
    by_month = getattr(model, "pooling", "partial") == "partial"
    months = 12.0 / window.panel.periods_per_year
    sums, rows, month = _swept_once(window)
    signal = linear_signal(sums, months * getattr(model, "slope_sd", np.inf), by_month=by_month)
    if signal.p_value > CLEAR:
        return Verdict("ok", ())
    thinned = {}
    for name, value in posterior.items():
        flat = value.reshape(-1, *value.shape[2:])
        thinned[name] = jnp.asarray(flat[np.unique(np.linspace(0, len(flat) - 1, N_DRAWS).astype(int))])
    given = jnp.asarray(rows, next(iter(thinned.values())).dtype)
    response = np.asarray(mapped_over_draws(model, "response", 8)(thinned, given), float).mean(axis=0)
    kept = share_kept(response, rows, month, signal)
    if kept >= KEPT:
        return Verdict("ok", ())
    return Verdict(
        "failed",
        (
            f"the guide has collapsed: the linear model's signal is clear (p = {signal.p_value:.1g}) and the "
            f"posterior mean keeps {kept:.0%} of it (must be {KEPT:.0%}): use guide='auto', or NUTS",
        ),
    )


def _swept_once(window: Window) -> tuple[MonthSums, np.ndarray, np.ndarray]:
    """Sums of every month, and some rows (row, characteristic) with their months, evenly spaced over observed ones."""
    some = np.unique(np.linspace(0, window.n_observed.sum() - 1, N_ROWS).astype(int))
    size = len(window.constant)
    shapes = ((), (size, size), (size,), ())
    sums = MonthSums(*(np.empty((len(window.times), *shape)) for shape in shapes))
    rows, months = [], []
    first_row = first_month = 0
    for arrays in window.blocks():
        last_month = first_month + len(arrays.returns)
        for whole, part in zip(sums, month_sums(arrays), strict=True):
            whole[first_month:last_month] = part
        month, slot = np.nonzero(arrays.observed)
        here = some[(some >= first_row) & (some < first_row + len(month))] - first_row
        rows.append(arrays.characteristics[month[here], slot[here]])
        months.append(first_month + month[here])
        first_row, first_month = first_row + len(month), last_month
    return sums, np.concatenate(rows), np.concatenate(months)
