"""Arguments and choices that several commands take."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bayesfactor.errors import DataError

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
