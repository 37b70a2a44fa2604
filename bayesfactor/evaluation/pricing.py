"""Tests of what factors price, by frequentist means: joint and single alphas, Sharpe ratios, cross-sectional premia.

All take excess returns, decimal per period, as labelled arrays and join them by date and name. A p-value or a Sharpe
ratio here takes the factors as given: it is too good where they were chosen or learnt on the same returns.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats

from bayesfactor.baselines.linear import monthly_coefficients
from bayesfactor.baselines.statistics import sums_by_month
from bayesfactor.errors import AlignmentError, DataError, DataWarning, first_three
from bayesfactor.evaluation import explained
from bayesfactor.evaluation.explained import Array, Fitted, Labelled, Sample, by_draw, label, sample, span
from bayesfactor.evaluation.standard_errors import clustered_error, hac_error, hac_lag, hac_share_and_df

Errors = Literal["ols", "hac", "as_published"]

__all__ = ["alpha_tests", "anomaly_counts", "bands", "fama_macbeth", "grs", "measures", "squared_sharpe"]


# --- joint tests ------------------------------------------------------------------------------------


def grs(returns: Labelled, factors: Labelled) -> xr.Dataset:
    """Joint test that all alphas are zero, exact in finite samples (Gibbons, Ross, Shanken 1989).

    F = (T - J - D)/J * a'S^-1 a / (1 + theta_g^2) ~ F(J, T - J - D), theta_g^2 = gbar'S_g^-1 gbar,

    a the least-squares intercepts of the J assets on the D factors, S and S_g covariances of residuals and factors over
    T. (With S over T - D - 1 the first ratio is T (T - J - D)/(J (T - D - 1)), as in FPX, appendix C.) Exact when
    residuals are normal and independent over time. ``a'S^-1 a = theta^2 - theta_g^2``, theta^2 the largest squared
    Sharpe ratio of assets and factors together.

    Parameters
    ----------
    returns : excess, decimal per period: DataFrame (time, asset), or DataArray of `time` and one other dim.
    factors : traded, excess or zero-cost: DataFrame (time, factor) or DataArray, with `chain` and `draw` for draws.

    Returns
    -------
    Dataset, over the draws of the factors if any: `statistic`; `p_value`; `squared_sharpe_factors` and
    `squared_sharpe` (with the assets), per period, over T; by asset `alpha`, `se` (decimal per period) and `t`, least
    squares. attrs: dof (numerator, denominator), n_periods, first_period, last_period, units.

    Raises
    ------
    DataError
        When T <= J + D, a return is missing, a factor is missing, constant or collinear, or an asset is a
        combination of factors and other assets.
    AlignmentError, DuplicateKeyError, UnitsError
        As ``metrics.time_series_r2``.
    """
    data = sample(returns, factors)
    n_times, n_assets = data.returns.shape
    n_factors = data.factors.shape[-1]
    dof = n_times - n_assets - n_factors
    if dof < 1:
        raise DataError(
            f"the GRS test needs more periods than assets and factors together: found {n_times} periods for "
            f"{n_assets} + {n_factors}. Take fewer assets or a longer window; alpha_tests tests them one by one."
        )
    missing = np.isnan(data.returns).sum(axis=0)
    if missing.any():
        held = [(asset, f"{n} missing") for asset, n in zip(data.assets, missing, strict=True) if n]
        raise DataError(
            f"the GRS test is exact for complete returns only: {first_three(held)} of {n_times} periods from "
            f"{span(data.times)}. Leave these assets out or select periods; alpha_tests takes each over its own."
        )
    parts = by_draw(data, lambda fitted: _single(data, fitted, "ols") | _joint(data, fitted), weights=True)
    theta = explained.squared_ratio(data.factors, data.factor_names, data.times)
    statistic = dof / n_assets * parts["quadratic"] / (1 + theta)
    by_asset = (data.asset_dim, data.assets)
    return xr.Dataset(
        {
            "statistic": data.array(statistic),
            "p_value": data.array(stats.f.sf(statistic, n_assets, dof)),
            "squared_sharpe_factors": data.array(theta),
            "squared_sharpe": data.array(theta + parts["quadratic"]),
            **{name: data.array(parts[name], by_asset) for name in ("alpha", "se", "t")},
        },
        attrs={"test": "GRS", "dof": [n_assets, dof], "units": "decimal per period", **data.attrs},
    )


def _joint(data: Sample, fitted: Fitted) -> dict[str, Array]:
    """``a'S^-1 a`` of a batch of draws, S over T; refuses a singular S."""
    error = fitted.error - fitted.alpha[:, None]
    covariance = np.swapaxes(error, 1, 2) @ error / error.shape[1]
    sd = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    correlation = covariance / (sd[:, :, None] * sd[:, None, :])
    values = np.linalg.eigvalsh(correlation)
    bad = values[:, 0] < explained.COLLINEAR
    if bad.any():
        direction = np.abs(np.linalg.eigh(correlation[np.argmax(bad)])[1][:, 0])
        raise DataError(
            "assets must not be combinations of each other and the factors: "
            f"{first_three(data.assets[direction > 0.1 * direction.max()])} are. Usually a long-short portfolio beside "
            "its legs, or a total beside its parts: leave one out."
        )
    ratio = fitted.alpha / sd
    return {"quadratic": (ratio * np.linalg.solve(correlation, ratio[..., None])[..., 0]).sum(axis=1)}


