"""Agent traces of Weka: one session per line, with its requests and those of its sub-agents.

A sub-agent is an entry among the requests, with requests of its own. Those that overlap belong to parallel streams. A
stream waits for the main request before the entry; the next main request waits for the streams that have ended by then.
"""

from __future__ import annotations

from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import numpy as np

from blis_simpy.core.call_graph import Call, CallGraph
from blis_simpy.core.token_spans import Span, TokenSpans
from blis_simpy.settings.fields import setting, settings_class
from blis_simpy.trace_files.json_records import Record, count, each_record, json_lines, listed
from blis_simpy.trace_files.json_rows import names_of
from blis_simpy.trace_files.session_trace import session_trace
from blis_simpy.trace_files.timestamps import ticks_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from blis_simpy.trace_files.trace import Trace

__all__ = ["Weka", "first_fit", "shortened_gaps"]

_SUB_AGENT = "subagent"
_DEFAULT_BLOCK_SIZE = 64


@attrs.define(kw_only=True)
class _Recorded:
    """A recorded request.

    Attributes
    ----------
    start, service : int, µs
        Start from that of the trace, and time to the end of the response.
    think : int or None, µs
        Recorded pause before it.
    input_tokens, output_tokens : int
        Lengths.
    hashes : list of int
        Hashes of the blocks of its prompt.
    model : str
        Name of the model.
    prefix : TokenSpans
        System prompt and tools of its agent.
    waits_for : list of _Recorded
        Requests that it waits for; the first one is the request before it in its stream.
    is_first : bool
        Whether it begins a stream.
    """

    start: int
    service: int
    think: int | None
    input_tokens: int
    output_tokens: int
    hashes: list[int]
    model: str
    prefix: TokenSpans
    waits_for: list[_Recorded] = attrs.field(factory=list)
    is_first: bool = True

    @property
    def end(self) -> int:
        return self.start + self.service


@settings_class
class Weka:
    """Agent traces of Weka with sub-agents (JSON lines); block hashes drive the prefix cache."""

    idle_cap: int | None = setting(
        default=None,
        help="Longest time between the starts of two requests of a trace; longer ones are shortened for all its "
        "streams.",
        unit="us",
        gt=0,
        dimension="duration",
        flag="--idle-cap",
    )

    fields: ClassVar[str] = (
        "id, requests; optional block_size, tool_tokens, system_tokens; of each request t, in, out; optional type, "
        "model (as client_id), hash_ids, api_time, think_time; of a sub-agent t, requests, tool_tokens, system_tokens"
    )
    times: ClassVar[str] = "s"
    not_kept: ClassVar[str] = "times to first tokens, types of inputs and outputs"

    @classmethod
    def recognises(cls, name: str, start: bytes) -> bool:
        """Whether the first object has requests with the short names of this format."""
        keys = set(names_of(start)) if start.lstrip().startswith(b"{") else set()
        return {"id", "requests"} <= keys and not keys.isdisjoint({"block_size", "tool_tokens", "system_tokens"})

    def read(self, path: str, max_rows: int | None) -> Trace:
        """Read a file; `max_rows` limits the number of sessions."""
        return session_trace(path, list(islice(each_record(path, json_lines(path), self._graph), max_rows)))

    def _graph(self, record: Record) -> CallGraph:
        name = record.get("id", _text)
        prefix = _prefix(record)
        requests: list[_Recorded] = []
        latest: list[_Recorded] = []
        ended: list[_Recorded] = []
        for number, values in enumerate(record.get("requests", listed)):
            entry = Record(values, f"requests[{number}]", record.line)
            if entry.get("type", str, "n") == _SUB_AGENT:
                streams = self._sub_agent(entry, latest)
                ended += (stream[-1] for stream in streams)
                requests += (request for stream in streams for request in stream)
                continue
            request = _request(entry, prefix, 0)
            joined = [last for last in ended if last.end <= request.start]
            ended = [last for last in ended if last.end > request.start]
            request.waits_for = [*latest, *joined]
            request.is_first = not latest
            latest = [request]
            requests.append(request)
        if not requests:
            raise record.error("requests", "must have at least one request")
        if self.idle_cap is not None:
            for request, start in zip(
                requests, shortened_gaps([r.start for r in requests], self.idle_cap), strict=True
            ):
                request.start = start
        size = record.get("block_size", _size, _DEFAULT_BLOCK_SIZE)
        return CallGraph(name=name, calls=tuple(_calls(requests, name, size)), prefix=prefix)

    @staticmethod
    def _sub_agent(entry: Record, latest: Sequence[_Recorded]) -> list[list[_Recorded]]:
        """Read the requests of a sub-agent, in streams."""
        begin = entry.get("t", _seconds)
        prefix = _prefix(entry)
        own = []
        for number, values in enumerate(entry.get("requests", listed)):
            inner = Record(values, f"{entry.path}.requests[{number}]", entry.line)
            # A time before that of the entry counts from it.
            own.append(_request(inner, prefix, begin if inner.get("t", _seconds) < begin else 0))
        own.sort(key=lambda request: request.start)
        streams = [[own[place] for place in stream] for stream in first_fit([(r.start, r.service) for r in own])]
        for stream in streams:
            stream[0].waits_for = list(latest)
            for before, request in pairwise(stream):
                request.waits_for, request.is_first = [before], False
        return streams


