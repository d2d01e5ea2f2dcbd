"""Quantities in words: ``50ms`` to ticks and back, ``20/s`` to requests per second, ``64 GB`` to bytes.

The clock counts ticks of one microsecond as plain integers. Text is converted exactly: a duration that is no whole
number of microseconds is refused, never rounded.
"""

from __future__ import annotations

import math
import re
from operator import index
from typing import TYPE_CHECKING, SupportsIndex

from blis_simpy.errors import ScenarioError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from fractions import Fraction

__all__ = [
    "BANDWIDTH_PATTERN",
    "DURATION_PATTERN",
    "GIB",
    "HOUR",
    "MICROSECOND",
    "MINUTE",
    "MS",
    "RATE_PATTERN",
    "SECOND",
    "SIZE_PATTERN",
    "format_ticks",
    "parse_bandwidth",
    "parse_duration",
    "parse_rate",
    "parse_size",
    "ticks",
]

MICROSECOND = 1
MS = 1_000 * MICROSECOND
SECOND = 1_000 * MS
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
GIB = 2**30
"""Bytes of one gibibyte."""

# The Greek letter mu and the micro sign are two characters that look the same; keyboards offer either.
_TICKS_OF = {
    "us": MICROSECOND,
    "\N{MICRO SIGN}s": MICROSECOND,
    "\N{GREEK SMALL LETTER MU}s": MICROSECOND,
    "ms": MS,
    "s": SECOND,
    "min": MINUTE,
    "h": HOUR,
}
_PREFIXES = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BYTES_OF = {
    **{f"{prefix}B": factor for prefix, factor in _PREFIXES.items()},
    **{f"{prefix}iB": 2 ** (10 * power) for power, prefix in enumerate("KMGT", start=1)},
}
_BYTES_OF_BITS = {f"{prefix}bit": factor / 8 for prefix, factor in _PREFIXES.items() if prefix != "K"}
_AMOUNT = r"\s*([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]{1,2})?)\s*"
# Compiled at their first use: few commands read quantities.
_DURATION = rf"(?i){_AMOUNT}([^\W\d_]+)?\s*"
_RATE = rf"(?i){_AMOUNT}(?:/\s*([^\W\d_]+)\s*)?"
_SIZE = rf"(?a){_AMOUNT}([A-Za-z]+)?\s*"
_BANDWIDTH = rf"(?a){_AMOUNT}(?:([A-Za-z]+)\s*/\s*s)?\s*"


def _pattern(unit: str) -> str:
    """Regular expression that needs no flags, in the subset of JSON Schema."""
    units = "|".join("".join(f"[{c}{c.upper()}]" if c.isascii() else c for c in name) for name in _TICKS_OF)
    return f"^{_AMOUNT.replace('e[', '[eE][')}{unit % units}$"


DURATION_PATTERN = _pattern(r"(%s)?\s*")
"""What text must look like for `parse_duration`."""
RATE_PATTERN = _pattern(r"(/\s*(%s)\s*)?")
"""What text must look like for `parse_rate`."""


_JSON_AMOUNT = _AMOUNT.replace("e[", "[eE][")
SIZE_PATTERN = f"^{_JSON_AMOUNT}({'|'.join(_BYTES_OF)})?\\s*$"
"""What text must look like for `parse_size`."""
BANDWIDTH_PATTERN = f"^{_JSON_AMOUNT}(({'|'.join([*_BYTES_OF, *_BYTES_OF_BITS])})\\s*/\\s*s)?\\s*$"
"""What text must look like for `parse_bandwidth`."""


def parse_duration(value: float | str) -> int:
    """Turn a duration into ticks, exactly.

    Parameters
    ----------
    value : int, float or str
        A number of µs, or text with one of the units us, µs, ms, s, min, h (none means µs): ``50ms``, ``1.5s``.

    Returns
    -------
    int
        Ticks (µs); negative with a minus sign.

    Raises
    ------
    ValueError
        If the text is no duration, or it is not a whole number of µs. The message is a predicate (``must be ...``).

    Examples
    --------
    >>> parse_duration("1.5s"), parse_duration("3min"), parse_duration(250)
    (1500000, 180000000, 250)
    """
    amount, unit = _split(_DURATION, value, "must be a duration such as 50ms, 2s, 1.5s, 3min or 1h")
    ticks = amount * (_TICKS_OF[unit] if unit else MICROSECOND)
    if ticks.denominator != 1:
        raise ValueError("must be a whole number of microseconds")
    return int(ticks)


