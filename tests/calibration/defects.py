"""Planted defects: a catalogue of mutants of the package, each one edit made by monkeypatching.

Every mutant names the cheap exactness check that catches it (`checks`, seconds, in the tests), so that a check that
goes blind is noticed, and whether simulation-based calibration sees it (minutes, `make calibrate`). SBC compares the
package with itself: it cannot see what is wrong alike in the simulation and in the fit, nor constants, nor what no fit
uses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayesfactor.components import month, networks, noise
from bayesfactor.inference import sampling, variational
from bayesfactor.models import fundamental
from bayesfactor.models.fundamental import FundamentalFactorModel
from bayesfactor.models.training import MonthStatistics
from bayesfactor.panel import PanelArrays, landing
from bayesfactor.quantities import derivatives


class Defect(NamedTuple):
    """One mutant.

    Attributes
    ----------
    make : gives what to replace: the target, the name and the mutant.
    check : the exactness check that catches it.
    sbc : whether SBC of the linear model sees it: True, False (and why it cannot is in `note`), None where it is not
        about the linear model's posterior.
    pooling : of the linear model that SBC is run on.
    note : why not.
    """

    make: Callable[[], tuple[Any, str, Any]]
    check: str
    sbc: bool | None = None
    pooling: str = "full"
    note: str = ""


@contextmanager
def planted(defect: Defect) -> Iterator[None]:
    """The package with the defect in it; compiled programs are forgotten before and after."""
    target, name, mutant = defect.make()
    original = vars(target)[name]
    _forget()
    setattr(target, name, mutant)
    try:
        yield
    finally:
        setattr(target, name, original)
        _forget()


def _forget() -> None:
    for module in (sampling, variational):
        module._cached_programs.cache_clear()


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


def neighbouring_month() -> Any:
    """The lag is off by one: returns meet the characteristics of the month before."""
    original = FundamentalFactorModel.data

    def mutant(self: Any, arrays: PanelArrays) -> Any:
        return original(self, arrays._replace(characteristics=np.roll(arrays.characteristics, 1, axis=0)))

    return FundamentalFactorModel, "data", mutant


ALIKE = "simulation and fit are wrong alike: the prior is another one, and the posterior right for it"
CONSTANT = "a constant of the density: no posterior depends on it"

DEFECTS: dict[str, Defect] = {
    "sigma x 1.15, linear": Defect(partial(scale_times, 1.15), "density_linear", sbc=True),
    "sigma x 1.15, network": Defect(partial(scale_times, 1.15), "density_network"),
    "scale squared": Defect(scale_squared, "density_linear", sbc=True),
    "one month's likelihood omitted, linear": Defect(month_dropped, "density_linear", sbc=True),
    "one month's likelihood omitted, network": Defect(month_dropped, "density_network"),
    "characteristics of the neighbouring month": Defect(neighbouring_month, "density_linear", sbc=True),
    "month shocks omitted": Defect(shocks_omitted, "density_linear", sbc=True, pooling="partial"),
    "slopes permuted": Defect(slopes_permuted, "density_linear", sbc=True),
    "root transposed in the density": Defect(root_transposed, "density_linear", sbc=True, pooling="partial"),
    "shock scales enter once": Defect(loadings_before_scales, "density_network"),
    "log determinant dropped from the model": Defect(
        determinant_dropped, "density_linear", sbc=True, pooling="partial"
    ),
    "log determinant dropped from the law": Defect(determinant_dropped, "law_density"),
    "2 pi dropped": Defect(two_pi_dropped, "law_density", sbc=False, note=CONSTANT),
    "Huber's normaliser that of the normal": Defect(huber_normaliser_forgotten, "noise_densities"),
    "Laplace's half forgotten": Defect(laplace_without_its_half, "noise_densities"),
    "derivative without the covariance term": Defect(
        gradient_of_the_determinant_dropped, "density_gradient", sbc=None, pooling="partial"
    ),
    "missing returns are zeros, linear": Defect(missing_as_zero, "density_linear", sbc=True),
    "missing returns are zeros, network": Defect(missing_as_zero, "density_network"),
    "root transposed in the conditional shocks": Defect(
        partial(TRANSPOSED, "conditional_shocks"), "conditional_shocks"
    ),
    "root transposed in the simulation": Defect(partial(TRANSPOSED, "simulate"), "simulation"),
    "simulated noise x 1.15": Defect(partial(LOUDER, "simulate"), "simulation", sbc=True),
    "a new month's noise level taken as known": Defect(partial(KNOWN_LEVEL, "_marginal_normal"), "new_month_density"),
    "predictive variance at a known level": Defect(partial(KNOWN_LEVEL, "predictive_variance"), "predictive_variance"),
    "noise level not exponentiated": Defect(level_not_exponentiated, "scales_monthly"),
    "prior scale of slopes x 1.5": Defect(slope_prior_times_1_5, "scales_monthly", sbc=False, note=ALIKE),
    "prior scale of monthly variation x 1.5": Defect(variation_prior_times_1_5, "scales_monthly"),
    "weekly variation scaled by time, not its root": Defect(variation_by_month_not_root, "scales_weekly"),
    "every normal prior x 1.5": Defect(normal_priors_times_1_5, "noise_levels_of_months", sbc=False, note=ALIKE),
    "sensitivities averaged by rows, not months": Defect(row_weights, "sensitivities"),
    "activation's slope forgotten": Defect(activation_slope_forgotten, "sensitivities"),
    "sign of the curvature": Defect(curvature_sign, "interactions"),
    "returns land one month late": Defect(return_lands_late, "timing"),
    "characteristics land one month early": Defect(characteristics_land_early, "timing"),
}
