"""Deep sorted factors: time and memory at the paper's size against torch, and NUTS on both programs.

    python -m benchmarks.deep_factors [step-1 ... step-4 epoch evidence nuts]

Panels have the size of Feng, Polson and Xu (2020): 540 months, 3,000 stocks, 62 characteristics, 366 portfolios, of
random numbers. Every row runs in processes of its own and is kept in .cache/deep_factors.json as soon as it is done;
rows that are named are measured anew, without names those that are lacking. The page is docs/deep_factors.md.

torch is no dependency of the package. Where it is not installed ours alone is measured. An environment that has it:

    python -m venv /tmp/torch && /tmp/torch/bin/pip install torch -e .
    /tmp/torch/bin/python -m benchmarks.deep_factors
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from benchmarks.__main__ import gemm_rate, months_of, peak_memory_mib, seconds_once
from benchmarks.record import CACHE, ROOT, line, load, provenance, store, table, use_compilation_cache

RESULTS = CACHE / "deep_factors.json"
PAGE = ROOT / "docs" / "deep_factors.md"
N_MONTHS, BATCH, N_STOCKS, N_CHARACTERISTICS, N_PORTFOLIOS = 540, 120, 3000, 62, 366
N_FACTORS, N_BENCHMARKS, WIDTH, LAYERS = 5, 3, 32, (1, 2, 3, 4)
MAIN = 3  # layers of PERFORMANCE.md's row
CHAINS = (2, 4)
DRAWS = 300  # of each of two chains
REPEATS = 7
EPOCH = N_MONTHS / BATCH  # steps
MIB = 2**20
GOALS = {"eager": 4.0, "compiled": 2.5}
TEMPORARIES = 20e6  # bytes beyond the data


def hidden_of(layers: int) -> tuple[int, ...]:
    """The paper's L: the last layer makes deep characteristics."""
    return (WIDTH,) * (layers - 1)


def paper_months(n_months: int, n_portfolios: int = N_PORTFOLIOS) -> Any:
    """Arrays of a panel with benchmarks and test portfolios: speed depends on shapes only."""
    rng = np.random.default_rng(1)

    def returns(sd: float, size: int) -> np.ndarray:
        return (sd * rng.standard_normal((n_months, size))).astype(np.float32)

    months = months_of(n_months, N_STOCKS, N_CHARACTERISTICS)
    return months._replace(benchmarks=returns(0.04, N_BENCHMARKS), portfolios=returns(0.05, n_portfolios))


def network_flops(rows: int, hidden: tuple[int, ...]) -> float:
    """Matrix products of the deep characteristics and their gradient; what is computed twice is counted once."""
    widths = (N_CHARACTERISTICS, *hidden, N_FACTORS)
    layers = sum(before * after for before, after in pairwise(widths))
    return 2.0 * rows * (3 * layers - widths[0] * widths[1])


def one_variance(hidden: tuple[int, ...]) -> Any:
    """The model whose loss is the paper's sum of squares."""
    from bayesfactor.models import SortedFactorModel

    return SortedFactorModel(n_factors=N_FACTORS, hidden=hidden, residual_covariance="common")


class Times(NamedTuple):
    """Median and best wall time, and the least processor time, seconds."""

    median: float
    best: float
    processor: float


def interleaved(calls: dict[str, Callable[[], Any]], repeats: int = REPEATS) -> dict[str, Times]:
    """Times of calls that take turns, after one round to warm up."""
    for call in calls.values():
        seconds_once(call)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            began = time.process_time()
            wall = seconds_once(call)
            found[name].append((wall, time.process_time() - began))
    return {
        name: Times(float(np.median(walls)), min(walls), min(processor))
        for name, (walls, processor) in ((name, zip(*rows, strict=True)) for name, rows in found.items())
    }


# ---------------------------------------------------------------------- the same in torch


