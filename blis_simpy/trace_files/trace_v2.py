"""Workload traces in the TraceV2 layout: a YAML header beside a CSV file with one request a row.

The newer layout (version 3) is read as well; a warning lists what is not replayed.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import numpy as np
import yaml

from blis_simpy.errors import ScenarioError, WorkloadTraceError
from blis_simpy.files.outputs import write_texts
from blis_simpy.files.paths import is_regular, resolved
from blis_simpy.files.text_files import DATA_BYTES, read_text
from blis_simpy.settings.convert import structure
from blis_simpy.settings.fields import setting
from blis_simpy.settings.loader import parse
from blis_simpy.trace_files.column_names import CONTENT, PREFIX_LENGTH, PRIORITY, SLO_TARGETS
from blis_simpy.trace_files.csv_columns import has_columns
from blis_simpy.trace_files.token_span_text import write_content
from blis_simpy.trace_files.trace import (
    NEWER_VERSION,
    PREFIX_TOKENS,
    NetworkInfo,
    ServerInfo,
    Trace,
    TraceHeader,
    default_horizon,
)
from blis_simpy.trace_files.trace_columns import COLUMNS, read_columns

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "PREFIX_TOKENS",
    "NetworkInfo",
    "ServerInfo",
    "Trace",
    "TraceHeader",
    "TraceV2",
    "default_horizon",
    "read_header",
    "read_trace",
    "write_trace",
]

_log = logging.getLogger(__name__)

_CHUNK_ROWS = 8192
_NEEDS_QUOTES = re.compile(r'\s|.*[,"\r\n]', re.DOTALL)
_UNREADABLE = re.compile("[\0\ud800-\udfff]")


def read_header(path: str | os.PathLike[str]) -> TraceHeader:
    """Read and check the header of a trace; a warning lists unknown keys of a newer one.

    Raises
    ------
    WorkloadTraceError
        If the file cannot be read or breaks a rule of the layout; names file, line and key.
    """
    text = read_text(path, WorkloadTraceError, max_bytes=DATA_BYTES)
    try:
        document = parse(text, os.fspath(path))
        data: dict[str, Any] = document.data or {}
        known = attrs.fields_dict(TraceHeader)
        unused = [key for key in data if key not in known] if data.get("trace_version") == NEWER_VERSION else []
        if unused:
            _log.warning("%s: %s not used in a replay", os.fspath(path), ", ".join(unused))
            document.data = {key: value for key, value in data.items() if key in known}
        return structure(document, TraceHeader)
    except ScenarioError as error:
        raise WorkloadTraceError(error.problems) from None


def read_trace(
    header_path: str | os.PathLike[str] | None, data_path: str | os.PathLike[str], *, max_rows: int | None = None
) -> Trace:
    """Read and check a workload trace.

    Parameters
    ----------
    header_path : path-like or None
        YAML header file; None: there is none.
    data_path : path-like
        CSV data file. Both may be gzipped.
    max_rows : int, optional
        Stop after so many.

    Raises
    ------
    WorkloadTraceError
        If a file cannot be read or breaks a rule of the layout; names file, line and column.
    """
    header = None if header_path is None else read_header(header_path)
    columns: dict[str, Any] = read_columns(data_path, max_rows)
    is_newer = PREFIX_LENGTH in columns
    if header is None:
        header = TraceHeader(trace_version=NEWER_VERSION if is_newer else 2)
    elif is_newer != (header.trace_version == NEWER_VERSION):
        rule = f"{'must not' if is_newer else 'must'} be among the columns of version {header.trace_version}"
        raise WorkloadTraceError.at(PREFIX_LENGTH, rule, file=os.fspath(data_path))
    if set(columns.pop("adapter", ())).difference(("",)):
        _log.warning("%s: adapter is not simulated", os.fspath(data_path))
    early = np.asarray(columns["arrival_time_us"]) < 0
    if early.any():
        least = np.asarray(columns["arrival_time_us"]).min()
        _log.warning("%s: %d requests arrive before tick 0, the first at %d", os.fspath(data_path), early.sum(), least)
    contents = columns.pop(CONTENT, None)
    if contents is None:
        return Trace(header, columns, has_default_horizon=True)
    return Trace(
        header,
        columns,
        [content for content, _ in contents],
        [stream for _, stream in contents],
        has_default_horizon=True,
    )


@attrs.frozen(kw_only=True)
class TraceV2:
    """TraceV2, the layout of BLIS (CSV beside a YAML header)."""

    header: str | None = setting(
        default=None,
        help="Header of the trace (YAML); unset: the file of the same name that ends in .yaml, if it is there.",
        is_path=True,
        flag="--header",
    )

    fields: ClassVar[str] = (
        "the columns of TraceV2, version 2 or 3; optional prefix_length, vllm_priority, content_spans"
    )
    times: ClassVar[str] = "µs; in version 3 as sent, from the first send on"
    not_kept: ClassVar[str] = "adapters"

    @classmethod
    def recognises(cls, name: str, start: bytes) -> bool:
        """Whether the first line names the columns."""
        return has_columns(start, "request_id", "prefix_group", "arrival_time_us")

    def read(self, path: str, max_rows: int | None) -> Trace:
        """Read a trace, as `read_trace`."""
        beside = Path(path.removesuffix(".gz")).with_suffix(".yaml")
        header = str(beside) if self.header is None and is_regular(beside) else self.header
        return read_trace(header, path, max_rows=max_rows)


def write_trace(trace: Trace, header_path: str | os.PathLike[str], data_path: str | os.PathLike[str]) -> None:
    """Write a trace as `read_trace` reads it: both files whole, or none.

    Parameters
    ----------
    trace : Trace
        Header and columns; one with lengths of prefixes is written in the newer layout, any other as version 2.
        Priorities other than 0, SLO targets of requests, and what prompts are made of, go into columns beyond those of
        the layout, which other programs ignore.
    header_path, data_path : path-like
        YAML and CSV file to write or to replace; their folders must exist.

    Raises
    ------
    ScenarioError
        If a file cannot be written; nothing is left behind.
    """
    if resolved(header_path) == resolved(data_path):
        raise ScenarioError.at("", "cannot hold both header and rows of a trace", file=os.fspath(data_path))
    write_texts([(header_path, [_header_text(trace)]), (data_path, _data_text(trace))])


def _header_text(trace: Trace) -> str:
    def is_said(attribute: attrs.Attribute[Any], value: Any) -> bool:
        return attribute.name in ("trace_version", "time_unit", "mode", "warm_up_requests") or bool(value)

    version = NEWER_VERSION if PREFIX_LENGTH in trace.columns else 2
    data = attrs.asdict(attrs.evolve(trace.header, trace_version=version), filter=is_said)
    text: str = yaml.safe_dump(
        {key: value for key, value in data.items() if value != {}}, sort_keys=False, allow_unicode=True
    )
    return text


def _data_text(trace: Trace) -> Iterator[str]:
    names = list(COLUMNS)
    if PREFIX_LENGTH in trace.columns:
        names.insert(names.index("prefix_group") + 1, PREFIX_LENGTH)
    names += [name for name in (PRIORITY, *SLO_TARGETS) if np.any(trace.columns.get(name, 0))]
    columns = [trace.columns[name] for name in names]
    if trace.contents is not None:
        names.append(CONTENT)
        streams = trace.output_streams or [None] * len(trace)
        columns.append([write_content(*pair) for pair in zip(trace.contents, streams, strict=True)])
    yield ",".join(names) + "\n"
    for start in range(0, len(trace), _CHUNK_ROWS):
        fields = [_fields(column[start : start + _CHUNK_ROWS]) for column in columns]
        yield "\n".join(map(",".join, zip(*fields, strict=True))) + "\n"


def _fields(values: Any) -> list[str]:
    """Values of a column as written in the file."""
    if isinstance(values, list):
        texts = {value: _quoted(value) for value in set(values)}
        return [texts[value] for value in values]
    if values.dtype == np.bool_:
        return ["true" if value else "false" for value in values.tolist()]
    if values.dtype == np.float64:
        return [np.format_float_positional(value, trim="-") for value in values.tolist()]
    return list(map(str, values.tolist()))


def _quoted(text: str) -> str:
    """Text with quotes where a comma, a quote, a line end or a leading blank requires them."""
    text = _UNREADABLE.sub("\ufffd", text)
    return '"' + text.replace('"', '""') + '"' if _NEEDS_QUOTES.match(text) else text
