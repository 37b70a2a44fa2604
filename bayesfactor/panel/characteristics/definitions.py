"""What a definition is: words for people, windows and a function for the computation, in one entry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from bayesfactor.panel.characteristics.known import Known


@dataclass(frozen=True)
class Window:
    """The days after `start` and up to `stop`, both counted back from a period's last day, in months or weeks.

    `Window(12, 1)` at the end of June are the days from July of the year before to May: a month counted back from
    a month's last day is a month's last day. In words it is "months 12 to 2", counted back from the coming month.
    """

    start: int
    stop: int = 0
    unit: str = "month"

    def __str__(self) -> str:
        last = self.stop + 1
        if last == self.start:
            return f"{self.unit} {self.start}"
        return f"{self.unit}s {self.start} to {last}"


@dataclass(frozen=True, kw_only=True)
class Definition:
    """One characteristic in words.

    `inputs` are what it is computed from; `least` how many days (of every window) or reports must have all of them,
    and with fewer the characteristic is missing; `units` those of the value; `source` the paper that it follows.
    """

    name: str
    formula: str
    inputs: tuple[str, ...]
    least: int
    units: str
    source: str


@dataclass(frozen=True, kw_only=True)
class PriceDefinition(Definition):
    """From daily rows: `compute` takes one block of days for each window and gives one number for each asset.

    `parts` are the inputs and the fewest days of each window, where they are not `inputs` and `least` in all of them.
    `unbroken` windows hold no day whose return is unknown though the asset traded: its first day, or the first after
    a gap that is too long. A return over the whole window is not known then.
    """

    windows: tuple[Window, ...]
    compute: Callable[..., np.ndarray]
    unbroken: bool = False
    parts: tuple[tuple[tuple[str, ...], int], ...] = ()

    @property
    def needs(self) -> tuple[tuple[Window, tuple[str, ...], int], ...]:
        """Each window with its inputs and the fewest days that must have all of them."""
        parts = self.parts or ((self.inputs, self.least),) * len(self.windows)
        return tuple((window, *part) for window, part in zip(self.windows, parts, strict=True))

    @property
    def window(self) -> str:
        """The windows in words."""
        return ", ".join(map(str, self.windows))


@dataclass(frozen=True, kw_only=True)
class ReportDefinition(Definition):
    """From reports as they were known: `compute` takes them and gives one number for each asset.

    `least` counts quarterly reports; of annual ones, one covers a year. `quarterly` definitions need quarterly reports.
    """

    window: str
    compute: Callable[[Known], np.ndarray]
    quarterly: bool = False


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """`above / below`, missing where `below` is not positive."""
    return np.divide(above, below, out=np.full(np.shape(below), np.nan), where=below > 0)


def log(values: np.ndarray) -> np.ndarray:
    """Natural logarithm, missing where there is none."""
    return np.log(values, out=np.full(values.shape, np.nan), where=values > 0)
