"""Simulation-based calibration, and coverage of sensitivity bands on economies with month-varying slopes.

    python -m benchmarks.calibrate [--family linear|network|linear-many|coverage ...] [--fits 300] [--chunk 25]

Many data sets of one shape are fitted in one compiled program. A chunk of them is the unit of work: chunks are kept
under .cache/calibration, an interrupted run goes on where it stopped, tables go to docs/calibration.md.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from benchmarks.record import CACHE, ROOT, line, provenance, table, use_compilation_cache

use_compilation_cache()

import equinox as eqx  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from arviz_stats.base import array_stats  # noqa: E402
from numpyro import handlers  # noqa: E402

from bayesfactor import simulate  # noqa: E402
from bayesfactor.components import month  # noqa: E402
from bayesfactor.components.batches import map_in_batches  # noqa: E402
from bayesfactor.inference.sampling import run_nuts  # noqa: E402
from bayesfactor.inference.settings import NUTS  # noqa: E402
from bayesfactor.models import FundamentalFactorModel  # noqa: E402
from bayesfactor.panel import PanelArrays  # noqa: E402

FOLDER = CACHE / "calibration"
PAGE = ROOT / "docs" / "calibration.md"
RETURN_SCALE = 0.08  # decimal per month
PROBE = (0.5, -0.5, 0.25)  # its first characteristics, in turn
N_RANKED = 3  # characteristics whose sensitivities are ranked
THIN = 4  # every fourth draw enters a rank: ranks need nearly independent draws
PROB = 0.9
FAMILY_WISE = 0.01
GOAL_FITS = 300  # fewer say little: no verdict is printed
SIMULATIONS = 20_000


class Family(NamedTuple):
    """A model calibrated under its own prior, and the shape of its data sets."""

    model: FundamentalFactorModel
    n_months: int
    n_assets: int
    settings: NUTS
    seed: int
    n_characteristics: int = 3


FAMILIES = {
    "linear": Family(
        FundamentalFactorModel(hidden=(), noise="normal"), 30, 12, NUTS(warmup=250, draws=200, chains=2), 1
    ),
    "network": Family(
        FundamentalFactorModel(hidden=(3,), activation="tanh", noise="normal"),
        20, 12, NUTS(warmup=250, draws=200, chains=2, max_tree_depth=8), 2,
    ),
    # More slopes than the LKJ prior is for: their correlation is diagonal plus low rank.
    "linear-many": Family(
        FundamentalFactorModel(hidden=(), noise="normal"), 30, 25, NUTS(warmup=250, draws=200, chains=2), 3, 13
    ),
}  # fmt: skip

# The coverage study: slopes of every month differ, one product is planted.
INTERACTION = 0.01  # decimal per month, of the first two characteristics
ECONOMY: dict[str, Any] = {
    "n_months": 40,
    "n_assets": 30,
    "n_characteristics": 3,
    "slope_sd": 0.03,
    "interactions": {(0, 1): INTERACTION},
    "noise_sd": 0.03,
}
SLOPE_PRIOR_SD = 0.01
COVERAGE_SETTINGS = NUTS(warmup=200, draws=150, chains=2, max_tree_depth=6)
POOLINGS = ("partial", "full")


# ---------------------------------------------------------------------- data from the prior


def design(family: Family, seed: int) -> PanelArrays:
    """Prepared characteristics without returns yet; one return in seven is missing at random."""
    panel, _ = simulate.economy(
        n_months=family.n_months, n_assets=family.n_assets, n_characteristics=family.n_characteristics, seed=seed
    )
    arrays = panel.arrays()
    observed = arrays.observed & (np.random.default_rng([seed, 7]).random(arrays.observed.shape) > 1 / 7)
    return arrays._replace(observed=observed, return_scale=np.asarray(RETURN_SCALE))


def draw_prior(model: Any, rng_key: jax.Array, data: Any) -> dict[str, jax.Array]:
    """One draw of all sites, deterministic ones included, under their names in a posterior."""
    sites = handlers.trace(handlers.seed(model, rng_key)).get_trace(data)
    return {name: site["value"] for name, site in sites.items() if not site.get("is_observed")}


def simulate_returns(model: Any, rng_key: jax.Array, params: Any, arrays: PanelArrays) -> jax.Array:
    """Returns (time, slot) of the training months, each at its own noise level; 0 where not observed."""

    def one(key: jax.Array, z: jax.Array, scale: jax.Array) -> jax.Array:
        return month.simulate(key, model.month_law(params, z)._replace(scale=scale, log_scale_sd=0.0))

    keys = jax.random.split(rng_key, len(arrays.returns))
    returns = jax.vmap(one)(keys, jnp.asarray(arrays.characteristics), params["noise_scale"])
    return jnp.where(arrays.observed, returns, 0.0)


# ---------------------------------------------------------------------- quantities of one draw


def average_sensitivity(model: Any, params: Any, arrays: PanelArrays) -> jax.Array:
    """Average over stocks, then months with equal weights (characteristic,)."""
    return jnp.mean(jax.vmap(partial(model.gradient_sums, params))(*_rows(arrays)).value, axis=0)


def average_interactions(model: Any, params: Any, arrays: PanelArrays) -> tuple[jax.Array, jax.Array]:
    """Average and root mean square of every pair's second derivative (pair,)."""
    sums = jax.vmap(partial(model.hessian_sums, params))(*_rows(arrays))
    pairs = np.triu_indices(arrays.characteristics.shape[-1], k=1)
    return jnp.mean(sums.value, axis=0)[pairs], jnp.sqrt(jnp.mean(sums.square, axis=0)[pairs])


