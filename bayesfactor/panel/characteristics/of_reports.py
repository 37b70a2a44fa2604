"""Definitions from fundamentals. One entry is one characteristic: words and a function of what was known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bayesfactor.panel.characteristics.definitions import ReportDefinition, ratio
from bayesfactor.panel.characteristics.known import Known

REPORT_ITEMS = {
    "assets": "total assets, at the fiscal period's end",
    "book_equity": "common shareholders' equity, at the end",
    "capex": "capital expenditure over the period, positive",
    "cash": "cash and short-term investments, at the end",
    "cost_of_goods": "cost of goods sold over the period",
    "current_assets": "at the end",
    "current_liabilities": "at the end",
    "debt": "short- and long-term debt, at the end",
    "depreciation": "depreciation and amortisation over the period",
    "dividends": "dividends on common stock over the period, positive",
    "employees": "number, at the end",
    "inventory": "at the end",
    "liabilities": "total liabilities, at the end",
    "net_income": "income before extraordinary items over the period",
    "operating_cash_flow": "cash flow from operations over the period",
    "operating_income": "income after operating costs, before interest and taxes, over the period",
    "ppe": "property, plant and equipment, net of depreciation, at the end",
    "repurchases": "purchases of common stock over the period, positive",
    "research": "research and development expense over the period",
    "sales": "revenue over the period",
    "taxes": "income tax expense over the period",
}
FEWEST_SURPRISES, MOST_SURPRISES = 6, 8

_REPORT, _TWO_REPORTS, _YEAR = "newest report", "newest report and the one before", "four quarters"
_YEAR_AND_BEFORE = "four quarters and the report before them"
_YEAR_AGO, _TWO_YEARS = "newest report and the one a year before", "four quarters and the four before"


def _of(
    name: str,
    formula: str,
    inputs: str,
    window: str,
    source: str,
    compute: Callable[[Known], np.ndarray],
    *,
    least: int | None = None,
    units: str = "ratio",
    quarterly: bool = False,
) -> ReportDefinition:
    fewest = {_REPORT: 1, _TWO_REPORTS: 2, _YEAR: 4, _YEAR_AND_BEFORE: 5, _YEAR_AGO: 2, _TWO_YEARS: 8}
    return ReportDefinition(
        name=name,
        formula=formula,
        inputs=tuple(inputs.split()),
        window=window,
        least=fewest[window] if least is None else least,
        units=units,
        source=source,
        compute=compute,
        quarterly=quarterly,
    )


def _year_before(k: Known, flow: np.ndarray) -> np.ndarray:
    """A flow relative to assets a year before."""
    return ratio(flow, k.at("assets", 12))


def _increases(k: Known) -> np.ndarray:
    """Quarters in a row, up to eight and back from the newest, with more income than a year before."""
    run, going = np.zeros(k.latest.size), np.ones(k.latest.size, bool)
    for quarter in range(MOST_SURPRISES):
        going &= k.change("net_income", 3 * quarter) > 0
        run += going
    return np.where(np.isnan(k.change("net_income")), np.nan, run)


def _standardised(k: Known, item: str) -> np.ndarray:
    """A surprise over the standard deviation of the eight before it, of which six must be known."""
    past = np.stack([k.change(item, 3 * quarter) for quarter in range(1, MOST_SURPRISES + 1)])
    known = ~np.isnan(past)
    count = known.sum(axis=0)
    mean = ratio(np.where(known, past, 0.0).sum(axis=0), count)
    variance = ratio((np.where(known, past - mean, 0.0) ** 2).sum(axis=0), count - 1)
    return np.where(count >= FEWEST_SURPRISES, ratio(k.change(item), np.sqrt(variance)), np.nan)


def _operating_assets(k: Known, months: int = 0) -> np.ndarray:
    assets, cash, liabilities, debt = (k.at(item, months) for item in ("assets", "cash", "liabilities", "debt"))
    return assets - cash - liabilities + debt


REPORT_DEFINITIONS = (
    # Value
    _of(
        "bm",
        "book equity / market equity",
        "book_equity market_equity",
        _REPORT,
        "Rosenberg, Reid, Lanstein (1985); Fama, French (1992)",
        lambda k: k.to_price(k.at("book_equity")),
    ),
    _of(
        "ep",
        "net income / market equity",
        "net_income market_equity",
        _YEAR,
        "Basu (1983)",
        lambda k: k.to_price(k.year("net_income")),
    ),
    _of(
        "sp",
        "sales / market equity",
        "sales market_equity",
        _YEAR,
        "Barbee, Mukherji, Raines (1996)",
        lambda k: k.to_price(k.year("sales")),
    ),
    _of(
        "cfp",
        "operating cash flow / market equity",
        "operating_cash_flow market_equity",
        _YEAR,
        "Desai, Rajgopal, Venkatachalam (2004)",
        lambda k: k.to_price(k.year("operating_cash_flow")),
    ),
    _of(
        "divy",
        "dividends / market equity",
        "dividends market_equity",
        _YEAR,
        "Litzenberger, Ramaswamy (1979)",
        lambda k: k.to_price(k.year("dividends")),
    ),
    _of(
        "payout",
        "(dividends + repurchases) / market equity",
        "dividends repurchases market_equity",
        _YEAR,
        "Boudoukh, Michaely, Richardson, Roberts (2007)",
        lambda k: k.to_price(k.year("dividends") + k.year("repurchases")),
    ),
    _of(
        "rdm",
        "research / market equity",
        "research market_equity",
        _YEAR,
        "Chan, Lakonishok, Sougiannis (2001)",
        lambda k: k.to_price(k.year("research")),
    ),
    _of(
        "lev_me",
        "liabilities / market equity",
        "liabilities market_equity",
        _REPORT,
        "Bhandari (1988)",
        lambda k: k.to_price(k.at("liabilities")),
    ),
    # Profitability and efficiency
    _of(
        "roa",
        "net income of the report / assets of the report before",
        "net_income assets",
        _TWO_REPORTS,
        "Balakrishnan, Bartov, Faurel (2010)",
        lambda k: ratio(k.at("net_income"), k.before("assets")),
        units="decimal per report",
    ),
    _of(
        "roe",
        "net income of the report / book equity of the report before",
        "net_income book_equity",
        _TWO_REPORTS,
        "Hou, Xue, Zhang (2015)",
        lambda k: ratio(k.at("net_income"), k.before("book_equity")),
        units="decimal per report",
    ),
    _of(
        "gp",
        "(sales - cost of goods) / assets",
        "sales cost_of_goods assets",
        _YEAR,
        "Novy-Marx (2013)",
        lambda k: ratio(k.year("sales") - k.year("cost_of_goods"), k.at("assets")),
    ),
    _of(
        "opm",
        "operating income / sales",
        "operating_income sales",
        _YEAR,
        "Haugen, Baker (1996)",
        lambda k: ratio(k.year("operating_income"), k.year("sales")),
    ),
    _of(
        "pm",
        "net income / sales",
        "net_income sales",
        _YEAR,
        "Haugen, Baker (1996)",
        lambda k: ratio(k.year("net_income"), k.year("sales")),
    ),
    _of(
        "ato",
        "sales / assets",
        "sales assets",
        _YEAR,
        "Haugen, Baker (1996)",
        lambda k: ratio(k.year("sales"), k.at("assets")),
    ),
    _of(
        "cfoa",
        "operating cash flow / assets",
        "operating_cash_flow assets",
        _YEAR,
        "Ball, Gerakos, Linnainmaa, Nikolaev (2016), without their adjustments",
        lambda k: ratio(k.year("operating_cash_flow"), k.at("assets")),
    ),
    _of(
        "chpm",
        "net income / sales, less the same a year before",
        "net_income sales",
        _TWO_YEARS,
        "Soliman (2008)",
        lambda k: ratio(k.year("net_income"), k.year("sales")) - ratio(k.year("net_income", 12), k.year("sales", 12)),
    ),
    _of(
        "chato",
        "sales / assets, less the same a year before",
        "sales assets",
        _TWO_YEARS,
        "Soliman (2008), of total assets, not average net operating assets",
        lambda k: ratio(k.year("sales"), k.at("assets")) - ratio(k.year("sales", 12), k.at("assets", 12)),
    ),
    # Surprises
    _of(
        "sue",
        "change of quarterly net income in a year / its standard deviation over the eight quarters before",
        "net_income",
        "up to 13 quarters",
        "Foster, Olsen, Shevlin (1984), without drift as Hou, Xue, Zhang (2015); income, not per share",
        lambda k: _standardised(k, "net_income"),
        least=5 + FEWEST_SURPRISES,
        units="standard deviations",
        quarterly=True,
    ),
    _of(
        "rsup",
        "change of quarterly sales in a year / its standard deviation over the eight quarters before",
        "sales",
        "up to 13 quarters",
        "Jegadeesh, Livnat (2006), without drift; sales, not per share",
        lambda k: _standardised(k, "sales"),
        least=5 + FEWEST_SURPRISES,
        units="standard deviations",
        quarterly=True,
    ),
    _of(
        "nincr",
        "quarters in a row with more net income than a year before, at most eight; an unknown one ends the run",
        "net_income",
        "up to 12 quarters",
        "Barth, Elliott, Finn (1999)",
        _increases,
        least=2,
        units="quarters",
        quarterly=True,
    ),
    _of(
        "chtx",
        "(taxes of the report - of the one a year before) / assets a year before",
        "taxes assets",
        _YEAR_AGO,
        "Thomas, Zhang (2011)",
        lambda k: _year_before(k, k.change("taxes")),
    ),
    # Investment and growth
    _of(
        "agr",
        "assets / assets a year before, less one",
        "assets",
        _YEAR_AGO,
        "Cooper, Gulen, Schill (2008)",
        lambda k: k.growth("assets"),
    ),
    _of(
        "egr",
        "book equity / book equity a year before, less one",
        "book_equity",
        _YEAR_AGO,
        "Richardson, Sloan, Soliman, Tuna (2005)",
        lambda k: k.growth("book_equity"),
    ),
    _of(
        "hire",
        "employees / employees a year before, less one",
        "employees",
        _YEAR_AGO,
        "Belo, Lin, Bazdresch (2014), who divide by the average of both",
        lambda k: k.growth("employees"),
    ),
    _of(
        "sgr",
        "sales / sales of the year before, less one",
        "sales",
        _TWO_YEARS,
        "Lakonishok, Shleifer, Vishny (1994)",
        lambda k: ratio(k.year("sales"), k.year("sales", 12)) - 1.0,
    ),
    _of(
        "inva",
        "(change in a year of ppe + inventory) / assets a year before",
        "ppe inventory assets",
        _YEAR_AGO,
        "Lyandres, Sun, Zhang (2008)",
        lambda k: _year_before(k, k.change("ppe") + k.change("inventory")),
    ),
    _of(
        "ik",
        "capital expenditure / ppe a year before",
        "capex ppe",
        _YEAR_AND_BEFORE,
        "Xing (2008)",
        lambda k: ratio(k.year("capex"), k.at("ppe", 12)),
    ),
    _of(
        "noa",
        "(assets - cash - liabilities + debt) / assets a year before",
        "assets cash liabilities debt",
        _YEAR_AGO,
        "Hirshleifer, Hou, Teoh, Zhang (2004)",
        lambda k: _year_before(k, _operating_assets(k)),
    ),
    _of(
        "rna",
        "operating income / (assets - cash - liabilities + debt) a year before",
        "operating_income assets cash liabilities debt",
        _YEAR_AND_BEFORE,
        "Soliman (2008)",
        lambda k: ratio(k.year("operating_income"), _operating_assets(k, 12)),
    ),
    _of(
        "debtgr",
        "change of debt in a year / assets a year before",
        "debt assets",
        _YEAR_AGO,
        "Richardson, Sloan, Soliman, Tuna (2005)",
        lambda k: _year_before(k, k.change("debt")),
    ),
    # Accruals
    _of(
        "accr",
        "(net income - operating cash flow) / assets a year before",
        "net_income operating_cash_flow assets",
        _YEAR_AND_BEFORE,
        "Sloan (1996), by assets a year before, not average; from cash flows as Hribar, Collins (2002)",
        lambda k: _year_before(k, k.year("net_income") - k.year("operating_cash_flow")),
    ),
    _of(
        "pctacc",
        "(net income - operating cash flow) / |net income|",
        "net_income operating_cash_flow",
        _YEAR,
        "Hafzalla, Lundholm, Van Winkle (2011)",
        lambda k: ratio(k.year("net_income") - k.year("operating_cash_flow"), np.abs(k.year("net_income"))),
    ),
    # Balance sheet
    _of(
        "lev",
        "liabilities / assets",
        "liabilities assets",
        _REPORT,
        "Ohlson (1980)",
        lambda k: ratio(k.at("liabilities"), k.at("assets")),
    ),
    _of(
        "curr",
        "current assets / current liabilities",
        "current_assets current_liabilities",
        _REPORT,
        "Ou, Penman (1989)",
        lambda k: ratio(k.at("current_assets"), k.at("current_liabilities")),
    ),
    _of(
        "quick",
        "(current assets - inventory) / current liabilities",
        "current_assets inventory current_liabilities",
        _REPORT,
        "Ou, Penman (1989)",
        lambda k: ratio(k.at("current_assets") - k.at("inventory"), k.at("current_liabilities")),
    ),
    _of(
        "casha",
        "cash / assets",
        "cash assets",
        _REPORT,
        "Palazzo (2012)",
        lambda k: ratio(k.at("cash"), k.at("assets")),
    ),
    _of(
        "cashdebt",
        "operating cash flow / liabilities",
        "operating_cash_flow liabilities",
        _YEAR,
        "Ou, Penman (1989), of cash flow over liabilities at the end, not average",
        lambda k: ratio(k.year("operating_cash_flow"), k.at("liabilities")),
    ),
    _of(
        "depr",
        "depreciation / ppe",
        "depreciation ppe",
        _YEAR,
        "Holthausen, Larcker (1992)",
        lambda k: ratio(k.year("depreciation"), k.at("ppe")),
    ),
    _of(
        "rds",
        "research / sales",
        "research sales",
        _YEAR,
        "Guo, Lev, Shi (2006)",
        lambda k: ratio(k.year("research"), k.year("sales")),
    ),
    _of(
        "log_assets",
        "log of assets",
        "assets",
        _REPORT,
        "Gandhi, Lustig (2015)",
        lambda k: np.log(k.at("assets"), out=np.full(k.latest.size, np.nan), where=k.at("assets") > 0),
        units="log of currency",
    ),
)