class TorchStep:
    """Network, standardised, softmax of -50 exp(-5 y), long less short, and the sum of squared residuals, by Adam."""

    def __init__(self, hidden: tuple[int, ...], weights: dict[str, Any] | None = None) -> None:
        import torch

        rng = np.random.default_rng(2)
        widths = (N_CHARACTERISTICS, *hidden)

        def parameter(name: str, *shape: int) -> Any:
            drawn = rng.standard_normal(shape) / np.sqrt(shape[-1]) if weights is None else np.asarray(weights[name])
            return torch.nn.Parameter(torch.tensor(drawn.astype(np.float32)))

        self.layers = [
            (parameter(f"weight_{layer}", after, before), parameter(f"bias_{layer}", after))
            for layer, (before, after) in enumerate(pairwise(widths))
        ]
        self.last = parameter("last", N_FACTORS, widths[-1])
        self.alpha = parameter("alpha", N_PORTFOLIOS)
        self.loading = parameter("loading", N_PORTFOLIOS, N_FACTORS)
        self.benchmark_loading = parameter("benchmark_loading", N_PORTFOLIOS, N_BENCHMARKS)
        parameters = [
            self.last,
            self.alpha,
            self.loading,
            self.benchmark_loading,
            *(w for at in self.layers for w in at),
        ]
        self.optimiser = torch.optim.Adam(parameters, lr=0.01)

    def loss(self, z: Any, returns: Any, benchmarks: Any, portfolios: Any) -> Any:
        from torch.nn.functional import linear

        inner = z
        for weight, bias in self.layers:
            inner = linear(inner, weight, bias).tanh()
        y = linear(inner, self.last)  # (month, stock, factor)
        y = (y - y.mean(1, keepdim=True)) / y.std(1, keepdim=True, unbiased=False)
        weights = (-50 * (-5 * y).exp()).softmax(1) - (-50 * (5 * y).exp()).softmax(1)
        factors = (weights * returns[..., None]).sum(1)
        explained = self.alpha + factors @ self.loading.T + benchmarks @ self.benchmark_loading.T
        return ((portfolios - explained) ** 2).sum()

    def step(self, loss: Callable[..., Any], *data: Any) -> float:
        self.optimiser.zero_grad(set_to_none=True)
        value = loss(*data)
        value.backward()
        self.optimiser.step()
        return float(value.detach())


def torch_data(arrays: Any) -> tuple[Any, ...]:
    import torch

    parts = (arrays.characteristics, arrays.returns, arrays.benchmarks, arrays.portfolios)
    return tuple(torch.from_numpy(np.ascontiguousarray(part)) for part in parts)


def torch_gemm_rate(size: int = 2048) -> float:
    """As `gemm_rate`."""
    import torch

    left = torch.ones(size, size)
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        left @ left
        times.append(time.perf_counter() - began)
    return float(2 * size**3 / min(times[1:]))


def largest_difference(hidden: tuple[int, ...], arrays: Any, data: Any) -> float:
    """Between the gradients of torch's loss and of the same sum of squares made of the model's factors, relative."""
    import jax
    import jax.numpy as jnp

    model, rng = one_variance(hidden), np.random.default_rng(2)
    widths = (N_CHARACTERISTICS, *hidden)
    names = [f"network.layers[{layer}]" for layer in range(len(hidden))]
    shapes = {"last": (N_FACTORS, widths[-1]), "loading": (N_PORTFOLIOS, N_FACTORS)}
    shapes |= {"alpha": (N_PORTFOLIOS,), "benchmark_loading": (N_PORTFOLIOS, N_BENCHMARKS)}
    for layer, (before, after) in enumerate(pairwise(widths)):
        shapes |= {f"weight_{layer}": (after, before), f"bias_{layer}": (after,)}
    weights = {name: (rng.standard_normal(s) / np.sqrt(s[-1])).astype(np.float32) for name, s in shapes.items()}

    def loss(weights: dict[str, Any]) -> Any:
        params = {"sort_weight": weights["last"]}
        for layer, name in enumerate(names):
            params |= {f"{name}.weight": weights[f"weight_{layer}"], f"{name}.bias": weights[f"bias_{layer}"]}
        explained = weights["alpha"] + model.factor_returns(params, data) @ weights["loading"].T
        explained = explained + jnp.asarray(data.benchmarks) @ weights["benchmark_loading"].T
        return jnp.sum((jnp.asarray(data.assets) - explained) ** 2)

    ours = jax.jit(jax.grad(loss))({name: jnp.asarray(value) for name, value in weights.items()})
    theirs = TorchStep(hidden, weights)
    theirs.loss(*torch_data(arrays)).backward()
    found = {"last": theirs.last, "loading": theirs.loading, "alpha": theirs.alpha}
    for layer, (weight, bias) in enumerate(theirs.layers):
        found |= {f"weight_{layer}": weight, f"bias_{layer}": bias}
    differences = []
    for name, parameter in found.items():
        want, got = np.asarray(ours[name]), parameter.grad.numpy()
        differences.append(float(np.abs(want - got).max() / np.abs(want).max()))
    return max(differences)


