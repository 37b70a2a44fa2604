"""Saved fits, and whether DATA are what they learned from."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from bayesfactor.errors import DataError, DataWarning

if TYPE_CHECKING:
    from bayesfactor.inference import Fit
    from bayesfactor.panel import Panel


def loaded(path: Path, panel: Panel) -> tuple[Fit, Panel]:
    """A saved fit, and the months of a panel that it learned from; a warning where they differ."""
    from bayesfactor.inference.storage import load

    fit = load(path)
    return fit, learned_from(fit, panel)


def learned_from(fit: Fit, panel: Panel) -> Panel:
    """The months of a panel that a fit learned from; a warning where they differ."""
    from bayesfactor.report import different_training_data, training_window

    train = training_window(fit, panel)
    if different := different_training_data(fit, train):
        warnings.warn(different, DataWarning, stacklevel=2)
    return train


def holds_training_window(fit: Fit, panel: Panel) -> bool:
    """Whether the months learned from are in the panel; a warning where they are not, as nothing can be checked."""
    lacking = fit.train_times.difference(panel.times)
    if len(lacking):
        warnings.warn(
            f"DATA lacks {len(lacking)} of the {len(fit.train_times)} periods the fit learned from, so it cannot be "
            "checked that it was read as the fit's data were: same returns, units, lag and characteristics.",
            DataWarning,
            stacklevel=2,
        )
    return not len(lacking)


def warn_of_other_data(fit: Fit, panel: Panel) -> None:
    """A warning where the panel is not, or cannot be shown to be, what the fit learned from."""
    from bayesfactor.report import different_training_data, training_window

    if holds_training_window(fit, panel) and (different := different_training_data(fit, training_window(fit, panel))):
        warnings.warn(different, DataWarning, stacklevel=2)


def load_all(paths: list[Path]) -> dict[str, Fit]:
    """Saved fits by the name of their file."""
    from bayesfactor.inference.storage import load

    names = [path.stem for path in paths]
    if len(set(names)) < len(names):
        raise DataError(f"fits are named by their files, so these must differ: found {', '.join(names)}.")
    return {path.stem: load(path) for path in paths}
