"""What comes after must not matter: to any forecaster, in any window, in any bit. And what leaks must be caught.

The last part breaks the walk on purpose and expects the first part to notice.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import walkers
import xarray as xr

import bayesfactor as bf
from bayesfactor.baselines import OLS, FamaMacBeth, HistoricalMean, Ridge, Zero
from bayesfactor.errors import ConvergenceWarning, DataWarning, LookAheadError
from bayesfactor.evaluation import window_panels, window_tasks
from bayesfactor.panel.examination import suspects

LINEAR = bf.FundamentalFactorModel(hidden=(), pooling="full", noise="normal")
BY_MONTH = bf.FundamentalFactorModel(hidden=(), noise="normal")
# Forecaster, inference. A model is walked through one window, a baseline through three.
FORECASTERS: dict[str, tuple[Any, Any]] = {
    "zero": (Zero(), None),
    "historical mean": (HistoricalMean(), None),
    "ols": (OLS(), None),
    "ridge": (Ridge(), None),
    "fama-macbeth": (FamaMacBeth(), None),
    "peeker": (walkers.Peeker(), None),
    "last return": (walkers.LastReturn(), None),
    "ahead": (walkers.Ahead(), None),
    "candidates": ({"ols": OLS(), "zero": Zero()}, None),
    "exact": (LINEAR, bf.Exact(draws=50)),
    "nuts": (BY_MONTH, bf.NUTS(warmup=20, draws=10, chains=2)),
    "svi": (BY_MONTH, bf.SVI(steps=100, restarts=2, draws=20)),
}
QUICK = [name for name, (_, inference) in FORECASTERS.items() if inference is None]
SAID = ("mean", "sd", "quantiles")  # before a month; all else judges, after it
FIRST = 18


@functools.cache
def panel() -> bf.Panel:
    return bf.simulate.economy(n_months=30, n_assets=10, n_characteristics=2, seed=4, ragged=True).panel


def forecast(name: str, panel: bf.Panel, n_windows: int = 3, **settings: Any) -> bf.Forecasts:
    """Test windows of four months from the 19th on."""
    model, inference = FORECASTERS[name]
    validation = 4 if name == "candidates" else 0
    end = panel.times[FIRST + 4 * n_windows - 1]
    part = panel.sel(time=slice(None, end))
    rule = bf.Windows.expanding(FIRST - validation, validation, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return bf.walk_forward(model, part, inference, rule, audit=False, **settings)


@functools.cache
def undisturbed(name: str) -> bf.Forecasts:
    return forecast(name, panel(), 1 if FORECASTERS[name][1] else 3)


def made(data: xr.Dataset) -> bf.Panel:
    return bf.Panel(data, panel().frequency, panel().preparation)


def other_future(first: int) -> bf.Panel:
    """Every return and characteristic from a month on is another; four months and two assets are added."""
    rng = np.random.default_rng(8)
    data = panel().data.copy(deep=True)
    later = slice(first, None)
    used = (data["in_universe"] & data["observed"]).to_numpy()[later]
    data["returns"][later] = np.where(used, rng.normal(0.1, 0.3, used.shape), np.nan)
    z = data["characteristics"].to_numpy()[later]
    data["characteristics"][later] = np.where(np.isnan(z), np.nan, rng.uniform(-1, 1, z.shape))
    data["size"][later] = np.where(np.isnan(data["size"].to_numpy()[later]), np.nan, rng.uniform(1, 9, used.shape))
    fill = {"in_universe": False, "observed": False, "missing": True}
    fills = {name: fill.get(str(name), np.nan) for name in data}
    times = pd.date_range(data.indexes["time"][0], periods=data.sizes["time"] + 4, freq="ME", unit="ns", name="time")
    assets = ["AAA", *data["asset"].to_numpy().tolist(), "ZZZ"]  # before the others in the alphabet, and after
    data = data.reindex(time=times, asset=assets, fill_value=fills)
    for place in ({"time": slice(-4, None)}, {"asset": [0, -1], "time": later}):
        shape = data["returns"][place].shape
        for name, value in {"in_universe": True, "observed": True, "missing": False, "size": 100.0}.items():
            data[name][place] = value
        data["returns"][place] = rng.normal(0, 0.5, shape)
        data["characteristics"][place] = rng.uniform(-1, 1, (*shape, 2))
    return made(data)


def other_returns(first: int) -> bf.Panel:
    """Only the returns from a month on are others."""
    data = panel().data.copy(deep=True)
    data["returns"][first:] = -3.0 * data["returns"][first:] + 0.02
    return made(data)


def alike(one: bf.Forecasts, other: bf.Forecasts, times: Any) -> bool:
    """Every bit of what was said of these months; assets that only one has must be NaN in the other."""
    assets = one.data.indexes["asset"].union(other.data.indexes["asset"])
    first, second = (each.data[[*SAID]].sel(time=times).reindex(asset=assets).drop_attrs() for each in (one, other))
    drop = [name for name in first.coords if name not in first.dims]
    return first.drop_vars(drop).identical(second.drop_vars(drop)) and bool(np.isfinite(first["mean"]).any())


# --- what comes after does not matter ----------------------------------------------------------------


@pytest.mark.parametrize("name", FORECASTERS)
def test_the_future_does_not_matter_to_earlier_windows(name: str) -> None:
    """From the first test month of the second window on, everything is another: the first window says the same."""
    before = undisturbed(name)
    n_windows = 1 if FORECASTERS[name][1] else 3
    times = panel().times[FIRST : FIRST + 4]
    if n_windows == 1:  # of a model the first window is walked in the longer panel, too
        longer = other_future(FIRST + 4)
        window = bf.Window((panel().times[0], panel().times[FIRST - 1]), (times[0], times[-1]))
        model, inference = FORECASTERS[name]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            after = bf.walk_forward(model, longer, inference, [window], audit=False)
    else:
        after = forecast(name, other_future(FIRST + 4))
    assert alike(before, after, times)
    judged = ["realised", "pit", "crps", "score", "mcse", "common_score"]
    one, other = (each.data[judged].sel(time=times, asset=before.data["asset"]) for each in (before, after))
    if "asset" in one.dims:
        assert (
            one.drop_vars(["window", "scored_assets"])
            .drop_attrs()
            .identical(other.drop_vars(["window", "scored_assets"]).drop_attrs())
        )


@pytest.mark.parametrize("name", FORECASTERS)
def test_returns_of_the_test_periods_do_not_matter(name: str) -> None:
    """Returns from the first test month on are others: the first window says the same of all its months."""
    before = undisturbed(name)
    after = forecast(name, other_returns(FIRST), 1)
    times = panel().times[FIRST : FIRST + 4]
    assert alike(before, after, times)
    assert (
        not before.data["realised"]
        .sel(time=times)
        .equals(after.data["realised"].sel(time=times, asset=before.data["asset"]))
    )
    assert (
        not before.data["score"]
        .sel(time=times)
        .drop_vars("window")
        .equals(after.data["score"].sel(time=times).drop_vars("window"))
    )


@pytest.mark.parametrize("name", QUICK)
def test_characteristics_of_later_test_months_do_not_matter_to_earlier_ones(name: str) -> None:
    """Within a window too: a forecast of its first month is the same whatever its other months bring."""
    after = forecast(name, other_future(FIRST + 2))
    assert alike(undisturbed(name), after, panel().times[FIRST : FIRST + 2])


@pytest.mark.parametrize("name", ["ols", "historical mean", "exact"])
def test_what_is_learnt_does_matter(name: str) -> None:
    """The comparison can fail: a return of a training month changes what is said."""
    data = panel().data.copy(deep=True)
    data["returns"][FIRST - 1] = 2.0 * data["returns"][FIRST - 1] + 0.05
    after = forecast(name, made(data), 1)
    assert not alike(undisturbed(name), after, panel().times[FIRST : FIRST + 4])


def test_the_last_return_is_that_of_the_last_training_month() -> None:
    """A forecaster that tells what it was given last was given nothing of the test."""
    found = undisturbed("last return")
    for _, window in found.windows.iterrows():
        last = panel().data["returns"].sel(time=window["train_last"]).fillna(0.0)
        said = found.data["mean"].sel(time=window["test_first"]).dropna("asset")
        wanted = last.reindex(asset=said["asset"], fill_value=0.0)
        np.testing.assert_array_equal(said, wanted)


def test_the_peeker_sees_nothing() -> None:
    mean = undisturbed("peeker").data["mean"].to_numpy()
    assert (mean[np.isfinite(mean)] == 0).all()


def test_benchmarks_and_portfolios_of_the_test_periods_are_taken_away_too() -> None:
    rng = np.random.default_rng(0)
    data = panel().data.assign(
        benchmark_returns=(("time", "benchmark"), rng.normal(0.01, 0.04, (30, 1))),
        portfolio_returns=(("time", "portfolio"), rng.normal(0.01, 0.04, (30, 3))),
    )
    data = data.assign_coords(benchmark=["market"], portfolio=["a", "b", "c"])
    found = bf.walk_forward(walkers.Peeker(), made(data), None, bf.Windows.expanding(FIRST, test=4))
    mean = found.data["mean"].to_numpy()
    assert (mean[np.isfinite(mean)] == 0).all()


# --- what leaks is refused or named ------------------------------------------------------------------


def raw_panel() -> bf.Panel:
    """40 assets and 60 months, so that a perfect rank correlation cannot be luck."""
    frame = bf.simulate.frame(n_months=60, n_assets=40, n_characteristics=2, seed=2)
    return read(frame)


def read(frame: pd.DataFrame) -> bf.Panel:
    timing = {"returns_over": "row", "lag": 1}
    return bf.read_frame(
        frame, time="date", asset="asset", returns="ret", size="size", units="decimal", excess=True, **timing
    )


WINDOWS = bf.Windows.expanding(36, test=12)


def with_characteristic(panel: bf.Panel, values: Callable[[xr.Dataset], xr.DataArray]) -> xr.Dataset:
    """The first characteristic replaced where there is a value."""
    data = panel.data.copy(deep=True)
    z = data["characteristics"].copy()
    made = values(data).transpose("time", "asset")
    z[..., 0] = np.where(np.isnan(made), z[..., 1], made)
    return data.assign(characteristics=z.where(data["in_universe"]))


def walked(panel: bf.Panel, name: str = "ols") -> bf.Forecasts:
    model, inference = FORECASTERS[name]
    return bf.walk_forward(model, panel, inference, WINDOWS)


def test_an_honest_panel_is_not_suspected() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        walked(raw_panel().rank_normalise())


def test_returns_shifted_by_a_month_are_named() -> None:
    """A row holds the return before: the reversal characteristic, which is that return, ranks it perfectly."""
    honest = raw_panel()
    data = with_characteristic(honest, lambda data: -data["returns"].shift(time=1))  # known before each month
    reversal = bf.Panel(data.isel(time=slice(1, None)), honest.frequency).rank_normalise()
    assert suspects(reversal) == ()
    shifted = data.assign(returns=data["returns"].shift(time=1)).isel(time=slice(1, None))
    wrong = bf.Panel(shifted.assign(observed=np.isfinite(shifted["returns"])), honest.frequency).rank_normalise()
    assert suspects(wrong) == (wrong.characteristics[0],)
    with pytest.warns(DataWarning, match="rank the returns of their own row too well") as told:
        walked(wrong)
    assert wrong.characteristics[0] in str(told[0].message)


@pytest.mark.parametrize("ahead", [0, 1])
def test_returns_as_a_characteristic_are_named_or_refused(ahead: int) -> None:
    """The return of the month itself is named; that of the month after, put in by apply, is refused by the audit."""
    honest = raw_panel()
    if ahead == 0:
        wrong = bf.Panel(with_characteristic(honest, lambda data: data["returns"]), honest.frequency).rank_normalise()
        with pytest.warns(DataWarning, match="too well to be known before"):
            walked(wrong)
        return
    planted = honest.apply(
        lambda data: with_characteristic(
            bf.Panel(data, honest.frequency), lambda data: data["returns"].shift(time=-ahead)
        ),
        "planted",
    ).rank_normalise()
    with pytest.raises(LookAheadError, match=r"nothing known at .* may change with later data"):
        walked(planted)


def future_characteristic(data: xr.Dataset) -> xr.Dataset:
    """The value of the month after."""
    z = data["characteristics"].copy()
    z[:-1] = z[1:].to_numpy()
    return data.assign(characteristics=z.where(data["in_universe"]), missing=np.isnan(z) | ~data["in_universe"])


def clipped_over_the_sample(data: xr.Dataset) -> xr.Dataset:
    """Winsorised at quantiles of all months."""
    z = data["characteristics"]
    low, high = (z.quantile(level, ("time", "asset")).drop_vars("quantile") for level in (0.2, 0.8))
    return data.assign(characteristics=z.clip(low, high))


def scaled_over_the_sample(data: xr.Dataset) -> xr.Dataset:
    """Divided by the spread of all months' returns."""
    return data.assign(characteristics=data["characteristics"] / (1.0 + data["returns"].std()))


