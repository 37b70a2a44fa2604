"""Pricing tests and measures of what factors explain: slow loops, other packages, exact sizes, labels, refusals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import xarray as xr
from linearmodels.asset_pricing import LinearFactorModel, TradedFactorModel
from linearmodels.panel import FamaMacBeth
from scipy import stats

import bayesfactor as bf
from bayesfactor import metrics, pricing
from bayesfactor.errors import AlignmentError, DataError, DataWarning, DuplicateKeyError, UnitsError
from bayesfactor.evaluation import explained
from bayesfactor.evaluation.standard_errors import hac_lag, hac_share_and_df

T, J, D = 60, 6, 2


def _frame(values: np.ndarray, prefix: str, start: str = "2010-01-31") -> pd.DataFrame:
    freq = "ME" if len(values) < 1000 else "D"
    index = pd.date_range(start, periods=len(values), freq=freq, name="time")
    return pd.DataFrame(values, index, [f"{prefix}{i}" for i in range(values.shape[1])])


def _economy(seed: int, n_times: int = T, alpha: float = 0.0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns (residuals correlated across assets) and factors; decimal per month."""
    rng = np.random.default_rng(seed)
    factors = rng.normal([0.006, 0.003], [0.045, 0.03], (n_times, D))
    beta = rng.normal(1, 0.4, (J, D))
    mixing = 0.02 * (np.eye(J) + 0.5 * rng.normal(size=(J, J)))
    returns = alpha + factors @ beta.T + rng.normal(size=(n_times, J)) @ mixing.T
    return _frame(returns, "a"), _frame(factors, "f")


@pytest.fixture
def pair() -> tuple[pd.DataFrame, pd.DataFrame]:
    return _economy(1)


@pytest.fixture
def ragged(pair) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One asset that begins late, one with a hole, two of the same pattern, the others complete."""
    returns, factors = pair[0].copy(), pair[1]
    returns.iloc[:20, 0] = np.nan
    returns.iloc[[7, 30, 31], 1] = np.nan
    returns.iloc[:20, 4] = np.nan
    return returns, factors


def _draws(factors: pd.DataFrame, n_chains: int = 2, n_draws: int = 7, seed: int = 3) -> xr.DataArray:
    noise = np.random.default_rng(seed).normal(0, 0.01, (n_chains, n_draws, *factors.shape))
    coords = {
        "chain": range(n_chains),
        "draw": range(n_draws),
        "time": factors.index.values,
        "factor": factors.columns.to_numpy(str),
    }
    return xr.DataArray(factors.to_numpy() + noise, coords, tuple(coords))


def _ols(r: np.ndarray, f: np.ndarray):
    seen = np.isfinite(r)
    return sm.OLS(r[seen], sm.add_constant(f[seen], has_constant="add")).fit()


# --- joint tests ------------------------------------------------------------------------------------


def test_grs_is_the_formula_by_loops(pair):
    returns, factors = pair
    found = pricing.grs(returns, factors)
    fits = [_ols(returns[name].to_numpy(), factors.to_numpy()) for name in returns]
    alpha = np.array([fit.params[0] for fit in fits])
    residuals = np.column_stack([fit.resid for fit in fits])
    # FPX, appendix C: residual covariance over T - D - 1, factor covariance over T
    sigma = residuals.T @ residuals / (T - D - 1)
    mean = factors.mean().to_numpy()
    omega = np.cov(factors.to_numpy(), rowvar=False, ddof=0)
    theta = mean @ np.linalg.inv(omega) @ mean
    statistic = T / J * (T - J - D) / (T - D - 1) * (alpha @ np.linalg.inv(sigma) @ alpha) / (1 + theta)
    assert float(found.statistic) == pytest.approx(statistic, rel=1e-10)
    assert found.attrs["dof"] == [J, T - J - D]
    assert float(found.p_value) == pytest.approx(stats.f.sf(statistic, J, T - J - D), rel=1e-9)
    np.testing.assert_allclose(found.alpha, alpha, rtol=1e-9)
    np.testing.assert_allclose(found.se, [fit.bse[0] for fit in fits], rtol=1e-9)
    np.testing.assert_allclose(found.t, [fit.tvalues[0] for fit in fits], rtol=1e-9)
    assert list(found.asset.values) == list(returns)
    assert (found.attrs["n_periods"], found.attrs["first_period"]) == (T, "2010-01-31")


def test_grs_is_the_gain_in_squared_sharpe_ratios(pair):
    returns, factors = pair
    found = pricing.grs(returns, factors)
    both = np.hstack([factors, returns])
    mean = both.mean(axis=0)
    whole = mean @ np.linalg.inv(np.cov(both, rowvar=False, ddof=0)) @ mean
    assert float(found.squared_sharpe) == pytest.approx(whole, rel=1e-10)
    nested = pricing.squared_sharpe(factors, returns, periods_per_year=12)
    assert float(nested.statistic) == pytest.approx(float(found.statistic), rel=1e-9)
    assert float(nested.p_value) == pytest.approx(float(found.p_value), rel=1e-8)
    assert nested.attrs["dof"] == found.attrs["dof"]
    theta = [float(found.squared_sharpe_factors), whole]
    np.testing.assert_allclose(nested.sharpe, np.sqrt(12 * np.array(theta)), rtol=1e-9)
    assert float(nested.increase) == pytest.approx(np.sqrt(12 * theta[1]) - np.sqrt(12 * theta[0]), rel=1e-9)


def test_grs_agrees_with_linearmodels(pair):
    returns, factors = pair
    theirs = TradedFactorModel(returns, factors).fit(debiased=False)
    found = pricing.grs(returns, factors)
    np.testing.assert_allclose(found.alpha, theirs.alphas, rtol=1e-9)
    beta = explained.by_draw(explained.sample(returns, factors), lambda fitted: {"beta": fitted.beta})["beta"][0, 0]
    np.testing.assert_allclose(beta, theirs.betas, rtol=1e-9)
    # their J statistic is a Wald test with robust errors, ours exact: near each other in a long sample
    returns, factors = _economy(2, 4000, alpha=0.0005)
    wald = TradedFactorModel(returns, factors).fit(cov_type="robust").j_statistic.stat
    assert float(pricing.grs(returns, factors).statistic) * J == pytest.approx(wald, rel=0.05)


N_SIMULATED = 20_000
BINOMIAL = stats.binom.interval(0.999, N_SIMULATED, 0.05)


def _simulated(alpha: float, n_times: int = 24, n_extra: int = 8) -> xr.Dataset:
    """Many samples at once: extra returns of many 'draws' on the benchmark of the same draw."""
    rng = np.random.default_rng(11)
    g = rng.normal(0.01, 0.04, (1, N_SIMULATED, n_times, D))
    mixing = 0.02 * (np.eye(n_extra) + 0.5 * rng.normal(size=(n_extra, n_extra)))
    f = alpha + g @ rng.normal(1, 0.5, (D, n_extra)) + rng.normal(size=(1, N_SIMULATED, n_times, n_extra)) @ mixing.T
    times = pd.date_range("2001-01-31", periods=n_times, freq="ME")

    def array(values: np.ndarray, prefix: str) -> xr.DataArray:
        names = [f"{prefix}{i}" for i in range(values.shape[-1])]
        coords = {"chain": [0], "draw": range(N_SIMULATED), "time": times, "factor": names}
        return xr.DataArray(values, coords, tuple(coords))

    return pricing.squared_sharpe(array(g, "g"), array(f, "f"), periods_per_year=12)


def test_size_is_exact_in_24_months_and_power_is_that_of_the_noncentral_f():
    """GRS and the squared-Sharpe test are one statistic (test above)."""
    null = _simulated(0.0).p_value.values.ravel()
    assert BINOMIAL[0] <= (null < 0.05).sum() <= BINOMIAL[1]
    assert stats.kstest(null, "uniform").pvalue > 0.001
    planted = _simulated(0.02).p_value.values.ravel()
    assert (planted < 0.05).mean() > 0.3


def test_power_against_a_planted_alpha():
    """Conditional on the factors the statistic is a noncentral F; the noncentrality is T a'S^-1 a / (1 + theta^2)."""
    rng = np.random.default_rng(4)
    factors = _economy(5)[1]
    alpha, sd, n = 0.004, 0.02, 5000
    mean = factors.mean().to_numpy()
    theta = mean @ np.linalg.inv(np.cov(factors.to_numpy(), rowvar=False, ddof=0)) @ mean
    power = stats.ncf.sf(stats.f.isf(0.05, J, T - J - D), J, T - J - D, T * J * alpha**2 / sd**2 / (1 + theta))
    explained_part = factors.to_numpy() @ rng.normal(1, 0.4, (J, D)).T
    planted = alpha + explained_part + rng.normal(0, sd, (1, n, T, J))
    coords = {"chain": [0], "draw": range(n), "time": factors.index, "asset": [f"a{i}" for i in range(J)]}
    extra = xr.DataArray(planted, coords, tuple(coords))
    rejected = int((pricing.squared_sharpe(factors, extra, periods_per_year=12).p_value < 0.05).sum())
    low, high = stats.binom.interval(0.999, n, power)
    assert 0.3 < power < 0.9
    assert low <= rejected <= high
    one = extra.sel(chain=0, draw=17).to_pandas()
    nested = pricing.squared_sharpe(factors, one, periods_per_year=12)
    assert float(pricing.grs(one, factors).p_value) == pytest.approx(float(nested.p_value), rel=1e-9)


