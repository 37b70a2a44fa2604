"""Panels on disk: what is written comes back, in pieces too; no damage is silent; minibatches take little memory."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import bayesfactor as bf
from bayesfactor.errors import AlignmentError, CorruptResultError, DataError, EmptyWindowError
from bayesfactor.panel import Panel, PanelArrays, read_frame, simulate, store

WHOLE = ("varies", "return_scale", "periods_per_year")  # not by month
THREAD = "bayesfactor-panel-store"
DRAWN = [[9, 5, 3, 7], [8, 10, 11, 7], [0, 3, 6, 1]]


def raw(n_months: int = 12, missing: str = "median", seed: int = 3) -> Panel:
    """A ragged panel whose last month is live."""
    return read_frame(
        simulate.frame(n_months=n_months, n_assets=20, n_characteristics=3, seed=seed, ragged=True, missing=0.1),
        time="date",
        asset="asset",
        returns="ret",
        returns_over="row",
        lag=1,
        units="decimal",
        excess=True,
        size="size",
        missing=missing,
    )


def prepared(**settings: object) -> Panel:
    return raw(**settings).rank_normalise()


def rich() -> Panel:
    """Every optional variable, indicators, and a month without returns in the middle."""
    panel = prepared(missing="indicator")
    data, n = panel.data, len(panel.times)
    rng = np.random.default_rng(0)
    sectors = np.where(data.in_universe, rng.choice(["tech", "energy"], data.in_universe.shape), "")
    silent = data.time == data.time[4]
    return Panel(
        data.drop_vars("observed").assign(
            returns=data.returns.where(~silent & data.in_universe),
            size=data["size"].where(data.in_universe),
            group=(("time", "asset"), sectors),
            benchmark_returns=(("time", "benchmark"), rng.normal(0, 0.02, (n, 2))),
            macro=(("time", "predictor"), rng.normal(size=(n, 1))),
            benchmark=["mkt", "smb"],
            predictor=["dp"],
        ),
        "monthly",
        "rank",
        missing="indicator",
        history=("made here",),
        warnings=("odd",),
    )


NOT_STORED = ("size", "benchmarks", "portfolios")  # by month: a model that needs them is fitted in memory


def same(found: PanelArrays, wanted: PanelArrays, positions: object = slice(None)) -> None:
    for name in PanelArrays._fields:
        one, other = getattr(found, name), getattr(wanted, name)
        if name in NOT_STORED and (one is None or other is None):
            continue
        assert one.dtype == other.dtype, name
        if name == "return_scale":
            np.testing.assert_allclose(one, other, rtol=20 * np.finfo(one.dtype).eps)
        else:
            np.testing.assert_array_equal(one, other if name in WHOLE else other[positions], err_msg=name)


def in_universe_only(panel: Panel) -> xr.Dataset:
    """The assets that are ever in the universe, and nothing outside it."""
    data = panel.data.isel(asset=panel.data.in_universe.any("time").values)
    inside = data.in_universe
    return data.assign(
        returns=data.returns.where(inside),
        observed=data.observed & inside,
        **({"size": data["size"].where(inside)} if "size" in data else {}),
    )


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("panel", [prepared(), rich()], ids=["plain", "rich"])
def test_months_are_those_of_the_panel_in_memory(panel: Panel, dtype: type, tmp_path: Path) -> None:
    stored = panel.to_zarr(tmp_path / "p", dtype=dtype)
    wanted = panel.arrays(dtype)
    assert not wanted.observed[-1].any()
    assert (wanted.in_universe.sum(axis=1) < stored.n_slots).any()
    same(stored.months(np.arange(13)), wanted)
    positions = [7, 2, 12, 2, 0]
    same(bf.open_panel(tmp_path / "p").months(positions), wanted, positions)


def test_a_store_says_what_the_panel_says(tmp_path: Path) -> None:
    panel = rich()
    stored = panel.to_zarr(tmp_path / "p")
    for name in ("frequency", "periods_per_year", "prepared", "preparation", "characteristics", "history", "warnings"):
        assert getattr(stored, name) == getattr(panel, name), name
    pd.testing.assert_index_equal(stored.times, panel.times)
    assert stored.kinds == ("continuous",) * 3 + ("indicator",) * 3
    assert stored.assets == tuple(panel.data.asset.values)
    wanted = panel.arrays()
    assert stored.n_slots == wanted.returns.shape[1]
    np.testing.assert_array_equal(stored.varies, wanted.varies)

    rows = wanted.characteristics[wanted.observed]
    np.testing.assert_array_equal(stored.lowest, rows.min(axis=0))
    np.testing.assert_array_equal(stored.highest, rows.max(axis=0))
    moments = stored.moments
    np.testing.assert_array_equal(moments["count"], wanted.observed.sum(axis=1))
    np.testing.assert_allclose(moments["sum"], wanted.returns.sum(axis=1), atol=1e-15)
    np.testing.assert_allclose(moments["sum_of_squares"], (wanted.returns**2).sum(axis=1), rtol=1e-13)
    np.testing.assert_allclose(stored.return_scale, wanted.return_scale, rtol=1e-14)

    of_panel, of_store = repr(panel).splitlines(), repr(stored).splitlines()
    assert of_store[0] == of_panel[0].replace("<Panel", "<PanelStore")
    assert of_store[1:-1] == of_panel[1:]
    assert str(tmp_path) in of_store[-1]


def test_statistics_of_a_panel_without_any_return(tmp_path: Path) -> None:
    stored = prepared().live.to_zarr(tmp_path / "p")
    assert np.isnan([stored.return_scale, *stored.lowest, *stored.highest]).all()
    assert stored.moments[["count", "sum", "sum_of_squares"]].to_numpy().tolist() == [[0, 0, 0]]
    with pytest.raises(DataError, match="between 1 and 0 months"):
        stored.positions_at(0, 0, 1)
    json.loads((tmp_path / "p" / "manifest.json").read_text(), parse_constant=pytest.fail)  # no bare NaN


@pytest.mark.parametrize("panel", [prepared(), rich()], ids=["plain", "rich"])
@pytest.mark.parametrize("window", [None, "2000", slice("2000-05", "2000-08"), ["2000-03", "2001-02"]])
def test_load_gives_the_window_back(panel: Panel, window: object, tmp_path: Path) -> None:
    loaded = panel.to_zarr(tmp_path / "p").load(window)
    original = panel if window is None else panel.sel(time=window)
    xr.testing.assert_identical(loaded.data, in_universe_only(original))
    assert (loaded.preparation, loaded.missing, loaded.warnings) == (panel.preparation, panel.missing, panel.warnings)
    assert loaded.history[:-1] == panel.history
    same(loaded.arrays()._replace(asset=original.arrays().asset), original.arrays())


def test_load_of_a_float32_store_is_rounded(tmp_path: Path) -> None:
    panel = prepared()
    loaded = panel.to_zarr(tmp_path / "p", dtype="float32").load()
    wanted = panel.data.characteristics.values.astype(np.float32)
    np.testing.assert_array_equal(loaded.data.characteristics.values, wanted)
    same(loaded.arrays(np.float32), panel.arrays(np.float32))


def test_load_of_an_empty_window_names_the_range(tmp_path: Path) -> None:
    with pytest.raises(EmptyWindowError, match="it runs 2000-02 to 2001-02"):
        prepared().to_zarr(tmp_path / "p").load("2005")


def test_minus_zero_survives(tmp_path: Path) -> None:
    panel = prepared()
    data = panel.data.assign(characteristics=panel.data.characteristics * -0.0)
    stored = Panel(data, "monthly", "rank").to_zarr(tmp_path / "p")
    found = stored.months([0])
    assert np.signbit(found.characteristics[found.in_universe]).any()


# Appending


@pytest.mark.parametrize("panel", [prepared(), rich()], ids=["plain", "rich"])
def test_pieces_are_one_write(panel: Panel, tmp_path: Path) -> None:
    whole = panel.to_zarr(tmp_path / "whole")
    path = tmp_path / "pieces"
    panel.sel(time=slice("2000-02", "2000-04")).to_zarr(path)
    panel.sel(time=slice("2000-05", "2000-05")).to_zarr(path, append=True)
    pieces = panel.sel(time=slice("2000-06", None)).to_zarr(path, append=True)
    assert pieces.fingerprint == whole.fingerprint
    same(pieces.months([11, 3, 0, 2]), panel.arrays(), [11, 3, 0, 2])
    xr.testing.assert_identical(pieces.load().data, whole.load().data)
    assert pieces.history[: len(panel.history)] == panel.history
    assert "to_zarr: appended 2000-06 to 2001-02" in pieces.history


def test_the_fingerprint_follows_content_and_not_history(tmp_path: Path) -> None:
    panel = prepared()
    data = panel.data
    t, i = np.argwhere((data.observed & data.in_universe).values)[0]
    returns = data.returns.values.copy()
    returns[t, i] = np.nextafter(returns[t, i], 1)
    others = [
        panel,
        Panel(data.assign(returns=(data.returns.dims, returns)), "monthly", "rank"),
        Panel(data, "monthly", "standardise"),
        panel.sel(characteristic=["x2", "x1", "x3"]),
        Panel(data.assign_coords(asset=[f"Z{k}" for k in range(20)]), "monthly", "rank"),
    ]
    prints = [one.to_zarr(tmp_path / str(k)).fingerprint for k, one in enumerate(others)]
    assert len(set(prints)) == len(prints)
    assert Panel(data, "monthly", "rank").to_zarr(tmp_path / "again").fingerprint == prints[0]
    assert panel.to_zarr(tmp_path / "single", dtype="float32").fingerprint not in prints


def test_the_universe_grows(tmp_path: Path) -> None:
    """Later assets come first in their own panel: labels are joined, slots grow, the first months stay as they were."""
    first, later = prepared().split("2000-08")
    keep = first.data.in_universe.any("time").values & (np.arange(20) % 3 > 0)
    first = first.sel(asset=first.data.asset.values[keep].tolist())
    later = later.sel(asset=later.data.asset.values[::-1].tolist())
    small = first.to_zarr(tmp_path / "p")
    grown = later.to_zarr(tmp_path / "p", append=True)
    assert grown.n_slots > small.n_slots
    assert set(grown.assets[: len(small.assets)]) < set(grown.assets) == set(later.data.asset.values)

    before, after = grown.months(range(6)), small.months(range(6))
    for name in ("characteristics", "returns", "asset", "observed"):
        np.testing.assert_array_equal(getattr(before, name)[:, : small.n_slots], getattr(after, name))
        assert not (getattr(before, name)[:, small.n_slots :] > 0).any()
    loaded = grown.load()
    for panel in (first, later):
        found = loaded.sel(time=list(panel.times)).data.reindex(asset=panel.data.asset)
        wanted = in_universe_only(panel).reindex(asset=panel.data.asset)
        xr.testing.assert_equal(found[["returns", "characteristics"]], wanted[["returns", "characteristics"]])
    months = grown.months(range(13))
    asset = np.where(months.in_universe, months.asset, 99)
    assert (np.diff(asset, axis=1)[asset[:, 1:] < 99] > 0).all()


def test_refused_writes_change_nothing(tmp_path: Path) -> None:
    panel = prepared()
    path = tmp_path / "p"
    first, later = panel.split("2000-08")
    stored = first.to_zarr(path)
    data = later.data
    extra = data.assign(macro=(("time", "predictor"), np.ones((len(later.times), 1))), predictor=["dp"])
    faults = [
        (panel, {}, DataError, r"after those stored, 2000-02 to 2000-07: found 2000-02, 2000-03, 2000-04 \(6 in all"),
        (first, {}, DataError, "after those stored"),
        (later.sel(characteristic=["x1", "x3"]), {}, AlignmentError, r"characteristic: it has \['x1', 'x2', 'x3'\]"),
        (later.sel(characteristic=["x2", "x1", "x3"]), {}, AlignmentError, "store's characteristic"),
        (
            raw().standardise().split("2000-08")[1],
            {},
            AlignmentError,
            "preparation: it has rank, the panel standardise",
        ),
        (raw().split("2000-08")[1], {}, DataError, "call panel.rank_normalise"),
        (Panel(data, "monthly", "rank", missing="indicator"), {}, AlignmentError, "store's missing"),
        (Panel(data, "daily", "rank"), {}, AlignmentError, "frequency: it has monthly, the panel daily"),
        (Panel(data.drop_vars("size"), "monthly", "rank"), {}, AlignmentError, "store's variables"),
        (Panel(extra, "monthly", "rank"), {}, AlignmentError, "store's variables"),
        (
            Panel(
                data.assign(characteristics=0 * data.characteristics).assign_coords(
                    kind=("characteristic", ["indicator"] * 3)
                ),
                "monthly",
                "rank",
            ),
            {},
            AlignmentError,
            "store's kinds",
        ),
        (later, {"dtype": "float32"}, AlignmentError, "dtype: it has float64, the panel float32"),
        (later, {"append": False}, DataError, "not an empty folder: give another path, or append=True"),
    ]
    before = sorted(path.rglob("*"))
    for refused, arguments, error, message in faults:
        with pytest.raises(error, match=message):
            refused.to_zarr(path, **({"append": True} | arguments))
    assert sorted(path.rglob("*")) == before
    assert bf.open_panel(path).fingerprint == stored.fingerprint


def test_first_writes_that_are_refused(tmp_path: Path) -> None:
    panel = prepared()
    with pytest.raises(DataError, match=r"call panel\.rank_normalise"):
        raw().to_zarr(tmp_path / "raw")
    with pytest.raises(DataError, match="dtype must be float32 or float64: found int64"):
        panel.to_zarr(tmp_path / "whole", dtype="int64")
    with pytest.raises(DataError, match="no/such does not exist"):
        panel.to_zarr(tmp_path / "no" / "such" / "p")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DataError, match="not an empty folder"):
        panel.to_zarr(tmp_path / "file")
    with pytest.raises(CorruptResultError, match=r"no manifest\.json"):
        panel.to_zarr(tmp_path / "none", append=True)
    assert [one.name for one in tmp_path.iterdir() if one.is_file()] == ["file"]


# Damage


def test_a_foreign_folder_is_refused(tmp_path: Path) -> None:
    for name, content in {"empty": None, "text": "hello", "list": "[]", "json": "{}", "deep": "[" * 10**5}.items():
        folder = tmp_path / name
        folder.mkdir()
        if content is not None:
            (folder / "manifest.json").write_text(content)
        with pytest.raises(CorruptResultError, match="panel store"):
            bf.open_panel(folder)
    with pytest.raises(CorruptResultError, match=r"no manifest\.json"):
        bf.open_panel(tmp_path / "absent")


def rewritten(path: Path, **changes: object) -> Path:
    """A manifest changed by somebody who knows how to seal it."""
    manifest = json.loads((path / "manifest.json").read_text())
    manifest.pop("sha256")
    (path / "manifest.json").write_bytes(store._sealed({**manifest, **changes}))
    return path


def test_newer_schemas_and_folders_elsewhere_are_refused(tmp_path: Path) -> None:
    prepared().to_zarr(tmp_path / "p")
    parts = [{"folder": "../elsewhere", "months": 13, "metadata": ""}]
    with pytest.raises(CorruptResultError, match=r"must name folders part-.*found \.\./elsewhere"):
        bf.open_panel(rewritten(tmp_path / "p", parts=parts))
    with pytest.raises(CorruptResultError, match=r"schema 2.*upgrade"):
        bf.open_panel(rewritten(tmp_path / "p", schema=2))
    with pytest.raises(CorruptResultError, match=r"schema 2.*upgrade"):
        bf.open_panel(rewritten(tmp_path / "p", schema=2, content={}))  # whatever a newer version writes


@pytest.fixture(scope="module")
def two_parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of six and seven months, of every kind of variable. Tests that damage it put it right again."""
    path = tmp_path_factory.mktemp("store") / "p"
    first, later = rich().split("2000-08")
    first.to_zarr(path)
    later.to_zarr(path, append=True)
    return path


