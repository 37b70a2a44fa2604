"""Files of the Kenneth French data library, CSV and ZIP as distributed: every table, by name.

A file stacks several tables: a monthly one of value-weighted returns, an annual one, numbers of firms, sizes, ratios.
Nothing in it says whether returns are in excess of the riskless rate. The library's documentation does: portfolio
returns are raw, factors are differences of returns (the market's is in excess of the one-month bill), RF is a rate.
So a table is turned into returns only by the method that says which of the three it is.
"""

from __future__ import annotations

import csv
import math
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd

from bayesfactor.errors import DataError, DataWarning, UnitsError, first_three
from bayesfactor.panel.files import Limits, opened
from bayesfactor.panel.periods import period_ends

_MISSING = (-99.99, -999.0)  # exactly these: ratios hold genuine values below -99.99
_DATE = re.compile(r"[0-9]{4}|[0-9]{6}|[0-9]{8}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")  # float() also takes 1_0, and other digits
_WORDS = ("annual", "monthly", "weekly", "daily")
_FACTORS = {
    "Mkt-RF", "SMB", "HML", "RMW", "CMA", "Mom", "MOM", "UMD", "WML", "ST_Rev", "LT_Rev",
}  # fmt: skip
_RISKLESS = "RF"
_UNITS = {
    "percent": r"^(average )?(value|equal)[- ]weight(ed)? (average )?returns\b",
    "count": r"^number of firms\b",
    "millions of dollars": r"^average (firm size|market cap)\b",
    "ratio": r"\b(sum of be / sum of me|average of (be/me|be_fyt-1/me_june t|op|investment|e/p|cf/p|d/p))\b",
}
_MOST_BYTES = 2**28  # the largest daily files of the library have some 30 million


@dataclass(frozen=True, eq=False)
class FrenchTable:
    """One table of a file.

    Parameters
    ----------
    name : its title; or its frequency, where the file gives it no title (the first table of factor files).
    frequency : "annual", "monthly", "weekly" or "daily".
    units : "percent", "count", "millions of dollars" or "ratio", where the title tells; None where it does not.
    values : as in the file, missing codes as NaN. Indexed by `time` (period ends: month end, Friday, day), or by the
        whole number `year` for an annual table, so that no month can be taken for it.
    lines : first and last line of its data in the file, from 1.
    """

    name: str
    frequency: str
    units: str | None
    values: pd.DataFrame = field(repr=False)
    lines: tuple[int, int]

    def portfolio_returns(self, *, units: str | None = None) -> pd.DataFrame:
        """Returns of portfolios: RAW (the riskless rate is not taken off), decimal.

        Parameters
        ----------
        units : "percent" or "decimal", where the title does not tell.

        Returns
        -------
        DataFrame (time, portfolio), decimal per period; `attrs` say units and excess=False. For
        ``panel.join_portfolios(..., units="decimal", excess=False, risk_free=...)``.

        Raises
        ------
        UnitsError
            When the columns are factors, or the table holds no returns.
        """
        factors = [name for name in self.values if name in _FACTORS | {_RISKLESS}]
        if factors:
            raise UnitsError(
                f"portfolio returns are raw, and {first_three(factors)} of table {self.name!r} are not portfolios. "
                "Take factors() and risk_free()."
            )
        return self._returns(self.values, units, excess=False)

    def factors(self, *, units: str | None = None) -> pd.DataFrame:
        """Factors: in excess of the riskless rate (Mkt-RF) or zero-cost (SMB, HML, ...), decimal, without RF.

        Parameters
        ----------
        units : "percent" or "decimal", where the file does not tell.

        Returns
        -------
        DataFrame (time, benchmark), decimal per period; `attrs` say units and excess=True. For
        ``panel.join_benchmark(..., units="decimal", excess=True)``.

        Raises
        ------
        UnitsError
            When a column is not a factor of the library: portfolios are raw.
        """
        others = [name for name in self.values if name not in _FACTORS | {_RISKLESS}]
        if others or self.values.columns.tolist() == [_RISKLESS]:
            raise UnitsError(
                f"factors are in excess or zero-cost: {first_three(others or [_RISKLESS])} of table {self.name!r} "
                f"are not among {', '.join(sorted(_FACTORS))}. Portfolios are raw: take portfolio_returns()."
            )
        return self._returns(self.values.drop(columns=_RISKLESS, errors="ignore"), units, excess=True)

    def risk_free(self, *, units: str | None = None) -> pd.Series:
        """The column RF: riskless rate over each period, decimal. For `risk_free=` with decimal returns.

        Raises
        ------
        DataError
            When the table has no column RF.
        """
        if _RISKLESS not in self.values:
            raise DataError(
                f"a riskless rate is the column {_RISKLESS}: table {self.name!r} has "
                f"{first_three(self.values.columns)}. The files of the three and five factors hold it."
            )
        return self._returns(self.values[[_RISKLESS]], units, excess=False)[_RISKLESS]

    def _returns(self, values: pd.DataFrame, told: str | None, excess: bool) -> pd.DataFrame:
        if self.units not in (None, "percent"):
            raise UnitsError(f"returns are wanted: table {self.name!r} holds {self.units}.")
        if told not in (None, "percent", "decimal"):
            raise UnitsError(f'units must be "percent" or "decimal": found {told!r}.')
        if told is not None and self.units is not None and told != self.units:
            raise UnitsError(f"table {self.name!r} is in {self.units} by its title: found units={told!r}.")
        units = self.units or told
        if units is None:
            raise UnitsError(
                f'the title {self.name!r} does not tell units: pass units="percent" or "decimal" if it holds returns.'
            )
        returns = values / 100 if units == "percent" else values.copy()
        returns.attrs = {"units": "decimal", "excess": excess, "frequency": self.frequency}
        return returns


