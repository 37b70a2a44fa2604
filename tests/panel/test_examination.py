"""What `examine` finds: tables against slow loops, planted defects found, real panels left in peace."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

from bayesfactor.errors import DataError
from bayesfactor.panel import Panel, datasets, read_frame, simulate
from bayesfactor.panel.examination import BEST_SHARPE, SURE, Examination, examine

NAN = np.nan
REAL = {
    "us_stocks_pit_chars_2015_2017_pystock.parquet": 33,
    "us_stocks_price_chars_2006_2017_top1500.parquet": 23,
    "french_portfolios_panel_1963_2025.parquet": 9,
}
ROLES = ("date", "asset", "ret_next", "xret_next", "rf_next")


def made(
    cube: np.ndarray,
    returns: np.ndarray,
    universe: np.ndarray | None = None,
    frequency: str = "monthly",
    **more: object,
) -> Panel:
    """Raw panel of periods x assets x characteristics."""
    dims = ("time", "asset")
    step = {"monthly": "ME", "weekly": "W-FRI", "daily": "B"}[frequency]
    variables = {
        "characteristics": ((*dims, "characteristic"), cube),
        "returns": (dims, returns),
        "in_universe": (dims, np.ones(returns.shape, bool) if universe is None else universe),
        **{name: (dims, value) for name, value in more.items()},
    }
    coords = {
        "time": pd.date_range("2016-01-31", periods=len(cube), freq=step, unit="ns"),
        "asset": [f"A{i}" for i in range(cube.shape[1])],
        "characteristic": [f"x{k}" for k in range(cube.shape[2])],
    }
    return Panel(xr.Dataset(variables, coords), frequency)


def noise(n_periods: int, n_assets: int, n_characteristics: int = 1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Characteristics and returns without any relation."""
    rng = np.random.default_rng(seed)
    shape = (n_periods, n_assets)
    return rng.standard_normal((*shape, n_characteristics)), 0.08 * rng.standard_normal(shape)


def said(found: Examination, words: str) -> bool:
    return any(words in line for line in found.findings)


# Tables


def test_tables_match_slow_loops() -> None:
    rng = np.random.default_rng(1)
    n_periods, n_assets, n_names = 6, 40, 3
    cube = rng.integers(0, 25, (n_periods, n_assets, n_names)).astype(float)
    cube[1:, ::3, 1] = cube[:-1, ::3, 1]
    cube[rng.random(cube.shape) < 0.2] = NAN
    cube[2, :, 2], cube[4, :, 0] = 7.0, NAN
    returns = np.where(rng.random((n_periods, n_assets)) < 0.1, NAN, rng.normal(0, 0.1, (n_periods, n_assets)))
    universe = rng.random((n_periods, n_assets)) < 0.85
    panel = made(cube, returns, universe)
    found = examine(panel)
    for k in range(n_names):
        absent, tied, there, same, both, flat, now, before, worst = 0, 0, 0, 0, 0, 0, [], [], 0.0
        for t in range(n_periods):
            members = np.flatnonzero(universe[t])
            column = {i: cube[t, i, k] for i in members if not np.isnan(cube[t, i, k])}
            absent, there = absent + members.size - len(column), there + len(column)
            worst = max(worst, 1 - len(column) / members.size)
            flat += len(set(column.values())) <= 1
            tied += sum(list(column.values()).count(value) > 1 for value in column.values())
            for i, value in column.items():
                if t and universe[t - 1, i] and not np.isnan(cube[t - 1, i, k]):
                    both, same = both + 1, same + (value == cube[t - 1, i, k])
            ranks = dict(zip(column, stats.rankdata(list(column.values())), strict=True))
            for kept, at in ((now, t), (before, t - 1)):
                if at < 0:
                    continue
                seen = [i for i in members if universe[at, i] and not np.isnan(returns[at, i])]
                place = dict(zip(seen, stats.rankdata([returns[at, i] for i in seen]), strict=True))
                pair = [i for i in seen if i in ranks]
                if len(pair) >= 10 and len({ranks[i] for i in pair}) > 1:
                    kept.append(stats.pearsonr([ranks[i] for i in pair], [place[i] for i in pair]).statistic)
        row = found.characteristics.iloc[k]
        np.testing.assert_allclose(row["missing"], absent / universe.sum())
        np.testing.assert_allclose(row["worst_period"], worst)
        assert row["flat_periods"] == flat
        np.testing.assert_allclose(row["tied"], tied / there)
        np.testing.assert_allclose(row["repeated"], same / both)
        np.testing.assert_allclose(
            [row["with_return"], row["with_previous"]], [np.mean(now), np.mean(before)], atol=1e-12
        )
    for t in range(n_periods):
        row = found.periods.iloc[t]
        last, following = universe[max(t - 1, 0)], universe[min(t + 1, n_periods - 1)]
        assert row["entries"] == (universe[t] & ~last).sum()
        assert row["exits"] == (universe[t] & ~following).sum()
        cells = returns[t, universe[t]]
        assert row["largest_return"] == cells[np.nanargmax(np.abs(cells))]
    np.testing.assert_allclose(
        found.coverage.to_numpy(), [(~np.isnan(c[u])).mean(0) for c, u in zip(cube, universe, strict=True)]
    )
    pd.testing.assert_frame_equal(found.periods[panel.describe().columns], panel.describe())


