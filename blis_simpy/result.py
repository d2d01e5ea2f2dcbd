"""What a simulation found out."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from blis_simpy.formats.files import write_text
from blis_simpy.metrics import evaluation, report
from blis_simpy.metrics.aggregate import Aggregate, ReplicaOutcome
from blis_simpy.metrics.requests import RequestTable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from numpy.typing import NDArray

    from blis_simpy.core.request import Request
    from blis_simpy.metrics.distributions import Distribution
    from blis_simpy.replica.log import ReplicaLog
    from blis_simpy.scenario import Scenario

__all__ = ["Result"]


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
    ) -> None:
        self.scenario = scenario
        self.seed = seed
        self.requests = RequestTable(requests)
        self._requests = requests
        self._replicas = replicas
        self._logs = logs
        self._routing_rejections = routing_rejections

    @cached_property
    def aggregate(self) -> Aggregate:
        """Counters and latency distributions over all replicas."""
        return Aggregate("cluster", self._replicas)

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
        """Each preemption: id of the request and tick, in order of replica and time."""
        return [(request.id, tick) for log in self._logs for request, tick in log.preemptions]

    @cached_property
    def anomalies(self) -> dict[str, int]:
        """Counts of what should not happen: inversions, blocked queues, rejections, drops, capped requests."""
        return evaluation.anomalies(
            self.aggregate,
            ordered_by_priority=self.scenario.engine.priority != "constant",
            rejected=0,
            routing_rejections=self._routing_rejections,
        )

    @cached_property
    def kv_rates(self) -> dict[str, float]:
        """Preemptions per completed request, prefix-cache hit rate, thrashing rate."""
        return evaluation.kv_rates(self.aggregate)

    @cached_property
    def slo_classes(self) -> dict[str, dict[str, Distribution]]:
        """Distributions of TTFT and E2E by SLO class."""
        return evaluation.by_slo_class([r for replica in self._replicas for r in replica.requests])

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

    def blis_report(self, command: str = "run") -> str:
        """Text report with the sections of the reference's standard output.

        Parameters
        ----------
        command : str
            ``run`` or ``replay``.
        """
        several = self.replicas if len(self._replicas) > 1 else []
        return report.sections(
            command=command,
            blocks=[*several, self.summary],
            anomaly=self.anomalies,
            kv=self.kv_rates,
            slo=self.slo_classes,
        )

    def __repr__(self) -> str:
        s = self.summary
        return (
            f"<Result: {s['completed_requests']} of {self.requests.num_rows} requests completed in "
            f"{s['vllm_estimated_duration_s']:.3f} s, mean TTFT {s['ttft_mean_ms']:.3f} ms, "
            f"mean E2E {s['e2e_mean_ms']:.3f} ms>"
        )
