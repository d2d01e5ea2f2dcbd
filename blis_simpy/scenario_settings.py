"""Settings of a scenario: the complete description of a simulation, as one value.

The value is immutable, picklable and comparable; it can be written as YAML and copied with changes.
`blis_simpy.scenario` adds the methods that simulate it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from blis_simpy.cluster.settings import (
    Admission,
    AdmissionSettings,
    DisaggregationSettings,
    LifecycleSettings,
    MigrationSettings,
    NodePool,
    Process,
    ReplicaGroup,
    RouterSettings,
    Routing,
)
from blis_simpy.core.slo_targets import SLOTargets
from blis_simpy.errors import Problem, ScenarioError
from blis_simpy.latency.settings import Latency, LatencySettings
from blis_simpy.network.settings import NetworkSettings
from blis_simpy.plain_values import DataFrame
from blis_simpy.replica.settings import EngineSettings, KVSettings
from blis_simpy.settings.bounds import MAX_REPLICAS
from blis_simpy.settings.convert import structure
from blis_simpy.settings.field_types import (
    Accepts,
    NamedParts,
    OptionalDuration,
    OptionalPart,
    OptionalPath,
    Part,
    Parts,
    Plugin,
)
from blis_simpy.settings.fields import evolved, setting, settings_class
from blis_simpy.settings.updates import updated
from blis_simpy.workload.settings import Workload
from blis_simpy.workload.traffic import Traffic

if TYPE_CHECKING:
    from os import PathLike

    from blis_simpy.core.request import Request
    from blis_simpy.trace_files.trace import Trace

__all__ = ["ScenarioSettings"]

# Keys that only one kind of workload has.
_SPECIFICATION_KEYS = frozenset({"clients", "cohorts", "aggregate_rate", "servegen_data", "inference_perf"})
_USER_KEYS = frozenset({"users", "stages"})


def _read_traffic(value: Any) -> Any:
    """Read a workload of another kind than `Workload`, from its file or from plain data.

    The keys of a mapping show its kind. Anything else is returned as it is.
    """
    is_specification = isinstance(value, Mapping) and not _SPECIFICATION_KEYS.isdisjoint(value)
    if isinstance(value, str) or is_specification:
        # Here and below: few scenarios have one, and its classes take a while to make.
        from blis_simpy.workload.load_workload import load_workload, read_workload

        return load_workload(value) if isinstance(value, str) else read_workload(value)
    if isinstance(value, Mapping) and not _USER_KEYS.isdisjoint(value):
        from blis_simpy.workload.users import UserWorkload

        return structure(value, UserWorkload)
    if isinstance(value, Mapping) and "sessions" in value:
        from blis_simpy.session_workload import SessionWorkload

        return structure(value, SessionWorkload)
    if isinstance(value, Mapping) and "trace" in value:
        from blis_simpy.recorded_workloads import TraceWorkload

        return structure(value, TraceWorkload)
    if isinstance(value, Mapping) and "requests" in value:
        from blis_simpy.recorded_workloads import RequestWorkload

        return structure(value, RequestWorkload)
    return value if isinstance(value, Mapping | Traffic | None) else _read_recording(value)


def _read_recording(value: Any) -> Traffic:
    """Make a workload of a trace or of requests."""
    from blis_simpy.core.request import Request
    from blis_simpy.recorded_workloads import RequestWorkload, TraceWorkload
    from blis_simpy.trace_files.trace import Trace

    if isinstance(value, Trace):
        return TraceWorkload(trace=value)
    if isinstance(value, DataFrame):
        return RequestWorkload.of_table(value)
    if isinstance(value, tuple) and all(isinstance(item, Request) for item in value):
        return RequestWorkload(value)
    rule = (
        "must be a workload such as Workload or UserWorkload, a Trace, a list or data frame of requests, a mapping "
        "of settings or the name of a file"
    )
    raise ScenarioError(Problem(rule=rule, value=value))


@settings_class
class ScenarioSettings:
    """Description of a serving deployment and its traffic."""

    model: str = setting(help="Model, as organisation/name; case-insensitive.", flag="--model")
    model_config: OptionalPath = setting(
        default=None,
        help="Folder with the config.json of the model; unset means the catalog, or else Hugging Face.",
        is_path=True,
        flag="--model-config-folder",
    )
    hardware: str | None = setting(
        default=None,
        help="GPU, as named in the hardware table; case-insensitive; unset means the usual one of the model.",
        flag="--hardware",
    )
    hardware_config: OptionalPath = setting(
        default=None,
        help="Hardware table (JSON); unset means the shipped one.",
        is_path=True,
        flag="--hardware-config",
    )
    defaults: OptionalPath = setting(
        default=None,
        help="Defaults file; unset means the shipped one.",
        is_path=True,
        flag="--defaults-filepath",
    )
    tp: int | None = setting(
        default=None,
        help="Tensor-parallel degree; unset means the usual one of the model.",
        unit="GPUs",
        ge=1,
        flag="--tp",
        absent="0",
    )
    engine_version: str | None = setting(
        default=None, help="Version of the serving engine, a key of the tables of coefficients.", flag="--vllm-version"
    )
    replicas: int = setting(
        default=1, help="Number of replicas.", unit="replicas", ge=1, le=MAX_REPLICAS, flag="--num-instances"
    )
    admission: Accepts[AdmissionSettings, AdmissionSettings | Admission] = setting(
        factory=AdmissionSettings, help="Admission of requests into the cluster."
    )
    router: Accepts[RouterSettings, RouterSettings | Routing] = setting(
        factory=RouterSettings, help="Routing of admitted requests to replicas."
    )
    seed: int = setting(default=42, help="Seed of all random streams.", ge=0, le=2**63 - 1, flag="--seed")
    horizon: OptionalDuration = setting(
        default=None,
        help="End of simulated time; unset means when all requests have ended, in a replay of a TraceV2 file in the "
        "profile blis twice the last arrival.",
        unit="ticks",
        gt=0,
        le=2**63 - 1,
        dimension="duration",
        flag="--horizon",
    )
    latency: Accepts[LatencySettings, LatencySettings | Latency] = setting(
        factory=LatencySettings, help="Latency model and its coefficients."
    )
    engine: Part[EngineSettings] = setting(factory=EngineSettings, help="Limits and policies of a replica.")
    kv: Part[KVSettings] = setting(factory=KVSettings, help="KV cache of a replica.")
    workload: Accepts[
        Workload | Traffic | None,
        "Traffic | Trace | Sequence[Request] | DataFrame | Mapping[str, Any] | str | PathLike[str] | None",
    ] = setting(
        default=None,
        convert=_read_traffic,
        help="Traffic: its settings, closed-loop users, a trace, a workload specification or the name of its file; "
        "unset for a replay.",
    )
    groups: Parts[ReplicaGroup] = setting(
        default=(),
        help="Groups of identical replicas, for several models or GPUs, in place of `replicas`.",
    )
    disaggregation: Part[DisaggregationSettings] = setting(
        factory=DisaggregationSettings, help="Prefill and decode on different replicas, by the roles of `groups`."
    )
    migration: Part[MigrationSettings] = setting(
        factory=MigrationSettings, help="Migration of decoding requests between replicas."
    )
    node_pools: Parts[NodePool] = setting(
        default=(),
        help="Pools of nodes that replicas are placed on; without pools, GPUs are unlimited.",
    )
    network: OptionalPart[NetworkSettings] = setting(
        default=None, help="Network between replicas; unset means that transfers do not share bandwidth."
    )
    processes: Accepts[tuple[Plugin, ...], Sequence[Process]] = setting(
        default=(),
        help="Processes to add to the simulation: failures, autoscalers, traffic of your own.",
        kind="process",
    )
    lifecycle: Part[LifecycleSettings] = setting(
        factory=LifecycleSettings, help="Loading, warm-up and draining of replicas."
    )
    slo: NamedParts[SLOTargets] = setting(
        factory=dict, help="Targets by SLO class; those under `*` are for the requests of all other classes."
    )

    def __attrs_post_init__(self) -> None:
        if not self.model:
            raise ScenarioError(Problem(path="model", rule="must not be empty"))
        if isinstance(self.workload, Workload) and self.workload.num_requests == 0 and self.horizon is None:
            raise ScenarioError(
                Problem(path="workload.num_requests", rule="must be > 0 unless there is a horizon", value=0)
            )
        if self.groups and self.replicas != 1:
            raise ScenarioError.at("replicas", "must be left out where groups are given", self.replicas)
        names = [pool.name for pool in self.node_pools]
        for position, name in enumerate(names):
            if name in names[:position]:
                raise ScenarioError.at(f"node_pools[{position}].name", "must be unique", name)
            if self.node_pools[position].network is not None and self.network is None:
                raise ScenarioError.at(f"node_pools[{position}].network", "needs the network of the scenario")
        if self.network is not None and self.network.nodes_per_rack is not None and not self.node_pools:
            raise ScenarioError.at("network.nodes_per_rack", "needs node_pools", self.network.nodes_per_rack)

    def __hash__(self) -> int:
        # Of fields that cannot hold a mapping, as options of policies and parameters of distributions do.
        return hash((self.model, self.hardware, self.tp, self.replicas, self.horizon, self.seed))

    def with_(self, **changes: Any) -> Self:
        """Copy the scenario with some settings replaced.

        Parameters
        ----------
        **changes
            New values by name, or by dotted path inside a part, with the index of an item of a list:
            ``with_(**{"engine.max_num_seqs": 8, "workload.clients[0].rate_fraction": 2})``.

        Raises
        ------
        ScenarioError
            With one problem for every unknown path and every bad value.
        """
        return updated(self, changes)

    def to_yaml(self) -> str:
        """Write the scenario as YAML that `load_scenario` reads, without settings at their defaults.

        A policy that was given as a class or an instance is written by its registered name. Relative paths are not
        changed; they are relative to the working directory.

        Raises
        ------
        ScenarioError
            With one problem for every value that cannot be written, such as a policy without a registered name.

        Examples
        --------
        >>> from blis_simpy import Scenario
        >>> print(Scenario(model="qwen/qwen3-14b", workload=Workload(rate="20/s", num_requests=50)).to_yaml(), end="")
        model: qwen/qwen3-14b
        workload:
          rate: 20.0
          num_requests: 50
        """
        return self._written()

    def write(self, path: str | PathLike[str]) -> None:
        """Write the scenario to a file that `load_scenario` reads, with absolute paths.

        Parameters
        ----------
        path : str or path-like
            The file; an existing one is replaced.

        Raises
        ------
        ScenarioError
            As `to_yaml` does, or if the file cannot be written; an existing one is then unchanged.
        """
        from blis_simpy.files.outputs import write_text

        write_text(path, self._written(absolute_paths=True))

    def _written(self, **options: bool) -> str:
        from blis_simpy.settings.serialize import to_plain, to_yaml  # few scenarios are written

        return to_yaml(to_plain(self, **options))

    def _repr_html_(self) -> str:
        from html import escape

        try:
            text = self.to_yaml()
        except ScenarioError:  # it holds a policy without a name
            text = repr(self)
        return f"<pre>{escape(text)}</pre>"

    @property
    def end(self) -> int | None:
        """End of simulated time, tick: the horizon, or else that of the workload, or else None."""
        return self.workload.ends_at if self.horizon is None and self.workload is not None else self.horizon

    @property
    def roles(self) -> list[str]:
        """Role of each group; without groups, that of all replicas: ``both``."""
        return [group.role for group in self.groups] or ["both"]

    @property
    def is_as_in_blis(self) -> bool:
        """Whether all replicas have the engine profile ``blis``, in which a run follows the reference."""
        return all(group.engine.profile == "blis" for group in self.by_group())

    def traffic(self) -> Traffic | None:
        """Return the workload as a run has it: in the engine profile ``blis`` as in the reference."""
        return self.workload.as_in_blis() if self.workload is not None and self.is_as_in_blis else self.workload

    def by_group(self) -> list[Self]:
        """Return one scenario per group, with the settings of its replicas; without groups, the scenario itself."""
        if not self.groups:
            return [self]
        alone = evolved(self, groups=())
        return [evolved(alone, **group.changes()) for group in self.groups]
