"""A walk against a slow loop by hand; candidates; transforms; stores that resume, refuse and are damaged."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import pickle
import re
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import walkers
import xarray as xr
from walkers import Noting, begun, same

import bayesfactor as bf
from bayesfactor import errors
from bayesfactor.baselines import OLS, HistoricalMean, Ridge, Zero
from bayesfactor.errors import (
    AlignmentError,
    CorruptResultError,
    DataError,
    DataWarning,
    EmptyWindowError,
    LookAheadError,
)
from bayesfactor.evaluation import forecasts as forecasts_module
from bayesfactor.evaluation import window_store
from bayesfactor.evaluation.common_law import common_law
from bayesfactor.inference import sealed
from bayesfactor.inference.sealed import MARK

LINEAR = bf.FundamentalFactorModel(hidden=(), pooling="full", noise="normal")
EXACT = bf.Exact(draws=50)
WINDOWS = bf.Windows.expanding(18, test=4)


@pytest.fixture(scope="module")
def panel() -> bf.Panel:
    """30 months, the last live; assets come and go."""
    made = bf.simulate.economy(n_months=30, n_assets=8, n_characteristics=2, seed=1, ragged=True, missing=0.05).panel
    return walkers.with_live_month(made)


@pytest.fixture(scope="module")
def ols(panel: bf.Panel) -> bf.Forecasts:
    return bf.walk_forward(OLS(), panel, None, WINDOWS)


def part(panel: bf.Panel, first: Any, last: Any) -> bf.Panel:
    return panel.sel(time=slice(first, last))


def seed_of(window: pd.Series, seed: int = 0) -> int:
    """As documented: made of the walk's seed and the date of the first test period."""
    day = (window["test_first"] - pd.Timestamp("1970-01-01")).days
    return int(np.random.SeedSequence([seed, day + 2**20]).generate_state(1)[0])


# --- what it computes --------------------------------------------------------------------------------


def test_least_squares_by_hand(panel: bf.Panel, ols: bf.Forecasts) -> None:
    """Numpy, month by month and stock by stock."""
    z, r = panel.data["characteristics"].to_numpy(), panel.data["returns"].to_numpy()
    used = (panel.data["in_universe"] & panel.data["observed"]).to_numpy()
    wanted = np.full(r.shape, np.nan)
    for first in range(18, 30, 4):
        t, i = np.nonzero(used[:first])
        design = np.column_stack([np.ones(len(t)), z[t, i]])
        coefficients, *_ = np.linalg.lstsq(design, r[t, i], rcond=None)
        for month in range(first, min(first + 4, 30)):
            for asset in np.flatnonzero(panel.data["in_universe"].to_numpy()[month]):
                wanted[month, asset] = coefficients[0] + coefficients[1:] @ z[month, asset]
    found = ols.data["mean"].reindex(asset=panel.data["asset"]).to_numpy()
    np.testing.assert_allclose(found, wanted[18:], rtol=1e-9)
    np.testing.assert_array_equal(
        ols.data["realised"].reindex(asset=panel.data["asset"]), np.where(used, r, np.nan)[18:]
    )
    assert ols.windows["n_train"].tolist() == [18, 22, 26]
    assert ols.data["window"].to_numpy().tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert (ols.windows[["status", "start", "chosen", "reasons"]] == ["ok", "cold", "", ""]).all(axis=None)


def test_what_judges_a_baseline_is_the_law_of_the_training_window(panel: bf.Panel, ols: bf.Forecasts) -> None:
    for _, window in ols.windows.iterrows():
        train = part(panel, window["train_first"], window["train_last"])
        test = part(panel, window["test_first"], window["test_last"])
        here = ols.data.sel(time=test.times)
        scores = common_law(train).scores(here["mean"], test)
        came = np.isfinite(here["score"])
        np.testing.assert_allclose(here["score"][came], scores, rtol=1e-9)
        assert here["common_score"].equals(here["score"])
        assert (here["mcse"][came] == 0).all()
    # the predictive law is symmetric about the mean, nearly normal, and quantiles and cdf are of one distribution
    known = np.isfinite(ols.data["mean"])
    middle = ((ols.data["quantiles"].sel(quantile=0.5) - ols.data["mean"]) / ols.data["sd"]).where(known)
    assert abs(middle).max() < 5 * 1.2533 / np.sqrt(2000)  # 5 standard errors of a median of 2,000
    for level, normal in ((0.05, -1.645), (0.975, 1.960)):
        scaled = (ols.data["quantiles"].sel(quantile=level) - ols.data["mean"]) / ols.data["sd"]
        assert abs(float(scaled.mean()) - normal) < 0.15
    below = ols.data["realised"] < ols.data["quantiles"]
    for level in ols.data["quantile"].to_numpy():
        seen = np.isfinite(ols.data["pit"])
        agree = (ols.data["pit"] <= level) == below.sel(quantile=level)
        assert float(agree.where(seen).mean()) > 0.99


