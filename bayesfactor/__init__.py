"""bayesfactor: Bayesian asset-pricing factor models.

The public names load on first use, so that ``import bayesfactor`` and ``bayesfactor --help`` do not import JAX.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

__version__ = _version("bayesfactor")

_HOME = {
    "Panel": "bayesfactor.panel",
    "read_frame": "bayesfactor.panel",
    "PanelStore": "bayesfactor.panel.store",
    "open_panel": "bayesfactor.panel.store",
    "examine": "bayesfactor.panel.examination",
    "FundamentalFactorModel": "bayesfactor.models",
    "SortedFactorModel": "bayesfactor.models",
    "NUTS": "bayesfactor.inference",
    "SVI": "bayesfactor.inference",
    "Exact": "bayesfactor.inference",
    "Fit": "bayesfactor.inference",
    "Start": "bayesfactor.inference",
    "fit": "bayesfactor.inference",
    "fit_many": "bayesfactor.inference",
    "fits_together": "bayesfactor.inference",
    "redraw": "bayesfactor.inference",
    "load": "bayesfactor.inference",
    "sensitivities": "bayesfactor.quantities",
    "interactions": "bayesfactor.quantities",
    "sensitivity_bound": "bayesfactor.quantities",
    "expected_returns": "bayesfactor.quantities",
    "to_csv": "bayesfactor.quantities",
    "align": "bayesfactor.quantities",
    "alphas": "bayesfactor.quantities",
    "deep_characteristics": "bayesfactor.quantities",
    "factors": "bayesfactor.quantities",
    "importance": "bayesfactor.quantities",
    "loadings": "bayesfactor.quantities",
    "no_alpha": "bayesfactor.quantities",
    "portfolio_weights": "bayesfactor.quantities",
    "sharpe_ratios": "bayesfactor.quantities",
    "tangency": "bayesfactor.quantities",
    "top_holdings": "bayesfactor.quantities",
    "month_scores": "bayesfactor.evaluation",
    "pricing_scores": "bayesfactor.evaluation.asset_scores",
    "compare": "bayesfactor.evaluation",
    "compare_forecasts": "bayesfactor.evaluation",
    "difference_intervals": "bayesfactor.evaluation",
    "forecast_calibration": "bayesfactor.evaluation",
    "common_law": "bayesfactor.evaluation.common_law",
    "choose_architecture": "bayesfactor.evaluation",
    "calibrate": "bayesfactor.calibration",
    "Forecasts": "bayesfactor.evaluation.forecasts",
    "load_forecasts": "bayesfactor.evaluation.forecasts",
    "Window": "bayesfactor.evaluation.windows",
    "Windows": "bayesfactor.evaluation.windows",
    "processes": "bayesfactor.evaluation.workers",
    "walk_forward": "bayesfactor.evaluation.walk_forward",
}
_MODULES = {
    "baselines": "bayesfactor.baselines",
    "calibration": "bayesfactor.calibration",
    "characteristics": "bayesfactor.panel.characteristics",
    "datasets": "bayesfactor.panel.datasets",
    "readers": "bayesfactor.panel.readers",
    "simulate": "bayesfactor.panel.simulate",
    "sorts": "bayesfactor.panel.sorts",
    "errors": "bayesfactor.errors",
    "models": "bayesfactor.models",
    "metrics": "bayesfactor.evaluation.metrics",
    "plots": "bayesfactor.plots",
    "pricing": "bayesfactor.evaluation.pricing",
}

__all__ = [
    "NUTS",
    "SVI",
    "Exact",
    "Fit",
    "Forecasts",
    "FundamentalFactorModel",
    "Panel",
    "PanelStore",
    "SortedFactorModel",
    "Start",
    "Window",
    "Windows",
    "__version__",
    "align",
    "alphas",
    "baselines",
    "calibrate",
    "calibration",
    "characteristics",
    "choose_architecture",
    "common_law",
    "compare",
    "compare_forecasts",
    "datasets",
    "deep_characteristics",
    "difference_intervals",
    "errors",
    "examine",
    "expected_returns",
    "factors",
    "fit",
    "fit_many",
    "fits_together",
    "forecast_calibration",
    "importance",
    "interactions",
    "load",
    "load_forecasts",
    "loadings",
    "metrics",
    "models",
    "month_scores",
    "no_alpha",
    "open_panel",
    "plots",
    "portfolio_weights",
    "pricing",
    "pricing_scores",
    "processes",
    "read_frame",
    "readers",
    "redraw",
    "sensitivities",
    "sensitivity_bound",
    "sharpe_ratios",
    "simulate",
    "sorts",
    "tangency",
    "to_csv",
    "top_holdings",
    "walk_forward",
]

if TYPE_CHECKING:
    from bayesfactor import baselines, calibration, errors, models, plots
    from bayesfactor.calibration import calibrate
    from bayesfactor.evaluation import choose_architecture, metrics, month_scores, pricing
    from bayesfactor.evaluation.asset_scores import pricing_scores
    from bayesfactor.evaluation.calibration import compare_forecasts, forecast_calibration
    from bayesfactor.evaluation.common_law import common_law
    from bayesfactor.evaluation.compare import compare, difference_intervals
    from bayesfactor.evaluation.forecasts import Forecasts, load_forecasts
    from bayesfactor.evaluation.walk_forward import walk_forward
    from bayesfactor.evaluation.windows import Window, Windows
    from bayesfactor.evaluation.workers import processes
    from bayesfactor.inference import NUTS, SVI, Exact, Fit, Start, fit, fit_many, fits_together, redraw
    from bayesfactor.inference.storage import load
    from bayesfactor.models import FundamentalFactorModel, SortedFactorModel
    from bayesfactor.panel import Panel, characteristics, datasets, read_frame, readers, simulate, sorts
    from bayesfactor.panel.examination import examine
    from bayesfactor.panel.store import PanelStore, open_panel
    from bayesfactor.quantities import (
        align,
        alphas,
        deep_characteristics,
        expected_returns,
        factors,
        importance,
        interactions,
        loadings,
        no_alpha,
        portfolio_weights,
        sensitivities,
        sensitivity_bound,
        sharpe_ratios,
        tangency,
        to_csv,
        top_holdings,
    )


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    if name in _MODULES:
        return import_module(_MODULES[name])
    raise AttributeError(f"module 'bayesfactor' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
