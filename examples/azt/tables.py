"""AZT's numbers from the draws of the fits: one row for each, with its band and the fit's status."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

import bayesfactor as bf
from bayesfactor.evaluation.standard_errors import errors_of_sum, prob_positive_sum, se_of_sum
from bayesfactor.quantities.draws import rank_bands
from examples.common import grid
from examples.common.draws import PROB, band, factors_of, flat, sorted_at_random
from examples.common.grid import Outcome

from .cells import Cell
from .explained import Errors, Months, by_linear_betas, by_networks, errors, linear_betas, market_squares, turn_of
from .markets import LATER, LEARNED, Market

MARKET, THREE = "market", "three factors"
MEASURES = {
    "total_r2": "total R2 against the market",
    "root_mean_square": "root mean squared residual",
    "mean_absolute": "mean absolute residual",
    "huber": "Huber's loss of residuals",
    "of_months": "root mean squared average residual of a month",
}
REFERENCE_DRAWS = 100
TOP = 2  # characteristics that AZT find important


class Factors(NamedTuple):
    """Draws of a cell's deep factors (chain, draw, time, factor), in the months learned from and those after."""

    learned: xr.DataArray
    later: xr.DataArray

    def of(self, months: str) -> xr.DataArray:
        """In the months of that name."""
        return self.later if months == LATER else self.learned


def factors(market: Market, fit: bf.Fit) -> Factors:
    """About 200 draws of each."""
    return Factors(factors_of(fit, market.learned), factors_of(fit, market.later))


class Judged(NamedTuple):
    """How far off a model is on each part of a market.

    Attributes
    ----------
    loading_sd : prior sd of its betas.
    draws : of each draw, by part.
    mean : of the mean of what the draws explain, by part.
    """

    loading_sd: float
    draws: list[Errors]
    mean: list[Errors]


class Reference(NamedTuple):
    """A model whose betas are linear in characteristics, drawn exactly given its factors.

    Attributes
    ----------
    factors : (month, factor) of all months, by draw.
    loading_sd : prior sd of betas.
    """

    factors: list[np.ndarray]
    loading_sd: float


def three(loading_sd: float) -> str:
    """Name of the three factors with that prior sd of betas: what cells with the same are compared with."""
    return THREE if loading_sd == 1.0 else f"{THREE}, beta sd {loading_sd:g}"


def at_random(n_factors: int, loading_sd: float) -> str:
    """Name of the control with as many factors and that prior."""
    return f"{three(loading_sd)}, {n_factors} at random"


