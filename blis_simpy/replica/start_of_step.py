"""An engine whose steps take effect at their start, as in the reference.

Tokens, completions and freed blocks of a step count from its start on; only the recorded latencies reach to its end. So
a router that observes the replica within a step sees the state after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blis_simpy.core.request import RequestOutcome
from blis_simpy.replica.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray

    from blis_simpy.replica.running_request import RunningRequest
    from blis_simpy.replica.step_rules import StepRules

__all__ = ["StartOfStepEngine"]


class StartOfStepEngine(Engine):
    """State of one replica and its change by steps; parameters are those of `Engine`."""

    def __init__(self, *, rules: StepRules, **parameters: Any) -> None:
        super().__init__(rules=rules, **parameters)
        self._keeps_outputs = rules.resume.keeps_outputs

    @property
    def next_turn_at(self) -> int:
        """End of the last step: only then is there something to do."""
        return self.device_free_at

    def steps_to_plan(self) -> int:
        """Count the steps before one in which a request ends, which frees blocks and slots at its start."""
        return self.batch.decodes.next_end() - self.num_steps

    def time_out(self, leg: RunningRequest, now: int) -> bool:
        """Remove a request whose deadline has come, from the queue or from the batch."""
        waited = leg.batch_position < 0
        self.log.last_activity = now
        self.log.timed_out += 1
        self._remove(leg)
        self._finish(leg, RequestOutcome.TIMED_OUT, now)
        return waited

    def _count_gaps(self, leg: RunningRequest) -> None:
        # Nothing is counted token by token: each gap is a step, so their sum is a difference of the busy time, plus the
        # processing time of each token, which does not occupy the engine.
        if leg.first_decode_step >= 0:
            leg.itl_count = gaps = leg.num_outputs + self.num_steps - leg.first_decode_step
            leg.itl_first_step = leg.first_decode_step
            leg.itl_sum = self.busy_us - leg.busy_us_before + gaps * self._token_processing_us

    def _does_nothing(self) -> bool:
        return not self._builder.num_preempted and self.is_steady()

    def step_gaps(self) -> NDArray[np.int64]:
        """Return the durations: while requests decode, each step starts when the one before it ends."""
        return self.steps.durations()

    def take_turn(self, now: int) -> int | None:
        """Carry out one step that starts now."""
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
        # At the start of the step, not at its end: the reference does so, and a router that observes the replica within
        # the step sees the free blocks and slots of the requests that it completes.
        for leg in ended:
            self._complete(leg, end)
        return end

    def _postpone(self, missed: Iterable[RunningRequest], duration: int) -> None:
        for leg in missed:
            if self._keeps_outputs:
                leg.miss(self.num_steps)
            else:
                # The reference leaves the step out of the latencies of the request.
                leg.busy_us_before += duration
                self.log.skipped_tokens.append((leg.request, leg.num_preemptions, self.num_steps))
            self.batch.decodes.postpone(leg, self.num_steps)

    def _complete(self, leg: RunningRequest, end: int) -> None:
        """End a request whose last step starts now and ends at `end`."""
        log, output_tokens = self.log, leg.request.output_tokens
        gaps = leg.last_step + 1 - leg.first_decode_step
        if gaps:
            self.batch.decodes.remove(leg, self.num_steps)
        gaps += leg.num_outputs
        tokens = leg.last_progress + leg.extra_stored
        if leg.segments:
            leg.close_segment(leg.last_step + 1)
            log.segmented.append(leg)
        if leg.capped:
            log.length_capped += 1
            leg.length_capped = True
        elif output_tokens:
            # The last token is stored like any other before all blocks are put back, although no step reads it: as in
            # the reference. If there is no block for it, the request completes all the same.
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
