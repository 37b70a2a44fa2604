"""Joins by label: benchmarks, portfolios, predictors, sizes and groups come to the periods that may use them."""

from __future__ import annotations

import calendar
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayesfactor.errors import (
    AlignmentError,
    DataError,
    DuplicateKeyError,
    LookAheadError,
    UnitsError,
    first_three,
)
from bayesfactor.panel.contract import DIMS, KNOWN_BEFORE, cells_of, check_units
from bayesfactor.panel.files import read_table
from bayesfactor.panel.panel import Panel
from bayesfactor.panel.periods import PERIODS_PER_YEAR, Calendar, Days, as_days, parse_dates, period_ends, show
from bayesfactor.panel.reading import (
    TINY_RETURN,
    FrameSource,
    Keys,
    as_labels,
    as_numbers,
    check_riskless_units,
    check_units_told,
    riskless_by_position,
)

CONSTANT = "constant"
_MISSING_CODE = -0.99  # no benchmark or portfolio loses this much in a period: -99.99 and -999 percent are codes
_FEW_LOSSES, _ENOUGH_PERIODS = 0.05, 24
_FRIDAY = 4  # Monday is 0
_MID_MONTH = range(5, 26)  # days of the month that neither begin nor end one
_TWO_WEEKS = 10  # days of trading
_COLUMN = "value"


@dataclass(frozen=True)
class Joined:
    """Values that a panel takes in: one row for each date and label.

    `dates` is None for what never changes. `lag` is the age in periods by label; 0 for what happens in the period.
    """

    variable: str
    calendar: Calendar  # of the panel, and of days before it
    dates: Days | None  # (row,)
    labels: np.ndarray  # (label,) text, in the order given
    code: np.ndarray  # (row,) position in `labels`
    values: np.ndarray  # (row,) float64, or text
    lag: np.ndarray  # (label,)
    line: str = ""

    @property
    def dim(self) -> str:
        """What the values are over, beside time."""
        return DIMS[self.variable][1]

    def known_at(self, cut: np.datetime64) -> Joined:
        """The rows dated up to the end of the period labelled `cut`."""
        if self.dates is None:
            return self
        known = self.dates <= self.calendar.last_day(cut)
        return replace(self, dates=self.dates[known], code=self.code[known], values=self.values[known])

    def onto(self, data: xr.Dataset) -> xr.Dataset:
        """The dataset with the values at the periods that may use them; further labels go after those it has."""
        labels = list(data.indexes["asset"] if self.dim == "asset" else self.labels)
        grid = self.at(pd.DatetimeIndex(data.indexes["time"]), labels)
        new = xr.DataArray(grid, {"time": data.time, self.dim: labels}, ("time", self.dim))
        if self.variable in data:
            new = xr.concat([data[self.variable], new], self.dim, join="exact")
            data = data.drop_vars([self.variable, self.dim])
        return data.assign({self.variable: new})

    def at(self, times: pd.DatetimeIndex, labels: list[str]) -> np.ndarray:
        """Values (time, label); NaN, or empty text, where there is none."""
        absent: Any = np.nan if self.values.dtype.kind == "f" else ""
        grid = np.full((len(times), len(labels)), absent, self.values.dtype)
        column = pd.Index(labels).get_indexer(pd.Index(self.labels))[self.code]
        if self.dates is None:
            grid[:, column[column >= 0]] = self.values[column >= 0]
            return grid
        row = pd.Index(self.calendar.ordinals(as_days(times))).get_indexer(pd.Index(self.lands()))
        inside = (row >= 0) & (column >= 0)
        grid[row[inside], column[inside]] = self.values[inside]
        return grid

    def lands(self) -> np.ndarray:
        """Position in the calendar of the period where each row lands; that of no period for a day it has not."""
        assert self.dates is not None
        position = self.calendar.ordinals(self.dates)
        lands = position + self.lag[self.code]
        return np.where(position < 0, -1, lands) if self.calendar.frequency == "daily" else lands


