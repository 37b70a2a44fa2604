"""From a grid of fits to a folder of tables, figures and a page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

import bayesfactor as bf
from examples.common import draws, grid
from examples.common.grid import Outcome
from examples.common.page import save_figures, save_tables

from . import figures, page, tables
from .cells import Cell
from .markets import MARKET, THREE, Market


class Protocol(NamedTuple):
    """What is computed.

    Attributes
    ----------
    layers, n_factors, penalties : the grid on the three factors; the first penalty is the one that tables show.
    market_too : whether the first penalty's grid is fitted on the market alone as well (FPX table 5, left).
    inference : `NUTS` or `SVI`.
    """

    layers: tuple[int, ...]
    n_factors: tuple[int, ...]
    penalties: tuple[float, ...]
    market_too: bool
    inference: Any

    def cells(self) -> list[Cell]:
        """The grid, largest models first so that processes end together."""
        shapes = [(layers, n) for layers in self.layers for n in self.n_factors]
        cells = [Cell(*shape, penalty, THREE) for penalty in self.penalties for shape in shapes]
        if self.market_too:
            cells += [Cell(*shape, self.penalties[0], MARKET) for shape in shapes]
        return sorted(cells, key=lambda cell: (-cell.layers * cell.n_factors, cell))


class Found(NamedTuple):
    """The tables of one data set, and the cell that its figures show."""

    market: Market
    protocol: Protocol
    chosen: Cell
    tables: dict[str, pd.DataFrame]


def run(market: Market, protocol: Protocol, out: Path, workers: int, tell: Callable[[str], None] = print) -> Found:
    """Fit the grid of one data set, choose FPX's benchmark case, and write tables and figures.

    Raises
    ------
    ConvergenceError
        When no cell of the first penalty on the three factors could be fitted.
    """
    folder = out / "fits" / market.name
    cells = protocol.cells()
    outcomes = grid.run(market, cells, protocol.inference, folder, workers, tell)
    done = {cell: outcome for cell, outcome in outcomes.items() if outcome.fit is not None}
    if not done:
        raise bf.errors.ConvergenceError(f"no cell of {market.name} could be fitted: {outcomes[cells[0]].error}")
    factors = {cell: tables.factors_of(market, outcome) for cell, outcome in done.items()}
    each = [(market, outcome, factors[cell]) for cell, outcome in done.items()]
    measured = [tables.measures(*one) for one in each]
    for cell, outcome in done.items():
        if (cell.layers, cell.penalty, cell.benchmark) == (protocol.layers[0], protocol.penalties[0], THREE):
            control = draws.sorted_at_random(outcome)
            measured.append(tables.measures(market, control, tables.factors_of(market, control), tables.AT_RANDOM))
    found = {"measures": pd.concat(measured, ignore_index=True)}
    found["sharpe"] = pd.concat([tables.sharpe(*one) for one in each], ignore_index=True)
    found["anomalies"] = pd.concat([tables.anomalies(*one) for one in each], ignore_index=True)
    chosen = _chosen(market, done, found["measures"], protocol.penalties[0])
    tell(f"{market.name}: least pricing error on the assets learned from by {chosen.file}")

    with_alpha = chosen._replace(penalty=None)
    outcomes |= grid.run(market, [with_alpha], protocol.inference, folder, 0, tell)
    if outcomes[with_alpha].fit is not None:
        found["alphas"] = tables.alphas(market, outcomes[with_alpha])
    every = max(1, len(market.panels[THREE].times) // 60)
    composed = tables.explained_variation(market, done[chosen].fit, every=every)
    found["characteristics"] = tables.share_rows(market, done[chosen], composed)
    found = {"fits": tables.fit_rows(market, outcomes), **found}
    save_tables(found, out, market.name)
    drawn = {
        "figure_7": figures.implied_returns(market, done[chosen], factors[chosen]),
        "figure_8": figures.on_size_and_value(market, done[chosen], composed),
        "figure_9": figures.objective(market, done, factors),
    }
    save_figures({f"{market.name}_{name}": figure for name, figure in drawn.items()}, out)
    return Found(market, protocol, chosen, found)


def write(results: list[Found], out: Path, notes: list[str]) -> Path:
    """Figure 5 and the page."""
    save_figures({"figure_5": figures.rank_weights()}, out)
    path = out / "index.md"
    path.write_text(page.page(results, notes))
    return path


def _chosen(market: Market, done: dict[Cell, Outcome], measures: pd.DataFrame, penalty: float) -> Cell:
    """FPX's choice: the largest fall of the pricing error of the assets learned from, on the months learned from."""
    train = measures[
        (measures["role"] == "train")
        & (measures["months"] == "learned from")
        & (measures["measure"] == "pricing_error")
        & (measures["benchmark"] == THREE)
        & (measures["lambda"] == penalty)
        & (measures["sorted_on"] == tables.LEARNED)
    ]
    if train.empty:
        raise bf.errors.ConvergenceError(f"no cell of {market.name} with lambda {penalty:g} could be fitted")
    best = train.loc[train["mean"].idxmin()]
    return next(cell for cell in done if cell == Cell(int(best["layers"]), int(best["n_factors"]), penalty, THREE))
