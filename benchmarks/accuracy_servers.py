"""What is known of the servers and models whose measurements lie in files of their own: architecture, GPUs, limits."""

from __future__ import annotations

from typing import Any

import attrs

_LLAMA_8B = {
    "model_type": "llama",
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
}
_QWEN_32B = {
    "model_type": "qwen3",
    "num_hidden_layers": 64,
    "hidden_size": 5120,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "intermediate_size": 25600,
    "vocab_size": 151936,
}
_QWEN_30B = {
    "model_type": "qwen3_moe",
    "num_hidden_layers": 48,
    "hidden_size": 2048,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "intermediate_size": 6144,
    "moe_intermediate_size": 768,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "vocab_size": 151936,
}
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
    "llmservingsim-rtxpro6000-llama-3.1-8b": Server(model={**_COMMON, **_LLAMA_8B}, gpu="RTX-PRO-6000"),
    "llmservingsim-rtxpro6000-qwen3-32b": Server(model={**_COMMON, **_QWEN_32B}, gpu="RTX-PRO-6000", tp=2),
    "llmservingsim-rtxpro6000-qwen3-30b-a3b-instruct-2507": Server(
        model={**_COMMON, **_QWEN_30B},
        gpu="RTX-PRO-6000",
        dp=2,
    ),
    "llmservingsim-rtx4090-llama-3.1-8b": Server(model={**_COMMON, **_LLAMA_8B}, gpu="RTX-4090", kv_blocks=2588),
}
"""By name of the file without its ending. Source: casys-kaist/LLMServingSim; vLLM 0.19, 128 sequences a GPU group."""

_MODELS: dict[str, dict[str, Any]] = {
    "Llama-3.1-70B": {
        "model_type": "llama",
        "num_hidden_layers": 80,
        "hidden_size": 8192,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "intermediate_size": 28672,
        "vocab_size": 128256,
    },
    "Llama-3.1-8B-Instruct-FP8": _LLAMA_8B,
    "Qwen3-32B": _QWEN_32B,
    "Qwen3-235B-A22B-FP8": {
        "model_type": "qwen3_moe",
        "num_hidden_layers": 94,
        "hidden_size": 4096,
        "num_attention_heads": 64,
        "num_key_value_heads": 4,
        "intermediate_size": 12288,
        "moe_intermediate_size": 1536,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "vocab_size": 151936,
    },
    "MiniMax-M2.5": {
        "model_type": "minimax_m2",
        "num_hidden_layers": 62,
        "hidden_size": 3072,
        "num_attention_heads": 48,
        "num_key_value_heads": 8,
        "intermediate_size": 1536,
        "num_local_experts": 256,
        "num_experts_per_tok": 8,
        "vocab_size": 200064,
    },
    "gpt-oss-120b": {
        "model_type": "gpt_oss",
        "num_hidden_layers": 36,
        "hidden_size": 2880,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "intermediate_size": 2880,
        "num_local_experts": 128,
        "num_experts_per_tok": 4,
        "vocab_size": 201088,
        "sliding_window": 128,
        "layer_types": ["sliding_attention", "full_attention"] * 18,
    },
}
_QUANTISATION: dict[str, dict[str, Any]] = {
    "BF16": {},
    "FP8": {"quant_method": "fp8", "modules_to_not_convert": ["lm_head"]},
    "NVFP4": {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head"]},
    "MXFP4": {"quant_method": "mxfp4"},
}

GPUS = {"h100_sxm": "H100", "h200_sxm": "H200", "b200_sxm": "B200", "b300_sxm": "B300"}
"""Names in the hardware file of the systems of the measured rows."""


def model_config(model: str, precision: str) -> dict[str, Any]:
    """Return the ``config.json`` of a model of the measured rows, with weights of a precision."""
    return {**_COMMON, **_MODELS[model], "quantization_config": _QUANTISATION[weights_name(model, precision)]}


def weights_name(model: str, precision: str) -> str:
    """Return the type of the weights of a measured row."""
    return "MXFP4" if model.startswith("gpt-oss") else {"bf16": "BF16", "fp8": "FP8", "fp4": "NVFP4"}[precision]
