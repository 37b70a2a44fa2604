"""The cells of the grid: losses and penalties as models."""

from __future__ import annotations

from typing import NamedTuple

import bayesfactor as bf

from .markets import Market

NOISE = {"squared": "normal", "absolute": "laplace", "huber": "huber", "student-t": "student_t"}
WIDTH, BETA_WIDTH = 8, 4  # of hidden layers; AZT have 32, 16, 8 and 8, 4


class Cell(NamedTuple):
    """One model of the grid.

    Attributes
    ----------
    loss : of `NOISE`: what minus the log density of a residual is.
    cross_section : AZT's lambda_1, on the squared average residual of a month; with squared errors only.
    loading_sd : prior sd of betas, which is AZT's lambda_3: a smaller one shrinks them more.
    layers : 1: sorts and betas are linear in characteristics; 2: networks with a hidden layer each.
    n_factors : deep factors.
    """

    loss: str
    cross_section: float = 0.0
    loading_sd: float = 1.0
    layers: int = 1
    n_factors: int = 2

    @property
    def file(self) -> str:
        """Name of the file of its fit."""
        return f"{self.loss}-lambda{self.cross_section:g}-sd{self.loading_sd:g}-L{self.layers}-P{self.n_factors}.nc"

    @property
    def title(self) -> str:
        """As tables and figures name it."""
        parts = [self.loss]
        parts += [f"λ1 = {self.cross_section:g}"] if self.cross_section else []
        parts += [f"beta sd {self.loading_sd:g}"] if self.loading_sd != 1.0 else []
        parts += ["networks"] if self.layers > 1 else []
        parts += [f"P = {self.n_factors}"] if self.n_factors != 2 else []
        return ", ".join(parts)

    def model(self, market: Market) -> bf.SortedFactorModel:
        """Stocks on both sides, betas that are functions of characteristics, no alpha: AZT, eq. 1."""
        deep = self.layers > 1
        return bf.SortedFactorModel(
            self.n_factors,
            (WIDTH,) * deep,
            test_assets="stocks",
            loadings="network",
            benchmark_loadings="network",
            loading_hidden=(BETA_WIDTH,) * deep,
            alpha=False,
            residual_covariance="common",
            cross_section_penalty=self.cross_section,
            noise=NOISE[self.loss],
            loading_sd=self.loading_sd,
        )

    def panel(self, market: Market) -> bf.Panel:
        """The assets and months learned from."""
        return market.learned