# ---------------------------------------------------------------------- rows


def step_row(layers: int) -> dict[str, Any]:
    """A step of Adam on a minibatch of months: the gradient of the joint program, and the same in torch."""
    import jax
    import jax.numpy as jnp
    import optax

    from bayesfactor.inference import space
    from bayesfactor.inference.sampling import COMPILER
    from bayesfactor.inference.streaming import cast

    hidden = hidden_of(layers)
    model, arrays = one_variance(hidden), paper_months(BATCH)
    data = jax.tree.map(jnp.asarray, cast(model.data(arrays), False))
    point, _ = space.start_point(model.joint, jax.random.key(0), data, 0.1)
    optimiser = optax.adam(0.01)

    def step(point: Any, moments: Any, data: Any) -> tuple[Any, Any, Any]:
        value, slope = jax.value_and_grad(partial(space.potential, model.joint, data))(point)
        update, moments = optimiser.update(slope, moments)
        return optax.apply_updates(point, update), moments, value

    moments = optimiser.init(point)
    compiled = jax.jit(step).lower(point, moments, data).compile(compiler_options=COMPILER)
    calls: dict[str, Callable[[], Any]] = {"ours": lambda: compiled(point, moments, data)}
    result: dict[str, Any] = {}
    if find_spec("torch"):
        import torch

        result["difference"] = largest_difference(hidden, arrays, data)
        given = torch_data(arrays)
        eager, fused = TorchStep(hidden), TorchStep(hidden)
        calls["eager"] = partial(eager.step, eager.loss, *given)
        calls["compiled"] = partial(fused.step, torch.compile(fused.loss), *given)
    times = interleaved(calls)
    flops = network_flops(BATCH * N_STOCKS, hidden)
    return result | {
        "layers": layers,
        "times": {name: found._asdict() for name, found in times.items()},
        "temporaries": int(compiled.memory_analysis().temp_size_in_bytes),
        "data": int(sum(leaf.nbytes for leaf in jax.tree.leaves(data))),
        "flops": flops,
        "gemm": {"ours": gemm_rate(), **({"torch": torch_gemm_rate()} if "eager" in calls else {})},
    }


def paper_panel() -> Any:
    """A prepared panel of the paper's size, float64 as all panels are."""
    import pandas as pd
    import xarray as xr

    import bayesfactor as bf

    rng = np.random.default_rng(0)
    shape = (N_MONTHS, N_STOCKS)
    z = rng.random((*shape, N_CHARACTERISTICS))
    z *= 2
    z -= 1
    data = xr.Dataset(
        {
            "characteristics": (("time", "asset", "characteristic"), z),
            "missing": (("time", "asset", "characteristic"), np.zeros(z.shape, bool)),
            "in_universe": (("time", "asset"), np.ones(shape, bool)),
            "returns": (("time", "asset"), 0.08 * rng.standard_normal(shape)),
            "benchmark_returns": (("time", "benchmark"), 0.04 * rng.standard_normal((N_MONTHS, N_BENCHMARKS))),
            "portfolio_returns": (("time", "portfolio"), 0.05 * rng.standard_normal((N_MONTHS, N_PORTFOLIOS))),
        },
        {
            "time": pd.date_range("1975-01-31", periods=N_MONTHS, freq="ME"),
            "asset": [f"a{index:04}" for index in range(N_STOCKS)],
            "characteristic": [f"x{index + 1}" for index in range(N_CHARACTERISTICS)],
            "kind": ("characteristic", ["continuous"] * N_CHARACTERISTICS),
            "benchmark": [f"b{index + 1}" for index in range(N_BENCHMARKS)],
            "portfolio": [f"p{index + 1:03}" for index in range(N_PORTFOLIOS)],
        },
    )
    return bf.Panel(data, "monthly", "rank")


