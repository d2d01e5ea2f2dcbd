"""Conformance suite for metrics."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from blis_simpy.results.metrics import LatencyFamily, Metric
from blis_simpy.testing.conformance.replica_cases import replica_cases
from blis_simpy.testing.conformance.suite import ConformanceSuite, require, violated

if TYPE_CHECKING:
    from blis_simpy.results.result import Result

__all__ = ["MetricTests"]

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_FEW_BLOCKS = 1
"""Index of the case with preemptions and timeouts."""


class MetricTests(ConformanceSuite):
    """Tests of the rules of `blis_simpy.results.metrics.Metric` and `LatencyFamily`; `make` returns one."""

    def test_it_describes_itself(self) -> None:
        """Name, label, unit and definition are non-empty text, for tables, plots and the metrics page."""
        metric = self.make()
        name = f"metric {getattr(metric, 'name', metric)!r}"
        require(
            isinstance(metric, Metric | LatencyFamily), name, "must be a Metric or a LatencyFamily", is_a=type(metric)
        )
        rule = "the name must be of lower-case letters, digits and underscores"
        require(_NAME.fullmatch(metric.name), name, rule, found=metric.name)
        for field in ("label", "definition", *(["unit"] if isinstance(metric, Metric) else [])):
            found = getattr(metric, field)
            require(found, name, f"{field} must not be empty", found=found)
        better = ("lower", "higher", None) if isinstance(metric, Metric) else ("lower", "higher")
        require(metric.direction in better, name, f"direction must be one of {better}", found=metric.direction)

    def test_values_are_numbers_for_any_requests(self) -> None:
        """A value is a finite number, or NaN if it is undefined, such as for a run without requests."""
        metric = self.make()
        for figure in _figures(metric):
            for label, source in _sources(figure):
                try:
                    value = figure.value(source)
                except Exception as error:
                    rule = "the function must return a finite number, or NaN where there is no value"
                    violated(f"metric {figure.name!r}", rule, requests=label, raised=error)
                require(isinstance(value, float), f"metric {figure.name!r}", "must have numbers as values", found=value)

    def test_equal_runs_have_equal_values(self) -> None:
        """A value depends only on the run, and computing it does not change the result."""
        metric = self.make()
        for figure, same in zip(_figures(metric), _figures(self.make()), strict=True):
            for (label, one), (_, other) in zip(_sources(figure), _sources(same), strict=True):
                values = (_value(figure, one), _value(figure, one), _value(same, other))
                good = len(set(values)) == 1 or all(map(math.isnan, values))
                rule = "must have the same value each time, and for an equal run"
                require(good, f"metric {figure.name!r}", rule, requests=label, values=values)


def _value(figure: Metric, source: Any) -> float:
    """Return a value; NaN if the function raises an exception, which another test reports."""
    try:
        return figure.value(source)
    except Exception:
        return math.nan


def _figures(metric: Any) -> list[Metric]:
    return [metric] if isinstance(metric, Metric) else [metric.metric(of) for of in ("mean", "p50", "p99.9")]


def _sources(metric: Metric) -> list[tuple[str, Any]]:
    """Return arguments of the function with labels: results, or requests of results."""
    results: list[tuple[str, Result]] = [
        ("with preemptions and timeouts", replica_cases()[_FEW_BLOCKS].simulation(macro_steps=True).run()),
        ("none", replica_cases()[0].simulation(macro_steps=True, requests=[]).run()),
    ]
    paused = replica_cases()[0].simulation(macro_steps=True)
    results.append(("none has ended", paused.run(until=1)))
    if metric.scope == "run":
        return list(results)
    sources: list[tuple[str, Any]] = [(label, result.where()) for label, result in results]
    return [*sources, ("none of a tenant", results[0][1].where(tenant="unknown"))]
