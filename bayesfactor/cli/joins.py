"""What is joined to DATA: benchmarks and test portfolios, from files or from its own sorts."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayesfactor.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

    from bayesfactor.cli.reading import Reading
    from bayesfactor.panel import Panel
    from bayesfactor.panel.readers import FrenchFile, FrenchTable

LONGEST_HEADER = 2**20  # bytes
SORTED_FACTORS = ("value", "profitability", "investment", "momentum")


def joined(panel: Panel, reading: Reading) -> Panel:
    """The panel with the benchmarks and portfolios that the options name; its own sorts are of the panel given."""
    source = panel
    for path in reading.benchmark or ():
        panel = panel.join_benchmark(**_returns(path, panel.frequency, reading, portfolios=False))
    for path in reading.portfolios or ():
        panel = panel.join_portfolios(**_returns(path, panel.frequency, reading, portfolios=True))
    if reading.benchmark_sorts is None and reading.sorts is None:
        return panel

    from bayesfactor.panel import sorts

    size_in = None if reading.size_in is None else reading.size_in.value
    if reading.benchmark_sorts is not None:
        made = sorts.factors(source, size_in=size_in, **_named(reading.benchmark_sorts))
        panel = panel.join_benchmark(made["returns"].to_pandas(), units="decimal", excess=True)
    for names, counts in _sorts(reading.sorts or ""):
        weights = "equal" if size_in is None else "value"
        made = sorts.sort_portfolios(source, names, counts, weights=weights, size_in=size_in)
        panel = panel.join_portfolios(made["returns"].to_pandas(), units="decimal", excess=True)
    return panel


def _returns(path: Path, frequency: str, reading: Reading, *, portfolios: bool) -> dict[str, Any]:
    """Arguments of ``join_benchmark`` or ``join_portfolios``: of a table with a column `time`, or of the library."""
    from bayesfactor.panel.readers import ken_french, read_table

    if not _is_table(path):
        if not portfolios:
            return {"returns": ken_french(path)[frequency].factors(), "units": "decimal", "excess": True}
        returns = _table(ken_french(path), frequency, reading.table).portfolio_returns()
        return {"returns": returns, "units": "decimal", "excess": False, "risk_free": _riskless(reading, frequency)}
    needed = {"joined_units": "--joined-units decimal|percent", "joined_excess": "--joined-excess or --joined-raw"}
    if lacking := [words for name, words in needed.items() if getattr(reading, name) is None]:
        raise DataError(f"of the table {path} these must be said too: {', '.join(lacking)}.")
    assert reading.joined_units is not None
    units = reading.joined_units.value
    made = {"returns": read_table(path), "units": units, "excess": reading.joined_excess}
    if reading.joined_excess:
        return made
    rate = (100.0 if units == "percent" else 1.0) * _riskless(reading, frequency)
    rate.attrs = {}  # it said decimal
    return made | {"risk_free": rate}


def _is_table(path: Path) -> bool:
    """Whether a file is Parquet, or text whose first line names a column `time`."""
    from bayesfactor.panel.files import Limits, opened

    with opened(path, member=None, limits=Limits()) as file:
        if file.is_parquet:
            return True
        first = file.stream.readline(LONGEST_HEADER).decode("utf-8-sig", errors="replace")
    return "time" in next(csv.reader([first]), [])


def _table(file: FrenchFile, frequency: str, words: str | None) -> FrenchTable:
    """The table that words of its title name, or the only one of the panel's frequency."""
    if words is not None:
        return file[words]
    names = [name for name, table in file.tables.items() if table.frequency == frequency]
    if len(names) != 1:
        raise DataError(
            f"--table must name one table of {file.name}. Its {frequency} ones: {'; '.join(names) or 'none'}."
        )
    return file[names[0]]


def _riskless(reading: Reading, frequency: str) -> pd.Series:
    """The riskless rate, decimal, that raw returns are reduced by."""
    from bayesfactor.panel.readers import ken_french

    if reading.riskless is None:
        raise DataError(
            "raw returns must be told the riskless rate: give --riskless FILE, a file of the Ken French library with a "
            "column RF (that of the three factors, for example). Its portfolios are raw."
        )
    return ken_french(reading.riskless)[frequency].risk_free()


def _named(text: str) -> dict[str, Any]:
    """``value=bm,momentum=mom`` as a dict."""
    pairs = [item.partition("=") for item in text.split(",")]
    if not all(name in SORTED_FACTORS and column for name, _, column in pairs):
        raise DataError(
            "--benchmark-sorts must be like value=bm,profitability=roe, with names among "
            f"{', '.join(SORTED_FACTORS)}: found {text!r}."
        )
    return {name: column for name, _, column in pairs}


def _sorts(text: str) -> list[tuple[list[str], list[int]]]:
    """``bm:5,size:2/bm:3`` as names and numbers of portfolios."""
    made = []
    for item in filter(None, text.split(",")):
        parts = [part.rpartition(":") for part in item.split("/")]
        if not all(name and count.isdecimal() for name, _, count in parts):
            raise DataError(f"--sorts must be like bm:5 or size:2/bm:3, with commas between: found {item!r}.")
        made.append(([name for name, _, _ in parts], [int(count) for _, _, count in parts]))
    return made
