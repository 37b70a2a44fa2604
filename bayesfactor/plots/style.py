"""What every figure shares: sizes, colours that colour-blind readers tell apart, and words for units.

Figures are made without pyplot, so drawing many of them leaks no memory and needs no display.
"""

from __future__ import annotations

import textwrap
from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd
import xarray as xr
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from bayesfactor.errors import DataError

# Okabe and Ito (2008): told apart under every common colour deficiency; marker shapes do the same in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
MARKERS = ("o", "s", "D", "^")
GREY = "#6B6B6B"
LIGHT = "#D9D9D9"
RED = "#B00020"

LINE = 12.5  # points between the lines of a subtitle
TITLE_LINE = 20.0  # points that a title takes
LETTERS_PER_INCH, BOLD_PER_INCH = 15.5, 13.3  # of a subtitle, of a warning

PSEUDO = "PSEUDO-LIKELIHOOD (returns on both sides), its bands may not cover"
Labelled = xr.Dataset | pd.DataFrame  # a result whose `attrs` say what the fit behind it is worth

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


def headed_figure(
    width: float, height: float, title: str, subtitle: str, results: Mapping[str, Labelled]
) -> tuple[Figure, SubFigure]:
    """A figure whose heading, as of `set_title`, stands over all axes, and the ``height`` inches below for them."""
    warned = [line for doubt in doubts(results) for line in textwrap.wrap(doubt, int(BOLD_PER_INCH * width))]
    lines = [(line, {"color": "#333333"}) for line in textwrap.wrap(subtitle, int(LETTERS_PER_INCH * width))]
    lines += [(line, {"color": RED, "weight": "bold"}) for line in warned]
    points = TITLE_LINE + LINE * len(lines) + 8.0
    figure = Figure(figsize=(width, height + points / 72.0), layout="constrained")
    head, body = figure.subfigures(2, 1, height_ratios=(points / 72.0, height))
    left = 6.0 / (72.0 * width)
    head.text(left, 1 - 6.0 / points, title, weight="bold", fontsize=11.5, va="top")
    for place, (line, how) in enumerate(lines):
        head.text(left, 1 - (TITLE_LINE + 4.0 + LINE * place) / points, line, fontsize=9, va="top", **how)
    return figure, body


def require_bands(dataset: xr.Dataset) -> None:
    """Refuse draws.

    Raises
    ------
    DataError
        With the remedy.
    """
    if "mean" not in dataset:
        raise DataError("figures show bands, and these are draws: ask for the quantity with summary='bands'")


def period(dataset: xr.Dataset) -> str:
    """The word for the period of the returns: month, week or day."""
    return PERIODS[dataset.attrs.get("frequency", "monthly")]


def band_words(dataset: Labelled) -> str:
    """What the bands contain, for example ``90% of the posterior``."""
    return f"{100 * float(dataset.attrs['prob']):g}% of the posterior"


def doubts(results: Mapping[str, Labelled]) -> list[str]:
    """A sentence for each result whose fit is not ``ok`` or whose bands are uncalibrated, or no posterior's at all."""
    sentences = []
    for name, dataset in results.items():
        status = dataset.attrs.get("status", "unknown")
        uncalibrated = dataset.attrs.get("bands") == "uncalibrated"
        if status != "ok" or uncalibrated:
            advice = "its bands are UNCALIBRATED" if uncalibrated else "read its bands with care"
            sentences.append(f"{name}: fit status {status.upper()}, {advice}")
        if dataset.attrs.get("likelihood_kind") == "pseudo-likelihood":
            sentences.append(f"{name}: {PSEUDO}")
    return sentences


def set_title(axes: Axes, text: str, subtitle: str, results: Mapping[str, Labelled], wrap: int = 78) -> None:
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
