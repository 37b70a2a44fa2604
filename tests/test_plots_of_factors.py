"""Figures of sorted factors show the numbers they were given, and what the fit behind them is worth."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

import bayesfactor as bf
from bayesfactor import plots
from bayesfactor.errors import DataError

FACTORS, BENCHMARKS = ["deep_1", "deep_2"], ["MKT"]
ASSETS = [f"P{place:02d}" for place in range(7)]
STOCKS = [f"S{place}" for place in range(12)]
TIMES = pd.date_range("2014-01-31", periods=30, freq="ME")
LEARNED = TIMES[19]
LEGS = ("long", "short")


def bands(dims: dict[str, list], seed: int, scale: float, **attrs: object) -> xr.Dataset:
    """A result over `dims`; its bands are not symmetric."""
    rng = np.random.default_rng(seed)
    shape = tuple(len(labels) for labels in dims.values())
    mean, sd = scale * rng.standard_normal(shape), scale * (0.2 + rng.random(shape))
    variables = {"mean": mean, "sd": sd, "lower": mean - 1.3 * sd, "upper": mean + 1.9 * sd}
    said = {"prob": 0.9, "frequency": "monthly", "status": "ok"}
    return xr.Dataset({name: (tuple(dims), value) for name, value in variables.items()}, dims, said | attrs)


def earned(**attrs: object) -> xr.Dataset:
    said = {"train_last": f"{LEARNED:%Y-%m-%d}", "quantity": "factor return"}
    return bands({"time": TIMES, "factor": FACTORS}, 1, 0.02, **said | attrs)


def importance(**attrs: object) -> xr.Dataset:
    result = bands({"factor": FACTORS, "characteristic": ["size", "book_to_market", "beta"]}, 2, 0.3, **attrs)
    return abs(result).assign_attrs(result.attrs)


def weights(n_months: int = 30, **attrs: object) -> xr.Dataset:
    times = TIMES[-n_months:]
    result = bands({"time": times, "asset": STOCKS, "factor": FACTORS}, 3, 0.05, **attrs)
    result = result.where(result["asset"] != "S3")  # outside the universe
    effective = 3 + np.random.default_rng(4).random((2, n_months, 2))
    return result.assign({f"effective_{leg}": (("time", "factor"), effective[k]) for k, leg in enumerate(LEGS)})


def alphas(seed: int = 5, assets: list[str] = ASSETS, **attrs: object) -> xr.Dataset:
    return bands({"test_asset": assets}, seed, 0.003, **attrs)


def loadings(assets: list[str] = ASSETS, **attrs: object) -> xr.Dataset:
    return bands({"test_asset": assets, "priced_factor": FACTORS + BENCHMARKS}, 6, 1.0, **attrs)


def ratios(**attrs: object) -> pd.DataFrame:
    names = ["all", "benchmarks", "gain", *FACTORS, *BENCHMARKS]
    result = bands({"portfolio": names}, 7, 0.5).to_dataframe()[["mean", "sd", "lower", "upper"]]
    table = result.assign(prior_mean=np.linspace(0.1, 0.6, len(names)))
    table.attrs = {"units": "annual", "prob": 0.9, "status": "ok", **attrs}
    return table


def texts(figure: Figure) -> str:
    """Every word the figure shows, lines one after the other."""
    figure.draw_without_rendering()
    return " ".join(" ".join(text.get_text().split()) for text in figure.findobj(Text) if text.get_visible())


def segments(axes: Axes) -> np.ndarray:
    """Both ends of every band, from the bottom row up."""
    return np.array(axes.collections[0].get_segments())[:, :, 0]


def points(axes: Axes) -> np.ndarray:
    return np.asarray(axes.lines[0].get_xdata(), float)


def rows_of(axes: Axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


FIGURES: dict[str, Callable[..., Figure]] = {
    "factors": lambda **attrs: plots.plot_factors(earned(**attrs), name="deep"),
    "importance": lambda **attrs: plots.plot_importance(importance(**attrs), name="deep"),
    "holdings": lambda **attrs: plots.plot_holdings(weights(**attrs), name="deep"),
    "alphas": lambda **attrs: plots.plot_alphas({"deep": alphas(**attrs), "other": alphas(8)}),
    "loadings": lambda **attrs: plots.plot_loadings(loadings(**attrs), name="deep"),
    "sharpe": lambda **attrs: plots.plot_sharpe_ratios(ratios(**attrs), name="deep"),
}


@pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)
def test_what_a_fit_is_worth_stands_on_every_figure(figure: Callable[..., Figure]) -> None:
    assert "fit status" not in texts(figure())
    assert "deep: fit status FAILED, read its bands with care" in texts(figure(status="failed"))
    assert "deep: fit status OK, its bands are UNCALIBRATED" in texts(figure(bands="uncalibrated"))
    pseudo = texts(figure(likelihood_kind="pseudo-likelihood"))
    assert "deep: PSEUDO-LIKELIHOOD" in pseudo
    assert "fit status" not in pseudo
    assert "other:" not in pseudo
    assert "80% of the posterior" in texts(figure(prob=0.8))


def test_draws_are_refused_with_the_remedy() -> None:
    draws = xr.Dataset({"alpha": (("chain", "draw", "test_asset"), np.zeros((2, 3, 7)))}, {"test_asset": ASSETS})
    for draw in (
        lambda: plots.plot_alphas({"deep": draws}),
        lambda: plots.plot_loadings(draws),
        lambda: plots.plot_factors(draws),
        lambda: plots.plot_importance(draws),
        lambda: plots.plot_holdings(draws),
    ):
        with pytest.raises(DataError, match="summary='bands'"):
            draw()


def test_factors_are_in_percent_with_their_bands_and_the_end_of_learning() -> None:
    result = earned()
    figure = plots.plot_factors(result)
    for axes, factor in zip(figure.axes, FACTORS, strict=True):
        assert axes.get_title(loc="left") == factor.replace("_", " ")
        one = 100 * result.sel(factor=factor)
        np.testing.assert_allclose(axes.lines[0].get_ydata(), one["mean"])
        shade = axes.collections[0].get_paths()[0].vertices[:, 1]
        assert shade.max() == pytest.approx(float(one["upper"].max()))
        assert shade.min() == pytest.approx(float(one["lower"].min()))
        assert axes.lines[2].get_xdata()[0] == LEARNED
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()
    assert "2015-08-31, the last month learned from" in texts(figure)
    assert "return (% per month)" in texts(figure)
    summed = texts(plots.plot_factors(earned(quantity="cumulative factor return", train_last="2020-01-31")))
    assert "running sum of returns (%)" in summed
    assert "not compounded" in summed
    assert "learned from" not in summed  # all months were


def test_importance_puts_the_largest_total_on_top_and_counts_the_rest() -> None:
    result = importance()
    order = result["characteristic"].values[np.argsort(result["mean"].sum("factor").values)]
    figure = plots.plot_importance(result, top=2)
    assert rows_of(figure.axes[0]) == [name.replace("_", " ") for name in order[-2:]]
    for axes, factor in zip(figure.axes, FACTORS, strict=True):
        shown = result.sel(factor=factor, characteristic=order[-2:])
        np.testing.assert_allclose(points(axes), shown["mean"])
        np.testing.assert_allclose(segments(axes), np.c_[shown["lower"], shown["upper"]])
    assert "The 2 largest of 3" in texts(figure)
    assert "largest of" not in texts(plots.plot_importance(result))


def test_holdings_are_those_of_the_table_and_legs_have_their_numbers() -> None:
    result, n = weights(), 3
    when = TIMES[-4]
    figure = plots.plot_holdings(result, when, n=n)
    held = bf.top_holdings(result, when, n=n)
    for axes, factor in zip(figure.axes[:2], FACTORS, strict=True):
        want = pd.concat([held.loc[factor, "short"], held.loc[factor, "long"][::-1]])
        assert rows_of(axes) == list(want["asset"])
        np.testing.assert_allclose(segments(axes), 100 * want[["lower", "upper"]])
        np.testing.assert_allclose([*points(axes), *axes.lines[1].get_xdata()], 100 * want["mean"])
        month = result.sel(time=when, factor=factor)
        numbers = [f"{month[f'effective_{leg}'].item():,.0f} {leg}" for leg in LEGS]
        assert axes.get_title(loc="left") == f"{factor.replace('_', ' ')}: {', '.join(numbers)}"
        assert "S3" not in rows_of(axes)
    for axes, factor in zip(figure.axes[2:], FACTORS, strict=True):
        for line, leg in zip(axes.lines, LEGS, strict=True):
            np.testing.assert_array_equal(line.get_ydata(), result[f"effective_{leg}"].sel(factor=factor))
            assert line.get_label() == leg
    assert "Largest holdings of 2016-03" in texts(figure)
    assert len(plots.plot_holdings(weights(1)).axes) == len(FACTORS)  # one month has no course
    assert "Largest holdings of 2016-06" in texts(plots.plot_holdings(result))
    with pytest.raises(DataError, match="one period"):
        plots.plot_holdings(result, "2015")


def test_alphas_are_ordered_matched_by_label_and_counted() -> None:
    first, second = alphas(5), alphas(8).isel(test_asset=[5, 3, 1, 0, 2, 4, 6])
    axes = plots.plot_alphas({"one": first, "two": second}).axes[0]
    order = [ASSETS[place] for place in np.argsort(first["mean"].values)]
    assert rows_of(axes) == order
    lines = {line.get_label(): line.get_xdata() for line in axes.lines}
    np.testing.assert_allclose(lines["one"], 100 * first["mean"].sel(test_asset=order))
    np.testing.assert_allclose(lines["two"], 100 * second["mean"].sel(test_asset=order))
    np.testing.assert_allclose(segments(axes), 100 * np.c_[first["lower"], first["upper"]][np.argsort(first["mean"])])
    assert any(line.get_linestyle() == "-" and list(line.get_xdata()) == [0, 0] for line in axes.lines)
    out = [int(((one["lower"] > 0) | (one["upper"] < 0)).sum()) for one in (first, second)]
    assert 0 < out[0] < 7
    shown = texts(plots.plot_alphas({"one": first, "two": second}, sort_by="two"))
    assert f"Bands that leave out zero: one {out[0]} of 7, two {out[1]} of 7" in shown
    assert "alpha (% per month)" in shown
    few = plots.plot_alphas({"one": first}, top=4)
    assert rows_of(few.axes[0]) == [*order[:2], *order[-2:]]
    assert f"leave out zero: {out[0]} of 7. Shown: the 2 lowest and 2 highest." in texts(few)


def test_loadings_have_a_column_a_factor_and_rows_in_the_order_given() -> None:
    result = loadings()
    figure = plots.plot_loadings(result)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["deep 1", "deep 2", "MKT"]
    assert rows_of(figure.axes[0]) == ASSETS[::-1]
    for axes, factor in zip(figure.axes, FACTORS + BENCHMARKS, strict=True):
        shown = result.sel(priced_factor=factor, test_asset=ASSETS[::-1])
        np.testing.assert_allclose(points(axes), shown["mean"])
        np.testing.assert_allclose(segments(axes), np.c_[shown["lower"], shown["upper"]])
    assert rows_of(plots.plot_loadings(result, assets=["P04", "P01"]).axes[0]) == ["P01", "P04"]
    many = plots.plot_loadings(loadings([f"A{place}" for place in range(55)]))
    assert rows_of(many.axes[0])[-1] == "A0"
    assert "Shown: 40 of 55 test assets" in texts(many)
    assert "Shown" not in texts(figure)


def test_sharpe_ratios_stand_beside_their_prior_and_maxima_are_not_called_clear() -> None:
    table = ratios()
    figure = plots.plot_sharpe_ratios(table)
    (axes,) = figure.axes
    order = ["gain", "all", "benchmarks", "MKT", "deep_2", "deep_1"]
    assert rows_of(axes)[:3] == ["gain of the deep factors", "with the deep factors", "benchmarks together"]
    np.testing.assert_allclose(points(axes), table.loc[order, "mean"])
    np.testing.assert_allclose(axes.lines[1].get_xdata(), table.loc[order, "prior_mean"])
    assert axes.lines[1].get_label() == "prior mean"
    np.testing.assert_allclose(segments(axes), table.loc[order, ["lower", "upper"]])
    assert len(set(axes.collections[0].get_linewidths())) == 1
    assert "cannot fall when factors are added" in texts(figure)
    alone = plots.plot_sharpe_ratios(table.drop(index=["benchmarks", "gain", "MKT"]))
    assert rows_of(alone.axes[0]) == ["with the deep factors", "deep 2", "deep 1"]


def test_many_factors_stand_in_rows() -> None:
    names = [f"deep_{place}" for place in range(1, 6)]
    said = {"train_last": "2020-01-31", "quantity": "factor return"}
    wide = bands({"factor": names, "characteristic": ["size", "beta"]}, 2, 0.3)
    for figure in (
        plots.plot_factors(bands({"time": TIMES, "factor": names}, 1, 0.02, **said)),
        plots.plot_importance(abs(wide).assign_attrs(wide.attrs)),
        plots.plot_loadings(bands({"test_asset": ASSETS, "priced_factor": names}, 6, 1.0)),
    ):
        shown = [axes.get_title(loc="left") for axes in figure.axes if axes.get_visible()]
        assert shown == [name.replace("_", " ") for name in names]
        assert len(figure.axes) > len(names)
        assert figure.get_figwidth() < 11
        figure.draw_without_rendering()
        lowest = [figure.axes[place] for place in (len(names) - 1, len(figure.axes) // 2 - 1)]
        assert all(any(label.get_visible() for label in axes.get_xticklabels()) for axes in lowest)
