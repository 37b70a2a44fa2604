"""Work in a thread: stalls are noticed, errors and Ctrl-C get through."""

from __future__ import annotations

import threading
import time

import pytest

from bayesfactor.errors import ConvergenceError
from bayesfactor.inference.watchdog import watched


@pytest.fixture
def forever():
    """Work that waits without computing until the test is over."""
    over = threading.Event()
    yield over.wait
    over.set()


def test_the_result_comes_back():
    assert watched(lambda: 42) == 42


def test_work_that_only_waits_is_given_up(forever):
    began = time.monotonic()
    with pytest.raises(ConvergenceError, match=r"stalled: no computation.*fresh process.*bayesfactor doctor"):
        watched(forever, stall_seconds=0.3)
    assert 0.3 < time.monotonic() - began < 5


def test_work_that_computes_is_left_alone():
    def compute():
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            sum(range(1000))
        return "done"

    assert watched(compute, stall_seconds=0.4) == "done"


def test_an_accelerator_computes_without_the_processor():
    def wait():
        time.sleep(0.8)
        return "done"

    assert watched(wait, stall_seconds=0.2, on_accelerator=True) == "done"


def test_an_error_of_the_work_gets_through():
    def fail():
        raise ZeroDivisionError("from inside")

    with pytest.raises(ZeroDivisionError, match="from inside"):
        watched(fail)


def test_an_interrupt_returns_at_once(forever):
    def interrupted():
        raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        watched(forever, tick=interrupted)
    assert time.monotonic() - began < 2


def test_progress_is_asked_for_while_the_work_runs():
    ticks = []
    watched(lambda: time.sleep(0.5), tick=lambda: ticks.append(1))
    assert len(ticks) >= 2
