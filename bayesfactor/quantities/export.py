"""Results as CSV that a spreadsheet can open without harm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import xarray as xr

from bayesfactor.errors import DataError
from bayesfactor.inference.sealed import require_folder

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def to_csv(dataset: xr.Dataset, path: str | Path) -> Path:
    """Write a quantity as a long CSV, one row a label, with its units in a column.

    Text that a spreadsheet would run as a formula (starting with ``= + - @``) is preceded by an apostrophe; a fit
    whose status is not "ok", whose bands are uncalibrated or a pseudo-likelihood's says so in every row.

    Parameters
    ----------
    dataset : result of a quantity.
    path : the file to write.

    Returns
    -------
    The path.

    Raises
    ------
    DataError
        When it is no Dataset, or there is no such folder.
    """
    path = Path(path)
    if not isinstance(dataset, xr.Dataset):
        raise DataError(
            f"to_csv writes the Dataset of a quantity: found {type(dataset).__name__}. Frames have their own."
        )
    require_folder(path)
    frame = dataset.to_dataframe().reset_index()
    frame = frame.dropna(how="all", subset=list(dataset.data_vars))
    for column in frame.columns:
        if frame[column].dtype.kind not in "fiubM":
            frame[column] = frame[column].map(_escaped)
    told = ["units", "status", "bands"]
    if dataset.attrs.get("likelihood_kind") == "pseudo-likelihood":
        told.append("likelihood_kind")
    for name in told:
        if name in dataset.attrs:
            frame[name] = _escaped(dataset.attrs[name])
    # With CRLF line ends (RFC 4180) text that holds a bare carriage return is quoted and cannot start a row.
    frame.rename(columns=_escaped).to_csv(path, index=False, lineterminator="\r\n")
    return path


def _escaped(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value
