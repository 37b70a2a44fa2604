"""Log scores by month: the average over draws, its Monte Carlo error, and what is not a holdout."""

from __future__ import annotations

import math

import numpy as np
import pytest
import xarray as xr
from standins import fake_fit

from bayesfactor.errors import EmptyWindowError, LookAheadError
from bayesfactor.evaluation import month_scores
from bayesfactor.evaluation.scores import log_mean_exp, mcse_of_mean, relative_weights


def test_log_mean_exp_is_the_slow_loop():
    values = np.random.default_rng(1).normal(-3, 2, (2, 30, 4))
    found = log_mean_exp(values)
    for month in range(4):
        total = sum(math.exp(values[c, d, month]) for c in range(2) for d in range(30))
        assert found[month] == pytest.approx(math.log(total / 60), abs=1e-13)


def test_log_mean_exp_at_month_sums_and_at_the_edges():
    values = np.full((2, 5, 4), -1500.0)
    values[0, 0, 1] = np.nan
    values[:, :, 2] = -np.inf
    values[0, :, 3] = -np.inf  # half of the draws hold the month impossible
    found = log_mean_exp(values)
    assert found[0] == -1500.0
    assert np.isnan(found[1])
    assert found[2] == -np.inf
    assert found[3] == pytest.approx(-1500.0 + np.log(0.5), abs=1e-12)


@pytest.mark.parametrize("persistence", [0.0, 0.8])
def test_monte_carlo_error_is_the_spread_over_repeated_runs(persistence):
    """Also with dependent draws, where counting draws would claim a third of the error."""
    rng, chains, draws = np.random.default_rng(4), 4, 400
    scores, errors = [], []
    for _ in range(120):
        steps = rng.normal(0, np.sqrt(1 - persistence**2), (chains, draws))
        path = np.empty_like(steps)
        path[:, 0] = rng.normal(size=chains)
        for d in range(1, draws):
            path[:, d] = persistence * path[:, d - 1] + steps[:, d]
        values = (-1500 + 0.5 * path)[..., None]
        scores.append(log_mean_exp(values)[0])
        errors.append(mcse_of_mean(relative_weights(values))[0])
    assert np.mean(errors) == pytest.approx(np.std(scores, ddof=1), rel=0.2)
    assert abs(np.mean(scores) + 1500 - 0.125) < 4 * np.std(scores, ddof=1) / np.sqrt(120) + 0.005


@pytest.mark.usefixtures("chosen_draws")
class TestOnAPanel:
    def test_contract(self, economy_panel):
        train, test = economy_panel.split(economy_panel.times[50])
        rng = np.random.default_rng(5)
        draws = rng.normal(-40, 1, (2, 60, len(test.times)))
        found = month_scores(fake_fit(train, draws=draws), test)
        assert set(found.data_vars) == {"score", "mcse", "n_assets"}
        np.testing.assert_array_equal(found["time"], test.data["time"])
        np.testing.assert_allclose(found["score"], log_mean_exp(draws), rtol=0, atol=1e-12)
        counted = (test.data.in_universe & test.data.observed).sum("asset")
        np.testing.assert_array_equal(found["n_assets"], counted)
        assert found["score"].attrs["units"] == "nats: joint log density of a month's decimal excess returns"
        assert found["score"].attrs["log_base"] == "e"
        assert found["score"].attrs["panel_fingerprint"] == test.fingerprint
        assert "scored_assets" in found["score"].coords

    def test_error_of_the_total_knows_that_months_share_draws(self, economy_panel):
        train, test = economy_panel.split(economy_panel.times[50])
        draws = np.random.default_rng(6).normal(-40, 0.5, (4, 200))
        found = month_scores(fake_fit(train, draws=draws), test)
        assert found.attrs["mcse_total"] == pytest.approx(10 * float(found["mcse"][0]), rel=1e-6)

    def test_months_without_returns_are_left_out(self, economy_panel):
        train, test = economy_panel.split(economy_panel.times[50])
        silent = test.apply(
            lambda data: data.assign(
                returns=data.returns.where(data.time < data.time[-2]),
                observed=data.observed & (data.time < data.time[-2]),
            ),
            "last two months live",
        )
        found = month_scores(fake_fit(train), silent)
        np.testing.assert_array_equal(found["time"], test.data["time"][:-2])
        with pytest.raises(EmptyWindowError, match="the panel has none from 2004-12-31 to 2005-01-31"):
            month_scores(fake_fit(train), silent.live)

    def test_scored_assets_tell_months_with_other_stocks_apart(self, economy_panel):
        train, test = economy_panel.split(economy_panel.times[50])
        fewer = test.apply(
            lambda data: data.assign(
                in_universe=data.in_universe & ~((data.time == data.time[3]) & (data.asset == data.asset[-1]))
            ),
            "one stock less in the fourth month",
        )
        first, second = (month_scores(fake_fit(train), panel) for panel in (test, fewer))
        same = first["scored_assets"].values == second["scored_assets"].values
        np.testing.assert_array_equal(np.flatnonzero(~same), [3])
        xr.testing.assert_identical(first["scored_assets"], month_scores(fake_fit(train), test)["scored_assets"])

    def test_training_months_are_no_holdout(self, economy_panel):
        train, _ = economy_panel.split(economy_panel.times[50])
        with pytest.raises(LookAheadError, match=r"was trained on 2000-02-29, 2000-03-31, 2000-04-30 \(50 in all\)"):
            month_scores(fake_fit(train), economy_panel)

    def test_a_single_shared_month_is_enough_and_one_later_is_not(self, economy_panel):
        times = economy_panel.times
        train, _ = economy_panel.split(times[50])
        with pytest.raises(LookAheadError, match=rf"{times[49]:%Y-%m-%d} \(1 in all\)"):
            month_scores(fake_fit(train), economy_panel.split(times[49])[1])
        assert month_scores(fake_fit(train), economy_panel.split(times[50])[1]).sizes["time"] == 10

    def test_months_before_the_training_window_are_no_holdout_either(self, economy_panel):
        times = economy_panel.times
        before, later = economy_panel.split(times[20])
        with pytest.raises(LookAheadError, match=r"up to \d{4}-\d\d-\d\d, after 2000-02-29, .* \(20 in all\)"):
            month_scores(fake_fit(later), before)

    def test_a_hole_in_the_training_window_is_no_holdout(self, economy_panel):
        times = economy_panel.times
        fit = fake_fit(economy_panel, train_times=times[:20].append(times[25:50]))
        with pytest.raises(LookAheadError, match=rf"after {times[20]:%Y-%m-%d}, .* \(5 in all\)"):
            month_scores(fit, economy_panel.sel(time=slice(times[20], times[24])))
