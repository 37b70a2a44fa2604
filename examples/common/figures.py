"""Frames of figures: axes, legend with the doubt in a fit, heading."""

from __future__ import annotations

import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bayesfactor.plots.style import RED

from .draws import PROB
from .grid import Outcome

BAND = f"{100 * PROB:g}% of the posterior"


def axes_of(rows: int, columns: int, width: float, height: float, sharey: bool = False) -> tuple[Figure, np.ndarray]:
    """A figure and its axes (row, column), each so large in inches."""
    figure = Figure(figsize=(width * columns, 1.4 + height * rows), layout="compressed")
    return figure, figure.subplots(rows, columns, squeeze=False, sharey=sharey)


def legend(figure: Figure, axes: Axes, outcome: Outcome, ncols: int = 3) -> None:
    """What the marks are, and the doubt in the fit."""
    doubt = None
    if outcome.status != "ok":
        advice = "its bands are UNCALIBRATED" if outcome.bands else "read its bands with care"
        doubt = f"fit status {outcome.status.upper()}, {advice}"
    handles = axes.get_legend_handles_labels()
    made = figure.legend(*handles, loc="outside lower center", ncols=ncols, title=doubt, title_fontsize=9)
    made.get_title().set(color=RED, weight="bold")


def heading(figure: Figure, title: str, subtitle: str) -> None:
    """Title, and below it what the marks mean."""
    wrapped = textwrap.fill(subtitle, int(14 * figure.get_figwidth()))
    figure.suptitle(f"{title}\n{wrapped}", x=0.01, ha="left", fontsize=10)
