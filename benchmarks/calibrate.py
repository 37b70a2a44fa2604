"""Calibration of every model family by the inference that is used on it, planted defects, and coverage studies.

    python -m benchmarks.calibrate [STUDY ...] [--fits 300] [--minutes 45] [--list]

Studies are run in the order given, each for at most so many minutes: chunks are kept under .cache/calibration, and the
same call goes on where the last one stopped. What was found goes to benchmarks/calibration.json, with the versions that
found it, and from there to docs/calibration.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from benchmarks.record import CACHE, ROOT, line, load, provenance, store, table, use_compilation_cache

use_compilation_cache()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from arviz_stats.base import array_stats  # noqa: E402

from bayesfactor import simulate  # noqa: E402
from bayesfactor.calibration import CalibrationResult, Design, calibrate  # noqa: E402
from bayesfactor.calibration.chunks import ChunkStore  # noqa: E402
from bayesfactor.calibration.simulation import draw_prior  # noqa: E402
from bayesfactor.calibration.uniformity import coverage_interval, level_of_each  # noqa: E402
from bayesfactor.components.batches import map_in_batches  # noqa: E402
from bayesfactor.inference.checkpoint import identity  # noqa: E402
from bayesfactor.inference.sampling import run_nuts  # noqa: E402
from bayesfactor.inference.settings import NUTS, SVI, Exact  # noqa: E402
from bayesfactor.inference.streaming import cast  # noqa: E402
from bayesfactor.models import FundamentalFactorModel, SortedFactorModel  # noqa: E402
from bayesfactor.panel import Panel, PanelArrays  # noqa: E402
from tests.calibration.defects import DEFECTS, planted  # noqa: E402

FOLDER = CACHE / "calibration"
RESULTS = ROOT / "benchmarks" / "calibration.json"
PAGE = ROOT / "docs" / "calibration.md"
GOAL_FITS = 300
MINUTES = 45.0  # a family, on two cores
PROB = 0.9


class Family(NamedTuple):
    """A model under its own prior, how it is fitted, and the shape of its data sets."""

    model: FundamentalFactorModel | SortedFactorModel
    inference: NUTS | SVI | Exact
    design: Design | Panel = Design()
    seed: int = 1


linear = partial(FundamentalFactorModel, hidden=(), noise="normal")
network = partial(FundamentalFactorModel, hidden=(3,), activation="tanh", noise="normal")
FEW = NUTS(warmup=250, draws=200, chains=2)
SHORT = NUTS(warmup=250, draws=200, chains=2, max_tree_depth=8)
# Stocks' returns are part of the design of what prices test portfolios.
PRICED = simulate.priced_economy(
    n_months=40, n_assets=15, n_characteristics=2, n_portfolios=4, seed=5, n_factors=1, ragged=True
).panel
SORTS = NUTS(warmup=150, draws=100, chains=2, max_tree_depth=6)
PRICED_BY_TWO = simulate.priced_economy(
    n_months=40, n_assets=15, n_characteristics=3, n_portfolios=5, seed=6, n_factors=2, ragged=True
).panel
one_sort = partial(SortedFactorModel, n_factors=1, hidden=())
LONG, HALF, MONTH = Design(), Design(n_months=30), Design(n_months=1, n_assets=40)

FAMILIES: dict[str, Family] = {
    "linear, partial, NUTS": Family(linear(), FEW, LONG),
    "linear, partial, SVI": Family(linear(), SVI(), LONG),
    "network, partial, NUTS": Family(network(), SHORT, HALF),
    "network, partial, SVI": Family(network(), SVI(), HALF),
    "linear, full, NUTS": Family(linear(pooling="full"), FEW, LONG),
    "linear, full, Exact": Family(linear(pooling="full"), Exact(draws=200, chains=2), LONG),
    "linear, full, SVI": Family(linear(pooling="full"), SVI(), LONG),
    "linear, none, NUTS": Family(linear(pooling="none"), FEW, MONTH),
    "linear, none, SVI": Family(linear(pooling="none"), SVI(), MONTH),
    "network, full, NUTS": Family(network(pooling="full"), SHORT, HALF),
    "network, full, SVI": Family(network(pooling="full"), SVI(), HALF),
    "network, none, NUTS": Family(network(pooling="none"), SHORT, MONTH),
    "network, none, SVI": Family(network(pooling="none"), SVI(), MONTH),
    "linear, partial, Student-t, NUTS": Family(linear(noise="student_t"), SHORT, HALF),
    "linear, partial, Student-t, SVI": Family(linear(noise="student_t"), SVI(), HALF),
    # More slopes than the LKJ prior is for: their correlation is diagonal plus low rank.
    "linear, partial, 13 characteristics, NUTS": Family(
        linear(), FEW, Design(n_months=30, n_assets=25, n_characteristics=13)
    ),
    "sorted, full covariance, NUTS": Family(one_sort(), SORTS, PRICED),
    "sorted, by asset, NUTS": Family(one_sort(residual_covariance="by_asset"), SORTS, PRICED),
    "sorted, residual factors, NUTS": Family(one_sort(residual_covariance="factors", residual_rank=1), SORTS, PRICED),
    "sorted, pricing-error penalty, NUTS": Family(
        one_sort(residual_covariance="by_asset", alpha=False, pricing_error_penalty=2.0), SORTS, PRICED
    ),
    "sorted, two factors, NUTS": Family(
        SortedFactorModel(n_factors=2, hidden=()),
        NUTS(warmup=250, draws=250, chains=2, max_tree_depth=6),
        PRICED_BY_TWO,
    ),
    "sorted, two factors of a network, NUTS": Family(SortedFactorModel(n_factors=2, hidden=(2,)), SORTS, PRICED),
    "sorted, Student-t, NUTS": Family(one_sort(noise="student_t"), SORTS, PRICED),
}

# Small models that show a defect with few fits: the slopes are large, so that what is done to them is.
RIGHT, VARYING = "right model", "full pooling on month-varying slopes"
DEFECT_FITS, DEFECT_CHUNK = 100, 50
DEFECT_SEED = 7  # the right model's own, fresh
BY_POOLING = {
    "full": Family(
        linear(pooling="full", slope_sd=0.1), NUTS(warmup=100, draws=100, chains=2), Design(n_months=6, n_assets=20)
    ),
    "partial": Family(
        linear(), NUTS(warmup=150, draws=150, chains=2, max_tree_depth=6), Design(n_months=24, n_assets=40)
    ),
}
MISPOOLED = Family(linear(pooling="full"), Exact(draws=200, chains=2), Design(n_months=24, n_assets=40))

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
COVERAGE_CHUNK = 25
POOLINGS = ("partial", "full")


# ---------------------------------------------------------------------- families and defects


def tell(name: str) -> Callable[[int, int, int, float], None]:
    """A line a chunk."""

    def progress(done: int, fits: int, attempt: int, seconds: float) -> None:
        took = f"{seconds:.0f} s" if seconds else "kept"
        print(f"{name}: run {attempt}, {done} of {fits} fits, {took}", flush=True)

    return progress


def told(result: CalibrationResult) -> dict[str, Any]:
    """What the page says of a study."""
    last = result.attempts[-1]
    if not last.sizes["fit"]:
        last = result.attempts[0]
    place = [one is last for one in result.attempts].index(True)
    rows = result.table(place)
    return {
        "status": result.status,
        "fits": last.sizes["fit"],
        "asked": result.fits,
        "attempt": place + 1,
        "reasons": list(result.reasons),
        "first": [str(name) for name in result.table(0).query("~passes").index] if place else [],
        "rows": [[str(name), float(row["p_value"]), float(row["coverage"])] for name, row in rows.iterrows()],
        "diagnostics": result.diagnostics(place),
        "model": last.attrs["model"],
        "inference": last.attrs["inference"],
        "design": last.attrs["design"],
        "n_ranks": last.attrs["n_ranks"],
        "provenance": line(provenance()),
    }


def run_family(name: str, fits: int, minutes: float, chunk: int) -> dict[str, Any]:
    """One family, as far as the minutes go."""
    family = FAMILIES[name]
    result = calibrate(
        family.model, family.inference, design=family.design, fits=fits, seed=family.seed, store=FOLDER,
        chunk=chunk, minutes=minutes, progress=tell(name),
    )  # fmt: skip
    return told(result)


def run_defect(name: str, minutes: float) -> dict[str, Any]:
    """SBC of one mutant; of the right model on other seeds, with a rerun."""
    began = time.perf_counter()
    size: dict[str, Any] = {"fits": DEFECT_FITS, "chunk": DEFECT_CHUNK, "minutes": minutes}
    shared: dict[str, Any] = {**size, "store": FOLDER, "progress": tell(name)}
    if name.startswith(RIGHT):
        family = BY_POOLING[name.split(", ")[1]]
        result = calibrate(family.model, family.inference, design=family.design, seed=DEFECT_SEED, **shared)
    elif name == VARYING:
        result = calibrate(
            MISPOOLED.model, MISPOOLED.inference, design=MISPOOLED.design, truth=linear(), rerun=False, **shared
        )
    else:
        family = BY_POOLING[DEFECTS[name].pooling]
        with planted(DEFECTS[name]):
            result = calibrate(family.model, family.inference, design=family.design, rerun=False, **shared)
    return told(result) | {"seconds": time.perf_counter() - began}


DEFECT_STUDIES = {
    **{f"{RIGHT}, {pooling}": pooling for pooling in BY_POOLING},
    VARYING: "truth partial, fit full",
    **{name: defect.pooling for name, defect in DEFECTS.items() if defect.sbc is not None},
}


# ---------------------------------------------------------------------- coverage on month-varying slopes


def coverage_model(pooling: str) -> FundamentalFactorModel:
    """Units enough for three directions of common shocks and a product."""
    return FundamentalFactorModel(hidden=(5,), activation="tanh", noise="normal", pooling=pooling)


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


def coverage_chunk(pooling: str, chunk: int, size: int) -> dict[str, np.ndarray]:
    """Coverage of the average sensitivities, and the rank of the planted interaction, on one chunk of economies."""
    model = coverage_model(pooling)
    economies = []
    for i in range(size):
        seed = 50_000 + chunk * size + i
        mean = SLOPE_PRIOR_SD * np.random.default_rng([seed, 3]).standard_normal(ECONOMY["n_characteristics"])
        economies.append(simulate.economy(seed=seed, slope_mean=mean, **ECONOMY))

    @jax.jit
    @jax.vmap
    def functions(draws: Any, arrays: PanelArrays) -> Any:
        def one(params: Any) -> Any:
            return average_sensitivity(model, params, arrays), *average_interactions(model, params, arrays)

        return map_in_batches(one, draws, 50)

    with jax.enable_x64(False):
        arrays = cast(jax.tree.map(lambda *leaves: np.stack(leaves), *(e.panel.arrays() for e in economies)), False)
        keys = jax.random.split(jax.random.key(chunk), size)
        draws = run_nuts(model, arrays, COVERAGE_SETTINGS, keys, many=True)
        flat = {k: jnp.asarray(v.reshape(size, -1, *v.shape[3:])) for k, v in draws.posterior.items()}
        shape = next(iter(draws.posterior.values())).shape[:3]
        found = functions(flat, arrays)
        slopes, average, strength = (np.asarray(part, float).reshape(*shape, -1) for part in found)
    truth = np.array([economy.truth["sensitivity"].values for economy in economies])
    flat_slopes = slopes.reshape(size, -1, slopes.shape[-1])
    lower, upper = np.quantile(flat_slopes, [(1 - PROB) / 2, (1 + PROB) / 2], axis=1)
    ranks = stats.rankdata(-strength.reshape(size, -1, strength.shape[-1]), axis=-1)
    planted_pair = average[..., 0].reshape(size, -1)
    low, high = np.quantile(planted_pair, [(1 - PROB) / 2, (1 + PROB) / 2], axis=1)
    checked = np.concatenate([slopes, average], axis=-1)
    rhat = [[array_stats.rhat(one[..., k], chain_axis=0, draw_axis=1) for k in range(one.shape[-1])] for one in checked]
    return {
        "inside": (lower <= truth) & (truth <= upper),
        "sd": flat_slopes.std(axis=1, ddof=1),
        "error": flat_slopes.mean(axis=1) - truth,
        "first": np.median(ranks, axis=1).argmin(axis=1) == 0,
        "interaction": planted_pair.mean(axis=1),
        "inside_interaction": (low <= INTERACTION) & (high >= INTERACTION),
        "diverging": draws.statistics["diverging"].sum(axis=(1, 2)),
        "rhat": np.max(rhat, axis=1),
    }


def run_coverage(pooling: str, economies: int, minutes: float) -> dict[str, Any] | None:
    """Chunks of the coverage study that are there or that there is time for, in numbers."""
    same = identity(coverage_model(pooling), COVERAGE_SETTINGS, seed=0, panel=repr(ECONOMY), precision="float32")
    kept = ChunkStore(FOLDER, f"coverage-{pooling}", same | {"chunk": COVERAGE_CHUNK})
    parts: list[dict[str, np.ndarray]] = []
    until, lasted = time.perf_counter() + 60 * minutes, 0.0
    for index in range(-(-economies // COVERAGE_CHUNK)):
        part = kept.load(1, index)
        if part is None:
            began = time.perf_counter()
            if began + lasted > until:
                break
            part = coverage_chunk(pooling, index, COVERAGE_CHUNK)
            lasted = time.perf_counter() - began
            kept.save(1, index, part | {"seconds": np.full(1, lasted)})
            part["seconds"] = np.full(1, lasted)
            print(f"coverage, {pooling}: chunk {index}, {lasted:.0f} s", flush=True)
        parts.append(part)
    if not parts:
        return None
    runs = {key: np.concatenate([np.atleast_1d(part[key]) for part in parts]) for key in parts[0]}
    median, far = prior_interaction()
    return {
        "economies": len(runs["inside"]),
        "inside": runs["inside"].mean(axis=0).tolist(),
        "sd_bp": float(np.median(runs["sd"]) * 1e4),
        "error_bp": float(np.sqrt(np.mean(runs["error"] ** 2)) * 1e4),
        "first": float(runs["first"].mean()),
        "interaction": float(runs["interaction"].mean()),
        "inside_interaction": float(runs["inside_interaction"].mean()),
        "unconverged": int(np.sum(runs["rhat"] > 1.05)),
        "diverging": int(np.sum(runs["diverging"] > 0)),
        "minutes": float(runs["seconds"].sum() / 60),
        "prior": [median, far],
        "provenance": line(provenance()),
    }


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


# ---------------------------------------------------------------------- the page


def verdict(found: dict[str, Any] | None) -> str:
    """In a word or two."""
    if found is None or not found["fits"]:
        return "NOT RUN YET"
    if found["status"] == "unfinished":
        return f"{found['fits']} of {found['asked']}" + (" of the rerun" if found["attempt"] > 1 else "")
    return {"passes": "passes", "fails": "FAILS"}[found["status"]] + (" on rerun" if found["attempt"] > 1 else "")


def _minutes(found: dict[str, Any]) -> str:
    return f"{found['diagnostics']['CPU minutes']:.1f}" if "CPU minutes" in found["diagnostics"] else "not recorded"


def summary(results: dict[str, Any]) -> str:
    """One row a family."""
    rows = []
    for name in FAMILIES:
        found = results.get(name)
        if found is None or not found["rows"]:
            rows.append([name, "NOT RUN YET", "", "", "", ""])
            continue
        lowest = min(found["rows"], key=lambda row: row[1])
        coverage = [row[2] for row in found["rows"]]
        rows.append(
            [
                name, verdict(found), str(found["fits"]), f"{lowest[1]:.4f} ({lowest[0]})",
                f"{min(coverage):.0%} to {max(coverage):.0%}", _minutes(found),
            ]
        )  # fmt: skip
    header = ["family", "verdict", "fits", "smallest p of uniform ranks", f"{PROB:.0%} bands cover", "CPU minutes"]
    return table(header, rows)


def family_section(name: str, found: dict[str, Any]) -> str:
    """Ranks and coverage of one family as Markdown."""
    limit = level_of_each(0.01, len(found["rows"]))
    low, high = coverage_interval(found["fits"], PROB)
    rows = [
        [quantity, f"{p:.4f}", f"{share:.1%}", "yes" if p >= limit and low <= share <= high else "NO"]
        for quantity, p, share in found["rows"]
    ]
    told = ", ".join(
        f"{what} {value:.0f}"
        for what, value in found["diagnostics"].items()
        if "minutes" not in what and what != "divergences"
    )
    first = f" The first run did not pass ({', '.join(found['first'])}); this is the second." if found["first"] else ""
    return "\n\n".join(
        [
            f"### {name}: {verdict(found)}",
            f"`{found['model']}` by `{found['inference']}`; {found['fits']} data sets of {found['design']}; the truth "
            f"is ranked among {found['n_ranks']} draws.{first}",
            table(["quantity", "p of uniform ranks", f"{PROB:.0%} band covers", "holds"], rows),
            f"Limits: p of {limit:.4f}, coverage of {low:.1%} to {high:.1%}. {told}. "
            f"{_minutes(found)} CPU minutes. {found['provenance']}",
        ]
    )


def defect_table(results: dict[str, Any]) -> str:
    """What the harness says of right and wrong models."""
    rows = []
    for name, where in DEFECT_STUDIES.items():
        found = results.get(f"defect: {name}")
        defect = DEFECTS.get(name)
        expected = "rejected" if defect is None or defect.sbc else "not seen"
        expected = "passes" if name.startswith(RIGHT) else expected
        if found is None or not found["rows"]:
            rows.append([name, where, defect.check if defect else "", expected, "NOT RUN YET", ""])
            continue
        seen = {"passes": "passes", "fails": "REJECTED", "unfinished": f"{found['fits']} of {found['asked']}"}
        limit = level_of_each(0.01, len(found["rows"]))
        caught = [f"{row[0]} ({row[1]:.1g})" for row in sorted(found["rows"], key=lambda row: row[1]) if row[1] < limit]
        why = defect.note if defect and not defect.sbc else ", ".join(caught[:3])
        rows.append([name, where, defect.check if defect else "", expected, seen[found["status"]], why])
    header = [
        "what is fitted",
        "pooling",
        "exactness check that catches it",
        "expected of SBC",
        "found",
        "by ranks of (p)",
    ]
    return table(header, rows)


def coverage_section(results: dict[str, Any]) -> str:
    """Partial against full pooling as Markdown."""
    rows, note, prior = [], "", (0.0, 0.0)
    for pooling in POOLINGS:
        found = results.get(f"coverage, {pooling}")
        if found is None:
            rows.append([pooling, "NOT RUN YET", *[""] * 8])
            continue
        low, high = coverage_interval(found["economies"], PROB)
        note = f"{low:.0%} to {high:.0%} for one characteristic at {found['economies']} economies"
        prior = tuple(found["prior"])
        rows.append(
            [
                pooling,
                str(found["economies"]),
                ", ".join(f"{share:.0%}" for share in found["inside"]),
                f"{np.mean(found['inside']):.1%}",
                f"{found['sd_bp']:.0f} bp / {found['error_bp']:.0f} bp",
                f"{found['first']:.0%}",
                f"{found['interaction']:.3f}",
                f"{found['inside_interaction']:.0%}",
                f"{found['unconverged']} / {found['diverging']}",
                f"{found['minutes']:.1f} min; {found['provenance']}",
            ]
        )
    header = [
        "pooling", "economies", f"{PROB:.0%} bands of the three sensitivities cover", "together",
        "median sd / RMS error", "planted pair ranks first", f"its mean (truth {INTERACTION})", "its band covers",
        "R-hat > 1.05 / divergences", "time; versions",
    ]  # fmt: skip
    e = ECONOMY
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
            f"{prior[0]:.4f} and 99% quantile {prior[1]:.4f} a month, so the planted {INTERACTION} is a surprise: data "
            "as short as these find the pair, and its band is drawn towards zero and mostly misses the planted size.",
        ]
    )


def page(results: dict[str, Any]) -> str:
    """The page, from everything found so far."""
    made = [name for name in FAMILIES if results.get(name, {}).get("rows")]
    return "\n\n".join(
        [
            "# Calibration",
            "Parameters are drawn from the prior, returns simulated from them, the model fitted, and the truth ranked "
            "among the draws: ranks are uniform when density, prior, sampler and quantities agree (Talts et al., "
            "2018). `bayesfactor.calibration.calibrate` does it for any model, yours included (see the page on writing "
            "one).",
            "Ranks are judged by their whole ECDF at once (Saeilynoja, Buerkner and Vehtari, 2022), family-wise at 1% "
            "over the quantities of a family; 90% bands must cover within the binomial 99.9% interval. A family that "
            "does not pass is run once more on fresh seeds, and fails when that does not pass either. All fits count, "
            "converged or not. `SVI()` is the default guide with its trajectories, many data sets side by side, so "
            "that one rule stops the steps of all. The scale of the returns, which a fit measures on its training "
            "returns, is given here: a prior must not look at the data.",
            f"`make calibrate` goes through the families for at most {MINUTES:.0f} minutes each on two cores and goes "
            "on from the chunks that are there. Every row says with which versions it was made.",
            "## Families",
            summary(results),
            "Earlier runs, before the harness was part of the package (2026-11-21, commit 96a28d4): the linear model "
            "(12 assets x 30 months) and a network of three units (12 x 20), partial pooling, normal noise, NUTS, "
            "passed with 300 fits each.",
            "## Planted defects",
            "One edit each (`tests/calibration/defects.py`). The exactness checks run in seconds, with the tests, and "
            f"catch every one of {len(DEFECTS)}; SBC here of {DEFECT_FITS} fits of the linear model. SBC compares the "
            "package with itself: a prior that simulation and fit share, and constants, it cannot see.",
            defect_table(results),
            *(["## Families in full"] if made else []),
            *(family_section(name, results[name]) for name in made),
            coverage_section(results),
            "Made by `python -m benchmarks.calibrate`.\n",
        ]
    )


def main() -> None:
    """Run what is asked for and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("studies", nargs="*", help="names of families, `defects`, `defect: NAME`, `coverage`, `page`")
    parser.add_argument("--list", action="store_true", help="names of all studies")
    parser.add_argument("--fits", type=int, default=GOAL_FITS, help="data sets of a family")
    parser.add_argument("--economies", type=int, default=100, help="of the coverage study")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="at most, of each study")
    parser.add_argument("--chunk", type=int, default=25, help="data sets of a family fitted at once")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    defects = [f"defect: {name}" for name in DEFECT_STUDIES]
    every = [*defects, *FAMILIES, *(f"coverage, {pooling}" for pooling in POOLINGS)]
    if given.list:
        print("\n".join(every))
        return
    groups = {"defects": defects, "coverage": [name for name in every if name.startswith("coverage")], "page": []}
    wanted = [one for name in given.studies or every for one in groups.get(name, [name])]
    if unknown := [name for name in wanted if name not in every]:
        parser.error(f"no study {unknown[0]!r}: --list names them")
    results = load(given.results)
    for name in wanted:
        if name.startswith("defect: "):
            found: Any = run_defect(name.removeprefix("defect: "), given.minutes)
        elif name.startswith("coverage, "):
            found = run_coverage(name.removeprefix("coverage, "), given.economies, given.minutes)
        else:
            found = run_family(name, given.fits, given.minutes, given.chunk)
        if found is not None:
            results = load(given.results) | {name: found}
            store(given.results, results)
            given.page.write_text(page(results))
    given.page.write_text(page(load(given.results)))


if __name__ == "__main__":
    main()
