"""How far bands of a pseudo-likelihood may be believed: stocks on both sides, from an economy of latent factors.

    python -m benchmarks.pseudo_likelihood [--economies 20]

Returns are a market and two latent factors with betas linear in characteristics, and noise; the model sorts two factors
from the same stocks. Factors that are portfolios of few stocks carry their noise, and the loss does not know. A table
goes to docs/pseudo_likelihood.md.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import pandas as pd

from benchmarks.record import ROOT, line, provenance, table, use_compilation_cache

use_compilation_cache()

import bayesfactor as bf  # noqa: E402
from bayesfactor.errors import BayesFactorWarning  # noqa: E402
from bayesfactor.inference import fit_many  # noqa: E402

PAGE = ROOT / "docs" / "pseudo_likelihood.md"
ECONOMY = {"n_months": 60, "n_characteristics": 2, "slope_sd": 0.03, "noise_sd": 0.08}
STOCKS = (50, 200)
PROB = 0.9
NUTS = bf.NUTS(warmup=200, draws=300, chains=2)
MODEL = bf.SortedFactorModel(
    2,
    (),
    test_assets="stocks",
    loadings="network",
    benchmark_loadings="network",
    loading_hidden=(),
    alpha=False,
    residual_covariance="common",
)
TOGETHER = 5  # economies in one program


def economy(n_assets: int, seed: int) -> tuple[bf.Panel, np.ndarray]:
    """A panel whose benchmark is the average stock, and what latent factors do (time, asset), decimal per month."""
    made = bf.simulate.economy(**ECONOMY, n_assets=n_assets, seed=seed)
    data = made.panel.data
    common = made.truth["intercept"].values[:, None] + np.einsum(
        "tik,tk->ti", data["characteristics"].values, made.truth["slopes"].values
    )
    market = pd.DataFrame({"MKT": np.nanmean(data["returns"].values, axis=1)}, made.panel.times)
    return made.panel.join_benchmark(market, units="decimal", excess=True), common


def explained(fit: bf.Fit, panel: bf.Panel) -> np.ndarray:
    """What each draw explains of the returns (draw, time, asset)."""
    posterior = fit.tree["posterior"].to_dataset()
    draws = {str(name): posterior[name].values.reshape(-1, *posterior[name].shape[2:]) for name in posterior}
    z = panel.data["characteristics"].values
    total = np.zeros(())
    returns = {"loading": draws["factor_return"], "benchmark_loading": panel.data["benchmark_returns"].values[None]}
    for name, factors in returns.items():
        every = np.broadcast_to(factors, (len(draws["loading_level"]), *factors.shape[1:]))
        slope = np.einsum("dtf,dfk->dtk", every, draws[f"{name}_map"])
        total = total + np.einsum("dtf,df->dt", every, draws[f"{name}_level"])[..., None]
        total = total + np.einsum("dtk,tik->dti", slope, z)
    return total


def measured(n_assets: int, n_economies: int) -> dict[str, np.ndarray]:
    """Coverage of what latent factors do, of the noise's sd, and how well it is explained, one an economy."""
    rows = []
    for first in range(0, n_economies, TOGETHER):
        began = time.perf_counter()
        seeds = list(range(first + 1, min(first + TOGETHER, n_economies) + 1))
        economies = [economy(n_assets, seed) for seed in seeds]
        fits = fit_many(MODEL, [panel for panel, _ in economies], NUTS, seeds=seeds, progress=False)
        for fit, (panel, common) in zip(fits, economies, strict=True):
            draws = explained(fit, panel)
            low, high = np.quantile(draws, [0.5 - PROB / 2, 0.5 + PROB / 2], axis=0)
            sd = np.quantile(fit.tree["posterior"]["residual_sd"].values, [0.5 - PROB / 2, 0.5 + PROB / 2])
            mean = draws.mean(axis=0)
            rows.append(
                {
                    "covered": np.mean((low <= common) & (common <= high)),
                    "width": np.median(high - low),
                    "error": np.sqrt(np.mean((mean - common) ** 2)),
                    "sd": float(sd[0] <= ECONOMY["noise_sd"] <= sd[1]),
                    "ok": float(fit.status == "ok"),
                    "failed": float(fit.status == "failed"),
                }
            )
        print(f"{n_assets} stocks, {seeds[-1]} of {n_economies}: {time.perf_counter() - began:.0f} s", flush=True)
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pseudo_likelihood",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--economies", type=int, default=20)
    n_economies = parser.parse_args().economies
    warnings.simplefilter("ignore", BayesFactorWarning)
    cells = []
    for n_assets in STOCKS:
        found = measured(n_assets, n_economies)
        error = found["covered"].std(ddof=1) / n_economies**0.5
        needed = found["error"].mean() / found["width"].mean() * 2 * 1.645
        cells.append(
            [
                str(n_assets),
                f"{found['covered'].mean():.1%} ({error:.1%})",
                f"{100 * found['width'].mean():.2f}%",
                f"{100 * found['error'].mean():.2f}%",
                f"{needed:.1f} x",
                f"{found['sd'].mean():.0%}",
                f"{found['ok'].sum():.0f} ok, {found['failed'].sum():.0f} failed",
            ]
        )
    text = [
        "# Bands of a pseudo-likelihood",
        f"{line(provenance())} Made by `python -m benchmarks.pseudo_likelihood --economies {n_economies}`.",
        f"`economy` of {ECONOMY}: a market and two latent factors (sd 3% a month) with betas linear in the two "
        f"characteristics, noise of 8% a month. `{MODEL!r}` by `{NUTS!r}`; its two factors are sorted from the stocks "
        f"that they explain, and its benchmark is the average of the same stocks. {n_economies} economies a row.",
        table(
            [
                "stocks",
                "90% bands that hold what latent factors do to a stock in a month (standard error)",
                "their width",
                "error of the mean (root mean square)",
                "how many times as wide they should be",
                "90% bands that hold the noise's sd",
                "fits",
            ],
            cells,
        ),
        "The deep factors and the market are portfolios of few stocks, and carry their noise: a regression that takes "
        "them as known says nothing of it. Widths that errors ask for, were they normal, are in the fifth column.",
    ]
    PAGE.write_text("\n\n".join(text) + "\n")
    print(PAGE.read_text())


if __name__ == "__main__":
    main()
