"""Rank weights against loops in float64, published numbers and the package's own sorts."""

from __future__ import annotations

import math
import warnings
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate
from scipy.stats import norm, rankdata

from bayesfactor.components import rank_weights as rw
from bayesfactor.errors import DataError, DataWarning
from bayesfactor.panel import Panel
from bayesfactor.panel.sorts import sort_portfolios

NAN, INF = float("nan"), float("inf")
SMOOTH = ["softmax", "exponential"]
BY_ORDER = ["equal", "linear", "value"]
SCORES = {
    "softmax": (lambda z: z, np.ones_like),
    "exponential": (lambda z: -50 * np.exp(-5 * z), lambda z: 250 * np.exp(-5 * z)),
}

legs_of = jax.jit(rw.rank_weights, static_argnames="form")
earned = jax.jit(rw.portfolio_returns)


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


def month(seed=0, n=40, n_factors=3, dtype=np.float64, tied=False):
    """Deep characteristics of a ragged month: one factor normal, one skewed, one bounded; a universe; sizes."""
    rng = np.random.default_rng(seed)
    y = rng.standard_normal((n, n_factors))
    y[:, 1] = np.exp(y[:, 1])
    y[:, 2] = rng.random(n)
    if tied:
        y = np.round(2 * y) / 2
    return y.astype(dtype), rng.random(n) < 0.8, np.exp(rng.standard_normal(n))


def softmax(score):
    grown = np.exp(score - score.max())
    return grown / grown.sum()


def shares(amounts):
    return amounts / amounts.sum()


def slow_legs(y, universe, form, size):
    """One factor at a time, of the universe alone, in float64."""
    long, short = np.zeros(y.shape), np.zeros(y.shape)
    for p in range(y.shape[1]):
        v = y[universe, p].astype(np.float64)
        n = v.size
        if form in SCORES:
            z = (v - v.mean()) / v.std()
            score = SCORES[form][0]
            one = softmax(score(z)), softmax(score(-z))
        elif form == "linear":
            distance = rankdata(v) - (n + 1) / 2
            one = shares(np.maximum(distance, 0)), shares(np.maximum(-distance, 0))
        else:
            m = math.ceil(n / 3)
            ordered = sorted(v)
            amounts = size[universe] if form == "value" else np.ones(n)
            one = shares(amounts * (v >= ordered[-m])), shares(amounts * (v <= ordered[m - 1]))
        long[universe, p], short[universe, p] = one
    return long, short


def slow_gradient(y, universe, form, towards_long, towards_short):
    """Derivative of sum(towards_long * long + towards_short * short) in y, from the Jacobians of both steps."""
    gradient = np.zeros(y.shape)
    for p in range(y.shape[1]):
        v = y[universe, p].astype(np.float64)
        sd = v.std()
        z = (v - v.mean()) / sd
        score, slope = SCORES[form]
        by_z = np.zeros(v.size)
        for sign, towards in ((1, towards_long), (-1, towards_short)):
            w, pull = softmax(score(sign * z)), towards[universe, p]
            rate = np.where(w > 0, slope(sign * np.where(w > 0, z, 0)), 0)  # no weight, no derivative
            by_z += sign * w * rate * (pull - w @ pull)
        gradient[universe, p] = (by_z - by_z.mean() - z * (by_z @ z) / v.size) / sd
    return gradient


def pull(seed, shape, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape).astype(dtype), rng.standard_normal(shape).astype(dtype)


@partial(jax.jit, static_argnames="form")
def value_and_gradient(y, universe, form, towards_long, towards_short, size=None):
    def total(y):
        legs = rw.rank_weights(y, universe, form, size)
        return jnp.sum(towards_long * legs.long + towards_short * legs.short), legs

    return jax.value_and_grad(total, has_aux=True)(y)


# Values


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("form", rw.FORMS)
def test_weights_are_those_of_loops_over_factors(form, tied):
    for seed in range(5):
        y, universe, size = month(seed, tied=tied)
        for got, want in zip(legs_of(y, universe, form, size), slow_legs(y, universe, form, size), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("form", rw.FORMS)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 7, 8])
