"""From a model and a panel to what its program takes, or a refusal."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from bayesfactor.errors import DataError, DataWarning, first_three
from bayesfactor.inference.by_month import is_by_month
from bayesfactor.inference.settings import NUTS, SVI, Exact, Inference
from bayesfactor.inference.streaming import StoredMonths, Window, cast, window_of
from bayesfactor.inference.variational import Stream
from bayesfactor.models.training import MonthRows, TrainingData
from bayesfactor.panel import Panel, PanelArrays
from bayesfactor.panel.arrays import BY_SLOT, BY_TIME
from bayesfactor.panel.store import PanelStore

ROWS_TOGETHER = 6_000  # stock-months of a window


class Given(NamedTuple):
    """What a run starts from.

    Attributes
    ----------
    window : the months to learn from.
    data : as the program takes them; with `stream` one batch.
    first_month : the same of the first month alone: what has another shape there belongs to months.
    double : whether numbers are float64.
    stream : where the months of every step come from, if not from `data`.
    """

    window: Window
    data: Any
    first_month: Any
    double: bool
    stream: Stream | None


def check_given(model: Any, panel: Any, inference: Any) -> None:
    """Refuse classes in place of instances, words, and data that are no panel."""
    if model is None or isinstance(model, type | str):
        found = model.__name__ if isinstance(model, type) else type(model).__name__
        raise DataError(f"model must be an instance, such as FundamentalFactorModel(hidden=()): found {found}")
    if not isinstance(panel, Panel | PanelStore):
        raise DataError(
            f"a model is fitted to a Panel or a PanelStore: found {type(panel).__name__}. Read a frame with "
            "read_frame(...) and prepare it with rank_normalise()."
        )
    if not isinstance(inference, NUTS | SVI | Exact):
        raise DataError(f"inference must be NUTS(...), SVI(...) or Exact(...): found {inference!r}")


def prepared(model: Any, panel: Panel | PanelStore, inference: Inference, seed: int) -> Given:
    """The months to learn from, checked, as the program takes them.

    Raises
    ------
    DataError
        When nothing can be learnt from them, or the model or the inference cannot be run on them.
    """
    window = window_of(panel, 1 if is_by_month(model) else 2)
    _check_content(window)
    model.check(window.n_observed, len(panel.characteristics), window.times)
    if isinstance(panel, PanelStore):
        if not getattr(model, "sites_by_month", True):
            raise DataError(
                f"{type(model).__name__} needs the whole window in memory: give it store.load(time=...), a Panel"
            )
        if is_by_month(model):
            raise DataError(
                "pooling='none' fits every month by itself, from memory: give it store.load(time=...), a window at a "
                "time; no month's fit depends on another's"
            )
        return _streamed(StoredMonths(model, panel), window, inference, seed)
    (arrays,) = window.blocks()
    if is_by_month(model):
        model.check_each_month(arrays, window.times)
    data = model.data(arrays)
    double = double_precision(inference, reduced=not holds_stocks(data, arrays))
    first_month = model.data(_first_month(arrays)) if getattr(model, "sites_by_month", True) else data
    return Given(window, cast(data, double), first_month, double, None)


def _streamed(months: StoredMonths, window: Window, inference: Inference, seed: int) -> Given:
    """From a store: sums over stocks of all months where the model needs no more, otherwise a few months a step."""
    double = double_precision(inference, reduced=not months.holds_stocks)
    if not months.holds_stocks:
        return Given(window, cast(months.reduced(), double), months.first_month, double, None)
    if not isinstance(inference, SVI):
        raise DataError(
            f"{type(inference).__name__} needs every stock of the window in memory with this model: give it "
            "store.load(time=...), or stream the months with SVI(batch=...)"
        )
    if inference.batch is None:
        raise DataError(
            "to learn from a store SVI must be told how many months to read a step: give batch, such as SVI(batch=8)"
        )
    stream = months.stream(inference.batch, seed, double)
    return Given(window, next(iter(stream.batches(0, 1))), months.first_month, double, stream)


def aligned(model: Any, givens: Sequence[Given], names: Sequence[str]) -> list[Any]:
    """Data of panels that one program takes side by side: slots padded to the largest universe.

    Parameters
    ----------
    model : of all of them.
    givens : prepared, in memory.
    names : of the panels, for messages.

    Raises
    ------
    DataError
        When they are not of one shape; the message names what differs.
    """
    first, blocks = givens[0].window, [next(iter(given.window.blocks())) for given in givens]
    for given, name in zip(givens, names, strict=True):
        window, told = given.window, f"panels fitted as one program must be of one shape, and {name} is not that of"
        if window.panel.characteristics != first.panel.characteristics:
            unlike = sorted(set(window.panel.characteristics) ^ set(first.panel.characteristics))
            what = f"in {first_three(unlike)}" if unlike else "in their order"
            raise DataError(f"{told} {names[0]}: their characteristics differ {what}. Fit them one by one.")
        if len(window.times) != len(first.times):
            raise DataError(
                f"{told} {names[0]}: it has {len(window.times)} periods with returns, the other {len(first.times)}. "
                "Cut windows of one length, such as Windows.rolling makes, or fit them one by one."
            )
    n_slots = max(arrays.returns.shape[1] for arrays in blocks)
    if holds_stocks(givens[0].data, blocks[0]):
        data = [
            cast(model.data(_widened(arrays, n_slots)), given.double)
            for given, arrays in zip(givens, blocks, strict=True)
        ]
    else:
        data = [given.data for given in givens]
    shapes = [[np.shape(leaf) for leaf in jax.tree.leaves(one)] for one in data]
    for shape, name in zip(shapes, names, strict=True):
        if shape != shapes[0]:
            raise DataError(
                f"panels fitted as one program must be of one shape: the model's data(arrays) of {name} are arrays of "
                f"shapes {shape}, of {names[0]} {shapes[0]}. Fit them one by one."
            )
    return data


def fits_together(model: Any, panel: Panel, inference: Inference) -> bool:
    """Whether windows like this one are fitted faster as one program (`fit_many`) than one after the other.

    Processor time of one after the other over that of one program, on two cores: a network of 8 units by `SVI`, eight
    windows of 24 months: 1.5 with 50 stocks (1,200 rows), 1.1 with 100 and with 200, 0.85 with 400 (9,600 rows); with
    1,000 the wall clock says 0.6. The linear model by `NUTS`, from sums over stocks: 1.1 (four windows of 60 months).
    So small windows gain, little but for the smallest: `walk_forward` does it only when asked. A GPU has not been
    measured.

    Parameters
    ----------
    model, inference : as in `fit`.
    panel : one window; the others are of as many periods and about as many stocks.

    Returns
    -------
    True where the model computes on sums over stocks, or the window has at most `ROWS_TOGETHER` stock-months; False for
    what `fit_many` refuses or runs one by one.
    """
    given_up = isinstance(inference, Exact) or is_by_month(model) or isinstance(panel, PanelStore)
    if (
        given_up
        or not getattr(model, "sites_by_month", True)
        or (isinstance(inference, SVI) and inference.batch is not None)
    ):
        return False
    arrays = _first_month(panel.arrays())
    if not holds_stocks(model.data(arrays), arrays):
        return True
    return int(panel.data["in_universe"].values.sum()) <= ROWS_TOGETHER


def _widened(arrays: PanelArrays, n_slots: int) -> PanelArrays:
    """The same months with more slots, the new ones empty."""
    missing = n_slots - arrays.returns.shape[1]
    if not missing:
        return arrays
    wider = {
        name: np.pad(leaf, [(0, 0), (0, missing), *[(0, 0)] * (leaf.ndim - 2)], constant_values=-1 * (name == "asset"))
        for name, leaf in arrays._asdict().items()
        if name in BY_SLOT and leaf is not None
    }
    return arrays._replace(**wider)


def _first_month(arrays: PanelArrays) -> PanelArrays:
    first = {name: leaf[:1] for name, leaf in arrays._asdict().items() if name in BY_TIME and leaf is not None}
    return arrays._replace(**first)


def _check_content(window: Window) -> None:
    """Refuse data from which nothing can be learnt: the posterior would be the prior, and look like a result."""
    if not window.return_scale > 0:
        raise DataError(
            "returns must differ between the stocks of a period: in the typical period of this panel they do not, or "
            "there are fewer than two."
        )
    names = np.array(window.panel.characteristics)
    constant, unusable = (names[which].tolist() for which in (window.constant, window.constant & ~window.indicator))
    if unusable:
        raise DataError(
            f"a characteristic must differ between observed stocks: {first_three(unusable)} is the same in all "
            f"{len(window.times)} periods of the training window. Usually its data begin later: drop it with "
            "panel.sel(characteristic=[...]), or begin the window later."
        )
    if constant:
        text = (
            f"indicators that never change in the training window: {first_three(constant)}; their slope is the prior's"
        )
        warnings.warn(text, DataWarning, stacklevel=3)


def double_precision(inference: Inference, *, reduced: bool) -> bool:
    """Whether a run is in float64; by default where sufficient statistics make it free."""
    if isinstance(inference, Exact):
        return True
    return reduced if inference.precision == "auto" else inference.precision == "float64"


def holds_stocks(data: Any, arrays: PanelArrays) -> bool:
    """Whether a program computes on every stock, not on sums over them."""
    if isinstance(data, TrainingData):
        return isinstance(data.months, MonthRows)
    return any(np.shape(leaf)[:2] == arrays.returns.shape for leaf in jax.tree.leaves(data))
