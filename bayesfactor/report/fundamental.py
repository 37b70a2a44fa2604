"""What a report says of models of expected returns: sensitivities, interactions, comparison, forecasts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from bayesfactor.errors import UnsupportedQuantityError
from bayesfactor.report.cells import PERIODS, band, comparison, embedded, excludes_zero, percent, prob_words
from bayesfactor.report.labels import status_label

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from bayesfactor.inference import Fit
    from bayesfactor.report.findings import Findings, Split

UNIT_WORDS = {
    "rank": "Characteristics are ranks from -1 to 1: one unit is the way from the median stock to the top.",
    "standardise": "Characteristics are z-scores, so one unit is one cross-sectional standard deviation.",
    "raw": "",
}
ENDS = 8  # assets listed at each end of a forecast


@dataclass(frozen=True)
class FundamentalFindings:
    """What fits of expected returns say about a panel.

    Parameters
    ----------
    sensitivities, interactions, forecasts, scores : results by name of the model. Models without curvature
        have no interactions; `forecasts` are of the live months, `scores` of the later months with returns.
    predictive_r2 : of those months against a forecast of zero, by name of the model.
    comparison : table of `compare`; None where fewer than two models or three later months exist.
    not_compared : why there is no comparison; empty where there is one.
    """

    sensitivities: Mapping[str, xr.Dataset]
    interactions: Mapping[str, xr.Dataset]
    forecasts: Mapping[str, xr.Dataset]
    scores: Mapping[str, xr.Dataset]
    predictive_r2: Mapping[str, float]
    comparison: pd.DataFrame | None
    not_compared: str

    template: ClassVar[str] = "fundamental.html"

    @classmethod
    def speaks_of(cls, fit: Fit) -> bool:
        """Every fit that is not one of sorted factors."""
        return not hasattr(fit.model, "portfolio_weights")

    @classmethod
    def gather(
        cls,
        fits: Mapping[str, Fit],
        split: Split,
        *,
        prob: float,
        top: int,
        tell: Callable[[str], None],
    ) -> FundamentalFindings:
        """Ask every quantity; `top` is how many pairs of characteristics."""
        from bayesfactor.evaluation import compare, metrics, month_scores
        from bayesfactor.quantities import expected_returns, interactions, sensitivities

        _, train, test, live = split
        bands, pairs, forecasts, scores, r2 = {}, {}, {}, {}, {}
        for name, fit in fits.items():
            tell(f"{name}: sensitivities")
            bands[name] = sensitivities(fit, train, prob=prob)
            tell(f"{name}: interactions")
            with suppress(UnsupportedQuantityError):  # a linear model has none; the report says so
                pairs[name] = interactions(fit, train, prob=prob, top=top)
            if live is not None:
                tell(f"{name}: forecast")
                forecasts[name] = expected_returns(fit, live, prob=prob)
            if test is not None:
                tell(f"{name}: scores of later months")
                scores[name] = month_scores(fit, test)
                means = expected_returns(fit, test, prob=prob)["mean"]
                r2[name] = float(metrics.predictive_r2(means, metrics.realised_returns(test), benchmark="zero"))
        table, reason = None, ""
        if test is None:
            reason = "the panel has no month with returns after the training window"
        elif len(fits) < 2:
            reason = "one model alone has nothing to be compared with"
        else:
            tell("comparison")
            table = compare(fits, test)
        return cls(bands, pairs, forecasts, scores, r2, table, reason)

    def facts(self) -> list[tuple[str, str]]:
        """Which periods are forecast."""
        if not self.forecasts:
            return []
        times = next(iter(self.forecasts.values())).indexes["time"]
        return [("live", ", ".join(f"{time:%Y-%m-%d}" for time in times))]

    def content(self, findings: Findings) -> dict[str, Any]:
        """Words, numbers and figures of the sections."""
        from bayesfactor import plots

        names = list(self.sensitivities)
        figures: dict[str, Any] = {
            "sensitivities": embedded(plots.plot_sensitivities(self.sensitivities)),
            "interactions": {
                name: embedded(plots.plot_interactions(result, name=name)) for name, result in self.interactions.items()
            },
            "scores": None,
        }
        if self.comparison is not None:
            figures["scores"] = embedded(plots.plot_month_scores(self.scores, reference=names[0]))
        return {
            "question": self._question(findings),
            "unit_words": UNIT_WORDS[findings.panel.preparation],
            "period": PERIODS[findings.panel.frequency],
            "band": prob_words(self.sensitivities[names[0]]),
            "sensitivity_tables": {name: _sensitivity_rows(self.sensitivities[name]) for name in names},
            "sensitivity_labels": {name: status_label(self.sensitivities[name]) for name in names},
            "interaction_labels": {name: status_label(result) for name, result in self.interactions.items()},
            "without_interactions": [name for name in names if name not in self.interactions],
            "figures": figures,
            "comparison": comparison(self.comparison, self.not_compared, self.predictive_r2),
            "forecasts": [_forecast(name, result) for name, result in self.forecasts.items()],
        }

    def _question(self, findings: Findings) -> str:
        names = list(self.sensitivities)
        return (
            f"How do the expected excess returns of {findings.panel.data.sizes['asset']:,} assets respond to "
            f"{len(findings.train.characteristics)} characteristics known beforehand, how sure is that, and which of "
            f"{len(names)} model{'s' if len(names) > 1 else ''} ({', '.join(names)}) predicts better?"
        )


def _sensitivity_rows(result: xr.Dataset) -> list[dict[str, Any]]:
    rows = []
    for place in np.argsort(-result["mean"].values):
        row = result.isel(characteristic=int(place))
        rows.append(
            {
                "label": str(row["characteristic"].item()),
                "mean": percent(row["mean"].item()),
                "band": band(row),
                "prob_positive": f"{row['prob_positive'].item():.2f}",
                "rank": f"{row['rank_lower'].item():.0f} to {row['rank_upper'].item():.0f}",
                "excludes_zero": excludes_zero(row),
            }
        )
    return rows


def _forecast(name: str, result: xr.Dataset) -> dict[str, Any]:
    from bayesfactor import plots

    month = result.isel(time=-1)
    month = month.isel(asset=np.flatnonzero(np.isfinite(month["mean"].values))).sortby("mean", ascending=False)
    count = month.sizes["asset"]
    each = min(ENDS, count // 2)
    rows = [month.isel(asset=int(place)) for place in (*range(each), *range(count - each, count))]
    return {
        "name": name,
        "label": status_label(result),
        "when": np.datetime_as_string(month["time"].values, unit="D"),
        "figure": embedded(plots.plot_forecast(result, name=name)),
        "rows": [
            {
                "asset": str(row["asset"].item()),
                "mean": percent(row["mean"].item()),
                "band": band(row),
                "predictive_sd": f"{100 * row['predictive_sd'].item():.1f}",
            }
            for row in rows
        ],
    }