def test_unbiased_squared_sharpe_ratio_is_unbiased():
    rng = np.random.default_rng(6)
    true = 12 * (0.01 / 0.04) ** 2 * D  # annual, of independent factors
    g = rng.normal(0.01, 0.04, (1, 4000, T, D))
    f = rng.normal(0.0, 0.04, (1, 4000, T, 3))
    coords = {"chain": [0], "draw": range(4000), "time": _economy(1)[1].index}
    arrays = [
        xr.DataArray(v, coords | {"factor": [f"{n}{i}" for i in range(v.shape[-1])]}, (*coords, "factor"))
        for n, v in (("g", g), ("f", f))
    ]
    found = pricing.squared_sharpe(*arrays, periods_per_year=12)
    for place in (0, 1):
        unbiased = found.squared_unbiased.values[0, :, place]
        raw = found.sharpe.values[0, :, place] ** 2
        assert abs(unbiased.mean() - true) < 4 * unbiased.std() / np.sqrt(4000)
        assert raw.mean() > true + 0.2


def test_annual_sharpe_ratio_of_one_factor(pair):
    """theta over T: mean over sd with ddof 0, times the root of 12."""
    _, factors = pair
    found = pricing.squared_sharpe(factors[["f0"]], factors[["f1"]], periods_per_year=12)
    by_hand = factors["f0"].mean() / factors["f0"].std(ddof=0) * np.sqrt(12)
    assert float(found.sharpe.sel(model="benchmark")) == pytest.approx(abs(by_hand), rel=1e-12)
    # one extra factor: F is the square of the t of its alpha
    t = _ols(factors["f1"].to_numpy(), factors[["f0"]].to_numpy()).tvalues[0]
    assert float(found.statistic) == pytest.approx(t**2, rel=1e-9)


# --- alphas one by one ----------------------------------------------------------------------------------


def test_alpha_tests_are_statsmodels_by_asset_over_its_own_periods(ragged):
    returns, factors = ragged
    found = pricing.alpha_tests(returns, factors)
    hac = pricing.alpha_tests(returns, factors, errors="hac")
    published = pricing.alpha_tests(returns, factors, errors="as_published")
    for name in returns:
        fit = _ols(returns[name].to_numpy(), factors.to_numpy())
        n = int(fit.nobs)
        one = found.sel(asset=name)
        assert int(one.n_periods) == n
        assert float(one.dof) == n - D - 1
        for ours, theirs in (("alpha", fit.params), ("se", fit.bse), ("t", fit.tvalues), ("p_value", fit.pvalues)):
            assert float(one[ours]) == pytest.approx(theirs[0], rel=1e-8)
        lag = hac_lag(n)
        share, df = hac_share_and_df(n, lag)
        raw = fit.get_robustcov_results("HAC", maxlags=lag, use_correction=False).bse[0]
        # statsmodels gives the sandwich; ours allows for centring (share) and for the slopes
        expected = raw * np.sqrt((n - 1) / (n - D - 1) / share)
        assert float(hac.se.sel(asset=name)) == pytest.approx(expected, rel=1e-8)
        assert float(hac.dof.sel(asset=name)) == pytest.approx(df)
        assert float(hac.p_value.sel(asset=name)) == pytest.approx(2 * stats.t.sf(abs(fit.params[0] / expected), df))
        t = np.sqrt(n) * fit.params[0] / (fit.resid + fit.params[0]).std()
        assert float(published.t.sel(asset=name)) == pytest.approx(t, rel=1e-8)
        assert float(published.p_value.sel(asset=name)) == pytest.approx(2 * stats.norm.sf(abs(t)), rel=1e-7)


