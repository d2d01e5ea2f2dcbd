"""Figures of some requests of a run: all, or those of a class, a client, a replica, a stretch of time."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from blis_simpy.core.rendering import Rendered
from blis_simpy.core.request import RequestOutcome
from blis_simpy.errors import ScenarioError, nearest
from blis_simpy.results.percentiles import Percentiles
from blis_simpy.units import ticks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from blis_simpy.results.aggregate import ReplicaOutcome
    from blis_simpy.results.requests import RequestTable

__all__ = ["LATENCIES", "RUN_METRICS", "RequestSubset", "metric_names", "split_latency"]

LATENCIES = ("ttft", "itl", "e2e", "scheduling_delay")
"""Latencies that have a distribution."""

_COUNTS = ("requests", "completed", "rejected", "timed_out", "dropped", "length_capped", "preemptions")
_OUTCOMES = tuple(outcome.name.lower() for outcome in RequestOutcome)
_UNNAMED = ("slo_class", "tenant")
_RATES = ("requests_per_s", "output_tokens_per_s", "duration_s")
RUN_METRICS = ("preemption_rate", "cache_hit_rate", "kv_thrashing_rate")
"""Metrics that only a whole run has."""

_LATENCY = re.compile(rf"({'|'.join(LATENCIES)})_(mean|p(\d{{1,2}}(?:\.\d+)?|100))_ms")


def metric_names() -> tuple[str, ...]:
    """Names that `RequestSubset.metric` and `Result.metric` know; of the percentiles those in common use."""
    statistics = ("mean", "p50", "p90", "p95", "p99")
    latencies = (f"{latency}_{statistic}_ms" for latency in LATENCIES for statistic in statistics)
    return (*latencies, *_RATES, *_COUNTS, *RUN_METRICS)


def split_latency(name: str) -> tuple[str, float | None] | None:
    """Split the name of a latency metric.

    Returns
    -------
    latency : str
        One of `LATENCIES`.
    percent : float or None
        Which percentile; None for the mean. None in place of both if the name is not that of a latency.
    """
    match = _LATENCY.fullmatch(name)
    return None if match is None else (match[1], float(match[3]) if match[3] else None)


class RequestSubset(Rendered):
    """Some requests of a run, with their figures.

    Attributes
    ----------
    requests : RequestTable
        They, one row each.
    duration_us : int, µs
        Stretch of time over which rates count: the whole run, or from `start` to `end`.
    """

    def __init__(
        self,
        requests: RequestTable,
        rows: NDArray[np.int64],
        *,
        replicas: Sequence[ReplicaOutcome],
        ttft: NDArray[np.int64],
        start: int,
        end: int,
    ) -> None:
        self._all = requests
        self._rows = rows
        self._replicas = replicas
        self._ttft = ttft
        self._start = start
        self._end = end
        self.duration_us = max(end - start, 0)

    @cached_property
    def requests(self) -> RequestTable:
        """The requests, in the order of the workload."""
        return self._all.take(self._rows)

    def where(self, *, start: int | str | None = None, end: int | str | None = None, **labels: Any) -> RequestSubset:
        """Choose some of these requests.

        Parameters
        ----------
        start, end : int, tick, or str, optional
            Those that arrived from one tick up to another, which is not included: ``start="10s"`` cuts a warm-up off.
            Rates then count over that stretch of time.
        **labels
            Value, or collection of values, that a column of the request table must have: ``slo_class="batch"``,
            ``replica=[0, 1]``, ``tenant=...``, ``client=...``, ``model=...``, ``outcome="completed"``. The SLO class or
            tenant ``default`` includes requests without any.

        Raises
        ------
        ScenarioError
            If there is no such column, it cannot hold such a value, or a tick is no duration.
        """
        first = self._start if start is None else ticks("start", start)
        last = self._end if end is None else ticks("end", end)
        arrived = self._all["arrived_at_us"][self._rows]
        chosen = np.ones(len(self._rows), dtype=np.bool_)
        if start is not None:
            chosen &= arrived >= first
        if end is not None:
            chosen &= arrived < last
        for label, value in labels.items():
            if label not in self._all:
                raise ScenarioError.at(label, "is no column of the requests", hint=nearest(label, tuple(self._all)))
            column = self._all[label][self._rows]
            several = isinstance(value, Collection) and not isinstance(value, str)
            values = [_checked(label, item, column.dtype.kind) for item in (value if several else [value])]
            if label in _UNNAMED and "default" in values:
                values.append("")
            chosen &= np.isin(column, values) if len(values) != 1 else np.asarray(column == values[0])
        return RequestSubset(
            self._all,
            self._rows[chosen],
            replicas=self._replicas,
            ttft=self._ttft,
            # A window may reach beyond the run; rates count over what was simulated.
            start=max(first, self._start),
            end=min(last, self._end),
        )

    @cached_property
    def _reached(self) -> NDArray[np.int64]:
        """Rows of those that reached a replica and were not dropped."""
        at_replica = self._all["replica"] >= 0
        return self._rows[(at_replica & ~self._all.with_outcome(RequestOutcome.DROPPED))[self._rows]]

    @cached_property
    def ttft(self) -> Percentiles:
        """Time to first token of those that got one, µs."""
        return Percentiles.known(self._ttft[self._reached])

    @cached_property
    def e2e(self) -> Percentiles:
        """Arrival to last token of those that completed, µs."""
        return Percentiles.of(self._all["e2e_us"][self._rows[self._all.completed[self._rows]]])

    @cached_property
    def scheduling_delay(self) -> Percentiles:
        """Arrival to the last time that they joined a batch, µs."""
        return Percentiles.known(self._all["scheduling_delay_us"][self._reached])

    @cached_property
    def itl(self) -> Percentiles:
        """Gaps between the tokens of those that completed, each gap a value, µs."""
        replica = self._all["replica"][self._reached]
        gaps = [
            outcome.inter_token_latencies(self._all, self._reached[replica == index])
            for index, outcome in enumerate(self._replicas)
        ]
        return Percentiles.of(np.concatenate([g[0] for g in gaps]), np.concatenate([g[1] for g in gaps]))

    def metric(self, name: str) -> float:
        """Return one figure by name.

        Parameters
        ----------
        name : str
            ``ttft``, ``itl``, ``e2e`` or ``scheduling_delay``, then ``mean`` or a percentile such as ``p99`` or
            ``p99.9``, then ``ms``: ``ttft_p99_ms``. Or ``requests_per_s`` and ``output_tokens_per_s`` (of completed
            requests), ``duration_s``; or the count of ``requests``, of those ``completed``, ``rejected``,
            ``timed_out``, ``dropped``, ``length_capped``; or ``preemptions``.

        Returns
        -------
        float
            NaN for a latency that no request has.

        Raises
        ------
        ScenarioError
            If there is no such metric.
        """
        if latency := split_latency(name):
            distribution: Percentiles = getattr(self, latency[0])
            if not distribution.count:
                return float("nan")
            return distribution.mean_ms if latency[1] is None else distribution.percentile_ms(latency[1])
        if name not in _COUNTS and name not in _RATES:
            known = metric_names()
            hint = "is known of a whole run only" if name in RUN_METRICS else nearest(name, known)
            raise ScenarioError.at("metric", "is unknown", name, hint=hint)
        return float(self._figures[name])

    @cached_property
    def _figures(self) -> dict[str, float]:
        rows, table = self._rows, self._all
        outcomes, completed = table["outcome"][rows], rows[table.completed[rows]]
        seconds = self.duration_us / 1e6
        tokens = int(table["generated_tokens"][completed].sum())
        # Those of the schedulers: what a request lost when its replica failed is none of them.
        preempted = np.concatenate([replica.preemptions[:, 0] for replica in self._replicas])
        return {
            "requests": len(rows),
            "completed": len(completed),
            **{name: int((outcomes == name).sum()) for name in ("rejected", "timed_out", "dropped")},
            "length_capped": int(table["length_capped"][rows].sum()),
            "preemptions": int(np.isin(preempted, rows).sum()),
            "requests_per_s": len(completed) / seconds if seconds else 0.0,
            "output_tokens_per_s": tokens / seconds if seconds else 0.0,
            "duration_s": seconds,
        }

    @property
    def summary(self) -> dict[str, float]:
        """All metrics of `metric_names` that a selection has."""
        return {name: self.metric(name) for name in metric_names() if name not in RUN_METRICS}

    def __repr__(self) -> str:
        return (
            f"<RequestSubset: {len(self._rows)} requests, {self.metric('completed'):.0f} completed, "
            f"mean TTFT {self.metric('ttft_mean_ms'):.3f} ms, mean E2E {self.metric('e2e_mean_ms'):.3f} ms>"
        )


def _checked(label: str, value: Any, kind: str) -> Any:
    """Return what to look for in a column of the request table; `kind` is that of its type, as numpy names it."""
    if isinstance(value, RequestOutcome):
        value = value.name.lower()
    if kind != "O":
        if not isinstance(value, int | float | np.number | np.bool_):
            raise ScenarioError.at(label, "must be a number", value)
    elif not isinstance(value, str):
        raise ScenarioError.at(label, "must be text", value)
    elif label == "outcome" and value not in _OUTCOMES:
        raise ScenarioError.at(label, "is unknown", value, hint=nearest(value, _OUTCOMES))
    return value
