"""Architecture figures of a model: what latency models and the KV capacity need to know about it.

They come from the ``config.json`` that a model is published with. Key names there differ between families; this
module is the only place that knows them. A figure that is absent or not a number reads as 0, and whoever needs it says
so when it is used.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from blis_simpy.catalog.files import as_number, parse_json_object, read_text
from blis_simpy.errors import ScenarioError

__all__ = ["DTYPE_BYTES", "KEY_OF_FIGURE", "ModelSpec", "derive_max_model_len", "load_model_config"]

KEY_OF_FIGURE = {
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "num_kv_heads": "num_key_value_heads",
    "hidden_size": "hidden_size",
    "intermediate_size": "intermediate_size",
    "vocab_size": "vocab_size",
    "hidden_act": "hidden_act",
    "bytes_per_param": "torch_dtype",
    "num_experts": "num_local_experts",
    "experts_per_token": "num_experts_per_tok",
    "moe_intermediate_size": "moe_intermediate_size",
    "shared_expert_intermediate_size": "shared_expert_intermediate_size",
}
"""Usual key in a ``config.json`` of each figure of `ModelSpec` that a message may have to name."""

DTYPE_BYTES = {
    "float32": 4.0,
    "float16": 2.0,
    "bfloat16": 2.0,
    "int8": 1.0,
    "uint8": 1.0,
    "fp8": 1.0,
    "int4": 1.0,
    "nf4": 1.0,
}
"""Size of a number by the name of its type, bytes."""

_LOG = logging.getLogger("blis_simpy")
_DEFAULT_DTYPE_BYTES = 2.0
_KV_HEAD_KEYS = ("num_key_value_heads", "num_kv_heads", "multi_query_group_num")
_EXPERT_KEYS = ("num_local_experts", "num_routed_experts", "n_routed_experts", "num_experts", "moe_num_experts")
_WEIGHT_BITS_IN_NAME = re.compile(r"(?:^|[._/-])w([0-9]+)a[0-9]+(?:[._-]|\Z)", re.IGNORECASE)
_FP8_IN_NAME = re.compile(r"(?:^|[._/-])fp8(?:[._-]|\Z)", re.IGNORECASE)
_ROPE_TYPES_OF_FULL_LENGTH = frozenset({"su", "longrope", "llama3"})


@attrs.frozen(kw_only=True)
class ModelSpec:
    """Architecture figures of one model; 0 = not known or not applicable, unless said otherwise.

    Attributes
    ----------
    name : str
        What to call it in messages, usually the repository name.
    model_type : str
        Family, e.g. ``llama``.
    num_layers, hidden_size, num_heads : int
        Layers, width of the residual stream, attention heads.
    num_kv_heads : int
        Key-value heads; 0 = as many as attention heads.
    head_dim : int
        Width of a head where the configuration states it; 0 = hidden_size / num_heads.
    intermediate_size : int
        Width of the MLP.
    vocab_size : int
        Vocabulary, tokens.
    num_experts, experts_per_token : int
        Routed experts of a mixture of experts, and how many see a token; 0 and 0 = dense.
    moe_intermediate_size, shared_expert_intermediate_size : int
        Width of one routed expert (0 = intermediate_size) and of all shared experts together.
    capacity_shared_expert_size : int or None
        Width of the shared experts as the KV capacity counts it, where that differs; None = the same.
    num_shared_experts : int
        Shared experts as the configuration counts them.
    first_k_dense_replace : int
        Leading layers of a mixture of experts that have a dense MLP.
    intermediate_size_mlp : int
        Width of the MLP in the dense layers of a mixture of experts; 0 = intermediate_size.
    interleave_moe_layer_step : int
        Every how many layers one is a mixture of experts; 0 = all of them.
    kv_lora_rank, qk_rope_head_dim : int
        Multi-head latent attention: rank of the compressed cache (0 = ordinary attention), width of its rotary part.
    hidden_act : str
        Activation, e.g. ``silu``; empty = not known.
    bytes_per_param : float, bytes
        Size of a number in computation, activations and KV cache.
    weight_bytes_per_param : float, bytes
        Size of a weight where it is quantised; 0 = bytes_per_param.
    tie_word_embeddings : bool
        Whether input and output embeddings are the same weights.
    max_position_embeddings : int
        Positions the model was built for, tokens.
    rope_type : str or None
        Kind of rotary scaling, empty if unnamed; None = no scaling.
    rope_factor : float
        Its factor.
    rope_original_max_positions : int
        Positions before scaling, tokens.
    """

    name: str = ""
    model_type: str = ""
    num_layers: int = 0
    hidden_size: int = 0
    num_heads: int = 0
    num_kv_heads: int = 0
    head_dim: int = 0
    intermediate_size: int = 0
    vocab_size: int = 0
    num_experts: int = 0
    experts_per_token: int = 0
    moe_intermediate_size: int = 0
    shared_expert_intermediate_size: int = 0
    capacity_shared_expert_size: int | None = None
    num_shared_experts: int = 0
    first_k_dense_replace: int = 0
    intermediate_size_mlp: int = 0
    interleave_moe_layer_step: int = 0
    kv_lora_rank: int = 0
    qk_rope_head_dim: int = 0
    hidden_act: str = ""
    bytes_per_param: float = 0.0
    weight_bytes_per_param: float = 0.0
    tie_word_embeddings: bool = False
    max_position_embeddings: int = 0
    rope_type: str | None = None
    rope_factor: float = 0.0
    rope_original_max_positions: int = 0

    @property
    def kv_heads(self) -> int:
        """Key-value heads, where 0 stands for as many as attention heads."""
        return self.num_kv_heads or self.num_heads

    @property
    def weight_bytes(self) -> float:
        """Bytes per weight: quantised if known, else those of the compute dtype."""
        return self.weight_bytes_per_param if self.weight_bytes_per_param > 0 else self.bytes_per_param

    @classmethod
    def from_hf_config(cls, config: Mapping[str, Any], name: str, file: str | None = None) -> ModelSpec:
        """Read the figures from the object of a ``config.json``.

        Entries of a nested ``text_config`` overlay those of the top level one by one. A configuration without a
        dtype counts as 2 bytes a parameter, with a warning; a dtype we do not know reads as 0 bytes, which every
        user of it refuses.

        Parameters
        ----------
        config : mapping
            The object, as parsed from JSON.
        name : str
            Model name; tells the precision of the weights (``w4a16``, ``fp8``) where the configuration does not.
        file : str, optional
            Where it came from, for messages.

        Raises
        ------
        ScenarioError
            If a figure that cannot be negative is.
        """
        nested = config.get("text_config")
        if isinstance(nested, Mapping):
            config = {**config, **nested}

        heads = _integer(config, "num_attention_heads")
        moe_size = _integer(config, "moe_intermediate_size")
        experts = _num_experts(config)
        intermediate = _integer(config, "intermediate_size") or _integer(config, "ffn_hidden_size")
        shared_size = _shared_expert_size(config, moe_size or intermediate)
        # parity: KV capacity knows the dense width for shared experts under one of its two keys only
        capacity_shared_size = _shared_expert_size(config, moe_size or _integer(config, "intermediate_size"))
        rope = config.get("rope_scaling")
        scaled = isinstance(rope, Mapping)
        rope = rope if isinstance(rope, Mapping) else {}
        return cls(
            name=name,
            model_type=_string(config, "model_type"),
            num_layers=_integer(config, "num_hidden_layers"),
            hidden_size=_integer(config, "hidden_size"),
            num_heads=heads,
            num_kv_heads=next((n for key in _KV_HEAD_KEYS if (n := _integer(config, key))), heads),
            head_dim=_not_negative(config, "head_dim", file),
            intermediate_size=intermediate,
            vocab_size=_integer(config, "vocab_size"),
            num_experts=experts,
            experts_per_token=_integer(config, "num_experts_per_tok"),
            moe_intermediate_size=moe_size,
            shared_expert_intermediate_size=shared_size,
            capacity_shared_expert_size=None if capacity_shared_size == shared_size else capacity_shared_size,
            num_shared_experts=_integer(config, "n_shared_experts"),
            first_k_dense_replace=_not_negative(config, "first_k_dense_replace", file),
            intermediate_size_mlp=_integer(config, "intermediate_size_mlp"),
            interleave_moe_layer_step=_integer(config, "interleave_moe_layer_step"),
            kv_lora_rank=_not_negative(config, "kv_lora_rank", file),
            qk_rope_head_dim=_not_negative(config, "qk_rope_head_dim", file),
            hidden_act=_string(config, "hidden_act"),
            bytes_per_param=_dtype_bytes(config, file or name),
            weight_bytes_per_param=_quantised_bytes(config.get("quantization_config")) or _bytes_in_name(name),
            tie_word_embeddings=config.get("tie_word_embeddings") is True,
            max_position_embeddings=_integer(config, "max_position_embeddings"),
            rope_type=(_string(rope, "type") or _string(rope, "rope_type")) if scaled else None,
            rope_factor=float(as_number(rope.get("factor")) or 0.0),
            rope_original_max_positions=_integer(rope, "original_max_position_embeddings"),
        )


def load_model_config(path: str | Path, name: str) -> ModelSpec:
    """Read a model's figures from its ``config.json``.

    Parameters
    ----------
    path : str or Path
        The file, or a folder that has a ``config.json``.
    name : str
        Model name, as for `ModelSpec.from_hf_config`.

    Raises
    ------
    ScenarioError
        If the file is missing, is not strict JSON, or is no model configuration.
    """
    file = Path(path)
    if file.is_dir():
        file /= "config.json"
    config = parse_json_object(read_text(file), str(file))
    spec = ModelSpec.from_hf_config(config, name, str(file))
    if not spec.num_layers and not spec.hidden_size:
        raise ScenarioError.at(
            "", "is no model configuration: it has neither num_hidden_layers nor hidden_size", file=str(file)
        )
    return spec


def derive_max_model_len(spec: ModelSpec) -> int:
    """Longest prompt plus output that the architecture allows, tokens; 0 = not known.

    Rotary scaling multiplies the positions by its factor, except for kinds whose published positions are already the
    scaled ones, and for Gemma 3.
    """
    positions = spec.max_position_embeddings
    if positions <= 0:
        return 0
    if spec.rope_type is None or spec.rope_type in _ROPE_TYPES_OF_FULL_LENGTH or "gemma3" in spec.model_type:
        return positions
    if not spec.rope_factor > 1.0:
        return positions
    base = positions
    if spec.rope_type == "yarn" and spec.rope_original_max_positions > 0:
        base = spec.rope_original_max_positions
    scaled = float(base) * spec.rope_factor
    return int(scaled) if scaled < 2.0**63 else positions


def _integer(config: Mapping[str, Any], key: str) -> int:
    return int(as_number(config.get(key)) or 0)


def _not_negative(config: Mapping[str, Any], key: str, file: str | None) -> int:
    value = _integer(config, key)
    if value < 0:
        raise ScenarioError.at(key, "must be >= 0", value, file=file)
    return value


def _string(config: Mapping[str, Any], key: str) -> str:
    value = config.get(key)
    return value if isinstance(value, str) else ""


def _num_experts(config: Mapping[str, Any]) -> int:
    experts = (_integer(config, key) for key in _EXPERT_KEYS)
    return next((n for n in experts if n > 1), _integer(config, "num_local_experts"))


def _shared_expert_size(config: Mapping[str, Any], expert_size: int) -> int:
    stated = _integer(config, "shared_expert_intermediate_size")
    return stated if stated > 0 else max(_integer(config, "n_shared_experts"), 0) * expert_size


def _dtype_bytes(config: Mapping[str, Any], origin: str) -> float:
    stated = [config.get("torch_dtype"), config.get("dtype")]
    for dtype in stated:
        if isinstance(dtype, str):
            return DTYPE_BYTES.get(dtype, 0.0)
    if any(dtype is not None for dtype in stated):
        return 0.0
    _LOG.warning("%s: no torch_dtype or dtype; counting 2 bytes a parameter", origin)
    return _DEFAULT_DTYPE_BYTES


def _quantised_bytes(quantization: object) -> float:
    """Bytes per weight that a ``quantization_config`` states, 0 if it does not."""
    if not isinstance(quantization, Mapping):
        return 0.0
    stated = quantization.get("bits")
    if isinstance(stated, str):
        bits = int(stated) if re.fullmatch(r"[+-]?[0-9]+", stated) else 0
    else:
        bits = _integer(quantization, "bits")
    if bits > 0:
        return bits / 8
    method = _string(quantization, "quant_method").lower()
    if method == "fp8":
        return 1.0
    groups = quantization.get("config_groups")
    if method == "compressed-tensors" and isinstance(groups, Mapping):
        for key in sorted(groups):
            group = groups[key]
            weights = group.get("weights") if isinstance(group, Mapping) else None
            group_bits = as_number(weights.get("num_bits")) if isinstance(weights, Mapping) else None
            if group_bits is not None and group_bits > 0:
                return group_bits / 8
    return 0.0


def _bytes_in_name(name: str) -> float:
    found = _WEIGHT_BITS_IN_NAME.search(name)
    if found and int(found[1]) > 0:
        return int(found[1]) / 8
    return 1.0 if _FP8_IN_NAME.search(name) else 0.0
