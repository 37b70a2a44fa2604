"""First rows of the performance table, as ratios measured in one run.

    python -m benchmarks [help gradient-demo svi-repeated chains size-assets ...]

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


def seconds_once(function: Callable[[], Any]) -> float:
    """Wall time of one call."""
    import jax

    began = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - began


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
    z = rng.random((*shape, n_characteristics), np.float32)
    z *= 2
    z -= 1
    return PanelArrays(
        characteristics=z,
        returns=(0.08 * rng.standard_normal(shape)).astype(np.float32),
        in_universe=np.ones(shape, bool),
        observed=np.ones(shape, bool),
        asset=np.broadcast_to(np.arange(n_assets, dtype=np.int32), shape),
        varies=np.ones(n_characteristics, np.float32),
        return_scale=np.asarray(0.08, np.float32),
        periods_per_year=np.asarray(12.0, np.float32),
    )


# ---------------------------------------------------------------------- rows


def gradient_flops(rows: int, n_characteristics: int, hidden: tuple[int, ...]) -> float:
    """Of a network's log density and its gradient, matrix products only.

    Forward, weights' and inputs' derivatives of every layer (the first needs no inputs'), and the features' Gram matrix
    with its derivative.
    """
    widths = (n_characteristics, *hidden)
    layers = sum(a * b for a, b in pairwise(widths))
    return 2.0 * rows * (3 * layers - widths[0] * widths[1] + 2 * (hidden[-1] + 1) ** 2)


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
    flops = gradient_flops(n_months * n_assets, n_characteristics, hidden)
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


def repeated_row(n_fits: int = 3, steps: int = 300) -> dict[str, Any]:
    """Fits of one shape, other data each time: compiled programs against NumPyro's `SVI.run`, which compiles anew."""
    import jax
    import jax.numpy as jnp
    import optax
    from numpyro.infer import SVI as NumPyroSVI
    from numpyro.infer import Trace_ELBO, init_to_uniform
    from numpyro.infer.autoguide import AutoNormal

    from bayesfactor import SVI
    from bayesfactor.inference.variational import run_svi
    from bayesfactor.models import FundamentalFactorModel

    # What the persistent cache would save of compiling is not what a user of `SVI.run` has.
    jax.config.update("jax_enable_compilation_cache", False)
    shape = (24, 100, 10)
    model = FundamentalFactorModel(hidden=(8,), activation="tanh", noise="normal")
    settings = SVI(guide="normal", steps=steps, restarts=2, draws=100)

    def data_of(seed: int) -> Any:
        return jax.tree.map(jnp.asarray, model.data(months_of(*shape, seed=seed)))

    def seconds(function: Callable[[int], Any], seed: int) -> float:
        began = time.perf_counter()
        jax.block_until_ready(function(seed))
        return time.perf_counter() - began

    def ours(seed: int) -> Any:
        return run_svi(model, data_of(seed), settings, jax.random.key(seed)).posterior

    def theirs(seed: int) -> Any:
        guide = AutoNormal(model, init_loc_fn=init_to_uniform(radius=settings.start_radius))
        svi = NumPyroSVI(model, guide, optax.adam(0.02), Trace_ELBO(num_particles=settings.particles))
        return svi.run(jax.random.key(seed), steps, data_of(seed), progress_bar=False).params

    first = seconds(ours, 0)
    theirs(0)  # whatever compiles once a process
    pairs = [(seconds(ours, seed), seconds(theirs, seed)) for seed in range(1, n_fits + 1)]
    our_seconds, their_seconds = (float(np.median(column)) for column in zip(*pairs, strict=True))
    ratio = their_seconds / our_seconds
    twenty = 20 * their_seconds / (first + 19 * our_seconds)
    return {
        "what": f"repeated SVI fits, independent normal guide, {steps} steps of {settings.particles} particles, "
        f"network (8,), {shape[0]} x {shape[1]} x {shape[2]}, other data each time: ours ({settings.restarts} "
        "restarts, k-hat and draws included) against `numpyro.infer.SVI.run` (one fit), no persistent cache",
        "found": f"{our_seconds:.2f} s a fit (the first, which compiles, {first:.1f} s) against {their_seconds:.2f} s "
        f"(medians of {n_fits})",
        "ratio": f"{ratio:.1f} x warm; {twenty:.1f} x over 20 fits with our compiling",
        "goal": ">= 8 x",
        "met": ratio >= 8,
    }


def windows_row(n_assets: int, n_windows: int = 8, steps: int = 300) -> dict[str, Any]:
    """Windows of one shape as one program against a loop over the compiled fit of one."""
    import jax
    import jax.numpy as jnp

    from bayesfactor import SVI
    from bayesfactor.inference.variational import run_svi
    from bayesfactor.models import FundamentalFactorModel

    n_months, n_characteristics = 24, 10
    model = FundamentalFactorModel(hidden=(8,), activation="tanh", noise="normal")
    settings = SVI(steps=steps, restarts=2, draws=64, polish=4)
    windows = [model.data(months_of(n_months, n_assets, n_characteristics, seed)) for seed in range(n_windows)]
    together = jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *windows)
    keys = jax.random.split(jax.random.key(0), n_windows)

    def looped() -> list[Any]:
        return [run_svi(model, data, settings, key).posterior for data, key in zip(windows, keys, strict=True)]

    def at_once() -> Any:
        return run_svi(model, together, settings, keys, many=True).posterior

    run_svi(model, windows[0], settings, keys[0])
    at_once()
    pairs = [(seconds_once(at_once), seconds_once(looped)) for _ in range(2)]
    once, loop = (float(np.min(column)) for column in zip(*pairs, strict=True))
    goal = 2.0 if n_assets <= 100 else 1.3
    return {
        "what": f"{n_windows} windows of {n_months} x {n_assets} x {n_characteristics} as one program against a loop "
        f"over the compiled fit, network (8,), default guide, {steps} steps, {settings.restarts} restarts",
        "found": f"{once:.1f} s against {loop:.1f} s (best of 2)",
        "ratio": f"{loop / once:.2f} x",
        "goal": f">= {goal} x",
        "met": loop >= goal * once,
    }


