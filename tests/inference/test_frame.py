"""Chains along the axes of the curvature: the frame itself, and that it changes the cost and not the posterior."""

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
from fits import LINEAR, fitted, panel
from scipy import stats

import bayesfactor as bf
from bayesfactor.errors import ConvergenceWarning, DataError
from bayesfactor.inference import checkpoint as checkpoint_module
from bayesfactor.inference import frame, space, storage
from bayesfactor.inference.checkpoint import Checkpoint
from bayesfactor.inference.sampling import mass_matrix_of, programs_for, run_nuts

SIZE = 12
SORTED = bf.SortedFactorModel(n_factors=1, hidden=())
SHORT = bf.NUTS(warmup=60, draws=20, chains=2)
DENSE = bf.NUTS(warmup=60, draws=20, chains=2, mass_matrix="dense", precision="float64")


@functools.cache
def gaussian():
    """Mean and covariance of twelve numbers, the condition number of whose correlations is 200 or more."""
    rng = np.random.default_rng(3)
    mixed = rng.normal(size=(SIZE, SIZE)) @ np.diag(np.logspace(0, -2, SIZE))
    covariance = mixed @ mixed.T
    sd = np.sqrt(np.diag(covariance))
    assert np.linalg.cond(covariance / np.outer(sd, sd)) > 200
    return rng.normal(size=SIZE), covariance / np.max(sd) ** 2


def program(data):
    mean, root = data
    numpyro.sample("x", dist.MultivariateNormal(mean, scale_tril=root))


def data_of_gaussian():
    mean, covariance = gaussian()
    return jnp.asarray(mean), jnp.asarray(np.linalg.cholesky(covariance))


@functools.cache
def priced(seed=3):
    return bf.simulate.priced_economy(
        n_months=40, n_assets=15, n_characteristics=3, n_portfolios=4, seed=seed, n_factors=1
    ).panel


# -------------------------------------------------------------------------------------------------- the frame


def test_the_search_ends_where_draws_are_with_the_curvature_there():
    mean, covariance = gaussian()
    with jax.enable_x64(True):
        found, curvature = jax.jit(lambda data, point: frame.search(program, data, point))(
            data_of_gaussian(), {"x": jnp.full(SIZE, 0.1)}
        )
        found, curvature = np.asarray(found), np.asarray(curvature)
    np.testing.assert_allclose(curvature, np.linalg.inv(covariance), rtol=1e-6, atol=1e-6)
    far = [0.5 * (place - mean) @ np.linalg.solve(covariance, place - mean) for place in (found, np.full(SIZE, 0.1))]
    assert far[0] < 0.5 * stats.chi2(SIZE).ppf(0.999) < 1e-2 * far[1]  # nats below the mode: where draws are


def test_the_root_of_a_frame_squares_to_the_inverse_curvature():
    mean, covariance = gaussian()
    made = frame.frame_of(np.stack([mean, mean]), np.stack([np.linalg.inv(covariance)] * 2))
    for root in made.root:
        np.testing.assert_allclose(root @ root.T, covariance, atol=1e-9)


def test_axes_are_bounded_where_curvature_is_small_negative_or_broken():
    curvature = np.diag([4.0, -4.0, 1e-9, np.nan])
    root = frame.frame_of(np.zeros(4), curvature).root
    np.testing.assert_allclose(np.diag(root @ root.T), [0.25, 0.25, 25.0, 25.0])


@pytest.mark.parametrize("beyond", [jnp.nan, jnp.inf, 40.0], ids=["no number", "no density", "improbable"])
def test_a_chain_begins_nearer_where_its_first_place_is_improbable(beyond):
    made = frame.Frame(jnp.zeros(5), jnp.eye(5))

    def length(limit):
        def potential(seen):
            return jnp.where(jnp.linalg.norm(seen) < limit, 0.0, beyond)

        return float(jnp.linalg.norm(frame.start(potential, jax.random.key(0), made)))

    lengths = [length(limit) for limit in (100.0, 1.0, 1e-9)]
    assert lengths[0] > 1.0 > lengths[1] > 0.0
    assert lengths[2] == 0.0


