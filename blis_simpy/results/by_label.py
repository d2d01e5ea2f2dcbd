"""Requests of a run by replica, SLO class, tenant or another label, as arrays that plots draw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from blis_simpy.errors import ScenarioError, nearest
from blis_simpy.results.metrics import latency_family
from blis_simpy.results.selectors import LABELS, REPLICAS

if TYPE_CHECKING:
    from blis_simpy.results.percentiles import Percentiles
    from blis_simpy.results.result import Result
    from blis_simpy.results.subset import RequestSubset

__all__ = ["RoutedCounts", "latencies", "routed_by_label", "routed_over_time", "several", "subsets"]

_MOST_LINES = 8
_MOST_REPLICAS = 64
_MOST_ROWS = 16


def latencies(result: Result, metric: str, by: str | None = None) -> dict[str, Percentiles]:
    """Return the distribution of a latency, of all requests or by label.

    Parameters
    ----------
    result : Result
        The run.
    metric : str
        Name of a latency, such as ``ttft``.
    by : str, optional
        One of `LABELS`.

    Returns
    -------
    dict of str to Percentiles, µs
        By name of the group, in the order of the labels; the name is empty without `by`. Groups without values are
        left out; of more than 8 groups, the smallest are merged.

    Raises
    ------
    ScenarioError
        If `metric` or `by` is unknown.
    """
    family = latency_family(metric)
    if by is None:
        found = {"": family.function(result.where())}
    else:
        _check_label(result, by)
        groups = _groups(by, result.requests[by], _MOST_LINES)
        chosen: dict[str, Any] = {name: {by: values} for name, values in groups.items()}
        found = {name: family.function(result.where(**labels)) for name, labels in chosen.items()}
    return {name: latency for name, latency in found.items() if latency.count}


def several(result: Result) -> list[str]:
    """Return which of replica, SLO class, model and tenant have several values: the sections of a summary.

    In a run with prefill replicas, that of the replicas is followed by one by prefill replica.
    """
    by_name = ("slo_class", "model", "tenant")
    labels = [by for by in by_name if len({name or "default" for name in set(result.requests[by].tolist())}) > 1]
    replicas = ["replica"] if len(result.total_blocks) > 1 else []
    if _prefill_replicas(result).size:
        replicas.append("prefill_replica")
    return [*replicas, *labels]


def _prefill_replicas(result: Result) -> NDArray[np.int64]:
    """Return the replicas that have computed prompts for others, in order."""
    if "prefill_replica" not in result.requests:
        return np.empty(0, dtype=np.int64)
    found = np.unique(result.requests["prefill_replica"])
    return np.asarray(found[found >= 0])


def subsets(result: Result, by: str) -> dict[str, RequestSubset]:
    """Return the requests of a run by one of their `LABELS`; of more than 16 (64 replicas), the smallest are merged.

    Every request is in one group: those without a label are in ``default``, those on no replica in ``no replica``,
    those whose prompt no other replica computed in ``none``. By replica means by the last one of each request.
    """
    column = result.requests[by]
    if by == "replica":
        # Each replica, whether or not it has served a request, without those that only compute prompts.
        every = np.setdiff1d(np.arange(len(result.total_blocks)), _prefill_replicas(result))
        groups = _groups(by, np.concatenate((column, every)), _MOST_REPLICAS)
    else:
        groups = _groups(by, column, _MOST_ROWS)
    chosen: dict[str, Any] = {name: {by: values} for name, values in groups.items()}
    return {name: result.where(**labels) for name, labels in chosen.items()}


def _check_label(result: Result, by: str) -> None:
    if by not in LABELS:
        raise ScenarioError.at("by", "is unknown", by, hint=nearest(by, LABELS))
    if by not in result.requests:
        raise ScenarioError.at("by", "needs a run with prefill replicas", by)


def _groups(by: str, column: NDArray[Any], most: int) -> dict[str, list[Any]]:
    """Return the values of a column that belong to each group, by name of the group."""
    values, counts = np.unique(column, return_counts=True)
    kept = np.sort(np.argsort(-counts, kind="stable")[: most - 1]) if len(values) > most else np.arange(len(values))
    groups: dict[str, list[Any]] = {}
    for value in values[kept].tolist():
        groups.setdefault(_name(by, value), []).append(value)
    if others := np.delete(values, kept).tolist():
        groups[f"{len(others):,} others"] = others
    return groups


def _name(by: str, value: object) -> str:
    if by in REPLICAS:
        return f"replica {value}" if value != -1 else "no replica" if by == "replica" else "none"
    return str(value) or "default"


@attrs.frozen(eq=False)
class RoutedCounts:
    """Numbers of requests by replica and time, or by label and replica.

    Attributes
    ----------
    rows : list of str
        Names of the replicas or groups.
    counts : ndarray of int64, shape (num_rows, num_columns)
        Numbers of requests.
    edges : ndarray of float64, shape (num_columns + 1,), ticks, or None
        Bounds of the intervals of time; None if each column is a replica.
    """

    rows: list[str]
    counts: NDArray[np.int64]
    edges: NDArray[np.float64] | None


def routed_over_time(result: Result, bins: int = 60) -> RoutedCounts:
    """Count the requests routed to each replica, in `bins` (>= 1) equal intervals up to the last of them."""
    requests, num_replicas = result.requests, len(result.total_blocks)
    sent = requests["replica"] >= 0
    at, replica = requests["routed_at_us"][sent], requests["replica"][sent]
    edges = np.linspace(0, max(int(at.max(initial=0)), 1), bins + 1)
    counts = np.array([np.histogram(at[replica == index], edges)[0] for index in range(num_replicas)], dtype=np.int64)
    return RoutedCounts([str(index) for index in range(num_replicas)], counts, edges)


def routed_by_label(result: Result, by: str) -> RoutedCounts:
    """Count the requests routed to each replica by one of their `LABELS`; replicas are the columns.

    Of more than 16 groups, the smallest are merged.

    Raises
    ------
    ScenarioError
        If `by` is unknown.
    """
    _check_label(result, by)
    num_replicas = len(result.total_blocks)
    sent = result.requests["replica"] >= 0
    groups = _groups(by, result.requests[by][sent], _MOST_ROWS)
    row_of = {value: row for row, values in enumerate(groups.values()) for value in values}
    rows = np.array([row_of[value] for value in result.requests[by][sent].tolist()], dtype=np.int64)
    cells = np.bincount(rows * num_replicas + result.requests["replica"][sent], minlength=len(groups) * num_replicas)
    return RoutedCounts(list(groups), cells.reshape(len(groups), num_replicas), None)
