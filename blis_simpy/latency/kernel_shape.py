"""The figures of a model that the times of its kernels depend on.

`KernelShape` is all that the latency model ``kernels`` sees of a model; `kernel_shape` is the only place that builds
one from a `ModelSpec`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from blis_simpy.catalog.models import ModelSpec

__all__ = ["BF16", "FP8", "INT4", "MXFP4", "NVFP4", "KernelShape", "LatentAttention", "WeightType", "kernel_shape"]


@attrs.frozen
class WeightType:
    """How weights are stored.

    Attributes
    ----------
    name : str
        Name of its kernels in the hardware file.
    weight_bytes : float, bytes
        Size of a weight, with its share of the scales.
    activation_bytes : float, bytes
        Size of an input of the product where the GPU has arithmetic of this type; 2 elsewhere.
    """

    name: str
    weight_bytes: float
    activation_bytes: float = 2.0


BF16 = WeightType("bf16", 2.0)
FP8 = WeightType("fp8", 1.0, 1.0)
NVFP4 = WeightType("nvfp4", 0.5625, 1.0)
MXFP4 = WeightType("mxfp4", 0.53)
INT4 = WeightType("int4", 0.53)

_SCALES = INT4.weight_bytes / 0.5
"""Size of weight-only quantised weights with their scales, against that of the weights alone."""


@attrs.frozen(kw_only=True)
class LatentAttention:
    """Widths of multi-head latent attention.

    Attributes
    ----------
    query_rank : int
        Rank of the compressed queries; 0 = not compressed.
    rank : int
        Rank of the compressed keys and values.
    rotary : int
        Width of the rotary part of queries and keys.
    plain : int
        Width of the rest of a query or key head.
    value : int
        Width of a value head.
    """

    query_rank: int = 0
    rank: int
    rotary: int
    plain: int = 128
    value: int = 128


@attrs.frozen(kw_only=True)
class KernelShape:
    """Figures of a model that the times of its kernels depend on.

    Attributes
    ----------
    layers : int
        All layers.
    moe_layers : int
        Those with experts; the others are dense.
    hidden : int
        Width of the residual stream.
    heads, kv_heads, head_dim : int
        Attention heads, key-value heads, width of one.
    dense_width : int
        Width of a dense MLP.
    gated : bool
        Whether a dense MLP has three matrices rather than two.
    vocabulary : int
        Tokens of the vocabulary; 0 = not known.
    experts, experts_per_token, expert_width, shared_width : int
        Routed experts, how many of them see a token, width of one, width of all shared experts together.
    weights, expert_weights : WeightType
        Types of the weights of dense layers and attention, and of routed experts.
    kv_bytes : float, bytes
        Size of a number in the KV cache.
    window_layers, window : int
        Layers that attend to the last `window` tokens only; 0 = none.
    linear_layers : int
        Layers with linear attention: they keep a state of fixed size in place of a KV cache.
    linear_state : int
        Numbers of that state, a request and layer.
    latent : LatentAttention or None
        Widths of latent attention; None = ordinary attention.
    """

    layers: int
    moe_layers: int = 0
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    dense_width: int = 0
    gated: bool = True
    vocabulary: int = 0
    experts: int = 0
    experts_per_token: int = 0
    expert_width: int = 0
    shared_width: int = 0
    weights: WeightType = BF16
    expert_weights: WeightType = BF16
    kv_bytes: float = 2.0
    window_layers: int = 0
    window: int = 0
    linear_layers: int = 0
    linear_state: int = 0
    latent: LatentAttention | None = None

    @property
    def dense_layers(self) -> int:
        """Layers with a dense MLP."""
        return self.layers - self.moe_layers

    @property
    def estimates(self) -> tuple[str, ...]:
        """What no kernel time was measured for, in words."""
        found = []
        if self.latent is not None:
            found.append("latent attention, by kernels of ordinary attention")
        if self.window_layers:
            found.append("sliding windows, by the mean context of the batch")
        if self.linear_layers:
            found.append("linear attention, by the traffic of its state")
        return tuple(found)


def kernel_shape(model: ModelSpec) -> KernelShape:
    """Take the figures from those of a model.

    Notes
    -----
    Numbers of four bytes are computed and stored as two, as vLLM does. Weights of one byte are FP8, smaller ones
    weight-only quantised integers: `ModelSpec` does not tell NVFP4 and MXFP4. The widths of latent attention that it
    does not tell are 128, and its queries are not compressed.
    """
    mixture = model.num_experts > 1
    weights = _weight_type(model.weight_bytes)
    latent = None
    if model.kv_lora_rank > 0:
        latent = LatentAttention(rank=model.kv_lora_rank, rotary=model.qk_rope_head_dim)
    return KernelShape(
        layers=model.num_layers,
        moe_layers=_moe_layers(model) if mixture else 0,
        hidden=model.hidden_size,
        heads=model.num_heads,
        kv_heads=model.kv_heads,
        head_dim=model.head_dim or model.hidden_size // model.num_heads,
        dense_width=(mixture and model.intermediate_size_mlp) or model.intermediate_size,
        vocabulary=model.vocab_size,
        experts=model.num_experts if mixture else 0,
        experts_per_token=model.experts_per_token if mixture else 0,
        expert_width=(model.moe_intermediate_size or model.intermediate_size) if mixture else 0,
        shared_width=model.shared_expert_intermediate_size if mixture else 0,
        weights=weights,
        expert_weights=weights,
        kv_bytes=min(model.bytes_per_param, 2.0),
        latent=latent,
    )


def _moe_layers(model: ModelSpec) -> int:
    dense = min(max(model.first_k_dense_replace, 0), model.num_layers)
    return (model.num_layers - dense) // max(model.interleave_moe_layer_step, 1)


def _weight_type(weight_bytes: float) -> WeightType:
    if weight_bytes >= BF16.weight_bytes:
        return BF16
    if weight_bytes == FP8.weight_bytes:
        return FP8
    return WeightType(INT4.name, weight_bytes * _SCALES)
