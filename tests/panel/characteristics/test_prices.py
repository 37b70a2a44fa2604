"""`from_prices`: equal to slow loops, point in time bit by bit, min counts, splits, gaps, refusals."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_prices import Asset, daily, slow, slow_market

from bayesfactor.errors import DataError, DataWarning, DuplicateKeyError, UnitsError
from bayesfactor.panel import read_frame
from bayesfactor.panel.characteristics import DEFINITIONS, from_prices, prices
from bayesfactor.panel.characteristics.definitions import PriceDefinition, Window
from bayesfactor.panel.characteristics.of_prices import PRICE_DEFINITIONS

pytestmark = pytest.mark.filterwarnings(
    "ignore:returns over gaps:bayesfactor.errors.DataWarning",
    "ignore:the last period must be complete:bayesfactor.errors.DataWarning",
    "ignore:days are absent:bayesfactor.errors.DataWarning",
    "ignore:.*move as at a split:bayesfactor.errors.DataWarning",
    "ignore:most assets of the last period:bayesfactor.errors.DataWarning",
)
NAMES = [one.name for one in PRICE_DEFINITIONS]
COLUMNS = {
    "time": "day",
    "asset": "id",
    "close": "close",
    "close_adjusted_for": "nothing",
    "adjusted_close": "adj",
    "volume": "volume",
    "shares": "shares",
    "high": "high",
    "low": "low",
    "market": "equal_weighted",
}


def table(frame: pd.DataFrame, **changes: object) -> pd.DataFrame:
    return from_prices(frame, **(COLUMNS | changes)).set_index(["date", "asset"])


def assert_bitwise(one: pd.DataFrame, other: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(one, other, check_exact=True)


@pytest.mark.parametrize(
    ("frequency", "market", "n_days"), [("monthly", "equal_weighted", 1400), ("weekly", "value_weighted", 420)]
)
def test_every_characteristic_equals_a_slow_loop(frequency: str, market: str, n_days: int) -> None:
    frame = daily(seed=3, n_days=n_days)
    found = table(frame, frequency=frequency, market=market)
    by_day = slow_market(frame, market)
    all_days = sorted(frame.loc[frame["close"].notna(), "day"].unique())
    assets = {str(name): Asset(rows, all_days, by_day) for name, rows in frame.groupby("id")}
    ends = found.index.unique("date")
    checked = np.zeros(len(NAMES), int)
    for date in ends[
        [0, 1, 2, 7, 12, 13, 14, 20, len(ends) // 2, -12, -9, -2, -1] if frequency == "monthly" else slice(0, None, 7)
    ]:
        last = date + pd.Timedelta(days=2) if frequency == "weekly" else date
        first = last - pd.Timedelta(days=6) if frequency == "weekly" else date.replace(day=1)
        for name, asset in assets.items():
            own = [k for k, day in enumerate(asset.days) if first <= day <= last]
            since = [day for day in all_days if asset.latest(last) <= day <= last]
            recent = 1 <= len(since) <= 11  # the last price, and at most ten trading days after it
            assert ((date, name) in found.index) == (bool(own) or recent)
            if not (own or recent):
                continue
            row = found.loc[(date, name)]
            expected = slow(asset, last) if recent else dict.fromkeys(NAMES, math.nan)
            assert recent or np.isnan(row["market_equity"])
            assert set(expected) == set(NAMES)
            np.testing.assert_allclose(
                row[NAMES].to_numpy(float),
                [expected[one] for one in NAMES],
                rtol=1e-9,
                atol=1e-12,
                err_msg=f"{date} {name}",
            )
            ret = math.prod(1 + asset.ret[k] for k in own) - 1 if own else math.nan
            np.testing.assert_allclose(row["ret"], ret, rtol=1e-12, atol=1e-15)
            checked += row[NAMES].notna().to_numpy()
    lacking = [name for name, count in zip(NAMES, checked, strict=True) if count < 3]
    assert lacking == ([] if frequency == "monthly" else ["ltrev_36_13", "ltrev_60_13", "season_60"])


def test_returns_column_and_adjusted_closes_agree() -> None:
    frame = daily(seed=4).sort_values(["id", "day"]).dropna(subset=["adj"])
    frame["ret"] = frame.groupby("id")["adj"].pct_change()
    one = table(frame, longest_gap=20)
    told = {"returns": "ret", "adjusted_close": None, "longest_gap": 20}
    pd.testing.assert_frame_equal(one, table(frame, **told, units="decimal"))
    percent = frame.assign(ret=100 * frame["ret"])
    pd.testing.assert_frame_equal(one, table(percent, **told, units="percent"), rtol=1e-9)


def spoil_after(frame: pd.DataFrame, cut: pd.Timestamp, seed: int) -> pd.DataFrame:
    """Change, drop and add whatever was not known at the end of `cut`."""
    rng = np.random.default_rng(seed)
    later = (frame["day"] > cut).to_numpy()
    frame = frame.copy()
    for name in ("close", "adj", "volume", "shares"):
        frame.loc[later, name] *= rng.uniform(0.5, 2.0, later.sum())
    frame["high"], frame["low"] = (
        np.where(later, frame["close"] * factor, frame[name]) for name, factor in (("high", 1.1), ("low", 0.9))
    )
    frame = frame[~later | (rng.random(len(frame)) < 0.8)]
    new = pd.DataFrame({"day": cut + pd.to_timedelta(np.arange(1, 60), unit="D"), "id": 7, "close": 5.0, "adj": 5.0})
    new = new.assign(volume=9.0, shares=1e9, high=5.1, low=4.9)
    return pd.concat([frame, new]).sample(frac=1, random_state=seed)


def assert_no_look_ahead(cut: str, seed: int, frequency: str, market: str) -> None:
    frame = daily(seed=5, n_assets=5, n_days=340)
    day = pd.Timestamp(cut)
    one, other = (table(rows, frequency=frequency, market=market) for rows in (frame, spoil_after(frame, day, seed)))
    ends = day - pd.Timedelta(days=2) if frequency == "weekly" else day
    assert_bitwise(one[one.index.get_level_values("date") <= ends], other[other.index.get_level_values("date") <= ends])


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    cut=st.dates(pd.Timestamp("2010-02-01").date(), pd.Timestamp("2011-03-31").date()),
    seed=st.integers(0, 10**6),
    frequency=st.sampled_from(["monthly", "weekly"]),
    market=st.sampled_from(["equal_weighted", "value_weighted"]),
)
def test_prices_after_a_date_change_nothing_up_to_it(cut: object, seed: int, frequency: str, market: str) -> None:
    assert_no_look_ahead(str(cut), seed, frequency, market)


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A month's reversal whose window ends a week late."""
    one = DEFINITIONS["vol_1m"]
    assert isinstance(one, PriceDefinition)
    late = dataclasses.replace(one, windows=(Window(4, -1, "week"),), least=1)
    monkeypatch.setattr(
        prices, "PRICE_DEFINITIONS", tuple(late if d.name == "vol_1m" else d for d in PRICE_DEFINITIONS)
    )
    return


