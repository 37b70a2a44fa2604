"""Which model predicts better: by month, with errors that respect common shocks, and with refusals."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from bayesfactor.errors import AlignmentError, ComparisonError, ComparisonWarning, LookAheadError, first_three
from bayesfactor.evaluation.matching import (
    FEW_MONTHS,
    MIN_MONTHS,
    PERIODS,
    SOME_MONTHS,
    StoredForecasts,
    are_forecasts,
    calendar_months,
    day,
    listed,
    observed_months,
    require_named,
    require_one_protocol,
    sample_words,
    status_note,
)
from bayesfactor.evaluation.scores import UNITS, month_scores
from bayesfactor.evaluation.stacking import stacking_weights
from bayesfactor.evaluation.standard_errors import SumError, errors_of_sum, half_width, prob_positive_sum, se_of_sum

if TYPE_CHECKING:
    from bayesfactor.inference import Fit
    from bayesfactor.panel import Panel

Array = np.ndarray[Any, np.dtype[np.float64]]

SMALL_DIFFERENCE = 4.0  # nats; below it the normal approximation of the difference is poor
CLEAR = 0.975  # probability above which one model is said to predict better
LARGE_MCSE = 0.2  # nats in one month: some 25 effective draws carry the mean
LARGE_TOTAL_MCSE = 1.0  # nats, a quarter of a small difference
METHODS = ("holdout", "walk_forward")
SAME_KIND = ("units", "log_base", "likelihood_kind", "frequency", "panel_fingerprint")
COLUMNS = ("elpd", "se", "elpd_diff", "diff_se", "prob_better", "weight", "warnings")


def compare(
    models: Mapping[str, Fit | StoredForecasts],
    panel: Panel | None = None,
    *,
    method: str | None = None,
    common: bool = False,
) -> pd.DataFrame:
    """Compare fits, or stored forecasts, by how well they predict months that none of them has seen.

    elpd_k = sum_t log (1/S) sum_s p(r_t | draw s of model k)

    The unit is the month: totals are joint over the stocks of a month, with its shocks integrated out, and
    standard errors come from the spread of months (``compare_scores``).

    Parameters
    ----------
    models : two or more by name: fits trained on ONE panel and the same months, or forecasts that ``walk_forward``
        made of one panel in the same windows. Months are matched by label.
    panel : Panel. For fits the later months to score, prepared as the training panel was; excess returns, decimal
        per period. Forecasts hold their scores and need none; one that is given must be the panel they were made of.
    method : "holdout" scores `panel` under fits, without refitting; "walk_forward" takes the scores stored in
        forecasts. By default the one that the models allow.
    common : for forecasts, compare means only: the score of each forecaster's mean under the month covariance common
        to all (fitted on the window's training months), in place of its own density. So can forecasters be compared
        that have no density of their own.

    Returns
    -------
    DataFrame as ``compare_scores`` gives it; attrs also hold method, and for forecasts score ("own density" or "common
    covariance"), n_windows and n_live_months (periods without returns yet, which are left out).

    Raises
    ------
    ComparisonError
        If there are fewer than two models, fits are mixed with forecasts, the method does not exist, the fits were
        trained on different panels, the forecasts differ in panel, frequency, units, windows, months or stocks, a
        score is not a density, fewer than 3 calendar months have returns, or a score is not finite.
    LookAheadError
        If a month to be scored under a fit is one of its training months, or lies before one.
    """
    require_named(models)
    kinds = {name: "forecasts" if are_forecasts(one) else "fit" for name, one in models.items()}
    if len(set(kinds.values())) > 1:
        raise ComparisonError(
            f"fits and stored forecasts cannot be compared with each other: found {listed(kinds)}. A fit has learned "
            "from one window, forecasts from one after another: run walk_forward for every model."
        )
    stored = "forecasts" in kinds.values()
    allowed = "walk_forward" if stored else "holdout"
    if method not in (None, allowed):
        known = "" if method in METHODS else ", which does not exist,"
        raise ComparisonError(
            f'method must be "holdout" for fits, "walk_forward" for stored forecasts: found {method!r}{known} for '
            f'{"forecasts" if stored else "fits"}. compare(fits, later_part_of_the_panel, method="holdout") scores '
            'fits on later months; compare(forecasts, method="walk_forward") takes what walk_forward stored.'
        )
    if stored:
        return _of_forecasts(models, panel, common=common)  # type: ignore[arg-type]
    if common:
        raise ComparisonError(
            "the score under the common month covariance is stored in forecasts, a fit has none: run walk_forward for "
            "every model, then compare(forecasts, common=True)."
        )
    return _of_fits(models, panel)  # type: ignore[arg-type]


def _of_fits(fits: Mapping[str, Fit], panel: Panel | None) -> pd.DataFrame:
    """Score later months under each fit."""
    _require_densities(fits)
    if panel is None:
        raise ComparisonError(
            "fits are compared on later months, which panel= must hold: found none. "
            "Pass the second part of panel.split(when)."
        )
    _require_one_training_panel(fits)
    _require_same_inputs(fits, panel)
    scored = {name: _scored(name, fit, panel) for name, fit in fits.items()}
    notes = {name: [*status_notes(fits[name]), *_mcse_notes(result)] for name, result in scored.items()}
    table, texts = _judged({name: result["score"] for name, result in scored.items()}, notes)
    table.attrs["method"] = "holdout"
    _warn(texts, stacklevel=4)
    return table


def _of_forecasts(forecasts: Mapping[str, StoredForecasts], panel: Panel | None, *, common: bool) -> pd.DataFrame:
    """Take the scores that are stored."""
    require_one_protocol(forecasts)
    first = next(iter(forecasts.values()))
    _require_panel_of(first, panel)
    if not common:
        _require_stored_densities(forecasts)
    else:
        _require_one_transform(forecasts)
    scores = {name: _stored_score(name, one, common=common) for name, one in forecasts.items()}
    notes = {name: _stored_notes(one, common=common) for name, one in forecasts.items()}
    table, texts = _judged(scores, notes)
    table.attrs |= {
        "method": "walk_forward",
        "score": "common covariance" if common else "own density",
        "n_windows": len(first.windows),
        "n_live_months": first.data.sizes["time"] - len(observed_months(first)),
    }
    _warn(texts, stacklevel=4)
    return table


def compare_scores(
    scores: Mapping[str, xr.DataArray], *, notes: Mapping[str, Sequence[str]] | None = None
) -> pd.DataFrame:
    """Compare log scores by month, however they were made.

    With D_t the difference of two models in month t, ``elpd_diff = sum_t D_t``, and its standard error is
    the larger of ``sd(D) sqrt(T)`` (months independent) and Newey and West's (neighbouring months dependent;
    Bartlett weights over ``1.3 sqrt(T)`` months). Months are matched by label. Both errors are themselves estimated
    from T months: probabilities are Student-t, with T - 1 degrees of freedom for the first error and near
    ``1.5 T / lag`` for the second, and of the two the one nearer to one half is given (docs/decisions/0012).

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
    first; NaN under 24 calendar months. Of two equal models one has more than .975 in some 5% of comparisons,
    since the better one is put first. weight: stacking weight by period. warnings: text. attrs: verdict
    ("INCONCLUSIVE", "NAME predicts better" or "no clear difference"), n_periods, n_months (distinct calendar
    months), sample (both in words), first_month, last_month, log_base, units, diff_errors (for each model the two
    errors of its difference and their degrees of freedom, from which ``difference_intervals`` makes intervals).
    "Predicts better" asks of every difference from the best model a probability of 97.5% and at least 4 nats.

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
    _warn(texts, stacklevel=3)
    return table


def difference_intervals(table: pd.DataFrame, prob: float = 0.95) -> pd.DataFrame:
    """Interval of each model's difference from the best one, in a table of ``compare``.

    ``elpd_diff`` plus and minus the Student-t quantile times the error, for either error; the wider of the two. The
    quantile is not 1.96: with 24 months it is 2.6 for the error that allows for dependent months.

    Parameters
    ----------
    table : as ``compare`` or ``compare_scores`` returned it.
    prob : probability inside.

    Returns
    -------
    DataFrame by `model`: elpd_diff, lower, upper (nats, sums over months). NaN where the table gives no
    probability, under 24 calendar months. attrs: prob, units.

    Raises
    ------
    ComparisonError
        If `prob` is not between 0 and 1, or the table has lost its attrs.
    """
    if not 0.0 < prob < 1.0:
        raise ComparisonError(f"prob must lie between 0 and 1: found {prob!r}. 95% is prob=0.95.")
    if "diff_errors" not in table.attrs:
        raise ComparisonError(
            "the table must hold its errors in attrs['diff_errors']: found none. Usually a copy, whose attrs pandas "
            "drops: pass the table as compare returned it."
        )
    errors = table.attrs["diff_errors"]
    half = np.array(
        [half_width([SumError(**error) for error in errors[str(name)].values()], prob) for name in table.index]
    )
    half[table["prob_better"].isna().to_numpy()] = np.nan
    difference = table["elpd_diff"]
    result = pd.DataFrame({"elpd_diff": difference, "lower": difference - half, "upper": difference + half})
    result.attrs = {"prob": prob, "units": table.attrs["units"]}
    return result


def _judged(
    scores: Mapping[str, xr.DataArray], notes: Mapping[str, Sequence[str]]
) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """Check the scores, then the table and the warnings of each model."""
    require_named(scores)
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
            f"{first_three(map(day, months))}. Hold out more months: split the panel earlier."
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
        "first_month": day(months[0]),
        "last_month": day(months[-1]),
        "log_base": first.attrs.get("log_base", "e"),
        "units": first.attrs.get("units", "nats"),
        "diff_errors": table.attrs["diff_errors"],
    }
    return table[list(COLUMNS)], texts


