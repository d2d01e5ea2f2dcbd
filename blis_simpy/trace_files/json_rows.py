"""Tables as JSON: one object a line, or a list of objects; values become text first, as those of all tables.

A column is a key, or keys from outside to inside with points between them: ``metrics.input_tokens``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy.errors import Problem, WorkloadTraceError
from blis_simpy.files.paths import is_special
from blis_simpy.files.text_files import read_start
from blis_simpy.trace_files.csv_columns import MAX_PROBLEMS, Columns, join_parts
from blis_simpy.trace_files.json_records import Record, json_lines, read_json

if TYPE_CHECKING:
    from blis_simpy.trace_files.csv_columns import CsvColumn, LayoutOf

__all__ = ["as_text", "names_of", "read_json_rows"]

_BLOCK_ROWS = 16_384
_KEY = re.compile(r'"([^"\\]{1,80})"\s*:')
_NAMING_ROWS = 1000
"""Records whose keys are the columns of the file."""


def read_json_rows(path: str, layout_of: LayoutOf, max_rows: int | None) -> Columns:
    """Read columns of a JSON file.

    Parameters
    ----------
    path : str
        The file.
    layout_of : callable
        Chooses what to read, as for `read_table`; a column that a record does not have is empty.
    max_rows : int or None
        Stop after so many.

    Raises
    ------
    WorkloadTraceError
        If the file cannot be read, or values are wrong: the first ten of them, each with its line or place.
    """
    records = islice(_records(path), max_rows)
    first = list(islice(records, _NAMING_ROWS))
    if wrong := [record for record in first if not isinstance(record.values, Mapping)]:
        problem = Problem(rule="must be an object", value=wrong[0].values, line=wrong[0].line, path=wrong[0].path)
        raise WorkloadTraceError(attrs.evolve(problem, file=path))
    names = list(dict.fromkeys(chain.from_iterable(_names(record.values) for record in first)))
    layout = layout_of(names, [as_text(_value(first[0].values, name)) for name in names] if first else [])
    if isinstance(layout, Problem):
        raise WorkloadTraceError(attrs.evolve(layout, file=path, line=first[0].line if first else None))
    sources = [(column, names[place]) for column, place in zip(layout.columns, layout.places, strict=True)]
    parts: dict[str, list[Any]] = {column.name: [] for column in layout.columns}
    problems: list[Problem] = []
    for block in _blocks(chain(first, records)):
        try:
            for column, name in sources:
                parts[column.name].append(column.convert([as_text(_value(record.values, name)) for record in block]))
        except ValueError:
            problems += islice(_wrong(block, sources, path), MAX_PROBLEMS - len(problems))
            if len(problems) >= MAX_PROBLEMS:
                break
    if problems:
        raise WorkloadTraceError(problems)
    return {column.name: join_parts(parts[column.name], column.dtype) for column in layout.columns}


def as_text(value: Any) -> str:
    """Text of a value as a CSV file has it; empty where there is none."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        value = int(value)
    return str(value)


def names_of(start: bytes) -> list[str]:
    """Names of the columns, from the first bytes of a file: those of its first object.

    If that does not end there, all keys as they are, also those of objects in it.
    """
    text = start.decode("utf-8", "replace").lstrip().removeprefix("[").lstrip()
    try:
        values, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return list(dict.fromkeys(_KEY.findall(text)))
    return list(_names(values)) if isinstance(values, Mapping) else []


def _records(path: str) -> Iterator[Record]:
    """Objects of a file: one a line, or those of a list over several lines."""
    if is_special(path) or not read_start(path, WorkloadTraceError).lstrip().startswith(b"["):
        yield from json_lines(path)
    else:
        yield from (Record(values, f"[{number}]") for number, values in enumerate(read_json(path)))


def _blocks(records: Iterable[Record]) -> Iterator[list[Record]]:
    remaining = iter(records)
    while block := list(islice(remaining, _BLOCK_ROWS)):
        yield block


def _names(values: Mapping[str, Any], outer: str = "") -> Iterator[str]:
    """Keys of an object, and those of the objects in it after a point."""
    for key, value in values.items():
        yield f"{outer}{key}"
        if isinstance(value, Mapping):
            yield from _names(value, f"{outer}{key}.")


def _value(values: Any, name: str) -> Any:
    """Value under a name; None if there is none."""
    if not isinstance(values, Mapping):
        return None
    if name in values:
        return values[name]
    outer, _, inner = name.partition(".")
    return _value(values.get(outer), inner) if inner else None


def _wrong(block: Iterable[Record], sources: list[tuple[CsvColumn, str]], path: str) -> Iterator[Problem]:
    """Say which values are wrong."""
    for record in block:
        if not isinstance(record.values, Mapping):
            yield Problem(path=record.path, rule="must be an object", value=record.values, file=path, line=record.line)
            continue
        for column, name in sources:
            value = _value(record.values, name)
            try:
                column.parse(as_text(value))
            except ValueError as broken:
                place = ".".join(filter(None, (record.path, name)))
                yield Problem(path=place, rule=str(broken), value=value, file=path, line=record.line)
