"""Exactness checks: what the package computes against something computed here by another road.

Dense covariances, quadrature, finite differences, parameters and features made in NumPy. In float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from numpyro import handlers
from scipy import integrate, stats

import bayesfactor as bf
from bayesfactor.components import month, noise
from bayesfactor.models.fundamental import FundamentalFactorModel
from bayesfactor.panel import PanelArrays
from bayesfactor.quantities import derivatives

N_MONTHS, N_SLOTS, N_CHARACTERISTICS = 5, 11, 3
RETURN_SCALE = 0.08
LINEAR = FundamentalFactorModel(hidden=(), noise="normal")
NETWORK = FundamentalFactorModel(hidden=(4,), activation="tanh", noise="normal")
TOLERANCE = 1e-9


# ---------------------------------------------------------------------- one small ragged panel


def ragged() -> PanelArrays:
    """Months of 11 to 7 stocks, of which two have no return."""
    rng = np.random.default_rng(5)
    in_universe = np.arange(N_SLOTS) < np.arange(N_SLOTS, N_SLOTS - N_MONTHS, -1)[:, None]
    observed = in_universe.copy()
    observed[:, 1] = observed[2, 4] = False
    z = rng.uniform(-1, 1, (N_MONTHS, N_SLOTS, N_CHARACTERISTICS)) * in_universe[..., None]
    return PanelArrays(
        characteristics=z,
        returns=np.where(observed, RETURN_SCALE * rng.standard_normal(observed.shape), 0.0),
        in_universe=in_universe,
        observed=observed,
        asset=np.where(in_universe, np.arange(N_SLOTS, dtype=np.int32), -1),
        varies=np.ones(N_CHARACTERISTICS),
        return_scale=np.asarray(RETURN_SCALE),
        periods_per_year=np.asarray(12.0),
    )


def parameters(model: Any, seed: int = 3) -> dict[str, np.ndarray]:
    """One draw of the parameters, made here and not by the package."""
    rng = np.random.default_rng(seed)
    n_features = 1 + (N_CHARACTERISTICS if model.linear else model.hidden[0])
    correlation = np.corrcoef(rng.standard_normal((n_features, 3 * n_features)))
    params = {
        "slope_mean": 0.02 * rng.standard_normal(n_features),
        "slope_scale": rng.uniform(0.02, 0.06, n_features),
        "slope_correlation_root": np.linalg.cholesky(correlation),
        "noise_level": np.asarray(RETURN_SCALE),
        "noise_variation": np.asarray(0.4),
        "noise_scale": RETURN_SCALE * np.exp(0.4 * rng.standard_normal(N_MONTHS)),
    }
    if model.linear:
        return params
    weights = {"weight": rng.standard_normal((model.hidden[0], N_CHARACTERISTICS)), "bias": rng.standard_normal(4)}
    return params | {f"network.layers[0].{name}": value for name, value in weights.items()}


def drawn(arrays: PanelArrays, given: dict[str, Any], names: tuple[str, ...], n_draws: int) -> dict[str, np.ndarray]:
    """Prior draws (draw, ...) of sites of the linear model, some base variables given."""
    program = handlers.substitute(LINEAR, given)
    data = LINEAR.data(arrays)

    def one(key: jax.Array) -> dict[str, jax.Array]:
        sites = handlers.trace(handlers.seed(program, key)).get_trace(data)
        return {name: sites[name]["value"] for name in names}

    values = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(2), n_draws))
    return {name: np.asarray(value) for name, value in values.items()}


def features_by_hand(model: Any, params: dict[str, np.ndarray], z: np.ndarray) -> np.ndarray:
    parts = [np.ones((len(z), 1))]
    if model.linear:
        return np.concatenate([*parts, z], axis=1)
    weight, bias = params["network.layers[0].weight"], params["network.layers[0].bias"]
    return np.concatenate([*parts, np.tanh(z @ weight.T + bias) - np.tanh(bias)], axis=1)


def covariance_by_hand(params: dict[str, np.ndarray], features: np.ndarray) -> np.ndarray:
    """Of the common part of a month's returns."""
    scale, root = params["slope_scale"], params["slope_correlation_root"]
    return features @ np.diag(scale) @ root @ root.T @ np.diag(scale) @ features.T


