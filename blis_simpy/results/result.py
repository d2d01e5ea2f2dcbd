"""What a simulation found out, as columns and figures.

Nothing in a result refers to the simulation that it came from, so it can be copied, sent to another process, saved
and loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from os import fspath
from typing import TYPE_CHECKING, Any

import numpy as np

from blis_simpy.core.table import Table
from blis_simpy.files.text_files import write_text
from blis_simpy.results import blis_report, evaluation, fitness, slo
from blis_simpy.results.aggregate import Aggregate, ReplicaOutcome
from blis_simpy.results.archive import write_run
from blis_simpy.results.subset import RUN_METRICS, RequestSubset

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from numpy.typing import NDArray

    from blis_simpy.cluster.decision_log import DecisionLog
    from blis_simpy.display.phases import Explanation
    from blis_simpy.display.result_plots import ResultPlots
    from blis_simpy.replica.log import StepLog
    from blis_simpy.results.percentiles import Percentiles
    from blis_simpy.results.requests import RequestTable
    from blis_simpy.scenario_settings import ScenarioSettings
    from blis_simpy.workload.request_builders import RequestDetails

__all__ = ["Result"]

_STEP_COLUMNS = (
    "replica",
    "start_us",
    "duration_us",
    "decode_tokens",
    "prefill_tokens",
    "batch_size",
    "queue_depth",
    "used_blocks",
)


def _orders(priority: Any) -> bool:
    """Whether a priority policy tells requests apart."""
    return (priority.get("type") if isinstance(priority, Mapping) else priority) != "constant"


class Result:
    """Figures of one run.

    Attributes
    ----------
    scenario : ScenarioSettings
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
        scenario: ScenarioSettings,
        seed: int,
        requests: RequestTable,
        replicas: Sequence[ReplicaOutcome],
        steps: Sequence[StepLog],
        rejected: NDArray[np.int64],
        slowed: NDArray[np.int64],
        routing_rejections: int,
        details: Mapping[str, RequestDetails],
        decisions: DecisionLog | None,
        wall_clock_s: float,
    ) -> None:
        self.scenario = scenario
        self.seed = seed
        self.requests = requests
        self.decisions = decisions
        self._replicas = replicas
        self._steps = steps
        self._rejected = rejected
        self._slowed = slowed
        self._routing_rejections = routing_rejections
        self._details = details
        self._wall_clock_s = wall_clock_s

    # ------------------------------------------------------------------------------------------------ figures

    @cached_property
    def _ttft(self) -> NDArray[np.int64]:
        """TTFT of each request; the first of a replica that warmed up count several times, rounded down."""
        ttft = self.requests["ttft_us"]
        if len(self._slowed):
            slowed = self._slowed[ttft[self._slowed] >= 0]
            ttft = ttft.copy()
            ttft[slowed] = ttft[slowed] * self.scenario.lifecycle.warm_up_ttft_factor
        return ttft

    @cached_property
    def aggregate(self) -> Aggregate:
        """Counters and latency distributions over all replicas."""
        return Aggregate("cluster", self.requests, self._replicas, self._ttft)

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Aggregate figures with the reference's keys: counts, rates a second, latencies in ms."""
        return self.aggregate.blis()

    @cached_property
    def replicas(self) -> list[dict[str, Any]]:
        """The same figures for each replica."""
        return [Aggregate(replica.name, self.requests, [replica]).blis() for replica in self._replicas]

    @property
    def total_blocks(self) -> list[int]:
        """KV blocks of each replica."""
        return [replica.total_blocks for replica in self._replicas]

    @cached_property
    def _selection(self) -> RequestSubset:
        return RequestSubset(
            self.requests,
            np.arange(self.requests.num_rows),
            replicas=self._replicas,
            ttft=self._ttft,
            start=0,
            end=self.aggregate.ended_at,
        )

    def where(self, *, start: int | str | None = None, end: int | str | None = None, **labels: Any) -> RequestSubset:
        """Choose some of the requests, with figures of their own; see `RequestSubset.where`.

        Examples
        --------
        >>> result = Scenario(model="qwen/qwen3-14b", workload=Workload(rate=2, num_requests=9)).run()
        >>> result.where(start="1s", replica=0).metric("requests")
        8.0
        """
        return self._selection.where(start=start, end=end, **labels)

    def metric(self, name: str) -> float:
        """Return one figure of the run by name.

        Parameters
        ----------
        name : str
            As for `RequestSubset.metric`; or ``preemption_rate`` (preemptions per completed request),
            ``cache_hit_rate`` or ``kv_thrashing_rate``.

        Returns
        -------
        float
            NaN for a latency that no request has.

        Raises
        ------
        ScenarioError
            If there is no such metric.
        """
        return self.kv_rates[name] if name in RUN_METRICS else self._selection.metric(name)

    # ------------------------------------------------------------------------------------------------ tables

    @cached_property
    def steps(self) -> Table:
        """One row a step and replica, columns of int64.

        ``replica``, ``start_us`` (tick), ``duration_us``, ``decode_tokens`` (also how many requests waited for this
        step as an inter-token gap), ``prefill_tokens``, ``batch_size``, ``queue_depth``, ``used_blocks``.
        """
        tables = [log.table() for log in self._steps]

        def column(name: str) -> NDArray[np.int64]:
            if name == "replica":
                return np.repeat(np.arange(len(tables)), [len(log) for log in self._steps])
            return np.concatenate([table[name] for table in tables])

        return Table(_STEP_COLUMNS, sum(map(len, self._steps)), column)

    @property
    def preemptions(self) -> list[tuple[str, int]]:
        """Each preemption: id of the request and tick, in the order in which they happened."""
        happened = np.concatenate([replica.preemptions for replica in self._replicas])
        # At one tick, replicas take their steps in the order of their index.
        happened = happened[np.argsort(happened[:, 1], kind="stable")]
        return list(zip(self.requests["id"][happened[:, 0]].tolist(), happened[:, 1].tolist(), strict=True))

    @property
    def rejected(self) -> list[str]:
        """Ids of the requests that were refused at admission, in order."""
        return list(self.requests["id"][self._rejected])

    def explain(self, request_id: str) -> Explanation:
        """Tell where the time of a request went.

        Parameters
        ----------
        request_id : str
            E.g. ``request_17``.

        Returns
        -------
        Explanation
            Its phases; prints and draws itself.

        Raises
        ------
        ScenarioError
            If there is no such request.

        Examples
        --------
        >>> result = Scenario(model="qwen/qwen3-14b", workload=Workload(rate=2, num_requests=9)).run()
        >>> result.explain("request_3").total_us - int(result.requests["e2e_us"][3])
        0
        """
        from blis_simpy.display.phases import explain

        return explain(self, request_id)

    @cached_property
    def anomalies(self) -> dict[str, int]:
        """Counts of what should not happen: inversions, blocked queues, rejections, drops, capped requests."""
        return evaluation.anomalies(
            self.aggregate,
            self.requests,
            ordered_by_priority=any(_orders(group.engine.priority) for group in self.scenario.by_group()),
            rejected=len(self._rejected),
            routing_rejections=self._routing_rejections,
        )

    @cached_property
    def kv_rates(self) -> dict[str, float]:
        """Preemptions per completed request, prefix-cache hit rate, thrashing rate."""
        return evaluation.kv_rates(self.aggregate)

    @cached_property
    def slo_classes(self) -> dict[str, dict[str, Percentiles]]:
        """Distributions of TTFT and E2E by SLO class."""
        return evaluation.by_slo_class(self._served)

    @cached_property
    def _served(self) -> RequestTable:
        """Requests that reached a replica and were not dropped."""
        return self.requests.take(np.concatenate([replica.rows for replica in self._replicas]))

    @cached_property
    def evaluation(self) -> evaluation.Evaluation:
        """How well it went: whole run, SLO classes, models, tenants, decisions."""
        duration_us = self.aggregate.ended_at
        return evaluation.Evaluation(
            metrics=evaluation.RawMetrics.of(self.aggregate, self.anomalies),
            slo_classes=self.slo_classes,
            models=evaluation.by_model(self._served, duration_us),
            tenants=evaluation.by_tenant(self.requests, duration_us),
            decisions=self.decisions,
            duration_us=duration_us,
            wall_clock_s=self._wall_clock_s,
        )

    def fitness(self, weights: str | Mapping[str, float]) -> fitness.Fitness:
        """Score the run.

        Parameters
        ----------
        weights : str or mapping
            ``throughput:1,p99_ttft:0.5``, or the same as a mapping; for the keys see `blis_simpy.results.fitness`.

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

    # ------------------------------------------------------------------------------------------------ files

    def save(self, path: str | PathLike[str]) -> None:
        """Write everything into one file, from which `load_result` makes an equal result.

        Parameters
        ----------
        path : path-like
            A zip file with arrays in numpy's format, JSON and the scenario as YAML.

        Raises
        ------
        ScenarioError
            If the file cannot be written, or the scenario holds a policy that has no registered name.
        """
        write_run(
            path,
            scenario=self.scenario,
            seed=self.seed,
            requests=self.requests,
            replicas=self._replicas,
            steps=self._steps,
            rejected=self._rejected,
            slowed=self._slowed,
            routing_rejections=self._routing_rejections,
            details=self._details,
            decisions=self.decisions,
            wall_clock_s=self._wall_clock_s,
        )

    def write_metrics(self, path: str | PathLike[str]) -> None:
        """Write aggregate and per-request figures as the reference's ``run --results-path`` does (JSON).

        Raises
        ------
        ScenarioError
            If the file cannot be written; an older one is left as it was.
        """
        rows = list(blis_report.metrics_rows(self.requests))
        write_text(path, blis_report.to_json({**self.summary, **({"requests": rows} if rows else {})}))

    def write_replay_results(self, path: str | PathLike[str]) -> None:
        """Write the latencies of completed requests as the reference's ``replay --results-path`` does (JSON).

        Raises
        ------
        ScenarioError
            If the file cannot be written; an older one is left as it was.
        """
        write_text(path, blis_report.replay_results(self.requests))

    def write_trace(self, prefix: str | PathLike[str]) -> None:
        """Write the requests as a workload trace, ``<prefix>.yaml`` and ``<prefix>.csv``, that can be replayed.

        All requests are in it, whatever became of them, by arrival and numbered from 0; see
        `blis_simpy.trace_files.run_trace.trace_of_run`.

        Raises
        ------
        ScenarioError
            If a file cannot be written; then neither is.
        """
        from blis_simpy.trace_files.run_trace import trace_of_run
        from blis_simpy.trace_files.trace_v2 import write_trace

        write_trace(trace_of_run(self.requests, self._details), f"{fspath(prefix)}.yaml", f"{fspath(prefix)}.csv")

    def write_requests(self, path: str | PathLike[str]) -> None:
        """Write the requests as a table: CSV, JSON or Parquet, by the ending; see `write_table`.

        An instant or a duration that never came about is an empty field, or ``null``.

        Raises
        ------
        ScenarioError
            If the file has another ending or cannot be written; an older one is left as it was.
        PluginError
            If pyarrow is needed and not installed.
        """
        from blis_simpy.export.tables import NEVER_IN_REQUESTS, write_table

        write_table(self.requests, path, never=NEVER_IN_REQUESTS)

    def write_steps(self, path: str | PathLike[str]) -> None:
        """Write the steps as a table; formats and errors are those of `write_requests`."""
        from blis_simpy.export.tables import write_table

        write_table(self.steps, path)

    def write_perfetto(self, path: str | PathLike[str]) -> None:
        """Write the run as a timeline that ``ui.perfetto.dev`` opens (Chrome trace JSON, compressed if ``.gz``).

        Raises
        ------
        ScenarioError
            If the file cannot be written; an older one is left as it was.
        """
        from blis_simpy.export.perfetto import write_perfetto

        write_perfetto(self.requests, self.steps, path, preemptions=self.preemptions)

    def write_prometheus(self, path: str | PathLike[str]) -> None:
        """Write the final state as vLLM's ``/metrics`` would show it, in the text format of Prometheus.

        Raises
        ------
        ScenarioError
            If the file cannot be written; an older one is left as it was.
        """
        from blis_simpy.export.prometheus import EngineState, write_prometheus

        engines = []
        for replica in self._replicas:
            gaps, counts = replica.inter_token_latencies(self.requests, replica.rows)
            engine = EngineState(
                model_name=replica.model,
                total_blocks=replica.total_blocks,
                cached_tokens=replica.hit_blocks * replica.block_size,
                gaps_us=gaps,
                gap_counts=counts,
            )
            engines.append(engine)
        write_prometheus(self.requests, self.steps, engines, path)

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
        return blis_report.sections(
            command=command,
            blocks=[*several, self.summary],
            anomaly=self.anomalies,
            kv=self.kv_rates,
            slo=self.slo_classes,
            fitness=self.fitness(fitness_weights) if fitness_weights and command == "run" else None,
            models=self.evaluation.models if command == "run" else None,
            decisions=self.decisions.summary() if self.decisions is not None and summarize_trace else None,
        )

    # ------------------------------------------------------------------------------------------------ display

    @property
    def plot(self) -> ResultPlots:
        """Pictures of this result, e.g. ``result.plot.timeline()``; they need the extra ``plot``."""
        from blis_simpy.display.result_plots import ResultPlots

        return ResultPlots(self)

    def _repr_html_(self) -> str:
        from blis_simpy.display.html import result_html

        return result_html(self)

    def __repr__(self) -> str:
        s = self.summary
        return (
            f"<Result: {s['completed_requests']} of {self.requests.num_rows} requests completed in "
            f"{s['vllm_estimated_duration_s']:.3f} s, mean TTFT {s['ttft_mean_ms']:.3f} ms, "
            f"mean E2E {s['e2e_mean_ms']:.3f} ms>"
        )
