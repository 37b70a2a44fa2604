"""`fit`: a model, a panel and settings in, a labelled posterior with its verdict out."""

from __future__ import annotations

import platform
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from arviz_base import from_dict

from bayesfactor.components import conjugate
from bayesfactor.components.batches import map_in_batches
from bayesfactor.errors import ConvergenceError, ConvergenceWarning, DataError, DataWarning, first_three
from bayesfactor.inference.checkpoint import Checkpoint, identity
from bayesfactor.inference.diagnostics import diagnose_functions, finite, verdict
from bayesfactor.inference.result import Fit
from bayesfactor.inference.sampling import Draws, run_nuts
from bayesfactor.inference.settings import NUTS, Exact, Inference, as_integer
from bayesfactor.inference.watchdog import watched
from bayesfactor.panel import Panel, PanelArrays

N_PROBES = 16
PACKAGES = ("bayesfactor", "jax", "numpyro", "equinox", "numpy", "xarray", "pandas", "arviz-base", "arviz-stats")
Report = Callable[[int, int], None]


def fit(
    model: Any,
    panel: Panel,
    inference: Inference,
    *,
    seed: int = 0,
    strict: bool = False,
    progress: bool | Report | None = None,
    checkpoint: str | Path | None = None,
) -> Fit:
    """Posterior of a model given a panel.

    Parameters
    ----------
    model : a model of `bayesfactor.models`, or your own (see the page on writing one).
    panel : prepared `Panel`; months without any observed return (the live forecast) are left out.
    inference : `NUTS` or `Exact`.
    seed : fixes every draw: the same call gives the same bits on the same machine and versions.
    strict : raise `ConvergenceError` when the status is not "ok", rather than warn.
    progress : True or False; by default a bar on a terminal and nothing otherwise. Or a function that is called
        with (draws done, draws in all).
    checkpoint : file to save to now and then (`NUTS` only); the same call, in a fresh process too, goes on from it and
        ends with the bits of a run that was never interrupted. Ctrl-C finishes a few draws and saves them, a second
        one stops at once. The file is left when the run is complete: the same call then samples nothing. It holds
        neither data nor code: delete it when the code of your own model or network has changed. Only the last
        call's seconds count as its wall time.

    Returns
    -------
    `Fit`.

    Raises
    ------
    DataError
        When the panel is not prepared, has too few observed months, a continuous characteristic that is the same for
        every observed stock of every month, or returns that do not differ, or does not suit the model. When the
        checkpoint is of another run; the message names what differs.
    CorruptResultError
        When the checkpoint is truncated, changed by as much as one bit, or not a checkpoint.
    ConvergenceError
        When no chain can start, the program stalls, or ``strict=True`` and the status is not "ok".
    """
    seed = as_integer("seed", seed)
    panel = _usable(panel)
    arrays = panel.arrays()
    _check_content(panel, arrays)
    model.check(arrays, panel.times)
    data = model.data(arrays)
    double = _double(inference, reduced=not _holds_stocks(data, arrays))
    data = jax.tree.map(lambda leaf: _cast(leaf, double), data)
    resume = None if checkpoint is None else _checkpoint(checkpoint, model, panel, inference, seed, double)

    began = time.perf_counter()
    bar, report = _progress(progress)
    state = {"done": (0, 1)}
    accelerator = jax.default_backend() != "cpu"

    def work() -> tuple[Draws, dict[str, np.ndarray], np.ndarray]:
        with jax.enable_x64(double):
            if isinstance(inference, NUTS):
                draws = run_nuts(model, data, inference, jax.random.key(seed), _remember(state), checkpoint=resume)
            else:
                draws = _run_exact(model, data, inference, seed)
            probes = _probe_rows(arrays)
            functions = _functions(model, draws.posterior, probes)
        return draws, functions, probes

    with bar:
        try:
            draws, functions, probes = watched(
                work,
                tick=lambda: report(*state["done"]),
                on_accelerator=accelerator,
                interrupt=None if resume is None else resume.ask_to_stop,
            )
        except KeyboardInterrupt:
            if resume is None:
                raise
            raise KeyboardInterrupt(resume.told) from None
    if isinstance(inference, NUTS):
        functions["log_density"] = draws.statistics["lp"]
    tree = _tree(model, panel, draws, functions, probes)
    statistics = tree["sample_stats"].to_dataset() if draws.statistics else None
    diagnosed = tree["functions"].to_dataset()
    # Draws of a closed form are independent by construction: there is nothing to diagnose but their finiteness.
    outcome = finite(diagnosed) if statistics is None else verdict(diagnose_functions(diagnosed), statistics)
    result = Fit(
        model=model,
        inference=inference,
        tree=tree,
        status=outcome.status,
        reasons=outcome.reasons,
        provenance=_provenance(panel, seed, double, time.perf_counter() - began),
    )
    if outcome.status != "ok":
        text = f"the fit's status is {outcome.status!r}: " + "; ".join(outcome.reasons)
        if strict:
            raise ConvergenceError(text)
        warnings.warn(text, ConvergenceWarning, stacklevel=2)
    return result


