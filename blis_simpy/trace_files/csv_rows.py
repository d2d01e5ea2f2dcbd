"""CSV text to rows, one block of the file at a time; stricter than Python's reader about quotes and line ends."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Sequence
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from blis_simpy.errors import Problem, WorkloadTraceError
from blis_simpy.files.text_files import text_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["COMMA_SEPARATED", "Dialect", "RowBlock", "dialect_of", "row_blocks"]

RowBlock: TypeAlias = tuple[Sequence[int], list[list[str]]]
"""Numbers of the lines that some rows begin on, from 1, and their fields."""

_BLOCK_BYTES = 1 << 19
_DELIMITERS = ",\t;|"
_LONE_RETURN = re.compile(r"\r(?!\n|\Z)")
_QUOTING_RULES = (
    (re.compile('"'), "must have double quotes only around whole fields"),
    (_LONE_RETURN, "must end lines with LF or CRLF, not CR"),
)


@attrs.frozen
class Dialect:
    """How the fields of a row are separated.

    Attributes
    ----------
    delimiter : str
        Character between two fields.
    skips_blanks : bool
        Whether blanks after a delimiter do not belong to the field, so that quotes may follow them.
    """

    delimiter: str = ","
    skips_blanks: bool = False

    @property
    def decimal_comma(self) -> bool:
        """Whether numbers may have a decimal comma: where fields are separated by semicolons."""
        return self.delimiter == ";"


COMMA_SEPARATED = Dialect()
"""The dialect of the reference: commas, and blanks belong to the field."""


def dialect_of(heading: str) -> Dialect:
    """Determine the dialect from the first line of a file: the delimiter that occurs most often outside quotes.

    Examples
    --------
    >>> dialect_of("arrival; prompt tokens; 'a,b'").delimiter, dialect_of("arrival").delimiter
    (';', ',')
    """
    unquoted = re.sub(r'"[^"]*"', "", heading)
    return Dialect(max(_DELIMITERS, key=unquoted.count), skips_blanks=True)


def row_blocks(path: str | os.PathLike[str], dialect: Dialect | None = None) -> Iterator[tuple[Dialect, RowBlock]]:
    """Read the rows that are not blank, some at a time, with the lines that they begin on.

    Parameters
    ----------
    path : path-like
        The file.
    dialect : Dialect, optional
        How fields are separated; None: as in the first line that is not blank.

    Raises
    ------
    WorkloadTraceError
        If the file cannot be read or is no CSV; names line and column.
    """
    file = os.fspath(path)
    heading: list[str] = []
    for first, text in _whole_rows(path):
        dialect = dialect or dialect_of(text.lstrip("\r\n").partition("\n")[0])
        if problem := _quoting_problem(text, first, heading, dialect):
            raise WorkloadTraceError(attrs.evolve(problem, file=file))
        block = _plain_rows(text, first, dialect) or _quoted_rows(text, first, heading, file, dialect)
        if block[1]:
            heading = heading or block[1][0]
            yield dialect, block


def _plain_rows(text: str, first: int, dialect: Dialect = COMMA_SEPARATED) -> RowBlock | None:
    """Rows of a text without quotes, as `_quoted_rows` finds them, in half the time; None if it may not be so."""
    lines = text.replace("\r", "").split("\n")
    if '"' in text or max(map(len, lines)) > csv.field_size_limit():
        return None
    if dialect.skips_blanks and f"{dialect.delimiter} " in text:
        return None
    numbers: Sequence[int] = range(first, first + len(lines))
    if not all(lines):
        numbers, lines = [n for n, line in zip(numbers, lines, strict=True) if line], [line for line in lines if line]
    return numbers, [line.split(dialect.delimiter) for line in lines]


def _quoted_rows(
    text: str, first: int, heading: Sequence[str], file: str, dialect: Dialect = COMMA_SEPARATED
) -> RowBlock:
    reader = _reader(text, dialect)
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
        masked = _masked(text, dialect)
        start = sum(map(len, islice(io.StringIO(masked, newline="\n"), line - first)))
        longest = re.compile(rf"[^{dialect.delimiter}\n]{{{csv.field_size_limit() + 1}}}").search(masked, start)
        place = masked.count(dialect.delimiter, start, longest.start()) if longest else 0
        problem = _problem_at(place, f"cannot be read as CSV: {broken}", line, heading or next(iter(rows), []))
        raise WorkloadTraceError(attrs.evolve(problem, file=file)) from None
    return numbers, rows


def _reader(text: str, dialect: Dialect) -> Any:
    return csv.reader(
        io.StringIO(text, newline="\n"),
        strict=True,
        delimiter=dialect.delimiter,
        skipinitialspace=dialect.skips_blanks,
    )


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


@cache
def _quoted_field(dialect: Dialect) -> re.Pattern[str]:
    """Pattern of a field in quotes, after what comes before it."""
    delimiter, blanks = re.escape(dialect.delimiter), " *" if dialect.skips_blanks else ""
    return re.compile(rf'((?:\A|(?<=[{delimiter}\n])){blanks})("[^"]*(?:""[^"]*)*")(?={delimiter}|\r?\n|\r?\Z)')


def _masked(text: str, dialect: Dialect) -> str:
    """Text whose quoted fields are replaced, without change of length, by a character that means nothing."""
    if '"' not in text:
        return text
    return _quoted_field(dialect).sub(lambda field: field[1] + "_" * len(field[2]), text)


def _quoting_problem(text: str, first: int, heading: Sequence[str], dialect: Dialect) -> Problem | None:
    """Find what Python's reader accepts: a quote inside a field, and a line end of old Macs."""
    masked = _masked(text, dialect)
    for pattern, rule in _QUOTING_RULES:
        if found := pattern.search(masked):
            position = found.start()
            start = masked.rfind("\n", 0, position) + 1
            if not heading and start:
                heading = next(filter(None, _reader(text[:start], dialect)))
            line = first + text.count("\n", 0, position)
            return _problem_at(masked.count(dialect.delimiter, start, position), rule, line, heading)
    return None


def _problem_at(place: int, rule: str, line: int, heading: Sequence[str]) -> Problem:
    known = place < len(heading)
    return Problem(path=heading[place] if known else "", rule=rule, line=line, column=place + 1)
