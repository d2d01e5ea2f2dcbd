"""Search for a capacity: bisection with common seeds, then confirmation with new ones.

The value that bisection finds was selected for its figures, which are therefore biased. It is confirmed with new seeds;
if that fails, the next safer value is tried. Each attempt may fail with half of the error probability of the one
before, so that all together keep the stated confidence.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import attrs
import numpy as np

from blis_simpy.errors import ScenarioError
from blis_simpy.experiment.design_points import changed_scenario
from blis_simpy.experiment.intervals import one_sided_bounds
from blis_simpy.experiment.measurement import Measurement
from blis_simpy.experiment.number_format import check_count, check_number, format_number
from blis_simpy.experiment.replications import Replications
from blis_simpy.experiment.runner import Job, Runner
from blis_simpy.experiment.seeds import replication_seeds
from blis_simpy.experiment.service_level import Compliance, Limit
from blis_simpy.plain_values import plain
from blis_simpy.results.stationarity import mean_growth, queue_grows
from blis_simpy.scenario import Scenario
from blis_simpy.workload.settings import Workload
from blis_simpy.workload.users import UserWorkload
from blis_simpy.workload.workload_spec import WorkloadSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CapacitySearch", "Probe"]

_MOST_DOUBLINGS = 10
_ATTEMPTS = 5
# Of a rate that is not confirmed: a finer resolution than the replications decide must not use up the attempts.
_LEAST_STEP = 0.02
# Multiple of the requested replications where these leave unclear whether a value meets the service level.
_MOST_REPLICATIONS = 4


@attrs.frozen(kw_only=True)
class Probe:
    """One value that was simulated.

    Attributes
    ----------
    value : float
        Rate, or number of users or replicas.
    purpose : {"search", "confirm"}
        Part of the procedure.
    outcome : {"meets", "misses", "unclear"}
        Position of the bounds relative to the limits.
    bounds : dict of str to (float, float)
        Lower and upper bound of each metric of the service level, each at `confidence`.
    confidence : float, fraction
        Confidence of the bounds.
    served : float, fraction
        Share of the requests that completed.
    ttft_growth, backlog_growth : float, fraction
        Mean trends within the runs, see `blis_simpy.results.stationarity`; NaN if runs are too short to say.
    stationary : bool
        Whether the runs do not show that a queue grows. A value at which one grows misses the service level: longer
        runs would have higher latencies.
    replications : Replications
        Figures at this value.
    """

    value: float
    purpose: Literal["search", "confirm"]
    outcome: Compliance
    bounds: dict[str, tuple[float, float]]
    confidence: float
    served: float
    ttft_growth: float
    backlog_growth: float
    stationary: bool
    replications: Replications

    def mean(self, metric: str) -> float:
        """Return the mean of a metric over the replications."""
        return self.replications.mean(metric)


@attrs.define(kw_only=True)
class CapacitySearch:
    """The probes of a search.

    A value is harder than another if it is a higher rate, more users, or fewer replicas.
    """

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
        return self.vary != "workload.rate"

    @property
    def _more_is_harder(self) -> bool:
        return self.vary != "replicas"

    def run(self, low: float | None, high: float | None) -> float | None:
        """Search between two bounds; return the confirmed value, None if there is none."""
        easy, hard = self._bounds(low, high)
        good, bad = self._bracket(easy, hard)
        while good is not None and bad is not None and not self._near(good, bad):
            middle = (int(good) + int(bad)) // 2 if self._whole else math.sqrt(good * bad)
            if self._probe(middle) == "meets":
                good = middle
            else:
                bad = middle
        return None if good is None else self._confirmed(good, easy)

    def misses_at(self, value: float | None) -> float | None:
        """Return the harder value nearest to the confirmed one that misses the service level; None if none did."""
        if value is None:
            return None
        harder = [miss for miss in self._values("misses") if self._is_harder(miss, value)]
        if not harder:
            return None
        return min(harder) if self._more_is_harder else max(harder)

    @property
    def is_monotone(self) -> bool:
        """Whether no value met the service level that is harder than one that missed it."""
        return not any(self._is_harder(met, miss) for met in self._values("meets") for miss in self._values("misses"))

    def _values(self, outcome: Compliance) -> list[float]:
        return [probe.value for probe in self.probes if probe.outcome == outcome]

    def _is_harder(self, one: float, other: float) -> bool:
        return one > other if self._more_is_harder else one < other

    def _near(self, good: float, bad: float) -> bool:
        is_fine = self._more_is_harder and bad / good <= 1 + self.resolution
        return is_fine or (self._whole and abs(good - bad) <= 1)

    def _bounds(self, low: float | None, high: float | None) -> tuple[float | None, float | None]:
        """Check the bounds; return the easier and the harder one."""
        for name, bound in (("low", low), ("high", high)):
            if bound is None:
                continue
            if self._whole:
                check_count(name, bound, 1)
            elif check_number(name, bound, "must be a number > 0") <= 0:
                raise ScenarioError.at(name, "must be a number > 0", plain(bound))
        low, high = plain(low), plain(high)
        if low is not None and high is not None and not low < high:
            raise ScenarioError.at("high", f"must be > low ({low})", high)
        return (low, high) if self._more_is_harder else (high, low or 1)

    def _bracket(self, easy: float | None, hard: float | None) -> tuple[float | None, float | None]:
        """Find a value that meets the service level and a harder one that does not, if there are such in the bounds."""
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
        """Yield the bound; without one, double or halve the value."""
        if bound is not None:
            if start != bound:
                yield bound
            return
        value = start
        for _ in range(_MOST_DOUBLINGS):
            up = harder == self._more_is_harder
            value = value * 2 if up else value // 2 if self._whole else value / 2
            if value < 1 and self._whole:
                return
            yield value

    def _own_value(self) -> float:
        if self.vary == "replicas":
            return self.scenario.replicas
        workload = self.scenario.workload
        if self.vary == "workload.users":
            users = workload.users if isinstance(workload, UserWorkload) else None
            if users is None:
                hint = "blis_simpy.UserWorkload(users=...), without stages"
                raise ScenarioError.at("vary", "needs a workload of closed-loop users", self.vary, hint=hint)
            return users
        if workload is None:
            raise ScenarioError.at("workload", "must be given")
        return workload.mean_rate()

    def _probe(self, value: float) -> Compliance:
        count = self.replications
        while True:
            probe = self._measured(value, replication_seeds(self.seed, count), self.confidence, "search")
            if probe.outcome != "unclear":
                self.probes.append(probe)
                return probe.outcome
            if 2 * count > _MOST_REPLICATIONS * self.replications:
                self.probes.append(probe)
                # The means decide where to search on: counting it as a miss would lower every answer. Only the
                # confirmation decides what is answered.
                means = [limit.judge((mean, mean)) for limit in self.limits for mean in [probe.mean(limit.metric)]]
                return "meets" if all(found == "meets" for found in means) else "misses"
            count *= 2

    def _confirmed(self, value: float, easy: float | None) -> float | None:
        """Confirm a value, or an easier one, with seeds that were not used to select it."""
        first = _MOST_REPLICATIONS * self.replications
        for attempt in range(1, _ATTEMPTS + 1):
            allowed = (1 - self.confidence) / 2**attempt
            seeds = replication_seeds(self.seed, 2 * self.replications, start=first)
            probe = self._measured(value, seeds, 1 - allowed, "confirm")
            self.probes.append(probe)
            if probe.outcome == "meets":
                return value
            first += len(seeds)
            step = max(self.resolution, _LEAST_STEP) * 2 ** (attempt - 1)
            if not self._more_is_harder:
                value = int(value) + 1
            else:
                value = min(int(value / (1 + step)), value - 1) if self._whole else value / (1 + step)
            if value <= 0 or (easy is not None and self._is_harder(easy, value)):
                return None
        return None

    def _measured(
        self, value: float, seeds: list[int], confidence: float, purpose: Literal["search", "confirm"]
    ) -> Probe:
        changed = self._scenario_at(value)
        name = f"{self.vary}={format_number(value)}"
        new = [seed for seed in seeds if (value, seed) not in self.measured]
        found = self.runner.run([Job(changed, seed, label=name) for seed in new], f"{purpose}ing {name}")
        self.measured |= {(value, seed): measurement for seed, measurement in zip(new, found, strict=True)}
        found = [self.measured[value, seed] for seed in seeds]
        runs = Replications(changed, seeds, found, metrics=self.runner.metrics.names, confidence=self.confidence)
        bounds = {limit.metric: one_sided_bounds(runs.values(limit.metric), confidence) for limit in self.limits}
        outcomes = [limit.judge(bounds[limit.metric]) for limit in self.limits]
        outcome: Compliance = "meets"
        if any(found != "meets" for found in outcomes):
            outcome = "misses" if "misses" in outcomes else "unclear"
        # Chosen by no figure of the service level, the runs of the search count in the confirmation as well.
        trends = [measurement.stationarity for (at, _), measurement in self.measured.items() if at == value]
        stationary = not queue_grows(trends)
        if not stationary:
            outcome = "misses"
        requests = float(runs.values("requests").sum())
        return Probe(
            value=value,
            purpose=purpose,
            outcome=outcome,
            bounds=bounds,
            confidence=confidence,
            served=float(runs.values("completed").sum()) / requests if requests else 1.0,
            ttft_growth=mean_growth(np.array([trend.ttft_growth for trend in trends])),
            backlog_growth=float(np.mean([trend.backlog_growth for trend in trends])),
            stationary=stationary,
            replications=runs,
        )

    def _scenario_at(self, value: float) -> Scenario:
        """Return the scenario at a value; more load has more requests, so that runs last as long."""
        changed = changed_scenario(self.scenario, {self.vary: value})
        workload = changed.workload
        if self.vary == "replicas" or not isinstance(workload, Workload | WorkloadSpec | UserWorkload):
            return changed
        if not workload.num_requests:
            return changed
        longer = math.ceil(workload.num_requests * value / self._own_value())
        return changed.with_(**{"workload.num_requests": max(workload.num_requests, longer)})