def test_small_universes_hold_the_ceiling_of_a_third(form, n):
    y = np.random.default_rng(n).permutation(8.0 * np.arange(8))[:, None]
    universe = np.arange(8) < n
    legs = legs_of(y, universe, form, np.ones(8))
    np.testing.assert_allclose([leg.sum() for leg in legs], 1.0, rtol=1e-12)
    if form in ("equal", "value"):
        held = [int((leg > 0).sum()) for leg in legs]
        assert held == [math.ceil(n / 3)] * 2
    if n == 1:
        np.testing.assert_array_equal(legs.net, 0.0)
    elif form != "softmax":  # holds both in both legs
        net = legs.net[:n, 0]
        assert net[y[:n, 0].argmax()] == net.max() > 0
        assert net[y[:n, 0].argmin()] == net.min() < 0


def test_two_stocks_are_one_standard_deviation_apart_from_their_mean():
    legs = legs_of(np.array([[3.0], [11.0]]), np.ones(2, bool), "softmax")
    low, high = np.exp([-1.0, 1.0]) / np.exp([-1.0, 1.0]).sum()
    np.testing.assert_allclose(legs.long[:, 0], [low, high], rtol=1e-14)
    np.testing.assert_allclose(legs.short[:, 0], [high, low], rtol=1e-14)


def test_linear_and_equal_weights_overlap_as_published():
    """Feng, Polson and Xu (2020), section 3.3, from Novy-Marx and Velikov (2018): 83%.

    Of the densities 8 (u - 1/2) over u > 1/2 and 3 over u > 2/3 the smaller one integrates to .8264.
    """
    y, universe = np.arange(3000.0)[:, None], np.ones(3000, bool)
    linear, equal = legs_of(y, universe, "linear"), legs_of(y, universe, "equal")
    for one, other in zip(linear, equal, strict=True):
        assert np.minimum(one, other).sum() == pytest.approx(119 / 144, abs=1e-3)


def test_effective_numbers_of_the_exponential_form():
    """Within the 460 to 870 of 3,000 measured before the project began, and what integrals over a normal z give."""
    density = lambda z, power: np.exp(power * SCORES["exponential"][0](z)) * norm.pdf(z)  # noqa: E731
    share = integrate.quad(density, -2, 10, 1)[0] ** 2 / integrate.quad(density, -2, 10, 2)[0]
    universe, draws = np.ones(3000, bool), np.random.default_rng(0).standard_normal((3000, 20))
    by_draw = np.asarray(rw.effective_number(legs_of(draws, universe, "exponential").long))
    assert (by_draw > 460).all()
    assert (by_draw < 870).all()
    assert by_draw.mean() == pytest.approx(3000 * share, rel=0.02)
    quantiles = norm.ppf((np.arange(3000) + 0.5) / 3000)[:, None]
    for leg in legs_of(quantiles, universe, "exponential"):
        assert float(rw.effective_number(leg)[0]) == pytest.approx(3000 * share, rel=2e-3)


def test_effective_number_of_equal_weights_is_their_number():
    legs = legs_of(np.arange(3000.0)[:, None], np.ones(3000, bool), "equal")
    np.testing.assert_allclose([rw.effective_number(leg)[0] for leg in legs], 1000.0, rtol=1e-12)
    np.testing.assert_array_equal(rw.effective_number(np.zeros((5, 2))), 0.0)


# What must hold for every month

N = 12
months = st.tuples(
    st.lists(st.one_of(st.integers(-3, 3).map(float), st.floats(-4, 4, width=16)), min_size=N, max_size=N),
    st.lists(st.booleans(), min_size=N, max_size=N),
    st.permutations(range(N)),
    st.sampled_from([0.25, 3.0, 1e6, 1e-6]),
    st.floats(-50, 50),
)


