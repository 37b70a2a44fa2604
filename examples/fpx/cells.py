"""The cells of the grid."""

from __future__ import annotations

from typing import NamedTuple

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

    def panel(self, market: Market) -> bf.Panel:
        """The months learned from, with this cell's benchmarks."""
        return market.panels[self.benchmark]
