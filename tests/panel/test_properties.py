"""Properties of what `read_frame` makes of any ragged frame: lags in calendar months, masks, order of rows."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bayesfactor as bf
from bayesfactor.errors import DataError, DataWarning

N_MONTHS, N_ASSETS = 9, 4
MONTHS = pd.period_range("2015-11", periods=N_MONTHS, freq="M")


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    """A ragged panel of some months, with gaps, missing characteristics and missing returns."""
    cells = st.lists(st.booleans(), min_size=N_MONTHS * N_ASSETS, max_size=N_MONTHS * N_ASSETS)
    there, no_x, no_y, no_return = (np.reshape(draw(cells), (N_MONTHS, N_ASSETS)) for _ in range(4))
    there[0, 0] = there[-1, 0] = there[1, 0] = True  # months in a row, so that they look monthly
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    month, asset = np.nonzero(there)
    frame = pd.DataFrame(
        {
            "month": MONTHS[month].strftime("%Y%m").astype(int),
            "asset": [f"a{label}" for label in asset],
            "x": np.where(no_x[month, asset] & (rng.random(month.size) < 0.5), np.nan, rng.standard_normal(month.size)),
            "y": np.where(no_y[month, asset] & (rng.random(month.size) < 0.5), np.nan, rng.standard_normal(month.size)),
            "ret": np.where(no_return[month, asset], np.nan, 0.1 * rng.standard_normal(month.size)),
        }
    )
    return frame.sample(frac=1, random_state=draw(st.integers(0, 2**16)))


def read(frame: pd.DataFrame, returns_over: str, lag: int) -> bf.Panel | None:
    """The panel; None where no month has anything old enough."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        try:
            return bf.read_frame(
                frame, time="month", asset="asset", returns="ret", returns_over=returns_over, lag=lag, units="decimal",
                excess=True, characteristics=["x", "y"], frequency="monthly",
            )  # fmt: skip
        except DataError as error:
            if "with a characteristic old enough" not in str(error):
                raise
            return None


def cell(frame: pd.DataFrame, month: pd.Period, asset: str) -> pd.Series | None:
    """The row of a calendar month and asset."""
    rows = frame[(frame["month"] == int(month.strftime("%Y%m"))) & (frame["asset"] == asset)]
    return None if rows.empty else rows.iloc[0]


@settings(max_examples=60, deadline=None)
@given(frames(), st.sampled_from([("row", 1), ("row", 2), ("row", 4), ("next", 0), ("next", 1), ("next", 3)]))
def test_every_cell_is_the_row_of_so_many_calendar_months_before(frame: pd.DataFrame, how: tuple[str, int]) -> None:
    returns_over, lag = how
    panel = read(frame, returns_over, lag)
    ahead = 1 if returns_over == "next" else 0
    expected = {}
    for month in pd.period_range(MONTHS[0], MONTHS[-1] + 1, freq="M"):
        for asset in (f"a{label}" for label in range(N_ASSETS)):
            old, before, earned = (cell(frame, month - back, asset) for back in (lag + ahead, 1, ahead))
            has_any = old is not None and not np.isnan([old["x"], old["y"]]).all()
            if before is not None and has_any:
                expected[month, asset] = (old["x"], old["y"], np.nan if earned is None else earned["ret"])
    if panel is None:
        assert not expected
        return
    found = {}
    for t, time in enumerate(panel.times):
        for i, asset in enumerate(panel.data.asset.values):
            if panel.data.in_universe.values[t, i]:
                values = (*panel.data.characteristics.values[t, i], panel.data.returns.values[t, i])
                found[time.to_period("M"), str(asset)] = values
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        np.testing.assert_array_equal(found[key], values)


@settings(max_examples=40, deadline=None)
@given(frames(), st.integers(1, 3))
def test_masks_say_what_is_there(frame: pd.DataFrame, lag: int) -> None:
    panel = read(frame, "row", lag)
    if panel is None:
        return
    data = panel.data
    np.testing.assert_array_equal(data.missing, np.isnan(data.characteristics))
    np.testing.assert_array_equal(data.observed, ~np.isnan(data.returns))


@settings(max_examples=40, deadline=None)
@given(frames(), st.integers(1, 3), st.integers(0, 2**16))
def test_which_returns_exist_changes_nothing_that_is_known_before(frame: pd.DataFrame, lag: int, seed: int) -> None:
    """The universe and the ranks in it must not know whether the return came: that would be look-ahead."""
    panel = read(frame, "row", lag)
    if panel is None:
        return
    lost = frame["ret"].where(np.random.default_rng(seed).random(len(frame)) < 0.5)
    other = read(frame.assign(ret=lost), "row", lag)
    assert other is not None
    for name in ("in_universe", "characteristics", "missing"):
        np.testing.assert_array_equal(panel.data[name], other.data[name])


@settings(max_examples=40, deadline=None)
@given(frames(), st.integers(1, 3), st.integers(0, 2**16))
def test_the_order_of_rows_means_nothing(frame: pd.DataFrame, lag: int, seed: int) -> None:
    panel, other = read(frame, "row", lag), read(frame.sample(frac=1, random_state=seed), "row", lag)
    assert (panel is None) == (other is None)
    if panel is not None and other is not None:
        assert panel.fingerprint == other.fingerprint


@pytest.mark.parametrize("shift", [-1, 1])
def test_a_lag_that_is_one_month_off_is_told(shift: int) -> None:
    """The property above rejects a reader that moves by one month too many or too few."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        [(int(month.strftime("%Y%m")), f"a{i}", *rng.standard_normal(2), 0.01) for month in MONTHS for i in range(3)],
        columns=["month", "asset", "x", "y", "ret"],
    )
    wrong = read(frame, "row", 2 + shift)
    assert wrong is not None
    month = wrong.times[-1].to_period("M")
    assert wrong.data.characteristics.values[-1, 0, 0] != cell(frame, month - 2, "a0")["x"]
