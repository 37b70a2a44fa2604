"""Calendar periods: parsing dates, inferring the frequency, moving by months and weeks instead of by rows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayesfactor.errors import DataError, EmptyWindowError, first_three

PERIODS_PER_YEAR = {"monthly": 12, "weekly": 52, "daily": 252}
_FRIDAY = 1  # 1970-01-02 was a Friday: weeks run from Monday to Sunday, labelled by their Friday
_MONDAY = -3
_SUNDAY_AFTER = np.timedelta64(2, "D")
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MOSTLY_WEEKDAYS = 0.9
_LONGEST_GAP = {"monthly": 62, "weekly": 10, "daily": 4}  # days from one date to the next
FIRST_DAY, LAST_DAY = np.datetime64("1700-01-01"), np.datetime64("2200-12-31")
_LONGEST_HOLE = 10  # years without any row
_TIME_ZONE = r"[T ]\d{2}.*(?:[Zz]|[+-]\d{2}(?::?\d{2})?)$"
LONG_AGO, FAR_AHEAD = np.datetime64("0001-01-01"), np.datetime64("9999-12-31")

Days = np.ndarray  # datetime64[D]


@dataclass(frozen=True)
class Calendar:
    """Whole-number positions of periods, so that a lag of one is one calendar period.

    Months and weeks are counted on the calendar; a week runs from Monday to Sunday and is labelled by its
    Friday, so that rows dated on the weekend belong to the week of trading just ended. Days are counted on
    `days`, the sorted dates that the data have, plus one for the period after the last.
    """

    frequency: str
    days: Days | None = None

    @classmethod
    def of(cls, dates: Days, frequency: str) -> Calendar:
        """Calendar that covers `dates` and the period after the last."""
        if frequency != "daily":
            return cls(frequency)
        days = np.unique(dates)
        return cls(frequency, np.append(days, _next_day(days)))

    def ordinals(self, dates: Days) -> np.ndarray:
        """Position of the period that holds each date; -1 for a day that the calendar has not."""
        if self.frequency == "monthly":
            return dates.astype("datetime64[M]").astype(np.int64)
        if self.frequency == "weekly":
            return (dates.astype(np.int64) - _MONDAY) // 7
        assert self.days is not None
        where = np.minimum(np.searchsorted(self.days, dates), self.days.size - 1)
        return np.where(self.days[where] == dates, where, -1)

    def first_after(self, dates: Days) -> np.ndarray:
        """Position of the first period whose first day is strictly after each date."""
        if self.frequency == "daily":
            assert self.days is not None
            return np.searchsorted(self.days, dates, side="right")
        return self.ordinals(dates) + 1

    def last_day(self, label: np.datetime64) -> np.datetime64:
        """The last day of the period with this label: the Sunday after a week's Friday."""
        return label + _SUNDAY_AFTER if self.frequency == "weekly" else label

    def labels(self, ordinals: np.ndarray) -> pd.DatetimeIndex:
        """Period ends: calendar month end, Friday, or the day itself."""
        if self.frequency == "monthly":
            ends = (ordinals + 1).astype("datetime64[M]").astype("datetime64[D]") - np.timedelta64(1, "D")
        elif self.frequency == "weekly":
            ends = (ordinals * 7 + _FRIDAY).astype("datetime64[D]")
        else:
            assert self.days is not None
            ends = self.days[ordinals]
        return pd.DatetimeIndex(ends.astype("datetime64[ns]"), name="time")


def _next_day(days: Days) -> np.datetime64:
    """The trading day after the last: the next weekday, or the next day where the data trade on weekends.

    Of days of a market that trades on weekends two in seven are on them; a few are stray.
    """
    if np.is_busday(days).mean() > _MOSTLY_WEEKDAYS:
        return np.busday_offset(days[-1] + np.timedelta64(1, "D"), 0, roll="forward")
    return days[-1] + np.timedelta64(1, "D")


def as_days(times: pd.DatetimeIndex) -> Days:
    """Dates without time of day."""
    return times.to_numpy().astype("datetime64[D]")


