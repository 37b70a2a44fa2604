"""`read_frame`: a file or frame becomes a panel. It must be told the timing, and never guesses it."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from bayesfactor.errors import (
    DataError,
    DataWarning,
    DuplicateKeyError,
    LookAheadError,
    UnitsError,
    first_three,
)
from bayesfactor.panel.contract import missing_codes, refuse_impossible, total_losses
from bayesfactor.panel.files import ParquetColumns, opened, read_table
from bayesfactor.panel.landing import Rows, assemble, refuse_known_returns
from bayesfactor.panel.panel import Panel, Recipe
from bayesfactor.panel.periods import (
    PERIODS_PER_YEAR,
    Calendar,
    Days,
    check_frequency,
    check_gaps,
    check_plausible,
    infer_frequency,
    parse_dates,
    show,
    weekday_of_most,
)

_NOT_TOLD: Any = object()
TINY_RETURN = 0.001
_LONGEST_LAG = 10_000
_EXACT_INTEGERS = 2.0**53  # floats beyond are not one number each
_SAMPLED = 1000
_ROW_NUMBERS = re.compile(r"Unnamed: \d+|index|level_\d+|__index_level_\d+__")
_AROUND, _ENOUGH_ASSETS, _THIN = 11, 10, 0.2  # periods, assets of a usual one, share of them
_LARGE_RISKLESS = 0.02  # decimal per month, or 24% a year
_CHOICES = {
    "returns_over": (
        DataError,
        '"row" (the return is over the row\'s own period) or "next" (the row holds what was known at its '
        "date, and the return of the next period)",
    ),
    "lag": (
        LookAheadError,
        "lag=1 (characteristics dated in a period are known before the next one) or more calendar periods; "
        '0 is for returns_over="next" only; or available="column of publication dates"',
    ),
    "units": (UnitsError, '"decimal" (0.01 is one percent) or "percent"'),
    "excess": (UnitsError, "True (returns are in excess of the riskless rate) or False with risk_free=..."),
}


@dataclass(frozen=True)
class Layout:
    """What the user said about the columns."""

    time: str
    asset: str
    returns: str
    returns_over: str
    lag: int | None
    units: str
    excess: bool
    characteristics: tuple[str, ...]
    available: str | None
    size: str | None
    group: str | None
    risk_free: str | pd.Series | None
    missing: str


@dataclass(frozen=True)
class Table:
    """Columns by name, of a frame, or of a file that `frame` tells the names and dtypes of."""

    frame: pd.DataFrame
    file: ParquetColumns | None

    def __getitem__(self, name: str) -> pd.Series:
        return self.frame[name] if self.file is None else self.file[name]


@dataclass(frozen=True)
class FrameSource:
    """A panel that began as a frame or file."""

    origin: pd.DataFrame | Path
    layout: Layout
    calendar: Calendar

    def known_at(self, cut: np.datetime64) -> Panel:
        """The panel as read from the rows, returns and publications that existed at the end of `cut`."""
        table = _load(self.origin, self.layout)
        dates = parse_dates(table[self.layout.time], self.layout.time)
        rows = read_rows(table, self.layout, dates, self.calendar.frequency)
        return self.panel(rows.known_at(cut, self.calendar, self.layout.returns_over))

    def panel(self, rows: Rows) -> Panel:
        """Land the rows on their periods."""
        return Panel(
            assemble(rows, self.calendar, self.layout.returns_over, self.layout.lag),
            self.calendar.frequency,
            missing=self.layout.missing,
            _recipe=Recipe(self),
        )


def read_frame(
    frame_or_path: pd.DataFrame | str | Path,
    *,
    time: str,
    asset: str,
    returns: str,
    returns_over: str = _NOT_TOLD,
    lag: int = _NOT_TOLD,
    units: str = _NOT_TOLD,
    excess: bool = _NOT_TOLD,
    characteristics: list[str] | tuple[str, ...] | None = None,
    exclude: list[str] | tuple[str, ...] = (),
    available: str | None = None,
    size: str | None = None,
    group: str | None = None,
    risk_free: str | pd.Series | None = None,
    frequency: str | None = None,
    missing: str = "median",
) -> Panel:
    """Panel from one row for each period and asset.

    Parameters
    ----------
    frame_or_path : DataFrame, or the path of a Parquet or CSV file.
    time, asset, returns : columns; `time` and `asset` may be index levels, matched by name. Dates are datetimes,
        periods, ISO 8601 text, or YYYYMM and YYYYMMDD as integers or digits.
    returns_over : "row": the return is over the row's own period. "next": the row pairs what was known at its
        date with the return of the following period, where that return lands.
    lag : age of the characteristics (and of `size` and `group`) in calendar periods, never rows; the calendar of
        daily data is the dates they have. With "row" characteristics dated t - lag are used at t, and lag is at
        least 1; with "next" they are dated t - 1 - lag, and 0 is the usual choice.
    units : "decimal" or "percent" of `returns` and `risk_free`.
    excess : whether returns are in excess of the riskless rate already; if not, give `risk_free`.
    characteristics : columns; where not given, every numeric column without another role.
    exclude : columns that are no characteristics, where `characteristics` is not given.
    available : in place of `lag`, the column that says when the row's characteristics became public: at t the
        latest row (by publication, then date) is used that was public strictly before the first day of t. Weeks run
        from Monday to Sunday; weekly rows dated Monday to Thursday are refused here, as their returns begin
        within a week.
    size, group : columns with size (to narrow the universe) and sector, as old as the characteristics.
    risk_free : in the units of `returns`. A column is dated like the return: it holds the rate over the period
        of the row's return, also with "next". A Series is dated by the period that each rate covers, so with
        "next" a row takes the rate of the following period.
    frequency : "monthly", "weekly" or "daily"; where not given, it is told from the dates and noted in the
        history.
    missing : "median" (prepared cells are 0), "indicator" (also a 0/1 column each) or "error".

    Returns
    -------
    Panel, raw: call `rank_normalise()` or `standardise()` before fitting. An asset is in the universe of t
    when it has a row in period t - 1, and the row that its characteristics come from has at least one. So one
    live period, without returns, follows the last dated returns. A return with no characteristics is kept
    outside the universe.

    Raises
    ------
    DataError, DuplicateKeyError, LookAheadError, UnitsError
        Saying what must hold, what was found and where.
    """
    told = {"returns_over": returns_over, "lag": lag, "units": units, "excess": excess}
    _check_told(told, available, risk_free)
    _check_roles({"time": time, "asset": asset, "returns": returns, "risk_free": risk_free})
    if not isinstance(frame_or_path, pd.DataFrame | str | Path):
        raise DataError(f"a panel is read from a DataFrame or a path: found {type(frame_or_path).__name__}.")
    origin = frame_or_path.copy(deep=False) if isinstance(frame_or_path, pd.DataFrame) else Path(frame_or_path)
    layout = Layout(
        time=time,
        asset=asset,
        returns=returns,
        returns_over=returns_over,
        lag=None if available is not None else lag,
        units=units,
        excess=excess,
        characteristics=(),
        available=available,
        size=size,
        group=group,
        risk_free=risk_free.copy() if isinstance(risk_free, pd.Series) else risk_free,
        missing=missing,
    )
    table = _load(origin, layout)
    layout = replace(layout, characteristics=_characteristics(table, layout, characteristics, exclude))
    dates = parse_dates(table[time], time)
    if not dates.size:
        raise DataError(f"a panel must have rows: {origin if isinstance(origin, Path) else 'the frame'} has none.")
    if frequency is not None:
        check_frequency(frequency)
    check_plausible(dates, time, frequency)
    calendar = Calendar.of(dates, frequency or infer_frequency(dates))
    if frequency is None:
        check_gaps(dates, table[asset].to_numpy(), calendar.frequency)
    rows = read_rows(table, layout, dates, calendar.frequency)
    how_old = f"lag={lag}" if available is None else f"available={available!r}"
    line = (
        f"read_frame: {len(rows.dates):,} rows, {len(rows.labels):,} assets, {calendar.frequency}"
        f"{' (told from the dates)' if frequency is None else ''}, returns {returns!r} over "
        f"{returns_over!r}, {how_old}, "
        f"{units}, {'excess' if rows.riskless is None else less_riskless(rows.riskless)}"
    )
    if characteristics is None and (unused := _unused(table.frame, layout)):
        line += f", left out: {', '.join(unused)}"
    panel = FrameSource(origin, layout, calendar).panel(rows)
    del rows  # its columns are as large as the file; pyarrow would keep their memory
    pa.default_memory_pool().release_unused()
    refuse_impossible(panel.data, panel.frequency)
    refuse_known_returns(panel.data)
    odd = _oddities(panel, units)
    for message in odd:
        warnings.warn(message, DataWarning, stacklevel=2)
    return panel._noted((line,), odd)


def read_rows(table: Table, layout: Layout, dates: Days, frequency: str) -> Rows:
    """Columns as arrays, checked cell by cell, in decimal and in excess of the riskless rate."""
    labels, codes = as_labels(table[layout.asset], layout.asset, required=True)
    _refuse_untidy(labels, codes, layout.asset)
    keys = Keys(dates, labels, codes, frequency)
    if layout.available is not None and frequency == "weekly":
        _check_weeks(dates, keys)
    if pd.api.types.is_bool_dtype(table.frame[layout.returns].dtype):
        raise DataError(f"column {layout.returns!r} must be returns: found True and False. Name the right column.")
    scale = 0.01 if layout.units == "percent" else 1.0
    returns = scale * as_numbers(table, layout.returns, keys)
    riskless = None
    if not layout.excess:
        rates = scale * _riskless(table, layout, keys, ~np.isnan(returns))
        riskless = float(np.mean(rates[~np.isnan(returns)])) if not np.isnan(returns).all() else 0.0
        returns = returns - rates
    group = None
    if layout.group is not None:
        sectors, sector = as_labels(table[layout.group], layout.group, required=False)
        group = sectors[sector]
    return Rows(
        names=layout.characteristics,
        dates=dates,
        labels=labels,
        asset=codes,
        returns=returns,
        characteristics=tuple(as_numbers(table, name, keys, narrow=True) for name in layout.characteristics),
        size=None if layout.size is None else as_numbers(table, layout.size, keys),
        group=group,
        available=None if layout.available is None else publication_dates(table[layout.available], layout.available),
        riskless=riskless,
    )


def _oddities(panel: Panel, units: str) -> tuple[str, ...]:
    seen = (panel.data.observed & panel.data.in_universe).values
    if not seen.any():
        return ("no return lands in the universe: does every asset have a row in the period before its return?",)
    typical = float(np.median(np.abs(panel.data.returns.values[seen])))
    odd = total_losses(panel.data, panel.frequency) + missing_codes(panel.data, panel.frequency) + _thin(panel)
    if units == "percent" and 0 < typical < TINY_RETURN:
        odd += (f"the median |return| is {100 * typical:.2g}%: were the returns in decimal, not in percent?",)
    return odd


def _thin(panel: Panel) -> tuple[str, ...]:
    """A warning that names periods with far fewer assets than those around them, or nothing."""
    assets = pd.Series(panel.data.in_universe.values.sum(axis=1))
    usual = assets.rolling(_AROUND, center=True, min_periods=1).median()
    thin = ((usual >= _ENOUGH_ASSETS) & (assets < _THIN * usual)).to_numpy()
    if not thin.any():
        return ()
    cells = first_three(
        (show(time, panel.frequency), f"{count:,} of about {around:,.0f}")
        for time, count, around in zip(panel.times[thin], assets[thin], usual[thin], strict=True)
    )
    return (
        f"the universe is far smaller than around it in {cells}. An asset is in it when it has a row in the period "
        "before: usually a few rows are dated on a day without trading, or a period is incomplete.",
    )


@dataclass(frozen=True)
class Keys:
    """Names of rows, for messages."""

    dates: Days
    labels: np.ndarray
    asset: np.ndarray
    frequency: str

    def __call__(self, bad: np.ndarray) -> str:
        """The first three flagged rows and the count."""
        cells = [(show(self.dates[row], self.frequency), self.labels[self.asset[row]]) for row in np.flatnonzero(bad)]
        return first_three(cells)


def _check_told(told: dict[str, Any], available: str | None, risk_free: Any) -> None:
    for name, value in told.items():
        if value is _NOT_TOLD and not (name == "lag" and available is not None):
            error, choices = _CHOICES[name]
            raise error(f"{name} must be told, since a guess could be wrong without anybody noticing: it is {choices}.")
    if told["returns_over"] not in ("row", "next"):
        raise DataError(f"returns_over must be {_CHOICES['returns_over'][1]}: found {told['returns_over']!r}.")
    check_units_told(told["units"], told["excess"], risk_free)
    if risk_free is not None and not isinstance(risk_free, str | pd.Series):
        raise DataError(f"risk_free must be a column or a Series by date: found {type(risk_free).__name__}.")
    if available is None:
        _check_lag(told["lag"], told["returns_over"])
    elif told["lag"] is not _NOT_TOLD and told["lag"] is not None:
        raise DataError("lag and available cannot both say how old characteristics are: choose one.")


def check_units_told(units: Any, excess: Any, risk_free: Any) -> None:
    """Refuse units that are no choice, and a riskless rate that is lacking or not wanted.

    Raises
    ------
    UnitsError
    """
    if units not in ("decimal", "percent"):
        raise UnitsError(f"units must be {_CHOICES['units'][1]}: found {units!r}.")
    if not isinstance(excess, bool | np.bool_):
        raise UnitsError(f"excess must be {_CHOICES['excess'][1]}: found {excess!r}.")
    if excess and risk_free is not None:
        raise UnitsError(
            "excess=True and risk_free cannot both hold: choose excess=False to have risk_free subtracted."
        )
    if not excess and risk_free is None:
        raise UnitsError("returns that are not in excess need risk_free: name its column, or give a Series by date.")


def _check_roles(named: dict[str, Any]) -> None:
    """What every row needs is named by text, each by another column."""
    for role, name in named.items():
        if not isinstance(name, str) and role != "risk_free":
            raise DataError(f"{role} must be the name of a column or index level: found {name!r}.")
    names = [name for name in named.values() if isinstance(name, str)]
    if len(set(names)) < len(names):
        said = ", ".join(f"{role}={name!r}" for role, name in named.items() if isinstance(name, str))
        raise DataError(f"each of these must be a column of its own: found {said}. Name another column.")


def _check_lag(lag: Any, returns_over: str) -> None:
    if isinstance(lag, bool) or not isinstance(lag, int | np.integer) or lag > _LONGEST_LAG:
        raise LookAheadError(
            f"lag must be a whole number of calendar periods, at most {_LONGEST_LAG:,}: found {lag!r}."
        )
    least = 1 if returns_over == "row" else 0
    if lag < least:
        raise LookAheadError(
            f'with returns_over="{returns_over}" lag must be at least {least}: found {lag}. Characteristics '
            "dated in the period of the return are not known before it. If each row pairs characteristics "
            'with the FOLLOWING return, say returns_over="next".'
        )


def _load(origin: pd.DataFrame | Path, layout: Layout) -> Table:
    if isinstance(origin, pd.DataFrame):
        file, frame = None, origin
    else:
        file, frame = _open(origin, tuple(name for name in (layout.asset, layout.group) if name is not None))
    wanted = {layout.time, layout.asset}
    levels = [name for name in frame.index.names if name in wanted]
    both = [name for name in levels if name in frame.columns]
    if both:
        raise DataError(f"a name must mean one thing: {both} is both an index level and a column. Drop one.")
    if levels:
        frame = frame.reset_index(level=levels)
    if not all(isinstance(name, str) for name in frame.columns):
        frame = frame.set_axis([str(name) for name in frame.columns], axis="columns")
    repeated = frame.columns[frame.columns.duplicated()]
    if len(repeated):
        raise DuplicateKeyError(
            f"column names must be unique: repeated {first_three(repeated)}. Rename or drop all but one."
        )
    named = {
        "time": layout.time,
        "asset": layout.asset,
        "returns": layout.returns,
        "size": layout.size,
        "group": layout.group,
        "available": layout.available,
        "risk_free": layout.risk_free if isinstance(layout.risk_free, str) else None,
    }
    for role, name in named.items():
        if name is not None:
            must_have(frame, name, role)
    return Table(frame, file)


def _open(path: Path, text: tuple[str, ...]) -> tuple[ParquetColumns | None, pd.DataFrame]:
    """A file's content; of a Parquet file the columns yet to be read, and a frame without rows."""
    with opened(path) as file:
        by_column = file.is_parquet and not file.is_packed
    if not by_column:
        return None, read_table(path, text=text)
    columns = ParquetColumns(path)
    return columns, columns.empty()