def returns_by_period(
    panel: Panel, variable: str, returns: Any, units: Any, excess: Any, risk_free: pd.Series | None
) -> Joined:
    """Returns over time and benchmark or portfolio, in decimal and in excess of the riskless rate."""
    check_units_told(units, excess, risk_free)
    if risk_free is not None and not isinstance(risk_free, pd.Series):
        raise DataError(f"risk_free must be a Series by date: found {type(risk_free).__name__}.")
    _refuse_other_than_said(returns, variable, units=units, excess=excess)
    _refuse_other_than_said(risk_free, "risk_free", units=units)
    joined = _dated(panel, variable, returns)
    assert joined.dates is not None
    keys = _keys(joined)
    scale = 0.01 if units == "percent" else 1.0
    values = scale * joined.values
    check_units(values[:, None], variable, PERIODS_PER_YEAR[panel.frequency])
    codes = values <= _MISSING_CODE
    if codes.any():
        raise DataError(
            f"{variable} must be returns above {100 * _MISSING_CODE:g}%: found {np.nanmin(values) / scale:g}, "
            f"and such at {keys(codes)}. Usually a missing code (-99.99, -999): make it NaN before joining."
        )
    if risk_free is not None:
        calendar = Calendar.of(joined.dates, panel.frequency)
        rates = riskless_by_position(risk_free, calendar).reindex(calendar.ordinals(joined.dates)).to_numpy()
        needed = ~np.isnan(values) & _inside(panel, joined)
        lacking = needed & ~np.isfinite(rates)
        if lacking.any():
            raise DataError(f"risk_free must be known wherever there is a return: missing at {keys(lacking)}.")
        check_riskless_units(rates, units, keys, needed)
        values = values - scale * rates
    how = f"{units}, {'excess' if excess else 'less the riskless rate'}"
    return _told(panel, replace(joined, values=values), how)


def known_before(panel: Panel, variable: str, values: Any, lag: Any) -> Joined:
    """Values dated `lag` periods before the period that may use them."""
    if variable == "group" and isinstance(lag, str) and lag == CONSTANT:
        return _told(panel, _undated(panel, variable, values), CONSTANT)
    by_name = variable == "macro" and isinstance(lag, Mapping)
    ages = {str(name): age for name, age in lag.items()} if by_name else {"": lag}
    for name, age in ages.items():
        _check_age(age, f" of {name!r}" if name else "")
    joined = _dated(panel, variable, values)
    if not by_name:
        return _told(panel, replace(joined, lag=np.full(joined.labels.size, lag)), f"lag={lag}")
    if unnamed := [name for name in joined.labels if name not in ages]:
        raise LookAheadError(f"lag must say how old every predictor is: it does not for {first_three(unnamed)}.")
    used = {name: int(ages[name]) for name in joined.labels}
    return _told(panel, replace(joined, lag=np.array(list(used.values()))), f"lag={used}")


def check(panel: Panel, joined: Joined) -> tuple[str, ...]:
    """Refuse what does not match the panel; say in words what matches in part.

    Raises
    ------
    AlignmentError
        When no date, or no asset, is one of the panel's.
    DataError
        When benchmarks or portfolios lack a period with returns, or predictors any period.
    DuplicateKeyError
        When the panel has the variable, or the label, already.
    """
    data, variable = panel.data, joined.variable
    _refuse_twice(panel, joined)
    late = _known_late(panel, joined)
    labels = list(data.indexes["asset"]) if joined.dim == "asset" else list(joined.labels)
    grid = joined.at(panel.times, labels)
    absent = np.isnan(grid) if grid.dtype.kind == "f" else grid == ""
    _refuse_strangers(panel, joined, absent)
    names: list[pd.Index] = [panel.times, pd.Index(labels)]
    universe = data.in_universe.values
    if joined.dim == "asset":
        return (*late, *_outside(panel, joined), *_lacking_assets(panel, joined, absent & universe, names))
    traded = (universe & data.observed.values).any(axis=1)
    if variable == "macro":
        _refuse_gaps(panel, joined, absent, "every period of the panel, the live one too", names)
        return (*late, *_outside(panel, joined))
    if variable == "benchmark_returns":
        _refuse_gaps(panel, joined, absent & traded[:, None], "every period with returns", names)
    else:
        none = np.broadcast_to(absent.all(axis=1)[:, None], absent.shape)
        _refuse_gaps(panel, joined, none & traded[:, None], "every period with returns (one of them at least)", names)
    return (*_outside(panel, joined), *_odd_returns(panel, joined, grid, absent & traded[:, None], names))


