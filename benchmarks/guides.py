"""Guides against NUTS: a network's function, its derivatives and their bands, on data whose truth is known.

    python -m benchmarks.guides [--experiment small r10 r45] [--guide nuts normal ...] [--data-sets 16] [--again]

Results of every (experiment, data set, guide) are kept in .cache/guides.json, an interrupted run goes on where it
stopped; the tables go to docs/guides.md.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from benchmarks.record import CACHE, ROOT, line, load, provenance, store, table, use_compilation_cache

use_compilation_cache()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from numpyro import handlers  # noqa: E402

from bayesfactor.components.batches import map_in_batches  # noqa: E402
from bayesfactor.inference.collapse import CLEAR, KEPT, linear_signal, month_sums, share_kept  # noqa: E402
from bayesfactor.inference.diagnostics import KHAT_LIMIT  # noqa: E402
from bayesfactor.inference.sampling import Draws, run_nuts  # noqa: E402
from bayesfactor.inference.settings import NUTS, SVI  # noqa: E402
from bayesfactor.inference.variational import run_svi  # noqa: E402
from bayesfactor.models import FundamentalFactorModel  # noqa: E402
from bayesfactor.panel import PanelArrays  # noqa: E402

RESULTS = CACHE / "guides.json"
PAGE = ROOT / "docs" / "guides.md"
SD = 0.1  # of returns, decimal
PROB = 0.9
N_TEST, N_JUDGED = 200, 1000  # fresh inputs, and draws of the posterior that are looked at
WARM_KEY = 99
GUIDES: dict[str, NUTS | SVI] = {
    "nuts": NUTS(),
    "normal": SVI(guide="normal"),
    "low_rank": SVI(guide="low_rank"),
    "full": SVI(guide="full"),
    "auto": SVI(),
    "auto-unpolished": SVI(polish=0),
}


class Experiment(NamedTuple):
    """Where data sets come from; `exactly` scales the truth's last layer so that f explains just `r2` of them."""

    n_months: int
    n_assets: int
    n_characteristics: int
    hidden: tuple[int, ...]
    r2: float
    exactly: bool
    data_sets: int
    without: tuple[str, ...] = ()

    @property
    def model(self) -> FundamentalFactorModel:
        slope_sd = float(np.sqrt(3 * self.r2 * SD**2 / self.n_characteristics))
        return FundamentalFactorModel(
            hidden=self.hidden, activation="tanh", pooling="full", noise="normal", slope_sd=slope_sd, intercept_sd=0.001
        )


EXPERIMENTS = {
    "small": Experiment(10, 40, 4, (8,), 0.5, False, 16),
    "r10": Experiment(10, 100, 49, (50, 50), 0.10, True, 4, ("full",)),
    "r45": Experiment(10, 100, 49, (50, 50), 0.45, True, 4, ("full",)),
}


class DataSet(NamedTuple):
    """What is fitted and what is true at fresh inputs: expected returns (row,) and their derivatives."""

    arrays: PanelArrays
    test: np.ndarray
    f: np.ndarray
    slopes: np.ndarray


def data_set(experiment: Experiment, seed: int) -> DataSet:
    """Weights from the prior, characteristics uniform, noise normal with the sd that makes returns' sd `SD`."""
    rng = np.random.default_rng(seed)
    model, n_inputs = experiment.model, experiment.n_characteristics
    shape = (experiment.n_months, experiment.n_assets)
    z = rng.uniform(-1, 1, (*shape, n_inputs)).astype(np.float32)
    test = rng.uniform(-1, 1, (N_TEST, n_inputs)).astype(np.float32)
    arrays = PanelArrays(
        characteristics=z,
        returns=np.zeros(shape, np.float32),
        in_universe=np.ones(shape, bool),
        observed=np.ones(shape, bool),
        asset=np.broadcast_to(np.arange(shape[1], dtype=np.int32), shape),
        varies=np.ones(n_inputs, np.float32),
        return_scale=np.float32(SD),
        periods_per_year=np.float32(12.0),
    )
    sites = handlers.trace(handlers.seed(model, jax.random.key(seed))).get_trace(arrays)
    params = {name: site["value"] for name, site in sites.items() if site["type"] in ("sample", "deterministic")}
    f = np.asarray(model.response(params, jnp.asarray(z.reshape(-1, n_inputs))))
    if experiment.exactly:
        scale = np.sqrt(experiment.r2) * SD / f.std()
        params["slope_mean"], f = params["slope_mean"] * scale, f * scale
    noise = np.sqrt(1 - experiment.r2) * SD * rng.standard_normal(f.shape)
    returns = (f + noise).reshape(shape).astype(np.float32)
    arrays = arrays._replace(returns=returns, return_scale=np.float32(np.median(returns.std(axis=1))))
    inputs = jnp.asarray(test)
    return DataSet(arrays, test, np.asarray(model.response(params, inputs)), np.asarray(model.gradient(params, inputs)))