def _rows(arrays: PanelArrays) -> tuple[jax.Array, jax.Array]:
    universe = jnp.asarray(arrays.in_universe)
    return jnp.asarray(arrays.characteristics), universe / jnp.sum(universe, axis=1, keepdims=True)


def quantities(model: Any, params: Any, arrays: PanelArrays, data: Any) -> dict[str, jax.Array]:
    """The functions of the parameters that are ranked."""
    n_characteristics = arrays.characteristics.shape[-1]
    probe = np.resize(PROBE, (1, n_characteristics)).astype(arrays.characteristics.dtype)
    law = model.month_law(params, jnp.asarray(probe))
    slopes = average_sensitivity(model, params, arrays)
    result = {
        "log likelihood": model.log_likelihood(params, data),
        "noise level": params["noise_level"],
        "noise variation": params["noise_variation"],
        "common sd at a probe": jnp.sqrt(jnp.sum((law.loadings @ law.root) ** 2)),
    }
    result |= {f"sensitivity {k + 1}": slopes[k] for k in range(N_RANKED)}
    if not model.linear:
        result["interaction 1 x 2"] = average_interactions(model, params, arrays)[0][0]
    return result


def over_draws(function: Callable[..., Any], params: Any, *given: Any) -> Any:
    """``function(params, *given)`` for all draws (data set, chain, draw) in one program."""

    def one_set(params: Any, *given: Any) -> Any:
        flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), params)
        return map_in_batches(lambda draw: function(draw, *given), flat, 50)

    shape = next(iter(params.values())).shape[:3]
    result = jax.jit(jax.vmap(one_set))(jax.tree.map(jnp.asarray, params), *given)
    return jax.tree.map(lambda leaf: np.asarray(leaf, float).reshape(*shape, *leaf.shape[2:]), result)


# ---------------------------------------------------------------------- chunks


def stack(trees: list[Any], double: bool) -> Any:
    """Data sets of one shape with a leading dimension, floats in the precision the package fits them in."""

    def leaf(*parts: Any) -> np.ndarray:
        whole = np.stack([np.asarray(part) for part in parts])
        return whole.astype(np.float64 if double else np.float32) if whole.dtype.kind == "f" else whole

    return jax.tree.map(leaf, *trees)


