r"""Characteristics-sorted deep factors (Feng, Polson and Xu, 2020), with constant or nonlinear betas (AZT, eq. 1).

.. math::
    Y_t = \mathrm{network}(z_t), \quad W_t = h(Y_t), \quad f_t = W_t r_t, \quad
    R_{ti} = \alpha_i + \beta_i' f_t + \gamma_i' g_t + e_{ti}

``h`` makes long-short portfolios of every deep characteristic (`components.rank_weights`), ``g`` are benchmark factors,
``R`` test portfolios or the stocks themselves. Given the stocks' returns this is a regression: its coefficients, and
the covariance of ``e``, are integrated out of the program where noise is normal (`components.factor_regression`), and
drawn exactly afterwards.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
from jax import Array
from numpyro.contrib.module import random_eqx_module
from numpyro.handlers import reparam
from numpyro.infer.reparam import LocScaleReparam

from bayesfactor.components import beta_regression as betas
from bayesfactor.components import factor_law, networks, penalties, rank_weights
from bayesfactor.components import factor_regression as regression
from bayesfactor.components.batches import map_in_batches
from bayesfactor.components.month import MonthLaw
from bayesfactor.components.noise import Noise, density
from bayesfactor.errors import DataError, UnsupportedQuantityError, first_three
from bayesfactor.models import priors
from bayesfactor.models.checks import one_of, widths
from bayesfactor.models.sorted_data import SortedData, typical_residual
from bayesfactor.panel import PanelArrays
from bayesfactor.panel.market_value import market_values

Params = dict[str, Array]

NETWORK = "network"  # of the deep characteristics
LOADING, BENCHMARK_LOADING = "loading_network", "benchmark_loading_network"
SPARE_MONTHS = 24  # beyond assets and coefficients that a full residual covariance needs
CPU_BLOCK, GPU_BLOCK = 2**15, 2**26  # numbers of a layer that are computed at once
LOOKED_AT = 16  # draws of which legs without returns are sought
COMPLETED_AT_ONCE = 2**23  # numbers of Gram matrices on the host


@dataclass(frozen=True, repr=False)
class SortedFactorModel:
    """Factors that are long-short portfolios learned from characteristics, and what they leave unpriced.

    Call it as a NumPyro program on ``model.data(panel.arrays())``, or give it to ``bayesfactor.fit``.

    Parameters
    ----------
    n_factors : deep factors, ``P``.
    hidden : widths of the hidden layers below the deep characteristics; ``()`` sorts on linear combinations.
    activation : "tanh", "softplus", "relu" or "identity".
    weights : how a deep characteristic becomes a portfolio: "exponential" (default, eq. 19 with
        ``y+ = -50 exp(-5y)``), "softmax" (``y+ = y``), or "equal" (top and bottom third), "linear" (in the rank),
        "value" (thirds, weighted by size): classical sorts, which have no derivative, of one characteristic in a panel
        that has no other, with ``hidden=()``. A missing characteristic has its prepared value, the middle, where
        ``panel.sorts`` leaves the stock out: the two agree where none is missing.
    size_in : for "value", what the panel's `size` holds: "level" (market value, in any unit) or "log".
    test_assets : what is priced: "portfolios", those of ``panel.join_portfolios``, or "stocks", the panel's own.
        Stocks on both sides are not a density of their returns: the fit says "pseudo-likelihood", is refused by
        comparisons of densities, and its bands are far too narrow (docs/pseudo_likelihood.md).
    loadings, benchmark_loadings : "constant" for each test asset, or "network": functions of the stock's
        characteristics (AZT, eq. 1; stocks only).
    loading_hidden : widths of the hidden layers of those.
    alpha : whether every test asset has an alpha.
    residual_covariance : "full" (between all test assets, inverse Wishart), "factors" (`residual_rank` of them and a
        diagonal: for many assets and few months), "by_asset" (a variance for each) or "common" (one variance, as
        published). "auto" is "full" for portfolios with normal noise and "by_asset" otherwise. Residuals of test
        portfolios are correlated: without that, bands are too narrow.
    residual_rank : of "factors".
    pricing_error_penalty : ``lambda`` of eq. 20, weight of squared average residuals; needs ``alpha=False``. It is a
        property of the estimation, not a prior: months that follow are scored without it.
    cross_section_penalty : AZT's ``lambda_1``, weight of the squared average residual of a month; needs "common".
    noise : "normal", "student_t", "laplace" or "huber"; others than normal keep all coefficients as parameters, and
        need "by_asset" or "common".
    huber_delta : where Huber's density turns from normal to Laplace, in units of its scale.
    alpha_sd : prior sd of alpha, decimal per month, of an asset with the typical residual sd; in proportion for others.
    loading_sd : prior sd of a loading, alike.
    factor_sharpe : prior sd of the annual Sharpe ratio of a factor. It enters the posterior of the factors' means and
        covariance, not the factors themselves.

    Notes
    -----
    Deep characteristics are standardised every month, so that their level and scale mean nothing, and factors have
    neither sign nor order: `bayesfactor.align` gives draws both.

    Memory: draws take ``4 * chains * draws * (months * P + assets * (P + D + 2) + parameters)`` bytes, a full residual
    covariance ``4 * assets**2`` more a draw.

    References
    ----------
    Feng, G., Polson, N. G. and Xu, J. (2020), Deep Learning in Characteristics-Sorted Factor Models, eq. 14-20.
    Agarwal, M., Zouiten, M. and Tulsian, G., Deep Learning for Asset Pricing Using Characteristics-Sorted Factor
    Models, eq. 1.
    """

    n_factors: int = 2
    hidden: tuple[int, ...] = (8,)
    activation: str = "tanh"
    weights: str = "exponential"
    size_in: str | None = None
    test_assets: str = "portfolios"
    loadings: str = "constant"
    benchmark_loadings: str = "constant"
    loading_hidden: tuple[int, ...] = (4,)
    alpha: bool = True
    residual_covariance: str = "auto"
    residual_rank: int = 2
    pricing_error_penalty: float = 0.0
    cross_section_penalty: float = 0.0
    noise: str = "normal"
    huber_delta: float = 1.345
    alpha_sd: float = 0.002
    loading_sd: float = 1.0
    factor_sharpe: float = 0.5

    def __post_init__(self) -> None:
        for name in ("hidden", "loading_hidden"):
            object.__setattr__(self, name, widths(name, getattr(self, name)))
        for name in ("n_factors", "residual_rank"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
                raise DataError(f"{name} must be a whole number, 1 or more: got {name}={value!r}")
        one_of("activation", self.activation, networks.ACTIVATIONS)
        one_of("weights", self.weights, rank_weights.FORMS)
        one_of("test_assets", self.test_assets, ("portfolios", "stocks"))
        for name in ("loadings", "benchmark_loadings"):
            one_of(name, getattr(self, name), ("constant", "network"))
        one_of("residual_covariance", self.residual_covariance, ("auto", "full", "factors", "by_asset", "common"))
        one_of("noise", self.noise, ("normal", "student_t", "laplace", "huber"))
        one_of("size_in", self.size_in, (None, "level", "log"))
        if self.size_in is not None and self.weights != "value":
            raise DataError(f"size_in={self.size_in!r} is for weights='value' only: got weights={self.weights!r}")
        scales = {name: getattr(self, name) for name in ("huber_delta", "alpha_sd", "loading_sd", "factor_sharpe")}
        wrong = {name: value for name, value in scales.items() if not 0 < value < math.inf}
        if wrong:
            raise DataError(f"prior scales and huber_delta must be positive and finite: got {wrong}")
        self._check_combination()

    def _check_combination(self) -> None:
        """Refuse settings that contradict each other."""
        penalties = {name: getattr(self, name) for name in ("pricing_error_penalty", "cross_section_penalty")}
        if wrong := {name: value for name, value in penalties.items() if not 0 <= value < math.inf}:
            raise DataError(f"penalties must be 0 or positive, and finite: got {wrong}")
        if all(penalties.values()):
            raise DataError("give one penalty, not both: they weigh the same residuals along different dimensions")
        if self.pricing_error_penalty and self.alpha:
            raise DataError(
                f"pricing_error_penalty={self.pricing_error_penalty} weighs average residuals in place of alphas: "
                "give alpha=False with it"
            )
        if any(penalties.values()) and self.noise != "normal":
            raise DataError(f"penalties need noise='normal': got noise={self.noise!r}")
        covariance = self.covariance
        if self.noise != "normal" and covariance in ("full", "factors"):
            raise DataError(
                f"noise={self.noise!r} has no joint density of correlated residuals here: residual_covariance must be "
                f"'by_asset' or 'common', got {self.residual_covariance!r}"
            )
        if self.cross_section_penalty and covariance != "common":
            raise DataError("cross_section_penalty needs residual_covariance='common'")
        if self.test_assets == "portfolios" and "network" in (self.loadings, self.benchmark_loadings):
            raise DataError(
                "loadings that are functions of characteristics need assets that have characteristics: give "
                "test_assets='stocks' with them"
            )
        if self.test_assets == "stocks" and covariance in ("full", "factors"):
            raise DataError(
                f"residual_covariance={covariance!r} needs test assets that are there every month: with "
                "test_assets='stocks' use 'by_asset' or 'common'"
            )

    def __repr__(self) -> str:
        """Class, `n_factors` and `hidden`, and whatever differs from the defaults."""
        told = [
            f"{field.name}={getattr(self, field.name)!r}"
            for field in fields(self)
            if field.name in ("n_factors", "hidden") or getattr(self, field.name) != field.default
        ]
        return f"SortedFactorModel({', '.join(told)})"

    # ------------------------------------------------------------------ what the model is

    @property
    def covariance(self) -> str:
        """`residual_covariance`, "auto" made definite."""
        if self.residual_covariance != "auto":
            return self.residual_covariance
        return "full" if self.test_assets == "portfolios" and self.noise == "normal" else "by_asset"

    @property
    def integrates_betas(self) -> bool:
        """Whether the program leaves out betas of stocks, linear in characteristics, to be drawn by `complete`.

        Both kinds of betas must be functions, ``benchmark_loadings="network"``, also where there are no benchmarks.
        """
        linear = self.loadings == self.benchmark_loadings == "network" and not self.loading_hidden
        return linear and not self.alpha and self.noise == "normal" and self.covariance == "common"

    @property
    def collapses(self) -> bool:
        """Whether the program leaves out what is normal or conjugate given the rest, to be drawn by `complete`."""
        return self.integrates_betas or (self.noise == "normal" and not self.cross_section_penalty)

    @property
    def mass_matrix(self) -> str:
        """What suits NUTS: directions of sorts trade against each other."""
        return "dense"

    @property
    def sites_by_month(self) -> bool:
        """No parameter belongs to a single month."""
        return False

    @property
    def likelihood_kind(self) -> str:
        """A density of the portfolios' returns given the stocks', or none where stocks are on both sides."""
        if self.test_assets == "stocks":
            return "pseudo-likelihood"
        penalised = self.pricing_error_penalty or self.cross_section_penalty
        return "penalised likelihood" if penalised else "density given stock returns"

    def dims(self) -> dict[str, list[str]]:
        """Dimensions of the parameters that have labelled ones."""
        return {
            "sort_weight": ["factor", "feature"],
            "factor_return": ["time", "factor"],
            "alpha": ["test_asset"],
            "loading": ["test_asset", "factor"],
            "benchmark_loading": ["test_asset", "benchmark"],
            "residual_sd": [] if self.covariance == "common" else ["test_asset"],
            "residual_scale": [] if self.covariance == "common" else ["test_asset"],
            "residual_covariance": ["test_asset", "test_asset_2"],
            "residual_loading": ["test_asset", "residual_factor"],
            "residual_unique": ["test_asset"],
            "factor_mean": ["priced_factor"],
            "factor_covariance": ["priced_factor", "priced_factor_2"],
            "factor_covariance_root": ["priced_factor", "priced_factor_2"],
            "factor_square": ["month"],
            "explained_sd": ["test_asset"],
        }

    def constants(self, data: SortedData) -> dict[str, Any]:
        """What a fit keeps of the data besides its draws."""
        return {"residual_scale": float(data.residual_scale)}

    def coords(self, data: Any) -> dict[str, Any]:
        """Labels of those dimensions, from the panel's `data`."""
        if self.test_assets == "stocks":  # those with a return
            seen = (data["observed"] & data["in_universe"]).any("time")
            assets = data["asset"].values[seen.values].astype(str)
        else:
            assets = data["portfolio"].values.astype(str)
        deep = [f"deep_{index}" for index in range(1, self.n_factors + 1)]
        benchmarks = [str(name) for name in data["benchmark"].values] if "benchmark" in data.coords else []
        priced = [*deep, *benchmarks]
        return {
            "factor": deep,
            "benchmark": benchmarks,
            "test_asset": assets,
            "test_asset_2": assets,
            "priced_factor": priced,
            "priced_factor_2": priced,
        }

    def feature_names(self, characteristics: tuple[str, ...]) -> list[str]:
        """Labels of what deep characteristics are linear in."""
        if not self.hidden:
            return list(characteristics)
        return [f"unit_{index}" for index in range(1, self.hidden[-1] + 1)]

    def is_internal(self, site: str) -> bool:
        """Whether a site only serves the sampler's geometry and is not kept in a result."""
        for prefix in (NETWORK, LOADING, BENCHMARK_LOADING):
            if site.startswith(f"{prefix}."):
                return site.startswith(f"{prefix}.{prefix}.")
        return site.endswith(("_decentered", "_base"))

    def check(self, n_observed: np.ndarray, n_characteristics: int, times: pd.DatetimeIndex) -> None:
        """Refuse a panel whose months are too small to be sorted.

        Raises
        ------
        DataError
            When a month has fewer than three observed stocks.
        """
        small = np.flatnonzero(n_observed < 3)
        if small.size:
            months = first_three(f"{time:%Y-%m-%d}" for time in times[small])
            raise DataError(f"a month must have three observed stocks or more to be sorted: not so in {months}")

    # ------------------------------------------------------------------ data

    def data(self, arrays: PanelArrays, residual_scale: float | None = None) -> SortedData:
        """The panel's months and what is priced in them.

        Parameters
        ----------
        arrays : of the panel.
        residual_scale : the units of the priors, decimal per period; measured on the test assets' returns if None.

        Raises
        ------
        DataError
            When the panel has no test portfolios, a benchmark or size lacks months, or a full residual covariance has
            portfolios with missing months or too few months.
        """
        if isinstance(arrays.returns, jax.core.Tracer):
            raise DataError(
                "SortedFactorModel is a program of model.data(panel.arrays()): it looks at which returns exist before "
                "it is compiled. Give NumPyro that in place of panel.arrays()."
            )
        n_time = len(arrays.returns)
        n_benchmarks = 0 if arrays.benchmarks is None else arrays.benchmarks.shape[1]
        if n_time < self.n_factors + n_benchmarks + 2:
            raise DataError(
                f"{self.n_factors} deep factors and {n_benchmarks} benchmarks need at least "
                f"{self.n_factors + n_benchmarks + 2} months, and there are {n_time}"
            )
        n_characteristics = arrays.characteristics.shape[-1]
        if not self.hidden and self.n_factors > n_characteristics:
            raise DataError(
                f"with hidden=() deep characteristics are linear, and {self.n_factors} of {n_characteristics} "
                "characteristics cannot differ: give fewer n_factors, or hidden layers"
            )
        benchmarks = np.zeros((n_time, 0)) if arrays.benchmarks is None else np.asarray(arrays.benchmarks)
        if not np.isfinite(benchmarks).all():
            raise DataError("every benchmark must be known in every month that is fitted: give join_benchmark them all")
        if self.weights not in rank_weights.DIFFERENTIABLE and (self.hidden or n_characteristics > 1):
            raise DataError(
                f"weights={self.weights!r} depend on order alone, through which nothing can be learned: they need "
                f"hidden=() and one characteristic, and there are hidden={self.hidden} and {n_characteristics}. Use "
                "'exponential' or 'softmax', or a panel with one (read_frame with exclude=)"
            )
        assets, slot = self._assets(arrays)
        priced = np.isfinite(assets)
        if not priced.any(axis=0).all():
            raise DataError(
                "every test asset must have a return in some month that is fitted: drop those that have none"
            )
        assets = np.where(priced, assets, 0.0)
        scale = residual_scale
        if scale is None:
            scale = typical_residual(assets, priced, benchmarks, self.n_factors)
        whole = bool(priced.all())
        whitened = None
        if self.covariance in ("full", "factors"):
            self._check_balanced(priced, n_benchmarks)
        if self.covariance == "full":
            whitened = regression.whitened(assets / scale, self.pricing_error_penalty)
        sums = None
        if self.integrates_betas:
            sd = np.r_[self.loading_sd, np.full(n_characteristics, self._slope_sd(n_characteristics))]
            sums = betas.stock_sums(
                arrays.characteristics, arrays.returns / scale, arrays.observed, sd, self.cross_section_penalty
            )
        position = np.arange(n_time, dtype=np.int32)
        return SortedData(
            arrays.characteristics,
            arrays.returns,
            arrays.in_universe,
            arrays.observed,
            self.sizes(arrays),
            benchmarks,
            assets,
            None if whole else priced,
            slot,
            whitened,
            sums,
            position,
            position,
            np.ones_like(arrays.return_scale),
            np.asarray(scale),
            arrays.periods_per_year,
        )

    def sizes(self, arrays: PanelArrays) -> np.ndarray | None:
        """Market values (month, slot), up to a factor by month, of `weights` "value"; None for others.

        Raises
        ------
        DataError, UnitsError
            When the panel has no sizes, or they are not what `size_in` says.
        """
        if self.weights != "value":
            return None
        if arrays.size is None:
            raise DataError("weights='value' needs sizes: give size= to read_frame, or join_size")
        size = np.where(arrays.in_universe, arrays.size, np.nan)
        return market_values(
            size,
            self.size_in,
            cells=lambda bad: f"{bad.sum():,} stock-months, first in the month at position {np.argwhere(bad)[0, 0]}",
            period=lambda position: f"the month at position {position}",
        )

    def _assets(self, arrays: PanelArrays) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns (time, test asset), NaN where there is none, and their slots if they are stocks."""
        if self.test_assets == "portfolios":
            if arrays.portfolios is None:
                raise DataError(
                    "SortedFactorModel(test_assets='portfolios') prices the panel's test portfolios, and this panel "
                    "has none: add them with panel.join_portfolios(...), for example those of sort_portfolios, or give "
                    "test_assets='stocks'"
                )
            return np.asarray(arrays.portfolios), None
        month, slot = np.nonzero(arrays.observed)
        present, asset = np.unique(arrays.asset[month, slot], return_inverse=True)
        shape = (len(arrays.returns), len(present))
        returns, slots = np.full(shape, np.nan), np.zeros(shape, np.int32)
        returns[month, asset], slots[month, asset] = arrays.returns[month, slot], slot
        return returns, slots

    def _check_balanced(self, priced: np.ndarray, n_benchmarks: int) -> None:
        n_time, n_assets = priced.shape
        lacking = np.flatnonzero(~priced.all(axis=0))
        if lacking.size:
            raise DataError(
                f"residual_covariance={self.covariance!r} needs test portfolios that are there in every month that is "
                f"fitted: {len(lacking)} of {n_assets} are not, those at positions {first_three(lacking.tolist())}. "
                "Drop them or their months, or use residual_covariance='by_asset'."
            )
        n_coefficients = self.alpha + self.n_factors + n_benchmarks
        needed = n_assets + n_coefficients + SPARE_MONTHS
        if self.covariance == "full" and n_time < needed:
            raise DataError(
                f"a full residual covariance of {n_assets} test portfolios with {n_coefficients} coefficients needs at "
                f"least {needed} months, and there are {n_time}: use residual_covariance='factors'"
            )

    # ------------------------------------------------------------------ pure functions of one draw

    def features(
        self, params: Params, z: Array, network: str = NETWORK, hidden: tuple[int, ...] | None = None
    ) -> Array:
        """Features (stock, feature) of characteristics ``z`` (stock, characteristic)."""
        hidden = self.hidden if hidden is None else hidden
        if not hidden:
            return z
        prefix = f"{network}."
        weights = {name.removeprefix(prefix): value for name, value in params.items() if name.startswith(prefix)}
        empty = networks.FeatureNetwork(z.shape[-1], hidden, self.activation)
        features: Array = networks.with_parameters(empty, weights).of_stocks(z).T
        return features

    def deep_characteristics(self, params: Params, z: Array) -> Array:
        """``Y`` (stock, factor) of a month, before it is standardised; eq. 11-13."""
        return self.features(params, z) @ params["sort_weight"].T

    def portfolio_weights(self, params: Params, z: Array, universe: Array, size: Array | None) -> rank_weights.Legs:
        """``W`` of a month: legs (stock, factor), eq. 19."""
        return rank_weights.rank_weights(self.deep_characteristics(params, z), universe, self.weights, size)

    def factor_returns(self, params: Params, data: SortedData) -> Array:
        """``f`` (month, factor), decimal per period, eq. 18."""

        def of_month(month: tuple[Any, ...]) -> Array:
            z, returns, universe, observed, size = month
            legs = self.portfolio_weights(params, z, universe, size)
            return rank_weights.portfolio_returns(legs, returns, observed).returns

        months = (data.characteristics, data.returns, data.in_universe, data.observed, data.size)
        n_numbers = data.returns.shape[1] * max(self.n_factors, data.characteristics.shape[2], *self.hidden, 1)
        at_once = max(1, (CPU_BLOCK if jax.default_backend() == "cpu" else GPU_BLOCK) // n_numbers)
        returns: Array = map_in_batches(jax.checkpoint(of_month), jax.tree.map(jnp.asarray, months), at_once)
        return returns

    def stock_loadings(self, params: Params, z: Array) -> tuple[Array | None, Array | None]:
        """Loadings (stock, factor) and (stock, benchmark) of characteristics, None where constant; AZT, eq. 1."""
        deep = self._loadings(params, LOADING, "loading", z) if self.loadings == "network" else None
        if self.benchmark_loadings != "network" or "benchmark_loading_level" not in params:  # or no benchmarks
            return deep, None
        return deep, self._loadings(params, BENCHMARK_LOADING, "benchmark_loading", z)

    def _loadings(self, params: Params, network: str, name: str, z: Array) -> Array:
        features = self.features(params, z, network, self.loading_hidden)
        return params[f"{name}_level"] + features @ params[f"{name}_map"].T

    def month_law(self, params: Params, z: Array) -> MonthLaw:
        """Law of a new month's stock returns given characteristics (stock, characteristic), factors integrated out.

        Raises
        ------
        UnsupportedQuantityError
            Where loadings are not functions of characteristics: a new stock has none.
        """
        if not (self.loadings == self.benchmark_loadings == "network") or self.alpha:
            raise UnsupportedQuantityError(
                "the law of a month's stock returns needs loadings that are functions of characteristics: "
                "loadings='network', benchmark_loadings='network', alpha=False. Test portfolios are scored given their "
                "factors, by pricing_scores."
            )
        loadings = jnp.concatenate([part for part in self.stock_loadings(params, z) if part is not None], axis=1)
        scale = params["residual_sd" if self.noise == "normal" else "residual_scale"]
        return MonthLaw(
            mean=loadings @ params["factor_mean"],
            loadings=loadings,
            root=params["factor_covariance_root"],
            scale=scale if scale.ndim == 0 else jnp.sqrt(jnp.mean(scale**2)),
            log_scale_sd=0.0,
            noise=self._noise_density(params),
        )

    def functions(self, params: Params, probes: Array) -> dict[str, Array]:
        """What is diagnosed: quantities that neither the order nor the sign of factors changes.

        Alphas, the sum over factors of squared returns in some months, the residuals' sd, and the sd over time of what
        the deep factors explain of the probe rows (probe, characteristic) where loadings are functions of them.
        """
        returns = params["factor_return"]
        months = np.unique(np.linspace(0, len(returns) - 1, 16).astype(int))
        result = {"factor_square": jnp.sum(returns[months] ** 2, axis=-1)}
        if not self.hidden and params["sort_weight"].shape[-1] == 1:
            result = {}  # one characteristic can be sorted in one way: there is nothing to converge
        for name in ("alpha", "residual_sd", "degrees_of_freedom"):
            if name in params:
                result[name] = params[name]
        if "loading" in params:
            result["explained_sd"] = jnp.std(returns @ params["loading"].T, axis=0)
        deep, benchmark = self.stock_loadings(params, probes)
        if deep is not None:
            result["common_sd"] = jnp.std(returns @ deep.T, axis=0)
        if benchmark is not None:
            result["probe_benchmark_loading"] = benchmark
        return result

    def doubts(self, posterior: dict[str, np.ndarray], data: SortedData, times: pd.DatetimeIndex) -> list[str]:
        """Why a fit is to be doubted although its draws are right: legs of stocks that have no returns.

        Parameters
        ----------
        posterior : (chain, draw, ...); about `LOOKED_AT` of the draws are looked at.
        data, times : what the program was run on, and its months.
        """
        if not np.any(np.asarray(data.in_universe) & ~np.asarray(data.observed)):
            return []
        names = [name for name in posterior if name == "sort_weight" or name.startswith(f"{NETWORK}.")]
        flat = {name: posterior[name].reshape(-1, *posterior[name].shape[2:]) for name in names}
        every = max(1, len(flat["sort_weight"]) // LOOKED_AT)
        months = (data.characteristics, data.returns, data.in_universe, data.observed, data.size)
        moved = _share_moved(self, {name: value[::every] for name, value in flat.items()}, months)
        lost = rank_weights.lost(np.asarray(moved))
        if not lost.any():
            return []
        told = first_three(f"{time:%Y-%m-%d}" for time in times[lost])
        return [
            f"more than {rank_weights.LOST:.0%} of a leg belonged to stocks without a return, and the others, or 0, "
            f"stand for it, in {told}"
        ]

    # ------------------------------------------------------------------ test assets given everything

    def simulate_assets(self, params: Params, arrays: PanelArrays, rng_key: Array) -> PanelArrays:
        """The same months with returns of the test portfolios drawn given those of the stocks and one draw of `joint`.

        Raises
        ------
        UnsupportedQuantityError
            When stocks are on both sides: what is fitted is no density of their returns.
        """
        self._require_density()
        law, shape = self._residual_law(params), arrays.portfolios.shape
        if self.noise == "normal":
            residuals = law.draw(rng_key, shape[0])
        else:
            drawn = self._noise_density(params).draw(rng_key, shape, jnp.result_type(float))
            residuals = drawn * jnp.sqrt(law.variances)
        priced = jnp.isfinite(arrays.portfolios)
        # Penalised residuals are a little negatively correlated: over the months of an asset, or the assets of a month.
        for penalty, axis in ((self.pricing_error_penalty, 0), (self.cross_section_penalty, 1)):
            share = 1.0 - 1.0 / math.sqrt(1.0 + penalty)
            count = jnp.maximum(jnp.sum(priced, axis=axis, keepdims=True), 1)
            mean = jnp.sum(jnp.where(priced, residuals, 0.0), axis=axis, keepdims=True) / count
            residuals = residuals - share * mean
        explained = self._explained_by_factors(params, arrays)
        return arrays._replace(portfolios=jnp.where(priced, explained + residuals, jnp.nan))

    def log_density_of_assets(self, params: Params, arrays: PanelArrays) -> Array:
        """Log density () of the test portfolios' returns given those of the stocks and one draw, all months."""
        self._require_density()
        law = self._residual_law(params)
        priced = jnp.isfinite(arrays.portfolios)
        residuals = jnp.where(priced, arrays.portfolios - self._explained_by_factors(params, arrays), 0.0)
        if self.noise != "normal":
            by_cell = self._noise_density(params).log_density(residuals, jnp.sqrt(law.variances))
            return jnp.sum(jnp.where(priced, by_cell, 0.0))
        value = law.log_density(residuals, priced, self.pricing_error_penalty)
        if not self.cross_section_penalty:
            return value
        return value + penalties.cross_section(self.cross_section_penalty, law.variances[0], residuals, priced)

    def _require_density(self) -> None:
        if self.test_assets == "stocks":
            raise UnsupportedQuantityError(
                "with test_assets='stocks' returns are on both sides of the regression: a pseudo-likelihood, of which "
                "nothing can be simulated or scored"
            )

    def _residual_law(self, params: Params) -> Any:
        """Of one draw, decimal per period; independent unless the covariance is in the draw."""
        if self.covariance == "factors":
            return regression.Structured(params["residual_loading"], params["residual_unique"])
        if self.covariance == "full":
            return regression.Covariance(params["residual_covariance"])
        n_assets = params["loading"].shape[0]
        scale = params["residual_sd" if self.noise == "normal" else "residual_scale"]
        return regression.Independent(jnp.broadcast_to(scale**2, (n_assets,)))

    def _explained_by_factors(self, params: Params, arrays: PanelArrays) -> Array:
        """``alpha + beta f + gamma g`` (time, test portfolio), decimal per period."""
        explained: Array = params["factor_return"] @ params["loading"].T
        if "benchmark_loading" in params:
            explained = explained + arrays.benchmarks @ params["benchmark_loading"].T
        return explained + params["alpha"] if self.alpha else explained

    # ------------------------------------------------------------------ the NumPyro program

    def __call__(self, data: PanelArrays | SortedData) -> None:
        """Sample statements and the density of the test assets' returns; coefficients integrated out where they can be.

        Parameters
        ----------
        data : what `data` made of ``panel.arrays()``.
        """
        data = self.data(data) if isinstance(data, PanelArrays) else data
        if not self.collapses:
            self.joint(data)
            return
        params = self.sample_sorts(data.characteristics.shape[-1])
        if self.integrates_betas:  # whose prior does not scale with the residuals' variance
            params["residual_variance_base"] = self._sample_variances(1)
            numpyro.deterministic("residual_sd", jnp.sqrt(params["residual_variance_base"][0]) * data.residual_scale)
        else:
            params |= self._sample_beta_networks(data) | self._sample_residual_factors(data)
        params["factor_return"] = numpyro.deterministic("factor_return", self.factor_returns(params, data))
        numpyro.factor("returns", self.log_evidence(params, data))

    def joint(self, data: PanelArrays | SortedData) -> None:
        """The same posterior with every coefficient and residual scale a parameter, months in minibatches too."""
        data = self.data(data) if isinstance(data, PanelArrays) else data
        params = self.sample_sorts(data.characteristics.shape[-1]) | self._sample_beta_networks(data)
        params["factor_return"] = numpyro.deterministic("factor_return", self.factor_returns(params, data))
        law = self._sample_residuals(params, data)
        assets, regressors = self._regression(params, data)
        precision = self._precision(data)
        residuals = assets
        if regressors.shape[-1]:
            prior = _Coefficients(law, precision, assets.shape[1])
            coefficients = numpyro.sample("coefficient_base", prior)
            for name, value in self._split(coefficients, data).items():
                numpyro.deterministic(name, value)
            residuals = assets - regressors @ coefficients.T
        numpyro.factor("returns", self._log_density(params, law, residuals, data))

    def log_evidence(self, params: Params, data: SortedData) -> Array:
        """Log density () of the test assets' returns given the factors, all that `complete` draws integrated out."""
        if self.integrates_betas:
            every = jnp.concatenate([params["factor_return"], jnp.asarray(data.benchmarks)], axis=1)
            return betas.log_evidence(
                every / data.residual_scale,
                data.stock_sums,
                params["residual_variance_base"][0],
                self.cross_section_penalty,
            )
        assets, regressors = self._regression(params, data)
        penalty, precision = self.pricing_error_penalty, self._precision(data)
        priced = jnp.ones(assets.shape, bool) if data.priced is None else data.priced
        sums = regression.sums(regressors, assets, priced, penalty, balanced=data.priced is None)
        months = regression.Months(regressors, assets, priced, penalty)
        if self.covariance == "full":
            return regression.log_evidence_of_full_covariance(regressors, data.whitened, sums, precision, penalty)
        if self.covariance == "factors":
            law = regression.Structured(params["residual_loading_base"], params["residual_unique_base"])
            return regression.log_evidence_of_residual_factors(regressors, assets, sums, precision, penalty, law)
        if self.covariance == "common":
            return regression.log_evidence_of_one_variance(sums, precision, penalty, months)
        return jnp.sum(regression.log_evidence_by_asset(sums, precision, penalty, months))

    def _regression(self, params: Params, data: SortedData) -> tuple[Array, Array]:
        """Left side (month, test asset) less what networks explain, and regressors; in typical residuals."""
        factors, benchmarks = params["factor_return"], jnp.asarray(data.benchmarks)
        assets = jnp.asarray(data.assets)
        if "network" in (self.loadings, self.benchmark_loadings):
            assets = assets - jnp.take_along_axis(self._explained(params, data), jnp.asarray(data.slot), axis=1)
        regressors = regression.design(
            factors[:, : 0 if self.loadings == "network" else None] / data.residual_scale,
            benchmarks[:, : 0 if self.benchmark_loadings == "network" else None] / data.residual_scale,
            intercept=self.alpha,
        )
        return assets / data.residual_scale, regressors

    def _explained(self, params: Params, data: SortedData) -> Array:
        """What loadings that are functions of characteristics explain (month, slot), decimal per period."""

        def of_month(z: Array, factors: Array, benchmarks: Array) -> Array:
            deep, benchmark = self.stock_loadings(params, z)
            total = jnp.zeros(z.shape[0], factors.dtype)
            total = total if deep is None else total + deep @ factors
            return total if benchmark is None else total + benchmark @ benchmarks

        return jax.vmap(of_month)(
            jnp.asarray(data.characteristics), params["factor_return"], jnp.asarray(data.benchmarks)
        )

    def _precision(self, data: SortedData) -> Array:
        """Prior precision (coefficient,) in units of the residuals'."""
        months = 12.0 / data.periods_per_year
        alpha = (data.residual_scale / (self.alpha_sd * months)) ** 2
        n_deep = 0 if self.loadings == "network" else self.n_factors
        n_benchmarks = 0 if self.benchmark_loadings == "network" else data.benchmarks.shape[1]
        loading = jnp.full(n_deep + n_benchmarks, self.loading_sd**-2.0)
        return jnp.concatenate([jnp.reshape(alpha, 1)[: int(self.alpha)], loading])

    def _split(self, coefficients: Any, data: SortedData) -> dict[str, Any]:
        """Alphas and loadings, decimal per period, of coefficients (..., test asset, coefficient)."""
        first = int(self.alpha)
        middle = first + (0 if self.loadings == "network" else self.n_factors)
        parts = {
            "alpha": coefficients[..., 0] * data.residual_scale if self.alpha else None,
            "loading": coefficients[..., first:middle],
            "benchmark_loading": coefficients[..., middle:],
        }
        return {name: part for name, part in parts.items() if part is not None and part.size}

    def _log_density(self, params: Params, law: Any, residuals: Array, data: SortedData) -> Array:
        """Log density () of residuals (month, test asset) in typical residuals, weighted up to the window."""
        priced = jnp.ones(residuals.shape, bool) if data.priced is None else data.priced
        if self.noise != "normal":
            by_cell = self._noise_density(params).log_density(residuals, jnp.sqrt(law.variances))
            return data.weight * jnp.sum(jnp.where(priced, by_cell, 0.0))
        whole = data.position.shape[0] == data.window.shape[0]
        value = data.weight * law.log_density(residuals, priced, self.pricing_error_penalty if whole else 0.0)
        if self.pricing_error_penalty and not whole:
            self._check_batch(law, residuals.shape[0])
            value = value + penalties.pricing_error_of_halves(
                self.pricing_error_penalty, law.variances, residuals, priced, data.weight
            )
        if self.cross_section_penalty:
            value = value + data.weight * penalties.cross_section(
                self.cross_section_penalty, law.variances[0], residuals, priced
            )
        return value

    def _check_batch(self, law: regression.Residuals, n_months: int) -> None:
        """Refuse a minibatch whose average residuals cannot be penalised."""
        if n_months < 2:
            raise DataError("pricing_error_penalty in minibatches needs two months a step or more: give a larger batch")
        if not isinstance(law, regression.Independent):
            raise DataError(
                "pricing_error_penalty in minibatches needs residual_covariance='by_asset' or 'common'; fit the others "
                "without batch"
            )

    # ------------------------------------------------------------------ sample statements

    def sample_sorts(self, n_characteristics: int) -> Params:
        """Sample statements of the weights of the deep characteristics."""
        with reparam(config=_non_centred):
            params = self._sample_network(NETWORK, n_characteristics, self.hidden)
            n_features = self.hidden[-1] if self.hidden else n_characteristics
            # The scale of a deep characteristic means nothing: it is standardised.
            direction = priors.Direction(n_features, (self.n_factors,)).to_event(1)
            params["sort_weight"] = numpyro.sample("sort_weight", direction)
        return params

    def _sample_beta_networks(self, data: SortedData) -> Params:
        """Weights of loadings that are functions of characteristics."""
        params: Params = {}
        sizes = {"loading": self.n_factors, "benchmark_loading": data.benchmarks.shape[1]}
        with reparam(config=_non_centred):
            for name, network in (("loading", LOADING), ("benchmark_loading", BENCHMARK_LOADING)):
                if getattr(self, f"{name}s") == "network" and sizes[name]:
                    params |= self._sample_loading_network(name, network, sizes[name], data.characteristics.shape[-1])
        return params

    def _sample_network(self, name: str, n_characteristics: int, hidden: tuple[int, ...]) -> Params:
        if not hidden:
            return {}
        network = networks.FeatureNetwork(n_characteristics, hidden, self.activation)
        drawn = random_eqx_module(name, network, priors.network_prior(name, network, 1.0), scope_divider=".")
        return {f"{name}.{leaf}": value for leaf, value in networks.parameters_of(drawn).items()}

    def _sample_loading_network(self, name: str, network: str, n_outputs: int, n_characteristics: int) -> Params:
        """Level and slopes of loadings."""
        params = self._sample_network(network, n_characteristics, self.loading_hidden)
        level = dist.Normal(0.0, self.loading_sd).expand([n_outputs]).to_event(1)
        params[f"{name}_level"] = numpyro.sample(f"{name}_level", level)
        n_features = self.loading_hidden[-1] if self.loading_hidden else n_characteristics
        slopes = dist.Normal(0.0, self._slope_sd(n_features)).expand([n_outputs, n_features]).to_event(2)
        params[f"{name}_map"] = numpyro.sample(f"{name}_map", slopes)
        return params

    def _slope_sd(self, n_features: int) -> float:
        """Prior sd of what a loading gains by a feature: over stocks they vary by about `loading_sd`."""
        gain = networks.prior_gain(self.activation, len(self.loading_hidden)) if self.loading_hidden else 1.0
        return self.loading_sd / (gain * math.sqrt(n_features / 3.0))  # ranks in [-1, 1] have mean square 1/3

    def _sample_residual_factors(self, data: SortedData) -> Params:
        """Residual factors' loadings and unique variances, in typical residuals."""
        if self.covariance != "factors":
            return {}
        n_assets = data.assets.shape[1]
        loading = dist.Normal(0.0, 0.5).expand([n_assets, self.residual_rank]).to_event(2)
        unique = dist.InverseGamma(regression.SHAPE, 1.0).expand([n_assets]).to_event(1)
        params = {
            "residual_loading_base": numpyro.sample("residual_loading_base", loading),
            "residual_unique_base": numpyro.sample("residual_unique_base", unique),
        }
        scale = data.residual_scale
        numpyro.deterministic("residual_loading", params["residual_loading_base"] * scale)
        numpyro.deterministic("residual_unique", params["residual_unique_base"] * scale**2)
        total = params["residual_unique_base"] + jnp.sum(params["residual_loading_base"] ** 2, axis=1)
        numpyro.deterministic("residual_sd", jnp.sqrt(total) * scale)
        return params

    def _sample_residuals(self, params: Params, data: SortedData) -> regression.Residuals:
        """The law of the residuals as parameters, in typical residuals."""
        n_assets, scale = data.assets.shape[1], data.residual_scale
        if self.covariance == "factors":
            params |= self._sample_residual_factors(data)
            return regression.Structured(params["residual_loading_base"], params["residual_unique_base"])
        if self.covariance == "full":
            return self._sample_precision(n_assets, scale)
        variances = self._sample_variances(1 if self.covariance == "common" else n_assets)
        if self.noise == "student_t":
            excess = numpyro.sample("tail_excess_base", dist.Gamma(2.0, 0.2))
            params["degrees_of_freedom"] = numpyro.deterministic("degrees_of_freedom", 2.0 + excess)
        own = jnp.sqrt(variances) * scale
        own = own[0] if self.covariance == "common" else own
        if self.noise != "normal":  # whose scale is not its sd
            numpyro.deterministic("residual_scale", own)
            own = own * jnp.sqrt(self._noise_density(params).variance)
        numpyro.deterministic("residual_sd", own)
        return regression.Independent(jnp.broadcast_to(variances, (n_assets,)))

    def _sample_variances(self, count: int) -> Array:
        """Variances (count,) of residuals, in typical ones."""
        prior = dist.InverseGamma(regression.SHAPE, 1.0).expand([count]).to_event(1)
        variances: Array = numpyro.sample("residual_variance_base", prior)
        return variances

    def _sample_precision(self, n_assets: int, scale: Array) -> regression.Correlated:
        """``Sigma^-1 ~ Wishart`` by Bartlett's decomposition: no matrix is factorised."""
        degrees = n_assets + regression.DEGREES
        shape = 0.5 * (degrees - jnp.arange(n_assets))
        squares = numpyro.sample("residual_diagonal_base", dist.Gamma(shape, 0.5).to_event(1))
        n_below = n_assets * (n_assets - 1) // 2
        below = numpyro.sample("residual_below_base", dist.Normal(0.0, 1.0).expand([n_below]).to_event(1))
        empty = jnp.zeros((n_assets, n_assets), squares.dtype)
        lower = empty.at[np.tril_indices(n_assets, -1)].set(below)  # noqa: PD008
        root = (lower + jnp.diag(jnp.sqrt(squares))) / math.sqrt(regression.WISHART_SCALE)
        inverse = jax.scipy.linalg.solve_triangular(root, jnp.eye(n_assets, dtype=root.dtype), lower=True)
        covariance = inverse.T @ inverse * scale**2
        numpyro.deterministic("residual_covariance", covariance)
        numpyro.deterministic("residual_sd", jnp.sqrt(jnp.diagonal(covariance)))
        return regression.Correlated(root)

    def _noise_density(self, params: Params) -> Noise:
        """Density of the noise at scale 1."""
        return density(self.noise, self.huber_delta, params)

    # ------------------------------------------------------------------ what the program leaves out

    def complete(self, params: dict[str, np.ndarray], data: SortedData, rng: np.random.Generator) -> dict[str, Any]:
        """Exact draws of what the program integrates out, and of the factors' law, given its draws (on the host).

        Parameters
        ----------
        params : (draw, ...) draws of the program.
        data : what it was run on.
        rng : of these draws.

        Returns
        -------
        `alpha`, `loading`, `benchmark_loading`, `residual_sd`, `residual_covariance`, and `factor_mean`,
        `factor_covariance` with its root, by name: (draw, ...), decimal per period.
        """
        deep = np.asarray(params["factor_return"], float)
        n_draws, n_time, _ = deep.shape
        benchmarks = np.broadcast_to(np.asarray(data.benchmarks, float), (n_draws, n_time, data.benchmarks.shape[1]))
        every = np.concatenate([deep, benchmarks], axis=-1)
        done = factor_law.draw_law(every, float(data.periods_per_year) / self.factor_sharpe**2, rng)
        if not self.collapses:
            return done
        if self.integrates_betas:
            return done | self._drawn_betas(every, np.asarray(params["residual_variance_base"], float), data, rng)
        n_assets = data.assets.shape[1]
        n_coefficients = max(int(self._precision(data).shape[0]), 1)
        own = n_coefficients**2 * (1 if data.priced is None else n_assets)
        own += n_assets**2 if self.covariance in ("full", "factors") else 0
        size = max(1, COMPLETED_AT_ONCE // own)
        parts = []
        for first in range(0, n_draws, size):
            chunk = {name: np.asarray(value[first : first + size], float) for name, value in params.items()}
            parts.append(self._completed(chunk, data, rng))
        return done | {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _drawn_betas(
        self, factors: np.ndarray, variance: np.ndarray, data: SortedData, rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Levels and slopes of betas given factors (draw, month, factor), benchmarks last, and variance (draw, 1)."""
        sums = betas.StockSums(*(np.asarray(leaf, float) for leaf in data.stock_sums))
        at_once = max(1, COMPLETED_AT_ONCE // (factors.shape[-1] * len(sums.basis)) ** 2)
        scaled = factors / float(data.residual_scale)
        parts = [
            betas.draw_betas(rng, scaled[first : first + at_once], sums, variance[first : first + at_once, 0])
            for first in range(0, len(factors), at_once)
        ]
        drawn = np.concatenate(parts)
        own = {"loading": drawn[:, : self.n_factors], "benchmark_loading": drawn[:, self.n_factors :]}
        return {
            f"{name}_{part}": value[..., 0] if part == "level" else value[..., 1:]
            for name, value in own.items()
            for part in ("level", "map")
            if value.shape[1]
        }

    def _completed(self, params: dict[str, Any], data: SortedData, rng: np.random.Generator) -> dict[str, Any]:
        """Coefficients and residual law of some draws."""
        host = jax.tree.map(lambda leaf: np.asarray(leaf, float) if np.asarray(leaf).dtype.kind == "f" else leaf, data)
        scale, penalty = float(host.residual_scale), self.pricing_error_penalty
        assets, regressors = self._regressions(params, host)
        n_draws, n_assets = len(regressors), host.assets.shape[1]
        priced = np.ones(host.assets.shape, bool) if host.priced is None else np.asarray(host.priced)
        precision = np.asarray(self._precision(host), float)
        if assets.ndim == 2:
            sums = regression.sums(regressors, assets, priced, penalty, balanced=host.priced is None)
        else:  # every draw's own left side
            each = [
                regression.sums(one, left, priced, penalty, balanced=host.priced is None)
                for one, left in zip(regressors, assets, strict=True)
            ]
            sums = regression.Sums(*(np.stack(parts) for parts in zip(*each, strict=True)))
            sums = sums._replace(n_months=each[0].n_months)
        given = regression.conditional(sums, precision)
        result: dict[str, Any] = {}
        if self.covariance == "full":
            square = assets.T @ assets
            if penalty:
                square = square + penalty / len(assets) * np.outer(assets.sum(axis=0), assets.sum(axis=0))
            moments = square - given.mean @ np.swapaxes(sums.projection, -1, -2)
            moments = 0.5 * (moments + np.swapaxes(moments, -1, -2))
            covariance = regression.draw_covariances(rng, moments, len(assets))
            result["residual_covariance"] = covariance * scale**2
            result["residual_sd"] = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2)) * scale
        elif self.covariance == "factors":
            loadings, unique = params["residual_loading_base"], params["residual_unique_base"]
            covariance = loadings @ np.swapaxes(loadings, -1, -2) + unique[:, :, None] * np.eye(n_assets)
        elif self.covariance == "common":
            one = regression.draw_one_variance(rng, given, sums.n_months)
            covariance = np.broadcast_to(one[:, None], (n_draws, n_assets))
            result["residual_sd"] = np.sqrt(one) * scale
        else:
            covariance = regression.draw_variances(rng, given, sums.n_months)
            result["residual_sd"] = np.sqrt(covariance) * scale
        if regressors.shape[-1]:
            result |= self._split(regression.draw_coefficients(rng, given, covariance), host)
        return result

    def _regressions(self, params: dict[str, Any], data: SortedData) -> tuple[Any, Any]:
        """As `_regression`, of draws on the host: left sides (month, asset) or (draw, month, asset), and regressors."""
        if "network" in (self.loadings, self.benchmark_loadings):
            with jax.enable_x64(True):
                assets, regressors = jax.lax.map(partial(self._regression, data=data), params)
            return np.asarray(assets), np.asarray(regressors)
        regressors = regression.design(
            params["factor_return"] / data.residual_scale, data.benchmarks / data.residual_scale, intercept=self.alpha
        )
        return data.assets / data.residual_scale, regressors


@partial(jax.jit, static_argnums=0)
def _share_moved(model: SortedFactorModel, params: Params, months: tuple[Any, ...]) -> Array:
    """Share (draw, month, factor) of a leg's weight that belonged to stocks without a return, the larger leg."""

    def of_month(params: Params, month: tuple[Any, ...]) -> Array:
        z, returns, universe, observed, size = month
        legs = model.portfolio_weights(params, z, universe, size)
        return jnp.maximum(*rank_weights.portfolio_returns(legs, returns, observed).share_moved)

    def of_draw(params: Params) -> Array:
        return jax.lax.map(partial(of_month, params), months)

    moved: Array = jax.lax.map(of_draw, params)
    return moved


class _Coefficients(dist.Distribution):
    """Prior of coefficients (asset, coefficient): ``c_k ~ N(0, Sigma / P_0k)``."""

    support = dist.constraints.real_matrix

    def __init__(self, law: regression.Residuals, precision: Array, n_assets: int) -> None:
        self.law, self.precision = law, precision
        super().__init__((), (n_assets, precision.shape[0]))

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """One draw (asset, coefficient)."""
        drawn = self.law.draw(key, self.precision.shape[0])
        return drawn.T / jnp.sqrt(self.precision)

    def log_prob(self, value: Array) -> Array:
        """Log density ()."""
        return regression.log_prior_of_coefficients(self.law, value, self.precision)


def _non_centred(site: dict[str, Any]) -> LocScaleReparam | None:
    """Weights of networks are sampled in units of their prior."""
    return LocScaleReparam(centered=0.0) if site["name"].endswith(".weight") else None
