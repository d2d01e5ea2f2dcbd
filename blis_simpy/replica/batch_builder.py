"""The step under formation: what a batch former sees and the verbs it has.

The engine keeps one and hands it to the batch former at the start of each step. Nobody else changes who runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blis_simpy.core.request import RequestOutcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from blis_simpy.core.resources import BatchSlots, KVBlocks
    from blis_simpy.replica.decode_batch import DecodeBatch
    from blis_simpy.replica.kv_store import KVStore
    from blis_simpy.replica.running_request import RunningRequest
    from blis_simpy.replica.schedulers import WaitQueue

__all__ = ["BatchBuilder"]


class BatchBuilder:
    """The running batch of a replica while the tokens of a step are handed out.

    Parameters
    ----------
    max_tokens : int
        Token budget of a step.
    max_chunk : int
        Longest prefill chunk of one request in a step, tokens; 0 = no limit.
    block_size : int
        Tokens a KV block.
    kv : KVStore
        The KV blocks' owner.
    pool : KVBlocks
        Their count.
    slots : BatchSlots
        Batch slots.
    queue : WaitQueue
        Who waits.
    decodes : DecodeBatch
        Sums over the decoding requests.
    on_preempted, on_unservable : callable
        Told of each sequence that lost its place, to wait again or for good.

    Attributes
    ----------
    token_budget : int
        Tokens of this step that are still to be granted.
    num_preempted : int
        Sequences evicted in this step.
    """

    def __init__(
        self,
        *,
        max_tokens: int,
        max_chunk: int,
        block_size: int,
        kv: KVStore,
        pool: KVBlocks,
        slots: BatchSlots,
        queue: WaitQueue,
        decodes: DecodeBatch,
        on_preempted: Callable[[RunningRequest], None],
        on_unservable: Callable[[RunningRequest], None],
    ) -> None:
        self.token_budget = max_tokens
        self.num_preempted = 0
        self.batch: dict[int, RunningRequest] = {}
        self.prefilling: list[RunningRequest] = []
        self.num_continuing = 0
        self.step = 0
        self.now = 0
        self._max_tokens = max_tokens
        self._max_chunk = max_chunk or max_tokens
        self._block_size = block_size
        self._kv = kv
        self._pool = pool
        self._slots = slots
        self._queue = queue
        self._decodes = decodes
        self._on_preempted = on_preempted
        self._on_unservable = on_unservable
        self._next_position = 0
        self._decodes_granted: list[RunningRequest] | None = None
        # Members whose output a later prompt may contain, in batch order.
        self._quotable: list[RunningRequest] = []

    # ------------------------------------------------------------------------------------------------ for the engine

    def begin(self, now: int, step: int) -> None:
        """Start the formation of a step."""
        self.now = now
        self.step = step
        self.token_budget = self._max_tokens
        self.num_preempted = 0
        self.num_continuing = len(self.prefilling)
        self._decodes_granted = []
        for sequence in self.prefilling:
            sequence.granted = 0
        self._name_outputs(0)

    def _name_outputs(self, new_tokens: int) -> None:
        for sequence in self._quotable:
            if sequence.decoding:
                self._kv.name_output(sequence, self.stored_tokens(sequence) + new_tokens)

    def reset_budget(self) -> None:
        """Show the full budget again, to be asked whether the coming steps are steady."""
        self.token_budget = self._max_tokens

    def close(self) -> list[RunningRequest]:
        """End the formation; return the decoding sequences that were granted no token, in batch order."""
        served = self._decodes_granted
        if served is None:
            return []
        self._decodes_granted = None
        # Some may have been evicted since.
        positions = {sequence.batch_position for sequence in served if sequence.batch_position >= 0}
        for sequence in served:
            sequence.granted = 0
        if len(positions) == self._decodes.count:
            return []
        return [s for s in self.batch.values() if s.decoding and s.batch_position not in positions]

    def leave(self, sequence: RunningRequest) -> None:
        """Take a sequence out of the batch; its blocks are given back elsewhere."""
        del self.batch[sequence.batch_position]
        if not sequence.decoding and sequence in self.prefilling:
            if self.prefilling.index(sequence) < self.num_continuing:
                self.num_continuing -= 1
            self.prefilling.remove(sequence)
        if sequence.request.output_stream is not None:
            self._quotable.remove(sequence)
        sequence.batch_position = -1
        self._slots.vacate()

    def stored_tokens(self, sequence: RunningRequest) -> int:
        """Tokens of a running sequence that are in KV blocks, those just granted to it included."""
        progress = self._decodes.progress(sequence, self.step) if sequence.decoding else sequence.computed
        return progress + sequence.granted + sequence.extra_stored

    # ------------------------------------------------------------------------------------------------ what there is

    @property
    def num_prefilling(self) -> int:
        """Running requests whose prompt is not done."""
        return len(self.prefilling)

    @property
    def num_decoding(self) -> int:
        """Running requests that take one token a step."""
        return self._decodes.count

    @property
    def num_waiting(self) -> int:
        """Requests in the wait queue."""
        return len(self._queue)

    @property
    def free_slots(self) -> int:
        """Batch slots that neither requests nor other processes hold."""
        return self._slots.free

    def running(self) -> list[RunningRequest]:
        """Members of the batch in batch order, at this moment."""
        return list(self.batch.values())

    # ------------------------------------------------------------------------------------------------ continuing

    def grant_all(self) -> bool:
        """Give each running request its next chunk or token, if budget and KV blocks suffice for all.

        Returns
        -------
        bool
            False if they do not; then nothing has changed, and requests are served one by one with `grant`.
        """
        decodes = self._decodes
        budget = self.token_budget - decodes.count
        kv = self._kv
        needed = for_decodes = decodes.blocks_in_step(self.step)
        chunks = []
        for sequence in self.prefilling:
            chunk = min(sequence.input_tokens - sequence.computed, self._max_chunk)
            if chunk > budget:
                # The budget goes to those who came first: it may only fall short for the latest of all.
                if budget <= 0 or sequence is not next(reversed(self.batch.values())):
                    return False
                chunk = budget
            budget -= chunk
            chunks.append(chunk)
            needed += kv.blocks_to_extend(sequence, sequence.computed + chunk)
        if budget < 0 or needed > self._pool.free:
            return False
        self._name_outputs(1)
        for sequence, chunk in zip(self.prefilling, chunks, strict=True):
            sequence.granted = chunk
            kv.extend(sequence, sequence.computed + chunk)
        if for_decodes:
            kv.take(for_decodes)
        self.token_budget = budget
        self._decodes_granted = None
        return True

    def grant(self, sequence: RunningRequest) -> bool:
        """Give one running request its next chunk or token, evicting the latest of the batch while it does not fit.

        Returns
        -------
        bool
            False if the request itself was evicted: it was the latest.
        """
        kv = self._kv
        decoding = sequence.decoding
        chunk = 1 if decoding else min(sequence.input_tokens - sequence.computed, self._max_chunk, self.token_budget)
        sequence.granted = 0
        needs_block = decoding and self._decodes.needs_block(sequence, self.step)
        while not ((not needs_block or kv.take(1)) if decoding else kv.extend(sequence, sequence.computed + chunk)):
            victim = next(reversed(self.batch.values()))
            if victim is sequence and self._outgrew_memory(sequence):
                self._on_unservable(sequence)
                return False
            self._preempt(victim)
            if victim is sequence:
                return False
        self.token_budget -= chunk
        sequence.granted = chunk
        if decoding and self._decodes_granted is not None:
            self._decodes_granted.append(sequence)
            if sequence.request.output_stream is not None:
                kv.name_output(sequence, self.stored_tokens(sequence))
        return True

    def _outgrew_memory(self, sequence: RunningRequest) -> bool:
        """Whether a request, alone in the batch, has come to need more than all KV blocks.

        Its prompt and output budget fitted when it came, so it has no budget or does not keep to it.
        """
        return len(self.batch) == 1 and self.stored_tokens(sequence) >= self._pool.capacity * self._block_size

    def _preempt(self, victim: RunningRequest) -> None:
        self.num_preempted += 1
        self._kv.preempt(victim, self.stored_tokens(victim))
        if victim.decoding:
            self._decodes.remove(victim, self.step)
        self.leave(victim)
        victim.first_decode_step = victim.last_step = -1
        victim.computed = victim.granted = 0
        victim.request.outcome = RequestOutcome.QUEUED
        self._queue.return_to_front(victim, self.now)
        self._on_preempted(victim)

    # ------------------------------------------------------------------------------------------------ admission

    def _first_chunk_end(self, sequence: RunningRequest, cached_blocks: int, budget: int) -> int:
        cached = cached_blocks * self._block_size
        return cached + min(sequence.input_tokens - cached, self._max_chunk, budget)

    def admit(self) -> bool:
        """Admit the head of the wait queue with the chunk that the budget allows, after its cached prefix.

        Returns
        -------
        bool
            False if its KV blocks do not fit; then nothing has changed.
        """
        sequence = self._queue.head
        assert sequence is not None
        prefix = self._kv.cached_prefix(sequence)
        end = self._first_chunk_end(sequence, len(prefix), self.token_budget)
        if not self._kv.admit(sequence, prefix, end):
            return False
        self._queue.pop()
        self._slots.num_running += 1
        sequence.batch_position = position = self._next_position
        self._next_position = position + 1
        self.batch[position] = sequence
        self.prefilling.append(sequence)
        if sequence.request.output_stream is not None:
            self._quotable.append(sequence)
        sequence.computed = len(prefix) * self._block_size
        sequence.granted = end - sequence.computed
        self.token_budget -= sequence.granted
        request = sequence.request
        request.outcome = RequestOutcome.RUNNING
        request.scheduled_at = now = self.now
        if request.first_scheduled_at < 0:
            request.first_scheduled_at = now
        return True

    def head_stays_blocked(self) -> bool:
        """Whether the head of the wait queue does not fit, and will not while KV blocks are only taken."""
        sequence = self._queue.head
        if sequence is None or not self._queue.time_invariant or self._quotable:
            return False
        prefix = self._kv.cached_prefix(sequence)
        end = self._first_chunk_end(sequence, len(prefix), self.token_budget - self._decodes.count)
        return self._kv.stays_blocked(sequence, prefix, end)
