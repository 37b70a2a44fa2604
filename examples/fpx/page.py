"""The page of results: FPX's tables in their layout, and what they can and cannot say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from examples.common import page as markdown
from examples.common.draws import PROB, bounds

from .markets import THREE
from .tables import AT_RANDOM, LEARNED, MEASURES

if TYPE_CHECKING:
    from .study import Found, Protocol

READING = (
    "Layer 1 sorts on linear combinations of characteristics, every further one is a hidden layer. Numbers are "
    f"posterior means with {100 * PROB:g}% bands; returns are excess, decimal per month. {markdown.MARKS}"
)
LIMITS = """\
- **Factors were learned on the months by which most tables judge them.** R2, pricing errors, Sharpe ratios and
  p-values of months "learned from" are too good, as in the paper. Months marked "later" were not seen.
- **Bands are of the factors.** For each draw of the factors, loadings and average residuals are least squares, as the
  benchmark's are. A band of a pricing error is no band of an alpha: alphas with their own uncertainty are in "Alphas as
  parameters".
- **A pricing error is positive by noise alone.** An average over T months of a residual of sd s has an error of
  s/sqrt(T). Added factors lower s, and so the pricing error, whether they price anything or not: rows "at random" say
  what as many factors do that are sorted on random directions, with 90% of such factors.
- **The case shown was chosen** among all cells of the grid by the assets learned from, as in the paper; no table allows
  for the choice.
