"""Numbers in texts and tables of experiments, and checks of numbers that users give."""

from __future__ import annotations

import math
from typing import Any

from blis_simpy.errors import ScenarioError
from blis_simpy.plain_values import plain

__all__ = ["check_count", "check_fraction", "check_number", "format_interval", "format_number", "format_percent"]


def format_number(value: float, digits: int = 4) -> str:
    """Format a number with significant digits, but never fewer than those before the decimal point.

    Examples
    --------
    >>> format_number(7075.562), format_number(0.0123456), format_number(59.0523), format_number(3.0)
    ('7,076', '0.01235', '59.05', '3')
    """
    if not math.isfinite(value):
        return "-" if math.isnan(value) else ("∞" if value > 0 else "-∞")
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(decimals, 12)}f}"


def format_interval(estimate: float, low: float, high: float) -> str:
    """Format an estimate with the bounds of its interval.

    Examples
    --------
    >>> format_interval(59.0523, 58.01, 60.1)
    '59.05 [58.01, 60.10]'
    """
    return f"{format_number(estimate)} [{format_number(low)}, {format_number(high)}]"


def format_percent(fraction: float, digits: int = 3) -> str:
    """Format a fraction in percent.

    Examples
    --------
    >>> format_percent(0.23456), format_percent(0.95)
    ('23.5 %', '95 %')
    """
    return f"{format_number(round(100 * fraction, 9), digits)} %"


def check_fraction(name: str, value: Any) -> float:
    """Return a parameter as a number between 0 and 1.

    Raises
    ------
    ScenarioError
        If it is none; the message names the parameter.
    """
    number = check_number(name, value, "must be > 0 and < 1")
    if not 0 < number < 1:
        raise ScenarioError.at(name, "must be > 0 and < 1", number)
    return number


def check_number(name: str, value: Any, rule: str = "must be a finite number") -> float:
    """Return a parameter as a finite number, an integer if it is one.

    Raises
    ------
    ScenarioError
        If it is none; the message names the parameter and the rule.
    """
    number = plain(value)
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        raise ScenarioError.at(name, rule, number)
    return number


def check_count(name: str, value: Any, least: int) -> int:
    """Return a parameter as an integer of at least `least`.

    Raises
    ------
    ScenarioError
        If it is none; the message names the parameter.
    """
    number = plain(value)
    if isinstance(number, bool) or not isinstance(number, int) or number < least:
        raise ScenarioError.at(name, f"must be an integer >= {least}", number)
    return number
