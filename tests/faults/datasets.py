"""Datasets that are no panel: what the contract of `Panel` refuses."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayesfactor.errors import DataError, DuplicateKeyError, UnitsError
from bayesfactor.panel import Panel

from . import made
from .fault import Call, Fault

Spoil = Callable[[xr.Dataset], object]
CELL = r"\(2015-05, A1\) \(1 in all\)"


def data(
    name: str, spoil: Spoil, gives: type[Exception], place: str | None, no_place: str = "", **settings: Any
) -> Fault:
    """The raw dataset, spoiled, as a panel."""
    return _fault(name, spoil, gives, place, no_place, made.raw, settings)


def ranked(
    name: str, spoil: Spoil, gives: type[Exception], place: str | None, no_place: str = "", **settings: Any
) -> Fault:
    """The ranked dataset, spoiled, as a panel."""
    return _fault(name, spoil, gives, place, no_place, made.prepared, {"preparation": "rank"} | settings)


def _fault(
    name: str,
    spoil: Spoil,
    gives: type[Exception],
    place: str | None,
    no_place: str,
    of: Callable[[], Panel],
    settings: dict[str, Any],
) -> Fault:
    def make(_folder: object, _rng: np.random.Generator) -> Call:
        return functools.partial(Panel, spoil(of().data.copy(deep=True)), **{"frequency": "monthly"} | settings)

    return Fault(name, make, gives, place, no_place)


def put(variable: str, value: Any, *where: int) -> Spoil:
    """One cell replaced: (3, 1) is (2015-05, A1)."""

    def spoil(dataset: xr.Dataset) -> xr.Dataset:
        values = dataset[variable].values.copy()
        if values.dtype == bool or not isinstance(value, float):
            values = values.astype(object)
        values[where or (3, 1)] = value
        kept = dataset if variable == "observed" else dataset.drop_vars("observed")
        return kept.assign({variable: (dataset[variable].dims, values)})

    return spoil


def without(*names: str) -> Spoil:
    return lambda dataset: dataset.drop_vars(names)


def of_type(variable: str, kind: Any) -> Spoil:
    return lambda dataset: dataset.assign({variable: dataset[variable].astype(kind)})


def labels(dim: str, values: Callable[[pd.Index], Any]) -> Spoil:
    return lambda dataset: dataset.assign_coords({dim: values(dataset.indexes[dim])})


def replaced(index: pd.Index, value: Any) -> list[Any]:
    return [value, *index[1:]]


def with_benchmark(
    values: Callable[[np.ndarray], np.ndarray], name: str = "benchmark_returns", dim: str = "benchmark"
) -> Spoil:
    """Two benchmarks (or portfolios, or predictors), changed."""

    def spoil(dataset: xr.Dataset) -> xr.Dataset:
        base = np.random.default_rng(1).normal(0, 0.02, (dataset.sizes["time"], 2))
        return dataset.assign({name: (("time", dim), values(base))}).assign_coords({dim: ["mkt", "smb"]})

    return spoil


def infinite(base: np.ndarray) -> np.ndarray:
    base[3, 1] = np.inf
    return base


def everywhere_in_a_month(dataset: xr.Dataset) -> xr.Dataset:
    return dataset.assign(in_universe=dataset.in_universe & (dataset.time != dataset.time[3]))


STRUCTURE = [
    *[
        data(f"no variable {name}", without(name), DataError, f"'{name}'")
        for name in ("characteristics", "returns", "in_universe")
    ],
    data("an unknown variable", lambda d: d.assign(price=d.returns), DataError, "'price'"),
    data(
        "a variable over other dims", lambda d: d.assign(returns=d.returns.rename(asset="stock")), DataError, "returns"
    ),
    data(
        "a variable over fewer dims",
        lambda d: d.assign(returns=d.returns.isel(asset=0, drop=True)),
        DataError,
        "returns",
    ),
    data("no labels of assets", lambda d: d.drop_vars("asset"), DataError, "asset"),
    data("no labels of periods", lambda d: d.drop_vars("time"), DataError, "time"),
    data("no periods", lambda d: d.isel(time=[]), DataError, "time"),
    data("no assets", lambda d: d.isel(asset=[]), DataError, "asset"),
    data("no characteristics", lambda d: d.isel(characteristic=[]), DataError, "characteristic"),
    data("a DataFrame", lambda d: made.frame(), DataError, "DataFrame"),
    data("a DataArray", lambda d: d.returns, DataError, "DataArray"),
    data("None", lambda d: None, DataError, "NoneType"),
    data("frequency of another word", lambda d: d, DataError, "frequency.*'quarterly'", frequency="quarterly"),
    data("monthly data said to be weekly", lambda d: d, DataError, "2015-02-28", frequency="weekly"),
    data("preparation of another word", lambda d: d, DataError, "preparation.*'ranked'", preparation="ranked"),
    data("missing rule of another word", lambda d: d, DataError, "missing.*'zero'", missing="zero"),
]

LABELS = [
    data("an asset twice", labels("asset", lambda i: replaced(i, "A1")), DuplicateKeyError, "asset.*A1"),
    data(
        "an asset as number and as text",
        labels("asset", lambda i: pd.Index([1, "1", *i[2:]], dtype=object)),
        DuplicateKeyError,
        "asset.*1",
    ),
    data(
        "an asset without a label",
        labels("asset", lambda i: pd.Index([np.nan, *i[1:]], dtype=object)),
        DataError,
        "asset.*nan",
    ),
    data("an asset with a blank label", labels("asset", lambda i: replaced(i, " ")), DataError, "asset.*' '"),
    data(
        "a characteristic twice", labels("characteristic", lambda i: ["x", "x"]), DuplicateKeyError, "characteristic.*x"
    ),
    data(
        "a characteristic without a label",
        labels("characteristic", lambda i: pd.Index([None, "y"], dtype=object)),
        DataError,
        "characteristic.*None",
    ),
    data("a period twice", labels("time", lambda i: i[[0, 0, *range(2, 14)]]), DuplicateKeyError, "time.*2015-02"),
    data("periods as text", labels("time", lambda i: i.strftime("%Y-%m")), DataError, "time"),
    data("periods as integers", labels("time", lambda i: i.strftime("%Y%m").astype(int)), DataError, "time.*int64"),
    data("periods as pandas periods", labels("time", lambda i: i.to_period("M")), DataError, "time.*period"),
    data("a missing period", labels("time", lambda i: pd.DatetimeIndex([pd.NaT, *i[1:]])), DataError, "time"),
    data(
        "months dated on their first day",
        labels("time", lambda i: i.to_period("M").to_timestamp()),
        DataError,
        "2015-02-01",
    ),
    data(
        "months dated on their last weekday",
        labels("time", lambda i: i.map(pd.offsets.BMonthEnd().rollback)),
        DataError,
        "2015-02-27|2015-05-29",
    ),
    data(
        "periods with a time zone",
        labels("time", lambda i: i.tz_localize("America/New_York")),
        DataError,
        "time.*New_York",
    ),
    data(
        "periods before 1677",
        labels("time", lambda i: pd.date_range("1066-01-31", periods=14, freq="ME", unit="s")),
        DataError,
        "1066-01-31",
    ),
    data(
        "periods after 2262",
        labels("time", lambda i: pd.date_range("2500-01-31", periods=14, freq="ME", unit="s")),
        DataError,
        "2500-01-31",
    ),
    data(
        "a kind of another word",
        lambda d: d.assign_coords(kind=("characteristic", ["continuous", "dummy"])),
        DataError,
        "'dummy'",
    ),
    data(
        "an indicator that is not 0 or 1",
        lambda d: d.assign_coords(kind=("characteristic", ["continuous", "indicator"])),
        DataError,
        r"\(2015-02, A0, y\)",
    ),
    data(
        "a benchmark twice",
        lambda d: with_benchmark(lambda v: v)(d).assign_coords(benchmark=["mkt", "mkt"]),
        DuplicateKeyError,
        "benchmark.*mkt",
    ),
]

VALUES = [
    *[data(f"infinite {name}", put(name, np.inf), DataError, f"{name}.*{CELL}") for name in ("returns", "size")],
    data("minus infinite returns", put("returns", -np.inf), DataError, f"returns.*{CELL}"),
    data(
        "infinite characteristic",
        put("characteristics", np.inf, 3, 1, 0),
        DataError,
        r"characteristics.*\(2015-05, A1, x\)",
    ),
    data("infinite benchmark", with_benchmark(infinite), DataError, r"benchmark_returns.*\(2015-05, smb\)"),
    data("infinite predictor", with_benchmark(infinite, "macro", "predictor"), DataError, r"macro.*\(2015-05, smb\)"),
    data("text among the returns", put("returns", "n/a"), DataError, "returns"),
    data("complex returns", of_type("returns", complex), DataError, "returns.*complex"),
    data("returns that are dates", of_type("returns", "datetime64[ns]"), DataError, "returns.*datetime64"),
    data("characteristics that are text", of_type("characteristics", str), DataError, "characteristics"),
    data(
        "a universe in words",
        lambda d: d.assign(in_universe=xr.where(d.in_universe, "yes", "no")),
        DataError,
        "in_universe",
    ),
    data("a universe of shares", lambda d: d.assign(in_universe=0.5 * d.in_universe), DataError, "in_universe"),
    data("a universe with missing cells", put("in_universe", np.nan), DataError, "in_universe"),
    data("a period with nobody in the universe", everywhere_in_a_month, DataError, "2015-05"),
    data(
        "nobody ever in the universe",
        lambda d: d.assign(in_universe=d.in_universe & False),
        DataError,
        r"2015-02.*\(14 in all\)",
    ),
    data(
        "a missing return claimed observed",
        lambda d: d.assign(returns=d.returns.where(d.time != d.time[3])),
        DataError,
        r"observed.*\(2015-05, A0\)",
    ),
    data("a return claimed not observed", put("observed", False), DataError, f"observed.*{CELL}"),
    data("a value claimed missing", put("missing", True, 3, 1, 0), DataError, r"missing.*\(2015-05, A1, x\)"),
    data(
        "a missing value not claimed",
        put("characteristics", np.nan, 3, 1, 0),
        DataError,
        r"missing.*\(2015-05, A1, x\)",
    ),
    data(
        "a missing value under missing='error'",
        lambda d: put("characteristics", np.nan, 3, 1, 0)(d).drop_vars("missing"),
        DataError,
        r"characteristics.*\(2015-05, A1, x\)",
        missing="error",
    ),
    data("returns in percent", lambda d: d.assign(returns=100 * d.returns), UnitsError, "returns"),
    data("benchmarks in percent", with_benchmark(lambda v: 100 * v), UnitsError, "benchmark_returns"),
    data(
        "portfolios in percent",
        with_benchmark(lambda v: 100 * v, "portfolio_returns", "portfolio"),
        UnitsError,
        "portfolio_returns",
    ),
    ranked("a prepared panel without its mask", without("missing"), DataError, "missing"),
    ranked(
        "a prepared cell that is missing",
        put("characteristics", np.nan, 3, 1, 0),
        DataError,
        r"characteristics.*\(2015-05, A1, x\)",
    ),
    ranked("ranks beyond 1", put("characteristics", 1.5, 3, 1, 0), DataError, r"characteristics.*\(2015-05, A1, x\)"),
    data(
        "raw values said to be ranks",
        lambda d: d.assign(characteristics=100 * d.characteristics.fillna(0.0)),
        DataError,
        r"characteristics.*\(2015-02, A0, x\)",
        preparation="rank",
    ),
]

FAULTS = list(itertools.chain(STRUCTURE, LABELS, VALUES))
