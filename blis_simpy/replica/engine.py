"""What one replica does in a step, exactly, and how it does many at once.

The engine owns the wait queue, the running batch and the KV blocks of a replica. It knows no events: the replica's
process tells it when to step. All effects of a step apply at its *start*: tokens, completions, freed blocks. Only the
latencies on record reach to its end. Between two steps with a decision to take, decode steps are *planned* as one run,
and carried out when the run ends or when somebody looks (`settle`).

Invariants: a decoding request has a block for each token it has stored; slots taken equal the batch; blocks held,
blocks held outside and the free list add up to the capacity.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from blis_simpy.core.request import NEVER, Request, RequestOutcome
from blis_simpy.errors import PluginError
from blis_simpy.latency.base import DecodeRuns, LatencyModel, StepBatch, StepMember
from blis_simpy.replica.batch_builder import BatchBuilder
from blis_simpy.replica.batch_policies import BatchPolicy, SteadyBatchPolicy
from blis_simpy.replica.decode_batch import DecodeBatch
from blis_simpy.replica.kv_store import HostTier
from blis_simpy.replica.log import ReplicaLog, StepLog
from blis_simpy.replica.macro_step import MacroStep
from blis_simpy.replica.running_request import RunningRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from blis_simpy.core.observers import Hooks
    from blis_simpy.core.resources import BatchSlots, KVBlocks
    from blis_simpy.replica.kv_store import KVStore
    from blis_simpy.replica.schedulers import WaitQueue
    from blis_simpy.replica.settings import EngineSettings

__all__ = ["Engine"]

_log = logging.getLogger("blis_simpy")

# A run this long costs far more to compute than to wake up for; it bounds the arrays of one plan.
_MAX_RUN_STEPS = 1 << 16
# A plan costs as much as this many steps. Where decisions follow each other more closely, steps are taken singly.
_WORTH_PLANNING = 4


class Engine:
    """State of one replica and its change by steps.

    Parameters
    ----------
    settings : EngineSettings
        Limits of a step.
    max_model_len : int
        Cap on prompt and output, tokens; 0 = none.
    block_size : int
        Tokens a KV block.
    latency : LatencyModel
        How long steps take.
    former : BatchPolicy
        Who gets tokens in a step.
    queue : WaitQueue
        Who waits, in order.
    kv : KVStore
        The KV blocks' owner.
    pool : KVBlocks
        Their count.
    slots : BatchSlots
        Batch slots.
    on_end : callable
        Told of each request that ended here.
    hooks : Hooks
        Told of first tokens and preemptions.

    Attributes
    ----------
    log : ReplicaLog
        Counters.
    steps : StepLog
        What was done in each step.
    next_step_at : int, tick
        End of the last step that was carried out or planned.
    """

    def __init__(
        self,
        *,
        settings: EngineSettings,
        max_model_len: int,
        block_size: int,
        latency: LatencyModel,
        former: BatchPolicy,
        queue: WaitQueue,
        kv: KVStore,
        pool: KVBlocks,
        slots: BatchSlots,
        on_end: Callable[[Request], None],
        hooks: Hooks,
    ) -> None:
        self.log = ReplicaLog()
        self.steps = StepLog()
        self.next_step_at = 0
        self.queue = queue
        self.kv = kv
        self._max_model_len = max_model_len
        self._block_size = block_size
        self._latency = latency
        self._former = former
        self._pool = pool
        self._num_blocks = int(pool.capacity)
        self._slots = slots
        self._on_end = on_end
        self._hooks = hooks
        self._token_processing_us = latency.output_token_processing_time()
        self._overhead_us = latency.post_decode_overhead()
        self._decode_runs = latency if settings.macro_steps and isinstance(latency, DecodeRuns) else None
        self._host_tier = kv if isinstance(kv, HostTier) else None
        self._steady_former = former if isinstance(former, SteadyBatchPolicy) else None
        self._decodes = DecodeBatch(block_size)
        self._formation = BatchBuilder(
            max_tokens=settings.max_num_batched_tokens,
            max_chunk=settings.long_prefill_token_threshold,
            block_size=block_size,
            kv=kv,
            pool=pool,
            slots=slots,
            queue=queue,
            decodes=self._decodes,
            on_preempted=self._record_preemption,
            on_unservable=self._drop_running,
        )
        self._batch = self._formation.batch
        self._waiting = queue.waiting
        self._prefilling = self._formation.prefilling
        self._num_entered = 0
        self._num_steps = 0
        # Sum of all step durations so far: the inter-token latencies of a request are a difference of two values.
        self._busy_us = 0
        self._last_step_start = 0
        # Steps from one decision to the next, smoothed, in eighths; and when the last one was.
        self._calm_eighths = 0
        self._last_decision = 0
        self._run: MacroStep | None = None

    # ------------------------------------------------------------------------------------------------ what there is

    @property
    def batch_size(self) -> int:
        """Requests in the running batch."""
        return len(self._batch)

    def load(self) -> int:
        """Count the requests in the wait queue and in the running batch together."""
        return len(self._waiting) + len(self._batch)

    def used_blocks(self, now: int, at_now: bool) -> int:
        """KV blocks in use once the planned steps that started before a tick, or at the tick too, are carried out."""
        used = self._num_blocks - self._pool.free
        run = self._run
        if run is not None:
            pending = run.started(now, at_now) - run.committed
            if pending > 0:
                used += self._decodes.blocks_in_steps(self._num_steps, pending)
        return used

    @property
    def has_work(self) -> bool:
        """Whether anybody runs or waits."""
        return bool(self._batch or len(self.queue))

    @property
    def has_plan(self) -> bool:
        """Whether decode steps are planned that are not all carried out."""
        return self._run is not None

    def last_activity(self, horizon: int) -> int:
        """Last tick up to the horizon at which something happened: an arrival, a timeout, a step's start or end."""
        last = max(self.log.last_activity, self._last_step_start)
        return max(last, self.next_step_at) if self.next_step_at <= horizon else last

    # ------------------------------------------------------------------------------------------------ the wait queue

    def enter(self, request: Request, now: int) -> RunningRequest | None:
        """Check a request and append it to the wait queue.

        Returns
        -------
        Sequence or None
            None if the request ended here: it can never be served, or its deadline has passed.
        """
        log = self.log
        log.last_activity = now
        limit = self._max_model_len
        length = request.input_tokens
        budget = request.max_output_tokens
        if not self._servable(length, budget):
            log.dropped += 1
            self._end(request, RequestOutcome.DROPPED, now)
            return None
        log.input_tokens += length
        if 0 < request.deadline <= now:
            log.timed_out += 1
            self._end(request, RequestOutcome.TIMED_OUT, now)
            return None
        last_progress = length + max(request.output_tokens, 1) - 1
        capped = 0 < limit <= last_progress
        sequence = RunningRequest(request, self._num_entered, limit - 1 if capped else last_progress, capped)
        self._num_entered += 1
        request.outcome = RequestOutcome.QUEUED
        request.queued_at = now
        self.queue.append(sequence, now)
        return sequence

    def _servable(self, length: int, budget: int) -> bool:
        limit = self._max_model_len
        if budget < 0 or (limit and (length >= limit or length + budget > limit)):
            return False
        if limit and not budget:
            budget = limit - length
        return -(-(length + budget) // self._block_size) <= self._num_blocks

    def _end(self, request: Request, outcome: RequestOutcome, at: int) -> None:
        request.outcome = outcome
        request.finished_at = at
        self._on_end(request)

    def time_out(self, sequence: RunningRequest, now: int) -> None:
        """Remove a request whose deadline has come, from the queue or from the batch."""
        log = self.log
        log.last_activity = now
        log.timed_out += 1
        if sequence.batch_position < 0:
            self.queue.remove(sequence)
        else:
            self._count_gaps(sequence)
            self._remove(sequence)
        self._end(sequence.request, RequestOutcome.TIMED_OUT, now)

    def discard(self, request: Request, now: int) -> None:
        """End a request that will not be served, although it could be."""
        self.log.dropped += 1
        self._end(request, RequestOutcome.DROPPED, now)

    def withdraw_queue(self) -> list[Request]:
        """Take out all who wait, to be served elsewhere, in their order."""
        return [self._withdraw(sequence) for sequence in list(self.queue)]

    def abort(self) -> list[Request]:
        """Take out everybody, first those who run, and forget what the prefix cache holds."""
        requests = [self._withdraw(sequence) for sequence in list(self._batch.values())]
        requests += self.withdraw_queue()
        free = self._pool.free
        self.kv.lend(free)
        self.kv.give(free)
        return requests

    def _withdraw(self, sequence: RunningRequest) -> Request:
        """Remove a request as if it had never been here, but for the loss of what was computed."""
        request = sequence.request
        if sequence.batch_position < 0:
            self.queue.remove(sequence)
        else:
            self._remove(sequence)
            request.num_preemptions += 1
        sequence.withdrawn = True
        self.log.input_tokens -= sequence.input_tokens
        request.outcome = RequestOutcome.PENDING
        request.first_scheduled_at = request.scheduled_at = request.ttft = NEVER
        request.itl_sum = request.itl_count = 0
        request.itl_first_step = NEVER
        return request

    def count_gaps(self) -> None:
        """Bring the inter-token latencies of the running requests up to date."""
        for sequence in self._batch.values():
            self._count_gaps(sequence)

    def _count_gaps(self, sequence: RunningRequest) -> None:
        if sequence.decoding:
            request, gaps = sequence.request, self._num_steps - sequence.first_decode_step
            request.itl_count = gaps
            request.itl_first_step = sequence.first_decode_step
            request.itl_sum = self._busy_us - sequence.busy_us_before + gaps * self._token_processing_us

    def _remove(self, sequence: RunningRequest) -> None:
        formation = self._formation
        formation.step = self._num_steps
        tokens = formation.stored_tokens(sequence)
        if sequence.decoding:
            self._decodes.remove(sequence, self._num_steps)
        formation.leave(sequence)
        self.kv.release(sequence, tokens)

    def _drop_running(self, sequence: RunningRequest) -> None:
        request = sequence.request
        _log.warning(
            "request %s is dropped at %d us: its %d prompt tokens and its output so far need more than all KV blocks",
            request.id,
            self._formation.now,
            request.input_tokens,
        )
        self._count_gaps(sequence)
        self._remove(sequence)
        self.log.dropped += 1
        self._end(request, RequestOutcome.DROPPED, self._formation.now)

    def _record_preemption(self, sequence: RunningRequest) -> None:
        request = sequence.request
        request.num_preemptions += 1
        request.itl_sum = request.itl_count = 0
        request.itl_first_step = NEVER
        self.log.preemptions.append((request, self._formation.now))
        if self._hooks.preempted is not None:
            self._hooks.preempted(request)

    # ------------------------------------------------------------------------------------------------ one step

    def step(self, now: int) -> bool:
        """Carry out one step that starts now.

        Returns
        -------
        bool
            False if nobody could run and nothing will change by itself; then no step took place.
        """
        formation = self._formation
        step = self._num_steps
        self.queue.refresh(now)
        formation.begin(now, step)
        self._former.form(formation)
        if not self._batch and not formation.num_preempted and self.is_steady():
            return False
        missed = formation.close()
        members: list[StepMember] = []
        prefill_tokens = 0
        for index, sequence in enumerate(self._prefilling):
            if sequence.granted:
                prefill_tokens += sequence.granted
                # One that was just admitted has made no progress yet, whatever it found in the cache.
                progress = sequence.computed if index < formation.num_continuing else 0
                members.append(
                    StepMember(sequence.input_tokens, progress, sequence.granted, sequence.request.output_tokens)
                )
        decodes = self._decodes
        num_decodes = decodes.count - len(missed)
        context_tokens = decodes.context_tokens
        contexts: Callable[[], list[int]] = self._decode_contexts
        if missed:
            context_tokens -= sum(decodes.progress(sequence, step) for sequence in missed)
            excluded = {sequence.batch_position for sequence in missed}
            contexts = lambda: self._decode_contexts(excluded)  # noqa: E731
        duration = self._latency.step_time(StepBatch(members, num_decodes, context_tokens, contexts))
        if type(duration) is not int:
            self._refuse("step_time must return a whole number of microseconds (int)", duration)
        if self._host_tier is not None:
            duration += self._host_tier.claim_transfer()
        if duration < 1:
            duration = 1
        end = now + duration
        self._busy_us += duration
        self._last_step_start = now
        self.next_step_at = end
        for sequence in missed:
            decodes.postpone(sequence, step)
            sequence.busy_us_before += duration
            self.log.skipped_tokens.append((sequence.request, sequence.request.num_preemptions, step))
        self._num_steps = step + 1
        batch_size = len(self._batch)
        decodes.advance(1)
        ended = decodes.pop_ended(step)
        if self._prefilling:
            ended += self._advance_prefills(step, end)
        pool = self._pool
        self.steps.step(
            now, duration, num_decodes, prefill_tokens, batch_size, len(self.queue), self._num_blocks - pool.free
        )
        if self._host_tier is not None:
            self._offload(self._host_tier)
        if ended or prefill_tokens:
            self._calm_eighths += step - self._last_decision - (self._calm_eighths >> 3)
            self._last_decision = step
        if ended:
            if len(ended) > 1:
                ended.sort(key=lambda sequence: sequence.batch_position)
            for sequence in ended:
                self._complete(sequence, end)
        return True

    def _offload(self, host_tier: HostTier) -> None:
        self._formation.step = self._num_steps
        host_tier.offload(self._batch.values(), self._formation.stored_tokens)

    def _decode_contexts(self, excluded: set[int] | frozenset[int] = frozenset()) -> list[int]:
        step = self._num_steps
        return [
            sequence.input_tokens + step - sequence.first_decode_step
            for sequence in self._batch.values()
            if sequence.first_decode_step >= 0 and sequence.batch_position not in excluded
        ]

    def _advance_prefills(self, step: int, end: int) -> list[RunningRequest]:
        """Count the prompt tokens of a step; return those who ended with their first token."""
        ended: list[RunningRequest] = []
        unfinished: list[RunningRequest] = []
        announce = self._hooks.first_token
        for sequence in self._prefilling:
            sequence.computed += sequence.granted
            sequence.granted = 0
            if sequence.computed < sequence.input_tokens:
                unfinished.append(sequence)
                continue
            request = sequence.request
            request.ttft = end + self._token_processing_us - request.arrived_at
            if announce is not None:
                announce(request)
            sequence.first_decode_step = step + 1
            sequence.last_step = step + sequence.last_progress - sequence.input_tokens
            sequence.busy_us_before = self._busy_us
            if sequence.last_step == step:
                ended.append(sequence)
            else:
                self._decodes.add(sequence)
        self._prefilling[:] = unfinished
        return ended

    def _complete(self, sequence: RunningRequest, end: int) -> None:
        request = sequence.request
        log = self.log
        gaps = sequence.last_step + 1 - sequence.first_decode_step
        if gaps:
            self._decodes.remove(sequence, self._num_steps)
        tokens = sequence.last_progress + sequence.extra_stored
        if sequence.capped:
            log.length_capped += 1
            request.length_capped = True
            request.generated_tokens = gaps + 1
        elif request.output_tokens:
            request.generated_tokens = request.output_tokens
            # The last token is stored like any other before everything is given back.
            if tokens % self._block_size or self.kv.take(1):
                tokens += 1
            else:
                log.kv_allocation_failures += 1
        self._formation.leave(sequence)
        self.kv.release(sequence, tokens)
        request.itl_count = gaps
        request.itl_first_step = sequence.first_decode_step
        request.itl_sum = self._busy_us - sequence.busy_us_before + gaps * self._token_processing_us
        request.e2e = request.ttft + request.itl_sum + (self._overhead_us if request.output_tokens else 0)
        log.completed += 1
        log.output_tokens += request.generated_tokens
        self._end(request, RequestOutcome.COMPLETED, end)

    # ------------------------------------------------------------------------------------------------ many steps

    def is_steady(self) -> bool:
        """Whether the coming steps need no decision of the batch former."""
        if self._steady_former is None or not (self.queue.time_invariant or len(self.queue) < 2):
            return False
        self._formation.reset_budget()
        return self._steady_former.is_steady(self._formation)

    def plan(self) -> None:
        """Plan the decode steps after the last step, up to the next one with a decision to take."""
        decodes = self._decodes
        if (
            self._decode_runs is None
            or not decodes.count
            or self._calm_eighths < 8 * _WORTH_PLANNING
            or not self.is_steady()
        ):
            return
        step = self._num_steps
        # The step in which somebody ends frees blocks and slots at its start: it is carried out on its own.
        steps = min(decodes.next_end() - step, _MAX_RUN_STEPS)
        if steps < _WORTH_PLANNING:
            return
        steps = decodes.steps_within(step, steps, self._pool.free)
        if steps < _WORTH_PLANNING or not self._offload_is_constant(step, steps):
            return
        batch = StepBatch((), decodes.count, decodes.context_tokens, self._decode_contexts)
        durations = self._decode_runs.decode_step_times(batch, steps)
        if not isinstance(durations, int | list | np.ndarray):
            durations = list(durations)
        if not isinstance(durations, int) and len(durations) != steps:
            self._refuse(f"decode_step_times must return {steps} durations", durations)
        run = MacroStep(self.next_step_at, durations, steps)
        self._run = run
        self.next_step_at = run.boundary(steps)

    def _offload_is_constant(self, step: int, steps: int) -> bool:
        if self._host_tier is None:
            return True
        taken = self._decodes.blocks_in_steps(step, steps)
        used = self._num_blocks - self._pool.free
        return self._host_tier.offload_is_constant(used + taken, taken + self._decodes.count)

    def settle(self, now: int, at_now: bool) -> None:
        """Carry out the planned steps that have started before a tick, or at the tick too."""
        run = self._run
        if run is not None:
            self._commit(run.started(now, at_now))

    def finish_plan(self) -> None:
        """Carry out all planned steps."""
        run = self._run
        if run is not None:
            self._commit(run.steps)
            self._run = None

    def cut(self) -> None:
        """Drop the planned steps that are not carried out; the next step starts where the last of the others ends."""
        run = self._run
        if run is not None:
            self.next_step_at = run.boundary(run.committed)
            self._run = None

    def _commit(self, upto: int) -> None:
        run = self._run
        assert run is not None
        first = run.committed
        steps = upto - first
        if steps <= 0:
            return
        decodes = self._decodes
        pool = self._pool
        used = self._num_blocks - pool.free
        if steps == 1:
            blocks = decodes.blocks_in_step(self._num_steps)
            blocks_by_step = [blocks]
        else:
            blocks_by_step = decodes.blocks_by_step(self._num_steps, steps)
            blocks = sum(blocks_by_step)
        if blocks:
            self.kv.take(blocks)
        start = run.boundary(first)
        self.steps.run(start, run.durations(first, steps), blocks_by_step, decodes.count, len(self.queue), used)
        self._busy_us += run.boundary(upto) - start
        self._last_step_start = run.boundary(upto - 1)
        self._num_steps += steps
        decodes.advance(steps)
        run.committed = upto
        if self._host_tier is not None:
            self._offload(self._host_tier)

    def _refuse(self, rule: str, value: object) -> None:
        raise PluginError.at(f"latency model {type(self._latency).__name__}", rule, value)
