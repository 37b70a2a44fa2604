"""Fits from a store: the same densities and gradients as in memory, the same bits when resumed, little memory."""

from __future__ import annotations

import functools
import itertools
import tracemalloc
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fits import LINEAR, fitted, log_likelihood, panel, prior_draw, train, with_data

import bayesfactor as bf
from bayesfactor.errors import AlignmentError, ConvergenceWarning, DataError
from bayesfactor.inference import checkpoint, collapse, guides, space
from bayesfactor.inference.prepare import prepared
from bayesfactor.inference.probes import probe_rows
from bayesfactor.inference.streaming import StoredMonths, window_of
from bayesfactor.inference.variational import WEIGHED, negative_elbo, plan_for
from benchmarks.kill import digest

NETWORK = bf.FundamentalFactorModel(hidden=(3,), noise="normal")
HEAVY = bf.FundamentalFactorModel(hidden=(3,), noise="student_t")
NOISES = ("normal", "student_t", "laplace", "huber")
STREAMED = bf.SVI(batch=5, steps=100, restarts=2, draws=30)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """24 months of which the last has no returns, in float64."""
    return panel().to_zarr(tmp_path_factory.mktemp("store") / "panel")


@functools.cache
def six_months():
    return train().sel(time=slice(None, train().times[5]))


@pytest.fixture(scope="module")
def six(tmp_path_factory):
    return six_months().to_zarr(tmp_path_factory.mktemp("six") / "panel")


@pytest.fixture(scope="module")
def streamed(store):
    return fitted(NETWORK, store, STREAMED, seed=4)


# What a step learns from


@pytest.mark.parametrize("model", [NETWORK, HEAVY], ids=["normal", "student_t"])
def test_a_batch_is_the_panel_at_its_positions(store, model):
    months = StoredMonths(model, store)
    whole = model.data(window_of(panel(), 2).panel.arrays())
    read = list(months.stream(5, 7, double=True).batches(0, 6))
    assert len({tuple(batch.position) for batch in read}) == 6
    for step, batch in enumerate(read):
        np.testing.assert_array_equal(batch.position, store.positions_at(7, step, 5))
        expected = whole.batch(batch.position)
        for ours, theirs in zip(jax.tree.leaves(batch), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_a_step_depends_on_nothing_before_it(store):
    stream = StoredMonths(NETWORK, store).stream(5, 7, double=False)
    (fourth,) = stream.batches(3, 4)
    for ours, theirs in zip(fourth, list(stream.batches(0, 6))[3], strict=True):
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_months_without_returns_are_left_out_wherever_they_are(tmp_path):
    returns = panel().data["returns"].values.copy()
    returns[[0, 7]] = np.nan
    source = with_data(panel(), returns=returns)
    months = StoredMonths(NETWORK, source.to_zarr(tmp_path / "panel"))
    whole = NETWORK.data(window_of(source, 2).panel.arrays())
    for batch in months.stream(4, 0, double=True).batches(0, 5):
        expected = whole.batch(batch.position)
        np.testing.assert_array_equal(batch.months.returns, expected.months.returns)
        np.testing.assert_allclose(batch.noise_centring, expected.noise_centring, rtol=1e-12)


@pytest.mark.parametrize("pooling", ["partial", "full"])
@pytest.mark.parametrize("noise", NOISES)
def test_a_sweep_is_the_whole_window(store, noise, pooling):
    """23 months in batches of 5: the last is filled up with empty months, which count for nothing."""
    model = bf.FundamentalFactorModel(hidden=(3,), noise=noise, pooling=pooling)
    with jax.enable_x64(True):
        whole = model.data(window_of(panel(), 2).panel.arrays())
        params = prior_draw(model, whole, 2)
        batches = list(StoredMonths(model, store).stream(5, 0, double=True).sweep())
        assert [batch.months.returns.shape for batch in batches] == [batches[0].months.returns.shape] * 5
        swept = sum(log_likelihood(model, params, batch) for batch in batches)
        np.testing.assert_allclose(swept, log_likelihood(model, params, whole), rtol=1e-12)


@pytest.mark.parametrize("pooling", ["partial", "full"])
@pytest.mark.parametrize("noise", NOISES)
def test_an_empty_month_has_no_likelihood(six, noise, pooling):
    model = bf.FundamentalFactorModel(hidden=(3,), noise=noise, pooling=pooling)
    with jax.enable_x64(True):
        data = next(iter(StoredMonths(model, six).stream(4, 0, double=True).batches(0, 1)))
        params = prior_draw(model, data, 2)
        empty = data._replace(months=data.months._replace(observed=np.zeros_like(data.months.observed)))
        values = [log_likelihood(model, params, empty)]
        if noise != "normal":
            values.append(float(jax.jit(model._log_likelihood_by_laplace)(params, empty)))
        # The determinants of normal noise cancel up to rounding.
        np.testing.assert_allclose(values, 0.0, atol=1e-12 if (noise, pooling) == ("normal", "partial") else 0.0)


@pytest.mark.parametrize("defect", [None, "weight"])
@pytest.mark.parametrize("model", [NETWORK, HEAVY], ids=["normal", "student_t"])
def test_gradients_of_minibatches_are_unbiased(six, model, defect):
    """The mean over all 15 pairs of six months is the gradient of the whole window."""
    months = StoredMonths(model, six)
    with jax.enable_x64(True):
        whole = jax.tree.map(jnp.asarray, model.data(six_months().arrays()))
        program = model.collapsed if plan_for(model, STREAMED, whole, streamed=True).collapsed else model
        point, _ = space.start_point(program, jax.random.key(3), whole, 0.1)
        guide = guides.initial("low_rank", space.flatten(point), 0.1, 2)
        normals = jax.random.normal(jax.random.key(5), (2, guides.n_normals(guide)))
        gradient = jax.jit(jax.grad(functools.partial(negative_elbo, program)))

        def of_pair(pair):
            positions = np.array(pair)
            batch = months.training(positions, six.months(positions), 1.0 if defect else 3.0)
            return gradient(guide, normals, jax.tree.map(jnp.asarray, batch))

        pairs = [of_pair(pair) for pair in itertools.combinations(range(6), 2)]
        average = jax.tree.map(lambda *leaves: np.mean(leaves, axis=0), *pairs)
        expected = gradient(guide, normals, whole)
        size = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(expected))
        gaps = jax.tree.map(lambda ours, theirs: float(np.abs(ours - theirs).max()), average, expected)
        gap = max(gaps.values()) / size
        if defect:
            assert gap > 1e-3
        else:
            assert gap < 1e-12
            sliced = gradient(guide, normals, whole.batch(jnp.array([0, 1])))
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12 * size), pairs[0], sliced)


