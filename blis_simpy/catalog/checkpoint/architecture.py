"""Architecture of a checkpoint as data: layers by kind, caches, and the weights of each part with their bytes.

Sizes are those of the whole model; tensor parallelism divides them where they are used.
"""

from __future__ import annotations

import functools

import attrs

__all__ = [
    "NO_WEIGHTS",
    "PARTS",
    "Architecture",
    "Attention",
    "Experts",
    "LayerGroup",
    "LayerWeights",
    "Mlp",
    "Recurrence",
    "Weights",
]


@attrs.frozen
class Weights:
    """Weights of one part of a model.

    Attributes
    ----------
    parameters : int
        Number of weights.
    bytes : float, bytes
        Their size as stored, including the scales of a quantisation.
    """

    parameters: int = 0
    bytes: float = 0.0

    def __add__(self, other: Weights) -> Weights:
        return Weights(self.parameters + other.parameters, self.bytes + other.bytes)

    def times(self, count: int) -> Weights:
        """Return the weights of `count` equal parts."""
        return Weights(self.parameters * count, self.bytes * count)

    @property
    def bits(self) -> float:
        """Bits per weight, 0 if there are none."""
        return self.bytes * 8.0 / self.parameters if self.parameters else 0.0


NO_WEIGHTS = Weights()


@attrs.frozen(kw_only=True)
class LayerWeights:
    """Weights of one layer by part.

    Attributes
    ----------
    attention : Weights
        Projections of the attention, with the indexer of sparse attention.
    recurrence : Weights
        State-space, linear-attention or convolution block.
    mlp : Weights
        Dense MLP, with the projections that every token passes on its way to and from narrower experts.
    experts : Weights
        All routed experts together.
    shared_experts : Weights
        Experts that see every token.
    router : Weights
        Gate of the experts.
    other : Weights
        Norms and other vectors, and per-layer inputs.
    """

    attention: Weights = NO_WEIGHTS
    recurrence: Weights = NO_WEIGHTS
    mlp: Weights = NO_WEIGHTS
    experts: Weights = NO_WEIGHTS
    shared_experts: Weights = NO_WEIGHTS
    router: Weights = NO_WEIGHTS
    other: Weights = NO_WEIGHTS


LAYER_PARTS = tuple(field.name for field in attrs.fields(LayerWeights))
PARTS = ("embedding", *LAYER_PARTS, "lm_head")
"""Parts that the weights of a model are divided into."""


@attrs.frozen(kw_only=True)
class Attention:
    """Attention of one layer and the cache that it keeps.

    Attributes
    ----------
    num_heads, num_kv_heads : int
        Query heads, and heads of the cache; latent attention has one, which every GPU keeps.
    head_dim, value_dim : int
        Width of a query or key head and of a value head.
    latent_rank, rope_dim : int
        Multi-head latent attention: rank of the compressed cache (0 = ordinary attention), width of its rotary part.
    query_rank : int
        Rank of the query projection; 0 = not factored.
    output_rank : int
        Rank of each group of a grouped output projection; 0 = not factored.
    gated : bool
        Whether the query projection also gives a gate of the output, and so is twice as wide.
    window : int, tokens
        Sliding window or chunk that a token sees; 0 = the whole context.
    tokens_per_entry : int, tokens
        Tokens of the context that share one cache entry: 1 = each has its own, 0 = none is kept beyond the window.
    cache_width : int
        Numbers of one cache entry, all heads together; 0 where the layer uses the cache of another one.
    index_heads, index_dim : int
        Indexer of sparse attention: its heads and their width; 0 = none.
    index_bytes : float, bytes
        What the indexer caches of a token.
    """

    num_heads: int
    num_kv_heads: int
    head_dim: int
    value_dim: int
    latent_rank: int = 0
    rope_dim: int = 0
    query_rank: int = 0
    output_rank: int = 0
    gated: bool = False
    window: int = 0
    tokens_per_entry: int = 1
    cache_width: int = 0
    index_heads: int = 0
    index_dim: int = 0
    index_bytes: float = 0.0

    @property
    def growing_numbers(self) -> float:
        """Numbers by which the cache grows with each token of the context."""
        return self.cache_width / self.tokens_per_entry if self.tokens_per_entry else 0.0

    @property
    def window_numbers(self) -> int:
        """Numbers that each token inside the window takes in addition."""
        return self.cache_width if self.window and self.tokens_per_entry != 1 else 0


