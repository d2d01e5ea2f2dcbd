"""The step under formation: what a batch policy sees, and the verbs that it has.

The engine keeps one builder and hands it to the batch policy at the start of each step. It grants tokens, preempts and
admits; the running batch and the KV store do the bookkeeping. `grant` and `admit` are enough for most policies;
`try_grant` and `preempt` let a policy choose whom it preempts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blis_simpy.core.request import RequestOutcome

if TYPE_CHECKING:
    from collections.abc import Sized

    from blis_simpy.core.observers import Observers
    from blis_simpy.core.resources import KVBlocks
    from blis_simpy.replica.kv_store import KVStore
    from blis_simpy.replica.log import ReplicaLog
    from blis_simpy.replica.running_batch import RunningBatch
    from blis_simpy.replica.running_request import RunningRequest
    from blis_simpy.replica.step_rules import StepRules
    from blis_simpy.replica.wait_queue import WaitQueue

__all__ = ["BatchBuilder"]

_RUNNING = RequestOutcome.RUNNING


class BatchBuilder:
    """Hands out the tokens of one step.

    Parameters
    ----------
    rules : StepRules
        Token budget, and the rules that engines disagree on.
    block_size : int
        Tokens a KV block.
    batch : RunningBatch
        The running requests.
    queue : WaitQueue
        The waiting requests.
    kv : KVStore
        KV store.
    kv_blocks : KVBlocks
        Count of its free blocks.
    log : ReplicaLog
        Records preemptions.
    observers : Observers
        Observers of preemptions and admissions.

    Attributes
    ----------
    now : int, tick
        Start of the step.
    step : int
        Its number.
    token_budget : int
        Tokens of the step that are still to be granted.
    num_preempted : int
        Requests preempted in the step.
    unservable : list of RunningRequest
        Requests that need more than all KV blocks, and have left the batch in the step.
    """

    def __init__(
        self,
        *,
        rules: StepRules,
        block_size: int,
        batch: RunningBatch,
        queue: WaitQueue,
        kv: KVStore,
        kv_blocks: KVBlocks,
        log: ReplicaLog,
        observers: Observers,
    ) -> None:
        self.now = 0
        self.step = 0
        self.token_budget = self._max_tokens = rules.max_tokens
        self.num_preempted = 0
        self.unservable: list[RunningRequest] = []
        self._max_chunk = rules.max_chunk
        self._chunk_limit = rules.chunk_limit
        self._admission = rules.admission
        self._leaves_check_to_kv = rules.admission.is_checked_by_kv and not rules.kept_blocks
        self._kept_blocks = rules.kept_blocks
        self._victims = rules.victim
        self._resume = rules.resume
        self._block_size = block_size
        self._batch = batch
        self._queue = queue
        self._kv = kv
        self._kv_blocks = kv_blocks
        self._log = log
        self._observers = observers
        # Decoding requests that were granted a token one by one; None if all were granted theirs together.
        self._granted_decodes: list[RunningRequest] | None = None

    def begin(self, now: int, step: int) -> None:
        """Start the formation of a step."""
        self.now = now
        self.step = step
        self.token_budget = self._max_tokens
        if self._chunk_limit is not None:
            self._max_chunk = self._chunk_limit.tokens(len(self._batch.members) + len(self._queue.waiting))
        self.num_preempted = 0
        self._granted_decodes = []
        batch = self._batch
        for leg in batch.prefilling:
            leg.granted = 0
        if batch.with_named_output:
            batch.name_outputs(step)

    def close(self) -> list[RunningRequest]:
        """End the formation; return the decoding requests that were granted no token, in batch order."""
        granted = self._granted_decodes
        if granted is None:
            return []
        self._granted_decodes = None
        # A request may have been preempted after it was granted its token.
        positions = {leg.batch_position for leg in granted if leg.batch_position >= 0}
        for leg in granted:
            leg.granted = 0
        batch = self._batch
        if len(positions) == batch.decodes.count:
            return []
        return [
            leg
            for leg in batch.members.values()
            if leg.decoding and not leg.finishing and leg.batch_position not in positions
        ]

    def preview(self) -> None:
        """Show the full budget, as a step that is formed now starts with it."""
        self.token_budget = self._max_tokens
        if self._chunk_limit is not None:
            self._max_chunk = self._chunk_limit.tokens(len(self._batch.members) + len(self._queue.waiting))

    @property
    def num_running(self) -> int:
        """Running requests, those included whose last token is under way."""
        return len(self._batch.members)

    @property
    def num_prefilling(self) -> int:
        """Running requests whose prompt is not done."""
        return len(self._batch.prefilling)

    @property
    def num_decoding(self) -> int:
        """Running requests that take one token a step."""
        return self._batch.decodes.count

    @property
    def num_waiting(self) -> int:
        """Requests in the wait queue."""
        return len(self._queue.waiting)

    @property
    def free_slots(self) -> int:
        """Batch slots that neither requests nor other processes hold."""
        return self._batch.slots.free

    @property
    def latest(self) -> RunningRequest:
        """The running request that was admitted last."""
        return self._batch.latest

    def running(self) -> list[RunningRequest]:
        """Return the running requests that want tokens, in batch order, as of now."""
        members = self._batch.members.values()
        return [leg for leg in members if not leg.finishing] if self._batch.num_finishing else list(members)

    def granted(self, leg: RunningRequest) -> int:
        """Tokens that the step computes for a running request."""
        return 1 if leg.decoding and self._granted_decodes is None else leg.granted

    def grant_all(self) -> bool:
        """Give each running request its next chunk or token, if budget and KV blocks suffice for all.

        Returns
        -------
        bool
            False if they do not; then nothing has changed, and requests are served one by one with `grant`.
        """
        batch, kv = self._batch, self._kv
        decodes = batch.decodes
        budget = self.token_budget - decodes.count
        needed = for_decodes = decodes.blocks_in_step(self.step)
        chunks: list[tuple[RunningRequest, int]] = []
        for leg in batch.prefilling:
            chunk = min(leg.input_tokens - leg.computed, self._max_chunk)
            if chunk > budget:
                # The budget goes to the requests that were admitted first: it may only fall short for the last of all.
                if budget <= 0 or leg is not batch.latest:
                    return False
                chunk = budget
            budget -= chunk
            chunks.append((leg, chunk))
            needed += kv.blocks_to_extend(leg, leg.computed + chunk)
        if budget < 0 or needed > self._kv_blocks.free:
            return False
        for leg, chunk in chunks:
            leg.granted = chunk
        # In batch order: of equal blocks, it matters which one could be found first.
        for leg in batch.members.values() if batch.with_named_output else batch.prefilling:
            if leg.first_decode_step < 0:
                kv.extend(leg, leg.computed + leg.granted)
            else:
                batch.name_output(leg, self.step, granted=True)
        if for_decodes:
            kv.take(for_decodes)
        self.token_budget = budget
        self._granted_decodes = None
        return True

    def grant(self, leg: RunningRequest) -> bool:
        """Give one running request its next chunk or token, preempting others while it does not fit.

        Returns
        -------
        bool
            False if the request itself left the batch, because it was the one to be preempted.
        """
        # Tokens of victims go back to the budget for those that are served later, not for this one.
        tokens = self._wanted(leg)
        while not self._try_grant(leg, tokens):
            victim = self._victims.victim(self._batch)
            if victim is leg and self._outgrew_memory(leg):
                self._give_up(leg)
                return False
            self.preempt(victim)
            if victim is leg:
                return False
        return True

    def try_grant(self, leg: RunningRequest) -> bool:
        """Give one running request its next chunk or token.

        Returns
        -------
        bool
            False if there are too few free KV blocks; then nothing has changed.
        """
        return self._try_grant(leg, self._wanted(leg))

    def _wanted(self, leg: RunningRequest) -> int:
        return 1 if leg.decoding else min(leg.input_tokens - leg.computed, self._max_chunk, self.token_budget)

    def _try_grant(self, leg: RunningRequest, tokens: int) -> bool:
        kv = self._kv
        leg.granted = 0
        if leg.decoding:
            if self._batch.decodes.needs_block(leg, self.step) and not kv.take(1):
                return False
            self.token_budget -= 1
            # Until the step is closed, so that `stored_tokens` counts the token if the request is preempted meanwhile.
            leg.granted = 1
            if self._granted_decodes is not None:
                self._granted_decodes.append(leg)
                if leg.request.output_stream is not None:
                    kv.name_output(leg, self._batch.hashed_tokens(leg, self.step))
            return True
        if not kv.extend(leg, leg.computed + tokens):
            return False
        self.token_budget -= tokens
        leg.granted = tokens
        return True

    def _outgrew_memory(self, leg: RunningRequest) -> bool:
        """Whether a request, alone in the batch, needs more than all KV blocks.

        Its prompt and output budget fitted when it arrived, so it has no budget or exceeds it.
        """
        stored = self._batch.stored_tokens(leg, self.step)
        return len(self._batch.members) == 1 and stored >= self._kv_blocks.capacity * self._block_size

    def _give_up(self, leg: RunningRequest) -> None:
        batch = self._batch
        stored, hashed = batch.stored_tokens(leg, self.step), batch.hashed_tokens(leg, self.step)
        batch.leave(leg, self.step)
        self._kv.release(leg, stored, hashed)
        self.unservable.append(leg)

    def preempt(self, victim: RunningRequest) -> None:
        """Take a running request out of the batch, free its KV blocks and put it back into the wait queue.

        Tokens that the step has granted to it go back to the budget.
        """
        batch, resume, step = self._batch, self._resume, self.step
        self.num_preempted += 1
        self.token_budget += victim.granted
        outputs = batch.num_outputs(victim, step)
        stored, hashed = batch.stored_tokens(victim, step), batch.hashed_tokens(victim, step)
        self._kv.preempt(victim, stored, hashed, resume.findable(victim, hashed))
        batch.leave(victim, step)
        self._log.preemptions.append((victim.request, self.now))
        self._queue.return_to_front(resume.requeued(victim, outputs, step, self.now), self.now)
        if self._observers.preempted is not None:
            self._observers.preempted(victim)

    def _first_chunk_end(self, leg: RunningRequest, cached_blocks: int, budget: int) -> int:
        cached = cached_blocks * self._block_size
        return cached + min(leg.input_tokens - cached, self._max_chunk, budget)

    def admit(self) -> bool:
        """Admit the head of the wait queue with the chunk that the budget allows, after its cached prefix.

        Returns
        -------
        bool
            False if its KV blocks do not fit; then nothing has changed.
        """
        leg = self._queue.head
        assert leg is not None
        # Looked up again at each attempt: running requests evict and add blocks while it waits.
        prefix = self._kv.cached_prefix(leg)
        end = self._first_chunk_end(leg, len(prefix), self.token_budget)
        if not self._leaves_check_to_kv:
            kept = self._kept_blocks if self._batch.members else 0
            if not self._admission.fits(leg, prefix, end, kept):
                return False
        if not self._kv.admit(leg, prefix, end):
            return False
        self._queue.pop()
        self._batch.join(leg)
        leg.computed = cached = len(prefix) * self._block_size
        leg.granted = end - leg.computed
        self.token_budget -= leg.granted
        leg.outcome = _RUNNING
        leg.scheduled_at = now = self.now
        if leg.num_preemptions and leg.first.first_scheduled_at >= 0 and self._kv.caches_prefixes:
            self._log.resumed_lookups.count(leg.input_tokens, cached)
        if leg.first_scheduled_at < 0:
            leg.first_scheduled_at = now
            leg.cached_tokens = cached
        if self._observers.scheduled is not None:
            self._observers.scheduled(leg)
        return True

    def _head_chunk(self) -> tuple[RunningRequest, Sized, int] | None:
        """Return the head of the wait queue, its cached prefix, and the end of its first chunk beside the decodes."""
        leg = self._queue.head
        if leg is None:
            return None
        prefix = self._kv.cached_prefix(leg)
        return leg, prefix, self._first_chunk_end(leg, len(prefix), self.token_budget - self._batch.decodes.count)

    def head_stays_blocked(self) -> bool:
        """Whether the head of the wait queue does not fit, and will not while KV blocks are only taken."""
        # A head whose place depends on the clock may be another one by then. Named output of running requests may fill
        # blocks that its prompt contains.
        if not self._queue.time_invariant or self._batch.with_named_output:
            return False
        first_chunk = self._head_chunk()
        kept = self._kept_blocks if self._batch.members else 0
        return first_chunk is not None and self._admission.stays_blocked(*first_chunk, kept)

    def blocks_for_head(self) -> int:
        """Fewest free KV blocks with which the head of the wait queue can be admitted; 0 without a head."""
        first_chunk = self._head_chunk()
        return 0 if first_chunk is None else self._admission.blocks_needed(*first_chunk)
