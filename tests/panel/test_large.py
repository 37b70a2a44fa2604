"""What makes large panels cheap changes nothing: ranks by integers, Parquet by column, arrays taken without a copy."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from bayesfactor.errors import DataError, DuplicateKeyError
from bayesfactor.panel import Panel, read_frame, simulate
from bayesfactor.panel.preparation import ascending, centred_ranks

TOLD = {
    "time": "date",
    "asset": "asset",
    "returns": "ret",
    "returns_over": "row",
    "lag": 1,
    "units": "decimal",
    "excess": True,
}
NEIGHBOURS = [float(np.nextafter(1.0, 2.0)), 1.0, float(np.nextafter(1.0, 0.0)), 0.0, -0.0, 5e-324, -5e-324]
VALUES = st.one_of(
    st.floats(allow_nan=False), st.sampled_from([*NEIGHBOURS, *(-value for value in NEIGHBOURS)]), st.integers(-3, 3)
)


@settings(max_examples=200, deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=70))
def test_ascending_sorts_every_float(values: list[float]) -> None:
    given_values = np.array(values, dtype=float)
    order = ascending(given_values)
    np.testing.assert_array_equal(np.sort(order), np.arange(len(values)))
    np.testing.assert_array_equal(given_values[order], np.sort(given_values))


def test_ascending_tells_neighbours_apart_that_share_all_but_the_last_bits() -> None:
    values = np.nextafter(1.0, 2.0) + np.spacing(1.0) * np.random.default_rng(0).permutation(1000)
    np.testing.assert_array_equal(values[ascending(values)], np.sort(values))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(VALUES, st.just(np.nan)), min_size=1, max_size=40), st.integers(1, 3))
def test_ranks_are_those_of_scipy_to_the_bit(values: list[float], columns: int) -> None:
    finite = np.nan_to_num(np.array(values, dtype=float), nan=np.nan, posinf=1.0, neginf=-1.0)
    block = np.stack([np.roll(finite, k) for k in range(columns)], axis=1)
    absent = np.isnan(block)
    ranks = rankdata(np.where(absent, np.inf, block), axis=0)
    last = np.maximum((~absent).sum(axis=0) - 1, 1)
    np.testing.assert_array_equal(centred_ranks(block), np.where(absent, np.nan, 2 * (ranks - 1) / last - 1))


def wide(n_characteristics: int) -> pd.DataFrame:
    """A frame of float32 signals."""
    shape = {"n_months": 20, "n_assets": 60, "n_characteristics": n_characteristics}
    frame = simulate.frame(**shape, seed=5, ragged=True, missing=0.1)
    signals = [name for name in frame if str(name).startswith("x")]
    return frame.astype(dict.fromkeys(signals, "float32"))


def test_float32_columns_are_widened_and_nothing_else(tmp_path: Path) -> None:
    frame = wide(4)
    signals = [str(name) for name in frame if str(name).startswith("x")]
    frame.to_parquet(tmp_path / "narrow.parquet")
    widened = read_frame(frame.astype(dict.fromkeys(signals, "float64")), **TOLD)
    for source in (frame, tmp_path / "narrow.parquet"):
        panel = read_frame(source, **TOLD)
        assert panel.fingerprint == widened.fingerprint
        assert panel.audit()["cells_changed"].sum() == 0


@pytest.mark.parametrize(
    "write",
    [
        lambda frame, path: frame.to_parquet(path),
        lambda frame, path: frame.to_parquet(path, index=False, row_group_size=97),
        lambda frame, path: frame.set_index(["asset", "date"]).to_parquet(path),
        lambda frame, path: frame.set_index("date").to_parquet(path),
        lambda frame, path: frame.set_index(frame.index[::-1]).iloc[3:].to_parquet(path),
        lambda frame, path: frame.astype({"asset": "category", "x2": "Float64"}).to_parquet(path),
        lambda frame, path: frame.set_index(pd.Index(np.arange(len(frame)), name="x9")).to_parquet(path),
        lambda frame, path: pq.write_table(pa.Table.from_pandas(frame).replace_schema_metadata(), path),
    ],
)
def test_columns_read_one_by_one_are_those_of_the_whole_file(write: Callable, tmp_path: Path) -> None:
    frame = wide(3).rename(columns={"x3": "x1.z"})  # Parquet also writes "x1.z" for the field z of a structure x1
    frame["count"] = np.arange(len(frame)) % 7
    write(frame, tmp_path / "panel.parquet")
    by_column, whole = (
        read_frame(source, **TOLD)
        for source in (tmp_path / "panel.parquet", pd.read_parquet(tmp_path / "panel.parquet"))
    )
    assert by_column.fingerprint == whole.fingerprint
    assert {"x1", "x2", "x1.z", "count"} <= set(by_column.characteristics)


def test_columns_named_by_numbers_are_read(tmp_path: Path) -> None:
    frame = wide(2).rename(columns={"date": 0, "asset": 1, "ret": 2, "x1": 3, "x2": 4})
    frame[list(range(5))].to_parquet(tmp_path / "numbers.parquet")
    told = TOLD | {"time": "0", "asset": "1", "returns": "2"}
    expected = read_frame(frame[list(range(5))], **told)
    assert read_frame(tmp_path / "numbers.parquet", **told).fingerprint == expected.fingerprint


def test_faults_of_a_parquet_file_are_named_as_those_of_its_frame(tmp_path: Path) -> None:
    frame, path = wide(3), tmp_path / "panel.parquet"
    infinite = frame.assign(x2=frame["x2"].where(frame.index != 7, np.inf))
    words = frame.assign(x3=frame["x3"].astype(object).where(frame.index != 5, "n/a").astype(str))
    for spoilt, characteristics in ((infinite, None), (words, ["x1", "x3"])):
        spoilt.to_parquet(path)
        messages = []
        for source in (path, spoilt):
            with pytest.raises(DataError, match=r"\(1 in all\)") as caught:
                read_frame(source, **TOLD, characteristics=characteristics)
            messages.append(str(caught.value))
        assert messages[0] == messages[1]
    doubled = pa.Table.from_pandas(frame, preserve_index=False)
    pq.write_table(doubled.append_column("x1", doubled.column("x2")), path)
    with pytest.raises(DuplicateKeyError, match="column names must be unique: repeated x1"):
        read_frame(path, **TOLD)


def test_damage_behind_the_footer_names_the_column(tmp_path: Path) -> None:
    path = tmp_path / "panel.parquet"
    wide(3).to_parquet(path, compression="gzip")
    offset = pq.read_metadata(path).row_group(0).column(4).data_page_offset
    damaged = bytearray(path.read_bytes())
    damaged[offset : offset + 400] = b"\x00" * 400
    path.write_bytes(damaged)
    with pytest.raises(DataError, match=r"cannot read column 'x\d' of .*panel\.parquet"):
        read_frame(path, **TOLD)


@pytest.mark.parametrize(
    "labels", [[1, "1", 1.5], [True, 1, "01"], ["a.", "a", "B"], ["b", "é", "B"], [25.0, 1e15, -1.0]]
)
def test_labels_are_sorted_texts_of_what_was_written(labels: list) -> None:
    dates = pd.date_range("2000-01-31", periods=4, freq="ME")
    rows = [(date, label) for date, label in itertools.product(dates, labels)]
    frame = pd.DataFrame(rows, columns=["date", "asset"]).assign(ret=0.01)
    frame["x"] = np.random.default_rng(0).standard_normal(len(frame))
    texts = frame["asset"].map(lambda label: str(label).removesuffix(".0"))
    if len(set(texts)) < len(labels):
        with pytest.raises(DuplicateKeyError, match=r"repeated \(2000-01, 1\)"):
            read_frame(frame, **TOLD)
        return
    panel = read_frame(frame, **TOLD)
    assert panel.data.asset.values.tolist() == sorted(set(texts))
    for label in set(texts):
        seen = panel.data.characteristics.sel(asset=label).values[:, 0]
        np.testing.assert_array_equal(seen, frame.loc[texts == label, "x"])


def test_missing_groups_are_empty_whatever_the_others_are_called() -> None:
    frame = wide(2)
    for names in (["nan", None, "None"], [0.0, np.nan, 7.0], ["", "tech", None]):
        group = pd.Series([names[row % 3] for row in range(len(frame))], index=frame.index)
        panel = read_frame(frame.assign(group=group), **TOLD, characteristics=["x1", "x2"], group="group")
        texts = {"" if pd.isna(name) else str(int(name) if isinstance(name, float) else name) for name in names}
        assert set(np.unique(panel.data.group.values)) == texts | {""}


def test_reading_and_ranking_keep_no_more_than_two_grids_and_their_masks(tmp_path: Path) -> None:
    path = tmp_path / "panel.parquet"
    rng = np.random.default_rng(0)
    keys = pd.MultiIndex.from_product([pd.date_range("1990-01-31", periods=100, freq="ME"), range(600)])
    frame = pd.DataFrame(rng.standard_normal((len(keys), 40), dtype=np.float32), keys.set_names(["date", "asset"]))
    frame.add_prefix("x").assign(ret=0.1 * rng.standard_normal(len(keys))).to_parquet(path)
    expected = read_frame(path, **TOLD)  # what is loaded late is loaded now
    grid = expected.data.characteristics.nbytes
    del expected
    tracemalloc.start()
    try:
        panel = read_frame(path, **TOLD)
        after_reading, most_reading = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        ranked = panel.rank_normalise()
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert ranked.prepared
    # In grids: 1 + 1/8 for the mask, and less than 1/2 for columns of float32. What goes with rows or with one month is
    # a few hundredths; one more copy of a grid would be a whole one.
    assert after_reading < 1.3 * grid
    assert most_reading < 1.9 * grid
    assert most < 2.6 * grid


def test_only_arrays_that_nobody_can_write_to_are_shared() -> None:
    data = read_frame(wide(3), **TOLD).data
    again = Panel(data, "monthly").data
    assert np.shares_memory(again.characteristics.values, data.characteristics.values)
    frozen_view = np.array(data.characteristics.values)[:]
    frozen_view.setflags(write=False)
    writable = np.array(data.characteristics.values)
    for values in (frozen_view, writable, np.asfortranarray(writable)):
        given_data = data.assign(characteristics=xr.DataArray(values, data.characteristics.coords))
        taken = Panel(given_data, "monthly").data.characteristics.values
        assert not np.shares_memory(taken, values)
        assert taken.flags.c_contiguous
        assert not taken.flags.writeable
