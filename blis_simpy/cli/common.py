"""Parts that the simulating commands share: common flags, the scenario, log lines and the report."""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy.cli.flags import Flag, flags_of
from blis_simpy.cli.outputs import OUTPUT_FLAGS, output_problems, same_files
from blis_simpy.cli.policy_flags import POLICY_FLAGS, effective_changes
from blis_simpy.cluster.settings import CHECKS
from blis_simpy.errors import BlisError, Problem, ScenarioError, nearest, printable
from blis_simpy.files.paths import exists, record_input
from blis_simpy.load_files import load_scenario, shipped_scenarios
from blis_simpy.scenario import Scenario
from blis_simpy.settings import loader
from blis_simpy.settings.description import setting_of
from blis_simpy.settings.fields import fields_of
from blis_simpy.settings.key_paths import parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from blis_simpy.results.result import Result

__all__ = [
    "COMMON_FLAGS",
    "DEPLOYMENT_FLAGS",
    "LOG_FLAG",
    "base_scenario",
    "check_outputs",
    "find_scenario",
    "log_lines",
    "named_by_origin",
    "overlaid",
    "record_paths",
    "report",
    "request_counter",
    "setting_flags",
    "shown_config",
]

_log = logging.getLogger(__name__)

_LEVELS = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
    "panic": logging.CRITICAL,
}
_REPORTS = ("summary", "json", "blis", "none")

LOG_FLAG = Flag(
    name="--log", target="log", help=f"Minimum severity of log lines: {', '.join(_LEVELS)}.", default="warn"
)
DEPLOYMENT_FLAGS = (
    Flag(
        name="--plain-steps",
        target="plain_steps",
        hint=bool,
        help="Simulate each step separately: slower, with the same results.",
    ),
    Flag(
        name="--check",
        target="check",
        choices=CHECKS,
        help="Check the invariants of the simulation while it runs: slower, with the same results.",
    ),
    Flag(
        name="--policy-config",
        target="policy_config",
        help="Policy bundle (YAML); it overrides the scenario, and other flags override it.",
        absent="",
    ),
)
"""Flags that change settings of a deployment in another way than one by one."""

COMMON_FLAGS = (
    LOG_FLAG,
    Flag(name="--results-path", target="results_path", help="Write the results of every request to this file (JSON)."),
    *OUTPUT_FLAGS,
    Flag(
        name="--report",
        target="report",
        choices=_REPORTS,
        help="Output: tables, JSON, the report of BLIS, or nothing. Default: summary in a terminal, else blis.",
    ),
    *DEPLOYMENT_FLAGS,
    Flag(
        name="--fitness-weights",
        target="fitness_weights",
        help="Weights of metrics, as name:weight,..., for a fitness score in the report of BLIS.",
        absent="",
    ),
    Flag(
        name="--summarize-trace",
        target="summarize_trace",
        hint=bool,
        help="Add a summary of the decision log, if there is one, to the report of BLIS.",
    ),
    Flag(
        name="--show-config",
        target="show_config",
        hint=bool,
        help="Print every setting with the origin of its value, without simulating.",
    ),
)


def setting_flags(*, workload: bool) -> tuple[Flag, ...]:
    """Derive the flags of the settings of a scenario, with or without those of its workload."""
    flags = {flag.name: flag for flag in (*flags_of(Scenario), *POLICY_FLAGS)}
    return tuple(flag for flag in flags.values() if workload or not flag.target.startswith("workload."))


def find_scenario(name: str | None) -> Path | None:
    """Find the file of a scenario.

    Parameters
    ----------
    name : str or None
        Path, or the name of a shipped scenario.

    Raises
    ------
    ScenarioError
        If no scenario is shipped under the name.
    """
    if name is None:
        return None
    path = Path(name)
    if path.suffix or len(path.parts) != 1 or exists(path):
        return path
    shipped = shipped_scenarios()
    if name not in shipped:
        raise ScenarioError(Problem(path="scenario", rule="is unknown", value=name, hint=nearest(name, shipped)))
    return shipped[name]


