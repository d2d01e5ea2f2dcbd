"""Rules of a step in which engines differ; each can be chosen separately.

An engine profile is a set of rules (`blis_simpy.replica.profiles`). The batch builder applies them to each step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs

if TYPE_CHECKING:
    from collections.abc import Sized

    from blis_simpy.replica.kv_store import KVStore
    from blis_simpy.replica.running_batch import RunningBatch
    from blis_simpy.replica.running_request import RunningRequest

__all__ = [
    "AdmissionRule",
    "FirstChunkFits",
    "KeepOutputs",
    "LatestAdmitted",
    "LeastUrgent",
    "ResumeRule",
    "SharedChunkLimit",
    "StartOver",
    "StepRules",
    "VictimRule",
    "WholeSequenceFits",
]


class SharedChunkLimit:
    """Maximum prefill chunk that does not apply to a request alone on the replica.

    Parameters
    ----------
    tokens : int
        The maximum, >= 1.
    max_tokens : int
        Token budget of a step.
    adaptive : bool
        Whether to raise the maximum to an equal share of the budget.
    """

    def __init__(self, tokens: int, max_tokens: int, *, adaptive: bool) -> None:
        self._tokens = tokens
        self._max_tokens = max_tokens
        self._adaptive = adaptive

    def tokens(self, num_requests: int) -> int:
        """Return the maximum chunk with a number of running and waiting requests."""
        if num_requests <= 1:
            return self._max_tokens
        return max(self._tokens, self._max_tokens // num_requests) if self._adaptive else self._tokens


class AdmissionRule(Protocol):
    """Condition on free KV blocks for the admission of the head of the wait queue.

    `prefix` is its cached prefix, `end` the end of its first chunk (tokens), and `kept` the number of blocks that must
    stay free.
    """

    is_checked_by_kv: bool
    """Whether `KVStore.admit` checks the condition itself, with `kept` = 0."""

    def fits(self, leg: RunningRequest, prefix: Sized, end: int, kept: int) -> bool:
        """Whether the condition is met; the allocation may still fail."""
        ...

    def stays_blocked(self, leg: RunningRequest, prefix: Sized, end: int, kept: int) -> bool:
        """Whether the condition is not met as long as no blocks are put back."""
        ...

    def blocks_needed(self, leg: RunningRequest, prefix: Sized, end: int) -> int:
        """Return the minimum number of free blocks for an admission."""
        ...


class FirstChunkFits:
    """Condition that the first chunk fits the free blocks.

    Parameters
    ----------
    kv : KVStore
        KV store.
    """

    is_checked_by_kv = True

    def __init__(self, kv: KVStore) -> None:
        self._kv = kv

    def fits(self, leg: RunningRequest, prefix: Sized, end: int, kept: int) -> bool:
        """Whether the first chunk fits."""
        return self._kv.free_blocks_taken(leg, prefix, end) + kept <= self._kv.pool.free

    def stays_blocked(self, leg: RunningRequest, prefix: Sized, end: int, kept: int) -> bool:
        """Return the answer of the KV store."""
        return self._kv.stays_blocked(leg, prefix, end, kept)

    def blocks_needed(self, leg: RunningRequest, prefix: Sized, end: int) -> int:
        """Return the number of new blocks of the chunk."""
        return self._kv.blocks_to_admit(leg, prefix, end)


class WholeSequenceFits:
    """Condition that all known tokens fit the free blocks, including those of later chunks.

    Parameters
    ----------
    kv : KVStore
        KV store.
    """

    is_checked_by_kv = False

    def __init__(self, kv: KVStore) -> None:
        self._kv = kv

    def fits(self, leg: RunningRequest, prefix: Sized, end: int, kept: int) -> bool:
        """Whether prompt and kept outputs fit."""
        return self._kv.free_blocks_taken(leg, prefix, leg.input_tokens) + kept <= self._kv.pool.free

    def stays_blocked(self, leg: RunningRequest, prefix: Sized, end: int, kept: int) -> bool:
        """Whether they do not fit."""
        # An eviction of prefix blocks never reduces the number of blocks needed.
        return not self.fits(leg, prefix, end, kept)

    def blocks_needed(self, leg: RunningRequest, prefix: Sized, end: int) -> int:
        """Return the number of blocks that leave the free list."""
        return self._kv.free_blocks_taken(leg, prefix, leg.input_tokens)


class VictimRule(Protocol):
    """Chooses the running request that is preempted when KV blocks run out."""

    def victim(self, batch: RunningBatch) -> RunningRequest:
        """Return a member of the batch."""
        ...


class LatestAdmitted:
    """Preempts the last admitted request."""

    def victim(self, batch: RunningBatch) -> RunningRequest:
        """Return the last member."""
        return batch.latest


class LeastUrgent:
    """Preempts the request with the largest priority number, then the latest arrival, then the first of the batch."""

    def victim(self, batch: RunningBatch) -> RunningRequest:
        """Return the least urgent member."""
        return max(batch.members.values(), key=lambda leg: (leg.request.priority, leg.routed_at))


class ResumeRule(Protocol):
    """State that a preempted request keeps."""

    keeps_outputs: bool

    def findable(self, leg: RunningRequest, hashed: int) -> int:
        """Return the number of its tokens that stay in the prefix cache for it, of `hashed` tokens in hashed blocks."""
        ...

    def requeued(self, leg: RunningRequest, outputs: int, step: int, now: int) -> RunningRequest:
        """Return the leg that waits after the preemption of `leg`, which has `outputs` outputs before `step`."""
        ...


class StartOver:
    """Starts over from the prompt, without outputs, in a new leg."""

    keeps_outputs = False

    def findable(self, leg: RunningRequest, hashed: int) -> int:
        """Return the number of hashed prompt tokens."""
        return min(hashed, leg.input_tokens)

    def requeued(self, leg: RunningRequest, outputs: int, step: int, now: int) -> RunningRequest:
        """End the leg and return a new one."""
        return leg.preempted(now)


class KeepOutputs:
    """Keeps the outputs, and recomputes them with the prompt as far as they are not cached."""

    keeps_outputs = True

    def findable(self, leg: RunningRequest, hashed: int) -> int:
        """Return the number of hashed tokens."""
        return hashed

    def requeued(self, leg: RunningRequest, outputs: int, step: int, now: int) -> RunningRequest:
        """Return the same leg."""
        leg.wait_to_resume(outputs, step)
        return leg


@attrs.frozen(kw_only=True)
class StepRules:
    """The rules of an engine.

    Attributes
    ----------
    max_tokens : int
        Token budget of a step.
    max_chunk : int
        Maximum prefill chunk of a request.
    chunk_limit : SharedChunkLimit or None
        Replaces `max_chunk` if it depends on the number of requests.
    admission : AdmissionRule
        Condition on free KV blocks for an admission.
    kept_blocks : int
        KV blocks that stay free at an admission while other requests are running.
    victim : VictimRule
        Chooses the request to preempt.
    resume : ResumeRule
        State that a preempted request keeps.
    """

    max_tokens: int
    max_chunk: int
    chunk_limit: SharedChunkLimit | None
    admission: AdmissionRule
    kept_blocks: int
    victim: VictimRule
    resume: ResumeRule
