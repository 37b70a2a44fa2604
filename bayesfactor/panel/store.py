"""Panels on disk: prepared months packed as models use them, read a few at a time.

A store is a folder. Each write adds one Zarr group, `part-...`, one month a chunk, that never changes again.
`manifest.json` lists the parts, labels and statistics, and the SHA-256 of every month. It is replaced last and at once,
so that an interrupted write changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import xarray as xr
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from bayesfactor.errors import AlignmentError, CorruptResultError, DataError, first_three
from bayesfactor.panel import summary
from bayesfactor.panel.arrays import PanelArrays, slots
from bayesfactor.panel.contract import DIMS
from bayesfactor.panel.panel import Panel
from bayesfactor.panel.periods import PERIODS_PER_YEAR, as_days, brief, selected, show, span

FORMAT, SCHEMA = "bayesfactor panel store", 1
MANIFEST = "manifest.json"
CHUNK_BYTES = 16 * 2**20  # a month above this is cut over its slots, and its chunks are decoded side by side
AHEAD = 2  # batches read before they are asked for
_REMEDY = "Copy the store again from a good source, or write it again."
_OF_MONTH = {"time", "assets", "count", "sum", "deviations", "arrays", "rest"}
_PART = re.compile(r"part-[0-9a-f]{32}")
_FILL = {"asset": -1, "group": -1, "characteristics": 0, "missing": False}  # of padding; NaN in the others
_ALIKE = ("frequency", "preparation", "missing", "dtype", "characteristic", "kinds", "variables", "labels")

In = TypeVar("In")
Out = TypeVar("Out")


@dataclass(frozen=True, eq=False, repr=False)
class PanelStore:
    """A prepared panel on disk, from which months are read a few at a time. Made by `Panel.to_zarr`, `open_panel`.

    Notes
    -----
    Memory: the labels and a few numbers a month; for `months`, its result and one month more; for `batches`, four
    batches (one in use, two waiting, one being read); for `load`, some three times the panel that it gives. What
    is read is compared with its SHA-256 before it is given out: a month that has changed on disk is a
    `CorruptResultError` that names it. A store may grow while it is open; open it again to see the new months.
    """

    path: Path
    _manifest: dict[str, Any]
    _parts: dict[int, dict[str, zarr.Array]] = field(default_factory=dict)

    # What it is

    @property
    def frequency(self) -> str:
        """As `Panel.frequency`: "monthly", "weekly" or "daily"."""
        return str(self._content["frequency"])

    @property
    def periods_per_year(self) -> int:
        """12, 52 or 252."""
        return PERIODS_PER_YEAR[self.frequency]

    @property
    def preparation(self) -> str:
        """How characteristics were prepared: "rank" or "standardise"."""
        return str(self._content["preparation"])

    @property
    def prepared(self) -> bool:
        """True: a store holds nothing raw."""
        return True

    @property
    def characteristics(self) -> tuple[str, ...]:
        """Names of the characteristics."""
        return tuple(self._content["characteristic"])

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kind of each characteristic: "continuous" or "indicator"."""
        return tuple(self._content["kinds"])

    @property
    def varies(self) -> np.ndarray:
        """As `PanelArrays.varies`: 1 for continuous characteristics, 0 for indicators."""
        return (np.array(self.kinds) == "continuous").astype(self.dtype)

    @property
    def dtype(self) -> np.dtype:
        """Of characteristics and returns: float32 or float64."""
        return np.dtype(self._content["dtype"])

    @property
    def assets(self) -> tuple[str, ...]:
        """Labels of assets: `PanelArrays.asset` holds positions in it."""
        return tuple(self._content["assets"])

    @property
    def history(self) -> tuple[str, ...]:
        """One line for each transform, of the first panel written and then of those appended."""
        return tuple(self._manifest["history"])

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was odd in the data, in words."""
        return tuple(self._manifest["warnings"])

    @cached_property
    def times(self) -> pd.DatetimeIndex:
        """Period ends."""
        return pd.DatetimeIndex([month["time"] for month in self._months], name="time").as_unit("ns")

    @cached_property
    def n_slots(self) -> int:
        """The largest universe of any month: the slots of `months`."""
        return int(self.sizes.max())

    @cached_property
    def moments(self) -> pd.DataFrame:
        """By period, over observed returns: `count`, `sum`, `sum_of_squares` and `deviations` (squared, from the mean).

        Squares about the period's own mean lose no digits where the mean is large beside the spread.
        """
        columns = ["count", "sum", "deviations"]
        table = pd.DataFrame(self._months, index=self.times)[columns].astype({"sum": float, "deviations": float})
        mean_square = table["sum"] ** 2 / table["count"].clip(lower=1)
        return table.assign(sum_of_squares=table["deviations"] + mean_square)

    @cached_property
    def sizes(self) -> np.ndarray:
        """Assets in the universe of each month."""
        return np.array([month["assets"] for month in self._months])

    @cached_property
    def with_returns(self) -> np.ndarray:
        """Positions of the months with observed returns: those that a fit learns from."""
        return np.flatnonzero(self.moments["count"].to_numpy() > 0)

    @property
    def return_scale(self) -> float:
        """Median over months of the cross-sectional sd of returns, as in `PanelArrays`; NaN without returns."""
        usable = self.moments[self.moments["count"] >= 2]
        return float(((usable["deviations"] / (usable["count"] - 1)) ** 0.5).median())

    @property
    def lowest(self) -> np.ndarray:
        """Least value of each characteristic over observed rows; NaN without any."""
        return np.array(self._content["lowest"], dtype=float)

    @property
    def highest(self) -> np.ndarray:
        """Greatest value of each characteristic over observed rows; NaN without any."""
        return np.array(self._content["highest"], dtype=float)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of labels, values, dtype, frequency and preparation; not of the history, nor of the parts.

        A store written in pieces has the fingerprint of one written at once from the same panel. It is not
        `Panel.fingerprint`, which covers cells outside the universe too.
        """
        return hashlib.sha256(_dump(self._content)).hexdigest()

    def __repr__(self) -> str:
        text = summary.text(self, self.sizes, self.moments["count"].to_numpy(), len(self._content["assets"]))
        return f"{text}\n  store            {self.path}, {self.dtype}"

    # Reading

    def months(self, positions: Any) -> PanelArrays:
        """Read the months at `positions`, in that order, padded to `n_slots`: `panel.arrays()`, of those rows.

        `return_scale` is that of the whole store.

        Raises
        ------
        DataError
            When a position is not a whole number from 0 to the last month.
        CorruptResultError
            Naming a month whose content is not what was written.
        """
        positions = self._checked(positions)
        shape = (positions.size, self.n_slots)
        characteristics = np.zeros((*shape, len(self.kinds)), self.dtype)
        returns = np.zeros(shape, self.dtype)
        observed = np.zeros(shape, bool)
        asset = np.full(shape, -1, np.int32)
        for i, position in enumerate(positions):
            month = self._read(int(position), "arrays")
            n = month["asset"].size
            asset[i, :n] = month["asset"]
            characteristics[i, :n] = month["characteristics"]
            observed[i, :n] = ~np.isnan(month["returns"])
            returns[i, :n] = np.where(observed[i, :n], month["returns"], 0)
        return PanelArrays(
            characteristics,
            returns,
            asset >= 0,
            observed,
            asset,
            self.varies,
            np.asarray(self.return_scale, self.dtype),
            np.asarray(self.periods_per_year, self.dtype),
        )

    def positions_at(self, seed: int, step: int, size: int) -> np.ndarray:
        """Draw the minibatch of one step: `size` different months, uniformly from those with observed returns.

        A pure function of its arguments and of which months have returns, so that a resumed run sees the same
        batches.

        Raises
        ------
        DataError
            When `size` is not between 1 and the number of months with returns, or seed or step is negative.
        """
        for name, number in {"seed": seed, "step": step, "size": size}.items():
            if isinstance(number, bool) or not isinstance(number, int | np.integer):
                raise DataError(f"{name} must be a whole number: found {number!r}.")
        candidates = self.with_returns
        if not 1 <= size <= candidates.size:
            raise DataError(
                f"a minibatch must hold between 1 and {candidates.size} months, those with observed returns: "
                f"found {size}."
            )
        if seed < 0 or step < 0:
            raise DataError(f"seed and step must not be negative: found {seed} and {step}.")
        # Ranks of raw words rather than Generator.choice, whose stream NumPy may change between versions.
        words = np.random.Philox(np.random.SeedSequence([seed, step])).random_raw(candidates.size)
        return candidates[np.argsort(words, kind="stable")[:size]]

    def batches(
        self, seed: int, size: int, steps: Iterable[int]
    ) -> Generator[tuple[np.ndarray, PanelArrays], None, None]:
        """Minibatches of the given steps, `(positions_at(seed, step, size), months(...))`, read ahead by one thread.

        Parameters
        ----------
        steps : step numbers, such as `range(1000)`; to resume after 400 of them, `range(400, 1000)`.

        Notes
        -----
        The thread ends with the iterator: at its end, when it raises, or when it is closed or no longer
        referred to. An error of the reader is raised where its batch would have come.
        """
        self.positions_at(seed, 0, size)

        def read(step: int) -> tuple[np.ndarray, PanelArrays]:
            positions = self.positions_at(seed, step, size)
            return positions, self.months(positions)

        return _ahead(read, steps)

    def blocks(self, size: int) -> Generator[tuple[np.ndarray, PanelArrays], None, None]:
        """All months with observed returns in order, `size` at a time (the last block may be shorter), read ahead."""
        parts = (self.with_returns[start : start + size] for start in range(0, self.with_returns.size, size))
        return _ahead(lambda positions: (positions, self.months(positions)), parts)

    def load(self, time: Any = None) -> Panel:
        """Read a window as an ordinary panel in memory, over the assets in its universe.

        Parameters
        ----------
        time : as in `Panel.sel`; everything where not given.

        Returns
        -------
        `Panel`, its values those written (rounded, from a float32 store). Outside the universe it holds nothing.
        Its `audit` begins at the stored values: it cannot replay the reading and preparation that made them.

        Raises
        ------
        EmptyWindowError
            When the window holds no period.
        CorruptResultError
            Naming a month whose content is not what was written.
        """
        keep = np.ones(len(self.times), bool) if time is None else selected(self.times, self.frequency, time)
        positions = np.flatnonzero(keep)
        months = [self._read(int(t), "arrays") | self._read(int(t), "rest") for t in positions]
        codes = np.unique(np.concatenate([month["asset"] for month in months]))
        if codes[-1] >= len(self.assets):
            raise CorruptResultError(
                f"{self.path / MANIFEST} must label every asset of its months: it has {len(self.assets)} labels, and a "
                f"month holds number {codes[-1]}. {_REMEDY}"
            )
        grid = (positions.size, codes.size)
        universe = np.zeros(grid, bool)
        values: dict[str, np.ndarray] = {}
        for name in self._content["variables"]:
            first = months[0][name]
            shape = (*grid, *first.shape[1:]) if _in_slots(name) else (positions.size, *first.shape)
            absent = {"missing": True, "group": -1}.get(name, np.nan)
            values[name] = np.full(shape, absent, np.float64 if first.dtype.kind == "f" else first.dtype)
        for t, month in enumerate(months):
            where = np.searchsorted(codes, month["asset"])
            universe[t, where] = True
            for name, array in values.items():
                array[t, where if _in_slots(name) else slice(None)] = month[name]
        if "group" in values:
            values["group"] = np.array([*self._content["groups"], ""])[values["group"]]
        coords: dict[str, Any] = {
            "time": self.times[positions],
            "asset": np.array(self.assets)[codes],
            "characteristic": list(self.characteristics),
            "kind": ("characteristic", list(self.kinds)),
            **self._content["labels"],
        }
        variables = {name: (DIMS[name], array) for name, array in values.items()}
        data = xr.Dataset({**variables, "in_universe": (DIMS["in_universe"], universe)}, coords)
        line = "load" if time is None else f"load({brief(time)})"
        history = (*self.history, f"{line} from a store")
        return Panel(data, self.frequency, self.preparation, self._content["missing"], history, self.warnings)

    # Within

    @property
    def _content(self) -> dict[str, Any]:
        content: dict[str, Any] = self._manifest["content"]
        return content

    @property
    def _months(self) -> list[dict[str, Any]]:
        months: list[dict[str, Any]] = self._content["months"]
        return months

    @cached_property
    def _first_of_part(self) -> np.ndarray:
        sizes = [part["months"] for part in self._manifest["parts"]]
        return np.cumsum([0, *sizes])[:-1]

    def _checked(self, positions: Any) -> np.ndarray:
        positions = np.asarray(positions)
        last = len(self._months) - 1
        if positions.ndim != 1 or not positions.size or positions.dtype.kind not in "iu":
            raise DataError(f"positions must be a list of whole numbers from 0 to {last}: found {positions!r}.")
        outside = positions[(positions < 0) | (positions > last)]
        if outside.size:
            raise DataError(f"positions must be whole numbers from 0 to {last}: found {first_three(outside)}.")
        return positions

    def _read(self, position: int, which: str) -> dict[str, np.ndarray]:
        """One month's "arrays" or "rest", without padding, as written."""
        month = self._months[position]
        part = int(np.searchsorted(self._first_of_part, position, side="right")) - 1
        row = position - int(self._first_of_part[part])
        label = f"{show(month['time'], self.frequency)} of the panel store {self.path}"
        remedy = f"Usually a damaged disk or an incomplete copy. {_REMEDY}"
        try:
            arrays = self._opened(part)
            values = {
                name: np.asarray(arrays[name][row, : month["assets"]] if _in_slots(name) else arrays[name][row])
                for name in self._names(which)
            }
        except MemoryError:
            raise
        except Exception as error:  # what zarr and its codecs raise on damaged files is of many kinds
            raise CorruptResultError(f"{label} cannot be read: {type(error).__name__}: {error}. {remedy}") from error
        if _digest(values) != month[which]:
            raise CorruptResultError(f"{label} has changed since it was written: its SHA-256 differs. {remedy}")
        return values

    def _names(self, which: str) -> list[str]:
        return [name for name in ("asset", *self._content["variables"]) if (name in _ARRAYS) == (which == "arrays")]

    def _opened(self, part: int) -> dict[str, zarr.Array]:
        if part not in self._parts:
            listed = self._manifest["parts"][part]
            folder, names = self.path / listed["folder"], [*self._names("arrays"), *self._names("rest")]
            if _metadata_digest(folder, names) != listed["metadata"]:
                raise ValueError(f"zarr.json of an array in {folder.name} is not what was written")
            self._parts[part] = {name: zarr.open_array(folder / name, mode="r") for name in names}
        return self._parts[part]


