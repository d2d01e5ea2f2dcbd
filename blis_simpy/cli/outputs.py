"""Outputs of simulating commands for other programs: tables, a timeline, metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blis_simpy.cli.flags import Flag
from blis_simpy.errors import BlisError, Problem
from blis_simpy.files.paths import input_at, is_special, resolved

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from blis_simpy.results.result import Result

__all__ = ["OUTPUT_FLAGS", "output_problems", "same_files", "write_outputs"]

_TABLES = (
    Flag(
        name="--requests-output",
        target="write_requests",
        help="Write the table of requests: .csv, .json, .parquet, .csv.gz or .json.gz.",
        absent="",
    ),
    Flag(
        name="--steps-output",
        target="write_steps",
        help="Write the table of engine steps, in the same formats.",
        absent="",
    ),
)
_TEXTS = (
    Flag(
        name="--perfetto-output",
        target="write_perfetto",
        help="Write a timeline for ui.perfetto.dev (JSON, compressed if the name ends in .gz).",
        absent="",
    ),
    Flag(
        name="--prometheus-output",
        target="write_prometheus",
        help="Write the final state with vLLM's metric names, in the text format of Prometheus.",
        absent="",
    ),
)
OUTPUT_FLAGS = (*_TABLES, *_TEXTS)
"""Flags of outputs; their targets are methods of `Result`."""


def output_problems(options: Mapping[str, Any]) -> Iterator[Problem]:
    """Check before the simulation that the outputs can be written.

    Parameters
    ----------
    options : mapping of str to object
        Paths by target, None for outputs that are not requested.
    """
    from blis_simpy.export.tables import check_table_path
    from blis_simpy.files.outputs import check_writable

    for flag in OUTPUT_FLAGS:
        path = options[flag.target]
        try:
            if path is not None and flag in _TABLES:
                check_table_path(path, flag.name)
            elif path is not None:
                check_writable(path)
        except BlisError as error:
            yield from error.problems


def same_files(read: Iterable[tuple[str, str | None]], written: Iterable[tuple[str, str | None]]) -> Iterator[Problem]:
    """Check that no output overwrites another file of the same command, or one that it has read.

    Parameters
    ----------
    read, written : iterable of (str, str or None)
        Flags and their paths. Devices and pipes may be repeated.
    """
    names = {resolved(file): name for name, file in read if file is not None and not is_special(file)}
    for name, file in written:
        if file is None or is_special(file):
            continue
        earlier = names.setdefault(resolved(file), name)
        if earlier != name:
            yield Problem(path=name, rule=f"must be another file than {earlier}", value=file)
        elif (source := input_at(file)) is not None:
            yield Problem(path=name, rule=f"must be another file than {source}, which is read", value=file)


def write_outputs(result: Result, options: Mapping[str, Any]) -> None:
    """Write the requested outputs.

    Raises
    ------
    ScenarioError
        If a file cannot be written.
    """
    for flag in OUTPUT_FLAGS:
        if options[flag.target] is not None:
            getattr(result, flag.target)(options[flag.target])
