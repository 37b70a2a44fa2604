"""A fit whose panel does not fit in memory; the result goes to docs/reliability.md.

    python -m benchmarks.stream [--gib 2] [--steps 100] [--batch 8]

A panel store is written piece by piece: 3,000 stocks by 60 characteristics a week, float32, random numbers with a
nonlinear signal. Then a child process trains a network from it, compiling everything anew, and fails when its peak
resident memory (ru_maxrss, JAX and its compiler included) is above 1 GiB. As root with control groups it also runs in
one that is limited to 1 GiB, so that the kernel kills a process which needs more. RLIMIT_DATA is of no use here: it
counts address space, of which JAX reserves another GiB without touching it. The child runs with MALLOC_ARENA_MAX=2:
glibc gives every thread of the compiler and of Zarr a heap of its own otherwise, which costs some 70 MiB.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.kill import record
from benchmarks.record import CACHE, ROOT

LIMIT = 2**30  # bytes
N_STOCKS, N_CHARACTERISTICS = 3_000, 60
WEEK_BYTES = N_STOCKS * (N_CHARACTERISTICS + 1) * 4
PIECE = 16  # weeks written at once


def write(path: Path, n_weeks: int) -> None:
    """The store, a piece at a time."""
    import pandas as pd
    import xarray as xr

    import bayesfactor as bf

    names = [f"x{index + 1}" for index in range(N_CHARACTERISTICS)]
    times = pd.date_range("1965-01-01", periods=n_weeks, freq="W-FRI")
    slopes = np.random.default_rng(0).normal(0, 0.002, N_CHARACTERISTICS)
    for first in range(0, n_weeks, PIECE):
        rng = np.random.default_rng([1, first])
        shape = (len(times[first : first + PIECE]), N_STOCKS)
        z = rng.uniform(-1, 1, (*shape, N_CHARACTERISTICS))
        expected = np.tanh(3 * z) @ slopes
        returns = expected + 0.01 * rng.standard_normal((shape[0], 1)) + 0.05 * rng.standard_normal(shape)
        data = xr.Dataset(
            {
                "characteristics": (("time", "asset", "characteristic"), z),
                "missing": (("time", "asset", "characteristic"), np.zeros(z.shape, bool)),
                "in_universe": (("time", "asset"), np.ones(shape, bool)),
                "returns": (("time", "asset"), returns),
            },
            {
                "time": times[first : first + PIECE],
                "asset": [f"a{index:04}" for index in range(N_STOCKS)],
                "characteristic": names,
                "kind": ("characteristic", ["continuous"] * N_CHARACTERISTICS),
            },
        )
        bf.Panel(data, "weekly", "rank").to_zarr(path, append=first > 0, dtype=None if first else "float32")


def child(path: Path, steps: int, batch: int) -> None:
    """Fit and print what it took."""
    import warnings

    import bayesfactor as bf

    settings = bf.SVI(batch=batch, steps=steps, restarts=2, draws=30)
    began, read = time.perf_counter(), 0
    months = bf.PanelStore.months

    def counting(self: bf.PanelStore, positions: np.ndarray) -> object:
        nonlocal read
        read += len(positions) * WEEK_BYTES
        return months(self, positions)

    bf.PanelStore.months = counting  # type: ignore[method-assign]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bf.errors.ConvergenceWarning)
        model = bf.FundamentalFactorModel(hidden=(8,), noise="normal")
        fit = bf.fit(model, bf.open_panel(path), settings)
    bound = fit.tree["guide"]["elbo"].mean("chain").values
    print(
        json.dumps(
            {
                "seconds": time.perf_counter() - began,
                "read": read,
                "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
                "bound": [float(bound[0]), float(bound[-1])],
            }
        )
    )


def complete(path: Path, n_weeks: int) -> bool:
    """Whether the store has been written to its end."""
    import bayesfactor as bf

    return (path / "manifest.json").exists() and len(bf.open_panel(path).times) == n_weeks


@contextmanager
def limited() -> Iterator[tuple[list[str], str]]:
    """Words before a command that put it into a control group of `LIMIT` bytes, and how that is said."""
    for controller, limit in (
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
        (Path("/sys/fs/cgroup"), "memory.max"),
    ):
        group = controller / f"bayesfactor-stream-{os.getpid()}"
        try:
            group.mkdir()
            (group / limit).write_text(str(LIMIT))
        except OSError:
            if group.exists():
                group.rmdir()
            continue
        try:
            yield ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"], "a control group of 1 GiB"
        finally:
            group.rmdir()
        return
    yield [], "no control group to be had"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=2.0)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--keep", action="store_true", help="leave the store in .cache for the next run")
    parser.add_argument("--write", action="store_true", help="only write the store")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child is not None:
        child(given.child, given.steps, given.batch)
        return
    n_weeks = -(-int(given.gib * 2**30) // WEEK_BYTES)
    path = CACHE / f"stream-{n_weeks}"
    if not complete(path, n_weeks):
        shutil.rmtree(path, ignore_errors=True)
        CACHE.mkdir(exist_ok=True)
        began = time.perf_counter()
        write(path, n_weeks)
        print(f"written: {n_weeks} weeks, {time.perf_counter() - began:.0f} s", flush=True)
    if given.write:
        return
    words = ["--child", str(path), "--steps", str(given.steps), "--batch", str(given.batch)]
    with limited() as (before, held), tempfile.TemporaryDirectory() as cache:
        done = subprocess.run(
            [*before, sys.executable, "-m", "benchmarks.stream", *words],
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
            check=False,
            env=os.environ | {"MALLOC_ARENA_MAX": "2", "JAX_COMPILATION_CACHE_DIR": cache},
        )
    if not given.keep:
        shutil.rmtree(path)
    what = (
        f"SVI(batch={given.batch}, steps={given.steps}) of a network from a store of {n_weeks:,} weeks x "
        f"{N_STOCKS:,} stocks x {N_CHARACTERISTICS} characteristics, "
        f"{n_weeks * WEEK_BYTES / 2**30:.2f} GiB in float32; limit: 1 GiB of peak resident memory (ru_maxrss), {held}; "
        "MALLOC_ARENA_MAX=2, nothing compiled before"
    )
    if done.returncode:
        record(what, f"the process died ({done.returncode})")
        raise SystemExit(1)
    took = json.loads(done.stdout.splitlines()[-1])
    found = (
        f"complete in {took['seconds']:.0f} s, {took['read'] / 2**30:.1f} GiB read at "
        f"{took['read'] / took['seconds'] / 1e6:.0f} MB/s (computing included), peak resident memory "
        f"{took['peak'] / 2**20:.0f} MiB, {'under' if took['peak'] < LIMIT else 'OVER'} the limit"
    )
    record(what, found)
    if took["peak"] >= LIMIT:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
