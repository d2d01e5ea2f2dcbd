"""Checks of the coefficients and figures of a latency model before it is built."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from blis_simpy.errors import Problem, ScenarioError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from blis_simpy.catalog.hardware import Gpu
    from blis_simpy.catalog.models import ModelSpec

__all__ = [
    "check_alpha",
    "check_beta",
    "check_kernel_figures",
    "check_known",
    "check_model_shape",
    "check_placement",
    "check_roofline_figures",
    "check_sharded_figures",
    "check_tp",
]

NUM_ALPHA = 3
_CODE_OF_SHAPE = {
    "num_layers": "bad_layers",
    "num_heads": "bad_heads",
    "hidden_size": "bad_hidden",
    "intermediate_size": "bad_intermediate",
}


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


def check_model_shape(model: ModelSpec | None) -> ModelSpec:
    """Require layers, heads and width of the model.

    Returns
    -------
    model
        That given, now known to be there.

    Raises
    ------
    ScenarioError
        With one problem for each figure that is wrong: ``missing_model``, ``bad_layers``, ``bad_heads``,
        ``bad_hidden``.
    """
    if model is None:
        raise ScenarioError(_missing_model())
    if problems := _shape_problems(model, "num_layers", "num_heads", "hidden_size"):
        raise ScenarioError(problems)
    return model


def check_sharded_figures(model: ModelSpec | None, gpu: Gpu | None, tp: int) -> tuple[ModelSpec, Gpu]:
    """Require the figures of the model and of the GPU, and heads that `tp` GPUs can share evenly.

    Returns
    -------
    model, gpu
        Those given, now known to be there.

    Raises
    ------
    ScenarioError
        With one problem for each figure that is wrong: ``missing_model``, ``missing_gpu``, ``bad_layers``,
        ``bad_heads``, ``bad_hidden``, ``bad_intermediate``, ``heads_not_divisible_by_tp``,
        ``kv_heads_not_divisible_by_tp``, ``bad_tflops``, ``bad_bandwidth``.
    """
    problems = [_missing_model()] if model is None else []
    if gpu is None:
        problems.append(_missing_gpu())
    if model is None or gpu is None:
        raise ScenarioError(problems)
    problems = _shape_problems(model, *_CODE_OF_SHAPE)
    hint = _usable_tp(model)
    for heads, kind, code in (
        (model.num_heads, "attention heads", "heads_not_divisible_by_tp"),
        (model.kv_heads, "KV heads", "kv_heads_not_divisible_by_tp"),
    ):
        if heads % tp:
            rule = f"must divide the {heads} {kind} of {model.name or 'the model'}"
            problems.append(Problem(path="tp", rule=rule, value=tp, hint=hint, code=code))
    for name, code in (("tflops", "bad_tflops"), ("bandwidth_tb_s", "bad_bandwidth")):
        value = getattr(gpu, name)
        if not _positive(value):
            problems.append(Problem(path=f"gpu.{name}", rule="must be finite and > 0", value=value, code=code))
    if problems:
        raise ScenarioError(problems)
    return model, gpu


def check_known(model: ModelSpec | None, gpu: Gpu | None) -> tuple[ModelSpec, Gpu]:
    """Require a model and a GPU, and return them.

    Raises
    ------
    ScenarioError
        ``missing_model``, ``missing_gpu``.
    """
    problems = [_missing_model()] if model is None else []
    if gpu is None:
        problems.append(_missing_gpu())
    if model is None or gpu is None:
        raise ScenarioError(problems)
    return model, gpu


def check_kernel_figures(model: ModelSpec) -> None:
    """Require the flat figures of the model that kernel times depend on.

    Raises
    ------
    ScenarioError
        With one problem for each figure that is wrong: codes of `check_sharded_figures`, ``bad_bytes_per_param``,
        ``bad_experts_per_token``.
    """
    problems = _shape_problems(model, "num_layers", "num_heads", "hidden_size")
    mixture = model.num_experts > 1
    width = (mixture and model.moe_intermediate_size) or model.intermediate_size
    if width <= 0:
        problems += _shape_problems(model, "intermediate_size")
    if not _positive(model.bytes_per_param):
        path, rule = "model.bytes_per_param", "must be finite and > 0"
        problems.append(Problem(path=path, rule=rule, value=model.bytes_per_param, code="bad_bytes_per_param"))
    if mixture and not 0 < model.experts_per_token <= model.num_experts:
        path, rule = "model.experts_per_token", f"must be from 1 to the {model.num_experts} experts"
        problems.append(Problem(path=path, rule=rule, value=model.experts_per_token, code="bad_experts_per_token"))
    if problems:
        raise ScenarioError(problems)


def check_placement(heads: Iterable[tuple[int, int]], name: str, *, tp: int, dp: int, experts: bool) -> None:
    """Require a placement that vLLM accepts; unlike `check_sharded_figures`, `tp` may be a multiple of the KV heads.

    Parameters
    ----------
    heads : iterable of (int, int)
        Attention heads and KV heads of each kind of layer.
    name : str
        Name of the model, for messages.
    tp, dp : int
        Tensor-parallel and data-parallel degree.
    experts : bool
        Whether the model is a mixture of experts.

    Raises
    ------
    ScenarioError
        ``heads_not_divisible_by_tp``, ``kv_heads_not_divisible_by_tp``, ``bad_dp``, ``dp_needs_experts``.
    """
    problems = dict.fromkeys(problem for pair in heads for problem in _placement_problems(*pair, name, tp))
    if dp < 1:
        problems[Problem(path="dp", rule="must be >= 1", value=dp, code="bad_dp")] = None
    elif dp > 1 and not experts:
        rule, hint = "must be 1 without a mixture of experts", "add replicas to scale a dense model"
        problems[Problem(path="dp", rule=rule, value=dp, hint=hint, code="dp_needs_experts")] = None
    if problems:
        raise ScenarioError(problems)


def _placement_problems(heads: int, kv_heads: int, name: str, tp: int) -> Iterator[Problem]:
    name = name or "the model"
    if heads % tp:
        rule = f"must divide the {heads} attention heads of {name}"
        yield Problem(path="tp", rule=rule, value=tp, code="heads_not_divisible_by_tp")
    if kv_heads % tp and tp % kv_heads:
        rule = f"must divide the {kv_heads} KV heads of {name}, or be a multiple of them"
        yield Problem(path="tp", rule=rule, value=tp, code="kv_heads_not_divisible_by_tp")


def _missing_gpu() -> Problem:
    rule = "must be known: the figures of the GPU are needed"
    return Problem(path="hardware", rule=rule, value=None, code="missing_gpu")


def _missing_model() -> Problem:
    rule = "must be known: its architecture figures are needed"
    return Problem(path="model", rule=rule, value=None, code="missing_model")


def _shape_problems(model: ModelSpec, *names: str) -> list[Problem]:
    hint = f"figures of {model.name}" if model.name else ""
    return [
        Problem(path=f"model.{name}", rule="must be > 0", value=value, hint=hint, code=_CODE_OF_SHAPE[name])
        for name in names
        if (value := getattr(model, name)) <= 0
    ]


def _usable_tp(model: ModelSpec) -> str:
    """Degrees that divide both kinds of heads."""
    common = math.gcd(model.num_heads, model.kv_heads)
    return f"possible: {', '.join(str(tp) for tp in range(1, common + 1) if common % tp == 0)}"


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0


def _check_coefficients(name: str, values: Sequence[float], at_least: int) -> None:
    if len(values) < at_least:
        rule = f"must have at least {at_least} coefficients"
        raise ScenarioError.at(name, rule, list(values), code=f"{name}_too_short")
    for index, value in enumerate(values):
        if not (math.isfinite(value) and value >= 0):
            raise ScenarioError.at(f"{name}[{index}]", "must be finite and >= 0", value, code=f"{name}_bad_value")
