"""Walking forward: learn from the past of a window, forecast its test periods, move on."""

from __future__ import annotations

import hashlib
import json
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import is_dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import MethodType
from typing import Any

import numpy as np

from bayesfactor.errors import BayesFactorError, ConvergenceWarning, DataError, DataWarning
from bayesfactor.evaluation.executing import run_here, run_on
from bayesfactor.evaluation.forecasts import Forecasts, joined
from bayesfactor.evaluation.scores import UNITS
from bayesfactor.evaluation.window_panels import Transform
from bayesfactor.evaluation.window_store import WindowResult, WindowStore, file_of
from bayesfactor.evaluation.window_tasks import Plan
from bayesfactor.evaluation.windows import Window, Windows, inside, laid
from bayesfactor.inference.checkpoint import content, described
from bayesfactor.inference.settings import NUTS, SVI, Exact, Inference, as_integer, as_seed
from bayesfactor.panel import Panel
from bayesfactor.panel.store import PanelStore

Report = Callable[[int, int], None]

AUDITED = 3  # training windows whose panel is made again from truncated data
PACKAGES = ("bayesfactor", "jax", "jaxlib", "numpyro", "numpy")


def walk_forward(
    model: Any,
    panel: Panel | PanelStore,
    inference: Inference | None,
    windows: Windows | Sequence[Window],
    *,
    executor: Executor | None = None,
    store: str | Path | None = None,
    seed: int = 0,
    name: str | None = None,
    transform: Transform | None = None,
    warm_start: bool = False,
    together: int = 1,
    audit: bool = True,
    progress: bool | Report | None = None,
) -> Forecasts:
    """Out-of-sample forecasts of one forecaster: fitted anew in every window, on what was known before it.

    In each window the forecaster learns from the training periods; of several candidates the one with the best log
    score on the validation periods is fitted again to training and validation. Then it forecasts the test periods from
    characteristics alone: their returns are taken away before it sees them, and come back only to judge.

    Parameters
    ----------
    model : a model; a baseline of `bayesfactor.baselines`; or candidates by name, {name: model}, all of one kind,
        which need windows with validation periods.
    panel : prepared `Panel`, or a `PanelStore`, of which one window at a time is read (by the workers themselves).
    inference : of a model; None for baselines.
    windows : `Windows.expanding(...)` or `Windows.rolling(...)`, or a list of `Window`.
    executor : any `concurrent.futures.Executor`; None computes here, one window after the other. `processes(n)` gives
        local processes; a Dask cluster is ``distributed.Client(...).get_executor(pure=False)``. The results are those
        computed here, in any order and number of workers.
    store : folder that keeps the result of every window, each written at once or not at all. The same call goes on
        after an interruption, and computes only what is missing or whose data have changed: when the panel has grown
        by a month, the windows before it are kept.
    seed : fixes every draw; each window has its own seed, made of this and the date of its first test period.
    name : what the forecaster is called; its repr if None.
    transform : what learns from data, such as bounds to winsorise at: it is given the panel to learn from, and returns
        a function that is applied to that panel and to the test periods (their returns taken away).
    warm_start : begin each fit where that of the window before ended, in order and in this process (see `fit`).
        Recorded in ``forecasts.windows["start"]``. The posterior is the same; the bits are not.
    together : windows of one shape that are fitted as one compiled program (see `fit_many`, and `fits_together` for
        when that is faster). Windows that are fitted together are computed again together.
    audit : make the panel again from data truncated at some training ends, and refuse it when it differs (see
        `Panel.audit`). Turn it off when reading again takes too long, or the panel was audited.
    progress : True or False; by default a bar on a terminal. Or a function called with (windows done, windows in all).

    Returns
    -------
    `Forecasts`.

    Raises
    ------
    LookAheadError
        When windows overlap, or the panel changes with later data.
    EmptyWindowError
        When the panel is too short, or a baseline's window has no return to learn from.
    DataError
        When a model's window has fewer than two periods with returns, the panel is not prepared, the inference does
        not suit the forecaster, or the store is of another walk.
    CorruptResultError
        When a file of the store is damaged.
    KeyboardInterrupt
        On Ctrl-C; says how many windows are stored.

    Warns
    -----
    ConvergenceWarning
        When the fit of a window is not "ok", once for all windows; see ``forecasts.windows``.
    DataWarning
        When a characteristic ranks returns of its own row too well to be known before them.
    """
    seed = as_seed(seed)
    candidates = _candidates(model, inference)
    _check_panel(panel)
    laid_out = laid(windows, panel)
    _check_validation(candidates, laid_out)
    together = _check_together(together, warm_start, candidates, inference, executor)
    if audit and isinstance(panel, Panel):
        _audit(panel, laid_out)
    called = name or (", ".join(candidates) if isinstance(model, Mapping) else repr(model))
    attrs = _attrs(called, candidates, panel, inference, windows, seed) | {"transform": _told_transform(transform)}
    kept = None
    if store is not None:
        identity = _identity(candidates, inference, seed, transform, warm_start, together)
        kept = WindowStore.prepare(store, identity, attrs, [file_of(window) for window in laid_out])
    bar, report = _progress(progress, called)
    results: dict[int, WindowResult] = {}
    plan = Plan(candidates, inference, seed, transform, panel, laid_out, together, results if warm_start else None)

    def done(number: int, result: WindowResult, data: str | None) -> None:
        """Keep a result; `data` is None where it was kept before."""
        if number not in results:  # computed again beside others that were missing: what is stored counts
            if kept is not None and data is not None:
                kept.keep(file_of(laid_out[number]), data, result)
            results[number] = result
        report(len(results), len(laid_out))

    with bar:
        try:
            run = run_here if executor is None else run_on(executor)
            run(plan.todo(kept, done), done)
        except (KeyboardInterrupt, BrokenExecutor) as stopped:
            told = _told(len(results), len(laid_out), store)
            if isinstance(stopped, KeyboardInterrupt):
                raise KeyboardInterrupt(told) from None
            raise BayesFactorError(
                f"a worker process has died, usually killed for want of memory: {told}. Use fewer workers, and note "
                "that a program which uses processes must start under `if __name__ == '__main__':`."
            ) from stopped
    forecasts = joined([results[number].forecasts for number in range(len(laid_out))], attrs)
    _warn(forecasts)
    return forecasts