@dataclass(frozen=True, eq=False)
class FrenchFile:
    """What a file of the library holds.

    Parameters
    ----------
    name : of the file.
    tables : by name, in the order of the file.
    vintage : "202510", the database that the file says it was made from, else the one in the file's name; or None.
    preamble : the text before the first table.
    copyright : the line after the last table, where there is one.
    """

    name: str
    tables: Mapping[str, FrenchTable]
    vintage: str | None
    preamble: str = field(repr=False)
    copyright: str | None = field(repr=False)

    def __getitem__(self, words: str) -> FrenchTable:
        """The table of that name, or the only one whose name has these words in it.

        Raises
        ------
        DataError
            When there is none, or more than one.
        """
        if not isinstance(words, str):
            raise DataError(
                f"a table must be named by words of its title: found {words!r}. Its tables are {self._names()}."
            )
        if words in self.tables:
            return self.tables[words]
        found = [table for name, table in self.tables.items() if words.lower() in name.lower()]
        if len(found) == 1:
            return found[0]
        raise DataError(
            f"one table of {self.name} must have the name {words!r} or these words in it: found {len(found)}. "
            f"Its tables are {self._names()}."
        )

    def _names(self) -> str:
        return "; ".join(map(repr, self.tables))


def ken_french(path: str | Path, *, member: str | None = None, limits: Limits | None = None) -> FrenchFile:
    """Every table of a CSV or ZIP file of the Kenneth French data library.

    Monthly, annual, weekly and daily tables are told apart by the digits of their dates and never mixed. The missing
    codes -99.99 and -999 are matched exactly. Only local files are read.

    Parameters
    ----------
    path : CSV or ZIP, as distributed.
    member : name inside a ZIP, where it has several files.
    limits : how far an archive may expand; 256 MiB where not given.

    Returns
    -------
    FrenchFile

    Raises
    ------
    DataError
        With the line whose layout is not known: a table without header, a row with a cell too few, dates that go
        back, text after the last table.
    UnsafeArchiveError, CorruptResultError
        As `read_table`.
    """
    with opened(path, member=member, limits=limits or Limits(bytes=_MOST_BYTES)) as file:
        content = b"" if file.is_parquet else file.stream.read()
    name = file.name
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        lines = content.decode("cp1252", errors="replace").splitlines()  # names of people in the text, by old programs
    blocks = list(_blocks(lines, name))
    if not blocks:
        raise DataError(
            f"{name} must hold a table: no line of its {len(lines):,} begins with a date (YYYY, YYYYMM or "
            "YYYYMMDD) and a comma. The .txt files of the library have another layout: take the CSV."
        )
    tables: dict[str, FrenchTable] = {}
    for block in blocks:
        table = _table(block, name)
        if table.name in tables:
            raise DataError(
                f"{name}, line {block.header + 1}: every table must have its own name: {table.name!r} was at line "
                f"{tables[table.name].lines[0]} already."
            )
        tables[table.name] = table
    preamble = "\n".join(blocks[0].before).strip()
    return FrenchFile(
        name=name,
        tables=MappingProxyType(tables),
        vintage=_vintage(preamble, name),
        preamble=preamble,
        copyright=_trailer(lines, blocks[-1].last + 1, name),
    )


