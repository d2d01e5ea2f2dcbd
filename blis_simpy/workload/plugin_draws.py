"""Draws from arrival processes and length distributions, which may be plug-ins: each result is checked."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np

from blis_simpy import registry
from blis_simpy.errors import PluginError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SampledLengths", "plugin_instance", "validate_samples"]


class SampledLengths:
    """Lengths from one distribution and one random stream, drawn as far as they are needed.

    Parameters
    ----------
    distribution : LengthSampler, class or str
        Length distribution, in the form that a field of a client keeps.
    rng : numpy.random.Generator
        The random stream.
    """

    def __init__(self, distribution: Any, rng: np.random.Generator) -> None:
        self._distribution = plugin_instance("lengths", distribution)
        self._rng = rng
        self._drawn: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def first(self, n: int) -> NDArray[np.int64]:
        """Return the first n lengths, shape (n,), tokens; earlier calls do not change them."""
        missing = n - len(self._drawn)
        if missing > 0:
            more = self._distribution.sample(self._rng, missing)
            more = validate_samples("lengths", self._distribution, more, missing, at_least=0)
            self._drawn = np.concatenate((self._drawn, more))
        return self._drawn[:n]


def plugin_instance(kind: str, plugin: Any) -> Any:
    """Make the instance that one owner draws from.

    Parameters
    ----------
    kind : {"arrivals", "lengths"}
        Kind of plug-in.
    plugin : str, class or instance
        Plug-in in the form that a settings field keeps. A class is instantiated. An instance that may keep state is
        copied, so that clients and runs do not share the state; one that is compared and hashed by its value is not
        copied.

    Raises
    ------
    PluginError
        If the name is unknown, the class needs arguments, or the instance cannot be copied.
    """
    instance = registry.build(kind, plugin)
    if instance is not plugin or _is_value(instance):
        return instance
    try:
        return deepcopy(instance)
    except Exception as error:
        rule = f"cannot be copied for a client: {error}"
        hint = "give the class, not an instance"
        raise PluginError.at(f"{kind} {type(plugin).__name__}", rule, hint=hint) from error


def _is_value(instance: Any) -> bool:
    """Whether an object is compared and hashed by its value, as immutable ones are."""
    inherited: tuple[Any, ...] = (None, object.__hash__, object.__eq__)
    return type(instance).__hash__ not in inherited and type(instance).__eq__ not in inherited


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