def squared_sharpe(factors: Labelled, extra: Labelled, *, periods_per_year: float) -> xr.Dataset:
    """Whether extra factors raise the largest Sharpe ratio that the factors allow; exact for nested models.

    F = (T - P - D)/P * (theta_F^2 - theta_g^2) / (1 + theta_g^2) ~ F(P, T - P - D)

    of the squared Sharpe ratios of D factors g and of F = (g, f) with the P extra ones, covariances over T: the GRS
    test of the extra factors on the others. Barillas, Kan, Robotti, Shanken (2019); FPX, appendix C.

    Parameters
    ----------
    factors : the benchmark model: DataFrame (time, factor), Series or DataArray; traded, decimal per period.
    extra : the factors that may be added, of other names. Either may have draws (chain, draw).
    periods_per_year : by which Sharpe ratios become annual, times its square root: 12 for months.

    Returns
    -------
    Dataset, over the draws if any: `statistic`; `p_value`; by `model` ("benchmark", "with_extra") `sharpe`, the annual
    ratio of the portfolio that was best in this sample, and `squared_unbiased`, the annual squared ratio without what
    choosing it in the sample adds, ``((T - K - 2) theta^2 - K)/T`` for K factors, unbiased under normal returns,
    possibly negative; `increase` of `sharpe`. attrs: dof, periods_per_year, n_periods, first_period, last_period.

    Raises
    ------
    DataError
        When T <= P + D, a factor is missing, constant or collinear.
    UnitsError
        When periods_per_year contradicts the dates, or returns look like percent.
    AlignmentError, DuplicateKeyError
        When labels do not match, or a name is on both sides.
    """
    left = explained.labelled(factors, "factors", "factor", draws=True)
    right = explained.labelled(extra, "extra", "factor", draws=True)
    times = explained.window(("factors", left), ("extra", right))
    explained.check_periods_per_year(periods_per_year, times)
    names, more = left.indexes[left.dims[-1]], right.indexes[right.dims[-1]]
    both = names.intersection(more)
    if len(both):
        raise AlignmentError(f"extra factors must have other names than the factors: both have {first_three(both)}.")
    n_times, n_all = len(times), len(names) + len(more)
    dof = n_times - n_all
    if dof < 1:
        raise DataError(
            f"the squared-Sharpe test needs more periods than factors: found {n_times} periods for {len(names)} + "
            f"{len(more)}. Use a longer window."
        )
    draws: dict[str, pd.Index] = {}
    values = []
    for name, array in (("factors", left), ("extra", right)):
        chosen = array.sel(time=times)
        explained.require_known(chosen, name)
        draws = explained.common_draws(draws, explained.draws_of(chosen), "factors and extra")
        values.append(chosen.values.reshape(-1, *chosen.shape[-2:]))
    n_draws = max(map(len, values))
    before = np.broadcast_to(explained.squared_ratio(values[0], names, times), (n_draws,))
    whole = np.concatenate([np.broadcast_to(v, (n_draws, *v.shape[1:])) for v in values], axis=-1)
    after = np.maximum(explained.squared_ratio(whole, [*names, *more], times), before)  # but for rounding
    statistic = dof / len(more) * (after - before) / (1 + before)
    theta = np.stack([before, after], axis=-1)
    sharpe = np.sqrt(periods_per_year * theta)
    counts = np.array([len(names), n_all])
    unbiased = periods_per_year * ((n_times - counts - 2) * theta - counts) / n_times
    shape, dims = tuple(len(index) for index in draws.values()), tuple(draws)
    return xr.Dataset(
        {
            "statistic": (dims, statistic.reshape(shape)),
            "p_value": (dims, stats.f.sf(statistic, len(more), dof).reshape(shape)),
            "sharpe": ((*dims, "model"), sharpe.reshape(*shape, 2)),
            "squared_unbiased": ((*dims, "model"), unbiased.reshape(*shape, 2)),
            "increase": (dims, (sharpe[:, 1] - sharpe[:, 0]).reshape(shape)),
        },
        {**draws, "model": ["benchmark", "with_extra"]},
        {
            "test": "squared Sharpe ratio",
            "dof": [len(more), dof],
            "periods_per_year": periods_per_year,
            "n_periods": n_times,
            "first_period": label(times[0]),
            "last_period": label(times[-1]),
        },
    )


