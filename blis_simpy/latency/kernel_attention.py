"""Times of attention in all layers of a model, µs, for the decoding requests and for the prompts of a step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import numpy as np

from blis_simpy.latency.kernel_terms import DecodeAttention, FloatArray, windowed_pairs
from blis_simpy.latency.kernel_work import attention_work

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blis_simpy.catalog.kernel_coefficients import KernelCoefficients
    from blis_simpy.latency.base import StepMember
    from blis_simpy.latency.kernel_blocks import AttentionBlock, RecurrentBlock
    from blis_simpy.latency.kernel_overheads import KernelOverheads
    from blis_simpy.latency.kernel_rates import Rates
    from blis_simpy.latency.kernel_shape import KernelShape

__all__ = ["AttentionTimes"]

_STATE_FLOPS = 4.0
"""For each number of a recurrent state and token: to update it and to read it."""


@attrs.frozen
class _Decode:
    """Decode attention of the layers of a block: its KV heads on one GPU, window, and tokens for each cache entry."""

    attention: DecodeAttention
    heads: float
    window: int
    tokens_per_entry: int


@attrs.frozen
class _Prefill:
    """Prompt attention of the layers of a block: µs for each pair of tokens, prompt token, and token of context."""

    layers: float
    pair_us: float
    token_us: float
    cached_us: float
    window: int
    tokens_per_entry: int


@attrs.frozen
class _Scan:
    """Recurrent layers in steps with prompts: µs for each prompt token and for the state of each request."""

    layers: float
    token_us: float
    state_us: float


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
    the contexts exceed it and too much otherwise; sparse attention, which counts as attention to all entries; recurrent
    layers, whose states count as a KV cache of their size that is read and written.
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
        decode = coefficients.decode_attention
        kernel = decode["fp8"] if shape.kv_bytes <= 1.0 and "fp8" in decode else decode["bf16"]
        prefill = coefficients.prefill_attention
        self._dp = dp
        flops = rates.bf16 * prefill.compute_efficiency
        read = rates.memory * kernel.memory_efficiency
        streamed = rates.memory * prefill.memory_efficiency

        def decode_attention(layers: int, num_bytes: float, num_flops: float) -> DecodeAttention:
            return DecodeAttention(
                kernel,
                layers=layers,
                read_us=num_bytes / rates.memory / dp,
                work_us=max(num_bytes / read, num_flops / flops) / dp,
                extra_us=overheads.attn,
                factor=overheads.kv,
            )

        def of_attention(block: AttentionBlock) -> tuple[_Decode, _Prefill]:
            work = attention_work(block, shape.kv_bytes, tp)
            attention = decode_attention(block.layers, work.kv_bytes, work.decode_flops)
            prompts = _Prefill(
                layers=float(block.layers),
                pair_us=work.prefill_flops / flops / 2.0,
                token_us=work.prefill_bytes / streamed,
                cached_us=work.kv_bytes / read + work.expansion_flops / flops,
                window=block.window,
                tokens_per_entry=block.tokens_per_entry,
            )
            return _Decode(attention, work.heads, block.window, block.tokens_per_entry), prompts

        def of_recurrence(block: RecurrentBlock) -> tuple[DecodeAttention, _Scan]:
            state_bytes, num_flops = 2.0 * block.state_bytes / tp, _STATE_FLOPS * block.state_numbers / tp
            moved = 2.0 * (2.0 * block.channels + 2.0 * block.inner) / tp
            scan = _Scan(float(block.layers), moved / streamed + num_flops / flops, state_bytes / read)
            return decode_attention(block.layers, state_bytes, num_flops), scan

        attentions = [of_attention(block) for block in shape.attention]
        recurrences = [of_recurrence(block) for block in shape.recurrent]
        self._decode, self._prefill = [of[0] for of in attentions], [of[1] for of in attentions]
        self._states, self._scans = [of[0] for of in recurrences], [of[1] for of in recurrences]
        layers = sum(block.layers for block in shape.attention) + sum(block.layers for block in shape.recurrent)
        self._fixed_us = prefill.fixed_us * layers
        # Most models have ordinary attention, alike in all layers: the general loop would be half of a decode step.
        only = self._decode[0] if len(self._decode) == 1 and not self._states and dp == 1 else None
        self._only = only if only and not only.window and only.tokens_per_entry == 1 else None

    def decode_us(self, requests: int, context: int) -> float:
        """Time of decoding requests, given the sum of their contexts before the step."""
        only = self._only
        if only is not None:
            return only.attention.us(only.heads * requests, context + requests)
        of_group = requests if self._dp == 1 else -(-requests // self._dp)
        time = self._states_us(requests) if self._states else 0.0
        for of in self._decode:
            entries: float = context + requests
            if of.window or of.tokens_per_entry > 1:
                entries = _entries(entries, requests * of.window, of.tokens_per_entry)
            time += of.attention.us(of.heads * of_group, entries)
        return time

    def _states_us(self, requests: int) -> float:
        time = 0.0
        for states in self._states:
            time += states.us(0.0, requests)
        return time

    def decode_times(self, requests: int, context: int, steps: int, further_us: float) -> FloatArray:
        """Compute `decode_us` plus a further time for many steps, each with `requests` more tokens of context.

        Rounding may differ.
        """
        of_group = -(-requests // self._dp)
        tokens = np.arange(context + requests, context + requests * steps + 1, requests, dtype=np.float64)
        times: FloatArray | None = None
        for of in self._decode:
            entries = tokens
            if of.window:
                entries = np.minimum(tokens, requests * of.window)
            if of.tokens_per_entry > 1:
                entries = tokens / of.tokens_per_entry + (entries if of.window else 0.0)
            if times is None:
                times = of.attention.times(of.heads * of_group, entries, further_us)
            else:
                times += of.attention.times(of.heads * of_group, entries)
        if times is None:
            times = np.full_like(tokens, further_us)
        if self._states:
            times += self._states_us(requests)
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
        time = 0.0
        for of in self._prefill:
            time += of.layers * tokens * of.token_us
            if of.tokens_per_entry:
                time += of.layers * (pairs * of.pair_us + contexts * of.cached_us) / of.tokens_per_entry
            if window := of.window:
                parts = [(chunk.progress + chunk.cached_tokens, chunk.new_tokens) for chunk in chunks]
                inside = sum(windowed_pairs(context, new, window) for context, new in parts)
                kept = sum(min(context, window) for context, _ in parts)
                time += of.layers * (inside * of.pair_us + kept * of.cached_us)
        for scan in self._scans:
            time += scan.layers * (tokens * scan.token_us + len(chunks) * scan.state_us)
        return time, tokens, largest


def _entries(tokens: float, in_windows: int, tokens_per_entry: int) -> float:
    """Cache entries that requests attend to, given their tokens of context and the most that their windows hold."""
    inside = min(tokens, in_windows)
    return tokens / tokens_per_entry + inside if tokens_per_entry else inside