def test_published_t_is_too_large_by_what_the_docstring_says(pair):
    returns, factors = pair
    theta = float(pricing.grs(returns, factors).squared_sharpe_factors)
    ratio = pricing.alpha_tests(returns, factors, errors="as_published").t / pricing.alpha_tests(returns, factors).t
    np.testing.assert_allclose(ratio, np.sqrt((1 + theta) * T / (T - D - 1)), rtol=1e-9)


def test_sizes_of_single_tests():
    rng = np.random.default_rng(8)
    n_assets, n_times = 8000, 120
    factors = _frame(rng.normal(0.01, 0.04, (n_times, 2)), "f")
    noise = rng.normal(0, 0.02, (n_times, n_assets))
    rejected = (pricing.alpha_tests(_frame(noise, "a"), factors).p_value < 0.05).sum()
    low, high = stats.binom.interval(0.999, n_assets, 0.05)
    assert low <= rejected <= high
    persistent = noise.copy()
    for t in range(1, n_times):
        persistent[t] = 0.4 * persistent[t - 1] + noise[t]
    returns = _frame(persistent, "a")
    plain = float((pricing.alpha_tests(returns, factors).p_value < 0.05).mean())
    robust = float((pricing.alpha_tests(returns, factors, errors="hac").p_value < 0.05).mean())
    assert plain > 0.15
    assert 0.035 < robust < 0.085


def test_anomaly_counts(pair):
    returns, factors = pair
    returns = returns + np.array([0.02, 0.004, 0.004, 0, 0, 0])
    counts = pricing.anomaly_counts(returns, {"one": factors[["f0"]], "both": factors})
    for name, model in (("one", factors[["f0"]]), ("both", factors)):
        p = np.sort(pricing.alpha_tests(returns, model).p_value.values)
        row = counts.loc[name]
        assert row["n_anomalies"] == J
        assert row["by_chance"] == pytest.approx(0.05 * J)
        assert row["significant"] == (p < 0.05).sum()
        assert row["bonferroni"] == (p < 0.05 / J).sum()
        steps = [k for k in range(1, J + 1) if p[k - 1] <= 0.05 * k / J]
        assert row["benjamini_hochberg"] == max(steps, default=0)
    assert counts.loc["both", "bonferroni"] >= 1
    assert list(counts.columns) == ["n_anomalies", "by_chance", "significant", "bonferroni", "benjamini_hochberg"]


def test_anomaly_counts_judge_all_models_on_the_same_periods(pair):
    returns, factors = pair
    late = factors.iloc[25:]
    counts = pricing.anomaly_counts(returns, {"long": factors[["f0"]], "short": late})
    assert counts.attrs["n_periods"] == T - 25
    alone = pricing.anomaly_counts(returns.iloc[25:], {"long": factors[["f0"]]})
    assert counts.loc["long", "significant"] == alone.loc["long", "significant"]


def test_anomaly_counts_of_draws(pair):
    returns, factors = pair
    draws = _draws(factors)
    counts = pricing.anomaly_counts(returns, {"drawn": draws, "given": factors}, level=0.3)
    each = [
        pricing.anomaly_counts(returns, {"m": draws.isel(chain=c, draw=d).to_pandas()}, level=0.3).loc[
            "m", "significant"
        ]
        for c in range(2)
        for d in range(7)
    ]
    assert counts.loc["drawn", "significant"] == pytest.approx(np.mean(each))
    assert counts.loc["drawn", "significant_lower"] == pytest.approx(np.quantile(each, 0.05))
    assert counts.loc["drawn", "significant_upper"] == pytest.approx(np.quantile(each, 0.95))
    assert np.isnan(counts.loc["given", "significant_lower"])
    assert np.std(each) > 0


# --- measures ---------------------------------------------------------------------------------------------


def _loop_measures(returns: pd.DataFrame, factors: pd.DataFrame) -> dict[str, float]:
    own = spread = market = total = 0.0
    alphas, betas, means = [], [], []
    for name in returns:
        r = returns[name].to_numpy()
        seen = np.isfinite(r)
        beta = _ols(r, factors.to_numpy()).params[1:]
        error = [r[t] - factors.to_numpy()[t] @ beta for t in np.flatnonzero(seen)]
        own += sum(e**2 for e in error)
        spread += sum((r[t] - r[seen].mean()) ** 2 for t in np.flatnonzero(seen))
        total += sum(r[t] ** 2 for t in np.flatnonzero(seen))
        market += sum((r[t] - factors["f0"].iloc[t]) ** 2 for t in np.flatnonzero(seen))
        alphas.append(np.mean(error))
        betas.append(beta)
        means.append(r[seen].mean())
    second = sm.OLS(means, sm.add_constant(np.array(betas))).fit()
    return {
        "time_series_r2": 1 - own / spread,
        "pricing_error": float(np.mean(np.square(alphas))),
        "cross_sectional_r2": second.rsquared,
        "total_r2": 1 - own / total,
        "market_r2": 1 - own / market,
    }


@pytest.mark.parametrize("which", ["pair", "ragged"])
def test_measures_are_slow_loops(which, request):
    returns, factors = request.getfixturevalue(which)
    expected = _loop_measures(returns, factors)
    for name in ("time_series_r2", "pricing_error", "cross_sectional_r2", "total_r2"):
        found = getattr(metrics, name)(returns, factors)
        assert found.dims == ()
        assert found.name == found.attrs["metric"] == name
        assert float(found) == pytest.approx(expected[name], rel=1e-9)
        assert found.attrs["n_returns"] == int(returns.notna().to_numpy().sum())
    against = metrics.total_r2(returns, factors, benchmark="market", market=factors["f0"])
    assert float(against) == pytest.approx(expected["market_r2"], rel=1e-9)
    assert against.attrs["benchmark"] == "market"
    assert metrics.pricing_error(returns, factors).attrs["units"] == "squared decimal per period"
    together = pricing.measures(returns, factors, periods_per_year=12)
    for name in ("time_series_r2", "pricing_error", "cross_sectional_r2"):
        assert float(together[name]) == float(getattr(metrics, name)(returns, factors))
    theta = pricing.squared_sharpe(factors[["f0"]], factors[["f1"]], periods_per_year=12).sharpe
    assert float(together.sharpe) == pytest.approx(float(theta.sel(model="with_extra")), rel=1e-12)


