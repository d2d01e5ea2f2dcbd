"""JSON as other programs write it: records, and values that are what they should be."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from blis_simpy.errors import Problem, WorkloadTraceError
from blis_simpy.files.text_files import DATA_BYTES, read_text, text_blocks
from blis_simpy.trace_files.csv_columns import MAX_PROBLEMS, whole_number

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Record", "count", "each_record", "json_lines", "json_values", "listed", "parse_json", "read_json"]

_T = TypeVar("_T")
_OBJECT_START = re.compile(r"^\{", re.MULTILINE)
_MISSING = object()


@attrs.frozen
class Record:
    """A JSON object with its position.

    Attributes
    ----------
    values : object
        The object; anything else is an error when a value is read.
    path : str
        Where it is in the file, e.g. ``[3].conversations[1]``.
    line : int or None
        Its line, if each object has its own.
    """

    values: Any
    path: str = ""
    line: int | None = None

    def get(self, key: str, convert: Callable[[Any], _T], default: Any = _MISSING) -> _T:
        """Value of a key.

        Parameters
        ----------
        key : str
            Its name.
        convert : callable
            Makes the value from what JSON has; raises ValueError with the rule that it breaks.
        default : object, optional
            What to return if there is no such key, or null; without a default that is an error.

        Raises
        ------
        WorkloadTraceError
            If the value is missing or wrong.
        """
        if not isinstance(self.values, Mapping):
            raise self.error("", "must be an object", self.values)
        value = self.values.get(key)
        if value is None:
            if default is not _MISSING:
                return default  # type: ignore[no-any-return]
            raise self.error(key, "is missing")
        try:
            return convert(value)
        except ValueError as broken:
            raise self.error(key, str(broken), value) from None

    def items(self, key: str, convert: Callable[[Any], _T], size: int | None = None) -> list[_T]:
        """Return the list under a key, with `size` items if that is given; errors as for `get`."""
        values = self.get(key, listed)
        if size is not None and len(values) != size:
            raise self.error(key, f"must have {size} items, not {len(values)}")
        items = []
        for number, value in enumerate(values):
            try:
                items.append(convert(value))
            except ValueError as broken:
                raise self.error(f"{key}[{number}]", str(broken), value) from None
        return items

    def optional_items(self, key: str, convert: Callable[[Any], _T], size: int | None = None) -> list[_T] | None:
        """Return the list under a key as `items` does; None if there is no such key."""
        return None if self.get(key, listed, None) is None else self.items(key, convert, size)

    def error(self, key: str, rule: str, *value: Any) -> WorkloadTraceError:
        """Make an error with the position."""
        path = ".".join(part for part in (self.path, key) if part)
        return WorkloadTraceError.at(path, rule, *value, line=self.line)


def count(value: Any) -> int:
    """Take a whole number >= 0 from JSON, also one written as ``12.0`` or as text.

    Raises
    ------
    ValueError
        With the rule that it breaks.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        # What cannot be read is one kind of error to the caller.
        raise ValueError("must be a whole number >= 0")  # noqa: TRY004
    return whole_number(value if isinstance(value, str) else repr(value))


def listed(value: Any) -> list[Any]:
    """Take a list from JSON; as `count`."""
    if isinstance(value, list):
        return value
    raise ValueError("must be a list")


def each_record(file: str, records: Iterable[Record], make: Callable[[Record], _T]) -> Iterator[_T]:
    """Make something of each record.

    Raises
    ------
    WorkloadTraceError
        At the end, with the first problems of all records that are wrong.
    """
    problems: list[Problem] = []
    for record in records:
        try:
            made = make(record)
        except WorkloadTraceError as error:
            problems += (attrs.evolve(problem, file=file) for problem in error.problems)
            if len(problems) >= MAX_PROBLEMS:
                break
        else:
            yield made
    if problems:
        raise WorkloadTraceError(problems[:MAX_PROBLEMS])


def json_lines(path: str) -> Iterator[Record]:
    """Read a file with one JSON value a line; blank lines are skipped.

    Raises
    ------
    WorkloadTraceError
        If the file cannot be read, or at a line that is no JSON.
    """
    for first, text in text_blocks(path, WorkloadTraceError):
        for number, line in enumerate(text.split("\n"), start=first):
            if line.strip():
                yield Record(parse_json(line, path, number), line=number)


def read_json(path: str) -> Any:
    """Read a JSON file.

    Raises
    ------
    WorkloadTraceError
        If it cannot be read or is no JSON; names line and column.
    """
    return parse_json(read_text(path, WorkloadTraceError, max_bytes=DATA_BYTES), path)


def json_values(path: str) -> list[Record]:
    """Read the JSON values of a file: one over several lines, one a line, or those of a list.

    Raises
    ------
    WorkloadTraceError
        If it cannot be read or is no JSON; names line and column.
    """
    text = read_text(path, WorkloadTraceError, max_bytes=DATA_BYTES)
    starts = [match.start() for match in _OBJECT_START.finditer(text)]
    if len(starts) > 1:
        try:
            json.loads(text)
        except ValueError:
            return list(json_lines(path))
    values = parse_json(text, path)
    if isinstance(values, list):
        return [Record(value, f"[{number}]") for number, value in enumerate(values)]
    return [Record(values)]


def parse_json(text: str, file: str, first_line: int = 1) -> Any:
    """Parse JSON text that begins on a line of a file; as `read_json`."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as broken:
        place = Problem(
            rule=f"is not valid JSON: {broken.msg} at column {broken.colno}",
            file=file,
            line=first_line + broken.lineno - 1,
            column=broken.colno,
        )
        raise WorkloadTraceError(place) from None
    except RecursionError:
        raise WorkloadTraceError.at("", "is nested too deeply", file=file, line=first_line) from None
    except ValueError:
        # Python refuses to read integers of thousands of digits, without their position.
        raise WorkloadTraceError.at("", "has a number with too many digits", file=file, line=first_line) from None
