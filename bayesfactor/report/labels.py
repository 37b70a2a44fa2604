"""The label that results of a doubtful fit carry in every table."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray as xr


def status_label(result: xr.Dataset) -> str:
    """``FAILED: bands not to be trusted`` for a result whose fit is not ``ok``; empty where it is."""
    status = str(result.attrs.get("status", "unknown"))
    return "" if status == "ok" else f"{status.upper()}: bands not to be trusted"