# Reading what users hold


def _refuse_other_than_said(values: Any, name: str, **told: Any) -> None:
    """Refuse words that contradict those in `attrs`, where readers of this package leave what a file says."""
    said = getattr(values, "attrs", {})
    if not isinstance(said, Mapping):
        return
    apart = [
        f"{word} is {said[word]!r} in attrs, told {one!r}"
        for word, one in told.items()
        if _contradicts(said, word, one)
    ]
    if apart:
        raise UnitsError(
            f"{name} must be told as its reader found it: {'; '.join(apart)}. Portfolios of the Ken French library are "
            "raw, its factors in excess or zero-cost. If you have changed the values since (taken the riskless rate "
            "off, say), clear what was said: returns.attrs = {}."
        )


def _contradicts(said: Mapping[Any, Any], word: str, told: Any) -> bool:
    """Whether `attrs` hold one of the package's own words, and another one was told."""
    ours = said.get(word) in ("decimal", "percent") if word == "units" else isinstance(said.get(word), bool)
    return ours and said[word] != told


def _days_before(times: Days, dates: Days) -> Days:
    """The dates before the panel that are days of its calendar: on a weekday that it trades on.

    A panel of less than two weeks cannot tell all of these: Monday to Friday count as well.
    """
    share = np.bincount(_day_of_period(times, weekly=True), minlength=7) / times.size
    trades = share > 1 / 14  # half of a seventh: one stray row makes no day of trading
    trades[:5] |= times.size < _TWO_WEEKS
    before = dates[dates < times[0]]
    return before[trades[_day_of_period(before, weekly=True)]]


def _dated(panel: Panel, variable: str, values: Any) -> Joined:
    """Rows of a wide or long frame, checked; every lag 0."""
    dim = DIMS[variable][1]
    dates, labels, column = _rows(values, dim, variable)
    code, order = pd.factorize(labels)
    keys = Keys(dates, order, code, panel.frequency)
    _refuse_duplicates(keys, panel.frequency, variable)
    frame = pd.DataFrame({variable: column})
    cells = _text(frame[variable], variable, required=False) if variable == "group" else None
    times = as_days(panel.times)
    return Joined(
        variable=variable,
        calendar=Calendar.of(np.append(_days_before(times, dates), times), panel.frequency),
        dates=dates,
        labels=order,
        code=code,
        values=as_numbers(frame, variable, keys) if cells is None else cells,
        lag=np.zeros(order.size, np.int64),
    )


def _undated(panel: Panel, variable: str, values: Any) -> Joined:
    """One group for each asset, said to never change."""
    if not isinstance(values, pd.Series) or values.index.nlevels != 1:
        raise DataError(
            f"with lag={CONSTANT!r} {variable} must be a Series by asset: found {_kind(values)}. Values that change "
            "take the number of periods as lag."
        )
    labels = _text(values.index.to_series(), "asset", required=True)
    repeated = labels[pd.Index(labels).duplicated()]
    if repeated.size:
        raise DuplicateKeyError(f"{variable} must have one value an asset: repeated {first_three(repeated)}.")
    count = np.arange(labels.size)
    text = _text(values, variable, required=False)
    return Joined(variable, Calendar(panel.frequency), None, labels, count, text, np.zeros_like(count))


