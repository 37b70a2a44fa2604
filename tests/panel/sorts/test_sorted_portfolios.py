"""Portfolios equal loops written for them, keep to what was known, and refuse what they cannot do."""

from __future__ import annotations

import inspect
import types

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_sorts import MEDIAN, QUINTILES, THIRDS, assert_same, economy, slow

from bayesfactor.errors import AlignmentError, DataError, DataWarning, DuplicateKeyError, EmptyWindowError, UnitsError
from bayesfactor.panel import Panel, sorts
from bayesfactor.panel.sorts import factors, sort_portfolios

NAN = np.nan
TWO_BY_THREE = (2, (0.3, 0.7))
KNOWN_BEFORE = ("n_assets", "n_unplaced", "breakpoints", "member", "weight", "turnover")
quiet = pytest.mark.filterwarnings("ignore::bayesfactor.errors.DataWarning")


def small(x: object, returns: object = None, size: object = None, **said: object) -> Panel:
    """Panel of months x assets with one characteristic."""
    values = np.atleast_2d(np.asarray(x, dtype=float))
    dims = ("time", "asset")
    variables = {
        "characteristics": ((*dims, "characteristic"), values[..., None]),
        "returns": (dims, np.broadcast_to(0.01 if returns is None else np.asarray(returns, dtype=float), values.shape)),
        "in_universe": (dims, np.ones(values.shape, bool)),
    }
    if size is not None:
        variables["size"] = (dims, np.broadcast_to(np.asarray(size, dtype=float), values.shape))
    coords = {
        "time": said.get("time", pd.date_range("2016-01-31", periods=len(values), freq="ME")),
        "asset": [f"A{i}" for i in range(values.shape[1])],
        "characteristic": ["x"],
    }
    return Panel(xr.Dataset(variables, coords), "monthly")


def test_by_hand() -> None:
    panel = small(
        [[1, 2, 3, 4], [4, 1, 3, 2]],
        returns=[[0.10, -0.20, NAN, 0.05], [0.01, 0.02, 0.03, 0.04]],
        size=[[3, 1, 1, 3], [1, 1, 1, 3]],
    )
    result = sort_portfolios(panel, "x", 2, weights="value", size_in="level", holdings=True)
    assert result.portfolio.values.tolist() == ["x:1", "x:2"]
    assert result.breakpoint.values.tolist() == ["x:1|2"]
    assert result.breakpoints.values.tolist() == [[2], [2]]
    assert result.n_assets.values.tolist() == [[2, 2], [2, 2]]
    assert result.weight.values.tolist() == [[0.75, 0.25, 0.25, 0.75], [0.5, 0.25, 0.5, 0.75]]
    # January: A2's quarter of the upper portfolio goes to A3; February: A1 and A3 below, A0 and A2 above
    np.testing.assert_allclose(result.returns, [[0.025, 0.05], [0.035, 0.02]], rtol=1e-12)
    assert result.share_moved.values.tolist() == [[0, 0.25], [0, 0]]
    np.testing.assert_allclose(result.long_short[:, 0], [0.025, -0.015], rtol=1e-12)
    # held into February: below .825/1.025 of A0 and .2/1.025 of A1, above all of A3; wanted .25 A1 and .75 A3, .5 each
    drifted = np.array([0.825, 0.2]) / 1.025
    below = (drifted[0] + abs(0.25 - drifted[1]) + 0.75) / 2
    np.testing.assert_allclose(result.turnover, [[NAN, NAN], [below, 1.0]], rtol=1e-12)
    assert result.n_unplaced.values.tolist() == [0, 0]
    assert result.bin.sel(characteristic="x").values.tolist() == [1, 2]
    assert result.returns.attrs == result.long_short.attrs == {"units": "decimal per period, excess"}


def test_the_tie_rule_by_hand() -> None:
    panel = small([0, 0, 0, 0, 1, 2])  # (n - 1) p = 2.5 at the median: the third value or the fourth, both 0
    lower = sort_portfolios(panel, "x", 2, holdings=True)
    assert lower.member.values.tolist() == [[0, 0, 0, 0, 1, 1]]
    with pytest.raises(DataError, match=r"no asset in 100% of the periods, at \(2016-01, x:1\) \(1 in all\)"):
        sort_portfolios(panel, "x", 2, ties="upper")
    even = small([1, 2, 3, 4])
    assert sort_portfolios(even, "x", 2).breakpoints.item() == 2
    assert sort_portfolios(even, "x", 2, ties="upper").breakpoints.item() == 3
    exact = small(np.arange(101.0))  # 0.29 * 100 is 28.999999999999996 in floating point, and 29 here
    assert sort_portfolios(exact, "x", (0.29,)).breakpoints.item() == 29
    assert sort_portfolios(exact, "x", (0.29,)).n_assets.values.tolist() == [[30, 71]]
    assert sort_portfolios(exact, "x", (0.29,), ties="upper").n_assets.values.tolist() == [[29, 72]]


