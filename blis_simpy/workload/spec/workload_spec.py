"""A workload specification: who sends requests, how often, of what length, in which conversations.

The same classes are written in Python and read from YAML (`blis_simpy.workload.spec.load_workload`). The traffic comes
from a list of clients, from a benchmark's load or from measured chunks, one of them; cohorts may be added to each.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, ClassVar

import attrs

from blis_simpy.errors import Problem, ScenarioError, joined
from blis_simpy.settings.field_types import Duration, OptionalPart, Parts, Rate
from blis_simpy.settings.fields import evolved, setting, settings_class
from blis_simpy.settings.serialize import to_plain, to_yaml
from blis_simpy.workload.settings import Traffic
from blis_simpy.workload.spec.client import Client, Source
from blis_simpy.workload.spec.cohort import Cohort
from blis_simpy.workload.spec.inference_perf import InferencePerf
from blis_simpy.workload.spec.servegen import ServegenData

if TYPE_CHECKING:
    from blis_simpy.core.random_streams import RandomStreams
    from blis_simpy.workload.preview import Preview
    from blis_simpy.workload.traffic import GeneratedWorkload

__all__ = ["WorkloadSpec"]

_log = logging.getLogger("blis_simpy")

CATEGORIES = ("language", "multimodal", "reasoning")


@settings_class
class WorkloadSpec(Traffic):
    """Traffic, client by client.

    Raises
    ------
    ScenarioError
        If there is no source of traffic or more than one, no rate, or a client is wrong.

    Examples
    --------
    >>> from blis_simpy.core.random_streams import RandomStreams
    >>> from blis_simpy.workload.spec.client import Arrival
    >>> from blis_simpy.workload.spec.length_distribution import LengthDistribution
    >>> chat = Client(
    ...     id="chat",
    ...     rate_fraction=1,
    ...     arrival=Arrival("constant"),
    ...     input_distribution=LengthDistribution("constant", {"value": 100}),
    ...     output_distribution=LengthDistribution("constant", {"value": 20}),
    ... )
    >>> workload = WorkloadSpec(clients=[chat], aggregate_rate="120/min", num_requests=3).generate(RandomStreams(1))
    >>> [request.arrived_at for request in workload.requests]
    [500000, 1000000, 1500000]
    """

    ALWAYS_WRITTEN: ClassVar[frozenset[str]] = frozenset({"version", "seed", "category", "clients", "aggregate_rate"})

    version: str = setting(default="2", help="Version of the layout.")
    seed: int = setting(default=0, help="Seed of the requests, where nothing else decides it.")
    category: str = setting(default="", help="Label; empty means none.", choices=CATEGORIES, absent="")
    clients: Parts[Client] = setting(default=(), help="Sources of requests.")
    cohorts: Parts[Cohort] = setting(default=(), help="Groups of equal sources.")
    aggregate_rate: Rate = setting(
        default=0.0, help="Requests, or sessions, of all clients together.", unit="1/s", ge=0, dimension="rate"
    )
    horizon: Duration = setting(
        default=0,
        help="End of simulated time unless the simulation has one; 0 means none.",
        unit="ticks",
        dimension="duration",
    )
    num_requests: int = setting(
        default=0, help="Number of requests before rounds that wait for others; 0 means up to the horizon.", ge=0
    )
    servegen_data: OptionalPart[ServegenData] = setting(default=None, help="Clients from measured chunks.")
    inference_perf: OptionalPart[InferencePerf] = setting(
        default=None, help="Clients from a benchmark's load, which sets the rate."
    )

    def __attrs_post_init__(self) -> None:
        sources = [name for name in ("clients", "servegen_data", "inference_perf") if getattr(self, name)]
        problems: list[Problem] = []
        if len(sources) > 1:
            problems.append(Problem(path=sources[1], rule=f"must not be given beside {sources[0]}"))
        if not sources and not self.cohorts:
            problems.append(Problem(path="clients", rule="must not be empty, unless there is another source"))
        if not self.inference_perf and self.aggregate_rate == 0:
            hint = "it has no default"
            problems.append(Problem(path="aggregate_rate", rule="must be > 0", value=self.aggregate_rate, hint=hint))
        for index, client in enumerate(self.clients):
            try:
                client.arrival.check_cv()
            except ScenarioError as error:
                problems += [attrs.evolve(p, path=joined(f"clients[{index}]", p.path)) for p in error.problems]
        if problems:
            raise ScenarioError(problems)

    @property
    def ends_at(self) -> int | None:
        """Its horizon, tick; None if it has none."""
        return self.horizon if self.horizon > 0 else None

    def expanded(self) -> WorkloadSpec:
        """Return the same traffic with a list of clients in place of a benchmark's load or measured chunks.

        Raises
        ------
        ScenarioError
            If the files of the chunks cannot be read or are wrong.
        """
        if self.inference_perf is not None:
            load = self.inference_perf
            if self.aggregate_rate not in (0, load.aggregate_rate):
                _log.warning("aggregate_rate %g gives way to that of the stages", self.aggregate_rate)
            chats = load.shared_prefix.enable_multi_turn_chat
            return evolved(
                self,
                clients=load.clients(),
                inference_perf=None,
                aggregate_rate=load.aggregate_rate,
                category=self.category or ("reasoning" if chats else "language"),
            )
        if self.servegen_data is not None:
            return evolved(self, clients=self.servegen_data.clients(), servegen_data=None)
        return self

    def sources(self) -> list[Source]:
        """Clients and members of cohorts, in the order in which equal arrivals are sorted."""
        return [
            *(Source(client.id, client) for client in self.clients),
            *(member for cohort in self.cohorts for member in cohort.members()),
        ]

    def generate(self, streams: RandomStreams, horizon: int | None = None) -> GeneratedWorkload:
        """Draw the requests.

        Parameters
        ----------
        streams : RandomStreams
            Random streams of the run. Taken are those under ``workload/<client id>/``, so that a client's requests do
            not depend on which others there are; a client without an id, or with one that is taken, goes by
            ``<id>#<position>``.
        horizon : int, ticks, optional
            Requests arrive strictly before it; None takes that of the specification.

        Returns
        -------
        GeneratedWorkload
            Requests in order of arrival and the sessions that continue in the simulation.

        Raises
        ------
        ScenarioError
            If neither the number of requests nor the horizon is limited, or files cannot be read.
        PluginError
            If an arrival process or a length distribution returns something it must not.
        """
        from blis_simpy.workload.traffic import generate_traffic

        if horizon is None:
            horizon = self.ends_at
        return generate_traffic(self.expanded(), streams, horizon)

    def preview(self, *, seed: int | None = None, horizon: int | None = None) -> Preview:
        """Draw one sample to look at; nothing is served.

        Parameters
        ----------
        seed : int, optional
            Seed of the sample, in place of the specification's.
        horizon : int, ticks, optional
            As for `generate`.

        Returns
        -------
        Preview
            Rate over time, lengths and shares of the clients; prints itself.

        Raises
        ------
        ScenarioError, PluginError
            As `generate` does.
        """
        from blis_simpy.workload.preview import preview_specification

        return preview_specification(self, self.seed if seed is None else seed, horizon)

    def to_yaml(self) -> str:
        """Write the specification as YAML that `load_workload` reads; what is at its default is left out.

        Raises
        ------
        ScenarioError
            If something in it cannot be written.
        """
        return to_yaml(to_plain(self))