def epoch_ours() -> dict[str, Any]:
    """What `fit(model, panel, SVI(batch=120))` runs, on the panel that it prepares: a few steps, a few draws."""
    import jax
    import jax.numpy as jnp

    from bayesfactor import SVI
    from bayesfactor.inference import variational
    from bayesfactor.inference.prepare import prepared

    model, settings = one_variance(hidden_of(MAIN)), SVI(batch=BATCH, restarts=2)
    memory = {"imports": peak_memory_mib()}
    panel = paper_panel()
    memory["panel"] = peak_memory_mib()
    given = prepared(model, panel, settings, 0)
    data = jax.tree.map(jnp.asarray, given.data)
    memory["data"] = peak_memory_mib()
    plan = variational.plan_for(model, settings, data)
    programs = variational.programs_for(model, settings, plan)
    keys = jax.random.split(jax.random.key(0), settings.restarts)
    state, _ = programs.start(keys, data)
    rate, averaging, n_steps = jnp.float32(0.01), jnp.asarray(False), 3
    compiled = programs.advance.lower(state, data, rate, averaging, n_steps).compile()
    seconds = []
    for _ in range(4):  # the first is cold
        began = time.perf_counter()
        state, losses = programs.advance(state, data, rate, averaging, n_steps)
        jax.block_until_ready(losses)
        seconds.append((time.perf_counter() - began) / n_steps)
    memory["steps"] = peak_memory_mib()
    few = 16
    vectors = programs.draw(state.average, keys, data, few)
    tails = {}
    for name, function in (("weigh", programs.weigh), ("finish", programs.finish)):
        jax.block_until_ready(function(vectors, data))
        tails[name] = seconds_once(partial(function, vectors, data)) / (few * settings.restarts)
    memory["draws"] = peak_memory_mib()
    return {
        "seconds": float(np.median(seconds[1:])),
        "gradients": settings.restarts * settings.particles,
        "settings": repr(settings),
        "parameters": int(state.guide["loc"].shape[-1]),
        "temporaries": int(compiled.memory_analysis().temp_size_in_bytes),
        "memory": memory,
        "panel": int(sum(variable.nbytes for variable in panel.data.variables.values())),
        "data": int(sum(leaf.nbytes for leaf in jax.tree.leaves(data))),
        "tails": tails,
        "draws": {"weigh": variational.WEIGHED * settings.restarts, "finish": settings.draws * settings.restarts},
    }


def epoch_torch(kind: str) -> dict[str, Any]:
    """The same months in torch: one gradient a step, months gathered from all."""
    import torch

    memory = {"imports": peak_memory_mib()}
    data = torch_data(paper_months(N_MONTHS))
    memory["data"] = peak_memory_mib()
    steps = TorchStep(hidden_of(MAIN))
    loss = torch.compile(steps.loss) if kind == "compiled" else steps.loss
    rng, seconds = np.random.default_rng(0), []
    for _ in range(6):  # the first is cold
        began = time.perf_counter()
        chosen = torch.from_numpy(rng.choice(N_MONTHS, BATCH, replace=False))
        steps.step(loss, *(part[chosen] for part in data))
        seconds.append(time.perf_counter() - began)
    memory["steps"] = peak_memory_mib()
    return {"seconds": float(np.median(seconds[1:])), "gradients": 1, "memory": memory}


def epoch_row() -> dict[str, Any]:
    """An epoch of 540 months by SVI and by torch, each in a process of its own, one after the other."""
    parts = ["ours"] + (["eager", "compiled"] if find_spec("torch") else [])
    return {part: in_process("epoch", part) for part in parts}


def evidence_row() -> dict[str, Any]:
    """Gradient of the program that NUTS samples: all months, 366 portfolios with a full residual covariance."""
    import jax
    import jax.numpy as jnp

    from bayesfactor.inference import space
    from bayesfactor.inference.sampling import COMPILER
    from bayesfactor.inference.streaming import cast
    from bayesfactor.models import SortedFactorModel

    hidden = hidden_of(MAIN)
    model = SortedFactorModel(n_factors=N_FACTORS, hidden=hidden)
    data = jax.tree.map(jnp.asarray, cast(model.data(paper_months(N_MONTHS)), False))
    gradient = jax.value_and_grad(lambda point, data: space.potential(model, data, point))
    flops = network_flops(N_MONTHS * N_STOCKS, hidden)
    result: dict[str, Any] = {"data": int(sum(leaf.nbytes for leaf in jax.tree.leaves(data))), "flops": flops}
    points = [space.start_point(model, key, data, 0.1)[0] for key in jax.random.split(jax.random.key(0), max(CHAINS))]
    for chains in CHAINS:
        started = jax.tree.map(lambda *leaves: jnp.stack(leaves), *points[:chains])
        program = jax.jit(jax.vmap(gradient, in_axes=(0, None)))
        compiled = program.lower(started, data).compile(compiler_options=COMPILER)
        found = interleaved({"gradient": partial(compiled, started, data)}, 3)["gradient"]
        temporaries = int(compiled.memory_analysis().temp_size_in_bytes)
        result[f"chains-{chains}"] = {**found._asdict(), "temporaries": temporaries}
    return result | {"gemm": {"ours": gemm_rate()}, "peak": peak_memory_mib()}


