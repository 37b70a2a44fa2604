"""The study of Feng, Polson and Xu in examples/fpx: a tiny run on the embedded data, its numbers, and its resuming."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

import bayesfactor as bf
from examples.common import grid
from examples.common.draws import flat, sorted_at_random
from examples.fpx import markets, study, tables
from examples.fpx.cells import Cell

pytest.importorskip("matplotlib")

TINY = bf.SVI(guide="normal", steps=100, restarts=2, draws=20, polish=0)
PROTOCOL = study.Protocol((1,), (1,), (1.0,), False, TINY)
CELL = Cell(1, 1, 1.0, markets.THREE)


class Run(NamedTuple):
    out: Path
    market: markets.Market
    found: study.Found
    page: str
    fit: bf.Fit


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("fpx")
    market = markets.embedded()
    found = study.run(market, PROTOCOL, out, workers=0, tell=lambda line: None)
    page = study.write([found], out, ["A test."]).read_text()
    return Run(out, market, found, page, bf.load(out / "fits" / "embedded" / CELL.file))


def least_squares_residuals(returns: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """``R - beta'f`` (time, asset), betas from a regression with intercept."""
    x = np.column_stack([np.ones(len(factors)), factors])
    slopes = np.linalg.lstsq(x, returns, rcond=None)[0]
    return returns - factors @ slopes[1:]


def test_measures_are_those_of_a_plain_regression_of_every_draw(run: Run) -> None:
    every = run.found.tables["measures"]
    rows = every[every["sorted_on"] == tables.LEARNED].set_index(["assets", "measure"])
    draws = bf.factors(run.fit, run.market.panels[markets.THREE], summary="draws")["factor_return"]
    benchmark = run.market.benchmarks[markets.THREE].to_numpy()
    for assets in ("bivariate sorts", "univariate sorts"):
        returns = run.market.assets[assets].to_numpy()
        total = ((returns - returns.mean(axis=0)) ** 2).sum()
        alone = least_squares_residuals(returns, benchmark)
        r2, errors = [], []
        for one in flat(draws):
            residuals = least_squares_residuals(returns, np.column_stack([one, benchmark]))
            r2.append(1 - (residuals**2).sum() / total)
            errors.append((residuals.mean(axis=0) ** 2).mean())
        row = rows.loc[(assets, "time_series_r2")]
        assert row["benchmark_value"] == pytest.approx(1 - (alone**2).sum() / total, rel=1e-9)
        assert row["mean"] == pytest.approx(np.mean(r2), rel=1e-6)
        row = rows.loc[(assets, "pricing_error")]
        assert row["mean"] == pytest.approx(np.mean(errors), rel=1e-5)
        assert [row["lower"], row["upper"]] == pytest.approx(np.quantile(errors, [0.05, 0.95]), rel=1e-5)
        assert row["change_mean"] == pytest.approx(np.mean(errors) / (alone.mean(axis=0) ** 2).mean() - 1, rel=1e-4)
    assert set(rows["role"]) == {"train", "test"}
    assert rows.loc["bivariate sorts", "role"].eq("train").all()


def test_the_deep_characteristic_of_one_layer_is_linear_and_its_shares_are_those_of_its_weights(run: Run) -> None:
    found = tables.explained_variation(run.market, run.fit)
    assert found.shares.sum("characteristic").values == pytest.approx(1.0)
    assert found.r2.values == pytest.approx(1.0, abs=1e-5)
    panel = run.market.panels[markets.THREE]
    weights = bf.align(run.fit).parameters()["sort_weight"][:, 0].astype(float)
    expected = 0.0
    for z, inside in zip(panel.data["characteristics"].values, panel.data["in_universe"].values, strict=True):
        parts = weights**2 * z[inside].astype(float).var(axis=0)
        expected = expected + parts / parts.sum(axis=1, keepdims=True) / len(panel.times)
    assert found.shares.sel(factor="deep_1").values == pytest.approx(expected, abs=2e-3)


