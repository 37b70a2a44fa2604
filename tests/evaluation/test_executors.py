"""Walks on threads, processes and a Dask cluster: the bits of a walk without any; and workers that die."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest
import walkers
from walkers import Dying, Noting, begun, same

import bayesfactor as bf
from bayesfactor.baselines import OLS
from bayesfactor.errors import BayesFactorError, DataError

WINDOWS = bf.Windows.expanding(18, test=2)  # six
LINEAR = bf.FundamentalFactorModel(hidden=(), pooling="full", noise="normal")


@pytest.fixture(scope="module")
def panel() -> bf.Panel:
    return bf.simulate.economy(n_months=30, n_assets=8, n_characteristics=2, seed=1, ragged=True).panel


@pytest.fixture(scope="module")
def ols(panel: bf.Panel) -> bf.Forecasts:
    return bf.walk_forward(OLS(), panel, None, WINDOWS, audit=False)


def test_threads(panel: bf.Panel, ols: bf.Forecasts) -> None:
    with ThreadPoolExecutor(3) as pool:
        assert same(bf.walk_forward(OLS(), panel, None, WINDOWS, executor=pool), ols)


def test_threads_are_refused_for_models(panel: bf.Panel) -> None:
    with ThreadPoolExecutor(2) as pool, pytest.raises(DataError, match="not in threads"):
        bf.walk_forward(LINEAR, panel, bf.Exact(draws=50), WINDOWS, executor=pool)


class KilledWorker(Exception):
    """As Dask's own, whose client gives up a task after several workers have died of it."""


class Killing(ThreadPoolExecutor):
    def submit(self, *_: Any, **__: Any) -> Any:
        def die() -> None:
            raise KilledWorker("task of a window")

        return super().submit(die)


def test_a_window_that_kills_its_workers_is_told(panel: bf.Panel, tmp_path: Path) -> None:
    with Killing(1) as pool, pytest.raises(BayesFactorError, match=r"a worker process has died.*the same call goes on"):
        bf.walk_forward(OLS(), panel, None, WINDOWS, executor=pool, store=tmp_path)


def test_processes_give_the_same_bits(panel: bf.Panel, ols: bf.Forecasts, tmp_path: Path) -> None:
    """A baseline, a model, a panel on disk, a store, a failing window, one pool for all."""
    disk = panel.to_zarr(tmp_path / "panel")
    told: list[tuple[int, int]] = []
    here = {os.getpid()}
    (notes := tmp_path / "notes").mkdir()
    with bf.processes(2) as pool:
        found = bf.walk_forward(
            OLS(), panel, None, WINDOWS, executor=pool, progress=lambda *done: told.append(done), store=tmp_path / "ols"
        )
        assert same(found, ols)
        assert told == [(done, 6) for done in range(1, 7)]
        assert same(bf.load_forecasts(tmp_path / "ols"), ols)
        bf.walk_forward(Noting(str(notes)), panel, None, WINDOWS, executor=pool)
        workers = {int(entry.read_text()) for entry in notes.iterdir()}
        assert workers
        assert not workers & here
        again = bf.walk_forward(OLS(), disk, None, WINDOWS, executor=pool)
        assert again.data.drop_attrs().identical(ols.data.drop_attrs())
        rule = bf.Windows.expanding(22, test=4)
        model = bf.walk_forward(LINEAR, panel, bf.Exact(draws=50), rule, executor=pool)
        assert same(model, bf.walk_forward(LINEAR, panel, bf.Exact(draws=50), rule))
        for error in (DataError("no good"), KeyError("no good")):
            with pytest.raises(type(error)) as caught:
                bf.walk_forward(walkers.Failing(22, error), panel, None, WINDOWS, executor=pool)
            text = f"{caught.value} {getattr(caught.value, '__notes__', '')}"
            assert "window 2 (train 2000-02-29 to 2001-11-30" in text
        odd = bf.walk_forward(walkers.Warning_(), panel, None, WINDOWS, executor=pool)
        assert odd.windows["reasons"].tolist() == [f"odd: {n} months" for n in range(18, 30, 2)]


