"""Figures of a subset of the requests of a run: those of an SLO class, a client, a replica, a window of time."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from blis_simpy.core.rendering import Rendered
from blis_simpy.core.request import RequestOutcome
from blis_simpy.errors import ScenarioError, nearest
from blis_simpy.results.metrics import get_metric, known_metrics
from blis_simpy.results.percentiles import Percentiles
from blis_simpy.results.selectors import REPLICAS
from blis_simpy.results.slo import SLOReport
from blis_simpy.units import ticks

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from blis_simpy.core.slo_targets import SLOTargets
    from blis_simpy.results.requests import RequestTable
    from blis_simpy.results.run_judgements import RunJudgements
    from blis_simpy.results.run_record import ReplicaOutcome, RunRecord

__all__ = ["RequestSubset"]

_OUTCOMES = tuple(outcome.name.lower() for outcome in RequestOutcome)
_UNNAMED = ("slo_class", "tenant")


class RequestSubset(Rendered):
    """A subset of the requests of a run, with their figures.

    Attributes
    ----------
    duration_us : int, µs
        Time over which rates are computed: the whole run, or the window from `start` to `end`.
    arriving_us : int, µs
        Part of it up to the last arrival of the run.
    """

    def __init__(
        self, record: RunRecord, rows: NDArray[np.int64], *, judged: RunJudgements, start: int, end: int
    ) -> None:
        self._record = record
        self._all = record.requests
        self._rows = rows
        self._replicas = record.replicas
        self._ttft = judged.ttft
        self._judged = judged
        self._start = start
        self._end = end
        self.duration_us = max(end - start, 0)
        last_arrival = int(self._all["arrived_at_us"].max(initial=0))
        self.arriving_us = max(min(end, last_arrival) - start, 0)

    @cached_property
    def requests(self) -> RequestTable:
        """The requests, in the order of the workload."""
        return self._all.take(self._rows)

    def where(
        self,
        mask: ArrayLike | None = None,
        /,
        *,
        start: int | str | None = None,
        end: int | str | None = None,
        **labels: Any,
    ) -> RequestSubset:
        """Select requests of this subset.

        Parameters
        ----------
        mask : array-like of bool, shape (num_requests,), optional
            Whether to select each request, in the order of `requests`: an array, a list, or a pandas Series, which is
            aligned by its index and may have missing values, which select nothing.
        start, end : int, tick, or str, optional
            Window of arrivals; `end` is not included. ``start="10s"`` leaves out a warm-up. Rates are computed over the
            window.
        **labels
            Value, or collection of values, of a column of the request table: ``slo_class="batch"``,
            ``replica=[0, 1]`` (the last one of a request), ``prefill_replica=0``, ``tenant=...``,
            ``client=...``, ``model=...``, ``outcome="completed"``. The SLO class and the tenant ``default`` include
            requests without any.

        Raises
        ------
        ScenarioError
            If the mask is not one boolean per request, there is no such column, a column cannot have such a value, or a
            bound is not a duration.
        """
        if mask is None and start is None and end is None and not labels:
            return self
        first = self._start if start is None else ticks("start", start)
        last = self._end if end is None else ticks("end", end)
        arrived = self._all["arrived_at_us"][self._rows]
        chosen = np.ones(len(self._rows), dtype=np.bool_) if mask is None else _checked_mask(mask, len(self._rows))
        if start is not None:
            chosen &= arrived >= first
        if end is not None:
            chosen &= arrived < last
        for label, value in labels.items():
            if label not in self._all:
                raise ScenarioError.at(label, "is not a column of the requests", hint=nearest(label, tuple(self._all)))
            column = self._all[label][self._rows]
            several = isinstance(value, Collection) and not isinstance(value, str)
            values = [_checked(label, item, column.dtype.kind) for item in (value if several else [value])]
            if label in _UNNAMED and "default" in values:
                values.append("")
            chosen &= np.isin(column, values) if len(values) != 1 else np.asarray(column == values[0])
        return RequestSubset(
            self._record,
            self._rows[chosen],
            judged=self._judged,
            # A window may extend beyond the run; rates are computed over the simulated part.
            start=max(first, self._start),
            end=min(last, self._end),
        )

    def selected(self, labels: Mapping[str, Any]) -> RequestSubset:
        """Select requests by labels that the run must know; see `blis_simpy.results.selectors`.

        Raises
        ------
        ScenarioError
            If neither the scenario nor a request of the run has such a label.
        """
        for label, value in labels.items():
            self._check_known(label, value)
        return self.where(**labels)

    def _check_known(self, label: str, value: Any) -> None:
        if label in REPLICAS:
            known: Collection[Any] = range(len(self._replicas))
        else:
            of_requests = self._all[label]
            unnamed = label in _UNNAMED and value == "default"
            if ((of_requests == value) | (unnamed & (of_requests == ""))).any():
                return
            names = set(of_requests.tolist())
            scenario = self._record.scenario
            if scenario.workload is not None:
                names |= scenario.workload.labels(label, defaults=scenario.defaults)
            without = {"default"} if label in _UNNAMED and "" in names else set()
            known = sorted(names - {""} | without)
        if value not in known:
            listed = [str(name) for name in known]
            hint = nearest(str(value), listed) if listed else "no request has any"
            raise ScenarioError.at(f"{label} of the metric", "is unknown", value, hint=hint)

    @cached_property
    def _reached(self) -> NDArray[np.int64]:
        """Rows of the requests that reached a replica and were not dropped."""
        at_replica = self._all["replica"] >= 0
        return self._rows[(at_replica & ~self._all.with_outcome(RequestOutcome.DROPPED))[self._rows]]

    @cached_property
    def ttft(self) -> Percentiles:
        """Time to first token of the requests with a first token, µs."""
        return Percentiles.known(self._ttft[self._reached])

    @cached_property
    def e2e(self) -> Percentiles:
        """Arrival to last token of completed requests, µs."""
        return Percentiles.of(self._all["e2e_us"][self._rows[self._all.completed[self._rows]]])

    @cached_property
    def ttft_from_due(self) -> Percentiles:
        """Planned arrival to the first token, µs: TTFT and the time that a request waited for a place in flight."""
        ttft, held = self._ttft[self._reached], self._held_us[self._reached]
        return Percentiles.of((ttft + held)[ttft >= 0])

    @cached_property
    def e2e_from_due(self) -> Percentiles:
        """Planned arrival to the last token of completed requests, µs."""
        rows = self._rows[self._all.completed[self._rows]]
        return Percentiles.of(self._all["e2e_us"][rows] + self._held_us[rows])

    @property
    def has_held_requests(self) -> bool:
        """Whether a request waited at its client for a place in flight."""
        return bool((self._all["due_at_us"][self._rows] >= 0).any())

    @cached_property
    def _held_us(self) -> NDArray[np.int64]:
        """Time that each request of the run waited at its client for a place in flight."""
        due, arrived = self._all["due_at_us"], self._all["arrived_at_us"]
        return np.where(due >= 0, arrived - due, 0)

    @cached_property
    def scheduling_delay(self) -> Percentiles:
        """Arrival to the last time that a request joined a batch, µs."""
        return Percentiles.known(self._all["scheduling_delay_us"][self._reached])

    @cached_property
    def itl(self) -> Percentiles:
        """Gaps between tokens of completed requests, one value per gap, µs."""
        gaps = [outcome.inter_token_latencies(self._all, rows) for outcome, rows in self._by_replica(self._reached)]
        return Percentiles.of(np.concatenate([g[0] for g in gaps]), np.concatenate([g[1] for g in gaps]))

    @cached_property
    def first_ttft(self) -> Percentiles:
        """Time to the first token of any attempt, µs."""
        return Percentiles.known(self._all["first_ttft_us"][self._reached])

    @cached_property
    def tpot(self) -> Percentiles:
        """Time per output token after the first one, of completed requests with several, µs."""
        return Percentiles.known(self._all["tpot_us"][self._rows])

    @cached_property
    def ntpot(self) -> Percentiles:
        """Time per output token, the first one included, of completed requests, µs."""
        return Percentiles.known(self._all["ntpot_us"][self._rows])

    @cached_property
    def longest_gap(self) -> Percentiles:
        """Longest gap between tokens of each completed request with several, µs."""
        return Percentiles.of(
            np.concatenate([outcome.longest_gaps(self._all, rows) for outcome, rows in self._by_replica(self._reached)])
        )

    def _by_replica(self, rows: NDArray[np.int64]) -> list[tuple[ReplicaOutcome, NDArray[np.int64]]]:
        """Each replica, with those of some rows that are requests of its own."""
        replica = self._all["replica"][rows]
        order = np.argsort(replica, kind="stable")
        bounds = np.searchsorted(replica[order], np.arange(len(self._replicas) + 1))
        return [
            (outcome, rows[order[bounds[index] : bounds[index + 1]]]) for index, outcome in enumerate(self._replicas)
        ]

    @cached_property
    def prefix_lookups(self) -> tuple[int, int]:
        """Prompt tokens that first admissions found in the prefix cache, and those that they looked up."""
        cached = queried = 0
        admitted = self._rows[self._all["first_scheduled_at_us"][self._rows] >= 0]
        for outcome, rows in self._by_replica(admitted):
            if outcome.caches_prefixes:
                cached += int(self._all["cached_tokens"][rows].sum())
                queried += int(self._all["input_tokens"][rows].sum())
        return cached, queried

    @cached_property
    def resumed_lookups(self) -> tuple[int, int]:
        """Tokens that admissions after a preemption found in the prefix cache, and those that they looked up."""
        cached = queried = 0
        for outcome in self._replicas:
            if outcome.caches_prefixes:
                _, looked_up, found, _ = self._resumptions(outcome)
                cached += int(found.sum())
                queried += int(looked_up.sum())
        return cached, queried

    @property
    def recomputed_tokens(self) -> int:
        """Tokens that were computed before a preemption and again after it."""
        return sum(int(self._resumptions(outcome)[3].sum()) for outcome in self._replicas)

    def _resumptions(self, outcome: ReplicaOutcome) -> NDArray[np.int64]:
        resumptions = outcome.resumptions
        return resumptions[np.isin(resumptions[:, 0], self._rows)].T

    @property
    def num_preemptions(self) -> int:
        """Number of preemptions by the schedulers; a restart after the failure of a replica is not counted."""
        preempted = np.concatenate([replica.preemptions[:, 0] for replica in self._replicas])
        return int(np.isin(preempted, self._rows).sum())

    def slo(self, targets: Mapping[str, SLOTargets | Mapping[str, Any]] | None = None) -> SLOReport:
        """Compare the requests with the targets of their SLO class.

        Parameters
        ----------
        targets : mapping of str to SLOTargets or mapping, optional
            Targets by SLO class, in place of `slo` of the scenario.

        Raises
        ------
        ScenarioError
            If there are no targets, a target is invalid, or no request of the run can have such a class.
        """
        return SLOReport(self._judged.judgement(targets).take(self._rows), start=self._start, end=self._end)

    @cached_property
    def slo_if_any(self) -> SLOReport | None:
        """What `slo` returns; None if the scenario has no targets."""
        return self.slo() if self._record.scenario.slo else None

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
            If there is no such metric, it is defined for a whole run only, or the scenario lacks a setting that it
            needs.
        """
        metric = get_metric(name)
        if metric.scope == "run":
            raise ScenarioError.at("metric", "is defined for a whole run only", name)
        metric.check_settings(self._record.scenario)
        return metric.value(self)

    @property
    def summary(self) -> dict[str, float]:
        """All metrics in common use that are defined for a subset, by name."""
        return {name: metric.value(self) for name, metric in known_metrics().items() if metric.scope == "requests"}

    def __repr__(self) -> str:
        return (
            f"<RequestSubset: {len(self._rows)} requests, {self.metric('completed'):.0f} completed, "
            f"mean TTFT {self.metric('ttft_mean_ms'):.3f} ms, mean E2E {self.metric('e2e_mean_ms'):.3f} ms>"
        )


def _checked_mask(mask: Any, count: int) -> NDArray[np.bool_]:
    """Return a copy of a mask of `count` requests as an array."""
    rule = f"must be one boolean for each of the {count:,} requests"
    if hasattr(mask, "to_numpy") and hasattr(mask, "sort_index"):  # a Series may be of a sorted data frame
        mask = mask.sort_index()
        if mask.index.tolist() != list(range(count)):
            raise ScenarioError.at("mask", rule, f"a Series of {len(mask):,} with another index")
        if mask.dtype == "boolean":
            mask = mask.to_numpy(dtype=np.bool_, na_value=False)
    try:
        array = np.array(mask)
    except ValueError:  # of nested lists of different lengths
        raise ScenarioError.at("mask", rule, mask) from None
    if array.dtype != np.bool_:
        raise ScenarioError.at("mask", rule, f"an array of {array.dtype}", hint="requests['ttft_us'] > 200_000")
    if array.shape != (count,):
        raise ScenarioError.at("mask", rule, f"an array of shape {array.shape}")
    return array


def _checked(label: str, value: Any, kind: str) -> Any:
    """Return the value to look for in a column of the request table; `kind` is numpy's code of the column's type."""
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
