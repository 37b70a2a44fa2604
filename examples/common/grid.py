"""A grid of fits, over processes; each is stored when it is done and never computed twice."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd

import bayesfactor as bf


class Market(Protocol):
    """A data set: cells know what of it they are fitted on."""

    @property
    def name(self) -> str:
        """A word for files."""


class Cell(Protocol):
    """One model of a grid; hashable."""

    @property
    def file(self) -> str:
        """Name of the file of its fit."""

    def model(self, market: Any) -> Any:
        """The model for that data set."""

    def panel(self, market: Any) -> bf.Panel:
        """What it is fitted on."""


class Outcome(NamedTuple):
    """A cell with its fit, or with the error that it ended in."""

    cell: Any
    fit: bf.Fit | None
    error: str

    @property
    def status(self) -> str:
        """Of the fit; or that there is none."""
        return "no fit" if self.fit is None else self.fit.status

    @property
    def bands(self) -> str:
        """Whether the bands are uncalibrated: a word for tables, empty if not."""
        return "uncalibrated" if self.fit is not None and self.fit.uncalibrated else ""


def run(
    market: Market,
    cells: Iterable[Any],
    inference: Any,
    folder: Path,
    workers: int,
    tell: Callable[[str], None] = print,
) -> dict[Any, Outcome]:
    """Fit every cell that is not stored; an error of one is kept as its outcome and stops no other.

    Parameters
    ----------
    market : data set.
    cells : of the grid, each a `Cell`.
    inference : `NUTS` or `SVI`.
    folder : of the stored fits; one of other settings or data is computed anew.
    workers : processes; 0 computes here.
    tell : is given a line for each cell.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cells = list(cells)
    outcomes = {}
    for cell in cells:
        known = stored(market, cell, inference, folder)
        if known is not None:
            outcomes[cell] = Outcome(cell, known, "")
            tell(f"{market.name} {cell.file}: stored, {known.status}")
    left = [cell for cell in cells if cell not in outcomes]

    def done(cell: Any, error: str) -> None:
        fit = None if error else bf.load(folder / cell.file)
        outcomes[cell] = Outcome(cell, fit, error)
        said = error if fit is None else f"{fit.status}, {fit.provenance['wall_seconds']:.0f} s"
        tell(f"{market.name} {cell.file}: {said} ({len(outcomes)} of {len(cells)})")

    jobs = [(cell.model(market), cell.panel(market), inference, folder / cell.file) for cell in left]
    if workers == 0 or len(left) < 2:
        for cell, job in zip(left, jobs, strict=True):
            done(cell, compute(*job))
    else:
        with bf.processes(min(workers, len(left))) as executor:
            futures = {executor.submit(compute, *job): cell for cell, job in zip(left, jobs, strict=True)}
            for future in as_completed(futures):
                done(futures[future], future.result())
    return {cell: outcomes[cell] for cell in cells}


def compute(model: Any, panel: bf.Panel, inference: Any, path: Path) -> str:
    """Fit and store; the text of an error, empty if there was none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", bf.errors.BayesFactorWarning)  # the status is in every table
            bf.fit(model, panel, inference, seed=1, progress=False).save(path)
    except bf.errors.BayesFactorError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def stored(market: Market, cell: Any, inference: Any, folder: Path) -> bf.Fit | None:
    """The stored fit of this cell, if it is of these settings and data."""
    path = folder / cell.file
    if not path.exists():
        return None
    fit = bf.load(path)
    same = fit.model == cell.model(market) and fit.inference == inference
    return fit if same and fit.panel_fingerprint == cell.panel(market).fingerprint else None


def fit_rows(labels: Callable[[Outcome], dict[str, Any]], outcomes: Iterable[Outcome]) -> pd.DataFrame:
    """One row a fit: its labels, status among them, why it is not ok, and how long it took."""
    rows = []
    for outcome in outcomes:
        fit = outcome.fit
        rows.append(
            {
                **labels(outcome),
                "seconds": np.nan if fit is None else fit.provenance["wall_seconds"],
                "reasons": outcome.error if fit is None else "; ".join(fit.reasons),
            }
        )
    return pd.DataFrame(rows)
