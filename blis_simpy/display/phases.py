"""Where the time of requests went, phase by phase."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from blis_simpy.core.request import NEVER
from blis_simpy.display.tables import Bar, Column, Line, Table, page_html, page_text
from blis_simpy.errors import ScenarioError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from blis_simpy.result import Result

__all__ = ["PHASES", "Explanation", "explain", "phase_bounds"]

PHASES = {
    "admission": "waiting to be let in",
    "routing": "to a replica and into its queue",
    "queue": "waiting to join a batch",
    "preempted": "computed in vain and waiting to start over",
    "prefill": "computing the prompt",
    "decode": "first token to last token",
}
"""Phases of a request in order, and what happens in them."""

_SEEN = ("admitted_at_us", "queued_at_us", "first_scheduled_at_us", "scheduled_at_us")
_USED = ("id", "outcome", "arrived_at_us", "finished_at_us", "e2e_us", "ttft_us", *_SEEN)


def phase_bounds(
    requests: Mapping[str, NDArray[Any]], preemptions: Sequence[tuple[str, int]], ended_at: int
) -> NDArray[np.int64]:
    """Work out when each phase of each request began and ended.

    Parameters
    ----------
    requests : mapping of str to ndarray, shape (num_requests,)
        Columns of a `RequestTable`.
    preemptions : sequence of (str, int)
        Request and tick of each preemption.
    ended_at : int, tick
        When the run ended; a request that had not ended by then is shown up to here.

    Returns
    -------
    ndarray of int64, shape (num_requests, 7), ticks
        Phase j of `PHASES` lasts from bound j to bound j + 1; from the first to the last bound is the whole time.
        A phase that did not come about has no length. Work that was lost with a replica counts as waiting: the marks
        are those of the last replica.
    """
    arrived, finished = requests["arrived_at_us"], requests["finished_at_us"]
    end = np.where(finished == NEVER, np.maximum(ended_at, arrived), finished)
    end = np.where(requests["e2e_us"] == NEVER, end, arrived + requests["e2e_us"])
    marks = np.stack([arrived, *(requests[name] for name in _SEEN)], axis=1)
    # A request that lost its place and did not get it back neither computes its prompt nor decodes.
    lost_at = dict(preemptions)
    lost = np.array([lost_at.get(name, NEVER) for name in requests["id"].tolist()], dtype=np.int64)
    marks[:, -1] = np.where(lost >= marks[:, -1], NEVER, marks[:, -1])
    first_token = np.where(requests["ttft_us"] == NEVER, NEVER, arrived + requests["ttft_us"])
    # The token of an attempt before the last one.
    first_token = np.where(first_token < marks[:, -1], NEVER, first_token)
    bounds = np.concatenate((marks, first_token[:, None], end[:, None]), axis=1)
    bounds = np.where(bounds == NEVER, end[:, None], bounds)
    return np.minimum(np.maximum.accumulate(bounds, axis=1), end[:, None])


@attrs.frozen(eq=False)
class Explanation:
    """Where the time of one request went.

    Attributes
    ----------
    request : str
        Its id.
    outcome : str
        How it ended, or stood.
    phases : dict of str to int, µs
        Duration by name of the phase, in order; together they are the whole time.
    preempted_at : list of int, ticks
        When it lost its place.
    """

    request: str
    outcome: str
    phases: dict[str, int]
    preempted_at: list[int]

    @property
    def total_us(self) -> int:
        """Arrival to the end, or to the end of the run."""
        return sum(self.phases.values())

    def page(self) -> list[Line | Table]:
        """Describe it as a line and a table."""
        total = self.total_us
        times = len(self.preempted_at)
        preemptions = f", {times:,} preemption{'s' if times > 1 else ''}" if times else ""
        columns = [
            Column("phase", align="left"),
            Column("", align="left"),
            Column("time", "ms", ",.3f"),
            Column("share", spec=".1%"),
            Column("", align="left"),
        ]
        rows: list[list[Any]] = [
            [name, PHASES[name], duration / 1000, duration / total if total else None, Bar(duration / max(total, 1))]
            for name, duration in self.phases.items()
        ]
        rows.append(["together", "", total / 1000, 1.0, ""])
        return [(f"{self.request}: {self.outcome}{preemptions}",), Table(columns, rows)]

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the phases one after the other as a bar; needs the extra ``plot``."""
        from blis_simpy.display.plotting import plot_explanation

        return plot_explanation(self, ax)

    def _repr_html_(self) -> str:
        return page_html(self.page())

    def __str__(self) -> str:
        return page_text(self.page())


def explain(result: Result, request_id: str) -> Explanation:
    """Work out where the time of one request went.

    Raises
    ------
    ScenarioError
        If the run has no such request.
    """
    rows = np.flatnonzero(result.requests["id"] == request_id)
    if not len(rows):
        raise ScenarioError.at("request_id", "must be one of the run", request_id)
    row = rows[:1]
    mine = [(name, at) for name, at in result.preemptions if name == request_id]
    requests = {name: result.requests[name][row] for name in _USED}
    durations = np.diff(phase_bounds(requests, mine, result.aggregate.ended_at)[0]).tolist()
    phases = dict(zip(PHASES, durations, strict=True))
    return Explanation(request_id, str(requests["outcome"][0]), phases, [at for _, at in mine])
