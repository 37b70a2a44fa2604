"""What a report says of sorted factors: what they earn and hold, what they price, and what they add."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from bayesfactor.errors import ComparisonError, UnsupportedQuantityError
from bayesfactor.report.cells import PERIODS, band, comparison, embedded, excludes_zero, percent, prob_words
from bayesfactor.report.labels import no_alpha_words, status_label

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from bayesfactor.inference import Fit
    from bayesfactor.panel import Panel
    from bayesfactor.report.findings import Findings, Split

MOST_ROWS = 40  # of a table of alphas: of more, the highest and the lowest


@dataclass(frozen=True)
class SortedFindings:
    """What fits of sorted factors say about a panel, by name of the model.

    Parameters
    ----------
    earned : running sums of `factors`, over all months with returns.
    importance : of `importance`, over the training window.
    weights : of `portfolio_weights`, in the last month of the panel.
    loadings, alphas, no_alpha : of the functions of that name; models without are left out.
    sharpe_ratios : of `sharpe_ratios`.
    diagnosed : of ``Fit.summary``.
    scores : of `pricing_scores`, in later months; models without a density of the test assets are left out.
    comparison, not_compared : as in `FundamentalFindings`, of those scores.
    """

    earned: Mapping[str, xr.Dataset]
    importance: Mapping[str, xr.Dataset]
    weights: Mapping[str, xr.Dataset]
    loadings: Mapping[str, xr.Dataset]
    alphas: Mapping[str, xr.Dataset]
    no_alpha: Mapping[str, pd.Series]
    sharpe_ratios: Mapping[str, pd.DataFrame]
    diagnosed: Mapping[str, pd.DataFrame]
    scores: Mapping[str, xr.Dataset]
    comparison: pd.DataFrame | None
    not_compared: str

    template: ClassVar[str] = "sorted_factors.html"

    @classmethod
    def speaks_of(cls, fit: Fit) -> bool:
        """Fits whose factors are portfolios sorted from characteristics."""
        return hasattr(fit.model, "portfolio_weights")

    @classmethod
    def gather(
        cls,
        fits: Mapping[str, Fit],
        split: Split,
        *,
        prob: float,
        top: int,
        tell: Callable[[str], None],
    ) -> SortedFindings:
        """Ask every quantity; all are shown, whatever `top`."""
        from bayesfactor import quantities as ask
        from bayesfactor.evaluation.asset_scores import pricing_scores

        earned, importance, weights, loadings, alphas, none, sharpe, scores = ({} for _ in range(8))
        last = split.panel.sel(time=[split.panel.times[-1]])
        for name, fit in fits.items():
            tell(f"{name}: factors")
            earned[name] = ask.factors(fit, split.panel, prob=prob, cumulative=True)
            tell(f"{name}: what they are sorted on")
            importance[name] = ask.importance(fit, split.train, prob=prob)
            weights[name] = ask.portfolio_weights(fit, last, prob=prob)
            tell(f"{name}: test assets")
            with suppress(UnsupportedQuantityError):  # functions of characteristics; the report says so
                loadings[name] = ask.loadings(fit, prob=prob)
            with suppress(UnsupportedQuantityError):
                alphas[name] = ask.alphas(fit, prob=prob)
                none[name] = ask.no_alpha(fit)
            sharpe[name] = ask.sharpe_ratios(fit, prob=prob)
            if split.test is not None:
                with suppress(UnsupportedQuantityError):
                    scores[name] = pricing_scores(fit, split.test)
        diagnosed = {name: fit.summary(prob) for name, fit in fits.items()}
        table, reason = _compared(fits, scores, split.test)
        return cls(earned, importance, weights, loadings, alphas, none, sharpe, diagnosed, scores, table, reason)

    def facts(self) -> list[tuple[str, str]]:
        """Nothing that the panel does not say of itself."""
        return []

    def content(self, findings: Findings) -> dict[str, Any]:
        """Words, numbers and figures of the sections."""
        first = next(iter(self.earned.values()))
        compared = comparison(self.comparison, self.not_compared)
        if compared["rows"]:  # given the factors of the same month nothing is predicted
            compared["verdict"] = compared["verdict"].replace("predicts", "explains")
        return {
            "question": self._question(findings),
            "period": PERIODS[findings.panel.frequency],
            "band": prob_words(first),
            "last": f"{findings.panel.times[-1]:%Y-%m-%d}",
            "models": [self._model(name) for name in self.earned],
            "comparison": compared,
        }

    def _question(self, findings: Findings) -> str:
        names = list(self.earned)
        return (
            f"Which long-short portfolios of {findings.panel.data.sizes['asset']:,} stocks, sorted on "
            f"{len(findings.train.characteristics)} characteristics, explain the returns of the test assets, what do "
            f"they leave unpriced and what do they add to the Sharpe ratio ({', '.join(names)})?"
        )

    def _model(self, name: str) -> dict[str, Any]:
        """One model's part of every section; None where it has no such quantity."""
        from bayesfactor import plots

        content: dict[str, Any] = {
            "name": name,
            "label": status_label(self.earned[name]),
            "earned": embedded(plots.plot_factors(self.earned[name], name=name)),
            "importance": embedded(plots.plot_importance(self.importance[name], name=name)),
            "holdings": embedded(plots.plot_holdings(self.weights[name], name=name)),
            "loadings": None,
            "alphas": None,
            "sharpe": embedded(plots.plot_sharpe_ratios(self.sharpe_ratios[name], name=name)),
            "sharpe_rows": _sharpe_rows(self.sharpe_ratios[name]),
            "diagnosed": _diagnosed(self.diagnosed[name]),
        }
        if name in self.loadings:
            content["loadings"] = embedded(plots.plot_loadings(self.loadings[name], name=name))
        if name in self.alphas:
            content["alphas"] = embedded(plots.plot_alphas({name: self.alphas[name]}, top=MOST_ROWS))
            content["alpha_rows"] = _alpha_rows(self.alphas[name])
            content["n_alphas"] = self.alphas[name].sizes["test_asset"]
            content["no_alpha"] = no_alpha_words(self.no_alpha[name])
        return content


