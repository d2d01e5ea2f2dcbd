"""Comparison of scenarios under the same traffic: differences, their intervals, and verdicts.

Replication i has the same seed in every scenario. Random streams depend on seed and name only, so all scenarios receive
the same requests (common random numbers): differences within a pair of runs are due to the scenarios, and far fewer
replications show them than with independent random numbers.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from blis_simpy.display.text_table import TextColumn, TextTable
from blis_simpy.errors import ScenarioError, nearest
from blis_simpy.experiment.best_selection import BestSelection, select_best
from blis_simpy.experiment.findings import ExperimentFindings
from blis_simpy.experiment.intervals import Interval, ratio_interval, t_interval
from blis_simpy.experiment.number_format import check_count, check_fraction, format_number, format_percent
from blis_simpy.experiment.paired_tests import Alternative, PairedTest, adjusted, equivalence_test, paired_test
from blis_simpy.experiment.replications import Replications
from blis_simpy.experiment.runner import Job, Runner
from blis_simpy.experiment.seeds import replication_seeds
from blis_simpy.experiment.verdict import Finding, Verdict
from blis_simpy.results.metrics import higher_is_better

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Unpack

    from numpy.typing import NDArray

    from blis_simpy.display.text_table import Line
    from blis_simpy.experiment.runner import Options
    from blis_simpy.scenario import Scenario

__all__ = ["Comparison", "compare"]


class Comparison(ExperimentFindings):
    """Scenarios that were simulated with the same seeds.

    Attributes
    ----------
    replications : dict of str to Replications
        Figures of each scenario, by name.
    baseline : str
        Scenario that the others are compared with.
    metrics : tuple of str
        Metrics that are reported; others can be asked for by name.
    confidence : float, fraction
        Confidence of intervals and verdicts.
    correction : {"holm", "bonferroni", None}
        Adjustment of the verdicts for their number.
    same_traffic : bool
        Whether all scenarios received the same requests in each replication. Only first rounds are compared: the
        arrival of a later round of a conversation depends on the answer to the one before.
    """

    _kind = "comparison"
    _default_plot = "changes"

    def __init__(
        self,
        replications: Mapping[str, Replications],
        *,
        baseline: str,
        metrics: tuple[str, ...],
        confidence: float = 0.95,
        correction: str | None = "holm",
    ) -> None:
        self.replications = dict(replications)
        self.baseline = baseline
        self.metrics = metrics
        self.confidence = confidence
        self.correction = correction
        traffic = [[found.traffic for found in runs.measurements] for runs in self.replications.values()]
        self.same_traffic = all(other == traffic[0] for other in traffic)
        self._verdicts: dict[tuple[str, ...], list[Verdict]] = {}

    def __len__(self) -> int:
        return len(self.replications[self.baseline])

    @property
    def candidates(self) -> tuple[str, ...]:
        """Names of all scenarios except the baseline."""
        return tuple(name for name in self.replications if name != self.baseline)

    def values(self, name: str, metric: str) -> NDArray[np.float64]:
        """Return a metric of every run of a scenario, in the order of the seeds."""
        if name not in self.replications:
            raise ScenarioError.at("scenario", "is unknown", name, hint=nearest(str(name), self.replications))
        return self.replications[name].values(metric)

    def _pair(self, metric: str, candidate: str | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return self.values(self.baseline, metric), self.values(self._candidate(candidate), metric)

    def _candidate(self, name: str | None) -> str:
        if name is None:
            if len(self.candidates) != 1:
                raise ScenarioError.at("candidate", f"must be given: one of {', '.join(self.candidates)}")
            return self.candidates[0]
        if name not in self.candidates:
            raise ScenarioError.at("candidate", "is unknown", name, hint=nearest(str(name), self.candidates))
        return name

    @property
    def verdicts(self) -> list[Verdict]:
        """One verdict for each candidate and metric; their p-values are adjusted together."""
        return self._judged(self.metrics)

    def verdict(self, metric: str, candidate: str | None = None) -> Verdict:
        """Return the verdict on one metric.

        Parameters
        ----------
        metric : str
            Name of the metric. If it is not reported, its p-value is adjusted for the number of candidates only.
        candidate : str, optional
            Name of the scenario; optional if the baseline is compared with one scenario only.

        Raises
        ------
        ScenarioError
            If the metric was not measured or there is no such candidate.
        """
        name = self._candidate(candidate)
        judged = self._judged(self.metrics if metric in self.metrics else (metric,))
        return next(verdict for verdict in judged if (verdict.candidate, verdict.metric) == (name, metric))

    def _judged(self, metrics: tuple[str, ...]) -> list[Verdict]:
        if metrics not in self._verdicts:
            pairs = [(candidate, metric) for candidate in self.candidates for metric in metrics]
            # The needed replications are those for the strictest of the corrected levels.
            level = self.confidence if self.correction is None else 1 - (1 - self.confidence) / len(pairs)
            tests = [paired_test(*self._pair(metric, name), confidence=level) for name, metric in pairs]
            p_values = adjusted([test.p_value for test in tests], self.correction)
            self._verdicts[metrics] = [
                self._verdict(name, metric, p_value, test.needed)
                for (name, metric), p_value, test in zip(pairs, p_values, tests, strict=True)
            ]
        return self._verdicts[metrics]

    def _verdict(self, candidate: str, metric: str, p_value: float, needed: int | None) -> Verdict:
        first, second = self._pair(metric, candidate)
        difference = t_interval(second - first, self.confidence)
        finding: Finding = "not decided"
        if p_value <= 1 - self.confidence:
            finding = "lower" if difference.estimate < 0 else "higher"
        elif np.array_equal(first, second):
            finding = "the same"
        variances = float(first.var(ddof=1)), float(second.var(ddof=1))
        between = float((second - first).var(ddof=1))
        correlation = float(np.corrcoef(first, second)[0, 1]) if all(variances) else math.nan
        return Verdict(
            candidate=candidate,
            baseline=self.baseline,
            metric=metric,
            finding=finding,
            means=(float(first.mean()), float(second.mean())),
            difference=difference,
            ratio=ratio_interval(first, second, self.confidence),
            p_value=p_value,
            needed=needed,
            correlation=correlation,
            variance_reduction=sum(variances) / between if between else math.inf,
        )

    def test(
        self, metric: str, candidate: str | None = None, *, by: float = 0.0, alternative: Alternative = "different"
    ) -> PairedTest:
        """Test one hypothesis that was chosen before the figures were known; the p-value is not adjusted.

        Parameters
        ----------
        metric : str
            Name of the metric.
        candidate : str, optional
            Name of the scenario; optional if the baseline is compared with one scenario only.
        by : float, fraction
            Smallest difference, as a fraction of the baseline's mean: 0.2 and ``lower`` mean at least 20 % lower.
        alternative : {"lower", "higher", "different"}
            Alternative hypothesis about the candidate.

        Raises
        ------
        ScenarioError
            If the metric was not measured, there is no such candidate, or a parameter is out of range.
        """
        return paired_test(*self._pair(metric, candidate), by=by, alternative=alternative, confidence=self.confidence)

    def equivalence(self, metric: str, candidate: str | None = None, *, by: float) -> PairedTest:
        """Test whether a metric differs by less than a fraction of the baseline; see `equivalence_test`.

        Raises
        ------
        ScenarioError
            If the metric was not measured, there is no such candidate, or `by` is not above 0.
        """
        return equivalence_test(*self._pair(metric, candidate), by=by, confidence=self.confidence)

    def difference(self, metric: str, candidate: str | None = None, *, confidence: float | None = None) -> Interval:
        """Return the confidence interval of the candidate's mean minus the baseline's."""
        first, second = self._pair(metric, candidate)
        return t_interval(second - first, self.confidence if confidence is None else confidence)

    def ratio(self, metric: str, candidate: str | None = None, *, confidence: float | None = None) -> Interval:
        """Return the confidence interval of the candidate's mean divided by the baseline's; see `ratio_interval`."""
        return ratio_interval(*self._pair(metric, candidate), self.confidence if confidence is None else confidence)

    def best(
        self,
        metric: str,
        *,
        indifference: float,
        maximise: bool | None = None,
        confidence: float | None = None,
        first_stage: int | None = None,
    ) -> BestSelection:
        """Select the scenario with the best mean.

        Parameters
        ----------
        metric : str
            Name of the metric.
        indifference : float
            Smallest difference that matters, in the unit of the metric, > 0.
        maximise : bool, optional
            Whether the largest mean is the best; default is the direction of the metric.
        confidence : float, fraction, optional
            Probability of a correct selection; default is the confidence of the comparison.
        first_stage : int, optional
            Number of replications from which the number needed was computed first; see `select_best`.

        Raises
        ------
        ScenarioError
            If the metric was not measured or a parameter is out of range.
        """
        return select_best(
            {name: runs.values(metric) for name, runs in self.replications.items()},
            indifference=indifference,
            metric=metric,
            maximise=higher_is_better(metric) if maximise is None else maximise,
            confidence=self.confidence if confidence is None else confidence,
            first_stage=first_stage,
        )

    @property
    def runs(self) -> dict[str, NDArray[Any]]:
        """One row a run, one array a column: ``scenario`` and the columns of `Replications.runs`."""
        tables = {name: runs.runs for name, runs in self.replications.items()}
        names = np.repeat(np.array(list(tables), dtype=object), len(self))
        columns = next(iter(tables.values()))
        return {
            "scenario": names,
            **{column: np.concatenate([table[column] for table in tables.values()]) for column in columns},
        }

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One row a verdict: means, difference and ratio with their intervals, p-value and finding."""
        rows = []
        for verdict in self.verdicts:
            row: dict[str, Any] = {
                "metric": verdict.metric,
                "candidate": verdict.candidate,
                "baseline": verdict.baseline,
                "replications": verdict.difference.count,
                "baseline_mean": verdict.means[0],
                "mean": verdict.means[1],
            }
            for name, interval in (("difference", verdict.difference), ("ratio", verdict.ratio)):
                row |= {name: interval.estimate, f"{name}_low": interval.low, f"{name}_high": interval.high}
            row |= {
                "confidence": verdict.difference.confidence,
                "p_value": verdict.p_value,
                "finding": verdict.finding,
                "replications_needed": verdict.needed,
            }
            rows.append(row)
        return rows

    def table(self) -> TextTable:
        """Return the verdicts: means, relative change with its interval, p-value, finding."""
        columns = [
            TextColumn("metric", align="left"),
            TextColumn("candidate", align="left"),
            TextColumn(self.baseline),
            TextColumn("mean"),
            TextColumn("change"),
            TextColumn("p"),
            TextColumn("finding", align="left"),
            TextColumn("variance ratio"),
        ]
        rows = [
            (
                verdict.metric,
                verdict.candidate,
                format_number(verdict.means[0]),
                format_number(verdict.means[1]),
                verdict.change,
                "< 0.0001" if verdict.p_value < 1e-4 else f"{verdict.p_value:.4f}",
                verdict.finding if verdict.finding != "not decided" else f"not decided: {verdict.outlook}",
                format_number(verdict.variance_reduction, 3),
            )
            for verdict in sorted(self.verdicts, key=lambda verdict: self.metrics.index(verdict.metric))
        ]
        return TextTable(columns, rows, title=self._title())

    def _title(self) -> str:
        methods = {"holm": ", p by Holm", "bonferroni": ", p by Bonferroni", None: ""}
        traffic = "" if self.same_traffic else "; the scenarios did not receive the same requests"
        return (
            f"{len(self):,} paired replications, baseline {self.baseline}, {format_percent(self.confidence, 4)}"
            f"{methods[self.correction]}{traffic}"
        )

    def page(self) -> Sequence[Line | TextTable]:
        """Return the table of verdicts, and each verdict as a sentence."""
        return [self.table(), *((str(verdict),) for verdict in self.verdicts)]


