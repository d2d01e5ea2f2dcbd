"""``blis observe``: send a workload to a real server and record the requests."""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy.cli.common import LOG_FLAG, log_lines, named_by_origin
from blis_simpy.cli.flags import Flag, flags_of, read_flags
from blis_simpy.cli.outputs import same_files
from blis_simpy.errors import Problem, ScenarioError
from blis_simpy.files.outputs import check_writable
from blis_simpy.realserver.settings import ObserveSettings
from blis_simpy.settings.description import Setting
from blis_simpy.settings.fields import fields_of
from blis_simpy.settings.updates import updated
from blis_simpy.workload.lengths import Gaussian
from blis_simpy.workload.settings import Workload
from blis_simpy.workload.workload_spec import WorkloadSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["observe"]

_log = logging.getLogger(__name__)

_SERVER_FLAGS = (
    *(attrs.evolve(flag, default=flag.default or None) for flag in flags_of(ObserveSettings)),
    Flag(name="--no-streaming", target="no_streaming", hint=bool, help="Short for --streaming never."),
    Flag(
        name="--extra-body",
        target="extra_body",
        help='Additional keys of the body of every request, as JSON, e.g. {"ignore_eos": true}.',
    ),
)
_OWN_FLAGS = (
    Flag(name="--trace-header", target="trace_header", help="Header of the trace to write (YAML); required."),
    Flag(name="--trace-data", target="trace_data", help="Requests of the trace to write (CSV); required."),
    Flag(
        name="--workload-spec",
        target="workload_spec",
        help="File of a workload specification; this or --rate is required.",
    ),
    Flag(name="--seed", target="seed", hint=int, help="Seed of the requests. Default: the specification's, or 42."),
    Flag(name="--horizon", target="horizon", hint=int, help="End of the arrivals; also text such as 30s. [ticks]"),
    LOG_FLAG,
)
# Here neither the number of requests nor the rate has a default.
_TRAFFIC_FLAGS = tuple(
    attrs.evolve(flag, default=None)
    for flag in flags_of(Workload, "workload.")
    if flag.target != "workload.max_in_flight"  # --max-concurrency
)
_REQUIRED = ("--server-url", "--model", "--trace-header", "--trace-data")
_LENGTHS = Gaussian(512, 50, 1, 2048)


@attrs.frozen
class _Inputs:
    """Checked values of the flags."""

    workload: WorkloadSpec | Workload
    seed: int | None
    horizon: int | None
    header: str
    data: str
    file: str
    settings: dict[str, Any]


