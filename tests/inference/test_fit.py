"""`fit`: what it refuses, what it records, and that a seed fixes every bit."""

from __future__ import annotations

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from fits import LINEAR, N_TRAIN, SETTINGS, fitted, linear_fit, network_fit, panel, train, with_data

import bayesfactor as bf
from bayesfactor.errors import BayesFactorError, ConvergenceError, ConvergenceWarning, DataError, DataWarning
from bayesfactor.inference.sampling import run_nuts

OLS_PRIOR = bf.FundamentalFactorModel(hidden=(), pooling="full", noise="normal")


def test_raw_characteristics_are_refused_and_the_remedy_named():
    raw = bf.Panel(panel().data.drop_vars("missing"), "monthly", "raw")
    with pytest.raises(DataError, match=r"prepared.*panel\.rank_normalise\(\)"):
        bf.fit(LINEAR, raw, SETTINGS)


@pytest.mark.parametrize("kept", [0, 1])
def test_fewer_than_two_observed_months_are_refused(kept):
    returns = panel().data["returns"].values.copy()
    returns[kept:] = np.nan
    with pytest.raises(DataError, match=rf"at least 2 periods with observed returns, this panel has {kept} of 24"):
        bf.fit(LINEAR, with_data(panel(), returns=returns), SETTINGS)


def with_characteristic(values):
    """The panel with its third characteristic replaced, raw; True months of `values` are without data."""
    source = panel()
    data = source.data.assign(characteristics=(source.data["characteristics"].dims, values))
    return bf.Panel(data, source.frequency, source.preparation)


def test_a_characteristic_without_data_in_the_training_window_is_refused():
    """Its posterior would be its prior, and the model would price it out of sample."""
    values = panel().data["characteristics"].values.copy()
    values[:N_TRAIN, :, 2] = 0.0  # missing for all stocks: the median
    changed = with_characteristic(values)
    train_part, _ = changed.split(changed.times[N_TRAIN])
    with pytest.raises(DataError, match=r"x3.*is the same in all 18 periods of the training window"):
        bf.fit(LINEAR, train_part, SETTINGS)
    values[3, np.flatnonzero(panel().data["observed"].values[3])[0], 2] = 0.5
    bf_train, _ = with_characteristic(values).split(changed.times[N_TRAIN])
    assert bf.fit(OLS_PRIOR, bf_train, bf.Exact(draws=10)).status == "ok"


def test_indicators_that_never_change_are_told():
    values = panel().data["characteristics"].values.copy()
    values[..., 2] = 1.0
    source = panel()
    data = source.data.assign(characteristics=(source.data["characteristics"].dims, values))
    data = data.assign_coords(kind=("characteristic", ["continuous", "continuous", "indicator"]))
    with pytest.warns(DataWarning, match=r"indicators that never change.*x3"):
        bf.fit(OLS_PRIOR, bf.Panel(data, source.frequency, source.preparation), bf.Exact(draws=10))


def test_returns_without_differences_are_refused_and_a_closed_day_is_not():
    returns = panel().data["returns"].values.copy()
    closed = np.where(np.isnan(returns), np.nan, np.where(np.arange(24)[:, None] == 4, 0.0, returns))
    assert np.isfinite(
        fitted(LINEAR, with_data(panel(), returns=closed), bf.NUTS(20, 20, 2)).tree["posterior"]["slope_mean"]
    ).all()
    with pytest.raises(DataError, match="returns must differ between the stocks of a period"):
        bf.fit(LINEAR, with_data(panel(), returns=np.where(np.isnan(returns), np.nan, 0.01)), SETTINGS)


