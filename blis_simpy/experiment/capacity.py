"""Capacity: the largest rate or number of users, or the fewest replicas, that meets a service level."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from blis_simpy.display.text_table import TextColumn, TextTable
from blis_simpy.errors import ScenarioError
from blis_simpy.experiment.capacity_search import CapacitySearch, Probe
from blis_simpy.experiment.findings import ExperimentFindings
from blis_simpy.experiment.measurement import Metrics
from blis_simpy.experiment.number_format import (
    check_count,
    check_fraction,
    format_interval,
    format_number,
    format_percent,
)
from blis_simpy.experiment.runner import Runner
from blis_simpy.experiment.service_level import Limit
from blis_simpy.workload.users import UserWorkload

if TYPE_CHECKING:
    from typing import Unpack

    from numpy.typing import NDArray

    from blis_simpy.experiment.runner import Options
    from blis_simpy.scenario import Scenario

__all__ = ["VARIED", "Capacity", "capacity"]

VARIED = ("workload.rate", "workload.users", "replicas")
"""Settings that can be searched."""

_PERCENTILE = re.compile(r"_p([0-9.]+)_ms")
_LEAST_BEYOND = 10
"""Requests beyond a percentile in a run, without which the mean of its estimates is biased."""
_LEAST_WINDOW = 10
"""Multiple of the mean E2E that arrivals last in runs that show whether a queue grows."""
_COARSE = 1.5
"""Multiple of the requested resolution from which the answer states the one that was reached."""


@attrs.frozen(kw_only=True, repr=False)
class Capacity(ExperimentFindings):
    """The largest rate or number of users, or the smallest number of replicas, that meets a service level.

    Attributes
    ----------
    value : float or None
        The capacity; None if no value was confirmed.
    vary : str
        Setting that was varied.
    limits : list of Limit
        The service level.
    confidence : float, fraction
        Confidence that the service level is met at `value`.
    misses_at : float or None
        Nearest value that clearly misses it; None if none did. Values in between are not decided.
    monotone : bool
        Whether no value met the service level beyond one that misses it; if one did, the capacity may be larger.
    probes : list of Probe
        All values that were simulated, in order.
    requested_resolution : float, fraction
        Resolution that was asked for.
    """

    _kind = "capacity"
    _default_plot = "probes"

    value: float | None
    vary: str
    limits: list[Limit]
    confidence: float
    misses_at: float | None
    monotone: bool
    probes: list[Probe]
    requested_resolution: float

    @property
    def decided(self) -> bool:
        """Whether a value was confirmed."""
        return self.value is not None

    @property
    def resolution(self) -> float:
        """Ratio, minus 1, of the nearest rate that clearly misses the service level to the capacity; inf if none did.

        It is larger than the requested one where the replications do not decide the rates in between.
        """
        if self.value is None or self.misses_at is None:
            return math.inf
        return max(self.value, self.misses_at) / min(self.value, self.misses_at) - 1

    @property
    def _more_is_harder(self) -> bool:
        return self.vary != "replicas"

    def __str__(self) -> str:
        level = " and ".join(map(str, self.limits))
        edge = f"largest {self.vary}" if self._more_is_harder else "smallest number of replicas"
        if self.value is None:
            if any(probe.outcome != "misses" for probe in self.probes):
                text = f"not decided: no {self.vary} was confirmed to meet {level}; more replications may help"
            elif len({probe.value for probe in self.probes}) == 1:
                text = f"{self.vary} = {format_number(self.probes[0].value)} does not meet {level}"
            else:
                text = f"no {self.vary} from {self._range()} meets {level}"
            return text + self._short_start()
        confidence = format_percent(self.confidence, 4)
        text = f"{edge} that meets {level} with {confidence} confidence: {format_number(self.value)}"
        if self.misses_at is not None:
            text += f"; at {format_number(self.misses_at)} it is missed"
            if self._more_is_harder and self.resolution > _COARSE * self.requested_resolution:
                text += (
                    f" (resolution {format_percent(self.resolution)} instead of "
                    f"{format_percent(self.requested_resolution)}: more replications narrow it)"
                )
        elif self._more_is_harder or self.value > 1:
            text += f"; no probe from {self._range()} clearly misses it"
        if not self.monotone:
            text += "; not monotone: it is also met beyond a value at which it is missed, see the probes"
        served = next(probe.served for probe in reversed(self.probes) if probe.value == self.value)
        if served < 1:
            text += f"; {format_percent(1 - served)} of the requests did not complete and have no latency"
        return text + self._few_requests() + self._short_start()

    def _short_start(self) -> str:
        """Say so if a queue seems to grow at the nearest miss, but the runs are short beside the E2E of requests."""
        order = sorted(self.probes, key=lambda probe: probe.value, reverse=not self._more_is_harder)
        missed = next((probe for probe in order if not probe.stationary), None)
        if missed is None or (self.value is not None and missed.value != self.misses_at):
            return ""
        runs = missed.replications
        arriving_s = runs.mean("requests") / runs.mean("offered_requests_per_s")
        # Where a queue grows, E2E does as well; at the easiest value it is closest to that of a stationary run.
        times = 1000 * arriving_s / order[0].replications.mean("e2e_mean_ms")
        if not times < _LEAST_WINDOW:
            return ""
        return (
            f"; short runs: at {format_number(missed.value)}, requests arrive for {format_number(arriving_s)} s, "
            f"{format_number(times)} times the mean E2E; {format_number(_LEAST_WINDOW)} times or more show whether a "
            "queue grows"
        )

    def _few_requests(self) -> str:
        """Say so if a percentile of the service level has too few requests beyond it."""
        answer = next(probe for probe in reversed(self.probes) if probe.value == self.value)
        requests = answer.replications.mean("requests")
        shares = [(limit.metric, match[1]) for limit in self.limits if (match := _PERCENTILE.search(limit.metric))]
        for metric, percent in shares:
            beyond = requests * (1 - float(percent) / 100)
            if beyond < _LEAST_BEYOND:
                return (
                    f"; short runs: {format_number(beyond)} of {format_number(requests)} requests are beyond {metric}, "
                    f"{_LEAST_BEYOND} or more make it reliable"
                )
        return ""

    def _range(self) -> str:
        values = [probe.value for probe in self.probes]
        return f"{format_number(min(values))} to {format_number(max(values))}"

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One row per probe: value, outcome, and each metric of the service level as ``_mean``, ``_low``, ``_high``."""
        answer = self.probes[-1] if self.decided else None  # the search ends with the confirmed value
        rows = []
        for probe in self.probes:
            row: dict[str, Any] = {
                self.vary: probe.value,
                "purpose": probe.purpose,
                "outcome": probe.outcome,
                "replications": len(probe.replications),
                "completed_share": probe.served,
                "ttft_growth": probe.ttft_growth,
                "backlog_growth": probe.backlog_growth,
                "stationary": probe.stationary,
            }
            for metric, (low, high) in probe.bounds.items():
                row |= {f"{metric}_mean": probe.replications.mean(metric), f"{metric}_low": low, f"{metric}_high": high}
            rows.append({**row, "confidence": probe.confidence, "is_answer": probe is answer})
        return rows

    @property
    def runs(self) -> dict[str, NDArray[Any]]:
        """One row per run as columns: the value that was varied, and the columns of `Replications.runs`.

        A run that two probes of the same value share is listed once.
        """
        runs = [probe.replications for probe in self.probes]
        values = np.repeat([probe.value for probe in self.probes], [len(replications) for replications in runs])
        tables = [replications.runs for replications in runs]
        columns = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
        first: dict[tuple[float, int], int] = {}
        for place, run in enumerate(zip(values.tolist(), columns["seed"].tolist(), strict=True)):
            first.setdefault(run, place)
        kept = list(first.values())
        return {self.vary: values[kept], **{name: column[kept] for name, column in columns.items()}}

    def table(self) -> TextTable:
        """Return the probes, in order."""
        columns = [
            TextColumn(self.vary),
            TextColumn("purpose", align="left"),
            *(TextColumn(f"{limit}", align="right") for limit in self.limits),
            TextColumn("replications"),
            TextColumn("completed"),
            TextColumn("outcome", align="left"),
        ]
        rows = [
            (
                format_number(probe.value),
                probe.purpose,
                *(
                    format_interval(probe.replications.mean(limit.metric), *probe.bounds[limit.metric])
                    for limit in self.limits
                ),
                len(probe.replications),
                format_percent(probe.served),
                probe.outcome if probe.stationary else "misses: not stationary",
            )
            for probe in self.probes
        ]
        return TextTable(columns, rows, title=str(self))


