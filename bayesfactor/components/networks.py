"""Feature networks and the exact derivatives of ``response = slopes . features(z)``.

The last layer belongs to the model, not to the network. Derivatives are those of Dixon and Polson (2020), eq. 7
and 8, written so that averages over stocks are taken in the space of the first hidden layer: with
``v_i = d response_i / d(first layer's input)``, every sensitivity is ``W_1' v_i``, so sums over stocks need only
the sums of ``v`` and ``v v'``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "softplus": jax.nn.softplus,
    "identity": lambda x: x,
}

# The same in NumPy, with their derivatives: for constants of the prior.
_VALUE_AND_SLOPE: dict[str, tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]] = {
    "tanh": (np.tanh, lambda x: 1.0 - np.tanh(x) ** 2),
    "relu": (lambda x: np.maximum(x, 0.0), lambda x: (x > 0).astype(float)),
    "softplus": (lambda x: np.logaddexp(0.0, x), lambda x: 0.5 + 0.5 * np.tanh(0.5 * x)),
    "identity": (lambda x: x, np.ones_like),
}


class FeatureNetwork(eqx.Module):
    """Multilayer perceptron (characteristic,) -> (feature,), activated after every layer.

    Attributes
    ----------
    layers : the affine maps; ``layers[l].weight`` is (width_l, width_{l-1}).
    activation : one of `ACTIVATIONS`.
    """

    layers: tuple[eqx.nn.Linear, ...]
    activation: str = eqx.field(static=True)

    def __init__(self, n_inputs: int, hidden: tuple[int, ...], activation: str):
        widths = (n_inputs, *hidden)
        # Every weight gets a prior before use; the values set here are never seen.
        self.layers = tuple(
            eqx.nn.Linear(before, after, key=jax.random.key(0)) for before, after in itertools.pairwise(widths)
        )
        self.activation = activation

    def __call__(self, z: Array) -> Array:
        """Features (feature,) of one stock's characteristics (characteristic,)."""
        for layer in self.layers:
            z = ACTIVATIONS[self.activation](layer(z))
        return z

    def of_stocks(self, z: Array) -> Array:
        """Features (feature, stock) of many stocks (stock, characteristic).

        Stocks are the last dimension: long contiguous rows make it about twice as fast on a CPU as a map over stocks.
        """
        inner = z.T
        for layer in self.layers:
            inner = ACTIVATIONS[self.activation](layer.weight @ inner + _bias(layer)[:, None])
        return inner


def _bias(layer: eqx.nn.Linear) -> Array:
    assert layer.bias is not None
    return layer.bias


def parameter_shapes(network: eqx.Module) -> dict[str, tuple[int, ...]]:
    """Shape of every real-valued leaf by its key path, named as NumPyro names them."""
    return {name: leaf.shape for name, leaf in parameters_of(network).items()}


def parameters_of(network: eqx.Module) -> dict[str, Array]:
    """The real-valued leaves by key path: the inverse of `with_parameters`."""
    leaves = jax.tree_util.tree_leaves_with_path(eqx.filter(network, eqx.is_inexact_array))
    return {jax.tree_util.keystr(path)[1:]: leaf for path, leaf in leaves}


def with_parameters(network: eqx.Module, parameters: Mapping[str, Array]) -> Any:
    """The same network with its real-valued leaves taken from `parameters`, by key path."""
    learned, fixed = eqx.partition(network, eqx.is_inexact_array)
    learned = jax.tree_util.tree_map_with_path(lambda path, _: parameters[jax.tree_util.keystr(path)[1:]], learned)
    return eqx.combine(learned, fixed)


