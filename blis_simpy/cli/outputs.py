"""Files that a simulating command writes for other programs: tables, a timeline, metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blis_simpy.cli.flags import Flag

if TYPE_CHECKING:
    from collections.abc import Mapping

    from blis_simpy.result import Result

__all__ = ["OUTPUT_FLAGS", "check_output_files", "write_outputs"]

_TABLES = (
    Flag(
        name="--requests-output",
        target="write_requests",
        help="Write a table of the requests: .csv, .json, .parquet, .csv.gz or .json.gz.",
        absent="",
    ),
    Flag(
        name="--steps-output",
        target="write_steps",
        help="Write a table of the engine steps, in the same formats.",
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
        help="Write the final state under the metric names of vLLM (text format of Prometheus).",
        absent="",
    ),
)
OUTPUT_FLAGS = (*_TABLES, *_TEXTS)
"""Their targets are the methods of a result."""


def check_output_files(options: Mapping[str, Any]) -> None:
    """Find out before the simulation which files could not be written after it.

    Parameters
    ----------
    options : mapping of str to object
        Paths by target, None where nothing was asked for.

    Raises
    ------
    ScenarioError
        If a path cannot be written to, or a table has an unknown ending.
    PluginError
        If a library that a format needs is not installed.
    """
    from blis_simpy.formats.files import check_writable

    for flag in OUTPUT_FLAGS:
        path = options[flag.target]
        if path is not None and flag in _TABLES:
            from blis_simpy.export.tables import check_table_path

            check_table_path(path, flag.name)
        elif path is not None:
            check_writable(path)


def write_outputs(result: Result, options: Mapping[str, Any]) -> None:
    """Write the files that were asked for.

    Raises
    ------
    ScenarioError
        If one cannot be written.
    """
    for flag in OUTPUT_FLAGS:
        if options[flag.target] is not None:
            getattr(result, flag.target)(options[flag.target])
