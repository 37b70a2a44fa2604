"""Local processes for a walk, one core each."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

from bayesfactor.errors import DataError


def processes(workers: int | None = None) -> ProcessPoolExecutor:
    """Local processes for ``walk_forward(executor=...)``, each on a core of its own.

    Many small programs run faster one a core than one after the other on all of them. Each process holds a window's
    panel and compiles its programs itself: about 1 GiB, and the first window of each takes as long as the first of a
    walk without processes. A directory in ``JAX_COMPILATION_CACHE_DIR`` lets a later walk skip that.

    Parameters
    ----------
    workers : how many; one for each core that this process may use if None.

    Returns
    -------
    Executor; use it as a context manager. The program that calls this must start under
    ``if __name__ == "__main__":``, because a process starts by importing it.

    Raises
    ------
    DataError
        When workers is not a positive whole number.
    """
    cores = usable_cores()
    if workers is None:
        workers = len(cores)
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise DataError(f"workers must be a whole number of processes, at least 1: got {workers!r}")
    context = multiprocessing.get_context("spawn")  # a fork would copy JAX's threads and hang
    turn = context.Value("i", 0)
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_on_own_core, initargs=(cores, turn))


def usable_cores() -> list[int]:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _on_own_core(cores: list[int], turn: object) -> None:
    """Bind a new process to the next core, before JAX starts its threads there."""
    with turn.get_lock():  # type: ignore[attr-defined]
        place = turn.value  # type: ignore[attr-defined]
        turn.value += 1  # type: ignore[attr-defined]
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {cores[place % len(cores)]})
