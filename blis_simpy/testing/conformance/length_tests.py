"""Conformance suite for length distributions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blis_simpy.testing.conformance.drawing_suite import DrawingSuite

if TYPE_CHECKING:
    import numpy as np

__all__ = ["LengthDistributionTests"]


class LengthDistributionTests(DrawingSuite):
    """Tests of the rules of `blis_simpy.workload.lengths.LengthSampler`."""

    method = "sample"
    least = 0

    def draw(self, plugin: Any, rng: np.random.Generator, n: int) -> Any:
        """Draw lengths."""
        return plugin.sample(rng, n)
