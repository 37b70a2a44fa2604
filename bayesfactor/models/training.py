"""What a program computes on: months of a training window, whole or reduced, and what is known of the window."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from bayesfactor.panel import PanelArrays


class MonthRows(NamedTuple):
    """Every stock of some months.

    Attributes
    ----------
    characteristics : (month, stock, characteristic), prepared.
    returns : (month, stock) decimal per period, any finite number where not observed.
    observed : (month, stock) bool.
    """

    characteristics: Any  # arrays of NumPy outside, of JAX inside the program
    returns: Any
    observed: Any


class MonthStatistics(NamedTuple):
    """All that the linear model with normal noise needs of some months: cost free of the number of stocks.

    Attributes
    ----------
    n_observed : (month,) observed stocks.
    gram : (month, feature, feature) ``X'X`` with ``X = [1, z]``.
    projection : (month, feature) ``X'r``.
    square : (month,) ``r'r``.
    """

    n_observed: Any
    gram: Any
    projection: Any
    square: Any


class TrainingData(NamedTuple):
    """Months of a training window, all of them or a minibatch, and facts of the whole window.

    Attributes
    ----------
    months : the months at hand.
    position : (month,) place of each in the window.
    weight : () months of the window that each of them stands for: 1, or ``n_time / n_months`` in a minibatch, so that
        sums over months are unbiased.
    noise_centring : (time,) how far the data tell the months' noise levels apart, from 0 (not at all) to 1.
    varies : (characteristic,) 1 where the slope may move by month, 0 for indicators.
    return_scale : () cross-sectional sd of the training returns, decimal per period.
    periods_per_year : ().
    """

    months: Any
    position: Any
    weight: Any
    noise_centring: Any
    varies: Any
    return_scale: Any
    periods_per_year: Any

    def batch(self, positions: Any) -> TrainingData:
        """The months at `positions` (month,) of the whole window, weighted up to it."""
        n_time = self.noise_centring.shape[0]
        months = type(self.months)(*(leaf[positions] for leaf in self.months))
        return self._replace(months=months, position=positions, weight=n_time / positions.shape[0] + 0 * self.weight)


def training_data(arrays: PanelArrays) -> TrainingData:
    """All months of a panel, every stock; NumPy in, NumPy out, and the same inside a JAX program."""
    xp = arrays.returns.__array_namespace__()
    seen = xp.where(arrays.observed, arrays.returns, 0.0)
    count, total, square = (xp.sum(part, axis=-1) for part in (arrays.observed, seen, seen**2))
    return TrainingData(
        months=MonthRows(arrays.characteristics, arrays.returns, arrays.observed),
        position=np.arange(arrays.returns.shape[0], dtype=np.int32),
        weight=xp.ones_like(arrays.return_scale),
        noise_centring=noise_centring(count, total, square, arrays.return_scale),
        varies=arrays.varies,
        return_scale=arrays.return_scale,
        periods_per_year=arrays.periods_per_year,
    )


def reduced(data: TrainingData) -> TrainingData:
    """The same with sufficient statistics in place of stocks (NumPy)."""
    rows = data.months
    design = np.concatenate([np.ones((*rows.returns.shape, 1)), np.asarray(rows.characteristics, float)], axis=-1)
    design *= rows.observed[..., None]
    returns = np.where(rows.observed, rows.returns, 0.0)
    statistics = MonthStatistics(
        n_observed=rows.observed.sum(axis=1).astype(float),
        gram=np.swapaxes(design, 1, 2) @ design,
        projection=np.einsum("tnf,tn->tf", design, returns),
        square=np.sum(returns**2, axis=1),
    )
    return data._replace(months=statistics)


def each_month(data: TrainingData, scales: Any) -> TrainingData:
    """Every month as a window of its own: leaves with a leading dimension of data sets (NumPy).

    Parameters
    ----------
    scales : (month,) the prior scale of each month's noise, decimal per period.
    """
    n_months = len(data.position)
    return TrainingData(
        months=type(data.months)(*(leaf[:, None] for leaf in data.months)),
        position=np.zeros((n_months, 1), np.int32),
        weight=np.ones_like(scales),
        noise_centring=np.ones((n_months, 1), scales.dtype),
        varies=np.repeat(data.varies[None], n_months, axis=0),
        return_scale=scales,
        periods_per_year=np.repeat(data.periods_per_year, n_months),
    )


def month_scales(arrays: PanelArrays) -> Any:
    """Cross-sectional sd (month,) of each month's observed returns; 0 with fewer than two (NumPy)."""
    count = np.maximum(arrays.observed.sum(axis=1), 1)
    mean = np.where(arrays.observed, arrays.returns, 0.0).sum(axis=1) / count
    deviation = np.where(arrays.observed, arrays.returns - mean[:, None], 0.0)
    return np.sqrt((deviation**2).sum(axis=1) / np.maximum(count - 1, 1))


def noise_centring(count: Any, total: Any, square: Any, return_scale: Any) -> Any:
    """How far (time,) the months' noise levels are told apart by the data, between 0 (not at all) and 1.

    Share of the spread over months of the log cross-sectional sd that is not its own sampling error, about
    ``1 / (2 n)`` a month.

    Parameters
    ----------
    count, total, square : (time,) number, sum and sum of squares of each month's observed returns.
    return_scale : () cross-sectional sd of the returns.
    """
    xp = total.__array_namespace__()
    variance = (square - total**2 / xp.maximum(count, 1)) / xp.maximum(count - 1, 1)
    usable = (count >= 2) & (variance > (1e-3 * return_scale) ** 2)  # a closed day says nothing, and has no log
    log_sd = 0.5 * xp.log(xp.where(usable, variance, 1.0))
    error = 0.5 / xp.maximum(count, 1)
    n_usable = xp.maximum(xp.sum(usable), 1)
    mean = xp.sum(xp.where(usable, log_sd, 0.0)) / n_usable
    spread = xp.sum(xp.where(usable, (log_sd - mean) ** 2 - error, 0.0)) / n_usable
    spread = xp.maximum(spread, 1e-4)
    return spread / (spread + error)
