"""One self-contained HTML page: figures inside, nothing loaded from anywhere, every text escaped."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

import bayesfactor
from bayesfactor.report.cells import PERIODS
from bayesfactor.report.findings import Findings

if TYPE_CHECKING:
    import pandas as pd

    from bayesfactor.inference import Fit
    from bayesfactor.panel import Panel


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
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("bayesfactor.report"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    page = environment.get_template("page.html").render(_content(findings), title=title, attribution=attribution)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(page, encoding="utf-8")
    partial.replace(path)
    return path


def _content(findings: Findings) -> dict[str, Any]:
    """Words and numbers of the page, formatted."""
    panel = findings.panel
    return {
        "data_facts": _data_facts(findings),
        "warnings": panel.warnings,
        "history": panel.history,
        "models": [_model(name, fit) for name, fit in findings.fits.items()],
        "parts": [{"template": part.template, **part.content(findings)} for part in findings.parts],
        "provenance": {name: _provenance(fit) for name, fit in findings.fits.items()},
        "version": bayesfactor.__version__,
    }


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
    told = [fact for part in findings.parts for fact in part.facts()]
    return [*facts, *told, ("fingerprint", panel.fingerprint)]


def _model(name: str, fit: Fit) -> dict[str, str]:
    return {
        "name": name,
        "status": fit.status,
        "reasons": "; ".join(fit.reasons),
        "likelihood": fit.likelihood_kind,
        "model": str(fit.model),
    }


def _provenance(fit: Fit) -> list[tuple[str, str]]:
    facts: list[tuple[str, str]] = []
    for key, value in fit.provenance.items():
        if isinstance(value, Mapping):
            facts += [(f"{key}: {inner}", str(content)) for inner, content in value.items()]
        else:
            facts.append((str(key), str(value)))
    return facts
