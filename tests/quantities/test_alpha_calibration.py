"""Alphas given the factors, over many simulated samples: bands and joint statements are as often right as they say.

Residuals are correlated, as those of test portfolios are. Factors are taken as known: what is judged is the regression.
"""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
from scipy import stats

import bayesfactor as bf
from bayesfactor.models.sorted_data import SortedData
from bayesfactor.quantities.assets import prob_beyond_zero

N_SAMPLES, N_MONTHS, N_ASSETS, RESIDUAL_SD = 300, 60, 5, 0.015
N_DRAWS = 400
WIDE = bf.SortedFactorModel(n_factors=1, hidden=(), alpha_sd=0.05)
PRIOR = replace(WIDE, alpha_sd=0.002)
COVERAGE = stats.binom(N_SAMPLES * N_ASSETS, 0.9).ppf([0.0005, 0.9995]) / (N_SAMPLES * N_ASSETS)


@functools.cache
def samples(alpha_sd: float) -> list[tuple[np.ndarray, SortedData]]:
    """Alphas and data; residuals have a common correlation of 0.6 and one typical sd, as the prior takes it."""
    rng = np.random.default_rng(17)
    root = np.linalg.cholesky(0.4 * np.eye(N_ASSETS) + 0.6) * RESIDUAL_SD
    made = []
    for _ in range(N_SAMPLES):
        factors = np.column_stack([0.003 + 0.03 * rng.normal(size=N_MONTHS), 0.006 + 0.045 * rng.normal(size=N_MONTHS)])
        alpha = alpha_sd * rng.normal(size=N_ASSETS)
        loadings = np.column_stack([rng.normal(size=N_ASSETS), 1 + 0.2 * rng.normal(size=N_ASSETS)])
        returns = alpha + factors @ loadings.T + rng.normal(size=(N_MONTHS, N_ASSETS)) @ root.T
        empty = np.zeros((N_MONTHS, 0))
        fields = dict.fromkeys(SortedData._fields, empty) | {
            "priced": None,
            "slot": None,
            "whitened": None,
            "size": None,
        }
        data = SortedData(**fields)._replace(
            benchmarks=factors[:, 1:],
            assets=returns,
            position=np.arange(N_MONTHS),
            window=np.arange(N_MONTHS),
            weight=np.ones(()),
            residual_scale=np.asarray(RESIDUAL_SD),
            periods_per_year=np.asarray(12.0),
        )
        made.append((alpha, data._replace(returns=factors[:, :1])))
    return made


def drawn(model: bf.SortedFactorModel, data: SortedData, index: int) -> dict[str, np.ndarray]:
    factors = np.repeat(data.returns[None], N_DRAWS, axis=0)  # the deep factor stands where the stocks would be
    return model.complete({"factor_return": factors}, data, np.random.default_rng([index, 1]))


def covered(draws: np.ndarray, truth: np.ndarray) -> np.ndarray:
    low, high = np.quantile(draws, [0.05, 0.95], axis=0)
    return (low <= truth) & (truth <= high)


def test_bands_of_alphas_cover_and_average_residuals_do_not():
    inside, of_residuals = [], []
    without = replace(PRIOR, alpha=False)
    for index, (alpha, data) in enumerate(samples(0.002)):
        inside.append(covered(drawn(PRIOR, data, index)["alpha"], alpha))
        found = drawn(without, data, index)
        loading = np.concatenate([found["loading"], found["benchmark_loading"]], axis=-1)
        means = np.append(data.returns.mean(axis=0), data.benchmarks.mean(axis=0))
        of_residuals.append(covered(data.assets.mean(axis=0) - loading @ means, alpha))
    assert COVERAGE[0] <= np.mean(inside) <= COVERAGE[1]
    assert np.mean(of_residuals) < 0.6


def exact_probability(data: SortedData) -> float:
    """Of Gibbons, Ross and Shanken's F below its value: uniform when alphas are zero."""
    x = np.column_stack([np.ones(N_MONTHS), data.returns, data.benchmarks])
    coefficients = np.linalg.lstsq(x, data.assets, rcond=None)[0]
    freedom = N_MONTHS - x.shape[1]
    residuals = data.assets - x @ coefficients
    covariance = residuals.T @ residuals / freedom * np.linalg.inv(x.T @ x)[0, 0]
    square = coefficients[0] @ np.linalg.solve(covariance, coefficients[0])
    left = freedom - N_ASSETS + 1
    return float(stats.f(N_ASSETS, left).cdf(square * left / (freedom * N_ASSETS)))


def test_the_joint_statement_of_no_alpha_is_that_of_the_exact_test_where_residuals_may_be_correlated():
    """True alphas are zero and their prior is wide. At 60 months it is a little readier to doubt them than the F."""
    exact = np.array([exact_probability(data) for _, data in samples(0.0)])
    found = {
        covariance: np.array(
            [
                prob_beyond_zero(drawn(replace(WIDE, residual_covariance=covariance), data, index)["alpha"])
                for index, (_, data) in enumerate(samples(0.0))
            ]
        )
        for covariance in ("full", "by_asset")
    }
    assert stats.kstest(exact, "uniform").pvalue > 0.01
    assert np.corrcoef(exact, found["full"])[0, 1] > 0.97
    assert abs(np.mean(found["full"] - exact)) < 0.05
    # Independent residuals are another statement, and a wrong one: too near both ends.
    assert np.corrcoef(exact, found["by_asset"])[0, 1] < 0.9
    assert stats.kstest(found["by_asset"], "uniform").pvalue < 0.01
