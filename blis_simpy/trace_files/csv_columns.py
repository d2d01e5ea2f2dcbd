"""Tables as CSV text: rows to columns, a block of the file in hand at a time.

Whole columns of a few thousand rows are converted at once, each distinct text once: that is fast and small. Rows are
checked one by one only after an error, to find its file, line and column.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Mapping
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
import numpy as np
from numpy.typing import NDArray

from blis_simpy.errors import Problem, WorkloadTraceError
from blis_simpy.trace_files.csv_rows import RowBlock, row_blocks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = [
    "MAX_PROBLEMS",
    "Columns",
    "CsvColumn",
    "CsvTable",
    "Layout",
    "Rule",
    "by_name",
    "has_columns",
    "integer",
    "read_table",
]

Columns: TypeAlias = dict[str, list[str] | NDArray[Any]]
"""Values by column name: text as a list, numbers and flags as an array of shape (num_rows,)."""

MAX_PROBLEMS = 10
"""Maximum number of reported errors per file."""

_INTEGER = re.compile(r"[+-]?[0-9]+")


def integer(text: str, at_least: int | None = None) -> int:
    """Read a 64-bit integer: a sign perhaps, and digits.

    Raises
    ------
    ValueError
        With the rule that the text breaks.
    """
    # A 64-bit integer has at most 19 digits; longer ones are not even converted.
    if _INTEGER.fullmatch(text) and len(text.lstrip("+-0")) <= 19:
        value = int(text)
        if -(2**63) <= value < 2**63 and (at_least is None or value >= at_least):
            return value
    raise ValueError("must be a 64-bit integer" + ("" if at_least is None else f" >= {at_least}"))


@attrs.frozen
class CsvColumn:
    """One column of a table.

    Attributes
    ----------
    name : str
        In the result.
    parse : callable
        Value of one text; raises ValueError with the rule that it breaks.
    dtype : type or None
        Kind of array; None for text.
    """

    name: str
    parse: Callable[[str], Any]
    dtype: type | None = None

    def convert(self, texts: Sequence[str]) -> list[str] | NDArray[Any]:
        """Values of some texts, at least one.

        Raises
        ------
        ValueError
            As `parse`.
        """
        if texts.count(texts[0]) == len(texts):
            value = self.parse(texts[0])
            return [value] * len(texts) if self.dtype is None else np.full(len(texts), value, self.dtype)
        if self.dtype is np.int64 and getattr(self.parse, "func", self.parse) is integer and _only_digits(texts):
            return np.array(list(map(int, texts)), np.int64)
        parsed = {text: self.parse(text) for text in set(texts)}
        values = [parsed[text] for text in texts]
        return values if self.dtype is None else np.array(values, self.dtype)


def _only_digits(texts: Sequence[str]) -> bool:
    """Whether each is an integer that `integer` takes for sure, without sign and well within 64 bits."""
    joined, lengths = "".join(texts), set(map(len, texts))
    return joined.isascii() and joined.isdigit() and 0 not in lengths and max(lengths) <= 18


@attrs.frozen
class Rule:
    """A rule about more than one value of a row.

    Attributes
    ----------
    column : str
        Which value to blame.
    suspects : callable
        Whether a row may break it, from whole columns, as an array of bool.
    breach : callable
        What a row breaks, from its values; empty if nothing.
    """

    column: str
    suspects: Callable[[Mapping[str, Any]], NDArray[np.bool_]]
    breach: Callable[[Mapping[str, Any]], str]


@attrs.frozen(kw_only=True)
class Layout:
    """Which columns of a file are read.

    Attributes
    ----------
    columns : tuple of CsvColumn
        What to read.
    places : tuple of int
        Index of each in a row, from 0.
    required : int
        Fewest fields of a row; columns beyond may be missing and are then empty text.
    rules : tuple of Rule
        What the values of a row must have to do with each other.
    hints : mapping of int to str
        Error of rows that are too short, by the number of their fields.
    """

    columns: tuple[CsvColumn, ...]
    places: tuple[int, ...]
    required: int
    rules: tuple[Rule, ...] = ()
    hints: Mapping[int, str] = attrs.field(factory=dict)

    @property
    def width(self) -> int:
        """Fields of a row up to the last one that is read."""
        return max(self.places) + 1

    def place_of(self, name: str) -> int:
        """Position of a column in a row, from 1."""
        return next(place for column, place in zip(self.columns, self.places, strict=True) if column.name == name) + 1


@attrs.frozen(eq=False)
class CsvTable:
    """A table that has been read.

    Attributes
    ----------
    columns : dict of str to list of str or ndarray of shape (num_rows,)
        By name.
    lines : ndarray of int64, shape (num_rows,)
        Line of the file that each row begins on, from 1.
    layout : Layout
        How it was read.
    """

    columns: Columns
    lines: NDArray[np.int64]
    layout: Layout

    def __len__(self) -> int:
        return len(self.lines)


def read_table(
    path: str | os.PathLike[str],
    layout_of: Callable[[Sequence[str]], Layout | Problem],
    *,
    max_rows: int | None = None,
) -> CsvTable:
    """Read and check a CSV file.

    Parameters
    ----------
    path : path-like
        The file, gzipped or not; its first row names the columns. Blank lines are skipped.
    layout_of : callable
        Chooses what to read by the names of the columns, or returns what is wrong with them.
    max_rows : int, optional
        Stop after so many.

    Raises
    ------
    WorkloadTraceError
        If the file cannot be read or is no CSV, or values are wrong: the first `MAX_PROBLEMS` of them, each with its
        line and column.
    """
    file = os.fspath(path)
    blocks = row_blocks(path)
    nothing: RowBlock = ([1], [[]])
    first = next(blocks, nothing)
    layout = layout_of(first[1][0])
    if isinstance(layout, Problem):
        raise WorkloadTraceError(attrs.evolve(layout, file=file, line=first[0][0]))
    parts: dict[str, list[Any]] = {column.name: [] for column in layout.columns}
    lines: list[NDArray[np.int64]] = []
    problems: list[Problem] = []
    try:
        for numbers, rows in _up_to(max_rows, chain([(first[0][1:], first[1][1:])], blocks)):
            if (converted := _checked(rows, layout)) is None:
                found = chain.from_iterable(map(_row_problems, numbers, rows, [layout] * len(rows)))
                problems += islice(found, MAX_PROBLEMS - len(problems))
                if len(problems) == MAX_PROBLEMS:
                    break
            if not problems:
                lines.append(np.array(numbers, np.int64))
                for name, values in (converted or _convert(rows, layout)).items():
                    parts[name].append(values)
    except WorkloadTraceError as error:
        problems += error.problems
    if problems:
        raise WorkloadTraceError(attrs.evolve(problem, file=file) for problem in problems)
    columns = {column.name: join_parts(parts.pop(column.name), column.dtype) for column in layout.columns}
    return CsvTable(columns, np.concatenate(lines) if lines else np.empty(0, np.int64), layout)


def _up_to(max_rows: int | None, blocks: Iterable[RowBlock]) -> Iterator[RowBlock]:
    """Cut what is beyond a number of rows off; empty blocks are left out."""
    left = max_rows
    for numbers, rows in blocks:
        if left == 0:
            return
        if rows[:left]:
            yield numbers[:left], rows[:left]
        left = None if left is None else max(left - len(rows), 0)


def _checked(rows: Sequence[list[str]], layout: Layout) -> Columns | None:
    """Columns of some rows; None if something may be wrong with them."""
    try:
        columns = _convert(rows, layout)
    except ValueError:
        return None
    return None if any(rule.suspects(columns).any() for rule in layout.rules) else columns


def _convert(rows: Sequence[list[str]], layout: Layout) -> Columns:
    widths = set(map(len, rows))
    if min(widths) < layout.required:
        raise ValueError
    if min(widths) < layout.width or len(widths) > 1:
        width = layout.width
        rows = [row[:width] + [""] * (width - len(row)) for row in rows]
    texts = list(zip(*rows, strict=True))
    return {
        column.name: column.convert(texts[place]) for column, place in zip(layout.columns, layout.places, strict=True)
    }


def join_parts(parts: list[Any], dtype: type | None) -> list[str] | NDArray[Any]:
    """Put the parts of a column together; `dtype` as in `CsvColumn`."""
    if dtype is None:
        return list(chain.from_iterable(parts))
    return np.concatenate(parts) if parts else np.empty(0, dtype)


def _row_problems(line: int, row: list[str], layout: Layout) -> Iterator[Problem]:
    """Everything that is wrong with a row."""
    if len(row) < layout.required:
        missing = next(
            (
                column.name
                for column, place in sorted(zip(layout.columns, layout.places, strict=True), key=lambda pair: pair[1])
                if place >= len(row)
            ),
            "",
        )
        yield Problem(
            path=missing,
            rule=f"is missing: a row must have at least {layout.required} fields",
            value=len(row),
            line=line,
            column=len(row) + 1,
            hint=layout.hints.get(len(row), ""),
        )
        return
    values: dict[str, Any] = {}
    for column, place in zip(layout.columns, layout.places, strict=True):
        text = row[place] if place < len(row) else ""
        try:
            values[column.name] = column.parse(text)
        except ValueError as broken:
            yield Problem(path=column.name, rule=str(broken), value=text, line=line, column=place + 1)
    if len(values) < len(layout.columns):
        return
    for rule in layout.rules:
        if breach := rule.breach(values):
            yield Problem(
                path=rule.column,
                rule=breach,
                value=values[rule.column],
                line=line,
                column=layout.place_of(rule.column),
            )


def by_name(
    names: Sequence[str], required: Sequence[CsvColumn], optional: Sequence[CsvColumn] = ()
) -> Layout | Problem:
    """Choose columns by what they are called.

    Parameters
    ----------
    names : sequence of str
        Those of the file.
    required, optional : sequence of CsvColumn
        What to read; what is optional is read where it is there.
    """
    for column in required:
        if column.name not in names:
            shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
            hint = f"there are: {shown}" if names else "the file is empty"
            return Problem(path=column.name, rule="is missing among the columns", hint=hint)
    columns = (*required, *(column for column in optional if column.name in names))
    places = tuple(names.index(column.name) for column in columns)
    return Layout(columns=columns, places=places, required=max(places[: len(required)]) + 1)


def has_columns(start: bytes, *names: str) -> bool:
    """Whether the first line of a file, of which these are the first bytes, names columns."""
    line = start.decode("utf-8", "replace").lstrip("\r\n").partition("\n")[0].rstrip("\r")
    # Line ends of old Macs are an error when the file is read.
    return set(names) <= set(next(csv.reader([line.partition("\r")[0]]), []))
