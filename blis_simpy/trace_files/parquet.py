"""Tables in Parquet files; values become text first, so that the rules of a column hold for all kinds of files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy.errors import PluginError, Problem, WorkloadTraceError
from blis_simpy.trace_files.csv_columns import MAX_PROBLEMS, Columns, CsvColumn, by_name, join_parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["PARQUET", "read_parquet"]

PARQUET = b"PAR1"
"""How a Parquet file begins."""

_BATCH_ROWS = 65_536


def read_parquet(
    path: str, required: Sequence[CsvColumn], optional: Sequence[CsvColumn], max_rows: int | None
) -> Columns:
    """Read columns of a Parquet file.

    Parameters
    ----------
    path : str
        The file.
    required, optional : sequence of CsvColumn
        What to read, by name, and what to read where it is there.
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
    try:
        with ParquetFile(path) as file:
            names = file.schema_arrow.names
            layout = by_name(names, required, optional)
            if isinstance(layout, Problem):
                raise WorkloadTraceError(attrs.evolve(layout, file=path))
            for column in layout.columns:
                if names.count(column.name) > 1:
                    raise WorkloadTraceError.at(column.name, "must be the name of one column only", file=path)
            parts: dict[str, list[Any]] = {column.name: [] for column in layout.columns}
            first = 0
            for batch in file.iter_batches(_BATCH_ROWS, columns=list(parts)):
                batch = batch.slice(0, None if max_rows is None else min(max_rows - first, len(batch)))
                if not len(batch):
                    break
                for column in layout.columns:
                    values: list[Any] = batch.column(column.name).to_pylist()
                    try:
                        parts[column.name].append(column.convert([_as_text(value, column) for value in values]))
                    except ValueError:
                        raise WorkloadTraceError(list(_wrong(values, column, path, first))[:MAX_PROBLEMS]) from None
                first += len(batch)
    except ArrowException as broken:
        raise WorkloadTraceError.at("", f"cannot be read as Parquet: {broken}", file=path) from None
    return {column.name: join_parts(parts[column.name], column.dtype) for column in layout.columns}


def _as_text(value: Any, column: CsvColumn) -> str:
    if value is None and column.dtype is not None:
        raise ValueError("must not be null")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else str(value)


def _wrong(values: list[Any], column: CsvColumn, path: str, first: int) -> Iterator[Problem]:
    """Tell which values of a column are wrong; rows of Parquet count from 0."""
    for row, value in enumerate(values, start=first):
        try:
            column.parse(_as_text(value, column))
        except ValueError as broken:
            yield Problem(path=f"{column.name}[{row}]", rule=str(broken), value=value, file=path)
