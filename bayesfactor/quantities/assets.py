"""What factors say of test assets: loadings, alphas, Sharpe ratios."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from bayesfactor.components import factor_regression as regression
from bayesfactor.errors import AlignmentError, DataError, UnsupportedQuantityError, first_three
from bayesfactor.inference import Fit
from bayesfactor.inference.settings import as_seed
from bayesfactor.panel import Panel
from bayesfactor.quantities.alignment import align
from bayesfactor.quantities.draws import bands, check_choice, check_prob, labelled, labels_of
from bayesfactor.quantities.factors import factors, require_sorted

LARGEST_ALPHA = 0.5  # decimal per month
PRIOR_DRAWS = 20_000


def loadings(fit: Fit, panel: Panel | None = None, *, prob: float = 0.9, summary: str = "bands") -> xr.Dataset:
    """Posterior of the loadings of test assets on deep and benchmark factors.

    Parameters
    ----------
    fit : of a `SortedFactorModel` with constant loadings.
    panel : None for the assets of the fit. A panel with other test portfolios gives theirs, each by itself: the exact
        conditional given the factors in the months of that panel, with a residual variance of its own (that of the fit
        where it is "common"); of assets that no factor was learned from.
    prob : probability inside the equal-tailed band.
    summary : "bands" or "draws".

    Returns
    -------
    Dataset over (`test_asset`, `priced_factor`), deep factors aligned first, then benchmarks: `mean`, `sd`, `lower`,
    `upper`, `prob_positive`. With ``summary="draws"``: `loading`, with leading dims (chain, draw).

    Raises
    ------
    UnsupportedQuantityError
        When loadings are functions of characteristics, or the model has no factors.
    """
    check_prob(prob)
    check_choice("summary", summary, ("bands", "draws"))
    draws = coefficients(fit, panel)
    if draws.loading.shape[-1] == 0:
        raise UnsupportedQuantityError(
            "loadings of this model are functions of characteristics, not of assets: see the model's stock_loadings"
        )
    coords = {"test_asset": draws.assets, "priced_factor": draws.factors}
    return _summary(fit, "loading", draws.loading, ["test_asset", "priced_factor"], coords, "none", prob, summary)


def alphas(fit: Fit, panel: Panel | None = None, *, prob: float = 0.9, summary: str = "bands") -> xr.Dataset:
    """Posterior of the alphas of test assets: parameters, not average residuals.

    The average residual of Feng, Polson and Xu (2020), eq. 8, lacks the uncertainty of a mean: bands of its draws cover
    a true zero alpha far too rarely.

    Parameters
    ----------
    fit : of a `SortedFactorModel` with ``alpha=True``.
    panel, prob, summary : as in `loadings`.

    Returns
    -------
    Dataset over `test_asset`, decimal per period: `mean`, `sd`, `lower`, `upper`, `prob_positive`. With
    ``summary="draws"``: `alpha`, with leading dims (chain, draw).

    Raises
    ------
    UnsupportedQuantityError
        When the model has no alphas.
    """
    check_prob(prob)
    check_choice("summary", summary, ("bands", "draws"))
    draws = coefficients(fit, panel)
    if draws.alpha is None:
        raise UnsupportedQuantityError("this model was fitted with alpha=False: it has average residuals and no alphas")
    coords = {"test_asset": draws.assets}
    return _summary(fit, "alpha", draws.alpha, ["test_asset"], coords, "decimal per period", prob, summary)


def no_alpha(fit: Fit, *, within: float = 0.001) -> pd.Series:
    """Joint statements about all alphas of a fit.

    Parameters
    ----------
    fit : as in `alphas`; alphas of unseen assets are drawn one by one and have no joint posterior.
    within : decimal per month, whatever the frequency; alphas smaller than this do not matter.

    Returns
    -------
    Series: `prob_all_within`, ``P(max_i |alpha_i| < within)``, alphas per month; `distance`, posterior mean of the
    squared Sharpe ratio per period that the alphas add, ``alpha' Sigma^-1 alpha``, NaN without a full covariance;
    `prob_beyond_zero`, the posterior probability of the ellipsoid around the mean that has zero on its boundary: the
    share of draws closer to the mean than "no alpha at all" is, near 1 when the data speak against it. With a full
    residual covariance and a wide `alpha_sd` it is nearly the exact F's of Gibbons, Ross and Shanken: .03 above it with
    60 months, 5 assets. NaN with fewer than 20 draws an asset. `status` is the fit's; `bands` and `likelihood_kind` say
    so where its draws are uncalibrated, or of a pseudo-likelihood.

    Raises
    ------
    DataError
        When `within` is not a size of monthly alphas.
    UnsupportedQuantityError
        When the model has no alphas.
    """
    if not 0 < within < LARGEST_ALPHA:
        raise DataError(
            f"within must be decimal per month, between 0 and {LARGEST_ALPHA}, such as 0.001 for 10 basis points: got "
            f"{within!r}"
        )
    draws = coefficients(fit)
    if draws.alpha is None:
        raise UnsupportedQuantityError("this model was fitted with alpha=False: it has average residuals and no alphas")
    flat = draws.alpha.reshape(-1, draws.alpha.shape[-1])
    months = 12.0 / float(fit.provenance["periods_per_year"])  # in a period
    distance = float("nan")
    if draws.covariance is not None:
        sigma = draws.covariance.reshape(len(flat), *draws.covariance.shape[2:])
        distance = float(np.mean(np.sum(flat * np.linalg.solve(sigma, flat[..., None])[..., 0], axis=1)))
    labels = labels_of(fit)
    statement = pd.Series(
        {
            "prob_all_within": float(np.mean(np.abs(flat).max(axis=1) < within * months)),
            "distance": distance,
            "prob_beyond_zero": prob_beyond_zero(flat) if len(flat) >= 20 * flat.shape[1] else float("nan"),
            **labels,
        },
        name="no alpha",
    )
    statement.attrs = {"within": within, "frequency": fit.frequency}
    statement.attrs.update(labels.items())
    return statement


def prob_beyond_zero(draws: np.ndarray) -> float:
    """Share of draws (draw, asset) that are closer to their mean than zero is, by their own covariance.

    Mean and covariance are of every other draw and the rest is judged by them: draws that had made the covariance would
    look closer than zero, which has not.

    Raises
    ------
    DataError
        With fewer than ten draws an asset in each half.
    """
    known, judged = draws[::2], draws[1::2]
    if len(judged) < 10 * draws.shape[1]:
        raise DataError(
            f"a joint statement about {draws.shape[1]} alphas needs at least {20 * draws.shape[1]:,} draws: there are "
            f"{len(draws):,}"
        )
    mean = known.mean(axis=0)
    covariance = np.atleast_2d(np.cov(known, rowvar=False))
    centred = np.concatenate([judged, np.zeros((1, draws.shape[1]))]) - mean
    squares = np.sum(centred * np.linalg.solve(covariance, centred.T).T, axis=1)
    return float(np.mean(squares[:-1] < squares[-1]))


def sharpe_ratios(fit: Fit, *, prob: float = 0.9) -> pd.DataFrame:
    """Posterior of annual maximal Sharpe ratios: of the benchmarks, and with the deep factors.

    Of the factors' means and covariance, whose prior has each annual Sharpe ratio ``N(0, factor_sharpe^2)``. A maximum
    cannot fall when factors are added: `gain` is positive in every draw, and is to be read against its prior.

    Parameters
    ----------
    fit : of a `SortedFactorModel`.
    prob : probability inside the equal-tailed band.

    Returns
    -------
    DataFrame by portfolio ("benchmarks", "all", "gain", and each factor alone): `mean`, `sd`, `lower`, `upper`;
    `prior_mean`, the mean under the prior; `prob_beyond_prior`, the probability that a draw of the posterior is above
    one of the prior: one half on average where the truth is as the prior has it. Deep factors alone are turned to have
    earned a positive mean, and so is their prior, unless they were aligned to a reference. Columns `bands` and
    `likelihood_kind` say so where bands are uncalibrated, or a pseudo-likelihood's.
    """
    check_prob(prob)
    require_sorted(fit)
    posterior = align(fit).tree["posterior"].to_dataset()
    mean = posterior["factor_mean"].values.reshape(-1, posterior.sizes["priced_factor"]).astype(float)
    covariance = posterior["factor_covariance"].values.astype(float).reshape(*mean.shape, -1)
    periods = float(fit.provenance["periods_per_year"])
    n_deep = fit.model.n_factors
    every = np.sqrt(periods * _squared_sharpe(mean, covariance))
    result = {"all": every}
    if mean.shape[1] > n_deep:
        result["benchmarks"] = np.sqrt(periods * _squared_sharpe(mean[:, n_deep:], covariance[:, n_deep:, n_deep:]))
        result["gain"] = every - result["benchmarks"]
    own = mean / np.sqrt(np.diagonal(covariance, axis1=1, axis2=2)) * math.sqrt(periods)
    names = [str(name) for name in posterior["priced_factor"].values]
    result |= {name: own[:, index] for index, name in enumerate(names)}
    table = pd.DataFrame(
        {name: {k: float(v) for k, v in bands(value[None], prob).items()} for name, value in result.items()}
    ).T
    table = table.drop(columns="prob_positive")
    error = math.sqrt(periods / len(fit.train_times)) / fit.model.factor_sharpe
    prior = _prior_of_sharpe(len(names) - n_deep, n_deep, error)
    prior |= dict.fromkeys(names[:n_deep], prior["alone" if _signs_are_given(fit) else "turned"])
    prior |= dict.fromkeys(names[n_deep:], prior["alone"])
    drawn = {name: fit.model.factor_sharpe * np.sort(prior[name][1]) for name in result}
    table = table.assign(prior_mean=[fit.model.factor_sharpe * prior[name][0] for name in result])
    table["prob_beyond_prior"] = [
        np.searchsorted(drawn[name], value).mean() / PRIOR_DRAWS for name, value in result.items()
    ]
    labels = labels_of(fit)
    table.attrs = {"units": "annual", "prob": prob}
    table.attrs.update(labels.items())
    return table.assign(**{name: label for name, label in labels.items() if name != "status"})


def tangency(fit: Fit, *, prob: float = 0.9) -> xr.Dataset:
    """Posterior of the tangency portfolio's weights over deep and benchmark factors: ``Sigma^-1 mu``, scaled.

    Weights are in units of the factors' sds (a weight of 1 is one sd of that factor) and scaled so that their absolute
    values sum to one.

    Parameters
    ----------
    fit, prob : as in `sharpe_ratios`.

    Returns
    -------
    Dataset over `priced_factor`: `mean`, `sd`, `lower`, `upper`, `prob_positive`.
    """
    check_prob(prob)
    require_sorted(fit)
    posterior = align(fit).tree["posterior"].to_dataset()
    mean = posterior["factor_mean"].values.astype(float)
    covariance = posterior["factor_covariance"].values.astype(float)
    weights = np.linalg.solve(covariance, mean[..., None])[..., 0]
    weights = weights * np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1))
    weights = weights / np.abs(weights).sum(axis=-1, keepdims=True)
    coords = {"priced_factor": posterior["priced_factor"].values}
    variables = {name: (["priced_factor"], value) for name, value in bands(weights, prob).items()}
    return labelled(fit, variables, coords, units="share of risk", prob=prob, quantity="tangency weight")


class Coefficients(NamedTuple):
    """Draws (chain, draw, ...) of what assets have, deep factors aligned.

    Attributes
    ----------
    alpha : (..., asset) or None.
    loading : (..., asset, factor).
    sd : (..., asset) of residuals, decimal per period.
    covariance : (..., asset, asset) of residuals, None where they are independent.
    assets, factors : labels.
    """

    alpha: np.ndarray | None
    loading: np.ndarray
    sd: np.ndarray
    covariance: np.ndarray | None
    assets: list[str]
    factors: list[str]


def coefficients(fit: Fit, panel: Panel | None = None, seed: int = 0) -> Coefficients:
    """Of the fit's own assets, or of the test portfolios of another panel given the fit's factors there."""
    require_sorted(fit)
    return _of_fit(align(fit)) if panel is None else _of_unseen(fit, panel, as_seed(seed))


def _of_fit(fit: Fit) -> Coefficients:
    """As the fit has them; `fit` is aligned."""
    posterior = fit.tree["posterior"].to_dataset()
    sd = posterior["residual_sd"].values.astype(float)
    assets = [str(name) for name in posterior["test_asset"].values] if "test_asset" in posterior.coords else []
    parts, names = [], []
    for name, label in (("loading", "factor"), ("benchmark_loading", "benchmark")):
        if name in posterior:
            parts.append(posterior[name].values.astype(float))
            names += [str(one) for one in posterior[label].values]
    alpha = posterior["alpha"].values.astype(float) if "alpha" in posterior else None
    if alpha is None and not parts:
        raise UnsupportedQuantityError("loadings of this model are functions of characteristics, and it has no alphas")
    n_assets = len(assets)
    covariance = None
    if "residual_covariance" in posterior:
        covariance = posterior["residual_covariance"].values.astype(float)
    elif "residual_loading" in posterior:
        loading = posterior["residual_loading"].values.astype(float)
        unique = posterior["residual_unique"].values.astype(float)
        covariance = loading @ np.swapaxes(loading, -1, -2) + unique[..., None] * np.eye(n_assets)
    if sd.ndim == 2:
        sd = np.broadcast_to(sd[..., None], (*sd.shape, n_assets))
    loading = np.concatenate(parts, axis=-1) if parts else np.zeros((*fit.shape, n_assets, 0))
    return Coefficients(alpha, loading, sd, covariance, assets, names)


def _of_unseen(fit: Fit, panel: Panel, seed: int) -> Coefficients:
    """Exact conditional of other test portfolios given every draw's factors, each by itself."""
    model = fit.model
    if model.test_assets != "portfolios" or not model.collapses:
        raise UnsupportedQuantityError(
            "assets that a fit has not seen are priced given its factors, with test_assets='portfolios' and "
            "noise='normal'"
        )
    if "portfolio_returns" not in panel.data:
        raise DataError("the panel must have the test portfolios to be priced: add them with panel.join_portfolios")
    posterior = fit.tree["posterior"].to_dataset()
    benchmarks = [str(name) for name in posterior["benchmark"].values] if "benchmark" in posterior.coords else []
    found = [str(name) for name in panel.data["benchmark"].values] if "benchmark" in panel.data.coords else []
    if found != benchmarks:
        raise AlignmentError(f"the panel must have the benchmarks of the fit, {benchmarks}: it has {found}")
    deep = factors(fit, panel, summary="draws")["factor_return"]
    flat = deep.values.astype(float).reshape(-1, *deep.shape[2:])
    data = panel.data.sel(time=deep["time"].values)
    returns = data["portfolio_returns"].transpose("time", "portfolio").values.astype(float)
    priced = np.isfinite(returns)
    if (empty := np.flatnonzero(~priced.any(axis=0))).size:
        names = [str(panel.data["portfolio"].values[index]) for index in empty]
        raise DataError(f"a portfolio to be priced must have a return in some month: {first_three(names)} has none")
    g = (
        data["benchmark_returns"].transpose("time", "benchmark").values.astype(float)
        if benchmarks
        else np.zeros((len(returns), 0))
    )
    if (unknown := ~np.isfinite(g).all(axis=1)).any():
        when = first_three(f"{month:%Y-%m-%d}" for month in pd.DatetimeIndex(deep["time"].values)[unknown])
        raise DataError(f"every benchmark must be known in every month with returns: not so in {when}")
    scale = float(fit.tree["constant_data"]["residual_scale"])
    regressors = regression.design(flat / scale, g / scale, intercept=model.alpha)
    n_loadings = regressors.shape[-1] - int(model.alpha)
    months = 12.0 / float(fit.provenance["periods_per_year"])
    precision = np.full(n_loadings, model.loading_sd**-2.0)
    if model.alpha:
        precision = np.concatenate([[(scale / (model.alpha_sd * months)) ** 2], precision])
    penalty = model.pricing_error_penalty
    sums = regression.sums(regressors, returns / scale, priced, penalty, balanced=bool(priced.all()))
    given = regression.conditional(sums, precision)
    rng = np.random.default_rng([seed, 6])
    if model.covariance == "common":
        scaled = fit.tree["posterior"].to_dataset()["residual_sd"].values.reshape(-1, 1) / scale
        variances = np.broadcast_to(scaled.astype(float) ** 2, (len(flat), returns.shape[1]))
    else:
        variances = regression.draw_variances(rng, given, sums.n_months)
    drawn = regression.draw_coefficients(rng, given, variances).reshape(*fit.shape, returns.shape[1], -1)
    alpha = drawn[..., 0] * scale if model.alpha else None
    names = [f"deep_{index}" for index in range(1, model.n_factors + 1)] + benchmarks
    sd = (np.sqrt(variances) * scale).reshape(*fit.shape, -1)
    assets = [str(name) for name in panel.data["portfolio"].values]
    return Coefficients(alpha, drawn[..., int(model.alpha) :], sd, None, assets, names)