# --- what is checked before anything runs -----------------------------------------------------------


def is_baseline(forecaster: Any) -> bool:
    """Whether it learns by itself, ``forecaster.fit(panel)``, rather than by an inference of ours."""
    return callable(getattr(forecaster, "fit", None)) and not hasattr(forecaster, "month_law")


def _candidates(model: Any, inference: Any) -> dict[str, Any]:
    """Forecasters by name; one nameless where there is no choice."""
    candidates = dict(model) if isinstance(model, Mapping) else {"": model}
    if not candidates:
        raise DataError("there must be a model to walk with: found no candidates")
    for label, one in candidates.items():
        told = f"candidate {label!r}" if label else "the forecaster"
        if not isinstance(label, str):
            raise DataError(f"candidates must be named by text: found {label!r}")
        if isinstance(one, type | str) or not (is_baseline(one) or callable(getattr(one, "month_law", None))):
            raise DataError(
                f"{told} must be a model or a baseline, an instance with `month_law` or `fit`: found {one!r}"
            )
    baseline = {is_baseline(one) for one in candidates.values()}
    if len(baseline) > 1:
        raise DataError("candidates must be all models or all baselines: their scores do not compare otherwise")
    if baseline == {True} and inference is not None:
        raise DataError(f"a baseline fits itself: inference must be None, found {inference!r}")
    if baseline == {False} and not isinstance(inference, NUTS | SVI | Exact):
        raise DataError(f"inference must be NUTS(...), SVI(...) or Exact(...) for a model: found {inference!r}")
    kinds = {str(getattr(one, "likelihood_kind", "density")) for one in candidates.values()}
    if len(candidates) > 1 and kinds != {"density"}:
        raise DataError(f"candidates are chosen by their densities, and not all have one: found {sorted(kinds)}")
    return candidates


