"""How a posterior is computed: settings only, the work is in ``sampling`` and ``run``."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass

import numpy as np

from bayesfactor.errors import DataError


@dataclass(frozen=True)
class NUTS:
    """The No-U-Turn sampler of NumPyro, its chains side by side in one program.

    Parameters
    ----------
    warmup : draws used to adapt the step size and the mass matrix, then thrown away, per chain.
    draws : draws kept, per chain.
    chains : number of chains, at least 2 so that convergence can be judged.
    target_accept : raise it (0.9, 0.95) when a fit reports divergences.
    max_tree_depth : at most ``2**max_tree_depth - 1`` gradients a draw.
    mass_matrix : "diagonal" scales every parameter by itself; "dense" looks for a mode first and moves along the axes
        of the curvature there: for few parameters that trade against each other, and densities that have a mode (not
        hierarchies whose parts are not in units of their scale). It costs 400 gradients, two a parameter, and a square
        matrix a chain. "auto" is "dense" for models that say so, up to 400 parameters.
    start_radius : chains start within this distance of zero in unconstrained space, network weights from their
        prior. NumPyro's own radius of 2 fails on large correlation matrices.
    precision : "float32", "float64", or "auto": float64 where sufficient statistics make it free, float32 for
        models that sweep the stocks at every gradient.
    """

    warmup: int = 500
    draws: int = 500
    chains: int = 4
    target_accept: float = 0.8
    max_tree_depth: int = 10
    mass_matrix: str = "auto"
    start_radius: float = 0.1
    precision: str = "auto"

    def __post_init__(self) -> None:
        _as_integers(self, "warmup", "draws", "chains", "max_tree_depth")
        if self.warmup < 20 or self.draws < 4 or self.chains < 2:
            raise DataError(
                "NUTS needs warmup >= 20, draws >= 4 and chains >= 2 (convergence is judged between chains): got "
                f"warmup={self.warmup}, draws={self.draws}, chains={self.chains}"
            )
        if not 0.5 <= self.target_accept < 1:
            raise DataError(f"target_accept must be in [0.5, 1): got {self.target_accept}")
        if self.max_tree_depth < 1:
            raise DataError(f"max_tree_depth must be at least 1: got {self.max_tree_depth}")
        if self.mass_matrix not in ("auto", "diagonal", "dense"):
            raise DataError(f"mass_matrix must be 'auto', 'diagonal' or 'dense': got {self.mass_matrix!r}")
        _check_positive("start_radius", self.start_radius)
        _check_precision(self.precision)


@dataclass(frozen=True)
class Exact:
    """Independent draws from a posterior known in closed form (linear model, full pooling, normal noise).

    Parameters
    ----------
    draws : draws per chain, in antithetic pairs.
    chains : kept for one shape of result; all draws are independent of each other up to the pairs.
    """

    draws: int = 1000
    chains: int = 4

    def __post_init__(self) -> None:
        _as_integers(self, "draws", "chains")
        if self.draws < 4 or self.draws % 2 or self.chains < 1:
            raise DataError(
                f"Exact needs an even number of draws >= 4 and chains >= 1: got draws={self.draws}, "
                f"chains={self.chains}"
            )


@dataclass(frozen=True)
class SVI:
    """Variational inference: a Gaussian over the unconstrained parameters, several restarts in one program.

    Parameters
    ----------
    guide : "auto" integrates out what can be (the average slopes where the noise is normal, the months' shocks where
        it is not), puts a Gaussian on the rest (full covariance up to 400 parameters, independent above), and moves
        its draws by a few Hamiltonian trajectories. "normal" (independent), "low_rank" and "full" are plain Gaussians
        on all parameters, for comparison: at the signal-to-noise of returns they lose the signal (decision 10).
    steps : "auto" stops when the bound gains nothing more; or how many.
    batch : months a step, weighted up to the whole window; all of them if None. With minibatches nothing is moved,
        average slopes are part of the guide, and above 400 parameters it is of low rank.
    restarts : fits from different starts; each gives a chain of draws.
    draws : draws a restart.
    polish : trajectories that adapt to the posterior before draws are kept; 0 draws from the Gaussian itself.
    rank : of the low-rank guide.
    particles : draws that a step averages over, an even number: they come in antithetic pairs.
    learning_rate : of the first stage; the second has a fifth of it.
    start_radius, precision : as in `NUTS`.
    """

    guide: str = "auto"
    steps: int | str = "auto"
    batch: int | None = None
    restarts: int = 4
    draws: int = 500
    polish: int = 16
    rank: int = 20
    particles: int = 2
    learning_rate: float = 0.02
    start_radius: float = 0.1
    precision: str = "auto"

    def __post_init__(self) -> None:
        _as_integers(self, "restarts", "draws", "polish", "rank", "particles")
        if self.guide not in ("auto", "normal", "low_rank", "full"):
            raise DataError(f"guide must be 'auto', 'normal', 'low_rank' or 'full': got {self.guide!r}")
        if isinstance(self.steps, str) and self.steps != "auto":
            raise DataError(f"steps must be 'auto' or a whole number: got {self.steps!r}")
        if self.steps != "auto":
            _as_integers(self, "steps")
        if self.batch is not None:
            _as_integers(self, "batch")
        counts = {"restarts": 2, "draws": 4, "polish": 0, "rank": 1, "particles": 2, "batch": 1, "steps": 100}
        for name, least in counts.items():
            value = getattr(self, name)
            if isinstance(value, int) and value < least:
                raise DataError(f"SVI needs {name} >= {least}: got {name}={value}")
        if self.particles % 2:
            raise DataError(f"particles must be even, they come in antithetic pairs: got {self.particles}")
        _check_positive("learning_rate", self.learning_rate)
        _check_positive("start_radius", self.start_radius)
        _check_precision(self.precision)


Inference = NUTS | SVI | Exact


def as_integer(name: str, value: object) -> int:
    """A whole number as Python's own: NumPy's would not go into a file.

    Raises
    ------
    DataError
        When it is none.
    """
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise DataError(f"{name} must be a whole number: got {value!r}") from None


def as_seed(value: object) -> int:
    """A seed as Python's own whole number.

    Raises
    ------
    DataError
        When it is none, or not between 0 and 2**32 - 1: JAX would take what is left of it, and two seeds be one.
    """
    seed = as_integer("seed", value)
    if not 0 <= seed < 2**32:
        raise DataError(f"seed must be between 0 and 2**32 - 1: got {seed}")
    return seed


def _check_positive(name: str, value: object) -> None:
    if not (isinstance(value, int | float | np.number) and 0 < value < math.inf):
        raise DataError(f"{name} must be a positive number: got {value!r}")


def _check_precision(value: str) -> None:
    if value not in ("auto", "float32", "float64"):
        raise DataError(f"precision must be 'auto', 'float32' or 'float64': got {value!r}")


def _as_integers(settings: Inference, *names: str) -> None:
    for name in names:
        object.__setattr__(settings, name, as_integer(name, getattr(settings, name)))
