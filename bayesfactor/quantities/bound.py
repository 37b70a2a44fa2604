"""How far sensitivities can spread: the bound on the variance of a ReLU network's Jacobian."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from bayesfactor.inference import Fit
from bayesfactor.panel import Panel
from bayesfactor.quantities.derivatives import UNITS, grouped_rows
from bayesfactor.quantities.draws import MEMORY_MIB, aligned_arrays, bands, check_prob, labelled, over_draws


def sensitivity_bound(fit: Fit, panel: Panel, *, prob: float = 0.9, memory_mib: float = MEMORY_MIB) -> xr.Dataset:
    """Bound on the dispersion of each sensitivity over the panel, beside the dispersion itself.

    ``Var[J_k] <= 1/2 sum_m a_mk^2``, Dixon and Polson (2020), theorem 3.3.1, eq. 10: ``a_mk`` is the sensitivity to
    characteristic k in region m (eq. 14), a region being a set of stocks and months for which the same units of all
    hidden layers are active. The sum is over the regions that the panel visits. The bound is loose: it grows with
    every region, however few stocks are in it.

    Parameters
    ----------
    fit : of a model with ``activation="relu"``. A model that is linear (``hidden=()``, ``activation="identity"``) has
        one region and no dispersion.
    panel : prepared panel whose universe is averaged over as in `sensitivities`: stocks equally within a month, then
        months equally.
    prob : probability inside the equal-tailed bands.
    memory_mib : bound on the working arrays.

    Returns
    -------
    Dataset over `characteristic`: posterior mean of the standard deviation over stocks and months, `panel_sd` (that of
    `sensitivities`), of its `bound`, the square root of the right-hand side (both decimal per period per unit of the
    prepared characteristic), and of `ratio`, panel_sd / bound, from 0 (no dispersion) to 1; and `n_regions`, the number
    of regions visited. Each with the ends of its band, as `bound_lower` and `bound_upper`.

    Raises
    ------
    UnsupportedQuantityError
        For smooth activations, which have no regions, and for a user's own network, whose regions are not known.
    AlignmentError
        When the panel's characteristics, preparation or frequency are not those of the fit.

    Notes
    -----
    With shares ``p_m`` of the panel, any shares, the variance is ``sum p_m a_m^2 - (sum p_m a_m)^2``. It is at most
    ``(max a - min a)^2 / 4 <= (max a^2 + min a^2) / 2 <= 1/2 sum a_m^2`` (it is zero in a single region), with equality
    for two regions of equal share and opposite sensitivities. The paper's proof goes through
    ``sum a_m^2 p_m (1 - p_m)``, which is not the variance: a stock is in one region only, so the regions' indicators
    are not independent. With products of weights along single paths in place of ``a_m`` the bound is false: twenty
    identical units exceed it, because the Jacobian adds them up.
    """
    check_prob(prob)
    rows, weights, _, _ = grouped_rows(aligned_arrays(fit, panel), panel, "panel")
    draws = _draws(fit, rows, weights / len(rows), memory_mib)
    variables: dict[str, tuple[list[str], np.ndarray]] = {}
    for name, values in draws.items():
        dims = ["characteristic"] if values.ndim == 3 else []
        band = bands(values, prob)
        variables[name] = (dims, band["mean"])
        for end in ("lower", "upper"):
            variables[f"{name}_{end}"] = (dims, band[end])
    coords = {"characteristic": list(fit.characteristics)}
    return labelled(fit, variables, coords, units=UNITS, prob=prob, quantity="sensitivity_bound")


def _draws(fit: Fit, rows: np.ndarray, weights: np.ndarray, memory_mib: float) -> dict[str, np.ndarray]:
    """Per draw the sd, its bound and their ratio, (chain, draw, characteristic), and the regions (chain, draw).

    Parameters
    ----------
    rows : (month, stock, characteristic).
    weights : (month, stock), summing to one; zero outside the universe.
    """
    used = np.flatnonzero(weights)

    def one_draw(params: Any, rows: jax.Array, weights: jax.Array, used: jax.Array) -> Any:
        patterns = jax.lax.map(lambda z: fit.model.activation_patterns(params, z), rows)
        words = patterns.reshape(weights.size, -1)[used]
        first = _first_of_each(words, used, weights)

        def sums_of_month(month: Any) -> Any:
            z, weightings = month
            return jax.vmap(fit.model.gradient_sums, (None, None, 0))(params, z, weightings)

        sums = jax.lax.map(sums_of_month, (rows, jnp.stack([weights, first], axis=1)))
        value, square = (jnp.sum(leaf, axis=0) for leaf in sums)
        return {
            "n_regions": jnp.count_nonzero(first),
            "variance": square[0] - value[0] ** 2,
            "bound": jnp.sqrt(jnp.maximum(square[1] / 2, 0.0)),
        }

    hidden = getattr(fit.model, "hidden", ())
    of_month = 12 * 8.0 * rows.shape[1] * max([rows.shape[-1], *hidden])
    of_panel = weights.size * (8.0 * (sum(hidden) // 32 + 1) + 48)
    draws = over_draws(
        fit, one_draw, rows, weights, used, bytes_per_draw=of_month + of_panel, memory_mib=memory_mib / 4
    )
    # One region has no dispersion: what the difference of moments leaves there is rounding.
    variance = np.where(draws["n_regions"][..., None] > 1, np.maximum(draws["variance"], 0.0), 0.0)
    panel_sd, bound = np.sqrt(variance), draws["bound"]
    ratio = np.divide(panel_sd, bound, out=np.zeros_like(bound), where=bound > 0)
    return {"panel_sd": panel_sd, "bound": bound, "ratio": ratio, "n_regions": draws["n_regions"]}


def _first_of_each(words: jax.Array, rows: jax.Array, like: jax.Array) -> jax.Array:
    """1 at one row of every different pattern, 0 elsewhere, in the shape of `like`.

    Parameters
    ----------
    words : (row, word) patterns.
    rows : (row,) the positions of the patterns in `like`, flattened.
    """
    *ordered, rows = jax.lax.sort((*words.T, rows), num_keys=words.shape[1])
    sorted_words = jnp.stack(ordered)
    changes = jnp.any(sorted_words[:, 1:] != sorted_words[:, :-1], axis=0)
    new = jnp.concatenate([jnp.ones(1, bool), changes]).astype(like.dtype)
    return jnp.zeros(like.size, like.dtype).at[rows].set(new).reshape(like.shape)
