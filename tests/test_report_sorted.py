"""The report and the tables on a terminal show sorted factors: every number, every label, and what there is not."""

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
from bayesfactor.evaluation import compare_scores
from bayesfactor.report import Findings, FundamentalFindings, SortedFindings, terminal, write_report
from bayesfactor.report.findings import FAMILIES, Split
from bayesfactor.report.labels import no_alpha_words, status_label

HOSTILE = "<b>P1</b>"
ASSETS = [HOSTILE, "P2", "P3"]
FACTORS = ["deep_1", "deep_2"]


def bands(dims: dict[str, list], seed: int, **attrs: object) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    shape = tuple(len(labels) for labels in dims.values())
    mean = 0.01 * rng.standard_normal(shape)
    variables = {"mean": mean, "lower": mean - 0.008, "upper": mean + 0.005, "prob_positive": (mean > 0) * 0.9}
    said = {"prob": 0.9, "frequency": "monthly", "status": "ok"}
    return xr.Dataset({name: (tuple(dims), value) for name, value in variables.items()}, dims, said | attrs)


def ratios(**attrs: object) -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "mean": [1.01, 0.42, 0.59],
            "lower": [0.5, 0.1, 0.03],
            "upper": [1.7, 0.8, 1.2],
            "prior_mean": [0.8, 0.4, 0.4],
            "prob_beyond_prior": [0.71, 0.52, 0.68],
        },
        ["all", "benchmarks", "gain"],
    )
    table.attrs = {"units": "annual", "prob": 0.9, "status": "ok", **attrs}
    return table


def statement(beyond: float = 0.37, distance: float = 0.0123, **attrs: object) -> pd.Series:
    made = pd.Series({"prob_all_within": 0.004, "distance": distance, "prob_beyond_zero": beyond})
    made.attrs = {"within": 0.001, "frequency": "monthly", "status": "ok", **attrs}
    return made


def diagnosed() -> pd.DataFrame:
    return pd.DataFrame(
        {"r_hat": [1.002, 1.043, 1.0], "ess_bulk": [900.0, 88.0, 1200.0], "ess_tail": [77.0, 300.0, 1000.0]},
        ["alpha[P2]", "factor_square[0]", "log_density"],
    )


@pytest.fixture(scope="module")
def panel() -> bf.Panel:
    frame = bf.simulate.frame(n_months=14, n_assets=20, n_characteristics=3, seed=1)
    return bf.read_frame(
        frame, time="date", asset="asset", returns="ret", returns_over="row", lag=1, units="decimal", excess=True
    ).rank_normalise()


def part(panel: bf.Panel, names: tuple[str, ...] = ("one", "two"), **attrs: object) -> SortedFindings:
    """Results of several fits, all of them labelled alike."""
    last = list(panel.times[-1:])
    stocks, characteristics = list(panel.data["asset"].values), list(panel.characteristics)
    earned = {"train_last": f"{panel.times[8]:%Y-%m-%d}", "quantity": "cumulative factor return"}

    def each(made: dict[str, list], seed: int, **more: object) -> dict[str, xr.Dataset]:
        return {name: bands(made, seed + place, **attrs | more) for place, name in enumerate(names)}

    held = {
        name: one.assign({f"effective_{leg}": (("time", "factor"), [[4.0, 5.0]]) for leg in ("long", "short")})
        for name, one in each({"time": last, "asset": stocks, "factor": FACTORS}, 3).items()
    }
    return SortedFindings(
        earned=each({"time": list(panel.times[:-1]), "factor": FACTORS}, 1, **earned),
        importance=each({"factor": FACTORS, "characteristic": characteristics}, 2),
        weights=held,
        loadings=each({"test_asset": ASSETS, "priced_factor": [*FACTORS, "MKT"]}, 5),
        alphas=each({"test_asset": ASSETS}, 7),
        no_alpha={name: statement(**attrs) for name in names},
        sharpe_ratios={name: ratios(**attrs) for name in names},
        diagnosed={name: diagnosed() for name in names},
        scores={},
        comparison=None,
        not_compared="few models",
    )


def findings(panel: bf.Panel, *parts: SortedFindings) -> Findings:
    fit = SimpleNamespace(
        status="ok", reasons=(), model="SortedFactorModel()", likelihood_kind="density given stock returns",
        provenance={"seed": 1},
    )  # fmt: skip
    return Findings(panel, panel.split(panel.times[8])[0], None, {"one": fit}, parts)


def page_of(tmp_path: Path, found: Findings) -> str:
    return write_report(tmp_path / "report.html", found, title="Sorts").read_text(encoding="utf-8")