def must_have(frame: pd.DataFrame, name: str, role: str) -> None:
    """Refuse a name that is neither a column nor an index level; near misses are named.

    Raises
    ------
    DataError
    """
    if name not in frame.columns:
        lower = {str(column).lower(): str(column) for column in frame.columns}
        near = [lower[found] for found in get_close_matches(str(name).lower(), lower, 3, 0.5)]
        hint = f" Near: {', '.join(near)}." if near else ""
        levels = [str(level) for level in frame.index.names if level is not None]
        raise DataError(
            f"{role}={name!r} must be a column or index level: found "
            f"{', '.join(map(str, [*levels, *frame.columns]))}.{hint}"
        )


def _characteristics(
    table: Table, layout: Layout, given: Sequence[str] | None, exclude: Sequence[str]
) -> tuple[str, ...]:
    excluded = {exclude} if isinstance(exclude, str) else set(exclude)
    for name in excluded:
        must_have(table.frame, name, "exclude")
    if given is not None:
        if excluded:
            raise DataError(
                f"characteristics and exclude cannot both be given: found {first_three(sorted(excluded))} to exclude. "
                "Leave them out of characteristics."
            )
        names = (given,) if isinstance(given, str) else tuple(given)
        for name in names:
            must_have(table.frame, name, "characteristics")
        repeated = [name for position, name in enumerate(names) if name in names[:position]]
        if repeated:
            raise DuplicateKeyError(f"characteristics must be named once: repeated {first_three(repeated)}.")
        if layout.returns in names and not layout.lag:
            raise LookAheadError(
                f"the return {layout.returns!r} cannot explain itself. A past return needs lag=1 or more, "
                "or a column of its own (rev_1m, say)."
            )
    else:
        roles = _roles(layout) | excluded
        numeric = table.frame.select_dtypes("number").columns
        names = tuple(str(name) for name in numeric if name not in roles)
        _refuse_unnamed(names)
        _refuse_hidden_numbers(table, [name for name in table.frame.columns if name not in roles])
    if not names:
        raise DataError("a panel needs at least one characteristic: no numeric column is left. Name some.")
    return names


