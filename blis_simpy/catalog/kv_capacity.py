"""KV capacity by the rules of the reference: the blocks that weights and activations leave room for.

`blis_simpy.catalog.kv_blocks` counts them as vLLM does.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from blis_simpy.errors import ScenarioError

if TYPE_CHECKING:
    from blis_simpy.catalog.models import ModelSpec

__all__ = ["blocks_in_free_memory", "check_deployment", "check_gpu_memory", "reference_kv_blocks"]

GIB = 2**30
ACTIVATION_GIB_DENSE = 5.5
ACTIVATION_GIB_MOE = 8.0
"""Held back for activations, all GPUs together."""
NON_TORCH_GIB_ONE_GPU = 0.15
NON_TORCH_GIB_PER_GPU = 0.6
"""Held back per GPU for CUDA graphs and communication buffers, alone and with tensor parallelism."""
ACTIVATIONS = frozenset({"silu", "swiglu", "geglu", "situ", ""})
"""Activations whose MLP has three matrices, as `_parameters` counts them."""


def reference_kv_blocks(
    model: ModelSpec,
    gpu_memory_gib: float,
    tp: int,
    gpu_memory_utilization: float = 0.9,
    block_size: int = 16,
    dp: int = 1,
) -> int:
    """Count the KV blocks that one replica has room for.

    Parameters
    ----------
    model : ModelSpec
        The architecture.
    gpu_memory_gib : float, GiB
        Memory of one GPU.
    tp : int, GPUs
        Tensor-parallel degree.
    gpu_memory_utilization : float, fraction
        Share of the memory that the engine may use, above 0 and at most 1.
    block_size : int, tokens
        Tokens a block holds.
    dp : int
        Data-parallel degree of a mixture of experts, whose replica holds the blocks of all its ranks.

    Raises
    ------
    ScenarioError
        If a figure is unusable or the model does not fit; states the required number of GPUs. `code` is stable.

    Notes
    -----
    Each GPU holds ``1 / tp`` of the weights and of every block, so the free memory of all GPUs is divided by `tp`
    before it is cut into blocks. Overheads are those of the reference, fitted to vLLM. All layers count alike, as full
    attention and with the same MLP; quantised models count the same bits for every weight.
    """
    _check(model, gpu_memory_gib, tp, gpu_memory_utilization, block_size, dp)
    block_bytes = int(_kv_bytes_per_token(model, tp) * block_size)
    if block_bytes <= 0:
        raise _error("zero_block_bytes", "a KV block", "must take at least one byte per GPU", block_bytes, model)

    budget_gib = gpu_memory_gib * gpu_memory_utilization * tp
    weights_gib = int(float(_parameters(model)) * model.weight_bytes) / GIB
    moe = model.num_experts > 1
    held_gib = weights_gib + (ACTIVATION_GIB_MOE if moe else ACTIVATION_GIB_DENSE)
    blocks = blocks_in_free_memory(model.name, held_gib, budget_gib, block_bytes, tp)
    return blocks * dp if moe else blocks


def blocks_in_free_memory(name: str, held_gib: float, budget_gib: float, block_bytes: int, tp: int) -> int:
    """Cut the memory that is left free into blocks.

    Parameters
    ----------
    name : str
        Name of the model, for messages.
    held_gib : float, GiB
        Weights and activations, all GPUs together.
    budget_gib : float, GiB
        Memory that the engine may use, all GPUs together.
    block_bytes : int, bytes
        Size of a block on each GPU.
    tp : int, GPUs
        Tensor-parallel degree.

    Raises
    ------
    ScenarioError
        If not even one block fits; states the required number of GPUs.
    """
    overhead_gib = held_gib + (NON_TORCH_GIB_ONE_GPU if tp == 1 else NON_TORCH_GIB_PER_GPU) * tp
    if overhead_gib >= budget_gib:
        raise _does_not_fit("insufficient_memory", name, held_gib, overhead_gib, budget_gib, tp)
    blocks = int((budget_gib - overhead_gib) * GIB / tp) // block_bytes
    if blocks <= 0:
        raise _does_not_fit("zero_blocks", name, held_gib, overhead_gib, budget_gib, tp)
    return blocks


def _kv_bytes_per_token(model: ModelSpec, tp: int) -> float:
    """Bytes of KV cache that a token takes on each GPU."""
    if model.kv_lora_rank > 0:  # multi-head latent attention: every GPU keeps the whole compressed cache
        return model.num_layers * (model.kv_lora_rank + model.qk_rope_head_dim) * model.bytes_per_param
    return model.num_layers * 2.0 * _head_dim(model) * model.kv_heads * model.bytes_per_param / tp


def _head_dim(model: ModelSpec) -> int:
    return model.head_dim or model.hidden_size // model.num_heads


def _parameters(model: ModelSpec) -> int:
    """Weights of the model; norms count two widths a layer, an interleaved mixture counts as one in all layers."""
    hidden, layers = model.hidden_size, model.num_layers
    attention = hidden * (hidden + 2 * model.kv_heads * _head_dim(model)) + hidden * hidden
    if model.num_experts > 1:
        shared = model.capacity_shared_expert_size
        if shared is None:
            shared = model.shared_expert_intermediate_size
        expert_width = model.moe_intermediate_size or model.intermediate_size
        moe_mlp = 3 * hidden * expert_width * model.num_experts + 3 * hidden * max(shared, 0)
        moe_mlp += model.num_experts * hidden  # the gate
        dense_layers = min(max(model.first_k_dense_replace, 0), layers)
        dense_mlp = 3 * hidden * (model.intermediate_size_mlp or model.intermediate_size)
        mlps = dense_layers * dense_mlp + (layers - dense_layers) * moe_mlp
    else:
        mlps = layers * 3 * hidden * model.intermediate_size
    embeddings = model.vocab_size * hidden * (1 if model.tie_word_embeddings else 2)
    return embeddings + layers * (attention + 2 * hidden) + mlps + hidden


def check_deployment(tp: int, utilization: float, block_size: int, dp: int) -> None:
    """Check the inputs of the KV capacity.

    Raises
    ------
    ScenarioError
        On the first figure that cannot be used, in the order of the reference.
    """
    if not 0 < utilization <= 1:
        raise ScenarioError.at(
            "gpu_memory_utilization", "must be > 0 and <= 1", utilization, code="bad_gpu_memory_utilization"
        )
    for path, count in (("tp", tp), ("block_size", block_size), ("dp", dp)):
        if count <= 0:
            raise ScenarioError.at(path, "must be >= 1", count, code=f"bad_{path}")


def check_gpu_memory(memory_gib: float) -> None:
    """Require the memory of the GPU.

    Raises
    ------
    ScenarioError
        If it is not above 0.
    """
    if not memory_gib > 0:
        raise ScenarioError.at("gpu.memory_gib", "must be > 0", memory_gib, code="bad_gpu_memory")


def _check(model: ModelSpec, memory_gib: float, tp: int, utilization: float, block_size: int, dp: int) -> None:
    """Raise on the first figure that cannot be used, in the order of the reference."""
    heads = model.num_heads
    latent = model.kv_lora_rank > 0
    if model.num_experts <= 1 and (model.num_shared_experts > 0 or model.experts_per_token > 0):
        raise _error(
            "moe_expert_count_missing",
            "model.num_experts",
            "must be > 1 where there are shared experts or experts per token",
            model.num_experts,
            model,
        )
    check_deployment(tp, utilization, block_size, dp)
    for code, path, value in (
        ("bad_heads", "num_heads", heads),
        ("bad_layers", "num_layers", model.num_layers),
        ("bad_hidden", "hidden_size", model.hidden_size),
        ("bad_intermediate", "intermediate_size", model.intermediate_size),
        ("bad_vocab", "vocab_size", model.vocab_size),
        ("bad_bytes_per_param", "bytes_per_param", model.bytes_per_param),
    ):
        if not value > 0:
            raise _error(code, f"model.{path}", "must be > 0", value, model)
    check_gpu_memory(memory_gib)
    if not model.weight_bytes_per_param >= 0:
        raise _error(
            "bad_weight_bytes", "model.weight_bytes_per_param", "must be >= 0", model.weight_bytes_per_param, model
        )
    if model.hidden_size % heads and not model.head_dim and not latent:
        raise _error(
            "hidden_not_divisible_by_heads",
            "model.hidden_size",
            f"must be a multiple of its {heads} heads, or head_dim be given",
            model.hidden_size,
            model,
        )
    if model.hidden_act not in ACTIVATIONS:
        rule = f"must be one of {', '.join(sorted(ACTIVATIONS - {''}))}"
        raise _error("unsupported_activation", "model.hidden_act", rule, model.hidden_act, model)
    if model.num_kv_heads < 0:
        raise _error("negative_kv_heads", "model.num_kv_heads", "must be >= 0", model.num_kv_heads, model)
    if not latent and model.kv_heads >= tp and model.kv_heads % tp:
        raise ScenarioError.at(
            "tp",
            f"must divide the {model.kv_heads} KV heads of {model.name or 'the model'}",
            tp,
            code="kv_heads_not_divisible_by_tp",
        )


def _error(code: str, path: str, rule: str, value: object, model: ModelSpec) -> ScenarioError:
    hint = f"the KV capacity of {model.name or 'this model'} needs it: correct the figure or give kv.blocks"
    return ScenarioError.at(path, rule, value, hint=hint, code=code)


def _does_not_fit(
    code: str, name: str, held_gib: float, overhead_gib: float, budget_gib: float, tp: int
) -> ScenarioError:
    """Say what is short, and how many GPUs would have room for more than weights and activations."""
    usable_gib = budget_gib / tp - NON_TORCH_GIB_PER_GPU
    if usable_gib <= 0:
        way_out = "its GPUs are too small for any number of them"
    else:
        way_out = f"it takes at least {max(math.ceil(held_gib / usable_gib), tp + 1)} GPUs of this kind"
    rule = (
        f"is too small for {name or 'the model'}: {overhead_gib:.1f} GiB for weights and activations, "
        f"{budget_gib:.1f} GiB usable"
    )
    return ScenarioError.at("tp", rule, tp, hint=way_out, code=code)