def chunks(path: Path) -> dict[Path, str]:
    """Every chunk file and the month that it holds, as messages name it."""
    parts = json.loads((path / "manifest.json").read_text())["parts"]
    starts = {part["folder"]: start for part, start in zip(parts, (0, 6), strict=True)}
    times = bf.open_panel(path).times
    found = {}
    for file in path.glob("part-*/*/c/**/*"):
        if file.is_file():
            folder, _, _, row, *_ = file.relative_to(path).parts
            found[file] = f"{times[starts[folder] + int(row)]:%Y-%m} of the panel store"
    return found


def test_no_flipped_bit_is_silent(two_parts: Path) -> None:
    wanted = bf.open_panel(two_parts).load().fingerprint
    named = chunks(two_parts)
    groups = [list(named), list(two_parts.glob("part-*/*/zarr.json")), [two_parts / "manifest.json"]]
    assert [len(group) for group in groups] == [13 * 8, 2 * 8, 1]
    rng = np.random.default_rng(1)
    for group in itertools.islice(itertools.cycle(groups), 201):
        file = group[rng.integers(len(group))]
        good = file.read_bytes()
        at, bit = rng.integers(len(good)), rng.integers(8)
        file.write_bytes(good[:at] + bytes([good[at] ^ (1 << bit)]) + good[at + 1 :])
        with pytest.raises(CorruptResultError, match=named.get(file, r"zarr\.json|manifest\.json")):
            bf.open_panel(two_parts).load()
        file.write_bytes(good)
    assert bf.open_panel(two_parts).load().fingerprint == wanted