CASES = {
    "quintiles": (["x"], [QUINTILES], 5, {}, {}),
    "ties below": (["tied"], [QUINTILES], 5, {}, {}),
    "ties above": (["tied"], [QUINTILES], 5, {"ties": "upper"}, {"ties": "upper"}),
    "by size": (["size"], [THIRDS], (0.3, 0.7), {}, {}),
    "2 x 3, value": (
        ["size", "x"],
        [MEDIAN, THIRDS],
        TWO_BY_THREE,
        {"value": True},
        {"weights": "value", "size_in": "level"},
    ),
    "2 x 3, ties above": (
        ["tied", "x"],
        [MEDIAN, THIRDS],
        TWO_BY_THREE,
        {"ties": "upper", "value": True},
        {"ties": "upper", "weights": "value", "size_in": "level"},
    ),
    "2 x 3, conditional": (
        ["x", "tied"],
        [MEDIAN, THIRDS],
        TWO_BY_THREE,
        {"conditional": True},
        {"conditional": True},
    ),
    "3 x 5, conditional, value": (
        ["z", "x"],
        [THIRDS, QUINTILES],
        ((0.3, 0.7), 5),
        {"conditional": True, "value": True},
        {"conditional": True, "weights": "value", "size_in": "level"},
    ),
    "june": (
        ["size", "x"],
        [MEDIAN, THIRDS],
        TWO_BY_THREE,
        {"june": True, "value": True},
        {"rebalance": "june", "weights": "value", "size_in": "level"},
    ),
}


