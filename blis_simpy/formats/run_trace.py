"""The requests of a run as a workload trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from blis_simpy.core.request import NEVER, Outcome, Request
from blis_simpy.formats.trace import Trace, TraceHeader
from blis_simpy.formats.trace_columns import full_columns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from numpy.typing import NDArray

__all__ = ["trace_of_run"]

_STATUS = {Outcome.COMPLETED: "ok", Outcome.TIMED_OUT: "timeout"}
_DETAILS = ("text_tokens", "image_tokens", "audio_tokens", "video_tokens", "reason_ratio")


def trace_of_run(requests: Iterable[Request], details: Mapping[str, Any] | None = None) -> Trace:
    """Make a trace of all requests of a run, whatever became of them, as the reference exports it.

    Parameters
    ----------
    requests : iterable of Request
        In the order in which they were made. Their inter-token sums must be up to date, also of those that are
        under way or timed out.
    details : mapping of str to RequestDetails, optional
        Parts of multimodal prompts and shares of reasoning, by id of the request; who is not there has none.

    Returns
    -------
    Trace
        One row a request, by arrival, numbered from 0. Prefix groups are left out, for ``input_tokens`` has the prefix
        in it already. ``status`` is ``ok``, ``timeout`` or, for all others, ``incomplete``. The first chunk leaves with
        the first token, the last one with the last token so far; both are 0 where there was no token.
    """
    rows = sorted(requests, key=lambda request: request.arrived_at)

    def numbers(value: Callable[[Request], int]) -> NDArray[np.int64]:
        return np.fromiter(map(value, rows), np.int64, len(rows))

    arrivals = numbers(lambda request: request.arrived_at)
    ttfts = numbers(lambda request: request.ttft)
    first_chunks = np.where(ttfts == NEVER, 0, arrivals + ttfts)
    gaps = numbers(lambda request: request.itl_sum)
    columns = full_columns(
        len(rows),
        client_id=[request.client for request in rows],
        tenant_id=[request.tenant for request in rows],
        slo_class=[request.slo_class for request in rows],
        session_id=[request.session for request in rows],
        round_index=numbers(lambda request: request.round_index),
        streaming=np.fromiter((request.streaming for request in rows), np.bool_, len(rows)),
        input_tokens=numbers(lambda request: request.input_tokens),
        output_tokens=numbers(lambda request: request.output_tokens),
        model=[request.model for request in rows],
        deadline_us=numbers(lambda request: request.deadline),
        arrival_time_us=arrivals,
        send_time_us=arrivals,
        first_chunk_time_us=first_chunks,
        last_chunk_time_us=np.where(ttfts == NEVER, 0, first_chunks + gaps),
        status=[_STATUS.get(request.outcome, "incomplete") for request in rows],
    )
    if details:
        found = [(row, details[request.id]) for row, request in enumerate(rows) if request.id in details]
        for name in _DETAILS:
            column: Any = columns[name]
            for row, known in found:
                column[row] = getattr(known, name)
    return Trace(TraceHeader(mode="generated"), columns)
