"""Settings of a cluster: admission, routing, replica groups, node pools, life cycle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from blis_simpy.cluster.policies import AdmissionPolicy, Decider, MigrationPolicy, RoutingPolicy
from blis_simpy.errors import Problem, ScenarioError
from blis_simpy.latency.settings import Latency, LatencySettings
from blis_simpy.network.settings import PoolNetwork
from blis_simpy.replica.settings import EngineSettings, KVSettings
from blis_simpy.settings.bounds import MAX_NODES, MAX_REPLICAS
from blis_simpy.settings.field_types import (
    Accepts,
    Duration,
    OptionalBandwidth,
    OptionalPart,
    OptionalPath,
    OptionalSize,
    Plugin,
)
from blis_simpy.settings.fields import fields_of, setting, settings_class

__all__ = [
    "CHECKS",
    "DRAIN_POLICIES",
    "ROLES",
    "Admission",
    "AdmissionSettings",
    "DisaggregationSettings",
    "LifecycleSettings",
    "MigrationSettings",
    "NodePool",
    "Process",
    "ReplicaGroup",
    "RouterSettings",
    "Routing",
]

CHECKS = ("full",)
"""Sets of invariants that a simulation can check while it runs."""
DRAIN_POLICIES = ("wait", "immediate", "redirect", "migrate")
ROLES = ("both", "prefill", "decode")
TRANSFERS = ("pull", "layered")

Admission: TypeAlias = str | Mapping[str, Any] | AdmissionPolicy | Callable[..., AdmissionPolicy]
"""Admission policy: a registered name, a mapping of name and options, an instance, or a callable that returns one."""
Routing: TypeAlias = str | Mapping[str, Any] | RoutingPolicy | Callable[..., RoutingPolicy]
"""Routing policy: a registered name, a mapping of name and options, an instance, or a callable that returns one."""

Migration: TypeAlias = str | Mapping[str, Any] | MigrationPolicy | Callable[..., MigrationPolicy]
"""Migration policy: a registered name, a mapping of name and options, an instance, or a callable that returns one."""
Process: TypeAlias = str | Mapping[str, Any] | Callable[..., object]
"""Process of a scenario: a registered name, a mapping of type and options, a function, a class or an instance."""
DeciderLike: TypeAlias = str | Mapping[str, Any] | Decider | Callable[..., Decider]
"""Decider: a registered name, a mapping of name and options, an instance, or a callable that returns one."""


@settings_class
class AdmissionSettings:
    """Admission of requests.

    In a file or a mapping, the options of the policy are keys beside its name. A policy in place of these settings
    means the settings with this policy.
    """

    policy: Accepts[Plugin, Admission] = setting(
        default="always-admit",
        help="Admission policy: decides which requests are accepted.",
        kind="admission",
        inline=True,
        flag="--admission-policy",
    )
    delay: Duration = setting(
        default=0,
        help="Time from the arrival of a request to its admission.",
        unit="us",
        ge=0,
        dimension="duration",
        flag="--admission-latency",
    )


@settings_class
class RouterSettings:
    """Routing of admitted requests to replicas.

    In a file or a mapping, the options of the policy are keys beside its name. A policy in place of these settings
    means the settings with this policy.
    """

    policy: Accepts[Plugin, Routing] = setting(
        default="round-robin",
        help="Routing policy: chooses the replica of each request.",
        kind="routing",
        inline=True,
        flag="--routing-policy",
    )
    delay: Duration = setting(
        default=0,
        help="Time from the admission of a request to its routing.",
        unit="us",
        ge=0,
        dimension="duration",
        flag="--routing-latency",
    )
    snapshot_interval: Duration = setting(
        default=0,
        help="Age from which the router's snapshot of a replica is refreshed; 0 means always current.",
        unit="us",
        ge=0,
        dimension="duration",
        flag="--snapshot-refresh-interval",
    )
    decision_log: bool = setting(
        default=False, help="Keep a log of all admission and routing decisions.", flag="--trace-level"
    )
    decision_alternatives: int = setting(
        default=0,
        help="Number of best candidates to log with each routing decision, with its regret; 0 means neither.",
        unit="replicas",
        ge=0,
        flag="--counterfactual-k",
    )


@settings_class
class ReplicaGroup:
    """Group of identical replicas. Unset fields have the values of the scenario.

    A group with its own model does not inherit the `model_config` of the scenario.
    """

    model: str | None = setting(default=None, help="Model, as organisation/name; case-insensitive.")
    model_config: OptionalPath = setting(default=None, help="Folder with the config.json of the model.", is_path=True)
    hardware: str | None = setting(default=None, help="GPU, as named in the hardware table; case-insensitive.")
    tp: int | None = setting(default=None, help="Tensor-parallel degree.", unit="GPUs", ge=1, le=1024)
    engine_version: str | None = setting(default=None, help="Version of the serving engine.")
    replicas: int = setting(default=1, help="Number of replicas of the group.", unit="replicas", ge=1, le=MAX_REPLICAS)
    role: str = setting(
        default="both",
        help="Phases that the replicas serve: prefill computes prompts for others, decode gets their KV blocks, both "
        "does either.",
        choices=ROLES,
    )
    latency: Accepts[LatencySettings | None, LatencySettings | Latency | None] = setting(
        default=None, help="Latency model and its coefficients."
    )
    engine: OptionalPart[EngineSettings] = setting(default=None, help="Limits and policies of a replica.")
    kv: OptionalPart[KVSettings] = setting(default=None, help="KV cache of a replica.")

    def changes(self) -> dict[str, Any]:
        """Return the settings that differ from those of the scenario, by name."""
        # The role is of the group, and no setting of a replica.
        given = {field.name: getattr(self, field.name) for field in fields_of(ReplicaGroup) if field.name != "role"}
        changes = {name: value for name, value in given.items() if value is not None}
        if self.model is not None:
            changes.setdefault("model_config", None)
        return changes


@settings_class
class DisaggregationSettings:
    """Prefill and decode of a request on different replicas; in effect with groups of the roles prefill or decode.

    The policy of `router` chooses the replica that decodes, then the decider decides whether another replica computes
    the prompt, which `prefill_policy` chooses.
    """

    decider: Accepts[Plugin, DeciderLike] = setting(
        default="always",
        help="Decider: decides whether a prefill replica computes the prompt of a request.",
        kind="decider",
    )
    prefill_policy: Accepts[Plugin, Routing] = setting(
        default="least-loaded", help="Routing policy that chooses the prefill replica.", kind="routing"
    )
    transfer: str = setting(
        default="pull",
        help="When KV blocks are sent: pull sends all of them after the prefill, layered each layer when it is "
        "computed.",
        choices=TRANSFERS,
    )
    first_token: str = setting(
        default="decode",
        help="Replica that gives the client its first token: decode computes the last prompt token again, as vLLM; "
        "with prefill, the first token does not wait for the transfer.",
        choices=("decode", "prefill"),
    )
    dispatch_delay: Duration = setting(
        default=0,
        help="Time from the end of the prefill until the decode replica gets the request.",
        unit="us",
        ge=0,
        dimension="duration",
    )
    hold_timeout: Duration = setting(
        default=480_000_000,
        help="Maximum time for which a replica holds KV blocks that another one has not read; then the request starts "
        "over.",
        unit="us",
        gt=0,
        dimension="duration",
    )
    num_layers: int | None = setting(
        default=None,
        help="Number of layers that a layered transfer sends one by one; unset means those of the model.",
        unit="layers",
        ge=1,
    )


@settings_class
class MigrationSettings:
    """Migration of decoding requests between replicas, at regular intervals."""

    policy: Accepts[Plugin | None, Migration | None] = setting(
        default=None,
        help="Migration policy: chooses requests to move to other replicas; unset means none.",
        kind="migration",
    )
    interval: Duration = setting(
        default=1_000_000,
        help="Time between two decisions.",
        unit="us",
        gt=0,
        dimension="duration",
    )


@settings_class
class NodePool:
    """Pool of nodes with the same GPUs."""

    name: str = setting(help="Name of the pool; its nodes are named <name>-0, <name>-1, ...")
    gpu_type: str = setting(help="GPU, as named in the hardware table; case-insensitive.")
    gpus_per_node: int = setting(default=8, help="Number of GPUs per node.", unit="GPUs", ge=1, le=1024)
    initial_nodes: int = setting(
        default=1, help="Number of nodes that are ready at the start.", unit="nodes", ge=0, le=MAX_NODES
    )
    min_nodes: int = setting(default=0, help="Minimum number of nodes that remain after draining.", unit="nodes", ge=0)
    max_nodes: int | None = setting(
        default=None, help="Maximum number of nodes; unset means unlimited.", unit="nodes", ge=0
    )
    provisioning_delay: Duration = setting(
        default=0, help="Mean time until an additional node is ready.", unit="us", ge=0, dimension="duration"
    )
    provisioning_delay_stddev: Duration = setting(
        default=0, help="Standard deviation of the provisioning delay.", unit="us", ge=0, dimension="duration"
    )
    network: OptionalPart[PoolNetwork] = setting(
        default=None, help="Network of the nodes; needs the `network` of the scenario."
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


@settings_class
class LifecycleSettings:
    """Loading, warm-up and draining of replicas."""

    loading_delay: Duration = setting(
        default=0,
        help="Mean time to load the model, for replicas that are placed on nodes, added or restored.",
        unit="us",
        ge=0,
        dimension="duration",
    )
    loading_delay_stddev: Duration = setting(
        default=0, help="Standard deviation of the loading delay.", unit="us", ge=0, dimension="duration"
    )
    weights_bandwidth: OptionalBandwidth = setting(
        default=None,
        help="Bandwidth of a store from which these replicas get their weights over the network before the loading "
        "delay; all that load at a time share it. Unset means that the loading delay includes the transfer.",
        unit="bytes/s",
        ge=1,
        finite=False,
        dimension="bandwidth",
    )
    weights_size: OptionalSize = setting(
        default=None,
        help="Size of the weights of a replica; unset means that of the model.",
        unit="bytes",
        ge=1,
        dimension="size",
    )
    warm_up_requests: int = setting(
        default=0, help="Number of requests that a new replica completes before it is warm.", unit="requests", ge=0
    )
    warm_up_ttft_factor: float = setting(
        default=1.0,
        help="Factor on the TTFT of the requests during warm-up, in aggregate metrics.",
        ge=1,
    )
    drain_policy: str = setting(
        default="wait",
        help="Requests of a drained replica: wait serves all, immediate drops the waiting ones, redirect routes them "
        "again, migrate moves the decoding ones to other replicas as well.",
        choices=DRAIN_POLICIES,
    )