def _check_panel(panel: Any) -> None:
    if not isinstance(panel, Panel | PanelStore):
        raise DataError(f"a walk goes over a Panel or a PanelStore: found {type(panel).__name__}")
    if not panel.prepared:
        raise DataError("the panel's characteristics are raw: call panel.rank_normalise() (or .standardise()) first")


def _check_validation(candidates: Mapping[str, Any], windows: Sequence[Window]) -> None:
    if len(candidates) > 1 and any(window.validation is None for window in windows):
        raise DataError(
            f"{len(candidates)} candidates are chosen among on validation periods, and the windows have none: give "
            "Windows.expanding(train, validation, test), or a single model"
        )


def _check_together(
    together: Any, warm_start: bool, candidates: Mapping[str, Any], inference: Any, executor: Any
) -> int:
    """Windows a program; one for what fits itself."""
    together = as_integer("together", together)
    if together < 1:
        raise DataError(f"together is how many windows run as one program, at least 1: got {together}")
    if warm_start and inference is None:
        raise DataError("warm_start=True is for NUTS and SVI: a baseline has no chains that begin anywhere")
    if warm_start and isinstance(inference, Exact):
        raise DataError("warm_start=True is for NUTS and SVI: Exact() is a closed form and begins nowhere")
    if (warm_start or together > 1) and len(candidates) > 1:
        raise DataError("warm_start and together are for a single model: candidates are fitted one by one, and cold")
    if warm_start and together > 1:
        raise DataError("with warm_start=True each window waits for the one before: together must be 1")
    if inference is not None and isinstance(executor, ThreadPoolExecutor):
        raise DataError(
            "models run in processes, not in threads of one: compiled programs side by side there can stand still for "
            "ever (decision 9). Give processes(n), or no executor."
        )
    threads = getattr(getattr(executor, "_client", None), "nthreads", None)  # of a Dask cluster, by worker
    if inference is not None and callable(threads) and max(threads().values(), default=1) > 1:
        raise DataError(
            "models run in processes, not in threads of one (decision 9), and a worker of this cluster has several: "
            "start it with threads_per_worker=1"
        )
    if warm_start and executor is not None:
        raise DataError("with warm_start=True each window waits for the one before: leave executor out")
    return 1 if inference is None else together


def _audit(panel: Panel, windows: Sequence[Window]) -> None:
    """Make the panel again as it was known at the end of some training windows and within their test periods.

    And look for what knows too much.
    """
    from bayesfactor.panel.examination import suspects

    ends = [panel.times[panel.times <= window.learn[1]][-1] for window in windows]
    audited = sorted(set(np.linspace(0, len(ends) - 1, AUDITED).round().astype(int).tolist()))
    within = [inside(panel.times, windows[i].test) for i in audited]
    cuts = {ends[i] for i in audited} | {panel.times[test][-2] for test in within if test.sum() > 1}
    panel.audit(sorted(cuts))
    found = suspects(panel)
    if found:
        warnings.warn(
            f"characteristics that rank the returns of their own row too well to be known before them: "
            f"{', '.join(found)}. Usually returns_over or lag is wrong, or the column was made with the return itself. "
            "No walk can tell a forecast from hindsight then.",
            DataWarning,
            stacklevel=3,
        )


# --- what a walk is -----------------------------------------------------------------------------------


def _attrs(
    name: str, candidates: Mapping[str, Any], panel: Any, inference: Any, windows: Any, seed: int
) -> dict[str, Any]:
    first = next(iter(candidates.values()))
    return {
        "name": name,
        "model": repr(first) if len(candidates) == 1 else "; ".join(f"{k}: {v!r}" for k, v in candidates.items()),
        "inference": "" if inference is None else repr(inference),
        "seed": seed,
        "frequency": panel.frequency,
        "periods_per_year": panel.periods_per_year,
        "panel_fingerprint": panel.fingerprint,
        "windows": repr(windows) if isinstance(windows, Windows) else f"{len(windows)} given",
        "units": UNITS,
        "log_base": "e",
        "likelihood_kind": str(getattr(first, "likelihood_kind", "density")),
    }


