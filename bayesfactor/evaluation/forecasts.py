"""`Forecasts`: what a forecaster said of every month before it, and what came. All that judges reads only that."""

from __future__ import annotations

import re
import tempfile
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
import zarr

from bayesfactor.errors import AlignmentError, CorruptResultError, DataError, first_three
from bayesfactor.evaluation.matching import worst_status
from bayesfactor.inference.sealed import verify_sealed, write_sealed

SCHEMA = 1
BY_ASSET = ("mean", "sd", "realised", "pit", "crps")
BY_MONTH = ("score", "mcse", "common_score")
SCALED = ("mean", "sd", "quantiles", "realised")  # in decimal per period
DATES = ("train_first", "train_last", "validation_first", "validation_last", "test_first", "test_last")
COLUMNS = (*DATES, "n_train", "status", "reasons", "chosen", "seconds", "start")
IDENTITY = ("name", "model", "inference", "seed", "frequency", "panel_fingerprint", "windows")
EPOCH = (1980, 1, 1, 0, 0, 0)  # the date of every entry: the same content is the same bytes
ZIP_SIGNATURE = b"PK\x03\x04"
_NUMBER = re.compile(r"\d[\d,]*(\.\d+)?")
_REMEDY = "Copy it again from a good source, or delete it: the same walk_forward makes it again."


