"""Planted defects: every mutant of the package must fail a check that the package itself passes.

A check compares with something computed here by another road: dense covariances, quadrature, finite differences,
parameters and features made in NumPy. A mutant is one edit, made by monkeypatching. `MUTANTS` names the check that
catches each, so that a check that goes blind is noticed.
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
from bayesfactor.components import month, networks, noise
from bayesfactor.models import fundamental
from bayesfactor.models.fundamental import FundamentalFactorModel
from bayesfactor.models.training import MonthStatistics
from bayesfactor.panel import PanelArrays, landing
from bayesfactor.quantities import derivatives

N_MONTHS, N_SLOTS, N_CHARACTERISTICS = 5, 11, 3
RETURN_SCALE = 0.08
LINEAR = FundamentalFactorModel(hidden=(), noise="normal")
NETWORK = FundamentalFactorModel(hidden=(4,), activation="tanh", noise="normal")
TOLERANCE = 1e-9


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


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


# ---------------------------------------------------------------------- mutants


def of_statistics(change: Callable[[dict[str, Any], list[Any]], tuple[dict[str, Any], list[Any]]]) -> Any:
    """The model's month density with its parameters and statistics changed on the way in."""
    original = FundamentalFactorModel._log_density_of_statistics

    def mutant(self: Any, params: dict[str, Any], statistics: MonthStatistics, scale: Any) -> Any:
        params, (*changed, scale) = change(dict(params), [*statistics, scale])
        return original(self, params, MonthStatistics(*changed), scale)

    return FundamentalFactorModel, "_log_density_of_statistics", mutant


def scale_times(factor: float) -> Any:
    return of_statistics(lambda params, given: (params, [*given[:-1], factor * given[-1]]))


def scale_squared() -> Any:
    return of_statistics(lambda params, given: (params, [*given[:-1], given[-1] ** 2]))


def slopes_permuted() -> Any:
    return of_statistics(lambda params, given: (params | {"slope_mean": params["slope_mean"][::-1]}, given))


def shocks_omitted() -> Any:
    return of_statistics(lambda params, given: (params | {"slope_scale": 1e-9 * params["slope_scale"]}, given))


def month_dropped() -> Any:
    original = FundamentalFactorModel.log_likelihood

    def mutant(self: Any, params: dict[str, Any], data: Any) -> Any:
        later = jax.tree.map(lambda leaf: leaf[1:], data.months)
        return original(self, params, data._replace(months=later, position=data.position[1:]))

    return FundamentalFactorModel, "log_likelihood", mutant


def missing_as_zero() -> Any:
    original = FundamentalFactorModel.data

    def mutant(self: Any, arrays: PanelArrays) -> Any:
        return original(self, arrays._replace(observed=arrays.in_universe))

    return FundamentalFactorModel, "data", mutant


def root_transposed() -> Any:
    original = month.log_density_of_moments
    return fundamental, "log_density_of_moments", lambda moments, root: original(moments, root.T)


def loadings_before_scales() -> Any:
    """Shock scales enter once, not on both sides of the Gram matrix."""
    original = month.log_density_of_moments

    def mutant(moments: Any, root: Any) -> Any:
        return original(moments._replace(gram=jnp.sqrt(jnp.abs(moments.gram)) * jnp.sign(moments.gram)), root)

    return fundamental, "log_density_of_moments", mutant


def determinant_dropped() -> Any:
    def mutant(precision: Any, projection: Any) -> Any:
        return 0.5 * projection @ jnp.linalg.solve(precision, projection)

    return month, "log_gaussian_integral", mutant


def two_pi_dropped() -> Any:
    return month, "LOG_2PI", 0.0


def gradient_of_the_determinant_dropped() -> Any:
    """The hand-written derivative forgets the covariance: the value stays right."""

    @jax.custom_vjp
    def mutant(precision: Any, projection: Any) -> Any:
        return month._gaussian_integral(precision, projection)[0]

    def backward(saved: Any, cotangent: Any) -> Any:
        _, mean = saved
        return -0.5 * cotangent * mean[:, None] * mean, cotangent * mean

    mutant.defvjp(month._gaussian_integral, backward)
    return month, "log_gaussian_integral", mutant


class Altered:
    """A module with one name replaced."""

    def __init__(self, module: Any, **names: Any):
        self._module = module
        self.__dict__.update(names)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def level_not_exponentiated() -> Any:
    return fundamental, "jnp", Altered(jnp, exp=lambda x: x)


def slope_prior_times_1_5() -> Any:
    original = FundamentalFactorModel._slope_prior_sd
    return FundamentalFactorModel, "_slope_prior_sd", lambda self, *given: 1.5 * original(self, *given)


def variation_prior_times_1_5() -> Any:
    original = FundamentalFactorModel._sample_variation
    return (
        FundamentalFactorModel,
        "_sample_variation",
        lambda self, *given: original(replace(self, slope_variation=1.5 * self.slope_variation), *given),
    )


def variation_by_month_not_root() -> Any:
    """Monthly sd of slopes taken to weeks by 12/52 in place of its root."""
    return fundamental, "jnp", Altered(jnp, sqrt=lambda x: x)


def normal_priors_times_1_5() -> Any:
    normal = fundamental.dist.Normal
    return fundamental, "dist", Altered(fundamental.dist, Normal=lambda loc, scale: normal(loc, 1.5 * scale))


def row_weights() -> Any:
    original = derivatives.grouped_rows

    def mutant(arrays: Any, panel: Any, by: str) -> Any:
        rows, weights, *rest = original(arrays, panel, by)
        used = weights > 0
        return rows, used / used.sum() * len(rows), *rest

    return derivatives, "grouped_rows", mutant


