"""Options that every study has, and what its page says of how it was made."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

# Compiled programs are kept in the repository: this module is imported before JAX.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(".cache/jax").resolve()))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")


def parser(name: str, description: str | None, out: str) -> argparse.ArgumentParser:
    """With ``--quick --french --only --out --workers``."""
    made = argparse.ArgumentParser(
        prog=f"python -m examples.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--quick", action="store_true", help="few cells, short chains")
    made.add_argument("--french", type=Path, help="folder with panels/ and french_raw/ of Ken French's library")
    made.add_argument("--only", choices=("embedded", "french"), help="one of the data sets")
    made.add_argument("--out", type=Path, default=Path(out), help="folder of results")
    made.add_argument("--workers", type=int, default=os.cpu_count(), help="processes; 0: none but this one")
    return made


def folder_of(parser: argparse.ArgumentParser, given: argparse.Namespace) -> Path | None:
    """Of Ken French's files if they are asked for and there; refuses ``--only french`` without ``--french``."""
    if given.only == "french" and given.french is None:
        parser.error("--only french needs --french DIR")
    if given.only == "embedded":
        return None
    if given.french is not None and given.french.is_dir():
        return Path(given.french)
    print(f"No folder of Ken French's portfolios (--french {given.french}): the embedded data alone.")
    return None


def tell(line: str) -> None:
    """A line with the time of day."""
    print(f"{datetime.now(UTC):%H:%M:%S} {line}", flush=True)


def made_by(name: str, version: str) -> str:
    """The command, the date, and of which code."""
    command = " ".join([f"python -m examples.{name}", *sys.argv[1:]])
    told = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    commit = told.stdout.strip() or "unknown"
    return f"Made by `{command}` on {datetime.now(UTC):%Y-%m-%d}, bayesfactor {version}, commit {commit}."
