"""The months a fit learns from, in memory or on disk; those on disk are read a few at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np
import pandas as pd

from bayesfactor.errors import DataError
from bayesfactor.inference.variational import Stream
from bayesfactor.models.training import MonthRows, TrainingData, noise_centring
from bayesfactor.panel import Panel, PanelArrays
from bayesfactor.panel.store import PanelStore

BLOCK_BYTES = 4 * 2**20  # of characteristics that are read at once where a whole store is swept


@dataclass(frozen=True)
class Window:
    """The months with observed returns, of a panel or of a store.

    Attributes
    ----------
    panel : what they are of.
    times : (month,).
    sizes, n_observed : (month,) stocks in the universe, and those with an observed return.
    constant, indicator : (characteristic,) the same for every observed stock of every month; of kind "indicator".
    return_scale : as in `PanelArrays`.
    blocks : gives all months in order, some at a time.
    characteristics : (slot, characteristic) of the month of that number.
    """

    panel: Panel | PanelStore
    times: pd.DatetimeIndex
    sizes: np.ndarray
    n_observed: np.ndarray
    constant: np.ndarray
    indicator: np.ndarray
    return_scale: float
    blocks: Callable[[], Iterable[PanelArrays]]
    characteristics: Callable[[int], np.ndarray]


def window_of(panel: Panel | PanelStore, least: int) -> Window:
    """The months to learn from.

    Raises
    ------
    DataError
        When characteristics are raw, or there are fewer than `least` months with observed returns.
    """
    return _of_store(panel, least) if isinstance(panel, PanelStore) else _of_panel(panel, least)


def _of_panel(panel: Panel, least: int) -> Window:
    if not panel.prepared:
        raise DataError(
            "a model needs prepared characteristics, these are raw: call panel.rank_normalise() (or .standardise()) "
            "before fit"
        )
    observed = (panel.data["observed"] & panel.data["in_universe"]).any("asset").values
    _require(observed, least)
    panel = panel if observed.all() else panel.sel(time=panel.times[observed])
    arrays = panel.arrays()
    return Window(
        panel=panel,
        times=panel.times,
        sizes=arrays.in_universe.sum(axis=1),
        n_observed=arrays.observed.sum(axis=1),
        constant=np.ptp(arrays.characteristics[arrays.observed], axis=0) == 0,
        indicator=arrays.varies == 0,
        return_scale=float(arrays.return_scale),
        blocks=lambda: (arrays,),
        characteristics=lambda month: arrays.characteristics[month],
    )


def _of_store(store: PanelStore, least: int) -> Window:
    used = store.with_returns
    _require(np.isin(np.arange(len(store.times)), used), least)
    return Window(
        panel=store,
        times=store.times[used],
        sizes=store.sizes[used],
        n_observed=store.moments["count"].to_numpy()[used],
        constant=store.lowest == store.highest,
        indicator=store.varies == 0,
        return_scale=store.return_scale,
        blocks=lambda: (arrays for _, arrays in store.blocks(_months_at_once(store))),
        characteristics=lambda month: store.months(used[month : month + 1]).characteristics[0],
    )


def _require(observed: np.ndarray, least: int) -> None:
    if observed.sum() < least:
        raise DataError(
            f"a fit must have at least {least} periods with observed returns, this panel has {int(observed.sum())} "
            f"of {observed.size}. Give a longer window."
        )


def _months_at_once(store: PanelStore) -> int:
    return max(1, BLOCK_BYTES // (store.n_slots * len(store.characteristics) * store.dtype.itemsize))


def cast(data: Any, double: bool) -> Any:
    """The same in NumPy arrays of one precision."""

    def leaf_cast(leaf: Any) -> np.ndarray:
        leaf = np.asarray(leaf)
        return leaf.astype(np.float64 if double else np.float32, copy=False) if leaf.dtype.kind == "f" else leaf

    return jax.tree.map(leaf_cast, data)


@dataclass(frozen=True)
class StoredMonths:
    """Training data of a model from the months of a store, with the facts of its whole window."""

    model: Any
    store: PanelStore

    @cached_property
    def first_month(self) -> Any:
        """The model's data of the first month with returns, alone."""
        return self.model.data(self.store.months(self.store.with_returns[:1]))

    @cached_property
    def holds_stocks(self) -> bool:
        """Whether the model computes on every stock, not on sums over them.

        Raises
        ------
        DataError
            When the model's `data` does not give `TrainingData`.
        """
        if not isinstance(self.first_month, TrainingData):
            raise DataError(
                f"to learn from a store the model's data(arrays) must return TrainingData: it returns "
                f"{type(self.first_month).__name__}. Return bayesfactor.models.training.training_data(arrays), or load "
                "a window that fits in memory: store.load(time=...)."
            )
        return isinstance(self.first_month.months, MonthRows)

    @cached_property
    def _noise_centring(self) -> np.ndarray:
        moments = self.store.moments.iloc[self.store.with_returns]
        count, total, square = (moments[name].to_numpy() for name in ("count", "sum", "sum_of_squares"))
        return np.asarray(noise_centring(count, total, square, self.store.return_scale))

    def training(self, positions: np.ndarray, arrays: PanelArrays, weight: float) -> TrainingData:
        """Months `arrays`, at `positions` (month,) of the store, each standing for `weight` months."""
        data: TrainingData = self.model.data(arrays)
        return data._replace(
            position=np.searchsorted(self.store.with_returns, positions).astype(np.int32),
            weight=np.asarray(weight, float),
            noise_centring=self._noise_centring,
        )

    def reduced(self) -> TrainingData:
        """All months as sums over stocks, which take the same memory however many stocks there are."""
        blocks = self.store.blocks(_months_at_once(self.store))
        parts = [self.training(positions, arrays, 1.0) for positions, arrays in blocks]
        months, positions = (
            jax.tree.map(lambda *leaves: np.concatenate(leaves), *given)
            for given in ([part.months for part in parts], [part.position for part in parts])
        )
        return parts[0]._replace(months=months, position=positions)

    def stream(self, size: int, seed: int, double: bool) -> Stream:
        """Minibatches of `size` months: those of a step follow from `seed` and the step alone."""
        weight = self.store.with_returns.size / size

        def batches(first: int, last: int) -> Iterator[TrainingData]:
            with closing(self.store.batches(seed, size, range(first, last))) as read:
                for positions, arrays in read:
                    yield cast(self.training(positions, arrays, weight), double)

        def sweep() -> Iterator[TrainingData]:
            with closing(self.store.blocks(size)) as read:
                for positions, arrays in read:
                    filled = np.append(positions, np.repeat(positions[-1:], size - positions.size))
                    yield cast(self.training(filled, _filled_up(arrays, size), 1.0), double)

        return Stream(batches, sweep)


def _filled_up(arrays: PanelArrays, size: int) -> PanelArrays:
    """`size` months, the last ones empty."""
    missing = size - len(arrays.returns)
    if not missing:
        return arrays
    by_month = ("characteristics", "returns", "in_universe", "observed", "asset")
    longer = {
        name: np.concatenate([leaf, np.zeros((missing, *leaf.shape[1:]), leaf.dtype)])
        for name, leaf in arrays._asdict().items()
        if name in by_month
    }
    return arrays._replace(**longer)
