"""Reports as they were known on a day: the latest version of each fiscal period that had been filed by then."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from bayesfactor.panel.characteristics.definitions import ratio

QUARTERS = (0, 3, 6, 9)


@dataclass(frozen=True)
class Known:
    """Items of some assets on one day (of rows: one asset each).

    `table` (firm, fiscal month) holds the row of `values` that is the latest version filed before the day, or -1;
    `firm` is each asset's place in it, `latest` the fiscal month of its newest report, or -1. Every method gives one
    number for each asset.
    """

    values: dict[str, np.ndarray]
    table: np.ndarray
    firm: np.ndarray
    latest: np.ndarray
    step: int  # months from one report to the next
    market_equity: np.ndarray
    year_to_date: frozenset[str] = frozenset()
    quarter: np.ndarray = field(default_factory=lambda: np.zeros(0))  # by row of `values`, where items are cumulative

    def at(self, item: str, months: int = 0) -> np.ndarray:
        """The item in the newest report, or in the one so many months before it; missing without one."""
        row = self._row(months)
        value = self._of(item, row)
        if item not in self.year_to_date:
            return value
        before = np.where(self.quarter[row] == 1, 0.0, self._of(item, self._row(months + self.step)))
        return value - before

    def _row(self, months: int) -> np.ndarray:
        column = self.latest - months
        known = (self.latest >= 0) & (column >= 0)
        return np.where(known, self.table[self.firm, np.where(known, column, 0)], -1)

    def _of(self, item: str, row: np.ndarray) -> np.ndarray:
        return np.where(row >= 0, self.values[item][row], np.nan)

    def before(self, item: str) -> np.ndarray:
        """The item one report before the newest."""
        return self.at(item, self.step)

    def year(self, item: str, months: int = 0) -> np.ndarray:
        """A flow over the year that ends with the newest report, or so many months before: four quarters."""
        if self.step == 12:
            return self.at(item, months)
        return sum((self.at(item, months + back) for back in QUARTERS), np.zeros(self.latest.size))

    def to_price(self, value: np.ndarray) -> np.ndarray:
        """The value relative to market equity on the day."""
        return ratio(value, self.market_equity)

    def growth(self, item: str) -> np.ndarray:
        """The item against the same fiscal period of the year before, less one."""
        return ratio(self.at(item), self.at(item, 12)) - 1.0

    def change(self, item: str, months: int = 0) -> np.ndarray:
        """The item less that of the same fiscal period of the year before."""
        return self.at(item, months) - self.at(item, months + 12)
