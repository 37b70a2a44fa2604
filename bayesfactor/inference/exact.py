"""Draws from a posterior known in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np

from bayesfactor.components import conjugate
from bayesfactor.errors import DataError
from bayesfactor.inference.sampling import Draws
from bayesfactor.inference.settings import Exact


def run_exact(model: Any, data: Any, settings: Exact, seed: int) -> Draws:
    """Independent draws (chain, draw, ...).

    Raises
    ------
    DataError
        When a flat prior cannot tell collinear characteristics apart.
    """
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
