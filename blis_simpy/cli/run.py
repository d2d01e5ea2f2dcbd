"""``blis run``: simulate a scenario, given by a file, by flags, or by both."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, cast

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
from blis_simpy.files.outputs import written_together
from blis_simpy.settings.fields import evolved
from blis_simpy.workload.settings import Workload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blis_simpy.scenario import Scenario
    from blis_simpy.workload.traffic import Traffic
    from blis_simpy.workload.workload_spec import WorkloadSpec

__all__ = ["run"]

_LOG = logging.getLogger(__name__)

_TRACE_OUTPUT = Flag(
    name="--trace-output",
    target="trace_output",
    help="Write the requests as a trace for a replay, to this name with .yaml and .csv.",
    absent="",
)
_OWN_FLAGS = (
    Flag(
        name="--workload",
        target="workload.preset",
        help="Traffic: distribution, as the other flags describe it, or the name of a preset of the defaults file.",
        default="distribution",
    ),
    Flag(
        name="--workload-spec",
        target="workload_spec",
        help="File of a workload specification; of the other workload flags only --num-requests applies to it.",
    ),
)


def run(argv: Sequence[str]) -> None:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str
        Arguments after ``run``.
    """
    flags = (*_OWN_FLAGS, _TRACE_OUTPUT, *COMMON_FLAGS, *setting_flags(workload=True))
    about = "Simulate a scenario, given by a file, by flags, or by a file whose settings the flags override."
    given = read_flags(argv, flags, command="run", about=about, positional="scenario")
    options = {flag.target: given.pop(flag.target, None) for flag in (_TRACE_OUTPUT, *COMMON_FLAGS)}
    with log_lines(options["log"]):
        file = find_scenario(given.pop("scenario", None))
        base = base_scenario(file, given)
        specification = given.get("workload_spec")
        with named_by_origin(file, flags, given):
            scenario = overlaid(base, {**_workload_changes(base, given), **given}, options)
            _check_lengths(scenario, given)
            if shown_config(scenario, file, given, options):
                return
            prefix = options["trace_output"]
            written = (
                [] if prefix is None else [("--trace-output", f"{prefix}{ending}") for ending in (".yaml", ".csv")]
            )
            read = [("the scenario", None if file is None else str(file)), ("--workload-spec", specification)]
            check_outputs(scenario, "run", options, read=read, written=written)
            with request_counter() as progress:
                result = scenario.run(progress=progress, check=options["check"])
        with written_together():
            if options["results_path"] is not None:
                result.write_metrics(options["results_path"])
            if prefix is not None:
                result.write_trace(prefix)
            write_outputs(result, options)
        report(result, "run", options)


def _workload_changes(base: Scenario, given: dict[str, Any]) -> dict[str, Any]:
    """Return the workload that the flags change: one with normal lengths where a length flag is given."""
    from blis_simpy.workload.lengths import Gaussian

    workload: Traffic = base.workload or Workload()
    file = given.pop("workload_spec", None)
    if file is not None:
        from blis_simpy.workload.load_workload import load_workload

        workload = specification = load_workload(file)
        given.setdefault("seed", specification.seed)
    if not isinstance(workload, Workload):
        specification = cast("WorkloadSpec", workload)
        limit = given.get("workload.num_requests", specification.num_requests)
        ignored = [target for target in given if target.startswith("workload.")]
        for target in ignored:
            del given[target]
        names = [flag.name for flag in (*_OWN_FLAGS, *setting_flags(workload=True)) if flag.target in ignored]
        if names := [name for name in names if name != "--num-requests"]:
            _LOG.warning("no effect beside a workload specification: %s", ", ".join(names))
        return {"workload": evolved(specification, num_requests=limit)}
    changes: dict[str, Any] = {"workload": workload}
    if given.get("workload.preset") == "distribution":
        given["workload.preset"] = None
    preset = given.get("workload.preset", workload.preset)
    for field in ("prompt", "output"):
        here = [target for target in given if target.startswith(f"workload.{field}.")]
        if here and preset is not None:
            _LOG.warning("flags of the %s lengths have no effect: the preset %s sets them", field, preset)
            for target in here:
                del given[target]
        elif here and not isinstance(getattr(workload, field), Gaussian):
            changes[f"workload.{field}"] = getattr(Workload(), field)
    return changes


def _check_lengths(scenario: Scenario, given: dict[str, Any]) -> None:
    """Apply the rules of the reference to the length flags; they are stricter than those of the distribution."""
    problems: list[Problem] = []
    for field in ("prompt", "output"):
        if not any(target.startswith(f"workload.{field}.") for target in given):
            continue
        lengths = getattr(scenario.workload, field)
        flag = f"--{field}-tokens"
        if lengths.min < 1:
            problems.append(Problem(path=f"{flag}-min", rule="must be >= 1", value=lengths.min))
        if not lengths.min <= lengths.mean <= lengths.max:
            problems.append(
                Problem(path=flag, rule=f"must be within [{lengths.min}, {lengths.max}]", value=lengths.mean)
            )
    if problems:
        raise ScenarioError(problems)