def test_every_section_has_its_numbers(tmp_path: Path, panel: bf.Panel) -> None:
    made = part(panel)
    page = page_of(tmp_path, findings(panel, made))
    assert re.findall("<h2>(.*?)</h2>", page) == [
        "The data",
        "The models",
        "Deep factors",
        "What stocks are sorted on",
        "Loadings",
        "Alphas",
        "Sharpe ratios",
        "Convergence of the sorted factors",
        "Later months explained",
        "Provenance",
    ]
    for result in made.alphas.values():
        row = result.isel(test_asset=1)
        shown = f"<td>P2</td><td>{100 * row['mean'].item():+.2f}</td><td>{100 * row['lower'].item():+.2f} to "
        assert shown in page
    clear = sum(int(((one["lower"] > 0) | (one["upper"] < 0)).sum()) for one in made.alphas.values())
    assert page.count('<tr class="clear">') == clear > 0
    assert page.count("P(all alphas within 0.1% a month): &lt; 0.01.") == 2
    assert "<td>gain</td><td>0.59</td><td>0.03 to 1.20</td><td>0.40</td>" in page
    worst = "<td>1.043 (factor_square[0])</td><td>88 (factor_square[0])</td><td>77 (alpha[P2])</td>"
    assert page.count(worst) == 2
    assert "density given stock returns" in page
    assert "NOT COMPARED" in page
    assert "few models." in page
    assert page.count("<img") == 2 * 6
    assert f"Which long-short portfolios of 20 stocks, sorted on {len(panel.characteristics)} characteristics" in page
    assert "not to be trusted" not in page


def test_nothing_is_loaded_and_every_label_is_escaped(tmp_path: Path, panel: bf.Panel) -> None:
    page = page_of(tmp_path, findings(panel, part(panel)))
    assert page.count('src="data:image/png;base64,') == page.count("<img")
    assert HOSTILE not in page
    assert "&lt;b&gt;P1&lt;/b&gt;" in page
    assert "href=" not in page


@pytest.mark.parametrize(
    ("attrs", "label"),
    [
        ({"status": "failed"}, "FAILED: bands not to be trusted"),
        ({"bands": "uncalibrated"}, "OK: bands uncalibrated (k-hat)"),
        ({"likelihood_kind": "pseudo-likelihood"}, "PSEUDO-LIKELIHOOD: bands may not cover"),
        (
            {"status": "warn", "likelihood_kind": "pseudo-likelihood"},
            "WARN: bands not to be trusted; PSEUDO-LIKELIHOOD: bands may not cover",
        ),
    ],
)
def test_what_a_fit_is_worth_stands_at_every_table(
    tmp_path: Path, panel: bf.Panel, attrs: dict[str, str], label: str
) -> None:
    made = part(panel, ("one",), **attrs)
    page = page_of(tmp_path, findings(panel, made))
    assert page.count(f'<span class="failed">{label}</span>') == 5 + 1  # five headings, and the table of convergence
    held = bf.top_holdings(made.weights["one"], panel.times[-1], n=2)
    for show in (
        lambda to: terminal.print_factors(to, "one", made.earned["one"], 4),
        lambda to: terminal.print_importance(to, "one", made.importance["one"]),
        lambda to: terminal.print_loadings(to, "one", made.loadings["one"]),
        lambda to: terminal.print_alphas(to, "one", made.alphas["one"], made.no_alpha["one"]),
        lambda to: terminal.print_sharpe_ratios(to, "one", made.sharpe_ratios["one"]),
        lambda to: terminal.print_holdings(to, "one", held, "2001-02"),
    ):
        console = Console(width=160)
        with console.capture() as capture:
            show(console)
        assert label in " ".join(capture.get().split())
    assert status_label(bands({"test_asset": ASSETS}, 1)) == ""


def test_what_a_model_has_not_is_said(tmp_path: Path, panel: bf.Panel) -> None:
    made = part(panel, ("one",))
    page = page_of(tmp_path, findings(panel, replace(made, loadings={}, alphas={}, no_alpha={})))
    assert "one: loadings are functions of characteristics, not of assets." in page
    assert "one: fitted without alphas." in page
    assert page.count("<img") == 4