def test_the_search_comes_back_from_where_nothing_can_be_said():
    """Downhill beyond 1 there is no density: the best place before it is kept, and finite curvature taken there."""

    def walled(_):
        x = numpyro.sample("x", dist.Normal().expand([3]))
        numpyro.factor("slope", jnp.where(x[0] < 1.0, 30.0 * x[0], jnp.nan))

    found, curvature = jax.jit(lambda point: frame.search(walled, None, point))({"x": jnp.zeros(3)})
    assert 0.8 < float(found[0]) < 1.0
    assert np.isfinite(np.asarray(curvature)[1:, 1:]).all()
    assert np.abs(np.asarray(found)[1:]).max() < 1e-6


def test_too_many_parameters_are_refused_before_memory_is_asked_for():
    wide = bf.FundamentalFactorModel(hidden=(100, 100), noise="normal")
    with pytest.raises(DataError, match=r"2,000 parameters at most, and the model has 1\d,\d{3}"):
        mass_matrix_of(wide, dataclasses.replace(SHORT, mass_matrix="dense"), wide.data(panel().arrays()))


# -------------------------------------------------------------------------------------------------- the sampler


def test_a_known_posterior_is_recovered_with_fewer_gradients():
    mean, covariance = gaussian()
    steps = {}
    for mass in ("dense", "diagonal"):
        settings = bf.NUTS(warmup=300, draws=1000, chains=4, mass_matrix=mass)
        with jax.enable_x64(True):
            draws = run_nuts(program, data_of_gaussian(), settings, jax.random.key(1))
        x = draws.posterior["x"].reshape(-1, SIZE)
        scaled = np.linalg.solve(np.linalg.cholesky(covariance), (x - mean).T)  # standard normal
        assert np.abs(scaled.mean(axis=1)).max() < 0.15
        assert np.abs(np.cov(scaled) - np.eye(SIZE)).max() < 0.2
        assert not draws.statistics["diverging"].any()
        steps[mass] = draws.statistics["n_steps"].mean()
    assert steps["dense"] < 8 < 3 * steps["dense"] < steps["diagonal"]


def test_sites_of_several_shapes_and_bounds_come_back_as_they_are():
    def several(_):
        numpyro.sample("z", dist.Normal(2.0, 0.5).expand([3]))
        numpyro.sample("b", dist.Gamma(4.0, 2.0))
        numpyro.sample("a", dist.Normal(jnp.array([-1.0, 5.0]), jnp.array([0.1, 3.0])))

    settings = bf.NUTS(warmup=200, draws=1000, chains=2, mass_matrix="dense")
    posterior = run_nuts(several, None, settings, jax.random.key(1)).posterior
    mean, sd = ({name: fold(draws, axis=(0, 1)) for name, draws in posterior.items()} for fold in (np.mean, np.std))
    np.testing.assert_allclose(mean["z"], 2.0, atol=0.1)
    np.testing.assert_allclose(sd["z"], 0.5, rtol=0.15)
    np.testing.assert_allclose([mean["b"], sd["b"]], [2.0, 1.0], rtol=0.1)
    np.testing.assert_allclose(mean["a"], [-1.0, 5.0], atol=0.4)
    np.testing.assert_allclose(sd["a"], [0.1, 3.0], rtol=0.15)


def test_framed_chains_adapt_after_a_warm_start_too():
    with jax.enable_x64(True):
        data, settings = data_of_gaussian(), bf.NUTS(warmup=60, draws=20, chains=2, mass_matrix="dense")
        programs, keys = programs_for(program, settings), jax.random.split(jax.random.key(2), 2)
        place = space.Place({"x": jnp.ones((2, SIZE))}, {"x": jnp.zeros((2, SIZE))})
        own = frame.frame_of(*map(np.asarray, programs.search(keys, data, place)))
        chain, usable = programs.start(keys, data, place, own)
    assert usable.all()
    assert (np.asarray(chain.kernel.adapt_state.window_idx) == 0).all()
    assert (np.asarray(chain.kernel.adapt_state.inverse_mass_matrix) == 1).all()


def test_chains_do_not_begin_in_one_place():
    with jax.enable_x64(True):
        settings = bf.NUTS(warmup=20, draws=4, chains=4, mass_matrix="dense")
        end = run_nuts(program, data_of_gaussian(), settings, jax.random.key(1)).end
    assert len(np.unique(end.location["x"][:, 0])) == 4


