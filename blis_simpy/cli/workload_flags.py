"""Flags of the workload: its kind, and settings that apply to several kinds."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy.cli.flags import Flag, flags_of
from blis_simpy.errors import Problem, ScenarioError
from blis_simpy.settings.fields import evolved, fields_of
from blis_simpy.trace_files.load_trace import Excerpt
from blis_simpy.workload.settings import Workload
from blis_simpy.workload.users import UserWorkload

if TYPE_CHECKING:
    from collections.abc import Mapping

    from blis_simpy.scenario import Scenario
    from blis_simpy.workload.traffic import Traffic

__all__ = ["TRACE_FLAGS", "WORKLOAD_FLAGS", "check_lengths", "workload_changes"]

_log = logging.getLogger(__name__)

TRACE_FLAGS = (
    Flag(
        name="--trace-header",
        target="trace_header",
        help="Header of the trace (YAML); required for TraceV2, unless there is a --trace-format.",
    ),
    Flag(
        name="--trace-data",
        target="trace_data",
        help="Requests of the trace (CSV, or in the format of --trace-format).",
    ),
    Flag(
        name="--trace-format",
        target="trace_format",
        help="Format of the trace, e.g. azure; 'blis convert --help' lists them. Default: detected from the file.",
        absent="",
    ),
)
"""Flags that name a trace."""

_EXCERPT_FLAGS = tuple(flags_of(Excerpt))
_LENGTH_FIELDS = ("prompt", "output")

WORKLOAD_FLAGS = (
    Flag(
        name="--workload",
        target="workload.preset",
        help="Traffic: distribution, as the other flags describe it, or the name of a preset of the defaults file.",
        default="distribution",
    ),
    Flag(
        name="--workload-spec",
        target="workload_spec",
        help="File of a workload specification; --rate and --num-requests change it.",
    ),
    *(flag for flag in flags_of(UserWorkload, "workload.")),
    *TRACE_FLAGS,
    *_EXCERPT_FLAGS,
)
"""Flags that name or make a workload, beside those of the settings of `Workload`."""


def workload_changes(base: Scenario, given: dict[str, Any]) -> dict[str, Any]:
    """Return the workload that the flags make of that of a scenario.

    Parameters
    ----------
    base : Scenario
        The scenario.
    given : dict of str to object
        Values of flags by target. Those of the workload are taken out, except settings of the workload that is
        returned, which are left as changes by dotted path.

    Raises
    ------
    ScenarioError
        If a flag does not apply to the workload, with a problem for each.
    """
    is_given = any(target.startswith("workload.") or target in _TARGETS for target in given)
    if not is_given and base.workload is not None:
        return {}
    workload = _named(base.workload, given)
    rate = given.pop("workload.rate", None) if not isinstance(workload, Workload) else None
    if "workload.num_requests" in given and _is_trace(workload):
        given["workload.limit"] = given.pop("workload.num_requests")
    _refuse_others(workload, given)
    changes: dict[str, Any] = {"workload": workload}
    if isinstance(workload, Workload):
        _choose_preset(workload, given)
    for field in _LENGTH_FIELDS:
        is_changed = any(target.startswith(f"workload.{field}.") for target in given)
        if is_changed and not _is_normal(getattr(workload, field)):
            changes[f"workload.{field}"] = getattr(Workload(), field)
    if rate is not None:
        changes["workload"] = _with_rate(workload, rate)
    return changes


_TARGETS = frozenset(
    flag.target for flag in (*WORKLOAD_FLAGS, *_EXCERPT_FLAGS) if not flag.target.startswith("workload.")
)


def _named(workload: Traffic | None, given: dict[str, Any]) -> Traffic:
    """Return the workload that the flags name, or else that of the scenario."""
    kinds = [("workload_spec", "--workload-spec"), ("trace_data", "--trace-data"), ("workload.users", "--concurrency")]
    named = [flag for target, flag in kinds if target in given]
    if len(named) > 1:
        raise ScenarioError(Problem(path=flag, rule=f"must not be given beside {named[0]}") for flag in named[1:])
    if "workload_spec" in given:
        from blis_simpy.workload.load_workload import load_workload

        specification = load_workload(given.pop("workload_spec"))
        given.setdefault("seed", specification.seed)
        return specification
    excerpt = {flag.target: given.pop(flag.target) for flag in _EXCERPT_FLAGS if flag.target in given}
    if "trace_data" in given:
        form = given.pop("trace_format", None)
        header = given.pop("trace_header", None)
        if header is not None:
            form = {"type": form or "trace-v2", "header": header}
        from blis_simpy.recorded_workloads import TraceWorkload

        return TraceWorkload(trace=given.pop("trace_data"), format=form, **excerpt)
    if excerpt:
        if not _is_trace(workload):
            names = [flag.name for flag in _EXCERPT_FLAGS if flag.target in excerpt]
            raise ScenarioError(Problem(path=name, rule="needs a trace: give --trace-data") for name in names)
        given |= {f"workload.{name}": value for name, value in excerpt.items()}
    workload = Workload() if workload is None else workload
    if "workload.users" in given and isinstance(workload, Workload):
        open_loop = workload.with_preset()
        return UserWorkload(
            users=1,  # until the flag is applied
            num_requests=open_loop.num_requests,
            prompt=open_loop.prompt,
            output=open_loop.output,
            prefix_tokens=open_loop.prefix_tokens,
        )
    return workload


def _is_trace(workload: Traffic | None) -> bool:
    if workload is None or isinstance(workload, Workload):
        return False
    from blis_simpy.recorded_workloads import TraceWorkload  # few scenarios have one

    return isinstance(workload, TraceWorkload)


def _refuse_others(workload: Traffic, given: Mapping[str, Any]) -> None:
    """Refuse flags of settings that the workload does not have."""
    fields = {field.name for field in fields_of(type(workload))}
    problems = [
        Problem(path=target, rule=f"does not apply to a {type(workload).__name__}")
        for target in given
        if target.startswith("workload.") and target.split(".")[1] not in fields
    ]
    problems += [Problem(path=flag.name, rule="needs --trace-data") for flag in TRACE_FLAGS if flag.target in given]
    if problems:
        raise ScenarioError(problems)


def _choose_preset(workload: Workload, given: dict[str, Any]) -> None:
    """Apply ``--workload``; flags of the lengths have no effect beside a preset, as in the reference."""
    if given.get("workload.preset") == "distribution":
        given["workload.preset"] = None
    preset = given.get("workload.preset", workload.preset)
    if preset is None:
        return
    for field in _LENGTH_FIELDS:
        here = [target for target in given if target.startswith(f"workload.{field}.")]
        if here:
            _log.warning("flags of the %s lengths have no effect: the preset %s sets them", field, preset)
        for target in here:
            del given[target]


def _is_normal(lengths: object) -> bool:
    from blis_simpy.workload.lengths import Gaussian

    return isinstance(lengths, Gaussian)


def _with_rate(workload: Traffic, rate: float) -> Traffic:
    try:
        return workload.with_rate(evolved(Workload(), rate=rate).rate)
    except ScenarioError as error:
        raise ScenarioError(attrs.evolve(problem, path="workload.rate") for problem in error.problems) from None


def check_lengths(scenario: Scenario, given: Mapping[str, Any]) -> None:
    """Apply the rules of the reference to the length flags; they are stricter than those of the distribution.

    Raises
    ------
    ScenarioError
        If a mean is not between its bounds, or a minimum below 1.
    """
    problems: list[Problem] = []
    for field in _LENGTH_FIELDS:
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
