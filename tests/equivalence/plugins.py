"""Plug-ins as a user might write them, each of which the fast path must respect."""

from blis_simpy.latency.base import LatencyInputs, StepBatch
from blis_simpy.replica.batch_policies import ContinuousBatching


class Contextual:
    """Latency model of only the four mandatory methods; steps grow with each member's own context."""

    def __init__(self, inputs: LatencyInputs) -> None:
        self.queueing, self.per_token, self.output = inputs.alpha[:3]
        self.base, self.per_prefill, self.per_decode = inputs.beta[:3]

    def step_time(self, batch: StepBatch) -> int:
        prefill = sum(member.new_tokens * (1 + member.progress % 3) for member in batch.prefills)
        decode = sum(1 + context % 5 for context in batch.decode_contexts())
        return int(self.base + self.per_prefill * prefill + self.per_decode * decode)

    def queueing_time(self, input_tokens: int) -> int:
        return int(self.queueing + self.per_token * input_tokens)

    def output_token_processing_time(self) -> int:
        return int(self.output)

    def post_decode_overhead(self) -> int:
        return 7


class Kaleidoscope:
    """Scheduler whose order turns with the clock."""

    def key(self, request, priority, now):
        return (request.arrived_at * 7 + request.input_tokens + now // 150) % 13, priority


class PolicyThatYields(ContinuousBatching):
    """Batch policy that lets every other decode wait while any prompt is being computed."""

    def form(self, step):
        if not step.num_prefilling:
            super().form(step)
            return
        for leg in step.running():
            if step.token_budget <= 0 or leg.batch_position < 0:
                break
            if leg.decoding and leg.batch_position % 2:
                continue
            if not step.grant(leg):
                break
        if step.num_preempted:
            return
        while step.token_budget > 0 and step.num_waiting and step.free_slots > 0 and step.admit():
            pass
