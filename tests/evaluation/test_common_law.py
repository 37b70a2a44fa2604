"""The month law common to all forecasters: dense algebra, EM's guarantees, simulated economies, labels, refusals."""

from __future__ import annotations

import warnings
from dataclasses import replace

import jax
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm

import bayesfactor as bf
from bayesfactor.baselines import OLS, Zero
from bayesfactor.baselines.statistics import month_sums
from bayesfactor.components import month as month_component
from bayesfactor.errors import AlignmentError, DataError, DataWarning, DuplicateKeyError, EmptyWindowError
from bayesfactor.evaluation import common_law as module
from bayesfactor.evaluation.common_law import CommonLaw, common_law

POINTS = np.linspace(-8.0, 8.0, 1601)  # of log noise level in its own sd: the trapezium rule is exact to rounding


def with_data(source: bf.Panel, **values: np.ndarray) -> bf.Panel:
    data = source.data.drop_vars("observed")
    changed = {name: (data[name].dims, value) for name, value in values.items()}
    return bf.Panel(data.assign(changed), source.frequency, source.preparation, source.missing)


def ragged(seed: int, n_months: int = 14, n_assets: int = 9, n_characteristics: int = 3, indicators: bool = False):
    """A ragged panel, some returns missing, all of the last month's; tiny months may have constant characteristics."""
    size = {"n_months": n_months, "n_assets": n_assets, "n_characteristics": n_characteristics}
    missing = "indicator" if indicators else "median"
    given = {"returns": "ret", "returns_over": "row", "lag": 1, "units": "decimal", "excess": True, "missing": missing}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        frame = bf.simulate.frame(**size, seed=seed, ragged=True, missing=0.15)
        panel = bf.read_frame(frame, time="date", asset="asset", size="size", **given).rank_normalise()
    lost = np.random.default_rng(seed).random(panel.data["returns"].shape) < 0.1
    return with_data(panel, returns=np.where(lost, np.nan, panel.data["returns"].values))


def economy(
    covariance: np.ndarray, *, n_months: int, n_assets: int, level: float, spread: float, seed: int, mean: float = 0.01
) -> bf.Panel:
    """Returns of the law itself: slopes ``N(mean, covariance)`` (intercept first), noise level by month."""
    rng = np.random.default_rng(seed)
    n_features = len(covariance)
    blank = bf.simulate.economy(n_months=n_months, n_assets=n_assets, n_characteristics=n_features - 1, seed=seed).panel
    z = blank.data["characteristics"].values
    slopes = mean + rng.standard_normal((n_months, n_features)) @ np.linalg.cholesky(covariance).T
    noise = level * np.exp(spread * rng.standard_normal(n_months))
    returns = (
        slopes[:, :1] + np.einsum("tak,tk->ta", z, slopes[:, 1:]) + noise[:, None] * rng.standard_normal(z.shape[:2])
    )
    return with_data(blank, returns=returns)


def correlated(n_features: int, correlation: float, sd: float = 0.015) -> np.ndarray:
    scales = sd * np.linspace(2.0, 1.0, n_features)
    return np.outer(scales, scales) * (correlation + (1 - correlation) * np.eye(n_features))


def law_of(covariance: np.ndarray, level: float, spread: float, panel: bf.Panel) -> CommonLaw:
    features = ["intercept", *panel.characteristics]
    labelled = xr.DataArray(covariance, {"feature": features, "feature_2": features}, ("feature", "feature_2"))
    return CommonLaw(labelled, level, spread, panel.characteristics, panel.preparation, panel.frequency, 10, ())


def forecast_of(panel: bf.Panel, seed: int = 0) -> xr.DataArray:
    return Zero().fit(panel).forecast(panel) + np.random.default_rng(seed).normal(0, 0.02, panel.data["returns"].shape)


def dense_density(residual: np.ndarray, design: np.ndarray, covariance: np.ndarray, level: float, spread: float):
    """Log joint density (point,) of returns and noise level, the level at `POINTS`, with the covariance written out."""
    log_sigma = np.log(level) + spread * POINTS
    common = design @ covariance @ design.T
    logs = [
        multivariate_normal.logpdf(residual, np.zeros(len(residual)), common + np.exp(2 * x) * np.eye(len(residual)))
        for x in log_sigma
    ]
    return np.array(logs) + norm.logpdf(POINTS) + np.log(POINTS[1] - POINTS[0]), log_sigma


