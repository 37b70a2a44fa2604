"""Every command, on a tiny simulated file: what it writes, and how it fails."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from typer.testing import CliRunner, Result

import bayesfactor as bf
from bayesfactor.cli import app

READ = ["--time", "date", "--asset", "asset", "--returns", "ret", "--returns-over", "row", "--lag", "1"]
READ += ["--units", "decimal", "--excess", "--size", "size"]
FEW = ["--warmup", "40", "--draws", "40", "--chains", "2", "--noise", "normal", "--seed", "3"]


def call(*arguments: str | Path, code: int = 0, columns: int = 200) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": str(columns)})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def panel_of(folder: Path) -> bf.Panel:
    """The panel that READ makes of the file."""
    return bf.read_frame(
        folder / "data.parquet",
        time="date",
        asset="asset",
        returns="ret",
        returns_over="row",
        lag=1,
        units="decimal",
        excess=True,
        size="size",
    ).rank_normalise()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data file with a live month, and a linear and a deep fit of its first 16 months."""
    folder = tmp_path_factory.mktemp("cli")
    frame = bf.simulate.frame(n_months=22, n_assets=25, n_characteristics=3, seed=5)
    frame.to_parquet(folder / "data.parquet")
    when = f"{panel_of(folder).times[16]:%Y-%m}"
    data = folder / "data.parquet"
    linear = call("fit", "linear", data, *READ, *FEW, "--before", when, "--out", folder / "linear.nc")
    deep = call("fit", "deep", data, *READ, *FEW, "--hidden", "3", "--before", when, "--out", folder / "deep.nc")
    assert "linear: " in linear.output
    assert "FundamentalFactorModel(hidden=(3,)" in deep.output
    return folder


def test_fit_passes_every_choice_on_and_trains_before_the_cut(folder: Path) -> None:
    linear, deep = bf.load(folder / "linear.nc"), bf.load(folder / "deep.nc")
    assert linear.model == bf.FundamentalFactorModel(hidden=(), noise="normal")
    assert deep.model == bf.FundamentalFactorModel(hidden=(3,), noise="normal")
    assert linear.inference == bf.NUTS(warmup=40, draws=40, chains=2)
    assert len(deep.train_times) == 16
    assert deep.tree["posterior"].sizes["draw"] == 40
    assert deep.preparation == "rank"
    assert deep.provenance["seed"] == 3


def test_fit_by_svi_labels_its_bands(folder: Path, tmp_path: Path) -> None:
    data, out, csv = folder / "data.parquet", tmp_path / "fast.nc", tmp_path / "bands.csv"
    when = f"{panel_of(folder).times[16]:%Y-%m}"
    few = ["--inference", "svi", "--draws", "40", "--chains", "2", "--batch", "4", "--noise", "normal"]
    call("fit", "deep", data, *READ, *few, "--hidden", "3", "--before", when, "--out", out)
    fit = bf.load(out)
    assert fit.inference == bf.SVI(draws=40, restarts=2, batch=4)
    assert fit.uncalibrated
    shown = call("sensitivities", out, data, *READ, "--csv", csv)
    assert "uncalibrated" in shown.output
    assert (pd.read_csv(csv)["bands"] == "uncalibrated").all()


def test_options_of_the_other_algorithm_are_refused(folder: Path, tmp_path: Path) -> None:
    data, out = folder / "data.parquet", tmp_path / "none.nc"
    said = call("fit", "linear", data, *READ, "--inference", "svi", "--warmup", "50", "--out", out, code=2)
    assert "--inference svi has no --warmup" in said.output
    said = call("fit", "linear", data, *READ, "--batch", "5", "--out", out, code=2)
    assert "--inference nuts has no --batch" in said.output
    assert not out.exists()


