"""Which model predicts better: by month, with errors that respect common shocks, and with refusals."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats

from bayesfactor.errors import AlignmentError, ComparisonError, ComparisonWarning, LookAheadError, first_three
from bayesfactor.evaluation.scores import month_scores
from bayesfactor.evaluation.stacking import stacking_weights
from bayesfactor.evaluation.standard_errors import se_of_sum

if TYPE_CHECKING:
    from bayesfactor.inference import Fit
    from bayesfactor.panel import Panel

Array = np.ndarray[Any, np.dtype[np.float64]]

# Distinct calendar months, whatever the frequency: thirty days are thirty scores but two months of history.
MIN_MONTHS = 3  # fewer give no standard error worth the name: refused
FEW_MONTHS = 24  # fewer: INCONCLUSIVE, no probability
SOME_MONTHS = 100  # fewer: a warning
PERIODS = {"monthly": "months", "weekly": "weeks", "daily": "days"}
SMALL_DIFFERENCE = 4.0  # nats; below it the normal approximation of the difference is poor
CLEAR = 0.975  # probability above which one model is said to predict better
LARGE_MCSE = 0.2  # nats in one month: some 25 effective draws carry the mean
LARGE_TOTAL_MCSE = 1.0  # nats, a quarter of a small difference
METHODS = ("holdout",)
SAME_KIND = ("units", "log_base", "likelihood_kind", "frequency", "panel_fingerprint")
COLUMNS = ("elpd", "se", "elpd_diff", "diff_se", "prob_better", "weight", "warnings")


def compare(fits: Mapping[str, Fit], panel: Panel, *, method: str = "holdout") -> pd.DataFrame:
    """Compare fits by how well they predict months that none of them has seen.

    elpd_k = sum_t log (1/S) sum_s p(r_t | draw s of model k)

    The unit is the month: totals are joint over the stocks of a month, with its shocks integrated out, and
    standard errors come from the spread of months (``compare_scores``).

    Parameters
    ----------
    fits : two or more fits by name, trained on ONE panel and the same months.
    panel : Panel of later months, prepared as the training panel was; excess returns, decimal per period.
    method : "holdout" scores `panel` without refitting; there is no other yet.

    Returns
    -------
    DataFrame as ``compare_scores`` gives it; attrs also hold method.

    Raises
    ------
    ComparisonError
        If there are fewer than two fits, the method does not exist, the fits were trained on different
        panels, a score is not a density, fewer than 3 calendar months have returns, or a score is not finite.
    LookAheadError
        If a month to be scored is a training month of any fit, or lies before one.
    """
    if method not in METHODS:
        raise ComparisonError(
            f'method must be "holdout", the one that exists: found {method!r}. It scores fits on later '
            "months without "
            'refitting: compare(fits, later_part_of_the_panel, method="holdout").'
        )
    _require_two(fits)
    _require_densities(fits)
    _require_one_training_panel(fits)
    _require_same_inputs(fits, panel)
    scored = {name: _scored(name, fit, panel) for name, fit in fits.items()}
    notes = {name: [*_status_notes(fits[name]), *_mcse_notes(result)] for name, result in scored.items()}
    table, texts = _judged({name: result["score"] for name, result in scored.items()}, notes)
    table.attrs["method"] = method
    _warn(texts)
    return table


def compare_scores(
    scores: Mapping[str, xr.DataArray], *, notes: Mapping[str, Sequence[str]] | None = None
) -> pd.DataFrame:
    """Compare log scores by month, however they were made.

    With D_t the difference of two models in month t, ``elpd_diff = sum_t D_t``, and its standard error is
    the larger of ``sd(D) sqrt(T)`` (months independent) and Newey and West's (neighbouring months
    dependent; Bartlett weights, automatic lag at least 1). Months are matched by label. Probabilities are
    Student-t with T - 1 degrees of freedom.

    Parameters
    ----------
    scores : two or more DataArrays (time) by name: month totals in nats, as ``month_scores(...)["score"]``.
        Attributes that say what kind of score it is (units, log_base, likelihood_kind, frequency,
        panel_fingerprint) and the coordinate `scored_assets` must agree.
    notes : for each name, warnings already known about how its scores were made.

    Returns
    -------
    DataFrame by `model`, best first. elpd and se: sum over months and its error (nats). elpd_diff: elpd
    minus the best model's, 0 for the best, and diff_se its error. prob_better: probability that the model
    predicts better than the best OTHER model: the first row against the second, every other row against the
    first; NaN under 24 calendar months. weight: stacking weight by period. warnings: text. attrs: verdict
    ("INCONCLUSIVE", "NAME predicts better" or "no clear difference"), n_periods, n_months (distinct calendar
    months), sample (both in words), first_month, last_month, log_base, units. "Predicts better" asks of every
    difference from the best model a probability of 97.5% and at least 4 nats.

    Raises
    ------
    ComparisonError
        If there are fewer than two models or three calendar months, periods or stocks differ, the kinds of score
        differ, or a score is not finite (no month is ever dropped).

    Warns
    -----
    ComparisonWarning
        For each text in the column `warnings`.
    """
    table, texts = _judged(scores, notes or {})
    _warn(texts)
    return table


def _judged(
    scores: Mapping[str, xr.DataArray], notes: Mapping[str, Sequence[str]]
) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """Check the scores, then the table and the warnings of each model."""
    _require_two(scores)
    _require_series(scores)
    _require_one_kind(scores)
    _require_same_months(scores)
    first = next(iter(scores.values())).sortby("time")
    months = pd.DatetimeIndex(first.indexes["time"])
    aligned = {name: score.sel(time=months) for name, score in scores.items()}
    _require_same_assets(aligned)
    _require_finite(aligned)
    enough, sample = calendar_months(months), sample_words(months, first.attrs.get("frequency"))
    if enough < MIN_MONTHS:
        raise ComparisonError(
            f"a comparison needs returns in at least {MIN_MONTHS} calendar months: found {sample}, "
            f"{first_three(map(_day, months))}. Hold out more months: split the panel earlier."
        )
    table = _table(list(aligned), np.column_stack([score.to_numpy() for score in aligned.values()]))
    texts = _warning_texts(table, enough, sample, notes)
    table["warnings"] = ["; ".join(texts[name]) for name in table.index]
    if enough < FEW_MONTHS:
        table["prob_better"] = np.nan
    table.attrs = {
        "verdict": _verdict(table, enough),
        "n_periods": len(months),
        "n_months": enough,
        "sample": sample,
        "first_month": _day(months[0]),
        "last_month": _day(months[-1]),
        "log_base": first.attrs.get("log_base", "e"),
        "units": first.attrs.get("units", "nats"),
    }
    return table[list(COLUMNS)], texts


def calendar_months(times: pd.DatetimeIndex) -> int:
    """Number of distinct calendar months that periods end in; for monthly data the number of periods."""
    return len(times.to_period("M").unique())


def sample_words(times: pd.DatetimeIndex, frequency: str | None) -> str:
    """How much was scored: ``6 months``, or ``30 days in 2 calendar months``."""
    months = calendar_months(times)
    if len(times) == months and frequency in (None, "monthly"):
        return f"{months} months"
    return f"{len(times)} {PERIODS.get(str(frequency), 'periods')} in {months} calendar months"


# --- arithmetic -----------------------------------------------------------------------------------


def prob_positive_sum(totals: Array) -> float:
    """Probability that the expected sum is positive: Student-t with T - 1 degrees of freedom."""
    total, error = float(totals.sum()), se_of_sum(totals)
    if error == 0.0:
        return 0.5 + 0.5 * float(np.sign(total))
    return float(stats.t.cdf(total / error, df=len(totals) - 1))


def _table(names: list[str], scores: Array) -> pd.DataFrame:
    """All numbers of the comparison from scores (month, model)."""
    order = np.argsort(-scores.sum(axis=0), kind="stable")
    ranked = scores[:, order]
    differences = ranked - ranked[:, :1]
    better = [prob_positive_sum(differences[:, column]) for column in range(1, len(names))]
    return pd.DataFrame(
        {
            "elpd": ranked.sum(axis=0),
            "se": [se_of_sum(column) for column in ranked.T],
            "elpd_diff": differences.sum(axis=0),
            "diff_se": [se_of_sum(column) for column in differences.T],
            "prob_better": [1.0 - better[0], *better],
            "weight": stacking_weights(ranked),
        },
        index=pd.Index([names[column] for column in order], name="model"),
    )


def _verdict(table: pd.DataFrame, months: int) -> str:
    """One line that says whether the first model predicts better than every other."""
    if months < FEW_MONTHS:
        return "INCONCLUSIVE"
    others = table.iloc[1:]
    clear = (others["prob_better"] <= 1.0 - CLEAR) & (others["elpd_diff"] <= -SMALL_DIFFERENCE)
    return f"{table.index[0]} predicts better" if clear.all() else "no clear difference"


# --- what is refused ------------------------------------------------------------------------------


def _require_two(models: Mapping[str, Any]) -> None:
    if not isinstance(models, Mapping):
        raise ComparisonError(f"models to compare must have names, {{name: fit}}: found a {type(models).__name__}.")
    if len(models) < 2:
        raise ComparisonError(f"a comparison needs at least 2 models by name: found {sorted(models)}.")


def _require_densities(fits: Mapping[str, Fit]) -> None:
    unread = {name: type(fit).__name__ for name, fit in fits.items() if isinstance(fit, str | Path)}
    if unread:
        raise ComparisonError(
            f"models to compare must be fits, not their files: {_listed(unread)}. Read them: load(path)."
        )
    other = {name: fit.model.likelihood_kind for name, fit in fits.items()}
    other = {name: kind for name, kind in other.items() if kind != "density"}
    if other:
        raise ComparisonError(
            f"log scores compare densities of returns only: {_listed(other)}. A pseudo-likelihood has no "
            "common scale with a density, and need not integrate to one: compare these by forecasts, "
            "metrics.predictive_r2."
        )


def _require_one_training_panel(fits: Mapping[str, Fit]) -> None:
    """Say which part differs, when a fingerprint does."""
    _require_equal("frequency", {name: fit.frequency for name, fit in fits.items()})
    _require_equal("preparation", {name: fit.preparation for name, fit in fits.items()})
    _require_equal("characteristics", {name: ", ".join(fit.characteristics) for name, fit in fits.items()})
    windows = {
        name: f"{_day(fit.train_times.min())} to {_day(fit.train_times.max())}, {len(fit.train_times)} "
        f"{PERIODS.get(fit.frequency, 'periods')}"
        for name, fit in fits.items()
    }
    _require_equal("training months", windows)
    _require_equal("fingerprint", {name: fit.panel_fingerprint[:12] for name, fit in fits.items()})


def _require_equal(what: str, found: Mapping[str, str]) -> None:
    if len(set(found.values())) > 1:
        raise ComparisonError(
            f"fits must be trained on one panel: {what} differs: {_listed(found)}. Otherwise a difference "
            "in data is taken for a difference between models. Fit every model on the same training panel."
        )


def _require_same_inputs(fits: Mapping[str, Fit], panel: Panel) -> None:
    """The panel to be scored is of the kind that the fits, by now alike, were trained on."""
    fit = next(iter(fits.values()))
    pairs = {
        "frequency": (fit.frequency, panel.frequency),
        "preparation": (fit.preparation, panel.preparation),
        "characteristics": (", ".join(fit.characteristics), ", ".join(panel.characteristics)),
    }
    for what, (trained, scored) in pairs.items():
        if trained != scored:
            raise AlignmentError(
                f"the panel must have the {what} that the fits were trained with: trained with {trained}, "
                f"panel has {scored}. Take both from one prepared panel: panel.split(when)."
            )


def _scored(name: str, fit: Fit, panel: Panel) -> xr.Dataset:
    try:
        return month_scores(fit, panel)
    except LookAheadError as error:
        raise LookAheadError(f"model {name!r}: {error}") from error


def _require_series(scores: Mapping[str, xr.DataArray]) -> None:
    for name, score in scores.items():
        if not isinstance(score, xr.DataArray) or score.dims != ("time",) or "time" not in score.indexes:
            found = f"dims {score.dims}" if isinstance(score, xr.DataArray) else type(score).__name__
            raise ComparisonError(
                f"scores of {name!r} must be a DataArray labelled by time, one total a month: found {found}. "
                'Pass month_scores(fit, panel)["score"].'
            )
        repeated = score.indexes["time"][score.indexes["time"].duplicated()]
        if len(repeated):
            raise ComparisonError(
                f"scores of {name!r} must have each month once: repeated {first_three(map(_day, repeated))}."
            )


def _require_one_kind(scores: Mapping[str, xr.DataArray]) -> None:
    for key in SAME_KIND:
        found = {name: str(score.attrs.get(key, "not stated")) for name, score in scores.items()}
        if len(set(found.values())) > 1:
            raise ComparisonError(
                f"scores must be of one kind: attribute {key!r} differs: {_listed(found)}. Usually scores "
                "made in different ways or on different panels: score every model with month_scores on "
                "one panel."
            )


def _require_same_months(scores: Mapping[str, xr.DataArray]) -> None:
    union = pd.DatetimeIndex([])
    for score in scores.values():
        union = union.union(pd.DatetimeIndex(score.indexes["time"]))
    lacking = {name: union.difference(score.indexes["time"]) for name, score in scores.items()}
    missing = {name: first_three(map(_day, months)) for name, months in lacking.items() if len(months)}
    if missing:
        raise ComparisonError(
            f"scores must be of the same months: lacking are {_listed(missing)}. A comparison on the months "
            "they share would hide what is missing: score every model on one panel."
        )


def _require_same_assets(scores: Mapping[str, xr.DataArray]) -> None:
    """Months in order by now. Scores without the coordinate `scored_assets` agree only among themselves."""
    name, first = next(iter(scores.items()))
    for other, score in scores.items():
        ours, theirs = (_scored_assets(one) for one in (first, score))
        different = first.indexes["time"][ours != theirs]
        if len(different):
            raise ComparisonError(
                f"scores must be of the same stocks in every month: {name!r} and {other!r} differ in "
                f"{first_three(map(_day, different))}. Usually two universes: score every model on one panel."
            )


def _scored_assets(score: xr.DataArray) -> np.ndarray[Any, np.dtype[np.str_]]:
    if "scored_assets" in score.coords:
        return score["scored_assets"].to_numpy().astype(str)
    return np.full(score.sizes["time"], "not stated")


def _require_finite(scores: Mapping[str, xr.DataArray]) -> None:
    bad = {
        name: first_three(map(_day, score.indexes["time"][~np.isfinite(score.to_numpy())]))
        for name, score in scores.items()
        if not np.isfinite(score.to_numpy()).all()
    }
    if bad:
        raise ComparisonError(
            f"every month needs a finite score, and none is dropped: not finite are {_listed(bad)}. "
            "Usually a fit that failed (see fit.status and fit.reasons), or a return far outside what the model holds "
            "possible."
        )


# --- what is warned about -------------------------------------------------------------------------


def _status_notes(fit: Fit) -> list[str]:
    if fit.status == "ok":
        return []
    return [f"status {fit.status!r}: {', '.join(fit.reasons) or 'no reason recorded'}"]


def _mcse_notes(result: xr.Dataset) -> list[str]:
    """Monte Carlo errors that are large, or unknown."""
    total, largest = result.attrs["mcse_total"], float(result["mcse"].max(skipna=False))
    if not np.isfinite(total) or not np.isfinite(largest):
        return ["Monte Carlo error of the score unknown: too few draws"]
    if total > LARGE_TOTAL_MCSE or largest > LARGE_MCSE:
        return [f"Monte Carlo error {total:.1f} nats in all, {largest:.2f} in one month: take more draws"]
    return []


def _warning_texts(
    table: pd.DataFrame, months: int, sample: str, notes: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """Warnings of each model, most general first."""
    general: list[str] = []
    if months < FEW_MONTHS:
        general = [f"INCONCLUSIVE: {sample}, fewer than {FEW_MONTHS}"]
    elif months < SOME_MONTHS:
        general = [f"{sample}, fewer than {SOME_MONTHS}"]
    texts = {str(name): [*general, *notes.get(str(name), ())] for name in table.index}
    for name, difference in table["elpd_diff"].iloc[1:].items():
        if abs(difference) < SMALL_DIFFERENCE:
            text = f"difference of {abs(difference):.1f} nats, below {SMALL_DIFFERENCE:.0f}"
            texts[str(name)].insert(len(general), text)
    return texts


def _warn(texts: Mapping[str, Sequence[str]]) -> None:
    """One warning for each text, with the models it is about."""
    about: dict[str, list[str]] = {}
    for name, lines in texts.items():
        for line in lines:
            about.setdefault(line, []).append(name)
    for line, names in about.items():
        warnings.warn(f"{line} ({', '.join(names)})", ComparisonWarning, stacklevel=3)


def _listed(found: Mapping[str, str]) -> str:
    """Names with what was found for each."""
    return "; ".join(f"{name}: {value}" for name, value in found.items())


def _day(when: Any) -> str:
    """A date as 2016-06-30."""
    return str(np.datetime64(when, "D"))
