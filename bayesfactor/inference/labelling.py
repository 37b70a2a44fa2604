"""Arrays of a run as a labelled tree, and where they came from."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import jax
import numpy as np
import xarray as xr
from arviz_base import from_dict

from bayesfactor.inference.by_month import is_by_month
from bayesfactor.inference.sampling import Draws
from bayesfactor.inference.start import Start
from bayesfactor.inference.streaming import Window
from bayesfactor.panel import Panel

PACKAGES = (
    "bayesfactor",
    "jax",
    "jaxlib",
    "numpyro",
    "optax",
    "equinox",
    "numpy",
    "xarray",
    "pandas",
    "arviz-base",
    "arviz-stats",
)


def tree_of(
    model: Any,
    window: Window,
    draws: Draws,
    functions: dict[str, np.ndarray],
    probes: np.ndarray,
    end: Start | None,
    constants: dict[str, Any],
) -> xr.DataTree:
    """The tree of a `Fit`."""
    characteristics = window.panel.characteristics
    features = model.feature_names(characteristics)
    coords: dict[str, Any] = {
        "time": window.times.values,
        "characteristic": list(characteristics),
        "feature": features,
        "feature_2": features,
        "probe": np.arange(len(probes)),
    }
    if hasattr(model, "coords") and isinstance(window.panel, Panel):
        coords |= model.coords(window.panel.data)
    dims = {
        **model.dims(),
        "response": ["probe"],
        "sensitivity": ["probe", "characteristic"],
        "common_sd": ["probe"],
    }
    posterior = {name: value for name, value in draws.posterior.items() if not model.is_internal(name)}
    if is_by_month(model):
        dims["sensitivity"] = ["characteristic"]
        dims = {name: ["time", *dims.get(name, [])] for name in (*posterior, *functions, *draws.statistics)}
    groups = {
        "posterior": posterior,
        "functions": functions,
    }
    if draws.statistics:
        groups["sample_stats"] = draws.statistics
    tree = from_dict(groups, coords=coords, dims=dims)
    if draws.guide is not None:
        tree["guide"] = xr.DataTree(_guide_dataset(draws.guide, window.times.values if is_by_month(model) else None))
    tree["constant_data"] = xr.DataTree(
        xr.Dataset(
            {"probe_characteristics": (("probe", "characteristic"), probes), **constants},
            coords={name: coords[name] for name in ("time", "characteristic", "probe")},
        )
    )
    if end is not None:
        tree["start"] = xr.DataTree(end.to_dataset())
    return tree


def _guide_dataset(guide: dict[str, np.ndarray], times: np.ndarray | None) -> xr.Dataset:
    """Parameters and diagnostics of the guide, restarts as chains."""
    dims = {
        "loc": ["parameter"],
        "log_scale": ["parameter"],
        "lower": ["parameter", "parameter_2"],
        "factor": ["parameter", "rank"],
        "elbo": ["chunk"],
        "log_weight": ["guide_draw"],
        "khat": [],
        "n_steps": [],
        "acceptance": [],
    }
    leading = ["chain"] if times is None else ["chain", "time"]
    variables = {name: ([*leading, *dims[name]], value) for name, value in guide.items()}
    coords: dict[str, Any] = {"chain": np.arange(len(guide["loc"]))}
    return xr.Dataset(variables, coords=coords if times is None else coords | {"time": times})


def provenance_of(
    window: Window, seed: int, double: bool, seconds: float, start: Start | None, **settled: str
) -> dict[str, Any]:
    """What a `Fit` says of where it came from, with settings that were left open and how the run `settled` them."""
    device, panel = jax.devices()[0], window.panel
    return {
        "seed": seed,
        "start": "cold" if start is None else start.told,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "wall_seconds": round(seconds, 3),
        "device": f"{device.platform}:{device.device_kind}",
        "precision": "float64" if double else "float32",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "panel_fingerprint": panel.fingerprint,
        "panel_history": list(panel.history),
        "panel_warnings": list(panel.warnings),
        "frequency": panel.frequency,
        "periods_per_year": panel.periods_per_year,
        "preparation": panel.preparation,
        "n_observed": int(window.n_observed.sum()),
        **settled,
    }
