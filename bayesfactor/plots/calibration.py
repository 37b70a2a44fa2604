"""Ranks of the truth among posterior draws: is a model calibrated."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from bayesfactor.plots.style import COLOURS, LIGHT, RED, STYLE, new_figure, set_title, zero_line


def plot_rank_ecdf(result: xr.Dataset) -> Figure:
    """ECDF of ranks less that of a uniform law, one line a quantity, with the band that holds all of a uniform one.

    Parameters
    ----------
    result : Of ``CalibrationResult.ecdf()``.

    Returns
    -------
    Figure. Lines that leave the band are coloured and named: above it in the middle the bands are biased upwards, an
    S from below to above is of bands too wide, from above to below of bands too narrow.
    """
    uniform = result["uniform"].values
    lower, upper = result["lower"].values - uniform, result["upper"].values - uniform
    lines = result["ecdf"].values - uniform
    tolerance = 1e-9
    # A line's largest distance from the band, in units of the band.
    beyond = np.maximum(lines - upper, lower - lines)
    strays = np.flatnonzero((beyond > tolerance).any(axis=1))
    strays = strays[np.argsort(-beyond[strays].max(axis=1), kind="stable")]
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_figure(7.6, 4.4)
        axes.fill_between(uniform, lower, upper, step="mid", color=LIGHT, alpha=0.7, linewidth=0, label="uniform ranks")
        for k in range(len(lines)):
            if k not in strays:
                axes.plot(uniform, lines[k], color="#555555", linewidth=0.8, alpha=0.8)
        for place, stray in enumerate(strays):
            told = place < len(COLOURS)
            label = str(result["quantity"].values[stray]) if told else None
            axes.plot(uniform, lines[stray], color=COLOURS[place] if told else RED, linewidth=1.8, label=label)
        zero_line(axes, horizontal=True)
        axes.set_xlim(0, 1)
        axes.set_xlabel("rank of the truth among the draws, as a share")
        axes.set_ylabel("share of ranks at or below,\nless that of uniform ranks")
        attrs = result.attrs
        outside = f"{len(strays)} of {len(lines)} quantities leave the band" if len(strays) else "all are inside"
        set_title(
            axes,
            f"Calibration: {attrs['status']}",
            f"{attrs['model']} by {attrs['inference']}. {attrs['n_fits']} fits; the band holds all of "
            f"{len(lines)} uniform ECDFs with probability {1 - attrs['family_wise']:.0%}: {outside}.",
            {},
            wrap=88,
        )
        figure.legend(loc="outside lower center", ncols=3)
    return figure
