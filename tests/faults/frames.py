"""Frames that `read_frame` must not take as they are."""

from __future__ import annotations

import datetime
import functools
import itertools
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from bayesfactor.errors import DataError, DataWarning, DuplicateKeyError, LookAheadError, UnitsError
from bayesfactor.panel import read_frame, simulate

from . import made
from .fault import Call, Fault

Frame = pd.DataFrame
Spoil = Callable[[Frame], object]
ROW = 7  # (2015-02, A1)
CELL = r"\(2015-02, A1\) \(1 in all\)"
ALL = object()  # no characteristics are named
NAMED = {"size": "size", "group": "sector"}


def frame(name: str, spoil: Spoil, gives: type[Exception], place: str | None, no_place: str = "", **told: Any) -> Fault:
    """The usual frame, spoiled, read as told (`made.TOLD`, changed by `told`; ``...`` leaves an argument out)."""

    def make(_folder: object, _rng: np.random.Generator) -> Call:
        said = made.TOLD | NAMED | told
        said = {key: value for key, value in said.items() if value is not ...}
        if said.get("characteristics") is ALL:
            del said["characteristics"]
        return functools.partial(read_frame, spoil(made.frame()), **said)

    return Fault(name, make, gives, place, no_place)


def put(column: str, value: Any, row: int = ROW) -> Spoil:
    """One cell replaced."""

    def spoil(frame: Frame) -> Frame:
        cells = frame[column].tolist()
        cells[row] = value
        return frame.assign(**{column: cells if isinstance(value, float) else pd.Series(cells, dtype=object)})

    return spoil


def whole(column: str, change: Callable[[pd.Series], Any]) -> Spoil:
    """A column replaced."""
    return lambda frame: frame.assign(**{column: change(frame[column])})


def months(change: Callable[[pd.Series], Any]) -> Spoil:
    return whole("date", change)


def riskless(name: str, rate: Any, gives: type[Exception], place: str | None, **told: Any) -> Fault:
    """Raw returns with a riskless rate: a column's value, or a Series made from the months."""
    if callable(rate):
        made_rate = rate(pd.Series(0.001, index=pd.period_range("2015-01", "2016-02", freq="M")))
        return frame(name, lambda f: f, gives, place, excess=False, risk_free=made_rate, **told)
    return frame(name, lambda f: f.assign(rf=rate), gives, place, **{"excess": False, "risk_free": "rf"} | told)


def gross(frame: Frame) -> Frame:
    return frame.assign(ret=1 + frame["ret"])


def with_return(sign: float, noise: float = 0.0) -> Spoil:
    """A characteristic that is the following return under another name."""

    def spoil(frame: Frame) -> Frame:
        ahead = frame.groupby("asset")["ret"].shift(-1)
        return frame.assign(x=sign * ahead + noise * np.arange(len(frame)))

    return spoil


def fiscal(days: int) -> Spoil:
    return lambda frame: frame.assign(filed=frame["date"] + pd.to_timedelta(days, unit="D"))


def daily(spoil: Spoil = lambda f: f) -> Spoil:
    def of(_: Frame) -> object:
        days = simulate.frame(n_months=20, n_assets=5, n_characteristics=2, seed=1, frequency="daily")
        return spoil(days.rename(columns={"x1": "x", "x2": "y"}).assign(sector="a"))

    return of


def weekly_midweek(frame: Frame) -> Frame:
    days = simulate.frame(n_months=20, n_assets=5, n_characteristics=2, seed=1, frequency="weekly")
    days = days.rename(columns={"x1": "x", "x2": "y"}).assign(sector="a")
    return days.assign(date=days["date"] - pd.Timedelta(2, "D"), filed=days["date"])


