"""Sessions of calls in our own layout: one session per line, with its calls and what each waits for."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from blis_simpy.core.call_graph import CONTEXTS, Call, CallGraph
from blis_simpy.errors import ScenarioError, WorkloadTraceError
from blis_simpy.files.outputs import write_text
from blis_simpy.trace_files.json_records import Record, count, each_record, json_lines, listed
from blis_simpy.trace_files.json_rows import names_of
from blis_simpy.trace_files.session_trace import session_trace
from blis_simpy.trace_files.timestamps import ticks_of
from blis_simpy.trace_files.token_span_text import read_content, write_content

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from os import PathLike

    from blis_simpy.core.token_spans import TokenSpans
    from blis_simpy.trace_files.trace import Trace

__all__ = ["OwnSessions", "write_sessions"]


@attrs.frozen(kw_only=True)
class OwnSessions:
    """Sessions of calls in the layout of this library (JSON lines)."""

    fields: ClassVar[str] = (
        "session, calls; optional start_ms, prefix (as tools+2000); of each call input, output; optional id, after, "
        "wait_ms, context, summary, start_ms, prompt, content, client"
    )
    times: ClassVar[str] = "ms; optional"
    not_kept: ClassVar[str] = ""

    @classmethod
    def recognises(cls, name: str, start: bytes) -> bool:
        """Whether the first object has a session with calls."""
        return start.lstrip().startswith(b"{") and {"session", "calls"} <= set(names_of(start))

    def read(self, path: str, max_rows: int | None) -> Trace:
        """Read a file; `max_rows` limits the number of sessions."""
        graphs = list(islice(each_record(path, json_lines(path), _graph), max_rows))
        return session_trace(path, graphs)


def write_sessions(path: str | PathLike[str], graphs: Iterable[CallGraph]) -> None:
    """Write sessions in the layout that `load_trace` reads.

    Raises
    ------
    ScenarioError
        If the file cannot be written.
    """
    write_text(path, "".join(f"{json.dumps(_plain(graph))}\n" for graph in graphs))


def _plain(graph: CallGraph) -> dict[str, Any]:
    figures: dict[str, Any] = {"session": graph.name}
    if graph.started_us:
        figures["start_ms"] = graph.started_us / 1000
    if graph.prefix:
        figures["prefix"] = write_content(graph.prefix)
    return {**figures, "calls": [_plain_call(number, call) for number, call in enumerate(graph.calls)]}


def _plain_call(number: int, call: Call) -> dict[str, Any]:
    figures: dict[str, Any] = {"id": str(number), "input": call.input_tokens, "output": call.output_tokens}
    if call.after:
        figures["after"] = list(map(str, call.after))
    optional = {
        "wait_ms": call.wait_us / 1000,
        "context": call.context if call.context != "append" else None,
        "summary": call.summary_tokens,
        "prompt": call.prompt_tokens,
        "content": write_content(call.content),
        "client": call.client,
    }
    figures |= {key: value for key, value in optional.items() if value}
    return figures if call.started_us is None else {**figures, "start_ms": call.started_us / 1000}


def _graph(record: Record) -> CallGraph:
    places: dict[str, int] = {}
    calls = []
    for number, values in enumerate(record.get("calls", listed)):
        call = Record(values, f"calls[{number}]", record.line)
        calls.append(_call(call, places))
        places[call.get("id", _name, str(number))] = number
    try:
        return CallGraph(
            name=record.get("session", _name),
            calls=tuple(calls),
            prefix=record.get("prefix", _content, ()),
            started_us=record.get("start_ms", _ticks, 0),
        )
    except ScenarioError as error:
        raise WorkloadTraceError(attrs.evolve(problem, line=record.line) for problem in error.problems) from None


def _call(record: Record, places: Mapping[str, int]) -> Call:
    after = record.optional_items("after", _name) or []
    for number, name in enumerate(after):
        if name not in places:
            raise record.error(f"after[{number}]", "must be the id of an earlier call of the session", name)
    return Call(
        input_tokens=record.get("input", count),
        output_tokens=record.get("output", count),
        after=tuple(places[name] for name in after),
        wait_us=record.get("wait_ms", _ticks, 0),
        context=record.get("context", _context, "append"),
        summary_tokens=record.get("summary", count, 0),
        prompt_tokens=record.get("prompt", count, None),
        content=record.get("content", _content, ()),
        started_us=record.get("start_ms", _ticks, None),
        client=record.get("client", str, ""),
    )


def _ticks(value: Any) -> int:
    ticks = ticks_of(value, "ms")
    if ticks < 0:
        raise ValueError("must be >= 0")
    return ticks


def _name(value: Any) -> str:
    if isinstance(value, str) or type(value) is int:
        return str(value)
    raise ValueError("must be text or a whole number")


def _context(value: Any) -> str:
    if value in CONTEXTS:
        return str(value)
    raise ValueError(f"must be one of {', '.join(CONTEXTS)}")


def _content(value: Any) -> TokenSpans:
    if isinstance(value, str):
        return read_content(value)[0] or ()
    raise ValueError("must be text")
