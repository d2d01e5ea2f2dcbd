"""MLPs and mixtures of experts of a layer, with their matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blis_simpy.catalog.checkpoint.architecture import Experts, Mlp
from blis_simpy.catalog.checkpoint.layers import num_experts
from blis_simpy.catalog.checkpoint.sizes import Matrix

if TYPE_CHECKING:
    from blis_simpy.catalog.checkpoint.config import ConfigView
    from blis_simpy.catalog.checkpoint.layers import LayerPlan
    from blis_simpy.catalog.checkpoint.sizes import Sizes

__all__ = ["read_experts", "read_mlp"]

_WIDTH_KEYS = (
    "intermediate_size",
    "ffn_hidden_size",
    "ff_intermediate_size",
    "ffn_dim",
    "n_inner",
    "d_ff",
    "ffn_config.ffn_hidden_size",
)
_EXPERT_WIDTH_KEYS = (
    "moe_intermediate_size",
    "expert_ffn_hidden_size",
    "moe_ffn_hidden_size",
    "ffn_config.ffn_hidden_size",
)
_PER_TOKEN_KEYS = (
    "num_experts_per_tok",
    "num_experts_per_token",
    "experts_per_token",
    "top_k_experts",
    "moe_top_k",
    "moe_topk",
    "moe_k",
    "ffn_config.moe_top_k",
)
_SHARED_COUNT_KEYS = ("n_shared_experts", "num_shared_experts", "num_shared_expert", "moe_num_shared_experts")
_SHARED_WIDTH_KEYS = (
    "shared_expert_intermediate_size",
    "moe_shared_expert_intermediate_size",
    "shared_intermediate_size",
    "share_expert_dim",
)


def read_mlp(view: ConfigView, sizes: Sizes, plan: LayerPlan) -> tuple[Mlp, list[Matrix]]:
    """Read the dense MLP of a layer.

    Raises
    ------
    ScenarioError
        If its width is missing.
    """
    width = plan.mlp_width or _mlp_width(view, sizes)
    names = ("gate_proj", "up_proj", "down_proj")[-sizes.matrices :]
    matrices = [Matrix("mlp", f"mlp.{name}", sizes.hidden * width) for name in names]
    return Mlp(width=width, num_matrices=sizes.matrices), matrices


def _mlp_width(view: ConfigView, sizes: Sizes) -> int:
    dense_keys = ("intermediate_size_mlp", "dense_intermediate_size") if num_experts(view) else ()
    width = view.count(*dense_keys, *_WIDTH_KEYS) or sizes.hidden * view.count("expansion_ratio", "mlp_expansion")
    if not width:
        raise view.missing("intermediate_size", code="bad_intermediate")
    width //= view.count("mlp_width_divisor", default=1)
    return _adjusted(view, width) if view.flag("block_auto_adjust_ff_dim") else width


def _adjusted(view: ConfigView, width: int) -> int:
    """Round the width as LFM2 does: two thirds of it, up to a multiple."""
    width = int(2 * width / 3)
    width = int(view.number("block_ffn_dim_multiplier", 1.0) * width)
    multiple = view.count("block_multiple_of", default=256)
    return multiple * ((width + multiple - 1) // multiple)


def read_experts(view: ConfigView, sizes: Sizes, plan: LayerPlan) -> tuple[Experts, list[Matrix]]:
    """Read the mixture of experts of a layer.

    Raises
    ------
    ScenarioError
        If the experts that see a token or the width of an expert are missing or contradict each other.
    """
    hidden, count = sizes.hidden, num_experts(view)
    per_token = view.count(*_PER_TOKEN_KEYS)
    if not 0 < per_token <= count:
        rule = f"must be from 1 to the {count} experts"
        raise view.error("num_experts_per_tok", rule, per_token, code="bad_experts_per_token")
    width = view.count(*_EXPERT_WIDTH_KEYS) or view.count(*_WIDTH_KEYS)
    if not width:
        raise view.missing("moe_intermediate_size", code="bad_intermediate")
    latent = view.count("moe_latent_size", "routed_expert_hidden_size")
    shared_width = view.count(*_SHARED_WIDTH_KEYS) or width * view.count(*_SHARED_COUNT_KEYS)
    inner = latent or hidden
    home = "" if plan.mlp == "both" else "mlp."
    matrices = [
        Matrix("router", f"{home}gate", hidden * count),
        Matrix("experts", f"{home}experts.0.down_proj", count * sizes.matrices * width * inner),
    ]
    if latent:
        matrices.append(Matrix("mlp", "mlp.latent_proj", 2 * hidden * latent))
    if shared_width:
        matrices.append(Matrix("shared_experts", "mlp.shared_expert.down_proj", sizes.matrices * hidden * shared_width))
    experts = Experts(
        num_experts=count,
        experts_per_token=per_token,
        width=width,
        num_matrices=sizes.matrices,
        input_width=inner,
        shared_width=shared_width,
    )
    return experts, matrices