def test_pricing_error_of_least_squares_is_the_mean_square_of_grs_alphas(pair):
    alphas = pricing.grs(*pair).alpha
    assert float(metrics.pricing_error(*pair)) == pytest.approx(float((alphas**2).mean()), rel=1e-10)


def test_known_betas_give_known_measures():
    """r = beta'f + a without noise: every alpha is a, the time-series error is T a^2 per asset."""
    _, factors = _economy(1)
    beta = pd.DataFrame(np.random.default_rng(2).normal(1, 0.5, (J, D)), [f"a{i}" for i in range(J)], factors.columns)
    returns = pd.DataFrame(factors.to_numpy() @ beta.to_numpy().T + 0.003, factors.index, beta.index)
    for loadings in (beta, None):
        assert float(metrics.pricing_error(returns, factors, loadings=loadings)) == pytest.approx(0.003**2, rel=1e-9)
        expected = 1 - T * J * 0.003**2 / ((returns - returns.mean()) ** 2).to_numpy().sum()
        assert float(metrics.time_series_r2(returns, factors, loadings=loadings)) == pytest.approx(expected, rel=1e-12)
        assert float(metrics.cross_sectional_r2(returns, factors, loadings=loadings)) == pytest.approx(1, abs=1e-12)


def test_intercept_counts_as_error_and_can_make_r2_negative(pair):
    returns, factors = pair
    assert float(metrics.time_series_r2(returns + 0.5 * 0.4, factors)) < 0


def test_collinear_loadings_are_projected():
    _, factors = _economy(1)
    rng = np.random.default_rng(9)
    b = rng.normal(1, 0.4, J)
    beta = pd.DataFrame({"f0": b, "f1": 2 * b - 1}, index=[f"a{i}" for i in range(J)])
    returns = _frame(rng.normal(0.01, 0.05, (T, J)), "a")
    means = returns.mean().to_numpy()
    expected = sm.OLS(means, sm.add_constant(b)).fit().rsquared
    assert float(metrics.cross_sectional_r2(returns, factors, loadings=beta)) == pytest.approx(expected, rel=1e-9)
    equal = beta.assign(f0=1.0, f1=0.5)  # no spread at all explains nothing
    assert float(metrics.cross_sectional_r2(returns, factors, loadings=equal)) == pytest.approx(0, abs=1e-12)


def test_loadings_that_vary_over_time(ragged):
    returns, factors = ragged
    rng = np.random.default_rng(10)
    coords = {"asset": list(returns), "time": returns.index, "factor": list(factors)}
    beta = xr.DataArray(rng.normal(1, 0.3, (J, T, D)), coords, tuple(coords))
    beta.loc[{"asset": "a0", "time": returns.index[:20]}] = np.nan  # no return: not needed
    fitted = (
        beta
        * xr.DataArray(
            factors.to_numpy(), dims=("time", "factor"), coords={"time": factors.index, "factor": list(factors)}
        )
    ).sum("factor")
    error = returns.to_numpy() - fitted.transpose("time", "asset").values
    assert float(metrics.total_r2(returns, factors, loadings=beta)) == pytest.approx(
        1 - np.nansum(error**2) / np.nansum(returns.to_numpy() ** 2), rel=1e-12
    )
    assert float(metrics.pricing_error(returns, factors, loadings=beta)) == pytest.approx(
        np.mean(np.nanmean(error, axis=0) ** 2), rel=1e-12
    )
    assert "cross_sectional_r2" not in pricing.measures(returns, factors, loadings=beta, periods_per_year=12)
    with pytest.raises(DataError, match="constant loadings"):
        metrics.cross_sectional_r2(returns, factors, loadings=beta)


# --- draws ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["pair", "ragged"])
def test_each_draw_is_its_own_answer(which, request, monkeypatch):
    returns, factors = request.getfixturevalue(which)
    draws = _draws(factors).transpose("draw", "time", "factor", "chain")
    found = pricing.measures(returns, draws, periods_per_year=12)
    tests = pricing.alpha_tests(returns, draws, errors="hac")
    assert dict(found.sizes) == {"chain": 2, "draw": 7}
    for chain, draw in ((0, 0), (1, 3), (1, 6)):
        one = draws.sel(chain=chain, draw=draw).transpose("time", "factor").to_pandas()
        alone = pricing.measures(returns, one, periods_per_year=12)
        for name in found:
            assert float(found[name].sel(chain=chain, draw=draw)) == pytest.approx(float(alone[name]), rel=1e-11)
        single = pricing.alpha_tests(returns, one, errors="hac")
        np.testing.assert_allclose(tests.p_value.sel(chain=chain, draw=draw), single.p_value, rtol=1e-9)
    monkeypatch.setattr(explained, "WORKING_BYTES", 1)  # a draw a batch
    for name, values in pricing.measures(returns, draws, periods_per_year=12).items():
        np.testing.assert_allclose(values, found[name], rtol=1e-12)


def test_grs_and_squared_sharpe_of_draws(pair):
    returns, factors = pair
    draws = _draws(factors)
    joint = pricing.grs(returns, draws)
    assert joint.alpha.dims == ("chain", "draw", "asset")
    extra = draws.isel(factor=[1])
    nested = pricing.squared_sharpe(factors[["f0"]], extra, periods_per_year=12)
    assert nested.sharpe.dims == ("chain", "draw", "model")
    one = draws.sel(chain=1, draw=2).to_pandas()
    assert float(joint.statistic.sel(chain=1, draw=2)) == pytest.approx(float(pricing.grs(returns, one).statistic))
    alone = pricing.squared_sharpe(factors[["f0"]], one[["f1"]], periods_per_year=12)
    assert float(nested.statistic.sel(chain=1, draw=2)) == pytest.approx(float(alone.statistic))


