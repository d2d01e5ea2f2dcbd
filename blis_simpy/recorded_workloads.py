"""Workloads whose requests exist already: a recorded trace, or requests made by hand or from a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from hashlib import file_digest
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import attrs

from blis_simpy.core.request import Request
from blis_simpy.core.slo_targets import DIMENSIONS, SLOTargets
from blis_simpy.core.token_spans import Span
from blis_simpy.errors import Problem, ScenarioError, WorkloadTraceError, nearest
from blis_simpy.plain_values import DataFrame, plain
from blis_simpy.settings.convert import structure
from blis_simpy.settings.field_types import Accepts, OptionalDuration, Plugin
from blis_simpy.settings.fields import evolved, fields_of, setting, settings_class
from blis_simpy.trace_files.trace import Trace
from blis_simpy.units import SECOND
from blis_simpy.workload.clients import validate_requests
from blis_simpy.workload.generator import GeneratedWorkload
from blis_simpy.workload.traffic import Traffic

if TYPE_CHECKING:
    from blis_simpy.core.random_streams import RandomStreams

__all__ = ["RequestWorkload", "TraceWorkload", "file_digest_of"]

_CHOSEN = tuple(field.name for field in attrs.fields(Request) if field.init)
"""Attributes of a request that the workload decides."""
_LABELS = ("slo_class", "tenant", "model", "client", "session", "prefix_group")
_COLUMNS = {"arrived_at_us": "arrived_at", "arrived_at_s": "arrived_at", "deadline_us": "deadline"}
"""Other names of attributes: those of the columns of a result."""


def _checked_trace(value: Any) -> Any:
    if isinstance(value, str | Trace):
        return value
    hint = "RequestWorkload.of_table(...)" if isinstance(value, DataFrame) else ""
    raise ScenarioError.at("", "must be the name of a file, or a Trace", value, hint=hint)


@settings_class
class TraceWorkload(Traffic):
    """Requests of a recorded trace, which arrive at their recorded times whatever happens.

    A run ends when all requests have ended, unless the scenario has a horizon. The seed of a run changes nothing in the
    requests: only policies that draw random numbers differ between replications.

    Examples
    --------
    >>> TraceWorkload(trace="azure.csv", format="azure", start="10min", limit=5_000, scale=0.5).scale
    0.5
    """

    trace: Accepts[Any, str | PathLike[str] | Trace] = setting(
        help="File of the trace, or in Python the `Trace` that `load_trace` returns.",
        convert=_checked_trace,
        is_path=True,
    )
    format: Accepts[Plugin, Plugin | str | Mapping[str, Any] | None] = setting(
        default=None,
        help="Format of the file, with its options beside it; unset means that the file shows it.",
        kind="trace_format",
        inline=True,
    )
    limit: int | None = setting(default=None, help="Rows or records of the file to read at most.", ge=1)
    start: OptionalDuration = setting(
        default=None,
        help="Leave out what arrives earlier after the first arrival.",
        unit="us",
        ge=0,
        dimension="duration",
    )
    end: OptionalDuration = setting(
        default=None,
        help="Leave out what arrives so long after the first arrival, or later.",
        unit="us",
        gt=0,
        dimension="duration",
    )
    scale: float = setting(default=1.0, help="Stretch the time between arrivals; 0.5 doubles the rate.", gt=0)
    max_in_flight: int | None = setting(
        default=None,
        help="Largest number of requests in flight; others wait at the client. Unset means no limit.",
        unit="requests",
        ge=1,
    )

    @property
    def num_requests(self) -> int:  # type: ignore[override]
        """Largest number of requests; 0 = no limit."""
        return self.limit or 0

    def load(self) -> Trace:
        """Read the file and take the chosen part.

        Raises
        ------
        WorkloadTraceError
            If the file is not as it should be; names file, line or record, and column.
        """
        from blis_simpy.trace_files.load_trace import Excerpt, load_trace  # rarely needed

        excerpt: dict[str, Any] = {"start": self.start, "end": self.end, "scale": self.scale}
        if isinstance(self.trace, Trace):
            return Excerpt(limit=self.limit, **excerpt).of(self.trace, "trace")
        options = dict(self.format) if isinstance(self.format, Mapping) else {"type": self.format}
        name = options.pop("type")
        return load_trace(self.trace, format=name, limit=self.limit, **excerpt, **options)

    def generate(
        self, streams: RandomStreams, horizon: int | None = None, *, defaults: str | None = None
    ) -> GeneratedWorkload:
        """Make the requests of the trace anew.

        Raises
        ------
        WorkloadTraceError
            As `load` does.
        """
        workload = GeneratedWorkload.of_requests(self.load().rows())
        return attrs.evolve(workload, max_in_flight=self.max_in_flight)

    def labels(self, name: str, *, defaults: str | None = None) -> set[str]:
        """Return the values of a label that the requests have; none if the file of the trace is gone."""
        try:
            return {getattr(request, name) for request in self.load().requests()}
        except WorkloadTraceError:  # a saved result is also read where the trace is not
            return set()

    def with_rate(self, rate_per_s: float) -> Self:
        """Return the same trace with its time stretched so that it has a mean rate between first and last arrival.

        Raises
        ------
        ScenarioError
            If all requests arrive at once.
        """
        rate = self.mean_rate()
        if math.isinf(rate):
            raise ScenarioError.at("rate", "cannot be set: all requests of the trace arrive at once", rate_per_s)
        return evolved(self, scale=self.scale * rate / rate_per_s)

    def mean_rate(self) -> float:
        """Return the mean number of requests per second between the first and the last arrival."""
        arrivals = self.load().arrivals
        duration_us = max(arrivals) - min(arrivals)
        return (len(arrivals) - 1) * SECOND / duration_us if duration_us else math.inf

    def content(self) -> Any:
        """Return the settings with the content of the files in place of their names."""
        if isinstance(self.trace, Trace):
            return self
        options = self.format.values() if isinstance(self.format, Mapping) else ()
        files = [self.trace, *(path for path in options if isinstance(path, str) and Path(path).is_file())]
        others = {field.name: getattr(self, field.name) for field in fields_of(TraceWorkload) if field.name != "trace"}
        return others, [file_digest_of(path) for path in files]


def file_digest_of(path: str) -> str:
    """Return the digest of the content of a file.

    Raises
    ------
    WorkloadTraceError
        If the file cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WorkloadTraceError.at("", f"cannot be read: {error.strerror}", file=path) from None


