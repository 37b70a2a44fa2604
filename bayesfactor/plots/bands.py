"""Sensitivities, interactions and forecasts with their bands."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bayesfactor.plots.rows import (
    PERCENT,
    ROW_HEIGHT,
    bands_by_row,
    date_axis,
    hide_empty,
    name_rows,
    offsets,
    small_multiples,
)
from bayesfactor.plots.style import (
    COLOURS,
    LIGHT,
    MARKERS,
    STYLE,
    band_words,
    headed_figure,
    new_figure,
    period,
    set_title,
    words,
    zero_line,
)


def plot_sensitivities(results: Mapping[str, xr.Dataset], *, sort_by: str | None = None) -> Figure:
    """Forest of average sensitivities: one row a characteristic, models side by side.

    Parameters
    ----------
    results : Name of the model to the result of ``sensitivities(..., by="panel")``; at most four.
    sort_by : Name of the model whose means order the rows, largest on top; the first by default.

    Returns
    -------
    Figure. Bands in % per period per unit of the prepared characteristic.
    """
    first = results[sort_by if sort_by is not None else next(iter(results))]
    order = np.argsort(first["mean"].values)
    labels = first["characteristic"].values[order]
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_figure(8.0, 1.7 + ROW_HEIGHT * len(labels) * max(1.0, 0.6 * len(results)))
        places = offsets(len(results))
        for index, (name, dataset) in enumerate(results.items()):
            rows = dataset.sel(characteristic=labels)
            bands_by_row(axes, rows, index, name, offset=places[index], scale=PERCENT)
        name_rows(axes, [words(label) for label in labels])
        axes.set_xlabel(
            f"sensitivity of the expected excess return\n"
            f"(% per {period(first)} per unit of the prepared characteristic)"
        )
        zero_line(axes)
        set_title(
            axes,
            "What each characteristic earns",
            f"Points: posterior mean, averaged over the panel. Bars: {band_words(first)}.",
            results,
        )
        if len(results) > 1:
            figure.legend(loc="outside lower center", ncols=len(results))
    return figure


def plot_interactions(result: xr.Dataset, *, name: str = "", top: int = 20) -> Figure:
    """Bands of the strongest pairwise interactions, the strongest on top.

    Parameters
    ----------
    result : Result of ``interactions(..., top=n)``, over `pair`.
    name : Name of the model, for the title.
    top : How many pairs to show.

    Returns
    -------
    Figure. Bands in % per period per unit of both prepared characteristics.
    """
    shown = result.isel(pair=slice(0, top)).isel(pair=slice(None, None, -1))
    first, second = shown["characteristic"].values, shown["characteristic_2"].values
    labels = [f"{words(a)} × {words(b)}" for a, b in zip(first, second, strict=True)]
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_figure(8.0, 1.7 + ROW_HEIGHT * len(labels))
        bands_by_row(axes, shown, 0, name, scale=PERCENT)
        name_rows(axes, labels)
        axes.set_xlabel(f"interaction\n(% per {period(result)} per unit of each prepared characteristic)")
        zero_line(axes)
        set_title(
            axes,
            "Which pairs of characteristics work together" + (f": {name}" if name else ""),
            f"Strongest pairs by posterior rank. Points: posterior mean. Bars: {band_words(result)}.",
            {name or "this model": result},
        )
    return figure


def plot_ranks(results: Mapping[str, xr.Dataset]) -> Figure:
    """Intervals for the rank of each characteristic by strength of its sensitivity, 1 = strongest.

    Parameters
    ----------
    results : Name of the model to the result of ``sensitivities(..., by="panel")``; at most four.

    Returns
    -------
    Figure.
    """
    first = next(iter(results.values()))
    order = np.argsort(-first["rank_median"].values, kind="stable")
    labels = first["characteristic"].values[order]
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_figure(8.0, 1.7 + ROW_HEIGHT * len(labels) * max(1.0, 0.6 * len(results)))
        places = offsets(len(results))
        for index, (name, dataset) in enumerate(results.items()):
            rows = dataset.sel(characteristic=labels)
            at = np.arange(len(labels)) + places[index]
            axes.hlines(at, rows["rank_lower"], rows["rank_upper"], COLOURS[index], linewidth=2.2)
            axes.plot(rows["rank_median"], at, MARKERS[index], color=COLOURS[index], ms=5, label=name)
        name_rows(axes, [words(label) for label in labels])
        axes.set_xlim(0.5, len(labels) + 0.5)
        axes.set_xlabel("rank by absolute sensitivity (1 = strongest)")
        set_title(
            axes,
            "How sure the ranking is",
            f"Points: posterior median of the rank. Bars: {band_words(first)}.",
            results,
        )
        if len(results) > 1:
            figure.legend(loc="outside lower center", ncols=len(results))
    return figure


def plot_sensitivities_over_time(results: Mapping[str, xr.Dataset], characteristics: list[str] | None = None) -> Figure:
    """Sensitivities month by month, one panel a characteristic.

    Parameters
    ----------
    results : Name of the model to the result of ``sensitivities(..., by="time")``; at most four.
    characteristics : Which ones to show, at most nine; the nine with the largest mean range by default.

    Returns
    -------
    Figure. Bands in % per period per unit of the prepared characteristic.
    """
    first = next(iter(results.values()))
    if characteristics is None:
        spread = first["mean"].max("time") - first["mean"].min("time")
        characteristics = list(first["characteristic"].values[np.argsort(-spread.values)][:9])
    rows, columns = small_multiples(len(characteristics), 3)
    with mpl.rc_context(STYLE):
        title = "Sensitivities over time"
        subtitle = f"Lines: posterior mean. Shades: {band_words(first)}."
        figure, body = headed_figure(3.3 * columns, 0.8 + 2.2 * rows, title, subtitle, results)
        grid = body.subplots(rows, columns, squeeze=False, sharex=True).ravel()
        for axes, label in zip(grid, characteristics, strict=False):
            for index, (name, dataset) in enumerate(results.items()):
                line = PERCENT * dataset.sel(characteristic=label)
                axes.fill_between(
                    line["time"].values, line["lower"], line["upper"], color=COLOURS[index], alpha=0.2, lw=0
                )
                axes.plot(line["time"].values, line["mean"], color=COLOURS[index], label=name)
            zero_line(axes, horizontal=True)
            axes.set_title(words(label), fontsize=10)
            date_axis(axes)
        hide_empty(grid, columns)
        body.supylabel(f"sensitivity (% per {period(first)} per unit)", fontsize=9.5)
        if len(results) > 1:
            body.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def plot_forecast(result: xr.Dataset, *, time: object = None, name: str = "", label: int = 5) -> Figure:
    """Cross-section of expected excess returns of one month, sorted, with bands; both ends are named.

    Parameters
    ----------
    result : Result of ``expected_returns``, over (time, asset).
    time : The month; the last one by default.
    name : Name of the model, for the title.
    label : How many assets to name at each end.

    Returns
    -------
    Figure. Decimal forecasts shown in % per period.
    """
    month = result.isel(time=-1) if time is None else result.sel(time=time)
    month = (PERCENT * month[["mean", "lower", "upper"]]).dropna("asset").sortby("mean")
    rank = np.arange(month.sizes["asset"])
    when = np.datetime_as_string(month["time"].values, unit="M" if period(result) == "month" else "D")
    with mpl.rc_context(STYLE):
        figure, (axes, side) = new_figure(10.0, 4.6, columns=2, width_ratios=(2.3, 1.0))
        axes.fill_between(rank, month["lower"], month["upper"], color=COLOURS[0], alpha=0.25, lw=0)
        axes.plot(rank, month["mean"], color=COLOURS[0], lw=1.8)
        zero_line(axes, horizontal=True)
        axes.set_xlim(rank[0], rank[-1])
        axes.set_xlabel(f"{len(rank):,} assets, lowest forecast to highest")
        axes.set_ylabel(f"expected excess return (% per {period(result)})")
        set_title(
            axes,
            f"Forecast for {when}" + (f": {name}" if name else ""),
            f"Line: posterior mean of the expected return. Shade: {band_words(result)}.",
            {name or "this model": result},
            wrap=90,
        )
        _named_ends(side, month, label)
    return figure


def _named_ends(axes: Axes, month: xr.Dataset, label: int) -> None:
    """The assets at both ends, with their bands, sharing one axis."""
    count = month.sizes["asset"]
    each = min(label, count // 2)
    picked = np.r_[0:each, count - each : count]
    at = np.r_[0:each, each + 1 : 2 * each + 1].astype(float)
    ends = month.isel(asset=picked)
    axes.hlines(at, ends["lower"], ends["upper"], COLOURS[0], linewidth=2.2)
    axes.plot(ends["mean"], at, "o", color=COLOURS[0], ms=5)
    axes.set_yticks(at, [str(a) for a in ends["asset"].values])
    axes.axhline(each, color=LIGHT, lw=5)
    axes.set_ylim(-0.7, at[-1] + 0.7)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("expected excess return (%)")
    axes.set_title(f"Highest and lowest {each}", fontsize=10)
    zero_line(axes)
