"""Where numbers come from (versions, processor, commit), and results that survive an interrupted run."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache"
SHARED = Path(os.environ.get("BAYESFACTOR_SHARED_DATA", ROOT.parent / "shared" / "data"))
PACKAGES = ("bayesfactor", "jax", "numpyro", "equinox", "numpy")


def use_compilation_cache() -> None:
    """Keep compiled programs on disk; call before JAX starts."""
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE / "jax"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")


def provenance() -> dict[str, str]:
    """Date, versions, processor and commit, for the head of a table."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "commit": _commit(),
    }


def line(given: dict[str, str]) -> str:
    """`provenance` as one sentence of Markdown."""
    versions = ", ".join(f"{name} {given[name]}" for name in ("python", *PACKAGES))
    return f"{given['date']}, commit {given['commit']}, {versions}; {given['processor']}."


def table(header: list[str], rows: list[list[str]]) -> str:
    """Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def load(path: Path) -> dict[str, Any]:
    """Results so far; empty when there are none."""
    return json.loads(path.read_text()) if path.exists() else {}


def store(path: Path, results: dict[str, Any]) -> None:
    """Replace the file of results in one step, so that an interrupted run leaves no torn one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".tmp")
    beside.write_text(json.dumps(results, indent=1))
    beside.replace(path)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def _commit() -> str:
    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    changed = "+changes" if git("status", "--porcelain", "--", "bayesfactor") else ""
    return (git("rev-parse", "--short", "HEAD") or "unknown") + changed
