"""Tables in Parquet files; values become text first, so that the rules of a column hold for all kinds of files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy.errors import PluginError, Problem, WorkloadTraceError
from blis_simpy.files.paths import exists, is_regular, reason_of, record_input
from blis_simpy.trace_files.csv_columns import MAX_PROBLEMS, Columns, CsvColumn, join_parts
from blis_simpy.trace_files.json_rows import as_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from blis_simpy.trace_files.csv_columns import LayoutOf

__all__ = ["PARQUET", "read_parquet"]

PARQUET = b"PAR1"
"""How a Parquet file begins."""

_BATCH_ROWS = 65_536


def read_parquet(path: str, layout_of: LayoutOf, max_rows: int | None) -> Columns:
    """Read columns of a Parquet file.

    Parameters
    ----------
    path : str
        The file.
    layout_of : callable
        Chooses what to read, as for `read_table`.
    max_rows : int or None
        Stop after so many.

    Raises
    ------
    WorkloadTraceError
        If the file cannot be read, or values are wrong: the first ten of them, each with its column and row.
    PluginError
        If pyarrow is not installed.
    """
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise PluginError("Parquet files need pyarrow; pip install blis-simpy[tables]") from None
    if exists(path) and not is_regular(path):
        raise WorkloadTraceError.at("", "cannot be read as Parquet: it is no regular file", file=path)
    record_input(path)
    try:
        with ParquetFile(path) as file:
            names = file.schema_arrow.names
            layout = layout_of(names, _first_row(file, names))
            if isinstance(layout, Problem):
                raise WorkloadTraceError(attrs.evolve(layout, file=path))
            sources = [(column, names[place]) for column, place in zip(layout.columns, layout.places, strict=True)]
            parts: dict[str, list[Any]] = {column.name: [] for column in layout.columns}
            first = 0
            for batch in file.iter_batches(_BATCH_ROWS, columns=[name for _, name in sources]):
                batch = batch.slice(0, None if max_rows is None else min(max_rows - first, len(batch)))
                if not len(batch):
                    break
                for column, name in sources:
                    values: list[Any] = batch.column(name).to_pylist()
                    try:
                        parts[column.name].append(column.convert([_required(value, column) for value in values]))
                    except ValueError:
                        raise WorkloadTraceError(list(_wrong(values, column, path, first))[:MAX_PROBLEMS]) from None
                first += len(batch)
    except (ArrowException, ArithmeticError, LookupError, MemoryError, OSError, TypeError, ValueError) as broken:
        # pyarrow raises any of them for what is wrong with the content.
        raise WorkloadTraceError.at("", f"cannot be read as Parquet: {reason_of(broken)}", file=path) from None
    return {column.name: join_parts(parts[column.name], column.dtype) for column in layout.columns}


def _first_row(file: Any, names: Sequence[str]) -> list[str]:
    if len(set(names)) < len(names):
        return []
    batch = next(file.iter_batches(1), None)
    return [] if batch is None else [as_text(values[0]) for values in batch.to_pydict().values()]


def _required(value: Any, column: CsvColumn) -> str:
    if value is None and column.dtype is not None:
        raise ValueError("must not be null")
    return as_text(value)


def _wrong(values: list[Any], column: CsvColumn, path: str, first: int) -> Iterator[Problem]:
    """Say which values of a column are wrong; rows of Parquet count from 0."""
    for row, value in enumerate(values, start=first):
        try:
            column.parse(_required(value, column))
        except ValueError as broken:
            yield Problem(path=f"{column.name}[{row}]", rule=str(broken), value=value, file=path)
