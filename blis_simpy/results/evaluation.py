"""Figures of a run by SLO class, model and tenant, together with those of the whole run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from blis_simpy.results.fairness import jain_index
from blis_simpy.results.fitness import Fitness, RawMetrics, score
from blis_simpy.results.percentiles import Percentiles
from blis_simpy.units import format_ticks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from blis_simpy.cluster.decision_log import DecisionLog  # noqa: TC004 - a name only: the two packages stay independent
    from blis_simpy.results.requests import RequestTable

__all__ = [
    "Evaluation",
    "Group",
    "by_model",
    "by_slo_class",
    "by_tenant",
]


def _grouped(requests: RequestTable, label: str, unnamed: str = "") -> dict[str, RequestTable]:
    """Return the requests of each value of a label, sorted; an empty label is `unnamed`, or left out."""
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
    """Return the distributions of TTFT and E2E by SLO class, sorted; requests without one are in ``default``."""
    return {name: _latencies(members) for name, members in _grouped(requests, "slo_class", "default").items()}


@attrs.frozen(kw_only=True, eq=False)
class Group:
    """Figures of the requests with one value of a label.

    Attributes
    ----------
    ttft, e2e : Percentiles, µs
        TTFT of requests with a first token; E2E of completed requests.
    completed : int
        Number of completed requests.
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
        """Compute the figures of some requests of a run of `duration_us`."""
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
    """Return figures by model, sorted; requests without a model are left out."""
    return {name: Group.of(members, duration_us) for name, members in _grouped(requests, "model").items()}


def by_tenant(requests: RequestTable, duration_us: int) -> dict[str, Group]:
    """Return figures by tenant, sorted; requests without one are in ``default``."""
    return {name: Group.of(members, duration_us) for name, members in _grouped(requests, "tenant", "default").items()}


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Evaluation:
    """All figures of a run.

    Attributes
    ----------
    metrics : RawMetrics
        Figures of the whole run.
    slo_classes : dict of str to dict
        Distributions ``ttft`` and ``e2e`` by SLO class.
    models, tenants : dict of str to Group
        Figures by model, for requests that have one, and by tenant.
    decisions : DecisionLog or None
        Decisions of admission and routing, if they are logged.
    duration_us : int, µs
        Simulated time.
    wall_clock_s : float, s
        Real time that the simulation took.
    fitness : Fitness or None
        Score, if there are weights; see `with_fitness`.
    """

    metrics: RawMetrics
    slo_classes: dict[str, dict[str, Percentiles]]
    models: dict[str, Group]
    tenants: dict[str, Group]
    decisions: DecisionLog | None
    duration_us: int
    wall_clock_s: float
    fitness: Fitness | None = None

    def __repr__(self) -> str:
        groups: dict[str, Mapping[str, Any]] = {
            "SLO classes": self.slo_classes,
            "models": self.models,
            "tenants": self.tenants,
        }
        parts = (f"{name} {', '.join(found)}" for name, found in groups.items() if found)
        return f"<Evaluation of {format_ticks(self.duration_us)}: {'; '.join(parts)}>"

    @property
    def decision_summary(self) -> dict[str, Any] | None:
        """Summary of the decisions, None if they are not logged."""
        return self.decisions.summary() if self.decisions is not None else None

    @property
    def tenant_fairness(self) -> float:
        """Jain's index of the output tokens per second of the tenants: 1 if all are equal, 1/n if one has all."""
        return jain_index({name: tenant.tokens_per_s for name, tenant in self.tenants.items()})

    def with_fitness(self, weights: str | Mapping[str, float]) -> Evaluation:
        """Return a copy with a score; for weights and errors see `blis_simpy.results.fitness`."""
        return attrs.evolve(self, fitness=score(self.metrics, weights))
