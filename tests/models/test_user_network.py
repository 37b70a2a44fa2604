"""A user's own equinox network as feature map."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fits import NETWORK, fit_of_draws, panel, prior_fit, stacked_prior_draws, train

import bayesfactor as bf
from bayesfactor.errors import ConvergenceWarning, DataError


class Tanh(eqx.Module):
    """The built-in network with one hidden layer, written by a user."""

    weight: jax.Array
    bias: jax.Array

    def __call__(self, z):
        return jnp.tanh(self.weight @ z + self.bias)


OWN = Tanh(np.zeros((3, 3)), np.zeros(3))
MODEL = bf.FundamentalFactorModel(hidden=(), network=OWN, noise="normal")


def own_fit():
    draws = stacked_prior_draws(NETWORK, train(), 15)
    named = {name.replace("layers[0].", ""): value for name, value in draws.items()}
    assert "network.weight" in named
    return fit_of_draws(MODEL, named)


@pytest.mark.parametrize("quantity", [bf.sensitivities, bf.interactions, bf.expected_returns])
def test_at_the_same_weights_it_gives_what_the_built_in_network_gives(quantity):
    found, want = quantity(own_fit(), panel()), quantity(prior_fit(NETWORK), panel())
    for name in want.data_vars:
        np.testing.assert_allclose(found[name], want[name], rtol=1e-7, atol=1e-9, err_msg=str(name))


def test_it_can_be_fitted():
    source = train().sel(time=slice(None, train().times[5]), asset=list(train().data["asset"].values[:16]))
    settings = bf.NUTS(warmup=30, draws=30, chains=2)
    with pytest.warns(ConvergenceWarning):
        fit = bf.fit(MODEL, source, settings)
    assert fit.provenance["precision"] == "float32"
    weights = fit.tree["posterior"]["network.weight"]
    assert weights.shape == (2, 30, 3, 3)
    assert float(weights.std()) > 0.1
    assert np.isfinite(bf.sensitivities(fit, panel())["mean"]).all()


def test_a_saved_fit_asks_for_the_network(tmp_path):
    fit = own_fit()
    path = fit.save(tmp_path / "fit.nc")
    with pytest.raises(DataError, match=r"your own network.*load\(path, network=...\)"):
        bf.load(path)
    loaded = bf.load(path, network=OWN)
    assert loaded.model.network is OWN
    found, want = bf.sensitivities(loaded, panel()), bf.sensitivities(fit, panel())
    for name in want.data_vars:
        np.testing.assert_array_equal(found[name], want[name])
