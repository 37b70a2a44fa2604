"""What a program of sorted factors computes on: months, what is priced in them, and the units of its priors."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from bayesfactor.errors import DataError

GAP_ROUNDS = 20  # of filling gaps before the typical residual is measured


class SortedData(NamedTuple):
    """What the program computes on.

    Attributes
    ----------
    characteristics : (month, slot, characteristic), prepared.
    returns : (month, slot) of the stocks, decimal per period, any finite number where not observed.
    in_universe, observed : (month, slot) bool.
    size : (month, slot) known before the month; None without sizes.
    benchmarks : (month, benchmark), decimal per period.
    assets : (month, test asset) returns of what is priced, decimal per period.
    priced : (month, test asset) bool, which of them exist; None where all do.
    slot : (month, test asset) of a stock that is priced; None for portfolios.
    whitened : see `factor_regression`; None where the residual covariance is not full.
    stock_sums : see `beta_regression`, of returns in typical residuals; None where betas are not integrated out.
    position : (month,) place of each in the window.
    window : (time,) positions of all months of the window.
    weight : () months of the window that each month stands for.
    residual_scale : () typical sd of a test asset's residuals, decimal per period (`typical_residual`).
    periods_per_year : ().
    """

    characteristics: Any
    returns: Any
    in_universe: Any
    observed: Any
    size: Any
    benchmarks: Any
    assets: Any
    priced: Any
    slot: Any
    whitened: Any
    stock_sums: Any
    position: Any
    window: Any
    weight: Any
    residual_scale: Any
    periods_per_year: Any

    def batch(self, positions: Any) -> SortedData:
        """The months at `positions` (month,) of the whole window, weighted up to it."""
        by_month = ("characteristics", "returns", "in_universe", "observed", "size", "benchmarks", "assets", "priced")
        values = {name: getattr(self, name) for name in (*by_month, "slot")}
        months = {name: None if value is None else value[positions] for name, value in values.items()}
        weight = self.window.shape[0] / positions.shape[0] + 0 * self.weight
        return self._replace(**months, whitened=None, stock_sums=None, position=positions, weight=weight)


def typical_residual(assets: np.ndarray, priced: np.ndarray, benchmarks: np.ndarray, n_factors: int) -> float:
    """Median over test assets of the sd of what benchmarks and as many common factors leave, decimal per period.

    It sets the units of the priors. Common factors are principal components of what an intercept and the benchmarks
    leave, one fewer than there are assets at most. They take their share of the residuals along, which is given back on
    average; where they leave a single direction that says little of any one asset, the mean is taken over all.

    Parameters
    ----------
    assets, priced : (time, asset) returns and whether they exist.
    benchmarks : (time, benchmark).
    n_factors : deep factors of the model.

    Raises
    ------
    DataError
        When no asset has returns enough to tell, or they do not differ.
    """
    regressors = np.column_stack([np.ones(len(benchmarks)), np.asarray(benchmarks, float)])
    left = np.zeros(assets.shape)
    spare = priced.sum(axis=0) - regressors.shape[1]
    usable = np.flatnonzero(spare >= regressors.shape[1] + n_factors)
    for asset in usable:
        seen = priced[:, asset]
        own = np.asarray(assets[seen, asset], float)
        slopes, *_ = np.linalg.lstsq(regressors[seen], own, rcond=None)
        left[seen, asset] = own - regressors[seen] @ slopes
    n_assets = len(usable)
    n_components = max(min(n_factors, n_assets - 1), 0)
    left = _without_components(left[:, usable], priced[:, usable], n_components)
    squares = np.sum(left**2, axis=0) / (spare[usable] - n_components) * n_assets / max(n_assets - n_components, 1)
    middle = np.mean if n_components and n_assets - n_components < 2 else np.median
    scale = float(np.sqrt(middle(squares))) if n_assets else 0.0
    if not scale > 1e-12:
        raise DataError(
            f"test assets must have returns that {benchmarks.shape[1]} benchmarks and {n_factors} factors do not "
            f"explain entirely, in at least {2 * regressors.shape[1] + n_factors} months: none of {assets.shape[1]} has"
        )
    return scale


def _without_components(values: np.ndarray, seen: np.ndarray, n_components: int) -> np.ndarray:
    """Values (time, asset) less their principal components, 0 in gaps, which are filled by what components say."""
    if not n_components:
        return values
    filled = values
    for _ in range(1 if seen.all() else GAP_ROUNDS):
        components = _components(filled, n_components)
        explained = components @ (components.T @ filled)
        for asset in np.flatnonzero(~seen.all(axis=0)):
            own = seen[:, asset]
            slopes, *_ = np.linalg.lstsq(components[own], values[own, asset], rcond=None)
            explained[:, asset] = components @ slopes
        filled = np.where(seen, values, explained)
    return np.where(seen, values - explained, 0.0)


def _components(values: np.ndarray, count: int) -> np.ndarray:
    """Orthonormal scores (time, component) of the principal components of values (time, asset)."""
    n_time, n_assets = values.shape
    if n_time <= n_assets:
        return np.asarray(np.linalg.eigh(values @ values.T)[1][:, -count:])
    return np.asarray(np.linalg.qr(values @ np.linalg.eigh(values.T @ values)[1][:, -count:])[0])
