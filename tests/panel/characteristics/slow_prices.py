"""Characteristics of one asset at one date, day by day from the words of the definitions; shares no code with them."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

NAN = math.nan


def daily(seed: int = 0, n_assets: int = 6, n_days: int = 400, start: str = "2010-01-04") -> pd.DataFrame:
    """Closes as traded and adjusted, volumes, shares, highs and lows: ragged, with gaps, holes and dead days."""
    rng = np.random.default_rng(seed)
    days = pd.bdate_range(start, periods=n_days)
    shocks = 0.01 * rng.standard_normal(n_days)
    frames = []
    for i in range(n_assets):
        returns = (0.5 + 0.3 * i) * shocks + 0.015 * rng.standard_normal(n_days)
        returns[rng.random(n_days) < 0.05] = 0.0
        adjusted = 20.0 * np.cumprod(1 + returns)
        traded = adjusted * np.where(np.arange(n_days) < n_days // 2, 2.0, 1.0 + i % 2)  # some split in the middle
        volume = rng.integers(1, 10**5, n_days) * 1.0
        volume[rng.random(n_days) < 0.03] = 0.0
        frame = pd.DataFrame({"day": days, "id": 100 + i, "close": traded, "adj": adjusted, "volume": volume})
        frame["shares"] = 1e6 * (1 + i) * 20.0 / traded * adjusted
        frame.loc[np.random.default_rng((seed, i)).random(n_days) < 0.05, "shares"] = np.nan
        frame["high"] = traded * (1 + 0.02 * rng.random(n_days))
        frame["low"] = traded * (1 - 0.02 * rng.random(n_days))
        keep = np.ones(n_days, bool)
        keep[rng.random(n_days) < 0.01] = False
        if i == 1:
            keep[: n_days // 3] = False  # listed late
        if i == 2:
            keep[int(0.85 * n_days) :] = False  # stops in the middle of a month
        if i == 3:
            keep[60:68] = False  # a gap that is bridged
        if i == 4:
            keep[60:75] = False  # and one that is not
        frame.loc[rng.random(n_days) < 0.01, ["close", "adj"]] = np.nan
        frame.loc[rng.random(n_days) < 0.01, "volume"] = np.nan
        frames.append(frame[keep])
    whole = pd.concat(frames)
    return whole.sample(frac=1, random_state=seed).reset_index(drop=True)


class Asset:
    """The priced days of one asset in order, as lists."""

    def __init__(self, rows: pd.DataFrame, all_days: list, market: dict, longest_gap: int = 10) -> None:
        rows = rows[rows["close"].notna()].sort_values("day")
        self.days = list(rows["day"])
        position = {day: k for k, day in enumerate(all_days)}
        self.ret, self.known = [], []
        for k in range(len(rows)):
            if k == 0 or position[self.days[k]] - position[self.days[k - 1]] > longest_gap:
                self.ret.append(NAN)
            else:
                self.ret.append(rows["adj"].iloc[k] / rows["adj"].iloc[k - 1] - 1)
        self.column = {name: list(rows[name]) for name in ("close", "volume", "shares", "high", "low")}
        self.market = [market.get(day, NAN) for day in self.days]

    def latest(self, last: pd.Timestamp) -> pd.Timestamp:
        """The last day with a price up to `last`; the day after where there is none."""
        return max((day for day in self.days if day <= last), default=last + pd.Timedelta(days=1))

    def window(self, last: pd.Timestamp, start: int, stop: int, unit: str = "month") -> list[int]:
        lower, upper = back(last, start, unit), back(last, stop, unit)
        return [k for k, day in enumerate(self.days) if lower < day <= upper]


def back(last: pd.Timestamp, count: int, unit: str) -> pd.Timestamp:
    if unit == "week":
        return last - pd.Timedelta(weeks=count)
    if last.is_month_end:
        return (last + pd.offsets.MonthEnd(0)) - pd.offsets.MonthEnd(count) if count else last
    return last - pd.DateOffset(months=count)


def good(*values: float) -> bool:
    return not any(math.isnan(value) for value in values)


def compound(asset: Asset, ks: list[int], least: int) -> float:
    if not ks or any(math.isnan(asset.ret[k]) for k in ks) or len(ks) < least:
        return NAN
    return math.prod(1 + asset.ret[k] for k in ks) - 1


def of_returns(asset: Asset, ks: list[int], least: int, function) -> float:
    values = [asset.ret[k] for k in ks if good(asset.ret[k])]
    return float(function(np.array(values))) if len(values) >= least else NAN


def of_market(asset: Asset, ks: list[int], least: int, what: str) -> float:
    pairs = [(asset.ret[k], asset.market[k]) for k in ks if good(asset.ret[k], asset.market[k])]
    if len(pairs) < least:
        return NAN
    y, x = np.array(pairs).T
    if what == "down":
        y, x = y[x < x.mean()], x[x < x.mean()]
    design = np.column_stack([np.ones(len(x)), x])
    coefficients, *_ = np.linalg.lstsq(design, y, rcond=None)
    if what == "sd":
        return math.sqrt(((y - design @ coefficients) ** 2).sum() / (len(y) - 2))
    return coefficients[1]


def traded_values(asset: Asset, ks: list[int]) -> list[tuple[int, float]]:
    pairs = [(k, asset.column["close"][k] * asset.column["volume"][k]) for k in ks]
    return [(k, value) for k, value in pairs if good(value)]


def illiquidity(asset: Asset, ks: list[int], least: int) -> float:
    parts = [1e6 * abs(asset.ret[k]) / v for k, v in traded_values(asset, ks) if v > 0 and good(asset.ret[k])]
    return sum(parts) / len(parts) if len(parts) >= least else NAN


def turnovers(asset: Asset, ks: list[int], least: int) -> np.ndarray | None:
    parts = [asset.column["volume"][k] / asset.column["shares"][k] for k in ks]
    parts = [part for part in parts if good(part)]
    return np.array(parts) if len(parts) >= least else None


def equities(asset: Asset, ks: list[int]) -> list[float]:
    return [asset.column["close"][k] * asset.column["shares"][k] for k in ks]


def slow(asset: Asset, last: pd.Timestamp) -> dict[str, float]:
    """Every price characteristic on `last`; windows and fewest days written out again."""

    def w(start: int, stop: int = 0, unit: str = "month") -> list[int]:
        return asset.window(last, start, stop, unit)

    out = {
        "rev_1w": compound(asset, w(1, unit="week"), 3),
        "rev_1m": compound(asset, w(1), 15),
        "mom_6_2": compound(asset, w(6, 1), 90),
        "mom_12_2": compound(asset, w(12, 1), 200),
        "mom_12_7": compound(asset, w(12, 6), 105),
        "ltrev_36_13": compound(asset, w(36, 12), 450),
        "ltrev_60_13": compound(asset, w(60, 12), 900),
        "season_12": compound(asset, w(12, 11), 15),
        "season_60": sum(compound(asset, w(m, m - 1), 15) for m in (12, 24, 36, 48, 60)) / 5,
        "mom_change": compound(asset, w(6), 105) - compound(asset, w(12, 6), 105),
    }
    index, levels = 1.0, []
    year = w(12)
    if good(compound(asset, year, 200)):
        for k in year:
            index *= 1 + asset.ret[k]
            levels.append(index)
    out["hi52"] = levels[-1] / max(levels) if levels else NAN
    for name, ks, least in (("1m", w(1), 15), ("12m", year, 200)):
        out[f"vol_{name}"] = of_returns(asset, ks, least, lambda r: np.std(r, ddof=1))
        out[f"zero_{name}"] = of_returns(asset, ks, least, lambda r: np.mean(r == 0))
        out[f"ivol_{name}"] = of_market(asset, ks, least, "sd")
        out[f"illiq_{name}"] = illiquidity(asset, ks, least)
        values = [value for _, value in traded_values(asset, ks)]
        out[f"dolvol_{name}"] = math.log(sum(values) / len(values)) if len(values) >= least else NAN
    out["skew_12m"] = of_returns(asset, year, 200, lambda r: np.mean((r - r.mean()) ** 3) / np.std(r) ** 3)
    out["beta_12m"] = of_market(asset, year, 200, "slope")
    out["beta_down_12m"] = of_market(asset, year, 200, "down")
    out["max_1m"] = of_returns(asset, w(1), 15, np.max)
    out["min_1m"] = of_returns(asset, w(1), 15, np.min)
    logs = [math.log(value) for _, value in traded_values(asset, w(1)) if value > 0]
    out["std_dolvol_1m"] = float(np.std(logs, ddof=1)) if len(logs) >= 15 else NAN
    one, three = turnovers(asset, w(1), 15), turnovers(asset, w(3), 50)
    out["turn_1m"] = NAN if one is None else float(np.mean(one))
    out["turn_3m"] = NAN if three is None else float(np.mean(three))
    out["std_turn_1m"] = NAN if one is None else float(np.std(one, ddof=1))
    out["zerotrade_1m"] = NAN if one is None else ((one == 0).sum() + 1 / one.sum() / 480_000) * 21 / len(one)
    spreads = []
    for k in w(1):
        high, low = asset.column["high"][k], asset.column["low"][k]
        spreads.append((high - low) / ((high + low) / 2))
    out["hl_1m"] = float(np.mean(spreads)) if len(spreads) >= 15 else NAN
    known = [value for value in equities(asset, w(1)) if good(value)]
    out["log_me"] = math.log(known[-1]) if known else NAN
    out["log_price"] = math.log(asset.column["close"][w(1)[-1]]) if w(1) else NAN
    then, now = ([k for k in ks if good(asset.ret[k], *equities(asset, [k]))] for ks in (w(13, 12), w(1)))
    whole = all(good(asset.ret[k]) for k in (*w(13, 12), *year))
    if whole and len(then) >= 15 and len(now) >= 15 and len(year) >= 200:
        growth = equities(asset, now)[-1] / equities(asset, then)[-1]
        between = range(then[-1] + 1, now[-1] + 1)  # the days from the one market equity to the other
        out["issue_12m"] = math.log(growth) - sum(math.log(1 + asset.ret[k]) for k in between)
    else:
        out["issue_12m"] = NAN
    return out


def slow_market(frame: pd.DataFrame, weights: str, longest_gap: int = 10) -> dict:
    """Return by day of the equal- or value-weighted market."""
    all_days = sorted(frame.loc[frame["close"].notna(), "day"].unique())
    parts: dict = {}
    for _, rows in frame.groupby("id"):
        asset = Asset(rows, all_days, {}, longest_gap)
        for k, day in enumerate(asset.days):
            weight = 1.0 if weights == "equal_weighted" else (equities(asset, [k - 1])[0] if k else NAN)
            if good(asset.ret[k], weight):
                parts.setdefault(day, []).append((weight, asset.ret[k]))
    return {day: sum(w * r for w, r in pairs) / sum(w for w, _ in pairs) for day, pairs in parts.items()}
