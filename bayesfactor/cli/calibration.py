"""Is a model calibrated: simulate from its prior, fit, rank."""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from bayesfactor.cli.base import console, given, refuse
from bayesfactor.cli.options import Activation, Family, Noise, Pooling, widths


class Method(StrEnum):
    """How the posteriors are computed."""

    nuts = "nuts"
    svi = "svi"
    exact = "exact"


SHAPE = "Shape of the simulated data sets"
SIZE: dict[str, Any] = {"rich_help_panel": SHAPE}


def calibrate(
    *,
    model: Annotated[Family, typer.Argument(metavar="MODEL", help="linear or deep.")],
    hidden: Annotated[str | None, typer.Option("--hidden", help="Widths of hidden layers: 8 or 8,8.")] = None,
    activation: Annotated[Activation | None, typer.Option("--activation", show_default=False)] = None,
    pooling: Annotated[Pooling | None, typer.Option("--pooling", show_default=False)] = None,
    noise: Annotated[
        Noise | None, typer.Option("--noise", help="Density of the noise; student_t if absent.", show_default=False)
    ] = None,
    inference: Annotated[Method, typer.Option("--inference", help="What is used on data.")] = Method.nuts,
    warmup: Annotated[int | None, typer.Option("--warmup", min=20, help="Warm-up draws a chain (nuts).")] = None,
    draws: Annotated[int | None, typer.Option("--draws", min=4, help="Kept draws a chain.")] = None,
    chains: Annotated[int | None, typer.Option("--chains", min=1, help="Chains, or restarts of svi.")] = None,
    fits: Annotated[int, typer.Option("--fits", min=1, help="Data sets.")] = 300,
    minutes: Annotated[
        float | None, typer.Option("--minutes", min=0.0, help="Begin nothing that would end later; no limit if absent.")
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option("--store", metavar="DIR", help="Keep finished chunks here, and go on from them."),
    ] = None,
    months: Annotated[int, typer.Option("--months", min=1, help="Months.", **SIZE)] = 60,
    assets: Annotated[int, typer.Option("--assets", min=3, help="Assets.", **SIZE)] = 12,
    characteristics: Annotated[int, typer.Option("--characteristics", min=1, help="Characteristics.", **SIZE)] = 3,
    ragged: Annotated[bool, typer.Option("--ragged", help="Assets come and go.", **SIZE)] = False,
    chunk: Annotated[int, typer.Option("--chunk", min=1, help="Data sets side by side, and kept together.")] = 25,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the study.")] = 0,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="PATH", help="Also draw the ranks, as PNG.")] = None,
) -> None:
    """Is MODEL calibrated: fit data simulated from its prior, and see whether bands hold the truth.

    45 minutes on two cores for the linear model at the shape given here; exit code 1 when it is not calibrated. Ctrl-C
    keeps the chunks that are finished.
    """
    shape = widths(model, hidden)
    shared = given({"draws": draws, "chains": chains})

    import bayesfactor as bf
    from bayesfactor.calibration import Design
    from bayesfactor.calibration import calibrate as study

    settings: bf.NUTS | bf.SVI | bf.Exact
    if inference is Method.nuts:
        settings = bf.NUTS(**{"warmup": 250, "draws": 200, "chains": 2} | shared | given({"warmup": warmup}))
    else:
        refuse(f"--inference {inference.value}", warmup=warmup)
        if inference is Method.svi:
            settings = bf.SVI(**given({"draws": draws, "restarts": chains}))
        else:
            settings = bf.Exact(**{"draws": 200, "chains": 2} | shared)
    chosen = bf.FundamentalFactorModel(
        hidden=shape, **given({"activation": activation, "pooling": pooling, "noise": noise})
    )
    design = Design(n_months=months, n_assets=assets, n_characteristics=characteristics, ragged=ragged)
    console.print(f"{chosen!r} by {settings!r}", highlight=False)
    console.print(f"{fits} data sets of {design}", highlight=False)
    with console.status("compiling") as status:

        def told(done: int, of: int, attempt: int, seconds: float) -> None:
            run = "" if attempt == 1 else "second run, fresh seeds: "
            took = f"the last chunk in {seconds:.0f} s" if seconds else "kept from before"
            status.update(f"{run}{done} of {of} fits, {took}")
            if not console.is_terminal:
                console.print(f"{run}{done} of {of} fits, {took}", highlight=False)

        result = study(
            chosen, settings, design=design, fits=fits, seed=seed, store=store, chunk=chunk,
            minutes=math.inf if minutes is None else minutes, progress=told,
        )  # fmt: skip
    from bayesfactor.report import terminal

    terminal.print_study(console, result)
    if plot is not None and result.attempts[-1].sizes["fit"]:
        from bayesfactor.plots import plot_rank_ecdf

        plot_rank_ecdf(result.ecdf()).savefig(plot)
        console.print(f"Drew {plot}.")
    if result.status == "fails":
        raise typer.Exit(1)