def small_law() -> tuple[month.MonthLaw, np.ndarray, np.ndarray]:
    """A law with correlated shocks and its dense mean and covariance at the typical noise level."""
    arrays = ragged()
    params = parameters(LINEAR)
    z = arrays.characteristics[0]
    features = features_by_hand(LINEAR, params, z)
    common = covariance_by_hand(params, features)
    law = LINEAR.month_law(jax.tree.map(jnp.asarray, params), jnp.asarray(z))
    return law, features @ params["slope_mean"], common + params["noise_level"] ** 2 * np.eye(len(z))


# ---------------------------------------------------------------------- checks


def check_density(model: Any) -> None:
    """Log likelihood of the panel = sum over months of dense multivariate normals of the observed returns."""
    arrays = ragged()
    params = parameters(model)
    expected = 0.0
    for t in range(N_MONTHS):
        seen = arrays.observed[t]
        features = features_by_hand(model, params, arrays.characteristics[t][seen])
        covariance = covariance_by_hand(params, features) + params["noise_scale"][t] ** 2 * np.eye(seen.sum())
        expected += stats.multivariate_normal.logpdf(
            arrays.returns[t][seen], features @ params["slope_mean"], covariance
        )
    found = float(jax.jit(lambda given: model.log_likelihood(given, model.data(arrays)))(params))
    assert found == pytest.approx(expected, abs=1e-7)


def check_law_density() -> None:
    law, mean, covariance = small_law()
    arrays = ragged()
    seen = arrays.observed[0]
    expected = stats.multivariate_normal.logpdf(arrays.returns[0][seen], mean[seen], covariance[np.ix_(seen, seen)])
    assert float(month.log_density(law, arrays.returns[0], seen)) == pytest.approx(expected, abs=1e-8)


def check_noise_densities() -> None:
    """Every density of the noise integrates to one."""
    x = np.linspace(-60, 60, 600_001)
    for density in (noise.Normal(), noise.StudentT(9.0), noise.Laplace(), noise.Huber(1.345)):
        mass = np.trapezoid(np.exp(density.log_density(x, 0.8)), x)
        assert mass == pytest.approx(1.0, abs=1e-6), density


def check_density_gradient() -> None:
    """The hand-written derivative of the density against central differences."""
    arrays = ragged()
    params = parameters(LINEAR)
    data = LINEAR.data(arrays)

    @jax.jit
    def at(scale: Any) -> Any:
        return LINEAR.log_likelihood(params | {"slope_scale": scale}, data)

    step = 1e-6
    numerical = [
        (at(params["slope_scale"] + step * unit) - at(params["slope_scale"] - step * unit)) / (2 * step)
        for unit in np.eye(len(params["slope_scale"]))
    ]
    np.testing.assert_allclose(
        jax.jit(jax.grad(at))(jnp.asarray(params["slope_scale"])), numerical, rtol=1e-5, atol=1e-4
    )


def check_conditional_shocks() -> None:
    """Shocks given returns = the textbook conditional of a joint Gaussian."""
    law, mean, covariance = small_law()
    arrays = ragged()
    seen = arrays.observed[0]
    low_rank = np.asarray(law.loadings @ law.root)[seen]
    gain = low_rank.T @ np.linalg.inv(covariance[np.ix_(seen, seen)])
    found, factor = jax.jit(lambda r: month.conditional_shocks(law, r, seen))(arrays.returns[0])
    np.testing.assert_allclose(found, gain @ (arrays.returns[0] - mean)[seen], atol=TOLERANCE)
    expected = np.eye(len(found)) - gain @ low_rank
    np.testing.assert_allclose(factor @ factor.T, expected, atol=TOLERANCE)


