"""Walking forward: learn from the past of a window, forecast its test periods, move on."""

from __future__ import annotations

import hashlib
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, is_dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from threadpoolctl import threadpool_limits

from bayesfactor.errors import AlignmentError, BayesFactorError, ConvergenceWarning, DataError, DataWarning
from bayesfactor.evaluation.common_law import CommonLaw, common_law
from bayesfactor.evaluation.forecasts import DATES, Forecasts, joined, table_of_windows
from bayesfactor.evaluation.recorded import recorded
from bayesfactor.evaluation.scores import UNITS, month_scores, scored_assets
from bayesfactor.evaluation.window_store import WindowResult, WindowStore, file_of, numbered
from bayesfactor.evaluation.windows import Window, Windows, inside, laid
from bayesfactor.inference import Fit, fit, fit_many
from bayesfactor.inference.checkpoint import described
from bayesfactor.inference.settings import NUTS, SVI, Exact, Inference, as_integer, as_seed
from bayesfactor.inference.start import Start
from bayesfactor.panel import Panel
from bayesfactor.panel.store import PanelStore, open_panel
from bayesfactor.quantities.predictive import predictive_of_laws, predictive_returns

Tasks = Iterator[tuple["Task", list[str]]]
Done = Callable[[int, WindowResult, str | None], None]
Transform = Callable[[Panel], Callable[[Panel], Panel]]
Report = Callable[[int, int], None]

HAPPENED = ("returns", "benchmark_returns", "portfolio_returns")  # in a period, unknown before it
AUDITED = 3  # training windows whose panel is made again from truncated data
IN_FLIGHT = 2  # windows sent to an executor for each of its workers, so that none waits
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
    attrs = _attrs(called, candidates, panel, inference, windows, seed)
    kept = None
    if store is not None:
        identity = _identity(candidates, inference, seed, transform, warm_start, together)
        kept = WindowStore.prepare(store, identity, attrs, [file_of(window) for window in laid_out])
    bar, report = _progress(progress, called)
    results: dict[int, WindowResult] = {}
    plan = _Plan(candidates, inference, seed, transform, panel, laid_out, together, results if warm_start else None)

    def done(number: int, result: WindowResult, data: str | None) -> None:
        """Keep a result; `data` is None where it was kept before."""
        if number not in results:  # computed again beside others that were missing: what is stored counts
            if kept is not None and data is not None:
                kept.keep(file_of(laid_out[number]), data, result)
            results[number] = result
        report(len(results), len(laid_out))

    with bar:
        try:
            run = _run_here if executor is None else _run_on(executor)
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
    if warm_start and isinstance(inference, Exact):
        raise DataError("warm_start=True is for NUTS and SVI: Exact() is a closed form and begins nowhere")
    if (warm_start or together > 1) and len(candidates) > 1:
        raise DataError("warm_start and together are for a single model: candidates are fitted one by one, and cold")
    if warm_start and together > 1:
        raise DataError("with warm_start=True each window waits for the one before: together must be 1")
    if warm_start and executor is not None:
        raise DataError("with warm_start=True each window waits for the one before: leave executor out")
    return 1 if inference is None else together


def _audit(panel: Panel, windows: Sequence[Window]) -> None:
    """Make the panel again as it was known at the end of some training windows; and look for what knows too much."""
    from bayesfactor.panel.examination import suspects

    ends = [panel.times[panel.times <= window.learn[1]][-1] for window in windows]
    chosen = sorted({ends[i] for i in np.linspace(0, len(ends) - 1, AUDITED).round().astype(int)})
    panel.audit(chosen)
    found = suspects(panel)
    if found:
        warnings.warn(
            f"characteristics that rank the returns of their own row too well to be known before them: "
            f"{', '.join(found)}. Usually returns_over or lag is wrong, or the column was made with the return itself. "
            "No walk can tell a forecast from hindsight then.",
            DataWarning,
            stacklevel=3,
        )


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


