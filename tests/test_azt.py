"""The study of Agarwal, Zouiten and Tulsian in examples/azt: a tiny run on a simulated economy, and its numbers."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from numpyro import handlers

import bayesfactor as bf
from examples.azt import __main__ as command
from examples.azt import explained, figures, markets, study, tables
from examples.azt.cells import Cell
from examples.azt.explained import Months
from examples.azt.markets import LATER, LEARNED, UNSEEN
from examples.common import grid
from examples.common.draws import flat

pytest.importorskip("matplotlib")

TINY = bf.SVI(guide="normal", steps=100, restarts=2, draws=20, polish=0)
CELLS = (Cell("squared"), Cell("huber", loading_sd=0.3))
LATER_FROM = 20


class Run(NamedTuple):
    out: Path
    market: markets.Market
    found: study.Found
    page: str
    fit: bf.Fit


@pytest.fixture(scope="module")
def market() -> markets.Market:
    panel, _ = bf.simulate.priced_economy(
        n_months=28, n_assets=40, n_characteristics=4, n_portfolios=2, seed=4, ragged=True
    )
    names = list(panel.data["asset"].values)
    when = panel.times[LATER_FROM]
    learned, unseen = (panel.sel(asset=names[part]).split(when) for part in (slice(28), slice(28, None)))
    return markets.Market("toy", "A toy", "Simulated.", "stocks", *learned, {"other stocks": unseen})


@pytest.fixture(scope="module")
def run(market: markets.Market, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("azt")
    found = study.run(market, study.Protocol(CELLS, TINY), out, workers=0, tell=lambda line: None)
    page = study.write([found], out, ["A test."]).read_text()
    return Run(out, market, found, page, bf.load(out / "fits" / "toy" / CELLS[0].file))


def by_hand(fit: bf.Fit, panel: bf.Panel) -> np.ndarray:
    """Explained returns (draw, month, asset) from the draws as they were sampled, in the months learned from."""
    draws = {name: values.astype(float) for name, values in fit.parameters().items()}
    z = panel.data["characteristics"].values.astype(float)
    g = panel.data["benchmark_returns"].values.astype(float)
    rows = []
    for draw in range(len(draws["loading_level"])):
        total = np.zeros(z.shape[:2])
        for name, f in (("loading", draws["factor_return"][draw]), ("benchmark_loading", g)):
            beta = draws[f"{name}_level"][draw] + z @ draws[f"{name}_map"][draw].T
            total += (beta * f[:, None, :]).sum(axis=-1)
        rows.append(total)
    return np.stack(rows)


@pytest.mark.parametrize("role", [LEARNED, UNSEEN])
def test_total_r2_is_that_of_residuals_computed_by_hand(run: Run, role: str) -> None:
    part = next(one for one in run.market.parts() if one.role == role and one.months == LEARNED)
    data = part.panel.data
    seen = (data["observed"] & data["in_universe"]).values
    returns, market = data["returns"].values, data["benchmark_returns"].values[:, :1]
    total = ((returns - market)[seen] ** 2).sum()
    whole = by_hand(run.fit, part.panel)
    r2 = [1 - ((returns - one)[seen] ** 2).sum() / total for one in whole]
    residuals = (returns - whole.mean(axis=0))[seen]
    rows = run.found.tables["measures"]
    rows = rows[(rows["model"] == "squared") & (rows["role"] == role) & (rows["months"] == LEARNED)]
    row = rows.set_index("measure").loc["total_r2"]
    assert row["mean"] == pytest.approx(np.mean(r2), abs=1e-5)
    assert [row["lower"], row["upper"]] == pytest.approx(np.quantile(r2, [0.05, 0.95]), abs=1e-5)
    assert row["of_mean"] == pytest.approx(1 - (residuals**2).sum() / total, abs=1e-5)
    assert row["gain"] == pytest.approx(row["of_mean"] - row["benchmark_of_mean"], abs=1e-9)
    assert rows.set_index("measure").loc["mean_absolute", "of_mean"] == pytest.approx(
        np.abs(residuals).mean(), rel=1e-4
    )
    assert row["n_assets"] == pytest.approx(seen.sum(axis=1).mean())


def test_later_months_are_explained_by_their_own_factors_and_the_betas_learned_before(run: Run) -> None:
    later = run.market.later
    deep = bf.factors(run.fit, later, summary="draws")["factor_return"]
    draws = bf.align(run.fit).parameters()
    months = Months.of(later)
    got = explained.by_networks(run.fit, months, flat(deep))
    z, g = months.z[2, 5], months.benchmarks[2]
    for draw in (0, 7, 39):
        beta = draws["loading_level"][draw] + draws["loading_map"][draw] @ z
        gamma = draws["benchmark_loading_level"][draw] + draws["benchmark_loading_map"][draw] @ z
        assert got[draw, 2, 5] == pytest.approx(beta @ flat(deep)[draw, 2] + gamma @ g, abs=1e-6)
    rows = run.found.tables["measures"]
    assert set(rows.loc[rows["months"] == LATER, "n_months"]) == {28 - LATER_FROM}


def test_errors_are_those_of_their_definitions_and_pass_over_what_is_not_seen() -> None:
    returns = np.array([[0.10, -0.02, 0.05], [0.00, 0.04, 9.0]])
    seen = np.array([[True, True, True], [True, True, False]])
    months = Months(np.zeros((2, 3, 1)), returns, seen, np.array([[0.02], [0.01]]))
    found = explained.errors(months, np.array([[0.04, 0.00, 0.05], [0.01, 0.00, 0.0]]), turn=0.03)
    residuals = np.array([0.06, -0.02, 0.0, -0.01, 0.04])
    against = np.array([0.08, -0.04, 0.03, -0.01, 0.03])
    assert found.total_r2 == pytest.approx(1 - (residuals**2).sum() / (against**2).sum())
    assert found.root_mean_square == pytest.approx(np.sqrt((residuals**2).mean()))
    assert found.mean_absolute == pytest.approx(0.026)
    by_huber = [0.03 * (0.06 - 0.015), 0.0002, 0.0, 0.00005, 0.03 * (0.04 - 0.015)]
    assert found.huber == pytest.approx(np.mean(by_huber))
    assert found.of_months == pytest.approx(np.sqrt(((0.04 / 3) ** 2 + 0.015**2) / 2))
    assert found.squares == pytest.approx([0.0040, 0.0017])


def test_linear_betas_are_least_squares_with_the_priors_of_the_model(market: markets.Market) -> None:
    months = Months.of(market.learned)
    factors = np.column_stack([months.benchmarks[:, 0], np.random.default_rng(1).normal(0, 0.05, len(months.returns))])
    z = np.concatenate([np.ones((*months.z.shape[:2], 1)), months.z], axis=-1)
    rows = np.concatenate([factors[:, [k], None] * z for k in range(2)], axis=-1)[months.seen]
    y = months.returns[months.seen]
    rng = np.random.default_rng(2)

    def close(loading_sd: float, precision: np.ndarray) -> None:
        """Draws have the mean of the ridge regression in typical residuals, and its spread."""
        drawn = [explained.linear_betas(months, factors, 0.05, loading_sd, rng).T.ravel() for _ in range(400)]
        inverse = np.linalg.inv(rows.T @ rows / 0.05**2 + np.diag(precision))
        slopes = inverse @ rows.T @ y / 0.05**2
        sd = np.sqrt(np.diag(inverse)) * (y - rows @ slopes).std() / 0.05
        assert np.all(np.abs(np.mean(drawn, axis=0) - slopes) < 5 * sd / np.sqrt(400))
        assert np.std(drawn, axis=0) / sd == pytest.approx(1.0, abs=0.2)

    close(1e3, np.zeros(10))
    close(0.1, np.tile([100.0, *[400.0 / 3] * 4], 2))
    own = explained.linear_betas(months, factors, 0.05, 1.0, rng)
    whole = explained.by_linear_betas(months, [factors], [own])[0]
    assert whole[3, 4] == pytest.approx(sum(factors[3, k] * (z[3, 4] @ own[:, k]) for k in range(2)))


def test_lambda_3_is_that_of_the_prior_of_the_program(run: Run) -> None:
    model = CELLS[1].model(run.market)
    data = model.data(run.market.learned.arrays())

    def precision_of_a_slope() -> jax.Array:
        """Twice what one slope of 1 takes from the log prior."""
        site = handlers.trace(handlers.seed(model, jax.random.key(0))).get_trace(data)["loading_map"]
        one = jnp.eye(1, site["value"].size).reshape(site["value"].shape)
        return 2 * (site["fn"].log_prob(0 * one) - site["fn"].log_prob(one))

    precision = float(jax.jit(precision_of_a_slope)())
    outcome = grid.Outcome(CELLS[1]._replace(loss="squared"), run.fit, "")
    row = tables.fit_rows(run.market, [outcome]).iloc[0]
    variance = float((run.fit.tree["posterior"]["residual_sd"] ** 2).mean())
    n_returns = int(run.market.learned.data["observed"].sum())
    assert row["lambda_3"] == pytest.approx(variance * precision / n_returns, rel=1e-4)
    assert pd.isna(run.found.tables["fits"].set_index("loss").loc["huber", "lambda_3"])


def test_cumulative_returns_compound(run: Run) -> None:
    assert tables.growth(np.array([[0.10, -0.50, 1.00]])) == pytest.approx(np.array([[1.10, 0.55, 1.10]]))
    rows = run.found.tables["factors"].set_index(["months", "factor"])
    market = run.market.later.data["benchmark_returns"].to_pandas()["MKT"]
    assert rows.loc[(LATER, "MKT"), "growth_mean"] == pytest.approx((1 + market).prod())
    deep = tables.factors(run.market, run.fit)
    own = np.prod(1 + flat(deep.learned)[..., 0], axis=1)
    row = rows.loc[(LEARNED, "deep_1")]
    assert row["growth_mean"] == pytest.approx(own.mean(), rel=1e-6)
    assert [row["growth_lower"], row["growth_upper"]] == pytest.approx(np.quantile(own, [0.05, 0.95]), rel=1e-6)
    figure = figures.cumulative(run.market, grid.Outcome(CELLS[0], run.fit, ""), deep)
    line = next(one for one in figure.axes[0].get_lines() if one.get_label() == "deep factor, median")
    whole = own * np.prod(1 + flat(deep.later)[..., 0], axis=1)
    assert line.get_ydata()[0] == 1.0
    assert line.get_ydata()[-1] == pytest.approx(np.median(whole), rel=1e-6)


def test_gain_has_the_error_of_its_months() -> None:
    reference, own = np.array([4.0, 5.0, 3.0, 4.0]), np.array([3.0, 5.0, 1.0, 3.0])
    found = tables.gain(reference, own, total=20.0)
    assert found["gain"] == pytest.approx(0.2)
    assert found["gain_se"] >= np.std([0.05, 0.0, 0.1, 0.05], ddof=1) * 2
    assert 0.5 < found["prob_gain"] < 1
    assert tables.gain(own, reference, 20.0)["prob_gain"] == pytest.approx(1 - found["prob_gain"])


def test_importance_is_the_mean_over_factors_and_its_ranks_are_probabilities(run: Run) -> None:
    draws = bf.importance(run.fit, run.market.learned, summary="draws")["importance"]
    rows = run.found.tables["importance"]
    mean = rows[rows["factor"] == "mean"].set_index("characteristic")
    for name in draws["characteristic"].values:
        own = draws.sel(characteristic=name).mean("factor").values
        assert mean.loc[name, "mean"] == pytest.approx(own.mean(), rel=1e-6)
        assert mean.loc[name, "upper"] == pytest.approx(np.quantile(own, 0.95), rel=1e-6)
    assert mean["mean"].is_monotonic_decreasing
    assert mean["prob_top"].sum() == pytest.approx(tables.TOP)
    assert (rows["at_random_lower"] < rows["at_random_mean"]).all()
    assert (rows["at_random_mean"] < rows["at_random_upper"]).all()
    # Ranks have nearly one law: at random no characteristic stands out.
    assert mean["at_random_mean"].max() < 1.6 * mean["at_random_mean"].min()


def test_every_row_of_a_fit_says_pseudo_likelihood_and_its_status(run: Run) -> None:
    for name, table in run.found.tables.items():
        of_cells = table[table["loss"].notna()]
        assert set(of_cells["likelihood"]) == {"pseudo-likelihood"}, name
        assert of_cells["status"].isin(["warn", "failed"]).all()  # 100 steps are too few
        assert (table.loc[table["loss"].isna(), "status"] == "exact").all()
    models = run.found.tables["measures"]["model"].unique()
    three = ["three factors", "three factors, beta sd 0.3"]
    random = [f"{one}, 2 at random" for one in three]
    assert list(models) == [*three, "market", *random, "squared", "huber, beta sd 0.3"]
    own = run.found.tables["measures"].set_index("model")["benchmark"]
    for benchmark, sort, cell in zip(three, random, ("squared", "huber, beta sd 0.3"), strict=True):
        assert set(own[benchmark]) == set(own[sort]) == set(own[cell]) == {benchmark}
    lines = [line for line in run.page.splitlines() if line.startswith(("| squared", "| huber", "| deep_"))]
    assert len(lines) > 8
    assert all("`f" in line and "`p`" in line for line in lines)
    assert not any("`p`" in line for line in run.page.splitlines() if line.startswith(("| market", "| three")))
    assert run.fit.reasons[0] in run.found.tables["fits"]["reasons"].iloc[0]


def test_page_links_what_is_there_and_tables_are_on_disk(run: Run) -> None:
    links = {link.split(")")[0] for link in run.page.split("](")[1:]}
    assert len(links) == 7
    assert all((run.out / link).stat().st_size > 0 for link in links)
    on_disk = pd.read_csv(run.out / "tables" / "toy_measures.csv")
    assert on_disk["mean"].to_numpy() == pytest.approx(run.found.tables["measures"]["mean"].to_numpy(), rel=1e-5)


def test_a_second_run_computes_nothing(run: Run) -> None:
    told: list[str] = []
    grid.run(run.market, CELLS, TINY, run.out / "fits" / "toy", 0, told.append)
    assert len(told) == 2
    assert all("stored" in line for line in told)
    other = run.market._replace(learned=run.market.learned.split(run.market.learned.times[15])[0])
    assert grid.stored(other, CELLS[0], TINY, run.out / "fits" / "toy") is None


def test_cells_are_what_they_are_called(market: markets.Market) -> None:
    cells = {*command.FULL, *command.QUICK["embedded"], *command.QUICK["french"]}
    assert len({cell.file for cell in cells}) == len({cell.title for cell in cells}) == len(cells)
    assert len({cell.model(market) for cell in cells}) == len(cells)
    assert all(cell.model(market).likelihood_kind == "pseudo-likelihood" for cell in cells)
    model = Cell("absolute", layers=2).model(market)
    assert (model.noise, model.hidden, model.loading_hidden) == ("laplace", (8,), (4,))


def test_a_market_whose_fits_fail_says_why(market: markets.Market, tmp_path: Path) -> None:
    short = market._replace(learned=market.learned.split(market.learned.times[3])[0])
    with pytest.raises(bf.errors.ConvergenceError, match=r"no cell of toy could be fitted.*months"):
        study.run(short, study.Protocol(CELLS[:1], TINY), tmp_path, 0, lambda line: None)


def test_other_stocks_and_later_months_are_in_no_fit() -> None:
    market = markets.embedded()
    learned, later = set(market.learned.data["asset"].values), market.later.times
    other = market.unseen["other stocks"]
    assert not learned & set(other[0].data["asset"].values)
    assert len(learned) == pytest.approx(650 * 2 / 3, abs=1)
    assert market.learned.times[-1] < later[0]
    assert [len(panel.times) for panel in (market.learned, market.later, *other)] == [16, 6, 16, 6]
    assert list(market.learned.data["benchmark"].values) == ["MKT", "SMB", "HML"]


def test_french_sorts_that_are_never_learned_from_are_whole(shared_data: Path) -> None:
    market = markets.french(shared_data, since="1985-01")
    sorts = {name.split("|")[0] for name in market.learned.data["asset"].values}
    assert len(sorts) == 7
    assert not sorts & set(markets.SORTS)
    assert {name: len(panels[0].data["asset"]) for name, panels in market.unseen.items()} == {
        "25 size x value": 25, "25 size x profitability": 25, "49 industries": 49
    }  # fmt: skip
    assert market.learned.times[0] == pd.Timestamp("1985-01-31")
    assert market.later.times[0] == pd.Timestamp("1995-01-31")
    assert market.learned.data["benchmark"].values[0] == "Mkt-RF"