# --- arithmetic -----------------------------------------------------------------------------------


def _table(names: list[str], scores: Array) -> pd.DataFrame:
    """All numbers of the comparison from scores (month, model)."""
    order = np.argsort(-scores.sum(axis=0), kind="stable")
    ranked = scores[:, order]
    differences = ranked - ranked[:, :1]
    errors = [errors_of_sum(column) for column in differences.T]
    better = [
        prob_positive_sum(float(column.sum()), error)
        for column, error in zip(differences.T[1:], errors[1:], strict=True)
    ]
    table = pd.DataFrame(
        {
            "elpd": ranked.sum(axis=0),
            "se": [se_of_sum(errors_of_sum(column)) for column in ranked.T],
            "elpd_diff": differences.sum(axis=0),
            "diff_se": [se_of_sum(error) for error in errors],
            "prob_better": [1.0 - better[0], *better],
            "weight": stacking_weights(ranked),
        },
        index=pd.Index([names[column] for column in order], name="model"),
    )
    table.attrs["diff_errors"] = {
        str(name): {"clustered": clustered._asdict(), "hac": hac._asdict()}
        for name, (clustered, hac) in zip(table.index, errors, strict=True)
    }
    return table


def _verdict(table: pd.DataFrame, months: int) -> str:
    """One line that says whether the first model predicts better than every other."""
    if months < FEW_MONTHS:
        return "INCONCLUSIVE"
    others = table.iloc[1:]
    clear = (others["prob_better"] <= 1.0 - CLEAR) & (others["elpd_diff"] <= -SMALL_DIFFERENCE)
    return f"{table.index[0]} predicts better" if clear.all() else "no clear difference"


