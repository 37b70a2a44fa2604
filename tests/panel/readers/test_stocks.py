"""Stock panels as published: generated files in exactly those layouts against slow loops; timing; faults."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayesfactor.errors import (
    AlignmentError,
    DataError,
    DataWarning,
    DuplicateKeyError,
    LookAheadError,
    UnitsError,
)
from bayesfactor.panel import Panel
from bayesfactor.panel.readers import GKX_CHARACTERISTICS, dixon_polson, gkx, jkp, open_asset_pricing

DECIMAL = {"units": "decimal", "excess": True}
MONTHS = pd.period_range("2010-01", periods=9, freq="M")


def keys(seed: int, share: float = 0.8) -> Iterator[tuple[pd.Period, int]]:
    """(month, permno) with gaps."""
    rng = np.random.default_rng(seed)
    return ((month, permno) for month in MONTHS for permno in range(10001, 10009) if rng.random() < share)


def returns(seed: int = 7) -> pd.DataFrame:
    """CRSP: one row for each permno and month, dated by the last trading day."""
    rng = np.random.default_rng(seed)
    cells = list(keys(seed, 0.9))
    return pd.DataFrame(
        {
            "permno": [permno for _, permno in cells],
            "date": [(month.end_time - pd.offsets.BDay(1)).normalize() for month, _ in cells],
            "ret": 0.05 * rng.standard_normal(len(cells)),
        }
    ).sample(frac=1, random_state=1)


def gkx_file(seed: int = 3) -> pd.DataFrame:
    """datashare.csv: permno, DATE, 94 characteristics, sic2."""
    rng = np.random.default_rng(seed)
    cells = list(keys(seed))
    frame = pd.DataFrame(rng.standard_normal((len(cells), 94)), columns=GKX_CHARACTERISTICS)
    frame["mvel1"] = rng.uniform(1e3, 1e6, len(cells))
    frame.insert(0, "DATE", [int(month.end_time.strftime("%Y%m%d")) for month, _ in cells])
    frame.insert(0, "permno", [permno for _, permno in cells])
    frame["sic2"] = rng.integers(10, 13, len(cells)).astype(float)
    frame.loc[frame.sample(frac=0.1, random_state=1).index, "sic2"] = np.nan
    return frame


def osap_file(seed: int = 4) -> pd.DataFrame:
    """signed_predictors_dl_wide.csv: permno, yyyymm, one column for each signal."""
    rng = np.random.default_rng(seed)
    cells = list(keys(seed))
    frame = pd.DataFrame(rng.standard_normal((len(cells), 3)), columns=["AM", "BMdec", "Mom12m"])
    frame.insert(0, "yyyymm", [int(month.strftime("%Y%m")) for month, _ in cells])
    frame.insert(0, "permno", [permno for _, permno in cells])
    return frame


def jkp_file(seed: int = 5) -> pd.DataFrame:
    """Global Factor Data: identifiers, flags, prices, returns, characteristics."""
    rng = np.random.default_rng(seed)
    cells = [(country, *cell) for country in ("USA", "DEU") for cell in keys(seed + len(country))]
    n = len(cells)
    frame = pd.DataFrame(
        {
            "id": [permno + (0 if country == "USA" else 300_000_000) for country, _, permno in cells],
            "date": [month.end_time.normalize() for _, month, _ in cells],
            "eom": [month.end_time.normalize() for _, month, _ in cells],
            "size_grp": "large",
            "obs_main": 1,
            "exch_main": rng.integers(0, 12, n).clip(0, 1),
            "primary_sec": 1,
            "excntry": [country for country, _, _ in cells],
            "common": 1,
            "ff49": rng.integers(1, 4, n).astype(float),
            "me": rng.uniform(10, 1000, n),
            "prc": rng.uniform(1, 100, n),
            "ret": rng.normal(0, 0.05, n),
            "ret_exc": rng.normal(0, 0.05, n),
            "ret_exc_lead1m": rng.normal(0, 0.05, n),
            "be_me": rng.standard_normal(n),
            "ret_12_1": rng.standard_normal(n),
        }
    )
    return frame


def cells_of(panel: Panel, name: str) -> dict[tuple[str, str], tuple[float, float]]:
    """{(month, asset): (characteristic, return)} of the universe."""
    data = panel.data
    values, outcome = data.characteristics.sel(characteristic=name).values, data.returns.values
    return {
        (panel.times[t].strftime("%Y-%m"), str(data.asset.values[i])): (values[t, i], outcome[t, i])
        for t, i in np.argwhere(data.in_universe.values)
    }


def assert_cells(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value, err_msg=str(key))


def monthly(crsp: pd.DataFrame) -> dict[tuple[str, int], float]:
    return {(row.date.strftime("%Y-%m"), row.permno): row.ret for row in crsp.itertuples()}


def quiet_gkx(frame: object, crsp: object, **more: object) -> Panel:
    with pytest.warns(DataWarning, match="returns have no row of characteristics"):
        return gkx(frame, returns=crsp, **DECIMAL, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(3))
def test_gkx_rows_explain_the_return_of_their_own_month(seed: int) -> None:
    frame, crsp = gkx_file(seed), returns(seed + 10)
    panel = quiet_gkx(frame, crsp)
    outcome = monthly(crsp)
    expected = {}
    for row in frame.itertuples():
        month = f"{row.DATE // 10000}-{row.DATE // 100 % 100:02d}"
        expected[month, str(row.permno)] = (row.bm, outcome.get((month, row.permno), np.nan))
    assert_cells(cells_of(panel, "bm"), expected)
    assert panel.data.characteristic.values.tolist() == list(GKX_CHARACTERISTICS)
    assert panel.history[0].startswith("gkx: characteristics of DATE explain the return of the same month")
    assert panel.audit().cells_changed.sum() == 0


def test_gkx_sectors_are_of_the_month_before() -> None:
    frame = gkx_file()
    panel = quiet_gkx(frame, returns())
    sectors = {(str(row.DATE)[:6], row.permno): row.sic2 for row in frame.itertuples()}
    for t, i in np.argwhere(panel.data.in_universe.values):
        before = (panel.times[t] - pd.offsets.MonthEnd(1)).strftime("%Y%m")
        value = sectors.get((before, int(panel.data.asset.values[i])), np.nan)
        assert panel.data.group.values[t, i] == ("" if np.isnan(value) else str(int(value)))
    sizes = {(str(row.DATE)[:6], row.permno): row.mvel1 for row in frame.itertuples()}
    for t, i in np.argwhere(panel.data.in_universe.values):
        assert (
            panel.data["size"].values[t, i] == sizes[panel.times[t].strftime("%Y%m"), int(panel.data.asset.values[i])]
        )


@pytest.mark.parametrize("seed", range(3))
def test_open_asset_pricing_signals_explain_the_next_month(seed: int) -> None:
    frame, crsp = osap_file(seed), returns(seed + 10)
    with pytest.warns(DataWarning, match="returns have no row of characteristics"):
        panel = open_asset_pricing(frame, returns=crsp, **DECIMAL)
    outcome = monthly(crsp)
    expected = {}
    for row in frame.itertuples():
        month = (pd.Period(str(row.yyyymm), "M") + 1).strftime("%Y-%m")
        expected[month, str(row.permno)] = (row.AM, outcome.get((month, row.permno), np.nan))
    assert_cells(cells_of(panel, "AM"), expected)
    assert panel.audit().cells_changed.sum() == 0


@pytest.mark.parametrize("country", ["USA", ["USA", "DEU"]])
def test_jkp_rows_pair_what_was_known_with_the_lead_return(country: str | list[str]) -> None:
    frame = jkp_file()
    panel = jkp(frame, country=country, group="ff49")
    expected, dropped = {}, 0
    for row in frame.itertuples():
        if row.excntry not in country:
            continue
        if row.exch_main != 1:
            dropped += 1
            continue
        month = (pd.Period(row.eom, "M") + 1).strftime("%Y-%m")
        expected[month, str(row.id)] = (row.be_me, row.ret_exc_lead1m)
    assert dropped > 0
    assert f"{dropped} left out for exch_main" in panel.history[0]
    assert_cells(cells_of(panel, "be_me"), expected)
    assert panel.data.characteristic.values.tolist() == ["be_me", "ret_12_1"]
    assert set(np.unique(panel.data.group.values)) <= {"", "1", "2", "3"}


def packed(folder: Path, frame: pd.DataFrame, kind: str) -> Path:
    path = folder / f"file.{kind}"
    if kind == "parquet":
        frame.to_parquet(path)
    elif kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("datashare.csv", frame.to_csv(index=False))
            archive.writestr("readme.txt", "words")
    else:
        frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "zip", "parquet"])
def test_files_give_what_frames_give(tmp_path: Path, kind: str) -> None:
    path = packed(tmp_path, gkx_file(), kind)
    assert quiet_gkx(path, returns()).fingerprint == quiet_gkx(gkx_file(), returns()).fingerprint
    osap = packed(tmp_path, osap_file(), kind)
    for signals in (None, ["Mom12m", "AM"]):
        with pytest.warns(DataWarning, match="not used"):
            from_file, from_frame = (
                open_asset_pricing(one, returns=returns(), characteristics=signals, **DECIMAL)
                for one in (osap, osap_file())
            )
        assert from_file.fingerprint == from_frame.fingerprint
    path = packed(tmp_path, jkp_file(), kind)
    assert jkp(path, country="USA").fingerprint == jkp(jkp_file(), country="USA").fingerprint


def test_returns_are_joined_by_label_however_they_come() -> None:
    crsp = returns()
    by_label = crsp.set_index(["date", "permno"])["ret"]
    forms = [
        crsp,
        by_label,
        by_label.swaplevel(),
        by_label.to_frame(),
        crsp.assign(permno=crsp["permno"].astype(float)),
        crsp.assign(permno=crsp["permno"].astype(str), date=crsp["date"].dt.strftime("%Y%m").astype(int)),
        crsp.sort_values("ret"),
    ]
    prints = {
        quiet_gkx(gkx_file().sample(frac=1, random_state=seed), form).fingerprint for seed, form in enumerate(forms)
    }
    assert len(prints) == 1


def test_a_column_of_returns_in_the_gkx_file() -> None:
    """The version of June 2021 has RET, of the month of DATE, and mve0, which is of its end."""
    frame = gkx_file()
    frame["RET"], frame["mve0"] = np.linspace(-0.1, 0.1, len(frame)), 1.0
    panel = gkx(frame, returns="RET", units="decimal", excess=True)
    expected = {
        (f"{row.DATE // 10000}-{row.DATE // 100 % 100:02d}", str(row.permno)): (row.bm, row.RET)
        for row in frame.itertuples()
    }
    assert_cells(cells_of(panel, "bm"), expected)
    for name in ("mve0", "RET"):
        with pytest.raises(LookAheadError, match=rf"{name} \(1 in all\) are not"):
            gkx(frame, returns="RET", units="decimal", excess=True, characteristics=["bm", name])


def test_raw_returns_lose_the_rate_of_their_own_month() -> None:
    rate = pd.Series(
        0.001 * np.arange(1, len(MONTHS) + 2), index=pd.period_range("2010-01", periods=len(MONTHS) + 1, freq="M")
    )
    excess = quiet_gkx(gkx_file(), returns()).data.returns
    raw = quiet_gkx_raw(rate).data.returns
    for t, month in enumerate(excess.time.to_index()):
        row = (excess - raw).values[t]
        # one subtraction of numbers below 1 rounds by at most 2**-53
        np.testing.assert_allclose(row[~np.isnan(row)], rate[pd.Period(month, "M")], rtol=0, atol=2**-52)


def quiet_gkx_raw(rate: pd.Series) -> Panel:
    with pytest.warns(DataWarning, match="not used"):
        return gkx(gkx_file(), returns=returns(), units="decimal", excess=False, risk_free=rate)


@settings(max_examples=20, deadline=None)
@given(cut=st.integers(2, 8), reader=st.sampled_from(["gkx", "osap", "jkp"]), seed=st.integers(0, 50))
def test_later_rows_change_nothing_earlier(cut: int, reader: str, seed: int) -> None:
    """What stands left of month t is bit for bit the same whatever was written for t and later."""
    when = MONTHS[cut]
    frame = {"gkx": gkx_file, "osap": osap_file, "jkp": jkp_file}[reader](seed)
    date = {"gkx": "DATE", "osap": "yyyymm", "jkp": "eom"}[reader]
    month = pd.PeriodIndex(
        pd.to_datetime(frame[date].astype(str).str.replace("-", "").str[:6], format="%Y%m"), freq="M"
    )
    # a GKX row of month t is known before t, so it may change from t + 1 on; the sector of its date from t on
    late = month > when if reader == "gkx" else month >= when
    changed = frame.copy()
    numeric = [name for name in ("bm", "AM", "be_me", "mvel1", "me") if name in frame]
    changed.loc[late, numeric] = 123.0
    if reader == "gkx":
        changed.loc[month >= when, "sic2"] = 99.0
    crsp = returns(seed + 1)
    other = crsp.assign(ret=np.where(crsp["date"].dt.to_period("M") >= when, 0.01, crsp["ret"]))
    panels = []
    for one, outcome in ((frame, crsp), (changed, other)):
        if reader == "jkp":
            panels.append(jkp(one, country="USA", characteristics=["be_me"]))
        else:
            call = gkx if reader == "gkx" else open_asset_pricing
            with pytest.warns(DataWarning):
                panels.append(call(one, returns=outcome, **DECIMAL))
    last = when.end_time.normalize()
    before, after = (panel.data.sel(time=slice(None, last)) for panel in panels)
    for name in ("characteristics", "in_universe", "size", "group"):
        if name in before:
            np.testing.assert_array_equal(before[name].values, after[name].values)
    earlier = before.time.to_index() < when.start_time
    np.testing.assert_array_equal(before.returns.values[earlier], after.returns.values[earlier])


def wrong(frame: pd.DataFrame, **columns: object) -> pd.DataFrame:
    return frame.assign(**columns)


def test_faults_of_stock_files_are_told() -> None:
    frame, crsp = gkx_file(), returns()

    def read(one: pd.DataFrame = frame, outcome: object = crsp, **more: object) -> Panel:
        return gkx(one, returns=outcome, **{**DECIMAL, **more})  # type: ignore[arg-type]

    with pytest.raises(DataError, match=r"GKX file must have the columns DATE.*Near 'DATE' is 'date': rename"):
        read(frame.rename(columns={"DATE": "date"}))
    with pytest.raises(DataError, match=r"columns absacc, zerotrade \(2 in all\).*\(95 in all\)"):
        read(frame.drop(columns=["absacc", "zerotrade"]))
    with pytest.raises(DuplicateKeyError, match=r"repeated \(2010-0\d, 1000\d\)"):
        read(pd.concat([frame, frame.iloc[:2]]))
    with pytest.raises(DuplicateKeyError, match=r"\(month, asset\) must come once: repeated \(2010"):
        read(outcome=pd.concat([crsp, crsp.iloc[:2]]))
    with pytest.raises(DuplicateKeyError, match="column names must be unique: repeated bm"):
        read(pd.concat([frame, frame[["bm"]]], axis="columns"))
    coded = frame.copy()
    coded.loc[[2, 5], "bm"] = -999.0
    with pytest.raises(
        DataError, match=r"'bm' must be NaN where it is missing: it is -999 in row 2, row 5 \(2 in all\)"
    ):
        read(coded)
    with pytest.raises(DataError, match="CRSP writes B and C"):
        read(outcome=crsp.assign(ret=crsp["ret"].astype(object).where(crsp.index > 0, "C")))
    with pytest.raises(AlignmentError, match="stocks and months in common"):
        read(outcome=crsp.assign(permno=crsp["permno"] + 500))
    with pytest.raises(DataError, match=r"one date .* and one return: found permno, date, ret, prc"):
        read(outcome=crsp.assign(prc=1.0))
    with pytest.raises(DataError, match=r"returns must have the columns permno.*Near 'permno' is 'PERMNO'"):
        read(outcome=crsp.rename(columns={"permno": "PERMNO"}))
    with pytest.raises(DataError, match="joined by permno and date: found list"):
        read(outcome=[1, 2])
    with pytest.raises(DataError, match="must name an asset in every row: missing in row 0"):
        read(frame.assign(permno=frame["permno"].where(frame.index > 0)))
    with pytest.raises(DataError, match="must hold dates"):
        read(frame.assign(DATE=20101))
    with pytest.raises(DataError, match=r"columns RET \(1 in all\)"):
        read(outcome="RET")
    with pytest.raises(UnitsError, match="need risk_free"):
        read(excess=False)
    with pytest.raises(UnitsError):
        read(outcome=crsp.assign(ret=100 * crsp["ret"]))


def test_faults_of_jkp_files_are_told() -> None:
    frame = jkp_file()
    with pytest.raises(DataError, match=r"country must be in excntry: FRA .* among DEU, USA"):
        jkp(frame, country=["USA", "FRA"])
    for name in ("ret_exc_lead1m", "ret_exc", "ret"):
        with pytest.raises(LookAheadError, match=name):
            jkp(frame, country="USA", characteristics=["be_me", name])
    with pytest.raises(DataError, match=r"columns ret_exc_lead1m.*Near 'ret_exc_lead1m' is 'ret_exc_lead'"):
        jkp(frame.rename(columns={"ret_exc_lead1m": "ret_exc_lead"}), country="USA")
    with pytest.raises(DataError, match=r"must pass the authors' screens"):
        jkp(frame.assign(obs_main=0), country="USA")
    with pytest.raises(DuplicateKeyError):
        jkp(pd.concat([frame, frame]), country="USA")


def test_a_missing_flag_is_no_one_and_is_counted() -> None:
    frame = jkp_file().astype({"common": "Int64"})
    known = frame["excntry"].eq("USA")
    lost = frame.index[known & frame["exch_main"].eq(1)][:3]
    frame.loc[lost, "common"] = pd.NA
    panel = jkp(frame, country="USA")
    assert "0 left out for obs_main" in panel.history[0]
    assert "3 left out for common" in panel.history[0]
    again = jkp(frame.assign(common=frame["common"].astype(float)), country="USA")
    assert again.history[0] == panel.history[0]
    assert again.data.identical(panel.data)


@pytest.mark.parametrize("name", ["ret_lead3m", "ret_exc_lead1m_w", "fwd_12m", "Next_ret"])
def test_what_comes_after_is_no_default_characteristic(name: str) -> None:
    with pytest.raises(LookAheadError, match=rf"{name} \(1 in all\) are named as what comes after"):
        jkp(jkp_file().assign(**{name: 0.1}), country="USA")
    with pytest.raises(LookAheadError, match=name):
        open_asset_pricing(osap_file().assign(**{name: 0.1}), returns=returns(), **DECIMAL)
    if name.startswith("ret"):
        with pytest.raises(LookAheadError, match=name):
            jkp(jkp_file().assign(**{name: 0.1}), country="USA", characteristics=["be_me", name])


@pytest.mark.parametrize("name", ["Unnamed: 0", "index", "level_0", "__index_level_0__"])
def test_row_numbers_are_no_default_characteristic(name: str) -> None:
    with pytest.raises(DataError, match=rf"row numbers: found {name}"):
        jkp(jkp_file().assign(**{name: range(len(jkp_file()))}), country="USA")
    with pytest.raises(DataError, match=rf"row numbers: found {name}"):
        open_asset_pricing(osap_file().assign(**{name: 1.0}), returns=returns(), **DECIMAL)


@pytest.mark.parametrize("code", [-99.99, -999.0, -999.99, -9999.0, -9999.99])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_missing_codes_of_any_width(code: float, dtype: type) -> None:
    frame = osap_file()
    frame.loc[[1, 4], "AM"] = code
    with pytest.raises(DataError, match=rf"'AM' must be NaN where it is missing: it is {code:g} in row 1, row 4"):
        open_asset_pricing(frame.astype({"AM": dtype}), returns=returns(), **DECIMAL)


def test_a_negative_code_among_numbers_that_are_never_negative() -> None:
    """Sizes run to a million, so that nothing below is far away."""
    frame = gkx_file()
    frame.loc[3, "mvel1"] = -99.99
    for names in (None, ["bm"]):  # as the size of the panel too
        with pytest.raises(DataError, match=r"'mvel1' must be NaN where it is missing: it is -99.99 in row 3"):
            gkx(frame, returns=returns(), characteristics=names, **DECIMAL)


def test_identifiers_are_those_of_read_frame() -> None:
    frame, crsp = gkx_file(), returns()
    want = quiet_gkx(frame, crsp)
    mixed = frame["permno"].astype(object)
    mixed.iloc[::2] = mixed.iloc[::2].astype(float)
    written = frame["permno"].astype(float).astype(str)
    for permno in (frame["permno"].astype(float), mixed, written, frame["permno"].astype(str) + " "):
        assert quiet_gkx(frame.assign(permno=permno), crsp).data.identical(want.data)
    with pytest.raises(DataError, match=r"'permno' must name assets by text or whole numbers.*row 0"):
        gkx(frame.assign(permno=frame["permno"] * 1e17), returns=crsp, **DECIMAL)


def test_messages_name_columns_and_months_of_the_file() -> None:
    frame, crsp = gkx_file().drop(columns="sic2"), returns()
    first = f"({str(frame['DATE'][0])[:4]}-{str(frame['DATE'][0])[4:6]}, {frame['permno'][0]})"
    with pytest.raises(DuplicateKeyError) as error:
        gkx(pd.concat([frame, frame.iloc[:1]]), returns=crsp, **DECIMAL)
    assert f"repeated {first} (1 in all)" in str(error.value)
    with pytest.raises(DataError, match=r"column 'ret_exc_lead1m' must be numbers.*\(2010-0"):
        jkp(jkp_file().assign(ret_exc_lead1m="x"), country="USA")
    with pytest.raises(DataError, match=r"column 'returns' must be finite"):
        open_asset_pricing(osap_file(), returns=crsp.assign(ret=np.inf), **DECIMAL)
    x, y = small(n_fillers=0)
    with pytest.raises(DataError, match=r"column 'xs_return' must be numbers"):
        dixon_polson(x, y.assign(xs_return="x"), asset="position", lag=0, **DECIMAL)


def test_other_libraries_are_not_heard_of() -> None:
    frame, crsp = osap_file(), returns()

    def read(one: pd.DataFrame = frame, outcome: object = crsp, **more: object) -> Panel:
        return open_asset_pricing(one, returns=outcome, **{**DECIMAL, **more})  # type: ignore[arg-type]

    with pytest.raises(DataError, match=r"\['date'\] is both an index level and a column of returns"):
        read(outcome=crsp.set_index("date", drop=False))
    with pytest.raises(DuplicateKeyError, match="named once: repeated AM"):
        read(characteristics=["AM", "AM"])
    for names in (5, [], [1], ["AM", None]):
        with pytest.raises(DataError, match="characteristics must be one text or several"):
            read(characteristics=names)
    with pytest.raises(DataError, match="returns must have rows"):
        read(outcome=crsp.iloc[:0])
    with pytest.raises(DataError, match="the Open Asset Pricing file must have rows"):
        read(frame.iloc[:0])
    with pytest.raises(DuplicateKeyError, match="column names of returns must be unique"):
        read(outcome=crsp.set_axis(["permno", "permno", "ret"], axis="columns"))
    with pytest.raises(LookAheadError, match=r"other columns than the asset.*permno"):
        read(characteristics=["AM", "permno"])
    for country in (5, [], [None]):
        with pytest.raises(DataError, match="country must be one text or several"):
            jkp(jkp_file(), country=country)  # type: ignore[arg-type]
    x, y = small(n_fillers=0)
    for asset in (5, "date"):
        with pytest.raises(DataError, match="asset must be a column that names stocks"):
            dixon_polson(x, y, asset=asset, lag=0, **DECIMAL)  # type: ignore[arg-type]


def test_one_characteristic_may_be_a_word() -> None:
    with pytest.warns(DataWarning):
        assert (
            open_asset_pricing(osap_file(), returns=returns(), characteristics="AM", **DECIMAL).data.characteristic
            == "AM"
        )
    assert quiet_gkx(gkx_file(), returns(), characteristics="bm").data.characteristic.values.tolist() == ["bm"]
    assert jkp(jkp_file(), country="USA", characteristics="be_me").data.characteristic.values.tolist() == ["be_me"]


def test_a_code_that_is_a_value_among_others_is_kept() -> None:
    """Signed ages reach -999 months; a value beside others is no code."""
    frame = osap_file()
    frame["FirmAge"] = -np.linspace(900, 1100, len(frame)).round()
    frame.loc[0, "FirmAge"] = -999.0
    with pytest.warns(DataWarning):
        assert open_asset_pricing(frame, returns=returns(), **DECIMAL).data.characteristic.size == 4


def small(n_stocks: int = 12, n_fillers: int = 4) -> tuple[pd.DataFrame, pd.DataFrame]:
    """X_small and Y_small: no key but the row, date last and first of the month, stocks without data repeat."""
    rng = np.random.default_rng(2)
    dates = np.repeat(MONTHS.strftime("%Y-%m-01"), n_stocks)
    names = ["EV", "P/B", "EV/T12M EBITDA", "P/S", "P/E", "Log CAP"]
    x = pd.DataFrame(rng.standard_normal((len(dates), len(names))), columns=names)
    y = pd.DataFrame({"xs_return": 0.05 * rng.standard_normal(len(dates))})
    empty = np.arange(len(dates)) % n_stocks < n_fillers
    x.loc[empty] = -0.63
    y.loc[empty, "xs_return"] = np.repeat(0.01 * rng.standard_normal(len(MONTHS)), n_stocks)[empty]
    return x.assign(date=dates), y.assign(date=dates)


@pytest.mark.parametrize("lag", [0, 1, 2])
def test_dixon_polson_rows_belong_to_the_month_of_their_date(lag: int) -> None:
    x, y = small(n_fillers=0)
    panel = dixon_polson(x, y, asset="position", lag=lag, **DECIMAL)
    rows = {}
    for row in range(len(x)):
        rows[x["date"][row][:7], f"{row % 12:04d}"] = (x["P/B"][row], y["xs_return"][row])
    expected = {}
    for (month, asset), (_, outcome) in rows.items():
        old = rows.get(((pd.Period(month, "M") - lag).strftime("%Y-%m"), asset))
        if old is not None:
            expected[month, asset] = (old[0], outcome)
    found = cells_of(panel, "P/B")
    assert found.keys() >= expected.keys()
    assert_cells({key: found[key] for key in expected}, expected)
    assert panel.audit().cells_changed.sum() == 0


def test_stocks_without_data_must_be_told_what_to_do_with() -> None:
    x, y = small()
    with pytest.raises(DataError, match=r"\(2010-01-01, 0000\), .*\(36 in all\) repeat those of others exactly"):
        dixon_polson(x, y, asset="position", lag=0, **DECIMAL)
    kept = dixon_polson(x, y, asset="position", lag=0, fillers="keep", **DECIMAL)
    dropped = dixon_polson(x, y, asset="position", lag=0, fillers="drop", **DECIMAL)
    assert kept.data.sizes["asset"] == 12
    assert dropped.data.asset.values.tolist() == [f"{i:04d}" for i in range(4, 12)]
    assert "36 filler rows left out" in dropped.history[0]
    with pytest.raises(DataError, match="'remove'"):
        dixon_polson(x, y, asset="position", lag=0, fillers="remove", **DECIMAL)


def test_dixon_polson_files_with_names(tmp_path: Path) -> None:
    """X_new has SecurityID and no date, Y_new the date."""
    x, y = small(n_fillers=0)
    identifiers = [f"S{i % 12}" for i in range(len(x))]
    x = x.drop(columns="date").assign(SecurityID=identifiers)
    paths = [tmp_path / "X_new.csv", tmp_path / "Y_new.csv"]
    for frame, path in zip((x, y), paths, strict=True):
        frame.to_csv(path, index=False)
    panel = dixon_polson(*paths, asset="SecurityID", lag=0, **DECIMAL)
    assert sorted(panel.data.asset.values) == sorted(set(identifiers))
    assert panel.data.characteristic.size == 6
    assert cells_of(panel, "EV")["2010-01", "S3"] == (x["EV"][3], y["xs_return"][3])


def test_faults_of_dixon_polson_files_are_told() -> None:
    x, y = small(n_fillers=0)
    told = {"asset": "position", "lag": 0, **DECIMAL}
    with pytest.raises(AlignmentError, match="found 108 and 107"):
        dixon_polson(x, y.iloc[1:], **told)
    with pytest.raises(AlignmentError, match=r"'date' must be the same: found \(row 0, 2010-01-01, 2010-09-01\)"):
        dixon_polson(x, y.iloc[::-1], **told)
    with pytest.raises(DataError, match="one return beside date and asset: found xs_return, other"):
        dixon_polson(x, y.assign(other=1.0), **told)
    with pytest.raises(DataError, match="X or Y must have the columns date"):
        dixon_polson(x.drop(columns="date"), y.drop(columns="date"), **told)
    with pytest.raises(DataError, match="same number of rows: found 11 to 12"):
        dixon_polson(x.iloc[1:], y.iloc[1:], **told)
    with pytest.raises(DataError, match="X or Y must have the columns SecurityID"):
        dixon_polson(x, y, **{**told, "asset": "SecurityID"})
    for lag in (-1, 0.5, True):
        with pytest.raises(LookAheadError, match="lag must be"):
            dixon_polson(x, y, **{**told, "lag": lag})