def _no_float(value: Any) -> bool:
    """Numbers that no float can hold."""
    return isinstance(value, complex) or (isinstance(value, int) and abs(value) > sys.float_info.max)


def _refuse_unnamed(names: tuple[str, ...]) -> None:
    """Columns that pandas names for want of a name are nearly always row numbers."""
    unnamed = [name for name in names if _ROW_NUMBERS.fullmatch(name)]
    if unnamed:
        raise DataError(
            f"every characteristic must have a name: found {first_three(map(repr, unnamed))}. Usually the row numbers "
            "that to_csv or to_parquet writes: write with index=False, leave it out with exclude=[...], or name what "
            "you want, characteristics=[...]."
        )


def _refuse_hidden_numbers(table: Table, names: list[str]) -> None:
    """Where no characteristics are named, a column of numbers must not be left out because some cell is text."""
    for name in names:
        if not isinstance(table.frame[name].dtype, pd.StringDtype | pd.CategoricalDtype | np.dtypes.ObjectDType):
            continue
        column = table[name]
        present = column.dropna()
        if pd.to_numeric(present.iloc[:_SAMPLED].astype(object), errors="coerce").notna().mean() > 0.5:
            read = pd.to_numeric(column.astype(object), errors="coerce")
            bad = (read.isna() & column.notna()).to_numpy()
            found = f"but for {_rows(bad)}" if bad.any() else "written as text"
            raise DataError(
                f"columns of numbers must be numbers to be taken as characteristics: {name!r} holds numbers, {found}. "
                "Correct the column, or say what you want: characteristics=[...]."
            )


