"""Requests of a workload as columns, from which each is made when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any, overload

import attrs
import numpy as np
from numpy.typing import NDArray

from blis_simpy.core.request import Request

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["PARAMETERS", "RequestRows", "SharedValues"]

_BLOCK = 1024
PARAMETERS = {field.name: field.default for field in attrs.fields(Request) if field.init}
"""Parameters of `Request` in their order, with their defaults."""


@attrs.frozen(eq=False)
class SharedValues:
    """A column of values that many rows have in common.

    Attributes
    ----------
    values : sequence
        The values.
    numbers : ndarray of int64, shape (num_rows,)
        Position of the value of each row.
    """

    values: Sequence[Any]
    numbers: NDArray[np.int64]

    def of(self, rows: NDArray[np.int64]) -> Iterable[Any]:
        """Return the values of some rows."""
        if len(self.values) == 1:
            return repeat(self.values[0], len(rows))
        return map(self.values.__getitem__, self.numbers[rows].tolist())


class RequestRows(Sequence[Request]):
    """Requests that are made, each time anew, when they are asked for: ten times as small as objects.

    Parameters
    ----------
    ids : callable
        Returns the ids of some rows, an array.
    columns : mapping of str to (ndarray of int64 or SharedValues)
        Other parameters of `Request`; those that are not given have their defaults. At least `arrived_at`,
        `input_tokens` and `output_tokens`, as integers.
    """

    def __init__(
        self,
        ids: Callable[[NDArray[np.int64]], Iterable[str]],
        columns: Mapping[str, NDArray[np.int64] | SharedValues],
    ) -> None:
        self._ids = ids
        self._columns = columns

    @property
    def arrivals(self) -> NDArray[np.int64]:
        """Arrival of each request, tick."""
        arrivals = self._columns["arrived_at"]
        assert isinstance(arrivals, np.ndarray)
        return arrivals

    def __len__(self) -> int:
        return len(self.arrivals)

    def values(self, name: str, rows: NDArray[np.int64]) -> Iterable[Any]:
        """Return a parameter of the requests of some rows."""
        if name == "id":
            return self._ids(rows)
        column = self._columns.get(name)
        if column is None:
            return repeat(PARAMETERS[name], len(rows))
        return column.of(rows) if isinstance(column, SharedValues) else column[rows].tolist()

    def make(self, rows: NDArray[np.int64]) -> list[Request]:
        """Make the requests of some rows."""
        # By position: with keywords it takes three times as long.
        return [Request(*values) for values in zip(*(self.values(name, rows) for name in PARAMETERS), strict=True)]

    @overload
    def __getitem__(self, index: int) -> Request: ...
    @overload
    def __getitem__(self, index: slice) -> list[Request]: ...
    def __getitem__(self, index: int | slice) -> Request | list[Request]:
        """Make a request, or a list of requests."""
        if isinstance(index, slice):
            return self.make(np.arange(*index.indices(len(self))))
        return self.make(np.array([range(len(self))[index]]))[0]

    def __iter__(self) -> Iterator[Request]:
        for start in range(0, len(self), _BLOCK):
            yield from self[start : start + _BLOCK]

    def __repr__(self) -> str:
        return f"<RequestRows of {len(self):,} requests>"
