"""Per-request delays that are the same for every request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blis_simpy.latency.base import to_ticks

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["FixedDelays"]


class FixedDelays:
    """Delays outside the engine, from three coefficients, each truncated separately.

    Parameters
    ----------
    alpha : sequence of float, µs
        Queueing delay, overhead after the last token, processing of an output token.
    """

    def __init__(self, alpha: Sequence[float]) -> None:
        self._queueing, self._post_decode, self._output_token = map(to_ticks, alpha[:3])

    def queueing_time(self, input_tokens: int) -> int:
        """Return the delay from arrival at the replica to entry in its wait queue, µs."""
        del input_tokens
        return self._queueing

    def output_token_processing_time(self) -> int:
        """Return what is added to TTFT and to every inter-token latency, µs."""
        return self._output_token

    def post_decode_overhead(self) -> int:
        """Return what is added once to the E2E latency, µs."""
        return self._post_decode