def calibration_chunk(family: Family, chunk: int, size: int) -> dict[str, np.ndarray]:
    """Draw, simulate, fit and rank one chunk of data sets."""
    model, double = family.model, family.model.linear
    with jax.enable_x64(double):
        arrays = stack([design(family, 10_000 * family.seed + chunk * size + i) for i in range(size)], double)
        prior_key, data_key, fit_key = jax.random.split(jax.random.key(1000 * family.seed + chunk), 3)
        truth = jax.jit(jax.vmap(partial(draw_prior, model)))(jax.random.split(prior_key, size), arrays)
        simulated = jax.jit(jax.vmap(partial(simulate_returns, model)))(jax.random.split(data_key, size), truth, arrays)
        arrays = arrays._replace(returns=np.asarray(simulated))
        sets = [jax.tree.map(lambda leaf, i=i: leaf[i], arrays) for i in range(size)]
        data = stack([model.data(one) for one in sets], double)
        draws = run_nuts(model, data, family.settings, jax.random.split(fit_key, size), many=True)
        known = {name: np.asarray(value)[:, None, None] for name, value in truth.items() if name in draws.posterior}
        drawn = over_draws(partial(quantities, model), draws.posterior, arrays, data)
        true = over_draws(partial(quantities, model), known, arrays, data)
    result = {"diverging": draws.statistics["diverging"].sum(axis=(1, 2)), "steps": draws.statistics["n_steps"].mean()}
    rhat = []
    for name, values in drawn.items():
        flat = values.reshape(size, -1)
        thinned = values[:, :, ::THIN].reshape(size, -1)
        value = true[name].reshape(size, 1)
        result[f"rank:{name}"] = np.sum(thinned < value, axis=1)
        lower, upper = np.quantile(flat, [(1 - PROB) / 2, (1 + PROB) / 2], axis=1)
        result[f"inside:{name}"] = (lower <= value[:, 0]) & (value[:, 0] <= upper)
        rhat.append([array_stats.rhat(values[i], chain_axis=0, draw_axis=1) for i in range(size)])
    result["rhat"] = np.max(rhat, axis=0)
    result["ranks"] = np.asarray(thinned.shape[1])
    return result


def coverage_model(pooling: str) -> FundamentalFactorModel:
    """Units enough for three directions of common shocks and a product."""
    return FundamentalFactorModel(hidden=(5,), activation="tanh", noise="normal", pooling=pooling)


def coverage_chunk(pooling: str, chunk: int, size: int) -> dict[str, np.ndarray]:
    """Coverage of the average sensitivities, and the rank of the planted interaction, on one chunk of economies."""
    model = coverage_model(pooling)
    economies = []
    for i in range(size):
        seed = 50_000 + chunk * size + i
        mean = SLOPE_PRIOR_SD * np.random.default_rng([seed, 3]).standard_normal(ECONOMY["n_characteristics"])
        economies.append(simulate.economy(seed=seed, slope_mean=mean, **ECONOMY))
    with jax.enable_x64(False):
        arrays = stack([economy.panel.arrays() for economy in economies], double=False)
        keys = jax.random.split(jax.random.key(chunk), size)
        draws = run_nuts(model, arrays, COVERAGE_SETTINGS, keys, many=True)

        def both(params: Any, arrays: PanelArrays) -> Any:
            average, strength = average_interactions(model, params, arrays)
            return average_sensitivity(model, params, arrays), average, strength

        slopes, average, strength = over_draws(both, draws.posterior, arrays)
    truth = np.array([economy.truth["sensitivity"].values for economy in economies])
    flat = slopes.reshape(size, -1, slopes.shape[-1])
    lower, upper = np.quantile(flat, [(1 - PROB) / 2, (1 + PROB) / 2], axis=1)
    ranks = stats.rankdata(-strength.reshape(size, -1, strength.shape[-1]), axis=-1)
    planted = average[..., 0].reshape(size, -1)
    low, high = np.quantile(planted, [(1 - PROB) / 2, (1 + PROB) / 2], axis=1)
    checked = np.concatenate([slopes, average], axis=-1)
    rhat = [[array_stats.rhat(one[..., k], chain_axis=0, draw_axis=1) for k in range(one.shape[-1])] for one in checked]
    return {
        "inside": (lower <= truth) & (truth <= upper),
        "sd": flat.std(axis=1, ddof=1),
        "error": flat.mean(axis=1) - truth,
        "first": np.median(ranks, axis=1).argmin(axis=1) == 0,
        "interaction": planted.mean(axis=1),
        "inside_interaction": (low <= INTERACTION) & (high >= INTERACTION),
        "diverging": draws.statistics["diverging"].sum(axis=(1, 2)),
        "steps": draws.statistics["n_steps"].mean(),
        "rhat": np.max(rhat, axis=1),
    }


