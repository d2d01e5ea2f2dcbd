"""Workload specification: traffic of many clients.

The same classes are used in Python and for YAML files (`blis_simpy.workload.load_workload`). The clients are listed, or
made from the load of the inference-perf benchmark, or from measured data in the layout of ServeGen; cohorts may be
added to each of the three.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import quote

from blis_simpy.errors import Problem, ScenarioError
from blis_simpy.settings.bounds import MAX_REQUESTS
from blis_simpy.settings.field_types import Duration, OptionalPart, Parts, Rate
from blis_simpy.settings.fields import evolved, setting, settings_class
from blis_simpy.settings.serialize import to_yaml
from blis_simpy.units import format_ticks
from blis_simpy.workload.spec.arrival import check_cv
from blis_simpy.workload.spec.client import DEFAULT_PREFIX_TOKENS, Client, TrafficSource, Window
from blis_simpy.workload.spec.cohort import Cohort
from blis_simpy.workload.spec.inference_perf import InferencePerf
from blis_simpy.workload.spec.reference_format import to_reference
from blis_simpy.workload.spec.servegen import ServegenData
from blis_simpy.workload.traffic import Traffic

if TYPE_CHECKING:
    from blis_simpy.core.random_streams import RandomStreams
    from blis_simpy.workload.generator import GeneratedWorkload

__all__ = ["WorkloadSpec"]

_log = logging.getLogger("blis_simpy")

_NEGLIGIBLE = 1e-3
"""Share of the aggregate rate that may be missing without a warning."""

CATEGORIES = ("language", "multimodal", "reasoning")


@settings_class
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

    version: str = setting(default="2", help="Version of the file format.")
    seed: int = setting(default=0, help="Seed of the requests where no scenario sets one.", le=2**63 - 1)
    category: str = setting(default="", help="Label; empty means none.", choices=CATEGORIES, absent="")
    clients: Parts[Client] = setting(default=(), help="Clients.")
    cohorts: Parts[Cohort] = setting(default=(), help="Populations of equal clients.")
    aggregate_rate: Rate = setting(
        default=0.0,
        help="Requests, or starts of sessions, per second of all clients and cohorts together; unset where the stages "
        "of inference_perf, the chunks of servegen_data or windows with rates set it.",
        unit="1/s",
        ge=0,
        dimension="rate",
    )
    horizon: Duration = setting(
        default=0,
        help="End of simulated time unless the scenario sets one; 0 means none.",
        unit="ticks",
        le=2**63 - 1,
        dimension="duration",
    )
    num_requests: int = setting(
        default=0,
        help="Number of requests, without those that sessions add in the simulation; 0 means all before the horizon.",
        unit="requests",
        ge=0,
        le=MAX_REQUESTS,
    )
    max_in_flight: int | None = setting(
        default=None,
        help="Largest number of requests in flight; others wait at the client. Unset means no limit.",
        unit="requests",
        ge=1,
    )
    servegen_data: OptionalPart[ServegenData] = setting(
        default=None, help="Clients from measured data in the layout of ServeGen."
    )
    inference_perf: OptionalPart[InferencePerf] = setting(
        default=None, help="Clients from the load of the inference-perf benchmark."
    )

    def __attrs_post_init__(self) -> None:
        origins = [name for name in ("clients", "servegen_data", "inference_perf") if getattr(self, name)]
        problems: list[Problem] = []
        if len(origins) > 1:
            problems.append(Problem(path=origins[1], rule=f"must not be given beside {origins[0]}"))
        if not origins and not self.cohorts:
            problems.append(Problem(path="clients", rule="must not be empty, unless there is another source"))
        if not self.inference_perf and self.aggregate_rate == 0 and not self.has_own_rates:
            hint = "it has no default"
            problems.append(Problem(path="aggregate_rate", rule="must be > 0", value=self.aggregate_rate, hint=hint))
        for index, client in enumerate(self.clients):
            try:
                check_cv(client.arrival, f"clients[{index}].arrival")
            except ScenarioError as error:
                problems += error.problems
        if problems:
            raise ScenarioError(problems)

    @property
    def has_own_rates(self) -> bool:
        """Whether windows set all rates, so that there is no aggregate rate to share."""
        if self.servegen_data is not None:
            return self.aggregate_rate == 0
        return bool(self.clients) and not self.cohorts and all(client.has_own_rates for client in self.clients)

    @property
    def ends_at(self) -> int | None:
        """Its horizon, tick; None if it has none."""
        return self.horizon if self.horizon > 0 else None

    @property
    def default_seed(self) -> int:
        """Its seed."""
        return self.seed

    def mean_rate(self) -> float:
        """Return the aggregate rate, or that of the stages of `inference_perf`."""
        if self.has_own_rates:
            raise ScenarioError.at("rate", "is not known: windows of the clients set the rates")
        return self.with_clients_listed().aggregate_rate

    def with_rate(self, rate_per_s: float) -> WorkloadSpec:
        """Return the same traffic with another aggregate rate; see `Traffic.with_rate`."""
        if self.servegen_data is not None:
            return evolved(self, aggregate_rate=rate_per_s)
        if self.has_own_rates:
            raise ScenarioError.at("rate", "cannot be set: windows of the clients set the rates", rate_per_s)
        # The stages of an inference-perf benchmark set the rate; listed, they are clients.
        return evolved(self.with_clients_listed(), aggregate_rate=rate_per_s)

    def content(self) -> WorkloadSpec:
        """Return the specification with a list of clients in place of the names of files."""
        return self.with_clients_listed()

    def as_in_blis(self) -> WorkloadSpec:
        """Return the traffic that BLIS generates of it.

        Gamma arrivals with a coefficient of variation above 10 are Poisson, a daily cycle consists of active times, and
        the first client of a prefix group decides the length of the prefix. All but the second is reported.
        """
        spec = self.with_clients_listed()
        lengths: dict[str, int] = {}
        clients = []
        for client in spec.clients:
            group, length = client.prefix_group, client.prefix_length
            known = lengths.setdefault(group, length or DEFAULT_PREFIX_TOKENS)
            if group and length not in (0, known):  # parity: workloads, prefix_groups_mix
                rule = "prefix_group %r: prefix_length %d of client %r is not used; its first client gives %d"
                _log.warning(rule, group, length, client.id, known)
                client = evolved(client, prefix_length=known)
            clients.append(client.as_in_blis())
        return evolved(spec, clients=tuple(clients), cohorts=tuple(cohort.as_in_blis() for cohort in spec.cohorts))

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
            return evolved(
                self,
                clients=load.clients(),
                inference_perf=None,
                aggregate_rate=load.aggregate_rate,
                category=self.category or ("reasoning" if chats else "language"),
            )
        if self.servegen_data is not None:
            data = self.servegen_data
            clients = data.clients() if self.aggregate_rate else data.measured_clients()
            return evolved(self, clients=clients, servegen_data=None)
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
            total += 0.0 if client.has_own_rates else client.rate_fraction
        taken: set[str] = set()
        sources = []
        for position, (name, client, process, process_name) in enumerate(named):
            stream = quote(name, safe=" ")
            windows = client.lifecycle.windows if client.lifecycle else ()
            if client.has_own_rates:
                stream += f"@{windows[0].start_us}"
            if not stream or stream in taken:
                stream += f"#{position}"
            taken.add(stream)
            if client.has_own_rates:
                rate = max(window.rate or 0.0 for window in windows)
            else:
                rate = spec.aggregate_rate * (client.rate_fraction / total)
            if rate > 0:
                sources.append(TrafficSource(name, stream, client, rate, process, process_name))
        return sources

    def generate(
        self, streams: RandomStreams, horizon: int | None = None, *, defaults: str | None = None
    ) -> GeneratedWorkload:
        """Draw the requests, with a warning if times without activity lower the rate; see `Traffic.generate`."""
        self._report_inactive_times(self.ends_at if horizon is None else horizon)
        return super().generate(streams, horizon, defaults=defaults)

    def _report_inactive_times(self, horizon: int | None) -> None:
        """Warn that the aggregate rate is not reached because clients are inactive outside their windows."""
        shared = [client for client in self.clients if not client.has_own_rates]
        limited: list[tuple[Client | Cohort, tuple[Window, ...]]] = []
        limited += [(client, client.lifecycle.windows) for client in shared if client.lifecycle]
        members = [(cohort, cohort.member()) for cohort in self.cohorts]
        limited += [(cohort, member.lifecycle.windows) for cohort, member in members if member.lifecycle]
        end = max((window.end_us for _, windows in limited for window in windows), default=0)
        if horizon is not None and limited:
            end = horizon
        if end <= 0:
            return
        from blis_simpy.workload.arrival_times import ActiveTimes  # imports numpy, which --help need not load

        total = sum(source.rate_fraction for source in (*shared, *self.cohorts))
        missing = sum(
            client.rate_fraction / total * (1 - ActiveTimes(windows).length_before(end) / end)
            for client, windows in limited
        )
        if missing > _NEGLIGIBLE:
            _log.warning(
                "clients are inactive outside their windows: until %s, %.4g requests/s of the aggregate rate of %.4g",
                format_ticks(end),
                self.aggregate_rate * (1 - missing),
                self.aggregate_rate,
            )

    def to_yaml(self) -> str:
        """Write the specification as YAML that `load_workload` and BLIS read, without settings at their defaults.

        Raises
        ------
        ScenarioError
            If a part of it cannot be written, such as an unregistered plug-in.
        """
        return to_yaml(to_reference(self))