def _rows(values: Any, dim: str, variable: str) -> tuple[Days, np.ndarray, pd.Series]:
    """Date, label and value of every cell; levels and columns named `time` and `dim` are found by name."""
    frame = _frame(values, dim, variable)
    levels = [str(name) for name in frame.index.names if name is not None]
    if both := [name for name in levels if name in frame.columns]:
        raise DataError(f"a name must mean one thing: {both} is both an index level and a column. Drop one.")
    if {"time", dim} <= {*levels, *frame.columns}:
        return _long_rows(frame.reset_index(level=levels), dim, variable)
    if frame.index.nlevels > 1 or frame.columns.nlevels > 1:
        raise DataError(f"{variable} must be over 'time' and {dim!r}, levels named so: found {_kind(values)}.")
    if frame.index.name == dim or frame.columns.name == "time":
        frame = frame.T
    numbered = isinstance(frame.index, pd.RangeIndex) and frame.index[:1].tolist() == [0]
    if numbered and "time" in frame.columns:
        frame = frame.set_index("time")
    elif numbered:
        raise DataError(f"{variable} must be dated, and its index only counts rows. Set it: set_index('date').")
    if not frame.size:
        raise DataError(f"{variable} must hold values: found {_kind(values)}.")
    dates = parse_dates(frame.index, f"time of {variable}")
    labels = _names(frame.columns.to_series(), dim)
    column = pd.Series(frame.to_numpy().ravel()).infer_objects()
    return np.repeat(dates, labels.size), np.tile(labels, dates.size), column


def _frame(values: Any, dim: str, variable: str) -> pd.DataFrame:
    if isinstance(values, pd.DataFrame):
        return values
    if isinstance(values, pd.Series) and values.index.nlevels > 1:
        return values.to_frame(_COLUMN)
    if isinstance(values, pd.Series) and dim == "asset":
        what = f"{variable} must be over time and asset: found {_kind(values)}, one value each."
        if variable == "group":
            raise LookAheadError(
                f"{what} A sector as of today was not known before. If it never changes (a country, the sort that a "
                f"portfolio comes from), say lag={CONSTANT!r}."
            )
        raise DataError(what)
    if isinstance(values, pd.Series) and values.name is not None:
        return values.to_frame()
    raise DataError(
        f"{variable} must be a DataFrame over time, a named Series over time, or long with levels named 'time' and "
        f"{dim!r}: found {_kind(values)}{' without a name' if isinstance(values, pd.Series) else ''}."
    )


def _long_rows(frame: pd.DataFrame, dim: str, variable: str) -> tuple[Days, np.ndarray, pd.Series]:
    others = [name for name in frame.columns if name not in ("time", dim)]
    if len(others) != 1 or not len(frame):
        raise DataError(f"long {variable} must have rows and one column of values: found {first_three(others)}.")
    return parse_dates(frame["time"], "time"), _names(frame[dim], dim), frame[others[0]].reset_index(drop=True)


def _names(column: pd.Series, dim: str) -> np.ndarray:
    return _text(column.reset_index(drop=True), dim, required=True).astype(object)


def _text(column: pd.Series, name: str, required: bool) -> np.ndarray:
    """Each row's identifier as text."""
    labels, code = as_labels(column, name, required)
    return labels[code]


def _kind(values: Any) -> str:
    if isinstance(values, pd.DataFrame | pd.Series):
        levels = [str(name) for name in values.index.names]
        return f"{type(values).__name__} of shape {values.shape} with index {levels}"
    return type(values).__name__


def _check_age(lag: Any, of: str) -> None:
    if isinstance(lag, bool) or not isinstance(lag, int | np.integer):
        raise LookAheadError(f"lag{of} must be a whole number of calendar periods: found {lag!r}.")
    if lag < 1:
        raise LookAheadError(
            f"lag{of} must be at least 1: found {lag}. A value dated in a period is known at its end, so the next one "
            "is the first that may use it; lag=2 where it is published a period late."
        )


def _refuse_duplicates(keys: Keys, frequency: str, variable: str) -> None:
    index = pd.MultiIndex.from_arrays([period_ends(keys.dates, frequency), keys.asset])
    again = index.duplicated()
    if again.any():
        raise DuplicateKeyError(
            f"{variable} must have one value a period ({frequency}) and label: repeated {keys(again)}. Usually data of "
            "a higher frequency, to be compounded first, or a table given twice."
        )


# Against the panel


