"""Variational inference on any model: restarts in one compiled program, data as arguments.

The expected log density minus the guide's own (the ELBO) is climbed by Adam on antithetic draws, at a few learning
rates one after the other: each until it gains nothing more, the last one with its iterates averaged. The automatic
guide's draws are then moved by a few Hamiltonian trajectories in its own coordinates (decision 10).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from arviz_stats.base import array_stats
from jax import Array

from bayesfactor.components.batches import map_in_batches
from bayesfactor.errors import ConvergenceError, DataError
from bayesfactor.inference import guides, space
from bayesfactor.inference.checkpoint import Checkpoint
from bayesfactor.inference.completion import completed
from bayesfactor.inference.sampling import COMPILER, Draws, first_unusable, in_groups
from bayesfactor.inference.settings import SVI
from bayesfactor.inference.trajectories import trajectories

CHUNK, STREAM_CHUNK = 50, 10  # steps between two looks at the progress
RATES = (1.0, 0.2)  # of the learning rate, one after the other
DONE = -1  # the stage of a data set that has stopped while others go on
LOOK_BACK, LOOK_BACK_BATCH = 100, 300  # steps that are compared with as many before them
SHARE_DONE = 0.95  # of the restarts that must have stopped gaining
START_SCALE = 0.1  # of the guide, in unconstrained units
FULL_LIMIT = 400  # parameters; the automatic guide has a full covariance up to here
MAX_STEPS = 20_000
WALKERS = 8  # side by side, of each restart
REDRAWS = 8  # of the average slopes, for each point that a walker keeps
WEIGHED = 500  # draws of the guide that its k-hat is from
TAIL_SPAN = 700.0  # nats, beyond which exp of a difference is 0 in float64
PARAMETERS = ("loc", "log_scale", "lower", "factor")


class State(NamedTuple):
    """Where the optimisation stands, for one restart."""

    guide: Any
    moments: Any
    average: Any
    n_averaged: Array
    step: Array
    rng_key: Array


class Plan(NamedTuple):
    """How a model is fitted.

    Attributes
    ----------
    collapsed : whether the program is the model's `collapsed`.
    kind : of the guide, one of `guides.GUIDES`.
    moved : whether its draws are moved by trajectories.
    streamed : whether every step brings its own months.
    """

    collapsed: bool
    kind: str
    moved: bool
    streamed: bool


class Stream(NamedTuple):
    """Months that are not in memory.

    Attributes
    ----------
    batches : of the first step and the one after the last gives the training data of every step, weighted up.
    sweep : gives every month of the window once, in batches of one shape and of weight one, padded with empty months.
    """

    batches: Callable[[int, int], Iterable[Any]]
    sweep: Callable[[], Iterable[Any]]


class Programs(NamedTuple):
    """The compiled pieces of a run; arguments are batched as (chain,) or (data set, chain).

    `start` takes a `space.Place` as last argument, or nothing; rate and averaging of `advance` are () or (data set,).
    """

    start: Callable[..., Any]
    advance: Callable[..., Any]
    draw: Callable[..., Any]
    weigh: Callable[..., Any]
    move: Callable[..., Any]
    finish: Callable[..., Any]


def plan_for(model: Any, settings: SVI, data: Any, *, streamed: bool = False) -> Plan:
    """Named guides are plain Gaussians on all parameters; the automatic one integrates out what the model can."""
    if settings.guide != "auto":
        return Plan(False, settings.guide, False, streamed)
    whole = settings.batch is None
    # With minibatches only what belongs to one month can be integrated out.
    collapsed = hasattr(model, "collapsed") and (whole or not model.collapses_slopes)
    size = space.size_of(space.layout(program_of(model, settings, collapsed=collapsed), data))
    kind = "full" if size <= FULL_LIMIT else "normal" if whole else "low_rank"
    return Plan(collapsed, kind, whole and settings.polish > 0, streamed)


def program_of(model: Any, settings: SVI, *, collapsed: bool) -> Any:
    """What is run: in minibatches a model's `joint`, where it has one, since sums over all months cannot be had."""
    if settings.batch is not None and hasattr(model, "joint"):
        return model.joint
    return model.collapsed if collapsed else model


def programs_for(model: Any, settings: SVI, plan: Plan, *, many: bool = False) -> Programs:
    """Programs of a run, shared between fits of equal models and settings where they can be hashed."""
    try:
        return _cached_programs(model, settings, plan, many)
    except TypeError:  # a model that holds a user's network is not hashable
        return _programs(model, settings, plan, many)


