"""Whether bands of forecasts hold what they say."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bayesfactor.plots.style import COLOURS, MARKERS, STYLE, new_figure, period, set_title, zero_line

PERCENT = 100.0


def plot_reliability(results: Mapping[str, xr.Dataset]) -> Figure:
    """Observed coverage of forecast bands against what they claim, and the histogram of the PIT.

    Parameters
    ----------
    results : Name of the forecaster to the result of ``forecast_calibration``; at most four, of the same levels, bins
        and interval probability.

    Returns
    -------
    Figure. Left: share of returns inside the central interval minus the share that it is to hold, mean over months,
    with month-clustered intervals; the line at zero is the diagonal of a reliability diagram, below it bands are too
    narrow. Right: density of the PIT with such intervals; 1 everywhere when calibrated, high at both ends when bands
    are too narrow. Below: the verdict on each forecaster.
    """
    first = next(iter(results.values()))
    with mpl.rc_context(STYLE):
        figure, (left, right) = new_figure(10.0, 4.6 + 0.2 * len(results), columns=2, width_ratios=(1.0, 1.15))
        _coverage(left, results)
        _histogram(right, results)
        set_title(
            left,
            "Do the bands hold what they say?",
            f"{first.attrs['sample']}. Bars: {PERCENT * first.attrs['prob']:g}% intervals from the spread of "
            f"{period(first)}s. Below zero: bands too narrow.",
            results,
            wrap=62,
        )
        set_title(
            right,
            "Where returns fell in their forecast",
            "High at both ends: bands too narrow. High at one end: forecasts off to the other side.",
            {},
            wrap=72,
        )
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=1)
    return figure


def _coverage(axes: Axes, results: Mapping[str, xr.Dataset]) -> None:
    levels = PERCENT * next(iter(results.values()))["level"].values
    places = np.arange(len(levels))
    for index, (name, result) in enumerate(results.items()):
        at = places + 0.16 * (index - (len(results) - 1) / 2)
        middle, lower, upper = (
            PERCENT * result[variable].values - levels for variable in ("coverage", "coverage_lower", "coverage_upper")
        )
        axes.vlines(at, lower, upper, COLOURS[index], linewidth=2.2)
        axes.plot(at, middle, MARKERS[index], color=COLOURS[index], ms=5.5, label=_verdict(name, result), zorder=3)
    zero_line(axes, horizontal=True)
    axes.margins(y=0.1)
    axes.set_xlim(-0.5, len(levels) - 0.5)
    axes.set_xticks(places, [f"{level:g}%" for level in levels])
    axes.grid(visible=False, axis="x")
    axes.set_xlabel("share of returns that the band is to hold")
    axes.set_ylabel("share held minus share to hold (points)")


def _histogram(axes: Axes, results: Mapping[str, xr.Dataset]) -> None:
    width = 0.8 / len(results)
    for index, result in enumerate(results.values()):
        bins = result.sizes["bin"]
        centre = (result["bin_lower"].values + result["bin_upper"].values) / 2
        at = centre + (index - (len(results) - 1) / 2) * width / bins
        density = bins * result["pit_share"].values
        axes.bar(at, density, width / bins, color=COLOURS[index], alpha=0.35)
        axes.vlines(
            at, bins * result["pit_share_lower"], bins * result["pit_share_upper"], COLOURS[index], linewidth=1.6
        )
        axes.plot(at, density, MARKERS[index], color=COLOURS[index], ms=3.5)
    axes.axhline(1.0, color="#333333", lw=1.0, zorder=1.5)
    axes.set_xlim(0.0, 1.0)
    axes.set_ylim(bottom=0.0)
    axes.grid(visible=False, axis="x")
    axes.set_xlabel("PIT: predictive probability below the return that came")
    axes.set_ylabel("density (1 = calibrated)")


def _verdict(name: str, result: xr.Dataset) -> str:
    """A line of the legend: the verdict on one forecaster, and how sure it is."""
    p_value = result.attrs["p_value"]
    sure = "" if np.isnan(p_value) else f" (p {'< 0.001' if p_value < 0.001 else f'= {p_value:.2g}'})"
    return f"{name}: {result.attrs['verdict']}{sure}"