def activation_slope_forgotten() -> Any:
    original = networks._forward

    def mutant(network: Any, z: Any) -> Any:
        slopes, curvatures = original(network, z)
        return [jnp.ones_like(slope) for slope in slopes], curvatures

    return networks, "_forward", mutant


def curvature_sign() -> Any:
    original = networks._forward

    def mutant(network: Any, z: Any) -> Any:
        slopes, curvatures = original(network, z)
        return slopes, [-bend for bend in curvatures]

    return networks, "_forward", mutant


def law_with(**change: Callable[[Any], Any]) -> Callable[[str], Any]:
    """A function of `month` that sees a changed law."""

    def of(name: str) -> Any:
        original = getattr(month, name)

        def at(law: Any) -> Any:
            return law._replace(**{field: function(getattr(law, field)) for field, function in change.items()})

        if name == "simulate":
            return month, name, lambda rng_key, law: original(rng_key, at(law))
        return month, name, lambda law, *given, **named: original(at(law), *given, **named)

    return of


TRANSPOSED = law_with(root=jnp.transpose)
KNOWN_LEVEL = law_with(log_scale_sd=lambda spread: 0.0 * spread)
LOUDER = law_with(scale=lambda scale: 1.15 * scale)


def huber_normaliser_forgotten() -> Any:
    return noise.Huber, "_normaliser", np.sqrt(2 * np.pi)


def laplace_without_its_half() -> Any:
    original = noise.Laplace.log_density
    return noise.Laplace, "log_density", lambda self, *given: original(self, *given) + np.log(2.0)


def return_lands_late() -> Any:
    original = landing.assemble

    def mutant(rows: Any, calendar: Any, returns_over: str, lag: int | None) -> Any:
        data = original(rows, calendar, returns_over, lag)
        return data.assign(returns=data.returns.shift(time=1))

    from bayesfactor.panel import reading

    return reading, "assemble", mutant


def characteristics_land_early() -> Any:
    original = landing.assemble

    def mutant(rows: Any, calendar: Any, returns_over: str, lag: int | None) -> Any:
        data = original(rows, calendar, returns_over, lag)
        return data.assign(characteristics=data.characteristics.shift(time=-1))

    from bayesfactor.panel import reading

    return reading, "assemble", mutant


MUTANTS: dict[str, tuple[Callable[[], Any], str]] = {
    "sigma x 1.15, linear": (partial(scale_times, 1.15), "density_linear"),
    "sigma x 1.15, network": (partial(scale_times, 1.15), "density_network"),
    "scale squared": (scale_squared, "density_linear"),
    "one month's likelihood omitted, linear": (month_dropped, "density_linear"),
    "one month's likelihood omitted, network": (month_dropped, "density_network"),
    "month shocks omitted": (shocks_omitted, "density_linear"),
    "slopes permuted": (slopes_permuted, "density_linear"),
    "root transposed in the density": (root_transposed, "density_linear"),
    "shock scales enter once": (loadings_before_scales, "density_network"),
    "log determinant dropped from the model": (determinant_dropped, "density_linear"),
    "log determinant dropped from the law": (determinant_dropped, "law_density"),
    "2 pi dropped": (two_pi_dropped, "law_density"),
    "Huber's normaliser that of the normal": (huber_normaliser_forgotten, "noise_densities"),
    "Laplace's half forgotten": (laplace_without_its_half, "noise_densities"),
    "derivative without the covariance term": (gradient_of_the_determinant_dropped, "density_gradient"),
    "missing returns are zeros, linear": (missing_as_zero, "density_linear"),
    "missing returns are zeros, network": (missing_as_zero, "density_network"),
    "root transposed in the conditional shocks": (partial(TRANSPOSED, "conditional_shocks"), "conditional_shocks"),
    "root transposed in the simulation": (partial(TRANSPOSED, "simulate"), "simulation"),
    "simulated noise x 1.15": (partial(LOUDER, "simulate"), "simulation"),
    "a new month's noise level taken as known": (partial(KNOWN_LEVEL, "_marginal_normal"), "new_month_density"),
    "predictive variance at a known level": (partial(KNOWN_LEVEL, "predictive_variance"), "predictive_variance"),
    "noise level not exponentiated": (level_not_exponentiated, "scales_monthly"),
    "prior scale of slopes x 1.5": (slope_prior_times_1_5, "scales_monthly"),
    "prior scale of monthly variation x 1.5": (variation_prior_times_1_5, "scales_monthly"),
    "weekly variation scaled by time, not its root": (variation_by_month_not_root, "scales_weekly"),
    "every normal prior x 1.5": (normal_priors_times_1_5, "noise_levels_of_months"),
    "sensitivities averaged by rows, not months": (row_weights, "sensitivities"),
    "activation's slope forgotten": (activation_slope_forgotten, "sensitivities"),
    "sign of the curvature": (curvature_sign, "interactions"),
    "returns land one month late": (return_lands_late, "timing"),
    "characteristics land one month early": (characteristics_land_early, "timing"),
}


@pytest.mark.parametrize("name", CHECKS)
def test_check_passes_on_the_package(name):
    CHECKS[name]()


@pytest.mark.parametrize("defect", MUTANTS)
def test_planted_defect_is_caught(defect, monkeypatch):
    make, check = MUTANTS[defect]
    target, name, mutant = make()
    monkeypatch.setattr(target, name, mutant)
    with pytest.raises(AssertionError):
        CHECKS[check]()
