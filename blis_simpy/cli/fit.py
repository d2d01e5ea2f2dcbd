"""``blis fit``: estimate the options of the latency model ``kernels`` from a recording of a real server."""

from __future__ import annotations

import io
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy.cli.common import LOG_FLAG, base_scenario, find_scenario, log_lines, named_by_origin, setting_flags
from blis_simpy.cli.flags import Flag, read_flags
from blis_simpy.cli.outputs import same_files
from blis_simpy.cli.replay import trace_of
from blis_simpy.cli.workload_flags import TRACE_FLAGS
from blis_simpy.errors import BlisError, Problem, ScenarioError
from blis_simpy.files.outputs import write_bytes, written_together

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["fit"]

_HEADER, _DATA, _FORMAT = TRACE_FLAGS
_PICTURES = (".png", ".svg", ".pdf")
_FILES = (
    Flag(
        name="--scenario-output",
        target="scenario_output",
        help="Write the scenario with the estimated options (YAML).",
        absent="",
    ),
    Flag(
        name="--plot-output",
        target="plot_output",
        help="Write a plot of simulated against measured latencies and of the estimates (.png, .svg or .pdf).",
        absent="",
    ),
)
_OPTIONS = (
    Flag(
        name=_HEADER.name,
        target=_HEADER.target,
        help="Header of the recording (YAML), if it is TraceV2 and not beside its data under the same name.",
    ),
    Flag(
        name=_DATA.name,
        target=_DATA.target,
        help="Requests of the recording (CSV, or in the format of --trace-format); required.",
    ),
    Flag(
        name=_FORMAT.name,
        target=_FORMAT.target,
        help="Format of the recording, e.g. vllm-benchmark; detected from the file by default.",
        absent="",
    ),
    Flag(
        name="--held-out",
        target="held_out",
        hint=float,
        help="Share of the requests, the last to arrive, that are predicted and not fitted. [fraction]",
        default=0.5,
    ),
    Flag(
        name="--network-rtt-us",
        target="network_rtt_us",
        hint=int,
        help="Round-trip time between client and server; -1 means that of the header. [us]",
        default=-1,
    ),
    *_FILES,
    LOG_FLAG,
)
_NAMES = {"held_out": "--held-out", "network_rtt_us": "--network-rtt-us", "trace": _DATA.name}


def fit(argv: Sequence[str]) -> None:
    """Carry out the command.

    Parameters
    ----------
    argv : sequence of str
        Words after ``fit``.
    """
    flags = (*_OPTIONS, *setting_flags(workload=False))
    about = "Estimate the options of the latency model kernels from a recording of the server of a scenario."
    given = read_flags(argv, flags, command="fit", about=about, positional="scenario")
    options = {flag.target: given.pop(flag.target, flag.default) for flag in _OPTIONS}
    if options["trace_data"] is None:
        raise ScenarioError(Problem(path=_DATA.name, rule="is required"))
    with log_lines(options["log"]):
        file = find_scenario(given.pop("scenario", None))
        base = base_scenario(file, given)
        _check_files(options, None if file is None else str(file))
        with named_by_origin(file, flags, given):
            from blis_simpy.experiment.fit import fit as estimate

            rtt_us = options["network_rtt_us"]
            try:
                found = estimate(
                    trace_of(options),
                    base.with_(**given),
                    held_out=options["held_out"],
                    network_rtt_us=None if rtt_us == -1 else rtt_us,
                )
            except BlisError as error:
                raise type(error)(_named_by_flag(problem) for problem in error.problems) from None
        with written_together():
            if options["scenario_output"] is not None:
                found.scenario.write(options["scenario_output"])
            if options["plot_output"] is not None:
                write_bytes(options["plot_output"], _picture(found, Path(options["plot_output"]).suffix))
        sys.stdout.write(f"{found!r}\n\n{found.snippet()}")


def _picture(found: Any, ending: str) -> bytes:
    figure: Any = found.plot().figure
    content = io.BytesIO()
    figure.savefig(content, format=ending.removeprefix("."))
    return content.getvalue()


def _check_files(options: Mapping[str, Any], scenario: str | None) -> None:
    """Find out before the simulations what could not be written after them."""
    from blis_simpy.files.outputs import check_writable

    read, written = ([(flag.name, options[flag.target]) for flag in flags] for flags in ((_HEADER, _DATA), _FILES))
    problems = list(same_files([("the scenario", scenario), *read], written))
    picture = options["plot_output"]
    if picture is not None and Path(picture).suffix not in _PICTURES:
        problems.append(Problem(path="--plot-output", rule=f"must end in {', '.join(_PICTURES)}", value=picture))
    if picture is not None and find_spec("matplotlib") is None:
        problems.append(Problem(path="--plot-output", rule="needs matplotlib", hint="pip install blis-simpy[plot]"))
    for flag in _FILES:
        path = options[flag.target]
        if path is not None:
            try:
                check_writable(path)
            except BlisError as error:
                problems += error.problems
    if problems:
        raise ScenarioError(problems)


def _named_by_flag(problem: Problem) -> Problem:
    return attrs.evolve(problem, path=_NAMES.get(problem.path, problem.path))
