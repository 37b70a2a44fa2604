"""The embedded data, and the real panels that are not embedded."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayesfactor.errors import LookAheadError
from bayesfactor.panel import Panel, datasets, read_frame

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "bayesfactor" / "panel" / "data"
PYSTOCK = "us_stocks_pit_chars_2015_2017_pystock.parquet"
TOP_1500 = "us_stocks_price_chars_2006_2017_top1500.parquet"
FRENCH = "french_portfolios_panel_1963_2025.parquet"
NOT_CHARACTERISTICS = ("date", "asset", "ret_next", "xret_next", "rf_next")
TOLD = {"time": "date", "asset": "asset", "returns_over": "next", "lag": 0, "units": "decimal"}


@pytest.fixture(scope="module")
def equities() -> Panel:
    return datasets.us_equities()


def test_embedded_panel_is_prepared_and_has_a_live_month(equities: Panel) -> None:
    assert equities.preparation == "rank"
    assert (equities.frequency, len(equities.times), len(equities.characteristics)) == ("monthly", 23, 27)
    assert (equities.data.in_universe.sum("asset") == 500).all()
    assert (equities.times[0], equities.times[-1]) == (pd.Timestamp("2015-06-30"), pd.Timestamp("2017-04-30"))
    assert equities.live.times.tolist() == [pd.Timestamp("2017-04-30")]
    assert equities.warnings == ()
    assert not datasets.us_equities(prepared=False).prepared


def test_embedded_timing(equities: Panel) -> None:
    raw = datasets.us_equities(prepared=False).data
    july = raw.sel(time="2016-07-31", asset="AAPL")
    np.testing.assert_allclose(july.returns, 0.0901, atol=0.0003)  # ret_next of 2016-06 less the bill
    august = raw.sel(time="2016-08-31", asset="AAPL", characteristic="rev_1m")
    np.testing.assert_allclose(august.characteristics, july.returns, atol=0.0003)  # known one month later
    assert equities.audit()["cells_changed"].sum() == 0


def test_embedded_live_rows_are_carried_and_say_so() -> None:
    frame = datasets.us_equities_frame()
    live, last = frame[frame["carried"]], frame[frame["date"] == "2017-02-28"]
    assert set(live["date"]) == {pd.Timestamp("2017-03-31")}
    assert live["xret_next"].isna().all()
    same = [name for name in frame if name not in ("date", "xret_next", "carried", "rev_1m")]
    pd.testing.assert_frame_equal(live[same].reset_index(drop=True), last[same].reset_index(drop=True))
    np.testing.assert_allclose(live["rev_1m"].to_numpy(), last["xret_next"].to_numpy(), atol=0.0005)
    assert "CARRY FORWARD" in (datasets.us_equities.__doc__ or "")


def test_embedded_licence_and_attribution_are_beside_the_file() -> None:
    licence, notes = (FOLDER / "LICENSE-us_equities").read_text(), (FOLDER / "us_equities.md").read_text()
    for text in (licence, notes):
        assert "CC BY-SA 4.0" in text
        assert "https://github.com/eliangcs/pystock-data" in text
        assert "adapted by the bayesfactor project" in text
    assert "https://creativecommons.org/licenses/by-sa/4.0/legalcode" in licence
    assert "CARRIED" in notes
    listed = notes.split("## Columns")[1].split("## Timing")[0]
    assert all(f"`{name}`" in listed for name in datasets.us_equities_frame())
    assert (FOLDER / "us_equities.parquet").stat().st_size <= 3e6


def test_embedded_file_is_what_the_script_makes(shared_data: Path) -> None:
    spec = importlib.util.spec_from_file_location("make_us_equities", ROOT / "scripts" / "make_us_equities.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    made = script.make(pd.read_parquet(shared_data / "panels" / PYSTOCK))
    pd.testing.assert_frame_equal(made, datasets.us_equities_frame(), check_exact=True)


def real(folder: Path, name: str, **told: object) -> Panel:
    frame = pd.read_parquet(folder / "panels" / name)
    names = [column for column in frame if column not in NOT_CHARACTERISTICS]
    return read_frame(frame, **TOLD | {"returns": "xret_next", "excess": True, "characteristics": names} | told)


@pytest.mark.parametrize(
    ("name", "n_months", "first", "last", "n_returns"),
    [
        (PYSTOCK, 22, "2015-06-30", "2017-03-31", 80_494),
        (TOP_1500, 140, "2006-03-31", "2017-10-31", 210_000),
        (FRENCH, 747, "1963-08-31", "2025-10-31", 204_582),  # two rows have no characteristic at all
    ],
)
def test_real_panels(shared_data: Path, name: str, n_months: int, first: str, last: str, n_returns: int) -> None:
    panel = real(shared_data, name)
    assert (panel.times[0], panel.times[-1], len(panel.times)) == (
        pd.Timestamp(first),
        pd.Timestamp(last),
        n_months,
    )
    assert int((panel.data.observed & panel.data.in_universe).sum()) == n_returns
    usable = [c for c in panel.characteristics if c not in ("agr", "mom_6_2", "mom_12_2") or name != PYSTOCK]
    values = panel.sel(characteristic=usable).rank_normalise().arrays().characteristics
    assert np.abs(values).max() == 1


def test_apple_in_july_2016(shared_data: Path) -> None:
    panel = real(shared_data, PYSTOCK)
    july = panel.data.sel(time="2016-07-31", asset="AAPL")
    np.testing.assert_allclose(july.returns, 0.0901, atol=0.0003)
    by_subtraction = real(shared_data, PYSTOCK, returns="ret_next", excess=False, risk_free="rf_next")
    np.testing.assert_allclose(by_subtraction.data.returns, panel.data.returns, atol=1e-6)


def test_the_raw_return_left_beside_the_excess_one_is_refused(shared_data: Path) -> None:
    for name in (PYSTOCK, TOP_1500, FRENCH):
        with pytest.raises(LookAheadError, match="'ret_next' has rank correlation"):
            real(shared_data, name, characteristics=None)


def test_panels_need_no_jax() -> None:
    import subprocess

    code = "import sys, bayesfactor.panel; print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "False"
