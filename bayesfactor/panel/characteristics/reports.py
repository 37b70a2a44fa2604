"""`from_reports`: fundamentals with filing dates become characteristics, each from what had been filed by then."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches

import numpy as np
import pandas as pd

from bayesfactor.errors import (
    AlignmentError,
    DataError,
    DataWarning,
    DuplicateKeyError,
    LookAheadError,
    UnitsError,
    first_three,
)
from bayesfactor.panel.characteristics.columns import NOT_TOLD, Columns, chosen, keyed_once, told
from bayesfactor.panel.characteristics.known import Known
from bayesfactor.panel.characteristics.of_reports import REPORT_DEFINITIONS, REPORT_ITEMS
from bayesfactor.panel.periods import Days
from bayesfactor.panel.reading import publication_dates

_LATE_DAYS = np.timedelta64(7, "D")  # a fiscal period that ends on a month's first seven days is the month's before
# typical values over market equity that only other currency units explain are outside of these
_SOONEST_DAYS = 5  # from a fiscal period's end to its report, typically
_PLAUSIBLE = {
    "assets": (0.03, 200.0),
    "book_equity": (0.01, 50.0),
    "liabilities": (0.02, 80.0),
    "sales": (0.02, 40.0),
    "net_income": (5e-4, 3.0),
}
_YEARLY = ("sales", "net_income")
_OWN_UNITS = 300.0  # a firm's ratio against that of the others
_LONGEST_QUARTER, _SHORTEST_YEAR = 4, 9  # months from one fiscal period of an asset to the next (median)
_FEWEST_COMPARED, _WIDER = 20, 100.0  # with fewer rows the bounds are wider


def from_reports(
    frame: pd.DataFrame,
    prices: pd.DataFrame,
    *,
    time: str,
    asset: str,
    available: str,
    items: Mapping[str, str],
    reports: str = NOT_TOLD,
    year_to_date: Sequence[str] = (),
    fiscal_quarter: str | None = None,
    characteristics: Sequence[str] | None = None,
    expires: int | None = None,
) -> pd.DataFrame:
    """Characteristics from fundamentals as they were known at each date.

    A report is used from the day after its filing date: a row dated 30 June sees what was filed up to 29 June. Of
    several filings for one fiscal period the latest counts, from the day after its own date; the newest fiscal period
    gives the row. Sums over a year take four quarters, and growth compares with the same fiscal period of the year
    before, both as known at the row's date. A missing report leaves what needs it missing: nothing slides.

    Parameters
    ----------
    frame : one row for each asset, fiscal period and filing, in any order.
    time : column with the last day of the fiscal period; an end on the first seven days of a month belongs to the
        month before (52-week years).
    asset, available : columns with the asset and the date on which the row's figures were filed. Either can be an
        index level, as can `time`.
    items : which column holds which item, such as {"book_equity": "ceqq"}; `REPORT_ITEMS` says what each must be.
        Currency is that of `market_equity`. Flows are over the report's own period, unless they are `year_to_date`.
    reports : told: "quarterly" or "annual".
    year_to_date : items that run from the start of the fiscal year, as cash flows do in quarterly filings. A quarter
        is the difference from the quarter before, both as known at the row's date; the first quarter is itself.
    fiscal_quarter : column with 1 to 4, needed for `year_to_date`.
    prices : rows for which characteristics are wanted: `date`, `asset`, and `market_equity` for ratios to price, as
        `from_prices` gives them.
    characteristics : names; where not given, all whose inputs are there.
    expires : months from the end of a fiscal period after which its report is too old; 12 where not given, and 18 for
        annual ones.

    Returns
    -------
    DataFrame with `date`, `asset` and the characteristics, one row for each of `prices`, sorted. Ratios to something
    that is not positive are missing.

    Raises
    ------
    DataError, DuplicateKeyError, AlignmentError
        Naming the first rows.
    LookAheadError
        When a filing date is missing, or before its fiscal period's end, or typically within five days of it.
    UnitsError
        When market equity and the balance sheets are plainly not in the same currency units.
    """
    told(reports, "reports", ("quarterly", "annual"), "A flow over a year is four quarters, or one year.", DataError)
    quarterly = reports == "quarterly"
    months = (12 if quarterly else 18) if expires is None else expires
    if isinstance(months, bool) or not isinstance(months, int | np.integer) or months < 1:
        raise DataError(f"expires must be a whole number of months, 1 or more: found {expires!r}.")
    _check_items(items)
    roles: dict[str, str | None] = {"available": available, "fiscal_quarter": fiscal_quarter, **items}
    columns = Columns(frame, time, asset, roles)
    filed = publication_dates(columns.frame[available], available)
    _check_filing(columns, filed)
    _check_spacing(columns, reports)
    values = {item: columns.numbers(name) for item, name in items.items()}
    quarter = _fiscal_quarters(columns, year_to_date, fiscal_quarter, items, quarterly)
    at, equity = _prices(prices)
    given = set(values) | ({"market_equity"} if equity is not None else set())
    possible = {one.name: one.inputs for one in REPORT_DEFINITIONS if quarterly or not one.quarterly}
    names = chosen(characteristics, possible, given)
    asset_of_row = _matched(columns, at)
    if equity is None:
        equity = np.full(len(at.days), np.nan)
    out = {name: np.full(len(at.days), np.nan) for name in names}
    by_name = {one.name: one for one in REPORT_DEFINITIONS}
    compared: dict[str, np.ndarray] = {item: np.full(len(at.days), np.nan) for item in _PLAUSIBLE if item in values}
    step = 3 if quarterly else 12
    for rows, versions, firm, latest in _by_date(columns, filed, asset_of_row, at, int(months)):
        known = Known(values, versions, firm, latest, step, equity[rows], frozenset(year_to_date), quarter)
        for name in names:
            out[name][rows] = by_name[name].compute(known)
        for item, ratios in compared.items():
            ratios[rows] = known.to_price(known.year(item) if item in _YEARLY else known.at(item))
    _check_currency(compared, at)
    table = pd.DataFrame({"date": at.days.astype("datetime64[ns]"), "asset": at.labels[at.codes], **out})
    return table.sort_values(["date", "asset"], kind="stable", ignore_index=True)


def fiscal_months(ends: Days) -> np.ndarray:
    """Months since 1970-01 of fiscal periods: the first seven days of a month belong to the one before."""
    return (ends - _LATE_DAYS).astype("datetime64[M]").astype(np.int64)


def _by_date(
    columns: Columns, filed: Days, asset_of_row: np.ndarray, at: Columns, expires: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Date by date: the rows of that date, and `table`, `firm` and `latest` of their assets (see `Known`).

    One table of versions is carried from date to date; the filings in between overwrite it in their order.
    """
    fiscal = fiscal_months(columns.days)
    first = int(fiscal.min())
    fiscal = fiscal - first
    table = np.full((len(at.labels), int(fiscal.max()) + 1), -1)
    latest = np.full(len(at.labels), -1)
    order = np.argsort(filed, kind="stable")
    order = order[asset_of_row[order] >= 0]
    dates, which = np.unique(at.days, return_inverse=True)
    upto = np.searchsorted(filed[order], dates, side="left")  # filed before the date
    by_date = np.argsort(which, kind="stable")
    bounds = np.searchsorted(which[by_date], np.arange(dates.size + 1))
    done = 0
    for t, date in enumerate(dates):
        new = order[done : upto[t]]
        table[asset_of_row[new], fiscal[new]] = new
        np.maximum.at(latest, asset_of_row[new], fiscal[new])
        done = upto[t]
        rows = by_date[bounds[t] : bounds[t + 1]]
        who = at.codes[rows]
        age = int(date.astype("datetime64[M]").astype(np.int64)) - first - latest[who]
        yield rows, table, who, np.where(age > expires, -1, latest[who])


