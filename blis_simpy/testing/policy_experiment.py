"""Objects that the fixtures return: policy experiments with assertions, and single runs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy.errors import BlisError, PluginError, ScenarioError
from blis_simpy.experiment.comparison import compare
from blis_simpy.experiment.fingerprint import NO_IDENTITY, digest, scenario_form
from blis_simpy.results.metrics import find_metric
from blis_simpy.scenario import Scenario
from blis_simpy.testing.hypotheses import Hypothesis, Judgement, judge
from blis_simpy.testing.messages import Subject, failure_text, properties

if TYPE_CHECKING:
    from typing import Unpack

    from blis_simpy.experiment.comparison import Comparison
    from blis_simpy.experiment.runner import Options
    from blis_simpy.results.result import Result
    from blis_simpy.testing.hypotheses import Kind

__all__ = ["ExperimentOutcome", "PolicyExperiment", "Simulate"]

DEFAULT_REPLICATIONS = 20
"""Default number of replications."""

_KEPT_RESULTS = 16


@attrs.frozen(kw_only=True, repr=False)
class PolicyExperiment:
    """Compares scenarios on common random numbers; the fixture ``policy_experiment``.

    Attributes
    ----------
    command_line, defaults : dict of str to int
        Values of ``replications`` and ``seed``. Arguments of a call override the defaults, the command line overrides
        both.
    store : Path or None
        Cache folder for runs; None = no cache.
    record : callable
        Called with the properties of each verdict.
    outcomes : list of ExperimentOutcome
        Outcomes so far.
    """

    command_line: dict[str, int]
    defaults: dict[str, int]
    store: Path | None
    record: Callable[[Mapping[str, Any]], None]
    outcomes: list[ExperimentOutcome] = attrs.field(factory=list, init=False)

    def __call__(
        self,
        scenarios: Mapping[str, Scenario] | None = None,
        *,
        baseline: Scenario | str | None = None,
        candidate: Scenario | None = None,
        replications: int | None = None,
        seed: int | None = None,
        **options: Unpack[Options],
    ) -> ExperimentOutcome:
        """Simulate scenarios with the same seeds.

        Parameters
        ----------
        scenarios : mapping of str to Scenario, optional
            At least two scenarios by name. Without it, `baseline` and `candidate` are compared, under these names.
        baseline : Scenario or str
            Scenario to compare the others with; with `scenarios`, its name (default: the first).
        candidate : Scenario
            Scenario to compare with the baseline; only without `scenarios`.
        replications : int, optional
            Number of runs of each scenario, at least 2. The default is the argument of the mark, else
            ``blis_replications`` in the configuration of pytest, else 20; ``--blis-replications`` overrides all.
        seed : int, optional
            Seed of the experiment. The default is the argument of the mark, else ``blis_seed`` in the configuration of
            pytest, else the seed of the baseline; ``--blis-seed`` overrides all.
        **options
            Options of all experiments, see `blis_simpy.experiment.runner.Options`. By default, runs are simulated
            serially in this process, and cached by pytest.

        Returns
        -------
        ExperimentOutcome
            The comparison, with assertions.

        Raises
        ------
        ScenarioError
            If a scenario cannot be simulated or a parameter is wrong.
        PluginError
            If a plug-in is missing or misbehaves.
        """
        __tracebackhide__ = True
        try:
            named, reference = _named(scenarios, baseline, candidate)
            count = self._chosen("replications", replications)
            start = self._chosen("seed", seed)
            comparison, not_cached = self._compare(
                named,
                baseline=reference,
                replications=DEFAULT_REPLICATIONS if count is None else count,
                seed=named[reference].seed if start is None else start,
                options=options,
            )
        except BlisError as error:
            # Raised again without the traceback of the library; the cause keeps that of a failing policy.
            raise type(error)(error.problems) from error.__cause__
        outcome = ExperimentOutcome(
            comparison,
            seed=named[reference].seed if start is None else start,
            not_cached=not_cached,
            record=self.record,
        )
        self.outcomes.append(outcome)
        return outcome

    def _chosen(self, name: str, given: int | None) -> int | None:
        return self.command_line.get(name, self.defaults.get(name) if given is None else given)

    def _compare(
        self, scenarios: dict[str, Scenario], *, baseline: str, replications: int, seed: int, options: Options
    ) -> tuple[Comparison, str]:
        """Return the comparison, and the reason if its runs were not cached."""
        settings: Options = {"executor": "serial", "store": self.store, **options}
        not_cached = ""
        try:
            return compare(scenarios, replications, baseline=baseline, seed=seed, **settings), not_cached
        except PluginError as error:
            if error.code != NO_IDENTITY or "store" in options:
                raise
            not_cached = str(error)
        settings["store"] = None
        return compare(scenarios, replications, baseline=baseline, seed=seed, **settings), not_cached


def _named(scenarios: Any, baseline: Any, candidate: Any) -> tuple[dict[str, Scenario], str]:
    """Return the scenarios by name, and the name of the baseline."""
    if scenarios is None:
        scenarios, reference = {"baseline": baseline, "candidate": candidate}, "baseline"
    else:
        if not isinstance(scenarios, Mapping) or len(scenarios) < 2:
            raise ScenarioError.at("scenarios", "must be a mapping of two names or more to scenarios", scenarios)
        if candidate is not None:
            raise ScenarioError.at("candidate", "must be one of the scenarios, or there must be none")
        reference = next(iter(scenarios)) if baseline is None else baseline
    for name, scenario in scenarios.items():
        if not isinstance(name, str):
            raise ScenarioError.at("scenarios", "must have names that are text", name)
        if not isinstance(scenario, Scenario):
            raise ScenarioError.at(name, "must be a Scenario", scenario)
    if not isinstance(reference, str) or reference not in scenarios:
        raise ScenarioError.at("baseline", f"must be one of {', '.join(scenarios)}", reference)
    return dict(scenarios), reference


class ExperimentOutcome:
    """Outcome of a policy experiment, with assertions.

    Each assertion is a separate test: a false hypothesis passes with a probability of at most 1 - confidence. An
    assertion fails if the hypothesis is refuted or not decided.

    Attributes
    ----------
    comparison : Comparison
        Comparison of the scenarios: intervals, verdicts adjusted for multiple comparisons, best scenarios, runs.
    seed : int
        Seed of the experiment.
    not_cached : str
        Reason if the runs were not cached; empty if they were, or without a cache.
    is_used : bool
        Whether something was asserted, or the comparison was looked at.
    """

    def __init__(
        self, comparison: Comparison, *, seed: int, not_cached: str, record: Callable[[Mapping[str, Any]], None]
    ) -> None:
        self._comparison = comparison
        self.is_used = False
        self.seed = seed
        self.not_cached = not_cached
        self._record = record

    @property
    def comparison(self) -> Comparison:
        """The comparison."""
        self.is_used = True
        return self._comparison

    def __repr__(self) -> str:
        return repr(self._comparison)

    def assert_lower(
        self,
        metric: str,
        *,
        by: float = 0.0,
        absolute: bool = False,
        confidence: float = 0.95,
        candidate: str | None = None,
    ) -> None:
        """Assert that the candidate's mean is lower than the baseline's.

        Parameters
        ----------
        metric : str
            Name of a registered metric, or of one in ``metrics=``.
        by : float
            Minimum difference, as a fraction of the baseline's mean.
        absolute : bool
            Whether `by` is in the unit of the metric instead.
        confidence : float, fraction
            Confidence of the assertion, > 0.5.
        candidate : str, optional
            Name of the scenario; required if the baseline is compared with several.

        Raises
        ------
        AssertionError
            If the hypothesis is refuted or not decided.
        ScenarioError
            If the metric was not measured, or a parameter is invalid.
        """
        __tracebackhide__ = True
        self._assert("lower", metric, by, absolute, confidence, candidate)

    def assert_higher(
        self,
        metric: str,
        *,
        by: float = 0.0,
        absolute: bool = False,
        confidence: float = 0.95,
        candidate: str | None = None,
    ) -> None:
        """Assert that the candidate's mean is higher than the baseline's; see `assert_lower`."""
        __tracebackhide__ = True
        self._assert("higher", metric, by, absolute, confidence, candidate)

    def assert_equivalent(
        self,
        metric: str,
        *,
        by: float,
        absolute: bool = False,
        confidence: float = 0.95,
        candidate: str | None = None,
    ) -> None:
        """Assert that the candidate's mean differs from the baseline's by at most `by`; see `assert_lower`.

        Uses two one-sided tests (TOST).
        """
        __tracebackhide__ = True
        self._assert("equivalent", metric, by, absolute, confidence, candidate)

    def _assert(
        self, kind: Kind, metric: str, by: float, absolute: bool, confidence: float, candidate: str | None
    ) -> None:
        __tracebackhide__ = True
        try:
            claim = Hypothesis(kind=kind, by=by, absolute=absolute, confidence=confidence)
            name = self._candidate(candidate)
            judgement = self._judge(claim, metric, name)
        except BlisError as error:
            raise type(error)(error.problems) from error.__cause__
        self.is_used = True
        about = Subject(metric, name, self._comparison.baseline)
        kept = {"not_cached": self.not_cached} if self.not_cached else {}
        self._record({**properties(judgement, about, self.seed), **kept})
        if not judgement.is_shown:
            note = "" if self._comparison.same_traffic else "the scenarios did not receive the same requests"
            raise AssertionError(failure_text(judgement, about, self.seed, note))

    def _candidate(self, name: str | None) -> str:
        names = self._comparison.candidates
        if name is None and len(names) == 1:
            return names[0]
        if name not in names:
            raise ScenarioError.at("candidate", f"must be one of {', '.join(names)}", name)
        return name

    def _judge(self, claim: Hypothesis, metric: str, candidate: str) -> Judgement:
        runs = self._comparison.replications[candidate]
        if metric not in runs.measurements[0].metrics and find_metric(metric) is not None:
            raise ScenarioError.at("metric", "was not measured", metric, hint=f"ask for it: metrics=[{metric!r}]")
        return judge(claim, self._comparison.values(self._comparison.baseline, metric), runs.values(metric))


class Simulate:
    """Simulates scenarios, with a cache for the test session; the fixture ``simulate``."""

    def __init__(self) -> None:
        self._results: OrderedDict[str, Result] = OrderedDict()

    def __call__(self, scenario: Scenario, *, seed: int | None = None) -> Result:
        """Simulate a scenario.

        Parameters
        ----------
        scenario : Scenario
            Scenario to simulate.
        seed : int, optional
            Seed; by default that of the scenario.

        Returns
        -------
        Result
            Result, shared with other calls in the session; must not be changed. The last 16 are cached.

        Raises
        ------
        ScenarioError
            If the scenario cannot be simulated.
        PluginError
            If a plug-in is missing or misbehaves.
        """
        __tracebackhide__ = True
        try:
            if not isinstance(scenario, Scenario):
                raise ScenarioError.at("scenario", "must be a Scenario", scenario)
            start = scenario.seed if seed is None else seed
            key = _key(scenario, start)
            result = self._results.pop(key, None) if key else None
            if result is None:
                result = scenario.run(seed=start)
        except BlisError as error:
            raise type(error)(error.problems) from error.__cause__
        if key:
            self._results[key] = result
            if len(self._results) > _KEPT_RESULTS:
                self._results.popitem(last=False)
        return result


def _key(scenario: Scenario, seed: int) -> str:
    """Return the digest of a run; empty if the scenario has no identity."""
    try:
        return digest(scenario_form(scenario), seed)
    except PluginError as error:
        if error.code != NO_IDENTITY:
            raise
        return ""