def _settings_of_transform(transform: Any) -> dict[str, Any]:
    """What tells two transforms apart: a function's name and code and the arguments bound to it; a class's fields.

    Raises
    ------
    DataError
        For a function made within another: what it holds cannot be known.
    """
    if isinstance(transform, partial):
        bound = {"arguments": repr(transform.args), **{name: repr(one) for name, one in transform.keywords.items()}}
        return {**_settings_of_transform(transform.func), **bound}
    code = getattr(transform, "__code__", None)
    if code is None:
        return _settings("transform", transform)
    if "<" in transform.__qualname__:
        raise DataError(
            f"store= must know everything that results depend on, and the transform {transform.__qualname__} is made "
            "within another function: define it in a module and bind its settings by functools.partial, or make it a "
            "frozen dataclass with __call__"
        )
    defaults = repr((transform.__defaults__, transform.__kwdefaults__))
    name = f"{transform.__module__}.{transform.__qualname__}"
    return {"function": name, "code": hashlib.sha256(_text(code).encode()).hexdigest(), "defaults": defaults}


def _text(constant: Any) -> str:
    """Code, or a constant in it, as text without addresses in memory or the order of a set."""
    if hasattr(constant, "co_code"):
        return f"{constant.co_code!r} {constant.co_names} {[_text(one) for one in constant.co_consts]}"
    return repr(sorted(map(repr, constant))) if isinstance(constant, frozenset) else repr(constant)


# --- tasks ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Stored:
    """A span of a store, read where it is needed."""

    path: Path
    part: tuple[pd.Timestamp, pd.Timestamp]

    def load(self) -> Panel:
        return _without_absent(open_panel(self.path).load(slice(*self.part)))


@dataclass(frozen=True)
class Part:
    """One window and its data.

    Attributes
    ----------
    number : of the window.
    learn, test : panels; from a store, where to read them.
    start : where its fit begins, as a dataset; None for a cold start.
    """

    number: int
    window: Window
    learn: Panel | _Stored
    test: Panel | _Stored
    start: xr.Dataset | None = None

    @property
    def data(self) -> str:
        """SHA-256 (hex) of all that the window's result depends on but the walk."""
        prints = [str(self.window), *(_loaded(one).fingerprint for one in (self.learn, self.test))]
        if self.start is not None:
            prints.append(Start.from_dataset(self.start).digest)
        return hashlib.sha256("".join(prints).encode()).hexdigest()


@dataclass(frozen=True)
class Task:
    """Some windows with all that they need, so that any process can compute them; more than one run as one program."""

    parts: tuple[Part, ...]
    candidates: dict[str, Any]
    inference: Inference | None
    seed: int
    transform: Transform | None
    keep_start: bool


@dataclass(frozen=True)
class _Plan:
    """The tasks of a walk.

    Attributes
    ----------
    together : windows a task, where they have one shape.
    earlier : results so far by window, which warm starts begin from; None for cold ones.
    """

    candidates: dict[str, Any]
    inference: Inference | None
    seed: int
    transform: Transform | None
    panel: Panel | PanelStore
    windows: tuple[Window, ...]
    together: int
    earlier: Mapping[int, WindowResult] | None

    def todo(self, store: WindowStore | None, done: Done) -> Tasks:
        """Tasks that are not in the store, each with the fingerprints of its data; `done` is told of the others."""
        for numbers in self._groups():
            parts = tuple(self._part(number) for number in numbers)
            prints = [part.data if store is not None else "" for part in parts]
            missing = store is None
            for part, data in zip(parts, prints, strict=True):
                found = None if store is None else store.find(file_of(part.window), data)
                if found is None:
                    missing = True
                else:
                    done(part.number, found._replace(forecasts=numbered(found.forecasts, part.number)), None)
            if missing:
                settings = (self.candidates, self.inference, self.seed, self.transform)
                yield Task(parts, *settings, self.earlier is not None), prints

    def _groups(self) -> Iterator[list[int]]:
        """Consecutive windows that learn from equally many periods, so many at most."""
        group: list[int] = []
        for number in range(len(self.windows)):
            if group and (len(group) == self.together or self._size(number) != self._size(group[0])):
                yield group
                group = []
            group.append(number)
        yield group

    def _size(self, number: int) -> int:
        """Periods with returns that a window learns from."""
        learned = inside(self.panel.times, self.windows[number].learn)
        if isinstance(self.panel, PanelStore):
            return int(learned[self.panel.with_returns].sum())
        return int((learned & _returns_came(self.panel)).sum())

    def _part(self, number: int) -> Part:
        window = self.windows[number]
        start = None
        if self.earlier is not None and number > 0:
            start = self.earlier[number - 1].start
        return Part(number, window, self._span(window.learn), self._span(window.test), start)

    def _span(self, part: tuple[pd.Timestamp, pd.Timestamp]) -> Panel | _Stored:
        if isinstance(self.panel, PanelStore):
            return _Stored(self.panel.path, part)
        panel = self.panel
        data = panel.data.isel(time=inside(panel.times, part))
        return _without_absent(
            Panel(data, panel.frequency, panel.preparation, panel.missing, panel.history, panel.warnings)
        )