def period_ends(dates: Days, frequency: str) -> Days:
    """Label of the period that holds each date."""
    if frequency == "daily":
        return dates
    calendar = Calendar(frequency)
    return as_days(calendar.labels(calendar.ordinals(dates)))


def check_frequency(frequency: str) -> None:
    """Refuse a frequency that the package has no calendar for."""
    if frequency not in PERIODS_PER_YEAR:
        raise DataError(f"frequency must be one of {', '.join(PERIODS_PER_YEAR)}: found {frequency!r}.")


def infer_frequency(dates: Days) -> str:
    """Monthly where no calendar month holds two dates, weekly where no week does, daily otherwise."""
    days = np.unique(dates)
    for frequency, longest in _LONGEST_GAP.items():
        if frequency != "daily" and np.unique(period_ends(days, frequency)).size < days.size:
            continue
        gap = float(np.diff(days).astype(np.int64).mean()) if days.size > 1 else 0.0
        if gap <= longest:
            return frequency
        raise DataError(
            f"the frequency must be plain from the dates: they look {frequency}, but are "
            f"{gap:.0f} days apart on average, as at {_wide(days, longest)}. Usually assets are dated on different "
            'days of one month, or the data are quarterly or annual. Pass frequency="monthly", "weekly" or "daily".'
        )
    raise AssertionError("unreachable: every set of dates is at least daily")


def check_plausible(dates: Days, column: str, frequency: str | None) -> None:
    """Refuse dates that nobody has data for, and a frequency that was told and that the dates contradict.

    Days are counted on the dates there are, so monthly data called daily would have 252 periods a year.

    Raises
    ------
    DataError
        For a date before 1700 or after 2200, a hole of more than ten years, or days that are more than four days
        apart on average.
    """
    outside = (dates < FIRST_DAY) | (dates > LAST_DAY)
    if outside.any():
        cells = [(f"row {row}", dates[row]) for row in np.flatnonzero(outside)]
        raise DataError(
            f"column {column!r} must hold dates between {FIRST_DAY} and {LAST_DAY}: found {first_three(cells)}. "
            "Usually YYMMDD taken for YYYYMM, or a code for open or unknown: drop such rows."
        )
    days = np.unique(dates)
    holes = _wide(days, 365.25 * _LONGEST_HOLE)
    if holes:
        raise DataError(
            f"column {column!r} must have no hole of more than {_LONGEST_HOLE} years: found {holes}. Usually a zero "
            "date (1900-01-01, 1970-01-01), which is a missing one, or a year typed wrong: drop or correct such rows."
        )
    longest = _LONGEST_GAP["daily"]
    if frequency == "daily" and days.size > 1 and np.diff(days).astype(np.int64).mean() > longest:
        raise DataError(
            f'frequency="daily" must be that of the dates: they are '
            f"{np.diff(days).astype(np.int64).mean():.0f} days apart on average, as at {_wide(days, longest)}. "
            'Pass frequency="monthly" or "weekly", or nothing.'
        )


def _wide(days: Days, longest: float) -> str:
    """The first gaps of more than so many days between sorted dates; nothing where there is none."""
    wide = np.flatnonzero(np.diff(days).astype(np.int64) > longest)
    return first_three((days[i], days[i + 1]) for i in wide) if wide.size else ""


def check_gaps(dates: Days, assets: np.ndarray, frequency: str) -> None:
    """Refuse an inferred frequency that the dates of single assets contradict.

    Assets dated on different days (month ends of different markets, fiscal month ends) look daily together,
    though each has one row a month.

    Raises
    ------
    DataError
        When the median gap between the dates of one asset is longer than the frequency allows.
    """
    codes = pd.factorize(assets)[0]
    order = np.lexsort((dates, codes))
    days, codes, names = dates[order].astype(np.int64), codes[order], assets[order]
    follows = (codes[1:] == codes[:-1]) & (days[1:] > days[:-1])
    gaps = np.diff(days)[follows]
    longest = _LONGEST_GAP[frequency]
    if not gaps.size or np.median(gaps) <= longest:
        return
    wide = np.flatnonzero(follows)[gaps > longest]
    cells = [(dates[order][i], dates[order][i + 1], names[i]) for i in wide]
    raise DataError(
        f"the frequency must be plain from the dates: all together they look {frequency}, but the dates of one "
        f"asset are {np.median(gaps):.0f} days apart (median), as at {first_three(cells)}. Usually assets are "
        'dated on different days of the same month. Pass frequency="monthly", "weekly" or "daily".'
    )


