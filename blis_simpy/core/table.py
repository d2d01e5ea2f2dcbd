"""Tables: named columns of equal length, such as the requests and the steps of a run.

A column is a numpy array, computed at its first access, so that an unused table costs nothing. In some arrays, -1 is a
missing value; rows, data frames, Arrow tables and files have None, ``pd.NA`` or null there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self, overload

import numpy as np

from blis_simpy.core.rendering import Rendered
from blis_simpy.core.request import NEVER
from blis_simpy.errors import PluginError, ScenarioError, nearest

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    from blis_simpy.plain_values import DataFrame

__all__ = ["Table"]


class Table(Rendered, Mapping[str, "NDArray[Any]"]):
    """Named columns with one value per row.

    Parameters
    ----------
    columns : iterable of str
        Names, in order.
    num_rows : int
        Length of each column.
    make : callable
        Returns the column of a name; called once per column.

    Examples
    --------
    >>> table = Table.of({"at_us": np.array([0, 5, 9]), "queue_depth": np.array([3, 0, 1])})
    >>> list(table[table["queue_depth"] > 0].rows())
    [{'at_us': 0, 'queue_depth': 3}, {'at_us': 9, 'queue_depth': 1}]
    >>> table[1], {depth: part.num_rows for depth, part in table.groupby("queue_depth").items()}
    ({'at_us': 5, 'queue_depth': 0}, {0: 1, 1: 1, 3: 1})
    """

    _NEVER: ClassVar[frozenset[str]] = frozenset()
    """Columns in which -1 is a missing value; in others, such as a priority, it may be a value."""

    def __init__(self, columns: Iterable[str], num_rows: int, make: Callable[[str], NDArray[Any]]) -> None:
        self._names = tuple(columns)
        self._num_rows = num_rows
        self._make = make
        self._columns: dict[str, NDArray[Any]] = {}

    @classmethod
    def of(cls, columns: Mapping[str, Iterable[Any]] | DataFrame) -> Self:
        """Build a table from columns: arrays, lists, ranges, or the columns of a data frame.

        Raises
        ------
        ScenarioError
            If they have different lengths.
        """
        arrays = {str(name): _array(columns[name]) for name in columns}
        lengths = sorted({len(array) for array in arrays.values()})
        if len(lengths) > 1:
            raise ScenarioError.at("columns", f"must have the same length, not {', '.join(map(str, lengths))}")
        return cls(arrays, lengths[0] if lengths else 0, arrays.__getitem__)

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return self._num_rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    @overload
    def __getitem__(self, key: str) -> NDArray[Any]: ...
    @overload
    def __getitem__(self, key: int | np.integer[Any]) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, key: slice | NDArray[Any] | list[int]) -> Self: ...
    def __getitem__(self, key: Any) -> Any:
        """Return a column by name, a row by number, or the table of the rows of a slice, mask or list of numbers."""
        if not isinstance(key, str):
            return self._row(int(key)) if isinstance(key, int | np.integer) else self.take(key)
        column = self._columns.get(key)
        if column is None:
            if key not in self._names:
                raise KeyError(f"{key!r} is not a column; {nearest(key, self._names)}")
            column = self._columns[key] = self._compute(key)
        return column

    def _compute(self, name: str) -> NDArray[Any]:
        return self._make(name)

    def _row(self, row: int) -> dict[str, Any]:
        if not -self.num_rows <= row < self.num_rows:
            raise IndexError(f"row {row} of a table of {self.num_rows} rows")
        return next(self.take([row]).rows())

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return self._names

    def head(self, rows: int = 5) -> Self:
        """Return a table of the first rows."""
        return self.take(slice(rows))

    def groupby(self, name: str) -> dict[Any, Self]:
        """Return a table of the rows of each value of a column, by value, ascending."""
        column = self[name]
        values, group = np.unique(column.astype(str) if column.dtype == object else column, return_inverse=True)
        order = np.argsort(group, kind="stable")
        ends = np.cumsum(np.bincount(group, minlength=len(values)))[:-1]
        if not len(values):
            return {}
        return {value: self.take(rows) for value, rows in zip(values.tolist(), np.split(order, ends), strict=True)}

    def missing(self, name: str) -> NDArray[np.bool_]:
        """Return in which rows a column has no value; shape (num_rows,)."""
        column = self[name]
        if name in self._NEVER:
            return np.asarray(column == NEVER)
        return np.isnan(column) if column.dtype.kind == "f" else np.zeros(self.num_rows, dtype=np.bool_)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows as dictionaries of Python values, with None for missing values."""
        columns = {name: self._values(name) for name in self}
        for row in range(self.num_rows):
            yield {name: values[row] for name, values in columns.items()}

    def _values(self, name: str) -> list[Any]:
        values: list[Any] = self[name].tolist()
        for row in np.flatnonzero(self.missing(name)).tolist():
            values[row] = None
        return values

    def take(self, rows: NDArray[Any] | slice | list[int]) -> Self:
        """Return a table of some rows.

        Parameters
        ----------
        rows : ndarray, list or slice
            Indices of rows, or a boolean for each row.
        """
        chosen = np.arange(self.num_rows)[rows]
        return type(self)(self._names, len(chosen), lambda name: self[name][chosen])

    def frozen(self) -> Self:
        """Return a copy with all columns computed, independent of later changes of the run."""
        columns = {name: self[name] for name in self}
        return type(self)(columns, self.num_rows, columns.__getitem__)

    def __eq__(self, other: object) -> bool:
        """Whether two tables have equal columns in the same order; NaN equals NaN."""
        if not isinstance(other, Table) or tuple(self) != tuple(other) or self.num_rows != other.num_rows:
            return False
        return all(_same(self[name], other[name]) for name in self)

    __hash__ = None  # type: ignore[assignment]  # equal by value, and columns can be changed

    def _ipython_key_completions_(self) -> list[str]:
        return list(self)

    def __getstate__(self) -> dict[str, NDArray[Any]]:
        return {name: self[name] for name in self}

    def __setstate__(self, columns: dict[str, NDArray[Any]]) -> None:
        Table.__init__(self, columns, len(next(iter(columns.values()), ())), columns.__getitem__)

    def to_pandas(self) -> pd.DataFrame:
        """Return the table as a pandas DataFrame; requires the extra ``tables``.

        Integer columns that can lack values have the type ``Int64`` with ``pd.NA``, columns of floats have NaN.

        Raises
        ------
        PluginError
            If pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise PluginError.at("to_pandas", "needs pandas", hint="pip install blis-simpy[tables]") from error

        def series(name: str) -> Any:
            column = self[name]
            if name not in self._NEVER:
                return column
            missing = self.missing(name)
            return (
                np.where(missing, np.nan, column)
                if column.dtype.kind == "f"
                else pd.arrays.IntegerArray(column, missing)
            )

        return pd.DataFrame({name: series(name) for name in self})

    def to_arrow(self) -> pa.Table:
        """Return the table as an Arrow table, with nulls for missing values; requires the extra ``tables``.

        Raises
        ------
        PluginError
            If pyarrow is not installed.
        """
        try:
            import pyarrow as pa
        except ImportError as error:
            raise PluginError.at("to_arrow", "needs pyarrow", hint="pip install blis-simpy[tables]") from error
        return pa.table({name: pa.array(self[name], mask=self.missing(name)) for name in self})

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.num_rows} rows: {', '.join(self)}>"


def _array(values: Any) -> NDArray[Any]:
    """Return a column as an array; text is an object, as in the tables of results."""
    if isinstance(values, np.ndarray):
        return values
    array = np.asarray(values if hasattr(values, "__array__") else list(values))
    return array.astype(object) if array.dtype.kind in "USO" else array


def _same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    both_floats = one.dtype.kind == other.dtype.kind == "f"
    return np.array_equal(one, other, equal_nan=both_floats)
