"""Where a run ended in unconstrained space, so that a later window's chains can begin there."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import numpy as np
import pandas as pd
import xarray as xr

from bayesfactor.errors import AlignmentError, DataError, LookAheadError, first_three
from bayesfactor.inference import space

LOCATION, LOG_SCALE = "location:", "log_scale:"  # before the names of sites, as variables of a dataset
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, eq=False, repr=False)
class Start:
    """The end of one run, by unconstrained site: `Fit.start`, to be given to the fit of a later window.

    Attributes
    ----------
    location : site -> (chain, ...), the last draw of every chain of `NUTS`, the centre of every restart's guide.
    log_scale : site -> (chain, ...), log of the sd of the chain's draws, or of the guide's own; NaN where not known.
    time_axis : of the sites that belong to months, which axis behind `chain` is `times`.
    times : periods whose returns the run has seen.
    characteristics : of the panel, in order.
    panel_fingerprint : of the training panel.
    """

    location: dict[str, np.ndarray]
    log_scale: dict[str, np.ndarray]
    time_axis: dict[str, int]
    times: pd.DatetimeIndex
    characteristics: tuple[str, ...]
    panel_fingerprint: str

    @property
    def n_chains(self) -> int:
        """Chains, or restarts."""
        return len(next(iter(self.location.values())))

    @property
    def told(self) -> str:
        """How the provenance of a fit that began here says so."""
        return f"warm from {self.panel_fingerprint[:12]}, trained to {self.times[-1]:%Y-%m-%d}"

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of everything that draws of a run that begins here depend on."""
        found = hashlib.sha256(self.panel_fingerprint.encode())
        found.update(np.ascontiguousarray(self.times.values.astype("datetime64[ns]")).tobytes())
        for kind, arrays in ((LOCATION, self.location), (LOG_SCALE, self.log_scale)):
            for name in sorted(arrays):
                value = np.ascontiguousarray(arrays[name])
                found.update(f"{kind}{name} {value.dtype} {value.shape} {self.time_axis.get(name)}".encode())
                found.update(value.tobytes())
        return found.hexdigest()

    def to_dataset(self) -> xr.Dataset:
        """As netCDF and Zarr can hold it; `from_dataset` is the inverse, bit for bit."""
        variables = {}
        for kind, arrays in ((LOCATION, self.location), (LOG_SCALE, self.log_scale)):
            for name, value in arrays.items():
                dims = ["chain", *(f"{name}_dim_{axis}" for axis in range(value.ndim - 1))]
                if name in self.time_axis:
                    dims[1 + self.time_axis[name]] = "time"
                variables[kind + name] = (dims, value)
        coords = {"chain": np.arange(self.n_chains), "time": self.times.values}
        return xr.Dataset(
            variables,
            {**coords, "characteristic": list(self.characteristics)},
            {"panel_fingerprint": self.panel_fingerprint},
        )

    @classmethod
    def from_dataset(cls, data: xr.Dataset) -> Start:
        """The start that `to_dataset` made a dataset of."""
        parts: dict[str, dict[str, np.ndarray]] = {LOCATION: {}, LOG_SCALE: {}}
        time_axis = {}
        for variable in map(str, data.data_vars):
            for kind, found in parts.items():
                if variable.startswith(kind):
                    name, dims = variable.removeprefix(kind), data[variable].dims
                    found[name] = np.asarray(data[variable].values)
                    if "time" in dims:
                        time_axis[name] = dims.index("time") - 1
        return cls(
            parts[LOCATION],
            parts[LOG_SCALE],
            time_axis,
            pd.DatetimeIndex(data.indexes["time"]),
            tuple(str(name) for name in data.indexes["characteristic"]),
            str(data.attrs["panel_fingerprint"]),
        )

    def place(
        self, sites: Sites, times: pd.DatetimeIndex, characteristics: tuple[str, ...], chains: int
    ) -> space.Place:
        """Where the chains of another window begin: (chain, ...), NaN where as usual.

        Sites that belong to months are taken over for months of both windows; others are as wide as those on average.

        Parameters
        ----------
        sites : of the program that is to be run.
        times, characteristics : of its window.
        chains : how many; each begins at the end of another chain.

        Raises
        ------
        AlignmentError
            When the characteristics are others.
        LookAheadError
            When the start has seen returns after the window.
        DataError
            When its sites, their shapes, or the number of chains do not suit the program.
        """
        if self.characteristics != characteristics:
            unlike = sorted(set(self.characteristics) ^ set(characteristics))
            what = f"in {first_three(unlike)}" if unlike else "in their order"
            raise AlignmentError(
                f"a start must be of the same characteristics as the panel, and differs {what}: begin cold (start=None)"
            )
        if self.times[-1] > times[-1]:
            raise LookAheadError(
                f"a start must not have seen returns after the window that begins there: it was trained to "
                f"{self.times[-1]:%Y-%m-%d}, this window ends {times[-1]:%Y-%m-%d}. Give the fit of an earlier window."
            )
        if self.n_chains < chains:
            raise DataError(
                f"every chain must begin at the end of another one, since convergence is judged between chains: the "
                f"start has {self.n_chains}, {chains} were asked. Fit the earlier window with as many."
            )
        self._check_sites(sites)
        here, there = _common(times, self.times)
        placed = []
        for arrays in (self.location, self.log_scale):
            values = {}
            for name, shape in sites.shapes.items():
                value = np.full((chains, *shape), np.nan, self._dtype)
                if name in sites.time_axis and name in arrays:
                    axis = 1 + sites.time_axis[name]
                    months, known = (np.moveaxis(leaf, axis, 0) for leaf in (value, arrays[name][:chains]))  # views
                    if arrays is self.log_scale:
                        months[:] = known.mean(axis=0)
                    months[here] = known[there]
                elif name in arrays:
                    value[:] = arrays[name][:chains]
                values[name] = value
            placed.append(values)
        return space.Place(*placed)

    @property
    def _dtype(self) -> np.dtype[Any]:
        return next(iter(self.location.values())).dtype

    def _check_sites(self, sites: Sites) -> None:
        """Refuse the end of another program."""
        remedy = "Begin where the same model ended, fitted by the same kind of inference, or cold (start=None)."
        unlike = sorted(self.location.keys() ^ sites.carried)
        if unlike:
            raise DataError(
                f"a start must have the sites of the model's program: they differ in {first_three(unlike)}. {remedy}"
            )
        for name in sorted(sites.carried):
            found, wanted = list(self.location[name].shape[1:]), list(sites.shapes[name])
            for shape, axes in ((found, self.time_axis), (wanted, sites.time_axis)):
                if name in axes:
                    shape[axes[name]] = -1  # windows may be of any length
            if found != wanted:
                raise DataError(
                    f"a start must have the shapes of the model's program: {name} is {_shown(found)} there and "
                    f"{_shown(wanted)} here. {remedy}"
                )


