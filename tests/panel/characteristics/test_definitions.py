"""The page says what the code does: its table is that of DEFINITIONS.

Run as a program, this file writes the table into the page.
"""

from __future__ import annotations

import re
from pathlib import Path

from bayesfactor.panel.characteristics import DEFINITIONS, REPORT_ITEMS, describe

PAGE = Path(__file__).resolve().parents[3] / "docs" / "characteristics.md"
TABLE = re.compile(r"(?<=<!-- definitions -->\n).*(?=<!-- end -->)", re.DOTALL)


def markdown() -> str:
    """DEFINITIONS as tables of the page."""
    lines = []
    for made_by, rows in describe().groupby("made_by", sort=False):
        lines += [f"### `{made_by}`", "", "| name | formula | inputs | window | least | units | source |"]
        lines += ["|---|---|---|---|---|---|---|"]
        for row in rows.reset_index().itertuples():
            cells = (f"`{row.name}`", row.formula, row.inputs, row.window, row.least, row.units, row.source)
            lines.append("| " + " | ".join(str(cell).replace("|", r"\|") for cell in cells) + " |")
        lines.append("")
    return "\n".join(lines)


def test_the_page_has_the_table_of_the_code() -> None:
    found = TABLE.search(PAGE.read_text(encoding="utf-8"))
    assert found is not None
    assert found.group() == markdown(), f"write it: python {Path(__file__).name}"


def test_names_are_unique_and_every_source_has_a_year() -> None:
    table = describe()
    assert len(table) == len(DEFINITIONS) == table.index.nunique()
    assert table["source"].str.contains(r"\b(?:19|20)\d\d\b").all()
    assert (table[["formula", "inputs", "window", "units"]] != "").all(axis=None)
    assert (table["least"] >= 1).all()
    used = {item for one in DEFINITIONS.values() for item in one.inputs}
    assert set(REPORT_ITEMS) <= used


if __name__ == "__main__":
    PAGE.write_text(TABLE.sub(lambda _: markdown(), PAGE.read_text(encoding="utf-8")), encoding="utf-8")
