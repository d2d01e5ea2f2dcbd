"""Numbers in texts and tables of experiments, and checks of numbers that users give."""

from __future__ import annotations

import math
from typing import Any

from blis_simpy.errors import ScenarioError

__all__ = ["check_count", "check_fraction", "figure", "percent"]


def figure(value: float, digits: int = 4) -> str:
    """Format a number with significant digits, but never fewer than those before the decimal point.

    Examples
    --------
    >>> figure(7075.562), figure(0.0123456), figure(59.0523), figure(3.0)
    ('7,076', '0.01235', '59.05', '3')
    """
    if not math.isfinite(value):
        return "-" if math.isnan(value) else ("∞" if value > 0 else "-∞")
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(decimals, 12)}f}"


def percent(fraction: float, digits: int = 3) -> str:
    """Format a fraction in percent.

    Examples
    --------
    >>> percent(0.23456), percent(0.95)
    ('23.5 %', '95 %')
    """
    return f"{figure(round(100 * fraction, 9), digits)} %"


def check_fraction(name: str, value: Any) -> None:
    """Check that a parameter is a number between 0 and 1.

    Raises
    ------
    ScenarioError
        If it is not; the message names the parameter.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise ScenarioError.at(name, "must be > 0 and < 1", value)


def check_count(name: str, value: Any, least: int) -> None:
    """Check that a parameter is an integer of at least `least`.

    Raises
    ------
    ScenarioError
        If it is not; the message names the parameter.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ScenarioError.at(name, f"must be an integer >= {least}", value)
