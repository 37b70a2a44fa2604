"""The page of results, and what it can and cannot say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from examples.common import page as markdown
from examples.common.draws import PROB, bounds

from .markets import LATER, LEARNED
from .tables import MEASURES

if TYPE_CHECKING:
    from .study import Found

READING = (
    "Returns of stocks are explained by deep factors, sorted from the same stocks, and benchmark factors of the same "
    f"month, with betas that are functions of characteristics. Numbers are posterior means with {100 * PROB:g}% bands; "
    f"returns are excess, decimal per month. {markdown.MARKS} A mark `p` says that it is a pseudo-likelihood."
)
LIMITS = """\
- **Pseudo-likelihood.** Stocks are on both sides, and what is fitted is no density of their returns; residuals of a
  month are taken as independent, which they are not. Its bands say what the loss cannot tell apart, and are too narrow.
- **Later months are explained given their factors, not predicted.** "Later" says that neither sorts nor betas have
  seen these months. "Never learned from" says it of the assets, whose returns are in no deep factor either.
- **What more factors do by chance** is in the rows "at random": as many factors, sorted on random directions, with
  betas fitted to them. They, the three factors and the market have betas linear in characteristics, drawn exactly.
- **The mean of what draws explain** ("mean") is better than the draws are: it is an average over many sorts and
  betas, no model of two factors. Compare draws with draws, means with means; the control "at random" has both.
- **Gains** are of means, over those of the three factors with the same prior of betas. Their error is from the spread
  of months, and P the probability that the expected gain is positive: the posterior does not know how few months there
  are.
