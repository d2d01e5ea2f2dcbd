"""Limits on the length of a request: which requests a replica can serve, and where it cuts them off."""

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
        """Whether prompt and output budget are within the cap, and fit the KV blocks if the request is alone."""
        limit, length, budget = self._max_model_len, request.input_tokens, request.max_output_tokens
        if budget < 0 or length < self._min_input_tokens or (limit and (length >= limit or length + budget > limit)):
            return False
        if limit and not budget:
            # Without a budget the output may reach the cap. Without a cap either, only the prompt is checked: a request
            # that outgrows the blocks is dropped when it does.
            budget = limit - length
        return -(-(length + budget) // self._block_size) <= self._num_blocks

    def last_progress(self, request: Request) -> tuple[int, bool]:
        """Return the progress at which a request ends, tokens, and whether the cap ends it.

        The last output token is never an input of a step, so progress ends one short of prompt and output. The cap ends
        a request one token short of itself, as in the reference.
        """
        limit = self._max_model_len
        progress = request.input_tokens + max(request.output_tokens, 1) - 1
        return (limit - 1, True) if 0 < limit <= progress else (progress, False)


class ClippedLengths(LengthLimits):
    """Limits of a replica that clips outputs instead of refusing requests, as vLLM does.

    The KV blocks limit lengths, too: vLLM does not start if a request of the maximum length does not fit them.

    Parameters
    ----------
    max_model_len, num_blocks, block_size, min_input_tokens
        As for `LengthLimits`.
    """

    def __init__(self, max_model_len: int, num_blocks: int, block_size: int, min_input_tokens: int = 0) -> None:
        super().__init__(max_model_len, num_blocks, block_size, min_input_tokens)
        # The last output is not stored.
        most = num_blocks * block_size + 1
        self._longest = min(max_model_len or most, most)

    def is_servable(self, request: Request) -> bool:
        """Whether the prompt leaves room for an output, and the output budget alone is within the cap."""
        budget = request.max_output_tokens
        return self._min_input_tokens <= request.input_tokens < self._longest and 0 <= budget <= (
            self._max_model_len or budget
        )

    def last_progress(self, request: Request) -> tuple[int, bool]:
        """Return the progress at which a request ends, tokens, and whether the cap ends it.

        It gets one output at least, and as many as planned if neither its budget nor the cap is less.
        """
        outputs = max(request.output_tokens, 1)
        if request.max_output_tokens:
            outputs = min(outputs, request.max_output_tokens)
        room = self._longest - request.input_tokens
        return request.input_tokens + min(outputs, room) - 1, outputs > room