# --- what is refused ------------------------------------------------------------------------------


def _require_densities(fits: Mapping[str, Fit]) -> None:
    unread = {name: type(fit).__name__ for name, fit in fits.items() if isinstance(fit, str | Path)}
    if unread:
        raise ComparisonError(
            f"models to compare must be fits, not their files: {listed(unread)}. Read them: load(path)."
        )
    other = {name: fit.model.likelihood_kind for name, fit in fits.items()}
    other = {name: kind for name, kind in other.items() if kind != "density"}
    if set(other.values()) == {"density given stock returns"}:
        raise ComparisonError(
            f"log scores compare densities of stocks' returns: {listed(other)}. Compare how these price later months "
            "of the same test portfolios: compare_scores({name: pricing_scores(fit, later)['score'], ...})."
        )
    if other:
        raise ComparisonError(
            f"log scores compare densities of returns only: {listed(other)}. A pseudo-likelihood has no "
            "common scale with a density, and need not integrate to one: compare these by forecasts, "
            "metrics.predictive_r2."
        )


def _require_stored_densities(forecasts: Mapping[str, StoredForecasts]) -> None:
    other = {name: str(one.data.attrs.get("likelihood_kind", "not stated")) for name, one in forecasts.items()}
    other = {name: kind for name, kind in other.items() if kind != "density"}
    if other:
        raise ComparisonError(
            f"log scores compare densities of returns only: {listed(other)}. Compare the means of these under one "
            "covariance, compare(forecasts, common=True), or their errors, compare_forecasts(forecasts)."
        )


