"""Tables as CSV text: rows to columns, one block of the file at a time.

Whole columns of a few thousand rows are converted at once, each distinct text once: that is fast and small. Rows are
examined one by one only when something is wrong, to say where: in which file, line and column.
"""

from __future__ import annotations

import csv
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
import numpy as np
from numpy.typing import NDArray

from blis_simpy.errors import Problem, WorkloadTraceError
from blis_simpy.trace_files.csv_rows import COMMA_SEPARATED, Dialect, RowBlock, dialect_of, row_blocks
from blis_simpy.trace_files.timestamps import MOST_TICKS, TIME_UNITS, ticks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "MAX_PROBLEMS",
    "Columns",
    "CsvColumn",
    "CsvTable",
    "Layout",
    "LayoutOf",
    "Rule",
    "by_name",
    "has_columns",
    "heading_of",
    "integer",
    "label",
    "normalised",
    "read_table",
    "whole_number",
]

Columns: TypeAlias = dict[str, list[str] | NDArray[Any]]
"""Values by column name: text as a list, numbers and flags as an array of shape (num_rows,)."""

MAX_PROBLEMS = 10
"""Maximum number of reported errors per file."""

_INTEGER = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r"\+?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE]\+?[0-9]{1,2})?")
_NULLS = frozenset({"", "null", "none", "nan", "na", "n/a", "<na>", "\\n"})


def integer(text: str, at_least: int | None = None, below: int = 2**63) -> int:
    """Read a 64-bit integer: an optional sign, and digits.

    Raises
    ------
    ValueError
        With the rule that the text breaks.
    """
    # A 64-bit integer has at most 19 digits; longer ones are not even converted.
    if _INTEGER.fullmatch(text) and len(text.lstrip("+-0")) <= 19:
        value = int(text)
        if -(2**63) <= value < below and (at_least is None or value >= at_least):
            return value
    least = "" if at_least is None else f" >= {at_least}"
    most = "" if below == 2**63 else f" < 2**{below.bit_length() - 1}"
    raise ValueError(f"must be a 64-bit integer{least}{most}")


def whole_number(text: str) -> int:
    """Read a number of tokens as any program writes it: ``12``, ``12.0``, ``1.2e3``, with blanks around it.

    Raises
    ------
    ValueError
        With the rule that the text breaks.

    Examples
    --------
    >>> whole_number(" 12.0 ")
    12
    """
    text = text.strip()
    if _DECIMAL.fullmatch(text) and len(text) <= 40:
        exact = Decimal(text)
        if exact == exact.to_integral_value() and exact < 2**63:
            return int(exact)
    raise ValueError("must be a whole number >= 0")


def label(text: str) -> str:
    """Read a label: text without blanks around it; empty where a program writes that there is none.

    Examples
    --------
    >>> label(" chat "), label("NaN"), label("null")
    ('chat', '', '')
    """
    text = text.strip()
    return "" if text.lower() in _NULLS else sys.intern(text)


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
        read = getattr(self.parse, "func", self.parse)
        if read in (integer, whole_number, ticks) and _only_digits(texts):
            figures = np.array(list(map(int, texts)), np.int64)
            scale = TIME_UNITS[self.parse.keywords["unit"]] if isinstance(self.parse, partial) and read is ticks else 1
            if scale >= 1 and figures.max() < MOST_TICKS // int(scale):
                return figures * int(scale)
        parsed = {text: self.parse(text) for text in set(texts)}
        values = [parsed[text] for text in texts]
        return values if self.dtype is None else np.array(values, self.dtype)


def _only_digits(texts: Sequence[str]) -> bool:
    """Whether each is an integer without sign and well within 64 bits."""
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
        What to say of rows that are too short, by the number of their fields.
    decimal_comma : bool
        Whether a comma in a number is its decimal point.
    """

    columns: tuple[CsvColumn, ...]
    places: tuple[int, ...]
    required: int
    rules: tuple[Rule, ...] = ()
    hints: Mapping[int, str] = attrs.field(factory=dict)
    decimal_comma: bool = False

    def value(self, column: CsvColumn, text: str) -> Any:
        """Value of a field; raises ValueError as the column's `parse`."""
        return column.parse(text.replace(",", ".") if self.decimal_comma and column.dtype else text)

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


LayoutOf: TypeAlias = Callable[[Sequence[str], Sequence[str]], Layout | Problem]
"""Chooses what to read from the names of the columns and the fields of the first row, or says what is wrong."""