def months_of(panel: bf.Panel, columns: np.ndarray | slice = slice(None)):
    """Returns, design and position of the assets of each month that has returns, by a slow loop."""
    used = (panel.data["observed"] & panel.data["in_universe"]).values
    for month in np.flatnonzero(used.any(axis=1)):
        stocks = np.flatnonzero(used[month])
        z = panel.data["characteristics"].values[month, stocks][:, columns]
        yield month, stocks, panel.data["returns"].values[month, stocks], np.column_stack([np.ones(len(z)), z])


# ---------------------------------------------------------------------- exact


@pytest.mark.parametrize("indicators", [False, True])
def test_scores_are_the_dense_density_with_the_level_by_quadrature(indicators):
    panel = ragged(1, indicators=indicators)
    law = common_law(panel)
    continuous = np.flatnonzero(panel.data["kind"].values == "continuous")
    assert len(continuous) == len(law.covariance) - 1 == 3
    mean = forecast_of(panel)
    scores = law.scores(mean, panel)
    want, times = [], []
    for month, stocks, returns, design in months_of(panel, continuous):
        residual = returns - mean.values[month, stocks]
        logs, _ = dense_density(residual, design, law.covariance.values, law.level, law.log_scale_sd)
        want.append(logsumexp(logs))
        times.append(panel.times[month])
    assert list(scores["time"].values) == list(pd.DatetimeIndex(times).values)
    assert len(times) < len(panel.times), "the live month has no score"
    np.testing.assert_allclose(scores, want, rtol=0, atol=1e-7)


