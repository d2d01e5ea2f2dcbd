"""The running batch of a replica: the requests in its batch slots, in order of admission.

Only this module writes this state: the batch builder, which admits and preempts requests, and the engine, which counts
tokens, call its methods. Requests in prefill are listed; decoding requests are kept as sums (`DecodeBatch`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blis_simpy.replica.decode_batch import DecodeBatch

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from blis_simpy.core.resources import BatchSlots
    from blis_simpy.replica.kv_store import KVStore
    from blis_simpy.replica.running_request import RunningRequest

__all__ = ["RunningBatch"]


class RunningBatch:
    """Running requests of one replica.

    Parameters
    ----------
    slots : BatchSlots
        Batch slots; each member holds one.
    kv : KVStore
        KV store; registers blocks filled with output that later prompts may share.
    block_size : int
        Tokens per KV block.
    steps_ahead : int
        Number of steps that are formed while a step is running: 1 with asynchronous scheduling.

    Attributes
    ----------
    members : dict of int to RunningRequest
        All members by batch position, in order of admission. Other objects only read it.
    prefilling : list of RunningRequest
        Members in prefill, in order of admission. Other objects only read it.
    decodes : DecodeBatch
        Sums over the decoding members.
    with_named_output : list of RunningRequest
        Members with output that later prompts may share, in order of admission. Other objects only read it.
    slots : BatchSlots
        Batch slots.
    num_finishing : int
        Members with their last step pending. They get no more tokens, and keep their slot and blocks until its end.
    steps_ahead : int
        As above.
    num_delivered : int
        Number of delivered steps; later ones are pending. Only kept by the engine with effects at the end.
    num_delivered_before : int
        Number of delivered steps at the formation of the last step.
    """

    def __init__(self, slots: BatchSlots, kv: KVStore, block_size: int, steps_ahead: int = 0) -> None:
        self.members: dict[int, RunningRequest] = {}
        self.prefilling: list[RunningRequest] = []
        self.decodes = DecodeBatch(block_size)
        self.with_named_output: list[RunningRequest] = []
        self.slots = slots
        self.steps_ahead = steps_ahead
        self.num_finishing = 0
        self.num_delivered = 0
        self.num_delivered_before = 0
        self._kv = kv
        self._next_position = 0

    def decoding(self) -> list[RunningRequest]:
        """Return the decoding members in batch order, without those with their last step pending."""
        return [leg for leg in self.members.values() if leg.first_decode_step >= 0 and not leg.finishing]

    @property
    def latest(self) -> RunningRequest:
        """The last admitted member."""
        return next(reversed(self.members.values()))

    def join(self, leg: RunningRequest) -> None:
        """Add a request; requires a free batch slot."""
        acquired = self.slots.try_acquire()
        assert acquired, "a request joins the batch without a free slot"
        # Positions are unique, so that stale entries of the heap in `DecodeBatch` are recognised by their position.
        leg.batch_position = position = self._next_position
        self._next_position = position + 1
        self.members[position] = leg
        self.prefilling.append(leg)
        if leg.request.output_stream is not None:
            self.with_named_output.append(leg)

    def end_prefills(self, still_prefilling: list[RunningRequest]) -> None:
        """Replace the list of members in prefill; the others start to decode or end."""
        self.prefilling = still_prefilling

    def reach_last_step(self, leg: RunningRequest, step: int) -> None:
        """Mark a member as finishing: it gets no tokens from `step` on."""
        if leg.first_decode_step < step:
            self.decodes.remove(leg, step)
        leg.delivered_at_last_step = self.num_delivered
        leg.finishing = True
        self.num_finishing += 1

    def stop(self, leg: RunningRequest, step: int) -> None:
        """End a decoding member with its last formed step: it gets no tokens from `step` on."""
        self.decodes.remove(leg, step)
        leg.last_step = step - 1
        leg.last_progress = self.decodes.progress(leg, step)
        leg.delivered_at_last_step = self.num_delivered_before
        leg.finishing = True
        self.num_finishing += 1

    def leave(self, leg: RunningRequest, step: int) -> None:
        """Remove a member, which takes no part in steps from `step` on."""
        if leg.finishing:
            self.num_finishing -= 1
        elif leg.first_decode_step >= 0:
            self.decodes.remove(leg, step)
        else:
            self.prefilling.remove(leg)
        self.release(leg)

    def release(self, leg: RunningRequest) -> None:
        """Remove a member that is neither in prefill nor in the decode sums, and put its batch slot back."""
        del self.members[leg.batch_position]
        if leg.request.output_stream is not None:
            self.with_named_output.remove(leg)
        leg.batch_position = -1
        # Last, because a waiting process may acquire the slot immediately.
        self.slots.put_back()

    def stored_tokens(self, leg: RunningRequest, step: int) -> int:
        """Return the number of tokens of a member in KV blocks at the start of a step, granted ones included."""
        if leg.finishing:
            return leg.last_progress + leg.extra_stored
        progress = self.decodes.progress(leg, step) if leg.first_decode_step >= 0 else leg.computed
        return progress + leg.granted + leg.extra_stored

    def num_outputs(self, leg: RunningRequest, step: int) -> int:
        """Return the number of outputs of a member before a step, pending ones included."""
        if leg.first_decode_step < 0:
            return leg.num_outputs
        return leg.num_outputs + min(step, leg.last_step + 1) - leg.first_decode_step + 1

    def hashed_tokens(self, leg: RunningRequest, step: int) -> int:
        """Return the number of tokens of a member whose full blocks have a hash before a step, granted ones included.

        A block gets its hash at the formation of the step that fills it, if all its tokens are known. Pending outputs
        are not known: a block with a pending output gets its hash at the next formation of a step for the member after
        the delivery.
        """
        stored = self.stored_tokens(leg, step)
        if not self.steps_ahead or leg.first_decode_step < 0:
            return stored
        unknown = self._under_way(leg, self.num_delivered, step)
        if leg.granted:
            return stored - unknown
        hashed = max(leg.input_tokens, stored - unknown)
        if leg.finishing:
            return max(hashed, stored - self._under_way(leg, leg.delivered_at_last_step, leg.last_step))
        if leg.yields(step - 1):
            return max(hashed, stored - self._under_way(leg, self.num_delivered_before, step - 1))
        return hashed

    @staticmethod
    def _under_way(leg: RunningRequest, first: int, step: int) -> int:
        """Return the number of outputs of a member in the steps from `first` to before `step`."""
        return sum(leg.yields(earlier) for earlier in range(first, step))

    def name_outputs(self, step: int) -> None:
        """Register the blocks that decoding members have filled with shareable output before a step."""
        for leg in self.with_named_output:
            if leg.first_decode_step >= 0:
                self.name_output(leg, step, granted=False)

    def name_output(self, leg: RunningRequest, step: int, *, granted: bool) -> None:
        """Register the blocks that a decoding member has filled with output, its granted token included or not."""
        if leg.request.output_stream is None:
            return
        if granted and not leg.finishing:
            leg.granted = 1
            self._kv.name_output(leg, self.hashed_tokens(leg, step))
            leg.granted = 0
        else:
            self._kv.name_output(leg, self.hashed_tokens(leg, step))

    def decode_contexts(self, step: int, excluded: AbstractSet[int] = frozenset()) -> list[int]:
        """Return the progress of the decoding members at the start of a step, in batch order, without excluded ones."""
        return [
            leg.input_tokens + step - leg.first_decode_step
            for leg in self.members.values()
            if leg.first_decode_step >= 0 and not leg.finishing and leg.batch_position not in excluded
        ]
