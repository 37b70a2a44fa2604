"""Interrupted runs: resumed bit for bit, or refused in words; never a torn file."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import os
import pickle
import signal
import threading
import zipfile
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fits import LINEAR, train

import bayesfactor as bf
from bayesfactor.errors import CorruptResultError, DataError
from bayesfactor.inference import checkpoint as module
from bayesfactor.inference import sealed
from bayesfactor.inference.checkpoint import Checkpoint, identity
from benchmarks import kill

N_DRAWS = 150
SETTINGS = kill.settings("NUTS", N_DRAWS)
CHUNKS = 5  # two of the warm-up, three of the draws


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Digest of the run that was never interrupted, with a checkpoint."""
    return kill.digest(kill.fitted(SETTINGS, tmp_path_factory.mktemp("undisturbed") / "run"))


@pytest.fixture
def always(monkeypatch):
    """Save after every chunk."""
    monkeypatch.setattr(module, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(module, "CHECKPOINT_COSTS", 0.0)


def stopped_after(monkeypatch, chunks, path):
    """A run that is asked to stop during its chunk of this number."""
    offer, offered = Checkpoint.offer, []

    def offering(self, *arguments):
        offered.append(arguments)
        if len(offered) == chunks:
            assert self.ask_to_stop()
        offer(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoint, "offer", offering)
        with pytest.raises(KeyboardInterrupt) as stopped:
            kill.fitted(SETTINGS, path)
    return str(stopped.value)


# ------------------------------------------------------------------------------------------------ the same bits


def test_bits_do_not_depend_on_when_checkpoints_are_written(undisturbed, tmp_path, always):
    assert kill.digest(kill.fitted(SETTINGS, tmp_path / "run")) == undisturbed
    assert kill.digest(kill.fitted(SETTINGS, None)) == undisturbed


def test_the_digest_sees_one_bit():
    fit = kill.fitted(SETTINGS, None)
    before = kill.digest(fit)
    for group, name in (("posterior", "slope_mean"), ("functions", "log_density"), ("sample_stats", "diverging")):
        kept = fit.tree[group][name]
        values = kept.values.copy()
        values.reshape(-1).view(np.uint8)[0] ^= 1
        fit.tree[group][name] = kept.copy(data=values)
        assert kill.digest(fit) != before
        fit.tree[group][name] = kept
    assert kill.digest(fit) == before


@pytest.mark.parametrize("chunks", range(1, CHUNKS + 1))
def test_a_stopped_run_is_resumed_bit_for_bit(undisturbed, monkeypatch, tmp_path, chunks):
    path = tmp_path / "run"
    told = stopped_after(monkeypatch, chunks, path)
    assert told == (
        f"stopped: {50 * chunks} of 250 draws per chain (warm-up included) are saved in {path}, the same call goes on "
        "from there"
    )
    assert kill.digest(kill.fitted(SETTINGS, path)) == undisturbed
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


def test_a_complete_run_samples_nothing_again(undisturbed, monkeypatch, tmp_path):
    kill.fitted(SETTINGS, tmp_path / "run")
    content = (tmp_path / "run").read_bytes()
    monkeypatch.setattr(Checkpoint, "offer", None)  # would be called after a chunk
    assert kill.digest(kill.fitted(SETTINGS, tmp_path / "run")) == undisturbed
    assert (tmp_path / "run").read_bytes() == content


def test_a_run_outside_the_main_thread(undisturbed, tmp_path):
    found = []
    thread = threading.Thread(target=lambda: found.append(kill.digest(kill.fitted(SETTINGS, tmp_path / "run"))))
    thread.start()
    thread.join()
    assert found == [undisturbed]
    assert (tmp_path / "run").is_file()


@pytest.mark.parametrize("moment", ["in:1", "after:2", "in:4", f"after:{CHUNKS}"])
def test_a_killed_process_is_resumed_bit_for_bit(undisturbed, tmp_path, moment):
    path = tmp_path / "run"
    process = kill.start("NUTS", N_DRAWS, path, moment)
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors
    left = sorted(entry.name for entry in tmp_path.iterdir())
    torn = [name for name in left if name.startswith(".run.") and name.endswith(".partial")]
    assert len(torn) == moment.startswith("in")
    assert ("run" in left) == (moment != "in:1")
    assert kill.digest(kill.fitted(SETTINGS, path)) == undisturbed
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("moment", ["in:2", "after:3"])
def test_a_killed_process_of_svi_is_resumed_bit_for_bit(tmp_path, moment):
    settings = kill.settings("SVI", 250)
    want = kill.digest(kill.fitted(settings, None))
    path = tmp_path / "run"
    process = kill.start("SVI", 250, path, moment)
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors
    assert kill.where(path) == "among the steps"
    assert kill.digest(kill.fitted(settings, path)) == want
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


def test_ctrl_c_saves_and_a_fresh_process_goes_on(undisturbed, tmp_path):
    path = tmp_path / "run"
    process = kill.start("NUTS", N_DRAWS, path, "wait:3")
    while process.stdout.readline() != "waiting\n":
        assert process.poll() is None
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGINT, errors
    assert "Stopping after this chunk, to save it. Ctrl-C again stops at once." in errors
    assert "KeyboardInterrupt: stopped: 200 of 250 draws per chain" in errors
    assert kill.finished(kill.start("NUTS", N_DRAWS, path)) == undisturbed


def test_ctrl_c_after_the_last_draw_stops_at_once(monkeypatch, tmp_path):
    path = tmp_path / "run"

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("bayesfactor.inference.run.functions_of", interrupted)
    with pytest.raises(KeyboardInterrupt, match="250 of 250 draws"):
        kill.fitted(SETTINGS, path)
    run = Checkpoint(path, {}, unit="steps")
    run.offer(5, 5, jnp.zeros(1), dict)
    assert not run.ask_to_stop()


# ---------------------------------------------------------------------------------------- any state, any arrays


def counting_state():
    return {"key": jax.random.split(jax.random.key(3), 2), "old_key": jax.random.PRNGKey(1), "step": jnp.int32(7)}


def toy(path, **identity):
    return Checkpoint(path, {"seed": 0, **identity}, unit="steps")


def test_keys_integers_and_wide_numbers_come_back(tmp_path):
    with jax.enable_x64(True):
        state = {**counting_state(), "wide": jnp.asarray([0.1, np.nan, -0.0]), "flag": jnp.asarray(True)}
        arrays = {"loss/../a": np.arange(6.0).reshape(2, 3), "loss.npy": np.float32([np.inf])}
        toy(tmp_path / "run").offer(5, 5, state, lambda: arrays)
        saved = toy(tmp_path / "run").load(jax.eval_shape(lambda: state))
        assert saved.done == 5
        for name in ("old_key", "step", "wide", "flag"):
            assert saved.state[name].dtype == state[name].dtype
            assert np.asarray(saved.state[name]).tobytes() == np.asarray(state[name]).tobytes()
        draw = jax.vmap(jax.random.normal)
        np.testing.assert_array_equal(draw(saved.state["key"]), draw(state["key"]))
    assert list(saved.arrays) == list(arrays)
    for name, values in arrays.items():
        assert saved.arrays[name].dtype == values.dtype
        np.testing.assert_array_equal(saved.arrays[name], values)
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


def test_nothing_is_loaded_where_nothing_is(tmp_path):
    assert toy(tmp_path / "run").load(counting_state()) is None


def test_saving_costs_little(monkeypatch, tmp_path):
    """Chunks of 7 seconds: every third is saved; saving that takes 5 seconds is done every 50."""
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    writes = []

    def slow():
        writes.append(now[0])
        now[0] += cost
        return {}

    cost = 0.1
    run = toy(tmp_path / "run")
    for done in range(1, 10):
        now[0] += 7.0
        run.offer(done, 100, counting_state(), slow)
    np.testing.assert_allclose(writes, [21.0, 42.1, 63.2])
    cost = 5.0
    now[0] += 50.0
    run.offer(10, 100, counting_state(), slow)
    ended = now[0]
    for done in range(11, 30):
        now[0] += 10.0
        run.offer(done, 100, counting_state(), slow)
    assert writes[4] == ended + 60.0
    count = len(writes)
    run.offer(99, 100, counting_state(), slow)
    assert len(writes) == count
    run.offer(100, 100, counting_state(), slow)
    assert len(writes) == count + 1


def test_a_state_of_other_shapes_is_refused(tmp_path):
    toy(tmp_path / "run").offer(5, 5, {"a": jnp.zeros(2)}, dict)
    for other in ({"a": jnp.zeros(3)}, {"a": jnp.zeros(2, int)}, {"a": jnp.zeros(2), "b": jnp.zeros(2)}):
        with pytest.raises(DataError, match=r"the model's code has changed since.*delete the file"):
            toy(tmp_path / "run").load(other)


# ---------------------------------------------------------------------------------------------- another run


@dataclasses.dataclass(frozen=True)
class Own:
    prior_mean: np.ndarray
    scale: float = 1.0


def feature_map(width, seed=0, activation=jax.nn.relu):
    return eqx.nn.MLP(3, 2, width, 1, activation, key=jax.random.key(seed))


def network_model(*arguments, **named):
    return bf.FundamentalFactorModel(hidden=(), network=feature_map(*arguments, **named))


GIVEN: dict[str, Any] = {"seed": 0, "panel": "abc", "precision": "float32"}
WIDE = bf.FundamentalFactorModel(hidden=(8,))
OTHERS = {
    "seed": (LINEAR, SETTINGS, {"seed": 1}, "seed is 0 in the file, 1 was asked"),
    "panel": (LINEAR, SETTINGS, {"panel": "xyz"}, 'panel is "abc" in the file, "xyz" was asked'),
    "precision": (LINEAR, SETTINGS, {"precision": "float64"}, 'precision is "float32" in the file, "float64" was'),
    "model": (WIDE, SETTINGS, {}, r"model.hidden is \[\] in the file, \[8\] was asked; model.noise is"),
    "draws": (LINEAR, dataclasses.replace(SETTINGS, draws=200), {}, "inference.draws is 150 in the file, 200 was"),
    "inference": (LINEAR, bf.Exact(), {}, 'inference.class is "NUTS" in the file, "Exact" was asked'),
    "class": (Own(np.zeros(2)), SETTINGS, {}, 'model.class is "FundamentalFactorModel" in the file, "Own" was asked'),
}


@pytest.mark.parametrize("other", OTHERS)
def test_another_run_is_refused_and_the_difference_named(tmp_path, other):
    path = tmp_path / "run"
    model, inference, changed, message = OTHERS[other]
    Checkpoint(path, identity(LINEAR, SETTINGS, **GIVEN), unit="steps").offer(5, 5, counting_state(), dict)
    asked = Checkpoint(path, identity(model, inference, **{**GIVEN, **changed}), unit="steps")
    with pytest.raises(DataError, match=rf"{path} must be of the same run.*{message}.*Give another path, or delete"):
        asked.load(counting_state())
    again = Checkpoint(path, identity(LINEAR, SETTINGS, **GIVEN), unit="steps")
    assert again.load(counting_state()).done == 5


@pytest.mark.parametrize("package", module.PACKAGES)
def test_other_versions_are_refused(monkeypatch, tmp_path, package):
    Checkpoint(tmp_path / "run", identity(LINEAR, SETTINGS, **GIVEN), unit="steps").offer(5, 5, {}, dict)
    monkeypatch.setattr(module, "version", lambda name: "9.9" if name == package else importlib.metadata.version(name))
    asked = Checkpoint(tmp_path / "run", identity(LINEAR, SETTINGS, **GIVEN), unit="steps")
    with pytest.raises(
        DataError, match=rf'run, and is of another: versions\.{package} is "\S+" in the file, "9\.9" was'
    ):
        asked.load({})


def test_another_platform_and_another_format_are_refused(monkeypatch, tmp_path):
    Checkpoint(tmp_path / "run", identity(LINEAR, SETTINGS, **GIVEN), unit="steps").offer(5, 5, {}, dict)
    changed = {**identity(LINEAR, SETTINGS, **GIVEN), "platform": "gpu"}
    with pytest.raises(DataError, match='another: platform is "cpu" in the file, "gpu" was asked'):
        Checkpoint(tmp_path / "run", changed, unit="steps").load({})
    monkeypatch.setattr(module, "FORMAT", 3)
    with pytest.raises(DataError, match="another: format is 2 in the file, 3 was asked"):
        Checkpoint(tmp_path / "run", identity(LINEAR, SETTINGS, **GIVEN), unit="steps").load({})


def test_a_network_is_known_by_its_shapes_and_structure():
    """Not by its initial weights, which no draw depends on, nor by where its functions lie in memory."""

    def of(model):
        return identity(model, SETTINGS, **GIVEN)["model"]

    def twice():
        return lambda x: 2 * x

    assert of(network_model(4)) == of(network_model(4, seed=1))
    assert of(network_model(4, activation=twice())) == of(network_model(4, activation=twice()))
    assert of(network_model(4)) != of(network_model(5))
    assert of(network_model(4)) != of(network_model(4, activation=jnp.tanh))
    assert of(network_model(4)) != of(LINEAR)


def test_arrays_in_a_model_of_ones_own_count():
    def of(model):
        return identity(model, SETTINGS, **GIVEN)["model"]

    assert of(Own(np.zeros(2))) == of(Own(np.zeros(2)))
    assert of(Own(np.zeros(2))) != of(Own(np.array([0.0, 1e-9])))
    assert of(Own(np.zeros(2))) != of(Own(np.zeros(2), scale=2.0))
    with pytest.raises(DataError, match="function is no dataclass"):
        of(lambda data: None)


def test_fit_refuses_the_checkpoint_of_another_fit(tmp_path):
    kill.fitted(SETTINGS, tmp_path / "run")
    before = (tmp_path / "run").read_bytes()
    with pytest.raises(DataError, match=r"panel is .* was asked; seed is 3 in the file, 4 was asked"):
        bf.fit(LINEAR, train(), SETTINGS, seed=4, checkpoint=tmp_path / "run")
    assert (tmp_path / "run").read_bytes() == before


# ------------------------------------------------------------------------------------------------ spoiled files


def test_every_flipped_bit_is_noticed(tmp_path):
    fit = kill.fitted(SETTINGS, tmp_path / "run")
    rng = np.random.default_rng(0)
    assert kill.silent_flips(tmp_path / "run", module._read, 1000, rng) == 0
    assert kill.silent_flips(fit.save(tmp_path / "fit.nc"), bf.load, 1000, rng) == 0


def test_a_silent_flip_would_be_counted(tmp_path):
    (tmp_path / "file").write_bytes(bytes(100))
    assert kill.silent_flips(tmp_path / "file", lambda path: path.read_bytes(), 50, np.random.default_rng(0)) == 50


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_checkpoint_is_refused(tmp_path, share):
    path = tmp_path / "run"
    toy(path).offer(5, 5, counting_state(), lambda: {"x": np.arange(1000.0)})
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CorruptResultError, match=rf"{path} is .*must end with its own SHA-256.*or delete it to begin"):
        toy(path).load(counting_state())