def _unused(frame: pd.DataFrame, layout: Layout) -> list[str]:
    """Columns that have no role and are no characteristics."""
    return [name for name in frame.columns if name not in _roles(layout) | set(layout.characteristics)]


def _roles(layout: Layout) -> set[str | None]:
    """Columns that are something else than characteristics."""
    riskless = layout.risk_free if isinstance(layout.risk_free, str) else None
    return {layout.time, layout.asset, layout.returns, layout.size, layout.group, layout.available, riskless}


def as_numbers(table: Table | pd.DataFrame, name: str, keys: Keys, narrow: bool = False) -> np.ndarray:
    """A column as float64, NaN where missing; `narrow` leaves float32 as it is, to be widened where it lands.

    Raises
    ------
    DataError
        Naming the first cells that are text or infinite.
    """
    column = table[name]
    if pd.api.types.is_complex_dtype(column.dtype):
        raise DataError(f"column {name!r} must be real numbers: found {column.dtype}. Take the real part yourself.")
    if not pd.api.types.is_numeric_dtype(column.dtype):
        strange = column.map(_no_float).to_numpy(dtype=bool) if column.dtype == object else np.zeros(len(column), bool)
        read = pd.to_numeric(column.astype(object).mask(strange), errors="coerce")
        bad = (read.isna() & column.notna()).to_numpy()
        if bad.any():
            raise DataError(
                f"column {name!r} must be numbers: found {column.dtype} at {keys(bad)}. Usually text for missing, or "
                "thousands commas, percent or currency signs: clean the column, with NaN for missing."
            )
        column = read.astype(float)
    kind = np.float32 if narrow and column.dtype == np.float32 else np.float64
    values = column.to_numpy(dtype=kind, na_value=np.nan)
    infinite = np.isinf(values)
    if infinite.any():
        raise DataError(
            f"column {name!r} must be finite: infinite at {keys(infinite)}. Usually a division by "
            "zero or a logarithm of zero: make them NaN, which is missing."
        )
    return values