_ARRAYS = ("asset", "characteristics", "returns")


def open_panel(path: str | Path) -> PanelStore:
    """Open a panel store written by `Panel.to_zarr`.

    Parameters
    ----------
    path : the store's folder.

    Returns
    -------
    `PanelStore`; nothing but its manifest is read yet.

    Raises
    ------
    CorruptResultError
        When the folder is not a panel store, or its manifest is damaged or of a newer version.
    """
    path = Path(path)
    raw = _manifest_bytes(path)
    if raw is None:
        raise CorruptResultError(
            f"{path} is not a panel store: it has no {MANIFEST}. Write one with panel.to_zarr(path)."
        )
    return PanelStore(path, _parsed(raw, path))


def write(panel: Panel, path: str | Path, *, append: bool, dtype: Any) -> PanelStore:
    """Write a panel to a new store or after the last month of one (see `Panel.to_zarr`)."""
    path = Path(path)
    if not panel.prepared:
        raise DataError(
            "a store holds prepared characteristics, these are raw: call panel.rank_normalise() (or .standardise()) "
            "before to_zarr."
        )
    store = open_panel(path) if append else None
    before = _manifest_bytes(path)
    wanted = _checked_dtype(dtype, np.dtype(np.float64) if store is None else store.dtype)
    if store is None:
        _claim(path)
    content = _described(panel, wanted)
    if store is not None:
        _check_follows(store, panel, content)
    manifest = _merged(store, panel, content)

    data = _in_order_of(manifest["content"]["assets"], panel.data)
    packed = _packed(data, wanted, manifest["content"])
    folder = path / f"part-{uuid.uuid4().hex}"
    try:
        manifest["content"] |= _with_statistics(manifest["content"], data, packed)
        _write_part(folder, packed)
        part = {
            "folder": folder.name,
            "months": len(panel.times),
            "metadata": _metadata_digest(folder, list(packed)),
        }
        manifest["parts"] = [*manifest["parts"], part]
        if _manifest_bytes(path) != before:
            raise DataError(f"{path} has changed during this write: one process may write at a time.")
        _replace(path / MANIFEST, _sealed(manifest))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return open_panel(path)


