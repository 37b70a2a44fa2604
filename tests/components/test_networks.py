"""Exact derivatives against automatic differentiation (Dixon and Polson, 2020, eq. 7 and 8)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayesfactor.components import networks


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


def make_network(hidden, activation, n_inputs=5):
    network = networks.FeatureNetwork(n_inputs, hidden, activation)
    parameters = {
        name: jax.random.normal(jax.random.key(index), shape)
        for index, (name, shape) in enumerate(networks.parameter_shapes(network).items())
    }
    network = networks.with_parameters(network, parameters)
    slopes = jax.random.normal(jax.random.key(100), (hidden[-1],))
    z = jax.random.normal(jax.random.key(101), (17, n_inputs))
    weights = jnp.arange(17) % 3 * 0.1
    return network, slopes, z, weights


@pytest.mark.parametrize("activation", ["tanh", "softplus", "relu", "identity"])
@pytest.mark.parametrize("hidden", [(4,), (4, 3), (4, 3, 6)])
def test_gradient_is_automatic_differentiation(hidden, activation):
    network, slopes, z, weights = make_network(hidden, activation)
    want = jax.vmap(jax.grad(lambda row: network(row) @ slopes))(z)
    np.testing.assert_allclose(networks.gradient(network, slopes, z), want, atol=1e-12)
    sums = networks.gradient_sums(network, slopes, z, weights)
    np.testing.assert_allclose(sums.value, weights @ want, atol=1e-12)
    np.testing.assert_allclose(sums.square, weights @ want**2, atol=1e-12)


@pytest.mark.parametrize("activation", ["tanh", "softplus"])
@pytest.mark.parametrize("hidden", [(4,), (4, 3), (4, 3, 6)])
def test_hessian_is_automatic_differentiation(hidden, activation):
    network, slopes, z, weights = make_network(hidden, activation)
    response = lambda row: network(row) @ slopes  # noqa: E731
    want = jax.vmap(jax.hessian(response))(z)
    np.testing.assert_allclose(networks.hessian(network, slopes, z), want, atol=1e-11)
    for sums in (
        networks.hessian_sums(network, slopes, z, weights),
        networks.hessian_sums_of(response, z, weights),
    ):
        np.testing.assert_allclose(sums.value, jnp.tensordot(weights, want, 1), atol=1e-11)
        np.testing.assert_allclose(sums.square, jnp.tensordot(weights, want**2, 1), atol=1e-10)


@pytest.mark.parametrize("hidden", [(4,), (4, 3), (32,), (20, 30)])
def test_patterns_are_equal_where_the_active_units_are(hidden):
    network, _, z, _ = make_network(hidden, "relu")
    z = jnp.concatenate([z, z[:5]])
    inner, active = z, []
    for layer in network.layers:
        inner = jax.nn.relu(inner @ layer.weight.T + layer.bias)
        active.append(inner > 0)
    active = np.concatenate(active, axis=1)
    patterns = np.asarray(networks.activation_patterns(network, z))
    assert patterns.shape == (22, -(-sum(hidden) // 32))
    same = (patterns[:, None] == patterns).all(axis=-1)
    np.testing.assert_array_equal(same, (active[:, None] == active).all(axis=-1))
    bits = (patterns[:, :, None] >> np.arange(32, dtype=np.uint32)) & 1
    np.testing.assert_array_equal(bits.reshape(22, -1)[:, : sum(hidden)], active)


def test_all_stocks_at_once_are_one_by_one():
    network, _, z, _ = make_network((4, 3), "tanh")
    np.testing.assert_allclose(network.of_stocks(z).T, jax.vmap(network)(z), atol=1e-14)


def test_parameters_go_in_and_come_out():
    network, *_ = make_network((4, 3), "tanh")
    again = networks.with_parameters(networks.FeatureNetwork(5, (4, 3), "tanh"), networks.parameters_of(network))
    assert jax.tree.all(jax.tree.map(jnp.array_equal, network, again))
