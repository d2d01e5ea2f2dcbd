"""Blocks that the layers of a model consist of, with the sizes that the times of their kernels depend on."""

from __future__ import annotations

import attrs

__all__ = [
    "BF16",
    "FP8",
    "INT4",
    "MXFP4",
    "NVFP4",
    "AttentionBlock",
    "ExpertBlock",
    "LatentAttention",
    "MlpBlock",
    "RecurrentBlock",
    "WeightType",
]


@attrs.frozen
class WeightType:
    """Storage format of weights.

    Attributes
    ----------
    name : str
        Name of its kernels in the hardware file.
    weight_bytes : float, bytes
        Size of a weight, including its share of the scales.
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
class AttentionBlock:
    """Attention of layers that are alike.

    Attributes
    ----------
    layers : int
        Number of layers.
    heads, kv_heads, head_dim, value_dim : int
        Attention heads, key-value heads, width of a query or key head and of a value head.
    kv_columns : int
        Columns of the key and value projections of all heads.
    gated : bool
        Whether the query projection also computes a gate of the output.
    latent : LatentAttention or None
        Widths of latent attention; None = ordinary attention.
    query_rank, output_rank : int
        Ranks of factored query and output projections of ordinary attention; 0 = not factored.
    extra_columns : float
        Columns of further products with the hidden state, e.g. of an indexer.
    entry_numbers : int
        Numbers of a cache entry of one KV head.
    entry_bytes : float, bytes
        Size of what is read from the cache in addition for each token of context, whatever the type of the cache.
    window, tokens_per_entry : int
        A token attends to the last `window` tokens (0 = none) and to one entry for each `tokens_per_entry` tokens of
        the context (0 = none).
    weights : WeightType
        Type of the weights.
    """

    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int
    kv_columns: float = 0
    gated: bool = False
    latent: LatentAttention | None = None
    query_rank: int = 0
    output_rank: int = 0
    extra_columns: float = 0.0
    entry_numbers: float
    entry_bytes: float = 0.0
    window: int = 0
    tokens_per_entry: int = 1
    weights: WeightType = BF16


@attrs.frozen(kw_only=True)
class RecurrentBlock:
    """State-space, linear-attention or convolution block of layers that are alike.

    Attributes
    ----------
    layers : int
        Number of layers.
    input_columns, inner : float
        Columns of the products with the hidden state; width of the input of the output projection.
    channels : int
        Channels of the convolution.
    state_numbers : int
        Numbers of the recurrent state.
    state_bytes : float, bytes
        State of a request, which a step reads and writes.
    weights : WeightType
        Type of the weights.
    """

    layers: int
    input_columns: float
    inner: float
    channels: int = 0
    state_numbers: int = 0
    state_bytes: float = 0.0
    weights: WeightType = BF16


@attrs.frozen(kw_only=True)
class MlpBlock:
    """Dense MLP of layers that are alike: `matrices` matrices (3 with a gate, else 2) of hidden size by `width`."""

    layers: int
    width: int
    matrices: int = 3
    weights: WeightType = BF16


@attrs.frozen(kw_only=True)
class ExpertBlock:
    """Mixture of experts of layers that are alike.

    Attributes
    ----------
    layers : int
        Number of layers.
    experts, experts_per_token : int
        Routed experts, and how many of them each token is sent to.
    width, input_width, matrices : int
        Width of one expert, width of its input (below the hidden size if it is projected before), its matrices.
    shared_width, shared_matrices : int
        Width of all shared experts together, and their matrices.
    weights, shared_weights, projection_weights : WeightType
        Types of the weights of routed experts, of shared experts, and of the projections to and from narrower experts.
    """

    layers: int
    experts: int
    experts_per_token: int
    width: int
    input_width: int
    matrices: int = 3
    shared_width: int = 0
    shared_matrices: int = 3
    weights: WeightType = BF16
    shared_weights: WeightType = BF16
    projection_weights: WeightType = BF16