def _known_late(panel: Panel, joined: Joined) -> tuple[str, ...]:
    """Refuse values dated after the returns that would use them began.

    Returns of a weekly panel dated on Wednesdays run from one Wednesday to the next: Friday's value is not known before
    the week that follows it on the calendar. A month dated in its middle may be one from middle to middle, or only
    dated so: that is said in a warning.

    Raises
    ------
    LookAheadError
    """
    if joined.variable not in KNOWN_BEFORE or joined.dates is None:
        return ()
    begins = _day_of_most(panel)
    weekly = panel.frequency == "weekly"
    if begins is None or not (begins < _FRIDAY if weekly else begins in _MID_MONTH):
        return ()
    late = (joined.lag[joined.code] == 1) & (_day_of_period(joined.dates, weekly) > begins) & _inside(panel, joined)
    if not late.any():
        return ()
    cells = _keys(replace(joined, calendar=Calendar("weekly")))(late)  # with their days, of months too
    if weekly:
        raise LookAheadError(
            f"{joined.variable} with lag=1 must be dated by the weekday on which the panel's returns begin, or before: "
            f"its rows are dated mostly {calendar.day_name[begins]}, so returns begin there; values are dated later "
            f"in the week at {cells}. Say lag=2, or give values of that weekday."
        )
    return (
        f"{joined.variable} with lag=1 is dated after day {begins} of the month at {cells}, and the panel's rows are "
        "dated mostly on that day: if its returns begin there, these values were not known, and lag=2 is right.",
    )


def _day_of_most(panel: Panel) -> int | None:
    """Weekday, or day of the month, that most rows of the panel's frame have; None where there is no frame."""
    assert panel._recipe is not None
    source = panel._recipe.source
    if panel.frequency == "daily" or not isinstance(source, FrameSource):
        return None
    name, origin = source.layout.time, source.origin
    frame = origin if isinstance(origin, pd.DataFrame) else read_table(origin, columns=[name])
    values = frame.index.get_level_values(name) if name in frame.index.names else frame[name]
    return int(np.bincount(_day_of_period(parse_dates(values, name), panel.frequency == "weekly")).argmax())


def _day_of_period(dates: Days, weekly: bool) -> np.ndarray:
    """Weekday, Monday being 0, or day of the month."""
    index = pd.DatetimeIndex(dates.astype("datetime64[s]"))
    return (index.day_of_week if weekly else index.day).to_numpy()


def _told(panel: Panel, joined: Joined, how: str) -> Joined:
    """With its line for the history."""
    verb = {"benchmark_returns": "benchmark", "portfolio_returns": "portfolios"}.get(joined.variable, joined.variable)
    if joined.dim == "asset":
        shared = int(np.isin(joined.labels, panel.data.asset.values).sum())
        counted = (
            f"{shared:,} of {panel.data.sizes['asset']:,} assets, {joined.labels.size - shared:,} not in the panel"
        )
    else:
        shown = ", ".join(joined.labels[:5]) + (f" and {joined.labels.size - 5} more" if joined.labels.size > 5 else "")
        assert joined.dates is not None
        inside = _inside(panel, joined)
        ends = period_ends(joined.dates, panel.frequency)
        outside = np.unique(ends).size - np.unique(ends[inside]).size
        counted = f"{shown}; {outside:,} periods given not in the panel"
    return replace(joined, line=f"join_{verb}: {how}; {counted}")


def _keys(joined: Joined) -> Keys:
    assert joined.dates is not None
    return Keys(joined.dates, joined.labels, joined.code, joined.calendar.frequency)


def _inside(panel: Panel, joined: Joined) -> np.ndarray:
    """Rows that land on a period of the panel."""
    return np.isin(joined.lands(), joined.calendar.ordinals(as_days(panel.times)))


def _refuse_twice(panel: Panel, joined: Joined) -> None:
    if joined.variable not in panel.data:
        return
    if joined.dim == "asset":
        raise DuplicateKeyError(
            f"the panel has {joined.variable!r} already, and two cannot both be it. Read the panel without "
            f"{joined.variable}=, or keep what it has."
        )
    taken = [label for label in joined.labels if label in panel.data.indexes[joined.dim]]
    if taken:
        raise DuplicateKeyError(
            f"labels of {joined.dim} must be unique: the panel has {first_three(taken)} already. Rename or leave out."
        )


