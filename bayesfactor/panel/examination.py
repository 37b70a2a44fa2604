"""What a user must know about a raw panel before anything is fitted to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from bayesfactor.errors import DataError, first_three
from bayesfactor.panel.panel import Panel
from bayesfactor.panel.periods import show
from bayesfactor.panel.preparation import centred_ranks
from bayesfactor.panel.summary import describe, missing_cells

BEST_SHARPE = 3.0  # annual, of ranks on one characteristic, before costs: more than any that is published and real
SURE = 4.0  # standard errors of a mean correlation
_PAIRS = 10  # assets that a rank correlation needs
_PERIODS = 3  # correlations that a mean needs
_N_EXTREMES = 10
_MANY_LEAVE = 20
_MOSTLY_MISSING, _OFTEN_MISSING = 0.5, 0.05
_MOSTLY_FLAT, _MOSTLY_TIED, _MOSTLY_ZERO = 0.25, 0.5, 0.05
_NEVER_CHANGES = 0.999
_WILD = 1e3  # interquartile ranges
_LARGE_SHARE = 0.01  # of all squared returns, by one of them
_OFTEN_SAME = 0.01  # of returns, equal to the one before
_LONG_ENOUGH = 12  # periods in which some asset should leave
_FEW_PERIODS = 24  # below them `compare` is inconclusive
_COVERS, _KEEPS = (0.9, 0.8, 0.7, 0.6, 0.5), 0.9


@dataclass(frozen=True)
class Examination:
    """Tables and words about a raw panel.

    periods : by `time`: assets, observed, coverage, missing, mean_return, sd_return as in `Panel.describe`; entries,
        exits (assets new to the universe, and in it for the last time before an absence); largest_return, the return
        of largest size. Decimal.
    characteristics : by `characteristic`: missing (share of the cells of the universe), worst_period (the largest
        such share of a period), flat_periods (constant or missing for all assets), tied (share of values that another
        asset of the period has too), tail (farthest value from the median of all cells, in their interquartile
        ranges), repeated (share equal to the asset's value of the period before), with_return and with_previous (mean
        over periods of the rank correlation with the return of the same row, and of the row before), bound (what
        |with_return| stays below where nothing is wrong).
    coverage : share of assets with a value, by `time` and characteristic.
    extremes : the largest returns by `place`: time, asset, return (decimal), share_of_squares (of all squared returns).
    findings : what to look into, in words.
    suggestions : what to do, as options of the command line and in words.
    """

    periods: pd.DataFrame
    characteristics: pd.DataFrame
    coverage: pd.DataFrame
    extremes: pd.DataFrame
    findings: tuple[str, ...]
    suggestions: tuple[str, ...]

    @property
    def suspect(self) -> pd.Series:
        """Which characteristics rank the returns of their own row too well (see `examine`), by `characteristic`."""
        return _suspect(self.characteristics)


def examine(panel: Panel) -> Examination:
    """Examine a raw panel.

    A characteristic is suspected of look-ahead where it ranks the returns of its own row better than an honest one
    can. With c_t the rank correlation in period t over n_t assets, its mean over T periods must exceed

    `(BEST_SHARPE / sqrt(periods a year) + SURE / sqrt(T)) * max(sd(c_t), 1 / sqrt(mean n_t - 1))`:

    the first term is the ratio of mean to sd that an annual Sharpe ratio of 3 implies for a portfolio of ranks,
    the second the sampling error of a mean, and 1 / sqrt(n - 1) the sd of a rank correlation of independent numbers.
    It must also be more than half the correlation with the previous return, which a price characteristic may well have.

    Parameters
    ----------
    panel : raw.

    Returns
    -------
    `Examination`. It says what the whole sample shows, so what it suggests is hindsight: about data, not about returns.

    Raises
    ------
    DataError
        When the panel is prepared: ranks hide what is looked for.
    """
    if panel.prepared:
        raise DataError("examine must see raw characteristics: this panel is prepared. Give the one before it.")
    periods, characteristics = _periods(panel), _characteristics(panel, panel.data.characteristics.values)
    counts = missing_cells(panel.data)
    coverage = 1 - counts.div(periods["assets"], axis=0)
    extremes, small = _extremes(panel)
    findings = (
        *_about_characteristics(characteristics, len(panel.times)),
        *_about_returns(panel, periods, extremes, small),
        *_about_assets(panel),
    )
    suggestions = _suggestions(panel, characteristics, extremes, small)
    return Examination(periods, characteristics, coverage, extremes, findings, suggestions)


def suspects(panel: Panel) -> tuple[str, ...]:
    """Characteristics that rank the returns of their own row too well to be known before them (see `examine`).

    Parameters
    ----------
    panel : raw or prepared.
    """
    values = panel.data.characteristics.values
    if panel.prepared:  # missing cells were filled, and would tie
        values = np.where(panel.data.missing.values, np.nan, values)
    suspected = _suspect(_characteristics(panel, values))
    return tuple(str(name) for name in suspected.index[suspected])


# Tables


def _periods(panel: Panel) -> pd.DataFrame:
    data = panel.data
    universe = data.in_universe.values
    before = np.vstack([universe[:1], universe[:-1]])
    after = np.vstack([universe[1:], universe[-1:]])
    returns = np.where(universe & data.observed.values, data.returns.values, np.nan)
    place = np.abs(np.nan_to_num(returns)).argmax(axis=1)
    return describe(data).assign(
        entries=(universe & ~before).sum(axis=1),
        exits=(universe & ~after).sum(axis=1),
        largest_return=returns[np.arange(len(place)), place],
    )


def _characteristics(panel: Panel, values: np.ndarray) -> pd.DataFrame:
    """One pass over the periods, a period of the panel in memory at a time; values (time, asset, characteristic)."""
    data, names = panel.data, panel.characteristics
    universe = data.in_universe.values
    returns = np.where(universe & data.observed.values, data.returns.values, np.nan)
    n_periods, n_names = len(panel.times), len(names)
    absent, present, flat, tied, both, same = (np.zeros((n_periods, n_names)) for _ in range(6))
    now, before, pairs = (np.full((n_periods, n_names), np.nan) for _ in range(3))
    for t, members in enumerate(universe):
        block = values[t, members]
        there = ~np.isnan(block)
        absent[t], present[t] = (~there).mean(axis=0), there.sum(axis=0)
        alike = np.diff(np.sort(block, axis=0), axis=0) == 0
        edge = np.zeros((1, n_names), bool)
        tied[t] = (np.vstack([edge, alike]) | np.vstack([alike, edge])).sum(axis=0)
        flat[t] = present[t] - alike.sum(axis=0) <= 1
        ranks = centred_ranks(block)
        now[t], pairs[t] = _correlations(ranks, returns[t, members])
        if t:
            before[t], _ = _correlations(ranks, returns[t - 1, members])
            last = np.where(universe[t - 1, members, None], values[t - 1, members], np.nan)
            both[t], same[t] = (there & ~np.isnan(last)).sum(axis=0), (block == last).sum(axis=0)
    seen = np.isfinite(now).sum(axis=0)
    weights = universe.sum(axis=1)[:, None]
    return pd.DataFrame(
        {
            "missing": (absent * weights).sum(axis=0) / weights.sum(),
            "worst_period": absent.max(axis=0),
            "flat_periods": flat.sum(axis=0).astype(int),
            "tied": _ratio(tied.sum(axis=0), present.sum(axis=0)),
            "tail": [_tail(values[..., k][universe]) for k in range(n_names)],
            "repeated": _ratio(same.sum(axis=0), both.sum(axis=0)),
            "with_return": _mean(now),
            "with_previous": _mean(before),
            "bound": _bound(now, pairs, seen, panel.periods_per_year),
        },
        pd.Index(names, name="characteristic"),
    )


def _correlations(ranks: np.ndarray, returns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rank correlation of each column with returns, and over how many assets; NaN below 10, or where flat."""
    place = np.full(returns.shape, np.nan)
    seen = ~np.isnan(returns)
    place[seen] = rankdata(returns[seen])
    both = seen[:, None] & ~np.isnan(ranks)
    count = both.sum(axis=0)
    x, y = (np.where(both, part, 0.0) for part in (ranks, place[:, None]))
    x, y = (np.where(both, part - part.sum(axis=0) / np.maximum(count, 1), 0.0) for part in (x, y))
    spread = np.sqrt((x**2).sum(axis=0) * (y**2).sum(axis=0))
    enough = (count >= _PAIRS) & (spread > 0)
    return np.where(enough, (x * y).sum(axis=0) / np.where(enough, spread, 1.0), np.nan), np.where(
        enough, count, np.nan
    )