def folder_of(name: str) -> Path:
    """Chunks of one study; another law, prior, shape or sampler has another folder."""
    what = FAMILIES.get(name, (name, ECONOMY, SLOPE_PRIOR_SD, COVERAGE_SETTINGS))
    told = [asdict(part) if is_dataclass(part) else part for part in what]
    return FOLDER / f"{name}-{hashlib.sha256(repr((told, behaviour(name))).encode()).hexdigest()[:8]}"


@lru_cache
def behaviour(name: str) -> str:
    """Four digits of one draw of the prior and of its density: code that changes either has new chunks."""
    if name in FAMILIES:
        model, arrays = FAMILIES[name].model, design(FAMILIES[name], 0)
    else:
        model, arrays = (
            coverage_model("partial"),
            simulate.economy(seed=0, **ECONOMY).panel.arrays(),
        )
    with jax.enable_x64(True):
        params = draw_prior(model, jax.random.key(0), arrays)
        returns = simulate_returns(model, jax.random.key(1), params, arrays)
        density = model.log_likelihood(params, model.data(arrays._replace(returns=np.asarray(returns))))
        size = sum(jnp.sum(jnp.abs(leaf)) for leaf in jax.tree.leaves(params) if eqx.is_inexact_array(leaf))
    return f"{float(density):.4g} {float(size):.4g}"