def _fiscal_quarters(
    columns: Columns, year_to_date: Sequence[str], name: str | None, items: Mapping[str, str], quarterly: bool
) -> np.ndarray:
    """The fiscal quarter of each report, where items are cumulative; nothing otherwise."""
    if not year_to_date:
        return np.zeros(0)
    listed = isinstance(year_to_date, Iterable) and not isinstance(year_to_date, str)
    if not listed or any(item not in list(items) for item in year_to_date):
        raise DataError(f"year_to_date must list names of items: found {year_to_date!r}, of {list(items)}.")
    if not quarterly or name is None:
        raise DataError("year_to_date needs quarterly reports and fiscal_quarter, the column with their number 1 to 4.")
    quarter = columns.numbers(name)
    columns.refuse(~np.isin(quarter, (1, 2, 3, 4)), "fiscal_quarter must be 1, 2, 3 or 4", "Drop other reports.")
    return quarter


def _check_items(items: Mapping[str, str]) -> None:
    if not isinstance(items, Mapping) or not items:
        raise DataError('items must say which column holds which item, such as {"book_equity": "ceqq"}.')
    for item in items:
        if item not in REPORT_ITEMS:
            near = get_close_matches(str(item), REPORT_ITEMS, 3, 0.4)
            hint = f" Near: {', '.join(near)}." if near else ""
            raise DataError(f"items must be those of REPORT_ITEMS: found {item!r}.{hint}")


