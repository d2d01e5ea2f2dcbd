"""Times of attention in all layers of a model, µs, for the decoding requests and for the prompts of a step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from blis_simpy.latency.kernel_terms import DecodeAttention, FloatArray, windowed_pairs
from blis_simpy.latency.kernel_work import attention_work

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blis_simpy.catalog.kernel_coefficients import KernelCoefficients
    from blis_simpy.latency.base import StepMember
    from blis_simpy.latency.kernel_overheads import KernelOverheads
    from blis_simpy.latency.kernel_rates import Rates
    from blis_simpy.latency.kernel_shape import KernelShape

__all__ = ["AttentionTimes"]


class AttentionTimes:
    """Attention of one GPU, with the figures that do not change from step to step computed once.

    Parameters
    ----------
    shape : KernelShape
        Figures of the model.
    coefficients : KernelCoefficients
        Figures of the GPU.
    rates : Rates
        Its rates.
    overheads : KernelOverheads
        Overheads beyond the kernels.
    tp, dp : int
        Tensor-parallel and data-parallel degree.

    Notes
    -----
    Measured: ordinary attention, decode with a median error of 2 to 6 % once the KV data exceed twice the L2 cache,
    prompts with 5 to 10 %. Estimated with the same forms: latent attention, whose decode may be bound by arithmetic;
    sliding windows, whose layers read at most the window times the requests, which is exact if either all or none of
    the contexts exceed it and too much otherwise; the states of linear attention, which count as a KV cache of their
    size that is read and written.
    """

    def __init__(
        self,
        shape: KernelShape,
        coefficients: KernelCoefficients,
        rates: Rates,
        overheads: KernelOverheads,
        *,
        tp: int,
        dp: int,
    ) -> None:
        work = attention_work(shape, tp)
        decode = coefficients.decode_attention
        kernel = decode["fp8"] if shape.kv_bytes == 1.0 and "fp8" in decode else decode["bf16"]
        prefill = coefficients.prefill_attention
        flops = rates.bf16 * prefill.compute_efficiency
        read = rates.memory * kernel.memory_efficiency
        full_layers = shape.layers - shape.window_layers - shape.linear_layers
        kinds = ((full_layers, 0), (shape.window_layers, shape.window))

        def decode_attention(layers: int, read_us: float, work_us: float) -> DecodeAttention:
            return DecodeAttention(
                kernel,
                layers=layers,
                read_us=read_us / dp,
                work_us=work_us / dp,
                extra_us=overheads.attn,
                factor=overheads.kv,
            )

        self._dp = dp
        self._heads = work.heads
        work_us = max(work.kv_bytes / read, work.decode_flops / flops)
        self._decode = tuple(
            (decode_attention(layers, work.kv_bytes / rates.memory, work_us), window)
            for layers, window in kinds
            if layers
        )
        self._linear = None
        if shape.linear_layers and shape.linear_state:
            self._linear = decode_attention(
                shape.linear_layers, work.state_bytes / rates.memory, work.state_bytes / read
            )
        self._full_layers, self._window_layers = float(full_layers), float(shape.window_layers)
        self._window = shape.window
        self._fixed_us = prefill.fixed_us * shape.layers
        self._layers = float(shape.layers)
        self._pair_us = work.prefill_flops / flops / 2.0
        self._token_us = work.prefill_bytes / (rates.memory * prefill.memory_efficiency)
        self._cached_us = work.kv_bytes / read + work.expansion_flops / flops

    def decode_us(self, requests: int, context: int) -> float:
        """Time of decoding requests, given the sum of their contexts before the step."""
        heads = self._heads * requests if self._dp == 1 else self._heads * -(-requests // self._dp)
        time = 0.0 if self._linear is None else self._linear.us(0.0, requests)
        for attention, window in self._decode:
            tokens = context + requests
            if window:
                tokens = min(tokens, requests * window)
            time += attention.us(heads, tokens)
        return time

    def decode_times(self, requests: int, context: int, steps: int) -> FloatArray:
        """Compute `decode_us` for many steps, each with `requests` more tokens of context; equal but for rounding."""
        heads = self._heads * -(-requests // self._dp)
        all_tokens = np.arange(context + requests, context + requests * steps + 1, requests, dtype=np.float64)
        times: FloatArray | None = None
        for attention, window in self._decode:
            tokens = np.minimum(all_tokens, requests * window) if window else all_tokens
            of_kind = attention.times(heads, tokens)
            times = of_kind if times is None else times + of_kind
        if times is None:
            times = np.zeros_like(all_tokens)
        if self._linear is not None:
            times += self._linear.us(0.0, requests)
        return times

    def prefill_us(self, prefills: Sequence[StepMember], *, alone: bool) -> tuple[float, int, int]:
        """Time of prompt chunks; their tokens; and those of the largest.

        The fixed time of the kernel counts only without decoding requests. Data-parallel groups share the chunks, but
        each chunk stays on one.
        """
        time, tokens, largest = self._chunks_us(prefills)
        if self._dp > 1:
            time = max(time / self._dp, *(self._chunks_us((chunk,))[0] for chunk in prefills))
        return time + self._fixed_us if alone else time, tokens, largest

    def _chunks_us(self, chunks: Sequence[StepMember]) -> tuple[float, int, int]:
        pairs = contexts = tokens = largest = 0
        for _, progress, new, _, cached in chunks:
            context = progress + cached
            pairs += new * (2 * context + new + 1)
            contexts += context
            tokens += new
            if new > largest:
                largest = new
        time = self._layers * tokens * self._token_us
        time += self._full_layers * (pairs * self._pair_us + contexts * self._cached_us)
        if self._window_layers:
            window = self._window
            parts = [(chunk.progress + chunk.cached_tokens, chunk.new_tokens) for chunk in chunks]
            pairs = sum(windowed_pairs(context, new, window) for context, new in parts)
            contexts = sum(min(context, window) for context, _ in parts)
            time += self._window_layers * (pairs * self._pair_us + contexts * self._cached_us)
        return time, tokens, largest