def test_numbers_of_numpy_can_be_saved(tmp_path):
    made = bf.fit(OLS_PRIOR, panel(), bf.Exact(draws=np.int64(10), chains=np.int32(2)), seed=np.int64(3))
    assert bf.load(made.save(tmp_path / "fit.nc")).provenance["seed"] == 3
    with pytest.raises(DataError, match=r"seed must be a whole number: got 0\.5"):
        bf.fit(OLS_PRIOR, panel(), bf.Exact(draws=10), seed=0.5)
    with pytest.raises(DataError, match=r"draws must be a whole number: got 10\.0"):
        bf.NUTS(draws=10.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"warmup": 19}, "warmup >= 20.*got warmup=19"),
        ({"draws": 3}, "draws >= 4.*draws=3"),
        ({"chains": 1}, "chains >= 2.*chains=1"),
        ({"target_accept": 1.0}, r"target_accept must be in \[0.5, 1\)"),
        ({"target_accept": 0.49}, "target_accept"),
        ({"precision": "double"}, "precision must be 'auto', 'float32' or 'float64'"),
    ],
)
def test_wrong_settings_of_nuts_are_refused(arguments, message):
    with pytest.raises(DataError, match=message):
        bf.NUTS(**arguments)


@pytest.mark.parametrize("arguments", [{"draws": 3}, {"draws": 101}, {"chains": 0}])
def test_wrong_settings_of_exact_are_refused(arguments):
    with pytest.raises(DataError, match="even number of draws >= 4 and chains >= 1"):
        bf.Exact(**arguments)


def test_every_error_of_the_package_is_a_value_error():
    assert issubclass(ConvergenceError, BayesFactorError)
    assert issubclass(BayesFactorError, ValueError)


def test_a_seed_fixes_every_bit():
    again, other = fitted(LINEAR, train(), seed=0), fitted(LINEAR, train(), seed=1)
    for group in ("posterior", "functions", "sample_stats"):
        for name, values in linear_fit().tree[group].data_vars.items():
            np.testing.assert_array_equal(again.tree[group][name].values, values.values, err_msg=str(name))
    first, second = (fit.tree["posterior"]["slope_mean"].values for fit in (linear_fit(), other))
    assert not np.isin(first, second).any()
    assert (first[0] != first[1]).all(), "chains must differ"


def test_strict_raises_where_otherwise_a_warning_is_given():
    with pytest.raises(ConvergenceError, match=r"the fit's status is .*effective sample size"):
        bf.fit(LINEAR, train(), SETTINGS, strict=True)
    with pytest.warns(ConvergenceWarning, match="effective sample size"):
        bf.fit(LINEAR, train(), SETTINGS)


def test_progress_is_told_to_a_function():
    calls = []
    fitted_draws = SETTINGS.warmup + SETTINGS.draws
    with pytest.warns(ConvergenceWarning):
        bf.fit(LINEAR, train(), SETTINGS, progress=lambda done, total: calls.append((done, total)))
    assert calls
    assert {total for _, total in calls} <= {1, fitted_draws}
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)


@pytest.mark.parametrize("fit", [linear_fit, network_fit], ids=["linear", "network"])
def test_a_fit_knows_where_it_came_from(fit):
    provenance = fit().provenance
    assert set(provenance) >= {
        "seed", "created", "wall_seconds", "device", "precision", "python", "versions", "panel_fingerprint",
        "panel_history", "panel_warnings", "frequency", "periods_per_year", "preparation", "n_observed",
    }  # fmt: skip
    assert set(provenance["versions"]) >= {"bayesfactor", "jax", "numpyro", "numpy", "xarray"}
    assert provenance["n_observed"] == int(train().arrays().observed.sum())
    assert fit().panel_fingerprint == train().fingerprint
    assert list(fit().train_times) == list(train().times)
    assert len(train().times) == N_TRAIN
    assert fit().characteristics == ("x1", "x2", "x3")
    assert fit().shape == (2, 200)
    assert (fit().frequency, fit().preparation, fit().likelihood_kind) == ("monthly", "rank", "density")
    assert (fit().status == "ok") == (not fit().reasons)
    assert ("trained on 18 monthly periods, 2000-02-29 to 2001-07-31, 3 characteristics") in repr(fit())


