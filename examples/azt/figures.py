"""AZT's figures with posterior bands: what factors have grown to, importance, losses compared."""

from __future__ import annotations

from collections.abc import Iterable

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from bayesfactor.plots.style import COLOURS, GREY, LIGHT, MARKERS, STYLE, words
from examples.common.draws import PROB, flat
from examples.common.figures import BAND, axes_of, heading, legend
from examples.common.grid import Outcome

from .markets import Market
from .tables import Factors, growth

PERCENT = 100.0
LINES = ("-", (0, (5, 2)), (0, (1, 1.5)))


def cumulative(market: Market, outcome: Outcome, deep: Factors) -> Figure:
    """What a unit invested in each factor has grown to, deep factors with bands, benchmarks in grey.

    AZT, figure 1, right.
    """
    draws = np.concatenate([flat(deep.learned), flat(deep.later)], axis=1)
    names = [str(name) for name in deep.learned["factor"].values]
    panels = (market.learned, market.later)
    times = pd.DatetimeIndex(np.concatenate([panel.times.values for panel in panels]))
    start = times[:1] - pd.offsets.MonthEnd(1)
    at = start.append(times)
    known = np.concatenate([panel.data["benchmark_returns"].values for panel in panels]).astype(float)
    with mpl.rc_context(STYLE):
        figure, grid = axes_of(1, len(names), 5.4, 3.6, sharey=True)
        for column, name in enumerate(names):
            axes = grid[0, column]
            grown = _from_one(growth(draws[..., column]))
            lower, upper = np.quantile(grown, [(1 - PROB) / 2, (1 + PROB) / 2], axis=0)
            axes.axvspan(market.later.times[0] - pd.offsets.MonthBegin(1), at[-1], color="#F1F1F1", lw=0, zorder=0)
            for index, benchmark in enumerate(market.learned.data["benchmark"].values):
                line = _from_one(growth(known[:, index]))
                axes.plot(at, line, color=GREY, linestyle=LINES[index], linewidth=1.2, label=str(benchmark))
            axes.fill_between(at, lower, upper, color=COLOURS[0], alpha=0.25, lw=0, label=BAND)
            axes.plot(at, np.median(grown, axis=0), color=COLOURS[0], linewidth=1.8, label="deep factor, median")
            axes.set_title(words(name))
            axes.set_yscale("log")
            _plain(axes)
            axes.set_xlim(at[0], at[-1])
            axes.tick_params(axis="x", rotation=30)
        grid[0, 0].set_ylabel("value of a unit invested (log scale)")
        legend(figure, grid[0, 0], outcome, ncols=5)
        subtitle = (
            f"Band: {BAND}, pseudo-likelihood. Shaded: later months, which nothing was learned from; before them, "
        )
        subtitle += "deep factors are turned to earn a positive mean."
        heading(figure, f"Cumulative factor returns: {market.title}", f"Loss: {outcome.cell.title}. {subtitle}")
    return figure


def important(market: Market, outcome: Outcome, rows: pd.DataFrame) -> Figure:
    """Mean absolute gradient of the deep characteristics by characteristic; AZT, figure 2."""
    shown = rows[rows["factor"] == "mean"].iloc[::-1]
    at = np.arange(len(shown))
    with mpl.rc_context(STYLE):
        figure, grid = axes_of(1, 1, 7.0, 0.6 + 0.24 * len(shown))
        axes = grid[0, 0]
        chance = f"sorted at random: mean and {100 * PROB:g}%"
        axes.hlines(at, shown["at_random_lower"], shown["at_random_upper"], LIGHT, linewidth=7, label=chance)
        axes.plot(shown["at_random_mean"], at, "|", color=GREY, ms=7, mew=1.5)
        axes.hlines(at, shown["lower"], shown["upper"], COLOURS[0], linewidth=2.6, label=BAND)
        axes.plot(shown["mean"], at, MARKERS[0], color=COLOURS[0], ms=5, label="posterior mean")
        axes.set_yticks(at, [words(name) for name in shown["characteristic"]])
        axes.set_ylim(-0.7, len(shown) - 0.3)
        axes.set_xlim(0, None)
        axes.set_xlabel("mean absolute gradient (sd of the month per unit of the ranked characteristic)")
        legend(figure, axes, outcome)
        subtitle = f"Mean over {outcome.cell.n_factors} deep factors, stocks and months; pseudo-likelihood."
        heading(figure, f"Importance: {market.title}", f"Loss: {outcome.cell.title}. {subtitle}")
    return figure


def losses(market: Market, outcomes: Iterable[Outcome], rows: pd.DataFrame) -> Figure:
    """Total R2 by the loss that was fitted, on what was learned from and on what was not; AZT, figure 3."""
    parts = rows[["assets", "months"]].drop_duplicates()
    of_r2 = rows[rows["measure"] == "total_r2"]
    statuses = of_r2.drop_duplicates("model").set_index("model")["status"]
    at = np.arange(len(statuses))[::-1]
    deep = {outcome.cell.title for outcome in outcomes}
    columns = min(4, len(parts))
    with mpl.rc_context(STYLE):
        figure, grid = axes_of(-(-len(parts) // columns), columns, 3.1, 0.5 + 0.28 * len(statuses), sharey=True)
        for axes in grid.flat[len(parts) :]:
            axes.set_visible(False)
        for axes, part in zip(grid.flat, parts.itertuples(index=False), strict=False):
            own = of_r2[(of_r2["assets"] == part.assets) & (of_r2["months"] == part.months)]
            for place, (_, row) in zip(at, own.iterrows(), strict=True):
                colour = COLOURS[0] if row["model"] in deep else GREY
                lower, upper, mean = (PERCENT * row[name] for name in ("lower", "upper", "of_mean"))
                axes.hlines(place, lower, upper, colour, linewidth=2.6)
                axes.plot(mean, place, MARKERS[0], color=colour, ms=5)
            three = PERCENT * own["of_mean"].iloc[0]
            axes.axvline(three, color=GREY, linestyle=(0, (5, 2)), linewidth=1.1, zorder=0)
            axes.set_title(f"{part.assets},\n{part.months}", fontsize=9.5)
            axes.set_xlabel("total R2 (%)")
        grid[0, 0].set_yticks(at, [f"{model} ({status})" for model, status in statuses.items()])
        subtitle = (
            f"Rows: the loss that was fitted, with its fit's status. Bars: {BAND} (pseudo-likelihood); points: of the "
            "mean of what all draws explain, which is beyond what two factors do. Dashed: that of the three factors."
        )
        heading(figure, f"Losses compared: {market.title}", subtitle)
    return figure


def _plain(axes: Axes) -> None:
    """Plain numbers on a log scale, few where it is long."""
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    low, high = axes.get_ylim()
    short = high < 3 * low
    if not short:
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(plain)
    axes.yaxis.set_minor_formatter(plain if short else NullFormatter())


def _from_one(grown: np.ndarray) -> np.ndarray:
    return np.concatenate([np.ones((*grown.shape[:-1], 1)), grown], axis=-1)
