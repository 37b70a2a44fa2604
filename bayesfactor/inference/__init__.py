"""From a model and a panel to a labelled posterior with a verdict."""

from bayesfactor.inference.result import Fit
from bayesfactor.inference.run import fit
from bayesfactor.inference.settings import NUTS, Exact

__all__ = ["NUTS", "Exact", "Fit", "fit", "load"]


def __getattr__(name: str) -> object:
    if name == "load":
        from bayesfactor.inference.storage import load

        return load
    raise AttributeError(f"module 'bayesfactor.inference' has no attribute {name!r}")
