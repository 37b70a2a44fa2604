"""SVI against closed forms; the same bits for the same seed, resumed or not; every refusal."""

from __future__ import annotations

import dataclasses
import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import xarray as xr
from arviz_stats.base import array_stats
from fits import fitted, panel, train

import bayesfactor as bf
from bayesfactor.errors import AlignmentError, ConvergenceError, ConvergenceWarning, DataError
from bayesfactor.inference import checkpoint as checkpoint_module
from bayesfactor.inference.checkpoint import Checkpoint
from bayesfactor.inference.run import redraw
from bayesfactor.inference.settings import SVI
from bayesfactor.inference.variational import History, next_stage, pareto_khat, run_svi

RIDGE = bf.FundamentalFactorModel(hidden=(), pooling="full", noise="normal")
AUTO = SVI(restarts=2, draws=500)
FULL = SVI(guide="full", restarts=2, draws=500)


@functools.cache
def fit(settings, seed=0):
    return fitted(RIDGE, train(), settings, seed)


# ------------------------------------------------------------------------------------------------ closed forms


@pytest.fixture(scope="module")
def exact():
    return bf.fit(RIDGE, train(), bf.Exact(draws=10_000, chains=4)).tree["posterior"]


@pytest.mark.parametrize("settings", [AUTO, FULL], ids=["auto", "full"])
def test_a_normal_posterior_is_recovered(settings, exact):
    """Given the scale of the noise the posterior is normal, and that scale is known to 3%."""
    made = fit(settings)
    # Of all restarts' draws together: that of 500 has a standard error of 0.2.
    assert pareto_khat(made.tree["guide"]["log_weight"].values.reshape(-1)) < 0.7
    for name in ("slope_mean", "noise_level"):
        found = np.asarray(made.tree["posterior"][name], float).reshape(2, 500, -1)
        want = np.asarray(exact[name]).reshape(40_000, -1)
        for method, statistic in (("mean", np.mean), ("sd", np.std)):
            error = array_stats.mcse(found, chain_axis=0, draw_axis=1, method=method)
            gap = statistic(found, axis=(0, 1)) - statistic(want, axis=0)
            assert (np.abs(gap) < 5 * error).all(), (name, method, gap / error)


def test_independent_normals_on_a_correlated_posterior_are_told_from_a_full_covariance():
    """The narrow guide: ratios of posterior to guide have a tail, their inverses have none."""
    khat = {}
    for guide in ("normal", "full"):
        settings = SVI(guide=guide, restarts=2, draws=10)
        khat[guide] = run_svi(known_sum, np.zeros(1, np.float32), settings, jax.random.key(0)).guide["khat"]
    assert (khat["normal"] > 0.7).all()
    assert (khat["full"] < 0.7).all()


@pytest.mark.parametrize("spread", [30.0, 300.0, 1e3, 1e4, 1e6])
def test_k_hat_fails_however_far_apart_the_ratios_are(spread):
    """exp of a tail that spans more than 745 nats is zero but for a few, which would look like a short tail."""
    ratios = spread * np.random.default_rng(0).standard_normal((200, 500))
    assert (pareto_khat(ratios) > 0.7).all()


def test_k_hat_where_there_is_no_tail_to_fit():
    ratios = np.random.default_rng(0).standard_normal((4, 500))
    ratios[0] = 3.0
    ratios[1] = np.minimum(ratios[1], 0.0)
    ratios[2, 7] = np.inf
    assert pareto_khat(ratios)[:2].tolist() == [0.0, 0.0]
    assert np.isnan(pareto_khat(ratios)[2])
    assert pareto_khat(ratios)[3] < 0.7


def known_sum(data):
    values = numpyro.sample("values", dist.Normal(0, 1).expand([8]).to_event(1))
    numpyro.sample("sum", dist.Normal(jnp.sum(values), 0.3), obs=data[0])


# ------------------------------------------------------------------------------------------------------ the bits


def bits(made, *groups):
    return {
        (group, name): (values.shape, values.values.tobytes())
        for group in groups or ("posterior", "functions", "guide")
        for name, values in made.tree[group].data_vars.items()
    }


