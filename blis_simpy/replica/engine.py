"""One step of a replica, and the requests that enter and leave it between steps.

The engine owns the wait queue, the running batch and the KV store of a replica. It knows no events: the replica's
process calls `step` when one is due. Between two steps that need a decision, runs of decode steps are planned by
`blis_simpy.replica.macro_step` and carried out with `decode`.

All effects of a step apply at its *start*: tokens, completions, freed blocks. Only the recorded latencies reach to its
end. So a router that observes the replica within a step sees the state after it.

Invariants: a decoding request has a block for each token that it has stored; taken slots are the batch, those of other
processes and reserved ones; held blocks, those of other processes and the free list add up to the capacity.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from blis_simpy.core.request import RequestOutcome
from blis_simpy.errors import PluginError
from blis_simpy.latency.base import StepBatch, StepMember
from blis_simpy.replica.batch_builder import BatchBuilder
from blis_simpy.replica.batch_policies import SteadyBatchPolicy
from blis_simpy.replica.kv_store import HostTier
from blis_simpy.replica.log import ReplicaLog, StepLog
from blis_simpy.replica.running_batch import RunningBatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from blis_simpy.core.observers import Observers
    from blis_simpy.core.resources import BatchSlots, KVBlocks
    from blis_simpy.latency.base import LatencyModel
    from blis_simpy.replica.batch_policies import BatchPolicy
    from blis_simpy.replica.kv_store import KVStore
    from blis_simpy.replica.running_request import RunningRequest
    from blis_simpy.replica.settings import EngineSettings
    from blis_simpy.replica.wait_queue import WaitQueue

__all__ = ["Engine", "latency_error"]

_log = logging.getLogger("blis_simpy")


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
        Duration of steps.
    policy : BatchPolicy
        Decides which requests get tokens in a step.
    queue : WaitQueue
        The waiting requests.
    kv : KVStore
        KV store.
    kv_blocks : KVBlocks
        Count of its free blocks.
    slots : BatchSlots
        Batch slots.
    observers : Observers
        Observers of what happens to requests.

    Attributes
    ----------
    batch : RunningBatch
        The running requests.
    log : ReplicaLog
        Counters.
    steps : StepLog
        Record of each step.
    num_steps : int
        Steps that were carried out.
    busy_us : int, µs
        Sum of their durations. The inter-token latencies of a request are a difference of two values of it.
    next_step_at : int, tick
        End of the last step that was carried out or planned.
    decision_gap_x8 : int
        Eight times the number of steps from one decision to the next, smoothed over about eight decisions.
    """

    def __init__(
        self,
        *,
        settings: EngineSettings,
        max_model_len: int,
        block_size: int,
        latency: LatencyModel,
        policy: BatchPolicy,
        queue: WaitQueue,
        kv: KVStore,
        kv_blocks: KVBlocks,
        slots: BatchSlots,
        observers: Observers,
    ) -> None:
        self.log = ReplicaLog()
        self.steps = StepLog()
        self.num_steps = 0
        self.busy_us = 0
        self.next_step_at = 0
        self.decision_gap_x8 = 0
        self.queue = queue
        self.kv = kv
        self.kv_blocks = kv_blocks
        self.num_blocks = int(kv_blocks.capacity)
        self.batch = RunningBatch(slots, kv, block_size)
        self.latency = latency
        self.host_tier = kv if isinstance(kv, HostTier) else None
        self._max_model_len = max_model_len
        self._block_size = block_size
        self._policy = policy
        self._steady_policy = policy if isinstance(policy, SteadyBatchPolicy) else None
        self._observers = observers
        self._token_processing_us = latency.output_token_processing_time()
        self._overhead_us = latency.post_decode_overhead()
        self._builder = BatchBuilder(
            max_tokens=settings.max_num_batched_tokens,
            max_chunk=settings.long_prefill_token_threshold,
            block_size=block_size,
            batch=self.batch,
            queue=queue,
            kv=kv,
            kv_blocks=kv_blocks,
            log=self.log,
            observers=observers,
        )
        self._num_entered = 0
        self._last_step_start = 0
        self._last_decision = 0

    @property
    def batch_size(self) -> int:
        """Requests in the running batch."""
        return len(self.batch.members)

    def load(self) -> int:
        """Count the requests in the wait queue and in the running batch together."""
        return len(self.queue.waiting) + len(self.batch.members)

    @property
    def has_work(self) -> bool:
        """Whether a request runs or waits."""
        return bool(self.batch.members or self.queue.waiting)

    def last_activity(self, horizon: int) -> int:
        """Last tick up to the horizon at which something happened: an arrival, a timeout, a step's start or end."""
        last = max(self.log.last_activity, self._last_step_start)
        return max(last, self.next_step_at) if self.next_step_at <= horizon else last

    def enter(self, leg: RunningRequest, now: int) -> bool:
        """Check a request and append it to the wait queue.

        Returns
        -------
        bool
            False if the request ended here: it can never be served, or its deadline has passed.
        """
        log = self.log
        log.last_activity = now
        request = leg.request
        length = leg.input_tokens
        if not self._servable(length, request.max_output_tokens):
            self.drop(leg, now)
            return False
        log.input_tokens += length
        if 0 < request.deadline <= now:
            log.timed_out += 1
            self._finish(leg, RequestOutcome.TIMED_OUT, now)
            return False
        limit = self._max_model_len
        last_progress = length + max(request.output_tokens, 1) - 1
        if 0 < limit <= last_progress:
            leg.capped = True
            last_progress = limit - 1
        leg.last_progress = last_progress
        leg.position = self._num_entered
        self._num_entered += 1
        leg.outcome = RequestOutcome.QUEUED
        leg.queued_at = now
        self.queue.append(leg, now)
        if self._observers.enqueued is not None:
            self._observers.enqueued(leg)
        return True

    def _servable(self, length: int, budget: int) -> bool:
        limit = self._max_model_len
        if budget < 0 or (limit and (length >= limit or length + budget > limit)):
            return False
        if limit and not budget:
            budget = limit - length
        return -(-(length + budget) // self._block_size) <= self.num_blocks

    def _finish(self, leg: RunningRequest, outcome: RequestOutcome, at: int) -> None:
        leg.outcome = outcome
        leg.finished_at = at
        if self._observers.leg_finished is not None:
            self._observers.leg_finished(leg)

    def drop(self, leg: RunningRequest, now: int) -> None:
        """End a request that is not in queue or batch (any more), because it cannot or will not be served."""
        self.log.dropped += 1
        self._finish(leg, RequestOutcome.DROPPED, now)

    def time_out(self, leg: RunningRequest, now: int) -> None:
        """Remove a request whose deadline has come, from the queue or from the batch."""
        self.log.last_activity = now
        self.log.timed_out += 1
        self._remove(leg)
        self._finish(leg, RequestOutcome.TIMED_OUT, now)

    def remove_queue(self) -> list[RunningRequest]:
        """Remove all waiting requests and return them in their order; they do not count as entered."""
        legs = list(self.queue)
        for leg in legs:
            self._remove(leg)
            self.log.input_tokens -= leg.input_tokens
        return legs

    def remove_all(self) -> list[RunningRequest]:
        """Remove all requests, first the running ones, and forget the content of the prefix cache."""
        running = list(self.batch.members.values())
        for leg in running:
            self._remove(leg)
            leg.num_preemptions += 1
            self.log.input_tokens -= leg.input_tokens
        legs = running + self.remove_queue()
        self.kv.clear_cache()
        return legs

    def _remove(self, leg: RunningRequest) -> None:
        if leg.batch_position < 0:
            self.queue.remove(leg)
            return
        self._count_gaps(leg)
        tokens = self.batch.stored_tokens(leg, self.num_steps)
        self.batch.leave(leg, self.num_steps)
        self.kv.release(leg, tokens)

    def count_gaps(self) -> None:
        """Bring the inter-token latencies of the running requests up to date."""
        for leg in self.batch.members.values():
            self._count_gaps(leg)

    def _count_gaps(self, leg: RunningRequest) -> None:
        if leg.first_decode_step >= 0:
            leg.itl_count = gaps = self.num_steps - leg.first_decode_step
            leg.itl_first_step = leg.first_decode_step
            leg.itl_sum = self.busy_us - leg.busy_us_before + gaps * self._token_processing_us

    def is_steady(self) -> bool:
        """Whether the coming steps need no decision of the batch policy."""
        if self._steady_policy is None or not self.queue.is_stable:
            return False
        self._builder.reset_budget()
        return self._steady_policy.is_steady(self._builder)

    def blocks_for_head(self) -> int:
        """Fewest free KV blocks with which the head of the wait queue can be admitted; 0 without a head."""
        self._builder.reset_budget()
        return self._builder.blocks_for_head()

    def step(self, now: int) -> bool:
        """Carry out one step that starts now: form the batch, compute its duration, apply its effects.

        Returns
        -------
        bool
            False if no request can run and nothing will change by itself; then no step took place.
        """
        builder, batch = self._builder, self.batch
        step = self.num_steps
        self.queue.refresh(now)
        builder.begin(now, step)
        self._policy.form(builder)
        if builder.unservable:
            self._drop_unservable(now)
        if not batch.members and not builder.num_preempted and self.is_steady():
            return False
        missed = builder.close()
        members: list[StepMember] = []
        prefill_tokens = 0
        for leg in batch.prefilling:
            granted = leg.granted
            if granted:
                prefill_tokens += granted
                # A request that was admitted in this step has made no progress yet, whatever it found in the cache.
                progress = leg.computed if leg.scheduled_at < now else 0
                members.append(StepMember(leg.input_tokens, progress, granted, leg.request.output_tokens))
        duration = self._duration(members, missed)
        self._apply(now, duration, prefill_tokens, missed)
        return True

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

    def _duration(self, members: list[StepMember], missed: list[RunningRequest]) -> int:
        """Duration of the step, in which some prefilling members and all decoding ones but the missed get tokens."""
        decodes = self.batch.decodes
        num_decodes, context_tokens = decodes.count, decodes.context_tokens
        contexts: Callable[[], list[int]] = self.decode_contexts
        if missed:
            num_decodes -= len(missed)
            context_tokens -= sum(decodes.progress(leg, self.num_steps) for leg in missed)
            excluded = {leg.batch_position for leg in missed}
            contexts = lambda: self.batch.decode_contexts(self.num_steps, excluded)  # noqa: E731
        duration = self.latency.step_time(StepBatch(members, num_decodes, context_tokens, contexts))
        if type(duration) is not int:
            raise latency_error(self.latency, "step_time must return a whole number of microseconds (int)", duration)
        if self.host_tier is not None:
            duration += self.host_tier.claim_transfer()
        return duration if duration > 0 else 1

    def decode_contexts(self) -> list[int]:
        """Progress of each decoding request before the next step, in batch order."""
        return self.batch.decode_contexts(self.num_steps)

    def _apply(self, now: int, duration: int, prefill_tokens: int, missed: list[RunningRequest]) -> None:
        """Count the tokens of the step that starts now, and end the requests whose last token it produces.

        All of it now: the reference does so, and what the router sees in between depends on it.
        """
        batch, decodes = self.batch, self.batch.decodes
        step = self.num_steps
        end = now + duration
        self.busy_us += duration
        self._last_step_start = now
        self.next_step_at = end
        num_decodes = decodes.count
        if missed:
            num_decodes -= len(missed)
            self._postpone(missed, duration)
        self.num_steps = step + 1
        batch_size = len(batch.members)
        decodes.advance(1)
        ended = decodes.pop_ended(step)
        if batch.prefilling:
            ended += self._advance_prefills(step, end)
        used = self.num_blocks - self.kv_blocks.free
        self.steps.step(now, duration, num_decodes, prefill_tokens, batch_size, len(self.queue.waiting), used)
        if self.host_tier is not None:
            self.offload()
        if ended or prefill_tokens:
            self.decision_gap_x8 += step - self._last_decision - (self.decision_gap_x8 >> 3)
            self._last_decision = step
        if ended:
            if len(ended) > 1:
                ended.sort(key=lambda leg: leg.batch_position)
            for leg in ended:
                self._complete(leg, end)

    def _postpone(self, missed: Iterable[RunningRequest], duration: int) -> None:
        for leg in missed:
            self.batch.decodes.postpone(leg, self.num_steps)
            leg.busy_us_before += duration
            self.log.skipped_tokens.append((leg.request, leg.num_preemptions, self.num_steps))

    def offload(self) -> None:
        """Let the second KV tier copy the blocks that the last steps have filled."""
        assert self.host_tier is not None
        step, stored_tokens = self.num_steps, self.batch.stored_tokens
        self.host_tier.offload(self.batch.members.values(), lambda leg: stored_tokens(leg, step))

    def _advance_prefills(self, step: int, end: int) -> list[RunningRequest]:
        """Count the prompt tokens of a step; return the requests that end with their first token."""
        ended: list[RunningRequest] = []
        unfinished: list[RunningRequest] = []
        observed = self._observers.first_token
        for leg in self.batch.prefilling:
            leg.computed += leg.granted
            leg.granted = 0
            if leg.computed < leg.input_tokens:
                unfinished.append(leg)
                continue
            leg.ttft = end + self._token_processing_us - leg.request.arrived_at
            leg.first_decode_step = step + 1
            leg.last_step = step + leg.last_progress - leg.input_tokens
            leg.busy_us_before = self.busy_us
            if leg.last_step == step:
                ended.append(leg)
            else:
                self.batch.decodes.add(leg)
            if observed is not None:
                observed(leg)
        self.batch.end_prefills(unfinished)
        return ended

    def _complete(self, leg: RunningRequest, end: int) -> None:
        """End a request whose last step starts now and ends at `end`."""
        log, output_tokens = self.log, leg.request.output_tokens
        gaps = leg.last_step + 1 - leg.first_decode_step
        if gaps:
            self.batch.decodes.remove(leg, self.num_steps)
        tokens = leg.last_progress + leg.extra_stored
        if leg.capped:
            log.length_capped += 1
            leg.length_capped = True
            leg.generated_tokens = gaps + 1
        elif output_tokens:
            leg.generated_tokens = output_tokens
            # The last token is stored like any other before all blocks are put back; that is of the reference, too.
            if tokens % self._block_size or self.kv.take(1):
                tokens += 1
            else:
                log.kv_allocation_failures += 1
        self.batch.release(leg)
        self.kv.release(leg, tokens)
        leg.itl_count = gaps
        leg.itl_first_step = leg.first_decode_step
        leg.itl_sum = self.busy_us - leg.busy_us_before + gaps * self._token_processing_us
        leg.e2e = leg.ttft + leg.itl_sum + (self._overhead_us if output_tokens else 0)
        log.completed += 1
        log.output_tokens += leg.generated_tokens
        self._finish(leg, RequestOutcome.COMPLETED, end)

    def decode(
        self, start: int, last_start: int, end: int, durations: Iterable[int], blocks_by_step: list[int]
    ) -> None:
        """Carry out planned decode steps: each decoding request gets a token in each, none joins or leaves.

        Parameters
        ----------
        start, last_start, end : int, tick
            Start of the first and of the last of the steps, and end of the last.
        durations : iterable of int, µs
            Duration of each step.
        blocks_by_step : list of int
            KV blocks that are taken in each step.
        """
        steps = len(blocks_by_step)
        used = self.num_blocks - self.kv_blocks.free
        blocks = sum(blocks_by_step)
        if blocks:
            self.kv.take(blocks)
        self.steps.run(start, durations, blocks_by_step, self.batch.decodes.count, len(self.queue.waiting), used)
        self.busy_us += end - start
        self._last_step_start = last_start
        self.num_steps += steps
        self.batch.decodes.advance(steps)
        if self.host_tier is not None:
            self.offload()


def latency_error(latency: LatencyModel, rule: str, value: object) -> PluginError:
    """Return the error of a latency model that breaks a rule with a value."""
    return PluginError.at(f"latency model {type(latency).__name__}", rule, value)