@dataclass(frozen=True)
class _Block:
    """Lines of one table, counted from 0."""

    before: list[str]  # text before the title of the first table
    title: str
    header: int
    columns: list[str]
    rows: list[list[str]]

    @property
    def last(self) -> int:
        return self.header + len(self.rows)


def _blocks(lines: list[str], name: str) -> Iterator[_Block]:
    """Find tables: text, a header whose first cell is empty, rows that begin with a date."""
    start = position = 0
    while position < len(lines):
        if not _is_row(lines[position]):
            position += 1
            continue
        header = position - 1
        columns = _cells(lines[header], name, position) if header >= start else []
        if not columns or columns[0].lower() not in ("", "date"):
            raise DataError(
                f"{name}, line {position + 1}: a table must have a header line (an empty cell, then names) before its "
                f"first row: found {lines[header][:60]!r} before {lines[position][:60]!r}. Tables without header (the "
                "breakpoints files) are not read."
            )
        while columns[-1] == "":
            columns.pop()
        text = [line.strip(" ,\t") for line in lines[start:header]]
        before, title = _split_title(text) if start == 0 else ([], text)
        rows = []
        while position < len(lines) and _is_row(lines[position]):
            rows.append(_cells(lines[position], name, position + 1))
            position += 1
        yield _Block(before, " ".join(" ".join(title).split()), header, columns[1:], rows)
        start = position


def _is_row(line: str) -> bool:
    first, comma, _ = line.partition(",")
    return bool(comma) and _DATE.fullmatch(first.strip().strip('"')) is not None


def _cells(line: str, name: str, number: int) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line]), [])]
    except csv.Error as error:
        raise DataError(f"{name}, line {number}: a line must be cells and commas: {error}. It is damaged.") from error


def _split_title(text: list[str]) -> tuple[list[str], list[str]]:
    """Preamble of the file, and the title of its first table: the text that touches the header."""
    first = len(text)
    while first > 0 and text[first - 1]:
        first -= 1
    if any("this file was created" in line.lower() for line in text[first:]):
        first = len(text)
    return text[:first], text[first:]


