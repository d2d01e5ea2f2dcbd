"""The data file of a workload trace: CSV text to columns.

Whole columns are converted at a time, each distinct text once, a few thousand rows in hand: that is fast and small.
Rows are looked at one by one only when something is wrong, to say where.
"""

from __future__ import annotations

import csv
import os
import re
import sys
from collections.abc import Callable
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from blis_simpy.errors import Problem, WorkloadTraceError
from blis_simpy.formats.files import read_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["COLUMNS", "Columns", "read_columns"]

Columns = dict[str, list[str] | NDArray[Any]]
"""Values by column name: text as a list, numbers and flags as an array of shape (num_requests,)."""

_CHUNK = 8192
_MAX_PROBLEMS = 10
_REQUIRED = 25
_OLD_WIDTH = 22
_OLD_HINT = "this is the older layout, without model, deadline_us and server_input_tokens"
_HEADING_HINT = "the first line must name the columns of TraceV2 in their order"
_INTEGER = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_QUOTED = re.compile(r'(?:\A|(?<=[,\n]))"[^"]*(?:""[^"]*)*"(?=,|\r?\n|\r?\Z)')
_LONE_RETURN = re.compile(r"\r(?!\n|\Z)")
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


def _integer(text: str, at_least: int | None = None) -> int:
    # A 64-bit integer has at most 19 digits; longer ones are not even converted.
    if _INTEGER.fullmatch(text) and len(text.lstrip("+-0")) <= 19:
        value = int(text)
        if -(2**63) <= value < 2**63 and (at_least is None or value >= at_least):
            return value
    raise ValueError("must be a 64-bit integer" + ("" if at_least is None else f" >= {at_least}"))


@attrs.frozen
class _Column:
    name: str
    parse: Callable[[str], Any]
    """Value of one text; raises ValueError with the rule that it breaks."""
    dtype: type | None = None
    """Kind of array; None for text."""

    def convert(self, texts: Sequence[str]) -> list[str] | NDArray[Any]:
        if texts.count(texts[0]) == len(texts):
            value = self.parse(texts[0])
            return [value] * len(texts) if self.dtype is None else np.full(len(texts), value, self.dtype)
        if self.dtype is np.int64 and _only_digits(texts):
            return np.array(list(map(int, texts)), np.int64)
        parsed = {text: self.parse(text) for text in set(texts)}
        values = [parsed[text] for text in texts]
        return values if self.dtype is None else np.array(values, self.dtype)


def _only_digits(texts: Sequence[str]) -> bool:
    """Whether each is an integer that `_integer` takes for sure, without sign and well within 64 bits."""
    joined, lengths = "".join(texts), set(map(len, texts))
    return joined.isascii() and joined.isdigit() and 0 not in lengths and max(lengths) <= 18


_text = sys.intern  # rows share the few labels that a trace has
_count = partial(_integer, at_least=0)
_LAYOUT = (
    _Column("request_id", _integer, np.int64),
    _Column("client_id", _text),
    _Column("tenant_id", _text),
    _Column("slo_class", _text),
    _Column("session_id", _text),
    _Column("round_index", _integer, np.int64),
    _Column("prefix_group", _text),
    _Column("streaming", _flag, np.bool_),
    _Column("input_tokens", _count, np.int64),
    _Column("output_tokens", _count, np.int64),
    _Column("text_tokens", _count, np.int64),
    _Column("image_tokens", _count, np.int64),
    _Column("audio_tokens", _count, np.int64),
    _Column("video_tokens", _count, np.int64),
    _Column("reason_ratio", _fraction, np.float64),
    _Column("model", _text),
    _Column("deadline_us", _count, np.int64),
    _Column("server_input_tokens", _count, np.int64),
    _Column("arrival_time_us", _integer, np.int64),
    _Column("send_time_us", _integer, np.int64),
    _Column("first_chunk_time_us", _integer, np.int64),
    _Column("last_chunk_time_us", _integer, np.int64),
    _Column("num_chunks", _count, np.int64),
    _Column("status", _text),
    _Column("error_message", str.strip),
    _Column("finish_reason", str.strip),
)
COLUMNS = tuple(column.name for column in _LAYOUT)
"""Names of the columns, in the order that the file must have; the last may be missing."""


def read_columns(path: str | os.PathLike[str]) -> Columns:
    """Read and check the data file of a trace.

    Parameters
    ----------
    path : path-like
        CSV file, gzipped or not. Columns beyond the known ones are ignored, blank lines skipped.

    Returns
    -------
    Columns
        All columns of `COLUMNS`, in file order; a missing last one is empty text.

    Raises
    ------
    WorkloadTraceError
        If the file cannot be read, has no requests, or does not have the layout; of wrong values the first ten are
        reported, each with its line.
    """
    file = os.fspath(path)
    text = read_text(path, WorkloadTraceError)
    rows = _rows(text, file)
    if problem := _quoting_problem(text) or _heading_problem(*next(rows, (1, []))):
        raise WorkloadTraceError(attrs.evolve(problem, file=file))
    columns: Columns = {}
    try:
        chunks = list(map(_convert, _chunks(rows)))
        if not chunks:
            raise WorkloadTraceError.at("", "is an empty trace: it has no requests", file=file)
        columns = {column.name: _join(parts) for column, *parts in zip(_LAYOUT, *chunks, strict=True)}
        suspicious = _suspicious(columns)
    except ValueError:
        suspicious = True
    if suspicious and (problems := list(islice(_row_problems(_rows(text, file)), _MAX_PROBLEMS))):
        raise WorkloadTraceError(attrs.evolve(problem, file=file) for problem in problems)
    return columns


