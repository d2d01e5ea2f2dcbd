"""Interface of a batch policy to the step that is being formed.

The engine passes its builder to the batch policy at the formation of each step. Methods of the builder grant tokens,
admit and preempt requests; the running batch and the KV store keep the state. `grant` and `admit` suffice for most
policies; a policy that chooses the preempted requests itself uses `try_grant` and `preempt`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blis_simpy.core.request import RequestOutcome
from blis_simpy.replica.kv_store import ReceivingKVStore
from blis_simpy.replica.log import Resumption
from blis_simpy.replica.tier_transfers import Arrival

if TYPE_CHECKING:
    from collections.abc import Sized

    from blis_simpy.core.observers import Observers
    from blis_simpy.core.resources import KVBlocks
    from blis_simpy.replica.kv_store import KVStore
    from blis_simpy.replica.log import ReplicaLog
    from blis_simpy.replica.running_batch import RunningBatch
    from blis_simpy.replica.running_request import RunningRequest
    from blis_simpy.replica.step_rules import StepRules
    from blis_simpy.replica.tier_transfers import LoadPlan, TierTransfers
    from blis_simpy.replica.wait_queue import WaitQueue

__all__ = ["BatchBuilder"]

_RUNNING = RequestOutcome.RUNNING


class BatchBuilder:
    """Grants the tokens of one step.

    Parameters
    ----------
    rules : StepRules
        Token budget, and the rules in which engines differ.
    block_size : int
        Tokens a KV block.
    batch : RunningBatch
        The running requests.
    queue : WaitQueue
        The waiting requests.
    kv : KVStore
        KV store.
    kv_blocks : KVBlocks
        Blocks of the store, with the number of free ones.
    log : ReplicaLog
        Records preemptions.
    observers : Observers
        Observers of preemptions and admissions.
    tiers : TierTransfers or None
        Transfers from KV tiers, if there are any.

    Attributes
    ----------
    now : int, tick
        Start of the step.
    step : int
        Number of the step.
    token_budget : int
        Tokens of the step that have not been granted.
    num_preempted : int
        Requests preempted in the step.
    unservable : list of RunningRequest
        Requests removed from the batch in the step, because they need more than all KV blocks.
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
        tiers: TierTransfers | None = None,
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
        self._tiers = tiers
        self._receiver = kv if isinstance(kv, ReceivingKVStore) else None
        self._kv_blocks = kv_blocks
        self._log = log
        self._observers = observers
        # Tokens of preempted requests whose KV was computed and is lost, unless the prefix cache still has it.
        self._computed_before: dict[int, int] = {}
        # Decoding requests that `grant` has given a token; None if `grant_all` has given one to all of them.
        self._granted_decodes: list[RunningRequest] | None = None

    def begin(self, now: int, step: int) -> None:
        """Begin the formation of a step."""
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
        """End the formation; return the decoding requests without a token, in batch order."""
        granted = self._granted_decodes
        if granted is None:
            return []
        self._granted_decodes = None
        # A request with a token may have been preempted for a later one.
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
        """Reset the budget to that of a new step, so that `is_steady` and `blocks_for_head` can be evaluated."""
        self.token_budget = self._max_tokens
        if self._chunk_limit is not None:
            self._max_chunk = self._chunk_limit.tokens(len(self._batch.members) + len(self._queue.waiting))

    @property
    def num_running(self) -> int:
        """Number of running requests, including those with their last output pending."""
        return len(self._batch.members)

    @property
    def num_prefilling(self) -> int:
        """Number of running requests in prefill."""
        return len(self._batch.prefilling)

    @property
    def num_decoding(self) -> int:
        """Number of decoding requests."""
        return self._batch.decodes.count

    @property
    def num_waiting(self) -> int:
        """Number of requests in the wait queue."""
        return len(self._queue.waiting)

    @property
    def free_slots(self) -> int:
        """Number of free batch slots."""
        return self._batch.slots.free

    @property
    def latest(self) -> RunningRequest:
        """The last admitted running request."""
        return self._batch.latest

    def running(self) -> list[RunningRequest]:
        """Return a list of the running requests that can get tokens, in batch order."""
        members = self._batch.members.values()
        return [leg for leg in members if not leg.finishing] if self._batch.num_finishing else list(members)

    def granted(self, leg: RunningRequest) -> int:
        """Return the number of tokens granted to a running request in this step."""
        return 1 if leg.decoding and self._granted_decodes is None else leg.granted

    def grant_all(self) -> bool:
        """Grant each running request its next chunk or token, if budget and KV blocks suffice for all.

        Returns
        -------
        bool
            False if they do not suffice. Then nothing has changed; continue with `grant` for single requests.
        """
        # The normal case, in which decoding requests need not be visited: their tokens and blocks are sums.
        batch, kv = self._batch, self._kv
        decodes = batch.decodes
        budget = self.token_budget - decodes.count
        needed = for_decodes = decodes.blocks_in_step(self.step)
        chunks: list[tuple[RunningRequest, int]] = []
        for leg in batch.prefilling:
            chunk = min(leg.input_tokens - leg.computed, self._max_chunk)
            if chunk > budget:
                # The budget goes to requests in order of admission, so only the last chunk may be cut. Otherwise the
                # policy serves single requests, and decides which of them get nothing.
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
        # In batch order, because the first of several blocks with the same content is the one that lookups find.
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
        """Grant a running request its next chunk or token, and preempt requests until it fits.

        Returns
        -------
        bool
            False if the request itself was preempted or removed.
        """
        # Computed before any preemption: tokens of preempted requests are available to later requests only.
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
        """Grant a running request its next chunk or token.

        Returns
        -------
        bool
            False if there are too few free KV blocks. Then nothing has changed.
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
            # Reset in `close`. Until then `stored_tokens` counts the token, in case the request is preempted.
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
        """Whether a request is alone in the batch and needs more than all KV blocks."""
        # Possible without an output budget, or beyond it: only prompt and budget are checked at entry.
        stored = self._batch.stored_tokens(leg, self.step)
        return len(self._batch.members) == 1 and stored >= self._kv_blocks.capacity * self._block_size

    def _give_up(self, leg: RunningRequest) -> None:
        batch = self._batch
        stored, hashed = batch.stored_tokens(leg, self.step), batch.hashed_tokens(leg, self.step)
        batch.leave(leg, self.step)
        self._kv.release(leg, stored, hashed)
        self.unservable.append(leg)

    def preempt(self, victim: RunningRequest) -> None:
        """Preempt a running request: free its KV blocks, return its tokens to the budget, and move it to the queue."""
        batch, resume, step = self._batch, self._resume, self.step
        self.num_preempted += 1
        self.token_budget += victim.granted
        outputs = batch.num_outputs(victim, step)
        stored, hashed = batch.stored_tokens(victim, step), batch.hashed_tokens(victim, step)
        self._computed_before[victim.position] = stored - victim.granted - victim.extra_stored
        self._kv.preempt(victim, stored, hashed, resume.findable(victim, hashed))
        batch.leave(victim, step)
        self._log.preemptions.append((victim.request.row, self.now))
        self._queue.return_to_front(resume.requeued(victim, outputs, step, self.now), self.now)
        if self._observers.preempted is not None:
            self._observers.preempted(victim)

    def _first_chunk_end(self, leg: RunningRequest, cached_blocks: int, budget: int) -> int:
        cached = cached_blocks * self._block_size
        return cached + min(leg.input_tokens - cached, self._max_chunk, budget)

    def admit(self) -> bool:
        """Admit the head of the wait queue, and grant it the first chunk after its cached prefix.

        Returns
        -------
        bool
            False if there are too few free KV blocks. Then nothing has changed. True also if the request has left the
            queue to wait for KV blocks from elsewhere.
        """
        leg = self._queue.head
        assert leg is not None
        if self._queue.num_holding:
            return self._join(leg)
        if leg.handover is not None and leg.handover.reserved_at < 0:
            return self._reserve(leg)
        # Looked up at each attempt, because running requests add and evict blocks in the meantime.
        prefix = self._kv.cached_prefix(leg)
        if self._tiers is not None:
            plan = self._tiers.plan(leg, len(prefix))
            if plan is not None:
                return self._load(leg, prefix, plan)
        end = self._first_chunk_end(leg, len(prefix), self.token_budget)
        if not self._leaves_check_to_kv:
            kept = self._kept_blocks if self._batch.members else 0
            if not self._admission.fits(leg, prefix, end, kept):
                return False
        if not self._kv.admit(leg, prefix, end):
            return False
        leg.computed = len(prefix) * self._block_size
        self._start(leg, end)
        return True

    def _start(self, leg: RunningRequest, end: int) -> None:
        """Let the head of the wait queue join the batch, after the tokens that it has from the cache."""
        self._queue.pop()
        self._batch.join(leg)
        cached = leg.computed
        leg.granted = end - cached
        self.token_budget -= leg.granted
        leg.outcome = _RUNNING
        leg.scheduled_at = now = self.now
        if leg.num_preemptions and leg.first.first_scheduled_at >= 0:
            lost = max(self._computed_before.pop(leg.position) - cached, 0)
            self._log.resumptions.append(Resumption(leg.request.row, leg.input_tokens, cached, lost))
        if leg.first_scheduled_at < 0:
            leg.first_scheduled_at = now
            leg.cached_tokens = cached
        if self._observers.scheduled is not None:
            self._observers.scheduled(leg)

    def _load(self, leg: RunningRequest, prefix: Sized, plan: LoadPlan | Arrival) -> bool:
        """Let the head of the wait queue wait for blocks from a KV tier, reserved ones or those of another request."""
        tiers, kv = self._tiers, self._receiver
        assert tiers is not None
        assert kv is not None
        if isinstance(plan, Arrival):
            self._queue.load_head(is_reserved=False)
            tiers.wait_for(leg, plan)
            return True
        # As for a handover, blocks for all known tokens, so that requests that hold blocks never wait for others.
        kept = self._kept_blocks if self._batch.members else 0
        if tiers.is_full or not self._admission.fits(leg, prefix, leg.input_tokens, kept):
            return False
        if not kv.reserve(leg, prefix, leg.input_tokens):
            return False
        self._queue.load_head()
        leg.computed = len(prefix) * self._block_size
        tiers.load(leg, plan)
        return True

    def _reserve(self, leg: RunningRequest) -> bool:
        """Allocate the blocks of the head of the wait queue, whose content comes from another replica.

        The request leaves the queue until its blocks have arrived. It takes no slot and no tokens.
        """
        handover, kv = leg.handover, self._receiver
        assert handover is not None
        assert kv is not None
        prefix = self._kv.cached_prefix(leg)
        # For all known tokens: one more than arrive, if some are outputs. So the next step needs no further block.
        end = leg.input_tokens
        kept = self._kept_blocks if self._batch.members else 0
        if not self._admission.fits(leg, prefix, end, kept) or not kv.reserve(leg, prefix, end):
            return False
        self._queue.load_head()
        leg.cached_tokens = cached = len(prefix) * self._block_size
        handover.reserved_at = self.now
        handover.moved_tokens = -(-handover.tokens // self._block_size) * self._block_size - cached
        if self._observers.blocks_reserved is not None:
            self._observers.blocks_reserved(leg)
        return True

    def _join(self, leg: RunningRequest) -> bool:
        """Admit the head of the wait queue, which holds its blocks."""
        end = leg.computed + min(leg.input_tokens - leg.computed, self._max_chunk, self.token_budget)
        if leg.handover is None:
            self._kv.extend(leg, end)
            self._start(leg, end)
            return True
        self._queue.pop()
        self._batch.join(leg)
        leg.granted = end - leg.computed
        self.token_budget -= leg.granted
        leg.outcome = _RUNNING
        leg.first_scheduled_at = leg.scheduled_at = self.now
        if self._observers.scheduled is not None:
            self._observers.scheduled(leg)
        return True

    def _head_chunk(self) -> tuple[RunningRequest, Sized, int] | None:
        """Head of the wait queue, its cached prefix, and the end of its first chunk beside all decode tokens."""
        leg = self._queue.head
        if leg is None:
            return None
        prefix = self._kv.cached_prefix(leg)
        if leg.handover is not None and leg.handover.reserved_at < 0:
            return leg, prefix, leg.input_tokens
        return leg, prefix, self._first_chunk_end(leg, len(prefix), self.token_budget - self._batch.decodes.count)

    def head_stays_blocked(self) -> bool:
        """Whether the head of the wait queue cannot be admitted as long as no KV blocks are put back."""
        # With an order that depends on the clock, another request may become the head. The output of running requests
        # may add blocks to the cache that the head shares.
        if not self._queue.time_invariant or self._batch.with_named_output or self._queue.num_holding:
            return False
        first_chunk = self._head_chunk()
        kept = self._kept_blocks if self._batch.members else 0
        return first_chunk is not None and self._admission.stays_blocked(*first_chunk, kept)

    def blocks_for_head(self) -> int:
        """Return the number of free KV blocks that admit the head of the wait queue; 0 if the queue is empty."""
        if self._queue.num_holding:
            return 0
        first_chunk = self._head_chunk()
        return 0 if first_chunk is None else self._admission.blocks_needed(*first_chunk)
