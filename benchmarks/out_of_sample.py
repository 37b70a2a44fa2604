"""Who predicts better out of sample: models and baselines on the French portfolio panel, refitted every year from 1990.

    python -m benchmarks.out_of_sample [--only linear ...] [--first 1990-01] [--train 120]

Every forecaster has a store under .cache/out_of_sample and goes on where it stopped; the page docs/out_of_sample.md is
made of what is there.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.record import CACHE, ROOT, SHARED, line, provenance, table, use_compilation_cache

use_compilation_cache()

import bayesfactor as bf  # noqa: E402
from bayesfactor.errors import BayesFactorWarning, ComparisonWarning, ConvergenceWarning  # noqa: E402

FOLDER = CACHE / "out_of_sample"
PAGE = ROOT / "docs" / "out_of_sample.md"
FILE = "french_portfolios_panel_1963_2025.parquet"
NUTS = bf.NUTS(warmup=200, draws=200, chains=2)
SVI = bf.SVI(restarts=2)
CHOSEN = ("linear", "network")  # compared by their own densities; all by the common law
FORECASTERS: dict[str, tuple[Any, Any]] = {
    "zero": (bf.baselines.Zero(), None),
    "historical mean": (bf.baselines.HistoricalMean(), None),
    "OLS": (bf.baselines.OLS(), None),
    "ridge": (bf.baselines.Ridge(), None),
    "Fama-MacBeth": (bf.baselines.FamaMacBeth(), None),
    "linear": (bf.FundamentalFactorModel(hidden=(), noise="normal"), NUTS),
    "network": (bf.FundamentalFactorModel(hidden=(4,), activation="tanh", noise="normal"), SVI),
}


def panel() -> bf.Panel:
    """The French portfolios, nine characteristics, ranked."""
    return bf.read_frame(
        SHARED / "panels" / FILE,
        time="date",
        asset="asset",
        returns="xret_next",
        returns_over="next",
        lag=0,
        units="decimal",
        excess=True,
        exclude=["ret_next", "rf_next"],
    ).rank_normalise()


def store_of(name: str, windows: bf.Windows) -> Path:
    """The folder of one forecaster's walk."""
    return FOLDER / f"{name.replace(' ', '-')}-{windows.kind}-{windows.train}-{windows.first_test}"


def walk(name: str, data: bf.Panel, windows: bf.Windows) -> bf.Forecasts:
    """Forecasts of one forecaster; a line of progress a window."""
    model, inference = FORECASTERS[name]

    def tell(done: int, total: int) -> None:
        print(f"{name}: {done} of {total} windows", file=sys.stderr, flush=True)

    folder = store_of(name, windows)
    return bf.walk_forward(
        model, data, inference, windows, store=folder, seed=1, name=name, audit=name == "zero", progress=tell
    )


def error_rows(found: dict[str, bf.Forecasts]) -> list[list[str]]:
    """Errors of the means, coverage and CRPS of each forecaster."""
    rows = []
    history = found["historical mean"].judged.data["mean"]
    for name, forecasts in found.items():
        judged = forecasts.judged
        mean, came = judged.data["mean"], judged.data["realised"]
        zero = float(bf.metrics.predictive_r2(mean, came))
        past = float(bf.metrics.predictive_r2(mean, came, benchmark="historical_mean", historical_mean=history))
        judged_by = bf.forecast_calibration(forecasts)
        shares = [
            f"{float(one['coverage']):.1%} ({float(one['coverage_lower']):.0%} to {float(one['coverage_upper']):.0%})"
            for one in (judged_by.sel(level=level) for level in (0.5, 0.9, 0.95))
        ]
        crps = float(judged_by["crps"])
        statuses = forecasts.windows["status"].value_counts()
        told = ", ".join(f"{count} {status}" for status, count in statuses.items())
        minutes = forecasts.windows["seconds"].sum() / 60
        told = f"{told}; {judged_by.attrs['verdict']}"
        rows.append([name, f"{zero:+.2%}", f"{past:+.2%}", f"{crps:.4%}", *shares, told, f"{minutes:.1f}"])
    return rows


