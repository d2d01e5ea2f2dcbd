"""What one GPU of a tensor-parallel group has to do for a model: matrix products and attention, by token and layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from blis_simpy.latency.kernel_shape import KernelShape

__all__ = ["AttentionWork", "Product", "attention_products", "attention_work", "mlp_products"]

_STATE_BYTES = 4.0
"""States of linear attention are kept in FP32."""


@attrs.frozen
class Product:
    """A matrix of weights that every token of a step is multiplied with, on one GPU.

    Attributes
    ----------
    columns, depth : float
        Widths of its output and of its input.
    """

    columns: float
    depth: float


@attrs.frozen(kw_only=True)
class AttentionWork:
    """Work of the attention of one layer on one GPU, beside its products with weights.

    Attributes
    ----------
    heads : float
        KV heads.
    kv_bytes : float, bytes
        KV cache of one token.
    decode_flops : float, FLOP
        Of one query over one token of context, in decode.
    prefill_flops : float, FLOP
        The same for prompts, whose keys and values may be expanded.
    prefill_bytes : float, bytes
        Queries, keys, values and outputs of one prompt token.
    expansion_flops : float, FLOP
        To expand one cached token of a prompt; 0 for ordinary attention.
    rotated_bytes : float, bytes
        What the rotary embedding moves of one token.
    state_bytes : float, bytes
        State of linear attention that a request reads and writes in a step; 0 without any.
    """

    heads: float
    kv_bytes: float
    decode_flops: float
    prefill_flops: float
    prefill_bytes: float
    expansion_flops: float
    rotated_bytes: float
    state_bytes: float


def attention_products(shape: KernelShape, tp: int) -> tuple[Product, ...]:
    """Products of one attention layer with its weights on one GPU.

    Latent attention multiplies with the same matrix in both directions: prompts expand keys and values with it, decode
    absorbs it into queries and outputs.
    """
    heads, hidden, latent = shape.heads / tp, shape.hidden, shape.latent
    if latent is None:
        kv_heads = max(1.0, shape.kv_heads / tp)
        return (
            Product((heads + 2.0 * kv_heads) * shape.head_dim, hidden),
            Product(hidden, heads * shape.head_dim),
        )
    cached = latent.rank + latent.rotary
    query = heads * (latent.plain + latent.rotary)
    down = [Product(query + cached, hidden)]
    if latent.query_rank:
        down = [Product(latent.query_rank + cached, hidden), Product(query, latent.query_rank)]
    return (*down, Product(heads * (latent.plain + latent.value), latent.rank), Product(hidden, heads * latent.value))


def mlp_products(shape: KernelShape, width: int, tp: int) -> tuple[Product, ...]:
    """Products of one MLP of a width on one GPU; the gate is computed together with the first."""
    inner = width / tp
    return Product((2.0 if shape.gated else 1.0) * inner, shape.hidden), Product(shape.hidden, inner)


def attention_work(shape: KernelShape, tp: int) -> AttentionWork:
    """Work of one attention layer on one GPU."""
    heads, latent = shape.heads / tp, shape.latent
    state_bytes = 2.0 * shape.linear_state * _STATE_BYTES / tp
    if latent is None:
        kv_heads, head_dim = max(1.0, shape.kv_heads / tp), shape.head_dim
        flops = 4.0 * heads * head_dim
        return AttentionWork(
            heads=kv_heads,
            kv_bytes=kv_heads * head_dim * 2.0 * shape.kv_bytes,
            decode_flops=flops,
            prefill_flops=flops,
            prefill_bytes=head_dim * 2.0 * (2.0 * heads + 4.0 * kv_heads),
            expansion_flops=0.0,
            rotated_bytes=4.0 * (heads + kv_heads) * head_dim,
            state_bytes=state_bytes,
        )
    widths = latent.plain + latent.rotary + latent.value
    return AttentionWork(
        heads=1.0,
        kv_bytes=(latent.rank + latent.rotary) * shape.kv_bytes,
        decode_flops=2.0 * heads * (2.0 * latent.rank + latent.rotary),
        prefill_flops=2.0 * heads * widths,
        prefill_bytes=2.0 * 3.0 * heads * widths,
        expansion_flops=2.0 * latent.rank * heads * (latent.plain + latent.value),
        rotated_bytes=4.0 * (heads + 1.0) * latent.rotary,
        state_bytes=state_bytes,
    )
