"""The demonstration, and what this machine has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from bayesfactor.cli.base import console, errors


def demo(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for everything it writes.")] = Path("demo"),
    quick: Annotated[bool, typer.Option("--quick", help="Few draws: minutes less, bands for show only.")] = False,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the draws.")] = 0,
) -> None:
    """The main job end to end on embedded US stocks: fits, bands, comparison, forecasts, report."""
    from bayesfactor.demo import run_demo

    run_demo(out, console, quick=quick, seed=seed)


def doctor() -> None:
    """Versions, devices, float64, processors and memory."""
    from bayesfactor.doctor import examine
    from bayesfactor.report import terminal

    facts, problems = examine()
    terminal.print_facts(console, facts)
    for problem in problems:
        errors.print(Text(problem, style="bold red"))
    if problems:
        raise typer.Exit(1)