@lru_cache(maxsize=32)
def _cached_programs(model: Any, settings: SVI, plan: Plan, many: bool) -> Programs:
    return _programs(model, settings, plan, many)


def _log_joint(program: Any, vector: Array, data: Any) -> Array:
    return -space.potential(program, data, space.unflatten(vector, space.layout(program, data)))


def negative_elbo(program: Any, guide: Any, normals: Array, data: Any) -> Array:
    """What is minimised, at given normals (particle, normal), nats."""
    values = jax.vmap(lambda normals: _log_joint(program, guides.at(guide, normals), data))(normals)
    return -jnp.mean(values) - guides.entropy(guide)


def _where_going(rate: Array, ended: State, before: State) -> State:
    """A data set that is done stays where it is while others go on."""
    guide, average = (
        jax.tree.map(partial(jnp.where, rate > 0), new, old)
        for new, old in ((ended.guide, before.guide), (ended.average, before.average))
    )
    return ended._replace(guide=guide, average=average)


def _programs(model: Any, settings: SVI, plan: Plan, many: bool) -> Programs:
    program = program_of(model, settings, collapsed=plan.collapsed)
    optimiser = optax.chain(optax.zero_nans(), optax.scale_by_adam(b2=0.99))

    log_joint = partial(_log_joint, program)

    def start(rng_key: Array, known: space.Place | None, data: Any) -> tuple[State, Array]:
        place_key, run_key = jax.random.split(rng_key)
        location = None if known is None else known.location
        point, usable = space.start_point(program, place_key, data, settings.start_radius, location)
        guide = guides.initial(plan.kind, space.flatten(point), START_SCALE, settings.rank)
        if known is not None:
            log_scale = space.flatten({name: known.log_scale[name] for name in point})
            guide["log_scale"] = space.given_or(log_scale, guide["log_scale"])
        zero = jnp.zeros((), jnp.int32)
        return State(guide, optimiser.init(guide), guide, zero, zero, run_key), usable

    def advance(state: State, data: Any, rate: Array, averaging: Array, length: int) -> tuple[State, Array]:
        def step(state: State, streamed: Any) -> tuple[State, Array]:
            normal_key, batch_key = jax.random.split(jax.random.fold_in(state.rng_key, state.step))
            shown = data if streamed is None else streamed
            if settings.batch is not None and streamed is None:
                n_time = data.position.shape[0]
                shown = data.batch(jax.random.choice(batch_key, n_time, (settings.batch,), replace=False))
            dtype = state.guide["loc"].dtype
            half = jax.random.normal(normal_key, (settings.particles // 2, guides.n_normals(state.guide)), dtype)
            value, slope = jax.value_and_grad(partial(negative_elbo, program))(
                state.guide, jnp.concatenate([half, -half]), shown
            )
            update, moments = optimiser.update(slope, state.moments)
            guide = jax.tree.map(lambda old, move: old - rate.astype(old.dtype) * move, state.guide, update)
            n_averaged = jnp.where(averaging, state.n_averaged + 1, 0)
            share = (1.0 / jnp.maximum(n_averaged, 1)).astype(dtype)
            average = jax.tree.map(lambda mean, new: mean + share * (new - mean), state.average, guide)
            return State(guide, moments, average, n_averaged, state.step + 1, state.rng_key), value

        ended, losses = jax.lax.scan(step, state, data if plan.streamed else None, length=length)
        return (_where_going(rate, ended, state) if many else ended), losses

    def draw(guide: Any, rng_key: Array, data: Any, n_draws: int) -> Array:
        normals = jax.random.normal(rng_key, (n_draws, guides.n_normals(guide)), guide["loc"].dtype)
        return jax.vmap(partial(guides.at, guide))(normals)

    def weigh(vectors: Array, data: Any) -> Array:
        return map_in_batches(lambda vector: log_joint(vector, data), vectors, 16)

    def move(guide: Any, rng_key: Array, data: Any, n_kept: int) -> tuple[Array, Array]:
        start_key, move_key = jax.random.split(rng_key)
        begin = jax.random.normal(start_key, (WALKERS, guides.n_normals(guide)), guide["loc"].dtype)
        kept, accepted = trajectories(
            lambda normals: log_joint(guides.at(guide, normals), data), begin, move_key, settings.polish, n_kept
        )
        points = jax.vmap(jax.vmap(partial(guides.at, guide)))(jnp.swapaxes(kept, 0, 1))
        return points.reshape(-1, points.shape[-1]), accepted  # a walker's points one after the other

    def finish(vectors: Array, data: Any) -> tuple[dict[str, Array], Any]:
        sites = space.layout(program, data)
        params = space.constrain(program, jax.vmap(lambda vector: space.unflatten(vector, sites))(vectors), data)
        if not (plan.collapsed and model.collapses_slopes):
            return params, None
        return params, map_in_batches(lambda draw: model.slopes_given_rest(draw, data), params, 16)

    def batched(function: Callable[..., Any], n_own: int, n_shared: int = 0) -> Callable[..., Any]:
        """Over chains, which share the data and what comes after them; with `many` also over data sets."""
        chains = jax.vmap(function, in_axes=(*[0] * n_own, None, *[None] * n_shared))
        return in_groups(chains) if many else chains

    def compiled(function: Callable[..., Any], n_own: int, n_shared: int = 0, **donated: Any) -> Callable[..., Any]:
        """`batched` and compiled, with one static number as last argument where the function takes one."""

        def with_number(*arguments: Any) -> Any:
            *rest, number = arguments
            return batched(lambda *given: function(*given, number), n_own, n_shared)(*rest)

        return jax.jit(with_number, static_argnums=n_own + 1 + n_shared, compiler_options=COMPILER, **donated)

    return Programs(
        start=jax.jit(
            lambda rng_key, data, known=None: batched(start, 2)(rng_key, known, data), compiler_options=COMPILER
        ),
        advance=compiled(advance, 1, 2, donate_argnums=0),
        draw=compiled(draw, 2),
        weigh=jax.jit(batched(weigh, 1), compiler_options=COMPILER),
        move=compiled(move, 2),
        finish=jax.jit(batched(finish, 1), compiler_options=COMPILER),
    )


def run_svi(
    model: Any,
    data: Any,
    settings: SVI,
    rng_key: Array,
    report: Callable[[int, int], None] | None = None,
    *,
    many: bool = False,
    labels: Sequence[str] | None = None,
    checkpoint: Checkpoint | None = None,
    stream: Stream | None = None,
    start: space.Place | None = None,
) -> Draws:
    """Fit a guide, restarts as chains, and draw from it.

    Parameters
    ----------
    model : NumPyro program of one argument, the data.
    data : pytree of arrays; with a leading data-set dimension if `many`. With `stream` any one batch of it.
    settings : see `SVI`.
    rng_key : one key; one for each data set if `many`.
    report : called with (steps done, steps at most).
    labels : (data set,) names for messages, if `many`.
    checkpoint : where to go on from, and where to save; draws are the same bits with and without.
    stream : where the months of every step come from when they are not in memory.
    start : what guides begin as; at random if None, or where it is NaN.

    Returns
    -------
    Draws (chain, draw, ...), or (data set, chain, draw, ...), with the guide's parameters. Of many data sets each stops
    by itself: `elbo` (data set, chain, chunk) is NaN after its last chunk.

    Raises
    ------
    ConvergenceError
        If no start with a finite density was found, or the bound is not finite.
    """
    data, start = jax.tree.map(jnp.asarray, (data, start))
    if settings.batch is not None and not hasattr(data, "batch"):
        raise DataError(
            f"minibatches of months need a model whose data(arrays) returns TrainingData: it returns "
            f"{type(data).__name__}. Return bayesfactor.models.training.training_data(arrays), or leave batch out."
        )
    if settings.batch is not None and stream is None and settings.batch > data.position.shape[-1]:
        raise DataError(
            f"batch must be at most the months of the window ({data.position.shape[-1]}): got {settings.batch}"
        )
    one = jax.tree.map(lambda leaf: leaf[0], data) if many else data
    plan = plan_for(model, settings, one, streamed=stream is not None)
    programs = programs_for(model, settings, plan, many=many)
    start_keys, draw_keys = _keys(rng_key, settings.restarts, many)
    saved = None if checkpoint is None else checkpoint.load(jax.eval_shape(programs.start, start_keys, data, start)[0])
    if saved is None:
        history = History([], [])
        state, usable = programs.start(start_keys, data, start)
        if not bool(jnp.all(usable)):
            raise ConvergenceError(
                f"no restart can begin: the log density is not finite at {space.START_CANDIDATES} starting points "
                f"({first_unusable(usable, labels, 'restart')}). Usual causes: prior scales that are far too wide, a "
                "network that returns NaN. Check the model on panel.arrays()."
            )
    else:
        state, history = saved.state, History.from_arrays(saved.arrays)
    limit = MAX_STEPS if settings.steps == "auto" else int(settings.steps)
    chunk = CHUNK if stream is None else STREAM_CHUNK
    done = history.n_steps
    batches = iter(stream.batches(done, limit)) if stream is not None else None
    while (stage := next_stages(history, limit, settings, len(start_keys) if many else None)) is not None:
        length = min(chunk, limit - done)
        rate = jnp.asarray(settings.learning_rate * np.array([*RATES, 0.0])[stage], jnp.float32)
        averaging = jnp.asarray(stage == len(RATES) - 1)
        parts = []
        for n_steps in (length,) if batches is None else (1,) * length:
            shown = data if batches is None else jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], next(batches))
            state, losses = programs.advance(state, shown, rate, averaging, n_steps)
            parts.append(np.asarray(losses, float))  # waits: otherwise batches would pile up in the device's queue
        history.stages.append(stage)
        history.losses.append(np.concatenate(parts, axis=-1))
        done += length
        if report is not None:
            report(done, limit)
        if checkpoint is not None and done < limit:
            checkpoint.offer(done, limit, state, history.arrays)
    if checkpoint is not None and (saved is None or saved.done < saved.total):
        checkpoint.offer(done, done, state, history.arrays)
    own = [history.of(index) for index in range(len(start_keys))] if many else [history]
    final = np.stack([one.elbo()[..., -4:].sum(axis=-1) for one in own])
    final = final if many else final[0]
    if not np.isfinite(final).all():
        raise ConvergenceError(
            f"the bound of {first_unusable(np.isfinite(final), labels, 'restart')} is not finite after {done:,} steps: "
            f"lower learning_rate (it is {settings.learning_rate})"
        )
    taken = np.array([[one.n_steps] * final.shape[-1] for one in own])
    told = {"elbo": history.elbo(), "n_steps": taken if many else taken[0]}
    drawn = _drawn(model, programs, plan, settings, state.average, data, draw_keys, told, stream)
    return drawn._replace(posterior=completed(model, drawn.posterior, data, rng_key, many=many))