def _shown(shape: list[int]) -> str:
    return f"({', '.join('time' if size < 0 else str(size) for size in shape)})"


def _common(one: pd.DatetimeIndex, other: pd.DatetimeIndex) -> tuple[np.ndarray, np.ndarray]:
    """Positions in both of the times that they share."""
    at = other.get_indexer(one)
    return np.flatnonzero(at >= 0), at[at >= 0]


@dataclass(frozen=True)
class Sites:
    """Unconstrained sites of a program on a window.

    Attributes
    ----------
    shapes : site -> its shape.
    time_axis : of the sites that belong to months.
    carried : sites that a later window can begin with; others change with the window in a way that is not known.
    """

    shapes: Shapes
    time_axis: dict[str, int]
    carried: frozenset[str]


def sites_of(program: Any, data: Any, first_month: Any, n_times: int) -> Sites:
    """The sites, and which belong to months: those that have one month's shape on the first month alone."""
    shapes, alone = _shapes(program, data), _shapes(program, first_month)
    time_axis, carried = {}, set()
    for name, shape in shapes.items():
        if shape == alone.get(name) and n_times > 1:
            carried.add(name)
        for axis, size in enumerate(shape):
            if size == n_times and alone.get(name) == (*shape[:axis], 1, *shape[axis + 1 :]):
                time_axis[name] = axis
                carried.add(name)
    return Sites(shapes, time_axis, frozenset(carried))


def _shapes(program: Any, data: Any) -> Shapes:
    leaves, tree = jax.tree.flatten(data)
    given = tuple((np.shape(leaf), jax.dtypes.canonicalize_dtype(leaf.dtype)) for leaf in leaves)
    try:
        return _cached_shapes(program, tree, given)
    except TypeError:  # a model that holds a user's network is not hashable
        return _traced_shapes(program, tree, given)


def _traced_shapes(program: Any, tree: Any, leaves: tuple[Any, ...]) -> Shapes:
    data = jax.tree.unflatten(tree, [jax.ShapeDtypeStruct(*leaf) for leaf in leaves])
    sites: Mapping[str, Any] = space.layout(program, data)
    return {name: tuple(site.shape) for name, site in sites.items()}


@lru_cache(maxsize=64)
def _cached_shapes(program: Any, tree: Any, leaves: tuple[Any, ...]) -> Shapes:
    return _traced_shapes(program, tree, leaves)


def start_of(
    end: space.Place, sites: Sites, times: pd.DatetimeIndex, characteristics: tuple[str, ...], fingerprint: str
) -> Start:
    """The end of a run with its labels."""
    location, log_scale = (
        {name: np.asarray(value) for name, value in arrays.items() if name in sites.carried} for arrays in end
    )
    return Start(location, log_scale, sites.time_axis, times, characteristics, fingerprint)
