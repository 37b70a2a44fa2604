"""One order and one sign for factors that have neither.

Sorted factors may change places and signs from draw to draw, and nothing else: a long-short portfolio turned round is
the same model with the opposite loadings. So draws are aligned by signed permutations, never by rotations, which would
mix portfolios (and least squares would hide a wrong scale).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from bayesfactor.errors import AlignmentError, UnsupportedQuantityError, first_three
from bayesfactor.inference import Fit

ROUNDS = 20
# Where a variable of the posterior has factors: the axes counted from the end, and whether it changes with their signs.
FACTOR_AXES = {
    "factor_return": (-1,),
    "sort_weight": (-2,),
    "loading": (-1,),
    "loading_level": (-1,),
    "loading_map": (-2,),
    "factor_mean": (-1,),
    "factor_covariance": (-2, -1),
}


class Alignment(NamedTuple):
    """What makes draws comparable.

    Attributes
    ----------
    order : (draw, factor) which of the draw's factors stands at each place.
    sign : (draw, factor) of it, 1 or -1.
    reference : (time, factor) that they were aligned to.
    """

    order: NDArray[np.int64]
    sign: NDArray[np.float64]
    reference: NDArray[np.float64]

    def apply(self, values: np.ndarray, axis: int) -> np.ndarray:
        """Draws (draw, ...) with the factors of one axis, counted from the end, in order; what follows them stays."""
        n_factors = self.order.shape[1]
        moved = np.moveaxis(values, axis, 1)
        extra = (1,) * (moved.ndim - 2)
        taken = np.take_along_axis(moved[:, :n_factors], self.order.reshape(*self.order.shape, *extra), axis=1)
        taken = taken * self.sign.reshape(*self.sign.shape, *extra).astype(values.dtype)
        return np.moveaxis(np.concatenate([taken, moved[:, n_factors:]], axis=1), 1, axis)


def align(fit: Fit, reference: xr.DataArray | None = None) -> Fit:
    """The same fit with its factors in one order and of one sign in all draws and chains.

    Parameters
    ----------
    fit : of a model with sorted factors.
    reference : (time, factor) returns of factors to align to, such as another fit's mean factors, over months that the
        fit has seen. By default the draws' own consensus: factors that explain most of the test assets come first, and
        each earns a positive mean.

    Returns
    -------
    `Fit` whose posterior has `sort_weight`, `factor_return`, `loading`, `factor_mean` and `factor_covariance` aligned.
    Its status is that of `fit`, which is about quantities that alignment does not change.

    Raises
    ------
    UnsupportedQuantityError
        When the model has no sorted factors.
    AlignmentError
        When the reference lacks a month of the fit, is not finite there, or has another number of factors.
    """
    posterior = fit.tree["posterior"].to_dataset()
    alignment = alignment_of(fit, reference)
    aligned = {}
    for name, axes in FACTOR_AXES.items():
        if name not in posterior:
            continue
        variable = posterior[name]
        values = variable.values.reshape(-1, *variable.shape[2:])
        for axis in axes:
            values = alignment.apply(values, axis)
        aligned[name] = (variable.dims, values.reshape(variable.shape), variable.attrs)
    root = posterior.get("factor_covariance_root")
    if root is not None:
        flat = alignment.apply(root.values.reshape(-1, *root.shape[2:]).astype(float), -2)
        aligned["factor_covariance_root"] = (root.dims, _lower(flat).astype(root.dtype).reshape(root.shape), root.attrs)
    tree = fit.tree.copy()
    tree["posterior"] = xr.DataTree(posterior.assign(aligned))
    # What it was aligned to: quantities of the aligned fit keep its order and signs.
    constants = fit.tree["constant_data"].to_dataset()
    given = int(reference is not None)
    if reference is None and "factor_reference" in constants:
        given = int(constants["factor_reference"].attrs.get("given", 0))
    constants = constants.assign(factor_reference=(("time", "factor"), alignment.reference, {"given": given}))
    tree["constant_data"] = xr.DataTree(constants)
    return Fit(fit.model, fit.inference, tree, fit.status, fit.reasons, fit.provenance)


def _lower(roots: np.ndarray) -> np.ndarray:
    """Lower triangular roots of ``root root'`` (..., factor, factor), whatever the order of the rows."""
    upper = np.linalg.qr(np.swapaxes(roots, -1, -2))[1]
    sign = np.where(np.diagonal(upper, axis1=-2, axis2=-1) < 0, -1.0, 1.0)
    return np.swapaxes(upper * sign[..., None], -1, -2)


