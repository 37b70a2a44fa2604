r"""One law of a month's returns for all forecasters, so that log scores differ by their means only.

.. math::
    r_t = m_t + X_t u_t + \sigma_t e_t, \qquad u_t \sim N(0, S), \quad \log \sigma_t \sim N(\ell, s^2), \quad
    e_{ti} \sim N(0, 1)

``X_t = [1, z_t]`` with the continuous characteristics; indicators have no monthly shock (a month cannot tell theirs).
``m_t`` is the forecaster's, everything else is learnt from a training window without asking the forecaster.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from bayesfactor.baselines.statistics import MonthSums, aligned, month_sums
from bayesfactor.errors import DataError, EmptyWindowError, first_three
from bayesfactor.evaluation.metrics import _two_dims, realised_returns

if TYPE_CHECKING:
    from bayesfactor.components.month import MonthLaw
    from bayesfactor.panel import Panel

Array = np.ndarray[Any, np.dtype[np.float64]]

LOG_2PI = float(np.log(2 * np.pi))
NODES, WEIGHTS = np.polynomial.hermite.hermgauss(15)
SCORING_STEPS = 50
TOLERANCE = 1e-2  # nats that EM may leave on the table
MOST_STEPS = 500
# Centres of weak priors, worth one month each: sd of a slope over months in units of the returns' cross-sectional sd,
# and sd of the log noise level. They keep either from 0, where EM would crawl.
PRIOR_SD = PRIOR_SPREAD = 0.1
STOCKS_AT_ONCE = 64  # a program for each multiple of this


@dataclass(frozen=True, eq=False)
class CommonLaw:
    """The law of a month around any forecast.

    Attributes
    ----------
    covariance : DataArray (feature, feature_2) ``S``: of what intercept and slopes of the continuous characteristics
        do in a month, decimal per period squared.
    level : ``exp(l)``, noise of a stock in a typical month, decimal per period.
    log_scale_sd : ``s``, sd over months of the log noise level.
    characteristics : of the training window, indicators too, in order.
    preparation, frequency : of the training window.
    n_months : months with returns that it was learnt from.
    objective : log density of the training returns and of the priors after each step of EM (second stage of
        `common_law`), nats, in units of the returns' cross-sectional sd.
    """

    covariance: xr.DataArray = field(repr=False)
    level: float
    log_scale_sd: float
    characteristics: tuple[str, ...]
    preparation: str
    frequency: str
    n_months: int
    objective: tuple[float, ...] = field(repr=False)

    def month_law(self, mean: Any, z: Any) -> MonthLaw:
        """Law of one month for `bayesfactor.components.month`: density, simulation, predictive variance.

        Parameters
        ----------
        mean : (stock,) forecast, decimal per period.
        z : (stock, characteristic), prepared, in the order of `characteristics`.

        Returns
        -------
        `MonthLaw` with normal noise. In float64 inside ``jax.enable_x64(True)``.
        """
        return _month_law(self._parameters(), mean, z)

    def scores(self, mean: xr.DataArray, panel: Panel) -> xr.DataArray:
        """Log density of each month's observed returns around a forecast, joint over its stocks.

        Shocks and the month's noise level are integrated out. Stocks count that are in the universe and have a
        return (`metrics.realised_returns`).

        Parameters
        ----------
        mean : DataArray (time, asset), decimal per period, made before each month. Joined by label; it may be NaN where
            no return counts.
        panel : prepared as the training window was.

        Returns
        -------
        DataArray (time): months with an observed return, natural log of the density of decimal returns.

        Raises
        ------
        AlignmentError
            When `mean` has other dims, or characteristics, preparation or frequency are not those of training.
        DataError
            When a return that counts has no finite forecast, saying where.
        EmptyWindowError
            When no return is observed.
        """
        panel = aligned(panel, self.characteristics, self.preparation, self.frequency)
        realised = realised_returns(panel)
        counts = np.isfinite(realised.to_numpy())
        if not counts.any():
            raise EmptyWindowError(
                f"scores need an observed return: none from {panel.times[0]:%Y-%m-%d} to {panel.times[-1]:%Y-%m-%d}. "
                "Usually the live month, whose returns have not happened yet."
            )
        forecast = _two_dims(mean, "mean").reindex_like(realised).to_numpy().astype(float)
        absent = np.argwhere(counts & ~np.isfinite(forecast))
        if len(absent):
            assets = panel.data["asset"].to_numpy()
            cells = [(f"{panel.times[month]:%Y-%m-%d}", str(assets[asset])) for month, asset in absent]
            raise DataError(
                f"every return that counts needs a finite forecast: none at {first_three(cells)}. Usually a "
                "forecast of other months or of another universe."
            )
        z = panel.data["characteristics"].to_numpy()
        months = np.flatnonzero(counts.any(axis=1))
        parameters = self._parameters()
        values = np.zeros(len(months))
        for place, month in enumerate(months):
            stocks = np.flatnonzero(counts[month])
            rows = forecast[month, stocks], z[month, stocks], realised.to_numpy()[month, stocks]
            values[place] = _score(parameters, *rows)
        return xr.DataArray(
            values,
            {"time": panel.times[months]},
            ("time",),
            "common_score",
            {"units": "nats: joint log density of a month's decimal excess returns", "log_base": "e"},
        )

    def _parameters(self) -> _Parameters:
        covariance = self.covariance.to_numpy()
        scales = np.sqrt(np.diag(covariance))
        shocked = self.covariance.indexes["feature"][1:]
        return _Parameters(
            scales,
            np.linalg.cholesky(covariance / np.outer(scales, scales)),
            np.array([self.characteristics.index(name) for name in shocked], dtype=np.int32),
            np.asarray(self.level),
            np.asarray(self.log_scale_sd),
        )


class _Parameters(NamedTuple):
    """A law as arrays: scales and root (shock, ...) of the shocks, which characteristics have one, noise."""

    scales: Any
    root: Any
    columns: Any
    level: Any
    log_scale_sd: Any


def _month_law(given: _Parameters, mean: Any, z: Any) -> MonthLaw:
    import jax.numpy as jnp

    from bayesfactor.components.month import MonthLaw

    z = jnp.asarray(z)
    design = jnp.concatenate([jnp.ones((z.shape[0], 1), z.dtype), z[:, given.columns]], axis=1)
    scales, root, level, spread = (jnp.asarray(leaf) for leaf in (given.scales, given.root, *given[3:]))
    return MonthLaw(jnp.asarray(mean), design * scales, root, level, spread)


def _score(given: _Parameters, mean: Array, z: Array, returns: Array) -> float:
    """Log density of one month, padded so that months of nearly equal size share a program."""
    import jax  # late: metrics, beside which this stands, do not need it

    n_stocks = len(returns)
    width = -n_stocks % STOCKS_AT_ONCE
    rows = (np.pad(leaf, [(0, width)] + [(0, 0)] * (leaf.ndim - 1)) for leaf in (mean, z, returns))
    with jax.enable_x64(True):
        # One month at a time: two LAPACK calls at once can block for ever (decision 9).
        return float(_density()(given, *rows, np.arange(n_stocks + width) < n_stocks))


@functools.cache
def _density() -> Callable[..., Any]:
    """Log density of a month's returns as a compiled program."""
    import jax

    from bayesfactor.components.month import marginal_log_density

    def density(given: _Parameters, mean: Any, z: Any, returns: Any, observed: Any) -> Any:
        key = jax.random.key(0)  # normal noise needs no random numbers
        return marginal_log_density(_month_law(given, mean, z), returns, observed, key)

    return jax.jit(density)


