"""Step time from one regression over many models: layers, KV width and expert routing instead of per-model fits.

Context lengths and the GPU play no role, so every step of an unchanged decode batch takes as long.
"""

from __future__ import annotations

from blis_simpy.latency.base import LatencyInputs, StepBatch, to_ticks
from blis_simpy.latency.explain import Term
from blis_simpy.latency.request_delays import PromptLengthDelays
from blis_simpy.latency.validation import check_alpha, check_beta, check_model_shape, check_tp

__all__ = ["Crossmodel"]

KV_SCALE = 1e-6
"""KV width is counted in millions of numbers, so that its coefficient has a handy size."""


class Crossmodel(PromptLengthDelays):
    """Regression of the step time on layers, decode tokens, all tokens and tensor parallelism.

    Parameters
    ----------
    inputs : LatencyInputs
        `model` and `tp` are needed; `alpha` as for `PromptLengthDelays`; `beta`: µs a layer, µs per decode token and
        million numbers of KV width on each GPU, µs per token of a mixture of experts, µs a step with tensor
        parallelism.

    Raises
    ------
    ScenarioError
        If the model is not known or has no layers, heads or width, if there are too few coefficients, or one is
        negative or not finite.

    Notes
    -----
    Source: the reference. A model with a single expert counts as a mixture.
    """

    needs_architecture = True
    global_coefficients = "crossmodel"

    def __init__(self, inputs: LatencyInputs) -> None:
        check_alpha(inputs.alpha)
        check_tp(inputs.tp)
        model = check_model_shape(inputs.model)
        check_beta(inputs.beta, 4)
        super().__init__(inputs.alpha)

        per_layer, self._per_decode_token, self._per_token, sync = inputs.beta[:4]
        layers = float(model.num_layers)
        head_dim = model.hidden_size / model.num_heads
        self._layers_time = per_layer * layers
        self._kv_width = layers * model.kv_heads * head_dim / inputs.tp * KV_SCALE
        self._mixture = 1.0 if model.num_experts > 0 else 0.0
        self._sync_time = sync if inputs.tp > 1 else 0.0

    def step_time(self, batch: StepBatch) -> int:
        """Duration of one engine step, µs, at least 1."""
        decode = batch.decode_new_tokens
        return self._time(sum([member.new_tokens for member in batch.prefills]) + decode, decode)

    def decode_step_times(self, batch: StepBatch, steps: int) -> int:
        """Duration of each of the next decode-only steps of an unchanged batch, µs: always the same."""
        del steps
        return self._time(batch.num_decodes, batch.num_decodes)

    def explain(self, batch: StepBatch) -> list[Term]:
        """List the summands of the step time, in µs."""
        decode = batch.decode_new_tokens
        tokens = sum(member.new_tokens for member in batch.prefills) + decode
        return [
            Term("layers", "beta[0] * layers", self._layers_time),
            Term(
                "KV traffic",
                "beta[1] * decode tokens * millions of numbers of KV width on each GPU",
                self._per_decode_token * decode * self._kv_width,
                parts=(
                    Term("decode tokens", "one for each decoding request", decode, "tokens"),
                    Term("KV width", "layers * KV heads * head width / tp, in millions", self._kv_width, "1"),
                ),
            ),
            Term(
                "expert routing",
                "beta[2] * tokens of the step; only for a mixture of experts",
                self._per_token * tokens * self._mixture,
                parts=(Term("tokens", "prefill and decode", tokens, "tokens"),),
            ),
            Term("synchronisation", "beta[3]; only with tensor parallelism", self._sync_time),
        ]

    def _time(self, tokens: int, decode_tokens: int) -> int:
        time = self._layers_time + self._per_decode_token * decode_tokens * self._kv_width
        return to_ticks(time + self._per_token * tokens * self._mixture + self._sync_time) or 1
