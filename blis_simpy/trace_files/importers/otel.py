"""Spans of OpenTelemetry with the conventions for generative AI: calls of models, grouped by trace.

A call waits for another one if its input repeats the output of that one, or else for the call that ended last before it
started. A wait that follows from others is left out.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from blis_simpy.core.call_graph import Call, CallGraph
from blis_simpy.settings.fields import setting, settings_class
from blis_simpy.trace_files.json_records import Record, count, each_record, json_values
from blis_simpy.trace_files.session_trace import session_trace
from blis_simpy.trace_files.timestamps import moment, ticks_of

if TYPE_CHECKING:
    from blis_simpy.trace_files.trace import Trace

__all__ = ["OpenTelemetry"]

_INPUT, _OUTPUT = "gen_ai.input.messages", "gen_ai.output.messages"
_INPUT_TOKENS = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")
_OUTPUT_TOKENS = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")
_ERROR = (2, "2", "ERROR", "STATUS_CODE_ERROR", "Error")
_TRACE_ID = ("traceId", "trace_id")
_START = ("startTimeUnixNano", "start_time_unix_nano", "start_time", "startTime")
_END = ("endTimeUnixNano", "end_time_unix_nano", "end_time", "endTime")


@attrs.frozen(kw_only=True)
class _Span:
    """A span of a call.

    Attributes
    ----------
    trace : str
        Trace that it belongs to.
    start, end : int, ticks
        Start and end.
    input_tokens, output_tokens : int
        Lengths.
    answers : frozenset of str
        Texts of the assistant messages of its input.
    output : str
        Text of its output.
    model : str
        Name of the model.
    """

    trace: str
    start: int
    end: int
    input_tokens: int
    output_tokens: int
    answers: frozenset[str]
    output: str
    model: str


@settings_class
class OpenTelemetry:
    """Spans of OpenTelemetry for generative AI (JSON, JSON lines); a trace is a session."""

    errors: bool = setting(default=False, help="Whether calls with an error status are kept.", flag="--keep-errors")

    fields: ClassVar[str] = (
        "spans with name, traceId, startTimeUnixNano, endTimeUnixNano, status, attributes: gen_ai.usage.input_tokens, "
        "gen_ai.usage.output_tokens, gen_ai.input.messages, gen_ai.output.messages, gen_ai.request.model (as client_id)"
    )
    times: ClassVar[str] = "ns since 1970, or dates"
    not_kept: ClassVar[str] = "spans of other operations, calls with errors, the texts"

    @classmethod
    def recognises(cls, name: str, start: bytes) -> bool:
        """Whether the file has spans, with their ids and times."""
        text = start.lstrip()
        return text.startswith((b"{", b"[")) and (
            b'"resourceSpans"' in text or (any(f'"{key}"'.encode() in text for key in _TRACE_ID) and b"gen_ai." in text)
        )

    def read(self, path: str, max_rows: int | None) -> Trace:
        """Read a file; `max_rows` limits the number of sessions."""
        records = [record for outer in json_values(path) for record in _spans(outer)]
        found: defaultdict[str, list[_Span]] = defaultdict(list)
        for span in each_record(path, filter(self._is_call, records), _span):
            found[span.trace].append(span)
        first = min((span.start for spans in found.values() for span in spans), default=0)
        graphs = [_graph(name, spans, first) for name, spans in list(found.items())[:max_rows]]
        return session_trace(path, graphs, not_kept=["the texts"] if any(map(_has_text, records)) else [])

    def _is_call(self, record: Record) -> bool:
        values = record.values
        if not isinstance(values, Mapping):
            return True  # to be reported when it is read
        status = values.get("status") or {}
        code = status.get("code", status.get("status_code")) if isinstance(status, Mapping) else status
        is_call = str(values.get("name", "")).startswith("chat ") or _INPUT in _attributes(record)
        return is_call and (self.errors or code not in _ERROR)


def _spans(record: Record) -> Iterator[Record]:
    """Spans of a value: itself, or those of an export in the layout of OTLP."""
    values = record.values
    if not isinstance(values, Mapping):
        yield record
        return
    inner = next((key for key in ("resourceSpans", "scopeSpans", "spans") if isinstance(values.get(key), list)), None)
    if inner is None:
        yield record
        return
    for number, value in enumerate(values[inner]):
        place = ".".join(filter(None, (record.path, f"{inner}[{number}]")))
        yield from _spans(Record(value, place, record.line))


def _attributes(record: Record) -> Mapping[str, Any]:
    """Attributes as a mapping: they are one, or a list of keys and typed values."""
    values = record.values.get("attributes", {}) if isinstance(record.values, Mapping) else {}
    if isinstance(values, Mapping):
        return values
    found = {}
    for item in values if isinstance(values, list) else ():
        if isinstance(item, Mapping) and "key" in item:
            value = item.get("value")
            found[str(item["key"])] = next(iter(value.values()), None) if isinstance(value, Mapping) else value
    return found


def _has_text(record: Record) -> bool:
    return not {_INPUT, _OUTPUT}.isdisjoint(_attributes(record))


def _span(record: Record) -> _Span:
    attributes = Record(_attributes(record), ".".join(filter(None, (record.path, "attributes"))), record.line)
    start = record.get(_first(record, _START), _instant)
    end = record.get(_first(record, _END), _instant)
    if end < start:
        raise record.error(_first(record, _END), "must not be before the start", end)
    return _Span(
        trace=record.get(_first(record, _TRACE_ID), _text),
        start=start,
        end=end,
        input_tokens=attributes.get(_first(attributes, _INPUT_TOKENS), count),
        output_tokens=attributes.get(_first(attributes, _OUTPUT_TOKENS), count),
        answers=frozenset(_texts(attributes.values.get(_INPUT), "assistant")),
        output="".join(_texts(attributes.values.get(_OUTPUT), None)),
        model=attributes.get("gen_ai.request.model", str, ""),
    )


def _graph(name: str, spans: Iterable[_Span], first: int) -> CallGraph:
    ordered = sorted(spans, key=lambda span: (span.start, span.end))
    begin = ordered[0].start
    before: list[set[int]] = []
    calls = []
    for place, span in enumerate(ordered):
        causes = [
            other
            for other in range(place)
            if ordered[other].output and ordered[other].output in span.answers and ordered[other].end <= span.start
        ]
        ended = [other for other in range(place) if ordered[other].end <= span.start]
        parents = causes or sorted(ended, key=lambda other: ordered[other].end)[-1:]
        # The main parent is the latest of those whose output the prompt repeats.
        parents.sort(key=lambda other: -ordered[other].end)
        implied = set().union(*(before[parent] for parent in parents)) if parents else set()
        parents = [parent for parent in parents if parent not in implied]
        before.append(implied | set(parents))
        known = ordered[parents[0]].input_tokens + ordered[parents[0]].output_tokens if causes else 0
        is_compacted = bool(causes) and span.input_tokens < known
        ready = max((ordered[parent].end for parent in parents), default=begin)
        calls.append(
            Call(
                input_tokens=max(span.input_tokens - known, 0),
                output_tokens=span.output_tokens,
                after=tuple(parents),
                wait_us=span.start - ready,
                context="compact" if is_compacted else "append" if causes else "fresh",
                prompt_tokens=span.input_tokens if is_compacted or not causes else None,
                started_us=span.start - begin,
                client=span.model,
            )
        )
    return CallGraph(name=name, calls=tuple(calls), started_us=begin - first)


def _texts(messages: Any, role: str | None) -> Iterator[str]:
    """Texts of the messages of a role, or of all; messages are a list, or JSON."""
    if isinstance(messages, str):
        try:
            messages = json.loads(messages)
        except (ValueError, RecursionError):
            yield messages
            return
    if isinstance(messages, Mapping):
        messages = messages.get("values", [messages])
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, Mapping) and role in (None, message.get("role")):
            content = message.get("parts", message.get("content", ""))
            yield content if isinstance(content, str) else json.dumps(content, sort_keys=True)


def _first(record: Record, keys: tuple[str, ...]) -> str:
    if not isinstance(record.values, Mapping):
        return keys[0]
    return next((key for key in keys if record.values.get(key) is not None), keys[0])


def _instant(value: Any) -> int:
    if isinstance(value, str) and not value.strip().lstrip("-").replace(".", "", 1).isdigit():
        return moment(value)
    return ticks_of(value, "ns")


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise ValueError("must be text")
