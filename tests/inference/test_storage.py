"""Fits on disk: bit-identical or refused, never a torn file, never anything executed."""

from __future__ import annotations

import hashlib
import os
import pickle

import h5py
import numpy as np
import pytest
import xarray as xr
from fits import fitted, linear_fit, network_fit, panel, train

import bayesfactor as bf
from bayesfactor.errors import CorruptResultError, DataError
from bayesfactor.inference import sealed, storage


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return network_fit().save(tmp_path_factory.mktemp("saved") / "fit.nc")


def signed(content):
    """Foreign content behind a valid digest."""
    return content + sealed.MARK + hashlib.sha256(content).hexdigest().encode()


@pytest.mark.parametrize("fit", [linear_fit, network_fit], ids=["linear", "network"])
def test_a_fit_comes_back_bit_for_bit(fit, tmp_path):
    loaded = bf.load(fit().save(tmp_path / "fit.nc"))
    assert loaded.model == fit().model
    assert loaded.inference == fit().inference
    assert (loaded.status, loaded.reasons, loaded.provenance) == (fit().status, fit().reasons, fit().provenance)
    assert [path for path, _ in loaded.tree.subtree_with_keys] == [path for path, _ in fit().tree.subtree_with_keys]
    for path, node in fit().tree.subtree_with_keys:
        for name, values in node.to_dataset().variables.items():
            found = loaded.tree[path].to_dataset().variables[name]
            assert found.dims == values.dims
            np.testing.assert_array_equal(found.values, values.values, err_msg=f"{path}/{name}")
            assert found.dtype == values.dtype or values.dtype.kind in "OUT"


def test_quantities_of_a_loaded_fit_are_the_same(saved):
    loaded = bf.load(saved)
    for quantity in (bf.sensitivities, bf.expected_returns):
        found, want = quantity(loaded, panel()), quantity(network_fit(), panel())
        xr.testing.assert_identical(found, want)


def test_a_flat_prior_survives(tmp_path):
    model = bf.FundamentalFactorModel(hidden=(), pooling="full", noise="normal", slope_sd=np.inf)
    fit = fitted(model, train(), bf.Exact(draws=20, chains=2))
    loaded = bf.load(fit.save(tmp_path / "fit.nc"))
    assert loaded.model == model
    assert loaded.inference == bf.Exact(draws=20, chains=2)


def test_xarray_can_open_the_file(saved):
    with xr.open_datatree(saved, engine="h5netcdf") as tree:
        assert tree["posterior"]["slope_mean"].shape == (2, 200, 4)


def test_every_flipped_bit_is_noticed(saved, tmp_path):
    content = saved.read_bytes()
    rng = np.random.default_rng(0)
    places = {0, len(content) - 1, len(content) - 64, len(content) - sealed.TRAILER}
    places |= {int(place) for place in rng.integers(0, len(content), 200)}
    path = tmp_path / "flipped.nc"
    for place in sorted(places):
        spoiled = bytearray(content)
        spoiled[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(spoiled)
        with pytest.raises(CorruptResultError):
            bf.load(path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_file_is_refused(saved, tmp_path, share):
    content = saved.read_bytes()
    path = tmp_path / "cut.nc"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CorruptResultError, match=str(path)):
        bf.load(path)


def test_a_longer_file_is_refused(saved, tmp_path):
    path = tmp_path / "long.nc"
    path.write_bytes(saved.read_bytes() + b"\0")
    with pytest.raises(CorruptResultError, match="is cut off or was not written by"):
        bf.load(path)


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("sign", [bytes, signed], ids=["plain", "with a valid digest"])
def test_foreign_files_are_refused_and_nothing_is_executed(tmp_path, sign):
    exploded = tmp_path / "exploded"
    netcdf = tmp_path / "plain.nc"
    xr.Dataset({"x": ("time", np.arange(3.0))}).to_netcdf(netcdf, engine="h5netcdf")
    contents = {
        "text": b"date,asset,ret\n2020-01-31,AAPL,0.01\n" * 20,
        "pickle": pickle.dumps(Bomb(exploded)),
        "netcdf": netcdf.read_bytes(),
    }
    for name, content in contents.items():
        path = tmp_path / name
        path.write_bytes(sign(content))
        with pytest.raises(CorruptResultError, match=r"not a saved|not written by Fit\.save"):
            bf.load(path)
    assert not exploded.exists()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CorruptResultError, match=f"no saved fit at {tmp_path / 'none.nc'}"):
        bf.load(tmp_path / "none.nc")


def test_a_file_of_a_newer_version_is_refused(monkeypatch, tmp_path):
    with monkeypatch.context() as newer:
        newer.setattr(storage, "SCHEMA", storage.SCHEMA + 1)
        path = linear_fit().save(tmp_path / "fit.nc")
    with pytest.raises(CorruptResultError, match="schema 2, this version reads up to 1"):
        bf.load(path)


def test_a_class_that_this_version_does_not_have_is_refused(monkeypatch, tmp_path):
    with monkeypatch.context() as other:
        other.setattr(storage, "_settings", lambda instance: {"class": "os.system"})
        path = linear_fit().save(tmp_path / "fit.nc")
    with pytest.raises(CorruptResultError, match=r"holds a os\.system, which this version"):
        bf.load(path)


def test_a_full_disk_leaves_no_torn_file_and_keeps_the_old_one(monkeypatch, tmp_path):
    path = tmp_path / "fit.nc"
    linear_fit().save(path)
    before = path.read_bytes()

    def full(self, target, **_):
        with open(target, "wb") as file:
            file.write(before[:1000])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(xr.DataTree, "to_netcdf", full)
    with pytest.raises(OSError, match=rf"No space left on device: '{path}'"):
        network_fit().save(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["fit.nc"]
    assert path.read_bytes() == before
    monkeypatch.undo()
    assert bf.load(path).model == linear_fit().model


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        linear_fit().save(tmp_path / "nowhere" / "fit.nc")


def edited(saved, path, **attributes):
    """The saved fit with attributes written by another program, behind a right digest."""
    path.write_bytes(saved.read_bytes()[: -sealed.TRAILER])
    with h5py.File(path, "r+") as file:
        file.attrs.update(attributes)
    path.write_bytes(signed(path.read_bytes()))
    return path


def test_an_edited_file_must_still_be_a_whole_fit(saved, tmp_path):
    assert bf.load(edited(saved, tmp_path / "same.nc", status="warn")).status == "warn"
    for attributes, message in (
        ({"status": "great"}, "status must be one of ok, warn, failed, and is 'great'"),
        (
            {"provenance": "{}"},
            "its provenance must hold panel_fingerprint, .*panel_fingerprint, frequency, preparation",
        ),
        ({"model": "{}"}, "its model must hold class"),
        ({"inference": "[1]"}, "is not a saved bayesfactor fit"),
    ):
        with pytest.raises(CorruptResultError, match=message):
            bf.load(edited(saved, tmp_path / "other.nc", **attributes))


def test_a_folder_is_not_written_over(tmp_path):
    with pytest.raises(DataError, match="is a folder: name a file in it"):
        linear_fit().save(tmp_path)
