"""Engine with the effects of a step at its start, as in the reference.

Tokens, completions and freed blocks count from the start of the step; recorded latencies include its duration. A router
that observes the replica during a step sees the state after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blis_simpy.core.request import RequestOutcome
from blis_simpy.replica.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Iterable

    from blis_simpy.replica.running_request import RunningRequest

__all__ = ["StartOfStepEngine"]


class StartOfStepEngine(Engine):
    """Engine with effects at the start of a step; parameters as for `Engine`."""

    @property
    def next_turn_at(self) -> int:
        """End of the last step."""
        return self.device_free_at

    def steps_to_plan(self) -> int:
        """Return the number of steps before the next step in which a request ends."""
        # That step is not planned: it frees blocks and slots at its start, so that a waiting request may join it.
        return self.batch.decodes.next_end() - self.num_steps

    def time_out(self, leg: RunningRequest, now: int) -> bool:
        """Remove a request immediately; the plan remains valid if the request was waiting."""
        waited = leg.batch_position < 0
        self.log.last_activity = now
        self.log.timed_out += 1
        self._remove(leg)
        self._finish(leg, RequestOutcome.TIMED_OUT, now)
        return waited

    def _count_gaps(self, leg: RunningRequest) -> None:
        # Each gap is the duration of a step, so the sum of all gaps is a difference of the busy time, plus the
        # processing time of each token, which does not occupy the engine. No token is visited.
        if leg.first_decode_step >= 0:
            leg.itl_count = gaps = leg.num_outputs + self.num_steps - leg.first_decode_step
            leg.itl_first_step = leg.first_decode_step
            leg.itl_sum = self.busy_us - leg.busy_us_before + gaps * self._token_processing_us

    def _does_nothing(self) -> bool:
        return not self._builder.num_preempted and self.is_steady()

    def take_turn(self, now: int) -> int | None:
        """Form a step and apply its effects."""
        if not (self.batch.members or self.queue.waiting):
            return None
        effects = self._form_step(now)
        if effects is None:
            return None
        prefilled, ended = effects
        end = self.device_free_at
        for leg in prefilled:
            if leg.num_outputs:
                continue
            leg.busy_us_before = self.busy_us
            leg.ttft = end + self._token_processing_us - leg.request.arrived_at
            if self._observers.first_token is not None:
                self._observers.first_token(leg)
        # At the start of the step, as in the reference: a router that observes the replica during the step sees the
        # blocks and slots of these requests as free.
        for leg in ended:
            self._complete(leg, end)
        return end

    def _postpone(self, missed: Iterable[RunningRequest], duration: int) -> None:
        for leg in missed:
            if self._keeps_outputs:
                leg.miss(self.num_steps)
            else:
                # As in the reference, the step does not count in the latencies of the request.
                leg.busy_us_before += duration
                self.log.skipped_tokens.append((leg.request.row, leg.num_preemptions, self.num_steps))
            self.batch.decodes.postpone(leg, self.num_steps)

    def _complete(self, leg: RunningRequest, end: int) -> None:
        """Complete a request; its last step starts now and ends at `end`."""
        log, output_tokens = self.log, leg.request.output_tokens
        gaps = leg.last_step + 1 - leg.first_decode_step
        if gaps:
            self.batch.decodes.remove(leg, self.num_steps)
        gaps += leg.num_outputs
        tokens = leg.last_progress + leg.extra_stored
        if leg.segments:
            leg.close_segment(leg.last_step + 1)
            log.add_segments(leg)
        if leg.capped:
            log.length_capped += 1
            leg.length_capped = True
        elif output_tokens:
            # As in the reference, the last token takes KV memory before the blocks are put back, although no step reads
            # it. The request completes even if there is no block for it.
            if tokens % self._block_size or self.kv.take(1):
                tokens += 1
            else:
                log.kv_allocation_failures += 1
        leg.generated_tokens = gaps + 1 if leg.capped or output_tokens else 0
        self.batch.release(leg)
        self.kv.release(leg, tokens, tokens)
        leg.itl_count = gaps
        leg.itl_first_step = leg.first_decode_step
        leg.itl_sum = self.busy_us - leg.busy_us_before + gaps * self._token_processing_us
        leg.e2e = leg.ttft + leg.itl_sum + (self._overhead_us if output_tokens else 0)
        log.completed += 1
        log.output_tokens += leg.generated_tokens
        self._finish(leg, RequestOutcome.COMPLETED, end)