def as_labels(column: pd.Series, name: str, required: bool) -> tuple[np.ndarray, np.ndarray]:
    """Identifiers as sorted text, and each row's position among them.

    Whole floats (10107.0) are read as whole numbers; missing ones are refused, or empty.
    """
    absent = column.isna().to_numpy()
    if required and absent.any():
        raise DataError(f"column {name!r} must name an asset in every row: missing in {_rows(absent)}.")
    if pd.api.types.is_float_dtype(column.dtype):
        numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
        exact = absent | ((numbers == np.floor(numbers)) & (np.abs(numbers) < _EXACT_INTEGERS))
        if required and not exact.all():
            raise DataError(
                f"column {name!r} must name assets by text or whole numbers: found {column.dtype} in {_rows(~exact)}, "
                "which are fractions, infinite, or too large for a float to tell apart. Usually another column, or "
                "identifiers that were read as numbers: read them as text."
            )
        if exact.all():
            column = pd.Series(np.where(absent, 0, numbers).astype(np.int64))
    elif column.dtype == object and pd.api.types.infer_dtype(column, skipna=True) != "string":
        column = column.map(lambda value: int(value) if isinstance(value, float) and value.is_integer() else value)
    if column.dtype == object:
        column = column.astype(str)  # 1, 1.0 and True are equal, but not the same text
    codes, values = pd.factorize(column)
    codes = np.where(absent, -1, codes)
    text = np.append(pd.Series(values).astype(str).to_numpy(dtype=str), "")  # at -1, for the missing
    blank = (np.char.strip(text) == "")[codes]
    if required and blank.any():
        raise DataError(f"column {name!r} must name an asset in every row: blank in {_rows(blank)}.")
    used, position = np.unique(text[:-1] if required else text, return_inverse=True)
    return used, position[codes]