# The fit


def test_a_streamed_fit_is_labelled_as_one_in_memory(store, streamed):
    other = fitted(NETWORK, panel(), STREAMED, seed=4)
    assert streamed.tree["posterior"].sizes == other.tree["posterior"].sizes
    for group in ("posterior", "functions", "constant_data"):
        for name, coordinate in other.tree[group].coords.items():
            np.testing.assert_array_equal(streamed.tree[group][name], coordinate)
    probes = (fit.tree["constant_data"]["probe_characteristics"] for fit in (streamed, other))
    np.testing.assert_array_equal(*probes)
    same = ("n_observed", "frequency", "periods_per_year", "preparation", "precision")
    assert {name: streamed.provenance[name] for name in same} == {name: other.provenance[name] for name in same}
    assert streamed.panel_fingerprint == store.fingerprint
    weights = streamed.tree["guide"]["log_weight"]
    assert weights.shape == (2, WEIGHED)
    assert np.isfinite(weights).all()


def test_the_collapse_check_sees_every_month(store):
    ours, theirs = (collapse._swept_once(window_of(source, 2)) for source in (store, panel()))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15), ours, theirs)


def test_the_same_key_draws_the_same_again(store, streamed):
    again = bf.redraw(streamed, store, seed=4)
    for group, name in (("guide", "log_weight"), ("posterior", "slope_mean"), ("posterior", "noise_scale")):
        np.testing.assert_array_equal(again.tree[group][name], streamed.tree[group][name])


def test_fresh_draws_need_the_store(store, six, streamed):
    fresh = bf.redraw(streamed, store, draws=40, seed=9)
    assert fresh.shape == (2, 40)
    with pytest.raises(AlignmentError, match="content differs"):
        bf.redraw(streamed, six)


def test_quantities_take_a_window_of_the_store(store, streamed):
    window = store.load(time=slice("2000-03", "2000-08"))
    found = bf.sensitivities(streamed, window)
    np.testing.assert_array_equal(found["mean"], bf.sensitivities(streamed, panel().sel(time=window.times))["mean"])


