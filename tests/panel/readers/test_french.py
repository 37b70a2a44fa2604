"""Ken French files: every table of every real file against a slow reader and numbers written down; planted faults."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayesfactor.errors import DataError, DataWarning, UnitsError
from bayesfactor.panel import simulate
from bayesfactor.panel.periods import parse_dates
from bayesfactor.panel.readers import FrenchFile, ken_french
from bayesfactor.panel.reading import read_frame

RETURNS = (
    "Average Value Weighted Returns -- Monthly",
    "Average Equal Weighted Returns -- Monthly",
    "Average Value Weighted Returns -- Annual",
    "Average Equal Weighted Returns -- Annual",
    "Number of Firms in Portfolios",
)
SORTED = (*RETURNS, "Average Market Cap", "BE/ME Calculated", "BE_FYt-1/ME_June t", "Average of OP", "of investment")
INDUSTRY = (*RETURNS, "Average Firm Size", "Sum of BE / Sum of ME", "Value-Weighted Average of BE/ME")
FACTOR = ("monthly", "Annual Factors: January-December")
PERCENT = ["percent"] * 4

# file: vintage, words of the names, units, and for each table (first line, rows, columns, missing, mean of the others)
LIBRARY = {
    "25_Portfolios_5x5__crsp202602.csv": (
        "202602",
        SORTED,
        [*PERCENT, "count", "millions of dollars", *["ratio"] * 4],
        [
            (17, 1196, 25, 0, 1.1587069866),
            (1217, 1196, 25, 0, 1.2169092308),
            (2417, 99, 25, 0, 14.795991798),
            (2520, 99, 25, 0, 15.8430807677),
            (2623, 1196, 25, 0, 105.3342140468),
            (3823, 1196, 25, 0, 3632.1875237458),
            (5027, 1196, 25, 0, 1.2268838161),
            (6231, 1196, 25, 0, 1.2156897692),
            (7434, 752, 25, 0, 0.1491805957),
            (8193, 752, 25, 0, 0.1305107979),
        ],
    ),
    "25_Portfolios_ME_OP_5x5__crsp202602.csv": (
        "202602",
        SORTED,
        [*PERCENT, "count", "millions of dollars", *["ratio"] * 4],
        [
            (24, 752, 25, 0, 1.0908762819),
            (780, 752, 25, 0, 1.1318442819),
            (1536, 62, 25, 0, 13.9678323871),
            (1602, 62, 25, 0, 14.7130092903),
            (1668, 752, 25, 0, 151.31),
            (2424, 752, 25, 0, 5931.5052127660),
            (3184, 752, 25, 0, 0.6916595),
            (3944, 752, 25, 0, 0.6578863191),
            (4703, 752, 25, 0, 0.3324879787),
            (5462, 752, 25, 0, 0.1420380904),
        ],
    ),
    "49_Industry_Portfolios__crsp202602.csv": (
        "202602",
        INDUSTRY,
        [*PERCENT, "count", "millions of dollars", "ratio", "ratio"],
        [
            (13, 1196, 49, 2868, 1.0524816994),
            (1213, 1196, 49, 2868, 1.2381015860),
            (2413, 99, 49, 229, 13.4369277369),
            (2516, 99, 49, 229, 16.6538468196),
            (2619, 1196, 49, 0, 61.8563920551),
            (3819, 1196, 49, 2868, 2209.4786906129),
            (5019, 100, 49, 246, 0.7330382467),
            (5123, 100, 49, 246, 0.7478792437),
        ],
    ),
    "F-F_Momentum_Factor__crsp202510.csv": (
        "202510",
        FACTOR,
        ["percent"] * 2,
        [(15, 1186, 1, 0, 0.6123777403), (1205, 98, 1, 0, 8.6284693878)],
    ),
    "F-F_Research_Data_5_Factors_2x3__crsp202510.csv": (
        "202510",
        FACTOR,
        ["percent"] * 2,
        [(6, 748, 6, 0, 0.3198217469), (757, 61, 6, 0, 4.1656557377)],
    ),
    "F-F_Research_Data_Factors__crsp202510.csv": (
        "202510",
        FACTOR,
        ["percent"] * 2,
        [(6, 1192, 4, 0, 0.3677432886), (1201, 98, 4, 0, 4.7384693878)],
    ),
    "as_zip/25_Portfolios_5x5_CSV__crsp202510.zip": (
        "202510",
        SORTED,
        [*PERCENT, "count", "millions of dollars", *["ratio"] * 4],
        [
            (17, 1192, 25, 0, 1.1548169832),
            (1213, 1192, 25, 0, 1.2156580235),
            (2409, 98, 25, 0, 14.7894229796),
            (2511, 98, 25, 0, 15.8930572653),
            (2613, 1192, 25, 0, 105.2869463087),
            (3809, 1192, 25, 0, 3545.0491036913),
            (5009, 1192, 25, 0, 1.2293039631),
            (6209, 1192, 25, 0, 1.2182336980),
            (7408, 748, 25, 0, 0.1493947166),
            (8163, 748, 25, 0, 0.1307660267),
        ],
    ),
    "as_zip/F-F_Research_Data_Factors_CSV__crsp202510.zip": (
        "202510",
        FACTOR,
        ["percent"] * 2,
        [(6, 1192, 4, 0, 0.3677432886), (1201, 98, 4, 0, 4.7384693878)],
    ),
}


def slow_tables(path: Path) -> list[dict[str, list[float]]]:
    """One dictionary a table, date to numbers: a row is a line whose first cell is digits."""
    content = path.read_bytes()
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            content = archive.read(archive.namelist()[0])
    lines = content.decode("utf-8").replace("\r\n", "\n").split("\n")
    tables: list[dict[str, list[float]]] = []
    inside = False
    for line in lines:
        cells = line.split(",")
        if not cells[0].strip().isdigit():
            inside = False
            continue
        if not inside:
            tables.append({})
        inside = True
        tables[-1][cells[0].strip()] = [float(cell) for cell in cells[1:]]
    return tables


@pytest.mark.parametrize("name", LIBRARY)
def test_every_table_of_every_file(shared_data: Path, name: str) -> None:
    path = shared_data / "french_raw" / name
    vintage, words, units, figures = LIBRARY[name]
    file = ken_french(path)
    slow = slow_tables(path)
    assert file.vintage == vintage
    assert file.copyright is not None
    assert file.copyright.startswith("Copyright 202")
    assert len(file.tables) == len(slow) == len(figures)
    for table, rows, word, unit, (line, n_rows, n_columns, n_missing, mean) in zip(
        file.tables.values(), slow, words, units, figures, strict=True
    ):
        assert word in table.name
        assert table.units == unit
        assert table.lines == (line, line + n_rows - 1)
        assert table.values.shape == (n_rows, n_columns) == (len(rows), len(next(iter(rows.values()))))
        cells = [cell for row in rows.values() for cell in row]
        present = [cell for cell in cells if cell not in (-99.99, -999.0)]
        assert table.values.isna().to_numpy().sum() == n_missing == len(cells) - len(present)
        # both means are of the same decimals; summing a million of them in another order loses below 1e-9
        assert np.nanmean(table.values.to_numpy()) == pytest.approx(mean, rel=2e-9)
        assert sum(present) / len(present) == pytest.approx(mean, rel=2e-9)
        expected = np.array(list(rows.values()))
        expected[np.isin(expected, (-99.99, -999.0))] = np.nan
        np.testing.assert_array_equal(table.values.to_numpy(), expected)
        dates = list(rows)
        if table.frequency == "annual":
            assert table.values.index.name == "year"
            assert table.values.index.tolist() == [int(date) for date in dates]
        else:
            assert table.frequency == "monthly"
            assert table.values.index.name == "time"
            assert table.values.index.strftime("%Y%m").tolist() == dates
            assert table.values.index.is_month_end.all()


def test_the_factors_have_the_means_that_the_library_shows(shared_data: Path) -> None:
    table = ken_french(shared_data / "french_raw" / "F-F_Research_Data_Factors__crsp202510.csv").tables["monthly"]
    factors, riskless = table.factors(), table.risk_free()
    assert factors.columns.tolist() == ["Mkt-RF", "SMB", "HML"]
    assert len(factors) == 1192
    assert (100 * factors.mean()).round(3).tolist() == [0.693, 0.165, 0.343]
    assert round(100 * factors["Mkt-RF"].std(), 2) == 5.31
    assert round(100 * riskless.mean(), 3) == 0.270
    assert factors.attrs == {"units": "decimal", "excess": True, "frequency": "monthly"}
    assert riskless.attrs["excess"] is False


HEAD = "This file was created using the 202510 CRSP database.\n\nMissing data are indicated by -99.99 or -999.\n\n\n"
BODY = (
    "  Average Value Weighted Returns -- Monthly\n,A,B \n202001,  1.00, -99.99\n202002,-100.00,   2.00\n\n\n"
    "  Average Value Weighted Returns -- Annual\n,A,B \n  2020,  -999,  12.00\n\n\n"
    "  Number of Firms in Portfolios\n,A,B \n202001,  7,  0\n202002,  6,  3\n\n"
    "  Value Weight Average of OP Calculated as:\n  Sum[ME]\n,A,B \n202001, -123.45, -99.9901\n\n"
)
TAIL = "Copyright 2025 Eugene F. Fama and Kenneth R. French\n"


def written(folder: Path, text: str, name: str = "file.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def read(folder: Path, text: str) -> FrenchFile:
    return ken_french(written(folder, text))


def test_missing_codes_are_matched_exactly(tmp_path: Path) -> None:
    file = read(tmp_path, HEAD + BODY + TAIL)
    monthly = file["Returns -- Monthly"].values
    assert np.isnan(monthly.loc["2020-01-31", "B"])
    assert monthly.loc["2020-02-29", "A"] == -100.0
    assert np.isnan(file["Annual"].values.loc[2020, "A"])
    assert file["Average of OP"].values.iloc[0].tolist() == [-123.45, -99.9901]
    assert file["Average of OP"].name == "Value Weight Average of OP Calculated as: Sum[ME]"
    assert file["Number"].units == "count"


@pytest.mark.parametrize("change", ["crlf", "bom", "no copyright", "non-ascii", "old encoding", "commas", "quoted"])
def test_the_same_tables_however_the_text_is_written(tmp_path: Path, change: str) -> None:
    text, encoding = HEAD + BODY + TAIL, "utf-8"
    expected = read(tmp_path, text)
    if change == "crlf":
        text = text.replace("\n", "\r\n")
    elif change == "bom":
        encoding = "utf-8-sig"
    elif change == "no copyright":
        text = HEAD + BODY
    elif change == "non-ascii":
        text = text.replace("Missing", "The firm’s missing")
    elif change == "old encoding":
        text, encoding = text.replace("Missing", "The firm’s missing"), "cp1252"
    elif change == "commas":
        text = "\n".join(line + "," if line else ",," for line in text.splitlines())
    else:
        text = text.replace(",A,B \n", ',"A","B"\n')
    file = ken_french(written(tmp_path, text, "other.csv", encoding))
    assert list(file.tables) == list(expected.tables)
    for name, table in file.tables.items():
        pd.testing.assert_frame_equal(table.values, expected.tables[name].values)
    assert file.vintage == "202510"


def test_daily_and_weekly_tables_have_the_calendar_of_the_package(tmp_path: Path) -> None:
    days = ["20240102", "20240103", "20240104", "20240105", "20240108"]
    daily = read(tmp_path, HEAD + ",Mom\n" + "".join(f"{day},   0.10\n" for day in days) + "\n" + TAIL)
    assert daily.tables["daily"].values.index.strftime("%Y%m%d").tolist() == days
    weeks = ["19260702", "19260710", "19260717"]  # a Friday, then Saturdays, when one traded on them
    weekly = read(tmp_path, HEAD + ",Mkt-RF,RF\n" + "".join(f"{day},   0.10, 0.05\n" for day in weeks))
    table = weekly.tables["weekly"]
    assert table.values.index.strftime("%Y-%m-%d").tolist() == ["1926-07-02", "1926-07-09", "1926-07-16"]
    assert table.factors().columns.tolist() == ["Mkt-RF"]
    assert table.risk_free().tolist() == [0.0005] * 3


def test_vintage_of_text_and_name(tmp_path: Path) -> None:
    plain = "A factor.\n\n,Mom\n202001, 1.0\n"
    assert ken_french(written(tmp_path, plain)).vintage is None
    assert ken_french(written(tmp_path, plain, "Mom__crsp202311.csv")).vintage == "202311"
    older = "This file was created by CMPT_ME_BEME_RETS using the 201910 CRSP database.\n,Mom\n202001, 1.0\n"
    assert ken_french(written(tmp_path, older)).vintage == "201910"
    with pytest.warns(DataWarning, match="202311, the text 201910"):
        assert ken_french(written(tmp_path, older, "Mom__crsp202311.csv")).vintage == "201910"


# What is wrong, and the line that the message must name.
FAULTS = {
    "no header": (HEAD + "202001, 1, 2\n", 6, "header"),
    "breakpoints": ("ME Breakpoints\n192512, 481, 1.3, 2.3\n", 2, "header"),
    "a date in the first row": ("202001, 1, 2\n", 1, "header"),
    "cell too few": (HEAD + BODY.replace("-100.00,   2.00", "-100.00"), 9, "2 values"),
    "cell too many": (HEAD + BODY.replace("-100.00,   2.00", "-100.00, 2, 3"), 9, "2 values"),
    "empty cell": (HEAD + BODY.replace("202001,  1.00,", "202001,,"), 8, "numbers"),
    "word": (HEAD + BODY.replace("1.00,", "n.a.,"), 8, "'n.a.'"),
    "nan": (HEAD + BODY.replace("1.00,", "nan,"), 8, "'nan'"),
    "inf": (HEAD + BODY.replace("1.00,", "inf,"), 8, "'inf'"),
    "annual below monthly": (HEAD + BODY.replace("2.00\n", "2.00\n2020, 5, 5\n", 1), 10, "one frequency"),
    "no month": (HEAD + BODY.replace("202002", "202013", 1), 9, "no date"),
    "repeated month": (HEAD + BODY.replace("202002", "202001", 1), 9, "forward"),
    "back in time": (HEAD + BODY.replace("202002", "201912", 1), 9, "forward"),
    "title of another frequency": (HEAD + BODY.replace("Returns -- Annual", "Returns -- Monthly 2"), 14, "annual"),
    "title twice": (HEAD + BODY + BODY, 28, "own name"),
    "column twice": (HEAD + BODY.replace(",A,B ", ",A,A", 1), 7, "repeated A"),
    "column without name": (HEAD + BODY.replace(",A,B ", ",,B", 1), 7, "empty name"),
    "text after the last": (HEAD + BODY + "  Average Something\n,A\nJan 2020, 4\n", 27, "cut off"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_unknown_layouts_name_the_line(tmp_path: Path, fault: str) -> None:
    text, line, words = FAULTS[fault]
    with pytest.raises(DataError, match=rf"line {line}: .*{words}"):
        read(tmp_path, text)


@pytest.mark.parametrize("text", ["", "only words\n\nand more\n", "192607   2.89  -2.55\n"])
def test_a_file_without_a_table(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match="must hold a table"):
        read(tmp_path, text)


def test_cut_anywhere_it_never_reads_a_wrong_number(tmp_path: Path) -> None:
    """A truncated file is refused, or its tables are a part of the whole; the last number alone may be shortened."""
    text = HEAD + BODY + TAIL
    whole = read(tmp_path, text)
    refused = 0
    for cut in range(len(HEAD), len(text)):
        try:
            file = read(tmp_path, text[:cut])
        except DataError:
            refused += 1
            continue
        for name, table in file.tables.items():
            assert whole.tables[name].values.columns.tolist() == table.values.columns.tolist()
            old = whole.tables[name].values.loc[table.values.index].to_numpy().ravel()
            new = table.values.to_numpy().ravel()
            assert np.array_equal(old[:-1], new[:-1], equal_nan=True)
    assert refused > 200


def test_wrong_use_of_a_table_is_refused(tmp_path: Path) -> None:
    file = read(tmp_path, HEAD + BODY + TAIL)
    factors = read(tmp_path, HEAD + ",Mkt-RF,SMB,RF\n202001, 1.0, 2.0, 0.1\n" + TAIL).tables["monthly"]
    with pytest.raises(UnitsError, match=r"raw.*factors\(\)"):
        factors.portfolio_returns()
    with pytest.raises(UnitsError, match=r"raw: take portfolio_returns\(\)"):
        file["Monthly"].factors()
    with pytest.raises(UnitsError, match="holds count"):
        file["Number"].portfolio_returns()
    with pytest.raises(UnitsError, match="holds ratio"):
        file["OP"].portfolio_returns()
    with pytest.raises(DataError, match="column RF"):
        file["Monthly"].risk_free()
    with pytest.raises(UnitsError, match="percent by its title"):
        file["Monthly"].portfolio_returns(units="decimal")
    with pytest.raises(DataError, match="found 2"):
        file["Returns"]
    with pytest.raises(DataError, match="found 0"):
        file["Quarterly"]


def test_units_are_told_where_the_title_does_not(tmp_path: Path) -> None:
    file = read(tmp_path, HEAD + "  Average Prior Returns\n,A,B\n202001, 1.0, 2.0\n")
    table = file["Prior"]
    assert table.units is None
    with pytest.raises(UnitsError, match="does not tell units"):
        table.portfolio_returns()
    assert table.portfolio_returns(units="percent").iloc[0].tolist() == [0.01, 0.02]
    assert table.portfolio_returns(units="decimal").iloc[0].tolist() == [1.0, 2.0]
    with pytest.raises(UnitsError, match="'basis points'"):
        table.portfolio_returns(units="basis points")


def test_annual_numbers_cannot_be_taken_for_months(tmp_path: Path) -> None:
    annual = read(tmp_path, HEAD + BODY + TAIL)["Annual"].portfolio_returns()
    assert annual.index.name == "year"
    with pytest.raises(DataError, match="must hold dates"):
        parse_dates(annual.index, "time")


def test_the_riskless_rate_of_a_file_serves_a_panel(tmp_path: Path) -> None:
    frame = simulate.frame(n_months=14, n_assets=12, n_characteristics=2, seed=1)
    months = pd.to_datetime(frame["date"]).dt.strftime("%Y%m").unique()
    text = HEAD + ",Mkt-RF,RF\n" + "".join(f"{month}, 1.0, {0.1 + 0.01 * i:.2f}\n" for i, month in enumerate(months))
    riskless = read(tmp_path, text).tables["monthly"].risk_free()
    told: dict = {
        "time": "date",
        "asset": "asset",
        "returns": "ret",
        "returns_over": "row",
        "lag": 1,
        "units": "decimal",
    }
    told["characteristics"] = [name for name in frame if name not in ("date", "asset", "ret", "size")]
    excess = read_frame(frame, **told, excess=True)
    raw = read_frame(frame, **told, excess=False, risk_free=riskless)
    difference = (excess.data.returns - raw.data.returns).dropna("time", how="all")
    for position, month in enumerate(difference.time.to_index()):
        row = difference.values[position]
        # a return of size 0.1 loses 1 ulp of it in the difference
        np.testing.assert_allclose(row[~np.isnan(row)], riskless[month], atol=1e-15)


@pytest.mark.parametrize("cell", ["1_0", "0x1", "١", "1e999", "1,5", "nan", "--1", ". "])
def test_only_plain_numbers_are_numbers(cell: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line \d+: (values must be numbers|a row must have 2 values)"):
        read(tmp_path, HEAD + f",Mkt-RF,RF\n202001, {cell}, 0.1\n" + TAIL)
    for number in ("1e-3", "+.5", "2."):
        values = read(tmp_path, HEAD + f",Mkt-RF,RF\n202001, {number}, 0.1\n" + TAIL).tables["monthly"].values
        assert values.notna().to_numpy().all()


def test_a_raw_market_is_no_factor(tmp_path: Path) -> None:
    """`Mkt` is the market's return itself, as indices of countries are."""
    table = read(tmp_path, HEAD + ",Mkt,SMB\n202001, 1.0, 2.0\n" + TAIL).tables["monthly"]
    with pytest.raises(UnitsError, match=r"Mkt \(1 in all\).* are not among"):
        table.factors(units="percent")


def test_damage_and_wrong_words_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line \d+: a line must be cells and commas.*field larger"):
        read(tmp_path, HEAD + ",Mkt-RF,RF\n202001, " + "1" * 200_000 + ", 0.1\n" + TAIL)
    file = read(tmp_path, HEAD + ",Mkt-RF,RF\n202001, 1.0, 0.1\n" + TAIL)
    with pytest.raises(DataError, match=r"named by words of its title: found 0. Its tables are 'monthly'"):
        file[0]  # type: ignore[index]
