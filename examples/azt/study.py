"""From a grid of fits to a folder of tables, figures and a page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

import bayesfactor as bf
from examples.common import grid
from examples.common.page import save_figures, save_tables

from . import figures, page, tables
from .cells import Cell
from .markets import Market


class Protocol(NamedTuple):
    """What is computed.

    Attributes
    ----------
    cells : of the grid; importance and factor returns are shown of the first that could be fitted.
    inference : `NUTS` or `SVI`.
    """

    cells: tuple[Cell, ...]
    inference: Any


class Found(NamedTuple):
    """The tables of one data set, and the cell whose factors are shown."""

    market: Market
    protocol: Protocol
    shown: Cell
    tables: dict[str, pd.DataFrame]


def run(market: Market, protocol: Protocol, out: Path, workers: int, tell: Callable[[str], None] = print) -> Found:
    """Fit the grid of one data set and write tables and figures.

    Raises
    ------
    ConvergenceError
        When no cell could be fitted.
    """
    outcomes = grid.run(market, protocol.cells, protocol.inference, out / "fits" / market.name, workers, tell)
    done = {cell: outcome for cell, outcome in outcomes.items() if outcome.fit is not None}
    if not done:
        first = outcomes[protocol.cells[0]]
        raise bf.errors.ConvergenceError(f"no cell of {market.name} could be fitted: {first.error}")
    deep = {cell: tables.factors(market, outcome.fit) for cell, outcome in done.items()}
    shown = next(iter(done))
    found = {
        "fits": tables.fit_rows(market, list(outcomes.values())),
        "measures": tables.measures(market, done, tables.judged(market, done, deep)),
        "importance": tables.importance(market, done[shown]),
        "factors": tables.earned(market, done[shown], deep[shown]),
    }
    save_tables(found, out, market.name)
    drawn = {
        "figure_1": figures.cumulative(market, done[shown], deep[shown]),
        "figure_2": figures.important(market, done[shown], found["importance"]),
        "figure_3": figures.losses(market, done.values(), found["measures"]),
    }
    save_figures({f"{market.name}_{name}": figure for name, figure in drawn.items()}, out)
    return Found(market, protocol, shown, found)


def write(results: list[Found], out: Path, notes: list[str]) -> Path:
    """The page."""
    path = out / "index.md"
    path.write_text(page.page(results, notes))
    return path
