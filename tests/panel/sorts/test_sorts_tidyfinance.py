"""Where the rule is the same, portfolios are those of the package tidyfinance; and where it is not.

Same: `ties="upper"`, breakpoints set by every asset. Different there: a breakpoint of exactly 0 is moved up by 1e-20,
so zeros are below it; probabilities are floating-point numbers, so that an asset meant to be on a breakpoint can end
below it; breakpoints of a subset are interpolated; one missing return makes a portfolio's return missing.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr
from slow_sorts import economy

from bayesfactor.panel import Panel
from bayesfactor.panel.sorts import sort_portfolios

pytestmark = [
    pytest.mark.filterwarnings("ignore::bayesfactor.errors.DataWarning"),
    pytest.mark.filterwarnings("ignore:Returning a complete panel:UserWarning"),
    pytest.mark.filterwarnings("ignore:The number of portfolios differs:UserWarning"),
]
VALUE = {"weights": "value", "size_in": "level"}


@pytest.fixture(scope="module")
def tidy() -> object:
    reason = "needs tidyfinance to compare with: pip install tidyfinance"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("tidyfinance", reason=reason)


def complete(panel: Panel, shift: float = 0.5) -> Panel:
    """No returns, sizes or characteristics missing; `shift` keeps breakpoints away from 0."""
    data = panel.data
    cube = data.characteristics.fillna(1.0) + shift
    return Panel(
        data.assign(
            characteristics=cube,
            missing=cube.isnull(),
            returns=data.returns.fillna(0.01),
            observed=data.observed | True,
            size=data["size"].fillna(1.0),
        ),
        "monthly",
    )


def rows(panel: Panel) -> object:
    """The universe in their form."""
    polars = pytest.importorskip("polars", reason="needs polars, in which tidyfinance takes data: pip install polars")
    t, i = np.nonzero(panel.data.in_universe.values)
    columns = {
        "permno": i,
        "date": panel.times.to_numpy()[t].astype("datetime64[D]"),
        "ret_excess": panel.data.returns.values[t, i],
        "mktcap_lag": panel.data["size"].values[t, i],
        "exchange": panel.data.group.values[t, i].astype(object),
    }
    cube = panel.data.characteristics.values
    return polars.DataFrame(columns | {name: cube[t, i, k] for k, name in enumerate(panel.characteristics)})


def theirs(
    tidy: object, panel: Panel, by: object, method: str, column: str, *options: dict, **more: object
) -> np.ndarray:
    names = ("breakpoint_options_main", "breakpoint_options_secondary")[: len(options)]
    made = {name: tidy.breakpoint_options(**one) for name, one in zip(names, options, strict=True)}
    table = tidy.compute_portfolio_returns(rows(panel), by, method, **made, **more)
    frame = table.to_pandas().pivot(index="date", columns="portfolio", values=column)
    return frame.to_numpy(dtype=float)


def members(tidy: object, panel: Panel, name: str, **options: object) -> np.ndarray:
    table, out = rows(panel), np.full(panel.data.in_universe.shape, -1)
    for t, date in enumerate(sorted(table["date"].unique())):
        part = table.filter(table["date"] == date)
        found = tidy.assign_portfolio(part, name, tidy.breakpoint_options(**options)).fill_null(0).to_numpy()
        out[t, part["permno"].to_numpy()] = found - 1
    return out


@pytest.mark.parametrize("name", ["x", "tied", "z"])
@pytest.mark.parametrize("n", [4, 5, 8])
def test_members(tidy: object, name: str, n: int) -> None:
    panel = complete(economy(seed=11))
    mine = sort_portfolios(panel, name, n, ties="upper", max_thin=1, holdings=True)
    differ = mine.member.values != members(tidy, panel, name, n_portfolios=n)
    if n == 5:  # 3/5 is not a floating-point number: an asset that is on a breakpoint can fall below theirs
        on = np.zeros(differ.shape, bool)
        for k in range(mine.sizes["breakpoint"]):
            on |= panel.data.characteristics.sel(characteristic=name).values == mine.breakpoints.values[:, [k]]
        assert not (differ & ~on).any()
        assert differ.sum() <= 3
    else:
        assert not differ.any()


@pytest.mark.parametrize(("column", "told"), [("ret_excess_ew", {}), ("ret_excess_vw", VALUE)])
def test_univariate_returns(tidy: object, column: str, told: dict) -> None:
    panel = complete(economy(seed=12))
    mine = sort_portfolios(panel, "x", 4, ties="upper", **told)
    expected = theirs(tidy, panel, "x", "univariate", column, {"n_portfolios": 4})
    np.testing.assert_allclose(mine.returns, expected, rtol=1e-11, atol=1e-15)
    table = tidy.compute_portfolio_returns(
        rows(panel), "x", "univariate", breakpoint_options_main=tidy.breakpoint_options(n_portfolios=4)
    )
    spread = tidy.compute_long_short_returns(table)[column].to_numpy()
    np.testing.assert_allclose(mine.long_short[:, 0], spread, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize(("column", "told"), [("ret_excess_ew", {}), ("ret_excess_vw", VALUE)])
@pytest.mark.parametrize("conditional", [False, True])
def test_two_by_three(tidy: object, column: str, told: dict, conditional: bool) -> None:
    """They sort by the second name first, and average over its portfolios."""
    panel = complete(economy(seed=13))
    mine = sort_portfolios(panel, ("z", "x"), (2, (0.25, 0.75)), ties="upper", conditional=conditional, **told)
    method = f"bivariate-{'dependent' if conditional else 'independent'}"
    options = {"percentiles": [0.25, 0.75]}, {"n_portfolios": 2}
    expected = theirs(tidy, panel, ["x", "z"], method, column, *options)
    averaged = mine.returns.values.reshape(-1, 2, 3).mean(axis=1)
    np.testing.assert_allclose(averaged, expected, rtol=1e-11, atol=1e-15)


def test_members_of_june(tidy: object) -> None:
    panel = complete(economy(seed=14, n_months=30))
    mine = sort_portfolios(panel, "x", 4, ties="upper", rebalance="june", **VALUE)
    expected = theirs(tidy, panel, "x", "univariate", "ret_excess_vw", {"n_portfolios": 4}, rebalancing_month=7)
    np.testing.assert_allclose(mine.returns, expected, rtol=1e-11, atol=1e-15)


def test_missing_returns(tidy: object) -> None:
    """Theirs are missing as soon as one member's is; where none is missing both agree."""
    panel = complete(economy(seed=15))
    returns = panel.data.returns.where(np.random.default_rng(1).random(panel.data.returns.shape) > 0.03)
    panel = Panel(panel.data.assign(returns=returns, observed=returns.notnull()), "monthly")
    mine = sort_portfolios(panel, "x", 4, ties="upper", **VALUE)
    expected = theirs(tidy, panel, "x", "univariate", "ret_excess_vw", {"n_portfolios": 4})
    whole = mine.share_moved.values == 0
    assert 0.3 < whole.mean() < 0.9
    np.testing.assert_allclose(mine.returns.values[whole], expected[whole], rtol=1e-11, atol=1e-15)
    assert np.isnan(expected[~whole]).all()
    assert np.isfinite(mine.returns).all()


