"""`fit`: a model, a panel and settings in, a labelled posterior with its verdict out."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr

from bayesfactor.errors import AlignmentError, BayesFactorError, ConvergenceError, ConvergenceWarning, DataError
from bayesfactor.inference import space
from bayesfactor.inference.by_month import guide_outside, is_by_month, labelled_inside, month_keys, settings_by_month
from bayesfactor.inference.checkpoint import Checkpoint, identity
from bayesfactor.inference.collapse import of_collapse
from bayesfactor.inference.diagnostics import (
    Verdict,
    diagnose_functions,
    finite,
    of_guide,
    of_restarts,
    of_steps,
    verdict,
    verdict_by_month,
    worst,
)
from bayesfactor.inference.exact import run_exact
from bayesfactor.inference.labelling import provenance_of, tree_of
from bayesfactor.inference.prepare import Given, aligned, check_given, prepared
from bayesfactor.inference.probes import functions_of, probe_rows
from bayesfactor.inference.progress import Latest, Report, progress_of
from bayesfactor.inference.result import Fit
from bayesfactor.inference.sampling import Draws, mass_matrix_of, run_nuts
from bayesfactor.inference.settings import NUTS, SVI, Exact, Inference, as_seed
from bayesfactor.inference.start import Sites, Start, sites_of, start_of
from bayesfactor.inference.variational import MAX_STEPS, plan_for, program_of, redrawn, run_svi
from bayesfactor.inference.watchdog import watched
from bayesfactor.panel import Panel
from bayesfactor.panel.store import PanelStore


def fit(
    model: Any,
    panel: Panel | PanelStore,
    inference: Inference,
    *,
    seed: int = 0,
    strict: bool = False,
    progress: bool | Report | None = None,
    checkpoint: str | Path | None = None,
    start: Fit | Start | None = None,
) -> Fit:
    """Posterior of a model given a panel.

    Parameters
    ----------
    model : a model of `bayesfactor.models`, or your own (see the page on writing one).
    panel : prepared `Panel`, or a `PanelStore` that need not fit in memory (`open_panel`): a linear model with normal
        noise takes any `inference`, others `SVI` with `batch`. Months without any observed return (the live forecast)
        are left out.
    inference : `NUTS`, `SVI` or `Exact`.
    seed : from 0 to 2**32 - 1; fixes every draw: the same call gives the same bits on the same machine and versions.
    strict : raise `ConvergenceError` when the status is not "ok", rather than warn.
    progress : True or False; by default a bar on a terminal and nothing otherwise. Or a function that is called
        with (draws done, draws in all).
    checkpoint : file to save to now and then (`NUTS`, `SVI`); the same call, in a fresh process too, goes on from it
        and ends with the bits of a run that was never interrupted. Ctrl-C finishes a few draws and saves them, a second
        one stops at once. The file is left when the run is complete: the same call then samples nothing (`SVI` draws
        from its guide again). It holds neither data nor code: delete it when the code of your own model or network has
        changed. Only the last call's seconds count as its wall time.
    start : the fit of an earlier window, or its `Fit.start`: chains and guides begin where its chains and guides ended,
        each at another's end; what belongs to months where both windows have them. At random if None. The posterior is
        the same, less warm-up or fewer steps are needed (see the page on inference); a warm-up of `NUTS` of less than
        150 draws keeps the widths of the earlier chains, unless chains move along the axes of the curvature, which look
        for a mode from there. `provenance["start"]` says which it was.

    Returns
    -------
    `Fit`.

    Raises
    ------
    DataError
        When the panel is not prepared, has too few observed months, a continuous characteristic that is the same for
        every observed stock of every month, or returns that do not differ, or does not suit the model. When the
        checkpoint is of another run; the message names what differs. When the model would need all of a store in
        memory. When `start` is not of this model's program.
    AlignmentError
        When `start` is of other characteristics.
    LookAheadError
        When `start` has seen returns after the window.
    CorruptResultError
        When the checkpoint is truncated, changed by as much as one bit, or not a checkpoint.
    ConvergenceError
        When no chain can start, the program stalls, or ``strict=True`` and the status is not "ok".
    """
    seed = as_seed(seed)
    check_given(model, panel, inference)
    many = is_by_month(model)
    inference = settings_by_month(inference) if many else inference
    given = prepared(model, panel, inference, seed)
    begin = _start_of(start)
    key = month_keys(seed, given.window.times) if many else jax.random.key(seed)
    resume = None if checkpoint is None else _checkpoint(checkpoint, model, given, inference, seed, begin)
    months = [f"{time:%Y-%m-%d}" for time in given.window.times] if many else None
    place = None if begin is None else _place(begin, model, given, inference)
    shared: dict[str, Any] = {"many": many, "labels": months, "checkpoint": resume, "start": place}

    def draw(tell: Report) -> list[Draws]:
        if isinstance(inference, NUTS):
            draws = run_nuts(model, given.data, inference, key, tell, **shared)
        elif isinstance(inference, SVI):
            draws = run_svi(model, given.data, inference, key, tell, **shared, stream=given.stream)
        else:
            draws = run_exact(model, given.data, inference, seed)
        return [labelled_inside(draws) if many else draws]

    (result,) = _computed(model, [given], inference, draw, [seed], [begin], progress, resume)
    if result.status != "ok":
        text = f"the fit's status is {result.status!r}: " + "; ".join(result.reasons)
        if strict:
            raise ConvergenceError(text)
        warnings.warn(text, ConvergenceWarning, stacklevel=2)
    return result


def fit_many(
    model: Any,
    panels: Sequence[Panel],
    inference: Inference,
    *,
    seeds: Sequence[int],
    progress: bool | Report | None = False,
    start: Fit | Start | Sequence[Fit | Start | None] | None = None,
) -> list[Fit]:
    """Posteriors of one model given several panels of one shape, computed side by side in one compiled program.

    Each is what `fit` makes of its panel alone: its own seed, its own start, its own number of steps, its own verdict.
    None depends on another panel. Sums are taken in another order, so that numbers agree to rounding, which chains
    of `NUTS` magnify after a while: draws are then others of the same posterior.

    Parameters
    ----------
    model, inference : as in `fit`. `Exact` is run panel by panel.
    panels : of as many periods with returns and of the same characteristics; their universes may be of any size, and
        the smaller are computed as slowly as the largest. All are in memory at once.
    seeds : (panel,) of each.
    progress : as in `fit`.
    start : where chains begin, as in `fit`: one for all panels, or one (or None) for each.

    Returns
    -------
    A `Fit` of every panel. `provenance["wall_seconds"]` is its share of the time,
    ``provenance["computed_together"]`` how many shared it.

    Raises
    ------
    DataError
        As in `fit`, naming the panel by its position and window; when panels differ in shape; for
        ``pooling="none"`` (every month is one of many already), ``SVI(batch=...)`` and stores, which stream.
    ConvergenceError
        When no chain of a panel can start, naming it.

    See Also
    --------
    fits_together : whether this is faster than one after the other.
    """
    panels, seeds = list(panels), [as_seed(seed) for seed in seeds]
    if not panels or len(seeds) != len(panels):
        raise DataError(f"fit_many needs panels and one seed for each: got {len(panels)} panels, {len(seeds)} seeds")
    starts = list(start) if isinstance(start, Sequence) else [start] * len(panels)
    if len(starts) != len(panels):
        raise DataError(f"give one start for all panels, or one for each: got {len(starts)} for {len(panels)} panels")
    for panel in panels:
        check_given(model, panel, inference)
    _check_many(model, panels, inference)
    if isinstance(inference, Exact):
        return [
            fit(model, panel, inference, seed=seed, progress=False, start=begin)
            for panel, seed, begin in zip(panels, seeds, starts, strict=True)
        ]
    givens, names, places = [], [], []
    begins = [_start_of(begin) for begin in starts]
    for index, (panel, seed, begin) in enumerate(zip(panels, seeds, begins, strict=True)):
        names.append(f"panel {index} ({panel.times[0]:%Y-%m-%d} to {panel.times[-1]:%Y-%m-%d})")
        try:
            givens.append(prepared(model, panel, inference, seed))
            places.append(None if begin is None else _place(begin, model, givens[-1], inference))
        except BayesFactorError as error:
            raise type(error)(f"{names[-1]}: {error}") from error
    data = jax.tree.map(lambda *leaves: np.stack(leaves), *aligned(model, givens, names))
    keys = jax.vmap(jax.random.key)(np.array(seeds, np.uint32))
    shared: dict[str, Any] = {"many": True, "labels": names, "start": _stacked(places)}

    def draw(tell: Report) -> list[Draws]:
        if isinstance(inference, NUTS):
            draws = run_nuts(model, data, inference, keys, tell, **shared)
        else:
            draws = run_svi(model, data, inference, keys, tell, **shared)
        return [_one_of(draws, index) for index in range(len(panels))]

    fits = _computed(model, givens, inference, draw, seeds, begins, progress, None)
    for name, one in zip(names, fits, strict=True):
        one.provenance["computed_together"] = len(fits)
        if one.status != "ok":
            text = f"{name}: the fit's status is {one.status!r}: " + "; ".join(one.reasons)
            warnings.warn(text, ConvergenceWarning, stacklevel=2)
    return fits


def redraw(fit: Fit, panel: Panel | PanelStore, *, draws: int | None = None, seed: int = 0) -> Fit:
    """The same posterior with fresh draws from the guide that a variational fit keeps.

    Parameters
    ----------
    fit : made by `SVI`, perhaps loaded from a file.
    panel : the panel or store it was trained on: parameters that were integrated out are drawn given its returns.
    draws : of each restart; as many as before if None.
    seed : the same seed gives the same draws.

    Returns
    -------
    `Fit`, its guide that of `fit`.

    Raises
    ------
    DataError
        When the fit has no guide.
    AlignmentError
        When the panel is not the one that the fit was trained on.
    """
    if not isinstance(fit.inference, SVI):
        raise DataError(
            f"only a fit by SVI has a guide to draw from; this one is by {type(fit.inference).__name__}. Fit again "
            "with more draws."
        )
    inference = fit.inference if draws is None else replace(fit.inference, draws=draws)
    seed = as_seed(seed)
    given = prepared(fit.model, panel, inference, seed)
    found = given.window.panel.fingerprint
    if found != fit.panel_fingerprint:
        raise AlignmentError(
            "fresh draws need the panel that the fit was trained on: this one's content differs (fingerprint "
            f"{found[:12]}, the fit's is {fit.panel_fingerprint[:12]}). Usually the whole panel was "
            "given in place of its training part."
        )
    guide = {str(name): np.asarray(value) for name, value in fit.tree["guide"].data_vars.items()}
    many = is_by_month(fit.model)
    guide = guide_outside(guide) if many else guide
    key = month_keys(seed, given.window.times) if many else jax.random.key(seed)

    def draw(tell: Report) -> list[Draws]:
        draws = redrawn(fit.model, given.data, inference, guide, key, given.stream, many=many)
        return [labelled_inside(draws) if many else draws]

    (result,) = _computed(fit.model, [given], inference, draw, [seed], [None], False, None)
    result.provenance["start"] = fit.provenance.get("start", "cold")  # the guide's
    return result


def _check_many(model: Any, panels: Sequence[Any], inference: Inference) -> None:
    """Refuse what cannot be run side by side."""
    if is_by_month(model):
        raise DataError(
            "pooling='none' is one program for all months of a panel already: call fit for each panel, a month is the "
            "same in every window"
        )
    if isinstance(inference, SVI) and inference.batch is not None:
        raise DataError(
            f"SVI(batch={inference.batch}) is for panels too large for memory, fit_many holds all of its panels there: "
            "leave batch out, or call fit for each panel"
        )
    if any(isinstance(panel, PanelStore) for panel in panels):
        raise DataError(
            "fit_many holds all of its panels in memory: give it windows, store.load(time=...), or call fit for each"
        )


def _start_of(start: Fit | Start | None) -> Start | None:
    """The start that was given, or that of the fit that was.

    Raises
    ------
    DataError
        When it is neither, or the fit has none.
    """
    if not isinstance(start, Fit):
        if start is None or isinstance(start, Start):
            return start
        raise DataError(f"start must be the Fit of an earlier window, its Fit.start, or None: found {start!r}")
    if start.start is None:
        raise DataError(
            f"a start must have chains or guides to begin from, and this fit by {type(start.inference).__name__} has "
            "none: closed forms, pooling='none' and files of earlier versions do not. Begin cold (start=None)."
        )
    return start.start


def _sites(model: Any, given: Given, inference: Inference) -> Sites:
    """Unconstrained sites of the program that is run."""
    program = model
    if isinstance(inference, SVI):
        plan = plan_for(model, inference, given.data, streamed=given.stream is not None)
        program = program_of(model, inference, collapsed=plan.collapsed)
    return sites_of(program, given.data, given.first_month, len(given.window.times))


def _place(start: Start, model: Any, given: Given, inference: Inference) -> space.Place:
    """Where this run's chains begin."""
    if isinstance(inference, Exact) or is_by_month(model):
        what = "Exact() is a closed form" if isinstance(inference, Exact) else "pooling='none' fits month by month"
        raise DataError(f"start= is where chains and guides begin, and {what}: leave it out")
    chains = inference.chains if isinstance(inference, NUTS) else inference.restarts
    with jax.enable_x64(given.double):
        sites = _sites(model, given, inference)
    place = start.place(sites, given.window.times, given.window.panel.characteristics, chains)
    return jax.tree.map(lambda leaf: leaf.astype(np.float64 if given.double else np.float32), place)