def first_fit(requests: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Divide requests into streams in which none overlap: each joins the first stream that is free at its start.

    Parameters
    ----------
    requests : sequence of (int, int)
        Start and service time of each, by start.

    Examples
    --------
    >>> first_fit([(0, 5), (1, 2), (3, 1), (6, 1)])
    [[0, 3], [1, 2]]
    """
    streams: list[list[int]] = []
    free_at: list[int] = []
    for place, (start, service) in enumerate(requests):
        found = next((number for number, free in enumerate(free_at) if free <= start), len(streams))
        if found == len(streams):
            streams.append([])
            free_at.append(0)
        streams[found].append(place)
        free_at[found] = start + service
    return streams


def shortened_gaps(starts: Sequence[int], cap: int) -> list[int]:
    """Shorten the gaps between consecutive starts to a cap; the result is in the order of the argument.

    Examples
    --------
    >>> shortened_gaps([0, 100, 105], 10)
    [0, 10, 15]
    """
    ticks: NDArray[np.int64] = np.asarray(starts, np.int64)
    order = np.argsort(ticks, kind="stable")
    shortened = np.empty_like(ticks)
    shortened[order] = ticks[order[0]] + np.cumsum(np.minimum(np.diff(ticks[order], prepend=ticks[order[0]]), cap))
    result: list[int] = shortened.tolist()
    return result


def _request(record: Record, prefix: TokenSpans, origin: int) -> _Recorded:
    return _Recorded(
        start=record.get("t", _seconds) + origin,
        service=record.get("api_time", _seconds, 0),
        think=record.get("think_time", _seconds, None),
        input_tokens=record.get("in", count),
        output_tokens=record.get("out", count),
        hashes=record.get("hash_ids", _hashes, []),
        model=record.get("model", str, ""),
        prefix=prefix,
    )


def _calls(requests: list[_Recorded], name: str, block_size: int) -> list[Call]:
    """Make calls, by start; one that starts with another that it waits for comes after it."""
    begin = min(request.start for request in requests)
    depth: dict[int, int] = {}
    for request in requests:
        depth[id(request)] = 1 + max((depth.get(id(parent), 0) for parent in request.waits_for), default=0)
    ordered = sorted(requests, key=lambda request: (request.start, depth[id(request)]))
    places = {id(request): place for place, request in enumerate(ordered)}
    calls = []
    for request in ordered:
        parents = [parent for parent in request.waits_for if places[id(parent)] < places[id(request)]]
        ready = max((parent.end for parent in parents), default=begin)
        wait = max(request.start - ready, 0)
        is_chained = not request.is_first and bool(parents)
        known = parents[0].input_tokens + parents[0].output_tokens if is_chained else 0
        is_compacted = is_chained and request.input_tokens < known
        content = tuple(_blocks(request, name, block_size))
        is_new = not is_chained or is_compacted
        calls.append(
            Call(
                input_tokens=max(request.input_tokens - known, 0),
                output_tokens=request.output_tokens,
                after=tuple(places[id(parent)] for parent in parents),
                wait_us=wait if request.think is None else request.think,
                context="compact" if is_compacted else "append" if is_chained else "fresh",
                prompt_tokens=request.input_tokens if content or is_new else None,
                content=content or (request.prefix if is_new else ()),
                started_us=request.start - begin,
                client=request.model,
            )
        )
    return calls


def _blocks(request: _Recorded, name: str, block_size: int) -> TokenSpans:
    """Content of a prompt by its hashes; the last block may be shorter."""
    spans = []
    left = request.input_tokens
    for number in request.hashes:
        if not left:
            break
        spans.append(Span(f"{name}:hash:{number}", 0, min(block_size, left)))
        left -= spans[-1].tokens
    return tuple(spans)


def _prefix(record: Record) -> TokenSpans:
    tools, system = record.get("tool_tokens", count, 0), record.get("system_tokens", count, 0)
    return (Span(f"prefix:{tools}:{system}", 0, tools + system),) if tools + system else ()


def _seconds(value: Any) -> int:
    ticks = ticks_of(value, "s")
    if ticks < 0:
        raise ValueError("must be >= 0")
    return ticks


def _size(value: Any) -> int:
    if not (size := count(value)):
        raise ValueError("must be > 0")
    return size


def _hashes(value: Any) -> list[int]:
    numbers = listed(value)
    if not all(type(number) is int for number in numbers):
        raise ValueError("must be a list of whole numbers")
    return numbers


def _text(value: Any) -> str:
    if isinstance(value, str) or type(value) is int:
        return str(value)
    raise ValueError("must be text or a whole number")
