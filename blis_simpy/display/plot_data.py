"""What pictures of a result show, as arrays: computed here, drawn elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from blis_simpy.core.request import NEVER
from blis_simpy.errors import ScenarioError
from blis_simpy.units import SECOND

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from blis_simpy.results.percentiles import Percentiles
    from blis_simpy.results.result import Result

__all__ = [
    "LABELS",
    "METRICS",
    "PHASES",
    "Counts",
    "Throughput",
    "ecdf",
    "histogram",
    "latencies",
    "peaks",
    "phase_bounds",
    "routed_by_label",
    "routed_over_time",
    "throughput",
    "time_edges",
]

METRICS = {
    "ttft": "time to first token",
    "itl": "gap between tokens",
    "e2e": "arrival to last token",
    "scheduling_delay": "arrival to joining a batch",
}
"""Latencies that can be shown, and what they are."""

LABELS = ("replica", "slo_class", "tenant", "model", "client", "session", "prefix_group")
"""Columns of the requests by which they can be told apart."""

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
_MOST_LINES = 8
_MOST_ROWS = 16
_MOST_POINTS = 2_000


def latencies(result: Result, metric: str, by: str | None = None) -> dict[str, Percentiles]:
    """Gather a latency, of all requests or of each group of them.

    Parameters
    ----------
    result : Result
        The run.
    metric : str
        A key of `METRICS`.
    by : str, optional
        One of `LABELS`.

    Returns
    -------
    dict of str to Distribution, µs
        By name of the group, in the order of their labels; empty without `by`. Those without any value are left out,
        and of more than 8 groups, the smallest are put together.

    Raises
    ------
    ScenarioError
        If `metric` or `by` is unknown.
    """
    _check("metric", metric, METRICS)
    if by is None:
        found = {"": getattr(result.aggregate, metric)}
    else:
        _check("by", by, LABELS)
        groups = _groups(by, result.requests[by], _MOST_LINES)
        chosen: dict[str, Any] = {name: {by: values} for name, values in groups.items()}
        found = {name: getattr(result.where(**labels), metric) for name, labels in chosen.items()}
    return {name: latency for name, latency in found.items() if latency.count}


def _check(path: str, value: str, known: Iterable[str]) -> None:
    if value not in known:
        raise ScenarioError.at(path, "is unknown", value, hint=f"known: {', '.join(known)}")


def _groups(by: str, column: NDArray[Any], most: int) -> dict[str, list[Any]]:
    """Return the values in a column that make up a group, by name of the group."""
    values, counts = np.unique(column, return_counts=True)
    kept = np.sort(np.argsort(-counts, kind="stable")[: most - 1]) if len(values) > most else np.arange(len(values))
    groups: dict[str, list[Any]] = {}
    for value in values[kept].tolist():
        groups.setdefault(_name(by, value), []).append(value)
    if others := np.delete(values, kept).tolist():
        groups[f"{len(others):,} others"] = others
    return groups


def _name(by: str, value: object) -> str:
    if by == "replica":
        return f"replica {value}" if value != -1 else "no replica"
    return str(value) or "default"


def ecdf(latency: Percentiles) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Work out which share of the values is at most how large.

    Returns
    -------
    values : ndarray of float64, shape (num_points,), ms
        Ascending, each once; of many values, every so many-th by rank, the first and the last.
    shares : ndarray of float64, shape (num_points,), fraction
    """
    last = np.flatnonzero(np.diff(latency.values, append=latency.values[-1] + 1))
    if len(last) > _MOST_POINTS:
        ranks = np.linspace(latency.cumulative[last[0]], latency.count, _MOST_POINTS)
        last = last[np.unique(np.searchsorted(latency.cumulative[last], ranks))]
    return latency.values[last] / 1000, latency.cumulative[last] / latency.count


