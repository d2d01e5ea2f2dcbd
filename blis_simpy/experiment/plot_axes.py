"""Axes of plots of experiments: scales and labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blis_simpy.display import figure_style

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

__all__ = ["HEIGHT", "RATE", "WIDE", "name_axis", "widen"]

RATE = "workload.rate"
WIDE = 20
"""Ratio of values above which an axis is logarithmic; a linear one would show the largest values only."""
HEIGHT = 3.6
"""Height of a plot with two numeric axes, inches."""


def widen(ax: Axes, values: Any) -> None:
    """Make the axis of values logarithmic if they cover a wide range."""
    positive = values[values > 0]
    if len(positive) and positive.min() == values.min() and positive.max() > WIDE * positive.min():
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(figure_style.NUMBERS)


def name_axis(ax: Axes, path: str, numbers: Sequence[float]) -> None:
    """Label the axis of a setting; logarithmic if its values cover a wide range, one tick per value if they are few."""
    if path == RATE:
        ax.set_xlabel("arrival rate (requests/s)")
    else:
        ax.set_xlabel(path)
    if min(numbers) > 0 and max(numbers) > WIDE * min(numbers):
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(figure_style.NUMBERS)
    elif all(isinstance(number, int) for number in numbers) and len(set(numbers)) <= 10:
        ax.set_xticks(sorted(set(numbers)))
