"""Scores month by month: who predicted which month better."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from bayesfactor.evaluation.matching import FEW_MONTHS, calendar_months, sample_words
from bayesfactor.plots.style import COLOURS, GREY, PERIODS, STYLE, new_figure, set_title, zero_line


def plot_month_scores(results: Mapping[str, xr.Dataset], *, reference: str | None = None) -> Figure:
    """Difference in log score from a reference model, period by period and summed up.

    Parameters
    ----------
    results : Name of the model to the result of ``month_scores``; two to five models with the same months.
    reference : The model the others are compared with; the last by default.

    Returns
    -------
    Figure. Left: one bar a month, in nats; right: the running sum. Above zero the named model is better.
    """
    reference = list(results)[-1] if reference is None else reference
    base = results[reference]["score"]
    others = [name for name in results if name != reference]
    times, frequency = base.indexes["time"], base.attrs.get("frequency", "monthly")
    months = [np.datetime_as_string(t, unit="M" if frequency == "monthly" else "D") for t in base["time"].values]
    at = np.arange(len(months))
    width = 0.7 / len(others)
    with mpl.rc_context(STYLE):
        figure, (bars, total) = new_figure(10.0, 4.2, columns=2, width_ratios=(1.5, 1.0))
        for index, name in enumerate(others):
            difference = (results[name]["score"].sel(time=base["time"]) - base).values
            shift = (index - (len(others) - 1) / 2) * width
            bars.bar(at + shift, difference, width, color=COLOURS[index], label=name)
            total.plot(at, np.cumsum(difference), "-o", ms=4, color=COLOURS[index], label=name)
        for axes in (bars, total):
            zero_line(axes, horizontal=True)
            shown = at[:: max(1, -(-len(months) // 8))]
            axes.set_xticks(shown, [months[i] for i in shown], rotation=35, ha="right", color=GREY)
        bars.set_ylabel(f"log score minus that of {reference} (nats)")
        total.set_ylabel("running sum (nats)")
        few, sample = calendar_months(times) < FEW_MONTHS, sample_words(times, frequency)
        verdict = f"INCONCLUSIVE: {sample} say little." if few else f"{sample}."
        set_title(
            bars,
            f"Which model predicted each {PERIODS[frequency]} better",
            f"Above zero: better than {reference}. {verdict}",
            {},
            wrap=90,
        )
        total.set_title("Running sum", fontsize=10)
        bars.grid(visible=False, axis="x")
        figure.legend(*bars.get_legend_handles_labels(), loc="outside lower center", ncols=len(others))
    return figure
