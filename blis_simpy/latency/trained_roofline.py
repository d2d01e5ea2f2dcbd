"""Roofline of prefill, decode and weights, with weights fitted to measurements over many models.

Prefill and decode each take the slower of arithmetic and KV traffic; the weights are read beside them, of a mixture of
experts only as many experts as the tokens can reach.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blis_simpy.latency.validation import check_alpha, check_beta, check_sharded_figures, check_tp
from blis_simpy.latency.weighted_roofline import CostTerm, WeightedRoofline, Weighting

if TYPE_CHECKING:
    from blis_simpy.latency.base import LatencyInputs

__all__ = ["TrainedRoofline"]

_WEIGHT_BYTES = 2.0
"""Fitted so: quantisation has no effect."""


class TrainedRoofline(WeightedRoofline):
    """Weighted rooflines plus fixed times per layer, request and step.

    Parameters
    ----------
    inputs : LatencyInputs
        `model`, `gpu` and `tp` are needed; `alpha` as for `FixedDelays`; `beta`: factors of prefill, decode, weight
        load and tensor-parallel communication (of a term that is always 0), then µs a layer, a request and a step.

    Raises
    ------
    ScenarioError
        If a figure is missing or wrong, `tp` does not divide the heads, there are too few coefficients, or one is
        negative or not finite.

    Notes
    -----
    Source: the reference. The MLP has three matrices of the dense width, also in a mixture of experts; arithmetic runs
    at the FP16 rate; a model with a single expert counts as a mixture; members without output count as requests.
    """

    global_coefficients = "trained-roofline"

    def __init__(self, inputs: LatencyInputs) -> None:
        check_alpha(inputs.alpha)
        check_tp(inputs.tp)
        model, gpu = check_sharded_figures(inputs.model, inputs.gpu, inputs.tp)
        check_beta(inputs.beta, 7)
        prefill, decode, weight_load, _, per_layer, per_request, per_step = inputs.beta[:7]
        super().__init__(
            inputs.alpha,
            model,
            tp=inputs.tp,
            flops_per_us=gpu.tflops * 1e6,
            bytes_per_us=gpu.bandwidth_tb_s * 1e6,
            prefill=Weighting("beta[0] * the slower of arithmetic and KV writes", prefill, None),
            decode=Weighting("beta[1] * the slower of arithmetic and KV traffic", decode, None),
            shares=(
                CostTerm("weight load", "beta[2] * weight bytes on one GPU / memory bandwidth", weight_load),
                CostTerm("layers", "beta[4] * layers", per_layer, "layers"),
                CostTerm("requests", "beta[5] * requests in the step", per_request, "requests"),
                CostTerm("step", "beta[6]", per_step, "steps"),
            ),
        )
        self._intermediate = float(model.intermediate_size)
        self._experts = model.num_experts
        self._active_experts = max(1, model.experts_per_token)
        self._attention_weights = self._layers * self._hidden * self._projection_width * _WEIGHT_BYTES / self._tp

    def _mlp_flops(self, tokens: int) -> float:
        return self._layers * tokens * self._active_experts * 6.0 * self._hidden * self._intermediate / self._tp

    def _amounts(self, tokens: int, size: int) -> tuple[float, ...]:
        active = self._active_experts
        experts = min(self._experts, max(active, tokens * active)) if self._experts > 0 else 1
        mlp_weights = self._layers * experts * 3.0 * self._hidden * self._intermediate * _WEIGHT_BYTES / self._tp
        return (self._attention_weights + mlp_weights) / self._bytes_per_us, self._layers, float(size), 1.0