def _bound(now: np.ndarray, pairs: np.ndarray, seen: np.ndarray, periods_per_year: int) -> np.ndarray:
    """See `examine`; NaN below three periods."""
    enough = seen >= _PERIODS
    deviations = np.where(np.isfinite(now), now - _mean(now), 0.0)
    sd = np.sqrt((deviations**2).sum(axis=0) / np.maximum(seen - 1, 1))
    least = 1 / np.sqrt(np.where(enough, _mean(pairs), np.nan) - 1)
    ratio = BEST_SHARPE / np.sqrt(periods_per_year) + SURE / np.sqrt(np.maximum(seen, 1))
    return np.where(enough, ratio * np.maximum(sd, least), np.nan)


def _extremes(panel: Panel) -> tuple[pd.DataFrame, bool]:
    """The largest returns; whether most of them are of assets among the smallest fifth of their period."""
    data = panel.data
    seen = data.in_universe.values & data.observed.values
    size = np.where(seen, np.abs(data.returns.values), -1.0).ravel()
    n = min(_N_EXTREMES, int(seen.sum()))
    cells = np.argpartition(-size, max(n - 1, 0))[:n]
    cells = cells[np.lexsort((cells, -size[cells]))]
    t, i = np.unravel_index(cells, seen.shape)
    returns = data.returns.values[t, i]
    squares = float((data.returns.values[seen] ** 2).sum())
    table = pd.DataFrame(
        {
            "time": panel.times[t],
            "asset": data.asset.values[i],
            "return": returns,
            "share_of_squares": returns**2 / squares if squares else 0.0,
        },
        pd.RangeIndex(1, n + 1, name="place"),
    )
    if "size" not in data or not n:
        return table, False
    sizes = pd.DataFrame(np.where(data.in_universe.values, data["size"].values, np.nan))
    fifth = sizes.quantile(0.2, axis=1).to_numpy()[t]
    return table, bool((sizes.to_numpy()[t, i] <= fifth).mean() > 0.5)


