"""Tables as files: CSV, JSON or Parquet, by the ending of the name.

Missing values, NaN and infinity are an empty field or ``null``. Which integers are missing is known to the `Table`.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from blis_simpy.core.table import Table
from blis_simpy.errors import PluginError, ScenarioError
from blis_simpy.files.outputs import check_writable, write_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["check_table_path", "packed", "write_table"]

Columns = Mapping[str, NDArray[Any]]


def write_table(columns: Columns, path: str | os.PathLike[str]) -> None:
    """Write columns as a table; the same columns give the same bytes.

    Parameters
    ----------
    columns : mapping of str to ndarray, shape (num_rows,)
        Numbers, flags or text by name, in the order of the file; of a `Table`, with its missing values.
    path : path-like
        Ends in ``.csv``, ``.json`` (an array with one object per row, one row per line), ``.csv.gz``, ``.json.gz``, or
        ``.parquet``, which needs the extra ``tables``.

    Raises
    ------
    ScenarioError
        If the file has another ending or cannot be written; an existing one is left unchanged.
    PluginError
        If pyarrow is needed and not installed.
    """
    check_table_path(path)
    write_bytes(path, packed(_writer(path)(columns), path))


def check_table_path(path: str | os.PathLike[str], name: str = "path") -> None:
    """Check before a simulation that a table can be written.

    Parameters
    ----------
    path : path-like
        Path of the file.
    name : str
        Name of the parameter in the error.

    Raises
    ------
    ScenarioError, PluginError
        As `write_table`.
    """
    if _ending(path) not in _WRITERS:
        endings = ", ".join((*_WRITERS, *(f"{ending}{_GZIP}" for ending in _TEXTS)))
        raise ScenarioError.at(name, f"must end in one of {endings}", os.fspath(path))
    if _ending(path) == ".parquet":
        _pyarrow()
    check_writable(path)


def packed(data: bytes, path: str | os.PathLike[str]) -> bytes:
    """Compress data if the name of the file ends in ``.gz``; the same data give the same bytes."""
    if not os.fspath(path).endswith(_GZIP):
        return data
    compressed = gzip.compress(data, compresslevel=6, mtime=0)
    # Byte 9 names the operating system; what Python writes there depends on its version.
    return compressed[:9] + b"\xff" + compressed[10:]


def _ending(path: str | os.PathLike[str]) -> str:
    """Return the ending that determines the format: the one before ``.gz`` for compressed text."""
    path = Path(path)
    inner = Path(path.stem).suffix if path.suffix == _GZIP else ""
    return inner if inner in _TEXTS else path.suffix


def _writer(path: str | os.PathLike[str]) -> Callable[[Columns], bytes]:
    return _WRITERS[_ending(path)]


def _csv(columns: Columns) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    words = [_words(values) if values.dtype == np.bool_ else values.tolist() for values in _values(columns)]
    writer.writerows(zip(*words, strict=True))
    return text.getvalue().encode()


def _words(flags: NDArray[np.bool_]) -> list[str]:
    return ["true" if flag else "false" for flag in flags.tolist()]


def _json(columns: Columns) -> bytes:
    # One row per line: readable, and each row is encoded by the C encoder.
    encode = partial(json.dumps, ensure_ascii=False, separators=(", ", ": "))
    names = list(columns)
    rows = zip(*(values.tolist() for values in _values(columns)), strict=True)
    lines = ",\n".join(encode(dict(zip(names, row, strict=True))) for row in rows)
    return (f"[\n{lines}\n]\n" if lines else "[]\n").encode()


def _parquet(columns: Columns) -> bytes:
    pa, parquet = _pyarrow()
    arrays = {
        name: pa.array(values, pa.string())
        if values.dtype == object
        else pa.array(values, mask=_missing(columns, name))
        for name, values in columns.items()
    }
    data = io.BytesIO()
    parquet.write_table(pa.table(arrays), data)
    return data.getvalue()


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise PluginError.at("parquet", "needs pyarrow", hint="pip install blis-simpy[tables]") from error
    return pa, parquet


def _values(columns: Columns) -> list[NDArray[Any]]:
    """Return the columns with None for missing values."""
    return [_with_none(values, _missing(columns, name)) for name, values in columns.items()]


def _missing(columns: Columns, name: str) -> NDArray[np.bool_] | None:
    """Return where values are missing; None if they are nowhere."""
    values = columns[name]
    missing = columns.missing(name) if isinstance(columns, Table) else np.zeros(len(values), dtype=np.bool_)
    if values.dtype.kind == "f":
        missing = missing | ~np.isfinite(values)
    return missing if missing.any() else None


def _with_none(values: NDArray[Any], missing: NDArray[np.bool_] | None) -> NDArray[Any]:
    if missing is None:
        return values
    found = values.astype(object)
    found[missing] = None
    return found


_GZIP = ".gz"
_TEXTS = (".csv", ".json")
_WRITERS: dict[str, Callable[[Columns], bytes]] = {".csv": _csv, ".json": _json, ".parquet": _parquet}
