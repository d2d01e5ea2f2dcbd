"""Points in time as other programs write them, to whole microseconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING

from blis_simpy.errors import ScenarioError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TIME_UNITS", "check_reach", "instant_reader", "moment", "ticks", "ticks_of"]

TIME_UNITS = {"s": 1_000_000, "ms": 1_000, "us": 1}
"""Ticks of each unit that figures may be in."""

_DECIMAL = re.compile(r"\s*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?\s*")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# Sums of a few of them must fit into 64 bits.
_LATEST = 2**60


def ticks(text: str, unit: str) -> int:
    """Read a number of some unit, rounded to the nearest tick.

    Parameters
    ----------
    text : str
        A decimal number.
    unit : str
        One of `TIME_UNITS`.

    Raises
    ------
    ValueError
        With the rule that the text breaks.

    Examples
    --------
    >>> ticks("19440110.0000004", "s")
    19440110000000
    """
    if not _DECIMAL.fullmatch(text):
        raise ValueError(f"must be a number [{unit}]")
    exact = Decimal(text.strip()) * TIME_UNITS[unit]
    if not abs(exact) < _LATEST:
        raise ValueError("must be within some 30,000 years")
    return int(exact.to_integral_value())


def ticks_of(value: object, unit: str) -> int:
    """Read a number that is no text any more, as `ticks` does."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        # What cannot be read is one kind of error to the caller.
        raise ValueError(f"must be a number [{unit}]")  # noqa: TRY004
    return ticks(repr(value), unit)


def check_reach(last: float, option: str, value: object) -> None:
    """Refuse an option that makes requests arrive later than a trace can hold.

    Parameters
    ----------
    last : float, ticks
        About when the last one would arrive after the first.
    option : str
        What to blame.
    value : object
        Of the option.

    Raises
    ------
    ScenarioError
        If that is too late.
    """
    if last >= _LATEST:
        raise ScenarioError.at(option, "makes requests arrive after more than 30,000 years", value)


def moment(text: str) -> int:
    """Read a date with a time of day, as microseconds since 1970; without a time zone it is UTC.

    Raises
    ------
    ValueError
        With the rule that the text breaks.

    Examples
    --------
    >>> moment("2023-11-16 18:17:04.0000009") - moment("2023-11-16 18:17:03.9799600")
    20040
    >>> moment("2024-05-12 02:00:00+02:00") - moment("2024-05-12 00:00:00")
    0
    """
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError("must be a date and time like 2023-11-16 18:17:03.979") from None
    return ((found if found.tzinfo else found.replace(tzinfo=UTC)) - _EPOCH) // _MICROSECOND


def instant_reader(unit: str) -> Callable[[str], int]:
    """Return what reads instants: `moment` for the unit ``iso``, else `ticks`."""
    return moment if unit == "iso" else partial(ticks, unit=unit)
