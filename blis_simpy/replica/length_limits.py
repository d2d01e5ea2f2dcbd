"""Limits on the length of a request: which requests a replica can serve, and where it cuts them off."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from blis_simpy.core.request import Request

__all__ = ["LengthLimits"]


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
    """

    def __init__(self, max_model_len: int, num_blocks: int, block_size: int) -> None:
        self._max_model_len = max_model_len
        self._num_blocks = num_blocks
        self._block_size = block_size

    def is_servable(self, request: Request) -> bool:
        """Whether prompt and output budget are within the cap, and fit the KV blocks if the request is alone."""
        limit, length, budget = self._max_model_len, request.input_tokens, request.max_output_tokens
        if budget < 0 or (limit and (length >= limit or length + budget > limit)):
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
