"""Flags of the commands that simulate a scenario, and the scenario that they make of a file.

The same flags and ``--set PATH=VALUE`` work in ``run``, ``compare``, ``sweep`` and ``capacity``. Values of ``--set``
are read as in a scenario file, and override the other flags.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from blis_simpy.cli.common import DEPLOYMENT_FLAGS, overlaid, setting_flags
from blis_simpy.cli.flags import Flag
from blis_simpy.cli.slo_flag import SLO_FLAG, target_settings
from blis_simpy.cli.workload_flags import WORKLOAD_FLAGS, check_lengths, workload_changes
from blis_simpy.errors import BlisError, Problem, ScenarioError
from blis_simpy.experiment.design_points import changed_scenario
from blis_simpy.settings.loader import parse_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from blis_simpy.scenario import Scenario

__all__ = [
    "SET_FLAG",
    "for_each",
    "pair",
    "read_value",
    "scenario_flags",
    "with_flags",
    "with_settings",
    "with_targets",
]

_Item = TypeVar("_Item")

SET_FLAG = Flag(
    name="--set",
    target="set",
    hint=list[str],
    help="Change any setting, as PATH=VALUE: engine.max_num_seqs=8; may be repeated, and overrides other flags.",
)


def scenario_flags() -> tuple[Flag, ...]:
    """Return the flags of everything that a scenario holds: any setting, the workload, policies."""
    flags = (SET_FLAG, SLO_FLAG, *WORKLOAD_FLAGS, *DEPLOYMENT_FLAGS, *setting_flags(workload=True))
    return tuple({flag.name: flag for flag in flags}.values())


def with_flags(base: Scenario, given: Mapping[str, Any]) -> Scenario:
    """Change a scenario by the flags that were given.

    Parameters
    ----------
    base : Scenario
        It is not changed.
    given : mapping of str to object
        Values of all flags by target; those that are not of `scenario_flags` are left out.

    Raises
    ------
    ScenarioError
        With the problems of all flags, or of all of ``--set``, or of all of ``--slo``.
    """
    own = {flag.target: given[flag.target] for flag in scenario_flags() if flag.target in given}
    options = {flag.target: own.pop(flag.target, None) for flag in (SET_FLAG, SLO_FLAG, *DEPLOYMENT_FLAGS)}
    changes = workload_changes(base, own)
    scenario = overlaid(base, {**changes, **own}, options)
    check_lengths(scenario, own)
    return with_targets(with_settings(scenario, options["set"] or (), "--set"), options["slo"] or ())


def with_targets(scenario: Scenario, texts: Iterable[str]) -> Scenario:
    """Change the SLO targets of a scenario by the texts of ``--slo``.

    Raises
    ------
    ScenarioError
        With one problem for every bad target.
    """
    return with_settings(scenario, [setting for text in texts for setting in target_settings(text)], "--slo")


def pair(flag: str, text: str, form: str = "SETTING=VALUE") -> tuple[str, str]:
    """Split the text of a flag at its first ``=``.

    Raises
    ------
    ScenarioError
        If there is no ``=``, or no name before it.
    """
    name, sign, value = text.partition("=")
    if not sign or not name.strip():
        raise ScenarioError.at(flag, f"must be {form}", text)
    return name.strip(), value


def read_value(text: str, where: str) -> Any:
    """Read a value as in a scenario file.

    Raises
    ------
    ScenarioError
        If it cannot be read; the path of the problem is `where`.
    """
    try:
        return parse_value(text)
    except ScenarioError as error:
        rules = (attrs.evolve(problem, path=where, line=None, value=text) for problem in error.problems)
        raise ScenarioError(rules) from None


def for_each(items: Iterable[_Item], step: Callable[[_Item], None]) -> None:
    """Apply a function to each item, and raise the problems of all items together.

    Raises
    ------
    BlisError
        With all problems, of the type of the last one.
    """
    problems: list[Problem] = []
    kind: type[BlisError] = ScenarioError
    for item in items:
        try:
            step(item)
        except BlisError as error:
            problems += error.problems
            kind = type(error)
    if problems:
        raise kind(problems)


def with_settings(scenario: Scenario, texts: Iterable[str], flag: str) -> Scenario:
    """Change settings of a scenario.

    Parameters
    ----------
    scenario : Scenario
        The scenario; it is not changed.
    texts : iterable of str
        ``PATH=VALUE`` each; if a path is repeated, the last value is used.
    flag : str
        Name of the flag in errors.

    Raises
    ------
    ScenarioError
        With one problem for every unknown path and every bad value.
    """
    changes: dict[str, Any] = {}

    def read(text: str) -> None:
        path, value = pair(flag, text)
        changes[path] = read_value(value, f"{flag} {path}")

    for_each(texts, read)
    try:
        return changed_scenario(scenario, changes)
    except ScenarioError as error:
        raise ScenarioError(attrs.evolve(p, path=f"{flag} {p.path}") for p in error.problems) from None
