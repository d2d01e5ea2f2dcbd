"""Draws from a law, checked, because a law may be anybody's plug-in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from blis_simpy.errors import PluginError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from blis_simpy.workload.lengths import LengthSampler

__all__ = ["SampledLengths", "validate_samples"]


class SampledLengths:
    """Lengths of one law and one stream, drawn as far as somebody needs them.

    Parameters
    ----------
    law : LengthSampler
        Where they come from.
    rng : numpy.random.Generator
        The law's own stream.
    """

    def __init__(self, law: LengthSampler, rng: np.random.Generator) -> None:
        self._law = law
        self._rng = rng
        self._drawn: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def first(self, n: int) -> NDArray[np.int64]:
        """Return the first n of them, shape (n,), tokens; the same ones whatever was asked for before."""
        missing = n - len(self._drawn)
        if missing > 0:
            more = validate_samples("lengths", self._law, self._law.sample(self._rng, missing), missing, at_least=0)
            self._drawn = np.concatenate((self._drawn, more))
        return self._drawn[:n]


def validate_samples(kind: str, plugin: object, values: Any, n: int, at_least: int) -> NDArray[np.int64]:
    """Return the values that a plug-in drew, as integers.

    Raises
    ------
    PluginError
        If they are not n integers of at least the given size.
    """
    array = np.asarray(values)
    if array.shape != (n,) or array.dtype.kind not in "iu" or int(array.min()) < at_least:
        raise PluginError.at(
            f"{kind} {type(plugin).__name__}",
            f"must return {n} integers >= {at_least}",
            values,
            code=f"bad_{kind}",
        )
    return array.astype(np.int64, copy=False)
