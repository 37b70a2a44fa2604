"""From a model and a panel to a labelled posterior with a verdict."""

from bayesfactor.inference.result import Fit
from bayesfactor.inference.run import fit, fit_many, redraw
from bayesfactor.inference.settings import NUTS, SVI, Exact
from bayesfactor.inference.start import Start
from bayesfactor.inference.storage import load

__all__ = ["NUTS", "SVI", "Exact", "Fit", "Start", "fit", "fit_many", "load", "redraw"]
