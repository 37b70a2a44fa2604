"""Where rows land: calendar lags against a slow loop, dates, units, excess, order of input."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayesfactor.errors import DataError, DataWarning, DuplicateKeyError, LookAheadError, UnitsError
from bayesfactor.panel import Panel, read_frame, simulate

TOLD = {"time": "date", "asset": "asset", "returns": "ret", "units": "decimal", "excess": True}


def gappy(seed: int = 0, n_months: int = 14, n_assets: int = 10) -> pd.DataFrame:
    """Rows with gaps in time, missing returns and missing characteristics."""
    rng = np.random.default_rng(seed)
    cells = list(itertools.product(pd.date_range("2015-01-31", periods=n_months, freq="ME"), range(n_assets)))
    kept = [cell for cell in cells if rng.random() < 0.75]
    frame = pd.DataFrame(kept, columns=["date", "asset"])
    frame["asset"] = "A" + frame["asset"].astype(str)
    frame["ret"] = np.where(rng.random(len(frame)) < 0.1, np.nan, 0.1 * rng.standard_normal(len(frame)))
    for name in ("x", "y"):
        frame[name] = np.where(rng.random(len(frame)) < 0.2, np.nan, rng.standard_normal(len(frame)))
    frame["size"] = rng.random(len(frame))
    frame["sector"] = rng.choice(["oil", "tech"], len(frame))
    delay = pd.to_timedelta(rng.integers(-20, 70, len(frame)), unit="D")
    frame["filed"] = frame["date"] + delay
    return frame


def month(date: pd.Timestamp) -> pd.Period:
    return pd.Period(date, "M")


def slow_panel(frame: pd.DataFrame, returns_over: str, lag: int | None) -> dict:
    """One cell at a time, as read_frame says it: {(month, asset): (x, y, ret, size, sector)}."""
    rows = {(month(row.date), row.asset): row for row in frame.itertuples()}
    months = pd.period_range(min(m for m, _ in rows), max(m for m, _ in rows) + 1, freq="M")
    universe, ahead = {}, int(returns_over == "next")
    for t, asset in itertools.product(months, sorted(frame["asset"].unique())):
        if (t - 1, asset) not in rows:
            continue
        if lag is None:
            first_day = t.start_time
            public = [row for (_, name), row in rows.items() if name == asset and row.filed < first_day]
            source = max(public, key=lambda row: (row.filed, row.date), default=None)
        else:
            source = rows.get((t - lag - ahead, asset))
        if source is None or (np.isnan(source.x) and np.isnan(source.y)):
            continue
        back = rows.get((t - ahead, asset))
        ret = np.nan if back is None else back.ret
        universe[t, asset] = (source.x, source.y, ret, source.size, source.sector)
    return universe


def as_cells(panel: Panel) -> dict:
    data = panel.data
    cells = {}
    for t, i in np.argwhere(data.in_universe.values):
        x, y = data.characteristics.values[t, i]
        key = (month(panel.times[t]), str(data.asset.values[i]))
        cells[key] = (
            x,
            y,
            data.returns.values[t, i],
            data["size"].values[t, i],
            str(data.group.values[t, i]),
        )
    return cells


def assert_same_cells(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key][:4], value[:4], err_msg=str(key))
        assert found[key][4] == value[4]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("returns_over", "lag"), [("row", 1), ("row", 2), ("row", 4), ("next", 0), ("next", 1), ("next", 3)]
)
def test_rows_land_where_a_slow_loop_puts_them(seed: int, returns_over: str, lag: int) -> None:
    frame = gappy(seed)
    panel = read_frame(
        frame,
        **TOLD,
        returns_over=returns_over,
        lag=lag,
        characteristics=["x", "y"],
        size="size",
        group="sector",
        frequency="monthly",
    )
    assert_same_cells(as_cells(panel), slow_panel(frame, returns_over, lag))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("returns_over", ["row", "next"])
def test_publication_dates_land_where_a_slow_loop_puts_them(seed: int, returns_over: str) -> None:
    frame = gappy(seed)
    panel = read_frame(
        frame,
        **TOLD,
        returns_over=returns_over,
        available="filed",
        characteristics=["x", "y"],
        size="size",
        group="sector",
        frequency="monthly",
    )
    assert_same_cells(as_cells(panel), slow_panel(frame, returns_over, None))


def test_publication_on_the_first_day_of_a_month_is_too_late_for_it() -> None:
    frame = pd.DataFrame(
        {
            "date": ["2016-01-31", "2016-02-29", "2016-03-31"],
            "asset": "A",
            "ret": [0.01, 0.02, 0.03],
            "x": [1.0, 2.0, 3.0],
            "filed": ["2016-01-31", "2016-03-01", "2016-03-31"],
        }
    )
    panel = read_frame(frame, **TOLD, returns_over="row", available="filed", characteristics=["x"])
    assert panel.data.characteristics.values[:, 0, 0].tolist() == [1.0, 1.0, 3.0]


def test_the_month_after_the_last_is_live() -> None:
    panel = read_frame(gappy(), **TOLD, returns_over="row", lag=1, characteristics=["x", "y"])
    assert panel.times[-1] == pd.Timestamp("2016-03-31")
    assert panel.live.times.tolist() == [pd.Timestamp("2016-03-31")]
    assert not panel.live.arrays().observed.any()
    assert panel.live.arrays().in_universe.any()


@pytest.mark.parametrize("returns_over", ["row", "next"])
def test_order_of_rows_and_columns_does_not_matter(returns_over: str) -> None:
    frame = gappy(n_assets=40)
    told = TOLD | {"returns_over": returns_over, "lag": 1, "characteristics": ["x", "y"], "size": "size"}
    shuffled = frame.sample(frac=1, random_state=1)[list(frame.columns[::-1])]
    one, other = read_frame(frame, **told), read_frame(shuffled, **told)
    assert one.data.identical(other.data)
    assert one.fingerprint == other.fingerprint
    assert one.rank_normalise().fingerprint == other.rank_normalise().fingerprint != one.fingerprint


def test_weekly_lags_are_calendar_weeks() -> None:
    fridays = pd.to_datetime(["2016-01-08", "2016-01-15", "2016-01-29", "2016-02-05"])
    frame = pd.DataFrame({"date": fridays, "asset": "A", "ret": 0.01, "x": [1.0, 2.0, 4.0, 5.0]})
    panel = read_frame(frame, **TOLD, returns_over="row", lag=1)
    assert (panel.frequency, panel.periods_per_year) == ("weekly", 52)
    assert [str(time.date()) for time in panel.times] == [
        "2016-01-15",
        "2016-01-22",
        "2016-02-05",
        "2016-02-12",
    ]
    assert panel.data.characteristics.values[:, 0, 0].tolist() == [1.0, 2.0, 4.0, 5.0]
    assert panel.data.observed.values[:, 0].tolist() == [True, False, True, False]


def weekly(weekday: str, filed_after: int) -> pd.DataFrame:
    """Six weeks of one asset, dated on `weekday`; figures come out that many days later."""
    dates = pd.date_range("2016-01-04", periods=6, freq=f"W-{weekday}")
    filed = dates + pd.Timedelta(days=filed_after)
    return pd.DataFrame({"date": dates, "asset": "A", "ret": 0.01, "x": np.arange(1.0, 7), "filed": filed})


@pytest.mark.parametrize(("weekday", "days"), [("FRI", 0), ("SAT", 1), ("SUN", 2)])
def test_rows_of_the_weekend_belong_to_the_week_just_ended(weekday: str, days: int) -> None:
    told = TOLD | {"returns_over": "row", "characteristics": ["x"]}
    fridays = pd.date_range("2016-01-15", periods=6, freq="W-FRI")
    lagged = read_frame(weekly(weekday, 0), **told, lag=1)
    assert lagged.times.tolist() == fridays.tolist()
    assert lagged.audit()["cells_changed"].sum() == 0
    sunday, monday, thursday = (
        read_frame(weekly(weekday, after - days), **told, available="filed") for after in (2, 3, 6)
    )
    assert sunday.data.characteristics.values[:, 0, 0].tolist() == [1, 2, 3, 4, 5, 6]
    assert sunday.audit()["cells_changed"].sum() == 0
    for late in (monday, thursday):  # in the week of the return: not used before the next
        assert late.times.tolist() == fridays[1:].tolist()
        assert late.data.characteristics.values[:, 0, 0].tolist() == [1, 2, 3, 4, 5]
        assert late.audit()["cells_changed"].sum() == 0


@pytest.mark.parametrize(("weekday", "name"), [("MON", "Monday"), ("WED", "Wednesday"), ("THU", "Thursday")])
def test_midweek_returns_are_refused_with_publication_dates(weekday: str, name: str) -> None:
    frame, told = weekly(weekday, 3), TOLD | {"returns_over": "row", "characteristics": ["x"]}
    with pytest.raises(DataError, match=rf"mostly {name}, at \(2016-01-\d\d, A\), .*\(6 in all\).*Use lag="):
        read_frame(frame, **told, available="filed")
    assert read_frame(frame, **told, lag=1).frequency == "weekly"


def test_publication_before_the_period_of_the_row_is_refused() -> None:
    frame = gappy()
    told = TOLD | {"returns_over": "row", "available": "filed", "characteristics": ["x"], "frequency": "monthly"}
    first_day = frame["date"].to_numpy().astype("datetime64[M]").astype("datetime64[ns]")
    read_frame(frame.assign(filed=first_day), **told)
    early = frame["filed"].where(frame.index != 5, frame["date"] - pd.offsets.MonthEnd(1))
    with pytest.raises(LookAheadError, match=r"row or later: found \(2015-01, A\d, published 2014-12-31\) \(1 in all"):
        read_frame(frame.assign(filed=early), **told)


def test_daily_lags_count_the_days_of_the_data_and_go_live_on_the_next_weekday() -> None:
    days = pd.to_datetime(["2016-01-04", "2016-01-05", "2016-01-07", "2016-01-08"])
    frame = pd.DataFrame({"date": days, "asset": "A", "ret": 0.01, "x": [1.0, 2.0, 3.0, 4.0]})
    panel = read_frame(frame, **TOLD, returns_over="row", lag=2)
    assert (panel.frequency, panel.periods_per_year) == ("daily", 252)
    assert [str(time.date()) for time in panel.times] == ["2016-01-07", "2016-01-08", "2016-01-11"]
    assert panel.data.characteristics.values[:, 0, 0].tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    "write",
    [
        lambda dates: dates.dt.year * 100 + dates.dt.month,
        lambda dates: (dates.dt.year * 100 + dates.dt.month).astype(float),
        lambda dates: (dates.dt.year * 10000 + dates.dt.month * 100 + dates.dt.day).astype(str),
        lambda dates: dates.dt.strftime("%Y-%m"),
        lambda dates: dates.dt.strftime("%Y-%m-%d"),
        lambda dates: dates.dt.to_period("M"),
        lambda dates: dates.dt.to_period("M").astype(object),
        lambda dates: dates.dt.date,
    ],
)
def test_dates_in_many_forms_are_the_same_dates(write) -> None:
    frame = gappy()
    told = TOLD | {"returns_over": "row", "lag": 1, "characteristics": ["x", "y"]}
    expected = read_frame(frame, **told)
    assert read_frame(frame.assign(date=write(frame["date"])), **told).fingerprint == expected.fingerprint


def test_index_levels_are_matched_by_name_in_either_order() -> None:
    frame = gappy()
    told = TOLD | {"returns_over": "row", "lag": 1, "characteristics": ["x", "y"]}
    expected = read_frame(frame, **told).fingerprint
    for levels in (["date", "asset"], ["asset", "date"], ["asset"]):
        assert read_frame(frame.set_index(levels), **told).fingerprint == expected


def test_files_give_what_frames_give(tmp_path: Path) -> None:
    frame = gappy()
    frame["asset"] = frame["asset"].replace({"A0": "NA", "A1": "007", "A2": "TRUE"})
    told = TOLD | {"returns_over": "row", "lag": 1, "characteristics": ["x", "y"], "group": "sector"}
    expected = read_frame(frame, **told)
    assert {"NA", "007", "TRUE"} <= set(expected.data.asset.values)
    frame.to_csv(tmp_path / "panel.csv", index=False)
    frame.set_index(["date", "asset"]).to_parquet(tmp_path / "panel.parquet")
    for name in ("panel.csv", "panel.parquet"):
        assert read_frame(tmp_path / name, **told).fingerprint == expected.fingerprint
    assert read_frame(str(tmp_path / "panel.csv"), **told).audit().cells_changed.sum() == 0


def test_percent_and_riskless_rates_come_out_decimal_and_excess() -> None:
    frame = gappy()
    plain = TOLD | {"returns_over": "row", "lag": 1, "characteristics": ["x", "y"]}
    expected = read_frame(frame, **plain).data.returns
    percent = frame.assign(ret=100 * frame["ret"] + 0.25, rf=0.25)
    raw = plain | {"units": "percent", "excess": False}
    by_column = read_frame(percent, **raw, risk_free="rf").data.returns
    np.testing.assert_allclose(by_column, expected, atol=1e-12)
    series = pd.Series(0.25, index=pd.period_range("2010-01", "2020-01", freq="M"))
    np.testing.assert_array_equal(read_frame(percent, **raw, risk_free=series).data.returns, by_column)
    assert "rf" not in read_frame(percent, **raw | {"characteristics": None}, risk_free="rf").characteristics


def test_whole_number_identifiers_keep_their_name() -> None:
    frame = gappy().assign(asset=lambda rows: 10000.0 + rows["asset"].str[1:].astype(int))
    panel = read_frame(frame, **TOLD, returns_over="row", lag=1, characteristics=["x"])
    assert panel.data.asset.values[0] == "10000"


def test_undeclared_roles_become_characteristics_and_booleans_do_not() -> None:
    frame = gappy().assign(flag=True)
    panel = read_frame(frame, **TOLD, returns_over="row", lag=1, size="size")
    assert panel.characteristics == ("x", "y")


def test_the_return_under_another_name_is_refused_where_it_lands_on_itself() -> None:
    frame = simulate.frame(n_months=12, n_assets=20, n_characteristics=2, seed=1)
    ahead = frame.sort_values(["asset", "date"]).groupby("asset")["ret"].shift(-1)
    leak = frame.assign(next_month=ahead)
    told = TOLD | {"returns_over": "row", "lag": 1}
    with pytest.raises(LookAheadError, match=r"'next_month' has rank correlation 1\.000"):
        read_frame(leak, **told)
    with pytest.raises(LookAheadError, match="'monotone'"):
        read_frame(frame.assign(monotone=np.log1p(ahead) ** 3), **told, characteristics=["x1", "monotone"])
    past = read_frame(frame.assign(reversal=frame["ret"]), **told, characteristics=["x1", "reversal"])
    assert past.characteristics == ("x1", "reversal")  # a past return is a legitimate characteristic
    told = TOLD | {"returns_over": "next", "lag": 0}
    with pytest.raises(LookAheadError, match="'raw_return'"):
        read_frame(frame.assign(raw_return=frame["ret"] + 0.001), **told, characteristics=["x1", "raw_return"])
    with pytest.raises(LookAheadError, match="cannot explain itself"):
        read_frame(frame, **told, characteristics=["x1", "ret"])


FAULTS = {
    "returns_over not told": ({"returns_over": ...}, DataError, "returns_over must be told.*row.*next"),
    "lag not told": ({"lag": ...}, LookAheadError, "lag must be told.*available="),
    "units not told": ({"units": ...}, UnitsError, "units must be told.*decimal.*percent"),
    "excess not told": ({"excess": ...}, UnitsError, "excess must be told.*risk_free"),
    "returns_over unknown": ({"returns_over": "month"}, DataError, "found 'month'"),
    "lag zero": ({"lag": 0}, LookAheadError, "at least 1: found 0"),
    "lag below zero": ({"returns_over": "next", "lag": -1}, LookAheadError, "at least 0: found -1"),
    "lag of half a month": ({"lag": 0.5}, LookAheadError, r"whole number.*0\.5"),
    "lag and available": ({"available": "filed"}, DataError, "choose one"),
    "units unknown": ({"units": "bp"}, UnitsError, "found 'bp'"),
    "excess in words": ({"excess": "yes"}, UnitsError, "found 'yes'"),
    "excess and risk_free": ({"risk_free": "size"}, UnitsError, "choose excess=False"),
    "raw without risk_free": ({"excess": False}, UnitsError, "need risk_free"),
    "risk_free a number": ({"excess": False, "risk_free": 0.01}, DataError, "found float"),
    "no such column": ({"characteristics": ["sizes"]}, DataError, "characteristics='sizes'.*Near: size"),
    "no such time": ({"time": "month"}, DataError, "time='month'"),
    "text characteristic": (
        {"characteristics": ["sector"]},
        DataError,
        r"'sector' must be numbers.*\(2015-01, A0\)",
    ),
    "date characteristic": (
        {"characteristics": ["filed"]},
        DataError,
        r"'filed' must be numbers.*\(2015-01, A0\)",
    ),
    "characteristic twice": ({"characteristics": ["x", "x"]}, DuplicateKeyError, "repeated x"),
    "no characteristics": ({"characteristics": []}, DataError, "at least one characteristic"),
    "frequency unknown": ({"frequency": "hourly"}, DataError, "found 'hourly'"),
    "missing unknown": ({"missing": "mean"}, DataError, "found 'mean'"),
    "missing refused": (
        {"missing": "error"},
        DataError,
        r"characteristics must be present.*\(2015-\d\d, A\d, [xy]\)",
    ),
    "lag beyond the data": ({"lag": 60}, DataError, "longer than the data"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_arguments(fault: str) -> None:
    changed, error, message = FAULTS[fault]
    told = TOLD | {"returns_over": "row", "lag": 1, "characteristics": ["x", "y"]} | changed
    with pytest.raises(error, match=message):
        read_frame(gappy(), **{name: value for name, value in told.items() if value is not ...})


def put(column: str, value: object, row: int = 5):
    def spoil(frame: pd.DataFrame) -> pd.DataFrame:
        frame[column] = frame[column].astype(object) if isinstance(value, str) else frame[column]
        frame.loc[frame.index[row], column] = value
        return frame

    return spoil


BAD_FRAMES = {
    "infinite characteristic": (
        put("x", np.inf),
        DataError,
        r"'x' must be finite: infinite at \(2015-01, A\d\) \(1 in",
    ),
    "infinite return": (
        put("ret", -np.inf),
        DataError,
        r"'ret' must be finite: infinite at \(2015-01, A\d\)",
    ),
    "infinite size": (put("size", np.inf), DataError, r"'size' must be finite: infinite at \(2015-01, A\d\)"),
    "text in numbers": (put("y", "n/a"), DataError, r"'y' must be numbers.*\(2015-01, A\d\) \(1 in all"),
    "not a date": (put("date", "June"), DataError, r"'date' must hold dates: cannot read \(row 5, 'June'\)"),
    "ambiguous date": (put("date", "03/04/2016"), DataError, r"cannot read \(row 5, '03/04/2016'\)"),
    "missing date": (put("date", pd.NaT), DataError, r"cannot read \(row 5"),
    "missing asset": (put("asset", None), DataError, "missing in row 5"),
    "blank asset": (put("asset", " "), DataError, "blank in row 5"),
    "duplicates": (
        lambda frame: pd.concat([frame, frame.iloc[[2, 7, 9, 11]]]),
        DuplicateKeyError,
        r"repeated \(2015-01, A\d\), \(2015-0\d, A\d\), \(2015-0\d, A\d\) \(4 in all\)",
    ),
    "percent as decimal": (lambda f: f.assign(ret=100 * f["ret"]), UnitsError, 'median.*units="percent"'),
    "no rows": (lambda frame: frame.iloc[:0], DataError, "must have rows"),
    "column twice": (lambda f: pd.concat([f, f[["x"]]], axis=1), DuplicateKeyError, "repeated x"),
    "level and column": (
        lambda f: f.set_index("date", drop=False),
        DataError,
        "both an index level and a column",
    ),
    "quarterly": (
        lambda f: f.loc[f["date"].dt.month % 3 == 0],
        DataError,
        "look monthly, but are 9\\d days apart",
    ),
    "different days": (
        lambda f: f.assign(date=f["date"] - pd.to_timedelta(np.arange(len(f)) % 2, unit="D")),
        DataError,
        'look daily.*frequency="monthly"',
    ),
}


@pytest.mark.parametrize("fault", BAD_FRAMES)
def test_faults_of_frames(fault: str) -> None:
    spoil, error, message = BAD_FRAMES[fault]
    told = TOLD | {"returns_over": "row", "lag": 1, "characteristics": ["x", "y"], "size": "size"}
    with pytest.raises(error, match=message):
        read_frame(spoil(gappy()), **told)


def test_faults_of_riskless_rates() -> None:
    frame = gappy().assign(rf=0.001)
    told = TOLD | {"returns_over": "row", "lag": 1, "characteristics": ["x"], "excess": False}
    series = pd.Series(0.001, index=pd.period_range("2015-01", "2016-02", freq="M"))
    with pytest.raises(DataError, match=r"missing at \(2015-06, A\d\)"):
        read_frame(frame, **told, risk_free=series.drop(series.index[5]))
    with pytest.raises(DuplicateKeyError, match="repeated 2015-01"):
        read_frame(frame, **told, risk_free=pd.concat([series, series[:1]]))
    with pytest.raises(DataError, match="'rf' must be finite"):
        read_frame(put("rf", np.inf)(frame), **told, risk_free="rf")


def test_riskless_rates_in_other_units_are_refused() -> None:
    told = TOLD | {"returns_over": "row", "lag": 1, "characteristics": ["x"], "excess": False}
    for rate, units in ((0.25, "decimal"), (0.0201, "decimal"), (5.0, "percent")):
        frame = gappy().assign(rf=rate)
        if units == "percent":
            frame["ret"] *= 100
        with pytest.raises(UnitsError, match=r"risk_free must be.*\(2015-01, A\d\), .*divide by 100.*divide by 12"):
            read_frame(frame, **told | {"units": units}, risk_free="rf")
    assert read_frame(gappy().assign(rf=0.0199), **told, risk_free="rf").warnings == ()
    once = gappy()
    once["rf"] = np.where(np.arange(len(once)) == 2, 0.021, 0.0)  # years near zero, and one rate that is not
    with pytest.raises(UnitsError, match=r"the highest \|rate\| is 0\.021"):
        read_frame(once, **told, risk_free="rf")
    once["rf"] = np.where(np.arange(len(once)) % 2, 0.01, 0.0)  # percent with two decimals, as in Ken French's files
    with pytest.raises(UnitsError, match=r"every rate is a multiple of 0\.01, up to 0\.01, as at \(2015-0"):
        read_frame(once, **told, risk_free="rf")
    assert "(0.12% a period on average)" in read_frame(gappy().assign(rf=0.0012), **told, risk_free="rf").history[0]
    days = simulate.frame(n_months=6, n_assets=5, n_characteristics=1, seed=2, frequency="daily")
    with pytest.raises(UnitsError, match="divide by 252"):
        read_frame(days.assign(rf=0.01), **told | {"characteristics": ["x1"]}, risk_free="rf")


@pytest.mark.parametrize("frequency", ["monthly", "daily"])
def test_a_riskless_series_is_dated_by_the_period_it_covers(frequency: str) -> None:
    frame = simulate.frame(n_months=8, n_assets=5, n_characteristics=1, seed=2, frequency=frequency)
    dates = frame["date"].unique()
    trend = pd.Series(0.0001 * np.arange(len(dates)), index=dates)
    told = TOLD | {"characteristics": ["x1"], "excess": False}
    over_row = read_frame(frame, **told, returns_over="row", lag=1, risk_free=trend)
    following = frame.sort_values(["asset", "date"])
    following["ret"] = following.groupby("asset")["ret"].shift(-1)
    over_next = read_frame(following, **told, returns_over="next", lag=0, risk_free=trend)
    np.testing.assert_array_equal(over_next.data.returns, over_row.data.returns)
    ahead = following["date"].map(trend.shift(-1))
    by_column = read_frame(following.assign(rf=ahead), **told, returns_over="next", lag=0, risk_free="rf")
    np.testing.assert_array_equal(by_column.data.returns, over_row.data.returns)
    with pytest.raises(DataError, match=r"missing for the period after the rows"):
        read_frame(following, **told, returns_over="next", lag=0, risk_free=trend[:-1])


@pytest.mark.parametrize(
    "write",
    [
        lambda dates: dates.dt.tz_localize("America/New_York"),
        lambda dates: dates.dt.tz_localize("UTC").astype(object),
        lambda dates: dates.dt.strftime("%Y-%m-%dT23:30:00-05:00"),
        lambda dates: dates.dt.strftime("%Y-%m-%d 23:30:00+0900"),
        lambda dates: dates.dt.strftime("%Y-%m-%dT00:00Z"),
    ],
)
def test_dates_with_a_time_zone_are_refused_in_every_form(write) -> None:
    frame, told = gappy(), TOLD | {"returns_over": "row", "lag": 1, "characteristics": ["x"]}
    with pytest.raises(
        DataError, match=r"'date' must hold dates without a time zone: found \(row 0, 2015-01-31.*tz_convert"
    ):
        read_frame(frame.assign(date=write(frame["date"])), **told)
    plain = frame.assign(date=frame["date"].dt.strftime("%Y-%m-%dT23:30:00"))
    assert read_frame(plain, **told).fingerprint == read_frame(frame, **told).fingerprint


def test_months_dated_on_other_days_by_asset_must_be_called_months() -> None:
    rng = np.random.default_rng(0)
    frame = simulate.frame(n_months=14, n_assets=40, n_characteristics=2, seed=2)
    day = pd.to_timedelta(
        frame["asset"].map(dict(zip(frame["asset"].unique(), rng.integers(0, 28, 40), strict=True))), "D"
    )
    frame["date"] -= day
    told = TOLD | {"returns_over": "row", "lag": 1, "characteristics": ["x1"]}
    cells = r"\(2000-0\d-\d\d, 2000-0\d-\d\d, S\d\d\), "
    with pytest.raises(DataError, match=rf"look daily.*31 days apart \(median\), as at {cells}.*frequency=\"monthly\""):
        read_frame(frame, **told)
    assert read_frame(frame, **told, frequency="monthly").frequency == "monthly"
    gaps = simulate.frame(n_months=30, n_assets=9, n_characteristics=1, seed=2, frequency="daily")
    sparse = gaps[rng.random(len(gaps)) < 0.5]
    assert read_frame(sparse, **told).frequency == "daily"


def test_impossible_returns_are_refused_and_total_losses_are_told() -> None:
    told = TOLD | {"returns_over": "row", "lag": 1, "characteristics": ["x1"]}
    frame = simulate.frame(n_months=6, n_assets=5, n_characteristics=1, seed=2)
    row = frame.index[(frame["date"] == "2000-04-30") & (frame["asset"] == "S3")][0]
    cell = r"\(2000-04, S3\) \(1 in all\)"

    def holding(value: float) -> pd.DataFrame:
        return frame.assign(ret=frame["ret"].where(frame.index != row, value))

    for code in (-99.99, -66.0, -1.0501):
        with pytest.raises(DataError, match=rf"at least -1\.05.*{cell}.*missing code.*NaN"):
            read_frame(holding(code), **told)
    for loss in (-0.99, -0.9999, -1.05):
        with pytest.warns(DataWarning, match=rf"-99% or less.*{cell}.*delisting"):
            panel = read_frame(holding(loss), **told)
        assert len(panel.rank_normalise().warnings) == 1
        assert panel.audit()["cells_changed"].sum() == 0
    assert read_frame(holding(-0.9899), **told).warnings == ()


def test_undated_publications_are_refused() -> None:
    told = TOLD | {"returns_over": "row", "characteristics": ["x"], "available": "filed"}
    with pytest.raises(LookAheadError, match=r"'filed'.*undated in row 5 \(1 in all\)"):
        read_frame(put("filed", pd.NaT)(gappy()), **told)


def test_faults_of_files(tmp_path: Path) -> None:
    told = TOLD | {"returns_over": "row", "lag": 1}
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 torn")
    (tmp_path / "notes.txt").write_text("date")
    (tmp_path / "empty.csv").write_text("")
    for name, message in {
        "absent.parquet": "does not exist",
        "torn.parquet": "cannot read",
        "empty.csv": "cannot read",
        "notes.txt": "parquet or .csv",
    }.items():
        with pytest.raises(DataError, match=message):
            read_frame(tmp_path / name, **told)
    with pytest.raises(DataError, match="found dict"):
        read_frame({}, **told)


def test_odd_data_are_accepted_with_a_recorded_warning() -> None:
    told = TOLD | {"returns_over": "row", "lag": 1, "characteristics": ["x", "y"]}
    with pytest.warns(DataWarning, match="in decimal, not in percent"):
        panel = read_frame(gappy(), **told | {"units": "percent"})
    assert "in decimal" in panel.warnings[0]
    lost = gappy().assign(ret=lambda frame: 100 * frame["ret"].where(frame.index != 45, -0.9999))
    with pytest.warns(DataWarning, match=r"-99% or less.*\(2015-\d\d, A\d\) \(1 in all\)"):
        panel = read_frame(lost, **told | {"units": "percent"})
    assert panel.warnings[0].startswith("returns of -99%")
    quarterly = gappy().loc[lambda frame: frame["date"].dt.month % 3 == 0]
    with pytest.warns(DataWarning, match="no return lands in the universe"):
        read_frame(quarterly, **told, frequency="monthly")


# ------------------------------------------------------------- what tests/faults refuses, at its boundary


def read_gappy(frame: pd.DataFrame, **told: object) -> Panel:
    return read_frame(frame, **TOLD | {"returns_over": "row", "lag": 1, "characteristics": ["x"]} | told)


def test_holes_of_ten_years_and_days_four_apart_are_read() -> None:
    late = gappy().assign(date=lambda frame: frame["date"] + pd.DateOffset(years=12))
    apart = pd.concat([gappy(), late.assign(date=late["date"] - pd.DateOffset(years=2))])
    assert read_gappy(apart, frequency="monthly").times[-1].year == 2026
    with pytest.raises(DataError, match=r"no hole of more than 10 years: found \(2016-02-29, 2027-0"):
        read_gappy(pd.concat([gappy(), late]), frequency="monthly")
    days = simulate.frame(n_months=20, n_assets=5, n_characteristics=1, seed=2, frequency="daily")
    sparse = days[days["date"].isin(days["date"].unique()[::2])].rename(columns={"x1": "x"})
    assert read_gappy(sparse, frequency="daily").frequency == "daily"


def test_labels_that_are_whole_numbers_in_any_type_are_one() -> None:
    numbers = gappy()["asset"].map({name: i for i, name in enumerate(gappy()["asset"].unique())})
    wanted = read_gappy(gappy().assign(asset=numbers.astype(str))).fingerprint
    mixed = pd.Series([float(n) if i % 2 else n for i, n in enumerate(numbers)], dtype=object)
    for labels in (numbers, numbers.astype(float), mixed.to_numpy()):
        assert read_gappy(gappy().assign(asset=labels)).fingerprint == wanted


def test_columns_that_are_left_out_are_recorded() -> None:
    frame = gappy()[["date", "asset", "ret", "x"]].assign(name="some firm", listed=True)
    panel = read_gappy(frame, characteristics=None)
    assert panel.characteristics == ("x",)
    assert panel.history[0].endswith("left out: name, listed")
    assert "left out" not in read_gappy(frame).history[0]


def test_a_line_of_a_csv_must_be_whole_but_its_last_cell_may_be_missing(tmp_path: Path) -> None:
    frame = put("x", np.nan)(gappy()[["date", "asset", "ret", "x"]])
    path = tmp_path / "panel.csv"
    frame.to_csv(path, index=False)
    assert read_gappy(path).fingerprint == read_gappy(frame).fingerprint
    lines = path.read_text().splitlines()
    path.write_text("\n".join(["", *lines, ""]) + "\n")
    assert read_gappy(path).fingerprint == read_gappy(frame).fingerprint, "blank lines are none"
    path.write_text("\n".join([one.rpartition(",")[0] if i in (3, 5) else one for i, one in enumerate(lines)]))
    with pytest.raises(DataError, match=r"line 4: a row must have 4 cells .*found 3"):
        read_gappy(path)


def test_large_and_positive_returns_at_their_boundary() -> None:
    frame = gappy()
    frame.loc[50, "ret"] = 100.0
    assert read_gappy(frame).data.returns.max() == 100
    frame.loc[50, "ret"] = 100.5
    with pytest.raises(DataError, match=r"at most 100 .*The highest is 100\.5"):
        read_gappy(frame)
    gains = gappy().assign(ret=gappy()["ret"].abs() + 0.001)
    landed = int(read_gappy(gappy()).data.observed.sum())
    few = gains.assign(ret=gains["ret"].where(np.arange(len(gains)) >= len(gains) - 29))
    assert landed > 30
    assert read_gappy(few).data.returns.min() > 0
    with pytest.raises(UnitsError, match=r"all \d+ are positive"):
        read_gappy(gains)


@pytest.mark.parametrize("over", ["row", "next"])
def test_a_report_that_rows_carry_on_is_not_known_before_they_are(over: str) -> None:
    """A filing date beside new prices would give the latest row the oldest publication."""
    carried = gappy().assign(filed=pd.Timestamp("2015-02-10"))
    told = {"returns_over": over, "lag": ..., "available": "filed"}
    told = {key: value for key, value in (TOLD | told).items() if value is not ...}
    with pytest.raises(LookAheadError, match=r"published in the period of their row or later: found \(2015-03, A\d, "):
        read_frame(carried, **told, characteristics=["x"])
    later = carried.assign(filed=carried[["date", "filed"]].max(axis=1))
    assert read_frame(later, **told, characteristics=["x"]).audit()["cells_changed"].sum() == 0


def test_missing_codes_in_single_precision_are_told() -> None:
    frame = put("x", -99.99)(gappy()).astype({"x": "float32"})
    assert read_gappy(frame).warnings == (), "one cell may be a value"
    frame.loc[[20, 21], "x"] = np.float32(-99.99)
    with pytest.warns(DataWarning, match=r"x holds -99\.99 at .*code for missing"):
        panel = read_gappy(frame)
    assert len(panel.warnings) == 1


def test_size_that_is_the_return_is_refused() -> None:
    frame = simulate.frame(n_months=6, n_assets=12, n_characteristics=1, seed=2)
    told = {"time": "date", "asset": "asset", "returns": "ret", "units": "decimal", "excess": True}
    told |= {"returns_over": "next", "lag": 0, "characteristics": ["x1"]}
    with pytest.raises(LookAheadError, match=r"'size' has rank correlation 1\.000"):
        read_frame(frame, **told, size="ret")


def test_a_stray_day_is_told_and_does_not_move_the_live_one() -> None:
    days = simulate.frame(n_months=25, n_assets=20, n_characteristics=1, seed=2, frequency="daily")
    told = {"time": "date", "asset": "asset", "returns": "ret", "returns_over": "row", "lag": 1, "units": "decimal"}
    told |= {"excess": True, "characteristics": ["x1"]}
    whole = read_frame(days, **told)
    dates = pd.DatetimeIndex(days["date"].unique()).sort_values()
    friday = next(date for date in dates[5:] if date.weekday() == 4)
    stray = days[days["date"] == friday].iloc[:1].assign(date=friday + pd.Timedelta(days=1))
    with pytest.warns(
        DataWarning, match=rf"far smaller than around it in \({dates[dates > friday][0]:%Y-%m-%d}, 1 of about 20\)"
    ):
        odd = read_frame(pd.concat([days, stray]), **told)
    assert odd.times[-1] == whole.times[-1]


def test_excluded_columns_are_no_characteristics(tmp_path: Path) -> None:
    frame = simulate.frame(n_months=6, n_assets=12, n_characteristics=3, seed=2).assign(ret_next=0.0)
    told = {"time": "date", "asset": "asset", "returns": "ret", "units": "decimal", "excess": True}
    told |= {"returns_over": "row", "lag": 1, "size": "size"}
    panel = read_frame(frame, **told, exclude=["ret_next", "x2"])
    assert panel.characteristics == ("x1", "x3")
    assert "left out: x2, ret_next" in panel.history[0]
    with pytest.raises(DataError, match=r"exclude='x9' must be a column"):
        read_frame(frame, **told, exclude=["x9"])
    with pytest.raises(DataError, match=r"cannot both be given: found x2"):
        read_frame(frame, **told, characteristics=["x1"], exclude=["x2"])


@pytest.mark.parametrize("name", ["Unnamed: 0", "index", "level_0", "__index_level_0__"])
def test_row_numbers_are_no_characteristic_unless_named(name: str) -> None:
    frame = simulate.frame(n_months=6, n_assets=12, n_characteristics=1, seed=2)
    frame[name] = np.arange(len(frame))
    told = {"time": "date", "asset": "asset", "returns": "ret", "units": "decimal", "excess": True}
    told |= {"returns_over": "row", "lag": 1, "size": "size"}
    with pytest.raises(DataError, match=r"every characteristic must have a name"):
        read_frame(frame, **told)
    assert read_frame(frame, **told, exclude=[name]).characteristics == ("x1",)


def test_groups_of_a_csv_stay_as_written(tmp_path: Path) -> None:
    frame = simulate.frame(n_months=4, n_assets=4, n_characteristics=1, seed=2)
    frame["sic"] = np.where(frame["asset"] == frame["asset"].iloc[0], "0100", "NA")
    frame.to_csv(tmp_path / "panel.csv", index=False)
    told = {"time": "date", "asset": "asset", "returns": "ret", "units": "decimal", "excess": True}
    told |= {"returns_over": "row", "lag": 1, "characteristics": ["x1"], "group": "sic"}
    groups = np.unique(read_frame(tmp_path / "panel.csv", **told).data["group"])
    assert groups.tolist() == ["0100", "NA"]