def redrawn(
    model: Any,
    data: Any,
    settings: SVI,
    guide: dict[str, np.ndarray],
    rng_key: Array,
    stream: Stream | None = None,
    *,
    many: bool = False,
) -> Draws:
    """Fresh draws from a fitted guide (chain, ...), `settings.draws` of each restart: the same key, the same draws."""
    data = jax.tree.map(jnp.asarray, data)
    one = jax.tree.map(lambda leaf: leaf[0], data) if many else data
    plan = plan_for(model, settings, one, streamed=stream is not None)
    size = space.size_of(space.layout(program_of(model, settings, collapsed=plan.collapsed), one))
    if guide["loc"].shape[-1] != size:
        raise DataError(
            f"the fit keeps a guide of {guide['loc'].shape[-1]:,} parameters, and its model's program has {size:,}: it "
            "was made by another version. Fit it anew for fresh draws"
        )
    programs = programs_for(model, settings, plan, many=many)
    _, draw_keys = _keys(rng_key, settings.restarts, many)
    parameters = {name: jnp.asarray(guide[name]) for name in PARAMETERS if name in guide}
    told = {name: guide[name] for name in ("elbo", "n_steps")}
    draws = _drawn(model, programs, plan, settings, parameters, data, draw_keys, told, stream)
    draws = draws._replace(posterior=completed(model, draws.posterior, data, rng_key, many=many))
    assert draws.guide is not None
    # k-hat is the guide's: fresh draws may find it worse, not better.
    return draws._replace(guide=draws.guide | {"khat": np.maximum(draws.guide["khat"], guide["khat"])})


