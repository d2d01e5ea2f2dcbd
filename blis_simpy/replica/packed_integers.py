"""Long series of integers that change little from one to the next, compressed."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import attrs
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["PackedIntegers"]

_FASTEST = 1
_TYPES = (np.int8, np.int16, np.int32, np.int64)


@attrs.frozen
class PackedIntegers:
    """Integers as the compressed differences of neighbours.

    Step times of a batch differ by a few µs, if at all, so that a step takes a fraction of a byte.

    Attributes
    ----------
    length : int
        Number of integers.
    first : int
        The first one.
    dtype : str
        Type of the differences.
    data : bytes
        The differences, compressed.

    Examples
    --------
    >>> packed = PackedIntegers.of([70_000, 70_001, 70_001, 69_990])
    >>> packed.dtype, packed.to_array().tolist()
    ('int8', [70000, 70001, 70001, 69990])
    """

    length: int
    first: int
    dtype: str
    data: bytes

    @classmethod
    def of(cls, values: Sequence[int] | NDArray[np.int64]) -> PackedIntegers:
        """Pack at least one integer of 64 bits."""
        numbers = np.array(values, dtype=np.int64)
        steps = np.diff(numbers)
        low, high = steps.min(initial=0), steps.max(initial=0)
        dtype = next(kind for kind in _TYPES if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max)
        data = zlib.compress(steps.astype(dtype).tobytes(), _FASTEST)
        return cls(len(numbers), int(numbers[0]), np.dtype(dtype).name, data)

    def to_array(self) -> NDArray[np.int64]:
        """Return the integers; shape (length,)."""
        result = np.empty(self.length, dtype=np.int64)
        result[0] = self.first
        result[1:] = np.frombuffer(zlib.decompress(self.data), dtype=self.dtype)
        return np.cumsum(result, out=result)
