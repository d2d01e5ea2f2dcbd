"""Arrival processes, which draw the gaps between the requests of a client.

Gaps are whole ticks (µs), at least 1; the first gap leads from tick 0 to the first request.
"""

from __future__ import annotations

import logging
import math
from functools import cache
from typing import TYPE_CHECKING, ClassVar, Protocol

import attrs
import numpy as np

from blis_simpy.settings.fields import setting, settings_class

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ArrivalProcess", "ConstantArrivals", "GammaArrivals", "PoissonArrivals", "WeibullArrivals"]

_log = logging.getLogger("blis_simpy")

# Slower than one request in 10**15 µs (about 32 years) is taken as that, so that gaps stay inside the clock.
_MIN_RATE_PER_US = 1e-15
# A single gap must not overflow a clock of 63 bits.
_LONGEST_GAP_US = 2.0**62


class ArrivalProcess(Protocol):
    """Draws the gaps between the requests of a client.

    Drawing in parts gives the same gaps: two calls for n return what one call for 2n returns. The requests of a short
    run are then the first ones of a longer run.
    """

    def inter_arrival_times(self, rng: np.random.Generator, rate_per_s: float, n: int) -> NDArray[np.int64]:
        """Draw the next gaps.

        Parameters
        ----------
        rng : numpy.random.Generator
            Random stream of the arrivals of this client.
        rate_per_s : float
            Mean number of requests per second, > 0.
        n : int
            Number of gaps, >= 1.

        Returns
        -------
        ndarray of int64, shape (n,), µs
            Each >= 1.
        """
        ...


@attrs.frozen
class ConstantArrivals:
    """Requests at regular intervals.

    Examples
    --------
    >>> ConstantArrivals().inter_arrival_times(np.random.default_rng(), 3.0, 2).tolist()
    [333333, 333333]
    """

    def inter_arrival_times(self, rng: np.random.Generator, rate_per_s: float, n: int) -> NDArray[np.int64]:
        """Repeat the period, rounded to the nearest µs and at least 1; draws nothing."""
        return np.full(n, max(math.floor(1.0 / _rate_per_us(rate_per_s) + 0.5), 1), dtype=np.int64)


@attrs.frozen
class PoissonArrivals:
    """A Poisson process: exponential gaps, independent of each other."""

    def inter_arrival_times(self, rng: np.random.Generator, rate_per_s: float, n: int) -> NDArray[np.int64]:
        """Draw exponential gaps, truncated to whole µs and at least 1, as in the reference."""
        return _whole(rng.standard_exponential(n) / _rate_per_us(rate_per_s))


@settings_class(kw_only=False)
class GammaArrivals:
    """A renewal process with gamma-distributed gaps: bursty above a coefficient of variation of 1, regular below.

    A coefficient of variation that is not positive counts as 1, as in the reference. If its square underflows, the gaps
    are constant.
    """

    cv: float = setting(default=1.0, help="Coefficient of variation of the gaps.")

    @property
    def _shape(self) -> float:
        if self.cv <= 0:
            return 1.0
        variance = self.cv * self.cv
        return 1.0 / variance if variance > 0 else math.inf

    def inter_arrival_times(self, rng: np.random.Generator, rate_per_s: float, n: int) -> NDArray[np.int64]:
        """Draw gamma gaps, truncated to whole µs and at least 1."""
        if math.isinf(self._shape):
            return ConstantArrivals().inter_arrival_times(rng, rate_per_s, n)
        mean = 1.0 / _rate_per_us(rate_per_s)
        return _whole(rng.standard_gamma(self._shape, n) * (mean / self._shape))


@settings_class(kw_only=False)
class WeibullArrivals:
    """A renewal process with Weibull-distributed gaps.

    Examples
    --------
    >>> round(WeibullArrivals(cv=2.0).shape, 6)
    0.542825
    """

    CV_RANGE: ClassVar[tuple[float, float]] = (0.01, 10.4)
    """Range that the reference allows for clients."""

    cv: float = setting(default=1.0, help="Coefficient of variation of the gaps.")

    @property
    def shape(self) -> float:
        """Shape parameter of the distribution, found by the coarse bisection of the reference."""
        return _weibull_shape(self.cv)

    def inter_arrival_times(self, rng: np.random.Generator, rate_per_s: float, n: int) -> NDArray[np.int64]:
        """Draw Weibull gaps, truncated to whole µs and at least 1."""
        scale = 1.0 / _rate_per_us(rate_per_s) / math.gamma(1.0 + 1.0 / self.shape)
        return _whole(scale * rng.standard_exponential(n) ** (1.0 / self.shape))


@cache
def _weibull_shape(cv: float) -> float:
    """Shape whose coefficient of variation is within 0.001 of the given one; the reference has the same tolerance."""
    low, high = 0.1, 100.0
    for _ in range(100):
        middle = (low + high) / 2
        found = math.sqrt(math.gamma(1.0 + 2.0 / middle) / math.gamma(1.0 + 1.0 / middle) ** 2 - 1.0)
        if abs(found - cv) < 0.001:
            return middle
        if found > cv:
            low = middle
        else:
            high = middle
    _log.warning("no weibull distribution has cv %g; the nearest shape is %g", cv, (low + high) / 2)
    return (low + high) / 2


def _whole(gaps: NDArray[np.float64]) -> NDArray[np.int64]:
    """Truncate gaps to whole µs, at least 1."""
    return gaps.clip(1.0, _LONGEST_GAP_US).astype(np.int64)


def _rate_per_us(rate_per_s: float) -> float:
    return max(rate_per_s / 1e6, _MIN_RATE_PER_US)