def common_law(train: Panel) -> CommonLaw:
    """Learn the month law that all forecasters are scored by, from a training window.

    Maximum likelihood by EM, from sums over the stocks of each month. The months' slopes are ``w_t ~ N(w, S)``
    around an average that is estimated too (and so are fixed slopes of indicators), with ``u_t = w_t - w``; hidden are
    ``w_t``, integrated out in closed form, and ``log sigma_t``, by adaptive quadrature: a month says little about its
    noise where stocks are few, and the spread ``s`` is net of that.

    Two stages. First ``S`` is diagonal. Then it is full, with an inverse-Wishart prior worth as many months as there
    are shocks, K, and centred at that diagonal: ``S = (sum_t E[u_t u_t'] + K diag) / (T + K)``. Variances stay what
    the data say and correlations are shrunk by ``T / (T + K)``. With as few months as slopes the unshrunk ``S`` is
    nearly singular, and scores would be ruled by directions in which no month has moved. Weak priors, worth one month
    at a tenth (`PRIOR_SD`, `PRIOR_SPREAD`), keep single variances and ``s`` from 0. ``S`` and ``s^2`` are finally
    multiplied by ``T / (T - 1)``, because the averages they are around are estimated.

    Parameters
    ----------
    train : prepared Panel with at least two months that have returns; ragged as it may be. A characteristic that never
        moves, or collinear ones, are no obstacle. A return that cannot be true raises the noise level of its month,
        not the slopes.

    Returns
    -------
    `CommonLaw`.

    Raises
    ------
    DataError
        When the panel is not prepared, has fewer than two months with returns, or returns that do not differ.
    EmptyWindowError
        When it has no return.

    References
    ----------
    Dempster, Laird and Rubin (1977), section 4; Swamy (1970) for random coefficients.
    """
    sums = month_sums(train)
    n_months = len(sums.times)
    if n_months < 2:
        raise DataError(
            "the common month law needs at least 2 months with returns, to see them differ: found only "
            f"{sums.times[0]:%Y-%m-%d}. Train on a longer window."
        )
    unit = _typical_sd(sums)
    if not unit > 0:
        raise DataError(
            "the common month law needs returns that differ between stocks: they do not in most months. Usually a "
            "return that was filled in."
        )
    sums = sums._replace(projection=sums.projection / unit, square=sums.square / unit**2)
    varies = train.data["kind"].to_numpy() == "continuous"
    shocked = np.concatenate([[0], 1 + np.flatnonzero(varies)])
    n_shocks = len(shocked)
    weak = _Prior(PRIOR_SD**2 * np.eye(n_shocks), 1, diagonal=True)
    start = _State(np.zeros(sums.gram.shape[-1]), weak.centre, 0.0, 0.3, np.zeros(n_months))
    separate, _ = _maximised(sums, shocked, start, weak)
    state, objective = _maximised(sums, shocked, separate, _Prior(separate.covariance, n_shocks, diagonal=False))
    correction = n_months / (n_months - 1)
    features = ["intercept", *(name for name, moves in zip(train.characteristics, varies, strict=True) if moves)]
    covariance = correction * unit**2 * state.covariance
    return CommonLaw(
        xr.DataArray(covariance, {"feature": features, "feature_2": features}, ("feature", "feature_2")),
        float(unit * np.exp(state.level)),
        float(np.sqrt(correction) * state.spread),
        train.characteristics,
        train.preparation,
        train.frequency,
        n_months,
        objective,
    )


