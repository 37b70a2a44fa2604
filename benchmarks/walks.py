"""A walk on two processes against one, and on a local Dask cluster: time, and whether results are the same bits.

    python -m benchmarks.walks

Rolling windows of the linear model by NUTS. Each pool walks once before it is timed, so that its processes have started
and compiled; two timed walks each, in turn; medians. Run it on a quiet machine. Writes a section of docs/walks.md.
"""

from __future__ import annotations

import statistics
import time
import warnings
from concurrent.futures import Executor
from contextlib import ExitStack
from typing import Any

from benchmarks.record import ROOT, line, provenance, table, use_compilation_cache

use_compilation_cache()

import bayesfactor as bf  # noqa: E402
from bayesfactor.errors import BayesFactorWarning  # noqa: E402

PAGE = ROOT / "docs" / "walks.md"
WINDOWS = bf.Windows.rolling(60, test=6)
N_WINDOWS, REPEATS = 8, 2
MODEL = bf.FundamentalFactorModel(hidden=(), noise="normal")
NUTS = bf.NUTS(warmup=200, draws=200, chains=2)


def walk(panel: bf.Panel, executor: Executor | None, seed: int) -> tuple[float, bf.Forecasts]:
    """Seconds and forecasts of one walk."""
    began = time.perf_counter()
    forecasts = bf.walk_forward(MODEL, panel, NUTS, WINDOWS, executor=executor, seed=seed, audit=False, progress=False)
    return time.perf_counter() - began, forecasts


def main() -> None:
    """Measure and write the page."""
    warnings.simplefilter("ignore", BayesFactorWarning)
    panel = bf.simulate.economy(n_months=60 + 6 * N_WINDOWS, n_assets=100, n_characteristics=5, seed=1).panel
    with ExitStack() as stack:
        pools: dict[str, Any] = {
            "this process": None,
            "one process": stack.enter_context(bf.processes(1)),
            "two processes": stack.enter_context(bf.processes(2)),
        }
        from distributed import Client, LocalCluster

        cluster = stack.enter_context(
            LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None)
        )
        pools["Dask, two workers"] = stack.enter_context(Client(cluster)).get_executor(pure=False)
        first = {name: walk(panel, pool, 0)[0] for name, pool in pools.items()}
        seconds: dict[str, list[float]] = {name: [] for name in pools}
        same = True
        for repeat in range(REPEATS):
            made = {}
            for name, pool in pools.items():
                took, made[name] = walk(panel, pool, 1 + repeat)
                seconds[name].append(took)
                print(f"{name}: {took:.1f} s", flush=True)
            same &= all(made["this process"].data.identical(other.data) for other in made.values())
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    rows = [
        [
            name,
            f"{first[name]:.1f} s",
            f"{medians[name]:.1f} s ({min(seconds[name]):.1f} to {max(seconds[name]):.1f})",
            f"{medians['one process'] / medians[name]:.2f} x",
        ]
        for name in pools
    ]
    told = "yes" if same else "NO"
    text = [
        "# Walks on several processes",
        f"{line(provenance())} Made by `python -m benchmarks.walks`.",
        f"{N_WINDOWS} windows, `{WINDOWS!r}`, 100 assets, 5 characteristics, `{MODEL!r}`, `{NUTS!r}`. Goal: two "
        f"processes at least 1.7 x one on two cores. The same bits everywhere: {told}.",
        table(
            ["on", "first walk (starting, compiling)", f"later walks, median of {REPEATS}", "against one process"], rows
        ),
    ]
    PAGE.write_text("\n\n".join(text) + "\n")


if __name__ == "__main__":
    main()
