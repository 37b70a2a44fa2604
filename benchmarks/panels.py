"""Two whole panels of stocks by SVI and by NUTS: time, memory, and whether the sensitivity bands agree.

    python -m benchmarks.panels [--panel pystock top1500] [--inference svi nuts] [--chains 2 --warmup 300 --draws 300]

Every fit is in a process of its own. NUTS is saved to .cache/panels as it goes: an interrupted run goes on when the
same command is given again. Results are kept in .cache/panels.json, the tables go to docs/panels.md.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.fama_macbeth import PYSTOCK_FILE, TOP_1500_FILE
from benchmarks.record import CACHE, ROOT, SHARED, line, load, provenance, store, table, use_compilation_cache

FOLDER = CACHE / "panels"
RESULTS = CACHE / "panels.json"
PAGE = ROOT / "docs" / "panels.md"
HIDDEN = (4,)
PROB = 0.9
SEED = 1
INFERENCES = ("svi", "nuts")


class Case(NamedTuple):
    """A panel file and the characteristics taken from it, separated by blanks."""

    file: str
    characteristics: str


# All of them are there for at least nine stock-months in ten.
CASES = {
    "pystock": Case(PYSTOCK_FILE, "log_me bm roa inva rev_1m vol_1m illiq_1m turn"),
    "top1500": Case(TOP_1500_FILE, "rev_1m mom_12_2 season_12 vol_12m beta_12m hi52 illiq_12m max_1m"),
}


class Clock:
    """Seconds of a fit over all the calls it took, kept in a file, and a line of progress now and then."""

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.path = name, path
        self.before = float(path.read_text()) if path.exists() else 0.0
        self.began = self.told = time.perf_counter()

    @property
    def seconds(self) -> float:
        return self.before + time.perf_counter() - self.began

    def __call__(self, done: int, total: int) -> None:
        now = time.perf_counter()
        if now - self.told < 20:
            return
        self.told = now
        self.path.write_text(f"{self.seconds}")
        print(f"{self.name}: {done:,} of at most {total:,}, {self.seconds:.0f} s", file=sys.stderr, flush=True)


def measure(panel_name: str, kind: str, given: argparse.Namespace) -> dict[str, Any]:
    """Fit one panel one way; everything the tables show."""
    import bayesfactor as bf
    from bayesfactor.errors import ConvergenceWarning
    from bayesfactor.inference.diagnostics import diagnose_functions

    case = CASES[panel_name]
    panel = bf.read_frame(
        SHARED / "panels" / case.file,
        time="date",
        asset="asset",
        returns="xret_next",
        returns_over="next",
        lag=0,
        units="decimal",
        excess=True,
        characteristics=case.characteristics.split(),
    ).rank_normalise()
    model = bf.FundamentalFactorModel(hidden=HIDDEN, activation="tanh", noise="normal")
    settings = {
        "svi": bf.SVI(),
        "nuts": bf.NUTS(warmup=given.warmup, draws=given.draws, chains=given.chains),
    }
    inference = settings[kind]
    FOLDER.mkdir(parents=True, exist_ok=True)
    name = f"{panel_name}-{kind}" + (f"-{given.chains}x{given.warmup}+{given.draws}" if kind == "nuts" else "")
    checkpoint, spent = FOLDER / f"{name}.checkpoint", FOLDER / f"{name}.seconds"
    if given.again:
        checkpoint.unlink(missing_ok=True)
        spent.unlink(missing_ok=True)
    clock = Clock(f"{panel_name} {kind}", spent)
    resumed = clock.before > 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        # SVI takes minutes and is timed: it starts afresh. Saving would be in its time too.
        fit = bf.fit(
            model, panel, inference, seed=SEED, progress=clock, checkpoint=checkpoint if kind == "nuts" else None
        )
    seconds = clock.seconds
    began = time.perf_counter()
    bands = bf.sensitivities(fit, panel, prob=PROB)
    functions = diagnose_functions(fit.tree["functions"].to_dataset())
    khat = fit.tree["guide"]["khat"].values.tolist() if "guide" in fit.tree else None
    statistics = fit.tree.get("sample_stats")
    for path in (checkpoint, spent):
        path.unlink(missing_ok=True)
    return {
        "panel": panel_name,
        "inference": repr(inference),
        "kind": kind,
        "rows": int(fit.provenance["n_observed"]),
        "months": len(fit.train_times),
        "model": repr(model),
        "seconds": seconds,
        "resumed": resumed,
        "band_seconds": time.perf_counter() - began,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "load": os.getloadavg()[1],
        "status": fit.status,
        "reasons": list(fit.reasons),
        "rhat": float(functions["rhat"].max()),
        "khat": khat,
        "steps": None if statistics is None else float(statistics["n_steps"].mean()),
        "characteristics": list(panel.characteristics),
        **{key: bands[key].values.tolist() for key in ("mean", "sd", "lower", "upper")},
        "provenance": provenance(),
    }


def agreement(svi: dict[str, Any], nuts: dict[str, Any]) -> dict[str, np.ndarray]:
    """Per characteristic: difference of means in NUTS sds, ratio of sds, share of NUTS' band inside SVI's too."""
    s, n = ({key: np.array(run[key]) for key in ("mean", "sd", "lower", "upper")} for run in (svi, nuts))
    common = np.minimum(s["upper"], n["upper"]) - np.maximum(s["lower"], n["lower"])
    return {
        "shift": (s["mean"] - n["mean"]) / n["sd"],
        "ratio": s["sd"] / n["sd"],
        "overlap": np.maximum(common, 0.0) / (n["upper"] - n["lower"]),
    }


def page(results: dict[str, Any]) -> str:
    """The page, from all results so far."""
    runs, compared, details = [], [], []
    for panel_name in CASES:
        of_panel = {kind: results[key] for kind in INFERENCES if (key := f"{panel_name}-{kind}") in results}
        for run in of_panel.values():
            khat = "-" if run["khat"] is None else f"{min(run['khat']):.2f} to {max(run['khat']):.2f}"
            runs.append(
                [
                    panel_name,
                    f"{run['rows']:,} in {run['months']} months x {len(run['characteristics'])}",
                    f"`{run['inference']}`",
                    f"{run['seconds']:,.0f} s{' (in several calls)' if run['resumed'] else ''}",
                    f"{run['band_seconds']:.0f} s",
                    f"{run['peak_mib']:,.0f} MiB",
                    run["status"],
                    f"{run['rhat']:.3f}",
                    khat,
                    "-" if run["steps"] is None else f"{run['steps']:.0f}",
                    f"{run['load']:.1f}",
                ]
            )
        notes = "".join(f"\n- {kind}: {reason}" for kind, run in of_panel.items() for reason in run["reasons"])
        if len(of_panel) < 2:
            details.append(f"## {panel_name}\n\nOne of the two fits is NOT RUN YET.{notes and chr(10) + notes}")
            continue
        svi, nuts = of_panel["svi"], of_panel["nuts"]
        found = agreement(svi, nuts)
        shift = np.abs(found["shift"])
        compared.append(
            [
                panel_name,
                f"{np.median(shift):.2f} / {shift.max():.2f}",
                f"{np.median(found['ratio']):.2f} ({found['ratio'].min():.2f} to {found['ratio'].max():.2f})",
                f"{np.median(found['overlap']):.0%} / {found['overlap'].min():.0%}",
                f"{nuts['seconds'] / svi['seconds']:.1f} x",
            ]
        )
        rows = [
            [
                name,
                *(
                    f"{1e4 * run['mean'][k]:.1f} [{1e4 * run['lower'][k]:.1f}, {1e4 * run['upper'][k]:.1f}]"
                    for run in (svi, nuts)
                ),
                f"{found['shift'][k]:+.2f}",
                f"{found['ratio'][k]:.2f}",
                f"{found['overlap'][k]:.0%}",
            ]
            for k, name in enumerate(svi["characteristics"])
        ]
        header = ["characteristic", "SVI", "NUTS", "shift, NUTS sds", "sd / NUTS sd", "of the NUTS band, in both"]
        made = "\n\n".join(f"{kind}: {line(run['provenance'])}" for kind, run in of_panel.items())
        details.append(
            f"## {panel_name}\n\n{made}\n\nAverage sensitivity, basis points per month per unit of the rank in "
            f"[-1, 1], with {PROB:.0%} band.\n\n{table(header, rows)}\n{notes}"
        )
    first = [
        "panel", "stock-months", "inference", "fit", "sensitivities", "peak memory", "status", "largest R-hat",
        "k-hat", "gradients a draw", "load average",
    ]  # fmt: skip
    second = [
        "panel", "shift of the mean, NUTS sds: median / largest", "sd / NUTS sd: median (range)",
        "of the NUTS band, in both: median / least", "NUTS time / SVI time",
    ]  # fmt: skip
    return "\n\n".join(
        [
            "# Whole panels",
            f"Two panels of US stocks, every stock and month, tanh network {HIDDEN}, normal noise, slopes that move by "
            "month (the default pooling). Time is the whole of `fit`: compiling (or loading a compiled program), "
            "drawing, diagnosing; it is of a machine with other work where the load average is above one run's. "
            "Each fit is a process of its own; peak memory is that process's, reading the panel included.",
            table(first, runs),
            "Does SVI say what NUTS says? Per characteristic the posterior of the average sensitivity, and over "
            "characteristics:" if compared else "No panel has both fits yet.",
            *([table(second, compared)] if compared else []),
            *details,
            "Made by `python -m benchmarks.panels`; the panels are not part of the repository.\n",
        ]
    )  # fmt: skip


def main() -> None:
    """Every fit in a process of its own, so that peak memory is its own."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.panels", description=__doc__.splitlines()[0])
    parser.add_argument("--panel", nargs="*", choices=list(CASES), default=list(CASES))
    parser.add_argument("--inference", nargs="*", choices=INFERENCES, default=list(INFERENCES))
    parser.add_argument("--chains", type=int, default=2, help="of NUTS")
    parser.add_argument("--warmup", type=int, default=300, help="of each chain")
    parser.add_argument("--draws", type=int, default=300, help="of each chain")
    parser.add_argument("--again", action="store_true", help="do not go on from what was saved")
    parser.add_argument("--here", action="store_true", help="measure one fit in this process and print it as JSON")
    given = parser.parse_args()
    use_compilation_cache()
    if given.here:
        print(json.dumps(measure(given.panel[0], given.inference[0], given)))
        return
    for kind in given.inference:
        for panel_name in given.panel:
            command = [sys.executable, "-m", "benchmarks.panels", "--here", "--panel", panel_name, "--inference", kind]
            command += [f"--{name}={getattr(given, name)}" for name in ("chains", "warmup", "draws")]
            command += ["--again"] * given.again
            done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
            if done.returncode:
                print(f"{panel_name} {kind}: failed, exit {done.returncode}", flush=True)
                continue
            run = json.loads(done.stdout.splitlines()[-1])
            results = load(RESULTS) | {f"{panel_name}-{kind}": run}
            store(RESULTS, results)
            print(
                f"{panel_name} {kind}: {run['seconds']:.0f} s, peak {run['peak_mib']:,.0f} MiB, {run['status']} "
                f"{run['reasons']}",
                flush=True,
            )
            PAGE.write_text(page(results))


if __name__ == "__main__":
    main()
