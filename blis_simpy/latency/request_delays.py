"""Per-request delays that grow with the prompt: what several latency models have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blis_simpy.latency.base import to_ticks

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["PromptLengthDelays"]


class PromptLengthDelays:
    """Delays outside the engine, from three coefficients.

    Parameters
    ----------
    alpha : sequence of float
        Queueing delay (µs), its growth with the prompt (µs per input token), processing of an output token (µs).
    """

    def __init__(self, alpha: Sequence[float]) -> None:
        self._queueing, self._queueing_per_token, output = alpha[:3]
        self._output_token = to_ticks(output)

    def queueing_time(self, input_tokens: int) -> int:
        """Return the delay from arrival at the replica to entry in its wait queue, µs."""
        return to_ticks(self._queueing + self._queueing_per_token * input_tokens)

    def output_token_processing_time(self) -> int:
        """Return what is added to TTFT and to every inter-token latency, µs."""
        return self._output_token

    def post_decode_overhead(self) -> int:
        """Return what is added once to the E2E latency, µs: nothing here."""
        return 0
