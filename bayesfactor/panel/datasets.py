"""Data that come with the package."""

from __future__ import annotations

from importlib.resources import as_file, files

import pandas as pd

from bayesfactor.panel.panel import Panel
from bayesfactor.panel.reading import read_frame

_FOLDER = files("bayesfactor.panel") / "data"


def us_equities(prepared: bool = True) -> Panel:
    """The 500 largest US stocks of each month, 2015-06 to 2017-03, and the live month 2017-04.

    27 accounting and price characteristics, known before each month; returns in decimal per month, in excess
    of the one-month bill. Firms that stop trading stay in until they do. Accounting figures are as filed, and
    errors of scale are left in: rank them. 22 months are enough to show every feature and far too few to
    decide between models.

    THE LIVE MONTH: the source ends with characteristics of 2017-02. The rows dated 2017-03 that make 2017-04
    a forecast CARRY FORWARD each stock's characteristics of 2017-02, except `rev_1m`, which is the known
    return of March. They are marked by the column `carried` of `us_equities_frame`.

    Made from the pystock panel (eliangcs/pystock-data), licence CC BY-SA 4.0: attribution, changes and
    licence are beside the file, in us_equities.md and LICENSE-us_equities.

    Parameters
    ----------
    prepared : ranks by month (`rank_normalise`), or raw characteristics.

    Returns
    -------
    Panel, monthly, 23 months.
    """
    frame = us_equities_frame()
    characteristics = [name for name in frame.columns if name not in ("date", "asset", "xret_next", "carried")]
    panel = read_frame(
        frame,
        time="date",
        asset="asset",
        returns="xret_next",
        returns_over="next",
        lag=0,
        units="decimal",
        excess=True,
        characteristics=characteristics,
        size="log_me",
    )
    return panel.rank_normalise() if prepared else panel


def us_equities_frame() -> pd.DataFrame:
    """The embedded file as it is: one row for each month end and stock.

    Returns
    -------
    DataFrame with columns date (month end t), asset (ticker), xret_next (excess return over month t + 1, decimal;
    missing in the live rows), carried (True in the live rows), and raw characteristics known at t.
    """
    with as_file(_FOLDER / "us_equities.parquet") as path:
        return pd.read_parquet(path)
