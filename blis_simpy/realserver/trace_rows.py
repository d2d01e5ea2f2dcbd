"""Rows of a workload trace, made of requests to a real server and their exchanges."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from blis_simpy.realserver.http_exchange import TIMEOUT
from blis_simpy.trace_files.trace import NetworkInfo, ServerInfo, Trace, TraceHeader
from blis_simpy.trace_files.trace_columns import full_columns
from blis_simpy.units import SECOND

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from blis_simpy.core.request import Request
    from blis_simpy.realserver.http_exchange import Exchange
    from blis_simpy.realserver.settings import ObserveSettings

__all__ = ["Row", "as_trace"]

Row = tuple[int, "Request", "Exchange", bool]
"""Number in order of dispatch, request, outcome, and whether a stream was requested."""


def as_trace(rows: list[Row], settings: ObserveSettings, started_at: int, workload_file: str) -> Trace:
    """Write a run as a workload trace.

    Parameters
    ----------
    rows : list of Row
        Requests and exchanges, in order of completion.
    settings : ObserveSettings
        Settings of the client.
    started_at : int, µs since 1970
        Tick 0 of the arrivals.
    workload_file : str
        File of the workload; empty = none.

    Returns
    -------
    Trace
        Arrivals and deadlines in ticks since the start; times of sending and of chunks in µs since 1970. Output lengths
        are those that the server reports; for a request that timed out, the planned length, which the server was
        working on. The shared part of a prompt is kept as its content and not as a prefix group, because a prefix group
        would add to the recorded lengths.
    """
    header = TraceHeader(
        time_unit="us",
        created_at=datetime.fromtimestamp(started_at // SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        mode="real",
        warm_up_requests=settings.warmup_requests,
        workload_spec=workload_file,
        server=ServerInfo(type=settings.server_type, model=settings.model),
        network=NetworkInfo(measured_rtt_ms=settings.rtt_ms),
    )
    requests = [request for _, request, _, _ in rows]
    exchanges = [exchange for _, _, exchange, _ in rows]
    columns = full_columns(
        len(rows),
        request_id=_numbers(number for number, *_ in rows),
        client_id=[request.client for request in requests],
        tenant_id=[request.tenant for request in requests],
        slo_class=[request.slo_class for request in requests],
        session_id=[request.session for request in requests],
        round_index=_numbers(request.round_index for request in requests),
        streaming=np.array([streaming for *_, streaming in rows], dtype=np.bool_),
        input_tokens=_numbers(request.input_tokens for request in requests),
        output_tokens=_numbers(
            request.output_tokens if exchange.status == TIMEOUT else exchange.output_tokens
            for request, exchange in zip(requests, exchanges, strict=True)
        ),
        model=[request.model for request in requests],
        deadline_us=_numbers(request.deadline for request in requests),
        server_input_tokens=_numbers(exchange.input_tokens for exchange in exchanges),
        arrival_time_us=_numbers(request.arrived_at for request in requests),
        send_time_us=_numbers(exchange.sent_at for exchange in exchanges),
        first_chunk_time_us=_numbers(exchange.first_chunk_at for exchange in exchanges),
        last_chunk_time_us=_numbers(exchange.last_chunk_at for exchange in exchanges),
        num_chunks=_numbers(exchange.num_chunks for exchange in exchanges),
        status=[exchange.status for exchange in exchanges],
        error_message=[exchange.error_message for exchange in exchanges],
        finish_reason=[exchange.finish_reason for exchange in exchanges],
    )
    if not any(request.content for request in requests):
        return Trace(header, columns)
    return Trace(
        header,
        columns,
        contents=[request.content for request in requests],
        output_streams=[request.output_stream for request in requests],
    )


def _numbers(values: Iterable[int]) -> NDArray[np.int64]:
    return np.fromiter(values, dtype=np.int64)
