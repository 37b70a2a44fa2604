"""One file per model: pure functions of one draw on top, the ``numpyro.sample`` statements below them."""

from bayesfactor.models.fundamental import FundamentalFactorModel
from bayesfactor.models.sorted import SortedFactorModel

__all__ = ["FundamentalFactorModel", "SortedFactorModel"]
