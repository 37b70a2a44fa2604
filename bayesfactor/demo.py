"""The main job end to end on the embedded data: what `bayesfactor demo` runs."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    import xarray as xr

    from bayesfactor.inference import Fit
    from bayesfactor.panel import Panel
    from bayesfactor.report import FundamentalFindings

# All settings of the demo. Ten characteristics of the 27 and a small network keep it within minutes on two cores.
CHARACTERISTICS = ["log_me", "bm", "ep", "roe", "inva", "lev", "rev_1m", "vol_1m", "turn", "illiq_1m"]
MODELS: dict[str, dict[str, Any]] = {
    "linear": {"hidden": (), "noise": "normal"},
    "deep": {"hidden": (4,), "activation": "tanh", "noise": "normal"},
}
SAMPLER: dict[str, Any] = {"warmup": 500, "draws": 1000, "chains": 4, "target_accept": 0.9}
QUICK_SAMPLER: dict[str, Any] = {"warmup": 100, "draws": 100, "chains": 2}
TRAIN_MONTHS = 16  # of 22; the last 6 are scored
TOP_PAIRS = 15

TITLE = "How US stock returns respond to characteristics"
ATTRIBUTION = (
    "Data: the 500 largest US stocks of each month, from pystock-data by eliangcs "
    "(github.com/eliangcs/pystock-data), licence CC BY-SA 4.0 (creativecommons.org/licenses/by-sa/4.0), "
    "adapted by the bayesfactor project. The live month carries characteristics of 2017-02 forward, except "
    "the last month's return: its forecasts are an example."
)


def run_demo(out: Path, console: Console, *, quick: bool = False, seed: int = 0) -> Path:
    """Describe the panel, fit two models, show bands and comparison, forecast, and write it all to a folder.

    Parameters
    ----------
    out : folder for report.html, forecasts.csv, the fits (linear.nc, deep.nc) and the figures.
    console : where to print.
    quick : few draws, for a look; the status then says that the bands are not to be trusted.
    seed : of the draws.

    Returns
    -------
    Path of the report.
    """
    import bayesfactor as bf
    from bayesfactor.report import FundamentalFindings, gather, terminal, write_report

    began = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    console.rule("1  The data")
    panel, _ = training_panel()
    console.print(Text(repr(panel)))
    console.print(Text(ATTRIBUTION, style="dim"))

    console.rule(f"2  Two models on the first {TRAIN_MONTHS} months")
    console.print(f"{' and '.join(MODELS)}: sampling by NUTS, one process each ...")
    sampler = QUICK_SAMPLER if quick else SAMPLER
    fits: dict[str, Fit] = {}
    with ProcessPoolExecutor(len(MODELS), mp_context=get_context("spawn")) as pool:
        running = {
            name: pool.submit(_fit, settings, sampler, seed, out / f"{name}.nc") for name, settings in MODELS.items()
        }
        for name, saved in running.items():
            fits[name] = bf.load(saved.result())
            terminal.print_fit(console, name, fits[name])
    if quick:
        console.print(
            "--quick takes few draws: the bands below show the form of an answer, not an answer.",
            style="yellow",
        )

    with console.status("asking the posterior") as status:
        findings = gather(fits, panel, top=TOP_PAIRS, tell=status.update)
    (found,) = findings.parts
    assert isinstance(found, FundamentalFindings)
    console.rule("3  What each characteristic earns")
    for name, result in found.sensitivities.items():
        terminal.print_sensitivities(console, name, result, top=10)
    console.rule("4  Which pairs work together")
    for name, result in found.interactions.items():
        terminal.print_interactions(console, name, result.isel(pair=slice(0, 8)))
    console.rule(f"5  Which model predicts better: the last {len(panel.times) - TRAIN_MONTHS - 1} months")
    if found.comparison is not None:
        terminal.print_comparison(console, found.comparison)
    console.rule("6  The month that has no returns yet")
    for name, result in found.forecasts.items():
        terminal.print_forecast(console, name, result)

    with console.status("drawing"):
        bf.to_csv(ranked_forecasts(found.forecasts), out / "forecasts.csv")
        _save_figures(found, out)
        report = write_report(out / "report.html", findings, title=TITLE, attribution=ATTRIBUTION)
    console.rule()
    minutes = (time.perf_counter() - began) / 60
    console.print(f"Done in {minutes:.1f} minutes. Open {report}; forecasts.csv, fits and figures are beside it.")
    return report


def training_panel() -> tuple[Panel, Panel]:
    """The demo's panel, whole and its first `TRAIN_MONTHS` months.

    Returns
    -------
    Both panels, prepared.
    """
    import bayesfactor as bf

    panel = bf.datasets.us_equities().sel(characteristic=CHARACTERISTICS)
    train, _ = panel.split(panel.times[TRAIN_MONTHS])
    return panel, train


def _fit(settings: dict[str, Any], sampler: dict[str, Any], seed: int, path: Path) -> Path:
    """Fit one model of the demo in a process of its own; a file is all that crosses the processes."""
    import bayesfactor as bf

    _, train = training_panel()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bf.errors.ConvergenceWarning)  # the status is in the file and is printed
        fit = bf.fit(bf.FundamentalFactorModel(**settings), train, bf.NUTS(**sampler), seed=seed, progress=False)
    return fit.save(path)


def ranked_forecasts(forecasts: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Forecasts of the last live month by model, highest first.

    Parameters
    ----------
    forecasts : results of ``expected_returns`` by name of the model, over (time, asset).

    Returns
    -------
    Dataset over (model, rank), rank 1 the highest; `asset` (model, rank) is a coordinate. Units as given.
    """
    import numpy as np
    import xarray as xr

    ranked = []
    doubtful = any("bands" in result.attrs for result in forecasts.values())
    for result in forecasts.values():
        month = result.isel(time=-1)
        month = month.isel(asset=np.flatnonzero(np.isfinite(month["mean"].values))).sortby("mean", ascending=False)
        place = np.arange(1, month.sizes["asset"] + 1)
        said = {"status": result.attrs["status"]}
        if doubtful:  # a label of one model is not one of all
            said["bands"] = month.attrs.pop("bands", "")
        ranked.append(month.assign_coords(rank=("asset", place), **said).swap_dims(asset="rank"))
    return xr.concat(
        ranked,
        xr.Variable("model", list(forecasts)),
        combine_attrs="drop_conflicts",
        coords="different",
        compat="equals",
    )


def _save_figures(found: FundamentalFindings, out: Path) -> None:
    from bayesfactor import plots

    figures = {"sensitivities": plots.plot_sensitivities(found.sensitivities)}
    figures |= {f"interactions_{n}": plots.plot_interactions(r, name=n) for n, r in found.interactions.items()}
    figures |= {f"forecast_{n}": plots.plot_forecast(r, name=n) for n, r in found.forecasts.items()}
    if found.comparison is not None:
        figures["months"] = plots.plot_month_scores(found.scores, reference=next(iter(found.scores)))
    for name, figure in figures.items():
        figure.savefig(out / f"{name}.png")
