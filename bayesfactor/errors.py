"""The one hierarchy of exceptions and warnings.

A message says what must hold, what was found and where, the usual cause and the remedy. Every exception is a
``ValueError``, so code that knows nothing about bayesfactor still catches bad input.
"""

from __future__ import annotations

from collections.abc import Iterable


class BayesFactorError(ValueError):
    """Base of every exception that bayesfactor raises on purpose."""


class DataError(BayesFactorError):
    """The data break a rule that the panel states: infinite values, missing columns, constant characteristics."""


class DuplicateKeyError(DataError):
    """Two rows claim the same (time, asset)."""


class AlignmentError(BayesFactorError):
    """Labels (characteristics, assets, months) are not those that the fit or the other operand has."""


class LookAheadError(BayesFactorError):
    """Something would use information that was not known when the return began."""


class UnitsError(BayesFactorError):
    """Percent where decimal was declared, or a raw return where an excess return was."""


class EmptyWindowError(BayesFactorError):
    """A window of time holds no data."""


class ConvergenceError(BayesFactorError):
    """Inference failed, stalled, or was refused by ``strict=True``."""


class CorruptResultError(BayesFactorError):
    """A saved result is truncated, changed, or not one of ours."""


class UnsafeArchiveError(BayesFactorError):
    """An archive would write outside its folder or unpack to an absurd size."""


class ComparisonError(BayesFactorError):
    """Scores that must not be compared: other months, panels, units or kinds of score."""


class UnsupportedQuantityError(BayesFactorError):
    """The model has no such quantity; the message says why and what to use."""


class BayesFactorWarning(UserWarning):
    """Base of every warning that bayesfactor gives."""


class DataWarning(BayesFactorWarning):
    """Data were accepted, but something was dropped or looks odd."""


class ConvergenceWarning(BayesFactorWarning):
    """A fit whose status is not ``ok``."""


class ComparisonWarning(BayesFactorWarning):
    """A comparison that is weaker than it looks."""


def first_three(cells: Iterable[object]) -> str:
    """The first three cells and the count, as every message of the package names locations.

    >>> first_three([("2016-01", "AAPL"), ("2016-02", "AAPL")])
    '(2016-01, AAPL), (2016-02, AAPL) (2 in all)'
    """
    listed = list(cells)
    shown = ", ".join(
        "(" + ", ".join(str(part) for part in cell) + ")" if isinstance(cell, tuple) else str(cell)
        for cell in listed[:3]
    )
    return f"{shown} ({len(listed):,} in all)"
