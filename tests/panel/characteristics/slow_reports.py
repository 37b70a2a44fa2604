"""Characteristics from reports, one (date, asset) at a time, from the words of the definitions."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

NAN = math.nan
ITEMS = [
    "assets", "book_equity", "capex", "cash", "cost_of_goods", "current_assets", "current_liabilities", "debt",
    "depreciation", "dividends", "employees", "inventory", "liabilities", "net_income", "operating_cash_flow",
    "operating_income", "ppe", "repurchases", "research", "sales", "taxes",
]  # fmt: skip


def filings(seed: int = 0, n_assets: int = 6, n_quarters: int = 22, step: int = 3) -> pd.DataFrame:
    """Quarterly (or annual) reports: late ones, restated ones, missing ones, fiscal years of 52 weeks."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n_assets):
        ends = pd.date_range("2010-01-31", periods=n_quarters, freq=f"{step}ME") + pd.DateOffset(months=i % 3)
        ends = ends + pd.offsets.MonthEnd(0)
        for q, end in enumerate(ends):
            if rng.random() < 0.04:
                continue
            if i == 5:
                end = end + pd.Timedelta(days=int(rng.integers(-6, 8)))  # noqa: PLW2901  the nearest Saturday, say
            filed = end + pd.Timedelta(days=int(rng.choice([30, 45, 200], p=[0.5, 0.45, 0.05])))
            for version in range(1 + (rng.random() < 0.25)):
                scale = 1e8 * (1 + 0.02 * q)
                values = dict(zip(ITEMS, scale * rng.lognormal(0, 0.4, len(ITEMS)), strict=True))
                values["net_income"] *= 0.1 * rng.standard_normal()
                values["book_equity"] *= rng.choice([1, -1], p=[0.95, 0.05])
                for item in ITEMS:
                    if rng.random() < 0.01:
                        values[item] = NAN
                when = filed + pd.Timedelta(days=version * int(rng.integers(1, 400)))
                rows.append({"gvkey": f"G{i}", "end": end, "filed": when, "fq": q % 4 + 1, **values})
    return pd.DataFrame(rows).sample(frac=1, random_state=seed).reset_index(drop=True)


def wanted(seed: int = 0, n_assets: int = 6) -> pd.DataFrame:
    """Rows by month end, ragged, with market equity."""
    rng = np.random.default_rng(seed)
    dates = pd.date_range("2010-01-31", "2017-06-30", freq="ME")
    cells = [(date, f"G{i}") for date in dates for i in range(n_assets) if rng.random() < 0.9]
    frame = pd.DataFrame(cells, columns=["date", "asset"])
    frame["market_equity"] = 1e9 * rng.lognormal(0, 0.5, len(frame))
    frame.loc[rng.random(len(frame)) < 0.02, "market_equity"] = NAN
    return frame.sample(frac=1, random_state=seed)


def fiscal(end: pd.Timestamp) -> pd.Period:
    """Months that end in their successor's first week keep their name."""
    return pd.Period(end, "M") - (1 if end.day <= 7 else 0)


class Firm:
    """What was known of one firm on one date."""

    def __init__(
        self, rows: pd.DataFrame, date: pd.Timestamp, step: int, expires: int, ytd: tuple[str, ...] = ()
    ) -> None:
        self.known, self.step, self.ytd = {}, step, ytd
        for row in rows.sort_values("filed").to_dict("records"):
            if row["filed"] < date:
                self.known[fiscal(row["end"])] = row
        self.newest = max(self.known, default=None)
        if self.newest is not None and (pd.Period(date, "M") - self.newest).n > expires:
            self.newest = None

    def get(self, item: str, months: int = 0) -> float:
        row = None if self.newest is None else self.known.get(self.newest - months)
        if row is None:
            return NAN
        if item in self.ytd and row["fq"] > 1:
            before = self.known.get(self.newest - months - self.step)
            return NAN if before is None else row[item] - before[item]
        return row[item]

    def year(self, item: str, months: int = 0) -> float:
        if self.step == 12:
            return self.get(item, months)
        return sum(self.get(item, months + back) for back in (0, 3, 6, 9))


def over(above: float, below: float) -> float:
    return above / below if below > 0 else NAN


def sue(firm: Firm, item: str) -> float:
    changes = [firm.get(item, 3 * q) - firm.get(item, 3 * q + 12) for q in range(9)]
    past = [change for change in changes[1:] if not math.isnan(change)]
    return over(changes[0], float(np.std(past, ddof=1))) if len(past) >= 6 else NAN


def increases(firm: Firm) -> float:
    if math.isnan(firm.get("net_income") - firm.get("net_income", 12)):
        return NAN
    run = 0
    while run < 8 and firm.get("net_income", 3 * run) > firm.get("net_income", 3 * run + 12):
        run += 1
    return run


def slow(firm: Firm, me: float) -> dict[str, float]:
    """Every report characteristic; the quarterly ones too."""
    get, year, old = firm.get, firm.year, firm.get("assets", 12)
    operating = [get("assets", m) - get("cash", m) - get("liabilities", m) + get("debt", m) for m in (0, 12)]
    assets = get("assets")
    return {
        "bm": over(get("book_equity"), me),
        "ep": over(year("net_income"), me),
        "sp": over(year("sales"), me),
        "cfp": over(year("operating_cash_flow"), me),
        "divy": over(year("dividends"), me),
        "payout": over(year("dividends") + year("repurchases"), me),
        "rdm": over(year("research"), me),
        "lev_me": over(get("liabilities"), me),
        "roa": over(get("net_income"), get("assets", firm.step)),
        "roe": over(get("net_income"), get("book_equity", firm.step)),
        "gp": over(year("sales") - year("cost_of_goods"), assets),
        "opm": over(year("operating_income"), year("sales")),
        "pm": over(year("net_income"), year("sales")),
        "ato": over(year("sales"), assets),
        "cfoa": over(year("operating_cash_flow"), assets),
        "chpm": over(year("net_income"), year("sales")) - over(year("net_income", 12), year("sales", 12)),
        "chato": over(year("sales"), assets) - over(year("sales", 12), old),
        "sue": sue(firm, "net_income"),
        "rsup": sue(firm, "sales"),
        "nincr": increases(firm),
        "chtx": over(get("taxes") - get("taxes", 12), old),
        "agr": over(assets, old) - 1,
        "egr": over(get("book_equity"), get("book_equity", 12)) - 1,
        "hire": over(get("employees"), get("employees", 12)) - 1,
        "sgr": over(year("sales"), year("sales", 12)) - 1,
        "inva": over(get("ppe") - get("ppe", 12) + get("inventory") - get("inventory", 12), old),
        "ik": over(year("capex"), get("ppe", 12)),
        "noa": over(operating[0], old),
        "rna": over(year("operating_income"), operating[1]),
        "debtgr": over(get("debt") - get("debt", 12), old),
        "accr": over(year("net_income") - year("operating_cash_flow"), old),
        "pctacc": over(year("net_income") - year("operating_cash_flow"), abs(year("net_income"))),
        "lev": over(get("liabilities"), assets),
        "curr": over(get("current_assets"), get("current_liabilities")),
        "quick": over(get("current_assets") - get("inventory"), get("current_liabilities")),
        "casha": over(get("cash"), assets),
        "cashdebt": over(year("operating_cash_flow"), get("liabilities")),
        "depr": over(year("depreciation"), get("ppe")),
        "rds": over(year("research"), year("sales")),
        "log_assets": math.log(assets) if assets > 0 else NAN,
    }