TIMING = [
    frame("returns_over not told", lambda f: f, DataError, "returns_over", returns_over=...),
    frame("returns_over of another word", lambda f: f, DataError, "returns_over", returns_over="same"),
    frame("lag not told", lambda f: f, LookAheadError, "lag", lag=...),
    frame("lag 0 with the row's own return", lambda f: f, LookAheadError, "lag", lag=0),
    frame("negative lag", lambda f: f, LookAheadError, "lag", lag=-1, returns_over="next"),
    frame("lag that is no whole number", lambda f: f, LookAheadError, "lag", lag=1.5),
    frame("lag that is True", lambda f: f, LookAheadError, "lag", lag=True),
    frame("lag as text", lambda f: f, LookAheadError, "lag", lag="1"),
    frame("lag longer than the data", lambda f: f, DataError, "84 rows", lag=60),
    frame("lag beyond any integer", lambda f: f, LookAheadError, "lag", lag=10**30),
    frame("lag that would wrap around", lambda f: f, LookAheadError, "lag", lag=2**63 - 3),
    frame("units not told", lambda f: f, UnitsError, "units", units=...),
    frame("units of another word", lambda f: f, UnitsError, "units", units="bp"),
    frame("excess not told", lambda f: f, UnitsError, "excess", excess=...),
    frame("excess that is a word", lambda f: f, UnitsError, "excess", excess="yes"),
    frame("lag and available", lambda f: f, DataError, "lag and available", available="filed"),
    frame(
        "characteristic that is the return",
        whole("x", lambda c: c),
        LookAheadError,
        "'ret'",
        characteristics=["ret"],
        returns_over="next",
        lag=0,
    ),
    frame("characteristic that is the next return", with_return(1.0), LookAheadError, "'x'"),
    frame("characteristic that is minus the next return", with_return(-100.0), LookAheadError, "'x'"),
    frame("characteristic that is nearly the next return", with_return(1.0, 1e-5), LookAheadError, "'x'"),
    frame(
        "rows published in the month before their own",
        fiscal(-40),
        LookAheadError,
        r"\(2015-01, A0, published 2014-12-22\)",
        lag=...,
        available="filed",
    ),
    frame(
        "row without a publication date",
        put("filed", pd.NaT),
        LookAheadError,
        "'filed'.*row 7",
        lag=...,
        available="filed",
    ),
    frame(
        "publication date that is text",
        whole("filed", lambda c: "soon"),
        DataError,
        "'filed'.*row 0",
        lag=...,
        available="filed",
    ),
    frame(
        "publication dated 1970 for unknown",
        put("filed", pd.Timestamp("1970-01-01")),
        LookAheadError,
        CELL.replace(r"A1\)", r"A1, published 1970-01-01\)"),
        lag=...,
        available="filed",
        returns_over="next",
    ),
    frame(
        "publication dated 1900 for unknown",
        put("filed", pd.Timestamp("1900-01-01")),
        LookAheadError,
        r"2015-02, A1, published 1900-01-01",
        lag=...,
        available="filed",
        returns_over="next",
    ),
    frame(
        "midweek returns with publication dates",
        weekly_midweek,
        DataError,
        r"Wednesday.*\(2000-01-05, S0\)",
        lag=...,
        available="filed",
        size=...,
        group=...,
    ),
]