@quiet
@pytest.mark.parametrize("prepared", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_sorts_equal_a_slow_loop(case: str, prepared: bool) -> None:
    by, cuts, quantiles, slowly, quickly = CASES[case]
    panel = economy(seed=2)
    panel = panel.rank_normalise() if prepared else panel
    result = sort_portfolios(
        panel, by, quantiles if len(by) > 1 else (quantiles,), max_thin=1, holdings=True, **quickly
    )
    assert_same(result, slow(panel, by, cuts, **slowly))
    assert result.sizes["time"] == (14 if case == "june" else 18)


@quiet
@pytest.mark.parametrize("on", ["NYSE", 20, "array"])
def test_breakpoints_on_a_subset_equal_a_slow_loop(on: str | int) -> None:
    panel = economy(seed=3)
    size = np.where(panel.data.in_universe, panel.data["size"], -1.0)
    mask = {
        "NYSE": panel.data.group.values == "NYSE",
        20: np.argsort(np.argsort(-np.nan_to_num(size, nan=-1), axis=1), axis=1) < 20,
        "array": np.random.default_rng(1).random(size.shape) < 0.3,
    }[on]
    given_on: object = on
    if on == "array":
        given_on = xr.DataArray(mask, {"time": panel.data.time, "asset": panel.data.asset}).transpose("asset", "time")
        given_on = given_on.isel(asset=slice(None, None, -1))  # matched by label
    result = sort_portfolios(panel, ("z", "x"), TWO_BY_THREE, breakpoints_on=given_on, max_thin=1, holdings=True)
    assert_same(result, slow(panel, ["z", "x"], [MEDIAN, THIRDS], setters=mask))
    ranked = sort_portfolios(
        panel.rank_normalise(), ("z", "x"), TWO_BY_THREE, breakpoints_on=given_on, max_thin=1, holdings=True
    )
    xr.testing.assert_identical(ranked.drop_vars("breakpoints"), result.drop_vars("breakpoints"))


def test_without_ties_portfolios_are_those_of_interpolated_quantiles() -> None:
    panel = economy(seed=4, tied=False)
    member = sort_portfolios(panel, "z", (0.11, 0.42, 0.83), holdings=True).member.values
    for ties in ("lower", "upper"):
        assert (sort_portfolios(panel, "z", (0.11, 0.42, 0.83), ties=ties, holdings=True).member == member).all()
    z, universe = panel.data.characteristics.values[..., 2], panel.data.in_universe.values & ~panel.data.missing[..., 2]
    for t, members in enumerate(universe.values):
        cuts = np.quantile(z[t, members], [0.11, 0.42, 0.83])
        np.testing.assert_array_equal(member[t, members], (z[t, members, None] > cuts).sum(axis=1))


# Planted defects: the loops above must notice


DEFECTS = {
    "ties on the other side": ('side="left" if lower', 'side="right" if lower'),
    "breakpoint one place up": ("(ordered.size - 1) * p", "ordered.size * p - p / 2"),
    "only observed assets are placed": (
        "weighable = universe & ",
        "weighable = panel.data.observed.values & universe & ",
    ),
    "a missing return is zero": ("earned / np.where(invested > 0, invested, np.nan)", "earned"),
    "missing is the middle": ("np.where(panel.data.missing.values[..., k], np.nan, ", "np.where(False, np.nan, "),
    "outside the universe": ("weighable = universe & ~", "weighable = ~"),
    "turnover against weights that do not drift": ("weight * (1 + returns), 0.0)", "weight, 0.0)"),
    "conditional breakpoints of everybody": (
        "code == one for one in range(n_codes)",
        "code >= 0 for one in range(n_codes)",
    ),
    "second characteristic slowest": ("code * (len(cuts) + 1) + bins", "code + n_codes // (len(cuts) + 1) * bins"),
    "long-short of the first row": (
        "difference.reshape(len(returns), -1).mean(axis=1)",
        "difference.reshape(len(returns), -1)[:, 0]",
    ),
    "every asset sets breakpoints": ("reference[t, who]", "np.ones(who.sum(), bool)"),
    "today's members in june": ("member[formed]", "member"),
}


def differs(module: types.ModuleType) -> bool:
    panel, setters = economy(seed=2).rank_normalise(), economy(seed=2).data.group.values == "NYSE"
    for by, cuts, quantiles, slowly, quickly in CASES.values():
        told = {"max_thin": 1, "holdings": True, "breakpoints_on": "NYSE"} | quickly
        result = module.sort_portfolios(panel, by, quantiles if len(by) > 1 else (quantiles,), **told)
        try:
            assert_same(result, slow(panel, by, cuts, setters=setters, **slowly))
        except AssertionError:
            return True
    return False


def altered(old: str, new: str) -> types.ModuleType:
    source = inspect.getsource(sorts)
    assert source.count(old) == 1, f"{source.count(old)} times in the source: {old}"
    module = types.ModuleType("altered")
    exec(compile(source.replace(old, new), "altered", "exec"), module.__dict__)
    return module


@quiet
def test_planted_defects_are_noticed() -> None:
    assert not differs(sorts)
    assert [name for name, change in DEFECTS.items() if not differs(altered(*change))] == []


# What was known when


def both(panel: Panel) -> list[xr.Dataset]:
    told = {"max_thin": 1.0, "holdings": True}
    value = {"weights": "value", "size_in": "level"}
    return [
        sort_portfolios(panel, "tied", 5, **told),
        sort_portfolios(panel, ("size", "x"), TWO_BY_THREE, conditional=True, breakpoints_on="NYSE", **told, **value),
        sort_portfolios(panel, ("size", "x"), TWO_BY_THREE, rebalance="june", breakpoints_on=20, **told, **value),
    ]


@quiet
@settings(max_examples=15, deadline=None, derandomize=True)
@given(cut=st.integers(5, 16), seed=st.integers(0, 10**6))
def test_data_after_t_change_nothing_up_to_t(cut: int, seed: int) -> None:
    panel, other = economy(seed=5), economy(seed=seed)
    data, spoilt = panel.data, panel.data.copy(deep=True)
    for name in ("characteristics", "missing", "in_universe", "size", "group", "returns", "observed"):
        values = data[name].values.copy()
        first = cut if name in ("returns", "observed") else cut + 1  # returns of `cut` itself come after it began
        values[first:] = other.data[name].values[first:]
        spoilt[name] = (data[name].dims, values)
    for one, two in zip(both(panel), both(Panel(spoilt, "monthly")), strict=True):
        when = panel.times[cut]
        until, known = slice(None, panel.times[cut - 1]), list(KNOWN_BEFORE)
        xr.testing.assert_identical(one.sel(time=until), two.sel(time=until))
        xr.testing.assert_identical(one[known].sel(time=slice(None, when)), two[known].sel(time=slice(None, when)))


def test_a_live_period_has_weights_and_no_returns() -> None:
    panel = economy(seed=6)
    result = sort_portfolios(panel, "x", 5, holdings=True).isel(time=-1)
    assert np.isnan(result.returns).all()
    assert np.isnan(result.long_short).all()
    assert np.isnan(result.share_moved).all()  # nothing is missing that could be there
    assert (result.n_assets > 0).all()
    assert np.isfinite(result.turnover).all()  # known from the month before
    np.testing.assert_allclose(result.weight.groupby(result.member).sum()[1:], 1)


# Properties


def canonical(result: xr.Dataset) -> xr.Dataset:
    return result.sortby("asset")


@quiet
@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    quantiles=st.sampled_from([2, 5, (0.1, 0.9)]),
    ties=st.sampled_from(["lower", "upper"]),
    weights=st.sampled_from(["equal", "value"]),
    conditional=st.booleans(),
)
def test_properties_of_any_sort(seed: int, quantiles: object, ties: str, weights: str, conditional: bool) -> None:
    panel = economy(seed=seed, n_months=5, n_assets=40)

    def sort(one: Panel, size_in: str = "level") -> xr.Dataset:
        return sort_portfolios(
            one,
            ("tied", "x"),
            (quantiles, 3),
            ties=ties,
            weights=weights,
            size_in=size_in,
            conditional=conditional,
            max_thin=1,
            holdings=True,
        )

    result = sort(panel)
    data = panel.data
    n = result.sizes["portfolio"]
    sums = np.stack([result.weight.where(result.member == p, 0.0).sum("asset") for p in range(n)], axis=1)
    np.testing.assert_allclose(sums, (result.n_assets > 0) * 1.0, rtol=1e-12)
    assert ((result.weight > 0) == (result.member >= 0)).all()
    assert not (result.member >= 0).values[~data.in_universe.values].any()
    assert (result.n_assets.sum("portfolio") + result.n_unplaced == data.in_universe.sum("asset")).all()
    turnover = result.turnover.values[np.isfinite(result.turnover.values)]
    assert ((turnover >= 0) & (turnover <= 1 + 1e-12)).all()

    order = np.random.default_rng(seed).permutation(data.sizes["asset"])
    shuffled = sort(Panel(data.isel(asset=order), "monthly"))
    xr.testing.assert_allclose(canonical(shuffled), canonical(result), rtol=1e-12)
    np.testing.assert_array_equal(canonical(shuffled).member, canonical(result).member)

    bent = Panel(data.assign(characteristics=np.exp(data.characteristics)), "monthly")
    for other in (sort(bent), sort(panel.rank_normalise())):
        xr.testing.assert_identical(other.drop_vars("breakpoints"), result.drop_vars("breakpoints"))
    standard = sort(panel.standardise())
    np.testing.assert_array_equal(standard.member, result.member)

    larger = Panel(data.assign(size=1e6 * data["size"]), "monthly")
    xr.testing.assert_allclose(sort(larger), result, rtol=1e-12)
    logs = Panel(data.assign(size=np.log(data["size"])), "monthly")
    xr.testing.assert_allclose(sort(logs, "log"), result, rtol=1e-12)
    doubled = sort(Panel(data.assign(returns=0.5 * data.returns), "monthly"))
    xr.testing.assert_allclose(2 * doubled.returns, result.returns, rtol=1e-12)


