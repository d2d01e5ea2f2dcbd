"""What the aggregate does not show: anomalies, KV rates, figures by SLO class."""

from __future__ import annotations

from bisect import bisect_right, insort
from typing import TYPE_CHECKING

import numpy as np

from blis_simpy.core.request import Outcome, Request
from blis_simpy.metrics.distributions import Distribution

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blis_simpy.metrics.aggregate import Aggregate, ReplicaOutcome

__all__ = ["anomalies", "by_slo_class", "kv_rates", "priority_inversions"]


def priority_inversions(requests: Sequence[Request]) -> int:
    """Count pairs of one SLO class in which the earlier request took more than twice as long as the later.

    Parameters
    ----------
    requests : sequence of Request
        Requests of one replica in list order, which decides among equal arrivals.
    """
    earlier_by_class: dict[str, list[int]] = {}
    inversions = 0
    for request in sorted(requests, key=lambda request: request.arrived_at):
        if request.outcome is Outcome.COMPLETED:
            earlier = earlier_by_class.setdefault(request.slo_class, [])
            inversions += len(earlier) - bisect_right(earlier, 2 * request.e2e)
            insort(earlier, request.e2e)
    return inversions


def _blocked_queues(replicas: Sequence[ReplicaOutcome]) -> int:
    """Count replicas whose mean queue is more than twice as long as the mean over all."""
    means = [replica.queue_depth_mean for replica in replicas]
    overall = sum(means) / len(means)
    if len(means) < 2 or overall <= 0:
        return 0
    return sum(mean > 2.0 * overall for mean in means)


def anomalies(
    aggregate: Aggregate, *, ordered_by_priority: bool, rejected: int, routing_rejections: int
) -> dict[str, int]:
    """Count what should not happen.

    Parameters
    ----------
    aggregate : Aggregate
        The figures of all replicas.
    ordered_by_priority : bool
        Whether a priority policy other than ``constant`` was at work; without one nothing is an inversion.
    rejected, routing_rejections : int
        Requests refused at admission and at routing.
    """
    return {
        "priority_inversions": sum(priority_inversions(r.requests) for r in aggregate.replicas)
        if ordered_by_priority
        else 0,
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
        "preemption_rate": aggregate.sum("preemptions") / completed if completed else 0.0,
        "cache_hit_rate": sum(r.hit_rate for r in replicas) / len(replicas),
        "kv_thrashing_rate": sum(r.thrashing_rate for r in replicas) / len(replicas),
    }


def by_slo_class(requests: Sequence[Request]) -> dict[str, dict[str, Distribution]]:
    """Return the distributions of TTFT and E2E by SLO class, classes sorted, an empty class being ``default``."""
    classes: dict[str, list[Request]] = {}
    for request in requests:
        classes.setdefault(request.slo_class or "default", []).append(request)
    return {
        name: {
            "ttft": Distribution.of(np.array([r.ttft for r in members if r.ttft >= 0], dtype=np.int64)),
            "e2e": Distribution.of(
                np.array([r.e2e for r in members if r.outcome is Outcome.COMPLETED], dtype=np.int64)
            ),
        }
        for name, members in sorted(classes.items())
    }