def chunks(name: str, make: Callable[[int, int], dict[str, np.ndarray]], fits: int, size: int) -> None:
    """Make the chunks that are not there yet."""
    folder = folder_of(name)
    folder.mkdir(parents=True, exist_ok=True)
    for chunk in range(-(-fits // size)):
        path = folder / f"{size}-{chunk:03d}.npz"
        if path.exists():
            continue
        began = time.perf_counter()
        result = make(chunk, size)
        seconds = time.perf_counter() - began
        beside = path.with_suffix(".tmp.npz")
        np.savez(beside, **result, seconds=seconds)
        beside.replace(path)
        print(
            f"{name}: chunk {chunk} of {size} fits in {seconds:.0f} s, {result['steps']:.0f} steps a draw", flush=True
        )


def collected(name: str) -> dict[str, np.ndarray] | None:
    """All chunks made so far, one after the other; of several chunk sizes, which share seeds, that with most fits."""
    by_size: dict[str, list[Path]] = {}
    for path in sorted(folder_of(name).glob("*-[0-9][0-9][0-9].npz")):
        by_size.setdefault(path.name.split("-")[0], []).append(path)
    if not by_size:
        return None
    size = max(by_size, key=lambda size: int(size) * len(by_size[size]))
    parts = [dict(np.load(path)) for path in by_size[size]]
    return {key: np.concatenate([np.atleast_1d(part[key]) for part in parts]) for key in parts[0]}


# ---------------------------------------------------------------------- tests of uniformity and coverage


def smallest_tail(counts: np.ndarray, n: int) -> np.ndarray:
    """Smallest pointwise binomial tail probability of the ECDF of ranks, over its points.

    Parameters
    ----------
    counts : (..., rank) how many of the n ranks took each value.
    """
    n_values = counts.shape[-1]
    below = np.cumsum(counts, axis=-1)[..., :-1]
    share = np.arange(1, n_values) / n_values
    k = np.arange(n + 1)[:, None]
    tails = np.minimum(stats.binom.cdf(k, n, share), stats.binom.sf(k - 1, n, share))
    return tails[below, np.arange(n_values - 1)].min(axis=-1)


def uniformity(ranks: np.ndarray, largest: int, seed: int = 0) -> float:
    """p-value of uniform ranks by a simultaneous ECDF band (Saeilynoja, Buerkner and Vehtari, 2022), simulated."""
    values = largest + 1
    expected = np.random.default_rng(seed).multinomial(len(ranks), np.full(values, 1 / values), SIMULATIONS)
    null = smallest_tail(expected, len(ranks))
    observed = smallest_tail(np.bincount(ranks, minlength=values), len(ranks))
    return float((1 + np.sum(null <= observed)) / (1 + SIMULATIONS))


def coverage_interval(n: int, level: float = 0.999) -> tuple[float, float]:
    """Shares inside the band that a true coverage of `PROB` gives with this probability."""
    low, high = stats.binom.interval(level, n, PROB)
    return low / n, high / n


def family_table(name: str, runs: dict[str, np.ndarray]) -> str:
    """Ranks and coverage of one family as Markdown."""
    names = [key.removeprefix("rank:") for key in runs if key.startswith("rank:")]
    n, largest = len(runs["rhat"]), int(runs["ranks"][0])
    limit = 1 - (1 - FAMILY_WISE) ** (1 / len(names))
    low, high = coverage_interval(n)
    rows, passed = [], True
    for quantity in names:
        p, share = uniformity(runs[f"rank:{quantity}"], largest), runs[f"inside:{quantity}"].mean()
        fine = p >= limit and low <= share <= high
        passed &= fine
        rows.append([quantity, f"{p:.3f}", f"{share:.1%}", "yes" if fine else "NO"])
    family = FAMILIES[name]
    bad = [int(np.sum(runs["rhat"] > bound)) for bound in (1.01, 1.05, 1.1)]
    return "\n\n".join(
        [
            f"## {name}: {_verdict(passed, n)}",
            f"`{family.model}`; {n} data sets of {family.n_assets} assets x {family.n_months} months x "
            f"{family.n_characteristics} characteristics, one return in seven missing; NUTS {family.settings.chains} x "
            f"({family.settings.warmup} + {family.settings.draws}), ranks among {largest} thinned draws.",
            table(["quantity", "p of uniform ranks", f"{PROB:.0%} band covers", "passes"], rows),
            f"Passes: p >= {limit:.4f} (family-wise {FAMILY_WISE:.0%} over {len(names)} quantities) and coverage "
            f"within {low:.1%} to {high:.1%} (binomial, 99.9%). All fits count, converged or not: R-hat above 1.01 in "
            f"{bad[0]}, 1.05 in {bad[1]}, 1.1 in {bad[2]}; {int(np.sum(runs['diverging'] > 0))} with a divergence "
            f"({int(runs['diverging'].sum())} in all). {runs['seconds'].sum() / 60:.1f} minutes, "
            f"{runs['steps'].mean():.0f} gradients a draw.",
        ]
    )


def _verdict(passed: bool, n: int) -> str:
    if n < GOAL_FITS:
        return f"NO VERDICT YET, {n} of {GOAL_FITS} fits, {'no failure so far' if passed else 'FAILS so far'}"
    return "passes" if passed else "FAILS"


@lru_cache
def prior_interaction() -> tuple[float, float]:
    """Median and 99% quantile of the absolute average interaction of the study's network under its prior."""
    model, arrays = coverage_model("partial"), simulate.economy(seed=0, **ECONOMY).panel.arrays()

    def one(rng_key: jax.Array) -> jax.Array:
        return jnp.abs(average_interactions(model, draw_prior(model, rng_key, arrays), arrays)[0][0])

    median, far = np.quantile(
        np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 2000))), [0.5, 0.99]
    )
    return float(median), float(far)


