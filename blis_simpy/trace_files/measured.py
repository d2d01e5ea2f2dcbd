"""Workload traces of requests measured by a load generator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from blis_simpy.trace_files.trace import ServerInfo, TraceHeader
from blis_simpy.trace_files.trace_builder import build_trace, rounds_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from blis_simpy.trace_files.trace import Trace

__all__ = ["Measured", "measured_trace"]


@attrs.frozen(kw_only=True)
class Measured:
    """A measured request.

    Attributes
    ----------
    sent_at : int, ticks
        Time of sending, from any origin.
    input_tokens, output_tokens : int
        Lengths.
    first_chunk_at, last_chunk_at : int or None, ticks
        Time of the first and of the last chunk of the response; None if unknown.
    num_chunks : int
        Number of chunks with tokens; 0 if unknown.
    failed : bool
        Whether the response is missing or incomplete.
    client_id, session_id : str
        Labels; empty = none.
    """

    sent_at: int
    input_tokens: int
    output_tokens: int
    first_chunk_at: int | None = None
    last_chunk_at: int | None = None
    num_chunks: int = 0
    failed: bool = False
    client_id: str = ""
    session_id: str = ""


def measured_trace(
    file: str, requests: Sequence[Measured], *, server: ServerInfo | None = None, not_kept: Iterable[str] = ()
) -> Trace:
    """Build a trace with `build_trace`, without requests that failed or have no output.

    Parameters
    ----------
    file : str
        Name of the file, for messages.
    requests : sequence of Measured
        Requests, in any order.
    server : ServerInfo, optional
        The measured server.
    not_kept : iterable of str
        Contents of the file that the requests do not have.
    """

    def numbers(name: str) -> Any:
        return np.array([getattr(request, name) or 0 for request in requests], np.int64)

    first = numbers("first_chunk_at")
    trace = build_trace(
        file,
        arrivals=numbers("sent_at"),
        input_tokens=numbers("input_tokens"),
        output_tokens=numbers("output_tokens"),
        header=TraceHeader(mode="real", server=server),
        failed=[request.failed or not request.output_tokens for request in requests],
        not_kept=not_kept,
        first_chunk_time_us=first,
        last_chunk_time_us=numbers("last_chunk_at"),
        num_chunks=numbers("num_chunks"),
        streaming=first > 0,
        client_id=[request.client_id for request in requests],
        session_id=[request.session_id for request in requests],
    )
    trace.columns["round_index"] = rounds_of(trace.columns["session_id"])
    return trace
