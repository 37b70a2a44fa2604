"""Predictive distributions against the mixture of the draws' laws, in closed form where the noise is normal."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import scoringrules
import xarray as xr
from fits import LINEAR, NETWORK, each_draw, panel, prior_fit, with_data
from scipy import stats

import bayesfactor as bf
from bayesfactor.components import month
from bayesfactor.errors import DataError
from bayesfactor.quantities.predictive import LEVELS, predictive_of_laws, predictive_returns

# Without monthly shocks or noise levels of its own the predictive distribution is a mixture of normals.
FULL = bf.FundamentalFactorModel(hidden=(), noise="normal", pooling="full")
STUDENT_T = bf.FundamentalFactorModel(hidden=(), noise="student_t")
SIMULATED = 40_000


def realised() -> xr.DataArray:
    return bf.metrics.realised_returns(panel())


def laws(model: bf.FundamentalFactorModel, position: int) -> tuple[np.ndarray, np.ndarray]:
    """Means and sds (draw, asset of the universe) of one month under every draw."""
    z = panel().arrays().characteristics[position][panel().arrays().in_universe[position]]
    with jax.enable_x64(True):
        made = [model.month_law(params, z) for params in each_draw(prior_fit(model))]
        means = np.stack([np.asarray(law.mean) for law in made])
        return means, np.stack([np.sqrt(np.asarray(month.predictive_variance(law))) for law in made])


def test_moments_quantiles_pit_and_crps_are_those_of_the_mixture_of_normals() -> None:
    position = 5
    found = predictive_returns(prior_fit(FULL), panel(), realised=realised(), simulated=SIMULATED, seed=3)
    used = panel().data["in_universe"].values[position]
    row = found.isel(time=position, asset=used)
    means, sds = laws(FULL, position)
    np.testing.assert_allclose(row["mean"], means.mean(axis=0), rtol=1e-9, atol=1e-14)
    total = np.sqrt((sds**2).mean(axis=0) + means.var(axis=0, ddof=1))
    np.testing.assert_allclose(row["sd"], total, rtol=1e-9)
    for level in LEVELS:
        # The mixture's cdf at the quantile that was found, within five Monte Carlo errors of the level.
        cdf = stats.norm.cdf(row["quantiles"].sel(quantile=level).values, means, sds).mean(axis=0)
        np.testing.assert_allclose(cdf, level, atol=5 * np.sqrt(level * (1 - level) / SIMULATED))
    came = row["realised"].values if "realised" in row else realised().isel(time=position, asset=used).values
    seen = np.isfinite(came)
    pit = stats.norm.cdf(came, means, sds).mean(axis=0)
    np.testing.assert_allclose(row["pit"].values[seen], pit[seen], atol=5 * 0.5 / np.sqrt(SIMULATED))
    weights = np.full_like(means.T, 1 / len(means))
    crps = scoringrules.crps_mixnorm(came[seen], means.T[seen], sds.T[seen], weights[seen])
    np.testing.assert_allclose(row["crps"].values[seen], crps, rtol=0.05)
    assert np.isnan(row["pit"].values[~seen]).all()
    assert np.isnan(row["crps"].values[~seen]).all()


@pytest.mark.parametrize("model", [LINEAR, NETWORK, STUDENT_T], ids=["linear", "network", "student_t"])
def test_sd_is_that_of_expected_returns_and_of_what_was_simulated(model: bf.FundamentalFactorModel) -> None:
    found = predictive_returns(prior_fit(model), panel(), simulated=4000)
    expected = bf.expected_returns(prior_fit(model), panel())
    np.testing.assert_allclose(found["mean"], expected["mean"], rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(found["sd"], expected["predictive_sd"], rtol=1e-6)
    used = panel().data["in_universe"].values
    for name in ("mean", "sd"):
        np.testing.assert_array_equal(np.isfinite(found[name].values), used)
    ordered = found["quantiles"].values[used]
    assert (np.diff(ordered, axis=1) > 0).all()
    # Half of what was simulated is below the median, so the mean of a symmetric law is near it.
    spread = (found["quantiles"].sel(quantile=0.5) - found["mean"]) / found["sd"]
    assert float(np.abs(spread.mean())) < 0.1


def test_a_month_is_forecast_alike_in_any_slice_and_whatever_returns_come() -> None:
    whole = predictive_returns(prior_fit(NETWORK), panel(), seed=7)
    part = panel().sel(time=list(panel().times[4:7]))
    blank = with_data(part, returns=np.full(part.data["returns"].shape, np.nan))
    for other in (part, blank):
        found = predictive_returns(prior_fit(NETWORK), other, seed=7)
        want = whole.sel(time=other.times, asset=found["asset"])
        for name in ("mean", "sd", "quantiles"):
            np.testing.assert_allclose(found[name], want[name], rtol=1e-9, err_msg=name)
    other = predictive_returns(prior_fit(NETWORK), part, seed=8)
    assert not np.allclose(other["quantiles"], whole.sel(time=part.times)["quantiles"], equal_nan=True)
    np.testing.assert_array_equal(other["mean"], predictive_returns(prior_fit(NETWORK), part, seed=7)["mean"])


def test_a_small_memory_bound_gives_the_same_forecasts() -> None:
    want = predictive_returns(prior_fit(LINEAR), panel(), realised=realised(), simulated=200)
    found = predictive_returns(prior_fit(LINEAR), panel(), realised=realised(), simulated=200, memory_mib=2.0)
    for name in want.data_vars:
        np.testing.assert_allclose(found[name], want[name], rtol=1e-9, err_msg=name)


def test_forecasts_around_a_law_are_its_moments_and_quantiles() -> None:
    law = bf.common_law(panel())
    mean = xr.zeros_like(realised()).fillna(0.0) + 0.01
    mean = mean.where(panel().data["in_universe"])
    found = predictive_of_laws(law.month_law, mean, panel(), realised=realised(), simulated=SIMULATED)
    position = 5
    used = panel().data["in_universe"].values[position]
    z = panel().data["characteristics"].values[position][used]
    design = np.column_stack([np.ones(len(z)), z])
    common = np.einsum("if,fg,ig->i", design, law.covariance.values, design)
    sd = np.sqrt(common + law.level**2 * np.exp(2 * law.log_scale_sd**2))
    row = found.isel(time=position, asset=used)
    np.testing.assert_allclose(row["sd"], sd, rtol=1e-6)
    assert (row["mean"] == 0.01).all()
    # The noise level is log-normal: its mixture of normals by quadrature.
    nodes, weights = np.polynomial.hermite_e.hermegauss(31)
    levels = law.level * np.exp(law.log_scale_sd * nodes)
    scales = np.sqrt(common[:, None] + levels**2)
    quantile = row["quantiles"].sel(quantile=0.95).values
    cdf = (stats.norm.cdf((quantile - 0.01)[:, None] / scales) * weights).sum(axis=1) / weights.sum()
    np.testing.assert_allclose(cdf, 0.95, atol=5 * np.sqrt(0.05 * 0.95 / SIMULATED))


def test_few_simulated_returns_are_refused() -> None:
    with pytest.raises(DataError, match="at least 100 simulated returns"):
        predictive_returns(prior_fit(LINEAR), panel(), simulated=99)
