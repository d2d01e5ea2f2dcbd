"""``blis sweep``: simulate a scenario over a range of settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy.cli.common import log_lines, named_by_origin
from blis_simpy.cli.experiments import EXPERIMENT_FLAGS, carry_out, engine_options, one_scenario
from blis_simpy.cli.flags import Flag, read_flags
from blis_simpy.cli.scenario_flags import pair, read_value
from blis_simpy.errors import Problem, ScenarioError
from blis_simpy.experiment.design_points import DESIGNS, Range
from blis_simpy.experiment.sweep import sweep as sweep_scenario

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from blis_simpy.scenario import Scenario

__all__ = ["sweep"]

_FLAGS = (
    Flag(
        name="--grid",
        target="grid",
        hint=list[str],
        help="Values of a setting, as PATH=VALUE,VALUE,...; may be repeated: all combinations are simulated.",
    ),
    Flag(
        name="--range",
        target="range",
        hint=list[str],
        help="Bounds of a setting for the other designs: PATH=LOW:HIGH, or PATH=LOW:HIGH:log for logarithmic spacing.",
    ),
    Flag(
        name="--design",
        target="design",
        choices=DESIGNS,
        help="All combinations of a grid, or points that fill the space between bounds evenly.",
        default="grid",
    ),
    Flag(
        name="--samples",
        target="samples",
        hint=int,
        help="Number of points of the other designs; a power of two for sobol.",
    ),
    Flag(name="--replications", target="replications", hint=int, help="Number of runs per point.", default=1),
    *EXPERIMENT_FLAGS,
)

_EXAMPLES = (
    "blis sweep quickstart --grid workload.rate=10,20,30 --replications 5",
    "blis sweep quickstart --concurrency 1 --grid workload.users=16,32,64",
)


def sweep(argv: Sequence[str]) -> None:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str
        Arguments after ``sweep``.
    """
    about = "Simulate a scenario with many values of its settings: all combinations, or points between bounds."
    given = read_flags(argv, _FLAGS, command="sweep", about=about, positional="scenario", examples=_EXAMPLES)
    with log_lines(given.get("log")), named_by_origin(None, _FLAGS, given):
        scenario = one_scenario(given)
        axes = _axes(given)
        options = engine_options(given) | {name: given[name] for name in ("design", "samples") if name in given}
        carry_out(given, lambda: _swept(scenario, axes, options))


def _swept(scenario: Scenario, axes: Mapping[str, Any], options: dict[str, Any]) -> Any:
    try:
        return sweep_scenario(scenario, axes, **options)
    except ScenarioError as error:
        # A value that is invalid by itself is so at many points: one problem, with the flag as its path.
        named = [_of_flag(problem, axes) for problem in error.problems]
        raise ScenarioError({str(problem): problem for problem in named}.values()) from None


def _of_flag(problem: Problem, axes: Mapping[str, Any]) -> Problem:
    axis = next(
        (path for path in axes if problem.path == path or problem.path.startswith((f"{path}.", f"{path}["))), None
    )
    if axis is None:
        return problem
    flag = "--range" if isinstance(axes[axis], Range) else "--grid"
    return attrs.evolve(problem, file=None, path=f"{flag} {problem.path}")


def _axes(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values and bounds of the settings."""
    axes: dict[str, Any] = {}
    problems: list[Problem] = []
    for flag, read in (("--grid", _values), ("--range", _bounds)):
        for text in given.get(flag[2:], []):
            try:
                path, values = pair(flag, text, _FORMS[flag])
                if path in axes:
                    raise ScenarioError.at(f"{flag} {path}", "is given twice")
                axes[path] = read(path, values)
            except ScenarioError as error:
                problems += error.problems
    if given.get("design", "grid") == "grid" and "range" in given:
        problems.append(Problem(path="--range", rule=f"needs --design {' or '.join(DESIGNS[1:])}"))
    if problems:
        raise ScenarioError(problems)
    if not axes:
        raise ScenarioError(Problem(path="--grid", rule="is required"))
    return axes


_FORMS = {"--grid": "SETTING=VALUE,VALUE,...", "--range": "SETTING=LOW:HIGH"}


def _values(path: str, text: str) -> list[Any]:
    values: list[Any] = read_value(f"[{text}]", f"--grid {path}")
    if not isinstance(values, list) or not values:
        raise ScenarioError.at(f"--grid {path}", "must have a value")
    return values


def _bounds(path: str, text: str) -> Range:
    low, *others = text.split(":")
    if len(others) not in (1, 2) or others[1:] not in ([], ["log"]):
        raise ScenarioError.at(f"--range {path}", "must be LOW:HIGH or LOW:HIGH:log", text)
    least, most = (read_value(bound, f"--range {path}") for bound in (low, others[0]))
    try:
        return Range(least, most, log=len(others) == 2)
    except ScenarioError as error:
        raise ScenarioError(attrs.evolve(p, path=f"--range {path}: {p.path}") for p in error.problems) from None
