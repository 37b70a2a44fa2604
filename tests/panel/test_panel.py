"""The contract of Panel: names, immutability, faults at the boundary, selecting, packing, fingerprints."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from bayesfactor.errors import (
    AlignmentError,
    DataError,
    DuplicateKeyError,
    EmptyWindowError,
    UnitsError,
)
from bayesfactor.panel import Panel, PanelArrays, read_frame, simulate

SHAPE = {"n_months": 12, "n_assets": 20, "n_characteristics": 3}


def raw() -> Panel:
    return read_frame(
        simulate.frame(**SHAPE, seed=3, ragged=True, missing=0.1),
        time="date",
        asset="asset",
        returns="ret",
        returns_over="row",
        lag=1,
        units="decimal",
        excess=True,
        size="size",
    )


def changed(variable: str, cell: tuple, value: object) -> xr.Dataset:
    data = raw().data.copy(deep=True)
    data[variable].values[cell] = value
    return data


def test_names_dims_and_dtypes() -> None:
    data = raw().rank_normalise().data
    cube, grid = ("time", "asset", "characteristic"), ("time", "asset")
    assert {str(name): (data[name].dims, data[name].dtype) for name in data} == {
        "characteristics": (cube, np.float64),
        "missing": (cube, np.bool_),
        "returns": (grid, np.float64),
        "in_universe": (grid, np.bool_),
        "observed": (grid, np.bool_),
        "size": (grid, np.float64),
    }
    assert data.returns.attrs["units"] == "decimal per period, excess"
    assert set(data.kind.values) == {"continuous"}
    assert (data.indexes["time"] == data.indexes["time"] + pd.offsets.MonthEnd(0)).all()


def test_properties() -> None:
    panel = raw()
    assert panel.characteristics == ("x1", "x2", "x3")
    assert (panel.frequency, panel.periods_per_year, panel.prepared, panel.preparation) == (
        "monthly",
        12,
        False,
        "raw",
    )
    ranked = panel.rank_normalise()
    assert (ranked.prepared, ranked.preparation, ranked.missing) == (True, "rank", "median")
    assert panel.standardise().preparation == "standardise"
    assert len(panel.history) == 1
    assert len(ranked.history) == 2
    assert panel.warnings == ranked.warnings == ()


def test_a_panel_cannot_be_changed() -> None:
    panel = raw()
    for name in panel.data:
        with pytest.raises(ValueError, match="read-only"):
            panel.data[name].values[...] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        panel.frequency = "daily"
    source = panel.data.copy(deep=True)
    other = Panel(source, "monthly")
    source.returns.values[...] = 0
    assert other.fingerprint == panel.fingerprint


def test_fingerprint_follows_content_and_not_history() -> None:
    panel = raw()
    assert Panel(panel.data, "monthly").fingerprint == panel.fingerprint
    assert panel.sel(time=slice(None)).fingerprint == panel.fingerprint
    t, i = np.argwhere(panel.data.observed.values)[0]
    nudged = changed("returns", (t, i), np.nextafter(panel.data.returns.values[t, i], 1))
    others = [
        Panel(nudged, "monthly"),
        Panel(panel.data.assign_coords(asset=[f"Z{i}" for i in range(panel.data.sizes["asset"])]), "monthly"),
        panel.rank_normalise(),
        panel.standardise(),
        panel.sel(characteristic=["x2", "x1", "x3"]),
    ]
    assert len({other.fingerprint for other in [panel, *others]}) == 6


def test_dims_and_months_in_another_order_are_put_in_order() -> None:
    panel = raw()
    shuffled = panel.data.isel(time=slice(None, None, -1)).transpose("characteristic", "asset", "time")
    assert Panel(shuffled, "monthly").data.identical(panel.data)


def test_faults_at_the_boundary() -> None:
    data = raw().data
    t, i = np.argwhere(data.observed.values & data.in_universe.values)[0]
    cell = rf"\({data.indexes['time'][t]:%Y-%m}, {data.indexes['asset'][i]}"
    both = {"missing": data.missing & False}
    twice = data.isel(asset=[0, 0, 1, 1, 2, 2, 3, 3])
    faults = [
        (
            changed("characteristics", (t, i, 1), np.inf),
            DataError,
            rf"characteristics must be finite.*{cell}, x2\) \(1 in",
        ),
        (changed("returns", (t, i), -np.inf), DataError, rf"returns must be finite.*{cell}\)"),
        (changed("size", (t, i), np.inf), DataError, rf"size must be finite.*{cell}\)"),
        (
            changed("returns", (t, i), np.nan),
            DataError,
            rf"observed must be.*{cell}\).*cannot be claimed observed",
        ),
        (changed("observed", (t, i), False), DataError, rf"observed must be.*{cell}\)"),
        (data.assign(both), DataError, "missing must be True exactly where a raw characteristic is NaN"),
        (data.assign(returns=data.returns * 100), UnitsError, r"returns must be decimal.*percent"),
        (
            data.assign(in_universe=data.in_universe & (data.time != data.time[3])),
            DataError,
            "none in 2000-05 \\(1 in",
        ),
        (twice, DuplicateKeyError, r"asset must be unique: repeated S00, S01, S02 \(4 in all\)"),
        (data.isel(time=[0, 0, 1]), DuplicateKeyError, "labels of time must be unique: repeated 2000-02-29"),
        (data.drop_vars("returns"), DataError, r"lacking \['returns'\]"),
        (data.assign(alpha=data.returns), DataError, r"unknown \['alpha'\]"),
        (data.assign(returns=data.returns[:, 0]), DataError, "returns must have the dims"),
        (data.drop_vars("asset"), DataError, "asset has none"),
        (data.assign_coords(time=np.arange(data.sizes["time"])), DataError, "time must hold datetimes"),
        (
            data.assign_coords(time=data.indexes["time"] - pd.Timedelta("1D")),
            DataError,
            "ends of monthly periods",
        ),
        (data.assign_coords(kind=("characteristic", ["a", "b", "c"])), DataError, "kind must be"),
        (data.assign(returns=data.returns.astype(str)), DataError, "returns must be float"),
        (data.assign(in_universe=data.in_universe * 2), DataError, "in_universe must hold True and False"),
    ]
    for spoilt, error, message in faults:
        with pytest.raises(error, match=message):
            Panel(spoilt.drop_vars("missing") if "finite" in message else spoilt, "monthly")
    with pytest.raises(DataError, match="frequency must be one of"):
        Panel(data, "quarterly")
    with pytest.raises(DataError, match=r"numbers in the universe once prepared.*\(2000-"):
        Panel(data, "monthly", "rank")
    with pytest.raises(DataError, match="preparation must be one of"):
        Panel(data, "monthly", "quantile")


@pytest.mark.parametrize("spread", [1.5, 60.0])
def test_units_check_sees_the_cross_sectional_sd_too(spread: float) -> None:
    data = raw().data
    lumps = np.where(np.arange(data.sizes["asset"]) % 4 == 0, spread * 2, 0.0)
    spoilt = data.assign(returns=xr.where(data.observed, lumps, np.nan).transpose("time", "asset"))
    with pytest.raises(UnitsError, match="cross-sectional sd"):
        Panel(spoilt, "monthly")


def test_optional_series_are_checked_alike() -> None:
    data = raw().data
    market = xr.DataArray(np.full((data.sizes["time"], 1), 0.01), coords={"time": data.time, "benchmark": ["mkt"]})
    macro = xr.DataArray(np.full((data.sizes["time"], 1), 3.0), coords={"time": data.time, "predictor": ["dp"]})
    panel = Panel(data.assign(benchmark_returns=market, macro=macro), "monthly")
    assert panel.data.benchmark_returns.dims == ("time", "benchmark")
    assert panel.audit(["2000-06"]).variable.isin(["benchmark_returns", "macro"]).sum() == 2
    with pytest.raises(UnitsError, match="benchmark_returns must be decimal"):
        Panel(data.assign(benchmark_returns=market * 100), "monthly")


def test_arrays_hold_every_cell_of_the_universe_once() -> None:
    panel = raw().rank_normalise()
    data, arrays = panel.data, panel.arrays()
    assert isinstance(arrays, PanelArrays)
    assert arrays.characteristics.shape == (13, int(data.in_universe.sum("asset").max()), 3)
    assert arrays.asset.dtype == np.int32
    for t in range(13):
        members = np.flatnonzero(data.in_universe.values[t])
        n = members.size
        np.testing.assert_array_equal(arrays.asset[t, :n], members)
        np.testing.assert_array_equal(arrays.characteristics[t, :n], data.characteristics.values[t, members])
        np.testing.assert_array_equal(arrays.observed[t, :n], data.observed.values[t, members])
        np.testing.assert_array_equal(
            arrays.returns[t, :n],
            np.nan_to_num(np.where(arrays.observed[t, :n], data.returns.values[t, members], 0)),
        )
        assert arrays.in_universe[t, :n].all()
        assert not arrays.in_universe[t, n:].any()
        assert not arrays.characteristics[t, n:].any()
        assert (arrays.asset[t, n:] == -1).all()
    assert panel.arrays(np.float32).returns.dtype == np.float32


def test_split_starts_the_second_part_at_the_period_of_the_date() -> None:
    panel = raw()
    for when in ("2000-06", "2000-06-15", 200006, pd.Timestamp("2000-06-02"), pd.Period("2000-06")):
        before, after = panel.split(when)
        assert before.times[-1] == pd.Timestamp("2000-05-31")
        assert after.times[0] == pd.Timestamp("2000-06-30")
        assert len(before.times) + len(after.times) == len(panel.times)
    assert panel.split("2000-06")[1].history[-1] == "split: from 2000-06"


@pytest.mark.parametrize("when", ["1999-12", "2000-02", "2001-03", "2010"])
def test_a_split_with_an_empty_side_names_the_range(when: str) -> None:
    with pytest.raises(EmptyWindowError, match="the panel runs 2000-02 to 2001-02"):
        raw().split(when)


@pytest.mark.parametrize("when", ["June", None, pd.NaT, 3.5j])
def test_a_split_at_no_date_is_refused(when: object) -> None:
    with pytest.raises(DataError, match="a date must be"):
        raw().split(when)


def test_sel_by_label() -> None:
    panel = raw()
    assert len(panel.sel(time="2000").times) == 11
    assert len(panel.sel(time=slice("2000-03", "2000-05")).times) == 3
    assert len(panel.sel(time=slice("2001-01", None)).times) == 2
    assert len(panel.sel(time=["2000-03", "2000-09"]).times) == 2
    assert panel.sel(characteristic="x2").characteristics == ("x2",)
    one = panel.sel(asset=["S19", "S18"], time="2000-07")
    assert one.data.asset.values.tolist() == ["S19", "S18"]
    np.testing.assert_array_equal(one.data.returns.values[0, 0], panel.data.returns.sel(time="2000-07-31", asset="S19"))


def test_sel_of_nothing_or_of_strangers_is_refused() -> None:
    panel = raw()
    for time in ("2005", slice("2005", None), ["2000-03", "2005-01"], []):
        with pytest.raises(EmptyWindowError, match="2000-02 to 2001-02"):
            panel.sel(time=time)
    with pytest.raises(EmptyWindowError, match="none is left"):
        panel.sel(asset=[])
    with pytest.raises(AlignmentError, match=r"unknown IBM, GE \(2 in all\)"):
        panel.sel(asset=["S01", "IBM", "GE"])
    with pytest.raises(AlignmentError, match="every characteristic selected"):
        panel.sel(characteristic="bm")


def test_months_without_universe_are_dropped_by_selecting() -> None:
    panel = raw()
    late = str(panel.data.asset.values[~panel.data.in_universe.values[0]][0])
    assert panel.sel(asset=late).times[0] > panel.times[0]


def test_live_months() -> None:
    panel = raw()
    assert [str(time.date()) for time in panel.live.times] == ["2001-02-28"]
    with pytest.raises(EmptyWindowError, match="the last of 2000-02 to 2000-05 has returns"):
        _ = panel.split("2000-06")[0].live


def test_a_month_without_returns_in_the_middle_is_not_live() -> None:
    panel = raw()
    silent = panel.data.time.isin(panel.times[[3, 7]])
    data = panel.data.drop_vars("observed").assign(returns=panel.data.returns.where(~silent))
    assert Panel(data, "monthly").live.times.tolist() == panel.live.times.tolist()
    early = Panel(data, "monthly").split("2000-06")[0]
    assert early.live.times.tolist() == [pd.Timestamp("2000-05-31")]
    assert panel.live.live.times.tolist() == panel.live.times.tolist()


def daily_returns(spread: float) -> xr.Dataset:
    """A panel of days whose returns have this cross-sectional sd."""
    data = raw().data
    days = pd.bdate_range("2000-02-01", periods=data.sizes["time"], name="time")
    noise = spread * np.random.default_rng(0).standard_normal(data.returns.shape)
    return data.assign(returns=data.returns.copy(data=noise).where(data.observed)).assign_coords(time=days)


def test_units_check_knows_the_length_of_a_period() -> None:
    with pytest.raises(UnitsError, match=r"returns must be decimal.*sd 0\.\d+"):
        Panel(daily_returns(0.3), "daily")
    assert Panel(daily_returns(0.02), "daily").warnings == ()
    monthly = daily_returns(0.3).assign_coords(time=raw().data.time)
    assert Panel(monthly.clip(min=-0.9).assign(raw().data.drop_vars("returns")), "monthly").frequency == "monthly"


def test_describe_counts_by_month() -> None:
    panel = raw()
    table, data = panel.describe(), panel.data
    assert list(table.columns) == ["assets", "observed", "coverage", "missing", "mean_return", "sd_return"]
    t = 4
    members = data.in_universe.values[t]
    seen = data.returns.values[t, members & data.observed.values[t]]
    assert table.iloc[t]["assets"] == members.sum()
    assert table.iloc[t]["observed"] == seen.size
    assert table.iloc[t]["missing"] == data.missing.values[t, members].sum()
    np.testing.assert_allclose(table.iloc[t]["coverage"], 1 - data.missing.values[t, members].mean())
    np.testing.assert_allclose(table.iloc[t][["mean_return", "sd_return"]], [seen.mean(), seen.std(ddof=1)])
    pd.testing.assert_series_equal(panel.rank_normalise().describe()["coverage"], table["coverage"])


def test_repr_reads_well() -> None:
    text = repr(raw().rank_normalise())
    assert text.startswith("<Panel: monthly, 2000-02 to 2001-02, 13 periods, prepared (rank)>")
    assert "without any yet: 2001-02" in text
    assert "characteristics  3: x1, x2, x3" in text
    assert "read_frame:" in text


def test_labels_ranks_and_indicators_at_their_boundary() -> None:
    data = simulate.economy(n_months=4, n_assets=5, n_characteristics=2, seed=1).panel.data
    ranks = data.characteristics
    assert Panel(data.assign(characteristics=ranks.astype("float32")), "monthly", "rank").prepared
    with pytest.raises(DataError, match=r'between -1 and 1 where preparation is "rank".*\(2000-02, S0, x1\)'):
        Panel(data.assign(characteristics=ranks.where(ranks.asset != "S0", 1.001)), "monthly", "rank")
    kinds = data.assign_coords(kind=("characteristic", ["continuous", "indicator"]))
    flags = ranks.where(ranks.characteristic == "x1", (ranks > 0).astype(float))
    assert Panel(kinds.assign(characteristics=flags), "monthly", "rank").prepared
    with pytest.raises(DataError, match="0 or 1 where `kind` is indicator"):
        Panel(kinds, "monthly", "rank")
    for label in (None, np.nan, ""):
        with pytest.raises(DataError, match="every asset must have a label"):
            Panel(data.assign_coords(asset=pd.Index([label, "b", "c", "d", "e"], dtype=object)), "monthly", "rank")
    with pytest.raises(DuplicateKeyError, match=r"must be unique: repeated 1 \(1 in all\)"):
        Panel(data.assign_coords(asset=pd.Index([1, "1", "c", "d", "e"], dtype=object)), "monthly", "rank")
    with pytest.raises(DataError, match="without a time zone: found UTC"):
        Panel(data.assign_coords(time=data.indexes["time"].tz_localize("UTC")), "monthly", "rank")