def _usable(panel: Panel) -> Panel:
    """The months with observed returns of a prepared panel."""
    if not panel.prepared:
        raise DataError(
            "a model needs prepared characteristics, these are raw: call panel.rank_normalise() (or .standardise()) "
            "before fit"
        )
    observed = (panel.data["observed"] & panel.data["in_universe"]).any("asset").values
    if observed.sum() < 2:
        raise DataError(
            f"a fit needs at least 2 periods with observed returns, this panel has {int(observed.sum())} "
            f"of {observed.size}"
        )
    return panel if observed.all() else panel.sel(time=panel.times[observed])


def _check_content(panel: Panel, arrays: PanelArrays) -> None:
    """Refuse data from which nothing can be learnt: the posterior would be the prior, and look like a result."""
    if not arrays.return_scale > 0:
        raise DataError(
            "returns must differ between the stocks of a period: in the typical period of this panel they do not, or "
            "there are fewer than two."
        )
    rows = arrays.characteristics[arrays.observed]
    constant = [name for name, fixed in zip(panel.characteristics, np.ptp(rows, axis=0) == 0, strict=True) if fixed]
    indicators = {str(name) for name in panel.data.characteristic.values[panel.data.kind.values == "indicator"]}
    unusable = [name for name in constant if name not in indicators]
    if unusable:
        raise DataError(
            f"a characteristic must differ between observed stocks: {first_three(unusable)} is the same in all "
            f"{len(arrays.returns)} periods of the training window. Usually its data begin later: drop it with "
            "panel.sel(characteristic=[...]), or begin the window later."
        )
    if constant:
        text = (
            f"indicators that never change in the training window: {first_three(constant)}; their slope is the prior's"
        )
        warnings.warn(text, DataWarning, stacklevel=3)


def _double(inference: Inference, *, reduced: bool) -> bool:
    if isinstance(inference, Exact):
        return True
    return reduced if inference.precision == "auto" else inference.precision == "float64"


def _holds_stocks(data: Any, arrays: PanelArrays) -> bool:
    """Whether a program computes on every stock, not on sums over them."""
    return any(np.shape(leaf)[:2] == arrays.returns.shape for leaf in jax.tree.leaves(data))


def _checkpoint(
    path: str | Path, model: Any, panel: Panel, inference: Inference, seed: int, double: bool
) -> Checkpoint:
    if isinstance(inference, Exact):
        raise DataError("checkpoint= is for long runs and Exact() is none: leave it out, and save the fit")
    precision = "float64" if double else "float32"
    same = identity(model, inference, seed=seed, panel=panel.fingerprint, precision=precision)
    return Checkpoint(path, same, unit="draws per chain (warm-up included)")


