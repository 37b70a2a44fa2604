"""Several panels as one program: each result is what `fit` makes of its panel alone."""

from __future__ import annotations

import functools
import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arviz_stats.base import array_stats
from fits import LINEAR, NETWORK, SETTINGS, fitted, with_data

import bayesfactor as bf
from bayesfactor.errors import ConvergenceError, ConvergenceWarning, DataError
from bayesfactor.inference import fit_many, fits_together
from bayesfactor.inference.sampling import programs_for
from bayesfactor.panel import simulate

SEEDS = [3, 4]
SHORT = bf.NUTS(warmup=20, draws=20, chains=2, precision="float64")
SVI = bf.SVI(restarts=2, draws=60, precision="float64")
FEW = bf.SVI(steps=100, restarts=2, draws=20, polish=2)


@functools.cache
def windows():
    """Ragged windows of 18 months; the largest universe of the first is smaller than that of the second."""
    source = simulate.economy(n_months=40, n_assets=30, n_characteristics=3, seed=11, ragged=True, missing=0.05).panel
    return tuple(source.sel(time=source.times[first : first + 18]) for first in (0, 12))


def together(model, inference, panels=None, seeds=SEEDS, **given):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return fit_many(model, panels or windows(), inference, seeds=seeds, **given)


@functools.cache
def made(model, inference):
    """Each window's fit as one of two, and alone."""
    alone = [fitted(model, one, inference, seed) for one, seed in zip(windows(), SEEDS, strict=True)]
    return tuple(zip(together(model, inference), alone, strict=True))


def values(fit, group="posterior"):
    return {str(name): variable.values for name, variable in fit.tree[group].data_vars.items()}


def test_the_windows_have_universes_of_different_size():
    assert [one.arrays().returns.shape for one in windows()] == [(18, 27), (18, 30)]


@pytest.mark.parametrize(
    ("model", "inference"),
    [(LINEAR, SHORT), (LINEAR, SVI), (NETWORK, SVI)],
    ids=["linear NUTS", "linear SVI", "network SVI"],
)
def test_each_is_the_fit_of_its_panel_alone(model, inference):
    for found, want in made(model, inference):
        assert [path for path, _ in found.tree.subtree_with_keys] == [path for path, _ in want.tree.subtree_with_keys]
        for path, node in want.tree.subtree_with_keys:
            there = found.tree[path].to_dataset()
            for name, variable in node.to_dataset().variables.items():
                assert there.variables[name].dims == variable.dims
                if variable.dtype.kind in "fib":
                    np.testing.assert_allclose(
                        there.variables[name].values, variable.values, 1e-4, 1e-6, err_msg=f"{path} {name}"
                    )
                else:
                    np.testing.assert_array_equal(there.variables[name].values, variable.values)
        assert (found.model, found.inference, found.status) == (want.model, want.inference, want.status)
        told = {"created", "wall_seconds", "computed_together"}
        assert {k: v for k, v in found.provenance.items() if k not in told} == {
            k: v for k, v in want.provenance.items() if k not in told
        }
        assert found.provenance["computed_together"] == 2


def test_chains_of_a_network_are_the_same_until_rounding_tells():
    """Sums over stocks are taken in another order; twenty draws of warm-up have magnified 1e-16 to 1e-5 by now.

    Chains that are not the same are apart by as much as the posterior is wide.
    """
    for found, want in made(NETWORK, SHORT):
        for name, value in values(want).items():
            gap = np.abs(values(found)[name][:, :5] - value[:, :5])
            assert (gap <= 1e-3 * value.std(axis=(0, 1))).all(), name
        assert found.status == want.status


def test_each_stops_at_its_own_step():
    (one, alone), (other, other_alone) = made(NETWORK, SVI)
    steps = [int(fit.tree["guide"]["n_steps"][0]) for fit in (one, alone, other, other_alone)]
    assert steps[0] == steps[1]
    assert steps[2] == steps[3]
    assert steps[0] != steps[2]
    assert one.tree["guide"].sizes["chunk"] * 50 == steps[0]


