"""Arguments and choices that several commands take."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bayesfactor.cli.base import given, refuse
from bayesfactor.errors import DataError

if TYPE_CHECKING:
    from bayesfactor.inference import NUTS, SVI
    from bayesfactor.models import FundamentalFactorModel

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


Hidden = Annotated[str | None, typer.Option("--hidden", help="Widths of hidden layers: 8 or 8,8.")]
ActivationOption = Annotated[Activation | None, typer.Option("--activation", show_default=False)]
PoolingOption = Annotated[Pooling | None, typer.Option("--pooling", show_default=False)]
NoiseOption = Annotated[
    Noise | None, typer.Option("--noise", help="Density of the noise; student_t if absent.", show_default=False)
]
Inference = Annotated[
    Algorithm, typer.Option("--inference", help="nuts: the reference. svi: fast, its bands labelled.")
]
Warmup = Annotated[int | None, typer.Option("--warmup", min=1, help="Warm-up draws a chain (nuts).")]
Draws = Annotated[int | None, typer.Option("--draws", min=1, help="Kept draws a chain.")]
Chains = Annotated[int | None, typer.Option("--chains", min=1, help="Chains, or restarts of svi.")]
Batch = Annotated[int | None, typer.Option("--batch", min=1, help="Months a step (svi); all if absent.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the draws.")]


def model_of(
    model: Family,
    hidden: str | None,
    activation: Activation | None,
    pooling: Pooling | None,
    noise: Noise | None,
) -> FundamentalFactorModel:
    """The model that MODEL and its options ask for."""
    import bayesfactor as bf

    choices = {"activation": activation, "pooling": pooling, "noise": noise}
    return bf.FundamentalFactorModel(hidden=widths(model, hidden), **given(choices))


def inference_of(
    inference: Algorithm, warmup: int | None, draws: int | None, chains: int | None, batch: int | None = None
) -> NUTS | SVI:
    """The settings that --inference and its options ask for."""
    import bayesfactor as bf

    if inference is Algorithm.svi:
        refuse("--inference svi", warmup=warmup)
        return bf.SVI(**given({"draws": draws, "restarts": chains, "batch": batch}))
    refuse("--inference nuts", batch=batch)
    return bf.NUTS(**given({"warmup": warmup, "draws": draws, "chains": chains}))


def widths(model: Family, hidden: str | None) -> tuple[int, ...]:
    """Hidden widths that MODEL and --hidden ask for."""
    if model is Family.linear:
        if hidden is not None:
            raise DataError(f"the linear model has no hidden layers: found --hidden {hidden}. Use MODEL deep.")
        return ()
    try:
        return tuple(int(width) for width in (hidden or "8").split(","))
    except ValueError:
        raise DataError(f"--hidden must be whole numbers with commas, like 8 or 8,8: found {hidden!r}.") from None
