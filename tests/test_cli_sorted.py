"""Commands about sorted factors, on a tiny simulated file: what is joined, printed, written and refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from fits import linear_fit
from typer.testing import CliRunner, Result

import bayesfactor as bf
from bayesfactor.cli import app
from bayesfactor.cli.joins import joined
from bayesfactor.cli.reading import Reading, SizeIn, Units
from bayesfactor.errors import DataError, DuplicateKeyError

READ = ["--time", "date", "--asset", "asset", "--returns", "ret", "--returns-over", "row", "--lag", "1"]
READ += ["--units", "decimal", "--excess", "--size", "size"]
FEW = ["--warmup", "30", "--draws", "40", "--chains", "2", "--seed", "3"]
SORTED = ["--hidden", "none", "--factors", "2"]
N_TRAIN = 36


def call(*arguments: str | Path, code: int = 0, columns: int = 200) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": str(columns)})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def raw(folder: Path) -> bf.Panel:
    return bf.read_frame(
        folder / "data.parquet", time="date", asset="asset", returns="ret", returns_over="row", lag=1,
        units="decimal", excess=True, size="size",
    )  # fmt: skip


def market(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "market.csv", parse_dates=["time"]).set_index("time")


def panel_of(folder: Path) -> bf.Panel:
    """What READ and the joins of `join` make of the file."""
    source = raw(folder)
    own = bf.sorts.sort_portfolios(source, "x1", 3).returns.to_pandas()
    pairs = bf.sorts.sort_portfolios(source, ["x2", "x3"], [2, 2]).returns.to_pandas()
    with_market = source.join_benchmark(market(folder), units="percent", excess=True)
    with_own = with_market.join_portfolios(own, units="decimal", excess=True)
    return with_own.join_portfolios(pairs, units="decimal", excess=True).rank_normalise()


def join(folder: Path) -> list[str | Path]:
    read: list[str | Path] = [*READ, "--benchmark", folder / "market.csv", "--joined-units", "percent"]
    return [*read, "--joined-excess", "--sorts", "x1:3,x2:2/x3:2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data file with a live month, a benchmark, a fit of two deep factors, and one of another model."""
    folder = tmp_path_factory.mktemp("sorted")
    bf.simulate.frame(n_months=44, n_assets=24, n_characteristics=3, seed=5).to_parquet(folder / "data.parquet")
    times = raw(folder).times
    earned = np.random.default_rng(1).normal(0.5, 4.0, len(times))
    pd.DataFrame({"time": times, "MKT": earned}).to_csv(folder / "market.csv", index=False)
    when = f"{times[N_TRAIN]:%Y-%m}"
    said = call(
        "fit", "sorted", folder / "data.parquet", *join(folder), *FEW, *SORTED, "--before", when,
        "--out", folder / "two.nc",
    )  # fmt: skip
    assert "SortedFactorModel(n_factors=2, hidden=())" in said.output
    linear_fit().save(folder / "linear.nc")
    return folder


@pytest.fixture(scope="module")
def fit(folder: Path) -> bf.Fit:
    return bf.load(folder / "two.nc")


def numbers(text: str) -> set[str]:
    return set(re.findall(r"[+-]?\d+\.\d\d", text))


def written(csv: Path, result: xr.Dataset) -> None:
    """The CSV holds the bands of the result, its units and status."""
    table = pd.read_csv(csv)
    index = list(result["mean"].dims)
    if "time" in table:
        table["time"] = pd.to_datetime(table["time"])
    found = table.set_index(index)[["mean", "lower", "upper"]].sort_index()
    want = result[["mean", "lower", "upper"]].to_dataframe()[["mean", "lower", "upper"]]
    want = want.reorder_levels(index).sort_index() if len(index) > 1 else want.sort_index()
    np.testing.assert_allclose(found, want, rtol=1e-9)
    assert (table["status"] == result.attrs["status"]).all()
    assert (table["units"] == result.attrs["units"]).all()


def shown(output: str, result: xr.Dataset, scale: float, sign: str = "+") -> None:
    """Every mean and band of the result is printed."""
    want = {
        f"{scale * value:{sign}.2f}" for name in ("mean", "lower", "upper") for value in result[name].values.ravel()
    }
    assert want <= numbers(output)