def _stacked(places: Sequence[space.Place | None]) -> space.Place | None:
    """With a leading dimension of data sets, NaN for those that begin as usual."""
    known = [place for place in places if place is not None]
    if not known:
        return None
    usual = jax.tree.map(lambda leaf: np.full_like(leaf, np.nan), known[0])
    return jax.tree.map(lambda *leaves: np.stack(leaves), *(usual if place is None else place for place in places))


def _one_of(draws: Draws, index: int) -> Draws:
    """Those of one data set of many."""
    posterior, statistics, guide, end = (
        jax.tree.map(lambda leaf: leaf[index], part)
        for part in (draws.posterior, draws.statistics, draws.guide, draws.end)
    )
    if guide is not None:  # it may have stopped before others did
        guide["elbo"] = guide["elbo"][:, ~np.isnan(guide["elbo"]).all(axis=0)]
    return Draws(posterior, statistics, guide, end)


def _computed(
    model: Any,
    givens: Sequence[Given],
    inference: Inference,
    draw: Callable[[Report], list[Draws]],
    seeds: Sequence[int],
    starts: Sequence[Start | None],
    progress: bool | Report | None,
    resume: Checkpoint | None,
) -> list[Fit]:
    """Draw under the watchdog, diagnose, label: one or several panels of one precision."""
    began = time.perf_counter()
    bar, report = progress_of(progress, "steps" if isinstance(inference, SVI) else "draws per chain")
    latest = Latest()

    def work() -> list[_Drawn]:
        # Some accelerators multiply float32 in fewer bits unless told.
        with jax.enable_x64(givens[0].double), jax.default_matmul_precision("float32"):
            drawn = draw(latest)
            return [_drawn(model, given, inference, draws) for given, draws in zip(givens, drawn, strict=True)]

    with bar:
        try:
            drawn = watched(
                work,
                tick=lambda: report(*latest.done),
                on_accelerator=jax.default_backend() != "cpu",
                interrupt=None if resume is None else resume.ask_to_stop,
            )
        except KeyboardInterrupt:
            if resume is None:
                raise
            raise KeyboardInterrupt(resume.told) from None
    labelled = [_labelled(model, given, inference, one) for given, one in zip(givens, drawn, strict=True)]
    seconds = (time.perf_counter() - began) / len(givens)
    settled = _settled(model, inference, givens[0])
    return [
        Fit(
            model=model,
            inference=inference,
            tree=tree,
            status=outcome.status,
            reasons=outcome.reasons,
            provenance=provenance_of(given.window, seed, given.double, seconds, begin, **settled),
        )
        for given, (tree, outcome), seed, begin in zip(givens, labelled, seeds, starts, strict=True)
    ]