def compare(
    scenarios: Mapping[str, Scenario],
    replications: int = 20,
    *,
    baseline: str | None = None,
    confidence: float = 0.95,
    correction: str | None = "holm",
    seed: int | None = None,
    **options: Unpack[Options],
) -> Comparison:
    """Compare scenarios under the same traffic.

    Parameters
    ----------
    scenarios : mapping of str to Scenario
        Scenarios by name, at least two.
    replications : int
        Number of runs of each scenario, at least 2.
    baseline : str, optional
        Scenario that the others are compared with; default is the first.
    confidence : float, fraction
        Confidence of intervals and verdicts.
    correction : {"holm", "bonferroni", None}
        Adjustment of the verdicts for their number, so that the probability of any false one is at most
        1 - confidence.
    seed : int, optional
        Seed of the experiment; default is that of the baseline. Replication i of every scenario has the seed
        ``replication_seeds(seed, replications)[i]``.
    **options
        Options of all experiments, see `blis_simpy.experiment.runner.Options`.

    Returns
    -------
    Comparison
        Differences with intervals and verdicts.

    Warns
    -----
    UserWarning
        If the scenarios did not receive the same requests, so that differences are also due to the traffic.

    Raises
    ------
    ScenarioError
        If a scenario cannot be simulated or a parameter is wrong.
    PluginError
        If a plug-in cannot be pickled for the workers, or the function of a metric does not return a number.

    Examples
    --------
    >>> slow = Scenario(
    ...     model="qwen/qwen3-14b", workload=Workload(rate=20, num_requests=100, arrivals="poisson")
    ... )
    >>> comparison = compare({"tp 1": slow.with_(tp=1), "tp 2": slow.with_(tp=2)}, 3, executor="serial")
    >>> comparison.verdict("e2e_mean_ms").finding
    'lower'
    """
    if not isinstance(scenarios, Mapping):
        raise ScenarioError.at("scenarios", "must be a mapping of names to scenarios", scenarios)
    scenarios = dict(scenarios)
    if len(scenarios) < 2:
        raise ScenarioError.at("scenarios", "must be at least two", list(scenarios))
    reference = next(iter(scenarios)) if baseline is None else baseline
    if reference not in scenarios:
        raise ScenarioError.at("baseline", "is unknown", reference, hint=nearest(str(reference), scenarios))
    replications = check_count("replications", replications, 2)
    confidence = check_fraction("confidence", confidence)
    adjusted((), correction)
    seeds = replication_seeds(scenarios[reference].seed if seed is None else seed, replications)
    jobs = [Job(scenario, new, label=name) for new in seeds for name, scenario in scenarios.items()]
    with Runner(**options) as runner:
        found = runner.run(jobs, "comparing")
    comparison = Comparison(
        {
            name: Replications(
                scenario,
                seeds,
                found[place :: len(scenarios)],
                metrics=runner.metrics.names,
                confidence=confidence,
            )
            for place, (name, scenario) in enumerate(scenarios.items())
        },
        baseline=reference,
        metrics=runner.metrics.names,
        confidence=confidence,
        correction=correction,
    )
    if not comparison.same_traffic:
        warnings.warn(
            "the scenarios did not receive the same requests: differences are also due to the traffic", stacklevel=2
        )
    return comparison