def _refuse_untidy(labels: np.ndarray, codes: np.ndarray, name: str) -> None:
    """Labels with blanks around them or control characters: the same asset would be two."""
    untidy = [i for i, label in enumerate(labels.tolist()) if label != label.strip() or not label.isprintable()]
    if untidy:
        raise DataError(
            f"labels in column {name!r} must have no blanks around them and no control characters: found "
            f"{first_three(repr(str(labels[i])) for i in untidy)} in {_rows(np.isin(codes, untidy))}. Usually padded "
            "text (.str.strip()), or a quote that was never closed."
        )


def _check_weeks(dates: Days, keys: Keys) -> None:
    """Publication is compared with a week's Monday: so must the returns begin there."""
    weekday, on_it = weekday_of_most(dates)
    if weekday in ("Monday", "Tuesday", "Wednesday", "Thursday"):
        raise DataError(
            "with `available`, weekly returns must begin on the Monday of their week, so rows must be dated "
            f"Friday, Saturday or Sunday: found mostly {weekday}, at {keys(on_it)}. Usually these are returns "
            "from one midweek day to the next: a publication between would be taken as known. Use lag= in "
            "place of available, or returns of whole weeks."
        )


def _rows(bad: np.ndarray) -> str:
    return first_three(f"row {row}" for row in np.flatnonzero(bad))


def publication_dates(column: pd.Series, name: str) -> Days:
    """Publication dates; a row without one is never used, so it must be said."""
    absent = column.isna().to_numpy()
    if absent.any():
        raise LookAheadError(
            f"available={name!r} must say when each row became public: undated in "
            f"{_rows(absent)}. Drop such rows, or date them late."
        )
    return parse_dates(column, name)