def base_scenario(file: Path | None, given: Mapping[str, Any]) -> Scenario:
    """Load the scenario that the flags override.

    Parameters
    ----------
    file : Path or None
        Scenario file; None if there are only flags.
    given : mapping of str to object
        Values of the flags by dotted path; without a file, the model must be among them.

    Raises
    ------
    ScenarioError
        If the file is wrong, with all its problems, or there is no model.
    """
    if file is not None:
        scenario = load_scenario(file)
        record_paths(scenario)
        return scenario
    if "model" not in given:
        hint = "or name a scenario: 'blis list scenarios' lists them"
        raise ScenarioError(Problem(path="--model", rule="is required", hint=hint))
    return Scenario(model="named by a flag")


def overlaid(base: Scenario, changes: Mapping[str, Any], options: Mapping[str, Any]) -> Scenario:
    """Override settings of a scenario by flags.

    Parameters
    ----------
    base : Scenario
        Stays as it is.
    changes : mapping of str to object
        Values by dotted path.
    options : mapping of str to object
        The command's own options.

    Raises
    ------
    ScenarioError
        With the problems of all flags.
    """
    changes = effective_changes(base, {**_bundle(options), **changes})
    if options.get("plain_steps") is not None:
        changes = {**changes, "engine.macro_steps": not options["plain_steps"]}
    scenario = base.with_(**changes)
    record_paths(scenario)
    return scenario


def record_paths(scenario: Scenario) -> None:
    """Record the files that a scenario names: no output of the command may replace them."""
    parts: tuple[Any, ...] = (scenario, *scenario.groups)
    for part in parts:
        for attribute in fields_of(type(part)):
            path = getattr(part, attribute.name)
            if setting_of(attribute).is_path and path is not None:
                record_input(path)
        if part.model is not None:
            record_input(Path(part.model, "config.json"))


def _bundle(options: Mapping[str, Any]) -> dict[str, Any]:
    if options.get("policy_config") is None:
        return {}
    from blis_simpy.cluster.policy_bundle import load_policy_bundle

    return load_policy_bundle(options["policy_config"])


def shown_config(scenario: Scenario, file: Path | None, given: Mapping[str, Any], options: Mapping[str, Any]) -> bool:
    """Print the resolved configuration, if ``--show-config`` is given.

    Parameters
    ----------
    scenario : Scenario
        As it would be simulated.
    file : Path or None
        The scenario file, if there is one.
    given, options : mapping of str to object
        Values of the flags, and the command's own options.

    Returns
    -------
    bool
        Whether it is given.
    """
    if not options["show_config"]:
        return False
    from blis_simpy.cli.show_config import print_config

    steps = ("engine.macro_steps",) if options["plain_steps"] is not None else ()
    print_config(scenario, file, {*given, *_bundle(options), *steps})
    return True


@contextmanager
def named_by_origin(file: Path | None, flags: Sequence[Flag], given: Mapping[str, Any]) -> Iterator[None]:
    """Name the flag, or the line of the file, that each problem in a ``with`` block comes from.

    Parameters
    ----------
    file : Path or None
        The scenario file, if there is one.
    flags : sequence of Flag
        All that the command has.
    given : mapping of str to object
        Those that were given, by target.
    """
    try:
        yield
    except BlisError as error:
        raise type(error)(_origin(problem, file, flags, given) for problem in error.problems) from None


def _origin(problem: Problem, file: Path | None, flags: Sequence[Flag], given: Mapping[str, Any]) -> Problem:
    if problem.file is not None or not problem.path:
        return problem
    place = parts(problem.path)
    if place[0] not in {field.name for field in fields_of(Scenario)}:
        file = None
    targets = [problem.path.partition("[")[0], problem.path.partition(".")[0]]
    flag = min(
        (flag for flag in flags if flag.target in targets), key=lambda flag: targets.index(flag.target), default=None
    )
    if flag is not None and (file is None or flag.target in given):
        return attrs.evolve(problem, path=problem.path.replace(flag.target, flag.name, 1))
    if file is None:
        return problem
    return attrs.evolve(problem, file=str(file), line=loader.load(file).line_of(place))


