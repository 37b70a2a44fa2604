"""Goyal and Welch: raw and derived files agree, lags are those of publication, faults are told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayesfactor.errors import DataError
from bayesfactor.panel.readers import WELCH_GOYAL_LAGS, ken_french, welch_goyal

RAW = "welch_goyal_PredictorData2024_monthly.csv"
DERIVED = "welch_goyal_predictors_derived_1926_2024.csv"


def raw(n: int = 30) -> pd.DataFrame:
    """The layout of the raw sheet, with commas in Index."""
    rng = np.random.default_rng(1)
    months = pd.period_range("1999-11", periods=n, freq="M")
    names = [
        "D12",
        "E12",
        "b/m",
        "tbl",
        "AAA",
        "BAA",
        "lty",
        "ntis",
        "Rfree",
        "infl",
        "ltr",
        "corpr",
        "svar",
        "csp",
        "CRSP_SPvw",
    ]
    frame = pd.DataFrame(rng.uniform(0.01, 0.1, (n, len(names))), columns=names)
    frame.insert(0, "Index", [f"{value:,.2f}" for value in rng.uniform(900, 5000, n)])
    frame.insert(0, "yyyymm", months.strftime("%Y%m").astype(int))
    return frame


def test_the_raw_file_gives_the_predictors_of_the_derived_one(shared_data: Path) -> None:
    """Two files of different hands; the derived one has eight significant digits."""
    computed, published = (welch_goyal(shared_data / "macro" / name) for name in (RAW, DERIVED))
    assert computed.shape == (1848, 16)
    assert published.shape == (1188, 16)
    assert computed.columns.tolist() == published.columns.tolist() == list(WELCH_GOYAL_LAGS)
    common = computed.loc[published.index]
    assert (common.isna() == published.isna()).all(axis=None)
    assert float((common - published).abs().max(axis=None)) <= 6e-8
    assert published.index[[0, -1]].strftime("%Y-%m-%d").tolist() == ["1926-01-31", "2024-12-31"]


def test_the_riskless_rate_is_over_its_own_month(shared_data: Path) -> None:
    """Rfree of a month is RF of French for that month, to the rounding of both; a month off it is not."""
    french = ken_french(shared_data / "french_raw" / "F-F_Research_Data_Factors__crsp202510.csv").tables["monthly"]
    theirs, ours = french.risk_free().align(welch_goyal(shared_data / "macro" / RAW)["rfree"].dropna(), join="inner")
    assert len(theirs) > 1000
    assert (theirs - ours).abs().mean() < 1e-6
    assert (theirs - ours.shift(1)).abs().mean() > 1e-4
    assert (theirs - ours.shift(-1)).abs().mean() > 1e-4


def test_each_predictor_is_its_definition() -> None:
    frame = raw()
    found = welch_goyal(frame)
    price = [float(text.replace(",", "")) for text in frame["Index"]]
    for row in range(len(frame)):
        month = found.iloc[row]
        assert month["dp"] == pytest.approx(np.log(frame["D12"][row]) - np.log(price[row]), rel=1e-14)
        assert month["ep"] == pytest.approx(np.log(frame["E12"][row]) - np.log(price[row]), rel=1e-14)
        assert month["de"] == pytest.approx(np.log(frame["D12"][row]) - np.log(frame["E12"][row]), rel=1e-13)
        assert month["tms"] == frame["lty"][row] - frame["tbl"][row]
        assert month["dfy"] == frame["BAA"][row] - frame["AAA"][row]
        assert month["dfr"] == frame["corpr"][row] - frame["ltr"][row]
        if row:
            assert month["dy"] == pytest.approx(np.log(frame["D12"][row]) - np.log(price[row - 1]), rel=1e-14)
    assert np.isnan(found["dy"].iloc[0])
    assert found.index.strftime("%Y%m").astype(int).tolist() == frame["yyyymm"].tolist()


@pytest.mark.parametrize("column", [name for name in raw().columns if name not in ("yyyymm", "csp")])
def test_a_later_month_changes_no_earlier_one(column: str) -> None:
    """Values dated before a month are bit for bit the same whatever that month and later ones hold."""
    frame, changed = raw(), raw()
    cut = 20
    changed.loc[cut:, column] = "9,999.00" if column == "Index" else 0.05
    before, after = welch_goyal(frame), welch_goyal(changed)
    pd.testing.assert_frame_equal(before.iloc[:cut], after.iloc[:cut], check_exact=True)
    assert not before.iloc[cut:].equals(after.iloc[cut:])


def test_every_predictor_has_its_lag() -> None:
    assert welch_goyal(raw()).columns.tolist() == list(WELCH_GOYAL_LAGS)
    assert WELCH_GOYAL_LAGS["infl"] == 2
    assert {lag for name, lag in WELCH_GOYAL_LAGS.items() if name != "infl"} == {1}


def test_faults_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"yyyymm.*Near 'yyyymm' is 'yyyy'"):
        welch_goyal(raw().rename(columns={"yyyymm": "yyyy"}))
    with pytest.raises(DataError, match=r"columns BAA \(1 in all\)"):
        welch_goyal(raw().drop(columns="BAA"))
    with pytest.raises(DataError, match=r"must follow one another.*\(2000-08, 2000-10\) \(1 in all\)"):
        welch_goyal(raw().drop(index=10))
    with pytest.raises(DataError, match=r"must follow one another.*\(2002-04, 1999-11\)"):
        welch_goyal(pd.concat([raw(), raw().iloc[:1]]))
    words = raw()
    words["tbl"] = words["tbl"].astype(object)
    words.loc[3, "tbl"] = "n.a."
    with pytest.raises(DataError, match=r"'tbl' must be numbers: found \(2000-02, n\.a\.\)"):
        welch_goyal(words)
    infinite = raw()
    infinite.loc[3, "svar"] = np.inf
    with pytest.raises(DataError, match=r"'svar' must be finite: infinite at 2000-02"):
        welch_goyal(infinite)
    path = tmp_path / "raw.csv"
    raw().to_csv(path, index=False)
    pd.testing.assert_frame_equal(welch_goyal(path), welch_goyal(raw()))


def test_the_lags_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        WELCH_GOYAL_LAGS["infl"] = 1  # type: ignore[index]
    assert {**WELCH_GOYAL_LAGS, "ep": 6}["ep"] == 6