def test_control_is_sorted_on_directions_of_no_fit(run: Run) -> None:
    control = sorted_at_random(grid.Outcome(CELL, run.fit, "")).fit
    weights, own = (one.tree["posterior"]["sort_weight"].values for one in (control, run.fit))
    assert weights.shape == own.shape
    assert weights.std() == pytest.approx(1.0, abs=0.1)
    assert abs(np.corrcoef(weights.ravel(), own.ravel())[0, 1]) < 4 / np.sqrt(own.size)
    # Draws of the control differ from each other as two random directions do; those of the fit hardly.
    draws = flat(tables.factors_of(run.market, grid.Outcome(CELL, control, "")).learned)[..., 0]
    assert np.abs(np.corrcoef(draws)).mean() < 0.8
    rows = run.found.tables["measures"]
    counts = rows.groupby("sorted_on").size()
    assert counts[tables.AT_RANDOM] == counts[tables.LEARNED]
    assert "| + 1 at random |" in run.page


def test_loss_is_the_minimum_of_equation_20() -> None:
    rng = np.random.default_rng(1)
    factors, noise = rng.normal(0.01, 0.04, (30, 2)), rng.normal(0, 0.02, (30, 3))
    returns = pd.DataFrame(factors @ rng.normal(size=(2, 3)) + 0.01 + noise)

    def equation_20(flat: np.ndarray) -> float:
        residuals = returns.to_numpy() - factors @ flat.reshape(2, 3)
        return 1e4 * ((residuals**2).mean() + 5.0 * (residuals.mean(axis=0) ** 2).mean())

    best = minimize(equation_20, np.zeros(6), tol=1e-12)
    assert tables.loss(returns, factors, 5.0) == pytest.approx(best.fun / 1e4, rel=1e-8)
    assert tables.loss(returns, factors[None], 0.0)[0] < tables.loss(returns, factors, 5.0)


def test_implied_returns_leave_the_alphas_and_the_cross_section() -> None:
    rng = np.random.default_rng(2)
    factors = rng.normal(0.01, 0.04, (40, 2))
    returns = pd.DataFrame(factors @ rng.normal(size=(2, 6)) + rng.normal(0.002, 0.02, (40, 6)))
    found = tables.implied(returns, factors)
    x = np.column_stack([np.ones(40), factors])
    fitted, squares, *_ = np.linalg.lstsq(x, returns.to_numpy(), rcond=None)
    assert returns.mean().to_numpy() - found.time_series == pytest.approx(fitted[0], abs=1e-12)
    assert found.residual_sd == pytest.approx(np.sqrt(squares / 37), rel=1e-9)
    loadings = np.column_stack([np.ones(6), fitted[1:].T])
    premia = np.linalg.lstsq(loadings, returns.mean().to_numpy(), rcond=None)[0]
    assert found.cross_section == pytest.approx(loadings @ premia, abs=1e-12)
    assert tables.implied(returns, factors[None]).time_series[0] == pytest.approx(found.time_series)


def test_sharpe_ratios_anomalies_and_alphas_are_there_with_their_fits_status(run: Run) -> None:
    sharpe = run.found.tables["sharpe"].iloc[0]
    assert sharpe["sample_all_lower"] >= sharpe["sample_benchmark"] > 0
    assert 0 <= sharpe["p_value_lower"] <= sharpe["p_value_median"] <= sharpe["p_value_upper"] <= 1
    assert sharpe["gain_lower"] >= 0
    assert sharpe["gain_prior_mean"] > 0
    counts = run.found.tables["anomalies"]
    assert set(counts["n_anomalies"]) == {26}
    assert counts["by_chance"].to_numpy() == pytest.approx(1.3)
    assert counts.groupby("errors")["model"].agg(list).to_dict() == {
        errors: ["benchmark", "with deep factors"] for errors in ("as_published", "ols")
    }
    alphas = run.found.tables["alphas"].set_index("assets")
    assert alphas["n_assets"].to_dict() == {"bivariate sorts": 24, "univariate sorts": 25, "largest stocks": 30}
    assert alphas["bands_beyond_zero"].le(alphas["n_assets"]).all()
    assert alphas["mean_sd"].gt(0).all()
    for table in run.found.tables.values():
        assert table["status"].isin(["warn", "failed"]).all()  # 100 steps are too few, and it is said everywhere
    assert run.fit.reasons[0] in run.found.tables["fits"]["reasons"].iloc[0]