def test_whole_spearman_is_scipys() -> None:
    cube, returns = noise(3, 50, 2)
    row = examine(made(cube, returns)).characteristics
    for k in range(2):
        want = [stats.spearmanr(cube[t, :, k], returns[t]).statistic for t in range(3)]
        np.testing.assert_allclose(row["with_return"].iloc[k], np.mean(want))
        ratio = BEST_SHARPE / np.sqrt(12) + SURE / np.sqrt(3)
        np.testing.assert_allclose(row["bound"].iloc[k], ratio * max(np.std(want, ddof=1), 1 / 7))


def test_extremes_and_their_share_of_squares() -> None:
    cube, returns = noise(24, 30)
    returns[3, 4], returns[8, 2] = 9.0, -0.9
    found = examine(made(cube, returns))
    assert found.extremes.iloc[0].to_dict() == {
        "time": pd.Timestamp("2016-04-30"),
        "asset": "A4",
        "return": 9.0,
        "share_of_squares": 81 / (returns**2).sum(),
    }
    assert found.extremes.loc[2, ["asset", "return"]].tolist() == ["A2", -0.9]
    assert found.extremes.index.tolist() == list(range(1, 11))
    assert said(found, "of all squared returns (A4 in 2016-04, +900%)")
    assert any("student_t" in line for line in found.suggestions)
    assert not said(examine(made(*noise(24, 30))), "of all squared returns")


# Look-ahead


@pytest.mark.parametrize("frequency", ["monthly", "weekly", "daily"])
@pytest.mark.parametrize(("n_periods", "n_assets"), [(24, 100), (120, 40), (500, 20)])
def test_a_planted_future_is_found_and_noise_is_not(frequency: str, n_periods: int, n_assets: int) -> None:
    cube, returns = noise(n_periods, n_assets, 4, seed=3)
    place = stats.rankdata(returns, axis=1)
    for k, share in ((1, 0.5), (3, -0.9)):
        cube[..., k] = share * (place - place.mean()) / place.std() + np.sqrt(1 - share**2) * cube[..., k]
    cube[1:, :, 2] = returns[:-1]  # the return before: known, and no sign of look-ahead
    found = examine(made(cube, returns, frequency=frequency))
    assert found.suspect.tolist() == [False, True, False, True]
    assert said(found, "look-ahead? x1 has a mean rank correlation of +0.")
    assert said(found, "look-ahead? x3 has a mean rank correlation of -0.")
    np.testing.assert_allclose(found.characteristics["with_return"].iloc[[1, 3]], [0.5, -0.9], atol=0.04)
    assert any("--exclude x1,x3, or" in line for line in found.suggestions)


def test_false_alarms_are_rarer_than_one_in_a_thousand() -> None:
    """4 standard errors beyond a Sharpe ratio of 3: in 2,000 unrelated characteristics none."""
    cube, returns = noise(12, 30, 2_000, seed=4)
    assert not examine(made(cube, returns)).suspect.any()


def test_an_honest_strong_characteristic_is_left_in_peace() -> None:
    """An annual Sharpe ratio of about 2 in the portfolio of ranks, monthly slopes as variable as real ones."""
    found = simulate.economy(n_months=240, n_assets=150, n_characteristics=2, seed=6, slope_mean=0.012, slope_sd=0.02)
    panel = found.panel
    raw = Panel(panel.data.assign(missing=panel.data.missing & False), "monthly")
    table = examine(raw).characteristics
    assert (table["with_return"] > 0.05).all()
    assert not examine(raw).suspect.any()


