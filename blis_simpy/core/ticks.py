"""Places and lengths of time that users name in calls."""

from __future__ import annotations

from operator import index
from typing import SupportsIndex

from blis_simpy.errors import ScenarioError
from blis_simpy.units import parse_duration

__all__ = ["ticks"]


def ticks(name: str, value: object) -> int:
    """Turn what a user gave as a time into ticks.

    Parameters
    ----------
    name : str
        Name of the parameter, for the error.
    value : int, µs, or str
        Whole number, numpy's too, or text such as ``5s``. A float is refused: most who write ``5.0`` think of seconds.

    Raises
    ------
    ScenarioError
        If it is neither.

    Examples
    --------
    >>> ticks("until", "5s"), ticks("until", np.int64(3))
    (5000000, 3)
    """
    if isinstance(value, str):
        try:
            return parse_duration(value)
        except ValueError as error:
            raise ScenarioError.at(name, str(error), value) from None
    if isinstance(value, SupportsIndex) and not isinstance(value, bool):
        return index(value)
    raise ScenarioError.at(name, "must be a whole number of microseconds or text such as 50ms, 1.5s", value)
