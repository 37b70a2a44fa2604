"""First rows of the performance table, as ratios measured in one run.

    python -m benchmarks [gradient sampler derivatives help]

Prints the table and writes docs/performance.md. Nothing is asserted: a ratio below its goal is shown as such.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import CACHE, ROOT, line, load, provenance, store, table, use_compilation_cache

PAGE = ROOT / "docs" / "performance.md"
RESULTS = CACHE / "performance.json"
REPEATS = 5
BY_HAND = {
    "integrated": "slopes integrated out by LowRankMultivariateNormal",
    "centred": "every month's slopes sampled, centred",
    "non-centred": "every month's slopes sampled, non-centred",
}


# ---------------------------------------------------------------------- measuring


def seconds_of(function: Callable[[], Any], repeats: int = REPEATS) -> float:
    """Median wall time of a compiled call, warm."""
    import jax

    jax.block_until_ready(function())
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(function())
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def gemm_rate(size: int = 2048) -> float:
    """float32 matrix product of this machine, FLOP/s: the best of a few, in this process."""
    import jax
    import jax.numpy as jnp

    left = jnp.ones((size, size), jnp.float32)
    product = jax.jit(lambda a: a @ a)
    jax.block_until_ready(product(left))
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        jax.block_until_ready(product(left))
        times.append(time.perf_counter() - began)
    return 2 * size**3 / min(times)


def peak_memory_mib() -> float:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def months_of(n_months: int, n_assets: int, n_characteristics: int, seed: int = 0) -> Any:
    """Simulated ranks and returns: speed depends on shapes only."""
    from bayesfactor.panel import PanelArrays

    rng = np.random.default_rng(seed)
    shape = (n_months, n_assets)
    return PanelArrays(
        characteristics=rng.uniform(-1, 1, (*shape, n_characteristics)).astype(np.float32),
        returns=(0.08 * rng.standard_normal(shape)).astype(np.float32),
        in_universe=np.ones(shape, bool),
        observed=np.ones(shape, bool),
        asset=np.broadcast_to(np.arange(n_assets, dtype=np.int32), shape),
        varies=np.ones(n_characteristics, np.float32),
        return_scale=np.asarray(0.08, np.float32),
        periods_per_year=np.asarray(12.0, np.float32),
    )


# ---------------------------------------------------------------------- rows


def gradient_row(n_months: int, n_assets: int, n_characteristics: int, hidden: tuple[int, ...]) -> dict[str, Any]:
    """Gradient of the log density of a network model against its matrix products at the GEMM rate."""
    import jax
    from numpyro.infer.util import initialize_model

    from bayesfactor.models import FundamentalFactorModel

    model = FundamentalFactorModel(hidden=hidden, activation="tanh", noise="normal")
    data = jax.tree.map(jax.numpy.asarray, model.data(months_of(n_months, n_assets, n_characteristics)))
    start = initialize_model(jax.random.key(0), model, model_args=(data,), dynamic_args=True)
    gradient = jax.jit(jax.value_and_grad(lambda z, data: start.potential_fn(data)(z)))
    seconds = seconds_of(lambda: gradient(start.param_info.z, data))
    widths = (n_characteristics, *hidden)
    rows = n_months * n_assets
    layers = sum(a * b for a, b in pairwise(widths))
    # Forward, weights' and inputs' derivatives of every layer (the first needs no inputs'), and the features' Gram
    # matrix with its derivative.
    n_features = len(model.feature_names(tuple(map(str, range(n_characteristics)))))
    flops = 2.0 * rows * (3 * layers - widths[0] * widths[1] + 2 * n_features**2)
    rate = gemm_rate()
    return {
        "what": f"gradient of the log density, tanh {hidden}, {n_months} x {n_assets} x {n_characteristics}, float32",
        "found": f"{seconds * 1e3:.1f} ms, {flops / seconds / 1e9:.1f} of {rate / 1e9:.0f} GFLOP/s",
        "ratio": f"{flops / seconds / rate:.0%} of the GEMM rate",
        "goal": ">= 30%",
        "met": flops / seconds >= 0.3 * rate,
    }


def sampler_row(opponent: str) -> dict[str, Any]:
    """Our NUTS against the same linear model written out in NumPyro; opponents are entries of `BY_HAND`."""
    import jax
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as dist
    from arviz_stats.base import array_stats
    from numpyro.infer import MCMC
    from numpyro.infer import NUTS as NumPyroNUTS

    from bayesfactor import NUTS, simulate
    from bayesfactor.inference.sampling import run_nuts
    from bayesfactor.models import FundamentalFactorModel

    n_draws, chains = 200, 2
    economy = simulate.economy(n_months=60, n_assets=100, n_characteristics=3, seed=1)
    arrays = economy.panel.arrays()
    model = FundamentalFactorModel(hidden=(), noise="normal")

    def by_hand(z: Any, r: Any) -> None:
        n_months, n_features = r.shape[0], z.shape[-1] + 1
        design = jnp.concatenate([jnp.ones((*r.shape, 1)), z], axis=-1)
        deviation = jnp.array([model.intercept_sd] + [model.slope_sd] * (n_features - 1))
        typical = jnp.array([model.intercept_variation] + [model.slope_variation] * (n_features - 1))
        mean = deviation * numpyro.sample("mean_base", dist.Normal(0, 1).expand([n_features]).to_event(1))
        numpyro.deterministic("mean", mean)
        half_t = dist.FoldedDistribution(dist.StudentT(4.0)).expand([n_features]).to_event(1)
        root = (typical * numpyro.sample("scale", half_t))[:, None]
        root = root * numpyro.sample("root", dist.LKJCholesky(n_features, 2.0))
        level = numpyro.sample("level", dist.Normal(0, 0.5))
        variation = model.noise_variation * numpyro.sample("variation", dist.HalfNormal(1.0))
        noise = numpyro.sample("noise", dist.Normal(0, 1).expand([n_months]).to_event(1))
        sigma = arrays.return_scale * jnp.exp(level + variation * noise)
        if opponent == "integrated":
            diagonal = jnp.broadcast_to(sigma[:, None] ** 2, r.shape)
            law = dist.LowRankMultivariateNormal(design @ mean, design @ root, diagonal)
            numpyro.sample("r", law.to_event(1), obs=r)
            return
        if opponent == "centred":
            law = dist.MultivariateNormal(mean, scale_tril=root).expand([n_months]).to_event(1)
            slopes = numpyro.sample("slopes", law)
        else:
            base = numpyro.sample("slopes", dist.Normal(0, 1).expand([n_months, n_features]).to_event(2))
            slopes = mean + base @ root.T
        expected = jnp.einsum("tnf,tf->tn", design, slopes)
        numpyro.sample("r", dist.Normal(expected, sigma[:, None]).to_event(2), obs=r)

    def smallest(values: np.ndarray) -> float:
        ess = array_stats.ess(np.asarray(values, float), method="bulk", chain_axis=0, draw_axis=1)
        return float(np.min(ess))

    def raced(run: Callable[[int], np.ndarray]) -> tuple[float, float]:
        """Smallest ESS of an average slope and seconds, after a run that compiles."""
        run(0)
        began = time.perf_counter()
        draws = run(1)
        return smallest(draws), time.perf_counter() - began

    with jax.enable_x64(True):
        z, r = jnp.asarray(arrays.characteristics), jnp.asarray(arrays.returns)
        data = model.data(arrays)
        settings = NUTS(warmup=n_draws, draws=n_draws, chains=chains)
        mcmc = MCMC(
            NumPyroNUTS(by_hand, init_strategy=numpyro.infer.init_to_uniform(radius=0.1)),
            num_warmup=n_draws, num_samples=n_draws, num_chains=chains,
            chain_method="vectorized", progress_bar=False, jit_model_args=True,
        )  # fmt: skip

        def theirs(seed: int) -> np.ndarray:
            mcmc.run(jax.random.key(seed), z, r)
            return np.asarray(mcmc.get_samples(group_by_chain=True)["mean"])

        our_ess, our_seconds = raced(
            lambda seed: run_nuts(model, data, settings, jax.random.key(seed)).posterior["slope_mean"]
        )
        their_ess, their_seconds = raced(theirs)
    ratio = (our_ess / our_seconds) / (their_ess / their_seconds)
    goal = 1 if opponent == "integrated" else 3
    return {
        "what": f"NUTS {chains} x ({n_draws} + {n_draws}), linear model, 60 x 100 x 3, float64, against the same model "
        f"in NumPyro, {BY_HAND[opponent]}; vectorised chains, both warm",
        "found": f"smallest ESS of an average slope {our_ess:.0f} in {our_seconds:.1f} s against {their_ess:.0f} in "
        f"{their_seconds:.1f} s",
        "ratio": f"{ratio:.1f} x ESS/s",
        "goal": f">= {goal} x",
        "met": ratio >= goal,
    }


def derivatives_row(order: int, hidden: tuple[int, ...], n_draws: int) -> dict[str, Any]:
    """Bands of first or second derivatives by the package's sums against automatic differentiation and FLOPs."""
    import jax
    import jax.numpy as jnp

    from bayesfactor.models import FundamentalFactorModel

    n_stocks, n_inputs = 1000, 49
    model = FundamentalFactorModel(hidden=hidden, activation="tanh", noise="normal")
    rng = np.random.default_rng(0)
    widths = (n_inputs, *hidden)
    params = {}
    for layer, (before, after) in enumerate(pairwise(widths)):
        weight = rng.standard_normal((n_draws, after, before)) / np.sqrt(before)
        params[f"network.layers[{layer}].weight"] = jnp.asarray(weight, jnp.float32)
        params[f"network.layers[{layer}].bias"] = jnp.asarray(rng.standard_normal((n_draws, after)), jnp.float32)
    n_features = len(model.feature_names(tuple(map(str, range(n_inputs)))))
    params["slope_mean"] = jnp.asarray(0.01 * rng.standard_normal((n_draws, n_features)), jnp.float32)
    z = jnp.asarray(rng.uniform(-1, 1, (n_stocks, n_inputs)), jnp.float32)
    weights = jnp.full(n_stocks, 1 / n_stocks, jnp.float32)
    sums = model.gradient_sums if order == 1 else model.hessian_sums
    ours = jax.jit(lambda params: jax.lax.map(lambda draw: sums(draw, z, weights), params))
    seconds = seconds_of(lambda: ours(params), 3 if order == 1 else 1)
    memory = peak_memory_mib()

    def automatic(draw: Any) -> Any:
        def response(row: Any) -> Any:
            return model.response(draw, row[None])[0]

        derivative = jax.grad(response) if order == 1 else jax.hessian(response)
        values = jax.lax.map(derivative, z, batch_size=100)
        return jnp.tensordot(weights, values, axes=1), jnp.tensordot(weights, values**2, axes=1)

    few = max(1, n_draws // 50)
    some = jax.tree.map(lambda leaf: leaf[:few], params)
    reference = jax.jit(lambda params: jax.lax.map(automatic, params))
    their_seconds = seconds_of(lambda: reference(some), 1) * n_draws / few
    rate = gemm_rate()
    layers = sum(a * b for a, b in pairwise(widths))
    first, inner = widths[1], layers - widths[0] * widths[1]
    if order == 1:
        flops = 2.0 * n_draws * n_stocks * (layers + inner + widths[0] * first)  # forward, backward to the inputs
    elif len(hidden) == 1:
        flops = 2.0 * n_draws * (n_stocks * (layers + first**2) + first**2 * n_inputs**2)
    else:
        # Per stock: the second layer's curvature in the first layer's space, then W' H W.
        flops = (
            2.0
            * n_draws
            * n_stocks
            * (layers + inner + widths[2] * first**2 + first**2 * n_inputs + first * n_inputs**2)
        )
    ideal = flops / rate
    name = "sensitivities" if order == 1 else "interactions"
    versus = "reverse mode" if order == 1 else "forward over reverse"
    speedup = their_seconds / seconds
    met = seconds <= 2 * ideal if order == 1 else speedup >= 2.8 and memory < 2048
    return {
        "what": f"{name}, {n_draws:,} draws x {n_stocks:,} stocks x {n_inputs}, tanh {hidden}, float32",
        "found": f"{seconds:.2f} s; {ideal:.2f} s of FLOPs at {rate / 1e9:.0f} GFLOP/s; {versus} {their_seconds:.1f} s "
        f"(from {few} draws); peak memory {memory:,.0f} MiB",
        "ratio": f"{seconds / ideal:.1f} x its FLOPs, {speedup:.1f} x faster than {versus}",
        "goal": "<= 2 x its FLOPs" if order == 1 else ">= 2.8 x, < 2 GB",
        "met": bool(met),
    }


def help_row() -> dict[str, Any]:
    """Wall time of the command line's help."""
    program = Path(sys.executable).with_name("bayesfactor")
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        subprocess.run([program, "--help"], check=True, capture_output=True)
        times.append(time.perf_counter() - began)
    return {
        "what": "`bayesfactor --help`, wall time",
        "found": f"{np.median(times):.2f} s (median of {REPEATS})",
        "ratio": f"{np.median(times):.2f} s",
        "goal": "< 1 s",
        "met": bool(np.median(times) < 1),
    }


ROWS: dict[str, Callable[[], dict[str, Any]]] = {
    "help": help_row,
    "gradient-demo": partial(gradient_row, 16, 400, 20, (8,)),
    "gradient-wide": partial(gradient_row, 140, 1500, 23, (50,)),
    "sensitivities-50": partial(derivatives_row, 1, (50,), 1000),
    "sensitivities-50-50": partial(derivatives_row, 1, (50, 50), 1000),
    "interactions-50": partial(derivatives_row, 2, (50,), 1000),
    "interactions-50-50": partial(derivatives_row, 2, (50, 50), 200),
    **{f"sampler-{opponent}": partial(sampler_row, opponent) for opponent in BY_HAND},
}


def page(results: dict[str, Any]) -> str:
    """The page, from the rows of the last run."""
    import os

    rows = [
        [row["what"], row["found"], row["ratio"], row["goal"], "yes" if row["met"] else "no"]
        for row in (results[name] for name in ROWS if name in results)
    ]
    load_average = os.getloadavg()[1]
    return "\n\n".join(
        [
            "# Performance",
            f"{line(provenance())} Load average while measuring: {load_average:.1f}.",
            "A row's two numbers come from one process; rows are of the last time each was measured, and this page's "
            "load average is of its writing. On a machine with other work both numbers of a ratio suffer, not equally. "
            "Ratios of two things measured in one process, warm. FLOPs count matrix products only, an activation is "
            "free; the GEMM rate is a 2048 x 2048 float32 product in the same process. Peak memory is the whole "
            "process's, JAX included.",
            table(["what", "found", "ratio", "goal", "met"], rows),
            "Of the hand-written samplers the one with slopes integrated out does what the package does; the other two "
            "are what a first program looks like.",
            "Made by `python -m benchmarks`.\n",
        ]
    )


def main() -> None:
    """Every row in a process of its own, so that peak memory is its own."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", default=list(ROWS), help=f"of {', '.join(ROWS)}")
    parser.add_argument("--here", action="store_true", help="measure one row in this process and print it as JSON")
    given = parser.parse_args()
    use_compilation_cache()
    if given.here:
        print(json.dumps(ROWS[given.rows[0]]()))
        return
    for name in given.rows:
        command = [sys.executable, "-m", "benchmarks", name, "--here"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{name}: failed\n{done.stderr[-2000:]}", flush=True)
            continue
        row = json.loads(done.stdout.splitlines()[-1])
        store(RESULTS, load(RESULTS) | {name: row})
        print(f"{name}: {row['found']}; {row['ratio']} (goal {row['goal']})", flush=True)
        PAGE.write_text(page(load(RESULTS)))


if __name__ == "__main__":
    main()
