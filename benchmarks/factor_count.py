"""How many deep factors there are: two true ones, models with one, two and three, judged on months not learned from.

    python -m benchmarks.factor_count [--economies 6]

A table goes to docs/factor_count.md. A surplus factor must not be rewarded, and must be seen: later months are priced
no better, and what it loads on is not determined.
"""

from __future__ import annotations

import argparse
import time
import warnings
from typing import Any

import numpy as np

from benchmarks.record import ROOT, line, provenance, table, use_compilation_cache

use_compilation_cache()

import bayesfactor as bf  # noqa: E402
from bayesfactor.errors import BayesFactorWarning  # noqa: E402
from bayesfactor.inference import fit_many  # noqa: E402

PAGE = ROOT / "docs" / "factor_count.md"
ECONOMY = {"n_months": 160, "n_assets": 100, "n_characteristics": 4, "n_portfolios": 10}
LEARNED, TRUE = 120, 2
COUNTS = (1, 2, 3)
NUTS = bf.NUTS(warmup=150, draws=150, chains=2, max_tree_depth=7)  # a surplus factor makes long trajectories


def measured(n_factors: int, economies: list[bf.simulate.Economy]) -> list[dict[str, Any]]:
    """Score of later months, and how well factors and loadings are determined, of each economy."""
    halves = [one.panel.split(one.panel.times[LEARNED]) for one in economies]
    fits = fit_many(
        bf.SortedFactorModel(n_factors, ()),
        [train for train, _ in halves],
        NUTS,
        seeds=list(range(1, len(halves) + 1)),
        progress=False,
    )
    rows = []
    for fit, (_, later), one in zip(fits, halves, economies, strict=True):
        posterior = bf.align(fit).tree["posterior"]
        spread = posterior["loading"].std(("chain", "draw")).mean("test_asset").values
        found = posterior["factor_return"].values.reshape(-1, LEARNED, n_factors)
        true = one.truth["factor_return"].values[:LEARNED]
        # Of each true factor, what the learned ones explain: they may come mixed.
        lost = [np.linalg.lstsq(np.c_[np.ones(LEARNED), draw], true, rcond=None)[1] for draw in found[::25]]
        rows.append(
            {
                "score": bf.pricing_scores(fit, later)["score"].values,
                "loading_sd": float(spread.max()),
                "explained": float((1 - np.mean(lost, axis=0) / (LEARNED * true.var(axis=0))).min()),
                "status": fit.status,
            }
        )
    return rows


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.factor_count",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--economies", type=int, default=6)
    n_economies = parser.parse_args().economies
    warnings.simplefilter("ignore", BayesFactorWarning)
    economies = [bf.simulate.priced_economy(**ECONOMY, n_factors=TRUE, seed=3 + seed) for seed in range(n_economies)]
    found = {}
    for count in COUNTS:
        began = time.perf_counter()
        found[count] = measured(count, economies)
        print(f"{count}: {time.perf_counter() - began:.0f} s", flush=True)
    rows = []
    for count in COUNTS:
        gained = [one["score"] - two["score"] for one, two in zip(found[count], found[TRUE], strict=True)]
        totals = [f"{np.sum(gain):+.1f} ({np.std(gain, ddof=1) * len(gain) ** 0.5:.1f})" for gain in gained]
        rows.append(
            [
                str(count),
                ", ".join(totals) if count != TRUE else "0",
                ", ".join(f"{one['loading_sd']:.2f}" for one in found[count]),
                ", ".join(f"{one['explained']:.3f}" for one in found[count]),
                ", ".join(one["status"] for one in found[count]),
            ]
        )
    text = [
        "# How many deep factors",
        f"{line(provenance())} Made by `python -m benchmarks.factor_count --economies {n_economies}`.",
        f"{n_economies} simulated economies, `priced_economy` of {ECONOMY} with {TRUE} true deep factors beyond a "
        f"benchmark and correlated residuals, {LEARNED} months learned from and {ECONOMY['n_months'] - LEARNED} to be "
        f"priced; `SortedFactorModel(n_factors, hidden=())`, `{NUTS!r}`. One number an economy:",
        table(
            [
                "factors",
                f"score of later months against {TRUE} factors, nats (standard error)",
                "posterior sd of loadings, the least determined factor",
                "least share of a true factor that the learned ones explain",
                "status",
            ],
            rows,
        ),
        "How to read it: a missing factor should cost nats that no sampling error explains. A surplus one should gain "
        "nothing on months that it was not learned from, and have loadings that are not determined: it stands beside a "
        "true factor, and the two share what that one explains. Compare `pricing_scores` of models on the same later "
        "months, and look at the sd of `loadings`, before a deep factor is believed.",
    ]
    PAGE.write_text("\n\n".join(text) + "\n")


if __name__ == "__main__":
    main()