# --- EM, in units of the returns' cross-sectional sd ----------------------------------------------


class _State(NamedTuple):
    """Parameters: average slopes (feature,), ``S`` (shock, shock), ``l`` and ``s``; modes (month,) of ``log sigma``."""

    slopes: Array
    covariance: Array
    level: float
    spread: float
    modes: Array


class _Prior(NamedTuple):
    """Inverse-Wishart prior of ``S``: its centre, how many months it counts for, and whether ``S`` is kept diagonal."""

    centre: Array
    worth: int
    diagonal: bool


class _Expectations(NamedTuple):
    """What EM needs of the hidden ``u_t`` and ``v_t = sigma_t^2`` given the returns.

    Attributes
    ----------
    log_density : (month,) of the returns, in nats.
    modes : (month,) of ``log sigma_t``.
    residual : (month, feature) ``X'(r - X w)``.
    shocks : (month, shock) ``E u``.
    second : (month, shock, shock) ``E uu'``.
    precision, precise_shocks : (month,) ``E 1/v`` and (month, shock) ``E u/v``.
    level, level_variance : () mean over months of ``E log sigma``, and of the square of ``log sigma`` less that.
    """

    log_density: Array
    modes: Array
    residual: Array
    shocks: Array
    second: Array
    precision: Array
    precise_shocks: Array
    level: float
    level_variance: float


