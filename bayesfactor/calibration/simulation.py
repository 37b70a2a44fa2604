"""One data set of a study: a draw of the prior, returns from it, and what is ranked."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpyro import handlers

from bayesfactor.components import month
from bayesfactor.components.batches import map_in_batches
from bayesfactor.components.noise import Normal
from bayesfactor.errors import UnsupportedQuantityError
from bayesfactor.inference.by_month import is_by_month
from bayesfactor.inference.sampling import COMPILER
from bayesfactor.panel import PanelArrays

ELEMENTS = 6  # of one function that are ranked, evenly spaced
DRAWS_AT_ONCE = 50
LOG_LIKELIHOOD = "log likelihood"
Params = dict[str, Array]
Quantities = Callable[[Any, Params, PanelArrays], dict[str, Array]]


def prices_assets(model: Any) -> bool:
    """Whether a model's likelihood is of test assets given the stocks' returns, which are then part of the design."""
    return hasattr(model, "simulate_assets")


def draw_prior(model: Any, rng_key: Array, data: Any) -> Params:
    """One draw of all sites, deterministic ones included, under their names in a posterior.

    Of a program that integrates parameters out, `joint` has them all.
    """
    sites = handlers.trace(handlers.seed(getattr(model, "joint", model), rng_key)).get_trace(data)
    kept = ("sample", "deterministic")
    return {name: site["value"] for name, site in sites.items() if site["type"] in kept and not site.get("is_observed")}


def law_of_month(model: Any, params: Params, z: Array, position: Array) -> month.MonthLaw:
    """The law that one month of the data has given one draw: `training_law` where the model has it.

    Without, every month has the law of a new one: nothing in the draw belongs to a single month.
    """
    if hasattr(model, "training_law"):
        law: month.MonthLaw = model.training_law(params, z, position)
        return law
    return model.month_law(params, z)  # type: ignore[no-any-return]


def simulate(model: Any, rng_key: Array, params: Params, arrays: PanelArrays) -> PanelArrays:
    """The same months with what the model explains drawn given one draw of its parameters."""
    if prices_assets(model):
        drawn: PanelArrays = model.simulate_assets(params, arrays, rng_key)
        return drawn
    returns: Any = simulate_returns(model, rng_key, params, arrays)
    return arrays._replace(returns=returns)


def simulate_returns(model: Any, rng_key: Array, params: Params, arrays: PanelArrays) -> Array:
    """Returns (time, slot), decimal per period; 0 where not observed."""

    def one(key: Array, z: Array, position: Array) -> Array:
        return month.simulate(key, law_of_month(model, params, z, position))

    n_months = len(arrays.returns)
    keys = jax.random.split(rng_key, n_months)
    returns = jax.vmap(one)(keys, jnp.asarray(arrays.characteristics), jnp.arange(n_months))
    return jnp.where(arrays.observed, returns, 0.0)


def log_likelihood(model: Any, params: Params, arrays: PanelArrays) -> Array:
    """Log density () of the returns given one draw, from the months' laws: not by the code that is calibrated.

    Shocks that the draw does not hold are integrated out: exactly for normal noise, by Laplace's method otherwise; a
    noise level that it does not hold by quadrature or importance sampling. The same function at the truth and at the
    draws, so that its ranks are uniform whether or not it is exact.
    """
    if prices_assets(model):
        density: Array = model.log_density_of_assets(params, arrays)
        return density
    trained = hasattr(model, "training_law")

    def one(z: Array, returns: Array, observed: Array, position: Array) -> Array:
        law = law_of_month(model, params, z, position)
        if not trained:
            return month.marginal_log_density(law, returns, observed, jax.random.key(0))
        if isinstance(law.noise, Normal):
            return month.log_density(law, returns, observed)
        return month.log_density_by_laplace(law, returns, observed)

    months = (arrays.characteristics, arrays.returns, arrays.observed, np.arange(len(arrays.returns)))
    return jnp.sum(jax.vmap(one)(*map(jnp.asarray, months)))


def quantities_of(model: Any, params: Params, arrays: PanelArrays, extra: Quantities | None) -> dict[str, Array]:
    """Everything that is ranked, as numbers by name.

    The log likelihood; the model's `functions` (responses, sensitivities, common sd, scales, alphas: whatever it has)
    at two rows of the data set; average sensitivities and the first interaction of models that are not linear; what
    `extra` adds.
    """
    rows = jnp.asarray(arrays.characteristics[[0, -1], [0, 1]])
    functions = _functions(model, params, rows)
    result = {LOG_LIKELIHOOD: log_likelihood(model, params, arrays)}
    named = functions | ({} if extra is None else extra(model, params, arrays))
    if "sensitivity" in functions:
        named |= _averages(model, params, arrays)
    for name, value in named.items():
        result |= _elements(name.replace("_", " "), jnp.asarray(value))
    return result


def _functions(model: Any, params: Params, rows: Array) -> dict[str, Array]:
    if not is_by_month(model):
        return dict(model.functions(params, rows))
    one_month = {name: value[None] for name, value in params.items()}
    return {name: value[0] for name, value in model.functions(one_month, rows).items()}


def _averages(model: Any, params: Params, arrays: PanelArrays) -> dict[str, Array]:
    """Derivatives averaged over stocks, then over months with equal weights."""
    universe = jnp.asarray(arrays.in_universe)
    weights = universe / jnp.maximum(jnp.sum(universe, axis=1, keepdims=True), 1)
    z = jnp.asarray(arrays.characteristics)

    def average(sums: Callable[[Params, Array, Array], Any]) -> Array:
        return jnp.mean(jax.vmap(lambda rows, weight: sums(params, rows, weight).value)(z, weights), axis=0)

    result = {}
    if hasattr(model, "gradient_sums"):
        result["average sensitivity"] = average(model.gradient_sums)
    if hasattr(model, "hessian_sums") and z.shape[-1] > 1:
        with suppress(UnsupportedQuantityError):  # as a model without second derivatives says
            result["interaction 1 x 2"] = average(model.hessian_sums)[0, 1]
    return result


def _elements(name: str, value: Array) -> dict[str, Array]:
    """Numbers by name: at most `ELEMENTS` of an array, counted from 1."""
    if not value.ndim:
        return {name: value}
    places = np.unique(np.linspace(0, value.size - 1, min(ELEMENTS, value.size)).astype(int))
    labels = [",".join(str(i + 1) for i in np.unravel_index(place, value.shape)) for place in places]
    flat = value.reshape(-1)
    return {f"{name} {label}": flat[place] for label, place in zip(labels, places, strict=True)}


class Programs(NamedTuple):
    """The compiled pieces of a study; leading dimensions are (data set) and, of `rank`, (data set, chain, draw)."""

    prior: Callable[..., Params]  # keys, data without returns
    simulate: Callable[..., PanelArrays]  # keys, truth, arrays
    at_truth: Callable[..., dict[str, np.ndarray]]  # params (data set, ...), arrays
    at_draws: Callable[..., dict[str, np.ndarray]]  # params (data set, chain, draw, ...), arrays


def programs_of(model: Any, truth: Any, extra: Quantities | None) -> Programs:
    """Compiled once for a study.

    Parameters
    ----------
    model : what is fitted.
    truth : the model that data are simulated from.
    extra : see `quantities_of`.
    """

    def over_draws(of: Any) -> Callable[..., dict[str, np.ndarray]]:
        @partial(jax.jit, compiler_options=COMPILER)
        @jax.vmap
        def mapped(params: Params, arrays: PanelArrays) -> dict[str, Array]:
            flat = {name: leaf.reshape(-1, *leaf.shape[2:]) for name, leaf in params.items()}
            return map_in_batches(lambda draw: quantities_of(of, draw, arrays, extra), flat, DRAWS_AT_ONCE)

        def at(params: dict[str, np.ndarray], arrays: PanelArrays) -> dict[str, np.ndarray]:
            shape = next(iter(params.values())).shape[:3]
            found = mapped(jax.tree.map(jnp.asarray, params), arrays)
            return {name: np.asarray(value, float).reshape(shape) for name, value in found.items()}

        return at

    def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
        return jax.jit(jax.vmap(function), compiler_options=COMPILER)  # type: ignore[no-any-return]

    of_truth, of_draws = over_draws(truth), over_draws(model)

    def at_truth(params: dict[str, np.ndarray], arrays: PanelArrays) -> dict[str, np.ndarray]:
        lifted = {name: np.asarray(value)[:, None, None] for name, value in params.items()}
        return {name: value[:, 0, 0] for name, value in of_truth(lifted, arrays).items()}

    return Programs(
        prior=compiled(lambda key, data: draw_prior(truth, key, data)),
        simulate=compiled(lambda key, params, arrays: simulate(truth, key, params, arrays)),
        at_truth=at_truth,
        at_draws=of_draws,
    )
