"""Where windows are computed: here, one after the other, or by an executor."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from typing import Any

from bayesfactor.evaluation.window_run import run_task
from bayesfactor.evaluation.window_store import WindowResult
from bayesfactor.evaluation.window_tasks import Done, Task, Tasks

IN_FLIGHT = 2  # windows sent to an executor for each of its workers, so that none waits


def run_here(tasks: Tasks, done: Done) -> None:
    """Compute tasks in order; `done` is told of every window's result."""
    for task, prints in tasks:
        _tell(task, run_task(task), prints, done)


def run_on(executor: Executor) -> Callable[[Tasks, Done], None]:
    """Send tasks as workers become free: their panels need not all be in memory at once."""

    def run(tasks: Tasks, done: Done) -> None:
        running: dict[Future[list[WindowResult]], tuple[Task, list[str]]] = {}
        limit = IN_FLIGHT * _workers(executor)
        try:
            for task, prints in tasks:
                running[executor.submit(run_task, task)] = (task, prints)
                if len(running) >= limit:
                    _collect(running, done)
            while running:
                _collect(running, done)
        except BaseException:
            for future in running:
                future.cancel()
            raise

    return run


def _collect(running: dict[Future[list[WindowResult]], tuple[Task, list[str]]], done: Done) -> None:
    """Wait for one task at least, and keep what is ready; what failed is told when the others are kept."""
    ready, _ = wait(running, return_when=FIRST_COMPLETED)
    failed = None
    for future in ready:
        task, prints = running.pop(future)
        error = future.exception()
        if error is None:
            _tell(task, future.result(), prints, done)
        failed = failed or error
    if type(failed).__name__ == "KilledWorker":  # Dask's, after several workers have died of the same window
        raise BrokenExecutor(str(failed)) from failed
    if failed is not None:
        raise failed


def _tell(task: Task, results: list[WindowResult], prints: list[str], done: Done) -> None:
    for part, result, data in zip(task.parts, results, prints, strict=True):
        done(part.number, result, data)


def _workers(executor: Any) -> int:
    """How many tasks an executor runs at once, as far as it tells."""
    threads = getattr(getattr(executor, "_client", None), "nthreads", None)  # a Dask cluster
    if callable(threads):
        return max(1, sum(threads().values()))
    return int(getattr(executor, "_max_workers", None) or 8)