def test_long_chains_are_of_the_same_posterior():
    for found, want in made(LINEAR, SETTINGS):
        for name in ("slope_mean", "noise_level"):
            pair = [np.asarray(values(fit)[name]).reshape(2, 200, -1) for fit in (found, want)]
            error = np.hypot(*(array_stats.mcse(draws, chain_axis=0, draw_axis=1, method="mean") for draws in pair))
            gap = pair[0].mean(axis=(0, 1)) - pair[1].mean(axis=(0, 1))
            assert (np.abs(gap) < 5 * error).all(), name
        assert found.status == want.status


@pytest.mark.parametrize("inference", [SHORT, SVI], ids=["NUTS", "SVI"])
def test_none_depends_on_another_panel(inference):
    """Nor on when another stops: a later window must not reach into an earlier one."""
    first, second = windows()
    returns = np.random.default_rng(0).uniform(-3, 9, second.data["returns"].shape) * second.data["returns"].values
    changed = together(LINEAR, inference, (first, with_data(second, returns=returns)))
    before = [fit for fit, _ in made(LINEAR, inference)]
    for group in before[0].tree:
        for name, value in values(before[0], group).items():
            np.testing.assert_array_equal(values(changed[0], group)[name], value, err_msg=f"{group} {name}")
    assert (values(changed[1])["slope_mean"] != values(before[1])["slope_mean"]).all()