@pytest.mark.usefixtures("planted")
def test_a_window_that_ends_late_is_caught() -> None:
    with pytest.raises(AssertionError, match="vol_1m"):
        assert_no_look_ahead("2010-12-31", 1, "monthly", "equal_weighted")


def test_order_of_rows_and_columns_and_labels_as_index_change_nothing() -> None:
    frame = daily(seed=6)
    before = frame.copy()
    one = table(frame)
    assert_bitwise(frame, before)
    assert_bitwise(one, table(frame.sort_values(["id", "day"])))
    assert_bitwise(one, table(frame.sort_values(["day", "id"])[frame.columns[::-1]]))
    assert_bitwise(one, table(frame.set_index(["id", "day"])))
    text = frame.assign(id=frame["id"].astype(str), day=frame["day"].dt.strftime("%Y-%m-%d"))
    assert_bitwise(one, table(text))


def test_other_assets_and_the_size_of_chunks_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = daily(seed=7)
    days = frame["day"].unique()
    market = pd.Series(0.01 * np.random.default_rng(1).standard_normal(len(days)), index=days)
    whole = table(frame, market=market, units="decimal")
    monkeypatch.setattr(prices, "CELLS_AT_ONCE", 1)
    assert_bitwise(whole, table(frame, market=market, units="decimal"))