@dataclass(frozen=True, eq=False, repr=False)
class Forecasts:
    """Out-of-sample forecasts by month and asset, and the windows that made them. Made by `walk_forward`.

    Parameters
    ----------
    data : Dataset. Decimal per period and excess; NaN outside the universe of the month:
        `mean`, `sd` (time, asset), predictive mean and sd of the return;
        `quantiles` (time, asset, quantile) of its predictive distribution;
        `realised` (time, asset), the return that came, NaN where there was none (all of the live month);
        `pit` (time, asset), the predictive cdf at the return; `crps` (time, asset), decimal per period;
        `score` (time), log density of the month's returns, joint over stocks (nats), NaN in the live month;
        `mcse` (time), its Monte Carlo error (nats);
        `common_score` (time), that of the forecaster's mean under a month covariance which is common to all
        forecasters of the window: such scores differ by their means only;
        `size` (time, asset), if the panel has it.
        Coordinates `window` (time), which made the forecast, and `scored_assets` (time), a digest of the stocks scored.
        attrs: name, model, inference, seed, frequency, periods_per_year, panel_fingerprint, windows, units, log_base,
        likelihood_kind.
    windows : DataFrame by `window`: train_first, train_last, validation_first, validation_last, test_first, test_last,
        n_train (periods with returns), status, reasons, chosen (of several candidates), seconds, start ("cold" or where
        the fit was started from).

    Raises
    ------
    AlignmentError
        When a variable, coordinate or column is missing, or has other dimensions.
    """

    data: xr.Dataset
    windows: pd.DataFrame

    def __post_init__(self) -> None:
        wanted: dict[str, tuple[str, ...]] = dict.fromkeys(BY_ASSET, ("time", "asset"))
        wanted |= dict.fromkeys(BY_MONTH, ("time",))
        wanted |= {"quantiles": ("time", "asset", "quantile"), "window": ("time",), "scored_assets": ("time",)}
        for name, dims in wanted.items():
            if name not in self.data.variables or self.data[name].dims != dims:
                found = f"dims {self.data[name].dims}" if name in self.data.variables else "nothing of that name"
                raise AlignmentError(f"forecasts must hold {name} over ({', '.join(dims)}): found {found}.")
        lacking = [name for name in COLUMNS if name not in self.windows.columns]
        if lacking:
            raise AlignmentError(f"the table of windows must have a column for each fact: no {first_three(lacking)}.")

    # What it is

    @property
    def name(self) -> str:
        """What the forecaster is called."""
        return str(self.data.attrs["name"])

    @property
    def times(self) -> pd.DatetimeIndex:
        """Period ends that were forecast."""
        return pd.DatetimeIndex(self.data.indexes["time"])

    @property
    def n_judged(self) -> int:
        """How many periods have returns by now."""
        return int(self._came.any(axis=1).sum())

    @property
    def judged(self) -> Forecasts:
        """The periods that have returns by now: those without any have no score."""
        return self.sel(self.times[np.flatnonzero(self._came.any(axis=1))])

    @property
    def live(self) -> xr.Dataset:
        """Mean, sd and quantiles of the periods without any return yet; none if all have."""
        return self.data[["mean", "sd", "quantiles"]].isel(time=~self._came.any(axis=1))

    @property
    def status(self) -> str:
        """The worst status of a window: "ok", "warn" or "failed"."""
        return worst_status(self.windows)

    @property
    def doubts(self) -> pd.Series:
        """How many windows have each reason to doubt them, by `reason`, most frequent first; # stands for numbers.

        Warnings of windows that are "ok" are among them.
        """
        texts = self.windows.loc[self.windows["reasons"] != "", "reasons"]
        kinds = [{_NUMBER.sub("#", part) for part in text.split("; ")} for text in texts]
        found = Counter(kind for parts in kinds for kind in sorted(parts))
        return pd.Series(dict(found.most_common()), dtype=int, name="windows").rename_axis("reason")

    @property
    def _came(self) -> np.ndarray:
        """Which returns (time, asset) have come."""
        return np.isfinite(self.data["realised"].to_numpy())

    def sel(self, time: Any) -> Forecasts:
        """Some periods: a slice of dates, both ends included, or labels."""
        data = self.data.sel(time=time)
        if "time" not in data.dims:
            data = data.expand_dims("time")
        return Forecasts(data, self.windows.loc[np.unique(data["window"].to_numpy())])

    def __repr__(self) -> str:
        counts = self.windows["status"].value_counts()
        told = ", ".join(f"{counts[status]} {status}" for status in ("ok", "warn", "failed") if status in counts)
        times = self.times
        lines = [
            f"<bayesfactor.Forecasts: {self.name}>",
            f"  model      {self.data.attrs['model']}",
            f"  windows    {len(self.windows)} ({told}), {self.data.attrs['windows']}",
            f"  forecast   {len(times)} {self.data.attrs['frequency']} periods, {times[0]:%Y-%m-%d} to "
            f"{times[-1]:%Y-%m-%d}; {self._came.sum():,} returns have come",
        ]
        if self.data.attrs["inference"]:
            lines.insert(2, f"  inference  {self.data.attrs['inference']}")
        return "\n".join(lines)

    # Leaving the package

    def to_dataframe(self) -> pd.DataFrame:
        """One row a stock-month of the universe, by `time` and `asset`; quantiles as columns `q0.05`."""
        flat = self.data[[*BY_ASSET, *(["size"] if "size" in self.data else [])]]
        for level in self.data.indexes["quantile"]:
            flat = flat.assign({f"q{level:g}": self.data["quantiles"].sel(quantile=level, drop=True)})
        frame = flat.drop_vars("scored_assets").to_dataframe()
        return frame[frame["mean"].notna()].rename_axis(index=["time", "asset"])

    def to_csv(self, path: str | Path) -> Path:
        """Write `to_dataframe` with units, name and status in columns; no text can run as a formula."""
        from bayesfactor.quantities.export import to_csv

        frame = self.to_dataframe()
        status = self.windows["status"].to_dict()
        frame["status"] = frame["window"].map(status)
        dataset = frame.reset_index().rename_axis("row").to_xarray().drop_vars("row")
        dataset["forecaster"] = ("row", np.full(len(frame), self.name, dtype=object))
        dataset.attrs["units"] = "decimal per period, excess"
        return to_csv(dataset, path)

    def save(self, path: str | Path) -> Path:
        """Write one file: Zarr in a zip, with its own SHA-256 at the end. `load_forecasts` reads it, xarray can too."""
        return write_groups(Path(path), {"forecasts": self.data, "windows": _as_dataset(self.windows)})


def load_forecasts(path: str | Path) -> Forecasts:
    """Read forecasts: a file that `Forecasts.save` wrote, or the folder given to ``walk_forward(store=...)``.

    Returns
    -------
    `Forecasts`. A folder of a walk that was interrupted gives the windows that are there.

    Raises
    ------
    CorruptResultError
        When a file is truncated, changed by as much as one bit, or not one of ours; or a folder holds no window.
    """
    path = Path(path)
    if path.is_dir():
        from bayesfactor.evaluation.window_store import WindowStore

        return WindowStore.open(path).forecasts()
    return read_forecasts(path)


