"""The command line. JAX and pandas are imported inside commands only, so that `--help` answers at once."""

from __future__ import annotations

import dataclasses
import inspect
import warnings
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from bayesfactor.errors import (
    BayesFactorError,
    BayesFactorWarning,
    ComparisonWarning,
    ConvergenceWarning,
    DataError,
    DataWarning,
)

if TYPE_CHECKING:
    import xarray as xr

    from bayesfactor.inference import Fit
    from bayesfactor.panel import Panel

EMBEDDED = "us_equities"

console = Console()
errors = Console(stderr=True)


class Commands(typer.core.TyperGroup):
    """Prints the package's own errors as one message with exit code 2, and its warnings in yellow."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command; anything that is not the package's own exception keeps its traceback."""
        with warnings.catch_warnings():
            warnings.simplefilter("always", BayesFactorWarning)
            for told_anyway in (ConvergenceWarning, ComparisonWarning):  # with the status, and in the table
                warnings.simplefilter("ignore", told_anyway)
            _show_own_warnings()
            try:
                return super().invoke(ctx)
            except (BayesFactorError, OSError) as error:
                errors.print(Text(f"{type(error).__name__}: {error}", style="bold red"))
                raise typer.Exit(2) from None
            except KeyboardInterrupt as stopped:
                if stopped.args:
                    errors.print(Text(str(stopped), style="yellow"))
                raise


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Bayesian asset-pricing factor models: posterior bands of what characteristics earn.",
    epilog="DATA is a Parquet or CSV file with the options that say how to read it, or the word us_equities.",
)


def _show_own_warnings() -> None:
    """Warnings of the package as one yellow line; others as Python shows them."""
    usual = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **also: Any) -> None:
        if issubclass(category, BayesFactorWarning):
            errors.print(Text(f"{category.__name__}: {message}", style="yellow"))
        else:
            usual(message, category, *where, **also)

    warnings.showwarning = show


# ---------------------------------------------------------------------------------------- reading the panel


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


READING = "How to read DATA"
NEEDED = {  # of a file, and how each is given
    "time": "--time COLUMN",
    "asset": "--asset COLUMN",
    "returns": "--returns COLUMN",
    "returns_over": "--returns-over row|next",
    "lag": "--lag PERIODS (or --available COLUMN)",
    "units": "--units decimal|percent",
    "excess": "--excess (or --raw with --risk-free COLUMN)",
}
AFTER_READING = ("covered", "largest", "rank")  # fields of Reading that `read_frame` does not take


def _reading(*names: str, words: str) -> Any:
    return typer.Option(*names, help=words, rich_help_panel=READING, show_default=False)


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

    def raw(self, data: str) -> Panel:
        """The panel before preparation, its universe narrowed as asked."""
        panel = self._read(data)
        if self.covered is not None:
            panel = panel.covered(self.covered)
        return panel if self.largest is None else panel.largest(self.largest)

    def _read(self, data: str) -> Panel:
        """What `read_frame` makes of a file, or the embedded panel."""
        from bayesfactor.panel import datasets, read_frame

        said = self._said()
        if data == EMBEDDED:
            if said:
                raise DataError(
                    f"{EMBEDDED} is embedded and takes no such options: found {_flags(said)}. Leave them out."
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


def _flags(names: Any) -> str:
    return ", ".join("--" + name.replace("_", "-") for name in names)


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


# ------------------------------------------------------------------------------------------------ arguments

Data = Annotated[str, typer.Argument(metavar="DATA", help="Parquet or CSV file, or the word us_equities.")]
FitFile = Annotated[Path, typer.Argument(metavar="FIT", help="File that `bayesfactor fit` wrote.")]
FitFiles = Annotated[list[Path], typer.Argument(metavar="FIT...", help="Files that `bayesfactor fit` wrote.")]
DataOption = Annotated[str, typer.Option("--data", metavar="DATA", help="File, or the word us_equities.")]
Prob = Annotated[float, typer.Option("--prob", min=0.01, max=0.999, help="Probability inside the bands.")]
Csv = Annotated[Path | None, typer.Option("--csv", metavar="PATH", help="Also write the result as CSV.")]


class Family(StrEnum):
    """The models that can be fitted from the command line."""

    linear = "linear"
    deep = "deep"


class Activation(StrEnum):
    """Activation of hidden layers."""

    tanh = "tanh"
    softplus = "softplus"
    relu = "relu"
    identity = "identity"


class Pooling(StrEnum):
    """Whether slopes vary by month."""

    partial = "partial"
    full = "full"
    none = "none"


class Noise(StrEnum):
    """Density of the noise."""

    student_t = "student_t"
    laplace = "laplace"
    huber = "huber"
    normal = "normal"


class Algorithm(StrEnum):
    """How the posterior is computed."""

    nuts = "nuts"
    svi = "svi"


# ------------------------------------------------------------------------------------------------- commands


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for everything it writes.")] = Path("demo"),
    quick: Annotated[bool, typer.Option("--quick", help="Few draws: minutes less, bands for show only.")] = False,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the draws.")] = 0,
) -> None:
    """The main job end to end on embedded US stocks: fits, bands, comparison, forecasts, report."""
    from bayesfactor.demo import run_demo

    run_demo(out, console, quick=quick, seed=seed)