@pytest.mark.parametrize("name", NAMES)
def test_fewest_days(name: str) -> None:
    """Exactly as many days as stated give a value; one fewer gives none."""
    one = DEFINITIONS[name]
    assert isinstance(one, PriceDefinition)
    frame = daily(seed=8, n_assets=1, n_days=1400).dropna().sort_values("day")
    frame = frame.assign(volume=frame["volume"] + 1)
    end = pd.Timestamp("2015-03-31")
    first = one.windows[0]
    lower = end - (pd.Timedelta(weeks=1) if first.unit == "week" else pd.offsets.MonthEnd(first.start))
    upper = end - pd.offsets.MonthEnd(first.stop) if first.stop else end
    inside = np.flatnonzero((frame["day"] > lower) & (frame["day"] <= upper))
    assert inside.size > one.least, "the statement is no limit"
    keep_calendar = frame.assign(id=1)
    values = []
    for kept in (one.least, one.least - 1):
        lost = np.random.default_rng(kept).permutation(inside)[kept:]
        thin = frame.drop(frame.index[lost])
        both = pd.concat([keep_calendar, thin])
        market = frame.set_index("day")["adj"].pct_change().fillna(0) + 1e-3 * np.sin(np.arange(len(frame)))
        found = table(both, longest_gap=1000, characteristics=[name], market=market, units="decimal")
        values.append(found.loc[(end, "100"), name])
    assert np.isfinite(values[0])
    assert np.isnan(values[1])


def test_a_split_moves_nothing_but_the_price_as_traded() -> None:
    frame = daily(seed=9).sort_values(["id", "day"])
    frame["ret"] = frame.groupby("id")["adj"].pct_change(fill_method=None)
    told = {"returns": "ret", "adjusted_close": None, "units": "decimal"}
    split = frame["day"] >= "2010-09-15"
    after = frame.copy()
    after.loc[split, ["close", "high", "low"]] /= 4
    after.loc[split, ["volume", "shares"]] *= 4
    one, other = table(frame, **told), table(after, **told)
    pd.testing.assert_frame_equal(one.drop(columns="log_price"), other.drop(columns="log_price"), rtol=1e-11)
    moved = (one["log_price"] - other["log_price"]).round(12)
    assert set(moved[moved.index.get_level_values("date") >= "2010-09-30"].unique()) == {round(math.log(4), 12)}


def test_closes_adjusted_for_later_splits_give_no_levels_that_hold_them() -> None:
    frame = daily(seed=9).assign(close=lambda f: f["adj"])
    only = {"adjusted_close": None, "close_adjusted_for": "splits"}
    one = table(frame, **only)
    assert "log_price" not in one
    assert {"log_me", "dolvol_1m", "mom_12_2"} <= set(one)
    later = frame.assign(
        **{name: frame[name] / 3 for name in ("close", "high", "low")},
        **{name: frame[name] * 3 for name in ("volume", "shares")},
    )
    pd.testing.assert_frame_equal(one, table(later, **only), rtol=1e-9)
    total = table(frame, adjusted_close=None, close_adjusted_for="splits_and_dividends")
    assert not {"log_price", "log_me", "dolvol_1m", "illiq_1m", "market_equity"} & set(total)
    assert {"mom_12_2", "hi52", "turn_1m"} <= set(total)
    with pytest.raises(DataError, match="a split would be a loss"):
        table(frame, adjusted_close=None)


