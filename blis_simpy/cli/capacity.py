"""``blis capacity``: find the rate, or the number of replicas, that still keeps a promise."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from blis_simpy.cli.common import log_lines, named_by_origin
from blis_simpy.cli.experiments import (
    EXPERIMENT_FLAGS,
    check_files,
    connected,
    engine_options,
    load_words,
    read_value,
    resumable,
    show,
    shown_warnings,
    with_settings,
    write_files,
)
from blis_simpy.cli.flags import Flag, read_flags
from blis_simpy.errors import Problem, ScenarioError, nearest
from blis_simpy.experiment.capacity import capacity as find_capacity
from blis_simpy.results.metrics import find_metric, known_metrics

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from blis_simpy.experiment.capacity import Capacity
    from blis_simpy.scenario import Scenario

__all__ = ["capacity"]

_FLAGS = (
    Flag(
        name="--slo",
        target="slo",
        hint=list[str],
        help="A promise, as METRIC=LIMIT (or METRIC<=LIMIT, METRIC>=LIMIT); repeat it: all must be kept.",
    ),
    Flag(
        name="--vary",
        target="vary",
        choices=("workload.rate", "replicas"),
        help="Search the largest rate, or the smallest number of replicas.",
        default="workload.rate",
    ),
    Flag(name="--low", target="low", hint=float, help="Where to search, from; unset means outwards from the scenario."),
    Flag(name="--high", target="high", hint=float, help="Where to search, up to."),
    Flag(
        name="--resolution",
        target="resolution",
        hint=float,
        help="How near to the limit a rate is wanted, as a fraction of it.",
        default=0.02,
    ),
    Flag(name="--replications", target="replications", hint=int, help="Runs of each value, at least.", default=10),
    *EXPERIMENT_FLAGS,
)
_SLO = re.compile(r"slo\['(.*)'\]")
_PROMISE = re.compile(r"\s*([^=<>\s]+)\s*(=|<=|>=)(.*)")


def capacity(argv: Sequence[str]) -> None:
    """Carry out the command.

    Parameters
    ----------
    argv : sequence of str
        Words after ``capacity``.
    """
    about = "Find the largest rate, or the smallest number of replicas, that meets a service level with confidence."
    given = read_flags(argv, _FLAGS, command="capacity", about=about, positional="scenario")
    with log_lines(given.get("log")), named_by_origin(None, _FLAGS, given):
        if "scenario" not in given:
            raise ScenarioError(Problem(path="scenario", rule="is required"))
        (scenario,) = load_words([given["scenario"]]).values()
        scenario = with_settings(scenario, given.get("set", []), "--set")
        promises = _promises(given.get("slo", []))
        check_files(given)
        options = engine_options(given)
        options |= {name: given[name] for name in ("vary", "low", "high", "resolution") if name in given}
        with connected(given), resumable(given), shown_warnings():
            found = _found(scenario, promises, options)
        write_files(given, results=lambda: _rows(found), runs=lambda: _runs(found), html=found.write_html)
        show(found.table(), given)


def _found(scenario: Scenario, promises: dict[str, Any], options: dict[str, Any]) -> Capacity:
    try:
        return find_capacity(scenario, promises, **options)
    except ScenarioError as error:
        named = (attrs.evolve(problem, path=_SLO.sub(r"--slo \1", problem.path)) for problem in error.problems)
        raise ScenarioError(named) from None


def _promises(texts: Sequence[str]) -> dict[str, Any]:
    if not texts:
        raise ScenarioError(Problem(path="--slo", rule="is required"))
    promises: dict[str, Any] = {}
    problems: list[Problem] = []
    for text in texts:
        match = _PROMISE.fullmatch(text)
        if match is None:
            problems.append(Problem(path="--slo", rule="must be METRIC=LIMIT", value=text))
            continue
        metric, sign, limit = match.groups()
        if metric in promises:
            problems.append(Problem(path=f"--slo {metric}", rule="is given twice"))
        elif find_metric(metric) is None:
            hint = nearest(metric, known_metrics())
            problems.append(Problem(path="--slo", rule="is of an unknown metric", value=metric, hint=hint))
        promises[metric] = read_value(limit, f"--slo {metric}") if sign == "=" else f"{sign} {limit}"
    if problems:
        raise ScenarioError(problems)
    return promises


def _rows(found: Capacity) -> Iterator[dict[str, Any]]:
    answer = found.probes[-1] if found.decided else None  # the search ends where a value is confirmed
    for probe in found.probes:
        row: dict[str, Any] = {found.vary: probe.value, "purpose": probe.purpose, "outcome": probe.outcome}
        row |= {"replications": len(probe.replications), "completed_share": probe.served}
        for metric, (low, high) in probe.bounds.items():
            row |= {f"{metric}_mean": probe.replications.mean(metric), f"{metric}_low": low, f"{metric}_high": high}
        yield {**row, "confidence": probe.confidence, "is_answer": probe is answer}


def _runs(found: Capacity) -> dict[str, NDArray[Any]]:
    """One row a run; one that served both for a search and for a longer one of the same value is in it once."""
    runs = [probe.replications for probe in found.probes]
    values = np.repeat([probe.value for probe in found.probes], [len(replications) for replications in runs])
    tables = [replications.runs for replications in runs]
    columns = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    first: dict[tuple[float, int], int] = {}
    for place, run in enumerate(zip(values.tolist(), columns["seed"].tolist(), strict=True)):
        first.setdefault(run, place)
    kept = list(first.values())
    return {found.vary: values[kept], **{name: column[kept] for name, column in columns.items()}}
