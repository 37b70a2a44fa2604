"""A walk on disk: one sealed file a window, and what the walk is, so that the same call goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from bayesfactor.errors import CorruptResultError, DataError, EmptyWindowError, first_three
from bayesfactor.evaluation.forecasts import (
    Forecasts,
    forecasts_of,
    joined,
    read_forecasts,
    read_groups,
    write_groups,
)
from bayesfactor.evaluation.windows import Window
from bayesfactor.inference.sealed import SUFFIX, TRAILER, verify_sealed, write_sealed

MANIFEST = "walk.json"
FORMAT = 1
NAME = r"[0-9]{8}-[0-9]{8}-from-[0-9]{8}\.zip"
OURS = re.compile(rf"{NAME}|\.({NAME}|walk\.json)\..*{re.escape(SUFFIX)}")  # results, and what was killed while writing


class WindowResult(NamedTuple):
    """What one window gave.

    Attributes
    ----------
    forecasts : of its test periods.
    start : where the next window's fit may start from; None if it keeps none.
    """

    forecasts: Forecasts
    start: xr.Dataset | None


@dataclass(frozen=True)
class WindowStore:
    """A folder with one file for each window of one walk.

    Parameters
    ----------
    path : the folder.
    walk : what the walk is: `identity`, everything the results depend on but the data; `attrs` of its forecasts;
        `windows`, the names of all files there are to be; `unconfirmed`, those of them that were made from an earlier
        version of the panel and have not been compared with this one yet.
    """

    path: Path
    walk: dict[str, Any]

    @classmethod
    def prepare(cls, path: str | Path, identity: dict[str, Any], attrs: dict[str, Any], names: Sequence[str]) -> Any:
        """Make the folder, or take up the one that is there.

        Raises
        ------
        DataError
            When the folder holds another walk, naming what differs, or something else.
        """
        from bayesfactor.inference.checkpoint import differences

        path = Path(path)
        parts = {"format": FORMAT, "identity": identity, "attrs": attrs, "windows": list(names), "unconfirmed": []}
        walk = json.loads(json.dumps(parts))
        if path.exists() and not path.is_dir():
            raise DataError(f"the store of a walk is a folder, {path} is a file: give another path")
        if path.is_dir() and not (path / MANIFEST).exists():
            foreign = [entry.name for entry in path.iterdir() if not OURS.fullmatch(entry.name)]
            if foreign:
                raise DataError(
                    f"{path} must be new, empty, or the store of a walk, and holds other files: "
                    f"{first_three(sorted(foreign))}. Give another path."
                )
        path.mkdir(parents=True, exist_ok=True)
        present = [name for name in names if (path / name).exists()]
        if not (path / MANIFEST).exists():
            walk["unconfirmed"] = present
        else:
            before = cls.open(path).walk
            differing = differences(before["identity"], walk["identity"])
            if differing:
                raise DataError(
                    f"{path} must be the store of the same walk, and is of another: {'; '.join(differing)}. Give "
                    "another path, or delete the folder."
                )
            same = before["attrs"]["panel_fingerprint"] == walk["attrs"]["panel_fingerprint"]
            known = set(before["windows"]) - set(before["unconfirmed"]) if same else set()
            walk["unconfirmed"] = [name for name in present if name not in known]
        for entry in path.iterdir():
            if entry.name.endswith(SUFFIX) and OURS.fullmatch(entry.name):
                entry.unlink(missing_ok=True)
        store = cls(path, walk)
        store._write()
        return store

    def _write(self) -> None:
        content = json.dumps(self.walk, indent=1).encode()
        write_sealed(self.path / MANIFEST, lambda partial: partial.write_bytes(content))

    @classmethod
    def open(cls, path: str | Path) -> WindowStore:
        """The store at a path, as it is.

        Raises
        ------
        CorruptResultError
            When there is none, or its manifest has changed.
        """
        path = Path(path)
        manifest = path / MANIFEST
        verify_sealed(
            manifest,
            what="store of a walk",
            writer="walk_forward(store=...)",
            signature=b"{",
            remedy="Delete it: the same walk_forward writes it again and keeps the windows.",
        )
        try:
            walk = json.loads(manifest.read_bytes()[:-TRAILER])
            _check_shape(walk)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptResultError(f"{manifest} does not describe a walk: {error}.") from error
        if walk["format"] > FORMAT:
            raise CorruptResultError(f"{manifest} was written by a newer bayesfactor: upgrade to read it.")
        return cls(path, walk)

    def find(self, name: str, data: str) -> WindowResult | None:
        """The result in a file, if it is there and of this data.

        Parameters
        ----------
        name : of the file.
        data : fingerprint of the panels that the window learns from and is judged on.
        """
        path = self.path / name
        if not path.exists():
            return None
        groups = read_groups(path)
        if groups.get("forecasts", xr.Dataset()).attrs.get("data") != self._of(data):
            return None  # the panel has changed there: made again
        self._confirm(name)
        return WindowResult(forecasts_of(groups, path), groups.get("start"))

    def keep(self, name: str, data: str, result: WindowResult) -> None:
        """Write a window's result at once or not at all."""
        forecasts = result.forecasts.data.assign_attrs(data=self._of(data))
        groups = {"forecasts": forecasts, "windows": xr.Dataset.from_dataframe(result.forecasts.windows)}
        write_groups(self.path / name, groups if result.start is None else groups | {"start": result.start})
        self._confirm(name)

    def _of(self, data: str) -> str:
        """What a file says that it was made of: the walk, so that it counts in no other, and the data."""
        return hashlib.sha256(f"{json.dumps(self.walk['identity'], sort_keys=True)}{data}".encode()).hexdigest()

    def _confirm(self, name: str) -> None:
        """Note that a file belongs to the panel as it is."""
        if name in self.walk["unconfirmed"]:
            self.walk["unconfirmed"].remove(name)
            self._write()

    def forecasts(self) -> Forecasts:
        """All windows of the panel as it is that are there, in order.

        Raises
        ------
        EmptyWindowError
            When there is none.
        """
        there = [
            (number, name)
            for number, name in enumerate(self.walk["windows"])
            if (self.path / name).exists() and name not in self.walk["unconfirmed"]
        ]
        if not there:
            raise EmptyWindowError(f"{self.path} holds no window yet: run walk_forward(store=...) to its end")
        parts = [numbered(read_forecasts(self.path / name), number) for number, name in there]
        return joined(parts, self.walk["attrs"])

    @property
    def missing(self) -> list[str]:
        """Files that are not there yet."""
        return [name for name in self.walk["windows"] if not (self.path / name).exists()]


