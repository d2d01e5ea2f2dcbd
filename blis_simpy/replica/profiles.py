"""Engine profiles: named sets of defaults for the settings in which engines differ.

A profile sets only the fields that a scenario leaves unset. `build_engine` builds the engine of completed settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from blis_simpy import registry
from blis_simpy.errors import ScenarioError
from blis_simpy.replica.end_of_step import EndOfStepEngine
from blis_simpy.replica.engine_defaults import VLLM_GPU_MEMORY_UTILIZATION, StepLimits, vllm_step_limits
from blis_simpy.replica.length_limits import ClippedLengths, LengthLimits
from blis_simpy.replica.start_of_step import StartOfStepEngine
from blis_simpy.replica.step_rules import (
    FirstChunkFits,
    KeepOutputs,
    LatestAdmitted,
    LeastUrgent,
    SharedChunkLimit,
    StartOver,
    StepRules,
    WholeSequenceFits,
)
from blis_simpy.settings.fields import evolved

if TYPE_CHECKING:
    from blis_simpy.core.observers import Observers
    from blis_simpy.core.resources import BatchSlots
    from blis_simpy.latency.base import LatencyModel
    from blis_simpy.replica.engine import Engine
    from blis_simpy.replica.kv_store import KVStore
    from blis_simpy.replica.settings import EngineSettings, KVSettings
    from blis_simpy.replica.tier_transfers import TierTransfers
    from blis_simpy.replica.wait_queue import WaitQueue

_S = TypeVar("_S")

__all__ = ["build_engine", "with_engine_defaults", "with_kv_defaults"]

_ENGINE: Mapping[str, Mapping[str, Any]] = {
    "blis": {
        "max_num_seqs": 256,
        "max_num_batched_tokens": 2048,
        "long_prefill_threshold_if_alone": True,
        "over_length": "drop",
        "step_effects": "start",
        "async_scheduling": False,
        "reserve_full_sequence": False,
        "victim": "latest",
        "resume": "restart",
    },
    "vllm": {
        "long_prefill_threshold_if_alone": False,
        "over_length": "clip",
        "step_effects": "end",
        "async_scheduling": True,
        "reserve_full_sequence": True,
        "resume": "recompute",
    },
}
_KV: Mapping[str, Mapping[str, Any]] = {
    "blis": {"capacity_rules": "blis", "reserved_blocks": 0, "gpu_memory_utilization": 0.9},
    # vLLM reserves one block as the null block of its block tables.
    "vllm": {
        "store": "block-pool",
        "capacity_rules": "vllm",
        "reserved_blocks": 1,
        "gpu_memory_utilization": VLLM_GPU_MEMORY_UTILIZATION,
    },
}


def with_kv_defaults(settings: KVSettings, engine: EngineSettings) -> KVSettings:
    """Set the unset KV settings to the defaults of an engine profile.

    Parameters
    ----------
    settings : KVSettings
        As given.
    engine : EngineSettings
        Settings of the engine, as given.

    Raises
    ------
    ScenarioError
        If the store does not support host blocks, disabled prefix caching, or the way preempted requests resume.
    """
    kv = _completed(settings, {"store": settings.chosen_store, **_KV[engine.profile]})
    store = kv.store.get("type") if isinstance(kv.store, Mapping) else kv.store
    if kv.cpu_blocks and store == "block-pool":
        hint = "set engine.profile (--engine-profile) to blis, or kv.store to two-tier and engine.resume to restart"
        raise ScenarioError.at("kv.cpu_blocks", "must be 0 with the KV store block-pool", kv.cpu_blocks, hint=hint)
    resume = engine.resume or _ENGINE[engine.profile]["resume"]
    if resume == "recompute" and store == "two-tier":
        raise ScenarioError.at("engine.resume", "must be restart with the KV store two-tier", resume)
    if not kv.prefix_caching and store in ("single-tier", "two-tier"):
        raise ScenarioError.at("kv.prefix_caching", f"must be true with the KV store {store}", False)
    if kv.tiers:
        _check_tiers(kv, store, resume, engine.step_effects or _ENGINE[engine.profile]["step_effects"])
    return kv


def _check_tiers(kv: KVSettings, store: object, resume: str, step_effects: str) -> None:
    hint = "KV tiers need the engine profile vllm"
    if store != "block-pool":
        raise ScenarioError.at("kv.store", "must be block-pool with kv.tiers", store, hint=hint)
    if step_effects != "end":
        raise ScenarioError.at("engine.step_effects", "must be end with kv.tiers", step_effects, hint=hint)
    if resume != "recompute":
        raise ScenarioError.at("engine.resume", "must be recompute with kv.tiers", resume, hint=hint)
    if not kv.prefix_caching:
        raise ScenarioError.at("kv.prefix_caching", "must be true with kv.tiers", False)


def with_engine_defaults(
    settings: EngineSettings, *, gpu_name: str | None, gpu_memory_gib: float | None, max_model_len: int
) -> EngineSettings:
    """Set the unset engine settings to the defaults of the profile.

    Parameters
    ----------
    settings : EngineSettings
        Settings of a scenario.
    gpu_name : str or None
        Name of the GPU, if known.
    gpu_memory_gib : float or None
        Memory of a GPU, GiB, if known.
    max_model_len : int, tokens
        Cap on prompt and output, tokens; 0 = none.

    Raises
    ------
    ScenarioError
        If settings contradict each other.
    """
    defaults = dict(_ENGINE[settings.profile])
    if settings.profile == "vllm":
        limits = vllm_step_limits(
            gpu_name=gpu_name,
            gpu_memory_gib=gpu_memory_gib,
            max_model_len=max_model_len,
            max_num_seqs=settings.max_num_seqs,
            max_num_batched_tokens=settings.max_num_batched_tokens,
        )
        _check_limits(limits)
        defaults |= attrs.asdict(limits)
        defaults["victim"] = "least-urgent" if settings.scheduler == "priority" else "latest"
    engine = _completed(settings, defaults)
    if engine.async_scheduling and engine.step_effects == "start":
        raise ScenarioError.at("engine.async_scheduling", "must be false with effects at the start of a step", True)
    return engine


def _check_limits(limits: StepLimits) -> None:
    if limits.max_num_batched_tokens < limits.max_num_seqs:
        raise ScenarioError.at(
            "engine.max_num_batched_tokens",
            f"must be >= engine.max_num_seqs ({limits.max_num_seqs}) in the profile vllm",
            limits.max_num_batched_tokens,
        )


def _completed(settings: _S, defaults: Mapping[str, Any]) -> _S:
    return evolved(settings, **{name: value for name, value in defaults.items() if getattr(settings, name) is None})


def build_engine(
    settings: EngineSettings,
    *,
    max_model_len: int,
    reserved_blocks: int,
    latency: LatencyModel,
    queue: WaitQueue,
    kv: KVStore,
    slots: BatchSlots,
    observers: Observers,
    tiers: TierTransfers | None = None,
) -> Engine:
    """Build the engine of completed settings.

    Parameters
    ----------
    settings : EngineSettings
        Result of `with_engine_defaults`.
    max_model_len : int
        Cap on prompt and output, tokens; 0 = none.
    reserved_blocks : int
        KV blocks that requests cannot use, in addition to those of `kv`.
    latency, queue, kv, slots, observers, tiers
        As for `Engine`.
    """
    num_blocks = int(kv.pool.capacity)
    limits = ClippedLengths if settings.over_length == "clip" else LengthLimits
    parts = {
        "rules": _rules(settings, num_blocks, reserved_blocks, kv),
        "limits": limits(
            max_model_len, num_blocks, kv.block_size, min_input_tokens=int(settings.step_effects == "end")
        ),
        "block_size": kv.block_size,
        "latency": latency,
        "policy": registry.build("batching", settings.batching),
        "queue": queue,
        "kv": kv,
        "kv_blocks": kv.pool,
        "slots": slots,
        "observers": observers,
    }
    if settings.step_effects == "start":
        return StartOfStepEngine(**parts)
    parts["tiers"] = tiers
    return EndOfStepEngine(**parts, steps_ahead=int(bool(settings.async_scheduling)), pause_us=settings.idle_pause)


def _rules(settings: EngineSettings, num_blocks: int, reserved_blocks: int, kv: KVStore) -> StepRules:
    threshold, budget = settings.long_prefill_token_threshold, settings.max_num_batched_tokens
    assert budget is not None
    return StepRules(
        max_tokens=budget,
        max_chunk=threshold or budget,
        chunk_limit=(
            SharedChunkLimit(threshold, budget, adaptive=settings.long_prefill_token_threshold_adaptive)
            if threshold and not settings.long_prefill_threshold_if_alone
            else None
        ),
        admission=WholeSequenceFits(kv) if settings.reserve_full_sequence else FirstChunkFits(kv),
        kept_blocks=int(settings.watermark * (num_blocks + reserved_blocks)),
        victim=LeastUrgent() if settings.victim == "least-urgent" else LatestAdmitted(),
        resume=KeepOutputs() if settings.resume == "recompute" else StartOver(),
    )