def _refuse_strangers(panel: Panel, joined: Joined, absent: np.ndarray) -> None:
    """Refuse a join of which nothing lands."""
    if not absent.all():
        return
    if joined.dim == "asset" and not np.isin(joined.labels, panel.data.asset.values).any():
        ours, theirs = first_three(panel.data.asset.values), first_three(joined.labels)
        raise AlignmentError(
            f"assets of {joined.variable} must be those of the panel: it has {ours}, given are {theirs}. Usually "
            "another identifier (ticker, permno, gvkey)."
        )
    given = "none"
    if joined.dates is not None:
        given = " to ".join(show(day, panel.frequency) for day in (joined.dates.min(), joined.dates.max()))
    raise AlignmentError(
        f"{joined.variable} must reach the panel's periods: it runs {panel._range()}, values are dated {given}, and "
        "none lands in it."
    )


def _refuse_gaps(panel: Panel, joined: Joined, gaps: np.ndarray, where: str, names: list[pd.Index]) -> None:
    if not gaps.any():
        return
    edges = np.flatnonzero(np.diff(np.concatenate(([True], gaps.any(axis=1), [True])).astype(int)))
    starts, stops = edges[::2], edges[1::2]  # of the runs of periods without a gap
    window = ""
    if starts.size:
        longest = int((stops - starts).argmax())
        first, last = (show(panel.times[t], panel.frequency) for t in (starts[longest], stops[longest] - 1))
        window = f" The longest run without a gap: sel(time=slice({first!r}, {last!r}))."
    raise DataError(
        f"{joined.variable} must be there in {where}: missing at {cells_of(gaps, names, panel.frequency)}. Narrow the "
        "panel to the periods that are covered, leave the series out, or fill it before joining, from earlier values "
        f"only.{window}"
    )


def _lacking_assets(panel: Panel, joined: Joined, gaps: np.ndarray, names: list[pd.Index]) -> tuple[str, ...]:
    if not gaps.any():
        return ()
    universe = panel.data.in_universe.values
    never = names[1][(gaps == universe).all(axis=0) & universe.any(axis=0)]
    without = f"; without any {joined.variable}: {first_three(never)}" if len(never) else ""
    return (
        f"{joined.variable} is missing in {gaps.sum():,} of {universe.sum():,} cells of the universe, as at "
        f"{cells_of(gaps, names, panel.frequency)}{without}",
    )


def _outside(panel: Panel, joined: Joined) -> tuple[str, ...]:
    """Periods within the panel's range that it has not, and whose values land nowhere else: nobody will see them."""
    if joined.dates is None:
        return ()
    ends, times = period_ends(joined.dates, panel.frequency), as_days(panel.times)
    foreign = (ends > times[0]) & (ends < times[-1]) & ~np.isin(ends, times)
    lost = np.unique(ends[foreign & ~_inside(panel, joined)])
    if not lost.size:
        return ()
    shown = first_three(show(day, panel.frequency) for day in lost)
    return (f"{joined.variable} has values of periods that the panel has not, which are not used: {shown}",)


def _odd_returns(
    panel: Panel, joined: Joined, grid: np.ndarray, gaps: np.ndarray, names: list[pd.Index]
) -> tuple[str, ...]:
    odd: tuple[str, ...] = ()
    if gaps.any():
        odd += (
            f"{joined.variable} is missing in {gaps.sum():,} of {gaps.size:,} cells, as at "
            f"{cells_of(gaps, names, panel.frequency)}",
        )
    there = ~np.isnan(grid)
    typical = float(np.median(np.abs(grid[there])))
    if 0 < typical < TINY_RETURN:
        odd += (
            f"the median |return| of {joined.variable} is {100 * typical:.2g}%: were they in decimal, not in percent?",
        )
    count = there.sum(axis=0)
    losses = (grid < 0).sum(axis=0)
    riskless = (count >= _ENOUGH_PERIODS) & (losses <= _FEW_LOSSES * count)
    if riskless.any():
        odd += (
            f"{joined.variable} hardly ever negative: {first_three(joined.labels[riskless])}. Usually the riskless "
            "rate left among the factors, or an index level: leave it out",
        )
    return odd