def _check_shape(walk: Any) -> None:
    """Refuse what `prepare` has not written: names of files elsewhere, parts that are missing or of another type."""
    kinds = {"format": int, "identity": dict, "attrs": dict, "windows": list, "unconfirmed": list}
    wrong = [name for name, kind in kinds.items() if not isinstance(walk[name], kind)]
    if wrong or not isinstance(walk["attrs"]["panel_fingerprint"], str):
        raise ValueError(f"a part is of another type: {wrong or 'attrs'}")
    if not all(re.fullmatch(NAME, name) for name in walk["windows"]) or not set(walk["unconfirmed"]) <= {
        *walk["windows"]
    }:
        raise ValueError("a window's file has another kind of name")


def numbered(forecasts: Forecasts, number: int) -> Forecasts:
    """One window's forecasts as window `number`: when windows come before it, a file keeps its content."""
    data = forecasts.data
    windows = forecasts.windows.set_axis(pd.Index([number], name="window"))
    return Forecasts(data.assign_coords(window=("time", np.full(data.sizes["time"], number))), windows)


def file_of(window: Window) -> str:
    """The file of a window: its training and test dates."""

    def day(when: pd.Timestamp) -> str:
        return f"{when:%Y%m%d}"

    return f"{day(window.test[0])}-{day(window.test[1])}-from-{day(window.train[0])}.zip"
