"""Workload specification: traffic of many clients.

The same classes are written in Python and read from YAML (`blis_simpy.workload.load_workload`). The clients are listed,
or come from the load of the inference-perf benchmark, or from measured data in the layout of ServeGen; cohorts may be
added to each of the three.
"""

from __future__ import annotations

import logging
from typing import ClassVar
from urllib.parse import quote

import attrs

from blis_simpy.errors import Problem, ScenarioError
from blis_simpy.settings.fields import setting
from blis_simpy.settings.serialize import to_yaml
from blis_simpy.workload.spec.arrival import check_cv
from blis_simpy.workload.spec.client import Client, TrafficSource
from blis_simpy.workload.spec.cohort import Cohort
from blis_simpy.workload.spec.inference_perf import InferencePerf
from blis_simpy.workload.spec.reference_format import to_reference
from blis_simpy.workload.spec.servegen import ServegenData
from blis_simpy.workload.traffic import Traffic

__all__ = ["WorkloadSpec"]

_log = logging.getLogger("blis_simpy")

CATEGORIES = ("language", "multimodal", "reasoning")


@attrs.frozen(kw_only=True, repr=False)
class WorkloadSpec(Traffic):
    """Traffic described client by client. `Workload` is the short form for a single client.

    Raises
    ------
    ScenarioError
        If there is no source of traffic or more than one, no rate, or the arrival process of a client is out of range.

    Examples
    --------
    >>> from blis_simpy.core.random_streams import RandomStreams
    >>> chat = Client(id="chat", rate_fraction=1, arrival="constant", input_distribution=100, output_distribution=20)
    >>> workload = WorkloadSpec(clients=[chat], aggregate_rate="120/min", num_requests=3).generate(RandomStreams(1))
    >>> [request.arrived_at for request in workload.requests]
    [500000, 1000000, 1500000]
    """

    ALWAYS_WRITTEN: ClassVar[frozenset[str]] = frozenset({"version", "seed", "category", "clients", "aggregate_rate"})

    version: str = setting("2", help="Version of the file format.")
    seed: int = setting(0, help="Seed of the requests where no scenario sets one.")
    category: str = setting("", help="Label; empty means none.", choices=CATEGORIES, absent="")
    clients: tuple[Client, ...] = setting((), help="Clients.")
    cohorts: tuple[Cohort, ...] = setting((), help="Populations of equal clients.")
    aggregate_rate: float = setting(
        0.0,
        help="Requests, or starts of sessions, per second of all clients and cohorts together; > 0 but for "
        "inference_perf, whose stages set it.",
        unit="1/s",
        ge=0,
        dimension="rate",
    )
    horizon: int = setting(
        0, help="End of simulated time unless the scenario sets one; 0 means none.", unit="ticks", dimension="duration"
    )
    num_requests: int = setting(
        0,
        help="Number of requests, without those that sessions add in the simulation; 0 means all before the horizon.",
        unit="requests",
        ge=0,
    )
    servegen_data: ServegenData | None = setting(None, help="Clients from measured data in the layout of ServeGen.")
    inference_perf: InferencePerf | None = setting(None, help="Clients from the load of the inference-perf benchmark.")

    def __attrs_post_init__(self) -> None:
        origins = [name for name in ("clients", "servegen_data", "inference_perf") if getattr(self, name)]
        problems: list[Problem] = []
        if len(origins) > 1:
            problems.append(Problem(path=origins[1], rule=f"must not be given beside {origins[0]}"))
        if not origins and not self.cohorts:
            problems.append(Problem(path="clients", rule="must not be empty, unless there is another source"))
        if not self.inference_perf and self.aggregate_rate == 0:
            problems.append(Problem(path="aggregate_rate", rule="must be > 0", value=self.aggregate_rate))
        for index, client in enumerate(self.clients):
            try:
                check_cv(client.arrival, f"clients[{index}].arrival")
            except ScenarioError as error:
                problems += error.problems
        if problems:
            raise ScenarioError(problems)

    @property
    def ends_at(self) -> int | None:
        """Its horizon, tick; None if it has none."""
        return self.horizon if self.horizon > 0 else None

    @property
    def default_seed(self) -> int:
        """Its seed."""
        return self.seed

    def with_clients_listed(self) -> WorkloadSpec:
        """Return the same traffic with a list of clients in place of `inference_perf` or `servegen_data`.

        Raises
        ------
        ScenarioError
            If the files of measured data cannot be read or are wrong.
        """
        if self.inference_perf is not None:
            load = self.inference_perf
            if self.aggregate_rate not in (0, load.aggregate_rate):
                _log.warning("aggregate_rate %g is replaced by that of the stages", self.aggregate_rate)
            chats = load.shared_prefix.enable_multi_turn_chat
            return attrs.evolve(
                self,
                clients=load.clients(),
                inference_perf=None,
                aggregate_rate=load.aggregate_rate,
                category=self.category or ("reasoning" if chats else "language"),
            )
        if self.servegen_data is not None:
            return attrs.evolve(self, clients=self.servegen_data.clients(), servegen_data=None)
        return self

    def sources(self, defaults: str | None = None) -> list[TrafficSource]:
        """Clients and members of cohorts; see `Traffic.sources`.

        The random streams of a source are named after its id; an id that is empty or taken gets ``#<position>``
        appended.
        """
        spec = self.with_clients_listed()
        named = [(client.id, client, index, client.id) for index, client in enumerate(spec.clients)]
        for index, cohort in enumerate(spec.cohorts, start=len(spec.clients)):
            member = cohort.member()
            named += [(f"{cohort.id}-{number}", member, index, cohort.id) for number in range(cohort.population)]
        total = 0.0
        for _, client, _, _ in named:  # from left to right, as in the reference: the order decides the last bit
            total += client.rate_fraction
        taken: set[str] = set()
        sources = []
        for position, (name, client, process, process_name) in enumerate(named):
            stream = quote(name, safe=" ")
            if not stream or stream in taken:
                stream += f"#{position}"
            taken.add(stream)
            rate = spec.aggregate_rate * (client.rate_fraction / total)
            if rate > 0:
                sources.append(TrafficSource(name, stream, client, rate, process, process_name))
        return sources

    def to_yaml(self) -> str:
        """Write the specification as YAML that `load_workload` and BLIS read; what is at its default is left out.

        Raises
        ------
        ScenarioError
            If something in it cannot be written.
        """
        return to_yaml(to_reference(self))