# ------------------------------------------------------------------------------------------------ fit


def test_fit_learns_from_the_joined_panel_before_the_cut(folder: Path, fit: bf.Fit) -> None:
    assert fit.model == bf.SortedFactorModel(n_factors=2, hidden=())
    assert fit.inference == bf.NUTS(warmup=30, draws=40, chains=2)
    panel = panel_of(folder)
    assert fit.panel_fingerprint == panel.sel(time=panel.times[:N_TRAIN]).fingerprint
    assert list(bf.loadings(fit)["priced_factor"].values) == ["deep_1", "deep_2", "MKT"]
    assert len(bf.alphas(fit)["test_asset"]) == 3 + 4


def test_every_choice_reaches_the_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    def stop(model: object, *_: object, **__: object) -> None:
        seen.append(model)
        raise DataError("seen")

    monkeypatch.setattr(bf, "fit", stop)
    words = ["fit", "sorted", folder / "data.parquet", *READ, "--out", folder / "none.nc"]
    by_value = ["--weights", "value", "--size-in", "log", "--hidden", "none"]
    call(*words, "--test-assets", "stocks", *by_value, "--residuals", "common", "--no-alpha", code=2)
    more = ["--hidden", "3,2", "--activation", "softplus", "--penalty", "2.5", "--no-alpha", "--factors", "3"]
    call(*words, "--sorts", "x1:3", *more, "--noise", "normal", "--residuals", "by_asset", code=2)
    call(*words, "--sorts", "x1:3", code=2)
    assert seen == [
        bf.SortedFactorModel(
            hidden=(), test_assets="stocks", weights="value", size_in="log", residual_covariance="common", alpha=False
        ),
        bf.SortedFactorModel(
            n_factors=3, hidden=(3, 2), activation="softplus", pricing_error_penalty=2.5, alpha=False,
            residual_covariance="by_asset",
        ),
        bf.SortedFactorModel(),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["linear", "--factors", "2", "--no-alpha"], "the linear model has no --factors, --alpha"),
        (["deep", "--penalty", "1"], "the deep model has no --penalty"),
        (["sorted", "--pooling", "full"], "the sorted model has no --pooling"),
        (["sorted", "--hidden", "wide"], "whole numbers with commas"),
        (["sorted", "--penalty", "1"], "give alpha=False with it"),
        (
            ["sorted"],
            "give --portfolios FILE, or --sorts COLUMN:N,... for those of DATA itself, or --test-assets stocks",
        ),
    ],
)
def test_choices_that_contradict_are_refused(folder: Path, words: list[str], message: str) -> None:
    said = call("fit", words[0], folder / "data.parquet", *READ, *words[1:], "--out", folder / "no.nc", code=2)
    assert message in " ".join(said.stderr.split())
    assert not (folder / "no.nc").exists()


# ------------------------------------------------------------------------------------------------ what is joined

FACTORS = """This file was created using the 202510 CRSP database.

,Mkt-RF,SMB,RF
{rows}
"""
PORTFOLIOS = """Missing data are indicated by -99.99 or -999.

  Average Value Weighted Returns -- Monthly
,LO,HI
{rows}

  Average Equal Weighted Returns -- Monthly
,LO,HI
{rows}

  Number of Firms in Portfolios
,LO,HI
200001,      10,      12
"""


@pytest.fixture(scope="module")
def library(folder: Path) -> Path:
    """Files in the layout of the library that cover the panel."""
    months = pd.period_range("1999-12", "2004-12", freq="M")
    drawn = np.random.default_rng(2).normal(0.5, 3.0, (len(months), 4))
    lines = [(f"{month:%Y%m}", *row) for month, row in zip(months, drawn, strict=True)]
    factors = "\n".join(f"{month}, {a:8.2f}, {b:8.2f},     0.30" for month, a, b, *_ in lines)
    rows = "\n".join(f"{month}, {a:8.2f}, {b:8.2f}" for month, _, _, a, b in lines)
    (folder / "F-F_Factors.csv").write_text(FACTORS.format(rows=factors))
    (folder / "2_Portfolios.csv").write_text(PORTFOLIOS.format(rows=rows))
    return folder


