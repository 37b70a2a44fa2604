"""Shared fixtures: compiled programs are cached on disk, real data are found in one place."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")
# Two workers on two cores: threads of their own would wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Tests wait for the compiler more than for what it makes: half the time without LLVM's optimisation.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")


MAPPINGS_ALLOWED = 20_000  # of Linux's usual 65,530; a compiled program takes some


@pytest.fixture(autouse=True, scope="module")
def room_for_programs() -> Iterator[None]:
    """Forget compiled programs when there are many: out of memory mappings, LLVM aborts the process."""
    yield
    mappings = Path("/proc/self/maps")
    if mappings.exists() and mappings.read_bytes().count(b"\n") > MAPPINGS_ALLOWED:
        import jax

        jax.clear_caches()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the real panels that the licence does not let us embed."""
    folder = Path(os.environ.get("BAYESFACTOR_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "panels").is_dir():
        pytest.skip(f"needs the real panels: no folder {folder}/panels (set BAYESFACTOR_SHARED_DATA to it)")
    return folder
