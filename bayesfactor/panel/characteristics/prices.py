"""`from_prices`: daily prices and volumes become characteristics at the end of each month or week."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from bayesfactor.errors import DataError, DataWarning, DuplicateKeyError, UnitsError, first_three
from bayesfactor.panel.characteristics.blocks import Block
from bayesfactor.panel.characteristics.columns import NOT_TOLD, Columns, chosen, told
from bayesfactor.panel.characteristics.definitions import PriceDefinition, Window
from bayesfactor.panel.characteristics.of_prices import PRICE_DEFINITIONS
from bayesfactor.panel.contract import check_units
from bayesfactor.panel.periods import Calendar, Days, first_and_last_day, parse_dates, show

CELLS_AT_ONCE = 2_000_000  # asset-days in memory as a grid, for each of at most ten inputs
_LONGEST_MEDIAN_GAP = 4  # days from one row of an asset to the next: more is not daily
_TINY_RETURN = 0.0003  # median |daily return|, decimal
_LARGE_RISKLESS = 0.001  # decimal per day, or 25% a year
_THURSDAY = 3  # 1970-01-01, from Monday
_MANY_ABSENT = 0.1
_SPLITS, _LIKE_A_SPLIT = (2.0, 3.0, 4.0, 5.0, 10.0), 0.01  # for one; and in logs
_MARKETS = ("equal_weighted", "value_weighted")
_ADJUSTED = ("nothing", "splits", "splits_and_dividends")


def from_prices(
    frame: pd.DataFrame,
    *,
    time: str,
    asset: str,
    close: str | None = None,
    close_adjusted_for: str = NOT_TOLD,
    returns: str | None = None,
    adjusted_close: str | None = None,
    volume: str | None = None,
    shares: str | None = None,
    dollar_volume: str | None = None,
    market_equity: str | None = None,
    high: str | None = None,
    low: str | None = None,
    market: str | pd.Series | None = None,
    risk_free: pd.Series | None = None,
    units: str = NOT_TOLD,
    frequency: str = "monthly",
    characteristics: Sequence[str] | None = None,
    longest_gap: int = 10,
    complete_through: Any = None,
) -> pd.DataFrame:
    """Characteristics at the end of each month or week, from daily rows up to that end and none later.

    `DEFINITIONS` holds what is computed, and the fewest days that each window must have.

    Parameters
    ----------
    frame : one row for each day and asset, in any order. A day without trading is a row with `volume` 0; days that are
        absent, or have no volume, count in no measure of liquidity.
    time, asset : columns or index levels; dates as `read_frame` takes them, without time of day.
    close : price at the close, in currency.
    close_adjusted_for : told with `close`: "nothing" (as traded), "splits" or "splits_and_dividends". Adjustment puts
        later splits into earlier prices, so `log_price` comes from closes as traded only, and products of price and
        number of shares only where dividends are not in the price.
    returns : total daily returns, splits and dividends included, in `units`.
    adjusted_close : closes adjusted for splits and dividends. Returns come from `returns`, or from these, or from
        `close` where it is adjusted; where it is for splits alone they leave dividends out.
    volume, shares : shares traded and outstanding, on the same basis as `close`: adjusted where it is.
    dollar_volume, market_equity : in currency, in place of the products of `close` with `volume` and `shares`.
    high, low : on one basis.
    market : "equal_weighted" or "value_weighted" (by market equity on the asset's row before), over the rows of
        each day, or a Series by day of the market's total returns (not in excess), in `units`.
    risk_free : Series by day of the riskless return of one day, in `units`; it is taken off asset and market in
        betas and residuals. Without it these are of raw returns.
    units : "decimal" or "percent" of `returns` and of the two Series; told where one of them is given.
    frequency : "monthly" or "weekly": of the rows that come out. Windows count back from their ends.
    characteristics : names; where not given, all whose inputs are there.
    longest_gap : trading days (dates that any asset of the frame has) from one price to the next. A return over more
        is unknown, and so is every compounded return of a window with one; one that is given in `returns` is kept,
        with a warning. An asset whose last price is older than that at a period's end has no characteristics there.
    complete_through : a date in the last period that is complete, where the frame stops before the period's last
        weekday. Otherwise such a period is left out, with a warning.

    Returns
    -------
    DataFrame sorted by `date` (calendar month end, or Friday) and `asset` (text), one row for each period in which the
    asset has a price, or whose end is at most `longest_gap` trading days after its last one: `ret`, the total return
    over the period (decimal, raw; missing in the period of the first row and where there is no price); the last
    `market_equity` of the month before the end, or of `longest_gap` days where that is longer; the characteristics.
    Where the last price is older, `ret` alone. For `read_frame(..., returns_over="row", lag=1)`.

    Raises
    ------
    DataError, DuplicateKeyError, UnitsError
        Naming the first rows.
    """
    if frequency not in ("monthly", "weekly"):
        raise DataError(f'frequency must be "monthly" or "weekly": found {frequency!r}.')
    if isinstance(longest_gap, bool) or not isinstance(longest_gap, int | np.integer) or longest_gap < 1:
        raise DataError(f"longest_gap must be a number of trading days, 1 or more: found {longest_gap!r}.")
    roles = {
        "close": close,
        "returns": returns,
        "adjusted_close": adjusted_close,
        "volume": volume,
        "shares": shares,
        "dollar_volume": dollar_volume,
        "market_equity": market_equity,
        "high": high,
        "low": low,
    }
    columns = Columns(frame, time, asset, roles)
    scale = _scale(units, needed=returns is not None or isinstance(market, pd.Series) or risk_free is not None)
    basis = _basis(close, close_adjusted_for, returns, adjusted_close)
    rows = _Rows.of(columns, roles, basis, scale, int(longest_gap))
    if returns is not None:
        _check_return_units(rows, units)
    if volume is not None or dollar_volume is not None:
        _warn_of_absent(rows)
    _warn_of_basis(rows, priced=returns is None)
    series = None
    if isinstance(market, pd.Series):
        series = _by_day(market, "market", rows.days, scale)
        _refuse_tiny(series, "market", units)
    elif market is not None:
        series = _market(rows, market)
    if risk_free is not None:
        riskless = _by_day(risk_free, "risk_free", rows.days, scale)
        _check_riskless_units(riskless, units)
        rows = replace(rows, riskless=riskless)
        series = None if series is None else series - riskless
    rows = replace(rows, market=series)
    possible = {one.name: one.inputs for one in PRICE_DEFINITIONS}
    names = chosen(characteristics, possible, rows.inputs())
    by_name = {one.name: one for one in PRICE_DEFINITIONS}
    ends = _Ends.of(rows.days, frequency, complete_through)
    _warn_of_stops(rows, ends)
    return _computed(rows, [by_name[name] for name in names], ends)


@dataclass(frozen=True)
class _Ends:
    """Periods in whole numbers, their labels and last days."""

    position: np.ndarray
    labels: pd.DatetimeIndex
    last: Days
    frequency: str

    @classmethod
    def of(cls, days: Days, frequency: str, complete_through: Any) -> _Ends:
        """Every period from the first day to the last that is complete."""
        calendar = Calendar(frequency)
        first, final = (int(calendar.ordinals(np.array([day]))[0]) for day in (days[0], days[-1]))
        end = np.datetime64(calendar.labels(np.array([final]))[0].date(), "D")
        if complete_through is not None:
            said = int(calendar.ordinals(np.array([first_and_last_day(complete_through)[1]]))[0])
            if not first <= said <= final:
                raise DataError(
                    f"complete_through must be in a period of the frame, {days[0]} to {days[-1]}: found "
                    f"{complete_through!r}."
                )
            final = said
        elif _days_left(days, calendar.last_day(end)):
            if final == first:
                raise DataError(
                    f"some period must be complete: the frame stops on {days[-1]}, before the last trading day of "
                    "its only one. If the period ends there, give complete_through."
                )
            warnings.warn(
                f"the last period must be complete: the frame stops on {days[-1]}, before the last trading day of "
                f"{show(end, frequency)}, which is left out. If only holidays follow, give "
                f"complete_through={show(end, frequency)!r}.",
                DataWarning,
                stacklevel=3,
            )
            final -= 1
        position = np.arange(first, final + 1)
        labels = calendar.labels(position)
        last = np.array([calendar.last_day(np.datetime64(label.date(), "D")) for label in labels])
        return cls(position, labels, last, frequency)

    def before(self, count: int, unit: str) -> Days:
        """The days that lie so many months or weeks before the last days."""
        if unit == "week":
            return self.last - np.timedelta64(7 * count, "D")
        month = self.last.astype("datetime64[M]")
        day = self.last - month.astype("datetime64[D]")
        at_end = (self.last + np.timedelta64(1, "D")).astype("datetime64[M]") > month
        earlier = month - np.timedelta64(count, "M")
        first = earlier.astype("datetime64[D]")
        final = (earlier + np.timedelta64(1, "M")).astype("datetime64[D]") - np.timedelta64(1, "D")
        return np.where(at_end, final, np.minimum(first + day, final))

    def slices(self, days: Days, window: Window) -> list[slice]:
        """Positions of the window's days, by period."""
        start, stop = (
            np.searchsorted(days, self.before(count, window.unit), side="right")
            for count in (window.start, window.stop)
        )
        return [slice(a, b) for a, b in zip(start, stop, strict=True)]


@dataclass(frozen=True)
class _Rows:
    """Long daily inputs, sorted by asset and day: `asset` and `day` are positions in `labels` and `days`."""

    labels: np.ndarray
    days: Days
    asset: np.ndarray
    day: np.ndarray
    values: dict[str, np.ndarray]
    broken: np.ndarray  # the asset's first row, or its return is unknown though it has a price
    longest_gap: int
    market: np.ndarray | None = None
    riskless: np.ndarray | None = None

    @classmethod
    def of(
        cls, columns: Columns, roles: dict[str, str | None], basis: str | None, scale: float, longest_gap: int
    ) -> _Rows:
        order = np.lexsort((columns.days, columns.codes))
        _check_keys(columns, order)
        given = {role: columns.numbers(name) for role, name in roles.items() if name is not None}
        _check_values(columns, given, scale)
        priced = ~np.isnan(given[_source(roles)]) | ~np.isnan(given.get("close", np.nan))
        if not priced.any():
            raise DataError("some row must have a price: all are missing.")
        order = order[priced[order]]
        given = {role: values[order] for role, values in given.items()}
        days, day = np.unique(columns.days[order], return_inverse=True)
        asset = columns.codes[order]
        returns, gaps = _returns(given, roles, asset, day, scale, longest_gap)
        first = np.r_[True, asset[1:] != asset[:-1]]
        broken = np.isnan(returns) | first  # what came before the first row is not known
        found = gaps & ~first
        if found.any():
            cells = [(days[day[row]], columns.labels[asset[row]]) for row in np.flatnonzero(found)]
            what = "kept as given, over the whole gap" if roles["returns"] is not None else "unknown"
            warnings.warn(
                f"returns over gaps of more than {longest_gap} trading days are {what}: {first_three(cells)}. Longer "
                "suspensions are bridged with a greater longest_gap.",
                DataWarning,
                stacklevel=3,
            )
        with np.errstate(over="ignore"):
            values = {"returns": returns, **_levels(given, basis)}
        for name, level in values.items():
            if np.isinf(level).any():
                cells = [(days[day[row]], columns.labels[asset[row]]) for row in np.flatnonzero(np.isinf(level))]
                raise DataError(
                    f"{name} must be finite: too large at {first_three(cells)}. Usually a wrong unit or code."
                )
        return cls(columns.labels, days, asset, day, values, broken, longest_gap)

    def inputs(self) -> set[str]:
        """Names that definitions may ask for."""
        return {*self.values, "excess_returns"} | ({"market"} if self.market is not None else set())

    def blocks_of_assets(self) -> Iterator[tuple[slice, _Rows]]:
        """Rows of some assets at a time, so that grids stay small."""
        step = max(1, CELLS_AT_ONCE // len(self.days))
        for first in range(0, len(self.labels), step):
            last = min(first + step, len(self.labels))
            rows = slice(*np.searchsorted(self.asset, (first, last)))
            part = replace(
                self,
                labels=self.labels[first:last],
                asset=self.asset[rows] - first,
                day=self.day[rows],
                values={name: values[rows] for name, values in self.values.items()},
                broken=self.broken[rows],
            )
            yield slice(first, last), part

    def grid(self, values: np.ndarray, fill: float | bool) -> np.ndarray:
        """(asset, day)."""
        out = np.full((len(self.labels), len(self.days)), fill)
        out[self.asset, self.day] = values
        return out


def _days_left(days: Days, last: np.datetime64) -> bool:
    """Whether a day of trading is to come up to `last`: Monday to Friday, and days of the weekend that are traded."""
    seen = np.bincount((days.astype(np.int64) + _THURSDAY) % 7, minlength=7)
    traded = (2 * seen > seen.max()) | (np.arange(7) < 5)
    one = np.timedelta64(1, "D")
    return bool(np.busday_count(days[-1] + one, last + one, weekmask=traded))


def _warn_of_stops(rows: _Rows, ends: _Ends) -> None:
    """Say so where most assets of the last period have no row on its last day."""
    first, last = (days[-1] for days in _own_days(rows.days, ends))
    here = np.unique(rows.asset[(rows.day >= first) & (rows.day < last)])
    stop = np.setdiff1d(here, rows.asset[rows.day == last - 1])
    if 2 * stop.size > here.size:
        warnings.warn(
            f"most assets of the last period have no row on its last day, {rows.days[last - 1]}: "
            f"{first_three(rows.labels[stop])}, of {here.size:,}. Usually their files end earlier, and their `ret` and "
            "characteristics with them: cut the frame at the last day that all have.",
            DataWarning,
            stacklevel=3,
        )


def _warn_of_absent(rows: _Rows) -> None:
    """Name assets that lack many days and have none without trading: their liquidity is that of the days they have."""
    first = np.r_[True, rows.asset[1:] != rows.asset[:-1]]
    start = np.flatnonzero(first)
    count = np.diff(np.r_[start, rows.asset.size])
    span = rows.day[start + count - 1] - rows.day[start] + 1
    still = np.add.reduceat(rows.values["dollar_volume" if "dollar_volume" in rows.values else "turnover"] == 0, start)
    bad = rows.asset[start][(still == 0) & (count < (1 - _MANY_ABSENT) * span)]
    if bad.size:
        warnings.warn(
            f"days are absent, more than {_MANY_ABSENT:.0%} between an asset's first row and its last, and none has "
            f"volume 0: {first_three(rows.labels[bad])}. Measures of liquidity count the days that are there. If there "
            "was no trading on the others, give them as rows with volume 0.",
            DataWarning,
            stacklevel=3,
        )


def _warn_of_basis(rows: _Rows, priced: bool) -> None:
    """Name days on which returns, or market equity beside them, move as a split does."""
    same = np.r_[False, rows.asset[1:] == rows.asset[:-1]]
    growth = np.log1p(np.where(rows.values["returns"] > -1, rows.values["returns"], np.nan))
    moves = []
    if priced:
        moves.append((growth, "returns from closes", "closes as traded told as adjusted"))
    if "market_equity" in rows.values:
        equity = np.log(rows.values["market_equity"])
        less = equity - np.r_[np.nan, equity[:-1]] - growth
        moves.append((less, "market equity beside returns", "numbers of shares on another basis than `close`"))
    for move, what, cause in moves:
        split = same & (np.abs(np.abs(move)[:, None] - np.log(_SPLITS)) < _LIKE_A_SPLIT).any(axis=1)
        if split.any():
            cells = [(rows.days[rows.day[row]], rows.labels[rows.asset[row]]) for row in np.flatnonzero(split)]
            warnings.warn(
                f"{what} move as at a split: {first_three(cells)}. Perhaps {cause}: put both on one basis.",
                DataWarning,
                stacklevel=3,
            )


def _scale(units: str, needed: bool) -> float:
    if needed:
        told(units, "units", ("decimal", "percent"), "They are those of returns, market and risk_free.", UnitsError)
    elif units is not NOT_TOLD:
        raise UnitsError("units are those of returns, market or risk_free: none of them is given. Leave units out.")
    return 0.01 if units == "percent" else 1.0


def _basis(close: str | None, adjusted: str, returns: str | None, adjusted_close: str | None) -> str | None:
    if close is not None:
        why = "Adjusted closes hold later splits and dividends; closes as traded jump at a split."
        told(adjusted, "close_adjusted_for", _ADJUSTED, why, DataError)
        if adjusted == "nothing" and returns is None and adjusted_close is None:
            raise DataError(
                "returns cannot come from closes as traded, since a split would be a loss: give returns (total) or "
                "adjusted_close as well."
            )
        return adjusted
    if adjusted is not NOT_TOLD:
        raise DataError("close_adjusted_for says how close is adjusted: give close, or leave it out.")
    if returns is None and adjusted_close is None:
        raise DataError("returns must come from returns, adjusted_close or close: none of them is given.")
    return None


def _source(roles: dict[str, str | None]) -> str:
    """The role that returns come from."""
    return next(role for role in ("returns", "adjusted_close", "close") if roles[role] is not None)


def _check_keys(columns: Columns, order: np.ndarray) -> None:
    """Each (asset, day) once, and rows that are daily."""
    asset, day = columns.codes[order], columns.days[order]
    same = asset[1:] == asset[:-1]
    gaps = np.diff(day).astype(np.int64)
    again = order[1:][same & (gaps == 0)]
    if again.size:
        bad = np.zeros(order.size, bool)
        bad[again] = True
        raise DuplicateKeyError(
            f"each (day, asset) must have one row: repeated {columns.keys(bad)}. Usually two share classes under one "
            "name, or prices within the day."
        )
    if same.any() and np.median(gaps[same]) > _LONGEST_MEDIAN_GAP:
        raise DataError(
            f"rows must be daily: the dates of one asset are {np.median(gaps[same]):.0f} days apart (median). Monthly "
            "characteristics go straight into read_frame."
        )


def _check_values(columns: Columns, given: dict[str, np.ndarray], scale: float) -> None:
    for role in ("close", "adjusted_close", "high", "low", "shares", "market_equity"):
        if role in given:
            cause = "Usually a missing code, or a bid-ask average marked by a minus (CRSP: take the absolute value)."
            columns.refuse(given[role] <= 0, f"{role} must be positive", cause)
    for role in ("volume", "dollar_volume"):
        if role in given:
            columns.refuse(given[role] < 0, f"{role} must not be negative", "Usually a missing code (-99).")
    if "returns" in given:
        cause = "Usually a missing code (-66, -99) taken for a return: make it NaN. Or percent declared decimal."
        columns.refuse(scale * given["returns"] < -1, "returns must be at least -100%", cause)
    if "high" in given and "low" in given:
        crossed = given["high"] < given["low"]
        columns.warn(crossed, "high below low, taken as missing")
        given["high"] = np.where(crossed, np.nan, given["high"])


def _check_return_units(rows: _Rows, units: str) -> None:
    returns = rows.values["returns"]
    seen = np.abs(returns[~np.isnan(returns)])
    if not seen.size:
        raise DataError("some row must have a return: all are missing.")
    check_units(returns[:, None], "returns", 252)
    _refuse_tiny(returns, "returns", units)


def _refuse_tiny(returns: np.ndarray, name: str, units: str) -> None:
    typical = float(np.nanmedian(np.abs(returns)))
    if units == "percent" and 0 < typical < _TINY_RETURN:
        raise UnitsError(
            f"{name} must be in percent as told: the median |daily return| is {100 * typical:.2g}%. Usually "
            'they are decimal: pass units="decimal".'
        )


def _returns(
    given: dict[str, np.ndarray],
    roles: dict[str, str | None],
    asset: np.ndarray,
    day: np.ndarray,
    scale: float,
    longest_gap: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Daily returns of rows that have a price, and which of them are over too long a gap: unknown unless given."""
    follows = np.r_[False, asset[1:] == asset[:-1]]
    role = _source(roles)
    if role == "returns":
        returns = scale * given[role]
        return returns, follows & (day - np.r_[0, day[:-1]] > longest_gap) & ~np.isnan(returns)
    valid = ~np.isnan(given[role])
    row = np.maximum.accumulate(np.where(valid, np.arange(valid.size), 0))
    previous = np.r_[0, row[:-1]]  # the latest row with a price before this one
    follows = follows & valid[previous] & (asset[previous] == asset)
    gaps = follows & (day - day[previous] > longest_gap)
    return np.where(follows & ~gaps, given[role] / given[role][previous] - 1.0, np.nan), gaps


def _levels(given: dict[str, np.ndarray], basis: str | None) -> dict[str, np.ndarray]:
    """Inputs in currency, and ratios, that can be had without later splits or dividends in them."""
    levels: dict[str, np.ndarray] = {name: given[name] for name in ("dollar_volume", "market_equity") if name in given}
    if basis in ("nothing", "splits"):
        if "volume" in given:
            levels.setdefault("dollar_volume", given["close"] * given["volume"])
        if "shares" in given:
            levels.setdefault("market_equity", given["close"] * given["shares"])
    if basis == "nothing":
        levels["price"] = given["close"]
    if "dollar_volume" in levels:
        traded = levels["dollar_volume"]
        levels["traded_value"] = np.where(traded > 0, traded, np.nan)
    if "volume" in given and "shares" in given:
        levels["turnover"] = given["volume"] / given["shares"]
    if "high" in given and "low" in given:
        levels["daily_range"] = (given["high"] - given["low"]) / ((given["high"] + given["low"]) / 2)
    return levels


def _market(rows: _Rows, market: str) -> np.ndarray:
    """The return by day of the market that the rows make."""
    if market not in _MARKETS:
        raise DataError(f"market must be a Series by day, {' or '.join(map(repr, _MARKETS))}: found {market!r}.")
    returns = rows.values["returns"]
    weight = np.ones(returns.size)
    if market == "value_weighted":
        if "market_equity" not in rows.values:
            raise DataError("a value-weighted market needs market equity: give shares with close, or market_equity.")
        equity = rows.values["market_equity"]
        same = np.r_[False, rows.asset[1:] == rows.asset[:-1]]
        weight = np.where(same, np.r_[np.nan, equity[:-1]], np.nan)
    used = ~np.isnan(returns) & ~np.isnan(weight)
    # bincount adds row by row: assets without a row on a day do not touch its sum
    sums = [
        np.bincount(rows.day[used], weights=values[used], minlength=len(rows.days))
        for values in (weight * returns, weight)
    ]
    return np.divide(sums[0], sums[1], out=np.full(len(rows.days), np.nan), where=sums[1] > 0)


def _by_day(series: pd.Series, name: str, days: Days, scale: float) -> np.ndarray:
    """Values of a Series on the days of the frame."""
    if not isinstance(series, pd.Series):
        raise DataError(f"{name} must be a Series by day: found {type(series).__name__}.")
    at = parse_dates(series.index, f"{name} index")
    numbers = pd.to_numeric(series.astype(object), errors="coerce").to_numpy(dtype=np.float64)
    text = np.isnan(numbers) & series.notna().to_numpy()
    if text.any():
        raise DataError(f"{name} must be numbers: found {series.dtype} on {first_three(at[text])}. Convert it first.")
    table = pd.Series(scale * numbers, index=at)
    if table.index.duplicated().any():
        raise DuplicateKeyError(
            f"{name} must have one value a day: repeated {first_three(at[table.index.duplicated()])}."
        )
    values = table.reindex(days).to_numpy()
    if np.isinf(values).any() or (values < -1).any():
        raise DataError(
            f"{name} must be returns, finite and at least -100%: found otherwise on "
            f"{first_three(days[np.isinf(values) | (values < -1)])}. Usually a missing code: make it NaN."
        )
    absent = np.isnan(values)
    if absent.all():
        raise DataError(f"{name} must have days of the frame, {days[0]} to {days[-1]}: it has none.")
    if absent.any():
        warnings.warn(
            f"{name} lacks days of the frame, which count in no beta: {first_three(days[absent])}.",
            DataWarning,
            stacklevel=3,
        )
    check_units(values[:, None], name, 252)
    return values


def _check_riskless_units(riskless: np.ndarray, units: str) -> None:
    typical = float(np.nanmedian(np.abs(riskless)))
    if typical > _LARGE_RISKLESS:
        raise UnitsError(
            f'risk_free must be over one day, in "{units}": the median |rate| is {typical:.3g} in decimal, above '
            f"{_LARGE_RISKLESS}. Usually it is in percent beside decimal returns, or a rate of a month or a year."
        )


def _computed(rows: _Rows, definitions: list[PriceDefinition], ends: _Ends) -> pd.DataFrame:
    """One row for each period and asset that has a price in it, or a recent one before its end.

    What is known at the end decides, and not whether trading resumes: an asset whose last price is older than
    `longest_gap` trading days has no characteristics.
    """
    own = [slice(a, b) for a, b in zip(*_own_days(rows.days, ends), strict=True)]
    windows = {window for one in definitions for window in one.windows}
    slices = {window: ends.slices(rows.days, window) for window in windows}
    month = ends.slices(rows.days, Window(1))
    parts = []
    for where, part in rows.blocks_of_assets():
        grids = {name: part.grid(values, np.nan) for name, values in part.values.items()}
        excess = grids["returns"] if rows.riskless is None else grids["returns"] - rows.riskless
        grids["excess_returns"] = excess
        if rows.market is not None:
            grids["market"] = np.broadcast_to(rows.market, excess.shape)
        present = {name: ~np.isnan(values) for name, values in grids.items()}
        priced = part.grid(np.ones(part.asset.size, bool), False)
        broken = part.grid(part.broken, False)
        for t, days in enumerate(own):
            lately = slice(max(0, days.stop - 1 - rows.longest_gap), days.stop)
            recent = priced[:, lately].any(axis=1)
            here = np.flatnonzero(recent | priced[:, days].any(axis=1))
            if not here.size:
                continue
            table: dict[str, Any] = {"date": ends.labels[t], "asset": rows.labels[where][here]}
            period = _block(grids, present, ("returns",), days)
            unknown = broken[:, days].any(axis=1) | (period.count == 0)
            table["ret"] = np.where(unknown, np.nan, period.compounded())[here]
            if "market_equity" in grids:
                block = _block(
                    grids, present, ("market_equity",), slice(min(month[t].start, lately.start), month[t].stop)
                )
                last = block.last(block.values["market_equity"])
                table["market_equity"] = np.where(recent & (block.count > 0), last, np.nan)[here]
            for one in definitions:
                blocks = [_block(grids, present, inputs, slices[window][t]) for window, inputs, _ in one.needs]
                enough = [block.count >= least for block, (*_, least) in zip(blocks, one.needs, strict=True)]
                kept = recent & np.all(enough, axis=0)
                if one.unbroken:
                    kept &= ~np.any([broken[:, slices[window][t]].any(axis=1) for window in one.windows], axis=0)
                value = np.full(len(part.labels), np.nan)
                if kept.any():
                    value[kept] = one.compute(*(_of_assets(block, kept) for block in blocks))
                table[one.name] = value[here]
            parts.append(pd.DataFrame(table))
    whole = pd.concat(parts, ignore_index=True)
    return whole.sort_values(["date", "asset"], kind="stable", ignore_index=True)


def _own_days(days: Days, ends: _Ends) -> tuple[np.ndarray, np.ndarray]:
    """First and last position of each period's own days."""
    position = Calendar(ends.frequency).ordinals(days)
    return np.searchsorted(position, ends.position, "left"), np.searchsorted(position, ends.position, "right")


def _block(grids: dict[str, np.ndarray], present: dict[str, np.ndarray], inputs: tuple[str, ...], days: slice) -> Block:
    ok = present[inputs[0]][:, days]
    for name in inputs[1:]:
        ok = ok & present[name][:, days]
    return Block({name: grids[name][:, days] for name in inputs}, ok)


def _of_assets(block: Block, kept: np.ndarray) -> Block:
    """The block of some assets only, always laid out in the same way: sums depend on it in their last bits."""
    values = {name: np.ascontiguousarray(one[kept]) for name, one in block.values.items()}
    return Block(values, np.ascontiguousarray(block.ok[kept]))
