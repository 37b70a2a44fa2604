"""What every figure shares: sizes, colours that colour-blind readers tell apart, and words for units.

Figures are made without pyplot, so drawing many of them leaks no memory and needs no display.
"""

from __future__ import annotations

import textwrap
from collections.abc import Hashable, Mapping
from typing import Any

import xarray as xr
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito (2008): told apart under every common colour deficiency; marker shapes do the same in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
MARKERS = ("o", "s", "D", "^")
GREY = "#6B6B6B"
LIGHT = "#D9D9D9"
RED = "#B00020"

LINE = 12.5  # points between the lines of a subtitle

STYLE: dict[str, Any] = {
    "font.size": 9.5,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.labelsize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=COLOURS),
    "grid.color": LIGHT,
    "grid.linewidth": 0.6,
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "white",
    "figure.dpi": 150,
    "savefig.dpi": 150,
}

PERIODS = {"monthly": "month", "weekly": "week", "daily": "day"}


def new_figure(width: float, height: float, columns: int = 1, **ratios: Any) -> tuple[Figure, list[Axes]]:
    """An empty figure of ``width`` x ``height`` inches with its axes side by side."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False, gridspec_kw=ratios or None)
    return figure, list(axes[0])


def period(dataset: xr.Dataset) -> str:
    """The word for the period of the returns: month, week or day."""
    return PERIODS[dataset.attrs.get("frequency", "monthly")]


def band_words(dataset: xr.Dataset) -> str:
    """What the bands contain, for example ``90% of the posterior``."""
    return f"{100 * float(dataset.attrs['prob']):g}% of the posterior"


def doubts(results: Mapping[str, xr.Dataset]) -> list[str]:
    """One sentence for each result whose fit is not ``ok`` or whose bands are uncalibrated."""
    sentences = []
    for name, dataset in results.items():
        status = dataset.attrs.get("status", "unknown")
        uncalibrated = dataset.attrs.get("bands") == "uncalibrated"
        if status != "ok" or uncalibrated:
            advice = "its bands are UNCALIBRATED" if uncalibrated else "read its bands with care"
            sentences.append(f"{name}: fit status {status.upper()}, {advice}")
    return sentences


def set_title(axes: Axes, text: str, subtitle: str, results: Mapping[str, xr.Dataset], wrap: int = 78) -> None:
    """Title, subtitle, and a red line that names every result whose fit is not ``ok``."""
    warned = "\n".join(textwrap.fill(doubt, wrap) for doubt in doubts(results))
    wrapped = textwrap.fill(subtitle, wrap)
    below = LINE * (warned.count("\n") + 1) if warned else 0.0
    axes.set_title(text, pad=8 + below + LINE * (wrapped.count("\n") + 1))
    place: dict[str, Any] = {
        "xycoords": "axes fraction",
        "textcoords": "offset points",
        "va": "bottom",
        "fontsize": 9,
        "annotation_clip": False,
    }
    axes.annotate(wrapped, (0, 1), (0, 6 + below), color="#333333", **place)
    if warned:
        axes.annotate(warned, (0, 1), (0, 6), color=RED, weight="bold", **place)


def zero_line(axes: Axes, *, horizontal: bool = False) -> None:
    """The line of no effect."""
    draw = axes.axhline if horizontal else axes.axvline
    draw(0.0, color="#333333", linewidth=1.0, zorder=1.5)


def words(label: Hashable) -> str:
    """A label as read by people: underscores become spaces."""
    return str(label).replace("_", " ")
