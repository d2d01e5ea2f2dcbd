"""Step time as a straight line in the tokens of the step, fitted to one deployment.

Requires no figures of model or GPU, and does not depend on context lengths, so every step of an unchanged decode batch
takes as long.
"""

from __future__ import annotations

from blis_simpy.latency.base import LatencyInputs, StepBatch, to_ticks
from blis_simpy.latency.explain import Term
from blis_simpy.latency.request_delays import PromptLengthDelays
from blis_simpy.latency.validation import check_alpha, check_beta

__all__ = ["Blackbox"]


class Blackbox(PromptLengthDelays):
    """Regression of the step time on prefill and decode tokens.

    Parameters
    ----------
    inputs : LatencyInputs
        `alpha` as for `PromptLengthDelays`; `beta`: µs a step, µs per prefill token, µs per decode token.

    Raises
    ------
    ScenarioError
        If there are too few coefficients, or one is negative or not finite.
    """

    coefficients_of_deployment = True

    def __init__(self, inputs: LatencyInputs) -> None:
        check_alpha(inputs.alpha)
        check_beta(inputs.beta, 3)
        super().__init__(inputs.alpha)
        self._step, self._per_prefill_token, self._per_decode_token = inputs.beta[:3]

    def step_time(self, batch: StepBatch) -> int:
        """Duration of one engine step, µs."""
        time = self._step
        if batch.prefills:
            time += self._per_prefill_token * sum([member.new_tokens for member in batch.prefills])
        return to_ticks(time + self._per_decode_token * batch.decode_new_tokens) or 1

    def decode_step_times(self, batch: StepBatch, steps: int) -> int:
        """Duration of each of the next decode-only steps of an unchanged batch, µs: always the same."""
        del steps
        return to_ticks(self._step + self._per_decode_token * batch.num_decodes) or 1

    def explain(self, batch: StepBatch) -> list[Term]:
        """List the summands of the step time, in µs."""
        prefill, decode = sum(member.new_tokens for member in batch.prefills), batch.decode_new_tokens
        return [
            Term("step", "beta[0]", self._step),
            Term(
                "prefill",
                "beta[1] * prefill tokens",
                self._per_prefill_token * prefill,
                parts=(Term("prefill tokens", "tokens of prompts in the step", prefill, "tokens"),),
            ),
            Term(
                "decode",
                "beta[2] * decode tokens",
                self._per_decode_token * decode,
                parts=(Term("decode tokens", "one for each decoding request", decode, "tokens"),),
            ),
        ]