# --- alphas one by one --------------------------------------------------------------------------------


def alpha_tests(returns: Labelled, factors: Labelled, *, errors: Errors = "ols") -> xr.Dataset:
    """Test of each asset's alpha, the intercept of its regression on the factors over its own periods.

    Parameters
    ----------
    returns, factors : as in ``grs``; returns may be missing.
    errors : "ols", exact for normal residuals independent over time, Student-t with T_i - D - 1; "hac", for residuals
        that depend over time or whose variance does (Newey, West 1987; Bartlett weights over 1.3 sqrt(T) periods,
        allowance for how few there are as in ``compare``; a gap counts as one step); "as_published", the mean of
        ``R - beta'f`` over its sd divided by sqrt(T_i) against the normal law (FPX 4.3.2), which ignores that betas are
        estimated: t is too large by ``sqrt((1 + theta^2) T/(T - D - 1))``, theta the largest Sharpe ratio per period.

    Returns
    -------
    Dataset over asset, and over the draws of the factors if any: `alpha`, `se` (decimal per period), `t`, `p_value`
    (two-sided), `dof`; `n_periods` (asset). attrs: errors, units, n_periods, first_period, last_period.

    Raises
    ------
    DataError
        When `errors` is unknown, a factor is missing, constant or collinear, an asset has fewer than D + 2 periods or
        is a combination of the factors.
    AlignmentError, DuplicateKeyError, UnitsError
        As ``metrics.time_series_r2``.
    """
    _check_errors(errors)
    return _tested(sample(returns, factors), errors)


def _check_errors(errors: str) -> None:
    if errors not in get_args(Errors):
        raise DataError(f"errors must be one of {', '.join(map(repr, get_args(Errors)))}: found {errors!r}.")


def _tested(data: Sample, errors: Errors) -> xr.Dataset:
    parts = by_draw(data, lambda fitted: _single(data, fitted, errors), weights=True)
    by_asset = (data.asset_dim, data.assets)
    found = xr.Dataset({name: data.array(values, by_asset) for name, values in parts.items()})
    found["n_periods"] = (data.asset_dim, np.isfinite(data.returns).sum(axis=0))
    return found.assign_attrs({"errors": errors, "units": "decimal per period", **data.attrs})


