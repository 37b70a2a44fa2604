"""Numbers that files write where they have none."""

from __future__ import annotations

import numpy as np

MISSING_CODES = (-99.99, -999.0, -999.99, -9999.0, -9999.99, -99999.0, -999999.0)


def coded(values: np.ndarray) -> np.ndarray:
    """Which values are one of `MISSING_CODES`, as float64 or rounded to float32."""
    return np.isin(values, (*MISSING_CODES, *np.array(MISSING_CODES, np.float32).astype(float)))
