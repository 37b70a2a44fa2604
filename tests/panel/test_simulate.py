"""The truth that simulated economies claim is the truth of their returns."""

from __future__ import annotations

import numpy as np
import pytest

from bayesfactor.errors import DataError
from bayesfactor.panel import read_frame, simulate

SHAPE = {"n_months": 30, "n_assets": 40, "n_characteristics": 3}
RAGGED = {"ragged": True, "missing": 0.15}


def test_returns_without_noise_are_the_formula() -> None:
    panel, truth = simulate.economy(
        **SHAPE, **RAGGED, seed=1, interactions={(0, 2): 0.02}, curvature={1: -0.03}, noise_sd=0.0
    )
    z = panel.data.characteristics.values
    expected = truth.intercept.values[:, None] + np.einsum("tik,tk->ti", z, truth.slopes.values)
    expected = expected + 0.02 * z[..., 0] * z[..., 2] - 0.03 * z[..., 1] ** 2
    seen = panel.data.observed.values
    np.testing.assert_allclose(panel.data.returns.values[seen], expected[seen], atol=1e-14)


def test_sensitivities_and_hessian_are_derivatives_of_the_mean_function() -> None:
    panel, truth = simulate.economy(
        **SHAPE,
        **RAGGED,
        seed=2,
        slope_mean=[0.01, -0.02, 0.0],
        interactions={(0, 1): 0.03},
        curvature={2: 0.02},
    )

    def mean(z: np.ndarray) -> np.ndarray:
        return 0.01 * z[..., 0] - 0.02 * z[..., 1] + 0.03 * z[..., 0] * z[..., 1] + 0.02 * z[..., 2] ** 2

    z, step = panel.data.characteristics.values, 1e-4
    universe = panel.data.in_universe.values

    def average(cells: np.ndarray) -> float:
        return np.mean([row[members].mean() for row, members in zip(cells, universe, strict=True)])

    shifts = step * np.eye(3)
    for k in range(3):
        slope = average((mean(z + shifts[k]) - mean(z - shifts[k])) / (2 * step))
        np.testing.assert_allclose(truth.sensitivity.values[k], slope, atol=1e-9)
        for m in range(3):
            corners = mean(z + shifts[k] + shifts[m]) - mean(z + shifts[k] - shifts[m])
            corners = corners - mean(z - shifts[k] + shifts[m]) + mean(z - shifts[k] - shifts[m])
            np.testing.assert_allclose(truth.hessian.values[k, m], average(corners) / (4 * step**2), atol=1e-7)
    np.testing.assert_allclose(truth.expected_returns.values[universe], mean(z)[universe], atol=1e-14)
    np.testing.assert_array_equal(np.isnan(truth.expected_returns.values), ~universe)


@pytest.mark.parametrize("noise", ["normal", "student_t"])
def test_moments_are_those_asked_for(noise: str) -> None:
    panel, truth = simulate.economy(
        n_months=600,
        n_assets=50,
        n_characteristics=2,
        seed=3,
        slope_mean=[0.004, 0.0],
        slope_sd=[0.01, 0.02],
        noise=noise,
        noise_sd=0.1,
        common_sd=0.04,
        common_mean=0.01,
    )
    slopes, z = truth.slopes.values, panel.data.characteristics.values
    fitted = truth.intercept.values[:, None] + np.einsum("tik,tk->ti", z, slopes)
    residual = panel.data.returns.values - fitted
    np.testing.assert_allclose(slopes.mean(axis=0), [0.004, 0.0], atol=5 * 0.02 / np.sqrt(600))
    np.testing.assert_allclose(slopes.std(axis=0), [0.01, 0.02], rtol=5 / np.sqrt(2 * 600))
    np.testing.assert_allclose(truth.intercept.values.std(), 0.04, rtol=5 / np.sqrt(2 * 600))
    np.testing.assert_allclose(residual.std(), 0.1, rtol=0.05)
    kurtosis = (residual**4).mean() / (residual**2).mean() ** 2
    assert (kurtosis > 4) == (noise == "student_t")


def test_characteristics_persist_and_panels_are_ragged() -> None:
    panel, _ = simulate.economy(**SHAPE, **RAGGED, seed=4)
    data = panel.data
    universe = data.in_universe.values
    both = universe[1:] & universe[:-1]
    z = data.characteristics.values[..., 0]
    present = both & ~data.missing.values[1:, :, 0] & ~data.missing.values[:-1, :, 0]
    assert np.corrcoef(z[1:][present], z[:-1][present])[0, 1] > 0.8
    assert 0.1 < data.missing.values[universe].mean() < 0.2
    entries, exits = (~universe[:-1] & universe[1:]).sum(), (universe[:-1] & ~universe[1:]).sum()
    assert min(entries, exits) >= 5
    leaving = universe & ~data.observed.values
    assert leaving.any()  # the last month of an asset that leaves has no return


def test_seeds_decide() -> None:
    one, again, other = (simulate.economy(**SHAPE, seed=seed).panel.fingerprint for seed in (1, 1, 2))
    assert one == again != other


@pytest.mark.parametrize("frequency", ["monthly", "weekly", "daily"])
def test_the_frame_is_the_economy_before_reading(frequency: str) -> None:
    shape = SHAPE | RAGGED | {"seed": 5, "frequency": frequency}
    frame = simulate.frame(**shape)
    panel = read_frame(
        frame,
        time="date",
        asset="asset",
        returns="ret",
        returns_over="row",
        lag=1,
        units="decimal",
        excess=True,
        size="size",
    ).rank_normalise()
    expected = simulate.economy(**shape).panel
    assert len(panel.times) == len(expected.times) + 1
    past = panel.sel(time=slice(None, expected.times[-1]))
    for name in ("characteristics", "missing", "in_universe"):
        np.testing.assert_array_equal(past.data[name].values, expected.data[name].values)
    inside = expected.data.in_universe.values
    for name in ("returns", "observed", "size"):
        np.testing.assert_array_equal(past.data[name].values[inside], expected.data[name].values[inside])


def test_what_cannot_be_simulated_is_refused() -> None:
    faults = [
        ({"n_assets": 2}, "at least three assets"),
        ({"missing": 1.0}, r"found 1\.0"),
        ({"noise": "cauchy"}, "found 'cauchy'"),
        ({"slope_mean": [0.1, 0.2]}, "found 2"),
        ({"interactions": {(1, 1): 0.1}}, r"found \(1, 1\)"),
        ({"frequency": "yearly"}, "found 'yearly'"),
    ]
    for changed, message in faults:
        with pytest.raises(DataError, match=message):
            simulate.economy(**SHAPE | {"seed": 1} | changed)
