"""`fit`: a model, a panel and settings in, a labelled posterior with its verdict out."""

from __future__ import annotations

import platform
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from arviz_base import from_dict

from bayesfactor.components import conjugate
from bayesfactor.components.batches import map_in_batches
from bayesfactor.errors import AlignmentError, ConvergenceError, ConvergenceWarning, DataError, DataWarning, first_three
from bayesfactor.inference.by_month import guide_outside, is_by_month, labelled_inside, month_keys, settings_by_month
from bayesfactor.inference.checkpoint import Checkpoint, identity
from bayesfactor.inference.collapse import CLEAR, KEPT, MonthSums, linear_signal, month_sums, share_kept
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
from bayesfactor.inference.result import Fit
from bayesfactor.inference.sampling import Draws, run_nuts
from bayesfactor.inference.settings import NUTS, SVI, Exact, Inference, as_seed
from bayesfactor.inference.streaming import StoredMonths, Window, cast, window_of
from bayesfactor.inference.variational import MAX_STEPS, Stream, redrawn, run_svi
from bayesfactor.inference.watchdog import watched
from bayesfactor.models.training import MonthRows, TrainingData
from bayesfactor.panel import Panel, PanelArrays
from bayesfactor.panel.store import PanelStore

N_PROBES = 16
COLLAPSE_ROWS, COLLAPSE_DRAWS = 5_000, 200  # of the training panel and of the posterior
PACKAGES = (
    "bayesfactor",
    "jax",
    "jaxlib",
    "numpyro",
    "optax",
    "equinox",
    "numpy",
    "xarray",
    "pandas",
    "arviz-base",
    "arviz-stats",
)
Report = Callable[[int, int], None]


