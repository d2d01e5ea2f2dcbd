"""Result of a run: figures computed from its record on access."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from os import fspath
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from blis_simpy.core.rendering import Plots, Rendered
from blis_simpy.files.outputs import write_text
from blis_simpy.results import anomalies, blis_report, evaluation, fitness
from blis_simpy.results.aggregate import Aggregate
from blis_simpy.results.legs import uncontended_transfers
from blis_simpy.results.metrics import get_metric
from blis_simpy.results.phases import Explanation, explain
from blis_simpy.results.run_judgements import RunJudgements
from blis_simpy.results.sessions import session_table
from blis_simpy.results.step_terms import middle_decode_step
from blis_simpy.results.subset import RequestSubset

if TYPE_CHECKING:
    from os import PathLike

    from numpy.typing import ArrayLike

    from blis_simpy.core.slo_targets import SLOTargets
    from blis_simpy.core.table import Table
    from blis_simpy.results.percentiles import Percentiles
    from blis_simpy.results.run_record import RunRecord
    from blis_simpy.results.slo import SLOReport

__all__ = ["Result"]


def _has_order(priority: Any) -> bool:
    """Whether a priority policy gives requests different priorities."""
    return (priority.get("type") if isinstance(priority, Mapping) else priority) != "constant"


class Result(Rendered):
    """Figures of one run.

    Methods whose names start with ``write_`` raise a `ScenarioError` if the file cannot be written; an existing file is
    then left unchanged. The same run writes the same bytes.

    Attributes
    ----------
    record : RunRecord
        Data of the run, which everything else follows from.
    scenario : ScenarioSettings
        What was simulated.
    seed : int
        Seed of its random streams.
    requests : RequestTable
        One row a request, in the order of the workload.
    decisions : DecisionLog or None
        Decisions of admission and routing, if the scenario logs them.
    """

    def __init__(self, record: RunRecord) -> None:
        self.record = record
        self.scenario = record.scenario
        self.seed = record.seed
        self.requests = record.requests
        self.decisions = record.decisions

    @cached_property
    def aggregate(self) -> Aggregate:
        """Counters and latency distributions over all replicas."""
        return Aggregate("cluster", self.requests, self.record.replicas, self.record.ttft())

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Aggregate figures with the reference's keys: counts, rates per second, latencies in ms."""
        return self.aggregate.blis()

    @cached_property
    def replicas(self) -> list[dict[str, Any]]:
        """The figures of `summary` for each replica."""
        return [Aggregate(replica.name, self.requests, [replica]).blis() for replica in self.record.replicas]

    @property
    def total_blocks(self) -> list[int]:
        """KV blocks of each replica."""
        return [replica.total_blocks for replica in self.record.replicas]

    @cached_property
    def _all_requests(self) -> RequestSubset:
        rows = np.arange(self.requests.num_rows)
        judged = RunJudgements(self.record)
        return RequestSubset(self.record, rows, judged=judged, start=0, end=self.aggregate.ended_at)

    def where(
        self,
        mask: ArrayLike | None = None,
        /,
        *,
        start: int | str | None = None,
        end: int | str | None = None,
        **labels: Any,
    ) -> RequestSubset:
        """Select requests; see `RequestSubset.where`. Without arguments, all requests.

        Examples
        --------
        >>> result = Scenario(model="qwen/qwen3-14b", workload=Workload(rate=2, num_requests=9)).run()
        >>> result.where(start="1s", replica=0).metric("requests")
        8.0
        >>> result.where(result.requests["input_tokens"] > 600).metric("requests")
        5.0
        """
        return self._all_requests.where(mask, start=start, end=end, **labels)

    def metric(self, name: str) -> float:
        """Return one figure of the run by name.

        Parameters
        ----------
        name : str
            Name of a metric, such as ``ttft_p99_ms`` or ``requests_per_s``, or of some requests by their labels, such
            as ``ttft_p99_ms{slo_class=chat, replica=0}``; `blis_simpy.metrics` lists the names.

        Returns
        -------
        float
            NaN for a latency that no request has.

        Raises
        ------
        ScenarioError
            If there is no such metric, no such label in the scenario and the run, or the scenario lacks a setting that
            the metric needs.

        Examples
        --------
        >>> result = Scenario(model="qwen/qwen3-14b", workload=Workload(rate=2, num_requests=9)).run()
        >>> result.metric("completed{replica=0}")
        9.0
        """
        metric = get_metric(name)
        metric.check_settings(self.scenario)
        return metric.value(self if metric.scope == "run" else self._all_requests)

    @cached_property
    def steps(self) -> Table:
        """One row per step, replica by replica, columns of int64.

        ``replica``, ``start_us`` (tick), ``duration_us``, ``decode_tokens`` (also the number of gaps between tokens
        that the step makes), ``prefill_tokens``, ``batch_size``, ``queue_depth``, ``used_blocks``.
        """
        return self.record.step_table()

    @cached_property
    def sessions(self) -> Table:
        """One row per session: a conversation or a closed-loop user, in the order of the first requests.

        ``session``, ``client``, ``tenant``, ``slo_class``; ``requests``, ``completed``, ``failed`` (rejected, dropped
        or timed out) and ``open`` (not ended); ``started_at_us`` (first arrival), ``duration_us`` (to the last token),
        ``service_us`` (time with a request in the system) and ``pause_us`` (thinking, or waiting for tools);
        ``input_tokens``, ``output_tokens`` and ``cached_tokens`` of all its requests, and ``hit_rate``, the cached
        share of the input; ``path_requests``, the number of requests on the critical path, which are those that decided
        when the session ended, and of these ``path_queue_us`` (to the first admission to a batch; all the time of one
        that did not complete), ``path_prefill_us`` (to the first token) and ``path_decode_us`` (to the last one), and
        ``path_wait_us``, the rest of the duration: tools, thinking.

        Examples
        --------
        >>> users = UserWorkload(users=2, requests_per_user=3, prompt=100, output=20, think_time="1s")
        >>> result = Scenario(model="qwen/qwen3-14b", workload=users).run()
        >>> result.sessions["completed"].tolist(), result.sessions["pause_us"].tolist()
        ([3, 3], [2000000, 2000000])
        """
        return session_table(self.requests, self.record.off_critical_path)

    @property
    def transfers(self) -> Table:
        """One row per transfer over the network, in the order in which they were sent.

        ``source``, ``destination``; ``kind`` and ``request``, which may be empty; ``bytes``, and ``bytes_left`` of a
        transfer that was cancelled or is in flight; ``started_at_us``, ``ended_at_us`` (tick; missing in flight) and
        ``state``: starting, sending, delivered or cancelled.
        """
        return self.record.network.transfers

    @property
    def links(self) -> Table:
        """One row per link of the network that was used, in the order of first use.

        ``link``, ``bandwidth`` (bytes/s), ``bytes`` of the transfers that are over, ``busy_us``, and the load as a
        fraction of the bandwidth, ``mean_load`` over the run and ``peak_load``; 0 if the bandwidth is infinite.
        """
        return self.record.network.links

    @property
    def kv_tiers(self) -> Table:
        """One row per KV tier below the memory of the GPUs that was used, in the order of first use.

        ``tier``, ``endpoint`` (in the network), ``chunk_bytes``, ``capacity`` (chunks; missing if unlimited),
        ``chunks`` (at the end), and the numbers of chunks ``read``, ``written``, ``evicted``, and ``rejected`` because
        all others were in use.
        """
        return self.record.kv_tiers

    @property
    def link_loads(self) -> Table:
        """One row per change of the load of a link, link by link: ``link``, ``at_us``, and ``load`` from then on."""
        return self.record.network.loads

    @property
    def legs(self) -> Table:
        """One row per leg, in a run with handovers; else empty, because each request has one, in the table of requests.

        ``request``, ``leg`` (its number), ``replica``, ``phase`` (``both``, ``prefill`` or ``decode``), ``outcome``
        (``handed_over`` if another replica continues), ``routed_at_us``, ``queued_at_us``, ``first_scheduled_at_us``,
        ``scheduled_at_us``, ``finished_at_us``, ``cached_tokens`` (found in the prefix cache of the replica); of the
        handover that it begins with ``kv_source`` (replica), ``kv_tokens`` and ``kv_bytes`` (that were sent),
        ``kv_reserved_at_us``, ``kv_received_at_us`` and ``kv_released_at_us`` (blocks allocated and filled here, and
        released by the source).
        """
        return self.record.legs

    @property
    def restarts(self) -> list[str]:
        """Ids of the requests that started over because their KV blocks were lost between two replicas, in order."""
        return list(self.requests["id"][self.record.restarts])

    @property
    def samples(self) -> list[Table]:
        """The table of each sampler that a process started with `Simulation.sample`, in their order."""
        return list(self.record.samples)

    @property
    def preemptions(self) -> list[tuple[str, int]]:
        """Id of the request and tick of each preemption, in the order in which they happened."""
        return self.record.preemptions()

    @property
    def rejected(self) -> list[str]:
        """Ids of the requests that admission rejected, in order."""
        return list(self.requests["id"][self.record.rejected])

    def explain(self, request_id: str) -> Explanation:
        """Split the time of a request into its phases.

        Parameters
        ----------
        request_id : str
            E.g. ``request_17``.

        Returns
        -------
        Explanation
            Its phases, and the terms of the decode step in the middle of its output; prints and draws itself.

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
        explanation = explain(self.requests, self.preemptions, self.aggregate.ended_at, request_id)
        row = int(np.flatnonzero(self.requests["id"] == request_id)[0])
        return attrs.evolve(
            explanation,
            decode_step=middle_decode_step(self.requests, self.scenario, row),
            remarks=uncontended_transfers(self.scenario, self.requests.take(np.array([row]))),
        )

    @cached_property
    def anomalies(self) -> dict[str, int]:
        """Counts of what should not happen: inversions, blocked queues, rejections, drops, capped requests."""
        return anomalies.anomalies(
            self.aggregate,
            self.requests,
            ordered_by_priority=any(_has_order(group.engine.priority) for group in self.scenario.by_group()),
            rejected=len(self.record.rejected),
            routing_rejections=self.record.routing_rejections,
        )

    @cached_property
    def kv_rates(self) -> dict[str, float]:
        """Preemptions per completed request, prefix cache hit rate, thrashing rate."""
        return anomalies.kv_rates(self.aggregate)

    @property
    def replica_seconds(self) -> float:
        """Time that replicas had their GPUs, from the start of loading to termination, up to the end of the run, s."""
        return sum(int(np.diff(replica.placed).sum()) for replica in self.record.replicas) / 1e6

    @property
    def gpu_seconds(self) -> float:
        """Replica-seconds, each multiplied by the GPUs of the replica."""
        return sum(replica.num_gpus * int(np.diff(replica.placed).sum()) for replica in self.record.replicas) / 1e6

    @cached_property
    def slo_classes(self) -> dict[str, dict[str, Percentiles]]:
        """Distributions of TTFT and E2E by SLO class."""
        return evaluation.by_slo_class(self.record.served())

    @cached_property
    def evaluation(self) -> evaluation.Evaluation:
        """Figures of the whole run, and by SLO class, model and tenant."""
        duration_us = self.aggregate.ended_at
        return evaluation.Evaluation(
            metrics=fitness.RawMetrics.of(self.aggregate, self.anomalies),
            slo_classes=self.slo_classes,
            models=evaluation.by_model(self.record.served(), duration_us),
            tenants=evaluation.by_tenant(self.requests, duration_us),
            decisions=self.decisions,
            duration_us=duration_us,
            wall_clock_s=self.record.wall_clock_s,
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
            If a key is unknown or a weight is not a finite number >= 0.
        """
        return fitness.score(self.evaluation.metrics, weights)

    def slo(self, targets: Mapping[str, SLOTargets | Mapping[str, Any]] | None = None) -> SLOReport:
        """Compare the requests with the targets of their SLO class; see `RequestSubset.slo`.

        Examples
        --------
        >>> result = Scenario(model="qwen/qwen3-14b", workload=Workload(rate=2, num_requests=9)).run()
        >>> report = result.slo({"*": {"ttft": "1s", "e2e": "1min"}})
        >>> report.attainment, report.misses
        (1.0, {'ttft': 0, 'e2e': 0})
        """
        return self._all_requests.slo(targets)

    def save(self, path: str | PathLike[str]) -> None:
        """Write everything into one file, from which `load_result` makes an equal result.

        A policy, process or other plug-in without a registered name is written by its qualified name; the scenario of
        the loaded result cannot be run. Requests or a trace in memory are left out of its workload; the table of
        requests has them.

        Parameters
        ----------
        path : path-like
            A zip file with arrays in numpy's format, JSON and the scenario as YAML.

        Raises
        ------
        ScenarioError
            If the file cannot be written.
        """
        from blis_simpy.results.archive import write_run  # few results are saved

        write_run(path, self.record)

    def write_metrics(self, path: str | PathLike[str]) -> None:
        """Write aggregate and per-request figures as JSON, as the reference's ``run --results-path`` does."""
        rows = list(blis_report.metrics_rows(self.requests))
        write_text(path, blis_report.to_json({**self.summary, **({"requests": rows} if rows else {})}))

    def write_replay_results(self, path: str | PathLike[str]) -> None:
        """Write the latencies of completed requests as JSON, as the reference's ``replay --results-path`` does."""
        write_text(path, blis_report.replay_results(self.requests))

    def write_trace(self, prefix: str | PathLike[str]) -> None:
        """Write the requests as a workload trace that can be replayed, ``<prefix>.yaml`` and ``<prefix>.csv``.

        It has all requests, whatever their outcome, by arrival and numbered from 0; see
        `blis_simpy.trace_files.run_trace.trace_of_run`. Both files are written or none.
        """
        from blis_simpy.trace_files.run_trace import trace_of_run
        from blis_simpy.trace_files.trace_v2 import write_trace

        trace = trace_of_run(self.requests, self.record.details, self.record.slo_targets)
        write_trace(trace, f"{fspath(prefix)}.yaml", f"{fspath(prefix)}.csv")

    def write_requests(self, path: str | PathLike[str]) -> None:
        """Write the requests as a table: CSV, JSON or Parquet, by the ending; see `write_table`.

        An instant or a duration that a request does not have is an empty field, or ``null``.
        """
        from blis_simpy.export.tables import write_table

        write_table(self.requests, path)

    def write_steps(self, path: str | PathLike[str]) -> None:
        """Write the steps as a table, in the formats of `write_requests`."""
        from blis_simpy.export.tables import write_table

        write_table(self.steps, path)

    def write_perfetto(self, path: str | PathLike[str]) -> None:
        """Write a timeline that ``ui.perfetto.dev`` opens: Chrome trace JSON, compressed if the name ends in .gz."""
        from blis_simpy.export.perfetto import write_perfetto

        write_perfetto(
            self.requests,
            self.steps,
            path,
            preemptions=self.preemptions,
            transfers=self.transfers,
            link_loads=self.link_loads,
            legs=self.legs,
        )

    def write_prometheus(self, path: str | PathLike[str]) -> None:
        """Write the final state under the metric names of vLLM, in the text format of Prometheus."""
        from blis_simpy.export.prometheus import EngineState, write_prometheus

        engines = []
        for replica in self.record.replicas:
            gaps, counts = replica.inter_token_latencies(self.requests, replica.rows)
            engine = EngineState(
                model_name=replica.model,
                total_blocks=replica.total_blocks,
                caches_prefixes=replica.caches_prefixes,
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
            Whether to summarise the decision log, if there is one.

        Raises
        ------
        ScenarioError
            If the weights are wrong.
        """
        several = self.replicas if len(self.replicas) > 1 else []
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

    def report(self, form: str = "text") -> str:
        """Return the summary that ``print(result)`` and ``blis run`` show.

        Parameters
        ----------
        form : str
            ``text``; ``json`` (outcomes, all metrics, sections and remarks, see
            `blis_simpy.results.plain_report.plain_report`); ``html``, or any other renderer.

        Raises
        ------
        PluginError
            If there is no such renderer.

        Examples
        --------
        >>> result = Scenario(model="qwen/qwen3-14b", workload=Workload(rate=2, num_requests=9)).run()
        >>> result.report().splitlines()[1]
        '9 of 9 requests completed'
        """
        return self.render(form)

    @property
    def plot(self) -> Plots:
        """Plots of the run as methods, such as ``result.plot.timeline()``; they need the extra ``plot``."""
        return Plots(self)

    def __str__(self) -> str:
        return self.render("terminal")

    def __repr__(self) -> str:
        outcomes = self.requests.outcomes
        others = (
            f", {count} {name.replace('_', ' ')}" for name, count in outcomes.items() if name != "completed" and count
        )
        return (
            f"<Result: {outcomes['completed']} of {self.requests.num_rows} requests completed{''.join(others)} in "
            f"{self.aggregate.ended_at / 1e6:.3f} s, mean TTFT {self.metric('ttft_mean_ms'):.3f} ms, "
            f"mean E2E {self.metric('e2e_mean_ms'):.3f} ms>"
        )
