"""From a model and a panel to a labelled posterior with a verdict."""

from bayesfactor.inference.result import Fit
from bayesfactor.inference.run import fit, redraw
from bayesfactor.inference.settings import NUTS, SVI, Exact
from bayesfactor.inference.storage import load

__all__ = ["NUTS", "SVI", "Exact", "Fit", "fit", "load", "redraw"]
