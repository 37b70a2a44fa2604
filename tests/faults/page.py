"""The page that lists what every fault gives."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from bayesfactor.errors import BayesFactorError

from .corpus import SURFACES
from .fault import Fault, Outcome, tried

PAGE = Path(__file__).resolve().parents[2] / "docs" / "faults.md"
LONGEST = 220

HEAD = """# What bad input gives

Every row below is a bad input that code in `tests/faults` builds: a frame, file, archive, store, saved fit, checkpoint,
setting or command line. The tests try each and require

- exactly the exception named here, one of the package's own (`bayesfactor.errors`), never a warning alone and never
  another library's; or, where data are accepted, a `DataWarning` that is recorded in the panel;
- a message that says what must hold or what to do, and where: a column, row, (time, asset), month or file;
- inputs unchanged, nothing written beside or above them, and nothing in a pickle executed.

`ExitTwo` is a command that ends with exit code 2 and its message. `Escaped` is a CSV whose cell no spreadsheet runs.

`python -m tests.faults` tries all of them and writes this page; its exit code is 1 where one is not as it must be.
Messages are shortened, and file names stand without their folder.

"""

LIMITS = """
## What cannot be noticed

- A file that is wrong and looks right: log returns for simple ones, total returns said to be in excess, a riskless rate
  of 1.5% a year said to be monthly, the last number of a CSV cut short. A code of -99% in a file in percent is only
  a recorded warning, as firms do lose everything.
- The digests of saved fits, checkpoints and stores show damage. They are no signature: whoever rewrites a file and its
  digest with other numbers is not noticed.
"""


def written() -> int:
    """Try every fault and write the page; the number that are not as they must be."""
    outcomes = {surface: [_tried(fault) for fault in faults] for surface, faults in SURFACES.items()}
    wrong = sum(bool(outcome.wrong) for of_surface in outcomes.values() for outcome in of_surface)
    lines = [HEAD, _summary(outcomes), LIMITS]
    for surface, faults in SURFACES.items():
        lines.append(f"\n## {surface[0].upper()}{surface[1:]}\n\n| fault | gives | says |\n|---|---|---|\n")
        rows = zip(faults, outcomes[surface], strict=True)
        lines += [f"| {cell(fault.name)} | `{fault.gives.__name__}` | {_says(outcome)} |\n" for fault, outcome in rows]
    PAGE.write_text("".join(lines), encoding="utf-8")
    return wrong


def rows_of(page: str) -> list[tuple[str, str, str]]:
    """(surface, fault as a cell, class) of every row of a page."""
    surfaces = {f"{name[0].upper()}{name[1:]}": name for name in SURFACES}
    rows, surface = [], ""
    for line in page.splitlines():
        if line.startswith("## "):
            surface = surfaces.get(line[3:], "")
        elif surface and (found := re.fullmatch(r"\| (.*?) \| `(\w+)` \| .* \|", line)):
            rows.append((surface, found[1], found[2]))
    return rows


def _tried(fault: Fault) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        return tried(fault, Path(folder))


def _summary(outcomes: dict[str, list[Outcome]]) -> str:
    lines = ["| surface | faults | exceptions | of them, say where | silent or foreign |\n|---|---|---|---|---|\n"]
    totals = [0, 0, 0, 0]
    for surface, of_surface in outcomes.items():
        faults = SURFACES[surface]
        raising = [fault for fault in faults if issubclass(fault.gives, BayesFactorError)]
        counts = [
            len(faults),
            len(raising),
            sum(fault.place is not None for fault in raising),
            sum(bool(o.wrong) for o in of_surface),
        ]
        totals = [total + count for total, count in zip(totals, counts, strict=True)]
        lines.append(f"| {surface} | {' | '.join(map(str, counts))} |\n")
    lines.append(f"| all | {' | '.join(map(str, totals))} |\n")
    return "".join(lines)


def _says(outcome: Outcome) -> str:
    text = "NOT AS IT MUST BE: " + outcome.wrong[0] if outcome.wrong else outcome.message
    text = re.sub(r"[─-╿]+", " ", re.sub(r"part-[0-9a-f]{32}", "part-...", text))
    text = re.sub(r"\b(?=\w*\d)(?=\w*[a-f])[0-9a-f]{12,64}\b", "...", " ".join(text.split()))
    return cell(text if len(text) <= LONGEST else text[:LONGEST].rsplit(" ", 1)[0] + " ...")


def cell(text: str) -> str:
    """Text that a Markdown table shows as it is."""
    escaped = (
        text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_")
    )
    return escaped.replace("[", "\\[").replace("`", "'")
