"""Simulated economies of known truth: month-varying slopes, interactions, ragged, missing cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from bayesfactor.errors import DataError
from bayesfactor.panel.panel import Panel
from bayesfactor.panel.periods import check_frequency

_PERSISTENCE = 0.9
_STUDENT_T_DF = 4.0
_STARTS = {"monthly": ("2000-01-31", "ME"), "weekly": ("2000-01-07", "W-FRI"), "daily": ("2000-01-03", "B")}


class Economy(NamedTuple):
    """A prepared panel and what is true of it.

    `truth` holds, in decimal per period and per unit of the prepared characteristic:
    `slopes` (time, characteristic) and `intercept` (time) of each period; `mean_slope` (characteristic),
    their population mean; `interaction` (characteristic, characteristic_2), coefficients of products;
    `curvature` (characteristic), coefficients of squares; `sensitivity` (characteristic) and `hessian`
    (characteristic, characteristic_2), derivatives of the population mean function averaged over the universe
    of each period, then over periods; `expected_returns` (time, asset), that function in the universe.
    """

    panel: Panel
    truth: xr.Dataset


def economy(
    *,
    n_months: int,
    n_assets: int,
    n_characteristics: int,
    seed: int,
    slope_mean: float | Sequence[float] = 0.005,
    slope_sd: float | Sequence[float] = 0.01,
    interactions: Mapping[tuple[int, int], float] | None = None,
    curvature: Mapping[int, float] | None = None,
    noise: str = "normal",
    noise_sd: float = 0.08,
    common_mean: float = 0.0,
    common_sd: float = 0.03,
    ragged: bool = False,
    missing: float = 0.0,
    frequency: str = "monthly",
) -> Economy:
    """Simulate a panel and its truth.

    r[t,i] = m_t + (w + u_t)' z[t,i] + sum_ab c_ab z_a z_b + sum_k q_k z_k^2 + e[t,i], with z the PREPARED
    characteristics (ranks in [-1, 1], missing = 0), u_t ~ N(0, slope_sd^2), m_t ~ N(common_mean,
    common_sd^2). Raw characteristics are autoregressive in time (0.9).

    Parameters
    ----------
    n_months : number of periods with returns, of the given frequency.
    slope_mean, slope_sd : one for all characteristics or one each, decimal per period.
    interactions : coefficient of z_a z_b by pair of positions, a != b.
    curvature : coefficient of z_k^2 by position.
    noise : "normal", or "student_t" with 4 degrees of freedom; `noise_sd` is its sd either way.
    common_mean, common_sd : the shock that all assets share.
    ragged : a third of the assets enters late and a third leaves early.
    missing : share of characteristic cells without a value.

    Returns
    -------
    `Economy`: a prepared `panel` and its `truth`.
    """
    world = _world(
        n_months=n_months,
        n_assets=n_assets,
        n_characteristics=n_characteristics,
        seed=seed,
        ragged=ragged,
        missing=missing,
        frequency=frequency,
    )
    panel = _raw_panel(world, frequency).rank_normalise()
    rng = np.random.default_rng([seed, 1])
    slopes = _each(slope_mean, n_characteristics) + _each(slope_sd, n_characteristics) * rng.standard_normal(
        (n_months, n_characteristics)
    )
    intercept = common_mean + common_sd * rng.standard_normal(n_months)
    cross = _symmetric(interactions or {}, n_characteristics)
    square = np.zeros(n_characteristics)
    for k, coefficient in (curvature or {}).items():
        square[k] = coefficient

    z = panel.data.characteristics.values
    curved = 0.5 * np.einsum("tik,kl,til->ti", z, cross, z) + z**2 @ square
    shocks = _noise(rng, noise, z.shape[:2]) * noise_sd
    returns = intercept[:, None] + np.einsum("tik,tk->ti", z, slopes) + curved + shocks
    returns = np.where(panel.data.in_universe.values & world.listed[1:], returns, np.nan)

    names = panel.characteristics
    mean_slope = _each(slope_mean, n_characteristics)
    hessian = cross + 2 * np.diag(square)
    cells = xr.DataArray(z, panel.data.characteristics.coords, panel.data.characteristics.dims)
    average = cells.mean("asset").mean("time").values
    truth = xr.Dataset(
        {
            "slopes": (("time", "characteristic"), slopes),
            "intercept": ("time", intercept),
            "mean_slope": ("characteristic", mean_slope),
            "interaction": (("characteristic", "characteristic_2"), cross),
            "curvature": ("characteristic", square),
            "sensitivity": ("characteristic", mean_slope + hessian @ average),
            "hessian": (("characteristic", "characteristic_2"), hessian),
            "expected_returns": (("time", "asset"), common_mean + z @ mean_slope + curved),
        },
        {
            "time": panel.data.time,
            "asset": panel.data.asset,
            "characteristic": list(names),
            "characteristic_2": list(names),
        },
        {"units": "decimal per period, per unit of the prepared characteristic"},
    )
    data = panel.data.drop_vars("observed").assign(returns=(("time", "asset"), returns))
    return Economy(Panel(data, frequency, "rank", history=(f"simulate.economy: seed {seed}",)), truth)


def priced_economy(
    *,
    n_months: int,
    n_assets: int,
    n_characteristics: int,
    n_portfolios: int,
    seed: int,
    n_factors: int = 2,
    alpha: float | Sequence[float] = 0.0,
    residual_sd: float = 0.01,
    residual_correlation: float = 0.3,
    slope_sd: float = 0.03,
    noise_sd: float = 0.08,
    ragged: bool = False,
) -> Economy:
    """Simulate stocks, factors that are sorted from their characteristics, and test portfolios that load on them.

    Stocks are those of `economy`. Deep characteristics are linear, ``Y = z A'`` with random ``A``; factors are the
    long-short portfolios of Feng, Polson and Xu (2020), eq. 19 with ``y+ = -50 exp(-5y)``; the benchmark MKT is the
    average stock. Then ``R = alpha + beta f + gamma MKT + e`` with loadings of unit size and correlated residuals.

    Parameters
    ----------
    n_months, n_assets, n_characteristics, seed, slope_sd, noise_sd, ragged : of `economy`.
    n_portfolios : test portfolios.
    n_factors : deep factors beyond the benchmark.
    alpha : one for all portfolios or one each, decimal per month.
    residual_sd, residual_correlation : of the portfolios' residuals, the correlation between all of them.

    Returns
    -------
    `Economy`: a prepared panel with `benchmark_returns` and `portfolio_returns`; its `truth` is `sort_weight` (factor,
    characteristic), `factor_return` (time, factor), `alpha` (portfolio), `loading` (portfolio, factor),
    `benchmark_loading` (portfolio), decimal per period.
    """
    panel, _ = economy(
        n_months=n_months,
        n_assets=n_assets,
        n_characteristics=n_characteristics,
        seed=seed,
        slope_sd=slope_sd,
        noise_sd=noise_sd,
        common_mean=0.005,
        ragged=ragged,
    )
    rng = np.random.default_rng([seed, 4])
    sort_weight = rng.standard_normal((n_factors, n_characteristics))
    universe, returns = panel.data.in_universe.values, panel.data.returns.values
    deep = panel.data.characteristics.values @ sort_weight.T
    factors = np.stack([_sorted_returns(deep[..., p], universe, returns) for p in range(n_factors)], axis=1)
    market = np.nanmean(returns, axis=1)
    loading = rng.standard_normal((n_portfolios, n_factors))
    benchmark_loading = 1.0 + 0.3 * rng.standard_normal(n_portfolios)
    alphas = np.broadcast_to(np.asarray(alpha, float), (n_portfolios,))
    shared = np.sqrt(residual_correlation) * rng.standard_normal((n_months, 1))
    own = np.sqrt(1 - residual_correlation) * rng.standard_normal((n_months, n_portfolios))
    priced = alphas + factors @ loading.T + market[:, None] * benchmark_loading + residual_sd * (shared + own)
    names = [f"P{i + 1:0{len(str(n_portfolios))}d}" for i in range(n_portfolios)]
    times = panel.times
    panel = panel.join_benchmark(pd.DataFrame({"MKT": market}, times), units="decimal", excess=True)
    panel = panel.join_portfolios(pd.DataFrame(priced, times, names), units="decimal", excess=True)
    truth = xr.Dataset(
        {
            "sort_weight": (("factor", "characteristic"), sort_weight),
            "factor_return": (("time", "factor"), factors),
            "alpha": ("portfolio", alphas),
            "loading": (("portfolio", "factor"), loading),
            "benchmark_loading": ("portfolio", benchmark_loading),
        },
        {"time": panel.data.time, "characteristic": list(panel.characteristics), "portfolio": names},
        {"units": "decimal per period"},
    )
    return Economy(panel, truth)


def frame(
    *,
    n_months: int,
    n_assets: int,
    n_characteristics: int,
    seed: int,
    ragged: bool = False,
    missing: float = 0.0,
    frequency: str = "monthly",
) -> pd.DataFrame:
    """Simulate a raw file as users hold it: the same economy, one row for each date and asset.

    Parameters are those of `economy`.

    Returns
    -------
    DataFrame with columns date, asset, ret (excess return over the row's own period, decimal), size, and raw
    characteristics known at the end of the row's period. Read it with returns_over="row", lag=1, units="decimal",
    excess=True.
    """
    world = _world(
        n_months=n_months,
        n_assets=n_assets,
        n_characteristics=n_characteristics,
        seed=seed,
        ragged=ragged,
        missing=missing,
        frequency=frequency,
    )
    panel, _ = economy(
        n_months=n_months,
        n_assets=n_assets,
        n_characteristics=n_characteristics,
        seed=seed,
        ragged=ragged,
        missing=missing,
        frequency=frequency,
    )
    returns = np.vstack([np.full(n_assets, np.nan), panel.data.returns.values])
    t, i = np.nonzero(world.listed)
    columns = {
        "date": world.dates[t],
        "asset": world.assets[i],
        "ret": returns[t, i],
        "size": world.size[t, i],
    }
    return pd.DataFrame(columns | {name: world.raw[t, i, k] for k, name in enumerate(world.names)})


class _World(NamedTuple):
    """Everything but returns; the first date comes before the first period with returns."""

    dates: pd.DatetimeIndex
    assets: np.ndarray
    names: list[str]
    raw: np.ndarray  # (date, asset, characteristic), NaN where missing
    size: np.ndarray  # (date, asset)
    listed: np.ndarray  # (date, asset): the asset has a row


def _world(
    *,
    n_months: int,
    n_assets: int,
    n_characteristics: int,
    seed: int,
    ragged: bool,
    missing: float,
    frequency: str,
) -> _World:
    check_frequency(frequency)
    if min(n_months, n_characteristics) < 1 or n_assets < 3:
        raise DataError(
            "an economy must have a period, a characteristic and at least three assets: found "
            f"{n_months}, {n_characteristics} and {n_assets}."
        )
    if not 0 <= missing < 1:
        raise DataError(f"missing must be a share below 1: found {missing}.")
    rng = np.random.default_rng([seed, 0])
    start, step = _STARTS[frequency]
    dates = pd.date_range(start, periods=n_months + 1, freq=step, unit="ns")
    shape = (n_months + 1, n_assets, n_characteristics)
    raw = _autoregression(rng, shape)
    raw[rng.random(shape) < missing] = np.nan
    size = np.exp(1.5 * _autoregression(rng, (*shape[:2], 1))[..., 0])
    listed = np.ones(shape[:2], bool)
    if ragged:
        clock = np.arange(n_months + 1)[:, None]
        third = n_assets // 3
        entry, exit_ = np.zeros(n_assets, int), np.full(n_assets, n_months)
        entry[:third] = rng.integers(0, n_months // 2 + 1, third)
        exit_[third : 2 * third] = rng.integers(n_months // 2, n_months + 1, third)
        listed = (clock >= entry) & (clock <= exit_)
    assets = np.array([f"S{i:0{len(str(n_assets - 1))}d}" for i in range(n_assets)])
    names = [f"x{k + 1}" for k in range(n_characteristics)]
    return _World(dates, assets, names, np.where(listed[..., None], raw, np.nan), size, listed)


def _raw_panel(world: _World, frequency: str) -> Panel:
    """What is known before each period with returns; returns still to come."""
    before = world.raw[:-1]
    dims = ("time", "asset")
    data = xr.Dataset(
        {
            "characteristics": ((*dims, "characteristic"), before),
            "returns": (dims, np.full(before.shape[:2], np.nan)),
            "in_universe": (dims, world.listed[:-1] & ~np.isnan(before).all(axis=2)),
            "size": (dims, np.where(world.listed[:-1], world.size[:-1], np.nan)),
        },
        {"time": world.dates[1:], "asset": world.assets, "characteristic": world.names},
    )
    return Panel(data, frequency)


def _autoregression(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal in every period, autoregressive along the first axis."""
    steps = rng.standard_normal(shape)
    for t in range(1, shape[0]):
        steps[t] = _PERSISTENCE * steps[t - 1] + np.sqrt(1 - _PERSISTENCE**2) * steps[t]
    return steps


def _sorted_returns(deep: np.ndarray, universe: np.ndarray, returns: np.ndarray) -> np.ndarray:
    """Long-short returns (time,) of stocks sorted on one deep characteristic (time, asset)."""
    held = np.where(universe, deep, np.nan)
    y = (held - np.nanmean(held, axis=1, keepdims=True)) / np.nanstd(held, axis=1, keepdims=True)
    seen = universe & ~np.isnan(returns)

    def leg(score: np.ndarray) -> np.ndarray:
        score = np.where(seen, -50.0 * np.exp(-5.0 * np.maximum(np.where(seen, score, 0.0), -1.0)), -np.inf)
        weight = np.exp(score - score.max(axis=1, keepdims=True))
        earned: np.ndarray = np.sum(weight * np.where(seen, returns, 0.0), axis=1) / weight.sum(axis=1)
        return earned

    return leg(y) - leg(-y)


def _noise(rng: np.random.Generator, noise: str, shape: tuple[int, ...]) -> np.ndarray:
    """Unit variance."""
    if noise == "normal":
        return rng.standard_normal(shape)
    if noise == "student_t":
        return rng.standard_t(_STUDENT_T_DF, shape) / np.sqrt(_STUDENT_T_DF / (_STUDENT_T_DF - 2))
    raise DataError(f"noise must be 'normal' or 'student_t': found {noise!r}.")


def _each(value: float | Sequence[float], n: int) -> np.ndarray:
    values = np.asarray(value, dtype=float)
    if values.shape not in ((), (n,)):
        raise DataError(f"give one slope, or one for each of {n} characteristics: found {values.size}.")
    return np.broadcast_to(values, (n,)).copy()


def _symmetric(interactions: Mapping[tuple[int, int], float], n: int) -> np.ndarray:
    matrix = np.zeros((n, n))
    for (a, b), coefficient in interactions.items():
        if a == b:
            raise DataError(
                f"an interaction is between two characteristics: found ({a}, {b}). Squares are `curvature`."
            )
        matrix[a, b] = matrix[b, a] = coefficient
    return matrix
