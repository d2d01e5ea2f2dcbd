"""Where the time of a request went, phase by phase."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from blis_simpy.display.plot_data import PHASES, phase_bounds
from blis_simpy.display.text_table import Bar, Line, TextColumn, TextTable, page_html, page_text
from blis_simpy.errors import ScenarioError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from blis_simpy.results.result import Result

__all__ = ["Explanation", "explain"]

_USED = (
    "id",
    "outcome",
    "arrived_at_us",
    "admitted_at_us",
    "queued_at_us",
    "first_scheduled_at_us",
    "scheduled_at_us",
    "ttft_us",
    "e2e_us",
    "finished_at_us",
)


@attrs.frozen(eq=False, repr=False)
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

    def page(self) -> list[Line | TextTable]:
        """Describe it as a line and a table."""
        total = self.total_us
        times = len(self.preempted_at)
        preemptions = f", {times:,} preemption{'s' if times > 1 else ''}" if times else ""
        columns = [
            TextColumn("phase", align="left"),
            TextColumn("", align="left"),
            TextColumn("time", "ms", ",.3f"),
            TextColumn("share", spec=".1%"),
            TextColumn("", align="left"),
        ]
        rows: list[list[Any]] = [
            [name, PHASES[name], duration / 1000, duration / total if total else None, Bar(duration / max(total, 1))]
            for name, duration in self.phases.items()
        ]
        rows.append(["together", "", total / 1000, 1.0, ""])
        return [(f"{self.request}: {self.outcome}{preemptions}",), TextTable(columns, rows)]

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the phases one after the other as a bar; needs the extra ``plot``."""
        from blis_simpy.display.plot_phases import plot_explanation

        return plot_explanation(self, ax)

    def _repr_html_(self) -> str:
        return page_html(self.page())

    def __repr__(self) -> str:
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