def test_a_seed_fixes_every_bit_and_another_seed_other_draws():
    again = fitted(RIDGE, train(), FULL)
    assert bits(again) == bits(fit(FULL))
    other = fitted(RIDGE, train(), FULL, seed=1)
    assert not np.isclose(other.tree["posterior"]["slope_mean"], again.tree["posterior"]["slope_mean"]).any()


@pytest.mark.parametrize("settings", [AUTO, FULL], ids=["auto", "full"])
def test_fresh_draws_of_a_loaded_fit_are_those_before(settings, tmp_path):
    made = fit(settings)
    loaded = bf.load(made.save(tmp_path / "fit.nc"))
    assert loaded.inference == made.inference
    assert bits(loaded) == bits(made)
    fresh, of_loaded, other = (quiet(redraw, one, seed) for one, seed in ((made, 5), (loaded, 5), (made, 6)))
    assert bits(of_loaded) == bits(fresh)
    assert bits(fresh, "posterior") != bits(other, "posterior")
    for name in ("loc", "log_scale", "elbo"):
        np.testing.assert_array_equal(fresh.tree["guide"][name], made.tree["guide"][name])
    # The same law: means of two sets of draws, 5 standard errors apart at most.
    for name in ("slope_mean", "noise_level"):
        sets = [np.asarray(one.tree["posterior"][name], float).reshape(2, 500, -1) for one in (made, fresh)]
        error = np.hypot(*(array_stats.mcse(one, chain_axis=0, draw_axis=1, method="mean") for one in sets))
        assert (np.abs(sets[0].mean(axis=(0, 1)) - sets[1].mean(axis=(0, 1))) < 5 * error).all()


def test_fresh_draws_cannot_take_the_label_from_a_guide():
    made = fit(FULL)
    worse = made.tree["guide"].to_dataset().assign(khat=("chain", np.array([0.9, np.nan])))
    tree = made.tree.copy()
    tree["guide"] = xr.DataTree(worse)
    labelled = dataclasses.replace(made, tree=tree)
    fresh = quiet(redraw, labelled, 6)
    assert fresh.tree["guide"]["khat"][0] == 0.9
    assert np.isnan(fresh.tree["guide"]["khat"][1])
    assert fresh.uncalibrated


def quiet(function, made, seed, **given):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return function(made, given.pop("panel", train()), seed=seed, **given)


def test_fresh_draws_need_a_guide_and_its_panel():
    assert quiet(redraw, fit(FULL), 0, draws=30).shape == (2, 30)
    with pytest.raises(AlignmentError, match="the panel that the fit was trained on"):
        quiet(redraw, fit(FULL), 0, panel=panel())
    with pytest.raises(DataError, match=r"only a fit by SVI has a guide.*this one is by Exact"):
        redraw(bf.fit(RIDGE, train(), bf.Exact(draws=10)), train())


class Stop(Exception):
    pass