def observe(argv: Sequence[str]) -> None:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str
        Arguments after ``observe``.
    """
    flags = (*_SERVER_FLAGS, *_OWN_FLAGS, *_TRAFFIC_FLAGS)
    about = "Send a workload to an OpenAI-compatible server and record the requests as a trace."
    given = read_flags(argv, flags, command="observe", about=about)
    with log_lines(given.get("log")), named_by_origin(None, flags, given):
        inputs = _checked(flags, given)
        from blis_simpy.realserver.observe import observe as send

        with _progress_bar() as progress:
            recording = send(
                inputs.workload,
                seed=inputs.seed,
                horizon=inputs.horizon,
                workload_file=inputs.file,
                progress=progress,
                **inputs.settings,
            )
        with _signals_ignored():
            recording.write(inputs.header, inputs.data)
            sys.stdout.write(f"{recording!r}\n")


def _checked(flags: Sequence[Flag], given: dict[str, Any]) -> _Inputs:
    """Check the flags before any request is sent."""
    problems = [
        Problem(path=flag.name, rule="is required")
        for name in _REQUIRED
        for flag in flags
        if flag.name == name and flag.target not in given
    ]
    settings = _settings(given, problems)
    bounds = {"seed": None, "horizon": None} | _bounds(given, problems)
    traffic = {name.removeprefix("workload."): value for name, value in given.items() if name.startswith("workload.")}
    if _is_nothing(traffic.get("num_requests")):
        del traffic["num_requests"]
    file = given.get("workload_spec", "")
    if not file and "rate" not in traffic:
        problems.append(Problem(path="--workload-spec", rule="or --rate is required"))
    for path in (given.get("trace_header"), given.get("trace_data")):
        if path is not None:
            with _collected(problems):
                check_writable(path)
    written = [("--trace-header", given.get("trace_header")), ("--trace-data", given.get("trace_data"))]
    problems += same_files([("--workload-spec", given.get("workload_spec"))], written)
    workload: WorkloadSpec | Workload = Workload(num_requests=0, prompt=_LENGTHS, output=_LENGTHS)
    with _collected(problems, "workload."):
        workload = updated(workload, traffic)
    if problems:
        raise ScenarioError(problems)
    if file:
        workload = _specified(file, traffic)
    if not workload.num_requests and bounds["horizon"] is None and workload.ends_at is None:
        if "workload.num_requests" not in given:
            raise ScenarioError(Problem(path="--num-requests", rule="or --horizon is required"))
        raise ScenarioError(Problem(path="--num-requests", rule="must be > 0 unless there is a horizon", value=0))
    return _Inputs(
        workload=workload,
        seed=bounds["seed"],
        horizon=bounds["horizon"],
        header=given["trace_header"],
        data=given["trace_data"],
        file=file,
        settings=settings,
    )


def _specified(file: str, traffic: dict[str, Any]) -> WorkloadSpec:
    """Read the specification; of the other traffic flags only the number of requests counts."""
    from blis_simpy.workload.load_workload import load_workload

    spec = load_workload(file)
    ignored = set(traffic) - {"num_requests"}
    if names := [flag.name for flag in _TRAFFIC_FLAGS if flag.target.removeprefix("workload.") in ignored]:
        _log.warning("no effect beside --workload-spec: %s", ", ".join(names))
    return updated(spec, {"num_requests": traffic["num_requests"]}) if "num_requests" in traffic else spec


def _settings(given: dict[str, Any], problems: list[Problem]) -> dict[str, Any]:
    """Values of the flags about the server, by the name of the setting."""
    values = {name: given[name] for field in fields_of(ObserveSettings) if (name := field.name) in given}
    if given.get("no_streaming"):
        values["streaming"] = "never"
    if "extra_body" in values:
        try:
            body = json.loads(values.pop("extra_body"), parse_constant=_refused)
        except (ValueError, RecursionError):
            body = None
        if isinstance(body, dict):
            values["extra_body"] = body
        else:
            problems.append(Problem(path="--extra-body", rule="must be a JSON object", value=given["extra_body"]))
    with _collected(problems):
        updated(ObserveSettings(url="http://localhost", model="any"), values)
    return values


def _bounds(given: dict[str, Any], problems: list[Problem]) -> dict[str, int]:
    """Return seed and horizon, if they are given."""
    bounds: dict[str, int] = {}
    for name, known in {"seed": Setting(help=""), "horizon": Setting(help="", dimension="duration")}.items():
        value = known.normalise(given.get(name))
        if value is None or (name == "horizon" and _is_nothing(value)):
            continue
        if problem := known.judge(value, int):
            problems.append(attrs.evolve(problem, path=f"--{name}"))
        bounds[name] = value
    return bounds


def _refused(word: str) -> float:
    raise ValueError(f"{word} is not a number of JSON")


def _is_nothing(bound: object) -> bool:
    """Whether a number of requests or a horizon means none."""
    return isinstance(bound, int) and bound <= 0


@contextmanager
def _collected(problems: list[Problem], prefix: str = "") -> Iterator[None]:
    """Add the problems of a ``with`` block to a list."""
    try:
        yield
    except ScenarioError as error:
        problems += [attrs.evolve(p, path=prefix + p.path) if p.path else p for p in error.problems]


@contextmanager
def _signals_ignored() -> Iterator[None]:
    """Ignore signals within a ``with`` block, so that a second Control-C does not lose the recording."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _progress_bar() -> Iterator[Callable[[int, int], None] | None]:
    """Show progress on stderr within a ``with`` block; None if stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("requests"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("requests", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
