"""Traces of sessions of calls: the calls as rows, for a replay at their recorded starts, beside the graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import numpy as np

from blis_simpy.core.session_prompts import SessionPrompts
from blis_simpy.core.token_spans import output_stream
from blis_simpy.errors import WorkloadTraceError
from blis_simpy.settings.bounds import MAX_TICK
from blis_simpy.trace_files.trace_builder import build_trace

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from blis_simpy.core.call_graph import CallGraph
    from blis_simpy.core.token_spans import TokenSpans
    from blis_simpy.trace_files.trace import Trace

__all__ = ["planned_starts", "session_trace"]

_WAITS = "waits after responses, which become waits after starts"


def session_trace(file: str, graphs: Sequence[CallGraph], *, not_kept: Iterable[str] = ()) -> Trace:
    """Build the trace of some sessions.

    Parameters
    ----------
    file : str
        Name of the file, for messages.
    graphs : sequence of CallGraph
        The sessions, with different names. A call without a recorded start becomes a row that starts after the waits
        of the calls before it, as if they took no time.
    not_kept : iterable of str
        Contents of the file that the sessions do not have.

    Raises
    ------
    WorkloadTraceError
        If there are no calls, or one starts beyond the clock.
    """
    arrivals: list[int] = []
    contents: list[TokenSpans] = []
    streams: list[str | None] = []
    for graph in graphs:
        prompts = SessionPrompts(graph, graph.name)
        outputs = {position: call.output_tokens for position, call in enumerate(graph.calls)}
        repeated = {parent for call in graph.calls for parent in call.after}
        starts = [graph.started_us + start for start in planned_starts(graph)]
        if max(map(abs, starts)) > MAX_TICK:
            rule = "must start its calls before 2**62 us"
            raise WorkloadTraceError.at("session", rule, graph.name, file=file)
        arrivals += starts
        contents += (prompts.prompt(position, outputs) for position in outputs)
        streams += (output_stream(graph.name, position) if position in repeated else None for position in outputs)
    calls = [call for graph in graphs for call in graph.calls]
    trace = build_trace(
        file,
        arrivals=arrivals,
        input_tokens=[sum(span.tokens for span in content) for content in contents],
        output_tokens=[call.output_tokens for call in calls],
        contents=contents,
        output_streams=streams,
        not_kept=[*not_kept, "" if all(graph.has_starts for graph in graphs) else _WAITS],
        session_id=[graph.name for graph in graphs for _ in graph.calls],
        round_index=np.array([position for graph in graphs for position in range(len(graph.calls))], np.int64),
        client_id=[call.client for call in calls],
    )
    return attrs.evolve(trace, sessions=tuple(graphs))


def planned_starts(graph: CallGraph) -> list[int]:
    """Return when each call starts after the start of its session, µs: as recorded, or after the waits before it."""
    starts: list[int] = []
    for call in graph.calls:
        earliest = max((starts[parent] for parent in call.after), default=0) + call.wait_us
        starts.append(earliest if call.started_us is None else call.started_us)
    return starts
