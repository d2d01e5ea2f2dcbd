"""A request inside a replica: what the engine and its KV store keep about it while they hold it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from blis_simpy.core.request import Request
    from blis_simpy.replica.kv_store import Block

__all__ = ["RunningRequest"]


class RunningRequest:
    """State of one request on one replica, from its entry into the wait queue to its end.

    A decoding sequence is not touched while it decodes. Its progress follows from the engine's step counter: it gets
    one token in each step from `first_decode_step` on and ends in step `last_step`.

    Attributes
    ----------
    request : Request
        The request.
    position : int
        Order of entry into the wait queue.
    input_tokens : int
        Prompt length.
    last_progress : int, tokens
        Progress at which it ends: one less than prompt and output, or the cap of the maximum model length.
    capped : bool
        Whether that cap ends it.
    batch_position : int
        Order of admission, and so of the running batch; -1 outside of it.
    computed : int, tokens
        Prompt tokens whose KV is stored; only kept up to the end of the prefill.
    granted : int, tokens
        Tokens that the step under formation computes for it, if they were granted to it alone; else 0.
    first_decode_step, last_step : int
        Step numbers; -1 before the prefill has ended.
    busy_us_before : int, µs
        The engine's busy time up to the end of its prefill step.
    blocks : list of Block
        Leading blocks that it shares or may share, with their identity.
    num_blocks : int
        All blocks that it held at the end of its last prefill chunk.
    extra_stored : int, tokens
        Tokens stored in its blocks beyond its progress, as the KV store counts them. An empty prompt has 1: its first
        output token is stored when it is admitted and again when it is decoded.
    keys : list of int or None
        Identities of its leading prompt blocks that a prefix cache can find; None until the store needs them.
    withdrawn : bool
        Whether it was taken away to be served elsewhere.
    """

    __slots__ = (
        "batch_position",
        "blocks",
        "busy_us_before",
        "capped",
        "computed",
        "extra_stored",
        "first_decode_step",
        "granted",
        "input_tokens",
        "keys",
        "last_progress",
        "last_step",
        "num_blocks",
        "position",
        "request",
        "withdrawn",
    )

    def __init__(self, request: Request, position: int, last_progress: int, capped: bool) -> None:
        self.request = request
        self.position = position
        self.input_tokens = request.input_tokens
        self.last_progress = last_progress
        self.capped = capped
        self.batch_position = -1
        self.computed = 0
        self.granted = 0
        self.first_decode_step = -1
        self.last_step = -1
        self.busy_us_before = 0
        self.blocks: list[Block] = []
        self.num_blocks = 0
        self.extra_stored = 0
        self.keys: list[int] | None = None
        self.withdrawn = False

    @property
    def decoding(self) -> bool:
        """Whether its prefill has ended."""
        return self.first_decode_step >= 0
