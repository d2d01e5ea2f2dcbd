"""The state of one replica, and the formation of its steps.

The engine owns the wait queue, the running batch and the KV store of a replica. It schedules no events: the process of
the replica calls `take_turn` when a turn is due. Decode steps that need no decision are planned together by
`blis_simpy.replica.macro_step` and committed with `decode`.

A step has two parts. Its formation grants tokens, takes slots and blocks, and computes the duration. Its effects are
first tokens, completions and freed blocks: `blis_simpy.replica.start_of_step` applies them at the start of the step,
`blis_simpy.replica.end_of_step` at its end.

Invariants: the blocks of a decoding request hold all its stored tokens; taken slots = running requests + slots of other
processes + reserved slots; capacity = blocks of requests + held blocks + blocks of other processes + free list.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from operator import attrgetter
from typing import TYPE_CHECKING, ClassVar

from blis_simpy.core.environment import FOREVER, ReplicaEvent
from blis_simpy.core.plugin_faults import is_own
from blis_simpy.core.request import Phase, RequestOutcome
from blis_simpy.errors import PluginError
from blis_simpy.latency.base import StepBatch, StepMember
from blis_simpy.replica.batch_builder import BatchBuilder
from blis_simpy.replica.batch_policies import SteadyBatchPolicy, forms_decode_steps_alike
from blis_simpy.replica.kv_store import HostTier, ReceivingKVStore
from blis_simpy.replica.log import ReplicaLog, StepLog
from blis_simpy.replica.paged_blocks import PagedBlocks
from blis_simpy.replica.plugin_checks import checked_delay, checked_step_time
from blis_simpy.replica.running_batch import RunningBatch

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from blis_simpy.core.observers import Observers
    from blis_simpy.core.request import Request
    from blis_simpy.core.resources import BatchSlots, KVBlocks
    from blis_simpy.latency.base import LatencyModel
    from blis_simpy.replica.batch_policies import BatchPolicy
    from blis_simpy.replica.kv_store import KVStore
    from blis_simpy.replica.length_limits import LengthLimits
    from blis_simpy.replica.running_request import RunningRequest
    from blis_simpy.replica.step_rules import StepRules
    from blis_simpy.replica.tier_transfers import TierTransfers
    from blis_simpy.replica.wait_queue import WaitQueue

__all__ = ["Engine"]

_MAX_EMPTY_STEPS = 100_000
_QUEUED = RequestOutcome.QUEUED
_PREFILL = Phase.PREFILL
_BATCH_POSITION = attrgetter("batch_position")

_log = logging.getLogger("blis_simpy")


class Engine(ABC):
    """State of one replica, changed by steps.

    Parameters
    ----------
    rules : StepRules
        Token budget, and the rules in which engines differ.
    limits : LengthLimits
        Limits on the length of a request.
    block_size : int
        Tokens a KV block.
    latency : LatencyModel
        Duration of steps.
    policy : BatchPolicy
        Decides which requests get tokens in a step; an attribute, too.
    queue : WaitQueue
        The waiting requests.
    kv : KVStore
        KV store.
    kv_blocks : KVBlocks
        Blocks of the store, with the number of free ones.
    slots : BatchSlots
        Batch slots.
    observers : Observers
        Observers of requests.
    steps_ahead : int, default 0
        Number of steps that are formed while a step is running.
    tiers : TierTransfers, optional
        Transfers to and from KV tiers; an attribute, too.

    Attributes
    ----------
    batch : RunningBatch
        The running requests.
    log : ReplicaLog
        Counters.
    steps : StepLog
        Record of each step.
    num_steps : int
        Number of formed steps.
    device_free_at : int, tick
        End of the last formed step.
    last_step_start : int, tick
        Start of the last formed step.
    busy_us : int, µs
        Sum of the durations of all formed steps.
    decision_gap_x8 : int
        Mean number of steps between two decisions, times eight; a moving average over about eight decisions.
    responses : list of RunningRequest
        Requests that ended in the last turn, with a response that reaches the client later, at `finished_at`.
    """

    timeout_event: ClassVar[ReplicaEvent] = ReplicaEvent.TIMEOUT
    """Kind of the timeout event, which decides its place within a tick."""
    plans_from_delivery: ClassVar[bool] = False
    """Whether a plan may begin after a delivery, in place of the step that is due to be formed."""
    gaps_include_pauses = False
    """Whether the gap between two tokens is the time between the ends of their steps, or the duration of the later."""
    # Whether a step without tokens is skipped.
    _skips_empty_steps = False
    # Whether a request with a past deadline times out when it enters the wait queue.
    _expires_at_entry = True
    # Whether the latency model counts cached tokens as progress in the first step of a request; as in the reference,
    # the engine with effects at the start does not.
    _shows_cached = False

    def __init__(
        self,
        *,
        rules: StepRules,
        limits: LengthLimits,
        block_size: int,
        latency: LatencyModel,
        policy: BatchPolicy,
        queue: WaitQueue,
        kv: KVStore,
        kv_blocks: KVBlocks,
        slots: BatchSlots,
        observers: Observers,
        steps_ahead: int = 0,
        tiers: TierTransfers | None = None,
    ) -> None:
        self.log = ReplicaLog()
        self.steps = StepLog()
        self.num_steps = 0
        self.device_free_at = 0
        self.last_step_start = 0
        self.busy_us = 0
        self.decision_gap_x8 = 0
        self.responses: list[RunningRequest] = []
        self.steps_ahead = steps_ahead
        self._keeps_outputs = rules.resume.keeps_outputs
        self._max_tokens = rules.max_tokens
        self.queue = queue
        self.kv = kv
        self.kv_blocks = kv_blocks
        self.num_blocks = int(kv_blocks.capacity)
        self.batch = RunningBatch(slots, kv, block_size, steps_ahead)
        self.latency = latency
        self.host_tier = kv if isinstance(kv, HostTier) else None
        self.receiving_store = kv if isinstance(kv, ReceivingKVStore) else None
        # Legs that have ended, with blocks that another replica still needs: their stored tokens.
        self.held: dict[RunningRequest, int] = {}
        self._block_size = block_size
        self._limits = limits
        self.policy = policy
        self._steady_policy = policy if isinstance(policy, SteadyBatchPolicy) else None
        self._skips_policy = self.host_tier is None and forms_decode_steps_alike(policy)
        self._observers = observers
        self._step_time = latency.step_time if is_own(latency) else checked_step_time(latency)
        self._token_processing_us = checked_delay(latency, "output_token_processing_time")
        self._overhead_us = checked_delay(latency, "post_decode_overhead")
        self._builder = BatchBuilder(
            rules=rules,
            block_size=block_size,
            batch=self.batch,
            queue=queue,
            kv=kv,
            kv_blocks=kv_blocks,
            log=self.log,
            observers=observers,
            tiers=tiers,
        )
        self.tiers = tiers
        # Requests that enter the wait queue at the next turn, and whether new requests are added to them.
        self._arrived: list[RunningRequest] = []
        self._holds_back = False
        self._num_entered = 0
        self.last_decision = 0
        self._empty_steps, self._last_empty = 0, -1

    @abstractmethod
    def take_turn(self, now: int) -> int | None:
        """Apply the effects that are due, and form steps.

        Returns
        -------
        int or None
            Tick of the next turn; None to sleep until a request or a resource changes.
        """

    def deliver(self, now: int) -> None:
        """Apply the effects that are due."""
        raise NotImplementedError(f"{type(self).__name__} has no pending effects")

    def deliver_first_tokens(self, now: int) -> bool:
        """Apply the effects that are due if they change no batch and have no observer; return whether they were."""
        raise NotImplementedError(f"{type(self).__name__} has no pending effects")

    def form_steps(self, now: int) -> int | None:
        """Form steps after the effects that are due; return the tick of the next turn, or None to sleep."""
        raise NotImplementedError(f"{type(self).__name__} applies effects when it forms a step")

    @property
    def next_effects(self) -> int:
        """Number of the oldest step with pending effects; `FOREVER` without one."""
        return FOREVER

    @property
    @abstractmethod
    def next_turn_at(self) -> int:
        """Tick of the next turn after the formed steps, without a plan."""

    @abstractmethod
    def time_out(self, leg: RunningRequest, now: int) -> bool:
        """Process the timeout of a request; return whether planned steps remain valid."""

    def hand_over(self, leg: RunningRequest, now: int) -> None:
        """End a decoding request when its pending outputs are delivered, and hold its blocks for another replica."""
        raise NotImplementedError(f"{type(self).__name__} cannot hand over requests")

    def take_inputs(self, now: int) -> None:  # noqa: B027 - most engines process them immediately
        """Process new requests and timeouts that the engine has deferred to its next turn."""

    @abstractmethod
    def _does_nothing(self) -> bool:
        """Whether to form no step while no request is running."""

    @abstractmethod
    def _postpone(self, missed: Iterable[RunningRequest], duration: int) -> None:
        """Shift decoding requests by one step, because the current step grants them no token."""

    @abstractmethod
    def steps_to_plan(self) -> int:
        """Return the number of decode steps before the next effect; 0 if a formed step has a pending effect."""

    @property
    def batch_size(self) -> int:
        """Requests in the running batch."""
        return len(self.batch.members)

    @property
    def queue_depth(self) -> int:
        """Requests that wait, those that load their KV blocks included."""
        return len(self.queue.waiting) + len(self.queue.loading) + len(self._arrived)

    def load(self) -> int:
        """Return the number of waiting and running requests."""
        queue = self.queue
        return len(queue.waiting) + len(queue.loading) + len(self._arrived) + len(self.batch.members)

    @property
    def has_work(self) -> bool:
        """Whether any request is running or waiting."""
        return bool(self.batch.members or self.queue.waiting or self._arrived)

    def last_activity(self, horizon: int) -> int:
        """Tick of the last arrival, timeout, step start or step end up to the horizon."""
        last = max(self.log.last_activity, self.last_step_start)
        return max(last, self.device_free_at) if self.device_free_at <= horizon else last

    def enter(self, leg: RunningRequest, now: int) -> bool:
        """Check a request and append it to the wait queue.

        Returns
        -------
        bool
            False if the request ended here: it exceeds the limits, or its deadline has passed.
        """
        self.log.last_activity = now
        if not self._limits.is_servable(leg.request):
            self.drop(leg, now)
            return False
        # Counted before the deadline is checked: in the reference, a request that times out here counts as injected.
        if leg.handover is None:
            self.log.input_tokens += leg.input_tokens
        if 0 < leg.request.deadline <= now and self._expires_at_entry:
            self.log.timed_out += 1
            self._finish(leg, RequestOutcome.TIMED_OUT, now)
            return False
        if leg.phase is _PREFILL:
            leg.last_progress = leg.input_tokens
        else:
            leg.last_progress, leg.capped = self._limits.last_progress(leg.request)
        leg.position = self._num_entered
        self._num_entered += 1
        leg.outcome = _QUEUED
        leg.queued_at = now
        if self._holds_back:
            self._arrived.append(leg)
        else:
            self.queue.append(leg, now)
        if self._observers.enqueued is not None:
            self._observers.enqueued(leg)
        return True

    def _finish(self, leg: RunningRequest, outcome: RequestOutcome, at: int) -> None:
        leg.outcome = outcome
        leg.finished_at = at
        leg.close()
        if self._observers.leg_finished is not None:
            self._observers.leg_finished(leg)

    def drop(self, leg: RunningRequest, now: int) -> None:
        """End a request as dropped; it must be in neither the wait queue nor the batch."""
        self.log.dropped += 1
        self._finish(leg, RequestOutcome.DROPPED, now)

    def remove_queue(self) -> list[RunningRequest]:
        """Remove all waiting requests, subtract them from the counters, and return them in queue order."""
        legs = list(self.queue)
        for leg in legs:
            self.remove(leg)
        return legs

    def remove_all(self) -> list[RunningRequest]:
        """Remove all requests, the running ones first, clear the prefix cache, and return the requests.

        Held blocks are released as well.
        """
        running = list(self.batch.members.values())
        # The order matters: the requests are routed again in this order, and it decides their order of arrival at other
        # replicas.
        for leg in running:
            self.remove(leg)
            leg.num_preemptions += 1
        legs = running + self.remove_queue()
        for leg in list(self.held):
            self.release_held(leg)
        self.kv.clear_cache()
        return legs

    def remove(self, leg: RunningRequest) -> None:
        """Remove a request that is withdrawn or dropped, and subtract it from the counters."""
        if leg in self._arrived:
            self._arrived.remove(leg)
        else:
            self._remove(leg)
        if leg.handover is None:
            self.log.input_tokens -= leg.request.input_tokens

    def _remove(self, leg: RunningRequest) -> None:
        batch = self.batch
        self._count_gaps(leg)
        if leg.batch_position < 0:
            if self.tiers is not None:
                self.tiers.cancel(leg)
            has_received = leg not in self.queue.loading
            if self.queue.remove(leg):
                if leg.handover is None:
                    hashed = leg.computed
                else:
                    hashed = leg.handover.tokens if has_received else leg.cached_tokens
                self.kv.release(leg, leg.input_tokens, hashed)
            return
        stored, hashed = batch.stored_tokens(leg, self.num_steps), batch.hashed_tokens(leg, self.num_steps)
        batch.leave(leg, self.num_steps)
        self.kv.release(leg, stored, hashed)

    def planned_outputs(self, request: Request) -> int:
        """Return the number of output tokens of a request, within the limits on its length."""
        return self._limits.last_progress(request)[0] - request.input_tokens + 1

    def held_blocks(self) -> int | None:
        """Count the KV blocks of all legs, one by one; None if the KV store cannot tell."""
        if not isinstance(self.kv, PagedBlocks):
            return None
        batch, queue = self.batch, self.queue
        return self.kv.count_held(
            [
                *((leg, batch.stored_tokens(leg, self.num_steps)) for leg in batch.members.values()),
                *((leg, leg.input_tokens) for leg in queue.with_blocks()),
                *self.held.items(),
            ]
        )

    def hold_blocks(self, leg: RunningRequest, tokens: int) -> None:
        """Hold the KV blocks of a leg that has ended; `tokens` tokens are stored in them."""
        self.held[leg] = tokens

    def release_held(self, leg: RunningRequest) -> None:
        """Release held KV blocks; they stay in the prefix cache."""
        tokens = self.held.pop(leg)
        self.kv.release(leg, tokens, tokens)
        leg.close()

    def receive(self, leg: RunningRequest) -> None:
        """Let a request whose KV blocks have arrived wait for a batch slot."""
        assert self.receiving_store is not None
        assert leg.handover is not None
        self.receiving_store.receive(leg, leg.handover.tokens)
        # The last known token is computed again: its logits give the next one.
        leg.computed = leg.input_tokens - 1
        self.queue.end_loading(leg)
        if self._observers.blocks_received is not None:
            self._observers.blocks_received(leg)

    def loaded(self, leg: RunningRequest, tokens: int) -> None:
        """Let a request whose blocks of `tokens` tokens have arrived from a KV tier wait for a batch slot."""
        assert self.receiving_store is not None
        self.receiving_store.receive(leg, tokens)
        leg.computed = tokens
        self.queue.end_loading(leg)

    def retry(self, leg: RunningRequest, now: int) -> None:
        """Let a request that waited for the blocks of another one look for its own again."""
        if leg in self.queue.loading:
            self.queue.return_to_place(leg, now)

    def count_gaps(self) -> None:
        """Update the inter-token latencies of the running requests."""
        for leg in self.batch.members.values():
            self._count_gaps(leg)

    @abstractmethod
    def _count_gaps(self, leg: RunningRequest) -> None: ...

    def is_steady(self) -> bool:
        """Whether the next steps need no decision of the batch policy."""
        if self._steady_policy is None or not self.queue.is_stable:
            return False
        self._builder.preview()
        return self._steady_policy.is_steady(self._builder)

    def blocks_for_head(self) -> int:
        """Return the number of free KV blocks that admit the head of the wait queue; 0 if the queue is empty."""
        self._builder.preview()
        return self._builder.blocks_for_head()

    def _form_step(self, now: int) -> tuple[Sequence[RunningRequest], list[RunningRequest]] | None:
        """Form a step: call the batch policy, compute the duration, count the tokens.

        Returns
        -------
        tuple of two sequences of RunningRequest, or None
            Requests that complete their prefill, and requests that end, in this step, each in batch order; None if no
            step was formed.
        """
        if self._skips_policy and (effects := self._form_decode_step(now)) is not None:
            return effects
        builder, batch = self._builder, self.batch
        if not self.queue.time_invariant:
            self.queue.sort(now)
        builder.begin(now, self.num_steps)
        self.policy.form(builder)
        if builder.unservable:
            self._drop_unservable(now)
        if not batch.members and self._does_nothing():
            return None
        missed = builder.close()
        # Decoding requests are passed to the latency model as sums: a loop over them in each step would double the cost
        # of the simulation.
        members: list[StepMember] = []
        single: list[RunningRequest] = []
        prefill_tokens = 0
        shows_cached = self._shows_cached
        for leg in batch.prefilling:
            granted = leg.granted
            if granted:
                prefill_tokens += granted
                request = leg.request
                if granted == 1 and leg.num_outputs and leg.computed >= request.input_tokens:
                    # The recomputation of a single output costs as much as a decode token.
                    single.append(leg)
                else:
                    progress = leg.computed if shows_cached or leg.scheduled_at < now else 0
                    cached = leg.computed - progress
                    members.append(StepMember(leg.input_tokens, progress, granted, request.output_tokens, cached))
        decodes = batch.decodes
        num_decodes = decodes.count
        if missed:
            num_decodes -= len(missed)
        if not num_decodes and not prefill_tokens:
            if self._skips_empty_steps:
                return None
            self._count_empty_step()
        if missed or single:
            shown = self._batch_of(members, single, missed)
        else:
            shown = StepBatch(members, num_decodes, decodes.context_tokens, self.decode_contexts)
        duration = self._step_time(shown)
        if self.host_tier is not None:
            duration += self.host_tier.claim_transfer()
        if missed:
            # A step lasts 1 µs at least, see `_start_step`.
            self._postpone(missed, max(duration, 1))
        return self._start_step(now, duration, num_decodes, prefill_tokens)

    def _form_decode_step(self, now: int) -> tuple[Sequence[RunningRequest], list[RunningRequest]] | None:
        """Form a step that gives each decoding request its token and does nothing else; None if it may do more."""
        # Most steps of a calm replica. Under these conditions `ContinuousBatching.is_steady` is true and
        # `BatchBuilder.grant_all` succeeds; neither is called.
        batch = self.batch
        decodes, waiting = batch.decodes, self.queue.waiting
        num_decodes = decodes.count
        if (
            batch.prefilling
            or (waiting and (batch.slots.free > 0 or not self.queue.time_invariant))
            or not 0 < num_decodes <= self._max_tokens
            or batch.with_named_output
        ):
            return None
        blocks = decodes.blocks_in_step(self.num_steps)
        if blocks and not self.kv.take(blocks):
            return None
        shown = StepBatch((), num_decodes, decodes.context_tokens, self.decode_contexts)
        return self._start_step(now, self._step_time(shown), num_decodes, 0)

    def _start_step(
        self, now: int, duration: int, num_decodes: int, prefill_tokens: int
    ) -> tuple[Sequence[RunningRequest], list[RunningRequest]]:
        """Start a step after its formation: count its tokens and record it."""
        # With a duration of 0, the replica would form steps endlessly within one tick.
        if duration < 1:
            duration = 1
        batch, step = self.batch, self.num_steps
        start = self.device_free_at
        if now > start:
            start = now
        self.last_step_start = start
        self.device_free_at = start + duration
        self.busy_us += duration
        # Tokens are counted at formation, in both engines: output lengths are known, so the end of the step adds no
        # information that the next formation needs, and a macro-step is counted in one operation.
        if self.tiers is not None and prefill_tokens:
            size = self._block_size
            filled = [(leg, leg.computed // size, (leg.computed + leg.granted) // size) for leg in batch.prefilling]
            self.tiers.computed(filled, self.device_free_at)
        self.num_steps = step + 1
        ended = batch.decodes.take_step(step)
        prefilled: Sequence[RunningRequest] = self._count_prefills(step, ended) if batch.prefilling else ()
        if len(ended) > 1:
            # Completions free blocks in this order, which decides the order of their eviction.
            ended.sort(key=_BATCH_POSITION)
        # Read before the effects apply: blocks freed by completions are in use during this step.
        used = self.num_blocks - self.kv_blocks.free
        queue_depth = len(self.queue.waiting) + len(self.queue.loading)
        if self._arrived:
            queue_depth += len(self._arrived)
        self.steps.step(start, duration, num_decodes, prefill_tokens, len(batch.members), queue_depth, used)
        if self.host_tier is not None:
            self.offload()
        # A decision is a step with a prefill or an end; all others could be part of a macro-step. The moving average is
        # an integer, for equal results on every platform: m += x - m / 8 converges to 8 x.
        if prefill_tokens or ended:
            self.decision_gap_x8 += step - self.last_decision - (self.decision_gap_x8 >> 3)
            self.last_decision = step
        return prefilled, ended

    def _count_empty_step(self) -> None:
        """Count steps in a row that compute nothing, which a batch policy of others must not form for ever."""
        self._empty_steps = self._empty_steps + 1 if self._last_empty == self.num_steps - 1 else 1
        self._last_empty = self.num_steps
        if self._empty_steps > _MAX_EMPTY_STEPS and not is_own(self.policy):
            rule = f"form makes no progress: {self._empty_steps:,} steps compute nothing"
            hint = f"tick {self.device_free_at}; {len(self.queue)} requests wait, {self.batch_size} run"
            raise PluginError.at(f"batch policy {type(self.policy).__name__}", rule, hint=hint)

    def _drop_unservable(self, now: int) -> None:
        for leg in self._builder.unservable:
            _log.warning(
                "request %s is dropped at %d us: its %d prompt tokens and its output so far need more than all KV "
                "blocks",
                leg.request.id,
                now,
                leg.input_tokens,
            )
            self._count_gaps(leg)
            self.drop(leg, now)
        self._builder.unservable.clear()

    def _batch_of(
        self, members: list[StepMember], single: list[RunningRequest], missed: list[RunningRequest]
    ) -> StepBatch:
        """Batch for the latency model, without the `missed` requests, and with the `single` tokens as decode tokens."""
        decodes, step = self.batch.decodes, self.num_steps
        context_tokens = decodes.context_tokens
        context_tokens += sum(leg.computed for leg in single) - sum(decodes.progress(leg, step) for leg in missed)
        positions = {leg.batch_position for leg in missed}

        def contexts() -> list[int]:
            return [*self.batch.decode_contexts(step, excluded=positions), *(leg.computed for leg in single)]

        return StepBatch(members, decodes.count - len(missed) + len(single), context_tokens, contexts)

    def decode_contexts(self) -> list[int]:
        """Progress of each decoding request before the next step, in batch order."""
        return self.batch.decode_contexts(self.num_steps)

    def _count_prefills(self, step: int, ended: list[RunningRequest]) -> list[RunningRequest]:
        """Count the prefill tokens of a step; return the requests that complete their prefill, and append ends."""
        batch = self.batch
        prefilled: list[RunningRequest] = []
        unfinished: list[RunningRequest] = []
        for leg in batch.prefilling:
            leg.computed += leg.granted
            leg.granted = 0
            if leg.computed < leg.input_tokens:
                unfinished.append(leg)
                continue
            leg.first_decode_step = step + 1
            leg.last_step = step + leg.last_progress - leg.input_tokens
            if leg.last_step == step:
                ended.append(leg)
            else:
                batch.decodes.add(leg)
            prefilled.append(leg)
        batch.end_prefills(unfinished)
        return prefilled

    def offload(self) -> None:
        """Copy full blocks to the host tier."""
        assert self.host_tier is not None
        step, stored_tokens = self.num_steps, self.batch.stored_tokens
        self.host_tier.offload(self.batch.members.values(), lambda leg: stored_tokens(leg, step))

    def end_last_planned(self) -> None:  # noqa: B027 - most engines plan no step in which a request ends
        """End requests with the last step of a plan."""

    def decode(
        self,
        last_start: int,
        end: int,
        last_formed_at: int,
        durations: Sequence[int] | NDArray[np.int64],
        blocks_by_step: list[int],
    ) -> None:
        """Form planned decode steps after the last step, with one token per decoding request and step.

        Parameters
        ----------
        last_start, end : int, tick
            Start and end of the last step.
        last_formed_at : int, tick
            Formation of the last step.
        durations : iterable of int, µs
            Duration of each step.
        blocks_by_step : list of int
            Number of KV blocks taken in each step.
        """
        steps = len(blocks_by_step)
        used = self.num_blocks - self.kv_blocks.free
        blocks = sum(blocks_by_step)
        if blocks:
            self.kv.take(blocks)
        decodes = self.batch.decodes
        start, queue_depth = self.device_free_at, self.queue_depth
        # One record for all steps: the log expands it to a row per step when it is read.
        self.steps.run(start, durations, blocks_by_step, decodes.count, len(self.batch.members), queue_depth, used)
        self.last_step_start = last_start
        self.device_free_at = end
        self.busy_us += end - start
        self.num_steps += steps
        decodes.advance(steps)
        if self.host_tier is not None:
            self.offload()
