"""What characteristics from daily prices cost: `python -m benchmarks.characteristics [ASSETS DAYS FREQUENCY]`.

CPU seconds of the process, so that other work on the machine matters little, and peak memory beyond the frame's.
"""

from __future__ import annotations

import resource
import sys
import time

import numpy as np
import pandas as pd

from bayesfactor.panel.characteristics import from_prices


def daily(n_assets: int, n_days: int) -> pd.DataFrame:
    """Simulated closes and volumes, one row for each day and asset; the days end with a year."""
    rng = np.random.default_rng(0)
    days = pd.bdate_range(end="2019-12-31", periods=n_days)
    index = pd.MultiIndex.from_product([days, np.arange(n_assets)], names=["day", "asset"])
    close = 50 * np.exp(np.cumsum(0.02 * rng.standard_normal((n_days, n_assets)), axis=0)).ravel()
    frame = pd.DataFrame({"close": close, "high": 1.01 * close, "low": 0.99 * close}, index=index)
    frame["volume"] = rng.integers(1, 10**6, len(frame)).astype(float)
    return frame.assign(shares=1e8).reset_index()


def main(n_assets: int = 1500, n_days: int = 3000, frequency: str = "monthly") -> None:
    """Print one line."""
    frame = daily(n_assets, n_days)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    columns = {name: name for name in ("close", "volume", "shares", "high", "low", "asset")}
    found = from_prices(
        frame, time="day", close_adjusted_for="splits", market="value_weighted", frequency=frequency, **columns
    )
    seconds, after = time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    size = frame.memory_usage().sum() / 2**20
    print(
        f"{n_assets:,} assets x {n_days:,} days, {frequency}, {found.shape[1] - 4} characteristics: "
        f"{seconds:.1f} s of one core, {(after - before) / 1024:,.0f} MiB beyond a frame of {size:,.0f} MiB, "
        f"{len(found):,} rows"
    )


if __name__ == "__main__":
    main(*(kind(value) for kind, value in zip((int, int, str), sys.argv[1:], strict=False)))