def test_models_say_what_suits_them_and_settings_have_the_last_word():
    with_sorts = SORTED.data(priced().arrays())
    linear = LINEAR.data(panel().arrays())
    assert mass_matrix_of(SORTED, SHORT, with_sorts) == "dense"
    assert mass_matrix_of(LINEAR, SHORT, linear) == "diagonal"
    assert mass_matrix_of(LINEAR, dataclasses.replace(SHORT, mass_matrix="dense"), linear) == "dense"
    assert mass_matrix_of(SORTED, dataclasses.replace(SHORT, mass_matrix="diagonal"), with_sorts) == "diagonal"
    wide = bf.SortedFactorModel(hidden=(100, 100))
    assert mass_matrix_of(wide, SHORT, wide.data(priced().arrays())) == "diagonal"


def test_another_mass_matrix_is_refused():
    with pytest.raises(DataError, match="mass_matrix must be 'auto', 'diagonal' or 'dense': got 'full'"):
        bf.NUTS(mass_matrix="full")


def test_frames_of_several_data_sets_are_those_of_each_alone():
    settings = bf.NUTS(warmup=60, draws=20, chains=2, mass_matrix="dense")
    with jax.enable_x64(True):
        mean, root = data_of_gaussian()
        several = [(mean, root), (mean + 3.0, 2.0 * root)]
        keys = jax.random.split(jax.random.key(5), 2)
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *several)
        together = run_nuts(program, stacked, settings, keys, many=True)
        for index, data in enumerate(several):
            alone = run_nuts(program, data, settings, keys[index])
            np.testing.assert_allclose(together.posterior["x"][index], alone.posterior["x"], rtol=1e-6, atol=1e-8)


def test_a_stopped_run_is_resumed_bit_for_bit(monkeypatch, tmp_path):
    monkeypatch.setattr(checkpoint_module, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(checkpoint_module, "CHECKPOINT_COSTS", 0.0)
    offer, window = Checkpoint.offer, panel().sel(time=panel().times[:18])

    def fit(path):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return bf.fit(LINEAR, window, DENSE, seed=1, progress=False, checkpoint=path)

    def stopping(self, *arguments):
        assert self.ask_to_stop()
        offer(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoint, "offer", stopping)
        with pytest.raises(KeyboardInterrupt, match="50 of 80 draws"):
            fit(tmp_path / "run")
    resumed, whole = fit(tmp_path / "run"), fitted(LINEAR, window, DENSE, seed=1)
    for name, variable in whole.tree["posterior"].data_vars.items():
        np.testing.assert_array_equal(resumed.tree["posterior"][name].values, variable.values, err_msg=name)


def test_a_later_window_begins_where_the_earlier_one_ended():
    first, second = (panel().sel(time=panel().times[at : at + 18]) for at in (0, 5))
    earlier, cold = fitted(LINEAR, first, DENSE), fitted(LINEAR, second, DENSE, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warm = bf.fit(LINEAR, second, DENSE, seed=1, start=earlier.start, progress=False)
    assert warm.provenance["start"] == earlier.start.told
    same, other = (made.tree["posterior"]["slope_mean"].values for made in (cold, warm))
    gap = np.abs(same.mean(axis=(0, 1)) - other.mean(axis=(0, 1))) / same.std(axis=(0, 1))
    assert 0 < gap.max() < 2.0  # another beginning, the same posterior


def test_a_fit_tells_its_mass_matrix_and_files_of_before_it_was_a_setting_had_a_diagonal(tmp_path, monkeypatch):
    made = fitted(SORTED, priced(), SHORT)
    assert made.inference.mass_matrix == "auto"
    assert made.provenance["mass_matrix"] == "dense"
    assert bf.load(made.save(tmp_path / "new.nc")).inference == made.inference
    assert fitted(LINEAR, panel(), SHORT).provenance["mass_matrix"] == "diagonal"
    settings = storage._settings(made.inference)
    del settings["mass_matrix"]
    of_model = storage._settings(made.model)
    monkeypatch.setattr(storage, "_settings", lambda one: settings if one is made.inference else of_model)
    made.save(tmp_path / "old.nc")
    assert bf.load(tmp_path / "old.nc").inference == dataclasses.replace(made.inference, mass_matrix="diagonal")
