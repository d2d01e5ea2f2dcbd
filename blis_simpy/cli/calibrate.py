"""``blis calibrate``: compare a recording of a real server with a replay of it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy.cli.common import LOG_FLAG, log_lines
from blis_simpy.cli.flags import Flag, read_flags
from blis_simpy.cli.outputs import same_files
from blis_simpy.errors import BlisError, Problem, ScenarioError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from blis_simpy.calibration.calibrate import Calibration

__all__ = ["calibrate"]

_log = logging.getLogger(__name__)

_FILES = (
    Flag(name="--trace-header", target="trace_header", help="Header of the recording (YAML); required.", absent=""),
    Flag(name="--trace-data", target="trace_data", help="Requests of the recording (CSV); required.", absent=""),
    Flag(
        name="--sim-results",
        target="sim_results",
        help="Results of the replay, written by 'blis replay --results-path' (JSON); required.",
        absent="",
    ),
    Flag(name="--report", target="report", help="Write the report to this file (JSON); required.", absent=""),
)
_FROM_HEADER = -1
_OPTIONS = (
    Flag(
        name="--warmup-requests",
        target="warm_up_requests",
        hint=int,
        help="Number of requests to exclude, by id from 0; -1 means that of the header.",
        default=_FROM_HEADER,
    ),
    Flag(
        name="--network-rtt-us",
        target="network_rtt_us",
        hint=int,
        help="Round-trip time to add to simulated latencies; -1 means that of the header. [us]",
        default=_FROM_HEADER,
    ),
    Flag(
        name="--network-bandwidth-mbps",
        target="network_bandwidth_mbps",
        hint=float,
        help="Bandwidth of the transfer of prompt and output; 0 means no transfer time. [Mbit/s]",
        default=0.0,
    ),
    Flag(
        name="--snake-case",
        target="snake_case",
        hint=bool,
        help="Write the names of metrics as real_p50, mape, ... instead of RealP50, MAPE, ...",
    ),
)


def calibrate(argv: Sequence[str]) -> None:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str
        Arguments after ``calibrate``.
    """
    flags = (*_FILES, *_OPTIONS, attrs.evolve(LOG_FLAG, default="info"))
    about = "Compare the latencies of a recording with those of its replay; writes a report, prints nothing."
    given = read_flags(argv, flags, command="calibrate", about=about)
    missing = [flag for flag in _FILES if flag.target not in given]
    if missing:
        raise ScenarioError(Problem(path=flag.name, rule="is required") for flag in missing)
    with log_lines(given.get("log", "info")):
        found = _checked(given)
        from blis_simpy.calibration.calibrate import calibrate as compare
        from blis_simpy.trace_files.trace_v2 import read_trace

        trace = read_trace(given["trace_header"], given["trace_data"])
        calibration = compare(trace, given["sim_results"], **found)
        calibration.write_report(given["report"], snake_case=bool(given.get("snake_case")))
        for line in _summary(calibration):
            _log.info("%s", line)


def _checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """Find out what is wrong with the flags before a file is read; -1 becomes None, which means the header's."""
    from blis_simpy.calibration.calibrate import check_network
    from blis_simpy.files.outputs import check_writable

    warm_up, rtt_us = (given.get(name, _FROM_HEADER) for name in ("warm_up_requests", "network_rtt_us"))
    found = {
        "warm_up_requests": None if warm_up == _FROM_HEADER else warm_up,
        "network_rtt_us": None if rtt_us == _FROM_HEADER else rtt_us,
        "network_bandwidth_mbps": given.get("network_bandwidth_mbps", 0.0),
    }
    problems: list[Problem] = []
    if not isinstance(warm_up, int):
        problems.append(Problem(path="--warmup-requests", rule="must be an integer", value=warm_up))
    for check in (
        lambda: check_network(
            found["network_rtt_us"],
            found["network_bandwidth_mbps"],
            ("--network-rtt-us", "--network-bandwidth-mbps"),
        ),
        lambda: check_writable(given["report"]),
    ):
        problems += _problems_of(check)
    names = [(flag.name, given[flag.target]) for flag in _FILES]
    problems += same_files(names[:-1], names[-1:])
    if problems:
        raise ScenarioError(problems)
    return found


def _problems_of(check: Callable[[], None]) -> Sequence[Problem]:
    try:
        check()
    except BlisError as error:
        return error.problems
    return ()


def _summary(calibration: Calibration) -> Iterator[str]:
    yield (
        f"{calibration.ttft.count} requests compared; {calibration.warm_up_excluded} excluded as warm-up, "
        f"{calibration.token_mismatches} with other token counts; unmatched: {calibration.unmatched_real} recorded, "
        f"{calibration.unmatched_sim} simulated"
    )
    for name, agreement in (("TTFT", calibration.ttft), ("E2E", calibration.e2e)):
        real, simulated = agreement.real[50] / 1000, agreement.simulated[50] / 1000
        yield (
            f"{name}: p50 {real:,.3f} ms measured, {simulated:,.3f} ms simulated; MAPE {agreement.mape:.1%}, "
            f"r {agreement.pearson_r:.3f}, {agreement.bias or 'no bias'}, {agreement.quality}"
        )
