"""Figures of the sessions of a run: conversations and closed-loop users."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from blis_simpy.core.request import RequestOutcome
from blis_simpy.core.table import Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from blis_simpy.results.requests import RequestTable

__all__ = ["session_table"]

_LABELS = ("session", "client", "tenant", "slo_class")
_FAILED = (RequestOutcome.REJECTED, RequestOutcome.DROPPED, RequestOutcome.TIMED_OUT)


def session_table(requests: RequestTable, off_critical_path: NDArray[np.int64]) -> Table:
    """Make the table of the sessions of a run; see `blis_simpy.Result.sessions`.

    Parameters
    ----------
    requests : RequestTable
        All requests; those without a session are left out.
    off_critical_path : ndarray of int64
        Rows of the requests that did not decide when their session ended.
    """
    labelled = np.flatnonzero(requests["session"] != "")
    names, first, owner = np.unique(requests["session"][labelled].astype(str), return_index=True, return_inverse=True)
    rank = np.empty(len(names), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(names))
    # By session in the order of their first requests, then by arrival.
    order = np.lexsort((requests["arrived_at_us"][labelled], rank[owner]))
    rows, owners = labelled[order], rank[owner][order]
    starts = np.flatnonzero(np.diff(owners, prepend=-1))
    part = requests.take(rows)
    arrived, completed = part["arrived_at_us"], part.completed
    ends = np.where(completed, arrived + part["e2e_us"], np.maximum(part["finished_at_us"], arrived))
    reached = _running_maximum(ends, starts)
    # A request that arrives before an earlier one of its session has ended adds only what it lasts longer.
    service = np.maximum(reached - np.maximum(arrived, np.concatenate(([0], reached[:-1]))), 0)
    service[starts] = (reached - arrived)[starts]

    def total(values: NDArray[Any]) -> NDArray[np.int64]:
        return np.add.reduceat(values.astype(np.int64), starts) if len(starts) else np.empty(0, dtype=np.int64)

    failed = np.isin(part["outcome"], [outcome.name.lower() for outcome in _FAILED])
    lasts = np.append(starts[1:], len(rows)) - 1 if len(starts) else starts
    duration = (reached[lasts] - arrived[starts]).astype(np.int64)
    on_path = ~np.isin(rows, off_critical_path)
    queue, prefill, decode = (total(np.where(on_path, phase, 0)) for phase in _phases(part, ends - arrived))
    input_tokens, cached = total(part["input_tokens"]), total(part["cached_tokens"])
    return Table.of(
        {
            **{name: part[name][starts] for name in _LABELS},
            "requests": total(np.ones(len(rows))),
            "completed": total(completed),
            "failed": total(failed),
            "open": total(~completed & ~failed),
            "started_at_us": arrived[starts],
            "duration_us": duration,
            "service_us": total(service),
            "pause_us": duration - total(service),
            "input_tokens": input_tokens,
            "output_tokens": total(part["generated_tokens"]),
            "cached_tokens": cached,
            "hit_rate": cached / np.maximum(input_tokens, 1),
            "path_requests": total(on_path),
            "path_queue_us": queue,
            "path_prefill_us": prefill,
            "path_decode_us": decode,
            "path_wait_us": duration - queue - prefill - decode,
        }
    )


def _phases(
    requests: RequestTable, service: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Split the time of each request into queue, prefill and decode."""
    queue = np.where(requests.completed, requests["first_scheduled_at_us"] - requests["arrived_at_us"], service)
    prefill = np.where(requests.completed, requests["ttft_us"] - queue, 0)
    return queue, prefill, service - queue - prefill


def _running_maximum(values: NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Largest value so far, which starts anew at the given places."""
    result = values.copy()
    for part in np.split(result, starts):
        np.maximum.accumulate(part, out=part)
    return result