@pytest.mark.parametrize(("n_assets", "spread"), [(9, 0.3), (3, 0.8), (40, 0.05)])
def test_expectations_are_dense_ones(n_assets, spread):
    """Also with fewer stocks (3) than shocks (5)."""
    panel = ragged(2, n_months=6, n_assets=n_assets, n_characteristics=4)
    rng = np.random.default_rng(1)
    slopes, covariance, level = rng.normal(0, 0.02, 5), correlated(5, 0.5, 0.05), 0.07
    state = module._State(slopes, covariance, np.log(level), spread, np.full(20, np.log(level)))
    sums = month_sums(panel)
    found = module._expectations(sums, np.arange(5), state._replace(modes=np.full(len(sums.times), np.log(level))))
    levels, squares = [], []
    for place, (_, _, returns, design) in enumerate(months_of(panel)):
        residual = returns - design @ slopes
        logs, x = dense_density(residual, design, covariance, level, spread)
        assert found.log_density[place] == pytest.approx(logsumexp(logs), abs=1e-5)
        weights = np.exp(logs - logsumexp(logs))
        first, second = np.zeros((len(x), 5)), np.zeros((len(x), 5, 5))
        for point, variance in enumerate(np.exp(2 * x)):
            inverse = np.linalg.inv(np.linalg.inv(covariance) + design.T @ design / variance)
            first[point] = inverse @ design.T @ residual / variance
            second[point] = inverse + np.outer(first[point], first[point])
        precise = weights * np.exp(-2 * x)
        np.testing.assert_allclose(found.shocks[place], weights @ first, rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(found.second[place], np.tensordot(weights, second, 1), rtol=1e-3, atol=1e-7)
        assert found.precision[place] == pytest.approx(precise.sum(), rel=1e-3)
        np.testing.assert_allclose(found.precise_shocks[place], precise @ first, rtol=2e-3, atol=1e-4)
        np.testing.assert_allclose(found.residual[place], design.T @ residual, rtol=0, atol=1e-12)
        levels.append(weights @ x)
        squares.append(weights @ x**2)
    assert found.level == pytest.approx(np.mean(levels), abs=1e-4)
    assert found.level_variance == pytest.approx(np.mean(squares) - np.mean(levels) ** 2, rel=2e-3)


def test_two_means_differ_by_their_means_only():
    panel = ragged(3, n_assets=20)
    law = replace(common_law(panel), log_scale_sd=0.0)
    first, second = forecast_of(panel, 1), forecast_of(panel, 2)
    found = (law.scores(first, panel) - law.scores(second, panel)).values
    want = []
    for month, stocks, returns, design in months_of(panel):
        dense = design @ law.covariance.values @ design.T + law.level**2 * np.eye(len(stocks))
        quadratic = [
            (returns - mean.values[month, stocks]) @ np.linalg.solve(dense, returns - mean.values[month, stocks])
            for mean in (first, second)
        ]
        want.append(0.5 * (quadratic[1] - quadratic[0]))
    np.testing.assert_allclose(found, want, rtol=0, atol=1e-8)


def test_the_law_simulates_and_has_the_variance_that_it_says():
    panel = ragged(4, n_assets=12)
    law = common_law(panel)
    arrays = panel.arrays()
    z = arrays.characteristics[0][arrays.in_universe[0]]
    mean = np.linspace(-0.01, 0.01, len(z))
    with jax.enable_x64(True):
        month = law.month_law(mean, z)
        draws = np.asarray(
            jax.vmap(lambda key: month_component.simulate(key, month))(jax.random.split(jax.random.key(1), 20_000))
        )
        variance = np.asarray(month_component.predictive_variance(month))
    design = np.column_stack([np.ones(len(z)), z])
    common = design @ law.covariance.values @ design.T
    noise = law.level**2 * np.exp(2 * law.log_scale_sd**2)
    np.testing.assert_allclose(variance, np.diag(common) + noise, rtol=1e-10)
    np.testing.assert_array_less(np.abs(draws.mean(axis=0) - mean), 5 * np.sqrt(variance / len(draws)))
    products = (draws - mean)[:, :, None] * (draws - mean)[:, None, :]
    error = products.std(axis=0) / np.sqrt(len(draws))
    np.testing.assert_array_less(np.abs(products.mean(axis=0) - common - noise * np.eye(len(z))), 5 * error)


# ---------------------------------------------------------------------- EM

CASES = {
    "ragged": lambda: ragged(5, n_months=30, n_assets=15),
    "indicators": lambda: ragged(6, n_months=30, n_assets=15, indicators=True),
    "fewer stocks than slopes": lambda: ragged(7, n_months=40, n_assets=5, n_characteristics=6),
    "fewer months than slopes": lambda: ragged(8, n_months=6, n_assets=30, n_characteristics=9),
    "no spread of the noise": lambda: economy(
        correlated(3, 0.0), n_months=50, n_assets=40, level=0.08, spread=0.0, seed=1
    ),
    "no moving slopes": lambda: economy(
        correlated(3, 0.0, 1e-9), n_months=50, n_assets=40, level=0.08, spread=0.3, seed=2
    ),
    "collinear and constant": lambda: collinear(ragged(9, n_months=25, n_assets=20)),
}


def collinear(panel: bf.Panel) -> bf.Panel:
    values = panel.data["characteristics"].values.copy()
    values[..., 1] = -values[..., 0]
    values[..., 2] = np.where(np.isnan(values[..., 2]), np.nan, 0.0)
    return with_data(panel, characteristics=values)


def stages(panel: bf.Panel, monkeypatch: pytest.MonkeyPatch) -> tuple[CommonLaw, list]:
    """The law, and of each stage what went in and what came out."""
    calls: list = []
    whole = module._maximised

    def recorded(*given):
        result = whole(*given)
        calls.append((given, result))
        return result

    monkeypatch.setattr(module, "_maximised", recorded)
    return common_law(panel), calls


def objective(sums, shocked, state, prior) -> float:
    return float(module._expectations(sums, shocked, state).log_density.sum()) + module._log_prior(state, prior)


@pytest.mark.parametrize("case", CASES)
def test_no_step_of_em_loses_and_no_direction_gains_at_its_end(case, monkeypatch):
    law, calls = stages(CASES[case](), monkeypatch)
    assert len(calls) == 2
    for (sums, shocked, _, prior), (state, values) in calls:
        assert len(values) < module.MOST_STEPS
        assert np.diff(values).min() > -1e-9 * abs(values[-1])
        best = objective(sums, shocked, state, prior)
        assert best == pytest.approx(values[-1], abs=1e-9)
        # A tolerance of 0.01 nats was left. Steps of a hundredth, and of a tenth, must not find much more.
        size = np.sqrt(np.diag(state.covariance))
        for step in (-0.1, -0.01, 0.01, 0.1):
            others = [state._replace(level=state.level + step), state._replace(spread=state.spread * np.exp(step))]
            for k in range(len(size)):
                scale = np.ones(len(size))
                scale[k] = np.exp(step)
                others.append(state._replace(covariance=state.covariance * np.outer(scale, scale)))
            for k in range(len(state.slopes)):
                moved = np.zeros(len(state.slopes))
                moved[k] = step * 0.3
                others.append(state._replace(slopes=state.slopes + moved))
            gains = [objective(sums, shocked, other, prior) - best for other in others]
            assert max(gains) < 0.05
    assert law.objective == calls[1][1][1]
    assert np.linalg.eigvalsh(law.covariance).min() > 0


def test_the_law_is_what_em_found_in_other_units(monkeypatch):
    """With very many stocks and next to no noise: sample moments of the months' slopes, shrunk as documented."""
    panel = economy(correlated(3, 0.6), n_months=8, n_assets=300, level=1e-4, spread=0.3, seed=3)
    law, _ = stages(panel, monkeypatch)
    slopes = np.array([np.linalg.lstsq(design, returns, rcond=None)[0] for _, _, returns, design in months_of(panel)])
    sample = np.cov(slopes.T, bias=True)
    unit = np.median([returns.std(ddof=1) for _, _, returns, _ in months_of(panel)])
    separate = np.diag(8 * np.diag(sample) + (module.PRIOR_SD * unit) ** 2) / 9
    want = 8 / 7 * (8 * sample + 3 * separate) / 11
    np.testing.assert_allclose(law.covariance, want, rtol=2e-3, atol=0)
    residuals = [r - x @ np.linalg.lstsq(x, r, rcond=None)[0] for _, _, r, x in months_of(panel)]
    log_sd = np.array([0.5 * np.log(e @ e / (len(e) - 3)) for e in residuals])
    assert law.level == pytest.approx(np.exp(log_sd.mean()), rel=0.01)
    spread = 8 / 7 * (8 * log_sd.var() + module.PRIOR_SPREAD**2) / 9
    assert law.log_scale_sd == pytest.approx(np.sqrt(spread), rel=0.05)


@pytest.mark.parametrize(("n_assets", "seed"), [(12, 1), (60, 2)])
def test_known_economies_are_recovered(n_assets, seed):
    """Within four standard errors: of S those of a sample covariance of slopes that carry their own noise."""
    n_months, level, spread = 600, 0.08, 0.3
    truth = correlated(4, 0.5)
    law = common_law(economy(truth, n_months=n_months, n_assets=n_assets, level=level, spread=spread, seed=seed))
    rank_variance = np.array([1.0, *3 * [(n_assets + 1) / (3 * (n_assets - 1))]])
    noisy = truth + np.diag(level**2 * np.exp(2 * spread**2) / ((n_assets - 4) * rank_variance))
    error = np.sqrt((np.outer(np.diag(noisy), np.diag(noisy)) + noisy**2) / n_months)
    shrunk = truth * np.where(np.eye(4), 1.0, n_months / (n_months + 4))
    np.testing.assert_array_less(np.abs(law.covariance.values - shrunk), 4 * error)
    own = 1 / (2 * (n_assets - 4))  # variance of a month's estimated log noise level
    assert np.log(law.level) == pytest.approx(np.log(level), abs=4 * np.sqrt((spread**2 + own) / n_months))
    total = spread**2 + own
    assert law.log_scale_sd**2 == pytest.approx(spread**2, abs=4 * total * np.sqrt(2 / n_months))
    assert total - spread**2 > 4 * spread**2 * np.sqrt(2 / n_months) or n_assets > 12, "its own error must be visible"


def test_one_absurd_return_moves_its_month_only():
    n_months = 60
    panel = economy(correlated(3, 0.3), n_months=n_months, n_assets=50, level=0.08, spread=0.2, seed=4)
    returns = panel.data["returns"].values.copy()
    returns[20, 7] = 1000.0
    clean, spoiled = common_law(panel), common_law(with_data(panel, returns=returns))
    dropped = common_law(panel.sel(time=panel.times.delete(20)))
    # The month says nothing of the slopes any more: as if it were not there.
    np.testing.assert_allclose(np.diag(spoiled.covariance), np.diag(dropped.covariance), rtol=0.03)
    # Its log noise level rises by log(1000 / sqrt(50) / 0.08); mean and variance over months follow.
    rise = np.log(1000 / np.sqrt(50) / 0.08)
    assert np.log(spoiled.level / clean.level) == pytest.approx(rise / n_months, rel=0.2)
    assert spoiled.log_scale_sd**2 - clean.log_scale_sd**2 == pytest.approx(rise**2 / n_months, rel=0.2)


def test_fewer_months_than_slopes_score_better_shrunk_than_not(monkeypatch):
    truth = correlated(13, 0.0)
    panel = economy(truth, n_months=130, n_assets=60, level=0.05, spread=0.2, seed=5, mean=0.0)
    train, test = panel.split(panel.times[10])
    law = common_law(train)
    assert np.linalg.eigvalsh(law.covariance).min() > 0
    gains = law.scores(Zero().fit(train).forecast(test), test)
    prior = module._Prior
    monkeypatch.setattr(module, "_Prior", lambda centre, worth, diagonal: prior(centre, 1, diagonal))
    gains = (gains - common_law(train).scores(Zero().fit(train).forecast(test), test)).values
    assert gains.mean() > 4 * gains.std() / np.sqrt(len(gains))


# ---------------------------------------------------------------------- what scores are for


def test_the_true_mean_gains_what_it_must():
    """Mean gain over a wrong one: half the squared distance in units of the month's covariance (known level)."""
    truth = correlated(3, 0.4)
    panel = economy(truth, n_months=300, n_assets=30, level=0.06, spread=0.0, seed=6)
    law = law_of(truth, 0.06, 0.0, panel)
    z = panel.data["characteristics"].values
    true = xr.DataArray(0.01 + 0.01 * z.sum(axis=2), panel.data["returns"].coords, ("time", "asset"))
    wrong = true + 0.02 * z[..., 0]
    gains = (law.scores(true, panel) - law.scores(wrong, panel)).values
    want = []
    for month, stocks, _, design in months_of(panel):
        dense = design @ truth @ design.T + 0.06**2 * np.eye(len(stocks))
        shift = (true - wrong).values[month, stocks]
        want.append(0.5 * shift @ np.linalg.solve(dense, shift))
    error = gains.std() / np.sqrt(len(gains))
    assert gains.mean() > 4 * error
    assert gains.mean() == pytest.approx(np.mean(want), abs=4 * error)


def test_labels_decide_and_order_does_not():
    panel = ragged(10, n_months=30, n_assets=15)
    train, test = panel.split(panel.times[20])
    law = common_law(train)
    mean = forecast_of(test)
    scores = law.scores(mean, test)
    rng = np.random.default_rng(2)
    shuffled = mean.isel(time=rng.permutation(mean.sizes["time"]), asset=rng.permutation(mean.sizes["asset"]))
    xr.testing.assert_identical(law.scores(shuffled.transpose("asset", "time"), test), scores)
    reverse = test.sel(characteristic=list(reversed(test.characteristics)))
    xr.testing.assert_identical(law.scores(mean, reverse), scores)
    order = rng.permutation(test.data.sizes["asset"])
    moved = bf.Panel(test.data.isel(asset=order), "monthly", "rank")
    np.testing.assert_allclose(law.scores(mean, moved), scores, rtol=1e-12)
    for other in (
        train.sel(characteristic=list(reversed(train.characteristics))),
        bf.Panel(train.data.isel(asset=order), "monthly", "rank"),
    ):
        again = common_law(other)
        labelled = again.covariance.sel(feature=law.covariance["feature"], feature_2=law.covariance["feature_2"])
        np.testing.assert_allclose(labelled, law.covariance, rtol=1e-6, atol=1e-12)
        np.testing.assert_allclose(again.scores(mean, test), scores, rtol=1e-7)


def test_what_comes_after_training_does_not_matter():
    panel = ragged(11, n_months=20)
    returns = panel.data["returns"].values.copy()
    returns[12:] *= 1.5
    law, other = (common_law(part.split(panel.times[12])[0]) for part in (panel, with_data(panel, returns=returns)))
    np.testing.assert_array_equal(law.covariance, other.covariance)
    assert (law.level, law.log_scale_sd) == (other.level, other.log_scale_sd)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.sampled_from([0.05, 0.3, 2.0]))
