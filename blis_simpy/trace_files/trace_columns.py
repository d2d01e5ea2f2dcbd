"""The data file of a workload trace in the layout TraceV2: what its columns are called and what they may hold."""

from __future__ import annotations

import os
import re
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from blis_simpy.errors import Problem, WorkloadTraceError
from blis_simpy.trace_files.column_names import CONTENT, PREFIX_LENGTH, PRIORITY, SLO_TARGETS
from blis_simpy.trace_files.csv_columns import (
    MAX_PROBLEMS,
    Columns,
    CsvColumn,
    CsvTable,
    Layout,
    Rule,
    by_name,
    integer,
    read_table,
)
from blis_simpy.trace_files.csv_rows import COMMA_SEPARATED
from blis_simpy.trace_files.token_span_text import read_content

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["COLUMNS", "full_columns", "read_columns"]

_REQUIRED = 25
_OLD_WIDTH = 22
_OLD_HINT = "this is the older layout, without model, deadline_us and server_input_tokens"
_HEADING_HINT = "the first line must name the columns of TraceV2 in their order"
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_FLAGS = dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True) | dict.fromkeys(
    ("0", "f", "F", "FALSE", "false", "False"), False
)


def _flag(text: str) -> bool:
    if text not in _FLAGS:
        raise ValueError("must be true or false")
    return _FLAGS[text]


def _fraction(text: str) -> float:
    if not _DECIMAL.fullmatch(text) or not 0 <= (value := float(text)) <= 1:
        raise ValueError("must be a number from 0 to 1")
    return value


def _priority(text: str) -> int:
    return integer(text) if text else 0


def _target(text: str) -> int:
    return integer(text, at_least=0) if text else 0


_text = sys.intern  # rows share the few labels that a trace has
_count = partial(integer, at_least=0)
_instant = partial(integer, below=2**62)  # what happens later must fit into 64 bits too
_BASE = (
    CsvColumn("request_id", integer, np.int64),
    CsvColumn("client_id", _text),
    CsvColumn("tenant_id", _text),
    CsvColumn("slo_class", _text),
    CsvColumn("session_id", _text),
    CsvColumn("round_index", integer, np.int64),
    CsvColumn("prefix_group", _text),
    CsvColumn("streaming", _flag, np.bool_),
    CsvColumn("input_tokens", _count, np.int64),
    CsvColumn("output_tokens", _count, np.int64),
    CsvColumn("text_tokens", _count, np.int64),
    CsvColumn("image_tokens", _count, np.int64),
    CsvColumn("audio_tokens", _count, np.int64),
    CsvColumn("video_tokens", _count, np.int64),
    CsvColumn("reason_ratio", _fraction, np.float64),
    CsvColumn("model", _text),
    CsvColumn("deadline_us", _count, np.int64),
    CsvColumn("server_input_tokens", _count, np.int64),
    CsvColumn("arrival_time_us", _instant, np.int64),
    CsvColumn("send_time_us", _instant, np.int64),
    CsvColumn("first_chunk_time_us", integer, np.int64),
    CsvColumn("last_chunk_time_us", integer, np.int64),
    CsvColumn("num_chunks", _count, np.int64),
    CsvColumn("status", _text),
    CsvColumn("error_message", str.strip),
    CsvColumn("finish_reason", str.strip),
)
_NEWER = CsvColumn(PREFIX_LENGTH, _count, np.int64)
_OPTIONAL = (
    CsvColumn(PRIORITY, _priority, np.int64),
    CsvColumn("adapter", _text),
    CsvColumn(CONTENT, read_content),
    *(CsvColumn(name, _target, np.int64) for name in SLO_TARGETS),
)
COLUMNS = tuple(column.name for column in _BASE)
"""Names of the columns, in the order that the file must have; the last may be missing."""


def _is_late(values: Mapping[str, Any]) -> Any:
    """Whether a deadline lies before the arrival; for columns and for single values."""
    deadline, arrival = values["deadline_us"], values["arrival_time_us"]
    return (deadline > 0) & (arrival > 0) & (deadline < arrival)


def _late(values: Mapping[str, Any]) -> str:
    return f"must not precede arrival_time_us ({values['arrival_time_us']})" if _is_late(values) else ""


def _maybe_idle(columns: Mapping[str, Any]) -> NDArray[np.bool_]:
    idle: NDArray[np.bool_] = (columns["input_tokens"] == 0) & (columns["output_tokens"] == 0)
    return idle


