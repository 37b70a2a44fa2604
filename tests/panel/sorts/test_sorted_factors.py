"""Market, SMB, HML, RMW, CMA and UMD: their formulas, their legs, and their time."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from slow_sorts import MEDIAN, THIRDS, economy, slow

from bayesfactor.errors import AlignmentError, DataError, DataWarning, UnitsError
from bayesfactor.panel import Panel, datasets
from bayesfactor.panel.sorts import factors, sort_portfolios

ROLES = {"value": "x", "profitability": "z", "investment": "tied", "momentum": "late"}
LEGS = {"returns": "legs", "n_assets": "n_assets", "share_moved": "share_moved", "turnover": "turnover"}
pytestmark = pytest.mark.filterwarnings("ignore::bayesfactor.errors.DataWarning")


def economy_of_four(seed: int = 1, n_months: int = 18) -> Panel:
    """The panel of the sorts with a fourth characteristic."""
    data = economy(seed, n_months=n_months).data.drop_vars(["missing", "kind"])
    late = data.characteristics.sel(characteristic=["z"]).shift(time=1).assign_coords(characteristic=["late"])
    cube = xr.concat([data.characteristics, late], "characteristic", join="exact")
    return Panel(data.drop_vars(["characteristics", "characteristic"]).assign(characteristics=cube), "monthly")


@pytest.mark.parametrize("rebalance", ["period", "june"])
def test_factors_equal_their_formulas_on_slow_legs(rebalance: str) -> None:
    panel = economy_of_four(seed=21)
    result = factors(panel, **ROLES, size_in="level", rebalance=rebalance, max_thin=1)
    assert result.benchmark.values.tolist() == ["MKT", "SMB", "HML", "RMW", "CMA", "UMD"]
    assert result.sizes["portfolio"] == 24
    assert result.time.values[0] == np.datetime64("2001-03-31" if rebalance == "period" else "2001-07-31")
    n = result.sizes["time"]
    legs = {}
    for role, name in ROLES.items():
        june = rebalance == "june" and role != "momentum"
        expected = slow(panel, ["size", name], [MEDIAN, THIRDS], value=True, june=june)
        labels = [f"size:{i} {name}:{j}" for i, j in itertools.product((1, 2), (1, 2, 3))]
        for mine, theirs in LEGS.items():
            found = result[theirs].sel(portfolio=labels).values
            np.testing.assert_allclose(found, expected[mine][-n:], rtol=1e-10, atol=1e-14)
        legs[role] = dict(zip(itertools.product("SB", (1, 2, 3)), expected["returns"][-n:].T, strict=True))

    def high_less_low(one: dict) -> np.ndarray:
        return (one["S", 3] + one["B", 3]) / 2 - (one["S", 1] + one["B", 1]) / 2

    def small_less_big(one: dict) -> np.ndarray:
        return sum(one["S", j] for j in (1, 2, 3)) / 3 - sum(one["B", j] for j in (1, 2, 3)) / 3

    smb = sum(small_less_big(legs[role]) for role in ("value", "profitability", "investment")) / 3
    table = {
        "SMB": smb,
        "HML": high_less_low(legs["value"]),
        "RMW": high_less_low(legs["profitability"]),
        "CMA": -high_less_low(legs["investment"]),
        "UMD": high_less_low(legs["momentum"]),
    }
    for factor, values in table.items():
        np.testing.assert_allclose(result.returns.sel(benchmark=factor), values, rtol=1e-9, atol=1e-14)

    data = panel.data.isel(time=slice(-n, None))
    weight = data["size"].where(data.in_universe).fillna(0).values
    seen = weight * data.observed.values
    with np.errstate(invalid="ignore"):
        market = (seen * data.returns.fillna(0).values).sum(axis=1) / seen.sum(axis=1)
    np.testing.assert_allclose(result.returns.sel(benchmark="MKT"), market, rtol=1e-12)
    np.testing.assert_array_equal(result.market_n_assets, (weight > 0).sum(axis=1))
    moved = (1 - seen.sum(axis=1) / weight.sum(axis=1))[:-1]
    np.testing.assert_allclose(result.market_share_moved, [*moved, np.nan], atol=1e-14)


def test_value_alone_gives_three_factors() -> None:
    panel = economy(seed=22)
    result = factors(panel, value="x", size_in="level")
    assert result.benchmark.values.tolist() == ["MKT", "SMB", "HML"]
    sort = sort_portfolios(panel, ("size", "x"), (2, (0.3, 0.7)), weights="value", size_in="level")
    np.testing.assert_array_equal(result.returns.sel(benchmark="SMB"), -sort.long_short.sel(characteristic="size"))
    np.testing.assert_array_equal(result.legs, sort.returns)
    np.testing.assert_array_equal(result.n_unplaced[:, 0], sort.n_unplaced)
    momentum = factors(panel, value="x", momentum="z", size_in="level")  # takes no part in SMB
    xr.testing.assert_identical(momentum.returns.sel(benchmark=["MKT", "SMB", "HML"]), result.returns)


def test_raw_and_ranked_panels_give_the_same_factors() -> None:
    panel = economy_of_four(seed=23)
    told = {**ROLES, "size_in": "level", "breakpoints_on": "NYSE", "max_thin": 1}
    xr.testing.assert_identical(factors(panel, **told), factors(panel.rank_normalise(), **told))


def test_tables_fit_other_packages_and_carry_units() -> None:
    result = factors(economy(seed=24), value="x", size_in="level")
    for name, columns in (("returns", ["MKT", "SMB", "HML"]), ("legs", list(result.portfolio.values))):
        table = result[name].to_pandas()
        assert isinstance(table.index, pd.DatetimeIndex)
        assert table.columns.tolist() == columns
        assert np.isnan(table.iloc[-1]).all()  # the live month
        assert np.isfinite(table.iloc[:-1]).all(axis=None)
        assert result[name].attrs == {"units": "decimal per period, excess"}
    assert result.attrs["weights"] == "value"
    assert result.attrs["sorted_by"] == "size, x"


def test_another_measure_of_size_can_be_sorted_on() -> None:
    panel = economy(seed=25)
    result = factors(panel, value="x", size="z", size_in="level")
    expected = slow(panel, ["z", "x"], [MEDIAN, THIRDS], value=True)
    np.testing.assert_allclose(result.legs, expected["returns"], rtol=1e-10, atol=1e-14)


def test_what_factors_refuse() -> None:
    panel = economy()
    with pytest.raises(UnitsError, match="size_in"):
        factors(panel, value="x")
    with pytest.raises(
        DataError, match=r"a characteristic of its own, other than 'size': found .*'HML': 'x', 'UMD': 'x'"
    ):
        factors(panel, value="x", momentum="x", size_in="level")
    with pytest.raises(DataError, match="of its own, other than 'x'"):
        factors(panel, value="x", size="x", size_in="level")
    with pytest.raises(AlignmentError, match="found 'bm'"):
        factors(panel, value="bm", size_in="level")
    with pytest.raises(DataError, match="must know `size`"):
        factors(Panel(panel.data.drop_vars("size"), "monthly"), value="x", size_in="level")


@pytest.mark.filterwarnings("error")
def test_thin_legs_are_named_once() -> None:
    with pytest.warns(DataWarning, match=r"fewer than 9 assets") as found:
        factors(economy(seed=26), value="x", size_in="level", min_assets=9, max_thin=1)
    assert len(found) == 1
    assert "size:2 x:" in str(found[0].message) or "size:1 x:" in str(found[0].message)
    assert found[0].filename == __file__


@pytest.mark.parametrize("prepared", [False, True])
def test_the_embedded_stocks_have_factors(prepared: bool) -> None:
    result = factors(datasets.us_equities(prepared), value="bm", profitability="roe", momentum="rev_1m", size_in="log")
    assert np.isfinite(result.returns[:-1]).all()
    assert np.isnan(result.returns[-1]).all()
    assert (result.n_assets >= 30).all()
    with pytest.raises(UnitsError, match="Usually `size` is the logarithm"):
        factors(datasets.us_equities(prepared), value="bm", size_in="level")
