"""Arrival processes: how long it is from one request of a client to its next.

Gaps are whole ticks (µs), at least one; the first gap leads from tick 0 to the first request.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import attrs
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ArrivalProcess", "ConstantArrivals", "PoissonArrivals"]

# Slower than one request in 10**15 µs (about 32 years) is taken as that, so that gaps stay inside the clock.
_MIN_RATE_PER_US = 1e-15


class ArrivalProcess(Protocol):
    """Anything that draws gaps."""

    def inter_arrival_times(self, rng: np.random.Generator, rate_per_s: float, n: int) -> NDArray[np.int64]:
        """Draw the next gaps.

        Parameters
        ----------
        rng : numpy.random.Generator
            Stream of this client's arrivals. Asking twice for n must give the same as asking once for 2n.
        rate_per_s : float
            Mean number of requests per second, > 0.
        n : int
            How many gaps, >= 1.

        Returns
        -------
        ndarray of int64, shape (n,), µs
            Each >= 1.
        """
        ...


@attrs.frozen
class ConstantArrivals:
    """Requests at regular intervals, without chance.

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
        gaps = (rng.standard_exponential(n) / _rate_per_us(rate_per_s)).astype(np.int64)
        return np.maximum(gaps, 1)


def _rate_per_us(rate_per_s: float) -> float:
    return max(rate_per_s / 1e6, _MIN_RATE_PER_US)