def test_fit_goes_on_from_a_checkpoint(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    when = f"{panel_of(folder).times[16]:%Y-%m}"
    words = ["fit", "linear", folder / "data.parquet", *READ, *FEW, "--before", when, "--out", tmp_path / "fit.nc"]
    words += ["--checkpoint", tmp_path / "run"]

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("bayesfactor.inference.run.functions_of", interrupted)
        stopped = call(*words, code=130)
    said = f"stopped: 80 of 80 draws per chain (warm-up included) are saved in {tmp_path / 'run'}"
    assert said in stopped.stderr.replace("\n", " ").replace("  ", " ")
    assert not (tmp_path / "fit.nc").exists()
    call(*words)
    found, want = bf.load(tmp_path / "fit.nc"), bf.load(folder / "linear.nc")
    xr.testing.assert_equal(found.tree["posterior"].to_dataset(), want.tree["posterior"].to_dataset())
    assert "seed is 3 in the file, 4 was asked" in call(*words, "--seed", "4", code=2).stderr.replace("\n", " ")


def test_check_describes_and_audits(folder: Path) -> None:
    output = call("check", folder / "data.parquet", *READ).output
    assert "25 assets" in output
    assert "0 changed" in output
    assert "rank" in output
    assert "standardise" in call("check", folder / "data.parquet", *READ, "--standardise").output


def test_check_finds_a_planted_future_and_writes_its_tables(tmp_path: Path) -> None:
    frame = bf.simulate.frame(n_months=20, n_assets=40, n_characteristics=2, seed=5, ragged=True, missing=0.1)
    ahead = frame.groupby("asset")["ret"].shift(-1)
    frame["future"] = ahead + 0.05 * np.random.default_rng(0).standard_normal(len(frame))
    frame["asset"] = frame["asset"].replace("S00", "=1+1")
    frame.to_parquet(tmp_path / "data.parquet")
    read = [*READ, "--characteristics", "x1,x2,future", "--csv", tmp_path / "tables"]
    result = CliRunner().invoke(app, ["check", str(tmp_path / "data.parquet"), *map(str, read)], env={"COLUMNS": "100"})
    assert result.exit_code == 0, result.output
    assert max(map(len, result.stdout.splitlines())) <= 100
    flat = " ".join(result.stdout.split())
    assert "look-ahead? future has a mean rank correlation of +0." in flat
    assert "x1 has a mean" not in flat
    assert "--exclude future, or leave them out of --characteristics" in flat
    assert "assets leave before the end" in flat
    assert "missing cells of" in flat
    assert "0 changed" in flat
    panel = bf.read_frame(
        frame,
        **{"time": "date", "asset": "asset", "returns": "ret", "returns_over": "row", "lag": 1, "size": "size"},
        units="decimal",
        excess=True,
        characteristics=["x1", "x2", "future"],
    )
    written = {name: pd.read_csv(tmp_path / "tables" / f"{name}.csv") for name in ("periods", "coverage", "extremes")}
    assert written["periods"]["assets"].tolist() == panel.describe()["assets"].tolist()
    np.testing.assert_allclose(
        written["coverage"].drop(columns="time"), 1 - panel.missing_cells().div(panel.describe()["assets"], axis=0)
    )
    assert not written["extremes"]["asset"].str.startswith("=").any()
    table = pd.read_csv(tmp_path / "tables" / "characteristics.csv", index_col=0)
    assert table.index[table["with_return"].abs() > table["bound"]].tolist() == ["future"]


def test_check_says_what_it_found_before_preparation_refuses(tmp_path: Path) -> None:
    frame = bf.simulate.frame(n_months=14, n_assets=20, n_characteristics=2, seed=5).assign(x2=1.0)
    frame.to_parquet(tmp_path / "data.parquet")
    said = call("check", tmp_path / "data.parquet", *READ, code=2)
    assert "constant or missing for all assets: x2 15 of 15 periods" in " ".join(said.stdout.split())
    assert "--exclude x2, or" in " ".join(said.stdout.split())
    assert "a characteristic must vary over assets" in " ".join(said.stderr.split())


def test_summary_says_status_and_reasons(folder: Path) -> None:
    fit = bf.load(folder / "linear.nc")
    output = call("summary", folder / "linear.nc").output
    assert f"linear: {fit.status}" in output
    flat = " ".join(output.split())
    for reason in fit.reasons:
        assert " ".join(reason.split()) in flat


def test_sensitivities_print_and_write_the_bands_of_the_training_window(folder: Path) -> None:
    csv = folder / "bands.csv"
    output = call("sensitivities", folder / "linear.nc", folder / "data.parquet", *READ, "--csv", csv).output
    fit = bf.load(folder / "linear.nc")
    panel = panel_of(folder)
    train = panel.sel(time=slice(fit.train_times[0], fit.train_times[-1]))
    expected = bf.sensitivities(fit, train)
    for mean in expected["mean"].values:
        assert f"{100 * mean:+.2f}" in output
    written = pd.read_csv(csv, comment="#")
    column = next(name for name in written.columns if name.split(" ")[0] == "mean")
    np.testing.assert_allclose(np.sort(written[column]), np.sort(expected["mean"].values), rtol=1e-6)


def test_prob_narrows_the_bands(folder: Path) -> None:
    arguments = ("sensitivities", folder / "linear.nc", folder / "data.parquet", *READ)
    assert "50% band" in call(*arguments, "--prob", "0.5").output


def test_interactions_of_the_network(folder: Path) -> None:
    output = call("interactions", folder / "deep.nc", folder / "data.parquet", *READ, "--top", "2").output
    assert output.count(" × ") == 2


def test_forecast_of_the_live_month(folder: Path) -> None:
    csv = folder / "forecast.csv"
    output = call("forecast", folder / "deep.nc", folder / "data.parquet", *READ, "--csv", csv).output
    assert "25 assets, both ends" in output
    written = pd.read_csv(csv)
    live = panel_of(folder).live
    assert written["time"].unique().tolist() == [f"{live.times[0]:%Y-%m-%d}"]
    assert f"{100 * written['mean'].max():+.2f}" in output


def test_compare_scores_the_months_after_training(folder: Path) -> None:
    result = call("compare", folder / "linear.nc", folder / "deep.nc", "--data", folder / "data.parquet", *READ)
    assert "INCONCLUSIVE" in result.output
    assert "6 months" in result.output
    assert "fewer than 24" in result.output
    assert result.stderr == ""  # each warning is told once, with the table


def test_report_writes_one_page(folder: Path) -> None:
    out = folder / "report.html"
    fits = (folder / "linear.nc", folder / "deep.nc")
    call("report", *fits, "--data", folder / "data.parquet", *READ, "--out", out)
    page = out.read_text(encoding="utf-8")
    assert "<b>INCONCLUSIVE</b>" in page
    assert "Factor models of data" in page
    assert "CC BY-SA" not in page  # the attribution belongs to the embedded data only


@pytest.fixture(scope="module")
def other_data(folder: Path) -> dict[str, Path]:
    """Copies of the file whose training months differ: characteristics negated, or returns 2% higher."""
    frame = pd.read_parquet(folder / "data.parquet")
    names = list(panel_of(folder).characteristics)
    changed = {"negated": frame.assign(**{n: -frame[n] for n in names}), "raw": frame.assign(ret=frame["ret"] + 0.02)}
    for name, data in {**changed, "copy": frame}.items():
        data.to_parquet(folder / f"{name}.parquet")
    return {name: folder / f"{name}.parquet" for name in (*changed, "copy")}


@pytest.mark.parametrize("name", ["negated", "raw"])
def test_other_data_are_refused_or_told(folder: Path, other_data: dict[str, Path], name: str) -> None:
    fits, data = (folder / "linear.nc", folder / "deep.nc"), other_data[name]
    out = folder / f"{name}.html"
    for command in (("compare", *fits, "--data", data, *READ), ("report", *fits, "--data", data, *READ, "--out", out)):
        message = " ".join(call(*command, code=2).stderr.split())
        assert "AlignmentError: in the training months the panel must be what the fit learned from" in message
        assert message.count("returns 'ret' over 'row', lag=1, decimal, excess") == 2  # both histories
    assert not out.exists()
    for told in ("sensitivities", "forecast"):
        message = " ".join(call(told, fits[0], data, *READ).stderr.split())
        assert message.count("DataWarning: in the training months the panel must be what the fit learned from") == 1


def test_the_same_data_under_another_name_pass_in_silence(folder: Path, other_data: dict[str, Path]) -> None:
    fits, copy = (folder / "linear.nc", folder / "deep.nc"), other_data["copy"]
    for command in (("compare", *fits, "--data", copy), ("forecast", fits[0], copy), ("sensitivities", fits[0], copy)):
        assert call(*command, *READ).stderr == ""


def test_compare_without_the_training_months_says_what_it_cannot_check(folder: Path) -> None:
    frame = pd.read_parquet(folder / "data.parquet")
    later = folder / "later.parquet"
    frame[frame["date"] >= panel_of(folder).times[14]].to_parquet(later)
    result = call("compare", folder / "linear.nc", folder / "deep.nc", "--data", later, *READ)
    assert "INCONCLUSIVE" in result.output
    assert " ".join(result.stderr.split()).count("of the 16 periods the fit learned from, so it cannot be checked") == 1


def test_no_forecast_of_a_month_that_was_learned_from(folder: Path) -> None:
    frame = pd.read_parquet(folder / "data.parquet")
    times = panel_of(folder).times
    early = folder / "early.parquet"
    frame[frame["date"] <= times[12]].to_parquet(early)  # its live month is one that the fit learned from
    message = " ".join(call("forecast", folder / "linear.nc", early, *READ, code=2).stderr.split())
    assert f"EmptyWindowError: a forecast needs periods without returns after {times[15]:%Y-%m-%d}" in message


def test_reading_options_reach_the_panel(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.read_parquet(folder / "data.parquet")
    names = list(panel_of(folder).characteristics)
    holes = np.arange(len(frame)) % 5 == 0
    frame.loc[holes, names[:2]] = np.nan
    frame["sector"] = np.where(frame["asset"].astype(str) < "m", "low", "high")
    frame.to_parquet(folder / "holes.parquet")
    seen: list[bf.Panel] = []
    monkeypatch.setattr("bayesfactor.report.terminal.print_frame", lambda *_: None)
    monkeypatch.setattr(bf.Panel, "rank_normalise", lambda raw: seen.append(raw) or raw.standardise())
    options = ("--frequency", "monthly", "--group", "sector", "--largest", "5", "--covered", "0.5")
    call("check", folder / "holes.parquet", *READ, *options)
    (raw,) = seen
    assert "group" in raw.data
    assert "(told from the dates)" not in raw.history[0]
    assert raw.history[1:] == ("covered(0.5)", "largest(5) by size")
    assert (raw.data["in_universe"].sum("asset") == 5).all()


def test_largest_narrows_the_embedded_panel_too(monkeypatch: pytest.MonkeyPatch) -> None:
    small = bf.simulate.frame(n_months=6, n_assets=9, n_characteristics=2, seed=1)
    raw = bf.read_frame(
        small,
        time="date",
        asset="asset",
        returns="ret",
        returns_over="row",
        lag=1,
        units="decimal",
        excess=True,
        size="size",
    )
    monkeypatch.setattr("bayesfactor.panel.datasets.us_equities", lambda prepared: raw)
    assert "largest(4) by size" in call("check", "us_equities", "--largest", "4").output


def test_doctor_finds_float64() -> None:
    output = call("doctor").output
    assert "works" in output
    assert "numpyro" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("check", "data.parquet"), "--time COLUMN, --asset COLUMN, --returns COLUMN"),
        (("check", "data.parquet", *READ[:-3]), "--excess (or --raw with --risk-free COLUMN)"),
        (("check", "nowhere.parquet", *READ), "no file nowhere.parquet"),
        (("check", "us_equities", "--time", "date"), "takes no such options: found --time"),
        (
            ("fit", "linear", "us_equities", "--hidden", "8", "--out", "x.nc"),
            "the linear model has no hidden layers",
        ),
        (("fit", "deep", "us_equities", "--hidden", "8,a", "--out", "x.nc"), "whole numbers with commas"),
        (("fit", "linear", "us_equities", "--before", "1990-01", "--out", "x.nc"), "EmptyWindowError"),
        (("summary", "data.parquet"), "CorruptResultError"),
        (("summary", "nowhere.nc"), "nowhere.nc"),
        (("interactions", "linear.nc", "data.parquet", *READ), "a linear model has no interactions"),
        (("compare", "linear.nc", "linear.nc", "--data", "data.parquet", *READ), "named by their files"),
        (("sensitivities", "linear.nc", "us_equities"), "AlignmentError"),
        (("check", "data.parquet", *(w if w != "1" else "0" for w in READ)), "LookAheadError"),
    ],
)
def test_errors_are_one_message_with_exit_code_2(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(folder)
    result = call(*arguments, code=2)
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.output
    assert not (folder / "x.nc").exists()


def test_an_unexpected_error_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("bayesfactor.doctor.examine", broken)
    with pytest.raises(RuntimeError, match="a defect"):
        call("doctor")


def test_demo_runs_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo on its own data with few draws; its fits run in processes of their own, which see no patch."""
    models = {"linear": {"hidden": (), "noise": "normal"}, "deep": {"hidden": (2,), "noise": "normal"}}
    monkeypatch.setattr("bayesfactor.demo.MODELS", models)
    monkeypatch.setattr("bayesfactor.demo.QUICK_SAMPLER", {"warmup": 20, "draws": 20, "chains": 2, "max_tree_depth": 4})
    output = call("demo", "--out", tmp_path, "--quick").output
    assert "INCONCLUSIVE" in output
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {
        "report.html",
        "forecasts.csv",
        "linear.nc",
        "deep.nc",
        "sensitivities.png",
        "interactions_deep.png",
        "forecast_linear.png",
        "forecast_deep.png",
        "months.png",
    }
    assert bf.load(tmp_path / "deep.nc").train_times.equals(bf.datasets.us_equities().times[:16])


def test_a_folder_that_does_not_exist_is_told_before_the_work(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bayesfactor.cli.reading.Reading.raw", lambda *_: pytest.fail("it began"))
    data, fit, out = folder / "data.parquet", folder / "linear.nc", folder / "none" / "it"
    commands = [("fit", "linear", data, *READ, "--out", out), ("sensitivities", fit, data, *READ, "--csv", out)]
    for command in (*commands, ("report", fit, "--data", data, *READ, "--out", out)):
        assert "does not exist" in " ".join(call(*command, code=2).output.split())  # lines break where paths are long


def test_numbers_of_a_summary_are_whole_on_a_narrow_terminal(folder: Path) -> None:
    """A cell that is cut would be another number: 6.541e-05 would read 6.541."""
    table = bf.load(folder / "linear.nc").summary()
    lines = call("summary", folder / "linear.nc", columns=80).output.splitlines()
    assert max(map(len, lines)) <= 80
    row = next(line for line in lines if line.startswith("noise_level")).split()
    mean, sd, rhat = (table.loc["noise_level", name] for name in ("mean", "sd", "r_hat"))
    np.testing.assert_allclose([float(row[1]), float(row[2]), float(row[-1])], [mean, sd, rhat], rtol=0.005)


# ------------------------------------------------------------------------------------------------ calibration

STUDY = ["calibrate", "linear", "--pooling", "full", "--noise", "normal", "--inference", "exact", "--draws", "60"]
STUDY += ["--months", "4", "--assets", "8", "--chunk", "10"]


def test_calibrate_judges_keeps_its_chunks_and_draws(tmp_path: Path) -> None:
    words = [*STUDY, "--fits", "30", "--store", tmp_path / "sbc", "--plot", tmp_path / "ranks.png"]
    shown = call(*words).output
    assert "CALIBRATED: 30 of 30 fits" in shown
    assert "8 assets x 4 months x 3 characteristics" in shown
    assert "slope mean 4" in shown
    assert (tmp_path / "ranks.png").read_bytes().startswith(b"\x89PNG")
    again = call(*words).output
    assert again.count("kept from before") == 3
    assert "NO VERDICT YET: 30 of 40 fits" in call(*words, "--fits", "40", "--minutes", "0").output


def test_calibrate_exits_with_1_when_bands_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    from bayesfactor.components import conjugate

    right = conjugate.draw_posterior

    def narrow(*given: object) -> tuple[np.ndarray, np.ndarray]:
        weights, scale = right(*given)
        return weights.mean(axis=0) + 0.3 * (weights - weights.mean(axis=0)), scale

    monkeypatch.setattr(conjugate, "draw_posterior", narrow)
    shown = call(*STUDY, "--fits", "60", code=1).output
    assert "NOT CALIBRATED: 60 of 60 fits, second run on fresh seeds" in shown
    assert "90% bands of slope mean" in shown


def test_calibrate_keeps_finished_chunks_on_ctrl_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bayesfactor.calibration import study

    run = study._Study.run

    def interrupted(self: object, attempt: int, first: int, size: int) -> object:
        if first:
            raise KeyboardInterrupt
        return run(self, attempt, first, size)

    monkeypatch.setattr(study._Study, "run", interrupted)
    stopped = call(*STUDY, "--fits", "20", "--store", tmp_path, code=130)
    assert "10 of 20 fits are done, they are kept in" in " ".join(stopped.stderr.split())


def test_calibrate_refuses_options_of_another_inference() -> None:
    said = call(*STUDY, "--warmup", "50", code=2).stderr
    assert "--inference exact has no --warmup" in said
    assert "Exact() needs a conjugate model" in call(*STUDY, "--pooling", "partial", "--fits", "2", code=2).stderr


def test_walks_are_made_taken_up_again_and_compared(folder: Path, tmp_path: Path) -> None:
    data = folder / "data.parquet"
    layout = ["--train", "10", "--test", "4", "--windows", "rolling"]
    csv = tmp_path / "zero.csv"
    call("walk-forward", "zero", data, *READ, *layout, "--store", tmp_path / "zero", "--csv", csv)
    shown = call("walk-forward", "ols", data, *READ, *layout, "--store", tmp_path / "ols")
    assert "Windows.rolling(10, test=4)" in shown.output
    assert "periods judged" in shown.output
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "ols").glob("*.zip")}
    call("walk-forward", "ols", data, *READ, *layout, "--store", tmp_path / "ols")
    assert made == {path: path.stat().st_mtime_ns for path in (tmp_path / "ols").glob("*.zip")}
    few = [*FEW, "--processes", "1", "--first-test", "2001-08"]
    call("walk-forward", "linear", data, *READ, *layout[:2], *few, "--store", tmp_path / "linear", "--name", "ours")
    walk = bf.load_forecasts(tmp_path / "linear")
    assert walk.name == "ours"
    assert walk.data.attrs["windows"] == "Windows.expanding(10, test=12, first_test='2001-08')"
    assert len(bf.load_forecasts(tmp_path / "ols").windows) == 4
    assert {"mean", "realised", "forecaster"} <= set(pd.read_csv(csv).columns)
    own = call("compare", tmp_path / "zero", tmp_path / "ols")
    common = call("compare", tmp_path / "zero", tmp_path / "ols", "--common")
    assert "INCONCLUSIVE" in own.output
    assert "90% band" in common.output
    other = call("compare", tmp_path / "zero", tmp_path / "linear", code=2)
    assert "ComparisonError" in other.output


def test_what_a_walk_cannot_be_is_refused_before_the_work(folder: Path, tmp_path: Path) -> None:
    data, store = folder / "data.parquet", ["--store", tmp_path / "walk"]
    refused = call("walk-forward", "ols", data, *READ, "--train", "10", "--hidden", "4", *store, code=2)
    assert "the baseline ols has no --hidden" in refused.output
    short = call("walk-forward", "ols", data, *READ, "--train", "500", *store, code=2)
    assert "EmptyWindowError" in short.output
    assert not (tmp_path / "walk").exists()
    call("walk-forward", "zero", data, *READ, "--train", "10", *store)
    other = call("walk-forward", "ols", data, *READ, "--train", "10", *store, code=2)
    assert "must be the store of the same walk" in " ".join(other.output.split())  # a long path breaks lines
    mixed = call("compare", tmp_path / "walk", folder / "linear.nc", code=2)
    assert "not compared with each other" in mixed.output
    call("compare", folder / "linear.nc", folder / "deep.nc", code=2)