def test_draws_of_loadings_with_given_factors(pair):
    returns, factors = pair
    rng = np.random.default_rng(1)
    coords = {"chain": [0, 1], "draw": [0, 1, 2], "asset": list(returns), "factor": list(factors)}
    beta = xr.DataArray(rng.normal(1, 0.2, (2, 3, J, D)), coords, tuple(coords))
    found = metrics.pricing_error(returns, factors, loadings=beta)
    one = beta.sel(chain=1, draw=2).to_pandas()
    assert float(found.sel(chain=1, draw=2)) == pytest.approx(
        float(metrics.pricing_error(returns, factors, loadings=one))
    )
    with pytest.raises(AlignmentError, match="same chains and draws"):
        metrics.pricing_error(returns, _draws(factors), loadings=beta)


def test_bands(pair):
    returns, factors = pair
    found = pricing.measures(returns, _draws(factors), periods_per_year=12)
    table = pricing.bands(found, prob=0.8)
    flat = found.time_series_r2.values.ravel()
    assert table.loc["time_series_r2", "mean"] == pytest.approx(flat.mean())
    assert table.loc["time_series_r2", "sd"] == pytest.approx(flat.std(ddof=1))
    assert table.loc["time_series_r2", "lower"] == pytest.approx(np.quantile(flat, 0.1))
    assert table.loc["time_series_r2", "upper"] == pytest.approx(np.quantile(flat, 0.9))
    assert list(table.index) == ["time_series_r2", "pricing_error", "cross_sectional_r2", "sharpe"]
    with pytest.raises(DataError, match="bands need draws"):
        pricing.bands(pricing.measures(returns, factors, periods_per_year=12))
    with pytest.raises(DataError, match="prob must be between 0 and 1: found 90"):
        pricing.bands(found, prob=90)


# --- Fama-MacBeth -------------------------------------------------------------------------------------------


def _characteristics(returns: pd.DataFrame, n: int = 2, seed: int = 5) -> xr.DataArray:
    values = np.random.default_rng(seed).normal(size=(*returns.shape, n))
    coords = {"time": returns.index, "asset": list(returns), "characteristic": [f"z{k}" for k in range(n)]}
    return xr.DataArray(values, coords, tuple(coords))


def test_characteristics_form_agrees_with_linearmodels(ragged):
    returns, _ = ragged
    z = _characteristics(returns)
    z[3, 2, 1] = np.nan  # left out of its month
    found = pricing.fama_macbeth(returns, z)
    frame = z.to_dataset("characteristic").to_dataframe().reorder_levels(["asset", "time"]).sort_index()
    y = xr.DataArray(returns.to_numpy(), {"time": returns.index, "asset": list(returns)}, ("time", "asset")).to_series()
    data = sm.add_constant(frame.assign(y=y.reorder_levels(["asset", "time"]))).dropna()
    theirs = FamaMacBeth(data["y"], data[["const", "z0", "z1"]]).fit(debiased=False)
    np.testing.assert_allclose(found.premium, theirs.params, rtol=1e-9)
    # their default covariance is that of the mean of slopes over T, ours over T - 1
    np.testing.assert_allclose(found.se, theirs.std_errors * np.sqrt(T / (T - 1)), rtol=1e-9)
    np.testing.assert_allclose(found.slopes, theirs.all_params, rtol=1e-8)
    assert list(found.term.values) == ["intercept", "z0", "z1"]
    lag = hac_lag(T)
    kernel = FamaMacBeth(data["y"], data[["const", "z0", "z1"]]).fit(cov_type="kernel", bandwidth=lag, debiased=False)
    share, _ = hac_share_and_df(T, lag)
    np.testing.assert_allclose(found.se_hac, kernel.std_errors / np.sqrt(share), rtol=1e-8)


def test_fama_macbeth_is_the_baselines_on_a_panel():
    panel = bf.datasets.us_equities().sel(characteristic=["log_me", "bm", "rev_1m"])
    theirs = bf.baselines.FamaMacBeth().fit(panel)
    z = panel.data["characteristics"]
    found = pricing.fama_macbeth(metrics.realised_returns(panel), z)
    np.testing.assert_allclose(found.premium, theirs.coefficients, rtol=1e-12)
    assert found.attrs["n_periods"] == theirs.n_months


def test_r2_of_a_period_is_that_of_statsmodels(pair):
    returns, _ = pair
    z = _characteristics(returns)
    found = pricing.fama_macbeth(returns, z)
    for t in (0, 17):
        fit = sm.OLS(returns.iloc[t].to_numpy(), sm.add_constant(z.values[t])).fit()
        assert float(found.r2[t]) == pytest.approx(fit.rsquared, rel=1e-9)


def test_two_passes_with_shankens_error(pair):
    returns, factors = pair
    found = pricing.fama_macbeth(returns, factors=factors)
    fits = [_ols(returns[name].to_numpy(), factors.to_numpy()) for name in returns]
    beta = np.array([fit.params[1:] for fit in fits])
    x = sm.add_constant(beta)
    premium = np.linalg.lstsq(x, returns.mean().to_numpy(), rcond=None)[0]
    np.testing.assert_allclose(found.premium, premium, rtol=1e-9)
    # Shanken (1992) by its parts: A S A' with the residual covariance, S_f
    residuals = np.column_stack([fit.resid for fit in fits])
    a = np.linalg.inv(x.T @ x) @ x.T
    sigma = residuals.T @ residuals / (T - 1)
    omega = np.cov(factors.to_numpy(), rowvar=False)
    c = premium[1:] @ np.linalg.inv(omega) @ premium[1:]
    padded = np.zeros((D + 1, D + 1))
    padded[1:, 1:] = omega
    variance = ((1 + c) * a @ sigma @ a.T + padded) / T
    np.testing.assert_allclose(found.se_shanken, np.sqrt(np.diag(variance)), rtol=1e-8)
    theirs = LinearFactorModel(returns, factors, risk_free=True).fit()
    np.testing.assert_allclose(found.premium, theirs.risk_premia, rtol=1e-8)
    given = pricing.fama_macbeth(returns, pd.DataFrame(beta, list(returns), list(factors)))
    np.testing.assert_allclose(given.premium, found.premium, rtol=1e-9)
    np.testing.assert_allclose(given.se, found.se, rtol=1e-9)
    assert "se_shanken" not in given