def test_issuance_is_of_the_whole_year_where_shares_are_missing() -> None:
    days = pd.bdate_range("2010-01-01", "2011-06-30")
    frame = pd.DataFrame({"day": days, "id": "A", "close": 20.0, "shares": 1e6})
    frame.loc[frame["day"] >= "2011-03-15", "close"] = 30.0
    frame.loc[frame["day"] >= "2011-03-16", "shares"] = 1.1e6
    told = {"time": "day", "asset": "id", "close": "close", "close_adjusted_for": "splits", "shares": "shares"}
    for first, last in (("2011-06-30",) * 2, ("2011-03-15",) * 2, ("2010-07-01", "2011-05-31")):
        holes = frame.assign(shares=frame["shares"].mask(frame["day"].between(first, last)))
        found = from_prices(holes, **told, characteristics=["issue_12m"]).set_index("date")["issue_12m"]
        assert found["2011-06-30"] == pytest.approx(math.log(1.1))
    few = frame.drop(index=frame.index[frame["day"].between("2010-07-15", "2011-05-15")])
    found = from_prices(pd.concat([few, frame.assign(id="B")]), **told, longest_gap=300, characteristics=["issue_12m"])
    assert np.isnan(found.set_index(["date", "asset"])["issue_12m"]["2011-06-30", "A"])


def test_a_delisting_return_without_a_close_counts() -> None:
    days = pd.bdate_range("2010-01-01", "2010-02-26")
    frame = pd.DataFrame({"day": days, "id": "A", "close": 10.0, "ret": 0.01})
    frame.loc[frame.index[-3] :, "close"] = np.nan
    frame.loc[frame.index[-3] :, "ret"] = [-0.5, np.nan, np.nan]
    frame = pd.concat([frame, frame.assign(id="B", close=1.0, ret=0.01)])
    found = table(
        frame,
        returns="ret",
        units="decimal",
        characteristics=["rev_1m"],
        **dict.fromkeys(["adjusted_close", "volume", "shares", "high", "low", "market"]),
    )
    n = ((frame["id"] == "A") & (frame["day"] >= "2010-02-01")).sum() - 3
    assert found.loc[("2010-02-28", "A"), "ret"] == pytest.approx(1.01**n * 0.5 - 1)


def test_gaps_and_first_periods() -> None:
    frame = daily(seed=10).query("id == 100 or id == 104").dropna()
    with pytest.warns(DataWarning, match=r"more than 10 trading days are unknown: \(2010-04-19, 104\) \(1 in all\)"):
        found = table(frame)
    assert np.isnan(found.loc[("2010-01-31", "100"), "ret"])
    assert np.isnan(found.loc[("2010-04-30", "104"), "ret"])
    bridged = table(frame, longest_gap=20)
    assert np.isfinite(bridged.loc[("2010-04-30", "104"), "ret"])
    assert np.isnan(found.loc[("2011-02-28", "104"), "mom_12_2"])
    assert np.isfinite(bridged.loc[("2011-02-28", "104"), "mom_12_2"])


def suspended(first: str, last: str | None = None, falls_to: float = 1.0) -> pd.DataFrame:
    """Two assets with closes and shares over two and a half years; "A" has no rows between two days."""
    days = pd.bdate_range("2010-01-01", "2012-06-29")
    rng = np.random.default_rng(3)
    rows = [
        pd.DataFrame({"day": days, "id": name, "close": 20 * np.cumprod(1 + 0.01 * rng.standard_normal(len(days)))})
        for name in "AB"
    ]
    frame = pd.concat(rows, ignore_index=True).assign(shares=1e6)
    out = (frame["id"] == "A") & (frame["day"] >= first) & (frame["day"] <= (last or days[-1]))
    frame.loc[(frame["id"] == "A") & (frame["day"] > (last or days[-1])), "close"] *= falls_to
    return frame[~out]


SPLIT = {"time": "day", "asset": "id", "close": "close", "close_adjusted_for": "splits", "shares": "shares"}


