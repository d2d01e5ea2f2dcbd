"""The settings of a scenario: everything a simulation needs to know, in one value.

The value is immutable, picklable and comparable; it writes itself as YAML and makes changed copies of itself. It knows
the settings of each part of a simulation, but neither how these parts work nor how they run: `blis_simpy.scenario`
adds that.
"""

from __future__ import annotations

from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any, Self

import attrs

from blis_simpy.cluster.scorers import parse_scorers
from blis_simpy.cluster.settings import LifecycleSettings, NodePool, ReplicaGroup, structure_list
from blis_simpy.errors import Problem, ScenarioError
from blis_simpy.latency.settings import LatencySettings
from blis_simpy.replica.settings import EngineSettings, KVSettings
from blis_simpy.settings import fields
from blis_simpy.settings.fields import Plugin, setting
from blis_simpy.settings.updates import updated
from blis_simpy.workload.settings import Workload
from blis_simpy.workload.traffic import Traffic

if TYPE_CHECKING:
    from os import PathLike


__all__ = ["ScenarioSettings"]


@attrs.frozen(kw_only=True, repr=False)
class ScenarioSettings(fields.ReprMixin):
    """Description of a serving deployment and its traffic."""

    model: str = setting(help="Model, as organisation/name; case does not matter.", flag="--model")
    model_config: str | None = setting(
        None,
        help="Folder that holds the model's config.json; unset means looked up beside the defaults file.",
        is_path=True,
        flag="--model-config-folder",
    )
    hardware: str | None = setting(
        None, help="GPU, in the spelling of the hardware table; unset means the model's default.", flag="--hardware"
    )
    hardware_config: str | None = setting(
        None,
        help="GPU table (JSON); unset means the one beside the defaults file.",
        is_path=True,
        flag="--hardware-config",
    )
    defaults: str | None = setting(
        None, help="Defaults file; unset means the one that is shipped.", is_path=True, flag="--defaults-filepath"
    )
    tp: int | None = setting(
        None,
        help="Tensor-parallel degree; unset means the model's default.",
        unit="GPUs",
        ge=1,
        flag="--tp",
        absent="0",
    )
    engine_version: str | None = setting(
        None, help="Version of the serving engine, a key of the table of coefficients.", flag="--vllm-version"
    )
    replicas: int = setting(1, help="Number of replicas.", unit="replicas", ge=1, flag="--num-instances")
    admission: Plugin = setting(
        "always-admit", help="Who is let into the cluster.", kind="admission", flag="--admission-policy"
    )
    token_bucket_capacity: float = setting(
        10_000.0,
        help="What the bucket of the admission policy token-bucket holds; > 0 if that is used.",
        unit="tokens",
        flag="--token-bucket-capacity",
    )
    token_bucket_refill_rate: float = setting(
        1_000.0,
        help="How fast the bucket of the admission policy token-bucket refills; > 0 if that is used.",
        unit="tokens/s",
        flag="--token-bucket-refill-rate",
    )
    admission_latency: int = setting(
        0,
        help="Time from the arrival of a request to its admission.",
        unit="us",
        ge=0,
        dimension="duration",
        flag="--admission-latency",
    )
    routing: Plugin = setting("round-robin", help="Who goes to which replica.", kind="routing", flag="--routing-policy")
    routing_latency: int = setting(
        0,
        help="Time from the admission of a request to its routing.",
        unit="us",
        ge=0,
        dimension="duration",
        flag="--routing-latency",
    )
    scorers: Any = setting(
        None,
        help="Mix of the routing policy weighted, as name:weight,...; unset means that of the reference.",
        flag="--routing-scorers",
        absent="",
    )
    snapshot_refresh_interval: int = setting(
        0,
        help="Age from which the router looks at a replica anew; 0 means always.",
        unit="us",
        ge=0,
        dimension="duration",
        flag="--snapshot-refresh-interval",
    )
    trace_level: str = setting(
        "none",
        help="Which decisions to keep a log of: none, or decisions, which means all of them.",
        choices=("none", "decisions"),
        flag="--trace-level",
    )
    counterfactual_k: int = setting(
        0,
        help="How many candidates to log with each routing decision, and their regret; 0 means neither.",
        unit="replicas",
        ge=0,
        flag="--counterfactual-k",
    )
    seed: int = setting(42, help="Seed of all random streams.", ge=0, flag="--seed")
    horizon: int | None = setting(
        None,
        help="End of simulated time, or text like 2s; unset: when all is served, in a replay twice the last arrival.",
        unit="ticks",
        gt=0,
        dimension="duration",
        flag="--horizon",
    )
    latency: LatencySettings = setting(factory=LatencySettings, help="Latency model.")
    engine: EngineSettings = setting(factory=EngineSettings, help="Limits and policies of a replica.")
    kv: KVSettings = setting(factory=KVSettings, help="KV cache of a replica.")
    workload: Workload | Traffic | None = setting(
        None,
        help="Traffic: settings, a workload specification, or the name of its file; unset where a trace is replayed.",
    )
    groups: tuple[ReplicaGroup, ...] = setting(
        (),
        help="Groups of replicas that are alike, in place of `replicas`: other models, other GPUs.",
        converter=partial(structure_list, "groups", ReplicaGroup),
    )
    node_pools: tuple[NodePool, ...] = setting(
        (),
        help="Nodes that replicas are placed on; without any, GPUs are no limit.",
        converter=partial(structure_list, "node_pools", NodePool),
    )
    lifecycle: LifecycleSettings = setting(factory=LifecycleSettings, help="How replicas come and go.")

    def __attrs_post_init__(self) -> None:
        if not self.model:
            raise ScenarioError(Problem(path="model", rule="must not be empty"))
        if self.admission == "token-bucket":
            for name in ("token_bucket_capacity", "token_bucket_refill_rate"):
                if getattr(self, name) <= 0:
                    raise ScenarioError.at(name, "must be > 0", getattr(self, name))
        if self.routing == "weighted" and self.scorers is not None:
            parse_scorers(self.scorers)
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
        alone = attrs.evolve(self, groups=())
        return [attrs.evolve(alone, **group.changes()) for group in self.groups]