@quiet
def test_flat_and_absent_characteristics_sort_alike_raw_and_ranked() -> None:
    panel = small([[1, 2, 3, 4], [7, 7, 7, 7], [NAN, NAN, NAN, NAN], [1, NAN, NAN, 2]], size=[1, 2, 3, 4])
    told = {"max_thin": 1.0, "holdings": True}
    raw, ranked = (sort_portfolios(one, "x", 2, **told) for one in (panel, panel.rank_normalise()))
    assert raw.member.values.tolist() == [[0, 0, 1, 1], [0, 0, 0, 0], [-1, -1, -1, -1], [0, -1, -1, 1]]
    assert raw.n_unplaced.values.tolist() == [0, 0, 4, 2]
    xr.testing.assert_identical(raw.drop_vars("breakpoints"), ranked.drop_vars("breakpoints"))
    assert raw.breakpoints.attrs["units"] == "as in the panel (raw)"
    assert ranked.breakpoints.attrs["units"] == "as in the panel (rank)"
    np.testing.assert_array_equal(raw.turnover, [[NAN, NAN], [0.5, NAN], [NAN, NAN], [NAN, NAN]])


@pytest.mark.parametrize("frequency", ["weekly", "daily"])
@quiet
def test_weeks_and_days_sort_as_months_do(frequency: str) -> None:
    panel = economy(seed=7, frequency=frequency)
    result = sort_portfolios(panel, "x", 5, holdings=True)
    assert_same(result, slow(panel, ["x"], [QUINTILES]))
    with pytest.raises(DataError, match=rf"must have a monthly panel: this one is {frequency}"):
        sort_portfolios(panel, "x", 5, rebalance="june")


