"""Where simulated returns are to be: the characteristics and masks of the data sets of a study."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesfactor.errors import DataError
from bayesfactor.panel import PanelArrays
from bayesfactor.panel.arrays import BY_TIME

if TYPE_CHECKING:
    from bayesfactor.panel import Panel


@dataclass(frozen=True)
class Design:
    """Simulated characteristics, fresh for every data set (`simulate.economy`), all data sets of one shape.

    Parameters
    ----------
    n_months, n_assets, n_characteristics : of a data set.
    unobserved : share of the returns that are missing, at random.
    ragged : a third of the assets enters late and a third leaves early.
    missing : share of characteristic cells without a value (0 once prepared).
    return_scale : what the model takes for the cross-sectional sd of the returns, decimal per period. In a fit it is
        measured on the returns; a prior must not look at them, so here it is given.
    frequency : of the periods.
    """

    n_months: int = 60
    n_assets: int = 12
    n_characteristics: int = 3
    unobserved: float = 1 / 7
    ragged: bool = False
    missing: float = 0.0
    return_scale: float = 0.08
    frequency: str = "monthly"

    def __post_init__(self) -> None:
        if not 0 <= self.unobserved < 1:
            raise DataError(f"unobserved must be a share from 0 to below 1: got {self.unobserved}")
        if not self.return_scale > 0:
            raise DataError(f"return_scale must be positive, decimal per period: got {self.return_scale}")

    def arrays(self, seed: int) -> PanelArrays:
        """One data set without returns; slots are padded to `n_assets`, so that all have one shape."""
        from bayesfactor.panel import simulate

        economy = simulate.economy(
            n_months=self.n_months,
            n_assets=self.n_assets,
            n_characteristics=self.n_characteristics,
            seed=seed,
            ragged=self.ragged,
            missing=self.missing,
            frequency=self.frequency,
        )
        arrays = _padded(economy.panel.arrays(), self.n_assets)
        lost = np.random.default_rng([seed, 7]).random(arrays.observed.shape) < self.unobserved
        return arrays._replace(
            returns=np.zeros_like(arrays.returns),
            observed=arrays.observed & ~lost,
            return_scale=np.asarray(self.return_scale),
        )

    def __str__(self) -> str:
        """The shape in words."""
        ragged = ", ragged" if self.ragged else ""
        missing = f", {self.missing:.0%} of the characteristics missing" if self.missing else ""
        months = "month" if self.n_months == 1 else "months"
        return (
            f"{self.n_assets} assets x {self.n_months} {months} x {self.n_characteristics} characteristics{ragged}, "
            f"{self.unobserved:.0%} of the returns unobserved{missing}"
        )


def data_set(
    design: Design | Panel, seed: int, index: int, *, by_month: bool, keep_returns: bool = False
) -> PanelArrays:
    """The `index`-th data set of a study, without returns unless the model takes them as given.

    A panel is its own design: its characteristics, universe and gaps, and the scale of its returns. Where every month
    is a fit of its own, a data set is one month: of a panel, its months in turn.
    """
    if isinstance(design, Design):
        return (replace(design, n_months=1) if by_month else design).arrays(seed)
    arrays = design.arrays()
    if by_month:
        months = np.flatnonzero(arrays.observed.any(axis=1))
        t = months[index % len(months)]
        kept = {
            name: leaf[t : t + 1] for name, leaf in arrays._asdict().items() if name in BY_TIME and leaf is not None
        }
        arrays = arrays._replace(**kept)
    return arrays if keep_returns else arrays._replace(returns=np.zeros_like(arrays.returns))


def describe(design: Design | Panel) -> dict[str, Any]:
    """What the data sets depend on."""
    return asdict(design) if isinstance(design, Design) else {"panel": design.fingerprint}


def words(design: Design | Panel) -> str:
    """The shape for people."""
    if isinstance(design, Design):
        return str(design)
    sizes = design.data.sizes
    return f"the panel: {sizes['asset']} assets x {sizes['time']} periods x {sizes['characteristic']} characteristics"


def _padded(arrays: PanelArrays, n_slots: int) -> PanelArrays:
    lacking = n_slots - arrays.returns.shape[1]
    if not lacking:
        return arrays
    slots = ((0, 0), (0, lacking))
    return arrays._replace(
        characteristics=np.pad(arrays.characteristics, (*slots, (0, 0))),
        returns=np.pad(arrays.returns, slots),
        in_universe=np.pad(arrays.in_universe, slots),
        observed=np.pad(arrays.observed, slots),
        asset=np.pad(arrays.asset, slots, constant_values=-1),
    )