def _identity(
    candidates: Mapping[str, Any], inference: Any, seed: int, transform: Any, warm_start: bool, together: int
) -> dict[str, Any]:
    return {
        "forecaster": {label or "model": _settings(label or "model", one) for label, one in candidates.items()},
        "inference": "none" if inference is None else described(inference),
        "seed": seed,
        "transform": "none" if transform is None else _settings_of_transform(transform),
        "warm_start": warm_start,
        "together": together,
        "versions": {package: version(package) for package in PACKAGES},
    }


def _settings(what: str, instance: Any) -> dict[str, Any]:
    """Class and fields of a frozen dataclass."""
    if not is_dataclass(instance):
        raise DataError(
            f"store= must know everything that results depend on, and {what} is a {type(instance).__name__}, no "
            "dataclass: make its class a frozen dataclass of settings"
        )
    return described(instance)


def _told_transform(transform: Any) -> str:
    """A short name by which forecasts after different transforms are told apart."""
    if transform is None:
        return "none"
    try:
        of = _settings_of_transform(transform) if isinstance(transform, partial | MethodType) else content(transform)
    except DataError:
        return "not told"
    return hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()[:16]


def _settings_of_transform(transform: Any) -> dict[str, Any]:
    """What tells two transforms apart: a function's name and code and the arguments bound to it; a class's fields.

    Raises
    ------
    DataError
        For a function made within another: what it holds cannot be known.
    """
    if isinstance(transform, partial):
        bound = [content(one) for one in (transform.args, transform.keywords)]
        return {**_settings_of_transform(transform.func), "bound": bound}
    if isinstance(transform, MethodType):
        own = _settings("the transform's object", transform.__self__)
        return {**_settings_of_transform(transform.__func__), "of": own}
    if getattr(transform, "__code__", None) is None:
        return _settings("transform", transform)
    if "<" in transform.__qualname__:
        raise DataError(
            f"store= must know everything that results depend on, and the transform {transform.__qualname__} is made "
            "within another function: define it in a module and bind its settings by functools.partial, or make it a "
            "frozen dataclass with __call__"
        )
    return {"function": content(transform)}


# --- telling ------------------------------------------------------------------------------------------


def _told(done: int, total: int, store: str | Path | None) -> str:
    if store is None:
        return f"stopped after {done} of {total} windows, none of them kept: give store=, a folder"
    return f"stopped: {done} of {total} windows are stored in {store}, the same call goes on from there"


def _warn(forecasts: Forecasts) -> None:
    """One warning for all windows that are not ok."""
    bad = forecasts.windows[forecasts.windows["status"] != "ok"]
    if len(bad):
        counts = ", ".join(f"{count} {status!r}" for status, count in bad["status"].value_counts().items())
        warnings.warn(
            f"of {len(forecasts.windows)} windows some are not 'ok': {counts}; the first, tested from "
            f"{bad['test_first'].iloc[0]:%Y-%m-%d}: {bad['reasons'].iloc[0]}. See forecasts.windows",
            ConvergenceWarning,
            stacklevel=3,
        )


def _progress(wanted: bool | Report | None, name: str) -> tuple[AbstractContextManager[Any], Report]:
    """A context to run under and the function to tell of progress."""
    if callable(wanted):
        return nullcontext(), wanted
    if not (sys.stderr.isatty() if wanted is None else wanted):
        return nullcontext(), lambda done, total: None
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TextColumn("windows"))
    bar = Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True))
    task = bar.add_task(name[:30], total=None)
    return bar, lambda done, total: bar.update(task, completed=done, total=total)
