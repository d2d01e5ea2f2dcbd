"""Sizes of a model that the times of its kernels depend on.

`KernelShape` is all that the latency model ``kernels`` uses of a model; `kernel_shape` is the only place that builds
one from a `ModelSpec`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import attrs

from blis_simpy.errors import ScenarioError
from blis_simpy.latency.kernel_blocks import (
    BF16,
    FP8,
    INT4,
    MXFP4,
    NVFP4,
    AttentionBlock,
    ExpertBlock,
    LatentAttention,
    MlpBlock,
    RecurrentBlock,
    WeightType,
)
from blis_simpy.latency.validation import check_kernel_figures

if TYPE_CHECKING:
    from blis_simpy.catalog.checkpoint.architecture import Architecture, Attention, LayerGroup, Weights
    from blis_simpy.catalog.models import ModelSpec

__all__ = ["KernelShape", "kernel_shape"]

_SCALES = INT4.weight_bytes / 0.5
"""Size of weight-only quantised weights with their scales, relative to that of the weights alone."""
_SAME_SIZE = 0.06
"""Relative difference up to which weights count as the measured type: scales of other groups, or not stated at all."""
_FLOAT32_BYTES = 4
_B = TypeVar("_B", AttentionBlock, RecurrentBlock, MlpBlock, ExpertBlock)


@attrs.frozen(kw_only=True)
class KernelShape:
    """Sizes of a model that the times of its kernels depend on.

    Attributes
    ----------
    layers : int
        All layers.
    sublayers : int
        Blocks with a normalisation and, under tensor parallelism, an all-reduce of their own: two in most layers.
    hidden : int
        Width of the residual stream.
    vocabulary : int
        Tokens of the vocabulary; 0 = not known.
    attention, recurrent, mlps, experts : tuple
        Blocks by kind; each says how many layers have it.
    output_weights : WeightType
        Type of the weights of the output layer.
    kv_bytes : float, bytes
        Size of a number in the KV cache.
    unread : str
        Why the sizes are those of a model whose layers are all alike; empty = they are those of the checkpoint.
    """

    layers: int
    sublayers: int
    hidden: int
    vocabulary: int = 0
    attention: tuple[AttentionBlock, ...] = ()
    recurrent: tuple[RecurrentBlock, ...] = ()
    mlps: tuple[MlpBlock, ...] = ()
    experts: tuple[ExpertBlock, ...] = ()
    output_weights: WeightType = BF16
    kv_bytes: float = 2.0
    unread: str = ""

    @classmethod
    def uniform(
        cls,
        *,
        layers: int,
        hidden: int,
        heads: int,
        kv_heads: int,
        head_dim: int,
        moe_layers: int = 0,
        dense_width: int = 0,
        gated: bool = True,
        vocabulary: int = 0,
        experts: int = 0,
        experts_per_token: int = 0,
        expert_width: int = 0,
        shared_width: int = 0,
        weights: WeightType = BF16,
        expert_weights: WeightType = BF16,
        kv_bytes: float = 2.0,
        window_layers: int = 0,
        window: int = 0,
        linear_layers: int = 0,
        linear_state: int = 0,
        latent: LatentAttention | None = None,
    ) -> KernelShape:
        """Build the shape of a model whose layers differ in few ways only.

        Parameters
        ----------
        layers, hidden, vocabulary, kv_bytes
            As the attributes.
        heads, kv_heads, head_dim : int
            Attention heads, key-value heads, width of one.
        moe_layers : int
            Layers with experts; the others are dense.
        dense_width : int
            Width of a dense MLP.
        gated : bool
            Whether a dense MLP has three matrices rather than two.
        experts, experts_per_token, expert_width, shared_width : int
            Routed experts, how many of them each token is sent to, width of one, width of all shared experts together.
        weights, expert_weights : WeightType
            Types of the weights of attention and dense MLPs, and of routed experts.
        window_layers, window : int
            Layers that attend to the last `window` tokens only; 0 = none.
        linear_layers, linear_state : int
            Layers with linear attention, and the numbers of their state, in FP32, for each request and layer.
        latent : LatentAttention, optional
            Widths of latent attention.
        """
        entry = latent.rank + latent.rotary if latent else 2 * head_dim
        full = AttentionBlock(
            layers=layers - window_layers - linear_layers,
            heads=heads,
            kv_heads=1 if latent else kv_heads,
            head_dim=head_dim,
            value_dim=head_dim,
            kv_columns=2 * kv_heads * head_dim,
            latent=latent,
            entry_numbers=entry,
            weights=weights,
        )
        windowed = attrs.evolve(full, layers=window_layers, window=window, tokens_per_entry=0)
        linear = RecurrentBlock(
            layers=linear_layers,
            input_columns=heads * head_dim + full.kv_columns,
            inner=heads * head_dim,
            state_numbers=linear_state,
            state_bytes=linear_state * _FLOAT32_BYTES,
            weights=weights,
        )
        matrices = 3 if gated else 2
        mixture = ExpertBlock(
            layers=moe_layers,
            experts=experts,
            experts_per_token=experts_per_token,
            width=expert_width,
            input_width=hidden,
            shared_width=shared_width,
            shared_matrices=matrices,
            weights=expert_weights,
            shared_weights=weights,
        )
        dense = MlpBlock(layers=layers - moe_layers, width=dense_width, matrices=matrices, weights=weights)
        return cls(
            layers=layers,
            sublayers=2 * layers,
            hidden=hidden,
            vocabulary=vocabulary,
            attention=tuple(block for block in (full, windowed) if block.layers),
            recurrent=(linear,) if linear_layers else (),
            mlps=(dense,) if dense.layers else (),
            experts=(mixture,) if moe_layers else (),
            kv_bytes=kv_bytes,
        )

    @property
    def moe_layers(self) -> int:
        """Layers with experts."""
        return sum(block.layers for block in self.experts)

    @property
    def estimates(self) -> tuple[str, ...]:
        """What is estimated rather than based on measured kernel times, in words."""
        found = []
        if self.unread:
            found.append("sizes of a model whose layers are all alike")
        if any(block.latent for block in self.attention):
            found.append("latent attention, by kernels of ordinary attention")
        if any(block.window for block in self.attention):
            found.append("sliding windows, by the mean context of the batch")
        if any(block.entry_bytes or block.tokens_per_entry > 1 for block in self.attention):
            found.append("sparse attention, as attention to all entries")
        if self.recurrent:
            found.append("linear attention, by the traffic of its state")
        return tuple(found)


def kernel_shape(model: ModelSpec) -> KernelShape:
    """Build the shape of a model from its architecture, or from its flat figures where that cannot be read.

    Raises
    ------
    ScenarioError
        If neither suffices.

    Notes
    -----
    Numbers of four bytes are computed and stored as two, as in vLLM. The flat figures do not distinguish formats:
    weights of one byte are FP8, smaller ones weight-only quantised integers; latent attention has widths of 128 and
    queries that are not compressed.
    """
    try:
        architecture = model.architecture
    except ScenarioError as error:
        if any(problem.code == "unsupported" for problem in error.problems):
            raise
        try:
            check_kernel_figures(model)
        except ScenarioError:
            if model.config is None:
                raise
            raise error from None
        return attrs.evolve(_shape_of_figures(model), unread=str(error))
    return _shape_of_architecture(architecture)


def _shape_of_figures(model: ModelSpec) -> KernelShape:
    mixture = model.num_experts > 1
    weights = _weight_type_of_size(model.weight_bytes)
    latent = None
    if model.kv_lora_rank > 0:
        latent = LatentAttention(rank=model.kv_lora_rank, rotary=model.qk_rope_head_dim)
    return KernelShape.uniform(
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


def _weight_type_of_size(weight_bytes: float) -> WeightType:
    if weight_bytes >= BF16.weight_bytes:
        return BF16
    if weight_bytes == FP8.weight_bytes:
        return FP8
    return WeightType(INT4.name, weight_bytes * _SCALES)


def _shape_of_architecture(architecture: Architecture) -> KernelShape:
    attention: dict[AttentionBlock, int] = {}
    recurrent: dict[RecurrentBlock, int] = {}
    mlps: dict[MlpBlock, int] = {}
    experts: dict[ExpertBlock, int] = {}
    sublayers = 0
    types = _WeightTypes(integers=architecture.integer_weights)
    for group in architecture.layers:
        count = group.num_layers
        sublayers += count * (bool(group.attention or group.recurrence) + bool(group.mlp or group.experts))
        if group.attention:
            _add(attention, _attention_block(group, group.attention, architecture.hidden_size, types), count)
        if group.recurrence:
            _add(recurrent, _recurrent_block(group, architecture.hidden_size, types), count)
        if mlp := group.mlp:
            weights = types.of(group.weights.mlp)
            _add(mlps, MlpBlock(layers=0, width=mlp.width, matrices=mlp.num_matrices, weights=weights), count)
        if group.experts:
            _add(experts, _expert_block(group, types), count)
    return KernelShape(
        layers=architecture.num_layers,
        sublayers=sublayers,
        hidden=architecture.hidden_size,
        vocabulary=architecture.vocab_size,
        attention=_blocks(attention),
        recurrent=_blocks(recurrent),
        mlps=_blocks(mlps),
        experts=_blocks(experts),
        output_weights=types.of(architecture.lm_head) if architecture.lm_head.parameters else BF16,
        kv_bytes=architecture.kv_bytes,
    )


def _add(counts: dict[_B, int], block: _B, count: int) -> None:
    counts[block] = counts.get(block, 0) + count


def _blocks(counts: dict[_B, int]) -> tuple[_B, ...]:
    return tuple(attrs.evolve(block, layers=count) for block, count in counts.items())


@attrs.frozen(kw_only=True)
class _WeightTypes:
    """Weight types of a checkpoint by the size of its weights; `integers` selects INT4 among those of its size."""

    integers: bool

    def of(self, weights: Weights) -> WeightType:
        size = BF16.weight_bytes
        if weights.parameters:
            size = min(weights.bytes / weights.parameters, size)
        nearest = self._nearest(size)
        if abs(size / nearest.weight_bytes - 1.0) <= _SAME_SIZE:
            return nearest
        return attrs.evolve(nearest, weight_bytes=size)

    def _nearest(self, size: float) -> WeightType:
        if size > 1.5:
            return BF16
        if self.integers:
            return INT4
        if size > 0.75:
            return FP8
        if size > 0.55:
            return NVFP4
        return MXFP4 if size > 0.525 else INT4


def _attention_block(group: LayerGroup, attention: Attention, hidden: int, types: _WeightTypes) -> AttentionBlock:
    heads, kv_heads = attention.num_heads, attention.num_kv_heads
    block = AttentionBlock(
        layers=0,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=attention.head_dim,
        value_dim=attention.value_dim,
        gated=attention.gated,
        entry_numbers=attention.cache_width / kv_heads or attention.head_dim + attention.value_dim,
        entry_bytes=attention.index_bytes,
        window=attention.window,
        tokens_per_entry=attention.tokens_per_entry,
        weights=types.of(group.weights.attention),
    )
    columns = group.weights.attention.parameters / hidden
    if attention.latent_rank:
        latent = LatentAttention(
            query_rank=attention.query_rank,
            rank=attention.latent_rank,
            rotary=attention.rope_dim,
            plain=attention.head_dim - attention.rope_dim,
            value=attention.value_dim,
        )
        queries = heads * attention.head_dim
        known = attention.query_rank * (hidden + queries) if attention.query_rank else hidden * queries
        known += hidden * (latent.rank + latent.rotary) + hidden * heads * latent.value
        known += latent.rank * heads * (latent.plain + latent.value)
        return attrs.evolve(block, latent=latent, extra_columns=columns - known / hidden)
    if attention.output_rank:
        width = heads * attention.head_dim
        known = attention.query_rank * (hidden + width) + hidden * attention.head_dim + attention.output_rank * width
        return attrs.evolve(
            block,
            kv_columns=attention.head_dim,
            query_rank=attention.query_rank,
            output_rank=attention.output_rank,
            extra_columns=columns - known / hidden,
        )
    queries = heads * attention.head_dim * (2 if attention.gated else 1)
    return attrs.evolve(block, kv_columns=columns - queries - heads * attention.value_dim)


def _recurrent_block(group: LayerGroup, hidden: int, types: _WeightTypes) -> RecurrentBlock:
    recurrence = group.recurrence
    assert recurrence is not None
    inner = recurrence.num_heads * recurrence.value_dim or recurrence.conv_width
    return RecurrentBlock(
        layers=0,
        input_columns=group.weights.recurrence.parameters / hidden - inner,
        inner=inner,
        channels=recurrence.conv_width,
        state_numbers=recurrence.num_heads * recurrence.key_dim * recurrence.value_dim,
        state_bytes=recurrence.state_bytes,
        weights=types.of(group.weights.recurrence),
    )


def _expert_block(group: LayerGroup, types: _WeightTypes) -> ExpertBlock:
    experts, weights = group.experts, group.weights
    assert experts is not None
    return ExpertBlock(
        layers=0,
        experts=experts.num_experts,
        experts_per_token=experts.experts_per_token,
        width=experts.width,
        input_width=experts.input_width,
        matrices=experts.num_matrices,
        shared_width=experts.shared_width,
        shared_matrices=experts.num_matrices,
        weights=types.of(weights.experts),
        shared_weights=types.of(weights.shared_experts),
        projection_weights=types.of(weights.mlp),
    )
