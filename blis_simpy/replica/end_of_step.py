"""An engine whose steps take effect at their end, as in vLLM.

Forming a step takes slots and blocks; its outputs are *delivered* at its end: first tokens, completions, freed slots
and blocks. What a router, a client or another process observes is what a real engine shows.

With synchronous scheduling the next step is formed when the outputs of the last one have been delivered. With
asynchronous scheduling (`steps_ahead` = 1) one more step is under way: a step is formed at the start of the one before
it, when the outputs of that one are not yet known. A request whose last output is under way then keeps its slot and
its blocks, but gets no more tokens.

A turn of the engine is one round of vLLM's engine loop: requests that timed out are removed, the oldest step under way
is delivered, requests that arrived are taken in, and steps are formed until as many are under way as may be. If no
step could be formed although there are requests, the engine pauses before its next turn.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, TypeAlias

from blis_simpy.core.environment import ReplicaEvent
from blis_simpy.core.request import NEVER, RequestOutcome
from blis_simpy.replica.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from blis_simpy.replica.running_request import RunningRequest

__all__ = ["EndOfStepEngine"]

_UNENDED = (RequestOutcome.QUEUED, RequestOutcome.RUNNING)


Effects: TypeAlias = "tuple[int, Sequence[RunningRequest], Sequence[RunningRequest]]"
"""What a step under way changes when it ends: its number, requests whose prefill it ends, requests that it ends."""


class EndOfStepEngine(Engine):
    """State of one replica and its change by steps; parameters are those of `Engine` and one more.

    Parameters
    ----------
    pause_us : int, µs
        How long the engine sleeps after a turn with requests, but without a step.

    Attributes
    ----------
    last_delivered_at : int, tick
        End of the last step whose outputs were delivered.
    """

    timeout_event = ReplicaEvent.ABORT
    _skips_empty_steps = True
    # A request that arrives after its deadline is served until the client's giving up is noticed.
    _expires_at_entry = False
    _shows_cached = True

    def __init__(self, *, pause_us: int, **parameters: Any) -> None:
        super().__init__(**parameters)
        self.last_delivered_at = 0
        self._pause_us = pause_us
        self._effects: deque[Effects] = deque()
        # Whether the last turn formed a step, and whether a request has ended since.
        self._formed = True
        self._lost_one = False
        self._timed_out: list[RunningRequest] = []

    @property
    def next_turn_at(self) -> int:
        """End of the oldest step under way; a step under way behind it starts then."""
        return self.last_step_start if self.num_steps - self.batch.num_delivered > 1 else self.device_free_at

    def steps_to_plan(self) -> int:
        """Count the steps up to one in which a request ends: it ends when the engine has its next turn."""
        if self._effects or self.num_steps - self.batch.num_delivered <= self.steps_ahead:
            return 0
        return self.batch.decodes.next_end() - self.num_steps + 1

    def time_out(self, leg: RunningRequest, now: int) -> bool:
        """Let a request end at the next turn: the client gives up now, but the engine removes it between steps."""
        self.log.last_activity = now
        self._timed_out.append(leg)
        return False

    def take_inputs(self, now: int) -> None:
        """Put arrived requests into the wait queue, and remove those that timed out."""
        for leg in self._arrived:
            self.queue.append(leg, now)
        self._arrived.clear()
        self._end_timed_out(now)

    def _end_timed_out(self, now: int) -> None:
        """Remove the requests that timed out, those aside that have not been taken in."""
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
        """Remove all waiting requests and return them in their order; they do not count as entered."""
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
        """Deliver the step that ends now, and form the next one."""
        batch, waiting = self.batch, self.queue.waiting
        if batch.num_delivered < self.num_steps:
            # Aborts come first: a request that times out when its last step ends does not complete.
            if self._timed_out:
                self._end_timed_out(now)
            self._deliver(now)
            if not self._formed and (batch.members or waiting or self._lost_one):
                return now + self._pause_us
        if self._arrived or self._timed_out:
            self.take_inputs(now)
        while self.num_steps - batch.num_delivered <= self.steps_ahead:
            wanted = bool(batch.members or waiting or self._lost_one)
            self._lost_one = False
            self._formed = wanted and self._form_next(now)
            if not self._formed:
                break
        # The engine takes requests in when it forms a step. That makes a difference after a turn without a step:
        # whether the engine pauses depends on the requests that it knew then.
        self._holds_back = not self._formed
        if batch.num_delivered < self.num_steps:
            return self.next_turn_at
        if batch.members or (waiting and self._builder.num_preempted):
            return now + self._pause_us
        # Requests that wait, although none runs, lack what other processes hold.
        return None

    def _form_next(self, now: int) -> bool:
        """Form a step; return False if no request gets a token."""
        effects = self._form_step(now)
        if effects is None:
            return False
        batch = self.batch
        batch.num_delivered_before = batch.num_delivered
        prefilled, ended = effects
        if prefilled or ended:
            for leg in ended:
                batch.reach_last_step(leg, self.num_steps)
            self._effects.append((self.num_steps - 1, prefilled, ended))
        return True

    def _deliver(self, now: int) -> None:
        """Apply the effects of the oldest step under way, which ends now."""
        step = self.batch.num_delivered
        self.batch.num_delivered = step + 1
        self.last_delivered_at = now
        if not self._effects or self._effects[0][0] != step:
            return
        _, prefilled, ended = self._effects.popleft()
        # Requests that timed out or were withdrawn have lost the outputs under way. One that was preempted gets them
        # all the same, and may even end while it waits.
        observed = self._observers.first_token
        for leg in prefilled:
            if leg.ttft < 0 and leg.outcome in _UNENDED:
                leg.ttft = now + self._token_processing_us - leg.request.arrived_at
                if observed is not None:
                    observed(leg)
        for leg in ended:
            if leg.outcome in _UNENDED:
                self._complete(leg, now)

    def _complete(self, leg: RunningRequest, now: int) -> None:
        """End a request whose last output is delivered now."""
        log, request = self.log, leg.request
        if leg.segments:
            if leg.decoding:
                leg.close_segment(leg.last_step + 1)
            log.segmented.append(leg)
        first_decode_step = leg.first_decode_step
        if leg.batch_position < 0:
            self.queue.remove(leg)
        else:
            self.batch.leave(leg, self.num_steps)
            self.kv.release(leg, leg.last_progress, leg.last_progress)
        # The engine has one more turn to tell its workers, even if no request is left.
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
        # The client sees the response after the overheads, while the engine has already forgotten the request.
        if at > now:
            leg.outcome = outcome
            leg.finished_at = at
            leg.close()
            self.responses.append(leg)
        else:
            self._finish(leg, outcome, at)

    def step_gaps(self) -> NDArray[np.int64]:
        """Return the time from end to end, pauses of the engine included."""
        return self.steps.gaps()

    def decode(
        self,
        start: int,
        last_start: int,
        end: int,
        last_formed_at: int,
        durations: Iterable[int],
        blocks_by_step: list[int],
    ) -> None:
        """Form planned decode steps; each time one is formed, the oldest step under way is delivered."""
        super().decode(start, last_start, end, last_formed_at, durations, blocks_by_step)
        batch = self.batch
        batch.num_delivered += len(blocks_by_step)
        batch.num_delivered_before = batch.num_delivered
        self.last_delivered_at = last_formed_at
        last = self.num_steps - 1
        if batch.decodes.next_end() == last:
            ended = batch.decodes.pop_ended(last)
            for leg in ended:
                batch.reach_last_step(leg, last + 1)
            self._effects.append((last, (), ended))
            self.decision_gap_x8 += last - self._last_decision - (self.decision_gap_x8 >> 3)
            self._last_decision = last

    def last_activity(self, horizon: int) -> int:
        """Last tick up to the horizon at which something happened: an arrival, a timeout, a step's start or end."""
        ticks = (self.log.last_activity, self.last_delivered_at, self.last_step_start, self.device_free_at)
        return max((tick for tick in ticks if tick <= horizon), default=0)

    def _count_gaps(self, leg: RunningRequest) -> None:
        """Bring the inter-token latencies of a request up to date: those up to the last step that was delivered."""
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
        leg.itl_count = sum(last - first + 1 for first, last in runs) - 1
        leg.itl_first_step = leg.first_decode_step
        first_token_at = leg.request.arrived_at + leg.ttft - self._token_processing_us
        leg.itl_sum = end - first_token_at + leg.itl_count * self._token_processing_us

    def count_gaps(self) -> None:
        """Bring the inter-token latencies of all requests up to date, of those too that wait after a preemption."""
        super().count_gaps()
        for leg in self.queue:
            self._count_gaps(leg)