def test_later_months_are_explained_and_not_predicted(tmp_path: Path, panel: bf.Panel) -> None:
    times = pd.date_range("2000-01-31", periods=120, freq="ME")
    rng = np.random.default_rng(1)
    base = rng.normal(100, 10, 120)
    scores = {
        name: xr.DataArray(base + rng.normal(gain, 1.0, 120), {"time": times}, ("time",))
        for name, gain in (("one", 3.0), ("two", 0.0))
    }
    table = compare_scores(scores)
    assert table.attrs["verdict"] == "one predicts better"
    page = page_of(tmp_path, findings(panel, replace(part(panel), comparison=table)))
    assert "<b>one explains better</b>" in page
    assert "predicts better</b>" not in page
    assert "predictive R²" not in page
    assert f"<td>two</td><td>{table.loc['two', 'elpd']:,.1f}</td>" in page


def test_many_alphas_are_cut_to_both_ends(tmp_path: Path, panel: bf.Panel) -> None:
    many = bands({"test_asset": [f"A{place}" for place in range(60)]}, 3)
    page = page_of(tmp_path, findings(panel, replace(part(panel, ("one",)), alphas={"one": many})))
    order = many["test_asset"].values[np.argsort(-many["mean"].values)]
    rows = re.findall(r"<td>(A\d+)</td>", page)
    assert rows == [*order[:20], *order[-20:]]
    assert "the highest and the lowest of 60" in page


def test_every_fit_belongs_to_one_family() -> None:
    sorts = SimpleNamespace(model=bf.SortedFactorModel())
    slopes = SimpleNamespace(model=bf.FundamentalFactorModel(hidden=()))
    own = SimpleNamespace(model=SimpleNamespace())
    chosen = [next(family for family in FAMILIES if family.speaks_of(fit)) for fit in (sorts, slopes, own)]
    assert chosen == [SortedFindings, FundamentalFindings, FundamentalFindings]


def test_alphas_together_in_words() -> None:
    assert no_alpha_words(statement()) == [
        "P(all alphas within 0.1% a month): < 0.01.",
        "They add 0.0123 to the squared Sharpe ratio of a month (posterior mean).",
        "Share of draws nearer to their mean than no alpha at all is: 0.37 (near 1 when the data speak against it).",
    ]
    few = no_alpha_words(statement(beyond=np.nan, distance=np.nan, frequency="weekly"))
    assert few == [
        "P(all alphas within 0.1% a month): < 0.01.",
        "Share of draws nearer to their mean than no alpha at all is: not given, it needs 20 draws an asset.",
    ]


def test_the_first_model_is_asked_over_the_windows_it_needs(monkeypatch: pytest.MonkeyPatch, panel: bf.Panel) -> None:
    """Factors over all months, importance over those learned from, holdings in the last one, scores later."""
    asked: dict[str, list] = {}

    def record(name: str, gives: object = None):
        def ask(fit: object, given: bf.Panel | None = None, **_: object) -> object:
            asked[name] = [] if given is None else [given.times[0], given.times[-1]]
            return gives

        return ask

    times = panel.times
    names = ("factors", "importance", "portfolio_weights", "loadings", "alphas", "no_alpha", "sharpe_ratios")
    for name in names:
        monkeypatch.setattr(f"bayesfactor.quantities.{name}", record(name))
    scores = {"one": np.arange(5.0), "two": np.arange(5.0) + 1}
    monkeypatch.setattr(
        "bayesfactor.evaluation.asset_scores.pricing_scores",
        lambda fit, given: (
            asked.setdefault("scores", [given.times[0], given.times[-1]])
            and xr.Dataset({"score": ("time", scores[fit.name])}, {"time": given.times})
        ),
    )
    fits = {
        name: SimpleNamespace(name=name, summary=lambda prob: diagnosed(), status="warn", reasons=("short",))
        for name in scores
    }
    split = Split(panel, panel.sel(time=times[:8]), panel.sel(time=times[8:13]), panel.sel(time=times[13:]))
    with pytest.warns(bf.errors.ComparisonWarning):
        made = SortedFindings.gather(fits, split, prob=0.9, top=5, tell=lambda step: None)
    assert asked["factors"] == [times[0], times[-1]]
    assert asked["importance"] == [times[0], times[7]]
    assert asked["portfolio_weights"] == [times[-1], times[-1]]
    assert asked["scores"] == [times[8], times[12]]
    assert made.comparison.index[0] == "two"
    assert "status 'warn': short" in made.comparison["warnings"].iloc[0]
    short = split._replace(test=panel.sel(time=times[8:10]))
    scores.update(one=np.arange(2.0), two=np.arange(2.0))
    few = SortedFindings.gather(fits, short, prob=0.9, top=5, tell=lambda step: None)
    assert few.comparison is None
    assert "months" in few.not_compared
    none = SortedFindings.gather(fits, split._replace(test=None), prob=0.9, top=5, tell=lambda step: None)
    assert "no month with returns after the training window" in none.not_compared
