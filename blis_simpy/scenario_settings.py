"""The settings of a scenario: everything a simulation needs to know, in one value.

The value is immutable, picklable and comparable; it writes itself as YAML and makes changed copies of itself. It knows
the settings of each part of a simulation, but neither how these parts work nor how they run: `blis_simpy.scenario`
adds that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from os import PathLike
from typing import Any, Self

from blis_simpy.cluster.processes import Process
from blis_simpy.cluster.settings import (
    Admission,
    AdmissionSettings,
    LifecycleSettings,
    NodePool,
    ReplicaGroup,
    RouterSettings,
    Routing,
)
from blis_simpy.errors import Problem, ScenarioError
from blis_simpy.latency.settings import Latency, LatencySettings
from blis_simpy.replica.settings import EngineSettings, KVSettings
from blis_simpy.settings.field_types import Accepts, OptionalDuration, OptionalPath, Part, Parts, Plugin
from blis_simpy.settings.fields import evolved, setting, settings_class
from blis_simpy.settings.updates import updated
from blis_simpy.workload.settings import Workload
from blis_simpy.workload.traffic import Traffic

__all__ = ["ScenarioSettings"]

# What distinguishes a specification, client by client, from the settings of one stream of requests.
_SPECIFICATION_KEYS = frozenset({"clients", "cohorts", "aggregate_rate", "servegen_data", "inference_perf"})


def _read_traffic(value: Any) -> Any:
    """Read a workload specification, from its file or from plain data; anything else is returned as it is.

    A mapping is a specification if it has a key that only a specification has.
    """
    is_specification = isinstance(value, Mapping) and not _SPECIFICATION_KEYS.isdisjoint(value)
    if isinstance(value, str) or is_specification:
        # Few scenarios have one, and its classes take a while to make.
        from blis_simpy.workload.load_workload import load_workload, read_workload

        return load_workload(value) if isinstance(value, str) else read_workload(value)
    if not isinstance(value, Mapping | Traffic | None):
        rule = "must be a Workload, a WorkloadSpec, a mapping of settings or the name of a file"
        raise ScenarioError(Problem(rule=rule, value=value))
    return value


@settings_class
class ScenarioSettings:
    """Description of a serving deployment and its traffic."""

    model: str = setting(help="Model, as organisation/name; case does not matter.", flag="--model")
    model_config: OptionalPath = setting(
        default=None,
        help="Folder that holds the model's config.json; unset means looked up beside the defaults file.",
        is_path=True,
        flag="--model-config-folder",
    )
    hardware: str | None = setting(
        default=None,
        help="GPU, in the spelling of the hardware table; unset means the model's default.",
        flag="--hardware",
    )
    hardware_config: OptionalPath = setting(
        default=None,
        help="GPU table (JSON); unset means the one beside the defaults file.",
        is_path=True,
        flag="--hardware-config",
    )
    defaults: OptionalPath = setting(
        default=None,
        help="Defaults file; unset means the one that is shipped.",
        is_path=True,
        flag="--defaults-filepath",
    )
    tp: int | None = setting(
        default=None,
        help="Tensor-parallel degree; unset means the model's default.",
        unit="GPUs",
        ge=1,
        flag="--tp",
        absent="0",
    )
    engine_version: str | None = setting(
        default=None, help="Version of the serving engine, a key of the table of coefficients.", flag="--vllm-version"
    )
    replicas: int = setting(default=1, help="Number of replicas.", unit="replicas", ge=1, flag="--num-instances")
    admission: Accepts[AdmissionSettings, AdmissionSettings | Admission] = setting(
        factory=AdmissionSettings, help="Admission of requests into the cluster."
    )
    router: Accepts[RouterSettings, RouterSettings | Routing] = setting(
        factory=RouterSettings, help="Routing of admitted requests to replicas."
    )
    seed: int = setting(default=42, help="Seed of all random streams.", ge=0, flag="--seed")
    horizon: OptionalDuration = setting(
        default=None,
        help="End of simulated time, or text like 2s; unset: when all is served, in a replay twice the last arrival.",
        unit="ticks",
        gt=0,
        dimension="duration",
        flag="--horizon",
    )
    latency: Accepts[LatencySettings, LatencySettings | Latency] = setting(
        factory=LatencySettings, help="Latency model and its coefficients."
    )
    engine: Part[EngineSettings] = setting(factory=EngineSettings, help="Limits and policies of a replica.")
    kv: Part[KVSettings] = setting(factory=KVSettings, help="KV cache of a replica.")
    workload: Accepts[Workload | Traffic | None, Traffic | Mapping[str, Any] | str | PathLike[str] | None] = setting(
        default=None,
        convert=_read_traffic,
        help="Traffic: settings, a workload specification, or the name of its file; unset where a trace is replayed.",
    )
    groups: Parts[ReplicaGroup] = setting(
        default=(),
        help="Groups of replicas that are alike, in place of `replicas`: other models, other GPUs.",
    )
    node_pools: Parts[NodePool] = setting(
        default=(),
        help="Nodes that replicas are placed on; without any, GPUs are no limit.",
    )
    processes: Accepts[tuple[Plugin, ...], Sequence[Process]] = setting(
        default=(),
        help="Processes to add to the simulation, each called with it before it runs.",
        kind="process",
    )
    lifecycle: Part[LifecycleSettings] = setting(factory=LifecycleSettings, help="How replicas come and go.")

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

    def __hash__(self) -> int:
        # Of what cannot be a mapping; options of policies and parameters of length laws can.
        return hash((self.model, self.hardware, self.tp, self.replicas, self.horizon, self.seed))

    def with_(self, **changes: Any) -> Self:
        """Copy the scenario with some settings changed.

        Parameters
        ----------
        **changes
            New values by name; settings inside a part by dotted path, items of a list by their index:
            ``with_(**{"engine.max_num_seqs": 8, "workload.clients[0].rate_fraction": 2})``.

        Raises
        ------
        ScenarioError
            With one problem for every unknown path and every bad value.
        """
        return updated(self, changes)

    def to_yaml(self) -> str:
        """Write the scenario as YAML that `load_scenario` reads, without what is at its default.

        A policy that was given as a class, or as an instance without options, is written by its name, and read back
        as that. Relative paths stay as they are; they hold in a file in the working directory.

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
        """Write the scenario to a file that `load_scenario` reads; paths in it are made absolute.

        Parameters
        ----------
        path : str or path-like
            The file; replaced if there is one.

        Raises
        ------
        ScenarioError
            As `to_yaml` does, or if the file cannot be written; an older one is left as it was.
        """
        from blis_simpy.files.text_files import write_text

        write_text(path, self._written(absolute_paths=True))

    def _written(self, **options: bool) -> str:
        from blis_simpy.settings.serialize import to_plain, to_yaml  # few scenarios are written

        return to_yaml(to_plain(self, **options))

    def _repr_html_(self) -> str:
        try:
            text = self.to_yaml()
        except ScenarioError:  # it holds a policy without a name
            text = repr(self)
        return f"<pre>{escape(text)}</pre>"

    @property
    def end(self) -> int | None:
        """End of simulated time, tick: the horizon, else that of the traffic, else None."""
        return self.workload.ends_at if self.horizon is None and self.workload is not None else self.horizon

    def by_group(self) -> list[Self]:
        """Return a scenario for each group, with the settings of its replicas; the scenario itself without groups."""
        if not self.groups:
            return [self]
        alone = evolved(self, groups=())
        return [evolved(alone, **group.changes()) for group in self.groups]
