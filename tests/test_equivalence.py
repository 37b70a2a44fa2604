"""What must be equal: closed forms, permuted inputs, and the past whatever the future brings."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from fits import (
    LINEAR,
    NETWORK,
    fitted,
    linear_fit,
    log_likelihood,
    network_fit,
    panel,
    prior_draw,
    prior_fit,
    train,
    with_data,
)
from scipy import integrate, stats

import bayesfactor as bf
from bayesfactor.errors import DataError

OLS = bf.FundamentalFactorModel(hidden=(), pooling="full", noise="normal", slope_sd=np.inf)
RIDGE = bf.FundamentalFactorModel(hidden=(), pooling="full", noise="normal")


def rows_of(source):
    """Design with an intercept (row, coefficient) and returns (row,), all observed stock-months."""
    arrays = source.arrays()
    z = arrays.characteristics[arrays.observed]
    return np.column_stack([np.ones(len(z)), z]), arrays.returns[arrays.observed]


# ---------------------------------------------------------------------- closed forms


def test_a_flat_prior_gives_least_squares():
    fit = bf.fit(OLS, panel(), bf.Exact())
    x, r = rows_of(panel())
    least_squares = np.linalg.lstsq(x, r, rcond=None)[0]
    draws = fit.tree["posterior"]["slope_mean"]
    np.testing.assert_allclose(draws.mean(("chain", "draw")), least_squares, rtol=0, atol=1e-6)
    residual = r - x @ least_squares
    errors = np.sqrt(np.diag(np.linalg.inv(x.T @ x)) * (residual @ residual) / (len(r) - 4))
    np.testing.assert_allclose(draws.std(("chain", "draw")), errors, rtol=0.1)
    assert fit.provenance["precision"] == "float64"
    assert fit.status == "ok"
    table = bf.sensitivities(fit, panel())
    np.testing.assert_allclose(table["mean"], least_squares[1:], rtol=0, atol=1e-6)


def test_a_normal_prior_gives_the_closed_form():
    """Slopes given sigma by the joint Gaussian of slopes and returns, sigma by quadrature of the marginal density."""
    small = panel().sel(time=slice(panel().times[0], panel().times[1]))
    x, r = rows_of(small)
    prior = np.diag([0.02**2, 0.01**2, 0.01**2, 0.01**2])
    centre = np.log(float(small.arrays().return_scale))

    def given(log_scale):
        joint = x @ prior @ x.T + np.exp(2 * log_scale) * np.eye(len(r))
        log_weight = stats.multivariate_normal.logpdf(r, np.zeros(len(r)), joint)
        log_weight += stats.norm.logpdf(log_scale, centre, 0.5)
        gain = prior @ x.T @ np.linalg.inv(joint)
        return log_weight, gain @ r, np.diag(prior - gain @ x @ prior)

    points = np.linspace(centre - 2, centre + 2, 801)
    log_weights, means, variances = (np.array(part) for part in zip(*map(given, points), strict=True))
    weights = np.exp(log_weights - log_weights.max())
    total = integrate.trapezoid(weights, points)
    mean = integrate.trapezoid(weights[:, None] * means, points, axis=0) / total
    second = integrate.trapezoid(weights[:, None] * (variances + means**2), points, axis=0) / total
    sd = np.sqrt(second - mean**2)
    level = integrate.trapezoid(weights * np.exp(points), points) / total

    n_draws = 2000
    fit = bf.fit(RIDGE, small, bf.Exact(draws=n_draws))
    draws = fit.tree["posterior"]["slope_mean"]
    # Draws come in antithetic pairs: 4 standard errors of independent draws are more than enough.
    error = sd / np.sqrt(4 * n_draws)
    assert (np.abs(draws.mean(("chain", "draw")) - mean) < 4 * error).all()
    assert (np.abs(draws.std(("chain", "draw")) - sd) < 4 * error).all()
    assert float(fit.tree["posterior"]["noise_level"].mean()) == pytest.approx(level, rel=2e-3)


def test_nuts_agrees_with_the_closed_form():
    from arviz_stats.base import array_stats

    exact = bf.fit(RIDGE, train(), bf.Exact(draws=5000, chains=4)).tree["posterior"]
    sampled = fitted(RIDGE, train()).tree["posterior"]
    for name in ("slope_mean", "noise_level"):
        found = np.asarray(sampled[name]).reshape(*sampled[name].shape[:2], -1)
        want = np.asarray(exact[name]).reshape(-1, found.shape[-1])
        for method, statistic in (("mean", np.mean), ("sd", np.std)):
            error = array_stats.mcse(found, chain_axis=0, draw_axis=1, method=method)
            own = want.std(axis=0) / np.sqrt(len(want))
            gap = statistic(found, axis=(0, 1)) - statistic(want, axis=0)
            assert (np.abs(gap) < 4 * np.hypot(error, own)).all(), (name, method, gap / error)


def test_collinear_characteristics_under_a_flat_prior_are_refused():
    values = panel().data["characteristics"].values.copy()
    values[..., 2] = -values[..., 0]
    twice = with_data(panel(), characteristics=values)
    with pytest.raises(DataError, match="collinear"):
        bf.fit(OLS, twice, bf.Exact())
    shrunk = bf.fit(RIDGE, twice, bf.Exact())  # a proper prior can tell them apart
    assert shrunk.status == "ok"


# ---------------------------------------------------------------------- permutations

ORDER = np.random.default_rng(1).permutation(30)
MONTHS = np.random.default_rng(2).permutation(23)


@pytest.mark.parametrize("noise", ["normal", "student_t"])
@pytest.mark.parametrize("hidden", [(), (3,)])
def test_the_density_does_not_depend_on_the_order_of_stocks_or_months(hidden, noise):
    model = bf.FundamentalFactorModel(hidden=hidden, noise=noise)
    with jax.enable_x64(True):
        arrays = panel().arrays()
        params = prior_draw(model, arrays, 1)
        value = log_likelihood(model, params, model.data(arrays))
        slots = np.random.default_rng(3).permutation(arrays.returns.shape[1])
        moved = arrays._replace(
            characteristics=arrays.characteristics[:, slots],
            returns=arrays.returns[:, slots],
            observed=arrays.observed[:, slots],
        )
        assert log_likelihood(model, params, model.data(moved)) == pytest.approx(value, rel=1e-12)
        months = np.random.default_rng(4).permutation(len(arrays.returns))
        later = arrays._replace(
            characteristics=arrays.characteristics[months],
            returns=arrays.returns[months],
            observed=arrays.observed[months],
        )
        by_month = {name: params[name][months] for name in ("noise_scale", "shock") if name in params}
        assert log_likelihood(model, params | by_month, model.data(later)) == pytest.approx(value, rel=1e-12)
        wrong = log_likelihood(model, params, model.data(later))
        assert wrong != pytest.approx(value, rel=1e-6), "months must keep their own noise level"


def permuted_assets():
    """The same panel, each asset under the label of another."""
    data = panel().data.isel(asset=ORDER).assign_coords(asset=panel().data["asset"].values)
    return bf.Panel(data, "monthly", "rank")


def permuted_months(source):
    """The months with returns in another order, under the same labels."""
    data = source.data.isel(time=MONTHS).assign_coords(time=source.times[:23])
    return bf.Panel(data, "monthly", "rank")


def same(found, want):
    for name in want.data_vars:
        np.testing.assert_allclose(found[name].values, want[name].values, rtol=1e-9, atol=1e-14, err_msg=str(name))


@pytest.mark.parametrize("model", [LINEAR, NETWORK], ids=["linear", "network"])
def test_relabelled_assets_get_the_answers_of_their_stocks(model):
    fit = prior_fit(model)
    found, want = bf.expected_returns(fit, permuted_assets()), bf.expected_returns(fit, panel())
    same(found, want.isel(asset=ORDER))
    same(bf.sensitivities(fit, permuted_assets()), bf.sensitivities(fit, panel()))
    same(
        bf.sensitivities(fit, permuted_assets(), by="asset"),
        bf.sensitivities(fit, panel(), by="asset").isel(asset=ORDER),
    )


def test_permuted_months_get_their_own_answers():
    fit, source = prior_fit(NETWORK), panel().sel(time=slice(None, panel().times[22]))
    moved = permuted_months(source)
    same(bf.expected_returns(fit, moved), bf.expected_returns(fit, source).isel(time=MONTHS))
    same(bf.sensitivities(fit, moved), bf.sensitivities(fit, source))
    same(bf.sensitivities(fit, moved, by="time"), bf.sensitivities(fit, source, by="time").isel(time=MONTHS))
    same(bf.interactions(fit, moved), bf.interactions(fit, source))


def test_inputs_in_another_order_are_joined_by_label():
    data = panel().data.isel(asset=ORDER, characteristic=[2, 0, 1])
    shuffled = bf.Panel(data, "monthly", "rank")
    found = bf.expected_returns(prior_fit(NETWORK), shuffled)
    want = bf.expected_returns(prior_fit(NETWORK), panel())
    same(found.sel(asset=want["asset"]), want)
    sensitivities = bf.sensitivities(prior_fit(NETWORK), shuffled)
    assert list(sensitivities["characteristic"].values) == ["x1", "x2", "x3"]
    same(sensitivities, bf.sensitivities(prior_fit(NETWORK), panel()))


# ---------------------------------------------------------------------- nothing looks ahead


def with_another_future(source, first):
    """Characteristics and returns of the months from position `first` on replaced by others."""
    rng = np.random.default_rng(8)
    z, r = (source.data[name].values.copy() for name in ("characteristics", "returns"))
    used = ~np.isnan(z[first:])
    z[first:][used] = rng.uniform(-1, 1, used.sum())
    seen = ~np.isnan(r[first:])
    r[first:][seen] = rng.normal(0, 0.2, seen.sum())
    changed = with_data(source, characteristics=z, returns=r)
    assert changed.fingerprint != source.fingerprint
    return changed


@pytest.mark.parametrize("fit", [linear_fit, network_fit], ids=["linear", "network"])
def test_forecasts_up_to_a_month_do_not_depend_on_later_data(fit):
    first = 20
    future = with_another_future(panel(), first)
    found, want = bf.expected_returns(fit(), future), bf.expected_returns(fit(), panel())
    before, after = slice(None, first), slice(first, None)
    for name in want.data_vars:
        np.testing.assert_array_equal(found[name].values[before], want[name].values[before])
    assert not np.array_equal(found["mean"].values[after], want["mean"].values[after], equal_nan=True)


def test_a_fit_does_not_depend_on_what_came_after_its_months():
    future = with_another_future(panel(), len(train().times))
    before, _ = future.split(panel().times[len(train().times)])
    again = fitted(LINEAR, before)
    for name, draws in linear_fit().tree["posterior"].data_vars.items():
        np.testing.assert_array_equal(again.tree["posterior"][name].values, draws.values, err_msg=name)
    assert again.panel_fingerprint == linear_fit().panel_fingerprint


def test_a_fit_leaves_the_live_month_out():
    with_live = panel().sel(time=slice(panel().times[6], None))
    without = panel().sel(time=slice(panel().times[6], panel().times[22]))
    settings = bf.Exact(draws=20, chains=2)
    found, want = (fitted(RIDGE, part, settings) for part in (with_live, without))
    np.testing.assert_array_equal(found.tree["posterior"]["slope_mean"], want.tree["posterior"]["slope_mean"])
    assert panel().times[23] not in found.train_times