def test_months_are_checked_without_the_rest(two_parts: Path) -> None:
    """A minibatch sees damage to what it reads, and only that."""
    stored = bf.open_panel(two_parts)
    file = next(file for file, month in chunks(two_parts).items() if "/returns/" in str(file) and "2000-09" in month)
    good = file.read_bytes()
    file.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(CorruptResultError, match=r"^2000-09 of the panel store .* cannot be read"):
        stored.months([2, 7])
    stored.months([2, 6, 8])
    file.write_bytes(good)
    stored.months([2, 7])


@pytest.mark.parametrize("variable", ["characteristics", "returns", "asset"])
@pytest.mark.parametrize("how", ["truncated", "absent", "another month's", "same month of another panel"])
def test_damage_that_chunk_checksums_miss(how: str, variable: str, two_parts: Path, tmp_path: Path) -> None:
    one, other = [
        file for file, month in chunks(two_parts).items() if f"/{variable}/" in str(file) and month[:7] > "2000-10"
    ][:2]
    good = one.read_bytes()
    label = chunks(two_parts)[one]
    if how == "truncated":
        one.write_bytes(good[: len(good) // 2])
    elif how == "absent":
        one.unlink()
    elif how == "another month's":
        one.write_bytes(other.read_bytes())
    else:
        panel = raw(seed=4).rank_normalise()
        later = panel.sel(asset=panel.data.asset.values[1:].tolist()).split("2000-08")[1]
        later.to_zarr(tmp_path / "p")
        part = next((tmp_path / "p").glob("part-*"))
        one.write_bytes((part / Path(*one.relative_to(two_parts).parts[1:])).read_bytes())
    with pytest.raises(CorruptResultError, match=label):
        bf.open_panel(two_parts).load()
    one.write_bytes(good)
    bf.open_panel(two_parts).load()


# Interruption


@pytest.mark.parametrize("where", ["_write_part", "_metadata_digest", "_replace", "renaming the manifest"])
def test_an_interrupted_append_leaves_the_store_as_it_was(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, later = prepared().split("2000-08")
    stored = first.to_zarr(tmp_path / "p")
    before = sorted((tmp_path / "p").rglob("*"))

    rename = Path.replace

    def interrupted(*arguments: object) -> Path:
        if isinstance(arguments[0], Path) and where.startswith("renaming") and "manifest" not in arguments[0].name:
            return rename(*arguments)  # Zarr's own
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(*((Path, "replace") if where.startswith("renaming") else (store, where)), interrupted)
        with pytest.raises(KeyboardInterrupt):
            later.to_zarr(tmp_path / "p", append=True)
    assert sorted((tmp_path / "p").rglob("*")) == before
    again = bf.open_panel(tmp_path / "p")
    assert again.fingerprint == stored.fingerprint
    same(again.months(range(6)), first.arrays())
    whole = later.to_zarr(tmp_path / "p", append=True)
    same(whole.months(range(13)), prepared().arrays())


@pytest.mark.parametrize("append", [True, False])
@pytest.mark.parametrize("where", ["_metadata_digest", "_replace"])
def test_a_killed_write_leaves_the_store_as_it_was(where: str, append: bool, tmp_path: Path) -> None:
    first, later = prepared().split("2000-08")
    path = tmp_path / "p"
    if append:
        first.to_zarr(path)
    code = f"""
import os, runpy
test = runpy.run_path({__file__!r})
store = test["store"]
store.{where} = lambda *arguments: os._exit(9)
if {append}:
    store.write(test["prepared"]().split("2000-08")[1], {str(path)!r}, append=True, dtype=None)
else:
    store.write(test["prepared"](), {str(path)!r}, append=False, dtype=None)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, env={**os.environ}, capture_output=True, text=True)
    assert done.returncode == 9, done.stderr
    if append:
        same(bf.open_panel(path).months(range(6)), first.arrays())
        same(later.to_zarr(path, append=True).months(range(13)), prepared().arrays())
        return
    with pytest.raises(CorruptResultError, match=r"no manifest\.json"):
        bf.open_panel(path)
    with pytest.raises(DataError, match="first write that was interrupted"):
        prepared().to_zarr(path)


def test_two_writers_at_a_time_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, later = prepared().split("2000-08")
    first.to_zarr(tmp_path / "p")
    write_part, others = store._write_part, [later.sel(time="2000-09")]

    def slowly(*arguments: object) -> None:
        write_part(*arguments)
        if others:
            others.pop().to_zarr(tmp_path / "p", append=True)

    monkeypatch.setattr(store, "_write_part", slowly)
    with pytest.raises(DataError, match="one process may write at a time"):
        later.to_zarr(tmp_path / "p", append=True)
    assert len(bf.open_panel(tmp_path / "p").load().times) == 7


# Minibatches


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(THREAD)]


@pytest.mark.parametrize("positions", [[], 3, [[1, 2]], [0.0], [True], ["2000-05"], [0, 13], [-1]])
def test_positions_that_are_none_are_refused(positions: object, two_parts: Path) -> None:
    with pytest.raises(DataError, match="positions must be"):
        bf.open_panel(two_parts).months(positions)


def test_the_months_of_a_step_depend_on_nothing_else(two_parts: Path) -> None:
    stored = bf.open_panel(two_parts)
    drawn = np.array([stored.positions_at(7, step, 4) for step in range(4000)])
    assert drawn[:3].tolist() == DRAWN  # as on 2026-11-21, on both dependency worlds
    np.testing.assert_array_equal(bf.open_panel(two_parts).positions_at(7, 3999, 4), drawn[-1])
    assert (np.diff(np.sort(drawn, axis=1), axis=1) > 0).all()
    assert set(drawn.ravel()) == set(range(13)) - {4, 12}  # silent in the middle, live at the end
    assert len({tuple(row) for row in drawn}) > 2500
    counts = np.bincount(drawn.ravel(), minlength=13)[[t for t in range(13) if t not in {4, 12}]]
    np.testing.assert_allclose(counts, 4000 * 4 / 11, atol=5 * np.sqrt(4000 * 4 / 11 * 7 / 11))
    places = np.bincount(drawn[:, 0], minlength=13)[[t for t in range(13) if t not in {4, 12}]]
    np.testing.assert_allclose(places, 4000 / 11, atol=5 * np.sqrt(4000 / 11))
    assert not (drawn == [stored.positions_at(8, step, 4) for step in range(4000)]).all(axis=1)[:100].all()


@pytest.mark.parametrize(("seed", "step", "size"), [(0, 0, 0), (0, 0, 12), (-1, 0, 2), (0, -1, 2)])
def test_minibatches_that_cannot_be_are_refused(seed: int, step: int, size: int, two_parts: Path) -> None:
    with pytest.raises(DataError, match=r"between 1 and 11 months|must not be negative"):
        bf.open_panel(two_parts).positions_at(seed, step, size)


def test_batches_are_those_of_their_steps(two_parts: Path) -> None:
    stored = bf.open_panel(two_parts)
    wanted = rich().arrays()
    batches = list(stored.batches(seed=5, size=4, steps=range(20)))
    assert len(batches) == 20
    for step, (positions, found) in enumerate(batches):
        np.testing.assert_array_equal(positions, stored.positions_at(5, step, 4))
        same(found, wanted, positions)
    for (positions, _), (wanted_positions, _) in zip(stored.batches(5, 4, range(12, 20)), batches[12:], strict=True):
        np.testing.assert_array_equal(positions, wanted_positions)
    assert list(stored.batches(5, 4, range(0))) == []
    assert threads() == []


def test_reading_ahead_is_bounded(two_parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored, begun = bf.open_panel(two_parts), []
    months = store.PanelStore.months
    monkeypatch.setattr(store.PanelStore, "months", lambda self, positions: begun.append(1) or months(self, positions))
    batches = stored.batches(0, 2, itertools.count())
    assert begun == threads() == []
    next(batches)
    assert len(threads()) == 1
    time.sleep(0.3)
    assert len(begun) == 3  # the one given, and two ahead
    batches.close()
    assert threads() == []


def test_an_early_stop_or_an_error_ends_the_thread(two_parts: Path) -> None:
    stored = bf.open_panel(two_parts)
    for positions, _ in stored.batches(0, 3, itertools.count()):
        assert positions.size == 3
        break
    assert threads() == []

    def stumble() -> None:
        for _ in stored.batches(0, 3, itertools.count()):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stumble()
    assert threads() == []
    with pytest.raises(DataError, match="between 1 and 11"):
        stored.batches(0, 99, range(3))  # at once, not at the first batch
    assert threads() == []


def test_an_error_of_the_reader_comes_in_place_of_its_batch(two_parts: Path) -> None:
    stored = bf.open_panel(two_parts)
    drawn = [stored.positions_at(0, step, 2).tolist() for step in range(50)]
    bad = drawn[5][0]
    step = next(step for step, positions in enumerate(drawn) if bad in positions)
    label = f"{stored.times[bad]:%Y-%m}"
    file = next(file for file, month in chunks(two_parts).items() if "/returns/" in str(file) and label in month)
    good = file.read_bytes()
    file.write_bytes(good[:-1])
    seen = []
    with pytest.raises(CorruptResultError, match=label):
        seen.extend(positions.tolist() for positions, _ in stored.batches(0, 2, range(50)))
    file.write_bytes(good)
    assert step > 0
    assert len(list(itertools.islice(stored.batches(0, 2, range(50)), step + 1))) == step + 1
    assert threads() == []


def test_minibatches_need_little_memory(tmp_path: Path) -> None:
    """A store of 38 MiB, written in pieces of 4; minibatches of 0.8 MiB are read within 8 MiB."""
    n, assets, names = 20, 500, 50
    rng = np.random.default_rng(0)
    cube = rng.uniform(-1, 1, (n, assets, names))
    times = pd.date_range("1950-01-31", periods=10 * n, freq="ME", name="time")
    for k in range(10):
        piece = xr.Dataset(
            {
                "characteristics": (("time", "asset", "characteristic"), cube),
                "missing": (("time", "asset", "characteristic"), np.zeros(cube.shape, bool)),
                "returns": (("time", "asset"), rng.normal(0, 0.1, (n, assets))),
                "in_universe": (("time", "asset"), np.ones((n, assets), bool)),
            },
            {"time": times[k * n : (k + 1) * n], "asset": np.arange(assets), "characteristic": np.arange(names)},
        )
        stored = Panel(piece, "monthly", "rank").to_zarr(tmp_path / "p", append=k > 0)
    assert stored.months([0]).characteristics.nbytes * len(stored.times) > 38 * 2**20
    tracemalloc.start()
    opened = bf.open_panel(tmp_path / "p")
    for _, found in opened.batches(0, 4, range(60)):
        assert found.observed.all()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.characteristics.nbytes < peak < 8 * 2**20, f"{peak / 2**20:.1f} MiB"


# Any universe


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_any_universe_comes_back(data: st.DataObject) -> None:
    n, assets = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5))
    cells = st.lists(st.booleans(), min_size=n * assets, max_size=n * assets)
    universe = np.array(data.draw(cells)).reshape(n, assets)
    universe[:, data.draw(st.integers(0, assets - 1))] = True
    seen = np.array(data.draw(cells)).reshape(n, assets)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    values = np.where(universe[..., None], rng.uniform(-1, 1, (n, assets, 2)), np.nan)
    dataset = xr.Dataset(
        {
            "characteristics": (("time", "asset", "characteristic"), values),
            "missing": (("time", "asset", "characteristic"), np.isnan(values)),
            "returns": (("time", "asset"), np.where(seen, rng.normal(0, 0.1, (n, assets)), np.nan)),
            "in_universe": (("time", "asset"), universe),
        },
        {
            "time": pd.date_range("2001-01-31", periods=n, freq="ME"),
            "asset": [f"S{i}" for i in rng.permutation(assets)],
            "characteristic": ["a", "b"],
        },
    )
    panel = Panel(dataset, "monthly", "rank")
    cut = data.draw(st.integers(0, n - 1))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "p"
        if cut:
            panel.sel(time=list(panel.times[:cut])).to_zarr(path)
        stored = panel.sel(time=list(panel.times[cut:])).to_zarr(path, append=cut > 0)
        same(stored.months(np.arange(n)), panel.arrays())
        xr.testing.assert_identical(stored.load().data, in_universe_only(panel))