def capacity(
    scenario: Scenario,
    slo: Mapping[str, float | str],
    *,
    vary: str | None = None,
    low: float | None = None,
    high: float | None = None,
    resolution: float = 0.02,
    replications: int = 10,
    confidence: float = 0.95,
    seed: int | None = None,
    **options: Unpack[Options],
) -> Capacity:
    """Search the largest rate or number of users, or the fewest replicas, that meets a service level.

    Parameters
    ----------
    scenario : Scenario
        The settings that do not change. Its runs must be long enough for the queue of an overloaded replica to grow;
        where the rate is searched, runs at a higher rate than the scenario's have more requests, to last as long; with
        more users likewise.
    slo : mapping of str to float or str
        Limits of the means of metrics over replications, all of which must be met: ``{"ttft_p99_ms": 200}``; for the
        other direction text, such as ``{"share_in_time": ">= 0.95"}``.
    vary : {"workload.rate", "workload.users", "replicas"}
        Setting to search; default is the number of users of closed-loop users, and the rate of any other workload.
    low, high : float, optional
        Bounds of the search; default is to search outwards from the scenario's value by factors of two.
    resolution : float, fraction
        Largest ratio, minus 1, of the rates between which the search stops.
    replications : int
        Number of runs of each value, at least 2; up to four times as many where these leave the outcome unclear, and
        twice as many for the confirmation.
    confidence : float, fraction
        Confidence that the service level is met at the value.
    seed : int, optional
        Seed of the experiment; default is that of the scenario.
    **options
        Options of all experiments, see `blis_simpy.experiment.runner.Options`.

    Returns
    -------
    Capacity
        The value, and all probes.

    Raises
    ------
    ScenarioError
        If the scenario cannot be simulated or a parameter is wrong.
    PluginError
        If a plug-in cannot be pickled for the workers, or the function of a metric does not return a number.

    Notes
    -----
    A value at which TTFT or the number of requests in the system clearly grows within the runs counts as a miss,
    whatever the limits: longer runs would have higher latencies. The rule is `blis_simpy.results.stationarity`. The
    search assumes that more load, or fewer replicas, never improves a metric of the service level;
    `Capacity.monotone` is False if the probes contradict that. See `blis_simpy.experiment.capacity_search` for the
    procedure.

    Examples
    --------
    >>> scenario = Scenario(model="qwen/qwen3-14b", hardware="H100", tp=1, workload=Workload(num_requests=100))
    >>> found = capacity(
    ...     scenario, {"e2e_mean_ms": 10_000}, low=1, high=4, resolution=0.2, replications=3, executor="serial"
    ... )
    >>> found.decided, found.value
    (True, 4)
    """
    if vary is None:
        vary = "workload.users" if isinstance(scenario.workload, UserWorkload) else "workload.rate"
    if vary not in VARIED:
        raise ScenarioError.at("vary", f"must be one of {', '.join(VARIED)}", vary)
    if not slo:
        raise ScenarioError.at("slo", "must not be empty")
    replications = check_count("replications", replications, 2)
    confidence = check_fraction("confidence", confidence)
    resolution = check_fraction("resolution", resolution)
    if not isinstance(slo, Mapping):
        raise ScenarioError.at("slo", "must be a mapping of metrics to limits", slo, hint='{"ttft_p99_ms": 200}')
    limits = [Limit.of(metric, limit) for metric, limit in slo.items()]
    metrics = Metrics.of(options.get("metrics"))
    options["metrics"] = {**dict.fromkeys((*(limit.metric for limit in limits), *metrics.names)), **metrics.functions}
    with Runner(**options) as runner:
        search = CapacitySearch(
            scenario=scenario,
            limits=limits,
            vary=vary,
            resolution=resolution,
            replications=replications,
            confidence=confidence,
            seed=scenario.seed if seed is None else seed,
            runner=runner,
        )
        value = search.run(low, high)
    return Capacity(
        value=value,
        vary=vary,
        limits=limits,
        confidence=confidence,
        misses_at=search.misses_at(value),
        monotone=search.is_monotone,
        probes=search.probes,
        requested_resolution=resolution,
    )
