"""Log predictive scores by month."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from bayesfactor.errors import EmptyWindowError, LookAheadError, first_three

if TYPE_CHECKING:
    from bayesfactor.inference import Fit
    from bayesfactor.panel import Panel

Array = np.ndarray[Any, np.dtype[np.float64]]

UNITS = "nats: joint log density of a month's decimal excess returns"


def log_mean_exp(log_values: Array) -> Array:
    """``log mean exp`` over the first two axes (chain, draw), shifted by the largest draw; NaN stays NaN."""
    largest = log_values.max(axis=(0, 1))
    shift = np.where(np.isfinite(largest), largest, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(shift + np.log(np.exp(log_values - shift).mean(axis=(0, 1))))


def relative_weights(log_values: Array) -> Array:
    """``exp(log_values)`` divided by its mean over (chain, draw), for each month; NaN if that mean is 0."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.exp(log_values - log_mean_exp(log_values)))


def mcse_of_mean(values: Array) -> Array:
    """Monte Carlo standard error of the mean over (chain, draw), from ArviZ's effective sample size.

    NaN where there are fewer than four draws a chain or a value is not finite.
    """
    from arviz_stats.base import array_stats  # late: slow to import, and comparing scores does not need it

    return np.asarray(array_stats.mcse(values, chain_axis=0, draw_axis=1, method="mean"))


def month_scores(fit: Fit, panel: Panel) -> xr.Dataset:
    """Log predictive density of each month's returns under a fit that has not seen them.

    score_t = log (1/S) sum_s p(r_t | draw s), with the month's shocks integrated out inside p: a month
    total, joint over its stocks. No sum of stock scores replaces it, because stocks share the month's
    shocks.

    The Monte Carlo error is that of the mean of exp(log p - score) over draws (delta method), with ArviZ's
    effective sample size within and between chains. It is itself too small when a few draws carry the mean:
    above some 0.2 nats take more draws rather than trust it. `mcse_total` in attrs is the error of the sum
    over months; the same draws enter every month, so it is not the root of the summed squares.

    Parameters
    ----------
    fit : Fit; all its training months lie before the months of `panel` that have returns.
    panel : Panel prepared as the training panel was; `returns` (time, asset), excess, decimal per period.

    Returns
    -------
    Dataset over `time`, months with an observed return in the universe: score (nats), mcse (nats),
    n_assets. Coordinate `scored_assets` (time) is a digest of the labels of the stocks scored, by which
    `compare_scores` sees that two scores are of the same stocks. attrs: units, log_base, likelihood_kind,
    frequency, panel_fingerprint, mcse_total.

    Raises
    ------
    LookAheadError
        If a month to be scored is a training month or lies before one.
    EmptyWindowError
        If no month has an observed return.
    """
    from bayesfactor.quantities import month_log_likelihood  # late: imports JAX, which metrics do not need

    counted = (panel.data["in_universe"] & panel.data["observed"]).transpose("time", "asset")
    months = pd.DatetimeIndex(counted.indexes["time"][counted.any("asset").to_numpy()]).sort_values()
    if not len(months):
        raise EmptyWindowError(
            "month scores need a month with an observed return: the panel has none from "
            f"{panel.times.min():%Y-%m-%d} to {panel.times.max():%Y-%m-%d}. "
            "Usually only the live month was selected, whose returns have not happened yet."
        )
    require_later(fit, months)
    counted = counted.sel(time=months)
    log_likelihood = month_log_likelihood(fit, panel).transpose("chain", "draw", "time").sel(time=months)
    values = np.asarray(log_likelihood.to_numpy(), dtype=float)
    weights = relative_weights(values)
    kind = {
        "units": UNITS,
        "log_base": "e",
        "likelihood_kind": fit.model.likelihood_kind,
        "frequency": panel.frequency,
        "panel_fingerprint": panel.fingerprint,
    }
    return xr.Dataset(
        {
            "score": ("time", log_mean_exp(values), kind),
            "mcse": ("time", mcse_of_mean(weights), {"units": "nats"}),
            "n_assets": ("time", counted.sum("asset").to_numpy()),
        },
        coords={"time": months, "scored_assets": ("time", _digests(counted))},
        attrs={**kind, "mcse_total": float(mcse_of_mean(weights.sum(axis=-1)))},
    )


def require_later(fit: Fit, months: pd.DatetimeIndex) -> None:
    """Refuse months that a fit has seen, or that lie before one it has seen."""
    seen = months[months.isin(fit.train_times)]
    if len(seen):
        raise LookAheadError(
            f"holdout months must be later than every training month: the fit was trained on "
            f"{first_three(f'{month:%Y-%m-%d}' for month in seen)}. Usually the whole panel or the "
            "training part was passed: in-sample months are no holdout. Pass the second part of panel.split(when)."
        )
    before = months[months < fit.train_times.max()]
    if len(before):
        raise LookAheadError(
            f"holdout months must be later than every training month: the fit learned from months up to "
            f"{fit.train_times.max():%Y-%m-%d}, after "
            f"{first_three(f'{month:%Y-%m-%d}' for month in before)}. "
            "Pass the second part of panel.split(when)."
        )


def scored_assets(panel: Panel) -> list[str]:
    """For each period of a panel a digest of the labels of the stocks whose return came."""
    return _digests((panel.data["in_universe"] & panel.data["observed"]).transpose("time", "asset"))


def _digests(counted: xr.DataArray) -> list[str]:
    """For each month a short SHA-256 of the sorted labels of the marked assets."""
    labels = np.asarray(counted.indexes["asset"], dtype=str)
    return [set_digest(labels[row]) for row in counted.to_numpy()]


def set_digest(labels: Any) -> str:
    """A short SHA-256 of a set of labels, whatever their order."""
    return hashlib.sha256("\n".join(sorted(labels)).encode()).hexdigest()[:16]
