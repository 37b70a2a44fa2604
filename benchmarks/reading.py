"""Reading and preparing large files: seconds and peak memory, against plain pandas and polars doing the same.

    python -m benchmarks.reading [--of pystock top1500 1000000 10000000] [--by bayesfactor pandas polars] [--keep]

All do one job: read a Parquet file with a row for each month and asset, give every row the return of the next calendar
month (where there is one), rank each characteristic within its month to [-1, 1] with average ranks for ties, and put 0
where it is missing. Every run is a process of its own. Simulated files are written to .cache/reading (2.2 GB for 10
million rows) and deleted afterwards unless --keep is given. Results are kept in .cache/reading.json, the tables go to
docs/reading.md.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
import warnings
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.fama_macbeth import PYSTOCK_FILE, TOP_1500_FILE
from benchmarks.record import CACHE, ROOT, SHARED, line, load, provenance, store, table

FOLDER = CACHE / "reading"
RESULTS = CACHE / "reading.json"
PAGE = ROOT / "docs" / "reading.md"
ASSETS = 20_000  # a month, on average
N_CHARACTERISTICS = 60
SEED = 1
CONTENDERS = ("bayesfactor", "pandas", "polars")


class Job(NamedTuple):
    """A file, the column of its returns, and the period that they cover."""

    path: Path
    returns: str
    returns_over: str


REAL = {
    "pystock": Job(SHARED / "panels" / PYSTOCK_FILE, "xret_next", "next"),
    "top1500": Job(SHARED / "panels" / TOP_1500_FILE, "xret_next", "next"),
}
SIMULATED = ("1000000", "10000000")
OF = (*REAL, *SIMULATED)
NOT_SIGNALS = ("date", "asset", "ret", "ret_next", "rf_next", "xret_next")


def simulated(rows: int) -> Job:
    """The file of about so many rows, written if it is not there."""
    path = FOLDER / f"{rows}.parquet"
    if not path.exists():
        write(path, rows)
    return Job(path, "ret", "row")


def write(path: Path, rows: int) -> None:
    """Simulate month by month; float32, sorted by date.

    Half of the assets are there all the time, half for a window of random length and place, so that three quarters of
    the grid have a row. A tenth of the values is missing, and a tenth of the characteristics takes seven values only.
    """
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(SEED)
    n_months = round(rows / ASSETS)
    n_assets = round(ASSETS / 0.75)
    stays = np.arange(n_assets) % 2 == 0
    length = np.where(stays, n_months, rng.integers(1, n_months, n_assets))
    first = rng.integers(0, n_months - length + 1)
    last = first + length
    months = pd.date_range("1984-01-31", periods=n_months, freq="ME")
    identifiers = 10_000 + rng.permutation(n_assets).astype(np.int64)
    names = [f"x{k + 1:02d}" for k in range(N_CHARACTERISTICS)]
    path.parent.mkdir(parents=True, exist_ok=True)
    beside, writer, waiting = path.with_suffix(".tmp"), None, []
    for t, month in enumerate(months):
        members = np.flatnonzero((first <= t) & (t < last))
        values = rng.standard_normal((N_CHARACTERISTICS, members.size), dtype=np.float32)
        values[::10] = np.clip(np.round(values[::10]), -3, 3)
        values[rng.random(values.shape, dtype=np.float32) < 0.1] = np.nan
        columns = {
            "date": np.full(members.size, month.to_datetime64()),
            "asset": identifiers[members],
            "ret": (0.1 * rng.standard_normal(members.size)).clip(-0.95).astype(np.float32),
            **dict(zip(names, values, strict=True)),
        }
        waiting.append(pa.Table.from_pandas(pd.DataFrame(columns), preserve_index=False))
        if len(waiting) == 50 or t == n_months - 1:  # a million rows in a group
            group = pa.concat_tables(waiting)
            writer = writer or pq.ParquetWriter(beside, group.schema, use_dictionary=["date", "asset"])
            writer.write_table(group, row_group_size=len(group))
            waiting = []
    assert writer is not None
    writer.close()
    beside.replace(path)


def signals(job: Job) -> list[str]:
    """Names of the characteristics in the file."""
    import pyarrow.parquet as pq

    return [name for name in pq.read_schema(job.path).names if name not in NOT_SIGNALS]


def by_bayesfactor(job: Job) -> Any:
    """Float64, with every check of `read_frame` and the masks of a panel."""
    import bayesfactor as bf

    return bf.read_frame(
        job.path,
        time="date",
        asset="asset",
        returns=job.returns,
        returns_over=job.returns_over,
        lag=1 if job.returns_over == "row" else 0,
        units="decimal",
        excess=True,
        characteristics=signals(job),
    ).rank_normalise()


def by_pandas(job: Job) -> Any:
    """In float32, one characteristic after the other: the ranks of all at once are float64 and take twice as much."""
    import pandas as pd

    names = signals(job)
    frame = pd.read_parquet(job.path, columns=["date", "asset", job.returns, *names])
    frame["month"] = 12 * frame["date"].dt.year + frame["date"].dt.month
    if job.returns_over == "row":
        returns = frame[["month", "asset", job.returns]]
        frame["month"] += 1
        frame = frame.drop(columns=job.returns).merge(returns, on=["month", "asset"], how="left")
    frame = frame[frame[names].notna().any(axis=1)]
    months = frame.groupby("month")
    for name in names:
        ranks, n = months[name].rank(), months[name].transform("count")
        frame[name] = (2 * (ranks - 1) / (n - 1) - 1).fillna(0).astype("float32")
    return frame


def by_polars(job: Job) -> Any:
    """In float32, one lazy query, so that polars may plan and split it as it likes."""
    import polars as pl

    names = signals(job)
    rows = pl.scan_parquet(job.path).select(
        (12 * pl.col("date").dt.year() + pl.col("date").dt.month().cast(pl.Int32)).alias("month"),
        "asset",
        job.returns,
        *names,
    )
    if job.returns_over == "row":
        returns = rows.select("month", "asset", job.returns)
        rows = rows.drop(job.returns).with_columns(pl.col("month") + 1)
        rows = rows.join(returns, on=["month", "asset"], how="left")

    def ranked(name: str) -> pl.Expr:
        column = pl.col(name)
        scaled = (2 * (column.rank("average") - 1) / (column.count() - 1) - 1).over("month")
        return scaled.fill_null(0).fill_nan(0).cast(pl.Float32).alias(name)

    present = pl.any_horizontal(pl.col(names).is_not_null())
    return rows.filter(present).with_columns([ranked(name) for name in names]).collect()


def sums(made: Any, by: str, job: Job) -> list[float]:
    """Assets in the universe over all months, returns observed, and the sum of squares of every characteristic."""
    names = signals(job)
    if by == "bayesfactor":
        universe, months = made.data.in_universe.values, made.data.characteristics.values
        squares = sum((month[members] ** 2).sum(axis=0) for members, month in zip(universe, months, strict=True))
        return [float(universe.sum()), float((universe & made.data.observed.values).sum()), *squares]
    columns = (made[name].to_numpy().astype(np.float64) for name in names)
    seen = made[job.returns].notna() if by == "pandas" else made[job.returns].is_not_null()
    return [float(len(made)), float(seen.sum()), *(float(column @ column) for column in columns)]


def measure(of: str, by: str) -> dict[str, Any]:
    """One run in this process: its time, its peak memory, and sums that must be those of the others."""
    import pyarrow.parquet as pq

    job = REAL[of] if of in REAL else simulated(int(of))
    work = {"bayesfactor": by_bayesfactor, "pandas": by_pandas, "polars": by_polars}[by]
    import_module("bayesfactor.panel" if by == "bayesfactor" else by)
    before, began, cpu = peak(), time.perf_counter(), time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the real panels: characteristics that are missing for whole months
        made = work(job)
    return {
        "seconds": time.perf_counter() - began,
        "cpu": time.process_time() - cpu,
        "peak_mib": peak(),
        "imports_mib": before,
        "load": os.getloadavg()[1],
        "rows": pq.read_metadata(job.path).num_rows,
        "characteristics": len(signals(job)),
        "shape": list(made.data.characteristics.shape) if by == "bayesfactor" else None,
        "sums": sums(made, by, job),
        "version": version(by),
        "provenance": provenance(),
    }


def peak() -> float:
    """Largest resident size of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def page(results: dict[str, Any]) -> str:
    """The page, from all results so far."""
    rows, notes = [], []
    for of in OF:
        runs = {by: results[key] for by in CONTENDERS if (key := f"{of} {by}") in results}
        for by, run in runs.items():
            rows.append(
                [
                    of if of in REAL else "simulated",
                    f"{run['rows']:,} x {run['characteristics']}",
                    f"{by} {run['version']}",
                    f"{run['seconds']:.1f} s",
                    f"{run['cpu']:.1f} s",
                    f"{run['peak_mib']:,.0f} MiB",
                    f"{run['load']:.1f}",
                ]
            )
        if "bayesfactor" in runs:
            ours = runs["bayesfactor"]
            months, assets, _ = ours["shape"]
            dense = 8 * np.prod(ours["shape"]) / 2**20
            said = [f"a grid of {months} months x {assets:,} assets, {dense:,.0f} MiB in float64"]
            for by in CONTENDERS[1:]:
                if by in runs:
                    apart = np.max(np.abs(np.array(runs[by]["sums"]) / ours["sums"] - 1))
                    said.append(f"sums of squares and counts differ from {by}'s by at most {apart:.0e}, relatively")
            notes.append(f"- {of}: {'; '.join(said)}. {line(ours['provenance'])}")
    header = ["file", "rows x characteristics", "by", "time", "processor time", "peak memory", "load average"]
    return "\n\n".join(
        [
            "# Reading and preparing",
            "One job: read a Parquet file, give every row the return of the next calendar month, rank each "
            "characteristic within its month to [-1, 1] with average ranks for ties, put 0 where it is missing. "
            "Simulated files hold float32, a tenth of it missing, about 20,000 assets a month; three quarters of the "
            "grid of months and assets have a row. pandas and polars keep float32. A `Panel` is float64, keeps the "
            "mask of what was missing, and is checked: duplicate keys, infinite values, units, look-ahead. Every run "
            "is a process of its own; its peak resident memory includes the imports (70 to 200 MiB). polars uses both "
            "cores, the others one. The machine did other work, see the load average: processor time suffers less "
            "from that than time.",
            table(header, rows),
            *(["\n".join(notes)] if notes else []),
            "## What it takes",
            "A panel is a grid: memory goes with months x distinct assets, not with rows. Reading takes the grid, its "
            "mask and the columns as the file has them; a Parquet file is read a column at a time and never held "
            "twice. Preparing takes two grids and two masks, 18 bytes a cell. Months are ranked one by one, through "
            "one sort of integers for each characteristic ([decision 11](decisions/0011-large-panels.md)).",
            "A file whose assets come and go has a grid much larger than its rows. Read it in windows of years, and "
            "keep the prepared windows in [a store](panel.md#panels-larger-than-memory), which holds the universe "
            'only. CSV files are read whole. `missing="indicator"` doubles the columns and copies them once more.',
            "Made by `python -m benchmarks.reading`; the real panels are not part of the repository.\n",
        ]
    )