@app.command()
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
            _write_csv(getattr(examination, name).to_xarray(), csv / f"{name}.csv")


@app.command()
@reads_data
def fit(
    *,
    model: Annotated[Family, typer.Argument(metavar="MODEL", help="linear or deep.")],
    data: Data,
    out: Annotated[Path, typer.Option("--out", metavar="FIT", help="File to write, for example deep.nc.")],
    reading: Reading,
    before: Annotated[
        str | None,
        typer.Option("--before", help="Learn from the periods before this one only, for example 2016-06."),
    ] = None,
    hidden: Annotated[str | None, typer.Option("--hidden", help="Widths of hidden layers: 8 or 8,8.")] = None,
    activation: Annotated[Activation | None, typer.Option("--activation", show_default=False)] = None,
    pooling: Annotated[Pooling | None, typer.Option("--pooling", show_default=False)] = None,
    noise: Annotated[
        Noise | None, typer.Option("--noise", help="Density of the noise; student_t if absent.", show_default=False)
    ] = None,
    inference: Annotated[
        Algorithm, typer.Option("--inference", help="nuts: the reference. svi: fast, its bands labelled.")
    ] = Algorithm.nuts,
    warmup: Annotated[int | None, typer.Option("--warmup", min=1, help="Warm-up draws a chain (nuts).")] = None,
    draws: Annotated[int | None, typer.Option("--draws", min=1, help="Kept draws a chain.")] = None,
    chains: Annotated[int | None, typer.Option("--chains", min=1, help="Chains, or restarts of svi.")] = None,
    batch: Annotated[int | None, typer.Option("--batch", min=1, help="Months a step (svi); all if absent.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the draws.")] = 0,
    checkpoint: Annotated[
        Path | None,
        typer.Option("--checkpoint", metavar="PATH", help="File to save to on the way, and to go on from."),
    ] = None,
) -> None:
    """Fit MODEL to DATA and save it."""
    _require_folder(out)
    panel = reading.panel(data)
    if before is not None:
        panel, _ = panel.split(before)

    import bayesfactor as bf
    from bayesfactor.report import terminal

    widths = _widths(model, hidden)
    choices = {"activation": activation, "pooling": pooling, "noise": noise}
    chosen = bf.FundamentalFactorModel(hidden=widths, **_given(choices))
    settings: bf.NUTS | bf.SVI
    if inference is Algorithm.svi:
        _refuse("--inference svi", warmup=warmup)
        settings = bf.SVI(**_given({"draws": draws, "restarts": chains, "batch": batch}))
    else:
        _refuse("--inference nuts", batch=batch)
        settings = bf.NUTS(**_given({"warmup": warmup, "draws": draws, "chains": chains}))
    result = bf.fit(chosen, panel, settings, seed=seed, checkpoint=checkpoint)
    result.save(out)
    terminal.print_fit(console, out.stem, result)
    console.print(f"Saved to {out}.")


