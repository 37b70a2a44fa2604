"""What a bug report needs to say, and whether this machine can run the package."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version

PACKAGES = (
    "bayesfactor",
    "jax",
    "jaxlib",
    "numpyro",
    "equinox",
    "arviz-stats",
    "xarray",
    "pandas",
    "numpy",
    "h5netcdf",
)


def examine() -> tuple[list[tuple[str, str]], list[str]]:
    """Versions, devices, float64, processors and memory.

    Returns
    -------
    Pairs of what and what was found; and problems in words, empty where all is well.
    """
    import jax
    import jax.numpy as jnp

    facts = [("python", f"{platform.python_version()} on {platform.platform()}")]
    facts += [(name, version(name)) for name in PACKAGES]
    facts.append(("devices", ", ".join(str(device) for device in jax.devices())))
    problems = []
    with jax.enable_x64(True):
        step = float(jnp.asarray(1.0) + jnp.asarray(1e-12) - 1.0)
    exact = abs(step - 1e-12) < 1e-15
    facts.append(("float64", "works" if exact else "DOES NOT WORK"))
    if not exact:
        problems.append("float64 does not work: 1 + 1e-12 - 1 is not 1e-12. Usually another JAX in the environment.")
    facts.append(("processors", str(os.cpu_count())))
    facts.append(("memory", _memory()))
    return facts, problems


def _memory() -> str:
    """Physical memory, where the system tells."""
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not on Windows
        return "unknown"
    return f"{size / 2**30:.1f} GiB"
