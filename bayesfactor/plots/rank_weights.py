"""How much of a long-short portfolio each stock is, by its rank."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from bayesfactor.plots.style import COLOURS, STYLE, new_figure, set_title, zero_line

PERCENT = 100.0
FORMS = ("exponential", "softmax", "linear", "equal")
LINES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))  # told apart in grey


def plot_rank_weights(
    characteristics: Mapping[str, ArrayLike] | None = None, *, form: str = "exponential", n_stocks: int = 3000
) -> Figure:
    """Net portfolio weight against rank: the forms beside each other, and one form for several distributions.

    Feng, Polson and Xu (2020), figure 5.

    Parameters
    ----------
    characteristics : Name to the values (stock,) of a month, in any order and finite: deep characteristics, say; at
        most four. By default the quantiles of a normal, a log-normal and a uniform distribution.
    form : Form of the weights on the right, see ``components.rank_weights``; not "value".
    n_stocks : How many stocks the quantiles stand for.

    Returns
    -------
    Figure. Left: the forms that need no sizes, normal characteristics. Right: `form` for each of `characteristics`. In
    % of a leg, on one scale; what goes beyond it has its largest weight in the legend, beside the number of stocks that
    an equally weighted leg as concentrated would have.
    """
    share = (np.arange(n_stocks) + 0.5) / n_stocks
    normal = ndtri(share)
    if characteristics is None:
        characteristics = {"normal": normal, "log-normal": np.exp(normal), "uniform": share}
    with mpl.rc_context(STYLE):
        figure, (left, right) = new_figure(10.0, 5.2, columns=2)
        reach = [_line(left, normal, name, name, index) for index, name in enumerate(FORMS)]
        for index, (name, values) in enumerate(characteristics.items()):
            reach.append(_line(right, np.sort(np.asarray(values, dtype=float)), form, name, index))
        set_title(left, "Weights by form", f"{n_stocks:,} stocks, normal characteristics.", {})
        set_title(right, f"Weights by distribution: {form}", "Skewness and bounds survive standardising.", {})
        left.set_ylabel("net weight (% of a leg)")
        for axes in (left, right):
            zero_line(axes, horizontal=True)
            axes.set_xlim(0.0, 100.0)
            axes.set_ylim(-1.2 * max(reach), 1.2 * max(reach))
            axes.set_xlabel("rank by the characteristic (% of stocks below)")
            axes.legend(
                loc="upper left",
                bbox_to_anchor=(-0.02, -0.15),
                title="effective number of stocks, largest weight",
                title_fontsize=9,
                alignment="left",
                handlelength=3.2,
            )
    return figure


def _line(axes: Axes, ordered: NDArray[np.float64], form: str, name: str, index: int) -> float:
    """One line, and how far all but the last hundredth of its weights reach."""
    import jax.numpy as jnp

    from bayesfactor.components.rank_weights import effective_number, rank_weights

    legs = rank_weights(jnp.asarray(ordered)[:, None], jnp.ones(ordered.size, bool), form)
    net = PERCENT * np.asarray(legs.net[:, 0])
    long, short = (float(effective_number(leg)[0]) for leg in legs)
    at = PERCENT * (np.arange(ordered.size) + 0.5) / ordered.size
    label = f"{name}: long {long:,.0f}, {net.max():.2f}%; short {short:,.0f}, {-net.min():.2f}%"
    axes.plot(at, net, color=COLOURS[index], linestyle=LINES[index], linewidth=1.8, label=label)
    return float(np.quantile(np.abs(net), 0.99))
