"""A walk that is killed again and again ends with the bits of one that was left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from walkers import Noting, begun, same

import bayesfactor as bf
from bayesfactor.evaluation import forecasts, window_store
from bayesfactor.evaluation.window_store import WindowStore, file_of
from bayesfactor.inference import sealed

ROOT = Path(__file__).resolve().parents[2]
WINDOWS = bf.Windows.expanding(16, test=1)  # 24
KILLS = 10
MOST = 4  # windows of one run before its end


def panel() -> bf.Panel:
    return bf.simulate.economy(n_months=40, n_assets=8, n_characteristics=2, seed=6).panel


def walked(folder: Path, store: Path | None) -> bf.Forecasts:
    return bf.walk_forward(Noting(str(folder), 0.02), panel(), None, WINDOWS, store=store, audit=False)


def child(folder: Path, store: Path, moment: str) -> None:
    """Walk, and die at a moment.

    "inside:3" is within the third window of this run, "writing:3" when its file is written but has not its name yet,
    "written:3" when it has, "manifest" while the description of the walk is written, "time:0.2" so many seconds after
    the first window has begun (told to the parent, which kills), "never" not at all.
    """
    kind, _, number = moment.partition(":")
    left = 0 if kind in ("time", "never", "manifest") else int(number)
    fit, write = Noting.fit, sealed.write_sealed

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def fitting(self: Noting, train: bf.Panel) -> Any:
        nonlocal left
        fitted = fit(self, train)
        os.write(1, b"begun\n")  # the parent waits for it
        left -= 1
        if (kind, left) == ("inside", 0):
            die()
        return fitted

    def writing(path: Path, content: Any) -> None:
        manifest = path.name == "walk.json"

        def written(partial: Path) -> None:
            content(partial)
            if (kind == "writing" and left == 0 and not manifest) or (kind == "manifest" and manifest):
                die()

        write(path, written)
        if kind == "written" and left == 0 and not manifest:
            die()

    Noting.fit = fitting  # type: ignore[method-assign]
    forecasts.write_sealed = window_store.write_sealed = writing
    walked(folder, store)


def run(folder: Path, store: Path, moment: str) -> int:
    """The return code of a child; it is killed from here when its moment is a time."""
    command = [sys.executable, str(Path(__file__)), str(folder), str(store), moment]
    path = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    if moment.startswith("time:"):
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(float(moment.removeprefix("time:")))
        process.kill()
    _, errors = process.communicate(timeout=300)
    assert process.returncode in (0, -signal.SIGKILL), errors
    return process.returncode


def moments(rng: np.random.Generator) -> list[str]:
    """Where to kill: each kind twice at least, in a drawn order."""
    drawn = ["manifest", *(f"time:{seconds:.2f}" for seconds in rng.uniform(0, 0.5, 2))]
    kinds = ["inside", "writing", "written"]
    drawn += [f"{kind}:{rng.integers(1, MOST + 1)}" for kind in kinds for _ in range(2)]
    drawn += [f"{rng.choice(kinds)}:{rng.integers(1, MOST + 1)}" for _ in range(KILLS - len(drawn))]
    return ["manifest", *rng.permutation(drawn[1:]).tolist()]


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_ten_kills(tmp_path: Path) -> None:
    (alone := tmp_path / "alone").mkdir()
    wanted = walked(alone, None)
    (notes := tmp_path / "notes").mkdir()
    store = tmp_path / "store"
    ends = {file_of(one): f"{one.train[1]:%Y%m%d}" for one in WINDOWS.over(panel())}
    finished: dict[str, int] = {}  # last training month of windows on disk: how often they had been begun by then
    unfinished: Counter[str] = Counter()
    for moment in moments(np.random.default_rng(2)):
        before, had = Counter(begun(notes)), set(finished)
        assert run(notes, store, moment) == -signal.SIGKILL, f"{moment}: the walk ended before its moment"
        counts = Counter(begun(notes))
        for name, end in ends.items():
            if (store / name).exists() and end not in finished:
                finished[end] = counts[end]
        lost = [end for end in counts if counts[end] > before[end] and end not in finished]
        assert len(lost) <= 1, "a kill costs the window that was being made"
        unfinished.update(lost)
        if moment.startswith("written"):
            assert not lost
            assert len(finished) == len(had) + int(moment.split(":")[1])
        if moment.startswith(("inside", "writing")):
            assert len(lost) == 1
            assert len(finished) == len(had) + int(moment.split(":")[1]) - 1
        if finished:
            there = bf.load_forecasts(store)  # every file that has its name is whole
            assert len(there.windows) == len(finished)
            assert same(there, wanted.sel(there.times))
    assert 6 <= len(finished) < len(ends)
    assert run(notes, store, "never") == 0
    assert same(bf.load_forecasts(store), wanted)
    assert same(walked(notes, store), wanted)
    counts = Counter(begun(notes))
    assert {end: counts[end] for end in finished} == finished  # never begun again once it was on disk
    assert counts == Counter(ends.values()) + unfinished
    left = sorted(entry.name for entry in store.iterdir())
    assert left == [*sorted(ends), "walk.json"]
    assert not WindowStore.open(store).missing


if __name__ == "__main__":
    child(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
