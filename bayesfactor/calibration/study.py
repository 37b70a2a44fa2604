"""`calibrate`: draw from the prior, simulate, fit, rank; in chunks that resume."""

from __future__ import annotations

import inspect
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from arviz_stats.base import array_stats

from bayesfactor.calibration import design as designs
from bayesfactor.calibration import simulation
from bayesfactor.calibration.chunks import Chunk, ChunkStore, code_digest
from bayesfactor.calibration.design import Design
from bayesfactor.calibration.result import CalibrationResult
from bayesfactor.calibration.simulation import LOG_LIKELIHOOD, Quantities
from bayesfactor.errors import DataError
from bayesfactor.inference import frame, guides, prepare, sampling, space, trajectories, variational
from bayesfactor.inference.by_month import is_by_month, settings_by_month
from bayesfactor.inference.checkpoint import identity
from bayesfactor.inference.exact import run_exact
from bayesfactor.inference.sampling import Draws
from bayesfactor.inference.settings import NUTS, SVI, Exact, as_integer, as_seed
from bayesfactor.inference.streaming import cast
from bayesfactor.models.training import TrainingData
from bayesfactor.panel import PanelArrays

if TYPE_CHECKING:
    from bayesfactor.panel import Panel

PROB = 0.9
Progress = Callable[[int, int, int, float], None]
CODE = {NUTS: (sampling, space, frame), SVI: (sampling, space, variational, guides, trajectories), Exact: ()}


def calibrate(
    model: Any,
    inference: Any = None,
    *,
    design: Design | Panel | None = None,
    fits: int = 300,
    seed: int = 0,
    store: str | Path | None = None,
    chunk: int = 25,
    truth: Any = None,
    quantities: Quantities | None = None,
    n_ranks: int = 100,
    rerun: bool = True,
    minutes: float = math.inf,
    progress: Progress | None = None,
) -> CalibrationResult:
    """Simulation-based calibration of a model with the inference that is used on it.

    Parameters are drawn from the prior, returns simulated from them, the model fitted, and the truth ranked among the
    draws of the posterior. Ranks are uniform, and bands cover what they say, when density, prior, simulation, sampler
    and quantities agree (Talts et al., 2018).

    Parameters
    ----------
    model : any model with `month_law` and `functions` that is a NumPyro program (see the page on writing one).
    inference : `NUTS`, `SVI` or `Exact`; by default ``NUTS(warmup=250, draws=200, chains=2)``. Or a sampler of your
        own: a frozen dataclass that is called with the model, data (data set, ...) and keys (data set,), and returns
        `Draws` (data set, chain, draw, ...).
    design : shape of the data sets, or a prepared panel whose characteristics, universe and gaps all data sets have.
        With ``pooling="none"`` a data set is one month.
    fits : data sets; of a dozen quantities 300 show bands that are 20% too narrow, or a mean off by 0.3 posterior sd,
        nine times out of ten; 1,000 show 15%, or 0.2.
    seed : of the study.
    store : folder for finished chunks; the same call goes on from them.
    chunk : data sets that are fitted side by side in one program, and kept together.
    truth : model to simulate from where it is not the one that is fitted: what the fit then gets wrong is misspecified.
        Quantities that both models have are ranked.
    quantities : function of (model, params, arrays) of more to rank, numbers or arrays by name.
    n_ranks : draws, evenly spaced, that the truth is ranked among; they should be nearly independent.
    rerun : whether a study that does not pass is run a second time on fresh seeds before it fails.
    minutes : begin no chunk that would end later, as far as the last one tells.
    progress : called with (fits done, fits, attempt, seconds of the chunk), and of chunks found in the store 0 seconds.

    Returns
    -------
    `CalibrationResult`: its `status` is "passes", "fails", or "unfinished" when `minutes` were too few.

    Raises
    ------
    DataError
        When the settings make no study.
    CorruptResultError
        When a chunk in the store is damaged.
    ConvergenceError
        When a data set cannot be fitted at all.
    KeyboardInterrupt
        On Ctrl-C, saying how much is kept.
    """
    study = _Study.of(model, inference, truth, design, quantities, fits, as_seed(seed), chunk, n_ranks)
    kept = None if store is None else ChunkStore(store, study.label, study.identity())
    until = time.perf_counter() + 60.0 * minutes
    attempts: list[xr.Dataset] = []
    for attempt in (1, 2)[: 2 if rerun else 1]:
        data = _attempt(study, attempt, kept, until, progress or (lambda *_: None))
        attempts.append(data.assign_attrs(rerun=int(rerun)))
        result = CalibrationResult(tuple(attempts), fits)
        if data.sizes["fit"] < fits or result.status == "passes":
            break
    return result