def references(market: Market, outcome: Outcome, loading_sds: Iterable[float]) -> dict[str, Reference]:
    """The market, the three factors, and those with some sorted at random.

    Parameters
    ----------
    market : data set.
    outcome : of a cell: the control has its number of factors, sorted on random directions.
    loading_sds : of all cells.
    """
    control = sorted_at_random(outcome)
    found = factors(market, control.fit)
    random = np.concatenate([flat(found.learned), flat(found.later)], axis=1)
    benchmarks = np.concatenate([Months.of(panel).benchmarks for panel in (market.learned, market.later)])
    chosen = random[:: max(1, len(random) // REFERENCE_DRAWS)]
    with_random = [np.concatenate([one, benchmarks], axis=1) for one in chosen]
    sds = sorted({1.0, *loading_sds})[::-1]
    return {
        **{three(sd): Reference([benchmarks] * REFERENCE_DRAWS, sd) for sd in sds},
        MARKET: Reference([benchmarks[:, :1]] * REFERENCE_DRAWS, 1.0),
        **{at_random(outcome.cell.n_factors, sd): Reference(with_random, sd) for sd in sds},
    }


def judged(market: Market, fits: dict[Cell, Outcome], deep: dict[Cell, Factors]) -> dict[str | Cell, Judged]:
    """Every reference and every cell on every part of the market."""
    parts = [(part, Months.of(part.panel)) for part in market.parts()]
    learned, n_learned = parts[0][1], len(market.learned.times)
    first = next((one for one in fits.values() if one.cell.layers == 1), next(iter(fits.values())))
    scale = float(first.fit.tree["constant_data"]["residual_scale"])
    given = references(market, first, {cell.loading_sd for cell in fits})
    rng = np.random.default_rng(1)
    betas = {
        name: [linear_betas(learned, one[:n_learned], scale, own.loading_sd, rng) for one in own.factors]
        for name, own in given.items()
    }
    result: dict[str | Cell, Judged] = {name: Judged(own.loading_sd, [], []) for name, own in given.items()}
    result |= {cell: Judged(cell.loading_sd, [], []) for cell in fits}
    turn = 0.0
    for part, months in parts:
        span = slice(n_learned, None) if part.months == LATER else slice(n_learned)
        for name, one in result.items():  # the three factors first
            if isinstance(name, str):
                explained = by_linear_betas(months, [draw[span] for draw in given[name].factors], betas[name])
            else:
                explained = by_networks(fits[name].fit, months, flat(deep[name].of(part.months)))
            mean = explained.mean(axis=0)
            turn = turn or turn_of(months, mean)  # what the three factors leave of the part learned from
            one.draws.append(errors(months, explained, turn))
            one.mean.append(errors(months, mean, turn))
    return result


def measures(market: Market, fits: dict[Cell, Outcome], found: dict[str | Cell, Judged]) -> pd.DataFrame:
    """AZT's total R2 and losses, of all models on all parts, each beside that of the three factors.

    Columns: `mean`, `lower`, `upper` over draws; `of_mean`, of the mean of what the draws explain; `benchmark_mean` and
    `benchmark_of_mean` of the three factors with the same prior of betas; for total R2 `gain` of one `of_mean` over the
    other, its error `gain_se` from the spread of months, and `prob_gain` that the expected one is positive.
    """
    rows = []
    parts = list(market.parts())
    for name, one in found.items():
        labels = reference_labels(market, name) if isinstance(name, str) else labels_of(market, fits[name])
        benchmark = three(one.loading_sd)
        for place, part in enumerate(parts):
            own, reference = one.mean[place], found[benchmark].mean[place]
            months = Months.of(part.panel)
            about = {
                **labels,
                "assets": part.assets,
                "role": part.role,
                "months": part.months,
                "n_months": len(months.seen),
                "n_assets": float(months.seen.sum(axis=1).mean()),
            }
            for measure in MEASURES:
                row = {"measure": measure, **_band(getattr(one.draws[place], measure))}
                row |= {
                    "of_mean": float(getattr(own, measure)),
                    "benchmark": benchmark,
                    "benchmark_mean": float(getattr(found[benchmark].draws[place], measure).mean()),
                    "benchmark_of_mean": float(getattr(reference, measure)),
                }
                if measure == "total_r2" and name != benchmark:
                    row |= gain(reference.squares, own.squares, market_squares(months))
                rows.append(about | row)
    return pd.DataFrame(rows)


def gain(reference: np.ndarray, own: np.ndarray, total: float) -> dict[str, float]:
    """Gain in R2 of squared residuals by month over a reference's, its error and probability from the months."""
    by_month = (reference - own) / total
    spread = errors_of_sum(by_month)
    value = float(by_month.sum())
    return {"gain": value, "gain_se": se_of_sum(spread), "prob_gain": prob_positive_sum(value, spread)}


def importance(market: Market, outcome: Outcome) -> pd.DataFrame:
    """AZT's importance (mean absolute gradient), of each deep factor and of their mean, strongest on top.

    Columns: band; `at_random`, mean and band where sorts are in random directions; `prob_top`, the probability of being
    among the first two, and bounds of the rank.
    """
    own, control = (
        bf.importance(one.fit, market.learned, summary="draws")["importance"]
        for one in (outcome, sorted_at_random(outcome))
    )
    rows = []
    names = [str(name) for name in own["characteristic"].values]
    for factor in ("mean", *own["factor"].values):
        draws, chance = (
            (one.mean("factor") if factor == "mean" else one.sel(factor=factor)).transpose("chain", "draw", ...)
            for one in (own, control)
        )
        ranks = rank_bands(draws.values, PROB)
        place = np.argsort(np.argsort(-draws.values, axis=-1), axis=-1)
        block = [
            {
                **labels_of(market, outcome),
                "factor": str(factor),
                "characteristic": name,
                **_band(draws.values[..., index]),
                **band("at_random", chance[..., index]),
                "prob_top": float((place[..., index] < TOP).mean()),
                "rank_lower": float(ranks["rank_lower"][index]),
                "rank_upper": float(ranks["rank_upper"][index]),
            }
            for index, name in enumerate(names)
        ]
        rows += sorted(block, key=lambda row: -row["mean"])
    return pd.DataFrame(rows)


def earned(market: Market, outcome: Outcome, deep: Factors) -> pd.DataFrame:
    """What each factor earned a year, benchmarks too, and how well draws agree on what the deep factor is.

    Columns: bands of `mean_return` and `sd` (decimal a year), `sharpe` and `growth` (of a unit invested, over the
    months); `agreement`, mean correlation of the draws with their mean; effective number of stocks in the legs.
    """
    rows = []
    for months, panel in ((LEARNED, market.learned), (LATER, market.later)):
        draws = deep.of(months)
        legs = bf.portfolio_weights(outcome.fit, panel, prob=PROB)
        for factor in draws["factor"].values:
            one = flat(draws.sel(factor=[factor]))[..., 0]
            row = {**labels_of(market, outcome), "months": months, "factor": str(factor), **_of_returns(one)}
            row |= {
                "agreement": float(np.mean([np.corrcoef(draw, one.mean(axis=0))[0, 1] for draw in one])),
                "effective_long": float(legs["effective_long"].sel(factor=factor).mean()),
                "effective_short": float(legs["effective_short"].sel(factor=factor).mean()),
            }
            rows.append(row)
        known = panel.data["benchmark_returns"]
        for benchmark in known["benchmark"].values:
            values = known.sel(benchmark=benchmark).values[None].astype(float)
            labels = reference_labels(market, str(benchmark))
            rows.append({**labels, "months": months, "factor": str(benchmark), **_of_returns(values)})
    return pd.DataFrame(rows)


def growth(draws: np.ndarray) -> np.ndarray:
    """What a unit invested in a factor has grown to, (..., time)."""
    return np.cumprod(1.0 + draws, axis=-1)


def _of_returns(draws: np.ndarray) -> dict[str, float]:
    mean, sd = 12.0 * draws.mean(axis=1), np.sqrt(12.0) * draws.std(axis=1, ddof=1)
    parts = {"mean_return": mean, "sd": sd, "sharpe": mean / sd, "growth": growth(draws)[:, -1]}
    return {name: value for part, of in parts.items() for name, value in band(part, of).items()}


def fit_rows(market: Market, outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """One row a fit: its status, why, how long it took, and AZT's lambda_3 that its prior is.

    ``lambda_3 = sigma^2 / (NT spread^2)``: with it, minus the log posterior times ``2 sigma^2 / NT`` is AZT's loss in
    slopes of betas with prior sd ``spread`` (squared errors, one layer).
    """
    rows = grid.fit_rows(lambda outcome: labels_of(market, outcome), outcomes)
    n_returns = int(market.learned.data["observed"].sum())
    n_slopes = len(market.learned.characteristics)

    def lambda_3(outcome: Outcome) -> float:
        if outcome.fit is None or outcome.cell.layers > 1 or outcome.cell.loss != "squared":
            return np.nan
        variance = float((outcome.fit.tree["posterior"]["residual_sd"] ** 2).mean())
        return variance / (n_returns * outcome.cell.loading_sd**2 / (n_slopes / 3.0))

    return rows.assign(lambda_3=[lambda_3(outcome) for outcome in outcomes])


def _band(draws: np.ndarray) -> dict[str, float]:
    return {name.removeprefix("_"): value for name, value in band("", draws).items()}


def labels_of(market: Market, outcome: Outcome) -> dict[str, Any]:
    """What every row of a cell says, the kind of likelihood and the fit's status among it."""
    cell = outcome.cell
    return {
        "data": market.name,
        "model": cell.title,
        "loss": cell.loss,
        "lambda_1": cell.cross_section,
        "loading_sd": cell.loading_sd,
        "layers": cell.layers,
        "n_factors": cell.n_factors,
        "likelihood": cell.model(market).likelihood_kind,
        "status": outcome.status,
        "bands": outcome.bands,
    }


def reference_labels(market: Market, name: str) -> dict[str, Any]:
    """Alike, of what is exact given its factors."""
    return {"data": market.name, "model": name, "likelihood": "given the factors", "status": "exact", "bands": ""}
