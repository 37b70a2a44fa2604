"""Make bayesfactor/panel/data/us_equities.parquet from the pystock panel (a developer's tool).

python scripts/make_us_equities.py SOURCE.parquet [TARGET.parquet]

The rules are stated in bayesfactor/panel/data/us_equities.md; the same source gives the same content.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

N_LARGEST = 500
LEAST_COVERAGE = 0.8
MOSTLY_TIES = ("zero_1m", "rep_age_m")
NOT_CHARACTERISTICS = ("date", "asset", "ret_next", "xret_next", "rf_next")
TARGET = Path(__file__).resolve().parents[1] / "bayesfactor/panel/data/us_equities.parquet"


def make(source: pd.DataFrame) -> pd.DataFrame:
    """The embedded frame: largest stocks, covered characteristics, the carried live month."""
    ordered = source.sort_values(["date", "log_me", "asset"], ascending=[True, False, True])
    kept = ordered.groupby("date").head(N_LARGEST).sort_values(["date", "asset"])
    assert kept["log_me"].notna().all()

    candidates = [name for name in source.columns if name not in (*NOT_CHARACTERISTICS, *MOSTLY_TIES)]
    coverage = kept[candidates].notna().groupby(kept["date"]).mean().min()
    characteristics = [name for name in candidates if coverage[name] >= LEAST_COVERAGE]

    last = kept["date"].max()
    live = kept[kept["date"] == last].copy()
    live["rev_1m"] = live["ret_next"]
    live["xret_next"] = float("nan")
    live["date"] = last + pd.offsets.MonthEnd(1)
    frame = pd.concat([kept.assign(carried=False), live.assign(carried=True)], ignore_index=True)
    frame = frame[["date", "asset", "xret_next", "carried", *characteristics]]
    frame["date"] = frame["date"].astype("datetime64[ms]")
    numbers = ["xret_next", *characteristics]
    return frame.astype(dict.fromkeys(numbers, "float32"))


def main() -> None:
    """Read the source, write the embedded file, say what was made."""
    source = Path(sys.argv[1])
    target = Path(sys.argv[2]) if len(sys.argv) > 2 else TARGET
    frame = make(pd.read_parquet(source))
    frame.to_parquet(target, index=False, compression="zstd", compression_level=19)
    print(
        f"{target.name}: {len(frame):,} rows, {frame.shape[1] - 4} characteristics, "
        f"{target.stat().st_size / 1e6:.2f} MB"
    )


if __name__ == "__main__":
    main()
