"""What a posterior says: functions of a fit and a panel, labelled, computed in pieces under a memory bound."""

from bayesfactor.quantities.bound import sensitivity_bound
from bayesfactor.quantities.derivatives import interactions, sensitivities
from bayesfactor.quantities.export import to_csv
from bayesfactor.quantities.forecasts import expected_returns, month_log_likelihood

__all__ = ["expected_returns", "interactions", "month_log_likelihood", "sensitivities", "sensitivity_bound", "to_csv"]
