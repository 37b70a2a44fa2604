"""The label that results of a doubtful fit carry in every table."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray as xr


def status_label(result: xr.Dataset) -> str:
    """``FAILED: bands not to be trusted`` for a result whose fit is not ``ok``; empty where it is.

    Bands of a guide that fails its check are called uncalibrated whatever the status.
    """
    status = str(result.attrs.get("status", "unknown"))
    uncalibrated = result.attrs.get("bands") == "uncalibrated"
    if status == "ok" and not uncalibrated:
        return ""
    return f"{status.upper()}: bands " + ("uncalibrated (k-hat)" if uncalibrated else "not to be trusted")
