"""KV capacity by the rules of vLLM: contents of a checkpoint, and the share of each GPU.

Weights count with the bits of each part, KV heads are replicated where there are more GPUs than heads, the cache has
the number type given by the checkpoint, and it grows only in the layers that keep the whole context.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blis_simpy.catalog.kv_capacity import (
    ACTIVATION_GIB_DENSE,
    ACTIVATION_GIB_MOE,
    GIB,
    blocks_in_free_memory,
    check_deployment,
    check_gpu_memory,
)
from blis_simpy.errors import ScenarioError

if TYPE_CHECKING:
    from blis_simpy.catalog.checkpoint.architecture import Architecture, Attention

__all__ = ["growing_bytes_per_token", "kv_blocks", "sequence_bytes"]


def kv_blocks(
    architecture: Architecture,
    gpu_memory_gib: float,
    tp: int,
    gpu_memory_utilization: float = 0.9,
    block_size: int = 16,
    dp: int = 1,
    sequence_tokens: int = 0,
) -> int:
    """Count the KV blocks that one replica has room for.

    A block holds `block_size` tokens of all layers whose cache grows with the context. What a sequence keeps beside
    that, sliding windows and the states of recurrent layers, is spread over its blocks.

    Parameters
    ----------
    architecture : Architecture
        What the checkpoint holds.
    gpu_memory_gib : float, GiB
        Memory of one GPU.
    tp : int, GPUs
        Tensor-parallel degree.
    gpu_memory_utilization : float, fraction
        Share of the memory that the engine may use, above 0 and at most 1.
    block_size : int, tokens
        Tokens a block holds.
    dp : int
        Data-parallel degree of a mixture of experts: its experts are divided among all ranks, and its replica holds
        the blocks of all of them.
    sequence_tokens : int, tokens
        Length of the sequences that share the cache; as many of them fit as in vLLM. 0 = so long that windows and
        states do not count.

    Raises
    ------
    ScenarioError
        If a figure is unusable, `tp` divides neither heads nor KV heads, or the model does not fit, which says how many
        GPUs it would take. `code` is stable.

    Notes
    -----
    Each GPU holds ``1 / tp`` of the weights. Overheads for activations and CUDA graphs are those of
    `blis_simpy.catalog.kv_capacity`.
    """
    check_deployment(tp, gpu_memory_utilization, block_size, dp)
    check_gpu_memory(gpu_memory_gib)
    _check_heads(architecture, tp)
    growing = growing_bytes_per_token(architecture, tp)
    per_token = growing
    if sequence_tokens:
        per_token += sequence_bytes(architecture, tp, sequence_tokens) / sequence_tokens
    elif not growing:
        raise ScenarioError.at(
            "engine.max_model_len",
            "must be given: the memory of a sequence does not depend on its length",
            0,
            code="zero_block_bytes",
        )
    moe = architecture.has_experts
    block_bytes = max(int(per_token * block_size), 1)
    budget_gib = gpu_memory_gib * gpu_memory_utilization * tp
    weights = architecture.weights
    weight_bytes = architecture.weight_bytes - weights["experts"].bytes * (1.0 - 1.0 / dp)
    held_gib = int(weight_bytes) / GIB + (ACTIVATION_GIB_MOE if moe else ACTIVATION_GIB_DENSE)
    blocks = blocks_in_free_memory(architecture.name, held_gib, budget_gib, block_bytes, tp)
    return blocks * dp if moe else blocks


def growing_bytes_per_token(architecture: Architecture, tp: int) -> float:
    """Return the bytes by which the cache of each GPU grows with every token of a sequence.

    Of a model that has windows only, those within the window count: vLLM keeps one pool of blocks for them.
    """
    total = 0.0
    for group in architecture.layers:
        if attention := group.attention:
            numbers = attention.growing_numbers * _share(attention, tp)
            total += group.num_layers * (numbers * architecture.kv_bytes + attention.index_bytes)
    return total or _window_bytes_per_token(architecture, tp)


def sequence_bytes(architecture: Architecture, tp: int, tokens: int) -> float:
    """Return the bytes that a sequence of `tokens` keeps on each GPU beside its growing cache: windows and states."""
    total = 0.0
    growing = any(group.attention and group.attention.growing_numbers for group in architecture.layers)
    for group in architecture.layers:
        if (attention := group.attention) and growing:
            kept = min(attention.window, tokens) * attention.window_numbers * _share(attention, tp)
            total += group.num_layers * kept * architecture.kv_bytes
        if group.recurrence:
            total += group.num_layers * group.recurrence.state_bytes / tp
    return total


def _window_bytes_per_token(architecture: Architecture, tp: int) -> float:
    total = 0.0
    for group in architecture.layers:
        if attention := group.attention:
            numbers = attention.window_numbers * _share(attention, tp)
            total += group.num_layers * numbers * architecture.kv_bytes
    return total


def _share(attention: Attention, tp: int) -> float:
    """Return the share of a cache entry that each GPU keeps: whole heads, at least one, and all of a latent entry."""
    heads = attention.num_kv_heads
    return max(heads // tp, 1) / heads


def _check_heads(architecture: Architecture, tp: int) -> None:
    """Require that `tp` GPUs share the heads evenly; where there are more of them than KV heads, copies fit evenly."""
    for group in architecture.layers:
        attention = group.attention
        if attention is None:
            continue
        heads, kv_heads = attention.num_heads, attention.num_kv_heads
        name = architecture.name or "the model"
        if heads % tp:
            rule = f"must divide the {heads} attention heads of {name}"
            raise ScenarioError.at("tp", rule, tp, code="heads_not_divisible_by_tp")
        if kv_heads % tp and tp % kv_heads:
            rule = f"must divide the {kv_heads} KV heads of {name}, or be a multiple of them"
            raise ScenarioError.at("tp", rule, tp, code="kv_heads_not_divisible_by_tp")
