"""The contract of a panel's dataset: names, dims, dtypes, labels, finiteness, units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from bayesfactor.errors import DataError, DuplicateKeyError, UnitsError, first_three
from bayesfactor.panel.codes import MISSING_CODES
from bayesfactor.panel.periods import FIRST_DAY, LAST_DAY, PERIODS_PER_YEAR, as_days, check_frequency, period_ends, show

DIMS = {
    "characteristics": ("time", "asset", "characteristic"),
    "missing": ("time", "asset", "characteristic"),
    "returns": ("time", "asset"),
    "in_universe": ("time", "asset"),
    "observed": ("time", "asset"),
    "size": ("time", "asset"),
    "group": ("time", "asset"),
    "benchmark_returns": ("time", "benchmark"),
    "portfolio_returns": ("time", "portfolio"),
    "macro": ("time", "predictor"),
}
REQUIRED = ("characteristics", "returns", "in_universe")
KNOWN_BEFORE = ("characteristics", "missing", "in_universe", "size", "group", "macro")
KNOWN_AFTER = ("returns", "observed", "benchmark_returns", "portfolio_returns")
PREPARATIONS = ("raw", "rank", "standardise")
MISSING_RULES = ("median", "indicator", "error")
_LEAST_RETURN = -1.05  # nothing loses more than all, less a riskless rate
_TOTAL_LOSS = -0.99 + 1e-9
_GREATEST_RETURN = 100.0  # 10,000% in one period
_ENOUGH_RETURNS = 30
_RANK_ROUNDING = 1e-6  # of float32
_BOOLEAN = ("missing", "in_universe", "observed")
_UNITS = {
    "returns": "decimal per period, excess",
    "benchmark_returns": "decimal per period, excess",
    "portfolio_returns": "decimal per period, excess",
}


def validated(data: xr.Dataset, frequency: str, preparation: str, missing: str) -> xr.Dataset:
    """The dataset in canonical form: dims ordered, dtypes fixed, arrays read-only."""
    if not isinstance(data, xr.Dataset):
        raise DataError(
            f"a panel is made of an xarray.Dataset: found {type(data).__name__}. Read frames and files with read_frame."
        )
    check_frequency(frequency)
    _one_of("preparation", preparation, PREPARATIONS)
    _one_of("missing", missing, MISSING_RULES)
    _check_names(data)
    data = _check_labels(data, frequency)
    arrays = {name: _array(data, name) for name in DIMS if name in data}
    cells = _Cells(data, frequency)
    for name, values in arrays.items():
        if values.dtype.kind == "f":
            cells.refuse(np.isinf, (values,), name, "finite", "An infinite value is never data: NaN is missing.")
    _check_masks(arrays, cells, preparation, missing)
    kinds = _kinds(data)
    _check_kinds(arrays, cells, kinds, preparation)
    for name in _UNITS:
        if name in arrays:
            check_units(arrays[name], name, PERIODS_PER_YEAR[frequency])
    coords = {name: data.indexes[name] for name in data.dims}
    variables = {name: (DIMS[name], values, _attrs(name)) for name, values in arrays.items()}
    canonical = xr.Dataset(variables, coords)
    return canonical.assign_coords(kind=("characteristic", kinds))


def check_units(returns: np.ndarray, name: str, periods_per_year: int = 12) -> None:
    """Refuse percent where decimal was declared.

    Raises
    ------
    UnitsError
        When the median absolute return is above 0.5 a month, or the median cross-sectional sd of a period is
        above 1 a month; shorter periods allow less, by the square root of their length.
    """
    shorter = float(np.sqrt(12 / periods_per_year))
    finite = np.abs(returns[np.isfinite(returns)])
    if not finite.size:
        return
    median = float(np.median(finite))
    rows = returns[np.isfinite(returns).sum(axis=1) > 2]
    spread = float(np.median(np.nanstd(rows, axis=1))) if rows.size else 0.0
    if median > 0.5 * shorter or spread > shorter:
        raise UnitsError(
            f"{name} must be decimal per period (0.01 = 1%): the median |return| is {median:.3g}, the "
            f'typical cross-sectional sd {spread:.3g}. Usually these are percent: pass units="percent".'
        )


def total_losses(data: xr.Dataset, frequency: str) -> tuple[str, ...]:
    """A warning that names the returns of -99% and less, or nothing."""
    lost = data.returns.transpose(*DIMS["returns"]).values <= _TOTAL_LOSS
    if not lost.any():
        return ()
    cells = cells_of(lost, [data.indexes[dim] for dim in DIMS["returns"]], frequency)
    return (
        f"returns of -99% or less are rare: found at {cells}. Usually a missing code (-99 or -99.99 percent) taken "
        "for a return: make it NaN. Real losses of everything, as at a delisting, can stay.",
    )


def missing_codes(data: xr.Dataset, frequency: str) -> tuple[str, ...]:
    """A warning for each characteristic that holds one of `MISSING_CODES` more than once in the universe."""
    texts: tuple[str, ...] = ()
    lowest = np.fmin.reduce(data.characteristics.values, axis=(0, 1))
    reach = np.flatnonzero(lowest < max(MISSING_CODES) + 0.01)  # most columns do not; in float32 -99.99 is above it
    for k in reach.tolist():
        name, values = data.indexes["characteristic"][k], data.characteristics.values[..., k]
        for code in MISSING_CODES:
            held = ((values == code) | (values == np.float32(code))) & data.in_universe.values
            if held.sum() > 1:
                cells = cells_of(held, [data.indexes[dim] for dim in DIMS["returns"]], frequency)
                texts += (
                    f"{name} holds {code:g} at {cells}: usually a code for missing, which would be ranked as the "
                    "lowest value. Make it NaN before reading.",
                )
    return texts


def refuse_impossible(data: xr.Dataset, frequency: str) -> None:
    """Refuse returns below -105% or above 10,000%, which are codes, and returns that are all positive.

    For data that were read: simulated ones have no such bounds.

    Raises
    ------
    DataError
        Naming the first cells.
    UnitsError
        When 30 returns or more are all positive: prices, or gross returns.
    """
    returns = data.returns.transpose(*DIMS["returns"]).values
    remedy = (
        f"The lowest is {np.nanmin(returns, initial=0.0):.6g}, and nobody loses more than everything. Usually a "
        "missing code (-99.99, -66) taken for a return: make it NaN before reading."
    )
    must = f"at least {_LEAST_RETURN} (decimal, excess)"
    cells = _Cells(data, frequency)
    cells.refuse(lambda values: values < _LEAST_RETURN, (returns,), "returns", must, remedy)
    must = f"at most {_GREATEST_RETURN:g} (10,000% in one period)"
    remedy = f"The highest is {np.nanmax(returns, initial=0.0):.6g}. Usually a missing code (9999): make it NaN."
    cells.refuse(lambda values: values > _GREATEST_RETURN, (returns,), "returns", must, remedy)
    seen = returns[~np.isnan(returns)]
    if seen.size >= _ENOUGH_RETURNS and seen.min() > 0:
        raise UnitsError(
            f"returns must be gains and losses: all {seen.size:,} are positive, from {seen.min():.3g} to "
            f"{seen.max():.3g} in decimal. Usually these are prices, or gross returns (subtract one)."
        )


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise DataError(f"{name} must be one of {', '.join(map(repr, choices))}: found {value!r}.")


def _check_names(data: xr.Dataset) -> None:
    lacking = [name for name in REQUIRED if name not in data]
    unknown = sorted(str(name) for name in data.data_vars if name not in DIMS)
    if lacking or unknown:
        raise DataError(
            f"a panel holds the variables {', '.join(DIMS)}: lacking {lacking or 'none'}, unknown {unknown or 'none'}."
        )
    for name in data.data_vars:
        if set(data[name].dims) != set(DIMS[str(name)]):
            raise DataError(f"{name} must have the dims {DIMS[str(name)]}: found {data[name].dims}.")
    bare = sorted(str(dim) for dim in data.dims if dim not in data.indexes)
    if bare:
        raise DataError(f"every dim must carry labels: {', '.join(bare)} has none. Give it a coordinate.")


def _check_labels(data: xr.Dataset, frequency: str) -> xr.Dataset:
    for dim in data.dims:
        index = data.indexes[dim]
        if dim != "time":
            _refuse_blank(index, str(dim))
            index = pd.Index([str(label) for label in index], dtype=object)
            data = data.assign_coords({dim: index.to_numpy(dtype=str)})
        repeated = index[index.duplicated()]
        if len(repeated):
            raise DuplicateKeyError(
                f"labels of {dim} must be unique: repeated {first_three(repeated)}. Rename or drop all but one."
            )
    times = data.indexes["time"]
    if not len(times):
        raise DataError("a panel must have at least one period in time: it has none.")
    if not isinstance(times, pd.DatetimeIndex):
        raise DataError(f"time must hold datetimes: found dtype {times.dtype}.")
    if times.hasnans:
        raise DataError("time must hold datetimes: found missing ones.")
    if times.tz is not None:
        raise DataError(
            f"time must hold dates without a time zone: found {times.tz}. Convert to the exchange's clock first: "
            ".tz_convert(zone).tz_localize(None)."
        )
    days = as_days(times)
    outside = (days < FIRST_DAY) | (days > LAST_DAY)
    if outside.any():
        raise DataError(f"time must lie between {FIRST_DAY} and {LAST_DAY}: found {first_three(days[outside])}.")
    wrong = days != period_ends(days, frequency)
    if wrong.any():
        raise DataError(
            f"time must hold the ends of {frequency} periods: found {first_three(days[wrong])}. "
            "Read the data with read_frame, which dates periods by their calendar end."
        )
    data = data.assign_coords(time=pd.DatetimeIndex(times.normalize().as_unit("ns"), freq=None))  # type: ignore[arg-type]
    return data if times.is_monotonic_increasing else data.sortby("time")


def _refuse_blank(index: pd.Index, dim: str) -> None:
    if not len(index):
        raise DataError(f"a panel must have at least one {dim}: it has none.")
    blank = [repr(label) for label in index[[bool(pd.isna(label)) or not str(label).strip() for label in index]]]
    if blank:
        raise DataError(f"every {dim} must have a label: found {first_three(blank)}. Name or drop them.")


def _array(data: xr.Dataset, name: str) -> np.ndarray:
    """A variable in its dtype, read-only: a copy, unless it is read-only already and no view of another array."""
    values = data[name].transpose(*DIMS[name]).values
    if name == "group":
        return _frozen(values.astype(str))
    kind = bool if name in _BOOLEAN else np.float64
    try:
        if values.dtype.kind not in "biufO":
            raise TypeError(values.dtype)
        cast = values.astype(kind, order="C", copy=values.flags.writeable or values.base is not None)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} must be {kind.__name__}: found dtype {values.dtype}.") from error
    if kind is bool and values.dtype != bool and not np.array_equal(cast, values):
        raise DataError(f"{name} must hold True and False: found dtype {values.dtype} with other values.")
    return _frozen(cast)


def _check_masks(arrays: dict[str, np.ndarray], cells: _Cells, preparation: str, missing: str) -> None:
    characteristics, universe = arrays["characteristics"], arrays["in_universe"]
    if preparation == "raw":
        if "missing" not in arrays:
            arrays["missing"] = _frozen(np.isnan(characteristics))
        must = "True exactly where a raw characteristic is NaN"
        cells.refuse(lambda given, raw: given != np.isnan(raw), (arrays["missing"], characteristics), "missing", must)
    elif "missing" not in arrays:
        raise DataError(
            "a prepared panel must keep its mask `missing`: prepare with rank_normalise() or standardise()."
        )
    else:
        must = "numbers in the universe once prepared"
        cells.refuse(
            lambda values, universe: np.isnan(values) & universe[..., None],
            (characteristics, universe),
            "characteristics",
            must,
        )
    if missing == "error":
        remedy = 'Fill or drop them, or read with missing="median" or "indicator".'
        cells.refuse(
            lambda absent, universe: absent & universe[..., None],
            (arrays["missing"], universe),
            "characteristics",
            'present, as missing="error" asks',
            remedy,
        )
    if "observed" not in arrays:
        arrays["observed"] = _frozen(~np.isnan(arrays["returns"]))
    remedy = "`observed` means that the return exists: a NaN return cannot be claimed observed."
    cells.refuse(
        lambda claimed, returns: claimed == np.isnan(returns),
        (arrays["observed"], arrays["returns"]),
        "observed",
        "True exactly where `returns` is a number",
        remedy,
    )
    empty = ~universe.any(axis=1)
    if empty.any():
        months = [show(time, cells.frequency) for time in cells.data.time.values[empty]]
        raise DataError(f"every period must have an asset in its universe: none in {first_three(months)}.")


def _check_kinds(arrays: dict[str, np.ndarray], cells: _Cells, kinds: np.ndarray, preparation: str) -> None:
    """Ranks lie in [-1, 1], indicators are 0 or 1."""
    indicator, given = kinds == "indicator", (arrays["characteristics"], arrays["in_universe"])

    def neither(values: np.ndarray, universe: np.ndarray) -> np.ndarray:
        return universe[..., None] & indicator & ~np.isnan(values) & (values != 0) & (values != 1)

    def outside(values: np.ndarray, universe: np.ndarray) -> np.ndarray:
        return universe[..., None] & ~indicator & (np.abs(values) > 1 + _RANK_ROUNDING)

    if indicator.any():
        must = "0 or 1 where `kind` is indicator"
        cells.refuse(neither, given, "characteristics", must, "Others are continuous.")
    if preparation == "rank":
        must = 'between -1 and 1 where preparation is "rank"'
        remedy = "Usually raw values: leave out preparation= and call rank_normalise()."
        cells.refuse(outside, given, "characteristics", must, remedy)


@dataclass(frozen=True)
class _Cells:
    """Refuses cells, and names them."""

    data: xr.Dataset
    frequency: str

    def refuse(
        self, bad: Callable[..., np.ndarray], arrays: Sequence[np.ndarray], name: str, must: str, remedy: str = ""
    ) -> None:
        """Refuse cells that are `bad(*arrays)`, looked for a period at a time: a whole mask is large."""
        if any(bad(*period).any() for period in zip(*arrays, strict=True)):
            cells = cells_of(bad(*arrays), [self.data.indexes[dim] for dim in DIMS[name]], self.frequency)
            raise DataError(f"{name} must be {must}: found otherwise at {cells}. {remedy}".rstrip())


def cells_of(bad: np.ndarray, labels: list[pd.Index], frequency: str) -> str:
    """First three flagged cells, named by their labels, and the count."""
    where = np.argwhere(bad)
    first = [
        tuple(
            show(axis[i], frequency) if d == 0 else axis[i]
            for d, (axis, i) in enumerate(zip(labels, cell, strict=True))
        )
        for cell in where[:3]
    ]
    return f"{', '.join('(' + ', '.join(map(str, cell)) + ')' for cell in first)} ({len(where):,} in all)"


def _kinds(data: xr.Dataset) -> np.ndarray:
    if "kind" not in data.coords:
        return np.full(data.sizes["characteristic"], "continuous")
    kinds = data.coords["kind"].values.astype(str)
    unknown = sorted(set(kinds) - {"continuous", "indicator"})
    if unknown:
        raise DataError(f"kind must be 'continuous' or 'indicator': found {unknown}.")
    return kinds


def _attrs(name: str) -> dict[str, str]:
    return {"units": _UNITS[name]} if name in _UNITS else {}


def _frozen(values: np.ndarray) -> np.ndarray:
    values.setflags(write=False)
    return values
