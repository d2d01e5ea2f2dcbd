"""The running batch of a replica: the requests that hold its batch slots, in order of admission.

It is the only owner of this state. The batch builder admits and preempts requests, the engine counts tokens; both use
the methods below. Requests whose prompt is not done are kept one by one, decoding ones as sums (`DecodeBatch`).
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
        KV store, which records the blocks that named output fills.
    block_size : int
        Tokens a KV block.
    steps_ahead : int
        See below.

    Attributes
    ----------
    members : dict of int to RunningRequest
        All members by batch position, in order of admission. Other objects only read it.
    prefilling : list of RunningRequest
        Members whose prompt is not done, in order of admission. Other objects only read it.
    decodes : DecodeBatch
        Sums over the other members.
    with_named_output : list of RunningRequest
        Members whose output a later prompt may contain, in order of admission. Other objects only read it.
    slots : BatchSlots
        Batch slots.
    num_finishing : int
        Members whose last step has been formed. They get no more tokens, but keep slot and blocks until it ends.
    steps_ahead : int
        Steps that are formed before the outputs of the step before them are known: 1 with asynchronous scheduling.
    num_delivered : int
        Steps whose outputs are known; those of later steps are under way. Only kept with steps ahead.
    num_delivered_before : int
        The same when the last step was formed.
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

    @property
    def latest(self) -> RunningRequest:
        """The member that was admitted last."""
        return next(reversed(self.members.values()))

    def join(self, leg: RunningRequest) -> None:
        """Add a request, which takes a batch slot; there must be a free one."""
        acquired = self.slots.try_acquire()
        assert acquired, "a request joins the batch without a free slot"
        # Positions are never used twice, so an entry of a heap or list that names one can be recognised as stale.
        leg.batch_position = position = self._next_position
        self._next_position = position + 1
        self.members[position] = leg
        self.prefilling.append(leg)
        if leg.request.output_stream is not None:
            self.with_named_output.append(leg)

    def end_prefills(self, still_prefilling: list[RunningRequest]) -> None:
        """Keep only some of the prefilling members as such, in their order; the others decode or leave."""
        self.prefilling = still_prefilling

    def reach_last_step(self, leg: RunningRequest, step: int) -> None:
        """Let a member have no more tokens; `step` is the first that it gets none in."""
        if leg.first_decode_step < step:
            self.decodes.remove(leg, step)
        leg.delivered_at_last_step = self.num_delivered
        leg.finishing = True
        self.num_finishing += 1

    def leave(self, leg: RunningRequest, step: int) -> None:
        """Remove a member; `step` is the first that it takes no part in."""
        if leg.finishing:
            self.num_finishing -= 1
        elif leg.first_decode_step >= 0:
            self.decodes.remove(leg, step)
        else:
            self.prefilling.remove(leg)
        self.release(leg)

    def release(self, leg: RunningRequest) -> None:
        """Remove a member that is in no sum any more, and give its batch slot back."""
        del self.members[leg.batch_position]
        if leg.request.output_stream is not None:
            self.with_named_output.remove(leg)
        leg.batch_position = -1
        # Last: it may hand the slot to a waiting process at once.
        self.slots.put_back()

    def stored_tokens(self, leg: RunningRequest, step: int) -> int:
        """Tokens of a member that are in KV blocks at the start of a step, those just granted to it included."""
        if leg.finishing:
            return leg.last_progress + leg.extra_stored
        progress = self.decodes.progress(leg, step) if leg.first_decode_step >= 0 else leg.computed
        return progress + leg.granted + leg.extra_stored

    def num_outputs(self, leg: RunningRequest, step: int) -> int:
        """Return the outputs that a member has produced before a step, those under way included."""
        if leg.first_decode_step < 0:
            return leg.num_outputs
        return leg.num_outputs + min(step, leg.last_step + 1) - leg.first_decode_step + 1

    def hashed_tokens(self, leg: RunningRequest, step: int) -> int:
        """Tokens of a member before a step, those just granted to it included, whose full blocks have a hash.

        A block gets its hash with the step that fills it, if the tokens are known by then. Outputs under way are not,
        so a block that one of them fills gets its hash when the next step is formed, or when the output is delivered
        and one more has been.
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
        """Return the outputs that a member produces in the steps from `first` on and before `step`."""
        return sum(leg.yields(earlier) for earlier in range(first, step))

    def name_outputs(self, step: int) -> None:
        """Report to the KV store which blocks the output of decoding members has filled before a step."""
        for leg in self.with_named_output:
            if leg.first_decode_step >= 0:
                self.name_output(leg, step, granted=False)

    def name_output(self, leg: RunningRequest, step: int, *, granted: bool) -> None:
        """Report which blocks the output of one decoding member fills, once it is granted its token of a step."""
        if leg.request.output_stream is None:
            return
        if granted and not leg.finishing:
            leg.granted = 1
            self._kv.name_output(leg, self.hashed_tokens(leg, step))
            leg.granted = 0
        else:
            self._kv.name_output(leg, self.hashed_tokens(leg, step))

    def decode_contexts(self, step: int, excluded: AbstractSet[int] = frozenset()) -> list[int]:
        """Progress of each decoding member at the start of a step, in batch order, without some batch positions."""
        return [
            leg.input_tokens + step - leg.first_decode_step
            for leg in self.members.values()
            if leg.first_decode_step >= 0 and not leg.finishing and leg.batch_position not in excluded
        ]
