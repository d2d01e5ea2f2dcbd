"""Timeline of a run in the Chrome trace format, which ``ui.perfetto.dev`` and ``chrome://tracing`` open.

Each replica is a process. It has a track of steps and a track for each batch slot with its requests, divided into
prefill and decode. Waiting requests overlap without limit, so waiting is drawn as asynchronous spans. Counters show
queue depth, batch size and KV blocks of each step. A further process, the router, has the requests between arrival and
wait queue, and the rejected ones. If there were transfers, the network is another process: each transfer is a
span, and a counter per link shows its load.

Timestamps are ticks: the format counts in microseconds as well.
"""

from __future__ import annotations

import heapq
import json
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from blis_simpy.core.request import NEVER
from blis_simpy.export.tables import packed
from blis_simpy.files.outputs import write_bytes

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["perfetto_events", "write_perfetto"]

Columns = Mapping[str, NDArray[Any]]

_ROUTER = 1
_NETWORK = 2
# Track ids are unique in the file. That of the steps equals the process id: viewers show such a track first.
_TRACKS_PER_PROCESS = 100_000
_COUNTERS = {"queue depth": "queue_depth", "batch size": "batch_size", "KV cache": "used_blocks"}
_UNITS = {"queue depth": "requests", "batch size": "requests", "KV cache": "blocks used"}
_REQUEST_COLUMNS = (
    "id",
    "outcome",
    "replica",
    "arrived_at_us",
    "routed_at_us",
    "queued_at_us",
    "first_scheduled_at_us",
    "scheduled_at_us",
    "ttft_us",
    "e2e_us",
    "finished_at_us",
    "input_tokens",
    "output_tokens",
    "num_preemptions",
)


def write_perfetto(
    requests: Columns,
    steps: Columns,
    path: str | os.PathLike[str],
    *,
    preemptions: Sequence[tuple[str, int]] = (),
    transfers: Columns | None = None,
    link_loads: Columns | None = None,
    legs: Columns | None = None,
) -> None:
    """Write a run as a timeline; the same run gives the same bytes.

    Parameters
    ----------
    requests, steps : mapping of str to ndarray
        Tables of a result.
    path : path-like
        JSON file; compressed if its name ends in ``.gz``, which Perfetto opens as well.
    preemptions : sequence of (str, int)
        Id of the request and tick of each preemption.
    transfers, link_loads, legs : mapping of str to ndarray, optional
        Tables of a result.

    Raises
    ------
    ScenarioError
        If the file cannot be written; an existing one is left unchanged.
    """
    encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
    events = perfetto_events(
        requests, steps, preemptions=preemptions, transfers=transfers, link_loads=link_loads, legs=legs
    )
    lines = ",\n".join(map(encode, events))
    write_bytes(path, packed(f'{{"displayTimeUnit":"ms","traceEvents":[\n{lines}\n]}}\n'.encode(), path))


