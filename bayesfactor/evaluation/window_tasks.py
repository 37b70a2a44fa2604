"""What a walk is made of: windows with their data, each a value that any process can compute."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from bayesfactor.evaluation.window_panels import Transform, returns_came, without_absent
from bayesfactor.evaluation.window_store import WindowResult, WindowStore, file_of, numbered
from bayesfactor.evaluation.windows import Window, inside
from bayesfactor.inference.settings import Inference
from bayesfactor.inference.start import Start
from bayesfactor.panel import Panel
from bayesfactor.panel.store import PanelStore, open_panel

Tasks = Iterator[tuple["Task", list[str]]]
Done = Callable[[int, WindowResult, str | None], None]


@dataclass(frozen=True)
class StoredSpan:
    """A span of a store, read where it is needed."""

    path: Path
    part: tuple[pd.Timestamp, pd.Timestamp]

    def load(self) -> Panel:
        """Read it."""
        return without_absent(open_panel(self.path).load(slice(*self.part)))


@dataclass(frozen=True)
class Part:
    """One window and its data.

    Attributes
    ----------
    number : of the window.
    learn, test : panels; from a store, where to read them.
    start : where its fit begins, as a dataset; None for a cold start.
    """

    number: int
    window: Window
    learn: Panel | StoredSpan
    test: Panel | StoredSpan
    start: xr.Dataset | None = None

    @property
    def data(self) -> str:
        """SHA-256 (hex) of all that the window's result depends on but the walk."""
        prints = [str(self.window), *(loaded(one).fingerprint for one in (self.learn, self.test))]
        if self.start is not None:
            prints.append(Start.from_dataset(self.start).digest)
        return hashlib.sha256("".join(prints).encode()).hexdigest()


@dataclass(frozen=True)
class Task:
    """Some windows with all that they need, so that any process can compute them; more than one run as one program."""

    parts: tuple[Part, ...]
    candidates: dict[str, Any]
    inference: Inference | None
    seed: int
    transform: Transform | None
    keep_start: bool


@dataclass(frozen=True)
class Plan:
    """The tasks of a walk.

    Attributes
    ----------
    together : windows a task, where they have one shape.
    earlier : results so far by window, which warm starts begin from; None for cold ones.
    """

    candidates: dict[str, Any]
    inference: Inference | None
    seed: int
    transform: Transform | None
    panel: Panel | PanelStore
    windows: tuple[Window, ...]
    together: int
    earlier: Mapping[int, WindowResult] | None

    def todo(self, store: WindowStore | None, done: Done) -> Tasks:
        """Tasks that are not in the store, each with the fingerprints of its data; `done` is told of the others."""
        for numbers in self._groups():
            parts = tuple(self._part(number) for number in numbers)
            prints = [part.data if store is not None else "" for part in parts]
            missing = store is None
            for part, data in zip(parts, prints, strict=True):
                found = None if store is None else store.find(file_of(part.window), data)
                if found is None:
                    missing = True
                else:
                    done(part.number, found._replace(forecasts=numbered(found.forecasts, part.number)), None)
            if missing:
                settings = (self.candidates, self.inference, self.seed, self.transform)
                yield Task(parts, *settings, self.earlier is not None), prints

    def _groups(self) -> Iterator[list[int]]:
        """Consecutive windows that learn from equally many periods, so many at most."""
        group: list[int] = []
        for number in range(len(self.windows)):
            if group and (len(group) == self.together or self._size(number) != self._size(group[0])):
                yield group
                group = []
            group.append(number)
        yield group

    def _size(self, number: int) -> int:
        """Periods with returns that a window learns from."""
        learned = inside(self.panel.times, self.windows[number].learn)
        if isinstance(self.panel, PanelStore):
            return int(learned[self.panel.with_returns].sum())
        return int((learned & returns_came(self.panel)).sum())

    def _part(self, number: int) -> Part:
        window = self.windows[number]
        start = None
        if self.earlier is not None and number > 0:
            start = self.earlier[number - 1].start
        return Part(number, window, self._span(window.learn), self._span(window.test), start)

    def _span(self, part: tuple[pd.Timestamp, pd.Timestamp]) -> Panel | StoredSpan:
        if isinstance(self.panel, PanelStore):
            return StoredSpan(self.panel.path, part)
        panel = self.panel
        data = panel.data.isel(time=inside(panel.times, part))
        return without_absent(
            Panel(data, panel.frequency, panel.preparation, panel.missing, panel.history, panel.warnings)
        )


def loaded(panel: Panel | StoredSpan) -> Panel:
    """The panel, read if it is in a store."""
    return panel.load() if isinstance(panel, StoredSpan) else panel
