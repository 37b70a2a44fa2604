"""The two data sets of the study: stocks that are sorted, assets to learn from, assets never learned from."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pandas as pd

import bayesfactor as bf
from examples.common import data

THREE, MARKET = "three factors", "market"
ON_SIZE = ("bm", "roe", "inva", "rev_1m")  # each sorted with size: 24 portfolios to learn from
ALONE = ("ep", "vol_1m", "turn", "lev", "cfoa")  # sorted by themselves: 25 portfolios never learned from
LARGEST = 30
LEARNED, SECOND, INDUSTRIES = "SZBM", "SZOP", "IND49"  # prefixes of portfolios that stocks must not be


class Market(NamedTuple):
    """One data set, returns in decimal per month, in excess of the bill.

    Attributes
    ----------
    name, title, about : a word for files, a title, and what it is.
    panels : by benchmark model, the months learned from, with benchmarks and the assets learned from joined.
    later : alike, the months after; None where all months are learned from.
    raw : characteristics before they were ranked, all months.
    benchmarks : (time, factor) by name of the benchmark model.
    train : name of the assets learned from.
    assets : (time, asset) by name.
    anomalies : (time, characteristic), long-short portfolios of single characteristics.
    size, value : characteristics of figure 8.
    covariance : `residual_covariance` of the model.
    """

    name: str
    title: str
    about: str
    panels: dict[str, bf.Panel]
    later: dict[str, bf.Panel] | None
    raw: bf.Panel
    benchmarks: dict[str, pd.DataFrame]
    train: str
    assets: dict[str, pd.DataFrame]
    anomalies: pd.DataFrame
    size: str
    value: str
    covariance: str


def embedded() -> Market:
    """The embedded panel: 500 stocks, 22 months, benchmarks and portfolios of its own sorts, all value-weighted."""
    raw, factors = data.us_equities()
    learned = [_sorted(raw, ("log_me", name), (2, 3)) for name in ON_SIZE]
    stocks = bf.metrics.realised_returns(raw).to_pandas()
    first = raw.data["size"].isel(time=0).to_series().nlargest(LARGEST).index
    assets = {
        "bivariate sorts": pd.concat(learned, axis=1),
        "univariate sorts": pd.concat([_sorted(raw, name, 5) for name in ALONE], axis=1),
        "largest stocks": stocks[first].loc[factors.index],
    }
    panels = _joined(raw.rank_normalise(), factors, assets["bivariate sorts"])
    return Market(
        "embedded",
        "500 US stocks, 2015-06 to 2017-03",
        "`bf.datasets.us_equities()`: the 500 largest stocks of each month, 27 characteristics. Benchmarks and "
        f"portfolios are its own sorts, value-weighted: learned from are size (2) by {', '.join(ON_SIZE)} (3); never "
        f"learned from are quintiles of {', '.join(ALONE)}, and the {LARGEST} stocks that were largest in the first "
        "month. All months are learned from: none is left to judge by.",
        panels,
        None,
        raw,
        {THREE: factors, MARKET: factors[["MKT"]]},
        "bivariate sorts",
        assets,
        _anomalies(raw, [name for name in raw.characteristics if name != "divy"], weights="value", size_in="log"),
        "log_me",
        "bm",
        "factors",
    )


def french(folder: Path, later: str = "1995-01") -> Market:
    """Ken French's portfolios as stocks and as test assets; `folder` holds `panels` and `french_raw`.

    Portfolios that are priced are left out of those that are sorted, so that no return is on both sides.
    """
    raw = data.french_panel(folder, without=(LEARNED, SECOND, INDUSTRIES))
    factors, riskless = data.french_factors(folder, raw.times)
    names = {
        "25 size x value": "25_Portfolios_5x5__*.csv",
        "25 size x profitability": "25_Portfolios_ME_OP_5x5__*.csv",
        "49 industries": "49_Industry_Portfolios__*.csv",
    }
    assets = {}
    for name, pattern in names.items():
        path = data.only(folder / "french_raw", pattern)
        returns = bf.readers.ken_french(path)["Average Value Weighted Returns -- Monthly"]
        excess = returns.portfolio_returns().sub(riskless, axis=0).reindex(factors.index)
        excess.attrs = {"units": "decimal", "excess": True}
        assets[name] = excess
    panels = _joined(raw.rank_normalise(), factors, assets["25 size x value"])
    months = {name: panel.split(later) for name, panel in panels.items()}
    return Market(
        "french",
        f"Ken French's portfolios, {raw.times[0]:%Y-%m} to {raw.times[-1]:%Y-%m}",
        f"{raw.data.sizes['asset']} portfolios (seven sorts on size and one other characteristic) are the stocks, with "
        f"{len(raw.characteristics)} characteristics; benchmarks are FF3. Learned from are 25 portfolios on size and "
        f"book-to-market; never learned from 25 on size and profitability, and 49 industries: none is among the "
        f"stocks. Factors are learned until {later} and judged on the months after too.",
        {name: both[0] for name, both in months.items()},
        {name: both[1] for name, both in months.items()},
        raw,
        {THREE: factors, MARKET: factors[["Mkt-RF"]]},
        "25 size x value",
        assets,
        _anomalies(raw, list(raw.characteristics)),
        "log_me",
        "bm",
        "full",
    )


def _joined(panel: bf.Panel, factors: pd.DataFrame, assets: pd.DataFrame) -> dict[str, bf.Panel]:
    """The panel with each benchmark model and the assets to learn from."""
    models = {THREE: factors, MARKET: factors.iloc[:, :1]}
    return {
        name: panel.join_benchmark(model, units="decimal", excess=True).join_portfolios(
            assets, units="decimal", excess=True
        )
        for name, model in models.items()
    }


def _sorted(raw: bf.Panel, by: str | tuple[str, ...], quantiles: int | tuple[int, ...]) -> pd.DataFrame:
    portfolios = bf.sorts.sort_portfolios(raw, by, quantiles, weights="value", size_in="log", min_assets=5)
    return portfolios.returns.to_pandas().dropna()


def _anomalies(raw: bf.Panel, names: list[str], weights: str = "equal", size_in: str | None = None) -> pd.DataFrame:
    """Highest less lowest fifth of each characteristic."""
    columns = {}
    for name in names:
        fifths = bf.sorts.sort_portfolios(raw, name, 5, weights=weights, size_in=size_in, max_thin=1.0)
        columns[name] = fifths.long_short.sel(characteristic=name).to_pandas()
    return pd.DataFrame(columns).dropna(how="all")