def weekday_of_most(dates: Days) -> tuple[str, np.ndarray]:
    """The most common weekday, and which dates fall on it."""
    weekday = (dates.astype(np.int64) - _MONDAY) % 7
    most = int(np.bincount(weekday, minlength=7).argmax())
    return _WEEKDAYS[most], weekday == most


def parse_dates(values: Any, column: str) -> Days:
    """Read dates as users hold them.

    Datetimes, dates, pandas periods (their last day), ISO 8601 text, and the integers or digits YYYYMM and
    YYYYMMDD. Text in other orders (03/04/2016) is refused: day and month could be mistaken for each other.
    So are times with a zone or an offset: their calendar date depends on where one stands.

    Raises
    ------
    DataError
        With the first cells that are no dates, or have a time zone.
    """
    series = pd.Series(values).reset_index(drop=True)
    parsed: Any
    if isinstance(series.dtype, pd.PeriodDtype):
        parsed = series.dt.to_timestamp(how="end")
    elif pd.api.types.is_datetime64_any_dtype(series.dtype):
        if isinstance(series.dtype, pd.DatetimeTZDtype):
            _refuse_zones(series, series.notna().to_numpy(), column)
        parsed = series
    elif pd.api.types.is_bool_dtype(series.dtype):
        parsed = pd.Series(pd.NaT, index=series.index, dtype="datetime64[ns]")
    elif pd.api.types.is_numeric_dtype(series.dtype):
        parsed = _from_digits(series)
    else:
        parsed = _from_objects(series, column)
    bad = parsed.isna().to_numpy()
    if bad.any():
        found = [series.iloc[row] for row in np.flatnonzero(bad)]
        cells = [
            (f"row {row}", repr(value) if isinstance(value, str) else value)
            for row, value in zip(np.flatnonzero(bad), found, strict=True)
        ]
        raise DataError(
            f"column {column!r} must hold dates: cannot read {first_three(cells)}. "
            "Give datetimes, ISO 8601 text (2016-06-30), YYYYMM or YYYYMMDD."
        )
    return parsed.to_numpy().astype("datetime64[D]")


def _from_digits(series: pd.Series) -> pd.Series:
    """YYYYMM (its month end) and YYYYMMDD; anything else becomes NaT."""
    numbers = series.to_numpy(dtype=float, na_value=np.nan)
    whole = np.isfinite(numbers) & (numbers == np.floor(numbers))
    digits = pd.Series(np.where(whole, numbers, 0).astype(np.int64).astype(str), index=series.index)
    months = pd.to_datetime(digits.where(digits.str.len() == 6), format="%Y%m", errors="coerce")
    days = pd.to_datetime(digits.where(digits.str.len() == 8), format="%Y%m%d", errors="coerce")
    return (months + pd.offsets.MonthEnd(0)).fillna(days)


def _refuse_zones(series: pd.Series, zoned: np.ndarray, column: str) -> None:
    if zoned.any():
        cells = [(f"row {row}", str(series.iloc[row])) for row in np.flatnonzero(zoned)]
        raise DataError(
            f"column {column!r} must hold dates without a time zone: found {first_three(cells)}. Usually these "
            "are timestamps in UTC, whose calendar date can be another than the exchange's. Convert to the "
            "exchange's clock first: .dt.tz_convert(zone).dt.tz_localize(None)."
        )


