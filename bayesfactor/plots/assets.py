"""Test assets against sorted factors: alphas, loadings, Sharpe ratios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from bayesfactor.plots.rows import (
    PERCENT,
    ROW_HEIGHT,
    bands_by_row,
    hide_empty,
    leaves_out_zero,
    name_rows,
    offsets,
    small_multiples,
)
from bayesfactor.plots.style import (
    RED,
    STYLE,
    band_words,
    headed_figure,
    new_figure,
    period,
    require_bands,
    set_title,
    words,
    zero_line,
)

COLUMNS = 4  # factors side by side


def plot_alphas(results: Mapping[str, xr.Dataset], *, sort_by: str | None = None, top: int = 40) -> Figure:
    """Forest of alphas: one row a test asset, models side by side.

    Parameters
    ----------
    results : Name of the model to the result of ``alphas``, of the same test assets; at most four.
    sort_by : Name of the model whose means order the rows, largest on top; the first by default.
    top : How many assets to show: of more, the highest and the lowest.

    Returns
    -------
    Figure. Bands in % per period.
    """
    for dataset in results.values():
        require_bands(dataset)
    first = results[sort_by if sort_by is not None else next(iter(results))]
    order = np.argsort(first["mean"].values, kind="stable")
    count = len(order)
    if count > top:
        order = np.r_[order[: top // 2], order[count - (top - top // 2) :]]
    labels = first["test_asset"].values[order]
    out = {name: f"{leaves_out_zero(dataset).sum()} of {count}" for name, dataset in results.items()}
    told = ", ".join(out.values()) if len(out) == 1 else ", ".join(f"{name} {share}" for name, share in out.items())
    subtitle = f"Points: posterior mean. Bars: {band_words(first)}. Bands that leave out zero: {told}."
    subtitle += f" Shown: the {top // 2} lowest and {top - top // 2} highest." if count > top else ""
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_figure(8.0, 1.7 + ROW_HEIGHT * len(labels) * max(1.0, 0.6 * len(results)))
        places = offsets(len(results))
        for index, (name, dataset) in enumerate(results.items()):
            rows = dataset.sel(test_asset=labels)
            bands_by_row(axes, rows, index, name, offset=places[index], scale=PERCENT)
        name_rows(axes, [words(label) for label in labels])
        axes.set_xlabel(f"alpha (% per {period(first)})")
        zero_line(axes)
        set_title(axes, "What factors leave unpriced", subtitle, results)
        if len(results) > 1:
            figure.legend(loc="outside lower center", ncols=len(results))
    return figure


def plot_loadings(result: xr.Dataset, *, name: str = "", assets: Sequence[str] | None = None) -> Figure:
    """Loadings of the test assets with their bands, one panel a factor.

    Parameters
    ----------
    result : Result of ``loadings``.
    name : Name of the model, for the title.
    assets : Which test assets to show, from the top; the first 40 by default.

    Returns
    -------
    Figure. Every panel has a scale of its own.
    """
    require_bands(result)
    every = result["test_asset"].values
    labels = list(every[:40] if assets is None else assets)[::-1]
    shown = result.sel(test_asset=labels)
    subtitle = f"Points: posterior mean. Bars: {band_words(result)}."
    subtitle += f" Shown: {len(labels)} of {len(every)} test assets." if len(labels) < len(every) else ""
    with mpl.rc_context(STYLE):
        factors = result["priced_factor"].values
        title = "How test assets load on the factors" + (f": {name}" if name else "")
        rows, columns = small_multiples(len(factors), COLUMNS)
        size = (max(7.0, 1.6 + 2.2 * columns), 0.4 + rows * (0.5 + ROW_HEIGHT * len(labels)))
        figure, body = headed_figure(*size, title, subtitle, {name or "this model": result})
        grid = body.subplots(rows, columns, squeeze=False, sharey=True).ravel()
        for axes, factor in zip(grid, factors, strict=False):
            bands_by_row(axes, shown.sel(priced_factor=factor), 0, str(factor))
            axes.set_title(words(factor), fontsize=10)
            zero_line(axes)
        for axes in grid:
            name_rows(axes, [words(label) for label in labels])
        hide_empty(grid, columns)
        body.supxlabel("loading", fontsize=9.5)
    return figure


def plot_sharpe_ratios(table: pd.DataFrame, *, name: str = "") -> Figure:
    """Annual Sharpe ratios: of each factor, of all benchmarks, with the deep factors, and the gain, beside their prior.

    Parameters
    ----------
    table : Result of ``sharpe_ratios``.
    name : Name of the model, for the title.

    Returns
    -------
    Figure. A maximal Sharpe ratio cannot fall when factors are added, so that a gain is positive whatever the data say:
    what they say is its distance from the prior mean, marked in red.
    """
    last = [label for label in ("benchmarks", "all", "gain") if label in table.index]
    labels = [*(label for label in table.index if label not in last), *last][::-1]
    shown = table.loc[labels, ["mean", "lower", "upper", "prior_mean"]].rename_axis("portfolio").to_xarray()
    names = {"benchmarks": "benchmarks together", "all": "with the deep factors", "gain": "gain of the deep factors"}
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_figure(8.0, 1.9 + ROW_HEIGHT * len(labels))
        bands_by_row(axes, shown, 0, "posterior mean", positive=True)
        at = np.arange(len(labels))
        axes.plot(shown["prior_mean"], at, "|", color=RED, ms=11, mew=2.2, label="prior mean", zorder=5)
        name_rows(axes, [names.get(label, words(label)) for label in labels])
        zero_line(axes)
        axes.set_xlabel("Sharpe ratio, annual")
        subtitle = (
            f"Bars: {band_words(table)}. The largest ratio cannot fall when factors are added: read a gain against"
        )
        subtitle += " its prior mean."
        title = "What deep factors add to the Sharpe ratio" + (f": {name}" if name else "")
        set_title(axes, title, subtitle, {name or "this model": table})
        figure.legend(loc="outside lower center", ncols=2)
    return figure