def test_a_reversal_that_was_known_is_left_in_peace() -> None:
    """Daily prices that bounce: yesterday's return, known, foretells today's beyond the bound."""
    cube, returns = noise(250, 60)
    for t in range(1, 250):
        returns[t] -= 0.3 * returns[t - 1]
    cube[0], cube[1:, :, 0] = 0.0, returns[:-1]
    found = examine(made(cube, returns, frequency="daily"))
    row = found.characteristics.iloc[0]
    assert row["with_return"] < -row["bound"]
    assert not found.suspect.any()


def test_the_bound_waits_for_three_periods() -> None:
    _, returns = noise(2, 50)
    found = examine(made(np.dstack([returns]), returns))
    assert np.isnan(found.characteristics["bound"]).all()
    assert not found.suspect.any()


@pytest.fixture(scope="module", params=REAL)
def rows(request: pytest.FixtureRequest, shared_data: Path) -> pd.DataFrame:
    return pd.read_parquet(shared_data / "panels" / request.param)


def real(frame: pd.DataFrame, names: list[str], **more: object) -> Panel:
    told = {"returns": "xret_next", "returns_over": "next", "lag": 0, "units": "decimal", "excess": True}
    return read_frame(frame, time="date", asset="asset", characteristics=names, **told | more)


def test_real_panels_are_left_in_peace_and_a_planted_future_in_them_is_not(rows: pd.DataFrame) -> None:
    names = [name for name in rows if name not in ROLES]
    assert len(names) in REAL.values()
    place = rows.groupby("date")["xret_next"].rank(pct=True)
    grain = np.random.default_rng(0).standard_normal(len(rows))
    future = 0.15 * (place - place.mean()) / place.std() + grain  # correlation about 0.15
    found = examine(real(rows.assign(future=future), [*names, "future"]))
    assert found.suspect.index[found.suspect].tolist() == ["future"]
    assert found.characteristics.loc["rev_1m", "with_previous"] > 0.99
    assert sum(line.startswith("look-ahead?") for line in found.findings) == 1


def test_the_embedded_panel_is_left_in_peace() -> None:
    found = examine(datasets.us_equities(prepared=False))
    assert not found.suspect.any()
    assert said(found, "only 22 periods with returns")
    assert said(found, "150 of 650 assets leave")
    assert said(found, "Every period has 500: chosen by rank")


def test_returns_read_a_period_early_are_found(shared_data: Path) -> None:
    """Where rows are said to hold the next return but hold their own, price characteristics know it."""
    frame = pd.read_parquet(shared_data / "panels" / "us_stocks_price_chars_2006_2017_top1500.parquet")
    frame = frame.sort_values("date")
    own = frame.groupby("asset")["xret_next"].shift(1)
    found = examine(real(frame.assign(xret_next=own), ["mom_12_2", "max_1m", "min_1m", "hi52", "illiq_12m"]))
    assert found.suspect.index[found.suspect].tolist() == ["max_1m", "min_1m", "hi52"]


# Words


def test_survivors_and_delistings() -> None:
    cube, returns = noise(20, 12)
    assert said(examine(made(cube, returns)), "no asset ever leaves. Survivors only?")
    assert not said(examine(made(cube[:8], returns[:8])), "Survivors")
    universe = np.ones(returns.shape, bool)
    universe[10:, 3], universe[15:, 4] = False, False
    returns[9, 3], returns[14, 4] = NAN, -0.5
    found = examine(made(cube, returns, universe))
    assert said(found, "2 of 12 assets leave before the end; the return of their last period is known for 1, -50.0% on")
    assert said(found, "missing for 1: losses at delisting may be lost.")
    assert not said(found, "chosen by rank")
    assert found.periods["exits"].sum() == 2
    universe[12:, 3] = True  # an absence is no end
    assert said(examine(made(cube, returns, universe)), "1 of 12 assets leave")