@contextmanager
def request_counter() -> Iterator[Callable[[int, int], None] | None]:
    """Count requests on stderr within a ``with`` block; None if stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield None
        return

    def show(done: int, total: int) -> None:
        sys.stderr.write(f"\r{done} of {total} requests")
        sys.stderr.flush()

    try:
        yield show
    finally:
        sys.stderr.write("\r\x1b[K")


def check_outputs(
    scenario: Scenario,
    command: str,
    options: Mapping[str, Any],
    *,
    read: Sequence[tuple[str, str | None]] = (),
    written: Sequence[tuple[str, str | None]] = (),
) -> None:
    """Check the outputs before the simulation, and warn of flags without effect.

    Parameters
    ----------
    scenario : Scenario
        As it will be simulated.
    command : str
        Name of the command.
    options : mapping of str to object
        The command's own options.
    read, written : sequence of (str, str or None)
        Flags and paths of files that only this command reads or writes.

    Raises
    ------
    ScenarioError
        If a file cannot be written or would replace a file that is read, or the weights of the score are wrong.
    """
    prints = options["report"] in (None, "blis")
    if options["summarize_trace"] and not scenario.router.decision_log:
        _log.warning("--summarize-trace has no effect without --trace-level decisions")
    elif options["summarize_trace"] and not prints:
        _log.warning("--summarize-trace has no effect with --report %s", options["report"])
    if options["fitness_weights"] is not None and not prints:
        _log.warning("--fitness-weights has no effect with --report %s", options["report"])
    elif options["fitness_weights"] is not None:
        if command == "run":
            from blis_simpy.results.fitness import parse_weights

            parse_weights(options["fitness_weights"])
        else:
            _log.warning("--fitness-weights has no effect in a %s", command)
    from blis_simpy.files.outputs import check_writable

    written = [*written, ("--results-path", options["results_path"])]
    problems_of: dict[str, Sequence[Problem]] = {}
    for name, path in written:
        try:
            if path is not None:
                check_writable(path)
        except ScenarioError as error:
            problems_of.setdefault(name, error.problems)
    problems = [problem for found in problems_of.values() for problem in found]
    problems += output_problems(options)
    outputs = ((flag.name, options[flag.target]) for flag in OUTPUT_FLAGS)
    problems += same_files([*read, ("--policy-config", options["policy_config"])], [*written, *outputs])
    if problems:
        raise ScenarioError(problems)


@contextmanager
def log_lines(level: str | None) -> Iterator[None]:
    """Print log records of the library on stderr, one line each, within a ``with`` block.

    Parameters
    ----------
    level : str or None
        Minimum level, in upper or lower case; None means ``warn``.

    Raises
    ------
    ScenarioError
        If there is no such level.
    """
    level = (level or "warn").lower()
    if level not in _LEVELS:
        raise ScenarioError(Problem(path="--log", rule="is unknown", value=level, hint=nearest(level, _LEVELS)))
    logger = logging.getLogger("blis_simpy")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine())
    level_before, propagate_before = logger.level, logger.propagate
    logger.setLevel(_LEVELS[level])
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level_before)
        logger.propagate = propagate_before


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Write level and message on one line."""
        return f"{record.levelname.lower()}: {printable(' '.join(record.getMessage().split()))}"


def report(result: Result, command: str, options: Mapping[str, Any]) -> None:
    """Print the result on stdout.

    Parameters
    ----------
    result : Result
        Of the simulation.
    command : str
        Name of the command; the reference's report depends on it.
    options : mapping of str to object
        The command's own options. Without `report`, it is ``summary`` in a terminal, else ``blis``; also in a terminal
        if an option needs the latter.
    """
    weights, summarize = options["fitness_weights"], bool(options["summarize_trace"])
    form = options["report"] or ("summary" if sys.stdout.isatty() and not (weights or summarize) else "blis")
    if form == "summary":
        from blis_simpy.display.summary import result_page
        from blis_simpy.display.text_table import print_page

        print_page(result_page(result))
    elif form == "json":
        sys.stdout.write(result.report("json") + "\n")
    elif form == "blis":
        sys.stdout.write(result.blis_report(command, fitness_weights=weights, summarize_trace=summarize))