def test_a_worker_that_dies(panel: bf.Panel, ols: bf.Forecasts, tmp_path: Path) -> None:
    """The error says what to do; what is stored stays; the same call goes on."""
    (notes := tmp_path / "notes").mkdir()
    forecaster, store = Dying(str(notes), "20011130"), tmp_path / "store"
    with bf.processes(1) as pool, pytest.raises(BayesFactorError, match="a worker process has died") as caught:
        bf.walk_forward(forecaster, panel, None, WINDOWS, executor=pool, store=store)
    assert isinstance(caught.value.__cause__, BrokenProcessPool)
    assert f"2 of 6 windows are stored in {store}, the same call goes on from there" in str(caught.value)
    assert "if __name__ == '__main__'" in str(caught.value)
    assert begun(notes) == ["20010731", "20010930", "20011130"]
    assert bf.load_forecasts(store).windows.index.tolist() == [0, 1]
    with bf.processes(1) as pool:
        found = bf.walk_forward(forecaster, panel, None, WINDOWS, executor=pool, store=store)
    assert found.data.drop_attrs().identical(ols.data.drop_attrs())
    assert Counter(begun(notes)).most_common() == [("20011130", 2)] + [
        (when, 1) for when in ("20010731", "20010930", "20020131", "20020331", "20020531")
    ]


@pytest.mark.parametrize("workers", [0, -1, 1.5, "2", True])
def test_numbers_of_processes(workers: Any) -> None:
    with pytest.raises(DataError, match="whole number of processes"):
        bf.processes(workers)


# --- Dask --------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("default::DeprecationWarning:distributed")
@pytest.mark.filterwarnings("default::ResourceWarning")  # sockets of the worker that was killed
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_dask_and_a_worker_killed_in_mid_run(panel: bf.Panel, ols: bf.Forecasts, tmp_path: Path) -> None:
    """Two worker processes, the results of a walk without; then one is killed, and only what it held is made again."""
    distributed = pytest.importorskip("distributed")
    (notes := tmp_path / "notes").mkdir()
    rule = bf.Windows.expanding(18, test=1)  # twelve
    wanted = bf.walk_forward(OLS(), panel, None, rule, audit=False)
    settings = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with (
        distributed.LocalCluster(**settings, silence_logs=50, local_directory=str(tmp_path / "dask")) as cluster,
        distributed.Client(cluster) as client,
    ):
        pool = client.get_executor(pure=False)
        assert same(bf.walk_forward(OLS(), panel, None, WINDOWS, executor=pool), ols)
        held: dict[str, Any] = {}

        def kill() -> None:
            """When some windows are done and a worker is in the middle of one: kill it, and note what it held."""
            while len(begun(notes)) < 5:
                time.sleep(0.01)
            entries = sorted(notes.iterdir(), key=lambda entry: entry.stat().st_mtime)
            victim = int(entries[-1].read_text())
            held["tasks"] = client.run_on_scheduler(tasks_of, victim)
            held["begun"] = Counter(begun(notes))
            os.kill(victim, signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        found = bf.walk_forward(Noting(str(notes), seconds=0.4), panel, None, rule, executor=pool)
        killer.join()
    assert found.data.drop_attrs().identical(wanted.data.drop_attrs())
    counts = Counter(begun(notes))
    assert len(counts) == 12
    again = {when: count for when, count in counts.items() if count > 1}
    # What was running there, and what was finished there and not yet fetched.
    assert 1 <= len(again) <= held["tasks"]
    assert set(again.values()) == {2}
    assert set(again) <= set(held["begun"])
    assert len({int(entry.read_text()) for entry in notes.iterdir()}) == 3  # a new worker in its place


def tasks_of(pid: int, dask_scheduler: Any = None) -> int:
    """Windows that a worker process runs, one at most, or holds the results of."""
    (worker,) = (one for one in dask_scheduler.workers.values() if one.pid == pid)
    return min(len(worker.processing), 1) + len(worker.has_what)
