"""What beginning a window where the last one ended saves, on rolling windows of a simulated economy.

    python -m benchmarks.starts [linear network]

A first window of 120 x 100 x 6 is fitted cold; the one twelve months later is fitted cold and from it. Printed only.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
import warnings
from typing import Any

import numpy as np

from benchmarks.record import line, provenance, use_compilation_cache

WARMUPS = {"linear": (50, 100, 500), "network": (50, 200)}


def windows() -> tuple[Any, Any]:
    """Two training windows of 120 months, the second a year later."""
    from bayesfactor import simulate

    panel = simulate.economy(
        n_months=132, n_assets=100, n_characteristics=6, seed=3, interactions={(0, 1): 0.01}, curvature={2: 0.01}
    ).panel
    return tuple(panel.sel(time=panel.times[first : first + 120]) for first in (0, 12))


def begun(start: Any, kind: str) -> Any:
    """Nothing, the place alone, or the place and how wide the posterior is."""
    if kind == "cold":
        return None
    unknown = {name: np.full_like(value, np.nan) for name, value in start.log_scale.items()}
    return start if kind == "warm" else dataclasses.replace(start, log_scale=unknown)


def measure(name: str) -> None:
    import bayesfactor as bf
    from bayesfactor.inference.diagnostics import diagnose_functions

    warnings.simplefilter("ignore")
    hidden = () if name == "linear" else (4,)
    model = bf.FundamentalFactorModel(hidden=hidden, activation="tanh", noise="normal")
    first, second = windows()

    def told(what: str, inference: Any, kind: str, start: Any) -> None:
        bf.fit(model, second, inference, seed=9, start=begun(start, kind)) if kind == "cold" else None  # compiles
        for seed in (1, 2):
            began = time.perf_counter()
            fit = bf.fit(model, second, inference, seed=seed, start=begun(start, kind))
            seconds = time.perf_counter() - began
            table = diagnose_functions(fit.tree["functions"].to_dataset())
            text = f"{name} {what} {kind:5} seed {seed}: {seconds:5.1f} s, largest R-hat {table['rhat'].max():.3f}, "
            text += f"smallest ESS {table['ess_bulk'].min():.0f}"
            if "guide" in fit.tree:
                bound = fit.tree["guide"]["elbo"].values
                text += f", {int(fit.tree['guide']['n_steps'][0])} steps, bound {bound[:, 0].mean():.1f} in the first "
                text += f"chunk, {bound[:, -1].mean():.1f} (spread {np.ptp(bound[:, -1]):.1f}) at last"
            else:
                statistics = fit.tree["sample_stats"]
                text += f", {int(statistics['n_steps'].max('chain').sum()):,} gradients in a row after warm-up, "
                text += f"{int(statistics['diverging'].sum())} diverged"
            print(text, flush=True)

    settings = bf.SVI()
    start = bf.fit(model, first, settings, seed=0).start
    for kind in ("cold", "place", "warm"):
        told("SVI", settings, kind, start)
    chains = {"draws": 300, "chains": 4}
    start = bf.fit(model, first, bf.NUTS(warmup=WARMUPS[name][-1], **chains), seed=0).start
    for warmup in WARMUPS[name]:
        for kind in ("cold", "warm"):
            told(f"NUTS warmup {warmup}", bf.NUTS(warmup=warmup, **chains), kind, start)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.starts", description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=list(WARMUPS), help=f"of {', '.join(WARMUPS)}")
    given = parser.parse_args()
    use_compilation_cache()
    print(line(provenance()))
    for name in given.models:
        measure(name)


if __name__ == "__main__":
    main()
