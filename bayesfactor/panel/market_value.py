"""What `size` holds, market values or their logarithms: told apart before anything is weighted by them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bayesfactor.errors import UnitsError

Floats = NDArray[np.floating]
LARGEST_LOG = 40.0  # no market value, in any currency, has a larger logarithm
ENOUGH_ASSETS = 20  # of a period, to tell market values from logarithms
LARGEST_SHARE = 0.9  # of the market, in one asset
LEAST_SPREAD = 4.0  # the largest of many market values is more than this many medians; of their logarithms it is not


def market_values(
    size: Floats, size_in: str | None, *, cells: Callable[[np.ndarray], str], period: Callable[[int], str]
) -> Floats:
    """Positive sizes, up to a factor by period, that weights can be made of.

    Parameters
    ----------
    size : (time, asset), NaN where there is none.
    size_in : "level" (market value, in any unit) or "log" (its logarithm).
    cells : names cells (time, asset) in a message, of a boolean array.
    period : names the period at a position.

    Raises
    ------
    UnitsError
        When `size_in` is neither, or sizes are not what it says.
    """
    known = ~np.isnan(size)
    if size_in == "log":
        _refuse(known & (np.abs(size) > LARGEST_LOG), f"logarithms, within {LARGEST_LOG:.0f} of 0", "level", cells)
        logs = np.where(known, size, -np.inf)
        top = logs.max(axis=1, keepdims=True)
        value = np.where(known, np.exp(logs - np.where(np.isfinite(top), top, 0.0)), np.nan)
        _refuse_levels(value, period)
        return value
    if size_in != "level":
        raise UnitsError(
            'value weights must know what `size` holds: size_in="level" (market value, in any unit) or "log" (its '
            f"logarithm); found {size_in!r}. Weights made of logarithms would be nearly equal without anybody noticing."
        )
    _refuse(known & (size <= 0), "market values, above 0", "log", cells)
    _refuse_logarithms(size, period)
    return size


def _refuse(bad: np.ndarray, must: str, other: str, cells: Callable[[np.ndarray], str]) -> None:
    if bad.any():
        raise UnitsError(f'sizes must be {must}: found otherwise at {cells(bad)}. Perhaps size_in="{other}" is meant.')


def _refuse_levels(value: Floats, period: Callable[[int], str]) -> None:
    """Refuse logarithms of which one asset would hold nearly all: market values in billions, taken for them."""
    many = np.flatnonzero((~np.isnan(value)).sum(axis=1) >= ENOUGH_ASSETS)
    share = np.nanmax(value[many], axis=1) / np.nansum(value[many], axis=1) if many.size else np.empty(0)
    alone = share > LARGEST_SHARE
    if 2 * alone.sum() > many.size:
        t = int(np.argmax(alone))
        raise UnitsError(
            f"sizes must be logarithms: in {period(int(many[t]))} one asset would hold {share[t]:.1%} of the market "
            f'({alone.sum():,} periods alike). Usually `size` is market value: say size_in="level".'
        )


def _refuse_logarithms(size: Floats, period: Callable[[int], str]) -> None:
    """Refuse sizes that are as close together as logarithms, where there are enough to tell."""
    many = np.flatnonzero((~np.isnan(size)).sum(axis=1) >= ENOUGH_ASSETS)
    if not many.size:
        return
    top, middle = np.nanmax(size[many], axis=1), np.nanmedian(size[many], axis=1)
    close = (top < LARGEST_LOG) & (top < LEAST_SPREAD * middle)
    if 2 * close.sum() > many.size:
        t = int(np.argmax(close))
        raise UnitsError(
            f"sizes must be market values: in {period(int(many[t]))} the largest is {top[t]:.4g} and the median "
            f"{middle[t]:.4g} ({close.sum():,} periods alike), as close as logarithms are. Usually `size` is the "
            'logarithm of market value: say size_in="log". If these are market values, give them in a smaller unit, '
            "such as millions for billions: weights do not depend on it."
        )
