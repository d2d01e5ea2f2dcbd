"""A leg as the engine and its KV store see it: what they keep about a request while their replica has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blis_simpy.core.request import Leg, Phase, RequestOutcome

if TYPE_CHECKING:
    from collections.abc import Sequence, Sized

    from blis_simpy.core.block_keys import BlockKeys
    from blis_simpy.core.request import Request

__all__ = ["RunningRequest"]


class RunningRequest(Leg):
    """A leg with the state that its engine needs.

    A decoding request is not touched while it decodes. Its progress follows from the engine's step counter: it gets
    one token in each step from `first_decode_step` on and ends in step `last_step`.

    Parameters
    ----------
    request, replica, phase, routed_at
        As for `Leg`.

    Attributes
    ----------
    position : int
        Order of entry into the wait queue of the replica; a leg that starts over keeps it.
    input_tokens : int
        Tokens that its prefill computes: its prompt, and after a preemption the outputs that it kept.
    num_outputs : int
        Outputs that it has produced before its last admission.
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
        Step numbers; -1 before the prefill has ended. A step in which it missed its token counts as if it had begun to
        decode a step later.
    missed_steps : tuple of int
        Numbers of the steps since its last admission in which it missed its token.
    finishing : bool
        Whether its last step has been formed, though perhaps not finished.
    delivered_at_last_step : int
        Steps of the replica whose outputs were known when its last step was formed.
    busy_us_before : int, µs
        The engine's busy time up to the end of its prefill step.
    blocks : Sized
        Leading blocks that it shares or may share, with their identity: the record of the KV store.
    num_blocks : int
        All blocks that it held at the end of its last prefill chunk.
    extra_stored : int, tokens
        Tokens stored in its blocks beyond its progress, as the KV store counts them. An empty prompt has 1: its first
        output token is stored when it is admitted and again when it is decoded.
    keys : BlockKeys, sequence of int or None
        Identities of its leading prompt blocks that a prefix cache can find; None until the store needs them.
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

    previous: RunningRequest | None

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
        """Whether its prefill has ended."""
        return self.first_decode_step >= 0

    def yields(self, step: int) -> bool:
        """Whether it produces an output in a step, the one that ended its prefill included."""
        first = self.first_decode_step - 1 - len(self.missed_steps)
        return self.decoding and first <= step <= self.last_step and step not in self.missed_steps

    def close_segment(self, step: int) -> None:
        """End the run of steps in each of which it got an output, before a step."""
        first = self.missed_steps[-1] + 1 if self.missed_steps else self.first_decode_step - 1
        if 0 <= first < step:
            self.segments += ((first, step - 1),)

    def miss(self, step: int) -> None:
        """Take note of a step in which it does not get the token that it waits for."""
        self.close_segment(step)
        self.missed_steps += (step,)

    def wait_to_resume(self, outputs: int, step: int) -> None:
        """Go back to the wait queue with the outputs of the steps before one; they are recomputed with the prompt."""
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
        """Delete what only the engine needed: the leg is over, and stays with its request for the rest of the run."""
        # A fifth of the memory of a run, if it were kept. Whoever read it after the end would get an AttributeError.
        del self.last_progress, self.last_step, self.busy_us_before, self.computed, self.blocks, self.keys
        self.first_decode_step = -1

    def withdraw(self, now: int) -> None:
        """End the leg and detach the request from the replica, so that it can be routed again."""
        super().withdraw(now)
        self.close()

    def preempted(self, now: int) -> RunningRequest:
        """End this leg and return the one that waits in its place: it starts over from the prompt."""
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