def chains_row(n_draws: int = 30) -> dict[str, Any]:
    """Four NUTS chains in one program against one chain in the same program with a batch of one."""
    import jax

    from bayesfactor import NUTS
    from bayesfactor.inference.sampling import run_nuts
    from bayesfactor.models import FundamentalFactorModel

    n_inputs, hidden = 49, (50, 50)
    model = FundamentalFactorModel(hidden=hidden, activation="tanh", noise="normal", pooling="full")
    data = model.data(months_of(10, 100, n_inputs))

    def settings_of(chains: int) -> NUTS:
        settings = NUTS(warmup=n_draws, draws=n_draws, chains=2)
        object.__setattr__(settings, "chains", chains)  # the package refuses a single chain: none can be judged
        return settings

    def run(chains: int, seed: int) -> tuple[float, float]:
        """Seconds, and gradients of one chain when all wait for the longest tree of each draw."""
        began = time.perf_counter()
        draws = run_nuts(model, data, settings_of(chains), jax.random.key(seed))
        return time.perf_counter() - began, float(draws.statistics["n_steps"].max(axis=0).sum())

    run(1, 0)
    print("one chain is compiled", file=sys.stderr, flush=True)
    run(4, 0)
    print("four chains are compiled", file=sys.stderr, flush=True)
    found = {chains: [run(chains, seed) for seed in (1, 2)] for chains in (1, 4)}
    one, four = (float(np.mean([seconds for seconds, _ in found[chains]])) for chains in (1, 4))
    one_steps, four_steps = (float(np.mean([steps for _, steps in found[chains]])) for chains in (1, 4))
    return {
        "what": f"NUTS {n_draws} + {n_draws}, network {hidden}, full pooling, 10 x 100 x {n_inputs}, float32: four "
        "chains in one program against the same program with one (which the package itself refuses), means of 2 seeds",
        "found": f"{four:.1f} s against {one:.1f} s; gradients in a row after warm-up {four_steps:,.0f} against "
        f"{one_steps:,.0f}, so {four / four_steps / (one / one_steps):.1f} x a gradient of four against one",
        "ratio": f"{four / one:.2f} x",
        "goal": "<= 2.2 x",
        "met": four <= 2.2 * one,
    }


