"""The command line. JAX and pandas are imported inside commands only, so that `--help` answers at once.

A command is a function in the module of its group; `COMMANDS` lists them in the order of `--help`.
"""

from __future__ import annotations

import typer

from bayesfactor.cli.base import Commands
from bayesfactor.cli.calibration import calibrate
from bayesfactor.cli.comparisons import compare, report
from bayesfactor.cli.factors import alphas, factors, holdings, importance, loadings, sharpe
from bayesfactor.cli.fits import fit, forecast, interactions, sensitivities, summary
from bayesfactor.cli.machine import demo, doctor
from bayesfactor.cli.panels import check
from bayesfactor.cli.walks import walk_forward

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Bayesian asset-pricing factor models: posterior bands of what characteristics earn.",
    epilog="DATA is a Parquet or CSV file with the options that say how to read it, or the word us_equities.",
)

COMMANDS = (
    demo,
    check,
    fit,
    summary,
    sensitivities,
    interactions,
    forecast,
    factors,
    importance,
    holdings,
    loadings,
    alphas,
    sharpe,
    walk_forward,
    compare,
    report,
    calibrate,
    doctor,
)
for command in COMMANDS:
    app.command()(command)
