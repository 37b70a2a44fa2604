"""`Panel`: an immutable, validated, labelled panel with a record of how it was made."""

from __future__ import annotations

import warnings as python_warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
import xarray as xr

from bayesfactor.errors import AlignmentError, DataError, DataWarning, EmptyWindowError, first_three
from bayesfactor.panel import preparation as prepare
from bayesfactor.panel import summary
from bayesfactor.panel.arrays import PanelArrays, pack
from bayesfactor.panel.contract import validated
from bayesfactor.panel.periods import (
    FAR_AHEAD,
    LONG_AGO,
    PERIODS_PER_YEAR,
    Days,
    as_days,
    brief,
    first_and_last_day,
    period_ends,
    selected,
    show,
    span,
)

if TYPE_CHECKING:
    from bayesfactor.panel.joining import Joined
    from bayesfactor.panel.store import PanelStore


@runtime_checkable
class Dated(Protocol):
    """Data that a transform brings in, which an audit truncates too."""

    def known_at(self, cut: np.datetime64) -> Dated:
        """Those of them dated up to the end of the period labelled `cut`."""
        ...


class Source(Protocol):
    """Where a panel began: it can be read again as it was known at the end of a period."""

    def known_at(self, cut: np.datetime64) -> Panel:
        """The panel as it would have been read at the end of the period labelled `cut`."""
        ...


@dataclass(frozen=True)
class Recipe:
    """A source and the transforms since, so that `Panel.audit` can do everything again on truncated data."""

    source: Source
    steps: tuple[tuple[str, tuple[Any, ...]], ...] = ()

    def then(self, method: str, *arguments: Any) -> Recipe:
        """The recipe with one more step."""
        return replace(self, steps=(*self.steps, (method, arguments)))

    def replayed(self, cut: np.datetime64) -> Panel:
        """Every step again, on what was known at the end of the period labelled `cut`."""
        panel = self.source.known_at(cut)
        for method, arguments in self.steps:
            known = (one.known_at(cut) if isinstance(one, Dated) else one for one in arguments)
            panel = getattr(panel, method)(*known)
        return panel