def test_page_names_doubts_and_links_only_what_is_there(run: Run) -> None:
    links = {link.split(")")[0] for link in run.page.split("](")[1:]}
    assert links
    assert all((run.out / link).stat().st_size > 0 for link in links)
    assert "`f" in run.page
    assert "| bivariate sorts (learned) | learned from | benchmark |" in run.page
    value = float(run.found.tables["measures"].query("measure == 'time_series_r2'")["benchmark_value"].iloc[0])
    assert f"{value:.3g}" in run.page
    on_disk = pd.read_csv(run.out / "tables" / "embedded_measures.csv")
    assert on_disk["mean"].to_numpy() == pytest.approx(run.found.tables["measures"]["mean"].to_numpy(), rel=1e-5)


def test_a_second_run_computes_nothing_and_other_settings_or_data_are_not_taken_for_these(run: Run) -> None:
    folder = run.out / "fits" / "embedded"
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    told: list[str] = []
    again = grid.run(run.market, [CELL], TINY, folder, 0, told.append)
    assert "stored" in told[0]
    assert again[CELL].fit is not None
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    other = run.market._replace(panels={markets.THREE: run.market.panels[markets.THREE].split("2017-01")[0]})
    assert grid.stored(run.market, CELL, bf.SVI(), folder) is None
    assert grid.stored(other, CELL, TINY, folder) is None
    assert grid.stored(run.market._replace(covariance="by_asset"), CELL, TINY, folder) is None


def test_a_cell_that_cannot_be_fitted_is_told_and_stops_no_other(run: Run, tmp_path: Path) -> None:
    impossible = run.market._replace(covariance="full")  # 24 portfolios, 22 months
    outcome = grid.run(impossible, [CELL], TINY, tmp_path, 0, lambda line: None)[CELL]
    assert outcome.status == "no fit"
    assert "DataError" in outcome.error
    assert "months" in outcome.error
    row = tables.fit_rows(impossible, {CELL: outcome}).iloc[0]
    assert row["status"] == "no fit"
    assert row["reasons"] == outcome.error
    with pytest.raises(bf.errors.ConvergenceError, match="no cell of embedded"):
        study.run(impossible, PROTOCOL, tmp_path, 0, lambda line: None)


def test_french_portfolios_that_are_priced_are_not_sorted(shared_data: Path) -> None:
    market = markets.french(shared_data)
    learned, later = market.panels[markets.THREE], market.later[markets.THREE]
    sorts = {name.split("|")[0] for name in learned.data["asset"].values}
    assert len(sorts) == 7
    assert not sorts & {markets.LEARNED, markets.SECOND, markets.INDUSTRIES}
    assert learned.times[-1] < later.times[0]
    assert learned.times[0] == market.raw.times[0]
    factors = market.benchmarks[markets.THREE]
    assert list(factors) == ["Mkt-RF", "SMB", "HML"]
    assert list(market.benchmarks[markets.MARKET]) == ["Mkt-RF"]
    wide = market.assets["25 size x value"]
    joined = later.data["portfolio_returns"].to_pandas()
    assert joined.to_numpy() == pytest.approx(wide.loc[joined.index].to_numpy(), abs=1e-7)
    # 25 portfolios move with the market factor of the same months, which raw returns would not on average.
    assert wide.mean(axis=1).corr(factors["Mkt-RF"]) > 0.9