def _typical_sd(sums: MonthSums) -> float:
    """Median over months of the cross-sectional sd of returns; 0 where no month has two stocks or it is rounding."""
    usable = sums.n_observed >= 2
    if not usable.any():
        return 0.0
    count = sums.n_observed[usable]
    deviation = sums.square[usable] - sums.projection[usable, 0] ** 2 / count
    deviation = np.where(deviation > 1e-12 * sums.square[usable], deviation, 0.0)
    return float(np.median(np.sqrt(deviation / (count - 1))))


def _maximised(sums: MonthSums, shocked: Any, state: _State, prior: _Prior) -> tuple[_State, tuple[float, ...]]:
    """EM from `state` until further steps would gain less than `TOLERANCE`: parameters, and the objective by step.

    Parameters
    ----------
    shocked : (shock,) positions of the features whose slopes move by month.
    """
    values: list[float] = []
    for _ in range(MOST_STEPS):
        expected = _expectations(sums, shocked, state)
        values.append(float(expected.log_density.sum()) + _log_prior(state, prior))
        if _finished(values):
            break
        state = _updated(sums, shocked, state, expected, prior)
    return state, tuple(values)


def _finished(values: list[float]) -> bool:
    """Whether the gains, taken as geometric from here on, sum to less than the tolerance."""
    if len(values) < 3:
        return False
    before, last = np.diff(values[-3:])
    return bool(last <= 0 or (last < before and last**2 / (before - last) < TOLERANCE))


def _log_prior(state: _State, prior: _Prior) -> float:
    """Log densities of the inverse-Wishart priors of ``S`` and ``s^2``, but for constants."""
    of_slopes = np.linalg.slogdet(state.covariance)[1] + np.trace(np.linalg.solve(state.covariance, prior.centre))
    of_spread = 2.0 * np.log(state.spread) + (PRIOR_SPREAD / state.spread) ** 2
    return float(-0.5 * (prior.worth * of_slopes + of_spread))


def _updated(sums: MonthSums, shocked: Any, state: _State, expected: _Expectations, prior: _Prior) -> _State:
    """M-step: the parameters that make returns, slopes and noise levels together most probable on average.

    ``w_t = w + b + u_t`` with ``u_t`` of any mean (Liu, Rubin and Wu, 1998): ``b`` is a regression of what is left of
    the returns on ``X``. Without it averages of small months, and slopes of indicators, would take EM for ever.
    """
    n_months = len(expected.shocks)
    moved = expected.shocks.mean(axis=0)
    covariance = expected.second.mean(axis=0) - np.outer(moved, moved)
    covariance = (n_months * covariance + prior.worth * prior.centre) / (n_months + prior.worth)
    if prior.diagonal:
        covariance = np.diag(np.diag(covariance))
    gram = np.einsum("t,tfg->fg", expected.precision, sums.gram)
    target = expected.precision @ expected.residual
    target -= np.einsum("tfk,tk->f", sums.gram[:, :, shocked], expected.precise_shocks)
    slopes = state.slopes + _least_norm(gram, target)
    slopes[shocked] += moved
    spread = float(np.sqrt((n_months * expected.level_variance + PRIOR_SPREAD**2) / (n_months + 1)))
    return _State(slopes, covariance, expected.level, spread, expected.modes)


def _least_norm(gram: Array, target: Array) -> Array:
    """Solution of normal equations, 0 in directions that the data do not move."""
    scale = np.sqrt(np.maximum(np.diag(gram), 0.0))
    inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
    return inverse * (
        np.linalg.pinv(inverse[:, None] * gram * inverse, rcond=1e-9, hermitian=True) @ (inverse * target)
    )