@pytest.mark.parametrize("leak", [future_characteristic, clipped_over_the_sample])
@pytest.mark.parametrize("name", ["ols", "exact"])
def test_leaks_before_preparation_are_refused(leak: Any, name: str) -> None:
    with pytest.raises(LookAheadError, match="characteristics does"):
        walked(raw_panel().apply(leak, "leak").rank_normalise(), name)


@pytest.mark.parametrize("name", ["ols", "exact"])
def test_normalising_over_the_whole_sample_is_refused(name: str) -> None:
    with pytest.raises(LookAheadError, match="characteristics does"):
        walked(raw_panel().rank_normalise().apply(scaled_over_the_sample, "scaled"), name)


def test_a_universe_of_survivors_is_refused() -> None:
    frame = bf.simulate.frame(n_months=60, n_assets=40, n_characteristics=2, seed=2, ragged=True)
    honest = read(frame)
    walked(honest.rank_normalise())

    def survivors(data: xr.Dataset) -> xr.Dataset:
        alive = data["in_universe"].isel(time=-1, drop=True)
        universe = data["in_universe"] & alive
        returns = data["returns"].where(universe)
        return data.assign(in_universe=universe, returns=returns, observed=data["observed"] & universe)

    with pytest.raises(LookAheadError, match="may change with later data"):
        walked(honest.apply(survivors, "survivors").rank_normalise())