def test_turnover_after_a_gap_is_unknown() -> None:
    times = pd.to_datetime(["2016-01-31", "2016-02-29", "2016-04-30", "2016-05-31"])
    result = sort_portfolios(small(np.tile(np.arange(6.0), (4, 1)), time=times), "x", 2)
    np.testing.assert_allclose(result.turnover[:, 0], [NAN, 0, NAN, 0], atol=1e-15)


def test_a_total_loss_leaves_nothing_to_compare_with() -> None:
    returns = [[-1, -1, 0.1, 0.1], [0.01, 0.01, 0.01, 0.01]]
    result = sort_portfolios(small(np.tile(np.arange(4.0), (2, 1)), returns), "x", 2)
    np.testing.assert_allclose(result.turnover, [[NAN, NAN], [NAN, 0]], atol=1e-15)
    np.testing.assert_allclose(result.returns, [[-1, 0.1], [0.01, 0.01]])


@quiet
def test_june_keeps_members_while_they_are_there() -> None:
    panel = economy(seed=8, n_months=30)
    result = sort_portfolios(panel, "x", 5, rebalance="june", holdings=True)
    assert result.time.values[0] == np.datetime64("2001-07-31")
    year = result.isel(time=slice(0, 12))
    formed = year.member.isel(time=0)
    assert ((year.member == formed) | (year.member == -1)).all()
    assert (year.breakpoints == year.breakpoints.isel(time=0)).all()
    lacking = panel.sel(time=[time for time in panel.times if time != pd.Timestamp("2002-07-31")])
    gap = sort_portfolios(lacking, "x", 5, rebalance="june", max_thin=1).sel(time=slice("2002-07", "2003-06"))
    assert np.isnan(gap.returns).all()  # members of the year before are not kept for a second year
    assert (gap.n_assets == 0).all()
    with pytest.raises(EmptyWindowError, match=r"must find a July.* runs 2001-08 to 2002-06"):
        sort_portfolios(panel.sel(time=slice("2001-08", "2002-06")), "x", 5, rebalance="june")


# Empty and thin portfolios


def test_thin_portfolios_are_named_and_too_many_refused() -> None:
    months = np.tile(np.arange(6.0), (40, 1))
    months[[3, 7]] = 1.0
    with pytest.warns(
        DataWarning, match=r"no asset in 5% of the periods, at \(2016-04, x:2\), \(2016-08, x:2\) \(2 in"
    ):
        result = sort_portfolios(small(months), "x", 2)
    assert np.isnan(result.returns).values[[3, 7]].tolist() == [[False, True]] * 2
    assert np.isnan(result.long_short).sum() == 2
    months[11] = 1.0
    with pytest.raises(
        DataError, match=r"1 or more assets in all but 5% .*found portfolios with no asset in 8%.*max_thin=1"
    ):
        sort_portfolios(small(months), "x", 2)
    with pytest.raises(DataError, match="fewer than 4 assets in 100%"):
        sort_portfolios(small(months), "x", 2, min_assets=4)
    with pytest.warns(DataWarning, match="fewer than 4 assets"):
        result = sort_portfolios(small(months), "x", 2, min_assets=4, max_thin=1, holdings=True)
    assert np.isnan(result.returns).sum() == 40 + 37  # whole portfolios of six remain in the flat months
    assert (result.weight.sum("asset") > 0.99).all()


def test_a_portfolio_whose_returns_are_all_missing_is_named() -> None:
    panel = small(np.tile(np.arange(4.0), (2, 1)), returns=[[0.1, 0.1, NAN, NAN], [0.1, 0.1, 0.1, 0.1]])
    with pytest.warns(DataWarning, match=r"no member's return is known, at \(2016-01, x:2\) \(1 in all\)"):
        result = sort_portfolios(panel, "x", 2)
    assert result.share_moved.values.tolist() == [[0, 1], [0, 0]]
    np.testing.assert_array_equal(result.returns, [[0.1, NAN], [0.1, 0.1]])


