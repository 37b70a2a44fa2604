"""One window: learn, choose, forecast, judge."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from threadpoolctl import threadpool_limits

from bayesfactor.errors import BayesFactorError, DataError
from bayesfactor.evaluation.common_law import CommonLaw, common_law
from bayesfactor.evaluation.forecasts import DATES, Forecasts, table_of_windows
from bayesfactor.evaluation.recorded import recorded
from bayesfactor.evaluation.scores import month_scores, scored_assets
from bayesfactor.evaluation.window_panels import Transform, forecast_of, returns_came, slice_of, transformed
from bayesfactor.evaluation.window_store import WindowResult
from bayesfactor.evaluation.window_tasks import Part, Task, loaded
from bayesfactor.inference import Fit, fit, fit_many
from bayesfactor.inference.settings import Inference
from bayesfactor.inference.start import Start
from bayesfactor.panel import Panel
from bayesfactor.quantities.predictive import predictive_of_laws, predictive_returns


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
        return cls(part, *transformed(transform, loaded(part.learn), loaded(part.test)))


def _learned(task: Task, window: _Prepared) -> _Forecaster:
    seed = _seed(task, window.part)
    chosen, doubts = _chosen(task, window, seed)
    start = None if window.part.start is None else Start.from_dataset(window.part.start)
    made = _Forecaster.learned(chosen, task.candidates[chosen], window.learn, task.inference, seed, start)
    return replace(made, doubts=doubts)


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
        "n_train": int(returns_came(window.learn).sum()),
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


def _chosen(task: Task, window: _Prepared, seed: int) -> tuple[str, tuple[str, ...]]:
    """The candidate with the best log score on the validation periods, and why the choice may be doubted."""
    if len(task.candidates) == 1:
        return next(iter(task.candidates)), ()
    spans = window.part.window
    assert spans.validation is not None
    learn = loaded(window.part.learn)  # as it was: a transform must not have learnt from validation periods here
    parts = (slice_of(learn, spans.train), slice_of(learn, spans.validation))
    train, blank, validation = transformed(task.transform, *parts)
    tried = {name: _Forecaster.learned(name, one, train, task.inference, seed) for name, one in task.candidates.items()}
    scores = {name: one.score(blank, validation) for name, one in tried.items()}
    unknown = [name for name, score in scores.items() if not np.isfinite(score)]
    if unknown:
        raise DataError(f"every candidate needs a finite log score on the validation periods: not so {unknown}")
    best = sorted(scores, key=lambda name: scores[name], reverse=True)
    doubts = [
        f"chosen by a fit of {name!r} to the training periods whose status is {tried[name].status!r}"
        for name in best[:2]
        if tried[name].status != "ok"
    ]
    return best[0], tuple(doubts)


@dataclass(frozen=True)
class _Forecaster:
    """A model or baseline that has learned, and the month covariance common to all that learned there.

    Attributes
    ----------
    name : of the candidate.
    fitted : `Fit`, or what a baseline's `fit` gave.
    doubts : about its choice among candidates.
    """

    name: str
    fitted: Any
    law: CommonLaw
    seed: int
    doubts: tuple[str, ...] = ()

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
        own = self.fitted.status if isinstance(self.fitted, Fit) else "ok"
        return "warn" if own == "ok" and self.doubts else own

    @property
    def reasons(self) -> tuple[str, ...]:
        own = self.fitted.reasons if isinstance(self.fitted, Fit) else ()
        return (*own, *self.doubts)

    def score(self, blank: Panel, panel: Panel) -> float:
        """Log score of a panel's returns, summed over its months; `blank` are the same months without returns."""
        if isinstance(self.fitted, Fit):
            return float(month_scores(self.fitted, panel)["score"].sum(skipna=False))
        return float(self.law.scores(forecast_of(self.fitted, blank), panel).sum(skipna=False))

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
            mean = forecast_of(self.fitted, blank)
            data = predictive_of_laws(self.law.month_law, mean, blank, realised=realised, seed=self.seed)
        judged = returns_came(test)
        months = test.times[judged]
        scores = {
            name: xr.DataArray(np.full(len(months), np.nan), {"time": months}, "time") for name in ("score", "mcse")
        }
        common = scores["score"]
        if judged.any():
            common = self.law.scores(data["mean"], test)
            scores = {"score": common, "mcse": xr.zeros_like(common)}
            if isinstance(self.fitted, Fit) and self.fitted.likelihood_kind == "density":
                judged_panel = slice_of(test, (months[0], months[-1]))
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
