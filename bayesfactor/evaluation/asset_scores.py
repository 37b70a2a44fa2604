"""How probable test portfolios' returns in later months were, given what the factors of those months earned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr

from bayesfactor.errors import AlignmentError, DataError, EmptyWindowError, UnsupportedQuantityError, first_three
from bayesfactor.evaluation.scores import UNITS, log_mean_exp, mcse_of_mean, relative_weights, require_later, set_digest

if TYPE_CHECKING:
    from bayesfactor.inference import Fit
    from bayesfactor.panel import Panel

LOG_2PI = float(np.log(2 * np.pi))
DRAWS_AT_ONCE = 2**22  # numbers of covariances


def pricing_scores(fit: Fit, panel: Panel, *, unseen: Panel | None = None) -> xr.Dataset:
    """Log density of each later month's test portfolios, given the factors of that month.

    It asks how well the factors explain a month, not how well its returns are predicted: the stocks' returns of the
    month are known. Residuals are those of the model, correlated where it says so; the pricing-error penalty belongs to
    the estimation, and later months are scored without it.

    Parameters
    ----------
    fit : of a `SortedFactorModel` with normal noise that prices portfolios.
    panel : later months, with the test portfolios and benchmarks of the fit, or the portfolios of `unseen`.
    unseen : the training months with portfolios that the fit has not seen. Their coefficients are drawn exactly given
        the factors, each portfolio by itself: the score has no correlation between their residuals.

    Returns
    -------
    Dataset over `time`, as of `month_scores`: score (nats), mcse, n_assets, and `scored_assets`, a digest of the
    portfolios scored. ``evaluation.compare_scores`` takes it: models that price the same portfolios are compared.

    Raises
    ------
    LookAheadError
        If a month to be scored is a training month or lies before one.
    AlignmentError
        When the panel has other test portfolios or benchmarks than the fit.
    EmptyWindowError
        If no month has returns of stocks and of portfolios.
    UnsupportedQuantityError
        For stocks on both sides, which have no density, and noise that is not normal.
    """
    from bayesfactor.quantities.assets import coefficients
    from bayesfactor.quantities.factors import factors, require_sorted

    require_sorted(fit)
    model = fit.model
    if model.test_assets != "portfolios" or model.noise != "normal":
        raise UnsupportedQuantityError(
            f"later months are scored for test_assets='portfolios' with noise='normal': this model has "
            f"test_assets={model.test_assets!r}, noise={model.noise!r}"
        )
    if "portfolio_returns" not in panel.data:
        raise DataError("the panel must have test portfolios to be scored: add them with panel.join_portfolios")
    of_assets = coefficients(fit, unseen)
    found = [str(name) for name in panel.data["portfolio"].values]
    if lacking := sorted(set(of_assets.assets) ^ set(found)):
        raise AlignmentError(
            f"the panel must have the test portfolios that were priced: these are in one of the two only: "
            f"{first_three(lacking)}"
        )
    benchmarks = of_assets.factors[model.n_factors :]
    there = [str(name) for name in panel.data["benchmark"].values] if "benchmark" in panel.data.coords else []
    if set(benchmarks) - set(there):
        raise AlignmentError(f"the panel must have the benchmarks of the fit, {benchmarks}: it has {there}")
    seen = (panel.data["observed"] & panel.data["in_universe"]).any("asset").values
    returns = panel.data["portfolio_returns"].sel(portfolio=of_assets.assets).transpose("time", "portfolio")
    kept = seen & np.isfinite(returns.values).any(axis=1)
    months = pd.DatetimeIndex(panel.times[kept])
    if not len(months):
        raise EmptyWindowError("a month is scored with returns of stocks and of test portfolios: the panel has none")
    require_later(fit, months)
    deep = factors(fit, panel.sel(time=months), summary="draws")["factor_return"].values.astype(float)
    every = deep
    if benchmarks:
        known = panel.data["benchmark_returns"].sel(benchmark=benchmarks, time=months).transpose("time", "benchmark")
        every = np.concatenate([deep, np.broadcast_to(known.values, (*fit.shape, *known.shape))], axis=-1)
    mean = every @ np.swapaxes(of_assets.loading, -1, -2)
    if of_assets.alpha is not None:
        mean = mean + of_assets.alpha[..., None, :]
    residuals = returns.values[kept] - mean  # (chain, draw, time, asset), NaN where a portfolio has no return
    values = _log_densities(residuals, of_assets.sd, of_assets.covariance)
    weights = relative_weights(values)
    kind = {
        "units": UNITS,
        "log_base": "e",
        "likelihood_kind": "density given stock returns",
        "frequency": panel.frequency,
        "panel_fingerprint": panel.fingerprint,
    }
    present = np.isfinite(returns.values[kept])
    labels = np.array(of_assets.assets)
    return xr.Dataset(
        {
            "score": ("time", log_mean_exp(values), kind),
            "mcse": ("time", mcse_of_mean(weights), {"units": "nats"}),
            "n_assets": ("time", present.sum(axis=1)),
        },
        coords={"time": months, "scored_assets": ("time", [set_digest(labels[row]) for row in present])},
        attrs={**kind, "mcse_total": float(mcse_of_mean(weights.sum(axis=-1)))},
    )


def _log_densities(residuals: np.ndarray, sd: np.ndarray, covariance: np.ndarray | None) -> np.ndarray:
    """Joint log density (chain, draw, time) of residuals (chain, draw, time, asset), NaN left out."""
    seen = np.isfinite(residuals[0, 0])
    if covariance is None:
        density = -0.5 * (LOG_2PI + (residuals / sd[..., None, :]) ** 2) - np.log(sd)[..., None, :]
        return np.asarray(np.where(seen, density, 0.0).sum(axis=-1))
    shape, n_assets = residuals.shape[:2], residuals.shape[-1]
    flat = residuals.reshape(-1, *residuals.shape[2:])
    matrices = covariance.reshape(-1, n_assets, n_assets)
    values = np.empty(flat.shape[:2])
    size = max(1, DRAWS_AT_ONCE // n_assets**2)
    for pattern in np.unique(seen, axis=0):
        months = np.flatnonzero((seen == pattern).all(axis=1))
        for first in range(0, len(flat), size):
            part = slice(first, first + size)
            root = np.linalg.cholesky(matrices[part][:, pattern][:, :, pattern])
            own = np.swapaxes(flat[part][:, months][:, :, pattern], -1, -2)
            whitened = np.linalg.solve(root, own)
            log_determinant = 2.0 * np.log(np.diagonal(root, axis1=1, axis2=2)).sum(axis=1)
            squares = np.sum(whitened**2, axis=1)
            values[part, months] = -0.5 * (pattern.sum() * LOG_2PI + log_determinant[:, None] + squares)
    return values.reshape(*shape, -1)