def check_new_month_density() -> None:
    """The density of a new month = quadrature over its noise level of dense Gaussians."""
    law, mean, covariance = small_law()
    arrays = ragged()
    seen = arrays.observed[0]
    sigma, spread = float(law.scale), float(law.log_scale_sd)
    common = covariance - sigma**2 * np.eye(len(mean))

    def integrand(x: float) -> float:
        whole = (common + (sigma * np.exp(spread * x)) ** 2 * np.eye(len(mean)))[np.ix_(seen, seen)]
        return float(
            np.exp(stats.multivariate_normal.logpdf(arrays.returns[0][seen], mean[seen], whole)) * stats.norm.pdf(x)
        )

    expected = np.log(integrate.quad(integrand, -9, 9, epsabs=0, epsrel=1e-10)[0])
    density = jax.jit(lambda r: month.marginal_log_density(law, r, seen, jax.random.key(0)))
    found = float(density(arrays.returns[0]))
    assert found == pytest.approx(expected, abs=1e-5)


def check_predictive_variance() -> None:
    law, _, covariance = small_law()
    sigma, spread = float(law.scale), float(law.log_scale_sd)
    expected = np.diag(covariance) + sigma**2 * (np.exp(2 * spread**2) - 1)
    np.testing.assert_allclose(month.predictive_variance(law), expected, rtol=1e-10)


def check_simulation() -> None:
    """Covariance of simulated months, element by element within 5.5 standard errors of its own sampling."""
    law, mean, covariance = small_law()
    law = law._replace(log_scale_sd=0.0)
    n = 40_000
    simulated = jax.jit(jax.vmap(lambda key: month.simulate(key, law)))
    draws = np.asarray(simulated(jax.random.split(jax.random.key(1), n)))
    error = np.sqrt(np.diag(covariance) / n)
    assert np.all(np.abs(draws.mean(axis=0) - mean) < 5.5 * error)
    variance = np.diag(covariance)
    error = np.sqrt((np.outer(variance, variance) + covariance**2) / n)
    assert np.all(np.abs(np.cov(draws.T) - covariance) < 5.5 * error)


def check_scales_in_finance_units(periods_per_year: float = 12.0) -> None:
    """With every base variable given, the parameters are what the docstring says, decimal per period."""
    arrays = ragged()._replace(periods_per_year=np.asarray(periods_per_year))
    months = 12.0 / periods_per_year
    n_features = N_CHARACTERISTICS + 1
    given = {
        "slope_mean_decentered": jnp.ones(n_features),
        "slope_scale_relative": jnp.ones(n_features),
        "noise_relative": jnp.asarray(0.25),
        "noise_variation_relative": jnp.asarray(2.0),
    }
    names = ("slope_mean", "slope_scale", "noise_level", "noise_variation")
    found = {name: value[0] for name, value in drawn(arrays, given, names, 1).items()}
    np.testing.assert_allclose(found["slope_mean"], months * np.array([0.02, 0.01, 0.01, 0.01]), rtol=1e-9)
    np.testing.assert_allclose(found["slope_scale"], np.sqrt(months) * np.array([0.05, 0.02, 0.02, 0.02]), rtol=1e-9)
    assert found["noise_level"] == pytest.approx(RETURN_SCALE * np.exp(0.25))
    assert found["noise_variation"] == pytest.approx(0.6)


def check_noise_levels_of_months() -> None:
    """log sigma_t is normal around the level with sd `noise_variation`, however it is centred for the sampler."""
    arrays = ragged()
    given = {"noise_relative": jnp.asarray(0.25), "noise_variation_relative": jnp.asarray(1.0)}
    draws = np.log(drawn(arrays, given, ("noise_scale",), 4_000)["noise_scale"])
    n = draws.size
    assert abs(draws.mean() - np.log(RETURN_SCALE) - 0.25) < 5.5 * 0.3 / np.sqrt(n)
    assert abs(draws.std() / 0.3 - 1) < 5.5 / np.sqrt(2 * n)


