"""Settings that cannot be, and fits that meet another panel than their own."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

import bayesfactor as bf
from bayesfactor.errors import (
    AlignmentError,
    ComparisonError,
    DataError,
    DuplicateKeyError,
    EmptyWindowError,
    LookAheadError,
    UnsupportedQuantityError,
)
from bayesfactor.evaluation.compare import compare_scores
from bayesfactor.panel import Panel

from . import made
from .fault import Fault

Model = bf.FundamentalFactorModel


def does(name: str, call: Callable[[], object], gives: type[Exception], place: str | None, no_place: str = "") -> Fault:
    """A call that needs no files."""
    return Fault(name, lambda _folder, _rng: call, gives, place, no_place)


def setting(of: Callable[..., object], gives: type[Exception] = DataError, **values: Any) -> Fault:
    """A setting that cannot be; the message must name it and what was found."""
    said = ", ".join(f"{name}={value!r}" for name, value in values.items())
    name, value = next(iter(values.items()))
    found = str(value).replace("(", r"\(").replace(")", r"\)").replace("[", r"\[")
    return does(f"{of.__name__}({said})", lambda: of(**values), gives, rf"{name}.*{found}")


def changed(panel: Panel, **variables: Callable[[xr.DataArray], xr.DataArray]) -> Panel:
    data = panel.data.drop_vars("observed")
    return Panel(
        data.assign({name: change(data[name]) for name, change in variables.items()}), "monthly", panel.preparation
    )


def renamed() -> Panel:
    return Panel(made.prepared().data.assign_coords(characteristic=["x", "bm"]), "monthly", "rank")


def standardised() -> Panel:
    return made.raw().standardise()


def daily() -> Panel:
    frame = bf.simulate.frame(n_months=30, n_assets=6, n_characteristics=2, seed=1, frequency="daily")
    frame = frame.rename(columns={"x1": "x", "x2": "y"})
    return bf.read_frame(frame, **made.TOLD).rank_normalise()


def fitted(
    panel: Callable[[], object], model: Any = made.LINEAR, inference: Any = made.EXACT, **settings: Any
) -> Callable[[], object]:
    return lambda: bf.fit(model, panel(), inference, **settings)


def constant_y() -> Panel:
    return changed(made.train(), characteristics=lambda c: c.where(c.characteristic != "y", 0.5).where(np.isfinite(c)))


def equal_returns() -> Panel:
    return changed(made.train(), returns=lambda r: 0 * r + 0.01)


def collinear() -> Panel:
    return changed(
        made.train(), characteristics=lambda c: c.sel(characteristic="x").expand_dims(characteristic=["x", "y"], axis=2)
    )


def scores(n: int = 30, **attrs: str) -> xr.DataArray:
    times = pd.date_range("2010-01-31", periods=n, freq="ME", unit="ns")
    values = np.random.default_rng(n).normal(50, 3, n)
    kind = {
        "units": "nats",
        "log_base": "e",
        "likelihood_kind": "density",
        "frequency": "monthly",
        "panel_fingerprint": "a",
    }
    return xr.DataArray(values, {"time": times, "scored_assets": ("time", ["s"] * n)}, ["time"], attrs=kind | attrs)


def against(other: object, first: xr.DataArray | None = None) -> Callable[[], object]:
    return lambda: compare_scores({"one": scores() if first is None else first, "two": other})


def forecasts() -> tuple[xr.DataArray, xr.DataArray]:
    """A forecast of every stock-month, and the returns that came."""
    realised = bf.metrics.realised_returns(made.prepared())
    return xr.zeros_like(realised), realised


def r2(spoil: Callable[[xr.DataArray, xr.DataArray], tuple[Any, Any]], **settings: Any) -> Callable[[], object]:
    return lambda: bf.metrics.predictive_r2(*spoil(*forecasts()), **settings)


MODELS = [
    setting(Model, activation="swish"),
    setting(Model, pooling="some"),
    setting(Model, noise="cauchy"),
    setting(Model, input_prior="lasso"),
    setting(Model, hidden=(0,)),
    setting(Model, hidden=(3, -1)),
    setting(Model, huber_delta=0.0),
    setting(Model, huber_delta=math.nan),
    setting(Model, slope_sd=-0.01),
    setting(Model, slope_sd=0.0),
    setting(Model, noise_variation=-1.0),
    setting(Model, shock_rank=-1),
    does("a flat prior of a network", lambda: Model(hidden=(3,), slope_sd=math.inf), DataError, "slope_sd"),
    does("hidden layers in words", lambda: Model(hidden="8,8"), DataError, "hidden.*'8,8'"),
    does("hidden layers as a number", lambda: Model(hidden=8), DataError, "hidden.*8"),
    setting(bf.NUTS, warmup=5),
    setting(bf.NUTS, draws=0),
    setting(bf.NUTS, chains=1),
    setting(bf.NUTS, draws=1.5),
    setting(bf.NUTS, target_accept=1.0),
    setting(bf.NUTS, start_radius=0.0),
    setting(bf.NUTS, precision="float16"),
    setting(bf.NUTS, max_tree_depth=0),
    setting(bf.SVI, guide="mean_field"),
    setting(bf.SVI, steps=10),
    setting(bf.SVI, steps="many"),
    setting(bf.SVI, batch=0),
    setting(bf.SVI, restarts=1),
    setting(bf.SVI, particles=3),
    setting(bf.SVI, learning_rate=-0.1),
    setting(bf.SVI, learning_rate=math.nan),
    setting(bf.Exact, draws=3),
    setting(bf.Exact, chains=0),
]

FITS = [
    does("fit to raw characteristics", fitted(made.raw), DataError, "rank_normalise"),
    does("fit to a frame", fitted(made.frame), DataError, "DataFrame"),
    does("fit to None", fitted(lambda: None), DataError, "NoneType"),
    does("fit to the arrays", fitted(lambda: made.train().arrays()), DataError, "PanelArrays"),
    does("fit to one month", fitted(lambda: made.train().sel(time="2015-03")), DataError, "1 of 1"),
    does("fit to the live month", fitted(lambda: made.prepared().live), DataError, "0 of 1"),
    does("fit to returns that do not differ", fitted(equal_returns), DataError, "returns must differ"),
    does("fit to a characteristic that does not differ", fitted(constant_y), DataError, r"y \(1 in all\)"),
    does(
        "flat prior and collinear characteristics",
        fitted(collinear, dataclasses.replace(made.LINEAR, slope_sd=math.inf)),
        DataError,
        "condition number",
    ),
    does(
        "fewer stocks than slopes",
        fitted(lambda: made.train().sel(asset=["A0", "A1"]), Model(hidden=(), noise="normal"), bf.NUTS()),
        DataError,
        r"2015-02-28, 2015-03-31.*\(8 in all\)",
    ),
    does(
        "months too small to be fitted one by one",
        fitted(lambda: made.train().sel(asset=["A0"]), Model(hidden=(), noise="normal", pooling="none"), bf.NUTS()),
        DataError,
        "differ",
    ),
    does(
        "exact posterior of a network",
        fitted(made.train, Model(hidden=(3,))),
        UnsupportedQuantityError,
        r"hidden=\(3,\)",
    ),
    does(
        "exact posterior with partial pooling",
        fitted(made.train, Model(hidden=(), noise="normal")),
        UnsupportedQuantityError,
        "pooling='partial'",
    ),
    does("inference in a word", fitted(made.train, inference="nuts"), DataError, "inference.*'nuts'"),
    does("inference that is a class", fitted(made.train, inference=bf.NUTS), DataError, "inference.*NUTS"),
    does("no model", fitted(made.train, model=None), DataError, "model.*NoneType"),
    does("a model that is a class", fitted(made.train, model=Model), DataError, "model.*FundamentalFactorModel"),
    does("seed that is a fraction", fitted(made.train, seed=0.5), DataError, "seed.*0.5"),
    does("redraw of a fit without a guide", lambda: bf.redraw(made.fit(), made.train()), DataError, "Exact"),
]


def _with_other_panels(name: str, quantity: Callable[[bf.Fit, Any], object]) -> list[Fault]:
    """What every quantity must refuse."""
    return [
        does(f"{name} of a raw panel", lambda: quantity(made.fit(), made.raw()), AlignmentError, "'rank'.*'raw'"),
        does(
            f"{name} of another preparation",
            lambda: quantity(made.fit(), standardised()),
            AlignmentError,
            "'rank'.*'standardise'",
        ),
        does(f"{name} of another frequency", lambda: quantity(made.fit(), daily()), AlignmentError, "monthly.*daily"),
        does(f"{name} of other characteristics", lambda: quantity(made.fit(), renamed()), AlignmentError, r"y.*bm"),
        does(
            f"{name} of fewer characteristics",
            lambda: quantity(made.fit(), made.prepared().sel(characteristic="x")),
            AlignmentError,
            "y",
        ),
        does(f"{name} of a frame", lambda: quantity(made.fit(), made.frame()), DataError, "DataFrame"),
    ]


QUANTITIES = [
    *_with_other_panels("sensitivities", bf.sensitivities),
    *_with_other_panels("expected returns", bf.expected_returns),
    does("bands of probability 0", lambda: bf.sensitivities(made.fit(), made.train(), prob=0), DataError, "prob.*0"),
    does(
        "bands of probability 90", lambda: bf.expected_returns(made.fit(), made.train(), prob=90), DataError, "prob.*90"
    ),
    does(
        "bands of probability NaN",
        lambda: bf.sensitivities(made.fit(), made.train(), prob=math.nan),
        DataError,
        "prob.*nan",
    ),
    does(
        "bands of a probability in words",
        lambda: bf.sensitivities(made.fit(), made.train(), prob="90%"),
        DataError,
        "prob.*'90%'",
    ),
    does(
        "sensitivities by sector",
        lambda: bf.sensitivities(made.fit(), made.train(), by="sector"),
        DataError,
        "by.*'sector'",
    ),
    does(
        "a summary of another word",
        lambda: bf.expected_returns(made.fit(), made.train(), summary="mean"),
        DataError,
        "summary.*'mean'",
    ),
    does(
        "draws larger than the memory allowed",
        lambda: bf.expected_returns(made.fit(), made.train(), summary="draws", memory_mib=1e-6),
        DataError,
        "memory_mib",
    ),
    does(
        "interactions of the linear model",
        lambda: bf.interactions(made.fit(), made.train()),
        UnsupportedQuantityError,
        None,
        "the whole model",
    ),
    does(
        "bound for a smooth network",
        lambda: bf.sensitivity_bound(dataclasses.replace(made.fit(), model=Model(hidden=(3,))), made.train()),
        UnsupportedQuantityError,
        "tanh",
    ),
    does(
        "scores of months that the fit has seen",
        lambda: bf.month_scores(made.fit(), made.train()),
        LookAheadError,
        "2015-02-28",
    ),
    does(
        "scores of months before the fit's",
        lambda: bf.month_scores(
            made.quietly(made.LINEAR, made.later().sel(time=slice("2015-10", "2016-01")), made.EXACT), made.train()
        ),
        LookAheadError,
        "2016-01-31.*2015-02-28",
    ),
    does(
        "scores of the live month",
        lambda: bf.month_scores(made.fit(), made.prepared().live),
        EmptyWindowError,
        "2016-03-31",
    ),
    does("sensitivities of a path", lambda: bf.sensitivities("fit.nc", made.train()), DataError, "fit.*str"),
]

COMPARISONS = [
    does("one fit", lambda: bf.compare({"a": made.fit()}, made.later()), ComparisonError, r"\['a'\]"),
    does(
        "fits of two panels",
        lambda: bf.compare(
            {
                "a": made.fit(),
                "b": made.quietly(made.LINEAR, made.train().sel(asset=["A0", "A1", "A2", "A3"]), made.EXACT),
            },
            made.later(),
        ),
        ComparisonError,
        "fingerprint.*a: .*b: ",
    ),
    does(
        "fits of two windows",
        lambda: bf.compare(
            {"a": made.fit(), "b": made.quietly(made.LINEAR, made.train().split("2015-08")[0], made.EXACT)},
            made.later(),
        ),
        ComparisonError,
        "training months.*b: 2015-02-28 to 2015-07-31",
    ),
    does(
        "months that the fits have seen",
        lambda: bf.compare({"a": made.fit(), "b": made.fit()}, made.prepared()),
        LookAheadError,
        "model 'a'.*2015-02-28",
    ),
    does(
        "two months",
        lambda: bf.compare({"a": made.fit(), "b": made.fit()}, made.later().split("2015-12")[0]),
        ComparisonError,
        "2 months.*2015-10-31",
    ),
    does(
        "another preparation",
        lambda: bf.compare({"a": made.fit(), "b": made.fit()}, standardised()),
        AlignmentError,
        "preparation",
    ),
    does(
        "a method that does not exist",
        lambda: bf.compare({"a": made.fit(), "b": made.fit()}, made.later(), method="waic"),
        ComparisonError,
        "'waic'",
    ),
    does(
        "paths in place of fits",
        lambda: bf.compare({"a": "a.nc", "b": "b.nc"}, made.later()),
        ComparisonError,
        "a: str",
    ),
    does("a list of fits", lambda: bf.compare([made.fit(), made.fit()], made.later()), ComparisonError, "list"),
    does(
        "scores that are not finite",
        against(scores().where(scores().time != scores().time[4])),
        ComparisonError,
        "two: 2010-05-31",
    ),
    does("scores of other months", against(scores(29)), ComparisonError, "two: 2012-06-30"),
    does(
        "scores of other stocks",
        against(scores().assign_coords(scored_assets=("time", ["s"] * 29 + ["t"]))),
        ComparisonError,
        "'one' and 'two'.*2012-06-30",
    ),
    does(
        "scores of another kind",
        against(scores(likelihood_kind="pseudo")),
        ComparisonError,
        "likelihood_kind.*two: pseudo",
    ),
    does(
        "scores of another panel", against(scores(panel_fingerprint="b")), ComparisonError, "panel_fingerprint.*two: b"
    ),
    does(
        "scores with a month twice",
        against(scores().isel(time=[0, 0, *range(2, 30)])),
        ComparisonError,
        "'two'.*2010-01-31",
    ),
    does("scores by month and asset", against(scores().expand_dims(asset=["a"])), ComparisonError, "'two'.*asset"),
    does("scores in a frame", against(scores().to_series()), ComparisonError, "'two'.*Series"),
    does("R2 of other months", r2(lambda f, r: (f.isel(time=slice(1, None)), r)), AlignmentError, "2015-02"),
    does("R2 of other assets", r2(lambda f, r: (f.sel(asset=["A0", "A1"]), r)), AlignmentError, "A2"),
    does("R2 of a forecast that is missing", r2(lambda f, r: (f.where(f.asset != "A1"), r)), DataError, "2015-02.*A1"),
    does("R2 of a return that is infinite", r2(lambda f, r: (f, r.where(r.asset != "A1", np.inf))), DataError, "A1"),
    does("R2 without any return", r2(lambda f, r: (f, r * np.nan)), EmptyWindowError, None, "all months"),
    does("R2 against another benchmark", r2(lambda f, r: (f, r), benchmark="market"), DataError, "'market'"),
    does(
        "R2 against a mean that is not given",
        r2(lambda f, r: (f, r), benchmark="historical_mean"),
        DataError,
        "historical_mean",
    ),
    does("R2 of months twice", r2(lambda f, r: (f.isel(time=[0, 0, *range(2, 14)]), r)), DuplicateKeyError, "2015-02"),
]

SIMULATED = [
    does(
        "an economy of two assets",
        lambda: bf.simulate.economy(n_months=3, n_assets=2, n_characteristics=1, seed=0),
        DataError,
        "assets",
    ),
    does(
        "an economy without months",
        lambda: bf.simulate.economy(n_months=0, n_assets=9, n_characteristics=1, seed=0),
        DataError,
        "period",
    ),
    does(
        "an economy with all cells missing",
        lambda: bf.simulate.economy(n_months=3, n_assets=9, n_characteristics=1, seed=0, missing=1.0),
        DataError,
        "missing.*1.0",
    ),
    does(
        "an economy with Cauchy noise",
        lambda: bf.simulate.economy(n_months=3, n_assets=9, n_characteristics=1, seed=0, noise="cauchy"),
        DataError,
        "noise.*'cauchy'",
    ),
    does(
        "slopes for other characteristics",
        lambda: bf.simulate.economy(n_months=3, n_assets=9, n_characteristics=2, seed=0, slope_mean=[0.1]),
        DataError,
        "2 characteristics.*1",
    ),
]

EXPORTED = [
    Fault(
        "CSV into a folder that does not exist",
        lambda folder, _: lambda: bf.to_csv(bf.sensitivities(made.fit(), made.train()), folder / "none" / "a.csv"),
        DataError,
        "none",
    ),
    Fault(
        "CSV of a frame", lambda folder, _: lambda: bf.to_csv(made.frame(), folder / "a.csv"), DataError, "DataFrame"
    ),
    Fault(
        "a fit saved into a folder that does not exist",
        lambda folder, _: lambda: made.fit().save(folder / "none" / "fit.nc"),
        DataError,
        "none",
    ),
    Fault("a fit saved over a folder", lambda folder, _: lambda: made.fit().save(folder), DataError, "inputs"),
]

FAULTS = list(itertools.chain(MODELS, FITS, QUANTITIES, COMPARISONS, SIMULATED, EXPORTED))
