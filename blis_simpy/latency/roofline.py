"""Step time from first principles: the slower of arithmetic and memory traffic.

Every member of the step adds FLOPs and bytes; the weights are read once. Arithmetic takes ``C`` seconds, memory
traffic ``M``, and the step takes ``max(C, M)``, truncated to µs.

The definition, `Roofline._by_member`, adds member by member in floats. Its rounding is part of the figures, but it
costs time in proportion to the batch. So the fast path computes both sums in closed form from the aggregates of the
batch and takes the answer only where rounding provably cannot change the integer; otherwise the definition decides:

* All terms are positive and each goes through fewer than 20 roundings before it is added, so both sums differ from
  their closed forms by less than ``(members + 64) * 2**-52``, relative. Where that margin crosses no integer, the
  answer is certain.
* Bytes are whole multiples of 1/16 in real deployments, hence exact in floats up to a limit, whatever the order. Where
  memory dominates, as in most decode steps, the closed form *is* the definition, and no margin is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from blis_simpy.latency.base import IntTicks, LatencyInputs, StepBatch, StepMember, to_ticks
from blis_simpy.latency.explain import Term
from blis_simpy.latency.request_delays import PromptLengthDelays
from blis_simpy.latency.validation import check_alpha, check_roofline_figures, check_tp

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Roofline"]

MICROSECONDS = 1e6
_ULP = 2.0**-52
_EXACT_FRACTION = 16.0
_EXACT_BYTES = 2.0**48
"""Totals of multiples of 1/16 byte are exact floats up to here, with one bit to spare."""
_SURELY_TICKS = 2.0**52
_FEW_STEPS = 24
"""Up to this many steps a plain loop beats numpy (measured)."""


class Roofline(PromptLengthDelays):
    """Roofline of one replica; tensor parallelism divides work evenly and communicates for free.

    Parameters
    ----------
    inputs : LatencyInputs
        `model`, `gpu` and `tp` are needed; `alpha` as for `PromptLengthDelays`; `beta` is not used.

    Raises
    ------
    ScenarioError
        If a figure that the roofline needs is missing or wrong; one problem for each.

    Notes
    -----
    Source: the reference. The MLP counts two matrices whatever the activation, all experts are read every step, and
    neither embeddings nor shared experts are counted. A GPU that has FP8 units uses them for one-byte weights.
    """

    needs_architecture = True
    takes_coefficients = False

    def __init__(self, inputs: LatencyInputs) -> None:
        check_alpha(inputs.alpha)
        check_tp(inputs.tp)
        model, gpu = check_roofline_figures(inputs.model, inputs.gpu)
        super().__init__(inputs.alpha)

        layers, hidden = float(model.num_layers), float(model.hidden_size)
        heads, kv_heads = float(model.num_heads), float(model.kv_heads)
        head_dim = hidden / heads
        kv_width = kv_heads * head_dim
        moe = model.num_experts > 1
        ffn = float(model.intermediate_size or 4 * model.hidden_size)
        if moe and model.moe_intermediate_size > 0:
            ffn = float(model.moe_intermediate_size)
        element_bytes = model.bytes_per_param
        fp8 = model.weight_bytes == 1.0 and gpu.fp8_tflops > 0
        rate = (gpu.fp8_tflops if fp8 else gpu.tflops) * 1e12
        tp = float(inputs.tp)

        # figures of the definition
        self._layers, self._hidden, self._heads, self._head_dim = layers, hidden, heads, head_dim
        self._projection = hidden * hidden + 2.0 * hidden * kv_width
        self._mlp = 2.0 * hidden * ffn
        self._active_experts = float(model.experts_per_token) if moe else 1.0
        self._tp = tp
        self._prefill_rate, self._decode_rate = rate * gpu.mfu_prefill, rate * gpu.mfu_decode
        self._bandwidth = gpu.bandwidth_tb_s * 1e12
        self._act_bytes = layers * hidden * element_bytes
        self._kv_bytes = 2.0 * layers * kv_heads * head_dim * element_bytes
        mlp_weights = self._mlp * float(model.num_experts) if moe else self._mlp
        attention_weights = hidden * (hidden + 2.0 * kv_width) + hidden * hidden
        self._weight_bytes = (attention_weights + mlp_weights) * layers * model.weight_bytes

        # slopes of the closed form: seconds on each GPU
        flops_per_token = self._flops(0.0, 1.0)
        flops_per_context = (4.0 * heads * head_dim + 5.0 * heads) * layers
        self._prefill_token_s = flops_per_token / tp / self._prefill_rate
        self._prefill_pair_s = flops_per_context / 2.0 / tp / self._prefill_rate
        self._decode_token_s = flops_per_token / tp / self._decode_rate
        self._decode_context_s = flops_per_context / tp / self._decode_rate
        self._weight_share = self._weight_bytes / tp
        self._kv_share = self._kv_bytes / tp
        self._token_share = (self._kv_bytes + self._act_bytes) / tp
        byte_figures = (self._weight_bytes, self._kv_bytes, self._act_bytes)
        exact = inputs.tp & (inputs.tp - 1) == 0 and all((x * _EXACT_FRACTION).is_integer() for x in byte_figures)
        self._exact_below_s = min(_EXACT_BYTES / tp / self._bandwidth, _SURELY_TICKS / MICROSECONDS) if exact else 0.0

    def step_time(self, batch: StepBatch) -> int:
        """Duration of one engine step, µs, at least 1."""
        members = batch.num_decodes
        context = batch.decode_context_tokens
        compute = members * self._decode_token_s + context * self._decode_context_s
        moved = self._weight_share + members * self._token_share
        prefills = batch.prefills
        if prefills:
            tokens = pairs = 0
            for _, progress, new, _, _ in prefills:
                tokens += new
                pairs += new * (progress + progress + new - 1)  # twice the context that its tokens attend to, summed
                context += progress
            members += len(prefills)
            compute += tokens * self._prefill_token_s + pairs * self._prefill_pair_s
            moved += tokens * self._token_share
        elif not members:
            return 1
        memory = (moved + context * self._kv_share) / self._bandwidth
        return self._certain(compute, memory, (members + 64) * _ULP) or self._by_member(
            prefills, batch.decode_contexts()
        )

    def decode_step_times(self, batch: StepBatch, steps: int) -> Sequence[int] | IntTicks:
        """Durations of the next decode-only steps of an unchanged batch, µs, each at least 1."""
        members = batch.num_decodes
        if not members:
            return [1] * steps
        context_s, kv_share, bandwidth = self._decode_context_s, self._kv_share, self._bandwidth
        computed = members * self._decode_token_s
        moved = self._weight_share + members * self._token_share
        margin = (members + 64) * _ULP
        first = batch.decode_context_tokens
        last = first + members * (steps - 1)
        if steps <= _FEW_STEPS:
            return [
                self._certain(computed + context * context_s, (moved + context * kv_share) / bandwidth, margin)
                or self._decode_by_member(batch, (context - first) // members)
                for context in range(first, last + 1, members)
            ]

        compute, memory = computed + last * context_s, (moved + last * kv_share) / bandwidth
        if not max(compute, memory) * MICROSECONDS < _SURELY_TICKS:
            return [self._decode_by_member(batch, step) for step in range(steps)]
        contexts = np.arange(first, last + 1, members, dtype=np.float64)
        times = (contexts * kv_share + moved) / bandwidth
        slack = 1.0 + 2.0 * margin  # both sides are straight lines: what holds at both ends holds between them
        memory_bound = compute * slack <= memory < self._exact_below_s
        if memory_bound and (computed + first * context_s) * slack <= times[0]:
            ticks: IntTicks = (times * MICROSECONDS).astype(np.int64)
        else:
            times = np.maximum(times, contexts * context_s + computed) * MICROSECONDS
            ticks = (times * (1.0 - margin)).astype(np.int64)
            for step in np.flatnonzero(ticks != (times * (1.0 + margin)).astype(np.int64)).tolist():
                ticks[step] = self._decode_by_member(batch, step)
        return ticks if ticks[0] else np.maximum(ticks, 1)

    def _certain(self, compute: float, memory: float, margin: float) -> int:
        """Step time from the closed forms (s) and their relative margin; 0 if rounding might decide it."""
        if compute + compute * margin <= memory < self._exact_below_s:
            return int(memory * MICROSECONDS) or 1
        time = (compute if compute > memory else memory) * MICROSECONDS  # noqa: FURB136 - max() costs a call
        margin *= time
        if time < _SURELY_TICKS and (ticks := int(time - margin)) == int(time + margin):
            return ticks or 1
        return 0

    def _decode_by_member(self, batch: StepBatch, step: int) -> int:
        return self._by_member((), [context + step for context in batch.decode_contexts()])

    def explain(self, batch: StepBatch) -> list[Term]:
        """Show the step time, in µs, as the slower of arithmetic and memory traffic, and what each is made of."""
        contexts = batch.decode_contexts()
        if not batch.prefills and not contexts:
            return []
        compute, memory = self._bounds(batch.prefills, contexts)
        prefill_compute, prefill_memory = self._bounds(batch.prefills, ())
        decode_compute, decode_memory = self._bounds((), contexts)
        _, weights = self._bounds((), ())
        arithmetic = (
            Term("prefill", "members with a prompt", prefill_compute * MICROSECONDS),
            Term("decode", "members beyond their prompt", decode_compute * MICROSECONDS),
        )
        traffic = (
            Term("weights", "read once a step", weights * MICROSECONDS),
            Term("prefill", "KV cache and activations", (prefill_memory - weights) * MICROSECONDS),
            Term("decode", "KV cache and activations", (decode_memory - weights) * MICROSECONDS),
        )
        rate = "FLOPs on one GPU / (peak rate * share of it that is reached)"
        return [
            Term(
                "roofline",
                "the slower of arithmetic and memory traffic",
                max(compute, memory) * MICROSECONDS,
                parts=(
                    Term("arithmetic", rate, compute * MICROSECONDS, parts=arithmetic),
                    Term("memory traffic", "bytes on one GPU / bandwidth", memory * MICROSECONDS, parts=traffic),
                ),
            )
        ]

    def _by_member(self, prefills: Sequence[StepMember], decode_contexts: Sequence[int]) -> int:
        """Step time by definition."""
        return to_ticks(max(self._bounds(prefills, decode_contexts)) * MICROSECONDS) or 1

    def _bounds(self, prefills: Sequence[StepMember], decode_contexts: Sequence[int]) -> tuple[float, float]:
        """Arithmetic and memory traffic, s: each rounding is the reference's, so the order of operations is binding."""
        compute = moved = 0.0
        for member in prefills:
            progress, new = float(member.progress), float(member.new_tokens)
            compute += self._flops(progress, new) / self._tp / self._prefill_rate
            moved += self._bytes(progress, new) / self._tp
        for context in decode_contexts:
            compute += self._flops(float(context), 1.0) / self._tp / self._decode_rate
            moved += self._bytes(float(context), 1.0) / self._tp
        return compute, (self._weight_bytes / self._tp + moved) / self._bandwidth

    def _flops(self, progress: float, new: float) -> float:
        """FLOPs of a member with `progress` tokens behind it and `new` to compute."""
        hidden, heads, layers = self._hidden, self._heads, self._layers
        context = progress if new <= 1.0 else progress + (new - 1.0) / 2.0
        projections = (2.0 * new * self._projection + 2.0 * new * hidden * hidden) * layers
        attention = 4.0 * heads * new * context * self._head_dim * layers
        mlp = 2.0 * new * self._mlp * self._active_experts * layers
        vector = (5.0 * heads * new * context + 2.0 * new * hidden) * layers
        return projections + attention + mlp + vector

    def _bytes(self, progress: float, new: float) -> float:
        """Bytes that a member moves beside the weights; it reads its context even for no new token."""
        moved = self._act_bytes * new + self._kv_bytes * progress + self._kv_bytes * new
        return moved + self._weight_bytes - self._weight_bytes  # parity: rounded as a part of the whole
