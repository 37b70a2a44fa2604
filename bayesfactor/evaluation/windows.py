"""Which periods a forecaster learns from, chooses on, and is judged by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import pandas as pd

from bayesfactor.errors import DataError, EmptyWindowError, LookAheadError
from bayesfactor.panel.periods import Calendar, as_days, first_and_last_day, period_ends, show, span

Span = tuple[pd.Timestamp, pd.Timestamp]  # first and last day, both included


class Dated(Protocol):
    """What windows are laid over: a `Panel`, or a `PanelStore`."""

    @property
    def times(self) -> pd.DatetimeIndex:
        """Period ends."""
        ...

    @property
    def frequency(self) -> str:
        """Frequency of the periods: "monthly", "weekly" or "daily"."""
        ...


@dataclass(frozen=True)
class Window:
    """One step of a walk: learn, perhaps choose, forecast.

    Parameters
    ----------
    train : first and last date to learn from, both included: ("1970", "1989-12"), Timestamps, or Periods.
    test : first and last date to forecast.
    validation : first and last date between them on which candidates are compared; None if there is none.

    Raises
    ------
    LookAheadError
        When a span begins before the one it must follow has ended.
    """

    train: Span
    test: Span
    validation: Span | None = None

    def __post_init__(self) -> None:
        order = ("train", "validation", "test")
        for name in order:
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _span(name, getattr(self, name)))
        present = [name for name in order if getattr(self, name) is not None]
        for before, after in pairwise(present):
            ends, begins = getattr(self, before)[1], getattr(self, after)[0]
            if begins <= ends:
                raise LookAheadError(
                    f"{after} must begin after {before} has ended: {before} ends {ends:%Y-%m-%d} and {after} begins "
                    f"{begins:%Y-%m-%d}. A forecaster would be judged on what it has learned from."
                )

    @property
    def learn(self) -> Span:
        """Training and validation together: what the forecaster that is used has learned from."""
        return (self.train[0], (self.validation or self.train)[1])

    def __str__(self) -> str:
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return ", ".join(f"{name} {_dates(part)}" for name, part in parts.items() if part is not None)


@dataclass(frozen=True, repr=False)
class Windows:
    """A rule that lays windows over a panel. Use `Windows.expanding` or `Windows.rolling`.

    All sizes are calendar periods of the panel (months of a monthly panel; the panel's own days of a daily one),
    whether or not each has rows.
    """

    kind: str
    train: int
    validation: int
    test: int
    embargo: int
    first_test: Any

    def __post_init__(self) -> None:
        if self.kind not in ("expanding", "rolling"):
            raise DataError(f"windows must be 'expanding' or 'rolling': got {self.kind!r}")
        for name, least in {"train": 2, "validation": 0, "test": 1, "embargo": 0}.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
                raise DataError(f"{name} must be a whole number of periods, at least {least}: got {value!r}")
            object.__setattr__(self, name, int(value))
        if self.first_test is not None:
            first_and_last_day(self.first_test)

    @classmethod
    def expanding(
        cls, train: int, validation: int = 0, test: int = 12, *, embargo: int = 0, first_test: Any = None
    ) -> Windows:
        """Learn from everything so far; forecast the next `test` periods; move on by `test`.

        Time runs ``[train ...][embargo][validation][embargo][test]``.

        Parameters
        ----------
        train : periods of the first training window; later ones begin where it begins and are longer.
        validation : periods on which candidates are compared. The one chosen is fitted again to training and
            validation together, which is also what a forecaster without candidates learns from.
        test : periods that are forecast before the next refit.
        embargo : periods left out between learning and judging, for returns or characteristics that span several.
        first_test : date of the first period to forecast; as early as `train` and `validation` allow if None.
        """
        return cls("expanding", train, validation, test, embargo, first_test)

    @classmethod
    def rolling(
        cls, train: int, validation: int = 0, test: int = 12, *, embargo: int = 0, first_test: Any = None
    ) -> Windows:
        """Learn from the last `train` periods; otherwise as `Windows.expanding`. All windows have one shape."""
        return cls("rolling", train, validation, test, embargo, first_test)

    def over(self, panel: Dated) -> tuple[Window, ...]:
        """The windows of a panel, in order; test windows follow each other without gap or overlap.

        The last test window ends with the panel and may be shorter; periods without returns yet (the live forecast)
        belong to it, or begin one of their own.

        Raises
        ------
        EmptyWindowError
            When the panel is too short for one window, or `first_test` comes too early or after its end.
        """
        days, frequency = as_days(panel.times), panel.frequency
        calendar = Calendar.of(days, frequency)
        ordinals = calendar.ordinals(days)
        first, last = int(ordinals[0]), int(ordinals[-1])
        gap = self.embargo + (self.validation + self.embargo if self.validation else 0)
        begin = first + self.train + gap
        if self.first_test is not None:
            begin = self._first_test(calendar, days, frequency, begin)
        elif begin > last:
            raise EmptyWindowError(
                f"{self!r} needs {self.train + gap} periods before the first that is forecast: the panel has "
                f"{last - first + 1}, {span(panel.times, frequency)}. Give a shorter train."
            )
        windows = []
        for start in range(begin, last + 1, self.test):
            stop = min(start + self.test - 1, last)
            if not ((ordinals >= start) & (ordinals <= stop)).any():
                continue  # a hole in the panel: nothing to forecast
            validate = (start - self.embargo - self.validation, start - self.embargo - 1) if self.validation else None
            learned = start - gap - 1
            begun = first if self.kind == "expanding" else learned - self.train + 1
            spans = [(begun, learned), (start, stop), validate]
            windows.append(Window(*(None if one is None else _labels(calendar, one) for one in spans)))  # type: ignore[arg-type]
        return tuple(windows)

    def _first_test(self, calendar: Calendar, days: Any, frequency: str, earliest: int) -> int:
        wanted = period_ends(np.array([first_and_last_day(self.first_test)[0]]), frequency)
        if wanted[0] > days[-1]:
            raise EmptyWindowError(
                f"first_test must be a period of the panel: it is {self.first_test}, and the panel ends "
                f"{show(days[-1], frequency)}."
            )
        if frequency == "daily":
            wanted = days[np.searchsorted(days, wanted)]
        begin = int(calendar.ordinals(wanted)[0])
        if begin < earliest:
            could = show(calendar.labels(np.array([earliest]))[0], frequency)
            raise EmptyWindowError(
                f"first_test must leave {earliest - int(calendar.ordinals(days[:1])[0])} periods before it: the panel "
                f"begins {show(days[0], frequency)}, so it can be {could} at the earliest, and is {self.first_test}."
            )
        return begin

    def __repr__(self) -> str:
        told = [str(self.train)]
        told += [
            f"{field.name}={getattr(self, field.name)!r}"
            for field in fields(self)
            if field.name not in ("kind", "train") and getattr(self, field.name) not in (0, None)
        ]
        return f"Windows.{self.kind}({', '.join(told)})"


def laid(windows: Windows | Sequence[Window], panel: Dated) -> tuple[Window, ...]:
    """Windows over a panel: those of a rule, or those given, checked.

    Raises
    ------
    LookAheadError
        When test windows overlap, so that a month would be forecast twice and count twice.
    EmptyWindowError
        When a span of a window holds no period of the panel.
    """
    if isinstance(windows, Windows):
        given = windows.over(panel)
        for one in given:
            _on_periods(one, panel)
        return given
    given = tuple(windows) if isinstance(windows, Sequence) and not isinstance(windows, str) else ()
    if not given or not all(isinstance(one, Window) for one in given):
        raise DataError(
            f"windows must be Windows.expanding(...), Windows.rolling(...) or a list of Window: {windows!r}"
        )
    given = tuple(sorted((_on_periods(one, panel) for one in given), key=lambda one: one.test))
    for one, following in pairwise(given):
        if following.test[0] <= one.test[1]:
            raise LookAheadError(
                f"test windows must not overlap, or months are judged twice: {_dates(one.test)} and "
                f"{_dates(following.test)} share periods."
            )
    return given


def _on_periods(window: Window, panel: Dated) -> Window:
    """The window from and to periods of the panel: a period belongs to the span that holds its last day."""
    parts: dict[str, Span | None] = {}
    for name in ("train", "validation", "test"):
        part = getattr(window, name)
        held = panel.times if part is None else panel.times[inside(panel.times, part)]
        if not len(held):
            raise EmptyWindowError(
                f"{name} {_dates(part)} holds no period of the panel, which runs {span(panel.times, panel.frequency)}."
            )
        parts[name] = None if part is None else (held[0], held[-1])
    return Window(**parts)  # type: ignore[arg-type]


def inside(times: pd.DatetimeIndex, part: Span) -> np.ndarray:
    """Which periods (time,) are in a span."""
    return np.asarray((times >= part[0]) & (times <= part[1]))


def _labels(calendar: Calendar, ordinals: tuple[int, int]) -> Span:
    """Labels of the first and last period of a span of positions."""
    first, last = calendar.labels(np.array(ordinals))
    return first, last


def _span(name: str, part: Any) -> Span:
    if isinstance(part, str) or not hasattr(part, "__len__") or len(part) != 2:
        raise DataError(f"{name} must be a pair of dates, first and last, such as ('1990-01', '1990-12'): got {part!r}")
    first, last = first_and_last_day(part[0])[0], first_and_last_day(part[1])[1]
    if last < first:
        raise DataError(f"{name} must not end before it begins: got {part[0]} to {part[1]}")
    return pd.Timestamp(first), pd.Timestamp(last)


def _dates(part: Span) -> str:
    return f"{part[0]:%Y-%m-%d} to {part[1]:%Y-%m-%d}"
