"""`calibrate`: passes what is right, rejects what is not, resumes, and takes every kind of model."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from scipy import stats

import bayesfactor as bf
from bayesfactor.calibration import CalibrationResult, Design, calibrate, simulation, study
from bayesfactor.components import month
from bayesfactor.errors import CorruptResultError, DataError

from .checks import LINEAR, NETWORK, parameters, ragged
from .defects import DEFECTS, planted
from .toy import Conjugate, NormalMean, panel
from .toy import study as toy_study

ROOT = Path(__file__).resolve().parents[2]
FULL = bf.FundamentalFactorModel(hidden=(), pooling="full", noise="normal", slope_sd=0.1)
FEW = bf.NUTS(warmup=100, draws=100, chains=2)
SMALL = Design(n_months=6, n_assets=20)


# ---------------------------------------------------------------------- right and wrong


def test_a_conjugate_posterior_passes_and_one_with_sd_15_percent_off_does_not() -> None:
    result = toy_study(2_000, chunk=1_000, seed=1)
    assert result.status == "passes", repr(result)
    assert list(result.table().index) == ["log likelihood", "mean"]
    low, high = result.table().loc["mean", ["coverage_lower", "coverage_upper"]]
    assert low == pytest.approx(stats.binom.ppf(0.0005, 2_000, 0.9) / 2_000)
    assert high == pytest.approx(stats.binom.ppf(0.9995, 2_000, 0.9) / 2_000)
    found = toy_study(2_000, Conjugate(factor=1.15), chunk=1_000, rerun=False)
    assert found.status == "fails"
    assert any("ranks of mean are not uniform" in reason for reason in found.reasons)


def test_a_wrong_posterior_fails_on_fresh_seeds_too() -> None:
    result = toy_study(100, Conjugate(factor=2.0), chunk=50)
    assert result.status == "fails"
    assert len(result.attempts) == 2
    assert not np.array_equal(result.attempts[0]["rank"], result.attempts[1]["rank"])


def test_the_right_linear_model_passes_and_a_wrong_sigma_and_full_pooling_do_not() -> None:
    settings: dict[str, Any] = {"design": SMALL, "chunk": 50}
    assert calibrate(FULL, FEW, fits=100, seed=3, **settings).passed
    with planted(DEFECTS["sigma x 1.15, linear"]):
        found = calibrate(FULL, FEW, fits=50, rerun=False, **settings)
    assert found.status == "fails"
    assert any("noise level" in reason for reason in found.reasons)
    months = Design(n_months=24, n_assets=100)
    pooled = replace(FULL, slope_sd=0.01)
    found = calibrate(
        pooled, bf.Exact(draws=100, chains=2), truth=replace(pooled, pooling="partial"), fits=50, design=months,
        chunk=50, rerun=False,
    )  # fmt: skip
    assert found.status == "fails"
    assert "log likelihood" not in found.table().index  # of two models it is two functions
    slopes = found.table().filter(like="slope mean", axis=0)
    assert slopes["coverage"].mean() < slopes["coverage_lower"].iloc[0]


# ---------------------------------------------------------------------- verdicts


def attempt(ranks: np.ndarray, inside: float = 0.9, **changes: Any) -> xr.Dataset:
    """Ranks (fit,) of one quantity as a study leaves them."""
    n = len(ranks)
    covered = np.arange(n) < round(inside * n)
    over_fit = dict.fromkeys(("rhat", "ess", "khat", "seconds", "cpu_seconds"), np.ones(n)) | {
        name: np.zeros(n, int) for name in ("n_diverging", "n_nonfinite")
    }
    return xr.Dataset(
        {"rank": (("fit", "quantity"), ranks[:, None]), "inside": (("fit", "quantity"), covered[:, None])}
        | {name: ("fit", value) for name, value in (over_fit | changes).items()},
        {"quantity": ["x"]},
        {"n_ranks": 100, "prob": 0.9, "model": "M", "inference": "I", "rerun": 1},
    )


EVEN, LOW = np.arange(300) % 101, np.arange(300) % 50


def test_a_study_passes_on_fresh_seeds_and_fails_only_when_both_runs_do() -> None:
    assert CalibrationResult((attempt(EVEN),), 300).status == "passes"
    assert CalibrationResult((attempt(LOW),), 300).status == "unfinished"
    assert CalibrationResult((attempt(LOW), attempt(EVEN)), 300).status == "passes"
    twice = CalibrationResult((attempt(LOW), attempt(LOW)), 300)
    assert twice.status == "fails"
    assert "second run, fresh seeds" in repr(twice)
    assert CalibrationResult((attempt(LOW).assign_attrs(rerun=0),), 300).status == "fails"
    assert CalibrationResult((attempt(EVEN),), 301).status == "unfinished"


def test_bands_that_do_not_cover_and_draws_that_are_not_finite_do_not_pass() -> None:
    low = CalibrationResult((attempt(EVEN, inside=251 / 300),) * 1, 300)
    assert low.status == "unfinished"
    assert "cover 83.7% (must be 84.0% to 95.3%)" in low.reasons[0]
    assert CalibrationResult((attempt(EVEN, inside=252 / 300),), 300).status == "passes"
    lost = CalibrationResult((attempt(EVEN, n_nonfinite=np.eye(1, 300, dtype=int)[0]),), 300)
    assert lost.status == "unfinished"
    assert "not finite" in lost.reasons[0]


def test_equal_values_are_ranked_at_random() -> None:
    made = study._Study.of(NormalMean(), Conjugate(), None, panel(), None, 400, 0, 400, 10)
    values = np.zeros((400, 1, 10, 1))
    chunk = made._ranked(["x"], values, np.zeros((400, 1)), Conjugate()(None, *_nothing(400)), 1, 0)
    counts = np.bincount(chunk["rank"][:, 0], minlength=11)
    assert counts.min() > 400 / 11 - 5 * np.sqrt(400 / 11)
    assert counts.sum() == 400


def _nothing(size: int) -> tuple[Any, jax.Array]:
    arrays = panel().arrays()
    data = jax.tree.map(lambda leaf: np.broadcast_to(leaf, (size, *np.shape(leaf))), arrays)
    return data, jax.random.split(jax.random.key(0), size)


# ---------------------------------------------------------------------- chunks


def test_a_killed_study_resumes_to_the_same_ranks(tmp_path: Path) -> None:
    code = f"from {NormalMean.__module__} import main; main({str(tmp_path / 'killed')!r}, 24)"
    path = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))  # the toy under the name that it has here
    command, environment = [sys.executable, "-c", code], os.environ | {"PYTHONPATH": path}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline().strip() == "4"
        assert child.stdout.readline().strip() == "8"
        child.kill()
    told: list[float] = []
    settings: dict[str, Any] = {"design": Design(n_months=4, n_assets=4), "fits": 24, "chunk": 4}
    resumed = calibrate(
        NormalMean(), Conjugate(), store=tmp_path / "killed", progress=lambda *said: told.append(said[3]), **settings
    )
    assert told[:2] == [0.0, 0.0]  # kept, not made again
    assert told[-1] > 0
    whole = calibrate(NormalMean(), Conjugate(), **settings)
    for name in ("rank", "inside", "rhat", "ess"):
        np.testing.assert_array_equal(resumed.attempts[0][name], whole.attempts[0][name])


def test_a_damaged_or_misplaced_chunk_is_refused(tmp_path: Path) -> None:
    toy_study(8, chunk=4, store=tmp_path)
    (folder,) = tmp_path.iterdir()
    first, second = sorted(folder.glob("*.npz"))
    intact = first.read_bytes()
    for bad in (intact[:-200], intact[:300] + b"\x00\x01" + intact[302:], b"PK\x03\x04 nothing"):
        first.write_bytes(bad)
        with pytest.raises(CorruptResultError, match=r"chunk-000\.npz.*Delete it, and the same call makes it again"):
            toy_study(8, chunk=4, store=tmp_path)
    first.write_bytes(second.read_bytes())
    with pytest.raises(CorruptResultError, match="must be chunk 0 of attempt 1"):
        toy_study(8, chunk=4, store=tmp_path)
    first.unlink()
    np.testing.assert_array_equal(toy_study(8, chunk=4, store=tmp_path).attempts[0]["rank"].shape, (8, 2))
    assert first.read_bytes()[:-100] != b""


def test_other_settings_and_other_code_are_another_study(tmp_path: Path) -> None:
    def folders() -> int:
        return len(list(tmp_path.iterdir()))

    toy_study(4, chunk=4, store=tmp_path)
    assert folders() == 1
    toy_study(8, chunk=4, store=tmp_path)  # more of the same
    assert folders() == 1
    toy_study(4, Conjugate(draws=60), chunk=4, store=tmp_path)
    toy_study(4, chunk=4, seed=1, store=tmp_path)
    toy_study(4, chunk=2, store=tmp_path)
    assert folders() == 4
    exact, shape = bf.Exact(draws=20, chains=2), Design(n_months=3, n_assets=6)
    calibrate(FULL, exact, design=shape, fits=2, chunk=2, store=tmp_path)
    calibrate(FULL, exact, design=shape, fits=2, chunk=2, store=tmp_path)
    assert folders() == 5
    with planted(DEFECTS["sigma x 1.15, linear"]):
        calibrate(FULL, exact, design=shape, fits=2, chunk=2, store=tmp_path)
    assert folders() == 6


def test_no_time_is_no_verdict_and_an_interrupt_says_what_is_kept(tmp_path: Path, monkeypatch: Any) -> None:
    found = toy_study(8, chunk=4, store=tmp_path, minutes=0.0)
    assert found.status == "unfinished"
    assert found.table().empty
    assert found.diagnostics() == {}
    run = study._Study.run

    def interrupted(self: Any, attempt: int, first: int, size: int) -> Any:
        if first:
            raise KeyboardInterrupt
        return run(self, attempt, first, size)

    with monkeypatch.context() as patched:
        patched.setattr(study._Study, "run", interrupted)
        with pytest.raises(KeyboardInterrupt, match="4 of 8 fits are done, they are kept in"):
            toy_study(8, chunk=4, store=tmp_path)
    assert toy_study(8, chunk=4, store=tmp_path, minutes=0.0).attempts[0].sizes["fit"] == 4


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"fits": 0}, "fits must be at least 1"),
        ({"chunk": 0}, "chunk must be at least 1"),
        ({"model": object()}, "lacks month_law, functions, data"),
        ({"model": bf.FundamentalFactorModel}, "is a class"),
        ({"inference": "nuts"}, "inference must be"),
        ({"inference": bf.NUTS}, "inference must be"),
        ({"store": __file__}, "store must be a folder"),
    ],
)
def test_what_makes_no_study_is_refused(given: dict[str, Any], told: str) -> None:
    settings = {"model": NormalMean(), "inference": Conjugate(), "design": panel(), "fits": 2} | given
    with pytest.raises(DataError, match=told):
        calibrate(settings.pop("model"), settings.pop("inference"), **settings)


@pytest.mark.parametrize(("field", "value"), [("unobserved", 1.0), ("return_scale", 0.0)])
def test_a_design_is_checked(field: str, value: float) -> None:
    with pytest.raises(DataError, match=field):
        Design(**{field: value})


# ---------------------------------------------------------------------- every kind of model


@pytest.mark.parametrize(
    "model", [LINEAR, NETWORK, replace(LINEAR, pooling="full"), replace(NETWORK, noise="student_t")]
)
def test_the_months_laws_have_the_density_of_the_program(model: Any) -> None:
    """What is simulated from, and ranked as log likelihood, is what is fitted."""
    with jax.enable_x64(True):
        arrays = ragged()
        params = {name: jnp.asarray(value) for name, value in parameters(model).items()}
        params |= {"degrees_of_freedom": jnp.asarray(5.0)} if model.noise == "student_t" else {}
        if model.noise == "student_t":
            shape = (len(arrays.returns), len(params["slope_scale"]))
            params["shock"] = jnp.asarray(np.random.default_rng(1).standard_normal(shape))
        found = float(simulation.log_likelihood(model, params, arrays))
        assert found == pytest.approx(float(model.log_likelihood(params, model.data(arrays))), abs=1e-8)


def test_without_a_law_of_training_months_the_noise_level_is_integrated_out() -> None:
    """As of a new month: by quadrature, the mean over draws of the level."""
    arrays = ragged()
    with jax.enable_x64(True):
        params = {name: jnp.asarray(value) for name, value in parameters(LINEAR).items()}
        found = float(simulation.log_likelihood(NewMonths(), params, arrays))
        spread = np.random.default_rng(0).standard_normal((4_000, len(arrays.returns)))
        levels = params["noise_level"] * np.exp(params["noise_variation"] * spread)
        mapped = jax.jit(jax.vmap(lambda scale: _by_month(params | {"noise_scale": scale}, arrays)))
        by_month = np.asarray(mapped(levels))
    density = np.exp(by_month - by_month.max(axis=0))
    expected = np.sum(np.log(density.mean(axis=0)) + by_month.max(axis=0))
    error = np.sqrt(np.sum((density.std(axis=0) / density.mean(axis=0)) ** 2 / len(spread)))
    assert abs(found - expected) < 4.5 * error


class NewMonths:
    """A model whose draws say nothing of single months."""

    def month_law(self, params: Any, z: Any) -> Any:
        return LINEAR.month_law(params, z)


def _by_month(params: Any, arrays: Any) -> Any:
    laws = partial(simulation.law_of_month, LINEAR, params)
    months = zip(arrays.characteristics, arrays.returns, arrays.observed, strict=True)
    return jnp.stack([month.log_density(laws(jnp.asarray(z), t), r, seen) for t, (z, r, seen) in enumerate(months)])


MODEL = bf.FundamentalFactorModel
KINDS = {
    "ragged, missing, horseshoe, Student-t": (
        MODEL(hidden=(2,), input_prior="horseshoe"),
        bf.NUTS(warmup=20, draws=10, chains=2, max_tree_depth=3),
        Design(n_months=5, n_assets=9, ragged=True, missing=0.1),
        "degrees of freedom",
    ),
    "a month at a time": (
        MODEL(hidden=(), noise="normal", pooling="none"),
        bf.SVI(steps=100, draws=20, restarts=2, polish=2),
        Design(n_assets=9),
        "slope mean 1",
    ),
    "ard, by a guide": (
        MODEL(hidden=(2,), noise="normal", input_prior="ard"),
        bf.SVI(steps=100, draws=20, restarts=2, polish=2),
        Design(n_months=5, n_assets=9),
        "interaction 1 x 2",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_and_data_goes_through(kind: str) -> None:
    model, inference, design, quantity = KINDS[kind]
    result = calibrate(model, inference, design=design, fits=3, chunk=3, rerun=False)
    data = result.attempts[0]
    assert data.sizes["fit"] == 3
    assert quantity in data["quantity"]
    assert int(data["n_nonfinite"].sum()) == 0
    assert np.isfinite(data["khat"]).all() == isinstance(inference, bf.SVI)
    assert data["rank"].values.min() >= 0
    assert data["rank"].values.max() <= data.attrs["n_ranks"]


def test_more_quantities_and_a_panel_of_ones_own() -> None:
    own = bf.simulate.economy(n_months=5, n_assets=8, n_characteristics=2, seed=3, ragged=True).panel

    def ratio(model: Any, params: Any, arrays: Any) -> dict[str, Any]:
        return {"signal_to_noise": params["slope_mean"][1:] / params["noise_level"]}

    result = calibrate(FULL, bf.Exact(draws=20, chains=2), design=own, fits=3, chunk=3, quantities=ratio, rerun=False)
    names = list(result.table().index)
    assert {"signal to noise 1", "signal to noise 2"} <= set(names)
    assert "the panel: 8 assets x 5 periods x 2 characteristics" in result.attempts[0].attrs["design"]
    ecdf = result.ecdf()
    assert ecdf["ecdf"].dims == ("quantity", "rank")
    assert float(ecdf["ecdf"].max()) <= 1.0