@pytest.mark.parametrize("form", rw.FORMS)
@settings(max_examples=60, deadline=None)
@given(data=months)
def test_invariances(form, data):
    values, universe, order, scale, shift = data
    with jax.enable_x64(True):
        y, universe, order = np.array(values)[:, None], np.array(universe), np.array(order)
        size = 1.0 + np.arange(N) % 3
        legs = legs_of(y, universe, form, size)
        for leg in legs:
            assert (np.asarray(leg) >= 0).all()
            assert leg.sum() == pytest.approx(float(universe.any()), rel=1e-12)
            np.testing.assert_array_equal(leg[~universe], 0.0)

        swapped = legs_of(-y, universe, form, size)
        np.testing.assert_array_equal(swapped.long, legs.short)
        np.testing.assert_array_equal(swapped.short, legs.long)

        moved = legs_of(scale * (y + shift), universe, form, size)
        for got, want in zip(moved, legs, strict=True):
            if form in SCORES:
                np.testing.assert_allclose(got, want, rtol=1e-7, atol=1e-12)
            elif len(np.unique(scale * (y + shift))) == len(np.unique(y)):  # rounding has made no ties
                np.testing.assert_array_equal(got, want)

        permuted = legs_of(y[order], universe[order], form, size[order])
        for got, want in zip(permuted, legs, strict=True):
            np.testing.assert_allclose(got, want[order], rtol=1e-9, atol=1e-300)

        for i in range(N):
            alike = universe & (y[:, 0] == y[i, 0]) & ((form != "value") | (size == size[i]))
            if universe[i]:
                for leg in legs:
                    assert len(np.unique(leg[alike])) == 1

        if form != "value":
            rising = np.argsort(y[universe, 0], kind="stable")
            net = np.asarray(legs.net)[universe, 0][rising]
            assert (np.diff(net) >= -1e-15).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("form", rw.FORMS)