- **Bands of fits that are not ok** are what those draws say, and may be too narrow: the status is beside every
  number."""


def page(results: list[Found], notes: list[str]) -> str:
    """Markdown, with links to tables and figures beside it."""
    title = "# Sorted factors and nonlinear betas of stocks, after Agarwal, Zouiten and Tulsian"
    parts = [title, *notes, READING, "## What this can and cannot say", LIMITS]
    for found in results:
        parts += _of_market(found)
    return "\n\n".join(parts) + "\n"


def _of_market(found: Found) -> list[str]:
    market, data, name = found.market, found.tables, found.market.name
    fits = data["fits"]
    n_months = {span: len(panel.times) for span, panel in ((LEARNED, market.learned), (LATER, market.later))}
    return [
        f"## {market.title}",
        market.about,
        f"{n_months[LEARNED]} months learned from, {n_months[LATER]} later. `{found.protocol.inference!r}`. "
        f"{markdown.statuses(fits)} Why they are not ok, by how many fits say it: {markdown.reasons(fits)}. All in "
        f"[the table of fits](tables/{name}_fits.csv).",
        "### Total R2 against the market",
        *_total_r2(data["measures"]),
        f"All of it, with the other losses: [measures](tables/{name}_measures.csv).",
        "### Losses compared",
        _losses(data["measures"]),
        f"Of {market.assets}: change of each loss of what is left, mean over draws, against the three factors with the "
        "same prior of betas; by the loss that was fitted.",
        f"![Figure 3](figures/{name}_figure_3.png)",
        f"### Importance ({found.shown.title})",
        _importance(data["importance"]),
        "Mean absolute gradient of the standardised deep characteristics, mean over factors (AZT have their level and "
        f"scale in it); all, and by factor: [importance](tables/{name}_importance.csv).",
        f"![Figure 2](figures/{name}_figure_2.png)",
        f"### Factor returns ({found.shown.title})",
        _factors(data["factors"]),
        "A deep factor has no sign of its own: it is turned to earn a positive mean in the months learned from. "
        "Agreement: mean correlation over months of the draws of a deep factor with their mean. Stocks: effective "
        f"number in the long and the short leg. All of it: [factors](tables/{name}_factors.csv).",
        f"![Figure 1](figures/{name}_figure_1.png)",
    ]


def mark(row: pd.Series) -> str:
    """The doubt in the fit behind a number, and that it is of a pseudo-likelihood."""
    kind = " `p`" if row["likelihood"] == "pseudo-likelihood" else ""
    return markdown.mark(row) + kind


def _total_r2(rows: pd.DataFrame) -> list[str]:
    """A table for each set of assets."""
    tables = []
    for (assets, role), block in rows[rows["measure"] == "total_r2"].groupby(["assets", "role"], sort=False):
        spans = list(block["months"].unique())
        named = {LEARNED: "months learned from", LATER: "later months"}
        head = [f"{named[span]}: {what}" for span in spans for what in ("draws", "mean", "gain")]
        table = [["model", *head]]
        for model, own in block.groupby("model", sort=False):
            cells = own.set_index("months")
            table.append([model + mark(own.iloc[0]), *(told for span in spans for told in _r2(cells.loc[span]))])
        tables += [f"**{assets}** ({role})", markdown.table(table)]
    return tables


def _r2(row: pd.Series) -> list[str]:
    """Band over draws; of their mean; its gain with error over months and probability."""
    lower, upper = 100 * row["lower"], 100 * row["upper"]
    told = [f"{100 * row['mean']:.1f}% [{lower:.1f}, {upper:.1f}]", f"{100 * row['of_mean']:.1f}%"]
    if pd.isna(row["gain"]):
        return [*told, ""]
    return [*told, f"{100 * row['gain']:+.1f} ± {100 * row['gain_se']:.1f}, P {row['prob_gain']:.2f}"]


def _losses(rows: pd.DataFrame) -> str:
    shown = [name for name in MEASURES if name != "total_r2"]
    rows = rows[(rows["role"] == LEARNED) & (rows["model"] != rows["benchmark"])]
    table = [["model", "months", *(MEASURES[name] for name in shown)]]
    for (model, months), block in rows.groupby(["model", "months"], sort=False):
        cells = block.set_index("measure")
        told = (_change(cells.loc[name]) for name in shown)
        table.append([str(model) + mark(block.iloc[0]), str(months), *told])
    return markdown.table(table)


def _change(row: pd.Series) -> str:
    change, lower, upper = (100 * (row[name] / row["benchmark_mean"] - 1) for name in ("mean", "lower", "upper"))
    return f"{change:+.1f}% [{lower:+.1f}, {upper:+.1f}]"


def _importance(rows: pd.DataFrame, top: int = 8) -> str:
    table = [["characteristic", "importance", "at random", "rank", "P(among the first two)"]]
    for _, row in rows[rows["factor"] == "mean"].head(top).iterrows():
        told = f"{row['mean']:.2f} [{row['lower']:.2f}, {row['upper']:.2f}]{mark(row)}"
        chance = f"{row['at_random_mean']:.2f} {bounds(row, 'at_random')}"
        rank = f"{row['rank_lower']:.0f} to {row['rank_upper']:.0f}"
        table.append([row["characteristic"], told, chance, rank, f"{row['prob_top']:.2f}"])
    return markdown.table(table)


def _factors(rows: pd.DataFrame) -> str:
    table = [["factor", "months", "% a year", "sd a year", "Sharpe ratio", "a unit grew to", "agreement", "stocks"]]
    for _, row in rows.iterrows():
        deep = not np.isnan(row["agreement"])
        table.append(
            [
                row["factor"] + mark(row),
                row["months"],
                _value(row, "mean_return", deep, 100, 1),
                f"{100 * row['sd_mean']:.1f}",
                _value(row, "sharpe", deep, 1, 2),
                _value(row, "growth", deep, 1, 2),
                f"{row['agreement']:.2f}" if deep else "",
                f"{row['effective_long']:.0f}, {row['effective_short']:.0f}" if deep else "",
            ]
        )
    return markdown.table(table)


def _value(row: pd.Series, name: str, deep: bool, scale: float, digits: int) -> str:
    mean, lower, upper = (scale * row[f"{name}_{part}"] for part in ("mean", "lower", "upper"))
    told = f"{mean:.{digits}f}"
    return f"{told} [{lower:.{digits}f}, {upper:.{digits}f}]" if deep else told