def alignment_of(fit: Fit, reference: xr.DataArray | None = None) -> Alignment:
    """The signed permutation of every draw, chains one after the other."""
    posterior = fit.tree["posterior"].to_dataset()
    if "factor_return" not in posterior:
        raise UnsupportedQuantityError(
            f"factors are aligned in fits of sorted factors, and {type(fit.model).__name__} has none"
        )
    factors = posterior["factor_return"].values.astype(float)
    factors = factors.reshape(-1, *factors.shape[2:])
    if reference is None and "factor_reference" in fit.tree["constant_data"]:
        kept = fit.tree["constant_data"].to_dataset()["factor_reference"].values
        return Alignment(*signed_permutations(factors, kept), kept)
    if reference is not None:
        given = _given(reference, fit, factors.shape[-1])
        return Alignment(*signed_permutations(factors, given), given)
    start = factors[_likeliest(fit)]
    for _ in range(ROUNDS):
        order, sign = signed_permutations(factors, start)
        mean = np.take_along_axis(factors, order[:, None, :], axis=2) * sign[:, None, :]
        consensus = mean.mean(axis=0)
        if np.allclose(consensus, start, rtol=0, atol=1e-9 * np.abs(start).max()):
            break
        start = consensus
    place = np.argsort(-_importance(fit, order, consensus), kind="stable")
    turned = np.where(consensus.mean(axis=0) < 0, -1.0, 1.0)[place]
    return Alignment(order[:, place], sign[:, place] * turned, consensus[:, place] * turned)


def signed_permutations(factors: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Order and sign (draw, factor) that bring factors (draw, time, factor) closest to a reference (time, factor).

    Closest by the sum of absolute correlations (Hungarian algorithm).
    """
    n_draws, _, n_factors = factors.shape
    centred = factors - factors.mean(axis=1, keepdims=True)
    wanted = reference - reference.mean(axis=0)
    tiny = np.finfo(float).tiny
    centred = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), tiny)
    wanted = wanted / np.maximum(np.linalg.norm(wanted, axis=0), tiny)
    correlation = np.swapaxes(centred, 1, 2) @ wanted  # (draw, own factor, reference's factor)
    order = np.empty((n_draws, n_factors), np.int64)
    for draw in range(n_draws):
        rows, columns = linear_sum_assignment(-np.abs(correlation[draw]))
        order[draw, columns] = rows
    taken = np.take_along_axis(correlation, order[:, None, :], axis=1)[:, 0]
    return order, np.where(taken < 0, -1.0, 1.0)


def _likeliest(fit: Fit) -> int:
    """Position of the draw with the highest density; the first where there is none."""
    if "sample_stats" in fit.tree and "lp" in fit.tree["sample_stats"]:
        return int(fit.tree["sample_stats"].to_dataset()["lp"].values.argmax())
    return 0


def _importance(fit: Fit, order: np.ndarray, consensus: np.ndarray) -> np.ndarray:
    """What each factor (factor,) explains of the test assets: mean square loading times its variance."""
    variance = consensus.var(axis=0)
    posterior = fit.tree["posterior"].to_dataset()
    if "loading" not in posterior:
        return np.asarray(variance)
    loading = posterior["loading"].values.astype(float)
    square = np.mean(loading.reshape(-1, *loading.shape[2:]) ** 2, axis=1)
    return np.asarray(np.take_along_axis(square, order, axis=1).mean(axis=0) * variance)


def _given(reference: xr.DataArray, fit: Fit, n_factors: int) -> np.ndarray:
    if set(reference.dims) != {"time", "factor"} or reference.sizes.get("factor") != n_factors:
        raise AlignmentError(
            f"a reference must have dims (time, factor) and the fit's {n_factors} factors: it has "
            f"{dict(reference.sizes)}"
        )
    lacking = fit.train_times.difference(reference.indexes["time"])
    if len(lacking):
        raise AlignmentError(
            f"a reference must have every month that the fit was trained on: it lacks {len(lacking)} of "
            f"{len(fit.train_times)}, the first {lacking[0]:%Y-%m-%d}"
        )
    values = np.asarray(reference.sel(time=fit.train_times).transpose("time", "factor").values, float)
    if (unknown := ~np.isfinite(values).all(axis=1)).any():
        months = first_three(f"{month:%Y-%m-%d}" for month in fit.train_times[unknown])
        raise AlignmentError(
            f"a reference must be finite in every month that the fit was trained on: not so in {months}"
        )
    return values