def _without_absent(panel: Panel) -> Panel:
    """Without assets that are never in the universe: what a window gives must not depend on later listings."""
    ever = panel.data["in_universe"].any("time").to_numpy()
    if ever.all():
        return panel
    data = panel.data.isel(asset=ever)
    return Panel(data, panel.frequency, panel.preparation, panel.missing, panel.history, panel.warnings)


def _loaded(panel: Panel | _Stored) -> Panel:
    return panel.load() if isinstance(panel, _Stored) else panel


# --- running them -----------------------------------------------------------------------------------


def _run_here(tasks: Tasks, done: Done) -> None:
    for task, prints in tasks:
        _tell(task, run_task(task), prints, done)


def _run_on(executor: Executor) -> Callable[[Tasks, Done], None]:
    """Send tasks as workers become free: their panels need not all be in memory at once."""

    def run(tasks: Tasks, done: Done) -> None:
        running: dict[Future[list[WindowResult]], tuple[Task, list[str]]] = {}
        limit = IN_FLIGHT * _workers(executor)
        try:
            for task, prints in tasks:
                running[executor.submit(run_task, task)] = (task, prints)
                if len(running) >= limit:
                    _collect(running, done)
            while running:
                _collect(running, done)
        except BaseException:
            for future in running:
                future.cancel()
            raise

    return run


def _collect(running: dict[Future[list[WindowResult]], tuple[Task, list[str]]], done: Done) -> None:
    """Wait for one task at least, and keep what is ready; what failed is told when the others are kept."""
    ready, _ = wait(running, return_when=FIRST_COMPLETED)
    failed = None
    for future in ready:
        task, prints = running.pop(future)
        error = future.exception()
        if error is None:
            _tell(task, future.result(), prints, done)
        failed = failed or error
    if failed is not None:
        raise failed


def _tell(task: Task, results: list[WindowResult], prints: list[str], done: Done) -> None:
    for part, result, data in zip(task.parts, results, prints, strict=True):
        done(part.number, result, data)


def _workers(executor: Any) -> int:
    """How many tasks an executor runs at once, as far as it tells."""
    threads = getattr(getattr(executor, "_client", None), "nthreads", None)  # a Dask cluster
    if callable(threads):
        return max(1, sum(threads().values()))
    return int(getattr(executor, "_max_workers", None) or 8)


def run_task(task: Task) -> list[WindowResult]:
    """Learn, choose, forecast and judge: a pure function of the task.

    NumPy's matrices are small here. On one thread they take the same bits everywhere, and processes side by side do
    not fight for cores.
    """
    with threadpool_limits(1, user_api="blas"):
        return _run(task)


def _run(task: Task) -> list[WindowResult]:
    began = time.perf_counter()
    windows = [_named(part, _Prepared.of, part, task.transform) for part in task.parts]
    with recorded() as told:
        if len(windows) > 1:
            made = _learned_together(task, windows)
        else:
            made = [_named(windows[0].part, _learned, task, windows[0])]
    odd = list(dict.fromkeys(told))
    seconds = (time.perf_counter() - began) / len(windows)
    results = []
    for window, one in zip(windows, made, strict=True):
        began = time.perf_counter()
        data = _named(window.part, one.forecast, window.blank, window.test)
        data = data.assign_coords(window=("time", np.full(data.sizes["time"], window.part.number)))
        row = _row(window, one, odd, seconds + time.perf_counter() - began)
        table = table_of_windows(pd.DataFrame([row], index=[window.part.number]))
        start = one.fitted.start if task.keep_start else None
        results.append(WindowResult(Forecasts(data, table), None if start is None else start.to_dataset()))
    return results