@lru_cache(maxsize=32)
def prior_gain(activation: str, depth: int) -> float:
    """Root mean square of a unit's derivative by one input under the prior, times the root of the number of inputs.

    For layers ``x -> activation(W x + b)`` with ``W ~ N(0, tau^2 / fan_in)``, ``tau ~ HalfNormal(1)``, ``b ~ N(0, 1)``,
    and inputs of mean square 1/3 (ranks in [-1, 1]). Every layer multiplies the mean square by
    ``E[tau^2 activation'(x)^2]``: exact but for treating a layer's inputs as normal, as they are when it is wide.
    """
    value_of, slope_of = _VALUE_AND_SLOPE[activation]
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)  # none at 0, where relu has its kink
    weights = weights / weights.sum()
    tau = nodes[:, None]
    square, gain = 1 / 3, 1.0
    for _ in range(depth):
        inputs = np.sqrt(1.0 + tau**2 * square) * nodes  # (tau, draw)
        gain *= float(weights @ (tau**2 * slope_of(inputs) ** 2) @ weights)
        square = float(weights @ value_of(inputs) ** 2 @ weights)
    return math.sqrt(gain)


class Sums(NamedTuple):
    """Sums over stocks of a derivative and of its square, elementwise."""

    value: Array
    square: Array


def _forward(network: FeatureNetwork, z: Array) -> tuple[list[Array], list[Array]]:
    """Slopes and curvatures of the activation at every layer, each (stock, width)."""
    function = ACTIVATIONS[network.activation]
    slope = jax.grad(function)
    slopes, curvatures = [], []
    for layer in network.layers:
        inputs = z @ layer.weight.T + _bias(layer)
        if network.activation == "tanh":
            z = jnp.tanh(inputs)
            slopes.append(1.0 - z**2)
            curvatures.append(-2.0 * z * slopes[-1])
        else:
            z = function(inputs)
            flat = inputs.reshape(-1)
            slopes.append(jax.vmap(slope)(flat).reshape(inputs.shape))
            curvatures.append(jax.vmap(jax.grad(slope))(flat).reshape(inputs.shape))
    return slopes, curvatures


def _backward(network: FeatureNetwork, slopes_of_response: Array, slopes: list[Array]) -> list[Array]:
    """``d response / d h_l`` for the output ``h_l`` of every layer, each (stock, width)."""
    gradients = [jnp.broadcast_to(slopes_of_response, slopes[-1].shape)]
    for layer, slope in zip(reversed(network.layers[1:]), reversed(slopes[1:]), strict=True):
        gradients.append((gradients[-1] * slope) @ layer.weight)
    return gradients[::-1]


def gradient(network: FeatureNetwork, slopes_of_response: Array, z: Array) -> Array:
    """Sensitivities (stock, characteristic) of the response, Dixon and Polson (2020), eq. 7.

    ``J = W^(L) D^(L-1) W^(L-1) ... D^(1) W^(1)``

    Parameters
    ----------
    network : feature map at one draw of its weights.
    slopes_of_response : (feature,) last layer ``W^(L)``.
    z : (stock, characteristic).
    """
    slopes, _ = _forward(network, z)
    inner = _backward(network, slopes_of_response, slopes)[0] * slopes[0]
    return inner @ network.layers[0].weight


def gradient_sums(network: FeatureNetwork, slopes_of_response: Array, z: Array, weights: Array) -> Sums:
    """Sums over stocks of `gradient` and of its square, weighted by `weights` (stock,); each (characteristic,)."""
    slopes, _ = _forward(network, z)
    inner = _backward(network, slopes_of_response, slopes)[0] * slopes[0]
    first = network.layers[0].weight
    second_moment = (inner * weights[:, None]).T @ inner
    return Sums((weights @ inner) @ first, jnp.sum((second_moment @ first) * first, axis=0))


def activation_patterns(network: FeatureNetwork, z: Array) -> Array:
    """Which units of all layers are active, 32 to a word: (stock, word) uint32, equal rows are one linear region.

    Parameters
    ----------
    network : with a piecewise linear activation; a unit is active where the activation's slope is not zero.
    z : (stock, characteristic).
    """
    slopes, _ = _forward(network, z)
    active = jnp.concatenate(slopes, axis=1) != 0
    active = jnp.pad(active, ((0, 0), (0, -active.shape[1] % 32))).reshape(len(z), -1, 32)
    return jnp.sum(active.astype(jnp.uint32) << jnp.arange(32, dtype=jnp.uint32), axis=-1, dtype=jnp.uint32)