def run_of(guide: str, model: Any, data: Any, seed: int, report: Any = None) -> Draws:
    settings = GUIDES[guide]
    run = run_nuts if isinstance(settings, NUTS) else run_svi
    return run(model, data, settings, jax.random.key(seed), report)  # type: ignore[operator]


class _Compiled(Exception):
    """Enough was run for everything long to be compiled."""


def compile_for(guide: str, name: str, model: Any, data: Any) -> None:
    """One run with another seed; of NUTS on the large networks only the first draws of it."""

    def stop(done: int, total: int) -> None:
        if guide == "nuts" and name != "small":
            raise _Compiled

    with contextlib.suppress(_Compiled):
        run_of(guide, model, data, WARM_KEY, stop)


def evenly(values: dict[str, np.ndarray], n: int) -> dict[str, jax.Array]:
    """`n` of the draws of all chains."""
    flat = {name: value.reshape(-1, *value.shape[2:]) for name, value in values.items()}
    size = len(next(iter(flat.values())))
    some = np.unique(np.linspace(0, size - 1, n).astype(int))
    return {name: jnp.asarray(value[some]) for name, value in flat.items()}


@lru_cache
def functions_of(model: FundamentalFactorModel) -> tuple[Any, Any]:
    """f and df/dx of draws at inputs (row, characteristic), compiled once a model."""

    def mapped(function: Any, at_once: int) -> Any:
        return jax.jit(lambda draws, rows: map_in_batches(lambda params: function(params, rows), draws, at_once))

    return mapped(model.response, 50), mapped(model.gradient, 20)


def judged(model: FundamentalFactorModel, draws: Draws, given: DataSet) -> dict[str, Any]:
    """Posterior mean function and bands against the truth, and whether the package's collapse check fires."""
    test = jnp.asarray(given.test)
    some = evenly(draws.posterior, N_JUDGED)
    f, slopes = (function(some, test) for function in functions_of(model))
    found: dict[str, Any] = {}
    for name, values, truth in (("f", np.asarray(f), given.f), ("df", np.asarray(slopes), given.slopes)):
        lower, upper = np.quantile(values, [(1 - PROB) / 2, (1 + PROB) / 2], axis=0)
        scale = truth.std()
        found[f"{name}_rmse"] = float(np.sqrt(np.mean((values.mean(axis=0) - truth) ** 2)) / scale)
        found[f"{name}_coverage"] = float(np.mean((lower <= truth) & (truth <= upper)))
        found[f"{name}_width"] = float(np.mean(upper - lower) / scale)
    found["mean"] = np.asarray(f).mean(axis=0).tolist()
    found |= collapse(model, draws, given.arrays)
    if draws.guide is not None:
        found["khat"] = draws.guide["khat"].tolist()
        found["elbo"] = draws.guide["elbo"][:, -1].tolist()
    return found


def collapse(model: FundamentalFactorModel, draws: Draws, arrays: PanelArrays) -> dict[str, Any]:
    """The check of `bayesfactor.fit`, on all rows."""
    signal = linear_signal(month_sums(arrays), model.slope_sd, by_month=False)
    rows = arrays.characteristics.reshape(-1, arrays.characteristics.shape[-1])
    month = np.repeat(np.arange(len(arrays.returns)), arrays.returns.shape[1])
    inputs = jnp.asarray(rows)
    response = np.asarray(functions_of(model)[0](evenly(draws.posterior, 200), inputs), float).mean(axis=0)
    kept = share_kept(response, rows, month, signal)
    return {"p_linear": signal.p_value, "kept": kept, "collapsed": bool(signal.p_value <= CLEAR and kept < KEPT)}


def measure(name: str, seed: int, guide: str, compiled: set[tuple[str, str]]) -> dict[str, Any]:
    """One fit of one data set, timed warm."""
    experiment = EXPERIMENTS[name]
    model, given = experiment.model, data_set(experiment, seed)
    data = model.data(given.arrays)
    if (name, guide) not in compiled:
        compile_for(guide, name, model, data)
        compiled.add((name, guide))
    began = time.perf_counter()
    draws = run_of(guide, model, data, seed)
    seconds = time.perf_counter() - began
    told = {"seconds": seconds, "load": os.getloadavg()[0], "provenance": provenance()}
    return judged(model, draws, given) | told


# ---------------------------------------------------------------------- the page


def average(runs: list[dict[str, Any]], name: str) -> float:
    return float(np.mean([run[name] for run in runs]))