def read_forecasts(path: Path) -> Forecasts:
    """The forecasts in one file."""
    return forecasts_of(read_groups(path), path)


def forecasts_of(groups: Mapping[str, xr.Dataset], path: Path) -> Forecasts:
    """Forecasts from the groups of a file."""
    try:
        data = groups["forecasts"]
        data = data.assign_coords(asset=data["asset"].astype(object))  # Zarr's own type of text otherwise
        return Forecasts(data, _as_frame(groups["windows"]))
    except (KeyError, AlignmentError) as error:
        raise CorruptResultError(f"{path} does not hold forecasts: {error}. {_REMEDY}") from error


def joined(parts: Sequence[Forecasts], attrs: Mapping[str, Any]) -> Forecasts:
    """Forecasts of consecutive windows as one."""
    data = xr.concat(
        [part.data for part in parts],
        "time",
        join="outer",
        data_vars="all",
        coords="different",
        compat="equals",
        combine_attrs="drop",
    )
    data.attrs = dict(attrs)
    for name in data.variables:
        data[name].encoding = {}
    return Forecasts(data, table_of_windows(pd.concat([part.windows for part in parts])))


# --- files ------------------------------------------------------------------------------------------


def write_groups(path: Path, groups: Mapping[str, xr.Dataset]) -> Path:
    """Write datasets as groups of one zipped Zarr store that ends with its own SHA-256 (see `write_sealed`)."""
    with tempfile.TemporaryDirectory(prefix="bayesfactor-") as folder:
        for name, dataset in groups.items():
            dataset.to_zarr(folder, group=name, mode="a", consolidated=False, zarr_format=2)

        def write(partial: Path) -> None:
            with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:  # the arrays are compressed already
                for part in sorted(one for one in Path(folder).rglob("*") if one.is_file()):
                    archive.writestr(zipfile.ZipInfo(part.relative_to(folder).as_posix(), EPOCH), part.read_bytes())

        write_sealed(path, write)
    return path


def read_groups(path: Path) -> dict[str, xr.Dataset]:
    """The datasets that `write_groups` wrote, in memory."""
    verify_sealed(path, what="file of forecasts", writer="bayesfactor", signature=ZIP_SIGNATURE, remedy=_REMEDY)
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted({key.split("/")[0] for key in archive.namelist() if "/" in key})
        with zarr.storage.ZipStore(path, mode="r") as store:
            return {name: xr.open_zarr(store, group=name, consolidated=False).load() for name in names}
    except (KeyError, ValueError, TypeError, OSError, zipfile.BadZipFile) as error:
        raise CorruptResultError(f"{path} is not a file of forecasts: {error}. {_REMEDY}") from error


def _as_dataset(windows: pd.DataFrame) -> xr.Dataset:
    return xr.Dataset.from_dataframe(windows)


def _as_frame(dataset: xr.Dataset) -> pd.DataFrame:
    return table_of_windows(dataset.to_dataframe())


def table_of_windows(rows: pd.DataFrame) -> pd.DataFrame:
    """The table of `Forecasts.windows` from its rows, whatever types they came in."""
    table = rows[[*COLUMNS]].copy()
    for name in ("status", "reasons", "chosen", "start"):
        table[name] = table[name].astype(str).astype(object)
    for name in DATES:
        table[name] = pd.to_datetime(table[name]).astype("datetime64[ns]")
    table["n_train"], table["seconds"] = table["n_train"].astype(np.int64), table["seconds"].astype(np.float64)
    return table.set_axis(pd.Index(rows.index.to_numpy().astype(np.int64), name="window"))


def require_forecasts(name: str, value: Any) -> Forecasts:
    """Refuse what is no `Forecasts`."""
    if not isinstance(value, Forecasts):
        raise DataError(
            f"{name!r} must be Forecasts, as walk_forward and load_forecasts give them: found {type(value).__name__}."
        )
    return value
