"""How much a deployment carries, or how many replicas it takes, within a service level.

First a search, then a proof. The search narrows down by bisection where the limit is, from replications with the same
seeds at every value. What it arrives at has been chosen for its figures, which are therefore a little too good; so it
is confirmed with new seeds, and what is not confirmed gives way to the next, safer value. Each attempt may err with
half of the probability of the one before, so that all together keep to the confidence that is stated.
"""

from __future__ import annotations

import math
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, cast

import attrs

from blis_simpy.display.text_table import TextColumn, TextTable
from blis_simpy.errors import ScenarioError
from blis_simpy.experiment.design_points import changed_scenario
from blis_simpy.experiment.findings import ExperimentFindings
from blis_simpy.experiment.measurement import Measurement, Metrics
from blis_simpy.experiment.number_format import check_count, check_fraction, figure, percent
from blis_simpy.experiment.replications import Replications
from blis_simpy.experiment.runner import Job, Runner
from blis_simpy.experiment.seeds import replication_seeds
from blis_simpy.experiment.statistics import one_sided_bounds
from blis_simpy.results.metrics import higher_is_better
from blis_simpy.scenario import Scenario
from blis_simpy.workload.settings import Workload

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Unpack

    from blis_simpy.experiment.runner import Options
    from blis_simpy.workload.workload_spec import WorkloadSpec

__all__ = ["Capacity", "Limit", "Probe", "capacity"]

Outcome = Literal["meets", "misses", "unclear"]

_MOST_DOUBLINGS = 10
_ATTEMPTS = 5
# Times the replications asked for, where these leave it unclear on which side of the limit a value is.
_MOST_REPLICATIONS = 4
_LIMIT = re.compile(r"\s*(<=|>=)\s*([+-]?[0-9.]+(?:e[+-]?[0-9]+)?)\s*", re.IGNORECASE)


@attrs.frozen
class Limit:
    """One promise of a service level, about the mean over replications.

    Attributes
    ----------
    metric : str
        Which.
    value : float
        Limit, which may be reached.
    at_least : bool
        Whether it is a lower limit.
    """

    metric: str
    value: float
    at_least: bool = False

    @classmethod
    def of(cls, metric: str, limit: Any) -> Limit:
        """Read a limit: a number, or text such as ``<= 200`` or ``>= 0.95``.

        A number is a lower limit of rates, completed requests and cache hits, else an upper one.

        Raises
        ------
        ScenarioError
            If it is none.
        """
        at_least, value = higher_is_better(metric), limit
        if isinstance(limit, str) and (match := _LIMIT.fullmatch(limit)):
            with suppress(ValueError):  # 1.2.3
                at_least, value = match[1] == ">=", float(match[2])
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ScenarioError.at(f"slo[{metric!r}]", "must be a number, or text such as '<= 200'", limit)
        return cls(metric, float(value), at_least)

    def judge(self, bounds: tuple[float, float]) -> Outcome:
        """Say whether a mean between two bounds is within the limit."""
        low, high = bounds if not self.at_least else (-bounds[1], -bounds[0])
        limit = -self.value if self.at_least else self.value
        return "meets" if high <= limit else "misses" if low > limit or math.isnan(low) else "unclear"

    def __str__(self) -> str:
        return f"{self.metric} {'>=' if self.at_least else '<='} {figure(self.value)}"


@attrs.frozen(kw_only=True)
class Probe:
    """One value that was tried.

    Attributes
    ----------
    value : float
        Rate or number of replicas.
    purpose : {"search", "confirm"}
        Why.
    outcome : {"meets", "misses", "unclear"}
        What the bounds say.
    bounds : dict of str to (float, float)
        Lower and upper bound of each metric of the service level, each at `confidence`.
    confidence : float, fraction
        Of the bounds.
    served : float, fraction
        Share of the requests that completed.
    replications : Replications
        Its figures.
    """

    value: float
    purpose: Literal["search", "confirm"]
    outcome: Outcome
    bounds: dict[str, tuple[float, float]]
    confidence: float
    served: float
    replications: Replications