def test_a_stock_that_stopped_trading_leaves_the_universe_when_its_last_price_is_old() -> None:
    for first, dates in (("2012-03-05", 0), ("2012-03-20", 1)):
        found = from_prices(suspended(first), **SPLIT).query("asset == 'A' and date >= '2012-03-01'")
        assert found["date"].tolist() == [pd.Timestamp("2012-03-31")]
        assert np.isfinite(found["ret"]).all()
        assert (found[["mom_12_2", "vol_12m", "log_me", "market_equity"]].notna().sum() == dates).all()


def test_the_loss_of_a_long_suspension_reaches_the_panel() -> None:
    frame = suspended("2012-01-31", "2012-03-05", falls_to=0.1)
    found = from_prices(frame, **SPLIT, longest_gap=40, characteristics=["mom_12_2", "vol_12m"])
    panel = read_frame(
        found, time="date", asset="asset", returns="ret", returns_over="row", lag=1, units="decimal", excess=True,
        size="market_equity",
    )  # fmt: skip
    cells = panel.data.sel(asset="A", time=slice("2012-02", "2012-03"))
    assert cells.in_universe.values.tolist() == [True, True]
    assert np.isnan(cells.returns.values[0])
    assert cells.returns.values[1] < -0.85
    assert np.isfinite(cells["size"].values).all()
    before = from_prices(frame[frame["day"] <= "2012-02-29"], **SPLIT, longest_gap=40)[found.columns]
    assert_bitwise(before, found[found["date"] <= "2012-02-29"].reset_index(drop=True))


def test_a_week_in_which_the_market_is_closed_has_rows() -> None:
    frame = suspended("2012-07-01")
    frame = frame[~frame["day"].between("2012-01-23", "2012-01-27")]
    found = from_prices(frame, **SPLIT, frequency="weekly", characteristics=["mom_12_2"]).set_index(["date", "asset"])
    assert np.isnan(found.loc[("2012-01-27", "A"), "ret"])
    assert np.isfinite(found.loc[("2012-01-27", "A"), "mom_12_2"])


def test_a_return_that_is_given_after_a_gap_is_kept() -> None:
    days = pd.bdate_range("2010-01-01", "2010-03-31")
    frame = pd.DataFrame({"day": days, "id": "A", "close": 10.0, "ret": 0.01})
    lost = frame[(frame["day"] <= "2010-02-05") | (frame["day"] == "2010-02-26")]
    lost = lost.assign(ret=lost["ret"].mask(lost["day"] == "2010-02-26", -0.9))
    both = pd.concat([lost, frame.assign(id="B")])
    with pytest.warns(DataWarning, match=r"kept as given, over the whole gap: \(2010-02-26, A\) \(1 in all\)"):
        found = from_prices(both, time="day", asset="id", returns="ret", units="decimal", characteristics=["rev_1w"])
    ret = found.set_index(["date", "asset"])["ret"]
    assert ret[pd.Timestamp("2010-02-28"), "A"] == pytest.approx(1.01**5 * 0.1 - 1)


@pytest.mark.parametrize("source", ["adj", "close"])
@pytest.mark.parametrize(("longest_gap", "known"), [(7, False), (8, True)])
def test_longest_gap_counts_trading_days_from_price_to_price(source: str, longest_gap: int, known: bool) -> None:
    days = pd.bdate_range("2010-01-01", "2010-02-26")
    frame = pd.DataFrame({"day": days, "id": "A", "close": 10.0, "adj": 10.0})
    both = pd.concat([frame.drop(index=range(25, 32)), frame.assign(id="B")])  # 7 days absent: the 8th has a price
    told = {"adjusted_close": "adj"} if source == "adj" else {"close_adjusted_for": "splits"}
    found = from_prices(
        both,
        time="day",
        asset="id",
        close="close",
        longest_gap=longest_gap,
        **({"close_adjusted_for": "nothing"} | told),
    )
    ret = found.set_index(["date", "asset"])["ret"]
    assert np.isfinite(ret[pd.Timestamp("2010-02-28"), "A"]) == known


