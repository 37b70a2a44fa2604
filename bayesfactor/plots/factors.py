"""Sorted factors: what they earned, what stocks are sorted on, what they hold."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bayesfactor.plots.rows import PERCENT, ROW_HEIGHT, bands_by_row, date_axis, hide_empty, name_rows, small_multiples
from bayesfactor.plots.style import (
    COLOURS,
    GREY,
    LIGHT,
    MARKERS,
    STYLE,
    band_words,
    headed_figure,
    period,
    require_bands,
    words,
    zero_line,
)

COLUMNS = 3  # factors side by side
LEGS = ("long", "short")
LINES = ("-", (0, (5, 1.5)))


def plot_factors(result: xr.Dataset, *, name: str = "") -> Figure:
    """What each deep factor earned through time, one panel a factor.

    Parameters
    ----------
    result : Result of ``factors``: by period, or their running sum with ``cumulative=True``.
    name : Name of the model, for the title.

    Returns
    -------
    Figure. In %, all factors on one scale. A dashed line ends the periods that were learned from, where later ones
    follow.
    """
    require_bands(result)
    summed = result.attrs["quantity"].startswith("cumulative")
    shown = PERCENT * result[["mean", "lower", "upper"]]
    times = result.indexes["time"]
    learned = pd.Timestamp(result.attrs["train_last"])
    split = times[0] <= learned < times[-1]
    subtitle = f"Lines: posterior mean. Shades: {band_words(result)}."
    subtitle += " Sums, not compounded." if summed else ""
    subtitle += f" Dashed: {learned:%Y-%m-%d}, the last {period(result)} learned from." if split else ""
    with mpl.rc_context(STYLE):
        title = "What the deep factors earned" + (", summed up" if summed else "") + (f": {name}" if name else "")
        n_factors = result.sizes["factor"]
        rows, columns = small_multiples(n_factors, COLUMNS)
        width = 7.0 if columns == 1 else 3.5 * columns
        figure, body = headed_figure(width, 0.4 + 2.5 * rows, title, subtitle, {name or "this model": result})
        grid = body.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
        for axes, factor in zip(grid, result["factor"].values, strict=False):
            line = shown.sel(factor=factor)
            axes.fill_between(times, line["lower"], line["upper"], color=COLOURS[0], alpha=0.25, lw=0)
            axes.plot(times, line["mean"], color=COLOURS[0], lw=1.6)
            zero_line(axes, horizontal=True)
            if split:
                axes.axvline(learned, color=GREY, linestyle=(0, (4, 2)), linewidth=1.1)
            axes.set_title(words(factor), fontsize=10)
            axes.set_xlim(times[0], times[-1])
            date_axis(axes)
        hide_empty(grid, columns)
        body.supylabel("running sum of returns (%)" if summed else f"return (% per {period(result)})", fontsize=9.5)
    return figure


def plot_importance(result: xr.Dataset, *, name: str = "", top: int = 15) -> Figure:
    """What the deep characteristics are made of: bands of every characteristic's importance, one panel a factor.

    Parameters
    ----------
    result : Result of ``importance``.
    name : Name of the model, for the title.
    top : How many characteristics to show: those that count most, summed over factors, on top.

    Returns
    -------
    Figure. In standard deviations of the deep characteristic per unit of the prepared characteristic.
    """
    require_bands(result)
    total = result["mean"].sum("factor")
    shown = result.isel(characteristic=np.argsort(total.values, kind="stable")[-top:])
    count, every = shown.sizes["characteristic"], result.sizes["characteristic"]
    subtitle = f"Mean absolute gradient over stocks and {period(result)}s. Points: posterior mean. "
    subtitle += f"Bars: {band_words(result)}."
    subtitle += f" The {count} largest of {every}." if count < every else ""
    with mpl.rc_context(STYLE):
        rows, columns = small_multiples(result.sizes["factor"], COLUMNS)
        title = "What stocks are sorted on" + (f": {name}" if name else "")
        size = (2.0 + 2.8 * columns, 0.4 + rows * (0.5 + ROW_HEIGHT * count))
        figure, body = headed_figure(*size, title, subtitle, {name or "this model": result})
        grid = body.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
        for axes, factor in zip(grid, result["factor"].values, strict=False):
            bands_by_row(axes, shown.sel(factor=factor), 0, str(factor), positive=True)
            axes.set_title(words(factor), fontsize=10)
        for axes in grid:
            name_rows(axes, [words(label) for label in shown["characteristic"].values])
            axes.set_xlim(left=0.0)
        hide_empty(grid, columns)
        body.supxlabel("sd of the deep characteristic per unit of the prepared characteristic", fontsize=9.5)
    return figure


def plot_holdings(weights: xr.Dataset, when: Any = None, *, name: str = "", n: int = 5) -> Figure:
    """The stocks that each factor holds and sells most in a period, and how concentrated its legs are over time.

    Parameters
    ----------
    weights : Result of ``portfolio_weights``.
    when : The period; the last one by default.
    name : Name of the model, for the title.
    n : Stocks a leg.

    Returns
    -------
    Figure. Above, weights in % of the leg. Below, where `weights` has more than one period, the effective number of
    stocks in each leg, posterior mean: what an equally weighted leg as concentrated would hold.
    """
    from bayesfactor.quantities import top_holdings

    require_bands(weights)
    when = weights.indexes["time"][-1] if when is None else when
    held = top_holdings(weights, when, n=n)
    month = weights.sel(time=when)
    month = month.isel(time=0) if "time" in month.dims else month
    day = np.datetime_as_string(month["time"].values, unit="M" if period(weights) == "month" else "D")
    columns, over_time = weights.sizes["factor"], weights.sizes["time"] > 1
    subtitle = f"Points: posterior mean of the weight. Bars: {band_words(weights)}."
    subtitle += " Below: effective number of stocks in each leg, posterior mean." if over_time else ""
    with mpl.rc_context(STYLE):
        heights = [0.9 + 2 * n * 0.8 * ROW_HEIGHT, *([2.2] if over_time else [])]
        title = f"Largest holdings of {day}" + (f": {name}" if name else "")
        figure, body = headed_figure(
            max(7.0, 3.5 * columns), sum(heights), title, subtitle, {name or "this model": weights}
        )
        grid = body.subplots(len(heights), columns, squeeze=False, gridspec_kw={"height_ratios": heights})
        for axes, factor in zip(grid[0], weights["factor"].values, strict=True):
            _legs(axes, held.loc[factor])
            effective = [float(month[f"effective_{leg}"].sel(factor=factor).item()) for leg in LEGS]
            axes.set_title(f"{words(factor)}: {effective[0]:,.0f} long, {effective[1]:,.0f} short", fontsize=10)
            axes.set_xlabel("weight (% of a leg)")
        if over_time:
            _concentration(list(grid[1]), weights)
            body.legend(*grid[1, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _legs(axes: Axes, held: pd.DataFrame) -> None:
    """Bands of what is held most, the largest on top, and of what is sold most, the largest at the bottom."""
    long, short = held.loc["long"], held.loc["short"]
    rows = pd.concat([short, long[::-1]])
    at = np.r_[0 : len(short), len(short) + 1 : len(rows) + 1].astype(float)
    colours = [COLOURS[1]] * len(short) + [COLOURS[0]] * len(long)
    axes.hlines(at, PERCENT * rows["lower"], PERCENT * rows["upper"], colours, linewidth=2.2)
    for leg, colour, marker in ((short, COLOURS[1], MARKERS[1]), (long[::-1], COLOURS[0], MARKERS[0])):
        place = at[: len(short)] if leg is short else at[len(short) :]
        axes.plot(PERCENT * leg["mean"], place, marker, color=colour, ms=5)
    axes.axhline(len(short), color=LIGHT, lw=5)
    axes.set_yticks(at, [str(asset) for asset in rows["asset"]])
    axes.set_ylim(-0.7, at[-1] + 0.7)
    axes.grid(visible=False, axis="y")
    zero_line(axes)


def _concentration(row: list[Axes], weights: xr.Dataset) -> None:
    """Effective number of stocks in each leg, period by period, all factors on one scale."""
    largest = max(float(weights[f"effective_{leg}"].max()) for leg in LEGS)
    for axes, factor in zip(row, weights["factor"].values, strict=True):
        for index, leg in enumerate(LEGS):
            numbers = weights[f"effective_{leg}"].sel(factor=factor)
            axes.plot(weights["time"].values, numbers, color=COLOURS[index], linestyle=LINES[index], lw=1.6, label=leg)
        axes.set_ylim(0.0, 1.05 * largest)
        date_axis(axes)
    row[0].set_ylabel("effective number of stocks")
