"""Warm starts: another beginning, the same posterior, and always a record of which it was."""

from __future__ import annotations

import dataclasses
import functools
import warnings

import jax
import numpy as np
import pytest
import xarray as xr
from arviz_stats.base import array_stats
from fits import LINEAR, NETWORK, SETTINGS, fitted, panel, train

import bayesfactor as bf
from bayesfactor.errors import AlignmentError, ConvergenceWarning, DataError, LookAheadError
from bayesfactor.inference import Start, fit_many
from bayesfactor.inference import checkpoint as checkpoint_module
from bayesfactor.inference.checkpoint import Checkpoint
from bayesfactor.inference.sampling import programs_for
from bayesfactor.inference.start import sites_of
from bayesfactor.panel import simulate

SHORT = bf.NUTS(warmup=20, draws=20, chains=2, precision="float64")
SVI = bf.SVI(restarts=2, draws=60, precision="float64")
RIDGE = bf.FundamentalFactorModel(hidden=(), pooling="full", noise="normal")


@functools.cache
def window(first):
    """18 months, from the month of that number on."""
    return panel().sel(time=panel().times[first : first + 18])


@functools.cache
def earlier(inference=SHORT, model=LINEAR):
    return fitted(model, window(0), inference)


def fit(start, inference=SHORT, model=LINEAR, source=None, **given):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return bf.fit(model, source or window(5), inference, start=start, seed=1, **given)


@functools.cache
def warm(inference=SHORT):
    return fit(earlier(inference), inference)


@functools.cache
def cold(inference=SHORT):
    return fit(None, inference)


def same_bits(one, other):
    for path, node in one.tree.subtree_with_keys:
        for name, variable in node.to_dataset().variables.items():
            np.testing.assert_array_equal(other.tree[path][name].values, variable.values, err_msg=f"{path} {name}")


# ------------------------------------------------------------------------------------------------ where a run ended