def test_what_stands_outside_the_universe_changes_no_bit(form, dtype):
    y, universe, size = month(4, dtype=dtype)
    towards = pull(1, y.shape, dtype)
    junk = np.resize(np.array([NAN, INF, -INF, 1e30, -1e30, 0.0], dtype), y.shape)
    spoiled, bad_size = (
        np.where(universe[:, None], y, junk),
        np.where(universe, size, np.resize(junk[:, 0], size.shape)),
    )
    (value, legs), gradient = value_and_gradient(y, universe, form, *towards, size)
    (again, same), gradient_again = value_and_gradient(spoiled, universe, form, *towards, bad_size)
    assert value == again
    for got, want in zip((*same, gradient_again), (*legs, gradient), strict=True):
        np.testing.assert_array_equal(got, want)
        np.testing.assert_array_equal(got[~universe], 0.0)
        assert got.dtype == dtype


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize("form", rw.FORMS)
def test_a_value_that_is_not_finite_is_not_passed_over(form, bad):
    y, universe, size = month()
    y[np.flatnonzero(universe)[3], 1] = bad
    for leg in legs_of(y, universe, form, size):
        assert np.isnan(leg[universe, 1]).all()
        assert np.isfinite(leg[:, [0, 2]]).all()
        np.testing.assert_array_equal(leg[~universe], 0.0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("form", rw.FORMS)
@pytest.mark.parametrize("n", [0, 1, 2, 17])
@pytest.mark.parametrize("level", [0.0, 0.1, -1e30])
def test_a_universe_without_dispersion_is_held_and_sold_alike(form, n, level, dtype):
    y, universe = np.full((17, 1), level, dtype), np.arange(17) < n
    towards = pull(1, y.shape, dtype)
    (_, legs), gradient = value_and_gradient(y, universe, form, *towards, np.ones(17, dtype))
    for leg in legs:
        np.testing.assert_allclose(leg[:, 0], universe / max(n, 1), rtol=1e-6)
        assert leg.dtype == dtype
    np.testing.assert_array_equal(legs.net, 0.0)
    np.testing.assert_array_equal(gradient, 0.0)


def test_dispersion_of_rounding_is_none_and_a_little_more_is_some():
    universe = np.ones(50, bool)
    steps = (np.arange(50) % 3).astype(np.float32)[:, None]
    rounding = np.float32(1.0) + steps * np.finfo(np.float32).eps
    assert len(np.unique(rounding)) == 3
    np.testing.assert_array_equal(rw.standardise(rounding, universe), 0.0)
    np.testing.assert_array_equal(legs_of(rounding, universe, "exponential").net, 0.0)
    small = np.float32(1.0) + 20 * steps * np.finfo(np.float32).eps
    np.testing.assert_allclose(rw.standardise(small, universe), rw.standardise(steps, universe), atol=1e-5)


@pytest.mark.parametrize("scale", [1e-30, 1e-10, 1e10, 1e30])
def test_standardising_feels_no_scale_in_single_precision(scale):
    y, universe, _ = month(2, n=300)
    scaled = (y * scale).astype(np.float32)
    want = (y - y[universe].mean(axis=0)) / y[universe].std(axis=0) * universe[:, None]
    np.testing.assert_allclose(rw.standardise(scaled, universe), want, atol=1e-5)
    towards = pull(3, y.shape, np.float32)
    _, gradient = value_and_gradient(scaled, universe, "exponential", *towards)
    want = slow_gradient(y, universe, "exponential", *towards)
    np.testing.assert_allclose(np.float64(gradient) * scale, want, atol=1e-5 * np.abs(want).max())


# Derivatives


@pytest.mark.parametrize("form", SMOOTH)
def test_derivatives_are_finite_differences_and_those_of_the_formulas(form):
    y, universe, _ = month(6)
    towards = pull(2, y.shape)
    (_, _), gradient = value_and_gradient(y, universe, form, *towards)
    np.testing.assert_allclose(gradient, slow_gradient(y, universe, form, *towards), rtol=1e-9, atol=1e-14)
    step = 1e-6
    for i in range(len(y)):
        for p in range(y.shape[1]):
            shift = np.zeros_like(y)
            shift[i, p] = step
            (up, _), _ = value_and_gradient(y + shift, universe, form, *towards)
            (down, _), _ = value_and_gradient(y - shift, universe, form, *towards)
            assert float(gradient[i, p]) == pytest.approx(float(up - down) / (2 * step), abs=1e-8)


@pytest.mark.parametrize("form", BY_ORDER)
def test_forms_by_order_have_derivative_zero(form):
    y, universe, size = month(6)
    _, gradient = value_and_gradient(y, universe, form, *pull(2, y.shape), size)
    np.testing.assert_array_equal(gradient, 0.0)


def test_second_derivatives_and_forward_mode_are_there():
    y, universe, _ = month(7, n=8)
    towards, direction = pull(2, y.shape)
    total = lambda y: jnp.sum(towards * rw.rank_weights(y, universe).net)  # noqa: E731
    slope = jax.jit(jax.grad(total))
    forward, bend = jax.jit(lambda y: jax.jvp(jax.value_and_grad(total), (y,), (direction,))[1])(y)
    assert float(forward) == pytest.approx(float(jnp.sum(slope(y) * direction)), rel=1e-10)
    step = 1e-5 * direction
    np.testing.assert_allclose(bend, (slope(y + step) - slope(y - step)) / 2e-5, atol=1e-7)


def outlying(distance, both):
    """A month of bounded values and an outlier, or two opposite ones, `distance` standard deviations from the mean."""
    n = 8000
    y = np.random.default_rng(0).uniform(-math.sqrt(3), math.sqrt(3), n)
    # With m outliers at x the variance is about 1 + m x^2 / n: solved for x / sd = distance.
    m = 2 if both else 1
    y[0] = distance / math.sqrt(1 - m * distance**2 / n)
    if both:
        y[1] = -y[0]
    return y[:, None]


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("distance", [3.0, 17.0, 18.5, 30.0, 60.0])
@pytest.mark.parametrize("form", SMOOTH)
def test_single_precision_is_finite_and_right_far_out(form, distance, sign, both):
    """Errors are those of rounding: of a score for weights, of the terms that cancel for derivatives."""
    y = (sign * outlying(distance, both)).astype(np.float32)
    universe, towards = np.ones(len(y), bool), pull(5, y.shape, np.float32)
    z = np.asarray(rw.standardise(y.astype(np.float64), universe))
    assert np.abs(z).max() == pytest.approx(distance, rel=0.01)
    (_, legs), gradient = value_and_gradient(y, universe, form, *towards)
    assert gradient.dtype == np.float32
    steepest = 0.0
    for got, want, side in zip(legs, slow_legs(y, universe, form, None), (z, -z), strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-11 * want.max())
        steepest = max(steepest, np.max(want * SCORES[form][1](np.maximum(side, -2.0))))
    want = slow_gradient(y, universe, form, *towards)
    terms = (1 + distance) * np.abs(towards).max() * steepest / y.astype(np.float64).std()
    assert np.isfinite(gradient).all()
    assert np.abs(gradient - want).max() < 4 * np.finfo(np.float32).eps * terms
    if form == "exponential":
        assert np.abs(gradient - want).max() < 1e-5 * np.abs(want).max()


def test_the_form_as_published_has_no_derivative_there():
    """The trap that `_exponential` avoids; were it gone, so could be its detour."""
    z = jnp.asarray([-18.0, 0.0, 18.0], jnp.float32)
    as_published = jax.grad(lambda z: jax.nn.softmax(-50 * jnp.exp(-5 * z))[1])(z)
    assert np.isnan(as_published).any()
    ours = jax.grad(lambda z: jax.nn.softmax(rw._exponential(z))[1])(z)
    assert np.isfinite(ours).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_detour_of_the_exponential_changes_no_weight(dtype):
    """Where z < -1 the weight of the best stock's being 1 is 0 even if that best one stands at 0, as none is below."""
    z = np.array([-1.0, -1.0001, -3.0, -60.0])
    exact = np.exp(50.0 - 50.0 * np.exp(-5 * z))
    np.testing.assert_array_equal(exact, 0.0)
    ours = jnp.exp(50.0 + rw._exponential(jnp.asarray(z, dtype)))
    np.testing.assert_array_equal(ours, 0.0)


# Compared with the package's own sorts


def panel_of(n_assets, seed, tied):
    rng = np.random.default_rng(seed)
    shape = (14, n_assets)
    x = rng.standard_normal(shape)
    if tied:
        x = np.round(x)
    universe = rng.random(shape) < 0.85
    universe[:, :3] = True
    returns = np.where(rng.random(shape) < 0.1, NAN, 0.1 * rng.standard_normal(shape))
    size = np.where(rng.random(shape) < 0.1, NAN, np.exp(2 * rng.standard_normal(shape)))
    size[:, :3] = 1.0
    dims = ("time", "asset")
    data = xr.Dataset(
        {
            "characteristics": ((*dims, "characteristic"), x[..., None]),
            "returns": (dims, returns),
            "in_universe": (dims, universe),
            "size": (dims, size),
        },
        {
            "time": pd.date_range("2001-01-31", periods=14, freq="ME"),
            "asset": [f"A{i:03d}" for i in range(n_assets)],
            "characteristic": ["x"],
        },
    )
    return Panel(data, "monthly")


def sort_of(panel, **asked):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # ties leave some thirds of the other convention empty
        return sort_portfolios(panel, "x", 3, size_in="level", holdings=True, max_thin=1.0, **asked)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("weights", ["equal", "value"])
@pytest.mark.parametrize("n_assets", [7, 30, 61])
def test_thirds_are_those_of_sort_portfolios(n_assets, weights, tied):
    """The highest third with ties="upper", the lowest with ties="lower": weights, returns and shares moved."""
    panel = panel_of(n_assets, n_assets, tied)
    high = sort_of(panel, weights=weights, ties="upper").isel(portfolio=-1)
    low = sort_of(panel, weights=weights, ties="lower").isel(portfolio=0)
    data = panel.data
    compared = 0
    for t in range(data.sizes["time"]):
        legs = legs_of(data.characteristics.values[t], data.in_universe.values[t], weights, data["size"].values[t])
        for leg, sort, number in zip(legs, (high, low), (2, 0), strict=True):
            members = sort.member.values[t] == number
            np.testing.assert_allclose(leg[:, 0], np.where(members, sort.weight.values[t], 0.0), rtol=1e-14)
        got = earned(legs, data.returns.values[t], data.observed.values[t])
        for share, sort in zip(got.share_moved, (high, low), strict=True):
            assert share[0] == pytest.approx(float(sort.share_moved[t]), abs=1e-14)
        if max(float(share[0]) for share in got.share_moved) < 1:
            assert got.returns[0] == pytest.approx(float(high.returns[t] - low.returns[t]), abs=1e-15)
            compared += 1
    assert compared > 10


@pytest.mark.parametrize("ties", ["lower", "upper"])
def test_equal_weights_earn_the_plain_long_short_return(ties):
    """Without ties and with n not 1 modulo 3 both conventions of the sorts hold the same thirds, and so do we."""
    panel = panel_of(30, 1, tied=False)
    plain = sort_of(panel, weights="equal", ties=ties).long_short.values[:, 0]
    data = panel.data
    alike = data.in_universe.values.sum(axis=1) % 3 != 1
    assert 3 < alike.sum() < len(alike)
    for t in np.flatnonzero(alike):
        legs = legs_of(data.characteristics.values[t], data.in_universe.values[t], "equal")
        got = earned(legs, data.returns.values[t], data.observed.values[t])
        assert got.returns[0] == pytest.approx(plain[t], abs=1e-15)


# What portfolios earn


@pytest.mark.parametrize("form", rw.FORMS)
def test_missing_returns_are_spread_over_the_leg(form):
    for seed in range(4):
        y, universe, size = month(seed)
        rng = np.random.default_rng(seed)
        returns, observed = 0.1 * rng.standard_normal(len(y)), rng.random(len(y)) < 0.7
        legs = legs_of(y, universe, form, size)
        got = earned(legs, np.where(observed, returns, NAN), observed)
        for p in range(y.shape[1]):
            want, moved = [], []
            for leg in np.asarray(legs)[:, :, p]:
                weight = {i: leg[i] for i in np.flatnonzero(universe)}
                gone = sum(w for i, w in weight.items() if not observed[i])
                want.append(sum(w / (1 - gone) * returns[i] for i, w in weight.items() if observed[i]))
                moved.append(gone)
            assert got.returns[p] == pytest.approx(want[0] - want[1], abs=1e-14)
            np.testing.assert_allclose([share[p] for share in got.share_moved], moved, atol=1e-14)


def test_with_all_returns_nothing_moves_and_factors_are_plain_products():
    y, universe, _ = month(3)
    returns = 0.1 * np.random.default_rng(1).standard_normal(len(y))
    legs = legs_of(y, universe)
    got = earned(legs, returns, universe)
    np.testing.assert_allclose(got.returns, legs.net.T @ returns, rtol=1e-12)
    np.testing.assert_array_equal(got.share_moved, 0.0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_leg_without_returns_says_so(dtype):
    y = np.arange(9, dtype=dtype)[:, None]
    legs = legs_of(y, np.ones(9, bool), "equal")
    observed = np.arange(9) < 6  # nothing of the top third
    got = earned(legs, np.full(9, 0.3, dtype), observed)
    assert got.share_moved.long[0] == 1.0
    assert got.share_moved.short[0] == 0.0
    assert got.returns[0] == -np.asarray(0.3, dtype)
    assert got.returns.dtype == got.share_moved.long.dtype == dtype
    empty = legs_of(y, np.zeros(9, bool), "equal")
    for weights, seen in ((empty, observed), (legs, np.zeros(9, bool))):
        nothing = earned(weights, np.where(seen, 0.3, NAN).astype(dtype), seen)
        np.testing.assert_array_equal(nothing.returns, 0.0)
        np.testing.assert_array_equal(nothing.share_moved, 1.0)


@pytest.mark.parametrize("form", SMOOTH)
@pytest.mark.parametrize("lost", ["outliers", "none", "all"])
def test_derivatives_through_returns_are_those_of_double_precision(form, lost):
    """Also where the stock that is nearly all of a leg has no return: e^-60 of the weight is left to spread."""
    y = outlying(60.0, True)
    n = len(y)
    returns = 0.1 * np.random.default_rng(3).standard_normal(n)
    observed = np.full(n, lost != "all")
    if lost == "outliers":
        observed[:2] = False
    universe = np.ones(n, bool)

    def factor(y, returns):
        return rw.portfolio_returns(rw.rank_weights(y, universe, form), returns, observed).returns[0]

    differentiate = jax.jit(jax.value_and_grad(factor))
    value, gradient = differentiate(y, returns)
    single, single_gradient = differentiate(y.astype(np.float32), returns.astype(np.float32))
    assert single == pytest.approx(float(value), abs=1e-6)
    assert np.isfinite(single_gradient).all()
    assert np.abs(single_gradient - gradient).max() <= 1e-4 * np.abs(gradient).max()
    if lost == "all":
        np.testing.assert_array_equal(single_gradient, 0.0)
    elif lost == "outliers" and form == "softmax":  # the leg is then the softmax of the others
        z = np.asarray(rw.standardise(y, universe))[2:, 0]
        want = softmax(z) @ returns[2:] - softmax(-z) @ returns[2:]
        assert value == pytest.approx(want, rel=1e-12)


def test_derivatives_through_returns_are_finite_differences():
    y, universe, _ = month(9)
    rng = np.random.default_rng(2)
    returns, observed = rng.standard_normal(len(y)), rng.random(len(y)) < 0.7

    @jax.jit
    def total(y):
        return jnp.sum(rw.portfolio_returns(rw.rank_weights(y, universe, "softmax"), returns, observed).returns)

    gradient, step = jax.grad(total)(y), 1e-6
    for i, p in np.ndindex(*y.shape):
        shift = np.zeros_like(y)
        shift[i, p] = step
        slope = float(total(y + shift) - total(y - shift)) / (2 * step)
        assert float(gradient[i, p]) == pytest.approx(slope, abs=1e-8)


# Programs


@pytest.mark.parametrize("form", rw.FORMS)
def test_a_map_over_months_gives_each_month(form):
    made = [month(seed) for seed in range(3)]
    y, universe, size = (np.stack([one[k] for one in made]) for k in range(3))
    together = jax.jit(jax.vmap(lambda *one: rw.rank_weights(one[0], one[1], form, one[2])))(y, universe, size)
    in_turn = jax.lax.map(lambda one: rw.rank_weights(one[0], one[1], form, one[2]), (y, universe, size))
    for t in range(3):
        for leg, mapped, want in zip(together, in_turn, legs_of(y[t], universe[t], form, size[t]), strict=True):
            np.testing.assert_allclose(leg[t], want, rtol=1e-10, atol=1e-300)
            np.testing.assert_allclose(mapped[t], want, rtol=1e-10, atol=1e-300)


@pytest.mark.parametrize("form", SMOOTH)
def test_one_month_of_the_paper_sorts_nothing_and_needs_few_arrays_of_its_size(form):
    y, universe = jnp.zeros((3000, 5), jnp.float32), jnp.ones(3000, bool)
    towards = pull(0, y.shape, np.float32)
    program = value_and_gradient.lower(y, universe, form, *towards).compile()
    assert "sort(" not in program.as_text()
    assert program.memory_analysis().temp_size_in_bytes < 16 * y.nbytes


# Errors


def test_a_form_that_is_not_known_or_lacks_sizes_is_refused():
    y, universe, _ = month()
    with pytest.raises(DataError, match="'softmax', 'exponential', 'equal', 'linear', 'value': found 'rank'"):
        rw.rank_weights(y, universe, "rank")
    with pytest.raises(DataError, match="must have size"):
        rw.rank_weights(y, universe, "value")


def test_stocks_without_a_size_are_outside_value_weights():
    y, universe, size = month(8)
    gaps = np.resize([NAN, 0.0, -1.0, INF, 2.0, 3.0, 4.0], len(size))
    sized = universe & np.isfinite(gaps) & (gaps > 0)
    legs = legs_of(y, universe, "value", gaps)
    for got, want in zip(legs, slow_legs(y, sized, "value", gaps), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12)
    for leg in legs_of(y, universe, "value", np.full(len(size), NAN)):
        np.testing.assert_array_equal(leg, 0.0)
