"""SortedFactorModel: two programs, one posterior."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from arviz_stats.base import array_stats

import bayesfactor as bf
from bayesfactor.inference.sampling import run_nuts
from bayesfactor.inference.streaming import cast

SETTINGS = bf.NUTS(warmup=200, draws=300, chains=2, precision="float64")


def test_nuts_on_the_collapsed_and_on_the_joint_program_agree():
    """Means and sds of what is integrated out in one and sampled in the other, sorts learned, in Monte Carlo errors."""
    panel, truth = bf.simulate.priced_economy(
        n_months=32, n_assets=10, n_characteristics=2, n_portfolios=2, seed=5, n_factors=1
    )
    model = bf.SortedFactorModel(n_factors=1, hidden=())
    wanted = truth["factor_return"].values

    def sampled(program, seed):
        found = run_nuts(program, data, SETTINGS, jax.random.key(seed)).posterior
        sign = np.sign(np.einsum("cdtp,tp->cd", found["factor_return"], wanted))[..., None]  # sorts have none
        flat = {
            name: found[name].reshape(*sign.shape[:2], -1) for name in ("alpha", "benchmark_loading", "residual_sd")
        }
        flat |= {name: sign * found[name].reshape(*sign.shape[:2], -1) for name in ("loading", "factor_return")}
        return flat

    with jax.enable_x64(True):
        data = jax.tree.map(jnp.asarray, cast(model.data(panel.arrays()), True))
        collapsed, joint = sampled(model, 1), sampled(model.joint, 2)
    worst = {}
    for name, ours in collapsed.items():
        theirs = joint[name]
        for draws in (ours, theirs):
            assert array_stats.ess(draws, chain_axis=0, draw_axis=1, method="bulk").min() > 100, name
        for what, moment in (("mean", np.mean), ("sd", np.std)):
            errors = [array_stats.mcse(draws, chain_axis=0, draw_axis=1, method=what) for draws in (ours, theirs)]
            distance = np.abs(moment(ours, axis=(0, 1)) - moment(theirs, axis=(0, 1))) / np.hypot(*errors)
            worst[name, what] = distance.max()
    assert max(worst.values()) < 4.5, worst