class Posterior(NamedTuple):
    """Draws of one program (chain, draw, number), aligned, and what they took."""

    draws: dict[str, np.ndarray]
    seconds: float
    gradients: float
    divergences: int


def nuts_row(n_warmup: int = 200, n_draws: int = DRAWS, chains: int = 2) -> dict[str, Any]:
    """NUTS with coefficients and residual covariance integrated out, and with all of them as parameters."""
    import jax
    import jax.numpy as jnp
    from arviz_stats.base import array_stats

    from bayesfactor import NUTS, simulate
    from bayesfactor.inference.sampling import CHUNK, programs_for, run_nuts
    from bayesfactor.inference.streaming import cast
    from bayesfactor.models import SortedFactorModel
    from bayesfactor.quantities.alignment import Alignment, signed_permutations

    size = {"n_months": 120, "n_assets": 100, "n_characteristics": 4, "n_portfolios": 10}
    panel, truth = simulate.priced_economy(**size, seed=3)
    model = SortedFactorModel(n_factors=2, hidden=())
    data = jax.tree.map(jnp.asarray, cast(model.data(panel.arrays()), False))
    settings = NUTS(warmup=n_warmup, draws=n_draws, chains=chains)
    reference = truth["factor_return"].values

    def compile_programs(program: Any) -> None:
        """What `run_nuts` calls, a chunk of it: a whole run of the joint program takes minutes."""
        programs = programs_for(program, settings)
        state, _ = programs.start(jax.random.split(jax.random.key(0), chains), data, None)
        _, (points, _) = programs.advance(state, data, CHUNK)
        programs.constrain(
            jax.tree.map(lambda leaf: jnp.resize(leaf, (chains, n_draws, *leaf.shape[2:])), points), data
        )

    def sampled(program: Any) -> Posterior:
        compile_programs(program)
        began = time.perf_counter()
        draws = run_nuts(program, data, settings, jax.random.key(1))
        seconds = time.perf_counter() - began
        flat = {name: value.reshape(-1, *value.shape[2:]) for name, value in draws.posterior.items()}
        aligned = Alignment(*signed_permutations(flat["factor_return"].astype(float), reference), reference)
        values = {"alpha": flat["alpha"], "benchmark_loading": flat["benchmark_loading"]}
        values |= {name: aligned.apply(flat[name], -1) for name in ("loading", "factor_return")}
        return Posterior(
            {name: value.reshape(chains, n_draws, -1).astype(float) for name, value in values.items()},
            seconds,
            float(draws.statistics["n_steps"].mean()),
            int(draws.statistics["diverging"].sum()),
        )

    def by_column(function: Callable[..., Any], draws: np.ndarray, **options: Any) -> np.ndarray:
        return np.asarray(function(draws, chain_axis=0, draw_axis=1, **options))

    both = {"collapsed": sampled(model), "joint": sampled(model.joint)}
    agreement, worst = {}, {}
    for name in both["joint"].draws:
        ours, theirs = (both[program].draws[name] for program in both)
        distances = {}
        for what, moment in (("mean", np.mean), ("sd", np.std)):
            errors = [by_column(array_stats.mcse, draws, method=what) for draws in (ours, theirs)]
            difference = moment(ours, axis=(0, 1)) - moment(theirs, axis=(0, 1))
            distances[what] = np.abs(difference) / np.hypot(*errors)
        n = distances["mean"].size
        agreement[name] = {
            "numbers": n,
            **{what: float(values.max()) for what, values in distances.items()},
            **{f"{what}_beyond": float(np.mean(values > 2)) for what, values in distances.items()},
        }
    for program, found in both.items():
        ess = {name: by_column(array_stats.ess, draws, method="bulk") for name, draws in found.draws.items()}
        rhat = max(by_column(array_stats.rhat, draws).max() for draws in found.draws.values())
        worst[program] = {
            "ess": {name: float(values.min()) for name, values in ess.items()},
            "rhat": float(rhat),
            "seconds": found.seconds,
            "gradients": found.gradients,
            "divergences": found.divergences,
        }
    return {"size": size, "model": repr(model), "settings": repr(settings), "programs": worst, "agreement": agreement}


