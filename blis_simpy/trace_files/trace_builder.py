"""Builds workload traces from the columns of other formats."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from blis_simpy.errors import WorkloadTraceError
from blis_simpy.trace_files.trace import Trace, TraceHeader
from blis_simpy.trace_files.trace_columns import full_columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from blis_simpy.core.token_spans import TokenSpans

__all__ = ["build_trace", "rounds_of", "shifted", "take"]

_log = logging.getLogger(__name__)
_LATER_TIMES = ("deadline_us", "send_time_us", "first_chunk_time_us", "last_chunk_time_us")


def build_trace(
    file: str,
    *,
    arrivals: Any,
    input_tokens: Any,
    output_tokens: Any,
    header: TraceHeader | None = None,
    contents: Sequence[TokenSpans | None] | None = None,
    output_streams: Sequence[str | None] | None = None,
    failed: Any = None,
    not_kept: Iterable[str] = (),
    **labels: Any,
) -> Trace:
    """Build a trace that starts at tick 0, with rows in order of arrival and numbered from 0.

    Parameters
    ----------
    file : str
        Name of the file, for messages.
    arrivals : sequence of int, ticks
        Arrival of each request, from any origin.
    input_tokens, output_tokens : sequence of int, tokens
        Lengths. Requests without prompt and output are left out, and an empty prompt counts as one token, because a
        server computes at least one; warnings state the numbers.
    header : TraceHeader, optional
        Header; by default that of a recording.
    contents, output_streams : sequence, optional
        As for `Trace`.
    failed : sequence of bool, optional
        Requests without a response, which are left out.
    not_kept : iterable of str
        Contents of the file that the trace does not have.
    **labels : list of str or ndarray
        Further columns of the trace; times in them have the origin of the arrivals, and 0 means none.

    Raises
    ------
    WorkloadTraceError
        If there are no requests.
    """
    ticks = np.asarray(arrivals, np.int64)
    columns = full_columns(
        len(ticks),
        arrival_time_us=ticks,
        send_time_us=ticks,
        input_tokens=np.asarray(input_tokens, np.int64),
        output_tokens=np.asarray(output_tokens, np.int64),
        **labels,
    )
    if contents is not None and not any(contents):
        contents = output_streams = None
    trace = Trace(
        header or TraceHeader(mode="real"), columns, contents, output_streams, not_kept=tuple(filter(None, not_kept))
    )
    left_out = (np.asarray(columns["input_tokens"]) == 0) & (np.asarray(columns["output_tokens"]) == 0)
    if failed is not None:
        left_out |= np.asarray(failed, np.bool_)
    if left_out.any():
        why = "failed" if failed is not None else "no prompt and no output"
        _log.warning("%s: %d of %d requests are left out: %s", file, left_out.sum(), len(ticks), why)
    rows: NDArray[np.int64] = np.argsort(ticks, kind="stable")
    rows = rows[~left_out[rows]]
    if not len(rows):
        raise WorkloadTraceError.at("", "is an empty trace: it has no requests", file=file)
    trace = shifted(take(trace, rows), ticks[rows] - ticks[rows[0]])
    trace.columns["request_id"] = np.arange(len(rows))
    empty = np.asarray(trace.columns["input_tokens"]) == 0
    if empty.any():
        _log.warning("%s: %d empty prompts count as one token each", file, empty.sum())
        trace.columns["input_tokens"] = np.where(empty, 1, trace.columns["input_tokens"])
    return trace


def take(trace: Trace, rows: NDArray[np.int64]) -> Trace:
    """Return a trace with some of the rows, in a given order, and without sessions, of which rows may be missing."""
    numbers = rows.tolist()
    done: dict[int, Any] = {}

    def picked(values: Any) -> Any:
        # Columns that share an object still share it afterwards, and constant columns take no memory.
        if id(values) not in done:
            if not isinstance(values, np.ndarray):
                done[id(values)] = [values[number] for number in numbers]
            elif values.strides == (0,) and len(values):
                done[id(values)] = np.broadcast_to(values[0], len(rows))
            else:
                done[id(values)] = values[rows]
        return done[id(values)]

    return attrs.evolve(
        trace,
        columns={name: picked(column) for name, column in trace.columns.items()},
        contents=None if trace.contents is None else picked(trace.contents),
        output_streams=None if trace.output_streams is None else picked(trace.output_streams),
        sessions=(),
    )


def shifted(trace: Trace, arrivals: NDArray[np.int64]) -> Trace:
    """Return a trace with other arrivals, and all later times of a request shifted with its arrival.

    Parameters
    ----------
    trace : Trace
        Trace to copy.
    arrivals : ndarray of int64, shape (num_requests,), ticks
        New arrivals.
    """
    columns: dict[str, Any] = dict(trace.columns)
    shift = arrivals - columns["arrival_time_us"]
    # 0 means no time, except for a request that arrives and is sent at 0.
    for name in _LATER_TIMES:
        if columns[name] is columns["arrival_time_us"]:
            columns[name] = arrivals
            continue
        if columns[name].strides == (0,) and name != "send_time_us" and not columns[name].any():
            continue
        is_known = (columns[name] != 0) | ((name == "send_time_us") & (columns["arrival_time_us"] == 0))
        columns[name] = np.where(is_known, columns[name] + shift, 0)
    columns["arrival_time_us"] = arrivals
    return attrs.evolve(trace, columns=columns)


def rounds_of(sessions: Iterable[str]) -> NDArray[np.int64]:
    """Return the round of each request in its session, from 0; 0 without a session."""
    seen: Counter[str] = Counter()
    rounds = []
    for session in sessions:
        rounds.append(seen[session])
        seen[session] += bool(session)
    return np.array(rounds, np.int64)