def _table(block: _Block, name: str) -> FrenchTable:
    columns = block.columns
    repeated = [column for position, column in enumerate(columns) if column in columns[:position]]
    if not columns or "" in columns or repeated:
        found = f"repeated {first_three(repeated)}" if repeated else "an empty name"
        raise DataError(f"{name}, line {block.header + 1}: columns must have names, each its own: found {found}.")
    width = len(block.rows[0][0])
    values = np.empty((len(block.rows), len(columns)))
    for position, row in enumerate(block.rows):
        line = block.header + 2 + position
        cells = row[1 : 1 + len(columns)]
        if len(cells) < len(columns) or any(row[1 + len(columns) :]):
            raise DataError(
                f"{name}, line {line}: a row must have {len(columns)} values as its header (line {block.header + 1}): "
                f"found {len(row) - 1}. Usually the file is truncated or was edited."
            )
        if len(row[0]) != width:
            raise DataError(
                f"{name}, line {line}: one table has one frequency: found the date {row[0]} below {block.rows[0][0]}. "
                "Usually an annual table was pasted below a monthly one."
            )
        values[position] = [_number(cell, name, line) for cell in cells]
    values[np.isin(values, _MISSING)] = np.nan
    index, frequency = _index([row[0] for row in block.rows], block, name)
    title = block.title or frequency
    told = [word for word in _WORDS if re.search(rf"\b{word}\b", title.lower())]
    if told and frequency not in told:
        raise DataError(
            f"{name}, line {block.header + 2}: the title {title!r} says {told[0]}, the dates are {frequency} "
            f"({block.rows[0][0]})."
        )
    return FrenchTable(
        name=title,
        frequency=frequency,
        units=_units(title, columns),
        values=pd.DataFrame(values, index=index, columns=pd.Index(columns)),
        lines=(block.header + 2, block.last + 1),
    )


def _number(cell: str, name: str, line: int) -> float:
    value = float(cell) if _NUMBER.fullmatch(cell) else math.inf
    if math.isinf(value):
        raise DataError(f"{name}, line {line}: values must be numbers: found {cell[:60]!r}.")
    return value


def _index(dates: list[str], block: _Block, name: str) -> tuple[pd.Index, str]:
    """Period ends, or years; they must go forward."""
    width = len(dates[0])
    shape = {4: None, 6: "%Y%m", 8: "%Y%m%d"}[width]
    if shape is None:
        index: pd.Index = pd.Index([int(date) for date in dates], name="year")
        frequency = "annual"
    else:
        parsed = pd.to_datetime(pd.Series(dates), format=shape, errors="coerce")
        if parsed.isna().any():
            bad = int(parsed.isna().to_numpy().argmax())
            raise DataError(f"{name}, line {block.header + 2 + bad}: {dates[bad]} is no date ({'YYYYMMDD'[:width]}).")
        days = parsed.to_numpy().astype("datetime64[D]")
        gap = np.median(np.diff(days).astype(int)) if days.size > 1 else 1
        frequency = "monthly" if width == 6 else "weekly" if gap >= 5 else "daily"
        index = pd.DatetimeIndex(period_ends(days, frequency).astype("datetime64[ns]"), name="time")
    back = np.flatnonzero(index[1:] <= index[:-1])
    if back.size:
        line = block.header + 3 + int(back[0])
        raise DataError(
            f"{name}, line {line}: dates must go forward, each period once: found {dates[back[0] + 1]} after "
            f"{dates[back[0]]} ({back.size:,} such in all)."
        )
    return index, frequency


def _units(title: str, columns: list[str]) -> str | None:
    if set(columns) <= _FACTORS | {_RISKLESS}:
        return "percent"
    for units, pattern in _UNITS.items():
        if re.search(pattern, title.lower()):
            return units
    return None


def _vintage(preamble: str, name: str) -> str | None:
    inside = re.search(r"using the (\d{6}) \w+ database", preamble)
    outside = re.search(r"crsp(\d{6})(?!\d)", name.lower())
    if inside and outside and inside[1] != outside[1]:
        warnings.warn(
            f"{name}: the name says vintage {outside[1]}, the text {inside[1]}. The text is kept.",
            DataWarning,
            stacklevel=3,
        )
    found = inside or outside
    return found[1] if found else None


def _trailer(lines: list[str], start: int, name: str) -> str | None:
    rest = [(position, line.strip(" ,\t")) for position, line in enumerate(lines[start:], start + 1)]
    rest = [(position, line) for position, line in rest if line]
    for position, line in rest:
        if not line.lower().startswith("copyright"):
            raise DataError(
                f"{name}, line {position}: after the last table only the copyright may stand: found {line[:60]!r}. "
                "Usually a table is cut off, or its header has another form."
            )
    return rest[0][1] if rest else None
