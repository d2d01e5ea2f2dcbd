"""Workload traces from files of any program.

A format is a plug-in: a settings class whose fields are its options, which recognises a file by its first bytes
of its kind, and reads it. TraceV2 is one of them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import attrs

from blis_simpy import registry
from blis_simpy.errors import Problem, ScenarioError, WorkloadTraceError, nearest
from blis_simpy.files.paths import is_special
from blis_simpy.files.text_files import read_start
from blis_simpy.settings.fields import setting
from blis_simpy.settings.updates import updated
from blis_simpy.trace_files.timestamps import check_reach

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from blis_simpy.trace_files.trace import Trace

__all__ = ["KIND", "Excerpt", "TraceFormat", "load_trace", "recognised"]

KIND = "trace_format"
"""Kind of plug-in; see `blis_simpy.registry`."""

_T = TypeVar("_T")


class TraceFormat(Protocol):
    """Format of trace files.

    Register the class in the entry-point group ``blis_simpy.trace_format``. It must be a frozen attrs class. Its
    fields, made with `blis_simpy.settings.fields.setting`, are options of `load_trace` and flags of ``blis convert``
    and ``blis replay``. ``blis convert --help`` shows the first line of its docstring. The attribute ``not_kept`` of a
    trace lists the contents of the file that the trace does not have.

    The optional class variables ``fields``, ``times`` and ``not_kept`` describe for the documentation the fields that
    are read, their units, and the contents that are not kept. With ``is_general = True``, other formats that recognise
    the same file take precedence.
    """

    @classmethod
    def recognises(cls, name: str, start: bytes) -> bool:
        """Whether a file has this format.

        Parameters
        ----------
        name : str
            Path of the file.
        start : bytes
            Its first 4096 bytes, decompressed if it is gzipped.
        """

    def read(self, path: str, max_rows: int | None) -> Trace:
        """Read a file.

        Parameters
        ----------
        path : str
            The file.
        max_rows : int or None
            Maximum number of rows or records.

        Raises
        ------
        WorkloadTraceError
            If the file is invalid; names file, line or record, and column.
        """


@attrs.frozen(kw_only=True)
class Excerpt:
    """Excerpt of a trace, with a factor on the time between arrivals.

    Examples
    --------
    >>> Excerpt(start="1min", end="2min").end
    120000000
    """

    limit: int | None = setting(default=None, help="Maximum number of rows or records to read.", ge=1, flag="--limit")
    start: int | None = setting(
        default=None,
        help="Time after the first arrival at which the excerpt starts: ticks, or text such as 10s.",
        ge=0,
        dimension="duration",
        flag="--start",
        absent="",
    )
    end: int | None = setting(
        default=None,
        help="Time after the first arrival before which the excerpt ends.",
        gt=0,
        dimension="duration",
        flag="--end",
        absent="",
    )
    scale: float = setting(
        default=1.0, help="Factor on the time between arrivals; 0.5 doubles the load.", gt=0, flag="--scale"
    )

    def of(self, trace: Trace, file: str) -> Trace:
        """Return the excerpt of a trace, which has been read up to the limit; it starts at tick 0.

        Raises
        ------
        WorkloadTraceError
            If nothing is left.
        """
        if self.start is None and self.end is None and self.scale == 1:
            return trace
        import numpy as np  # most traces are used whole

        from blis_simpy.trace_files.trace_builder import shifted, take

        arrivals = np.asarray(trace.columns["arrival_time_us"])
        if int(arrivals.max()) - int(arrivals.min()) >= 2**63:
            raise WorkloadTraceError.at("arrival_time_us", "must not be more than 2**63 us apart", file=file)
        after_first = arrivals - arrivals.min()
        rows = np.flatnonzero(
            (after_first >= (self.start or 0)) & ((self.end is None) | (after_first < (self.end or 0)))
        )
        if not len(rows):
            raise WorkloadTraceError.at("", "has no requests from start to end", file=file)
        kept = after_first[rows] - after_first[rows].min()
        check_reach(int(kept.max()) * self.scale, "scale", self.scale)
        return shifted(take(trace, rows), np.rint(kept * self.scale).astype(np.int64))


def load_trace(path: str | os.PathLike[str], *, format: str | None = None, **options: Any) -> Trace:  # noqa: A002
    """Read a workload trace of any known format.

    Parameters
    ----------
    path : path-like
        The file; gzipped or not, where it is text.
    format : str, optional
        Name of the format, e.g. ``azure``; if not given, the file shows it.
    **options
        ``limit`` (rows or records to read), ``start`` and ``end`` (of the arrivals after the first one, ticks or text
        like ``10s``), ``scale`` (of the time between arrivals); and options of the format, e.g. ``header`` of
        ``trace-v2``.

    Returns
    -------
    Trace
        Its first request arrives at tick 0; but a trace in the layout TraceV2 keeps its ticks unless ``start``, ``end``
        or ``scale`` is given.

    Raises
    ------
    WorkloadTraceError
        If the file is not as it should be; names file, line or record, and column.
    ScenarioError
        If an option is unknown, wrong or missing.
    PluginError
        If the format is unknown.
    """
    try:
        file = os.fspath(path)
    except TypeError:
        hint = "requests in a table are a workload: Scenario(workload=...)"
        raise ScenarioError.at("trace", "must be the name of a file", path, hint=hint) from None
    name = format or recognised(file)
    excerpt_options = {key: options.pop(key) for key in attrs.fields_dict(Excerpt) if key in options}
    excerpt = with_options(Excerpt, excerpt_options)
    reader: TraceFormat = with_options(registry.get(KIND, name), options)
    return excerpt.of(reader.read(file, excerpt.limit), file)


def with_options(cls: Callable[[], _T], options: Mapping[str, Any]) -> _T:
    """Make a settings class; an error of an unknown option lists the known ones."""
    known = list(attrs.fields_dict(cast("Any", cls)))
    problems = [
        Problem(path=name, rule="is not an option of this format", hint=nearest(name, known) if known else "")
        for name in options
        if name not in known
    ]
    if problems:
        raise ScenarioError(problems)
    return updated(cls(), options)


def recognised(file: str) -> str:
    """Name of the format of a file.

    Raises
    ------
    WorkloadTraceError
        If the file cannot be read, or it is of none or several of the known formats.
    """
    if is_special(file):
        raise WorkloadTraceError.at("", "can be read only once: name its format", file=file)
    start = read_start(file, WorkloadTraceError)
    names = registry.names(KIND)
    found = [name for name in names if registry.get(KIND, name).recognises(file, start)]
    if len(found) > 1:
        found = [name for name in found if not getattr(registry.get(KIND, name), "is_general", False)]
    if len(found) == 1:
        return found[0]
    rule = f"is of several formats: {', '.join(found)}" if found else "is of no known format"
    hint = (
        "name one of them"
        if found
        else f"name one of: {', '.join(names)}; for a table with columns of other names that is 'table', with columns"
    )
    raise WorkloadTraceError.at("", rule, file=file, hint=hint)