def key_of(experiment: str, seed: int, guide: str) -> str:
    return f"{experiment}/{seed}/{guide}"


def of_guide(results: dict[str, Any], experiment: str, guide: str) -> dict[int, dict[str, Any]]:
    """Runs by data set."""
    return {
        seed: results[key]
        for seed in range(EXPERIMENTS[experiment].data_sets)
        if (key := key_of(experiment, seed, guide)) in results
    }


class Against(NamedTuple):
    """A guide on the data sets that NUTS was run on too: RMSE of f over NUTS', correlation with it, time over its."""

    rmse: float
    correlation: float
    time: float


def against_nuts(runs: dict[int, dict[str, Any]], nuts: dict[int, dict[str, Any]]) -> Against | None:
    both = sorted(set(runs) & set(nuts))
    if not both:
        return None
    pairs = [(runs[seed], nuts[seed]) for seed in both]
    return Against(
        average([ours for ours, _ in pairs], "f_rmse") / average([theirs for _, theirs in pairs], "f_rmse"),
        float(np.median([np.corrcoef(ours["mean"], theirs["mean"])[0, 1] for ours, theirs in pairs])),
        float(np.median([ours["seconds"] / theirs["seconds"] for ours, theirs in pairs])),
    )


def experiment_rows(results: dict[str, Any], name: str) -> list[list[str]]:
    nuts = of_guide(results, name, "nuts")
    rows = []
    for guide in GUIDES:
        runs = of_guide(results, name, guide)
        if guide in EXPERIMENTS[name].without:
            rows.append([guide, "-", "infeasible", *["-"] * 11])
            continue
        if not runs:
            rows.append([guide, "0", "NOT RUN YET", *["-"] * 11])
            continue
        values = list(runs.values())
        against = against_nuts(runs, nuts)
        khat = np.array([run["khat"] for run in values if "khat" in run])
        rows.append(
            [
                guide,
                str(len(values)),
                f"{average(values, 'f_rmse'):.3f}",
                "-" if against is None else f"{against.rmse:.2f}",
                f"{average(values, 'f_coverage'):.3f}",
                f"{average(values, 'f_width'):.2f}",
                f"{average(values, 'df_rmse'):.3f}",
                f"{average(values, 'df_coverage'):.3f}",
                f"{average(values, 'df_width'):.2f}",
                "-" if against is None else f"{against.correlation:.3f}",
                f"{np.median([run['seconds'] for run in values]):.1f}",
                "-" if against is None else f"{against.time:.3f}",
                f"{np.median(khat):.2f}, {np.mean(khat < KHAT_LIMIT):.0%}" if khat.size else "-",
                f"{average(values, 'collapsed'):.0%}",
            ]
        )
    return rows


HEADER = [
    "guide", "data sets", "RMSE of f", "/ NUTS'", "f: band covers", "f: width", "RMSE of df/dx", "df/dx: band covers",
    "df/dx: width", "correlation with NUTS' f", "seconds, warm", "/ NUTS'", "k-hat: median, share < 0.7",
    "collapse check fires",
]  # fmt: skip


def goal_line(results: dict[str, Any]) -> str:
    """PERFORMANCE's goal for the fast posterior of a network at low signal-to-noise."""
    goal = (
        "Goal (fast posterior of a network, R2 10%: RMSE of f within 5% of NUTS', 90% bands of f cover at least 85%, "
        "in at most a tenth of NUTS' time), guide auto"
    )
    runs = of_guide(results, "r10", "auto")
    against = against_nuts(runs, of_guide(results, "r10", "nuts"))
    if against is None:
        return f"**{goal}: NO VERDICT YET.**"
    covers = average(list(runs.values()), "f_coverage")
    verdicts = (against.rmse <= 1.05, covers >= 0.85, against.time <= 0.1)
    parts = (f"RMSE ratio {against.rmse:.2f}", f"coverage {covers:.3f}", f"time ratio {against.time:.3f}")
    told = ", ".join(f"{part} ({'met' if met else 'NOT MET'})" for part, met in zip(parts, verdicts, strict=True))
    return f"**{goal}: {'met' if all(verdicts) else 'NOT MET'}: {told}; {len(runs)} data sets.**"