def _require_panel_of(forecasts: StoredForecasts, panel: Panel | None) -> None:
    made_of = str(forecasts.data.attrs["panel_fingerprint"])
    if panel is not None and panel.fingerprint != made_of:
        raise ComparisonError(
            f"the panel must be the one that was forecast: its fingerprint is {panel.fingerprint[:12]}, that of the "
            f"forecasts {made_of[:12]}. Stored forecasts hold their scores: leave the panel out, or pass the whole "
            "panel that walk_forward was given."
        )


def _require_one_transform(forecasts: Mapping[str, StoredForecasts]) -> None:
    """The common covariance is learnt from what the transform made of the training panel."""
    transforms = {name: str(one.data.attrs.get("transform", "none")) for name, one in forecasts.items()}
    if len(set(transforms.values())) > 1:
        raise ComparisonError(
            f"common=True scores means under one covariance, which is learnt after the transform, and these forecasts "
            f"had different ones: {listed(transforms)}. Compare their errors: compare_forecasts(forecasts)."
        )


def _stored_score(name: str, forecasts: StoredForecasts, *, common: bool) -> xr.DataArray:
    """Stored scores of the months with returns, labelled with what kind they are."""
    wanted, attrs = ("common_score" if common else "score"), forecasts.data.attrs
    if wanted not in forecasts.data:
        raise ComparisonError(f"forecasts must hold {wanted!r}: those of {name!r} do not. Run walk_forward again.")
    kind = "density under the common covariance" if common else attrs["likelihood_kind"]
    labels = {"units": UNITS, "likelihood_kind": kind}
    labels |= {key: attrs[key] for key in ("log_base", "frequency", "panel_fingerprint") if key in attrs}
    return forecasts.data[wanted].sel(time=observed_months(forecasts)).assign_attrs(labels)


def _require_one_training_panel(fits: Mapping[str, Fit]) -> None:
    """Say which part differs, when a fingerprint does."""
    _require_equal("frequency", {name: fit.frequency for name, fit in fits.items()})
    _require_equal("preparation", {name: fit.preparation for name, fit in fits.items()})
    _require_equal("characteristics", {name: ", ".join(fit.characteristics) for name, fit in fits.items()})
    windows = {
        name: f"{day(fit.train_times.min())} to {day(fit.train_times.max())}, {len(fit.train_times)} "
        f"{PERIODS.get(fit.frequency, 'periods')}"
        for name, fit in fits.items()
    }
    _require_equal("training months", windows)
    _require_equal("fingerprint", {name: fit.panel_fingerprint[:12] for name, fit in fits.items()})


