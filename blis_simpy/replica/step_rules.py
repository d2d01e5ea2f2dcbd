"""Rules of a step that engines disagree on, each a choice of its own.

An engine profile is a set of them (`blis_simpy.replica.profiles`). The batch builder applies them to each step.
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
    """Longest prefill chunk of requests that share the engine; one that is alone is not limited.

    Parameters
    ----------
    tokens : int
        The limit, >= 1.
    max_tokens : int
        Token budget of a step.
    adaptive : bool
        Whether an equal share of the budget is allowed if that is more.
    """

    def __init__(self, tokens: int, max_tokens: int, *, adaptive: bool) -> None:
        self._tokens = tokens
        self._max_tokens = max_tokens
        self._adaptive = adaptive

    def tokens(self, num_requests: int) -> int:
        """Return the limit, while so many requests run or wait."""
        if num_requests <= 1:
            return self._max_tokens
        return max(self._tokens, self._max_tokens // num_requests) if self._adaptive else self._tokens


class AdmissionRule(Protocol):
    """Free KV blocks that the head of the wait queue needs for its admission.

    `prefix` are the cached blocks that it would claim, `end` is the end of its first chunk, tokens. `kept` blocks must
    stay free.
    """

    is_checked_by_kv: bool
    """Whether the KV store finds out by itself, if no blocks must stay free."""

    def fits(self, leg: RunningRequest, prefix: Sized, end: int, kept: int) -> bool:
        """Whether it can be admitted now; allocating the chunk may still fail."""
        ...

    def stays_blocked(self, leg: RunningRequest, prefix: Sized, end: int, kept: int) -> bool:
        """Whether it cannot be admitted, and not later either as long as blocks are only taken."""
        ...

    def blocks_needed(self, leg: RunningRequest, prefix: Sized, end: int) -> int:
        """Fewest free blocks with which it can be admitted."""
        ...


class FirstChunkFits:
    """The first chunk must fit.

    Parameters
    ----------
    kv : KVStore
        KV store.
    """

    is_checked_by_kv = True

    def __init__(self, kv: KVStore) -> None:
        self._kv = kv

    def fits(self, leg: RunningRequest, prefix: Sized, end: int, kept: int) -> bool:
        """Whether the chunk fits."""
        return self._kv.free_blocks_taken(leg, prefix, end) + kept <= self._kv.pool.free

    def stays_blocked(self, leg: RunningRequest, prefix: Sized, end: int, kept: int) -> bool:
        """Ask the KV store."""
        return self._kv.stays_blocked(leg, prefix, end, kept)

    def blocks_needed(self, leg: RunningRequest, prefix: Sized, end: int) -> int:
        """Count the new blocks of the chunk."""
        return self._kv.blocks_to_admit(leg, prefix, end)


class WholeSequenceFits:
    """All known tokens must fit, those of later chunks included.

    Parameters
    ----------
    kv : KVStore
        KV store.
    """

    is_checked_by_kv = False

    def __init__(self, kv: KVStore) -> None:
        self._kv = kv

    def fits(self, leg: RunningRequest, prefix: Sized, end: int, kept: int) -> bool:
        """Whether prompt, and output so far, fit."""
        return self._kv.free_blocks_taken(leg, prefix, leg.input_tokens) + kept <= self._kv.pool.free

    def stays_blocked(self, leg: RunningRequest, prefix: Sized, end: int, kept: int) -> bool:
        """Whether they do not fit: losing cached blocks to others never makes the need smaller."""
        return not self.fits(leg, prefix, end, kept)

    def blocks_needed(self, leg: RunningRequest, prefix: Sized, end: int) -> int:
        """Count the blocks that would leave the free list."""
        return self._kv.free_blocks_taken(leg, prefix, leg.input_tokens)


class VictimRule(Protocol):
    """Chooses the running request that is preempted when KV blocks run out."""

    def victim(self, batch: RunningBatch) -> RunningRequest:
        """Return a member of the batch."""
        ...


class LatestAdmitted:
    """The request that was admitted last."""

    def victim(self, batch: RunningBatch) -> RunningRequest:
        """Return the last member."""
        return batch.latest


class LeastUrgent:
    """The request with the largest priority number; of equals the latest arrival, then the first of the batch."""

    def victim(self, batch: RunningBatch) -> RunningRequest:
        """Return the least urgent member."""
        return max(batch.members.values(), key=lambda leg: (leg.request.priority, leg.routed_at))


class ResumeRule(Protocol):
    """What a preempted request keeps."""

    keeps_outputs: bool

    def findable(self, leg: RunningRequest, hashed: int) -> int:
        """Tokens that it can find in the prefix cache when it comes back, of so many in blocks with a hash."""
        ...

    def requeued(self, leg: RunningRequest, outputs: int, step: int, now: int) -> RunningRequest:
        """Return the leg that waits in the place of one that has produced some outputs in the steps before `step`."""
        ...


class StartOver:
    """It loses its outputs and starts over from its prompt, with a new leg."""

    keeps_outputs = False

    def findable(self, leg: RunningRequest, hashed: int) -> int:
        """Return what is hashed of the prompt."""
        return min(hashed, leg.input_tokens)

    def requeued(self, leg: RunningRequest, outputs: int, step: int, now: int) -> RunningRequest:
        """End the leg and return the next one."""
        return leg.preempted(now)


class KeepOutputs:
    """It keeps its outputs and computes them again together with its prompt, as far as they are not cached."""

    keeps_outputs = True

    def findable(self, leg: RunningRequest, hashed: int) -> int:
        """Return everything that is hashed."""
        return hashed

    def requeued(self, leg: RunningRequest, outputs: int, step: int, now: int) -> RunningRequest:
        """Return the leg itself."""
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
        Longest prefill chunk of a request.
    chunk_limit : SharedChunkLimit or None
        The same where it depends on the number of requests.
    admission : AdmissionRule
        Free KV blocks that an admission needs.
    kept_blocks : int
        KV blocks that stay free at an admission while other requests run.
    victim : VictimRule
        Which request is preempted.
    resume : ResumeRule
        What a preempted request keeps.
    """

    max_tokens: int
    max_chunk: int
    chunk_limit: SharedChunkLimit | None
    admission: AdmissionRule
    kept_blocks: int
    victim: VictimRule
    resume: ResumeRule