def growth(what: str, names: list[str], seconds: list[float], buffers: list[float], limit: float) -> dict[str, Any]:
    """A row of time and memory at sizes each twice the one before; within a tenth of the limit is met."""
    of_time, of_memory = ([after / before for before, after in pairwise(values)] for values in (seconds, buffers))
    each = ", ".join(
        f"{name}: {1e3 * s:.1f} ms, {b / 2**20:.1f} MiB" for name, s, b in zip(names, seconds, buffers, strict=True)
    )

    def told(ratios: list[float]) -> str:
        return ", ".join(f"{ratio:.2f}" for ratio in ratios)

    return {
        "what": f"{what}; memory is the compiled program's buffers, data included",
        "found": each,
        "ratio": f"a doubling costs {told(of_time)} x the time and {told(of_memory)} x the memory",
        "goal": f"<= {limit:.0f} x (10% for noise)",
        "met": max(of_time + of_memory) <= 1.1 * limit,
    }


def program_buffers(compiled: Any) -> float:
    """Bytes of a compiled program's arguments, results and temporaries at once."""
    sizes = compiled.memory_analysis()
    return float(sizes.argument_size_in_bytes + sizes.output_size_in_bytes + sizes.temp_size_in_bytes)


def size_row(dimension: str, doublings: int = 3) -> dict[str, Any]:
    """Gradient of a network's log density as the panel doubles in one dimension, or sensitivities as draws do."""
    import jax
    import jax.numpy as jnp
    from numpyro.infer.util import initialize_model

    from bayesfactor.models import FundamentalFactorModel

    base = {"months": 60, "assets": 500, "characteristics": 20, "draws": 250}
    hidden = (32,)
    model = FundamentalFactorModel(hidden=hidden, activation="tanh", noise="normal")
    names, buffers = [], []
    calls: list[Callable[[], Any]] = []
    for doubling in range(doublings + 1):
        size = base | {dimension: base[dimension] * 2**doubling}
        if dimension == "draws":
            rng = np.random.default_rng(0)
            shapes = {
                "network.layers[0].weight": (hidden[0], size["characteristics"]),
                "network.layers[0].bias": hidden,
                "slope_mean": (hidden[0] + 1,),
            }
            params = {
                name: jnp.asarray(rng.standard_normal((size["draws"], *shape)), jnp.float32)
                for name, shape in shapes.items()
            }
            z = jnp.asarray(rng.uniform(-1, 1, (1000, size["characteristics"])), jnp.float32)
            weights = jnp.full(len(z), 1 / len(z), jnp.float32)
            function = jax.jit(
                lambda params, z, weights: jax.lax.map(lambda draw: model.gradient_sums(draw, z, weights), params)
            )
            arguments: tuple[Any, ...] = (params, z, weights)
        else:
            arrays = months_of(size["months"], size["assets"], size["characteristics"])
            data = jax.tree.map(jnp.asarray, model.data(arrays))
            start = initialize_model(jax.random.key(0), model, model_args=(data,), dynamic_args=True)
            function = jax.jit(jax.value_and_grad(lambda z, data, start=start: start.potential_fn(data)(z)))
            arguments = (start.param_info.z, data)
        compiled = function.lower(*arguments).compile()
        buffers.append(program_buffers(compiled))
        calls.append(partial(compiled, *arguments))
        names.append(f"{size[dimension]:,}")
    # In turn, and the best of many: what else the machine does must not look like growth.
    seconds = [min(times) for times in zip(*[[seconds_once(call) for call in calls] for _ in range(15)], strict=True)]
    if dimension == "draws":
        what = f"sensitivities of a network {hidden}, 1,000 stocks x 20, draws doubled"
    else:
        shape = " x ".join(f"{base[name]}" for name in ("months", "assets", "characteristics"))
        what = f"gradient of the log density, network {hidden}, {dimension} doubled from {shape} (months x assets x K)"
    return growth(what, names, seconds, buffers, 4.0 if dimension == "characteristics" else 2.0)


