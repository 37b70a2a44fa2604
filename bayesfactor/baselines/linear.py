"""Linear forecasts from characteristics: least squares, ridge, Fama and MacBeth. All from sums by month."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
import xarray as xr

from bayesfactor.baselines.means import UNITS, in_universe
from bayesfactor.baselines.statistics import Array, Mask, MonthSums, aligned, month_sums
from bayesfactor.errors import DataError, DataWarning, first_three
from bayesfactor.panel import Panel

# Directions whose share of the largest variance is below this are collinear: least squares leaves them at zero.
COLLINEAR = 1e-10
PENALTIES = np.geomspace(1e3, 1e-5, 33)  # four a decade; of equals, the largest


@dataclass(frozen=True, eq=False)
class LinearForecast:
    """``E[r_it] = intercept + slopes' z_it``.

    Attributes
    ----------
    coefficients : DataArray (feature): intercept, then one slope a characteristic; decimal per period, slopes per unit
        of the prepared characteristic.
    preparation, frequency : of the training window.
    n_months : months that were used.
    penalty : of `Ridge`, given or chosen; 0 for the others.
    """

    coefficients: xr.DataArray
    preparation: str
    frequency: str
    n_months: int
    penalty: float = 0.0

    @property
    def characteristics(self) -> tuple[str, ...]:
        """Names of the characteristics, in the order of training."""
        return tuple(str(name) for name in self.coefficients.indexes["feature"][1:])

    def forecast(self, panel: Panel) -> xr.DataArray:
        """DataArray (time, asset), decimal per period: a forecast in the universe, NaN outside it.

        Raises
        ------
        AlignmentError
            When characteristics, preparation or frequency are not those of training. Their order does not matter.
        """
        panel = aligned(panel, self.characteristics, self.preparation, self.frequency)
        intercept, *slopes = self.coefficients.to_numpy()
        # Without BLAS, whose rounding depends on where a row stands: a forecast must not change when months are added.
        product = np.einsum("tak,k->ta", panel.data["characteristics"].to_numpy(), np.array(slopes), optimize=False)
        return in_universe(intercept + product, panel)


@dataclass(frozen=True)
class OLS:
    """Pooled least squares with an intercept, every stock-month with equal weight.

    Collinear characteristics share their effect (the solution of least norm), and one that never moves has slope 0, as
    in scikit-learn's `LinearRegression`.
    """

    def fit(self, train: Panel) -> LinearForecast:
        """Coefficients of the training window.

        Raises
        ------
        DataError
            When the panel is not prepared.
        EmptyWindowError
            When it has no return.
        """
        sums = month_sums(train)
        return _labelled(_penalised(sums.totals, np.zeros(1))[0, 0], train, len(sums.times))


@dataclass(frozen=True)
class Ridge:
    """Pooled ridge regression, the intercept not penalised.

    Minimises ``(1/n) sum_it (r_it - a - b'z_it)^2 + penalty * b'b`` over the n stock-months. The penalty is thus in
    units of the variance of a characteristic and means the same in a window of any length: a rank spread evenly over
    [-1, 1] has variance 1/3, so that ``penalty=1/3`` halves a lone slope. scikit-learn's ``Ridge(alpha)`` is
    ``alpha = n * penalty``.

    Parameters
    ----------
    penalty : number, 0 (least squares) or more. None chooses from 33 values between 1e-5 and 1e3 the one with the
        least squared error over training months, each forecast from all OTHER training months (whole months are left
        out, because stocks share a month's shocks), summed over stock-months; ties go to the larger.
    """

    penalty: float | None = None

    def __post_init__(self) -> None:
        given = self.penalty
        number = isinstance(given, int | float | np.number) and not isinstance(given, bool)
        if given is not None and not (number and 0 <= given < math.inf):
            raise DataError(
                f"penalty must be a finite number, 0 or more, or None to choose it: got penalty={given!r}. It is per "
                "stock-month: scikit-learn's alpha is n * penalty."
            )

    def fit(self, train: Panel) -> LinearForecast:
        """Coefficients of the training window; the penalty chosen is in `penalty`.

        Raises
        ------
        DataError
            When the panel is not prepared, or has a single month to choose the penalty by.
        EmptyWindowError
            When it has no return.
        """
        sums = month_sums(train)
        penalty = self.penalty
        if penalty is None:
            penalty = float(PENALTIES[np.argmin(left_out_errors(sums, PENALTIES))])
        return _labelled(_penalised(sums.totals, np.array([penalty]))[0, 0], train, len(sums.times), float(penalty))


@dataclass(frozen=True)
class FamaMacBeth:
    """Average of monthly cross-sectional regressions with an intercept; every month has equal weight.

    ``c = (1/T) sum_t (X_t'X_t)^-1 X_t'r_t`` with ``X_t = [1, z_t]``; Fama, MacBeth (1973).

    Missing characteristics are 0, as the panel was prepared. A month that has fewer stocks than coefficients, or
    characteristics that are collinear in it or constant (also for being missing throughout), has no regression: it is
    left out with a warning, as in linearmodels' `FamaMacBeth`.
    """

    def fit(self, train: Panel) -> LinearForecast:
        """Coefficients of the training window.

        Raises
        ------
        DataError
            When the panel is not prepared, or no month has a regression.
        EmptyWindowError
            When it has no return.
        """
        sums = month_sums(train)
        slopes, usable = monthly_coefficients(sums)
        if not usable.all():
            self._tell(sums, usable, train.characteristics)
        return _labelled(slopes.mean(axis=0), train, int(usable.sum()))

    @staticmethod
    def _tell(sums: MonthSums, usable: Mask, names: tuple[str, ...]) -> None:
        """Warn of months without a regression; refuse when all are."""
        few = sums.n_observed < sums.gram.shape[-1]
        flat = (_variances(sums) <= COLLINEAR).sum(axis=0)
        worst = [f"{names[k]} in {flat[k]}" for k in np.argsort(-flat, kind="stable") if flat[k]]
        causes = f"{few.sum()} have too few stocks" + (f"; constant by month: {first_three(worst)}" if worst else "")
        months = first_three(f"{time:%Y-%m-%d}" for time in sums.times[~usable])
        text = (
            f"Fama-MacBeth needs months with at least {sums.gram.shape[-1]} stocks in which no characteristic is "
            f"constant or collinear with others: not so in {months}, of which {causes}."
        )
        if not usable.any():
            raise DataError(f"{text} No month is left: select other characteristics with panel.sel(characteristic=...)")
        warnings.warn(f"{text} They are left out.", DataWarning, stacklevel=4)


def monthly_coefficients(sums: MonthSums) -> tuple[Array, Mask]:
    """Least squares in each month that has a regression, (month with one, feature), and which months these are."""
    usable = _full_rank(sums)
    return np.asarray(np.linalg.solve(sums.gram[usable], sums.projection[usable][..., None])[..., 0]), usable


def left_out_errors(sums: MonthSums, penalties: Array) -> Array:
    """Squared errors (penalty,), summed over stock-months, of months forecast by ridge from all other months.

    Raises
    ------
    DataError
        When there is a single month.
    """
    if len(sums.times) < 2:
        raise DataError(
            "choosing a penalty needs at least 2 training months with returns: found only "
            f"{sums.times[0]:%Y-%m-%d}. Give it: Ridge(penalty=...)."
        )
    coefficients = _penalised(sums.without_each(), penalties)
    linear = np.einsum("tpf,tf->tp", coefficients, sums.projection)
    quadratic = np.sum((coefficients @ sums.gram) * coefficients, axis=-1)
    return np.sum(sums.square[:, None] - 2.0 * linear + quadratic, axis=0)


def _penalised(sums: MonthSums, penalties: Array) -> Array:
    """Ridge coefficients (month, penalty, feature) from sums, each entry of which is a regression of its own."""
    count = sums.n_observed[:, None]
    centre, mean = sums.gram[:, 0, 1:] / count, sums.projection[:, :1] / count
    variance = sums.gram[:, 1:, 1:] / count[..., None] - centre[:, :, None] * centre[:, None, :]
    covariance = sums.projection[:, 1:] / count - centre * mean
    values, vectors = np.linalg.eigh(variance)
    values = np.where(values > COLLINEAR * np.maximum(values[:, -1:], COLLINEAR), values, np.inf)
    weight = 1.0 / (values[:, None, :] + penalties[:, None])
    rotated = np.einsum("tkj,tk->tj", vectors, covariance)
    slopes = (weight * rotated[:, None, :]) @ np.swapaxes(vectors, 1, 2)
    intercept = mean - np.einsum("tpk,tk->tp", slopes, centre)
    return np.concatenate([intercept[..., None], slopes], axis=-1)


def _variances(sums: MonthSums) -> Array:
    """Variance (month, characteristic) over the stocks of each month, as a share of the mean square."""
    square = np.diagonal(sums.gram, axis1=1, axis2=2)[:, 1:] / sums.n_observed[:, None]
    variance = square - (sums.gram[:, 0, 1:] / sums.n_observed[:, None]) ** 2
    return np.divide(variance, square, out=np.zeros_like(square), where=square > 0)


def _full_rank(sums: MonthSums) -> Mask:
    """Which months (month,) tell all coefficients apart, whatever the units of the characteristics."""
    scale = np.sqrt(np.diagonal(sums.gram, axis1=1, axis2=2))
    scale = np.where(scale > 0, scale, 1.0)
    values = np.linalg.eigvalsh(sums.gram / (scale[:, :, None] * scale[:, None, :]))
    return np.asarray(values[:, 0] > COLLINEAR * values[:, -1])  # not so with fewer stocks than coefficients


def _labelled(coefficients: Array, train: Panel, n_months: int, penalty: float = 0.0) -> LinearForecast:
    features = ["intercept", *train.characteristics]
    labelled = xr.DataArray(coefficients, {"feature": features}, ("feature",), attrs={"units": UNITS})
    return LinearForecast(labelled, train.preparation, train.frequency, n_months, penalty)
