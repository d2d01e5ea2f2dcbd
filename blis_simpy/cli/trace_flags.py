"""Flags of the commands that read traces, derived from the options of the formats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy import registry
from blis_simpy.cli.flags import Flag, flags_of
from blis_simpy.errors import Problem, ScenarioError
from blis_simpy.trace_files.load_trace import KIND, Excerpt, load_trace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from blis_simpy.trace_files.trace import Trace

__all__ = ["format_flags", "read_with_options"]

_OWN_SPELLING = frozenset({"header", "seed"})
"""Options for which a replay has flags of its own."""


def format_flags() -> tuple[Flag, ...]:
    """Derive the flags of a replay from the options of all formats; the help of each says which formats have it."""
    flags: dict[str, Flag] = {flag.name: flag for flag in flags_of(Excerpt)}
    formats: dict[str, list[str]] = {}
    for name in registry.names(KIND):
        for flag in flags_of(registry.get(KIND, name)):
            if flag.target not in _OWN_SPELLING:
                flags.setdefault(flag.name, attrs.evolve(flag, default=None))
                formats.setdefault(flag.name, []).append(name)
    return tuple(
        attrs.evolve(flag, help=f"{flag.help} Formats: {', '.join(formats[name])}.") if name in formats else flag
        for name, flag in flags.items()
    )


def read_with_options(
    path: str, name: str, options: Mapping[str, Any], *, seed: int | None, header: str | None
) -> Trace:
    """Read a trace with the options of a replay's flags.

    Parameters
    ----------
    path, name : str
        The file, and its format.
    options : mapping of str to object
        Values of the flags of `format_flags`, by target.
    seed : int, optional
        Of the replay, for a format that draws arrivals.
    header : str, optional
        Of a trace in the layout TraceV2.

    Raises
    ------
    ScenarioError
        If the format does not have an option.
    """
    cls = registry.get(KIND, name)
    fields = set(attrs.fields_dict(cls)) | set(attrs.fields_dict(Excerpt))
    flags = format_flags()
    own = ", ".join(flag.name for flag in flags if flag.target in fields)
    problems = [
        Problem(path=flag.name, rule=f"is not an option of the format {name}", hint=f"known: {own}")
        for flag in flags
        if flag.target in options and flag.target not in fields
    ]
    if header is not None and "header" not in fields:
        problems.append(Problem(path="--trace-header", rule=f"is not an option of the format {name}"))
    if problems:
        raise ScenarioError(problems)
    further = {"seed": seed, "header": header}
    given = {key: value for key, value in further.items() if value is not None and key in fields}
    try:
        return load_trace(path, format=name, **options, **given)
    except ScenarioError as error:
        raise ScenarioError(
            attrs.evolve(problem, path="--trace-header") if problem.path == "header" else problem
            for problem in error.problems
        ) from None
