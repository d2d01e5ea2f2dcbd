"""CSV text to rows, a block of the file in hand at a time; stricter than Python's reader about quotes and line ends."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

import attrs

from blis_simpy.errors import Problem, WorkloadTraceError
from blis_simpy.files.text_files import text_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["RowBlock", "row_blocks"]

RowBlock: TypeAlias = tuple[Sequence[int], list[list[str]]]
"""Numbers of the lines that some rows begin on, from 1, and their fields."""

_BLOCK_BYTES = 1 << 19
_QUOTED = re.compile(r'(?:\A|(?<=[,\n]))"[^"]*(?:""[^"]*)*"(?=,|\r?\n|\r?\Z)')
_LONE_RETURN = re.compile(r"\r(?!\n|\Z)")
_QUOTING_RULES = (
    (re.compile('"'), "must have double quotes only around whole fields"),
    (_LONE_RETURN, "must end lines with LF or CRLF, not CR"),
)


def row_blocks(path: str | os.PathLike[str]) -> Iterator[RowBlock]:
    """Read the rows that are not blank, some at a time, with the lines that they begin on.

    Raises
    ------
    WorkloadTraceError
        If the file cannot be read or is no CSV; names line and column.
    """
    file = os.fspath(path)
    heading: list[str] = []
    for first, text in _whole_rows(path):
        if problem := _quoting_problem(text, first, heading):
            raise WorkloadTraceError(attrs.evolve(problem, file=file))
        block = _plain_rows(text, first) or _quoted_rows(text, first, heading, file)
        if block[1]:
            heading = heading or block[1][0]
            yield block


def _plain_rows(text: str, first: int) -> RowBlock | None:
    """Rows of a text without quotes, as `_quoted_rows` finds them, in half the time; None if it may not be so."""
    lines = text.replace("\r", "").split("\n")
    if '"' in text or max(map(len, lines)) > csv.field_size_limit():
        return None
    numbers: Sequence[int] = range(first, first + len(lines))
    if not all(lines):
        numbers, lines = [n for n, line in zip(numbers, lines, strict=True) if line], [line for line in lines if line]
    return numbers, [line.split(",") for line in lines]


def _quoted_rows(text: str, first: int, heading: Sequence[str], file: str) -> RowBlock:
    reader = csv.reader(io.StringIO(text, newline="\n"), strict=True)
    numbers: list[int] = []
    rows: list[list[str]] = []
    line = first
    try:
        for row in reader:
            if row:
                numbers.append(line)
                rows.append(row)
            line = reader.line_num + first
    except csv.Error as broken:
        masked = _masked(text)
        start = sum(map(len, islice(io.StringIO(masked, newline="\n"), line - first)))
        longest = re.compile(rf"[^,\n]{{{csv.field_size_limit() + 1}}}").search(masked, start)
        place = masked.count(",", start, longest.start()) if longest else 0
        problem = _problem_at(place, f"cannot be read as CSV: {broken}", line, heading or next(iter(rows), []))
        raise WorkloadTraceError(attrs.evolve(problem, file=file)) from None
    return numbers, rows


def _whole_rows(path: str | os.PathLike[str]) -> Iterator[tuple[int, str]]:
    """Blocks of text that do not end inside of quotes, with the number of their first line."""
    held: list[str] = []
    first, quotes = 1, 0
    for line, text in text_blocks(path, WorkloadTraceError, _BLOCK_BYTES):
        first = first if held else line
        held.append(text)
        quotes += text.count('"')
        if quotes % 2 == 0:
            yield first, "".join(held)
            held.clear()
    if held:
        yield first, "".join(held)


def _masked(text: str) -> str:
    """Text whose quoted fields are blotted out, without change of length."""
    return _QUOTED.sub(lambda field: "_" * len(field[0]), text) if '"' in text else text


def _quoting_problem(text: str, first: int, heading: Sequence[str]) -> Problem | None:
    """Find what Python's reader would let pass: a quote inside a field, a line end of old Macs."""
    masked = _masked(text)
    for pattern, rule in _QUOTING_RULES:
        if found := pattern.search(masked):
            position = found.start()
            start = masked.rfind("\n", 0, position) + 1
            if not heading and start:
                heading = next(filter(None, csv.reader(io.StringIO(text[:start], newline="\n"))), [])
            line = first + text.count("\n", 0, position)
            return _problem_at(masked.count(",", start, position), rule, line, heading)
    return None


def _problem_at(place: int, rule: str, line: int, heading: Sequence[str]) -> Problem:
    known = place < len(heading)
    return Problem(path=heading[place] if known else "", rule=rule, line=line, column=place + 1)
