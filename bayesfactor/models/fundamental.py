r"""The deep fundamental factor model of Dixon and Polson (2020), with slopes that move every month.

.. math::
    r_{ti} = w_t' \phi(z_{ti}) + \sigma_t e_{ti}, \qquad w_t = \bar w + u_t, \quad u_t \sim N(0, S)

``phi`` are an intercept and the last hidden features of a network (eq. 2-5) less those of the median stock
(``z = 0``), or an intercept and the characteristics themselves (``hidden=()``, eq. 1). Without the difference every
unit's level would move with the market, as the intercept does. ``u_t`` is integrated out for normal noise and sampled
for any other.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import equinox as eqx
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

from bayesfactor.components import conjugate, networks, slopes
from bayesfactor.components.batches import map_in_batches
from bayesfactor.components.month import (
    Moments,
    MonthLaw,
    gram_matrix,
    log_density_by_laplace,
    log_density_given_shocks,
    log_density_of_moments,
)
from bayesfactor.components.noise import Noise, density
from bayesfactor.errors import DataError, DataWarning, UnsupportedQuantityError, first_three
from bayesfactor.models import priors
from bayesfactor.models.checks import one_of, widths
from bayesfactor.models.training import (
    MonthStatistics,
    TrainingData,
    each_month,
    month_scales,
    reduced,
    training_data,
)
from bayesfactor.panel import PanelArrays

Params = dict[str, Array]

SCALE_TAILS = 4.0  # degrees of freedom of the prior on the scales of monthly slopes
NOISE_PRIOR_SD = 0.5  # of the log noise level around the training returns' cross-sectional sd
NETWORK = "network"
# Features of so many numbers are computed at once: what a core's cache holds, what keeps a GPU busy.
CPU_BLOCK, GPU_BLOCK = 2**15, 2**26


@dataclass(frozen=True, repr=False)
class FundamentalFactorModel:
    """Expected returns from characteristics: a network or a linear map, its slopes varying by month.

    Call it as a NumPyro program on ``panel.arrays()``, or give it to ``bayesfactor.fit``.

    Parameters
    ----------
    hidden : widths of the hidden layers; ``()`` is the linear model.
    activation : "tanh", "softplus", "relu" or "identity". Interactions need "tanh" or "softplus".
    pooling : "partial" (default) lets every slope on the last features move by month around its average, which is
        what returns do; "full" treats all rows as independent: for comparison, its bands are too narrow; "none" fits
        every month by itself, as published (see the notes).
    noise : density of ``e``: "student_t" (default, for single stocks), "laplace" (least absolute deviations), "huber"
        (normal within `huber_delta` scales, Laplace tails) or "normal" (closed form in the monthly shocks: faster,
        right for portfolios). ``sigma`` is the density's own scale: the sd of the noise is 1.41 ``sigma`` for
        "laplace", 1.21 for "huber" at its default, ``sqrt(nu / (nu - 2))`` for "student_t". Its prior is around the
        cross-sectional sd of the returns; for "laplace" and "huber" that of the noise's sd is.
    huber_delta : where Huber's density turns from normal to Laplace, in units of its scale.
    input_prior : "normal", "ard" (one scale per characteristic) or "horseshoe" (regularised, few characteristics
        matter).
    network : an equinox module ``(characteristic,) -> (feature,)`` used as feature map in place of `hidden`.
    slope_sd : prior sd of the average slope of a characteristic, decimal per month per unit of the prepared
        characteristic; for networks the last layer is scaled so that this is the prior root mean square of a
        sensitivity. A `network` of your own is taken to have unit slopes. ``math.inf`` is a flat prior, also of the
        intercept (linear model only).
    slope_variation : prior scale of the sd over months of such a slope, decimal per month. Half Student-t with four
        degrees of freedom: the slopes of nearly collinear characteristics move far more than others do.
    intercept_sd, intercept_variation : the same for the intercept (the average stock).
    noise_variation : prior scale of the sd over months of the log noise level.
    shock_rank : rank of the correlation of the slopes beyond the diagonal, where there are more than 12.

    Notes
    -----
    With ``pooling="none"`` every month is a fit of its own, on the rows of that month alone: the model of
    ``pooling="full"`` on a panel of one month. Its posterior has a dimension `time`, and month m is forecast from the
    latest month before it. Rows are taken as independent, so the bands are those of the month's own slopes, which
    another month does not share: they say nothing about the average over months. The prior of the noise level is
    around the month's own cross-sectional sd, which is known when the next month is forecast; that of the whole window
    is not. A month with fewer stocks than parameters rests on the prior.

    Memory: draws take ``4 * chains * draws * parameters`` bytes a month (140 months of 100 parameters, 4 x 500 draws:
    112 MB, and as much on disk), the full-covariance guide of `SVI` another ``16 * restarts * parameters**2``. Months
    are computed in groups, so that what a gradient works on does not grow with their number.

    References
    ----------
    Dixon, M. F. and Polson, N. G. (2020), Deep Fundamental Factor Models, eq. 1-8.
    """

    hidden: tuple[int, ...] = (8,)
    activation: str = "tanh"
    pooling: str = "partial"
    noise: str = "student_t"
    huber_delta: float = 1.345
    input_prior: str = "normal"
    network: eqx.Module | None = None
    slope_sd: float = 0.01
    slope_variation: float = 0.02
    intercept_sd: float = 0.02
    intercept_variation: float = 0.05
    noise_variation: float = 0.3
    shock_rank: int = 3

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", widths("hidden", self.hidden))
        if not isinstance(self.shock_rank, int | np.integer) or self.shock_rank < 0:
            raise DataError(f"shock_rank must be a whole number, 0 or more: got shock_rank={self.shock_rank!r}")
        one_of("activation", self.activation, networks.ACTIVATIONS)
        one_of("pooling", self.pooling, ("partial", "full", "none"))
        one_of("noise", self.noise, ("normal", "student_t", "laplace", "huber"))
        one_of("input_prior", self.input_prior, ("normal", "ard", "horseshoe"))
        if not 0 < self.huber_delta < math.inf:
            raise DataError(f"huber_delta must be positive and finite: got {self.huber_delta}")
        if self.network is not None and self.hidden:
            raise DataError(
                f"give either network= or hidden=, not both: got hidden={self.hidden} beside a network. "
                "Pass hidden=() with your own feature map."
            )
        scales = {
            name: getattr(self, name)
            for name in ("slope_sd", "slope_variation", "intercept_sd", "intercept_variation", "noise_variation")
        }
        wrong = {name: value for name, value in scales.items() if not value > 0}
        if wrong:
            raise DataError(f"prior scales must be positive: got {wrong}")
        if math.isinf(self.slope_sd) and (not self.linear or self.input_prior != "normal"):
            raise DataError(
                "a flat prior (slope_sd=inf) needs the linear model with input_prior='normal': the last layer of a "
                "network is not identified without a prior."
            )

    def __repr__(self) -> str:
        """Class and `hidden`, and whatever differs from the defaults."""
        told = [
            f"{field.name}={getattr(self, field.name)!r}"
            for field in fields(self)
            if field.name == "hidden" or getattr(self, field.name) != field.default
        ]
        return f"FundamentalFactorModel({', '.join(told)})"

    # ------------------------------------------------------------------ what the model is

    @property
    def linear(self) -> bool:
        """Whether expected returns are linear in the characteristics."""
        return not self.hidden and self.network is None

    @property
    def by_month(self) -> bool:
        """Whether every month is a fit of its own, all parameters with a leading dimension `time`."""
        return self.pooling == "none"

    def at(self, params: Params, position: Any) -> Params:
        """Parameters of the fitted month at a position; all of them, where all months share one set."""
        if not self.by_month:
            return params
        return {name: value[position] if jnp.ndim(value) else value for name, value in params.items()}

    @property
    def likelihood_kind(self) -> str:
        """A proper density of the returns given what was known before the month."""
        return "density"

    def feature_network(self, n_characteristics: int) -> Any:
        """The feature map without weights; None for the linear model."""
        if self.network is not None:
            return self.network
        if not self.hidden:
            return None
        return networks.FeatureNetwork(n_characteristics, self.hidden, self.activation)

    def feature_names(self, characteristics: tuple[str, ...]) -> list[str]:
        """Labels of the features, intercept first."""
        if self.linear:
            return ["intercept", *characteristics]
        n_features = self._n_features(len(characteristics))
        return ["intercept", *(f"unit_{index}" for index in range(1, n_features))]

    def dims(self) -> dict[str, list[str]]:
        """Dimensions of the parameters that have labelled ones."""
        return {
            "slope_mean": ["feature"],
            "slope_scale": ["feature"],
            "slope_correlation_root": ["feature", "feature_2"],
            "noise_scale": ["time"],
            "shock": ["time", "feature"],
            "input_scale": ["characteristic"],
        }

    def is_internal(self, site: str) -> bool:
        """Whether a site only serves the sampler's geometry and is not kept in a result."""
        if site.startswith(f"{NETWORK}."):  # the leaves of a network may have any name
            return site.startswith(f"{NETWORK}.{NETWORK}.")
        return site.endswith(("_decentered", "_base", "_relative", "_flat", "_correlation", "_factor", "_excess"))

    def check(self, n_observed: np.ndarray, n_characteristics: int, times: pd.DatetimeIndex) -> None:
        """Refuse or warn of a panel whose months are too small for the model.

        Parameters
        ----------
        n_observed : (time,) stocks with an observed return.
        n_characteristics : of the panel.
        times : of the months, for the message.

        Raises
        ------
        DataError
            When more than 5% of the months have fewer observed stocks than the model has slopes that move by month.
            With ``pooling="none"`` when a month has fewer than two, or returns that do not differ, or too few for a
            flat prior.
        """
        if self.pooling != "partial":
            return
        n_slopes = self._n_features(n_characteristics)
        small = np.flatnonzero(n_observed < n_slopes)
        if not small.size:
            return
        share = small.size / len(n_observed)
        months = first_three(f"{time:%Y-%m-%d}" for time in times[small])
        text = (
            f"every month must have at least as many observed stocks as the model has slopes ({n_slopes}): "
            f"{share:.0%} of the months have fewer: {months}. Drop characteristics or hidden units, or use "
            "pooling='full'."
        )
        if share > 0.05:
            raise DataError(text)
        warnings.warn(text, DataWarning, stacklevel=4)

    def check_each_month(self, arrays: PanelArrays, times: pd.DatetimeIndex) -> None:
        """Refuse or warn of months that cannot be fitted by themselves.

        Raises
        ------
        DataError
            When a month has fewer than two observed stocks, or returns or characteristics that tell nothing apart.
        """

        def refuse(months: np.ndarray, rule: str) -> None:
            if months.any():
                named = first_three(f"{time:%Y-%m-%d}" for time in times[months])
                raise DataError(
                    f"pooling='none' fits every month by itself: {rule}; not so in {named}. Leave them out."
                )

        count = arrays.observed.sum(axis=1)
        refuse(count < 2, "each needs at least 2 observed stocks")
        refuse(~(month_scales(arrays) > 0), "its returns must differ between stocks")
        n_parameters = self._n_parameters(arrays.varies.shape[0])
        if math.isinf(self.slope_sd):
            gram = reduced(training_data(arrays)).months.gram
            refuse(
                np.linalg.matrix_rank(gram, hermitian=True) < gram.shape[-1], "a flat prior needs its slopes told apart"
            )
        small = np.flatnonzero(count < n_parameters)
        if small.size:
            months = first_three(f"{time:%Y-%m-%d}" for time in times[small])
            text = f"months with fewer observed stocks than the model has parameters ({n_parameters}) rest on the prior"
            warnings.warn(f"{text}: {months}", DataWarning, stacklevel=5)

    def _n_parameters(self, n_characteristics: int) -> int:
        """Weights, slopes and the noise level of one month."""
        network = self.feature_network(n_characteristics)
        weights = 0 if network is None else sum(leaf.size for leaf in networks.parameters_of(network).values())
        return weights + self._n_features(n_characteristics) + 1

    def _n_features(self, n_characteristics: int) -> int:
        if self.linear:
            return n_characteristics + 1
        network = self.feature_network(n_characteristics)
        shape = jax.eval_shape(network, jax.ShapeDtypeStruct((n_characteristics,), jnp.result_type(float)))
        if len(shape.shape) != 1:
            raise DataError(
                f"a feature network must map (characteristic,) to (feature,): it returns shape {shape.shape}"
            )
        return shape.shape[0] + 1

    # ------------------------------------------------------------------ pure functions of one draw

    def _network_of(self, params: Params, n_characteristics: int) -> Any:
        prefix = NETWORK + "."
        weights = {name.removeprefix(prefix): value for name, value in params.items() if name.startswith(prefix)}
        return networks.with_parameters(self.feature_network(n_characteristics), weights)

    def features(self, params: Params, z: Array) -> Array:
        """Intercept and features (stock, feature) of characteristics ``z`` (stock, characteristic)."""
        return self._stocks_last(params, z).T

    def _stocks_last(self, params: Params, z: Array) -> Array:
        """`features` with stocks as the last dimension: (feature, stock)."""
        if self.linear:
            inner = z.T
        else:
            network = self._network_of(params, z.shape[-1])
            of_stocks = network.of_stocks if self.network is None else jax.vmap(network, out_axes=-1)
            inner = of_stocks(z) - network(jnp.zeros_like(z[0]))[:, None]
        return jnp.concatenate([jnp.ones((1, z.shape[0]), inner.dtype), inner])

    def response(self, params: Params, z: Array) -> Array:
        """Expected return (stock,) at the population slopes, decimal per period: ``wbar' phi(z)``."""
        return self.features(params, z) @ params["slope_mean"]

    def month_law(self, params: Params, z: Array) -> MonthLaw:
        """Law of a new month's returns given its characteristics (stock, characteristic)."""
        features = self.features(params, z)
        full = self.pooling != "partial"
        return MonthLaw(
            mean=features @ params["slope_mean"],
            loadings=features[:, :0] if full else features * params["slope_scale"],
            root=jnp.zeros((0, 0), features.dtype) if full else params["slope_correlation_root"],
            scale=params["noise_level"],
            log_scale_sd=0.0 if full else params["noise_variation"],
            noise=self._noise_density(params),
        )

    def training_law(self, params: Params, z: Array, position: Any) -> MonthLaw:
        """Law of the training month at `position`: with the noise level and the shocks that the draw has for it."""
        law = self.month_law(params, z)
        if self.pooling != "partial":
            return law
        law = law._replace(scale=params["noise_scale"][position], log_scale_sd=0.0)
        if "shock" not in params:  # integrated out
            return law
        mean = law.mean + law.loadings @ (law.root @ params["shock"][position])
        return law._replace(mean=mean, loadings=law.loadings[:, :0], root=law.root[:0, :0])

    def _noise_density(self, params: Params) -> Noise:
        """Density of a stock's noise at scale 1."""
        return density(self.noise, self.huber_delta, params)

    def gradient(self, params: Params, z: Array) -> Array:
        """Sensitivities (stock, characteristic): derivative of `response`, Dixon and Polson (2020), eq. 7."""
        if self.linear:
            return jnp.broadcast_to(params["slope_mean"][1:], z.shape)
        if self.network is None:
            return networks.gradient(self._network_of(params, z.shape[-1]), params["slope_mean"][1:], z)
        return jax.vmap(jax.grad(lambda row: self.response(params, row[None])[0]))(z)

    def gradient_sums(self, params: Params, z: Array, weights: Array) -> networks.Sums:
        """Sums over stocks of the sensitivities and their squares, weighted by `weights` (stock,)."""
        if self.linear:
            slopes, total = params["slope_mean"][1:], jnp.sum(weights)
            return networks.Sums(total * slopes, total * slopes**2)
        if self.network is None:
            inner = self._network_of(params, z.shape[-1])
            return networks.gradient_sums(inner, params["slope_mean"][1:], z, weights)
        return networks.gradient_sums_of(lambda row: self.response(params, row[None])[0], z, weights)

    def hessian_sums(self, params: Params, z: Array, weights: Array) -> networks.Sums:
        """Sums over stocks of the second derivatives of `response` and their squares, eq. 8."""
        self._require_curvature()
        if self.network is None:
            inner = self._network_of(params, z.shape[-1])
            return networks.hessian_sums(inner, params["slope_mean"][1:], z, weights)
        return networks.hessian_sums_of(lambda row: self.response(params, row[None])[0], z, weights)

    def _require_curvature(self) -> None:
        if self.linear:
            raise UnsupportedQuantityError(
                "a linear model has no interactions: its second derivatives are zero everywhere. "
                "Fit one with hidden layers, e.g. FundamentalFactorModel(hidden=(8,))."
            )
        if self.network is None and self.activation in ("relu", "identity"):
            raise UnsupportedQuantityError(
                f"interactions need second derivatives, which are zero almost everywhere with activation="
                f"{self.activation!r}. Use activation='tanh' or 'softplus'."
            )

    def activation_patterns(self, params: Params, z: Array) -> Array:
        """Which region of linear `response` each stock is in, as words (stock, word): equal rows are one region."""
        if self.by_month:
            raise UnsupportedQuantityError(
                "the bound on the variance of sensitivities (theorem 3.3.1) is of one network, and pooling='none' has "
                "one a month. Fit with pooling='partial' or 'full'."
            )
        if self.linear:
            return jnp.zeros((len(z), 1), jnp.uint32)
        if self.network is not None:
            raise UnsupportedQuantityError(
                "the bound on the variance of sensitivities counts the regions where the network is linear, which a "
                "network of your own does not tell. Use hidden= with activation='relu', or panel_sd of sensitivities, "
                "which is the spread itself."
            )
        if self.activation not in ("relu", "identity"):
            raise UnsupportedQuantityError(
                "the bound on the variance of sensitivities (theorem 3.3.1) is for ReLU networks, whose sensitivities "
                f"take one value a region: activation={self.activation!r} has no regions. Use panel_sd of "
                "sensitivities, which is the spread itself."
            )
        return networks.activation_patterns(self._network_of(params, z.shape[-1]), z)

    def functions(self, params: Params, probes: Array) -> dict[str, Array]:
        """What is diagnosed: functions of the parameters that do not depend on how the weights are labelled.

        Expected returns, sensitivities and the sd of the common shocks at the probe rows (probe, characteristic),
        and the scales of the noise. With ``pooling="none"`` of every month (time, ...), sensitivities averaged over
        the probes.
        """
        if self.by_month:
            return jax.vmap(self._functions_of_month, (0, None))(params, probes)
        return self._functions(params, probes)

    def _functions_of_month(self, params: Params, probes: Array) -> dict[str, Array]:
        result = self._functions(params, probes)
        if "sensitivity" in result:
            result["sensitivity"] = jnp.mean(result["sensitivity"], axis=0)
        return result

    def _functions(self, params: Params, probes: Array) -> dict[str, Array]:
        result = {"response": self.response(params, probes), "sensitivity": self.gradient(params, probes)}
        if self.linear:
            result = {"slope_mean": params["slope_mean"], "response": result["response"]}
        if self.pooling == "partial":
            law = self.month_law(params, probes)
            result["common_sd"] = jnp.sqrt(jnp.sum((law.loadings @ law.root) ** 2, axis=-1))
        for name in ("noise_level", "noise_variation", "degrees_of_freedom"):
            if name in params:
                result[name] = params[name]
        return result

    # ------------------------------------------------------------------ data

    def data(self, arrays: PanelArrays) -> TrainingData:
        """The panel's months, or their sufficient statistics where those are enough (linear, normal noise).

        With ``pooling="none"`` every leaf has a leading dimension of data sets, each of one month.
        """
        data = training_data(arrays)
        data = reduced(data) if self.linear and self.noise == "normal" else data
        return each_month(data, month_scales(arrays)) if self.by_month else data

    # ------------------------------------------------------------------ the NumPyro program

    def __call__(self, data: PanelArrays | TrainingData) -> None:
        """Sample statements: priors in finance units, then the density of every month.

        Parameters
        ----------
        data : ``panel.arrays()``, or what `data` made of them.
        """
        data = training_data(data) if isinstance(data, PanelArrays) else data
        if self.by_month and data.position.shape[0] != 1:
            raise DataError(
                f"with pooling='none' the program is that of one month, and this panel has {data.position.shape[0]}: "
                "bayesfactor.fit runs it for each"
            )
        with reparam(config=_non_centred):
            params = self._sample_features(data)
            params["slope_mean"] = self._sample_slope_mean(params, data)
            params |= self._sample_variation(params, data) | self._sample_noise(data)
        if self.noise != "normal" and self.pooling == "partial":
            shape = (params["noise_scale"].shape[-1], params["slope_scale"].shape[-1])
            params["shock"] = numpyro.sample("shock", dist.Normal(0, 1).expand(shape).to_event(2))
        numpyro.factor("returns", self.log_likelihood(params, data))

    def collapsed(self, data: TrainingData) -> None:
        """The same posterior with fewer parameters, for guides: what can be integrated out is.

        Normal noise: the average slopes, exactly (`slopes_given_rest` draws them). Other noise: the months' shocks, by
        Laplace's method.

        Parameters
        ----------
        data : all months of the window for normal noise: a minibatch has no average slopes of its own.
        """
        with reparam(config=_non_centred):
            params = self._sample_features(data)
            if not self.collapses_slopes:
                params["slope_mean"] = self._sample_slope_mean(params, data)
            params |= self._sample_variation(params, data) | self._sample_noise(data)
        if self.collapses_slopes:
            evidence = slopes.log_evidence(self._slope_likelihood(params, data), self._slope_prior_sd(params, data))
        else:
            evidence = self._log_likelihood_by_laplace(params, data)
        numpyro.factor("returns", evidence)

    def _log_likelihood_by_laplace(self, params: Params, data: TrainingData) -> Array:
        def of_month(z: Array, r: Array, observed: Array, scale: Array) -> Array:
            return log_density_by_laplace(self.month_law(params, z)._replace(scale=scale), r, observed)

        months = (*data.months, self._noise_scale(params, data))
        return data.weight * jnp.sum(self._over_months(of_month, months))

    @property
    def collapses_slopes(self) -> bool:
        """Whether `collapsed` leaves the average slopes out: the likelihood is Gaussian in them."""
        return self.noise == "normal"

    def slopes_given_rest(self, params: Params, data: TrainingData) -> tuple[Array, Array]:
        """Precision ``P`` (feature, feature) and ``b`` of ``slope_mean ~ N(P^-1 b, P^-1)`` given all else."""
        likelihood = self._slope_likelihood(params, data)
        prior = self._slope_prior_sd(params, data) ** -2.0
        return likelihood.precision + jnp.diag(prior), likelihood.projection

    def _slope_likelihood(self, params: Params, data: TrainingData) -> slopes.SlopeLikelihood:
        full = self.pooling != "partial"
        statistics = self._month_statistics(params, data)
        scale = self._noise_scale(params, data)
        spread = jnp.zeros(0, scale.dtype) if full else params["slope_scale"]
        root = jnp.zeros((0, 0), scale.dtype) if full else params["slope_correlation_root"]
        return slopes.of_months(statistics, scale, spread, root, data.weight)

    def log_likelihood(self, params: Params, data: PanelArrays | TrainingData) -> Array:
        """Log density () of the months given one draw, at each month's own noise level, weighted up to the window."""
        data = training_data(data) if isinstance(data, PanelArrays) else data
        scale = self._noise_scale(params, data)
        if self.noise != "normal":
            shocks = params["shock"][data.position] if "shock" in params else jnp.zeros((len(scale), 0))
            given_shocks = partial(self._log_density_given_shocks, params)
            return data.weight * jnp.sum(self._over_months(given_shocks, (*data.months, scale, shocks)))
        statistics = self._month_statistics(params, data)
        of_month = jax.vmap(self._log_density_of_statistics, in_axes=(None, 0, 0))
        return data.weight * jnp.sum(of_month(params, statistics, scale))

    def _noise_scale(self, params: Params, data: TrainingData) -> Array:
        """Noise scale (month,) of the months at hand."""
        if self.pooling != "partial":
            return jnp.broadcast_to(params["noise_level"], data.position.shape)
        return params["noise_scale"][data.position]

    def _month_statistics(self, params: Params, data: TrainingData) -> MonthStatistics:
        """Every month's count, Gram matrix, projection and square of the features."""
        if isinstance(data.months, MonthStatistics):
            return data.months
        return self._over_months(partial(self._statistics, params), data.months)

    def _over_months(self, function: Any, months: tuple[Any, ...]) -> Any:
        """``function`` of every month: as many at once as the cache holds; features are made again for a gradient."""
        n_numbers = months[0].shape[1] * max(self._n_features(months[0].shape[2]), *self.hidden, 1)
        at_once = max(1, (CPU_BLOCK if jax.default_backend() == "cpu" else GPU_BLOCK) // n_numbers)
        return map_in_batches(jax.checkpoint(lambda month: function(*month)), months, at_once)

    def _statistics(self, params: Params, z: Array, r: Array, observed: Array) -> MonthStatistics:
        """Normal noise at a common scale: the features' sufficient statistics, made afresh for every draw."""
        design = jnp.where(observed, self._stocks_last(params, z), 0.0)
        r = jnp.where(observed, r, 0.0)
        return MonthStatistics(jnp.sum(observed), gram_matrix(design), design @ r, r @ r)

    def _log_density_given_shocks(
        self, params: Params, z: Array, r: Array, observed: Array, scale: Array, shocks: Array
    ) -> Array:
        return log_density_given_shocks(self.month_law(params, z)._replace(scale=scale), shocks, r, observed)

    def _log_density_of_statistics(self, params: Params, statistics: MonthStatistics, scale: Array) -> Array:
        count, gram, projection, square = statistics
        mean, precision = params["slope_mean"], 1.0 / scale**2
        residual = projection - gram @ mean
        full = self.pooling != "partial"
        spread = params["slope_mean"][:0] if full else params["slope_scale"]
        moments = Moments(
            n_observed=count,
            log_scale=count * jnp.log(scale),
            gram=gram[: len(spread), : len(spread)] * precision * spread[:, None] * spread,
            projection=residual[: len(spread)] * precision * spread,
            square=(square - mean @ (projection + residual)) * precision,
        )
        root = jnp.zeros((0, 0), gram.dtype) if full else params["slope_correlation_root"]
        return log_density_of_moments(moments, root)

    def _sample_features(self, data: TrainingData) -> Params:
        """Weights of the network, and the scale of what each characteristic contributes."""
        n_characteristics = data.varies.shape[-1]
        params: Params = {}
        input_scale = self._sample_input_scale(n_characteristics)
        network = self.feature_network(n_characteristics)
        if network is None:
            params["input_scale"] = jnp.ones(n_characteristics) * input_scale
            return params
        prior = priors.network_prior(NETWORK, network, input_scale)
        drawn = random_eqx_module(NETWORK, network, prior, scope_divider=".")
        return {f"{NETWORK}.{name}": leaf for name, leaf in networks.parameters_of(drawn).items()}

    def _slope_weight(self, params: Params, data: TrainingData) -> Array:
        """Prior sd (feature,) of the slopes beyond the intercept in units of `slope_sd`."""
        n_characteristics = data.varies.shape[-1]
        if self.linear:
            return params["input_scale"] if "input_scale" in params else jnp.ones(n_characteristics)
        # A network's sensitivities have the prior root mean square of the linear model's.
        n_features = self._n_features(n_characteristics)
        gain = networks.prior_gain(self.activation, len(self.hidden)) if self.network is None else 1.0
        return jnp.full(n_features - 1, math.sqrt(n_characteristics / (n_features - 1)) / gain)

    def _slope_prior_sd(self, params: Params, data: TrainingData) -> Array:
        """Prior sd (feature,) of the average slopes, decimal per period; infinite where the prior is flat."""
        if math.isinf(self.slope_sd):
            return jnp.full(self._n_features(data.varies.shape[-1]), jnp.inf)
        weight = self._slope_weight(params, data)
        months = 12.0 / data.periods_per_year  # in one period: priors are stated per month
        return months * jnp.concatenate([jnp.full(1, self.intercept_sd), self.slope_sd * weight])

    def _sample_slope_mean(self, params: Params, data: TrainingData) -> Array:
        deviation = self._slope_prior_sd(params, data)
        if math.isinf(self.slope_sd):
            flat = dist.ImproperUniform(dist.constraints.real_vector, (), deviation.shape)
            # Sampled in units of its usual size, so that chains start near it.
            return numpyro.deterministic("slope_mean", 0.01 * numpyro.sample("slope_flat", flat))
        return numpyro.sample("slope_mean", dist.Normal(0.0, deviation).to_event(1))

    def _sample_variation(self, params: Params, data: TrainingData) -> Params:
        """Scales and correlation of the slopes' monthly shocks."""
        if self.pooling != "partial":
            return {}
        # A month cannot identify the slope of an indicator: it does not move.
        moves = data.varies if self.linear else self._slope_weight(params, data)
        typical = jnp.concatenate([jnp.full(1, self.intercept_variation), self.slope_variation * moves])
        n_features = typical.shape[0]
        half_t = dist.FoldedDistribution(dist.StudentT(SCALE_TAILS)).expand([n_features]).to_event(1)
        relative = numpyro.sample("slope_scale_relative", half_t)
        months = 12.0 / data.periods_per_year
        scale = numpyro.deterministic("slope_scale", jnp.sqrt(months) * typical * relative)
        root = priors.sample_correlation_root("slope", n_features, self.shock_rank)
        root = numpyro.deterministic("slope_correlation_root", root)
        return {"slope_scale": scale, "slope_correlation_root": root}

    def _sample_input_scale(self, n_characteristics: int) -> Array | float:
        """Scale (characteristic,) of what each characteristic contributes; 1 under the normal prior."""
        if self.input_prior == "normal":
            return 1.0
        if self.input_prior == "ard":
            local = numpyro.sample("input_relative", dist.HalfNormal(1.0).expand([n_characteristics]).to_event(1))
            return numpyro.deterministic("input_scale", local)
        # Regularised horseshoe (Piironen and Vehtari, 2017, eq. 2.8): few large scales, none beyond the slab.
        overall = numpyro.sample("input_overall", dist.HalfCauchy(0.3))
        local = numpyro.sample("input_relative", dist.HalfCauchy(1.0).expand([n_characteristics]).to_event(1))
        slab = numpyro.sample("input_slab", dist.InverseGamma(2.0, 4.0))
        shrunk = overall * local * jnp.sqrt(slab / (slab + (overall * local) ** 2))
        return numpyro.deterministic("input_scale", shrunk)

    def _sample_noise(self, data: TrainingData) -> Params:
        """Noise level of a typical month, decimal, and of every month of the panel."""
        params: Params = {}
        relative = numpyro.sample("noise_relative", dist.Normal(0.0, NOISE_PRIOR_SD))
        typical = data.return_scale
        if self.noise in ("laplace", "huber"):  # the returns' sd is that of the noise, not its scale
            typical = typical / jnp.sqrt(self._noise_density(params).variance)
        params["noise_level"] = numpyro.deterministic("noise_level", typical * jnp.exp(relative))
        if self.noise == "student_t":
            excess = numpyro.sample("tail_excess", dist.Gamma(2.0, 0.2))
            params["degrees_of_freedom"] = numpyro.deterministic("degrees_of_freedom", 2.0 + excess)
        if self.pooling != "partial":
            return params
        variation = numpyro.sample("noise_variation_relative", dist.HalfNormal(1.0))
        variation = numpyro.deterministic("noise_variation", self.noise_variation * variation)
        params["noise_variation"] = variation
        # log sigma_t ~ N(level, variation^2), centred as far as the data determine it (only the sampler's geometry).
        centring = data.noise_centring
        base = numpyro.sample("log_noise_base", dist.Normal(centring * relative, variation**centring).to_event(1))
        log_noise = relative + variation ** (1 - centring) * (base - centring * relative)
        params["noise_scale"] = numpyro.deterministic("noise_scale", typical * jnp.exp(log_noise))
        return params

    # ------------------------------------------------------------------ the conjugate case

    def regression(self, data: TrainingData) -> conjugate.Regression:
        """The model as one Bayesian regression: linear, full pooling, normal noise."""
        if not (self.linear and self.pooling == "full" and self.noise == "normal" and self.input_prior == "normal"):
            raise UnsupportedQuantityError(
                "Exact() needs a conjugate model: hidden=(), pooling='full', noise='normal' and "
                f"input_prior='normal'. This one has hidden={self.hidden}, pooling={self.pooling!r}, "
                f"noise={self.noise!r}, input_prior={self.input_prior!r}. Use NUTS()."
            )
        statistics = data.months
        assert isinstance(statistics, MonthStatistics)
        months = 12.0 / float(data.periods_per_year)
        precision = np.full(statistics.gram.shape[-1], (self.slope_sd * months) ** -2.0)
        precision[0] = 0.0 if math.isinf(self.slope_sd) else (self.intercept_sd * months) ** -2.0
        return conjugate.Regression(
            n_rows=float(np.sum(statistics.n_observed)),
            gram=np.sum(statistics.gram, axis=0),
            projection=np.sum(statistics.projection, axis=0),
            square=float(np.sum(statistics.square)),
            prior_precision=precision,
            log_scale_mean=float(np.log(data.return_scale)),
            log_scale_sd=NOISE_PRIOR_SD,
        )


def _non_centred(site: dict[str, Any]) -> LocScaleReparam | None:
    """Weights and average slopes are sampled in units of their prior, whatever that prior's scale."""
    if site["name"] == "slope_mean" or site["name"].endswith("weight"):
        return LocScaleReparam(centered=0.0)
    return None