def _settled(model: Any, inference: Inference, given: Given) -> dict[str, str]:
    """What the run made of settings that were left to it."""
    if not isinstance(inference, NUTS):
        return {}
    asked = inference.mass_matrix
    return {"mass_matrix": asked if asked != "auto" else mass_matrix_of(model, inference, given.data)}


class _Drawn(NamedTuple):
    """A run's draws and what the program computes of them.

    Attributes
    ----------
    draws : of one panel.
    functions : (chain, draw, ...), to be diagnosed.
    probes : rows (probe, characteristic) that they are of.
    lost : verdict on whether a guide has collapsed.
    end : where a later window can begin.
    """

    draws: Draws
    functions: dict[str, np.ndarray]
    probes: np.ndarray
    lost: Verdict
    end: Start | None


def _drawn(model: Any, given: Given, inference: Inference, draws: Draws) -> _Drawn:
    window, many = given.window, is_by_month(model)
    probes = probe_rows(window)
    functions = functions_of(model, draws.posterior, probes)
    if "lp" in draws.statistics:
        functions["log_density"] = draws.statistics["lp"]
    # A month's own rows are all that its guide has seen: k-hat by month is its check. A model that explains a month by
    # what happened in it has no expected return of a stock to lose.
    judged = draws.guide is not None and not many and hasattr(model, "response")
    lost = of_collapse(model, window, draws.posterior) if judged else Verdict("ok", ())
    end = None
    if draws.end is not None and not many:
        panel = window.panel
        sites = _sites(model, given, inference)
        end = start_of(draws.end, sites, window.times, panel.characteristics, panel.fingerprint)
    return _Drawn(draws, functions, probes, lost, end)