def coverage_table() -> str | None:
    """Partial against full pooling as Markdown."""
    rows, note = [], ""
    for pooling in POOLINGS:
        runs = collected(f"coverage-{pooling}")
        if runs is None:
            continue
        n = runs["inside"].shape[0]
        low, high = coverage_interval(n)
        note = f"{low:.0%} to {high:.0%} for one characteristic at {n} economies"
        rows.append(
            [
                pooling,
                str(n),
                ", ".join(f"{share:.0%}" for share in runs["inside"].mean(axis=0)),
                f"{runs['inside'].mean():.1%}",
                f"{np.median(runs['sd']) * 1e4:.0f} bp / {np.sqrt(np.mean(runs['error'] ** 2)) * 1e4:.0f} bp",
                f"{runs['first'].mean():.0%}",
                f"{runs['interaction'].mean():.3f}",
                f"{runs['inside_interaction'].mean():.0%}",
                f"{int(np.sum(runs['rhat'] > 1.05))} / {int(np.sum(runs['diverging'] > 0))}",
                f"{runs['seconds'].sum() / 60:.1f} min",
            ]
        )
    if not rows:
        return None
    header = [
        "pooling", "economies", f"{PROB:.0%} bands of the three sensitivities cover", "together",
        "median sd / RMS error", "planted pair ranks first", f"its mean (truth {INTERACTION})", "its band covers",
        "R-hat > 1.05 / divergences", "time",
    ]  # fmt: skip
    e = ECONOMY
    median, far = prior_interaction()
    return "\n\n".join(
        [
            "## Month-varying slopes and a planted interaction",
            f"`simulate.economy`: {e['n_assets']} assets x {e['n_months']} months x {e['n_characteristics']} "
            f"characteristics, monthly sd of every slope {e['slope_sd']}, noise {e['noise_sd']}, average slopes drawn "
            f"from N(0, {SLOPE_PRIOR_SD}^2), coefficient {INTERACTION} on the product of the first two (decimal "
            f"per month). `{coverage_model('partial')}`; the truth is not of the model's own form "
            "(linear plus a product). The same economies for both poolings.",
            table(header, rows),
            f"Binomial 99.9% interval of a true 90%: {note}. Ranks are by root mean square among 3 pairs.",
            f"Read the sizes of interactions with care. Under the prior the absolute average interaction has median "
            f"{median:.4f} and 99% quantile {far:.4f} a month, so the planted {INTERACTION} is a surprise: data as "
            "short as these find the pair, and its band is drawn towards zero and mostly misses the planted size.",
        ]
    )


def page() -> str:
    """The page, from all chunks so far."""
    parts = [
        "# Calibration",
        f"{line(provenance())} These are of the table; chunks made before are not made again.",
        "Parameters are drawn from the prior, returns simulated from them, the model fitted by NUTS, and the truth "
        "ranked among the draws: ranks are uniform when the density, the sampler and the quantities agree "
        "(Talts et al., 2018). Uniformity is judged by the whole ECDF at once.",
    ]
    for name in FAMILIES:
        runs = collected(name)
        parts.append(f"## {name}: NOT RUN YET" if runs is None else family_table(name, runs))
    parts.append(coverage_table() or "## Month-varying slopes and a planted interaction: NOT RUN YET")
    parts.append("Made by `python -m benchmarks.calibrate`, which goes on from the chunks that are there.\n")
    return "\n\n".join(parts)


def main() -> None:
    """Run what is asked for and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", nargs="*", choices=[*FAMILIES, "coverage"], default=[*FAMILIES, "coverage"])
    parser.add_argument("--fits", type=int, default=GOAL_FITS, help="data sets of a family")
    parser.add_argument("--replications", type=int, default=100, help="economies of the coverage study")
    parser.add_argument("--chunk", type=int, default=25, help="data sets fitted at once")
    parser.add_argument("--page", type=Path, default=PAGE)
    given = parser.parse_args()
    for name in given.family:
        if name == "coverage":
            for pooling in POOLINGS:
                make = partial(coverage_chunk, pooling)
                chunks(f"coverage-{pooling}", make, given.replications, given.chunk)
        else:
            chunks(name, partial(calibration_chunk, FAMILIES[name]), given.fits, given.chunk)
        given.page.write_text(page())


if __name__ == "__main__":
    main()
