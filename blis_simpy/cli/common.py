"""What the simulating commands share: their common flags, the scenario they describe, log lines and the report."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy.cli.flags import Flag, flags_of
from blis_simpy.cli.outputs import OUTPUT_FLAGS, output_problems, same_files
from blis_simpy.errors import BlisError, Problem, ScenarioError, nearest
from blis_simpy.load_files import load_scenario, shipped_scenarios
from blis_simpy.scenario import Scenario
from blis_simpy.settings import loader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from blis_simpy.results.result import Result

__all__ = [
    "COMMON_FLAGS",
    "LOG_FLAG",
    "base_scenario",
    "check_outputs",
    "find_scenario",
    "log_lines",
    "named_by_origin",
    "overlaid",
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
_REPORTS = ("summary", "blis", "none")

LOG_FLAG = Flag(
    name="--log", target="log", help=f"Least severe log lines to print: {', '.join(_LEVELS)}.", default="warn"
)
COMMON_FLAGS = (
    LOG_FLAG,
    Flag(name="--results-path", target="results_path", help="File to write the figures of every request to (JSON)."),
    *OUTPUT_FLAGS,
    Flag(
        name="--report",
        target="report",
        choices=_REPORTS,
        help="What to print: a table, the reference's report, or nothing. Default: summary in a terminal, else blis.",
    ),
    Flag(
        name="--plain-steps",
        target="plain_steps",
        hint=bool,
        help="Compute every step by itself: slower, same figures.",
    ),
    Flag(
        name="--policy-config",
        target="policy_config",
        help="Policy bundle (YAML), laid over the scenario and under the other flags.",
        absent="",
    ),
    Flag(
        name="--fitness-weights",
        target="fitness_weights",
        help="Score the run: weights of its figures, as name:weight,...; printed with the reference's report.",
        absent="",
    ),
    Flag(
        name="--summarize-trace",
        target="summarize_trace",
        hint=bool,
        help="Sum up the log of decisions, if there is one; printed with the reference's report.",
    ),
    Flag(
        name="--show-config",
        target="show_config",
        hint=bool,
        help="Print every setting and where its value comes from; simulate nothing.",
    ),
)


def setting_flags(*, workload: bool) -> tuple[Flag, ...]:
    """Derive the flags that change a scenario, with or without those of its traffic."""
    return tuple(flag for flag in flags_of(Scenario) if workload or not flag.target.startswith("workload."))


def find_scenario(name: str | None) -> Path | None:
    """Turn the word for a scenario into the path of its file.

    Parameters
    ----------
    name : str or None
        Path, or the name of a shipped scenario.

    Raises
    ------
    ScenarioError
        If it is a name that nothing is shipped under.
    """
    if name is None:
        return None
    path = Path(name)
    if path.suffix or len(path.parts) != 1 or path.exists():
        return path
    shipped = shipped_scenarios()
    if name not in shipped:
        raise ScenarioError(Problem(path="scenario", rule="is unknown", value=name, hint=nearest(name, shipped)))
    return shipped[name]


def base_scenario(file: Path | None, given: Mapping[str, Any]) -> Scenario:
    """Make what the flags are laid over.

    Parameters
    ----------
    file : Path or None
        Scenario file; None where the flags are all there is.
    given : mapping of str to object
        Values of the flags by dotted path; without a file, the model must be among them.

    Raises
    ------
    ScenarioError
        If the file is wrong, with all its problems, or there is no model.
    """
    if file is not None:
        return load_scenario(file)
    if "model" not in given:
        raise ScenarioError(Problem(path="--model", rule="is required"))
    return Scenario(model="named by a flag")


def overlaid(base: Scenario, changes: Mapping[str, Any], options: Mapping[str, Any]) -> Scenario:
    """Lay flags over a scenario.

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
    changes = {**_bundle(options), **changes}
    if options["plain_steps"] is not None:
        changes = {**changes, "engine.macro_steps": not options["plain_steps"]}
    return base.with_(**{**changes, **_freed_options(base, changes)})