def _expectations(sums: MonthSums, shocked: Any, state: _State) -> _Expectations:
    """E-step: shocks in closed form given the noise level, the noise level by adaptive Gauss-Hermite quadrature.

    With ``S = RR'`` and ``R'X'XR = V diag(a) V'`` the density at noise variance ``v`` costs one pass over the shocks:
    ``log|XSX' + v| = (n - K) log v + sum log(v + a)``, and ``p = V'R'X'e`` of the residual ``e`` gives the quadratic
    form ``(e'e - sum p^2 / (v + a)) / v``.
    """
    root = np.linalg.cholesky(state.covariance)
    residual = sums.projection - sums.gram @ state.slopes
    square = np.maximum(sums.square - (sums.projection + residual) @ state.slopes, 0.0)
    gram = sums.gram[:, shocked[:, None], shocked]
    values, vectors = np.linalg.eigh(root.T @ gram @ root)
    values = np.maximum(values, 0.0)
    vectors = root @ vectors  # from the eigenbasis back to shocks
    projection = (residual[:, None, shocked] @ vectors)[:, 0]
    modes, width = _modes(values, projection**2, square, sums.n_observed - len(root), state)

    x = modes[:, None] + width[:, None] * NODES
    variance = np.exp(2.0 * x)
    total = variance[:, :, None] + values[:, None, :]
    means = projection[:, None, :] / total  # of shocks in the eigenbasis, given the noise level
    explained = (means @ projection[:, :, None])[..., 0]
    determinant = 2.0 * (sums.n_observed - len(root))[:, None] * x + np.log(total).sum(axis=-1)
    log_joint = sums.n_observed[:, None] * LOG_2PI + determinant + (square[:, None] - explained) / variance
    log_joint += LOG_2PI + 2.0 * np.log(state.spread) + ((x - state.level) / state.spread) ** 2
    log_weights = -0.5 * log_joint + NODES**2 + np.log(WEIGHTS * width[:, None])
    peak = log_weights.max(axis=1, keepdims=True)
    weights = np.exp(log_weights - peak)
    density = weights.sum(axis=1)
    weights /= density[:, None]
    precise = weights / variance

    inner = np.swapaxes(weights[..., None] * means, 1, 2) @ means
    around = ((weights * variance)[:, None, :] @ (1.0 / total))[:, 0]
    inner[:, np.arange(len(root)), np.arange(len(root))] += around

    def first(weights: Array) -> Array:
        return np.asarray((vectors @ (weights[:, None, :] @ means)[:, 0, :, None])[..., 0])

    level = float(np.mean(np.sum(weights * x, axis=1)))
    return _Expectations(
        log_density=peak[:, 0] + np.log(density),
        modes=modes,
        residual=residual,
        shocks=first(weights),
        second=vectors @ inner @ np.swapaxes(vectors, 1, 2),
        precision=precise.sum(axis=1),
        precise_shocks=first(precise),
        level=level,
        level_variance=float(np.mean(np.sum(weights * (x - level) ** 2, axis=1))),
    )


def _modes(values: Array, explained: Array, square: Array, free: Array, state: _State) -> tuple[Array, Array]:
    """Modes (month,) of the posterior of ``log sigma``, by Fisher scoring, and widths for the quadrature around them.

    Parameters
    ----------
    values, explained : (month, shock) ``a`` and ``p^2`` of `_expectations`.
    square, free : (month,) ``e'e`` and ``n - K``.
    """

    def slope(x: Array) -> Array:
        variance = np.exp(2.0 * x)[:, None]
        total = variance + values
        quadratic = (square - np.sum(explained * (total + variance) / total**2, axis=1)) / variance[:, 0]
        return np.asarray(quadratic - free - np.sum(variance / total, axis=1) - (x - state.level) / state.spread**2)

    def information(x: Array) -> Array:
        variance = np.exp(2.0 * x)[:, None]
        return np.asarray(2.0 * (free + np.sum((variance / (variance + values)) ** 2, axis=1)) + 1.0 / state.spread**2)

    x = state.modes
    for _ in range(SCORING_STEPS):
        step = np.clip(slope(x) / information(x), -1.0, 1.0)
        x = x + step
        if np.abs(step).max() < 1e-6:
            break
    curvature = (slope(x - 1e-4) - slope(x + 1e-4)) / 2e-4
    return x, np.sqrt(2.0 / np.maximum(curvature, 0.25 * information(x)))
