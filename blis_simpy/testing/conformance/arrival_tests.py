"""Conformance suite for arrival processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blis_simpy.testing.conformance.drawing_suite import DrawingSuite
from blis_simpy.testing.conformance.suite import require

if TYPE_CHECKING:
    import numpy as np

__all__ = ["ArrivalProcessTests"]

_RATE_PER_S = 10.0
_NUM_GAPS = 20_000


class ArrivalProcessTests(DrawingSuite):
    """Tests of the rules of `blis_simpy.workload.arrivals.ArrivalProcess`.

    Attributes
    ----------
    rate_tolerance : float, fraction
        Tolerance of the mean rate of 20,000 requests. Increase it for a process with a high variance or strong
        correlation of its gaps.
    """

    rate_tolerance = 0.1
    method = "inter_arrival_times"
    least = 1

    def draw(self, plugin: Any, rng: np.random.Generator, n: int) -> Any:
        """Draw gaps at 10 requests per second."""
        return plugin.inter_arrival_times(rng, _RATE_PER_S, n)

    def test_rate_is_the_one_asked_for(self) -> None:
        """`rate_per_s` is the mean number of requests per second, for any distribution of the gaps."""
        process = self.make()
        for rate in (_RATE_PER_S, 0.01):
            gaps = process.inter_arrival_times(self.stream(), rate, _NUM_GAPS)
            found = _NUM_GAPS * 1e6 / float(gaps.sum(dtype=float))
            rule = f"the mean rate must be within {self.rate_tolerance:.0%} of rate_per_s"
            good = abs(found - rate) <= self.rate_tolerance * rate
            require(good, process, rule, rate_per_s=rate, found=round(found, 4), gaps=_NUM_GAPS)

    def test_gaps_are_at_least_a_tick_at_any_rate(self) -> None:
        """Gaps are at least 1 µs at very high rates, and valid ticks at very low rates."""
        process = self.make()
        for rate in (1e-9, 1e9):
            gaps = process.inter_arrival_times(self.stream(), rate, 100)
            require(gaps.min() >= 1, process, "gaps must be >= 1 µs at any rate", rate_per_s=rate, least=gaps.min())