@app.command()
def summary(fit: FitFile) -> None:
    """Status, reasons and diagnosed functions of a saved fit."""
    from bayesfactor.inference.storage import load
    from bayesfactor.report import terminal

    result = load(fit)
    terminal.print_fit(console, fit.stem, result)
    diagnosed = result.summary()
    shown = diagnosed[[name for name in diagnosed.columns if name != "bands" and not name.startswith("mcse")]]
    label = "; bands uncalibrated (k-hat)" if result.uncalibrated else ""
    terminal.print_frame(console, shown, f"What was diagnosed, returns in decimal per period{label}")


@app.command()
@reads_data
def sensitivities(fit: FitFile, data: Data, reading: Reading, prob: Prob = 0.9, csv: Csv = None) -> None:
    """Posterior bands of what each characteristic earns, over the training window of FIT."""
    import bayesfactor as bf
    from bayesfactor.report import terminal

    _require_folder(csv)
    result, panel = _loaded(fit, reading.panel(data))
    bands = bf.sensitivities(result, panel, prob=prob)
    terminal.print_sensitivities(console, fit.stem, bands)
    _write_csv(bands, csv)


@app.command()
@reads_data
def interactions(
    *,
    fit: FitFile,
    data: Data,
    reading: Reading,
    top: Annotated[int, typer.Option("--top", min=1, help="How many pairs.")] = 20,
    prob: Prob = 0.9,
    csv: Csv = None,
) -> None:
    """Posterior bands of how pairs of characteristics work together, strongest first."""
    import bayesfactor as bf
    from bayesfactor.report import terminal

    _require_folder(csv)
    result, panel = _loaded(fit, reading.panel(data))
    pairs = bf.interactions(result, panel, prob=prob, top=top)
    terminal.print_interactions(console, fit.stem, pairs)
    _write_csv(pairs, csv)


@app.command()
@reads_data
def forecast(fit: FitFile, data: Data, reading: Reading, prob: Prob = 0.9, csv: Csv = None) -> None:
    """Expected returns of the live periods of DATA: after the training window, without returns yet."""
    import bayesfactor as bf
    from bayesfactor.errors import EmptyWindowError
    from bayesfactor.inference.storage import load
    from bayesfactor.report import later_months, terminal

    _require_folder(csv)
    result, panel = load(fit), reading.panel(data)
    _warn_of_other_data(result, panel)
    _, live = later_months(panel, result)
    if live is None:
        raise EmptyWindowError(
            f"a forecast needs periods without returns after {result.train_times[-1]:%Y-%m-%d}, the last one "
            f"learned from: DATA has none up to {panel.times[-1]:%Y-%m-%d}. Usually the rows of the last date are "
            "missing: they have characteristics, and no returns yet."
        )
    expected = bf.expected_returns(result, live, prob=prob)
    terminal.print_forecast(console, fit.stem, expected)
    _write_csv(expected, csv)


@app.command()
@reads_data
def compare(fits: FitFiles, data: DataOption, reading: Reading) -> None:
    """Which of several fits predicts the later periods of DATA better, by month."""
    from bayesfactor.errors import EmptyWindowError
    from bayesfactor.evaluation.compare import compare as compared
    from bayesfactor.report import later_months, require_training_data, terminal

    loaded = _load_all(fits)
    last = max(loaded.values(), key=lambda one: one.train_times[-1])
    panel = reading.panel(data)
    for one in {one.panel_fingerprint: one for one in loaded.values()}.values():
        if _holds_training_window(one, panel):
            require_training_data(one, panel)
    test, _ = later_months(panel, last)
    if test is None:
        raise EmptyWindowError(
            f"a comparison needs periods with returns after {last.train_times[-1]:%Y-%m-%d}, the last one "
            "learned from: DATA has none. Fit with --before, and compare on what follows."
        )
    terminal.print_comparison(console, compared(loaded, test))


