"""Ask a saved fit of sorted factors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bayesfactor.cli.base import console, require_folder, write_csv
from bayesfactor.cli.options import Csv, Data, FitFile, Prob
from bayesfactor.cli.reading import Reading, reads_data
from bayesfactor.cli.saved import learned_from, warn_of_other_data

if TYPE_CHECKING:
    from bayesfactor.inference import Fit


def _sorted_fit(path: Path) -> Fit:
    """A saved fit of sorted factors; any other is refused."""
    from bayesfactor.inference.storage import load
    from bayesfactor.quantities.factors import require_sorted

    fit = load(path)
    require_sorted(fit)
    return fit


@reads_data
def factors(
    *,
    fit: FitFile,
    data: Data,
    reading: Reading,
    cumulative: Annotated[bool, typer.Option("--cumulative", help="Running sums, not compounded.")] = False,
    last: Annotated[int, typer.Option("--last", min=1, help="Periods to print; the CSV has all.")] = 12,
    prob: Prob = 0.9,
    csv: Csv = None,
) -> None:
    """What the deep factors of FIT earned in the periods of DATA, those learned from and later ones."""
    import bayesfactor as bf
    from bayesfactor.report import terminal

    require_folder(csv)
    result, panel = _sorted_fit(fit), reading.panel(data)
    warn_of_other_data(result, panel)
    earned = bf.factors(result, panel, prob=prob, cumulative=cumulative)
    terminal.print_factors(console, fit.stem, earned, last)
    write_csv(earned, csv)


@reads_data
def importance(fit: FitFile, data: Data, reading: Reading, prob: Prob = 0.9, csv: Csv = None) -> None:
    """Which characteristics the factors of FIT are sorted on, over its training window."""
    import bayesfactor as bf
    from bayesfactor.report import terminal

    require_folder(csv)
    result = _sorted_fit(fit)
    bands = bf.importance(result, learned_from(result, reading.panel(data)), prob=prob)
    terminal.print_importance(console, fit.stem, bands)
    write_csv(bands, csv)


@reads_data
def holdings(
    *,
    fit: FitFile,
    data: Data,
    reading: Reading,
    when: Annotated[
        str | None, typer.Option("--when", help="Period, for example 2016-05; the last of DATA if absent.")
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="Stocks a leg.")] = 10,
    prob: Prob = 0.9,
    csv: Csv = None,
) -> None:
    """The stocks that the factors of FIT hold and sell most in a period of DATA, live ones too."""
    import bayesfactor as bf
    from bayesfactor.panel.periods import show
    from bayesfactor.report import terminal

    require_folder(csv)
    result, panel = _sorted_fit(fit), reading.panel(data)
    warn_of_other_data(result, panel)
    panel = panel.sel(time=[panel.times[-1]] if when is None else slice(when, when))
    period = panel.times[-1]
    held = bf.top_holdings(bf.portfolio_weights(result, panel, prob=prob), period, n=top)
    terminal.print_holdings(console, fit.stem, held, show(period, panel.frequency))
    labels = [name for name in ("bands", "likelihood_kind") if name in held]
    write_csv(held.drop(columns=labels).to_xarray().assign_attrs(held.attrs), csv)


def loadings(fit: FitFile, prob: Prob = 0.9, csv: Csv = None) -> None:
    """Loadings of the test assets of FIT on deep and benchmark factors."""
    import bayesfactor as bf
    from bayesfactor.report import terminal

    require_folder(csv)
    bands = bf.loadings(_sorted_fit(fit), prob=prob)
    terminal.print_loadings(console, fit.stem, bands)
    write_csv(bands, csv)


def alphas(
    fit: FitFile,
    within: Annotated[
        float, typer.Option("--within", min=0.0, help="Alphas smaller than this do not matter, decimal per month.")
    ] = 0.001,
    prob: Prob = 0.9,
    csv: Csv = None,
) -> None:
    """What the factors of FIT leave unpriced: the alpha of every test asset, and of all of them together."""
    import bayesfactor as bf
    from bayesfactor.report import terminal

    require_folder(csv)
    result = _sorted_fit(fit)
    bands = bf.alphas(result, prob=prob)
    terminal.print_alphas(console, fit.stem, bands, bf.no_alpha(result, within=within))
    write_csv(bands, csv)


def sharpe(fit: FitFile, prob: Prob = 0.9, csv: Csv = None) -> None:
    """Annual Sharpe ratios of the factors of FIT, and what the deep ones add to the benchmarks'."""
    import bayesfactor as bf
    from bayesfactor.report import terminal

    require_folder(csv)
    ratios = bf.sharpe_ratios(_sorted_fit(fit), prob=prob)
    terminal.print_sharpe_ratios(console, fit.stem, ratios)
    labels = [name for name in ("bands", "likelihood_kind") if name in ratios]
    table = ratios.drop(columns=labels).rename_axis("portfolio").to_xarray()
    write_csv(table.assign_attrs(ratios.attrs), csv)