def _compared(
    fits: Mapping[str, Fit], scores: Mapping[str, xr.Dataset], test: Panel | None
) -> tuple[pd.DataFrame | None, str]:
    """A comparison of how well test assets are explained in later months, or why there is none."""
    from bayesfactor.evaluation.compare import compare_scores, status_notes

    if test is None:
        return None, "the panel has no month with returns after the training window"
    if len(scores) < 2:
        return None, "fewer than two models have a density of the test assets in later months"
    notes = {name: status_notes(fits[name]) for name in scores}
    try:
        return compare_scores({name: result["score"] for name, result in scores.items()}, notes=notes), ""
    except ComparisonError as error:
        return None, str(error).rstrip(".")


def _alpha_rows(result: xr.Dataset) -> list[dict[str, Any]]:
    order = np.argsort(-result["mean"].values, kind="stable")
    if len(order) > MOST_ROWS:
        order = np.r_[order[: MOST_ROWS // 2], order[-(MOST_ROWS // 2) :]]
    rows = [result.isel(test_asset=int(place)) for place in order]
    return [
        {
            "label": str(row["test_asset"].item()),
            "mean": percent(row["mean"].item()),
            "band": band(row),
            "prob_positive": f"{row['prob_positive'].item():.2f}",
            "excludes_zero": excludes_zero(row),
        }
        for row in rows
    ]


def _sharpe_rows(table: pd.DataFrame) -> list[dict[str, str]]:
    return [
        {
            "label": str(label),
            "mean": f"{row['mean']:.2f}",
            "band": f"{row['lower']:.2f} to {row['upper']:.2f}",
            "prior": f"{row['prior_mean']:.2f}",
            "beyond": f"{row['prob_beyond_prior']:.2f}",
        }
        for label, row in table.iterrows()
    ]


def _diagnosed(table: pd.DataFrame) -> list[str]:
    """The worst of every diagnostic, and where it is."""
    told = []
    for name, largest, digits in (("r_hat", True, ".3f"), ("ess_bulk", False, ",.0f"), ("ess_tail", False, ",.0f")):
        values = table[name].astype(float)
        place = int(values.argmax() if largest else values.argmin())
        told.append(f"{values.iloc[place]:{digits}} ({table.index[place]})")
    return told