def fit(
    model: Any,
    panel: Panel | PanelStore,
    inference: Inference,
    *,
    seed: int = 0,
    strict: bool = False,
    progress: bool | Report | None = None,
    checkpoint: str | Path | None = None,
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

    Returns
    -------
    `Fit`.

    Raises
    ------
    DataError
        When the panel is not prepared, has too few observed months, a continuous characteristic that is the same for
        every observed stock of every month, or returns that do not differ, or does not suit the model. When the
        checkpoint is of another run; the message names what differs. When the model would need all of a store in
        memory.
    CorruptResultError
        When the checkpoint is truncated, changed by as much as one bit, or not a checkpoint.
    ConvergenceError
        When no chain can start, the program stalls, or ``strict=True`` and the status is not "ok".
    """
    seed = as_seed(seed)
    _check_given(model, panel, inference)
    many = is_by_month(model)
    inference = settings_by_month(inference) if many else inference
    given = _prepared(model, panel, inference, seed)
    key = month_keys(seed, given.window.times) if many else jax.random.key(seed)
    resume = None if checkpoint is None else _checkpoint(checkpoint, model, given, inference, seed)
    months = [f"{time:%Y-%m-%d}" for time in given.window.times] if many else None
    shared: dict[str, Any] = {"many": many, "labels": months, "checkpoint": resume}

    def draw(tell: Report) -> Draws:
        if isinstance(inference, NUTS):
            return run_nuts(model, given.data, inference, key, tell, **shared)
        if isinstance(inference, SVI):
            return run_svi(model, given.data, inference, key, tell, **shared, stream=given.stream)
        return _run_exact(model, given.data, inference, seed)

    result = _computed(model, given, inference, draw, seed, progress, resume)
    if result.status != "ok":
        text = f"the fit's status is {result.status!r}: " + "; ".join(result.reasons)
        if strict:
            raise ConvergenceError(text)
        warnings.warn(text, ConvergenceWarning, stacklevel=2)
    return result


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
    given = _prepared(fit.model, panel, inference, seed)
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

    def draw(tell: Report) -> Draws:
        return redrawn(fit.model, given.data, inference, guide, key, given.stream, many=many)

    return _computed(fit.model, given, inference, draw, seed, False, None)


def _check_given(model: Any, panel: Any, inference: Any) -> None:
    """Refuse classes in place of instances, words, and data that are no panel."""
    if model is None or isinstance(model, type | str):
        found = model.__name__ if isinstance(model, type) else type(model).__name__
        raise DataError(f"model must be an instance, such as FundamentalFactorModel(hidden=()): found {found}")
    if not isinstance(panel, Panel | PanelStore):
        raise DataError(
            f"a model is fitted to a Panel or a PanelStore: found {type(panel).__name__}. Read a frame with "
            "read_frame(...) and prepare it with rank_normalise()."
        )
    if not isinstance(inference, NUTS | SVI | Exact):
        raise DataError(f"inference must be NUTS(...), SVI(...) or Exact(...): found {inference!r}")


class _Given(NamedTuple):
    """What a run starts from."""

    window: Window
    data: Any
    double: bool
    stream: Stream | None


def _prepared(model: Any, panel: Panel | PanelStore, inference: Inference, seed: int) -> _Given:
    """The months to learn from, checked, as the program takes them."""
    window = window_of(panel, 1 if is_by_month(model) else 2)
    _check_content(window)
    model.check(window.n_observed, len(panel.characteristics), window.times)
    if isinstance(panel, PanelStore):
        if is_by_month(model):
            raise DataError(
                "pooling='none' fits every month by itself, from memory: give it store.load(time=...), a window at a "
                "time; no month's fit depends on another's"
            )
        return _streamed(StoredMonths(model, panel), window, inference, seed)
    (arrays,) = window.blocks()
    if is_by_month(model):
        model.check_each_month(arrays, window.times)
    data = model.data(arrays)
    double = _double(inference, reduced=not _holds_stocks(data, arrays))
    return _Given(window, cast(data, double), double, None)


def _streamed(months: StoredMonths, window: Window, inference: Inference, seed: int) -> _Given:
    """From a store: sums over stocks of all months where the model needs no more, otherwise a few months a step."""
    double = _double(inference, reduced=not months.holds_stocks)
    if not months.holds_stocks:
        return _Given(window, cast(months.reduced(), double), double, None)
    if not isinstance(inference, SVI):
        raise DataError(
            f"{type(inference).__name__} needs every stock of the window in memory with this model: give it "
            "store.load(time=...), or stream the months with SVI(batch=...)"
        )
    if inference.batch is None:
        raise DataError(
            "to learn from a store SVI must be told how many months to read a step: give batch, such as SVI(batch=8)"
        )
    stream = months.stream(inference.batch, seed, double)
    return _Given(window, next(iter(stream.batches(0, 1))), double, stream)


def _computed(
    model: Any,
    given: _Given,
    inference: Inference,
    draw: Callable[[Report], Draws],
    seed: int,
    progress: bool | Report | None,
    resume: Checkpoint | None,
) -> Fit:
    """Draw under the watchdog, diagnose, label."""
    began = time.perf_counter()
    many = is_by_month(model)
    bar, report = _progress(progress, "steps" if isinstance(inference, SVI) else "draws per chain")
    state = {"done": (0, 1)}

    def work() -> tuple[Draws, dict[str, np.ndarray], np.ndarray, Verdict | None]:
        # Some accelerators multiply float32 in fewer bits unless told.
        with jax.enable_x64(given.double), jax.default_matmul_precision("float32"):
            draws = labelled_inside(draw(_remember(state))) if many else draw(_remember(state))
            probes = _probe_rows(given.window)
            functions = _functions(model, draws.posterior, probes)
            # A month's own rows are all that its guide has seen: k-hat by month is its check.
            lost = None if draws.guide is None or many else _collapse(model, given.window, draws.posterior)
        return draws, functions, probes, lost

    with bar:
        try:
            draws, functions, probes, lost = watched(
                work,
                tick=lambda: report(*state["done"]),
                on_accelerator=jax.default_backend() != "cpu",
                interrupt=None if resume is None else resume.ask_to_stop,
            )
        except KeyboardInterrupt:
            if resume is None:
                raise
            raise KeyboardInterrupt(resume.told) from None
    if "lp" in draws.statistics:
        functions["log_density"] = draws.statistics["lp"]
    tree = _tree(model, given.window, draws, functions, probes)
    diagnosed = tree["functions"].to_dataset()
    if isinstance(inference, Exact):
        # Draws of a closed form are independent by construction: there is nothing to diagnose but their finiteness.
        outcome = finite(diagnosed)
    else:
        statistics = tree["sample_stats"].to_dataset() if draws.statistics else None
        if many:
            outcome = verdict_by_month(diagnosed, statistics)
        else:
            outcome = verdict(diagnose_functions(diagnosed), statistics, of_guide=draws.guide is not None)
    if draws.guide is not None:
        outcome = worst(outcome, of_guide(draws.guide["khat"]), lost or Verdict("ok", ()))
        if not many and isinstance(inference, SVI) and inference.batch is None:  # a minibatch's bound is too noisy
            outcome = worst(outcome, of_restarts(draws.guide["elbo"][:, -1]))
        if isinstance(inference, SVI) and inference.steps == "auto":
            outcome = worst(outcome, of_steps(draws.guide["n_steps"], MAX_STEPS))
    return Fit(
        model=model,
        inference=inference,
        tree=tree,
        status=outcome.status,
        reasons=outcome.reasons,
        provenance=_provenance(given.window, seed, given.double, time.perf_counter() - began),
    )


def _collapse(model: Any, window: Window, posterior: dict[str, np.ndarray]) -> Verdict:
    """Status "failed" when the posterior has lost a signal that the linear model sees clearly."""
    by_month = getattr(model, "pooling", "partial") == "partial"
    months = 12.0 / window.panel.periods_per_year
    sums, rows, month = _swept_once(window)
    signal = linear_signal(sums, months * getattr(model, "slope_sd", np.inf), by_month=by_month)
    if signal.p_value > CLEAR:
        return Verdict("ok", ())
    thinned = {}
    for name, value in posterior.items():
        flat = value.reshape(-1, *value.shape[2:])
        thinned[name] = jnp.asarray(flat[np.unique(np.linspace(0, len(flat) - 1, COLLAPSE_DRAWS).astype(int))])
    mapped = jax.jit(lambda draws, rows: map_in_batches(lambda params: model.response(params, rows), draws, 8))
    response = np.asarray(mapped(thinned, jnp.asarray(rows, next(iter(thinned.values())).dtype)), float).mean(axis=0)
    kept = share_kept(response, rows, month, signal)
    if kept >= KEPT:
        return Verdict("ok", ())
    return Verdict(
        "failed",
        (
            f"the guide has collapsed: the linear model's signal is clear (p = {signal.p_value:.1g}) and the "
            f"posterior mean keeps {kept:.0%} of it (must be {KEPT:.0%}): use guide='auto', or NUTS",
        ),
    )


def _swept_once(window: Window) -> tuple[MonthSums, np.ndarray, np.ndarray]:
    """Sums of every month, and some rows (row, characteristic) with their months, evenly spaced over observed ones."""
    some = np.unique(np.linspace(0, window.n_observed.sum() - 1, COLLAPSE_ROWS).astype(int))
    size = len(window.constant)
    shapes = ((), (size, size), (size,), ())
    sums = MonthSums(*(np.empty((len(window.times), *shape)) for shape in shapes))
    rows, months = [], []
    first_row = first_month = 0
    for arrays in window.blocks():
        last_month = first_month + len(arrays.returns)
        for whole, part in zip(sums, month_sums(arrays), strict=True):
            whole[first_month:last_month] = part
        month, slot = np.nonzero(arrays.observed)
        here = some[(some >= first_row) & (some < first_row + len(month))] - first_row
        rows.append(arrays.characteristics[month[here], slot[here]])
        months.append(first_month + month[here])
        first_row, first_month = first_row + len(month), last_month
    return sums, np.concatenate(rows), np.concatenate(months)


def _check_content(window: Window) -> None:
    """Refuse data from which nothing can be learnt: the posterior would be the prior, and look like a result."""
    if not window.return_scale > 0:
        raise DataError(
            "returns must differ between the stocks of a period: in the typical period of this panel they do not, or "
            "there are fewer than two."
        )
    names = np.array(window.panel.characteristics)
    constant, unusable = (names[which].tolist() for which in (window.constant, window.constant & ~window.indicator))
    if unusable:
        raise DataError(
            f"a characteristic must differ between observed stocks: {first_three(unusable)} is the same in all "
            f"{len(window.times)} periods of the training window. Usually its data begin later: drop it with "
            "panel.sel(characteristic=[...]), or begin the window later."
        )
    if constant:
        text = (
            f"indicators that never change in the training window: {first_three(constant)}; their slope is the prior's"
        )
        warnings.warn(text, DataWarning, stacklevel=3)


def _double(inference: Inference, *, reduced: bool) -> bool:
    if isinstance(inference, Exact):
        return True
    return reduced if inference.precision == "auto" else inference.precision == "float64"


def _holds_stocks(data: Any, arrays: PanelArrays) -> bool:
    """Whether a program computes on every stock, not on sums over them."""
    if isinstance(data, TrainingData):
        return isinstance(data.months, MonthRows)
    return any(np.shape(leaf)[:2] == arrays.returns.shape for leaf in jax.tree.leaves(data))


def _checkpoint(path: str | Path, model: Any, given: _Given, inference: Inference, seed: int) -> Checkpoint:
    if isinstance(inference, Exact):
        raise DataError("checkpoint= is for long runs and Exact() is none: leave it out, and save the fit")
    precision = "float64" if given.double else "float32"
    same = identity(model, inference, seed=seed, panel=given.window.panel.fingerprint, precision=precision)
    unit = "steps" if isinstance(inference, SVI) else "draws per chain (warm-up included)"
    return Checkpoint(path, same, unit=unit)


def _run_exact(model: Any, data: Any, settings: Exact, seed: int) -> Draws:
    regression = model.regression(data)
    condition = np.linalg.cond(regression.gram + np.diag(regression.prior_precision))
    if not condition < 1e12:
        raise DataError(
            "the characteristics are collinear (condition number "
            f"{condition:.1e}) and a flat prior cannot tell their slopes apart: drop one, or give "
            "slope_sd a finite value"
        )
    weights, scale = conjugate.draw_posterior(np.random.default_rng(seed), regression, settings.draws * settings.chains)
    shape = (settings.chains, settings.draws)
    posterior = {
        "slope_mean": weights.reshape(*shape, -1),
        "noise_level": scale.reshape(shape),
    }
    return Draws(posterior, {})


def _probe_rows(window: Window) -> np.ndarray:
    """Rows (probe, characteristic) of the training panel, evenly spaced over its stock-months."""
    ends = np.cumsum(window.sizes)
    rows = np.linspace(0, ends[-1] - 1, N_PROBES).astype(int)
    months = np.searchsorted(ends, rows, side="right")
    slots = rows - (ends - window.sizes)[months]
    return np.stack([window.characteristics(month)[slot] for month, slot in zip(months, slots, strict=True)])


def _functions(model: Any, posterior: dict[str, np.ndarray], probes: np.ndarray) -> dict[str, np.ndarray]:
    """The model's diagnosed functions for every draw, (chain, draw, ...)."""
    shape = next(iter(posterior.values())).shape[:2]
    flat = {name: jnp.asarray(value.reshape(-1, *value.shape[2:])) for name, value in posterior.items()}
    rows = jnp.asarray(probes)
    mapped = jax.jit(lambda draws: map_in_batches(lambda params: model.functions(params, rows), draws, 64))
    computed = mapped(flat)
    return {name: np.asarray(value).reshape(*shape, *value.shape[1:]) for name, value in computed.items()}


def _tree(
    model: Any, window: Window, draws: Draws, functions: dict[str, np.ndarray], probes: np.ndarray
) -> xr.DataTree:
    characteristics = window.panel.characteristics
    features = model.feature_names(characteristics)
    coords = {
        "time": window.times.values,
        "characteristic": list(characteristics),
        "feature": features,
        "feature_2": features,
        "probe": np.arange(len(probes)),
    }
    dims = {
        **model.dims(),
        "response": ["probe"],
        "sensitivity": ["probe", "characteristic"],
        "common_sd": ["probe"],
    }
    posterior = {name: value for name, value in draws.posterior.items() if not model.is_internal(name)}
    if is_by_month(model):
        dims["sensitivity"] = ["characteristic"]
        dims = {name: ["time", *dims.get(name, [])] for name in (*posterior, *functions, *draws.statistics)}
    groups = {
        "posterior": posterior,
        "functions": functions,
    }
    if draws.statistics:
        groups["sample_stats"] = draws.statistics
    tree = from_dict(groups, coords=coords, dims=dims)
    if draws.guide is not None:
        tree["guide"] = xr.DataTree(_guide_dataset(draws.guide, window.times.values if is_by_month(model) else None))
    tree["constant_data"] = xr.DataTree(
        xr.Dataset(
            {"probe_characteristics": (("probe", "characteristic"), probes)},
            coords={name: coords[name] for name in ("time", "characteristic", "probe")},
        )
    )
    return tree


def _guide_dataset(guide: dict[str, np.ndarray], times: np.ndarray | None) -> xr.Dataset:
    """Parameters and diagnostics of the guide, restarts as chains."""
    dims = {
        "loc": ["parameter"],
        "log_scale": ["parameter"],
        "lower": ["parameter", "parameter_2"],
        "factor": ["parameter", "rank"],
        "elbo": ["chunk"],
        "log_weight": ["guide_draw"],
        "khat": [],
        "n_steps": [],
        "acceptance": [],
    }
    leading = ["chain"] if times is None else ["chain", "time"]
    variables = {name: ([*leading, *dims[name]], value) for name, value in guide.items()}
    coords: dict[str, Any] = {"chain": np.arange(len(guide["loc"]))}
    return xr.Dataset(variables, coords=coords if times is None else coords | {"time": times})


def _provenance(window: Window, seed: int, double: bool, seconds: float) -> dict[str, Any]:
    device, panel = jax.devices()[0], window.panel
    return {
        "seed": seed,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "wall_seconds": round(seconds, 3),
        "device": f"{device.platform}:{device.device_kind}",
        "precision": "float64" if double else "float32",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "panel_fingerprint": panel.fingerprint,
        "panel_history": list(panel.history),
        "panel_warnings": list(panel.warnings),
        "frequency": panel.frequency,
        "periods_per_year": panel.periods_per_year,
        "preparation": panel.preparation,
        "n_observed": int(window.n_observed.sum()),
    }


def _remember(state: dict[str, tuple[int, int]]) -> Report:
    def report(done: int, total: int) -> None:
        state["done"] = (done, total)

    return report


def _progress(wanted: bool | Report | None, unit: str) -> tuple[AbstractContextManager[Any], Report]:
    """A context to run under and the function to tell of progress."""
    if callable(wanted):
        return nullcontext(), wanted
    if wanted is None:
        wanted = sys.stderr.isatty()
    if not wanted:
        return nullcontext(), lambda done, total: None
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )
    task = bar.add_task("compiling", total=None)

    def report(done: int, total: int) -> None:
        if done:
            bar.update(task, completed=done, total=total, description=unit)

    return bar, report