def _check_filing(columns: Columns, filed: Days) -> None:
    def cells(bad: np.ndarray) -> str:
        names = columns.labels[columns.codes]
        return first_three((columns.days[row], names[row], f"filed {filed[row]}") for row in np.flatnonzero(bad))

    early = filed < columns.days
    if early.any():
        raise LookAheadError(
            f"a report must be filed after its fiscal period has ended: found {cells(early)}. Usually `available` "
            "dates the report before, or the columns are swapped."
        )
    typical = np.median((filed - columns.days).astype(np.int64))
    if typical < _SOONEST_DAYS:
        raise LookAheadError(
            f"a report must be filed after its fiscal period has ended, which takes weeks: the median here is "
            f"{typical:.0f} days, as at {cells(filed - columns.days < np.timedelta64(_SOONEST_DAYS, 'D'))}. Usually "
            "`available` is the end of the fiscal period. Give filing dates; without any, dates that are surely later, "
            "such as four months after the end."
        )
    key = pd.DataFrame({"asset": columns.codes, "period": fiscal_months(columns.days), "filed": filed})
    again = key.duplicated().to_numpy()
    if again.any():
        raise DuplicateKeyError(
            f"each (asset, fiscal period, filing date) must have one row: repeated {cells(again)}. Usually several "
            "formats of one report (consolidated and not, restated columns beside the original): keep one."
        )


def _check_spacing(columns: Columns, reports: str) -> None:
    """Refuse quarterly reports told annual, and the other way round: flows would be a quarter, or four times a year."""
    months = pd.DataFrame({"asset": columns.codes, "month": fiscal_months(columns.days)})
    months = months.drop_duplicates().sort_values(["asset", "month"])
    gaps = months.groupby("asset")["month"].diff().dropna()
    typical = float(gaps.median()) if len(gaps) else np.nan
    if typical > _LONGEST_QUARTER if reports == "quarterly" else typical < _SHORTEST_YEAR:
        raise DataError(
            f"reports must be {reports} as told: the fiscal periods of one asset are {typical:.0f} months apart "
            '(median). Usually the other of "quarterly" and "annual" is meant. Of semi-annual reports keep the '
            "annual ones."
        )


def _prices(prices: pd.DataFrame) -> tuple[Columns, np.ndarray | None]:
    """The rows that are wanted, and their market equity where there is one."""
    at = keyed_once(prices)
    if "market_equity" not in at.frame.columns:
        return at, None
    equity = at.numbers("market_equity")
    at.refuse(equity <= 0, "market_equity must be positive", "Make it NaN where it is not known.")
    return at, equity


def _matched(columns: Columns, at: Columns) -> np.ndarray:
    """Each report's position among the assets that have prices, -1 for none."""
    where = pd.Index(at.labels).get_indexer(columns.labels)
    unmatched = columns.labels[where < 0]
    if unmatched.size == columns.labels.size:
        raise AlignmentError(
            f"reports and prices must name assets alike: no asset is in both; reports have "
            f"{first_three(columns.labels)}, prices {first_three(at.labels)}. Usually two kinds of identifier "
            "(ticker and permno, gvkey and permno)."
        )
    if unmatched.size:
        few = 2 * unmatched.size > columns.labels.size
        warnings.warn(
            f"assets with reports but without prices are left out: {first_three(unmatched)}, of "
            f"{columns.labels.size:,}."
            + (
                " Fewer than half match. Where both sides are numbers, usually two kinds of identifier overlap (gvkey "
                "and permno), and what matches are other firms: check some by name."
                if few
                else ""
            ),
            DataWarning,
            stacklevel=3,
        )
    return where[columns.codes]


def _check_currency(compared: dict[str, np.ndarray], at: Columns) -> None:
    """Refuse items that are plainly not in the units of market equity, and name firms that differ from the others."""
    for item, ratios in compared.items():
        size = np.abs(ratios[np.isfinite(ratios) & (ratios != 0)])
        if not size.size:
            continue
        typical = float(np.median(size))
        wider = 1.0 if size.size >= _FEWEST_COMPARED else _WIDER
        low, high = _PLAUSIBLE[item]
        if not low / wider <= typical <= high * wider:
            raise UnitsError(
                f"items and market_equity must be in the same currency units: the median of {item} over market "
                f"equity is {typical:.3g}. Usually one is in thousands or millions: multiply it."
            )
    for item in list(compared)[:1]:
        ratios = np.abs(np.where(compared[item] != 0, compared[item], np.nan))
        own = pd.Series(ratios).groupby(at.codes).median()
        far = own.index[np.abs(np.log(own / own.median())) > np.log(_OWN_UNITS)]
        if len(far):
            warnings.warn(
                f"{item} over market equity is more than {_OWN_UNITS:.0f} times from that of the other assets for "
                f"{first_three(at.labels[far])}. Usually their reports are in thousands or in another currency.",
                DataWarning,
                stacklevel=3,
            )
