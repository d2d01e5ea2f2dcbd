"""Recorded step times of closed-form kernels, and models to compute them with."""

import json
from functools import cache
from pathlib import Path

from blis_simpy.catalog.hardware import load_gpus
from blis_simpy.catalog.kernel_coefficients import kernel_coefficients
from blis_simpy.latency.base import StepBatch, StepMember
from blis_simpy.latency.kernel_blocks import BF16, FP8, INT4, MXFP4, NVFP4
from blis_simpy.latency.kernel_shape import KernelShape
from blis_simpy.latency.kernels import KernelTimes

DATA = json.loads((Path(__file__).parents[1] / "data" / "kernel_step_times.json").read_text())
VECTORS = [dict(zip(DATA["columns"], row, strict=True)) for row in DATA["rows"]]
SHAPES = {name: KernelShape.uniform(**figures) for name, figures in DATA["shapes"].items()}
WEIGHTS = {weights.name: weights for weights in (BF16, FP8, NVFP4, MXFP4, INT4)}


@cache
def coefficients(gpu):
    return kernel_coefficients(load_gpus()[gpu])


def kernel_times(shape, gpu, weights="bf16", **options):
    """Step times of a shape of the vectors, or of one's own, with all weights of one type."""
    if isinstance(shape, str):
        shape = shape_like(shape, weights=WEIGHTS[weights], expert_weights=WEIGHTS[weights])
    return KernelTimes(shape, coefficients(gpu), **options)


def shape_like(name, **changes):
    """Shape of the vectors with some sizes changed."""
    return KernelShape.uniform(**{**DATA["shapes"][name], **changes})


def batch(prefills=(), decodes=0, context=0):
    """Step of prompt chunks and of decoding requests with so many tokens of context together."""
    members = [StepMember(*prefill) for prefill in prefills]
    return StepBatch(members, decodes, context, lambda: [context // max(decodes, 1)] * decodes)
