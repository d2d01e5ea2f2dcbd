"""``blis capacity``: find the largest rate or number of users, or the fewest replicas, that meets an SLO."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy.cli.common import log_lines, named_by_origin
from blis_simpy.cli.experiments import EXPERIMENT_FLAGS, carry_out, engine_options, one_scenario
from blis_simpy.cli.flags import Flag, read_flags
from blis_simpy.cli.scenario_flags import read_value
from blis_simpy.cli.slo_flag import is_target
from blis_simpy.errors import Problem, ScenarioError
from blis_simpy.experiment.capacity import VARIED
from blis_simpy.experiment.capacity import capacity as find_capacity
from blis_simpy.results.metrics import get_metric

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blis_simpy.experiment.capacity import Capacity
    from blis_simpy.scenario import Scenario

__all__ = ["capacity"]

_FLAGS = (
    Flag(
        name="--slo",
        target="slo",
        hint=list[str],
        help="Limit of a metric, as METRIC=LIMIT (or METRIC<=LIMIT, METRIC>=LIMIT); may be repeated: all must be met. "
        "Also latency targets, as in blis run, for limits such as attainment>=0.99.",
    ),
    Flag(
        name="--vary",
        target="vary",
        choices=VARIED,
        help="What to search: the highest rate, the largest number of closed-loop users, or the fewest replicas; unset "
        "means the users of closed-loop users, and the rate of any other workload.",
    ),
    Flag(
        name="--low",
        target="low",
        hint=float,
        help="Lower bound of the search; unset means to search outwards from the value of the scenario.",
    ),
    Flag(name="--high", target="high", hint=float, help="Upper bound of the search."),
    Flag(
        name="--resolution",
        target="resolution",
        hint=float,
        help="Resolution of the rate, as a fraction.",
        default=0.02,
    ),
    Flag(name="--replications", target="replications", hint=int, help="Minimum number of runs per value.", default=10),
    *(flag for flag in EXPERIMENT_FLAGS if flag.name != "--slo"),
)
_SLO = re.compile(r"slo\['(.*)'\]")
_LIMIT = re.compile(r"\s*([^=<>\s{]+(?:\{[^}]*\})?)\s*(=|<=|>=)(.*)")

_EXAMPLES = (
    "blis capacity quickstart --slo ttft_p99_ms=200",
    "blis capacity quickstart --slo e2e_p95_ms=5000 --vary replicas --rate 100",
    "blis capacity quickstart --concurrency 16 --slo tpot_mean_ms=20",
    "blis capacity quickstart --slo ttft=200ms,tpot=40ms --slo 'attainment>=0.99'",
)


def capacity(argv: Sequence[str]) -> None:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str
        Arguments after ``capacity``.
    """
    about = "Find the largest rate or number of users, or the smallest number of replicas, that meets an SLO."
    given = read_flags(argv, _FLAGS, command="capacity", about=about, positional="scenario", examples=_EXAMPLES)
    with log_lines(given.get("log")), named_by_origin(None, _FLAGS, given):
        texts = given.pop("slo", [])
        scenario = one_scenario({**given, "slo": [text for text in texts if is_target(text)]})
        limits = _limits([text for text in texts if not is_target(text)])
        options = engine_options(given)
        options |= {name: given[name] for name in ("vary", "low", "high", "resolution") if name in given}
        carry_out(given, lambda: _found(scenario, limits, options))


def _found(scenario: Scenario, limits: dict[str, Any], options: dict[str, Any]) -> Capacity:
    try:
        return find_capacity(scenario, limits, **options)
    except ScenarioError as error:
        named = (attrs.evolve(problem, path=_SLO.sub(r"--slo \1", problem.path)) for problem in error.problems)
        raise ScenarioError(named) from None


def _limits(texts: Sequence[str]) -> dict[str, Any]:
    if not texts:
        raise ScenarioError(Problem(path="--slo", rule="is required"))
    limits: dict[str, Any] = {}
    problems: list[Problem] = []
    for text in texts:
        match = _LIMIT.fullmatch(text)
        if match is None:
            problems.append(Problem(path="--slo", rule="must be METRIC=LIMIT", value=text))
            continue
        metric, sign, limit = match.groups()
        if metric in limits:
            problems.append(Problem(path=f"--slo {metric}", rule="is given twice"))
        else:
            try:
                get_metric(metric, "--slo")
            except ScenarioError as error:
                problems += error.problems
        limits[metric] = read_value(limit, f"--slo {metric}") if sign == "=" else f"{sign} {limit}"
    if problems:
        raise ScenarioError(problems)
    return limits