def test_files_of_the_library_are_joined_as_the_readers_say(library: Path) -> None:
    source = raw(library)
    factors, portfolios = library / "F-F_Factors.csv", library / "2_Portfolios.csv"
    asked = Reading(benchmark=[factors], portfolios=[portfolios], table="Equal Weighted", riskless=factors)
    made = bf.readers.ken_french(factors)["monthly"]
    want = source.join_benchmark(made.factors(), units="decimal", excess=True).join_portfolios(
        bf.readers.ken_french(portfolios)["Equal Weighted"].portfolio_returns(),
        units="decimal", excess=False, risk_free=made.risk_free(),
    )  # fmt: skip
    found = joined(source, asked)
    assert found.fingerprint == want.fingerprint
    assert list(found.data["benchmark"].values) == ["Mkt-RF", "SMB"]


@pytest.mark.parametrize("units", ["decimal", "percent"])
def test_tables_are_joined_in_the_units_and_kind_that_are_told(library: Path, tmp_path: Path, units: str) -> None:
    source = raw(library)
    own = 0.02 * np.random.default_rng(3).standard_normal((len(source.times), 2))
    frame = pd.DataFrame(own if units == "decimal" else 100 * own, source.times, ["A", "B"]).rename_axis("time")
    frame.reset_index().to_csv(tmp_path / "table.csv", index=False)
    frame.reset_index().to_parquet(tmp_path / "table.parquet")
    told = {"joined_units": Units(units), "riskless": library / "F-F_Factors.csv"}
    for path in (tmp_path / "table.csv", tmp_path / "table.parquet"):
        excess = joined(source, Reading(portfolios=[path], joined_excess=True, **told))
        np.testing.assert_allclose(excess.data["portfolio_returns"], own, rtol=1e-9)
        less = joined(source, Reading(benchmark=[path], joined_excess=False, **told))
        np.testing.assert_allclose(less.data["benchmark_returns"], own - 0.003, rtol=1e-9)


def test_own_sorts_are_weighted_by_value_where_sizes_are_told(tmp_path: Path) -> None:
    bf.simulate.frame(n_months=12, n_assets=90, n_characteristics=3, seed=5).to_parquet(tmp_path / "data.parquet")
    source = raw(tmp_path)
    level = Reading(sorts="x1:3", benchmark_sorts="value=x2,momentum=x3", size_in=SizeIn.level)
    found = joined(source, level)
    by_value = bf.sorts.sort_portfolios(source, "x1", 3, weights="value", size_in="level").returns
    np.testing.assert_array_equal(found.data["portfolio_returns"], by_value.transpose("time", "portfolio"))
    own = bf.sorts.factors(source, value="x2", momentum="x3", size_in="level").returns
    np.testing.assert_array_equal(found.data["benchmark_returns"], own.transpose("time", "benchmark"))
    equal = joined(source, Reading(sorts="x1:3")).data["portfolio_returns"]
    np.testing.assert_array_equal(equal, bf.sorts.sort_portfolios(source, "x1", 3).returns)
    assert float(np.nanmax(np.abs(equal.values - by_value.values))) > 1e-4


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"portfolios": ["2_Portfolios.csv"]}, "--table must name one table of 2_Portfolios.csv. .*Equal Weighted"),
        ({"portfolios": ["2_Portfolios.csv"], "table": "Value Weighted"}, "give --riskless FILE"),
        ({"portfolios": ["market.csv"]}, "--joined-units decimal.percent, --joined-excess or --joined-raw"),
        ({"benchmark": ["market.csv"], "joined_units": Units.percent}, r"must be said too: --joined-excess or"),
        ({"sorts": "x1"}, "--sorts must be like bm:5"),
        ({"sorts": "x1:3/:2"}, "--sorts must be like bm:5"),
        ({"benchmark_sorts": "x1"}, "--benchmark-sorts must be like"),
        ({"benchmark_sorts": "bm=x1"}, "value, profitability, investment, momentum"),
    ],
)
def test_what_cannot_be_joined_is_refused_with_the_option(library: Path, asked: dict, message: str) -> None:
    files = {name: [library / path for path in asked[name]] for name in ("portfolios", "benchmark") if name in asked}
    with pytest.raises(DataError, match=message):
        joined(raw(library), Reading(**asked | files))


