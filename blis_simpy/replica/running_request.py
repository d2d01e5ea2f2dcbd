"""A leg with the state that engine and KV store keep for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blis_simpy.core.request import Leg, Phase, RequestOutcome
from blis_simpy.native import mypyc_attr

if TYPE_CHECKING:
    from collections.abc import Sequence, Sized

    from blis_simpy.core.block_keys import BlockKeys
    from blis_simpy.core.request import Request

__all__ = ["RunningRequest"]


@mypyc_attr(serializable=True, allow_interpreted_subclasses=True)
class RunningRequest(Leg):
    """A leg with the state that engine and KV store keep for it.

    A request is not updated while it decodes: it gets one token in each step from `first_decode_step` to `last_step`,
    so its progress follows from the number of the step.

    Parameters
    ----------
    request, replica, phase, routed_at
        As for `Leg`.

    Attributes
    ----------
    position : int
        Number of its entry into the wait queue of the replica; unchanged by preemptions.
    input_tokens : int
        Tokens of its prefill: the prompt, and after a preemption the outputs that it has kept.
    num_outputs : int
        Outputs before its last admission.
    last_progress : int, tokens
        Progress at its end: prompt and output less one, or the cap of the maximum model length.
    capped : bool
        Whether the cap ends it.
    batch_position : int
        Number of its admission, which orders the running batch; -1 outside the batch.
    computed : int, tokens
        Progress of its prefill; not updated while it decodes.
    granted : int, tokens
        Tokens granted individually in the step that is being formed; else 0.
    first_decode_step, last_step : int
        Number of its first decode step and of its last step; -1 during prefill. Each missed token shifts both by one.
    missed_steps : tuple of int
        Steps since its last admission in which it got no token.
    finishing : bool
        Whether its last step is pending.
    delivered_at_last_step : int
        Number of delivered steps at the formation of its last step.
    busy_us_before : int, µs
        Busy time of the engine up to the end of its prefill.
    blocks : Sized
        Its leading blocks with a key.
    num_blocks : int
        Number of its blocks at the end of its last prefill chunk.
    extra_stored : int, tokens
        Tokens in its blocks beyond its progress. 1 for an empty prompt: its first output token is stored at admission,
        and again when it is decoded.
    keys : BlockKeys, sequence of int or None
        Keys of its leading blocks that can be found in a prefix cache; None until the store needs them.
    """

    __slots__ = (
        "batch_position",
        "blocks",
        "busy_us_before",
        "capped",
        "computed",
        "delivered_at_last_step",
        "extra_stored",
        "finishing",
        "first_decode_step",
        "granted",
        "input_tokens",
        "keys",
        "last_progress",
        "last_step",
        "missed_steps",
        "num_blocks",
        "num_outputs",
        "position",
    )

    # Read by mypyc: native classes forbid the deletion of other attributes.
    __deletable__ = (
        "blocks",
        "busy_us_before",
        "computed",
        "delivered_at_last_step",
        "keys",
        "last_progress",
        "last_step",
    )

    # `Leg` cannot name the type.
    request: Request

    def __init__(self, request: Request, replica: int, phase: Phase, routed_at: int) -> None:
        super().__init__(request, replica, phase, routed_at)
        self.position = -1
        self.input_tokens = request.input_tokens
        self.num_outputs = 0
        self.last_progress = 0
        self.capped = False
        self.batch_position = -1
        self.computed = 0
        self.granted = 0
        self.first_decode_step = -1
        self.last_step = -1
        self.missed_steps: tuple[int, ...] = ()
        self.finishing = False
        self.delivered_at_last_step = 0
        self.busy_us_before = 0
        self.blocks: Sized = ()
        self.num_blocks = 0
        self.extra_stored = 0
        self.keys: BlockKeys | Sequence[int] | None = None

    @property
    def decoding(self) -> bool:
        """Whether its prefill is complete."""
        return self.first_decode_step >= 0

    def yields(self, step: int) -> bool:
        """Whether it gets an output in a step; the first output is that of the last prefill step."""
        first = self.first_decode_step - 1 - len(self.missed_steps)
        return self.decoding and first <= step <= self.last_step and step not in self.missed_steps

    def close_segment(self, step: int) -> None:
        """Record the consecutive steps with an output up to, but not including, a step."""
        first = self.missed_steps[-1] + 1 if self.missed_steps else self.first_decode_step - 1
        if 0 <= first < step:
            self.segments += ((first, step - 1),)

    def miss(self, step: int) -> None:
        """Record a step without a token for it."""
        self.close_segment(step)
        self.missed_steps += (step,)

    def wait_to_resume(self, outputs: int, step: int) -> None:
        """Return to the wait queue in a step, with its outputs, which are recomputed with the prompt."""
        self.close_segment(min(step, self.last_step + 1))
        self.outcome = RequestOutcome.QUEUED
        self.num_preemptions += 1
        self.num_outputs = outputs
        self.input_tokens = self.request.input_tokens + outputs
        self.computed = 0
        self.granted = 0
        self.first_decode_step = self.last_step = -1
        self.missed_steps = ()
        self.finishing = False

    def close(self) -> None:
        """Delete the attributes that only engine and KV store need, at the end of the leg."""
        # They would take a fifth of the memory of a run. Deleted rather than reset, so that a later access fails.
        del self.last_progress, self.last_step, self.busy_us_before, self.computed, self.blocks, self.keys
        del self.delivered_at_last_step
        self.first_decode_step = -1

    def withdraw(self, now: int) -> None:
        """End the leg as withdrawn and detach it from the request, which can be routed again."""
        super().withdraw(now)
        self.close()

    def preempted(self, now: int) -> RunningRequest:
        """End the leg as preempted; return a new one, which starts over from the prompt."""
        self.outcome = RequestOutcome.PREEMPTED
        self.finished_at = now
        leg = type(self)(self.request, self.replica, self.phase, self.routed_at)
        leg.previous = self
        leg.outcome = RequestOutcome.QUEUED
        leg.queued_at = self.queued_at
        leg.num_preemptions = self.num_preemptions + 1
        leg.position = self.position
        leg.last_progress = self.last_progress
        leg.capped = self.capped
        leg.keys = self.keys
        self.request.leg = leg
        self.close()
        return leg