def test_a_history_that_begins_within_a_window_is_none_of_it() -> None:
    """Also where the first row has a return of its own: what came before it in the window is not there."""
    days = pd.bdate_range("2010-01-01", "2011-03-31")
    frame = pd.DataFrame({"day": days, "id": "A", "ret": 0.001})
    told = dict.fromkeys(("close", "adjusted_close", "volume", "shares", "high", "low", "market"))
    told |= {"returns": "ret", "units": "decimal", "characteristics": ["mom_12_2"]}
    del told["close"]
    columns = {name: value for name, value in COLUMNS.items() if not name.startswith("close")} | told
    found = from_prices(frame, **columns).set_index("date")
    assert found["mom_12_2"].first_valid_index() == pd.Timestamp("2011-01-31")  # February to December
    assert found["ret"].isna().tolist() == [True] + [False] * 14


def test_an_unfinished_period_is_left_out_unless_it_is_said_to_be_complete() -> None:
    frame = daily(seed=11).query("day <= '2011-04-21'")  # Good Friday is the 22nd
    for frequency, left, kept in (("monthly", "2011-03-31", "2011-04-30"), ("weekly", "2011-04-15", "2011-04-22")):
        with pytest.warns(DataWarning, match="stops on 2011-04-21, before the last trading day"):
            found = table(frame, frequency=frequency)
        assert found.index.get_level_values("date").max() == pd.Timestamp(left)
        said = table(frame, frequency=frequency, complete_through="2011-04-21")
        assert said.index.get_level_values("date").max() == pd.Timestamp(kept)
    with pytest.raises(DataError, match="complete_through must be in a period of the frame"):
        table(frame, complete_through="2011-06")


def test_excess_returns_enter_betas_only() -> None:
    frame = daily(seed=12)
    days = np.sort(frame["day"].unique())
    rng = np.random.default_rng(2)
    market = pd.Series(0.01 * rng.standard_normal(len(days)), index=days)
    rate = pd.Series(1e-4 * np.arange(len(days)) / len(days), index=days)
    raw = table(frame, market=market, units="decimal")
    less = table(frame, market=market, risk_free=rate, units="decimal")
    touched = ["beta_12m", "beta_down_12m", "ivol_1m", "ivol_12m"]
    assert_bitwise(raw.drop(columns=touched), less.drop(columns=touched))
    priced = frame.dropna(subset=["close"])
    asset = Asset(priced[priced["id"] == 100], list(days), (market - rate).to_dict())
    asset.ret = [r - rate[day] for r, day in zip(asset.ret, asset.days, strict=True)]
    end = less.index.get_level_values("date").max()
    expected = slow(asset, end)
    np.testing.assert_allclose(
        less.loc[(end, "100"), touched].to_numpy(float), [expected[n] for n in touched], rtol=1e-9
    )
    with pytest.raises(UnitsError, match="risk_free must be over one day"):
        table(frame, market=market, risk_free=100 * rate, units="decimal")
    with pytest.raises(
        DataError, match="market must be returns, finite and at least -100%: found otherwise on 2010-01-04"
    ):
        table(frame, market=market.where(market.index != days[0], -99.0), units="decimal")
    with pytest.raises(DataError, match=r"market must be numbers: found .* on 2010-01-05 \(1 in all\)"):
        table(frame, market=market.astype(object).where(market.index != days[1], "n/a"), units="decimal")
    with pytest.raises(DuplicateKeyError, match="risk_free must have one value a day"):
        table(frame, risk_free=pd.concat([rate, rate]), units="decimal")
    with pytest.warns(DataWarning, match="market lacks days of the frame"):
        short = table(frame, market=market.iloc[:-5], units="decimal")
    assert np.isfinite(short.loc[(end, "100"), "beta_12m"])