ROWS: dict[str, Callable[[], dict[str, Any]]] = {
    **{f"step-{layers}": partial(step_row, layers) for layers in LAYERS},
    "epoch": epoch_row,
    "evidence": evidence_row,
    "nuts": nuts_row,
}


# ---------------------------------------------------------------------- the page


def written_at(row: dict[str, Any]) -> str:
    """Where a row's numbers come from."""
    torch = f", torch {row['torch']}" if row.get("torch") else ""
    before, after = row["load"]
    return f"{line(row['provenance'])[:-1]}{torch}; load average {before:.1f} before, {after:.1f} after."


def ms(found: dict[str, Any]) -> str:
    return f"{1e3 * found['median']:,.0f} ({1e3 * found['best']:,.0f}; {1e3 * found['processor']:,.0f})"


def ratio_of(times: dict[str, Any], other: str) -> str:
    """How many times longer the other takes, by the three times."""
    if other not in times:
        return "no torch"
    median, best, processor = (times[other][kind] / times["ours"][kind] for kind in ("median", "best", "processor"))
    return f"{median:.1f} x ({best:.1f}; {processor:.1f})"


def steps_section(rows: dict[int, dict[str, Any]]) -> str:
    header = [
        "L", "ours, ms", "torch eager, ms", "torch compiled, ms", "eager / ours", "compiled / ours", "temporaries",
        "ours / its GEMM rate, GFLOP/s", "torch GEMM, GFLOP/s", "gradients differ by",
    ]  # fmt: skip
    cells = []
    for layers, row in rows.items():
        times, rates = row["times"], row["gemm"]
        cells.append(
            [
                f"{layers}",
                *(ms(times[name]) if name in times else "-" for name in ("ours", "eager", "compiled")),
                *(ratio_of(times, name) for name in GOALS),
                f"{row['temporaries'] / 1e6:.1f} MB",
                f"{row['flops'] / times['ours']['median'] / 1e9:.0f} / {rates['ours'] / 1e9:.0f}",
                f"{rates['torch'] / 1e9:.0f}" if "torch" in rates else "-",
                f"{row['difference']:.0e}" if "difference" in row else "-",
            ]
        )
    verdicts = []
    if (main := rows.get(MAIN)) and "eager" in main["times"]:
        for name, goal in GOALS.items():
            found = main["times"][name]["median"] / main["times"]["ours"]["median"]
            verdicts.append(f"{found:.1f} x of {goal} x against torch {name}: {'met' if found >= goal else 'NOT met'}")
    if main:
        fits = main["temporaries"] < TEMPORARIES
        verdicts.append(f"{main['temporaries'] / 1e6:.1f} MB of less than 20 MB: {'met' if fits else 'NOT met'}")
    made = "\n".join(f"- L = {layers}: {written_at(row)}" for layers, row in rows.items())
    return "\n\n".join(
        [
            "## A step",
            f"One step of Adam on {BATCH} months x {N_STOCKS:,} stocks x {N_CHARACTERISTICS} characteristics, "
            f"{N_FACTORS} deep and {N_BENCHMARKS} benchmark factors, {N_PORTFOLIOS} portfolios, float32, tanh, hidden "
            f"layers of {WIDTH}. Ours is the gradient of `SortedFactorModel.joint`, priors included, with one residual "
            "variance, whose loss is the sum of squares that torch has. The three take turns in one process. Times are "
            f"medians of {REPEATS}, in parentheses the best and the least processor time; so are ratios. L is the "
            "paper's: L = 1 sorts on linear combinations. FLOPs count matrix products once, though ours computes the "
            "network twice to keep nothing. Gradients: the largest difference between torch's and those of the same "
            "sum of squares of our factors, relative to the largest entry.",
            table(header, cells),
            f"Goals (L = {MAIN}, medians): " + "; ".join(verdicts) + "." if verdicts else "",
            made,
        ]
    )


