"""``blis replay``: simulate the requests of a recorded trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy.cli.common import (
    COMMON_FLAGS,
    base_scenario,
    check_outputs,
    find_scenario,
    log_lines,
    named_by_origin,
    overlaid,
    report,
    request_counter,
    setting_flags,
    shown_config,
)
from blis_simpy.cli.flags import Flag, read_flags
from blis_simpy.cli.outputs import write_outputs
from blis_simpy.errors import Problem, ScenarioError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from blis_simpy.trace_files.trace import Trace

__all__ = ["TRACE_FLAGS", "replay", "trace_of"]

TRACE_FLAGS = (
    Flag(
        name="--trace-header",
        target="trace_header",
        help="Header of the trace (YAML); required without --trace-format.",
    ),
    Flag(
        name="--trace-data",
        target="trace_data",
        help="Requests of the trace (CSV, or in the format of --trace-format); required.",
    ),
    Flag(
        name="--trace-format",
        target="trace_format",
        help="Format of a trace other than TraceV2, e.g. azure; 'blis convert --help' lists the formats.",
        absent="",
    ),
)


def replay(argv: Sequence[str]) -> None:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str
        Arguments after ``replay``.
    """
    flags = (*TRACE_FLAGS, *COMMON_FLAGS, *setting_flags(workload=False))
    about = "Simulate the requests of a recorded trace on the deployment that a file, or the flags, describe."
    given = read_flags(argv, flags, command="replay", about=about, positional="scenario")
    options = {flag.target: given.pop(flag.target, None) for flag in (*TRACE_FLAGS, *COMMON_FLAGS)}
    required = TRACE_FLAGS[:2] if options["trace_format"] is None else TRACE_FLAGS[1:2]
    missing = [flag for flag in required if options[flag.target] is None]
    if missing:
        raise ScenarioError(Problem(path=flag.name, rule="is required") for flag in missing)
    with log_lines(options["log"]):
        file = find_scenario(given.pop("scenario", None))
        base = base_scenario(file, given)
        with named_by_origin(file, flags, given):
            scenario = overlaid(base, given, options)
            if shown_config(scenario, file, given, options):
                return
            read = [("the scenario", None if file is None else str(file))]
            read += [(flag.name, options[flag.target]) for flag in TRACE_FLAGS[:2]]
            check_outputs(scenario, "replay", options, read=read)
            trace = trace_of(options)
            from blis_simpy.simulation import replay as simulate

            with request_counter() as progress:
                result = simulate(scenario, trace, progress=progress)
        if options["results_path"] is not None:
            result.write_replay_results(options["results_path"])
        write_outputs(result, options)
        report(result, "replay", options)


def trace_of(options: Mapping[str, Any]) -> Trace:
    """Read the trace that `TRACE_FLAGS` name: TraceV2 where there is a header, else of its format, named or recognised.

    Raises
    ------
    WorkloadTraceError
        If the trace cannot be read.
    """
    header, data, name = (options[flag.target] for flag in TRACE_FLAGS)
    if name is None and header is not None:
        from blis_simpy.trace_files.trace_v2 import read_trace

        return read_trace(header, data)
    from blis_simpy.trace_files.load_trace import load_trace

    if header is None:
        return load_trace(data, format=name)
    try:
        return load_trace(data, format=name, header=header)
    except ScenarioError as error:
        raise ScenarioError(
            attrs.evolve(problem, path="--trace-header") if problem.path == "header" else problem
            for problem in error.problems
        ) from None