DATES = [
    frame(
        "dates as day/month/year",
        months(lambda c: c.dt.strftime("%d/%m/%Y")),
        DataError,
        r"'date'.*\(row 0, '31/01/2015'\)",
    ),
    frame(
        "dates as month/day/year",
        months(lambda c: c.dt.strftime("%m/%d/%Y")),
        DataError,
        r"'date'.*\(row 0, '01/31/2015'\)",
    ),
    frame("dates as year/month/day", months(lambda c: c.dt.strftime("%y/%m/%d")), DataError, r"'date'.*row 0"),
    frame(
        "dates with a month in words",
        months(lambda c: c.dt.strftime("%d %b %Y")),
        DataError,
        r"'date'.*\(row 0, '31 Jan 2015'\)",
    ),
    frame("dates like Jan-15", months(lambda c: c.dt.strftime("%b-%y")), DataError, r"'date'.*row 0, 'Jan-15'"),
    frame("dates as quarters in words", months(lambda c: "2015Q1"), DataError, r"'date'.*row 0, '2015Q1'"),
    frame("dates as ISO weeks", months(lambda c: "2015-W05"), DataError, r"'date'.*row 0"),
    frame(
        "dates as spreadsheet serials",
        months(lambda c: (c - pd.Timestamp("1899-12-30")).dt.days),
        DataError,
        r"'date'.*\(row 0, .*42035",
    ),
    frame("dates as Unix seconds", months(lambda c: c.astype("int64") // 10**9), DataError, r"'date'.*row 0"),
    frame("dates as nanoseconds", months(lambda c: c.astype("int64")), DataError, r"'date'.*row 0"),
    frame("dates as decimal years", months(lambda c: c.dt.year + c.dt.month / 12), DataError, r"'date'.*row 0"),
    frame("years alone", months(lambda c: c.dt.year), DataError, r"'date'.*row 0"),
    frame("years alone as text", months(lambda c: c.dt.strftime("%Y")), DataError, r"'date'.*row 0"),
    frame("YYMMDD as integers", months(lambda c: c.dt.strftime("%y%m%d").astype(int)), DataError, r"'date'.*row 0"),
    frame(
        "YYMMDD, first of the month",
        months(lambda c: c.dt.strftime("%y%m01").astype(int)),
        DataError,
        r"'date'.*row 0",
        frequency="monthly",
    ),
    frame("DDMMYYYY as integers", months(lambda c: c.dt.strftime("%d%m%Y").astype(int)), DataError, r"'date'.*row 0"),
    frame("month 13", months(lambda c: 201513), DataError, r"'date'.*row 0.*201513"),
    frame("31 June", months(lambda c: 20150631), DataError, r"'date'.*row 0.*20150631"),
    frame("missing date", put("date", pd.NaT), DataError, r"'date'.*row 7"),
    frame(
        "missing integer date",
        lambda f: f.assign(date=f["date"].dt.strftime("%Y%m").astype(float).where(f.index != ROW)),
        DataError,
        r"'date'.*row 7, nan",
    ),
    frame(
        "infinite date",
        lambda f: f.assign(date=f["date"].dt.strftime("%Y%m").astype(float).where(f.index != ROW, np.inf)),
        DataError,
        r"'date'.*row 7, .*inf",
    ),
    frame("dates that are booleans", months(lambda c: True), DataError, r"'date'.*row 0, .*True"),
    frame("dates that are time spans", months(lambda c: c - c.iloc[0]), DataError, r"'date'.*row 0"),
    frame("dates that are lists", lambda f: f.assign(date=[[2015, 1]] * len(f)), DataError, r"'date'.*row 0"),
    frame("time of day only", lambda f: f.assign(date=[datetime.time(16)] * len(f)), DataError, r"'date'.*row 0"),
    frame(
        "dates with a time zone",
        months(lambda c: c.dt.tz_localize("America/New_York")),
        DataError,
        r"'date'.*\(row 0, 2015-01-31",
    ),
    frame(
        "dates with an offset in the text",
        months(lambda c: c.dt.strftime("%Y-%m-%dT23:30:00-05:00")),
        DataError,
        r"'date'.*row 0",
    ),
    frame("one date with a Z", put("date", "2015-02-28T00:00Z"), DataError, r"'date'.*row 7, 2015-02-28T00:00Z"),
    frame(
        "zero date 1970-01-01",
        put("date", pd.Timestamp("1970-01-01")),
        DataError,
        "1970-01-01.*2015-01-31",
        frequency="monthly",
    ),
    frame(
        "zero date 1900-01-01 in a daily file",
        daily(put("date", pd.Timestamp("1900-01-01"))),
        DataError,
        "1900-01-01.*2000-01-03",
        group=...,
    ),
    frame("date 9999-12-31 for open", put("date", datetime.date(9999, 12, 31)), DataError, "9999-12-31"),
    frame("date before 1677", put("date", "1066-10-14"), DataError, "1066-10-14"),
    frame("all dates before 1677", months(lambda c: c.dt.strftime("1%y0-%m-%d")), DataError, "'date'.*row 0"),
    frame("all dates after 2262", months(lambda c: c.dt.strftime("25%y-%m-%d")), DataError, "'date'.*row 0"),
    frame(
        "year typed 2105 for 2015",
        put("date", pd.Timestamp("2105-02-28")),
        DataError,
        "2105-02-28",
        frequency="monthly",
    ),
    frame("quarterly rows", lambda f: f[f["date"].dt.month % 3 == 0], DataError, r"\d+ days apart.*2015-03-31"),
    frame(
        "months dated on other days by asset",
        lambda f: f.assign(date=f["date"] - pd.to_timedelta(f.index % 6, unit="D")),
        DataError,
        r"\(2015-01-31, 2015-02-23\)",
    ),
    frame("frequency of another word", lambda f: f, DataError, "frequency.*'Monthly'", frequency="Monthly"),
    frame("monthly rows said to be weekly", lambda f: f, DataWarning, None, "all returns", frequency="weekly"),
    frame(
        "quarterly rows said to be monthly",
        lambda f: f[f["date"].dt.month % 3 == 0],
        DataWarning,
        None,
        "all returns",
        frequency="monthly",
    ),
    frame("monthly rows said to be daily", lambda f: f, DataError, r"daily.*2015-01-31", frequency="daily"),
    frame(
        "daily rows said to be monthly", daily(), DuplicateKeyError, r"\(2000-01, S0\)", frequency="monthly", group=...
    ),
    frame(
        "daily rows said to be weekly",
        daily(),
        DuplicateKeyError,
        r"\(2000-01-\d\d, S0\)",
        frequency="weekly",
        group=...,
    ),
]

KEYS = [
    frame("a row twice", lambda f: pd.concat([f, f.iloc[[ROW]]]), DuplicateKeyError, CELL),
    frame(
        "two dates in a month",
        put("date", pd.Timestamp("2015-01-15")),
        DuplicateKeyError,
        r"\(2015-01, A1\)",
        frequency="monthly",
    ),
    frame("two assets under one label", put("asset", "A2"), DuplicateKeyError, r"\(2015-02, A2\)"),
    frame(
        "whole floats and integers are one label",
        lambda f: f.assign(asset=[7, 7.0, "x", "y", "z", "w"] * 14),
        DuplicateKeyError,
        r"\(2015-01, 7\)",
    ),
    frame("missing label", put("asset", None), DataError, "'asset'.*row 7"),
    frame("label NaN", put("asset", np.nan), DataError, "'asset'.*row 7"),
    frame(
        "missing integer label",
        lambda f: f.assign(asset=np.where(f.index == ROW, np.nan, f.index % 6)),
        DataError,
        "'asset'.*row 7",
    ),
    frame("blank label", put("asset", "  "), DataError, "'asset'.*row 7"),
    frame("label with a blank behind it", put("asset", "A1 "), DataError, "'asset'.*row 7"),
    frame("label with a line break", put("asset", "A1\nA2"), DataError, "'asset'.*row 7"),
    frame("labels that are fractions", lambda f: f.assign(asset=f.index % 6 + 0.5), DataError, "'asset'.*row 0"),
    frame(
        "infinite label",
        lambda f: f.assign(asset=np.where(f.index == ROW, np.inf, f.index % 6)),
        DataError,
        "'asset'.*row 7",
    ),
    frame(
        "labels beyond exact floats",
        lambda f: f.assign(asset=2.0**60 + 2**20 * (f.index % 6)),
        DataError,
        "'asset'.*row 0",
    ),
    frame("no rows", lambda f: f.iloc[:0], DataError, "no rows|has none", ""),
    frame(
        "one date only",
        lambda f: f[f["date"] == f["date"].min()],
        DataWarning,
        None,
        "nothing is in it",
        frequency="monthly",
    ),
    frame("no column of dates", lambda f: f.drop(columns="date"), DataError, "time='date'"),
    frame("no column of returns", lambda f: f.rename(columns={"ret": "RET"}), DataError, "returns='ret'.*Near: RET"),
    frame("no such characteristic", lambda f: f, DataError, "characteristics='bm'", characteristics=["x", "bm"]),
    frame("no such size", lambda f: f, DataError, "size='me'", size="me"),
    frame("no such group", lambda f: f, DataError, "group='sic'", group="sic"),
    frame("no such publication date", lambda f: f, DataError, "available='rdq'", lag=..., available="rdq"),
    frame("time given as a list", lambda f: f, DataError, "time", time=["date"]),
    frame("time given as None", lambda f: f, DataError, "time", time=None),
    frame("returns given as None", lambda f: f, DataError, "returns", returns=None),
    frame("a column twice", lambda f: pd.concat([f, f[["x"]]], axis=1), DuplicateKeyError, "repeated x"),
    frame(
        "a characteristic named twice", lambda f: f, DuplicateKeyError, "repeated x", characteristics=["x", "y", "x"]
    ),
    frame("no characteristics named", lambda f: f, DataError, "characteristic", characteristics=[]),
    frame(
        "no numeric column left",
        lambda f: f[["date", "asset", "ret"]],
        DataError,
        "characteristic",
        characteristics=ALL,
        size=...,
        group=...,
    ),
    frame("an index level that is a column too", lambda f: f.set_index("date", drop=False), DataError, "'date'"),
    frame(
        "index levels without names",
        lambda f: f.set_index(["date", "asset"]).rename_axis([None, None]),
        DataError,
        "time='date'",
    ),
    frame("columns in two levels", lambda f: pd.concat({"data": f}, axis=1), DataError, "time='date'"),
    frame("returns and riskless rate from one column", lambda f: f, DataError, "'ret'", excess=False, risk_free="ret"),
    frame("asset and time from one column", lambda f: f, DataError, "'date'", asset="date"),
    frame(
        "a wide frame, one column an asset",
        lambda f: f.pivot_table(index="date", columns="asset", values="ret"),
        DataError,
        "asset='asset'",
    ),
    frame("a Series", lambda f: f["ret"], DataError, "Series"),
    frame("a dict", lambda f: f.to_dict(), DataError, "dict"),
    frame("None", lambda f: None, DataError, "NoneType"),
]


def _numbers(column: str, role: str = "") -> list[Fault]:
    """What is no number, in one column."""
    cells = {
        "text": "n/a",
        "a number with a thousands comma": "1,234.5",
        "a European decimal": "0,05",
        "a percent sign": "5%",
        "a currency sign": "$5",
        "a number in parentheses": "(0.05)",
        "infinity": np.inf,
        "minus infinity": -np.inf,
        "infinity as text": "inf",
        "a number beyond floats": "1e400",
        "a list": [0.1],
        "a date": pd.Timestamp("2015-02-28"),
        "a time span": pd.Timedelta(1, "D"),
        "a complex number": 1 + 2j,
        "a huge integer": 10**400,
        "an infinite Decimal": Decimal("Infinity"),
    }
    return [
        frame(f"{column} holds {what}", put(column, cell), DataError, f"'{column}'.*{CELL}")
        for what, cell in cells.items()
    ]


NUMBERS = [
    *_numbers("ret"),
    *_numbers("x"),
    *[one for one in _numbers("size") if one.name.endswith((" text", " infinity", " a list"))],
    frame("complex column", whole("x", lambda c: c + 1j), DataError, "'x'"),
    frame(
        "column of dates as a characteristic",
        whole("x", lambda c: pd.Timestamp("2015-01-31")),
        DataError,
        "'x'.*2015-01, A0",
    ),
    frame(
        "column of time spans as a characteristic",
        whole("x", lambda c: pd.to_timedelta(np.arange(len(c)), unit="D")),
        DataError,
        "'x'.*2015-01, A0",
    ),
    frame(
        "categories as a characteristic",
        lambda f: f.assign(x=f["sector"].astype("category")),
        DataError,
        "'x'.*2015-01, A0",
    ),
    frame(
        "sector names as a characteristic",
        lambda f: f,
        DataError,
        "'sector'.*2015-01, A0",
        characteristics=["x", "sector"],
    ),
    frame("returns that are booleans", whole("ret", lambda c: c > 0), DataError, "'ret'"),
    frame(
        "text cell hides a column when none are named", put("y", "n/a"), DataError, "'y'.*row 7", characteristics=ALL
    ),
    frame(
        "numbers as text when none are named",
        whole("y", lambda c: c.astype(str)),
        DataError,
        "'y'",
        characteristics=ALL,
    ),
    frame(
        "row numbers of a spreadsheet when none are named",
        lambda f: f.assign(**{"Unnamed: 0": np.arange(len(f))}),
        DataError,
        "'Unnamed: 0'",
        characteristics=ALL,
    ),
]

UNITS = [
    frame("percent said to be decimal", whole("ret", lambda c: 100 * c), UnitsError, "returns"),
    frame("basis points said to be percent", whole("ret", lambda c: 1e4 * c), UnitsError, "returns", units="percent"),
    frame("decimal said to be percent", lambda f: f, DataWarning, r"median \|return\|", units="percent"),
    frame("gross returns", gross, UnitsError, "returns"),
    frame("gross returns said to be percent", gross, UnitsError, "returns", units="percent"),
    frame("prices", whole("ret", lambda c: 40 + c), UnitsError, "returns"),
    frame("prices said to be percent", whole("ret", lambda c: 40 + c), UnitsError, "returns", units="percent"),
    frame("-99.99 for missing", put("ret", -99.99), DataError, CELL),
    frame(
        "-999 for missing, in percent",
        lambda f: put("ret", -999.0)(f.assign(ret=100 * f["ret"])),
        DataError,
        CELL,
        units="percent",
    ),
    frame(
        "-99.99 for missing, in percent",
        lambda f: put("ret", -99.99)(f.assign(ret=100 * f["ret"])),
        DataWarning,
        CELL,
        units="percent",
    ),
    frame("-66 for missing", put("ret", -66.0), DataError, CELL),
    frame("a return of -106%", put("ret", -1.06), DataError, CELL),
    frame("9999 for missing", put("ret", 9999.0), DataError, CELL),
    frame(
        "99999 for missing, in percent",
        lambda f: put("ret", 99999.0)(f.assign(ret=100 * f["ret"])),
        DataError,
        CELL,
        units="percent",
    ),
    frame(
        "-999 for missing in a characteristic",
        lambda f: put("x", -999.0, 20)(put("x", -999.0)(f)),
        DataWarning,
        r"x.*-999.*\(2015-03, A1\)",
    ),
    frame(
        "-99.99 for missing in a characteristic",
        lambda f: put("x", -99.99, 20)(put("x", -99.99)(f)),
        DataWarning,
        r"x.*-99\.99.*\(2015-03, A1\)",
    ),
    frame("no return at all", whole("ret", lambda c: np.nan), DataWarning, None, "all returns"),
    frame("characteristics all missing", lambda f: f.assign(x=np.nan, y=np.nan), DataError, "84 rows"),
    frame(
        "missing cell under missing='error'",
        put("x", np.nan),
        DataError,
        r"characteristics.*\(2015-03, A1, x\) \(1 in all\)",
        missing="error",
    ),
    frame("missing rule of another word", lambda f: f, DataError, "missing.*'drop'", missing="drop"),
    riskless("raw returns without a riskless rate", 0.001, UnitsError, "risk_free", risk_free=...),
    riskless("excess returns with a riskless rate", 0.001, UnitsError, "risk_free", excess=True),
    riskless("riskless rate in percent beside decimal returns", 0.25, UnitsError, r"risk_free.*\(2015-01, A0\)"),
    riskless("riskless rate of a year", 0.03, UnitsError, r"risk_free.*divide by 12.*|\(2015-01, A0\)"),
    riskless("riskless rate that is a word", "low", DataError, r"'rf'.*\(2015-01, A0\)"),
    riskless("riskless rate that is missing", np.nan, DataError, r"risk_free.*\(2015-01, A0\)"),
    riskless("infinite riskless rate", np.inf, DataError, r"'rf'.*\(2015-01, A0\)"),
    riskless("no such riskless column", 0.001, DataError, "risk_free='RF'", risk_free="RF"),
    riskless("riskless rate given as a number", 0.001, DataError, "risk_free.*float", risk_free=0.001),
    riskless("riskless Series lacks a month", lambda s: s.drop(s.index[5]), DataError, r"risk_free.*\(2015-06, A0\)"),
    riskless("riskless Series has a month twice", lambda s: pd.concat([s, s[:1]]), DuplicateKeyError, "2015-01"),
    riskless(
        "infinite in a riskless Series",
        lambda s: s.where(s.index != s.index[5], np.inf),
        DataError,
        r"risk_free.*\(2015-06, A0\)",
    ),
    riskless("riskless Series of text", lambda s: s.astype(str) + "%", DataError, "risk_free.*2015-01"),
    riskless("riskless Series without dates", lambda s: s.reset_index(drop=True), DataError, "risk_free index.*row 0"),
    riskless(
        "riskless Series with a time zone",
        lambda s: s.to_timestamp().tz_localize("UTC"),
        DataError,
        "risk_free index.*row 0",
    ),
    riskless(
        "riskless Series in two levels",
        lambda s: s.set_axis(pd.MultiIndex.from_arrays([s.index.astype(str), s.index.astype(str)])),
        DataError,
        "risk_free index",
    ),
    riskless(
        "riskless Series ends too early for next",
        lambda s: s[:-1],
        DataError,
        "risk_free.*2016-01|risk_free.*2016-02",
        returns_over="next",
        lag=0,
    ),
]

FAULTS = list(itertools.chain(TIMING, DATES, KEYS, NUMBERS, UNITS))
