"""Joins: by label and calendar period, in any form, never ahead of time."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from bayesfactor.errors import (
    AlignmentError,
    DataError,
    DataWarning,
    DuplicateKeyError,
    LookAheadError,
    UnitsError,
)
from bayesfactor.panel import Panel, read_frame, simulate
from bayesfactor.panel.joining import Joined, known_before

STEP = {"monthly": "ME", "weekly": "W-FRI", "daily": "B"}
N = 14
NAN = np.nan


def frame(frequency: str = "monthly", seed: int = 2) -> pd.DataFrame:
    return simulate.frame(
        n_months=N, n_assets=12, n_characteristics=2, seed=seed, ragged=True, missing=0.1, frequency=frequency
    )


def panel(frequency: str = "monthly", source: pd.DataFrame | None = None, **more: object) -> Panel:
    return read(frame(frequency), frequency, **more) if source is None else read(source, frequency, **more)


@functools.cache
def plain(frequency: str) -> Panel:
    return panel(frequency)


def read(source: pd.DataFrame, frequency: str, **more: object) -> Panel:
    told = {"returns_over": "row", "lag": 1, "units": "decimal", "excess": True, "frequency": frequency}
    told |= {"time": "date", "asset": "asset", "returns": "ret", "characteristics": ["x1", "x2"]}
    return read_frame(source, **told | more)


def series(to: Panel, names: tuple[str, ...], seed: int = 0, scale: float = 0.03, before: int = 3) -> pd.DataFrame:
    """Numbers over time, from `before` periods before the panel to its end."""
    dates = pd.date_range(end=to.times[-1], periods=len(to.times) + before, freq=STEP[to.frequency])
    rng = np.random.default_rng(seed)
    return pd.DataFrame(scale * rng.standard_normal((len(dates), len(names))), dates, list(names))


def test_benchmarks_come_to_their_own_period_and_predictors_to_a_later_one() -> None:
    for frequency in STEP:
        raw = plain(frequency)
        factors, macro = series(raw, ("mkt", "smb")), series(raw, ("dp", "infl"), seed=1)
        made = raw.join_benchmark(factors, units="decimal", excess=True).join_macro(
            macro, lag={"infl": 2, "dp": 1, "ep": 4}
        )
        assert made.history[-1].startswith("join_macro: lag={'dp': 1, 'infl': 2}; dp, infl; ")
        assert made.data.benchmark_returns.attrs["units"] == "decimal per period, excess"
        for t, time in enumerate(raw.times):
            at = factors.index.get_loc(time)
            np.testing.assert_array_equal(made.data.benchmark_returns.values[t], factors.iloc[at])
            assert made.data.macro.sel(predictor="dp").values[t] == macro["dp"].iloc[at - 1]
            assert made.data.macro.sel(predictor="infl").values[t] == macro["infl"].iloc[at - 2]


def long_form(wide: pd.DataFrame, dim: str, levels: tuple[str, str], seed: int = 3) -> pd.Series:
    """Rows in random order, levels in the given one."""
    rows = (
        wide.rename_axis(index="time", columns=dim).melt(ignore_index=False, value_name="v").set_index(dim, append=True)
    )
    return rows["v"].rename(None).reorder_levels(list(levels)).sample(frac=1, random_state=seed)


FORMS = {
    "long, time first": lambda wide, dim: long_form(wide, dim, ("time", dim)),
    "long, time last": lambda wide, dim: long_form(wide, dim, (dim, "time")).rename("any"),
    "long columns": lambda wide, dim: long_form(wide, dim, (dim, "time")).rename("v").reset_index(),
    "one level": lambda wide, dim: long_form(wide, dim, (dim, "time")).rename("v").reset_index("time"),
    "shuffled": lambda wide, dim: wide.sample(frac=1, random_state=1),
    "over labels": lambda wide, dim: wide.T.rename_axis(dim),
    "times in columns": lambda wide, dim: wide.T.rename_axis("time", axis="columns"),
    "a column of time": lambda wide, dim: wide.rename_axis("time").reset_index(),
    "yyyymm": lambda wide, dim: wide.set_axis(wide.index.strftime("%Y%m").astype(int)),
    "periods": lambda wide, dim: wide.set_axis(wide.index.to_period("M")),
    "text": lambda wide, dim: wide.set_axis(wide.index.strftime("%Y-%m-%d")),
    "first of the month": lambda wide, dim: wide.set_axis(wide.index - pd.offsets.MonthBegin()),
    "object": lambda wide, dim: wide.astype(object),
    "nullable": lambda wide, dim: wide.convert_dtypes(),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_and_orders_do_not_matter(form: str) -> None:
    raw = plain("monthly")
    wide = series(raw, ("mkt", "smb"))
    sizes = np.exp(series(raw, tuple(raw.data.asset.values), seed=4))
    want = raw.join_benchmark(wide, units="decimal", excess=True).join_macro(wide, lag=1).join_size(sizes, lag=2)
    given_forms = [FORMS[form](wide, dim) for dim in ("benchmark", "predictor")]
    found = raw.join_benchmark(given_forms[0], units="decimal", excess=True).join_macro(given_forms[1], lag=1)
    found = found.join_size(FORMS[form](sizes, "asset"), lag=2)
    order = {"benchmark": ["mkt", "smb"], "predictor": ["mkt", "smb"]}
    assert found.data.sel(order).identical(want.data)


def test_a_named_series_is_one_benchmark() -> None:
    raw = plain("monthly")
    wide = series(raw, ("mkt",))
    one = raw.join_benchmark(wide["mkt"], units="decimal", excess=True)
    assert one.data.identical(raw.join_benchmark(wide, units="decimal", excess=True).data)


@pytest.mark.parametrize("frequency", STEP)
def test_size_and_group_joined_are_those_that_are_read(frequency: str) -> None:
    source = frame(frequency).assign(sector=lambda rows: np.where(rows["size"] > 1, "big", "small"))
    whole = panel(frequency, source, size="size").largest(5)
    for lag in (1, 3):
        read = panel(frequency, source, size="size", group="sector", lag=lag, characteristics=["x1"])
        bare = panel(frequency, source, lag=lag, characteristics=["x1"])
        keys = source.set_index(["asset", "date"]).rename_axis(["asset", "time"])
        joined = bare.join_size(keys["size"], lag=lag).join_group(keys["sector"], lag=lag)
        members = read.data.in_universe.values
        for name in ("size", "group"):
            np.testing.assert_array_equal(joined.data[name].values[members], read.data[name].values[members])
    again = panel(frequency, source).join_size(source.pivot_table(index="date", columns="asset", values="size"), lag=1)
    narrowed = again.largest(5)
    assert narrowed.data.in_universe.equals(whole.data.in_universe)
    assert narrowed.rank_normalise().data.characteristics.equals(whole.rank_normalise().data.characteristics)


def test_percent_and_riskless_rates() -> None:
    for frequency in STEP:
        raw = plain(frequency)
        returns = series(raw, ("a", "b"), scale=2.0)
        rate = pd.Series(np.linspace(0.01, 0.02, len(returns)), returns.index).sample(frac=1, random_state=0)
        made = raw.join_portfolios(returns, units="percent", excess=False, risk_free=rate)
        want = 0.01 * returns.sub(rate, axis=0)
        np.testing.assert_allclose(
            made.data.portfolio_returns.values, want.loc[raw.times].to_numpy(), rtol=0, atol=1e-17
        )
        assert "percent, less the riskless rate" in made.history[-1]


def test_joins_add_up_and_keep_their_order() -> None:
    raw = plain("monthly")
    wide = series(raw, ("mkt", "smb", "mom"))
    made = raw.join_benchmark(wide[["mkt", "smb"]], units="decimal", excess=True)
    made = made.join_benchmark(wide[["mom"]], units="decimal", excess=True).join_macro(wide[["mkt"]], lag=1)
    made = made.join_macro(wide["mom"], lag=2)
    assert made.data.benchmark.values.tolist() == ["mkt", "smb", "mom"]
    assert made.data.predictor.values.tolist() == ["mkt", "mom"]
    np.testing.assert_array_equal(made.data.benchmark_returns.values, wide.loc[raw.times].to_numpy())
    assert made.history[-4:] == (
        "join_benchmark: decimal, excess; mkt, smb; 3 periods given not in the panel",
        "join_benchmark: decimal, excess; mom; 3 periods given not in the panel",
        "join_macro: lag=1; mkt; 3 periods given not in the panel",
        "join_macro: lag=2; mom; 3 periods given not in the panel",
    )
    with pytest.raises(DuplicateKeyError, match=r"labels of benchmark must be unique: the panel has mom \(1 in"):
        made.join_benchmark(wide["mom"], units="decimal", excess=True)


def test_prepared_and_cut_panels_take_joins_too() -> None:
    raw = plain("monthly")
    wide = series(raw, ("mkt",))
    late = raw.rank_normalise().split("2000-08")[1].join_benchmark(wide, units="decimal", excess=True)
    early = raw.join_benchmark(wide, units="decimal", excess=True).rank_normalise().split("2000-08")[1]
    assert late.data.identical(early.data)
    assert late.fingerprint == early.fingerprint != raw.rank_normalise().split("2000-08")[1].fingerprint
    live = raw.join_benchmark(wide, units="decimal", excess=True).live
    assert live.data.benchmark_returns.shape == (1, 1)


def test_the_store_keeps_what_was_joined(tmp_path: Path) -> None:
    raw = plain("monthly")
    wide = series(raw, ("mkt", "smb"))
    made = raw.join_benchmark(wide, units="decimal", excess=True).join_macro(wide, lag=1).rank_normalise()
    loaded = made.to_zarr(tmp_path / "store").load()
    for name in ("benchmark_returns", "macro"):
        xr.testing.assert_identical(loaded.data[name], made.data[name])


# Coverage


def test_a_live_period_needs_predictors_and_no_benchmark() -> None:
    raw = plain("monthly")
    past = series(raw, ("mkt",)).iloc[:-1]
    made = raw.join_benchmark(past, units="decimal", excess=True).join_macro(past, lag=1)
    assert raw.live.times[0] == raw.times[-1]
    assert np.isnan(made.data.benchmark_returns.values[-1, 0])
    assert made.data.macro.values[-1, 0] == past["mkt"].iloc[-1]
    for fault, variable, where in (
        (
            lambda: raw.join_benchmark(past.iloc[:-2], units="decimal", excess=True),
            "benchmark",
            r"2001-02, mkt\), \(2001-03, mkt",
        ),
        (lambda: raw.join_macro(past.iloc[:-1], lag=1), "macro", "2001-04, mkt"),
    ):
        with pytest.raises(DataError, match=rf"{variable}.* must be there in every period.*missing at \({where}\)"):
            fault()
    with pytest.raises(DataError, match=r"longest run without a gap: sel\(time=slice\('2000-02', '2001-03'\)\)"):
        raw.join_macro(past.iloc[:-1], lag=1)
    narrowed = raw.sel(time=slice("2000-02", "2001-03")).join_macro(past.iloc[:-1], lag=1)
    assert not np.isnan(narrowed.data.macro.values).any()


def test_a_hole_in_one_benchmark_is_refused_and_in_one_portfolio_told() -> None:
    raw = plain("monthly")
    wide = series(raw, ("a", "b"))
    wide.loc[raw.times[[2, 5]], "b"] = NAN
    for join in (
        lambda: raw.join_benchmark(wide, units="decimal", excess=True),
        lambda: raw.join_macro(wide, lag=1),
    ):
        with pytest.raises(DataError, match=r"missing at \(2000-\d\d, b\), \(2000-\d\d, b\) \(2 in all\)"):
            join()
    with pytest.warns(DataWarning, match=r"missing in 2 of 30 cells, as at \(2000-04, b\), \(2000-07, b\)"):
        made = raw.join_portfolios(wide, units="decimal", excess=True)
    assert len(made.warnings) == 1
    np.testing.assert_array_equal(made.data.portfolio_returns.values, wide.loc[raw.times].to_numpy())
    wide.loc[raw.times[2], "a"] = NAN
    with pytest.raises(DataError, match=r"one of them at least.*\(2000-04, a\), \(2000-04, b\) \(2 in all\)"):
        raw.join_portfolios(wide, units="decimal", excess=True)


def test_sizes_that_are_missing_and_assets_that_do_not_match_are_counted() -> None:
    raw = plain("monthly")
    assets = raw.data.asset.values
    wide = np.exp(series(raw, (*assets[1:], "IBM")))
    wide.loc[raw.times[3], assets[2]] = NAN
    universe = raw.data.in_universe.values
    lost = universe[:, 0].sum() + universe[4, 2]
    with pytest.warns(
        DataWarning, match=rf"size is missing in {lost} of {universe.sum()} cells.*without any size: {assets[0]} \(1 in"
    ):
        made = raw.join_size(wide, lag=1)
    assert made.history[-1] == "join_size: lag=1; 11 of 12 assets, 1 not in the panel"
    assert len(made.warnings) == 1
    assert (np.isnan(made.data["size"].values) & universe).sum() == lost
    assert assets[0] not in made.largest(12).data.asset.values
    whole = np.exp(series(raw, tuple(assets)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert raw.join_size(whole, lag=1).warnings == ()


def test_a_period_that_the_panel_has_not_is_told_unless_its_value_lands() -> None:
    raw = plain("monthly")
    wide = series(raw, ("mkt",))
    holey = raw.sel(time=[time for time in raw.times if time != raw.times[5]])
    with pytest.warns(DataWarning, match=rf"not used: {raw.times[5]:%Y-%m} \(1 in all\)"):
        join(holey, wide)
    made = holey.join_macro(wide, lag=1)
    assert made.warnings == ()
    assert made.data.macro.sel(time=raw.times[6]).item() == wide.loc[raw.times[5], "mkt"]


def test_daily_values_of_other_days_are_told() -> None:
    raw = panel("daily")
    wide = series(raw, ("mkt",))
    weekend = pd.DataFrame({"mkt": [0.01]}, [pd.Timestamp("2000-01-08")])
    with pytest.warns(DataWarning, match=r"periods that the panel has not, which are not used: 2000-01-08 \(1 in"):
        made = raw.join_benchmark(pd.concat([wide, weekend]), units="decimal", excess=True)
    assert made.data.identical(raw.join_benchmark(wide, units="decimal", excess=True).data)
    month_ends = pd.DataFrame({"dp": [1.0]}, [raw.times[3]])
    with pytest.raises(DataError, match="must be there in every period of the panel"):
        raw.join_macro(month_ends, lag=1)
    filled = month_ends.reindex(series(raw, ("x",)).index, method="ffill").fillna(0.5)
    assert raw.join_macro(filled, lag=1).data.macro.values[:, 0].tolist() == [0.5] * 4 + [1.0] * (len(raw.times) - 4)


# Groups


def test_a_group_as_of_today_is_look_ahead_unless_said_to_be_constant() -> None:
    raw = plain("monthly")
    today = pd.Series("tech", raw.data.asset.values)
    with pytest.raises(LookAheadError, match=r"sector as of today was not known before.*lag='constant'"):
        raw.join_group(today, lag=1)
    made = raw.join_group(today.replace("tech", 36.0).astype(float), lag="constant")
    assert set(made.data.group.values.ravel()) == {"36"}
    assert made.history[-1] == "join_group: constant; 12 of 12 assets, 0 not in the panel"
    assert made.audit()["cells_changed"].sum() == 0
    with pytest.raises(DuplicateKeyError, match="one value an asset: repeated S00"):
        raw.join_group(pd.Series("x", ["S00", "S00"]), lag="constant")
    with pytest.raises(DataError, match=r"with lag='constant' group must be a Series by asset"):
        raw.join_group(today.to_frame(), lag="constant")
    with pytest.raises(LookAheadError, match="lag must be a whole number"):
        raw.join_size(today, lag="constant")
    with pytest.warns(DataWarning, match=r"group is missing in \d+ of \d+ cells"):
        assert (raw.join_group(today.iloc[1:], lag="constant").data.group.values[:, 0] == "").all()


# Faults


def duplicated(to: Panel) -> pd.DataFrame:
    wide = series(to, ("mkt",))
    return pd.concat([wide, wide.iloc[[4]] + 1e-9])


def join(to: Panel, values: object, **more: object) -> Panel:
    return to.join_benchmark(values, **{"units": "decimal", "excess": True} | more)


FAULTS = {
    "lag 0": (lambda p, w: p.join_macro(w, lag=0), LookAheadError, r"lag must be at least 1: found 0"),
    "lag 0 of one": (
        lambda p, w: p.join_macro(w, lag={"mkt": 1, "smb": 0}),
        LookAheadError,
        r"lag of 'smb' must be at least 1",
    ),
    "lag of size": (lambda p, w: p.join_size(w, lag=-1), LookAheadError, "at least 1: found -1"),
    "lag in words": (lambda p, w: p.join_macro(w, lag="1"), LookAheadError, "whole number.*'1'"),
    "lag True": (lambda p, w: p.join_macro(w, lag=True), LookAheadError, "whole number.*True"),
    "lag by name for size": (lambda p, w: p.join_size(w, lag={"a": 1}), LookAheadError, "whole number"),
    "no lag for one": (
        lambda p, w: p.join_macro(w, lag={"mkt": 1, "dp": 1}),
        LookAheadError,
        r"how old every predictor is: it does not for smb \(1 in",
    ),
    "percent as decimal": (lambda p, w: join(p, 100 * w), UnitsError, "benchmark_returns must be decimal.*percent"),
    "no units": (lambda p, w: join(p, w, units="bps"), UnitsError, 'units must be "decimal"'),
    "no riskless rate": (lambda p, w: join(p, w, excess=False), UnitsError, "need risk_free"),
    "a riskless rate too many": (lambda p, w: join(p, w, risk_free=w["mkt"]), UnitsError, "cannot both hold"),
    "a riskless rate by name": (
        lambda p, w: join(p, w, excess=False, risk_free="rf"),
        DataError,
        "must be a Series by date: found str",
    ),
    "annual riskless rate": (
        lambda p, w: join(p, w, excess=False, risk_free=0 * w["mkt"] + 0.05),
        UnitsError,
        "over one period",
    ),
    "short riskless rate": (
        lambda p, w: join(p, w, excess=False, risk_free=0 * w["mkt"].iloc[:10]),
        DataError,
        r"risk_free must be known wherever there is a return: missing at \(2000-09, mkt\)",
    ),
    "riskless rate in words": (
        lambda p, w: join(p, w, excess=False, risk_free=pd.Series(["0.1%"] * len(w), w.index)),
        DataError,
        r"risk_free must be numbers: found \w+ at 1999-11, 1999-12, 2000-01 \(18 in",
    ),
    "riskless rate twice": (
        lambda p, w: join(p, w, excess=False, risk_free=pd.concat([w["mkt"], w["mkt"].iloc[:1]])),
        DuplicateKeyError,
        "risk_free must have one value a period: repeated 1999-11",
    ),
    "missing codes": (
        lambda p, w: join(
            p, (100 * w).replace(100 * w.iloc[5, 0], -99.99).replace(100 * w.iloc[5, 1], -999), units="percent"
        ),
        DataError,
        r"above -99%: found -999, and such at \(2000-04, mkt\), \(2000-04, smb\) \(2 in",
    ),
    "twice": (lambda p, w: join(p, duplicated(p)), DuplicateKeyError, r"one value a period.*repeated \(2000-03, mkt\)"),
    "two days of a month": (
        lambda p, w: join(p, w.rename(index={p.times[0]: p.times[1] - pd.Timedelta("3D")})),
        DuplicateKeyError,
        r"repeated \(2000-03, mkt\), \(2000-03, smb\) \(2 in",
    ),
    "labels twice": (lambda p, w: join(p, w.set_axis(["a", "a"], axis=1)), DuplicateKeyError, r"\(1999-11, a\)"),
    "infinite": (lambda p, w: join(p, w.replace(w.iloc[3, 0], np.inf)), DataError, r"infinite at \(2000-02, mkt\)"),
    "words": (
        lambda p, w: join(p, w.astype(object).replace(w.iloc[3, 0], "n.a.")),
        DataError,
        r"numbers: found object at \(2000-02, mkt\)",
    ),
    "not dated": (lambda p, w: join(p, w.reset_index(drop=True)), DataError, "its index only counts rows"),
    "dates in words": (lambda p, w: join(p, w.set_axis(["May"] * len(w))), DataError, "must hold dates"),
    "no labels": (lambda p, w: join(p, w.set_axis([None, "a"], axis=1)), DataError, "'benchmark' must name"),
    "no name": (lambda p, w: join(p, w["mkt"].rename(None)), DataError, "without a name"),
    "no frame": (lambda p, w: join(p, w.to_numpy()), DataError, "must be a DataFrame over time.*found ndarray"),
    "empty": (lambda p, w: join(p, w.iloc[:0]), DataError, "must hold values"),
    "no columns": (lambda p, w: join(p, w[[]]), DataError, "must hold values"),
    "empty long": (
        lambda p, w: join(p, long_form(w, "benchmark", ("time", "benchmark")).iloc[:0]),
        DataError,
        "have rows",
    ),
    "two values": (
        lambda p, w: join(p, long_form(w, "benchmark", ("time", "benchmark")).rename("a").to_frame().assign(b=1.0)),
        DataError,
        r"one column of values: found a, b \(2 in",
    ),
    "unnamed levels": (
        lambda p, w: join(p, long_form(w, "x", ("time", "x")).rename_axis([None, None])),
        DataError,
        "levels named so: found Series",
    ),
    "a name twice": (
        lambda p, w: join(p, w.rename_axis("time").assign(time=1.0)),
        DataError,
        r"\['time'\] is both an index level and a column",
    ),
    "another time": (
        lambda p, w: join(p, w.set_axis(w.index - pd.DateOffset(years=20))),
        AlignmentError,
        "it runs 2000-02 to 2001-04, values are dated 1979-11 to 1981-04, and none lands",
    ),
    "other assets": (
        lambda p, w: p.join_size(w, lag=1),
        AlignmentError,
        r"it has S00, S01, S02 \(12 in all\), given are mkt, smb \(2 in all\).*another identifier",
    ),
    "constant strangers": (
        lambda p, w: p.join_group(pd.Series("x", ["IBM"]), lag="constant"),
        AlignmentError,
        "given are IBM",
    ),
    "sizes of another time": (
        lambda p, w: p.join_size(w.set_axis(["S00", "S01"], axis=1).iloc[:1], lag=1),
        AlignmentError,
        "values are dated 1999-11 to 1999-11, and none lands",
    ),
    "size as of today": (
        lambda p, w: p.join_size(pd.Series(1.0, ["S00"]), lag=1),
        DataError,
        "size must be over time and asset: found Series",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults(fault: str) -> None:
    call, error, message = FAULTS[fault]
    raw = plain("monthly")
    with pytest.raises(error, match=message) as caught:
        call(raw, series(raw, ("mkt", "smb")))
    assert type(caught.value) is error


def test_a_second_size_is_refused() -> None:
    sized = panel(size="size")
    with pytest.raises(DuplicateKeyError, match="has 'size' already"):
        sized.join_size(np.exp(series(sized, ("S00",))), lag=1)


def test_odd_returns_are_told() -> None:
    raw = panel(source=simulate.frame(n_months=30, n_assets=12, n_characteristics=2, seed=2))
    wide = series(raw, ("mkt",))
    with pytest.warns(DataWarning, match=r"hardly ever negative: rf \(1 in all\)"):
        made = join(raw, wide.assign(rf=0.003))
    assert "rf" in made.warnings[0]
    with pytest.warns(DataWarning, match=r"the median \|return\| of benchmark_returns is .*not in percent"):
        join(raw, wide, units="percent")


# Look-ahead


@pytest.mark.parametrize("frequency", STEP)
def test_the_audit_replays_joins_on_truncated_data(frequency: str) -> None:
    raw = plain(frequency)
    wide = series(raw, ("mkt", "smb"))
    sizes = np.exp(series(raw, tuple(raw.data.asset.values)))
    made = join(raw, wide).join_macro(wide, lag={"mkt": 1, "smb": 3}).join_size(sizes, lag=1)
    made = made.join_portfolios(wide, units="decimal", excess=True).largest(6).rank_normalise()
    table = made.audit(list(made.times[1:-1]))
    assert {"benchmark_returns", "portfolio_returns", "macro", "size"} <= set(table["variable"])
    assert table["cells_changed"].sum() == 0


@pytest.mark.parametrize("frequency", STEP)
@pytest.mark.parametrize("variable", ["macro", "size"])
def test_the_audit_catches_a_join_that_lands_a_period_early(frequency: str, variable: str) -> None:
    raw = plain(frequency)
    names = tuple(raw.data.asset.values) if variable == "size" else ("dp",)
    joined = known_before(raw, variable, series(raw, names, before=5), 1)
    early = dataclasses.replace(joined, lag=joined.lag - 1)
    assert raw._join(joined).audit()["cells_changed"].sum() == 0
    with pytest.raises(LookAheadError, match=f"may change with later data: {variable} does"):
        raw._join(early).audit()


def test_the_audit_sees_joined_data_that_a_step_spreads_over_time() -> None:
    raw = plain("monthly")
    made = raw.join_macro(series(raw, ("dp",)), lag=1)
    spread = made.apply(lambda data: data.assign(macro=data.macro - data.macro.mean("time")), "demeaned")
    with pytest.raises(LookAheadError, match="macro does"):
        spread.audit()


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(list(STEP)), st.integers(1, 3), st.integers(1, N - 1), st.integers(0, 10**6))
def test_later_values_change_nothing_known_before(frequency: str, lag: int, cut: int, seed: int) -> None:
    raw = plain(frequency)
    wide = series(raw, ("a", "b"), before=4)
    assets = tuple(raw.data.asset.values)
    sizes = np.exp(series(raw, assets, before=4))
    when, rng = raw.times[cut], np.random.default_rng(seed)

    def made(one: pd.DataFrame, other: pd.DataFrame) -> Panel:
        return join(raw, one).join_macro(one, lag=lag).join_size(other, lag=lag)

    def spoilt(one: pd.DataFrame) -> pd.DataFrame:
        later = one.index > when
        one = one.mask(np.broadcast_to(later[:, None], one.shape), np.exp(-3 + rng.standard_normal(one.shape)))
        return one.sample(frac=1, random_state=seed % 1000)

    before, after = made(wide, sizes).data, made(spoilt(wide), spoilt(sizes)).data
    horizon = raw.times[cut + 1]
    for name in ("macro", "size"):
        xr.testing.assert_identical(
            before[name].sel(time=slice(None, horizon)), after[name].sel(time=slice(None, horizon))
        )
    xr.testing.assert_identical(
        before.benchmark_returns.sel(time=slice(None, when)), after.benchmark_returns.sel(time=slice(None, when))
    )


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_values_land_where_a_slow_loop_puts_them(data: st.DataObject) -> None:
    frequency = data.draw(st.sampled_from(["monthly", "weekly"]))
    lag = data.draw(st.integers(1, 6))
    raw = plain(frequency)
    assets = tuple(raw.data.asset.values[:4])
    wide = series(raw, assets, before=8, seed=data.draw(st.integers(0, 99)))
    rows = long_form(wide, "asset", ("asset", "time")).sample(frac=0.7, random_state=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        made = raw.join_size(rows, lag=lag).data["size"]
    unit = "M" if frequency == "monthly" else "W-SUN"
    known = {(asset, time.to_period(unit)): value for (asset, time), value in rows.items()}
    for time in raw.times:
        for asset in raw.data.asset.values:
            want = known.get((asset, time.to_period(unit) - lag), NAN)
            np.testing.assert_equal(made.sel(time=time, asset=asset).item(), want)


def test_a_join_of_what_never_changes_needs_no_dates() -> None:
    raw = plain("monthly")
    joined = known_before(raw, "group", pd.Series("x", raw.data.asset.values), "constant")
    assert isinstance(joined, Joined)
    assert joined.known_at(np.datetime64("2000-05-31")) is joined


# Real files


def test_market_of_the_french_library_is_that_of_its_portfolios(shared_data: Path) -> None:
    source = pd.read_parquet(shared_data / "panels" / "french_portfolios_panel_1963_2025.parquet")
    told = {"returns_over": "next", "lag": 0, "units": "decimal", "excess": True, "returns": "xret_next"}
    raw = read_frame(source, time="date", asset="asset", characteristics=["log_me", "rev_1m"], **told)
    path = shared_data / "french_raw" / "F-F_Research_Data_Factors__crsp202510.csv"
    table = pd.read_csv(path, skiprows=4, nrows=1192, index_col=0)  # 1926-07 to 2025-10
    macro = pd.read_csv(shared_data / "macro" / "welch_goyal_predictors_derived_1926_2024.csv", index_col="date")
    with pytest.warns(DataWarning, match=r"hardly ever negative: RF \(1 in all\)"):
        raw.join_benchmark(table, units="percent", excess=True)
    made = raw.join_benchmark(table.drop(columns="RF"), units="percent", excess=True)
    with pytest.raises(DataError, match=r"macro must be there in every period.*'1963-08', '2025-01'"):
        made.join_macro(macro[["dp", "infl"]], lag={"dp": 1, "infl": 2})
    made = made.sel(time=slice(None, "2025-01")).join_macro(macro[["dp", "infl"]], lag={"dp": 1, "infl": 2})
    july = made.data.sel(time="1990-07-31")
    assert july.benchmark_returns.sel(benchmark="Mkt-RF").item() == pytest.approx(-0.0190)
    assert july.macro.sel(predictor="dp").item() == macro.loc["1990-06-30", "dp"]
    assert july.macro.sel(predictor="infl").item() == macro.loc["1990-05-31", "infl"]
    average = made.data.returns.mean("asset").values
    assert np.corrcoef(average, made.data.benchmark_returns.values[:, 0])[0, 1] > 0.95
    assert made.rank_normalise().audit()["cells_changed"].sum() == 0


def dated_on(frame: pd.DataFrame, weekday: int) -> pd.DataFrame:
    """A weekly frame whose rows are dated so many days before its Fridays."""
    return frame.assign(date=frame["date"] - pd.to_timedelta(4 - weekday, unit="D"))


@pytest.mark.parametrize("origin", ["frame", "levels", "csv", "parquet"])
def test_a_midweek_panel_takes_no_later_day_of_the_week_before(origin: str, tmp_path: Path) -> None:
    source: object = dated_on(frame("weekly"), 2)
    assert isinstance(source, pd.DataFrame)
    if origin == "levels":
        source = source.set_index(["date", "asset"])
    elif origin == "csv":
        source.to_csv(tmp_path / "it.csv", index=False)
        source = tmp_path / "it.csv"
    elif origin == "parquet":
        source.to_parquet(tmp_path / "it.parquet")
        source = tmp_path / "it.parquet"
    raw = read(source, "weekly")  # type: ignore[arg-type]
    macro = series(raw, ("dp",))
    sizes = np.exp(series(raw, tuple(raw.data.asset.values)))
    for call in (
        lambda lag: raw.join_macro(macro, lag=lag),
        lambda lag: raw.join_macro(macro, lag={"dp": lag}),
        lambda lag: raw.join_size(sizes, lag=lag),
        lambda lag: raw.join_group((sizes > 1).astype(int), lag=lag),
    ):
        with pytest.raises(LookAheadError, match=r"dated mostly Wednesday.*\(20\d\d-\d\d-\d\d, .*lag=2"):
            call(1)
        call(2)
    wednesdays = macro.set_axis(macro.index - pd.Timedelta(2, "D"))
    assert raw.join_macro(wednesdays, lag=1).audit().cells_changed.sum() == 0
    raw.join_macro(macro.set_axis(macro.index - pd.Timedelta(7, "D")), lag=2)
    raw.join_benchmark(macro, units="decimal", excess=True)


def test_a_panel_of_whole_weeks_takes_fridays_and_weekends() -> None:
    raw = panel("weekly")
    macro = series(raw, ("dp",))
    for later in (0, 2):
        raw.join_macro(macro.set_axis(macro.index + pd.Timedelta(later, "D")), lag=1)


def test_a_mid_month_panel_warns_of_later_days() -> None:
    source = frame()
    raw = read(source.assign(date=source["date"].dt.strftime("%Y-%m-15")), "monthly")
    macro = series(raw, ("dp",))
    with pytest.warns(DataWarning, match=r"after day 15 of the month at \(20\d\d-\d\d-3\d, dp\).*lag=2") as warned:
        joined = raw.join_macro(macro, lag=1)
    assert joined.warnings == (str(warned[0].message),)
    raw.join_macro(macro, lag=2)
    raw.join_macro(macro.set_axis(macro.index.strftime("%Y-%m-15")), lag=1)
    read(source.assign(date=source["date"].dt.strftime("%Y-%m-01")), "monthly").join_macro(macro, lag=1)


def test_days_before_a_daily_panel_are_days_of_trading() -> None:
    """Predictors of every calendar day: three days before a Tuesday is the Thursday of the week before."""
    raw = plain("daily")
    days = pd.date_range(end=raw.times[-1], periods=60, freq="D")
    macro = pd.DataFrame({"dp": np.arange(60.0)}, days)[(days < raw.times[0]) | (days.day_of_week < 5)]
    for lag in (1, 3, 6):
        joined = raw.join_macro(macro, lag=lag).data.macro.values[:, 0]
        for t, time in enumerate(raw.times):
            assert joined[t] == macro["dp"][time - lag * pd.offsets.BDay()], (lag, time)


def test_days_before_a_panel_of_every_day_are_every_day() -> None:
    source = simulate.frame(n_months=20, n_assets=4, n_characteristics=2, seed=1, frequency="daily")
    old = sorted(source["date"].unique())
    source = source.assign(
        date=source["date"].map(dict(zip(old, pd.date_range(old[0], periods=len(old)), strict=True)))
    )
    raw = read(source, "daily")
    macro = pd.DataFrame({"dp": np.arange(60.0)}, pd.date_range(end=raw.times[-1], periods=60, freq="D"))
    joined = raw.join_macro(macro, lag=4).data.macro.values[:, 0]
    np.testing.assert_array_equal(joined, macro["dp"][raw.times - pd.Timedelta(4, "D")])


def said(frame: pd.DataFrame | pd.Series, **words: object) -> pd.DataFrame | pd.Series:
    frame = frame.copy()
    frame.attrs = words
    return frame


def test_what_a_reader_found_is_not_told_otherwise() -> None:
    raw = plain("monthly")
    factors = series(raw, ("Mkt-RF", "SMB"))
    rate = series(raw, ("RF",), scale=0.001)["RF"].abs()
    portfolios = said(factors, units="decimal", excess=False, frequency="monthly")
    zero_cost = said(factors, units="decimal", excess=True, frequency="monthly")
    with pytest.raises(UnitsError, match=r"portfolio_returns .*excess is False in attrs, told True.*attrs = {}"):
        raw.join_portfolios(portfolios, units="decimal", excess=True)
    with pytest.raises(UnitsError, match=r"benchmark_returns .*excess is True in attrs, told False"):
        raw.join_benchmark(zero_cost, units="decimal", excess=False, risk_free=rate)
    with pytest.raises(UnitsError, match=r"units is 'decimal' in attrs, told 'percent'"):
        raw.join_benchmark(zero_cost, units="percent", excess=True)
    with pytest.raises(UnitsError, match=r"risk_free .*units is 'decimal' in attrs, told 'percent'"):
        raw.join_portfolios(factors * 100, units="percent", excess=False, risk_free=said(rate, units="decimal"))
    raw.join_benchmark(zero_cost, units="decimal", excess=True)
    raw.join_portfolios(portfolios, units="decimal", excess=False, risk_free=said(rate, units="decimal", excess=False))
    mine = said(factors, units="per month", excess="of the bill")  # words of others
    raw.join_benchmark(mine, units="decimal", excess=True)
