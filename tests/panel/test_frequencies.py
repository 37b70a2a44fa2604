"""Weekly and daily panels work as monthly ones do, at every step from file to forecast."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import bayesfactor as bf
from bayesfactor.errors import DataWarning
from bayesfactor.panel.examination import examine

FREQUENCIES = ("monthly", "weekly", "daily")
PER_YEAR = {"monthly": 12, "weekly": 52, "daily": 252}
STEP = {"monthly": pd.offsets.MonthEnd(), "weekly": pd.offsets.Week(), "daily": pd.offsets.BDay()}
TOLD = {"time": "date", "asset": "asset", "returns": "ret", "units": "decimal", "excess": True, "size": "size"}
N = 20
MODEL = bf.FundamentalFactorModel(hidden=(), noise="normal", pooling="full")


@functools.cache
def rows(frequency: str) -> pd.DataFrame:
    """The same numbers for every frequency, on other dates, with gaps in assets."""
    frame = bf.simulate.frame(
        n_months=N, n_assets=15, n_characteristics=3, seed=8, ragged=True, missing=0.1, frequency=frequency
    )
    frame["ret"] /= np.sqrt(PER_YEAR[frequency] / 12)
    sector = np.random.default_rng(0).choice(["oil", "tech"], len(frame))
    keep = np.random.default_rng(1).random(len(frame)) < 0.95
    return frame.assign(sector=sector)[keep].reset_index(drop=True)


def panel(frequency: str, returns_over: str = "row", lag: int = 1, **more: object) -> bf.Panel:
    names = ["x1", "x2", "x3"]
    return bf.read_frame(
        rows(frequency), **TOLD, returns_over=returns_over, lag=lag, characteristics=names, group="sector", **more
    )


def joined(frequency: str) -> bf.Panel:
    """With benchmarks and predictors from three periods earlier on."""
    raw = panel(frequency)
    dates = [raw.times[0] - k * STEP[frequency] for k in (3, 2, 1)] + list(raw.times)
    values = 0.02 * np.random.default_rng(2).standard_normal((len(dates), 2))
    factors = pd.DataFrame(values, dates, ["mkt", "smb"]) / np.sqrt(PER_YEAR[frequency] / 12)
    raw = raw.join_benchmark(factors, units="decimal", excess=True).join_macro(factors[["mkt"]], lag=2)
    return raw.join_portfolios(100 * factors, units="percent", excess=False, risk_free=0.001 * factors["mkt"].abs())


@pytest.mark.parametrize("frequency", FREQUENCIES)
@pytest.mark.parametrize(("returns_over", "lag"), [("row", 1), ("row", 2), ("next", 0), ("next", 1)])
def test_the_same_rows_on_other_dates_are_the_same_panel(frequency: str, returns_over: str, lag: int) -> None:
    made, monthly = panel(frequency, returns_over, lag), panel("monthly", returns_over, lag)
    assert (made.frequency, made.periods_per_year) == (frequency, PER_YEAR[frequency])
    assert np.isin(made.times[:-1], rows(frequency)["date"]).all()
    assert made.times[-1] == rows(frequency)["date"].max() + STEP[frequency]
    scale = np.sqrt(12 / PER_YEAR[frequency])
    for one, other in ((made, monthly), (made.covered(0.6).largest(8), monthly.covered(0.6).largest(8))):
        for name in ("characteristics", "missing", "in_universe", "observed", "size", "group"):
            np.testing.assert_array_equal(one.data[name].values, other.data[name].values)
        np.testing.assert_allclose(one.data.returns.values, scale * other.data.returns.values, rtol=1e-14)
        for how in ("rank_normalise", "standardise"):
            found, want = (getattr(each, how)().arrays() for each in (one, other))
            np.testing.assert_array_equal(found.characteristics, want.characteristics)
            np.testing.assert_array_equal(found.asset, want.asset)
            assert found.periods_per_year == PER_YEAR[frequency]


@pytest.mark.parametrize("frequency", FREQUENCIES)
def test_splits_selections_joins_and_tables(frequency: str) -> None:
    made, monthly = joined(frequency), joined("monthly")
    when = made.times[9]
    before, after = made.split(when)
    assert (len(before.times), after.times[0]) == (9, when)
    window = made.sel(time=slice(made.times[3], made.times[6]))
    assert window.times.equals(made.times[3:7])
    assert made.live.times.tolist() == [made.times[-1]]
    scale = np.sqrt(12 / PER_YEAR[frequency])
    for name in ("benchmark_returns", "portfolio_returns", "macro"):
        np.testing.assert_allclose(made.data[name].values, scale * monthly.data[name].values, rtol=1e-10)
    counts, table = ["assets", "observed", "coverage", "missing"], made.describe()
    pd.testing.assert_frame_equal(
        table[counts].reset_index(drop=True), monthly.describe()[counts].reset_index(drop=True)
    )
    assert table.index.equals(made.times)
    assert f"<Panel: {frequency}, " in repr(made)


@pytest.mark.parametrize("frequency", FREQUENCIES)
@pytest.mark.parametrize("missing", ["median", "indicator"])
def test_audit_and_examination(frequency: str, missing: str) -> None:
    raw = panel(frequency, missing=missing)
    found, want = examine(raw), examine(panel("monthly"))
    exact = ["missing", "worst_period", "flat_periods", "tied", "repeated", "with_return", "with_previous"]
    pd.testing.assert_frame_equal(found.characteristics[exact], want.characteristics[exact])
    assert (found.characteristics["bound"] <= want.characteristics["bound"]).all()  # a Sharpe ratio is annual
    prepared = raw.largest(10).rank_normalise()
    assert prepared.audit(list(prepared.times[1:-1:3]))["cells_changed"].sum() == 0
    assert joined(frequency).standardise().audit()["cells_changed"].sum() == 0


@pytest.mark.parametrize("frequency", FREQUENCIES)
def test_a_period_without_rows(frequency: str) -> None:
    """Months and weeks are counted on the calendar: nobody is listed before the next. Days are those of the data."""
    frame = rows(frequency)
    dates = np.unique(frame["date"])
    said = {"returns_over": "row", "lag": 1, "characteristics": ["x1"], "frequency": frequency}
    made = bf.read_frame(frame[frame["date"] != dates[8]], **TOLD, **said)
    lost = pd.DatetimeIndex([dates[8]] if frequency == "daily" else [dates[9]])
    assert panel(frequency).times.difference(made.times).equals(lost)
    assert made.rank_normalise().audit()["cells_changed"].sum() == 0


@pytest.mark.parametrize("frequency", FREQUENCIES)
def test_publication_dates(frequency: str) -> None:
    """Filed on the day of the row, a row is what lag=1 uses; a period later it is what lag=2 does."""
    frame = rows(frequency)
    names = ["x1", "x2", "x3"]
    for periods in (0, 1):
        filed = frame["date"]
        for _ in range(periods):
            filed = filed + STEP[frequency]
        said = {"returns_over": "row", "characteristics": names}
        made = bf.read_frame(frame.assign(filed=filed), **TOLD, **said, available="filed")
        want = bf.read_frame(frame, **TOLD, **said, lag=1 + periods)
        both = (made.data.in_universe & want.data.in_universe).values
        assert both.sum() > 200
        np.testing.assert_array_equal(made.data.characteristics.values[both], want.data.characteristics.values[both])


@pytest.mark.parametrize("frequency", FREQUENCIES)
def test_the_store(frequency: str, tmp_path: Path) -> None:
    made = joined(frequency).rank_normalise()
    first, rest = made.split(made.times[11])
    first.to_zarr(tmp_path / "store")
    store = rest.to_zarr(tmp_path / "store", append=True)
    assert (store.frequency, store.periods_per_year) == (frequency, PER_YEAR[frequency])
    # Sizes, benchmarks and portfolios by month are not read from a store.
    plain = made.arrays()._replace(size=None, benchmarks=None, portfolios=None)
    for found, want in zip(store.months(range(len(made.times))), plain, strict=True):
        np.testing.assert_array_equal(found, want)
    loaded = bf.open_panel(tmp_path / "store").load()
    members = made.data.in_universe.values
    for name in ("characteristics", "group"):
        np.testing.assert_array_equal(loaded.data[name].values[members], made.data[name].values[members])
    for name in ("benchmark_returns", "portfolio_returns", "macro"):
        xr.testing.assert_identical(loaded.data[name], made.data[name])


@functools.cache
def fitted(frequency: str) -> tuple[bf.Fit, bf.Panel, bf.Panel]:
    made = panel(frequency).rank_normalise()
    train, test = made.split(made.times[14])
    return bf.fit(MODEL, train, bf.Exact(draws=200, chains=2), seed=0), train, test


@pytest.mark.parametrize("frequency", FREQUENCIES)
def test_fit_scores_and_forecasts(frequency: str) -> None:
    fit, train, test = fitted(frequency)
    assert fit.provenance["periods_per_year"] == PER_YEAR[frequency]
    scores = bf.month_scores(fit, test)
    assert scores.attrs["frequency"] == frequency
    assert scores.indexes["time"].equals(test.times[:-1])  # the last is live
    assert np.isfinite(scores["score"]).all()
    expected = bf.expected_returns(fit, test.live)
    assert expected.indexes["time"].equals(test.times[-1:])
    np.testing.assert_array_equal(np.isfinite(expected["mean"].values), test.live.data.in_universe.values)
    slopes = bf.sensitivities(fit, train)
    assert np.isfinite(slopes["mean"]).all()


def test_priors_are_those_of_a_month_whatever_the_period() -> None:
    """Where returns shrink by the root of the period and their noise too, slopes shrink alike.

    Priors of slopes are stated per month and shrink in proportion to the period, so that of a week holds slopes
    closer to zero. Their posterior means must be ordered so.
    """
    size = {}
    for frequency in FREQUENCIES:
        fit, train, _ = fitted(frequency)
        mean = bf.sensitivities(fit, train)["mean"].values
        size[frequency] = np.abs(mean).sum() * np.sqrt(PER_YEAR[frequency] / 12)
    assert size["monthly"] > size["weekly"] > size["daily"] > 0


def test_dates_within_a_period_do_not_matter() -> None:
    """Weekly rows dated on any day of their week, monthly ones on any day of their month."""
    for frequency, days in (("monthly", 20), ("weekly", 4)):
        frame = rows(frequency)
        moved = frame.assign(date=frame["date"] - pd.to_timedelta(frame["date"].rank(method="dense") % days, "D"))
        said = {"returns_over": "row", "lag": 1, "characteristics": ["x1"], "frequency": frequency}
        with warnings.catch_warnings():
            warnings.simplefilter("error", DataWarning)
            one, other = (bf.read_frame(each, **TOLD, **said) for each in (frame, moved))
        assert one.data.identical(other.data)
