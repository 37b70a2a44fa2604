"""FPX figures 7, 8 and 9 with posterior bands; figure 5 is ``bf.plots.plot_rank_weights``."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import bayesfactor as bf
from bayesfactor.plots.style import COLOURS, GREY, MARKERS, RED, STYLE
from examples.common.draws import PROB, flat
from examples.common.figures import BAND, axes_of, heading, legend
from examples.common.grid import Outcome

from .cells import Cell
from .markets import Market
from .tables import Factors, Sorted, implied, loss, with_benchmark

PERCENT = 100.0
BENCHMARK, DEEP = COLOURS[1], COLOURS[0]


def implied_returns(market: Market, outcome: Outcome, factors: Factors) -> Figure:
    """Figure 7: returns that factors imply against average returns, months learned from.

    Points below the line have a positive pricing error. Bars: the draws of the factors; betas are least squares.
    """
    benchmark = market.benchmarks[outcome.cell.benchmark]
    times = pd.DatetimeIndex(factors.learned["time"].values)
    every = flat(with_benchmark(factors.learned, benchmark))
    ways = {"time_series": "time series: beta'f", "cross_section": "cross-section: [1, beta]'lambda"}
    with mpl.rc_context(STYLE):
        figure, grid = axes_of(len(ways), len(market.assets), 3.5, 3.4)
        for column, (assets, returns) in enumerate(market.assets.items()):
            known = returns.loc[times].dropna(axis=1)
            average = PERCENT * known.mean().to_numpy()
            root = PERCENT / np.sqrt(len(known))
            alone, deep = implied(known, benchmark.loc[times].to_numpy()), implied(known, every)
            error, of_alpha = root * known.std().median(), root * np.median(alone.residual_sd)
            role = "learned from" if assets == market.train else "never learned from"
            for row, (way, words) in enumerate(ways.items()):
                axes = grid[row, column]
                draws = PERCENT * getattr(deep, way)
                lower, upper = np.quantile(draws, [(1 - PROB) / 2, (1 + PROB) / 2], axis=0)
                own = PERCENT * getattr(alone, way)
                axes.vlines(average, lower, upper, DEEP, linewidth=1.0, alpha=0.55)
                axes.plot(average, draws.mean(axis=0), MARKERS[0], color=DEEP, ms=4, label="with deep factors")
                axes.plot(average, own, MARKERS[1], ms=4, mfc="none", mec=BENCHMARK, label=outcome.cell.benchmark)
                ends = [min(average.min(), own.min(), lower.min()), max(average.max(), own.max(), upper.max())]
                _diagonal(axes, ends)
                if row == 0:
                    errors = f"{known.shape[1]}; standard error: average {error:.2f}, alpha {of_alpha:.2f}"
                    axes.set_title(f"{assets}, {role}\n{errors}", fontsize=8.5, weight="normal")
                if column == 0:
                    axes.set_ylabel(f"{words}\n(% a month)")
                if row == len(ways) - 1:
                    axes.set_xlabel("average excess return (% a month)")
        legend(figure, grid[0, 0], outcome)
        months = f"Months learned from, {times[0]:%Y-%m} to {times[-1]:%Y-%m}"
        subtitle = f"{months}. Below the line: a positive pricing error. Bars: {BAND}, of the factors alone."
        _heading(figure, f"Implied and average returns: {market.title}", subtitle, outcome)
    return figure


def on_size_and_value(market: Market, outcome: Outcome, found: Sorted) -> Figure:
    """Figure 8: deep characteristics of stocks by the rank of their size and of their book-to-market."""
    names = found.profile["characteristic"].values
    factors = found.profile["factor"].values
    n_bins = found.profile.sizes["bin"]
    at = 100.0 * (np.arange(n_bins) + 0.5) / n_bins
    lower, upper = (found.profile.quantile(q, "draw") for q in ((1 - PROB) / 2, (1 + PROB) / 2))
    mean = found.profile.mean("draw")
    titles = {market.size: "market equity", market.value: "book-to-market"}
    with mpl.rc_context(STYLE):
        figure, grid = axes_of(len(factors), len(names), 4.4, 2.6, sharey=True)
        for row, factor in enumerate(factors):
            for column, name in enumerate(names):
                axes, one = grid[row, column], {"factor": factor, "characteristic": name}
                stocks = found.spread.sel(one)
                axes.fill_between(
                    at,
                    *(stocks.sel(quantile=q) for q in (0.05, 0.95)),
                    color="#EDEDED",
                    lw=0,
                    label="90% of stocks, by posterior mean",
                )
                axes.fill_between(at, lower.sel(one), upper.sel(one), color=DEEP, alpha=0.3, lw=0, label=BAND)
                axes.plot(at, mean.sel(one), color=DEEP, linewidth=1.8, label="posterior mean")
                axes.axhline(0.0, color="#333333", linewidth=0.9, zorder=1.5)
                axes.set_xlim(0, 100)
                if row == 0:
                    axes.set_title(titles[name], fontsize=10)
                if row == len(factors) - 1:
                    axes.set_xlabel(f"rank by {titles[name]} (% of stocks below)")
                if column == 0:
                    axes.set_ylabel(f"{factor.replace('_', ' ')}\n(sd of the month)")
        legend(figure, grid[0, 0], outcome)
        subtitle = "Line: mean over the stocks of a twentieth and the months learned from. "
        subtitle += f"Blue: {BAND}. Grey: 90% of stocks and months."
        _heading(figure, f"Deep characteristics on size and value: {market.title}", subtitle, outcome)
    return figure


def objective(market: Market, outcomes: dict[Cell, Outcome], factors: dict[Cell, Factors]) -> Figure:
    """Figure 9: how the fits converge, and the loss of FPX eq. 20 against that of the benchmark alone."""
    cells = [cell for cell in factors if cell.penalty is not None]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10.0, 1.8 + max(2.6, 0.3 * len(cells))), layout="constrained")
        left, right = figure.subplots(1, 2)
        _progress(left, [outcomes[cell] for cell in cells])
        for place, cell in enumerate(cells):
            deep = factors[cell].learned
            times = pd.DatetimeIndex(deep["time"].values)
            benchmark = market.benchmarks[cell.benchmark]
            every = flat(with_benchmark(deep, benchmark))
            returns = market.assets[market.train].loc[times]
            draws = loss(returns, every, cell.penalty)
            draws = draws / loss(returns, benchmark.loc[times].to_numpy(), cell.penalty)
            lower, upper = np.quantile(draws, [(1 - PROB) / 2, (1 + PROB) / 2])
            colour = DEEP if outcomes[cell].status == "ok" else GREY
            right.hlines(place, lower, upper, colour, linewidth=2.4)
            right.plot(draws.mean(), place, MARKERS[0], color=colour, ms=5)
        right.axvline(1.0, color=RED, linestyle=(0, (5, 2)), linewidth=1.4)
        right.annotate(
            "benchmark alone", (1.0, 1.0), (-4, 2), xycoords=("data", "axes fraction"), textcoords="offset points",
            ha="right", fontsize=9, color=RED,
        )  # fmt: skip
        names = [
            f"{cell.benchmark}, L={cell.layers}, P={cell.n_factors}, λ={cell.penalty:g} ({outcomes[cell].status})"
            for cell in cells
        ]
        right.set_yticks(range(len(cells)), names)
        right.set_ylim(len(cells) - 0.4, -0.6)
        right.set_xlabel("loss of eq. 20, as a share of the benchmark's")
        right.set_title("Where the fits ended", pad=20)
        _heading(figure, f"The objective: {market.title}", f"Bars: {BAND}. Grey: fits whose status is not ok.", None)
    return figure


def _progress(axes: Axes, outcomes: list[Outcome]) -> None:
    """Distance of the bound (SVI, as it is optimised) or the log density (NUTS, as draws are kept) from its best."""
    guided = any("guide" in outcome.fit.tree for outcome in outcomes)
    numbers = sorted({outcome.cell.n_factors for outcome in outcomes})
    told: set[int] = set()
    for outcome in outcomes:
        tree, n_factors = outcome.fit.tree, outcome.cell.n_factors
        lines = tree["guide"]["elbo"].values if guided else tree["functions"]["log_density"].values
        lines = lines.reshape(-1, lines.shape[-1])
        for line in np.nanmax(lines) - lines + 1.0:
            label = None if n_factors in told else f"P = {n_factors}"
            told.add(n_factors)
            colour = COLOURS[numbers.index(n_factors) % len(COLOURS)]
            share = 100.0 * np.arange(1, len(line) + 1) / len(line)
            axes.plot(share, line, color=colour, alpha=0.6, linewidth=1.1, label=label)
    axes.set_yscale("log")
    axes.set_xlim(0, 100)
    axes.set_xlabel("% of the optimisation" if guided else "% of the draws kept")
    axes.set_ylabel(f"nats below the best {'bound' if guided else 'log density'}, plus 1")
    axes.set_title("A line a restart: the bound" if guided else "A line a chain: the log density", pad=20)
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=len(told))


def _diagonal(axes: Axes, ends: list[float]) -> None:
    room = 0.05 * (ends[1] - ends[0])
    low, high = ends[0] - room, ends[1] + room
    axes.plot([low, high], [low, high], color="#333333", linewidth=0.9, zorder=1)
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_box_aspect(1)


def _heading(figure: Figure, title: str, subtitle: str, outcome: Outcome | None) -> None:
    """Title, what the marks mean, which cell it is."""
    if outcome is not None:
        cell = outcome.cell
        shape = f"{cell.benchmark} + {cell.n_factors} deep, L = {cell.layers}, λ = {cell.penalty:g}"
        subtitle = f"{shape}. {subtitle}"
    heading(figure, title, subtitle)


def rank_weights() -> Figure:
    """Figure 5."""
    return bf.plots.plot_rank_weights()