def test_posterior_is_labelled_and_only_holds_what_has_a_meaning():
    posterior = linear_fit().tree["posterior"]
    assert posterior["slope_mean"].dims == ("chain", "draw", "feature")
    assert list(posterior["feature"].values) == ["intercept", "x1", "x2", "x3"]
    assert posterior["noise_scale"].dims == ("chain", "draw", "time")
    assert set(posterior.data_vars) == {
        "slope_mean", "slope_scale", "slope_correlation_root", "noise_level", "noise_variation", "noise_scale",
    }  # fmt: skip
    roots = posterior["slope_correlation_root"].values
    np.testing.assert_allclose(np.einsum("cdij,cdij->cdi", roots, roots), 1.0, rtol=1e-10)


def test_summary_speaks_of_functions_and_not_of_weights():
    table = network_fit().summary()
    assert not [name for name in table.index if "weight" in name or "bias" in name]
    assert {"noise_level", "noise_variation", "response[0]", "log_density"} <= set(table.index)
    assert np.isfinite(table[["mean", "sd", "r_hat"]].astype(float)).all(axis=None)


def test_the_log_density_kept_is_that_of_the_draws():
    """Differences of `log_density` between draws are those of the model's likelihood and priors."""
    assert network_fit().tree["functions"]["log_density"].dims == ("chain", "draw")
    assert float(network_fit().tree["functions"]["log_density"].std()) > 0.1


def test_diagnosed_functions_are_those_of_the_posterior():
    fit = network_fit()
    probes = fit.tree["constant_data"]["probe_characteristics"].values
    with jax.enable_x64(True):
        response = jax.jit(jax.vmap(fit.model.response, (0, None)))(fit.parameters(), probes)
    found = fit.tree["functions"]["response"].values.reshape(400, -1)
    np.testing.assert_allclose(found, response, rtol=1e-9, atol=1e-14)


def test_a_density_that_is_never_finite_is_refused_in_words():
    def program(data):
        x = numpyro.sample("x", dist.Normal())
        numpyro.factor("impossible", data * x * np.nan)

    with pytest.raises(ConvergenceError, match=r"no chain can start.*\(chain 0\).*panel\.arrays\(\)"):
        run_nuts(program, np.float32(1.0), bf.NUTS(warmup=20, draws=4, chains=2), jax.random.key(0))


def test_a_known_posterior_is_recovered():
    """A correlated normal of known mean and covariance, by the sampler alone."""
    mean, factor = np.array([1.0, -2.0], np.float32), np.array([[1.0, 0.0], [0.8, 0.6]], np.float32)

    def program(data):
        numpyro.sample("x", dist.MultivariateNormal(data, scale_tril=factor))

    draws = run_nuts(program, mean, bf.NUTS(warmup=300, draws=1000, chains=4), jax.random.key(1))
    x = draws.posterior["x"].reshape(-1, 2)
    np.testing.assert_allclose(x.mean(axis=0), mean, atol=0.1)
    np.testing.assert_allclose(np.cov(x.T), factor @ factor.T, atol=0.15)
    assert draws.statistics["diverging"].shape == (4, 1000)
    assert not draws.statistics["diverging"].any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bf.fit(LINEAR, train(), bf.NUTS), "inference must be NUTS"),  # a class ran as Exact
        (lambda: bf.fit(LINEAR, train(), "nuts"), "inference must be NUTS.*'nuts'"),
        (lambda: bf.fit(type(LINEAR), train(), SETTINGS), "model must be an instance.*FundamentalFactorModel"),
        (lambda: bf.fit(LINEAR, train().data, SETTINGS), "Panel or a PanelStore: found Dataset"),
        (lambda: bf.NUTS(max_tree_depth=0), "max_tree_depth must be at least 1"),
        (lambda: bf.FundamentalFactorModel(hidden="8"), "hidden must be a tuple of whole numbers.*'8'"),
    ],
)
def test_what_is_given_must_be_of_its_kind(call, message):
    with pytest.raises(DataError, match=message):
        call()