def _lines(text: str) -> Iterator[str]:
    """Lines with their ends; unlike ``splitlines``, only a line feed ends one."""
    start = 0
    while end := text.find("\n", start) + 1:
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]


def _rows(text: str, file: str) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not blank, with the line each begins on."""
    reader = csv.reader(_lines(text), strict=True)
    line = 1
    try:
        for row in reader:
            if row:
                yield line, row
            line = reader.line_num + 1
    except csv.Error as broken:
        raise WorkloadTraceError.at("", f"cannot be read as CSV: {broken}", file=file, line=line) from None


def _chunks(rows: Iterator[tuple[int, list[str]]]) -> Iterator[list[list[str]]]:
    while chunk := [row for _, row in islice(rows, _CHUNK)]:
        yield chunk


def _convert(rows: Sequence[list[str]]) -> list[list[str] | NDArray[Any]]:
    widths = set(map(len, rows))
    if min(widths) < _REQUIRED:
        raise ValueError
    if widths != {len(_LAYOUT)}:
        rows = [[*row[: len(_LAYOUT)], ""][: len(_LAYOUT)] for row in rows]
    return [column.convert(texts) for column, texts in zip(_LAYOUT, zip(*rows, strict=True), strict=True)]


def _join(parts: list[Any]) -> list[str] | NDArray[Any]:
    return list(chain.from_iterable(parts)) if isinstance(parts[0], list) else np.concatenate(parts)


def _suspicious(columns: Columns) -> bool:
    """Whether a rule about more than one value may be broken."""
    column: dict[str, Any] = columns
    ids, nothing_to_do = column["request_id"], (column["input_tokens"] == 0) & (column["output_tokens"] == 0)
    return bool(
        _is_late(column["deadline_us"], column["arrival_time_us"]).any()
        or nothing_to_do.any()
        or len(np.unique(ids)) < len(ids)
    )


def _is_late(deadline: Any, arrival: Any) -> Any:
    """Whether a deadline lies before the arrival; for columns and for single values."""
    return (deadline > 0) & (arrival > 0) & (deadline < arrival)


def _quoting_problem(text: str) -> Problem | None:
    """Find what Python's reader would let pass: a quote inside a field, a line end of old Macs."""
    if '"' in text:
        text = _QUOTED.sub(lambda field: "\n" * field[0].count("\n"), text)
    for position, rule in (
        (text.find('"'), "must have double quotes only around whole fields"),
        (found.start() if (found := _LONE_RETURN.search(text)) else -1, "must end lines with LF or CRLF, not CR"),
    ):
        if position >= 0:
            return Problem(rule=rule, line=text.count("\n", 0, position) + 1)
    return None


def _heading_problem(line: int, names: list[str]) -> Problem | None:
    if len(names) < _REQUIRED:
        hint = _OLD_HINT if len(names) == _OLD_WIDTH else _HEADING_HINT
        return Problem(rule=f"must have at least {_REQUIRED} columns", value=len(names), line=line, hint=hint)
    for number, (name, expected) in enumerate(zip(names, COLUMNS, strict=False), start=1):
        if name != expected:
            rule = f"must be named {expected!r}"
            return Problem(path=f"column {number}", rule=rule, value=name, line=line, hint=_HEADING_HINT)
    return None


def _row_problems(rows: Iterator[tuple[int, list[str]]]) -> Iterator[Problem]:
    """Everything that is wrong below the heading, row by row."""
    next(rows)
    first_lines: dict[int, int] = {}
    for line, row in rows:
        if len(row) < _REQUIRED:
            hint = _OLD_HINT if len(row) == _OLD_WIDTH else ""
            yield Problem(rule=f"must have at least {_REQUIRED} fields", value=len(row), line=line, hint=hint)
            continue
        values: dict[str, Any] = {}
        for column, field in zip(_LAYOUT, row, strict=False):
            try:
                values[column.name] = column.parse(field)
            except ValueError as broken:
                yield Problem(path=column.name, rule=str(broken), value=field, line=line)
        if len(values) == min(len(row), len(_LAYOUT)):
            yield from (attrs.evolve(problem, line=line) for problem in _problems_of(values, first_lines, line))


def _problems_of(values: dict[str, Any], first_lines: dict[int, int], line: int) -> Iterator[Problem]:
    """Rules about more than one value of a trace whose single values are right."""
    first = first_lines.setdefault(values["request_id"], line)
    if first != line:
        yield Problem(path="request_id", rule=f"must be unique, line {first} has it too", value=values["request_id"])
    if _is_late(values["deadline_us"], values["arrival_time_us"]):
        yield Problem(
            path="deadline_us",
            rule=f"must not precede arrival_time_us ({values['arrival_time_us']})",
            value=values["deadline_us"],
        )
    if not (values["input_tokens"] or values["output_tokens"] or values["prefix_group"]):
        yield Problem(path="input_tokens", rule="must be > 0 where output_tokens is 0", value=0)
