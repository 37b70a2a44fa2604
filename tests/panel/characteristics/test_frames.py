"""`combine` and `most_liquid`: by label, and known at the date."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from slow_prices import daily

from bayesfactor.errors import AlignmentError, DataError, DataWarning, DuplicateKeyError
from bayesfactor.panel import read_frame
from bayesfactor.panel.characteristics import combine, from_prices, from_reports, most_liquid
from bayesfactor.panel.sorts import sort_portfolios


def frame(seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    dates = pd.date_range("2015-01-31", periods=6, freq="ME")
    cells = [(date, f"A{i}") for date in dates for i in range(8) if rng.random() < 0.9]
    table = pd.DataFrame(cells, columns=["date", "asset"])
    table["ret"] = rng.standard_normal(len(table)) * 0.1
    table["dolvol_12m"] = np.where(rng.random(len(table)) < 0.1, np.nan, rng.integers(0, 4, len(table)))
    return table.assign(x=rng.standard_normal(len(table)))


def test_combine_joins_by_label_in_any_order() -> None:
    one = frame()
    other = one[["date", "asset"]].assign(y=np.arange(len(one), dtype=float)).sample(frac=0.7, random_state=1)
    found = combine(one.sample(frac=1, random_state=2), other.set_index(["asset", "date"]))
    expected = one.merge(other, on=["date", "asset"], how="left").sort_values(["date", "asset"], ignore_index=True)
    pd.testing.assert_frame_equal(found, expected.astype({"date": "datetime64[ns]"}))


def test_combine_counts_what_it_leaves_out_and_refuses_twins() -> None:
    one = frame()
    other = one[["date", "asset"]].assign(y=1.0)
    other.loc[0, "asset"] = "NEW"
    with pytest.warns(DataWarning, match=r"left out: \(2015-01-31, NEW\) \(1 in all\)"):
        assert len(combine(one, other)) == len(one)
    with pytest.raises(DataError, match="both have x"):
        combine(one, one[["date", "asset", "x"]])
    with pytest.raises(DuplicateKeyError):
        combine(one, pd.concat([other, other]))


@pytest.mark.parametrize("n", [1, 3, 20])
def test_most_liquid_equals_a_slow_loop_with_ties(n: int) -> None:
    one = frame(seed=3)
    found = most_liquid(one.sample(frac=1, random_state=4), n).set_index(["date", "asset"])
    assert len(found) == len(one)
    for date, rows in one.groupby("date"):
        known = [(-row.dolvol_12m, row.asset) for row in rows.itertuples() if row.dolvol_12m == row.dolvol_12m]
        best = {name for _, name in sorted(known)[:n]}
        for row in rows.itertuples():
            got = found.loc[(date, row.asset)]
            assert got["ret"] == row.ret
            assert (got["x"] == row.x) if row.asset in best else got[["x", "dolvol_12m"]].isna().all()


def test_refusals() -> None:
    with pytest.raises(DataError, match="n must be"):
        most_liquid(frame(), 0)
    for column in ("a", True):
        with pytest.raises(DataError, match="by must be a column of numbers"):
            most_liquid(frame().assign(sector=column), 3, by="sector")
    with pytest.raises(DataError, match="by must be a characteristic"):
        most_liquid(frame(), 3, by=["x"])
    with pytest.raises(AlignmentError, match=r"none match; prices have \(2015-01-31, A0\)"):
        combine(frame(), frame()[["date", "asset"]].assign(date=pd.Timestamp("2015-01-30")).drop_duplicates())
    with pytest.raises(DataError, match="both have 1"):
        combine(frame().rename(columns={"x": 1}), frame()[["date", "asset", "x"]].rename(columns={"x": 1}))
    with pytest.raises(DataError, match="by must be a characteristic"):
        most_liquid(frame(), 3, by="liquidity")


def test_prices_and_reports_make_a_sort() -> None:
    """The whole chain against one month by hand: members by book-to-market, weights by market equity."""
    rng = np.random.default_rng(5)
    days, names = pd.bdate_range("2010-01-01", "2011-06-30"), [f"A{i:02d}" for i in range(30)]
    rows = pd.MultiIndex.from_product([days, names], names=["day", "id"]).to_frame(index=False)
    steps = 1 + 0.01 * rng.standard_normal((len(days), 30))
    rows["close"], rows["shares"] = 20 * np.cumprod(steps, axis=0).ravel(), 1e6
    ends = pd.date_range("2009-03-31", "2011-03-31", freq="QE")
    reports = pd.MultiIndex.from_product([ends, names], names=["end", "id"]).to_frame(index=False)
    reports = reports.assign(filed=reports["end"] + pd.Timedelta(days=45), be=1e7 * rng.lognormal(0, 0.5, len(reports)))
    prices = from_prices(
        rows, time="day", asset="id", close="close", close_adjusted_for="splits", shares="shares",
        characteristics=["rev_1m"],
    )  # fmt: skip
    known = from_reports(
        reports, prices, time="end", asset="id", available="filed", reports="quarterly", items={"book_equity": "be"}
    )
    whole = combine(prices, known)
    panel = read_frame(
        whole, time="date", asset="asset", returns="ret", returns_over="row", lag=1, units="decimal", excess=True,
        size="market_equity", characteristics=["bm"],
    )  # fmt: skip
    sort = sort_portfolios(panel, "bm", 3, weights="value", size_in="level")
    close = rows.pivot_table(index="day", columns="id", values="close")
    then, now = (close[:day].iloc[-1] for day in ("2011-02-28", "2011-03-31"))
    book = reports[reports["end"] == "2010-12-31"].set_index("id")["be"]  # filed on 14 February
    ratio, gain = (book / (1e6 * then)).sort_values(), now / then - 1
    by_hand = [
        np.average(gain[who], weights=then[who]) for who in (ratio.index[:10], ratio.index[10:20], ratio.index[20:])
    ]
    np.testing.assert_allclose(sort.returns.sel(time="2011-03-31"), by_hand, rtol=1e-9)


@pytest.mark.filterwarnings("ignore:returns over gaps:bayesfactor.errors.DataWarning")
def test_leavers_keep_the_return_of_the_period_after_they_were_liquid() -> None:
    rows = daily(seed=1, n_assets=6)
    out = from_prices(
        rows, time="day", asset="id", close="close", close_adjusted_for="nothing", adjusted_close="adj",
        volume="volume", characteristics=["rev_1m", "dolvol_1m"], complete_through="2011-07",
    )  # fmt: skip
    top = most_liquid(out, 2, by="dolvol_1m")
    panel = read_frame(
        top, time="date", asset="asset", returns="ret", returns_over="row", lag=1, units="decimal", excess=True,
        frequency="monthly",
    )  # fmt: skip
    assert (panel.data.in_universe.sum("asset") <= 2).all()
    returns = out.set_index(["date", "asset"])["ret"]
    left = 0
    for t, i in np.argwhere(panel.data.in_universe.values):
        key = (panel.times[t], str(panel.data.asset.values[i]))
        now = top.set_index(["date", "asset"])["rev_1m"].get(key, np.nan)
        if key in returns.index and np.isfinite(returns[key]):
            assert panel.data.returns.values[t, i] == returns[key]
            left += bool(np.isnan(now))
    assert left > 3
