"""NUTS on any model: one compiled program for all chains, and for many data sets of one shape.

Chains are a batch dimension of one program (``vmap``), not devices: nothing can wait for anything else, the same code
runs on a GPU, and results do not depend on the number of cores (but for axes of the curvature of more than about a
hundred parameters, whose last bits LAPACK may compute otherwise). Programs are kept by (model, settings), with the data
as arguments, so a second fit of the same shape compiles nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree
from numpyro.infer.hmc import hmc
from numpyro.infer.hmc_util import build_adaptation_schedule

from bayesfactor.components.batches import map_in_batches
from bayesfactor.errors import ConvergenceError, DataError
from bayesfactor.inference import frame, space
from bayesfactor.inference.checkpoint import Checkpoint
from bayesfactor.inference.completion import completed
from bayesfactor.inference.settings import NUTS

SCHEDULED = 150  # draws of warm-up, below which Stan's schedule has too few to learn widths from
WARMUP_TREE_DEPTH = 7  # the first steps are badly scaled: long trajectories are wasted on them
# Half the time to compile; no slower to run, since the work is in library calls and simple loops.
COMPILER = {"xla_llvm_disable_expensive_passes": True}
CHUNK = 50  # draws between two looks at progress
CPU_DATA_SETS, GPU_DATA_SETS = 16, 256  # side by side: bounds the memory that a gradient takes
POINT = "unconstrained:"  # before the names of sites, where statistics stand beside them

STATISTICS = {
    "accept_prob": "acceptance_rate",
    "num_steps": "n_steps",
    "diverging": "diverging",
    "energy": "energy",
    "potential_energy": "lp",
    "adapt_state.step_size": "step_size",
}


class Draws(NamedTuple):
    """Posterior draws.

    Attributes
    ----------
    posterior : site -> (chain, draw, ...), constrained, deterministic sites included.
    statistics : name -> (chain, draw), in ArviZ's names.
    guide : of variational inference, name -> (chain, ...): its parameters, `elbo` (chain, chunk), `log_weight`
        (chain, draw), log of joint density over guide, and `khat` (chain,).
    end : where the chains, or the guides, ended: a later run can begin there.
    """

    posterior: dict[str, np.ndarray]
    statistics: dict[str, np.ndarray]
    guide: dict[str, np.ndarray] | None = None
    end: space.Place | None = None


class Programs(NamedTuple):
    """The compiled pieces of a run; arguments are batched as (chain,) or (data set, chain).

    `advance` takes a number of draws, `CHUNK` at most, and gives room for `CHUNK`: one program for any number.

    `start` and `search` take a `space.Place` after keys and data, or nothing; `start` also the `frame.Frame` made of
    what `search` found, without which chains move in the parameters themselves.
    """

    search: Callable[..., Any]
    start: Callable[..., Any]
    advance: Callable[..., Any]
    constrain: Callable[..., Any]


class Chain(NamedTuple):
    """From which a chain goes on.

    Attributes
    ----------
    kernel : state of NumPyro's sampler.
    frame : in which it moves, or None.
    """

    kernel: Any
    frame: frame.Frame | None


def programs_for(model: Any, settings: NUTS, *, many: bool = False) -> Programs:
    """Programs of a run, shared between fits of equal models and settings where they can be hashed.

    Parameters
    ----------
    model : NumPyro program of one argument, the data.
    settings : see `NUTS`.
    many : whether the data have a leading data-set dimension.
    """
    try:
        return _cached_programs(model, settings, many)
    except TypeError:  # a model that holds a user's network is not hashable
        return _programs(model, settings, many)


@lru_cache(maxsize=32)
def _cached_programs(model: Any, settings: NUTS, many: bool) -> Programs:
    return _programs(model, settings, many)


def _programs(model: Any, settings: NUTS, many: bool) -> Programs:
    def potential(data: Any, own: frame.Frame | None) -> Callable[[Any], Array]:
        if own is None:
            return partial(space.potential, model, data)
        sites = space.layout(model, data)
        return lambda seen: space.potential(model, data, frame.point_of(own, seen, sites))

    init_kernel, sample_kernel = hmc(potential_fn_gen=potential, algo="NUTS")

    def near(rng_key: Array, data: Any, known: space.Place | None) -> space.Point:
        location = None if known is None else known.location
        return space.start_point(model, rng_key, data, settings.start_radius, location)[0]

    def search(rng_key: Array, data: Any, known: space.Place | None) -> tuple[Array, Array]:
        return frame.search(model, data, near(jax.random.fold_in(rng_key, 1), data, known))

    def start(rng_key: Array, data: Any, known: space.Place | None, own: frame.Frame | None) -> tuple[Chain, Array]:
        place_key, kernel_key = jax.random.split(rng_key)
        variance = None if known is None or own is not None else _variance(known.log_scale)
        state = init_kernel(
            near(place_key, data, known) if own is None else frame.start(potential(data, own), place_key, own),
            num_warmup=settings.warmup,
            target_accept_prob=settings.target_accept,
            max_tree_depth=(min(WARMUP_TREE_DEPTH, settings.max_tree_depth), settings.max_tree_depth),
            dense_mass=False,
            inverse_mass_matrix=variance,
            model_args=(data, own),
            rng_key=kernel_key,
        )
        if known is not None and own is None and settings.warmup < SCHEDULED:
            state = _without_windows(state, known.log_scale, settings.warmup)
        slopes = jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(state.z_grad)])
        return Chain(state, own), jnp.isfinite(state.potential_energy) & jnp.all(jnp.isfinite(slopes))

    def advance(chain: Chain, data: Any, length: Array) -> tuple[Chain, tuple[Any, dict[str, Array]]]:
        def told(state: Any) -> tuple[Any, dict[str, Array]]:
            point = state.z if chain.frame is None else frame.point_of(chain.frame, state.z, space.layout(model, data))
            return point, {name: _field(state, field) for field, name in STATISTICS.items()}

        def step(index: Array, carried: tuple[Any, Any]) -> tuple[Any, Any]:
            state = sample_kernel(carried[0], model_args=(data, chain.frame))
            return state, jax.tree.map(lambda kept, value: kept.at[index].set(value), carried[1], told(state))

        room = jax.tree.map(lambda one: jnp.zeros((CHUNK, *one.shape), one.dtype), jax.eval_shape(told, chain.kernel))
        state, drawn = jax.lax.fori_loop(0, length, step, (chain.kernel, room))
        return Chain(state, chain.frame), drawn

    def constrain(points: Any, data: Any) -> dict[str, Array]:
        return space.constrain(model, points, data)

    def batched(function: Callable[..., Any], *more: int) -> Callable[..., Any]:
        chains = jax.vmap(function, in_axes=(0, None, *more))
        return in_groups(chains) if many else chains

    return Programs(
        search=jax.jit(
            lambda rng_key, data, known=None: batched(search, 0)(rng_key, data, known), compiler_options=COMPILER
        ),
        start=jax.jit(
            lambda rng_key, data, known=None, own=None: batched(start, 0, 0)(rng_key, data, known, own),
            compiler_options=COMPILER,
        ),
        advance=jax.jit(
            lambda state, data, length: batched(partial(advance, length=length))(state, data),
            donate_argnums=0,
            compiler_options=COMPILER,
        ),
        constrain=jax.jit(batched(constrain), compiler_options=COMPILER),
    )


def _variance(log_scale: dict[str, Array]) -> Array:
    """The diagonal that the mass matrix is adapted from (parameter,), in the sampler's order of sites."""
    return ravel_pytree(jax.tree.map(lambda leaf: jnp.exp(2 * space.given_or(leaf, jnp.zeros_like(leaf))), log_scale))[
        0
    ]


