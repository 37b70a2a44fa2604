"""Warnings of one thread, recorded while others record theirs."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from bayesfactor.errors import ConvergenceWarning, DataWarning

_lock = threading.Lock()
_by_thread: dict[int, list[str]] = {}
_outer: list[warnings.catch_warnings] = []  # the one that restores the filters when the last thread is through


@contextmanager
def recorded() -> Generator[list[str], None, None]:
    """Record the warnings of this thread; those that say that a fit is not "ok" are left out, its status says it.

    ``warnings.catch_warnings`` of several threads at once restore each other's filters, and warnings of the whole
    process can stay silent for ever. Here the first thread changes the filters and the last changes them back.
    """
    mine: list[str] = []
    me = threading.get_ident()
    with _lock:
        if not _by_thread:
            _enter()
        _by_thread[me] = mine
    try:
        yield mine
    finally:
        with _lock:
            del _by_thread[me]
            if not _by_thread:
                _outer.pop().__exit__(None, None, None)


def _enter() -> None:
    outer = warnings.catch_warnings()
    outer.__enter__()
    _outer.append(outer)
    warnings.simplefilter("ignore", ConvergenceWarning)
    warnings.simplefilter("always", DataWarning)
    show = warnings.showwarning

    def told(message: Any, category: Any, filename: Any, lineno: Any, file: Any = None, line: Any = None) -> None:
        mine = _by_thread.get(threading.get_ident())
        if mine is None:
            show(message, category, filename, lineno, file, line)
        else:
            mine.append(str(message))

    warnings.showwarning = told
