"""Values of numpy and pandas as values of Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DataFrame", "plain"]

_PLAIN = frozenset({int, float, str, bool, type(None), list, tuple, dict})


def plain(value: Any) -> Any:
    """Return a number or text of numpy as one of Python, and an array, series or range as a list; others unchanged.

    Examples
    --------
    >>> plain(np.int64(3)), plain(np.linspace(0, 1, 3)), plain(range(2)), plain("3")
    (3, [0.0, 0.5, 1.0], [0, 1], '3')
    """
    if type(value) in _PLAIN:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, range):
        return list(value)
    # By method, because numpy takes a while to import, and pandas may not be installed.
    to_list = None if isinstance(value, type) else getattr(value, "tolist", None)
    return to_list() if callable(to_list) else value


@runtime_checkable
class DataFrame(Protocol):
    """A pandas DataFrame: columns by name, and rows as records."""

    columns: Any

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the names of the columns."""

    def __getitem__(self, name: Any, /) -> Any:
        """Return a column."""

    def to_dict(self, orient: Any, /) -> Any:
        """Return the rows as mappings, if `orient` is ``records``."""