def _copied(requests: Any) -> Any:
    if isinstance(requests, DataFrame):
        requests = RequestWorkload.of_table(requests).requests
    if not isinstance(requests, tuple):
        raise ScenarioError.at("", "must be a list of requests", requests)
    made, problems = [], []
    for position, item in enumerate(requests):
        try:
            if not isinstance(item, Request | Mapping):
                raise ScenarioError.at("", "must be a request", item)
            made.append(_read(item) if isinstance(item, Mapping) else item)
        except ScenarioError as error:
            problems += [problem.inside(f"[{position}]") for problem in error.problems]
    if problems:
        raise ScenarioError(problems)
    try:
        return tuple(map(_copy, validate_requests(made)))
    except ScenarioError as error:
        paths = [problem.path.removeprefix("requests") for problem in error.problems]
        raise ScenarioError(
            attrs.evolve(problem, path=path) for problem, path in zip(error.problems, paths, strict=True)
        ) from None


def _read(row: Mapping[str, Any]) -> Request:
    """Make a request of the mapping of its attributes, as a scenario file has it."""
    row = dict(row)
    problems = [
        Problem(path=name, rule="must be text", value=row[name])
        for name in ("id", *_LABELS)
        if not isinstance(row.get(name, ""), str)
    ]
    content = row.get("content")
    if content is not None:
        try:
            row["content"] = tuple(_span(*span) for span in content)
        except (TypeError, ValueError):
            rule = "must be a list of [name of the stream, first token, tokens]"
            problems.append(Problem(path="content", rule=rule, value=content))
    if row.get("slo_targets") is not None:
        try:
            row["slo_targets"] = structure(row["slo_targets"], SLOTargets)
        except ScenarioError as error:
            problems += [problem.inside("slo_targets") for problem in error.problems]
    if problems:
        raise ScenarioError(problems)
    return structure(row, Request)


def _span(stream: Any, start: Any, tokens: Any) -> Span:
    if isinstance(stream, str) and type(start) is type(tokens) is int and start >= 0 and tokens > 0:
        return Span(stream, start, tokens)
    raise ValueError


def _copy(request: Request) -> Request:
    return Request(*(getattr(request, name) for name in _CHOSEN))