@app.command()
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

    _require_folder(out)
    loaded = _load_all(fits)
    panel = reading.panel(data)
    with console.status("reading the fits") as status:
        findings = gather(loaded, panel, prob=prob, tell=status.update)
        status.update("drawing")
        write_report(out, findings, title=f"Factor models of {Path(data).stem}", attribution=_attribution(data))
    console.print(f"Wrote {out}.")


@app.command()
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


# -------------------------------------------------------------------------------------------------- helpers


def _widths(model: Family, hidden: str | None) -> tuple[int, ...]:
    """Hidden widths that MODEL and --hidden ask for."""
    if model is Family.linear:
        if hidden is not None:
            raise DataError(f"the linear model has no hidden layers: found --hidden {hidden}. Use MODEL deep.")
        return ()
    try:
        return tuple(int(width) for width in (hidden or "8").split(","))
    except ValueError:
        raise DataError(f"--hidden must be whole numbers with commas, like 8 or 8,8: found {hidden!r}.") from None


def _refuse(chosen: str, **options: object) -> None:
    """Refuse options that what was chosen does not have."""
    if said := [name for name, value in options.items() if value is not None]:
        raise DataError(f"{chosen} has no {_flags(said)}: leave it out.")


def _attribution(data: str) -> str:
    """What the licence of the embedded data asks to be said; nothing for a user's own."""
    from bayesfactor.demo import ATTRIBUTION

    return ATTRIBUTION if data == EMBEDDED else ""


def _given(choices: Mapping[str, Any]) -> dict[str, Any]:
    """The choices that were made, as plain values; the rest keep the library's defaults."""
    made = {name: value for name, value in choices.items() if value is not None}
    return {name: value.value if isinstance(value, StrEnum) else value for name, value in made.items()}


def _loaded(path: Path, panel: Panel) -> tuple[Fit, Panel]:
    """A saved fit, and the months of a panel that it learned from; a warning where they differ."""
    from bayesfactor.inference.storage import load
    from bayesfactor.report import different_training_data, training_window

    fit = load(path)
    train = training_window(fit, panel)
    if different := different_training_data(fit, train):
        warnings.warn(different, DataWarning, stacklevel=2)
    return fit, train


def _holds_training_window(fit: Fit, panel: Panel) -> bool:
    """Whether the months learned from are in the panel; a warning where they are not, as nothing can be checked."""
    lacking = fit.train_times.difference(panel.times)
    if len(lacking):
        warnings.warn(
            f"DATA lacks {len(lacking)} of the {len(fit.train_times)} periods the fit learned from, so it cannot be "
            "checked that it was read as the fit's data were: same returns, units, lag and characteristics.",
            DataWarning,
            stacklevel=2,
        )
    return not len(lacking)


def _warn_of_other_data(fit: Fit, panel: Panel) -> None:
    """A warning where the panel is not, or cannot be shown to be, what the fit learned from."""
    from bayesfactor.report import different_training_data, training_window

    if _holds_training_window(fit, panel) and (different := different_training_data(fit, training_window(fit, panel))):
        warnings.warn(different, DataWarning, stacklevel=2)


def _load_all(paths: list[Path]) -> dict[str, Fit]:
    """Saved fits by the name of their file."""
    from bayesfactor.inference.storage import load

    names = [path.stem for path in paths]
    if len(set(names)) < len(names):
        raise DataError(f"fits are named by their files, so these must differ: found {', '.join(names)}.")
    return {path.stem: load(path) for path in paths}


def _require_folder(path: Path | None) -> None:
    """Refuse a file that could not be written before the work, not after."""
    if path is not None and not path.parent.is_dir():
        raise DataError(f"the folder {path.parent} does not exist: make it, or save elsewhere")


def _write_csv(result: xr.Dataset, path: Path | None) -> None:
    if path is not None:
        import bayesfactor as bf

        bf.to_csv(result, path)
        console.print(f"Wrote {path}.")


if __name__ == "__main__":
    app()