def test_a_linear_model_needs_no_stream(store):
    """Sums over stocks of all months are the same as in memory, for every inference."""
    months = StoredMonths(LINEAR, store)
    whole = LINEAR.data(window_of(panel(), 2).panel.arrays())
    for ours, theirs in zip(jax.tree.leaves(months.reduced()), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    pooled = bf.FundamentalFactorModel(hidden=(), noise="normal", pooling="full")
    ours, theirs = (bf.fit(pooled, source, bf.Exact(draws=20)) for source in (store, panel()))
    np.testing.assert_allclose(ours.tree["posterior"]["slope_mean"], theirs.tree["posterior"]["slope_mean"], rtol=1e-9)


def test_blocks_of_a_few_months_join(store, monkeypatch):
    monkeypatch.setattr("bayesfactor.inference.streaming.BLOCK_BYTES", 5 * store.n_slots * 3 * 8)
    assert [len(arrays.returns) for arrays in window_of(store, 2).blocks()] == [5, 5, 5, 5, 3]
    test_a_linear_model_needs_no_stream(store)
    test_the_collapse_check_sees_every_month(store)


def test_a_resumed_run_has_the_same_bits(store, streamed, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(checkpoint, "CHECKPOINT_COSTS", 0.0)

    class Killed(Exception):
        pass

    offer = checkpoint.Checkpoint.offer

    def killing(self, done, *rest):
        offer(self, done, *rest)
        if done == 40:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint.Checkpoint, "offer", killing)
        with pytest.raises(Killed):
            bf.fit(NETWORK, store, STREAMED, seed=4, checkpoint=tmp_path / "run")
    asked, positions_at = [], bf.PanelStore.positions_at

    def noting(self, seed, step, size):
        asked.append(step)
        return positions_at(self, seed, step, size)

    monkeypatch.setattr(bf.PanelStore, "positions_at", noting)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        resumed = bf.fit(NETWORK, store, STREAMED, seed=4, checkpoint=tmp_path / "run")
    assert set(asked) == {0, *range(40, 100)}
    assert digest(resumed) == digest(streamed)


# What is refused


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (bf.NUTS(20, 20, 2), r"NUTS needs every stock of the window in memory.*store\.load.*SVI\(batch"),
        (bf.Exact(), r"Exact needs every stock of the window in memory"),
        (bf.SVI(), r"give batch, such as SVI\(batch=8\)"),
        (bf.SVI(batch=24), "between 1 and 23 months"),
    ],
)
def test_what_does_not_stream_is_refused(store, settings, message):
    with pytest.raises(DataError, match=message):
        bf.fit(NETWORK, store, settings)


def test_a_model_must_tell_how_it_takes_batches(store, monkeypatch):
    monkeypatch.setattr(bf.FundamentalFactorModel, "data", lambda self, arrays: arrays)
    with pytest.raises(DataError, match=r"must return TrainingData: it returns PanelArrays"):
        bf.fit(NETWORK, store, STREAMED)


def test_a_store_is_checked_as_a_panel_is(tmp_path):
    changed = panel().data["characteristics"].values.copy()
    changed[..., 2] = 0.5
    same = with_data(panel(), characteristics=changed)
    with pytest.raises(DataError, match=r"x3.* is the same in all 23 periods of the training window"):
        bf.fit(NETWORK, same.to_zarr(tmp_path / "constant"), STREAMED)
    returns = np.where(np.isnan(panel().data["returns"].values), np.nan, 0.01)
    with pytest.raises(DataError, match="returns must differ"):
        bf.fit(NETWORK, with_data(panel(), returns=returns).to_zarr(tmp_path / "flat"), STREAMED)
    one = panel().sel(time=panel().times[-2:])
    with pytest.raises(DataError, match="at least 2 periods with observed returns, this panel has 1 of 2"):
        bf.fit(NETWORK, one.to_zarr(tmp_path / "short"), STREAMED)
    wide = bf.FundamentalFactorModel(hidden=(40,), noise="normal")
    with pytest.raises(DataError, match=r"as the model has slopes \(41\)"):
        bf.fit(wide, panel().to_zarr(tmp_path / "small"), STREAMED)


# Memory


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """100 months of 1,500 stocks, 12 MiB of arrays."""
    made = bf.simulate.economy(n_months=100, n_assets=1500, n_characteristics=20, seed=1).panel
    return made.to_zarr(tmp_path_factory.mktemp("large") / "panel", dtype="float32")


def peak(function):
    """Peak of what NumPy and Python allocate meanwhile, bytes; not what only a first call does (imports, labels)."""
    function()
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("part", ["preparing", "batches", "sweep", "collapse", "probes"])
def test_no_part_of_a_fit_holds_the_panel(large, monkeypatch, part):
    monkeypatch.setattr("bayesfactor.inference.streaming.BLOCK_BYTES", 2 * 1500 * 20 * 4)
    settings = bf.SVI(batch=3, steps=100)
    stream = StoredMonths(NETWORK, large).stream(3, 0, double=False)

    def consumed(batches):
        for _ in batches:
            pass

    used = peak(
        {
            "preparing": lambda: prepared(NETWORK, large, settings, 0),
            "batches": lambda: consumed(stream.batches(0, 40)),
            "sweep": lambda: consumed(stream.sweep()),
            "collapse": lambda: collapse._swept_once(window_of(large, 2)),
            "probes": lambda: probe_rows(window_of(large, 2)),
        }[part]
    )
    assert used < 0.3 * 100 * 1500 * 21 * 4


def test_a_loaded_panel_would_be_seen(large):
    assert peak(lambda: large.months(large.with_returns)) > 100 * 1500 * 21 * 4
