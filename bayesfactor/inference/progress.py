"""How far a run is: a bar on a terminal, a function, or nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

Report = Callable[[int, int], None]


class Latest:
    """What was last reported, told on when somebody looks."""

    def __init__(self) -> None:
        self.done = (0, 1)

    def __call__(self, done: int, total: int) -> None:
        """Take note."""
        self.done = (done, total)


def progress_of(wanted: bool | Report | None, unit: str) -> tuple[AbstractContextManager[Any], Report]:
    """A context to run under and the function to tell of progress."""
    if callable(wanted):
        return nullcontext(), wanted
    if wanted is None:
        wanted = sys.stderr.isatty()
    if not wanted:
        return nullcontext(), lambda done, total: None
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )
    task = bar.add_task("compiling", total=None)

    def report(done: int, total: int) -> None:
        if done:
            bar.update(task, completed=done, total=total, description=unit)

    return bar, report
