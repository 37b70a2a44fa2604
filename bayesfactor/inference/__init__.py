"""From a model and a panel to a labelled posterior with a verdict."""

from bayesfactor.inference.result import Fit
from bayesfactor.inference.run import fit
from bayesfactor.inference.settings import NUTS, Exact
from bayesfactor.inference.storage import load

__all__ = ["NUTS", "Exact", "Fit", "fit", "load"]
