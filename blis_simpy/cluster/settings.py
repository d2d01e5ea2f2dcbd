"""Settings of the deployment in front of and around the replicas: groups of them, nodes they run on, their lives."""

from __future__ import annotations

from typing import Any

import attrs

from blis_simpy.errors import Problem, ScenarioError, joined
from blis_simpy.latency.settings import LatencySettings
from blis_simpy.replica.settings import EngineSettings, KVSettings
from blis_simpy.settings.convert import structure
from blis_simpy.settings.fields import ReprMixin, setting

__all__ = ["DRAIN_POLICIES", "LifecycleSettings", "NodePool", "ReplicaGroup", "structure_list"]

DRAIN_POLICIES = ("wait", "immediate", "redirect")


@attrs.frozen(kw_only=True, repr=False)
class ReplicaGroup(ReprMixin):
    """Replicas that are alike. What is not given is as in the scenario.

    A group with a model of its own does not take over the scenario's `model_config`.
    """

    model: str | None = setting(None, help="Model, as organisation/name.")
    model_config: str | None = setting(None, help="Folder that holds the model's config.json.", is_path=True)
    hardware: str | None = setting(None, help="GPU, in the spelling of the hardware table.")
    tp: int | None = setting(None, help="Tensor-parallel degree.", unit="GPUs", ge=1)
    engine_version: str | None = setting(None, help="Version of the serving engine.")
    replicas: int = setting(1, help="Number of replicas of the group.", unit="replicas", ge=1)
    latency: LatencySettings | None = setting(None, help="Latency model.")
    engine: EngineSettings | None = setting(None, help="Limits and policies of a replica.")
    kv: KVSettings | None = setting(None, help="KV cache of a replica.")

    def changes(self) -> dict[str, Any]:
        """Return what differs from the scenario, by the name of the scenario's setting."""
        given = {field.name: getattr(self, field.name) for field in attrs.fields(ReplicaGroup)}
        changes = {name: value for name, value in given.items() if value is not None}
        if self.model is not None:
            changes.setdefault("model_config", None)
        return changes


@attrs.frozen(kw_only=True, repr=False)
class NodePool(ReprMixin):
    """Nodes with the same GPUs, on which replicas are placed."""

    name: str = setting(help="Name of the pool; its nodes are called <name>-0, <name>-1 and so on.")
    gpu_type: str = setting(help="GPU, in the spelling of the hardware table.")
    gpus_per_node: int = setting(8, help="GPUs of a node.", unit="GPUs", ge=1)
    initial_nodes: int = setting(1, help="Nodes that are ready at the start.", unit="nodes", ge=0)
    min_nodes: int = setting(0, help="Fewest nodes that draining may leave.", unit="nodes", ge=0)
    max_nodes: int | None = setting(None, help="Most nodes at a time; unset means no limit.", unit="nodes", ge=0)
    provisioning_delay: int = setting(
        0, help="Mean time until a further node is ready.", unit="us", ge=0, dimension="duration"
    )
    provisioning_delay_stddev: int = setting(
        0, help="Standard deviation of that time.", unit="us", ge=0, dimension="duration"
    )

    def __attrs_post_init__(self) -> None:
        problems = [
            Problem(path=name, rule="must not be empty") for name in ("name", "gpu_type") if not getattr(self, name)
        ]
        if self.max_nodes is not None:
            problems += [
                Problem(path="max_nodes", rule=f"must be >= {name} ({least})", value=self.max_nodes)
                for name in ("initial_nodes", "min_nodes")
                if (least := getattr(self, name)) > self.max_nodes
            ]
        if problems:
            raise ScenarioError(problems)


@attrs.frozen(kw_only=True, repr=False)
class LifecycleSettings(ReprMixin):
    """How replicas come and go."""

    loading_delay: int = setting(
        0,
        help="Mean time to load the model, for replicas that are placed on nodes, added or restored.",
        unit="us",
        ge=0,
        dimension="duration",
    )
    loading_delay_stddev: int = setting(
        0, help="Standard deviation of that time.", unit="us", ge=0, dimension="duration"
    )
    warm_up_requests: int = setting(
        0, help="Requests that a new replica completes until it is warm.", unit="requests", ge=0
    )
    warm_up_ttft_factor: float = setting(
        1.0, help="By how much the TTFT of the first requests of a replica is longer, in the aggregate figures.", ge=1
    )
    drain_policy: str = setting(
        "wait",
        help="What becomes of the wait queue of a replica that is drained: served, dropped, or routed anew.",
        choices=DRAIN_POLICIES,
    )


def structure_list(name: str, cls: type[Any], items: Any) -> Any:
    """Read a list of settings, each of which may be plain data; for the converter of a field.

    Raises
    ------
    ScenarioError
        With one problem for every mistake, its path beginning with `name` and the position.
    """
    if not isinstance(items, tuple):
        return items
    made: list[Any] = []
    problems: list[Problem] = []
    for position, item in enumerate(items):
        try:
            made.append(structure(item, cls))
        except ScenarioError as error:
            path = f"{name}[{position}]"
            problems += [attrs.evolve(problem, path=joined(path, problem.path)) for problem in error.problems]
    if problems:
        raise ScenarioError(problems)
    return tuple(made)