def epoch_section(row: dict[str, Any]) -> str:
    names = {"ours": "`SVI(batch=120, restarts=2)`", "eager": "torch eager", "compiled": "torch compiled"}
    cells = []
    for part, name in names.items():
        if part not in row:
            continue
        found, memory = row[part], row[part]["memory"]
        cells.append(
            [
                name,
                f"{found['seconds']:.2f} s",
                f"{found['gradients']}",
                f"{1e3 * found['seconds'] / found['gradients']:,.0f} ms",
                f"{EPOCH * found['seconds']:.1f} s",
                " / ".join(f"{memory[stage]:,.0f}" for stage in ("data", "steps")) + " MiB",
                f"{memory['steps'] - memory['data']:,.0f} MiB",
            ]
        )
    ours = row["ours"]
    weigh, finish = (ours["tails"][name] * ours["draws"][name] for name in ("weigh", "finish"))
    memory = ", ".join(f"{stage} {value:,.0f}" for stage, value in ours["memory"].items())
    against = [
        f"{ours['seconds'] / row[part]['seconds']:.1f} times the time and "
        f"{ours['memory']['steps'] / row[part]['memory']['steps']:.1f} times the memory of {names[part]}"
        for part in ("eager", "compiled")
        if part in row
    ]
    told = f"An epoch of ours takes {', '.join(against)}, for {ours['gradients']} gradients a step in place of one. "
    return "\n\n".join(
        [
            "## An epoch",
            f"{N_MONTHS} months, L = {MAIN}, {BATCH} months a step drawn anew, so {EPOCH} steps. Ours is what `fit` "
            "runs on a Panel, its preparation and its compiled programs: every restart draws its own months, every "
            f"step has two particles, and the guide ({ours['parameters']:,} parameters, low rank) is part of it. Each "
            "in a process of its own, one after the other.",
            table(
                ["what", "a step", "gradients a step", "a gradient", "an epoch", "peak memory: data / steps", "beyond"],
                cells,
            ),
            (told if against else "")
            + f"Peak memory of ours, MiB, after each stage: {memory}. The panel holds {ours['panel'] / MIB:,.0f} MiB "
            f"(float64 and masks), the program's data {ours['data'] / MIB:,.0f} MiB (float32); XLA's temporary buffers "
            f"of a step are {ours['temporaries'] / 1e6:.0f} MB. The panel, its months packed in float64 and the "
            "program's data are all held while it runs. After the last step the guide is weighed at "
            f"{ours['draws']['weigh']:,} draws of all months (k-hat) and {ours['draws']['finish']:,} draws are made: "
            f"at {1e3 * ours['tails']['weigh']:.0f} and {1e3 * ours['tails']['finish']:.0f} ms a draw that takes "
            f"{weigh / 60:.1f} and {finish / 60:.1f} minutes.",
            f"Settings: `{ours['settings']}`. {written_at(row)}",
        ]
    )


def evidence_section(row: dict[str, Any]) -> str:
    rate = row["gemm"]["ours"]
    cells = []
    for chains in CHAINS:
        found = row[f"chains-{chains}"]
        speed = chains * row["flops"] / found["median"]
        cells.append(
            [
                f"{chains}",
                ms(found),
                f"{1e3 * found['median'] / chains:,.0f} ms",
                f"{speed / 1e9:.0f} / {rate / 1e9:.0f} GFLOP/s ({speed / rate:.0%})",
                f"{found['temporaries'] / 1e6:.1f} MB",
            ]
        )
    return "\n\n".join(
        [
            "## The density that NUTS samples",
            f"Gradient of the collapsed program, {N_MONTHS} x {N_STOCKS:,} x {N_CHARACTERISTICS}, L = {MAIN}, "
            f"{N_FACTORS} deep factors, {N_PORTFOLIOS} portfolios with a full residual covariance, float32; data "
            f"{row['data'] / 1e6:,.0f} MB. Goal: 30% of the GEMM rate. Times as above, of a gradient of all chains.",
            table(["chains", "ms", "of one chain", "matrix products / GEMM rate", "temporaries"], cells),
            f"Peak memory of the process {row['peak']:,.0f} MiB. {written_at(row)}",
        ]
    )