@settings_class(kw_only=False)
class RequestWorkload(Traffic):
    """Requests that are made by hand, or from a table; each run serves copies of them.

    Raises
    ------
    ScenarioError
        If an item is not a new request, two have the same id, or a number is not an integer >= 0.

    Examples
    --------
    >>> from blis_simpy import Scenario
    >>> table = {"arrived_at_us": [0, 500_000], "input_tokens": [100, 200], "output_tokens": [20, 30]}
    >>> scenario = Scenario(model="qwen/qwen3-14b", workload=RequestWorkload.of_table(table))
    >>> scenario.run().requests["output_tokens"].tolist()
    [20, 30]
    """

    requests: Accepts[tuple[Any, ...], Sequence[Request] | DataFrame] = setting(
        help="The requests; in a file, mappings of the attributes of `Request`.", convert=_copied
    )
    max_in_flight: int | None = setting(
        default=None,
        help="Largest number of requests in flight; others wait at the client. Unset means no limit.",
        unit="requests",
        ge=1,
    )

    @classmethod
    def of_table(cls, table: Mapping[str, Any] | DataFrame, **options: Any) -> Self:
        """Make the workload of a table with a row per request: a data frame, a mapping of columns, a `Table`.

        Parameters
        ----------
        table : mapping of str to sequence, or pandas.DataFrame
            Columns are attributes of `Request`: ``input_tokens`` and ``output_tokens`` are needed, and one of
            ``arrived_at_us`` (ticks), ``arrived_at`` (the same) and ``arrived_at_s`` (seconds). Without ``id``,
            requests are named ``request_0``, ``request_1``, ... ``slo_ttft_us``, ``slo_tpot_us``, ``slo_itl_us``,
            ``slo_ntpot_us`` and ``slo_e2e_us`` are targets of the requests; None or NaN = that of the SLO class.
        **options
            Other settings of the workload.

        Raises
        ------
        ScenarioError
            If a column is missing or unknown, or a value is wrong.
        """
        if not isinstance(table, Mapping | DataFrame):
            raise ScenarioError.at("", "must be a data frame or a mapping of columns", table)
        given = {str(name): _column(str(name), plain(table[name])) for name in table}
        num_rows = len(next(iter(given.values()), ()))
        columns: dict[str, Sequence[Any]] = {}
        for name, values in given.items():
            attribute = _COLUMNS.get(name, name)
            if attribute in columns:
                raise ScenarioError.at(name, "is given by another column, too")
            if len(values) != num_rows:
                raise ScenarioError.at(name, f"must have {num_rows} rows, like the first column", len(values))
            columns[attribute] = _in_ticks(values) if name == "arrived_at_s" else values
        columns.setdefault("id", [f"request_{row}" for row in range(num_rows)])
        if "max_output_tokens" not in columns and "output_tokens" in columns:
            columns["max_output_tokens"] = columns["output_tokens"]
        if targets := {name: columns.pop(f"slo_{name}_us") for name in DIMENSIONS if f"slo_{name}_us" in columns}:
            columns["slo_targets"] = [_targets(targets, row) for row in range(num_rows)]
        unknown = [name for name in columns if name not in _CHOSEN]
        missing = [name for name in ("arrived_at", "input_tokens", "output_tokens") if name not in columns]
        problems = [
            *(Problem(path=name, rule="is not a column of requests", hint=nearest(name, _CHOSEN)) for name in unknown),
            *(Problem(path=name, rule="is required as a column") for name in missing),
        ]
        if problems:
            raise ScenarioError(problems)
        rows = zip(*(map(_whole, columns[name]) for name in columns), strict=True)
        return cls([_of_row(dict(zip(columns, row, strict=True))) for row in rows], **options)

    @property
    def num_requests(self) -> int:  # type: ignore[override]
        """Number of requests."""
        return len(self.requests)

    def generate(
        self, streams: RandomStreams, horizon: int | None = None, *, defaults: str | None = None
    ) -> GeneratedWorkload:
        """Copy the requests."""
        workload = GeneratedWorkload.of_requests([_copy(request) for request in self.requests])
        return attrs.evolve(workload, max_in_flight=self.max_in_flight)

    def labels(self, name: str, *, defaults: str | None = None) -> set[str]:
        """Return the values of a label that the requests have."""
        return {getattr(request, name) for request in self.requests}

    def content(self) -> Any:
        """Return what the requests ask for, row by row."""
        return [[getattr(request, name) for name in _CHOSEN] for request in self.requests], self.max_in_flight

    def __eq__(self, other: object) -> bool:
        """Whether two workloads have the same requests."""
        return isinstance(other, RequestWorkload) and self.content() == other.content()

    def __hash__(self) -> int:
        return hash(tuple(request.id for request in self.requests))

    def __repr__(self) -> str:
        return f"RequestWorkload({len(self.requests)} requests)"


def _targets(columns: Mapping[str, Sequence[Any]], row: int) -> SLOTargets | None:
    """Return the targets of a row; None if it has none."""
    given = {name: _whole(values[row]) for name, values in columns.items()}
    given = {name: value for name, value in given.items() if value is not None and value == value}  # not NaN
    return SLOTargets(**given) if given else None


def _column(name: str, values: Any) -> Sequence[Any]:
    if isinstance(values, str) or not (hasattr(values, "__len__") and hasattr(values, "__iter__")):
        raise ScenarioError.at(name, "must be a column of values", values)
    return values  # type: ignore[no-any-return]


def _in_ticks(seconds: Sequence[Any]) -> list[int]:
    for value in seconds:
        number = plain(value)
        if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
            raise ScenarioError.at("arrived_at_s", "must have finite numbers only", value)
    return [round(float(value) * SECOND) for value in seconds]


def _of_row(row: dict[str, Any]) -> Request:
    """Make a request of a row of a table; numbers are labels, too, and a missing label is none."""
    for name in {"id", *_LABELS} & row.keys():
        value = row[name]
        if name != "id" and (value is None or value != value):
            del row[name]
        elif isinstance(value, int | float):
            row[name] = str(value)
    return Request(**row)


def _whole(value: Any) -> Any:
    """Return a float without a fraction as an integer: a data frame with a missing value has floats only."""
    value = plain(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value
