"""``blis replay``: simulate the requests of a recorded trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    from collections.abc import Sequence

__all__ = ["replay"]

_TRACE_FLAGS = (
    Flag(name="--trace-header", target="trace_header", help="Header of the trace (YAML); required."),
    Flag(name="--trace-data", target="trace_data", help="Requests of the trace (CSV); required."),
)


def replay(argv: Sequence[str]) -> None:
    """Carry out the command.

    Parameters
    ----------
    argv : sequence of str
        Words after ``replay``.
    """
    flags = (*_TRACE_FLAGS, *COMMON_FLAGS, *setting_flags(workload=False))
    about = "Simulate the requests of a recorded trace on the deployment that a file, or the flags, describe."
    given = read_flags(argv, flags, command="replay", about=about, positional="scenario")
    options = {flag.target: given.pop(flag.target, None) for flag in (*_TRACE_FLAGS, *COMMON_FLAGS)}
    missing = [flag for flag in _TRACE_FLAGS if options[flag.target] is None]
    if missing:
        raise ScenarioError(Problem(path=flag.name, rule="is required") for flag in missing)
    with log_lines(options["log"]):
        file = find_scenario(given.pop("scenario", None))
        base = base_scenario(file, given)
        with named_by_origin(file, flags, given):
            scenario = overlaid(base, given, options)
            if shown_config(scenario, file, given, options):
                return
            check_outputs(scenario, "replay", options)
            from blis_simpy.simulation import replay as simulate

            with request_counter() as progress:
                result = simulate(
                    scenario, header=options["trace_header"], data=options["trace_data"], progress=progress
                )
        if options["results_path"] is not None:
            result.write_replay_results(options["results_path"])
        write_outputs(result, options)
        report(result, "replay", options)