def test_a_model_by_hand(panel: bf.Panel) -> None:
    found = bf.walk_forward(LINEAR, panel, EXACT, WINDOWS, seed=7, name="linear")
    for _, window in found.windows.iterrows():
        train = part(panel, window["train_first"], window["train_last"])
        test = part(panel, window["test_first"], window["test_last"])
        fit = bf.fit(LINEAR, train, EXACT, seed=seed_of(window, 7))
        expected = bf.expected_returns(fit, test)
        here = found.data.sel(time=test.times, asset=test.data["asset"])
        np.testing.assert_allclose(here["mean"], expected["mean"], rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(here["sd"], expected["predictive_sd"], rtol=1e-4)
        scores = bf.month_scores(fit, test)
        came = here["score"].dropna("time")
        np.testing.assert_array_equal(came["time"], scores["time"])
        np.testing.assert_allclose(came, scores["score"], rtol=1e-9)
        np.testing.assert_allclose(here["mcse"].dropna("time"), scores["mcse"], rtol=1e-9)
        np.testing.assert_array_equal(here["scored_assets"].sel(time=scores["time"]), scores["scored_assets"])
        common = common_law(train).scores(here["mean"], test)
        np.testing.assert_allclose(here["common_score"].dropna("time"), common, rtol=1e-9)
    assert found.name == "linear"
    assert found.data.attrs["inference"] == repr(EXACT)


def test_the_live_month(panel: bf.Panel, ols: bf.Forecasts) -> None:
    last = panel.times[-1]
    assert list(ols.live["time"].to_index()) == [last]
    live = ols.data.sel(time=last)
    universe = panel.data["in_universe"].sel(time=last).reindex(asset=ols.data["asset"], fill_value=False)
    np.testing.assert_array_equal(np.isfinite(live["mean"]), universe)
    np.testing.assert_array_equal(np.isfinite(live["quantiles"]).all("quantile"), universe)
    for name in ("realised", "pit", "crps", "score", "mcse", "common_score"):
        assert np.isnan(live[name]).all()
    assert last not in ols.judged.times
    assert len(ols.judged.times) == len(ols.times) - 1


def test_only_the_live_month(panel: bf.Panel, ols: bf.Forecasts) -> None:
    only = bf.walk_forward(OLS(), panel, None, bf.Windows.expanding(18, first_test=panel.times[-1]))
    assert list(only.times) == [panel.times[-1]]
    assert np.isnan(only.data["score"]).all()
    assert np.isfinite(only.data["mean"]).any()
    assert len(only.judged.times) == 0


@pytest.mark.parametrize("kind", ["baseline", "model"])
def test_candidates_are_chosen_on_validation_and_fitted_again(panel: bf.Panel, kind: str) -> None:
    candidates: dict[str, Any] = {"flipped": walkers.Flipped(), "zero": Zero(), "ridge": Ridge(0.1)}
    inference = None
    if kind == "model":
        candidates = {
            "narrow": bf.FundamentalFactorModel(hidden=(), pooling="full", noise="normal", slope_sd=1e-6),
            "wide": LINEAR,
        }
        inference = EXACT
    rule = bf.Windows.rolling(10, 6, 4, embargo=1)
    found = bf.walk_forward(candidates, panel, inference, rule)
    for _, window in found.windows.iterrows():
        train = part(panel, window["train_first"], window["train_last"])
        validation = part(panel, window["validation_first"], window["validation_last"])
        scores = {}
        for name, one in candidates.items():
            if inference is None:
                mean = one.fit(train).forecast(validation)
                scores[name] = float(common_law(train).scores(mean, validation).sum())
            else:
                fit = bf.fit(one, train, inference, seed=seed_of(window))
                scores[name] = float(bf.month_scores(fit, validation)["score"].sum())
        best = max(scores, key=lambda name: scores[name])
        assert window["chosen"] == best
        learn = (window["train_first"], window["validation_last"])
        single = bf.walk_forward(
            candidates[best], panel, inference, [bf.Window(learn, (window["test_first"], window["test_last"]))]
        )
        here = found.data.sel(time=single.times).drop_vars("window")
        assert (
            here.drop_attrs().reindex(asset=single.data["asset"]).equals(single.data.drop_attrs().drop_vars("window"))
        )
        assert window["n_train"] == 17  # training, embargo, validation
    if kind == "baseline":
        assert set(found.windows["chosen"]) <= {"zero", "ridge"}


def test_of_equal_candidates_the_first(panel: bf.Panel) -> None:
    rule = bf.Windows.rolling(10, 6, 8)
    for candidates in ({"a": OLS(), "b": Ridge(0.0)}, {"b": Zero(), "a": Zero()}):
        found = bf.walk_forward(candidates, panel, None, rule)
        assert set(found.windows["chosen"]) == {next(iter(candidates))}


def test_names_and_seeds(panel: bf.Panel, ols: bf.Forecasts) -> None:
    assert ols.name == "OLS()"
    assert ols.data.attrs["seed"] == 0
    other = bf.walk_forward(OLS(), panel, None, WINDOWS, seed=1, name="least squares")
    assert other.name == "least squares"
    assert other.data["mean"].equals(ols.data["mean"])
    assert not other.data["quantiles"].equals(ols.data["quantiles"])
    both = bf.walk_forward({"a": OLS(), "b": Zero()}, panel, None, bf.Windows.expanding(12, 6, 12))
    assert both.name == "a, b"
    assert both.data.attrs["model"] == "a: OLS(); b: Zero()"
    assert ols.data.attrs["panel_fingerprint"] == panel.fingerprint
    assert ols.data.attrs["windows"] == "Windows.expanding(18, test=4)"


def test_progress_is_told(panel: bf.Panel, capfd: pytest.CaptureFixture[str]) -> None:
    told: list[tuple[int, int]] = []
    bf.walk_forward(OLS(), panel, None, WINDOWS, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert capfd.readouterr() == ("", "")
    bf.walk_forward(OLS(), panel, None, WINDOWS, progress=True, name="[red]least[/nothing]")
    assert "3/3 windows" in capfd.readouterr().err


def test_input_is_not_changed(panel: bf.Panel) -> None:
    before = panel.fingerprint
    bf.walk_forward(OLS(), panel, None, WINDOWS, transform=walkers.clipped)
    assert panel.fingerprint == before


# --- warnings and failures ---------------------------------------------------------------------------


def test_one_warning_for_all_windows(panel: bf.Panel, monkeypatch: pytest.MonkeyPatch) -> None:
    model = bf.FundamentalFactorModel(hidden=(), noise="normal")
    with pytest.warns(errors.ConvergenceWarning) as told:
        found = bf.walk_forward(model, panel, bf.SVI(steps=100, restarts=2, draws=20), bf.Windows.expanding(25, test=4))
    assert len(told) == 1
    assert len(found.windows) == 2
    bad = found.windows["status"] != "ok"
    assert bad.any()
    assert (found.windows["reasons"][bad] != "").all()
    assert found.status in ("warn", "failed")
    assert Path(told[0].filename).name == Path(__file__).name


def test_warnings_of_a_window_are_its_reasons(panel: bf.Panel) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = bf.walk_forward(walkers.Warning_(), panel, None, WINDOWS)
    assert found.windows["reasons"].tolist() == ["odd: 18 months", "odd: 22 months", "odd: 26 months"]


def test_threads_leave_warnings_as_they_were(panel: bf.Panel, ols: bf.Forecasts) -> None:
    """With `warnings.catch_warnings` in each thread, the whole process could stay silent."""
    before, show = list(warnings.filters), warnings.showwarning
    with ThreadPoolExecutor(3) as pool:
        found = bf.walk_forward(walkers.Warning_(), panel, None, bf.Windows.expanding(18, test=1), executor=pool)
    assert warnings.filters == before
    assert warnings.showwarning is show
    assert found.windows["reasons"].tolist() == [f"odd: {n} months" for n in range(18, 30)]
    with pytest.warns(DataWarning, match="heard"):
        warnings.warn("heard", DataWarning, stacklevel=1)


@pytest.mark.parametrize("error", [errors.DataError("no good"), errors.LookAheadError("later"), KeyError("what")])
def test_a_failing_window_is_named(panel: bf.Panel, error: Exception, tmp_path: Path) -> None:
    with pytest.raises(type(error)) as caught:
        bf.walk_forward(walkers.Failing(22, error), panel, None, WINDOWS)
    told = f"{caught.value} {getattr(caught.value, '__notes__', '')}"
    assert "window 1 (train 2000-02-29 to 2001-11-30, test 2001-12-31 to 2002-03-31)" in told
    assert str(error) in told


def test_a_window_without_returns_to_learn_from(panel: bf.Panel) -> None:
    data = panel.data.copy(deep=True)
    data["returns"][:14], data["observed"][:14] = np.nan, False
    blank = bf.Panel(data, panel.frequency, panel.preparation)
    for model, inference in ((OLS(), None), (LINEAR, EXACT)):
        with pytest.raises(errors.BayesFactorError, match=r"window 0 \(train 2000-02-29 to 2000-11-30.*return"):
            bf.walk_forward(model, blank, inference, bf.Windows.rolling(10, test=4))


def test_what_pickles(panel: bf.Panel, ols: bf.Forecasts) -> None:
    """All that goes to a worker and comes back."""
    assert pickle.loads(pickle.dumps(panel)).fingerprint == panel.fingerprint
    assert same(pickle.loads(pickle.dumps(ols)), ols)
    fit = bf.fit(LINEAR, part(panel, panel.times[0], panel.times[20]), EXACT)
    again = pickle.loads(pickle.dumps(fit))
    assert again.status == fit.status
    assert again.panel_fingerprint == fit.panel_fingerprint
    assert bf.expected_returns(again, panel.live).identical(bf.expected_returns(fit, panel.live))
    for model in (LINEAR, bf.FundamentalFactorModel(hidden=(4,)), EXACT, bf.SVI(), bf.NUTS(), OLS(), WINDOWS):
        assert pickle.loads(pickle.dumps(model)) == model
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(kinds) > 10
    for kind in kinds:
        again = pickle.loads(
            pickle.dumps(
                kind(
                    "told",
                )
            )
        )
        assert type(again) is kind
        assert str(again) == "told"


@pytest.mark.parametrize(
    ("model", "inference", "told"),
    [
        (OLS(), EXACT, "inference must be None"),
        (LINEAR, None, "inference must be NUTS"),
        (LINEAR, bf.NUTS, "inference must be NUTS"),
        (OLS, None, "the forecaster must be a model or a baseline"),
        ("ols", None, "the forecaster must be"),
        (None, None, "the forecaster must be"),
        ({}, None, "found no candidates"),
        ({"a": OLS(), "b": LINEAR}, EXACT, "all models or all baselines"),
        ({"a": OLS(), "b": Zero()}, None, "chosen among on validation periods"),
        ({"a": OLS(), "b": Zero}, None, "candidate 'b' must be"),
    ],
)
def test_what_does_not_suit(panel: bf.Panel, model: Any, inference: Any, told: str) -> None:
    with pytest.raises(DataError, match=re.escape(told)):
        bf.walk_forward(model, panel, inference, WINDOWS)


def test_what_is_no_panel_or_raw(panel: bf.Panel) -> None:
    raw = bf.read_frame(
        bf.simulate.frame(n_months=30, n_assets=8, n_characteristics=2, seed=1),
        time="date",
        asset="asset",
        returns="ret",
        returns_over="row",
        lag=1,
        units="decimal",
        excess=True,
    )
    for wrong, told in ((raw, "rank_normalise"), (raw.data, "Panel or a PanelStore"), (None, "Panel or a PanelStore")):
        with pytest.raises(DataError, match=told):
            bf.walk_forward(OLS(), wrong, None, WINDOWS)
    for seed in (-1, 2**32, 1.5, "0"):
        with pytest.raises(DataError, match="seed"):
            bf.walk_forward(OLS(), panel, None, WINDOWS, seed=seed)


# --- transforms --------------------------------------------------------------------------------------


def test_a_transform_learns_in_each_window(panel: bf.Panel) -> None:
    seen: list[tuple[pd.DatetimeIndex, pd.DatetimeIndex, bool]] = []

    def spy(learn: bf.Panel) -> Any:
        apply = walkers.clipped(learn)

        def told(panel: bf.Panel) -> bf.Panel:
            seen.append((learn.times, panel.times, bool(panel.data["observed"].any())))
            return apply(panel)

        return told

    found = bf.walk_forward(OLS(), panel, None, WINDOWS, transform=spy)
    assert len(seen) == 12  # a window: training, test periods, and twice fewer of them, so that none can peek
    for number, window in found.windows.iterrows():
        (learn, first, shown), (again, then, blank), *fewer = seen[4 * number : 4 * number + 4]
        assert [(times[0], shown) for _, times, shown in fewer] == [(then[0], False)] * 2
        assert all(len(times) < len(then) for _, times, _ in fewer)
        assert learn.equals(again)
        assert first.equals(learn)
        assert (learn[0], learn[-1]) == (window["train_first"], window["train_last"])
        assert (then[0], then[-1]) == (window["test_first"], window["test_last"])
        assert shown
        assert not blank
        # by hand
        apply = walkers.clipped(part(panel, learn[0], learn[-1]))
        mean = OLS().fit(apply(part(panel, learn[0], learn[-1]))).forecast(apply(part(panel, then[0], then[-1])))
        here = found.data["mean"].sel(time=then).reindex(asset=mean["asset"])
        np.testing.assert_array_equal(here, mean)
        test = part(panel, then[0], then[-1])
        realised = found.data["realised"].sel(time=then, asset=test.data["asset"])
        np.testing.assert_array_equal(realised, test.data["returns"].where(test.data["in_universe"]))
    assert not found.data["mean"].equals(bf.walk_forward(OLS(), panel, None, WINDOWS).data["mean"])


def test_candidates_are_compared_under_a_transform_that_has_not_seen_the_validation(panel: bf.Panel) -> None:
    lasts: list[pd.Timestamp] = []

    def spy(learn: bf.Panel) -> Any:
        lasts.append(learn.times[-1])
        return walkers.clipped(learn)

    found = bf.walk_forward({"a": OLS(), "b": Zero()}, panel, None, bf.Windows.rolling(10, 6, 14), transform=spy)
    (window,) = found.windows.itertuples()
    assert sorted(lasts) == [window.train_last, window.validation_last]


@pytest.mark.parametrize(
    ("transform", "kind", "told"),
    [
        (walkers.narrowing, AlignmentError, "must leave the universe and its labels as they are"),
        (walkers.dropping, AlignmentError, "must leave the test periods and their assets as they are"),
        (walkers.peeking, LookAheadError, "its characteristics of the 2 periods to"),
        (walkers.remembering, AlignmentError, "must make the training panel of the training panel"),
        (walkers.no_panel, DataError, "from Panel to Panel"),
        (walkers.no_function, DataError, "from Panel to Panel"),
    ],
)
def test_transforms_that_are_refused(panel: bf.Panel, transform: Any, kind: type[Exception], told: str) -> None:
    with pytest.raises(kind, match=rf"window 0 .*{told}"):
        bf.walk_forward(OLS(), panel, None, WINDOWS, transform=transform)


# --- stores ------------------------------------------------------------------------------------------


def files(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_store_computes_what_is_missing(panel: bf.Panel, tmp_path: Path) -> None:
    (notes := tmp_path / "notes").mkdir()
    store = tmp_path / "walks" / "ols"  # folders are made
    forecaster = Noting(str(notes))
    first = bf.walk_forward(forecaster, panel, None, WINDOWS, store=store)
    assert begun(notes) == ["20010731", "20011130", "20020331"]
    names = files(store)
    assert len(names) == 4
    assert "walk.json" in names
    told: list[int] = []
    again = bf.walk_forward(forecaster, panel, None, WINDOWS, store=store, progress=lambda done, _: told.append(done))
    assert len(begun(notes)) == 3
    assert told == [1, 2, 3]
    (store / names[1]).unlink()
    third = bf.walk_forward(forecaster, panel, None, WINDOWS, store=store, name="another name")
    assert begun(notes) == ["20010731", "20011130", "20011130", "20020331"]
    assert same(first, again)
    assert first.data.drop_attrs().identical(third.data.drop_attrs())
    assert same(bf.load_forecasts(store), third)
    assert third.name == "another name"
    fresh = bf.walk_forward(Noting(str(notes)), panel, None, WINDOWS)
    assert same(first, fresh)
    assert files(store) == names


def test_a_store_without_its_last_windows_gives_the_others(panel: bf.Panel, ols: bf.Forecasts, tmp_path: Path) -> None:
    class Enough(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise Enough

    with pytest.raises(EmptyWindowError, match="holds no window yet"):
        window_store.WindowStore.prepare(tmp_path, {}, dict(ols.data.attrs), []).forecasts()
    (tmp_path / "walk.json").unlink()
    with pytest.raises(Enough):
        bf.walk_forward(OLS(), panel, None, WINDOWS, store=tmp_path, progress=stop)
    found = bf.load_forecasts(tmp_path)
    assert found.windows.index.tolist() == [0, 1]
    assert same(found, ols.sel(slice(None, found.times[-1])))


def test_ctrl_c_says_what_is_stored(panel: bf.Panel, ols: bf.Forecasts, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"1 of 3 windows are stored in .*, the same call goes on from there"):
        bf.walk_forward(OLS(), panel, None, WINDOWS, store=tmp_path / "s", progress=stop)
    with pytest.raises(KeyboardInterrupt, match="none of them kept: give store="):
        bf.walk_forward(OLS(), panel, None, WINDOWS, progress=stop)
    assert same(bf.walk_forward(OLS(), panel, None, WINDOWS, store=tmp_path / "s"), ols)


def test_a_panel_that_has_grown_by_a_month(panel: bf.Panel, ols: bf.Forecasts, tmp_path: Path) -> None:
    (notes := tmp_path / "notes").mkdir()
    forecaster, store = Noting(str(notes)), tmp_path / "store"
    rule = bf.Windows.expanding(18, test=3)  # 18..20, 21..23, 24..26, then 27, 28 and 29
    before = panel.sel(time=slice(None, panel.times[-2]))
    short = bf.walk_forward(forecaster, before, None, rule, store=store)
    for entry in notes.iterdir():
        entry.unlink()
    grown = bf.walk_forward(forecaster, panel, None, rule, store=store)
    assert begun(notes) == ["20020430"]  # the last window, which is longer now
    assert same(grown, bf.walk_forward(forecaster, panel, None, rule))
    earlier = slice(None, panel.times[26])
    assert grown.sel(earlier).data.drop_attrs().identical(short.sel(earlier).data.drop_attrs())
    assert same(bf.load_forecasts(store), grown)  # and not the shorter last window, whose file is still there
    # the month that was forecast with the shorter window is forecast alike: same training, same seed
    both = panel.times[27]
    assert (
        grown.data["mean"].sel(time=both).equals(short.data["mean"].sel(time=both).reindex(asset=grown.data["asset"]))
    )


def test_new_assets_later_do_not_touch_earlier_windows(panel: bf.Panel, tmp_path: Path) -> None:
    (notes := tmp_path / "notes").mkdir()
    late = panel.times[26]
    wide = [*panel.data["asset"].to_numpy().tolist(), "NEW"]
    fill = {"in_universe": False, "observed": False, "missing": True}
    data = panel.data.reindex(asset=wide, fill_value={name: fill.get(str(name), np.nan) for name in panel.data})
    place = {"time": slice(26, None), "asset": -1}
    for name, value in {"in_universe": True, "characteristics": 0.1, "missing": False, "size": 1.0}.items():
        data[name][place] = value
    grown = bf.Panel(data, panel.frequency, panel.preparation)
    forecaster = Noting(str(notes))
    first = bf.walk_forward(forecaster, panel, None, WINDOWS, store=tmp_path / "store")
    again = bf.walk_forward(forecaster, grown, None, WINDOWS, store=tmp_path / "store")
    assert begun(notes) == ["20010731", "20011130", "20020331", "20020331"]
    assert same(again, bf.walk_forward(forecaster, grown, None, WINDOWS))
    assert (
        again.sel(slice(None, panel.times[25]))
        .data.sel(asset=first.data["asset"])
        .drop_attrs()
        .identical(first.sel(slice(None, panel.times[25])).data.drop_attrs())
    )
    assert np.isfinite(again.data["mean"].sel(asset="NEW", time=slice(late, None))).all()


@pytest.mark.parametrize(
    ("month", "recomputed"),
    [
        (20, ["20010731", "20011130", "20020331"]),  # tested in the first window, learnt from in the others
        (23, ["20011130", "20020331"]),
        (28, ["20020331"]),
    ],
)
def test_a_revised_return_computes_the_windows_it_touches(
    panel: bf.Panel, tmp_path: Path, month: int, recomputed: list[str]
) -> None:
    (notes := tmp_path / "notes").mkdir()
    forecaster = Noting(str(notes))
    bf.walk_forward(forecaster, panel, None, WINDOWS, store=tmp_path / "store")
    for entry in notes.iterdir():
        entry.unlink()
    data = panel.data.copy(deep=True)
    asset = int(np.flatnonzero((data["in_universe"] & data["observed"])[month])[0])
    data["returns"][month, asset] += 0.01
    revised = bf.Panel(data, panel.frequency, panel.preparation)
    again = bf.walk_forward(forecaster, revised, None, WINDOWS, store=tmp_path / "store")
    assert begun(notes) == recomputed
    assert same(again, bf.walk_forward(forecaster, revised, None, WINDOWS))


def test_windows_of_the_panel_as_it_was_are_not_given_out(panel: bf.Panel, tmp_path: Path) -> None:
    """After a revision, an interrupted walk leaves old windows beside new ones."""

    class Enough(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done == 1:
            raise Enough

    bf.walk_forward(OLS(), panel, None, WINDOWS, store=tmp_path)
    data = panel.data.copy(deep=True)
    data["returns"][2] += 0.01
    revised = bf.Panel(data, panel.frequency, panel.preparation)
    with pytest.raises(Enough):
        bf.walk_forward(OLS(), revised, None, WINDOWS, store=tmp_path, progress=stop)
    fresh = bf.walk_forward(OLS(), revised, None, WINDOWS)
    found = bf.load_forecasts(tmp_path)
    assert found.windows.index.tolist() == [0]
    assert same(found, fresh.sel(found.times))
    with pytest.raises(Enough):  # back to the panel as it was: the new window is not of it
        bf.walk_forward(OLS(), panel, None, WINDOWS, store=tmp_path, progress=stop)
    assert same(bf.load_forecasts(tmp_path), bf.walk_forward(OLS(), panel, None, WINDOWS).sel(found.times))
    assert same(bf.walk_forward(OLS(), revised, None, WINDOWS, store=tmp_path), fresh)
    assert same(bf.load_forecasts(tmp_path), fresh)


def test_other_validation_periods_are_another_result(panel: bf.Panel, tmp_path: Path) -> None:
    """Both learn from the same periods in the end, and are judged on the same."""
    candidates = {"a": OLS(), "b": Zero()}
    for rule in (bf.Windows.rolling(10, 6, 7), bf.Windows.rolling(13, 3, 7)):
        found = bf.walk_forward(candidates, panel, None, rule, store=tmp_path)
        assert same(found, bf.walk_forward(candidates, panel, None, rule))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model": Ridge(0.2)}, "forecaster.model.penalty is 0.1 in the file, 0.2 was asked"),
        ({"model": OLS()}, "forecaster.model.class"),
        ({"seed": 1}, "seed is 0 in the file, 1 was asked"),
        ({"transform": walkers.clipped}, 'transform is "none" in the file'),
    ],
)
def test_another_walk_in_the_folder(panel: bf.Panel, tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    given = {"model": Ridge(0.1), "panel": panel, "inference": None, "windows": WINDOWS, "store": tmp_path}
    bf.walk_forward(**given)
    content = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
    with pytest.raises(DataError, match=re.escape(named)):
        bf.walk_forward(**{**given, **changes})
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == content


def test_other_settings_of_an_inference_are_another_walk(panel: bf.Panel, tmp_path: Path) -> None:
    rule = bf.Windows.expanding(25, test=6)
    bf.walk_forward(LINEAR, panel, EXACT, rule, store=tmp_path)
    with pytest.raises(DataError, match=r"inference\.draws is 50 in the file, 60 was asked"):
        bf.walk_forward(LINEAR, panel, bf.Exact(draws=60), rule, store=tmp_path)


@pytest.mark.parametrize(
    "pair",
    [
        (walkers.clipped, walkers.other_clipped),
        (partial(walkers.clipped, share=0.1), partial(walkers.clipped, share=0.2)),
        (partial(walkers.clipped, share=0.1), walkers.clipped),
        (walkers.Clipped(0.1), walkers.Clipped(0.2)),
    ],
)
def test_another_transform_is_another_walk(panel: bf.Panel, tmp_path: Path, pair: tuple[Any, Any]) -> None:
    first = bf.walk_forward(OLS(), panel, None, WINDOWS, store=tmp_path, transform=pair[0])
    assert same(bf.walk_forward(OLS(), panel, None, WINDOWS, store=tmp_path, transform=pair[0]), first)
    with pytest.raises(DataError, match="transform"):
        bf.walk_forward(OLS(), panel, None, WINDOWS, store=tmp_path, transform=pair[1])


def test_a_store_needs_to_know_its_parts(panel: bf.Panel, tmp_path: Path) -> None:
    class Loose:
        def fit(self, train: bf.Panel) -> Any:
            return OLS().fit(train)

    with pytest.raises(DataError, match=r"store= must know .* make its class a frozen dataclass"):
        bf.walk_forward(Loose(), panel, None, WINDOWS, store=tmp_path)
    for local in (
        lambda learn: walkers.clipped(learn, 0.2),
        partial(lambda learn, share: walkers.clipped(learn), share=1),
    ):
        with pytest.raises(DataError, match=r"store= must know .* made within another function"):
            bf.walk_forward(OLS(), panel, None, WINDOWS, store=tmp_path, transform=local)
    assert not files(tmp_path)
    bf.walk_forward(Loose(), panel, None, WINDOWS)


def test_folders_and_files_that_are_no_store(panel: bf.Panel, tmp_path: Path) -> None:
    (file := tmp_path / "file").write_text("mine")
    with pytest.raises(DataError, match="the store of a walk is a folder"):
        bf.walk_forward(OLS(), panel, None, WINDOWS, store=file)
    (folder := tmp_path / "folder").mkdir()
    (folder / "thesis.tex").write_text("mine")
    with pytest.raises(DataError, match=r"holds other files: thesis\.tex"):
        bf.walk_forward(OLS(), panel, None, WINDOWS, store=folder)
    assert file.read_text() == "mine"
    assert files(folder) == ["thesis.tex"]
    with pytest.raises(CorruptResultError):
        bf.load_forecasts(file)
    with pytest.raises(CorruptResultError):
        bf.load_forecasts(folder)
    with pytest.raises(CorruptResultError):
        bf.load_forecasts(tmp_path / "nothing")


def test_files_of_other_walks_are_not_taken_when_the_manifest_is_gone(
    panel: bf.Panel, ols: bf.Forecasts, tmp_path: Path
) -> None:
    (notes := tmp_path / "notes").mkdir()
    forecaster, store = Noting(str(notes)), tmp_path / "store"
    first = bf.walk_forward(forecaster, panel, None, WINDOWS, store=store)
    (store / "walk.json").unlink()
    assert same(bf.walk_forward(forecaster, panel, None, WINDOWS, store=store), first)
    assert len(begun(notes)) == 3  # its own windows are taken up
    (store / "walk.json").unlink()
    zero = bf.walk_forward(Zero(), panel, None, WINDOWS, store=store)
    assert same(zero, bf.walk_forward(Zero(), panel, None, WINDOWS))  # those of another are not


def test_what_a_kill_leaves_is_swept(panel: bf.Panel, ols: bf.Forecasts, tmp_path: Path) -> None:
    name = "20010831-20011130-from-20000229.zip"
    for left in (f".{name}.abc.partial", ".walk.json.xyz.partial"):
        (tmp_path / left).write_bytes(b"half of it")
    assert same(bf.walk_forward(OLS(), panel, None, WINDOWS, store=tmp_path), ols)
    (tmp_path / f".{name}.abc.partial").write_bytes(b"half of it")
    (tmp_path / ".mine.partial").write_bytes(b"not ours")
    assert same(bf.walk_forward(OLS(), panel, None, WINDOWS, store=tmp_path), ols)
    assert [left for left in files(tmp_path) if left.endswith(".partial")] == [".mine.partial"]


@pytest.mark.parametrize("point", ["write", "rename", "serialise"])
def test_a_full_disk_leaves_no_torn_file(
    panel: bf.Panel, ols: bf.Forecasts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    count = 0

    def third_fails(original: Any) -> Any:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            nonlocal count
            count += 1
            if count == 3:  # the manifest and a window are there
                raise full
            return original(*arguments, **named)

        return wrapped

    with monkeypatch.context() as patched:
        if point == "write":
            patched.setattr(sealed.os, "fsync", third_fails(os.fsync))
        elif point == "rename":
            replace, failing = Path.replace, third_fails(Path.replace)
            patched.setattr(  # Zarr renames its own files, elsewhere
                Path, "replace", lambda self, to: (failing if self.parent == tmp_path else replace)(self, to)
            )
        else:
            count = 1
            patched.setattr(xr.Dataset, "to_zarr", third_fails(xr.Dataset.to_zarr))
        with pytest.raises(OSError, match="No space left"):
            bf.walk_forward(OLS(), panel, None, WINDOWS, store=tmp_path)
    assert not [name for name in files(tmp_path) if name.endswith(".partial")]
    kept = [name for name in files(tmp_path) if name.endswith(".zip")]
    assert len(kept) == (0 if point == "serialise" else 1)
    for name in kept:
        assert len(forecasts_module.read_forecasts(tmp_path / name).windows) == 1
    assert same(bf.walk_forward(OLS(), panel, None, WINDOWS, store=tmp_path), ols)


# --- damage ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stored(panel: bf.Panel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stored")
    bf.walk_forward(OLS(), panel, None, WINDOWS, store=folder)
    return folder


def silent(path: Path, read: Any, content: list[bytes]) -> int:
    """How many of these contents of a file are read without a word."""
    whole, count = path.read_bytes(), 0
    try:
        for changed in content:
            path.write_bytes(changed)
            try:
                read()
                count += 1
            except CorruptResultError:
                pass
    finally:
        path.write_bytes(whole)
    return count


@pytest.mark.parametrize("which", ["window", "manifest"])
def test_flipped_bits_and_cut_files(stored: Path, panel: bf.Panel, which: str) -> None:
    name = "walk.json" if which == "manifest" else next(one for one in files(stored) if one.endswith(".zip"))
    path = stored / name
    whole = path.read_bytes()
    spoiled = []
    rng = np.random.default_rng(5)
    for bit in rng.choice(8 * len(whole), 200, replace=False):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << int(bit % 8)
        spoiled.append(bytes(changed))
    cut = [whole[:length] for length in (0, 1, 10, len(whole) // 2, len(whole) - 1)] + [whole + b"\n"]
    assert silent(path, lambda: bf.load_forecasts(stored), spoiled + cut) == 0
    # and the walk itself does not take it for missing
    assert silent(path, lambda: bf.walk_forward(OLS(), panel, None, WINDOWS, store=stored), spoiled[:2] + cut[:2]) == 0


def resealed(path: Path, change: Any) -> None:
    """Another content, with the digest that belongs to it: what an attacker can do, or another program."""
    walk = json.loads(path.read_bytes()[: -sealed.TRAILER])
    change(walk)
    sealed.write_sealed(path, lambda partial: partial.write_bytes(json.dumps(walk).encode()))


@pytest.mark.parametrize(
    "name",
    [
        "../20010831-20011130-from-20000229.zip",
        "/etc/20010831-20011130-from-20000229.zip",
        "20010831-20011130-from-20000229.zip/../../x",
        "20010831-20011130-from-20000229.zip\n",
        "..",
        "",
        7,
        None,
    ],
)
@pytest.mark.parametrize("key", ["windows", "unconfirmed"])
def test_a_manifest_that_names_files_elsewhere(stored: Path, panel: bf.Panel, name: Any, key: str) -> None:
    path = stored / "walk.json"
    whole = path.read_bytes()
    try:
        resealed(path, lambda walk: walk[key].append(name))
        with pytest.raises(CorruptResultError, match="does not describe a walk"):
            bf.load_forecasts(stored)
        with pytest.raises(CorruptResultError, match="does not describe a walk"):
            bf.walk_forward(OLS(), panel, None, WINDOWS, store=stored)
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize(
    "change",
    [
        lambda walk: walk.pop("attrs"),
        lambda walk: walk.update(windows=5),
        lambda walk: walk.update(attrs=None),
        lambda walk: walk.update(format="one"),
        lambda walk: walk.update(format=99),
        lambda walk: walk.update(identity=[]),
        lambda walk: walk["attrs"].pop("panel_fingerprint"),
    ],
)
def test_a_manifest_of_another_shape(stored: Path, panel: bf.Panel, change: Any) -> None:
    path = stored / "walk.json"
    whole = path.read_bytes()
    try:
        resealed(path, change)
        with pytest.raises(CorruptResultError):
            bf.load_forecasts(stored)
        with pytest.raises(CorruptResultError):
            bf.walk_forward(OLS(), panel, None, WINDOWS, store=stored)
    finally:
        path.write_bytes(whole)


def test_a_window_file_that_holds_something_else(stored: Path, tmp_path: Path) -> None:
    """A sealed file of ours with other groups; and no archive at all."""
    for number, groups in enumerate(({"forecasts": xr.Dataset({"a": 1})}, {"windows": xr.Dataset({"a": 1})})):
        path = forecasts_module.write_groups(tmp_path / f"{number}.zip", groups)
        with pytest.raises(CorruptResultError):
            bf.load_forecasts(path)
    path = tmp_path / "no.zip"
    sealed.write_sealed(path, lambda partial: partial.write_bytes(b"PK\x03\x04 and then nothing"))
    assert MARK in path.read_bytes()
    with pytest.raises(CorruptResultError, match="is not a file of forecasts"):
        bf.load_forecasts(path)


def test_saved_forecasts_come_back(ols: bf.Forecasts, tmp_path: Path) -> None:
    path = ols.save(tmp_path / "ols.zip")
    again = bf.load_forecasts(path)
    assert same(again, ols)
    assert again.windows.equals(ols.windows)
    assert again.data.attrs == ols.data.attrs
    assert again.data["asset"].dtype == ols.data["asset"].dtype
    assert (tmp_path / "again.zip").parent == path.parent
    assert again.save(tmp_path / "again.zip").read_bytes()
    frame = ols.to_dataframe()
    assert len(frame) == int(np.isfinite(ols.data["mean"]).sum())
    assert "q0.05" in frame
    text = pd.read_csv(ols.to_csv(tmp_path / "ols.csv"), comment="#")
    assert len(text) == len(frame)


# --- panels on disk ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["baseline", "model"])
def test_a_store_of_the_panel_gives_the_same(panel: bf.Panel, tmp_path: Path, kind: str) -> None:
    model, inference = (OLS(), None) if kind == "baseline" else (LINEAR, EXACT)
    disk = panel.to_zarr(tmp_path / "panel")
    found = bf.walk_forward(model, disk, inference, WINDOWS, store=tmp_path / "walk")
    memory = bf.walk_forward(model, panel, inference, WINDOWS)
    found_data = found.data.assign_attrs(panel_fingerprint=memory.data.attrs["panel_fingerprint"])
    assert found_data.identical(memory.data)
    assert same(bf.walk_forward(model, disk, inference, WINDOWS, store=tmp_path / "walk"), found)


def test_dates_within_a_month_mean_the_same_to_a_store(panel: bf.Panel, tmp_path: Path) -> None:
    """June, cut in two, is a test month and not a training month too."""
    cut = bf.Window(("2000-01", pd.Timestamp("2001-06-15")), (pd.Timestamp("2001-06-16"), "2001-12"))
    disk = panel.to_zarr(tmp_path / "panel")
    one, other = (bf.walk_forward(OLS(), source, None, [cut]) for source in (panel, disk))
    assert one.data.drop_attrs().identical(other.data.drop_attrs())
    assert one.windows["train_last"].tolist() == other.windows["train_last"].tolist() == [pd.Timestamp("2001-05-31")]
    assert one.windows["n_train"].tolist() == other.windows["n_train"].tolist() == [16]


def test_a_panel_store_that_grows(panel: bf.Panel, tmp_path: Path) -> None:
    (notes := tmp_path / "notes").mkdir()
    history = panel.sel(time=slice(None, panel.times[-2]))
    first, rest = history.split(history.times[25])
    disk = first.to_zarr(tmp_path / "panel")
    bf.walk_forward(Noting(str(notes)), disk, None, WINDOWS, store=tmp_path / "walk")
    assert begun(notes) == ["20010731", "20011130"]
    disk = rest.to_zarr(tmp_path / "panel", append=True)
    found = bf.walk_forward(Noting(str(notes)), disk, None, WINDOWS, store=tmp_path / "walk")
    assert begun(notes) == ["20010731", "20011130", "20011130", "20020331"]
    fresh = bf.walk_forward(Noting(str(notes)), history, None, WINDOWS)
    assert found.data.drop_attrs().identical(fresh.data.drop_attrs())


def test_assets_that_never_return_do_not_matter(panel: bf.Panel, ols: bf.Forecasts) -> None:
    """The order of assets and an asset that is never in the universe change nothing."""
    turned = bf.Panel(panel.data.isel(asset=slice(None, None, -1)), panel.frequency, panel.preparation)
    found = bf.walk_forward(OLS(), turned, None, WINDOWS)
    np.testing.assert_allclose(found.data["mean"].reindex(asset=ols.data["asset"]), ols.data["mean"], rtol=1e-9)
    np.testing.assert_allclose(found.data["score"], ols.data["score"], rtol=1e-9)


def test_the_mean_of_the_past_is_of_the_past(panel: bf.Panel) -> None:
    found = bf.walk_forward(HistoricalMean(), panel, None, bf.Windows.rolling(12, test=6))
    for _, window in found.windows.iterrows():
        train = part(panel, window["train_first"], window["train_last"]).data
        own = train["returns"].where(train["in_universe"] & train["observed"]).mean("time")
        here = found.data["mean"].sel(time=slice(window["test_first"], window["test_last"]))
        for asset in own["asset"].to_numpy()[np.isfinite(own)]:
            values = here.sel(asset=asset).dropna("time")
            np.testing.assert_allclose(values, own.sel(asset=asset), rtol=1e-9)


def test_the_name_of_a_file_is_its_window(stored: Path, ols: bf.Forecasts) -> None:
    names = [name for name in files(stored) if name.endswith(".zip")]
    assert names == [
        f"{row.test_first:%Y%m%d}-{row.test_last:%Y%m%d}-from-{row.train_first:%Y%m%d}.zip"
        for row in ols.windows.itertuples()
    ]
    assert all(re.fullmatch(window_store.NAME, name) for name in names)


def test_reasons_are_counted_whatever_their_numbers(ols: bf.Forecasts) -> None:
    assert ols.doubts.empty
    reasons = ["R-hat of f is 1.02: longer; few draws", "", "R-hat of f is 1,000.5: longer"]
    n = len(ols.windows)
    status = (["warn", "ok", "failed"] * n)[:n]
    windows = ols.windows.assign(status=status, reasons=(reasons * n)[:n])
    found = dataclasses.replace(ols, windows=windows)
    assert found.status == "failed"
    doubtful = sum(one != "ok" for one in status)
    assert found.doubts["R-hat of f is #: longer"] == doubtful
    assert found.doubts["few draws"] == status.count("warn")
    assert found.doubts.index[0] == "R-hat of f is #: longer"


# --- what a baseline gives ---------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["assets reversed", "transposed"])
def test_forecasts_of_baselines_are_joined_by_label(panel: bf.Panel, how: str) -> None:
    want = bf.walk_forward(walkers.Disordered("plain"), panel, None, WINDOWS, audit=False)
    found = bf.walk_forward(walkers.Disordered(how), panel, None, WINDOWS, audit=False)
    xr.testing.assert_identical(found.data["mean"].drop_attrs(), want.data["mean"].drop_attrs())
    z = panel.data["characteristics"].isel(characteristic=0).where(panel.data["in_universe"])
    z = z.sel(time=want.data["time"], asset=want.data["asset"])
    np.testing.assert_array_equal(want.data["mean"], z)


@pytest.mark.parametrize(
    ("how", "kind", "told"),
    [
        ("one asset fewer", AlignmentError, "every asset of the panel it is given, once and no other"),
        ("one asset twice", AlignmentError, "every asset of the panel it is given, once and no other"),
        ("an array", AlignmentError, r"a DataArray over \(time, asset\): it gave ndarray"),
        ("no number", DataError, "no finite number for"),
    ],
)
def test_forecasts_of_baselines_that_are_refused(panel: bf.Panel, how: str, kind: type[Exception], told: str) -> None:
    with pytest.raises(kind, match=told):
        bf.walk_forward(walkers.Disordered(how), panel, None, WINDOWS, audit=False)


def test_a_baseline_has_nothing_to_start_from(panel: bf.Panel) -> None:
    with pytest.raises(DataError, match="a baseline has no chains"):
        bf.walk_forward(OLS(), panel, None, WINDOWS, warm_start=True)
    with pytest.raises(DataError, match="candidates must be named by text: found 1"):
        bf.walk_forward({1: OLS(), 2: Zero()}, panel, None, WINDOWS)


def test_settings_tell_what_they_hold() -> None:
    """Bound objects, long arrays, frames with other labels, functions of other code: none is taken for another."""
    from functools import partial

    from bayesfactor.evaluation.walk_forward import _settings_of_transform
    from bayesfactor.inference.checkpoint import content

    def of(one: Any) -> str:
        return json.dumps(_settings_of_transform(one), sort_keys=True)

    long = np.arange(3000.0)
    other = long.copy()
    other[1500] += 1e-9
    assert of(partial(walkers.clipped, share=long)) != of(partial(walkers.clipped, share=other))
    assert of(walkers.Clipped(0.1).__call__) != of(walkers.Clipped(0.3).__call__)
    assert of(walkers.Clipped(0.1).__call__) == of(walkers.Clipped(0.1).__call__)
    frame = pd.DataFrame({"a": np.arange(500.0)})
    changed = [frame.rename(columns={"a": "b"}), frame.set_axis(frame.index + 1), frame.assign(a=frame["a"] + 1e-9)]
    for one in changed:
        assert content(frame) != content(one)
        assert content(frame.iloc[:, 0]) != content(one.iloc[:, 0])
        assert content(frame.to_xarray()) != content(one.to_xarray())
    assert content(frame) == content(frame.copy())
    assert content(lambda x: x + 1) != content(lambda x: x + 2)
    with pytest.raises(DataError, match="a object does not"):
        content(object())


def test_means_after_different_transforms_have_no_common_covariance(panel: bf.Panel) -> None:
    plain = bf.walk_forward(Zero(), panel, None, WINDOWS, audit=False, name="plain")
    after = bf.walk_forward(Zero(), panel, None, WINDOWS, audit=False, name="after", transform=walkers.clipped)
    with pytest.raises(bf.errors.ComparisonError, match="learnt after the transform, and these forecasts"):
        bf.compare({"plain": plain, "after": after}, common=True)
