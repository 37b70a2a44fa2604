"""Out-of-sample forecasts, window by window."""

from __future__ import annotations

from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bayesfactor.cli.base import console, refuse, require_folder
from bayesfactor.cli.options import (
    ActivationOption,
    Algorithm,
    Chains,
    Csv,
    Data,
    Draws,
    Family,
    Hidden,
    Inference,
    NoiseOption,
    PoolingOption,
    Seed,
    Warmup,
    inference_of,
    model_of,
)
from bayesfactor.cli.reading import Reading, reads_data

if TYPE_CHECKING:
    from bayesfactor.evaluation.forecasts import Forecasts

LAYOUT = "Windows, in periods of DATA"


class Forecaster(StrEnum):
    """What can walk forward: the models of `fit`, and baselines."""

    linear = "linear"
    deep = "deep"
    zero = "zero"
    historical_mean = "historical_mean"
    ols = "ols"
    ridge = "ridge"
    fama_macbeth = "fama_macbeth"


class Layout(StrEnum):
    """How training windows move."""

    expanding = "expanding"
    rolling = "rolling"


def _periods(name: str, least: int, words: str) -> Any:
    return typer.Option(name, min=least, help=words, rich_help_panel=LAYOUT, show_default=least != 2)


@reads_data
def walk_forward(
    *,
    forecaster: Annotated[
        Forecaster,
        typer.Argument(metavar="MODEL", help="linear, deep; zero, historical_mean, ols, ridge, fama_macbeth."),
    ],
    data: Data,
    store: Annotated[
        Path, typer.Option("--store", metavar="DIR", help="Folder of the results; the same command goes on from it.")
    ],
    reading: Reading,
    train: Annotated[int, _periods("--train", 2, "To learn from (expanding: in the first window).")],
    test: Annotated[int, _periods("--test", 1, "To forecast before the next refit.")] = 12,
    embargo: Annotated[int, _periods("--embargo", 0, "Left out between learning and judging.")] = 0,
    layout: Annotated[Layout, typer.Option("--windows", rich_help_panel=LAYOUT)] = Layout.expanding,
    first_test: Annotated[
        str | None,
        typer.Option("--first-test", help="First to forecast, for example 1990-01.", rich_help_panel=LAYOUT),
    ] = None,
    hidden: Hidden = None,
    activation: ActivationOption = None,
    pooling: PoolingOption = None,
    noise: NoiseOption = None,
    inference: Inference = Algorithm.nuts,
    warmup: Warmup = None,
    draws: Draws = None,
    chains: Chains = None,
    seed: Seed = 0,
    name: Annotated[str | None, typer.Option("--name", help="What to call it; the folder's name if absent.")] = None,
    workers: Annotated[
        int | None,
        typer.Option("--processes", min=1, help="Windows computed side by side; one for each core if absent."),
    ] = None,
    warm_start: Annotated[
        bool, typer.Option("--warm-start", help="Begin each fit where the one before ended; one process.")
    ] = False,
    audit: Annotated[bool, typer.Option("--audit/--no-audit", help="Make the panel again from truncated data.")] = True,
    csv: Csv = None,
) -> None:
    """Fit MODEL anew in every window of DATA and forecast what follows it."""
    import bayesfactor as bf
    from bayesfactor.evaluation.workers import usable_cores

    require_folder(csv)
    windows = getattr(bf.Windows, layout.value)(train, test=test, embargo=embargo, first_test=first_test)
    settings: Any = None
    if forecaster in (Forecaster.linear, Forecaster.deep):
        model: Any = model_of(Family(forecaster.value), hidden, activation, pooling, noise)
        settings = inference_of(inference, warmup, draws, chains)
    else:
        model = _baseline(forecaster)
        options = {"hidden": hidden, "activation": activation, "pooling": pooling, "noise": noise}
        refuse(f"the baseline {forecaster.value}", **options, warmup=warmup, draws=draws, chains=chains)
    panel = reading.panel(data)
    many = len(windows.over(panel))
    if workers is None:
        # A baseline's windows take less than starting a process does.
        workers = 1 if warm_start or settings is None else min(len(usable_cores()), many)
    with nullcontext() if workers == 1 else bf.processes(workers) as executor:
        forecasts = bf.walk_forward(
            model,
            panel,
            settings,
            windows,
            executor=executor,
            store=store,
            seed=seed,
            name=name or store.name,
            warm_start=warm_start,
            audit=audit,
        )
    _print(forecasts)
    console.print(f"Kept in {store}.")
    if csv is not None:
        forecasts.to_csv(csv)
        console.print(f"Wrote {csv}.")


def _baseline(forecaster: Forecaster) -> Any:
    from bayesfactor import baselines

    known = {
        Forecaster.zero: baselines.Zero,
        Forecaster.historical_mean: baselines.HistoricalMean,
        Forecaster.ols: baselines.OLS,
        Forecaster.ridge: baselines.Ridge,
        Forecaster.fama_macbeth: baselines.FamaMacBeth,
    }
    return known[forecaster]()


def _print(forecasts: Forecasts) -> None:
    """What was forecast and how far off it was."""
    from bayesfactor.report import terminal

    terminal.print_forecasts(console, forecasts)
