"""Attention of a layer: ordinary, latent (MLA), or to compressed entries; with its cache and its matrices.

Biases are left out: they are less than a thousandth of the weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from blis_simpy.catalog.checkpoint.architecture import Attention
from blis_simpy.catalog.checkpoint.sizes import Matrix

if TYPE_CHECKING:
    from blis_simpy.catalog.checkpoint.config import ConfigView
    from blis_simpy.catalog.checkpoint.layers import LayerPlan
    from blis_simpy.catalog.checkpoint.sizes import Sizes

__all__ = ["read_attention"]

_INDEX_SCALE_BYTES = 4.0
"""FP32 scale beside the FP8 keys that an indexer caches of each token."""
_INDEXED_RATIO = 4
_RATIO_OF_LAYER_TYPE = {"sliding_attention": 0, "compressed_sparse_attention": 4, "heavily_compressed_attention": 128}


def read_attention(view: ConfigView, sizes: Sizes, plan: LayerPlan) -> tuple[Attention, list[Matrix]]:
    """Read the attention of a layer.

    Raises
    ------
    ScenarioError
        If the heads or their width are missing or contradict each other.
    """
    if not sizes.heads:
        raise view.missing("num_attention_heads", code="bad_heads")
    if view.count("o_lora_rank"):
        return _compressed_attention(view, sizes, plan)
    if view.count("kv_lora_rank"):
        return _latent_attention(view, sizes, plan)
    return _plain_attention(view, sizes, plan)


def _plain_attention(view: ConfigView, sizes: Sizes, plan: LayerPlan) -> tuple[Attention, list[Matrix]]:
    hidden, sliding = sizes.hidden, plan.mixer == "window"
    heads = view.count("swa_num_attention_heads", default=sizes.heads) if sliding else sizes.heads
    kv_heads = plan.kv_heads or _kv_heads(view, heads, sliding)
    own_width = view.count("swa_head_dim" if sliding else "global_head_dim")
    head_dim = own_width or _head_dim(view, hidden, sizes.heads)
    value_dim = (view.count("swa_v_head_dim") if sliding else 0) or view.count("v_head_dim", default=head_dim)
    gated = view.flag("attn_output_gate", "gated_queries")
    shared = _uses_cache_of_another(view)
    matrices = [Matrix("attention", "self_attn.q_proj", hidden * heads * head_dim * (2 if gated else 1))]
    if not shared:
        matrices.append(Matrix("attention", "self_attn.k_proj", hidden * kv_heads * head_dim))
        if sliding or not view.flag("attention_k_eq_v"):
            matrices.append(Matrix("attention", "self_attn.v_proj", hidden * kv_heads * value_dim))
    matrices.append(Matrix("attention", "self_attn.o_proj", heads * value_dim * hidden))
    attention = Attention(
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=head_dim,
        value_dim=value_dim,
        gated=gated,
        cache_width=0 if shared else kv_heads * (head_dim + value_dim),
        **_window(view, plan),
    )
    return _with_indexer(view, sizes, plan, attention, matrices)


def _window(view: ConfigView, plan: LayerPlan) -> dict[str, int]:
    if plan.mixer != "window":
        return {}
    window = view.count(
        "sliding_window", "sliding_window_size", "window_size", "attention_window_size", "attention_chunk_size"
    )
    if not window:
        raise view.error("sliding_window", "must be given for layers with sliding-window attention")
    return {"window": window, "tokens_per_entry": 0}


def _kv_heads(view: ConfigView, heads: int, sliding: bool) -> int:
    if view.flag("multi_query") and not view.flag("new_decoder_architecture"):
        return 1
    if view.has("new_decoder_architecture") and not view.flag("new_decoder_architecture"):
        return heads
    if view.get("multi_query_attention") is False or view.get("grouped_query_attention") is False:
        return heads
    if view.text("attn_config.attn_type") == "multiquery_attention":
        return 1
    own = view.count("swa_num_key_value_heads" if sliding else "num_global_key_value_heads")
    return own or view.count(
        "num_key_value_heads",
        "num_kv_heads",
        "n_head_kv",
        "multi_query_group_num",
        "num_attention_groups",
        "num_query_groups",
        "attn_config.kv_n_heads",
        default=heads,
    )


def _head_dim(view: ConfigView, hidden: int, heads: int) -> int:
    stated = view.count("head_dim", "attention_head_dim", "kv_channels")
    if not stated and hidden % heads:
        raise view.error(
            "head_dim", f"must be given where {heads} heads do not divide the hidden size", hidden, code="bad_head_dim"
        )
    return stated or hidden // heads


def _uses_cache_of_another(view: ConfigView) -> bool:
    """Return whether a layer attends to the keys and values of an earlier one."""
    if shared := view.count("num_kv_shared_layers"):
        return view.layer_index >= view.count("num_hidden_layers") - shared
    return view.flag("use_cla") and view.layer_index % view.count("cla_share_factor", default=1) != 0


def _latent_attention(view: ConfigView, sizes: Sizes, plan: LayerPlan) -> tuple[Attention, list[Matrix]]:
    hidden, heads = sizes.hidden, sizes.heads
    rank, rope = view.count("kv_lora_rank"), view.count("qk_rope_head_dim")
    nope, value_dim = view.count("qk_nope_head_dim"), view.count("v_head_dim")
    if not nope or not value_dim:
        raise view.error("qk_nope_head_dim", "and v_head_dim must be given with kv_lora_rank")
    query_rank = view.count("q_lora_rank")
    queries = heads * (nope + rope)
    if query_rank:
        matrices = [
            Matrix("attention", "self_attn.q_a_proj", hidden * query_rank),
            Matrix("attention", "self_attn.q_b_proj", query_rank * queries),
        ]
    else:
        matrices = [Matrix("attention", "self_attn.q_proj", hidden * queries)]
    matrices += [
        Matrix("attention", "self_attn.kv_a_proj_with_mqa", hidden * (rank + rope)),
        Matrix("attention", "self_attn.kv_b_proj", rank * heads * (nope + value_dim)),
        Matrix("attention", "self_attn.o_proj", heads * value_dim * hidden),
    ]
    gated = view.flag("mla_use_output_gate")
    if gated:
        matrices.append(Matrix("attention", "self_attn.g_proj", hidden * heads * value_dim))
    attention = Attention(
        num_heads=heads,
        num_kv_heads=1,
        head_dim=nope + rope,
        value_dim=value_dim,
        latent_rank=rank,
        rope_dim=rope,
        query_rank=query_rank,
        gated=gated,
        cache_width=rank + rope,
        **_window(view, plan),
    )
    return _with_indexer(view, sizes, plan, attention, matrices)


def _with_indexer(
    view: ConfigView, sizes: Sizes, plan: LayerPlan, attention: Attention, matrices: list[Matrix]
) -> tuple[Attention, list[Matrix]]:
    """Add the indexer of sparse attention, where a layer has one of its own."""
    heads, width = view.count("index_n_heads"), view.count("index_head_dim")
    queries = attention.query_rank or sizes.hidden
    sparse = view.items("sparse_attention_config.sparse_attention_freq")
    if sparse is not None:
        heads = view.count("sparse_attention_config.sparse_num_index_heads")
        width = view.count("sparse_attention_config.sparse_index_dim")
        if view.layer_index >= len(sparse) or not sparse[view.layer_index]:
            heads = 0
    kinds = view.items("indexer_types")
    if not heads or not width or (kinds and view.layer_index < len(kinds) and kinds[view.layer_index] == "shared"):
        return attention, matrices
    matrices += [
        Matrix("attention", "self_attn.indexer.wq_b", queries * heads * width),
        Matrix("attention", "self_attn.indexer.wk", sizes.hidden * width),
        Matrix("attention", "self_attn.indexer.weights_proj", sizes.hidden * heads),
    ]
    index_bytes = width + _INDEX_SCALE_BYTES
    return attrs.evolve(attention, index_heads=heads, index_dim=width, index_bytes=index_bytes), matrices


def _compressed_attention(view: ConfigView, sizes: Sizes, plan: LayerPlan) -> tuple[Attention, list[Matrix]]:
    """Read attention to a window and to compressed entries of older tokens (DeepSeek V4).

    Keys and values are the same single head. An entry stands for 4 or 128 tokens; with 4, an indexer chooses entries.
    """
    hidden, heads, width = sizes.hidden, sizes.heads, _head_dim(view, sizes.hidden, sizes.heads)
    query_rank, rank = view.count("q_lora_rank"), view.count("o_lora_rank")
    groups = view.count("o_groups", default=1)
    matrices = [
        Matrix("attention", "self_attn.q_a_proj", hidden * query_rank),
        Matrix("attention", "self_attn.q_b_proj", query_rank * heads * width),
        Matrix("attention", "self_attn.kv_proj", hidden * width),
        Matrix("attention", "self_attn.o_a_proj", heads * width * rank),
        Matrix("attention", "self_attn.o_b_proj", groups * rank * hidden),
    ]
    ratio = _tokens_per_entry(view)
    index_heads = index_dim = 0
    if ratio == _INDEXED_RATIO:
        index_heads, index_dim = view.count("index_n_heads"), view.count("index_head_dim")
        matrices += [
            Matrix("attention", "self_attn.compressor", 4 * hidden * width),
            Matrix("attention", "self_attn.indexer.compressor", 4 * hidden * index_dim),
            Matrix("attention", "self_attn.indexer.wq_b", query_rank * index_heads * index_dim),
            Matrix("attention", "self_attn.indexer.weights_proj", hidden * index_heads),
        ]
    elif ratio:
        matrices.append(Matrix("attention", "self_attn.compressor", 2 * hidden * width))
    attention = Attention(
        num_heads=heads,
        num_kv_heads=1,
        head_dim=width,
        value_dim=width,
        rope_dim=view.count("qk_rope_head_dim"),
        query_rank=query_rank,
        output_rank=rank,
        window=view.count("sliding_window", default=1),
        tokens_per_entry=ratio,
        cache_width=width,
        index_heads=index_heads,
        index_dim=index_dim,
        index_bytes=(index_dim + _INDEX_SCALE_BYTES) / ratio if index_dim else 0.0,
    )
    return attention, matrices


def _tokens_per_entry(view: ConfigView) -> int:
    index = view.layer_index
    ratios = view.whole_numbers("compress_ratios")
    if ratios is not None and index < len(ratios):
        return ratios[index]
    names = view.items("layer_types")
    if names is not None and index < len(names):
        return _RATIO_OF_LAYER_TYPE.get(str(names[index]), 0)
    return 128 if index < 2 or index % 2 == 0 else _INDEXED_RATIO  # default of the class