@pytest.mark.parametrize("steps", [330, "auto"])
@pytest.mark.parametrize("after", [1, 4])
def test_an_interrupted_run_ends_with_the_same_bits(monkeypatch, tmp_path, steps, after):
    monkeypatch.setattr(checkpoint_module, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(checkpoint_module, "CHECKPOINT_COSTS", 0.0)
    settings = SVI(guide="full", restarts=2, draws=20, steps=steps)
    data = jax.tree.map(
        lambda leaf: np.asarray(leaf, np.float32 if leaf.dtype.kind == "f" else leaf.dtype),
        RIDGE.data(train().arrays()),
    )

    def run(report=None, path=None):
        kept = None if path is None else Checkpoint(path, {"steps": steps}, unit="steps")
        return run_svi(RIDGE, data, settings, jax.random.key(2), report, checkpoint=kept)

    told = []

    def stopping(done, limit):
        told.append((done, limit))
        if len(told) > after:
            raise Stop

    want = run()
    with pytest.raises(Stop):
        run(stopping, tmp_path / "run")
    assert told == [(50 * (chunk + 1), 330 if steps == 330 else 20_000) for chunk in range(after + 1)]
    resumed = []
    found = run(lambda done, limit: resumed.append(done), tmp_path / "run")
    assert resumed[0] == 50 * (after + 1)
    for part in ("posterior", "guide"):
        assert {n: v.tobytes() for n, v in getattr(found, part).items()} == {
            n: v.tobytes() for n, v in getattr(want, part).items()
        }
    assert run(Stop, tmp_path / "run").guide["elbo"].tobytes() == want.guide["elbo"].tobytes()  # nothing is left to do


def test_many_data_sets_are_as_many_fits():
    settings = SVI(restarts=2, draws=40, steps=300, precision="float64")
    keys = jax.random.split(jax.random.key(4), 3)
    with jax.enable_x64(True):
        one = RIDGE.data(train().arrays())
        sets = [
            one._replace(months=one.months._replace(projection=factor * one.months.projection))
            for factor in (1.0, 0.5, -1.0)
        ]
        together = run_svi(RIDGE, jax.tree.map(lambda *leaves: np.stack(leaves), *sets), settings, keys, many=True)
        for index, data in enumerate(sets):
            alone = run_svi(RIDGE, data, settings, keys[index])
            for part in ("posterior", "guide"):
                for name, value in getattr(alone, part).items():
                    # Sums in another order, through 300 steps.
                    np.testing.assert_allclose(
                        getattr(together, part)[name][index], value, rtol=1e-6, atol=1e-8, err_msg=name
                    )


# --------------------------------------------------------------------------------------------------- when it ends


def history(*stages, restarts=1, slope=0.0, noise=0.0, steps=50):
    """Chunks of so many steps, the loss falling by `slope` a step."""
    rng = np.random.default_rng(0)
    losses, at = [], 0
    for _ in stages:
        loss = -slope * (at + np.arange(steps)) + noise * rng.standard_normal((restarts, steps))
        losses.append(loss)
        at += steps
    return History(list(stages), losses)


@pytest.mark.parametrize(
    ("done", "stage"),
    [(0, 0), (50, 0), (650, 0), (699, 0), (700, 1), (999, 1), (1000, None), (1001, None)],
)
def test_a_given_number_of_steps_is_shared_out(done, stage):
    taken = History([0], [np.zeros((2, done))]) if done else History([], [])
    assert next_stage(taken, 1000, SVI(steps=1000)) == stage


FALLING = {"slope": 0.01}  # 1 nat over the 100 steps that are looked back on
CASES = {
    "nothing yet": (history(), None, 0),
    "too little to judge": (history(0, 0, 0), None, 0),
    "gaining": (history(0, 0, 0, 0, **FALLING), None, 0),
    "gaining, less than its noise": (history(0, 0, 0, 0, noise=50.0, **FALLING), None, 1),
    "gaining, less than a tenth of a nat": (history(0, 0, 0, 0, slope=0.0009), None, 1),
    "rising": (history(0, 0, 0, 0, slope=-1.0), None, 1),
    "stopped gaining": (history(0, 0, 0, 0), None, 1),
    "only the stage counts": (history(0, 0, 0, 0, 1, 1, 1), None, 1),
    "the second has stopped too": (history(0, 0, 0, 0, 1, 1, 1, 1), None, None),
    "minibatches look further back": (history(*[0] * 11), 3, 0),
    "and then stop": (history(*[0] * 12), 3, 1),
    "NaN gains nothing": (history(0, 0, 0, 0, slope=float("nan")), None, 1),
}


@pytest.mark.parametrize("name", CASES)
def test_a_stage_ends_when_nothing_is_gained(name):
    taken, batch, want = CASES[name]
    assert next_stage(taken, 20_000, SVI(batch=batch)) == want
    assert next_stage(taken, max(taken.n_steps, 0), SVI(batch=batch)) is None
    again = History.from_arrays(taken.arrays()) if taken.losses else taken
    assert next_stage(again, 20_000, SVI(batch=batch)) == want


def test_one_of_four_restarts_that_gains_keeps_all_going_and_one_of_forty_does_not():
    for restarts, want in ((4, 0), (40, 1)):
        taken = history(0, 0, 0, 0, restarts=restarts)
        for chunk, loss in enumerate(taken.losses):
            loss[0] -= chunk
        assert next_stage(taken, 20_000, SVI(restarts=restarts)) == want


# ------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"guide": "mean_field"}, "guide must be .*: got 'mean_field'"),
        ({"guide": None}, "guide must be .*: got None"),
        ({"steps": 99}, "steps >= 100: got steps=99"),
        ({"steps": "Auto"}, "steps must be 'auto' or a whole number: got 'Auto'"),
        ({"steps": 1000.0}, r"steps must be a whole number: got 1000\.0"),
        ({"batch": 0}, "batch >= 1: got batch=0"),
        ({"batch": 2.5}, r"batch must be a whole number: got 2\.5"),
        ({"restarts": 1}, "restarts >= 2: got restarts=1"),
        ({"draws": 3}, "draws >= 4: got draws=3"),
        ({"polish": -1}, "polish >= 0: got polish=-1"),
        ({"rank": 0}, "rank >= 1: got rank=0"),
        ({"particles": 0}, "particles >= 2: got particles=0"),
        ({"particles": 3}, "particles must be even.*: got 3"),
        ({"learning_rate": 0.0}, r"learning_rate must be a positive number: got 0\.0"),
        ({"learning_rate": float("nan")}, "learning_rate must be a positive number: got nan"),
        ({"learning_rate": float("inf")}, "learning_rate must be a positive number: got inf"),
        ({"learning_rate": "0.1"}, "learning_rate must be a positive number: got '0.1'"),
        ({"start_radius": -1.0}, r"start_radius must be a positive number: got -1\.0"),
        ({"start_radius": float("nan")}, "start_radius must be a positive number: got nan"),
        ({"precision": "half"}, "precision must be .*: got 'half'"),
    ],
)
def test_a_wrong_setting_is_refused_with_its_value(wrong, message):
    with pytest.raises(DataError, match=message):
        SVI(**wrong)