def test_the_law_scales_with_returns(seed, scale):
    panel = bf.simulate.economy(n_months=10, n_assets=8, n_characteristics=2, seed=seed, missing=0.1).panel
    law, other = common_law(panel), common_law(with_data(panel, returns=scale * panel.data["returns"].values))
    np.testing.assert_allclose(other.covariance, scale**2 * law.covariance, rtol=1e-6)
    assert other.level == pytest.approx(scale * law.level, rel=1e-6)
    assert other.log_scale_sd == pytest.approx(law.log_scale_sd, rel=1e-6)


def test_months_of_nearly_equal_size_share_a_program():
    module._density.cache_clear()
    panel = ragged(12, n_months=20, n_assets=25)
    law = common_law(panel)
    law.scores(forecast_of(panel), panel)
    assert module._density()._cache_size() == 1


# ---------------------------------------------------------------------- refusals


def test_panels_that_teach_nothing_are_refused():
    panel = ragged(13)
    first = panel.sel(time=[panel.times[0]])
    with pytest.raises(DataError, match=r"at least 2 months with returns.* only 2000-02-29"):
        common_law(first)
    assert common_law(panel.sel(time=panel.times[:2])).n_months == 2
    with pytest.raises(DataError, match=r"call panel.rank_normalise\(\)"):
        common_law(bf.datasets.us_equities(prepared=False))
    blank = with_data(panel, returns=np.full(panel.data["returns"].shape, np.nan))
    with pytest.raises(EmptyWindowError, match="none from 2000-02-29"):
        common_law(blank)
    same = with_data(panel, returns=np.where(np.isnan(panel.data["returns"].values), np.nan, 0.01))
    with pytest.raises(DataError, match="returns that differ between stocks"):
        common_law(same)