def test_shankens_error_is_that_of_gmm_in_a_long_sample():
    returns, factors = _economy(3, 20_000)
    found = pricing.fama_macbeth(returns, factors=factors)
    theirs = LinearFactorModel(returns, factors, risk_free=True).fit()
    np.testing.assert_allclose(found.se_shanken, theirs.risk_premia_se, rtol=0.03)


def test_shankens_error_is_the_spread_of_premia_and_the_plain_one_is_not():
    """A factor that earns its sd a month (c = 1), few assets and much noise: W alone is too small by a third."""
    rng = np.random.default_rng(12)
    n, n_times, beta = 400, 120, np.linspace(0.2, 2.0, 10)
    premia, plain, shanken = [], [], []
    for _ in range(n):
        factor = rng.normal(0.02, 0.02, (n_times, 1))
        returns = factor * beta + rng.normal(0, 0.05, (n_times, 10))
        found = pricing.fama_macbeth(_frame(returns, "a"), factors=_frame(factor, "f")).isel(term=1)
        premia.append(float(found.premium))
        plain.append(float(found.se) ** 2)
        shanken.append(float(found.se_shanken) ** 2)
    true = np.var(premia, ddof=1)
    low, high = np.array(stats.chi2.interval(0.999, n - 1)) / (n - 1)
    assert low < true / np.mean(shanken) < high
    assert true / np.mean(plain) > high


def test_premia_report_the_error_that_leaves_most_doubt(pair):
    returns, factors = pair
    found = pricing.fama_macbeth(returns, factors=factors)
    p_hac = [
        2 * stats.t.sf(abs(p / s), hac_share_and_df(T, hac_lag(T))[1])
        for p, s in zip(found.premium.values, found.se_hac.values, strict=True)
    ]
    p_plain = 2 * stats.t.sf(np.abs(found.premium / found.se), T - 1)
    p_shanken = 2 * stats.t.sf(np.abs(found.premium / found.se_shanken), T - 1)
    p_values = np.array([p_hac, p_plain, p_shanken])
    np.testing.assert_allclose(found.p_value, p_values.max(axis=0), rtol=1e-9)
    errors = np.array([found.se_hac, found.se, found.se_shanken])
    chosen = np.take_along_axis(errors, p_values.argmax(axis=0)[None], axis=0)[0]
    np.testing.assert_allclose(found.t, found.premium / chosen, rtol=1e-9)


def test_months_without_a_regression_are_left_out_with_a_warning(pair):
    returns, _ = pair
    returns = returns.copy()
    returns.iloc[4, 1:] = np.nan
    z = _characteristics(returns)
    with pytest.warns(DataWarning, match="1 of 60 periods"):
        found = pricing.fama_macbeth(returns, z)
    assert (found.attrs["n_periods"], found.attrs["n_left_out"]) == (T - 1, 1)
    assert returns.index[4] not in found.indexes["time"]
    with pytest.raises(DataError, match="Give fewer exposures or more assets"):
        pricing.fama_macbeth(returns, z * 0 + 1.0)


def test_shankens_error_is_not_known_for_missing_returns(ragged):
    with pytest.warns(DataWarning, match="se_shanken is NaN"):
        found = pricing.fama_macbeth(ragged[0], factors=ragged[1])
    assert np.isnan(found.se_shanken).all()
    assert np.isfinite(found.p_value).all()


# --- labels -------------------------------------------------------------------------------------------------


def test_joined_by_label_never_by_position(ragged):
    returns, factors = ragged
    rng = np.random.default_rng(7)
    shuffled = returns.iloc[rng.permutation(T), rng.permutation(J)]
    turned = factors.iloc[rng.permutation(T), ::-1]
    xr.testing.assert_allclose(
        pricing.alpha_tests(shuffled, turned, errors="hac").sel(asset=list(returns)),
        pricing.alpha_tests(returns, factors, errors="hac"),
        rtol=1e-9,
    )
    for metric in (metrics.time_series_r2, metrics.pricing_error, metrics.cross_sectional_r2, metrics.total_r2):
        assert float(metric(shuffled, turned)) == pytest.approx(float(metric(returns, factors)), rel=1e-10)
    complete = ["a2", "a3", "a5"]
    assert float(pricing.grs(shuffled[complete[::-1]], turned).statistic) == pytest.approx(
        float(pricing.grs(returns[complete], factors).statistic), rel=1e-10
    )
    z = _characteristics(returns)
    turned_z = z.isel(time=rng.permutation(T), asset=rng.permutation(J)).transpose("characteristic", "asset", "time")
    xr.testing.assert_allclose(pricing.fama_macbeth(shuffled, turned_z), pricing.fama_macbeth(returns, z))


def test_loadings_are_joined_by_label(pair):
    returns, factors = pair
    rng = np.random.default_rng(7)
    coords = {"time": returns.index, "asset": list(returns), "factor": list(factors)}
    by_time = xr.DataArray(rng.normal(1, 0.3, (T, J, D)), coords, tuple(coords))
    for beta in (by_time.isel(time=0, drop=True), by_time):
        shuffled = beta.isel(asset=rng.permutation(J), factor=[1, 0])
        if "time" in beta.dims:
            shuffled = shuffled.isel(time=rng.permutation(T))
        expected = metrics.pricing_error(returns, factors, loadings=beta)
        found = metrics.pricing_error(returns, factors, loadings=shuffled.transpose(*beta.dims[::-1]))
        assert float(found) == pytest.approx(float(expected), rel=1e-12)


def test_kinds_of_labelled_arrays_give_the_same(pair):
    returns, factors = pair
    expected = pricing.grs(returns, factors)
    array = xr.DataArray(
        returns.to_numpy().T, {"portfolio": list(returns), "time": returns.index}, ("portfolio", "time")
    )
    found = pricing.grs(array, factors)
    assert found.alpha.dims == ("portfolio",)
    assert float(found.statistic) == float(expected.statistic)
    monthly = returns.set_axis(returns.index.to_period("M"))
    assert float(pricing.grs(monthly, factors.set_axis(factors.index.to_period("M"))).statistic) == float(
        expected.statistic
    )
    one = pricing.grs(returns, factors["f0"])
    assert float(one.statistic) == float(pricing.grs(returns, factors[["f0"]]).statistic)
    named = factors.rename_axis("asset", axis=1)  # both dims have one name
    assert float(pricing.grs(returns, named).statistic) == float(expected.statistic)


