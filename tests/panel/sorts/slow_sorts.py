"""A ragged economy with everything that can be odd, and a sort of it written as loops over months and assets."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayesfactor.panel import Panel

NAN = float("nan")
Cuts = list[tuple[int, int]]  # probabilities as numerator and denominator
QUINTILES: Cuts = [(1, 5), (2, 5), (3, 5), (4, 5)]
MEDIAN: Cuts = [(1, 2)]
THIRDS: Cuts = [(3, 10), (7, 10)]


def economy(
    seed: int = 1, n_months: int = 18, n_assets: int = 60, frequency: str = "monthly", tied: bool = True
) -> Panel:
    """Raw panel: ragged universe, ties, missing characteristics, sizes and returns, and a live last period."""
    rng = np.random.default_rng(seed)
    shape = (n_months, n_assets)
    cube = rng.standard_normal((*shape, 3)).cumsum(axis=0)
    if tied:
        cube[..., 1] = np.clip(np.round(cube[..., 1]), 0, 3)
    cube[rng.random(cube.shape) < 0.1] = NAN
    universe = rng.random(shape) < 0.9
    returns = np.where(rng.random(shape) < 0.1, NAN, 0.1 * rng.standard_normal(shape))
    returns[-1] = NAN
    size = np.where(rng.random(shape) < 0.05, NAN, np.exp(1.5 * rng.standard_normal(shape)))
    steps = {"monthly": "ME", "weekly": "W-FRI", "daily": "B"}
    dims = ("time", "asset")
    data = xr.Dataset(
        {
            "characteristics": ((*dims, "characteristic"), cube),
            "returns": (dims, returns),
            "in_universe": (dims, universe),
            "size": (dims, size),
            "group": (dims, rng.choice(["NYSE", "OTC"], shape)),
        },
        {
            "time": pd.date_range("2001-03-30", periods=n_months, freq=steps[frequency]),
            "asset": rng.permutation([f"A{i:03d}" for i in range(n_assets)]),
            "characteristic": ["x", "tied", "z"],
        },
    )
    return Panel(data, frequency)


def slow(
    panel: Panel,
    by: list[str],
    cuts: list[Cuts],
    *,
    ties: str = "lower",
    conditional: bool = False,
    value: bool = False,
    setters: np.ndarray | None = None,
    june: bool = False,
) -> dict[str, np.ndarray]:
    """`sort_portfolios`, one month, one asset and one portfolio at a time."""
    data = panel.data
    times, assets = range(data.sizes["time"]), range(data.sizes["asset"])
    universe, observed = data.in_universe.values, data.observed.values
    returns, size = data.returns.values, data["size"].values
    column = {name: data.characteristics.sel(characteristic=name).values for name in panel.characteristics}
    absent = {name: data.missing.sel(characteristic=name).values for name in panel.characteristics}
    column["size"], absent["size"] = size, np.isnan(size)
    boxes = list(itertools.product(*(range(1, len(one) + 2) for one in cuts)))

    def bin_of(x: float, breaks: list[float]) -> int:
        return 1 + sum(x > b if ties == "lower" else x >= b for b in breaks)

    def breaks_of(values: list[float], one: Cuts) -> list[float]:
        ordered, last = sorted(values), len(values) - 1
        up = 0 if ties == "lower" else 1
        return [ordered[last * p // q + (up if last * p % q else 0)] for p, q in one] if values else [NAN] * len(one)

    chosen: list[dict[int, tuple[int, ...]]] = []
    breakpoints = []
    for t in times:
        who = [
            i
            for i in assets
            if universe[t, i] and not any(absent[name][t, i] for name in by) and not (value and np.isnan(size[t, i]))
        ]
        sets = [i for i in who if setters is None or setters[t, i]]
        bins: dict[int, tuple[int, ...]] = dict.fromkeys(who, ())
        found = []
        for k, name in enumerate(by):
            previous = list(itertools.product(*(range(1, len(one) + 2) for one in cuts[:k]))) if conditional else [None]
            following = {}
            for box in previous:
                inside = [i for i in bins if box is None or bins[i] == box]
                breaks = breaks_of([column[name][t, i] for i in sets if i in inside], cuts[k])
                found += breaks
                for i in inside:
                    if not np.isnan(breaks[0]):
                        following[i] = (*bins[i], bin_of(column[name][t, i], breaks))
            bins = following
        chosen.append(bins)
        breakpoints.append(found)

    result: dict[str, list[Any]] = {name: [] for name in ("returns", "n_assets", "share_moved", "turnover")}
    weights, held, used = [], [], []
    last_known = max(t for t in times if any(universe[t, i] and observed[t, i] for i in assets))
    months = pd.DatetimeIndex(data.time.values)
    for t in times:
        source = t
        if june:
            july = [s for s in times if s <= t < s + 12 and months[s].month == 7]
            assert len(july) <= 1
            if not july:
                continue
            source = july[0]
        used.append(breakpoints[source])
        bins = {i: box for i, box in chosen[source].items() if universe[t, i] and not (value and np.isnan(size[t, i]))}
        row: dict[str, list[float]] = {name: [] for name in result}
        weight_now, held_now = {}, {}
        for box in boxes:
            who = [i for i in bins if bins[i] == box]
            total = sum(size[t, i] if value else 1.0 for i in who)
            w = {i: (size[t, i] if value else 1.0) / total for i in who}
            seen = [i for i in who if observed[t, i]]
            invested = sum(w[i] for i in seen)
            row["n_assets"].append(len(who))
            row["returns"].append(sum(w[i] * returns[t, i] for i in seen) / invested if seen else NAN)
            moved = sum(w[i] for i in who if i not in seen)
            row["share_moved"].append(moved if who and t <= last_known else NAN)
            worth = sum(w[i] * (1 + returns[t, i]) for i in seen)
            before = held[-1][box] if held else {}
            trade = sum(abs(w.get(i, 0.0) - before.get(i, 0.0)) for i in {*w, *before}) / 2
            row["turnover"].append(trade if w and before else NAN)
            weight_now |= w
            held_now[box] = {i: w[i] * (1 + returns[t, i]) / worth for i in seen}
        weights.append([weight_now.get(i, 0.0) for i in assets])
        held.append(held_now)
        for name, rows in result.items():
            rows.append(row[name])
    cube = np.array(result["returns"]).reshape(-1, *(len(one) + 1 for one in cuts))
    spreads = [np.moveaxis(cube, k + 1, 1) for k in range(len(cuts))]
    return {name: np.array(rows) for name, rows in result.items()} | {
        "weight": np.array(weights),
        "long_short": np.stack([(s[:, -1] - s[:, 0]).reshape(len(s), -1).mean(axis=1) for s in spreads], axis=1),
        "breakpoints": np.array(used),
    }


def assert_same(result: xr.Dataset, expected: dict[str, np.ndarray]) -> None:
    """Every figure to floating point; weights, counts and breakpoints too."""
    for name, values in expected.items():
        np.testing.assert_allclose(result[name].values, values, rtol=1e-10, atol=1e-14, err_msg=name)
