"""Arguments and choices that several commands take."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bayesfactor.cli.base import given, refuse
from bayesfactor.errors import DataError

if TYPE_CHECKING:
    from bayesfactor.inference import NUTS, SVI
    from bayesfactor.models import FundamentalFactorModel, SortedFactorModel

Data = Annotated[str, typer.Argument(metavar="DATA", help="Parquet or CSV file, or the word us_equities.")]
FitFile = Annotated[Path, typer.Argument(metavar="FIT", help="File that `bayesfactor fit` wrote.")]
FitFiles = Annotated[list[Path], typer.Argument(metavar="FIT...", help="Files that `bayesfactor fit` wrote.")]
DataOption = Annotated[str, typer.Option("--data", metavar="DATA", help="File, or the word us_equities.")]
Prob = Annotated[float, typer.Option("--prob", min=0.01, max=0.999, help="Probability inside the bands.")]
Csv = Annotated[Path | None, typer.Option("--csv", metavar="PATH", help="Also write the result as CSV.")]


class Family(StrEnum):
    """Models of what characteristics earn."""

    linear = "linear"
    deep = "deep"


class Fitted(StrEnum):
    """The models that can be fitted from the command line: those, and sorted factors."""

    linear = "linear"
    deep = "deep"
    sorted = "sorted"


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


class Weights(StrEnum):
    """How a deep characteristic becomes a portfolio."""

    exponential = "exponential"
    softmax = "softmax"
    equal = "equal"
    linear = "linear"
    by_value = "value"


class TestAssets(StrEnum):
    """What sorted factors price."""

    portfolios = "portfolios"
    stocks = "stocks"


class Residuals(StrEnum):
    """Residual covariance of test assets."""

    full = "full"
    factors = "factors"
    by_asset = "by_asset"
    common = "common"


class Algorithm(StrEnum):
    """How the posterior is computed."""

    nuts = "nuts"
    svi = "svi"


Hidden = Annotated[str | None, typer.Option("--hidden", help="Widths of hidden layers: 8 or 8,8; of sorted also none.")]
ActivationOption = Annotated[Activation | None, typer.Option("--activation", show_default=False)]
PoolingOption = Annotated[Pooling | None, typer.Option("--pooling", show_default=False)]
NoiseOption = Annotated[
    Noise | None,
    typer.Option("--noise", help="Density of the noise; student_t if absent (normal of sorted).", show_default=False),
]
Inference = Annotated[
    Algorithm, typer.Option("--inference", help="nuts: the reference. svi: fast, its bands labelled.")
]
Warmup = Annotated[int | None, typer.Option("--warmup", min=1, help="Warm-up draws a chain (nuts).")]
Draws = Annotated[int | None, typer.Option("--draws", min=1, help="Kept draws a chain.")]
Chains = Annotated[int | None, typer.Option("--chains", min=1, help="Chains, or restarts of svi.")]
Batch = Annotated[int | None, typer.Option("--batch", min=1, help="Months a step (svi); all if absent.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the draws.")]


SORTED = "Of MODEL sorted"


def _sorted(*names: str, words: str, **more: Any) -> Any:
    return typer.Option(*names, help=words, rich_help_panel=SORTED, show_default=False, **more)


Factors = Annotated[int | None, _sorted("--factors", words="Deep factors; 2 if absent.", min=1)]
WeightsOption = Annotated[
    Weights | None, _sorted("--weights", words="From deep characteristics to portfolios; exponential if absent.")
]
TestAssetsOption = Annotated[TestAssets | None, _sorted("--test-assets", words="What is priced; portfolios if absent.")]
Alpha = Annotated[
    bool | None, _sorted("--alpha/--no-alpha", words="Whether test assets have alphas; they do if absent.")
]
ResidualsOption = Annotated[
    Residuals | None, _sorted("--residuals", words="Their covariance over test assets; full for portfolios if absent.")
]
Penalty = Annotated[float | None, _sorted("--penalty", words="Weight of squared average residuals; needs --no-alpha.")]


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


def sorted_model_of(hidden: str | None, **options: Any) -> SortedFactorModel:
    """The sorted factors that the options, by name, ask for."""
    import bayesfactor as bf

    settings = {"factors": "n_factors", "residuals": "residual_covariance", "penalty": "pricing_error_penalty"}
    choices = {settings.get(name, name): value for name, value in given(options).items()}
    if hidden is not None:
        choices["hidden"] = () if hidden == "none" else _widths(hidden)
    return bf.SortedFactorModel(**choices)


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
    return _widths(hidden or "8")


def _widths(hidden: str) -> tuple[int, ...]:
    try:
        return tuple(int(width) for width in hidden.split(","))
    except ValueError:
        raise DataError(f"--hidden must be whole numbers with commas, like 8 or 8,8: found {hidden!r}.") from None
