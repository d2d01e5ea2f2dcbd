"""Blocks whose state has a fixed size: state space, linear attention and convolution, with their matrices."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from blis_simpy.catalog.checkpoint.architecture import Recurrence
from blis_simpy.catalog.checkpoint.sizes import Matrix

if TYPE_CHECKING:
    from blis_simpy.catalog.checkpoint.config import ConfigView
    from blis_simpy.catalog.checkpoint.sizes import Sizes

__all__ = ["read_recurrence"]

_MAMBA2_HEAD_KEYS = ("mamba_num_heads", "mamba_n_heads", "num_heads")
_STATE_TYPE_KEYS = ("mamba_ssm_cache_dtype", "mamba_ssm_dtype")
_FLOAT32_BYTES = 4.0


def read_recurrence(view: ConfigView, sizes: Sizes) -> tuple[Recurrence, list[Matrix]]:
    """Read the block; which kind it is follows from the keys that describe it.

    Raises
    ------
    ScenarioError
        If no kind is described that is known here.
    """
    if view.has("linear_num_value_heads"):
        return _gated_delta(view, sizes)
    if view.has("linear_attn_config", "linear_num_heads"):
        return _kimi_delta(view, sizes)
    if view.has("conv_L_cache"):
        return _short_convolution(view, sizes)
    if view.has("lru_width"):
        return _gated_linear_recurrence(view, sizes)
    if view.has("mamba_d_state", "ssm_state_size", "state_size"):
        return (_mamba2 if view.has(*_MAMBA2_HEAD_KEYS) else _mamba)(view, sizes)
    if (view.has("attn_type_list", "layer_group_size") or view.flag("lightning_attention")) and sizes.heads:
        return _lightning(view, sizes)
    rule = "names layers that are no attention, but no state-space, linear-attention or convolution figures are known"
    raise view.error("layer_types", rule, code="unknown_layer_type")


def _state(
    view: ConfigView, sizes: Sizes, kind: str, heads: int, key: int, value: int, channels: int, kernel: int
) -> Recurrence:
    """Build the block; convolutions keep the last ``kernel - 1`` inputs."""
    state_bytes = _FLOAT32_BYTES if view.text(*_STATE_TYPE_KEYS) == "float32" else sizes.compute_bytes
    kept = channels * max(kernel - 1, 0) * sizes.compute_bytes
    return Recurrence(
        kind=kind,
        num_heads=heads,
        key_dim=key,
        value_dim=value,
        conv_width=channels,
        conv_kernel=kernel,
        state_bytes=heads * key * value * state_bytes + kept,
    )


def _required(view: ConfigView, *keys: str) -> int:
    value = view.count(*keys)
    if not value:
        raise view.error(keys[0], "must be > 0 in a model with such layers")
    return value


def _gated_delta(view: ConfigView, sizes: Sizes) -> tuple[Recurrence, list[Matrix]]:
    key_heads, key = _required(view, "linear_num_key_heads"), _required(view, "linear_key_head_dim")
    heads, value = _required(view, "linear_num_value_heads"), _required(view, "linear_value_head_dim")
    kernel = view.count("linear_conv_kernel_dim", default=4)
    keys, values = key_heads * key, heads * value
    matrices = [
        Matrix("recurrence", "linear_attn.in_proj_qkv", sizes.hidden * (2 * keys + values)),
        Matrix("recurrence", "linear_attn.in_proj_z", sizes.hidden * values),
        Matrix("recurrence", "linear_attn.in_proj_ba", sizes.hidden * 2 * heads),
        Matrix("other", "linear_attn.conv1d", (2 * keys + values) * kernel),
        Matrix("recurrence", "linear_attn.out_proj", values * sizes.hidden),
    ]
    return _state(view, sizes, "gated-delta", heads, key, value, 2 * keys + values, kernel), matrices


def _kimi_delta(view: ConfigView, sizes: Sizes) -> tuple[Recurrence, list[Matrix]]:
    heads = _required(view, "linear_num_heads", "linear_attn_config.num_heads")
    width = _required(view, "linear_head_dim", "linear_attn_config.head_dim")
    kernel = view.count("linear_attn_config.short_conv_kernel_size", "linear_conv_kernel_dim", default=4)
    values = heads * width
    gate, full_gate = sizes.hidden * width + width * values, sizes.hidden * values
    full_rank = view.flag("full_rank_gates")
    matrices = [
        *(Matrix("recurrence", f"self_attn.{name}_proj", sizes.hidden * values) for name in "qkv"),
        Matrix("other", "self_attn.conv1d", 3 * values * kernel),
        Matrix("recurrence", "self_attn.f_proj", full_gate if full_rank else gate),
        Matrix(
            "recurrence",
            "self_attn.g_proj",
            full_gate if full_rank or view.flag("linear_attn_config.use_full_rank_gate") else gate,
        ),
        Matrix("recurrence", "self_attn.b_proj", sizes.hidden * heads),
        Matrix("recurrence", "self_attn.o_proj", values * sizes.hidden),
    ]
    return _state(view, sizes, "delta", heads, width, width, 3 * values, kernel), matrices


def _lightning(view: ConfigView, sizes: Sizes) -> tuple[Recurrence, list[Matrix]]:
    width = view.count("head_dim", default=max(sizes.hidden // sizes.heads, 1))
    inner = sizes.heads * width
    matrices = [
        Matrix("recurrence", "self_attn.qkv_proj", 3 * sizes.hidden * inner),
        Matrix("recurrence", "self_attn.output_gate", sizes.hidden * inner),
        Matrix("recurrence", "self_attn.out_proj", inner * sizes.hidden),
    ]
    return _state(view, sizes, "lightning", sizes.heads, width, width, 0, 0), matrices


def _short_convolution(view: ConfigView, sizes: Sizes) -> tuple[Recurrence, list[Matrix]]:
    kernel, hidden = _required(view, "conv_L_cache"), sizes.hidden
    matrices = [
        Matrix("recurrence", "mixer.in_proj", 3 * hidden * hidden),
        Matrix("other", "mixer.conv1d", hidden * kernel),
        Matrix("recurrence", "mixer.out_proj", hidden * hidden),
    ]
    return _state(view, sizes, "conv", 0, 0, 0, hidden, kernel), matrices


def _gated_linear_recurrence(view: ConfigView, sizes: Sizes) -> tuple[Recurrence, list[Matrix]]:
    width, kernel = _required(view, "lru_width"), view.count("conv1d_width", default=4)
    heads = max(sizes.heads, 1)
    matrices = [
        Matrix("recurrence", "mixer.linear_x", sizes.hidden * width),
        Matrix("recurrence", "mixer.linear_y", sizes.hidden * width),
        Matrix("recurrence", "mixer.linear_out", width * sizes.hidden),
        Matrix("recurrence", "mixer.gates", 2 * width * width // heads),
        Matrix("other", "mixer.conv1d", width * kernel),
    ]
    return _state(view, sizes, "rg-lru", 1, 1, width, width, kernel), matrices


def _mamba2(view: ConfigView, sizes: Sizes) -> tuple[Recurrence, list[Matrix]]:
    heads = _required(view, *_MAMBA2_HEAD_KEYS)
    state = _required(view, "ssm_state_size", "mamba_d_state", "state_size")
    inner = view.count("mamba_d_ssm") or _inner_width(view, sizes)
    width = view.get("mamba_d_head")
    if isinstance(width, str) or not view.has("mamba_d_head", "mamba_head_dim", "head_dim"):
        width = inner // heads
    else:
        width = view.count("mamba_head_dim", "mamba_d_head", "head_dim", default=1)
    inner = heads * width
    groups = view.count("n_groups", "mamba_n_groups", "mamba_ngroups", default=1)
    kernel = view.count("conv_kernel", "mamba_d_conv", default=4)
    channels = inner + 2 * groups * state
    matrices = [
        Matrix("recurrence", "mixer.in_proj", sizes.hidden * (inner + channels + heads)),
        Matrix("other", "mixer.conv1d", channels * kernel),
        Matrix("recurrence", "mixer.out_proj", inner * sizes.hidden),
    ]
    return _state(view, sizes, "mamba2", heads, state, width, channels, kernel), matrices


def _inner_width(view: ConfigView, sizes: Sizes) -> int:
    if not sizes.heads and (inner := view.count("intermediate_size")):
        return inner  # of a model without MLPs
    expand = view.number("mamba_expand") or view.number("expand", 2.0)
    inner = int(expand * sizes.hidden)
    if inner <= 0:
        raise view.error("expand", "must be > 0", expand)
    return inner


def _mamba(view: ConfigView, sizes: Sizes) -> tuple[Recurrence, list[Matrix]]:
    inner = _inner_width(view, sizes)
    state = _required(view, "mamba_d_state", "state_size", "ssm_state_size")
    kernel = view.count("mamba_d_conv", "conv_kernel", default=4)
    rank = 0
    for key in ("mamba_dt_rank", "time_step_rank"):
        if not isinstance(view.get(key), str):
            rank = rank or view.count(key)
    rank = rank or math.ceil(sizes.hidden / 16)
    matrices = [
        Matrix("recurrence", "mixer.in_proj", sizes.hidden * 2 * inner),
        Matrix("other", "mixer.conv1d", inner * kernel),
        Matrix("recurrence", "mixer.x_proj", inner * (rank + 2 * state)),
        Matrix("recurrence", "mixer.dt_proj", rank * inner),
        Matrix("other", "mixer.A_log", inner * state),
        Matrix("recurrence", "mixer.out_proj", inner * sizes.hidden),
    ]
    return _state(view, sizes, "mamba", 1, state, inner, inner, kernel), matrices
