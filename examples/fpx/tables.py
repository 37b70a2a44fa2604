"""FPX tables 2 to 6 from the draws of the fits: one row for each number, with its band and the fit's status."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd
import xarray as xr

import bayesfactor as bf
from examples.common import draws as common
from examples.common import grid
from examples.common.draws import DRAWS, PROB, band
from examples.common.grid import Outcome

from .cells import Cell
from .markets import THREE, Market

BINS = 20  # of figure 8
LEARNED, AT_RANDOM = "learned directions", "random directions"
MEASURES = {
    "time_series_r2": "Table 2: time-series R2 (eq. 21)",
    "pricing_error": "Table 3: pricing errors (eq. 22)",
    "cross_sectional_r2": "Table 4: cross-sectional R2 (eq. 23)",
}


class Factors(NamedTuple):
    """Draws of a cell's deep factors (chain, draw, time, factor), in the months learned from and those after."""

    learned: xr.DataArray
    later: xr.DataArray | None


def factors_of(market: Market, outcome: Outcome) -> Factors:
    """About `DRAWS` draws of the deep factors."""
    cell, fit = outcome.cell, outcome.fit
    later = None if market.later is None else common.factors_of(fit, market.later[cell.benchmark])
    return Factors(common.factors_of(fit, market.panels[cell.benchmark]), later)


def with_benchmark(deep: xr.DataArray, benchmark: pd.DataFrame) -> xr.DataArray:
    """Draws of deep and benchmark factors together."""
    times = deep["time"].values
    given = xr.DataArray(
        benchmark.loc[times].to_numpy(),
        {"time": times, "factor": [str(name) for name in benchmark.columns]},
        ("time", "factor"),
    )
    given = given.expand_dims(chain=deep["chain"].values, draw=deep["draw"].values)
    return xr.concat([deep.transpose(*given.dims), given], "factor", join="outer").transpose(*given.dims)


def spans(factors: Factors) -> Iterator[tuple[str, xr.DataArray]]:
    """The months learned from, and those after if there are any, by name."""
    yield "learned from", factors.learned
    if factors.later is not None:
        yield "later", factors.later


def fit_rows(market: Market, outcomes: dict[Cell, Outcome]) -> pd.DataFrame:
    """One row a fit: its status, why, and how long it took."""
    return grid.fit_rows(lambda outcome: _labels(market, outcome), outcomes.values())