def test_the_same_sort_twice_is_refused(library: Path) -> None:
    with pytest.raises(DuplicateKeyError, match="x1:1"):
        joined(raw(library), Reading(sorts="x1:3,x1:3"))


# ------------------------------------------------------------------------------------------------ what is asked


def test_factors_print_the_last_periods_and_write_all(folder: Path, fit: bf.Fit, tmp_path: Path) -> None:
    csv = tmp_path / "factors.csv"
    words = ["factors", folder / "two.nc", folder / "data.parquet", *join(folder)]
    said = call(*words, "--last", "3", "--csv", csv)
    want = bf.factors(fit, panel_of(folder))
    assert said.stderr == ""
    assert len(want["time"]) == 44
    written(csv, want)
    shown(said.output, want.isel(time=slice(-3, None)), 100.0)
    assert f"the last 3 of {len(want['time'])} periods" in " ".join(said.output.split())
    assert said.output.count("2003-") == 3
    summed = " ".join(call(*words, "--cumulative", "--last", "500", "--prob", "0.5").output.split())
    shown(summed, bf.factors(fit, panel_of(folder), cumulative=True, prob=0.5), 100.0)
    assert "running sum" in summed
    assert "50% band" in summed
    assert "the last" not in summed


def test_importance_is_that_of_the_training_window(folder: Path, fit: bf.Fit, tmp_path: Path) -> None:
    csv = tmp_path / "importance.csv"
    said = call("importance", folder / "two.nc", folder / "data.parquet", *join(folder), "--csv", csv)
    want = bf.importance(fit, panel_of(folder).sel(time=panel_of(folder).times[:N_TRAIN]))
    written(csv, want)
    shown(said.output, want, 1.0, "")
    rows = [line.split("│")[1].strip() for line in said.output.splitlines() if line.startswith("│")]
    assert rows == list(want["characteristic"].values[np.argsort(-want["mean"].sum("factor").values)])


def test_holdings_are_those_of_the_period(folder: Path, fit: bf.Fit, tmp_path: Path) -> None:
    csv = tmp_path / "holdings.csv"
    words = ["holdings", folder / "two.nc", folder / "data.parquet", *join(folder), "--top", "2"]
    said = call(*words, "--csv", csv)
    panel = panel_of(folder)
    want = bf.top_holdings(bf.portfolio_weights(fit, panel), panel.times[-1], n=2)  # the live month
    found = pd.read_csv(csv).set_index(["factor", "leg", "rank"])
    assert found["asset"].to_dict() == want["asset"].to_dict()
    np.testing.assert_allclose(found["mean"], want["mean"].reindex(found.index), rtol=1e-6)
    assert {f"{100 * value:+.2f}" for value in want["upper"]} <= numbers(said.output)
    assert f"holdings of {panel.times[-1]:%Y-%m}, % of the leg" in said.output
    earlier = call(*words, "--when", "2001-05").output
    assert "holdings of 2001-05" in earlier
    month = bf.top_holdings(bf.portfolio_weights(fit, panel), "2001-05", n=2)
    assert {f"{100 * value:+.2f}" for value in month["mean"]} <= numbers(earlier)
    assert "EmptyWindowError" in call(*words, "--when", "1901-05", code=2).stderr


