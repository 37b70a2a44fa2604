"""Selections, filters and preparations that cannot be made."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pandas as pd
import xarray as xr

import bayesfactor as bf
from bayesfactor.errors import (
    AlignmentError,
    DataError,
    DataWarning,
    DuplicateKeyError,
    EmptyWindowError,
    LookAheadError,
)
from bayesfactor.panel import Panel

from . import made
from .fault import Fault

RANGE = "2015-02 to 2016-03"


def of(source: Callable[[], Panel]) -> Callable[..., Fault]:
    def fault(
        name: str, call: Callable[[Panel], object], gives: type[Exception], place: str | None, no_place: str = ""
    ) -> Fault:
        return Fault(name, lambda _folder, _rng: lambda: call(source()), gives, place, no_place)

    return fault


raw, prepared = of(made.raw), of(made.prepared)


def changed(**variables: Callable[[xr.DataArray], xr.DataArray]) -> Panel:
    """The raw panel with other values."""
    data = made.raw().data.drop_vars(["observed", "missing"])
    return Panel(data.assign({name: change(data[name]) for name, change in variables.items()}), "monthly")


def constant(share: float) -> Panel:
    """The raw panel, its x the same for all assets in this share of the months."""
    return changed(
        characteristics=lambda c: c.where((c.characteristic != "x") | (c.time > c.time[int(share * 13)]), 1.0)
    )


def delisted() -> Panel:
    """The raw panel, A1 without returns from the fifth month on."""
    return changed(returns=lambda r: r.where((r.asset != "A1") | (r.time < r.time[4])))


def whole_sample_mean(data: xr.Dataset) -> xr.Dataset:
    return data.assign(characteristics=data.characteristics - data.characteristics.mean("time"))


def observed_only(data: xr.Dataset) -> xr.Dataset:
    return data.assign(in_universe=data.in_universe & (data.observed | ~data.observed.any("asset")))


TIMES = [
    prepared("split before the data", lambda p: p.split("1990-01"), EmptyWindowError, RANGE),
    prepared("split after the data", lambda p: p.split("2030-01"), EmptyWindowError, RANGE),
    prepared("split at words", lambda p: p.split("last year"), DataError, "'last year'"),
    prepared("split at day/month/year", lambda p: p.split("31/05/2015"), DataError, "'31/05/2015'"),
    prepared("split at nothing", lambda p: p.split(None), DataError, "date"),
    prepared("split at NaT", lambda p: p.split(pd.NaT), DataError, "date"),
    prepared("split at a list", lambda p: p.split(["2015-05"]), DataError, r"\['2015-05'\]"),
    prepared("split at month 13", lambda p: p.split("2015-13"), DataError, "'2015-13'"),
    prepared("a year without data", lambda p: p.sel(time="1999"), EmptyWindowError, RANGE),
    prepared(
        "one month of several without data",
        lambda p: p.sel(time=["2015-05", "2019-01"]),
        EmptyWindowError,
        f"2019-01.*{RANGE}",
    ),
    prepared(
        "a window that ends before it begins",
        lambda p: p.sel(time=slice("2015-09", "2015-05")),
        EmptyWindowError,
        RANGE,
    ),
    prepared("a window with a step", lambda p: p.sel(time=slice("2015-03", "2015-09", 2)), DataError, "slice of time"),
    prepared("a window by position", lambda p: p.sel(time=slice(0, 5)), DataError, "'?0'?"),
    prepared("no periods", lambda p: p.sel(time=[]), EmptyWindowError, RANGE),
    prepared("no live period", lambda p: p.split("2016-03")[0].live, EmptyWindowError, "2015-02 to 2016-02"),
]

SELECTED = [
    prepared("an unknown asset", lambda p: p.sel(asset=["A1", "B7"]), AlignmentError, r"B7 \(1 in all\)"),
    prepared("an unknown characteristic", lambda p: p.sel(characteristic="bm"), AlignmentError, "bm"),
    prepared("assets by position", lambda p: p.sel(asset=[0, 1]), AlignmentError, r"0, 1 \(2 in all\)"),
    prepared("an asset selected twice", lambda p: p.sel(asset=["A1", "A1"]), DuplicateKeyError, "A1"),
    prepared("a characteristic selected twice", lambda p: p.sel(characteristic=["x", "x"]), DuplicateKeyError, "x"),
    prepared("no assets", lambda p: p.sel(asset=[]), EmptyWindowError, r"asset=\[\]"),
    prepared("no characteristics", lambda p: p.sel(characteristic=[]), EmptyWindowError, r"characteristic=\[\]"),
    raw("the largest 0", lambda p: p.largest(0), DataError, "n=0"),
    raw("the largest 2.5", lambda p: p.largest(2.5), DataError, "n=2.5"),
    raw("the largest True", lambda p: p.largest(True), DataError, "n=True"),
    raw("the largest 'ten'", lambda p: p.largest("ten"), DataError, "n='ten'"),
    prepared("the largest after ranking", lambda p: p.largest(3), DataError, "largest"),
    raw("the largest without a size", lambda p: bf.read_frame(made.frame(), **made.TOLD).largest(3), DataError, "size"),
    raw(
        "the largest with no size known",
        lambda p: changed(size=lambda s: s * np.nan).largest(3),
        EmptyWindowError,
        RANGE,
    ),
    raw("covered by 70 of 1", lambda p: p.covered(70), DataError, "70"),
    raw("covered by a negative share", lambda p: p.covered(-0.1), DataError, "-0.1"),
    raw("covered by NaN", lambda p: p.covered(np.nan), DataError, "nan"),
    raw("covered by a word", lambda p: p.covered("most"), DataError, "'most'"),
    prepared("covered after ranking", lambda p: p.covered(0.5), DataError, "covered"),
]

PREPARED = [
    prepared("ranked twice", lambda p: p.rank_normalise(), DataError, "rank_normalise"),
    prepared("standardised after ranking", lambda p: p.standardise(), DataError, "standardise"),
    raw(
        "a characteristic that is constant in every month",
        lambda p: constant(1.0).rank_normalise(),
        DataError,
        r"x \(1 in all\)",
    ),
    raw(
        "a characteristic that is missing in every month",
        lambda p: changed(characteristics=lambda c: c.where(c.characteristic != "x")).standardise(),
        DataError,
        r"x \(1 in all\)",
    ),
    raw(
        "a characteristic that is constant in some months",
        lambda p: constant(0.3).rank_normalise(),
        DataWarning,
        r"x.*2015-02, 2015-03, 2015-04 \(4 in all\)",
    ),
    raw(
        "a characteristic that is missing in some months",
        lambda p: changed(
            characteristics=lambda c: c.where((c.characteristic != "x") | (c.time > c.time[1]))
        ).standardise(),
        DataWarning,
        r"x.*2015-02, 2015-03 \(2 in all\)",
    ),
    raw("one asset only", lambda p: p.sel(asset="A1").rank_normalise(), DataError, r"x, y \(2 in all\)"),
    raw(
        "names taken by indicators",
        lambda p: Panel(
            p.data.assign_coords(characteristic=["x", "x_missing"]), "monthly", missing="indicator"
        ).rank_normalise(),
        DataError,
        "x_missing",
    ),
    raw("a function that returns nothing", lambda p: p.apply(lambda data: None, "mine"), DataError, "'mine'.*NoneType"),
    raw("a function that is none", lambda p: p.apply("demean", "mine"), DataError, "'mine'.*str"),
    raw(
        "a function that breaks the contract",
        lambda p: p.apply(lambda data: data.assign(returns=100 * data.returns), "mine"),
        bf.errors.UnitsError,
        "returns",
    ),
    raw(
        "a function that empties the universe",
        lambda p: p.apply(lambda data: data.assign(in_universe=data.in_universe & False), "mine"),
        EmptyWindowError,
        RANGE,
    ),
    raw(
        "a mean over the whole sample",
        lambda p: p.apply(whole_sample_mean, "demean").audit(),
        LookAheadError,
        r"characteristics.*\(2015-0\d, A0, x\)",
    ),
    raw(
        "a universe of the assets with returns",
        lambda p: delisted().apply(observed_only, "traded").audit(),
        LookAheadError,
        r"in_universe.*A1\)",
    ),
    raw("an audit outside the panel", lambda p: p.audit(cuts=["1999-01"]), EmptyWindowError, "1999-01"),
    raw("an audit at one date that is no list", lambda p: p.audit(cuts="2015-06"), DataError, "'2015-06'"),
]

FAULTS = list(itertools.chain(TIMES, SELECTED, PREPARED))