def _labelled(model: Any, given: Given, inference: Inference, drawn: _Drawn) -> tuple[xr.DataTree, Verdict]:
    """The tree of a fit, and whether it may be believed."""
    draws, many = drawn.draws, is_by_month(model)
    constants = model.constants(given.data) if hasattr(model, "constants") else {}
    tree = tree_of(model, given.window, draws, drawn.functions, drawn.probes, drawn.end, constants)
    diagnosed = tree["functions"].to_dataset()
    if isinstance(inference, Exact):
        # Draws of a closed form are independent by construction: there is nothing to diagnose but their finiteness.
        return tree, finite(diagnosed)
    statistics = tree["sample_stats"].to_dataset() if draws.statistics else None
    if many:
        outcome = verdict_by_month(diagnosed, statistics)
    else:
        outcome = verdict(diagnose_functions(diagnosed), statistics, of_guide=draws.guide is not None)
    if draws.guide is not None:
        assert isinstance(inference, SVI)
        outcome = worst(outcome, of_guide(draws.guide["khat"]), drawn.lost)
        if not many and inference.batch is None:  # a minibatch's bound is too noisy
            outcome = worst(outcome, of_restarts(draws.guide["elbo"][:, -1]))
        if inference.steps == "auto":
            outcome = worst(outcome, of_steps(draws.guide["n_steps"], MAX_STEPS))
    if hasattr(model, "doubts") and (doubts := model.doubts(draws.posterior, given.data, given.window.times)):
        outcome = worst(outcome, Verdict("warn", tuple(doubts)))
    return tree, outcome


def _checkpoint(
    path: str | Path, model: Any, given: Given, inference: Inference, seed: int, start: Start | None
) -> Checkpoint:
    if isinstance(inference, Exact):
        raise DataError("checkpoint= is for long runs and Exact() is none: leave it out, and save the fit")
    same = identity(
        model,
        inference,
        seed=seed,
        panel=given.window.panel.fingerprint,
        precision="float64" if given.double else "float32",
        start="cold" if start is None else f"{start.told}, sha256 {start.digest}",
    )
    unit = "steps" if isinstance(inference, SVI) else "draws per chain (warm-up included)"
    return Checkpoint(path, same, unit=unit)
