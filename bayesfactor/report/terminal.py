"""Results as tables on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.panel import Panel as Box
from rich.table import Table
from rich.text import Text

from bayesfactor.panel.periods import show
from bayesfactor.report.labels import no_alpha_words, probability, status_label

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from bayesfactor.calibration import CalibrationResult
    from bayesfactor.evaluation.forecasts import Forecasts
    from bayesfactor.inference import Fit
    from bayesfactor.panel.examination import Examination

STATUS_STYLE = {"ok": "bold green", "warn": "bold yellow", "failed": "bold red"}
ENDS = 5  # assets shown at each end of a forecast
SPANS, ROWS, EXTREMES = 6, 10, 3  # of an examination: spans of time, characteristics, returns


def print_facts(console: Console, facts: Iterable[tuple[str, str]]) -> None:
    """Pairs of what and what was found."""
    table = _table("", ["what", "found"], numbers=False)
    for what, found in facts:
        table.add_row(Text(what), Text(found))
    console.print(table)


def print_study(console: Console, result: CalibrationResult) -> None:
    """Ranks and coverage of every quantity, and the verdict."""
    data = result.attempts[-1]
    n = data.sizes["fit"]
    if n:
        prob = f"{data.attrs['prob']:.0%} band covers"
        table = _table(f"Ranks of the truth in {n} fits", ["quantity", "p of uniform ranks", prob, "holds"])
        for name, row in result.table().iterrows():
            style = "" if row["passes"] else "bold red"
            holds = "yes" if row["passes"] else "NO"
            table.add_row(Text(str(name)), f"{row['p_value']:.4f}", f"{row['coverage']:.1%}", holds, style=style)
        console.print(table)
        told = ", ".join(f"{name} {value:.0f}" for name, value in result.diagnostics().items() if "minutes" not in name)
        console.print(Text(f"All fits count. {told}."))
    for reason in result.reasons:
        console.print(Text(f"  {reason}", style="red"))
    run = ", second run on fresh seeds" if len(result.attempts) > 1 else ""
    style = {"passes": "bold green", "fails": "bold red", "unfinished": "bold yellow"}[result.status]
    verdict = {"passes": "CALIBRATED", "fails": "NOT CALIBRATED", "unfinished": "NO VERDICT YET"}[result.status]
    console.print(Text(f"{verdict}: {n} of {result.fits} fits{run}", style=style))


def print_frame(console: Console, frame: pd.DataFrame, title: str) -> None:
    """A DataFrame as it is, index first."""
    table = _table(title, [str(frame.index.name or ""), *map(str, frame.columns)], narrow=True)
    for label, row in frame.iterrows():
        shown = f"{label:%Y-%m-%d}" if hasattr(label, "strftime") else str(label)
        table.add_row(Text(shown), *(Text(_number(value)) for value in row))
    console.print(table)


def print_examination(console: Console, examination: Examination, frequency: str) -> None:
    """What is in a raw panel, a screen of it: spans of time, the characteristics to look at first, findings, advice."""
    periods = examination.periods
    columns = ["periods", "assets", "in", "out", "returns", "coverage", "mean %", "sd %", "largest %"]
    table = _table("Over time, averages of periods; in and out are totals", columns, narrow=True)
    for part in np.array_split(np.arange(len(periods)), min(SPANS, len(periods))):
        rows = periods.iloc[part]
        ends = dict.fromkeys(show(rows.index[place], frequency) for place in (0, -1))
        returns = rows["largest_return"].to_numpy()
        largest = returns[np.nan_to_num(np.abs(returns)).argmax()]
        table.add_row(
            " to ".join(ends),
            f"{rows['assets'].mean():,.0f}",
            f"{rows['entries'].sum():,}",
            f"{rows['exits'].sum():,}",
            f"{rows['observed'].sum() / max((rows['observed'] > 0).sum(), 1):,.0f}",
            f"{100 * rows['coverage'].mean():.1f}%",
            *(_percent(rows[name].mean()) for name in ("mean_return", "sd_return")),
            _percent(largest),
        )
    console.print(table)
    console.print()
    _print_characteristics(console, examination)
    largest_returns = ", ".join(
        f"{row['asset']} {show(row['time'], frequency)} {100 * row['return']:+.0f}% "
        f"({100 * row['share_of_squares']:.2g}%)"
        for _, row in examination.extremes.iloc[:EXTREMES].iterrows()
    )
    console.print(Text(f"Largest returns (share of all squared returns): {largest_returns or 'none'}"))
    _print_list(console, "To look into", examination.findings, "yellow")
    _print_list(console, "Suggested", examination.suggestions, "cyan")


def _print_characteristics(console: Console, examination: Examination) -> None:
    """The characteristics to look at first: suspect ones, then those that miss, tie or repeat most."""
    table = examination.characteristics
    doubt = table[["missing", "worst_period", "tied"]].max(axis=1) + examination.suspect
    first = table.loc[doubt.sort_values(ascending=False, kind="stable").index[:ROWS]]
    columns = ["characteristic", "missing", "worst", "flat", "tied", "repeated", "corr", "corr before", "bound"]
    title = "Characteristics"
    if len(first) < len(table):
        title += f", the {len(first)} to look at first of {len(table)}"
    shown = _table(title, columns, narrow=True)
    for (name, row), suspect in zip(first.iterrows(), examination.suspect.loc[first.index], strict=True):
        shares = (_share(row[column]) for column in ("missing", "worst_period"))
        more = (_share(row[column]) for column in ("tied", "repeated"))
        correlations = (_signed(row[column]) for column in ("with_return", "with_previous"))
        style = "bold red" if suspect else ""
        flat, bound = f"{row['flat_periods']:.0f}", _signed(row["bound"]).lstrip("+")
        shown.add_row(Text(str(name)), *shares, flat, *more, *correlations, bound, style=style)
    console.print(shown)
    console.print(
        Text(
            "worst: missing in the worst period. flat: periods constant or missing for all. tied: shared with another "
            "asset. repeated: as the period before. corr: mean rank correlation with the row's own return, which "
            "should stay within the bound; before: with the return before it.",
            style="dim",
        )
    )


def _print_list(console: Console, title: str, lines: Sequence[str], style: str) -> None:
    if lines:
        console.print(Text(f"{title}:", style="bold"))
        table = Table.grid(padding=(0, 1))
        for line in lines:
            table.add_row(Text(" •", style=style), Text(line, style=style, overflow="fold"))
        console.print(table)


def print_fit(console: Console, name: str, fit: Fit) -> None:
    """Status of a fit, and why."""
    line = Text.assemble(f"{name}: ", (fit.status, STATUS_STYLE[fit.status]), f"   {fit.model}")
    console.print(line)
    for reason in fit.reasons:
        console.print(Text(f"  {reason}", style=STATUS_STYLE[fit.status]))


def print_sensitivities(console: Console, name: str, result: xr.Dataset, top: int | None = None) -> None:
    """Bands of what each characteristic earns, largest mean first; the `top` by rank only if given."""
    places = np.argsort(-result["mean"].values)
    if top is not None and top < len(places):
        strongest = set(np.argsort(result["rank_median"].values, kind="stable")[:top].tolist())
        places = np.array([place for place in places if place in strongest])
    title = f"{name}: sensitivity, % per period per unit of the prepared characteristic"
    if len(places) < result.sizes["characteristic"]:
        title += f" (the {len(places)} strongest of {result.sizes['characteristic']})"
    table = _table(_labelled(title, result), ["characteristic", "mean", f"{_prob(result)} band", "P(> 0)", "rank"])
    for place in places:
        row = result.isel(characteristic=int(place))
        table.add_row(Text(str(row["characteristic"].item())), *_band_cells(row), style=_clear_style(row))
    console.print(table)


def print_interactions(console: Console, name: str, result: xr.Dataset) -> None:
    """Bands of pairs, strongest first."""
    title = f"{name}: interactions, % per period per unit of both prepared characteristics"
    table = _table(_labelled(title, result), ["pair", "mean", f"{_prob(result)} band", "P(> 0)", "rank"])
    for place in range(result.sizes["pair"]):
        row = result.isel(pair=place)
        pair = f"{row['characteristic'].item()} × {row['characteristic_2'].item()}"
        table.add_row(Text(pair), *_band_cells(row), style=_clear_style(row))
    console.print(table)


def print_forecast(console: Console, name: str, result: xr.Dataset) -> None:
    """Both ends of the cross-section of each forecast period."""
    for when in range(result.sizes["time"]):
        month = result.isel(time=when)
        month = month.isel(asset=np.flatnonzero(np.isfinite(month["mean"].values))).sortby("mean", ascending=False)
        count = month.sizes["asset"]
        each = min(ENDS, count // 2)
        day = np.datetime_as_string(month["time"].values, unit="D")
        title = f"{name}: forecast for the period ending {day}, % ({count:,} assets, both ends)"
        table = _table(_labelled(title, result), ["asset", "expected", f"{_prob(result)} band", "predictive sd"])
        for place in (*range(each), *range(count - each, count)):
            row = month.isel(asset=int(place))
            sd = f"{100 * row['predictive_sd'].item():.1f}"
            table.add_row(Text(str(row["asset"].item())), *_band_cells(row)[:2], sd, end_section=place == each - 1)
        console.print(table)


def print_bands(
    console: Console, title: str, result: xr.Dataset, row: str, column: str, scale: float = 1.0, sign: str = "+"
) -> None:
    """Means and bands, one line for each label of `row`; labels of `column` beside each other, as many as fit."""
    labels = _row_labels(result, row)
    columns = [str(label) for label in result[column].values]
    room = console.width - max(map(len, [row.replace("_", " "), *labels])) - 4
    cells = {
        name: [_cell(result.isel({row: place, column: index}), scale, sign) for place in range(len(labels))]
        for index, name in enumerate(columns)
    }
    width = 3 + max(len(text) for text in [*columns, *(cell.plain for lines in cells.values() for cell in lines)])
    at_once = max(1, room // width)
    head = _labelled(f"{title}: mean and {_prob(result)} band", result)
    for first in range(0, len(columns), at_once):
        shown = columns[first : first + at_once]
        table = _table(head if first == 0 else "", [row.replace("_", " "), *shown])
        for place, label in enumerate(labels):
            table.add_row(Text(label), *(cells[name][place] for name in shown))
        console.print(table)


def _row_labels(result: xr.Dataset, row: str) -> list[str]:
    if row == "time":
        return [show(when, result.attrs["frequency"]) for when in result.indexes["time"]]
    return [str(label) for label in result[row].values]


def _cell(row: xr.Dataset, scale: float, sign: str) -> Text:
    """Mean and band; what has a sign is bold where the band excludes zero."""
    mean, lower, upper = (f"{scale * row[name].item():{sign}.2f}" for name in ("mean", "lower", "upper"))
    return Text(f"{mean} ({lower} to {upper})", style=_clear_style(row) if sign else "")


def print_factors(console: Console, name: str, result: xr.Dataset, last: int) -> None:
    """What each factor earned in the last periods, or summed up to them."""
    summed = result.attrs["quantity"].startswith("cumulative")
    title = f"{name}: {'running sum of what' if summed else 'what'} the deep factors earned, %"
    if last < result.sizes["time"]:
        title += f" (the last {last} of {result.sizes['time']:,} periods)"
    print_bands(console, title, result.isel(time=slice(-last, None)), "time", "factor", 100.0)


def print_importance(console: Console, name: str, result: xr.Dataset) -> None:
    """How much each characteristic moves the deep characteristics, the largest total first."""
    order = np.argsort(-result["mean"].sum("factor").values, kind="stable")
    title = f"{name}: importance, sd of the deep characteristic per unit of the prepared characteristic"
    print_bands(console, title, result.isel(characteristic=order), "characteristic", "factor", sign="")


def print_loadings(console: Console, name: str, result: xr.Dataset) -> None:
    """Loadings of every test asset."""
    print_bands(console, f"{name}: loadings", result, "test_asset", "priced_factor")


def print_alphas(console: Console, name: str, result: xr.Dataset, statement: pd.Series) -> None:
    """Alphas of every test asset, the largest first, and what is said of all of them."""
    title = _labelled(f"{name}: alpha, % per period", result)
    table = _table(title, ["test asset", "mean", f"{_prob(result)} band", "P(> 0)"])
    for place in np.argsort(-result["mean"].values, kind="stable"):
        row = result.isel(test_asset=int(place))
        cells = [*_band_cells(row), f"{row['prob_positive'].item():.2f}"]
        table.add_row(Text(str(row["test_asset"].item())), *cells, style=_clear_style(row))
    console.print(table)
    for sentence in no_alpha_words(statement):
        console.print(Text(sentence))


def print_sharpe_ratios(console: Console, name: str, ratios: pd.DataFrame) -> None:
    """Annual Sharpe ratios beside their prior."""
    band = f"{100 * ratios.attrs['prob']:g}% band"
    table = _table(_labelled(f"{name}: Sharpe ratio, annual", ratios), ["of", "mean", band, "prior mean", "P(> prior)"])
    for label, row in ratios.iterrows():
        cells = f"{row['mean']:.2f}", f"{row['lower']:.2f} to {row['upper']:.2f}", f"{row['prior_mean']:.2f}"
        table.add_row(Text(str(label)), *cells, f"{row['prob_beyond_prior']:.2f}")
    console.print(table)
    console.print(
        "The largest ratio cannot fall when factors are added: read a gain against its prior. P(> prior) is near 0.5 "
        "where the data say nothing."
    )


def print_holdings(console: Console, name: str, held: pd.DataFrame, when: str) -> None:
    """The largest holdings of each leg of a period."""
    title = _labelled(f"{name}: holdings of {when}, % of the leg", held)
    table = _table(title, ["factor", "leg", "asset", "mean", f"{100 * held.attrs['prob']:g}% band"])
    for place, (_, row) in enumerate((lines := held.reset_index()).iterrows()):
        first = row["rank"] == 1
        last = place + 1 == len(lines) or lines["rank"][place + 1] == 1
        words = (
            row["factor"] if first and row["leg"] == "long" else "",
            row["leg"] if first else "",
            str(row["asset"]),
        )
        cells = f"{100 * row['mean']:+.2f}", f"{100 * row['lower']:+.2f} to {100 * row['upper']:+.2f}"
        table.add_row(*map(Text, words), *cells, end_section=bool(last))
    console.print(table)


def print_forecasts(console: Console, forecasts: Forecasts) -> None:
    """What was forecast out of sample and how far off it was, a line a window."""
    from bayesfactor.evaluation import metrics

    attrs, windows = forecasts.data.attrs, forecasts.windows
    frequency = attrs["frequency"]
    table = _table(f"{forecasts.name}: {attrs['windows']}", ["learned to", "forecast", "score", "status"], narrow=True)
    scores = forecasts.data["score"].to_series().groupby(forecasts.data["window"].to_numpy()).sum()
    for score, (_, row) in zip(scores, windows.iterrows(), strict=True):
        learned = row["train_last"] if np.isnat(row["validation_last"].to_datetime64()) else row["validation_last"]
        ends = dict.fromkeys(show(row[end], frequency) for end in ("test_first", "test_last"))
        status = Text(row["status"], STATUS_STYLE[row["status"]])
        table.add_row(show(learned, frequency), " to ".join(ends), f"{score:,.1f}", status)
    console.print(table)
    if not forecasts.n_judged:
        console.print("No return has come yet: nothing to judge.")
        return
    judged = forecasts.judged
    mean, came = judged.data["mean"], judged.data["realised"]
    within = (judged.data["quantiles"].sel(quantile=0.05) <= came) & (
        came <= judged.data["quantiles"].sel(quantile=0.95)
    )
    share = within.where(came.notnull()).mean("asset").mean("time")
    own, common = (float(judged.data[name].sum()) for name in ("score", "common_score"))
    console.print(
        f"{forecasts.n_judged} periods judged: R2 {float(metrics.predictive_r2(mean, came)):+.2%} against zero; 90% "
        f"bands hold {float(share):.0%} of the returns; log score {own:,.1f} nats, {common:,.1f} of the mean under the "
        "common month law."
    )
    for reason, count in forecasts.doubts.head(ROWS).items():
        console.print(Text(f"  {count} of {len(windows)} windows: {reason}", style="yellow"))


def print_calibration(console: Console, results: Mapping[str, xr.Dataset]) -> None:
    """What share of returns the central bands of several forecasters hold, and their CRPS."""
    levels = [float(level) for level in next(iter(results.values()))["level"]]
    columns = ["forecaster", *(f"{level:.0%} band" for level in levels), "CRPS %", "verdict"]
    table = _table("Share of returns inside the bands, months weighing the same", columns, narrow=True)
    for name, result in results.items():
        shares = [f"{100 * share:.1f}" for share in result["coverage"].values]
        verdict = result.attrs["verdict"].removeprefix("not calibrated: ")
        table.add_row(Text(name), *shares, f"{100 * float(result['crps']):.3f}", verdict)
    console.print(table)


def print_comparison(console: Console, table: pd.DataFrame) -> None:
    """The comparison, its verdict first; intervals of the differences where it gives probabilities."""
    from bayesfactor.evaluation.compare import difference_intervals

    verdict, sample = table.attrs["verdict"], table.attrs["sample"]
    inconclusive = verdict == "INCONCLUSIVE"
    span = f"{table.attrs['first_month']} to {table.attrs['last_month']}"
    words = f"{sample} ({span}) cannot decide; no probability is given." if inconclusive else f"{sample}, {span}."
    console.print(
        Box(
            Text.assemble((verdict, "bold"), "\n", words, _how(table)),
            border_style="yellow" if inconclusive else "green",
            title="Which model predicts better",
            title_align="left",
            expand=False,
        )
    )
    columns = ["model", "log score", "difference", "error" if inconclusive else "95% interval", "P(better)", "weight"]
    shown = _table("Log scores in nats", columns, narrow=True)
    intervals = difference_intervals(table)
    ends = zip(intervals["lower"], intervals["upper"], strict=True)
    for (model, row), (lower, upper) in zip(table.iterrows(), ends, strict=True):
        is_best = model == table.index[0]
        width = f"{row['diff_se']:,.1f}" if inconclusive else f"{lower:,.1f} to {upper:,.1f}"
        shown.add_row(
            Text(str(model)),
            f"{row['elpd']:,.1f}",
            "best" if is_best else f"{row['elpd_diff']:,.1f}",
            "" if is_best else width,
            probability(row["prob_better"]),
            f"{row['weight']:.2f}",
        )
    console.print(shown)
    for model, row in table.iterrows():
        if row["warnings"]:
            console.print(Text(f"  {model}: {row['warnings']}", style="yellow"))


def _how(table: pd.DataFrame) -> str:
    """What was compared, where the table says so: windows, the kind of score, live periods left out."""
    if "n_windows" not in table.attrs:
        return ""
    windows, live = table.attrs["n_windows"], table.attrs["n_live_months"]
    kind = {
        "own density": "Each forecaster's own density",
        "common covariance": "Means under one common covariance",
    }
    left_out = f"; {live} live period{'s' * (live > 1)} left out" if live else ""
    return f"\n{kind[table.attrs['score']]}, {windows} window{'s' * (windows > 1)}{left_out}."


def _labelled(title: str, result: xr.Dataset | pd.DataFrame) -> Text:
    """A title, and on a line of its own the label of a fit that is not ``ok``."""
    label = status_label(result)
    if not label:
        return Text(title)
    return Text.assemble(title, "\n", (label, STATUS_STYLE.get(result.attrs.get("status", ""), "bold red")))


def _table(title: str | Text, columns: Sequence[str], *, numbers: bool = True, narrow: bool = False) -> Table:
    """An empty table; `narrow` has no lines between columns, and where it is still too wide names are broken."""
    lines: dict[str, Any] = {"box": SIMPLE_HEAD, "padding": 0, "pad_edge": False, "show_edge": False} if narrow else {}
    table = Table(title=Text(title) if isinstance(title, str) else title, header_style="bold", **lines)
    table.title_justify, table.title_style = "left", "bold"
    for place, column in enumerate(columns):
        table.add_column(
            Text(column),
            justify="right" if numbers and place else "left",
            no_wrap=numbers and not (narrow and place == 0),
            overflow="fold",
        )
    return table


def _band_cells(row: xr.Dataset) -> list[str]:
    """Mean, band, probability of a positive sign and rank interval of one row."""
    cells = [
        f"{100 * row['mean'].item():+.2f}",
        f"{100 * row['lower'].item():+.2f} to {100 * row['upper'].item():+.2f}",
    ]
    if "rank_lower" in row:
        cells.append(f"{row['prob_positive'].item():.2f}")
        cells.append(f"{row['rank_lower'].item():.0f} to {row['rank_upper'].item():.0f}")
    return cells


def _clear_style(row: xr.Dataset) -> str:
    """Bold where the band excludes zero."""
    return "bold" if row["lower"].item() > 0 or row["upper"].item() < 0 else ""


def _prob(result: xr.Dataset) -> str:
    return f"{100 * float(result.attrs['prob']):g}%"


def _percent(value: float) -> str:
    return "" if np.isnan(value) else f"{100 * value:.1f}"


def _share(value: float) -> str:
    return "" if np.isnan(value) else f"{100 * value:.0f}%"


def _signed(value: float) -> str:
    return "" if np.isnan(value) else f"{value:+.2f}"


def _digits(value: float) -> str:
    return ".4g" if abs(value) >= 1 else ".3g"


def _number(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() and abs(value) >= 1 else f"{value:{_digits(value)}}"
    return str(value)
