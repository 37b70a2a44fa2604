"""Run compiled work in a thread, so that Ctrl-C works, progress shows, and a stalled program is noticed.

JAX on the CPU has deadlocked in its thread pool (all workers waiting, no load). A program that computes uses
processor time; one that waits for itself does not, and that is what is watched.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from bayesfactor.errors import ConvergenceError

Result = TypeVar("Result")

STALL_SECONDS = 300.0
POLL_SECONDS = 0.1
IDLE_SHARE = 0.02  # of one core; below it nothing is being computed


def watched(
    work: Callable[[], Result],
    *,
    tick: Callable[[], None] | None = None,
    stall_seconds: float = STALL_SECONDS,
    on_accelerator: bool = False,
    interrupt: Callable[[], bool] | None = None,
) -> Result:
    """Return ``work()``, computed in a daemon thread.

    Parameters
    ----------
    work : the blocking computation.
    tick : called about ten times a second, for progress.
    stall_seconds : give up after this long without processor time.
    on_accelerator : a GPU computes without using the processor, so only the processor's silence for ten times as
        long counts.
    interrupt : called on the first Ctrl-C: asks the work to end, and says whether it will. Then its end is waited for;
        a second Ctrl-C stops at once, as the first does without `interrupt`.

    Raises
    ------
    ConvergenceError
        When the work stalled.
    KeyboardInterrupt
        After Ctrl-C.
    """
    outcome: list[Result] = []
    failure: list[BaseException] = []
    # Not the thread's own join: before Python 3.13 an interrupted join takes a running thread for ended.
    ended = threading.Event()

    def target() -> None:
        try:
            outcome.append(work())
        except BaseException as error:
            failure.append(error)
        finally:
            ended.set()

    threading.Thread(target=target, daemon=True, name="bayesfactor").start()
    patience = stall_seconds * (10 if on_accelerator else 1)
    since, used = time.monotonic(), time.process_time()
    interrupted = False
    while not ended.is_set():
        try:
            ended.wait(POLL_SECONDS)
            if tick is not None:
                tick()
        except KeyboardInterrupt:
            if interrupted or interrupt is None or not interrupt():
                raise
            interrupted = True
        now, processor = time.monotonic(), time.process_time()
        if processor - used > IDLE_SHARE * (now - since):
            since, used = now, processor
        elif now - since > patience:
            raise ConvergenceError(
                f"inference stalled: no computation for {now - since:.0f} seconds while a program was running. "
                "The thread pool of JAX is probably deadlocked. Start again in a fresh process; if it happens again, "
                "set the environment variable NPROC=8 before Python starts, and report it with `bayesfactor doctor`."
            )
    if failure:
        raise failure[0]
    if interrupted:
        raise KeyboardInterrupt
    return outcome[0]