@attrs.frozen(kw_only=True)
class Recurrence:
    """Block whose state has a fixed size: state space, linear attention, or convolution.

    Attributes
    ----------
    kind : str
        ``mamba``, ``mamba2``, ``gated-delta``, ``delta`` (Kimi), ``lightning``, ``rg-lru`` or ``conv``.
    num_heads, key_dim, value_dim : int
        Heads of the state, and its width and height in each; 0 where there is none.
    conv_width, conv_kernel : int
        Channels and length of the convolution; 0 = none.
    state_bytes : float, bytes
        Memory that a sequence takes, whatever its length.
    """

    kind: str
    num_heads: int = 0
    key_dim: int = 0
    value_dim: int = 0
    conv_width: int = 0
    conv_kernel: int = 0
    state_bytes: float = 0.0


@attrs.frozen(kw_only=True)
class Mlp:
    """Dense MLP: its width, and its matrices (3 with a gate, else 2)."""

    width: int
    num_matrices: int


@attrs.frozen(kw_only=True)
class Experts:
    """Mixture of experts of one layer.

    Attributes
    ----------
    num_experts, experts_per_token : int
        Routed experts, and how many of them see a token.
    width, num_matrices : int
        Width of one routed expert, and its matrices (3 with a gate, else 2).
    input_width : int
        Width of what an expert reads and writes; the hidden size unless the experts are latent.
    shared_width : int
        Width of all shared experts together; 0 = none.
    """

    num_experts: int
    experts_per_token: int
    width: int
    num_matrices: int
    input_width: int
    shared_width: int = 0


@attrs.frozen(kw_only=True)
class LayerGroup:
    """Layers that are alike.

    Attributes
    ----------
    num_layers : int
        Layers of the group.
    attention, recurrence, mlp, experts
        Blocks of each layer; None where it has no such block. A layer may have several.
    weights : LayerWeights
        Weights of one layer.
    """

    num_layers: int
    attention: Attention | None = None
    recurrence: Recurrence | None = None
    mlp: Mlp | None = None
    experts: Experts | None = None
    weights: LayerWeights = LayerWeights()


@attrs.frozen(kw_only=True, slots=False)
class Architecture:
    """Architecture of a model.

    Attributes
    ----------
    name : str
        Name of the model, for messages.
    hidden_size, vocab_size : int
        Width of the residual stream; vocabulary, tokens.
    layers : tuple of LayerGroup
        Layers by kind, in the order of the first of each.
    embedding, lm_head : Weights
        Input and output embeddings; tied embeddings count once, as `embedding`.
    compute_bytes : float, bytes
        Size of a number in computation and activations.
    kv_bytes : float, bytes
        Size of a number in the KV cache.
    max_model_len : int, tokens
        Longest prompt plus output that the architecture allows; 0 = not known.
    integer_weights : bool
        Whether quantised weights are integers that the engine expands before each product.
    """

    name: str = ""
    hidden_size: int
    vocab_size: int
    layers: tuple[LayerGroup, ...]
    embedding: Weights
    lm_head: Weights
    compute_bytes: float
    kv_bytes: float
    max_model_len: int = 0
    integer_weights: bool = False

    @property
    def num_layers(self) -> int:
        """Layers of all groups together."""
        return sum(group.num_layers for group in self.layers)

    @functools.cached_property
    def weights(self) -> dict[str, Weights]:
        """Weights of the whole model by part, in the order of `PARTS`."""
        totals = {"embedding": self.embedding}
        for part in LAYER_PARTS:
            total = NO_WEIGHTS
            for group in self.layers:
                total += getattr(group.weights, part).times(group.num_layers)
            totals[part] = total
        totals["lm_head"] = self.lm_head
        return totals

    @property
    def parameters(self) -> int:
        """Number of weights of the whole model; biases are not counted."""
        return sum(weights.parameters for weights in self.weights.values())

    @property
    def weight_bytes(self) -> float:
        """Size of the weights of the whole model as stored, bytes."""
        total = 0.0
        for weights in self.weights.values():
            total += weights.bytes
        return total

    @property
    def has_experts(self) -> bool:
        """Whether a layer is a mixture of experts."""
        return any(group.experts for group in self.layers)

    @property
    def kv_numbers_per_token(self) -> float:
        """Numbers by which the KV cache of all layers grows with each token.

        Of a model that has windows only, those within the window count.
        """
        growing = self._numbers("growing_numbers")
        return growing or self._numbers("window_numbers")

    def _numbers(self, name: str) -> float:
        total = 0.0
        for group in self.layers:
            if group.attention:
                total += group.num_layers * getattr(group.attention, name)
        return total
