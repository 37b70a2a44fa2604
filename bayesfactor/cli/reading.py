"""How a command reads DATA: one dataclass whose fields are the options."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bayesfactor.cli.base import flags
from bayesfactor.errors import DataError

if TYPE_CHECKING:
    from bayesfactor.panel import Panel

EMBEDDED = "us_equities"


class Over(StrEnum):
    """Which period the return of a row covers."""

    row = "row"
    next = "next"


class Units(StrEnum):
    """Units of returns in the file."""

    decimal = "decimal"
    percent = "percent"


class Frequency(StrEnum):
    """Periods of the panel."""

    monthly = "monthly"
    weekly = "weekly"
    daily = "daily"


class Missing(StrEnum):
    """What preparation does with missing cells."""

    median = "median"
    indicator = "indicator"
    error = "error"


class SizeIn(StrEnum):
    """What sizes are."""

    level = "level"
    log = "log"


READING = "How to read DATA"
JOINING = "What is joined to DATA"
NEEDED = {  # of a file, and how each is given
    "time": "--time COLUMN",
    "asset": "--asset COLUMN",
    "returns": "--returns COLUMN",
    "returns_over": "--returns-over row|next",
    "lag": "--lag PERIODS (or --available COLUMN)",
    "units": "--units decimal|percent",
    "excess": "--excess (or --raw with --risk-free COLUMN)",
}
JOINED = (
    "benchmark", "benchmark_sorts", "portfolios", "table", "sorts", "size_in", "joined_units", "joined_excess",
    "riskless",
)  # fmt: skip
AFTER_READING = ("covered", "largest", "rank", *JOINED)  # fields of Reading that `read_frame` does not take


def _reading(*names: str, words: str) -> Any:
    return typer.Option(*names, help=words, rich_help_panel=READING, show_default=False)


def _joining(*names: str, words: str, metavar: str | None = None) -> Any:
    return typer.Option(*names, help=words, metavar=metavar, rich_help_panel=JOINING, show_default=False)


@dataclasses.dataclass(frozen=True)
class Reading:
    """How to read DATA; every field is an option of every command that reads it."""

    time: Annotated[str | None, _reading("--time", words="Column of dates.")] = None
    asset: Annotated[str | None, _reading("--asset", words="Column of asset labels.")] = None
    returns: Annotated[str | None, _reading("--returns", words="Column of returns.")] = None
    returns_over: Annotated[
        Over | None, _reading("--returns-over", words="Period of a row's return: its own, or the next.")
    ] = None
    lag: Annotated[int | None, _reading("--lag", words="Age of characteristics in calendar periods.")] = None
    units: Annotated[Units | None, _reading("--units", words="Units of the returns.")] = None
    excess: Annotated[
        bool | None, _reading("--excess/--raw", words="Whether returns are in excess of the riskless rate.")
    ] = None
    risk_free: Annotated[
        str | None, _reading("--risk-free", words="Column of the riskless rate, needed with --raw.")
    ] = None
    characteristics: Annotated[
        str | None,
        _reading("--characteristics", words="Columns, with commas; every other numeric one if absent."),
    ] = None
    exclude: Annotated[
        str | None, _reading("--exclude", words="Columns, with commas, that are no characteristics.")
    ] = None
    available: Annotated[
        str | None, _reading("--available", words="Column of publication dates, in place of --lag.")
    ] = None
    size: Annotated[str | None, _reading("--size", words="Column of size.")] = None
    group: Annotated[str | None, _reading("--group", words="Column of group, for example sector.")] = None
    frequency: Annotated[Frequency | None, _reading("--frequency", words="Periods; told from the dates if absent.")] = (
        None
    )
    missing: Annotated[Missing | None, _reading("--missing", words="Missing cells; the median if absent.")] = None
    covered: Annotated[
        float | None,
        typer.Option(
            "--covered",
            metavar="SHARE",
            min=0.0,
            max=1.0,
            help="Keep assets with this share of characteristics present, before ranking.",
            rich_help_panel=READING,
            show_default=False,
        ),
    ] = None
    largest: Annotated[
        int | None,
        typer.Option(
            "--largest",
            metavar="N",
            min=1,
            help="Keep the N largest assets of each period (of those --covered), before ranking.",
            rich_help_panel=READING,
            show_default=False,
        ),
    ] = None
    rank: Annotated[
        bool,
        _reading("--rank/--standardise", words="Prepare by ranks to [-1, 1] (the default), or z-scores."),
    ] = True
    benchmark: Annotated[
        list[Path] | None,
        _joining(
            "--benchmark",
            metavar="FILE",
            words="Benchmark factors: a file of the Ken French library, or a table with a column time. Repeatable.",
        ),
    ] = None
    benchmark_sorts: Annotated[
        str | None,
        _joining(
            "--benchmark-sorts",
            metavar="NAME=COLUMN,...",
            words="Benchmark factors of DATA's own sorts: value=bm gives MKT, SMB, HML. Needs --size-in.",
        ),
    ] = None
    portfolios: Annotated[
        list[Path] | None,
        _joining("--portfolios", metavar="FILE", words="Test portfolios: a file, as for --benchmark. Repeatable."),
    ] = None
    table: Annotated[
        str | None,
        _joining("--table", metavar="WORDS", words="Of the title of the library's table, where a file has several."),
    ] = None
    sorts: Annotated[
        str | None,
        _joining(
            "--sorts",
            metavar="COLUMN:N,...",
            words="Test portfolios of DATA's own sorts: bm:5,size:2/bm:3. Equal weights, or by value with --size-in.",
        ),
    ] = None
    size_in: Annotated[SizeIn | None, _joining("--size-in", words="What --size holds, for weights by value.")] = None
    joined_units: Annotated[Units | None, _joining("--joined-units", words="Units of joined tables.")] = None
    joined_excess: Annotated[
        bool | None, _joining("--joined-excess/--joined-raw", words="Whether joined tables are in excess.")
    ] = None
    riskless: Annotated[
        Path | None,
        _joining("--riskless", metavar="FILE", words="File of the library with RF, to be taken off raw portfolios."),
    ] = None

    def raw(self, data: str) -> Panel:
        """The panel before preparation, its universe narrowed and returns joined as asked."""
        from bayesfactor.cli.joins import joined

        panel = self._read(data)
        if self.covered is not None:
            panel = panel.covered(self.covered)
        return joined(panel if self.largest is None else panel.largest(self.largest), self)

    def _read(self, data: str) -> Panel:
        """What `read_frame` makes of a file, or the embedded panel."""
        from bayesfactor.panel import datasets, read_frame

        said = self._said()
        if data == EMBEDDED:
            if said:
                raise DataError(
                    f"{EMBEDDED} is embedded and takes no such options: found {flags(said)}. Leave them out."
                )
            return datasets.us_equities(prepared=False)
        if not Path(data).exists():
            raise FileNotFoundError(f"no file {data}. DATA is a Parquet or CSV file, or the word {EMBEDDED}.")
        lacking = [flag for name, flag in NEEDED.items() if name not in said]
        if lacking and not (lacking == [NEEDED["lag"]] and "available" in said):
            raise DataError(
                f"to read {data} these must be said too, since a guess could be wrong without anybody noticing: "
                f"{', '.join(lacking)}. Only {EMBEDDED} needs no reading options."
            )
        return read_frame(data, **said)

    def panel(self, data: str) -> Panel:
        """The prepared panel."""
        raw = self.raw(data)
        return raw.rank_normalise() if self.rank else raw.standardise()

    def _said(self) -> dict[str, Any]:
        """The arguments of `read_frame` that were given."""
        said = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in AFTER_READING and getattr(self, field.name) is not None
        }
        said = {name: value.value if isinstance(value, StrEnum) else value for name, value in said.items()}
        for listed in ("characteristics", "exclude"):
            if listed in said:
                said[listed] = [name.strip() for name in said[listed].split(",") if name.strip()]
        return said


def reads_data(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command every field of `Reading` as an option, and hand them to it as one `reading`."""
    fields = dataclasses.fields(Reading)
    hints = inspect.get_annotations(Reading, globals=globals(), eval_str=True)

    @wraps(command)
    def with_options(**arguments: Any) -> None:
        said = {field.name: arguments.pop(field.name) for field in fields}
        command(**arguments, reading=Reading(**said))

    own = inspect.signature(command, eval_str=True).parameters.values()
    options = [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in fields
    ]
    kept = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own if p.name != "reading"]
    with_options.__signature__ = inspect.Signature([*kept, *options])  # type: ignore[attr-defined]
    with_options.__annotations__ = {p.name: p.annotation for p in (*kept, *options)}
    del with_options.__wrapped__  # type: ignore[attr-defined]
    return with_options