def perfetto_events(
    requests: Columns,
    steps: Columns,
    *,
    preemptions: Sequence[tuple[str, int]] = (),
    transfers: Columns | None = None,
    link_loads: Columns | None = None,
    legs: Columns | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield the events of the timeline: names first, then steps and counters, then requests.

    Parameters
    ----------
    requests, steps, preemptions, transfers, link_loads, legs
        As for `write_perfetto`.
    """
    spans = _Spans.of(requests, steps, preemptions, _by_request(legs))
    yield from _process(_ROUTER, "router")
    replicas = {*np.unique(steps["replica"]).tolist(), *np.unique(requests["replica"]).tolist()} - {NEVER}
    if legs is not None:
        replicas.update(np.unique(legs["replica"]).tolist())
    for replica in sorted(replicas):
        pid = _pid(replica)
        yield from _process(pid, f"replica {replica}")
        yield from _thread(pid, pid, "steps")
        for slot in range(spans.num_slots[replica]):
            yield from _thread(pid, _slot(pid, slot), f"slot {slot}")
        yield from _steps(pid, {name: column[steps["replica"] == replica] for name, column in steps.items()})
    if transfers is not None and len(transfers["bytes"]):
        yield from _process(_NETWORK, "network")
        yield from _transfers(transfers, spans.end)
    if link_loads is not None:
        yield from _loads(link_loads)
    yield from spans.events()


def _transfers(transfers: Columns, end: int) -> Iterator[dict[str, Any]]:
    """Yield a span per transfer, which may overlap with others."""
    columns = ("source", "destination", "kind", "request", "bytes", "started_at_us", "ended_at_us", "state")
    events = []
    for index, values in enumerate(zip(*(transfers[name].tolist() for name in columns), strict=True)):
        source, destination, kind, request, num_bytes, start, until, state = values
        name = kind or "transfer"
        key = {"pid": _NETWORK, "tid": _NETWORK, "cat": name, "id2": {"local": str(index)}, "name": name}
        args = {"from": source, "to": destination, "bytes": num_bytes, "state": state, "request": request}
        events.append({"ph": "b", "ts": start, **key, "args": args})
        events.append({"ph": "e", "ts": max(end, start) if until == NEVER else until, **key})
    yield from sorted(events, key=lambda event: event["ts"])


def _loads(loads: Columns) -> Iterator[dict[str, Any]]:
    """Yield the counters of the links."""
    for link, at, load in zip(*(loads[name].tolist() for name in ("link", "at_us", "load")), strict=True):
        yield {"ph": "C", "pid": _NETWORK, "ts": at, "name": link, "args": {"% of bandwidth": round(100 * load)}}


def _by_request(legs: Columns | None) -> dict[str, list[dict[str, Any]]]:
    """Return the legs of each request that has several, or one that is not its last."""
    by_request: dict[str, list[dict[str, Any]]] = defaultdict(list)
    if legs is not None:
        for values in zip(*(column.tolist() for column in legs.values()), strict=True):
            leg = dict(zip(legs, values, strict=True))
            by_request[leg["request"]].append(leg)
    return {name: found for name, found in by_request.items() if len(found) > 1}


def _pid(replica: int) -> int:
    return (1 + replica) * _TRACKS_PER_PROCESS


def _slot(pid: int, slot: int) -> int:
    return pid + 1 + slot


def _process(pid: int, name: str) -> Iterator[dict[str, Any]]:
    yield {"ph": "M", "pid": pid, "name": "process_name", "args": {"name": name}}
    yield {"ph": "M", "pid": pid, "name": "process_sort_index", "args": {"sort_index": pid}}


def _thread(pid: int, tid: int, name: str) -> Iterator[dict[str, Any]]:
    yield {"ph": "M", "pid": pid, "tid": tid, "name": "thread_name", "args": {"name": name}}
    yield {"ph": "M", "pid": pid, "tid": tid, "name": "thread_sort_index", "args": {"sort_index": tid}}


def _steps(pid: int, steps: Columns) -> Iterator[dict[str, Any]]:
    """Yield the slices of the steps of one replica, and its counters, which drop to 0 if no step follows directly."""
    names = ("start_us", "duration_us", "prefill_tokens", "decode_tokens", *_COUNTERS.values())
    shown = dict.fromkeys(_COUNTERS, NEVER)
    end: int | None = None
    for start, duration, prefill, decode, *counts in zip(*(steps[name].tolist() for name in names), strict=True):
        if end is not None and end < start:
            yield from _counted(pid, end, shown, [0] * len(counts))
        end = start + duration
        work = "+".join(word for word, tokens in (("prefill", prefill), ("decode", decode)) if tokens) or "empty"
        figures = {"prefill_tokens": prefill, "decode_tokens": decode}
        figures |= dict(zip(_COUNTERS.values(), counts, strict=True))
        yield {"ph": "X", "pid": pid, "tid": pid, "ts": start, "dur": duration, "name": work, "args": figures}
        yield from _counted(pid, start, shown, counts)
    if end is not None:
        yield from _counted(pid, end, shown, [0] * len(_COUNTERS))


def _counted(pid: int, tick: int, shown: dict[str, int], counts: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yield the counters that changed."""
    for name, count in zip(_COUNTERS, counts, strict=True):
        if shown[name] != count:
            shown[name] = count
            yield {"ph": "C", "pid": pid, "ts": tick, "name": name, "args": {_UNITS[name]: count}}


@attrs.frozen
class _Stay:
    """The time that a request is in a batch."""

    start: int
    end: int
    row: Mapping[str, Any]
    is_last: bool
    # Name of the only phase, if there is only one.
    phase: str = ""


class _Spans:
    """Requests by track.

    Of a request that was preempted more than once, the restarts in between are not recorded: its first and its last
    stay in a batch are drawn, and each preemption as an instant. Of a request whose replica failed, only the time on
    the last replica is recorded, unless the run has handovers: then all legs of a request are drawn.
    """

    def __init__(self, end: int) -> None:
        self.end = end
        self._stays: dict[int, list[_Stay]] = defaultdict(list)
        self._others: list[dict[str, Any]] = []
        self._slots: dict[int, list[int]] = {}
        self.num_slots: dict[int, int] = defaultdict(int)

    @classmethod
    def of(
        cls,
        requests: Columns,
        steps: Columns,
        preemptions: Iterable[tuple[str, int]],
        legs: Mapping[str, Sequence[Mapping[str, Any]]],
    ) -> _Spans:
        ends = (steps["start_us"] + steps["duration_us"], requests["finished_at_us"], requests["arrived_at_us"])
        spans = cls(max((int(column.max()) for column in ends if len(column)), default=0))
        lost: dict[str, list[int]] = defaultdict(list)
        for name, tick in preemptions:
            lost[name].append(tick)
        columns = [requests[name].tolist() for name in _REQUEST_COLUMNS]
        for index, values in enumerate(zip(*columns, strict=True)):
            row = dict(zip(_REQUEST_COLUMNS, values, strict=True))
            if row["id"] in legs:
                spans._add_legs(index, row, legs[row["id"]])
            else:
                spans._add(index, row, lost.get(row["id"], []))
        for replica, stays in spans._stays.items():
            stays.sort(key=lambda stay: (stay.start, stay.end))
            spans._slots[replica] = list(_lowest_free(stays))
            spans.num_slots[replica] = max(spans._slots[replica]) + 1
        return spans

    def _add(self, index: int, row: Mapping[str, Any], lost: Sequence[int]) -> None:
        ended = row["finished_at_us"]
        if row["outcome"] == "rejected":
            self._instant(_ROUTER, row["arrived_at_us"] if ended == NEVER else ended, "rejected", row)
            return
        over = self.end if ended == NEVER else ended
        on_way_until = over if row["queued_at_us"] == NEVER else row["queued_at_us"]
        self._span(_ROUTER, index, "routing", row["arrived_at_us"], on_way_until, row)
        if row["replica"] == NEVER:
            return
        pid, first = _pid(row["replica"]), row["first_scheduled_at_us"]
        if row["queued_at_us"] != NEVER:
            self._span(pid, index, "waiting", row["queued_at_us"], over if first == NEVER else first, row)
        if first != NEVER:
            self._add_stays(pid, index, row, [tick for tick in lost if tick >= first], over)
        if row["outcome"] in ("dropped", "timed_out"):
            self._instant(pid, over, row["outcome"].replace("_", " "), row)

    def _add_legs(self, index: int, row: Mapping[str, Any], legs: Sequence[Mapping[str, Any]]) -> None:
        """Add the stays of a request on several replicas."""
        first = legs[0]["queued_at_us"]
        self._span(_ROUTER, index, "routing", row["arrived_at_us"], self._until(first), row)
        for leg in legs:
            pid, queued, scheduled = _pid(leg["replica"]), leg["queued_at_us"], leg["first_scheduled_at_us"]
            over = self._until(leg["finished_at_us"])
            if queued != NEVER:
                self._span(pid, index, "waiting", queued, over if scheduled == NEVER else scheduled, row)
            if leg["kv_reserved_at_us"] != NEVER:
                received = over if leg["kv_received_at_us"] == NEVER else leg["kv_received_at_us"]
                self._span(pid, index, "loading KV blocks", leg["kv_reserved_at_us"], received, row)
                released = self._until(leg["kv_released_at_us"])
                self._span(_pid(leg["kv_source"]), index, "holding KV blocks", _end_of_source(legs, leg), released, row)
            if scheduled != NEVER:
                is_last = leg is legs[-1]
                # The part before the first token of a leg that only decodes is the computation of one token.
                name = {"prefill": "prefill", "decode": "decode"}.get(leg["phase"], "")
                self._stays[leg["replica"]].append(
                    _Stay(scheduled, over, row, is_last=is_last and not name, phase=name)
                )
            if leg["outcome"] in ("dropped", "timed_out"):
                self._instant(pid, over, leg["outcome"].replace("_", " "), row)

    def _until(self, tick: int) -> int:
        return self.end if tick == NEVER else tick

    def _add_stays(self, pid: int, index: int, row: Mapping[str, Any], lost: Sequence[int], over: int) -> None:
        first, last = row["first_scheduled_at_us"], row["scheduled_at_us"]
        stays = self._stays[row["replica"]]
        if not lost:
            stays.append(_Stay(first, over, row, is_last=True))
            return
        came_back = last > first and last >= lost[-1]
        stays.append(_Stay(first, lost[0], row, is_last=False))
        self._span(pid, index, "preempted", lost[0], last if came_back else over, row)
        if came_back:
            stays.append(_Stay(last, over, row, is_last=True))
        for tick in lost:
            self._instant(pid, tick, "preemption", row)

    def _span(self, pid: int, index: int, name: str, start: int, end: int, row: Mapping[str, Any]) -> None:
        """Add a span that may overlap with others of the same name."""
        if start < end:
            key = {"pid": pid, "tid": pid, "cat": name, "id2": {"local": str(index)}, "name": name}
            self._others.append({"ph": "b", "ts": start, **key, "args": {"request": row["id"]}})
            self._others.append({"ph": "e", "ts": end, **key})

    def _instant(self, pid: int, tick: int, name: str, row: Mapping[str, Any]) -> None:
        """Add an instant of the whole process."""
        args = {"request": row["id"]}
        self._others.append({"ph": "i", "s": "p", "pid": pid, "tid": pid, "ts": tick, "name": name, "args": args})

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield the events: slots by replica, then spans and instants."""
        for replica in sorted(self._stays):
            for stay, slot in zip(self._stays[replica], self._slots[replica], strict=True):
                yield from _slices(stay, _pid(replica), _slot(_pid(replica), slot))
        yield from sorted(self._others, key=lambda event: event["ts"])


def _end_of_source(legs: Sequence[Mapping[str, Any]], leg: Mapping[str, Any]) -> int:
    """Return the end of the leg that a leg continues."""
    sources = (
        other["finished_at_us"]
        for other in legs
        if other["replica"] == leg["kv_source"] and other["outcome"] == "handed_over" and other["leg"] < leg["leg"]
    )
    return int(max(sources, default=leg["kv_reserved_at_us"]))


def _lowest_free(stays: Iterable[_Stay]) -> Iterator[int]:
    """Assign the lowest free slot to each stay, in order of start."""
    free: list[int] = []
    taken: list[tuple[int, int]] = []
    for stay in stays:
        while taken and taken[0][0] <= stay.start:
            heapq.heappush(free, heapq.heappop(taken)[1])
        slot = heapq.heappop(free) if free else len(taken)
        heapq.heappush(taken, (stay.end, slot))
        yield slot


def _slices(stay: _Stay, pid: int, tid: int) -> Iterator[dict[str, Any]]:
    """Yield the slices of a request in its slot: the whole stay, and prefill and decode in it."""
    row, lane = stay.row, {"ph": "X", "pid": pid, "tid": tid}
    figures = ("outcome", "input_tokens", "output_tokens", "ttft_us", "e2e_us", "num_preemptions")
    args = {name: row[name] for name in figures if row[name] != NEVER}
    yield {**lane, "ts": stay.start, "dur": stay.end - stay.start, "name": row["id"], "args": args}
    if stay.phase:
        yield {**lane, "ts": stay.start, "dur": stay.end - stay.start, "name": stay.phase}
        return
    # The recorded first token is that of the last prefill, so earlier stays are not divided.
    has_token = stay.is_last and row["ttft_us"] != NEVER
    token = min(max(row["arrived_at_us"] + row["ttft_us"], stay.start), stay.end) if has_token else stay.end
    if stay.is_last and token > stay.start:
        yield {**lane, "ts": stay.start, "dur": token - stay.start, "name": "prefill"}
    if stay.end > token:
        yield {**lane, "ts": token, "dur": stay.end - token, "name": "decode"}
