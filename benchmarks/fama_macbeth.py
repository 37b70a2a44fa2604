"""The linear model's posterior sd of an average slope against the Fama-MacBeth standard error, on real panels.

    python -m benchmarks.fama_macbeth [french top1500 pystock ...]

Results are kept under .cache/fama_macbeth.json as they come; the table goes to docs/fama_macbeth.md.
"""

from __future__ import annotations

import argparse
import platform
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.record import CACHE, ROOT, SHARED, line, load, provenance, store, table, use_compilation_cache

RESULTS = CACHE / "fama_macbeth.json"
PAGE = ROOT / "docs" / "fama_macbeth.md"
FLAT = {"slope_sd": np.inf}  # Fama and MacBeth have no prior either
DEFAULT: dict[str, float] = {}

SIX = "rev_1m mom_12_2 ltrev_36_13 vol_12m beta_12m illiq_12m"
ALL_23 = (
    "rev_1m mom_12_2 mom_6_2 mom_12_7 ltrev_36_13 season_12 vol_1m vol_12m ivol_1m ivol_12m beta_12m skew_12m "
    "acorr_12m max_1m min_1m hi52 illiq_12m dolvol_12m dolvol_trend dolvol_cv zero_12m hl_1m ovn_12m"
)
PYSTOCK_SIX = "log_me bm roa inva rev_1m vol_1m"
FRENCH = "log_me log_n bm rev_1m mom_12_2 ltrev_36_13 vol_36m beta_36m season_12"
# Without agr, mom_12_2 and mom_6_2, which are missing for all stocks in some months.
PYSTOCK = (
    "log_me bm ep sp cfp divy roa roe opm ato cfoa accr inva fina lev casha curr log_assets rev_1m vol_1m ivol_1m "
    "max_1m min_1m illiq_1m log_dolvol_1m turn zero_1m hl_1m log_price rep_age_m"
)


class Case(NamedTuple):
    """A panel file, the characteristics taken from it (separated by blanks) and the prior of the average slopes."""

    file: str
    characteristics: str
    goal: float  # largest |ratio - 1| that MODELS asks for
    prior: dict[str, float] = FLAT


FRENCH_FILE = "french_portfolios_panel_1963_2025.parquet"
TOP_1500_FILE = "us_stocks_price_chars_2006_2017_top1500.parquet"
PYSTOCK_FILE = "us_stocks_pit_chars_2015_2017_pystock.parquet"
CASES = {
    "french": Case(FRENCH_FILE, FRENCH, 0.20),
    "french-default": Case(FRENCH_FILE, FRENCH, 0.20, DEFAULT),
    "top1500": Case(TOP_1500_FILE, SIX, 0.20),
    "top1500-all": Case(TOP_1500_FILE, ALL_23, 0.20),
    "pystock-six": Case(PYSTOCK_FILE, PYSTOCK_SIX, 0.25),
    "pystock": Case(PYSTOCK_FILE, PYSTOCK, 0.25),
    "pystock-default": Case(PYSTOCK_FILE, PYSTOCK, 0.25, DEFAULT),
}