def _from_objects(series: pd.Series, column: str) -> pd.Series:
    """Text, or Python objects: periods, dates, datetimes."""
    text = series.map(lambda value: str(value.end_time.date()) if isinstance(value, pd.Period) else str(value))
    _refuse_zones(series, text.str.contains(_TIME_ZONE, regex=True).to_numpy(dtype=bool), column)
    is_digits = text.str.fullmatch(r"\d{6}|\d{8}").to_numpy(dtype=bool)
    iso_text = text.where(~is_digits & ~text.str.fullmatch(r"\d{4}").to_numpy(dtype=bool))  # a year is no date
    iso = pd.to_datetime(iso_text, format="ISO8601", errors="coerce", utc=True).dt.tz_localize(None)
    return iso.fillna(_from_digits(pd.to_numeric(text.where(is_digits), errors="coerce")))


def first_and_last_day(when: Any) -> tuple[np.datetime64, np.datetime64]:
    """First and last day of what a user calls a date: "2016", "2016-06", a Timestamp, a Period."""
    try:
        if isinstance(when, int | np.integer):
            when = str(when)
        if isinstance(when, str) and re.fullmatch(r"\d{6}", when):
            when = f"{when[:4]}-{when[4:]}"
        if isinstance(when, str) and not re.match(r"\d{4}", when):
            raise ValueError("not ISO 8601")  # pandas would read words as dates of its own choice
        if isinstance(when, str | pd.Period):
            period = when if isinstance(when, pd.Period) else pd.Period(when)
            ends = (period.start_time, period.end_time)
        else:
            ends = (pd.Timestamp(when), pd.Timestamp(when))
        first, last = (np.datetime64(end.date(), "D") for end in ends)
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"a date must be like '2016-06', a Timestamp or a Period: found {when!r}.") from error
    if np.isnat(first):
        raise DataError("a date must be like '2016-06', a Timestamp or a Period: found a missing date.")
    return first, last


def show(time: Any, frequency: str) -> str:
    """A period as messages name it: 2016-06, or 2016-06-30 where days matter."""
    return pd.Timestamp(time).strftime("%Y-%m" if frequency == "monthly" else "%Y-%m-%d")


def span(times: pd.DatetimeIndex, frequency: str) -> str:
    """First and last period, as messages name them."""
    return f"{show(times[0], frequency)} to {show(times[-1], frequency)}"


def selected(times: pd.DatetimeIndex, frequency: str, wanted: Any) -> np.ndarray:
    """Which periods are wanted: a date ("2016" is the whole year), a list of dates, or a slice, both ends included.

    Raises
    ------
    EmptyWindowError
        When there is none, or none for one of the dates.
    """

    def ends(when: Any) -> Days:
        return period_ends(np.array(first_and_last_day(when)), frequency)

    days = as_days(times)
    if isinstance(wanted, slice):
        if wanted.step is not None:
            raise DataError("a slice of time must have no step.")
        first = LONG_AGO if wanted.start is None else ends(wanted.start)[0]
        last = FAR_AHEAD if wanted.stop is None else ends(wanted.stop)[1]
        keep = (days >= first) & (days <= last)
    else:
        many = wanted if isinstance(wanted, list | tuple | np.ndarray | pd.Index | xr.DataArray) else [wanted]
        keep = np.zeros(days.size, bool)
        for one in np.asarray(many) if isinstance(many, xr.DataArray) else many:
            first, last = ends(one)
            found = (days >= first) & (days <= last)
            if not found.any():
                raise EmptyWindowError(f"no period of the panel is in {one}: it runs {span(times, frequency)}.")
            keep |= found
    if not keep.any():
        raise EmptyWindowError(f"no period of the panel is in {brief(wanted)}: it runs {span(times, frequency)}.")
    return keep


def brief(value: Any) -> str:
    """A selection as messages name it."""
    if isinstance(value, slice):
        return f"{value.start} to {value.stop}"
    if isinstance(value, str) or np.ndim(value) == 0:
        return str(value)
    return f"{len(value)} labels" if len(value) > 3 else str([str(one) for one in value])
