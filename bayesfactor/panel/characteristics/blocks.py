"""Blocks of days, and the statistics that price definitions are made of.

All sums run over the days of one window of one asset, in an order that depends on the number of days alone: no later
day and no other asset can change a bit of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bayesfactor.panel.characteristics.definitions import log, ratio


@dataclass(frozen=True)
class Block:
    """Daily inputs (asset, day) over one window; `ok` marks the days that have all of a definition's inputs."""

    values: dict[str, np.ndarray]
    ok: np.ndarray

    @cached_property
    def count(self) -> np.ndarray:
        """Days that are `ok`, by asset."""
        return self.ok.sum(axis=1)

    def total(self, values: np.ndarray) -> np.ndarray:
        """Sum over the days that are `ok`."""
        return np.where(self.ok, values, 0.0).sum(axis=1)

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Mean over the days that are `ok`; missing without any."""
        return ratio(self.total(values), self.count)

    def centred(self, values: np.ndarray) -> np.ndarray:
        """Deviations from the mean, 0 on other days."""
        return np.where(self.ok, values - self.mean(values)[:, None], 0.0)

    def sd(self, values: np.ndarray) -> np.ndarray:
        """Sample standard deviation (divisor n - 1)."""
        return np.sqrt(ratio((self.centred(values) ** 2).sum(axis=1), self.count - 1))

    def compounded(self) -> np.ndarray:
        """Return over the window: the product of 1 + r, less one."""
        return np.where(self.ok, 1.0 + self.values["returns"], 1.0).prod(axis=1) - 1.0

    def highest(self, values: np.ndarray) -> np.ndarray:
        """The largest value."""
        return np.where(self.ok, values, -np.inf).max(axis=1, initial=-np.inf)

    def last(self, values: np.ndarray) -> np.ndarray:
        """Value of the last day that is `ok`; without any, whatever there is (too few days: it is masked)."""
        return values[np.arange(len(values)), self._latest]

    @cached_property
    def _latest(self) -> np.ndarray:
        return self.ok.shape[1] - 1 - self.ok[:, ::-1].argmax(axis=1)

    def grown(self, values: np.ndarray) -> np.ndarray:
        """The last value, compounded to the window's end by the returns of the days after it."""
        returns = self.values["returns"]
        later = (np.arange(returns.shape[1]) > self._latest[:, None]) & ~np.isnan(returns)
        return self.last(values) * np.where(later, 1.0 + returns, 1.0).prod(axis=1)


def share_of_high(block: Block) -> np.ndarray:
    """Index of compounded returns at the last day, relative to its highest value on any day of the window."""
    index = np.cumprod(np.where(block.ok, 1.0 + block.values["returns"], 1.0), axis=1)
    return ratio(index[:, -1], block.highest(index))


def skewness(block: Block) -> np.ndarray:
    """Third central moment over the cube of the standard deviation (both with divisor n)."""
    deviations = block.centred(block.values["returns"])
    squares = deviations**2
    variance = ratio(squares.sum(axis=1), block.count)
    return ratio(ratio((squares * deviations).sum(axis=1), block.count), variance**1.5)


def beta(block: Block) -> np.ndarray:
    """Slope of the market model with an intercept, by least squares."""
    asset, market = (block.centred(block.values[name]) for name in ("excess_returns", "market"))
    return ratio((asset * market).sum(axis=1), (market**2).sum(axis=1))


def residual_sd(block: Block) -> np.ndarray:
    """Standard deviation of the market model's residuals (divisor n - 2)."""
    asset, market = (block.centred(block.values[name]) for name in ("excess_returns", "market"))
    slope = ratio((asset * market).sum(axis=1), (market**2).sum(axis=1))
    return np.sqrt(ratio(((asset - slope[:, None] * market) ** 2).sum(axis=1), block.count - 2))


def downside_beta(block: Block) -> np.ndarray:
    """Slope over the days on which the market is below its mean over the window."""
    market = block.values["market"]
    down = Block(block.values, block.ok & (market < block.mean(market)[:, None]))
    return beta(down)


def illiquidity(block: Block) -> np.ndarray:
    """Mean of |return| by million of currency traded."""
    return block.mean(1e6 * np.abs(block.values["returns"]) / block.values["traded_value"])


def net_issuance(now: Block, then: Block, year: Block) -> np.ndarray:
    """Log growth of market equity that returns do not explain: shares issued, splits left out.

    Where a month ends without market equity, its last one is carried to the end by returns, which the year holds too.
    """
    growth = now.grown(now.values["market_equity"]) / then.grown(then.values["market_equity"])
    return log(growth) - log(1.0 + year.compounded())


def zero_trading_days(block: Block) -> np.ndarray:
    """Liu's LM1: days without trading, ties broken by turnover, for a month of 21 days."""
    turnover = block.values["turnover"]
    untraded = block.total((turnover == 0).astype(float))
    return ratio(21.0 * (untraded + ratio(np.ones(len(turnover)), block.total(turnover)) / 480_000), block.count)