def test_characteristics_that_say_little() -> None:
    cube, returns = noise(25, 60, 6)
    cube[..., 0] = np.arange(60)  # an identifier
    cube[..., 1] = cube[..., 1] > 0
    cube[3:5, :, 2], cube[9, :, 2] = NAN, 1.0
    cube[7, 5, 3] = 6e7
    cube[:, :, 4] = np.where(np.random.default_rng(0).random((25, 60)) < 0.6, NAN, cube[..., 4])
    cube[:, :6, 5] = NAN
    found = examine(made(cube, returns))
    assert said(found, "never changing over time: x0 (1 in all)")
    assert said(found, "mostly ties: x1 100% of values shared")
    assert said(found, "constant or missing for all assets: x2 3 of 25 periods")
    assert said(found, "errors of scale?")
    assert said(found, "x3 4e+07")
    assert any(line.startswith("--exclude x0,x4, or") for line in found.suggestions)
    assert any("--missing indicator" in line and "x5 10%" in line for line in found.suggestions)
    assert any("not --standardise" in line for line in found.suggestions)


def test_suggested_universe_filters() -> None:
    cube, returns = noise(24, 100, 4)
    cube[:, :8, :3] = NAN
    size = np.tile(np.arange(100.0), (24, 1))
    returns[:, :5] *= 8
    found = examine(made(cube, returns, size=size))
    assert "--covered 0.9 leaves out" in " ".join(found.suggestions)
    assert "--largest 80 leaves out" in " ".join(found.suggestions)
    plain = examine(made(*noise(24, 100, 4), size=size))
    assert plain.suggestions == ()
    assert plain.findings == (
        "no asset ever leaves. Survivors only? Then levels of means and Sharpe ratios mean "
        "nothing. Portfolios may be so.",
    )


def test_odd_returns() -> None:
    cube, returns = noise(30, 40)
    returns[:, ::10] = 0.0
    returns[1:, 1] = returns[:-1, 1]
    returns[12] = NAN
    found = examine(made(cube, returns))
    assert said(found, "stale prices? 10.0% of returns are exactly 0")
    assert said(found, "no returns in the middle: 2017-01 (1 in all)")
    thin = examine(made(*noise(24, 5, 3)))
    assert said(thin, "few assets: 5 in 2016-01, for 3 characteristics")


def test_a_panel_without_returns_and_one_that_is_prepared() -> None:
    cube, returns = noise(4, 20)
    panel = made(cube, np.full_like(returns, NAN))
    found = examine(panel)
    assert found.findings == ("no returns in the universe: nothing can be learned from it.",)
    assert len(found.extremes) == 0
    assert np.isnan(found.periods["largest_return"]).all()
    with pytest.raises(DataError, match="must see raw characteristics"):
        examine(panel.rank_normalise())


# Counts of missing cells


def test_missing_cells_are_counted_and_recorded() -> None:
    cube, returns = noise(5, 20, 3)
    universe = np.ones(returns.shape, bool)
    universe[:, 19] = False
    cube[2, :7, 1], cube[:, 19, 0], cube[0, 0, 2] = NAN, NAN, NAN
    panel = made(cube, returns, universe)
    counts = panel.missing_cells()
    assert counts.sum().to_dict() == {"x0": 0, "x1": 7, "x2": 1}
    assert counts.iloc[2].tolist() == [0, 7, 0]
    assert panel.describe()["missing"].tolist() == [1, 0, 7, 0, 0]
    said = "8 missing cells of 285 -> 0 (x1 7.4%, x2 1.1%)"
    for how in (panel.rank_normalise(), panel.standardise()):
        assert said in how.history[-1]
        pd.testing.assert_frame_equal(how.missing_cells(), counts)
        pd.testing.assert_frame_equal(how.describe(), panel.describe())
    assert "no cell missing" in panel.sel(characteristic="x0").rank_normalise().history[-1]


def test_columns_of_indicators_are_no_cells_that_were_there() -> None:
    cube, returns = noise(5, 20, 3)
    cube[2, :7, 1] = NAN
    raw = Panel(made(cube, returns).data, "monthly", missing="indicator")
    prepared = raw.rank_normalise()
    assert len(prepared.characteristics) == 6
    pd.testing.assert_frame_equal(prepared.missing_cells(), raw.missing_cells())
    pd.testing.assert_frame_equal(prepared.describe(), raw.describe())


def test_rows_dropped_for_want_of_a_return_are_suspected() -> None:
    whole = datasets.us_equities(prepared=False)
    assert said(examine(whole), "No row ever lacks its return")
    data = whole.data.copy()
    returns = data["returns"].values.copy()
    t, i = np.argwhere(data["in_universe"].values & data["observed"].values)[0]
    returns[t, i] = np.nan
    data = data.drop_vars("observed").assign(returns=(("time", "asset"), returns))
    assert not said(examine(Panel(data, "monthly")), "No row ever lacks its return")