@pytest.mark.parametrize("name", FORECASTERS)
def test_overlaps_are_refused_for_every_forecaster(name: str) -> None:
    """Validation within the training periods or the test, tests that share months: before anything is fitted."""
    times = panel().times
    model, inference = FORECASTERS[name]
    train, test = (times[0], times[17]), (times[22], times[25])
    for validation in ((times[17], times[20]), (times[20], times[22])):
        with pytest.raises(LookAheadError, match="must begin after"):
            bf.walk_forward(model, panel(), inference, [bf.Window(train, test, validation)])
    twice = [
        bf.Window(train, test, (times[18], times[19])),
        bf.Window(train, (times[25], times[27]), (times[18], times[19])),
    ]
    with pytest.raises(LookAheadError, match="test windows must not overlap"):
        bf.walk_forward(model, panel(), inference, twice)


# --- the walk, broken on purpose ---------------------------------------------------------------------


def keeps_returns(panel: bf.Panel) -> bf.Panel:
    return panel


def keeps_benchmarks(panel: bf.Panel) -> bf.Panel:
    data = panel.data.assign(returns=xr.full_like(panel.data["returns"], np.nan))
    return bf.Panel(data.assign(observed=xr.zeros_like(data["observed"])), panel.frequency, panel.preparation)


def a_month_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training spans reach one month into the test."""
    original = window_tasks.inside

    def wider(times: Any, part: Any) -> np.ndarray:
        found = original(times, part)
        last = np.flatnonzero(found)[-1]
        if found[0] and last + 1 < len(times):  # spans that begin with the panel are those that are learnt from
            found[last + 1] = True
        return found

    monkeypatch.setattr(window_tasks, "inside", wider)


def expects_failure(check: Callable[..., None], *arguments: Any) -> None:
    with pytest.raises((AssertionError, LookAheadError)):
        check(*arguments)


def test_returns_left_in_the_test_periods_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed("peeker")
    monkeypatch.setattr(window_panels, "blanked", keeps_returns)
    monkeypatch.setitem(globals(), "undisturbed", functools.partial(forecast, panel=panel()))
    expects_failure(test_the_peeker_sees_nothing)
    expects_failure(test_returns_of_the_test_periods_do_not_matter, "peeker")


def test_benchmarks_left_in_the_test_periods_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window_panels, "blanked", keeps_benchmarks)
    test_the_peeker_sees_nothing()
    expects_failure(test_benchmarks_and_portfolios_of_the_test_periods_are_taken_away_too)


@pytest.mark.parametrize("name", ["historical mean", "ols", "ridge", "fama-macbeth", "last return", "exact"])
def test_a_test_month_in_the_training_periods_is_noticed(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    a_month_too_many(monkeypatch)
    if FORECASTERS[name][1] is not None:  # the score itself refuses months that were learnt from
        with pytest.raises(LookAheadError, match="holdout months must be later than every training month"):
            forecast(name, panel(), 1)
        return
    monkeypatch.setitem(globals(), "undisturbed", lambda name: forecast(name, panel()))
    expects_failure(test_returns_of_the_test_periods_do_not_matter, name)
    if name == "last return":
        expects_failure(test_the_last_return_is_that_of_the_last_training_month)


def test_windows_cut_from_later_assets_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Panels over all assets, later listings too: what is learnt must not depend on them, nor any draw."""
    monkeypatch.setattr(window_tasks, "without_absent", lambda panel: panel)
    after = forecast("ols", other_future(FIRST + 4))
    assert "AAA" in after.data["asset"]
    assert alike(undisturbed("ols"), after, panel().times[FIRST : FIRST + 4])