def score_rows(frame: pd.DataFrame) -> list[list[str]]:
    """A comparison as rows of Markdown."""
    return [
        [
            str(name),
            f"{row.elpd:,.1f}",
            f"{row.elpd_diff:+,.1f}" if row.elpd_diff else "0",
            f"{row.diff_se:,.1f}" if row.elpd_diff else "",
            "" if np.isnan(row.prob_better) else f"{row.prob_better:.3f}",
            f"{row.weight:.2f}",
        ]
        for name, row in frame.iterrows()
    ]


def doubts(found: dict[str, bf.Forecasts]) -> str:
    """Why windows of the models are not ok: how many have each reason, numbers left out."""
    lines = []
    for name in CHOSEN:
        if name in found:
            told = "; ".join(
                f"{reason.split(' (')[0]} ({count})" for reason, count in found[name].doubts.head(6).items()
            )
            lines.append(f"- {name}, of {len(found[name].windows)} windows: {told}.")
    return "\n".join(lines)


def page(found: dict[str, bf.Forecasts], windows: bf.Windows) -> str:
    """The page from all forecasters that are there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ComparisonWarning)
        common = bf.compare(found, method="walk_forward", common=True)
        own = bf.compare(
            {name: found[name] for name in ("Fama-MacBeth", *CHOSEN) if name in found}, method="walk_forward"
        )
    first = next(iter(found.values()))
    scores = ["forecaster", "elpd (nats)", "difference from the best", "error", "P(better)", "stacking weight"]
    errors = [
        "forecaster", "R2 against zero", "R2 against the historical mean", "CRPS a month", "50% covers", "90% covers",
        "95% covers", "windows", "minutes",
    ]  # fmt: skip
    settings = "; ".join(f"{name} `{FORECASTERS[name][0]!r}`" for name in CHOSEN if name in found)
    return (
        "\n\n".join(
            [
                "# Out of sample: French portfolios, refitted every year from 1990",
                f"{line(provenance())} Made by `python -m benchmarks.out_of_sample`.",
                f"274 value-weighted portfolios, nine characteristics, monthly excess returns. `{windows!r}`: "
                f"{len(first.windows)} windows, each learns from {windows.train} months and forecasts the next "
                f"{windows.test}; {len(first.judged.times)} months were judged, {first.judged.times[0]:%Y-%m} to "
                f"{first.judged.times[-1]:%Y-%m}. {settings}; linear by `{NUTS!r}`, network by `{SVI!r}`, a seed "
                "each window.",
                "## The same month covariance for all: scores differ by their means only",
                f"Verdict: {common.attrs['verdict']}.",
                table(scores, score_rows(common)),
                "## Own predictive densities",
                f"Fama-MacBeth has the common covariance. Verdict: {own.attrs['verdict']}.",
                table(scores, score_rows(own)),
                "## Errors and coverage",
                table(errors, error_rows(found)),
                "Windows that are not ok, by what they report (# is a number):",
                doubts(found),
                "Coverage is the share of returns inside the central band, months with equal weight; in brackets "
                "its 95% interval, from the spread of months. Errors of differences are the more cautious of clustered "
                "and HAC (decision 12).",
            ]
        )
        + "\n"
    )


def main() -> None:
    """Walk with what is asked for, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=list(FORECASTERS), default=list(FORECASTERS))
    parser.add_argument("--first", default="1990-01", help="first month to forecast")
    parser.add_argument("--train", type=int, default=120, help="months to learn from")
    given = parser.parse_args()
    windows = bf.Windows.rolling(given.train, test=12, first_test=given.first)
    data = panel()
    warnings.simplefilter("ignore", BayesFactorWarning)
    for name in given.only:
        walk(name, data, windows)
    found = {}
    for name in FORECASTERS:
        folder = store_of(name, windows)
        if folder.exists() and len(bf.load_forecasts(folder).windows) == len(windows.over(data)):
            found[name] = bf.load_forecasts(folder)
    if {"historical mean", "Fama-MacBeth", "linear"} <= found.keys():
        PAGE.write_text(page(found, windows))


if __name__ == "__main__":
    warnings.simplefilter("ignore", ConvergenceWarning)
    main()