def _tail(cells: np.ndarray) -> float:
    """Farthest value from the median, in interquartile ranges; NaN where that range is 0 or there is no value."""
    there = cells[~np.isnan(cells)]
    if not there.size:
        return np.nan
    low, middle, high = np.quantile(there, [0.25, 0.5, 0.75])
    return float(np.abs(there - middle).max() / (high - low)) if high > low else np.nan


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def _mean(rows: np.ndarray) -> np.ndarray:
    """Mean of each column over its numbers; NaN where it has none."""
    return _ratio(np.nan_to_num(rows).sum(axis=0), np.isfinite(rows).sum(axis=0))


# Words


def _suspect(table: pd.DataFrame) -> pd.Series:
    """Above the bound, and not explained by the return before; NaN is no suspicion."""
    with_return, with_previous = table["with_return"].abs(), table["with_previous"].abs()
    return (with_return > table["bound"]) & ~(with_return <= 0.5 * with_previous)


def _about_characteristics(table: pd.DataFrame, n_periods: int) -> tuple[str, ...]:
    found = []
    for name, row in table[_suspect(table)].iterrows():
        found.append(
            f"look-ahead? {name} has a mean rank correlation of {row['with_return']:+.2f} with the return of its own "
            f"row ({row['with_previous']:+.2f} with the one before); an honest characteristic stays below "
            f"{row['bound']:.2f} here. Check returns_over, lag, and when it became known."
        )
    empty = table[table["flat_periods"] > 0]
    if len(empty):
        named = _named(empty["flat_periods"], lambda count: f"{count:.0f} of {n_periods} periods")
        found.append(f"constant or missing for all assets: {named}.")
    tied = table[(table["tied"] > _MOSTLY_TIED) & (table["flat_periods"] < n_periods)]
    if len(tied):
        found.append(f"mostly ties: {_named(tied['tied'], _percent)} of values shared; ranks of them say little.")
    constant = table[table["repeated"] >= _NEVER_CHANGES]
    if len(constant):
        found.append(
            f"never changing over time: {first_three(constant.index)}. An identifier, or a value as of today that was "
            "not known before?"
        )
    wild = table[table["tail"] > _WILD]
    if len(wild):
        named = _named(wild["tail"], lambda tail: f"{tail:.1g}")
        found.append(f"errors of scale? farthest value from the median in interquartile ranges: {named}.")
    return tuple(found)


