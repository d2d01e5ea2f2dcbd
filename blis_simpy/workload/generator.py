"""Generator of the requests and sessions of a workload.

It draws the arrivals of all sources, each from its own random stream, keeps the earliest requests over all sources, and
draws the lengths of those. Of closed-loop sessions it draws only the first round; a `SessionBlueprint` makes the later
ones during the simulation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from blis_simpy.core.random_streams import RandomStreams
from blis_simpy.core.request import Request
from blis_simpy.core.request_rows import RequestRows, SharedValues
from blis_simpy.core.token_spans import Span, TokenSpans
from blis_simpy.errors import ScenarioError
from blis_simpy.workload.arrival_times import (
    ActiveTimes,
    ArrivalSchedule,
    ArrivalTimes,
    DailyRhythm,
    MeasuredArrivals,
    RateCurve,
    Scheduled,
    SimultaneousArrivals,
    SingleArrival,
    TimeChange,
    check_number,
)
from blis_simpy.workload.plugin_draws import plugin_instance
from blis_simpy.workload.request_builders import (
    MultimodalRequestBuilder,
    RequestBuilder,
    RequestDetails,
    SessionBuilder,
    SingleRequestBuilder,
)
from blis_simpy.workload.session_pool import SessionPool
from blis_simpy.workload.sessions import SessionBlueprint
from blis_simpy.workload.spec.client import DEFAULT_PREFIX_TOKENS
from blis_simpy.workload.spec.user_profile import UserProfile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from blis_simpy.workload.arrivals import ArrivalProcess
    from blis_simpy.workload.spec.client import Client, TrafficSource

__all__ = ["ClientRequests", "GeneratedWorkload", "generate_requests"]

_NO_HORIZON = 2**63 - 1


@attrs.frozen(eq=False)
class ClientRequests:
    """Requests that one process sends: those of a client, or of all members of a cohort.

    Attributes
    ----------
    client : str
        Id of the client or the cohort.
    ranks : list of int
        Positions of its requests in `GeneratedWorkload.requests`, ascending by arrival.
    """

    client: str
    ranks: list[int]


@attrs.frozen(eq=False)
class GeneratedWorkload:
    """Requests to send, and the sessions that continue after some of them.

    Attributes
    ----------
    requests : sequence of Request
        In order of arrival, named ``request_0``, ``request_1``, ... The output budget of each is its output length.
    clients : list of ClientRequests
        The same requests by the process that sends them. Clients without requests are left out.
    sessions : list of SessionBlueprint
        Closed-loop sessions; the first round of each is among the requests.
    details : dict of str to RequestDetails
        Modalities and reasoning share of the requests that have any, by request id.
    max_in_flight : int or None
        Largest number of requests in flight at a time; None = no limit.
    users : UserProfile or None
        Closed-loop users, whose requests are made in the simulation.
    streams : RandomStreams or None
        Random streams of the users.
    pool : SessionPool or None
        Sessions of calls, whose requests are made in the simulation.
    """

    requests: Sequence[Request]
    clients: list[ClientRequests]
    sessions: list[SessionBlueprint] = attrs.field(factory=list)
    details: dict[str, RequestDetails] = attrs.field(factory=dict)
    max_in_flight: int | None = None
    users: UserProfile | None = None
    streams: RandomStreams | None = None
    pool: SessionPool | None = None

    @classmethod
    def of_requests(cls, requests: Sequence[Request]) -> GeneratedWorkload:
        """Wrap given requests, in any order; one process sends them all."""
        ranks = sorted(range(len(requests)), key=lambda rank: requests[rank].arrived_at)
        return cls(list(requests), [ClientRequests("", ranks)] if ranks else [])


def generate_requests(
    sources: Sequence[TrafficSource], num_requests: int, streams: RandomStreams, horizon: int | None
) -> GeneratedWorkload:
    """Draw the requests of some sources; see `Traffic.generate`."""
    if not num_requests and (horizon is None or any(math.isinf(source.rate_per_s) for source in sources)):
        raise ScenarioError.at("num_requests", "must be > 0 unless a horizon is set", num_requests)
    limit = _NO_HORIZON if horizon is None else horizon
    builders = _builders(sources, num_requests, streams, limit)
    owners, scheduled = _earliest(builders, num_requests, limit)
    is_closed = np.array([isinstance(b, SessionBuilder) and b.is_closed_loop for b in builders], dtype=np.bool_)
    rounds = np.array([b.max_rounds if isinstance(b, SessionBuilder) else 1 for b in builders], dtype=np.int64)
    # Later rounds of closed-loop sessions count among the earliest requests, but the simulation draws them anew.
    is_sent = ~is_closed[owners] | (scheduled.numbers % rounds[owners] == 0)
    owners, ticks, numbers = owners[is_sent], scheduled.ticks[is_sent], scheduled.numbers[is_sent]
    places = list(_places_by_value(owners))
    prompts = np.empty(len(owners), dtype=np.int64)
    outputs = np.empty(len(owners), dtype=np.int64)
    for owner, where in places:
        prompts[where], outputs[where] = builders[owner].lengths(numbers[where])
    rows = _rows(builders, owners, ticks, prompts, outputs)
    # Others set attributes of their requests.
    are_independent = all(isinstance(builder, SingleRequestBuilder) for builder in builders)
    requests = rows if are_independent else list(rows)
    workload = GeneratedWorkload(requests, _by_process(builders, owners))
    for owner, where in places:
        if not isinstance(builders[owner], SingleRequestBuilder):
            own = [requests[place] for place in where.tolist()]
            workload.sessions.extend(builders[owner].finish(own, numbers[where], workload.details))
    return workload


def _builders(
    sources: Sequence[TrafficSource], num_requests: int, streams: RandomStreams, limit: int
) -> list[RequestBuilder]:
    prefixes = _prefixes(sources)
    return [
        _builder(source, prefixes.get(source.client.prefix_group), num_requests, streams, limit) for source in sources
    ]


def _prefixes(sources: Sequence[TrafficSource]) -> dict[str, TokenSpans]:
    """Prefix of each group, as long as its clients say."""
    lengths: dict[str, int] = {}
    for source in sources:
        group, length = source.client.prefix_group, source.client.prefix_length
        known = lengths.get(group, 0)
        if group and known and length not in (0, known):
            rule = f"of client {source.id!r} must be {known}, as of others of prefix group {group!r}"
            raise ScenarioError.at("prefix_length", rule, length)
        lengths[group] = known or length
    return {
        group: (Span(f"prefix:{group}", 0, length or DEFAULT_PREFIX_TOKENS),)
        for group, length in lengths.items()
        if group
    }


def _builder(
    source: TrafficSource, prefix: TokenSpans | None, num_requests: int, streams: RandomStreams, limit: int
) -> RequestBuilder:
    client = source.client
    turns = client.multi_turn
    active = None if client.lifecycle is None else ActiveTimes(client.lifecycle.windows)
    process = plugin_instance("arrivals", client.arrival)
    if turns is None:
        arrivals = _arrivals(process, source, active, num_requests, streams, limit)
        kind = SingleRequestBuilder if client.multimodal is None else MultimodalRequestBuilder
        return kind(source, prefix, streams, arrivals)
    rng = streams.generator(f"workload/{source.stream}/arrivals")
    if turns.single_session:
        start = client.lifecycle.windows[0].start_us if client.lifecycle and client.lifecycle.windows else 0
        starts: ArrivalTimes | SingleArrival = SingleArrival(process, source.rate_per_s, rng, active, limit, start)
    else:
        # The reference schedules at most 2 N rounds of a client.
        cap = -(-2 * num_requests // turns.max_rounds) if num_requests else None
        starts = ArrivalTimes(process, source.rate_per_s, rng, active, limit, cap, _rhythm(client))
    return SessionBuilder(source, prefix, streams, starts, turns, active, limit)


def _arrivals(
    process: ArrivalProcess,
    source: TrafficSource,
    active: ActiveTimes | None,
    num_requests: int,
    streams: RandomStreams,
    limit: int,
) -> ArrivalSchedule:
    """Schedule of single requests."""
    client, name = source.client, f"workload/{source.stream}/arrivals"
    if math.isinf(source.rate_per_s):
        return SimultaneousArrivals(num_requests if limit > 0 else 0)
    if client.lifecycle is not None and client.has_own_rates:
        return MeasuredArrivals(
            process,
            lambda start: streams.generator(f"{name}/{start}"),
            client.lifecycle.windows,
            limit,
            num_requests or None,
        )
    return ArrivalTimes(
        process, source.rate_per_s, streams.generator(name), active, limit, num_requests or None, _rhythm(client)
    )


def _rhythm(client: Client) -> TimeChange | None:
    if client.rate_curve:
        return RateCurve(client.rate_curve)
    return None if client.daily is None else DailyRhythm(client.daily)


def _earliest(builders: list[RequestBuilder], wanted: int, limit: int) -> tuple[NDArray[np.int64], Scheduled]:
    """Owners and schedule of the requests that arrive first over all builders, in order."""
    rate_per_s = sum(builder.source.rate_per_s for builder in builders)
    until = limit
    if wanted and rate_per_s:
        until = min(int(min(1.05e6 * wanted / rate_per_s + 1e3, 2.0**62)), limit)
    while True:
        schedules = [builder.schedule.before(until) for builder in builders]
        enough = wanted and sum(len(schedule.ticks) for schedule in schedules) >= wanted
        if enough or until >= limit:
            break
        # When no client starts another session, only the remaining rounds are left.
        until = limit if all(builder.schedule.exhausted for builder in builders) else min(2 * until, limit)
    if not wanted:
        check_number(sum(len(schedule.ticks) for schedule in schedules))
    if not schedules:
        nothing = np.empty(0, dtype=np.int64)
        return nothing, Scheduled(nothing, nothing)
    ticks, numbers = (np.concatenate(column) for column in zip(*schedules, strict=True))
    owners = np.repeat(np.arange(len(builders)), [len(schedule.ticks) for schedule in schedules])
    order = np.argsort(ticks, kind="stable")[: wanted or None]
    return owners[order], Scheduled(ticks[order], numbers[order])


def _by_process(builders: list[RequestBuilder], owners: NDArray[np.int64]) -> list[ClientRequests]:
    processes = np.array([builder.source.process for builder in builders], dtype=np.int64)
    names = {builder.source.process: builder.source.process_name for builder in builders}
    return [ClientRequests(names[process], where.tolist()) for process, where in _places_by_value(processes[owners])]


def _places_by_value(values: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Each distinct value with its positions in the array, ascending."""
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.diff(values[order])) + 1
    for where in np.split(order, starts):
        if len(where):
            yield int(values[where[0]]), where


def _rows(
    builders: list[RequestBuilder],
    owners: NDArray[np.int64],
    ticks: NDArray[np.int64],
    prompts: NDArray[np.int64],
    outputs: NDArray[np.int64],
) -> RequestRows:
    clients = [builder.source.client for builder in builders]
    timeouts = np.array([client.timeout_us for client in clients], dtype=np.int64)[owners]
    shared: dict[str, list[Any]] = {
        "content": [builder.prefix for builder in builders],
        "client": [builder.source.id for builder in builders],
        **{
            name: [getattr(client, name) for client in clients]
            for name in ("slo_class", "tenant", "model", "prefix_group", "streaming", "priority")
        },
    }
    return RequestRows(
        lambda rows: map("request_{}".format, rows.tolist()),
        {
            "arrived_at": ticks,
            "input_tokens": prompts,
            "output_tokens": outputs,
            "max_output_tokens": outputs,
            "deadline": np.where(timeouts, ticks + timeouts, 0),
            **{name: SharedValues(values, owners) for name, values in shared.items()},
        },
    )