def test_it_goes_straight_into_read_frame() -> None:
    frame = daily(seed=13, n_assets=6)
    out = from_prices(frame, **COLUMNS)
    panel = read_frame(
        out,
        time="date",
        asset="asset",
        returns="ret",
        returns_over="row",
        lag=1,
        units="decimal",
        excess=True,
        size="market_equity",
        frequency="monthly",
    )
    assert set(panel.characteristics) == set(NAMES)
    cell = {"time": "2010-11-30", "asset": "100"}
    before = out[(out["date"] == "2010-10-31") & (out["asset"] == "100")].iloc[0]
    now = out[(out["date"] == "2010-11-30") & (out["asset"] == "100")].iloc[0]
    assert panel.data.characteristics.sel(**cell, characteristic="mom_6_2").item() == before["mom_6_2"]
    assert panel.data.returns.sel(**cell).item() == now["ret"]
    assert panel.data["size"].sel(**cell).item() == before["market_equity"]


def test_an_unfinished_period_of_a_market_that_trades_on_weekends_is_left_out() -> None:
    days = pd.date_range("2023-09-01", "2023-12-29")  # a Friday
    frame = pd.concat([pd.DataFrame({"day": days, "id": name, "close": 10.0, "shares": 1.0}) for name in "AB"])
    for frequency, last in (("monthly", "2023-11-30"), ("weekly", "2023-12-22")):
        with pytest.warns(DataWarning, match="stops on 2023-12-29, before the last trading day"):
            found = from_prices(frame, **SPLIT, frequency=frequency)
        assert found["date"].max() == pd.Timestamp(last)


def test_files_that_end_before_the_others_are_named() -> None:
    frame = suspended("2013-01-01")
    three = pd.concat([frame, frame[frame["id"] == "A"].assign(id="C")])
    short = three[(three["id"] == "B") | (three["day"] <= "2012-06-20")]
    with pytest.warns(DataWarning, match=r"no row on its last day, 2012-06-29: A, C \(2 in all\), of 3"):
        from_prices(short, **SPLIT)


def test_absent_days_beside_volume_are_named() -> None:
    frame = suspended("2013-01-01").assign(volume=5.0)
    thin = frame[(frame["id"] == "B") | (frame["day"].dt.day_of_week != 2) | (frame["day"] == frame["day"].min())]
    with pytest.warns(DataWarning, match=r"days are absent, more than 10% .* volume 0: A \(1 in all\)"):
        from_prices(thin, **SPLIT, volume="volume")


def test_splits_in_closes_and_in_shares_are_named() -> None:
    frame = suspended("2013-01-01")
    after = (frame["id"] == "A") & (frame["day"] >= "2011-03-10")
    with pytest.warns(DataWarning, match=r"market equity beside returns move as at a split: \(2011-03-10, A\)"):
        from_prices(frame.assign(shares=frame["shares"].where(~after, 4e6)), **SPLIT)
    day = frame["day"] == "2011-03-10"
    traded = frame.assign(close=frame["close"].mask(day & after, frame["close"].shift()))
    traded.loc[after, "close"] /= 4
    with pytest.warns(DataWarning, match=r"returns from closes move as at a split: \(2011-03-10, A\)"):
        from_prices(traded, **SPLIT)


def test_a_market_in_other_units_is_refused() -> None:
    days = np.sort(FRAME["day"].unique())
    market = pd.Series(0.01 * np.random.default_rng(1).standard_normal(len(days)), index=days)
    with pytest.raises(UnitsError, match="market must be in percent as told"):
        table(FRAME, market=market, units="percent")


@pytest.mark.parametrize("changes", [{"time": None}, {"time": ["day"]}, {"close": ["close"]}, {"characteristics": 3}])
def test_arguments_of_another_kind_are_refused_by_name(changes: dict) -> None:
    with pytest.raises(DataError, match=f"{next(iter(changes))} must"):
        table(FRAME, **changes)


FRAME = daily(seed=14, n_assets=3, n_days=60)
MONTHLY = FRAME["day"].sort_values().unique()[::20]


