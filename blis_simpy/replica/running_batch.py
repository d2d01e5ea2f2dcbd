"""The running batch of a replica: the requests that hold its batch slots, in order of admission.

It is the only owner of this state. The batch builder decides who joins and who is preempted, the engine counts tokens;
both use the methods below. Requests whose prompt is not done are kept one by one, decoding ones as sums
(`DecodeBatch`).
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
        Batch slots; a member holds one.
    kv : KVStore
        KV store, which is told the blocks that named output fills.
    block_size : int
        Tokens a KV block.

    Attributes
    ----------
    members : dict of int to RunningRequest
        All members by batch position, in order of admission. Other objects only read it.
    prefilling : list of RunningRequest
        Members whose prompt is not done, in order of admission. Other objects only read it.
    decodes : DecodeBatch
        Sums over the other members.
    slots : BatchSlots
        Batch slots.
    """

    def __init__(self, slots: BatchSlots, kv: KVStore, block_size: int) -> None:
        self.members: dict[int, RunningRequest] = {}
        self.prefilling: list[RunningRequest] = []
        self.decodes = DecodeBatch(block_size)
        self.slots = slots
        self._kv = kv
        self._next_position = 0
        # Members whose output a later prompt may contain, in batch order.
        self._with_named_output: list[RunningRequest] = []

    @property
    def latest(self) -> RunningRequest:
        """The member that was admitted last."""
        return next(reversed(self.members.values()))

    @property
    def has_named_output(self) -> bool:
        """Whether the output of a member may be found in the prefix cache, as it fills blocks."""
        return bool(self._with_named_output)

    def join(self, leg: RunningRequest) -> None:
        """Add a request, which takes a batch slot; there must be a free one."""
        acquired = self.slots.try_acquire()
        assert acquired, "a request joins the batch without a free slot"
        leg.batch_position = position = self._next_position
        self._next_position = position + 1
        self.members[position] = leg
        self.prefilling.append(leg)
        if leg.request.output_stream is not None:
            self._with_named_output.append(leg)

    def end_prefills(self, still_prefilling: list[RunningRequest]) -> None:
        """Keep only some of the prefilling members as such, in their order; the others decode or leave."""
        self.prefilling = still_prefilling

    def leave(self, leg: RunningRequest, step: int) -> None:
        """Remove a member before its last step is reached; `step` is the first that it takes no part in."""
        if leg.first_decode_step >= 0:
            self.decodes.remove(leg, step)
        else:
            self.prefilling.remove(leg)
        self.release(leg)

    def release(self, leg: RunningRequest) -> None:
        """Remove a member that is in no sum any more, and give its batch slot back."""
        del self.members[leg.batch_position]
        if leg.request.output_stream is not None:
            self._with_named_output.remove(leg)
        leg.batch_position = -1
        self.slots.put_back()

    def stored_tokens(self, leg: RunningRequest, step: int) -> int:
        """Tokens of a member that are in KV blocks at the start of a step, those just granted to it included."""
        progress = self.decodes.progress(leg, step) if leg.first_decode_step >= 0 else leg.computed
        return progress + leg.granted + leg.extra_stored

    def name_outputs(self, step: int, new_tokens: int) -> None:
        """Tell the KV store which blocks the output of decoding members fills, once `new_tokens` more are stored."""
        for leg in self._with_named_output:
            if leg.first_decode_step >= 0:
                self._kv.name_output(leg, self.stored_tokens(leg, step) + new_tokens)

    def decode_contexts(self, step: int, excluded: AbstractSet[int] = frozenset()) -> list[int]:
        """Progress of each decoding member at the start of a step, in batch order, without some batch positions."""
        return [
            leg.input_tokens + step - leg.first_decode_step
            for leg in self.members.values()
            if leg.first_decode_step >= 0 and leg.batch_position not in excluded
        ]