- **Bands of fits that are not ok** are what those draws say, and may be too narrow: the status is beside every
  number."""


def page(results: list[Found], notes: list[str]) -> str:
    """Markdown, with links to tables and figures beside it."""
    parts = ["# Deep sorted factors on real data, after Feng, Polson and Xu (2020)", *notes, READING]
    parts += ["## What this can and cannot say", LIMITS]
    for found in results:
        parts += _of_market(found)
    parts += ["## Figure 5: rank weights", "![Figure 5](figures/figure_5.png)"]
    return "\n\n".join(parts) + "\n"


def _grid(protocol: Protocol) -> str:
    penalties = ", ".join(f"{penalty:g}" for penalty in protocol.penalties)
    return (
        f"Grid: layers {markdown.listed(protocol.layers)}; deep factors {markdown.listed(protocol.n_factors)}; "
        f"lambda {penalties}; `{protocol.inference!r}`."
    )


def _of_market(found: Found) -> list[str]:
    market, protocol, data = found.market, found.protocol, found.tables
    chosen, name = found.chosen, market.name
    fits = data["fits"]
    n_months = len(market.panels[THREE].times)
    parts = [
        f"## {market.title}",
        market.about,
        _grid(protocol),
        f"{markdown.statuses(fits)} Why they are not ok, by how many fits say it: "
        f"{markdown.reasons(fits)}. All in [the table of fits](tables/{name}_fits.csv).",
        f"**What {n_months} months are.** An annual Sharpe ratio estimated from them has a standard error of about "
        f"{(12 / n_months) ** 0.5:.2f}.",
    ]
    measures = data["measures"]
    shown = measures[(measures["benchmark"] == THREE) & (measures["lambda"] == protocol.penalties[0])]
    for measure, title in MEASURES.items():
        parts += [f"### {title}", _changes(shown[shown["measure"] == measure], measure)]
    parts += [f"All cells, values and bands: [measures](tables/{name}_measures.csv)."]
    parts += ["### Table 5: Sharpe ratios a year", _sharpe(data["sharpe"], protocol.penalties[0])]
    parts += [
        "`sample` is the best portfolio of this sample, benchmark then all factors. `posterior` is of the true maximum "
        "given the months learned from; its gain is positive in every draw: read it against the gain before "
        "any data (`prior`). `p` is of the squared-Sharpe test, median over draws; on months learned from it is no "
        "valid test."
    ]
    parts += [
        "### Table 5: anomalies with a significant alpha at 5%",
        _anomalies(data["anomalies"], protocol.penalties[0]),
        f"All of them: [Sharpe ratios](tables/{name}_sharpe.csv), [anomalies](tables/{name}_anomalies.csv).",
    ]
    if "alphas" in data:
        parts += ["### Alphas as parameters", _alphas(data["alphas"])]
    if len(protocol.penalties) > 1:
        parts += ["### Appendix B: other lambda", _penalties(measures)]
    parts += [
        f"### Table 6: what the deep characteristics are made of ({_cell(chosen)})",
        _shares(data["characteristics"]),
        "Shares of what monthly regressions on all characteristics explain; "
        f"[all of them](tables/{name}_characteristics.csv).",
        "### Figures",
    ]
    parts += [f"![{figure}](figures/{name}_{figure}.png)" for figure in ("figure_7", "figure_8", "figure_9")]
    return parts


def _changes(rows: pd.DataFrame, measure: str) -> str:
    """FPX's layout: the benchmark's value, and below it changes by factors and layers; one block a set of assets."""
    layers = sorted(rows["layers"].unique())
    table = [["assets", "months", "factors", *(f"L = {value}" for value in layers)]]
    for (assets, months), block in rows.groupby(["assets", "months"], sort=False):
        role = "learned" if block["role"].iloc[0] == "train" else "test"
        own = block["benchmark_value"].iloc[0]
        table.append([f"{assets} ({role})", months, "benchmark", f"{own:.3g}", *[""] * (len(layers) - 1)])
        for (n_factors, sorted_on), row in block.groupby(["n_factors", "sorted_on"]):
            cells = row.set_index("layers")
            if sorted_on == AT_RANDOM:
                told = _change(cells.assign(status="", bands=""), layers[0], measure)
                table.append(["", "", f"+ {n_factors} at random", told, *[""] * (len(layers) - 1)])
            else:
                table.append(["", "", f"+ {n_factors}", *(_change(cells, value, measure) for value in layers)])
    return markdown.table(table)


def _change(cells: pd.DataFrame, layers: int, measure: str) -> str:
    if layers not in cells.index:
        return "no fit"
    row = cells.loc[layers]
    if measure == "cross_sectional_r2":  # a benchmark's near zero makes a percentage meaningless
        return f"{row['mean']:.2f} [{row['lower']:.2f}, {row['upper']:.2f}]{markdown.mark(row)}"
    change, lower, upper = (100 * row[f"change_{name}"] for name in ("mean", "lower", "upper"))
    return f"{change:+.1f}% [{lower:+.1f}, {upper:+.1f}]{markdown.mark(row)}"


def _sharpe(rows: pd.DataFrame, penalty: float) -> str:
    table = [["benchmark", "months", "L", "P", "sample", "p", "posterior: benchmark", "all", "gain", "prior gain"]]
    for _, row in (
        rows[rows["lambda"] == penalty].sort_values(["benchmark", "months", "layers", "n_factors"]).iterrows()
    ):
        sample = f"{row['sample_benchmark']:.2f}, {row['sample_all_mean']:.2f} {bounds(row, 'sample_all')}"
        posterior = [""] * 4
        if pd.notna(row.get("gain_mean")):
            posterior = [f"{row[f'{name}_mean']:.2f} {bounds(row, name)}" for name in ("benchmarks", "all", "gain")]
            posterior.append(f"{row['gain_prior_mean']:.2f}")
        cell = [row["benchmark"], row["months"], f"{row['layers']}", f"{row['n_factors']}"]
        table.append([*cell, sample, f"{row['p_value_median']:.3f}{markdown.mark(row)}", *posterior])
    return markdown.table(table)


def _anomalies(rows: pd.DataFrame, penalty: float) -> str:
    shown = rows[(rows["lambda"] == penalty) & (rows["errors"] == "ols")]
    published = rows[(rows["lambda"] == penalty) & (rows["errors"] == "as_published")]
    keys = ["benchmark", "months", "layers", "n_factors", "model"]
    both = shown.merge(published[[*keys, "significant"]], on=keys, suffixes=("", "_published"))
    table = [
        ["benchmark", "months", "L", "P", "benchmark alone", "with deep factors", "the same, t of FPX", "by chance"]
    ]
    for key, block in both.groupby(keys[:-1]):
        own, deep = (block[block["model"] == name].iloc[0] for name in ("benchmark", "with deep factors"))
        told = f"{deep['significant']:.1f} {bounds(deep, 'significant', digits=0)}{markdown.mark(deep)}"
        alone = f"{own['significant']:.0f} of {own['n_anomalies']:.0f}"
        published_counts = f"{own['significant_published']:.0f}, then {deep['significant_published']:.1f}"
        table.append([*map(str, key), alone, told, published_counts, f"{own['by_chance']:.1f}"])
    return markdown.table(table)


def _alphas(rows: pd.DataFrame) -> str:
    table = [["assets", "role", "bands beyond zero", "mean abs. alpha (bp)", "mean sd (bp)", "P(all within 10 bp)"]]
    for _, row in rows.iterrows():
        table.append(
            [
                row["assets"] + markdown.mark(row),
                row["role"],
                f"{row['bands_beyond_zero']} of {row['n_assets']}",
                f"{1e4 * row['mean_abs_alpha']:.1f}",
                f"{1e4 * row['mean_sd']:.1f}",
                f"{row['prob_all_within_10bp']:.3f}",
            ]
        )
    return markdown.table(table)


def _penalties(measures: pd.DataFrame) -> str:
    rows = measures[
        (measures["benchmark"] == THREE)
        & (measures["role"] == "train")
        & (measures["months"] == "learned from")
        & (measures["sorted_on"] == LEARNED)
    ]
    penalties = sorted(rows["lambda"].unique())
    table = [["measure", "L", "P", *(f"lambda = {value:g}" for value in penalties)]]
    for (measure, layers, n_factors), block in rows.groupby(["measure", "layers", "n_factors"], sort=False):
        cells = block.set_index("lambda")
        table.append(
            [
                measure.replace("_", " "),
                str(layers),
                str(n_factors),
                *(_change(cells, one, measure) for one in penalties),
            ]
        )
    return markdown.table(table)


def _shares(rows: pd.DataFrame, top: int = 8) -> str:
    table = [["factor", "characteristic", "share", "R2 of the regressions"]]
    for factor, block in rows.groupby("factor"):
        for place, (_, row) in enumerate(block.head(top).iterrows()):
            share = f"{100 * row['share_mean']:.1f}% [{100 * row['share_lower']:.1f}, {100 * row['share_upper']:.1f}]"
            first = place == 0
            table.append(
                [
                    str(factor) + markdown.mark(row) if first else "",
                    row["characteristic"],
                    share,
                    f"{row['r2']:.2f}" if first else "",
                ]
            )
    return markdown.table(table)


def _cell(cell: tuple) -> str:
    layers, n_factors, penalty, benchmark = cell
    return f"{benchmark}, L = {layers}, P = {n_factors}, lambda = {penalty:g}"
