"""Variational inference on any model: restarts in one compiled program, data as arguments.

The expected log density minus the guide's own (the ELBO) is climbed by Adam on antithetic draws, at a few learning
rates one after the other: each until it gains nothing more, the last one with its iterates averaged.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from arviz_stats.base import array_stats
from jax import Array

from bayesfactor.components.batches import map_in_batches
from bayesfactor.errors import ConvergenceError
from bayesfactor.inference import guides, space
from bayesfactor.inference.sampling import COMPILER, Draws
from bayesfactor.inference.settings import SVI

CHUNK = 50  # steps between two looks at the progress
RATES = (1.0, 0.3, 0.1)  # of the learning rate, one after the other
LOOK_BACK = 2  # chunks that are compared with as many before them
SHARE_DONE = 0.95  # of the fits that must have stopped gaining, where there are many
START_SCALE = 0.1  # of the guide, in unconstrained units
FULL_LIMIT = 400  # parameters; the automatic guide has a full covariance up to here
MAX_STEPS = 20_000


class State(NamedTuple):
    """Where the optimisation stands, for one restart."""

    guide: Any
    moments: Any
    average: Any
    n_averaged: Array
    step: Array
    rng_key: Array


class Programs(NamedTuple):
    """The compiled pieces of a run; arguments are batched as (chain,) or (data set, chain)."""

    start: Callable[..., Any]
    advance: Callable[..., Any]
    draw: Callable[..., Any]
    moved: Callable[..., Any]
    finish: Callable[..., Any]


class Plan(NamedTuple):
    """How a model is fitted: which program, and which Gaussian over its parameters."""

    collapsed: bool
    kind: str


def plan_for(model: Any, settings: SVI, data: Any) -> Plan:
    """The automatic guide integrates the average slopes out where the model can; the named ones are plain Gaussians."""
    if settings.guide != "auto":
        return Plan(False, settings.guide)
    collapsed = settings.batch is None and hasattr(model, "collapsed")
    size = space.size_of(space.layout(model.collapsed if collapsed else model, data))
    return Plan(collapsed, "full" if size <= FULL_LIMIT else "normal")


@lru_cache(maxsize=32)
def _cached_programs(model: Any, settings: SVI, plan: Plan, many: bool) -> Programs:
    return _programs(model, settings, plan, many)


def programs_for(model: Any, settings: SVI, plan: Plan, *, many: bool = False) -> Programs:
    """Programs of a run, shared between fits of equal models and settings where they can be hashed."""
    try:
        return _cached_programs(model, settings, plan, many)
    except TypeError:  # a model that holds a user's network is not hashable
        return _programs(model, settings, plan, many)


def _programs(model: Any, settings: SVI, plan: Plan, many: bool) -> Programs:
    program = model.collapsed if plan.collapsed else model
    optimiser = optax.chain(optax.zero_nans(), optax.scale_by_adam(b2=0.99))

    def start(rng_key: Array, data: Any) -> tuple[State, Array]:
        place_key, run_key = jax.random.split(rng_key)
        point, usable = space.start_point(program, place_key, data, settings.start_radius)
        guide = guides.initial(plan.kind, space.flatten(point), START_SCALE, settings.rank)
        zero = jnp.zeros((), jnp.int32)
        return State(guide, optimiser.init(guide), guide, zero, zero, run_key), usable

    def negative_elbo(guide: Any, normals: Array, data: Any) -> Array:
        sites = space.layout(program, data)

        def one(normals: Array) -> Array:
            return space.potential(program, data, space.unflatten(guides.at(guide, normals), sites))

        return jnp.mean(jax.vmap(one)(normals)) - guides.entropy(guide)

    def advance(state: State, data: Any, rate: Array, averaging: Array, length: int) -> tuple[State, Array]:
        def step(state: State, _: None) -> tuple[State, Array]:
            normal_key, batch_key = jax.random.split(jax.random.fold_in(state.rng_key, state.step))
            shown = data
            if settings.batch is not None:
                n_time = data.position.shape[0]
                shown = data.batch(jax.random.choice(batch_key, n_time, (settings.batch,), replace=False))
            half = jax.random.normal(normal_key, (settings.particles // 2, guides.n_normals(state.guide)))
            value, slope = jax.value_and_grad(negative_elbo)(state.guide, jnp.concatenate([half, -half]), shown)
            update, moments = optimiser.update(slope, state.moments)
            guide = jax.tree.map(lambda old, move: old - rate * move, state.guide, update)
            n_averaged = jnp.where(averaging, state.n_averaged + 1, 0)
            share = 1.0 / jnp.maximum(n_averaged, 1)
            average = jax.tree.map(lambda mean, new: mean + share * (new - mean), state.average, guide)
            return State(guide, moments, average, n_averaged, state.step + 1, state.rng_key), value

        return jax.lax.scan(step, state, None, length=length)

    def moved(guide: Any, rng_key: Array, data: Any, n_walkers: int) -> tuple[Array, Array]:
        sites = space.layout(program, data)

        def density(normals: Array) -> Array:
            return -space.potential(program, data, space.unflatten(guides.at(guide, normals), sites))

        start_key, move_key = jax.random.split(rng_key)
        start = jax.random.normal(start_key, (n_walkers, guides.n_normals(guide)))
        kept, accepted = trajectories(density, start, move_key, settings.polish)
        points = jax.vmap(jax.vmap(partial(guides.at, guide)))(kept)
        return jnp.swapaxes(points, 0, 1).reshape(-1, points.shape[-1]), accepted

    def draw(guide: Any, rng_key: Array, data: Any, n_draws: int) -> tuple[Array, Array]:
        sites = space.layout(program, data)
        normals = jax.random.normal(rng_key, (n_draws, guides.n_normals(guide)))
        vectors = jax.vmap(partial(guides.at, guide))(normals)
        joint = map_in_batches(
            lambda vector: -space.potential(program, data, space.unflatten(vector, sites)), vectors, 16
        )
        return vectors, joint

    def finish(vectors: Array, data: Any) -> tuple[dict[str, Array], Any]:
        sites = space.layout(program, data)
        points = jax.vmap(lambda vector: space.unflatten(vector, sites))(vectors)
        params = space.constrain(program, points, data)
        if not plan.collapsed:
            return params, None
        return params, map_in_batches(lambda draw: model.slopes_given_rest(draw, data), params, 16)

    def batched(function: Callable[..., Any], n_own: int, n_shared: int = 0) -> Callable[..., Any]:
        """Over chains, the data shared; with `many` also over data sets; the last arguments are shared by all."""
        chains = jax.vmap(function, in_axes=(*[0] * n_own, None, *[None] * n_shared))
        return jax.vmap(chains, in_axes=(*[0] * (n_own + 1), *[None] * n_shared)) if many else chains

    return Programs(
        start=jax.jit(batched(start, 1), compiler_options=COMPILER),
        advance=jax.jit(
            lambda state, data, rate, averaging, length: batched(partial(advance, length=length), 1, 2)(
                state, data, rate, averaging
            ),
            static_argnums=4,
            donate_argnums=0,
            compiler_options=COMPILER,
        ),
        draw=jax.jit(
            lambda guide, rng_key, data, n_draws: batched(partial(draw, n_draws=n_draws), 2)(guide, rng_key, data),
            static_argnums=3,
            compiler_options=COMPILER,
        ),
        moved=jax.jit(
            lambda guide, rng_key, data, n_walkers: batched(partial(moved, n_walkers=n_walkers), 2)(
                guide, rng_key, data
            ),
            static_argnums=3,
            compiler_options=COMPILER,
        ),
        finish=jax.jit(batched(finish, 1), compiler_options=COMPILER),
    )


def trajectories(
    log_density: Callable[[Array], Array], start: Array, rng_key: Array, n_trajectories: int
) -> tuple[Array, Array]:
    """Hamiltonian trajectories of walkers side by side, in coordinates where the target is close to ``N(0, I)``.

    The step is adapted to an acceptance of 0.8 over the first two thirds, by all walkers together; the rest is kept.

    Parameters
    ----------
    log_density : of one point (parameter,).
    start : (walker, parameter).
    n_trajectories : in all.

    Returns
    -------
    Points (kept trajectory, walker, parameter) and their mean acceptance ().
    """
    size = start.shape[-1]
    n_steps = max(4, math.ceil(1.6 * size**0.25))  # about a quarter of a period at the usual step for this dimension
    slope = jax.vmap(jax.value_and_grad(log_density))
    n_adapted = 2 * n_trajectories // 3

    def trajectory(carry: Any, index: Array) -> Any:
        points, values, slopes, log_step = carry
        momentum_key, accept_key, jitter_key = jax.random.split(jax.random.fold_in(rng_key, index), 3)
        step = jnp.exp(log_step) * jax.random.uniform(jitter_key, minval=0.8, maxval=1.2)
        momentum = jax.random.normal(momentum_key, points.shape, points.dtype)

        def leapfrog(_: Any, state: Any) -> Any:
            points, momentum, _, slopes = state
            momentum = momentum + 0.5 * step * slopes
            points = points + step * momentum
            values, slopes = slope(points)
            return points, momentum + 0.5 * step * slopes, values, slopes

        ended = jax.lax.fori_loop(0, n_steps, leapfrog, (points, momentum, values, slopes))
        energy = values - 0.5 * jnp.sum(momentum**2, axis=-1)
        energy_after = ended[2] - 0.5 * jnp.sum(ended[1] ** 2, axis=-1)
        chance = jnp.exp(jnp.minimum(jnp.nan_to_num(energy_after - energy, nan=-jnp.inf), 0.0))
        take = jax.random.uniform(accept_key, chance.shape) < chance

        def chosen(new: Array, old: Array) -> Array:
            return jnp.where(take.reshape(-1, *[1] * (new.ndim - 1)), new, old)

        points, values, slopes = chosen(ended[0], points), chosen(ended[2], values), chosen(ended[3], slopes)
        gain = jnp.where(index < n_adapted, 1.0 / (1.0 + 0.3 * index), 0.0)
        log_step = log_step + gain * (jnp.mean(chance) - 0.8)
        return (points, values, slopes, log_step), (points, jnp.mean(chance))

    values, slopes = slope(start)
    log_step = jnp.asarray(-0.25 * math.log(size), start.dtype)
    first, _ = jax.lax.scan(trajectory, (start, values, slopes, log_step), jnp.arange(n_adapted))[0:2]
    _, (points, accepted) = jax.lax.scan(trajectory, first, jnp.arange(n_adapted, n_trajectories))
    return points, jnp.mean(accepted)


def run_svi(
    model: Any,
    data: Any,
    settings: SVI,
    rng_key: Array,
    report: Callable[[int, int], None] | None = None,
    *,
    many: bool = False,
) -> Draws:
    """Fit a guide, restarts as chains, and draw from it.

    Parameters
    ----------
    model : NumPyro program of one argument, the data.
    data : pytree of arrays; with a leading data-set dimension if `many`.
    settings : see `SVI`.
    rng_key : one key; one for each data set if `many`.
    report : called with (steps done, steps at most).

    Returns
    -------
    Draws (chain, draw, ...), or (data set, chain, draw, ...), with the guide's parameters.

    Raises
    ------
    ConvergenceError
        If no start with a finite density was found, or the bound is not finite.
    """
    data = jax.tree.map(jnp.asarray, data)
    plan = plan_for(model, settings, jax.tree.map(lambda leaf: leaf[0], data) if many else data)
    programs = programs_for(model, settings, plan, many=many)
    start_keys, draw_keys = _keys(rng_key, settings.restarts, many)
    state, usable = programs.start(start_keys, data)
    if not bool(jnp.all(usable)):
        raise ConvergenceError(
            f"no restart can begin: the log density is not finite at {space.START_CANDIDATES} starting points (restart "
            f"{int(np.argwhere(~np.asarray(usable))[0, -1])}). Usual causes: prior scales that are far too wide, a "
            "network that returns NaN. Check the model on panel.arrays()."
        )
    history = History([], [])
    limit = MAX_STEPS if settings.steps == "auto" else int(settings.steps)
    while (stage := next_stage(history, limit, fixed=settings.steps != "auto")) is not None:
        rate = jnp.asarray(settings.learning_rate * RATES[stage])
        state, losses = programs.advance(state, data, rate, jnp.asarray(stage == len(RATES) - 1), CHUNK)
        history.stages.append(stage)
        history.losses.append(np.asarray(losses, float))
        if report is not None:
            report(CHUNK * len(history.stages), limit)
    elbo = -np.stack([loss.mean(axis=-1) for loss in history.losses], axis=-1)
    if not np.isfinite(elbo[..., -1]).all():
        raise ConvergenceError(
            f"the bound of restart {int(np.argwhere(~np.isfinite(elbo[..., -1]))[0, -1])} is not finite after "
            f"{CHUNK * len(history.stages):,} steps: lower learning_rate (it is {settings.learning_rate})"
        )
    return _drawn(programs, state.average, data, draw_keys, settings.draws, elbo)


def redraw(model: Any, data: Any, settings: SVI, guide: dict[str, np.ndarray], rng_key: Array, n_draws: int) -> Draws:
    """Fresh draws from a fitted guide (chain, ...): the same key gives the same draws."""
    data = jax.tree.map(jnp.asarray, data)
    programs = programs_for(model, settings, plan_for(model, settings, data))
    _, draw_keys = _keys(rng_key, settings.restarts, many=False)
    elbo = guide["elbo"]
    parameters = {name: jnp.asarray(guide[name]) for name in ("loc", "log_scale", "lower", "factor") if name in guide}
    return _drawn(programs, parameters, data, draw_keys, n_draws, elbo)


class History(NamedTuple):
    """What the optimisation went through, by chunk: stage and losses (..., chain, step)."""

    stages: list[int]
    losses: list[np.ndarray]


def next_stage(history: History, limit: int, *, fixed: bool) -> int | None:
    """Stage of the next chunk, None when done: a function of the history alone, so that a resumed run decides alike.

    With `fixed`, the stages share `limit` steps out 6 : 2 : 2. Otherwise a stage ends when the mean loss over
    `LOOK_BACK` chunks is no longer below that of as many before by more than twice its standard error or 0.1 nats.
    """
    done = len(history.stages)
    total = -(-limit // CHUNK)
    if fixed:
        return None if done >= total else int(np.searchsorted([0.6 * total, 0.8 * total], done, side="right"))
    if not done:
        return 0
    stage = history.stages[-1]
    if done >= total:
        return None
    here = [loss for at, loss in zip(history.stages, history.losses, strict=True) if at == stage]
    if len(here) < 2 * LOOK_BACK:
        return stage
    last, before = (np.concatenate(part, axis=-1) for part in (here[-LOOK_BACK:], here[-2 * LOOK_BACK : -LOOK_BACK]))
    gain = before.mean(axis=-1) - last.mean(axis=-1)
    error = np.hypot(last.std(axis=-1), before.std(axis=-1)) / np.sqrt(last.shape[-1])
    stalled = ~(gain > np.maximum(2.0 * error, 0.1))
    if np.mean(stalled) < SHARE_DONE:
        return stage
    return stage + 1 if stage + 1 < len(RATES) else None


def _keys(rng_key: Array, chains: int, many: bool) -> tuple[Array, Array]:
    split = jax.vmap(partial(jax.random.split, num=(2, chains))) if many else partial(jax.random.split, num=(2, chains))
    keys = split(rng_key)
    return (keys[:, 0], keys[:, 1]) if many else (keys[0], keys[1])


def _drawn(programs: Programs, guide: Any, data: Any, keys: Array, n_draws: int, elbo: np.ndarray) -> Draws:
    vectors, joint = programs.draw(guide, keys, data, n_draws)
    params, slopes = programs.finish(vectors, data)
    posterior = {name: np.asarray(value) for name, value in params.items()}
    if slopes is not None:
        posterior["slope_mean"] = _draw_slopes(*slopes, keys)
    arrays = {name: np.asarray(value) for name, value in guide.items()}
    batch = elbo.shape[:-1]  # (chain,) or (data set, chain)
    log_weights = np.empty(np.shape(joint))
    for index in np.ndindex(batch):
        own = guides.log_density({name: value[index] for name, value in arrays.items()}, np.asarray(vectors)[index])
        log_weights[index] = np.asarray(joint, float)[index] - own
    _, khat = array_stats.psislw(log_weights)
    return Draws(posterior, {}, {**arrays, "elbo": elbo, "log_weight": log_weights, "khat": np.asarray(khat)})


def _draw_slopes(precision: Array, projection: Array, keys: Array) -> np.ndarray:
    """``N(P^-1 b, P^-1)`` for every draw, on the host in float64."""
    matrix, vector = np.asarray(precision, float), np.asarray(projection, float)
    seeds = np.asarray(jax.random.key_data(jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys.reshape(-1))))
    normals = np.stack([np.random.default_rng(seed).standard_normal(vector.shape[-2:]) for seed in seeds])
    root = np.linalg.cholesky(matrix)
    mean = np.linalg.solve(matrix, vector[..., None])
    offset = np.linalg.solve(np.swapaxes(root, -1, -2), normals.reshape(vector.shape)[..., None])
    return np.asarray((mean + offset)[..., 0], np.asarray(projection).dtype)