def _idle(values: Mapping[str, Any]) -> str:
    busy = values["input_tokens"] or values["output_tokens"] or values["prefix_group"]
    return "" if busy else "must be > 0 where output_tokens is 0"


_RULES = (Rule("deadline_us", _is_late, _late), Rule("input_tokens", _maybe_idle, _idle))


def full_columns(num_requests: int, **given: list[str] | NDArray[Any]) -> Columns:
    """All columns of a trace, from those that are known.

    Parameters
    ----------
    num_requests : int
        How many rows.
    **given : list of str or ndarray of shape (num_requests,)
        Columns by name. The others are 0, false or empty text, and not to be written to, as they take no memory;
        ``request_id`` counts from 0, ``status`` is ``ok``.

    Examples
    --------
    >>> full_columns(2, model=["m", "m"])["request_id"].tolist()
    [0, 1]
    """
    empty = [""] * num_requests
    columns: Columns = {
        column.name: empty if column.dtype is None else np.broadcast_to(column.dtype(0), num_requests)
        for column in _BASE
        if column.name not in given
    }
    own: Columns = {"request_id": np.arange(num_requests), "status": ["ok"] * num_requests}
    found = columns | own | given
    return {name: found[name] for name in COLUMNS} | {name: given[name] for name in given if name not in COLUMNS}


def read_columns(path: str | os.PathLike[str], max_rows: int | None = None) -> Columns:
    """Read and check the data file of a trace.

    Parameters
    ----------
    path : path-like
        CSV file, gzipped or not. Columns beyond the known ones are ignored, blank lines skipped. A column
        `PREFIX_LENGTH` identifies the newer layout, whose columns are found by their names, in whatever order.
    max_rows : int, optional
        Stop after so many.

    Returns
    -------
    Columns
        All columns of `COLUMNS`, in file order, a missing last one as empty text; `PREFIX_LENGTH` in the newer layout;
        `PRIORITY`, ``adapter``, `SLO_TARGETS` and `CONTENT` if there are any, the last as pairs of a content and a
        stream.

    Raises
    ------
    WorkloadTraceError
        If the file cannot be read, has no requests, or does not have the layout; of wrong values the first ten are
        reported, each with its line and column.
    """
    table = read_table(path, _layout_of, max_rows=max_rows, dialect=COMMA_SEPARATED)
    file = os.fspath(path)
    if not len(table):
        raise WorkloadTraceError.at("", "is an empty trace: it has no requests", file=file)
    if problems := list(_twice(table, file)):
        raise WorkloadTraceError(problems[:MAX_PROBLEMS])
    return table.columns


def _layout_of(names: Sequence[str], _first: Sequence[str]) -> Layout | Problem:
    if PREFIX_LENGTH in names:
        layout = by_name(names, (*_BASE, _NEWER), _OPTIONAL)
        return layout if isinstance(layout, Problem) else attrs.evolve(layout, rules=_RULES)
    if problem := _heading_problem(names):
        return problem
    optional = [column for column in _OPTIONAL if column.name in names]
    return Layout(
        columns=(*_BASE, *optional),
        places=(*range(len(_BASE)), *(names.index(column.name) for column in optional)),
        required=_REQUIRED,
        rules=_RULES,
        hints={_OLD_WIDTH: _OLD_HINT},
    )


def _heading_problem(names: Sequence[str]) -> Problem | None:
    if len(names) < _REQUIRED:
        hint = _OLD_HINT if len(names) == _OLD_WIDTH else _HEADING_HINT if names else "the file is empty"
        return Problem(rule=f"must have at least {_REQUIRED} columns", value=len(names), hint=hint)
    for number, (name, expected) in enumerate(zip(names, COLUMNS, strict=False), start=1):
        if name != expected:
            rule = f"must be named {expected!r}"
            return Problem(path=f"column {number}", rule=rule, value=name, column=number, hint=_HEADING_HINT)
    return None


def _twice(table: CsvTable, file: str) -> Iterator[Problem]:
    """Find requests whose number another one had before."""
    ids: Any = table.columns["request_id"]
    if len(np.unique(ids)) == len(ids):
        return
    first_lines: dict[int, int] = {}
    for number, line in zip(ids.tolist(), table.lines.tolist(), strict=True):
        first = first_lines.setdefault(number, line)
        if first != line:
            rule = f"must be unique, line {first} has it too"
            place = table.layout.place_of("request_id")
            yield Problem(path="request_id", rule=rule, value=number, file=file, line=line, column=place)