def test_periods_outside_the_common_window_and_the_live_one_do_not_count(pair):
    returns, factors = pair
    live = returns.copy()
    live.loc[pd.Timestamp("2015-01-31")] = np.nan
    found = pricing.grs(live, factors.iloc[10:])
    assert found.attrs["n_periods"] == T - 10
    assert float(found.statistic) == float(pricing.grs(returns.iloc[10:], factors.iloc[10:]).statistic)


def test_scale_of_factors_does_not_matter_to_the_tests(pair):
    returns, factors = pair
    scaled = factors * np.array([1e-6, 3.0])
    assert float(pricing.grs(returns, scaled).statistic) == pytest.approx(
        float(pricing.grs(returns, factors).statistic)
    )


# --- refusals -----------------------------------------------------------------------------------------------


def test_too_few_periods(pair):
    returns, factors = pair
    with pytest.raises(DataError, match=r"found 8 periods for 6 \+ 2"):
        pricing.grs(returns.iloc[:8], factors)
    pricing.grs(returns.iloc[:9], factors)
    with pytest.raises(DataError, match=r"found 2 periods for 1 \+ 1"):
        pricing.squared_sharpe(factors[["f0"]].iloc[:2], factors[["f1"]], periods_per_year=12)
    few = returns.copy()
    few.iloc[3:, 2] = np.nan
    with pytest.raises(DataError, match=r"2 factors needs at least 4 periods.*\(a2, 3 periods\) \(1 in all\)"):
        metrics.time_series_r2(few, factors)
    with pytest.raises(DataError, match=r"found 3 for 3 \(intercept and factors\)"):
        metrics.cross_sectional_r2(returns.iloc[:, :3], factors)


def test_missing_returns_are_refused_where_the_f_would_not_be_exact(ragged):
    with pytest.raises(
        DataError, match=r"\(a0, 20 missing\), \(a1, 3 missing\), \(a4, 20 missing\) \(3 in all\) of 60"
    ):
        pricing.grs(*ragged)


def test_an_asset_without_any_return_in_the_window(ragged):
    returns, factors = ragged
    with pytest.raises(DataError, match=r"must have a return.*a0, a4"):
        pricing.alpha_tests(returns, factors.iloc[:20])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.assign(f1=0.01), r"factors must vary: constant .* is f1"),
        (lambda f: f.assign(f1=0.0), r"factors must vary: constant .* is f1"),
        (lambda f: f.assign(f2=f["f0"] - 2 * f["f1"]), r"collinear: f0, f1, f2"),
        (lambda f: f.where((f.index != f.index[3])[:, None] | [True, False]), r"missing at \(2010-04-30, f1\)"),
        (lambda f: f.replace(f.iloc[2, 0], np.inf), r"infinite at \(2010-03-31, f0\)"),
    ],
)
def test_bad_factors(pair, change, message):
    returns, factors = pair
    with pytest.raises(DataError, match=message):
        pricing.grs(returns, change(factors))
    with pytest.raises(DataError, match=message):
        pricing.squared_sharpe(change(factors), returns, periods_per_year=12)


def test_bad_factors_in_a_draw_or_over_the_periods_of_an_asset(ragged):
    returns, factors = ragged
    draws = _draws(factors)
    draws[1, 3, :, 1] = 0.02
    with pytest.raises(DataError, match=r"f1.* in draw 10 of 14"):
        metrics.time_series_r2(returns, draws)
    flat = factors.copy()
    flat.iloc[20:, 1] = 0.0  # a0 and a4 begin there
    with pytest.raises(DataError, match=r"over the periods of a0, a4.*: f1"):
        metrics.time_series_r2(returns, flat)


def test_assets_spanned_by_factors_or_each_other(pair):
    returns, factors = pair
    with pytest.raises(DataError, match="combinations of the factors: copy"):
        pricing.grs(returns.assign(copy=factors["f0"]), factors)
    with pytest.raises(DataError, match="combinations of the factors: copy"):
        pricing.alpha_tests(returns.assign(copy=factors["f0"] - factors["f1"]), factors)
    with pytest.raises(DataError, match="combinations of each other and the factors: a1, a3, spread"):
        pricing.grs(returns.assign(spread=returns["a1"] - returns["a3"]), factors)


def test_units(pair):
    returns, factors = pair
    with pytest.raises(UnitsError, match="returns must be decimal per period"):
        pricing.grs(100 * returns, factors)
    with pytest.raises(UnitsError, match="factors must be decimal per period"):
        metrics.time_series_r2(returns, 100 * factors)
    raw = returns.copy()
    raw.attrs = {"units": "decimal", "excess": False}
    with pytest.raises(UnitsError, match="attrs say raw returns"):
        pricing.grs(raw, factors)
    raw.attrs = {"units": "percent"}
    with pytest.raises(UnitsError, match="attrs say percent"):
        pricing.grs(raw, factors)
    for told, message in (
        (252, "told 252.* 12 a year"),
        (4, "told 4"),
        (0, "positive number"),
        ("m", "positive number"),
    ):
        with pytest.raises(UnitsError, match=message):
            pricing.squared_sharpe(factors[["f0"]], factors[["f1"]], periods_per_year=told)
        with pytest.raises(UnitsError, match=message):
            pricing.measures(returns, factors, periods_per_year=told)


