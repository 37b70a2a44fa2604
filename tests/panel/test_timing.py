"""What is known when: data after t change nothing up to t, and the audit catches what does not keep to it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from bayesfactor.errors import EmptyWindowError, LookAheadError
from bayesfactor.panel import Panel, read_frame, simulate

TOLD = {
    "time": "date",
    "asset": "asset",
    "returns": "ret",
    "units": "decimal",
    "excess": True,
    "size": "size",
    "frequency": "monthly",
}
AGES = [("row", 1), ("row", 3), ("next", 0), ("next", 2), ("row", None), ("next", None)]
AFTER = ("returns", "observed")


def source(seed: int = 1, n_assets: int = 40) -> pd.DataFrame:
    frame = simulate.frame(n_months=14, n_assets=n_assets, n_characteristics=2, seed=seed, ragged=True, missing=0.1)
    rng = np.random.default_rng(seed)
    frame = frame[rng.random(len(frame)) < 0.95].reset_index(drop=True)
    delay = pd.to_timedelta(rng.integers(0, 80, len(frame)), unit="D")
    return frame.assign(filed=frame["date"] + delay, sector=rng.choice(["oil", "tech"], len(frame)))


def read(frame: pd.DataFrame, returns_over: str, age: int | None, missing: str = "median") -> Panel:
    how_old = {"available": "filed"} if age is None else {"lag": age}
    names = ["x1", "x2"]
    return read_frame(
        frame,
        **TOLD,
        **how_old,
        returns_over=returns_over,
        characteristics=names,
        group="sector",
        missing=missing,
    )


def prepare(panel: Panel) -> Panel:
    return panel.covered(0.5).largest(25).rank_normalise()


def spoil_after(frame: pd.DataFrame, cut: pd.Timestamp, returns_over: str, age: int | None, seed: int) -> pd.DataFrame:
    """Change, drop and add whatever was not known at the end of `cut`."""
    rng = np.random.default_rng(seed)
    later = (frame["date"] > cut).to_numpy()
    secret = (frame["filed"] > cut).to_numpy() if age is None else later
    untold = (frame["date"] > cut - pd.offsets.MonthBegin()).to_numpy() if returns_over == "next" else later
    frame = frame.copy()
    frame.loc[untold, "ret"] = 0.1 * rng.standard_normal(untold.sum())
    for name in ("x1", "x2", "size"):
        frame.loc[secret, name] = np.where(
            rng.random(secret.sum()) < 0.2, np.nan, 9 * rng.standard_normal(secret.sum())
        )
    frame.loc[secret, "sector"] = "other"
    if age is None:
        earliest = frame.loc[secret, "date"].clip(lower=cut)  # never before the row's own date
        frame.loc[secret, "filed"] = earliest + pd.to_timedelta(rng.integers(1, 90, secret.sum()), unit="D")
        later = later & secret
    frame = frame[~later | (rng.random(len(frame)) < 0.7)]
    dates = cut + pd.offsets.MonthEnd(1) * np.arange(1, 4)
    new = pd.DataFrame({"date": dates, "asset": "NEW", "ret": 0.2, "size": 1e9, "x1": 99.0, "x2": -99.0})
    return pd.concat([frame, new.assign(filed=new["date"], sector="new")]).sample(frac=1, random_state=seed)


def assert_equal_until(one: Panel, other: Panel, cut: pd.Timestamp) -> None:
    """Bit by bit, for the assets of both, up to `cut` and, of what is known before, one period on."""
    horizon = cut + pd.offsets.MonthEnd(1)
    first, second = (panel.data.sel(time=slice(None, horizon)) for panel in (one, other))
    assert first.indexes["time"].equals(second.indexes["time"])
    assets = first.indexes["asset"].intersection(second.indexes["asset"])
    for data in (first, second):
        assert not data.in_universe.drop_sel(asset=assets).any()
    for name in first.data_vars:
        until = cut if name in AFTER else horizon
        pair = [data[name].sel(time=slice(None, until), asset=assets) for data in (first, second)]
        xr.testing.assert_identical(*(array.transpose(*first[name].dims) for array in pair))


@pytest.mark.filterwarnings("ignore::bayesfactor.errors.DataWarning")  # the newcomer can be alone in late months
@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    age=st.sampled_from(AGES),
    back=st.integers(2, 9),
    seed=st.integers(0, 10**6),
    missing=st.sampled_from(["median", "indicator"]),
)
def test_data_after_t_change_nothing_up_to_t(age: tuple, back: int, seed: int, missing: str) -> None:
    frame = source()
    cut = np.sort(frame["date"].unique())[-back]
    cut = pd.Timestamp(cut)
    spoilt = spoil_after(frame, cut, *age, seed=seed)
    assert_equal_until(prepare(read(frame, *age, missing)), prepare(read(spoilt, *age, missing)), cut)


@pytest.mark.parametrize("age", AGES)
def test_the_audit_passes_what_keeps_its_time(age: tuple) -> None:
    panel = prepare(read(source(), *age))
    cuts = list(panel.times[:-1])
    table = panel.audit(cuts)
    assert list(table.columns) == ["cut", "variable", "cells_compared", "cells_changed"]
    assert table["cells_changed"].sum() == 0
    assert set(table["cut"]) == set(cuts)
    assert set(table["variable"]) == {str(name) for name in panel.data}
    compared = table[table["variable"] == "characteristics"].set_index("cut")["cells_compared"]
    assert compared.is_monotonic_increasing
    assert compared.iloc[0] > 0


@pytest.mark.parametrize("frequency", ["weekly", "daily"])
def test_the_audit_runs_on_weeks_and_days(frequency: str) -> None:
    frame = simulate.frame(n_months=12, n_assets=20, n_characteristics=2, seed=4, ragged=True, frequency=frequency)
    frame = frame[frame["date"] != frame["date"].unique()[6]]  # a week without data, or a holiday
    told = TOLD | {"frequency": None, "returns_over": "row", "lag": 1}
    panel = read_frame(frame, **told).rank_normalise()
    assert panel.frequency == frequency
    assert panel.audit(list(panel.times[:-1]))["cells_changed"].sum() == 0


def test_parts_and_selections_are_audited_too() -> None:
    panel = prepare(read(source(), "row", 1))
    before, after = panel.split("2000-09")
    odd = panel.sel(time=["2000-04", "2001-02"], asset=list(panel.data.asset.values[:9]), characteristic="x2")
    for part in (before, after, odd):
        table = part.audit()
        assert table["cells_changed"].sum() == 0
        assert (table.groupby("variable")["cells_compared"].sum() > 0).all()


def whole_sample_z_score(data: xr.Dataset) -> xr.Dataset:
    x = data.characteristics
    dims = ("time", "asset")
    return data.assign(characteristics=(x - x.mean(dims)) / x.std(dims))


def universe_of_the_observed(data: xr.Dataset) -> xr.Dataset:
    return data.assign(in_universe=data.in_universe & data.observed)


def same_month_return(data: xr.Dataset) -> xr.Dataset:
    x = data.characteristics.copy()
    x[:, :, 0] = data.returns
    return data.assign(characteristics=x, missing=np.isnan(x))


def lead(data: xr.Dataset) -> xr.Dataset:
    x = data.characteristics.shift(time=-1)
    return data.assign(characteristics=x, missing=np.isnan(x))


def assets_by_last_size(data: xr.Dataset) -> xr.Dataset:
    survivors = data.in_universe.isel(time=-1)
    return data.assign(in_universe=data.in_universe & survivors)


def columns_by_coverage(data: xr.Dataset) -> xr.Dataset:
    covered = (~data.missing).where(data.in_universe).mean(("time", "asset"))
    return data.isel(characteristic=[int(covered.values.argmax())])


@pytest.mark.parametrize(
    ("plant", "variable"),
    [
        (whole_sample_z_score, "characteristics"),
        (universe_of_the_observed, "in_universe"),
        (same_month_return, "characteristics|missing"),
        (lead, "characteristics|missing|in_universe"),
        (assets_by_last_size, "in_universe"),
    ],
)
def test_the_audit_catches_planted_look_ahead(plant, variable: str) -> None:
    panel = read(source(), "row", 1).apply(plant, plant.__name__)
    assert panel.history[-1] == f"apply: {plant.__name__}"
    cells = r"\(2000-\d\d, S\d\d(, x\d)?\), \(2000-\d\d, S\d\d(, x\d)?\), .*in all\)"
    with pytest.raises(LookAheadError, match=rf"nothing known at 2000-08.*: ({variable}) does, at {cells}"):
        panel.audit(["2000-08"])


def test_the_audit_catches_columns_chosen_with_later_data() -> None:
    frame = source()
    early = frame["date"] < "2000-08"
    frame.loc[early & (frame.index % 3 > 0), "x1"] = np.nan
    frame.loc[~early & (frame.index % 3 > 0), "x2"] = np.nan
    panel = read(frame, "row", 1).apply(columns_by_coverage, "the best covered")
    assert panel.characteristics == ("x1",)
    with pytest.raises(LookAheadError, match=r"they are \['x2'\], with later data \['x1'\]"):
        panel.audit(["2000-05"])


def test_a_panel_that_began_as_a_dataset_is_audited_on_truncated_data() -> None:
    data = read(source(), "row", 1).data
    assert Panel(data, "monthly").rank_normalise().audit()["cells_changed"].sum() == 0
    with pytest.raises(LookAheadError, match="characteristics does"):
        Panel(data, "monthly").apply(whole_sample_z_score, "z").audit()


def test_a_cut_must_be_a_period_of_the_panel() -> None:
    with pytest.raises(EmptyWindowError, match="1999-01 is not"):
        read(source(), "row", 1).audit(["1999-01"])


def test_the_audit_of_a_file_reads_it_again(tmp_path) -> None:
    path = tmp_path / "panel.parquet"
    source().to_parquet(path)
    assert read(path, "next", 0).rank_normalise().audit(["2000-08"])["cells_changed"].sum() == 0
