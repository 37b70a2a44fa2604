"""The grid of fits, over processes; each is stored when it is done and never computed twice."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any, NamedTuple

import bayesfactor as bf

from .markets import Market

WIDTH = 8  # of hidden layers; FPX have 32, for 62 characteristics and 3,000 stocks


class Cell(NamedTuple):
    """One model of the grid.

    Attributes
    ----------
    layers : L of FPX: 1 sorts on linear combinations, every further one is a hidden layer.
    n_factors : P.
    penalty : lambda of FPX eq. 20; None for the model that has alphas in place of the penalty.
    benchmark : name of the benchmark model.
    """

    layers: int
    n_factors: int
    penalty: float | None
    benchmark: str

    @property
    def file(self) -> str:
        """Name of the file of its fit."""
        penalty = "alpha" if self.penalty is None else f"lambda{self.penalty:g}"
        return f"{self.benchmark.replace(' ', '-')}-L{self.layers}-P{self.n_factors}-{penalty}.nc"

    def model(self, market: Market) -> bf.SortedFactorModel:
        """The model of this cell for the assets of that data set."""
        return bf.SortedFactorModel(
            self.n_factors,
            (WIDTH,) * (self.layers - 1),
            alpha=self.penalty is None,
            pricing_error_penalty=self.penalty or 0.0,
            residual_covariance=market.covariance,
        )


class Outcome(NamedTuple):
    """A cell with its fit, or with the error that it ended in."""

    cell: Cell
    fit: bf.Fit | None
    error: str

    @property
    def status(self) -> str:
        """Of the fit; or that there is none."""
        return "no fit" if self.fit is None else self.fit.status


def run(
    market: Market,
    cells: Iterable[Cell],
    inference: Any,
    folder: Path,
    workers: int,
    tell: Callable[[str], None] = print,
) -> dict[Cell, Outcome]:
    """Fit every cell that is not stored; an error of one is kept as its outcome and stops no other.

    Parameters
    ----------
    market : data set.
    cells : of the grid.
    inference : `NUTS` or `SVI`.
    folder : of the stored fits; one of other settings or data is computed anew.
    workers : processes; 0 computes here.
    tell : is given a line for each cell.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cells = list(cells)
    outcomes = {}
    for cell in cells:
        stored = _stored(market, cell, inference, folder)
        if stored is not None:
            outcomes[cell] = Outcome(cell, stored, "")
            tell(f"{market.name} {cell.file}: stored, {stored.status}")
    left = [cell for cell in cells if cell not in outcomes]

    def done(cell: Cell, error: str) -> None:
        fit = None if error else bf.load(folder / cell.file)
        outcomes[cell] = Outcome(cell, fit, error)
        said = error if fit is None else f"{fit.status}, {fit.provenance['wall_seconds']:.0f} s"
        tell(f"{market.name} {cell.file}: {said} ({len(outcomes)} of {len(cells)})")

    jobs = [(cell.model(market), market.panels[cell.benchmark], inference, folder / cell.file) for cell in left]
    if workers == 0 or len(left) < 2:
        for cell, job in zip(left, jobs, strict=True):
            done(cell, compute(*job))
    else:
        with bf.processes(min(workers, len(left))) as executor:
            futures = {executor.submit(compute, *job): cell for cell, job in zip(left, jobs, strict=True)}
            for future in as_completed(futures):
                done(futures[future], future.result())
    return {cell: outcomes[cell] for cell in cells}


def compute(model: bf.SortedFactorModel, panel: bf.Panel, inference: Any, path: Path) -> str:
    """Fit and store; the text of an error, empty if there was none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", bf.errors.BayesFactorWarning)  # the status is in every table
            bf.fit(model, panel, inference, seed=1, progress=False).save(path)
    except bf.errors.BayesFactorError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _stored(market: Market, cell: Cell, inference: Any, folder: Path) -> bf.Fit | None:
    """The stored fit of this cell, if it is of these settings and data."""
    path = folder / cell.file
    if not path.exists():
        return None
    fit = bf.load(path)
    panel = market.panels[cell.benchmark]
    same = fit.model == cell.model(market) and fit.inference == inference
    return fit if same and fit.panel_fingerprint == panel.fingerprint else None
