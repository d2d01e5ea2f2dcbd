"""Physical lower bounds of everything a step does, with one set of fitted weights for all models and GPUs.

Arithmetic, KV traffic, weight load and communication each have a bound from FLOPs or bytes and the peak figures of the
GPU; fixed times per layer, request and step come on top. A mixture of experts may run data-parallel: one replica is
then the whole group of `dp` times `tp` GPUs, its batch that of all ranks, its experts spread evenly over the group.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from blis_simpy.errors import Problem, ScenarioError, nearest
from blis_simpy.latency.validation import check_alpha, check_beta, check_sharded_figures, check_tp
from blis_simpy.latency.weighted_roofline import CostTerm, WeightedRoofline, Weighting
from blis_simpy.settings.fields import setting, settings_class

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blis_simpy.catalog.models import ModelSpec
    from blis_simpy.latency.base import LatencyInputs

__all__ = ["MOE_COMM_BACKENDS", "TrainedPhysics", "TrainedPhysicsOptions"]

MIN_BETA = 7
_ALL_TO_ALL = ("pplx", "deepep_high_throughput", "deepep_low_latency", "mori", "flashinfer_all2allv")
"""Ways to send each token to each of its experts, rather than every token to every GPU."""
MOE_COMM_BACKENDS = ("allgather_reducescatter", "naive", *_ALL_TO_ALL)
"""Ways to exchange tokens between data-parallel ranks of a mixture of experts, by vLLM's names; the first is usual."""


@settings_class
class TrainedPhysicsOptions:
    """Options of the latency model ``trained-physics``."""

    dp: int = setting(
        default=1, help="Data-parallel degree; above 1 only for a mixture of experts.", unit="ranks", ge=1
    )
    moe_comm_backend: str = setting(
        default=MOE_COMM_BACKENDS[0],
        help="How data-parallel ranks of a mixture of experts exchange tokens.",
        choices=MOE_COMM_BACKENDS,
    )


class TrainedPhysics(WeightedRoofline):
    """Weighted physical bounds plus fixed times per layer, request and step.

    Parameters
    ----------
    inputs : LatencyInputs
        `model`, `gpu` and `tp` are needed; `alpha` as for `FixedDelays`; `beta`: 7 to 11 coefficients, see Notes.
    dp : int
        Data-parallel degree, >= 1; above 1 only for a mixture of experts.
    moe_comm_backend : str
        One of `MOE_COMM_BACKENDS`; matters with `dp` above 1 only.

    Raises
    ------
    ScenarioError
        If a figure is missing or wrong, `tp` does not divide the heads, `dp` or `moe_comm_backend` does not fit, there
        are too few coefficients, or one is negative or not finite.

    Notes
    -----
    `beta`: factors of prefill arithmetic, decode arithmetic, weight load and all-reduce; µs a layer, a request and a
    step; µs per MoE layer of an interleaved model (0 if not given); factor of the prefill KV writes (if not given,
    they overlap with the arithmetic: the slower counts), of the decode KV traffic (likewise), and of the expert
    dispatch (that of the all-reduce if not given).

    Source: the reference, newer revision. Explicit head widths, latent attention and leading dense layers are not
    looked at; all experts are read every step; memory bandwidth is used as that of the links. Whether experts are
    sharded or placed whole changes no figure, so there is no option for it. A GPU that has FP8 units uses them for
    one-byte weights.
    """

    global_coefficients = "trained-physics"
    Options = TrainedPhysicsOptions

    def __init__(self, inputs: LatencyInputs, *, dp: int = 1, moe_comm_backend: str = MOE_COMM_BACKENDS[0]) -> None:
        check_alpha(inputs.alpha)
        check_beta(inputs.beta, MIN_BETA)
        _check_moe_comm_backend(moe_comm_backend)
        check_tp(inputs.tp)
        model, gpu = check_sharded_figures(inputs.model, inputs.gpu, inputs.tp)
        _check_precision_and_experts(model, dp)

        fp8 = model.weight_bytes == 1.0 and gpu.fp8_tflops > 0
        mixture = model.num_experts > 1
        interleave = max(model.interleave_moe_layer_step, 0)
        super().__init__(
            inputs.alpha,
            model,
            tp=inputs.tp,
            dp=dp,
            flops_per_us=(gpu.fp8_tflops if fp8 else gpu.tflops) * 1e6,
            bytes_per_us=gpu.bandwidth_tb_s * 1e6,
            prefill=_prefill_weighting(inputs.beta),
            decode=_decode_weighting(inputs.beta),
            shares=_shares(inputs.beta),
        )
        num_moe = model.num_layers // (interleave + 1) if mixture else 0
        self._interleaved_layers = float(num_moe) if interleave else 0.0
        self._moe_layers, self._dense_layers = float(num_moe), float(model.num_layers - num_moe)
        self._dense_width = float(model.intermediate_size)
        if model.intermediate_size_mlp > 0:
            self._dense_width = float(model.intermediate_size_mlp)
        self._expert_width = float(model.intermediate_size)
        if model.moe_intermediate_size > 0:
            self._expert_width = float(model.moe_intermediate_size)
        self._shared_width = float(max(model.shared_expert_intermediate_size, 0))
        self._active_experts = float(max(1, model.experts_per_token))
        self._group = self._ranks if mixture else self._tp
        self._dispatched_copies = self._active_experts if moe_comm_backend in _ALL_TO_ALL else 1.0
        self._dispatches = mixture and dp > 1
        self._activation_bytes = model.bytes_per_param
        self._weight_load_us = self._weight_bytes(model) / self._bytes_per_us

    def _weight_bytes(self, model: ModelSpec) -> float:
        """Bytes of weights on one GPU: routed experts are spread over the group, the rest over `tp` only."""
        per_weight, hidden = model.weight_bytes, self._hidden
        attention = self._layers * hidden * self._projection_width * per_weight / self._tp
        mlp = 0.0
        if self._moe_layers:
            resident = model.num_experts / self._group
            mlp += self._moe_layers * resident * 3.0 * hidden * self._expert_width * per_weight
            mlp += self._moe_layers * 3.0 * hidden * self._shared_width * per_weight / self._tp
        if self._dense_layers:
            mlp += self._dense_layers * 3.0 * hidden * self._dense_width * per_weight / self._tp
        return attention + mlp

    def _mlp_flops(self, tokens: int) -> float:
        flops = 0.0
        if self._moe_layers:
            routed = tokens * self._active_experts / self._group
            flops += self._moe_layers * routed * 6.0 * self._hidden * self._expert_width
            flops += self._moe_layers * tokens * 6.0 * self._hidden * self._shared_width / self._ranks
        if self._dense_layers:
            flops += self._dense_layers * tokens * 6.0 * self._hidden * self._dense_width / self._ranks
        return flops

    def _amounts(self, tokens: int, size: int) -> tuple[float, ...]:
        return (
            self._weight_load_us,
            self._all_reduce_us(tokens) if self._tp > 1.0 else 0.0,
            self._dispatch_us(tokens) if self._dispatches else 0.0,
            self._layers,
            float(size),
            1.0,
            self._interleaved_layers,
        )

    def _all_reduce_us(self, tokens: int) -> float:
        """Ring all-reduces after attention and MLP; with data parallelism, the dispatch does that of the experts."""
        attention = self._ring_us(self._layers, tokens) / self._dp
        dense = self._ring_us(self._dense_layers, tokens) / self._dp
        return attention + dense + (0.0 if self._dispatches else self._ring_us(self._moe_layers, tokens))

    def _ring_us(self, layers: float, tokens: int) -> float:
        around = (self._tp - 1.0) / self._tp
        return layers * tokens * self._hidden * self._activation_bytes * 2.0 * around / self._bytes_per_us

    def _dispatch_us(self, tokens: int) -> float:
        """Tokens to their experts and back."""
        copies = tokens / self._dp * self._dispatched_copies * (self._group - 1.0) / self._group * 2.0
        return copies * self._hidden * self._activation_bytes / self._bytes_per_us * self._moe_layers


