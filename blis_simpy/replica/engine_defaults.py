"""Defaults of engine settings that depend on the GPU, as a vLLM server chooses them when it starts."""

from __future__ import annotations

import attrs

__all__ = ["VLLM_BLOCK_SIZE", "VLLM_GPU_MEMORY_UTILIZATION", "StepLimits", "vllm_step_limits"]

VLLM_GPU_MEMORY_UTILIZATION = 0.92
"""Share of the GPU's memory that a vLLM server uses unless it is given another one. Source: vLLM 0.32."""

VLLM_BLOCK_SIZE = 16
"""Tokens of a KV block on NVIDIA GPUs, unless an attention backend needs larger ones. Source: vLLM 0.32."""


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
    """Limits of a step as a vLLM server chooses them where they are not given.

    Parameters
    ----------
    gpu_name : str, optional
        Name of the GPU. An A100 gets the defaults of small GPUs whatever its memory.
    gpu_memory_gib : float, optional
        Memory of one GPU, GiB; unknown counts as small.
    max_model_len : int, tokens
        Cap on prompt and output together; 0 = none. A default budget does not exceed what that many slots can fill.
    max_num_seqs : int, optional
        Batch slots, if given.
    max_num_batched_tokens : int, optional
        Token budget, if given. A default number of slots does not exceed it.

    Returns
    -------
    StepLimits
        Given values as they are, the others by default. Both as given may contradict each other: vLLM does not start
        with a budget below the number of slots.

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
