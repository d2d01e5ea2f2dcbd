"""``blis convert``: from the formats of other tools and from presets to what the other commands read.

Descriptions of traffic become workload specifications, as YAML on stdout; recorded requests become traces, two files.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy import registry
from blis_simpy.cli.common import LOG_FLAG, log_lines, named_by_origin
from blis_simpy.cli.flags import Flag, flags_of, read_flags
from blis_simpy.cli.outputs import same_files
from blis_simpy.errors import Problem, ScenarioError, nearest
from blis_simpy.files.outputs import check_writable
from blis_simpy.trace_files.column_names import CONTENT
from blis_simpy.trace_files.load_trace import KIND, Excerpt, load_trace
from blis_simpy.trace_files.trace_v2 import write_trace
from blis_simpy.workload.compose import from_inference_perf, from_preset, from_servegen
from blis_simpy.workload.workload_spec import WorkloadSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from blis_simpy.trace_files.trace import Trace

__all__ = ["convert"]

_log = logging.getLogger(__name__)

_TRACE_FLAGS = (
    Flag(name="--path", target="path", help="File to convert; required.", absent=""),
    Flag(name="--output", target="output", help="Name of the trace, without .yaml and .csv; required.", absent=""),
)


@attrs.frozen
class _Source:
    """A format to convert from: what it is, its flags (the first one is required), and how to read it."""

    about: str
    flags: tuple[Flag, ...]
    read: Callable[[Mapping[str, Any]], WorkloadSpec]


def _servegen(given: Mapping[str, Any]) -> WorkloadSpec:
    span = {name: given.get(f"servegen_data.{name}", 0) for name in ("span_start", "span_end")}
    return from_servegen(given["servegen_data.path"], **span)


def _preset(given: Mapping[str, Any]) -> WorkloadSpec:
    num_requests = given.get("num_requests", 100)
    if not isinstance(num_requests, int):
        raise ScenarioError.at("num_requests", "must be an integer", num_requests)
    return from_preset(
        given["workload.preset"],
        rate=given.get("aggregate_rate", 1.0),
        num_requests=num_requests,
        defaults=given.get("defaults"),
    )


def _inference_perf(given: Mapping[str, Any]) -> WorkloadSpec:
    return from_inference_perf(given["spec"])


# The targets are the paths under which the library reports problems.
_SOURCES = {
    "servegen": _Source(
        "Print a folder in the layout of ServeGen as a specification, with the measured rates.",
        (
            Flag(name="--path", target="servegen_data.path", help="The folder.", absent=""),
            Flag(name="--span-start", target="servegen_data.span_start", hint=int, help="First second that is used."),
            Flag(
                name="--span-end",
                target="servegen_data.span_end",
                hint=int,
                help="First second that is not used any more.",
            ),
        ),
        _servegen,
    ),
    "preset": _Source(
        "Print a preset of the defaults file as a specification.",
        (
            Flag(name="--name", target="workload.preset", help="Name of the preset, e.g. chatbot.", absent=""),
            Flag(name="--rate", target="aggregate_rate", hint=float, help="Requests per second.", default=1.0),
            Flag(name="--num-requests", target="num_requests", hint=int, help="Number of requests.", default=100),
            Flag(name="--defaults-filepath", target="defaults", help="Defaults file.", absent=""),
        ),
        _preset,
    ),
    "inference-perf": _Source(
        "Print the load of the inference-perf benchmark as a specification.",
        (Flag(name="--spec", target="spec", help="Specification with the key inference_perf.", absent=""),),
        _inference_perf,
    ),
}


def convert(argv: Sequence[str]) -> None:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str
        Words after ``convert``: what to convert from, then flags.
    """
    if not argv:
        raise ScenarioError(
            Problem(
                path="convert", rule="needs a source", hint=f"known: {', '.join((*_SOURCES, *registry.names(KIND)))}"
            )
        )
    name, *words = argv
    if name in registry.names(KIND):
        _convert_trace(name, words)
        return
    if name in ("-h", "--help"):
        sys.stdout.write(_help())
        return
    if name not in _SOURCES:
        known = (*_SOURCES, *registry.names(KIND))
        raise ScenarioError(Problem(path="convert", rule="is unknown", value=name, hint=nearest(name, known)))
    source = _SOURCES[name]
    flags = (*source.flags, LOG_FLAG)
    given = read_flags(words, flags, command=f"convert {name}", about=source.about)
    required = source.flags[0]
    if required.target not in given:
        raise ScenarioError(Problem(path=required.name, rule="is required"))
    with log_lines(given.get("log")), named_by_origin(None, flags, given):
        text = source.read(given).to_yaml()
    sys.stdout.write(text)


def _convert_trace(name: str, words: Sequence[str]) -> None:
    """Read a trace of some format and write it in the layout TraceV2."""
    cls: Any = registry.get(KIND, name)
    flags = (*_TRACE_FLAGS, *flags_of(Excerpt), *flags_of(cls), LOG_FLAG)
    given = read_flags(words, flags, command=f"convert {name}", about=_about(cls))
    missing = [flag for flag in _TRACE_FLAGS if flag.target not in given]
    if missing:
        raise ScenarioError(Problem(path=flag.name, rule="is required") for flag in missing)
    path, prefix = (given.pop(flag.target) for flag in _TRACE_FLAGS)
    with log_lines(given.pop("log", None)), named_by_origin(None, flags, given):
        files = [f"{prefix}{ending}" for ending in (".yaml", ".csv")]
        if problems := list(same_files([("--path", path)], [("--output", file) for file in files])):
            raise ScenarioError(problems)
        for file in files:
            check_writable(file)
        trace = load_trace(path, format=name, **given)
        if lost := ", ".join(_lost(trace)):
            _log.warning("%s: not kept: %s", path, lost)
        write_trace(trace, f"{prefix}.yaml", f"{prefix}.csv")
    sys.stdout.write(f"{len(trace):,} requests in {prefix}.yaml and {prefix}.csv\n")


def _lost(trace: Trace) -> Iterator[str]:
    yield from trace.not_kept
    if trace.contents is not None:
        yield f"common prefixes of prompts, for programs that ignore the column {CONTENT}"


def _about(cls: Any) -> str:
    return (cls.__doc__ or "").partition("\n")[0]


def _help() -> str:
    sources = {name: source.about for name, source in _SOURCES.items()}
    formats = {name: _about(registry.get(KIND, name)) for name in registry.names(KIND)}
    width = max(map(len, (*sources, *formats)))

    def listed(entries: Mapping[str, str]) -> str:
        return "\n".join(f"  {name:<{width}}  {about}" for name, about in entries.items())

    return (
        "usage: blis convert SOURCE [flags]\n\n"
        f"Print a workload specification (YAML), made from\n{listed(sources)}\n\n"
        f"Write a trace (TraceV2, --output NAME gives NAME.yaml and NAME.csv), made from\n{listed(formats)}\n"
    )
