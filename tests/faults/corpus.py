"""Every surface of the package that takes something from outside, and the faults of each."""

from __future__ import annotations

from . import checkpoints, commands, datasets, exports, files, frames, saved, selections, stores, uses
from .fault import Fault

SURFACES: dict[str, list[Fault]] = {
    "frames": frames.FAULTS,
    "files": files.FAULTS,
    "datasets": datasets.FAULTS,
    "selection and preparation": selections.FAULTS,
    "panel stores": stores.FAULTS,
    "saved fits": saved.FAULTS,
    "checkpoints": checkpoints.FAULTS,
    "models, fits and their uses": uses.FAULTS,
    "command line": commands.FAULTS,
    "CSV export": exports.FAULTS,
}