@pytest.mark.parametrize("inference", [SHORT, SVI], ids=["NUTS", "SVI"])
def test_a_start_survives_files_bit_for_bit(inference, tmp_path):
    start = earlier(inference).start
    start.to_dataset().to_netcdf(tmp_path / "start.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "start.nc", engine="h5netcdf") as opened:
        alone = Start.from_dataset(opened.load())
    for found in (alone, bf.load(earlier(inference).save(tmp_path / "fit.nc")).start):
        assert found.digest == start.digest
        assert found.told == start.told
        assert found.characteristics == start.characteristics
        assert list(found.times) == list(start.times)
        assert found.time_axis == start.time_axis
        for kind in ("location", "log_scale"):
            for name, value in getattr(start, kind).items():
                assert getattr(found, kind)[name].tobytes() == value.tobytes()
    same_bits(fit(alone, inference), warm(inference))


def test_chains_end_at_their_last_draw():
    """The kept sites' values are functions of the end: here the noise level is ``scale exp(relative)``."""
    start, posterior = earlier().start, earlier().tree["posterior"]
    scale = float(window(0).arrays().return_scale)
    np.testing.assert_allclose(
        scale * np.exp(start.location["noise_relative"]), posterior["noise_level"].values[:, -1], rtol=1e-12
    )
    assert start.time_axis == {"log_noise_base": 0}
    assert start.location["log_noise_base"].shape == (2, 18)
    for name, value in start.log_scale.items():
        assert value.shape == start.location[name].shape
        assert np.isfinite(value).all()


def test_the_spread_is_that_of_a_chains_draws():
    start, posterior = earlier(SETTINGS).start, earlier(SETTINGS).tree["posterior"]
    relative = np.log(posterior["noise_level"].values)
    np.testing.assert_allclose(np.exp(start.log_scale["noise_relative"]), relative.std(axis=1), rtol=0.02)


def test_guides_end_at_their_centre():
    fit = earlier(SVI)
    guide = fit.tree["guide"]
    for kind, name in (("location", "loc"), ("log_scale", "log_scale")):
        numbers = np.concatenate([value.reshape(2, -1) for value in getattr(fit.start, kind).values()], axis=1)
        np.testing.assert_array_equal(np.sort(numbers, axis=1), np.sort(guide[name].values, axis=1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        assert bf.redraw(fit, window(0), draws=30, seed=5).start.digest == fit.start.digest


def test_what_has_no_chains_has_no_start(tmp_path):
    exact = fitted(RIDGE, train(), bf.Exact(draws=10))
    assert exact.start is None
    with pytest.raises(DataError, match="this fit by Exact has none: closed forms, pooling='none'"):
        fit(exact)
    old = dataclasses.replace(earlier(), tree=earlier().tree.drop_nodes("start"))
    loaded = bf.load(old.save(tmp_path / "old.nc"))
    assert loaded.start is None
    with pytest.raises(DataError, match="files of earlier versions do not"):
        fit(loaded)


def test_months_are_told_from_what_has_as_many_numbers_by_chance():
    """Three months and three characteristics, so that slopes and their scales have four numbers, as four months."""
    source = simulate.economy(n_months=4, n_assets=20, n_characteristics=3, seed=1).panel
    arrays = source.arrays()
    with jax.enable_x64(True):
        alone = LINEAR.data(source.sel(time=source.times[:1]).arrays())
        sites = sites_of(LINEAR, LINEAR.data(arrays), alone, 4)
    assert sites.shapes["slope_scale_relative"] == sites.shapes["log_noise_base"] == (4,)
    assert sites.time_axis == {"log_noise_base": 0}
    assert sites.carried == set(sites.shapes)
    heavy = bf.FundamentalFactorModel(hidden=(), noise="student_t")
    sites = sites_of(heavy, heavy.data(arrays), heavy.data(source.sel(time=source.times[:1]).arrays()), 4)
    assert sites.time_axis == {"log_noise_base": 0, "shock": 0}


# --------------------------------------------------------------------------------------------- where a run begins


def placed(start, source, chains=2):
    with jax.enable_x64(True):
        data = LINEAR.data(source.arrays())
        alone = LINEAR.data(source.sel(time=source.times[:1]).arrays())
        sites = sites_of(LINEAR, data, alone, len(source.times))
    return data, start.place(sites, source.times, source.characteristics, chains)


def test_each_chain_begins_at_its_own_end_and_months_where_they_were():
    start = earlier().start
    _, place = placed(start, window(5))
    for name, value in start.location.items():
        if name != "log_noise_base":
            np.testing.assert_array_equal(place.location[name], value)
            np.testing.assert_array_equal(place.log_scale[name], start.log_scale[name])
    base, wide = place.location["log_noise_base"], place.log_scale["log_noise_base"]
    np.testing.assert_array_equal(base[:, :13], start.location["log_noise_base"][:, 5:])
    assert np.isnan(base[:, 13:]).all()
    np.testing.assert_array_equal(wide[:, :13], start.log_scale["log_noise_base"][:, 5:])
    mean = start.log_scale["log_noise_base"].mean(axis=1)
    np.testing.assert_array_equal(wide[:, 13:], np.broadcast_to(mean[:, None], (2, 5)))
    assert not np.array_equal(*start.location["slope_mean_decentered"])
    longer = panel().sel(time=panel().times[:23])  # windows need not be of one length
    assert placed(start, longer)[1].location["log_noise_base"].shape == (2, 23)


def test_the_program_begins_at_the_place_given():
    data, place = placed(earlier().start, window(5))
    with jax.enable_x64(True):
        programs, keys = programs_for(LINEAR, SHORT), jax.random.split(jax.random.key(0), 2)
        usual, _ = programs.start(keys, data)
        state, usable = programs.start(keys, data, place)
        assert usable.all()
        order = sorted(place.location)
        for name in order:
            known = ~np.isnan(place.location[name])
            np.testing.assert_array_equal(np.asarray(state.kernel.z[name])[known], place.location[name][known])
            np.testing.assert_array_equal(
                np.asarray(state.kernel.z[name])[~known], np.asarray(usual.kernel.z[name])[~known]
            )
        wide = np.concatenate([place.log_scale[name].reshape(2, -1) for name in order], axis=1)
        np.testing.assert_allclose(state.kernel.adapt_state.inverse_mass_matrix, np.exp(2 * wide), rtol=1e-12)
        assert (np.asarray(usual.kernel.adapt_state.inverse_mass_matrix) == 1).all()


def test_another_start_compiles_nothing():
    warm()
    programs = programs_for(LINEAR, SHORT)
    sizes = [program._cache_size() for program in programs]
    fit(warm(), source=panel().sel(time=panel().times[5:23]))
    assert [program._cache_size() for program in programs] == sizes


def test_a_guide_begins_where_the_earlier_one_was():
    before, after = (made.tree["guide"]["elbo"].values for made in (cold(SVI), warm(SVI)))
    assert (after[:, 0] > before[:, 0] + 10).all()
    np.testing.assert_allclose(after[:, -4:].mean(axis=1), before[:, -4:].mean(axis=1), atol=1.0)


# -------------------------------------------------------------------------------------------------- what it makes


@pytest.mark.parametrize("inference", [SETTINGS, SVI], ids=["NUTS", "SVI"])
def test_the_posterior_is_that_of_a_cold_start(inference):
    for name in ("slope_mean", "noise_level", "slope_scale"):
        pair = [np.asarray(made(inference).tree["posterior"][name].values, float) for made in (cold, warm)]
        pair = [draws.reshape(*draws.shape[:2], -1) for draws in pair]
        error = np.hypot(*(array_stats.mcse(draws, chain_axis=0, draw_axis=1, method="mean") for draws in pair))
        gap = pair[0].mean(axis=(0, 1)) - pair[1].mean(axis=(0, 1))
        assert (np.abs(gap) < 5 * error).all(), (name, gap / error)


def test_a_warm_start_is_reproducible_and_recorded():
    same_bits(fit(earlier().start), warm())
    assert (warm().tree["posterior"]["slope_mean"].values != cold().tree["posterior"]["slope_mean"].values).any()
    assert cold().provenance["start"] == "cold"
    assert warm().provenance["start"] == f"warm from {window(0).fingerprint[:12]}, trained to 2001-07-31"


def test_one_program_of_several_windows_begins_each_at_its_own_start():
    panels, starts = [window(0), window(5)], [None, earlier()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = fit_many(LINEAR, panels, SHORT, seeds=[0, 1], start=starts)
        both = fit_many(LINEAR, panels, SHORT, seeds=[0, 1], start=earlier())
    assert [one.provenance["start"][:4] for one in found] == ["cold", "warm"]
    assert [one.provenance["start"][:4] for one in both] == ["warm", "warm"]
    for one, alone in zip(found, (earlier(), warm()), strict=True):
        for name, variable in alone.tree["posterior"].data_vars.items():
            np.testing.assert_allclose(one.tree["posterior"][name].values, variable.values, 1e-4, 1e-6)
    with pytest.raises(LookAheadError, match=r"panel 0 \(2000-02-29 to 2001-07-31\): a start must not have seen"):
        fit_many(LINEAR, panels, SHORT, seeds=[0, 1], start=warm())


class Stop(Exception):
    pass


@pytest.mark.parametrize("inference", [SHORT, SVI], ids=["NUTS", "SVI"])
def test_a_checkpoint_is_of_one_start(inference, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint_module, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(checkpoint_module, "CHECKPOINT_COSTS", 0.0)
    path, offer, offered = tmp_path / "run", Checkpoint.offer, []

    def stopping(self, *given):
        offer(self, *given)
        offered.append(given)
        if len(offered) == 1:
            raise Stop

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoint, "offer", stopping)
        with pytest.raises(Stop):
            fit(earlier(inference), inference, checkpoint=path)
    with pytest.raises(DataError, match=r'start is "warm from [0-9a-f]{12}, .* in the file, "cold" was asked'):
        fit(None, inference, checkpoint=path)
    start = earlier(inference).start
    moved = {**start.location, "noise_relative": start.location["noise_relative"] + 1e-9}
    with pytest.raises(DataError, match=r"start is .*sha256 [0-9a-f]{64}.* in the file, .* was asked"):
        fit(dataclasses.replace(start, location=moved), inference, checkpoint=path)
    same_bits(fit(start, inference, checkpoint=path), warm(inference))


def test_a_streamed_guide_can_begin_warm(tmp_path):
    settings = bf.SVI(batch=4, steps=100, restarts=2, draws=20)
    model = bf.FundamentalFactorModel(hidden=(2,), noise="normal")
    before = fitted(model, window(0), settings)
    store = window(5).to_zarr(tmp_path / "store")
    made = fit(before, settings, model, store)
    assert made.provenance["start"].startswith("warm from")
    assert (made.tree["guide"]["elbo"][:, 0] > fit(None, settings, model, store).tree["guide"]["elbo"][:, 0] + 10).all()


# -------------------------------------------------------------------------------------------------------- refusals


def without(start, name):
    return dataclasses.replace(start, location={key: v for key, v in start.location.items() if key != name})


REFUSED = {
    "no start": (lambda: "warm", {}, DataError, "start must be the Fit of an earlier window.*found 'warm'"),
    "later": (warm, {"source": window(0)}, LookAheadError, "trained to 2001-12-31, this window ends 2001-07-31"),
    "other sites": (
        lambda: earlier(SVI), {}, DataError, r"sites of the model's program: they differ in slope_mean_decentered \(1",
    ),
    "a site less": (lambda: without(earlier().start, "noise_relative"), {}, DataError, "differ in noise_relative"),
    "other shapes": (
        lambda: earlier(SVI, NETWORK),
        {"inference": SVI, "model": bf.FundamentalFactorModel(hidden=(4,), noise="normal")},
        DataError,
        r"network.*is \(3.* there and \(4.* here",
    ),
    "more chains": (
        earlier, {"inference": dataclasses.replace(SHORT, chains=3)}, DataError, "the start has 2, 3 were asked",
    ),
    "other characteristics": (
        earlier, {"source": window(5).sel(characteristic=["x2", "x1", "x3"])}, AlignmentError, "differs in their order",
    ),
    "fewer characteristics": (
        earlier, {"source": window(5).sel(characteristic=["x1", "x2"])}, AlignmentError, r"differs in x3 \(1 in all\)",
    ),
    "a closed form": (
        earlier, {"inference": bf.Exact(draws=10), "model": RIDGE}, DataError, r"Exact\(\) is a closed form: leave it",
    ),
    "month by month": (
        earlier, {"model": dataclasses.replace(LINEAR, pooling="none")}, DataError, "fits month by month: leave it out",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_start_that_does_not_suit_is_refused(case):
    start, given, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        fit(start(), **given)


def test_a_start_from_which_nothing_is_finite_is_refused_in_words():
    far = dataclasses.replace(
        earlier().start, location={name: value * 0 + 1e300 for name, value in earlier().start.location.items()}
    )
    with pytest.raises(bf.errors.ConvergenceError, match=r"no chain can start.*\(chain 0\)"):
        fit(far)
