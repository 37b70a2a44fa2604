"""Where rows land: the return at its period, the characteristics at the later period that may use them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from scipy.stats import rankdata

from bayesfactor.errors import DataError, DuplicateKeyError, LookAheadError, first_three
from bayesfactor.panel.periods import Calendar, Days, show

_NEVER = np.datetime64("9999-12-31")
_TELLING_CORRELATION = 0.95
_ENOUGH_CELLS = 30
_MOST_CELLS = 20_000


@dataclass(frozen=True)
class Rows:
    """Rows of a frame as arrays: `asset` are positions in `labels`, which are sorted."""

    names: tuple[str, ...]
    dates: Days
    labels: np.ndarray
    asset: np.ndarray
    returns: np.ndarray
    characteristics: tuple[np.ndarray, ...]  # one column each, float32 where the source is
    size: np.ndarray | None
    group: np.ndarray | None
    available: Days | None
    riskless: float | None = None  # mean rate that was taken off the returns, decimal per period

    def known_at(self, cut: np.datetime64, calendar: Calendar, returns_over: str) -> Rows:
        """The rows as they stood at the end of the period labelled `cut`.

        A row dated later is known only where its publication date says so; its return is not.
        """
        end = calendar.last_day(cut)
        public = (self.dates if self.available is None else self.available) <= end
        kept = (self.dates <= end) | public
        lands = calendar.ordinals(self.dates) + (1 if returns_over == "next" else 0)
        over = lands <= calendar.ordinals(np.array([cut]))[0]
        blank = ~public[kept]
        return replace(
            self,
            dates=self.dates[kept],
            asset=self.asset[kept],
            returns=np.where(over, self.returns, np.nan)[kept],
            characteristics=tuple(np.where(blank, np.nan, column[kept]) for column in self.characteristics),
            size=None if self.size is None else np.where(blank, np.nan, self.size[kept]),
            group=None if self.group is None else np.where(blank, "", self.group[kept]),
            available=None if self.available is None else np.where(blank, _NEVER, self.available[kept]),
        )


def assemble(rows: Rows, calendar: Calendar, returns_over: str, lag: int | None) -> xr.Dataset:
    """Land every row on its periods.

    `lag=None` uses publication dates. An asset is in the universe of t when it has a row in period t - 1 and
    the row that supplies its characteristics at t has at least one.
    """
    position = calendar.ordinals(rows.dates)
    first = int(position.min())
    step = position - first
    shape = (int(step.max()) + 2, len(rows.labels))
    _refuse_duplicates(rows, step, calendar)
    if lag is None:  # both ways of pairing: what describes a period is not known before it
        _refuse_early_publication(rows, calendar)

    ahead = 1 if returns_over == "next" else 0
    returns = np.full(shape, np.nan)
    returns[step + ahead, rows.asset] = rows.returns
    listed = np.zeros(shape, bool)
    listed[step + 1, rows.asset] = True

    if lag is None:
        source = _latest_public(rows, calendar, first, shape)
    else:
        source = np.full(shape, -1)
        lands = step + ahead + lag
        inside = lands < shape[0]
        source[lands[inside], rows.asset[inside]] = np.flatnonzero(inside)
    has_any = np.zeros(rows.dates.size, bool)
    for column in rows.characteristics:
        has_any |= ~np.isnan(column)
    in_universe = listed & (source >= 0) & has_any[source]
    if not in_universe.any():
        raise DataError(
            "some asset must have a row in the period before, with a characteristic old enough: none has, "
            f"over {len(rows.dates):,} rows. Usually the lag is longer than the data, or all characteristics are "
            "missing."
        )
    months, ever = np.flatnonzero(in_universe.any(axis=1)), np.flatnonzero(in_universe.any(axis=0))
    grid = np.ix_(months, ever)
    source = source[grid]
    absent = source < 0
    characteristics = np.empty((*source.shape, len(rows.names)))
    for t, origin in enumerate(source):
        for k, column in enumerate(rows.characteristics):
            characteristics[t, :, k] = column[origin]
        characteristics[t, absent[t]] = np.nan
    characteristics.setflags(write=False)  # nobody else holds it: the panel takes it as it is
    dims = ("time", "asset")
    variables = {
        "characteristics": ((*dims, "characteristic"), characteristics),
        "returns": (dims, returns[grid]),
        "in_universe": (dims, in_universe[grid]),
    }
    if rows.size is not None:
        variables["size"] = (dims, np.where(absent, np.nan, rows.size[source]))
    if rows.group is not None:
        variables["group"] = (dims, np.where(absent, "", rows.group[source]))
    coords = {
        "time": calendar.labels(months + first),
        "asset": rows.labels[ever],
        "characteristic": list(rows.names),
    }
    return xr.Dataset(variables, coords)


def refuse_known_returns(data: xr.Dataset) -> None:
    """Refuse a characteristic, or size, that is the return it should explain.

    That is |rank correlation| above 0.95 where both land, over at least 30 cells of the universe.

    Raises
    ------
    LookAheadError
        Naming the characteristic.
    """
    both = (data.in_universe & data.observed).values
    months, assets = np.nonzero(both)
    stride = max(1, len(months) // _MOST_CELLS)
    cells = months[::stride], assets[::stride]
    returns = data.returns.values[cells]
    columns = dict(zip(data.indexes["characteristic"], data.characteristics.values[cells].T, strict=True))
    if "size" in data:
        columns["size"] = data["size"].values[cells]
    for name, column in columns.items():
        present = ~np.isnan(column)
        if present.sum() < _ENOUGH_CELLS or np.ptp(column[present]) == 0:
            continue
        correlation = np.corrcoef(rankdata(column[present]), rankdata(returns[present]))[0, 1]
        if abs(correlation) > _TELLING_CORRELATION:
            raise LookAheadError(
                f"characteristics must be known before the return: {name!r} has rank correlation "
                f"{correlation:.3f} with the "
                "return of the same period. Usually it is that return under another name (ret_next beside "
                "xret_next), or "
                "the timing is one period off. Leave it out: exclude=[...], or correct returns_over "
                "and lag."
            )


def _refuse_early_publication(rows: Rows, calendar: Calendar) -> None:
    """Characteristics describe the period of their row: nobody can have published them before it.

    Periods are compared, since the date of a row is often the label of its month (YYYYMM).
    """
    assert rows.available is not None
    frequency = calendar.frequency
    own, published = (
        dates if frequency == "daily" else calendar.ordinals(dates) for dates in (rows.dates, rows.available)
    )
    early = published < own
    if early.any():
        cells = [
            (show(rows.dates[row], frequency), rows.labels[rows.asset[row]], f"published {rows.available[row]}")
            for row in np.flatnonzero(early)
        ]
        raise LookAheadError(
            f"characteristics must be published in the period of their row or later: found {first_three(cells)}. "
            "Usually `available` dates another report (the one before), or the start of the fiscal period. Give "
            "the date on which this row's figures came out; where a row carries older figures beside new ones, "
            "the later of both dates."
        )


def _latest_public(rows: Rows, calendar: Calendar, first: int, shape: tuple[int, int]) -> np.ndarray:
    """Row in force at (time, asset): the latest public strictly before the period began, else -1."""
    assert rows.available is not None
    order = np.lexsort((rows.dates, rows.available, rows.asset))
    starts = np.maximum(calendar.first_after(rows.available[order]) - first, 0)
    inside = starts < shape[0]
    rank = np.full(shape, -1)
    np.maximum.at(rank, (starts[inside], rows.asset[order][inside]), np.flatnonzero(inside))
    rank = np.maximum.accumulate(rank, axis=0)
    return np.where(rank < 0, -1, order[rank])


def _refuse_duplicates(rows: Rows, step: np.ndarray, calendar: Calendar) -> None:
    key = step * len(rows.labels) + rows.asset
    if np.bincount(key).max() == 1:
        return
    order = np.argsort(key, kind="stable")
    again = order[1:][key[order][1:] == key[order][:-1]]
    cells = sorted({(show(rows.dates[row], calendar.frequency), str(rows.labels[rows.asset[row]])) for row in again})
    raise DuplicateKeyError(
        f"each (time, asset) must have one row a period ({calendar.frequency}): repeated "
        f"{first_three(cells)}. Usually two "
        "share classes under one name, or two dates in one period."
    )