def histogram(
    groups: Mapping[str, Percentiles], bins: int = 50
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    """Count the values of groups in common parts of equal width.

    Parameters
    ----------
    groups : mapping of str to Distribution
        At least one, none without values.
    bins : int
        How many parts, >= 1.

    Returns
    -------
    edges : ndarray of float64, shape (bins + 1,), ms
    shares : dict of str to ndarray of float64, shape (bins,), fraction
        Of the values of each group.
    """
    low = min(int(group.values[0]) for group in groups.values())
    high = max(int(group.values[-1]) for group in groups.values())
    # Values that are all the same stand in the middle.
    margin = 0 if high > low else max(low, 1) / 10
    edges = np.linspace(low - margin, high + margin, bins + 1)
    counts = {
        name: np.histogram(group.values, edges, weights=np.diff(group.cumulative, prepend=0))[0] / group.count
        for name, group in groups.items()
    }
    return edges / 1000, counts


def time_edges(
    starts: NDArray[np.int64], durations: NDArray[np.int64], most: int = 1_000
) -> tuple[NDArray[np.float64], bool]:
    """Cut the time of the steps of a replica into parts.

    Parameters
    ----------
    starts, durations : ndarray of int64, shape (num_steps,), µs
        Of its steps.
    most : int
        How many parts to return at most.

    Returns
    -------
    edges : ndarray of float64, shape (num_parts + 1,), ticks
        The bounds of the steps, or of parts of equal length if those were too many; empty without steps.
    exact : bool
        Whether each part lies within one step or between two.
    """
    bounds = np.unique(np.concatenate((starts, starts + durations)))
    if len(bounds) <= most + 1:
        return bounds.astype(np.float64), True
    return np.linspace(bounds[0], bounds[-1], most + 1), False


def peaks(
    starts: NDArray[np.int64], durations: NDArray[np.int64], values: NDArray[np.int64], edges: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Find the largest value in each part of the time, so that no peak is lost in a picture.

    Parameters
    ----------
    starts, durations : ndarray of int64, shape (num_steps,), µs
        Steps of one replica, in order.
    values : ndarray of int64, shape (num_steps,)
        What held during each step.
    edges : ndarray of float64, shape (num_parts + 1,), ticks
        Bounds of the parts.

    Returns
    -------
    ndarray of float64, shape (num_parts,)
        NaN where no step was under way.
    """
    first = np.searchsorted(starts + durations, edges[:-1], side="right")
    end = np.searchsorted(starts, edges[1:], side="left")
    found = np.full(len(edges) - 1, np.nan)
    some = end > first
    # A pair of indices a part; the largest value in between stands at the even places.
    pairs = np.stack((first[some], end[some]), axis=1).ravel()
    if len(pairs):
        found[some] = np.maximum.reduceat(np.append(values, values[-1]), pairs)[::2]
    return found


@attrs.frozen(eq=False)
class Throughput:
    """Rates in equal parts of the time of a run.

    Attributes
    ----------
    edges : ndarray of float64, shape (bins + 1,), ticks
        Bounds of the parts.
    arrived, completed : ndarray of float64, shape (bins,), requests/s
        Requests by arrival, and completed ones by their end.
    generated : ndarray of float64, shape (bins,), tokens/s
        Output tokens when they were computed, be it for requests that did not complete or had to start over.
    """

    edges: NDArray[np.float64]
    arrived: NDArray[np.float64]
    completed: NDArray[np.float64]
    generated: NDArray[np.float64]


def throughput(result: Result, bins: int = 60) -> Throughput:
    """Work out rates over time, in `bins` parts (>= 1) from tick 0 to the end of the run, or the last arrival."""
    requests, steps = result.requests, result.steps
    arrived_at, ttft = requests["arrived_at_us"], requests["ttft_us"]
    ended_at = max(result.aggregate.ended_at, int(arrived_at.max(initial=0)), 1)
    edges = np.linspace(0, ended_at, bins + 1)
    seconds = ended_at / bins / SECOND

    def rate(at: NDArray[np.int64], weights: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        # What ends with the last step, or overheads after it, belongs to the last part.
        return np.histogram(np.minimum(at, ended_at), edges, weights=weights)[0] / seconds

    started = ttft >= 0
    return Throughput(
        edges,
        rate(arrived_at),
        rate(requests["finished_at_us"][requests["outcome"] == "completed"]),
        # A decode step gives each of its requests a token; the first token of a request comes from its prefill.
        rate(steps["start_us"] + steps["duration_us"], steps["decode_tokens"]) + rate((arrived_at + ttft)[started]),
    )


@attrs.frozen(eq=False)
class Counts:
    """Requests by replica and by something else.

    Attributes
    ----------
    rows : list of str
        Replicas or groups.
    counts : ndarray of int64, shape (num_rows, num_columns)
        How many requests.
    edges : ndarray of float64, shape (num_columns + 1,), ticks, or None
        Bounds of the parts of the time; None if each column is a replica.
    """

    rows: list[str]
    counts: NDArray[np.int64]
    edges: NDArray[np.float64] | None


def routed_over_time(result: Result, bins: int = 60) -> Counts:
    """Count the requests that each replica was sent, in `bins` parts (>= 1) of the time up to the last of them."""
    requests, num_replicas = result.requests, len(result.total_blocks)
    sent = requests["replica"] >= 0
    at, replica = requests["routed_at_us"][sent], requests["replica"][sent]
    edges = np.linspace(0, max(int(at.max(initial=0)), 1), bins + 1)
    counts = np.array([np.histogram(at[replica == index], edges)[0] for index in range(num_replicas)], dtype=np.int64)
    return Counts([str(index) for index in range(num_replicas)], counts, edges)


def routed_by_label(result: Result, by: str) -> Counts:
    """Count the requests that each replica was sent, by one of their `LABELS`; replicas are the columns.

    Of more than 16 groups, the smallest are put together.

    Raises
    ------
    ScenarioError
        If `by` is unknown.
    """
    _check("by", by, LABELS)
    num_replicas = len(result.total_blocks)
    sent = result.requests["replica"] >= 0
    groups = _groups(by, result.requests[by][sent], _MOST_ROWS)
    row_of = {value: row for row, values in enumerate(groups.values()) for value in values}
    rows = np.array([row_of[value] for value in result.requests[by][sent].tolist()], dtype=np.int64)
    cells = np.bincount(rows * num_replicas + result.requests["replica"][sent], minlength=len(groups) * num_replicas)
    return Counts(list(groups), cells.reshape(len(groups), num_replicas), None)


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
