"""Several fits beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bayesfactor.cli.base import console, require_folder
from bayesfactor.cli.options import DataOption, FitFiles, Prob
from bayesfactor.cli.reading import EMBEDDED, Reading, reads_data
from bayesfactor.cli.saved import holds_training_window, load_all


@reads_data
def compare(fits: FitFiles, data: DataOption, reading: Reading) -> None:
    """Which of several fits predicts the later periods of DATA better, by month."""
    from bayesfactor.errors import EmptyWindowError
    from bayesfactor.evaluation.compare import compare as compared
    from bayesfactor.report import later_months, require_training_data, terminal

    loaded = load_all(fits)
    last = max(loaded.values(), key=lambda one: one.train_times[-1])
    panel = reading.panel(data)
    for one in {one.panel_fingerprint: one for one in loaded.values()}.values():
        if holds_training_window(one, panel):
            require_training_data(one, panel)
    test, _ = later_months(panel, last)
    if test is None:
        raise EmptyWindowError(
            f"a comparison needs periods with returns after {last.train_times[-1]:%Y-%m-%d}, the last one "
            "learned from: DATA has none. Fit with --before, and compare on what follows."
        )
    terminal.print_comparison(console, compared(loaded, test))


@reads_data
def report(
    fits: FitFiles,
    data: DataOption,
    reading: Reading,
    out: Annotated[Path, typer.Option("--out", metavar="HTML", help="File to write.")] = Path("report.html"),
    prob: Prob = 0.9,
) -> None:
    """Everything that several fits say about DATA, as one HTML file."""
    from bayesfactor.report import gather, write_report

    require_folder(out)
    loaded = load_all(fits)
    panel = reading.panel(data)
    with console.status("reading the fits") as status:
        findings = gather(loaded, panel, prob=prob, tell=status.update)
        status.update("drawing")
        write_report(out, findings, title=f"Factor models of {Path(data).stem}", attribution=_attribution(data))
    console.print(f"Wrote {out}.")


def _attribution(data: str) -> str:
    """What the licence of the embedded data asks to be said; nothing for a user's own."""
    from bayesfactor.demo import ATTRIBUTION

    return ATTRIBUTION if data == EMBEDDED else ""
