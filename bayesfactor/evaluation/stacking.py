"""Weights of a mixture of predictive densities, from log scores by month."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]

MAX_STEPS = 20_000
GAP = 1e-6  # nats a month


def stacking_weights(scores: Array) -> Array:
    """Weights w on the simplex that maximise ``sum_t log sum_k w_k exp(score[t, k])``.

    Stacking of predictive densities (Yao, Vehtari, Simpson, Gelman 2018, section 3), with months as points.

    Month totals are in the hundreds or thousands of nats, whose exponentials underflow; each month is
    shifted by its largest score first, which leaves the weights as they are. The maximisation is the EM
    update of mixture weights from equal ones. It climbs at every step; ``max_k gradient_k - 1`` bounds what
    is left to gain a month, and after n steps that is at most ``log(K)/n`` nats, so no start and no scores
    can make it fail.

    Parameters
    ----------
    scores : (month, model) finite log scores, nats.

    Returns
    -------
    (model,) weights, non-negative, sum 1.
    """
    densities = np.exp(scores - scores.max(axis=1, keepdims=True))
    weights = np.full(scores.shape[1], 1.0 / scores.shape[1])
    for _ in range(MAX_STEPS):
        gradient = np.mean(densities / (densities @ weights)[:, None], axis=0)
        if gradient.max() - 1.0 <= GAP:
            break
        weights = weights * gradient
    return np.asarray(weights / weights.sum())
