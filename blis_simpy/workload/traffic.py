"""From the clients of a specification and random streams to requests and sessions.

All clients are scheduled first, each from a stream of its own. The earliest requests over all of them are kept, and
only for those are lengths drawn. Of sessions whose rounds wait for each other just the first round is made here; a
`SessionBlueprint` makes the others while the simulation runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import attrs
import numpy as np

from blis_simpy.core.request import Request
from blis_simpy.core.token_spans import Span, TokenSpans
from blis_simpy.errors import ScenarioError
from blis_simpy.workload.arrival_times import ActiveTimes, ArrivalTimes, Scheduled, SingleArrival
from blis_simpy.workload.request_builders import (
    Labels,
    MultimodalRequestBuilder,
    RequestBuilder,
    RequestDetails,
    SessionBuilder,
    SingleRequestBuilder,
)
from blis_simpy.workload.spec.sessions import SessionBlueprint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from blis_simpy.core.random_streams import RandomStreams
    from blis_simpy.workload.spec.client import Client, Source
    from blis_simpy.workload.spec.workload_spec import WorkloadSpec

__all__ = ["GeneratedWorkload", "generate_traffic"]

_NO_HORIZON = 2**63 - 1
_DEFAULT_PREFIX_TOKENS = 50


@attrs.frozen(eq=False)
class GeneratedWorkload:
    """Requests to send, and what may follow them.

    Attributes
    ----------
    requests : list of Request
        In order of arrival, named ``request_0``, ``request_1``, ... The output budget of each is its output length.
    sessions : list of SessionBlueprint
        Sessions that continue when their first round, which is among the requests, has ended.
    details : dict of str to RequestDetails
        Modalities and reasoning of the requests that have any, by request id.
    """

    requests: list[Request]
    sessions: list[SessionBlueprint]
    details: dict[str, RequestDetails]


def generate_traffic(spec: WorkloadSpec, streams: RandomStreams, horizon: int | None) -> GeneratedWorkload:
    """Draw the requests of a specification that has been expanded; see `WorkloadSpec.generate`."""
    if not spec.num_requests and horizon is None:
        raise ScenarioError.at("num_requests", "must be > 0 unless a horizon is set", spec.num_requests)
    limit = _NO_HORIZON if horizon is None else horizon
    senders = _senders(spec, streams, limit)
    owners, scheduled = _earliest(senders, spec, limit)
    closed = np.array([isinstance(s, SessionBuilder) and s.waits for s in senders], dtype=np.bool_)
    rounds = np.array([s.max_rounds if isinstance(s, SessionBuilder) else 1 for s in senders], dtype=np.int64)
    # Later rounds of closed-loop sessions took their place among the earliest; they are made anew in the simulation.
    sent = ~closed[owners] | (scheduled.numbers % rounds[owners] == 0)
    owners, ticks, numbers = owners[sent], scheduled.ticks[sent], scheduled.numbers[sent]
    places = list(_places_by_owner(owners))
    prompts = np.empty(len(owners), dtype=np.int64)
    outputs = np.empty(len(owners), dtype=np.int64)
    for owner, where in places:
        prompts[where], outputs[where] = senders[owner].lengths(numbers[where])
    requests = _requests(senders, owners, ticks, prompts, outputs)
    result = GeneratedWorkload(requests, [], {})
    for owner, where in places:
        if not isinstance(senders[owner], SingleRequestBuilder):
            own = [requests[place] for place in where.tolist()]
            result.sessions.extend(senders[owner].finish(own, numbers[where], result.details))
    return result


def _senders(spec: WorkloadSpec, streams: RandomStreams, limit: int) -> list[RequestBuilder]:
    sources = spec.sources()
    total = 0.0
    for source in sources:  # from left to right, as in the reference
        total += source.client.rate_fraction
    prefixes = _prefixes(sources)
    names: set[str] = set()
    senders = []
    for position, source in enumerate(sources):
        name = quote(source.id, safe=" ")
        if not name or name in names:
            name += f"#{position}"
        names.add(name)
        rate = spec.aggregate_rate * (source.client.rate_fraction / total)
        if rate > 0:
            prefix = prefixes.get(source.client.prefix_group)
            senders.append(_sender(source, Labels(name, prefix), rate, spec.num_requests, streams, limit))
    return senders


def _prefixes(sources: list[Source]) -> dict[str, TokenSpans]:
    """Prefix of each group; the first client that names the group decides how long it is."""
    prefixes: dict[str, TokenSpans] = {}
    for _, client in sources:
        group = client.prefix_group
        if group and group not in prefixes:
            prefixes[group] = (Span(f"prefix:{group}", 0, client.prefix_length or _DEFAULT_PREFIX_TOKENS),)
    return prefixes


def _sender(
    source: Source, labels: Labels, rate: float, num_requests: int, streams: RandomStreams, limit: int
) -> RequestBuilder:
    client = source.client
    turns = client.multi_turn
    active = None if client.lifecycle is None else ActiveTimes(client.lifecycle.windows)
    rng = streams.generator(f"workload/{labels.stream}/arrivals")
    process = client.arrival.build()
    if turns is None:
        arrivals = ArrivalTimes(process, rate, rng, active, limit, num_requests or None)
        kind = SingleRequestBuilder if client.multimodal is None else MultimodalRequestBuilder
        return kind(source, labels, streams, arrivals)
    if turns.single_session:
        start = client.lifecycle.windows[0].start_us if client.lifecycle and client.lifecycle.windows else 0
        starts: ArrivalTimes | SingleArrival = SingleArrival(process, rate, rng, active, limit, start)
    else:
        # The reference schedules at most 2 N rounds of a client.
        cap = -(-2 * num_requests // turns.max_rounds) if num_requests else None
        starts = ArrivalTimes(process, rate, rng, active, limit, cap)
    return SessionBuilder(source, labels, streams, starts, turns, active, limit)


def _earliest(senders: list[RequestBuilder], spec: WorkloadSpec, limit: int) -> tuple[NDArray[np.int64], Scheduled]:
    """Owners and schedule of the requests that come first over all clients, in order."""
    wanted = spec.num_requests
    until = min(int(min(1.05e6 * wanted / spec.aggregate_rate + 1e3, 2.0**62)), limit) if wanted else limit
    while True:
        schedules = [sender.schedule.before(until) for sender in senders]
        enough = wanted and sum(len(schedule.ticks) for schedule in schedules) >= wanted
        if enough or until >= limit:
            break
        # Once no client starts anything new, what is left is all there will be.
        until = limit if all(sender.schedule.exhausted for sender in senders) else min(2 * until, limit)
    if not schedules:
        nothing = np.empty(0, dtype=np.int64)
        return nothing, Scheduled(nothing, nothing)
    ticks, numbers = (np.concatenate(column) for column in zip(*schedules, strict=True))
    owners = np.repeat(np.arange(len(senders)), [len(schedule.ticks) for schedule in schedules])
    order = np.argsort(ticks, kind="stable")[: wanted or None]
    return owners[order], Scheduled(ticks[order], numbers[order])


def _places_by_owner(owners: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Each owner of a request with the places of its requests in the list."""
    order = np.argsort(owners, kind="stable")
    starts = np.flatnonzero(np.diff(owners[order])) + 1
    for where in np.split(order, starts):
        if len(where):
            yield int(owners[where[0]]), where


def _requests(
    senders: list[RequestBuilder],
    owners: NDArray[np.int64],
    ticks: NDArray[np.int64],
    prompts: NDArray[np.int64],
    outputs: NDArray[np.int64],
) -> list[Request]:
    clients: list[Client] = [sender.source.client for sender in senders]
    patience = [client.timeout_us for client in clients]
    prefixes = [sender.labels.prefix for sender in senders]
    names = [sender.source.id for sender in senders]
    requests = []
    # By position: a million requests are made here.
    for number, (owner, tick, prompt, output) in enumerate(
        zip(owners.tolist(), ticks.tolist(), prompts.tolist(), outputs.tolist(), strict=True)
    ):
        client = clients[owner]
        requests.append(
            Request(
                f"request_{number}",
                tick,
                prompt,
                output,
                output,
                tick + patience[owner] if patience[owner] else 0,
                prefixes[owner],
                None,
                client.slo_class,
                client.tenant_id,
                client.model,
                names[owner],
                "",
                client.prefix_group,
                0,
                client.streaming,
            )
        )
    return requests