def _attempt(study: _Study, attempt: int, kept: ChunkStore | None, until: float, progress: Progress) -> xr.Dataset:
    """All chunks of one run that are there or that there is time for."""
    parts: list[Chunk] = []
    lasted, done = 0.0, 0
    for index in range(-(-study.fits // study.chunk)):
        size = min(study.chunk, study.fits - index * study.chunk)
        found = None if kept is None else kept.load(attempt, index)
        seconds = 0.0
        if found is None:
            if time.perf_counter() + lasted > until:
                break
            began, worked = time.perf_counter(), time.process_time()
            try:
                found = study.run(attempt, index * study.chunk, size)
            except KeyboardInterrupt:
                where = "nothing was kept: give a store" if kept is None else f"they are kept in {kept.folder}"
                raise KeyboardInterrupt(f"stopped: {done} of {study.fits} fits are done, {where}") from None
            seconds = lasted = time.perf_counter() - began
            found["seconds"] = np.full(size, seconds / size)
            found["cpu_seconds"] = np.full(size, (time.process_time() - worked) / size)
            if kept is not None:
                kept.save(attempt, index, found)
        parts.append(found)
        done += size
        progress(done, study.fits, attempt, seconds)
    return _joined(study, parts, attempt)


def _joined(study: _Study, parts: list[Chunk], attempt: int) -> xr.Dataset:
    names = list(parts[0]["quantity"]) if parts else []
    over_fit = {
        name: np.concatenate([part[name] for part in parts]) if parts else np.empty(0)
        for name in ("rhat", "ess", "n_diverging", "khat", "n_nonfinite", "seconds", "cpu_seconds")
    }
    table = {
        name: np.concatenate([part[name] for part in parts]) if parts else np.empty((0, 0), kind)
        for name, kind in (("rank", int), ("inside", bool))
    }
    attrs = {
        "model": repr(study.model),
        "truth": repr(study.truth),
        "inference": repr(study.inference),
        "design": designs.words(study.design),
        "seed": study.seed,
        "attempt": attempt,
        "prob": PROB,
        "n_ranks": int(parts[0]["n_ranks"]) if parts else study.n_ranks,
    }
    return xr.Dataset(
        {name: (("fit", "quantity"), value) for name, value in table.items()}
        | {name: ("fit", value) for name, value in over_fit.items()},
        {"quantity": names},
        attrs,
    )


@dataclass(frozen=True)
class _Study:
    """Everything the ranks depend on, and how to make some of them."""

    model: Any
    truth: Any
    inference: Any
    design: Design | Panel
    extra: Quantities | None
    fits: int
    seed: int
    chunk: int
    n_ranks: int
    double: bool
    programs: simulation.Programs

    @classmethod
    def of(
        cls,
        model: Any,
        inference: Any,
        truth: Any,
        design: Design | Panel | None,
        extra: Quantities | None,
        fits: int,
        seed: int,
        chunk: int,
        n_ranks: int,
    ) -> _Study:
        """Check what was asked for."""
        for name, value in (("fits", fits), ("chunk", chunk), ("n_ranks", n_ranks)):
            if as_integer(name, value) < 1:
                raise DataError(f"{name} must be at least 1: got {value}")
        law = "log_density_of_assets" if simulation.prices_assets(model) else "month_law"
        lacking = [name for name in (law, "functions", "data") if not hasattr(model, name)]
        if lacking or isinstance(model, type):
            raise DataError(
                f"a model that is calibrated must be an instance with month_law, functions and data: {model!r} "
                f"{'is a class' if isinstance(model, type) else 'lacks ' + ', '.join(lacking)}"
            )
        inference = NUTS(warmup=250, draws=200, chains=2) if inference is None else inference
        if isinstance(inference, type) or not (isinstance(inference, NUTS | SVI | Exact) or callable(inference)):
            raise DataError(f"inference must be NUTS(...), SVI(...), Exact(...) or a sampler: got {inference!r}")
        inference = settings_by_month(inference) if is_by_month(model) else inference
        design = Design() if design is None else design
        truth = model if truth is None else truth
        keep = simulation.prices_assets(model)
        arrays = designs.data_set(design, 0, 0, by_month=is_by_month(model), keep_returns=keep)
        reduced = not prepare.holds_stocks(model.data(arrays), arrays)
        known = isinstance(inference, NUTS | SVI | Exact)
        double = prepare.double_precision(inference, reduced=reduced) if known else True
        programs = simulation.programs_of(model, truth, extra)
        return cls(model, truth, inference, design, extra, fits, seed, chunk, n_ranks, double, programs)

    @property
    def label(self) -> str:
        """Of the folder."""
        return f"{type(self.model).__name__}-{type(self.inference).__name__}"

    def identity(self) -> dict[str, Any]:
        """Model, inference, design, seed, versions, and what the code does; of `fits` a study is the first part."""
        precision = "float64" if self.double else "float32"
        described = designs.describe(self.design)
        same = identity(self.model, self.inference, seed=self.seed, panel="", precision=precision)
        del same["panel"]
        truth = identity(self.truth, self.inference, seed=0, panel="", precision="")["model"]
        code = code_digest(CODE.get(type(self.inference), (sys.modules[type(self.inference).__module__],)))
        extra = None if self.extra is None else inspect.getsource(self.extra)
        study = {"chunk": self.chunk, "n_ranks": self.n_ranks, "design": described, "truth": truth, "extra": extra}
        return {**same, **study, "inference_code": code, "behaviour": self.behaviour()}

    def behaviour(self) -> dict[str, list[str]]:
        """Five digits of what the code computes of one data set: density, its derivatives, simulation, quantities.

        Code that changes any of them, a user's own included, is another study.
        """
        with jax.enable_x64(True):
            arrays, data, truth = self._simulated(1, 0, 1, double=True)
            one = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), data)
            told = {"returns": np.asarray(arrays.returns), **self.programs.at_truth(truth, arrays)}
            programs = {"density": self.model}
            if isinstance(self.inference, SVI) and hasattr(self.model, "collapsed"):
                programs["collapsed"] = self.model.collapsed
            for name, program in programs.items():
                sites = space.layout(program, one)
                vector = 0.1 * np.sin(1.0 + np.arange(space.size_of(sites)))
                value, slope = jax.jit(
                    jax.value_and_grad(
                        lambda point, program=program, sites=sites: space.potential(
                            program, one, space.unflatten(point, sites)
                        )
                    )
                )(jnp.asarray(vector))
                told |= {name: value, f"{name} slope": slope}
        weighted = {name: np.asarray(value, float).reshape(-1) for name, value in told.items()}
        return {
            name: [f"{value.sum():.4e}", f"{value @ np.cos(np.arange(value.size)):.4e}"]
            for name, value in weighted.items()
        }

    def run(self, attempt: int, first: int, size: int) -> Chunk:
        """Simulate, fit and rank data sets `first`, `first` + 1, ..."""
        with jax.enable_x64(self.double), jax.default_matmul_precision("float32"):
            arrays, data, truth = self._simulated(attempt, first, size, double=self.double)
            draws = self._draws(data, self._keys(attempt, first, size)[:, 2])
            posterior = {name: np.asarray(value) for name, value in draws.posterior.items()}
            known = truth if self.truth is not self.model else {n: v for n, v in truth.items() if n in posterior}
            true = self.programs.at_truth(known, arrays)
            drawn = self.programs.at_draws(posterior, arrays)
        names = [name for name in drawn if name in true]
        if self.truth is not self.model:
            names.remove(LOG_LIKELIHOOD)  # of two models it is two functions
        values = np.stack([drawn[name] for name in names], axis=-1)  # (data set, chain, draw, quantity)
        return self._ranked(names, values, np.stack([true[name] for name in names], axis=-1), draws, attempt, first)

    def _ranked(
        self, names: list[str], values: np.ndarray, true: np.ndarray, draws: Draws, attempt: int, first: int
    ) -> Chunk:
        size, n_draws = len(values), values.shape[1] * values.shape[2]
        flat = values.reshape(size, n_draws, -1)
        n_ranks = min(self.n_ranks, n_draws)
        thinned = flat[:, (np.arange(n_ranks) * n_draws) // n_ranks]
        lower, upper = np.quantile(flat, [(1 - PROB) / 2, (1 + PROB) / 2], axis=1)
        # Values that are equal are put in random order, as they are under a discrete law.
        places = np.stack(
            [np.random.default_rng([self.seed, attempt, first + i, 3]).random(true.shape[-1]) for i in range(size)]
        )
        equal = np.sum(thinned == true[:, None], axis=1)
        rank = np.sum(thinned < true[:, None], axis=1) + np.floor(places * (equal + 1)).astype(int)
        by_element = np.moveaxis(values, 0, 2).reshape(*values.shape[1:3], -1)  # (chain, draw, data set x quantity)
        by_element = np.where(np.isfinite(by_element), by_element, np.nan)
        rhat = array_stats.rhat(by_element, chain_axis=0, draw_axis=1).reshape(size, -1)
        ess = array_stats.ess(by_element, method="bulk", chain_axis=0, draw_axis=1).reshape(size, -1)
        diverging = draws.statistics.get("diverging", np.zeros((size, 1, 1)))
        khat = np.full(size, np.nan) if draws.guide is None else np.max(draws.guide["khat"], axis=1)
        finite = np.isfinite(flat).all(axis=1) & np.isfinite(true)
        return {
            "quantity": np.asarray(names),
            "rank": rank,
            "inside": (lower <= true) & (true <= upper),
            "rhat": np.max(rhat, axis=1),
            "ess": np.min(ess, axis=1),
            "n_diverging": np.asarray(diverging).sum(axis=(1, 2)).astype(int),
            "khat": np.asarray(khat, float),
            "n_nonfinite": np.sum(~finite, axis=1),
            "n_ranks": np.asarray(n_ranks),
        }

    def _keys(self, attempt: int, first: int, size: int) -> jax.Array:
        """Keys (data set, 3) of prior, returns and fit; a data set's own, whatever the chunk."""
        base = jax.random.fold_in(jax.random.key(self.seed), attempt)
        return jax.vmap(lambda index: jax.random.split(jax.random.fold_in(base, index), 3))(
            jnp.arange(first, first + size)
        )

    def _simulated(
        self, attempt: int, first: int, size: int, *, double: bool
    ) -> tuple[PanelArrays, Any, dict[str, jax.Array]]:
        """Arrays with returns, the model's data and the truth, all with a leading dimension of data sets."""
        by_month = is_by_month(self.model)
        blank = [
            designs.data_set(
                self.design,
                _design_seed(self.seed, attempt, index),
                index,
                by_month=by_month,
                keep_returns=simulation.prices_assets(self.model),
            )
            for index in range(first, first + size)
        ]
        keys = self._keys(attempt, first, size)
        arrays = _stacked(blank, double)
        truth = self.programs.prior(keys[:, 0], _data(self.truth, blank, double))
        arrays = jax.tree.map(np.asarray, self.programs.simulate(keys[:, 1], truth, arrays))
        drawn = "portfolios" if simulation.prices_assets(self.model) else "returns"
        filled = [
            one._replace(**{drawn: getattr(arrays, drawn)[index].astype(float)}) for index, one in enumerate(blank)
        ]
        return arrays, _data(self.model, filled, double, like=blank[0]), truth

    def _draws(self, data: Any, keys: jax.Array) -> Draws:
        inference = self.inference
        if isinstance(inference, NUTS):
            return sampling.run_nuts(self.model, data, inference, keys, many=True)
        if isinstance(inference, SVI):
            return variational.run_svi(self.model, data, inference, keys, many=True)
        if isinstance(inference, Exact):
            return self._exact(data, inference, keys)
        made: Draws = inference(self.model, data, keys)
        return made

    def _exact(self, data: Any, inference: Exact, keys: jax.Array) -> Draws:
        seeds = np.asarray(jax.random.key_data(keys))[:, -1]
        made = [
            run_exact(self.model, jax.tree.map(lambda leaf, i=i: leaf[i], data), inference, int(own))
            for i, own in enumerate(seeds)
        ]
        return Draws({name: np.stack([one.posterior[name] for one in made]) for name in made[0].posterior}, {})


def _design_seed(seed: int, attempt: int, index: int) -> int:
    return int(np.random.SeedSequence([seed, attempt, index]).generate_state(1)[0])


def _stacked(trees: list[Any], double: bool) -> Any:
    return cast(jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *trees), double)


def _data(model: Any, sets: list[PanelArrays], double: bool, like: PanelArrays | None = None) -> Any:
    """What the program computes on, of many data sets.

    Parameters
    ----------
    like : a data set that the units of priors are taken from where the model measures them on what it explains: a prior
        must not look at what was simulated.
    """
    if like is not None and simulation.prices_assets(model):
        given = float(model.data(like).residual_scale)
        return _stacked([model.data(arrays, residual_scale=given) for arrays in sets], double)
    if not is_by_month(model):
        return _stacked([model.data(arrays) for arrays in sets], double)
    # A month's fit takes the scale of its prior from the month's own returns; here the prior must not look at them.
    scale = np.asarray([arrays.return_scale for arrays in sets])
    data = [model.data(arrays) for arrays in sets]
    whole = cast(jax.tree.map(lambda *leaves: np.concatenate(leaves), *data), double)
    return (
        whole._replace(return_scale=scale.astype(whole.return_scale.dtype))
        if isinstance(whole, TrainingData)
        else whole
    )
