"""Figures of some requests of a run: all, or those of a class, a client, a replica, a stretch of time."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from blis_simpy.core.rendering import Rendered
from blis_simpy.core.request import RequestOutcome
from blis_simpy.errors import ScenarioError, nearest
from blis_simpy.results.metrics import get_metric, known_metrics
from blis_simpy.results.percentiles import Percentiles
from blis_simpy.units import ticks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from blis_simpy.results.requests import RequestTable
    from blis_simpy.results.run_record import ReplicaOutcome

__all__ = ["RequestSubset"]

_OUTCOMES = tuple(outcome.name.lower() for outcome in RequestOutcome)
_UNNAMED = ("slo_class", "tenant")


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
        if start is None and end is None and not labels:
            return self
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

    @property
    def num_preemptions(self) -> int:
        """Preemptions by the schedulers; a restart after a replica has failed is none."""
        preempted = np.concatenate([replica.preemptions[:, 0] for replica in self._replicas])
        return int(np.isin(preempted, self._rows).sum())

    def metric(self, name: str) -> float:
        """Return one figure by name.

        Parameters
        ----------
        name : str
            Name of a metric, such as ``ttft_p99_ms`` or ``requests_per_s``; see `blis_simpy.results.metrics`.

        Returns
        -------
        float
            NaN for a latency that no request has.

        Raises
        ------
        ScenarioError
            If there is no such metric, or it is one of a whole run.
        """
        metric = get_metric(name)
        if metric.scope == "run":
            raise ScenarioError.at("metric", "is defined for a whole run only", name)
        return metric.value(self)

    @property
    def summary(self) -> dict[str, float]:
        """All metrics in common use that some requests of a run have."""
        return {name: metric.value(self) for name, metric in known_metrics().items() if metric.scope == "requests"}

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
