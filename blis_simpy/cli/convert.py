"""``blis convert``: workload specifications from the formats of other tools and from presets, as YAML on stdout."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy.cli.common import LOG_FLAG, log_lines, named_by_origin
from blis_simpy.cli.flags import Flag, read_flags
from blis_simpy.errors import Problem, ScenarioError
from blis_simpy.settings.fields import nearest
from blis_simpy.workload.compose import from_inference_perf, from_preset, from_servegen
from blis_simpy.workload.spec import WorkloadSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["convert"]


@attrs.frozen
class _Source:
    """A format to convert from: what it is, its flags (the first one is required), and how to read it."""

    about: str
    flags: tuple[Flag, ...]
    read: Callable[[Mapping[str, Any]], WorkloadSpec]


def _servegen(given: Mapping[str, Any]) -> WorkloadSpec:
    spec = from_servegen(given["servegen_data.path"])
    # The fractions are rates of their own, so their sum keeps the load that was measured.
    return attrs.evolve(spec, aggregate_rate=sum(client.rate_fraction for client in spec.clients))


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
        "Spell out a folder in the layout of ServeGen, with the rates that were measured.",
        (Flag(name="--path", target="servegen_data.path", help="The folder.", absent=""),),
        _servegen,
    ),
    "preset": _Source(
        "Spell out a named workload of the defaults file.",
        (
            Flag(name="--name", target="workload.preset", help="Its name, e.g. chatbot.", absent=""),
            Flag(name="--rate", target="aggregate_rate", hint=float, help="Requests per second.", default=1.0),
            Flag(name="--num-requests", target="num_requests", hint=int, help="Number of requests.", default=100),
            Flag(name="--defaults-filepath", target="defaults", help="Defaults file.", absent=""),
        ),
        _preset,
    ),
    "inference-perf": _Source(
        "Spell out the load of the inference-perf benchmark.",
        (Flag(name="--spec", target="spec", help="Specification with the key inference_perf.", absent=""),),
        _inference_perf,
    ),
}


def convert(argv: Sequence[str]) -> None:
    """Carry out the command.

    Parameters
    ----------
    argv : sequence of str
        Words after ``convert``: what to convert from, then flags.
    """
    if not argv:
        raise ScenarioError(Problem(path="convert", rule="needs a source", hint=f"known: {', '.join(_SOURCES)}"))
    name, *words = argv
    if name in ("-h", "--help"):
        sys.stdout.write(_help())
        return
    if name not in _SOURCES:
        raise ScenarioError(Problem(path="convert", rule="is unknown", value=name, hint=nearest(name, _SOURCES)))
    source = _SOURCES[name]
    flags = (*source.flags, LOG_FLAG)
    given = read_flags(words, flags, command=f"convert {name}", about=source.about)
    required = source.flags[0]
    if required.target not in given:
        raise ScenarioError(Problem(path=required.name, rule="is required"))
    with log_lines(given.get("log")), named_by_origin(None, flags, given):
        text = source.read(given).to_yaml()
    sys.stdout.write(text)


def _help() -> str:
    width = max(map(len, _SOURCES))
    sources = "\n".join(f"  {name:<{width}}  {source.about}" for name, source in _SOURCES.items())
    return f"usage: blis convert SOURCE [flags]\n\nPrint a workload specification (YAML).\n\nsources:\n{sources}\n"
