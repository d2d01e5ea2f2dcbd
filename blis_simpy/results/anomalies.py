"""Anomaly counters and KV rates of a run, as the reference reports them."""

from __future__ import annotations

from bisect import bisect_right, insort
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blis_simpy.results.aggregate import Aggregate
    from blis_simpy.results.requests import RequestTable
    from blis_simpy.results.run_record import ReplicaOutcome

__all__ = ["anomalies", "kv_rates", "priority_inversions"]


def priority_inversions(requests: RequestTable) -> int:
    """Count pairs of requests of one SLO class in which the earlier one took more than twice as long as the later one.

    Parameters
    ----------
    requests : RequestTable
        Requests of one replica in the order of the workload, which breaks ties of arrivals.
    """
    completed = requests.take(requests.completed)
    order = np.argsort(completed["arrived_at_us"], kind="stable")
    classes, latencies = completed["slo_class"][order].tolist(), completed["e2e_us"][order].tolist()
    earlier_by_class: dict[str, list[int]] = {}
    inversions = 0
    for slo_class, e2e in zip(classes, latencies, strict=True):
        earlier = earlier_by_class.setdefault(slo_class or "default", [])
        inversions += len(earlier) - bisect_right(earlier, 2 * e2e)
        insort(earlier, e2e)
    return inversions


def _blocked_queues(replicas: Sequence[ReplicaOutcome]) -> int:
    """Count replicas whose mean queue depth is more than twice the mean over all replicas."""
    means = [replica.queue_depth_mean for replica in replicas]
    overall = sum(means) / len(means)
    if len(means) < 2 or overall <= 0:
        return 0
    return sum(mean > 2.0 * overall for mean in means)


def anomalies(
    aggregate: Aggregate,
    requests: RequestTable,
    *,
    ordered_by_priority: bool,
    rejected: int,
    routing_rejections: int,
) -> dict[str, int]:
    """Count anomalies: priority inversions, blocked queues, rejections, drops, capped requests.

    Parameters
    ----------
    aggregate : Aggregate
        Figures of all replicas.
    requests : RequestTable
        All requests.
    ordered_by_priority : bool
        Whether a replica has a priority policy other than ``constant``; inversions are counted only then.
    rejected, routing_rejections : int
        Requests rejected at admission, and by routing.
    """
    inversions = 0
    if ordered_by_priority:
        inversions = sum(priority_inversions(requests.take(replica.rows)) for replica in aggregate.replicas)
    return {
        "priority_inversions": inversions,
        "hol_blocking_events": _blocked_queues(aggregate.replicas),
        "rejected_requests_admission": rejected,
        "rejected_requests_routing": routing_rejections,
        "dropped_unservable": aggregate.sum("dropped"),
        "length_capped_requests": aggregate.sum("length_capped"),
    }


def kv_rates(aggregate: Aggregate) -> dict[str, float]:
    """Return preemptions per completed request, cache hit rate and thrashing rate (means over replicas)."""
    completed = aggregate.sum("completed")
    replicas = aggregate.replicas
    return {
        "preemption_rate": aggregate.num_preemptions / completed if completed else 0.0,
        "cache_hit_rate": sum(r.hit_rate for r in replicas) / len(replicas),
        "kv_thrashing_rate": sum(r.thrashing_rate for r in replicas) / len(replicas),
    }