def _inner_hessian(network: FeatureNetwork, slopes_of_response: Array, z: Array) -> Array:
    """Hessian with respect to the first layer's affine output, (stock, width_1, width_1).

    Eq. 8 is the sum over layers of ``J_l' diag(d response/d h_l * act''(a_l)) J_l`` with ``J_l = d a_l / d a_1``.
    """
    slopes, curvatures = _forward(network, z)
    gradients = _backward(network, slopes_of_response, slopes)
    width = network.layers[0].weight.shape[0]
    hessian = jnp.eye(width) * (gradients[0] * curvatures[0])[:, None, :]
    if len(network.layers) == 1:
        return hessian
    # The second layer's J is the weight times the first slopes: the product over stocks is one matrix product.
    weight = network.layers[1].weight
    pairs = (weight[:, :, None] * weight[:, None, :]).reshape(weight.shape[0], -1)
    second = ((gradients[1] * curvatures[1]) @ pairs).reshape(-1, width, width)
    hessian = hessian + second * slopes[0][:, :, None] * slopes[0][:, None, :]
    jacobian = weight * slopes[0][:, None, :]
    for depth in range(2, len(network.layers)):
        weight = network.layers[depth].weight
        jacobian = jnp.einsum("gh,nh,nhk->ngk", weight, slopes[depth - 1], jacobian)
        bend = gradients[depth] * curvatures[depth]
        hessian = hessian + jnp.einsum("ng,ngj,ngk->njk", bend, jacobian, jacobian)
    return hessian


def hessian(network: FeatureNetwork, slopes_of_response: Array, z: Array) -> Array:
    """Second derivatives (stock, characteristic, characteristic) of the response, eq. 8."""
    first = network.layers[0].weight
    inner = _inner_hessian(network, slopes_of_response, z)
    return jnp.einsum("hj,nhi,ik->njk", first, inner, first)


def hessian_sums(network: FeatureNetwork, slopes_of_response: Array, z: Array, weights: Array) -> Sums:
    """Sums over stocks of `hessian` and of its square; each (characteristic, characteristic).

    With one hidden layer the Hessian is ``W_1' diag(c_i) W_1``, so both sums follow from the sums of ``c`` and
    ``c c'``: no array of size stocks x characteristics^2 is formed.
    """
    first = network.layers[0].weight
    n_inputs = first.shape[1]
    if len(network.layers) == 1:
        _, curvatures = _forward(network, z)
        bend = slopes_of_response * curvatures[0]
        pairs = (first[:, :, None] * first[:, None, :]).reshape(first.shape[0], -1)
        second_moment = (bend * weights[:, None]).T @ bend
        value = (weights @ bend) @ pairs
        square = jnp.sum((second_moment @ pairs) * pairs, axis=0)
        return Sums(value.reshape(n_inputs, n_inputs), square.reshape(n_inputs, n_inputs))
    inner = _inner_hessian(network, slopes_of_response, z)
    half = inner.reshape(-1, first.shape[0]) @ first
    half = half.reshape(-1, first.shape[0], n_inputs)
    full = jnp.einsum("hj,nhk->njk", first, half)
    return Sums(
        jnp.tensordot(weights, full, axes=1),
        jnp.tensordot(weights, full**2, axes=1),
    )


def gradient_sums_of(response: Callable[[Array], Array], z: Array, weights: Array) -> Sums:
    """`gradient_sums` of any differentiable ``response(z_i) -> ()`` by reverse-mode differentiation."""
    values = jax.vmap(jax.grad(response))(z)
    return Sums(weights @ values, weights @ values**2)


def hessian_sums_of(response: Callable[[Array], Array], z: Array, weights: Array) -> Sums:
    """`hessian_sums` of any twice differentiable response, forward over reverse."""
    values = jax.vmap(jax.hessian(response))(z)
    return Sums(jnp.tensordot(weights, values, axes=1), jnp.tensordot(weights, values**2, axes=1))
