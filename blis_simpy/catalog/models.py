"""Architecture figures of a model: input of latency models and KV capacity.

They come from the ``config.json`` that a model is published with. `ModelSpec` holds the figures that the reference
reads, as it reads them: a figure that is absent or not a number is 0, and an error where it is needed.
`ModelSpec.architecture` describes the contents of the checkpoint, read by `blis_simpy.catalog.checkpoint`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy.catalog.checkpoint.flat_figures import config_of_figures, figures_of
from blis_simpy.catalog.files import as_number, parse_json_object
from blis_simpy.catalog.weight_bytes import bytes_in_name, dtype_bytes, quantised_bytes
from blis_simpy.errors import ScenarioError
from blis_simpy.files.paths import is_directory, is_regular
from blis_simpy.files.text_files import read_text

if TYPE_CHECKING:
    from blis_simpy.catalog.checkpoint.architecture import Architecture

__all__ = ["KEY_OF_FIGURE", "ModelSpec", "derive_max_model_len", "load_model_config"]

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

QUANTISATION_FILE = "hf_quant_config.json"
"""Older ModelOpt releases describe the quantisation in this file beside the configuration."""

_LIMIT = 2.0**63
_KV_HEAD_KEYS = ("num_key_value_heads", "num_kv_heads", "multi_query_group_num")
_EXPERT_KEYS = ("num_local_experts", "num_routed_experts", "n_routed_experts", "num_experts", "moe_num_experts")
_ROPE_TYPES_OF_FULL_LENGTH = frozenset({"su", "longrope", "llama3"})


@attrs.frozen(kw_only=True, slots=False)
class ModelSpec:
    """Architecture figures of one model; 0 = not known or not applicable, unless stated otherwise.

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
    config : mapping or None
        The configuration that `architecture` is read from; None = from the figures above.
    config_file : str or None
        Where the configuration came from, for messages.
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
    config: Mapping[str, Any] | None = attrs.field(default=None, eq=False, repr=False)
    config_file: str | None = attrs.field(default=None, eq=False, repr=False)

    @functools.cached_property
    def architecture(self) -> Architecture:
        """What the checkpoint holds: layers by kind, caches, and weights by part.

        Raises
        ------
        ScenarioError
            If the configuration lacks a figure or states something that is not understood; names the key.
        """
        # Imported here, because the settings import this module for its types, and the reader consists of many modules.
        from blis_simpy.catalog.checkpoint.reader import read_architecture

        config = self.config
        if config is None:
            config = config_of_figures(attrs.asdict(self, recurse=False), KEY_OF_FIGURE)
        return read_architecture(config, self.name, self.config_file)

    @property
    def kv_heads(self) -> int:
        """Key-value heads, where 0 means as many as attention heads."""
        return self.num_kv_heads or self.num_heads

    @property
    def weight_bytes(self) -> float:
        """Bytes per weight: quantised if known, else those of the compute dtype."""
        return self.weight_bytes_per_param if self.weight_bytes_per_param > 0 else self.bytes_per_param

    def as_deployed(self, tp: int) -> ModelSpec:
        """Return the figures as `tp` GPUs have them.

        Figures that are not stated under the keys of this class come from `architecture`. Where there are more GPUs
        than KV heads, each keeps a copy of one, so there are as many as GPUs.

        Raises
        ------
        ScenarioError
            If the architecture cannot be read.
        """
        known = figures_of(self.architecture)
        figures = {name: value for name, value in known.items() if not getattr(self, name)}
        kv_heads = figures.get("num_kv_heads", self.kv_heads)
        if 0 < kv_heads < tp and tp % kv_heads == 0:
            figures["num_kv_heads"] = tp
        deployed = attrs.evolve(self, **figures)
        vars(deployed)["architecture"] = self.architecture  # read once, warned once
        return deployed

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
            Model name; determines the precision of the weights (``w4a16``, ``fp8``) where the configuration does not.
        file : str, optional
            Where it came from, for messages.

        Raises
        ------
        ScenarioError
            If a figure that cannot be negative is, or one is beyond 64 bits.
        """
        document = config
        nested = config.get("text_config")
        if isinstance(nested, Mapping):
            config = {**config, **nested}
        rope = config.get("rope_scaling")  # parity: not rope_parameters, which `architecture` reads too
        scaled = isinstance(rope, Mapping)
        rope = rope if isinstance(rope, Mapping) else {}
        _check_numbers(config, rope, file)

        heads = _integer(config, "num_attention_heads")
        moe_size = _integer(config, "moe_intermediate_size")
        experts = _num_experts(config)
        intermediate = _integer(config, "intermediate_size") or _integer(config, "ffn_hidden_size")
        shared_size = _shared_expert_size(config, moe_size or intermediate)
        # parity: KV capacity knows the dense width for shared experts under one of its two keys only
        capacity_shared_size = _shared_expert_size(config, moe_size or _integer(config, "intermediate_size"))
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
            bytes_per_param=dtype_bytes(config, file or name),
            weight_bytes_per_param=quantised_bytes(config.get("quantization_config")) or bytes_in_name(name),
            tie_word_embeddings=config.get("tie_word_embeddings") is True,
            max_position_embeddings=_integer(config, "max_position_embeddings"),
            rope_type=(_string(rope, "type") or _string(rope, "rope_type")) if scaled else None,
            rope_factor=float(as_number(rope.get("factor")) or 0.0),
            rope_original_max_positions=_integer(rope, "original_max_position_embeddings"),
            config=document,
            config_file=file,
        )


def load_model_config(path: str | Path, name: str) -> ModelSpec:
    """Read a model's figures from its ``config.json``, and from a ``hf_quant_config.json`` beside it.

    Parameters
    ----------
    path : str or Path
        The file, or a folder that has a ``config.json``.
    name : str
        Model name, as for `ModelSpec.from_hf_config`.

    Raises
    ------
    ScenarioError
        If the file is missing, is not JSON, or is no model configuration.
    """
    file = Path(path)
    if is_directory(file):
        file /= "config.json"
    config = parse_json_object(read_text(file), str(file), strict=False)
    beside = file.with_name(QUANTISATION_FILE)
    if not config.get("quantization_config") and is_regular(beside):
        config["quantization_config"] = parse_json_object(read_text(beside), str(beside))
    spec = ModelSpec.from_hf_config(config, name, str(file))
    from blis_simpy.catalog.checkpoint.reader import describes_model

    if not describes_model(config):
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


_NUMBER_KEYS = (
    *KEY_OF_FIGURE.values(),
    *_KV_HEAD_KEYS,
    *_EXPERT_KEYS,
    "head_dim",
    "ffn_hidden_size",
    "n_shared_experts",
    "first_k_dense_replace",
    "intermediate_size_mlp",
    "interleave_moe_layer_step",
    "kv_lora_rank",
    "qk_rope_head_dim",
    "max_position_embeddings",
)


def _check_numbers(config: Mapping[str, Any], rope: Mapping[str, Any], file: str | None) -> None:
    keys = [(config, key, key) for key in _NUMBER_KEYS]
    keys += [(rope, key, f"rope_scaling.{key}") for key in ("factor", "original_max_position_embeddings")]
    for values, key, path in keys:
        number = as_number(values.get(key))
        if number is not None and not abs(number) < _LIMIT:
            raise ScenarioError.at(path, "must be within 64 bits", number, file=file)


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
