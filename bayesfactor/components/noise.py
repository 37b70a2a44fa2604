r"""Densities of a stock's noise, at scale 1: all that a month's law needs of each.

.. math::
    p(x) = \exp(-\rho(x)) / Z, \qquad \rho(x) = \begin{cases}
        x^2 / 2 & \text{normal} \\
        \tfrac{\nu + 1}{2} \log(1 + x^2 / \nu) & \text{Student-t} \\
        |x| & \text{Laplace} \\
        x^2 / 2 \text{ within } \delta, \quad \delta |x| - \delta^2 / 2 \text{ beyond} & \text{Huber (1964)}
    \end{cases}

Each class has the same members. All four densities are symmetric: what is known of the location and of the scale does
not interact.

``log_density(residual, scale)``
    natural log of ``p(residual / scale) / scale``, elementwise.
``draw(rng_key, shape, dtype)``
    independent draws.
``curvature(x)``
    ``rho''``, elementwise: what an observation says about the location at the value that it has.
``variance``
    of ``x``.
``location_information``, ``log_scale_information``
    Fisher information of one observation about its location and about the log of its scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import erf, gammaln

LOG_2PI = float(np.log(2 * np.pi))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Normal:
    """Standard normal."""

    variance = 1.0
    location_information = 1.0
    log_scale_information = 2.0

    def log_density(self, residual: Array, scale: Array) -> Array:
        """``Z = sqrt(2 pi)``."""
        return -0.5 * (LOG_2PI + 2 * jnp.log(scale) + (residual / scale) ** 2)

    def draw(self, rng_key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        """Draws of the generator."""
        return jax.random.normal(rng_key, shape, dtype)

    def curvature(self, x: Array) -> Array:
        """The same everywhere."""
        return jnp.ones_like(x)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class StudentT:
    """Student-t; `degrees_of_freedom` () above 2, or there is no variance."""

    degrees_of_freedom: Array | float

    @property
    def variance(self) -> Array | float:
        """``nu / (nu - 2)``."""
        return self.degrees_of_freedom / (self.degrees_of_freedom - 2.0)

    @property
    def location_information(self) -> Array | float:
        """``(nu + 1) / (nu + 3)``."""
        return (self.degrees_of_freedom + 1) / (self.degrees_of_freedom + 3)

    @property
    def log_scale_information(self) -> Array | float:
        """``2 nu / (nu + 3)``."""
        return 2.0 * self.degrees_of_freedom / (self.degrees_of_freedom + 3)

    def log_density(self, residual: Array, scale: Array) -> Array:
        """``Z = sqrt(nu pi) Gamma(nu/2) / Gamma((nu + 1)/2)``."""
        nu = jnp.asarray(self.degrees_of_freedom)
        constant = gammaln((nu + 1) / 2) - gammaln(nu / 2) - 0.5 * jnp.log(nu * jnp.pi)
        return constant - jnp.log(scale) - (nu + 1) / 2 * jnp.log1p((residual / scale) ** 2 / nu)

    def draw(self, rng_key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        """Draws of the generator."""
        return jax.random.t(rng_key, jnp.asarray(self.degrees_of_freedom), shape, dtype)

    def curvature(self, x: Array) -> Array:
        """Negative beyond ``sqrt(nu)``: an outlier says that the location is elsewhere."""
        nu = self.degrees_of_freedom
        return (nu + 1) * (nu - x**2) / (nu + x**2) ** 2


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Laplace:
    """Laplace: its most likely location is the median.

    With `blur` (as the residuals, at scale 1) `log_density` is its average over normal errors of that sd in ``x``:
    smooth, for a location that is itself uncertain.
    """

    blur: Array | None = None

    variance = 2.0
    location_information = 1.0
    log_scale_information = 1.0

    def log_density(self, residual: Array, scale: Array) -> Array:
        """``Z = 2``; the mean of a folded normal if blurred."""
        x = residual / scale
        if self.blur is None:
            return -jnp.log(2.0 * scale) - jnp.abs(x)
        blur = jnp.maximum(self.blur, 1e-6)
        mean = x * erf(x / (np.sqrt(2.0) * blur)) + np.sqrt(2 / np.pi) * blur * jnp.exp(-0.5 * (x / blur) ** 2)
        return -jnp.log(2.0 * scale) - mean

    def draw(self, rng_key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        """Draws of the generator."""
        return jax.random.laplace(rng_key, shape, dtype)

    def curvature(self, x: Array) -> Array:
        """Its expectation, the Fisher information: all the curvature is in the kink at zero."""
        return jnp.ones_like(x)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Huber:
    """Normal within `delta` () of the centre, exponential tails beyond.

    With ``A`` the integral of ``exp(-x^2/2)`` over the centre and ``phi = exp(-delta^2/2)``, integrals by parts give
    those of ``x^2 exp(-rho)``: ``A - 2 delta phi`` over the centre, ``2 phi (delta + 2/delta + 2/delta^3)`` over the
    tails.
    """

    delta: Array | float

    @property
    def _centre(self) -> Array:
        return jnp.sqrt(2 * jnp.pi) * erf(self.delta / jnp.sqrt(2.0))

    @property
    def _edge(self) -> Array:
        return jnp.exp(-0.5 * jnp.square(self.delta))

    @property
    def _normaliser(self) -> Array:
        return self._centre + 2 * self._edge / self.delta

    @property
    def variance(self) -> Array:
        """``(A + 4 phi (1/delta + 1/delta^3)) / Z``."""
        return (self._centre + 4 * self._edge * (1 / self.delta + 1 / self.delta**3)) / self._normaliser

    @property
    def location_information(self) -> Array:
        """``P(|x| < delta) = A / Z``."""
        return self._centre / self._normaliser

    @property
    def log_scale_information(self) -> Array:
        """``1 + E[x^2; |x| < delta]``."""
        return 1 + (self._centre - 2 * self.delta * self._edge) / self._normaliser

    def log_density(self, residual: Array, scale: Array) -> Array:
        """``Z = A + 2 phi / delta``."""
        size = jnp.abs(residual / scale)
        centre = jnp.minimum(size, self.delta)
        return -jnp.log(scale * self._normaliser) - centre * (size - 0.5 * centre)

    def draw(self, rng_key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        """A normal draw within `delta` or an exponential one beyond, on either side."""
        side_key, centre_key, tail_key, sign_key = jax.random.split(rng_key, 4)
        within = jax.random.uniform(side_key, shape, dtype) < self.location_information
        centre = jax.random.truncated_normal(centre_key, -self.delta, self.delta, shape, dtype)
        tail = self.delta + jax.random.exponential(tail_key, shape, dtype) / self.delta
        return jnp.where(within, centre, jax.random.rademacher(sign_key, shape, dtype) * tail)

    def curvature(self, x: Array) -> Array:
        """One in the centre, none beyond."""
        return jnp.where(jnp.abs(x) < self.delta, 1.0, 0.0)


Noise = Normal | StudentT | Laplace | Huber


def density(name: str, huber_delta: float, params: Mapping[str, Any]) -> Noise:
    """The noise of a name at scale 1: "normal", "laplace", "huber", or "student_t" (`degrees_of_freedom` in params)."""
    if name == "student_t":
        return StudentT(params["degrees_of_freedom"])
    if name == "huber":
        return Huber(huber_delta)
    return Laplace() if name == "laplace" else Normal()
