"""Where windows lie: by hand, against a slow loop, in drawn cases; and what is refused, at its boundary."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import bayesfactor as bf
from bayesfactor import Window, Windows
from bayesfactor.errors import DataError, EmptyWindowError, LookAheadError
from bayesfactor.evaluation.windows import inside, laid

FREQ = {"monthly": "ME", "weekly": "W-FRI", "daily": "B"}
STARTS = {"monthly": "1999-12-31", "weekly": "1999-12-31", "daily": "1999-12-31"}


@dataclass(frozen=True)
class Dates:
    """All that windows look at."""

    times: pd.DatetimeIndex
    frequency: str = "monthly"


def dates(n: int, frequency: str = "monthly", holes: tuple[int, ...] = ()) -> Dates:
    every = pd.date_range(STARTS[frequency], periods=n, freq=FREQ[frequency], unit="ns")
    return Dates(every.delete(list(holes)), frequency)


def months(window: Window, name: str) -> tuple[str, str]:
    first, last = getattr(window, name)
    return f"{first:%Y-%m}", f"{last:%Y-%m}"


# --- by hand ----------------------------------------------------------------------------------------


def test_expanding_by_hand() -> None:
    windows = Windows.expanding(6, test=3).over(dates(14))  # 1999-12 .. 2001-01
    assert [months(one, "train") for one in windows] == [
        ("1999-12", "2000-05"),
        ("1999-12", "2000-08"),
        ("1999-12", "2000-11"),
    ]
    assert [months(one, "test") for one in windows] == [
        ("2000-06", "2000-08"),
        ("2000-09", "2000-11"),
        ("2000-12", "2001-01"),  # the panel ends: a shorter one
    ]
    assert all(one.validation is None and one.learn == one.train for one in windows)


def test_rolling_with_validation_and_embargo_by_hand() -> None:
    windows = Windows.rolling(4, 2, 3, embargo=1).over(dates(14))
    # train 12-03, embargo 04, validation 05-06, embargo 07, test 08-10
    assert [months(one, "train") for one in windows] == [("1999-12", "2000-03"), ("2000-03", "2000-06")]
    assert [months(one, "validation") for one in windows] == [("2000-05", "2000-06"), ("2000-08", "2000-09")]
    assert [months(one, "test") for one in windows] == [("2000-08", "2000-10"), ("2000-11", "2001-01")]
    assert windows[0].learn == (windows[0].train[0], windows[0].validation[1])  # type: ignore[index]


def test_an_embargo_counts_months_that_have_no_rows() -> None:
    whole, holed = dates(14), dates(14, holes=(6, 7))  # 2000-06 and 2000-07 have no rows
    rule = Windows.expanding(6, test=4, embargo=2)
    assert rule.over(whole) == rule.over(holed)
    assert months(rule.over(holed)[0], "test") == ("2000-08", "2000-11")


def test_a_test_window_without_rows_is_left_out() -> None:
    windows = Windows.expanding(6, test=3).over(dates(15, holes=(6, 7, 8)))
    assert [months(one, "test") for one in windows] == [("2000-09", "2000-11"), ("2000-12", "2001-02")]


def test_weekly_and_daily_windows_count_their_own_periods() -> None:
    weekly = Windows.rolling(10, test=5, embargo=2).over(dates(30, "weekly"))
    assert weekly[0].train == (pd.Timestamp("1999-12-31"), pd.Timestamp("2000-03-03"))
    assert weekly[0].test == (pd.Timestamp("2000-03-24"), pd.Timestamp("2000-04-21"))
    daily = dates(30, "daily", holes=(3, 4, 5))  # days that the data have not are no days
    (first, *_) = Windows.rolling(10, test=5, embargo=2).over(daily)
    assert first.train == (daily.times[0], daily.times[9])
    assert first.test == (daily.times[12], daily.times[16])


def test_the_live_month_belongs_to_the_last_window_or_has_its_own() -> None:
    panel = bf.simulate.economy(n_months=10, n_assets=5, n_characteristics=1, seed=0).panel
    data = panel.data.copy(deep=True)
    data["returns"][-1], data["observed"][-1] = np.nan, False
    live = bf.Panel(data, panel.frequency, panel.preparation)
    for train, first in ((6, live.times[-4]), (9, live.times[-1])):
        windows = Windows.expanding(train, test=4).over(live)
        assert windows[-1].test == (first, live.times[-1])


def test_first_test() -> None:
    panel = dates(24)
    for when in ("2000-09", "2000-09-17", pd.Timestamp("2000-09-30"), pd.Period("2000-09"), 200009):
        assert months(Windows.expanding(6, test=6, first_test=when).over(panel)[0], "test") == ("2000-09", "2001-02")
    rolling = Windows.rolling(6, test=6, first_test="2000-09").over(panel)[0]
    assert months(rolling, "train") == ("2000-03", "2000-08")
    expanding = Windows.expanding(6, test=6, first_test="2000-09").over(panel)[0]
    assert months(expanding, "train") == ("1999-12", "2000-08")
    daily = dates(30, "daily")
    holiday = Windows.expanding(5, test=5, first_test="2000-01-15").over(daily)  # a Saturday
    assert holiday[0].test[0] == pd.Timestamp("2000-01-17")


# --- against a slow loop, in drawn cases -------------------------------------------------------------


def by_loop(rule: Windows, panel: Dates) -> list[tuple[list[Any], list[Any], list[Any]]]:
    """Labels to train on, validate on and test, period by period on a calendar without holes."""
    if panel.frequency == "daily":
        calendar = list(panel.times)
    else:
        calendar = list(pd.date_range(panel.times[0], panel.times[-1], freq=FREQ[panel.frequency], unit="ns"))
    have = set(panel.times)
    found = []
    tested = rule.train + rule.embargo + (rule.validation + rule.embargo if rule.validation else 0)
    while tested < len(calendar):
        place = tested - rule.embargo
        validation = []
        for _ in range(rule.validation):
            place -= 1
            validation.append(calendar[place])
        if rule.validation:
            place -= rule.embargo
        train = []
        while place > 0 and (rule.kind == "expanding" or len(train) < rule.train):
            place -= 1
            train.append(calendar[place])
        test = calendar[tested : tested + rule.test]
        if have & set(test):
            found.append(tuple(sorted(one for one in part if one in have) for part in (train, validation, test)))
        tested += rule.test
    return found


@st.composite
def cases(draw: st.DrawFn) -> tuple[Windows, Dates]:
    frequency = draw(st.sampled_from(["monthly", "weekly", "daily"]))
    n = draw(st.integers(4, 60))
    holes = draw(st.sets(st.integers(1, n - 2), max_size=n // 2))
    make = draw(st.sampled_from([Windows.expanding, Windows.rolling]))
    sizes = draw(st.tuples(st.integers(2, 20), st.integers(0, 8), st.integers(1, 13)))
    return make(*sizes, embargo=draw(st.integers(0, 4))), dates(n, frequency, tuple(holes))


@settings(max_examples=300, deadline=None)
@given(cases())
def test_layouts_are_those_of_a_loop(case: tuple[Windows, Dates]) -> None:
    rule, panel = case
    wanted = by_loop(rule, panel)
    try:
        windows = rule.over(panel)
    except EmptyWindowError:
        assert not wanted
        return
    parts = [
        tuple(
            [] if part is None else list(panel.times[inside(panel.times, part)])
            for part in (one.train, one.validation, one.test)
        )
        for one in windows
    ]
    assert parts == wanted


@settings(max_examples=200, deadline=None)
@given(cases())
def test_windows_are_in_order_and_tile_the_tested_periods(case: tuple[Windows, Dates]) -> None:
    rule, panel = case
    try:
        windows = rule.over(panel)
    except EmptyWindowError:
        assume(False)
    unit = {"monthly": "M", "weekly": "W-FRI", "daily": None}[panel.frequency]

    def place(when: pd.Timestamp) -> int:
        return panel.times.get_loc(when) if unit is None else when.to_period(unit).ordinal

    def size(part: tuple[pd.Timestamp, pd.Timestamp]) -> int:
        return place(part[1]) - place(part[0]) + 1

    for one in windows:
        parts = [one.train, *([] if one.validation is None else [one.validation]), one.test]
        for before, after in pairwise(parts):
            assert place(after[0]) - place(before[1]) - 1 == rule.embargo
        assert size(one.train) == rule.train if rule.kind == "rolling" else size(one.train) >= rule.train
        assert (one.validation is not None) == (rule.validation > 0)
        assert one.validation is None or size(one.validation) == rule.validation
        assert size(one.test) == rule.test or (one is windows[-1] and size(one.test) < rule.test)
        assert one.test[1] <= panel.times[-1]
    if rule.kind == "expanding":
        assert len({one.train[0] for one in windows}) == 1
    tested = [when for one in windows for when in panel.times[inside(panel.times, one.test)]]
    assert tested == list(panel.times[panel.times >= windows[0].test[0]])  # each once, in order


# --- what is refused ---------------------------------------------------------------------------------


def test_a_panel_may_be_just_long_enough() -> None:
    rule = Windows.rolling(6, 3, 4, embargo=2)  # 6 + 2 + 3 + 2, then one to forecast
    (only,) = rule.over(dates(14))
    assert only.test == (dates(14).times[-1],) * 2
    with pytest.raises(EmptyWindowError, match="needs 13 periods before the first that is forecast: the panel has 13"):
        rule.over(dates(13))


@pytest.mark.parametrize("frequency", ["monthly", "weekly", "daily"])
def test_first_test_at_its_boundaries(frequency: str) -> None:
    panel = dates(20, frequency)
    early, last = panel.times[7], panel.times[-1]
    assert Windows.expanding(5, 2, first_test=early).over(panel)[0].test[0] == early
    with pytest.raises(EmptyWindowError, match="must leave 7 periods before it"):
        Windows.expanding(5, 2, first_test=panel.times[6]).over(panel)
    with pytest.raises(EmptyWindowError, match="must leave 7 periods before it"):
        Windows.expanding(5, 2, first_test="1950-01-05").over(panel)
    assert Windows.expanding(5, 2, first_test=last).over(panel)[0].test == (last, last)
    with pytest.raises(EmptyWindowError, match=r"first_test must be a period of the panel.*the panel ends"):
        Windows.expanding(5, 2, first_test="2050-01").over(panel)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"train": 1}, "train must be a whole number of periods, at least 2: got 1"),
        ({"train": 12.0}, "train .* got 12.0"),
        ({"train": "12"}, "train .* got '12'"),
        ({"train": True}, "train .* got True"),
        ({"validation": -1}, "validation .* at least 0: got -1"),
        ({"test": 0}, "test .* at least 1: got 0"),
        ({"test": None}, "test .* got None"),
        ({"embargo": -1}, "embargo .* at least 0: got -1"),
        ({"embargo": 0.5}, "embargo .* got 0.5"),
        ({"first_test": "soon"}, "a date must be like"),
        ({"first_test": float("nan")}, "a date must be like|a missing date"),
    ],
)
@pytest.mark.parametrize("make", [Windows.expanding, Windows.rolling])
def test_sizes_must_be_whole_numbers(make: Any, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(DataError, match=told):
        make(**{"train": 12, **changes})


def test_numpy_sizes_are_whole_numbers_and_the_repr_makes_the_same() -> None:
    rule = Windows.rolling(np.int64(6), np.int32(2), test=np.int8(3), embargo=np.int64(1))
    assert rule == Windows.rolling(6, 2, 3, embargo=1)
    assert repr(rule) == "Windows.rolling(6, validation=2, test=3, embargo=1)"
    assert eval(repr(rule)) == rule
    with pytest.raises(DataError, match="'expanding' or 'rolling'"):
        Windows("growing", 6, 0, 3, 0, None)


TRAIN, VALIDATION, TEST = ("2000-01", "2000-06"), ("2000-07", "2000-08"), ("2000-09", "2000-12")


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"test": ("2000-06", "2000-12"), "validation": None}, "test must begin after train has ended"),
        ({"test": ("1999-01", "1999-12"), "validation": None}, "test must begin after train"),  # train after test
        ({"validation": ("2000-06", "2000-08")}, "validation must begin after train"),
        ({"validation": ("2000-07", "2000-09")}, "test must begin after validation"),
        ({"validation": ("2000-10", "2000-11")}, "test must begin after validation"),
        ({"train": ("2000-01", "2000-09-01"), "validation": None}, "test must begin after train"),
    ],
)
def test_spans_that_overlap_are_refused(parts: dict[str, Any], told: str) -> None:
    Window(train=TRAIN, validation=VALIDATION, test=TEST)  # as close as they may be
    with pytest.raises(LookAheadError, match=told):
        Window(**{"train": TRAIN, "validation": VALIDATION, "test": TEST, **parts})


@pytest.mark.parametrize("part", ["2000", ("2000-01",), ("2000-01", "2000-02", "2000-03"), 5, ("2000-02", "2000-01")])
def test_spans_must_be_pairs(part: Any) -> None:
    with pytest.raises(DataError, match="train must"):
        Window(train=part, test=TEST)


def test_windows_given_in_any_order() -> None:
    first, second = Window(TRAIN, ("2000-07", "2000-08")), Window(("2000-01", "2000-08"), TEST)
    panel = dates(20)
    assert laid([second, first], panel) == laid((first, second), panel)
    assert [one.test[0] for one in laid([second, first], panel)] == [
        first.test[0] + pd.Timedelta("30D"),
        *(laid([second], panel)[0].test[:1]),
    ]


def test_test_windows_that_share_a_month_are_refused() -> None:
    overlapping = [Window(TRAIN, ("2000-07", "2000-09")), Window(TRAIN, ("2000-09", "2000-10"))]
    with pytest.raises(LookAheadError, match="test windows must not overlap"):
        laid(overlapping, dates(20))
    laid([overlapping[0], Window(TRAIN, ("2000-10", "2000-11"))], dates(20))


@pytest.mark.parametrize("name", ["train", "validation", "test"])
def test_spans_over_no_data_are_refused(name: str) -> None:
    spans = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
    holed = dates(20, holes=(7, 8))  # no July, no August
    if name == "validation":
        with pytest.raises(EmptyWindowError, match=r"validation 2000-07-01 to 2000-08-31 holds no period of the panel"):
            laid([Window(**spans)], holed)
        return
    spans |= {"train": ("1990-01", "1990-12")} if name == "train" else {"test": ("2010-01", "2010-12")}
    with pytest.raises(
        EmptyWindowError, match=f"{name} .* holds no period of the panel, which runs 1999-12 to 2001-07"
    ):
        laid([Window(**spans)], dates(20))


def test_a_rolling_window_that_lies_in_a_hole_is_refused() -> None:
    holed = dates(40, holes=tuple(range(10, 25)))
    laid(Windows.expanding(6, test=6), holed)
    with pytest.raises(EmptyWindowError, match="train 2001-06-30 to 2001-11-30 holds no period"):
        laid(Windows.rolling(6, test=6), holed)


@pytest.mark.parametrize("windows", [None, 12, "expanding", [], [TRAIN], Windows, {"a": 1}])
def test_what_are_no_windows(windows: Any) -> None:
    with pytest.raises(DataError, match=re.escape("windows must be Windows.expanding(...)")):
        laid(windows, dates(20))


def test_a_period_belongs_to_the_span_that_holds_its_last_day() -> None:
    """Dates within a month: June is in the test, and not in the training span as well."""
    cut = Window(("2000-01", pd.Timestamp("2000-06-15")), (pd.Timestamp("2000-06-16"), "2000-12"))
    (found,) = laid([cut], dates(20))
    assert (months(found, "train"), months(found, "test")) == (("2000-01", "2000-05"), ("2000-06", "2000-12"))
    assert found.train[1] == pd.Timestamp("2000-05-31")
    weekly = Window(("2000-01-01", "2000-02-02"), ("2000-02-03", "2000-03-03"))  # Wednesday and Thursday of one week
    (found,) = laid([weekly], dates(20, "weekly"))
    assert (found.train[1], found.test[0]) == (pd.Timestamp("2000-01-28"), pd.Timestamp("2000-02-04"))


def test_a_window_says_what_it_is() -> None:
    window = Window(TRAIN, TEST, VALIDATION)
    assert str(window) == (
        "train 2000-01-01 to 2000-06-30, validation 2000-07-01 to 2000-08-31, test 2000-09-01 to 2000-12-31"
    )
    assert window == Window(pd.PeriodIndex(["2000-01", "2000-06"], freq="M"), TEST, VALIDATION)
