"""Runs that are killed at random moments, and files with flipped bits; the results go to docs/reliability.md.

    python -m benchmarks.kill [--method NUTS] [--points 20] [--flips 1000] [--seed 0]

A child process fits a small model with a checkpoint after every chunk and prints a digest of everything in its result.
It is killed (SIGKILL) at a moment drawn uniformly from the time that an undisturbed child takes from its first saved
chunk to its last. Then the same call is made in a fresh process, and killed, until a process ends by itself: its digest
must be that of the undisturbed child.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import ROOT, line, provenance, use_compilation_cache

PAGE = ROOT / "docs" / "reliability.md"
HEAD = """# Reliability: what was killed and spoiled, and what came of it

A row is added by every run of `python -m benchmarks.kill` and of `python -m benchmarks.stream`. A resumed run counts as
identical when every draw, statistic and diagnosed function has the same bits as in the run that was left alone.

| what was done | what came of it | when, with what |
| --- | --- | --- |
"""
STARTED = "fitting"


# ---------------------------------------------------------------------- the child


def settings(method: str, n_draws: int) -> Any:
    """The inference of a child: so many draws a chain, or steps of SVI."""
    from bayesfactor import NUTS
    from bayesfactor.inference.settings import SVI

    if method == "SVI":
        return SVI(guide="full", steps=n_draws, restarts=2, draws=100)
    return {"NUTS": NUTS(warmup=100, draws=n_draws, chains=2)}[method]


def fitted(inference: Any, checkpoint: Path | None) -> Any:
    """A linear model on a small economy."""
    import warnings

    import bayesfactor as bf

    panel = bf.simulate.economy(n_months=8, n_assets=12, n_characteristics=2, seed=11).panel
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bf.errors.ConvergenceWarning)
        model = bf.FundamentalFactorModel(hidden=(), noise="normal")
        return bf.fit(model, panel, inference, seed=3, checkpoint=checkpoint)


def digest(fit: Any) -> str:
    """SHA-256 of every variable of a fit: names, dtypes, shapes and bits."""
    found = hashlib.sha256()
    for path, node in fit.tree.subtree_with_keys:
        for name, variable in sorted(node.to_dataset().variables.items()):
            values = np.asarray(variable.values)
            found.update(f"{path}/{name} {values.dtype} {values.shape}".encode())
            found.update(repr(values.tolist()).encode() if values.dtype.kind in "OUT" else values.tobytes())
    return found.hexdigest()


def child(inference: Any, checkpoint: Path, moment: str | None) -> None:
    """Fit with a checkpoint after every chunk and print the digest.

    `moment` is where the process kills itself, or waits for Ctrl-C: "in:3" while the third checkpoint is being written,
    "after:3" when it has been, "wait:3" then too.
    """
    use_compilation_cache()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it, and so would we
    from bayesfactor.inference import checkpoint as module

    module.CHECKPOINT_SECONDS = module.CHECKPOINT_COSTS = 0.0
    kind, _, number = (moment or "never:0").partition(":")
    left, sampling = int(number), False
    write_sealed, offer = module.write_sealed, module.Checkpoint.offer

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def writing(path: Path, write: Any) -> None:
        nonlocal left
        left -= 1
        write_sealed(path, (lambda partial: (write(partial), die())) if (kind, left) == ("in", 0) else write)

    def offering(self: Any, *arguments: Any) -> None:
        nonlocal sampling
        offer(self, *arguments)
        if not sampling:
            sampling = True
            print("sampling", flush=True)
        if arguments[0] == arguments[1]:
            print("complete", flush=True)
        if left == 0 and kind == "after":
            die()
        if left == 0 and kind == "wait":
            print("waiting", flush=True)
            self._stop.wait()

    module.write_sealed, module.Checkpoint.offer = writing, offering
    print(STARTED, flush=True)
    print(digest(fitted(inference, checkpoint)), flush=True)


def start(method: str, n_draws: int, checkpoint: Path, moment: str | None = None) -> subprocess.Popen[str]:
    """A child process."""
    words = ["--method", method, "--draws", str(n_draws), "--child", str(checkpoint)]
    words += ["--moment", moment] if moment else []
    command = [sys.executable, "-m", "benchmarks.kill", *words]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finished(process: subprocess.Popen[str]) -> str:
    """The digest that a child prints last."""
    output, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(f"the child ended with {process.returncode}:\n{errors}")
    return output.split()[-1]


# ---------------------------------------------------------------------- measuring


def killed(method: str, n_draws: int, points: int, rng: np.random.Generator) -> str:
    """Kill and start again, at so many random moments in all; what came of it, in words.

    A run is killed until all of it is saved, or it is complete before its next moment; then it may end and the next
    run begins.
    """
    with tempfile.TemporaryDirectory() as folder:
        process = start(method, n_draws, Path(folder) / "undisturbed")
        until_sampling(process)
        began = time.monotonic()
        assert process.stdout is not None
        process.stdout.readline()
        span = time.monotonic() - began
        want = finished(process)
        places: Counter[str] = Counter()
        runs = identical = 0
        while places.total() < points:
            runs += 1
            path = Path(folder) / f"run-{runs}"
            found = ""
            while not found and places.total() < points:
                process = start(method, n_draws, path)
                begun = until_sampling(process)
                time.sleep(rng.uniform(0, span))
                process.kill()
                output, _ = process.communicate()
                if process.returncode == 0:
                    found = begun + output
                    break
                place = where(path)
                places[place] += 1
                print(f"{places.total()} of {points}: run {runs} killed {place}", flush=True)
                if place.startswith("after"):
                    break  # all is saved: to kill it once more would show nothing
            found = found or finished(start(method, n_draws, path))
            left = [entry.name for entry in Path(folder).iterdir() if entry.name.endswith(".partial")]
            same = found.split()[-1] == want and not left
            identical += same
            print(f"run {runs} ended: {'identical' if same else f'DIFFERENT, or left {left}'}", flush=True)
    told = ", ".join(f"{count} {place}" for place, count in sorted(places.items()))
    return f"{identical} of {runs} runs ended identical and left no other file, after {points} kills: {told}"


def until_sampling(process: subprocess.Popen[str]) -> str:
    """Wait until the first chunk of a child is saved; what it has printed."""
    assert process.stdout is not None
    process.stdout.readline()
    return process.stdout.readline()


def where(path: Path) -> str:
    """How far the run of a checkpoint was."""
    if not path.exists():
        return "before the first checkpoint"
    from bayesfactor.inference.checkpoint import _read

    header, _, arrays = _read(path)
    if "losses" in arrays:
        return "after the last step" if header["done"] == header["total"] else "among the steps"
    if header["done"] == header["total"]:
        return "after the last draw"
    return "among the draws" if arrays else "in the warm-up"


def silent_flips(path: Path, read: Any, flips: int, rng: np.random.Generator) -> int:
    """How many of so many single flipped bits `read` does not refuse."""
    from bayesfactor.errors import CorruptResultError

    content = path.read_bytes()
    spoiled = path.with_name("spoiled")
    silent = 0
    for bit in rng.choice(8 * len(content), flips, replace=False):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << int(bit % 8)
        spoiled.write_bytes(changed)
        try:
            read(spoiled)
            silent += 1
        except CorruptResultError:
            pass
    return silent


def flipped(flips: int, rng: np.random.Generator) -> dict[str, str]:
    """Flips in a saved fit and in a checkpoint."""
    use_compilation_cache()
    import bayesfactor as bf
    from bayesfactor.inference.checkpoint import _read

    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "checkpoint"
        saved = fitted(settings("NUTS", 150), checkpoint).save(Path(folder) / "fit.nc")
        return {
            "a saved fit": f"{silent_flips(saved, bf.load, flips, rng)} of {flips:,} silent",
            "a checkpoint": f"{silent_flips(checkpoint, _read, flips, rng)} of {flips:,} silent",
        }


def record(what: str, found: str) -> None:
    """Add a row to the page."""
    if not PAGE.exists():
        PAGE.write_text(HEAD)
    with PAGE.open("a") as page:
        page.write(f"| {what} | {found} | {line(provenance())} |\n")
    print(f"{what}: {found}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="NUTS")
    parser.add_argument("--points", type=int, default=20)
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--draws", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--moment", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child is not None:
        child(settings(given.method, given.draws), given.child, given.moment)
        return
    rng = np.random.default_rng(given.seed)
    if given.points:
        what = f"{given.method}: SIGKILL at {given.points} random moments, each time the same call in a fresh process"
        record(what, killed(given.method, given.draws, given.points, rng))
    if given.flips:
        for what, found in flipped(given.flips, rng).items():
            record(f"{given.flips:,} single bits flipped in {what}, one at a time", found)


if __name__ == "__main__":
    main()