def test_labels_that_do_not_match(pair):
    returns, factors = pair
    first_days = factors.set_axis(factors.index.to_period("M").to_timestamp())
    with pytest.raises(
        AlignmentError, match="periods in common, by date: returns 2010-01-31 to 2014-12-31; factors 2010"
    ):
        pricing.grs(returns, first_days)
    with pytest.raises(AlignmentError, match=r"only returns has 2010-06-30 \(1 in all\)"):
        pricing.grs(returns, factors.drop(factors.index[5]))
    with pytest.raises(AlignmentError, match="found ndarray"):
        pricing.grs(returns.to_numpy(), factors)
    with pytest.raises(AlignmentError, match="dates along time, without time zone: found int64"):
        pricing.grs(returns.reset_index(drop=True), factors)
    with pytest.raises(AlignmentError, match="without time zone"):
        pricing.grs(returns.tz_localize("UTC"), factors)
    with pytest.raises(AlignmentError, match="found a MultiIndex"):
        pricing.grs(returns.set_index(returns.index.year, append=True), factors)
    with pytest.raises(AlignmentError, match=r"time and one other dim: found dims \('chain'"):
        pricing.grs(_draws(returns), factors)
    with pytest.raises(AlignmentError, match="labels of dimension 'factor'"):
        pricing.grs(returns, _draws(factors).drop_vars("factor"))
    with pytest.raises(DuplicateKeyError, match="'time' once: repeated 2010-01-31"):
        pricing.grs(pd.concat([returns, returns.iloc[:1]]), factors)
    with pytest.raises(DuplicateKeyError, match="'asset' once: repeated a0"):
        pricing.grs(returns.rename(columns={"a1": "a0"}), factors)
    with pytest.raises(AlignmentError, match="other names than the factors: both have f0"):
        pricing.squared_sharpe(factors, factors[["f0"]], periods_per_year=12)
    extra = _draws(factors, n_draws=3).assign_coords(factor=["x", "y"])
    with pytest.raises(AlignmentError, match="factors and extra must have the same chains and draws"):
        pricing.squared_sharpe(_draws(factors), extra, periods_per_year=12)
    with pytest.raises(DataError, match="must hold numbers: found object"):
        pricing.grs(returns.astype(object), factors)
    with pytest.raises(DataError, match="at least one return"):
        pricing.grs(returns * np.nan, factors)


def test_loadings_that_do_not_match(pair):
    returns, factors = pair
    beta = pd.DataFrame(1.0, list(returns), list(factors))
    for wrong, error, message in (
        (beta.drop("a3"), AlignmentError, "loadings must have every asset of returns: lacks a3"),
        (beta.drop(columns="f1"), AlignmentError, "lack f1"),
        (beta.assign(f2=1.0), AlignmentError, "also have f2"),
        (beta.replace(1.0, np.nan), DataError, "known wherever there is a return: not so for a0, a1, a2"),
        (beta.replace(1.0, np.inf), DataError, "infinite at"),
        (beta.to_numpy(), AlignmentError, "found ndarray"),
        (pd.concat([beta, beta.iloc[:1]]), DuplicateKeyError, "'asset' once: repeated a0"),
        (beta.astype(str), DataError, "must hold numbers"),
    ):
        with pytest.raises(error, match=message):
            metrics.time_series_r2(returns, factors, loadings=wrong)
    by_time = xr.DataArray(
        np.ones((T, J, D)),
        {"time": returns.index, "asset": list(returns), "factor": list(factors)},
        ("time", "asset", "factor"),
    )
    with pytest.raises(AlignmentError, match="every period of returns and factors: lack 2010-01-31"):
        metrics.time_series_r2(returns, factors, loadings=by_time.isel(time=slice(1, None)))


def test_choices_are_named(pair):
    returns, factors = pair
    with pytest.raises(DataError, match="errors must be one of 'ols', 'hac', 'as_published': found 'nw'"):
        pricing.alpha_tests(returns, factors, errors="nw")
    with pytest.raises(DataError, match="errors must be one of"):
        pricing.anomaly_counts(returns, {"m": factors}, errors="nw")
    with pytest.raises(DataError, match="level must be between 0 and 1: found 5"):
        pricing.anomaly_counts(returns, {"m": factors}, level=5)
    with pytest.raises(DataError, match="models must be factors by name"):
        pricing.anomaly_counts(returns, factors)
    with pytest.raises(DataError, match="models must be factors by name"):
        pricing.anomaly_counts(returns, {})
    for wrong in ({"benchmark": "market"}, {"benchmark": "mean"}, {"market": factors["f0"]}):
        with pytest.raises(DataError, match='benchmark must be "zero", or "market" with market='):
            metrics.total_r2(returns, factors, **wrong)
    with pytest.raises(AlignmentError, match="market must be one series: found 2"):
        metrics.total_r2(returns, factors, benchmark="market", market=factors)
    with pytest.raises(AlignmentError, match="market must have every period that is used: lacks 2010-01-31"):
        metrics.total_r2(returns, factors, benchmark="market", market=factors["f0"].iloc[1:])


def test_fama_macbeth_refuses(pair):
    returns, factors = pair
    z = _characteristics(returns)
    for wrong in ({}, {"exposures": z, "factors": factors}):
        with pytest.raises(DataError, match="exposures or factors=, and not both"):
            pricing.fama_macbeth(returns, **wrong)
    with pytest.raises(DataError, match="not draws of them"):
        pricing.fama_macbeth(returns, factors=_draws(factors))
    with pytest.raises(AlignmentError, match="exposures must have every asset of returns: lacks a0"):
        pricing.fama_macbeth(returns, z.isel(asset=slice(1, None)))
    with pytest.raises(AlignmentError, match=r"only returns has 2010-11-30"):
        pricing.fama_macbeth(returns, z.drop_isel(time=10))
    with pytest.raises(AlignmentError, match="one other dim, and if wanted and time: found dims"):
        pricing.fama_macbeth(returns, z.expand_dims("draw"))
    with pytest.raises(DataError, match="premia need 3"):
        pricing.fama_macbeth(returns.iloc[:2], z)


def test_raw_portfolios_of_the_library_are_refused_and_published_numbers_come_near(shared_data):
    """FPX table 5: annual Sharpe ratios .45 (market) and .71 (three factors), 1974 to 2018."""
    table = bf.readers.ken_french(shared_data / "french_raw" / "F-F_Research_Data_Factors__crsp202510.csv")["monthly"]
    factors = table.factors().loc["1974":"2018"]
    found = pricing.squared_sharpe(factors[["Mkt-RF"]], factors[["SMB", "HML"]], periods_per_year=12)
    assert float(found.sharpe[0]) == pytest.approx(0.45, abs=0.02)
    assert float(found.sharpe[1]) == pytest.approx(0.71, abs=0.03)
    file = bf.readers.ken_french(shared_data / "french_raw" / "25_Portfolios_5x5__crsp202602.csv")
    raw = file["Average Value Weighted Returns -- Monthly"].portfolio_returns()
    with pytest.raises(UnitsError, match="raw"):
        pricing.grs(raw, factors)
