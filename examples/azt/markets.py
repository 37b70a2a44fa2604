"""The two data sets of the study: assets and months to learn from, and assets and months never learned from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import bayesfactor as bf
from examples.common import data

LEARNED, UNSEEN = "learned from", "never learned from"
LATER = "later"
SORTS = {"SZBM": "25 size x value", "SZOP": "25 size x profitability", "IND49": "49 industries"}  # never learned from
EVERY = 3  # each third stock of the embedded panel is never learned from


class Part(NamedTuple):
    """Assets in some months.

    Attributes
    ----------
    assets : a name.
    role : of the assets, `LEARNED` or `UNSEEN`.
    months : `LEARNED` or `LATER`.
    panel : with benchmarks.
    """

    assets: str
    role: str
    months: str
    panel: bf.Panel


class Market(NamedTuple):
    """One data set, returns in decimal per month, in excess of the bill.

    Attributes
    ----------
    name, title, about : a word for files, a title, and what it is.
    assets : a name of those learned from.
    learned, later : they, sorted and fitted, in the months learned from and those after; benchmarks joined, the market
        first.
    unseen : by name, other assets in the same months.
    """

    name: str
    title: str
    about: str
    assets: str
    learned: bf.Panel
    later: bf.Panel
    unseen: dict[str, tuple[bf.Panel, bf.Panel]]

    def parts(self) -> Iterator[Part]:
        """What the fits are judged on, what they have learned from first."""
        yield Part(self.assets, LEARNED, LEARNED, self.learned)
        yield Part(self.assets, LEARNED, LATER, self.later)
        for name, panels in self.unseen.items():
            for months, panel in zip((LEARNED, LATER), panels, strict=True):
                yield Part(name, UNSEEN, months, panel)


def embedded(later: str = "2016-10") -> Market:
    """The embedded panel: two thirds of its stocks are learned from, in 16 of its 22 months."""
    raw, factors = data.us_equities()
    panel = raw.rank_normalise().join_benchmark(factors, units="decimal", excess=True)
    names = panel.data["asset"].values
    unseen = names[::EVERY]
    learned = [name for name in names if name not in set(unseen)]
    return Market(
        "embedded",
        f"500 US stocks, {_span(panel)}",
        "`bf.datasets.us_equities()`: the 500 largest stocks of each month, 27 characteristics; benchmarks are MKT, "
        "SMB and HML of its own value-weighted sorts, of all stocks. Of every three tickers two are learned from, "
        f"before {later}; the third never is, nor are later months.",
        "stocks",
        *panel.sel(asset=learned).split(later),
        {"other stocks": panel.sel(asset=list(unseen)).split(later)},
    )


def french(folder: Path, since: str | None = None, later: str = "1995-01") -> Market:
    """Ken French's portfolios as stocks; `folder` holds `panels` and `french_raw`.

    Parameters
    ----------
    folder : of the files.
    since : first month learned from; the first there is if None.
    later : first month never learned from.
    """
    panel = data.french_panel(folder).rank_normalise()
    factors, _ = data.french_factors(folder, panel.times)
    panel = panel.join_benchmark(factors, units="decimal", excess=True)
    panel = panel if since is None else panel.sel(time=slice(since, None))
    sorts = {str(name): str(name).split("|")[0] for name in panel.data["asset"].values}
    learned = [name for name, sort in sorts.items() if sort not in SORTS]
    unseen = {SORTS[sort]: [name for name in sorts if sorts[name] == sort] for sort in SORTS}
    return Market(
        "french",
        f"Ken French's portfolios, {_span(panel)}",
        f"{len(learned)} portfolios (seven sorts on size and one other characteristic) are the stocks, with "
        f"{len(panel.characteristics)} characteristics; benchmarks are FF3. Never learned from are "
        f"{_and(list(unseen))}, and the months from {later} on.",
        f"{len(learned)} portfolios",
        *panel.sel(asset=learned).split(later),
        {name: panel.sel(asset=assets).split(later) for name, assets in unseen.items()},
    )


def _span(panel: bf.Panel) -> str:
    return f"{panel.times[0]:%Y-%m} to {panel.times[-1]:%Y-%m}"


def _and(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
