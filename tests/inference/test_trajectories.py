"""Short trajectories of many walkers: right moments, right acceptance, the same bits for the same key."""

from __future__ import annotations

from functools import partial

import arviz_stats
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayesfactor.inference import trajectories as module
from bayesfactor.inference.trajectories import TARGET, steps_of, trajectories

WALKERS = 16


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


def normal(x):
    return -0.5 * jnp.sum(x**2)


def banana(x):
    """``x1 ~ N(0, 1)``, ``x2 | x1 ~ N(0.8 x1 + 0.25 (x1^2 - 1), 0.6^2)``."""
    return -0.5 * (x[0] ** 2 + ((x[1] - 0.8 * x[0] - 0.25 * (x[0] ** 2 - 1)) / 0.6) ** 2)


def run(target, size, n_kept=400, n_adapted=50, seed=0, start=None):
    start = jax.random.normal(jax.random.key(100 + seed), (WALKERS, size)) if start is None else start
    program = jax.jit(partial(trajectories, target, n_adapted=n_adapted, n_kept=n_kept))
    points, accepted = program(start=start, rng_key=jax.random.key(seed))
    assert points.shape == (n_kept, *start.shape)
    return np.asarray(points), float(accepted)


def check_mean(values, want):
    """Mean of values (kept, walker) within 5 standard errors, at an effective sample size that makes it a test."""
    values = values.T
    ess = float(arviz_stats.ess(values, method="mean"))
    assert ess > 400
    assert abs(values.mean() - want) < 5 * values.std() / np.sqrt(ess)


@pytest.mark.parametrize("size", [1, 20])
def test_a_standard_normal(size):
    points, _ = run(normal, size)
    check_mean(points[..., 0], 0.0)
    check_mean(points[..., 0] ** 2, 1.0)
    check_mean(points[..., 0] ** 4, 3.0)
    check_mean(np.sum(points**2, axis=-1), size)
    if size > 1:
        check_mean(points[..., 0] * points[..., 1], 0.0)


def test_a_correlated_target_that_is_not_normal():
    """Moments by hand: E x2 = 0, E x1 x2 = .8, Var x2 = .64 + .0625 * 2 + .36, E x1^2 x2 = .5."""
    points, _ = run(banana, 2, n_kept=2000)
    first, second = points[..., 0], points[..., 1]
    for values, want in (
        (first, 0.0),
        (first**2, 1.0),
        (second, 0.0),
        (second**2, 1.125),
        (first * second, 0.8),
        (first**2 * second, 0.5),
    ):
        check_mean(values, want)


@pytest.mark.parametrize(("target", "size", "n_adapted"), [(normal, 300, 16), (normal, 300, 100), (banana, 2, 100)])
def test_the_step_adapts_to_the_acceptance(target, size, n_adapted):
    """Over many runs; 16 is what `SVI` uses, and stays below the largest step to be on the safe side."""

    def accepted(key):
        return trajectories(target, jax.random.normal(key, (8, size)), key, n_adapted, 64)[1]

    found = np.asarray(jax.jit(jax.vmap(accepted))(jax.random.split(jax.random.key(0), 16)))
    assert ((found > 0.6) & (found < 0.95)).all()
    if n_adapted == 100:
        assert abs(found.mean() - TARGET) < 5 * found.std() / np.sqrt(len(found))


def test_an_unlucky_first_step_is_adapted_away():
    _, accepted = run(lambda x: normal(30 * x), 3, n_kept=200, n_adapted=100, start=jnp.zeros((WALKERS, 3)))
    assert 0.6 < accepted < 0.95


def test_a_key_fixes_every_bit_and_another_key_another_run():
    first, again, other = run(banana, 2, 20)[0], run(banana, 2, 20)[0], run(banana, 2, 20, seed=1)[0]
    assert first.tobytes() == again.tobytes()
    assert not np.isclose(first, other).any()


def test_a_region_without_a_density_is_never_entered():
    """NaN beyond a wall: the half normal on this side is kept; walkers at the wall turn back."""

    def walled(x):
        return jnp.where(x[0] < 0, jnp.nan, normal(x))

    start = jnp.abs(jax.random.normal(jax.random.key(2), (WALKERS, 2)))
    points, accepted = run(walled, 2, n_kept=1500, start=start)
    assert (points[..., 0] >= 0).all()
    assert np.isfinite(points).all()
    assert 0.5 < accepted < 1
    check_mean(points[..., 0], np.sqrt(2 / np.pi))
    check_mean(points[..., 0] ** 2, 1.0)


def test_a_walker_without_a_density_does_not_spoil_the_others():
    start = jnp.ones((WALKERS, 2)).at[3].set(jnp.nan)
    points, _ = run(normal, 2, n_kept=100, start=start)
    assert np.isnan(points[:, 3]).all()
    assert np.isfinite(np.delete(points, 3, axis=1)).all()


def test_every_trajectory_is_jittered_and_long_enough():
    assert [steps_of(size) for size in (1, 39, 40, 10_000)] == [4, 4, 5, 16]


def test_accepting_everything_would_be_noticed(monkeypatch):
    """Without its acceptance the sampler has other moments."""

    class Careless:
        def __getattr__(self, name):
            return getattr(jnp, name)

        def minimum(self, *_):
            return jnp.zeros(())

    monkeypatch.setattr(module, "jnp", Careless())
    with pytest.raises(AssertionError):
        test_a_correlated_target_that_is_not_normal()
