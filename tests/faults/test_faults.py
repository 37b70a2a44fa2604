"""Every fault of the corpus is refused in the package's own words, and what tries faults would notice if not."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayesfactor.errors import BayesFactorError, BayesFactorWarning, DataError, DataWarning

from .corpus import SURFACES
from .fault import Escaped, ExitTwo, Fault, tried
from .page import PAGE, cell, rows_of

CASES = [pytest.param(fault, id=f"{surface}: {fault.name}") for surface, faults in SURFACES.items() for fault in faults]
FAULTS = [case.values[0] for case in CASES]


@pytest.mark.parametrize("fault", CASES)
def test_it_is_refused(fault: Fault, tmp_path: Path) -> None:
    outcome = tried(fault, tmp_path)
    assert not outcome.wrong, "\n".join(outcome.wrong)


def test_the_corpus_is_what_it_claims_to_be() -> None:
    for surface, faults in SURFACES.items():
        names = [fault.name for fault in faults]
        assert len(set(names)) == len(names), surface
    assert all(issubclass(fault.gives, BayesFactorError | BayesFactorWarning | ExitTwo | Escaped) for fault in FAULTS)
    raising = [fault for fault in FAULTS if issubclass(fault.gives, BayesFactorError)]
    assert len(raising) >= 200
    placed = [fault for fault in raising if fault.place is not None]
    assert len(placed) >= 0.95 * len(raising)
    assert all(fault.no_place for fault in FAULTS if fault.place is None)


def test_the_page_lists_every_fault() -> None:
    listed = rows_of(PAGE.read_text(encoding="utf-8"))
    held = [
        (surface, cell(fault.name), fault.gives.__name__) for surface, faults in SURFACES.items() for fault in faults
    ]
    assert listed == held, "docs/faults.md is old: python -m tests.faults"


def raises(error: Exception) -> object:
    def make(folder: Path, _rng: np.random.Generator) -> object:
        def call() -> None:
            raise error

        return call

    return make


def silent(folder: Path, _rng: np.random.Generator) -> object:
    return lambda: None


def writes(folder: Path, _rng: np.random.Generator) -> object:
    def call() -> None:
        (folder.parent.parent / "escaped").touch()
        raise DataError("x must be here. It is not.")

    return call


def changes_its_input(folder: Path, _rng: np.random.Generator) -> object:
    def call(frame: pd.DataFrame) -> None:
        frame.loc[0, "x"] = 5.0
        raise DataError("x must be here. It is not.")

    return functools.partial(call, pd.DataFrame({"x": [1.0]}))


def warns_only(folder: Path, _rng: np.random.Generator) -> object:
    return lambda: pd.to_datetime(["2015"]).tz_localize("UTC").to_period("M")


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (silent, "silent"),
        (raises(KeyError("x")), r"gave builtins\.KeyError"),
        (raises(BayesFactorError("x must be here.")), "gave bayesfactor.errors.BayesFactorError"),
        (raises(DataError("something must be here. It is not.")), "does not say where"),
        (raises(DataError("x is bad")), "gives no advice"),
        (raises(DataError("x must be <function f at 0x1>, not <object object at 0x7f>")), "insides of Python"),
        (writes, "wrote or changed"),
        (changes_its_input, "changed the frame"),
        (warns_only, "warned with UserWarning"),
    ],
)
def test_what_tries_faults_sees_every_way_to_fail(make: object, wrong: str, tmp_path: Path) -> None:
    outcome = tried(Fault("planted", make, DataError, r"\bx\b"), tmp_path)
    assert any(wrong.replace("\\", "") in text for text in outcome.wrong), outcome.wrong


def test_a_warning_that_is_not_recorded_is_seen(tmp_path: Path) -> None:
    def make(folder: Path, _rng: np.random.Generator) -> object:
        import warnings

        return lambda: warnings.warn("x was dropped", DataWarning, stacklevel=1)

    outcome = tried(Fault("planted", make, DataWarning, "x"), tmp_path)
    assert [text.partition(":")[0] for text in outcome.wrong] == ["is not recorded in the panel"]