def fama_macbeth(z: np.ndarray, r: np.ndarray, used: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average monthly OLS slopes, intercept first, and their standard errors ``sd / sqrt(T)``.

    Parameters
    ----------
    z : (time, slot, characteristic).
    r : (time, slot) decimal.
    used : (time, slot) bool.
    """
    slopes = []
    for month in range(len(r)):
        design = _design(z[month], used[month])
        if np.linalg.matrix_rank(design) == design.shape[1]:
            slopes.append(np.linalg.lstsq(design, r[month][used[month]], rcond=None)[0])
    values = np.array(slopes)
    return values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))


def pooled(z: np.ndarray, r: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Standard errors of OLS on all rows as if they were independent, intercept first."""
    design, target = _design(z[used], np.ones(int(used.sum()), bool)), r[used]
    gram = design.T @ design
    residual = target - design @ np.linalg.solve(gram, design.T @ target)
    variance = residual @ residual / (len(target) - design.shape[1])
    return np.sqrt(variance * np.diag(np.linalg.inv(gram)))


def _design(z: np.ndarray, used: np.ndarray) -> np.ndarray:
    return np.concatenate([np.ones((int(used.sum()), 1)), z[used]], axis=1)


def measure(name: str, warmup: int, draws: int) -> dict[str, Any]:
    """Fit one case; everything the table shows."""
    import bayesfactor as bf
    from bayesfactor.errors import ConvergenceWarning

    case = CASES[name]
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
    model = bf.FundamentalFactorModel(hidden=(), noise="normal", **case.prior)
    inference = bf.NUTS(warmup=warmup, draws=draws, chains=2)
    arrays = panel.arrays()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        began = time.perf_counter()
        fit = bf.fit(model, panel, inference, seed=1, progress=False)
        seconds = time.perf_counter() - began
    slopes = fit.parameters()["slope_mean"]
    average, error = fama_macbeth(arrays.characteristics, arrays.returns, arrays.observed)
    functions = fit.summary()
    return {
        "case": name,
        "python": platform.python_version(),
        "months": int(arrays.observed.any(axis=1).sum()),
        "rows": int(arrays.observed.sum()),
        "slope_sd": model.slope_sd,
        "goal": case.goal,
        "chains": inference.chains,
        "warmup": warmup,
        "draws": draws,
        "seconds": seconds,
        "status": fit.status,
        "reasons": list(fit.reasons),
        "rhat": float(functions["r_hat"].max()),
        "features": ["intercept", *panel.characteristics],
        "mean": slopes.mean(axis=0).tolist(),
        "sd": slopes.std(axis=0, ddof=1).tolist(),
        "fama_macbeth": average.tolist(),
        "fama_macbeth_error": error.tolist(),
        "pooled_error": pooled(arrays.characteristics, arrays.returns, arrays.observed).tolist(),
        "provenance": provenance(),
    }


def page(results: dict[str, Any]) -> str:
    """The page, from all results so far."""
    summary, details = [], []
    for key, run in sorted(results.items()):
        ratio = np.array(run["sd"]) / run["fama_macbeth_error"]
        against_pooled = np.array(run["fama_macbeth_error"]) / run["pooled_error"]
        slopes = ratio[1:]
        inside = int(np.sum(np.abs(slopes - 1) <= run["goal"]))
        summary.append(
            [
                key,
                f"{run['rows']:,} x {len(slopes)}, {run['months']} months",
                "flat" if np.isinf(run["slope_sd"]) else f"{run['slope_sd']}",
                f"{slopes.min():.2f} to {slopes.max():.2f} (median {np.median(slopes):.2f})",
                f"{inside} of {len(slopes)} within {run['goal']:.0%}",
                f"{against_pooled[1:].min():.1f} to {against_pooled[1:].max():.1f}",
                f"{run['chains']} x ({run['warmup']} + {run['draws']}), {run['seconds']:.0f} s",
                f"{run['status']}, R-hat {run['rhat']:.3f}",
            ]
        )
        rows = [
            [
                feature,
                f"{1e4 * run['mean'][k]:.1f}",
                f"{1e4 * run['fama_macbeth'][k]:.1f}",
                f"{1e4 * run['sd'][k]:.2f}",
                f"{1e4 * run['fama_macbeth_error'][k]:.2f}",
                f"{1e4 * run['pooled_error'][k]:.2f}",
                f"{ratio[k]:.2f}",
            ]
            for k, feature in enumerate(run["features"])
        ]
        header = [
            "slope",
            "posterior mean",
            "Fama-MacBeth",
            "posterior sd",
            "FM error",
            "pooled error",
            "sd / FM error",
        ]
        reasons = "".join(f"\n- {reason}" for reason in run["reasons"])
        details.append(
            f"## {key}\n\n{line(run['provenance'])}\n\nBasis points per month per unit of the rank in [-1, 1]."
            f"\n\n{table(header, rows)}\n{reasons}"
        )
    header = [
        "case and Python", "panel", "prior sd of a slope", "posterior sd / FM error", "goal",
        "FM error / pooled error", "NUTS", "status",
    ]  # fmt: skip
    return "\n\n".join(
        [
            "# Fama-MacBeth on real panels",
            "The linear model with month-varying slopes (`hidden=()`, normal noise, partial pooling) must say about "
            "the average slope of a characteristic what Fama and MacBeth (1973) say: OLS in every month, the mean of "
            "the monthly slopes, its standard error from their spread. Pooled OLS errors, which treat all stock-months "
            "as independent, are beside them. Ratios leave out the intercept. Two chains of one vectorised program.",
            table(header, summary),
            "`french`: 9 characteristics. `top1500`: rev_1m, mom_12_2, ltrev_36_13, vol_12m, beta_12m, illiq_12m; "
            "`top1500-all`: all 23. `pystock-six`: log_me, bm, roa, inva, rev_1m, vol_1m. "
            "`pystock`: 30 of 33; agr, mom_12_2 and mom_6_2 are missing for all stocks in some months, in which "
            "Fama-MacBeth has no slope for them. Average slopes have a flat prior, as Fama and MacBeth have none; "
            "`-default`: the default prior, with which a slope's band is narrower where its error is not far below "
            "the prior's sd. All other priors are the defaults.",
            *details,
            "Made by `python -m benchmarks.fama_macbeth`; the panels are not part of the repository.\n",
        ]
    )


def main() -> None:
    """Run the cases named on the command line, all by default."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", default=list(CASES), help=f"of {', '.join(CASES)}")
    parser.add_argument("--warmup", type=int, default=500, help="warm-up of each chain")
    parser.add_argument("--draws", type=int, default=1500, help="draws of each chain")
    parser.add_argument("--page", type=Path, default=PAGE)
    given = parser.parse_args()
    use_compilation_cache()
    version = ".".join(platform.python_version_tuple()[:2])
    for name in given.cases:
        run = measure(name, given.warmup, given.draws)
        ratio = np.array(run["sd"]) / run["fama_macbeth_error"]
        print(
            f"{name}: {run['seconds']:.0f} s, {run['status']} {run['reasons']}, ratios {np.round(ratio, 2)}", flush=True
        )
        results = load(RESULTS) | {f"{name}, {version}": run}
        store(RESULTS, results)
        given.page.write_text(page(results))


if __name__ == "__main__":
    main()
