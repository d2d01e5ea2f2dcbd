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

__all__ = ["MOST_TICKS", "TIME_UNITS", "check_reach", "instant_reader", "moment", "ticks", "ticks_of", "unit_of"]

TIME_UNITS = {"s": Decimal(1_000_000), "ms": Decimal(1_000), "us": Decimal(1), "ns": Decimal("0.001")}
"""Ticks of each unit that figures may be in."""

_DECIMAL = re.compile(r"\s*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?\s*")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
MOST_TICKS = 2**60
"""Bound of all instants, so that sums of a few of them fit into 64 bits."""
_LARGEST_EPOCH = Decimal(10**17)
_UNIT_OF_ENDING = {
    **dict.fromkeys(("ns", "nanoseconds"), "ns"),
    **dict.fromkeys(("us", "microseconds"), "us"),
    **dict.fromkeys(("ms", "milliseconds"), "ms"),
    **dict.fromkeys(("s", "sec", "secs", "seconds"), "s"),
}
_UNIT_ENDING = re.compile(rf"[^a-z0-9]\[?\(?({'|'.join(_UNIT_OF_ENDING)})[\])]?\Z", re.IGNORECASE)


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
    if not abs(exact) < MOST_TICKS:
        raise ValueError("must be within some 30,000 years")
    return int(exact.to_integral_value())


def ticks_of(value: object, unit: str) -> int:
    """Read a number of a JSON file, also one written as text, as `ticks` does."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        # What cannot be read is one kind of error to the caller.
        raise ValueError(f"must be a number [{unit}]")  # noqa: TRY004
    return ticks(value if isinstance(value, str) else repr(value), unit)


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
    if last >= MOST_TICKS:
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


def unit_of(name: str, first: str) -> str:
    """Determine the unit of a column of times.

    Parameters
    ----------
    name : str
        Of the column; an ending such as ``_ms`` or ``_ns`` is the unit.
    first : str
        The first value; a date and time is ``iso``, and a number too large for seconds since 1970 has the largest
        unit that keeps it within 3,000 years.

    Examples
    --------
    >>> unit_of("arrival_time_ns", "1000000"), unit_of("ts", "2024-05-12 00:00"), unit_of("ts", "1700000000123")
    ('ns', 'iso', 'ms')
    """
    if ending := _UNIT_ENDING.search(name.strip()):
        return _UNIT_OF_ENDING[ending[1].lower()]
    if not _DECIMAL.fullmatch(first):
        return "s" if not first.strip() or _fails(moment, first) else "iso"
    size = abs(Decimal(first.strip()))
    return next((unit for unit, scale in TIME_UNITS.items() if size * scale < _LARGEST_EPOCH), "ns")


def _fails(read: Callable[[str], int], text: str) -> bool:
    try:
        read(text)
    except ValueError:
        return True
    return False