# Sizes: levels or logarithms


def sized(size: np.ndarray) -> Panel:
    return small(np.tile(np.arange(size.shape[-1], dtype=float), (len(size), 1)), size=size)


def test_value_weights_must_be_told_what_size_holds() -> None:
    levels = np.exp(20 + 1.5 * np.random.default_rng(1).standard_normal((4, 50)))
    told = {"weights": "value"}
    for size_in in (None, "dollars"):
        with pytest.raises(UnitsError, match=r'size_in="level" .*"log" .*found'):
            sort_portfolios(sized(levels), "x", 2, **told, size_in=size_in)
    with pytest.raises(
        UnitsError, match=r"in 2016-01 the largest is 2\d\.\d+ and the median .*\(4 periods alike\).*log"
    ):
        sort_portfolios(sized(np.log(levels)), "x", 2, **told, size_in="level")
    with pytest.raises(UnitsError, match=r'within 40 of 0: found otherwise at \(2016-01, A0\).*size_in="level"'):
        sort_portfolios(sized(levels), "x", 2, **told, size_in="log")
    with pytest.raises(UnitsError, match=r'above 0: found otherwise at \(2016-01, A\d+\).*size_in="log"'):
        sort_portfolios(sized(np.log(levels / 1e9)), "x", 2, **told, size_in="level")
    billions = np.clip(levels / 1e9, 0.01, 39.0)  # all within the bounds of logarithms
    billions[:, 0] = 39.0
    billions[:, 1:] = np.minimum(billions[:, 1:], 30.0)
    with pytest.raises(UnitsError, match=r"one asset would hold .* of the market \(4 periods alike\)"):
        sort_portfolios(sized(billions), "x", 2, **told, size_in="log")
    few = sort_portfolios(sized(np.log(levels)[:, :19]), "x", 2, **told, size_in="level")  # too few to tell
    assert np.isfinite(few.returns).all()
    with pytest.raises(DataError, match=r"must know `size`.*read_frame\(size="):
        sort_portfolios(small(np.arange(6.0)), "x", 2, **told, size_in="level")


@pytest.mark.parametrize("unit", [1e-9, 1e-6, 1e-3, 1.0])
def test_real_spreads_of_size_pass_in_any_unit(unit: float) -> None:
    """A lognormal cross-section of sd 1.3, as narrow as the 500 largest stocks: the largest is 20 medians and more."""
    size = unit * np.exp(23 + 1.3 * np.random.default_rng(2).standard_normal((12, 500)))
    assert np.isfinite(sort_portfolios(sized(size), "x", 2, weights="value", size_in="level").returns).all()
    positive = np.log(size / unit)
    for logs in (positive, positive - np.log(1e3), positive - np.log(1e6)):
        with pytest.raises(UnitsError, match="log"):
            sort_portfolios(sized(logs), "x", 2, weights="value", size_in="level")


def test_an_asset_without_a_size_has_no_value_weight() -> None:
    panel = small(np.arange(6.0), size=[1, 2, NAN, 4, 5, 6])
    value = sort_portfolios(panel, "x", 2, weights="value", size_in="level", holdings=True)
    assert value.member.values.tolist() == [[0, 0, -1, 0, 1, 1]]
    assert value.n_unplaced.item() == 1
    assert sort_portfolios(panel, "x", 2, holdings=True).member.values.tolist() == [[0, 0, 0, 1, 1, 1]]


# Refusals


