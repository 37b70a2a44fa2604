"""The compiled sampler cannot hang: it holds no LAPACK call that JAX could run beside another (decision 9)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fits import panel

import bayesfactor as bf
from bayesfactor.components.batches import map_in_batches
from bayesfactor.inference import frame
from bayesfactor.inference.sampling import programs_for

MANY = bf.simulate.economy(n_months=4, n_assets=40, n_characteristics=13, seed=2).panel
MODELS = {
    "LKJ": ({"hidden": ()}, None),
    "low rank": ({"hidden": ()}, MANY),
    "network": ({"hidden": (3,)}, None),
    "student_t": ({"hidden": (3,), "noise": "student_t"}, None),
    "laplace": ({"hidden": (3,), "noise": "laplace"}, None),
    "huber": ({"hidden": (3,), "noise": "huber"}, None),
}


@pytest.mark.parametrize("case", MODELS)
def test_the_sampler_calls_no_lapack(case):
    given, source = MODELS[case]
    model = bf.FundamentalFactorModel(**{"noise": "normal", **given})
    settings = bf.NUTS(warmup=50, draws=50, chains=2)
    with jax.enable_x64(True):
        data = jax.tree.map(jnp.asarray, model.data((source or panel()).arrays()))
        programs, keys = programs_for(model, settings), jax.random.split(jax.random.key(0), 2)
        state, _ = jax.eval_shape(programs.start, keys, data)
        _, (points, _) = programs.advance.eval_shape(state, data, 50)
        lowered = {
            "start": programs.start.lower(keys, data),
            "advance": programs.advance.lower(state, data, 50),
            "constrain": programs.constrain.lower(points, data),
        }
        for name, program in lowered.items():
            assert "lapack" not in program.as_text(), name


def test_chains_along_the_curvature_call_no_lapack():
    source = bf.simulate.priced_economy(
        n_months=30, n_assets=15, n_characteristics=2, n_portfolios=3, seed=1, n_factors=1
    ).panel
    model, settings = bf.SortedFactorModel(n_factors=1, hidden=()), bf.NUTS(warmup=50, draws=50, chains=2)
    data = jax.tree.map(jnp.asarray, model.data(source.arrays()))
    programs, keys = programs_for(model, settings), jax.random.split(jax.random.key(0), 2)
    own = frame.Frame(*jax.eval_shape(programs.search, keys, data, None))
    state, _ = jax.eval_shape(programs.start, keys, data, None, own)
    lowered = {
        "search": programs.search.lower(keys, data, None),
        "start": programs.start.lower(keys, data, None, own),
        "advance": programs.advance.lower(state, data, 50),
    }
    for name, program in lowered.items():
        assert "lapack" not in program.as_text(), name


def test_a_factorisation_would_be_seen():
    lowered = jax.jit(jax.vmap(jnp.linalg.cholesky)).lower(jnp.zeros((2, 3, 3)))
    assert "lapack" in lowered.as_text()


@pytest.mark.parametrize("n_items", [1, 5, 6, 7])
def test_batches_leave_no_remainder(n_items):
    items = {"a": np.arange(n_items * 2.0).reshape(n_items, 2), "b": np.arange(n_items)}
    mapped = jax.jit(lambda items: map_in_batches(lambda item: {"sum": item["a"].sum() + item["b"]}, items, 3))
    np.testing.assert_array_equal(mapped(items)["sum"], items["a"].sum(axis=1) + items["b"])
    assert mapped.lower(items).as_text().count("stablehlo.while") == 1


def test_items_that_are_taken_one_at_a_time_are_not_copied():
    """As the months of a large panel are: their batches of one had been another panel in memory."""
    items = jnp.ones((40, 3000, 20), jnp.float32)

    def total(weight, items):
        return map_in_batches(jax.checkpoint(lambda item: jnp.tanh(item @ weight).sum()), items, 1).sum()

    program = jax.jit(jax.grad(total)).lower(jnp.ones((20, 4), jnp.float32), items).compile()
    assert program.memory_analysis().temp_size_in_bytes < 0.2 * items.nbytes
