"""What a simulation found out."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from blis_simpy.formats.files import write_text
from blis_simpy.metrics import evaluation, fitness, report, slo
from blis_simpy.metrics.aggregate import Aggregate, ReplicaOutcome
from blis_simpy.metrics.requests import RequestTable

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from os import PathLike

    from numpy.typing import NDArray

    from blis_simpy.core.request import Request
    from blis_simpy.decisions.log import DecisionLog
    from blis_simpy.metrics.distributions import Distribution
    from blis_simpy.replica.log import ReplicaLog
    from blis_simpy.scenario import Scenario

__all__ = ["Result"]


def _orders(priority: Any) -> bool:
    """Whether a priority policy tells requests apart."""
    return (priority.get("policy") if isinstance(priority, Mapping) else priority) != "constant"


class Result:
    """Figures of one run.

    Attributes
    ----------
    scenario : Scenario
        What was simulated.
    seed : int
        Seed of its random streams.
    requests : RequestTable
        One row a request, in the order of the workload.
    decisions : DecisionLog or None
        Why each request was let in and went where it went, if the scenario asked for a record.
    """

    def __init__(
        self,
        *,
        scenario: Scenario,
        seed: int,
        requests: Sequence[Request],
        replicas: Sequence[ReplicaOutcome],
        logs: Sequence[ReplicaLog],
        routing_rejections: int,
        rejected: Sequence[Request] = (),
        slowed: Collection[Request] = (),
        decisions: DecisionLog | None = None,
        wall_clock_s: float = 0.0,
    ) -> None:
        self.scenario = scenario
        self.seed = seed
        self.requests = RequestTable(requests)
        self._requests = requests
        self._replicas = replicas
        self._logs = logs
        self._routing_rejections = routing_rejections
        self._rejected = rejected
        self._slowed = slowed
        self.decisions = decisions
        self._wall_clock_s = wall_clock_s

    @cached_property
    def aggregate(self) -> Aggregate:
        """Counters and latency distributions over all replicas."""
        return Aggregate("cluster", self._replicas, self._slowed, self.scenario.lifecycle.warm_up_ttft_factor)

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Aggregate figures with the reference's keys: counts, rates a second, latencies in ms."""
        return self.aggregate.blis()

    @cached_property
    def replicas(self) -> list[dict[str, Any]]:
        """The same figures for each replica."""
        return [Aggregate(replica.name, [replica]).blis() for replica in self._replicas]

    @cached_property
    def steps(self) -> dict[str, NDArray[np.int64]]:
        """One row a step and replica, one array of int64 a column.

        ``replica``, ``start_us`` (tick), ``duration_us``, ``decode_tokens`` (also how many requests waited for this
        step as an inter-token gap), ``prefill_tokens``, ``batch_size``, ``queue_depth``, ``used_blocks``.
        """
        tables = [log.steps() for log in self._logs]
        replica = np.concatenate([np.full(log.num_steps, index) for index, log in enumerate(self._logs)])
        return {"replica": replica, **{name: np.concatenate([t[name] for t in tables]) for name in tables[0]}}

    @property
    def preemptions(self) -> list[tuple[str, int]]:
        """Each preemption: id of the request and tick, in the order in which they happened."""
        preemptions = [(request.id, tick) for log in self._logs for request, tick in log.preemptions]
        # At one tick, replicas take their steps in the order of their index.
        return sorted(preemptions, key=lambda preemption: preemption[1])

    @property
    def rejected(self) -> list[str]:
        """Ids of the requests that were refused at admission, in order."""
        return [request.id for request in self._rejected]

    @cached_property
    def anomalies(self) -> dict[str, int]:
        """Counts of what should not happen: inversions, blocked queues, rejections, drops, capped requests."""
        return evaluation.anomalies(
            self.aggregate,
            ordered_by_priority=any(_orders(group.engine.priority) for group in self.scenario.by_group()),
            rejected=len(self._rejected),
            routing_rejections=self._routing_rejections,
        )

    @cached_property
    def kv_rates(self) -> dict[str, float]:
        """Preemptions per completed request, prefix-cache hit rate, thrashing rate."""
        return evaluation.kv_rates(self.aggregate)

    @cached_property
    def slo_classes(self) -> dict[str, dict[str, Distribution]]:
        """Distributions of TTFT and E2E by SLO class."""
        return evaluation.by_slo_class(self._served)

    @cached_property
    def _served(self) -> list[Request]:
        """Requests that reached a replica and were not dropped."""
        return [request for replica in self._replicas for request in replica.requests]

    @cached_property
    def evaluation(self) -> evaluation.Evaluation:
        """How well it went: whole run, SLO classes, models, tenants, decisions."""
        duration_us = self.aggregate.ended_at
        return evaluation.Evaluation(
            metrics=evaluation.RawMetrics.of(self.aggregate, self.anomalies),
            slo_classes=self.slo_classes,
            models=evaluation.by_model(self._served, duration_us),
            tenants=evaluation.by_tenant(self._requests, duration_us),
            decisions=self.decisions,
            duration_us=duration_us,
            wall_clock_s=self._wall_clock_s,
        )

    def fitness(self, weights: str | Mapping[str, float]) -> fitness.Fitness:
        """Score the run.

        Parameters
        ----------
        weights : str or mapping
            ``throughput:1,p99_ttft:0.5``, or the same as a mapping; for the keys see `blis_simpy.metrics.fitness`.

        Raises
        ------
        ScenarioError
            If a key is unknown or a weight is no finite number >= 0.
        """
        return fitness.score(self.evaluation.metrics, weights)

    def slo_attainment(self, targets: Mapping[str, slo.Target | int]) -> float:
        """Return the share of completed requests that met their class's target; see `slo.attainment`."""
        return slo.attainment(self.requests, targets)

    def goodput(self, targets: Mapping[str, slo.Target | int]) -> slo.Goodput:
        """Rate the requests and tokens that met their class's target; see `slo.goodput`."""
        return slo.goodput(self.requests, targets, duration_us=self.aggregate.ended_at)

    def write_metrics(self, path: str | PathLike[str]) -> None:
        """Write aggregate and per-request figures as the reference's ``run --results-path`` does (JSON).

        Raises
        ------
        ScenarioError
            If the file cannot be written; an older one is left as it was.
        """
        rows = list(report.metrics_rows(self._requests))
        write_text(path, report.to_json({**self.summary, **({"requests": rows} if rows else {})}))

    def write_replay_results(self, path: str | PathLike[str]) -> None:
        """Write the latencies of completed requests as the reference's ``replay --results-path`` does (JSON).

        Raises
        ------
        ScenarioError
            If the file cannot be written; an older one is left as it was.
        """
        write_text(path, report.replay_results(self._requests))

    def blis_report(
        self,
        command: str = "run",
        fitness_weights: str | Mapping[str, float] | None = None,
        summarize_trace: bool = False,
    ) -> str:
        """Text report with the sections of the reference's standard output.

        Parameters
        ----------
        command : str
            ``run`` or ``replay``; only the first shows a score and figures by model.
        fitness_weights : str or mapping, optional
            Weights of the score, as for `fitness`; empty = no score. A replay shows none and ignores them.
        summarize_trace : bool
            Whether to sum up the decision log, if there is one.

        Raises
        ------
        ScenarioError
            If the weights are wrong.
        """
        several = self.replicas if len(self._replicas) > 1 else []
        return report.sections(
            command=command,
            blocks=[*several, self.summary],
            anomaly=self.anomalies,
            kv=self.kv_rates,
            slo=self.slo_classes,
            fitness=self.fitness(fitness_weights) if fitness_weights and command == "run" else None,
            models=self.evaluation.models if command == "run" else None,
            decisions=self.decisions.summary() if self.decisions is not None and summarize_trace else None,
        )

    def __repr__(self) -> str:
        s = self.summary
        return (
            f"<Result: {s['completed_requests']} of {self.requests.num_rows} requests completed in "
            f"{s['vllm_estimated_duration_s']:.3f} s, mean TTFT {s['ttft_mean_ms']:.3f} ms, "
            f"mean E2E {s['e2e_mean_ms']:.3f} ms>"
        )
