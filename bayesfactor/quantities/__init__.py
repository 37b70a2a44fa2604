"""What a posterior says: functions of a fit and a panel, labelled, computed in pieces under a memory bound."""

from bayesfactor.quantities.alignment import align
from bayesfactor.quantities.assets import alphas, loadings, no_alpha, sharpe_ratios, tangency
from bayesfactor.quantities.bound import sensitivity_bound
from bayesfactor.quantities.derivatives import interactions, sensitivities
from bayesfactor.quantities.export import to_csv
from bayesfactor.quantities.factors import deep_characteristics, factors, importance, portfolio_weights, top_holdings
from bayesfactor.quantities.forecasts import expected_returns, month_log_likelihood

__all__ = [
    "align",
    "alphas",
    "deep_characteristics",
    "expected_returns",
    "factors",
    "importance",
    "interactions",
    "loadings",
    "month_log_likelihood",
    "no_alpha",
    "portfolio_weights",
    "sensitivities",
    "sensitivity_bound",
    "sharpe_ratios",
    "tangency",
    "to_csv",
    "top_holdings",
]
