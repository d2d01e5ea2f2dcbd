"""Closed forms of kernel times, in µs: the terms that the latency model ``kernels`` adds up.

Each is the time of a kernel, or of the kernels of one kind, on one GPU of a tensor-parallel group. All of them are
positive, and none is shorter than its bytes at the memory bandwidth or its FLOPs at the peak rate, as long as the
efficiencies are at most 1.

Source of the forms: fits to about 100,000 measured kernel times of nine GPUs (tables of ``aiconfigurator-core`` 0.12.0,
Apache-2.0), with a median error of 3 to 10 %; see the page on latency models for each GPU.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs
import numpy as np
from numpy.typing import NDArray

from blis_simpy.catalog.kernel_coefficients import MatrixKernel

if TYPE_CHECKING:
    from blis_simpy.catalog.kernel_coefficients import AllReduceKernel, DecodeAttentionKernel

__all__ = [
    "DecodeAttention",
    "MatrixRates",
    "all_reduce_us",
    "exchange_us",
    "experts_us",
    "joined",
    "matrix_product_us",
    "reached_experts",
    "small_kernel_us",
    "windowed_pairs",
]

FloatArray = NDArray[np.float64]

_L2_BYTES = 12e6
"""Activations up to this size stay in the L2 cache from one kernel to the next; what is beyond streams from memory."""
_L2_SPEED = 2.5
"""Bandwidth of that cache against that of the memory."""
_STREAM_EFFICIENCY = 0.85
"""Share of the memory bandwidth that a normalisation or activation kernel reaches."""
_COLD_US = 10.0
"""Time of KV reads over which decode attention goes from cached to uncached data."""


def joined(first_us: float, second_us: float, overlap: float) -> float:
    """Time of two activities that overlap in part, µs: their norm with exponent `overlap`.

    It is at least the longer one and at most the sum; exponent 1 is the sum.
    """
    longer, shorter = (first_us, second_us) if first_us > second_us else (second_us, first_us)
    if not shorter > 0.0:
        return longer
    # Scaled by the longer one, no power overflows.
    norm: float = (1.0 + (shorter / longer) ** overlap) ** (1.0 / overlap)
    return longer * norm


@attrs.frozen(kw_only=True)
class MatrixRates:
    """A kernel of matrix products on a GPU, for one type of weights.

    Attributes
    ----------
    kernel : MatrixKernel
        Its coefficients.
    weight_bytes, activation_bytes : float, bytes
        Size of a weight and of an input.
    bytes_per_us, flops_per_us : float
        Memory bandwidth and peak rate.
    factor : float
        Time in the engine against that of the kernel alone.
    """

    kernel: MatrixKernel
    weight_bytes: float
    activation_bytes: float
    bytes_per_us: float
    flops_per_us: float
    factor: float


def matrix_product_us(rates: MatrixRates, rows: float, columns: float, depth: float) -> float:
    """Time of a product of `rows` tokens with a matrix of `depth` times `columns` weights, µs.

    Weights and half of the activations come from memory (the other half is in the cache), joined with the arithmetic;
    quantising the input takes `extra_passes` over three bytes a number.
    """
    kernel, bandwidth = rates.kernel, rates.bytes_per_us
    weights = columns * depth * rates.weight_bytes / (bandwidth * kernel.memory_efficiency)
    activations = 0.5 * (rows * depth * rates.activation_bytes + 2.0 * rows * columns) / bandwidth
    arithmetic = 2.0 * rows * columns * depth / (rates.flops_per_us * kernel.compute_efficiency)
    quantising = kernel.extra_passes * 3.0 * rows * depth / bandwidth
    time = kernel.fixed_us + joined(weights + activations, arithmetic, kernel.overlap) + quantising
    return rates.factor * time


def reached_experts(tokens: float, experts: int, experts_per_token: int) -> float:
    """Experts that at least one of the tokens is sent to, on average, if routing is random."""
    missed: float = (1.0 - experts_per_token / experts) ** tokens
    return experts * (1.0 - missed)


def experts_us(
    rates: MatrixRates,
    tokens: float,
    *,
    experts: int,
    experts_per_token: int,
    hidden: int,
    width: float,
    matrices: int = 3,
    groups: int = 1,
) -> float:
    """Time of the routed experts of a layer, µs: the matrices of the experts that tokens reach.

    Parameters
    ----------
    rates : MatrixRates
        Kernel, and GPU.
    tokens : float, tokens
        Those of the step, of all groups together.
    experts, experts_per_token : int
        Routed experts of the layer, and how many see a token.
    hidden : int
        Width of what an expert reads and writes.
    width : float
        Width of an expert on one GPU.
    matrices : int
        Matrices of an expert: 3 with a gate, else 2.
    groups : int
        Data-parallel groups that the experts and their tokens are spread over evenly.
    """
    kernel, bandwidth = rates.kernel, rates.bytes_per_us
    routed = tokens * experts_per_token / groups
    reached = reached_experts(tokens, experts, experts_per_token) / groups
    weights = reached * matrices * hidden * width * rates.weight_bytes / (bandwidth * kernel.memory_efficiency)
    arithmetic = 2.0 * matrices * routed * hidden * width / (rates.flops_per_us * kernel.compute_efficiency)
    passes = kernel.extra_passes * routed * (2.0 * hidden + matrices * width) * 2.0 / bandwidth
    time = kernel.fixed_us + joined(weights, arithmetic, kernel.overlap) + passes
    return rates.factor * time


def all_reduce_us(
    kernel: AllReduceKernel,
    num_bytes: float,
    gpus: int,
    link_bytes_per_us: float,
    *,
    extra_us: float = 0.0,
    waiting_us: float = 0.0,
) -> float:
    """Time to sum so many bytes over the GPUs of a group, µs; 0 for one GPU.

    Parameters
    ----------
    kernel : AllReduceKernel
        Coefficients of the GPU.
    num_bytes : float, bytes
        Two a number, whatever the weights are.
    gpus : int
        Size of the group.
    link_bytes_per_us : float
        Bandwidth between GPUs, one direction.
    extra_us : float, µs
        Time in the engine beyond that of the kernel alone.
    waiting_us : float, µs
        Wait for the slowest GPU, for each beyond two; it stops growing at four GPUs (measured).
    """
    if gpus == 1:
        return 0.0
    efficiency = kernel.pair_efficiency if gpus == 2 else kernel.group_efficiency
    fixed = kernel.fixed_us + extra_us + kernel.per_gpu_us * (gpus - 2) + waiting_us * min(gpus - 2, 2)
    return max(fixed, 0.0) + num_bytes / (efficiency * link_bytes_per_us)


def exchange_us(kernel: AllReduceKernel, num_bytes: float, groups: int, link_bytes_per_us: float) -> float:
    """Time to gather so many bytes from data-parallel groups, or to scatter their sums, µs; 0 for one group.

    Estimated from the coefficients of the all-reduce; of the bytes, each group has its own share already.
    """
    if groups == 1:
        return 0.0
    efficiency = kernel.pair_efficiency if groups == 2 else kernel.group_efficiency
    return kernel.fixed_us + num_bytes * (groups - 1) / groups / (efficiency * link_bytes_per_us)


def small_kernel_us(num_bytes: float, bytes_per_us: float, fixed_us: float) -> float:
    """Time of a normalisation or activation kernel that moves so many bytes, µs."""
    cached, streamed = min(num_bytes, _L2_BYTES), max(num_bytes - _L2_BYTES, 0.0)
    return fixed_us + cached / (_L2_SPEED * bytes_per_us) + streamed / (_STREAM_EFFICIENCY * bytes_per_us)


class DecodeAttention:
    """Time of the attention of decoding requests in some layers, µs.

    A layer takes a fixed time, a further time once its KV data come from memory rather than from the L2 cache, and the
    norm of the time of the heads and that of the KV reads, or of the arithmetic, if that takes longer.

    Parameters
    ----------
    kernel : DecodeAttentionKernel
        Coefficients of the GPU.
    layers : float
        How many layers.
    read_us : float, µs
        KV bytes of a token of context at the full memory bandwidth.
    work_us : float, µs
        The same at the efficiency of the kernel, or the arithmetic of a token, if that takes longer.
    extra_us : float, µs
        Time in the engine beyond that of the kernel alone, a layer.
    factor : float
        Reads in the engine against those of the kernel alone.
    """

    __slots__ = ("_cold", "_exponent", "_fixed", "_head_us", "_root", "_scale", "_warming", "_work_us")

    def __init__(
        self,
        kernel: DecodeAttentionKernel,
        *,
        layers: float,
        read_us: float,
        work_us: float,
        extra_us: float = 0.0,
        factor: float = 1.0,
    ) -> None:
        self._fixed = layers * (kernel.fixed_us + extra_us)
        self._cold = layers * kernel.cold_us
        self._warming = -read_us / _COLD_US
        self._head_us, self._work_us = kernel.head_us, work_us
        self._exponent, self._root = kernel.overlap, 1.0 / kernel.overlap
        self._scale = layers * factor

    def us(self, heads: float, tokens: float) -> float:
        """Time in µs.

        Parameters
        ----------
        heads : float
            KV heads on one GPU times requests.
        tokens : float, tokens
            Context of all requests together, with the tokens of this step; > 0.
        """
        by_head, by_token = self._head_us * heads, self._work_us * tokens
        longer, shorter = (by_head, by_token) if by_head > by_token else (by_token, by_head)
        # `joined`, written out: this is computed in every decode step.
        norm: float = (1.0 + (shorter / longer) ** self._exponent) ** self._root
        longer *= norm
        return self._fixed + self._cold * (1.0 - math.exp(self._warming * tokens)) + self._scale * longer

    def times(self, heads: float, tokens: FloatArray, further_us: float = 0.0) -> FloatArray:
        """Compute `us` plus a further time for many steps with growing contexts.

        The exponential and the powers of numpy may round in another way than those of `math`: the times differ by some
        parts in 10**15.
        """
        by_head = self._head_us * heads
        if by_head <= tokens[0] * self._work_us:
            times: FloatArray = (by_head / self._work_us) / tokens
            longer, scale = tokens, self._scale * self._work_us
        else:
            by_token = tokens * self._work_us
            longer, scale = np.maximum(by_token, by_head), self._scale
            times = np.minimum(by_token, by_head) / longer
        times **= self._exponent
        times += 1.0
        times **= self._root
        times *= longer
        times *= scale
        cached = tokens * self._warming
        np.exp(cached, out=cached)
        cached *= self._cold
        times -= cached
        times += self._fixed + self._cold + further_us
        return times


def windowed_pairs(context: int, new: int, window: int) -> int:
    """Twice the query-key pairs of a chunk whose tokens each attend to the last `window` tokens, themselves included.

    Parameters
    ----------
    context : int, tokens
        Tokens before the chunk.
    new : int, tokens
        Tokens of the chunk.
    window : int, tokens
        Longest attention, > 0.
    """
    growing = min(max(window - context, 0), new)
    return growing * (2 * context + growing + 1) + 2 * (new - growing) * window