@dataclass(frozen=True, eq=False, repr=False)
class Panel:
    """Characteristics known before each period, and returns in it.

    Parameters
    ----------
    data : Dataset. Over `time` (period ends), `asset`, `characteristic`:
        `characteristics` (time, asset, characteristic), known before the period, NaN where missing and
        outside the universe once prepared;
        `missing` (time, asset, characteristic), True where there was no value;
        `returns` (time, asset), excess, decimal per period (0.01 = 1%), NaN where absent;
        `in_universe` (time, asset), known before the period: ranks and every normalisation use it;
        `observed` (time, asset), known after it: the return exists, which matters to the likelihood only;
        optional: `size`, `group` (time, asset), `benchmark_returns` (time, benchmark),
        `portfolio_returns` (time, portfolio), `macro` (time, predictor).
        The coordinate `kind` over `characteristic` is "continuous" or "indicator".
    frequency : "monthly", "weekly" or "daily".
    preparation : "raw", "rank" or "standardise".
    missing : "median", "indicator" or "error": what preparation does with missing cells.
    history : one line for each transform.
    warnings : what was odd in the data, in words.

    Raises
    ------
    DataError, DuplicateKeyError, UnitsError
        When the dataset breaks the contract above; the message says where.

    Notes
    -----
    A panel is immutable: its arrays are read-only and every transform returns a new panel. Arrays given are copied,
    unless they own their data and are read-only already. Every period has at least one asset in its universe;
    periods without any are dropped by the reader and by transforms.
    """

    data: xr.Dataset
    frequency: str
    preparation: str = "raw"
    missing: str = "median"
    history: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    _recipe: Recipe | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        data = validated(self.data, self.frequency, self.preparation, self.missing)
        object.__setattr__(self, "data", data)
        if self._recipe is None:
            source = DatasetSource(data, self.frequency, self.preparation, self.missing)
            object.__setattr__(self, "_recipe", Recipe(source))

    # What it is

    @property
    def characteristics(self) -> tuple[str, ...]:
        """Names of the characteristics."""
        return tuple(str(name) for name in self.data.indexes["characteristic"])

    @property
    def times(self) -> pd.DatetimeIndex:
        """Period ends."""
        times = self.data.indexes["time"]
        assert isinstance(times, pd.DatetimeIndex)
        return times

    @property
    def periods_per_year(self) -> int:
        """12, 52 or 252: every annualisation uses it."""
        return PERIODS_PER_YEAR[self.frequency]

    @property
    def prepared(self) -> bool:
        """Whether `rank_normalise` or `standardise` has been called."""
        return self.preparation != "raw"

    @property
    def live(self) -> Panel:
        """The periods after the last with returns, in which none is known yet: the live forecast.

        Raises
        ------
        EmptyWindowError
            When the last period has returns.
        """
        seen = (self.data.observed & self.data.in_universe).any("asset").values
        waiting = np.cumsum(seen[::-1])[::-1] == 0
        if not waiting.any():
            raise EmptyWindowError(f"no period is live: the last of {self._range()} has returns.")
        return self._take(as_days(self.times)[waiting], None, None, "live: periods after the last return")

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of labels, values, dtypes, frequency and preparation; not of the history."""
        return summary.fingerprint(self.data, (self.frequency, self.preparation, self.missing))

    def arrays(self, dtype: Any = np.float64) -> PanelArrays:
        """NumPy arrays packed by month, as models use them (see `PanelArrays`)."""
        return pack(self.data, self.periods_per_year, np.dtype(dtype))

    def describe(self) -> pd.DataFrame:
        """One row a period: assets in the universe, returns observed, coverage, missing cells, mean and sd of returns.

        Returns are decimal. Coverage is the share of characteristic cells of the universe that had a value
        before preparation, missing the number of those that had none.
        """
        return summary.describe(self.data)

    def missing_cells(self) -> pd.DataFrame:
        """Cells of the universe without a value before preparation: one row a period, one column a characteristic.

        `missing_cells().sum()` counts by characteristic. Columns of missing="indicator" are left out.
        """
        return summary.missing_cells(self.data)

    def __repr__(self) -> str:
        universe = self.data.in_universe.values
        seen = universe & self.data.observed.values
        return summary.text(self, universe.sum(axis=1), seen.sum(axis=1), self.data.sizes["asset"])

    def to_zarr(self, path: str | Path, *, append: bool = False, dtype: Any = None) -> PanelStore:
        """Write this prepared panel into a store on disk, from which months are read a few at a time.

        Parameters
        ----------
        path : the store's folder; new or empty, unless `append`.
        append : add these periods to the store at `path`. All must come after its last; characteristics, kinds,
            frequency, preparation and optional variables must be those of the store. New assets are welcome.
        dtype : float64 (the default) or float32, of characteristics and returns; of an append, the store's.

        Returns
        -------
        `PanelStore`, as `open_panel(path)` gives it.

        Raises
        ------
        DataError
            When the panel is not prepared, the folder is in use, or a period is not after the last stored.
        AlignmentError
            When appended periods do not match the store.
        CorruptResultError
            When `append` finds no intact store.

        Notes
        -----
        Only the universe is stored: values of assets outside it are not. An interrupted write leaves the store as it
        was. A period without returns, the live forecast, cannot be completed later: leave it out of a store that
        is to grow. One process may write at a time.
        """
        from bayesfactor.panel.store import write

        return write(self, path, append=append, dtype=dtype)

    # Selecting

    def split(self, when: Any) -> tuple[Panel, Panel]:
        """The periods before `when`, and those from the period that contains `when` on.

        Parameters
        ----------
        when : "2016-06", a Timestamp or a Period.

        Raises
        ------
        EmptyWindowError
            When one of the two parts holds no period.
        """
        first = self._ends(when)[0]
        return self._between(LONG_AGO, first - np.timedelta64(1, "D")), self._between(first, FAR_AHEAD)

    def sel(self, time: Any = None, asset: Any = None, characteristic: Any = None) -> Panel:
        """Select by label.

        Parameters
        ----------
        time : a date ("2016" is the whole year), a list of dates, or a slice of dates, both ends included.
        asset, characteristic : a label or a list of labels.

        Raises
        ------
        EmptyWindowError
            When nothing is left.
        AlignmentError
            When an asset or characteristic is not in the panel.
        """
        days = None if time is None else as_days(self.times)[selected(self.times, self.frequency, time)]
        assets = None if asset is None else self._labels("asset", asset)
        names = None if characteristic is None else self._labels("characteristic", characteristic)
        parts = {"time": time, "asset": asset, "characteristic": characteristic}
        said = ", ".join(f"{dim}={brief(value)}" for dim, value in parts.items() if value is not None)
        return self._take(days, assets, names, f"sel({said})")

    def largest(self, n: int) -> Panel:
        """Narrow the universe of each period to its `n` largest assets by `size`, known before the period.

        Assets without a size are left out; of equal sizes the first in the order of assets is kept.
        """
        self._must_be_raw("largest")
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
            raise DataError(f"largest(n) must keep a whole number of assets, at least one: found n={n!r}.")
        if "size" not in self.data:
            raise DataError("largest(n) must know `size`: the panel has none. Name its column: read_frame(size=...).")
        return self._narrowed(prepare.largest(self.data, n), f"largest({n}) by size", "largest", n)

    def covered(self, share: float) -> Panel:
        """Narrow the universe to the assets with at least this share of characteristics present."""
        self._must_be_raw("covered")
        if not isinstance(share, int | float | np.number) or not 0 <= share <= 1:
            raise DataError(f"covered(share) must be a number between 0 and 1: found {share!r}.")
        return self._narrowed(prepare.covered(self.data, share), f"covered({share})", "covered", share)

    # Joining

    def join_benchmark(self, returns: Any, *, units: str, excess: bool, risk_free: pd.Series | None = None) -> Panel:
        """Add benchmark factors: `benchmark_returns` (time, benchmark), decimal excess returns of the same period.

        Parameters
        ----------
        returns : DataFrame over time, one column a benchmark; a named Series over time; or a long Series or frame
            with levels (or columns) named `time` and `benchmark`, in any order. Dates are those that `read_frame`
            takes; each stands for the period of the panel that contains it.
        units : "decimal" or "percent" of `returns` and `risk_free`.
        excess : True for returns in excess of the riskless rate and for zero-cost portfolios (SMB, HML); False
            to have `risk_free` subtracted from every one.
        risk_free : Series by the period that each rate covers.

        Returns
        -------
        Panel with the benchmarks after those it has. Periods that the panel has not are left out and counted in
        the history. Every benchmark must be there in every period with returns; a live period may lack it.

        Raises
        ------
        AlignmentError, DataError, DuplicateKeyError, UnitsError
            Naming the labels, periods and cells.
        """
        from bayesfactor.panel.joining import returns_by_period

        return self._joined(returns_by_period(self, "benchmark_returns", returns, units, excess, risk_free))

    def join_portfolios(self, returns: Any, *, units: str, excess: bool, risk_free: pd.Series | None = None) -> Panel:
        """Add test portfolios: `portfolio_returns` (time, portfolio), decimal excess returns of the same period.

        As `join_benchmark`, over `portfolio`, except that single portfolios may be missing in some periods: such
        cells are NaN, with a recorded warning that counts them.
        """
        from bayesfactor.panel.joining import returns_by_period

        return self._joined(returns_by_period(self, "portfolio_returns", returns, units, excess, risk_free))

    def join_macro(self, predictors: Any, *, lag: int | Mapping[str, int]) -> Panel:
        """Add predictors of the whole market: `macro` (time, predictor), known before each period, units as given.

        Parameters
        ----------
        predictors : as `returns` of `join_benchmark`, over `predictor`.
        lag : age in calendar periods, at least 1: what is dated t - lag is used at t. 2 for what is published a
            period late, as inflation is. One for all, or one for each predictor by name (further names do no harm).
            The calendar of a daily panel is its own days.

        Returns
        -------
        Panel with the predictors after those it has. Each must be there in every period, the live one too: nothing is
        carried forward here. Predictors of a lower frequency are filled from earlier values before they are joined.

        Raises
        ------
        LookAheadError
            When a lag is below 1, or a predictor has none.
        AlignmentError, DataError, DuplicateKeyError
            Naming the labels, periods and cells.
        """
        from bayesfactor.panel.joining import known_before

        return self._joined(known_before(self, "macro", predictors, lag))

    def join_size(self, values: Any, *, lag: int) -> Panel:
        """Add `size` (time, asset), known before each period.

        Parameters
        ----------
        values : DataFrame over time, one column an asset, or long with levels (or columns) named `time` and `asset`.
        lag : age in calendar periods, at least 1.

        Returns
        -------
        Panel. Cells of the universe without a size are NaN, with a recorded warning that counts them; assets that
        the panel has not are left out and counted in the history.

        Raises
        ------
        LookAheadError
            When the lag is below 1.
        AlignmentError
            When no asset is one of the panel's.
        DataError, DuplicateKeyError
            Naming the cells, or because the panel has a size already.
        """
        from bayesfactor.panel.joining import known_before

        return self._joined(known_before(self, "size", values, lag))

    def join_group(self, values: Any, *, lag: int | str) -> Panel:
        """Add `group` (time, asset), for example the sector, known before each period.

        Parameters
        ----------
        values : as in `join_size`; whole numbers become text.
        lag : age in calendar periods, at least 1; or "constant" for a Series by asset of what never changes (a
            country, the sort that a portfolio comes from). A sector as of today does change: without the word, a
            value that is not dated is a `LookAheadError`.

        Returns
        -------
        Panel. Cells of the universe without a group are empty text, with a recorded warning that counts them.

        Raises
        ------
        LookAheadError, AlignmentError, DataError, DuplicateKeyError
            As in `join_size`.
        """
        from bayesfactor.panel.joining import known_before

        return self._joined(known_before(self, "group", values, lag))

    # Preparing

    def rank_normalise(self) -> Panel:
        """Rank each characteristic by period within the universe, to [-1, 1]; then missing cells are 0.

        `2 (rank - 1) / (n - 1) - 1` over the n assets of the universe that have a value, average ranks for
        ties. `missing` keeps the mask; with `missing="indicator"` a 0/1 column `<name>_missing` is appended
        for EVERY characteristic (which columns exist must not depend on later data, so some can be zero
        throughout; drop them with `sel` if unwanted). Outside the universe cells are NaN. A characteristic
        that is constant or missing for all assets of a period is 0 in it, with a recorded warning.

        Raises
        ------
        DataError
            When the panel is prepared already, or a characteristic is constant or missing in every period.
        """
        return self._prepare("rank", True)

    def standardise(self) -> Panel:
        """As `rank_normalise`, with z-scores by period within the universe (sd over n) in place of ranks."""
        return self._prepare("standardise", True)

    def apply(self, function: Callable[[xr.Dataset], xr.Dataset], name: str) -> Panel:
        """Change the dataset by your own function, recorded as `name`, and done again by `audit`."""
        if not callable(function):
            raise DataError(
                f"apply({name!r}): it must be given a function of a Dataset; found {type(function).__name__}."
            )
        changed = function(self.data.copy(deep=True))
        if not isinstance(changed, xr.Dataset):
            raise DataError(f"apply({name!r}): the function must return a Dataset; found {type(changed).__name__}.")
        return self._then(self._occupied(changed), f"apply: {name}", "apply", function, name)

    def audit(self, cuts: Sequence[Any] | None = None) -> pd.DataFrame:
        """Read and prepare everything again on truncated data: nothing before the cut may change.

        For each cut the source is reduced to what was known at the end of that period and every transform is
        done again. Everything up to the cut, and what is known before the following period, must be
        bit-identical.

        Parameters
        ----------
        cuts : periods; four spread over the panel where not given.

        Returns
        -------
        DataFrame with cut, variable, cells_compared, cells_changed (all 0).

        Raises
        ------
        LookAheadError
            Naming variable, cut and first cells, when something used later data.
        """
        from bayesfactor.panel.timing import audit

        return audit(self, cuts)

    # Within

    def _joined(self, joined: Joined) -> Panel:
        """Check against this panel, warn, and join."""
        from bayesfactor.panel.joining import check

        odd = check(self, joined)
        for message in odd:
            python_warnings.warn(message, DataWarning, stacklevel=3)
        panel = self._join(joined)
        return replace(panel, warnings=(*self.warnings, *odd))

    def _join(self, joined: Joined) -> Panel:
        """Join without checks: an audit sees a shorter sample."""
        return self._then(joined.onto(self.data), joined.line, "_join", joined)

    def _noted(self, history: tuple[str, ...], odd: tuple[str, ...]) -> Panel:
        """The same content with another history and warnings; it is not validated again."""
        panel = copy(self)
        object.__setattr__(panel, "history", history)
        object.__setattr__(panel, "warnings", odd)
        return panel

    def _prepare(self, how: str, refuse_empty: bool) -> Panel:
        self._must_be_raw({"rank": "rank_normalise"}.get(how, how))
        result = prepare.prepared(self.data, how, self.missing, self.frequency, refuse_empty)
        for message in result.warnings:
            python_warnings.warn(message, DataWarning, stacklevel=3)
        said = "ranks to [-1, 1]" if how == "rank" else "z-scores"
        line = f"{said} by period within the universe, {summary.filled(self.data)}"
        panel = self._then(result.data, line, "_prepare", how, False, preparation=how)
        return panel._noted(panel.history, (*self.warnings, *result.warnings))

    def _must_be_raw(self, method: str) -> None:
        if self.prepared:
            raise DataError(
                f"{method} must come before preparation: this panel is prepared already "
                f"({self.preparation}). "
                "Ranks taken within another universe would be wrong; start from the raw panel."
            )

    def _then(self, data: xr.Dataset, line: str, method: str, *arguments: Any, preparation: str | None = None) -> Panel:
        assert self._recipe is not None
        return replace(
            self,
            data=data,
            preparation=preparation or self.preparation,
            history=(*self.history, line),
            _recipe=self._recipe.then(method, *arguments),
        )

    def _narrowed(self, universe: np.ndarray, line: str, method: str, argument: float) -> Panel:
        data = self._occupied(self.data.assign(in_universe=(("time", "asset"), universe)))
        ever = data.in_universe.any("time").values
        return self._then(data.isel(asset=ever), line, method, argument)

    def _occupied(self, data: xr.Dataset) -> xr.Dataset:
        """Drop the periods without any asset in the universe."""
        occupied = data.in_universe.any("asset").values
        if not occupied.any():
            raise EmptyWindowError(f"nothing is left of the universe; the panel runs {self._range()}.")
        return data if occupied.all() else data.isel(time=occupied)

    def _between(self, first: np.datetime64, last: np.datetime64) -> Panel:
        days = as_days(self.times)
        start = last + np.timedelta64(1, "D") if first == LONG_AGO else first
        line = f"split: {'before' if first == LONG_AGO else 'from'} {show(start, self.frequency)}"
        keep = (days >= first) & (days <= last)
        if not keep.any():
            raise EmptyWindowError(f"{line}: no period is left; the panel runs {self._range()}.")
        return self._then(self.data.isel(time=keep), line, "_between", first, last)

    def _take(self, days: Days | None, assets: list[str] | None, names: list[str] | None, line: str) -> Panel:
        """Those of the labels that are here: an audit sees a shorter sample."""
        data = self.data
        if days is not None:
            data = data.isel(time=np.isin(as_days(self.times), days))
        if assets is not None:
            data = data.sel(asset=[label for label in assets if label in data.indexes["asset"]])
        if names is not None:
            data = data.sel(characteristic=names)
        if 0 in (data.sizes["asset"], data.sizes["characteristic"]):
            raise EmptyWindowError(f"{line} must keep an asset and a characteristic: none is left.")
        return self._then(self._occupied(data), line, "_take", days, assets, names, line)

    def _ends(self, when: Any) -> Days:
        return period_ends(np.array(first_and_last_day(when)), self.frequency)

    def _labels(self, dim: str, labels: Any) -> list[str]:
        wanted = [str(label) for label in np.atleast_1d(np.asarray(labels, dtype=object))]
        unknown = [label for label in wanted if label not in self.data.indexes[dim]]
        if unknown:
            raise AlignmentError(f"every {dim} selected must be in the panel: unknown {first_three(unknown)}.")
        return wanted

    def _range(self) -> str:
        return span(self.times, self.frequency)


@dataclass(frozen=True)
class DatasetSource:
    """A panel that began as a dataset: later periods are dropped, the next returns blanked."""

    data: xr.Dataset
    frequency: str
    preparation: str
    missing: str

    def known_at(self, cut: np.datetime64) -> Panel:
        """The dataset up to `cut`, and what is known before the period after it."""
        days = as_days(pd.DatetimeIndex(self.data.indexes["time"]))
        keep = int(np.searchsorted(days, cut, side="right")) + 1
        data = self.data.isel(time=slice(None, keep))
        past = xr.DataArray(days[:keep] <= cut, dims="time")
        blanked: dict[Hashable, xr.DataArray] = {
            name: data[name].where(past)
            for name in ("returns", "benchmark_returns", "portfolio_returns")
            if name in data
        }
        data = data.assign(blanked).assign(observed=data.observed & past)
        return Panel(data, self.frequency, self.preparation, self.missing)
