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


def test_an_interrupt_that_the_work_will_see_is_waited_for():
    asked, ended, ticks = threading.Event(), [], []

    def work():
        asked.wait()
        ended.append(True)

    def tick():
        ticks.append(1)
        if len(ticks) == 1:
            raise KeyboardInterrupt

    def interrupt():
        asked.set()
        return True

    with pytest.raises(KeyboardInterrupt):
        watched(work, tick=tick, interrupt=interrupt)
    assert ended == [True]


@pytest.mark.parametrize(("will_end", "interrupts"), [(True, 2), (False, 1)])
def test_a_second_interrupt_stops_at_once_and_so_does_one_that_the_work_will_not_see(forever, will_end, interrupts):
    ticks, asked = [], []

    def tick():
        ticks.append(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watched(forever, tick=tick, interrupt=lambda: asked.append(1) or will_end)
    assert (len(ticks), len(asked)) == (interrupts, 1)


def test_an_error_while_stopping_is_told():
    asked = threading.Event()

    def work():
        asked.wait()
        raise OSError("no space")

    def tick():
        if not asked.is_set():
            raise KeyboardInterrupt

    with pytest.raises(OSError, match="no space"):
        watched(work, tick=tick, interrupt=lambda: asked.set() or True)