@pytest.mark.parametrize("seed", [-1, 2**32, 2**70, 1.5, "0"])
def test_a_seed_that_jax_would_cut_is_refused(seed):
    with pytest.raises(DataError, match=r"seed must be .*: got"):
        bf.fit(RIDGE, train(), FULL, seed=seed)
    with pytest.raises(DataError, match=r"seed must be .*: got"):
        bf.fit(RIDGE, train(), bf.Exact(draws=10), seed=seed)


def test_minibatches_of_a_model_without_training_data_are_refused():
    def program(data):
        numpyro.sample("x", dist.Normal())

    with pytest.raises(DataError, match=r"returns TrainingData: it returns PanelArrays\..*leave batch out"):
        run_svi(program, train().arrays(), SVI(batch=2), jax.random.key(0))


def test_a_batch_larger_than_the_window_is_refused():
    with pytest.raises(DataError, match=r"batch must be at most the months of the window \(18\): got 19"):
        fitted(RIDGE, train(), SVI(batch=19))


def spoiled(data):
    """NaN everywhere."""
    numpyro.sample("x", dist.Normal(0, 1))
    numpyro.factor("nothing", jnp.nan * data[0])


def cliff(data):
    """NaN beyond where the guide is soon to be."""
    x = numpyro.sample("x", dist.Normal(0, 1))
    numpyro.factor("edge", jnp.where(x < 1.0, 50 * x, jnp.nan) + 0 * data[0])


def test_a_density_that_is_never_finite_is_named():
    with pytest.raises(ConvergenceError, match=r"no restart can begin.*8 starting points \(restart 0\)"):
        run_svi(spoiled, np.zeros(1, np.float32), SVI(restarts=2, draws=10), jax.random.key(0))


def test_a_bound_that_is_not_finite_is_an_error_with_its_restart_and_step():
    with pytest.raises(ConvergenceError, match=r"the bound of restart \d is not finite after [\d,]+ steps.*0\.02"):
        run_svi(cliff, np.zeros(1, np.float32), SVI(guide="normal", restarts=2, draws=10), jax.random.key(0))


def test_restarts_are_chains_that_begin_apart():
    made = fit(SVI(guide="full", restarts=3, draws=10, steps=100))
    assert made.shape == (3, 10)
    assert made.tree["guide"]["elbo"].dims == ("chain", "chunk")
    assert len(np.unique(made.tree["guide"]["elbo"][:, 0])) == 3
    assert made.tree["guide"]["khat"].shape == (3,)
