"""Deep sorted factors on real data, after Feng, Polson and Xu (2020): fits, tables 2 to 6, figures 5, 7, 8, 9, a page.

    python -m examples.fpx --quick                    the embedded data, five fits
    python -m examples.fpx --french ../shared/data    and Ken French's portfolios, the whole grid

Run it from the root of the repository. A run that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(".cache/jax").resolve()))  # before JAX starts
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")

import bayesfactor as bf

from . import markets, study

# NUTS, not SVI: residual factors (few months) have no sign or order and networks have several modes, which a guide
# cannot follow; its k-hat says so.
QUICK = {
    "embedded": study.Protocol((1, 2), (1, 2), (1.0,), False, bf.NUTS(warmup=100, draws=150, chains=2)),
    "french": study.Protocol((1,), (1, 2), (1.0,), False, bf.NUTS(warmup=100, draws=150, chains=2)),
}
FULL = {
    name: study.Protocol((1, 2), (1, 2, 3), (1.0, 0.1, 10.0), True, bf.NUTS(warmup=250, draws=250, chains=2))
    for name in QUICK
}


def main() -> None:
    """Run the study and write the folder."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.fpx", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few cells, lambda 1, short chains")
    parser.add_argument("--french", type=Path, help="folder with panels/ and french_raw/ of Ken French's library")
    parser.add_argument("--only", choices=("embedded", "french"), help="one of the data sets")
    parser.add_argument("--layers", type=int, nargs="+", help="in place of the protocol's; FPX have 1 2 3 4")
    parser.add_argument("--factors", type=int, nargs="+", help="alike; FPX have 1 to 7")
    parser.add_argument("--out", type=Path, default=Path("fpx"), help="folder of results")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes; 0: none but this one")
    given = parser.parse_args()
    if given.only == "french" and given.french is None:
        parser.error("--only french needs --french DIR")
    asked = {"layers": given.layers, "n_factors": given.factors}
    changed = {name: tuple(values) for name, values in asked.items() if values}
    protocols = {name: one._replace(**changed) for name, one in (QUICK if given.quick else FULL).items()}
    out = given.out / ("quick" if given.quick else "full")
    chosen = []
    if given.only != "french":
        chosen.append(markets.embedded())
    if given.only != "embedded":
        if given.french is not None and given.french.is_dir():
            chosen.append(markets.french(given.french))
        else:
            print(f"No folder of Ken French's portfolios (--french {given.french}): the embedded data alone.")
    results = [study.run(market, protocols[market.name], out, given.workers, _tell) for market in chosen]
    command = " ".join(["python -m examples.fpx", *sys.argv[1:]])
    made = f"Made by `{command}` on {datetime.now(UTC):%Y-%m-%d}, bayesfactor {bf.__version__}, commit {_commit()}."
    print(study.write(results, out, [made]))


def _tell(line: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {line}", flush=True)


def _commit() -> str:
    told = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return told.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
