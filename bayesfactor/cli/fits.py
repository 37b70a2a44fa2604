"""Fit a model, and ask a saved fit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bayesfactor.cli.base import console, refuse, require_folder, write_csv
from bayesfactor.cli.options import (
    ActivationOption,
    Algorithm,
    Alpha,
    Batch,
    Chains,
    Csv,
    Data,
    Draws,
    Factors,
    Family,
    FitFile,
    Fitted,
    Hidden,
    Inference,
    NoiseOption,
    Penalty,
    PoolingOption,
    Prob,
    ResidualsOption,
    Seed,
    TestAssetsOption,
    Warmup,
    WeightsOption,
    inference_of,
    model_of,
    sorted_model_of,
)
from bayesfactor.cli.reading import Reading, reads_data
from bayesfactor.cli.saved import loaded, warn_of_other_data
from bayesfactor.errors import DataError


@reads_data
def fit(
    *,
    model: Annotated[Fitted, typer.Argument(metavar="MODEL", help="linear, deep or sorted.")],
    data: Data,
    out: Annotated[Path, typer.Option("--out", metavar="FIT", help="File to write, for example deep.nc.")],
    reading: Reading,
    before: Annotated[
        str | None,
        typer.Option("--before", help="Learn from the periods before this one only, for example 2016-06."),
    ] = None,
    hidden: Hidden = None,
    activation: ActivationOption = None,
    pooling: PoolingOption = None,
    noise: NoiseOption = None,
    inference: Inference = Algorithm.nuts,
    warmup: Warmup = None,
    draws: Draws = None,
    chains: Chains = None,
    batch: Batch = None,
    seed: Seed = 0,
    checkpoint: Annotated[
        Path | None,
        typer.Option("--checkpoint", metavar="PATH", help="File to save to on the way, and to go on from."),
    ] = None,
    factors: Factors = None,
    weights: WeightsOption = None,
    test_assets: TestAssetsOption = None,
    alpha: Alpha = None,
    residuals: ResidualsOption = None,
    penalty: Penalty = None,
) -> None:
    """Fit MODEL to DATA and save it."""
    require_folder(out)
    of_sorted: dict[str, Any] = {"factors": factors, "weights": weights, "test_assets": test_assets, "alpha": alpha}
    of_sorted |= {"residuals": residuals, "penalty": penalty}
    of_sorted["size_in"] = reading.size_in if weights == "value" else None
    chosen: Any
    if model is Fitted.sorted:
        refuse("the sorted model", pooling=pooling)
        chosen = sorted_model_of(hidden, activation=activation, noise=noise, **of_sorted)
    else:
        refuse(f"the {model.value} model", **of_sorted)
        chosen = model_of(Family(model.value), hidden, activation, pooling, noise)
    panel = reading.panel(data)
    if before is not None:
        panel, _ = panel.split(before)
    if getattr(chosen, "test_assets", "") == "portfolios" and "portfolio_returns" not in panel.data:
        raise DataError(
            "the sorted model prices test portfolios: give --portfolios FILE, or --sorts COLUMN:N,... for those of "
            "DATA itself, or --test-assets stocks."
        )

    import bayesfactor as bf
    from bayesfactor.report import terminal

    settings = inference_of(inference, warmup, draws, chains, batch)
    result = bf.fit(chosen, panel, settings, seed=seed, checkpoint=checkpoint)
    result.save(out)
    terminal.print_fit(console, out.stem, result)
    console.print(f"Saved to {out}.")


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


@reads_data
def sensitivities(fit: FitFile, data: Data, reading: Reading, prob: Prob = 0.9, csv: Csv = None) -> None:
    """Posterior bands of what each characteristic earns, over the training window of FIT."""
    import bayesfactor as bf
    from bayesfactor.report import terminal

    require_folder(csv)
    result, panel = loaded(fit, reading.panel(data))
    bands = bf.sensitivities(result, panel, prob=prob)
    terminal.print_sensitivities(console, fit.stem, bands)
    write_csv(bands, csv)


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

    require_folder(csv)
    result, panel = loaded(fit, reading.panel(data))
    pairs = bf.interactions(result, panel, prob=prob, top=top)
    terminal.print_interactions(console, fit.stem, pairs)
    write_csv(pairs, csv)


@reads_data
def forecast(fit: FitFile, data: Data, reading: Reading, prob: Prob = 0.9, csv: Csv = None) -> None:
    """Expected returns of the live periods of DATA: after the training window, without returns yet."""
    import bayesfactor as bf
    from bayesfactor.errors import EmptyWindowError
    from bayesfactor.inference.storage import load
    from bayesfactor.report import later_months, terminal

    require_folder(csv)
    result, panel = load(fit), reading.panel(data)
    warn_of_other_data(result, panel)
    _, live = later_months(panel, result)
    if live is None:
        raise EmptyWindowError(
            f"a forecast needs periods without returns after {result.train_times[-1]:%Y-%m-%d}, the last one "
            f"learned from: DATA has none up to {panel.times[-1]:%Y-%m-%d}. Usually the rows of the last date are "
            "missing: they have characteristics, and no returns yet."
        )
    expected = bf.expected_returns(result, live, prob=prob)
    terminal.print_forecast(console, fit.stem, expected)
    write_csv(expected, csv)