def test_loadings_alphas_and_sharpe_ratios_need_no_data(folder: Path, fit: bf.Fit, tmp_path: Path) -> None:
    csv = tmp_path / "out.csv"
    said = call("loadings", folder / "two.nc", "--csv", csv)
    written(csv, bf.loadings(fit))
    shown(said.output, bf.loadings(fit), 1.0)
    draws = bf.alphas(fit, summary="draws")["alpha"]
    within = round(float(np.abs(draws).max("test_asset").median()), 4)
    said = call("alphas", folder / "two.nc", "--within", str(within), "--csv", csv)
    want = bf.alphas(fit)
    written(csv, want)
    shown(said.output, want, 100.0)
    rows = [line.split("│")[1].strip() for line in said.output.splitlines() if line.startswith("│")]
    assert rows == list(want["test_asset"].values[np.argsort(-want["mean"].values)])
    joint = bf.no_alpha(fit, within=within)
    assert 0.3 < joint["prob_all_within"] < 0.7
    assert f"P(all alphas within {100 * within:g}% a month): {joint['prob_all_within']:.2f}." in said.output
    assert f"They add {joint['distance']:.3g} to the squared Sharpe ratio of a month" in said.output
    said = call("sharpe", folder / "two.nc", "--prob", "0.8", "--csv", csv)
    ratios = bf.sharpe_ratios(fit, prob=0.8)
    found = pd.read_csv(csv, index_col=0)
    columns = ["mean", "lower", "upper", "prior_mean", "prob_beyond_prior"]
    np.testing.assert_allclose(found[columns], ratios.loc[found.index, columns], rtol=1e-9)
    assert {f"{value:.2f}" for value in ratios[columns].values.ravel()} <= numbers(said.output)
    assert (found["status"] == fit.status).all()


@pytest.mark.parametrize("command", ["factors", "importance", "holdings", "loadings", "alphas", "sharpe"])
def test_a_doubtful_fit_is_labelled_and_one_of_another_model_refused(
    folder: Path, fit: bf.Fit, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    assert fit.status == "failed"  # so few draws
    data = [folder / "data.parquet", *join(folder)] if command in ("factors", "importance", "holdings") else []
    assert "FAILED: bands not to be trusted" in call(command, folder / "two.nc", *data).output
    monkeypatch.setattr(Reading, "raw", lambda *_: pytest.fail("DATA was read"))
    said = " ".join(call(command, folder / "linear.nc", *data, code=2).stderr.split())
    assert "UnsupportedQuantityError: this is about factors that are sorted from characteristics" in said
    assert "FundamentalFactorModel has none" in said
    beside = call(command, folder / "two.nc", *data, "--csv", folder / "none" / "a.csv", code=2)
    assert "does not exist" in " ".join(beside.stderr.split())


def test_commands_of_other_models_refuse_sorted_factors(folder: Path) -> None:
    for command in ("sensitivities", "interactions", "forecast"):
        said = call(command, folder / "two.nc", folder / "data.parquet", *join(folder), code=2)
        assert "UnsupportedQuantityError" in said.stderr


def test_data_joined_in_another_way_are_told(folder: Path) -> None:
    said = call("factors", folder / "two.nc", folder / "data.parquet", *READ)
    message = " ".join(said.stderr.split())
    assert "DataWarning: in the training months the panel must be what the fit learned from" in message
    assert "The fit's panel: read_frame" in message
    assert message.index("join_benchmark: percent, excess; MKT") < message.index("This one: read_frame")
    assert message.count("join_portfolios") == 2


def test_tables_wider_than_the_terminal_are_parted_and_no_number_is_cut(folder: Path, fit: bf.Fit) -> None:
    lines = call("loadings", folder / "two.nc", columns=80).output.splitlines()
    assert max(map(len, lines)) <= 80
    shown("\n".join(lines), bf.loadings(fit), 1.0)
    assert sum("test asset" in line for line in lines) == 2


def test_summary_and_report_of_sorted_factors(folder: Path, fit: bf.Fit) -> None:
    assert "alpha[x1:1]" in call("summary", folder / "two.nc").output
    out = folder / "report.html"
    call("report", folder / "two.nc", "--data", folder / "data.parquet", *join(folder), "--out", out)
    page = out.read_text(encoding="utf-8")
    assert "Factor models of data" in page
    alpha = bf.alphas(fit)["mean"].values
    assert all(f"<td>{100 * value:+.2f}</td>" in page for value in alpha)
    ratios = bf.sharpe_ratios(fit).loc["gain"]
    assert f"<td>gain</td><td>{ratios['mean']:.2f}</td>" in page
    assert "fewer than two models have a density of the test assets" in page
    assert page.count("FAILED: bands not to be trusted") >= 5
    other = call("report", folder / "two.nc", "--data", folder / "data.parquet", *READ, "--out", out, code=2)
    assert "AlignmentError" in other.stderr
