"""Bounds of numbers: what is computed from them fits into 64 bits and into memory.

A field has its own where it can be said how large a value makes sense; these hold for the others.
"""

from __future__ import annotations

__all__ = [
    "MAX_COUNT",
    "MAX_ITEMS",
    "MAX_NODES",
    "MAX_NUMBER",
    "MAX_REPLICAS",
    "MAX_REQUESTS",
    "MAX_TICK",
    "MOST_REQUESTS_BY_RATE",
    "broken_bound",
]

MAX_TICK = 2**62 - 1
"""Largest time, and largest integer without a bound of its own: the sum of two fits into 64 bits."""
MAX_NUMBER = 1e18
"""Largest number with a fraction that has no bound of its own."""
MAX_COUNT = 2**31 - 1
"""Largest number of tokens or blocks."""
MAX_REQUESTS = 20_000_000
"""Largest number of requests; each takes 0.3 KB, and about 1 KB while it waits or runs."""
MOST_REQUESTS_BY_RATE = 2_000_000
"""Largest number of requests that follow from rates and a horizon alone; more have to be asked for by their number."""
MAX_REPLICAS = 100_000
MAX_NODES = 100_000
MAX_ITEMS = 1_000_000
"""Largest length of a list."""


def broken_bound(number: float) -> str | None:
    """Return the rule that a number without bounds of its own breaks; None if it breaks none.

    Examples
    --------
    >>> broken_bound(2**62), broken_bound(-1e19), broken_bound(7)
    ('must be < 2**62', 'must be >= -1e+18', None)
    """
    if isinstance(number, int):
        if abs(number) <= MAX_TICK:
            return None
        return "must be < 2**62" if number > 0 else "must be > -2**62"
    if abs(number) <= MAX_NUMBER:
        return None
    return f"must be <= {MAX_NUMBER:g}" if number > 0 else f"must be >= {-MAX_NUMBER:g}"