def measures(market: Market, outcome: Outcome, factors: Factors, sorted_on: str = LEARNED) -> pd.DataFrame:
    """Tables 2 to 4: each measure of each set of assets, with the benchmark's own and the change against it."""
    benchmark = market.benchmarks[outcome.cell.benchmark]
    rows = []
    for months, deep in spans(factors):
        times = pd.DatetimeIndex(deep["time"].values)
        every = with_benchmark(deep, benchmark)
        for assets, returns in market.assets.items():
            known = returns.loc[times].dropna(axis=1, thresh=len(times) // 2)
            alone = bf.pricing.measures(known, benchmark.loc[times], periods_per_year=12)
            draws = bf.pricing.measures(known, every, periods_per_year=12)
            bands = bf.pricing.bands(draws, prob=PROB)
            for measure in MEASURES:
                own = float(alone[measure])
                band = bands.loc[measure]
                rows.append(
                    {
                        **_labels(market, outcome),
                        "sorted_on": sorted_on,
                        "months": months,
                        "n_months": len(times),
                        "assets": assets,
                        "role": "train" if assets == market.train else "test",
                        "n_assets": known.shape[1],
                        "measure": measure,
                        "benchmark_value": own,
                        **band[["mean", "lower", "upper"]].to_dict(),
                        **{f"change_{name}": band[name] / own - 1 for name in ("mean", "lower", "upper")},
                    }
                )
    return pd.DataFrame(rows)


def sharpe(market: Market, outcome: Outcome, factors: Factors) -> pd.DataFrame:
    """Table 5, above: Sharpe ratios of benchmark and of all factors, posterior and in the sample, and the test."""
    benchmark = market.benchmarks[outcome.cell.benchmark]
    posterior = bf.sharpe_ratios(outcome.fit, prob=PROB)
    rows = []
    for months, deep in spans(factors):
        test = bf.pricing.squared_sharpe(benchmark.loc[deep["time"].values], deep, periods_per_year=12)
        row = {
            **_labels(market, outcome),
            "months": months,
            "n_months": deep.sizes["time"],
            "sample_benchmark": float(test["sharpe"].sel(model="benchmark").mean()),
            **band("sample_all", test["sharpe"].sel(model="with_extra")),
            **band("p_value", test["p_value"]),
            "p_value_median": float(test["p_value"].median()),
            "share_below_5%": float((test["p_value"] < 0.05).mean()),
        }
        if months == "learned from":  # the posterior of means and covariance is given these months
            for name in ("benchmarks", "all", "gain"):
                row |= {f"{name}_{key}": posterior.loc[name, key] for key in ("mean", "lower", "upper", "prior_mean")}
        rows.append(row)
    return pd.DataFrame(rows)


def anomalies(market: Market, outcome: Outcome, factors: Factors) -> pd.DataFrame:
    """Table 5, below: how many single-characteristic portfolios keep a significant alpha, by both errors."""
    benchmark = market.benchmarks[outcome.cell.benchmark]
    rows = []
    for months, deep in spans(factors):
        times = deep["time"].values
        models = {"benchmark": benchmark.loc[times], "with deep factors": with_benchmark(deep, benchmark)}
        for errors in ("as_published", "ols"):
            counts = bf.pricing.anomaly_counts(market.anomalies.loc[times], models, errors=errors, prob=PROB)
            for model, row in counts.iterrows():
                rows.append({**_labels(market, outcome), "months": months, "errors": errors, "model": model, **row})
    return pd.DataFrame(rows)


class Sorted(NamedTuple):
    """What deep characteristics are made of, by draw.

    Attributes
    ----------
    shares : (draw, factor, characteristic) of the variation that monthly regressions explain; each sums to 1.
    r2 : (draw, factor) of those regressions, mean over months.
    profile : (draw, characteristic, bin, factor), mean deep characteristic of stocks by the rank of one characteristic.
    spread : (quantile, characteristic, bin, factor), 5%, 95% of stocks and months, of the posterior mean.
    """

    shares: xr.DataArray
    r2: xr.DataArray
    profile: xr.DataArray
    spread: xr.DataArray


def explained_variation(market: Market, fit: bf.Fit, benchmark: str = THREE, every: int = 1) -> Sorted:
    """FPX eq. 24 and table 6, and the numbers of figure 8, of each draw.

    Each month the standardised deep characteristic is regressed on the prepared characteristics;
    ``share_k = b_k^2 var(z_k) / sum_j b_j^2 var(z_j)``, averaged over months. (FPX do not say how they divide what
    correlated characteristics explain together; here it is left out of numerator and denominator.)

    Parameters
    ----------
    market, benchmark : whose panel of months learned from is used.
    fit : of a cell of it.
    every : takes each n-th month, for long panels.
    """
    panel = market.panels[benchmark]
    names = list(fit.characteristics)
    draws = bf.align(fit).parameters()
    step = max(1, len(draws["sort_weight"]) // DRAWS)
    params = {name: np.asarray(values[::step]) for name, values in draws.items() if name.split(".")[0] in _SORTING}
    of_draws = jax.jit(jax.vmap(fit.model.deep_characteristics, in_axes=(0, None)))
    months = panel.data.isel(time=slice(None, None, every))
    z_all, inside = months["characteristics"].values, months["in_universe"].values
    missing, where = months["missing"].values, [names.index(market.size), names.index(market.value)]
    shares, r2s, sums, counts, seen = [], [], 0.0, 0.0, []
    for z, stocks, lacks in zip(z_all, inside, missing, strict=True):
        deep = np.asarray(of_draws(params, np.nan_to_num(z).astype(np.float32)))[:, stocks].astype(float)
        deep = (deep - deep.mean(axis=1, keepdims=True)) / deep.std(axis=1, keepdims=True)
        x = z[stocks].astype(float)
        x = x - x.mean(axis=0)
        slopes = np.einsum("kn,dnp->dpk", np.linalg.pinv(x, rcond=1e-6), deep)
        explained = slopes**2 * x.var(axis=0)
        shares.append(explained / explained.sum(axis=-1, keepdims=True))
        r2s.append((np.einsum("nk,dpk->dnp", x, slopes) ** 2).mean(axis=1))
        for place, k in enumerate(where):
            bins = np.where(lacks[stocks, k], -1, np.clip((z[stocks, k] + 1) / 2 * BINS, 0, BINS - 1).astype(int))
            seen.append(pd.DataFrame(deep.mean(axis=0)).assign(place=place, bin=bins))
        member = np.stack([_indicator(part["bin"]) for part in seen[-len(where) :]])
        sums = sums + np.einsum("cbn,dnp->dcbp", member, deep)
        counts = counts + member.sum(axis=-1)
    stocks_seen = pd.concat(seen).query("bin >= 0").groupby(["place", "bin"])
    every_bin = pd.MultiIndex.from_product([range(len(where)), range(BINS)])
    spread = np.stack([stocks_seen.quantile(q).reindex(every_bin).to_numpy() for q in (0.05, 0.95)])
    deep_names = [f"deep_{index}" for index in range(1, fit.model.n_factors + 1)]
    coords: dict[str, Any] = {"factor": deep_names, "characteristic": names}
    shown = {"factor": deep_names, "characteristic": [market.size, market.value]}
    return Sorted(
        xr.DataArray(np.mean(shares, axis=0), coords, ("draw", "factor", "characteristic")),
        xr.DataArray(np.mean(r2s, axis=0), {"factor": deep_names}, ("draw", "factor")),
        xr.DataArray(
            sums / np.where(counts > 0, counts, np.nan)[:, :, None], shown, ("draw", "characteristic", "bin", "factor")
        ),
        xr.DataArray(
            spread.reshape(2, len(where), BINS, -1),
            shown | {"quantile": [0.05, 0.95]},
            ("quantile", "characteristic", "bin", "factor"),
        ),
    )


_SORTING = ("sort_weight", "network")


def _indicator(bins: pd.Series) -> np.ndarray:
    return (np.arange(BINS)[:, None] == bins.to_numpy()).astype(float)


def share_rows(market: Market, outcome: Outcome, found: Sorted) -> pd.DataFrame:
    """Table 6 with bands, largest share on top."""
    rows = []
    for factor in found.shares["factor"].values:
        for name in found.shares["characteristic"].values:
            share = band("share", found.shares.sel(factor=factor, characteristic=name))
            r2 = float(found.r2.sel(factor=factor).mean())
            rows.append({**_labels(market, outcome), "factor": factor, "characteristic": name, **share, "r2": r2})
    return pd.DataFrame(rows).sort_values(["factor", "share_mean"], ascending=[True, False])


def alphas(market: Market, outcome: Outcome) -> pd.DataFrame:
    """Alphas as parameters: how many bands leave out zero, and whether all are small, by set of assets."""
    fit, cell = outcome.fit, outcome.cell
    panel = market.panels[cell.benchmark]
    rows = []
    for assets, returns in market.assets.items():
        known = returns.loc[fit.train_times].dropna(axis=1, thresh=len(fit.train_times) // 2)
        unseen = None if assets == market.train else _other_assets(panel, known)
        bands = bf.alphas(fit, unseen, prob=PROB)
        clear = (bands["lower"] > 0) | (bands["upper"] < 0)
        # Alphas of unseen assets are drawn one by one: they have no joint statement.
        joint = bf.no_alpha(fit, within=0.001) if unseen is None else {}
        rows.append(
            {
                **_labels(market, outcome),
                "assets": assets,
                "role": "train" if assets == market.train else "test",
                "n_assets": bands.sizes["test_asset"],
                "bands_beyond_zero": int(clear.sum()),
                "mean_abs_alpha": float(np.abs(bands["mean"]).mean()),
                "mean_sd": float(bands["sd"].mean()),
                "prob_all_within_10bp": joint.get("prob_all_within", np.nan),
                "prob_beyond_zero": joint.get("prob_beyond_zero", np.nan),
            }
        )
    return pd.DataFrame(rows)


def _other_assets(panel: bf.Panel, returns: pd.DataFrame) -> bf.Panel:
    """The panel with other test assets in place of its own."""
    bare = panel.apply(lambda data: data.drop_dims("portfolio"), "drop the portfolios learned from")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bf.errors.DataWarning)  # a stock may lack a month
        return bare.join_portfolios(returns, units="decimal", excess=True)


class Implied(NamedTuple):
    """Average returns that factors imply (..., asset): by the time series, and by the cross-section; residuals' sd."""

    time_series: np.ndarray
    cross_section: np.ndarray
    residual_sd: np.ndarray


def implied(returns: pd.DataFrame, factors: np.ndarray) -> Implied:
    """Least squares on factors (..., time, factor): ``beta'f``, and ``[1, beta] lambda`` of FPX eq. 23."""
    left = returns.to_numpy()
    centred = factors - factors.mean(axis=-2, keepdims=True)
    beta = np.swapaxes(np.linalg.pinv(centred) @ (left - left.mean(axis=0)), -1, -2)
    premium = factors.mean(axis=-2)[..., None]
    x = np.concatenate([np.ones((*beta.shape[:-1], 1)), beta], axis=-1)
    fitted = x @ (np.linalg.pinv(x) @ left.mean(axis=0)[:, None])
    residuals = left - left.mean(axis=0) - centred @ np.swapaxes(beta, -1, -2)
    spare = len(left) - factors.shape[-1] - 1
    sd = np.sqrt((residuals**2).sum(axis=-2) / spare)
    return Implied((beta @ premium)[..., 0], fitted[..., 0], sd)


def loss(returns: pd.DataFrame, factors: np.ndarray, penalty: float) -> np.ndarray:
    """FPX eq. 20 of factors (..., time, factor), its loadings minimised over (they have no intercept)."""
    left = returns.to_numpy()
    weight = np.sqrt(penalty * len(left))

    def extended(values: np.ndarray) -> np.ndarray:
        return np.concatenate([values, weight * values.mean(axis=-2, keepdims=True)], axis=-2)

    x, y = extended(factors), extended(left)
    residuals = y - x @ (np.linalg.pinv(x) @ y)
    return (residuals**2).sum(axis=(-2, -1)) / left.size


def _labels(market: Market, outcome: Outcome) -> dict[str, Any]:
    cell = outcome.cell
    return {
        "data": market.name,
        "benchmark": cell.benchmark,
        "layers": cell.layers,
        "n_factors": cell.n_factors,
        "lambda": np.nan if cell.penalty is None else cell.penalty,
        "status": outcome.status,
        "bands": outcome.bands,
    }