def spoilt(name: str, value: float) -> pd.DataFrame:
    frame = FRAME.dropna().reset_index(drop=True)
    frame.loc[7, name] = value
    return frame


@pytest.mark.parametrize(
    ("changes", "frame", "error", "match"),
    [
        ({"close_adjusted_for": "yes"}, FRAME, DataError, "close_adjusted_for must be told"),
        ({"close": None}, FRAME, DataError, "close_adjusted_for says how close is adjusted"),
        ({"market": None, "units": "decimal"}, FRAME, UnitsError, "none of them is given"),
        ({"returns": "adj"}, FRAME, UnitsError, "units must be told"),
        ({"returns": "volume", "units": "percent"}, FRAME, UnitsError, "returns must be decimal"),
        ({"frequency": "daily"}, FRAME, DataError, "frequency must be"),
        ({"longest_gap": 0}, FRAME, DataError, "longest_gap must be"),
        ({"market": "capm"}, FRAME, DataError, "market must be a Series"),
        ({"characteristics": ["mom_12"]}, FRAME, DataError, "Near: mom_12_7"),
        ({"characteristics": ["hl_1m"], "high": None}, FRAME, DataError, "'hl_1m' needs daily_range"),
        ({"characteristics": ["rev_1m", "rev_1m"]}, FRAME, DataError, "once each"),
        ({"close": "price"}, FRAME, DataError, "close='price' must be a column"),
        ({}, spoilt("close", -5.0), DataError, r"close must be positive: found otherwise at \("),
        ({}, spoilt("close", np.inf), DataError, r"'close' must be finite: infinite at \("),
        ({}, spoilt("shares", 1e-310), DataError, r"turnover must be finite: too large at \("),
        ({}, spoilt("volume", -99.0), DataError, "volume must not be negative"),
        ({}, spoilt("shares", 0.0), DataError, "shares must be positive"),
        ({}, pd.concat([FRAME, FRAME.iloc[[4]]]), DuplicateKeyError, r"\(1 in all\)"),
        ({}, FRAME[FRAME["day"].isin(MONTHLY)], DataError, "rows must be daily"),
        ({}, FRAME.iloc[:0], DataError, "the frame has none"),
        (
            {},
            FRAME.assign(id=["A", *"A" * 49, " ", *"A" * (len(FRAME) - 51)]),
            DataError,
            r"blank in row 50 \(1 in all",
        ),
        ({}, FRAME.assign(id=FRAME["id"].where(FRAME.index != 9)), DataError, r"missing in row 9 \(1 in all"),
        ({}, FRAME.assign(day=["03/04/2016", *["2016-04-03"] * (len(FRAME) - 1)]), DataError, r"cannot read \(row 0"),
        ({}, FRAME[FRAME["day"] < "2010-01-20"], DataError, "some period must be complete"),
        ({"volume": None, "shares": None, "market": "value_weighted"}, FRAME, DataError, "needs market equity"),
    ],
)
def test_refusals(changes: dict, frame: pd.DataFrame, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        table(frame, **changes)


def test_codes_in_returns_and_wrong_units() -> None:
    frame = FRAME.dropna().sort_values(["id", "day"])
    frame["ret"] = frame.groupby("id")["adj"].pct_change()
    told = {"returns": "ret", "adjusted_close": None}
    code = frame.assign(ret=frame["ret"].where(frame.index != frame.index[9], -66.0))
    with pytest.raises(DataError, match=r"at least -100%: found otherwise at \("):
        table(code, **told, units="decimal")
    with pytest.raises(UnitsError, match="must be in percent as told"):
        table(frame, **told, units="percent")
    with pytest.raises((UnitsError, DataError), match="percent"):
        table(frame.assign(ret=100 * frame["ret"]), **told, units="decimal")
    crossed = frame.assign(high=frame["low"], low=frame["high"])
    with pytest.warns(DataWarning, match="high below low, taken as missing"):
        assert table(crossed)["hl_1m"].isna().all()
