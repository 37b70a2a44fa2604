"""Text that a spreadsheet would run: it must stand escaped in every CSV. These are no exceptions."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import xarray as xr

import bayesfactor as bf

from .fault import Call, Escaped, Fault

STARTS = {"=": "equals", "+": "plus", "-": "minus", "@": "at", "\t": "tab", "\r": "carriage return"}
NAME = "table.csv"


def dataset(place: str, text: str) -> xr.Dataset:
    """A quantity that holds the text in a label, a value, a column name, a unit or its status."""
    labels = [text if place == "label" else "x", "y"]
    held = xr.Dataset(
        {"mean": ("characteristic", [0.1, 0.2])}, {"characteristic": labels}, {"units": "decimal", "status": "ok"}
    )
    if place == "cell":
        return held.assign(note=("characteristic", [text, "plain"]))
    if place == "column name":
        return held.rename(mean=text)
    if place in ("units", "status"):
        held.attrs[place] = text
    return held


def formula(place: str, start: str) -> Fault:
    text = f"{start}cmd|' /C calc'!A0"

    def make(folder: Path, _rng: np.random.Generator) -> Call:
        held = dataset(place, text)
        return lambda: written(bf.to_csv(held, folder / NAME), text)

    return Fault(f"{place} that begins with {STARTS[start]}", make, Escaped, place.split(maxsplit=1)[0], writes=(NAME,))


def written(path: Path, text: str) -> str:
    """Raises `Escaped` where no cell of the CSV, as a spreadsheet reads it, begins with what runs."""
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    cells = [cell for row in rows for cell in row]
    running = [cell for cell in cells if cell.startswith(tuple(STARTS)) and not _is_number(cell)]
    held = [cell for cell in cells if text in cell]
    if running or not held:
        return f"cells {running or cells}"
    where = next(i for i, row in enumerate(rows) if any(text in cell for cell in row))
    raise Escaped(
        f"{held[0]!r} stands in row {where}: an apostrophe keeps label, cell, column name, units and status text"
    )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


FAULTS = [formula(place, start) for place in ("label", "cell", "column name", "units", "status") for start in STARTS]