def _about_returns(panel: Panel, periods: pd.DataFrame, extremes: pd.DataFrame, small: bool) -> tuple[str, ...]:
    found = []
    data, frequency = panel.data, panel.frequency
    seen = (data.in_universe & data.observed).values
    if not seen.any():
        return ("no returns in the universe: nothing can be learned from it.",)
    if _outsized(extremes, int(seen.sum())):
        worst = extremes.iloc[0]
        where = f"{worst['asset']} in {show(worst['time'], frequency)}, {100 * worst['return']:+,.0f}%"
        whose = "; the largest are mostly of the smallest fifth of assets" if small else ""
        found.append(
            f"one return is {100 * worst['share_of_squares']:.1f}% of all squared returns ({where}){whose}. Check it."
        )
    values = data.returns.values[seen]
    zero = (values == 0).mean()
    again = (
        seen[1:] & seen[:-1] & (data.returns.values[1:] == data.returns.values[:-1]) & (data.returns.values[1:] != 0)
    )
    if zero > _MOSTLY_ZERO or again.sum() > _OFTEN_SAME * values.size:
        found.append(
            f"stale prices? {100 * zero:.1f}% of returns are exactly 0, and {100 * again.sum() / values.size:.1f}% "
            "equal the asset's return before."
        )
    open_periods = np.flatnonzero(seen.any(axis=1))
    silent = np.setdiff1d(np.arange(open_periods[0], open_periods[-1]), open_periods)
    if silent.size:
        found.append(f"no returns in the middle: {first_three(show(panel.times[t], frequency) for t in silent)}.")
    if open_periods.size < _FEW_PERIODS:
        found.append(f"only {open_periods.size} periods with returns: too few to decide between models.")
    fewest = int(periods["assets"].min())
    if fewest < 2 * len(panel.characteristics):
        when = show(periods["assets"].idxmin(), frequency)
        found.append(f"few assets: {fewest} in {when}, for {len(panel.characteristics)} characteristics.")
    return tuple(found)


def _outsized(extremes: pd.DataFrame, n_returns: int) -> bool:
    """Whether one return has a share of all squares that is large, and no chance of normal ones.

    The largest square of n normal returns is about 2 log(n) variances, and above 4 log(n) once in n samples.
    """
    if not n_returns:
        return False
    return bool(extremes["share_of_squares"].iloc[0] > max(_LARGE_SHARE, 4 * np.log(n_returns) / n_returns))


