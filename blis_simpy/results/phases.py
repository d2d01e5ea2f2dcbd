"""Phases of a request: from arrival through queue, prefill and decode to the last token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from blis_simpy.core.rendering import Plots, Rendered
from blis_simpy.core.request import NEVER
from blis_simpy.errors import ScenarioError
from blis_simpy.results.step_terms import DecodeStep

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


__all__ = [
    "PHASES",
    "PHASES_WITH_HANDOVERS",
    "PHASES_WITH_LOADS",
    "Explanation",
    "explain",
    "phase_bounds",
    "phases_of",
]

PHASES = {
    "admission": "waiting for admission",
    "routing": "routing and processing before the queue",
    "queue": "waiting to join a batch",
    "preempted": "from the first to the last time that it joined a batch",
    "prefill": "computing the prompt",
    "decode": "first token to last token",
}
"""Phases of a request in order, and what happens in them."""

PHASES_WITH_HANDOVERS = {
    **{name: text for name, text in PHASES.items() if name != "decode"},
    "reserve": "prefill to the allocation of KV blocks at the decode replica",
    "transfer": "sending the KV blocks",
    "join": "waiting to join a batch of the decode replica",
    "recompute": "computing the last prompt token again",
    "decode": PHASES["decode"],
}
"""The same of a request whose prompt another replica may have computed."""

PHASES_WITH_LOADS = {
    **{name: PHASES[name] for name in ("admission", "routing", "queue")},
    "load": "waiting for KV blocks from a tier, then to join a batch",
    **{name: PHASES[name] for name in ("preempted", "prefill", "decode")},
}
"""The same of a request that may have loaded KV blocks from a tier."""


_HANDOVER_MARKS = ("prefilled_at_us", "kv_reserved_at_us", "kv_received_at_us", "decode_scheduled_at_us")
_LOAD_MARK = "kv_load_started_at_us"
_MARKS = ("admitted_at_us", "queued_at_us", "first_scheduled_at_us", "scheduled_at_us")
_USED = ("id", "outcome", "arrived_at_us", *_MARKS, "ttft_us", "e2e_us", "finished_at_us", "generated_tokens")


def phases_of(requests: Mapping[str, NDArray[Any]]) -> dict[str, str]:
    """Return the phases of some requests, with those of handovers, or else of loads from KV tiers, if there were any.

    Parameters
    ----------
    requests : mapping of str to ndarray
        Columns of a `RequestTable`.
    """
    if "prefill_replica" in requests:
        return PHASES_WITH_HANDOVERS
    return PHASES_WITH_LOADS if _LOAD_MARK in requests else PHASES


@attrs.frozen(eq=False, repr=False)
class Explanation(Rendered):
    """Time of one request by phase.

    Attributes
    ----------
    request : str
        Its id.
    outcome : str
        How it ended, or its state at the end of the run.
    phases : dict of str to int, µs
        Duration by name of the phase, in order; they add up to `total_us`.
    preempted_at : list of int, ticks
        When it was preempted.
    decode_step : DecodeStep or None
        Terms of the decode step in the middle of its output, if it had one and the latency model explains it.
    remarks : list of str
        What to know about these figures.
    """

    request: str
    outcome: str
    phases: dict[str, int]
    preempted_at: list[int]
    decode_step: DecodeStep | None = None
    remarks: list[str] = attrs.field(factory=list)

    @property
    def total_us(self) -> int:
        """Time from the arrival to the end of the request, or of the run."""
        return sum(self.phases.values())

    @property
    def plot(self) -> Plots:
        """Draws the phases as a bar: ``explanation.plot()``."""
        return Plots(self, "explanation.", default="phases")

    def __repr__(self) -> str:
        return self.render("text")


def explain(
    requests: Mapping[str, NDArray[Any]], preemptions: Sequence[tuple[str, int]], ended_at: int, request_id: str
) -> Explanation:
    """Compute the phases of one request.

    Parameters
    ----------
    requests, preemptions, ended_at
        As for `phase_bounds`.
    request_id : str
        Id of the request.

    Raises
    ------
    ScenarioError
        If there is no such request.
    """
    rows = np.flatnonzero(requests["id"] == request_id)
    if not len(rows):
        raise ScenarioError.at("request_id", "must be one of the run", request_id)
    names = [name for name in (*_USED, "prefill_replica", *_HANDOVER_MARKS, _LOAD_MARK) if name in requests]
    own = {name: requests[name][rows[:1]] for name in names}
    preempted_at = [at for name, at in preemptions if name == request_id]
    bounds = phase_bounds(own, [(request_id, at) for at in preempted_at], ended_at)
    phases = dict(zip(phases_of(own), np.diff(bounds[0]).tolist(), strict=True))
    return Explanation(request_id, str(own["outcome"][0]), phases, preempted_at)


def phase_bounds(
    requests: Mapping[str, NDArray[Any]], preemptions: Sequence[tuple[str, int]], ended_at: int
) -> NDArray[np.int64]:
    """Compute when each phase of each request began and ended.

    Parameters
    ----------
    requests : mapping of str to ndarray, shape (num_requests,)
        Columns of a `RequestTable`.
    preemptions : sequence of (str, int)
        Request and tick of each preemption.
    ended_at : int, tick
        End of the run, where requests end that are still open.

    Returns
    -------
    ndarray of int64, shape (num_requests, num_phases + 1), ticks
        Phase j of `phases_of` lasts from bound j to bound j + 1. A phase that the request did not enter has length 0.
        Time on a replica that failed counts as waiting: the timestamps are those of the last replica.
    """
    arrived, finished = requests["arrived_at_us"], requests["finished_at_us"]
    end = np.where(finished == NEVER, np.maximum(ended_at, arrived), finished)
    end = np.where(requests["e2e_us"] == NEVER, end, arrived + requests["e2e_us"])
    marks = np.stack([arrived, *(requests[name] for name in _MARKS)], axis=1)
    # A request that is preempted and not yet rescheduled is neither in prefill nor in decode.
    lost_at = dict(preemptions)
    lost = np.array([lost_at.get(name, NEVER) for name in requests["id"].tolist()], dtype=np.int64)
    marks[:, -1] = np.where(lost >= marks[:, -1], NEVER, marks[:, -1])
    first_token = np.where(requests["ttft_us"] == NEVER, NEVER, arrived + requests["ttft_us"])
    # A first token before the last preemption was either discarded, or is kept: then it decodes once it has resumed.
    resumed = marks[:, -1]
    since_then = np.where(requests["generated_tokens"] > 0, resumed, NEVER)
    first_token = np.where(first_token < resumed, since_then, first_token)
    of_handovers = np.empty((len(end), 0), dtype=np.int64)
    if "prefill_replica" in requests:
        of_handovers = np.stack([requests[name] for name in _HANDOVER_MARKS], axis=1)
        # Without a prefill replica, these phases have the length 0 after the prefill.
        divided = requests["prefill_replica"] != NEVER
        of_handovers = np.where(divided[:, None], of_handovers, first_token[:, None])
    if phases_of(requests) is PHASES_WITH_LOADS:
        started, scheduled = requests[_LOAD_MARK], requests["first_scheduled_at_us"]
        marks = np.insert(marks, 3, np.where(started == NEVER, scheduled, started), axis=1)
    bounds = np.concatenate((marks, of_handovers, first_token[:, None], end[:, None]), axis=1)
    bounds = np.where(bounds == NEVER, end[:, None], bounds)
    return np.minimum(np.maximum.accumulate(bounds, axis=1), end[:, None])