def nuts_section(row: dict[str, Any]) -> str:
    programs = row["programs"]
    speed = {name: min(found["ess"].values()) / found["seconds"] for name, found in programs.items()}
    efficiency = {
        name: min(found["ess"].values()) / (2 * DRAWS * found["gradients"] / 1000) for name, found in programs.items()
    }
    cells = [
        [
            name,
            f"{found['seconds']:.1f} s",
            f"{found['gradients']:.0f}",
            f"{found['divergences']}",
            f"{found['rhat']:.3f}",
            *(f"{value:.0f}" for value in found["ess"].values()),
            f"{speed[name]:.2f}",
            f"{efficiency[name]:.1f}",
        ]
        for name, found in programs.items()
    ]
    kinds = list(programs["joint"]["ess"])
    header = ["program", "time", "gradients a draw", "divergences", "largest R-hat", *kinds, "smallest ESS/s"]
    header.append("of 1,000 gradients")
    agreement = [
        [
            name,
            f"{found['numbers']}",
            *(f"{found[what]:.1f} ({found[f'{what}_beyond']:.0%})" for what in ("mean", "sd")),
        ]
        for name, found in row["agreement"].items()
    ]
    size = " x ".join(f"{value}" for value in row["size"].values())
    return "\n\n".join(
        [
            "## Both programs under NUTS",
            f"`{row['model']}`, a simulated economy of {size} (months x stocks x characteristics x portfolios), "
            f"`{row['settings']}`, float32, warm. Factors are aligned to the true ones by order and sign. Smallest "
            "bulk ESS by kind:",
            table(header, cells),
            f"Collapsed over joint: {speed['collapsed'] / speed['joint']:.1f} x ESS per second, "
            f"{efficiency['collapsed'] / efficiency['joint']:.1f} x by gradient. Warm-up and the exact draws of what "
            "is integrated out are in the time.",
            "Differences of posterior means and sds between the two, in Monte Carlo standard errors: the largest, and "
            "in parentheses the share beyond 2 (5% by chance; the numbers are correlated).",
            table(["", "numbers", "means", "sds"], agreement),
            written_at(row),
        ]
    )


def page(results: dict[str, Any]) -> str:
    """The page, from all rows so far."""
    steps = {layers: results[f"step-{layers}"] for layers in LAYERS if f"step-{layers}" in results}
    sections = [
        "# Deep factors: speed and memory",
        "Sizes are those of Feng, Polson and Xu (2020), data are random numbers. On a machine with other work all "
        "numbers suffer, not equally: judge by the load average of each row, and by processor times.",
        *([steps_section(steps)] if steps else []),
    ]
    named = {"epoch": epoch_section, "evidence": evidence_section, "nuts": nuts_section}
    sections += [section(results[name]) for name, section in named.items() if name in results]
    lacking = [name for name in ROWS if name not in results]
    if lacking:
        sections.append(f"NOT RUN YET: {', '.join(lacking)}.")
    return "\n\n".join([*(part for part in sections if part), "Made by `python -m benchmarks.deep_factors`.\n"])


def in_process(*words: str) -> dict[str, Any]:
    """A row, or a part of one, measured in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.deep_factors", "--here", *words]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--page", action="store_true", help="only write the page from what is kept")
    given = parser.parse_args()
    use_compilation_cache()
    if given.here:
        parts = {
            "ours": epoch_ours,
            "eager": partial(epoch_torch, "eager"),
            "compiled": partial(epoch_torch, "compiled"),
        }
        name, *part = given.rows
        print(json.dumps(parts[part[0]]() if part else ROWS[name]()))
        return
    if unknown := set(given.rows) - set(ROWS):
        parser.error(f"no rows {sorted(unknown)}: there are {', '.join(ROWS)}")
    torch = version("torch") if find_spec("torch") else None
    if torch is None:
        print("torch is not installed: ours alone is measured (pip install torch).", flush=True)
    done = load(RESULTS)
    for name in [] if given.page else given.rows or [name for name in ROWS if name not in done]:
        print(f"{name} ...", flush=True)
        before, began = os.getloadavg()[0], time.perf_counter()
        try:
            row = in_process(name)
        except subprocess.CalledProcessError as error:
            print(f"{name}: failed, exit {error.returncode}", flush=True)
            continue
        row |= {"provenance": provenance(), "load": [before, os.getloadavg()[0]], "torch": torch}
        store(RESULTS, load(RESULTS) | {name: row})
        print(f"{name}: done in {time.perf_counter() - began:.0f} s", flush=True)
        PAGE.write_text(page(load(RESULTS)))
    PAGE.write_text(page(load(RESULTS)))


if __name__ == "__main__":
    main()