def _cast(leaf: Any, double: bool) -> np.ndarray:
    leaf = np.asarray(leaf)
    return leaf.astype(np.float64 if double else np.float32) if leaf.dtype.kind == "f" else leaf


def _run_exact(model: Any, data: Any, settings: Exact, seed: int) -> Draws:
    regression = model.regression(data)
    condition = np.linalg.cond(regression.gram + np.diag(regression.prior_precision))
    if not condition < 1e12:
        raise DataError(
            "the characteristics are collinear (condition number "
            f"{condition:.1e}) and a flat prior cannot tell their slopes apart: drop one, or give "
            "slope_sd a finite value"
        )
    weights, scale = conjugate.draw_posterior(np.random.default_rng(seed), regression, settings.draws * settings.chains)
    shape = (settings.chains, settings.draws)
    posterior = {
        "slope_mean": weights.reshape(*shape, -1),
        "noise_level": scale.reshape(shape),
    }
    return Draws(posterior, {})


def _probe_rows(arrays: PanelArrays) -> np.ndarray:
    """Rows (probe, characteristic) of the training panel, evenly spaced over its stock-months."""
    rows = np.asarray(arrays.characteristics)[np.asarray(arrays.in_universe)]
    return rows[np.linspace(0, len(rows) - 1, N_PROBES).astype(int)]


def _functions(model: Any, posterior: dict[str, np.ndarray], probes: np.ndarray) -> dict[str, np.ndarray]:
    """The model's diagnosed functions for every draw, (chain, draw, ...)."""
    shape = next(iter(posterior.values())).shape[:2]
    flat = {name: jnp.asarray(value.reshape(-1, *value.shape[2:])) for name, value in posterior.items()}
    rows = jnp.asarray(probes)
    mapped = jax.jit(lambda draws: map_in_batches(lambda params: model.functions(params, rows), draws, 64))
    computed = mapped(flat)
    return {name: np.asarray(value).reshape(*shape, *value.shape[1:]) for name, value in computed.items()}


def _tree(model: Any, panel: Panel, draws: Draws, functions: dict[str, np.ndarray], probes: np.ndarray) -> xr.DataTree:
    features = model.feature_names(panel.characteristics)
    coords = {
        "time": panel.times.values,
        "characteristic": list(panel.characteristics),
        "feature": features,
        "feature_2": features,
        "probe": np.arange(len(probes)),
    }
    dims = {
        **model.dims(),
        "response": ["probe"],
        "sensitivity": ["probe", "characteristic"],
        "common_sd": ["probe"],
    }
    groups = {
        "posterior": {name: value for name, value in draws.posterior.items() if not model.is_internal(name)},
        "functions": functions,
    }
    if draws.statistics:
        groups["sample_stats"] = draws.statistics
    tree = from_dict(groups, coords=coords, dims=dims)
    tree["constant_data"] = xr.DataTree(
        xr.Dataset(
            {"probe_characteristics": (("probe", "characteristic"), probes)},
            coords={name: coords[name] for name in ("time", "characteristic", "probe")},
        )
    )
    return tree


def _provenance(panel: Panel, seed: int, double: bool, seconds: float) -> dict[str, Any]:
    device = jax.devices()[0]
    return {
        "seed": seed,
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
        "n_observed": int((panel.data["observed"] & panel.data["in_universe"]).sum()),
    }


def _remember(state: dict[str, tuple[int, int]]) -> Report:
    def report(done: int, total: int) -> None:
        state["done"] = (done, total)

    return report


def _progress(wanted: bool | Report | None) -> tuple[AbstractContextManager[Any], Report]:
    """A context to run under and the function to tell of progress."""
    if callable(wanted):
        return nullcontext(), wanted
    if wanted is None:
        wanted = sys.stderr.isatty()
    if not wanted:
        return nullcontext(), lambda done, total: None
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )
    task = bar.add_task("compiling", total=None)

    def report(done: int, total: int) -> None:
        if done:
            bar.update(task, completed=done, total=total, description="draws per chain")

    return bar, report
