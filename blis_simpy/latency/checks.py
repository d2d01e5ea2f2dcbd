"""What a latency model asks of its coefficients and figures before it is built."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from blis_simpy.errors import Problem, ScenarioError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blis_simpy.catalog.hardware import Gpu
    from blis_simpy.catalog.models import ModelSpec

__all__ = ["check_alpha", "check_beta", "check_roofline_figures", "check_tp"]

NUM_ALPHA = 3


def check_alpha(alpha: Sequence[float]) -> None:
    """Require three finite, non-negative coefficients of the per-request delays; surplus ones count too.

    Raises
    ------
    ScenarioError
        With code ``alpha_too_short`` or ``alpha_bad_value``.
    """
    _check_coefficients("alpha", alpha, NUM_ALPHA)


def check_beta(beta: Sequence[float], at_least: int) -> None:
    """Require enough finite, non-negative coefficients of the step time; surplus ones count too.

    Raises
    ------
    ScenarioError
        With code ``beta_too_short`` or ``beta_bad_value``.
    """
    _check_coefficients("beta", beta, at_least)


def check_tp(tp: int) -> None:
    """Require a positive tensor-parallel degree.

    Raises
    ------
    ScenarioError
        With code ``bad_tp``.
    """
    if tp <= 0:
        raise ScenarioError.at("tp", "must be >= 1", tp, code="bad_tp")


def check_roofline_figures(model: ModelSpec | None, gpu: Gpu | None) -> tuple[ModelSpec, Gpu]:
    """Require all figures of the model and of the GPU that a roofline rests on.

    Returns
    -------
    model, gpu
        Those given, now known to be there.

    Raises
    ------
    ScenarioError
        With one problem for each figure that is wrong, all of code ``invalid_roofline_config``.
    """
    problems: list[Problem] = []

    def require(ok: bool, path: str, rule: str, value: object) -> None:
        if not ok:
            of_model = path.startswith("model.") and model is not None and model.name
            hint = f"figures of {model.name}" if model is not None and of_model else ""
            problems.append(Problem(path=path, rule=rule, value=value, hint=hint, code="invalid_roofline_config"))

    if model is None:
        require(False, "model", "must be known: its architecture figures are needed", None)
    if gpu is None:
        require(False, "hardware", "must be known: the figures of the GPU are needed", None)
    if model is None or gpu is None:
        raise ScenarioError(problems)

    experts, per_token = model.num_experts, model.experts_per_token
    for name in ("num_heads", "num_layers", "hidden_size"):
        value = getattr(model, name)
        require(value > 0, f"model.{name}", "must be > 0", value)
    require(_positive(model.bytes_per_param), "model.bytes_per_param", "must be > 0", model.bytes_per_param)
    for name in ("tflops", "bandwidth_tb_s", "mfu_prefill", "mfu_decode"):
        value = getattr(gpu, name)
        require(_positive(value), f"gpu.{name}", "must be finite and > 0", value)
    require(experts >= 0, "model.num_experts", "must be >= 0", experts)
    path = "model.experts_per_token"
    if experts > 1:
        require(per_token > 0, path, f"must be > 0 with {experts} experts", per_token)
        require(per_token <= experts, path, f"must be at most the {experts} experts", per_token)
    if experts == 0:
        require(per_token <= 0, path, "must be 0 without experts", per_token)
    for name in ("moe_intermediate_size", "shared_expert_intermediate_size"):
        value = getattr(model, name)
        require(value >= 0, f"model.{name}", "must be >= 0", value)
    for path, value in (
        ("gpu.memory_gib", gpu.memory_gib),
        ("gpu.fp8_tflops", gpu.fp8_tflops),
        ("model.weight_bytes_per_param", model.weight_bytes_per_param),
    ):
        require(math.isfinite(value) and value >= 0, path, "must be finite and >= 0", value)
    if problems:
        raise ScenarioError(problems)
    return model, gpu


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0


def _check_coefficients(name: str, values: Sequence[float], at_least: int) -> None:
    if len(values) < at_least:
        rule = f"must have at least {at_least} coefficients"
        raise ScenarioError.at(name, rule, list(values), code=f"{name}_too_short")
    for index, value in enumerate(values):
        if not (math.isfinite(value) and value >= 0):
            raise ScenarioError.at(f"{name}[{index}]", "must be finite and >= 0", value, code=f"{name}_bad_value")
