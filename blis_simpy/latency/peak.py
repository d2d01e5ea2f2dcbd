"""How near a latency model comes to the peak of the hardware: above it, its times are too short.

Two steps are asked for, each bound by one resource: a long prompt by arithmetic, a single short decode by reading the
weights. That takes neither the coefficients of the latency model nor its inner workings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from blis_simpy.catalog.kernel_coefficients import kernel_coefficients
from blis_simpy.latency.base import StepBatch, StepMember
from blis_simpy.latency.kernel_blocks import FP8, MXFP4, NVFP4
from blis_simpy.latency.kernel_shape import kernel_shape
from blis_simpy.latency.kernel_terms import windowed_pairs
from blis_simpy.latency.kernel_work import (
    Product,
    attention_products,
    attention_work,
    mlp_products,
    recurrent_products,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from blis_simpy.catalog.hardware import Gpu
    from blis_simpy.catalog.models import ModelSpec
    from blis_simpy.latency.base import LatencyModel
    from blis_simpy.latency.kernel_blocks import WeightType
    from blis_simpy.latency.kernel_shape import KernelShape

__all__ = ["PROMPT_TOKENS", "PeakUse", "peak_use"]

PROMPT_TOKENS = 2048
"""Length of the prompt: long enough that arithmetic decides on any GPU."""
_MILLION = 1e6


@attrs.frozen
class PeakUse:
    """What the step times of a latency model imply of the hardware.

    Attributes
    ----------
    arithmetic : float, fraction
        Share of the peak arithmetic rate at which a prompt of `PROMPT_TOKENS` tokens is computed.
    bandwidth : float, fraction
        Share of the memory bandwidth at which a decode step of one request reads the weights.
    """

    arithmetic: float
    bandwidth: float


def peak_use(latency: LatencyModel, model: ModelSpec, gpu: Gpu, *, tp: int, dp: int = 1) -> PeakUse:
    """Compare the step times of a latency model with what the hardware can do at best.

    Parameters
    ----------
    latency : LatencyModel
        The model to judge.
    model, gpu : ModelSpec, Gpu
        Architecture and hardware figures, as complete as latency models require them.
    tp, dp : int
        Tensor-parallel and data-parallel degree; `dp` lessens the share of the experts only.

    Notes
    -----
    Counted are products with the weights that a token passes, embeddings left out, and the attention of the prompt. The
    rate is that of BF16, or that of the format of the weights where the GPU has it.
    """
    shape, coefficients = kernel_shape(model), kernel_coefficients(gpu)
    products = list(_active_products(shape, tp, dp))
    pairs = PROMPT_TOKENS * (PROMPT_TOKENS + 1) / 2.0
    arithmetic_us = memory_us = 0.0
    for weights, num_weights in products:
        tflops = coefficients.bf16_tflops
        if weights.name == FP8.name:
            tflops = coefficients.fp8_tflops or tflops
        elif weights.name in (NVFP4.name, MXFP4.name):
            tflops = max(coefficients.fp4_tflops, coefficients.fp8_tflops) or tflops
        arithmetic_us += 2.0 * PROMPT_TOKENS * num_weights / (tflops * _MILLION)
        memory_us += num_weights * weights.weight_bytes / (coefficients.bandwidth_tb_s * _MILLION)
    for block in shape.attention:
        seen = pairs
        if block.window:
            seen = windowed_pairs(0, PROMPT_TOKENS, block.window) / 2.0
        elif block.tokens_per_entry > 1:
            seen = pairs / block.tokens_per_entry
        flops = block.layers * attention_work(block, shape.kv_bytes, tp).prefill_flops * seen
        arithmetic_us += flops / (coefficients.bf16_tflops * _MILLION)
    prompt = StepBatch.of([StepMember(PROMPT_TOKENS, 0, PROMPT_TOKENS, 1)])
    decode = StepBatch.of([StepMember(1, 1, 1, 2)])
    return PeakUse(arithmetic_us / latency.step_time(prompt), memory_us / latency.step_time(decode))


def _active_products(shape: KernelShape, tp: int, dp: int) -> Iterator[tuple[WeightType, float]]:
    """Weights on one GPU that a token passes, by type."""
    hidden = shape.hidden
    for attention in shape.attention:
        yield attention.weights, attention.layers * _size(attention_products(attention, hidden, tp))
    for recurrent in shape.recurrent:
        yield recurrent.weights, recurrent.layers * _size(recurrent_products(recurrent, hidden, tp))
    for mlp in shape.mlps:
        yield mlp.weights, mlp.layers * _size(mlp_products(hidden, mlp.width, mlp.matrices, tp))
    for of in shape.experts:
        shared = _size(mlp_products(hidden, of.shared_width, of.shared_matrices, tp))
        yield of.shared_weights, of.layers * shared
        routed = of.experts_per_token * _size(mlp_products(of.input_width, of.width, of.matrices, tp)) / dp
        yield of.weights, of.layers * routed


def _size(products: Iterable[Product]) -> float:
    return sum(product.columns * product.depth for product in products)
