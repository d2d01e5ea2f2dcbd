"""What the blocks of all layers share: sizes, and the matrices that a block is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import attrs

from blis_simpy.catalog.checkpoint.config import HIDDEN_KEYS

if TYPE_CHECKING:
    from blis_simpy.catalog.checkpoint.config import ConfigView

__all__ = ["Matrix", "Sizes", "read_sizes"]

GATED_ACTIVATIONS = frozenset({"silu", "swish", "swiglu", "swigluoai", "geglu", "reglu", "gegelu", "situ"})
PLAIN_ACTIVATIONS = frozenset(
    {
        "gelu",
        "gelu_new",
        "gelu_fast",
        "gelu_pytorch_tanh",
        "gelu_python",
        "quick_gelu",
        "relu",
        "relu2",
        "squared_relu",
        "xielu",
    }
)
"""Activations of an MLP with two matrices, unless its family has a gate beside it."""
_ACTIVATION_KEYS = (
    "hidden_act",
    "hidden_activation",
    "mlp_hidden_act",
    "activation",
    "activation_function",
    "ffn_act_fn",
    "ffn_config.ffn_act_fn.name",
    "ffn_config.ffn_type",
)


class Matrix(NamedTuple):
    """A matrix, or several under one name: part of the model, module, weights."""

    part: str
    module: str
    parameters: int


@attrs.frozen(kw_only=True)
class Sizes:
    """Figures that all blocks share.

    Attributes
    ----------
    hidden : int
        Width of the residual stream.
    heads : int
        Query heads; 0 = a model without attention.
    matrices : int
        Matrices of an MLP.
    compute_bytes : float, bytes
        Size of a number in computation.
    """

    hidden: int
    heads: int
    matrices: int
    compute_bytes: float


def read_sizes(view: ConfigView, compute_bytes: float) -> Sizes:
    """Read the figures that all blocks share.

    Raises
    ------
    ScenarioError
        If the width is missing or the activation is not known.
    """
    hidden = view.count(*HIDDEN_KEYS)
    if not hidden:
        raise view.missing("hidden_size", code="bad_hidden")
    heads = view.count("num_attention_heads", "n_head", "n_heads")
    return Sizes(hidden=hidden, heads=heads, matrices=_num_matrices(view), compute_bytes=compute_bytes)


def _num_matrices(view: ConfigView) -> int:
    if view.has("gated_mlp"):
        return 3 if view.flag("gated_mlp") else 2
    activation = view.text(*_ACTIVATION_KEYS)
    if activation in PLAIN_ACTIVATIONS:
        return 2
    if activation in GATED_ACTIVATIONS or not activation:
        return 3
    rule = f"must be one of {', '.join(sorted(GATED_ACTIVATIONS | PLAIN_ACTIVATIONS))}"
    raise view.error("hidden_act", rule, activation, code="unsupported_activation")
