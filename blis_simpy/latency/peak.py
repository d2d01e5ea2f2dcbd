"""How near a latency model comes to the peak of the hardware: above it, its times are too short.

Two steps are asked for, each bound by one resource: a long prompt by arithmetic, a single short decode by reading the
weights. That takes neither the coefficients of the latency model nor its inner workings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from blis_simpy.catalog.kernel_coefficients import kernel_coefficients
from blis_simpy.latency.base import StepBatch, StepMember
from blis_simpy.latency.kernel_shape import kernel_shape
from blis_simpy.latency.kernel_work import Product, attention_products, attention_work, mlp_products

if TYPE_CHECKING:
    from collections.abc import Iterable

    from blis_simpy.catalog.hardware import Gpu
    from blis_simpy.catalog.models import ModelSpec
    from blis_simpy.latency.base import LatencyModel
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
    rate is that of BF16, or of FP8 for one-byte weights where the GPU has it.
    """
    shape, coefficients = kernel_shape(model), kernel_coefficients(gpu)
    weights = _active_weights(shape, tp, dp)
    flops_per_us = (_fp8(shape, coefficients.fp8_tflops) or coefficients.bf16_tflops) * _MILLION
    pairs = PROMPT_TOKENS * (PROMPT_TOKENS + 1) / 2.0
    attention = shape.layers * attention_work(shape, tp).prefill_flops * pairs
    arithmetic_us = 2.0 * PROMPT_TOKENS * weights / flops_per_us
    arithmetic_us += attention / (coefficients.bf16_tflops * _MILLION)
    memory_us = weights * shape.weights.weight_bytes / (coefficients.bandwidth_tb_s * _MILLION)
    prompt = StepBatch.of([StepMember(PROMPT_TOKENS, 0, PROMPT_TOKENS, 1)])
    decode = StepBatch.of([StepMember(1, 1, 1, 2)])
    return PeakUse(arithmetic_us / latency.step_time(prompt), memory_us / latency.step_time(decode))


def _fp8(shape: KernelShape, tflops: float) -> float:
    return tflops if shape.weights.name == "fp8" else 0.0


def _active_weights(shape: KernelShape, tp: int, dp: int) -> float:
    """Weights on one GPU that a token passes."""
    experts = shape.experts_per_token * _size(mlp_products(shape, shape.expert_width, tp)) / dp
    return (
        shape.layers * _size(attention_products(shape, tp))
        + shape.dense_layers * _size(mlp_products(shape, shape.dense_width, tp))
        + shape.moe_layers * (_size(mlp_products(shape, shape.shared_width, tp)) + experts)
    )


def _size(products: Iterable[Product]) -> float:
    return sum(product.columns * product.depth for product in products)
