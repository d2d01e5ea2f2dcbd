"""Assertion that a run meets the SLO targets of its requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from blis_simpy.errors import Problem, ScenarioError, nearest
from blis_simpy.experiment.number_format import format_percent

if TYPE_CHECKING:
    from blis_simpy.core.slo_targets import SLOTargets
    from blis_simpy.results.result import Result
    from blis_simpy.results.slo import SLOReport
    from blis_simpy.results.subset import RequestSubset

__all__ = ["assert_slo"]


def assert_slo(
    result: Result | RequestSubset,
    attainment: float | Mapping[str, float],
    *,
    targets: Mapping[str, SLOTargets | Mapping[str, Any]] | None = None,
) -> None:
    """Assert that enough of the offered requests are good.

    Parameters
    ----------
    result : Result or RequestSubset
        The requests; `result.where(start="10s")` leaves out a warm-up.
    attainment : float, fraction, or mapping of str to float
        Least share of good requests, of each SLO class or by class.
    targets : mapping of str to SLOTargets or mapping, optional
        Targets by SLO class, in place of `slo` of the scenario.

    Raises
    ------
    AssertionError
        If a class has fewer good requests, or none was offered; names the causes.
    ScenarioError
        If there are no targets, a class is unknown, or a share is not between 0 and 1.

    Examples
    --------
    >>> from blis_simpy import Scenario, Workload
    >>> result = Scenario(model="qwen/qwen3-14b", workload=Workload(rate=2, num_requests=9)).run()
    >>> assert_slo(result, 0.99, targets={"*": {"ttft": "1s", "tpot": "50ms"}})
    """
    __tracebackhide__ = True
    report = result.slo(targets)
    classes = report.classes
    least = attainment if isinstance(attainment, Mapping) else dict.fromkeys(classes, attainment)
    _check(attainment, classes)
    missed = [name for name, share in least.items() if not classes[name].attainment >= share]
    if not report.offered and not missed:
        raise AssertionError(f"no request was offered{_open(report)}")
    if missed:
        lines = [f"  {name}: {_causes(classes[name], least[name])}" for name in missed]
        raise AssertionError("\n".join(["SLO attainment is too low", *lines]))


def _check(attainment: Any, classes: Mapping[str, SLOReport]) -> None:
    shares = attainment if isinstance(attainment, Mapping) else {"": attainment}
    problems = []
    for name, share in shares.items():
        path = f"attainment[{name!r}]" if name else "attainment"
        if name and name not in classes:
            hint = nearest(str(name), classes) if classes else "there are no requests"
            problems.append(Problem(path=path, rule="is no SLO class of the requests", hint=hint))
        elif isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            problems.append(Problem(path=path, rule="must be between 0 and 1", value=share))
    if problems:
        raise ScenarioError(problems)


def _causes(report: SLOReport, least: float) -> str:
    """Say how many requests of a class are good, and why the others are not."""
    if not report.offered:
        return f"no request was offered{_open(report)}"
    alone = report.sole_misses
    causes = [
        f"{count:,} missed {name} ({alone[name]:,} nothing else)" for name, count in report.misses.items() if count
    ]
    causes += [f"{count:,} {name.replace('_', ' ')}" for name, count in report.not_served.items()]
    share = f"{report.good:,} of {report.offered:,} requests good ({format_percent(report.attainment, 4)})"
    return f"{share}, at least {format_percent(least, 4)} asserted; {', '.join(causes)}{_open(report)}"


def _open(report: SLOReport) -> str:
    return f"; {report.open:,} open" if report.open else ""