def _checked_dtype(dtype: Any, default: np.dtype) -> np.dtype:
    try:
        wanted = default if dtype is None else np.dtype(dtype)
    except TypeError:
        wanted = None
    if wanted not in (np.float32, np.float64):
        raise DataError(f"dtype must be float32 or float64: found {dtype}.")
    return wanted


# The manifest


def _dump(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def _sealed(manifest: dict[str, Any]) -> bytes:
    return _dump({**manifest, "sha256": hashlib.sha256(_dump(manifest)).hexdigest()})


def _parsed(raw: bytes, path: Path) -> dict[str, Any]:
    """The manifest, when every byte of it is as written."""
    try:
        manifest = json.loads(raw)
        manifest.pop("sha256")
        intact = _sealed(manifest) == raw and manifest["format"] == FORMAT
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptResultError(f"{path / MANIFEST} is not that of a panel store: {error!r}.") from error
    if not intact:
        raise CorruptResultError(
            f"{path / MANIFEST} has changed since it was written, or is not that of a panel store: its SHA-256 "
            f"differs. {_REMEDY}"
        )
    schema = manifest.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        raise CorruptResultError(
            f"{path} has schema {schema}, this version reads up to {SCHEMA}: it was written by a newer "
            "bayesfactor, upgrade to read it."
        )
    try:
        whole = isinstance(schema, int) and _is_whole(manifest)
    except (LookupError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise CorruptResultError(
            f"{path / MANIFEST} must hold all that a store says of itself, and parts are missing or do not agree, "
            f"though its SHA-256 is right: another program has written it. {_REMEDY}"
        )
    strange = [part["folder"] for part in manifest["parts"] if not _PART.fullmatch(part["folder"])]
    if strange:
        raise CorruptResultError(
            f"{path / MANIFEST} must name folders part-... beside it: found {first_three(strange)}. Do not trust it: "
            "another program has written it."
        )
    return dict(manifest)


def _is_whole(manifest: dict[str, Any]) -> bool:
    """Whether the entries are there and agree with each other; an error of lookup or type also means no."""
    content, parts = manifest["content"], manifest["parts"]
    months, width = content["months"], len(content["characteristic"])
    return (
        0 < len(months) == sum(part["months"] for part in parts)
        and all(isinstance(part["folder"], str) and isinstance(part["metadata"], str) for part in parts)
        and all(month.keys() >= _OF_MONTH for month in months)
        and content["frequency"] in PERIODS_PER_YEAR
        and content["dtype"] in ("float32", "float64")
        and {"characteristics", "returns"} <= set(content["variables"]) <= set(DIMS)
        and all(len(content[name]) == width for name in ("kinds", "lowest", "highest"))
        and all(name in content for name in ("preparation", "missing", "assets", "groups", "labels"))
        and isinstance(manifest["history"], list)
        and isinstance(manifest["warnings"], list)
    )


def _manifest_bytes(path: Path) -> bytes | None:
    file = path / MANIFEST
    return file.read_bytes() if file.is_file() else None


def _replace(file: Path, content: bytes) -> None:
    partial = file.with_name(f".{file.name}.{uuid.uuid4().hex}.partial")
    try:
        with partial.open("wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


# Writing


def _claim(path: Path) -> None:
    if not path.parent.is_dir():
        raise DataError(f"the folder {path.parent} does not exist: make it, or write elsewhere.")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise DataError(
            f"{path} exists and is not an empty folder: give another path, or append=True to add months to a store. "
            "A first write that was interrupted leaves a folder without manifest.json: delete that."
        )
    path.mkdir(exist_ok=True)


def _described(panel: Panel, dtype: np.dtype) -> dict[str, Any]:
    """What is true of the whole panel; what a store's later months must share is named in `_ALIKE`."""
    data = panel.data
    labels = {str(dim): data.indexes[dim].tolist() for dim in data.dims if dim not in DIMS["characteristics"]}
    return {
        "frequency": panel.frequency,
        "preparation": panel.preparation,
        "missing": panel.missing,
        "dtype": dtype.name,
        "characteristic": list(panel.characteristics),
        "kinds": data.kind.values.tolist(),
        "variables": sorted(str(name) for name in data.data_vars if name not in ("in_universe", "observed")),
        "labels": labels,
        "assets": data.indexes["asset"].tolist(),
        "groups": np.unique(data.group.values[data.in_universe.values]).tolist() if "group" in data else [],
    }


def _check_follows(store: PanelStore, panel: Panel, content: dict[str, Any]) -> None:
    for name in _ALIKE:
        if content[name] != store._content[name]:
            raise AlignmentError(
                f"appended periods must match the store's {name}: it has {store._content[name]}, the panel "
                f"{content[name]}."
            )
    late = as_days(panel.times) > as_days(store.times)[-1]
    if not late.all():
        found = [show(time, panel.frequency) for time in panel.times[~late]]
        raise DataError(
            f"appended periods must come after those stored, {span(store.times, store.frequency)}: found "
            f"{first_three(found)}. Select the later ones with split() or sel()."
        )


def _merged(store: PanelStore | None, panel: Panel, content: dict[str, Any]) -> dict[str, Any]:
    """The manifest before the new months: labels of both, the store's first."""
    if store is None:
        empty = {"months": [], "lowest": [None] * len(content["kinds"]), "highest": [None] * len(content["kinds"])}
        return {
            "format": FORMAT,
            "schema": SCHEMA,
            "content": {**content, **empty},
            "history": list(panel.history),
            "warnings": list(panel.warnings),
            "parts": [],
        }
    union = {name: list(dict.fromkeys([*store._content[name], *content[name]])) for name in ("assets", "groups")}
    added = [f"to_zarr: appended {span(panel.times, panel.frequency)}", *panel.history]
    return {
        **store._manifest,
        "content": {**store._content, **union},
        "history": list(dict.fromkeys([*store.history, *added])),
        "warnings": list(dict.fromkeys([*store.warnings, *panel.warnings])),
    }


def _in_order_of(assets: list[str], data: xr.Dataset) -> xr.Dataset:
    """Slots follow the order of the store's assets, so that `load` packs them as they lie."""
    codes = pd.Index(assets).get_indexer(data.indexes["asset"])
    data = data.assign_coords(code=("asset", codes.astype(np.int32)))
    return data if (np.diff(codes) > 0).all() else data.isel(asset=np.argsort(codes))


def _packed(data: xr.Dataset, dtype: np.dtype, content: dict[str, Any]) -> dict[str, np.ndarray]:
    """Every variable by month, those over assets in slots."""
    month, slot, asset, shape = slots(data.in_universe.values)
    given: dict[str, np.ndarray] = {"asset": np.broadcast_to(data.code.values, data.in_universe.shape)}
    for name in content["variables"]:
        values = data[name].values
        if name == "group":
            values = pd.Index(content["groups"]).get_indexer(values.ravel()).reshape(values.shape).astype(np.int32)
        given[name] = values
    packed = {}
    for name, values in given.items():
        kind = dtype if name in _ARRAYS and values.dtype.kind == "f" else values.dtype
        if _in_slots(name):
            packed[name] = np.full((*shape, *values.shape[2:]), _FILL.get(name, np.nan), kind)
            packed[name][month, slot] = values[month, asset]
        else:
            packed[name] = values
    return packed


def _with_statistics(content: dict[str, Any], data: xr.Dataset, packed: dict[str, np.ndarray]) -> dict[str, Any]:
    """The listing of the new months, and the range of each characteristic with them."""
    months = list(content["months"])
    lowest, highest = (np.array(content[name], dtype=float) for name in ("lowest", "highest"))
    for t, time in enumerate(data.indexes["time"]):
        n = int((packed["asset"][t] >= 0).sum())
        values = {name: array[t, :n] if _in_slots(name) else array[t] for name, array in packed.items()}
        seen = ~np.isnan(values["returns"])
        returns = values["returns"][seen].astype(np.float64)
        if returns.size:
            rows = values["characteristics"][seen]
            lowest, highest = np.fmin(lowest, rows.min(axis=0)), np.fmax(highest, rows.max(axis=0))
        arrays = {name: array for name, array in values.items() if name in _ARRAYS}
        rest = {name: array for name, array in values.items() if name not in _ARRAYS}
        months.append(
            {
                "time": str(time.date()),
                "assets": n,
                "count": returns.size,
                "sum": float(returns.sum()),
                "deviations": float(((returns - returns.mean()) ** 2).sum()) if returns.size else 0.0,
                "arrays": _digest(arrays),
                "rest": _digest(rest),
            }
        )
    low, high = ([None if np.isnan(x) else float(x) for x in bound] for bound in (lowest, highest))
    return {"months": months, "lowest": low, "highest": high}


def _write_part(folder: Path, packed: dict[str, np.ndarray]) -> None:
    group = zarr.create_group(folder)
    for name, values in packed.items():
        row_bytes = max(values.itemsize * int(np.prod(values.shape[2:])), 1)
        array = group.create_array(
            name,
            shape=values.shape,
            dtype=values.dtype,
            chunks=(1, min(values.shape[1], max(CHUNK_BYTES // row_bytes, 1)), *values.shape[2:]),
            compressors=(ZstdCodec(level=0), Crc32cCodec()),
            fill_value=_FILL.get(name, np.nan),
            config={"write_empty_chunks": True},  # zarr takes a month of -0.0 for an empty one
        )
        array[...] = values
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb+") as handle:
                os.fsync(handle.fileno())


# Both ways


def _in_slots(name: str) -> bool:
    return name == "asset" or DIMS[name][1] == "asset"


def _digest(values: dict[str, np.ndarray]) -> str:
    """Names, dtypes, shapes and bytes."""
    digest = hashlib.sha256()
    for name, array in sorted(values.items()):
        digest.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()


def _metadata_digest(folder: Path, names: list[str]) -> str:
    digest = hashlib.sha256()
    for name in sorted(names):
        digest.update(hashlib.sha256((folder / name / "zarr.json").read_bytes()).digest())
    return digest.hexdigest()


def _ahead(read: Callable[[In], Out], tasks: Iterable[In]) -> Generator[Out, None, None]:
    """`map(read, tasks)`, with `AHEAD` results made beforehand by one thread."""
    tasks = iter(tasks)
    reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="bayesfactor-panel-store")
    try:
        waiting = deque(reader.submit(read, task) for task in islice(tasks, AHEAD))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(reader.submit(read, task) for task in islice(tasks, 1))
            yield result
    finally:
        reader.shutdown(wait=True, cancel_futures=True)