def _without_windows(state: Any, log_scale: dict[str, Array], warmup: int) -> Any:
    """The sampler in the last part of its warm-up, where the step alone is adapted, if its widths are known."""
    known = jnp.any(~jnp.isnan(jnp.concatenate([leaf.reshape(-1) for leaf in log_scale.values()])))
    last = len(build_adaptation_schedule(warmup)) - 1
    adapted = state.adapt_state
    window = jnp.where(known, last, adapted.window_idx).astype(adapted.window_idx.dtype)
    return state._replace(adapt_state=adapted._replace(window_idx=window))


def in_groups(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` over data sets, so many at once; every argument has a leading dimension of data sets."""
    at_once = CPU_DATA_SETS if jax.default_backend() == "cpu" else GPU_DATA_SETS
    return lambda *arguments: map_in_batches(lambda one: function(*one), arguments, at_once)


def first_unusable(usable: Any, labels: Sequence[str] | None, word: str = "chain") -> str:
    """The first of (chain,) or (data set, chain) that is not usable, in words."""
    *data_set, chain = np.argwhere(~np.asarray(usable))[0]
    if not data_set:
        return f"{word} {chain}"
    return f"{labels[data_set[0]] if labels else f'data set {data_set[0]}'}, {word} {chain}"


def _field(state: Any, path: str) -> Array:
    for name in path.split("."):
        state = getattr(state, name)
    return state


def run_nuts(
    model: Any,
    data: Any,
    settings: NUTS,
    rng_key: Array,
    report: Callable[[int, int], None] | None = None,
    *,
    many: bool = False,
    labels: Sequence[str] | None = None,
    checkpoint: Checkpoint | None = None,
    start: space.Place | None = None,
) -> Draws:
    """Draw from the posterior of one data set, or of many of one shape at once.

    Parameters
    ----------
    model : NumPyro program of one argument, the data.
    data : pytree; with ``many=True`` every leaf has a leading data-set dimension.
    settings : see `NUTS`.
    rng_key : key, or keys (data set,).
    report : called with (draws done, draws in all) per chain, warm-up included.
    labels : (data set,) names for messages, if `many`.
    checkpoint : where to go on from, and where to save; draws are the same bits with and without.
    start : where chains begin; at random if None, or where it is NaN. The mass matrix is adapted from its widths; in a
        warm-up of less than `SCHEDULED` draws it stays at them, and the step alone is adapted. Chains that move along
        the axes of the curvature look for a mode from there, and have their own widths.

    Returns
    -------
    Draws (chain, draw, ...), or (data set, chain, draw, ...).

    Raises
    ------
    ConvergenceError
        If no start with a finite density was found, naming the chain.
    """
    programs = programs_for(model, settings, many=many)
    split = partial(jax.random.split, num=settings.chains)
    keys = jax.vmap(split)(rng_key) if many else split(rng_key)
    data, start = jax.tree.map(jnp.asarray, (data, start))
    draw_axis = 2 if many else 1
    framed = mass_matrix_of(model, settings, jax.tree.map(lambda leaf: leaf[0], data) if many else data) == "dense"
    own = jax.eval_shape(programs.search, keys, data, start) if framed else None
    own = None if own is None else frame.Frame(*own)
    saved = None if checkpoint is None else checkpoint.load(jax.eval_shape(programs.start, keys, data, start, own)[0])
    kept: list[dict[str, np.ndarray]] = []
    if saved is None:
        done = 0
        if framed:
            own = frame.frame_of(*map(np.asarray, programs.search(keys, data, start)))
        state, usable = programs.start(keys, data, start, own)
        if not bool(jnp.all(usable)):
            tried = "around the place that was found" if framed else f"at {space.START_CANDIDATES} starting points"
            raise ConvergenceError(
                f"no chain can start: the log density is not finite {tried}, or "
                f"its gradient at the chosen one ({first_unusable(usable, labels)}). Usual causes: "
                "prior scales that are far too wide, a network that returns NaN. Check the model on panel.arrays()."
            )
    else:
        done, state = saved.done, saved.state
        kept += [saved.arrays] if saved.arrays else []
    total = settings.warmup + settings.draws
    end = 0
    for length in [*_chunks(settings.warmup), *_chunks(settings.draws)]:
        end += length
        if end <= done:
            continue
        state, (points, statistics) = programs.advance(state, data, np.int32(length))
        if end > settings.warmup:
            named = {POINT + name: value for name, value in points.items()} | statistics
            made = (slice(None),) * draw_axis + (slice(length),)
            kept.append({name: np.asarray(value)[made] for name, value in named.items()})
        done = end
        jax.block_until_ready(state.kernel.potential_energy)
        if report is not None:
            report(done, total)
        if checkpoint is not None:
            checkpoint.offer(done, total, state, partial(_joined, kept, draw_axis))
    joined = _joined(kept, draw_axis)
    stacked = {name.removeprefix(POINT): value for name, value in joined.items() if name.startswith(POINT)}
    extras = {name: joined[name] for name in STATISTICS.values()}
    constrained = {name: np.asarray(value) for name, value in programs.constrain(stacked, data).items()}
    extras["lp"] = -extras["lp"]
    posterior = completed(model, constrained, data, rng_key, many=many)
    return Draws(posterior, extras, end=_end(stacked, draw_axis))


def mass_matrix_of(model: Any, settings: NUTS, data: Any) -> str:
    """`settings.mass_matrix`, "auto" made definite: "dense" chains move along axes of the curvature."""
    asked = settings.mass_matrix
    if "dense" not in (asked, getattr(model, "mass_matrix", "diagonal")) or asked == "diagonal":
        return "diagonal"
    size = space.size_of(space.layout(model, data))
    if asked == "dense" and size > frame.MOST:
        raise DataError(
            f"mass_matrix='dense' is for {frame.MOST:,} parameters at most, and the model has {size:,}: give 'diagonal'"
        )
    return "dense" if asked == "dense" or size <= frame.LIMIT else "diagonal"


def _end(points: dict[str, np.ndarray], axis: int) -> space.Place:
    """The last draw of every chain, and the spread of its draws, of few ones shrunk as Stan's adaptation shrinks it."""
    location = {name: np.take(value, -1, axis=axis) for name, value in points.items()}
    n_draws = next(iter(points.values())).shape[axis]
    share = n_draws / (n_draws + 5)
    variance = {name: share * np.var(value, axis=axis) + 1e-3 * (1 - share) for name, value in points.items()}
    return space.Place(location, {name: 0.5 * np.log(value) for name, value in variance.items()})


def _joined(chunks: list[dict[str, np.ndarray]], axis: int) -> dict[str, np.ndarray]:
    names = chunks[0] if chunks else ()
    return {name: np.concatenate([chunk[name] for chunk in chunks], axis=axis) for name in names}


def _chunks(length: int) -> list[int]:
    whole, rest = divmod(length, CHUNK)
    return [CHUNK] * whole + ([rest] if rest else [])
