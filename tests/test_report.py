"""The report is one file that loads nothing, escapes every text, and says plainly what is in doubt."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from rich.console import Console

import bayesfactor as bf
from bayesfactor.demo import ranked_forecasts
from bayesfactor.errors import AlignmentError
from bayesfactor.evaluation import compare_scores
from bayesfactor.report import (
    Findings,
    FundamentalFindings,
    different_training_data,
    gather,
    later_months,
    require_training_data,
    terminal,
    training_window,
    write_report,
)

HOSTILE = "<script>alert(1)</script>"


def bands(dims: dict[str, list], seed: int, status: str = "ok") -> xr.Dataset:
    """A hand-made result with bands over `dims`."""
    rng = np.random.default_rng(seed)
    shape = tuple(len(labels) for labels in dims.values())
    mean, sd = 0.004 * rng.standard_normal(shape), 0.001 + 0.002 * rng.random(shape)
    rank = np.argsort(np.argsort(-np.abs(mean), -1), -1) + 1.0
    variables = {
        "mean": mean,
        "sd": sd,
        "lower": mean - 1.6 * sd,
        "upper": mean + 1.6 * sd,
        "predictive_sd": np.full(shape, 0.07),
        "prob_positive": np.where(mean > 0, 0.9, 0.1),
        "rank_lower": np.maximum(rank - 1, 1),
        "rank_median": rank,
        "rank_upper": rank + 2,
    }
    attrs = {"prob": 0.9, "frequency": "monthly", "status": status}
    return xr.Dataset({name: (tuple(dims), value) for name, value in variables.items()}, dims, attrs)


def pairs(names: list[str], seed: int, status: str = "ok") -> xr.Dataset:
    both = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]][:12]
    result = bands({"pair": list(range(len(both)))}, seed, status).drop_vars("pair")
    return result.assign_coords(
        characteristic=("pair", [a for a, _ in both]), characteristic_2=("pair", [b for _, b in both])
    )


def scores(times: pd.DatetimeIndex, seed: int) -> xr.Dataset:
    values = 500 + 5 * np.random.default_rng(seed).standard_normal(len(times))
    return xr.Dataset({"score": ("time", values)}, {"time": times})


def fit_like(train: bf.Panel, status: str = "ok", reasons: tuple[str, ...] = ()) -> SimpleNamespace:
    """What the report reads of a Fit."""
    return SimpleNamespace(
        status=status,
        reasons=reasons,
        model="FundamentalFactorModel(hidden=(8,))",
        likelihood_kind="density",
        train_times=train.times,
        panel_fingerprint=train.fingerprint,
        provenance={
            "panel_history": list(train.history),
            "seed": 1,
            "wall_seconds": 61.2,
            "versions": {"jax": "0.10.2"},
            "device": "cpu:0",
        },
    )


@pytest.fixture(scope="module")
def panel() -> bf.Panel:
    frame = bf.simulate.frame(n_months=14, n_assets=30, n_characteristics=5, seed=1)
    frame = frame.rename(columns={"c0": HOSTILE} if "c0" in frame else {frame.columns[-1]: HOSTILE})
    return bf.read_frame(
        frame,
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
def findings(panel: bf.Panel) -> Findings:
    train, later = panel.split(panel.times[8])
    live = later.live
    test = later.sel(time=list(later.times.difference(live.times)))
    names, assets = list(panel.characteristics), list(panel.data["asset"].values)
    month = {"time": list(live.times), "asset": assets}
    held_out = {"linear": scores(test.times, 1), "deep": scores(test.times, 2)}
    with pytest.warns(bf.errors.ComparisonWarning):
        table = compare_scores({name: result["score"] for name, result in held_out.items()})
    part = FundamentalFindings(
        sensitivities={
            "linear": bands({"characteristic": names}, 1),
            "deep": bands({"characteristic": names}, 2, "warn"),
        },
        interactions={"deep": pairs(names, 3, "warn")},
        forecasts={"linear": bands(month, 4), "deep": bands(month, 5, "warn")},
        scores=held_out,
        predictive_r2={"linear": 0.004, "deep": -0.01},
        comparison=table,
        not_compared="",
    )
    fits = {"linear": fit_like(train), "deep": fit_like(train, "warn", ("R-hat 1.02 of sensitivity",))}
    return Findings(panel, train, test, fits, (part,))


def changed(findings: Findings, **values: object) -> Findings:
    """The findings with other values of their only part."""
    return replace(findings, parts=(replace(findings.parts[0], **values),))


def written(tmp_path: Path, findings: Findings, **more: str) -> str:
    path = write_report(tmp_path / "report.html", findings, title="Stocks", **more)
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, findings: Findings) -> str:
    return written(tmp_path_factory.mktemp("report"), findings, attribution=f"CC BY-SA 4.0 {HOSTILE}")


def test_every_section_has_its_numbers(page: str, findings: Findings) -> None:
    assert re.findall("<h2>(.*?)</h2>", page) == [
        "The data",
        "The models",
        "Sensitivities",
        "Interactions",
        "Comparison",
        "Forecasts",
        "Provenance",
    ]
    row = findings.parts[0].sensitivities["linear"].isel(characteristic=2)
    shown = f"{100 * row['mean'].item():+.2f}</td><td>{100 * row['lower'].item():+.2f} to "
    assert shown in page
    clear = [(r["lower"] > 0) | (r["upper"] < 0) for r in findings.parts[0].sensitivities.values()]
    assert page.count('<tr class="clear">') == sum(int(c.sum()) for c in clear)
    assert findings.panel.fingerprint in page
    assert "CC BY-SA 4.0" in page
    assert "R-hat 1.02 of sensitivity" in page
    assert "versions: jax" in page
    assert "0.10.2" in page
    assert "+0.40%" in page
    assert "linear: linear in the characteristics, so it has no interactions" in page


def test_nothing_is_loaded_from_outside_and_texts_are_escaped(page: str) -> None:
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    assert page.count('src="data:image/png;base64,') == page.count("<img")
    assert "href=" not in page
    assert "url(" not in page


def test_few_months_are_inconclusive_in_words(page: str) -> None:
    assert "<b>INCONCLUSIVE</b>" in page
    assert "6 months cannot decide between models" in page
    assert "not given" in page


def test_a_clear_verdict_is_not_called_inconclusive(tmp_path: Path, findings: Findings) -> None:
    table = findings.parts[0].comparison.copy()
    table["prob_better"] = [0.99, 0.01]
    table.attrs = {**findings.parts[0].comparison.attrs, "verdict": "deep predicts better", "sample": "60 months"}
    page = written(tmp_path, changed(findings, comparison=table))
    assert "<b>deep predicts better</b>" in page
    assert "INCONCLUSIVE</b>" not in page
    assert "Judged on 60 months" in page


def test_without_comparison_or_forecast_the_report_says_why(tmp_path: Path, findings: Findings) -> None:
    bare = replace(changed(findings, comparison=None, not_compared="one model alone", forecasts={}), test=None)
    page = written(tmp_path, bare)
    assert "NOT COMPARED" in page
    assert "one model alone" in page
    assert "no live month" in page


def test_windows_of_a_fit(panel: bf.Panel) -> None:
    train, _ = panel.split(panel.times[8])
    fit = fit_like(train)
    assert training_window(fit, panel).fingerprint == train.fingerprint
    test, live = later_months(panel, fit)
    assert list(test.times) == list(panel.times[8:-1])
    assert list(live.times) == [panel.times[-1]]
    assert later_months(train, fit) == (None, None)
    no_live, none = later_months(panel.sel(time=slice(panel.times[0], panel.times[-2])), fit)
    assert list(no_live.times) == list(panel.times[8:-1])
    assert none is None
    only_live = panel.sel(time=[*train.times, panel.times[-1]])
    assert later_months(only_live, fit)[0] is None


def test_a_panel_without_the_training_months_is_refused(panel: bf.Panel) -> None:
    train, later = panel.split(panel.times[8])
    with pytest.raises(AlignmentError, match=r"8 of 8 are absent, first .*lag="):
        training_window(fit_like(train), later)


def test_the_training_window_is_the_months_learned_from_and_no_others(panel: bf.Panel) -> None:
    train = panel.sel(time=[*panel.times[:3], *panel.times[5:8]])
    assert training_window(fit_like(train), panel).fingerprint == train.fingerprint


def test_other_data_in_the_training_months_are_refused(panel: bf.Panel) -> None:
    train, _ = panel.split(panel.times[8])
    fit = fit_like(train)
    assert require_training_data(fit, panel).fingerprint == train.fingerprint
    assert different_training_data(fit, train) == ""
    raw = panel.apply(lambda data: data.assign(returns=data.returns + 0.02), "raw returns")
    with pytest.raises(AlignmentError, match=r"what the fit learned from: fingerprint .*lag=1.*excess or raw"):
        require_training_data(fit, raw)
    with pytest.raises(AlignmentError, match="what the fit learned from"):
        gather({"one": fit}, raw)
    mixed = {
        "one": fit,
        "two": fit_like(panel.sel(characteristic=list(panel.characteristics[1:])).split(panel.times[8])[0]),
    }
    with pytest.raises(AlignmentError, match="what the fit learned from"):
        gather(mixed, panel)


@pytest.mark.parametrize("status", ["warn", "failed"])
def test_bands_in_doubt_carry_their_label_in_every_table(tmp_path: Path, findings: Findings, status: str) -> None:
    label = f"{status.upper()}: bands not to be trusted"
    tables = {
        "sensitivities": (terminal.print_sensitivities, findings.parts[0].sensitivities["linear"]),
        "interactions": (terminal.print_interactions, findings.parts[0].interactions["deep"]),
        "forecasts": (terminal.print_forecast, findings.parts[0].forecasts["linear"]),
    }
    for show, result in tables.values():
        console = Console(width=160)
        with console.capture() as capture:
            show(console, "sound", result.assign_attrs(status="ok"))
        assert "not to be trusted" not in capture.get()
        with console.capture() as capture:
            show(console, "doubtful", result.assign_attrs(status=status))
        assert label in capture.get()

    def marked(said: str) -> Findings:
        relabelled = {
            kind: {name: result.assign_attrs(status=said) for name, result in getattr(findings.parts[0], kind).items()}
            for kind in tables
        }
        return changed(findings, **relabelled)

    page = written(tmp_path, marked(status))
    assert len(re.findall(f'<h3>[^<]*<span class="failed">{label}</span></h3>', page)) == 2 + 1 + 2
    assert "not to be trusted" not in written(tmp_path, marked("ok"))


def test_uncalibrated_bands_are_called_so_in_every_table_and_only_there(tmp_path: Path, findings: Findings) -> None:
    shows = {
        "sensitivities": terminal.print_sensitivities,
        "interactions": terminal.print_interactions,
        "forecasts": terminal.print_forecast,
    }
    relabelled: dict = {}
    for kind, show in shows.items():
        results = {
            name: result.assign_attrs(status="warn") for name, result in getattr(findings.parts[0], kind).items()
        }
        relabelled[kind] = {**results, "deep": results["deep"].assign_attrs(bands="uncalibrated")}
        for name, result in relabelled[kind].items():
            console = Console(width=160)
            with console.capture() as capture:
                show(console, name, result)
            assert ("WARN: bands uncalibrated (k-hat)" in capture.get()) == (name == "deep")
    page = written(tmp_path, changed(findings, **relabelled))
    assert len(re.findall('<span class="failed">WARN: bands uncalibrated', page)) == 3


def test_ranked_forecasts_say_which_model_is_uncalibrated(findings: Findings) -> None:
    assert "bands" not in ranked_forecasts(findings.parts[0].forecasts).coords
    deep = findings.parts[0].forecasts["deep"].assign_attrs(bands="uncalibrated")
    ranked = ranked_forecasts({**findings.parts[0].forecasts, "deep": deep})
    assert ranked["bands"].values.tolist() == ["", "uncalibrated"]
    assert "bands" not in ranked.attrs
    assert deep.attrs["bands"] == "uncalibrated"


def test_ranked_forecasts_are_sorted_within_each_model(findings: Findings) -> None:
    ranked = ranked_forecasts(findings.parts[0].forecasts)
    assert ranked["mean"].dims == ("model", "rank")
    assert (np.diff(ranked["mean"].values, axis=1) <= 0).all()
    deep = findings.parts[0].forecasts["deep"].isel(time=-1)
    best = ranked.sel(model="deep", rank=1)
    assert best["mean"].item() == deep["mean"].max().item()
    assert best["lower"].item() == deep["lower"].sel(asset=best["asset"].item()).item()
    assert ranked.attrs["prob"] == 0.9
    assert ranked["status"].values.tolist() == ["ok", "warn"]


def test_terminal_tables_show_the_numbers_and_escape_markup(findings: Findings) -> None:
    console = Console(record=True, width=160, file=None, quiet=False)
    with console.capture() as capture:
        for name, result in findings.parts[0].sensitivities.items():
            terminal.print_sensitivities(console, f"[bold]{name}[/bold]", result)
        terminal.print_sensitivities(console, "few", findings.parts[0].sensitivities["deep"], top=2)
        terminal.print_interactions(console, "deep", findings.parts[0].interactions["deep"])
        terminal.print_forecast(console, "deep", findings.parts[0].forecasts["deep"])
        terminal.print_comparison(console, findings.parts[0].comparison)
        terminal.print_fit(console, "deep", findings.fits["deep"])
        terminal.print_frame(console, findings.panel.describe(), "By period")
    text = capture.get()
    row = findings.parts[0].sensitivities["deep"].isel(characteristic=0)
    assert f"{100 * row['lower'].item():+.2f} to {100 * row['upper'].item():+.2f}" in text
    assert "[bold]deep[/bold]" in text
    assert "INCONCLUSIVE" in text
    assert "the 2 strongest of" in text
    assert "R-hat 1.02 of sensitivity" in text
    best = findings.parts[0].forecasts["deep"].isel(time=-1)["mean"].max().item()
    assert f"{100 * best:+.2f}" in text


def _printed(table: object) -> str:
    console = Console(record=True, width=80, file=None, quiet=False)
    with console.capture() as capture:
        terminal.print_comparison(console, table)
    return capture.get()


def test_a_comparison_of_120_months_prints_intervals_in_80_columns() -> None:
    rng, times = np.random.default_rng(1), pd.date_range("2000-01-31", periods=120, freq="ME")
    base = rng.normal(1500, 100, 120)
    scores = {
        name: xr.DataArray(base + rng.normal(gain, 3.0, 120), {"time": times}, ("time",))
        for name, gain in (("gradient_boosting", 0.0), ("historical_mean", -20.0), ("zero", -0.5))
    }
    table = compare_scores(scores)
    text = _printed(table)
    assert max(map(len, text.splitlines())) <= 80
    bounds = bf.difference_intervals(table)
    for model in table.index[1:]:
        assert f"{bounds.loc[model, 'lower']:,.1f} to {bounds.loc[model, 'upper']:,.1f}" in text
    assert "< 0.01" in text  # and never 0.00
    assert " 0.00 " not in text
    assert "windows" not in text
    stored = table.copy()
    stored.attrs = table.attrs | {"score": "common covariance", "n_windows": 10, "n_live_months": 1}
    text = _printed(stored)
    assert "Means under one common covariance, 10 windows; 1 live period left out." in text
    assert max(map(len, text.splitlines())) <= 80


def test_an_inconclusive_comparison_prints_errors_and_no_intervals(findings: Findings) -> None:
    text = _printed(findings.parts[0].comparison)
    assert "not given" in text
    assert "error" in text
    assert "interval" not in text
    assert f"{findings.parts[0].comparison['diff_se'].iloc[1]:,.1f}" in text
