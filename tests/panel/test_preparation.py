"""Ranks, z-scores, universe filters, missing rules."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from bayesfactor.errors import DataError, DataWarning, EmptyWindowError
from bayesfactor.panel import Panel

NAN = np.nan


def panel(cube: object, size: object = None, universe: object = None, **said: str) -> Panel:
    """Raw panel of months x assets x characteristics, without returns."""
    values = np.asarray(cube, dtype=float)
    values = values[None, :, None] if values.ndim == 1 else values
    dims = ("time", "asset")
    present = np.ones(values.shape[:2], bool) if universe is None else np.asarray(universe)
    variables = {
        "characteristics": ((*dims, "characteristic"), values),
        "returns": (dims, np.full(values.shape[:2], NAN)),
        "in_universe": (dims, present),
    }
    if size is not None:
        variables["size"] = (dims, np.broadcast_to(np.asarray(size, dtype=float), values.shape[:2]))
    coords = {
        "time": pd.date_range("2016-01-31", periods=values.shape[0], freq="ME"),
        "asset": [f"A{i}" for i in range(values.shape[1])],
        "characteristic": [f"x{k}" for k in range(values.shape[2])],
    }
    return Panel(xr.Dataset(variables, coords), "monthly", **said)


def cells(made: Panel) -> list[float]:
    return made.data.characteristics.values[0, :, 0].tolist()


def test_ranks_by_hand() -> None:
    assert cells(panel([30, 10, 20]).rank_normalise()) == [1, -1, 0]
    assert cells(panel([5, 1, 1, 9, 7]).rank_normalise()) == [
        0,
        -0.75,
        -0.75,
        1,
        0.5,
    ]  # average ranks for ties
    made = panel([3, NAN, 1, 2]).rank_normalise()
    assert cells(made) == [1, 0, -1, 0]
    assert made.data.missing.values[0, :, 0].tolist() == [False, True, False, False]
    absurd = panel([-6e7, 0, 1, 1e300]).rank_normalise()
    np.testing.assert_allclose(cells(absurd), [-1, -1 / 3, 1 / 3, 1])


def test_ranks_use_the_universe_and_not_what_is_observed() -> None:
    raw = panel([3, 100, 1, 2], universe=[[True, False, True, True]])
    seen = raw.data.assign(returns=raw.data.returns.fillna(0.01), observed=raw.data.observed | True)
    seen.returns.values[0, 0] = NAN
    seen.observed.values[0, 0] = False
    made = Panel(seen, "monthly").rank_normalise()
    np.testing.assert_array_equal(cells(made), [1, NAN, -1, 0])
    assert made.data.missing.values[0, 1, 0]


def test_ranks_match_a_slow_loop() -> None:
    rng = np.random.default_rng(1)
    cube = np.where(rng.random((5, 30, 3)) < 0.2, NAN, rng.integers(0, 12, (5, 30, 3)))
    universe = rng.random((5, 30)) < 0.8
    made = panel(cube, universe=universe).rank_normalise().data
    for t, i, k in itertools.product(range(5), range(30), range(3)):
        others = cube[t, universe[t], k]
        others = others[~np.isnan(others)]
        x = cube[t, i, k]
        rank = 1 + (others < x).sum() + ((others == x).sum() - 1) / 2
        expected = 2 * (rank - 1) / (others.size - 1) - 1
        expected = NAN if not universe[t, i] else 0 if np.isnan(x) else expected
        np.testing.assert_allclose(made.characteristics.values[t, i, k], expected, atol=1e-15)


def test_z_scores_match_numpy() -> None:
    rng = np.random.default_rng(2)
    cube = np.where(rng.random((4, 25, 2)) < 0.2, NAN, 50 + rng.standard_normal((4, 25, 2)))
    made = panel(cube).standardise().data.characteristics.values
    expected = (cube - np.nanmean(cube, axis=1, keepdims=True)) / np.nanstd(cube, axis=1, keepdims=True)
    np.testing.assert_allclose(made, np.nan_to_num(expected, nan=0.0), atol=1e-12)


@pytest.mark.parametrize("how", ["rank_normalise", "standardise"])
def test_a_flat_characteristic_is_zero_that_month_with_one_warning(how: str) -> None:
    cube = np.random.default_rng(3).standard_normal((4, 6, 2))
    cube[1, :, 0] = 7.3
    cube[2, :, 0] = NAN
    cube[3, 1:, 0] = NAN
    with pytest.warns(DataWarning) as caught:
        made = getattr(panel(cube), how)()
    assert len(caught) == 1
    assert made.warnings == (str(caught[0].message),)
    assert "x0 is constant or missing" in made.warnings[0]
    assert "2016-02, 2016-03, 2016-04 (3 in all)" in made.warnings[0]
    assert not made.data.characteristics.values[1:, :, 0].any()
    assert made.data.missing.values[2, :, 0].all()
    assert not made.data.missing.values[1, :, 0].any()


def test_a_characteristic_that_is_flat_in_every_month_is_refused() -> None:
    cube = np.random.default_rng(4).standard_normal((3, 6, 3))
    cube[:, :, 1] = np.arange(3)[:, None]
    cube[:, :, 2] = NAN
    with pytest.raises(DataError, match=r"x1, x2 \(2 in all\)"):
        panel(cube).rank_normalise()


def test_indicator_adds_a_column_for_every_characteristic() -> None:
    made = panel([[[1, 5], [NAN, 4], [3, 3]]], missing="indicator").rank_normalise()
    assert made.characteristics == ("x0", "x1", "x0_missing", "x1_missing")
    assert made.data.kind.values.tolist() == ["continuous", "continuous", "indicator", "indicator"]
    assert made.data.characteristics.values[0, :, 2:].tolist() == [[0, 0], [1, 0], [0, 0]]
    assert made.data.missing.values[0, :, 0].tolist() == [False, True, False]
    assert not made.data.missing.values[..., 2:].any()


def test_indicator_needs_its_names() -> None:
    data = panel([[[1, 5], [2, 4]]]).data.assign_coords(characteristic=["x", "x_missing"])
    with pytest.raises(DataError, match="needs these names: x_missing"):
        Panel(data, "monthly", missing="indicator").rank_normalise()


def test_given_indicators_are_left_as_they_are() -> None:
    data = panel([[[1, 0], [2, 1], [3, NAN]]]).data.assign_coords(kind=("characteristic", ["continuous", "indicator"]))
    made = Panel(data, "monthly").rank_normalise()
    assert made.data.characteristics.values[0].tolist() == [[-1, 0], [0, 1], [1, 0]]


def test_missing_error_names_the_cells() -> None:
    with pytest.raises(DataError, match=r"\(2016-01, A1, x0\) \(1 in all\)"):
        panel([1, NAN, 2], missing="error")
    outside = panel([1, NAN, 2], missing="error", universe=[[True, False, True]])
    assert outside.rank_normalise().prepared


@pytest.mark.parametrize("again", ["rank_normalise", "standardise", "largest", "covered"])
def test_nothing_narrows_or_prepares_a_prepared_panel(again: str) -> None:
    made = panel([1, 2, 3], size=[1, 2, 3]).rank_normalise()
    with pytest.raises(DataError, match=f"{again} must come before preparation.*rank"):
        getattr(made, again)(*((1,) if again in ("largest", "covered") else ()))


def test_largest_keeps_the_n_largest_of_the_universe() -> None:
    size = [[5, 9, NAN, 7, 7, 1], [1, 2, 3, 4, 5, 6]]
    universe = [[True, True, True, True, True, True], [True, True, True, True, True, False]]
    made = panel(np.ones((2, 6, 1)), size=size, universe=universe).largest(3)
    assert made.data.asset.values.tolist() == ["A1", "A2", "A3", "A4"]
    assert made.data.in_universe.values.tolist() == [[True, False, True, True], [False, True, True, True]]
    assert made.history[-1] == "largest(3) by size"
    first = panel(np.ones((1, 3, 1)), size=[2, 2, 2]).largest(2)
    assert first.data.asset.values.tolist() == ["A0", "A1"]  # of equal sizes the first


def test_covered_keeps_rows_with_enough_characteristics() -> None:
    made = panel([[[1, 2], [NAN, 2], [NAN, NAN]], [[1, NAN], [1, 2], [3, 4]]]).covered(0.5)
    assert made.data.in_universe.values.tolist() == [[True, True, False], [True, True, True]]
    strict = panel([[[1, 2], [NAN, 2], [3, NAN]], [[1, NAN], [1, NAN], [NAN, 4]]]).covered(1.0)
    assert len(strict.times) == 1  # a month without universe is dropped


def test_filters_refuse_what_they_cannot_do() -> None:
    with pytest.raises(DataError, match=r"must know `size`.*read_frame\(size="):
        panel([1, 2]).largest(1)
    with pytest.raises(DataError, match="n=0"):
        panel([1, 2], size=[1, 2]).largest(0)
    with pytest.raises(DataError, match=r"found 1\.5"):
        panel([1, 2]).covered(1.5)
    with pytest.raises(EmptyWindowError, match="2016-01 to 2016-01"):
        panel([[[1, NAN], [NAN, 2]]]).covered(1.0)


def test_two_hundred_thousand_rows_are_ranked_in_seconds() -> None:
    cube = np.random.default_rng(5).standard_normal((140, 1500, 24))
    raw = panel(cube)
    start = time.perf_counter()
    made = raw.rank_normalise()
    assert time.perf_counter() - start < 20  # about 1 s on an idle core
    assert made.data.characteristics.values.min() == -1
