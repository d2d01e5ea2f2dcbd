"""Settings that a scenario gives and that cannot change its runs, because of other settings."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy import registry
from blis_simpy.settings.description import find_setting
from blis_simpy.settings.plugin_options import plugin_label

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from blis_simpy.replica.settings import EngineSettings, KVSettings
    from blis_simpy.scenario_settings import ScenarioSettings

__all__ = ["shared_settings", "unused_settings"]

_BLIND_SCHEDULERS = ("fcfs", "priority", "sjf")
"""Schedulers of the library whose order is independent of the priority policy."""
_BLIND_ADMISSION = ("always-admit", "reject-all", "token-bucket")
"""Admission policies of the library, which read no snapshots."""


def unused_settings(scenario: ScenarioSettings) -> list[str]:
    """Say which settings have no effect, and why: one clause each.

    A setting at its default is never listed. Processes may add, drain and restore replicas, so what concerns these is
    listed only without processes.

    Examples
    --------
    >>> unused_settings(Scenario(model="qwen/qwen3-14b", engine={"priority": "slo-based"}))
    ["engine.priority (--priority-policy) has no effect: the scheduler 'fcfs' ignores priorities"]
    """
    return [
        *_of_cluster(scenario),
        *_of_replica(scenario.engine, scenario.kv, ""),
        *(
            clause
            for index, group in enumerate(scenario.groups)
            for clause in _of_replica(group.engine, group.kv, f"groups[{index}].")
        ),
    ]


def shared_settings(scenarios: Collection[ScenarioSettings]) -> set[str]:
    """Return those clauses of `unused_settings` that are due to a comparison of some scenarios.

    A setting without effect in one scenario is there for another one that has the same value and is affected by it, as
    a loading delay of the baseline is for the candidate with an autoscaler.
    """
    clauses = [(scenario, unused_settings(scenario)) for scenario in scenarios]
    return {
        clause
        for scenario, unused in clauses
        for clause in unused
        if any(clause not in others and _is_same(clause, scenario, other) for other, others in clauses)
    }


def _is_same(clause: str, one: ScenarioSettings, other: ScenarioSettings) -> bool:
    """Whether two scenarios have the same value of the setting that a clause begins with."""
    path = clause.partition(" ")[0]
    # A group belongs to its scenario.
    return not path.startswith("groups[") and bool(attrgetter(path)(one) == attrgetter(path)(other))


def _of_cluster(scenario: ScenarioSettings) -> Iterator[str]:
    router, lifecycle = scenario.router, scenario.lifecycle
    num_replicas = sum(group.replicas for group in scenario.groups) or scenario.replicas
    is_fixed = not scenario.processes and not scenario.node_pools
    if is_fixed and num_replicas == 1 and _plugin("admission", scenario.admission.policy, _BLIND_ADMISSION):
        yield from _unused(router, "router.", "there is only one replica", "snapshot_interval")
    if not router.decision_log:
        reason = "it needs router.decision_log (--trace-level decisions)"
        yield from _unused(router, "router.", reason, "decision_alternatives")
    if is_fixed:
        reason = "replicas that exist at the start are loaded; it needs node_pools, or processes that change replicas"
        yield from _unused(
            lifecycle, "lifecycle.", reason, "loading_delay", "loading_delay_stddev", "weights_bandwidth"
        )
    if lifecycle.weights_bandwidth is None:
        yield from _unused(lifecycle, "lifecycle.", "it needs lifecycle.weights_bandwidth", "weights_size")
    if set(scenario.roles) == {"both"}:
        names = ("decider", "prefill_policy", "transfer", "first_token", "num_layers")
        yield from _unused(scenario.disaggregation, "disaggregation.", "no group is for prefill or decode only", *names)
    if not lifecycle.warm_up_requests:
        yield from _unused(lifecycle, "lifecycle.", "it needs lifecycle.warm_up_requests", "warm_up_ttft_factor")
    if not scenario.processes:
        yield from _unused(lifecycle, "lifecycle.", "it needs processes that drain replicas", "drain_policy")


def _of_replica(engine: EngineSettings | None, kv: KVSettings | None, prefix: str) -> Iterator[str]:
    if engine is not None:
        path = f"{prefix}engine."
        if _plugin("scheduler", engine.scheduler, _BLIND_SCHEDULERS):
            reason = f"the scheduler {plugin_label(engine.scheduler)!r} ignores priorities"
            yield from _unused(engine, path, reason, "priority")
        if not engine.long_prefill_token_threshold:
            reason = f"it needs {path}long_prefill_token_threshold"
            yield from _unused(
                engine, path, reason, "long_prefill_token_threshold_adaptive", "long_prefill_threshold_if_alone"
            )
        if (engine.step_effects or {"blis": "start"}.get(engine.profile, "end")) == "start":
            yield from _unused(engine, path, "steps take effect at their start", "idle_pause")
    if kv is not None:
        path = f"{prefix}kv."
        yield from _unused(kv, path, "it is accepted for compatibility", "offload_threshold")
        if not kv.cpu_blocks and (kv.store is None or isinstance(kv.store, str)):
            yield from _unused(kv, path, f"it needs {path}cpu_blocks", "transfer_bandwidth", "transfer_base_latency")
        if kv.blocks is not None:
            reason = f"{path}blocks is given, so the number of blocks is not computed"
            yield from _unused(kv, path, reason, "reserved_blocks", "gpu_memory_utilization")


def _plugin(kind: str, spec: Any, names: tuple[str, ...]) -> bool:
    """Whether a field holds one of the plug-ins of these names: by name, class or instance."""
    plugin = registry.plugin_of(kind, spec)
    cls = plugin if isinstance(plugin, type) else type(plugin)
    return cls in [registry.get(kind, name) for name in names]


def _unused(settings: Any, path: str, reason: str, *names: str) -> Iterator[str]:
    for attribute in attrs.fields(type(settings)):
        if attribute.alias in names and getattr(settings, attribute.name) != attribute.default:
            known = find_setting(attribute)
            flag = f" ({known.flag})" if known is not None and known.flag else ""
            yield f"{path}{attribute.alias}{flag} has no effect: {reason}"