# Options that a scenario may write beside the name of a policy, by the setting that stands for them elsewhere.
_POLICY_OPTIONS = {
    "token_bucket_capacity": ("admission", "capacity"),
    "token_bucket_refill_rate": ("admission", "refill_rate"),
    "scorers": ("routing", "scorers"),
}


def _freed_options(base: Scenario, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Policies of the scenario without the options that a flag or the bundle gives: those win over the file."""
    freed: dict[str, Any] = {}
    for setting, (policy, option) in _POLICY_OPTIONS.items():
        spec = freed.get(policy, changes.get(policy, getattr(base, policy)))
        if setting in changes and isinstance(spec, Mapping) and option in spec:
            freed[policy] = {key: value for key, value in spec.items() if key != option}
    return freed


def _bundle(options: Mapping[str, Any]) -> dict[str, Any]:
    if options["policy_config"] is None:
        return {}
    from blis_simpy.cluster.policy_bundle import load_policy_bundle

    return load_policy_bundle(options["policy_config"])


def shown_config(scenario: Scenario, file: Path | None, given: Mapping[str, Any], options: Mapping[str, Any]) -> bool:
    """Print the resolved configuration, if that was asked for in place of a simulation.

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
        Whether it was.
    """
    if not options["show_config"]:
        return False
    from blis_simpy.cli.show_config import print_config

    steps = ("engine.macro_steps",) if options["plain_steps"] is not None else ()
    print_config(scenario, file, {*given, *_bundle(options), *steps})
    return True


@contextmanager
def named_by_origin(file: Path | None, flags: Sequence[Flag], given: Mapping[str, Any]) -> Iterator[None]:
    """Say of every problem within a ``with`` block which flag, or which line of the file, it comes from.

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
    place = loader.parts(problem.path)
    if place[0] not in attrs.fields_dict(Scenario):
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
    """Count requests on stderr within a ``with`` block; None if nobody watches."""
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
    """Find out before the simulation what would go wrong after it, and warn of flags that have no effect.

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
        If something could not be written, would replace a file that is needed, or the weights of the score are wrong.
    """
    if options["summarize_trace"] and scenario.trace_level == "none":
        _log.warning("--summarize-trace has no effect without --trace-level decisions")
    if options["fitness_weights"] is not None:
        if command == "run":
            from blis_simpy.results.fitness import parse_weights

            parse_weights(options["fitness_weights"])
        else:
            _log.warning("--fitness-weights has no effect in a %s", command)
    from blis_simpy.files.text_files import check_writable

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
    problems += same_files([*read, ("--policy-config", options["policy_config"]), *written, *outputs])
    if problems:
        raise ScenarioError(problems)


@contextmanager
def log_lines(level: str | None) -> Iterator[None]:
    """Print the library's log records of a level and above on stderr, one line each, within a ``with`` block.

    Parameters
    ----------
    level : str or None
        In any case; None means ``warn``.

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
        return f"{record.levelname.lower()}: {' '.join(record.getMessage().split())}"


def report(result: Result, command: str, options: Mapping[str, Any]) -> None:
    """Print the outcome on stdout.

    Parameters
    ----------
    result : Result
        What was simulated.
    command : str
        Name of the command; the reference's report depends on it.
    options : mapping of str to object
        The command's own options. Without `report`, it is ``summary`` in a terminal, else ``blis``; also in a terminal
        where something is asked for that only the latter has.
    """
    weights, summarize = options["fitness_weights"], bool(options["summarize_trace"])
    form = options["report"] or ("summary" if sys.stdout.isatty() and not (weights or summarize) else "blis")
    if form == "summary":
        from blis_simpy.display.summary import summary_page
        from blis_simpy.display.text_table import print_page

        print_page(summary_page(result))
    elif form == "blis":
        sys.stdout.write(result.blis_report(command, fitness_weights=weights, summarize_trace=summarize))
