"""Every mutant of the catalogue must fail the exactness check that it names, which the package itself passes."""

from __future__ import annotations

import jax
import pytest

from .checks import CHECKS
from .defects import DEFECTS, planted


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("name", CHECKS)
def test_check_passes_on_the_package(name):
    CHECKS[name]()


@pytest.mark.parametrize("name", DEFECTS)
def test_planted_defect_is_caught(name):
    defect = DEFECTS[name]
    with planted(defect), pytest.raises(AssertionError):
        CHECKS[defect.check]()
