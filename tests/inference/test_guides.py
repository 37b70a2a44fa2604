"""Gaussian guides: draws, density and entropy are of one and the same distribution."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from bayesfactor.inference import guides

SIZE, RANK = 5, 2


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


def guide_of(kind, seed=0):
    """A guide with no zeros, and its mean and covariance by hand."""
    rng = np.random.default_rng(seed)
    loc, log_scale = rng.standard_normal(SIZE), rng.normal(-1, 0.5, SIZE)
    guide = {"loc": loc, "log_scale": log_scale}
    inner = np.eye(SIZE)
    if kind == "full":
        guide["lower"] = rng.standard_normal((SIZE, SIZE))  # its diagonal and upper triangle are not used
        root = np.eye(SIZE) + np.tril(guide["lower"], -1)
        inner = root @ root.T
    if kind == "low_rank":
        guide["factor"] = rng.standard_normal((SIZE, RANK))
        inner = np.eye(SIZE) + guide["factor"] @ guide["factor"].T
    scale = np.exp(log_scale)
    return {name: jnp.asarray(value) for name, value in guide.items()}, loc, scale[:, None] * inner * scale


def draws_of(guide, n_draws):
    normals = jax.random.normal(jax.random.key(1), (n_draws, guides.n_normals(guide)))
    return np.asarray(jax.vmap(lambda one: guides.at(guide, one))(normals))


@pytest.mark.parametrize("kind", guides.GUIDES)
def test_density_and_entropy_are_the_dense_normal_s(kind):
    guide, mean, covariance = guide_of(kind)
    points = np.random.default_rng(1).standard_normal((20, SIZE))
    want = stats.multivariate_normal.logpdf(points, mean, covariance)
    np.testing.assert_allclose(guides.log_density(guide, points), want, rtol=1e-11)
    assert float(guides.entropy(guide)) == pytest.approx(stats.multivariate_normal.entropy(mean, covariance), rel=1e-12)


@pytest.mark.parametrize("kind", guides.GUIDES)
def test_a_draw_is_linear_in_its_normals_with_the_guide_s_covariance(kind):
    guide, mean, covariance = guide_of(kind)
    size = guides.n_normals(guide)
    np.testing.assert_array_equal(guides.at(guide, jnp.zeros(size)), mean)
    map_of = np.asarray(jax.jacobian(lambda normals: guides.at(guide, normals))(jnp.ones(size)))
    np.testing.assert_allclose(map_of @ map_of.T, covariance, rtol=1e-12)
    np.testing.assert_allclose(guides.at(guide, jnp.ones(size)), mean + map_of.sum(axis=1), rtol=1e-12)


def entropy_of_draws(guide, n_draws=20_000):
    """Entropy and its standard error from the guide's own draws."""
    values = -guides.log_density(guide, draws_of(guide, n_draws))
    return values.mean(), values.std() / np.sqrt(n_draws)


@pytest.mark.parametrize("kind", guides.GUIDES)
def test_draws_density_and_entropy_agree(kind):
    guide, _, _ = guide_of(kind)
    mean, error = entropy_of_draws(guide)
    assert abs(mean - float(guides.entropy(guide))) < 5 * error


def test_an_entropy_without_the_factor_would_be_noticed():
    guide, _, _ = guide_of("low_rank")
    mean, error = entropy_of_draws(guide)
    without = {name: value for name, value in guide.items() if name != "factor"}
    assert abs(mean - float(guides.entropy(without))) > 50 * error


@pytest.mark.parametrize("kind", guides.GUIDES)
def test_the_first_guide_is_around_the_start(kind):
    loc = jnp.linspace(-1.0, 1.0, SIZE)
    guide = guides.initial(kind, loc, 0.1, RANK)
    assert set(guide) == {"loc", "log_scale"} | {"full": {"lower"}, "low_rank": {"factor"}}.get(kind, set())
    np.testing.assert_array_equal(guides.at(guide, jnp.zeros(guides.n_normals(guide))), loc)
    factor = np.asarray(guide.get("factor", np.zeros((SIZE, 0))))
    map_of = np.asarray(jax.jacobian(lambda normals: guides.at(guide, normals))(jnp.zeros(guides.n_normals(guide))))
    np.testing.assert_allclose(map_of @ map_of.T, 0.01 * (np.eye(SIZE) + factor @ factor.T), rtol=1e-12)
    assert np.linalg.matrix_rank(factor) == factor.shape[1], "columns that are alike stay alike"
    assert (np.abs(factor) <= 0.1 / np.sqrt(RANK)).all()


def test_many_columns_of_the_first_factor_differ():
    factor = np.asarray(guides.initial("low_rank", jnp.zeros(300), 0.1, 20)["factor"])
    assert np.linalg.cond(factor) < 3


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("kind", guides.GUIDES)
def test_precision_is_that_of_the_start(kind, dtype):
    guide = guides.initial(kind, jnp.zeros(SIZE, dtype), 0.1, RANK)
    assert {leaf.dtype for leaf in guide.values()} == {jnp.dtype(dtype)}
    assert guides.at(guide, jnp.zeros(guides.n_normals(guide), dtype)).dtype == dtype
    assert guides.entropy(guide).dtype == dtype
