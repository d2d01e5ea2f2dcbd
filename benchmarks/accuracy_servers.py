"""What is known of the servers and models whose measurements lie in files of their own: architecture, GPUs, limits."""

from __future__ import annotations

from typing import Any

import attrs

from blis_simpy.latency.kernel_blocks import BF16, FP8, MXFP4, NVFP4, WeightType

_LLAMA_8B = {"num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8}
_QWEN_32B = {"num_hidden_layers": 64, "hidden_size": 5120, "num_attention_heads": 64, "num_key_value_heads": 8}
_QWEN_30B = {"num_hidden_layers": 48, "hidden_size": 2048, "num_attention_heads": 32, "num_key_value_heads": 4}
_COMMON = {"head_dim": 128, "torch_dtype": "bfloat16", "hidden_act": "silu", "max_position_embeddings": 40960}


@attrs.frozen(kw_only=True)
class Server:
    """A server of which single requests were recorded.

    Attributes
    ----------
    model : mapping
        Its ``config.json``.
    gpu : str
        Name in the hardware file.
    tp, dp : int
        Tensor-parallel and data-parallel degree.
    kv_blocks : int or None
        KV blocks, where published.
    """

    model: dict[str, Any]
    gpu: str
    tp: int = 1
    dp: int = 1
    kv_blocks: int | None = None


SERVERS = {
    "llmservingsim-rtxpro6000-llama-3.1-8b": Server(
        model={**_COMMON, **_LLAMA_8B, "intermediate_size": 14336, "vocab_size": 128256}, gpu="RTX-PRO-6000"
    ),
    "llmservingsim-rtxpro6000-qwen3-32b": Server(
        model={**_COMMON, **_QWEN_32B, "intermediate_size": 25600, "vocab_size": 151936}, gpu="RTX-PRO-6000", tp=2
    ),
    "llmservingsim-rtxpro6000-qwen3-30b-a3b-instruct-2507": Server(
        model={
            **_COMMON,
            **_QWEN_30B,
            "intermediate_size": 6144,
            "moe_intermediate_size": 768,
            "num_experts": 128,
            "num_experts_per_tok": 8,
            "vocab_size": 151936,
        },
        gpu="RTX-PRO-6000",
        dp=2,
    ),
    "llmservingsim-rtx4090-llama-3.1-8b": Server(
        model={**_COMMON, **_LLAMA_8B, "intermediate_size": 14336, "vocab_size": 128256}, gpu="RTX-4090", kv_blocks=2588
    ),
}
"""By name of the file without its ending. Source: casys-kaist/LLMServingSim; vLLM 0.19, 128 sequences a GPU group."""

SIZES = {
    "Llama-3.1-70B": dict[str, int](
        layers=80, hidden=8192, heads=64, kv_heads=8, head_dim=128, dense_width=28672, vocabulary=128256
    ),
    "Llama-3.1-8B-Instruct-FP8": dict[str, int](
        layers=32, hidden=4096, heads=32, kv_heads=8, head_dim=128, dense_width=14336, vocabulary=128256
    ),
    "Qwen3-32B": dict[str, int](
        layers=64, hidden=5120, heads=64, kv_heads=8, head_dim=128, dense_width=25600, vocabulary=151936
    ),
    "Qwen3-235B-A22B-FP8": dict[str, int](
        layers=94,
        moe_layers=94,
        hidden=4096,
        heads=64,
        kv_heads=4,
        head_dim=128,
        vocabulary=151936,
        experts=128,
        experts_per_token=8,
        expert_width=1536,
    ),
    "MiniMax-M2.5": dict[str, int](
        layers=62,
        moe_layers=62,
        hidden=3072,
        heads=48,
        kv_heads=8,
        head_dim=128,
        vocabulary=200064,
        experts=256,
        experts_per_token=8,
        expert_width=1536,
    ),
    "gpt-oss-120b": dict[str, int](
        layers=36,
        moe_layers=36,
        hidden=2880,
        heads=64,
        kv_heads=8,
        head_dim=64,
        vocabulary=201088,
        experts=128,
        experts_per_token=4,
        expert_width=2880,
    ),
}
"""Sizes of the models of the measured rows, for `KernelShape.uniform`; without the sliding windows of gpt-oss."""

GPUS = {"h100_sxm": "H100", "h200_sxm": "H200", "b200_sxm": "B200", "b300_sxm": "B300"}
"""Names in the hardware file of the systems of the measured rows."""


def weights_of(model: str, precision: str) -> tuple[WeightType, WeightType]:
    """Types of the weights of a measured row: of attention and dense layers, and of experts."""
    if model.startswith("gpt-oss"):
        return BF16, MXFP4
    weights = {"bf16": BF16, "fp8": FP8, "fp4": NVFP4}[precision]
    return weights, weights
