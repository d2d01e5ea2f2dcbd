"""Agreement of simulated with measured latencies: percentiles, error, correlation, quality."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PERCENTS", "Agreement"]

PERCENTS = (50, 90, 95, 99)
"""Percentiles of the report."""

_FEWEST_FOR_CORRELATION = 3
# Upper limit of the error and lower limit of the correlation, both exclusive.
_QUALITIES = (("excellent", 0.10, 0.95), ("good", 0.20, 0.85), ("fair", 0.35, 0.70))
_REST = "poor"


@attrs.frozen(kw_only=True)
class Agreement:
    """Agreement of one kind of latency over all pairs.

    Attributes
    ----------
    real, simulated : mapping of int to float, µs
        Percentiles by percent; see `PERCENTS`.
    mape : float, fraction
        Mean of |real - simulated| / real over the pairs with a real latency other than 0; 0 without any.
    pearson_r : float
        Correlation of all pairs, -1..1; 0 for fewer than three pairs or where either latency does not vary.
    bias : str
        ``over-predict``, ``under-predict`` or ``neutral``: the sign of the sum of simulated - real over the pairs that
        the error is over; empty without any.
    quality : str
        ``excellent``, ``good``, ``fair`` or ``poor``, by error and correlation.
    count : int
        Number of pairs.

    Notes
    -----
    Source: docs, traces, "Calibrate". ``excellent`` needs an error below 10 % and a correlation above 0.95, ``good``
    20 % and 0.85, ``fair`` 35 % and 0.70; so fewer than three pairs are always ``poor``.

    Examples
    --------
    >>> agreement = Agreement.of(np.array([100, 120, 150, 200]), np.array([90, 130, 150, 260]))
    >>> round(agreement.mape, 6), agreement.bias, agreement.quality
    (0.120833, 'over-predict', 'good')
    """

    real: Mapping[int, float]
    simulated: Mapping[int, float]
    mape: float
    pearson_r: float
    bias: str
    quality: str
    count: int

    @classmethod
    def of(cls, real: NDArray[Any], simulated: NDArray[Any]) -> Agreement:
        """Compare latencies in µs, pair by pair.

        Parameters
        ----------
        real, simulated : ndarray, shape (num_pairs,), µs
            At least one pair.
        """
        real, simulated = real.astype(np.float64), simulated.astype(np.float64)
        judged = real != 0
        truth, difference = real[judged], (simulated - real)[judged]
        # Correctly rounded sums, independent of the order of the pairs and the platform.
        mape = math.fsum(np.abs(difference) / truth) / len(truth) if len(truth) else 0.0
        pearson_r = _pearson(real, simulated)
        return cls(
            real=_percentiles(real),
            simulated=_percentiles(simulated),
            mape=mape,
            pearson_r=pearson_r,
            bias=_bias(math.fsum(difference)) if len(truth) else "",
            quality=next((name for name, error, r in _QUALITIES if mape < error and pearson_r > r), _REST),
            count=len(real),
        )


def _percentiles(values: NDArray[np.float64]) -> dict[int, float]:
    """Return percentiles with linear interpolation between ranks."""
    ascending = np.sort(values).tolist()
    found = {}
    for percent in PERCENTS:
        rank = percent / 100 * (len(ascending) - 1)
        low, high = ascending[math.floor(rank)], ascending[math.ceil(rank)]
        found[percent] = low + (rank - math.floor(rank)) * (high - low)
    return found


def _bias(surplus: float) -> str:
    if surplus == 0:
        return "neutral"
    return "over-predict" if surplus > 0 else "under-predict"


def _pearson(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    if len(x) < _FEWEST_FOR_CORRELATION or not (_varies(x) and _varies(y)):
        return 0.0
    dx, dy = x - math.fsum(x) / len(x), y - math.fsum(y) / len(y)
    r = math.fsum(dx * dy) / math.sqrt(math.fsum(dx * dx) * math.fsum(dy * dy))
    return min(max(r, -1.0), 1.0)


def _varies(values: NDArray[np.float64]) -> bool:
    """Whether values differ by more than rounding errors."""
    return bool(np.ptp(values) > 8 * np.finfo(np.float64).eps * np.abs(values).max())