def _single(data: Sample, fitted: Fitted, errors: Errors) -> dict[str, Array]:
    """alpha, se, t, p_value, dof (draw, asset) of a batch of draws."""
    seen = np.isfinite(data.returns)
    periods = seen.sum(axis=0)
    error = np.where(seen, fitted.error - fitted.alpha[:, None], 0.0)
    squares = (error**2).sum(axis=1)
    spanned = (squares <= explained.COLLINEAR * periods * np.nanvar(data.returns, axis=0)).any(axis=0)
    if spanned.any():
        raise DataError(
            f"assets must not be combinations of the factors: {first_three(data.assets[spanned])} are. Usually a "
            "factor that is also a test asset: leave it out on one side."
        )
    left = periods - data.factors.shape[-1] - 1
    assert fitted.to_alpha is not None
    if errors == "as_published":
        se, dof = np.sqrt(squares) / periods, np.full(len(periods), np.inf)
    elif errors == "ols":
        se, dof = np.sqrt(squares / left * (fitted.to_alpha**2).sum(axis=1)), left.astype(float)
    else:
        se, dof = _hac(fitted.to_alpha * error, seen)
        se = se * np.sqrt((periods - 1) / left)  # of slopes, beyond the mean that hac_error allows for
    t = fitted.alpha / se
    return {
        "alpha": fitted.alpha,
        "se": se,
        "t": t,
        "p_value": 2 * stats.t.sf(np.abs(t), dof),
        "dof": np.broadcast_to(dof, t.shape),
    }


def _hac(scores: Array, seen: np.ndarray) -> tuple[Array, Array]:
    """``hac_error`` of the sum of each asset's scores (draw, time, asset) over its own periods, and its df (asset,)."""
    order = np.argsort(~seen, axis=0, kind="stable")  # a gap counts as one step
    scores = np.take_along_axis(scores, np.broadcast_to(order, scores.shape), axis=1)
    periods = seen.sum(axis=0)
    lags = {n: hac_lag(n) for n in np.unique(periods).tolist()}
    known = {n: hac_share_and_df(n, lag) for n, lag in lags.items()}
    last = np.array([lags[n] for n in periods])
    total = (scores**2).sum(axis=1)
    for step in range(1, max(lags.values()) + 1):
        weight = np.maximum(1.0 - step / (last + 1), 0.0)
        total = total + 2.0 * weight * (scores[:, step:] * scores[:, :-step]).sum(axis=1)
    share, df = (np.array([known[n][part] for n in periods]) for part in (0, 1))
    return np.sqrt(np.maximum(total, 0.0) / share), df


