"""The requests of a run as a workload trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from blis_simpy.core.request import NEVER
from blis_simpy.trace_files.column_names import PRIORITY, SLO_TARGETS
from blis_simpy.trace_files.trace import Trace, TraceHeader
from blis_simpy.trace_files.trace_columns import full_columns

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from blis_simpy.core.slo_targets import SLOTargets

__all__ = ["trace_of_run"]

_SAME = {
    "client_id": "client",
    "tenant_id": "tenant",
    "slo_class": "slo_class",
    "session_id": "session",
    "round_index": "round_index",
    "streaming": "streaming",
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "model": "model",
    "deadline_us": "deadline_us",
    "arrival_time_us": "arrived_at_us",
    "send_time_us": "arrived_at_us",
    PRIORITY: "priority",
}
_STATUS = {"completed": "ok", "timed_out": "timeout"}
_DETAILS = ("text_tokens", "image_tokens", "audio_tokens", "video_tokens", "reason_ratio")


def trace_of_run(
    requests: Mapping[str, NDArray[Any]],
    details: Mapping[str, Any] | None = None,
    slo_targets: Mapping[int, SLOTargets] | None = None,
) -> Trace:
    """Return a trace of all requests of a run, in the layout of the reference.

    Parameters
    ----------
    requests : mapping of str to ndarray of shape (num_requests,)
        Table of the requests of a result, in the order of their creation.
    details : mapping of str to RequestDetails, optional
        Parts of multimodal prompts and shares of reasoning, by id of the request.
    slo_targets : mapping of int to SLOTargets, optional
        Targets of requests, by row of `requests`.

    Returns
    -------
    Trace
        One row per request, in order of arrival and numbered from 0. Prefix groups are left out, because
        ``input_tokens`` includes the prefix. ``status`` is ``ok``, ``timeout`` or ``incomplete``. The times of the
        first and the last chunk are those of the first and the last token, 0 without tokens.
    """
    rows = np.argsort(requests["arrived_at_us"], kind="stable")

    def column(name: str) -> NDArray[Any]:
        return requests[name][rows]

    same: dict[str, Any] = {name: column(ours) for name, ours in _SAME.items()}
    has_token = column("ttft_us") != NEVER
    first_chunks = np.where(has_token, column("arrived_at_us") + column("ttft_us"), 0)
    columns = full_columns(
        len(rows),
        **{name: values.tolist() if values.dtype == object else values for name, values in same.items()},
        first_chunk_time_us=first_chunks,
        last_chunk_time_us=np.where(has_token, first_chunks + column("itl_sum_us"), 0),
        status=[_STATUS.get(outcome, "incomplete") for outcome in column("outcome").tolist()],
    )
    if slo_targets:
        for name, dimension in SLO_TARGETS.items():
            of_row = {row: getattr(targets, dimension) or 0 for row, targets in slo_targets.items()}
            columns[name] = np.array([of_row.get(row, 0) for row in rows.tolist()], dtype=np.int64)
    if details:
        found = [(row, details[name]) for row, name in enumerate(column("id").tolist()) if name in details]
        for name in _DETAILS:
            values: Any = np.array(columns[name])
            columns[name] = values
            for row, known in found:
                values[row] = getattr(known, name)
    return Trace(TraceHeader(mode="generated"), columns)
