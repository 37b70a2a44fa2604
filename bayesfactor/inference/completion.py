"""Parameters that a program leaves out because they can be drawn exactly given its draws."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax import Array


def completed(
    model: Any, posterior: dict[str, np.ndarray], data: Any, rng_key: Array, *, many: bool
) -> dict[str, np.ndarray]:
    """The posterior with what ``model.complete`` draws, where the model has it; on the host, in float64.

    Parameters
    ----------
    model : its `complete` takes params (draw, ...), the data and a random generator.
    posterior : (chain, draw, ...), with a leading data-set dimension if `many`.
    data : what the program was run on.
    rng_key : of the run, keys (data set,) if `many`: the same key, the same draws.
    """
    if not hasattr(model, "complete"):
        return posterior
    if not many:
        return posterior | _of_one(model, posterior, jax.tree.map(np.asarray, data), rng_key)
    sets = []
    for index, key in enumerate(rng_key):
        own, of = ({name: value[index] for name, value in posterior.items()}, _of_set(data, index))
        sets.append(_of_one(model, own, of, key))
    return posterior | {name: np.stack([one[name] for one in sets]) for name in sets[0]}


def _of_set(data: Any, index: int) -> Any:
    return jax.tree.map(lambda leaf: np.asarray(leaf[index]), data)


def _of_one(model: Any, posterior: dict[str, np.ndarray], data: Any, rng_key: Array) -> dict[str, np.ndarray]:
    shape = next(iter(posterior.values())).shape[:2]
    flat = {name: value.reshape(-1, *value.shape[2:]) for name, value in posterior.items()}
    seed = np.asarray(jax.random.key_data(jax.random.fold_in(rng_key, 2))).tolist()
    drawn = model.complete(flat, data, np.random.default_rng(seed))
    dtype = next(iter(posterior.values())).dtype
    return {name: np.asarray(value, dtype).reshape(*shape, *value.shape[1:]) for name, value in drawn.items()}
