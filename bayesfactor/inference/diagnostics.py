"""Whether a fit may be believed: functions are judged, not weights."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from arviz_stats.base import array_stats

from bayesfactor.errors import first_three

RHAT_LIMIT = 1.01
ESS_LIMIT = 400
BFMI_LIMIT = 0.3
KHAT_LIMIT = 0.7
ELBO_LIMIT = 10  # nats; a chunk's mean bound is within a few of its expectation
# Beyond these a fit is of no use at all; between the two sets of limits it is usable with care.
RHAT_FAILED = 1.1
ESS_FAILED = 50
DIVERGENCES_FAILED = 0.05
MONTHS_ALLOWED = 0.05  # share of fits month by month that may miss a limit


class Verdict(NamedTuple):
    """Outcome of the diagnosis.

    Attributes
    ----------
    status : "ok", "warn" or "failed".
    reasons : what did not hold, with numbers; empty when "ok".
    """

    status: str
    reasons: tuple[str, ...]


def diagnose_functions(functions: xr.Dataset) -> pd.DataFrame:
    """R-hat (rank-normalised, split) and effective sample sizes of every function of the parameters.

    Parameters
    ----------
    functions : variables over (chain, draw, ...).

    Returns
    -------
    DataFrame by variable: rhat (largest), ess_bulk and ess_tail (smallest) over its elements, n_elements.
    A constant function (a sensitivity that is exactly the same in every draw) has no R-hat and is an error upstream:
    it comes out as NaN, which `verdict` treats as a failure.
    """
    rows = {}
    for name, variable in functions.data_vars.items():
        values = np.asarray(variable.transpose("chain", "draw", ...), dtype=float)
        values = values.reshape(*values.shape[:2], -1)
        # np.max and np.min keep NaN: a diagnostic that cannot be computed must not look like a pass.
        rhat, bulk, tail = _diagnostics(values)
        rows[str(name)] = {
            "rhat": np.max(rhat),
            "ess_bulk": np.min(bulk),
            "ess_tail": np.min(tail),
            "n_elements": values.shape[-1],
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def _diagnostics(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """R-hat, bulk and tail ESS (element,) of values (chain, draw, element)."""
    values = np.where(np.isfinite(values), values, np.nan)  # ranks would hide an infinite draw
    axes = {"chain_axis": 0, "draw_axis": 1}
    with np.errstate(divide="ignore", invalid="ignore"):  # of chains that stand still, apart: R-hat is infinite
        rhat = array_stats.rhat(values, **axes)
        bulk = array_stats.ess(values, method="bulk", **axes)
        return rhat, bulk, array_stats.ess(values, method="tail", prob=(0.05, 0.95), **axes)


def finite(functions: xr.Dataset) -> Verdict:
    """Verdict on independent draws from a closed form: "ok" when every function is finite."""
    bad = [str(name) for name, variable in functions.data_vars.items() if not np.isfinite(variable).all()]
    return Verdict("failed" if bad else "ok", tuple(f"{name} is not finite in every draw" for name in bad))


def verdict(table: pd.DataFrame, statistics: xr.Dataset | None, *, of_guide: bool = False) -> Verdict:
    """Status and reasons from the diagnosed functions and, for NUTS, the sampler's own statistics.

    ``ok`` needs R-hat < 1.01, bulk and tail ESS >= 400, E-BFMI > 0.3 and no divergence. NaN fails. What is advised
    depends on whether the draws are of guides, one a restart, or of chains.
    """
    apart = "more steps or a larger polish, or NUTS" if of_guide else "run longer chains"
    few = "redraw(fit, panel, draws=...) with more draws" if of_guide else "draw more"
    warn: list[str] = []
    failed: list[str] = []

    def judge(value: float, good: bool, hopeless: bool, reason: str) -> None:
        if np.isnan(value) or hopeless:
            failed.append(reason)
        elif not good:
            warn.append(reason)

    rhat = _worst(table["rhat"], largest=True)
    judge(
        rhat.value, rhat.value < RHAT_LIMIT, rhat.value > RHAT_FAILED,
        f"R-hat of {rhat.name} is {rhat.value:.3f} (must be below {RHAT_LIMIT}): {apart}",
    )  # fmt: skip
    for column, label in (("ess_bulk", "bulk"), ("ess_tail", "tail")):
        ess = _worst(table[column], largest=False)
        judge(
            ess.value, ess.value >= ESS_LIMIT, ess.value < ESS_FAILED,
            f"{label} effective sample size of {ess.name} is {ess.value:.0f} (must be at least {ESS_LIMIT}): "
            f"{few}",
        )  # fmt: skip
    if statistics is not None:
        diverging = int(statistics["diverging"].sum())
        share = diverging / statistics["diverging"].size
        judge(
            float(diverging), diverging == 0, share > DIVERGENCES_FAILED,
            f"{diverging} of {statistics['diverging'].size:,} draws diverged: raise target_accept to 0.95",
        )  # fmt: skip
        bfmi = array_stats.bfmi(np.asarray(statistics["energy"], dtype=float))
        lowest = float(np.min(bfmi))
        judge(
            lowest, lowest > BFMI_LIMIT, False,
            f"E-BFMI of chain {int(np.argmin(bfmi))} is {lowest:.2f} (must be above {BFMI_LIMIT}): the prior scales "
            "do not suit the data, or run a longer warm-up",
        )  # fmt: skip
    status = "failed" if failed else "warn" if warn else "ok"
    return Verdict(status, (*failed, *warn))


def diagnose_months(functions: xr.Dataset) -> pd.DataFrame:
    """The worst R-hat and effective sample sizes of every month's functions, where each month is a fit of its own.

    Parameters
    ----------
    functions : variables over (chain, draw, time, ...).

    Returns
    -------
    DataFrame by `time`: rhat (largest), ess_bulk and ess_tail (smallest), NaN where any cannot be computed.
    """
    found = []
    for variable in functions.data_vars.values():
        values = np.asarray(variable.transpose("chain", "draw", "time", ...), dtype=float)
        shape = values.shape
        parts = _diagnostics(values.reshape(*shape[:2], -1))
        found.append([np.asarray(part).reshape(shape[2], -1) for part in parts])
    rhat, bulk, tail = (np.concatenate(parts, axis=1) for parts in zip(*found, strict=True))
    worst_of = {"rhat": rhat.max(axis=1), "ess_bulk": bulk.min(axis=1), "ess_tail": tail.min(axis=1)}
    return pd.DataFrame(worst_of, index=functions.indexes["time"])


def verdict_by_month(functions: xr.Dataset, statistics: xr.Dataset | None) -> Verdict:
    """Status and reasons of hundreds of fits, one a month, by the share of months that do not hold.

    A month holds by the rule of `verdict`, and is hopeless by it. The fit is "ok" when at most 5% of the months do not
    hold and none is hopeless; "failed" when more than 5% are hopeless or a diagnostic of any month is NaN; "warn"
    otherwise. The extreme of thousands of diagnostics would condemn any fit, however good.

    Parameters
    ----------
    functions : variables over (chain, draw, time, ...).
    statistics : of NUTS, over (chain, draw, time).
    """
    table = diagnose_months(functions)
    values = {
        f"an R-hat that is not below {RHAT_LIMIT}": (table["rhat"], table["rhat"] < RHAT_LIMIT, RHAT_FAILED),
        f"a bulk effective sample size below {ESS_LIMIT}": (
            -table["ess_bulk"], table["ess_bulk"] >= ESS_LIMIT, -ESS_FAILED,
        ),
        f"a tail effective sample size below {ESS_LIMIT}": (
            -table["ess_tail"], table["ess_tail"] >= ESS_LIMIT, -ESS_FAILED,
        ),
    }  # fmt: skip
    if statistics is not None:
        diverging = statistics["diverging"].mean(["chain", "draw"]).to_series()
        energy = np.asarray(statistics["energy"].transpose("time", "chain", "draw"), float)
        bfmi = pd.Series([np.min(array_stats.bfmi(month)) for month in energy], index=table.index)
        values["diverging draws"] = (diverging, diverging == 0, DIVERGENCES_FAILED)
        values[f"an E-BFMI that is not above {BFMI_LIMIT}"] = (-bfmi, bfmi > BFMI_LIMIT, np.inf)
    warn, failed = [], []
    for what, (badness, holds, hopeless_beyond) in values.items():
        unknown, hopeless = badness.isna(), badness > hopeless_beyond
        weak = ~holds
        if not weak.any():
            continue
        ranked = badness.where(~unknown, np.inf).sort_values(ascending=False, kind="stable").index
        named = first_three(f"{time:%Y-%m-%d}" for time in ranked[: int(weak.sum())])
        reason = f"{int(weak.sum())} of {len(table)} months have {what}"
        if unknown.any():
            reason += f", {int(unknown.sum())} one that cannot be computed"
        if hopeless.any():
            reason += f", {int(hopeless.sum())} hopelessly so"
        reason += f"; the worst first: {named}"
        if unknown.any() or hopeless.mean() > MONTHS_ALLOWED:
            failed.append(reason)
        elif hopeless.any() or weak.mean() > MONTHS_ALLOWED:
            warn.append(reason)
    return Verdict("failed" if failed else "warn" if warn else "ok", (*failed, *warn))


def calibrated(khat: np.ndarray) -> bool:
    """Whether a guide passes: every k-hat (chain,), or those of at least 95% of the months (chain, month)."""
    bad = ~(np.asarray(khat) < KHAT_LIMIT)
    return not bad.any() if bad.ndim == 1 else bool(bad.any(axis=0).mean() <= MONTHS_ALLOWED)


def of_guide(khat: np.ndarray) -> Verdict:
    """Verdict on a guide from the Pareto k-hat of its importance ratios, one a restart; NaN fails.

    With one a restart and month (chain, month), at most 5% of the months may be bad.
    """
    khat = np.asarray(khat)
    if calibrated(khat):
        return Verdict("ok", ())
    if khat.ndim == 2:
        bad = ~(khat < KHAT_LIMIT).all(axis=0)
        reason = (
            f"{int(bad.sum())} of {bad.size} months have a k-hat of the guide that is not below {KHAT_LIMIT}: bands "
            "are uncalibrated; publish those of NUTS"
        )
        return Verdict("failed" if np.isnan(khat).any(axis=0).mean() > MONTHS_ALLOWED else "warn", (reason,))
    largest = float(np.max(khat))  # keeps NaN
    reason = (
        f"k-hat of the guide is {largest:.2f} (must be below {KHAT_LIMIT}): its bands are uncalibrated; publish those "
        "of NUTS"
    )
    return Verdict("failed" if np.isnan(largest) else "warn", (reason,))


def of_steps(n_steps: np.ndarray, limit: int) -> Verdict:
    """Verdict on an optimisation that was to stop by itself: "warn" when it ran into the limit."""
    if int(np.max(n_steps)) < limit:
        return Verdict("ok", ())
    return Verdict(
        "warn", (f"the bound was still rising after {limit:,} steps: give steps, or a larger learning_rate",)
    )


def of_restarts(elbo: np.ndarray) -> Verdict:
    """Verdict on the final bounds (chain,) of restarts, nats: far apart, they are not at the same optimum."""
    spread = float(np.max(elbo) - np.min(elbo))
    if spread <= ELBO_LIMIT:
        return Verdict("ok", ())
    best = int(np.argmax(elbo))
    reason = (
        f"the bounds of the restarts differ by {spread:.0f} nats (must be within {ELBO_LIMIT}; restart {best} is "
        "best): some have stopped early, which more steps mend, or the posterior has several modes, of which NUTS "
        "chains may miss some too: then take more restarts, or a smaller network"
    )
    return Verdict("warn", (reason,))


def worst(*verdicts: Verdict) -> Verdict:
    """The worst status and all reasons, those of the worst first."""
    order = ("failed", "warn", "ok")
    ranked = sorted(verdicts, key=lambda one: order.index(one.status))
    return Verdict(ranked[0].status, tuple(reason for one in ranked for reason in one.reasons))


class _Worst(NamedTuple):
    name: str
    value: float


def _worst(column: pd.Series, *, largest: bool) -> _Worst:
    """Name and value of the worst entry; NaN is worse than anything."""
    if column.isna().any():
        return _Worst(str(column.index[column.isna()][0]), float("nan"))
    position = int(np.argmax(column) if largest else np.argmin(column))
    return _Worst(str(column.index[position]), float(column.iloc[position]))