def parse_rate(value: float | str) -> float:
    """Turn a rate into a number per second.

    Parameters
    ----------
    value : int, float or str
        A number per second, or text that names the unit of time: ``20/s``, ``600/min``; ``inf`` is infinite.

    Returns
    -------
    float
        Per second; the float nearest to the exact quotient.

    Raises
    ------
    ValueError
        If the text is no rate. The message is a predicate (``must be ...``).

    Examples
    --------
    >>> parse_rate("20/s"), parse_rate("600/min"), parse_rate(2.5)
    (20.0, 10.0, 2.5)
    """
    if value == math.inf or (isinstance(value, str) and value.strip().lower() in ("inf", "infinity")):
        return math.inf
    amount, unit = _split(_RATE, value, "must be a rate such as 20/s, 600/min or a number per second")
    return float(amount * SECOND / (_TICKS_OF[unit] if unit else SECOND))


def parse_size(value: float | str) -> int:
    """Turn a size of memory into bytes, exactly.

    Parameters
    ----------
    value : int, float or str
        A number of bytes, or text with one of the units B, kB, MB, GB, TB, KiB, MiB, GiB, TiB: ``512GB``, ``1.5 TiB``.

    Returns
    -------
    int
        Bytes.

    Raises
    ------
    ValueError
        If the text is no size, or it is not a whole number of bytes. The message is a predicate (``must be ...``).

    Examples
    --------
    >>> parse_size("512 GB"), parse_size("1.5KiB")
    (512000000000, 1536)
    """
    size = _amount(_SIZE, value, _BYTES_OF, "must be a size such as 512GB, 1.5TiB or a number of bytes")
    if size.denominator != 1:
        raise ValueError("must be a whole number of bytes")
    return int(size)


def parse_bandwidth(value: float | str) -> float:
    """Turn a bandwidth into bytes per second.

    Parameters
    ----------
    value : int, float or str
        A number of bytes per second, or text with a unit of bytes or bits per second: ``25GB/s``, ``400 Gbit/s``;
        ``inf`` is infinite.

    Returns
    -------
    float
        Bytes per second; the float nearest to the exact value.

    Raises
    ------
    ValueError
        If the text is no bandwidth. The message is a predicate (``must be ...``).

    Examples
    --------
    >>> parse_bandwidth("25 GB/s"), parse_bandwidth("400Gbit/s"), parse_bandwidth("inf")
    (25000000000.0, 50000000000.0, inf)
    """
    if value == math.inf or (isinstance(value, str) and value.strip().lower() in ("inf", "infinity")):
        return math.inf
    rule = "must be a bandwidth such as 25GB/s, 400Gbit/s or a number of bytes per second"
    return float(_amount(_BANDWIDTH, value, _BYTES_OF | _BYTES_OF_BITS, rule))


def _amount(pattern: str, value: float | str, units: Mapping[str, float], rule: str) -> Fraction:
    from fractions import Fraction

    match = re.fullmatch(pattern, value if isinstance(value, str) else repr(value))
    if match is None or (match[2] is not None and match[2] not in units):
        raise ValueError(rule)
    return Fraction(match[1]) * Fraction(units[match[2]] if match[2] else 1)


def _split(pattern: str, value: float | str, rule: str) -> tuple[Fraction, str]:
    from fractions import Fraction

    match = re.fullmatch(pattern, value if isinstance(value, str) else repr(value))
    unit = (match[2] or "").lower() if match else ""
    if match is None or (unit and unit not in _TICKS_OF):
        raise ValueError(rule)
    return Fraction(match[1]), unit


def format_ticks(ticks: int) -> str:
    """Write ticks with the largest unit up to seconds that leaves at least one before the point.

    Parameters
    ----------
    ticks : int
        µs, of either sign.

    Examples
    --------
    >>> format_ticks(250), format_ticks(12_345), format_ticks(1_500_000), format_ticks(90 * MINUTE)
    ('250us', '12.345ms', '1.5s', '5400s')
    """
    unit, size = next(((u, s) for u, s in (("s", SECOND), ("ms", MS)) if abs(ticks) >= s), ("us", MICROSECOND))
    whole, rest = divmod(abs(ticks), size)
    decimals = f"{rest:0{len(str(size)) - 1}d}".rstrip("0") if rest else ""
    return f"{'-' if ticks < 0 else ''}{whole}{'.' if decimals else ''}{decimals}{unit}"


def ticks(name: str, value: object) -> int:
    """Turn what a user gave as a time into ticks.

    Parameters
    ----------
    name : str
        Name of the parameter, for the error.
    value : int, µs, or str
        Whole number, numpy's too, or text such as ``5s``. A float is refused: ``5.0`` is usually meant in seconds.

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
