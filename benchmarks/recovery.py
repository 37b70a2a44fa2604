"""Two true deep factors beyond a benchmark, learned with everything else: found again, and with bands that cover.

    python -m benchmarks.recovery [--economies 40]

A table goes to docs/recovery.md. Two kinds of economies, residuals correlated in both: with alphas of the prior's sd
(factors, loadings and alphas against the truth; average residuals beside), and with none (the joint statement of no
alpha, whose prior is wide there, against the exact F of the true factors).
"""

from __future__ import annotations

import argparse
import time
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from benchmarks.record import ROOT, line, provenance, table, use_compilation_cache

use_compilation_cache()

import bayesfactor as bf  # noqa: E402
from bayesfactor.errors import BayesFactorWarning  # noqa: E402
from bayesfactor.evaluation import pricing  # noqa: E402
from bayesfactor.inference import fit_many  # noqa: E402

PAGE = ROOT / "docs" / "recovery.md"
ECONOMY = {"n_months": 120, "n_assets": 60, "n_characteristics": 4, "n_portfolios": 10}
TRUE, PROB = 2, 0.9
NUTS = bf.NUTS(warmup=250, draws=500, chains=4)
MODEL = bf.SortedFactorModel(TRUE, ())
WIDE = replace(MODEL, alpha_sd=0.05)
TOGETHER = 5  # economies in one program
BANDS = ("factor returns", "loadings", "benchmark loadings", "alphas", "average residuals")


def economy(seed: int, alpha_sd: float) -> bf.simulate.Economy:
    """Alphas are drawn, one a portfolio."""
    alpha = alpha_sd * np.random.default_rng([seed, 9]).standard_normal(ECONOMY["n_portfolios"])
    return bf.simulate.priced_economy(**ECONOMY, n_factors=TRUE, alpha=alpha.tolist(), seed=seed)


def learned(model: bf.SortedFactorModel, economies: list[bf.simulate.Economy], first: int) -> list[bf.Fit]:
    """Fits of all economies, a few at once."""
    fits: list[bf.Fit] = []
    for start in range(0, len(economies), TOGETHER):
        began = time.perf_counter()
        panels = [one.panel for one in economies[start : start + TOGETHER]]
        seeds = list(range(first + start, first + start + len(panels)))
        fits += fit_many(model, panels, NUTS, seeds=seeds, progress=False)
        print(f"{len(fits)} of {len(economies)}: {time.perf_counter() - began:.0f} s", flush=True)
    return fits


