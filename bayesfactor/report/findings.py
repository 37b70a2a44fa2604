"""Everything a report shows, asked of the quantities and the evaluation in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from bayesfactor.errors import AlignmentError, EmptyWindowError
from bayesfactor.report.fundamental import FundamentalFindings
from bayesfactor.report.sorted_factors import SortedFindings

if TYPE_CHECKING:
    from bayesfactor.inference import Fit
    from bayesfactor.panel import Panel


class Split(NamedTuple):
    """A panel, its months that fits learned from, later ones with returns, and live ones; None where there are none."""

    panel: Panel
    train: Panel
    test: Panel | None
    live: Panel | None


class Part(Protocol):
    """What fits of one family of models say: its results, and the sections that show them."""

    template: ClassVar[str]  # of the sections, in the folder of templates

    def facts(self) -> list[tuple[str, str]]:
        """Lines for the table about the data."""

    def content(self, findings: Findings) -> dict[str, Any]:
        """Words, numbers and figures that the template shows as `part`; `question` stands at the top of the page."""


# Every fit belongs to the first family that speaks of it.
FAMILIES = (FundamentalFindings, SortedFindings)


@dataclass(frozen=True)
class Findings:
    """What fits say about a panel.

    Parameters
    ----------
    panel : the whole panel.
    train : its months that the fits learned from.
    test : its later months with returns; None where there are none.
    fits : by name of the model.
    parts : what the fits of each family of models say, `FundamentalFindings` and `SortedFindings`.
    """

    panel: Panel
    train: Panel
    test: Panel | None
    fits: Mapping[str, Fit]
    parts: tuple[Part, ...]


def training_window(fit: Fit, panel: Panel) -> Panel:
    """The months of a panel that a fit learned from.

    Parameters
    ----------
    fit : Fit.
    panel : Panel that holds its training months.

    Returns
    -------
    Panel.

    Raises
    ------
    AlignmentError
        If the panel lacks one of the months.
    """
    lacking = fit.train_times.difference(panel.times)
    if len(lacking):
        raise AlignmentError(
            f"the panel must hold the months the fit learned from: {len(lacking)} of {len(fit.train_times)} "
            f"are absent, first {lacking[0]:%Y-%m-%d}. Usually another file, or another lag= than the fit "
            "was made with."
        )
    return panel.sel(time=list(fit.train_times))


def different_training_data(fit: Fit, train: Panel) -> str:
    """How a training window differs from what a fit learned from, by its fingerprint; empty where it does not.

    Parameters
    ----------
    fit : Fit.
    train : the same months of the panel at hand, as ``training_window`` gives them.

    Returns
    -------
    One message: what must hold, how both were read, the usual cause and the remedy.
    """
    if train.fingerprint == fit.panel_fingerprint:
        return ""
    learned, given = (tuple(lines) for lines in (fit.provenance.get("panel_history", ()), train.history))
    return (
        "in the training months the panel must be what the fit learned from: fingerprint "
        f"{train.fingerprint[:12]}, the fit's is {fit.panel_fingerprint[:12]}. The fit's panel: "
        f"{_made(learned, given) or 'history not recorded'}. This one: {_made(given, learned) or 'no history'}. "
        "Usually another file or a revised one, or other reading options: returns column, units, excess or raw, "
        "lag, characteristics, size, universe, what is joined. Read the file as for the fit, or fit again."
    )


def _made(lines: tuple[str, ...], other: tuple[str, ...]) -> str:
    """How a panel was read, and what was joined to it that was not joined to the other one."""
    return "; ".join([*lines[:1], *(line for line in lines[1:] if line.startswith("join_") and line not in other)])


def require_training_data(fit: Fit, panel: Panel) -> Panel:
    """The training window of a fit, refused where it is not what the fit learned from.

    Parameters
    ----------
    fit : Fit.
    panel : Panel that holds its training months.

    Returns
    -------
    Panel.

    Raises
    ------
    AlignmentError
        If the panel lacks one of the months, or differs in them: returns, characteristics, assets.
    """
    train = training_window(fit, panel)
    different = different_training_data(fit, train)
    if different:
        raise AlignmentError(different)
    return train


def later_months(panel: Panel, fit: Fit) -> tuple[Panel | None, Panel | None]:
    """The months after a fit's training window: those with returns, and the live ones without.

    Parameters
    ----------
    panel : Panel.
    fit : Fit.

    Returns
    -------
    Two Panels, None where there is no such month.
    """
    after = panel.times[panel.times > fit.train_times[-1]]
    if not len(after):
        return None, None
    later = panel.sel(time=slice(after[0], after[-1]))
    try:
        live = later.live
    except EmptyWindowError:
        return later, None
    scored = later.times.difference(live.times)
    return (later.sel(time=list(scored)) if len(scored) else None), live


def gather(
    fits: Mapping[str, Fit],
    panel: Panel,
    *,
    prob: float = 0.9,
    top: int = 15,
    tell: Callable[[str], None] = lambda step: None,
) -> Findings:
    """Ask every quantity that a report shows.

    Parameters
    ----------
    fits : by name of the model, trained on the same months of `panel`.
    panel : Panel with the training months, and any later ones.
    prob : probability inside the bands.
    top : how many pairs of characteristics, of models that have interactions.
    tell : called with the name of each step before it begins.

    Returns
    -------
    Findings.

    Raises
    ------
    AlignmentError
        If the panel lacks training months of a fit, or differs in them from what it learned from.
    """
    first = next(iter(fits.values()))
    for fit in fits.values():
        require_training_data(fit, panel)
    test, live = later_months(panel, first)
    split = Split(panel, training_window(first, panel), test, live)
    members: dict[Any, dict[str, Fit]] = {family: {} for family in FAMILIES}
    for name, fit in fits.items():
        members[next(family for family in FAMILIES if family.speaks_of(fit))][name] = fit
    parts = [family.gather(own, split, prob=prob, top=top, tell=tell) for family, own in members.items() if own]
    return Findings(panel, split.train, test, fits, tuple(parts))