def anomaly_counts(
    returns: Labelled,
    models: Mapping[str, Labelled],
    *,
    level: float = 0.05,
    errors: Errors = "ols",
    prob: float = 0.9,
) -> pd.DataFrame:
    """How many anomalies keep a significant alpha under each factor model (FPX 4.3.2), with what chance would give.

    All models are judged on the periods that all of them have.

    Parameters
    ----------
    returns : long-short portfolios, decimal per period; as in ``grs``, may be missing.
    models : factors by name; an entry may have draws (chain, draw).
    level : of each test.
    errors : as in ``alpha_tests``.
    prob : inside the bounds of a count over draws.

    Returns
    -------
    DataFrame by `model`: n_anomalies; by_chance (level times that: the expected number if no alpha exists);
    `significant`; `bonferroni` (at level / n: the chance of a single false one is at most `level`);
    `benjamini_hochberg` (the expected share of false ones is at most `level`, if tests are independent or positively
    dependent). With draws the three are means over draws, and *_lower, *_upper their bounds (NaN for models without).
    attrs: level, errors, n_periods, first_period, last_period.

    Raises
    ------
    DataError
        When there is no model, level or prob is not between 0 and 1; else as ``alpha_tests``.
    AlignmentError, DuplicateKeyError, UnitsError
        As ``alpha_tests``.
    """
    _check_errors(errors)
    for name, share in (("level", level), ("prob", prob)):
        _check_share(name, share)
    common = _common(returns, models)
    rows, uncertain = {}, False
    for name, factors in models.items():
        data = sample(returns, factors, within=common)
        p_values = by_draw(data, partial(_single, data, errors=errors), weights=True)["p_value"]
        n = p_values.shape[1]
        counts = {
            "significant": (p_values < level).sum(axis=1),
            "bonferroni": (p_values < level / n).sum(axis=1),
            "benjamini_hochberg": (stats.false_discovery_control(p_values, axis=1) <= level).sum(axis=1),
        }
        row: dict[str, Any] = {"n_anomalies": n, "by_chance": level * n}
        for what, count in counts.items():
            row[what] = float(count.mean()) if data.draws else int(count[0])
            if data.draws:
                uncertain = True
                row[f"{what}_lower"], row[f"{what}_upper"] = np.quantile(count, [(1 - prob) / 2, (1 + prob) / 2])
        rows[name] = row
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")
    kinds = ("significant", "bonferroni", "benjamini_hochberg")
    ends = ("", "_lower", "_upper") if uncertain else ("",)
    table = table[["n_anomalies", "by_chance", *(f"{kind}{end}" for kind in kinds for end in ends)]]
    table.attrs = {
        "level": level,
        "errors": errors,
        "n_periods": len(common),
        "first_period": label(common[0]),
        "last_period": label(common[-1]),
    }
    return table


def _check_share(name: str, value: float) -> None:
    if not isinstance(value, int | float | np.number) or not 0 < value < 1:
        raise DataError(f"{name} must be between 0 and 1: found {value!r}.")


def _common(returns: Labelled, models: Mapping[str, Labelled]) -> pd.DatetimeIndex:
    """Periods that returns and all models have."""
    if not isinstance(models, Mapping) or not models:
        raise DataError(f"models must be factors by name, one model at least: found {type(models).__name__}.")
    arrays = {
        name: explained.labelled(factors, f"models[{name!r}]", "factor", draws=True) for name, factors in models.items()
    }
    left = explained.labelled(returns, "returns", "asset")
    return explained.window(("returns", left), *((f"models[{name!r}]", array) for name, array in arrays.items()))


# --- measures of many draws ---------------------------------------------------------------------------


def measures(
    returns: Labelled,
    factors: Labelled,
    *,
    periods_per_year: float,
    loadings: pd.DataFrame | xr.DataArray | None = None,
) -> xr.Dataset:
    """The measures of FPX tables 2 to 5 in one pass, for each draw of the factors if there are draws.

    Parameters
    ----------
    returns, factors, loadings : as in ``metrics.time_series_r2``.
    periods_per_year : of the Sharpe ratio, 12 for months.

    Returns
    -------
    Dataset over the draws: `time_series_r2` (FPX eq. 21), `pricing_error` (22, squared decimal per period),
    `cross_sectional_r2` (23; absent with fewer than P + 2 assets or loadings that vary over time), and `sharpe`, the
    largest annual Sharpe ratio of the factors in this sample. ``bands`` reduces them.

    Raises
    ------
    AlignmentError, DuplicateKeyError, UnitsError, DataError
        As ``metrics.time_series_r2`` and ``squared_sharpe``.
    """
    data = sample(returns, factors, loadings)
    explained.check_periods_per_year(periods_per_year, data.times)
    found = by_draw(data, lambda fitted: explained.measures_of(data, fitted))
    found["sharpe"] = np.sqrt(periods_per_year * explained.squared_ratio(data.factors, data.factor_names, data.times))
    arrays = {name: data.array(values) for name, values in found.items()}
    return xr.Dataset(arrays, attrs={"periods_per_year": periods_per_year, **data.attrs})


