"""What one GPU of a tensor-parallel group has to do for a model: matrix products and attention, by token and layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from blis_simpy.latency.kernel_blocks import AttentionBlock, RecurrentBlock

__all__ = [
    "AttentionWork",
    "Product",
    "attention_products",
    "attention_work",
    "mlp_products",
    "recurrent_products",
]


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
    """

    heads: float
    kv_bytes: float
    decode_flops: float
    prefill_flops: float
    prefill_bytes: float
    expansion_flops: float
    rotated_bytes: float


def attention_products(block: AttentionBlock, hidden: int, tp: int) -> tuple[Product, ...]:
    """Products of one attention layer with its weights on one GPU.

    Latent attention multiplies with the same matrix in both directions: prompts expand keys and values with it, decode
    absorbs it into queries and outputs.
    """
    heads, latent = block.heads / tp, block.latent
    extra = block.extra_columns / tp
    further = (Product(extra, hidden),) if extra else ()
    if latent is not None:
        cached = latent.rank + latent.rotary
        query = heads * (latent.plain + latent.rotary)
        down = [Product(query + cached, hidden)]
        if latent.query_rank:
            down = [Product(latent.query_rank + cached, hidden), Product(query, latent.query_rank)]
        up = Product(heads * (latent.plain + latent.value), latent.rank)
        return (*down, up, Product(hidden, heads * latent.value), *further)
    kv_columns = block.kv_columns * _kv_heads(block, tp) / block.kv_heads
    query, value = heads * block.head_dim, heads * block.value_dim
    if block.output_rank:
        return (
            Product(block.query_rank + kv_columns, hidden),
            Product(query, block.query_rank),
            Product(block.output_rank, value),
            *further,
        )
    return Product(query * (2.0 if block.gated else 1.0) + kv_columns, hidden), Product(hidden, value), *further


def recurrent_products(block: RecurrentBlock, hidden: int, tp: int) -> tuple[Product, ...]:
    """Products of one recurrent layer with its weights on one GPU."""
    return Product(block.input_columns / tp, hidden), Product(hidden, block.inner / tp)


def mlp_products(hidden: int, width: int, matrices: int, tp: int) -> tuple[Product, ...]:
    """Products of one MLP of a width on one GPU; the gate is computed together with the first."""
    inner = width / tp
    return Product((matrices - 1.0) * inner, hidden), Product(hidden, inner)


def attention_work(block: AttentionBlock, kv_bytes: float, tp: int) -> AttentionWork:
    """Work of one attention layer on one GPU; `kv_bytes` is the size of a number in the KV cache."""
    heads, latent, kv_heads = block.heads / tp, block.latent, _kv_heads(block, tp)
    cached_bytes = kv_heads * block.entry_numbers * kv_bytes + block.entry_bytes
    if latent is None:
        widths = block.head_dim + block.value_dim
        flops = 2.0 * heads * widths
        return AttentionWork(
            heads=kv_heads,
            kv_bytes=cached_bytes,
            decode_flops=flops,
            prefill_flops=flops,
            prefill_bytes=2.0 * widths * (heads + 2.0 * kv_heads),
            expansion_flops=0.0,
            rotated_bytes=4.0 * (heads + kv_heads) * block.head_dim,
        )
    widths = latent.plain + latent.rotary + latent.value
    return AttentionWork(
        heads=1.0,
        kv_bytes=cached_bytes,
        decode_flops=2.0 * heads * (2.0 * latent.rank + latent.rotary),
        prefill_flops=2.0 * heads * widths,
        prefill_bytes=2.0 * 3.0 * heads * widths,
        expansion_flops=2.0 * latent.rank * heads * (latent.plain + latent.value),
        rotated_bytes=4.0 * (heads + 1.0) * latent.rotary,
    )


def _kv_heads(block: AttentionBlock, tp: int) -> float:
    return max(1.0, block.kv_heads / tp)