def _named(part: Part, function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function gives; an error of ours with the window in its message, any other with a note of it."""
    where = f"window {part.number} ({part.window})"
    try:
        return function(*arguments)
    except BayesFactorError as error:
        raise type(error)(f"{where}: {error}") from error
    except Exception as error:
        error.add_note(f"In {where} of a walk.")
        raise


class _Prepared(NamedTuple):
    """A window's panels after the transform.

    Attributes
    ----------
    learn : what the forecaster learns from.
    blank : the test periods without returns: all that a forecast may use.
    test : the same with them, to judge.
    """

    part: Part
    learn: Panel
    blank: Panel
    test: Panel

    @classmethod
    def of(cls, part: Part, transform: Transform | None) -> _Prepared:
        return cls(part, *_transformed(transform, _loaded(part.learn), _loaded(part.test)))


def _learned(task: Task, window: _Prepared) -> _Forecaster:
    seed = _seed(task, window.part)
    chosen = _chosen(task, window, seed)
    start = None if window.part.start is None else Start.from_dataset(window.part.start)
    return _Forecaster.learned(chosen, task.candidates[chosen], window.learn, task.inference, seed, start)


def _learned_together(task: Task, windows: Sequence[_Prepared]) -> list[_Forecaster]:
    ((name, model),) = task.candidates.items()
    assert task.inference is not None
    seeds = [_seed(task, window.part) for window in windows]
    fits = fit_many(model, [window.learn for window in windows], task.inference, seeds=seeds)
    return [
        _Forecaster(name, one, common_law(window.learn), seed)
        for one, window, seed in zip(fits, windows, seeds, strict=True)
    ]


def _row(window: _Prepared, made: _Forecaster, odd: Sequence[str], seconds: float) -> dict[str, Any]:
    """One row of `Forecasts.windows`."""
    spans = window.part.window
    validation = (pd.NaT, pd.NaT) if spans.validation is None else spans.validation
    return {
        **dict(zip(DATES, (*spans.train, *validation, *spans.test), strict=True)),
        "n_train": int(_returns_came(window.learn).sum()),
        "status": made.status,
        "reasons": "; ".join([*made.reasons, *odd]),
        "chosen": made.name,
        "seconds": round(seconds, 3),
        "start": made.start,
    }


def _seed(task: Task, part: Part) -> int:
    """A seed that belongs to the window's first test period, whatever other windows there are."""
    day = int(part.window.test[0].to_datetime64().astype("datetime64[D]").astype(np.int64)) + 2**20
    return int(np.random.SeedSequence([task.seed, day]).generate_state(1)[0])


def _chosen(task: Task, window: _Prepared, seed: int) -> str:
    """The candidate with the best log score on the validation periods."""
    if len(task.candidates) == 1:
        return next(iter(task.candidates))
    spans = window.part.window
    assert spans.validation is not None
    learn = _loaded(window.part.learn)  # as it was: a transform must not have learnt from validation periods here
    parts = (_slice(learn, spans.train), _slice(learn, spans.validation))
    train, blank, validation = _transformed(task.transform, *parts)
    scores = {
        name: _Forecaster.learned(name, one, train, task.inference, seed).score(blank, validation)
        for name, one in task.candidates.items()
    }
    unknown = [name for name, score in scores.items() if not np.isfinite(score)]
    if unknown:
        raise DataError(f"every candidate needs a finite log score on the validation periods: not so {unknown}")
    return max(scores, key=lambda name: scores[name])


@dataclass(frozen=True)
class _Forecaster:
    """A model or baseline that has learned, and the month covariance common to all that learned there.

    Attributes
    ----------
    name : of the candidate.
    fitted : `Fit`, or what a baseline's `fit` gave.
    """

    name: str
    fitted: Any
    law: CommonLaw
    seed: int

    @classmethod
    def learned(
        cls,
        name: str,
        forecaster: Any,
        learn: Panel,
        inference: Inference | None,
        seed: int,
        start: Start | None = None,
    ) -> _Forecaster:
        if inference is None:
            fitted = forecaster.fit(learn)
        else:
            fitted = fit(forecaster, learn, inference, seed=seed, progress=False, start=start)
        return cls(name, fitted, common_law(learn), seed)

    @property
    def start(self) -> str:
        """Where its fit began."""
        return str(self.fitted.provenance["start"]) if isinstance(self.fitted, Fit) else "cold"

    @property
    def status(self) -> str:
        return self.fitted.status if isinstance(self.fitted, Fit) else "ok"

    @property
    def reasons(self) -> tuple[str, ...]:
        return self.fitted.reasons if isinstance(self.fitted, Fit) else ()

    def score(self, blank: Panel, panel: Panel) -> float:
        """Log score of a panel's returns, summed over its months; `blank` are the same months without returns."""
        if isinstance(self.fitted, Fit):
            return float(month_scores(self.fitted, panel)["score"].sum(skipna=False))
        return float(self.law.scores(self.fitted.forecast(blank), panel).sum(skipna=False))

    def forecast(self, blank: Panel, test: Panel) -> xr.Dataset:
        """All that `Forecasts` holds of some months.

        Parameters
        ----------
        blank : the months without returns: all that the forecast may use.
        test : the same months with them, to judge.
        """
        came = test.data["returns"].where(test.data["observed"] & test.data["in_universe"])
        realised = came.transpose("time", "asset").reset_coords(drop=True)
        if isinstance(self.fitted, Fit):
            data = predictive_returns(self.fitted, blank, realised=realised, seed=self.seed)
        else:
            mean = self.fitted.forecast(blank)
            data = predictive_of_laws(self.law.month_law, mean, blank, realised=realised, seed=self.seed)
        judged = _returns_came(test)
        months = test.times[judged]
        scores = {
            name: xr.DataArray(np.full(len(months), np.nan), {"time": months}, "time") for name in ("score", "mcse")
        }
        common = scores["score"]
        if judged.any():
            common = self.law.scores(data["mean"], test)
            scores = {"score": common, "mcse": xr.zeros_like(common)}
            if isinstance(self.fitted, Fit) and self.fitted.likelihood_kind == "density":
                judged_panel = _slice(test, (months[0], months[-1]))
                own = month_scores(self.fitted, judged_panel)
                scores = {name: own[name] for name in scores}
            elif isinstance(self.fitted, Fit):
                scores = {name: common.where(False) for name in scores}
        data = data.assign(realised=realised)
        for label, value in {**scores, "common_score": common}.items():
            data[label] = value.reset_coords(drop=True).reindex(time=data["time"])
        if "size" in test.data:
            data["size"] = test.data["size"].transpose("time", "asset").reset_coords(drop=True)
        data = data.assign_coords(scored_assets=("time", scored_assets(test)))
        return data.drop_attrs()


# --- panels -----------------------------------------------------------------------------------------


def _blank(panel: Panel) -> Panel:
    """The same periods with everything that happened in them taken away."""
    taken = {name: xr.full_like(panel.data[name], np.nan) for name in HAPPENED if name in panel.data}
    data = panel.data.assign(taken).assign(observed=xr.zeros_like(panel.data["observed"]))
    return Panel(data, panel.frequency, panel.preparation, panel.missing)


def _with_returns(blank: Panel, test: Panel) -> Panel:
    """What a transform made of the blanked periods, with what happened in them put back."""
    given = {name: test.data[name] for name in (*HAPPENED, "observed") if name in test.data}
    universe = blank.data["in_universe"].transpose("time", "asset")
    before = test.data["in_universe"].transpose("time", "asset")
    if not universe.drop_attrs().reset_coords(drop=True).equals(before.drop_attrs().reset_coords(drop=True)):
        raise AlignmentError(
            "a transform must leave the universe and its labels as they are: it changed those of the test periods. "
            "Narrow the universe before the walk: panel.largest(n), panel.covered(share)."
        )
    return Panel(blank.data.assign(given), blank.frequency, blank.preparation, blank.missing)


def _transformed(transform: Transform | None, learn: Panel, later: Panel) -> tuple[Panel, Panel, Panel]:
    """What is learnt from, and later periods without and with returns, after a transform that has learnt from it."""
    blank = _blank(later)
    if transform is not None:
        apply = transform(learn)
        learn, blank = _applied(apply, learn), _applied(apply, blank)
    return learn, blank, _with_returns(blank, later)


def _applied(apply: Any, panel: Panel) -> Panel:
    if not callable(apply):
        raise DataError(f"a transform must give a function from Panel to Panel: it gave {type(apply).__name__}")
    changed = apply(panel)
    if not isinstance(changed, Panel):
        raise DataError(f"a transform must give a function from Panel to Panel: that gave {type(changed).__name__}")
    return changed


def _slice(panel: Panel, part: tuple[pd.Timestamp, pd.Timestamp]) -> Panel:
    data = panel.data.isel(time=inside(panel.times, part))
    return _without_absent(Panel(data, panel.frequency, panel.preparation, panel.missing))


def _returns_came(panel: Panel) -> np.ndarray:
    """Which periods (time,) have an observed return."""
    return np.asarray((panel.data["observed"] & panel.data["in_universe"]).any("asset"))


# --- telling ----------------------------------------------------------------------------------------


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