def bands(measures: xr.Dataset, *, prob: float = 0.9) -> pd.DataFrame:
    """Mean, sd and equal-tailed bounds of measures over draws.

    They say how uncertain the FACTORS are (and the loadings, where draws of these were given). What least squares
    estimates for each draw, alphas and betas, is taken as it comes: no band of an alpha.

    Parameters
    ----------
    measures : Dataset with chain and draw, and no other dim, of ``measures``.
    prob : inside the bounds.

    Returns
    -------
    DataFrame by `measure`: mean, sd, lower, upper.

    Raises
    ------
    DataError
        When there are no draws, or prob is not between 0 and 1.
    """
    _check_share("prob", prob)
    rows = {}
    for name, values in measures.data_vars.items():
        if not values.dims or not set(values.dims) <= set(explained.DRAWS) or values.size < 2:
            raise DataError(f"bands need draws, dims chain and draw alone: {name} has {dict(values.sizes)}.")
        flat = values.values.ravel()
        lower, upper = np.quantile(flat, [(1 - prob) / 2, (1 + prob) / 2])
        rows[name] = {"mean": flat.mean(), "sd": flat.std(ddof=1), "lower": lower, "upper": upper}
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("measure")
    table.attrs = {"prob": prob, **measures.attrs}
    return table


# --- premia in the cross-section ----------------------------------------------------------------------


def fama_macbeth(
    returns: Labelled, exposures: pd.DataFrame | xr.DataArray | None = None, *, factors: Labelled | None = None
) -> xr.Dataset:
    """Premia by cross-sectional regressions with an intercept, period by period (Fama, MacBeth 1973).

    c_t = (X_t'X_t)^-1 X_t'r_t, premia the means of c_t over periods, se their sd over sqrt(T). X_t = [1, exposures]:
    characteristics or loadings that are given, or, from `factors`, loadings of a first pass, least squares over each
    asset's own periods (two passes, FPX eq. 3).

    Loadings of a first pass are estimates. `se_shanken` allows for it: ``V = (1 + c)(W - S_f/T) + S_f/T`` with W the
    covariance of the premia as above, S_f that of the factors and ``c = l'S_f^-1 l`` of the premia l (Shanken 1992;
    residuals independent over time, of constant variance). That premia are drawn towards zero is not corrected.

    Parameters
    ----------
    returns : excess, decimal per period, (time, asset) as in ``grs``; missing ones are left out of their period.
    exposures : over asset and one other dim: a frame, or a DataArray, with time where they vary: characteristics, known
        before the period of the return. Where one is missing the asset is left out of the period.
    factors : (time, factor), for two passes; not draws.

    Returns
    -------
    Dataset: by `term` (intercept first) `premium`, decimal per period per unit of the exposure; `se`; `se_hac`, for
    premia that depend over time (as in ``alpha_tests``); with two passes `se_shanken`; `t` and `p_value` of the error
    that leaves most doubt; `slopes` (time, term); `r2` (time). attrs: units, n_periods, n_left_out, first_period,
    last_period.

    Raises
    ------
    DataError
        When not exactly one of exposures and factors is given, or fewer than 3 periods have a regression.
    AlignmentError, DuplicateKeyError, UnitsError
        As ``metrics.time_series_r2``.

    Warns
    -----
    DataWarning
        Of periods with too few assets, or constant or collinear exposures, which are left out; and of missing returns
        with two passes, for which `se_shanken` is not known and NaN.
    """
    if (exposures is None) == (factors is None):
        raise DataError("fama_macbeth needs exposures or factors=, and not both: the one or the other side of a model.")
    shanken = None
    if factors is None:
        assert exposures is not None
        left, z, names = _exposed(returns, exposures)
        times, values = left.indexes["time"], left.values
    else:
        data = sample(returns, factors)
        if data.draws:
            raise DataError("fama_macbeth takes factors, not draws of them: select one, or their mean.")
        z = by_draw(data, lambda fitted: {"beta": fitted.beta})["beta"][0]
        times, values, names = data.times, data.returns, list(data.factor_names)
        shanken = np.atleast_2d(np.cov(data.factors[0], rowvar=False))
        if np.isnan(values).any():
            _warn("Shanken's error is known for complete returns only: some are missing, se_shanken is NaN")
            shanken = np.full_like(shanken, np.nan)
    z = np.broadcast_to(z, (len(times), *z.shape[1:]))
    used = np.isfinite(values) & np.isfinite(z).all(axis=-1)
    sums = sums_by_month(times, z, values, used)
    slopes, usable = monthly_coefficients(sums)
    n_left_out = len(times) - len(slopes)
    text = (
        f"a cross-sectional regression needs more than {len(names)} assets, and no exposure that is constant or "
        f"collinear with others: {n_left_out} of {len(times)} periods from {span(times)} have none"
    )
    if len(slopes) < 3:
        raise DataError(f"{text}, and premia need 3 with one at least. Give fewer exposures or more assets.")
    if n_left_out:
        _warn(f"{text}; they are left out")
    mean = sums.projection[usable, 0] / sums.n_observed[usable]
    error = sums.square[usable] - (slopes * sums.projection[usable]).sum(axis=1)
    total = sums.square[usable] - sums.n_observed[usable] * mean**2
    found = _premia(slopes, shanken)
    return xr.Dataset(
        {
            **{name: ("term", value) for name, value in found.items()},
            "slopes": (("time", "term"), slopes),
            "r2": ("time", 1 - np.divide(error, total, out=np.full(total.shape, np.nan), where=total > 0)),
        },
        {"term": ["intercept", *names], "time": sums.times[usable]},
        {
            "units": "decimal per period per unit of the exposure",
            "n_periods": len(slopes),
            "n_left_out": n_left_out,
            "first_period": label(sums.times[usable][0]),
            "last_period": label(sums.times[usable][-1]),
        },
    )