def in_words(results: dict[str, Any], name: str) -> str:
    """What a table shows, from its numbers."""
    nuts = of_guide(results, name, "nuts")
    sentences = []
    for guide in GUIDES:
        runs = of_guide(results, name, guide)
        if guide == "nuts" or not runs:
            continue
        values, against = list(runs.values()), against_nuts(runs, nuts)
        covered, slopes, fires = (average(values, key) for key in ("f_coverage", "df_coverage", "collapsed"))
        error = (
            "" if against is None else f", its error is {against.rmse:.2f} of NUTS' in {against.time:.3f} of the time"
        )
        lost = f"; it loses the signal in {fires:.0%} of the data sets" if fires else ""
        sentences.append(
            f"`{guide}`: 90% bands cover f in {covered:.0%} and df/dx in {slopes:.0%} of cases{error}{lost}."
        )
    if nuts:
        values = list(nuts.values())
        covered, slopes, fires = (average(values, key) for key in ("f_coverage", "df_coverage", "collapsed"))
        alarm = f"; the collapse check fires in {fires:.0%}, a false alarm" if fires else ""
        sentences.insert(0, f"NUTS, the reference: {covered:.0%} and {slopes:.0%}{alarm}.")
    return "\n".join(f"- {sentence}" for sentence in sentences)


def page(results: dict[str, Any]) -> str:
    """The page, from all results so far."""
    parts = [
        "# Guides against NUTS",
        f"{line(provenance())} These are of the table; results made before are not made again "
        f"({', '.join(sorted({run['provenance']['commit'] for run in results.values()}))} made them).",
        "Data are simulated from a network drawn from its prior, so f and df/dx are known. All fits are of "
        "`FundamentalFactorModel(pooling='full', noise='normal')` of the same shape, its prior of the slopes such that "
        f"f has the stated share of the variance. {N_TEST} fresh inputs a data set; RMSE and the width of the "
        f"{PROB:.0%} bands are in units of the true function's sd over them. NUTS is as the package runs it, "
        "4 x (500 + 500), SVI 4 restarts of 500 draws; float32. Numbers are means over data sets; seconds, time ratios "
        "and correlations are medians.",
        "Seconds are of a run after another with another seed (of NUTS on the large networks, after its first 50 "
        "draws) has compiled everything; they are of `run_nuts` and `run_svi`, k-hat included, without the diagnostics "
        "that `fit` adds to both alike. A time ratio is of the same data set.",
        "Bands of a fit with k-hat of 0.7 or more are labelled uncalibrated by the package, those of a fit in which "
        "the collapse check fires have status failed.",
        goal_line(results),
    ]
    for name, e in EXPERIMENTS.items():
        truth = "the last layer scaled to just that" if e.exactly else "as the prior draws it"
        loads = [run["load"] for key, run in results.items() if key.startswith(f"{name}/")]
        busy = f" Load average while measuring {min(loads):.1f} to {max(loads):.1f}." if loads else ""
        parts.append(f"## {name}")
        parts.append(
            f"{e.n_months * e.n_assets:,} rows x {e.n_characteristics} inputs, tanh {e.hidden}, R2 {e.r2:.0%} "
            f"({truth}); {e.data_sets} data sets wanted.{busy}"
        )
        parts.append(table(HEADER, experiment_rows(results, name)))
        if e.without:
            parts.append(
                "`full` is infeasible here: its covariance root has 26 million numbers a restart, four times over with "
                "its gradient and Adam's moments."
            )
        if any(key.startswith(f"{name}/") for key in results):
            parts.append(in_words(results, name))
    parts.append("Made by `python -m benchmarks.guides`, which goes on from the results that are there.\n")
    return "\n\n".join(parts)


def main() -> None:
    """Run what is asked for and is not there yet, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guides", description=__doc__.splitlines()[0])
    parser.add_argument("--experiment", nargs="*", choices=list(EXPERIMENTS), default=list(EXPERIMENTS))
    parser.add_argument("--guide", nargs="*", choices=list(GUIDES), default=list(GUIDES))
    parser.add_argument("--data-sets", type=int, help="of each experiment; all of them by default")
    parser.add_argument("--again", action="store_true", help="measure again what is there")
    given = parser.parse_args()
    compiled: set[tuple[str, str]] = set()
    for name in given.experiment:
        experiment = EXPERIMENTS[name]
        for seed in range(min(given.data_sets or experiment.data_sets, experiment.data_sets)):
            for guide in given.guide:
                key = key_of(name, seed, guide)
                if guide in experiment.without or (key in load(RESULTS) and not given.again):
                    continue
                run = measure(name, seed, guide, compiled)
                results = load(RESULTS) | {key: run}
                store(RESULTS, results)
                khat = f", k-hat {np.median(run['khat']):.2f}" if "khat" in run else ""
                print(
                    f"{key}: {run['seconds']:.1f} s, f {run['f_rmse']:.3f} covered {run['f_coverage']:.3f}, df/dx "
                    f"covered {run['df_coverage']:.3f}{khat}{', COLLAPSED' if run['collapsed'] else ''}",
                    flush=True,
                )
                PAGE.write_text(page(results))
    PAGE.write_text(page(load(RESULTS)))


if __name__ == "__main__":
    main()
