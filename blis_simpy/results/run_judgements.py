"""Requests of a run against SLO targets: those of the scenario, or others."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from blis_simpy.core.slo_targets import ALL_OTHERS, SLOTargets
from blis_simpy.errors import Problem, ScenarioError, nearest
from blis_simpy.results.slo_judgement import Judgement, judge

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from blis_simpy.results.run_record import RunRecord
    from blis_simpy.scenario_settings import ScenarioSettings

__all__ = ["RunJudgements", "check_slo_classes"]


class RunJudgements:
    """Requests of a run against SLO targets.

    Attributes
    ----------
    ttft : ndarray of int64, shape (num_requests,), µs
        TTFT of each request; see `RunRecord.ttft`.
    """

    def __init__(self, record: RunRecord) -> None:
        self._record = record
        self.ttft: NDArray[np.int64] = record.ttft()

    def judgement(self, targets: Mapping[str, SLOTargets | Mapping[str, Any]] | None = None) -> Judgement:
        """Compare all requests with targets by SLO class; None = those of the scenario.

        Raises
        ------
        ScenarioError
            If there are no targets, a target is invalid, or no request of the run can have such a class.
        """
        return self._of_scenario if targets is None else self._of(self._record.scenario.with_(slo=targets))

    @cached_property
    def _of_scenario(self) -> Judgement:
        return self._of(self._record.scenario)

    def _of(self, scenario: ScenarioSettings) -> Judgement:
        record = self._record
        if not scenario.slo:
            raise ScenarioError.at("slo", "must have the targets of an SLO class")
        check_slo_classes(scenario, record.requests["slo_class"].tolist())
        return judge(
            record.requests,
            scenario.slo,
            observed_at=record.observed_at,
            own_targets=record.slo_targets,
            ttft=self.ttft,
            replicas=record.replicas,
        )


def check_slo_classes(scenario: ScenarioSettings, of_requests: Iterable[str]) -> None:
    """Check that requests can have the SLO classes with targets.

    Parameters
    ----------
    scenario : ScenarioSettings
        The targets, and the clients with their classes.
    of_requests : iterable of str
        Classes of the requests that are known.

    Raises
    ------
    ScenarioError
        With one problem for every unknown class.
    """
    wanted = [name for name in scenario.slo if name != ALL_OTHERS]
    seen = set(of_requests)
    if not wanted or seen.issuperset(wanted):
        return
    if scenario.workload is not None:
        seen |= scenario.workload.labels("slo_class", defaults=scenario.defaults)
    known = {name or "default" for name in seen}
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ScenarioError(
            Problem(
                path=f"slo.{name}",
                rule="is no SLO class of the requests",
                hint=nearest(name, sorted(known)) if known else "no request has any",
            )
            for name in unknown
        )
