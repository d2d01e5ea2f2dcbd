"""Engine with the effects of a step at its end, as in vLLM.

The formation of a step takes slots and blocks. At its end the step is *delivered*: first tokens, completions, freed
slots and blocks. A step is *pending* from its formation to its delivery.

With synchronous scheduling a step is formed after the delivery of the one before. With asynchronous scheduling
(`steps_ahead` = 1) it is formed at the start of the one before, with that one still pending. A request with its last
output pending keeps its slot and its blocks, and gets no more tokens.

A turn is one iteration of vLLM's engine loop:

1. remove requests that have timed out,
2. deliver the oldest pending step,
3. add arrived requests to the wait queue,
4. form steps, up to `steps_ahead` + 1 pending ones.

If there are requests, but no step can be formed, the engine pauses before its next turn.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from blis_simpy.core.environment import FOREVER, ReplicaEvent
from blis_simpy.core.request import NEVER, Phase, RequestOutcome
from blis_simpy.replica.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from blis_simpy.core.observers import Observers
    from blis_simpy.core.resources import BatchSlots, KVBlocks
    from blis_simpy.latency.base import LatencyModel
    from blis_simpy.replica.batch_policies import BatchPolicy
    from blis_simpy.replica.kv_store import KVStore
    from blis_simpy.replica.length_limits import LengthLimits
    from blis_simpy.replica.running_request import RunningRequest
    from blis_simpy.replica.step_rules import StepRules
    from blis_simpy.replica.tier_transfers import TierTransfers
    from blis_simpy.replica.wait_queue import WaitQueue

__all__ = ["EndOfStepEngine"]

_UNENDED = (RequestOutcome.QUEUED, RequestOutcome.RUNNING)
_PREFILL = Phase.PREFILL


Effects: TypeAlias = "tuple[int, Sequence[RunningRequest], Sequence[RunningRequest]]"
"""Effects of a pending step: its number, requests that complete their prefill, requests that end."""


class EndOfStepEngine(Engine):
    """Engine with effects at the end of a step; parameters as for `Engine`, and one more.

    Parameters
    ----------
    pause_us : int, µs
        Pause after a turn with requests and without a step.

    Attributes
    ----------
    last_delivered_at : int, tick
        End of the last delivered step.
    """

    timeout_event: ClassVar[ReplicaEvent] = ReplicaEvent.ABORT
    plans_from_delivery: ClassVar[bool] = True
    gaps_include_pauses = True
    _skips_empty_steps = True
    # vLLM knows no deadlines: a late request is served until the abort of its client is processed.
    _expires_at_entry = False
    _shows_cached = True

    def __init__(
        self,
        *,
        pause_us: int,
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
        # Named, because mypyc cannot pass `**parameters` on to a native base class.
        super().__init__(
            rules=rules,
            limits=limits,
            block_size=block_size,
            latency=latency,
            policy=policy,
            queue=queue,
            kv=kv,
            kv_blocks=kv_blocks,
            slots=slots,
            observers=observers,
            steps_ahead=steps_ahead,
            tiers=tiers,
        )
        self.last_delivered_at = 0
        self._pause_us = pause_us
        # Pending steps with effects, oldest first.
        self._effects: deque[Effects] = deque()
        # Whether the last turn formed a step, and whether a request has ended since.
        self._formed = True
        self._lost_one = False
        self._has_tiers = self.host_tier is not None or tiers is not None
        self._timed_out: list[RunningRequest] = []
        # Decoding requests that end with a formed step, to continue on another replica.
        self._leaving: set[RunningRequest] = set()

    @property
    def next_turn_at(self) -> int:
        """End of the oldest pending step."""
        # With two pending steps, the second starts at the end of the first.
        return self.last_step_start if self.num_steps - self.batch.num_delivered > 1 else self.device_free_at

    def steps_to_plan(self) -> int:
        """Return the number of steps up to and including the next step in which a request ends."""
        # That step can be planned: its effects apply at its end, which is the next turn. Pending effects do not change
        # the batch of decoding requests, and free slots and blocks that no other request waits for.
        if not self._formed:
            return 0
        if self._effects and (self.queue.waiting or self._leaving or self._has_tiers):
            return 0
        return self.batch.decodes.next_end() - self.num_steps + 1

    def time_out(self, leg: RunningRequest, now: int) -> bool:
        """Defer the timeout to the next turn, because the engine removes requests between steps only."""
        self.log.last_activity = now
        if leg in self.queue.loading:
            # No step can contain it, and without other requests there is no next turn.
            self.log.timed_out += 1
            self._remove(leg)
            self._finish(leg, RequestOutcome.TIMED_OUT, now)
            return True
        self._timed_out.append(leg)
        return False

    def hand_over(self, leg: RunningRequest, now: int) -> None:
        """End a decoding request when its pending outputs are delivered, and hold its blocks for another replica."""
        step, batch = self.num_steps, self.batch
        batch.stop(leg, step)
        self._leaving.add(leg)
        if batch.num_delivered == step:
            self._hand_over(leg, now)
        elif self._effects and self._effects[-1][0] == step - 1:
            number, prefilled, ended = self._effects.pop()
            self._effects.append((number, prefilled, (*ended, leg)))
        else:
            self._effects.append((step - 1, (), (leg,)))

    def take_inputs(self, now: int) -> None:
        """Add arrived requests to the wait queue, and remove requests that have timed out."""
        for leg in self._arrived:
            self.queue.append(leg, now)
        self._arrived.clear()
        self._end_timed_out(now)

    def _end_timed_out(self, now: int) -> None:
        """Remove requests that have timed out, except those that are not yet in the wait queue."""
        later = []
        for leg in self._timed_out:
            if leg in self._arrived:
                later.append(leg)
            elif leg.outcome in _UNENDED:
                self.log.timed_out += 1
                self._remove(leg)
                self._lost_one = True
                self._finish(leg, RequestOutcome.TIMED_OUT, now)
        self._timed_out = later

    def remove_queue(self) -> list[RunningRequest]:
        """Remove all waiting requests, subtract them from the counters, and return them in queue order."""
        for leg in self._arrived:
            self.queue.append(leg, leg.queued_at)
        self._arrived.clear()
        return super().remove_queue()

    def _does_nothing(self) -> bool:
        return True

    def _postpone(self, missed: Iterable[RunningRequest], duration: int) -> None:
        for leg in missed:
            leg.miss(self.num_steps)
            self.batch.decodes.postpone(leg, self.num_steps)

    def take_turn(self, now: int) -> int | None:
        """Deliver the step that ends now, and form the next steps."""
        batch = self.batch
        if batch.num_delivered < self.num_steps:
            self.deliver(now)
            if not self._formed and (batch.members or self.queue.waiting or self._lost_one):
                return now + self._pause_us
        return self.form_steps(now)

    def deliver(self, now: int) -> None:
        """Deliver the oldest pending step, which ends now."""
        # Timeouts come first: a request that times out at the end of its last step does not complete.
        if self._timed_out:
            self._end_timed_out(now)
        batch = self.batch
        step = batch.num_delivered
        batch.num_delivered = step + 1
        self.last_delivered_at = now
        if self._effects and self._effects[0][0] == step:
            self._apply_effects(now)

    def deliver_first_tokens(self, now: int) -> bool:
        """Apply the effects that are due if they are first tokens without an observer; return whether they were."""
        _, prefilled, ended = self._effects[0]
        if ended or self._observers.first_token is not None:
            return False
        self._effects.popleft()
        self._set_first_tokens(prefilled, now)
        return True

    def form_steps(self, now: int) -> int | None:
        """Form the next steps, after the delivery of the one that ends now."""
        if self._arrived or self._timed_out:
            self.take_inputs(now)
        batch = self.batch
        while True:
            effects = self._form_step(now) if batch.members or self.queue.waiting or self._lost_one else None
            self._lost_one = False
            if effects is None:
                break
            batch.num_delivered_before = batch.num_delivered
            prefilled, ended = effects
            if prefilled or ended:
                for leg in ended:
                    batch.reach_last_step(leg, self.num_steps)
                self._effects.append((self.num_steps - 1, prefilled, ended))
            if self.num_steps - batch.num_delivered > self.steps_ahead:
                self._formed = True
                self._holds_back = False
                return self.last_step_start if self.steps_ahead else self.device_free_at
        # After a turn without a step, new requests are held back until the next turn: the decision to pause depends on
        # the requests known at this turn.
        self._formed = False
        self._holds_back = True
        if batch.num_delivered < self.num_steps:
            return self.next_turn_at
        if batch.members or (self.queue.waiting and self._builder.num_preempted):
            return now + self._pause_us
        # If requests wait and none is running, other processes hold the slots or blocks: no need to poll, the replica
        # waits for the resource.
        return None

    @property
    def next_effects(self) -> int:
        """Number of the oldest step with pending effects; `FOREVER` without one."""
        return self._effects[0][0] if self._effects else FOREVER

    def _set_first_tokens(self, prefilled: Sequence[RunningRequest], now: int) -> None:
        """Record first tokens; requests that have timed out or were withdrawn lose theirs."""
        observed = self._observers.first_token
        for leg in prefilled:
            if leg.ttft < 0 and leg.outcome in _UNENDED:
                leg.ttft = now + self._token_processing_us - leg.request.arrived_at
                if observed is not None and leg.phase is not _PREFILL:
                    observed(leg)

    def _apply_effects(self, now: int) -> None:
        """Apply the effects of the delivered step, which ends now."""
        _, prefilled, ended = self._effects.popleft()
        # Requests that have timed out or were withdrawn lose their pending outputs. A preempted request still gets
        # them, and may even complete while it waits.
        self._set_first_tokens(prefilled, now)
        for leg in ended:
            if leg.outcome in _UNENDED:
                if leg.phase is _PREFILL or leg in self._leaving:
                    self._hand_over(leg, now)
                else:
                    self._complete(leg, now)
            elif self._leaving:
                self._leaving.discard(leg)

    def _hand_over(self, leg: RunningRequest, now: int) -> None:
        """End a leg that another replica continues; its last output is delivered now."""
        self._leaving.discard(leg)
        if leg.batch_position < 0:
            self._keep(leg, now)
            return
        self.batch.leave(leg, self.num_steps)
        self._lost_one = True
        request = leg.request
        outputs = leg.last_progress - request.input_tokens + 1
        leg.generated_tokens = outputs
        leg.itl_count = outputs - 1
        first_token_at = request.arrived_at + leg.ttft - self._token_processing_us
        leg.itl_sum = now - first_token_at + leg.itl_count * self._token_processing_us
        leg.close_segment(leg.last_step + 1)
        ends_at = now
        if leg.phase is _PREFILL:
            # The next replica gets the request with the response of this one.
            ends_at = request.arrived_at + leg.ttft + self._overhead_us
            if 0 < request.deadline < ends_at:
                self.kv.release(leg, leg.last_progress, leg.last_progress)
                self.log.timed_out += 1
                self._finish_at(leg, RequestOutcome.TIMED_OUT, max(now, request.deadline), now)
                return
        self.hold_blocks(leg, leg.last_progress)
        leg.outcome = RequestOutcome.HANDED_OVER
        leg.finished_at = ends_at
        leg.detach()
        if ends_at > now:
            self.responses.append(leg)
        elif self._observers.leg_finished is not None:
            self._observers.leg_finished(leg)

    def _keep(self, leg: RunningRequest, now: int) -> None:
        """Keep a request that was preempted after its last step was formed: it has no blocks to hand over."""
        if leg.phase is not _PREFILL:
            leg.last_progress, leg.capped = self._limits.last_progress(leg.request)
            return
        self.remove(leg)
        leg.withdraw(now)
        if self._observers.leg_finished is not None:
            self._observers.leg_finished(leg)

    def _complete(self, leg: RunningRequest, now: int) -> None:
        """Complete a request; its last output is delivered now."""
        log, request = self.log, leg.request
        # A gap before the first step here is no gap between steps.
        continues = leg.handover is not None and leg.handover.num_outputs > 0
        if leg.segments or continues:
            if leg.decoding:
                leg.close_segment(leg.last_step + 1)
            log.add_segments(leg)
        if continues:
            log.continuing.append(leg)
        first_decode_step = leg.first_decode_step
        if leg.batch_position < 0:
            self.queue.remove(leg)
        else:
            self.batch.leave(leg, self.num_steps)
            self.kv.release(leg, leg.last_progress, leg.last_progress)
        # vLLM runs one more iteration after a request has ended, to inform its workers, even without other requests.
        self._lost_one = True
        leg.length_capped = leg.capped
        log.length_capped += leg.capped
        leg.generated_tokens = outputs = leg.last_progress - request.input_tokens + 1
        leg.itl_count = outputs - 1
        leg.itl_first_step = first_decode_step
        first_token_at = request.arrived_at + leg.ttft - self._token_processing_us
        leg.itl_sum = now - first_token_at + leg.itl_count * self._token_processing_us
        leg.e2e = leg.ttft + leg.itl_sum + self._overhead_us
        ends_at = request.arrived_at + leg.e2e
        if 0 < request.deadline < ends_at:
            log.timed_out += 1
            leg.e2e = NEVER
            self._finish_at(leg, RequestOutcome.TIMED_OUT, max(now, request.deadline), now)
            return
        log.completed += 1
        log.output_tokens += outputs
        self._finish_at(leg, RequestOutcome.COMPLETED, ends_at, now)

    def _finish_at(self, leg: RunningRequest, outcome: RequestOutcome, at: int, now: int) -> None:
        # The overheads delay the response only: the engine has already released the request.
        if at > now:
            leg.outcome = outcome
            leg.finished_at = at
            leg.close()
            self.responses.append(leg)
        else:
            self._finish(leg, outcome, at)

    def decode(
        self,
        last_start: int,
        end: int,
        last_formed_at: int,
        durations: Sequence[int] | NDArray[np.int64],
        blocks_by_step: list[int],
    ) -> None:
        """Form planned decode steps; the formation of each step delivers the oldest pending one."""
        super().decode(last_start, end, last_formed_at, durations, blocks_by_step)
        batch = self.batch
        batch.num_delivered = self.num_steps - 1 - self.steps_ahead
        self._lost_one = False
        batch.num_delivered_before = batch.num_delivered
        self.last_delivered_at = last_formed_at

    def end_last_planned(self) -> None:
        """End requests with the last step of a plan."""
        batch, last = self.batch, self.num_steps - 1
        if batch.decodes.next_end() == last:
            ended = batch.decodes.pop_ended(last)
            for leg in ended:
                batch.reach_last_step(leg, last + 1)
            self._effects.append((last, (), ended))
            self.decision_gap_x8 += last - self.last_decision - (self.decision_gap_x8 >> 3)
            self.last_decision = last

    def last_activity(self, horizon: int) -> int:
        """Tick of the last arrival, timeout, step start or step end up to the horizon."""
        ticks = (self.log.last_activity, self.last_delivered_at, self.last_step_start, self.device_free_at)
        return max((tick for tick in ticks if tick <= horizon), default=0)

    def _count_gaps(self, leg: RunningRequest) -> None:
        """Update the inter-token latencies of a request, up to the last delivered step."""
        delivered = self.batch.num_delivered
        runs = leg.segments
        if leg.decoding:
            start = leg.missed_steps[-1] + 1 if leg.missed_steps else leg.first_decode_step - 1
            runs = (*runs, (start, min(leg.last_step, self.num_steps - 1)))
        runs = tuple((first, min(last, delivered - 1)) for first, last in runs if first < delivered)
        if leg.ttft < 0 or not runs:
            return
        last = runs[-1][1]
        end = self.last_delivered_at if last == delivered - 1 else self.steps.end_of(last)
        earlier = 0 if leg.handover is None else leg.handover.num_outputs
        leg.itl_count = earlier + sum(last - first + 1 for first, last in runs) - 1
        leg.itl_first_step = leg.first_decode_step
        first_token_at = leg.request.arrived_at + leg.ttft - self._token_processing_us
        leg.itl_sum = end - first_token_at + leg.itl_count * self._token_processing_us

    def count_gaps(self) -> None:
        """Update the inter-token latencies of all requests, including preempted ones in the wait queue."""
        super().count_gaps()
        for leg in self.queue:
            self._count_gaps(leg)