def _riskless(table: Table, layout: Layout, keys: Keys, needed: np.ndarray) -> np.ndarray:
    """Riskless return over the period of each row's return, in the units of the file."""
    ahead = 1 if layout.returns_over == "next" else 0
    if isinstance(layout.risk_free, pd.Series):
        calendar = Calendar.of(keys.dates, keys.frequency)
        rates = riskless_by_position(layout.risk_free, calendar)
        values = rates.reindex(calendar.ordinals(keys.dates) + ahead).to_numpy()
        if np.isinf(values).any():
            raise DataError(f"risk_free must be finite: infinite at {keys(np.isinf(values))}.")
    else:
        assert layout.risk_free is not None
        values = as_numbers(table, layout.risk_free, keys)
    lacking = needed & np.isnan(values)
    if lacking.any():
        where = "for the period after the rows" if ahead and isinstance(layout.risk_free, pd.Series) else "at"
        raise DataError(f"risk_free must be known wherever there is a return: missing {where} {keys(lacking)}.")
    check_riskless_units(values, layout.units, keys, needed)
    return values


def _one_level(index: pd.Index) -> pd.Index:
    if index.nlevels > 1:
        raise DataError(
            f"risk_free index must have one level, of dates: found {list(index.names)}. Drop the others: "
            "risk_free.droplevel(...)."
        )
    return index


def riskless_by_position(risk_free: pd.Series, calendar: Calendar) -> pd.Series:
    """A Series of riskless rates by position of the period it covers; days that the calendar has not are left out.

    Raises
    ------
    DataError, DuplicateKeyError
        When the index holds no dates, or two of one period.
    """
    days = parse_dates(_one_level(risk_free.index), "risk_free index")
    positions = calendar.ordinals(days)
    known = positions >= 0 if calendar.frequency == "daily" else np.ones(days.size, bool)
    rates = pd.to_numeric(risk_free.astype(object), errors="coerce").to_numpy(dtype=np.float64)
    words = np.isnan(rates) & risk_free.notna().to_numpy()
    if words.any():
        cells = first_three(show(day, calendar.frequency) for day in days[words])
        raise DataError(f"risk_free must be numbers: found {risk_free.dtype} at {cells}.")
    table = pd.Series(rates[known], index=positions[known])
    repeated = table.index.duplicated()
    if repeated.any():
        again = first_three(show(day, calendar.frequency) for day in days[known][repeated])
        raise DuplicateKeyError(f"risk_free must have one value a period: repeated {again}.")
    return table


def check_riskless_units(values: np.ndarray, units: str, keys: Keys, needed: np.ndarray) -> None:
    """Refuse riskless rates of other units than the returns, or of a whole year.

    One rate above 2% a month is enough: in years of rates near zero the others would pass in any unit. So are decimal
    rates that are all whole multiples of 0.01: they are percent with two decimals.

    Raises
    ------
    UnitsError
        Naming the first rows.
    """
    if not needed.any():
        return
    periods = PERIODS_PER_YEAR[keys.frequency]
    decimal = np.abs(values) * (0.01 if units == "percent" else 1.0)
    highest, most = float(np.max(decimal[needed])), _LARGE_RISKLESS * 12 / periods
    usually = f"in percent beside decimal returns (divide by 100), or an annualised rate (divide by {periods})"
    if highest > most:
        raise UnitsError(
            f'risk_free must be in the units of the returns ("{units}") and over one period ({keys.frequency}): the '
            f"highest |rate| is {highest:.3g} in decimal, above {most:.2g}, as at {keys(needed & (decimal > most))}. "
            f"Usually it is {usually}. Where rates really are that high, subtract them yourself and say excess=True."
        )
    coarse = np.abs(decimal / 0.01 - np.round(decimal / 0.01)) < 1e-6
    if highest > 0 and units == "decimal" and coarse[needed].all():
        raise UnitsError(
            f'risk_free must be in the units of the returns ("{units}"): every rate is a multiple of 0.01, up to '
            f"{highest:.2g}, as at {keys(needed & (decimal > 0))}. Usually it is {usually}."
        )


def less_riskless(mean: float) -> str:
    """What was taken off, for the history: the mean rate tells rates of other units, where nothing else can."""
    return f"less the riskless rate ({100 * mean:.3g}% a period on average)"