def read_table(
    path: str | os.PathLike[str],
    layout_of: LayoutOf,
    *,
    max_rows: int | None = None,
    dialect: Dialect | None = None,
) -> CsvTable:
    """Read and check a CSV file.

    Parameters
    ----------
    path : path-like
        The file, gzipped or not; its first row names the columns. Blank lines are skipped.
    layout_of : callable
        Chooses what to read.
    max_rows : int, optional
        Stop after so many.
    dialect : Dialect, optional
        How fields are separated; None: as in the first line, and rows of empty fields are skipped too.

    Raises
    ------
    WorkloadTraceError
        If the file cannot be read or is no CSV, or values are wrong: the first `MAX_PROBLEMS` of them, each with its
        line and column.
    """
    file = os.fspath(path)
    blocks = row_blocks(path, dialect)
    nothing: RowBlock = ([1], [[]])
    found, (numbers, rows) = next(blocks, (COMMA_SEPARATED, nothing))
    if len(rows) == 1 and (after := next(blocks, None)):
        numbers, rows = [*numbers, *after[1][0]], [*rows, *after[1][1]]
    layout = layout_of(rows[0], rows[1] if len(rows) > 1 else [])
    if isinstance(layout, Problem):
        raise WorkloadTraceError(attrs.evolve(layout, file=file, line=numbers[0]))
    layout = attrs.evolve(layout, decimal_comma=found.decimal_comma)
    parts: dict[str, list[Any]] = {column.name: [] for column in layout.columns}
    lines: list[NDArray[np.int64]] = []
    problems: list[Problem] = []
    try:
        remaining: Iterator[RowBlock] = chain([(numbers[1:], rows[1:])], (block for _, block in blocks))
        for numbers, rows in _up_to(max_rows, remaining):
            converted = _checked(rows, layout)
            if converted is None and dialect is None:
                numbers, rows = _without_empty(numbers, rows)
                converted = _checked(rows, layout) if rows else {}
            if converted is None:
                wrong = chain.from_iterable(map(_row_problems, numbers, rows, [layout] * len(rows)))
                problems += islice(wrong, MAX_PROBLEMS - len(problems))
                if len(problems) == MAX_PROBLEMS:
                    break
            if not problems:
                lines.append(np.array(numbers, np.int64))
                for name, values in (_convert(rows, layout) if converted is None else converted).items():
                    parts[name].append(values)
    except WorkloadTraceError as error:
        problems += error.problems
    if problems:
        raise WorkloadTraceError(attrs.evolve(problem, file=file) for problem in problems)
    columns = {column.name: join_parts(parts.pop(column.name), column.dtype) for column in layout.columns}
    return CsvTable(columns, np.concatenate(lines) if lines else np.empty(0, np.int64), layout)


def _without_empty(numbers: Sequence[int], rows: Sequence[list[str]]) -> RowBlock:
    """Leave out rows of nothing but empty fields, which spreadsheets write."""
    kept = [(number, row) for number, row in zip(numbers, rows, strict=True) if any(map(str.strip, row))]
    return [number for number, _ in kept], [row for _, row in kept]


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
    if layout.decimal_comma:
        for column, place in zip(layout.columns, layout.places, strict=True):
            if column.dtype:
                texts[place] = tuple(text.replace(",", ".") for text in texts[place])
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
            values[column.name] = layout.value(column, text)
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


def normalised(name: str) -> str:
    """Name of a column without blanks around it and without regard to case."""
    return name.strip().casefold()


def by_name(
    names: Sequence[str], required: Sequence[CsvColumn], optional: Sequence[CsvColumn] = ()
) -> Layout | Problem:
    """Choose columns by their names, in another case if they are not there as written.

    Parameters
    ----------
    names : sequence of str
        Those of the file.
    required, optional : sequence of CsvColumn
        What to read; what is optional is read where it is there.
    """
    chosen: list[tuple[CsvColumn, int]] = []
    for column in (*required, *optional):
        places = [place for place, name in enumerate(names) if name.strip() == column.name.strip()] or [
            place for place, name in enumerate(names) if normalised(name) == normalised(column.name)
        ]
        if len(places) > 1:
            return Problem(path=column.name, rule="must be the name of one column only")
        if places:
            chosen.append((column, places[0]))
        elif column in required:
            shown = ", ".join(map(str.strip, names[:12])) + (", ..." if len(names) > 12 else "")
            hint = f"there are: {shown}" if names else "the file is empty"
            return Problem(path=column.name, rule="is missing among the columns", hint=hint)
    columns, found = zip(*chosen, strict=True)
    return Layout(columns=columns, places=found, required=max(found[: len(required)]) + 1)


def has_columns(start: bytes, *names: str) -> bool:
    """Whether the first line of a file, of which these are the first bytes, names columns, in whatever case."""
    found = set(map(normalised, heading_of(start)))
    return set(map(normalised, names)) <= found


def heading_of(start: bytes) -> list[str]:
    """Fields of the first line of a file, of which these are the first bytes."""
    line = start.decode("utf-8", "replace").lstrip("\r\n").partition("\n")[0].rstrip("\r")
    # Line ends of old Macs are reported when the file is read.
    line = line.partition("\r")[0]
    return next(csv.reader([line], delimiter=dialect_of(line).delimiter, skipinitialspace=True), [])
