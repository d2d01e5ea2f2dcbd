"""Defaults of the configuration classes of the transformers library, by model type.

A published configuration may leave out what its class has a default for; nested ones usually do. The figures stand in
``families.json``, with a few of our own that say what the code of a class does:

``gated_mlp``
    Whether the MLP has a gate beside its activation.
``mlp_expansion``, ``mlp_width_divisor``
    Width of the MLP in hidden sizes where none is stated; what a stated width is divided by.
``full_rank_gates``
    Whether the gates of its linear attention are full matrices.
``gated_queries``
    Whether the query projection of the attention also gives a gate.
``learned_positions``
    Whether positions are embedded by weights.
``lightning_attention``
    Whether its linear attention is that of MiniMax.
``searched_layers``
    Whether each layer has figures of its own, under ``block_configs``.
``unsupported``
    Why models of the class are refused.
``parallel_recurrence``
    Whether each layer has a state-space block beside its attention.
"""

from __future__ import annotations

import functools
import json
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["family_defaults"]

_SAME_AS = {
    "aya_vision": "cohere2",
    "gemma3": "gemma3_text",
    "gemma3n": "gemma3n_text",
    "gemma4": "gemma4_text",
    "glm4v": "glm4v_text",
    "glm4v_moe": "glm4v_moe_text",
    "idefics3": "llama",
    "internvl": "qwen2",
    "kimi_k25": "deepseek_v3",
    "lfm2_vl": "lfm2",
    "llama4": "llama4_text",
    "llava": "llama",
    "llava_next": "llama",
    "llava_onevision": "qwen2",
    "minimax_m3": "minimax_m3_vl_text",
    "minimax_m3_vl": "minimax_m3_vl_text",
    "mistral3": "mistral",
    "mllama": "mllama_text_model",
    "paligemma": "gemma",
    "pixtral": "mistral",
    "qwen2_5_vl": "qwen2_5_vl_text",
    "qwen2_vl": "qwen2_vl_text",
    "qwen3_5": "qwen3_5_text",
    "qwen3_5_moe": "qwen3_5_moe_text",
    "qwen3_vl": "qwen3_vl_text",
    "qwen3_vl_moe": "qwen3_vl_moe_text",
    "smolvlm": "llama",
    "video_llava": "llama",
    "vipllava": "llama",
}
"""Types of multimodal models, and the type of their language model unless it is stated."""
_CLASS_SUFFIXES = ("ForCausalLM", "ForConditionalGeneration", "LMHeadModel", "Model")


def family_defaults(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the defaults of the class of a configuration; empty if the class is not known.

    The class is that of ``model_type`` or, where that name is not known, of the first of ``architectures``.
    """
    families = _families()
    names = [config.get("model_type")]
    architectures = config.get("architectures")
    if isinstance(architectures, list) and architectures:
        names.append(architectures[0])
    for name in names:
        if not isinstance(name, str):
            continue
        found = families.get(_folded(_SAME_AS.get(name, name)))
        if found is not None:
            return found
    return {}


@functools.cache
def _families() -> dict[str, Mapping[str, Any]]:
    text = (files(__package__) / "families.json").read_text(encoding="utf-8")
    return {_folded(name): defaults for name, defaults in json.loads(text).items()}


def _folded(name: str) -> str:
    """Bring model types and class names into one spelling: ``deepseek_v4`` and ``DeepseekV4ForCausalLM``."""
    for suffix in _CLASS_SUFFIXES:
        name = name.removesuffix(suffix)
    return name.replace("_", "").replace("-", "").replace(".", "").lower()
