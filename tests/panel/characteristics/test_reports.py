"""`from_reports`: equal to slow loops; late filings, restatements, stale and missing reports; refusals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_reports import ITEMS, Firm, filings, slow, wanted

from bayesfactor.errors import AlignmentError, DataError, DataWarning, DuplicateKeyError, LookAheadError, UnitsError
from bayesfactor.panel.characteristics import DEFINITIONS, from_reports
from bayesfactor.panel.characteristics.definitions import ReportDefinition
from bayesfactor.panel.characteristics.known import Known
from bayesfactor.panel.characteristics.of_reports import REPORT_DEFINITIONS

NAMES = [one.name for one in REPORT_DEFINITIONS]
COLUMNS = {"time": "end", "asset": "gvkey", "available": "filed", "reports": "quarterly"}


def table(frame: pd.DataFrame, prices: pd.DataFrame, **changes: object) -> pd.DataFrame:
    told = COLUMNS | {"items": {item: item for item in ITEMS}} | changes
    return from_reports(frame, prices, **told).set_index(["date", "asset"])


@pytest.mark.parametrize(
    ("reports", "step", "expires", "ytd"),
    [
        ("quarterly", 3, None, ()),
        ("quarterly", 3, 6, ("operating_cash_flow", "capex")),
        ("annual", 12, None, ()),
    ],
)
def test_every_characteristic_equals_a_slow_loop(reports: str, step: int, expires: int | None, ytd: tuple) -> None:
    frame, prices = filings(seed=2, step=step, n_quarters=22 if step == 3 else 7), wanted(seed=2)
    cumulative = {"year_to_date": ytd, "fiscal_quarter": "fq"} if ytd else {}
    found = table(frame, prices, reports=reports, expires=expires, **cumulative)
    names = list(found.columns)
    assert names == [name for name in NAMES if step == 3 or not DEFINITIONS[name].quarterly]
    limit = expires or {3: 12, 12: 18}[step]
    assert len(found) == len(prices)
    expected = []
    for date, asset in found.index:
        firm = Firm(frame[frame["gvkey"] == asset], date, step, limit, ytd)
        me = prices.loc[(prices["date"] == date) & (prices["asset"] == asset), "market_equity"].item()
        values = slow(firm, me)
        expected.append([values[name] for name in names])
    np.testing.assert_allclose(found.to_numpy(), expected, rtol=1e-9, atol=1e-12)
    assert (found.notna().sum() > 20).all()
    assert found.isna().any().all()


@pytest.mark.parametrize("n_reports", range(1, 9))
@pytest.mark.parametrize(("reports", "step"), [("quarterly", 3), ("annual", 12)])
def test_short_histories_have_what_their_reports_give(n_reports: int, reports: str, step: int) -> None:
    """Also on dates before the first filing: what would need older reports is missing."""
    frame = filings(seed=6, n_assets=2, n_quarters=n_reports, step=step)
    prices = wanted(seed=6, n_assets=2)
    found = table(frame, prices, reports=reports)
    limit = {3: 12, 12: 18}[step]
    for (date, asset), row in found.iterrows():
        firm = Firm(frame[frame["gvkey"] == asset], date, step, limit)
        me = prices.loc[(prices["date"] == date) & (prices["asset"] == asset), "market_equity"].item()
        expected = slow(firm, me)
        np.testing.assert_allclose(row.to_numpy(), [expected[name] for name in found], rtol=1e-9, atol=1e-12)


def one_firm(*reports: tuple[str, str, float]) -> pd.DataFrame:
    rows = [{"gvkey": "G", "end": end, "filed": filed, "assets": value} for end, filed, value in reports]
    return pd.DataFrame(rows).assign(end=lambda f: pd.to_datetime(f["end"]), filed=lambda f: pd.to_datetime(f["filed"]))


def assets_at(frame: pd.DataFrame, *dates: str, names: str = "log_assets", **changes: object) -> list[float]:
    prices = pd.DataFrame({"date": pd.to_datetime(dates), "asset": "G"})
    found = table(frame, prices, items={"assets": "assets"}, characteristics=[names], **changes)[names]
    return [round(float(value), 9) for value in (np.exp(found) if names == "log_assets" else found)]


def test_a_report_is_used_from_the_day_after_its_filing() -> None:
    frame = one_firm(("2015-03-31", "2015-05-10", 1.0), ("2015-06-30", "2015-09-30", 2.0))
    found = assets_at(frame, "2015-05-10", "2015-05-11", "2015-09-29", "2015-09-30", "2015-10-01")
    np.testing.assert_array_equal(found, [np.nan, 1, 1, 1, 2])


def test_a_restatement_counts_from_its_own_filing_and_never_displaces_a_newer_period() -> None:
    frame = one_firm(
        ("2014-06-30", "2014-08-01", 10.0),
        ("2014-06-30", "2015-09-01", 40.0),  # the year before, restated after the next year's report
        ("2015-06-30", "2015-08-01", 20.0),
        ("2015-06-30", "2015-10-01", 30.0),
    )
    dates = ("2015-08-31", "2015-09-30", "2015-10-31")
    assert assets_at(frame, *dates, reports="annual") == [20, 20, 30]
    assert assets_at(frame, *dates, names="agr", reports="annual") == [1.0, -0.5, -0.25]


def test_a_late_report_of_an_older_period_does_not_displace_a_newer_one() -> None:
    frame = one_firm(("2015-06-30", "2015-08-01", 2.0), ("2015-03-31", "2015-08-15", 1.0))
    assert assets_at(frame, "2015-08-31") == [2]


def test_reports_expire() -> None:
    frame = one_firm(("2015-03-31", "2015-05-10", 1.0))
    dates = ("2016-02-29", "2016-03-31", "2016-04-30")
    np.testing.assert_array_equal(assets_at(frame, *dates), [1, 1, np.nan])
    np.testing.assert_array_equal(assets_at(frame, *dates, expires=11), [1, np.nan, np.nan])
    np.testing.assert_array_equal(assets_at(frame, "2016-09-30", "2016-10-31", reports="annual"), [1, np.nan])


def test_a_missing_quarter_is_not_bridged() -> None:
    ends = pd.date_range("2014-03-31", "2015-03-31", freq="QE")
    frame = pd.DataFrame({"gvkey": "G", "end": ends, "filed": ends + pd.Timedelta(days=40), "sales": 1.0})
    frame["assets"] = 1.0
    prices = pd.DataFrame({"date": pd.to_datetime(["2015-05-31"]), "asset": "G"})
    told = {"items": {"sales": "sales", "assets": "assets"}, "characteristics": ["ato"]}
    assert table(frame, prices, **told)["ato"].tolist() == [4.0]
    assert table(frame[frame["end"] != "2014-09-30"], prices, **told)["ato"].isna().all()
    assert table(frame[frame["end"] != "2014-03-31"], prices, **told)["ato"].tolist() == [4.0]


@settings(max_examples=10, deadline=None, derandomize=True)
@given(cut=st.dates(pd.Timestamp("2011-06-01").date(), pd.Timestamp("2015-12-31").date()), seed=st.integers(0, 10**6))
def test_filings_after_a_date_change_nothing_up_to_it(cut: object, seed: int) -> None:
    rng = np.random.default_rng(seed)
    frame, prices = filings(seed=3, n_assets=4), wanted(seed=3, n_assets=4)
    prices = prices[prices["date"].dt.month % 4 == 1]
    day = pd.Timestamp(str(cut))
    later = (frame["filed"] >= day).to_numpy()
    other = frame.copy()
    other.loc[later, ITEMS] *= rng.uniform(-3, 3, (later.sum(), len(ITEMS)))
    other.loc[later, "filed"] = np.maximum(day, frame.loc[later, "end"]) + pd.to_timedelta(
        rng.permutation(later.sum()) % 500, unit="D"
    )
    other = other[~later | (rng.random(len(frame)) < 0.8)]
    new = other.iloc[:1].assign(gvkey="G3", end=day + pd.offsets.MonthEnd(40), filed=day + pd.offsets.MonthEnd(41))
    other = pd.concat([other, new]).sample(frac=1, random_state=seed).drop_duplicates(["gvkey", "end", "filed"])
    later_prices = prices.assign(market_equity=prices["market_equity"].where(prices["date"] <= day, 5e8))
    one, two = table(frame, prices), table(other, later_prices)
    until = one.index.get_level_values("date") <= day
    pd.testing.assert_frame_equal(one[until], two[until], check_exact=True)
    assert not one[~until].equals(two[~until])


def test_order_and_index_levels_change_nothing() -> None:
    frame, prices = filings(seed=4), wanted(seed=4)
    one = table(frame, prices)
    shuffled = frame.sample(frac=1, random_state=9).set_index(["filed", "gvkey", "end"])
    two = table(shuffled, prices.sort_values("market_equity").set_index(["asset", "date"]))
    pd.testing.assert_frame_equal(one, two, check_exact=True)


@pytest.mark.parametrize("one", REPORT_DEFINITIONS, ids=NAMES)
def test_stated_inputs_and_fewest_reports_are_those_it_reads(one: ReportDefinition) -> None:
    """A history of exactly `least` reports can give a value, one fewer cannot; no other item is read."""
    months = 6 * 12
    count = months // 3 + 1
    rng = np.random.default_rng(1)
    values = {item: rng.uniform(1, 2, count) for item in one.inputs if item != "market_equity"}
    if one.name == "nincr":
        values["net_income"] = np.arange(1.0, count + 1)

    def value(rows: np.ndarray) -> float:
        table = np.full((1, months + 1), -1)
        table[0, 3 * rows] = rows
        known = Known(values, table, np.zeros(1, int), np.array([months]), 3, np.array([3.0]))
        return float(one.compute(known)[0])

    newest_first = np.arange(count)[::-1]
    needed = {"nincr": [0, 4], "sue": None, "rsup": None}.get(one.name) or reads(one, months)
    if one.name in ("sue", "rsup"):
        needed = [0, *range(1, 11)]  # six changes before the newest one: quarters 1 to 6 and 5 to 10
    assert len(needed) == one.least
    assert np.isfinite(value(newest_first[needed]))
    for absent in range(len(needed)):
        kept = [back for position, back in enumerate(needed) if position != absent]
        assert np.isnan(value(newest_first[kept]))


def reads(one: ReportDefinition, months: int) -> list[int]:
    """Which quarters back from the newest the definition looks at."""
    seen: set[int] = set()

    class Watching(Known):
        def at(self, item: str, months: int = 0) -> np.ndarray:
            assert item in one.inputs
            seen.add(months // 3)
            return np.ones(1)

    one.compute(Watching({}, np.zeros((1, 1), int), np.zeros(1, int), np.array([months]), 3, np.ones(1)))
    return sorted(seen)


FRAME, PRICES = filings(seed=5), wanted(seed=5)


def changed(**columns: object) -> pd.DataFrame:
    frame = FRAME.copy()
    for name, value in columns.items():
        frame.loc[3, name] = value
    return frame


@pytest.mark.parametrize(
    ("frame", "changes", "error", "match"),
    [
        (FRAME, {"reports": "monthly"}, DataError, "reports must be told"),
        (FRAME, {"items": {}}, DataError, "items must say"),
        (FRAME, {"items": {"asset": "assets"}}, DataError, "Near: assets"),
        (FRAME, {"items": {"assets": "at"}}, DataError, "assets='at' must be a column"),
        (FRAME, {"expires": 0}, DataError, "expires must be"),
        (filings(step=12), {"characteristics": ["sue"], "reports": "annual"}, DataError, "found 'sue'"),
        (FRAME, {"year_to_date": ["capex"]}, DataError, "fiscal_quarter"),
        (FRAME, {"year_to_date": ["capx"], "fiscal_quarter": "fq"}, DataError, "names of items"),
        (changed(fq=5), {"year_to_date": ["capex"], "fiscal_quarter": "fq"}, DataError, r"1, 2, 3 or 4: found .*G"),
        (changed(filed=pd.Timestamp("2009-01-01")), {}, LookAheadError, r"filed 2009-01-01\) \(1 in all\)"),
        (changed(filed=pd.NaT), {}, LookAheadError, r"undated in row 3 \(1 in all\)"),
        (changed(assets=np.inf), {}, DataError, "'assets' must be finite"),
        (pd.concat([FRAME, FRAME.iloc[[2]]]), {}, DuplicateKeyError, r"filed 20.*\(1 in all\)"),
        (FRAME.assign(gvkey=FRAME["gvkey"].str[1:]), {}, AlignmentError, "no asset is in both"),
    ],
)
def test_refusals(frame: pd.DataFrame, changes: dict, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        table(frame, PRICES, **changes)


def test_the_spacing_of_reports_must_be_that_which_is_told() -> None:
    with pytest.raises(DataError, match=r"annual as told: the fiscal periods of one asset are 3 months apart"):
        table(FRAME, PRICES, reports="annual")
    for step in (6, 12):
        with pytest.raises(DataError, match=rf"quarterly as told: the fiscal periods of one asset are {step} months"):
            table(filings(step=step), PRICES)


@pytest.mark.parametrize("item", ["assets", "liabilities", "sales", "net_income", "book_equity"])
def test_every_item_shows_its_currency(item: str) -> None:
    frame = FRAME.assign(**{item: FRAME[item] / 1e4})
    with pytest.raises(UnitsError, match=f"the median of {item} over market equity is"):
        table(frame, PRICES)
    few = PRICES[PRICES["asset"] == "G0"].tail(5)
    frame = FRAME[FRAME["gvkey"] == "G0"].assign(**{item: FRAME[item] / 1e8})
    with pytest.raises(UnitsError, match=f"the median of {item} over market equity is"):
        table(frame, few, items={item: item})


def test_firms_in_units_of_their_own_are_named() -> None:
    own = FRAME["assets"].where(~FRAME["gvkey"].isin(["G1", "G4"]), FRAME["assets"] / 1e3)
    with pytest.warns(DataWarning, match=r"assets over market equity .* for G1, G4 \(2 in all\)"):
        table(FRAME.assign(assets=own), PRICES)


def test_identifiers_that_match_less_than_half_are_named() -> None:
    with pytest.warns(DataWarning, match=r"\(4 in all\), of 6\. Fewer than half match"):
        table(FRAME, PRICES[PRICES["asset"].isin(["G1", "G2"])])


@pytest.mark.parametrize(
    "changes",
    [
        {"time": None}, {"available": None}, {"time": ["end"]}, {"items": {"assets": ["assets"]}},
        {"characteristics": 5}, {"characteristics": [["agr"]]}, {"year_to_date": 5},
    ],
)  # fmt: skip
def test_arguments_of_another_kind_are_refused_by_name(changes: dict) -> None:
    with pytest.raises(DataError, match=f"{'assets' if 'items' in changes else next(iter(changes))} must"):
        table(FRAME, PRICES, **changes)


def test_currency_units_and_unmatched_assets() -> None:
    with pytest.raises(UnitsError, match="in the same currency units"):
        table(FRAME, PRICES.assign(market_equity=PRICES["market_equity"] / 1e6))
    with pytest.warns(DataWarning, match=r"without prices are left out: G5 \(1 in all\)"):
        table(FRAME, PRICES[PRICES["asset"] != "G5"])
    with pytest.raises(DuplicateKeyError, match=r"each \(date, asset\) must have one row"):
        table(FRAME, pd.concat([PRICES, PRICES.iloc[[0]]]))
    with pytest.raises(DataError, match="market_equity must be positive"):
        table(FRAME, PRICES.assign(market_equity=-1.0))
    assert "bm" not in table(FRAME, PRICES.drop(columns="market_equity"))


@pytest.mark.parametrize("days", [0, 4])
def test_the_end_of_the_fiscal_period_is_no_filing_date(days: int) -> None:
    ends = pd.date_range("2012-03-31", periods=8, freq="QE")
    frame = pd.DataFrame({"gvkey": "G", "end": ends, "filed": ends + pd.Timedelta(days=days), "sales": 1.0})
    prices = pd.DataFrame({"date": [pd.Timestamp("2014-06-30")], "asset": ["G"], "market_equity": [2.0]})
    told = {"time": "end", "asset": "gvkey", "available": "filed", "items": {"sales": "sales"}, "reports": "quarterly"}
    with pytest.raises(LookAheadError, match=rf"the median here is {days} days, as at \(2012-03-31, G"):
        from_reports(frame, prices, **told)
    later = frame.assign(filed=frame["end"] + pd.Timedelta(days=5))
    assert from_reports(later, prices, **told)["sp"].tolist() == [2.0]
