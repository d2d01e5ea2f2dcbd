"""Means and percentiles with the rounding of the reference, over plain and over weighted values."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Percentiles", "ecdf", "histogram"]

_MOST_POINTS = 2_000


@attrs.frozen(eq=False, repr=False)
class Percentiles:
    """A distribution of values, of which mean, percentiles and deviation are computed.

    Attributes
    ----------
    values : ndarray of int64 or float64, shape (num_values,), µs
        Values, ascending; a value may be repeated.
    ranks : ndarray of int64, shape (num_values,), or None
        Number of occurrences of all values up to each one; None if each occurs once.
    """

    values: NDArray[Any]
    ranks: NDArray[np.int64] | None = None

    def __repr__(self) -> str:
        if not self.count:
            return "<Percentiles of no values>"
        figures = ", ".join(f"p{percent} {self.percentile_ms(percent):,.3f}" for percent in (50, 90, 99))
        return f"<Percentiles of {self.count:,} values: mean {self.mean_ms:,.3f}, {figures} ms>"

    @classmethod
    def of(cls, values: NDArray[Any], weights: NDArray[np.int64] | None = None) -> Percentiles:
        """Make the distribution of values, each of which occurs once or `weights` times."""
        if weights is None:
            return cls(np.sort(values))
        used = weights > 0
        values, weights = values[used], weights[used]
        order = np.argsort(values, kind="stable")
        return cls(values[order], np.cumsum(weights[order]))

    @classmethod
    def known(cls, values: NDArray[Any]) -> Percentiles:
        """Make the distribution of the values >= 0; a negative one means that there is no value."""
        return cls.of(values[values >= 0])

    @property
    def cumulative(self) -> NDArray[np.int64]:
        """Number of occurrences of all values up to each one; shape (num_values,)."""
        return np.arange(1, len(self.values) + 1) if self.ranks is None else self.ranks

    @property
    def count(self) -> int:
        """Number of values, counting repetitions."""
        if self.ranks is None or not len(self.ranks):
            return len(self.values)
        return int(self.ranks[-1])

    @property
    def _counts(self) -> NDArray[np.int64]:
        """Number of occurrences of each value."""
        return np.diff(self.cumulative, prepend=0)

    @property
    def total(self) -> float:
        """Sum: exact for integers, correctly rounded for others."""
        if self.values.dtype.kind == "f":
            return math.fsum(self.values * self._counts)
        return int(self.values @ self._counts)

    @property
    def mean(self) -> float:
        """Mean, µs; 0 if there are no values."""
        return self.total / self.count if self.count else 0.0

    @property
    def std(self) -> float:
        """Standard deviation of the values, not of a sample of them, µs; 0 if there are no values."""
        if not self.count:
            return 0.0
        # A sum of rounded products would depend on the order of addition, and so on the machine.
        return math.sqrt(math.fsum((self.values - self.mean) ** 2 * self._counts) / self.count)

    def _at(self, index: int) -> float:
        place = index if self.ranks is None else np.searchsorted(self.ranks, index, side="right")
        found: float = self.values[place].item()
        return found

    def _rank(self, percent: float) -> tuple[float, float, float]:
        rank = percent / 100 * (self.count - 1)
        low = math.floor(rank)
        return self._at(low), self._at(math.ceil(rank)), rank - low

    def percentile(self, percent: float) -> float:
        """Percentile with linear interpolation between ranks, µs; 0 if there are no values."""
        if not self.count:
            return 0.0
        low, high, fraction = self._rank(percent)
        return low + fraction * (high - low)

    def percentile_ms(self, percent: float) -> float:
        """Percentile in ms, with the roundings of the reference; 0 if there are no values."""
        if not self.count:
            return 0.0
        low, high, fraction = self._rank(percent)
        return low / 1000 + (high - low) * fraction / 1000 if fraction else low / 1000

    @property
    def mean_ms(self) -> float:
        """Mean in ms; 0 if there are no values."""
        return self.mean / 1000


def ecdf(latency: Percentiles) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute the empirical cumulative distribution function.

    Returns
    -------
    values : ndarray of float64, shape (num_points,), ms
        Distinct values, ascending; of more than 2,000, a selection at equal ranks with the first and the last.
    shares : ndarray of float64, shape (num_points,), fraction
        Share of the values up to each one.
    """
    last = np.flatnonzero(np.diff(latency.values, append=latency.values[-1] + 1))
    if len(last) > _MOST_POINTS:
        ranks = np.linspace(latency.cumulative[last[0]], latency.count, _MOST_POINTS)
        last = last[np.unique(np.searchsorted(latency.cumulative[last], ranks))]
    return latency.values[last] / 1000, latency.cumulative[last] / latency.count


def histogram(
    groups: Mapping[str, Percentiles], bins: int = 50
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    """Compute histograms of several groups with common bins of equal width.

    Parameters
    ----------
    groups : mapping of str to Percentiles
        Distributions by group; at least one, none of them empty.
    bins : int
        Number of bins, >= 1.

    Returns
    -------
    edges : ndarray of float64, shape (bins + 1,), ms
    shares : dict of str to ndarray of float64, shape (bins,), fraction
        Share of the values of each group in each bin.
    """
    low = min(int(group.values[0]) for group in groups.values())
    high = max(int(group.values[-1]) for group in groups.values())
    # Equal values are in the middle.
    margin = 0 if high > low else max(low, 1) / 10
    edges = np.linspace(low - margin, high + margin, bins + 1)
    counts = {
        name: np.histogram(group.values, edges, weights=np.diff(group.cumulative, prepend=0))[0] / group.count
        for name, group in groups.items()
    }
    return edges / 1000, counts