@attrs.frozen(kw_only=True, repr=False)
class Capacity(ExperimentFindings):
    """The largest rate, or the smallest number of replicas, that meets a service level.

    Attributes
    ----------
    value : float or None
        It; None if none was confirmed.
    vary : str
        Setting that was varied.
    limits : list of Limit
        The service level.
    confidence : float, fraction
        That the service level holds at `value`.
    misses_at : float or None
        Nearest value that clearly misses it; None if none did. What lies between is not decided.
    monotone : bool
        Whether no value was found to meet it beyond one that misses it. Where that is not so, a larger capacity may
        exist.
    probes : list of Probe
        All values that were tried, in order.
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

    @property
    def decided(self) -> bool:
        """Whether a value was confirmed."""
        return self.value is not None

    @property
    def _more_is_harder(self) -> bool:
        return self.vary != "replicas"

    def __str__(self) -> str:
        level = " and ".join(map(str, self.limits))
        edge = f"largest {self.vary}" if self._more_is_harder else "smallest number of replicas"
        if self.value is None:
            if all(probe.outcome == "misses" for probe in self.probes):
                if len({probe.value for probe in self.probes}) == 1:
                    return f"{self.vary} = {figure(self.probes[0].value)} does not meet {level}"
                return f"no {self.vary} from {self._range()} meets {level}"
            return f"not decided: no {self.vary} was confirmed to meet {level}; more replications may help"
        text = f"{edge} that meets {level} with {percent(self.confidence, 4)} confidence: {figure(self.value)}"
        if self.misses_at is not None:
            text += f"; at {figure(self.misses_at)} it is missed"
        elif self._more_is_harder or self.value > 1:
            text += f"; none of those tried, from {self._range()}, clearly misses it"
        if not self.monotone:
            text += "; but it was met beyond a value at which it was missed: look at the probes"
        served = next(probe.served for probe in reversed(self.probes) if probe.value == self.value)
        if served < 1:
            text += f"; {percent(1 - served)} of the requests did not complete, and count in no latency"
        return text

    def _range(self) -> str:
        values = [probe.value for probe in self.probes]
        return f"{figure(min(values))} to {figure(max(values))}"

    def table(self) -> TextTable:
        """Return the values that were tried, in order."""
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
                figure(probe.value),
                probe.purpose,
                *(
                    f"{figure(probe.replications.mean(limit.metric))} [{figure(low)}, {figure(high)}]"
                    for limit in self.limits
                    for low, high in (probe.bounds[limit.metric],)
                ),
                len(probe.replications),
                percent(probe.served),
                probe.outcome,
            )
            for probe in self.probes
        ]
        return TextTable(columns, rows, title=str(self))


def capacity(
    scenario: Scenario,
    slo: Mapping[str, float | str],
    *,
    vary: str = "workload.rate",
    low: float | None = None,
    high: float | None = None,
    resolution: float = 0.02,
    replications: int = 10,
    confidence: float = 0.95,
    seed: int | None = None,
    **options: Unpack[Options],
) -> Capacity:
    """Search the largest rate, or the smallest number of replicas, that meets a service level.

    Parameters
    ----------
    scenario : Scenario
        What does not change. Runs must be long enough to show an overload: a queue that grows needs time to.
    slo : mapping of str to float or str
        Limits of the means of metrics over replications, all of which must hold: ``{"ttft_p99_ms": 200}``; for the
        other direction text, such as ``{"share_in_time": ">= 0.95"}``.
    vary : {"workload.rate", "replicas"}
        What to search. The rate may be that of a workload specification.
    low, high : float, optional
        Where to search. Unless given, outwards from the scenario's own value, by factors of two.
    resolution : float, fraction
        How near to the limit a rate is wanted.
    replications : int
        Runs of each value, at least 2; up to four times as many where these leave it unclear, and twice as many to
        confirm.
    confidence : float, fraction
        That the service level holds at the value found.
    seed : int, optional
        Seed of the experiment; that of the scenario unless given.
    **options
        How to carry it out, see `blis_simpy.experiment.runner.Options`.

    Returns
    -------
    Capacity
        The value, and all that were tried.

    Raises
    ------
    ScenarioError
        If the scenario cannot be simulated or a parameter is wrong.
    PluginError
        If a plug-in cannot be sent to where the work is done, or a metric of yours returns no number.

    Notes
    -----
    A larger rate, or fewer replicas, is supposed to be harder throughout; `Capacity.monotone` tells whether what was
    tried contradicts that.

    Examples
    --------
    >>> scenario = Scenario(
    ...     model="qwen/qwen3-14b", hardware="H100", tp=1, workload=Workload(num_requests=100, arrivals="poisson")
    ... )
    >>> found = capacity(
    ...     scenario, {"ttft_p99_ms": 70}, low=1, high=64, resolution=0.2, replications=3, executor="serial"
    ... )
    >>> found.decided and found.value < 64
    True
    """
    if vary not in ("workload.rate", "replicas"):
        raise ScenarioError.at("vary", "must be one of workload.rate, replicas", vary)
    if not slo:
        raise ScenarioError.at("slo", "must not be empty")
    check_count("replications", replications, 2)
    check_fraction("confidence", confidence)
    check_fraction("resolution", resolution)
    limits = [Limit.of(metric, limit) for metric, limit in slo.items()]
    metrics = Metrics.of(options.get("metrics"))
    options["metrics"] = {**dict.fromkeys((*(limit.metric for limit in limits), *metrics.names)), **metrics.functions}
    with Runner(**options) as runner:
        search = _Search(
            scenario=scenario,
            limits=limits,
            vary=vary,
            resolution=resolution,
            replications=replications,
            confidence=confidence,
            seed=scenario.seed if seed is None else seed,
            runner=runner,
        )
        return search.run(low, high)


@attrs.define(kw_only=True)
class _Search:
    """The probes so far. Values are seen as loads: a larger one is harder, which for replicas is a smaller number."""

    scenario: Scenario
    limits: list[Limit]
    vary: str
    resolution: float
    replications: int
    confidence: float
    seed: int
    runner: Runner
    probes: list[Probe] = attrs.field(factory=list)
    measured: dict[tuple[float, int], Measurement] = attrs.field(factory=dict)

    @property
    def _whole(self) -> bool:
        return self.vary == "replicas"

    def run(self, low: float | None, high: float | None) -> Capacity:
        easy, hard = self._bounds(low, high)
        good, bad = self._bracket(easy, hard)
        while good is not None and bad is not None and not self._near(good, bad):
            middle = (int(good) + int(bad)) // 2 if self._whole else math.sqrt(good * bad)
            if self._probe(middle) == "meets":
                good = middle
            else:
                bad = middle
        value = None if good is None else self._confirmed(good, easy)
        missing = [probe.value for probe in self.probes if probe.outcome == "misses"]
        meeting = [probe.value for probe in self.probes if probe.outcome == "meets"]
        harder = missing if value is None else [miss for miss in missing if self._is_harder(miss, value)]
        return Capacity(
            value=value,
            vary=self.vary,
            limits=self.limits,
            confidence=self.confidence,
            misses_at=None if value is None or not harder else (max(harder) if self._whole else min(harder)),
            monotone=not any(self._is_harder(met, miss) for met in meeting for miss in missing),
            probes=self.probes,
        )

    def _is_harder(self, one: float, other: float) -> bool:
        return one < other if self._whole else one > other

    def _near(self, good: float, bad: float) -> bool:
        return abs(good - bad) <= 1 if self._whole else bad / good <= 1 + self.resolution

    def _bounds(self, low: float | None, high: float | None) -> tuple[float | None, float | None]:
        """Check the bounds; return the easy one and the hard one."""
        for name, bound in (("low", low), ("high", high)):
            if bound is not None and self._whole:
                check_count(name, bound, 1)
            elif bound is not None and not (isinstance(bound, int | float) and 0 < bound < math.inf):
                raise ScenarioError.at(name, "must be a number > 0", bound)
        if low is not None and high is not None and not low < high:
            raise ScenarioError.at("high", f"must be > low ({low})", high)
        return (high, low or 1) if self._whole else (low, high)

    def _bracket(self, easy: float | None, hard: float | None) -> tuple[float | None, float | None]:
        """Find a value that meets the level and a harder one that does not, as far as the bounds have such."""
        start = self._own_value() if easy is None else easy
        if hard is not None and self._is_harder(start, hard):
            start = hard
        meets = self._probe(start) == "meets"
        if not meets and easy is not None:
            return None, start
        before = start
        for value in self._outwards(start, hard if meets else None, harder=meets):
            if (self._probe(value) == "meets") != meets:
                return (before, value) if meets else (value, before)
            before = value
        return (before, None) if meets else (None, before)

    def _outwards(self, start: float, bound: float | None, *, harder: bool) -> Iterator[float]:
        """Go to the bound, or double or halve."""
        if bound is not None:
            if start != bound:
                yield bound
            return
        value = start
        for _ in range(_MOST_DOUBLINGS):
            value = value * 2 if harder or self._whole else value / 2
            yield value

    def _own_value(self) -> float:
        if self._whole:
            return self.scenario.replicas
        workload = self.scenario.workload
        if workload is None:
            raise ScenarioError.at("workload", "must be given")
        if isinstance(workload, Workload):
            return workload.rate
        rate: float = cast("WorkloadSpec", workload).with_clients_listed().aggregate_rate
        return rate

    def _probe(self, value: float) -> Outcome:
        count = self.replications
        while True:
            probe = self._measured(value, replication_seeds(self.seed, count), self.confidence, "search")
            if probe.outcome != "unclear" or 2 * count > _MOST_REPLICATIONS * self.replications:
                self.probes.append(probe)
                return probe.outcome
            count *= 2

    def _confirmed(self, value: float, easy: float | None) -> float | None:
        """Confirm a value, or an easier one, with seeds that had no part in choosing it."""
        first = _MOST_REPLICATIONS * self.replications
        for attempt in range(1, _ATTEMPTS + 1):
            allowed = (1 - self.confidence) / 2**attempt
            seeds = replication_seeds(self.seed, 2 * self.replications, start=first)
            probe = self._measured(value, seeds, 1 - allowed, "confirm")
            self.probes.append(probe)
            if probe.outcome == "meets":
                return value
            first += len(seeds)
            value = int(value) + 1 if self._whole else value / (1 + self.resolution * 2 ** (attempt - 1))
            if easy is not None and self._is_harder(easy, value):
                return None
        return None

    def _measured(
        self, value: float, seeds: list[int], confidence: float, purpose: Literal["search", "confirm"]
    ) -> Probe:
        changed = changed_scenario(self.scenario, {self.vary: value})
        name = f"{self.vary}={figure(value)}"
        new = [seed for seed in seeds if (value, seed) not in self.measured]
        found = self.runner.run([Job(changed, seed, label=name) for seed in new], f"{purpose}ing {name}")
        self.measured |= {(value, seed): measurement for seed, measurement in zip(new, found, strict=True)}
        found = [self.measured[value, seed] for seed in seeds]
        runs = Replications(changed, seeds, found, metrics=self.runner.metrics.names, confidence=self.confidence)
        bounds = {limit.metric: one_sided_bounds(runs.values(limit.metric), confidence) for limit in self.limits}
        outcomes = [limit.judge(bounds[limit.metric]) for limit in self.limits]
        outcome: Outcome = "meets"
        if any(found != "meets" for found in outcomes):
            outcome = "misses" if "misses" in outcomes else "unclear"
        requests = float(runs.values("requests").sum())
        return Probe(
            value=value,
            purpose=purpose,
            outcome=outcome,
            bounds=bounds,
            confidence=confidence,
            served=float(runs.values("completed").sum()) / requests if requests else 1.0,
            replications=runs,
        )