def signed(path, content):
    path.write_bytes(content + sealed.MARK + hashlib.sha256(content).hexdigest().encode())


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def test_foreign_files_are_refused_and_nothing_is_executed(tmp_path):
    path, exploded = tmp_path / "run", tmp_path / "exploded"
    bomb = np.empty(1, object)
    bomb[0] = Bomb(exploded)
    header = json.dumps({"identity": {}, "done": 1, "total": 1, "leaves": [["float32", []]], "keys": [], "arrays": []})

    def archive(save, **content):
        with path.open("wb") as file:
            save(file, **content)
        return path.read_bytes()

    foreign = {
        "text": b"date,asset,ret\n2020-01-31,AAPL,0.01\n" * 20,
        "nothing": b"",
        "pickle": pickle.dumps(bomb),
        "pickle in an archive": archive(np.savez, header=np.asarray(header), leaf_0=bomb),
        "array": archive(np.save, arr=np.zeros(3)),
        "no header": archive(np.savez, a=np.zeros(3)),
        "less of a header": archive(np.savez, header=np.asarray('{"leaves": [], "arrays": []}')),
        "compressed": archive(np.savez_compressed, header=np.asarray(header), leaf_0=np.zeros(1 << 20)),
    }
    for content in foreign.values():
        signed(path, content)
        with pytest.raises(CorruptResultError, match=f"{path} is not a checkpoint: "):
            toy(path).load(counting_state())
    assert not exploded.exists()
    fit = kill.fitted(SETTINGS, tmp_path / "complete").save(tmp_path / "fit.nc")
    with pytest.raises(CorruptResultError, match="is not a checkpoint: "):
        toy(fit).load(counting_state())
    with pytest.raises(CorruptResultError, match="is not a saved bayesfactor fit"):
        bf.load(tmp_path / "complete")