def _warn(text: str) -> None:
    warnings.warn(f"{text}.", DataWarning, stacklevel=3)


def _premia(slopes: Array, factor_covariance: Array | None) -> dict[str, Array]:
    """Means of slopes (time, term), their errors, and the test that leaves most doubt."""
    n_periods = len(slopes)
    premium = slopes.mean(axis=0)
    own, hac = ([error(column) for column in slopes.T] for error in (clustered_error, hac_error))
    errors = {"se": np.array([e.se for e in own]) / n_periods, "se_hac": np.array([e.se for e in hac]) / n_periods}
    dofs = {"se": np.full(len(own), n_periods - 1.0), "se_hac": np.array([e.df for e in hac])}
    if factor_covariance is not None:
        known = np.isfinite(factor_covariance).all()
        c = premium[1:] @ np.linalg.solve(factor_covariance, premium[1:]) if known else np.nan
        of_factors = np.concatenate([[0.0], np.diag(factor_covariance)]) / n_periods
        variance = (1 + c) * (errors["se"] ** 2 - of_factors) + of_factors
        errors["se_shanken"], dofs["se_shanken"] = np.sqrt(variance), dofs["se"]
    t = np.stack([premium / se for se in errors.values()])
    p_value = 2 * stats.t.sf(np.abs(t), np.stack(list(dofs.values())))
    return {
        "premium": premium,
        **errors,
        "t": np.take_along_axis(t, np.nanargmax(p_value, axis=0)[None], axis=0)[0],
        "p_value": np.nanmax(p_value, axis=0),
    }


def _exposed(returns: Labelled, exposures: pd.DataFrame | xr.DataArray) -> tuple[xr.DataArray, Array, list[Any]]:
    """Returns on the periods that exposures have too, exposures (1 or time, asset, term) and their names."""
    left = explained.labelled(returns, "returns", "asset")
    array = explained.over_assets(exposures, left, "exposures")
    by_time = "time" in array.dims
    if by_time:
        times = explained.window(("returns", left), ("exposures", array))
        left, array = left.sel(time=times), array.sel(time=times)
    names = list(array.indexes[array.dims[-1]])
    return left, array.values.reshape(-1, *array.shape[-2:]), names
