"""Sorts of the real panels: speed, and the published factors of Kenneth French's library."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayesfactor.errors import DataError
from bayesfactor.panel import Panel, read_frame
from bayesfactor.panel.sorts import factors, sort_portfolios

RETURNS = ("ret_next", "xret_next", "rf_next")


def read(frame: pd.DataFrame, size: str | None = None) -> Panel:
    others = {"date", "asset", *RETURNS}
    return read_frame(
        frame,
        time="date",
        asset="asset",
        returns="xret_next",
        returns_over="next",
        lag=0,
        units="decimal",
        excess=True,
        characteristics=[name for name in frame if name not in others],
        size=size,
    )


@pytest.fixture(scope="module")
def pystock(shared_data: Path) -> Panel:
    return read(pd.read_parquet(shared_data / "panels/us_stocks_pit_chars_2015_2017_pystock.parquet"), "log_me")


@pytest.fixture(scope="module")
def top1500(shared_data: Path) -> Panel:
    return read(pd.read_parquet(shared_data / "panels/us_stocks_price_chars_2006_2017_top1500.parquet"))


@pytest.fixture(scope="module")
def published(shared_data: Path) -> pd.DataFrame:
    """The monthly five factors, decimal: the first table of the file, 747 months."""
    path = shared_data / "french_raw/F-F_Research_Data_5_Factors_2x3__crsp202510.csv"
    lines = path.read_text().splitlines()
    header = next(k for k, line in enumerate(lines) if line.startswith(",Mkt-RF"))
    table = pd.read_csv(path, skiprows=header, index_col=0, nrows=747).astype(float) / 100
    table.index = pd.to_datetime(table.index.astype(str), format="%Y%m") + pd.offsets.MonthEnd(0)
    assert str(table.index[-1].date()) == "2025-09-30"
    return table.rename(columns={"Mkt-RF": "MKT"})


def correlations(returns: pd.DataFrame, published: pd.DataFrame) -> dict[str, float]:
    both = returns.index.intersection(published.index)
    return {name: returns.loc[both, name].corr(published.loc[both, name]) for name in returns if name in published}


def test_sorts_and_factors_take_about_a_second(pystock: Panel, top1500: Panel) -> None:
    start = time.perf_counter()
    wide = sort_portfolios(pystock, ("size", "bm"), (5, 5), weights="value", size_in="log", conditional=True)
    long = sort_portfolios(top1500, ("vol_1m", "mom_12_2"), (5, 5), conditional=True)
    six = factors(pystock, value="bm", profitability="roe", investment="inva", momentum="rev_1m", size_in="log")
    took = time.perf_counter() - start
    assert took < 10  # 0.4 s on an idle core
    assert wide.sizes["portfolio"] == long.sizes["portfolio"] == 25
    assert six.sizes["portfolio"] == 24
    assert np.isfinite(wide.returns).all()
    assert np.isfinite(long.returns).all()


def test_factors_of_pystock_are_like_the_published_ones(pystock: Panel, published: pd.DataFrame) -> None:
    """Correlations over 22 months, 0.999, 0.96 and 0.97 when written; roe is not French's profitability."""
    result = factors(pystock, value="bm", profitability="roe", size_in="log")
    found = correlations(result.returns.to_pandas(), published)
    assert found["MKT"] > 0.995
    assert found["SMB"] > 0.93
    assert found["HML"] > 0.94
    assert found["RMW"] > 0.6
    large = factors(pystock, value="bm", size_in="log", breakpoints_on=1000)  # nearer to NYSE breakpoints
    assert correlations(large.returns.to_pandas(), published)["HML"] > 0.97


def test_the_market_of_25_portfolios_is_the_published_market(shared_data: Path, published: pd.DataFrame) -> None:
    """25 portfolios by size and book-to-market hold nearly all stocks: 747 months, 0.9989 when written."""
    frame = pd.read_parquet(shared_data / "panels/french_portfolios_panel_1963_2025.parquet")
    frame = frame[frame["asset"].str.startswith("SZBM|")][["date", "asset", *RETURNS, "log_me", "log_n", "bm"]]
    panel = read(frame.assign(total=frame["log_me"] + frame["log_n"]), "total")  # of the portfolio, not of its average
    result = factors(panel, value="bm", size="log_me", size_in="log")
    found = correlations(result.returns.to_pandas(), published)
    assert found["MKT"] > 0.998
    assert found["SMB"] > 0.94
    assert found["HML"] > 0.95
    gap = (result.returns.sel(benchmark="MKT").to_pandas() - published["MKT"]).dropna()
    assert len(gap) == 746
    assert abs(gap.mean()) < 0.0003


def test_the_equal_weighted_market_and_momentum_of_the_survivors(top1500: Panel, published: pd.DataFrame) -> None:
    result = sort_portfolios(top1500, "mom_12_2", 5)
    assert (result.n_assets == 300).all()
    market = result.returns.mean("portfolio").to_pandas().to_frame("MKT")
    assert correlations(market, published)["MKT"] == pytest.approx(0.964, abs=0.002)  # shared/data/README.md
    assert market["MKT"].mean() == pytest.approx(0.00702, abs=1e-5)


def test_ties_and_absent_characteristics_are_refused_by_name(pystock: Panel) -> None:
    with pytest.raises(DataError, match=r"100% of the periods, at \(2015-06, zero_1m:2\).*many ties"):
        sort_portfolios(pystock, "zero_1m", 5)
    with pytest.raises(DataError, match=r"41% of the periods, at \(2015-06, agr:1\).*missing in whole periods"):
        sort_portfolios(pystock, "agr", 5)


@pytest.mark.filterwarnings("ignore::bayesfactor.errors.DataWarning")
@pytest.mark.parametrize("name", ["bm", "zero_1m", "rep_age_m", "divy", "agr"])
def test_raw_and_ranked_pystock_sort_alike(pystock: Panel, name: str) -> None:
    one = pystock.sel(characteristic=name)
    raw, ranked = (
        sort_portfolios(panel, name, 5, max_thin=1, breakpoints_on=1000, holdings=True)
        for panel in (one, one.rank_normalise())
    )
    np.testing.assert_array_equal(raw.member, ranked.member)
    np.testing.assert_array_equal(raw.returns, ranked.returns)
