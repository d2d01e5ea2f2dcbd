"""What the aggregate does not show: anomalies, KV rates, figures by SLO class, model and tenant.

`Evaluation` holds all of it in one object, together with why requests went where they went.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from blis_simpy.results.fitness import Fitness, score
from blis_simpy.results.percentiles import Percentiles
from blis_simpy.results.slo import jain_index

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from blis_simpy.cluster.decision_log import DecisionLog  # noqa: TC004 - a name only: the two packages stay independent
    from blis_simpy.results.aggregate import Aggregate, ReplicaOutcome
    from blis_simpy.results.requests import RequestTable

__all__ = [
    "Evaluation",
    "Group",
    "RawMetrics",
    "anomalies",
    "by_model",
    "by_slo_class",
    "by_tenant",
    "kv_rates",
    "priority_inversions",
]


def priority_inversions(requests: RequestTable) -> int:
    """Count pairs of one SLO class in which the earlier request took more than twice as long as the later.

    Parameters
    ----------
    requests : RequestTable
        Requests of one replica in list order, which decides among equal arrivals.
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
    """Count replicas whose mean queue is more than twice as long as the mean over all."""
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
    """Count what should not happen.

    Parameters
    ----------
    aggregate : Aggregate
        The figures of all replicas.
    requests : RequestTable
        All requests.
    ordered_by_priority : bool
        Whether a priority policy other than ``constant`` was at work; without one nothing is an inversion.
    rejected, routing_rejections : int
        Requests refused at admission and at routing.
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


def _grouped(requests: RequestTable, label: str, unnamed: str = "") -> dict[str, RequestTable]:
    """Sort requests into groups by a label, groups ascending; an empty label is `unnamed`, or no group."""
    labels = requests[label]
    if unnamed:
        labels = np.where(labels == "", unnamed, labels)
    return {name: requests.take(labels == name) for name in sorted(set(labels.tolist())) if name}


def _latencies(requests: RequestTable) -> dict[str, Percentiles]:
    return {
        "ttft": Percentiles.known(requests["ttft_us"]),
        "e2e": Percentiles.of(requests["e2e_us"][requests.completed]),
    }


def by_slo_class(requests: RequestTable) -> dict[str, dict[str, Percentiles]]:
    """Return the distributions of TTFT and E2E by SLO class, classes sorted, an empty class being ``default``."""
    return {name: _latencies(members) for name, members in _grouped(requests, "slo_class", "default").items()}


@attrs.frozen(kw_only=True, eq=False)
class Group:
    """Figures of the requests that have something in common.

    Attributes
    ----------
    ttft, e2e : Percentiles, µs
        TTFT of those that got a first token; E2E of those that completed.
    completed : int
        How many completed.
    requests_per_s, tokens_per_s : float
        Completed requests, and their planned output tokens, per second of the run.
    """

    ttft: Percentiles
    e2e: Percentiles
    completed: int
    requests_per_s: float
    tokens_per_s: float

    @classmethod
    def of(cls, requests: RequestTable, duration_us: int) -> Group:
        """Work out the figures of some requests of a run that took `duration_us`."""
        completed = requests.completed
        count = int(completed.sum())
        tokens = int(requests["output_tokens"][completed].sum())
        seconds = duration_us / 1e6
        return cls(
            **_latencies(requests),
            completed=count,
            requests_per_s=count / seconds if seconds > 0 else 0.0,
            tokens_per_s=tokens / seconds if seconds > 0 else 0.0,
        )


def by_model(requests: RequestTable, duration_us: int) -> dict[str, Group]:
    """Return figures by model, models sorted; requests that name none are left out."""
    return {name: Group.of(members, duration_us) for name, members in _grouped(requests, "model").items()}


def by_tenant(requests: RequestTable, duration_us: int) -> dict[str, Group]:
    """Return figures by tenant, tenants sorted, an empty tenant being ``default``."""
    return {name: Group.of(members, duration_us) for name, members in _grouped(requests, "tenant", "default").items()}


@attrs.frozen(kw_only=True, eq=False)
class RawMetrics:
    """Figures of a whole run from which scores are made.

    Attributes
    ----------
    ttft, e2e : Percentiles, µs
        TTFT of all requests that got a first token, completed or not; E2E of those that completed.
    requests_per_s, tokens_per_s : float
        Completed requests and their output tokens per second.
    preemption_rate : float
        Preemptions per completed request; may exceed 1.
    cache_hit_rate, kv_thrashing_rate : float, fraction
        Means over the replicas.
    rejected, routing_rejections : int
        Requests refused at admission, and for want of a replica.
    dropped, length_capped, timed_out : int
        Requests that can never fit, that the maximum length ended, that the client gave up.
    priority_inversions, hol_blocking_events : int
        See `anomalies`.
    """

    ttft: Percentiles
    e2e: Percentiles
    requests_per_s: float
    tokens_per_s: float
    preemption_rate: float
    cache_hit_rate: float
    kv_thrashing_rate: float
    rejected: int
    routing_rejections: int
    dropped: int
    length_capped: int
    timed_out: int
    priority_inversions: int
    hol_blocking_events: int

    @classmethod
    def of(cls, aggregate: Aggregate, counts: Mapping[str, int]) -> RawMetrics:
        """Gather them from the aggregate and what `anomalies` counted."""
        block = aggregate.blis()
        return cls(
            ttft=aggregate.ttft,
            e2e=aggregate.e2e,
            requests_per_s=block["responses_per_sec"],
            tokens_per_s=block["tokens_per_sec"],
            **kv_rates(aggregate),
            rejected=counts["rejected_requests_admission"],
            routing_rejections=counts["rejected_requests_routing"],
            dropped=counts["dropped_unservable"],
            length_capped=counts["length_capped_requests"],
            timed_out=block["timed_out_requests"],
            priority_inversions=counts["priority_inversions"],
            hol_blocking_events=counts["hol_blocking_events"],
        )


@attrs.frozen(kw_only=True, eq=False)
class Evaluation:
    """Everything that is known about how well a run went.

    Attributes
    ----------
    metrics : RawMetrics
        Figures of the whole run.
    slo_classes : dict of str to dict
        Distributions ``ttft`` and ``e2e`` by SLO class.
    models, tenants : dict of str to Group
        Figures by model, for requests that name one, and by tenant.
    decisions : DecisionLog or None
        Why requests went where they went, if the run recorded it.
    duration_us : int, µs
        Simulated time.
    wall_clock_s : float, s
        Real time that the simulation took.
    fitness : Fitness or None
        Score, once weights are given: `with_fitness`.
    """

    metrics: RawMetrics
    slo_classes: dict[str, dict[str, Percentiles]]
    models: dict[str, Group]
    tenants: dict[str, Group]
    decisions: DecisionLog | None
    duration_us: int
    wall_clock_s: float
    fitness: Fitness | None = None

    @property
    def decision_summary(self) -> dict[str, Any] | None:
        """What the decisions come to, None if they were not recorded."""
        return self.decisions.summary() if self.decisions is not None else None

    @property
    def tenant_fairness(self) -> float:
        """Jain's index of the output tokens per second that the tenants got: 1 = all the same, 1/n = one got all."""
        return jain_index({name: tenant.tokens_per_s for name, tenant in self.tenants.items()})

    def with_fitness(self, weights: str | Mapping[str, float]) -> Evaluation:
        """Return the same evaluation with a score; for weights and errors see `blis_simpy.results.fitness`."""
        return attrs.evolve(self, fitness=score(self.metrics, weights))