def test_breakpoints_of_a_subset(tidy: object) -> None:
    """Only an asset between two neighbours of the subset can be on the other side of an interpolated breakpoint."""
    panel = complete(economy(seed=16))
    mine = sort_portfolios(panel, "x", 4, ties="upper", breakpoints_on="NYSE", holdings=True)
    differ = mine.member.values != members(tidy, panel, "x", n_portfolios=4, breakpoints_exchanges="NYSE")
    x, universe = panel.data.characteristics.values[..., 0], panel.data.in_universe.values
    nyse = universe & (panel.data.group.values == "NYSE")
    gaps = np.zeros(differ.shape, bool)
    for t in range(len(x)):
        ordered = np.sort(x[t, nyse[t]])
        for b in mine.breakpoints.values[t]:
            below = ordered[np.searchsorted(ordered, b) - 1]
            gaps[t] |= (below < x[t]) & (x[t] < b)
    assert 0 < differ.sum() < 0.05 * universe.sum()
    assert not (differ & ~gaps).any()


def test_a_breakpoint_of_zero(tidy: object) -> None:
    values = np.array([-1.0, -1, 0, 0, 0, 2, 3])
    dims = ("time", "asset")
    data = xr.Dataset(
        {
            "characteristics": ((*dims, "characteristic"), values[None, :, None]),
            "returns": (dims, np.full((1, 7), 0.01)),
            "in_universe": (dims, np.ones((1, 7), bool)),
            "size": (dims, np.ones((1, 7))),
            "group": (dims, np.full((1, 7), "NYSE")),
        },
        {"time": ["2016-01-31"], "asset": list("abcdefg"), "characteristic": ["x"]},
    )
    data["time"] = data.time.astype("datetime64[ns]")
    panel = Panel(data, "monthly")
    upper, lower = (
        sort_portfolios(panel, "x", 2, ties=ties, holdings=True).member.values for ties in ("upper", "lower")
    )
    assert upper.tolist() == [[0, 0, 1, 1, 1, 1, 1]]
    assert lower.tolist() == [[0, 0, 0, 0, 0, 1, 1]]
    assert members(tidy, panel, "x", n_portfolios=2).tolist() == lower.tolist()