def test_forecasts_that_do_not_fit_are_refused():
    panel = ragged(14)
    law = common_law(panel)
    mean = forecast_of(panel)
    used = (panel.data["observed"] & panel.data["in_universe"]).values
    month, asset = np.argwhere(used)[3]
    label = f"{panel.times[month]:%Y-%m-%d}, {panel.data['asset'].values[asset]}"
    hole = mean.copy()
    hole[month, asset] = np.nan
    with pytest.raises(DataError, match=rf"none at \({label}\) \(1 in all\)"):
        law.scores(hole, panel)
    hole[month, asset] = np.inf
    with pytest.raises(DataError, match=rf"none at \({label}\)"):
        law.scores(hole, panel)
    with pytest.raises(DataError, match=r"none at .*in all"):
        law.scores(mean.isel(time=slice(1, None)), panel)
    with pytest.raises(AlignmentError, match="mean must be a DataArray with dims"):
        law.scores(mean.values, panel)
    with pytest.raises(DuplicateKeyError, match="repeated"):
        law.scores(xr.concat([mean, mean.isel(time=[0])], "time"), panel)
    with pytest.raises(AlignmentError, match="lacks x3"):
        law.scores(mean, panel.sel(characteristic=["x1", "x2"]))
    blank = with_data(panel, returns=np.full(panel.data["returns"].shape, np.nan))
    with pytest.raises(EmptyWindowError, match="scores need an observed return"):
        law.scores(mean, blank)
    outside = mean.where(panel.data["in_universe"] & panel.data["observed"])
    np.testing.assert_array_equal(law.scores(outside, panel), law.scores(mean, panel))


def test_least_squares_forecasts_of_the_embedded_panel_have_scores():
    train, test = bf.datasets.us_equities().split("2016-06")
    law = common_law(train)
    assert law.n_months == 12 < len(law.covariance) == 28
    scores = law.scores(OLS().fit(train).forecast(test), test)
    assert len(scores) == len(test.times) - 1, "the live month has no score"
    per_return = scores.values / (test.data["observed"] & test.data["in_universe"]).sum("asset").values[:-1]
    assert ((per_return > 0.8) & (per_return < 1.8)).all(), "about -log(0.08) - 1.4 nats a return"