def inside(draws: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Share of the truth within the bands of draws (draw, ...), and the bands' median width."""
    low, high = np.quantile(draws, [0.5 - PROB / 2, 0.5 + PROB / 2], axis=0)
    return float(np.mean((low <= truth) & (truth <= high))), float(np.median(high - low))


def compared(fit: bf.Fit, one: bf.simulate.Economy) -> dict[str, Any]:
    """A fit, its factors in the order and of the signs of the true ones, beside the truth."""
    truth = one.truth
    posterior = bf.align(fit, truth["factor_return"]).tree["posterior"].to_dataset()
    draws = {name: posterior[name].values.reshape(-1, *posterior[name].shape[2:]).astype(float) for name in posterior}
    found, true = draws["factor_return"], truth["factor_return"].values
    correlations = [np.corrcoef(found.mean(axis=0)[:, k], true[:, k])[0, 1] for k in range(TRUE)]
    # The average residual of the paper: loadings without alphas, for the same draws of the factors.
    data = MODEL.data(one.panel.arrays(), float(fit.tree["constant_data"].to_dataset()["residual_scale"]))
    plain = replace(MODEL, alpha=False).complete({"factor_return": found}, data, np.random.default_rng(1))
    explained = np.einsum("dtk,dik->dti", found, plain["loading"])
    explained += np.einsum("tk,dik->dti", data.benchmarks, plain["benchmark_loading"])
    residuals = (data.assets - explained).mean(axis=1)
    pairs = {
        "factor returns": (found, true),
        "loadings": (draws["loading"], truth["loading"].values),
        "benchmark loadings": (draws["benchmark_loading"][..., 0], truth["benchmark_loading"].values),
        "alphas": (draws["alpha"], truth["alpha"].values),
        "average residuals": (residuals, truth["alpha"].values),
    }
    return {
        "correlation": min(correlations),
        "status": fit.status,
        "bands": {name: inside(*pair) for name, pair in pairs.items()},
    }


def statements(fits: list[bf.Fit], economies: list[bf.simulate.Economy]) -> tuple[np.ndarray, np.ndarray]:
    """Posterior probability of the ellipsoid with "no alpha" on its boundary, and 1 - p of GRS on the true factors."""
    found, exact = [], []
    for fit, one in zip(fits, economies, strict=True):
        found.append(bf.no_alpha(fit)["prob_beyond_zero"])
        times = one.panel.times
        factors = pd.DataFrame(one.truth["factor_return"].values, times).add_prefix("true_")
        factors["MKT"] = one.panel.data["benchmark_returns"].values[:, 0]
        test = pricing.grs(pd.DataFrame(one.panel.data["portfolio_returns"].values, times), factors)
        exact.append(1.0 - float(test["p_value"]))
    return np.array(found), np.array(exact)


def statuses(fits: list[bf.Fit]) -> str:
    """How many fits are ok, warn, failed."""
    counts = {status: sum(fit.status == status for fit in fits) for status in ("ok", "warn", "failed")}
    return ", ".join(f"{count} {status}" for status, count in counts.items() if count)


def page(rows: list[dict[str, Any]], told: str, joint: tuple[np.ndarray, np.ndarray], joint_told: str) -> str:
    """The whole page."""
    correlation = np.array([row["correlation"] for row in rows])
    cells = []
    for name in BANDS:
        cover, width = np.array([row["bands"][name] for row in rows]).T
        error = cover.std(ddof=1) / len(rows) ** 0.5
        cells.append([name, f"{cover.mean():.1%}", f"{error:.1%}", f"{np.median(width):.2g}"])
    found, exact = joint
    uniform = [stats.kstest(values, "uniform").pvalue for values in joint]
    text = [
        "# Two deep factors, found again",
        f"{line(provenance())} Made by `python -m benchmarks.recovery --economies {len(rows)}`.",
        f"`priced_economy` of {ECONOMY} with {TRUE} true deep factors beyond a benchmark and a correlation of .3 "
        f"between all residuals; `SortedFactorModel({TRUE}, ())` with a full residual covariance, by `{NUTS!r}`. "
        "Sorts, factors, loadings and alphas are all learned, and brought into the order and signs of the true factors "
        "(a signed permutation, no rotation).",
        f"## Against the truth\n\n{len(rows)} economies with independent alphas, sd 0.2% a month as in the prior "
        f"({told}). Correlation of the posterior mean of a factor with the true one, the worse of the two: at least "
        f"{correlation.min():.4f}, median {np.median(correlation):.4f}.",
        table([f"{PROB:.0%} bands of", "hold the truth", "standard error", "median width"], cells),
        "The standard error is of the spread between economies. Average residuals are those of the paper: the same "
        "factors, loadings without an alpha, and what is left on average; their bands lack the uncertainty of a mean. "
        "Returns and alphas are decimal per month.",
        f"## No alpha\n\n{len(found)} economies without any alpha, `alpha_sd={WIDE.alpha_sd}` ({joint_told}). The "
        'posterior probability of the ellipsoid that has "no alpha" on its boundary (`no_alpha`, `prob_beyond_zero`) '
        "should be uniform, as 1 - p of the exact F (Gibbons, Ross and Shanken) on the true factors is. "
        f"Kolmogorov-Smirnov p-values: {uniform[0]:.2f}, of the F {uniform[1]:.2f}; above .9 in "
        f"{np.mean(found > 0.9):.0%} of the economies, the F in {np.mean(exact > 0.9):.0%}; mean difference "
        f"{np.mean(found - exact):+.3f}, correlation {np.corrcoef(found, exact)[0, 1]:.3f}.",
    ]
    return "\n\n".join(text) + "\n"


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.recovery", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--economies", type=int, default=40)
    n_economies = parser.parse_args().economies
    warnings.simplefilter("ignore", BayesFactorWarning)
    seeds = range(1, 1 + n_economies)
    economies = [economy(seed, MODEL.alpha_sd) for seed in seeds]
    fits = learned(MODEL, economies, 1)
    rows = [compared(fit, one) for fit, one in zip(fits, economies, strict=True)]
    none = [economy(1000 + seed, 0.0) for seed in seeds]
    without = learned(WIDE, none, 1001)
    PAGE.write_text(page(rows, statuses(fits), statements(without, none), statuses(without)))
    print(PAGE.read_text())


if __name__ == "__main__":
    main()