# ----------------------------------------------------------------------------------------------- where it cannot


def test_a_full_disk_says_where_and_keeps_the_checkpoint_before(undisturbed, monkeypatch, tmp_path, always):
    path = tmp_path / "run"
    saves = []

    def filling(file, **content):
        saves.append(path.read_bytes() if path.exists() else b"")
        if len(saves) == 4:
            file.write(b"PK\x03\x04")
            raise OSError(28, "No space left on device")
        savez(file, **content)

    savez = np.savez
    with monkeypatch.context() as full:
        full.setattr(np, "savez", filling)
        with pytest.raises(OSError, match=rf"No space left on device: '{path}'"):
            kill.fitted(SETTINGS, path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]
    assert path.read_bytes() == saves[3]
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
    assert kill.digest(kill.fitted(SETTINGS, path)) == undisturbed


def test_a_missing_folder_and_a_folder_are_refused(tmp_path):
    with pytest.raises(DataError, match=f"the folder {tmp_path / 'nowhere'} does not exist: make it"):
        kill.fitted(SETTINGS, tmp_path / "nowhere" / "run")
    with pytest.raises(DataError, match="is a folder: name a file in it"):
        kill.fitted(SETTINGS, tmp_path)


def test_exact_takes_no_checkpoint(tmp_path):
    model = bf.FundamentalFactorModel(hidden=(), pooling="full", noise="normal")
    with pytest.raises(DataError, match=r"checkpoint= is for long runs and Exact\(\) is none"):
        bf.fit(model, train(), bf.Exact(draws=10), checkpoint=tmp_path / "run")


@pytest.mark.parametrize(
    "changes",
    [
        {"done": 6},
        {"done": -1},
        {"done": "5"},
        {"identity": "mine"},
        {"keys": ["mine"]},
        {"leaves": [["float32", [3]]]},
    ],
)
def test_a_header_that_cannot_be_is_refused(tmp_path, changes):
    path = tmp_path / "run"
    toy(path).offer(5, 5, {"a": jnp.zeros(2)}, dict)
    with np.load(path, allow_pickle=False) as held:
        content = dict(held)
    header = json.loads(str(content["header"])) | changes
    with path.open("wb") as file:
        np.savez(file, **content | {"header": np.asarray(json.dumps(header))})
    signed(path, path.read_bytes())
    with pytest.raises(CorruptResultError, match=f"{path} is not a checkpoint: .*delete it to begin anew"):
        toy(path).load({"a": jnp.zeros(2)})