def test_a_result_survives_a_file(tmp_path):
    found, _ = made(LINEAR, SVI)[1]
    loaded = bf.load(found.save(tmp_path / "fit.nc"))
    assert (loaded.status, loaded.reasons, loaded.provenance) == (found.status, found.reasons, found.provenance)
    np.testing.assert_array_equal(values(loaded)["slope_mean"], values(found)["slope_mean"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        again = bf.redraw(loaded, windows()[1], seed=SEEDS[1])
    np.testing.assert_allclose(values(again)["slope_mean"], values(found)["slope_mean"], 1e-4, 1e-6)


def test_other_panels_compile_nothing():
    made(LINEAR, SHORT)
    programs = programs_for(LINEAR, SHORT, many=True)
    sizes = [program._cache_size() for program in programs]
    together(LINEAR, SHORT, windows()[::-1], seeds=[8, 9])
    assert [program._cache_size() for program in programs] == sizes
    assert sizes == [0, 1, 1, 1]  # no search where the mass matrix is diagonal


def test_a_status_is_told_with_its_panel():
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = fit_many(LINEAR, windows(), SHORT, seeds=SEEDS)
    assert [str(one.message) for one in told if one.category is ConvergenceWarning] == [
        f"panel {index} ({one.times[0]:%Y-%m-%d} to {one.times[-1]:%Y-%m-%d}): the fit's status is "
        f"{fit.status!r}: {'; '.join(fit.reasons)}"
        for index, (fit, one) in enumerate(zip(found, windows(), strict=True))
    ]


def test_closed_forms_are_run_one_by_one():
    model = bf.FundamentalFactorModel(hidden=(), pooling="full", noise="normal")
    for found, one, seed in zip(together(model, bf.Exact(draws=10)), windows(), SEEDS, strict=True):
        want = bf.fit(model, one, bf.Exact(draws=10), seed=seed)
        np.testing.assert_array_equal(values(found)["slope_mean"], values(want)["slope_mean"])


class Fragile(eqx.Module):
    """A network of one's own that breaks on a characteristic beyond 8."""

    weight: jax.Array = eqx.field(default_factory=lambda: jnp.ones(2))

    def __call__(self, z):
        return self.weight * jnp.where(jnp.max(jnp.abs(z)) > 8.0, jnp.nan, 1.0) * z[:2]


@pytest.mark.parametrize("inference", [FEW, bf.NUTS(warmup=20, draws=4, chains=2)], ids=["SVI", "NUTS"])
def test_a_panel_that_cannot_start_is_named(inference):
    """The models hold a network of the user's own."""
    model = bf.FundamentalFactorModel(hidden=(), network=Fragile(), noise="normal", pooling="full")
    first, second = windows()
    z = second.data["characteristics"].copy()
    z[2, np.argmax(second.data["in_universe"].values[2]), 0] = 9.0
    spoiled = bf.Panel(second.data.assign(characteristics=z), second.frequency, "standardise")
    named = rf"\(panel 1 \({second.times[0]:%Y-%m-%d} to {second.times[-1]:%Y-%m-%d}\), (chain|restart) 0\)"
    with pytest.raises(ConvergenceError, match=named):
        fit_many(model, [first, spoiled], inference, seeds=SEEDS)


def shorter():
    return windows()[1].sel(time=windows()[1].times[1:])


def other_characteristics():
    return windows()[1].sel(characteristic=["x1", "x2"])


def reordered():
    return windows()[1].sel(characteristic=["x2", "x1", "x3"])


NONE = bf.FundamentalFactorModel(hidden=(), noise="normal", pooling="none")


@pytest.mark.parametrize(
    ("model", "panels", "inference", "message"),
    [
        (LINEAR, lambda: [], SHORT, "one seed for each: got 0 panels, 2 seeds"),
        (LINEAR, lambda: windows()[:1], SHORT, "one seed for each: got 1 panels, 2 seeds"),
        (LINEAR, lambda: (windows()[0], shorter()), SHORT, r"panel 1 \(2001-03-31.*it has 17 periods.*the other 18"),
        (LINEAR, lambda: (windows()[0], other_characteristics()), SHORT, r"panel 1.*characteristics differ in x3 \(1"),
        (LINEAR, lambda: (windows()[0], reordered()), SHORT, "panel 1.*characteristics differ in their order"),
        (LINEAR, lambda: (windows()[0], windows()[1].data), SHORT, "Panel or a PanelStore: found Dataset"),
        (LINEAR, windows, bf.SVI(batch=4), r"SVI\(batch=4\) is for panels too large for memory"),
        (NONE, windows, SHORT, "pooling='none' is one program for all months of a panel already"),
        (LINEAR, windows, "nuts", "inference must be NUTS"),
    ],
)  # fmt: skip
def test_what_cannot_be_run_side_by_side_is_refused(model, panels, inference, message):
    with pytest.raises(DataError, match=message):
        fit_many(model, panels(), inference, seeds=SEEDS)


def test_a_store_is_refused(tmp_path):
    store = windows()[0].to_zarr(tmp_path / "store")
    with pytest.raises(DataError, match=r"fit_many holds all of its panels in memory.*store\.load\(time="):
        fit_many(LINEAR, [store, windows()[1]], SHORT, seeds=SEEDS)


def test_a_panel_from_which_nothing_can_be_learnt_is_named():
    first, second = windows()
    flat = with_data(second, returns=np.where(second.data["observed"].values, 0.01, np.nan))
    with pytest.raises(DataError, match=r"panel 1 \(2001-02-28.*returns must differ between the stocks"):
        fit_many(LINEAR, [first, flat], SHORT, seeds=SEEDS)


def test_seeds_and_starts_are_one_for_each_panel():
    with pytest.raises(DataError, match="seed must be between 0"):
        fit_many(LINEAR, windows(), SHORT, seeds=[0, -1])
    with pytest.raises(DataError, match="one start for all panels, or one for each: got 3 for 2"):
        fit_many(LINEAR, windows(), SHORT, seeds=SEEDS, start=[None] * 3)


def test_what_is_known_to_gain_is_run_together():
    small, large = (
        simulate.economy(n_months=24, n_assets=n_assets, n_characteristics=2, seed=0).panel for n_assets in (40, 1000)
    )
    for source in (small, large):
        assert fits_together(LINEAR, source, SHORT)
        assert not fits_together(LINEAR, source, bf.SVI(batch=2))
        assert not fits_together(NONE, source, SHORT)
        pooled = bf.FundamentalFactorModel(hidden=(), noise="normal", pooling="full")
        assert not fits_together(pooled, source, bf.Exact())
    assert fits_together(NETWORK, small, SVI)
    assert not fits_together(NETWORK, large, SVI)