def bound_row(n_months: int, n_assets: int, n_characteristics: int, hidden: tuple[int, ...]) -> dict[str, Any]:
    """A step of the default guide, its slopes integrated out, against its matrix products at the GEMM rate."""
    import jax
    import jax.numpy as jnp

    from bayesfactor import SVI
    from bayesfactor.inference import space, variational
    from bayesfactor.models import FundamentalFactorModel

    model = FundamentalFactorModel(hidden=hidden, activation="tanh", noise="normal")
    data = jax.tree.map(jnp.asarray, model.data(months_of(n_months, n_assets, n_characteristics)))
    settings = SVI(restarts=2)
    plan = variational.plan_for(model, settings, data)
    programs = variational.programs_for(model, settings, plan)
    steps = 10
    state, _ = programs.start(jax.random.split(jax.random.key(0), settings.restarts), data)
    times = []
    for _ in range(4):  # the first compiles
        began = time.perf_counter()
        state, losses = programs.advance(state, data, jnp.float32(0.01), jnp.asarray(False), steps)
        jax.block_until_ready(losses)
        times.append((time.perf_counter() - began) / steps)
    seconds = float(np.median(times[1:]))
    size = space.size_of(space.layout(model.collapsed if plan.collapsed else model, data))
    # Of a full covariance: the product of its root with the normals, and its derivative.
    root = 2 * 2.0 * size**2 if plan.kind == "full" else 0.0
    flops = settings.restarts * settings.particles * (
        gradient_flops(n_months * n_assets, n_characteristics, hidden) + root
    )  # fmt: skip
    rate = gemm_rate()
    return {
        "what": f"a step of the default guide ({plan.kind}, {size:,} parameters"
        f"{', slopes integrated out' * plan.collapsed}), {settings.restarts} restarts x {settings.particles} "
        f"particles, tanh {hidden}, {n_months} x {n_assets} x {n_characteristics}, float32",
        "found": f"{seconds * 1e3:.1f} ms, {flops / seconds / 1e9:.1f} of {rate / 1e9:.0f} GFLOP/s",
        "ratio": f"{flops / seconds / rate:.0%} of the GEMM rate",
        "goal": ">= 30%",
        "met": flops / seconds >= 0.3 * rate,
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
    "svi-step-wide": partial(bound_row, 140, 1500, 23, (50,)),
    "svi-step-deep": partial(bound_row, 10, 100, 49, (50, 50)),
    "svi-repeated": repeated_row,
    "windows-100": partial(windows_row, 100),
    "windows-1000": partial(windows_row, 1000),
    "chains": chains_row,
    **{f"size-{name}": partial(size_row, name) for name in ("months", "assets", "characteristics", "draws")},
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
            "Elsewhere: [guides against NUTS](guides.md), [whole panels](panels.md), [reading and ranking ten million "
            "rows](reading.md), [streamed and killed runs](reliability.md), [deep sorted factors at the paper's "
            "size](deep_factors.md).",
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
        print(f"{name} ...", flush=True)
        command = [sys.executable, "-m", "benchmarks", name, "--here"]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            print(f"{name}: failed, exit {done.returncode}", flush=True)
            continue
        row = json.loads(done.stdout.splitlines()[-1])
        store(RESULTS, load(RESULTS) | {name: row})
        print(f"{name}: {row['found']}; {row['ratio']} (goal {row['goal']})", flush=True)
        PAGE.write_text(page(load(RESULTS)))


if __name__ == "__main__":
    main()
