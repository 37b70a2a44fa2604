"""`Fit`: a posterior with its labels, its verdict and where it came from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import arviz_stats
import numpy as np
import pandas as pd
import xarray as xr

from bayesfactor.inference.diagnostics import KHAT_LIMIT
from bayesfactor.inference.settings import Inference
from bayesfactor.inference.start import Start


@dataclass(frozen=True, eq=False, repr=False)
class Fit:
    """The posterior of a model given a panel.

    Attributes
    ----------
    model : the model that was fitted.
    inference : `NUTS`, `SVI` or `Exact`, as it was run.
    tree : xarray.DataTree in ArviZ's schema: `posterior` (chain, draw, ...), decimal per period;
        `functions` (chain, draw, ...), what was diagnosed; `sample_stats`; `guide` of a variational fit
        (its parameters, `elbo`, `khat`); `constant_data` with the probe rows; `start` (see the property).
    status : "ok", "warn" or "failed".
    reasons : why the status is not "ok".
    provenance : seed, versions, device, wall time, panel fingerprint, how the panel was made; of NUTS its mass matrix.
    """

    model: Any
    inference: Inference
    tree: xr.DataTree
    status: str
    reasons: tuple[str, ...]
    provenance: dict[str, Any]

    @property
    def _training(self) -> xr.Dataset:
        return self.tree["constant_data"].to_dataset()

    @property
    def characteristics(self) -> tuple[str, ...]:
        """Names of the characteristics the model was fitted on, in order."""
        return tuple(str(name) for name in self._training.indexes["characteristic"])

    @property
    def train_times(self) -> pd.DatetimeIndex:
        """Periods (their ends) whose returns the fit has seen."""
        return pd.DatetimeIndex(self._training.indexes["time"])

    @property
    def panel_fingerprint(self) -> str:
        """SHA-256 of the training panel's content."""
        return str(self.provenance["panel_fingerprint"])

    @property
    def frequency(self) -> str:
        """Frequency of the training panel: "monthly", "weekly" or "daily"."""
        return str(self.provenance["frequency"])

    @property
    def preparation(self) -> str:
        """How the characteristics were prepared: "rank" or "standardise"."""
        return str(self.provenance["preparation"])

    @property
    def likelihood_kind(self) -> str:
        """What the model's likelihood is; only densities are compared as densities."""
        return str(self.model.likelihood_kind)

    @property
    def start(self) -> Start | None:
        """Where the chains or guides ended, for `fit(..., start=...)` of a later window.

        None for closed forms, for ``pooling="none"`` and for files of versions that did not keep it.
        """
        return Start.from_dataset(self.tree["start"].to_dataset()) if "start" in self.tree else None

    def parameters(self) -> dict[str, np.ndarray]:
        """Posterior draws (chain * draw, ...) by name, chains one after the other."""
        posterior = self.tree["posterior"]
        return {
            str(name): np.asarray(variable).reshape(-1, *variable.shape[2:])
            for name, variable in posterior.data_vars.items()
        }

    @property
    def uncalibrated(self) -> bool:
        """Whether the bands come from a guide that fails its check (Pareto k-hat of 0.7 or more): labelled so."""
        return "guide" in self.tree and not bool((self.tree["guide"]["khat"] < KHAT_LIMIT).all())

    @property
    def shape(self) -> tuple[int, int]:
        """Number of chains and of draws per chain."""
        sizes = self.tree["posterior"].sizes
        return sizes["chain"], sizes["draw"]

    def summary(self, prob: float = 0.9) -> pd.DataFrame:
        """Posterior of what the model means, with its diagnostics.

        Network weights are left out: they have no meaning one by one (see `sensitivities` and `interactions`). Where
        every month is a fit of its own (``pooling="none"``), the quantities are averages over the months.

        Parameters
        ----------
        prob : probability inside the equal-tailed band.

        Returns
        -------
        DataFrame by quantity: mean, sd, band, ess_bulk, ess_tail, r_hat, mcse; returns in decimal per period. A column
        `bands` says so where they are uncalibrated.
        """
        functions = self.tree["functions"].to_dataset()
        names = [name for name in functions.data_vars if name != "sensitivity"]
        functions = functions[names].mean("time") if "time" in functions.dims else functions[names]
        tree = xr.DataTree.from_dict({"functions": functions})
        table = arviz_stats.summary(tree, group="functions", ci_prob=prob, ci_kind="eti", round_to="none")
        table.attrs["status"] = self.status
        return table.assign(bands="uncalibrated") if self.uncalibrated else table

    def save(self, path: str | Path) -> Path:
        """Write the fit to one netCDF file that ends with its own SHA-256; returns the path.

        The file appears under its name only when it is complete. `bayesfactor.load` reads it back, xarray and ArviZ
        can open it too.
        """
        from bayesfactor.inference.storage import save

        return save(self, path)

    def __repr__(self) -> str:
        chains, draws = self.shape
        times = self.train_times
        lines = [
            f"<bayesfactor.Fit: {self.status}>",
            f"  model      {self.model}",
            f"  inference  {type(self.inference).__name__}, {chains} chains of {draws:,} draws, "
            f"{self.provenance['wall_seconds']:.0f} s on {self.provenance['device']}",
            f"  trained on {len(times)} {self.frequency} periods, {times[0]:%Y-%m-%d} to {times[-1]:%Y-%m-%d}, "
            f"{len(self.characteristics)} characteristics",
        ]
        return "\n".join([*lines, *(f"  {self.status}: {reason}" for reason in self.reasons)])
