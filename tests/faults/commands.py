"""Commands that cannot be carried out: exit code 2, a message, no traceback."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from bayesfactor.cli import app

from . import made
from .fault import ExitTwo, Fault

READ = ["--time", "date", "--asset", "asset", "--returns", "ret", "--returns-over", "row", "--lag", "1"]
READ += ["--units", "decimal", "--excess", "--characteristics", "x,y", "--size", "size", "--group", "sector"]


def command(
    name: str, line: str, place: str, *, read: bool = True, files: Callable[[Path], object] | None = None
) -> Fault:
    """A command line; DATA is a good file, FIT a good fit, OUT a file to write, BAD what `files` makes."""

    def make(folder: Path, _rng: np.random.Generator) -> Callable[[], object]:
        made.lacking().to_parquet(folder / "data.parquet")
        (folder / "fit.nc").write_bytes(made.saved_fit())
        if files is not None:
            files(folder)
        places = {"DATA": "data.parquet", "FIT": "fit.nc", "OUT": "out", "BAD": "bad", "ABSENT": "absent"}
        words = line.split()
        for place_word, name_there in places.items():
            words = [re.sub(rf"^{place_word}\b", str(folder / name_there), word) for word in words]
        return lambda: called([words[0], *(READ if read else []), *words[1:]])

    return Fault(name, make, ExitTwo, place)


def called(words: list[str]) -> str:
    """What a command prints; `ExitTwo` where it refuses as it must."""
    result = CliRunner().invoke(app, words, env={"COLUMNS": "300", "TERM": "dumb"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    if result.exit_code == 2:
        raise ExitTwo(result.output)
    return f"exit code {result.exit_code}: {result.output}"


def text(folder: Path) -> None:
    (folder / "bad").write_text("no data here")


FAULTS = [
    command("no such command", "fitt DATA", "fitt", read=False),
    command("no such option", "check DATA --lagg 1", "--lagg"),
    command("no DATA", "check", "DATA", read=False),
    command("absent file", "check ABSENT", "absent"),
    command("a file that is none of ours", "check BAD", "bad", files=text),
    command("no reading options", "check DATA", "--time COLUMN, --asset COLUMN, --returns COLUMN", read=False),
    command(
        "lag not told",
        "check DATA --time date --asset asset --returns ret --returns-over row --units decimal --excess",
        "lag",
        read=False,
    ),
    command("lag in words", "check DATA --lag one", "--lag"),
    command(
        "lag 0",
        "check DATA --time date --asset asset --returns ret --returns-over row --units decimal --excess --lag 0",
        "lag",
        read=False,
    ),
    command("units of another word", "check DATA --units bp", "--units"),
    command("returns over another word", "check DATA --returns-over same", "--returns-over"),
    command("frequency of another word", "check DATA --frequency yearly", "--frequency"),
    command("missing rule of another word", "check DATA --missing drop", "--missing"),
    command("a column that is not there", "check DATA --size me", "size='me'"),
    command("a share above 1", "check DATA --covered 7", "--covered"),
    command("the largest none", "check DATA --largest 0 --size size", "--largest"),
    command(
        "raw returns without a riskless rate",
        "check DATA --time date --asset asset --returns ret --returns-over row --lag 1 --units decimal --raw",
        "risk_free",
        read=False,
    ),
    command("options for the embedded panel", "check us_equities", "--time"),
    command("no such model", "fit shallow DATA --out OUT", "MODEL"),
    command("no file to write", "fit linear DATA", "--out"),
    command("hidden layers in words", "fit deep DATA --out OUT --hidden wide", "--hidden.*'wide'"),
    command("hidden layers of the linear model", "fit linear DATA --out OUT --hidden 8", "--hidden 8"),
    command("warm-up of svi", "fit linear DATA --out OUT --inference svi --warmup 10", "--warmup"),
    command("batch of nuts", "fit linear DATA --out OUT --batch 4", "--batch"),
    command("no draws", "fit linear DATA --out OUT --draws 0", "--draws"),
    command("one chain", "fit linear DATA --out OUT --chains 1", "chains=1"),
    command("sorted factors without test portfolios", "fit sorted DATA --out OUT", "--portfolios FILE"),
    command("pooling of sorted factors", "fit sorted DATA --out OUT --sorts x:3 --pooling full", "--pooling"),
    command("deep factors of the linear model", "fit linear DATA --out OUT --factors 2", "--factors"),
    command("a sort without a number", "fit sorted DATA --out OUT --sorts x", "--sorts.*'x'"),
    command("a sort by no column", "fit sorted DATA --out OUT --sorts me:3", "'me'"),
    command("benchmark sorts of another word", "fit sorted DATA --out OUT --benchmark-sorts bm=x", "'bm=x'"),
    command("absent benchmarks", "fit sorted DATA --out OUT --benchmark ABSENT", "absent"),
    command("benchmarks that are text", "fit sorted DATA --out OUT --benchmark BAD", "bad", files=text),
    command("before the data", "fit linear DATA --out OUT --before 1990-01", "2015-02 to 2016-03"),
    command("before a word", "fit linear DATA --out OUT --before lately", "'lately'"),
    command("fit written into no folder", "fit linear DATA --out ABSENT/fit.nc", "absent"),
    command("summary of no fit", "summary ABSENT", "absent", read=False),
    command("summary of text", "summary BAD", "bad", read=False, files=text),
    command("summary of a panel", "summary DATA", r"data\.parquet", read=False),
    command("sensitivities over other characteristics", "sensitivities FIT DATA --characteristics x,size", "y.*size"),
    command("sensitivities of probability 2", "sensitivities FIT DATA --prob 2", "--prob"),
    command("sensitivities over z-scores", "sensitivities FIT DATA --standardise", "'rank'.*'standardise'"),
    command("interactions of the linear model", "interactions FIT DATA", "UnsupportedQuantityError"),
    command("factors of the linear model", "factors FIT DATA", "FundamentalFactorModel"),
    command("alphas of the linear model", "alphas FIT", "FundamentalFactorModel", read=False),
    command("holdings of no probability", "holdings FIT DATA --prob 0", "--prob"),
    command("alphas written into no folder", "alphas FIT --csv ABSENT/a.csv", "absent", read=False),
    command("sensitivities written into no folder", "sensitivities FIT DATA --csv ABSENT/a.csv", "absent"),
    command("comparison of one fit", "compare FIT --data DATA", r"\['fit'\]"),
    command("comparison of a fit with itself", "compare FIT FIT --data DATA", "fit, fit"),
    command("comparison without data", "compare FIT", "--data"),
    command("report of an absent fit", "report ABSENT --data DATA --out OUT", "absent"),
]