def check_sensitivities() -> None:
    """`bf.sensitivities` = finite differences averaged over stocks, then over months with equal weights."""
    economy = bf.simulate.economy(n_months=4, n_assets=12, n_characteristics=N_CHARACTERISTICS, seed=2)
    universe = economy.panel.data.in_universe.values.copy()
    universe[0, 3:] = False  # a month of 3 stocks weighs as much as one of 12
    data = economy.panel.data.assign(in_universe=(("time", "asset"), universe)).drop_vars("observed")
    panel = replace(economy.panel, data=data)
    arrays = panel.arrays()
    params = parameters(NETWORK)
    fit = stub_fit(NETWORK, params, panel)
    found = derivatives.sensitivities(fit, panel)["mean"].values

    def response(z: np.ndarray) -> np.ndarray:
        return features_by_hand(NETWORK, params, z) @ params["slope_mean"]

    months = []
    for z, members in zip(arrays.characteristics, arrays.in_universe, strict=True):
        rows, step = z[members], 1e-5
        months.append([(response(rows + step * e) - response(rows - step * e)).mean() / (2 * step) for e in np.eye(3)])
    np.testing.assert_allclose(found, np.mean(months, axis=0), atol=1e-8)


def check_interactions() -> None:
    """Sums of second derivatives = central differences of second order."""
    arrays = ragged()
    params = parameters(NETWORK)
    z, step = arrays.characteristics[0], 1e-4

    def response(z: np.ndarray) -> np.ndarray:
        return features_by_hand(NETWORK, params, z) @ params["slope_mean"]

    unit = step * np.eye(N_CHARACTERISTICS)
    expected = [
        [
            np.sum(response(z + a + b) - response(z + a - b) - response(z - a + b) + response(z - a - b))
            / (4 * step**2)
            for b in unit
        ]
        for a in unit
    ]
    weights = jnp.ones(N_SLOTS)
    found = jax.jit(lambda rows: NETWORK.hessian_sums(params, rows, weights).value)(jnp.asarray(z))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def check_timing() -> None:
    """The return of month t meets the characteristic known at the end of t - 1, under both conventions."""
    dates = pd.date_range("2001-01-31", periods=6, freq="ME")
    earned = np.array([0.01, -0.03, 0.04, -0.02, 0.03, -0.04, 0.02])  # of every stock, month by month
    assets = [f"A{i}" for i in range(5)]
    rows = [
        {"date": date, "asset": asset, "x": 100.0 * t + (i + 3 * t) % 5, "own": earned[t], "next": earned[t + 1]}
        for t, date in enumerate(dates)
        for i, asset in enumerate(assets)
    ]
    for column, over, lag in (("own", "row", 1), ("next", "next", 0)):
        panel = bf.read_frame(
            pd.DataFrame(rows), time="date", asset="asset", returns=column, returns_over=over, lag=lag,
            units="decimal", excess=True, characteristics=["x"],
        )  # fmt: skip
        for t in range(1, 6):
            at = panel.data.sel(time=dates[t])
            assert np.all(at.characteristics.values // 100 == t - 1)
            np.testing.assert_allclose(at.returns, earned[t])


def stub_fit(model: Any, params: dict[str, np.ndarray], panel: Any) -> Any:
    """The least that a quantity needs of a fit: two equal draws of two chains."""
    stands_in = {
        "uncalibrated": False,
        "model": model,
        "status": "ok",
        "shape": (2, 2),
        "characteristics": panel.characteristics,
        "preparation": panel.preparation,
        "frequency": panel.frequency,
        "provenance": {"precision": "float64"},
        "parameters": lambda self: {name: np.stack([value] * 4) for name, value in params.items()},
    }
    return object.__new__(type("StubFit", (bf.Fit,), stands_in))


CHECKS: dict[str, Callable[[], None]] = {
    "density_linear": partial(check_density, LINEAR),
    "density_network": partial(check_density, NETWORK),
    "law_density": check_law_density,
    "noise_densities": check_noise_densities,
    "density_gradient": check_density_gradient,
    "conditional_shocks": check_conditional_shocks,
    "new_month_density": check_new_month_density,
    "predictive_variance": check_predictive_variance,
    "simulation": check_simulation,
    "scales_monthly": check_scales_in_finance_units,
    "scales_weekly": partial(check_scales_in_finance_units, 52.0),
    "noise_levels_of_months": check_noise_levels_of_months,
    "sensitivities": check_sensitivities,
    "interactions": check_interactions,
    "timing": check_timing,
}
