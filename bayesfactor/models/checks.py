"""Refusals of settings that models share."""

from __future__ import annotations

import operator
from typing import Any

from bayesfactor.errors import DataError


def widths(name: str, value: Any) -> tuple[int, ...]:
    """Widths of hidden layers as a tuple of positive whole numbers.

    Raises
    ------
    DataError
        When they are not.
    """
    try:
        if isinstance(value, str):
            raise TypeError
        found = tuple(operator.index(width) for width in value)
    except TypeError:
        raise DataError(f"{name} must be a tuple of whole numbers, such as (8,) or (): got {name}={value!r}") from None
    if any(width < 1 for width in found):
        raise DataError(f"hidden layers must have at least one unit: got {name}={found}")
    return found


def one_of(name: str, value: object, allowed: Any) -> None:
    """Refuse a value that is not one of the allowed ones.

    Raises
    ------
    DataError
        With the allowed ones.
    """
    if value not in allowed:
        raise DataError(f"{name} must be one of {', '.join(map(repr, allowed))}: got {value!r}")
