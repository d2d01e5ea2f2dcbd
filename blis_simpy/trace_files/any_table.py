"""Tables whatever their container: CSV with any delimiter, Parquet, or JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blis_simpy.errors import WorkloadTraceError
from blis_simpy.files.paths import is_special
from blis_simpy.files.text_files import read_start
from blis_simpy.trace_files.csv_columns import heading_of, normalised, read_table
from blis_simpy.trace_files.json_rows import names_of, read_json_rows
from blis_simpy.trace_files.parquet import PARQUET, read_parquet

if TYPE_CHECKING:
    from blis_simpy.trace_files.csv_columns import Columns, LayoutOf

__all__ = ["column_names", "names_columns", "read_any_table"]


def read_any_table(path: str, layout_of: LayoutOf, max_rows: int | None) -> Columns:
    """Read columns of a file.

    Parameters
    ----------
    path : str
        CSV, TSV and the like, JSON lines, a JSON list of objects, or Parquet. A pipe must be CSV.
    layout_of : callable
        Chooses what to read, as for `read_table`.
    max_rows : int or None
        Stop after so many.

    Raises
    ------
    WorkloadTraceError
        If the file cannot be read, or values are wrong; names the place of each.
    PluginError
        If it is Parquet and pyarrow is not installed.
    """
    if is_special(path):  # it can be read only once, so it cannot be examined first
        return read_table(path, layout_of, max_rows=max_rows).columns
    start = read_start(path, WorkloadTraceError)
    if start.startswith(PARQUET):
        return read_parquet(path, layout_of, max_rows)
    if start.lstrip().startswith((b"{", b"[")):
        return read_json_rows(path, layout_of, max_rows)
    return read_table(path, layout_of, max_rows=max_rows).columns


def column_names(start: bytes) -> list[str]:
    """Names of the columns of a CSV or JSON file, from its first bytes; none of a Parquet file."""
    if start.startswith(PARQUET):
        return []
    return names_of(start) if start.lstrip().startswith((b"{", b"[")) else heading_of(start)


def names_columns(start: bytes, *names: str) -> bool:
    """Whether a file, of which these are the first bytes, has columns of such names, in whatever case."""
    return set(map(normalised, names)) <= set(map(normalised, column_names(start)))