@pytest.mark.parametrize(
    ("told", "match"),
    [
        ({"quantiles": 1}, r"from 2 to 1,000.*found 1"),
        ({"quantiles": True}, "found True"),
        ({"quantiles": 5.0}, r"found 5\.0"),
        ({"quantiles": (0.7, 0.3)}, r"rising.*found \(0\.7, 0\.3\)"),
        ({"quantiles": (0.3, 0.3)}, "rising"),
        ({"quantiles": (30, 70)}, "between 0 and 1"),
        ({"quantiles": (0.0, 0.5)}, "between 0 and 1"),
        ({"quantiles": ()}, "between 0 and 1"),
        ({"by": ("x", "z")}, r"given for each of \('x', 'z'\).*found 5"),
        ({"by": ("x", "z"), "quantiles": (5, 5, 5)}, "given for each"),
        ({"by": ("x", "x"), "quantiles": (5, 5)}, "two different ones"),
        ({"by": ("x", "z", "tied"), "quantiles": (2, 2, 2)}, "one characteristic, or by two"),
        ({"by": (), "quantiles": ()}, "one characteristic"),
        ({"weights": "cap"}, "weights must be 'equal' or 'value': found 'cap'"),
        ({"ties": "left"}, "ties must be 'lower' or 'upper'"),
        ({"rebalance": "annual"}, "rebalance must be 'period' or 'june'"),
        ({"min_assets": 0}, "min_assets must be a whole number from 1"),
        ({"max_thin": 5}, "max_thin must be a share"),
        ({"max_thin": NAN}, "max_thin must be a share"),
        ({"breakpoints_on": 0}, "number of the largest"),
        ({"breakpoints_on": 2.5}, r"a boolean DataArray \(time, asset\): found 2\.5"),
        ({"breakpoints_on": xr.DataArray(np.ones(3), dims="time")}, r"found float64 over \('time',\)"),
    ],
)
def test_arguments_that_cannot_be(told: dict, match: str) -> None:
    panel = economy()
    with pytest.raises(DataError, match=match):
        sort_portfolios(panel, **({"by": "x", "quantiles": 5} | told))


def test_names_and_labels_must_be_the_panels() -> None:
    panel = economy()
    with pytest.raises(AlignmentError, match=r"found 'bm', it has x, tied, z \(3 in all\), and size"):
        sort_portfolios(panel, "bm", 5)
    bare = Panel(panel.data.drop_vars(["size", "group"]), "monthly")
    with pytest.raises(AlignmentError, match=r"found 'size', .*no size"):
        sort_portfolios(bare, "size", 5)
    with pytest.raises(DataError, match="breakpoints_on='NYSE' must be a `group`: the panel has none"):
        sort_portfolios(bare, "x", 5, breakpoints_on="NYSE")
    with pytest.raises(DataError, match="breakpoints_on=10 must be"):
        sort_portfolios(bare, "x", 5, breakpoints_on=10)
    with pytest.raises(AlignmentError, match="no asset is in 'AMEX'"):
        sort_portfolios(panel, "x", 5, breakpoints_on="AMEX")
    mask = panel.data.group == "NYSE"
    with pytest.raises(AlignmentError, match=r"every time of the panel: it lacks 2001-03-31.*\(2 in all\)"):
        sort_portfolios(panel, "x", 5, breakpoints_on=mask.isel(time=slice(2, None)))
    with pytest.raises(AlignmentError, match="every asset of the panel: it lacks"):
        sort_portfolios(panel, "x", 5, breakpoints_on=mask.isel(asset=slice(2, None)))
    with pytest.raises(AlignmentError, match="every asset of the panel"):
        sort_portfolios(panel, "x", 5, breakpoints_on=mask.drop_vars("asset"))
    with pytest.raises(DuplicateKeyError, match="time repeats"):
        sort_portfolios(panel, "x", 5, breakpoints_on=mask.isel(time=[0, *range(18)]))
    with pytest.raises(DataError, match="must be of a Panel: found Dataset"):
        sort_portfolios(panel.data, "x", 5)


def test_a_characteristic_called_size_comes_first() -> None:
    panel = economy()
    renamed = panel.data.assign_coords(characteristic=["size", "tied", "z"])
    told = {"quantiles": 5, "holdings": True}
    result = sort_portfolios(Panel(renamed, "monthly"), "size", **told)
    assert (result.member == sort_portfolios(panel, "x", **told).member).all()


@pytest.mark.parametrize(
    "told",
    [
        {"by": 5}, {"by": None}, {"by": [["x"]]}, {"max_thin": "a"}, {"max_thin": None}, {"conditional": "no"},
        {"quantiles": 10**7},
    ],
)  # fmt: skip
def test_arguments_of_another_kind_are_refused(told: dict) -> None:
    with pytest.raises(DataError, match="must be"):
        sort_portfolios(economy(), **({"by": "x", "quantiles": 2} | told))


@pytest.mark.parametrize("value", [None, ["x"]])
def test_factors_need_a_name(value: object) -> None:
    with pytest.raises(DataError, match="factors must name characteristics"):
        factors(economy(), value=value, size_in="level")
