"""Terms of a step time that a latency model adds up, as data for tables, notebooks and calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from blis_simpy.latency.base import to_ticks

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Term", "total_time"]


@attrs.frozen
class Term:
    """One summand of a step time, or one figure that a summand is made of.

    Attributes
    ----------
    name : str
        What it is, e.g. ``weight load``.
    meaning : str
        The formula in words.
    value : float
        Its size; of a summand, its share of the step time in µs.
    unit : str
        Unit of `value`: ``us`` for a summand.
    parts : tuple of Term
        The figures it is made of; `meaning` states how they combine.
    """

    name: str
    meaning: str
    value: float
    unit: str = "us"
    parts: tuple[Term, ...] = ()


def total_time(terms: Sequence[Term]) -> int:
    """Step time that the terms of a latency model add up to, µs, at least 1.

    The sum runs from left to right and is truncated as a whole, so it equals `LatencyModel.step_time` bit for bit.
    """
    time = 0.0
    for term in terms:  # sum() compensates from Python 3.12 on
        time += term.value
    return to_ticks(time) or 1
