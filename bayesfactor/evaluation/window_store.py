"""A walk on disk: one sealed file a window, and what the walk is, so that the same call goes on where it stopped."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import xarray as xr

from bayesfactor.errors import CorruptResultError, DataError, EmptyWindowError
from bayesfactor.evaluation.forecasts import Forecasts, joined, read_forecasts, read_groups, write_groups
from bayesfactor.evaluation.windows import Window
from bayesfactor.inference.sealed import TRAILER, remove_partial, verify_sealed, write_sealed

MANIFEST = "walk.json"
FORMAT = 1


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
        `windows`, the names of all files there are to be.
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
        walk = json.loads(json.dumps({"format": FORMAT, "identity": identity, "attrs": attrs, "windows": list(names)}))
        if path.exists() and not path.is_dir():
            raise DataError(f"the store of a walk is a folder, {path} is a file: give another path")
        if path.is_dir() and any(path.iterdir()) and not (path / MANIFEST).exists():
            raise DataError(f"{path} must be new, empty, or the store of a walk, and holds other files: give another")
        path.mkdir(parents=True, exist_ok=True)
        if (path / MANIFEST).exists():
            differing = differences(cls.open(path).walk["identity"], walk["identity"])
            if differing:
                raise DataError(
                    f"{path} must be the store of the same walk, and is of another: {'; '.join(differing)}. Give "
                    "another path, or delete the folder."
                )
        for name in (MANIFEST, *names):
            remove_partial(path / name)
        content = json.dumps(walk, indent=1).encode()
        write_sealed(path / MANIFEST, lambda partial: partial.write_bytes(content))
        return cls(path, walk)

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
            if not {"format", "identity", "attrs", "windows"} <= walk.keys():
                raise ValueError("a part is missing")
            if not all(re.fullmatch(r"[0-9]{8}-[0-9]{8}-from-[0-9]{8}\.zip", name) for name in walk["windows"]):
                raise ValueError("a window's file has another kind of name")
        except (ValueError, TypeError, AttributeError) as error:
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
        if groups.get("forecasts", xr.Dataset()).attrs.get("data") != data:
            return None  # the panel has changed there, or has grown: made again
        return WindowResult(read_forecasts(path), groups.get("start"))

    def keep(self, name: str, data: str, result: WindowResult) -> None:
        """Write a window's result at once or not at all."""
        forecasts = result.forecasts.data.assign_attrs(data=data)
        groups = {"forecasts": forecasts, "windows": xr.Dataset.from_dataframe(result.forecasts.windows)}
        write_groups(self.path / name, groups if result.start is None else groups | {"start": result.start})

    def forecasts(self) -> Forecasts:
        """All windows that are there, in order.

        Raises
        ------
        EmptyWindowError
            When there is none.
        """
        parts = [read_forecasts(self.path / name) for name in self.walk["windows"] if (self.path / name).exists()]
        if not parts:
            raise EmptyWindowError(f"{self.path} holds no window yet: run walk_forward(store=...) to its end")
        return joined(parts, self.walk["attrs"])

    @property
    def missing(self) -> list[str]:
        """Files that are not there yet."""
        return [name for name in self.walk["windows"] if not (self.path / name).exists()]


def file_of(window: Window) -> str:
    """The file of a window: its training and test dates."""

    def day(when: pd.Timestamp) -> str:
        return f"{when:%Y%m%d}"

    return f"{day(window.test[0])}-{day(window.test[1])}-from-{day(window.train[0])}.zip"
