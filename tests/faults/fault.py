"""What a fault is, how it is tried, and what is wrong with what happened."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import re
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bayesfactor.errors import BayesFactorError, BayesFactorWarning

Call = Callable[[], object]
Make = Callable[[Path, np.random.Generator], Call]


class ExitTwo(Exception):
    """A command that ended with exit code 2 and a message, as one must."""


class Escaped(Exception):
    """A CSV in which the cell stands so that no spreadsheet runs it, as it must."""


@dataclass(frozen=True)
class Fault:
    """A bad input and what it must give.

    Parameters
    ----------
    name : what is bad, in a few words; unique within the surface.
    make : builds the input in a folder and returns the call that must not go well. Arguments of a
        ``functools.partial`` that are frames or series are checked to be unchanged afterwards.
    gives : the exact class raised; a class of warnings where the input is accepted, the warning recorded.
    place : regular expression for where: a column, row, cell, month, file. None where there is no place.
    no_place : why there is none.
    writes : files that the call may write, by name.
    """

    name: str
    make: Make
    gives: type[Exception]
    place: str | None
    no_place: str = ""
    writes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What a fault gave: an exception, or recorded warnings of the package, or neither."""

    found: Exception | None
    message: str
    wrong: tuple[str, ...]


def tried(fault: Fault, root: Path) -> Outcome:
    """Make the input somewhere below `root`, make the call, and say what is wrong with what it gave.

    The input lies two folders deep and the call runs in a third, so that what it writes beside or above is seen.
    """
    folder, here = root / "deep" / "inputs", root / "here"
    folder.mkdir(parents=True)
    here.mkdir()
    call = fault.make(folder, np.random.default_rng(zlib.crc32(fault.name.encode())))
    given = _frames(call)
    before, kept = contents(root), [frame.copy() for frame in given]
    found: Exception | None = None
    value: object = None
    with contextlib.chdir(here), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            value = call()
        except Exception as error:
            found = error
    if found is None and issubclass(fault.gives, Warning):
        found = next((one.message for one in warned if type(one.message) is fault.gives), None)
    message = " ".join(str(found).split())
    wrong = [*_wrong_words(fault, found, message, value), *_wrong_warnings(warned)]
    changed = sorted(name for name, _ in contents(root) ^ before if Path(name).name not in fault.writes)
    if changed:
        wrong.append(f"wrote or changed {changed}")
    if not all(one.equals(other) for one, other in zip(given, kept, strict=True)):
        wrong.append("changed the frame it was given")
    return Outcome(found, message.replace(f"{folder}/", "").replace(f"{root}/", ""), tuple(wrong))


def contents(root: Path) -> set[tuple[str, str]]:
    """Every file and folder below `root` and the digest of what it holds."""
    return {
        (str(path.relative_to(root)), hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "")
        for path in root.rglob("*")
    }


def _frames(call: Call) -> list[pd.DataFrame | pd.Series]:
    if not isinstance(call, functools.partial):
        return []
    return [one for one in (*call.args, *call.keywords.values()) if isinstance(one, pd.DataFrame | pd.Series)]


def _wrong_words(fault: Fault, found: Exception | None, message: str, value: object) -> list[str]:
    if found is None:
        return [f"silent: gave {value!r}"]
    if type(found) is not fault.gives:
        return [f"gave {type(found).__module__}.{type(found).__name__}: {message}"]
    wrong = []
    if fault.place is not None and not re.search(fault.place, message, re.DOTALL):
        wrong.append(f"does not say where ({fault.place}): {message}")
    if isinstance(found, BayesFactorError | ExitTwo) and not _advises(message):
        wrong.append(f"gives no advice: {message}")
    if re.search(r"Traceback|object at 0x|<locals>", message):
        wrong.append(f"shows the insides of Python: {message}")
    if isinstance(found, Warning) and message not in [" ".join(one.split()) for one in getattr(value, "warnings", ())]:
        wrong.append(f"is not recorded in the panel: {message}")
    return wrong


def _advises(message: str) -> bool:
    """What must hold, or a second sentence (or a second part after a colon) that says what to do."""
    return bool(re.search(r"\bmust\b|[.:;] [A-Z(]?\w", message.strip().rstrip(".")))


def _wrong_warnings(warned: list[warnings.WarningMessage]) -> list[str]:
    foreign = [one for one in warned if not issubclass(one.category, BayesFactorWarning)]
    return [f"warned with {one.category.__name__}: {one.message}" for one in foreign]
