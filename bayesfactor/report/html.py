"""One self-contained HTML page: figures inside, nothing loaded from anywhere, every text escaped."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np

import bayesfactor
from bayesfactor import plots
from bayesfactor.report.findings import Findings
from bayesfactor.report.labels import status_label

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.figure import Figure

    from bayesfactor.inference import Fit
    from bayesfactor.panel import Panel

UNIT_WORDS = {
    "rank": "Characteristics are ranks from -1 to 1: one unit is the way from the median stock to the top.",
    "standardise": "Characteristics are z-scores, so one unit is one cross-sectional standard deviation.",
    "raw": "",
}
PERIODS = {"monthly": "month", "weekly": "week", "daily": "day"}
ENDS = 8  # assets listed at each end of a forecast


def write_report(path: str | os.PathLike[str], findings: Findings, *, title: str, attribution: str = "") -> Path:
    """Write what fits say about a panel as one HTML file.

    Parameters
    ----------
    path : where; written beside it first, then renamed, so that no torn file is left.
    findings : what `gather` returned.
    title : heading of the page.
    attribution : source and licence of the data, where they ask to be named.

    Returns
    -------
    Path of the file.
    """
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(files("bayesfactor.report").joinpath("template.html").read_text("utf-8"))
    page = template.render(_content(findings), title=title, attribution=attribution)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(page, encoding="utf-8")
    partial.replace(path)
    return path


def _content(findings: Findings) -> dict[str, Any]:
    """Words and numbers of the page, formatted."""
    panel, names = findings.panel, list(findings.fits)
    first = next(iter(findings.sensitivities.values()))
    return {
        "question": _question(findings),
        "data_facts": _data_facts(findings),
        "warnings": panel.warnings,
        "history": panel.history,
        "models": [_model(name, fit) for name, fit in findings.fits.items()],
        "unit_words": UNIT_WORDS[panel.preparation],
        "period": PERIODS[panel.frequency],
        "band": f"{100 * float(first.attrs['prob']):g}%",
        "sensitivity_tables": {name: _sensitivity_rows(findings.sensitivities[name]) for name in names},
        "sensitivity_labels": {name: status_label(findings.sensitivities[name]) for name in names},
        "interaction_labels": {name: status_label(result) for name, result in findings.interactions.items()},
        "without_interactions": [name for name in names if name not in findings.interactions],
        "figures": _figures(findings),
        **_comparison(findings),
        "forecasts": [_forecast(name, result) for name, result in findings.forecasts.items()],
        "provenance": {name: _provenance(fit) for name, fit in findings.fits.items()},
        "version": bayesfactor.__version__,
    }


def _question(findings: Findings) -> str:
    count = len(findings.train.characteristics)
    return (
        f"How do the expected excess returns of {findings.panel.data.sizes['asset']:,} assets respond to "
        f"{count} characteristics known beforehand, how sure is that, and which of {len(findings.fits)} "
        f"model{'s' if len(findings.fits) > 1 else ''} ({', '.join(findings.fits)}) predicts better?"
    )


def _span(panel: Panel) -> str:
    day = "%Y-%m" if panel.frequency == "monthly" else "%Y-%m-%d"
    period = PERIODS[panel.frequency]
    count = len(panel.times)
    return f"{panel.times[0]:{day}} to {panel.times[-1]:{day}} ({count} {period}{'s' if count > 1 else ''})"


def _range(counts: pd.Series) -> str:
    """Smallest to largest count, once where they agree."""
    low, high = counts.min(), counts.max()
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _data_facts(findings: Findings) -> list[tuple[str, str]]:
    panel = findings.panel
    described = panel.describe()
    facts = [
        ("panel", f"{panel.frequency}, {_span(panel)}"),
        ("assets", f"{_range(described['assets'])} in a {PERIODS[panel.frequency]}"),
        ("returns observed", f"{int(described['observed'].sum()):,}"),
        ("characteristics", f"{len(panel.characteristics)}: {', '.join(panel.characteristics)}"),
        ("cells with a value", f"{100 * described['coverage'].mean():.1f}% before preparation"),
        ("preparation", panel.preparation),
        ("training window", _span(findings.train)),
        ("scored afterwards", _span(findings.test) if findings.test is not None else "none"),
    ]
    if findings.forecasts:
        times = next(iter(findings.forecasts.values())).indexes["time"]
        facts.append(("live", ", ".join(f"{time:%Y-%m-%d}" for time in times)))
    return [*facts, ("fingerprint", panel.fingerprint)]


def _model(name: str, fit: Fit) -> dict[str, str]:
    return {"name": name, "status": fit.status, "reasons": "; ".join(fit.reasons), "model": str(fit.model)}


def _percent(value: float) -> str:
    return f"{100 * value:+.2f}"


def _band(row: xr.Dataset) -> str:
    return f"{_percent(row['lower'].item())} to {_percent(row['upper'].item())}"


def _sensitivity_rows(result: xr.Dataset) -> list[dict[str, Any]]:
    rows = []
    for place in np.argsort(-result["mean"].values):
        row = result.isel(characteristic=int(place))
        rows.append(
            {
                "label": str(row["characteristic"].item()),
                "mean": _percent(row["mean"].item()),
                "band": _band(row),
                "prob_positive": f"{row['prob_positive'].item():.2f}",
                "rank": f"{row['rank_lower'].item():.0f} to {row['rank_upper'].item():.0f}",
                "excludes_zero": bool(row["lower"] > 0 or row["upper"] < 0),
            }
        )
    return rows


def _comparison(findings: Findings) -> dict[str, Any]:
    table = findings.comparison
    if table is None:
        return {"comparison": [], "not_compared": findings.not_compared}
    verdict = table.attrs["verdict"]
    rows = [
        {
            "model": model,
            "elpd": f"{row['elpd']:,.1f}",
            "diff": f"{row['elpd_diff']:,.1f}",
            "diff_se": f"{row['diff_se']:,.1f}",
            "prob": "not given" if np.isnan(row["prob_better"]) else f"{row['prob_better']:.2f}",
            "weight": f"{row['weight']:.2f}",
            "r2": f"{100 * findings.predictive_r2[str(model)]:+.2f}%",
            "warnings": row["warnings"],
        }
        for model, row in table.iterrows()
    ]
    sample = table.attrs["sample"]
    inconclusive = verdict == "INCONCLUSIVE"
    return {
        "comparison": rows,
        "not_compared": "",
        "verdict": verdict,
        "inconclusive": inconclusive,
        "verdict_words": (
            f"{sample} cannot decide between models, whatever the numbers below look like. No probability is given."
            if inconclusive
            else f"Judged on {sample} that no model has seen."
        ),
        "test_span": f"{table.attrs['first_month']} to {table.attrs['last_month']}",
    }


def _forecast(name: str, result: xr.Dataset) -> dict[str, Any]:
    month = result.isel(time=-1)
    month = month.isel(asset=np.flatnonzero(np.isfinite(month["mean"].values))).sortby("mean", ascending=False)
    count = month.sizes["asset"]
    each = min(ENDS, count // 2)
    rows = [month.isel(asset=int(place)) for place in (*range(each), *range(count - each, count))]
    return {
        "name": name,
        "label": status_label(result),
        "when": np.datetime_as_string(month["time"].values, unit="D"),
        "figure": _embedded(plots.plot_forecast(result, name=name)),
        "rows": [
            {
                "asset": str(row["asset"].item()),
                "mean": _percent(row["mean"].item()),
                "band": _band(row),
                "predictive_sd": f"{100 * row['predictive_sd'].item():.1f}",
            }
            for row in rows
        ],
    }


def _figures(findings: Findings) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "sensitivities": _embedded(plots.plot_sensitivities(findings.sensitivities)),
        "interactions": {
            name: _embedded(plots.plot_interactions(result, name=name))
            for name, result in findings.interactions.items()
        },
    }
    if findings.comparison is not None:
        figures["scores"] = _embedded(plots.plot_month_scores(findings.scores, reference=next(iter(findings.scores))))
    return figures


def _provenance(fit: Fit) -> list[tuple[str, str]]:
    facts: list[tuple[str, str]] = []
    for key, value in fit.provenance.items():
        if isinstance(value, Mapping):
            facts += [(f"{key}: {inner}", str(content)) for inner, content in value.items()]
        else:
            facts.append((str(key), str(value)))
    return facts


def _embedded(figure: Figure) -> str:
    """The figure as a data URI, so that the page needs no other file."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
