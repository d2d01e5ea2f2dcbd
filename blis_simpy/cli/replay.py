"""``blis replay``: simulate the requests of a recorded trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blis_simpy import registry
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
from blis_simpy.cli.flags import read_flags
from blis_simpy.cli.outputs import write_outputs
from blis_simpy.cli.scenario_flags import SET_FLAG, with_settings, with_targets
from blis_simpy.cli.slo_flag import SLO_FLAG
from blis_simpy.cli.trace_flags import format_flags, read_with_options
from blis_simpy.cli.workload_flags import TRACE_FLAGS
from blis_simpy.errors import Problem, ScenarioError, nearest
from blis_simpy.files.outputs import written_together
from blis_simpy.trace_files.load_trace import KIND, recognised

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from blis_simpy.trace_files.trace import Trace

__all__ = ["replay", "trace_of"]

_EXAMPLES = (
    "blis replay quickstart --trace-data azure.csv --trace-format azure --limit 1000",
    "blis replay --model qwen/qwen3-14b --trace-header trace.yaml --trace-data trace.csv --horizon 1h",
)


def replay(argv: Sequence[str]) -> None:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str
        Arguments after ``replay``.
    """
    of_formats = format_flags()
    flags = (*TRACE_FLAGS, *of_formats, *COMMON_FLAGS, SET_FLAG, SLO_FLAG, *setting_flags(workload=False))
    about = "Simulate the requests of a recorded trace on the deployment that a file, or the flags, describe."
    given = read_flags(argv, flags, command="replay", about=about, positional="scenario", examples=_EXAMPLES)
    options = {flag.target: given.pop(flag.target, None) for flag in (*TRACE_FLAGS, *COMMON_FLAGS, SET_FLAG, SLO_FLAG)}
    format_options = {flag.target: given.pop(flag.target) for flag in of_formats if flag.target in given}
    header, data = options["trace_header"], options["trace_data"]
    if data is None:
        required = TRACE_FLAGS[:2] if header is None and options["trace_format"] is None else TRACE_FLAGS[1:2]
        raise ScenarioError(Problem(path=flag.name, rule="is required") for flag in required)
    name = _format(options)
    if name == "trace-v2" and header is None and options["trace_format"] is None:
        raise ScenarioError(Problem(path="--trace-header", rule="is required"))
    with log_lines(options["log"]):
        file = find_scenario(given.pop("scenario", None))
        base = base_scenario(file, given)
        with named_by_origin(file, flags, given):
            scenario = with_settings(overlaid(base, given, options), options["set"] or (), "--set")
            scenario = with_targets(scenario, options["slo"] or ())
            if shown_config(scenario, file, given, options):
                return
            read = [("the scenario", None if file is None else str(file))]
            read += [(flag.name, options[flag.target]) for flag in TRACE_FLAGS[:2]]
            check_outputs(scenario, "replay", options, read=read)
            from blis_simpy.simulation import replay as simulate

            with request_counter() as progress:
                result = simulate(
                    scenario,
                    read_with_options(data, name, format_options, seed=given.get("seed"), header=header),
                    progress=progress,
                    check=options["check"],
                )
        with written_together():
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
    header, data = options["trace_header"], options["trace_data"]
    return read_with_options(data, _format(options), {}, seed=None, header=header)


def _format(options: Mapping[str, Any]) -> str:
    """Name of the format of a trace, as given or recognised."""
    header, data, name = (options[flag.target] for flag in TRACE_FLAGS)
    if name is None:
        return "trace-v2" if header is not None else recognised(data)
    known = registry.names(KIND)
    if name not in known:
        raise ScenarioError(Problem(path="--trace-format", rule="is unknown", value=name, hint=nearest(name, known)))
    return str(name)