def _require_equal(what: str, found: Mapping[str, str]) -> None:
    if len(set(found.values())) > 1:
        raise ComparisonError(
            f"fits must be trained on one panel: {what} differs: {listed(found)}. Otherwise a difference "
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
                f"scores of {name!r} must have each month once: repeated {first_three(map(day, repeated))}."
            )


def _require_one_kind(scores: Mapping[str, xr.DataArray]) -> None:
    for key in SAME_KIND:
        found = {name: str(score.attrs.get(key, "not stated")) for name, score in scores.items()}
        if len(set(found.values())) > 1:
            raise ComparisonError(
                f"scores must be of one kind: attribute {key!r} differs: {listed(found)}. Usually scores "
                "made in different ways or on different panels: score every model with month_scores on "
                "one panel."
            )


def _require_same_months(scores: Mapping[str, xr.DataArray]) -> None:
    union = pd.DatetimeIndex([])
    for score in scores.values():
        union = union.union(pd.DatetimeIndex(score.indexes["time"]))
    lacking = {name: union.difference(score.indexes["time"]) for name, score in scores.items()}
    missing = {name: first_three(map(day, months)) for name, months in lacking.items() if len(months)}
    if missing:
        raise ComparisonError(
            f"scores must be of the same months: lacking are {listed(missing)}. A comparison on the months "
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
                f"{first_three(map(day, different))}. Usually two universes: score every model on one panel."
            )


def _scored_assets(score: xr.DataArray) -> np.ndarray[Any, np.dtype[np.str_]]:
    if "scored_assets" in score.coords:
        return score["scored_assets"].to_numpy().astype(str)
    return np.full(score.sizes["time"], "not stated")


def _require_finite(scores: Mapping[str, xr.DataArray]) -> None:
    bad = {
        name: first_three(map(day, score.indexes["time"][~np.isfinite(score.to_numpy())]))
        for name, score in scores.items()
        if not np.isfinite(score.to_numpy()).all()
    }
    if bad:
        raise ComparisonError(
            f"every month needs a finite score, and none is dropped: not finite are {listed(bad)}. "
            "Usually a fit that failed (see fit.status and fit.reasons), or a return far outside what the model holds "
            "possible."
        )


# --- what is warned about -------------------------------------------------------------------------


def _stored_notes(forecasts: StoredForecasts, *, common: bool) -> list[str]:
    """Windows that did not converge, and the Monte Carlo error of a forecaster's own score.

    Months of one window share their draws, so the error of the sum lies between the root of the summed squares and
    the sum within windows; the first is judged and the second named.
    """
    notes = [note] if (note := status_note(forecasts.windows)) else []
    if common:
        return notes
    mcse = forecasts.data["mcse"].sel(time=observed_months(forecasts))
    if not np.isfinite(mcse).all():
        return [*notes, "Monte Carlo error of the score unknown: too few draws"]
    total, largest = float(np.sqrt((mcse**2).sum())), float(mcse.max())
    if total > LARGE_TOTAL_MCSE or largest > LARGE_MCSE:
        at_most = float(np.sqrt((mcse.groupby("window").sum() ** 2).sum()))
        notes.append(
            f"Monte Carlo error {total:.1f} nats in all ({at_most:.1f} at most), {largest:.2f} in one month: "
            "take more draws"
        )
    return notes


def status_notes(fit: Fit) -> list[str]:
    """What a comparison warns of when a fit is not ``ok``."""
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


def _warn(texts: Mapping[str, Sequence[str]], stacklevel: int) -> None:
    """One warning for each text, with the models it is about."""
    about: dict[str, list[str]] = {}
    for name, lines in texts.items():
        for line in lines:
            about.setdefault(line, []).append(name)
    for line, names in about.items():
        warnings.warn(f"{line} ({', '.join(names)})", ComparisonWarning, stacklevel=stacklevel)
