"""Where the time of one request went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes

__all__ = ["Explanation", "Part", "explain"]


@attrs.frozen
class Part:
    """A stretch of a request's time.

    Attributes
    ----------
    name : str
        ``admission``, ``routing``, ``hand-over`` (from the router into the wait queue), ``queue``, ``preempted`` (lost
        work and waiting, from the first time it joined a batch to the last), ``prefill``, ``decode`` or ``overhead``
        (what the latency model adds after the last token).
    start_us, duration_us : int, tick and µs
        When it began and how long it took.
    """

    name: str
    start_us: int
    duration_us: int


@attrs.frozen(kw_only=True)
class Explanation:
    """Where the time of one request went; prints and draws itself.

    Attributes
    ----------
    request : str
        Its id.
    outcome : str
        How it ended, or stands.
    replica : int
        Who served it; -1 if nobody.
    arrived_at_us : int, tick
        When it came.
    parts : tuple of Part
        One after the other from its arrival, those that took no time included. Of a completed request they add up to
        its E2E; of another they end with the last thing that is known of it.
    preempted_at_us : tuple of int, tick
        When it lost its place in the batch.
    """

    request: str
    outcome: str
    replica: int
    arrived_at_us: int
    parts: tuple[Part, ...]
    preempted_at_us: tuple[int, ...]

    @property
    def total_us(self) -> int:
        """Sum of the parts, µs."""
        return sum(part.duration_us for part in self.parts)

    def __getitem__(self, name: str) -> int:
        """Time that went into parts of a name, µs."""
        return sum(part.duration_us for part in self.parts if part.name == name)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the parts as a bar; needs the extra ``plot``."""
        from blis_simpy.display.plots import plot_explanation

        return plot_explanation(self, ax=ax)

    def __str__(self) -> str:
        from blis_simpy.display.explanation import explanation_table

        return explanation_table(self).text()

    def _repr_html_(self) -> str:
        from blis_simpy.display.explanation import explanation_table

        return explanation_table(self).html()


def explain(row: Mapping[str, Any], preempted_at_us: tuple[int, ...]) -> Explanation:
    """Take the time of a request apart.

    Parameters
    ----------
    row : mapping
        Its row of the request table, as plain values.
    preempted_at_us : tuple of int, tick
        When it was preempted.
    """
    arrived, ttft = row["arrived_at_us"], row["ttft_us"]
    # What is known, in order; the first that has not come about ends the story.
    ends = [
        ("admission", row["admitted_at_us"]),
        ("routing", row["routed_at_us"]),
        ("hand-over", row["queued_at_us"]),
        ("queue", row["first_scheduled_at_us"]),
        ("preempted", row["scheduled_at_us"]),
        ("prefill", arrived + ttft if ttft >= 0 else -1),
        ("decode", arrived + ttft + row["itl_sum_us"]),
        ("overhead", arrived + row["e2e_us"] if row["e2e_us"] >= 0 else -1),
    ]
    parts: list[Part] = []
    at = arrived
    for name, end in ends:
        if end < at:
            if row["finished_at_us"] > at:
                # Refused, dropped or timed out in the middle of this part, or while it waited to start over.
                parts.append(Part("preempted" if name == "overhead" else name, at, row["finished_at_us"] - at))
            break
        parts.append(Part(name, at, end - at))
        at = end
    return Explanation(
        request=row["id"],
        outcome=row["outcome"],
        replica=row["replica"],
        arrived_at_us=arrived,
        parts=tuple(parts),
        preempted_at_us=preempted_at_us,
    )
