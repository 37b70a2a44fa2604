"""`python -m tests.faults`: try every fault and write docs/faults.md."""

from __future__ import annotations

import sys

from .page import PAGE, written

wrong = written()
sys.stdout.write(f"Wrote {PAGE}: {wrong} faults are not as they must be.\n")
sys.exit(1 if wrong else 0)
