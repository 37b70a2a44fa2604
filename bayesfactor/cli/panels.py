"""Look at DATA before anything is fitted."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from bayesfactor.cli.base import console, write_csv
from bayesfactor.cli.options import Data
from bayesfactor.cli.reading import Reading, reads_data
from bayesfactor.errors import DataWarning


@reads_data
def check(
    data: Data,
    reading: Reading,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="DIR", help="Also write the tables, as CSV.")] = None,
) -> None:
    """Read DATA, say what to know before fitting, and show that nothing in the panel uses later data."""
    from bayesfactor.panel.examination import examine
    from bayesfactor.report import terminal

    raw = reading.raw(data)
    examination = examine(raw)
    console.print(Text(repr(raw)))
    terminal.print_examination(console, examination, raw.frequency)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # the findings say it
        prepared = raw.rank_normalise() if reading.rank else raw.standardise()
    console.print(Text(f"Prepared ({prepared.preparation}): {prepared.history[-1]}."))
    audit = prepared.audit()
    console.print(
        f"Look-ahead audit: {audit['cells_compared'].sum():,} cells recomputed on data cut at "
        f"{audit['cut'].nunique()} dates, {audit['cells_changed'].sum()} changed.",
        style="green",
    )
    if csv is not None:
        csv.mkdir(parents=True, exist_ok=True)
        for name in ("periods", "characteristics", "coverage", "extremes"):
            write_csv(getattr(examination, name).to_xarray(), csv / f"{name}.csv")
