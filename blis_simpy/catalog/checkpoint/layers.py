"""Which layer of a checkpoint has which blocks.

Configurations state them in many ways: a list with a name per layer, a pattern of letters, or a period. The first one
in a configuration counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy.catalog.checkpoint.config import LAYER_KEYS
from blis_simpy.catalog.files import as_number

if TYPE_CHECKING:
    from collections.abc import Callable

    from blis_simpy.catalog.checkpoint.config import ConfigView

__all__ = ["MAX_LAYERS", "LayerPlan", "layer_plans", "num_experts"]

MAX_LAYERS = 10_000
_PER_LAYER_KEYS = ("layers_block_type", "layer_types", "hybrid_override_pattern", "block_configs")

EXPERT_COUNT_KEYS = (
    "num_local_experts",
    "n_routed_experts",
    "num_routed_experts",
    "num_experts",
    "moe_num_experts",
    "ffn_config.moe_num_experts",
)

_MIXER_OF_NAME = {
    "full_attention": "full",
    "attention": "full",
    "global": "full",
    "full": "full",
    "global_attention": "full",
    "deepseek_sparse_attention": "full",
    "indexed_attention": "full",
    "minimax_m3_sparse": "full",
    "sliding_attention": "window",
    "sliding_window_attention": "window",
    "sliding": "window",
    "local": "window",
    "local_attention": "window",
    "chunked_attention": "window",
    "linear_attention": "recurrent",
    "linear": "recurrent",
    "kda": "recurrent",
    "mamba": "recurrent",
    "mamba2": "recurrent",
    "recurrent": "recurrent",
    "conv": "recurrent",
    "hybrid": "parallel",
    "compressed_sparse_attention": "full",
    "heavily_compressed_attention": "full",
}
_SINGLE_BLOCKS = {
    "M": ("recurrent", "none"),
    "*": ("full", "none"),
    "E": ("none", "moe"),
    "-": ("none", "dense"),
    "mamba": ("recurrent", "none"),
    "linear_attention": ("recurrent", "none"),
    "attention": ("full", "none"),
    "full_attention": ("full", "none"),
    "moe": ("none", "moe"),
    "mlp": ("none", "dense"),
}
"""Blocks of layers that have a single one, by letter and by name."""
_MLP_OF_NAME = {"dense": "dense", "sparse": "moe", "moe": "moe", "hash_moe": "moe"}


@attrs.frozen
class LayerPlan:
    """Blocks of one layer.

    Attributes
    ----------
    mixer : str
        ``full`` or ``window`` attention, ``recurrent``, ``parallel`` (full attention beside a recurrence), ``none``.
    mlp : str
        ``dense``, ``moe``, ``both`` side by side, or ``none``.
    kv_heads, mlp_width : int
        Heads of the cache and width of the dense MLP where they differ between layers; 0 = those of the model.
    """

    mixer: str
    mlp: str
    kv_heads: int = 0
    mlp_width: int = 0


def num_experts(view: ConfigView) -> int:
    """Return the routed experts of a mixture, 0 if the model is dense."""
    return view.count(*EXPERT_COUNT_KEYS, above=1)


def layer_plans(view: ConfigView) -> tuple[LayerPlan, ...]:
    """Return the blocks of each layer.

    Raises
    ------
    ScenarioError
        If the number of layers or the kind of one is not known; names the key.
    """
    layers = _num_layers(view)
    if (blocks := view.items("block_configs")) is not None:
        return tuple(_searched_layer(view, index, blocks) for index in range(layers))
    if view.flag("searched_layers"):
        raise view.error("block_configs", "must be given: the layers of this class differ")
    if (single := _single_blocks(view, layers)) is not None:
        return tuple(LayerPlan(mixer, mlp) for mixer, mlp in single)
    mixers, mlps = _mixers(view, layers), _mlps(view, layers)
    widths = view.whole_numbers("intermediate_size")
    widths = [0] * layers if widths is None else _at_least(view, "intermediate_size", widths, layers)
    return tuple(LayerPlan(mixers[index], mlps[index], mlp_width=widths[index]) for index in range(layers))


def _num_layers(view: ConfigView) -> int:
    layers = view.count(*LAYER_KEYS, most=MAX_LAYERS)
    if layers:
        return layers
    for key in _PER_LAYER_KEYS:
        value = view.get(key)
        if isinstance(value, (list, str)) and value:
            if len(value) > MAX_LAYERS:
                raise view.error(key, f"must have at most {MAX_LAYERS} layers", len(value))
            return len(value)
    raise view.missing("num_hidden_layers", code="bad_layers")


def _searched_layer(view: ConfigView, index: int, blocks: list[Any]) -> LayerPlan:
    """Return a layer of a model whose layers came out of an architecture search (Nemotron-NAS)."""
    key = f"block_configs[{index}]"
    block = blocks[index] if index < len(blocks) else None
    attention, ffn = (block.get(part) if isinstance(block, Mapping) else None for part in ("attention", "ffn"))
    if not isinstance(attention, Mapping) or not isinstance(ffn, Mapping):
        raise view.error(key, "must have attention and ffn", block)
    for part, stated in (("attention", attention), ("ffn", ffn)):
        if stated.get("replace_with_linear"):
            raise view.error(f"{key}.{part}.replace_with_linear", "is not supported", True)
    mixer, mlp, kv_heads, width = "none", "none", 0, 0
    if not attention.get("no_op"):
        heads, sharing = view.count("num_attention_heads"), as_number(attention.get("n_heads_in_group"))
        if sharing is None or not 0 < sharing <= heads:
            raise view.error(f"{key}.attention.n_heads_in_group", "must be from 1 to the heads", sharing)
        mixer, kv_heads = "full", heads // int(sharing)
    if not ffn.get("no_op"):
        factor = as_number(ffn.get("ffn_mult"))
        if factor is None or not 0 < factor < MAX_LAYERS:
            raise view.error(f"{key}.ffn.ffn_mult", "must be > 0", factor)
        mlp, width = "dense", _rounded_up(int(2 * factor * view.count("hidden_size") / 3), 256)
    return LayerPlan(mixer, mlp, kv_heads, width)


def _rounded_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def _single_blocks(view: ConfigView, layers: int) -> list[tuple[str, str]] | None:
    pattern = view.get("hybrid_override_pattern")
    key = "hybrid_override_pattern"
    if not isinstance(pattern, str):
        key = "layers_block_type"
        pattern = view.items(key)
        if pattern is None or not {"moe", "mlp"} & {name for name in pattern if isinstance(name, str)}:
            return None
    _check_length(view, key, pattern, layers)
    return [_looked_up(view, f"{key}[{index}]", name, _SINGLE_BLOCKS) for index, name in enumerate(pattern)]


def _check_length(view: ConfigView, key: str, values: Any, layers: int) -> None:
    if len(values) != layers:
        raise view.error(key, f"must have an entry for each of the {layers} layers", len(values))


def _looked_up(view: ConfigView, key: str, name: object, known: dict[str, Any]) -> Any:
    if not isinstance(name, str) or name not in known:
        raise view.error(key, f"must be one of {', '.join(sorted(known))}", name, code="unknown_layer_type")
    return known[name]


def _mixers(view: ConfigView, layers: int) -> list[str]:
    for key in ("layers_block_type", "layer_types"):
        names = view.items(key)
        if names:
            return [
                _looked_up(view, f"{key}[{index}]", name, _MIXER_OF_NAME)
                for index, name in enumerate(_at_least(view, key, names, layers))
            ]
    for key, mixers in (
        ("hybrid_layer_pattern", ("full", "window")),
        ("attn_type_list", ("recurrent", "full")),
        ("swin_pattern", ("full", "window")),
    ):
        if (values := view.whole_numbers(key)) is not None:
            return [mixers[min(value, 1)] for value in _at_least(view, key, values, layers)]
    if (blocks := view.items("block_types")) is not None and blocks:
        names = [_looked_up(view, f"block_types[{index}]", name, _MIXER_OF_NAME) for index, name in enumerate(blocks)]
        return [{"full": "window"}.get(names[i % len(names)], names[i % len(names)]) for i in range(layers)]
    rule = _recurrent_rule(view, layers) or _window_rule(view, layers)
    return [rule(index) for index in range(layers)]


def _at_least(view: ConfigView, key: str, values: list[Any], layers: int) -> list[Any]:
    """Return the entries of the layers; further ones are those of layers for speculative decoding."""
    if len(values) < layers:
        _check_length(view, key, values, layers)
    return values[:layers]


def _recurrent_rule(view: ConfigView, layers: int) -> Callable[[int], str] | None:
    """Return the mixer of each layer of a model that mixes recurrence and attention, None if it does not."""
    full: set[int] | None = None
    if (listed := view.whole_numbers("linear_attn_config.full_attn_layers")) is not None:
        full = {layer - 1 for layer in listed}
    elif (listed := view.whole_numbers("attn_layer_indices")) is not None:
        full = set(listed)
    elif period := view.count("attn_layer_period"):
        full = set(range(view.count("attn_layer_offset"), layers, period))
    elif view.has("linear_num_value_heads") and (interval := view.count("full_attention_interval")):
        full = set(range(interval - 1, layers, interval))
    elif size := view.count("layer_group_size"):
        full = {layer for layer in range(layers) if (layer + 1) % size == 0 or layer >= layers // size * size}
    if full is not None:
        return lambda index: "full" if index in full else "recurrent"
    if view.flag("parallel_recurrence"):
        return lambda index: "parallel"
    if view.has("state_size", "mamba_d_state"):  # no layer is named as attention
        return lambda index: "recurrent"
    return None


def _window_rule(view: ConfigView, layers: int) -> Callable[[int], str]:
    """Return the mixer of each layer of a model of full and sliding-window attention."""
    if not view.count("sliding_window", "window_size", "sliding_window_size"):
        return lambda index: "full"
    if (kinds := view.items("attention_types")) is not None:
        names = _expanded(kinds)
        if len(names) == layers:
            return lambda index: _looked_up(view, f"attention_types[{index}]", names[index], _MIXER_OF_NAME)
    for key in ("sliding_window_pattern", "_sliding_window_pattern", "global_attn_every_n_layers"):
        pattern = view.get(key)
        if isinstance(pattern, str) and pattern:
            if not re.fullmatch("[LGlg]+", pattern):
                raise view.error(key, "must be a number or letters L (local) and G (global)", pattern)
            return lambda index: "full" if pattern[index % len(pattern)] in "Gg" else "window"
        if period := view.count(key):
            return lambda index: "full" if (index + 1) % period == 0 else "window"
    if not view.flag("use_sliding_window", default=True):
        return lambda index: "full"
    first = view.count("max_window_layers") if view.flag("use_sliding_window") else 0
    return lambda index: "window" if index >= first else "full"


def _expanded(kinds: list[Any]) -> list[Any]:
    """Spell out ``[[["global", "local"], 12]]`` as a list of names."""
    names: list[Any] = []
    for kind in kinds:
        if not (isinstance(kind, list) and len(kind) == 2 and isinstance(kind[0], list)):
            return []
        count = kind[1]
        if not isinstance(count, int) or not 0 <= count <= MAX_LAYERS:
            return []
        names += kind[0] * count
        if len(names) > MAX_LAYERS:
            return []
    return names


def _mlps(view: ConfigView, layers: int) -> list[str]:
    """Return what follows the mixer of each layer."""
    if view.has("state_size") and not view.has("num_attention_heads"):
        return ["none"] * layers
    if not num_experts(view):
        return ["dense"] * layers
    sparse = "both" if view.flag("enable_moe_block") else "moe"
    if names := view.items("mlp_layer_types"):
        kinds = [
            _looked_up(view, f"mlp_layer_types[{index}]", name, _MLP_OF_NAME)
            for index, name in enumerate(_at_least(view, "mlp_layer_types", names, layers))
        ]
        return [sparse if kind == "moe" else kind for kind in kinds]
    chosen = _sparse_layers(view, layers)
    return [sparse if index in chosen else "dense" for index in range(layers)]


def _sparse_layers(view: ConfigView, layers: int) -> set[int]:
    """Return the layers that are mixtures of experts."""
    for key in ("moe_layers", "moe_layers_enum"):
        listed = view.get(key)
        if isinstance(listed, str) and re.fullmatch(r"\d{1,4}(,\d{1,4})*", listed):
            return {int(layer) for layer in listed.split(",")}
        if isinstance(listed, list) and listed:
            return set(view.whole_numbers(key) or ())
    if isinstance(view.get("moe_layer_freq"), list):
        frequencies = _at_least(view, "moe_layer_freq", view.whole_numbers("moe_layer_freq") or [], layers)
        return {index for index, frequency in enumerate(frequencies) if frequency}
    first = view.count("first_k_dense_replace", "num_dense_layers", "moe_layer_start_index", "first_dense_layers")
    last = layers
    if isinstance(end := view.get("moe_layer_end_index"), int) and end >= 0:
        last = min(end + 1, layers)
    if period := view.count("expert_layer_period"):
        return set(range(view.count("expert_layer_offset"), layers, period))
    step = view.count("decoder_sparse_step", "interleave_moe_layer_step", "moe_layer_interval", default=1)
    dense = set(view.whole_numbers("mlp_only_layers") or ())
    frequency = view.count("moe_layer_freq", default=1)
    return {
        index
        for index in range(first, last)
        if (index + 1) % step == 0 and index % frequency == 0 and index not in dense
    }
