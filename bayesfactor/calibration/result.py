"""What a study found: ranks and coverage of every quantity, judged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from bayesfactor.calibration.uniformity import coverage_interval, envelope, level_of_each, uniformity

FAMILY_WISE = 0.01
RHAT_BOUNDS = (1.01, 1.05, 1.1)


@dataclass(frozen=True, repr=False)
class CalibrationResult:
    """Outcome of `calibrate`.

    Attributes
    ----------
    attempts : one Dataset, or a second on fresh seeds where the first did not pass. Over `fit` and `quantity`: `rank`
        of the truth among the draws, from 0 to `n_ranks`; `inside`, whether the band holds it. Over `fit`: `rhat`, the
        largest over the quantities; `ess`, the smallest bulk one; `n_diverging` draws; `khat`, the largest of the
        guide (NaN without one); `n_nonfinite` quantities; `seconds` and `cpu_seconds`, its share of the chunk's time
        and work, compilation included.
    fits : data sets asked for.
    family_wise : level of all tests of uniformity together.
    """

    attempts: tuple[xr.Dataset, ...]
    fits: int
    family_wise: float = FAMILY_WISE

    @property
    def status(self) -> str:
        """One of "passes", "fails" and "unfinished".

        A study fails when neither the first run nor one on fresh seeds passes.
        """
        last = self.attempts[-1]
        if last.sizes["fit"] < self.fits:
            return "unfinished"
        if self._holds(last):
            return "passes"
        return "fails" if len(self.attempts) > 1 or not last.attrs["rerun"] else "unfinished"

    @property
    def passed(self) -> bool:
        """Whether the status is "passes"."""
        return self.status == "passes"

    @property
    def reasons(self) -> tuple[str, ...]:
        """What does not hold in the last attempt, with numbers."""
        data = self.attempts[-1]
        if not data.sizes["fit"]:
            return ()
        table = self.table()
        limit = level_of_each(self.family_wise, len(table))
        found = [
            f"ranks of {name} are not uniform: p = {row['p_value']:.2g} (must be at least {limit:.2g})"
            for name, row in table.iterrows()
            if not row["p_value"] >= limit
        ]
        found += [
            f"{data.attrs['prob']:.0%} bands of {name} cover {row['coverage']:.1%} (must be "
            f"{row['coverage_lower']:.1%} to {row['coverage_upper']:.1%})"
            for name, row in table.iterrows()
            if not row["coverage_lower"] <= row["coverage"] <= row["coverage_upper"]
        ]
        if lost := int((data["n_nonfinite"] > 0).sum()):
            found.append(f"{lost} data sets have a quantity that is not finite")
        return tuple(found)

    def table(self, attempt: int = -1) -> pd.DataFrame:
        """One row a quantity.

        Parameters
        ----------
        attempt : 0 for the first, -1 for the last.

        Returns
        -------
        DataFrame by `quantity`: `p_value` of uniform ranks, `coverage` of the band, the interval of a right one
        (`coverage_lower`, `coverage_upper`: binomial, 99.9%), `passes`.
        """
        data = self.attempts[attempt]
        n, names = data.sizes["fit"], [str(name) for name in data["quantity"].values]
        if not n:
            return pd.DataFrame(columns=["p_value", "coverage", "coverage_lower", "coverage_upper", "passes"])
        limit = level_of_each(self.family_wise, len(names))
        largest = int(data.attrs["n_ranks"])
        low, high = coverage_interval(n, data.attrs["prob"])
        ranks, inside = data["rank"].values, data["inside"].values.mean(axis=0)
        table = pd.DataFrame(
            {
                "p_value": [uniformity(ranks[:, k], largest) for k in range(len(names))],
                "coverage": inside,
                "coverage_lower": low,
                "coverage_upper": high,
            },
            index=pd.Index(names, name="quantity"),
        )
        table["passes"] = (table["p_value"] >= limit) & table["coverage"].between(low - 1e-12, high + 1e-12)
        return table

    def ecdf(self, attempt: int = -1) -> xr.Dataset:
        """ECDF of the ranks with the band that holds all of a uniform one, for the family of quantities.

        Returns
        -------
        Dataset over `quantity` and `rank`, or `rank`: `ecdf` share of ranks at or below, `uniform`, `lower`, `upper`.
        """
        data = self.attempts[attempt]
        n, largest = data.sizes["fit"], int(data.attrs["n_ranks"])
        points = np.arange(largest)
        share = (data["rank"].values[..., None] <= points).mean(axis=0)
        lower, upper = envelope(n, largest, level_of_each(self.family_wise, data.sizes["quantity"]))
        return xr.Dataset(
            {
                "ecdf": (("quantity", "rank"), share),
                "uniform": ("rank", (points + 1) / (largest + 1)),
                "lower": ("rank", lower),
                "upper": ("rank", upper),
            },
            {"quantity": data["quantity"].values, "rank": points},
            data.attrs | {"n_fits": n, "family_wise": self.family_wise, "status": self.status},
        )

    def diagnostics(self, attempt: int = -1) -> dict[str, float]:
        """How the fits went: all of them count in the ranks, converged or not."""
        data = self.attempts[attempt]
        if not data.sizes["fit"]:
            return {}
        found: dict[str, float] = {
            f"fits with R-hat above {bound}": int((data["rhat"] > bound).sum()) for bound in RHAT_BOUNDS
        }
        found |= {
            "median of the smallest bulk ESS": float(data["ess"].median()),
            "fits with a divergence": int((data["n_diverging"] > 0).sum()),
            "divergences": int(data["n_diverging"].sum()),
            "minutes": float(data["seconds"].sum()) / 60,
            "CPU minutes": float(data["cpu_seconds"].sum()) / 60,
        }
        if np.isfinite(data["khat"]).any():
            found["fits with k-hat of 0.7 or more"] = int((data["khat"] >= 0.7).sum())
        return found

    def _holds(self, data: xr.Dataset) -> bool:
        attempt = [one is data for one in self.attempts].index(True)
        return bool(self.table(attempt)["passes"].all()) and not bool((data["n_nonfinite"] > 0).any())

    def __repr__(self) -> str:
        """Status, what was calibrated, and what does not hold."""
        data = self.attempts[-1]
        rerun = " (second run, fresh seeds)" if len(self.attempts) > 1 else ""
        what = f"{data.attrs['model']} by {data.attrs['inference']}"
        told = f"{self.status}: {what}, {data.sizes['fit']} of {self.fits} fits"
        return "\n  ".join([told + rerun, *self.reasons])