def _about_assets(panel: Panel) -> tuple[str, ...]:
    universe, observed = panel.data.in_universe.values, panel.data.observed.values
    n_periods, n_assets = universe.shape
    last = n_periods - 1 - universe[::-1].argmax(axis=0)
    leaves = universe.any(axis=0) & (last < n_periods - 1)
    if not leaves.any():
        words = "Survivors only? Then levels of means and Sharpe ratios mean nothing. Portfolios may be so."
        return (f"no asset ever leaves. {words}",) if n_periods >= _LONG_ENOUGH else ()
    known = observed[last[leaves], np.flatnonzero(leaves)]
    returns = panel.data.returns.values[last[leaves], np.flatnonzero(leaves)][known]
    mean = f", {100 * returns.mean():+.1f}% on average" if known.any() else ""
    lost = leaves.sum() - known.sum()
    count = universe.sum(axis=1)
    chosen = (
        f" Every period has {count[0]:,}: chosen by rank, so leaving is no delisting, and survivors cannot be told."
        if np.ptp(count) == 0
        else ""
    )
    traded = (universe & observed).any(axis=1)
    whole = leaves.sum() >= _MANY_LEAVE and observed[traded][universe[traded]].all()
    dropped = (
        " No row ever lacks its return: were rows left out for want of one? Then the universe knows what came later, "
        "and the losses at delisting are not in it."
        if whole
        else ""
    )
    return (
        f"{leaves.sum():,} of {n_assets:,} assets leave before the end; the return of their last period is known for "
        f"{known.sum():,}{mean}{f', missing for {lost:,}: losses at delisting may be lost' if lost else ''}.{dropped}"
        f"{chosen}",
    )


def _suggestions(panel: Panel, table: pd.DataFrame, extremes: pd.DataFrame, small: bool) -> tuple[str, ...]:
    suggested = []
    n_periods = len(panel.times)
    suspect = _suspect(table)
    poor = (table["missing"] > _MOSTLY_MISSING) | (table["flat_periods"] > _MOSTLY_FLAT * n_periods)
    out = table[suspect | poor | (table["repeated"] >= _NEVER_CHANGES)]
    kept = table.drop(out.index)
    if len(out) and len(kept):
        suggested.append(f"--exclude {','.join(out.index)}, or leave them out of --characteristics")
    share = _coverage(panel, list(kept.index)) if len(kept) else None
    if share is not None:
        suggested.append(f"--covered {share:g} leaves out assets with few characteristics, and keeps 90% of the rows")
    often = kept[kept["missing"] > _OFTEN_MISSING]
    if len(often):
        named = _named(often["missing"], _percent)
        suggested.append(f"--missing indicator, if it may matter that a value is missing: {named}")
    if small:
        n = int(0.8 * panel.data.in_universe.sum("asset").min())
        suggested.append(f"--largest {max(n, 1)} leaves out the smallest fifth, whose returns are the most extreme")
    if (kept["tail"] > _WILD).any():
        suggested.append("ranks (the default), not --standardise: a single wild value would flatten z-scores")
    if _outsized(extremes, int((panel.data.in_universe & panel.data.observed).sum())):
        suggested.append("robust noise: --noise student_t")
    return tuple(suggested)


def _coverage(panel: Panel, names: list[str]) -> float | None:
    """The largest share for `Panel.covered` that keeps nine tenths of the universe; None where all have half."""
    universe = panel.data.in_universe.values
    share = 1 - panel.data.missing.sel(characteristic=names).values[universe].mean(axis=1)
    if (share >= _COVERS[-1]).all():
        return None
    return next((cover for cover in _COVERS if (share >= cover).mean() >= _KEEPS), None)


def _named(column: pd.Series, words: Callable[[float], str]) -> str:
    """Largest first: three by name, and how many more."""
    ordered = column.sort_values(ascending=False, kind="stable")
    shown = ", ".join(f"{name} {words(value)}" for name, value in ordered.iloc[:3].items())
    return shown + (f" and {len(ordered) - 3} more" if len(ordered) > 3 else "")


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%"
