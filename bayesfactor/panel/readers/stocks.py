"""Panels of stocks as researchers publish them. Each layout and its timing come from its authors' documentation."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from bayesfactor.errors import (
    AlignmentError,
    DataError,
    DataWarning,
    DuplicateKeyError,
    LookAheadError,
    first_three,
)
from bayesfactor.panel.codes import coded
from bayesfactor.panel.files import read_table, require_columns
from bayesfactor.panel.panel import Panel
from bayesfactor.panel.periods import Calendar, parse_dates
from bayesfactor.panel.reading import as_labels, read_frame

Source = str | Path | pd.DataFrame

GKX_CHARACTERISTICS = tuple(
    """mvel1 beta betasq chmom dolvol idiovol indmom mom1m mom6m mom12m mom36m pricedelay turn absacc acc age agr bm
    bm_ia cashdebt cashpr cfp cfp_ia chatoia chcsho chempia chinv chpmia convind currat depr divi divo dy egr ep gma
    grcapx grltnoa herf hire invest lev lgr mve_ia operprof orgcap pchcapx_ia pchcurrat pchdepr pchgm_pchsale pchquick
    pchsale_pchinvt pchsale_pchrect pchsale_pchxsga pchsaleinv pctacc ps quick rd rd_mve rd_sale realestate roic
    salecash saleinv salerec secured securedind sgr sin sp tang tb aeavol cash chtx cinvest ear nincr roaq roavol roeq
    rsup stdacc stdcf ms baspread ill maxret retvol std_dolvol std_turn zerotrade""".split()  # noqa: SIM905
)
_JKP_OTHER = frozenset(
    """id date eom source source_crsp size_grp obs_main exch_main primary_sec gvkey iid permno permco excntry curcd fx
    common comp_tpci crsp_shrcd comp_exchg crsp_exchcd gics sic naics ff49 adjfct shares me me_company prc prc_local
    prc_high prc_low bidask dolvol tvol ret ret_local ret_exc ret_lag_dif ret_exc_lead1m""".split()  # noqa: SIM905
)
_JKP_SCREENS = ("obs_main", "exch_main", "common", "primary_sec")
_LATER = re.compile(r"lead|fwd|next", re.IGNORECASE)  # in names of what comes after the row
_ROW_NUMBERS = re.compile(r"Unnamed: \d+|index|level_\d+|__index_level_\d+__")
_FEWEST_FILLERS = 3
_NOTHING: tuple[str, ...] = ()


def gkx(
    path: Source,
    *,
    returns: pd.Series | pd.DataFrame | str,
    units: str,
    excess: bool,
    risk_free: pd.Series | None = None,
    characteristics: Sequence[str] | None = None,
    missing: str = "median",
) -> Panel:
    """Panel from the data of Gu, Kelly, Xiu (2020), "Empirical Asset Pricing via Machine Learning": `datashare.csv`.

    TIMING, from the readme beside the file: the characteristics of the row with DATE 19570329 are lagged already, and
    explain the return of 1957-03. So row and return have one month, the reverse of most files, and no lag is asked
    for. `sic2`, and `mve0` of later versions, are those ON the date: sectors are taken from the stock's row of the
    month before, and `mve0` is refused.

    Parameters
    ----------
    path : file (CSV, .csv.gz, ZIP or Parquet) or frame with permno, DATE (integer YYYYMMDD), 94 characteristics, sic2.
    returns : the file has none. A Series with the index levels permno and a date, or a frame with permno, a date and
        one more column: each return is over the month of its date. Or the name of a column, which is over the month of
        DATE ("RET" of the version of June 2021). Joined by label.
    units : "decimal" or "percent" of `returns` and `risk_free`.
    excess : whether returns are in excess of the riskless rate; if not, give `risk_free` by month.
    risk_free : Series dated by the month that each rate covers.
    characteristics : some of the 94; all, where not given.
    missing : as `read_frame`.

    Returns
    -------
    Panel, monthly, raw; `size` is mvel1 (where it is in the file), `group` the sector.

    Raises
    ------
    DataError, DuplicateKeyError, LookAheadError, UnitsError
        Columns absent or misnamed, duplicates, characteristics whose timing the readme does not state.
    """
    names = _named(characteristics) or GKX_CHARACTERISTICS
    odd = [name for name in names if name not in GKX_CHARACTERISTICS]
    if odd:
        raise LookAheadError(
            f"characteristics must be among the 94 that the readme calls lagged: {first_three(odd)} are not, and what "
            "is not lagged (mve0, RET) belongs to the month to be explained. Use read_frame for columns of your own."
        )
    frame = _frame(path, "permno", "the GKX file", ("permno", "DATE", *names))
    frame = frame.assign(permno=_ids(frame["permno"], "permno"))
    kept = ["permno", *names, *({"mvel1"} & set(frame.columns) - set(names))]
    month = _months(frame["DATE"], "DATE")
    size = "mvel1" if "mvel1" in kept else None
    _once(frame["permno"], month)
    data = frame[kept].copy()
    if "sic2" in frame:
        data["sic2"] = _at(frame["sic2"], frame["permno"], month, data["permno"], month - 1)
    if isinstance(returns, str):
        require_columns(frame.columns, (returns,), "the GKX file")
        outcome, told = frame[returns], _NOTHING
    else:
        outcome, told = _joined(returns, data["permno"], month)
    return _panel(
        data,
        pd.Series(month - 1, name="the month before DATE"),
        outcome,
        "gkx: characteristics of DATE explain the return of the same month, as its readme says",
        told,
        asset="permno",
        units=units,
        excess=excess,
        risk_free=risk_free,
        characteristics=names,
        size=size,
        group="sic2" if "sic2" in data else None,
        missing=missing,
    )


def open_asset_pricing(
    path: Source,
    *,
    returns: pd.Series | pd.DataFrame,
    units: str,
    excess: bool,
    risk_free: pd.Series | None = None,
    characteristics: Sequence[str] | None = None,
    missing: str = "median",
) -> Panel:
    """Panel from Open Source Asset Pricing (Chen, Zimmermann 2022): `signed_predictors_dl_wide.csv`.

    TIMING: `yyyymm` is the authors' `time_avail_m`, the month at whose end a signal is available (annual accounts six
    months after the fiscal year's end). A signal of 2016-05 meets the return of 2016-06. Signals are signed so that
    high means high expected return. Size, Price and STreversal come from CRSP and are not in the file.

    Parameters
    ----------
    path : file (CSV, .csv.gz, ZIP or Parquet) or frame with permno, yyyymm and one column for each signal.
    returns : a Series with the index levels permno and a date, or a frame with permno, a date and one more column; each
        return is over the month of its date. Joined by label.
    units, excess, risk_free, missing : as `gkx`.
    characteristics : signals; all, where not given.

    Returns
    -------
    Panel, monthly, raw. A month's universe are the stocks with a row of the month before.

    Raises
    ------
    DataError, DuplicateKeyError, UnitsError
        Columns absent or misnamed, duplicates, missing codes.
    """
    given = _named(characteristics)
    frame = _frame(path, "permno", "the Open Asset Pricing file", ("permno", "yyyymm", *given), only=bool(given))
    names = given or _all(name for name in frame.columns if name not in ("permno", "yyyymm"))
    known = _months(frame["yyyymm"], "yyyymm")
    permno = _ids(frame["permno"], "permno")
    _once(permno, known)
    outcome, told = _joined(returns, permno, known + 1)
    return _panel(
        frame[list(names)].assign(permno=permno),
        pd.Series(known, name="yyyymm"),
        outcome,
        "open_asset_pricing: signals of yyyymm explain the return of the next month",
        told,
        asset="permno",
        units=units,
        excess=excess,
        risk_free=risk_free,
        characteristics=names,
        missing=missing,
    )


def jkp(
    path: Source,
    *,
    country: str | Sequence[str],
    characteristics: Sequence[str] | None = None,
    group: str | None = None,
    missing: str = "median",
) -> Panel:
    """Panel from the Global Factor Data of Jensen, Kelly, Pedersen (2023): one row for each id and eom.

    TIMING, from their documentation: a row holds what is known at the end of the month `eom` (accounts at least four
    months after the fiscal period), and `ret_exc_lead1m` is the return over the month after it, in US dollars, in
    excess of the US bill, decimal. `ret_exc`, of the row's own month, is no characteristic here; their past returns
    (ret_1_0, ret_12_1, ...) are.

    The authors say to keep rows with obs_main, exch_main, common and primary_sec equal to 1. That is done for those
    of the four that the file has; the number of rows left out is in the panel's history.

    Parameters
    ----------
    path : file (CSV, .csv.gz, ZIP or Parquet) or frame.
    country : excntry to keep, as "USA", or several.
    characteristics : columns; where not given, every numeric column that is no identifier, flag, price, currency or
        return of the month.
    group : column with the sector, as "ff49" or "gics".
    missing : as `read_frame`.

    Returns
    -------
    Panel, monthly, raw; `size` is me, the market equity in millions of dollars at the end of eom.

    Raises
    ------
    DataError, DuplicateKeyError, LookAheadError
        Columns absent or misnamed, a country that is not there, duplicates, a return as characteristic.
    """
    needed = ("id", "eom", "excntry", "me", "ret_exc_lead1m")
    given = _named(characteristics)
    wanted = (*needed, *given, *((group,) if group else ()))
    frame = _frame(path, "id", "the JKP file", wanted)
    countries = _strings(country, "country")
    there = frame["excntry"].astype(str).unique().tolist()
    absent = [name for name in countries if name not in there]
    if absent:
        raise DataError(f"country must be in excntry: {first_three(absent)} is not among {', '.join(sorted(there))}.")
    returns = {name for name in _JKP_OTHER if name.startswith("ret")}
    ahead = [name for name in given if name in returns or (name.startswith("ret") and _LATER.search(name))]
    if ahead:
        raise LookAheadError(
            f"{first_three(ahead)} are returns of the month or of the next, no characteristics. The past return is "
            "ret_1_0."
        )
    keep = frame["excntry"].astype(str).isin(countries)
    line = f"jkp: {', '.join(countries)} has {keep.sum():,} of {len(frame):,} rows"
    for screen in _JKP_SCREENS:
        if screen in frame:
            fewer = keep & (frame[screen] == 1).fillna(False).to_numpy(bool)  # a missing flag is no 1
            line += f", {(keep & ~fewer).sum():,} left out for {screen}"
            keep = fewer
    if not keep.any():
        raise DataError(f"some row must pass the authors' screens ({', '.join(_JKP_SCREENS)} equal to 1): {line}.")
    frame = frame[keep]
    numeric = frame.select_dtypes("number").columns
    names = given or _all(name for name in numeric if name not in _JKP_OTHER and name != group)
    kept = dict.fromkeys(["me", *names, *((group,) if group else ())])
    ids, month = _ids(frame["id"], "id"), _months(frame["eom"], "eom")
    _once(ids, month)
    return _panel(
        frame[list(kept)].assign(id=ids),
        pd.Series(month, name="eom"),
        frame["ret_exc_lead1m"],
        line,
        (),
        asset="id",
        units="decimal",
        excess=True,
        characteristics=names,
        size="me",
        group=group,
        missing=missing,
    )


def dixon_polson(
    x: Source,
    y: Source,
    *,
    asset: str,
    lag: int,
    units: str,
    excess: bool,
    risk_free: pd.Series | None = None,
    fillers: str | None = None,
    missing: str = "median",
) -> Panel:
    """Panel from the two files beside the code of Dixon, Polson (2020): exposures X and returns Y.

    The files have no key: row i of X belongs to row i of Y. Where both have a date, or the asset, these must agree in
    every row. `X_small.csv` has six factors and date, `Y_small.csv` has xs_return and date, 218 stocks a month and no
    name for them; `X_new.csv` has SecurityID, the factors and dummies, `Y_new.csv` date and the return.

    TIMING: a date (first of the month, 2008-02-01) labels the month of the return: the returns of stocks without data
    in Y_small are minus the index's return of that very month. What the exposures knew is not stated: say `lag`. That
    Y_small is in excess of an index, and that the paper's larger file holds three-month returns, are for you to weigh
    before saying `excess`.

    Parameters
    ----------
    x, y : files or frames.
    asset : column with the stock's name (in X or Y), or "position": the place within the month names the stock, for
        months that all have the same number of rows.
    lag : age of the exposures in months: 0 if they were known before the month of their date began, 1 if they came
        about in it and are used for the next.
    units, excess, risk_free, missing : as `gkx`.
    fillers : stocks without data are rows whose exposures repeat one another exactly (X_small has dozens a month). Say
        "drop" (the stock is then absent in that month) or "keep" where three or more do.

    Returns
    -------
    Panel, monthly, raw.

    Raises
    ------
    AlignmentError
        X and Y have different numbers of rows, or disagree on a date or an asset.
    DataError
        No date, several returns, or months of different length under "position".
    """
    if not isinstance(asset, str) or asset == "date":
        raise DataError(f'asset must be a column that names stocks, or "position": found {asset!r}.')
    if fillers not in (None, "drop", "keep"):
        raise DataError(f'fillers must be "drop" or "keep": found {fillers!r}.')
    exposures, outcome = (
        read_table(one, text=(asset,)) if not isinstance(one, pd.DataFrame) else one for one in (x, y)
    )
    exposures, outcome = exposures.reset_index(drop=True), outcome.reset_index(drop=True)
    _agree(exposures, outcome, asset)
    both = pd.concat([exposures, outcome.drop(columns=[c for c in outcome if c in exposures])], axis="columns")
    require_columns(both.columns, ("date", *(() if asset == "position" else (asset,))), "X or Y")
    named = [name for name in outcome if name not in ("date", asset, "SecurityID")]
    if len(named) != 1:
        raise DataError(f"Y must have one return beside date and asset: found {first_three(named)}.")
    names = tuple(str(name) for name in exposures if name not in ("date", asset, "SecurityID"))
    month = _months(both["date"], "date")
    if asset == "position":
        counts = np.unique(month, return_counts=True)[1]
        if np.unique(counts).size > 1:
            raise DataError(
                "under asset='position' all months must have the same number of rows: found "
                f"{counts.min()} to {counts.max()}."
            )
        labels = pd.Series(month).groupby(month).cumcount().map("{:04d}".format).to_numpy()
    else:
        labels = _ids(both[asset], asset)
    keys = both[list(names)].assign(_month=month)
    copies = (keys.groupby(list(keys), dropna=False)["_month"].transform("size") >= _FEWEST_FILLERS).to_numpy()
    if copies.any() and fillers is None:
        cells = [(str(both["date"][row]), labels[row]) for row in np.flatnonzero(copies)]
        raise DataError(
            f"stocks of a month must differ: the exposures of {first_three(cells)} repeat those of others exactly. "
            'Usually they stand for stocks without data. Say fillers="drop" or fillers="keep".'
        )
    known = pd.Series(month - 1, name="the month before date")
    data = both[[*names]].assign(**{asset: labels})
    earned = pd.Series(both[named[0]])
    line = "dixon_polson: a date labels the month of the return"
    if fillers == "drop":
        data, known, earned = data[~copies], known.loc[~copies], earned.loc[~copies]
        line += f"; {copies.sum():,} filler rows left out"
    return _panel(
        data,
        known,
        earned,
        line,
        (),
        asset=asset,
        lag=lag,
        units=units,
        excess=excess,
        risk_free=risk_free,
        characteristics=names,
        missing=missing,
    )


def _agree(x: pd.DataFrame, y: pd.DataFrame, asset: str) -> None:
    """Row i of both files is the same stock and month, as far as they say."""
    if len(x) != len(y):
        raise AlignmentError(
            f"row i of X belongs to row i of Y, so both must have as many: found {len(x):,} and {len(y):,}. Usually "
            "one was filtered or cut off."
        )
    for name in dict.fromkeys(("date", asset, "SecurityID")):
        if name in x and name in y:
            left, right = (_months(one[name], name) if name == "date" else _ids(one[name], name) for one in (x, y))
            apart = np.flatnonzero(left != right)
            if apart.size:
                cells = [(f"row {row}", x[name].iloc[row], y[name].iloc[row]) for row in apart]
                raise AlignmentError(
                    f"row i of X belongs to row i of Y, so {name!r} must be the same: found {first_three(cells)}. "
                    "Usually one was sorted."
                )


def _panel(
    data: pd.DataFrame,
    known: pd.Series,
    outcome: pd.Series,
    line: str,
    odd: tuple[str, ...],
    *,
    asset: str,
    characteristics: tuple[str, ...],
    lag: int = 0,
    size: str | None = None,
    **told: object,
) -> Panel:
    """`read_frame` of rows that are dated by what they know, each with the return of the month after.

    `known` (month) and `outcome` are row by row those of `data`; messages call them by their names.
    """
    time, returns = str(known.name), str(outcome.name)
    if not characteristics:
        raise DataError("a panel needs at least one characteristic: no column is left. Name some.")
    taken = [name for name in characteristics if name in (time, returns, asset)]
    if taken:
        raise LookAheadError(
            f"characteristics must be other columns than the asset, the date and the return to be explained: found "
            f"{first_three(taken)}. Leave them out."
        )
    _refuse_codes(data, dict.fromkeys((*characteristics, *((size,) if size else ()))))
    ends = (known.to_numpy() + 1).astype("datetime64[M]").astype("datetime64[D]") - np.timedelta64(1, "D")
    panel = read_frame(
        data.assign(**{time: ends.astype("datetime64[ns]"), returns: outcome.to_numpy()}),
        time=time,
        asset=asset,
        returns=returns,
        returns_over="next",
        lag=lag,
        frequency="monthly",
        characteristics=list(characteristics),
        size=size,
        **told,  # type: ignore[arg-type]
    )
    for message in odd:
        warnings.warn(message, DataWarning, stacklevel=3)
    return panel._noted((line, *panel.history), (*odd, *panel.warnings))


def _frame(path: Source, asset: str, layout: str, wanted: Sequence[str], only: bool = False) -> pd.DataFrame:
    """The file as a frame that has the columns, or `only` these."""
    columns = list(dict.fromkeys(wanted))
    if isinstance(path, pd.DataFrame):
        levels = [name for name in path.index.names if name in wanted]
        frame = path.reset_index(level=levels).reset_index(drop=True)
        repeated = frame.columns[frame.columns.duplicated()]
        if len(repeated):
            raise DuplicateKeyError(f"column names must be unique: repeated {first_three(repeated)}.")
    else:
        frame = read_table(path, text=(asset,), columns=columns if only else None)
    require_columns(frame.columns, columns, layout)
    if frame.empty:
        raise DataError(f"{layout} must have rows: found none.")
    return frame[columns] if only else frame


def _named(characteristics: Sequence[str] | None) -> tuple[str, ...]:
    if characteristics is None:
        return ()
    names = _strings(characteristics, "characteristics")
    repeated = [name for position, name in enumerate(names) if name in names[:position]]
    if repeated:
        raise DuplicateKeyError(f"characteristics must be named once: repeated {first_three(repeated)}.")
    return names


def _strings(given: object, what: str) -> tuple[str, ...]:
    """One text, or several."""
    texts = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, Iterable) else ()
    if not texts or not all(isinstance(one, str) for one in texts):
        raise DataError(f"{what} must be one text or several, such as those in the file: found {given!r}.")
    return tuple(str(one) for one in texts)


def _all(columns: Iterable[object]) -> tuple[str, ...]:
    """Every column that is left, where none were named."""
    names = tuple(str(name) for name in columns)
    if numbers := [name for name in names if _ROW_NUMBERS.fullmatch(name)]:
        raise DataError(
            f"characteristics must be named where the file has columns of row numbers: found {first_three(numbers)}. "
            "Drop these, or say what you want: characteristics=[...]."
        )
    if later := [name for name in names if _LATER.search(name)]:
        raise LookAheadError(
            f"characteristics must be known at the end of their month: {first_three(later)} are named as what comes "
            "after. Drop them, or say what you want: characteristics=[...]."
        )
    return names


def _ids(column: pd.Series, name: str) -> np.ndarray:
    """Identifiers as text, row by row; text 10001.0, a whole number that was once written as a float, is 10001."""
    labels, codes = as_labels(column, name, required=True)
    return pd.Series(labels).str.strip().str.replace(r"^(\d+)\.0+$", r"\1", regex=True).to_numpy(dtype=str)[codes]


def _once(assets: pd.Series | np.ndarray, months: np.ndarray) -> None:
    """Refuse a stock that has two rows of one month, by the months of the file."""
    index = pd.MultiIndex.from_arrays([assets, months])
    again = index.duplicated()
    if again.any():
        cells = [(_show(month), asset) for asset, month in index[again]]
        raise DuplicateKeyError(
            f"each (month, asset) must come once: repeated {first_three(cells)}. Usually a table given twice, data of "
            "a higher frequency, or two share classes under one name."
        )


def _months(column: pd.Series, name: str) -> np.ndarray:
    """Whole-number months."""
    return Calendar("monthly").ordinals(parse_dates(column, name))


def _at(values: pd.Series, assets: pd.Series, months: np.ndarray, wanted: pd.Series, when: np.ndarray) -> np.ndarray:
    """Values of the same asset at other months, by label; missing where there is none."""
    table = pd.Series(values.to_numpy(), index=pd.MultiIndex.from_arrays([assets, months]))
    return table.reindex(pd.MultiIndex.from_arrays([wanted, when])).to_numpy()


def _show(month: int) -> str:
    return str(np.datetime64(int(month), "M"))


def _joined(
    returns: pd.Series | pd.DataFrame, permno: pd.Series | np.ndarray, month: np.ndarray
) -> tuple[pd.Series, tuple[str, ...]]:
    """Returns of the months, by permno and month; and what one should know about the join."""
    if not isinstance(returns, pd.Series | pd.DataFrame):
        raise DataError(
            f"returns must be a Series or a frame, joined by permno and date: found {type(returns).__name__}."
        )
    frame = returns.to_frame("returns") if isinstance(returns, pd.Series) else returns
    both = [name for name in frame.index.names if name is not None and name in frame.columns]
    if both:
        raise DataError(f"a name must mean one thing: {both} is both an index level and a column of returns. Drop one.")
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    columns = [str(name) for name in frame.columns]
    if len(set(columns)) < len(columns):
        raise DuplicateKeyError(f"column names of returns must be unique: found {', '.join(columns)}.")
    if frame.empty:
        raise DataError("returns must have rows: found none.")
    frame = frame.set_axis(columns, axis="columns")
    require_columns(frame.columns, ("permno",), "returns")
    dates = [name for name in columns if name.lower() in ("date", "time", "yyyymm", "month", "eom", "mthcaldt")]
    rest = [name for name in columns if name not in (*dates, "permno")]
    if len(dates) != 1 or len(rest) != 1:
        raise DataError(
            "returns must have permno, one date (date, time, month, yyyymm, eom) and one return: found "
            f"{', '.join(columns)}. Select them: returns[['permno', 'date', 'ret']]."
        )
    column = frame[rest[0]]
    numbers = pd.to_numeric(column, errors="coerce")
    letters = (numbers.isna() & column.notna()).to_numpy()
    if letters.any():
        cells = [
            (frame[dates[0]].iloc[row], frame["permno"].iloc[row], column.iloc[row]) for row in np.flatnonzero(letters)
        ]
        raise DataError(
            f"returns must be numbers: found {first_three(cells)}. CRSP writes B and C for missing returns: "
            "make them NaN."
        )
    assets, months = pd.Series(_ids(frame["permno"], "permno")), _months(frame[dates[0]], dates[0])
    _once(assets, months)
    wanted = pd.Series(permno)
    values = _at(numbers.astype(float), assets, months, wanted, month)
    table = pd.MultiIndex.from_arrays([assets, months])
    unused = ~table.isin(pd.MultiIndex.from_arrays([wanted, month]))
    if unused.all():
        raise AlignmentError(
            f"returns and characteristics must have stocks and months in common: none of {len(frame):,} returns "
            f"({assets.iloc[:1].tolist()}, {_show(months.min())} to {_show(months.max())}) meets one of "
            f"{len(wanted):,} rows ({wanted.iloc[:1].tolist()}, returns wanted of {_show(month.min())} to "
            f"{_show(month.max())})."
        )
    message = f"{unused.sum():,} of {len(frame):,} returns have no row of characteristics and are not used."
    return pd.Series(values, name="returns"), (message,) if unused.any() else ()


def _refuse_codes(data: pd.DataFrame, names: Iterable[str]) -> None:
    """Refuse a missing code: the least value of a column, and below 0 where nothing else is, or far from all others."""
    for name in names:
        column = data[name]
        if not pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_complex_dtype(column.dtype):
            continue
        values = column.to_numpy(dtype=float, na_value=np.nan)
        codes = coded(values)
        rest = values[~codes & ~np.isnan(values)]
        if not codes.any() or not rest.size:
            continue
        code = values[codes].max()
        if rest.min() >= 0 or rest.min() - code > max(np.ptp(rest), 1.0):
            rows = first_three(f"row {row}" for row in np.flatnonzero(codes))
            raise DataError(
                f"column {name!r} must be NaN where it is missing: it is {code:g} in {rows}, all else lies in "
                f"{rest.min():.4g} to {rest.max():.4g}. Usually a missing code: replace it by NaN."
            )
