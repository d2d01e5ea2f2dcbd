"""Limits on the length of a request: whether a replica can serve it, and where its output is cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from blis_simpy.core.request import Request

__all__ = ["ClippedLengths", "LengthLimits"]


class LengthLimits:
    """Limits of one replica.

    Parameters
    ----------
    max_model_len : int
        Cap on prompt and output, tokens; 0 = none.
    num_blocks : int
        KV blocks.
    block_size : int
        Tokens a KV block.
    min_input_tokens : int
        Fewest prompt tokens. Steps that take effect at their end need one: an empty prompt gets no token in a step, and
        a step without tokens is none.
    """

    def __init__(self, max_model_len: int, num_blocks: int, block_size: int, min_input_tokens: int = 0) -> None:
        self._min_input_tokens = min_input_tokens
        self._max_model_len = max_model_len
        self._num_blocks = num_blocks
        self._block_size = block_size

    def is_servable(self, request: Request) -> bool:
        """Whether prompt and output budget are within the cap and fit all KV blocks."""
        limit, length, budget = self._max_model_len, request.input_tokens, request.max_output_tokens
        if budget < 0 or length < self._min_input_tokens or (limit and (length >= limit or length + budget > limit)):
            return False
        if limit and not budget:
            # Without a budget the output may reach the cap. With neither, only the prompt is checked, and a request is
            # dropped when it outgrows the KV blocks.
            budget = limit - length
        return -(-(length + budget) // self._block_size) <= self._num_blocks

    def last_progress(self, request: Request) -> tuple[int, bool]:
        """Return the progress at the end of a request, tokens, and whether the cap ends it.

        The last output token is never an input of a step, so the progress ends one token before the end of prompt and
        output. A capped request ends one token before the cap, as in the reference.
        """
        limit = self._max_model_len
        progress = request.input_tokens + max(request.output_tokens, 1) - 1
        return (limit - 1, True) if 0 < limit <= progress else (progress, False)


class ClippedLengths(LengthLimits):
    """Limits of a replica that clips outputs instead of dropping requests, as in vLLM.

    KV blocks clip outputs as well: vLLM does not start unless a request of the maximum length fits them.

    Parameters
    ----------
    max_model_len, num_blocks, block_size, min_input_tokens
        As for `LengthLimits`.
    """

    def __init__(self, max_model_len: int, num_blocks: int, block_size: int, min_input_tokens: int = 0) -> None:
        super().__init__(max_model_len, num_blocks, block_size, min_input_tokens)
        # One more than fits, because the last output is not stored.
        most = num_blocks * block_size + 1
        self._longest = min(max_model_len or most, most)

    def is_servable(self, request: Request) -> bool:
        """Whether the prompt leaves room for an output token, and the output budget alone is within the cap."""
        budget = request.max_output_tokens
        return self._min_input_tokens <= request.input_tokens < self._longest and 0 <= budget <= (
            self._max_model_len or budget
        )

    def last_progress(self, request: Request) -> tuple[int, bool]:
        """Return the progress at the end of a request, tokens, and whether the cap ends it.

        The number of outputs is the minimum of the planned number, the budget and the room, and at least 1.
        """
        outputs = max(request.output_tokens, 1)
        if request.max_output_tokens:
            outputs = min(outputs, request.max_output_tokens)
        room = self._longest - request.input_tokens
        return request.input_tokens + min(outputs, room) - 1, outputs > room
