"""Against the real panels' characteristics, where monthly returns are enough to make them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayesfactor.panel.characteristics import from_prices

PANELS = {
    "us_stocks_price_chars_2006_2017_top1500": ("2009-12-31", ["mom_12_2", "mom_6_2", "mom_12_7", "season_12"]),
    "french_portfolios_panel_1963_2025": ("1967-12-31", ["mom_12_2", "ltrev_36_13", "season_12"]),
}


def daily_from_monthly(returns: pd.DataFrame) -> pd.DataFrame:
    """Each month's return on its first weekday, and none on the others: the months compound to the same."""
    days = pd.bdate_range(returns.index[0].replace(day=1), returns.index[-1])
    month = days.to_period("M")
    first = ~month.duplicated()
    daily = pd.DataFrame(0.0, index=days, columns=returns.columns)
    daily.loc[days[first]] = returns.to_numpy()
    before = pd.DataFrame(0.0, index=[days[0] - pd.offsets.BDay(1)], columns=returns.columns)
    return pd.concat([before, daily]).rename_axis("day").reset_index().melt("day", var_name="asset", value_name="ret")


@pytest.mark.parametrize("name", PANELS)
def test_windows_are_those_of_the_panel(name: str, shared_data: Path) -> None:
    last, compared = PANELS[name]
    panel = pd.read_parquet(shared_data / "panels" / f"{name}.parquet")
    panel = panel[panel["date"] <= last]
    returns = panel.pivot_table(index="date", columns="asset", values="rev_1m")  # the return of the row's month
    following = panel.pivot_table(index="date", columns="asset", values="ret_next")
    always = returns.columns[returns.notna().all()][:40]
    np.testing.assert_allclose(returns[always][1:], following[always][:-1], atol=2e-5)
    found = from_prices(
        daily_from_monthly(returns[always].astype(float)),
        time="day", asset="asset", returns="ret", units="decimal", characteristics=[*compared, "rev_1m"],
    )  # fmt: skip
    both = panel.merge(found, on=["date", "asset"], suffixes=("", "_found"))
    for one in [*compared, "rev_1m"]:
        pair = both[[one, f"{one}_found"]].dropna()
        assert len(pair) > 400, one
        np.testing.assert_allclose(pair[f"{one}_found"], pair[one], rtol=1e-5, atol=1e-6, err_msg=one)  # float32 kept