def _prefill_weighting(beta: Sequence[float]) -> Weighting:
    if len(beta) > 8:
        return Weighting("beta[0] * arithmetic + beta[8] * KV writes", beta[0], beta[8])
    return Weighting("beta[0] * the slower of arithmetic and KV writes", beta[0], None)


def _decode_weighting(beta: Sequence[float]) -> Weighting:
    if len(beta) > 9:
        return Weighting("beta[1] * arithmetic + beta[9] * KV traffic", beta[1], beta[9])
    return Weighting("beta[1] * the slower of arithmetic and KV traffic", beta[1], None)


def _shares(beta: Sequence[float]) -> tuple[CostTerm, ...]:
    interleaved = beta[7] if len(beta) > 7 else 0.0
    dispatch_index = 10 if len(beta) > 10 else 3
    dispatch = f"beta[{dispatch_index}] * bytes that tokens take to their experts and back / memory bandwidth"
    return (
        CostTerm("weight load", "beta[2] * weight bytes on one GPU / memory bandwidth", beta[2]),
        CostTerm("all-reduce", "beta[3] * bytes that a GPU passes round its ring / memory bandwidth", beta[3]),
        CostTerm("expert dispatch", dispatch, beta[dispatch_index]),
        CostTerm("layers", "beta[4] * layers", beta[4], "layers"),
        CostTerm("requests", "beta[5] * requests in the step", beta[5], "requests"),
        CostTerm("step", "beta[6]", beta[6], "steps"),
        CostTerm("MoE layers", "beta[7] * MoE layers of an interleaved model", interleaved, "layers"),
    )


def _check_moe_comm_backend(name: str) -> None:
    if name not in MOE_COMM_BACKENDS:
        hint = nearest(name, sorted(MOE_COMM_BACKENDS))
        raise ScenarioError.at("moe_comm_backend", "is unknown", name, hint=hint, code="unknown_moe_comm_backend")


def _check_precision_and_experts(model: ModelSpec, dp: int) -> None:
    """Require what this model asks beyond the figures that it shares; one problem for each."""
    problems = []
    if not (math.isfinite(model.bytes_per_param) and model.bytes_per_param > 0):
        path, rule = "model.bytes_per_param", "must be finite and > 0"
        problems.append(Problem(path=path, rule=rule, value=model.bytes_per_param, code="bad_bytes_per_param"))
    if model.num_experts > 1 and model.experts_per_token <= 0:
        rule = f"must be > 0 with {model.num_experts} experts"
        path, code = "model.experts_per_token", "bad_experts_per_token"
        problems.append(Problem(path=path, rule=rule, value=model.experts_per_token, code=code))
    if dp < 1:
        problems.append(Problem(path="dp", rule="must be >= 1", value=dp, code="bad_dp"))
    elif dp > 1 and model.num_experts <= 1:
        rule, hint = "must be 1 without a mixture of experts", "add replicas to scale a dense model"
        problems.append(Problem(path="dp", rule=rule, value=dp, hint=hint, code="dp_needs_experts"))
    if problems:
        raise ScenarioError(problems)