class History(NamedTuple):
    """What the optimisation went through, by chunk: stage, and losses (..., chain, step).

    Of many data sets a stage is an array (data set,), `DONE` for those that had stopped.
    """

    stages: list[Any]
    losses: list[np.ndarray]

    @property
    def n_steps(self) -> int:
        """Steps so far."""
        return sum(loss.shape[-1] for loss in self.losses)

    def of(self, index: int) -> History:
        """That of one data set of many, as if it had been alone."""
        chunks = [(int(at[index]), loss[index]) for at, loss in zip(self.stages, self.losses, strict=True)]
        return History([at for at, _ in chunks if at != DONE], [loss for at, loss in chunks if at != DONE])

    def arrays(self) -> dict[str, np.ndarray]:
        """As a checkpoint keeps it."""
        lengths = np.array([loss.shape[-1] for loss in self.losses])
        return {"stages": np.array(self.stages), "lengths": lengths, "losses": np.concatenate(self.losses, axis=-1)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> History:
        """The inverse of `arrays`."""
        ends = np.cumsum(arrays["lengths"])[:-1]
        stages = arrays["stages"]
        listed = list(stages) if stages.ndim > 1 else [int(stage) for stage in stages]
        return cls(listed, np.split(arrays["losses"], ends, axis=-1))

    def elbo(self) -> np.ndarray:
        """Mean bound of every chunk (..., chain, chunk), nats; NaN where a data set had stopped."""
        means = [
            np.where(np.asarray(at)[..., None] == DONE, np.nan, loss.mean(axis=-1))
            for at, loss in zip(self.stages, self.losses, strict=True)
        ]
        return -np.stack(means, axis=-1)


def next_stages(history: History, limit: int, settings: SVI, n_sets: int | None) -> Any:
    """`next_stage` of a run; of many data sets an array, `DONE` for those that have stopped, None when all have.

    None stops or goes on because of another: a window's fit does not know of later windows.
    """
    if n_sets is None:
        return next_stage(history, limit, settings)
    own = [next_stage(history.of(index), limit, settings) for index in range(n_sets)]
    return None if all(stage is None for stage in own) else np.array([DONE if at is None else at for at in own])


def next_stage(history: History, limit: int, settings: SVI) -> int | None:
    """Stage of the next chunk, None when done: a function of the history alone, so that a resumed run decides alike.

    A given number of steps is shared out 7 : 3. Otherwise a stage ends when the mean loss of the last steps is not
    below that of as many before by more than twice its standard error and by more than 0.1 nats.
    """
    done = history.n_steps
    if done >= limit:
        return None
    if settings.steps != "auto":
        return int(done >= 0.7 * limit)
    if not done:
        return 0
    stage = history.stages[-1]
    here = [loss for at, loss in zip(history.stages, history.losses, strict=True) if at == stage]
    look = LOOK_BACK if settings.batch is None else LOOK_BACK_BATCH
    if sum(loss.shape[-1] for loss in here) < 2 * look:
        return stage
    losses = np.concatenate(here, axis=-1)
    last, before = losses[..., -look:], losses[..., -2 * look : -look]
    gain = before.mean(axis=-1) - last.mean(axis=-1)
    error = np.hypot(last.std(axis=-1), before.std(axis=-1)) / np.sqrt(look)
    gaining = gain > np.maximum(2.0 * error, 0.1)
    if np.mean(gaining) > 1 - SHARE_DONE:
        return stage
    return stage + 1 if stage + 1 < len(RATES) else None


def _keys(rng_key: Array, chains: int, many: bool) -> tuple[Array, Array]:
    """Keys of the starts and of the draws, (chain,) or (data set, chain)."""
    split = partial(jax.random.split, num=(2, chains))
    if not many:
        starts, draws = split(rng_key)
        return starts, draws
    keys = jax.vmap(split)(rng_key)
    return keys[:, 0], keys[:, 1]


def _drawn(
    model: Any,
    programs: Programs,
    plan: Plan,
    settings: SVI,
    guide: Any,
    data: Any,
    keys: Array,
    told: dict[str, np.ndarray],
    stream: Stream | None,
) -> Draws:
    """Weigh the guide by its own draws, then draw from it or from where its draws move to."""
    weighed = programs.draw(guide, keys, data, WEIGHED)
    joint = _swept(programs, weighed, stream) if stream else np.asarray(programs.weigh(weighed, data), float)
    arrays = {name: np.asarray(value) for name, value in guide.items()}
    log_weight = np.empty(joint.shape)
    for index in np.ndindex(joint.shape[:-1]):
        own = guides.log_density({name: value[index] for name, value in arrays.items()}, np.asarray(weighed[index]))
        log_weight[index] = joint[index] - own
    weights = {**told, "log_weight": log_weight, "khat": pareto_khat(log_weight)}

    integrates = plan.collapsed and model.collapses_slopes
    if plan.moved:
        n_redraws = REDRAWS if integrates else 1
        vectors, accepted = programs.move(guide, keys, data, math.ceil(settings.draws / (WALKERS * n_redraws)))
        weights["acceptance"] = np.asarray(accepted, float)
    else:
        vectors, n_redraws = programs.draw(guide, keys, data, settings.draws), 1
    params, slopes = programs.finish(vectors, data)
    posterior = {name: _repeated(value, n_redraws, settings.draws, joint.ndim - 1) for name, value in params.items()}
    if slopes is not None:
        posterior["slope_mean"] = _draw_slopes(slopes, keys, n_redraws)[..., : settings.draws, :]
    one = jax.tree.map(lambda leaf: leaf[0], data) if arrays["loc"].ndim > 2 else data
    sites = space.layout(program_of(model, settings, collapsed=plan.collapsed), one)
    end = space.Place(*(_by_site(arrays[name], sites) for name in ("loc", "log_scale")))
    return Draws(posterior, {}, {**arrays, **weights}, end)


def _by_site(vectors: np.ndarray, sites: dict[str, Any]) -> dict[str, np.ndarray]:
    """Arrays (..., site's own shape) of vectors (..., parameter)."""
    ends = np.cumsum([math.prod(site.shape) for site in sites.values()])[:-1]
    parts = np.split(vectors, ends, axis=-1)
    return {
        name: part.reshape(*vectors.shape[:-1], *site.shape)
        for (name, site), part in zip(sites.items(), parts, strict=True)
    }


def pareto_khat(log_weight: np.ndarray) -> np.ndarray:
    """Pareto k-hat (...) of log importance ratios (..., draw).

    NaN where a ratio is not finite: it is no tail to PSIS, and would pass. Infinite where the tail spans more than
    `TAIL_SPAN`: its ratios underflow, and the fit to what is left would pass too. 0 where the tail's ratios are equal.
    """
    ordered = np.sort(log_weight, axis=-1)
    n_draws = log_weight.shape[-1]
    n_tail = math.ceil(min(0.2 * n_draws, 3 * math.sqrt(n_draws)))
    top, below = ordered[..., -1], ordered[..., -n_tail - 1]
    finite = np.isfinite(log_weight).all(axis=-1)
    with np.errstate(invalid="ignore"):
        far, level = top - below > TAIL_SPAN, top == ordered[..., -n_tail]
    # ArviZ wants log likelihoods: the ratios' negative logs.
    plain = finite & ~far & ~level
    _, khat = array_stats.psislw(-np.where(plain[..., None], log_weight, np.arange(n_draws)))
    return np.select([~finite, far, level], [np.nan, np.inf, 0.0], khat)


def _repeated(value: Any, times: int, n_draws: int, axis: int) -> np.ndarray:
    """Every draw several times, one after the other, cut to the number asked for."""
    repeated = np.repeat(np.asarray(value), times, axis=axis)
    return np.take(repeated, np.arange(n_draws), axis=axis)


def _swept(programs: Programs, vectors: Array, stream: Stream) -> np.ndarray:
    """Log joint density at draws, of months that are read one batch after the other."""
    total: Any = 0.0
    prior: Any = None
    for read in stream.sweep():
        batch = jax.tree.map(jnp.asarray, read)
        if prior is None:
            prior = np.asarray(programs.weigh(vectors, batch._replace(weight=0 * batch.weight)), float)
        total = total + np.asarray(programs.weigh(vectors, batch), float) - prior
    return np.asarray(total + prior)


def _draw_slopes(given_rest: tuple[Array, Array], keys: Array, n_redraws: int) -> np.ndarray:
    """``N(P^-1 b, P^-1)``, ``P`` and ``b`` given for every draw, a few times each: (..., chain, draw, feature).

    On the host, in float64.
    """
    matrix, vector = (np.asarray(part, float) for part in given_rest)
    shape = (*vector.shape[-2:-1], n_redraws, vector.shape[-1])
    seeds = np.asarray(jax.random.key_data(jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys.reshape(-1))))
    normals = np.stack([np.random.default_rng(seed).standard_normal(shape) for seed in seeds])
    normals = normals.reshape(*vector.shape[:-1], n_redraws, vector.shape[-1])
    root = np.linalg.cholesky(matrix)
    mean = np.linalg.solve(matrix, vector[..., None])
    offset = np.linalg.solve(np.swapaxes(root, -1, -2), np.swapaxes(normals, -1, -2))
    drawn = np.swapaxes(mean + offset, -1, -2).reshape(*vector.shape[:-2], -1, vector.shape[-1])
    return np.asarray(drawn, given_rest[1].dtype)