def _summary(
    fit: Fit,
    name: str,
    values: np.ndarray,
    dims: list[str],
    coords: dict[str, Any],
    units: str,
    prob: float,
    summary: str,
) -> xr.Dataset:
    if summary == "draws":
        coords = coords | {"chain": np.arange(fit.shape[0]), "draw": np.arange(fit.shape[1])}
        variables = {name: (["chain", "draw", *dims], values)}
    else:
        variables = {key: (dims, value) for key, value in bands(values, prob).items()}
    return labelled(fit, variables, coords, units=units, prob=prob, quantity=name)


def _squared_sharpe(mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    return np.asarray(np.sum(mean * np.linalg.solve(covariance, mean[..., None])[..., 0], axis=-1))


def _prior_of_sharpe(n_benchmarks: int, n_deep: int, error: float) -> dict[str, tuple[float, np.ndarray]]:
    """Mean and draws of each kind of Sharpe ratio under the prior, in its sd.

    Squared maxima are chi-squared. A deep factor whose sign is free is turned to have earned a positive mean in the
    months learned from, whose Sharpe ratio is the true one and a sampling `error` (in the same sd).
    """
    rng = np.random.default_rng(0)
    base = np.sum(rng.standard_normal((n_benchmarks, PRIOR_DRAWS)) ** 2, axis=0)
    every = np.sqrt(base + np.sum(rng.standard_normal((n_deep, PRIOR_DRAWS)) ** 2, axis=0))
    alone, noise = rng.standard_normal((2, PRIOR_DRAWS))
    means = {"all": _mean_of_chi(n_benchmarks + n_deep), "benchmarks": _mean_of_chi(n_benchmarks)}
    return {
        "all": (means["all"], every),
        "benchmarks": (means["benchmarks"], np.sqrt(base)),
        "gain": (means["all"] - means["benchmarks"], every - np.sqrt(base)),
        "alone": (0.0, alone),
        "turned": (_mean_of_chi(1) / math.sqrt(1.0 + error**2), alone * np.sign(alone + error * noise)),
    }


def _signs_are_given(fit: Fit) -> bool:
    """Whether the signs of the factors are those of a reference, and not such that factors earn a positive mean."""
    constants = fit.tree["constant_data"].to_dataset()
    return "factor_reference" in constants and bool(constants["factor_reference"].attrs.get("given", 0))


def _mean_of_chi(degrees: int) -> float:
    if not degrees:
        return 0.0
    return math.sqrt(2.0) * math.exp(math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2))
