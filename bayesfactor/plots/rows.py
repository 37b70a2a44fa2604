"""Parts of figures: rows of bands with names at the left, and axes of dates."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

from bayesfactor.plots.style import COLOURS, GREY, MARKERS

PERCENT = 100.0
ROW_HEIGHT = 0.30  # inches


def bands_by_row(
    axes: Axes,
    rows: xr.Dataset,
    index: int,
    name: str,
    *,
    offset: float = 0.0,
    scale: float = 1.0,
    positive: bool = False,
) -> None:
    """Band and mean of each row; a band that excludes zero is drawn heavier, unless all do, being `positive`."""
    scaled = scale * rows[["mean", "lower", "upper"]]
    at = np.arange(len(scaled["mean"])) + offset
    colour = COLOURS[index]
    if positive:
        axes.hlines(at, scaled["lower"], scaled["upper"], colour, linewidth=2.2)
        axes.plot(scaled["mean"], at, MARKERS[index], color=colour, ms=4.5, label=name, zorder=3)
        return
    clear = leaves_out_zero(scaled)
    axes.hlines(at, scaled["lower"], scaled["upper"], colour, linewidth=np.where(clear, 3.2, 1.4))
    axes.plot(scaled["mean"], at, MARKERS[index], color=colour, ms=5.5, label=name, zorder=3)
    axes.plot(scaled["mean"].values[~clear], at[~clear], MARKERS[index], color="white", ms=3, zorder=4)


def leaves_out_zero(bands: xr.Dataset) -> np.ndarray:
    """Which bands do not hold zero."""
    return np.asarray(((bands["lower"] > 0) | (bands["upper"] < 0)).values)


def offsets(count: int) -> np.ndarray:
    """Vertical places of `count` models inside a row, the first on top."""
    return np.linspace(0.18, -0.18, count) if count > 1 else np.zeros(1)


def name_rows(axes: Axes, labels: list[str]) -> None:
    """Names of the rows, the last on top, every other row shaded."""
    axes.set_yticks(np.arange(len(labels)), labels)
    axes.set_ylim(-0.7, len(labels) - 0.3)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    for row in range(0, len(labels), 2):
        axes.axhspan(row - 0.5, row + 0.5, color="#F5F5F5", lw=0, zorder=0)


def small_multiples(count: int, most: int) -> tuple[int, int]:
    """Rows and columns of `count` axes, at most so many beside each other."""
    columns = min(most, count)
    return -(-count // columns), columns


def hide_empty(grid: np.ndarray, columns: int) -> None:
    """Hide axes of which nothing was made; those above them show the labels of their own axis."""
    for place, axes in enumerate(grid):
        axes.set_visible(bool(axes.lines))
        if not axes.lines and place >= columns:
            grid[place - columns].tick_params(labelbottom=True)


def date_axis(axes: Axes) -> None:
    """Few dates along the bottom, none of them longer than it must be."""
    axes.xaxis.set_major_locator(AutoDateLocator(minticks=2, maxticks=6))
    axes.xaxis.set_major_formatter(ConciseDateFormatter(axes.xaxis.get_major_locator()))
    axes.tick_params(axis="x", colors=GREY)