def main() -> None:
    """Every run in a process of its own, so that peak memory is its own."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reading", description=__doc__.splitlines()[0])
    parser.add_argument("--of", nargs="*", choices=OF, default=list(OF), help="a panel, or rows to simulate")
    parser.add_argument("--by", nargs="*", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--keep", action="store_true", help="keep the simulated files")
    parser.add_argument("--here", action="store_true", help="measure one run in this process and print it as JSON")
    given = parser.parse_args()
    if given.here:
        print(json.dumps(measure(given.of[0], given.by[0])))
        return
    for of in given.of:
        if of not in REAL:
            simulated(int(of))
        for by in given.by:
            if find_spec(by) is None:
                print(f"{of} {by}: not measured, {by} is not installed here", flush=True)
                continue
            command = [sys.executable, "-m", "benchmarks.reading", "--here", "--of", of, "--by", by]
            done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
            if done.returncode:
                print(f"{of} {by}: failed, exit {done.returncode}", flush=True)
                continue
            run = json.loads(done.stdout.splitlines()[-1])
            store(RESULTS, load(RESULTS) | {f"{of} {by}": run})
            print(
                f"{of} {by}: {run['seconds']:.1f} s, processor {run['cpu']:.1f} s, peak {run['peak_mib']:,.0f} MiB",
                flush=True,
            )
        if of not in REAL and not given.keep:
            simulated(int(of)).path.unlink()
    PAGE.write_text(page(load(RESULTS)))


if __name__ == "__main__":
    main()
