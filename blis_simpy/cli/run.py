"""``blis run``: simulate a scenario, given by a file, by flags, or by both."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from blis_simpy.cli.common import (
    COMMON_FLAGS,
    base_scenario,
    check_outputs,
    find_scenario,
    log_lines,
    named_by_origin,
    report,
    request_counter,
    shown_config,
)
from blis_simpy.cli.flags import Flag, read_flags
from blis_simpy.cli.outputs import write_outputs
from blis_simpy.cli.scenario_flags import scenario_flags, with_flags
from blis_simpy.files.outputs import written_together

if TYPE_CHECKING:
    from collections.abc import Sequence


__all__ = ["run"]

_LOG = logging.getLogger(__name__)

_TRACE_OUTPUT = Flag(
    name="--trace-output",
    target="trace_output",
    help="Write the requests as a trace for a replay, to this name with .yaml and .csv.",
    absent="",
)

_EXAMPLES = (
    "blis run quickstart --rate 28",
    "blis run --model qwen/qwen3-14b --concurrency 64 --num-requests 1000",
    "blis run fleet.yaml --set router.policy=least-loaded --report summary",
)


def run(argv: Sequence[str]) -> None:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str
        Arguments after ``run``.
    """
    own = (_TRACE_OUTPUT, *COMMON_FLAGS)
    flags = tuple({flag.name: flag for flag in (*own, *scenario_flags())}.values())
    about = "Simulate a scenario, given by a file, by flags, or by a file whose settings the flags override."
    given = read_flags(argv, flags, command="run", about=about, positional="scenario", examples=_EXAMPLES)
    options = {flag.target: given.pop(flag.target, None) for flag in own}
    with log_lines(options["log"]):
        file = find_scenario(given.pop("scenario", None))
        base = base_scenario(file, given)
        read = [("--workload-spec", given.get("workload_spec")), ("--trace-data", given.get("trace_data"))]
        with named_by_origin(file, flags, given):
            options_of_scenario = {name: value for name, value in options.items() if value is not None}
            scenario = with_flags(base, {**given, **options_of_scenario})
            if shown_config(scenario, file, given, options):
                return
            prefix = options["trace_output"]
            written = (
                [] if prefix is None else [("--trace-output", f"{prefix}{ending}") for ending in (".yaml", ".csv")]
            )
            inputs = [("the scenario", None if file is None else str(file)), *read]
            check_outputs(scenario, "run", options, read=inputs, written=written)
            with request_counter() as progress:
                result = scenario.run(progress=progress, check=options["check"])
        with written_together():
            if options["results_path"] is not None:
                result.write_metrics(options["results_path"])
            if prefix is not None:
                result.write_trace(prefix)
            write_outputs(result, options)
        report(result, "run", options)
