"""Between an architecture and the flat figures of a model, which describe one whose layers are all alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from blis_simpy.catalog.checkpoint.architecture import Architecture

__all__ = ["config_of_figures", "figures_of"]

_SAME_NAMES = (
    "model_type",
    "head_dim",
    "num_shared_experts",
    "first_k_dense_replace",
    "intermediate_size_mlp",
    "interleave_moe_layer_step",
    "kv_lora_rank",
    "qk_rope_head_dim",
    "tie_word_embeddings",
    "max_position_embeddings",
)
"""Figures that have the same name in a configuration."""


def figures_of(architecture: Architecture) -> dict[str, Any]:
    """Return the flat figures of an architecture; where its layers differ, those of the first that has such a block."""
    figures: dict[str, Any] = {
        "num_layers": architecture.num_layers,
        "hidden_size": architecture.hidden_size,
        "vocab_size": architecture.vocab_size,
        "bytes_per_param": architecture.compute_bytes,
    }
    for group in architecture.layers:
        if group.attention:
            figures.setdefault("num_heads", group.attention.num_heads)
            figures.setdefault("num_kv_heads", group.attention.num_kv_heads)
        if group.mlp:
            figures.setdefault("intermediate_size", group.mlp.width)
        if group.experts:
            figures.setdefault("num_experts", group.experts.num_experts)
            figures.setdefault("experts_per_token", group.experts.experts_per_token)
            figures.setdefault("moe_intermediate_size", group.experts.width)
            figures.setdefault("shared_expert_intermediate_size", group.experts.shared_width)
    if "moe_intermediate_size" in figures:
        figures.setdefault("intermediate_size", figures["moe_intermediate_size"])
    return figures


def config_of_figures(figures: Mapping[str, Any], key_of_figure: Mapping[str, str]) -> dict[str, Any]:
    """Return a configuration with the flat figures of a model; those that are 0 are left out.

    Parameters
    ----------
    figures : mapping
        Figures by name.
    key_of_figure : mapping
        Key in a configuration of the figures that have another name there.
    """
    config = {key: value for figure, key in key_of_figure.items() if (value := figures[figure])}
    config.update({name: value for name in _SAME_NAMES if (value := figures[name])})
    config["torch_dtype"] = "bfloat16"
    if figures["weight_bytes_per_param"] > 0:
        config["quantization_config"] = {"bits": figures["weight_bytes_per_param"] * 8}
    return config
