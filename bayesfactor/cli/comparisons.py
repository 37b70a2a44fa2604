"""Several fits beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bayesfactor.cli.base import console, require_folder
from bayesfactor.cli.options import DataOption, FitFiles, Prob
from bayesfactor.cli.reading import EMBEDDED, Reading, reads_data
from bayesfactor.cli.saved import holds_training_window, load_all
from bayesfactor.errors import DataError


@reads_data
def compare(
    fits: Annotated[
        list[Path],
        typer.Argument(metavar="FIT...", help="Files that `fit` wrote, or folders that `walk-forward` wrote."),
    ],
    reading: Reading,
    data: Annotated[
        str | None, typer.Option("--data", metavar="DATA", help="File, or the word us_equities; of fits.")
    ] = None,
    common: Annotated[
        bool, typer.Option("--common", help="Of walks: means only, under one month covariance for all.")
    ] = False,
) -> None:
    """Which of several fits predicts the later periods of DATA better, or of several walks theirs, by month."""
    if any(path.is_dir() for path in fits):
        _compare_walks(fits, data, common)
    elif data is None:
        raise DataError("fits are compared on the periods after those they learned from: give --data DATA")
    else:
        if common:
            raise DataError("--common is for folders of walk-forward: leave it out with fits")
        _compare_fits(fits, data, reading)


def _compare_fits(fits: list[Path], data: str, reading: Reading) -> None:
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


def _compare_walks(stores: list[Path], data: str | None, common: bool) -> None:
    import bayesfactor as bf
    from bayesfactor.report import terminal

    files = [str(path) for path in stores if not path.is_dir()]
    if files:
        raise DataError(f"fits and walks are not compared with each other: {', '.join(files)} are no folders")
    if data is not None:
        raise DataError("walks hold what came: leave --data out")
    names = [path.resolve().name for path in stores]
    if len(set(names)) < len(names):
        raise DataError(f"walks are named by their folders, so these must differ: found {', '.join(names)}.")
    walks = {name: bf.load_forecasts(path) for name, path in zip(names, stores, strict=True)}
    terminal.print_comparison(console, bf.compare(walks, common=common))
    terminal.print_calibration(console, {name: bf.forecast_calibration(walk) for name, walk in walks.items()})


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
