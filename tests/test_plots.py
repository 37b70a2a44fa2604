"""The figures show the numbers they were given, name units and bands, and say when a fit is in doubt."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.figure import Figure

from bayesfactor import plots

NAMES = [
    "book_to_market",
    "momentum_12_2",
    "size",
    "short_term_reversal",
    "turnover",
    "idiosyncratic_volatility",
]


def sensitivities(seed: int, status: str = "ok", by_time: bool = False) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    dims = ("time", "characteristic") if by_time else ("characteristic",)
    shape = (22, len(NAMES)) if by_time else (len(NAMES),)
    mean, sd = 0.004 * rng.standard_normal(shape), 0.001 + 0.002 * rng.random(shape)
    coords: dict = {"characteristic": NAMES}
    if by_time:
        coords["time"] = pd.date_range("2015-02-28", periods=22, freq="ME")
    rank = np.argsort(np.argsort(-np.abs(mean), -1), -1) + 1.0
    variables = {
        "mean": mean, "sd": sd, "lower": mean - 1.64 * sd, "upper": mean + 1.64 * sd,
        "rank_lower": np.maximum(rank - 1, 1), "rank_median": rank,
        "rank_upper": np.minimum(rank + 2, len(NAMES)),
        "prob_positive": np.where(mean > 0, 0.9, 0.1),
    }  # fmt: skip
    return xr.Dataset(
        {name: (dims, value) for name, value in variables.items()},
        coords,
        {"prob": 0.9, "frequency": "monthly", "status": status},
    )


def interactions(status: str = "ok") -> xr.Dataset:
    rng = np.random.default_rng(3)
    pairs = [(a, b) for i, a in enumerate(NAMES) for b in NAMES[i + 1 :]]
    mean = np.sort(np.abs(0.002 * rng.standard_normal(len(pairs))))[::-1] * rng.choice([-1, 1], len(pairs))
    return xr.Dataset(
        {"mean": ("pair", mean), "lower": ("pair", mean - 0.001), "upper": ("pair", mean + 0.001)},
        {
            "characteristic": ("pair", [a for a, _ in pairs]),
            "characteristic_2": ("pair", [b for _, b in pairs]),
        },
        {"prob": 0.9, "frequency": "monthly", "status": status},
    )


def forecast(assets: int = 400) -> xr.Dataset:
    rng = np.random.default_rng(4)
    mean = 0.01 * rng.standard_normal((2, assets))
    mean[:, ::7] = np.nan
    dims = ("time", "asset")
    return xr.Dataset(
        {"mean": (dims, mean), "lower": (dims, mean - 0.01), "upper": (dims, mean + 0.012)},
        {"time": pd.to_datetime(["2016-11-30", "2016-12-31"]), "asset": [f"TICK{i}" for i in range(assets)]},
        {"prob": 0.9, "frequency": "monthly", "status": "ok"},
    )


def month_scores(months: int, seed: int) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    time = pd.date_range("2016-06-30", periods=months, freq="ME")
    return xr.Dataset({"score": ("time", 500 + 5 * rng.standard_normal(months))}, {"time": time})


def texts(figure: Figure) -> str:
    """Every word the figure shows, after it was drawn."""
    from matplotlib.text import Text

    figure.draw_without_rendering()
    shown = (text.get_text() for text in figure.findobj(Text) if text.get_visible())
    return "\n".join(" ".join(text.split()) for text in shown)


def test_sensitivities_show_means_and_bands_in_percent_in_sorted_order() -> None:
    result = sensitivities(1)
    figure = plots.plot_sensitivities({"linear": result})
    axes = figure.axes[0]
    order = np.argsort(result["mean"].values)
    points = next(line for line in axes.lines if line.get_label() == "linear")
    np.testing.assert_allclose(points.get_xdata(), 100 * result["mean"].values[order], rtol=1e-12)
    np.testing.assert_array_equal(points.get_ydata(), np.arange(len(NAMES)))
    segments = np.array(axes.collections[0].get_segments())
    np.testing.assert_allclose(segments[:, :, 0], 100 * np.c_[result["lower"], result["upper"]][order], rtol=1e-12)
    shown = [label.get_text() for label in axes.get_yticklabels()]
    assert shown == [NAMES[i].replace("_", " ") for i in order]


def test_a_second_model_is_matched_by_label_not_by_position() -> None:
    result = sensitivities(1)
    shuffled = sensitivities(2).isel(characteristic=[5, 3, 1, 0, 2, 4])
    axes = plots.plot_sensitivities({"linear": result, "deep": shuffled}).axes[0]
    order = [NAMES[i] for i in np.argsort(result["mean"].values)]
    points = next(line for line in axes.lines if line.get_label() == "deep")
    np.testing.assert_allclose(points.get_xdata(), 100 * shuffled["mean"].sel(characteristic=order), rtol=1e-12)


@pytest.mark.parametrize("status", ["warn", "failed"])
def test_a_fit_in_doubt_is_named_on_every_figure(status: str) -> None:
    doubtful = {"linear": sensitivities(1), "deep": sensitivities(2, status)}
    over_time = {"deep": sensitivities(2, status, by_time=True)}
    figures = [
        plots.plot_sensitivities(doubtful),
        plots.plot_ranks(doubtful),
        plots.plot_interactions(interactions(status), name="deep"),
        plots.plot_sensitivities_over_time(over_time),
        plots.plot_forecast(forecast().assign_attrs(status=status), name="deep"),
    ]
    for figure in figures:
        assert f"deep: fit status {status.upper()}" in texts(figure)
        assert "linear: fit status" not in texts(figure)


def test_units_and_the_probability_inside_the_band_are_written() -> None:
    for figure in (
        plots.plot_sensitivities({"linear": sensitivities(1)}),
        plots.plot_interactions(interactions()),
        plots.plot_sensitivities_over_time({"linear": sensitivities(1, by_time=True)}),
        plots.plot_forecast(forecast()),
    ):
        assert "90% of the posterior" in texts(figure)
        assert "% per month" in texts(figure)
    weekly = sensitivities(1).assign_attrs(frequency="weekly", prob=0.5)
    assert "% per week" in texts(plots.plot_sensitivities({"linear": weekly}))
    assert "50% of the posterior" in texts(plots.plot_sensitivities({"linear": weekly}))


def test_interactions_put_the_first_pair_on_top_and_keep_the_rest_out() -> None:
    result = interactions()
    axes = plots.plot_interactions(result, top=4).axes[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert len(labels) == 4
    first = result.isel(pair=0)
    assert labels[-1] == f"{first.characteristic.item()} × {first.characteristic_2.item()}".replace("_", " ")


def test_ranks_span_their_interval() -> None:
    result = sensitivities(1)
    axes = plots.plot_ranks({"linear": result}).axes[0]
    segments = np.array(axes.collections[0].get_segments())[:, :, 0]
    order = np.argsort(-result["rank_median"].values, kind="stable")
    np.testing.assert_array_equal(segments, np.c_[result["rank_lower"], result["rank_upper"]][order])


def test_forecast_sorts_the_month_drops_absent_assets_and_names_both_ends() -> None:
    result = forecast()
    figure = plots.plot_forecast(result, label=3)
    line = figure.axes[0].lines[0].get_ydata()
    expected = np.sort(100 * result["mean"].isel(time=-1).dropna("asset").values)
    np.testing.assert_allclose(line, expected, rtol=1e-12)
    named = [label.get_text() for label in figure.axes[1].get_yticklabels()]
    ordered = result["mean"].isel(time=-1).dropna("asset").sortby(result["mean"].isel(time=-1).dropna("asset"))
    assert named == [*ordered["asset"].values[:3], *ordered["asset"].values[-3:]]
    earlier = plots.plot_forecast(result, time=result["time"].values[0])
    assert "2016-11" in texts(earlier)


def test_forecast_of_three_assets_names_each_once() -> None:
    figure = plots.plot_forecast(forecast(4))
    named = [label.get_text() for label in figure.axes[1].get_yticklabels()]
    assert len(named) == len(set(named)) == 2


def test_month_scores_add_up_and_few_months_are_inconclusive() -> None:
    deep, linear = month_scores(6, 1), month_scores(6, 2)
    figure = plots.plot_month_scores({"deep": deep, "linear": linear})
    difference = (deep["score"] - linear["score"]).values
    np.testing.assert_allclose([bar.get_height() for bar in figure.axes[0].patches], difference, rtol=1e-12)
    np.testing.assert_allclose(figure.axes[1].lines[0].get_ydata(), np.cumsum(difference), rtol=1e-12)
    assert "INCONCLUSIVE: 6 months" in texts(figure)
    assert "INCONCLUSIVE" not in texts(plots.plot_month_scores({"a": month_scores(24, 1), "b": month_scores(24, 2)}))
    assert "INCONCLUSIVE" in texts(plots.plot_month_scores({"a": month_scores(23, 1), "b": month_scores(23, 2)}))


def test_days_are_named_as_days_and_counted_by_calendar_month() -> None:
    days = pd.bdate_range("2016-01-22", periods=30)
    results = {name: month_scores(30, seed).assign_coords(time=days) for seed, name in enumerate(("a", "b"))}
    for result in results.values():
        result["score"].attrs["frequency"] = "daily"
    shown = texts(plots.plot_month_scores(results))
    assert "INCONCLUSIVE: 30 days in 3 calendar months" in shown
    assert "Which model predicted each day better" in shown
    assert "2016-01-22" in shown


def test_month_scores_of_shuffled_months_are_matched_by_label() -> None:
    deep, linear = month_scores(6, 1), month_scores(6, 2)
    figure = plots.plot_month_scores({"deep": deep.isel(time=[3, 1, 0, 2, 5, 4]), "linear": linear})
    difference = (deep["score"] - linear["score"]).values
    np.testing.assert_allclose([bar.get_height() for bar in figure.axes[0].patches], difference, rtol=1e-12)


def ecdf_result(*, strays: bool) -> xr.Dataset:
    """ECDFs of ranks among 20 draws of three quantities; one of them may leave the band."""
    uniform = np.arange(1, 21) / 21
    lines = np.stack([uniform, uniform + 0.02, uniform + (0.2 if strays else 0.01)])
    return xr.Dataset(
        {
            "ecdf": (("quantity", "rank"), lines),
            "uniform": ("rank", uniform),
            "lower": ("rank", uniform - 0.1),
            "upper": ("rank", uniform + 0.1),
        },
        {"quantity": ["noise level", "log likelihood", "slope mean 1"], "rank": np.arange(20)},
        {"model": "M()", "inference": "NUTS()", "n_fits": 300, "family_wise": 0.01, "status": "fails"},
    )


def test_rank_ecdf_names_what_leaves_the_band() -> None:
    figure = plots.plot_rank_ecdf(ecdf_result(strays=True))
    (axes,) = figure.axes
    named = [line for line in axes.lines if line.get_label() == "slope mean 1"]
    np.testing.assert_allclose(named[0].get_ydata(), 0.2)
    texts = " ".join(text.get_text().replace("\n", " ") for text in axes.texts)
    assert "1 of 3 quantities leave the band" in texts
    assert "300 fits" in texts
    assert "Calibration: fails" in axes.get_title(loc="left")
    inside = plots.plot_rank_ecdf(ecdf_result(strays=False))
    assert not [line for line in inside.axes[0].lines if line.get_label() == "slope mean 1"]


def calibration(seed: int, status: str = "ok", levels: tuple[float, ...] = (0.5, 0.9)) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    coverage, share = np.array(levels) - 0.05 * rng.random(len(levels)), rng.dirichlet(np.full(4, 20.0))
    return xr.Dataset(
        {
            "coverage": ("level", coverage),
            "coverage_lower": ("level", coverage - 0.02),
            "coverage_upper": ("level", coverage + 0.01),
            "pit_share": ("bin", share),
            "pit_share_lower": ("bin", 0.8 * share),
            "pit_share_upper": ("bin", 1.3 * share),
        },
        {
            "level": list(levels),
            "bin_lower": ("bin", np.arange(4) / 4),
            "bin_upper": ("bin", np.arange(1, 5) / 4),
        },
        {
            "verdict": "not calibrated: too narrow",
            "p_value": 0.0123,
            "prob": 0.95,
            "sample": "120 months",
            "frequency": "monthly",
            "status": status,
        },
    )


def test_reliability_shows_coverage_minus_level_and_the_density_of_the_pit() -> None:
    result = calibration(1)
    left, right = plots.plot_reliability({"linear": result}).axes
    gap = 100 * (result["coverage"].values - result["level"].values)
    points = next(line for line in left.lines if line.get_label().startswith("linear"))
    np.testing.assert_allclose(points.get_ydata(), gap, rtol=1e-12)
    bars = np.array(left.collections[0].get_segments())[:, :, 1]
    np.testing.assert_allclose(bars, gap[:, None] + [-2.0, 1.0], rtol=1e-9)
    np.testing.assert_allclose([bar.get_height() for bar in right.patches], 4 * result["pit_share"], rtol=1e-12)
    centres = [bar.get_x() + bar.get_width() / 2 for bar in right.patches]
    np.testing.assert_allclose(centres, [0.125, 0.375, 0.625, 0.875], rtol=1e-12)
    bars = np.array(right.collections[0].get_segments())[:, :, 1]
    np.testing.assert_allclose(bars, 4 * result["pit_share"].values[:, None] * [0.8, 1.3], rtol=1e-9)


def test_reliability_says_verdicts_sample_and_doubt() -> None:
    few = calibration(2, "warn").assign_attrs(verdict="INCONCLUSIVE", p_value=np.nan, sample="6 months")
    shown = texts(plots.plot_reliability({"deep": few, "linear": calibration(1)}))
    assert "deep: INCONCLUSIVE\n" in shown
    assert "linear: not calibrated: too narrow (p = 0.012)" in shown
    assert "6 months. Bars: 95% intervals from the spread of months" in shown
    assert "deep: fit status WARN" in shown
    sure = calibration(1).assign_attrs(p_value=1e-9)
    assert "(p < 0.001)" in texts(plots.plot_reliability({"linear": sure}))


def test_rank_weights_are_those_of_the_component_in_percent_of_a_leg() -> None:
    from bayesfactor.components.rank_weights import effective_number, rank_weights

    rng = np.random.default_rng(1)
    values = {"deep 1": rng.standard_normal(500), "deep 2": rng.exponential(size=500)}
    left, right = plots.plot_rank_weights(values, form="softmax", n_stocks=300).axes
    assert [line.get_label().split(":")[0] for line in right.lines[:2]] == list(values)
    for line, characteristic in zip(right.lines, values.values(), strict=False):
        legs = rank_weights(np.sort(characteristic)[:, None], np.ones(500, bool), "softmax")
        np.testing.assert_allclose(line.get_ydata(), 100 * legs.net[:, 0], rtol=1e-5)
        np.testing.assert_allclose(line.get_xdata(), (np.arange(500) + 0.5) / 5)
        largest, number = 100 * float(legs.net.max()), float(effective_number(legs.long)[0])
        assert f"long {number:,.0f}, {largest:.2f}%;" in line.get_label()
    equal = next(line for line in left.lines if line.get_label().startswith("equal"))
    np.testing.assert_allclose(equal.get_ydata(), np.repeat([-1.0, 0.0, 1.0], 100), rtol=1e-6)
    assert left.get_ylim() == right.get_ylim()


def test_rank_weights_by_default_are_the_figure_of_the_paper() -> None:
    figure = plots.plot_rank_weights()
    shown = texts(figure)
    assert "3,000 stocks, normal characteristics" in shown
    assert "Weights by distribution: exponential" in shown
    for name in ("exponential", "softmax", "linear", "equal", "normal", "log-normal", "uniform"):
        assert f"{name}: long " in shown
    normal, skewed, bounded = (line.get_ydata() for line in figure.axes[1].lines[:3])
    np.testing.assert_array_equal(normal, figure.axes[0].lines[0].get_ydata())
    # As the paper describes: the bounded one holds more of the middle and less of the ends, the skewed one few stocks
    # in its long leg and most of the lower half in its short one.
    assert bounded[2100] > 2 * normal[2100]
    assert bounded[-1] < normal[-1]
    assert (skewed > 1e-3).sum() < 600
    assert (skewed < -1e-3).sum() > 1100
