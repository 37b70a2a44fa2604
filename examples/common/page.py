"""Markdown: tables, and the doubt in the fit behind a number."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

MARKS = "Marks tell of the fit behind a number: `w` its status is warn, `f` failed, `u` its bands are uncalibrated."


def table(rows: list[list[str]]) -> str:
    """A table whose first row is its head."""
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def mark(row: pd.Series) -> str:
    """The doubt in the fit behind a number, from the columns `status` and `bands`."""
    marks = {"warn": "w", "failed": "f"}.get(row["status"], "") + ("u" if row["bands"] else "")
    return f" `{marks}`" if marks else ""


def statuses(fits: pd.DataFrame) -> str:
    """How many fits there are of each status, and how long they took."""
    counts = ", ".join(f"{count} {status}" for status, count in fits["status"].value_counts().items())
    return f"{len(fits)} fits: {counts}; {fits['seconds'].sum() / 60:.0f} minutes of fitting."


def reasons(fits: pd.DataFrame) -> str:
    """What fits that are not ok report, by how many say it."""
    parts = fits.loc[fits["reasons"] != "", "reasons"].str.split("; ").explode()
    if parts.empty:
        return "none"
    kinds = parts.str.split(r" is | of the restarts| \(", regex=True).str[0]
    return "; ".join(f"{kind} ({count})" for kind, count in kinds.value_counts().head(6).items())


def listed(values: Iterable[Any]) -> str:
    """Values with commas between them."""
    return ", ".join(map(str, values))


def save_tables(tables: dict[str, pd.DataFrame], out: Path, market: str) -> None:
    """Each as ``tables/MARKET_NAME.csv``."""
    for name, rows in tables.items():
        path = out / "tables" / f"{market}_{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows.to_csv(path, index=False, float_format="%.6g")


def save_figures(figures: dict[str, Any], out: Path) -> None:
    """Each as ``figures/NAME.png``."""
    for name, figure in figures.items():
        path = out / "figures" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
