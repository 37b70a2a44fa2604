"""The mean of normal returns: a posterior that is a line of algebra, and a sampler that may be wrong by a factor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

from bayesfactor.calibration import CalibrationResult, Design, calibrate
from bayesfactor.components.month import MonthLaw
from bayesfactor.inference.sampling import Draws
from bayesfactor.panel import PanelArrays, simulate

SD, PRIOR_SD = 0.08, 0.05


@dataclass(frozen=True)
class NormalMean:
    """``r ~ N(mu, SD^2)``, ``mu ~ N(0, PRIOR_SD^2)``."""

    def __call__(self, data: PanelArrays) -> None:
        mean = numpyro.sample("mean", dist.Normal(0.0, PRIOR_SD))
        density = jnp.where(data.observed, dist.Normal(mean, SD).log_prob(data.returns), 0.0)
        numpyro.factor("returns", jnp.sum(density))

    def data(self, arrays: PanelArrays) -> PanelArrays:
        return arrays

    def month_law(self, params: Any, z: Any) -> MonthLaw:
        n = z.shape[0]
        return MonthLaw(jnp.full(n, params["mean"]), jnp.zeros((n, 0)), jnp.zeros((0, 0)), jnp.asarray(SD))

    def training_law(self, params: Any, z: Any, position: Any) -> MonthLaw:
        return self.month_law(params, z)

    def functions(self, params: Any, probes: Any) -> dict[str, Any]:
        return {"mean": params["mean"]}


@dataclass(frozen=True)
class Conjugate:
    """Independent draws of the posterior, its sd times `factor` and its mean moved by `shift` posterior sd."""

    factor: float = 1.0
    shift: float = 0.0
    draws: int = 50

    def __call__(self, model: NormalMean, data: PanelArrays, rng_keys: jax.Array) -> Draws:
        returns, observed = np.asarray(data.returns, float), np.asarray(data.observed)
        count = observed.sum(axis=(1, 2))
        precision = count / SD**2 + 1 / PRIOR_SD**2
        mean = np.where(observed, returns, 0.0).sum(axis=(1, 2)) / SD**2 / precision
        normals = np.asarray(jax.vmap(lambda key: jax.random.normal(key, (2, self.draws)))(rng_keys))
        sd = precision[:, None, None] ** -0.5
        return Draws({"mean": mean[:, None, None] + sd * (self.shift + self.factor * normals)}, {})


def panel() -> Any:
    """Six months of five assets: small, so that thousands of data sets take seconds."""
    return simulate.economy(n_months=6, n_assets=5, n_characteristics=2, seed=1).panel


def study(fits: int, sampler: Conjugate = Conjugate(), **settings: Any) -> CalibrationResult:
    return calibrate(NormalMean(), sampler, design=panel(), fits=fits, **settings)


def main(store: str, fits: int) -> None:
    """Make the chunks of a study and print a line for each: for the test that kills it."""

    def told(done: int, fits: int, attempt: int, seconds: float) -> None:
        print(done, flush=True)  # noqa: T201

    calibrate(
        NormalMean(), Conjugate(), design=Design(n_months=4, n_assets=4), fits=fits, chunk=4, store=store, progress=told
    )
