"""Which network to fit: depth, width and regularisation by cross-validated log score, simple ones first."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from bayesfactor.errors import ComparisonError, ConvergenceWarning
from bayesfactor.evaluation.scores import log_mean_exp

if TYPE_CHECKING:
    from bayesfactor.inference.settings import Inference
    from bayesfactor.panel import Panel

Array = np.ndarray
BLOCKS = 4  # of neighbouring months, that each fold has


def choose_architecture(
    models: Mapping[str, Any], panel: Panel, inference: Inference, *, folds: int = 3, seed: int = 0
) -> pd.DataFrame:
    """Compare architectures by cross-validation on a first window, and choose the simplest that is not clearly worse.

    Dixon and Polson (2020), section 4, choose depth, width and L1 on the first month, by three folds over its stocks
    and the squared error. Here by log density, as `month_scores`, of what a fold leaves out:

    - months, for ``pooling="partial"`` and ``"full"``. Stocks of one month share its shocks: with folds over stocks the
      fit would have seen the shocks of what it is scored on, and richer models would look better than they are. Folds
      are made of blocks of neighbouring months, drawn at random.
    - stocks of each month, for ``pooling="none"``, as published: a month by itself has nothing else to leave out. The
      score is of the month that was fitted, not of the next: it says which network fits a cross-section, not
      whether that helps in forecasting.

    Only the panel given is used, so give the first window: what is chosen may then be fitted and scored later.

    Parameters
    ----------
    models : models by name, in order from simple to rich; all with ``pooling="none"`` or none of them.
    panel : prepared panel of the first window.
    inference : settings of every fit.
    folds : how many, at least 2.
    seed : of the folds and the fits.

    Returns
    -------
    DataFrame by `model`, in the order given: score, mean log density of a left-out month (nats); se, from the spread of
    months, or of stock folds where there is one month; difference to the best and difference_se, likewise paired;
    status, the worst of its fits; and chosen, true for the first whose difference from the best is at most one
    standard error; a `ConvergenceWarning` says when one of its fits failed. attrs: folds, unit ("month" or "stocks of
    a month"), reasons by model.

    Raises
    ------
    ComparisonError
        With no models, both kinds of pooling, a density that is not one, fewer than 2 folds, more folds than months
        (or stocks of a month) to leave out, or a score that is not finite.
    """
    by_stock = _check(models, folds)
    splits = list(_stock_folds(panel, folds, seed) if by_stock else _month_folds(panel, folds, seed))
    scores, statuses, reasons = {}, {}, {}
    for name, model in models.items():
        parts, found = [], []
        for split in splits:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # told in `status`
                part, fit = _score(model, split, inference, seed, by_stock)
            if not np.isfinite(part).all():
                raise ComparisonError(f"every left-out month must have a finite score: not so with {name!r}")
            parts.append(part)
            found.append(fit)
        scores[name] = pd.concat(parts, axis=1, keys=range(folds), sort=True)
        statuses[name] = max((fit.status for fit in found), key=("ok", "warn", "failed").index)
        reasons[name] = sorted({reason for fit in found for reason in fit.reasons})
    clusters = {name: _clusters(table) for name, table in scores.items()}
    means = {name: values.mean() for name, values in clusters.items()}
    best = max(means, key=lambda name: means[name])
    rows = {}
    for name, values in clusters.items():
        gap = values - clusters[best]
        rows[name] = (values.mean(), _se(values), gap.mean(), _se(gap), statuses[name])
    columns = ["score", "se", "difference", "difference_se", "status"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("model")
    near = table["difference"] >= -table["difference_se"]
    chosen = str(near.idxmax())
    table["chosen"] = table.index == chosen
    if statuses[chosen] == "failed":
        warnings.warn(
            f"the chosen model {chosen!r} has a fit that failed ({'; '.join(reasons[chosen])}): its score may not be "
            "that of the model. Choose again with longer inference, or with NUTS.",
            ConvergenceWarning,
            stacklevel=2,
        )
    table.attrs = {"folds": folds, "unit": "stocks of a month" if by_stock else "month", "reasons": reasons}
    return table


class _Split(NamedTuple):
    train: Panel
    left_out: Panel


def _check(models: Mapping[str, Any], folds: int) -> bool:
    """Whether folds are over stocks."""
    if not models:
        raise ComparisonError("there must be a model to choose: found none")
    if folds < 2:
        raise ComparisonError(f"cross-validation needs at least 2 folds: got {folds}")
    kinds = {name: getattr(model, "likelihood_kind", "density") for name, model in models.items()}
    if set(kinds.values()) != {"density"}:
        raise ComparisonError(f"log scores compare densities of returns only: found {kinds}")
    by_month = {name: bool(getattr(model, "by_month", False)) for name, model in models.items()}
    if len(set(by_month.values())) > 1:
        alone = [name for name, value in by_month.items() if value]
        raise ComparisonError(
            f"models with pooling='none' leave out stocks and others months, whose scores do not compare: {alone} are "
            "of the first kind. Choose among each kind by itself, and compare the chosen ones by compare(...)."
        )
    return next(iter(by_month.values()))


def _month_folds(panel: Panel, folds: int, seed: int) -> Iterator[_Split]:
    """Months with returns, in blocks of neighbours that are dealt to the folds at random."""
    observed = (panel.data["observed"] & panel.data["in_universe"]).any("asset").values
    times = panel.times[observed]
    if len(times) < folds + 1:
        raise ComparisonError(f"{folds} folds need at least {folds + 1} periods with returns: found {len(times)}")
    size = max(1, len(times) // (BLOCKS * folds))
    block = np.arange(len(times)) // size
    places = np.random.default_rng(seed).permutation(block.max() + 1) % folds
    for fold in range(folds):
        out = places[block] == fold
        yield _Split(panel.sel(time=list(times[~out])), panel.sel(time=list(times[out])))


def _stock_folds(panel: Panel, folds: int, seed: int) -> Iterator[_Split]:
    """Of every month the observed stocks, dealt to the folds at random."""
    seen = (panel.data["observed"] & panel.data["in_universe"]).transpose("time", "asset").values
    few = seen.sum(axis=1)
    if (few[few > 0] < 2 * folds).any():
        raise ComparisonError(
            f"{folds} folds need at least {2 * folds} observed stocks every month: found {few[few > 0].min()}"
        )
    # Ranks of random numbers among the observed stocks, so that folds of a month differ by one stock at most.
    drawn = np.where(seen, np.random.default_rng(seed).random(seen.shape), 2.0)
    place = np.argsort(np.argsort(drawn, axis=1), axis=1) % folds
    for fold in range(folds):
        out = seen & (place == fold)
        yield _Split(_with_returns(panel, seen & ~out), _with_returns(panel, out))


def _with_returns(panel: Panel, kept: Array) -> Panel:
    """The panel with the returns (time, asset) of some stocks only; all stay in the universe."""
    from bayesfactor.panel import Panel

    returns = panel.data["returns"].transpose("time", "asset")
    return Panel(
        panel.data.drop_vars("observed").assign(returns=returns.where(kept)), panel.frequency, panel.preparation
    )


def _score(model: Any, split: _Split, inference: Inference, seed: int, by_stock: bool) -> tuple[pd.Series, Any]:
    """Log density (time,) of what is left out of a fit to the rest, and the fit."""
    from bayesfactor.inference import fit  # late: imports JAX
    from bayesfactor.quantities.draws import latest_fitted
    from bayesfactor.quantities.forecasts import log_likelihood_at

    fitted = fit(model, split.train, inference, seed=seed, progress=False)
    positions = latest_fitted(fitted, split.left_out.times, before=not by_stock)
    values = log_likelihood_at(fitted, split.left_out, positions, seed=seed)
    score = log_mean_exp(np.asarray(values.to_numpy(), float))
    return pd.Series(score, index=values.indexes["time"]), fitted


def _clusters(table: pd.DataFrame) -> Array:
    """Scores of independent units from (time, fold): months, or the folds of a single one, as months."""
    by_month = table.sum(axis=1).to_numpy(float)
    return by_month if len(by_month) > 1 else table.to_numpy(float)[0] * table.shape[1]


def _se(values: Array) -> float:
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))
