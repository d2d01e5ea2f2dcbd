"""Defaults of engine settings that depend on the GPU, as in a vLLM server."""

from __future__ import annotations

import attrs

__all__ = ["VLLM_BLOCK_SIZE", "VLLM_GPU_MEMORY_UTILIZATION", "StepLimits", "vllm_step_limits"]

VLLM_GPU_MEMORY_UTILIZATION = 0.92
"""Default fraction of the GPU memory that a vLLM server uses. Source: vLLM 0.32."""

VLLM_BLOCK_SIZE = 16
"""Default tokens per KV block on NVIDIA GPUs; some attention backends require more. Source: vLLM 0.32."""


@attrs.frozen
class StepLimits:
    """Limits of one engine step.

    Attributes
    ----------
    max_num_seqs : int, requests
        Batch slots.
    max_num_batched_tokens : int, tokens
        Token budget of a step.
    """

    max_num_seqs: int
    max_num_batched_tokens: int


def vllm_step_limits(
    *,
    gpu_name: str | None = None,
    gpu_memory_gib: float | None = None,
    max_model_len: int = 0,
    max_num_seqs: int | None = None,
    max_num_batched_tokens: int | None = None,
) -> StepLimits:
    """Return the limits of a step, with the defaults of a vLLM server for those not given.

    Parameters
    ----------
    gpu_name : str, optional
        Name of the GPU. An A100 gets the defaults of small GPUs regardless of its memory.
    gpu_memory_gib : float, optional
        Memory of one GPU, GiB; a GPU of unknown memory gets the defaults of small GPUs.
    max_model_len : int, tokens
        Cap on prompt and output together; 0 = none. Limits the default budget to `max_num_seqs` * `max_model_len`.
    max_num_seqs : int, optional
        Batch slots.
    max_num_batched_tokens : int, optional
        Token budget. Limits the default number of batch slots.

    Returns
    -------
    StepLimits
        Given values are not checked: vLLM itself refuses a budget below the number of slots.

    Notes
    -----
    Source: vLLM 0.32, defaults of the API server by device memory. An offline engine has larger ones.

    Examples
    --------
    >>> vllm_step_limits(gpu_name="H100", gpu_memory_gib=80)
    StepLimits(max_num_seqs=1024, max_num_batched_tokens=8192)
    >>> vllm_step_limits(gpu_name="L40S", gpu_memory_gib=48)
    StepLimits(max_num_seqs=256, max_num_batched_tokens=2048)
    """
    memory = gpu_memory_gib or 0.0
    if memory >= 160:
        slots, budget = 1024, 16384
    elif memory >= 70 and "a100" not in (gpu_name or "").lower():
        slots, budget = 1024, 8192
    else:
        slots, budget = 256, 2048
    if max_num_seqs is not None:
        slots = max_num_seqs
    if max_num_batched_tokens is not None:
        budget = max_num_batched_tokens
    elif max_model_len:
        budget = min(budget, slots * max_model_len)
    if max_num_seqs is None:
        slots = min(slots, budget)
    return StepLimits(slots, budget)
